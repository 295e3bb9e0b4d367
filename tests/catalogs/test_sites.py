"""Tables of boreholes are read however their makers wrote them, and every row is accounted for."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostmap.catalogs.coordinates import angle
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.sites import read_boreholes

HOLES = "name,longitude,latitude,elevation,region,magt_10m,magt_20m,permafrost\n"


def table(folder, text, encoding="utf-8", name="table.csv"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_twenty_metres_decide_before_ten_and_a_stated_class_before_both(tmp_path):
    rows = "a,90,35,,,-0.5,-0.1,\nb,91,35,,,-0.5,0.3,\nc,92,35,,,0.0,,\nd,93,35,4700,Wenquan,0.2,0.4,1\ne,94,35,,,,,0\n"
    holes = read_boreholes(table(tmp_path, HOLES + rows)).kept.set_index("name")
    assert holes["permafrost"].tolist() == [True, False, True, True, False]
    assert holes["temperature"].tolist()[:4] == [-0.1, 0.3, 0.0, 0.4]
    assert holes["depth"].tolist()[:4] == [20, 20, 10, 20]
    assert holes["stated"].tolist() == [False, False, False, True, True]
    assert holes["sign_conflict"].tolist() == [False, True, False, False, False]
    assert holes["label_conflict"].tolist() == [False, False, False, True, False]
    assert holes.loc["d", ["elevation", "region"]].tolist() == [4700.0, "Wenquan"]
    assert holes.loc["a", "region"] == ""


def test_a_temperature_with_its_depth_is_taken_for_the_depth_that_it_is_near(tmp_path):
    rows = "hole,lon,lat,MAGT (°C),depth (m)\na,90,35,-0.5,15.2\nb,91,35,-0.4,18\nc,92,35,0.7,6\n"
    holes = read_boreholes(table(tmp_path, rows)).kept
    np.testing.assert_array_equal(holes[["magt_10m", "magt_15m", "magt_20m"]],
                                  [[np.nan, -0.5, np.nan], [np.nan, np.nan, -0.4], [np.nan] * 3])  # fmt: skip
    assert holes["depth"].tolist() == [15, 20, 6]
    assert holes["permafrost"].tolist() == [True, True, False]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_chinese_table_is_read_in_any_encoding_without_being_told(tmp_path, encoding):
    text = "钻孔编号\t经度（°E）\t纬度（°N）\t海拔（m）\t区域\t20m地温\t冻土类型\n"
    text += "五道梁1\t93.08\t35.22\t4612\t可可西里\t-1.8\t多年冻土\n"
    text += "西大滩2\t94.13\t35.72\t4530\t昆仑山\t0.4\t季节冻土\n"
    found = read_boreholes(table(tmp_path, text, encoding))
    holes = found.kept
    assert holes["name"].tolist() == ["五道梁1", "西大滩2"]
    assert holes["region"].tolist() == ["可可西里", "昆仑山"]
    assert holes["permafrost"].tolist() == [True, False]
    assert holes[["longitude", "latitude", "elevation", "magt_20m"]].to_numpy().tolist() == [
        [93.08, 35.22, 4612, -1.8], [94.13, 35.72, 4530, 0.4]]  # fmt: skip


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "utf-16"])
def test_decimal_commas_and_semicolons_are_recognised(tmp_path, encoding):
    text = "Bohrloch;Länge;Breite;MAGT_10m\nZürich-Hütte;93,084;35,2167;-1,25\nb;94,1;35,7;0,5\n"
    columns = {"name": "Bohrloch", "longitude": "Länge", "latitude": "Breite"}
    found = read_boreholes(table(tmp_path, text, encoding), columns)
    assert (found.table.delimiter, found.table.decimal) == (";", ",")
    assert found.kept["name"].tolist() == ["Zürich-Hütte", "b"]
    assert found.kept[["longitude", "latitude", "magt_10m"]].to_numpy().tolist() == [
        [93.084, 35.2167, -1.25], [94.1, 35.7, 0.5]]  # fmt: skip


def test_decimal_commas_in_quotes_and_commas_of_thousands_are_told_apart(tmp_path):
    commas = 'id,lon,lat,elev,magt_10m\na,"93,084","35,216","4612","-1,250"\n'
    assert read_boreholes(table(tmp_path, commas)).kept.loc[0, ["longitude", "elevation", "magt_10m"]].tolist() == [
        93.084, 4612, -1.25]  # fmt: skip
    thousands = 'id,lon,lat,elev,magt_10m\na,93.084,35.216,"4,612",−1.25 °C\n'
    assert read_boreholes(table(tmp_path, thousands)).kept.loc[0, ["longitude", "elevation", "magt_10m"]].tolist() == [
        93.084, 4612, -1.25]  # fmt: skip


def test_titles_above_the_header_are_skipped_and_lines_counted_from_the_top_of_the_file(tmp_path):
    text = (
        "/* DATA DESCRIPTION:\nCitation:\tSomebody, 2020; 93.1; 35.2\n*/\nTable S1\n\nSite\tLatitude\tLongitude\tPF\n"
    )
    found = read_boreholes(table(tmp_path, text + "a\t35.2\t93.1\tyes\n\nb\t35.3\t93.2\tno\nc\t95.3\t35.3\tno\n"))
    assert found.kept["line"].tolist() == [7, 9]
    assert found.kept["permafrost"].tolist() == [True, False]
    assert found.dropped[["line", "reason"]].to_numpy().tolist() == [
        [10, "not on the globe; are longitude and latitude swapped?"]]  # fmt: skip


@given(
    west=st.booleans(),
    minutes=st.integers(0, 59),
    seconds=st.integers(0, 599),
    whole=st.integers(0, 179),
    form=st.sampled_from(["{d}°{m}′{s}″{h}", "{d}° {m}' {s}\" {h}", "{h}{d}°{m}'{s}''", "{d}:{m}:{s}{h}",
                          "{d} {m} {s} {h}",
                          "{h} {d}度{m}分{s}秒", "{d}º{m}’{s}”{h}", "{d}d{m}m{s}s {h}"]),
)  # fmt: skip
def test_degrees_minutes_and_seconds_are_read_in_any_writing(whole, minutes, seconds, west, form):
    text = form.format(d=whole, m=minutes, s=f"{seconds / 10:.1f}", h="W" if west else "E")
    expected = whole + minutes / 60 + seconds / 36000
    assert angle(text) == pytest.approx(-expected if west else expected, abs=1e-9)


def test_degrees_and_minutes_in_plain_numbers_need_a_word(tmp_path):
    path = table(tmp_path, "id,lon,lat,pf\na,9305,3513,1\nb,9413,3543,0\n")
    with pytest.raises(CatalogError, match="look like degrees and minutes"):
        read_boreholes(path)
    holes = read_boreholes(path, coordinates="degrees_minutes").kept
    assert holes["longitude"].tolist() == pytest.approx([93 + 5 / 60, 94 + 13 / 60])
    mixed = table(tmp_path, "id,lon,lat,pf\na,93°05'E,35°13.5'N,1\nb,94.13,35.43,0\n")
    assert read_boreholes(mixed).kept["latitude"].tolist() == pytest.approx([35 + 13.5 / 60, 35.43])


def test_what_is_said_twice_is_told_once(tmp_path):
    text = (
        "name,lon,lat,year,magt_10m,magt_20m\n"
        "a,93.0,35.0,2010,-1.0,\n"  # an earlier year of the same hole
        "A ,93.0001,35.0,2018,-0.8,\n"
        "a,94.0,35.0,2018,-0.9,\n"  # another hole of the same name
        "b,93.0001,35.0,2018,-0.8,\n"  # the second line of a, under another name
        "c,95.0,35.0,2018,-0.7,\n"
        "d,95.0,35.0,2018,-0.3,\n"  # another hole at the same place
    )
    found = read_boreholes(table(tmp_path, text))
    assert found.kept["line"].tolist() == [3, 4, 6, 7]
    assert dict(found.dropped[["line", "reason"]].to_numpy().tolist()) == {
        2: "the same hole as line 3", 5: "place and observation of line 3 under another name"}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,90,35,,,n/a,-9999,", "no observation"),
        ("a,90,35,,,,,maybe", "permafrost is no class: 'maybe'"),
        ("a,90,35,,,272,,", "magt_10m is not a credible ground temperature: 272 °C"),
        ("a,35,95,,,-1,,", "not on the globe; are longitude and latitude swapped?"),
        ("a,90,35,high,,-1,,", "elevation is not a number: 'high'"),
        ("a,,35,,,-1,,", "no longitude"),
        ("a,90,35°61',,,-1,,", 'latitude cannot be read: "35°61\'"'),
        ("a,90,35,,,-1,,,7", "more fields than the header has"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_with_its_reason(tmp_path, row, reason):
    path = table(tmp_path, HOLES + row + "\nb,91,35,,,-1,,\n")
    found = read_boreholes(path)
    assert found.kept["name"].tolist() == ["b"]
    assert found.dropped[["line", "reason"]].to_numpy().tolist() == [[2, reason]]
    with pytest.raises(CatalogError, match="no row of a table of boreholes can be used") as caught:
        read_boreholes(table(tmp_path, HOLES + row + "\n"))
    assert reason in caught.value.found
    assert "line 2" in caught.value.where


def test_classes_are_words_or_0_and_1_or_the_numbers_of_maps(tmp_path):
    for written, expected in (
        (["P", "SFG", "yes", "Seasonally frozen ground"], [True, False, True, False]),
        (["1", "0", "1.0", "0"], [True, False, True, False]),
        (["1", "2", "3", "1"], [True, False, False, True]),
    ):
        rows = "".join(f"{k},{90 + k},35,{word}\n" for k, word in enumerate(written))
        assert read_boreholes(table(tmp_path, "id,lon,lat,type\n" + rows)).kept["permafrost"].tolist() == expected
    found = read_boreholes(table(tmp_path, "id,lon,lat,pf\na,90,35,1\nb,91,35,0\nc,92,35,2\n"))
    assert found.dropped["reason"].tolist() == ["permafrost is no class: '2'"]


def test_two_columns_that_may_be_the_longitude_need_a_word(tmp_path):
    path = table(tmp_path, "id,lon,lon_dd,lat,pf\na,93.05,93.083,35,1\n")
    with pytest.raises(CatalogError, match="not clear which column of a table is the longitude") as caught:
        read_boreholes(path)
    assert "columns: {longitude: lon}" in caught.value.remedy
    assert read_boreholes(path, {"longitude": "lon_dd"}).kept["longitude"].tolist() == [93.083]
    with pytest.raises(CatalogError, match="does not have"):
        read_boreholes(path, {"depht": "lon_dd"})


def test_unreadable_tables_are_named(tmp_path):
    contents = {"none.csv": None, "bad.csv.gz": b"\x1f\x8bnot gzip", "other.csv": b"a,b\n\xe9,1\n", "empty.csv": b"",
                "picture.csv": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(99), "rowless.csv": b"lon,lat,pf\n",
                "blind.csv": b"lon,lat\n90,35\n"}  # fmt: skip
    for name, content in contents.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CatalogError) as caught:
            read_boreholes(tmp_path / name)
        assert name in str(caught.value)
        assert caught.value.wanted or name == "rowless.csv"
    with pytest.raises(CatalogError, match="cannot read a table"):
        read_boreholes(tmp_path / "other.csv", encoding="klingon")


def test_a_compressed_table_is_read(tmp_path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress((HOLES + "a,90,35,,,-1,,\n").encode()))
    assert read_boreholes(path).kept["name"].tolist() == ["a"]
