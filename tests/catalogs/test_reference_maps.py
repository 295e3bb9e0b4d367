"""The definitions of published maps say what their numbers mean, and refuse to contradict themselves."""

import re

import pytest
import yaml

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.reference_maps import (
    ReferenceMap,
    known_reference_maps,
    load_reference_map,
    parse_reference_map,
)


def text(**changes):
    """Return a small definition of a map of classes; changes to None remove a key."""
    fields = {"id": "x", "title": "t", "doi": "10.1", "licence": "l", "landing_pages": ["p"], "years": [2000, 2010]}
    fields |= {"holds": "classes", "codes": {1: "permafrost", 2: "no_permafrost"}} | changes
    return yaml.safe_dump({key: value for key, value in fields.items() if value is not None})


def temperature(**changes):
    """Return a small definition of a map of temperatures."""
    given = {"holds": "temperature", "codes": None, "units": "degC", "threshold": 0.0, "rule": "below"}
    return text(**(given | changes))


@pytest.mark.parametrize("name", known_reference_maps())
def test_every_definition_loads_and_is_named_as_its_file(name):
    found = load_reference_map(name)
    assert found.id == name
    assert found.doi.startswith("10.")
    assert all((found.title, found.licence, found.landing_pages))
    west, south, east, north = found.covers
    assert west < 80 < east  # each shows some of the plateau
    assert south < 36 < north


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (text(years=[2010, 2000]), "run backwards"),
        (text(missing=[2]), "mean a class, and none"),
        (text(threshold=0.0), "classes have codes"),
        (text(files="p_("), "not a regular expression"),
        (text(codes={1: "ice"}), "codes"),
        (text(colour="red"), "colour"),
        (temperature(codes={1: "permafrost"}), "codes are of classes"),
        (temperature(rule=None), "needs a threshold and a rule"),
        (temperature(units="%"), "has the units degC or K"),
        (temperature(holds="share"), "has the units 1 or %"),
        (temperature(valid_range=[3.0, 1.0]), "runs backwards"),
    ],
)
def test_a_definition_that_contradicts_itself_is_refused_and_says_why(given, says):
    with pytest.raises(CatalogError, match="does not describe a reference map") as refused:
        parse_reference_map(given, "x.yaml")
    assert says in str(refused.value)


def test_an_unknown_map_is_told_what_there_is():
    with pytest.raises(CatalogError, match="obu-2019-temperature"):
        load_reference_map("obu")


def test_what_is_permafrost_is_as_published():
    # Obu 2019: MAGT < 0 °C. Ran 2022: MAGT <= 0 °C. CCI: half of a cell, of which the extent is a percentage.
    rules = {
        name: (load_reference_map(name).threshold, load_reference_map(name).rule) for name in known_reference_maps()
    }
    assert rules["obu-2019-temperature"] == (0.0, "below")
    assert rules["ran-2022"] == (0.0, "at_most")
    assert rules["esa-cci-permafrost-extent"] == (0.5, "at_least")
    assert rules["cao-2023"] == (None, None)
    assert load_reference_map("cao-2023").codes == load_reference_map("chen-2026").codes
    assert not load_reference_map("zou-2017").codes  # its page does not say them


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("cao-2023", "permafrost_distribution_map_2010_QTP.tif"),
        ("zou-2017", "perma_distr_map.tif"),
        ("obu-2019-temperature", "UiO_PEX_MAGTM_5.0_20181127_2000_2016_NH.tif"),
        ("esa-cci-permafrost-extent", "ESACCI-PERMAFROST-L4-PFR-MODISLST_CRYOGRID-AREA4_PP-2020-fv05.0.nc"),
        (
            "esa-cci-permafrost-temperature",
            "ESACCI-PERMAFROST-L4-GTD-MODISLST_CRYOGRID-AREA4_PP-2003-fv04.0.nc",
        ),
    ],
)
def test_files_are_called_as_their_archives_call_them(product, name):
    assert re.fullmatch(load_reference_map(product).files, name)


def test_models_are_frozen():
    found = load_reference_map("ran-2022")
    with pytest.raises(ValueError, match="frozen"):
        found.id = "other"
    assert isinstance(found, ReferenceMap)
