"""The definitions of products say how their numbers are coded, and say it as the archives do."""

import numpy as np
import pytest

from frostmap.catalogs.collections import Collection, known_collections, load_collection, parse_collection
from frostmap.catalogs.errors import CatalogError

PRODUCTS = ["mod11a1", "myd11a1", "mod13a1", "mod13a2"]


def definition(**changes):
    """Return a small product."""
    band = {"name": "ndvi", "asset": "a", "sds": "s", "dtype": "int16", "divisor": 10000, "fill": -3000}
    band |= {"valid_range": [-2000, 10000], "units": "1"}
    band |= {key: changes.pop(key) for key in list(changes) if key in {*band, "scale", "offset", "colour"}}
    fields = {"id": "x", "product": "X", "version": "061", "title": "t", "doi": "d", "licence": "l"}
    fields |= {"landing_pages": [], "stac_collections": ["x"], "pixels_per_tile": 2, "hdf_grid": "G"}
    return Collection.model_validate(
        fields | {"bands": [{key: value for key, value in band.items() if value is not None}]} | changes
    )


# ---- what must always hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", known_collections())
def test_every_definition_loads_and_is_named_as_its_file(name):
    assert load_collection(name).id == name


@pytest.mark.parametrize("name", known_collections())
def test_no_fill_passes_for_data(name):
    for band in load_collection(name).bands:
        lowest, highest = band.valid_range
        assert band.fill is None or not lowest <= band.fill <= highest


def test_terra_and_aqua_are_coded_alike():
    terra, aqua = load_collection("mod11a1"), load_collection("myd11a1")
    assert terra.bands == aqua.bands
    assert (terra.product, aqua.product) == ("MOD11A1", "MYD11A1")


def test_both_vegetation_products_have_the_same_layers():
    fine, coarse = load_collection("mod13a1"), load_collection("mod13a2")
    assert [band.name for band in fine.bands] == [band.name for band in coarse.bands]
    assert fine.pixels_per_tile == 2 * coarse.pixels_per_tile == 2400
    assert all(band.sds.startswith("500m 16 days ") for band in fine.bands)
    assert all(band.sds.startswith("1 km 16 days ") for band in coarse.bands)


# ---- published numbers: file specifications of collection 6.1 (doi:10.5067/MODIS/MOD11A1.061, .../MOD13A1.061) -------


@pytest.mark.parametrize(
    ("name", "coding"),
    [
        ("lst_day", ("LST_Day_1km", "uint16", 0.02, 0.0, 0, (7500, 65535), "K")),
        ("lst_night", ("LST_Night_1km", "uint16", 0.02, 0.0, 0, (7500, 65535), "K")),
        ("qc_day", ("QC_Day", "uint8", 1.0, 0.0, None, (0, 255), "bit field")),
        ("view_time_day", ("Day_view_time", "uint8", 0.1, 0.0, 255, (0, 240), "h")),
        ("view_angle_night", ("Night_view_angl", "uint8", 1.0, -65.0, 255, (0, 130), "degree")),
        ("emissivity_31", ("Emis_31", "uint8", 0.002, 0.49, 0, (1, 255), "1")),
        ("clear_sky_night", ("Clear_night_cov", "uint16", 0.0005, 0.0, 0, (1, 65535), "1")),
    ],
)
def test_temperature_layers_are_coded_as_specified(name, coding):
    band = load_collection("myd11a1").band(name)
    assert (band.asset, band.dtype, band.factor, band.offset, band.fill, band.valid_range, band.units) == coding
    assert band.sds == band.asset


