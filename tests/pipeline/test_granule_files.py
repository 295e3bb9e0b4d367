"""A granule's numbers come out as they are stored, or an error says what is wrong with its file."""

import contextlib
import pickle
import shutil
import struct

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyhdf.SD import SD, SDC

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granules import Granule, parse_granule_name
from frostmap.catalogs.grids import SINUSOIDAL_CRS, TILE_SIZE, Tile, lattice
from frostmap.pipeline import hdf4_elements
from frostmap.pipeline.errors import FrostmapError, UserError
from frostmap.pipeline.granule_files import GranuleError, check_granule_file, decode, read_granule, read_raster
from frostmap.pipeline.granule_reader import reader
from frostmap.pipeline.hdf_eos import parse_core_metadata, parse_struct_metadata
from frostmap.pipeline.simulate import granules as simulated

# rasterio and rioxarray still multiply Affine by `*`
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

TERRA, AQUA = load_collection("mod11a1"), load_collection("myd11a1")
NDVI500, NDVI1000 = load_collection("mod13a1"), load_collection("mod13a2")
NAME = "MOD11A1.A2010001.h25v05.061.2021014002251"
N = 12  # pixels per tile of the small granules below
REAL = "MOD11A1.A2021227.h11v05.061.2021228105320.hdf"


def arrays(collection=TERRA, n=N):
    """Return an array of each layer, all its numbers different where the type allows."""
    generator = np.random.default_rng(7)
    return {
        band.name: generator.integers(*map(int, band.valid_range), (n, n), endpoint=True).astype(band.dtype)
        for band in collection.bands
    }


def write_hdf(
    path,
    collection=TERRA,
    n=N,
    *,
    tile=None,
    radius=6371007.181,
    changes=None,
    projection="GCTP_SNSOID",
    compressed=True,
    external=None,
):
    """Write a granule as HDF-EOS2, and return what is in it."""
    tile = tile or parse_granule_name(path.name).tile
    box = lattice(n)[tile].boundingbox
    stored = arrays(collection, n) | (changes or {})
    codes = {"uint8": SDC.UINT8, "uint16": SDC.UINT16, "int16": SDC.INT16, "int8": SDC.INT8, "float32": SDC.FLOAT32}
    file = SD(str(path), SDC.WRITE | SDC.CREATE | SDC.TRUNC)
    for band in collection.bands:
        if stored[band.name] is not None:
            layer = file.create(band.sds, codes[stored[band.name].dtype.name], stored[band.name].shape)
            if external is not None:
                layer.setexternalfile(external)
            elif compressed:
                layer.setcompress(SDC.COMP_DEFLATE, 4)
            layer[:] = stored[band.name]
            layer.endaccess()
    text = "\n".join([
        "GROUP=SwathStructure",
        "END_GROUP=SwathStructure",
        "GROUP=GridStructure",
        "\tGROUP=GRID_1",
        f'\t\tGridName="{collection.hdf_grid}"',
        f"\t\tXDim={n}",
        f"\t\tYDim={n}",
        f"\t\tUpperLeftPointMtrs=({box.left:.6f},{box.top:.6f})",
        f"\t\tLowerRightMtrs=({box.right:.6f},{box.bottom:.6f})",
        f"\t\tProjection={projection}",
        f"\t\tProjParams=({radius:f},0,0,0,0,0,0,0,86400,0,0,0,0)",
        "\tEND_GROUP=GRID_1",
        "END_GROUP=GridStructure",
        "END",
    ])  # fmt: skip
    file.attr("StructMetadata.0").set(SDC.CHAR8, text)
    file.end()
    return stored


def write_geotiff(path, array, tile=Tile(25, 5), *, crs=str(SINUSOIDAL_CRS), shift=0.0, count=1, **more):  # noqa: B008 - immutable
    """Write a layer as a GeoTIFF, with a transform as public catalogues round it."""
    rows, columns = array.shape
    box = lattice(rows)[tile].boundingbox
    pixel = round(TILE_SIZE / columns, 10)
    transform = Affine(pixel, 0, round(box.left, 4) + shift, 0, -pixel, round(box.top, 4))
    profile = {"driver": "GTiff", "height": rows, "width": columns, "dtype": array.dtype.name, "crs": crs}
    with rasterio.open(path, "w", **{"transform": transform, "count": count, **profile, **more}) as file:
        for number in range(1, count + 1):
            file.write(array, number)


def granule(folder, stored, collection=TERRA, keys=None, **options):
    """Write GeoTIFFs of a granule and return it."""
    hrefs = {}
    for band in collection.bands:
        if keys is None or band.asset in keys:
            hrefs[band.asset] = str(folder / f"{NAME}_{band.asset}.tif")
            write_geotiff(hrefs[band.asset], stored[band.name], **options)
    return Granule(NAME, *parse_granule_name(NAME), band_hrefs=hrefs)


# ---- what must always hold -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", [TERRA, NDVI500])
def test_what_was_written_as_hdf_is_read(tmp_path, collection):
    path = tmp_path / NAME.replace("MOD11A1", collection.product)
    stored = write_hdf(path, collection)
    read = read_granule(path, collection, pixels_per_tile=N)
    assert list(read) == [band.name for band in collection.bands]
    for band in collection.bands:
        assert read[band.name].dtype == band.dtype
        assert np.array_equal(read[band.name], stored[band.name])


