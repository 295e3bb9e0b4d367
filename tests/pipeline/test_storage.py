"""A storage creates an object once, and a recipe with keys in an address of one is refused without repeating them."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.locks import CLAIM, IDENTITY, held
from frostmap.pipeline.recipe import Recipe, parse_recipe
from frostmap.pipeline.recipes import bundled, with_values
from frostmap.pipeline.storage import Storage

KEY, SECRET = "AKIAFROSTMAPTESTS", "S3CRET"


def parse(**store: object) -> Recipe:
    values = {f"store.{name}": value for name, value in store.items()}
    return parse_recipe(with_values(bundled("demo"), values), Path("recipe.yaml"))


def test_of_several_that_create_an_object_at_once_one_does(tmp_path: Path) -> None:
    storage = Storage.of_folder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: storage.create("a/b", str(n).encode()), range(8)))
    assert sum(made) == 1
    assert storage.read("a/b") == str(made.index(True)).encode()


def test_a_folder_is_held_without_a_claim(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with held(work, Storage.of_folder(work)):
        assert [path.name for path in work.iterdir()] == ["run.lock"]
        with pytest.raises(UserError, match="another run is at work"), held(work, Storage.of_folder(work)):
            pass
    assert not (work / CLAIM).exists()
    assert not (work / IDENTITY).exists()


@pytest.mark.parametrize("secret", [SECRET, f"{SECRET}/with+a=slash", f"{SECRET} with a space"])
@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("location", "s3://{keys}@bucket/cube"),
        ("location", "https://{keys}@store.example.org/bucket/cube"),
        ("location", "{keys}@bucket/cube"),
        ("endpoint", "https://{keys}@store.example.org"),
        ("endpoint", "http://{keys}@127.0.0.1:9000"),
        ("endpoint", "{keys}@store.example.org"),
    ],
)
def test_keys_in_an_address_are_refused_and_not_repeated(name: str, address: str, secret: str) -> None:
    given = address.format(keys=f"{KEY}:{secret}")
    with pytest.raises(UserError, match="keys do not belong in an address") as caught:
        parse(**{name: given})
    assert f"store.{name}, line " in caught.value.found
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.found
    shown = str(caught.value) + "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    assert SECRET not in shown


@pytest.mark.parametrize("store", [{"location": f"s3://{KEY}:{SECRET}"}, {"location": [f"{KEY}:{SECRET}@bucket"]}])
def test_what_may_be_keys_is_not_repeated_either(store: dict[str, object]) -> None:
    with pytest.raises(UserError) as caught:
        parse(**store)
    assert SECRET not in str(caught.value)


def test_a_password_under_a_key_that_recipes_do_not_have_is_not_repeated() -> None:
    text = bundled("demo").replace("store:\n", f"store:\n  secret_access_key: {SECRET}\n")
    with pytest.raises(UserError, match="unknown key 'secret_access_key'") as caught:
        parse_recipe(text, Path("recipe.yaml"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "store",
    [
        {"location": "s3://bucket/cube"},
        {"location": "s3://bucket/cubes/a@b:c"},
        {"location": "s3://bucket/cube", "endpoint": "https://store.example.org"},
        {"location": "s3://bucket/cube", "endpoint": "http://127.0.0.1:9000"},
        {"location": "s3://bucket/cube", "endpoint": "http://[::1]:9000/path"},
    ],
)
def test_an_address_without_keys_is_taken(store: dict[str, str]) -> None:
    assert parse(**store).store.model_dump(include=set(store)) == store


def test_a_wrong_address_without_keys_is_still_shown() -> None:
    with pytest.raises(UserError, match="found 's3:/bucket/cube'"):
        parse(location="s3:/bucket/cube")
