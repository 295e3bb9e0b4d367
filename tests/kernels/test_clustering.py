"""Points move to nearer centres among the neighbours of their own, and the sum of squares never grows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frostmap.kernels.clustering import cluster_means, move_to_nearer

Floats, Labels = NDArray[np.float32], NDArray[np.int32]


def neighbours(centres: Floats, m: int) -> tuple[Labels, Floats]:
    gap = np.linalg.norm(centres[:, np.newaxis] - centres, axis=2)
    np.fill_diagonal(gap, -1.0)  # itself first
    order = np.argsort(gap, axis=1, kind="stable")[:, 1 : m + 1]
    return order.astype(np.int32), np.take_along_axis(gap, order, axis=1).astype(np.float32)


def twin(points: Floats, centres: Floats, near: Labels, labels: Labels) -> Floats:
    candidates = np.column_stack([labels, near[labels]])
    return ((points[:, np.newaxis] - centres[candidates]) ** 2).sum(axis=2).min(axis=1)


def scene(n: int, k: int, p: int, seed: int) -> tuple[Floats, Floats, Labels]:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, p)).astype(np.float32)
    return points, points[rng.choice(n, k, replace=False)], rng.integers(0, k, n).astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(12, 60), k=st.integers(2, 12), p=st.integers(1, 4), m=st.integers(1, 11), seed=st.integers(0, 99))
def test_the_nearest_of_its_own_centre_and_the_neighbours_is_taken(n: int, k: int, p: int, m: int, seed: int) -> None:
    points, centres, labels = scene(n, k, p, seed)
    near, gap = neighbours(centres, min(m, k - 1))
    moved, squares = move_to_nearer(points, centres, near, gap, labels)
    np.testing.assert_allclose(squares, twin(points, centres, near, labels), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(squares, ((points - centres[moved]) ** 2).sum(axis=1), rtol=1e-5, atol=1e-7)
    if m >= k - 1:
        every = ((points[:, np.newaxis] - centres) ** 2).sum(axis=2).min(axis=1)
        np.testing.assert_allclose(squares, every, rtol=1e-4, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99))
def test_steps_never_make_the_sum_of_squares_larger(seed: int) -> None:
    points, centres, labels = scene(80, 10, 3, seed)
    before = np.inf
    for _ in range(6):
        moved, squares = move_to_nearer(points, centres, *neighbours(centres, 4), labels)
        assert squares.sum() <= before * (1 + 1e-5)
        before, labels = squares.sum(), moved
        centres = cluster_means(points, labels, centres)
        after = ((points - centres[labels]) ** 2).sum()
        assert after <= before * (1 + 1e-5)
        before = after


def test_means_are_those_of_the_points() -> None:
    points, centres, labels = scene(50, 6, 2, 1)
    labels[labels == 4] = 3
    means = cluster_means(points, labels, centres)
    for k in range(6):
        expected = points[labels == k].mean(axis=0) if k != 4 else centres[4]
        np.testing.assert_allclose(means[k], expected, rtol=1e-5, atol=1e-6)


def test_nothing_that_is_given_changes() -> None:
    points, centres, labels = scene(50, 6, 2, 1)
    copies = points.copy(), centres.copy(), labels.copy()
    near, gap = neighbours(centres, 3)
    moved, _ = move_to_nearer(points, centres, near, gap, labels)
    cluster_means(points, moved, centres)
    for given_, copy in zip((points, centres, labels), copies, strict=True):
        np.testing.assert_array_equal(given_, copy)


def test_a_point_with_a_missing_value_keeps_its_centre() -> None:
    points, centres, labels = scene(50, 6, 2, 1)
    points[7, 1] = np.nan
    moved, squares = move_to_nearer(points, centres, *neighbours(centres, 5), labels)
    assert moved[7] == labels[7]
    assert np.isnan(squares[7])
    assert np.isfinite(np.delete(squares, 7)).all()
