"""Tables of stations are read as their makers code them, published files too, and faults are named with their row."""

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.stations import (
    MISSING,
    decode_ground_temperature,
    degrees,
    read_month,
    read_station_days,
    read_station_indices,
    read_station_sites,
    read_stations,
    station_files,
)

SITES = "station,name,longitude,latitude,elevation\n52908,Wudaoliang,93.0833,35.2167,4612.2\n"
DAYS = "station,year,month,day,ground_temperature\n"
ONE_STATION = '"Year","Mon","Day","Temperature","GT"\n'


def table(folder, text, name="table.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def month(folder, rows, name="SURF_CLI_CHN_MUL_DAY-GST-12030-0cm-201001.TXT"):
    """Write a monthly file of CMA: rows of numbers in its order."""
    return table(folder, "".join(" ".join(f"{number:>7}" for number in row) + "\n" for row in rows), name)


def row(day=1, temperature=-123, quality=0, **other):
    """Return a row of a monthly file: Wudaoliang, January 2010."""
    place = {"station": 52908, "latitude": 3513, "longitude": 9305, "elevation": 46122} | other
    when = (other.get("year", 2010), other.get("month", 1), day)
    where = [place[name] for name in ("station", "latitude", "longitude", "elevation")]
    return (*where, *when, temperature, temperature + 200, temperature - 200, quality, 0, 0)


# ---- what must always hold -----------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.sampled_from(MISSING), st.integers(-600, 700)), min_size=1))
def test_decoding_agrees_with_its_plain_twin(stored):
    temperature, overflow = decode_ground_temperature(np.array(stored, float))
    plain = [float("nan") if number in MISSING else number / 10 for number in stored]
    assert np.array_equal(temperature, plain, equal_nan=True)
    assert not overflow.any()


@given(st.integers(-600, -300), st.integers(500, 800))
def test_a_thermometer_out_of_range_gives_its_limit_and_says_so(low, high):
    temperature, overflow = decode_ground_temperature(np.array([low - 10000.0, high + 10000.0, 5.0]))
    assert temperature.tolist() == [low / 10, high / 10, 0.5]
    assert overflow.tolist() == [True, True, False]


@given(st.lists(st.tuples(st.integers(-179, 179), st.integers(0, 59)), min_size=1, max_size=30))
def test_degrees_and_minutes_are_read_however_they_are_written(places):
    whole = np.array([place for place, _ in places], float)
    sign = np.where(whole < 0, -1, 1)
    minutes = np.array([minute for _, minute in places], float)
    plain = whole + sign * minutes / 60
    np.testing.assert_allclose(degrees(whole + sign * minutes / 100), plain, atol=1e-9)
    packed = np.append(whole * 100 + sign * minutes, 9959.0)  # one is large enough to say what they are
    np.testing.assert_allclose(degrees(packed)[:-1], plain, atol=1e-9)


# ---- our own tables ------------------------------------------------------------------------------------------------


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


def test_only_wanted_years_are_kept(tmp_path):
    days = table(tmp_path, DAYS + "52908,2016,1,1,5\n52908,2017,1,1,6\n", "days.csv")
    kept = read_stations(table(tmp_path, SITES), days, years={2017}).daily
    assert kept["ground_temperature"].tolist() == [0.6]


def test_places_in_degrees_and_minutes_are_read_when_asked_for_and_refused_when_not(tmp_path):
    rows = [f"{i},s,{90 + i}.{5 * i:02d},{30 + i % 9}.{4 * i:02d},4000\n" for i in range(12)]
    path = table(tmp_path, SITES.splitlines()[0] + "\n" + "".join(rows))
    with pytest.raises(CatalogError, match="look like degrees and minutes") as caught:
        read_station_sites(path)
    assert "degrees_minutes" in caught.value.remedy
    sites = read_station_sites(path, coordinates="degrees_minutes")
    assert sites.loc["11", ["longitude", "latitude"]].tolist() == pytest.approx([101 + 55 / 60, 32 + 44 / 60])
    assert read_station_sites(path, coordinates="degrees").loc["11", "longitude"] == 101.55


def test_packed_degrees_and_minutes_are_never_taken_for_degrees(tmp_path):
    path = table(tmp_path, SITES.replace("93.0833,35.2167", "9305,3513"))
    with pytest.raises(CatalogError, match="look like degrees and minutes"):
        read_station_sites(path)
    sites = read_station_sites(path, coordinates="degrees_minutes")
    assert sites.loc["52908", ["longitude", "latitude"]].tolist() == pytest.approx([93 + 5 / 60, 35 + 13 / 60])


def test_minutes_that_are_none_are_named_with_their_line(tmp_path):
    path = table(tmp_path, SITES + "1,x,93.61,35.10,4000\n")
    with pytest.raises(CatalogError, match="column longitude does not hold degrees and minutes") as caught:
        read_station_sites(path, coordinates="degrees_minutes")
    assert caught.value.where == f"{path}, line 2"
    path = table(tmp_path, SITES.replace("93.0833", "93.05").replace("35.2167", "35.13") + "1,x,93.05,35.61,4000\n")
    with pytest.raises(CatalogError, match="column latitude") as caught:
        read_station_sites(path, coordinates="degrees_minutes")
    assert (caught.value.where, caught.value.found) == (f"{path}, line 3", "35.61")


# ---- tables of one station -----------------------------------------------------------------------------------------


def test_a_published_table_of_one_station_is_known_by_its_columns_and_its_name(tmp_path):
    days = table(tmp_path, ONE_STATION + "2016,1,1,-230,-123\n2016,1,2,-200,\n", "Wudaoliang_52908_1956-2018.csv")
    stations = read_stations(table(tmp_path, SITES), days)
    assert stations.daily["station"].tolist() == ["52908", "52908"]
    assert stations.daily["ground_temperature"].iloc[0] == -12.3
    nameless = table(tmp_path, days.read_text(), "Wudaoliang_1956-2018.csv")
    with pytest.raises(CatalogError, match="not known which station") as caught:
        read_stations(tmp_path / "table.csv", nameless)
    assert caught.value.where == str(nameless)


def test_a_folder_may_hold_a_table_for_each_station_and_that_of_the_stations(tmp_path):
    sites = table(tmp_path, SITES + "52909,Other,93.1,35.3,4600\n", "stations.csv")
    table(tmp_path, ONE_STATION + "2016,1,1,-230,-123\n", "a_52908.csv")
    table(tmp_path, DAYS + "52909,2016,1,1,-50\n", "b.csv")
    table(tmp_path, "anything", "readme.txt")
    assert [path.name for path in station_files(tmp_path, sites)] == ["a_52908.csv", "b.csv"]
    daily = read_stations(sites, tmp_path).daily
    assert daily.set_index("station")["ground_temperature"].to_dict() == {"52908": -12.3, "52909": -5.0}
    table(tmp_path, DAYS + "52908,2016,1,1,-50\n", "c.csv")
    with pytest.raises(CatalogError, match="day is in two files"):
        read_stations(sites, tmp_path)


def test_a_folder_without_any_days_is_refused(tmp_path):
    sites = table(tmp_path, SITES, "stations.csv")
    with pytest.raises(CatalogError, match="without daily ground temperatures"):
        read_stations(sites, tmp_path)


# ---- the monthly files of CMA --------------------------------------------------------------------------------------


def test_a_monthly_file_holds_places_in_minutes_and_temperatures_in_tenths(tmp_path):
    days = read_month(month(tmp_path, [row(1, -123), row(2, 10700), row(3, 32766, 8)]))
    assert days["code"].tolist() == ["52908"] * 3
    assert days["date"].tolist() == [pd.Timestamp(2010, 1, day) for day in (1, 2, 3)]
    assert days["ground_temperature"].tolist() == pytest.approx([-12.3, 70.0, np.nan], nan_ok=True)
    assert days["overflow"].tolist() == [False, True, False]
    assert days.iloc[0][["longitude", "latitude", "elevation"]].tolist() == pytest.approx([93.08333, 35.21667, 4612.2])


@pytest.mark.parametrize(("quality", "kept"), [(0, 1), (1, 1), (2, 0), (4, 1), (7, 0), (8, 0), (9, 1)])
def test_what_its_quality_code_calls_wrong_or_missing_is_not_used(tmp_path, quality, kept):
    days = read_month(month(tmp_path, [row(1, 50, quality)]))
    assert days["ground_temperature"].notna().sum() == kept


def test_a_wrong_value_need_not_be_credible_but_any_other_must(tmp_path):
    assert read_month(month(tmp_path, [row(1, 5000, 2)]))["ground_temperature"].isna().all()
    path = month(tmp_path, [row(1, 50), row(2, 5000)])
    with pytest.raises(CatalogError, match="not credible") as caught:
        read_month(path)
    assert caught.value.where == f"{path}, line 2"


def test_an_estimated_elevation_and_an_unknown_one(tmp_path):
    days = read_month(month(tmp_path, [row(1, elevation=146122), row(2, elevation=999999), row(3, elevation=32766)]))
    assert days["elevation"].tolist() == pytest.approx([4612.2, np.nan, 3276.6], nan_ok=True)


def test_older_files_have_no_quality_codes(tmp_path):
    assert read_month(month(tmp_path, [row(1, 50)[:10]]))["ground_temperature"].tolist() == [5.0]


def test_stations_are_where_the_files_say_and_one_that_moves_becomes_another(tmp_path):
    month(tmp_path, [row(1), row(2), row(1, station=52909, latitude=3520)])
    later = "SURF_CLI_CHN_MUL_DAY-GST-12030-0cm-201002.TXT"
    month(tmp_path, [row(1, month=2, latitude=3514), row(2, month=2, latitude=3525)], later)
    stations = read_stations(None, tmp_path)
    assert stations.sites["code"].to_dict() == {"52908": "52908", "52908-2": "52908", "52909": "52909"}
    latitude = stations.sites["latitude"]
    assert latitude["52908"] == pytest.approx(35 + 14 / 60)  # a minute is of rounding
    assert latitude["52908-2"] == pytest.approx(35 + 25 / 60)
    assert stations.daily.groupby("station").size().to_dict() == {"52908": 3, "52908-2": 1, "52909": 1}


def test_a_table_of_stations_chooses_among_those_of_the_monthly_files(tmp_path):
    month(tmp_path, [row(2), row(1), row(1, station=52909)])
    stations = read_stations(table(tmp_path, SITES, "stations.csv"), tmp_path)
    assert stations.sites.index.tolist() == ["52908"]
    assert stations.sites.loc["52908", "latitude"] == 35.2167
    assert stations.daily["date"].dt.day.tolist() == [1, 2]


def test_stations_beyond_a_box_are_not_kept(tmp_path):
    month(tmp_path, [row(1), row(1, station=50953, latitude=4545, longitude=12646)])
    stations = read_stations(None, tmp_path, within=(73.5, 26.0, 104.5, 40.0))
    assert stations.sites.index.tolist() == ["52908"]
    assert stations.daily["station"].tolist() == ["52908"]


def test_files_of_other_years_are_not_opened_and_those_of_other_depths_are_left_out(tmp_path):
    month(tmp_path, [row(1)])
    table(tmp_path, "broken", "SURF_CLI_CHN_MUL_DAY-GST-12030-0cm-201101.TXT")
    table(tmp_path, "broken", "SURF_CLI_CHN_MUL_DAY-GST-12030-5cm-201001.TXT")
    table(tmp_path, "broken", "SURF_CLI_CHN_MUL_DAY-TEM-12001-201001.TXT")
    assert len(read_stations(None, tmp_path, years={2010, 2009}).daily) == 1
    with pytest.raises(CatalogError, match="no file of the wanted years"):
        read_stations(None, tmp_path, years={1999})


def test_the_name_of_the_element_may_differ(tmp_path):
    for number, name in enumerate(("DAY_CES-GST-12030-0cm", "DAY-GST-12240"), start=1):
        month(tmp_path, [row(1, month=number)], f"SURF_CLI_CHN_MUL_{name}-20100{number}.txt")
    assert len(read_stations(None, tmp_path).daily) == 2


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([row(1), row(31), row(32)], "date that does not exist"),
        ([row(1), row(2), row(3, month=2)], "day of another month"),
        ([row(1), row(2), row(2)], "same station and date"),
        ([row(1), row(2), row(3, latitude=3561)], "degrees and minutes"),
        ([row(1), row(2), row(3, elevation="high")], "not a number"),
        ([row(1), row(2), (*row(3)[:7], "warm", *row(3)[8:])], "not a number"),
        ([row(1), row(2), row(3)[:7]], "not a number"),
    ],
)
def test_a_fault_of_a_monthly_file_is_named_with_its_line(tmp_path, rows, complaint):
    path = month(tmp_path, rows)
    with pytest.raises(CatalogError, match=complaint) as caught:
        read_month(path)
    assert caught.value.where == f"{path}, line 3"


