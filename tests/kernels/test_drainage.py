"""Filled terrain is the lowest that drains, no water is lost, and simple surfaces are as wet as geometry says."""

import heapq

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from frostmap.kernels import drainage

gentle = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)
flows = st.sampled_from(["fd8", "d8", "dinf"])
INNER = np.s_[1:-1, 1:-1]


def rough(seed, shape=(6, 7), missing=0.0):
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 6, shape) + rng.choice([0.0, 0.25], shape)  # with flats and ties
    z[rng.random(shape) < missing] = np.nan
    return z


def levels_of(z):
    levels = drainage.empty_levels(*z.shape)
    drainage.set_levels(levels, z)
    return levels


def filled(z):
    levels = levels_of(z)
    drainage.fill_depressions(levels)
    return levels


def metres(levels):
    return np.where(levels == drainage.MISSING, np.nan, levels / 1000)[INNER]


def area(z, dx, dy, flow="fd8"):
    return drainage.flow_accumulation(filled(z), dx, dy, flow).area[INNER]


def neighbours(z, i, j):
    for y in range(max(i - 1, 0), min(i + 2, z.shape[0])):
        for x in range(max(j - 1, 0), min(j + 2, z.shape[1])):
            if (y, x) != (i, j) and not np.isnan(z[y, x]):
                yield y, x


# ---- depressions ---------------------------------------------------------------------------------------------------


@gentle
@given(seed=seeds, missing=st.sampled_from([0.0, 0.15]))
def test_water_leaves_every_cell_of_filled_terrain(seed, missing):
    z = rough(seed, missing=missing)
    full = metres(filled(z))
    np.testing.assert_array_equal(np.isnan(full), np.isnan(z))
    assert (full >= z)[~np.isnan(z)].all()
    for i in range(1, 5):
        for j in range(1, 6):
            if not np.isnan(z[i - 1 : i + 2, j - 1 : j + 2]).any():
                assert min(full[n] for n in neighbours(z, i, j)) <= full[i, j] - 0.999e-3


@gentle
@given(seed=seeds, missing=st.sampled_from([0.0, 0.15]), shape=st.sampled_from([(6, 7), (13, 11)]))
def test_filled_terrain_is_the_lowest_fixed_point(seed, missing, shape):
    z = rough(seed, shape, missing)
    outlet = np.isnan(np.pad(z, 1, constant_values=np.nan))
    outlet = np.lib.stride_tricks.sliding_window_view(outlet, (3, 3)).any(axis=(2, 3))
    counts = np.where(np.isnan(z), 0, np.rint(1000 * np.nan_to_num(z))).astype(int)
    twin, before = np.where(outlet, counts, 10**9), np.empty(0)
    while not np.array_equal(twin, before):  # Planchon and Darboux 2002: dry out from above
        before = twin.copy()
        for i, j in np.argwhere(~outlet):
            twin[i, j] = max(counts[i, j], min(twin[n] for n in neighbours(z, i, j)) + 1)
    np.testing.assert_array_equal(filled(z)[INNER], np.where(np.isnan(z), drainage.MISSING, twin))


def test_terrain_of_many_cells_is_filled_as_by_a_plain_priority_queue():
    rng = np.random.default_rng(5)
    z = np.cumsum(np.cumsum(rng.normal(0, 1, (110, 120)), axis=0), axis=1) / 20 + rng.normal(0, 2, (110, 120))
    z = np.rint(1000 * z).astype(int)
    z[40:80, 30:90] = z[40:80, 30:90].min() - 1  # a lake
    twin = {}
    front = [(z[n], n) for n in np.ndindex(z.shape) if n[0] in (0, 109) or n[1] in (0, 119)]
    heapq.heapify(front)
    waiting = {n for _, n in front}
    while front:
        level, n = heapq.heappop(front)
        twin[n] = level
        for m in neighbours(np.zeros(z.shape), *n):
            if m not in waiting:
                waiting.add(m)
                heapq.heappush(front, (max(z[m], level + 1), m))
    full = levels_of(z / 1000)
    raised = drainage.fill_depressions(full)
    expected = np.array([twin[n] for n in np.ndindex(z.shape)]).reshape(z.shape)
    np.testing.assert_array_equal(full[INNER], expected)
    assert raised == ((expected > z).sum(), (expected - z).max())


