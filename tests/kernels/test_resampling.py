"""A pixel takes from each cell of a source what it shares of its area, however the two grids lie to each other."""

import numba
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from frostmap.kernels.resampling import OUTSIDE, area_means, area_modes, interpolated

EXAMPLES = 15 if numba.config.DISABLE_JIT else 60
NO_VALUE, CLOUD = 2, 3

sources = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    elements=st.one_of(st.floats(-100, 100, width=16), st.just(float("nan"))),
)
affines = st.tuples(
    st.floats(0.3, 2.5),
    st.floats(-1.2, 1.2),
    st.floats(-2, 3),
    st.floats(-0.5, 0.5),
    st.floats(0.3, 2.5),
    st.floats(-2, 3),
).filter(lambda affine: abs(affine[0] * affine[4] - affine[1] * affine[3]) > 0.05)  # pixels have an area


def corners(
    affine: tuple[float, ...], height: int = 2, width: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of pixels that lie askew on a source."""
    a, b, c, d, e, f = affine
    x, y = np.meshgrid(np.arange(width + 1.0), np.arange(height + 1.0))
    return a * x + b * y + c, d * x + e * y + f


def no_reasons(source: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.where(np.isnan(source), NO_VALUE, 0).astype(np.uint8)


def pixel(columns: NDArray[np.float64], rows: NDArray[np.float64], y: int, x: int) -> shapely.Geometry:
    around = [(y, x), (y, x + 1), (y + 1, x + 1), (y + 1, x)]
    return shapely.Polygon([(columns[at], rows[at]) for at in around])


def twin(
    source: NDArray[np.float32], columns: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means and coverage by GEOS's intersections."""
    shape = columns.shape[0] - 1, columns.shape[1] - 1
    means, coverage = np.full(shape, np.nan), np.zeros(shape)
    cells = {(i, j): shapely.box(j, i, j + 1, i + 1) for i, j in np.ndindex(source.shape)}
    for at in np.ndindex(shape):
        quad = pixel(columns, rows, *at)
        areas = {cell: quad.intersection(box).area for cell, box in cells.items() if np.isfinite(source[cell])}
        found = sum(areas.values())
        coverage[at] = found / quad.area
        if found > 1e-7:
            means[at] = sum(area * source[cell] for cell, area in areas.items()) / found
    return means, coverage


@settings(deadline=None, max_examples=EXAMPLES)
@given(sources, affines)
def test_means_are_those_of_exact_intersections(source: NDArray[np.float32], affine: tuple[float, ...]) -> None:
    columns, rows = corners(affine)
    means, coverage, reasons = area_means(source, no_reasons(source), columns, rows, 0.0)
    expected, share = twin(source, columns, rows)
    np.testing.assert_allclose(coverage, share, atol=1e-5)
    clear = share > 1e-4
    np.testing.assert_allclose(means[clear], expected[clear], rtol=1e-3, atol=1e-2)
    assert (np.isnan(means) == (reasons > 0)).all()


@settings(deadline=None, max_examples=EXAMPLES)
@given(sources, affines, st.floats(0.05, 1.0))
def test_a_pixel_has_a_value_where_and_only_where_enough_of_it_has(
    source: NDArray[np.float32], affine: tuple[float, ...], minimum: float
) -> None:
    columns, rows = corners(affine)
    for function in (area_means, area_modes, interpolated):
        result, coverage, reasons = function(source, no_reasons(source), columns, rows, minimum)
        sure = np.abs(coverage - minimum) > 1e-5
        np.testing.assert_array_equal(np.isfinite(result)[sure], (coverage >= minimum)[sure])
        assert set(np.unique(reasons)) <= {0, OUTSIDE, NO_VALUE}


def test_nothing_is_lost_between_pixels() -> None:
    """What a source holds, weighted by area, is what the pixels hold that cover it: conservation."""
    rng = np.random.default_rng(5)
    source = rng.uniform(0, 10, (9, 11)).astype(np.float32)
    columns, rows = corners((0.83, 1.07, -18.0, 0.0, 0.61, -0.2), 16, 36)
    means, coverage, _ = area_means(source, no_reasons(source), columns, rows, 0.0)
    area = 0.83 * 0.61
    assert (coverage * area).sum() == pytest.approx(source.size, rel=1e-5)
    assert np.nansum(means * coverage * area) == pytest.approx(source.sum(), rel=1e-5)


def test_pixels_that_are_the_cells_change_nothing() -> None:
    source = np.arange(12, dtype=np.float32).reshape(3, 4)
    source[1, 2] = np.nan
    columns, rows = corners((1, 0, 0, 0, 1, 0), 3, 4)
    for function in (area_means, area_modes, interpolated):
        result, coverage, reasons = function(source, no_reasons(source), columns, rows)
        np.testing.assert_allclose(result, source, rtol=1e-6)
        np.testing.assert_array_equal(coverage, np.isfinite(source))
        np.testing.assert_array_equal(reasons == NO_VALUE, np.isnan(source))


def test_a_source_that_is_upside_down_is_read_by_its_corners() -> None:
    source = np.arange(6, dtype=np.float32).reshape(3, 2)
    columns, rows = corners((1, 0, 0, 0, -1, 3), 3, 2)
    np.testing.assert_array_equal(area_means(source, no_reasons(source), columns, rows)[0], source[::-1])


@pytest.mark.parametrize("shift", [0.0, 0.5, -0.25])
@pytest.mark.parametrize("function", [area_means, interpolated])
def test_half_a_cell_of_shift_is_seen(function, shift) -> None:  # type: ignore[no-untyped-def]
    """A source that holds its own columns comes back as the pixels' own middles, on sheared pixels too."""
    source = np.broadcast_to(np.arange(40, dtype=np.float32) + 0.5, (30, 40)).copy()
    columns, rows = corners((1.3, 0.9, 8.0 + shift, 0.0, 1.1, 3.0), 12, 10)
    middle = 0.25 * (columns[:-1, :-1] + columns[:-1, 1:] + columns[1:, :-1] + columns[1:, 1:])
    result, _, _ = function(source, no_reasons(source), columns, rows)
    atol = 0.05 if function is area_means else 1e-4  # an edge cuts cells that it passes aslant
    np.testing.assert_allclose(result, middle, atol=atol)
    assert abs(np.mean(result - middle)) < 0.01


@settings(deadline=None, max_examples=EXAMPLES)
@given(affines, st.floats(-5, 5), st.floats(-5, 5))
def test_a_plane_is_interpolated_without_error(affine: tuple[float, ...], across: float, down: float) -> None:
    row, column = np.mgrid[0:8, 0:8] + 0.5
    source = (across * column + down * row).astype(np.float32)
    columns, rows = corners(affine)
    result, _, _ = interpolated(source, no_reasons(source), columns, rows)
    u = 0.25 * (columns[:-1, :-1] + columns[:-1, 1:] + columns[1:, :-1] + columns[1:, 1:])
    v = 0.25 * (rows[:-1, :-1] + rows[:-1, 1:] + rows[1:, :-1] + rows[1:, 1:])
    between = (u >= 0.5) & (u <= 7.5) & (v >= 0.5) & (v <= 7.5)
    np.testing.assert_allclose(result[between], (across * u + down * v)[between], atol=1e-4)


def test_the_class_of_the_largest_area_wins_and_the_smaller_number_breaks_ties() -> None:
    classes = np.array([[1, 2, 2, 3]], np.float32)
    reasons = np.zeros((1, 4), np.uint8)
    columns, rows = np.meshgrid([0.0, 2.0, 4.0], [0.0, 1.0])
    np.testing.assert_array_equal(area_modes(classes, reasons, columns, rows)[0], [[1, 2]])
    columns, rows = np.meshgrid([0.1, 1.8, 4.0], [0.0, 1.0])
    np.testing.assert_array_equal(area_modes(classes, reasons, columns, rows)[0], [[1, 2]])
    columns, rows = np.meshgrid([0.4, 1.8], [0.0, 1.0])
    np.testing.assert_array_equal(area_modes(classes, reasons, columns, rows)[0], [[2]])


def test_the_reason_is_that_of_the_largest_missing_part() -> None:
    source = np.array([[np.nan, np.nan, 5.0]], np.float32)
    reasons = np.array([[NO_VALUE, CLOUD, 0]], np.uint8)
    columns, rows = np.meshgrid([-0.2, 1.6, 3.2, 4.0], [0.0, 1.0])
    means, coverage, why = area_means(source, reasons, columns, rows, 0.5)
    np.testing.assert_array_equal(why, [[NO_VALUE, 0, OUTSIDE]])
    np.testing.assert_allclose(coverage, [[0.0, 0.625, 0.0]], atol=1e-6)
    np.testing.assert_array_equal(means, np.array([[np.nan, 5.0, np.nan]], np.float32))


@pytest.mark.parametrize("nowhere", [np.nan, np.inf, 1e9])
def test_corners_that_are_nowhere_have_no_value(nowhere: float) -> None:
    source = np.ones((3, 3), np.float32)
    columns, rows = corners((1, 0, 0, 0, 1, 0), 3, 3)
    columns[0, 0] = nowhere
    for function in (area_means, area_modes, interpolated):
        result, coverage, why = function(source, no_reasons(source), columns, rows)
        assert np.isnan(result[0, 0])
        assert (coverage[0, 0], why[0, 0]) == (0, OUTSIDE)
        assert np.isfinite(result[1:, 1:]).all()


def test_other_types_and_shapes_are_refused() -> None:
    source, (columns, rows) = np.ones((3, 3), np.float32), corners((1, 0, 0, 0, 1, 0))
    with pytest.raises(ValueError, match="wanted float32"):
        area_means(source.astype(np.float64), no_reasons(source), columns, rows)
    with pytest.raises(ValueError, match="wanted uint8"):
        area_modes(source, no_reasons(source)[:2], columns, rows)
    with pytest.raises(ValueError, match="corners of shapes"):
        interpolated(source, no_reasons(source), columns, rows[:-1])
