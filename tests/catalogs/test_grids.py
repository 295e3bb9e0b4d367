"""The lattice is MODIS's to the millimetre, regions are whole pixels of it, and areas are the ellipsoid's."""

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from pyproj import Geod, Transformer

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.grids import (
    EXPORT_GRID,
    MODIS_SINUSOIDAL,
    SINUSOIDAL_CRS,
    TILE_SIZE,
    Tile,
    ellipsoid_area_ratio,
    lattice,
    locate,
    parse_tile,
    pixel_area_km2,
    region_geobox,
    tile_bounds,
    tiles_of,
    to_geographic,
    to_sinusoidal,
)

longitudes = st.floats(73.5, 104.5)
latitudes = st.floats(26.0, 40.0)
resolutions = st.sampled_from([1, 7, 24, 120, 1200, 2400])


# ---- what must always hold -----------------------------------------------------------------------------------------


@given(longitudes, latitudes, resolutions)
def test_a_located_pixel_holds_its_point(longitude, latitude, n):
    tile, row, column = locate(longitude, latitude, n)
    left, bottom, right, top = lattice(n)[tile].boundingbox.bbox
    x, y = to_sinusoidal(longitude, latitude)
    pixel = TILE_SIZE / n
    assert left + column * pixel - 1e-2 <= x <= left + (column + 1) * pixel + 1e-2
    assert top - (row + 1) * pixel - 1e-2 <= y <= top - row * pixel + 1e-2
    assert right - left == pytest.approx(top - bottom) == pytest.approx(TILE_SIZE)


@given(longitudes, latitudes)
def test_projection_and_back_is_the_same_place_and_agrees_with_proj(longitude, latitude):
    x, y = to_sinusoidal(longitude, latitude)
    back = to_geographic(x, y)
    assert np.allclose(back, (longitude, latitude), rtol=0, atol=1e-11)
    sphere = Transformer.from_crs("+proj=longlat +R=6371007.181 +no_defs", str(SINUSOIDAL_CRS), always_xy=True)
    assert np.allclose(sphere.transform(longitude, latitude), (x, y), rtol=0, atol=1e-6)


@given(st.integers(0, 35), st.integers(0, 17), resolutions)
def test_resolutions_share_the_tile_edges(h, v, n):
    assert np.allclose(lattice(n)[h, v].boundingbox.bbox, MODIS_SINUSOIDAL[h, v].boundingbox.bbox, rtol=0, atol=1e-6)


@given(longitudes, latitudes, st.floats(0.01, 5), st.floats(0.01, 5), resolutions)
def test_a_region_is_the_smallest_window_of_whole_pixels(west, south, width, height, n):
    bbox = (west, south, west + width, south + height)
    region = region_geobox(bbox=bbox, pixels_per_tile=n)
    edge = np.linspace(0, 1, 401)
    lon = np.concatenate([west + width * edge, west + width * edge, np.full(401, west), np.full(401, bbox[2])])
    lat = np.concatenate([np.full(401, south), np.full(401, bbox[3]), south + height * edge, south + height * edge])
    x, y = to_sinusoidal(lon, lat)
    pixel = TILE_SIZE / n
    rows, columns = (region.boundingbox.top - y) / pixel, (x - region.boundingbox.left) / pixel
    assert rows.min() >= -1e-5
    assert rows.max() <= region.height + 1e-5
    assert columns.min() >= -1e-5
    assert columns.max() <= region.width + 1e-5
    assert rows.min() < 1
    assert columns.min() < 1
    assert rows.max() > region.height - 1
    assert columns.max() > region.width - 1
    offset = (region.boundingbox.left - lattice(n)[18, 8].boundingbox.left) / pixel
    assert offset == pytest.approx(round(offset), abs=1e-6)


@given(longitudes, latitudes, st.floats(0.01, 5), st.floats(0.01, 5))
def test_a_box_lies_in_the_tiles_that_are_listed_for_it(west, south, width, height):
    listed = tiles_of(bbox=(west, south, west + width, south + height))
    corners = {locate(west + width * i, south + height * j).tile for i in (0.01, 0.5, 0.99) for j in (0.01, 0.5, 0.99)}
    assert corners <= set(listed)


# ---- against odc-geo, PROJ and the ellipsoid -----------------------------------------------------------------------


def test_a_region_of_one_tile_is_that_tile_exactly():
    assert region_geobox(tiles=["h25v05"]) == MODIS_SINUSOIDAL[25, 5]
    assert region_geobox(tiles=[Tile(25, 5)], pixels_per_tile=120) == lattice(120)[Tile(25, 5)]


def test_a_region_of_several_tiles_is_the_rectangle_around_them():
    region = region_geobox(tiles=["h23v05", "h26v06"])
    assert region.shape == (2400, 4800)
    assert region.affine == MODIS_SINUSOIDAL[23, 5].affine


def test_tiles_and_a_box_give_their_overlap():
    whole = region_geobox(bbox=(90, 33, 95, 36))
    part = region_geobox(tiles=["h25v05"], bbox=(90, 33, 95, 36))
    assert part == whole  # the box lies in that tile
    with pytest.raises(CatalogError, match="do not overlap"):
        region_geobox(tiles=["h23v05"], bbox=(90, 33, 95, 36))


