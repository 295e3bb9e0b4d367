"""What each way to E is worth, where the truth is known: forests by their samples, networks, and simpler ways.

A plateau is simulated, its ground surveyed in five regions, E calibrated on them by soil clusters, and carried by each
strategy to all pixels of both epochs. Sums have errors, and surveys mistakes, as they have in earnest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from dask.delayed import Delayed, delayed
from distributed import Client
from matplotlib.figure import Figure
from scipy.spatial import cKDTree
from sklearn.cluster import KMeans

from frostmap.catalogs.grids import parse_tile
from frostmap.kernels import network as network_kernel
from frostmap.kernels.agreement import counts
from frostmap.kernels.calibration import calibrate_exact
from frostmap.kernels.forest import predict as ask_forest
from frostmap.kernels.frost_number import PERMAFROST, SEASONALLY_FROZEN, critical_e
from frostmap.pipeline import networks, predictors
from frostmap.pipeline.evaluation.tables import Section, Table
from frostmap.pipeline.experiments.drawings import save_figure
from frostmap.pipeline.experiments.plateau import TILES, Ground, chosen, ground_of_tile, joined
from frostmap.pipeline.figures import BLACK, BLUE, GREEN, GREY, SKY_BLUE, STAMP, STYLE, VERMILION, WIDTH
from frostmap.pipeline.forests import grow
from frostmap.pipeline.recipe import Sampler
from frostmap.pipeline.samplers import choose, standardised
from frostmap.pipeline.simulate.positions import Window
from frostmap.pipeline.simulate.sites import SURVEYS, place_survey, survey_map, survey_size
from frostmap.pipeline.submission import compute

BOUNDS, PRIOR = (0.5, 1.5), 0.90
"""Of the calibration."""
MOST_FIT = 200_000
"""Pixels that clusters are fitted on."""
EDGES = np.concatenate([np.linspace(0.0, 2.0, 41), [np.inf]])
"""Of the histograms of E."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What is simulated, and what is tried."""

    seeds: tuple[int, ...] = (2020, 2021, 2022)
    """Of the plateaus."""
    pixels_per_tile: int = 200
    tiles: tuple[str, ...] = TILES
    training_years: tuple[int, ...] = (2010,)
    target_years: tuple[int, ...] = (2020,)
    forcing_error: float = 0.05
    """Standard error of a pixel's freezing and thawing sums, relative, independent from pixel to pixel."""
    clusters: int = 16
    designs: tuple[Sampler, ...] = ("kmeans", "equal_range", "pca", "lhs", "clhs", "random")
    samples: int = 5000
    trees: int = 500
    anchors: int = 20_000
    """Pixels of the whole plateau whose calibrated E the bounded network is held to."""
    network: networks.Settings = field(default_factory=networks.Settings)
    seed: int = 123


# ---- a plateau that is surveyed and calibrated --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class World:
    """A simulated plateau as a map-maker knows it, and its truth."""

    epochs: Mapping[str, Ground]
    """training and target: the same pixels."""
    measured: Mapping[str, tuple[Numbers, Numbers]]
    """By epoch: freezing and thawing sums with their errors [°C d]."""
    surveyed: npt.NDArray[np.int64]
    """Pixels that were surveyed."""
    permafrost: npt.NDArray[np.bool_]
    """(surveyed,): what the surveys say."""
    region: npt.NDArray[np.int64]
    """(surveyed,): number of the survey."""
    cluster: npt.NDArray[np.int64]
    """(pixels,): soil cluster."""
    calibrated: Numbers
    """(pixels,): E of the soil cluster."""
    kappa: float
    """Of the calibrated classes and the surveys."""
    known_clusters: int
    """Clusters with surveyed pixels."""


def make_world(training: Sequence[Ground], target: Sequence[Ground], settings: Settings, seed: int) -> World:
    """Return a plateau whose pixels are on open ground in both epochs, surveyed and calibrated.

    Parameters
    ----------
    training, target
        Pixels of the tiles in each epoch.
    settings
        What is simulated.
    seed
        Of the plateau.
    """
    epochs = dict(zip(("training", "target"), _shared(joined(training), joined(target)), strict=True))
    rng = np.random.default_rng(seed)
    measured = {
        name: tuple(sums * np.exp(rng.normal(0.0, settings.forcing_error, len(sums))) for sums in (each.ddf, each.ddt))
        for name, each in epochs.items()
    }
    ground = epochs["training"]
    surveyed, permafrost, region = survey(ground, settings, seed)
    scaled = standardised(ground.values)
    fitted = scaled if len(scaled) <= MOST_FIT else scaled[rng.choice(len(scaled), MOST_FIT, replace=False)]
    model = KMeans(settings.clusters, n_init=10, random_state=settings.seed).fit(fitted)
    cluster = model.predict(scaled).astype(np.int64)
    critical = critical_e(*measured["training"])[surveyed]
    best = calibrate_exact(critical, permafrost, cluster[surveyed], settings.clusters, BOUNDS, PRIOR)
    return World(
        epochs,
        {name: (ddf, ddt) for name, (ddf, ddt) in measured.items()},
        surveyed,
        permafrost,
        region,
        cluster,
        best.e[cluster],
        best.kappa,
        int(np.count_nonzero(best.pixels)),
    )