def test_what_was_written_as_geotiffs_is_read(tmp_path):
    stored = arrays()
    read = read_granule(granule(tmp_path, stored), TERRA, pixels_per_tile=N)
    assert all(np.array_equal(read[name], stored[name]) for name in stored)
    assert all(read[band.name].dtype == band.dtype for band in TERRA.bands)


def test_only_wanted_layers_are_read_in_the_wanted_order(tmp_path):
    stored = write_hdf(tmp_path / f"{NAME}.hdf")
    names = ["view_time_night", "lst_day"]
    from_hdf = read_granule(tmp_path / f"{NAME}.hdf", TERRA, names, pixels_per_tile=N)
    from_tiff = read_granule(
        granule(tmp_path, stored, keys=["LST_Day_1km", "Night_view_time"]), TERRA, names, pixels_per_tile=N
    )
    assert list(from_hdf) == list(from_tiff) == names
    assert all(np.array_equal(from_hdf[name], from_tiff[name]) for name in names)


def test_geotiffs_are_preferred_and_hdf_stands_in_where_one_is_missing(tmp_path):
    in_hdf = write_hdf(tmp_path / f"{NAME}.hdf")
    in_tiff = {name: array[::-1].copy() for name, array in in_hdf.items()}
    partial = granule(tmp_path, in_tiff, keys=["LST_Day_1km"])
    both = Granule(NAME, *parse_granule_name(NAME), str(tmp_path / f"{NAME}.hdf"), partial.band_hrefs)
    one = read_granule(both, TERRA, ["lst_day"], pixels_per_tile=N)
    two = read_granule(both, TERRA, ["lst_day", "qc_day"], pixels_per_tile=N)
    assert np.array_equal(one["lst_day"], in_tiff["lst_day"])
    assert np.array_equal(two["lst_day"], in_hdf["lst_day"])


def test_signed_bytes_that_older_writers_stored_as_unsigned_ones_keep_their_sign(tmp_path):
    reliability = np.arange(-1, N * N - 1).reshape(N, N).astype(np.int8)
    path = tmp_path / "r.tif"
    write_geotiff(path, reliability.view(np.uint8))
    name = NAME.replace("MOD11A1", "MOD13A1")
    one = Granule(name, *parse_granule_name(name), band_hrefs={"500m_16_days_pixel_reliability": str(path)})
    assert np.array_equal(read_granule(one, NDVI500, ["reliability"], pixels_per_tile=N)["reliability"], reliability)


@given(st.data())
def test_decoding_agrees_with_its_plain_twin(data):
    band = data.draw(st.sampled_from([*TERRA.bands, *NDVI500.bands]))
    limits = np.iinfo(band.dtype)
    stored = data.draw(st.lists(st.integers(int(limits.min), int(limits.max)), min_size=1, max_size=20))
    plain = [
        number * band.factor + band.offset if band.valid_range[0] <= number <= band.valid_range[1] else np.nan
        for number in stored
    ]
    assert np.allclose(decode(np.array(stored, band.dtype), band), plain, rtol=1e-6, equal_nan=True)


# ---- published numbers: file specifications of collection 6.1 --------------------------------------------------------


@pytest.mark.parametrize(
    ("collection", "name", "stored", "physical"),
    [
        (TERRA, "lst_day", [14000, 0, 7499, 7500], [280.0, np.nan, np.nan, 150.0]),
        (AQUA, "view_time_day", [105, 255, 0, 240, 241], [10.5, np.nan, 0.0, 24.0, np.nan]),
        (TERRA, "view_angle_night", [0, 65, 130, 255], [-65.0, 0.0, 65.0, np.nan]),
        (TERRA, "emissivity_31", [255, 1, 0], [1.0, 0.492, np.nan]),
        (NDVI500, "ndvi", [7014, -3000, -2000, 10000], [0.7014, np.nan, -0.2, 1.0]),
        (NDVI1000, "ndvi", [7014, -3000], [0.7014, np.nan]),
        (NDVI500, "reliability", [0, 3, -1], [0.0, 3.0, np.nan]),
        (TERRA, "qc_day", [0, 65, 2, 3, 129, 255], [0.0, 65.0, 2.0, 3.0, 129.0, 255.0]),
    ],
)
def test_stored_numbers_mean_what_the_specification_says(collection, name, stored, physical):
    band = collection.band(name)
    decoded = decode(np.array(stored, band.dtype), band)
    assert decoded.dtype == np.float32
    assert decoded == pytest.approx(np.array(physical, np.float32), rel=1e-6, nan_ok=True)


def test_fourteen_thousand_is_six_point_eight_five_degrees():
    assert decode(np.array([14000], np.uint16), TERRA.band("lst_day"))[0] - 273.15 == pytest.approx(6.85, abs=2e-5)


# ---- real granules -------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_a_real_granule_of_temperature_is_read_whole(realdata):
    read = read_granule(realdata / "modis_hdf" / REAL, TERRA)
    assert {array.shape for array in read.values()} == {(1200, 1200)}
    for part in ("day", "night"):
        temperature = decode(read[f"lst_{part}"], TERRA.band(f"lst_{part}"))
        valid = np.isfinite(temperature)
        assert 0.04 < valid.mean() < 0.05
        assert 270 < np.nanmin(temperature) < np.nanmax(temperature) < 330
        # where there is a temperature there is a time and an angle, and its quality is 0 or 1
        assert np.array_equal(np.isfinite(decode(read[f"view_time_{part}"], TERRA.band(f"view_time_{part}"))), valid)
        assert np.array_equal(np.isfinite(decode(read[f"view_angle_{part}"], TERRA.band(f"view_angle_{part}"))), valid)
        assert np.isin(read[f"qc_{part}"][valid] & 3, [0, 1]).all()
    hours = decode(read["view_time_day"], TERRA.band("view_time_day"))
    assert 9 < np.nanmin(hours) < np.nanmax(hours) < 13


