"""The residuals of clear cells tell the residuals of cloudy ones as kriging with their own covariance does."""

from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import nnls

from frostmap.kernels import residual_field as module
from frostmap.kernels.residual_field import (
    ResidualCovariance,
    _least_squares_not_negative,
    _tried,
    add_residuals,
    interpolate_field,
    residual_covariance,
    residual_field,
)

MODEL = ResidualCovariance(
    mean_variance=2.0,
    short_sill=1.5,
    short_range=1.4,
    long_sill=3.0,
    long_range=8.0,
    nugget=0.2,
    sampling=0.5,
    stretch=2.0,
    direction=0.6,
)
Cells = NDArray[np.int64]


@pytest.fixture
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Try fewer covariances where loops are slow."""
    if numba.config.DISABLE_JIT:
        _tried.cache_clear()
        monkeypatch.setattr(module, "STRETCHES", (1.0,))
        monkeypatch.setattr(module, "SHORT_RANGES", (1.0,))
        monkeypatch.setattr(module, "LONG_RANGES", (4.0, 8.0))
    yield
    _tried.cache_clear()


def summed(residual: NDArray[np.float32], cell: int) -> tuple[Cells, Cells, Cells]:
    height, width = residual.shape
    sums, counts, squares = np.zeros((3, -(-height // cell), -(-width // cell)), np.int64)
    add_residuals(sums, counts, squares, residual, 0, 0, cell)
    return sums, counts, squares


def some_residuals(seed: int, shape: tuple[int, int], missing: float = 0.5) -> NDArray[np.float32]:
    """Return smooth residuals of which some are missing."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    residual = (
        2.0 * np.sin(y / 3.0 + rng.uniform(0, 6)) + np.cos(x / 4.0 + rng.uniform(0, 6)) + rng.normal(0, 0.3, shape)
    )
    return np.where(rng.random(shape) < missing, np.nan, residual).astype(np.float32)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 12), st.integers(0, 9))
@settings(deadline=None, max_examples=25)
def test_however_the_scene_is_cut_the_sums_are_the_same(seed: int, cell: int, row: int, column: int) -> None:
    residual = some_residuals(seed, (12, 9))
    whole = summed(residual, cell)
    parts = tuple(np.zeros_like(w) for w in whole)
    for rows in (slice(row, 12), slice(0, row)):
        for columns in (slice(0, column), slice(column, 9)):
            block = residual[rows, columns]
            if block.size:
                add_residuals(*parts, block, rows.start, columns.start, cell)
    np.testing.assert_array_equal(np.stack(parts), np.stack(whole))


def test_the_sums_equal_their_numpy_twin_and_missing_residuals_add_nothing() -> None:
    residual = some_residuals(1, (12, 8))
    twin = np.nan_to_num(np.rint(np.float32(100) * residual)).astype(np.int64).reshape(3, 4, 2, 4)
    sums, counts, squares = summed(residual, 4)
    np.testing.assert_array_equal(sums, twin.sum(axis=(1, 3)))
    np.testing.assert_array_equal(squares, (twin**2).sum(axis=(1, 3)))
    np.testing.assert_array_equal(counts, np.isfinite(residual).reshape(3, 4, 2, 4).sum(axis=(1, 3)))


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=5)
def test_with_all_cells_as_neighbours_the_field_is_its_numpy_twin(seed: int) -> None:
    sums, counts, squares = summed(some_residuals(seed, (6, 7)), 1)
    y, x = (axis.ravel() for axis in np.mgrid[:6, :7])
    dy, dx = y[:, None] - y, x[:, None] - x
    along, across = dx * np.cos(0.6) + dy * np.sin(0.6), dy * np.cos(0.6) - dx * np.sin(0.6)
    h = np.sqrt(along**2 / 2.0 + across**2 * 2.0)
    covariance = 2.0 + 1.5 * (1.0 + h / 1.4) * np.exp(-h / 1.4) + 3.0 * np.exp(-h / 8.0)
    k = counts.ravel() > 0
    weights = np.linalg.solve(covariance[np.ix_(k, k)] + 0.7 * np.eye(k.sum()), covariance[k]).T
    mean = sums.ravel()[k] / 100.0
    middle = np.median(mean)
    limit = 4.0 * 1.4826 * np.median(np.abs(mean - middle))  # outliers are drawn in
    field, remaining = residual_field(sums, counts, squares, MODEL, neighbours=42)
    np.testing.assert_allclose(field.ravel(), weights @ np.clip(mean, middle - limit, middle + limit), atol=1e-4)
    variance = covariance.diagonal() - (weights * covariance[:, k]).sum(axis=1)
    share = np.clip((variance + 0.2) / (squares.sum() / 1e4 / k.sum()), 0.0, 1.0)
    np.testing.assert_allclose(remaining.ravel(), share, atol=1e-4)