def test_what_is_no_monthly_file_is_refused(tmp_path):
    with pytest.raises(CatalogError, match="not a monthly file"):
        read_month(month(tmp_path, [row(1)[:9]]))
    with pytest.raises(CatalogError, match="cannot read a table"):
        read_month(month(tmp_path, [row(1)[:9], row(1)]))
    with pytest.raises(CatalogError, match="cannot read a table"):
        read_month(tmp_path / "none.TXT")


def test_a_month_in_two_files_is_refused(tmp_path):
    month(tmp_path, [row(1)])
    month(tmp_path, [row(1)], "SURF_CLI_CHN_MUL_DAY_CES-GST-12030-0cm-201001.TXT")
    with pytest.raises(CatalogError, match="two files of one month"):
        read_stations(None, tmp_path)


# ---- real tables ---------------------------------------------------------------------------------------------------

WUDAOLIANG = {"year": "Year", "month": "Mon", "day": "Day", "ground_temperature": "GT"}
CMA52 = {"station": "SID", "name": "SNameEN", "longitude": "lon_dd", "latitude": "lat_dd", "elevation": "Ele"}
IN_MINUTES = CMA52 | {"longitude": "Lon_degmin_original", "latitude": "Lat_degmin_original"}


@pytest.mark.realdata
def test_the_table_of_fifty_two_stations_is_read(realdata):
    sites = read_station_sites(realdata / "stations" / "cma52" / "stations.csv", CMA52)
    assert len(sites) == 52
    assert sites.loc["52908", ["longitude", "latitude"]].tolist() == pytest.approx([93.0833, 35.2167])
    sums = read_station_indices(realdata / "stations" / "cma52" / "Thawing_index_ground_QTP.csv")
    assert set(sums.columns) == set(sites["name"])
    assert sums.loc[2001:2010].notna().all(axis=None)


