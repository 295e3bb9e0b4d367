"""The definitions of gridded series say what they cover and how they are coded, and say it as their archives do."""

import csv
from pathlib import Path

import pytest
import yaml

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.gridded import GriddedSeries, known_series, load_series, parse_series

REFERENCE = Path(__file__).parents[1] / "reference"


def text(**changes):
    """Return a small definition; changes to None remove a key."""
    band = {"name": "rain", "files": r"p_(?P<year>\d{4})\.nc", "variable": "p", "dtype": "int16", "scale": 0.1}
    band |= {"fill": -1, "valid_range": [0, 100], "units": "mm month-1"}
    fields = {"id": "x", "title": "t", "doi": "d", "licence": "l", "landing_pages": [], "form": "netcdf"}
    fields |= {"step": "month", "years": [2000, 2010]}
    for key, value in changes.items():
        (band if key in {*band, "packing"} else fields)[key] = value
    fields["bands"] = [{key: value for key, value in band.items() if value is not None}]
    return yaml.safe_dump({key: value for key, value in fields.items() if value is not None})


# ---- what must always hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", known_series())
def test_every_definition_loads_and_is_named_as_its_file(name):
    series = load_series(name)
    assert series.id == name
    assert series.doi.startswith("10.")
    assert all((series.title, series.licence, series.landing_pages))


@pytest.mark.parametrize("name", known_series())
def test_a_definition_says_either_years_or_depths(name):
    series = load_series(name)
    assert bool(series.years) != bool(series.bottoms)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"step": None}, "both a step and years"),
        ({"bottoms": [5.0]}, "either a step in time or the bottoms"),
        ({"years": [2010, 2000]}, "run backwards"),
        ({"step": None, "years": None, "bottoms": [5, 5]}, "do not run down"),
        ({"variable": None}, "need the name of their variable"),
        ({"form": "geotiff", "packing": "file"}, "only NetCDF"),
        ({"files": "p_("}, "not a regular expression"),
        ({"files": r"p_(?P<hour>\d\d)\.nc"}, "unknown groups hour"),
        ({"fill": 50}, "lies inside its valid range"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused_and_says_why(changes, says):
    with pytest.raises(CatalogError, match="does not describe a gridded series") as refused:
        parse_series(text(**changes), "x.yaml")
    assert says in str(refused.value)


def test_an_unknown_series_and_an_unknown_band_are_told_what_there_is():
    with pytest.raises(CatalogError, match="soilgrids-2"):
        load_series("soilgrids")
    with pytest.raises(CatalogError, match="one of sand, clay"):
        load_series("soilgrids-2").band("silt")


# ---- published numbers ---------------------------------------------------------------------------------------------


def test_layers_of_soil_are_the_published_ones():
    """doi:10.1002/jame.20026: eight layers to 2.296 m."""
    rows = (REFERENCE / "shangguan_2013.csv").read_text().splitlines()
    bottoms = [float(row["bottom"]) for row in csv.DictReader(row for row in rows if not row.startswith("#"))]
    series = load_series("shangguan-2013")
    assert list(series.bottoms) == bottoms
    assert sum(series.thicknesses) == pytest.approx(229.6)
    assert sum(load_series("soilgrids-2").thicknesses) == 200.0


def test_rain_of_china_is_in_tenths_of_a_millimetre():
    band = load_series("china-precipitation-1km").band("precipitation")
    assert (band.factor, band.units, band.fill) == (0.1, "mm month-1", -32768)


@pytest.mark.parametrize(
    ("series", "band", "name", "says"),
    [
        ("china-precipitation-1km", "precipitation", "pre_2018_2020.nc", {"first_year": 2018, "last_year": 2020}),
        ("china-precipitation-1km", "precipitation", "pre_2021.nc", {"first_year": 2021, "last_year": 2021}),
        ("china-precipitation-1km", "precipitation", "tmp_2018_2020.nc", None),
        ("terraclimate", "precipitation", "TerraClimate_ppt_2010.nc", {"first_year": 2010, "last_year": 2010}),
        ("terraclimate", "precipitation", "TerraClimate_aet_2010.nc", None),
        ("era5-land", "precipitation", "download 1.nc", {}),
        ("soilgrids-2", "clay", "clay_0-5cm_mean.tif", {"top": 0.0, "bottom": 5.0}),
        ("soilgrids-2", "clay", "clay_0-5cm_mean_1000.tif", {"top": 0.0, "bottom": 5.0}),
        ("soilgrids-2", "clay", "clay_0-5cm_uncertainty.tif", None),
        ("shangguan-2013", "sand", "SA2.nc", {}),
        ("awt-modis-fsc", "snow_cover", "2010032.tif", {"first_year": 2010, "last_year": 2010, "day_of_year": 32}),
        (
            "awt-modis-fsc",
            "snow_cover",
            "AWT_MODIS_FSC_20100201.tif",
            {"first_year": 2010, "last_year": 2010, "month": 2, "day": 1},
        ),
    ],
)
def test_names_of_files_say_what_is_in_them(series, band, name, says):
    found = load_series(series).band(band).layer_of(name)
    assert (found is None) == (says is None)
    if found is not None:
        assert {key: value for key, value in found._asdict().items() if value is not None} == says


def test_years_beyond_a_series_are_found():
    series = load_series("china-precipitation-1km")
    assert series.beyond([1900, 1901, 2024, 2025]) == [1900, 2025]
    assert load_series("soilgrids-2").beyond([1066]) == []


def test_models_are_frozen():
    series = load_series("era5-land")
    with pytest.raises(ValueError, match="frozen"):
        series.id = "other"
    assert isinstance(series, GriddedSeries)
