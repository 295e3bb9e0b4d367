"""Tables of boreholes and stations are read as their makers code them, and faults are named with their row."""

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.sites import (
    MISSING,
    decode_ground_temperature,
    read_boreholes,
    read_station_days,
    read_station_indices,
    read_station_sites,
    read_stations,
)

SITES = "station,name,longitude,latitude,elevation\n52908,Wudaoliang,93.0833,35.2167,4612.2\n"
DAYS = "station,year,month,day,ground_temperature\n"
HOLES = "name,longitude,latitude,elevation,region,magt_10m,magt_20m,permafrost\n"


def table(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# ---- what must always hold -----------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.just(MISSING), st.integers(-600, 700)), min_size=1))
def test_decoding_agrees_with_its_plain_twin(stored):
    temperature, overflow = decode_ground_temperature(np.array(stored, float))
    plain = [float("nan") if number == MISSING else number / 10 for number in stored]
    assert np.array_equal(temperature, plain, equal_nan=True)
    assert not overflow.any()


@given(st.integers(-600, -300), st.integers(500, 800))
def test_a_thermometer_out_of_range_gives_its_limit_and_says_so(low, high):
    temperature, overflow = decode_ground_temperature(np.array([low - 10000.0, high + 10000.0, 5.0]))
    assert temperature.tolist() == [low / 10, high / 10, 0.5]
    assert overflow.tolist() == [True, True, False]


def test_stations_and_their_days_come_together_in_order(tmp_path):
    days = tmp_path / "stations_daily.csv.gz"
    with gzip.open(days, "wt") as file:
        file.write(DAYS + "52908,2016,2,29,-123\n52908,2016,1,1,32766\n52908,2016,1,2,\n")
    stations = read_stations(table(tmp_path, SITES), days)
    assert stations.sites.loc["52908", "elevation"] == 4612.2
    assert stations.daily["date"].tolist() == [
        pd.Timestamp(2016, 1, 1),
        pd.Timestamp(2016, 1, 2),
        pd.Timestamp(2016, 2, 29),
    ]
    assert stations.daily["ground_temperature"].isna().tolist() == [True, True, False]
    assert stations.daily["ground_temperature"].iloc[2] == -12.3
    assert set(stations.daily["station"]) == {"52908"}


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


# ---- real tables ---------------------------------------------------------------------------------------------------

WUDAOLIANG = {"year": "Year", "month": "Mon", "day": "Day", "ground_temperature": "GT"}
CMA52 = {"station": "SID", "name": "SNameEN", "longitude": "lon_dd", "latitude": "lat_dd", "elevation": "Ele"}


@pytest.mark.realdata
def test_degree_days_of_a_real_station_s_days_are_its_published_yearly_sums(realdata):
    """Daily data as released with ESSD-2020-106, yearly sums as in the R package PIC; both from CMA observations."""
    days = read_station_days(
        realdata / "stations" / "Wudaoliang_52908_daily_1956-2018.csv.gz", WUDAOLIANG, station="52908"
    )
    freezing = read_station_indices(realdata / "stations" / "cma52" / "Freezing_index_ground_QTP.csv")["Wudaoliang"]
    thawing = read_station_indices(realdata / "stations" / "cma52" / "Thawing_index_ground_QTP.csv")["Wudaoliang"]
    years = days.set_index("date")["ground_temperature"]
    for year in (2009, 2010):
        of_year = years[str(year)]
        assert of_year.isna().sum() <= 1
        assert -of_year.clip(upper=0).sum() == pytest.approx(freezing[year], abs=0.05)
        assert of_year.clip(lower=0).sum() == pytest.approx(thawing[year], abs=0.05)
    assert (freezing.mean(), thawing.mean()) == pytest.approx((1709, 1446), abs=0.5)


@pytest.mark.realdata
def test_the_table_of_fifty_two_stations_is_read(realdata):
    sites = read_station_sites(realdata / "stations" / "cma52" / "stations.csv", CMA52)
    assert len(sites) == 52
    assert sites.loc["52908", ["longitude", "latitude"]].tolist() == pytest.approx([93.0833, 35.2167])
    sums = read_station_indices(realdata / "stations" / "cma52" / "Thawing_index_ground_QTP.csv")
    assert set(sums.columns) == set(sites["name"])
    assert sums.loc[2001:2010].notna().all(axis=None)


# ---- faults are named ----------------------------------------------------------------------------------------------


def test_kelvin_are_recognised(tmp_path):
    path = table(tmp_path, DAYS + "52908,2016,1,1,2631\n52908,2016,1,2,2902\n52908,2016,1,3,32766\n")
    with pytest.raises(CatalogError, match="kelvin") as caught:
        read_station_days(path)
    assert "2731.5" in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("52908,2015,2,29,1", "date that does not exist"),
        ("52908,2016,13,1,1", "date that does not exist"),
        ("52908,2016,1,1,warm", "not a number"),
        ("52908,,1,1,1", "not a number"),
        ("52908,2016,1,1,-9999", "not credible"),
        ("52908,2016,1,1,1\n52908,2016,1,1,2", "same station and date"),
    ],
)
def test_a_faulty_day_is_named_with_its_line(tmp_path, row, complaint):
    path = table(tmp_path, DAYS + "52908,2016,12,31,5\n" + row + "\n")
    with pytest.raises(CatalogError, match=complaint) as caught:
        read_station_days(path)
    assert f"{path}, line {2 + row.count(chr(10)) + 1}" in str(caught.value)


def test_observations_of_unknown_stations_are_refused(tmp_path):
    days = table(tmp_path, DAYS + "1,2016,1,1,5\n", "days.csv")
    with pytest.raises(CatalogError, match="not in the table of stations"):
        read_stations(table(tmp_path, SITES), days)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SITES + "1,x,35.2,93.1,4000\n", "swapped"),
        (SITES + "52908,again,93,35,4000\n", "same station"),
        (SITES + "1,x,east,35,4000\n", "not a number"),
        ("station,lon,lat\n1,93,35\n", "without needed columns: name, longitude, latitude, elevation"),
        ("station,name,longitude,latitude,elevation\n", "without rows"),
        ("", "cannot read a table"),
    ],
)
def test_a_faulty_table_of_stations_is_refused(tmp_path, text, complaint):
    with pytest.raises(CatalogError, match=complaint):
        read_station_sites(table(tmp_path, text))


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


def test_names_for_columns_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(CatalogError, match="does not have"):
        read_station_sites(table(tmp_path, SITES), {"longtitude": "lon"})


def test_indices_need_years(tmp_path):
    with pytest.raises(CatalogError, match="years and stations"):
        read_station_indices(table(tmp_path, "a,b\nx,1\n"))
