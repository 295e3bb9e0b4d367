"""Networks on a finished run: trained on its surveys, free and bounded, and looked at all over its map."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import xarray as xr
from dask.delayed import delayed
from distributed import Client
from matplotlib.figure import Figure
from odc.geo.geobox import GeoBox
from scipy.spatial import cKDTree

from frostmap.kernels.agreement import counts
from frostmap.kernels.frost_number import PERMAFROST, SEASONALLY_FROZEN, critical_e
from frostmap.kernels.network import predict
from frostmap.pipeline import networks, predictors
from frostmap.pipeline.cross_validation import region_folds
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.evaluation.tables import Section, Table
from frostmap.pipeline.experiments.drawings import save_figure
from frostmap.pipeline.experiments.table1 import FOLDER, contents_of
from frostmap.pipeline.figures import BLACK, BLUE, STAMP, STYLE, VERMILION, WIDTH
from frostmap.pipeline.locks import held
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.run import Event, Reporter, connected
from frostmap.pipeline.schema import PRECIPITATION
from frostmap.pipeline.sites import on_plane
from frostmap.pipeline.submission import compute
from frostmap.pipeline.work import Work

NAME = "network"
INPUTS = ("covariates/training", "forcing/training", "calibration/training")
ANCHORS = 20_000
"""Pixels of the whole map whose calibrated E the bounded network is held to, at most."""
FEWEST = 50
PARTS = 3
"""Into which a lone surveyed region is cut, so that one can be held out."""
EDGES = np.linspace(0.0, 2.0, 41)
NAMES: Mapping[networks.Constraint, str] = {"bounded": "bounded", "none": "unconstrained"}


@dataclass(frozen=True, eq=False)
class Looked:
    """What a network's E looks like."""

    constraint: networks.Constraint
    trained: networks.Trained
    check: Mapping[str, float]
    """All over the map (see `networks.plateau_check`)."""
    like_calibrated: Mapping[str, float]
    """Agreement of its classes with those of the calibrated E, all over the map: accuracy, kappa; rmse of E."""
    histogram: tuple[int, ...]
    """Pixels by E, between `EDGES`."""


def read_lessons(
    covariates: xr.Dataset,
    forcing: xr.Dataset,
    e: xr.DataArray,
    surveys: list[tuple[str, Path]],
    inside: npt.NDArray[np.bool_],
    geobox: GeoBox,
    seed: int,
) -> networks.Lessons:
    """Return what networks can learn from a run: its surveyed pixels, and the calibrated E of some of all.

    Raises
    ------
    UserError
        There are too few surveyed pixels, or only one class of them.
    """
    values, calibrated = predictors.matrix(covariates), e.values.ravel().astype(np.float64)
    ddf, ddt = (forcing[name].values.ravel().astype(np.float64) for name in ("ddf", "ddt"))
    known = np.isfinite(values).all(axis=1) & np.isfinite(critical_e(ddf, ddt)) & inside.ravel()
    region, permafrost = np.full(known.size, -1), np.zeros(known.size, bool)
    for number, (name, path) in enumerate(surveys):
        codes = on_grid(path, geobox, f"sources.surveys, {name}", how="nearest").ravel()
        there = known & (region < 0) & ((codes == PERMAFROST) | (codes == SEASONALLY_FROZEN))
        region[there], permafrost[there] = number, codes[there] == PERMAFROST
    rows = np.flatnonzero(region >= 0)
    classes = np.bincount(permafrost[rows].astype(np.int64), minlength=2)
    if len(rows) < FEWEST or not classes.all():
        raise UserError(
            "the surveys are too little to train a network on",
            where="sources.surveys",
            found=f"{classes[1]} permafrost and {classes[0]} other pixels with all predictors and sums",
            wanted=f"at least {FEWEST}, and some of both classes",
            remedy="add a surveyed map, or enlarge the region",
        )
    places = np.column_stack(np.divmod(rows, geobox.shape.x))
    region = region[rows]
    if len(np.unique(region)) == 1:
        x, y = on_plane(geobox, places[:, 0], places[:, 1])
        region = region_folds(x, y, seed, PARTS)
    pairs = cKDTree(places).query_pairs(1.01, output_type="ndarray").astype(np.int64)
    anchors = np.flatnonzero(known & np.isfinite(calibrated))
    if len(anchors) > ANCHORS:
        anchors = np.sort(np.random.default_rng(seed).choice(anchors, ANCHORS, replace=False))
    return networks.Lessons(
        values[rows],
        ddf[rows],
        ddt[rows],
        permafrost[rows],
        region,
        pairs[region[pairs[:, 0]] == region[pairs[:, 1]]],
        values[anchors],
        calibrated[anchors],
        predictors.NAMES.index(PRECIPITATION.name),
    )


def look(
    trained: networks.Trained,
    covariates: xr.Dataset,
    forcing: xr.Dataset,
    e: xr.DataArray,
    inside: npt.NDArray[np.bool_],
) -> Looked:
    """Return what a network's E looks like all over the map."""
    found = predict(trained.network, predictors.matrix(covariates).T).e
    found[~inside.ravel()] = np.nan
    calibrated = e.values.ravel()
    critical = critical_e(forcing["ddf"].values.ravel(), forcing["ddt"].values.ravel())
    both = np.isfinite(found) & np.isfinite(calibrated) & np.isfinite(critical)
    table = counts(calibrated[both] < critical[both], found[both] < critical[both])
    histogram, _ = np.histogram(found[np.isfinite(found)], EDGES)
    return Looked(
        trained.settings.constraint,
        trained,
        networks.plateau_check(found, trained.settings.bounds),
        {
            "accuracy": table.overall_accuracy,
            "kappa": table.kappa,
            "rmse": float(np.sqrt(np.mean((found[both] - calibrated[both]) ** 2, dtype=np.float64))),
        },
        tuple(histogram.tolist()),
    )