def test_a_pit_is_filled_to_its_lip_and_no_higher():
    z = np.full((7, 7), 10.0)
    z[1:-1, 1:-1] = 2.0
    z[3, 0] = 5.0  # the lip
    full = filled(z)[INNER]
    assert full[3, 1] == 5001
    assert full[3, 5] == 5005
    assert full[1:-1, 1:-1].max() < 5010
    np.testing.assert_array_equal(full[0], 10_000)


def test_millimetres_survive_at_5000_m():
    full = filled(np.full((30, 30), 5000, np.float32))
    assert full.itemsize == 4
    assert np.unique(full[INNER]).size == 15  # 15 rings, each 1 mm above the last


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (40, 1)])
def test_terrain_without_an_inside_is_left_as_it_is(shape):
    z = np.random.default_rng(0).normal(0, 1000, shape).round(3)
    np.testing.assert_array_equal(filled(z), levels_of(z))


def test_terrain_of_which_nothing_is_known_stays_so():
    levels = drainage.empty_levels(4, 5)
    drainage.fill_depressions(levels)
    assert (levels == drainage.MISSING).all()
    drained = drainage.flow_accumulation(levels, 1.0, 1.0)
    assert np.isnan(drained.area).all()
    assert not drained.from_beyond.any()


@given(z=st.lists(st.floats(-500, 9000), min_size=1, max_size=8), row=st.integers(0, 2))
def test_levels_are_millimetres_below_the_row_that_they_begin_at(z, row):
    levels = drainage.empty_levels(3, len(z))
    drainage.set_levels(levels, np.array([z]), row)
    np.testing.assert_array_equal(levels[row + 1, 1:-1], np.rint(np.array(z) * 1000))
    assert (levels != drainage.MISSING).sum() == len(z)


# ---- flow ----------------------------------------------------------------------------------------------------------


@gentle
@given(seed=seeds, missing=st.sampled_from([0.0, 0.15]), flow=flows, square=st.booleans())
def test_all_area_arrives_at_the_outlets(seed, missing, flow, square):
    z = rough(seed, (9, 11), missing)
    dx, dy = (90.0, 90.0) if square else (np.linspace(90, 80, 9), 92.0)
    full = metres(filled(z))
    gathered = area(z, dx, dy, flow)
    own = np.broadcast_to(np.broadcast_to(dx, 9)[:, None] * dy, z.shape)
    known = ~np.isnan(z)
    lowest = [n for n in map(tuple, np.argwhere(known)) if all(full[n] <= full[m] for m in neighbours(z, *n))]
    assert sum(gathered[n] for n in lowest) == pytest.approx(own[known].sum())
    assert (gathered >= own)[known].all()
    np.testing.assert_array_equal(np.isnan(gathered), ~known)


def shares_fd8(z, n, dx, dy):
    shares = {}
    for y, x in neighbours(z, *n):
        along, across = (dx, dy) if y == n[0] else (dy, dx)
        direct = y == n[0] or x == n[1]
        width, distance = (across / 2, along) if direct else (np.sqrt(2 * dx * dy) / 4, np.hypot(dx, dy))
        shares[y, x] = max(z[n] - z[y, x], 0) * width / distance
    total = sum(shares.values())
    return {m: share / total for m, share in shares.items() if share > 0}


def shares_d8(z, n, dx, dy):
    clockwise = [(n[0] + i, n[1] + j) for i, j in
                 [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)]]  # fmt: skip
    near = set(neighbours(z, *n))
    falls = {m: (z[n] - z[m]) / np.hypot((m[0] - n[0]) * dy, (m[1] - n[1]) * dx) for m in clockwise if m in near}
    steepest = max(falls, key=lambda m: round(falls[m], 12))
    return {steepest: 1.0} if falls[steepest] > 0 else {}