@pytest.mark.realdata
def test_a_real_granule_of_vegetation_is_between_its_bounds(realdata):
    path = realdata / "modis_hdf" / "MOD13A2.A2021225.h11v06.061.2021320163717.hdf"
    read = read_granule(path, NDVI1000, ["ndvi", "reliability", "day_of_year"])
    ndvi = decode(read["ndvi"], NDVI1000.band("ndvi"))
    assert -0.2 <= np.nanmin(ndvi) < np.nanmax(ndvi) <= 1.0
    assert np.nanmax(ndvi) > 0.5  # not ten thousand times too large nor too small
    days = decode(read["day_of_year"], NDVI1000.band("day_of_year"))
    assert set(np.unique(days[np.isfinite(days)])) <= set(range(225, 241))


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("product", "part", "expected"),
    [  # valid fraction of the plateau; least, 5 %, median, 95 %, greatest local hour
        ("MOD11A1", "Day", (0.729, 10.0, 10.2, 10.9, 11.6, 11.8)),
        ("MOD11A1", "Night", (0.841, 21.2, 21.4, 22.1, 22.9, 23.0)),
        ("MYD11A1", "Day", (0.689, 12.2, 12.5, 13.2, 14.0, 14.1)),
        ("MYD11A1", "Night", (0.918, 0.1, 1.3, 2.0, 2.7, 2.9)),
    ],
)
def test_overpass_times_of_the_plateau_are_as_known(realdata, product, part, expected):
    path = realdata / "modis_plateau_2010001" / f"{product}_2010001.{part}_view_time_clip.tif"
    band = TERRA.band(f"view_time_{part.lower()}")
    plateau = np.isfinite(read_raster(path).values)
    hours = decode(read_raster(path, fill=band.fill).values, band)
    assert plateau.sum() == 2_783_092
    seen = hours[np.isfinite(hours)]
    assert seen.size / plateau.sum() == pytest.approx(expected[0], abs=5e-4)
    assert np.percentile(seen, [0, 5, 50, 95, 100]) == pytest.approx(expected[1:], abs=0.051)


@pytest.mark.realdata
def test_temperatures_of_the_plateau_are_as_known(realdata):
    path = realdata / "modis_plateau_2010001" / "MYD11A1_2010001.LST_Day_1km_clip.tif"
    raster = read_raster(path, fill=AQUA.band("lst_day").fill)
    celsius = decode(raster.values, AQUA.band("lst_day")) - 273.15
    assert np.isfinite(celsius).sum() / 2_783_092 == pytest.approx(0.68900, abs=5e-6)
    assert np.nanpercentile(celsius, [0, 1, 50, 99, 100]) == pytest.approx([-32.4, -13.8, 2.9, 18.7, 28.4], abs=0.06)
    assert raster.dims == ("y", "x")
    assert raster.rio.crs.to_epsg() == 4326
    assert "scale_factor" not in raster.attrs


@pytest.mark.realdata
def test_a_scene_without_declared_fills_decodes_by_the_definition(realdata):
    folder = realdata / "modis_heihe_2013001"
    layers = {
        band.name: decode(read_raster(folder / f"MOD11A1_2013001.{band.asset}.tif", fill=band.fill or ()).values, band)
        for band in TERRA.bands[:8]
        if not band.name.startswith("qc")
    }
    for part, fraction in (("day", 0.8241), ("night", 0.9096)):
        valid = np.isfinite(layers[f"lst_{part}"])
        assert valid.mean() == pytest.approx(fraction, abs=5e-5)
        assert np.array_equal(np.isfinite(layers[f"view_time_{part}"]), valid)
        assert np.array_equal(np.isfinite(layers[f"view_angle_{part}"]), valid)
        quality = read_raster(folder / f"MOD11A1_2013001.QC_{part.capitalize()}.tif").values
        assert np.isin(quality[valid].astype(np.uint8) & 3, [0, 1]).all()
    assert 225 < np.nanmin(layers["lst_night"]) < np.nanmax(layers["lst_day"]) < 285
    ndvi = decode(read_raster(folder / "MOD13A2_2013001.NDVI.tif", fill=-3000).values, NDVI1000.band("ndvi"))
    assert np.isfinite(ndvi).mean() == pytest.approx(0.9988, abs=5e-5)
    assert -0.2 <= np.nanmin(ndvi) < np.nanmax(ndvi) <= 1


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("collection", "name"), [(TERRA, REAL), (NDVI1000, "MOD13A2.A2021225.h11v06.061.2021320163717.hdf")]
)
def test_real_layers_are_the_same_as_the_library_reads_them(realdata, collection, name):
    file = SD(str(realdata / "modis_hdf" / name))
    for band in collection.bands:
        read = read_granule(realdata / "modis_hdf" / name, collection, [band.name])[band.name]
        library = file.select(band.sds)[:]
        assert read.dtype == library.dtype
        assert np.array_equal(read, library)
    file.end()


