"""An address in somebody else's document never leads to this machine, its neighbours or a secret."""

import contextlib
import pickle
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.hosts import HostRule, address_host, is_public, without_query

PUBLIC, CANARY = "93.184.216.34", "canary-7f3a"


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """Resolve names without a network: as the table says, numbers as themselves."""
    table = {
        "archive.test": [PUBLIC],
        "two.test": [PUBLIC, "10.0.0.7"],
        "rebound.test": ["127.0.0.1"],
        "cloud.test": ["169.254.169.254"],
        "six.test": ["2606:2800:220:1:248:1893:25c8:1946"],
        "mapped.test": ["::ffff:192.168.1.1"],
    }
    real = socket.getaddrinfo

    def look_up(host, port, *arguments, **keywords):
        if host in table:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in table[host]]
        if host.endswith(".test"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, port, *arguments, **keywords)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


# ---- what must always hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["https://archive.test/a.json?page=2", "https://six.test:8443/", f"https://{PUBLIC}/"])
def test_public_hosts_may_be_asked_over_https(url):
    HostRule().check(url)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://archive.test/", "plain http"),
        ("ftp://archive.test/", "scheme 'ftp'"),
        ("gopher://127.0.0.1:70/", "scheme 'gopher'"),
        ("s3://bucket/key", "scheme 's3'"),
        ("/etc/passwd", "scheme ''"),
        ("file:///etc/passwd", "a file of this machine"),
        ("FILE:///etc/passwd", "a file of this machine"),
        ("file://archive.test/etc/passwd", "scheme 'file'"),
        ("/vsicurl/https://archive.test/a.tif", "virtual file systems"),
        ("/vsis3/bucket/key", "virtual file systems"),
        ("https://me:secret@archive.test/", "user name or password"),
        ("https://me@archive.test/", "user name or password"),
        ("https://two.test/", "10.0.0.7"),
        ("https://rebound.test/", "127.0.0.1"),
        ("https://cloud.test/latest/meta-data/", "169.254.169.254"),
        ("https://mapped.test/", "192.168.1.1"),
        ("https://localhost/", "not a public address"),
        ("https://127.1/", "127.0.0.1"),
        ("https://2130706433/", "127.0.0.1"),
        ("https://0x7f.0.0.1/", "127.0.0.1"),
        ("https://0/", "not a public address"),
        ("https://[::1]/", "::1"),
        ("https://[::ffff:10.0.0.1]/", "not a public address"),
        ("https://[64:ff9b::a9fe:a9fe]/", "not a public address"),
        ("https://[2002:7f00:1::]/", "not a public address"),
        ("https://[fe80::1]/", "fe80::1"),
        ("https://224.0.0.1/", "224.0.0.1"),
        ("https://100.64.0.1/", "100.64.0.1"),
        ("https://240.0.0.1/", "240.0.0.1"),
        ("https://archive.test\\@127.0.0.1/", "backslash"),
        ("https://archive.test/\r\nHost: x", "control character"),
        (" https://archive.test/", "a blank"),
        ("https://archive.test:99999/", "Port out of range"),
        ("https://[::1/", "Invalid IPv6"),
        ("https://127%2e0.0.1/", "the host"),
        ("https://①②⑦.0.0.1/", "the host"),
        ("https:///a", "the host"),
        ("https://", "the host"),
        ("", "scheme ''"),
    ],
)
def test_all_others_are_refused_with_the_reason(url, complaint):
    with pytest.raises(CatalogError, match="may not be asked") as caught:
        HostRule().check(url)
    assert complaint in caught.value.found
    assert caught.value.wanted
    assert caught.value.remedy


@given(st.ip_addresses())
def test_an_address_is_public_only_if_python_calls_it_global(address):
    assert not is_public(str(address)) or address.is_global


@given(st.text(max_size=60) | st.text("htps:/@[].%10\\ ", max_size=20))
def test_whatever_the_text_it_is_https_or_refused(text):
    rule = HostRule()
    with contextlib.suppress(CatalogError):
        rule.check(text)
        assert text.startswith("https://")