def test_one_neighbour_by_hand() -> None:
    # Covariance at distance 0: 1 + 4; at distance 3: 1 + 4 exp(-3/8) = 3.749157; own variance 5 + 0.5 + 1.5 / 3 = 6.
    model = ResidualCovariance(1.0, 0.0, 1.0, 4.0, 8.0, 0.5, 1.5, 1.0, 0.0)
    sums, counts, squares = np.zeros((3, 1, 4), np.int64)
    add_residuals(sums, counts, squares, np.full((1, 3), 6.0, np.float32), 0, 0, 3)
    field, remaining = residual_field(sums, counts, squares, model, neighbours=1)
    np.testing.assert_allclose(field[0, [0, 3]], [6.0 * 5.0 / 6.0, 6.0 * 3.749157 / 6.0], rtol=1e-5)
    # What is left, (5 - c² / 6 + 0.5) / 36.
    np.testing.assert_allclose(remaining[0, [0, 3]], [(5.5 - 25.0 / 6.0) / 36, (5.5 - 3.749157**2 / 6) / 36], rtol=1e-5)


@pytest.mark.usefixtures("few_candidates")
def test_twice_the_residuals_make_twice_the_field_and_the_same_share() -> None:
    sums, counts, squares = summed(some_residuals(4, (16, 16)), 1)
    field, remaining = residual_field(sums, counts, squares, neighbours=12)
    doubled, share = residual_field(2 * sums, counts, 4 * squares, neighbours=12)
    np.testing.assert_allclose(doubled, 2.0 * field, atol=1e-4)
    np.testing.assert_allclose(share, remaining, atol=1e-4)
    again, _ = residual_field(sums, counts, squares, neighbours=12)
    np.testing.assert_array_equal(again, field)