def _shared(one: Ground, other: Ground) -> tuple[Ground, Ground]:
    """Return the pixels that both have, in the same order."""
    mine, theirs = (each.row * 1_000_000 + each.column for each in (one, other))
    _, here, there = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    return chosen(one, here), chosen(other, there)


def survey(
    ground: Ground, settings: Settings, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return which pixels were surveyed, whether they are said to be permafrost, and in which region each is."""
    windows = [Window.of_tile(parse_tile(tile), settings.pixels_per_tile) for tile in settings.tiles]
    top, left = min(each.row for each in windows), min(each.column for each in windows)
    bottom = max(each.row + each.height for each in windows)
    right = max(each.column + each.width for each in windows)
    whole = Window(settings.pixels_per_tile, top, left, bottom - top, right - left)
    every = whole.places()
    number = np.full((whole.height, whole.width), -1, np.int64)
    number[ground.row - top, ground.column - left] = np.arange(len(ground.e))
    classes = np.full(number.shape, np.nan, np.float32)
    true = ground.e < critical_e(ground.ddf, ground.ddt)
    classes[number >= 0] = np.where(true, PERMAFROST, SEASONALLY_FROZEN)[number[number >= 0]]
    rows: list[npt.NDArray[np.int64]] = []
    said: list[npt.NDArray[np.bool_]] = []
    regions: list[npt.NDArray[np.int64]] = []
    taken = np.zeros(len(ground.e), bool)
    for region, (name, centre) in enumerate(SURVEYS.items()):
        place = place_survey(classes, every.longitude, every.latitude, centre, survey_size(whole.pixel_metres / 1000))
        if place is None:
            continue
        codes = survey_map(seed, name, classes[place], whole.rows[place], whole.columns[place])
        there = (codes != 3) & (number[place] >= 0)
        pixels, permafrost = number[place][there], codes[there] == PERMAFROST
        new = ~taken[pixels]
        taken[pixels] = True
        rows.append(pixels[new])
        said.append(permafrost[new])
        regions.append(np.full(int(new.sum()), region))
    return np.concatenate(rows), np.concatenate(said), np.concatenate(regions)


def lessons_of(world: World, settings: Settings) -> networks.Lessons:
    """Return what networks learn from: surveyed pixels, and the calibrated E of pixels drawn from all."""
    ground, rows = world.epochs["training"], world.surveyed
    rng = np.random.default_rng(settings.seed)
    anchors = rng.choice(len(ground.e), min(settings.anchors, len(ground.e)), replace=False)
    place = np.column_stack([ground.row[rows], ground.column[rows]])
    pairs = cKDTree(place).query_pairs(1.01, output_type="ndarray").astype(np.int64)
    ddf, ddt = world.measured["training"]
    return networks.Lessons(
        ground.values[rows],
        ddf[rows],
        ddt[rows],
        world.permafrost,
        world.region,
        pairs[world.region[pairs[:, 0]] == world.region[pairs[:, 1]]],
        ground.values[anchors],
        world.calibrated[anchors],
        predictors.NAMES.index("precipitation"),
    )


# ---- strategies ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What a strategy is worth on one plateau."""

    strategy: str
    plateau: int
    """Seed of the plateau."""
    scores: Mapping[str, Mapping[str, float]]
    """By epoch (see `judge`)."""
    histogram: tuple[int, ...]
    """Pixels of the training epoch by E, between `EDGES`."""
    notes: Mapping[str, float]
    """What else is to be known: of networks, how they did where they learnt."""


def judge(world: World, epoch: str, e: npt.NDArray[np.floating]) -> dict[str, float]:
    """Return the scores of E in one epoch.

    rmse, bias, r of E against the truth; kappa and accuracy of permafrost against the truth, with the measured sums;
    away_kappa, the same without the surveyed regions; area_percent, how much too large the permafrost is;
    share_physical, of pixels with E in the calibration's bounds.
    """
    ground = world.epochs[epoch]
    known = np.asarray(e, np.float64)
    error = known - ground.e
    true = ground.e < critical_e(ground.ddf, ground.ddt)
    mapped = known < critical_e(*world.measured[epoch])
    away = np.ones(len(true), bool)
    away[world.surveyed] = False
    table, elsewhere = counts(true, mapped), counts(true[away], mapped[away])
    varies = known.std() > 0
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "bias": float(error.mean()),
        "r": float(np.corrcoef(known, ground.e)[0, 1]) if varies else float("nan"),
        "kappa": table.kappa,
        "accuracy": table.overall_accuracy,
        "away_kappa": elsewhere.kappa,
        "area_percent": 100.0 * (mapped.sum() / true.sum() - 1.0),
        "share_physical": networks.plateau_check(known, BOUNDS)["share_physical"],
    }