def shares_dinf(z, n, dx, dy):
    """Tarboton 1997, Eqs. 1 to 5, with facets that are not square; of one whose corner is missing, its side is left."""
    best, shares, near = 1e-12, {}, set(neighbours(z, *n))
    for i1, j1, turn in [
        (0, 1, 1),
        (1, 0, 1),
        (1, 0, -1),
        (0, -1, 1),
        (0, -1, -1),
        (-1, 0, -1),
        (-1, 0, 1),
        (0, 1, -1),
    ]:
        i2, j2 = (turn, j1) if i1 == 0 else (i1, turn)
        one, two = (n[0] + i1, n[1] + j1), (n[0] + i2, n[1] + j2)
        d1, d2 = (dx, dy) if i1 == 0 else (dy, dx)
        limit = np.arctan2(d2, d1)
        if {one, two} <= near:
            s1, s2 = (z[n] - z[one]) / d1, (z[one] - z[two]) / d2
            r = np.clip(np.arctan2(s2, s1), 0, limit)
            s = {0: s1, limit: (z[n] - z[two]) / np.hypot(d1, d2)}.get(r, np.hypot(s1, s2))
        elif one in near:
            r, s = 0, (z[n] - z[one]) / d1
        elif two in near:
            r, s = limit, (z[n] - z[two]) / np.hypot(d1, d2)
        else:
            continue
        if s > best:
            best, shares = s, {one: 1 - r / limit, two: r / limit}
    return {m: share for m, share in shares.items() if share > 0}


@pytest.mark.parametrize(("flow", "twin"), [("fd8", shares_fd8), ("d8", shares_d8), ("dinf", shares_dinf)])
@gentle
@given(seed=seeds, dx=st.floats(5, 20))
def test_accumulation_solves_the_balance_of_every_cell(flow, twin, seed, dx):
    z = metres(filled(np.random.default_rng(seed).normal(0, 10, (5, 6))))
    handed = np.zeros((30, 30))
    for n in np.ndindex(5, 6):
        for (y, x), share in twin(z, n, dx, 13.0).items():
            handed[6 * y + x, 6 * n[0] + n[1]] = share
    balanced = np.linalg.solve(np.eye(30) - handed, np.full(30, dx * 13.0)).reshape(5, 6)
    np.testing.assert_allclose(area(z, dx, 13.0, flow), balanced)


@pytest.mark.parametrize(
    ("angle", "east", "south_east"), [(0, 1, 0), (15, 2 / 3, 1 / 3), (30, 1 / 3, 2 / 3), (45, 0, 1)]
)
def test_d_infinity_divides_by_the_angle_within_the_facet(angle, east, south_east):
    y, x = np.mgrid[:3, :3] * 10.0
    z = 1000 - 300 * (x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle)))
    z[[0, 0, 0, 1, 2, 2], [0, 1, 2, 0, 0, 1]] = np.nan  # the middle, its east and south-east are left
    gathered = drainage.flow_accumulation(levels_of(z), 10.0, 10.0, "dinf").area[INNER]
    onward = gathered[1, 2] if angle else 0.0  # what lies east runs on to the south-east
    np.testing.assert_allclose(gathered[1, 2], 100 + 100 * east, rtol=1e-5)
    np.testing.assert_allclose(gathered[2, 2], 100 + 100 * south_east + onward, rtol=1e-5)


@pytest.mark.parametrize("flow", ["fd8", "d8", "dinf"])
def test_where_water_comes_from_beyond_is_told(flow):
    across = np.abs(np.arange(25) - 12.0)  # a valley that runs south, between two ridges
    z = 100.0 + 3 * np.minimum(across, 16 - across) + np.arange(30.0)[::-1, None]
    drained = drainage.flow_accumulation(filled(z), 10.0, 10.0, flow)
    beyond = drained.from_beyond[INNER]
    assert beyond[:, 12].all()  # the valley's stream, from the northern edge to the southern
    assert not beyond[12:-1, [6, 7, 17, 18]].any()  # its slopes, which begin at the ridges
    assert beyond[[0, -1]].all()
    hole = z.copy()
    hole[15, 7] = np.nan
    assert drainage.flow_accumulation(filled(hole), 10.0, 10.0, flow).from_beyond[INNER][16, 8]


