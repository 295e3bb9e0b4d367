"""The paper's Table 1 again, on a finished run, written to its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dask.delayed import delayed
from distributed import Client

from frostmap.pipeline import ledger
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.evaluation.tables import Section, Table
from frostmap.pipeline.evaluation.tables import published as published_table
from frostmap.pipeline.experiments.drawings import save_figure, table1_figure
from frostmap.pipeline.experiments.populations import describe, read_population
from frostmap.pipeline.experiments.sampling_designs import (
    JUDGED_BY,
    PAPERS_SIZE,
    RULE,
    Case,
    Settings,
    Verdict,
    cause_of,
    experiment,
    fitting_sizes,
    read_cases,
    save_case,
    table,
    verdict,
)
from frostmap.pipeline.locks import held
from frostmap.pipeline.run import Event, Reporter, connected
from frostmap.pipeline.work import Work

FOLDER = "experiments"
NAME = "table1"
INPUTS = ("covariates/training", "calibration/training")
JUDGES_IN_WORDS = {
    "own": "five-fold cross-validation on the design's own sample, as in the paper",
    "common": "one random sample of all pixels, which no design may use",
    "blocks": "the same random sample, each pixel judged by what was learnt outside its block",
}
DESIGNS_IN_WORDS = {
    "kmeans": "k-means",
    "equal_range": "equal range",
    "pca": "PCA",
    "lhs": "Latin hypercube",
    "clhs": "conditioned Latin hypercube",
    "random": "random",
}


@dataclass(frozen=True)
class Found:
    """What the experiment found, and where it is written."""

    cases: tuple[Case, ...]
    verdict: Verdict
    files: tuple[Path, ...]
    seconds: float
    """Of this call; cases that an earlier one made cost nothing."""
    left_out: tuple[int, ...] = ()
    """Sizes that the map has too few pixels for."""


def run_table1(
    work: Work,
    settings: Settings,
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    report: Reporter = lambda _event: None,
    strict: bool = True,
) -> Found:
    """Make the experiment on a finished run, and write its table and figure to the work directory.

    Cases that an earlier call has made from the same covariates and the same E are kept. Where the map has too few
    pixels for a size, that is an error; unless `strict`, the other sizes are tried.

    Raises
    ------
    DataIncomplete
        The run has not come far enough.
    UserError
        There are too few pixels, fewer than a sample wants, or another run holds the work directory.
    """
    began = time.monotonic()
    with held(work.folder, work.storage), connected(work.recipe, client, scheduler, report) as connection:
        cause = cause_of(contents_of(work, INPUTS), settings)
        folder = work.folder / FOLDER / NAME
        covariates, e = work.open(INPUTS[0]), work.open(INPUTS[1])["e"]
        population = delayed(read_population)(covariates, e, work.inside, work.geobox, settings.judges, settings.seed)
        title = "sampling designs"
        report(Event("started", NAME, title))
        described = connection.compute(delayed(describe)(population)).result()
        fitting, left_out = fitting_sizes(settings.sizes, described["pixels"] - described["judges"], strict=strict)
        settings = replace(settings, sizes=fitting)
        cases = experiment(
            population,
            settings,
            connection,
            kept=read_cases(folder, cause),
            keep=lambda case: save_case(folder, cause, case),
            progress=lambda done, total: report(Event("progress", NAME, title, "", done, total)),
        )
        report(Event("finished", NAME, title, "", len(cases), len(cases), time.monotonic() - began))
    return _written(work, settings, cases, described, left_out, time.monotonic() - began)


def contents_of(work: Work, steps: Sequence[str]) -> list[str]:
    """Return the digests of what finished steps made.

    Raises
    ------
    DataIncomplete
        One of them is not finished.
    """
    records = {name: ledger.read_record(work.ledger, name) for name in steps}
    missing = [name for name, record in records.items() if record is None]
    if missing:
        raise DataIncomplete(
            "the run has not come far enough for this experiment",
            where=str(work.folder),
            found=f"missing: {', '.join(missing)}",
            remedy=f"finish it with: frostmap run {work.folder / 'recipe.yaml'}",
        )
    return [record.content for record in records.values() if record is not None]


def _written(
    work: Work,
    settings: Settings,
    cases: list[Case],
    described: dict[str, Any],
    left_out: tuple[int, ...],
    seconds: float,
) -> Found:
    won = verdict(cases, settings.seed)
    rows = table(cases)
    folder = work.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "settings": asdict(settings),
        "pixels": described,
        "left_out": left_out,
        "rule": RULE,
        "verdict": asdict(won),
        "cost": {
            "drawing_s": round(sum(case.drawing_s for case in cases), 3),
            "growing_s": round(sum(case.growing_s for case in cases), 3),
            "peak_worker_bytes": max(case.peak_bytes for case in cases),
        },
        "simulated": work.recipe.simulated,
    }
    paths = [folder / f"{NAME}.{suffix}" for suffix in ("csv", "json", "md", "png")]
    rows.to_csv(paths[0], index=False)
    paths[1].write_text(json.dumps(content, indent=2), encoding="utf-8")
    paths[2].write_text(document(cases, won, described, work.recipe.simulated), encoding="utf-8")
    save_figure(table1_figure(rows, won, work.recipe.simulated), paths[3])
    return Found(tuple(cases), won, tuple(paths), seconds, left_out)


def document(cases: Sequence[Case], won: Verdict, described: dict[str, Any], simulated: bool) -> str:
    """Return the experiment as Markdown: a table for each judge, the paper's beside the first."""
    sizes, designs = sorted({case.samples for case in cases}), list(dict.fromkeys(case.design for case in cases))
    by_name = {(case.design, case.samples): case for case in cases}

    def cell(case: Case, judge: str) -> str:
        score = case.scores[judge]
        explained = f"{score['variance_explained_percent']:.1f}"
        return f"{score['rmse']:.4f} / {score['mae']:.4f} / {score['r']:.3f} / {explained}"

    tables = [
        Table(
            f"Judged by {JUDGES_IN_WORDS[judge]}: RMSE / MAE / r / variance explained [%].",
            ("samples", *(DESIGNS_IN_WORDS[design] for design in designs)),
            tuple((f"{n:,}", *(cell(by_name[design, n], judge) for design in designs)) for n in sizes),
        )
        for judge in JUDGED_BY
    ]
    source, published = published_table("chen_nan_table1.csv", "frostmap.pipeline.experiments")
    paper = Table(
        f"The paper's Table 1 ({PAPERS_SIZE:,} samples), judged by each design's own sample.",
        ("design", "RMSE", "MAE", "r", "variance explained [%]"),
        tuple(
            (DESIGNS_IN_WORDS[row["design"]], row["rmse"], row["mae"], row["r"], row["variance_explained_percent"])
            for row in published
        ),
    )
    behind = Table(
        "How much larger the RMSE is than that of the best, in blocks that nothing was learnt from.",
        ("case", "difference", "standard error"),
        tuple(
            (name, f"{difference:.5f}", f"{error:.5f}") for name, (difference, error) in sorted(won.difference.items())
        ),
    )
    text = (
        f"{'Simulated data. ' if simulated else ''}{described['pixels']:,} pixels have E and all predictors; "
        f"{described['judges']:,} of them, drawn at random, judge every design and are used by none. Blocks are "
        f"{described['block_km']:g} km wide; {described['blocks']} of them have pixels. Random forests of R's defaults."
    )
    remarks = (
        f"{RULE}\n\nThe winner is {won.winner}; the smallest RMSE has {won.best}; not to be told from it are "
        f"{', '.join(won.equal)}.\n\nThe paper's numbers: {source}"
    )
    return Section("Sampling designs", text, (*tables, paper, behind), (), remarks).markdown() + "\n"