Fields = Mapping[str, npt.NDArray[np.floating]]
"""E of all pixels by epoch."""


def by_forest(world: World, design: Sampler, settings: Settings, taught: str = "calibrated") -> Fields:
    """Return E by a forest that learnt from a design's sample: the calibrated E, or the true one."""
    ground = world.epochs["training"]
    rows = choose(design, ground.values, min(settings.samples, len(ground.e)), settings.seed)
    target = (world.calibrated if taught == "calibrated" else ground.e)[rows]
    forest = grow(ground.values[rows], target, settings.trees, settings.seed).forest
    return {name: ask_forest(forest, np.ascontiguousarray(each.values.T)) for name, each in world.epochs.items()}


def by_network(world: World, trained: networks.Trained) -> Fields:
    """Return E by trained networks."""
    return {name: network_kernel.predict(trained.network, each.values.T).e for name, each in world.epochs.items()}


def by_constant(world: World, e: float) -> Fields:
    """Return the same E everywhere."""
    return {name: np.full(len(each.e), e) for name, each in world.epochs.items()}


def by_clusters(world: World) -> Fields:
    """Return E of the soil clusters, which stay where they were."""
    return dict.fromkeys(world.epochs, world.calibrated)


def by_truth(world: World) -> Fields:
    """Return the true E: what is left then is the error of the sums."""
    return {name: each.e for name, each in world.epochs.items()}


def result(world: World, strategy: str, plateau: int, e: Fields, notes: Mapping[str, float]) -> Result:
    """Return what a strategy's E is worth."""
    histogram, _ = np.histogram(np.asarray(e["training"], np.float64), EDGES)
    scores = {epoch: judge(world, epoch, values) for epoch, values in e.items()}
    return Result(strategy, plateau, scores, tuple(histogram.tolist()), dict(notes))


def network_notes(trained: networks.Trained) -> dict[str, float]:
    """Return the means over the members of how they did."""
    names = dict.fromkeys(name for member in trained.members for name in member if name != "held_out")
    return {name: float(np.mean([member[name] for member in trained.members if name in member])) for name in names}


def plateau_tasks(settings: Settings, seed: int) -> list[Delayed]:
    """Return the tasks that make the results of all strategies on one plateau."""
    grounds = [
        [delayed(ground_of_tile)(seed, tile, settings.pixels_per_tile, years) for tile in settings.tiles]
        for years in (settings.training_years, settings.target_years)
    ]
    world = delayed(make_world)(*grounds, settings, seed)

    def made(strategy: str, e: Delayed, notes: Any = None) -> Delayed:
        one: Delayed = delayed(result)(world, strategy, seed, e, {} if notes is None else notes)
        return one

    tasks = [made(f"forest, {design}", delayed(by_forest)(world, design, settings)) for design in settings.designs]
    tasks.append(made("forest, taught the truth", delayed(by_forest)(world, settings.designs[0], settings, "truth")))
    if networks.is_there():
        lessons = delayed(lessons_of)(world, settings)
        kinds: Mapping[str, networks.Constraint] = {"network, bounded": "bounded", "network, unconstrained": "none"}
        for name, constraint in kinds.items():
            trained = delayed(networks.train)(lessons, replace(settings.network, constraint=constraint))
            tasks.append(made(name, delayed(by_network)(world, trained), delayed(network_notes)(trained)))
    tasks.append(made("clusters kept", delayed(by_clusters)(world)))
    tasks += [made(f"E = {e:g}", delayed(by_constant)(world, e)) for e in (PRIOR, 1.0)]
    tasks.append(made("the true E", delayed(by_truth)(world)))
    tasks.append(delayed(world_notes)(world, seed))
    return tasks


