"""What should exist is known beforehand, so that every gap is either filled, explained or named."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.completeness import Outage, completed, expected, holes, outages
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granules import Granule
from frostmap.catalogs.grids import Tile, parse_tile

TERRA, AQUA, VEGETATION = load_collection("mod11a1"), load_collection("myd11a1"), load_collection("mod13a1")
PLATEAU = ("h23v05", "h24v05", "h25v05", "h26v05", "h25v06", "h26v06")
DAYS = [dt.date(2019, 1, 1) + dt.timedelta(day) for day in range(365)]


def granule(date, tile="h25v05", collection=TERRA, production="1", source=""):
    name = f"{collection.product}.A{date:%Y%j}.{tile}.061"
    return Granule(name, collection.product, date, parse_tile(tile), "061", production, source=source)


class Archive:
    """A source that holds some granules and remembers what it was asked for."""

    def __init__(self, name, granules):
        self.name, self.granules, self.asked = name, granules, []

    def search(self, collection, tiles, start, end):
        self.asked.append((tuple(tiles), start, end))
        ours = [one for one in self.granules if one.product == collection.product and one.tile in tiles]
        return [one for one in ours if start <= one.date <= end]


# ---- what should exist ---------------------------------------------------------------------------------------------


def test_five_years_of_the_plateau_are_as_many_granules_as_the_paper_s_archive():
    years = range(2016, 2021)
    assert len(expected(TERRA, PLATEAU, years)) + len(expected(AQUA, PLATEAU, years)) == 21_924
    assert len(expected(VEGETATION, PLATEAU, years)) == 690


def test_composites_begin_anew_each_year():
    days = [date for _, _, date in expected(VEGETATION, ["h25v05"], [2019, 2020])]
    assert [date.timetuple().tm_yday for date in days] == [*range(1, 354, 16)] * 2


@pytest.mark.parametrize(
    ("collection", "first"),
    [(TERRA, dt.date(2000, 2, 24)), (AQUA, dt.date(2002, 7, 4)), (VEGETATION, dt.date(2000, 2, 18))],
)
def test_nothing_is_expected_before_a_product_began_or_after_the_last_day(collection, first):
    days = [date for _, _, date in expected(collection, ["h25v05"], range(1998, 2004))]
    assert days[0] == first
    assert expected(collection, ["h25v05"], [1999]) == []
    known = [date for _, _, date in expected(collection, ["h25v05"], [2003], last_day=dt.date(2003, 2, 3))]
    assert known
    assert known == [date for date in days if dt.date(2003, 1, 1) <= date <= dt.date(2003, 2, 3)]


@given(st.sets(st.integers(2000, 2024), max_size=3), st.sets(st.sampled_from(PLATEAU)))
def test_expectations_are_each_day_and_tile_once_in_order(years, tiles):
    found = expected(TERRA, [*tiles, *tiles], [*years, *years])
    assert len(set(found)) == len(found)
    assert found == sorted(found, key=lambda one: (one[2], one[1]))
    assert {str(tile) for _, tile, _ in found} == (tiles if years else set())


def test_products_without_days_have_no_expectations():
    with pytest.raises(CatalogError, match="no granules in time"):
        expected(load_collection("cop-dem-glo-90"), ["h25v05"], [2020])


# ---- what is missing -----------------------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(DAYS), max_size=8))
def test_holes_and_granules_together_are_what_was_expected(missing):
    found = [granule(day) for day in DAYS if day not in missing]
    assert [hole.date for hole in holes(TERRA, ["h25v05"], [2019], found)] == sorted(missing)


def test_a_granule_of_another_tile_or_product_fills_no_hole():
    others = [granule(DAYS[0], "h24v05"), granule(DAYS[0], collection=AQUA), granule(dt.date(2018, 1, 1))]
    assert len(holes(TERRA, ["h25v05"], [2019], others)) == 365


def test_a_hole_says_which_outage_explains_it():
    days = {hole.date: hole.outage for hole in holes(AQUA, ["h25v05"], [2020], [])}
    explained = sorted(date for date, outage in days.items() if outage)
    assert (explained[0], explained[-1], len(explained)) == (dt.date(2020, 8, 16), dt.date(2020, 9, 2), 18)
    assert days[explained[0]] == "Aqua, 2020-08-16 to 2020-09-02: failure of the data recorder"
    assert not any(hole.outage for hole in holes(TERRA, ["h25v05"], [2020], []))


def test_an_outage_of_some_days_does_not_explain_a_missing_composite(monkeypatch):
    year = [hole.outage for hole in holes(VEGETATION, ["h25v05"], [2001], [])]
    assert len(year) == 23
    assert not any(year)
    long = (Outage("Terra", dt.date(2001, 6, 10), dt.date(2001, 7, 2), "long enough", "https://a.test"),)
    monkeypatch.setattr("frostmap.catalogs.completeness.outages", lambda: long)
    explained = [hole.date for hole in holes(VEGETATION, ["h25v05"], [2001], []) if hole.outage]
    assert explained == [dt.date(2001, 6, 10)]


def test_each_outage_is_dated_and_cited():
    for one in outages():
        assert one.platform in ("Terra", "Aqua")
        assert dt.date(2000, 2, 24) <= one.first <= one.last <= one.first + dt.timedelta(20)
        assert one.reason
        assert one.source.startswith(("https://", "http://"))
    assert len(outages()) == len({(one.platform, one.first) for one in outages()}) >= 9


# ---- one source after another --------------------------------------------------------------------------------------


def test_a_second_source_is_asked_for_holes_only():
    lost = [DAYS[3], DAYS[4], DAYS[20], DAYS[200]]
    first = Archive("first", [granule(day, source="first") for day in DAYS if day not in lost])
    second = Archive("second", [granule(day, source="second", production="9") for day in DAYS if day != DAYS[4]])
    found = completed([first, second], TERRA, ["h25v05"], DAYS[0], DAYS[-1])
    assert [one.date for one in found] == [day for day in DAYS if day != DAYS[4]]
    assert [one.date for one in found if one.source == "second"] == [DAYS[3], DAYS[20], DAYS[200]]
    assert second.asked == [((Tile(25, 5),), DAYS[3], DAYS[20]), ((Tile(25, 5),), DAYS[200], DAYS[200])]


def test_only_tiles_with_holes_are_asked_for():
    everything = [granule(day, tile) for day in DAYS for tile in ("h24v05", "h25v05")]
    first = Archive("first", [one for one in everything if (one.date, str(one.tile)) != (DAYS[9], "h24v05")])
    second, third = Archive("second", everything), Archive("third", everything)
    assert len(completed([first, second, third], TERRA, ["h25v05", "h24v05"], DAYS[0], DAYS[-1])) == len(everything)
    assert second.asked == [((Tile(24, 5),), DAYS[9], DAYS[9])]
    assert third.asked == []


def test_a_product_on_composites_has_no_holes_between_them():
    days = [date for _, _, date in expected(VEGETATION, ["h25v05"], [2019])]
    first, second = Archive("first", [granule(day, collection=VEGETATION) for day in days]), Archive("second", [])
    assert len(completed([first, second], VEGETATION, ["h25v05"], DAYS[0], DAYS[-1])) == 23
    assert second.asked == []


@pytest.mark.parametrize("broken", [0, 1])
def test_a_source_that_does_not_answer_is_named_and_never_passed_over(broken):
    sources = [Archive("first", [granule(day) for day in DAYS[1:]]), Archive("second", [])]

    def search(*_):
        raise CatalogError("the STAC API did not answer the search", where="https://a.test", found="status 503")

    sources[broken].search = search
    with pytest.raises(CatalogError, match="did not answer") as caught:
        completed(sources, TERRA, ["h25v05"], DAYS[0], DAYS[-1])
    assert sources[broken].name in caught.value.what
    assert (caught.value.where, caught.value.found) == ("https://a.test", "status 503")
    assert caught.value.remedy


def test_no_source_finds_nothing():
    assert completed([], TERRA, ["h25v05"], DAYS[0], DAYS[-1]) == []
