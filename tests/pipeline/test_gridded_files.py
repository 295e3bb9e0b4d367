"""Files of gridded series come to the map's pixels where they belong, in the units that they should have."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox

from frostmap.catalogs.gridded import load_series
from frostmap.catalogs.grids import lattice, to_geographic
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.gridded_files import Layers, layers_of_raster
from frostmap.pipeline.gridded_folders import layers_in_depth, layers_in_time
from frostmap.pipeline.gridded_maps import OnPixels, kernel_for, on_pixels
from frostmap.pipeline.simulate.gridded_series import MONTHLY_SHARES, write_precipitation, write_snow, write_soil

FRAME = lattice(1200)[25, 5]
OWN = np.s_[600:640, 820:880]  # 40 x 60 pixels about 34.8°N, 94°E
PIXEL_KM = 0.926625
CHINA, BOX = "china-precipitation-1km", (93.0, 34.0, 95.0, 36.0)
CELL = 1 / 120
YEARS = (2016, 2017)


def pixel_centres(frame: GeoBox = FRAME, own=OWN):
    """Return longitudes and latitudes of the centres of some pixels [°]."""
    a = frame.affine
    x = a.c + a.a * (np.arange(own[1].start, own[1].stop) + 0.5)
    y = a.f + a.e * (np.arange(own[0].start, own[0].stop) + 0.5)
    return to_geographic(*np.meshgrid(x, y))


SLOPES = (120.0, -80.0)
"""Of a plane of annual precipitation, eastwards and northwards [mm a degree]."""


def plane(longitude, latitude):
    """Return a plane of annual precipitation [mm]."""
    return 400.0 + SLOPES[0] * (longitude - 94.0) + SLOPES[1] * (latitude - 35.0)


def rain(longitude, latitude, year, month):
    """Return the month's share of the plane, a tenth more in the second year."""
    return plane(longitude, latitude) * MONTHLY_SHARES[month - 1] * (1.0 + 0.1 * (year - YEARS[0]))


def found(layers: Layers, own=OWN, frame: GeoBox = FRAME, pixel_km: float = PIXEL_KM) -> OnPixels:
    return on_pixels(layers, frame, own, pixel_km)


def shift(values, cell):
    """Return how far a recovered plane lies off, eastwards and northwards [cells], by least squares."""
    longitude, latitude = pixel_centres()
    off = (values - 1.05 * plane(longitude, latitude)).ravel()
    return float(off.mean() / (1.05 * SLOPES[0] * cell)), float(off.std() / (1.05 * np.abs(SLOPES).sum() * cell))


# ---- precipitation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
def test_a_plane_of_monthly_rain_is_recovered_to_the_order_of_its_kernel(tmp_path, engine):
    """Means by area see whole cells, each at its centre, although pixels cut them.

    Along an axis, a pixel that ends at the share s of a cell is off there by s (1 - s) / 2 of what the field changes by
    in a cell, and its other end takes of it: the mean is off by at most an eighth for each axis. Whole tenths of a
    millimetre add 24 errors with a standard deviation of 0.029 mm, of which half counts.
    """
    write_precipitation(tmp_path, CHINA, rain, YEARS, BOX, CELL, engine=engine)
    layers = layers_in_time(load_series(CHINA), "precipitation", tmp_path, YEARS, "k")
    assert kernel_for(layers.grid, PIXEL_KM) == "area_means"
    got = found(layers)
    wanted = 1.05 * plane(*pixel_centres())
    order, tenths = 1.05 * CELL * np.abs(SLOPES).sum() / 8, np.sqrt(24) * 0.1 / np.sqrt(12) / 2
    assert np.abs(got.values - wanted).max() < order + 4 * tenths
    assert np.std(got.values - wanted) < tenths + 0.1 * order
    assert abs(np.mean(got.values - wanted)) < 0.02  # a shift of a hundredth of a cell
    assert got.coverage == pytest.approx(1.0, abs=1e-6)
    assert not got.missing.any()


@pytest.mark.parametrize("series", ["terraclimate", "era5-land"])
def test_coarse_rain_is_interpolated_exactly_where_it_is_linear(tmp_path, series):
    cell, box = (1 / 24, (92.0, 33.0, 96.0, 37.0)) if series == "terraclimate" else (0.1, (91.95, 32.95, 96.05, 37.05))
    write_precipitation(tmp_path, series, rain, YEARS, box, cell)
    layers = layers_in_time(load_series(series), "precipitation", tmp_path, YEARS, "k")
    assert kernel_for(layers.grid, PIXEL_KM) == "interpolation"
    tenths = 12 * 0.05 if series == "terraclimate" else 0.01
    assert found(layers).values == pytest.approx(1.05 * plane(*pixel_centres()), abs=tenths)