def world_notes(world: World, seed: int) -> dict[str, float]:
    """Return what is to be known of a plateau."""
    ground = world.epochs["training"]
    true = ground.e < critical_e(ground.ddf, ground.ddt)
    return {
        "plateau": seed,
        "pixels": len(ground.e),
        "surveyed": len(world.surveyed),
        "regions": len(np.unique(world.region)),
        "known_clusters": world.known_clusters,
        "clusters": int(world.cluster.max()) + 1,
        "calibration_kappa": world.kappa,
        "sd_of_e": float(ground.e.std()),
        "change_of_e": float(np.mean(world.epochs["target"].e - ground.e)),
        "permafrost_share": float(true.mean()),
        "share_in_known_clusters": float(np.isin(world.cluster, np.unique(world.cluster[world.surveyed])).mean()),
    }


# ---- the whole ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What all strategies are worth."""

    results: tuple[Result, ...]
    worlds: tuple[Mapping[str, float], ...]


def compare(
    settings: Settings, client: Client, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Found:
    """Return what all strategies are worth on all plateaus."""
    tasks = [task for seed in settings.seeds for task in plateau_tasks(settings, seed)]
    made = compute(client, tasks, lambda done: progress(done, len(tasks)))
    return Found(
        tuple(each for each in made if isinstance(each, Result)),
        tuple(each for each in made if not isinstance(each, Result)),
    )


def table(found: Found) -> pd.DataFrame:
    """Return all scores, one row a plateau, strategy and epoch."""
    return pd.DataFrame(
        [
            {"plateau": each.plateau, "strategy": each.strategy, "epoch": epoch} | dict(scores)
            for each in found.results
            for epoch, scores in each.scores.items()
        ]
    )


def ranking(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over the plateaus and their standard deviations, by strategy; the best kappa of the target first."""
    names = ["rmse", "bias", "kappa", "away_kappa", "area_percent", "share_physical"]
    parts = []
    for epoch, some in rows.groupby("epoch"):
        grouped = some.groupby("strategy")[names]
        parts += [grouped.mean().add_prefix(f"{epoch}_"), grouped.std().add_prefix(f"{epoch}_").add_suffix("_sd")]
    wide = pd.concat(parts, axis=1)
    return wide.fillna(0.0).sort_values("target_kappa", ascending=False).reset_index()


def document(found: Found, settings: Settings) -> str:
    """Return the comparison as Markdown."""
    rows = ranking(table(found))
    several = len(settings.seeds) > 1

    def cell(row: pd.Series[Any], name: str, digits: int) -> str:
        spread = f" ± {row[f'{name}_sd']:.{digits}f}" if several and f"{name}_sd" in row else ""
        return f"{row[name]:.{digits}f}{spread}"

    ranked = Table(
        "Strategies by the kappa of the target epoch's classes; standard deviations over plateaus.",
        ("strategy", "RMSE of E, training", "RMSE, target", "kappa, training", "kappa, target", "area too large [%]"),
        tuple(
            (
                str(row["strategy"]),
                cell(row, "training_rmse", 4),
                cell(row, "target_rmse", 4),
                cell(row, "training_kappa", 3),
                cell(row, "target_kappa", 3),
                cell(row, "target_area_percent", 1),
            )
            for _, row in rows.iterrows()
        ),
    )
    names = ("steps", "train_accuracy", "test_accuracy", "held_out_accuracy", "held_out_kappa")
    nets = [each for each in found.results if each.strategy.startswith("network")]
    learnt = Table(
        "Networks where they learnt, and E all over the plateau (training epoch).",
        ("network, plateau", *(name.replace("_", " ") for name in names), "E in 0.5 to 1.5 [%]", "E above 2 [%]"),
        tuple(
            (
                f"{each.strategy}, {each.plateau}",
                *(f"{each.notes[name]:.3g}" if name in each.notes else "" for name in names),
                f"{100 * each.scores['training']['share_physical']:.1f}",
                f"{100 * each.histogram[-1] / sum(each.histogram):.1f}",
            )
            for each in nets
        ),
    )
    worlds = Table(
        "The plateaus.",
        ("plateau", "pixels", "surveyed", "clusters surveyed", "kappa of calibration", "sd of E", "change of E"),
        tuple(
            (
                f"{world['plateau']:.0f}",
                f"{world['pixels']:,.0f}",
                f"{world['surveyed']:,.0f}",
                f"{world['known_clusters']:.0f} of {world['clusters']:.0f}",
                f"{world['calibration_kappa']:.3f}",
                f"{world['sd_of_e']:.3f}",
                f"{world['change_of_e']:+.4f}",
            )
            for world in found.worlds
        ),
    )
    text = (
        f"Simulated data. {len(settings.seeds)} plateaus of {settings.pixels_per_tile} pixels a tile's side; sums with "
        f"errors of {100 * settings.forcing_error:g} %; {settings.clusters} soil clusters calibrated on five surveyed "
        f"regions; {settings.samples:,} samples, {settings.trees} trees. Classes are compared with "
        "the true ones, pixel by pixel."
    )
    if not nets:
        text += "\n\nNetworks were left out: PyTorch (the extra `network`) is not installed."
    return Section("Strategies", text, (ranked, *([learnt] if nets else []), worlds)).markdown() + "\n"


def write(found: Found, settings: Settings, folder: Path) -> list[Path]:
    """Write tables, text and figure to a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"strategies.{suffix}" for suffix in ("csv", "json", "md", "png")]
    rows = table(found)
    rows.to_csv(paths[0], index=False)
    content = {
        "simulated": True,
        "settings": asdict(settings),
        "plateaus": [dict(world) for world in found.worlds],
        "results": [asdict(each) for each in found.results],
    }
    paths[1].write_text(json.dumps(content, indent=1), encoding="utf-8")
    paths[2].write_text(document(found, settings), encoding="utf-8")
    save_figure(strategies_figure(ranking(rows), found), paths[3])
    return paths


# ---- the figure ---------------------------------------------------------------------------------------------------


SHOWN = ("the true E", "clusters kept", "forest, kmeans", "network, bounded", "network, unconstrained")
"""Strategies whose E is drawn."""


def strategies_figure(rows: pd.DataFrame, found: Found) -> Figure:
    """Draw RMSE of E and kappa of the classes by strategy, and how E of some is distributed."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
        figure.suptitle(f"What each way to E is worth ({STAMP})", x=0.01, ha="left", fontsize=11)
        grid = figure.add_gridspec(2, 2, height_ratios=(1.35, 1))
        left = figure.add_subplot(grid[0, 0])
        right = figure.add_subplot(grid[0, 1], sharey=left)
        right.tick_params(labelleft=False)
        names, at = list(rows["strategy"])[::-1], np.arange(len(rows))
        ordered = rows.iloc[::-1]
        for offset, epoch, colour in ((0.2, "training", SKY_BLUE), (-0.2, "target", BLUE)):
            for axes, score in ((left, "rmse"), (right, "kappa")):
                spread: Any = {"xerr": ordered[f"{epoch}_{score}_sd"], "error_kw": {"linewidth": 0.7}}
                axes.barh(
                    at + offset, ordered[f"{epoch}_{score}"], 0.38, color=colour, label=f"{epoch} epoch", **spread
                )
        left.set_yticks(at, names)
        usual = rows.loc[~rows["strategy"].str.contains("unconstrained"), ["training_rmse", "target_rmse"]]
        largest = float(usual.to_numpy().max())
        left.set_xlim(0, 1.25 * largest)
        if float(rows[["training_rmse", "target_rmse"]].to_numpy().max()) > 1.25 * largest:
            left.set_title("RMSE of E (a longer bar is cut off)")
        else:
            left.set_title("RMSE of E")
        right.set_title("kappa of the classes")
        right.set_xlim(left=min(0.0, float(rows[["training_kappa", "target_kappa"]].to_numpy().min())))
        right.legend(loc="lower right", ncols=2, fontsize=7)
        below = figure.add_subplot(grid[1, :])
        for name, colour in zip(SHOWN, (BLACK, GREY, GREEN, BLUE, VERMILION), strict=True):
            some = [each.histogram for each in found.results if each.strategy == name]
            if some:
                share = 100.0 * np.sum(some, axis=0) / np.sum(some)
                beyond = f"; {share[-1]:.1f} % above 2" if share[-1] else ""
                below.stairs(share[:-1], EDGES[:-1], color=colour, label=f"{name}{beyond}", linewidth=1.3)
        below.set_xlabel("E")
        below.set_ylabel("pixels of the plateau [%]")
        below.legend(loc="upper right")
        for axes in (left, right, below):
            axes.spines[["top", "right"]].set_visible(False)
    return figure
