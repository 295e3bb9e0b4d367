"""The share of each cell that a polygon covers is its area there, to rounding."""

import itertools

import numba
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostmap.kernels.overlap import polygon_coverage

EXAMPLES = 20 if numba.config.DISABLE_JIT else 80
HEIGHT, WIDTH = 5, 6


def rings(polygon: shapely.Geometry) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    parts = shapely.get_parts(shapely.orient_polygons(polygon))
    lines = [ring for part in parts for ring in shapely.get_rings(part)]
    points = [shapely.get_coordinates(ring)[:-1] for ring in lines]
    every = np.concatenate(points) if points else np.empty((0, 2))
    return every[:, 0].copy(), every[:, 1].copy(), np.cumsum([len(each) for each in points], dtype=np.int64)


def twin(polygon: shapely.Geometry) -> NDArray[np.float64]:
    """Return what GEOS says of each cell."""
    covered = np.empty((HEIGHT, WIDTH))
    for row, column in np.ndindex(HEIGHT, WIDTH):
        covered[row, column] = shapely.intersection(polygon, shapely.box(column, row, column + 1, row + 1)).area
    return covered


places = st.tuples(st.floats(-3, 9, width=16), st.floats(-3, 8, width=16))


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.lists(places, min_size=3, max_size=12), st.floats(0.2, 1.0))
def test_coverage_is_the_area_of_the_intersection(points: list[tuple[float, float]], hole: float) -> None:
    """With a hole, and with vertices on the lines between cells and beyond the grid, on every side."""
    hull = shapely.MultiPoint(points).convex_hull
    if hull.geom_type != "Polygon":
        return
    inner = shapely.affinity.scale(hull, hole / 2, hole / 2)
    polygon = shapely.difference(hull, inner)
    np.testing.assert_allclose(polygon_coverage(*rings(polygon), HEIGHT, WIDTH), twin(polygon), atol=1e-9)


@settings(deadline=None, max_examples=EXAMPLES)
@given(st.lists(st.tuples(st.integers(0, WIDTH), st.integers(0, HEIGHT), st.integers(1, 3)), max_size=4))
def test_many_polygons_of_any_shape_add_up(squares: list[tuple[int, int, int]]) -> None:
    union = shapely.union_all([shapely.box(x - 0.5, y, x + size, y + size + 0.25) for x, y, size in squares])
    expected = twin(union) if squares else np.zeros((HEIGHT, WIDTH))
    np.testing.assert_allclose(polygon_coverage(*rings(union), HEIGHT, WIDTH), expected, atol=1e-12)


def test_which_way_rings_turn_does_not_matter_as_long_as_holes_turn_the_other() -> None:
    x, y = np.array([0.5, 4.5, 4.5, 0.5, 1.0, 1.0, 2.0, 2.0]), np.array([0.5, 0.5, 4.5, 4.5, 1.0, 2.0, 2.0, 1.0])
    ends = np.array([4, 8])
    forth = polygon_coverage(x, y, ends, HEIGHT, WIDTH)
    back = polygon_coverage(x[::-1].copy(), y[::-1].copy(), ends, HEIGHT, WIDTH)
    np.testing.assert_allclose(forth, back, atol=1e-15)
    assert forth.sum() == pytest.approx(15.0)
    assert forth[1, 1] == 0.0


def test_a_triangle_by_hand() -> None:
    """A right triangle with legs of 3: whole cells below its slope, halves on it."""
    x, y = np.array([0.0, 3.0, 0.0]), np.array([0.0, 0.0, 3.0])
    expected = np.triu(np.ones((3, 3)), 1)[:, ::-1].T[::-1]
    expected = np.array([[1, 1, 0.5], [1, 0.5, 0], [0.5, 0, 0]])
    np.testing.assert_allclose(polygon_coverage(x, y, np.array([3]), 3, 3), expected, atol=1e-15)


def test_neighbours_share_every_cell_without_gap_or_overlap() -> None:
    """Slanted bands that tile the plane cover each cell once."""
    total = np.zeros((HEIGHT, WIDTH))
    edges = np.linspace(-8.3, 9.7, 23)
    for left, right in itertools.pairwise(edges):
        x, y = np.array([left, right, right + 6.1, left + 6.1]), np.array([-0.2, -0.2, 5.3, 5.3])
        total += polygon_coverage(x, y, np.array([4]), HEIGHT, WIDTH)
    np.testing.assert_allclose(total, 1.0, atol=1e-12)


def test_no_polygon_covers_nothing() -> None:
    none = np.empty(0)
    assert not polygon_coverage(none, none, np.empty(0, np.int64), HEIGHT, WIDTH).any()


@pytest.mark.parametrize("ends", [[2], [3, 2], [2, 4]])
def test_rings_that_do_not_end_with_the_vertices_are_refused(ends: list[int]) -> None:
    with pytest.raises(ValueError, match="rings end"):
        polygon_coverage(np.zeros(3), np.zeros(3), np.array(ends), 2, 2)
    with pytest.raises(ValueError, match="vertices of shapes"):
        polygon_coverage(np.zeros(3), np.zeros(4), np.array([3]), 2, 2)