def test_half_a_cell_of_shift_is_seen(tmp_path):
    """Corners taken for centres shift a grid by half a cell: the measure that the test above takes sees it."""
    write_precipitation(tmp_path / "right", CHINA, rain, YEARS, BOX, CELL)
    write_precipitation(tmp_path / "wrong", CHINA, rain, YEARS, BOX, CELL)
    for path in (tmp_path / "wrong").iterdir():
        data = xr.load_dataset(path, decode_times=False)
        data.assign_coords(lon=data["lon"] + CELL / 2).to_netcdf(path, engine="scipy")
    series = load_series(CHINA)
    right, wrong = (
        shift(found(layers_in_time(series, "precipitation", tmp_path / name, YEARS, "k")).values, CELL)[0]
        for name in ("right", "wrong")
    )
    assert abs(right) < 0.02
    assert wrong == pytest.approx(-0.5, abs=0.02)


def test_a_series_whose_centres_are_known_refuses_files_that_are_half_a_cell_off(tmp_path):
    write_precipitation(tmp_path, "era5-land", rain, YEARS, (92.0, 33.0, 96.0, 37.0), 0.1)  # centres at 92.05
    with pytest.raises(UserError, match="lie beside those of its series") as refused:
        layers_in_time(load_series("era5-land"), "precipitation", tmp_path, YEARS, "sources.precipitation")
    assert "whole multiples of 0.1°" in str(refused.value)


def test_what_falls_on_the_map_is_what_fell_on_the_cells(tmp_path):
    """Means by area keep totals: also of a field that is all noise."""
    noise = np.random.default_rng(1)
    write_precipitation(tmp_path, CHINA, lambda x, _y, _year, _m: noise.uniform(0, 90, x.shape), YEARS, BOX, CELL)
    layers = layers_in_time(load_series(CHINA), "precipitation", tmp_path, YEARS, "k")
    values, _ = layers.window(slice(0, 240), slice(0, 240))
    own = np.s_[476:724, 600:1080]  # holds all cells
    got = found(layers, own)
    north = BOX[3] - CELL * (np.arange(240) + 0.5)
    cells = (values * np.cos(np.radians(north))[:, None]).sum() * np.radians(CELL) ** 2 * 6371.007181**2
    pixels = (np.nan_to_num(got.values) * got.coverage).sum() * PIXEL_KM**2
    inner = found(layers, np.s_[560:640, 780:900])
    assert inner.coverage.min() == pytest.approx(1.0, abs=1e-6)
    lost = ((got.coverage > 0) & np.isnan(got.values)).sum() * PIXEL_KM**2 * 0.5 * 540
    assert pixels == pytest.approx(cells, abs=lost)
    assert lost < 0.01 * cells


def test_how_the_map_is_cut_changes_nothing(tmp_path):
    write_precipitation(tmp_path, CHINA, rain, YEARS, BOX, CELL, known=lambda x, y: (x * 37 + y * 91) % 1 > 0.3)
    layers = layers_in_time(load_series(CHINA), "precipitation", tmp_path, YEARS, "k")
    coarse = layers_of_raster(_raster(tmp_path / "c.tif", 0.05), "k")
    for each in (layers, coarse):
        whole = found(each)
        parts = [[found(each, (rows, cols)) for cols in (slice(820, 833), slice(833, 880))]
                 for rows in (slice(600, 601), slice(601, 640))]  # fmt: skip
        for field in OnPixels._fields:
            joined = np.block([[getattr(part, field) for part in row] for row in parts])
            np.testing.assert_array_equal(getattr(whole, field), joined)


def test_missing_cells_lower_the_coverage_and_say_why(tmp_path):
    write_precipitation(tmp_path, CHINA, rain, YEARS, BOX, CELL, known=lambda x, _y: x > 94.0)
    got = found(layers_in_time(load_series(CHINA), "precipitation", tmp_path, YEARS, "k"), np.s_[600:640, 700:1010])
    longitude, _ = pixel_centres(own=np.s_[600:640, 700:1010])
    width = 2 * CELL
    assert np.isnan(got.values[longitude < 94.0 - width]).all()
    assert (got.missing[(longitude < 94.0 - width) & (longitude > 93.0 + width)] == 2).all()
    assert (got.missing[longitude < 93.0 - width] == 1).all()
    assert np.isfinite(got.values[(longitude > 94.0 + width) & (longitude < 95.0 - width)]).all()
    part = (got.coverage > 0.01) & (got.coverage < 0.99)
    assert part.any()
    assert (np.isfinite(got.values) == (got.coverage >= 0.5)).all()