# ---- wetness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flow", ["fd8", "d8", "dinf"])
def test_specific_area_of_a_plane_is_the_way_down_so_far(flow):
    z = np.tile(1000.0 - 2.0 * np.arange(8), (2, 1))
    index = drainage.wetness_index(z, 40.0, 25.0, flow)
    np.testing.assert_allclose(index, np.tile(np.log(40.0 * np.arange(1, 9) / 0.05), (2, 1)), rtol=1e-6)
    turned = drainage.wetness_index(np.ascontiguousarray(z.T), 25.0, 40.0, flow)
    np.testing.assert_allclose(turned, index.T, rtol=1e-6)


@pytest.mark.parametrize(("flow", "bias", "spread"), [("fd8", 0.08, 0.3), ("dinf", 0.08, 0.6), ("d8", 0.05, 2.0)])
@pytest.mark.parametrize("surface", ["cone", "sphere", "paraboloid"])
def test_wetness_of_round_hills_is_that_of_their_radius(surface, flow, bias, spread):
    # Water spreads over a widening circle: specific area r / 2, whatever the profile. One direction a cell cannot.
    y, x = np.mgrid[-15:16, -15:16] * 30.0
    radius = np.hypot(x, y)
    z, steep = {
        "cone": (3000 - 0.3 * radius, np.full(radius.shape, 0.3)),
        "sphere": (np.sqrt(900.0**2 - radius**2), radius / np.sqrt(900.0**2 - radius**2)),
        "paraboloid": (3000 - 5e-4 * radius**2, 1e-3 * radius),
    }[surface]
    ring = (radius > 150) & (radius < 400)
    error = drainage.wetness_index(z, 30.0, 30.0, flow)[ring] - np.log(radius[ring] / 2 / steep[ring])
    assert abs(np.median(error)) < bias
    assert np.abs(error).max() < spread


def test_water_that_runs_together_in_a_round_bowl_is_as_wet_as_geometry_says():
    # Down a funnel from the rim R: what lies outside of r, over its circumference, (R^2 - r^2) / 2 r.
    y, x = np.mgrid[-20:21, -20:21] * 30.0
    radius = np.hypot(x, y)
    z = np.where(radius < 600, 3000 + 0.3 * radius, np.nan)
    z[20, 20] = np.nan  # the sink
    index = drainage.wetness_index(z, 30.0, 30.0)
    ring = (radius > 120) & (radius < 450)
    error = index[ring] - np.log((600**2 - radius[ring] ** 2) / (2 * radius[ring]) / 0.3)
    assert abs(np.median(error)) < 0.15
    assert np.percentile(np.abs(error), 95) < 0.35


def test_flat_ground_has_the_least_gradient_and_a_mean_width():
    index = drainage.wetness_index(np.full((2, 2), 4500.0), 20.0, 40.0)
    np.testing.assert_allclose(index, np.log(20.0 * 40.0 / 30.0 / 1e-3), rtol=1e-6)


def test_valleys_are_wetter_than_ridges_and_the_input_is_left_alone():
    i, j = np.mgrid[:12, :13]
    z = 4000.0 - 3.0 * i + 2.0 * np.abs(j - 6)
    kept = z.copy()
    index = drainage.wetness_index(z, 30.0, 30.0)
    assert index.dtype == np.float32
    assert (index[3:, 6] > index[3:, 1] + 1).all()
    np.testing.assert_array_equal(z, kept)


@gentle
@given(seed=seeds, start=st.integers(0, 7), stop=st.integers(0, 7))
def test_rows_of_the_index_are_those_of_the_whole(seed, start, stop):
    z = rough(seed, (7, 6), 0.1)
    dx = np.linspace(90, 80, 7)
    levels = filled(z)
    gathered = drainage.flow_accumulation(levels, dx, 92.0).area
    part = drainage.drained_wetness(levels, gathered, dx, 92.0, rows=slice(start, stop))
    np.testing.assert_array_equal(part, drainage.wetness_index(z, dx, 92.0)[start:stop])


def test_a_cell_without_a_neighbour_along_an_axis_is_nan():
    z = np.full((4, 4), np.nan)
    z[0, 0], z[2, 2], z[2, 3] = 1, 2, 3
    assert np.isnan(drainage.wetness_index(z, 1, 1)).all()