@given(st.ip_addresses(v=4), st.sampled_from(["[::ffff:{}]", "{}"]))
def test_a_number_in_an_address_is_judged_as_the_number(address, form):
    url = f"https://{form.format(address)}/"
    if is_public(str(address)):
        HostRule().check(url)
    else:
        with pytest.raises(CatalogError):
            HostRule().check(url)


def test_a_name_that_does_not_resolve_is_an_error_of_its_own():
    with pytest.raises(CatalogError, match="does not resolve") as caught:
        HostRule().check(f"https://gone.test/a?sig={CANARY}")
    assert "gone.test" in str(caught.value)
    assert CANARY not in str(caught.value)


# ---- what the recipe allows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8081/search"),
        ("127.0.0.1:8081", "http://127.0.0.1:8081/search"),
        ("Archive.Test", "http://archive.test/"),
        ("archive.test:80", "http://archive.test/"),
        ("archive.test:443", "https://ARCHIVE.test./"),
        ("gone.test", "https://gone.test/"),
        ("::1", "http://[::1]:8080/"),
        ("[::1]:8080", "http://[::1]:8080/"),
        ("localhost", "http://localhost:9000/bucket"),
        ("localhost", "file:///data/catalog.json"),
    ],
)
def test_a_named_host_may_be_asked_whatever_it_is(allowed, url):
    rule = HostRule(frozenset({allowed}))
    rule.check(url)
    assert rule.allows(url)


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("127.0.0.1:8081", "http://127.0.0.1:8082/"),
        ("127.0.0.1", "http://127.0.0.2/"),
        ("localhost", "http://127.0.0.1/"),
        ("archive.test:80", "http://archive.test:8080/"),
        ("test", "http://archive.test/"),
        ("archive.test", "http://archive.test.evil.test/"),
        ("127.0.0.1", "file:///etc/passwd"),
        ("archive.test", "https://me:secret@archive.test/"),
        ("archive.test", "ftp://archive.test/"),
        ("localhost", "/vsicurl/file:///etc/passwd"),
    ],
)
def test_allowing_one_host_allows_no_other(allowed, url):
    with pytest.raises(CatalogError):
        HostRule(frozenset({allowed})).check(url)


def test_the_address_that_was_connected_to_is_judged_too():
    HostRule().check_peer("https://archive.test/", PUBLIC)
    HostRule(frozenset({"archive.test"})).check_peer("https://archive.test/", "127.0.0.1")
    with pytest.raises(CatalogError, match="may not be asked"):
        HostRule().check_peer("https://archive.test/", "127.0.0.1")


def test_a_rule_travels_and_grows():
    rule = HostRule(frozenset({"a.test"})).allowing("b.test:81")
    assert pickle.loads(pickle.dumps(rule)) == rule  # noqa: S301
    assert rule.allows("http://b.test:81/")
    assert rule.allows("https://a.test/")


# ---- what may be shown ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"https://archive.test/a.tif?sig={CANARY}",
        f"https://archive.test/a.tif#{CANARY}",
        f"https://me:{CANARY}@archive.test/a.tif",
        f"https://{CANARY}@archive.test/a.tif?x=1",
        f"https://me:{CANARY}@[::1/a.tif?{CANARY}",
        f"/data/a.tif?{CANARY}",
        f"https://me:{CANARY}@archive.test:99999/?{CANARY}",
    ],
)
def test_no_secret_is_shown(url):
    assert CANARY not in without_query(url)
    assert "a.tif" in without_query(url) or "archive.test" in without_query(url)
    with pytest.raises(CatalogError) as caught:
        HostRule().check(url.replace("https:", "http:"))
    assert CANARY not in str(caught.value)


def test_what_holds_no_secret_is_shown_whole():
    assert without_query("https://archive.test:8443/a/b.tif") == "https://archive.test:8443/a/b.tif"
    assert without_query("/data/b.tif") == "/data/b.tif"


def test_the_host_of_an_address_is_as_the_rule_takes_it():
    for url in ("http://127.0.0.1:8081/stac", "http://archive.test/", "http://[::1]/"):
        HostRule(frozenset({address_host(url)})).check(url)