def test_numbers_that_cannot_be_are_no_rain(tmp_path):
    write_precipitation(tmp_path, CHINA, lambda x, _y, _year, _month: np.full(x.shape, 40.0), YEARS, BOX, CELL)
    path = tmp_path / "pre_2016.nc"
    data = xr.load_dataset(path, decode_times=False, mask_and_scale=False)
    data["pre"][3, :, :] = -7
    data.to_netcdf(path, engine="scipy")
    got = found(layers_in_time(load_series(CHINA), "precipitation", tmp_path, YEARS, "k"))
    assert np.isnan(got.values).all()
    assert (got.missing == 3).all()


# ---- soil ----------------------------------------------------------------------------------------------------------


def _layer(series_id, bottom):
    """Return a percentage for each layer: 10, 20, 30 and so on."""
    return 10.0 * (1 + load_series(series_id).bottoms.index(bottom))


@pytest.mark.parametrize(
    ("depths", "wanted"),
    [
        # by hand: (10*4.5 + 20*4.6 + 30*7.5 + 40*12.3 + 50*20.4 + 60*33.6 + 70*55.4 + 80*61.7) / 200
        ((0.0, 200.0), 63.52),
        ((0.0, 4.5), 10.0),
        ((2.0, 9.1), (10 * 2.5 + 20 * 4.6) / 7.1),
    ],
)
def test_layers_of_soil_count_by_their_thickness(tmp_path, depths, wanted):
    write_soil(
        tmp_path,
        "shangguan-2013",
        {"sand": lambda x, _y, bottom: np.full(x.shape, _layer("shangguan-2013", bottom))},
        BOX,
        CELL,
    )
    layers = layers_in_depth(load_series("shangguan-2013"), "sand", tmp_path, depths, "k")
    assert sum(layer.weight for layer in layers.layers) == pytest.approx(1.0)
    assert found(layers).values == pytest.approx(wanted, abs=1e-4)


def test_soilgrids_in_its_own_projection_comes_to_the_same_place(tmp_path):
    """A plane of sand in longitude and latitude, stored on 250-m cells of the Homolosine projection."""
    from pyproj import Transformer

    crs = "+proj=igh +lat_0=0 +lon_0=0 +datum=WGS84 +units=m +no_defs"
    to = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    longitude, latitude = pixel_centres()
    x, y = to.transform(longitude, latitude)
    box = tuple(250.0 * np.round(edge / 250.0) for edge in (x.min() - 5e3, y.min() - 5e3, x.max() + 5e3, y.max() + 5e3))

    def sand(east, north, _bottom):
        return 40.0 + 10.0 * (east - 94.0) - 8.0 * (north - 35.0)

    write_soil(tmp_path, "soilgrids-2", {"sand": sand}, box, 250.0, crs=crs)
    got = found(layers_in_depth(load_series("soilgrids-2"), "sand", tmp_path, (0, 200), "k"))
    assert got.coverage == pytest.approx(1.0, abs=1e-6)
    assert got.values == pytest.approx(sand(longitude, latitude, 0), abs=0.05 + 0.03)
    assert np.mean(got.values - sand(longitude, latitude, 0)) == pytest.approx(0.0, abs=0.003)


def test_depths_beyond_a_series_and_layers_that_lack_are_told(tmp_path):
    write_soil(tmp_path, "soilgrids-2", {"sand": lambda x, _y, _b: 0 * x + 30.0}, BOX, 0.05)
    series = load_series("soilgrids-2")
    with pytest.raises(UserError, match="does not reach these depths") as refused:
        layers_in_depth(series, "sand", tmp_path, (0, 230), "sources.soil")
    assert "within 0 to 200 cm" in str(refused.value)
    (tmp_path / "sand_15-30cm_mean.tif").unlink()
    with pytest.raises(DataIncomplete, match="15-30 cm"):
        layers_in_depth(series, "sand", tmp_path, (0, 200), "sources.soil")
    assert len(layers_in_depth(series, "sand", tmp_path, (0, 10), "sources.soil").layers) == 2


# ---- snow ----------------------------------------------------------------------------------------------------------