@pytest.mark.realdata
def test_its_degrees_and_minutes_are_its_degrees_and_are_not_taken_for_them(realdata):
    path = realdata / "stations" / "cma52" / "stations.csv"
    decimal = read_station_sites(path, CMA52)
    minutes = read_station_sites(path, IN_MINUTES, "degrees_minutes")
    columns = ["longitude", "latitude"]
    np.testing.assert_allclose(minutes[columns], decimal[columns], atol=6e-5)  # four decimals
    with pytest.raises(CatalogError, match="look like degrees and minutes"):
        read_station_sites(path, IN_MINUTES)


@pytest.mark.realdata
def test_real_days_are_the_same_from_a_table_of_one_station_and_from_monthly_files(realdata, tmp_path):
    path = realdata / "stations" / "Wudaoliang_52908_daily_1956-2018.csv.gz"
    sites = realdata / "stations" / "cma52" / "stations.csv"
    days = read_stations(sites, path, columns=CMA52, years={2009, 2010}).daily
    assert len(days) == 730
    assert days["ground_temperature"].isna().sum() == 1
    for (year, number), part in days.groupby([days["date"].dt.year, days["date"].dt.month]):
        stored = (10 * part["ground_temperature"]).round().fillna(MISSING[0]).astype(int)
        rows = [
            row(date.day, value, 8 if value == MISSING[0] else 0, year=year, month=number)
            for date, value in zip(part["date"], stored, strict=True)
        ]
        month(tmp_path, rows, f"SURF_CLI_CHN_MUL_DAY-GST-12030-0cm-{year}{number:02d}.TXT")
    found = read_stations(None, tmp_path)
    pd.testing.assert_frame_equal(found.daily, days)