def run_network(
    work: Work,
    settings: networks.Settings,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    report: Reporter = lambda _event: None,
) -> list[Path]:
    """Train both kinds of networks on a finished run; return the files that say what they are like.

    Raises
    ------
    DataIncomplete
        The run has not come far enough.
    UserError
        PyTorch is not installed, the surveys are too little, or another run holds the work directory.
    """
    networks.demand()
    contents_of(work, INPUTS)
    began = time.monotonic()
    calibration = work.recipe.calibration
    settings = replace(settings, bounds=(calibration.lower, calibration.upper))
    with held(work.folder, work.storage), connected(work.recipe, client, scheduler, report) as connection:
        report(Event("started", NAME, "networks"))
        covariates, forcing, e = (work.open(name) for name in INPUTS)
        surveys = [(survey.name, work.recipe.path(survey.path)) for survey in work.recipe.sources.surveys]
        lessons = delayed(read_lessons)(covariates, forcing, e["e"], surveys, work.inside, work.geobox, settings.seed)
        tasks = []
        for constraint in NAMES:
            trained = delayed(networks.train)(lessons, replace(settings, constraint=constraint))
            tasks.append(delayed(look)(trained, covariates, forcing, e["e"], work.inside))
        found: list[Looked] = compute(
            connection, tasks, lambda done: report(Event("progress", NAME, "", "", done, len(tasks)))
        )
        report(Event("finished", NAME, "networks", seconds=time.monotonic() - began))
    return _written(work, found)


def _written(work: Work, found: list[Looked]) -> list[Path]:
    folder = work.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{NAME}.{suffix}" for suffix in ("json", "md", "png")]
    content = {
        "simulated": work.recipe.simulated,
        "networks": [
            {
                "constraint": each.constraint,
                "settings": asdict(each.trained.settings),
                "members": [dict(member) for member in each.trained.members],
                "plateau_check": dict(each.check),
                "like_calibrated": dict(each.like_calibrated),
            }
            for each in found
        ],
    }
    paths[0].write_text(json.dumps(content, indent=1), encoding="utf-8")
    paths[1].write_text(document(found, work.recipe.simulated), encoding="utf-8")
    save_figure(network_figure(found, work.recipe.simulated), paths[2])
    for each in found:
        paths += networks.save(each.trained, predictors.NAMES, folder / NAME / NAMES[each.constraint])
    return paths


def document(found: list[Looked], simulated: bool) -> str:
    """Return what networks are like as Markdown."""
    learnt = Table(
        "Where they learnt: each member holds out one region, by which its training is ended.",
        ("network", "held out", "steps", "accuracy: trained on", "tested on", "held out", "kappa: held out"),
        tuple(
            (
                NAMES[each.constraint],
                "none" if member["held_out"] < 0 else f"region {member['held_out'] + 1:.0f}",
                f"{member['steps']:.0f}",
                *(
                    f"{member[name]:.3f}" if name in member else ""
                    for name in ("train_accuracy", "test_accuracy", "held_out_accuracy", "held_out_kappa")
                ),
            )
            for each in found
            for member in each.trained.members
        ),
    )

    def percent(share: float) -> str:
        return f"{100 * share:.1f}"

    everywhere = Table(
        "All over the map.",
        ("network", "E within bounds [%]", "E up to 2 [%]", "mode", "least", "median", "greatest", "kappa, calibrated"),
        tuple(
            (
                NAMES[each.constraint],
                percent(each.check["share_physical"]),
                percent(each.check["share_to_2"]),
                *(f"{each.check[name]:.2f}" for name in ("mode", "min", "median", "max")),
                f"{each.like_calibrated['kappa']:.3f}",
            )
            for each in found
        ),
    )
    text = (
        f"{'Simulated data. ' if simulated else ''}The unconstrained network is the paper's: 70 % of surveyed pixels "
        "train, 30 % test, and the whole map shows what E it needs for that. The paper found 95.26 % of the training "
        "pixels right, and E of 0 to 2 in 53 % of the plateau (most of it below 0.1), 2 to 350 in the rest."
    )
    return Section("Networks", text, (learnt, everywhere)).markdown() + "\n"


def network_figure(found: list[Looked], simulated: bool) -> Figure:
    """Draw how E is distributed all over the map."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        title = "E of networks all over the map" + (f" ({STAMP})" if simulated else "")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        axes = figure.subplots()
        for each in found:
            share = 100.0 * np.array(each.histogram) / max(1, each.check["n"])
            label = f"{NAMES[each.constraint]}; {100 * each.check['share_above_2']:.1f} % above 2"
            axes.stairs(share, EDGES, color=BLUE if each.constraint == "bounded" else VERMILION, label=label)
        for bound in found[0].trained.settings.bounds:
            axes.axvline(bound, color=BLACK, linewidth=0.6, linestyle=":")
        axes.set_xlabel("E (dotted: the calibration's bounds)")
        axes.set_ylabel("pixels [%]")
        axes.legend()
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def summary(paths: list[Path]) -> dict[str, Any]:
    """Return the numbers to look at first, from the JSON that was written."""
    content = json.loads(paths[0].read_text(encoding="utf-8"))
    return {
        NAMES[each["constraint"]]: {
            "train_accuracy": float(np.mean([member["train_accuracy"] for member in each["members"]])),
            "share_physical": each["plateau_check"]["share_physical"],
            "kappa_with_calibrated": each["like_calibrated"]["kappa"],
        }
        for each in content["networks"]
    }