def test_an_outline_in_any_projection_gives_the_same_region():
    box = shapely.box(90, 33, 95, 36)
    in_degrees = region_geobox(geometry=box)
    assert region_geobox(geometry=Geometry(shapely.segmentize(box, 0.1), "EPSG:4326")) == in_degrees
    mercator = Geometry(shapely.box(10018754.17, 3895303.96, 10575351.63, 4300621.37), "EPSG:3857")
    assert tiles_of(geometry=mercator) == [Tile(25, 5)]
    assert region_geobox(geometry=mercator).shape.yx == pytest.approx(in_degrees.shape.yx, abs=2)


def test_areas_of_a_longitude_latitude_grid_are_those_of_geodesic_polygons():
    grid = GeoBox((3, 4), EXPORT_GRID.affine, "EPSG:4326")
    a, _, west, _, e, north = tuple(grid.affine)[:6]
    geod = Geod(ellps="WGS84")
    for row, area in enumerate(pixel_area_km2(grid)):
        top, bottom = north + e * row, north + e * (row + 1)
        # parallels are not geodesics: many vertices along them
        along = np.linspace(west, west + a, 60)
        polygon, _ = geod.polygon_area_perimeter(
            np.concatenate([along, along[::-1]]), np.concatenate([np.full(60, bottom), np.full(60, top)])
        )
        assert area == pytest.approx(abs(polygon) / 1e6, rel=1e-6)


def test_both_kinds_of_grid_agree_on_the_area_of_a_band_around_the_earth():
    rows = 600
    sinusoidal = region_geobox(tiles=["h00v05", "h35v05"], pixels_per_tile=rows)
    centres = sinusoidal.boundingbox.top - (np.arange(rows) + 0.5) * TILE_SIZE / rows
    circumference = 2 * math.pi * 6371007.181 * np.cos(centres / 6371007.181) / (TILE_SIZE / rows)  # pixels
    degrees = GeoBox((rows, 360), Affine(1.0, 0, -180, 0, -10 / rows, 40), "EPSG:4326")
    assert (pixel_area_km2(sinusoidal) * circumference).sum() == pytest.approx(
        pixel_area_km2(degrees).sum() * 360, rel=1e-6
    )


# ---- published numbers (MODIS land grid; doi:10.5067/MODIS/MOD11A1.061) --------------------------------------------


def test_sizes_and_bounds_are_the_published_ones():
    assert pytest.approx(1111950.5197665233, abs=1e-9) == TILE_SIZE
    assert MODIS_SINUSOIDAL.resolution.x == pytest.approx(926.6254331387694, abs=1e-12)
    assert lattice(2400).resolution.x == pytest.approx(463.3127165693847, abs=1e-12)
    assert MODIS_SINUSOIDAL.resolution.x**2 / 1e6 == pytest.approx(0.858634693339612, abs=1e-12)
    assert MODIS_SINUSOIDAL[25, 5].boundingbox.bbox == pytest.approx(
        (7783653.638366, 3335851.559300, 8895604.158132, 4447802.079066), abs=1e-6
    )
    assert MODIS_SINUSOIDAL[21, 7].boundingbox.bbox == pytest.approx(
        (3335851.559, 1111950.520, 4447802.079, 2223901.040), abs=1e-3
    )
    assert MODIS_SINUSOIDAL[0, 0].boundingbox.bbox[0] == pytest.approx(-20015109.355797417, abs=1e-8)
    assert MODIS_SINUSOIDAL[0, 0].boundingbox.bbox[3] == pytest.approx(10007554.677898709, abs=1e-8)
    ellipsoid = SINUSOIDAL_CRS.proj.ellipsoid
    assert (ellipsoid.semi_major_metre, ellipsoid.inverse_flattening) == (6371007.181, 0)


@pytest.mark.parametrize(
    ("name", "longitude", "latitude", "expected"),
    [
        ("Wudaoliang", 93.08, 35.22, ("h25v05", 573, 724)),
        ("Lhasa", 91.13, 29.67, ("h25v06", 39, 1101)),
        ("Maduo", 98.22, 34.92, ("h26v05", 609, 64)),
        ("Gaize", 84.42, 32.15, ("h25v05", 942, 176)),
    ],
)
def test_towns_fall_on_their_pixels(name, longitude, latitude, expected):
    tile, row, column = locate(longitude, latitude)
    assert (str(tile), row, column) == expected, name


