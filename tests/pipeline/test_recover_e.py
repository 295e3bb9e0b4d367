"""`frostmap recover-e` brackets the E behind a map, and says where files do not belong together."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin
from typer.testing import CliRunner

from frostmap.kernels.frost_number import frozen_ground
from frostmap.pipeline.cli import app

TRUE = np.array([0.0, 0.8, 0.95, 1.1])


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return the paths of a map, its clusters (0 none), DDT and DDF."""
    rng = np.random.default_rng(4)
    ddf, ddt = rng.uniform(500, 3000, (2, 60, 80)).astype("float32")
    cluster = rng.integers(0, 4, ddf.shape).astype("uint8")
    classes = frozen_ground(ddf, ddt, TRUE[cluster].astype("float32"))
    classes[cluster == 0] = 255
    paths = []
    for name, values, nodata in (("map", classes, 255), ("soil", cluster, 0), ("ddt", ddt, -1), ("ddf", ddf, -1)):
        paths.append(str(write(tmp_path / f"{name}.tif", values, nodata)))
    return paths


def write(path: Path, values: np.ndarray, nodata: float, west: float = 98.0) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", dtype=values.dtype, count=1, nodata=nodata, height=values.shape[0],
        width=values.shape[1], crs="EPSG:4326", transform=from_origin(west, 36, 0.01, 0.01),
    ) as raster:  # fmt: skip
        raster.write(values, 1)
    return path


def test_e_of_each_cluster_is_bracketed(files: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["recover-e", *files, "--json", "--out", str(tmp_path / "e.csv")])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["clusters"]
    assert [row["cluster"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert row["lower"] <= TRUE[row["cluster"]] < row["upper"]
        assert row["upper"] - row["lower"] < 0.02
    assert pd.read_csv(tmp_path / "e.csv")["consistent"].all()
    shown = CliRunner().invoke(app, ["recover-e", *files])
    assert "seasonally frozen" in shown.stdout


def test_degree_days_of_another_map_are_told(files: list[str]) -> None:
    result = CliRunner().invoke(app, ["recover-e", files[0], files[1], files[3], files[2]])
    assert result.exit_code == 3
    assert "belong together" in result.stderr


def test_rasters_of_another_grid_and_missing_ones_are_refused(files: list[str], tmp_path: Path) -> None:
    shifted = write(tmp_path / "shifted.tif", np.ones((60, 80), "float32"), -1, west=98.005)
    result = CliRunner().invoke(app, ["recover-e", *files[:3], str(shifted)])
    assert result.exit_code == 2
    assert "not on one grid" in result.stderr
    result = CliRunner().invoke(app, ["recover-e", *files[:3], "nowhere.tif"])
    assert result.exit_code == 2
    assert "no such file" in result.stderr