@pytest.mark.usefixtures("few_candidates")
def test_a_smooth_field_is_found_again_behind_clouds() -> None:
    y, x = np.mgrid[:24, :24]
    truth = (3.0 * np.sin(y / 5.0) + 2.0 * np.cos(x / 6.0)).astype(np.float32)
    cloudy = (y // 4 + x // 4) % 3 == 0
    field, remaining = residual_field(*summed(np.where(cloudy, np.nan, truth), 1), neighbours=16)
    error = field - truth
    assert np.sqrt(np.mean(error[cloudy] ** 2)) < 0.2 * truth.std()
    assert remaining[cloudy].mean() > remaining[~cloudy].mean()
    assert 0.0 <= remaining.min() <= remaining.max() < 0.3


def test_far_from_all_that_is_known_the_field_is_zero_and_all_variance_remains() -> None:
    sums, counts, squares = np.zeros((3, 4, 40), np.int64)
    add_residuals(sums, counts, squares, np.full((4, 4), 5.0, np.float32), 0, 0, 1)
    field, remaining = residual_field(sums, counts, squares, neighbours=8, reach=8)
    assert (field[:, 20:] == 0.0).all()
    assert (remaining[:, 20:] == 1.0).all()
    assert (np.diff(field[0, 3:12]) <= 1e-6).all()
    assert (np.diff(remaining[0, 3:12]) >= -1e-6).all()


def test_where_nothing_was_observed_the_field_is_zero() -> None:
    nothing = np.zeros((3, 5, 6), np.int64)
    field, remaining = residual_field(*nothing)
    np.testing.assert_array_equal(field, np.zeros((5, 6), np.float32))
    np.testing.assert_array_equal(remaining, np.ones((5, 6), np.float32))
    assert residual_covariance(*nothing[:2]).long_sill == 0.0


def test_scatter_within_cells_is_variance_that_remains() -> None:
    pixels = np.where(np.indices((8, 8)).sum(axis=0) % 2 == 0, 3.0, -1.0).astype(np.float32)  # cell means 1, scatter 4
    _, remaining = residual_field(*summed(pixels, 4), MODEL, neighbours=4)
    assert (remaining >= 4.0 / 5.0).all()


@pytest.mark.usefixtures("few_candidates")
def test_one_wild_cell_is_drawn_in() -> None:
    residual = some_residuals(5, (12, 12), missing=0.3)
    calm, _ = residual_field(*summed(residual, 1), MODEL, neighbours=12)
    residual[6, 6] = -300.0
    wild, _ = residual_field(*summed(residual, 1), MODEL, neighbours=12)
    assert np.abs(wild - calm).max() < 12.0


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="slow without the JIT, and no line more is reached")
def test_the_covariance_of_an_elongated_field_is_found() -> None:
    rng = np.random.default_rng(0)
    y, x = (axis.ravel() for axis in np.mgrid[:40, :40])
    h = np.hypot((y[:, None] - y) * 2.0**0.5, (x[:, None] - x) / 2.0**0.5)
    root = np.linalg.cholesky(9.0 * np.exp(-h / 6.0) + 1e-9 * np.eye(1600))
    sums = np.zeros((40, 40), np.int64)
    gains = []
    for _ in range(3):
        sums[:] = np.rint(100.0 * (root @ rng.normal(size=1600) + rng.normal(0.0, 1.0, 1600))).reshape(40, 40)
        found = residual_covariance(sums, np.ones((40, 40), np.int64))
        gains.append(
            (found.stretch, found.direction, found.short_sill + found.long_sill, found.nugget + found.sampling)
        )
    stretch, direction, sill, nugget = np.median(gains, axis=0)
    assert 1.5 <= stretch <= 3.0
    assert min(direction, np.pi - direction) < 0.5
    assert 4.0 < sill < 14.0
    assert nugget < 2.5


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=20)
def test_least_squares_without_negative_values_are_those_of_scipy(seed: int, alike: bool) -> None:
    rng = np.random.default_rng(seed)
    columns, wanted = rng.random((2, 6, 20)), rng.random(20)
    if alike:
        columns[:, 5] = 2.0 * columns[:, 4]  # as the sampling variance is where all cells have one count
    chosen = np.array([[0, 2, 4, 5], [1, 3, 4, 5]])
    found, misfits = _least_squares_not_negative(columns @ columns.transpose(0, 2, 1), columns @ wanted, chosen)
    for n, m in np.ndindex(2, 2):
        best, root = nnls(columns[n, chosen[m]].T, wanted)
        np.testing.assert_allclose(misfits[n, m], root**2 - wanted @ wanted, atol=1e-8)
        np.testing.assert_allclose(columns[n, chosen[m]].T @ found[n, m], columns[n, chosen[m]].T @ best, atol=1e-5)
        assert found[n, m, 3] == 0.0 or not alike


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 11), st.integers(0, 7))
@settings(deadline=None, max_examples=25)
def test_a_pixel_of_the_field_does_not_depend_on_its_block(seed: int, cell: int, top: int, left: int) -> None:
    field = np.random.default_rng(seed).normal(0.0, 5.0, (12, 8)).astype(np.float32)
    whole = interpolate_field(field, 0, 0, 12, 8, cell)
    part = interpolate_field(field, top, left, 12 - top, 8 - left, cell)
    np.testing.assert_array_equal(part, whole[top:, left:])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
