"""Whether R's defaults are good for E: forests grown otherwise, judged in blocks that they learnt nothing from."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dask.delayed import delayed
from distributed import Client
from sklearn.ensemble import RandomForestRegressor

from frostmap.pipeline.evaluation.tables import Section, Table
from frostmap.pipeline.experiments.model_selection import GridScores, grid_scores
from frostmap.pipeline.experiments.populations import read_population
from frostmap.pipeline.experiments.sampling_designs import Drawn, draw
from frostmap.pipeline.experiments.sampling_designs import Settings as DesignSettings
from frostmap.pipeline.experiments.table1 import DESIGNS_IN_WORDS, FOLDER, INPUTS, contents_of
from frostmap.pipeline.forests import FEATURES, FEWEST_SPLIT
from frostmap.pipeline.locks import held
from frostmap.pipeline.recipe import Sampler
from frostmap.pipeline.run import Event, Reporter, connected
from frostmap.pipeline.submission import compute
from frostmap.pipeline.work import Work

NAME = "forest"
GRID: Mapping[str, tuple[Any, ...]] = {
    "max_features": (0.2, FEATURES, 0.5, 1.0),
    "min_samples_split": (2, FEWEST_SPLIT, 20),
}
"""The share of the predictors that a node chooses from, and the fewest samples of a node that is split."""


@dataclass(frozen=True)
class Settings:
    """What is tried."""

    design: Sampler = "kmeans"
    samples: int = 5000
    trees: int = 200
    seed: int = 123


def run_forest(
    work: Work,
    settings: Settings,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    report: Reporter = lambda _event: None,
) -> tuple[GridScores, list[Path]]:
    """Judge every choice of `GRID` on a finished run; return scores, and the files that hold them.

    Raises
    ------
    DataIncomplete
        The run has not come far enough.
    UserError
        There are too few pixels, or another run holds the work directory.
    """
    contents_of(work, INPUTS)
    began = time.monotonic()
    with held(work.folder, work.storage), connected(work.recipe, client, scheduler, report) as connection:
        report(Event("started", NAME, "ways to grow a forest"))
        covariates, e = work.open(INPUTS[0]), work.open(INPUTS[1])["e"]
        population = delayed(read_population)(covariates, e, work.inside, work.geobox, 0, settings.seed)
        drawing = delayed(draw)(population, settings.design, settings.samples, DesignSettings(seed=settings.seed))
        (drawn,) = compute(connection, [drawing], lambda _done: None)
        found = judge(drawn, settings, connection)
        report(Event("finished", NAME, "ways to grow a forest", seconds=time.monotonic() - began))
    return found, _written(work, settings, found)


def judge(drawn: Drawn, settings: Settings, client: Client) -> GridScores:
    """Return the scores of every choice of `GRID` for a sample, in its blocks."""
    pixels = drawn.pixels
    _, fold = np.unique(pixels.fold, return_inverse=True)
    model = RandomForestRegressor(settings.trees, bootstrap=True, random_state=settings.seed, n_jobs=1)
    return grid_scores(model, GRID, pixels.values, pixels.target.astype(np.float64), fold, client)


def _written(work: Work, settings: Settings, found: GridScores) -> list[Path]:
    folder = work.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{NAME}.{suffix}" for suffix in ("csv", "json", "md")]
    found.table.to_csv(paths[0], index=False)
    content = {"settings": asdict(settings), "engine": found.engine, "simulated": work.recipe.simulated}
    paths[1].write_text(json.dumps(content, indent=2), encoding="utf-8")
    paths[2].write_text(document(settings, found, work.recipe.simulated), encoding="utf-8")
    return paths


def document(settings: Settings, found: GridScores, simulated: bool) -> str:
    """Return the scores as Markdown, R's own choice marked."""
    rows = []
    for row in found.table.to_dict("records"):
        as_r = row["max_features"] == FEATURES and row["min_samples_split"] == FEWEST_SPLIT
        name = f"{row['max_features']:.2f}, {row['min_samples_split']}{' (as in R)' if as_r else ''}"
        rows.append((name, f"{row['rmse']:.5f}", f"{row['rmse_fold_sd']:.5f}"))
    text = (
        f"{'Simulated data. ' if simulated else ''}{settings.samples:,} samples by "
        f"{DESIGNS_IN_WORDS[settings.design]}, {settings.trees} trees, five folds of whole blocks. "
        f"Computed by {found.engine}."
    )
    columns = ("share of predictors, fewest samples that are split", "RMSE of E", "standard deviation among folds")
    return Section("Ways to grow a forest", text, (Table("The best first.", columns, tuple(rows)),)).markdown() + "\n"