@pytest.mark.realdata
def test_both_grids_of_real_granules_lie_on_the_lattice(realdata):
    for path in sorted((realdata / "modis_hdf").glob("*.hdf")):
        file = SD(str(path))
        (grid,) = parse_struct_metadata(file.attributes()["StructMetadata.0"]).values()
        file.end()
        box = lattice(grid.rows)[parse_granule_name(path.name).tile].boundingbox
        corners = (*grid.upper_left, *grid.lower_right)
        assert corners == pytest.approx((box.left, box.top, box.right, box.bottom), abs=2e-3)
        assert grid.projection == "GCTP_SNSOID"
        assert grid.sphere_radius == 6371007.181


# ---- damaged files -------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize("kept", [1, 3, 4, 8, 10, 100, 500, 5_000, *(i / 25 for i in range(1, 25)), -4_000, -2])
def test_a_truncated_real_granule_is_refused(tmp_path, realdata, kept):
    whole = (realdata / "modis_hdf" / REAL).read_bytes()
    length = int(kept * len(whole)) if isinstance(kept, float) else kept % len(whole)
    path = tmp_path / REAL
    path.write_bytes(whole[:length])
    with pytest.raises(GranuleError, match="HDF") as caught:
        read_granule(path, TERRA)
    assert str(path) in str(caught.value)
    if length > 4:
        assert caught.value.what == "a truncated HDF granule"
        assert caught.value.found == f"{length} bytes"


