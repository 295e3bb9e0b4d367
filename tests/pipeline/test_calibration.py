"""E of each cluster comes from the surveys, exactly; surveys that cannot decide it are refused with a remedy."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from frostmap.catalogs.grids import lattice
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.predictors import NAMES
from frostmap.pipeline.recipe import Calibration
from frostmap.pipeline.soil_clusters import make_clusters
from frostmap.pipeline.stages.calibration import calibrate
from frostmap.pipeline.surveys import read_surveys

GEOBOX = lattice(24)[25, 5]
SHAPE = (24, 24)


def forcing(seed: int = 5) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    ddf, ddt = rng.uniform(500, 3000, SHAPE), rng.uniform(500, 3000, SHAPE)
    return xr.Dataset({"ddf": (("y", "x"), ddf.astype("f4")), "ddt": (("y", "x"), ddt.astype("f4"))})


def surveyed(cube: xr.Dataset, e: np.ndarray) -> np.ndarray:
    ratio = np.sqrt(cube["ddf"].to_numpy().astype(float) / cube["ddt"].to_numpy())
    return np.where(e < ratio, 1, 2).astype(np.uint8)


def covariates(seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    return xr.Dataset({name: (("y", "x"), rng.normal(size=SHAPE).astype("f4")) for name in NAMES})


def test_the_e_that_made_the_survey_is_bracketed_and_the_agreement_is_perfect() -> None:
    cube = forcing()
    cluster = np.ones(SHAPE, dtype=np.int16)
    cluster[:, 12:] = 2
    true = np.where(cluster == 1, 0.8, 1.1)
    result = calibrate(cube, cluster, surveyed(cube, true), Calibration())
    assert result.metrics["kappa"] == 1.0
    table = result.table.set_index("cluster")
    assert (table["lower"] <= [0.8, 1.1]).all()
    assert (table["upper"] >= [0.8, 1.1]).all()
    np.testing.assert_allclose(result.e, true, atol=0.02)
    assert result.metrics["kappa_at_one"] < 1.0


def test_a_cluster_that_nobody_surveyed_takes_the_prior_and_says_so() -> None:
    cube, cluster = forcing(), np.ones(SHAPE, dtype=np.int16)
    cluster[:2] = 7
    survey = surveyed(cube, np.full(SHAPE, 0.8))
    survey[:2] = 0
    result = calibrate(cube, cluster, survey, Calibration(prior=0.93))
    assert result.table.set_index("cluster").loc[7, ["e", "surveyed_pixels"]].tolist() == [0.93, 0]
    assert (result.e[:2] == np.float32(0.93)).all()


def test_pixels_without_a_cluster_have_no_e() -> None:
    cube, cluster = forcing(), np.ones(SHAPE, dtype=np.int16)
    cluster[3, 4] = 0
    result = calibrate(cube, cluster, surveyed(cube, np.full(SHAPE, 0.8)), Calibration())
    assert np.isnan(result.e[3, 4])
    assert np.isfinite(result.e).sum() == cluster.size - 1


@pytest.mark.parametrize("only", [1, 2])
def test_a_survey_of_one_class_is_refused(only: int) -> None:
    with pytest.raises(UserError, match="both classes") as caught:
        calibrate(forcing(), np.ones(SHAPE, dtype=np.int16), np.full(SHAPE, only, dtype=np.uint8), Calibration())
    assert caught.value.exit_code == 2
    assert "crosses the permafrost limit" in str(caught.value)


def write_survey(path: Path, codes: np.ndarray) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=1, nodata=3, height=24, width=24,
        crs=str(GEOBOX.crs), transform=GEOBOX.transform,
    ) as raster:  # fmt: skip
        raster.write(codes.astype("uint8"), 1)
    return path


def test_where_surveys_overlap_the_first_counts(tmp_path: Path) -> None:
    one, two = np.full(SHAPE, 3), np.full(SHAPE, 3)
    one[:4], two[2:8] = 1, 2
    paths = [("a", write_survey(tmp_path / "a.tif", one)), ("b", write_survey(tmp_path / "b.tif", two))]
    codes = read_surveys(paths, GEOBOX)
    assert codes[:, 0].tolist() == [1] * 4 + [2] * 4 + [0] * 16


def test_a_survey_without_a_class_is_refused(tmp_path: Path) -> None:
    path = write_survey(tmp_path / "a.tif", np.full(SHAPE, 7))
    with pytest.raises(UserError, match="no surveyed pixel"):
        read_surveys([("a", path)], GEOBOX)


def test_clusters_cover_every_pixel_with_predictors_and_no_other() -> None:
    cube, inside = covariates(1), np.ones(SHAPE, dtype=bool)
    inside[0] = False
    cube["sand"][5, 5] = np.nan
    clusters = make_clusters(cube, inside, np.zeros(SHAPE, np.uint8), Calibration(clusters=4))
    assert sorted(np.unique(clusters[1:])) == [0, 1, 2, 3, 4]
    assert (clusters[0] == 0).all()
    assert clusters[5, 5] == 0
    assert (clusters == 0).sum() == 24 + 1


def test_the_clusters_divided_again_stay_within_the_first_ones() -> None:
    cube, inside, nobody = covariates(2), np.ones(SHAPE, dtype=bool), np.zeros(SHAPE, np.uint8)
    few = make_clusters(cube, inside, nobody, Calibration(clusters=4))
    many = make_clusters(cube, inside, nobody, Calibration(clusters=4, subclusters=2))
    assert sorted(np.unique(many)) == list(range(1, 9))
    np.testing.assert_array_equal((many + 1) // 2, few)


def test_more_clusters_fit_at_least_as_well() -> None:
    cube, inside, nobody = covariates(2), np.ones(SHAPE, dtype=bool), np.zeros(SHAPE, np.uint8)
    sums, survey = forcing(), surveyed(forcing(9), np.full(SHAPE, 0.8))
    kappas = [
        calibrate(sums, make_clusters(cube, inside, nobody, settings), survey, settings).metrics["kappa"]
        for settings in (
            Calibration(method="exact", clusters=4),
            Calibration(method="exact", clusters=4, subclusters=2),
        )
    ]
    assert kappas[1] >= kappas[0]


def test_a_tree_learns_clusters_where_somebody_surveyed_and_finds_them_everywhere() -> None:
    cube, inside, somewhere = covariates(3), np.ones(SHAPE, dtype=bool), np.zeros(SHAPE, np.uint8)
    somewhere[:12] = 1
    by_tree = make_clusters(cube, inside, somewhere, Calibration(clusters=3, assign="tree"))
    assert set(np.unique(by_tree)) <= {1, 2, 3}
    assert (by_tree > 0).all()
    beyond = cube.copy(deep=True)
    for name in NAMES:
        beyond[name].values[12:] += 100  # what nobody surveyed does not move the clusters
    again = make_clusters(beyond, inside, somewhere, Calibration(clusters=3, assign="tree"))
    assert len(np.unique(again[:12])) > 1
    with pytest.raises(UserError, match="too few surveyed pixels"):
        make_clusters(cube, inside, np.zeros(SHAPE, np.uint8), Calibration(clusters=3, assign="tree"))


@pytest.mark.parametrize("method", ["exact", "pso", "hybrid"])
def test_every_method_finds_the_e_that_made_the_survey(method: str) -> None:
    cube, cluster = forcing(), np.ones(SHAPE, dtype=np.int16)
    cluster[:, 12:] = 2
    true = np.where(cluster == 1, 0.8, 1.1)
    result = calibrate(cube, cluster, surveyed(cube, true), Calibration.model_validate({"method": method}))
    assert result.metrics["kappa"] > 0.98
    np.testing.assert_allclose(result.e, true, atol=0.03)
    assert result.metrics["boundary_cells"] > 0
    assert ("weight_draws" in result.metrics) == (method != "exact")


def test_the_spread_over_weights_brackets_e() -> None:
    cube, cluster = forcing(), np.ones(SHAPE, dtype=np.int16)
    cluster[::2] = 2
    noisy = surveyed(cube, 0.9 + np.random.default_rng(1).normal(0, 0.15, SHAPE))
    result = calibrate(cube, cluster, noisy, Calibration(weight_draws=8))
    table = result.table
    assert (table["least_e_of_weights"] <= table["e"]).all()
    assert (table["e"] <= table["greatest_e_of_weights"]).all()
    draws = result.metrics["weight_draws"]
    assert draws["least_kappa"] <= result.metrics["kappa"] + 0.05
    assert draws["least_kappa"] <= draws["greatest_kappa"] <= 1


def test_each_region_is_mapped_by_the_others() -> None:
    cube, cluster = forcing(), np.ones(SHAPE, dtype=np.int16)
    region = np.repeat([0, 1, 2], 8)[:, np.newaxis] * np.ones(SHAPE, dtype=np.int16)
    true = np.where(region == 2, 1.2, 0.8)  # the third is unlike the others
    survey = surveyed(cube, true)
    survey[:8] = np.where(survey[:8] == 1, 1, 0)  # the first has one class
    names = ["one", "two", "three"]
    result = calibrate(cube, cluster, survey, Calibration(), region.astype(np.int16), names)
    rows = result.regions.set_index("region")
    assert rows.index.tolist() == names
    assert np.isnan(rows.loc["one", "kappa"])
    assert rows.loc["one", "overall_accuracy"] > 0.9
    assert rows.loc["three", "kappa"] < 0.8
    left_out = result.metrics["regions_left_out"]
    assert left_out["n"] == result.metrics["n"]
    assert left_out["kappa"] < result.metrics["kappa"]
    assert not len(calibrate(cube, cluster, survey, Calibration(), np.zeros(SHAPE, np.int16), ["all"]).regions)