@settings(deadline=None, max_examples=20)
def test_the_interpolation_equals_its_numpy_twin(seed: int, cell: int) -> None:
    field = np.random.default_rng(seed).normal(0.0, 5.0, (3, 4)).astype(np.float32)
    place = [((np.arange(n * cell) + 0.5) / cell - 0.5, np.arange(n)) for n in field.shape]
    along_y = np.stack([np.interp(*place[0], column) for column in field.T], axis=1)
    twin = np.stack([np.interp(*place[1], row) for row in along_y])
    np.testing.assert_allclose(interpolate_field(field, 0, 0, 3 * cell, 4 * cell, cell), twin, atol=1e-5)


def test_a_missing_cell_is_missing_around_its_centre_only() -> None:
    pixels = interpolate_field(np.array([[1.0, np.nan, 1.0, 1.0]], np.float32), 0, 0, 1, 16, 4)
    assert np.flatnonzero(np.isnan(pixels[0])).tolist() == list(range(2, 10))


def test_wrong_inputs_are_named() -> None:
    cells = np.zeros((3, 2, 2), np.int64)
    block = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match="wanted one shape"):
        add_residuals(cells[0], cells[1], cells[2, :1], block, 0, 0, 1)
    with pytest.raises(ValueError, match="wanted int64"):
        add_residuals(cells[0], cells[1].astype(np.int32), cells[2], block, 0, 0, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="float32"):
        add_residuals(*cells, block.astype(np.float64), 0, 0, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not within"):
        add_residuals(*cells, block, 1, 0, 1)
    with pytest.raises(ValueError, match="cell is 0"):
        add_residuals(*cells, block, 0, 0, 0)
    with pytest.raises(ValueError, match="wanted one"):
        residual_covariance(cells[0], cells[1, :1])
    with pytest.raises(ValueError, match="wanted one shape"):
        residual_field(cells[0], cells[1], cells[2, :1])
    with pytest.raises(ValueError, match="neighbours is 0"):
        residual_field(*cells, neighbours=0)
    with pytest.raises(ValueError, match="float32"):
        interpolate_field(np.zeros((2, 2)), 0, 0, 2, 2, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is not within"):
        interpolate_field(block, 0, 0, 2, 3, 1)


@pytest.mark.realdata
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="a real scene takes too long without the JIT")
def test_a_real_scene_is_filled_from_itself_as_well_as_by_the_best_published_methods(realdata: Path) -> None:
    # Heaton et al. (2018), doi:10.1007/s13253-018-00348-w, 42,740 held-out pixels, RMSE [K] of twelve methods: best
    # 1.53 (stochastic partial differential equations), 1.64 (nearest-neighbour Gaussian process); the gap-filling
    # method among them 1.86.
    table = np.genfromtxt(realdata / "gapfill/heaton2016217/AllSatelliteTemps.csv.gz", delimiter=",", skip_header=1)
    lon, lat = np.unique(table[:, 0]), np.unique(table[:, 1])
    masked, truth = np.full((2, lat.size, lon.size), np.nan)
    place = lat.size - 1 - np.searchsorted(lat, table[:, 1]), np.searchsorted(lon, table[:, 0])
    masked[place], truth[place] = table[:, 2], table[:, 3]
    hidden = np.isnan(masked) & np.isfinite(truth)
    assert hidden.sum() == 42740
    y, x = np.mgrid[: lat.size, : lon.size]
    design = np.stack([np.ones(masked.shape), y, x], axis=-1)
    clear = np.isfinite(masked)
    trend = design @ np.linalg.lstsq(design[clear], masked[clear], rcond=None)[0]
    sums, counts, squares = summed((masked - trend).astype(np.float32), 1)
    field, remaining = residual_field(sums, counts, squares, neighbours=64)
    error = (trend + field - truth)[hidden]
    rmse = np.sqrt(np.mean(error**2))
    sigma = np.sqrt(remaining[hidden] * squares.sum() / counts.sum()) / 100.0
    assert rmse <= 1.6  # 1.57, and 3.08 of the trend alone
    assert 0.58 <= np.mean(np.abs(error) < sigma) <= 0.78  # 0.65