# ---- faults are named ----------------------------------------------------------------------------------------------


def test_kelvin_are_recognised(tmp_path):
    path = table(tmp_path, DAYS + "52908,2016,1,1,2631\n52908,2016,1,2,2902\n52908,2016,1,3,32766\n")
    with pytest.raises(CatalogError, match="kelvin") as caught:
        read_station_days(path)
    assert "2731.5" in str(caught.value)
    assert str(path) in str(caught.value)


def test_whole_degrees_are_recognised(tmp_path):
    path = table(tmp_path, DAYS + "52908,2016,1,1,5\n52908,2016,1,2,-12.3\n52908,2016,1,3,-11.9\n")
    with pytest.raises(CatalogError, match="not whole numbers") as caught:
        read_station_days(path)
    assert caught.value.where == f"{path}, line 3"


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


def test_observations_without_places_are_refused(tmp_path):
    with pytest.raises(CatalogError, match="without a table of stations"):
        read_stations(None, table(tmp_path, DAYS + "1,2016,1,1,5\n"))


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


def test_names_for_columns_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(CatalogError, match="does not have"):
        read_station_sites(table(tmp_path, SITES), {"longtitude": "lon"})


def test_indices_need_years(tmp_path):
    with pytest.raises(CatalogError, match="years and stations"):
        read_station_indices(table(tmp_path, "a,b\nx,1\n"))