@pytest.mark.realdata
@pytest.mark.parametrize("page", [0.001, 0.3, 0.6, 0.89, 0.9, 0.92, 0.95, 0.99])
def test_a_real_granule_with_a_page_of_zeros_is_refused_or_read_unharmed(tmp_path, realdata, page):
    whole = bytearray((realdata / "modis_hdf" / REAL).read_bytes())
    start = int(page * len(whole)) // 4096 * 4096
    whole[max(start, 4) : start + 4096] = bytes(len(whole[max(start, 4) : start + 4096]))
    path = tmp_path / REAL
    path.write_bytes(whole)
    try:
        read = read_granule(path, TERRA)
    except GranuleError:
        return
    intact = read_granule(realdata / "modis_hdf" / REAL, TERRA)
    assert all(np.array_equal(read[name], intact[name]) for name in intact)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Write a small granule, and return its path and its bytes."""
    path = tmp_path_factory.mktemp("whole") / f"{NAME}.hdf"
    write_hdf(path)
    return path, path.read_bytes()


@settings(derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 2**24), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_few_damaged_bytes_never_end_the_process(whole, damage):
    path, content = whole
    damaged = bytearray(content)
    for place, byte in damage:
        damaged[4 + place % (len(content) - 4)] = byte
    path.write_bytes(damaged)
    with contextlib.suppress(GranuleError):
        reader().read(path, TERRA, pixels_per_tile=N)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>Earthdata Login</html>", "web page"),
        (b'{"error": "unauthorized"}', "web page"),
        (b"\x89HDF\r\n\x1a\n", "not an HDF4 file"),
        (b"\x0e\x03\x13\x01", "truncated"),
        (b"\x0e\x03\x13\x01\x00\x01\x00\x00\x00\x04" + b"\x00\x01" + b"\x00" * 10, "circular"),
    ],
)
def test_what_is_no_granule_says_what_it_is(tmp_path, content, complaint):
    path = tmp_path / f"{NAME}.hdf"
    path.write_bytes(content)
    with pytest.raises(GranuleError, match=complaint) as caught:
        read_granule(path, TERRA)
    assert caught.value.exit_code == 3
    assert "download it again" in str(caught.value)
    tiff = Granule(NAME, *parse_granule_name(NAME), band_hrefs={"LST_Day_1km": str(path)})
    with pytest.raises(GranuleError):
        read_granule(tiff, TERRA, ["lst_day"])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(GranuleError, match="not there") as caught:
        read_granule(tmp_path / f"{NAME}.hdf", TERRA)
    assert NAME in str(caught.value)


@pytest.mark.realdata
def test_a_renamed_real_granule_is_caught(tmp_path, realdata):
    path = tmp_path / REAL.replace("h11v05", "h25v05")
    shutil.copyfile(realdata / "modis_hdf" / REAL, path)
    with pytest.raises(GranuleError, match="does not lie where its name says") as caught:
        read_granule(path, TERRA)
    assert "h25v05 with corners 7783653.638" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tile": Tile(24, 5)}, "does not lie where"),
        ({"n": 24}, "another resolution"),
        ({"radius": 6378137.0}, "another projection"),
        ({"projection": "GCTP_GEO"}, "another projection"),
        ({"collection": NDVI500}, "without the product's grid"),
        ({"changes": {"lst_day": None}}, "without a wanted layer"),
        ({"changes": {"lst_day": np.zeros((N, N), np.int16)}}, "not stored as"),
        ({"changes": {"lst_day": np.zeros((N, N + 1), np.uint16)}}, "not stored as"),
    ],
)
def test_an_hdf_that_is_not_what_it_should_be_is_refused(tmp_path, options, complaint):
    path = tmp_path / f"{NAME}.hdf"
    write_hdf(path, **options)
    with pytest.raises(GranuleError, match=complaint) as caught:
        read_granule(path, TERRA, ["lst_day"], pixels_per_tile=N)
    assert caught.value.found
    assert caught.value.wanted


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"tile": Tile(24, 5)}, "does not lie where"),
        ({"shift": 2.0}, "does not lie where"),
        ({"crs": "EPSG:32646"}, "another projection"),
        ({"crs": "+proj=sinu +R=6378137"}, "another projection"),
        ({"crs": None}, "another projection"),
    ],
)
def test_a_geotiff_that_is_not_what_it_should_be_is_refused(tmp_path, options, complaint):
    one = granule(tmp_path, arrays(), **options)
    with pytest.raises(GranuleError, match=complaint):
        read_granule(one, TERRA, ["lst_day"], pixels_per_tile=N)


def test_a_geotiff_of_another_type_or_size_is_refused(tmp_path):
    one = granule(tmp_path, arrays() | {"lst_day": np.zeros((N, N), np.int16)})
    with pytest.raises(GranuleError, match="not stored as"):
        read_granule(one, TERRA, ["lst_day"], pixels_per_tile=N)
    with pytest.raises(GranuleError, match="another resolution"):
        read_granule(one, TERRA, ["qc_day"])  # 1200 pixels expected


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.95])
def test_a_truncated_geotiff_is_refused(tmp_path, kept):
    one = granule(tmp_path, {"lst_day": arrays(n=240)["lst_day"]}, keys=["LST_Day_1km"])
    path = tmp_path / f"{NAME}_LST_Day_1km.tif"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(GranuleError, match="cannot be read"):
        read_granule(one, TERRA, ["lst_day"], pixels_per_tile=240)


# ---- what a file says it is ---------------------------------------------------------------------------------------


def named(path, name=None):
    """Return the granule of a file, or one of another name whose file it would be."""
    name = name or path.name
    return Granule(name.removesuffix(".hdf"), *parse_granule_name(name), hdf_href=str(path))


@pytest.fixture(scope="module")
def truthful(tmp_path_factory):
    """Write a small granule that states in its own metadata what it is."""
    path = tmp_path_factory.mktemp("truthful") / f"{NAME}.hdf"
    layers = simulated.PRODUCTS["MOD11A1"].layers
    stored = {band.sds: array for band, array in zip(TERRA.bands, arrays().values(), strict=True)}
    assert {layer.name for layer in layers} == set(stored)
    simulated.write_hdf(path, "MOD11A1", Tile(25, 5), stored)
    return path


def test_a_simulated_granule_is_what_its_name_says(truthful):
    check_granule_file(truthful, named(truthful), None, pixels_per_tile=N)


@pytest.mark.realdata
@pytest.mark.parametrize("name", [REAL, "MOD13A2.A2021225.h11v06.061.2021320163717.hdf"])
def test_a_real_granule_is_what_its_name_says(realdata, name):
    check_granule_file(realdata / "modis_hdf" / name, named(realdata / "modis_hdf" / name), None)


@pytest.mark.parametrize(
    ("old", "new", "found", "wanted"),
    [
        (".A2010001.", ".A2010002.", "date 2010-01-01", "date 2010-01-02"),
        (".A2010001.", ".A2011001.", "date 2010-01-01", "date 2011-01-01"),
        ("MOD11A1", "MYD11A1", "product MOD11A1", "product MYD11A1"),
        (".h25v05.", ".h26v05.", "corners", "h26v05"),
    ],
)
def test_a_renamed_granule_is_refused(tmp_path, truthful, old, new, found, wanted):
    path = tmp_path / truthful.name.replace(old, new)
    shutil.copyfile(truthful, path)
    collection = load_collection(path.name[:7].lower())
    with pytest.raises(GranuleError, match="its name says") as read:
        read_granule(path, collection, ["lst_day"], pixels_per_tile=N)
    with pytest.raises(GranuleError, match="its name says") as checked:
        check_granule_file(truthful, named(truthful, path.name), None, pixels_per_tile=N)
    for caught in (read, checked):
        assert found in caught.value.found
        assert wanted in caught.value.wanted
        assert "renamed" in caught.value.remedy


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("product", "old", "new"), [("mod11a1", "A2021227", "A2021228"), ("myd11a1", "MOD11A1", "MYD11A1")]
)
def test_a_renamed_real_granule_is_refused(tmp_path, realdata, product, old, new):
    path = tmp_path / REAL.replace(old, new)
    shutil.copyfile(realdata / "modis_hdf" / REAL, path)
    with pytest.raises(GranuleError, match="not what its name says"):
        read_granule(path, load_collection(product), ["qc_day"])
    with pytest.raises(GranuleError, match="not what its name says"):
        check_granule_file(path, named(path), None)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (b"= 61\n", b"= 06\n", "version 006"),
        (b'"25"\n', b'"24"\n', "tile h24v05"),
        (b'"05"\n', b'"06"\n', "tile h25v06"),
        (b'= "MOD11A1"', b'= "MOD13A1"', "product MOD13A1"),
    ],
)
def test_a_file_that_states_to_be_another_is_refused(tmp_path, truthful, old, new, complaint):
    content = truthful.read_bytes()
    assert content.count(old) == 1
    (tmp_path / truthful.name).write_bytes(content.replace(old, new))
    with pytest.raises(GranuleError, match="not what its name says") as caught:
        check_granule_file(tmp_path / truthful.name, named(truthful), None, pixels_per_tile=N)
    assert caught.value.found == complaint


def test_what_a_file_does_not_state_is_not_held_against_it(tmp_path, truthful):
    content = truthful.read_bytes().replace(b'"2010-01-01"', b'"          "').replace(b"= SHORTNAME", b"= SHORTNANE")
    for name, product in (("A2010002", TERRA), ("A2010001", AQUA)):
        path = tmp_path / truthful.name.replace("A2010001", name).replace("MOD11A1", product.product)
        path.write_bytes(content)
        check_granule_file(path, named(path), None, pixels_per_tile=N)
        assert read_granule(path, product, ["qc_day"], pixels_per_tile=N)
    write_hdf(tmp_path / f"{NAME}.hdf")  # states nothing
    check_granule_file(tmp_path / f"{NAME}.hdf", named(tmp_path / f"{NAME}.hdf"), None, pixels_per_tile=N)


@pytest.mark.realdata
def test_simulated_metadata_is_the_archives_line_by_line(realdata):
    parsed = parse_granule_name(REAL)
    ours = simulated.core_metadata(parsed.product, parsed.tile, REAL, parsed.date.isoformat())
    file = SD(str(realdata / "modis_hdf" / REAL))
    real = file.attributes()["CoreMetadata.0"]
    file.end()
    assert set(ours.splitlines()) <= set(real.splitlines())
    stated = parse_core_metadata(ours)
    assert stated.items() >= {"LOCALGRANULEID": REAL, "SHORTNAME": "MOD11A1", "VERSIONID": "61"}.items()
    # the archive's first additional attribute is another
    assert {key: parse_core_metadata(real)[key] for key in stated if key != "ADDITIONALATTRIBUTENAME"} == {
        key: value for key, value in stated.items() if key != "ADDITIONALATTRIBUTENAME"
    }


# ---- files that were checked once need no second look ---------------------------------------------------------------


def test_damage_to_any_layer_is_found_by_the_check(tmp_path, truthful):
    content, intact = truthful.read_bytes(), read_granule(truthful, TERRA, pixels_per_tile=N)
    path = tmp_path / truthful.name
    streams = len(content) - sum(array.nbytes for array in intact.values())  # random numbers do not deflate
    refused = 0
    for place in range(streams, len(content), 41):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        try:
            check_granule_file(path, named(path), None, pixels_per_tile=N)
        except GranuleError:
            refused += 1
        else:  # bits that fill up a stream's last byte mean nothing
            read = read_granule(path, TERRA, pixels_per_tile=N)
            assert all(np.array_equal(read[name], intact[name]) for name in intact)
    assert refused > 20


@pytest.mark.realdata
@pytest.mark.parametrize("place", [100_000, 300_000, 700_000, 1_100_000, 1_400_000])
def test_damage_to_a_chunk_is_found_by_the_check(tmp_path, realdata, place):
    name = "MOD13A2.A2021225.h11v06.061.2021320163717.hdf"
    content = bytearray((realdata / "modis_hdf" / name).read_bytes())
    content[place : place + 4] = bytes(255 - byte for byte in content[place : place + 4])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GranuleError):
        check_granule_file(tmp_path / name, named(tmp_path / name), None)


def test_layers_that_are_not_deflated_are_read_but_two_never_share_their_bytes(tmp_path):
    path = tmp_path / f"{NAME}.hdf"
    stored = write_hdf(path, compressed=False)
    check_granule_file(path, named(path), None, pixels_per_tile=N)
    read = read_granule(path, TERRA, pixels_per_tile=N)
    assert all(np.array_equal(read[name], stored[name]) for name in stored)
    elements = {(e.tag, e.reference): e for e in hdf4_elements._elements(path, path.read_bytes())}
    first, second = sorted(key for key, e in elements.items() if key[0] == 702 and e.length == N * N)[:2]
    descriptor = struct.pack(">HHII", *elements[second])
    shared = struct.pack(">HHII", *second, *elements[first][2:])
    path.write_bytes(path.read_bytes().replace(descriptor, shared))
    with pytest.raises(GranuleError, match="damaged header"):
        read_granule(path, TERRA, pixels_per_tile=N)


def test_layers_in_an_external_file_are_not_followed(tmp_path):
    """HDF4 may keep an array in any other file of the machine."""
    path = tmp_path / f"{NAME}.hdf"
    (tmp_path / "secret").write_bytes(bytes(range(N * N % 256)) * 10)
    write_hdf(path, external=str(tmp_path / "secret"))
    with pytest.raises(GranuleError, match="in a way that the archive does not use"):
        read_granule(path, TERRA, ["lst_day"], pixels_per_tile=N)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "empty"), (b"<!DOCTYPE html>", "web page"), (b"II*\0", "not an HDF4 file"), (None, "not there")],
)
def test_what_is_no_hdf_does_not_pass_the_check(tmp_path, truthful, content, complaint):
    path = tmp_path / "download.part"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GranuleError, match=complaint) as caught:
        check_granule_file(path, named(truthful), None, pixels_per_tile=N)
    assert caught.value.where == str(path)


def test_only_known_products_and_layers_can_be_checked(truthful):
    for name in (NAME.replace("MOD11A1", "MOD09A1"), NAME.replace(".061.", ".006.")):
        with pytest.raises(UserError, match="does not know"):
            check_granule_file(truthful, named(truthful, name), None, pixels_per_tile=N)
    with pytest.raises(UserError, match="has no layer 'albedo'"):
        check_granule_file(truthful, named(truthful), "albedo", pixels_per_tile=N)


@pytest.mark.parametrize("product", ["MOD11A1", "MOD13A1"])
def test_simulated_cogs_pass_the_check(tmp_path, product):
    stored = {
        layer.name: np.full((N, N), layer.valid_range[0]).astype(layer.dtype)
        for layer in simulated.PRODUCTS[product].layers
    }
    name = NAME.replace("MOD11A1", product)
    simulated.write_cogs(tmp_path, name, product, Tile(25, 5), stored)
    for band in load_collection(product.lower()).bands:
        check_granule_file(tmp_path / f"{name}_{band.asset}.tif", named(tmp_path, name), band.asset, pixels_per_tile=N)


def check_geotiff(path, asset="LST_Day_1km"):
    check_granule_file(path, Granule(NAME, *parse_granule_name(NAME)), asset, pixels_per_tile=N)


SINUSOIDAL = f"+proj=sinu +R={6371007.181} +units=m"
PIXEL = TILE_SIZE / N
CORNER = lattice(N)[25, 5].boundingbox


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nodata": 0},
        {"shift": 0.5},
        {"transform": Affine(PIXEL + 5e-4, 0, CORNER.left, 0, -PIXEL, CORNER.top)},
        {"compress": "LZW", "predictor": 2},
        {"tiled": True, "blockxsize": 16, "blockysize": 16},
        {"BIGTIFF": "YES"},
        {"ENDIANNESS": "BIG"},
    ],
)
def test_geotiffs_of_every_make_pass_the_check(tmp_path, options):
    write_geotiff(tmp_path / "x.part", arrays()["lst_day"], **options)
    check_geotiff(tmp_path / "x.part")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"crs": "EPSG:4326"}, "another projection"),
        ({"crs": "+proj=sinu +R=6378137"}, "another projection"),
        ({"crs": SINUSOIDAL + " +lon_0=90"}, "another projection"),
        ({"crs": SINUSOIDAL + " +x_0=1000"}, "another projection"),
        ({"crs": "+proj=moll +R=6371007.181"}, "another projection"),
        ({"crs": None}, "another projection"),
        ({"tile": Tile(26, 5)}, "does not lie where"),
        ({"shift": 2.0}, "does not lie where"),
        ({"transform": Affine(PIXEL + 0.1, 0, CORNER.left, 0, -PIXEL, CORNER.top)}, "does not lie where"),
        ({"transform": Affine(PIXEL, 0, CORNER.left, 0, PIXEL, CORNER.bottom)}, "does not lie where"),
        ({"transform": Affine(PIXEL, 9.0, CORNER.left, 9.0, -PIXEL, CORNER.top)}, "not north-up"),
        ({"nodata": 65535}, "another nodata value"),
        ({"count": 2}, "2 bands of uint16"),
        ({"array": np.zeros((N, N), np.int16)}, "1 bands of int16"),
        ({"array": np.zeros((N, N), np.float32)}, "1 bands of float32"),
        ({"array": np.zeros((2 * N, 2 * N), np.uint16)}, "another resolution"),
        ({"array": np.zeros((N, N + 1), np.uint16)}, "another resolution"),
    ],
)
def test_a_geotiff_that_is_not_the_granules_does_not_pass_the_check(tmp_path, options, complaint):
    path = tmp_path / "x.part"
    write_geotiff(path, **{"array": arrays()["lst_day"], **options})
    with pytest.raises(GranuleError, match=complaint) as caught:
        check_geotiff(path)
    assert caught.value.where == str(path)
    assert caught.value.found
    assert caught.value.wanted


def test_a_bit_field_has_no_nodata_value(tmp_path):
    for options, passes in (({}, True), ({"nodata": 0}, False), ({"nodata": 255}, False)):
        write_geotiff(tmp_path / "x.tif", arrays()["qc_day"], **options)
        with contextlib.nullcontext() if passes else pytest.raises(GranuleError, match="another nodata value"):
            check_geotiff(tmp_path / "x.tif", "QC_Day")


def test_the_fill_of_signed_bytes_may_be_told_as_an_unsigned_one(tmp_path):
    name, asset = NAME.replace("MOD11A1", "MOD13A1"), "500m_16_days_pixel_reliability"
    for dtype, nodata in ((np.int8, -1), (np.uint8, 255)):
        write_geotiff(tmp_path / "x.tif", np.full((N, N), 3, dtype), nodata=nodata)
        check_granule_file(tmp_path / "x.tif", Granule(name, *parse_granule_name(name)), asset, pixels_per_tile=N)
    write_geotiff(tmp_path / "x.tif", np.full((N, N), 3, np.uint8), nodata=254)
    with pytest.raises(GranuleError, match="another nodata value"):
        check_granule_file(tmp_path / "x.tif", Granule(name, *parse_granule_name(name)), asset, pixels_per_tile=N)


def test_an_hdf_renamed_to_a_geotiff_is_called_so(tmp_path, truthful):
    path = tmp_path / f"{NAME}_LST_Day_1km.tif"
    shutil.copyfile(truthful, path)
    with pytest.raises(GranuleError, match="an HDF file renamed to a GeoTIFF"):
        check_geotiff(path)
    one = Granule(NAME, *parse_granule_name(NAME), band_hrefs={"LST_Day_1km": str(path)})
    with pytest.raises(GranuleError, match="an HDF file renamed to a GeoTIFF"):
        read_granule(one, TERRA, ["lst_day"], pixels_per_tile=N)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"\x89PNG\r\n\x1a\n", "not a GeoTIFF"), (b"II*\0\xff\xff\xff\xff", "cannot be read"), (b"<html>", "web page")],
)
def test_what_is_no_geotiff_does_not_pass_the_check(tmp_path, content, complaint):
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(GranuleError, match=complaint):
        check_geotiff(tmp_path / "x.tif")


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
def test_a_truncated_geotiff_does_not_pass_the_check(tmp_path, kept):
    write_geotiff(tmp_path / "x.tif", arrays()["lst_day"], compress="DEFLATE")
    content = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(GranuleError, match="cannot be read"):
        check_geotiff(tmp_path / "x.tif")


def test_a_bit_that_flipped_in_a_geotiff_is_found_or_does_no_harm(tmp_path):
    path, stored = tmp_path / f"{NAME}_LST_Day_1km.tif", arrays()["lst_day"]
    write_geotiff(path, stored, compress="DEFLATE", tiled=True, blockxsize=16, blockysize=16)
    content, refused = path.read_bytes(), 0
    one = Granule(NAME, *parse_granule_name(NAME), band_hrefs={"LST_Day_1km": str(path)})
    for place in range(len(content) - 250, len(content)):  # the block's bytes
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            check_geotiff(path)
        except GranuleError:
            refused += 1
        else:
            assert np.array_equal(read_granule(one, TERRA, ["lst_day"], pixels_per_tile=N)["lst_day"], stored)
    assert refused > 200


def test_a_geotiff_that_lacks_a_block_does_not_pass_for_zeros(tmp_path):
    path, stored = tmp_path / "x.tif", np.zeros((32, 32), np.uint16)
    stored[:16] = 14000
    write_geotiff(path, stored, tiled=True, blockxsize=16, blockysize=16, SPARSE_OK="TRUE")
    with pytest.raises(GranuleError, match="without all its blocks") as caught:
        check_granule_file(path, Granule(NAME, *parse_granule_name(NAME)), "LST_Day_1km", pixels_per_tile=32)
    assert caught.value.found == "no block in row 1, column 0"


# ---- edges ---------------------------------------------------------------------------------------------------------


def test_a_granule_of_another_product_or_version_is_the_user_s_error(tmp_path):
    for name in (NAME.replace("MOD", "MYD"), NAME.replace(".061.", ".006.")):
        with pytest.raises(UserError, match="another product"):
            read_granule(tmp_path / f"{name}.hdf", TERRA)


def test_a_granule_without_files_says_what_it_lacks():
    with pytest.raises(GranuleError, match="without a file of each wanted layer") as caught:
        read_granule(Granule(NAME, *parse_granule_name(NAME)), TERRA, ["lst_day"])
    assert "LST_Day_1km" in caught.value.wanted


def test_an_hdf_on_the_network_is_refused_with_the_way_out():
    remote = Granule(NAME, *parse_granule_name(NAME), f"https://archive.test/{NAME}.hdf")
    with pytest.raises(UserError, match="download it first"):
        read_granule(remote, TERRA)


def test_a_file_under_another_name_is_refused(tmp_path):
    with pytest.raises(UserError, match="archive names it"):
        read_granule(tmp_path / "lst.hdf", TERRA)


def test_an_unknown_layer_is_refused_before_a_file_is_opened(tmp_path):
    with pytest.raises(CatalogError, match="no band named 'albedo'"):
        read_granule(tmp_path / f"{NAME}.hdf", TERRA, ["albedo"])


def test_products_without_tiles_have_no_granules_here(tmp_path):
    with pytest.raises(UserError, match="does not come in tiles"):
        read_granule(tmp_path / f"{NAME}.hdf", load_collection("cop-dem-glo-90"))


def test_a_raster_keeps_its_grid_and_loses_its_fills(tmp_path):
    path = tmp_path / "map.tif"
    profile = {"driver": "GTiff", "height": 2, "width": 3, "count": 1, "dtype": "int16", "crs": "EPSG:4326"}
    with rasterio.open(path, "w", transform=Affine(0.5, 0, 90, 0, -0.5, 36), nodata=-9, **profile) as file:
        file.write(np.array([[1, 2, -9], [255, 0, 3]], np.int16), 1)
    raster = read_raster(path, fill=(0, 255))
    assert raster.dtype == np.float32
    assert np.array_equal(raster.values, [[1, 2, np.nan], [np.nan, np.nan, 3]], equal_nan=True)
    assert raster.x.values.tolist() == [90.25, 90.75, 91.25]
    assert raster.y.values.tolist() == [35.75, 35.25]
    assert read_raster(path, fill=2).isnull().sum() == 2


def test_rasters_that_cannot_be_used_are_the_user_s_error(tmp_path):
    with pytest.raises(UserError, match="cannot read a raster"):
        read_raster(tmp_path / "none.tif")
    profile = {"driver": "GTiff", "height": 2, "width": 2, "count": 2, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(tmp_path / "two.tif", "w", transform=Affine(1, 0, 90, 0, -1, 36), **profile):
        pass
    with pytest.raises(UserError, match="several layers"):
        read_raster(tmp_path / "two.tif")


def test_incomplete_structures_are_refused():
    text = 'GROUP=GridStructure\nGROUP=GRID_1\nGridName="G"\nXDim=2\nEND_GROUP=GRID_1\nEND_GROUP=GridStructure'
    with pytest.raises(ValueError, match="incomplete grid structure"):
        parse_struct_metadata(text)
    assert parse_struct_metadata("") == {}


def test_errors_survive_the_way_between_processes():
    error = GranuleError("damaged", where="a.hdf", found="1", wanted="2", remedy="again")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(copy, FrostmapError)
    assert type(copy) is GranuleError
    assert str(copy) == str(error)