# ---- another program -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whitebox():
    """Return the hydrology of Whitebox Workflows, and how a raster is handed to it."""
    workflows = pytest.importorskip("whitebox_workflows", reason="compares with Whitebox Workflows")
    return workflows.WbEnvironment()


def ridges(size=120):
    """Return hills and valleys above a plain, with pits; lowest at its edges, where programs differ."""
    y, x = np.mgrid[:size, :size] * 0.09
    z = sum(np.sin(k * x + k * k) * np.sin(1.3 * k * y + k) * 300 / k for k in (1, 2, 4, 8, 16, 30))
    edge = np.minimum.reduce([x, y, x[::-1, ::-1], y[::-1, ::-1]])
    return np.round(4000 + z * np.minimum(edge, 1) + 400 * np.minimum(edge, 1.5), 3)


def handed(whitebox, path, z):
    profile = {"driver": "GTiff", "count": 1, "dtype": "float64", "crs": "EPSG:32645", "nodata": -32768}
    profile |= {"height": z.shape[0], "width": z.shape[1], "transform": Affine(90, 0, 5e5, 0, -90, 4.2e6)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(z, 1)
    return whitebox.read_raster(str(path))


def test_depressions_are_filled_as_another_program_fills_them(whitebox, tmp_path):
    z = ridges()
    theirs = whitebox.hydrology.fill_depressions(dem=handed(whitebox, tmp_path / "z.tif", z), fix_flats=False)
    ours = metres(filled(z))
    assert (ours > z + 1).mean() > 0.01
    above = ours - np.squeeze(theirs.to_numpy())
    assert above.min() > -1e-6
    assert above.max() < 0.05  # what drains off flats: 1 mm a cell


@pytest.mark.parametrize(
    ("flow", "tool", "most", "share"),
    [
        ("d8", "d8_flow_accum", 1e-6, 0.99),  # among equals, each program has its own choice
        ("dinf", "dinf_flow_accum", 1e-6, 0.999),
        ("fd8", "quinn_flow_accumulation", 0.15, 0.9),  # theirs knows no contour lengths
    ],
)
def test_wetness_is_that_of_another_program(whitebox, tmp_path, flow, tool, most, share):
    levels = filled(ridges())
    raster = handed(whitebox, tmp_path / "z.tif", metres(levels))
    given = {"dem" if flow == "fd8" else "input": raster} | ({"exponent": 1.0} if flow == "fd8" else {})
    theirs = np.squeeze(getattr(whitebox.hydrology, tool)(out_type="ca", **given).to_numpy())
    drained = drainage.flow_accumulation(levels, 90.0, 90.0, flow)
    ours = drainage.drained_wetness(levels, drained.area, 90.0, 90.0, flow)
    framed = np.pad(theirs, 1, constant_values=np.nan)
    compared = drainage.drained_wetness(levels, framed, 90.0, 90.0, flow)
    inner = np.s_[1:-1, 1:-1]
    close = np.abs(ours - compared)[inner] < most
    assert close.mean() > share
    assert np.corrcoef(ours[inner].ravel(), compared[inner].ravel())[0, 1] > 0.99


# ---- edges ---------------------------------------------------------------------------------------------------------


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="dx has shape"):
        drainage.wetness_index(np.zeros((3, 4)), np.ones(4), 1.0)
    with pytest.raises(ValueError, match="dy holds -30"):
        drainage.wetness_index(np.zeros((3, 4)), 30.0, -30.0)
    with pytest.raises(ValueError, match=r"wanted \(y, x\)"):
        drainage.wetness_index(np.zeros(4), 1.0, 1.0)
    with pytest.raises(ValueError, match=r"wanted \(y, x\)"):
        drainage.set_levels(drainage.empty_levels(2, 2), np.zeros(4))
    with pytest.raises(ValueError, match="cut the terrain"):
        drainage.empty_levels(100_000, 100_000)
    with pytest.raises(ValueError, match="in their frame"):
        drainage.fill_depressions(np.zeros((4, 4), np.int32))
    with pytest.raises(ValueError, match="wanted those of empty_levels"):
        drainage.fill_depressions(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="no flow named 'd16'; wanted one of fd8, d8, dinf"):
        drainage.flow_accumulation(drainage.empty_levels(2, 2), 1.0, 1.0, "d16")
