"""Tables of boreholes are read as their makers code them, and faults are named with their row."""

import pytest

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.sites import read_boreholes

HOLES = "name,longitude,latitude,elevation,region,magt_10m,magt_20m,permafrost\n"


def table(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_twenty_metres_decide_before_ten_and_a_stated_class_before_both(tmp_path):
    rows = "a,90,35,,,-0.5,-0.1,\nb,90,35,,,-0.5,0.3,\nc,90,35,,,0.0,,\nd,90,35,4700,Wenquan,0.2,0.4,1\ne,90,35,,,,,0\n"
    holes = read_boreholes(table(tmp_path, HOLES + rows)).set_index("name")
    assert holes["permafrost"].tolist() == [True, False, True, True, False]
    assert holes["depth"].tolist()[:3] == [20, 20, 10]
    assert holes["depth"].isna().tolist() == [False, False, False, True, True]
    assert holes["sign_conflict"].tolist() == [False, True, False, False, False]
    assert holes["label_conflict"].tolist() == [False, False, False, True, False]
    assert holes.loc["d", ["elevation", "region"]].tolist() == [4700.0, "Wenquan"]
    assert holes.loc["a", "region"] == ""


def test_a_survey_needs_classes_only_or_temperatures_only(tmp_path):
    classes = read_boreholes(table(tmp_path, "name,longitude,latitude,permafrost\na,90,35,1\nb,91,35,0\n"))
    assert classes["permafrost"].tolist() == [True, False]
    temperatures = read_boreholes(table(tmp_path, "name,longitude,latitude,magt_10m\na,90,35,-1.5\nb,91,35,2\n"))
    assert temperatures["permafrost"].tolist() == [True, False]
    assert classes["permafrost"].dtype == temperatures["permafrost"].dtype == bool


def test_columns_may_be_called_otherwise(tmp_path):
    path = table(tmp_path, "hole,lon,lat,pf\na,90,35,1\n")
    columns = {"name": "hole", "longitude": "lon", "latitude": "lat", "permafrost": "pf"}
    assert read_boreholes(path, columns)["permafrost"].tolist() == [True]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("a,90,35,,,,,", "without an observation"),
        ("a,90,35,,,,,2", "permafrost is a class"),
        ("a,90,35,,,272,,", "not a credible ground temperature"),
        ("a,35,95,,,-1,,", "swapped"),
        ("a,90,35,,,-1,,\na,90,35,,,-1,,", "same name"),
        ("a,90,35,high,,-1,,", "not a number"),
    ],
)
def test_a_faulty_borehole_is_refused(tmp_path, row, complaint):
    with pytest.raises(CatalogError, match=complaint) as caught:
        read_boreholes(table(tmp_path, HOLES + row + "\n"))
    assert "line" in str(caught.value)


def test_unreadable_tables_are_named(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path / "bad.csv.gz", tmp_path / "latin.csv", tmp_path / "ragged.csv"):
        if path.name != "none.csv":
            path.write_bytes(
                {"latin.csv": b"a,b\n\xe9,1\n", "ragged.csv": b"a\n1\n1,2,3\n"}.get(path.name, b"not gzip")
            )
        with pytest.raises(CatalogError, match="cannot read a table") as caught:
            read_boreholes(path)
        assert str(path) in str(caught.value)


def test_empty_lines_do_not_move_the_line_that_an_error_names(tmp_path):
    path = table(tmp_path, HOLES + "\na,90,35,,,-1,,\n\n\nb,90,95,,,-1,,\n")
    with pytest.raises(CatalogError, match="not on the globe") as caught:
        read_boreholes(path)
    assert caught.value.where == f"{path}, line 6"


def test_rows_longer_than_the_header_are_refused(tmp_path):
    with pytest.raises(CatalogError, match="more fields than its header"):
        read_boreholes(table(tmp_path, HOLES + "a,90,35,,,-1,,,7\nb,90,35,,,-1,,,7\n"))