@pytest.mark.parametrize(
    ("name", "coding"),
    [
        ("ndvi", ("500m_16_days_NDVI", "int16", 1e-4, -3000, (-2000, 10000))),
        ("reliability", ("500m_16_days_pixel_reliability", "int8", 1.0, -1, (0, 3))),
        ("day_of_year", ("500m_16_days_composite_day_of_the_year", "int16", 1.0, -1, (1, 366))),
        ("quality", ("500m_16_days_VI_Quality", "uint16", 1.0, 65535, (0, 65534))),
    ],
)
def test_vegetation_layers_are_coded_as_specified(name, coding):
    band = load_collection("mod13a1").band(name)
    assert (band.asset, band.dtype, band.factor, band.fill, band.valid_range) == coding


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mod11a1", "modis-11A1-061.collection.json"),
        ("myd11a1", "modis-11A1-061.collection.json"),
        ("mod13a1", "modis-13A1-061.collection.json"),
        ("cop-dem-glo-90", "cop-dem-glo-90.collection.json"),
    ],
)
def test_asset_keys_types_and_factors_are_those_of_the_catalogue(realdata, name, file):
    import json

    document = json.loads((realdata / "stac" / file).read_text())
    collection = load_collection(name)
    assert document["id"] == collection.stac_collections[0]
    for band in collection.bands:
        described = document["item_assets"][band.asset].get("raster:bands", [{}])[0]
        assert described.get("data_type", band.dtype) == band.dtype
        assert described.get("scale", 1.0) == pytest.approx(band.factor), band.name
        assert "nodata" not in described  # nor the offset: the catalogue cannot replace the definition
        assert "offset" not in described
    keys = {key for key, asset in document["item_assets"].items() if "geotiff" in asset.get("type", "")}
    missing = keys - {band.asset for band in collection.bands}
    assert missing <= {"500m_16_days_relative_azimuth_angle"}


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mod11a1", "MOD11A1.A2021227.h11v05.061.2021228105320.hdf"),
        ("mod13a2", "MOD13A2.A2021225.h11v06.061.2021320163717.hdf"),
    ],
)
def test_codings_are_those_of_real_granules_but_for_the_direction_of_the_scale(realdata, name, file):
    from pyhdf.SD import SD

    granule = SD(str(realdata / "modis_hdf" / file))
    for band in load_collection(name).bands:
        attributes = granule.select(band.sds).attributes()
        stated = attributes.get("scale_factor", 1.0)
        assert stated == pytest.approx(band.divisor if band.divisor is not None else band.factor), band.name
        assert attributes.get("add_offset", 0.0) == pytest.approx(band.offset)
        assert tuple(attributes["valid_range"]) == band.valid_range
        if band.fill is None:
            assert not isinstance(attributes.get("_FillValue"), int)  # a text, "NA", or absent
        else:
            assert attributes["_FillValue"] == band.fill
    granule.end()


# ---- edges ---------------------------------------------------------------------------------------------------------


def test_an_unknown_product_is_answered_with_the_known_ones():
    with pytest.raises(CatalogError, match="no collection named 'mod99'") as caught:
        load_collection("mod99")
    assert "mod11a1, mod13a1" in str(caught.value)


def test_an_unknown_band_is_answered_with_the_known_ones():
    with pytest.raises(CatalogError, match="MOD11A1 has no band named 'ndvi'") as caught:
        load_collection("mod11a1").band("ndvi")
    assert "lst_day, qc_day" in str(caught.value)


def test_a_sound_definition_is_accepted():
    assert definition().bands[0].factor == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"fill": 0}, "inside its valid range"),
        ({"scale": 0.1}, "both a scale and a divisor"),
        ({"divisor": 0}, "greater than 0"),
        ({"fill": -40000}, "cannot be stored as int16"),
        ({"valid_range": [-2000, 40000]}, "cannot be stored as int16"),
        ({"valid_range": [10000, -2000]}, "runs backwards"),
        ({"colour": "green"}, "Extra inputs"),
        ({"tile": 3}, "Extra inputs"),
        ({"dtype": "int64"}, "int8"),
        ({"version": 61}, "valid string"),
        ({"sds": ""}, "needs an sds"),
    ],
)
def test_a_definition_that_would_mislead_is_refused(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        definition(**changes)


def test_two_bands_of_one_name_are_refused():
    band = {"name": "a", "asset": "b", "dtype": "uint8", "valid_range": [0, 1], "units": "1"}
    with pytest.raises(ValueError, match="same name: a"):
        definition(bands=[band, band], hdf_grid="")


@pytest.mark.parametrize("text", ["id: [", "id: x", "- 1"])
def test_files_that_describe_no_product_are_named(text):
    with pytest.raises(CatalogError, match="definition") as caught:
        parse_collection(text, where="mine.yaml")
    assert "mine.yaml" in str(caught.value)


def test_definitions_are_immutable():
    with pytest.raises(ValueError, match="frozen"):
        load_collection("mod11a1").id = "other"


def test_integer_types_hold_their_ranges():
    for name in PRODUCTS:
        for band in load_collection(name).bands:
            assert np.array(band.valid_range).astype(band.dtype).tolist() == list(band.valid_range)