def test_days_of_snow_make_a_mean(tmp_path):
    days = [(2010, day) for day in range(1, 366)]

    def snow(longitude, _latitude, _year, day):
        return 50.0 + 40.0 * np.cos(2 * np.pi * day / 365) + 0.0 * longitude

    write_snow(tmp_path, "awt-modis-fsc", snow, days, BOX, 0.05)
    series = load_series("awt-modis-fsc")
    layers = layers_in_time(series, "snow_cover", tmp_path, [2010], "k")
    assert len(layers.layers) == 365
    assert found(layers).values == pytest.approx(50.0, abs=0.5)
    for day in range(100, 136):
        (tmp_path / f"2010{day:03d}_FSC.tif").unlink()
    assert len(layers_in_time(series, "snow_cover", tmp_path, [2010], "k").layers) == 329
    (tmp_path / "2010136_FSC.tif").unlink()
    with pytest.raises(DataIncomplete, match=r"lacking 37: 2010-04-10"):
        layers_in_time(series, "snow_cover", tmp_path, [2010], "k")


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_years_beyond_a_series_are_refused_with_what_it_covers(tmp_path):
    with pytest.raises(UserError, match="years from 1958 to") as refused:
        layers_in_time(load_series("terraclimate"), "precipitation", tmp_path, [1957, 2010], "sources.precipitation")
    assert refused.value.found == "1957"


def test_months_that_are_not_there_are_told(tmp_path):
    write_precipitation(tmp_path, CHINA, rain, YEARS, BOX, 0.1)
    with pytest.raises(DataIncomplete, match=r"lacking 12: 2018-01") as refused:
        layers_in_time(load_series(CHINA), "precipitation", tmp_path, [2016, 2017, 2018], "k")
    assert "zenodo.org/records/3114194" in str(refused.value)
    with pytest.raises(DataIncomplete, match="0 of its files"):
        layers_in_time(load_series(CHINA), "precipitation", tmp_path / "nowhere", [2016], "k")


def _change(path, **how):
    data = xr.load_dataset(path, decode_times=False, mask_and_scale=False)
    data = how["data"](data)
    data.to_netcdf(path, engine="scipy")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.assign(pre=d["pre"].astype("float32")), "coded differently"),
        (lambda d: d.assign(pre=d["pre"].assign_attrs(scale_factor=1.0, add_offset=0.0)), "scale_factor 1"),
        (lambda d: d.rename(pre="tmp"), "lacks its variable"),
        (lambda d: d.expand_dims(expver=2), "dimensions that are not understood"),
        (lambda d: d.assign_coords(lon=d["lon"] ** 2), "not evenly spaced"),
        (lambda d: d.isel(time=slice(0, 5)).drop_vars("time"), "does not say which months"),
    ],
)
def test_a_file_that_is_not_the_series_own_is_refused(tmp_path, change, says):
    write_precipitation(tmp_path, CHINA, rain, [2016], BOX, 0.1)
    _change(tmp_path / "pre_2016.nc", data=change)
    with pytest.raises((UserError, DataIncomplete), match=says):
        found(layers_in_time(load_series(CHINA), "precipitation", tmp_path, [2016], "k"))


def test_files_on_two_grids_and_broken_files_are_refused(tmp_path):
    write_precipitation(tmp_path, CHINA, rain, [2016], BOX, 0.1)
    write_precipitation(tmp_path, CHINA, rain, [2017], (92.0, 34.0, 95.0, 36.0), 0.1)
    series = load_series(CHINA)
    with pytest.raises(UserError, match="not on one grid"):
        found(layers_in_time(series, "precipitation", tmp_path, YEARS, "k"))
    (tmp_path / "pre_2017.nc").write_bytes(b"no such thing")
    with pytest.raises(UserError, match="not NetCDF"):
        layers_in_time(series, "precipitation", tmp_path, YEARS, "k")


# ---- a raster of the user's own ------------------------------------------------------------------------------------


def _raster(path: Path, cell: float, values=plane, **profile):
    west, south, east, north = BOX
    shape = round((north - south) / cell), round((east - west) / cell)
    x, y = np.meshgrid(west + cell * (np.arange(shape[1]) + 0.5), north - cell * (np.arange(shape[0]) + 0.5))
    transform = rasterio.Affine(cell, 0, west, 0, -cell, north)
    profile = {"crs": "EPSG:4326", "dtype": "float32", "nodata": np.nan} | profile
    with rasterio.open(path, "w", "GTiff", shape[1], shape[0], 1, transform=transform, **profile) as file:
        file.write(values(x, y).astype(profile["dtype"]), 1)
    return path


@pytest.mark.parametrize("cell", [1 / 240, 0.05])
def test_a_raster_of_a_plane_is_recovered(tmp_path, cell):
    got = found(layers_of_raster(_raster(tmp_path / "a.tif", cell), "k"))
    order = cell * np.abs(SLOPES).sum() / 8 if cell < 0.01 else 0.01
    assert got.values == pytest.approx(plane(*pixel_centres()), abs=order)


def test_a_raster_without_a_place_is_refused(tmp_path):
    path = _raster(tmp_path / "a.tif", 0.05, crs=None)
    with pytest.raises(UserError, match="does not say where it is"):
        layers_of_raster(path, "k")
