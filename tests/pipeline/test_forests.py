"""A forest is kept as plain arrays: it comes back as it was, and whatever else is in its files is refused."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from frostmap.kernels.forest import predict, predict_distribution
from frostmap.pipeline import forests
from frostmap.pipeline.applicability import training_space
from frostmap.pipeline.cross_validation import random_folds
from frostmap.pipeline.errors import UserError

NAMES = ("elevation", "slope", "sand")


def kept(seed: int = 1) -> tuple[forests.Kept, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(120, 3)).astype(np.float32)
    target = np.where(values[:, 0] > 0, 0.8, 1.0) + 0.05 * (values[:, 1] > 0.5)
    grown = forests.grow(values, target, trees=20, seed=3, errors=np.full(120, 0.02))
    space = training_space(values, grown.importance, random_folds(120, seed=5))
    return forests.Kept(grown.forest, space, NAMES, {"trees": 20, "samples": 120}), values.T


def test_the_same_seed_grows_the_same_forest_and_another_does_not() -> None:
    rng = np.random.default_rng(0)
    values, target = rng.normal(size=(60, 3)).astype(np.float32), rng.normal(size=60)
    one, two, other = (forests.grow(values, target, 10, seed) for seed in (1, 1, 2))
    for name in forests.TYPES:
        np.testing.assert_array_equal(getattr(one.forest, name), getattr(two.forest, name))
    assert (
        len(one.forest.threshold) != len(other.forest.threshold)
        or (one.forest.threshold != other.forest.threshold).any()
    )


def test_a_forest_finds_what_its_target_depends_on() -> None:
    found, _ = kept()
    rng = np.random.default_rng(9)
    values = rng.normal(size=(120, 3)).astype(np.float32)
    grown = forests.grow(values, np.where(values[:, 2] > 0, 0.8, 1.0), trees=20, seed=3)
    assert grown.importance.argmax() == 2
    assert grown.importance.sum() == pytest.approx(1.0)
    assert found.forest.trees == 20


def test_what_is_kept_comes_back_as_it_was(tmp_path: Path) -> None:
    before, pixels = kept()
    paths = forests.save(before, tmp_path / "models")
    assert [path.name for path in paths] == ["forest.npz", "forest.json"]
    after = forests.load(tmp_path / "models", NAMES)
    for name, kind in forests.TYPES.items():
        array = getattr(after.forest, name)
        assert array.dtype == kind
        np.testing.assert_array_equal(array, getattr(before.forest, name))
    np.testing.assert_array_equal(predict(after.forest, pixels), predict(before.forest, pixels))
    np.testing.assert_array_equal(after.space.dissimilarity(pixels), before.space.dissimilarity(pixels))
    assert after.training == {"trees": 20, "samples": 120}
    described = json.loads(paths[1].read_text())
    assert described["predictors"] == list(NAMES)
    assert {"frostmap", "scikit-learn", "numpy"} == set(described["software"])


def test_files_do_not_depend_on_when_they_are_written(tmp_path: Path) -> None:
    one, two = (forests.save(kept()[0], tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_targets_that_are_less_certain_make_predictions_less_certain() -> None:
    _, pixels = kept()
    exact = forests.grow(pixels.T, np.where(pixels[0] > 0, 0.8, 1.0), trees=20, seed=3)
    doubtful = forests.grow(pixels.T, np.where(pixels[0] > 0, 0.8, 1.0), trees=20, seed=3, errors=np.full(120, 0.1))
    one, two = (predict_distribution(grown.forest, pixels).deviation for grown in (exact, doubtful))
    np.testing.assert_allclose(two**2, one**2 + 0.01, atol=1e-6)


def resealed(folder: Path, arrays: dict[str, np.ndarray], **described: object) -> None:
    """Write a forest's files anew, with a digest that fits."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (folder / "forest.npz").write_bytes(buffer.getvalue())
    content = json.loads((folder / "forest.json").read_text())
    content["sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    (folder / "forest.json").write_text(json.dumps(content | described))


def stored(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "forest.npz", allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def refused(folder: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        forests.load(folder, NAMES)
    assert "grows it anew" in str(caught.value)


def test_files_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, "No such file")
    forests.save(kept()[0], tmp_path)
    content = (tmp_path / "forest.npz").read_bytes()
    (tmp_path / "forest.npz").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(tmp_path, "another digest")
    (tmp_path / "forest.npz").unlink()
    refused(tmp_path, "No such file")
    (tmp_path / "forest.json").write_text("[1, 2]")
    (tmp_path / "forest.npz").write_bytes(content)
    refused(tmp_path, "format")


def test_a_forest_of_other_predictors_is_refused(tmp_path: Path) -> None:
    forests.save(kept()[0], tmp_path)
    with pytest.raises(UserError, match="predictors"):
        forests.load(tmp_path, ("slope", "elevation", "sand"))
    resealed(tmp_path, stored(tmp_path), format=2)
    refused(tmp_path, "format 2")


def test_nothing_that_is_pickled_is_read(tmp_path: Path) -> None:
    forests.save(kept()[0], tmp_path)
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (ran,))

    arrays = stored(tmp_path) | {"targets": np.array([Trap()], dtype=object)}
    resealed(tmp_path, arrays)
    refused(tmp_path, "allow_pickle")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("below", lambda array: np.zeros_like(array), "after its parent"),
        ("feature", lambda array: array + 3, "outside 0 to 2"),
        ("leaf_target", lambda array: array + 1000, "outside the list"),
        ("threshold", lambda array: array.astype("float64"), "threshold is float64"),
        ("roots", lambda array: array[:, None], "roots is int32 of shape"),
        ("space_points", lambda array: array[:, :2], "points have the shape"),
        ("space_threshold", lambda array: array * np.nan, "not finite"),
    ],
)
def test_arrays_that_are_no_forest_are_refused(tmp_path: Path, name: str, change: object, match: str) -> None:
    forests.save(kept()[0], tmp_path)
    arrays = stored(tmp_path)
    resealed(tmp_path, arrays | {name: change(arrays[name])})  # type: ignore[operator]
    refused(tmp_path, match)
    del arrays[name]
    resealed(tmp_path, arrays)
    refused(tmp_path, name)


def test_a_worker_reads_a_forest_once_and_again_when_it_changes(tmp_path: Path) -> None:
    forests.save(kept(1)[0], tmp_path)
    first = forests.load_once(tmp_path, NAMES)
    assert forests.load_once(tmp_path, NAMES) is first
    forests.save(kept(2)[0], tmp_path)
    assert forests.load_once(tmp_path, NAMES) is not first
    (tmp_path / "forest.json").unlink()
    with pytest.raises(UserError, match="cannot be used"):
        forests.load_once(tmp_path, NAMES)