def test_the_plateau_needs_its_tiles_and_not_those_that_it_only_touches():
    names = {str(tile) for tile in tiles_of(bbox=(73.5, 26, 104.5, 40))}
    assert names == {f"h{h}v05" for h in range(23, 28)} | {f"h{h}v06" for h in range(24, 28)}


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_the_plateau_proper_needs_six_tiles_with_the_published_numbers_of_cells(realdata):
    import rasterio

    with rasterio.open(realdata / "modis_plateau_2010001" / "MYD11A1_2010001.LST_Day_1km_clip.tif") as file:
        assert (file.height, file.width) == EXPORT_GRID.shape
        assert np.allclose(tuple(file.transform)[:6], tuple(EXPORT_GRID.affine)[:6], rtol=0, atol=1e-12)
        inside = file.read(1) != -32768
    rows, columns = np.nonzero(inside)
    a, _, west, _, e, north = tuple(EXPORT_GRID.affine)[:6]
    x, y = to_sinusoidal(west + a * (columns + 0.5), north + e * (rows + 0.5))
    h, v = np.floor(x / TILE_SIZE) + 18, 9 - np.ceil(y / TILE_SIZE)
    codes, counts = np.unique(h * 100 + v, return_counts=True)
    assert dict(zip(codes.astype(int).tolist(), counts.tolist(), strict=True)) == {
        2305: 32623,
        2405: 514868,
        2505: 1211256,
        2506: 159642,
        2605: 577752,
        2606: 286951,
    }


@pytest.mark.realdata
def test_the_survey_sample_is_a_window_of_the_export_grid(realdata):
    import rasterio

    with rasterio.open(realdata / "cop_wenquan" / "DDF_mean_annual.tif") as file:
        sample = GeoBox((file.height, file.width), file.transform, "EPSG:4326")
    a, _, west, _, e, north = tuple(EXPORT_GRID.affine)[:6]
    column, row = (sample.affine.c - west) / a, (sample.affine.f - north) / e
    assert (row, column) == pytest.approx((379, 2602), abs=1e-4)
    assert (379 + sample.height, 2602 + sample.width) == (500, 2794)


@pytest.mark.parametrize(
    ("latitude", "ratio"), [(26, 0.99810), (30, 0.99887), (33, 0.99950), (36, 1.00015), (40, 1.00106)]
)
def test_the_ellipsoid_changes_areas_as_published(latitude, ratio):
    assert ellipsoid_area_ratio(latitude) == pytest.approx(ratio, abs=5e-6)


def test_the_area_of_a_row_is_its_nominal_area_times_the_ratio_at_its_centre():
    areas = pixel_area_km2(MODIS_SINUSOIDAL[25, 5])
    assert areas.shape == (1200,)
    assert areas[0] == pytest.approx(0.858634693339612 * ellipsoid_area_ratio(40 - 0.5 / 120), rel=1e-12)
    assert areas[0] > areas[-1]  # pixels of the north are larger on the ellipsoid


# ---- edges ---------------------------------------------------------------------------------------------------------


def test_a_point_on_an_edge_belongs_to_the_tile_south_and_east_of_it():
    assert locate(90.0, 40.0).tile.v == 5
    assert locate(90.0, 40.0).row == 0
    assert locate(90.0, 30.0).tile.v == 6
    assert locate(0.0, 0.0) == (Tile(18, 9), 0, 0)
    assert locate(180.0, -90.0).tile.v == 17


def test_tiles_have_names():
    assert parse_tile("h05v00") == Tile(5, 0)
    assert str(parse_tile((25, 5))) == "h25v05"
    assert f"{Tile(25, 5)}" == "h25v05"


@pytest.mark.parametrize("name", ["h36v00", "h00v18", "h5v5", "25/5", ""])
def test_what_is_no_tile_is_refused(name):
    with pytest.raises(CatalogError, match="tile"):
        parse_tile(name)


def test_a_tile_s_bounds_hold_its_corners():
    west, south, east, north = tile_bounds("h25v05")
    assert (south, north) == (30.0, 40.0)
    left, bottom, right, top = MODIS_SINUSOIDAL[25, 5].boundingbox.bbox
    lon, _ = to_geographic([left, left, right, right], [bottom, top, bottom, top])
    assert (lon.min(), lon.max()) == pytest.approx((west, east))
    assert tile_bounds("h18v00")[0::2] == (0.0, 180.0)  # to the pole: all of the eastern hemisphere


@pytest.mark.parametrize(
    "region",
    [
        {},
        {"tiles": []},
        {"bbox": (95, 33, 90, 36)},
        {"bbox": (90, 33, 95, 96)},
        {"geometry": shapely.Point(90, 33)},
        {"geometry": shapely.Polygon()},
        {"geometry": shapely.box(7783653, 3335851, 8895604, 4447802)},
        {"geometry": shapely.box(10, 40, 11, 41), "bbox": (90, 33, 95, 36)},
    ],
)
def test_what_is_no_region_is_refused(region):
    with pytest.raises(CatalogError):
        region_geobox(**region)


def test_points_off_the_globe_are_refused_with_a_hint():
    with pytest.raises(CatalogError, match="swapped"):
        locate(35.22, 93.08)


def test_areas_of_other_grids_are_not_guessed():
    with pytest.raises(CatalogError, match="areas"):
        pixel_area_km2(GeoBox((2, 2), EXPORT_GRID.affine, "EPSG:32646"))
    with pytest.raises(CatalogError, match="north-up"):
        pixel_area_km2(GeoBox((2, 2), EXPORT_GRID.affine, None))


def test_a_lattice_needs_pixels():
    with pytest.raises(CatalogError, match="pixel"):
        lattice(0)
