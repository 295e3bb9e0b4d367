"""The paper's Table 1, and what it does not tell: four sampling designs by four sizes, judged alike.

The paper scores each design by cross-validation on the design's own sample. These samples differ in how much E varies
among them, so that their scores cannot be compared. Here each design is judged by its own sample (`own`), as in the
paper; by one random sample of all pixels that no design may use (`common`); and by the same pixels where nothing within
their block of 200 km was learnt from (`blocks`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from dask.delayed import Delayed, delayed
from distributed import Client

from frostmap.kernels.forest import predict
from frostmap.pipeline import ledger
from frostmap.pipeline.cross_validation import FOLDS, random_folds, scores
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.evaluation.tables import published as published_table
from frostmap.pipeline.experiments.populations import JUDGES, Pixels, Population, common_sample, some
from frostmap.pipeline.forests import grow
from frostmap.pipeline.recipe import Allocation, Sampler
from frostmap.pipeline.samplers import choose
from frostmap.pipeline.submission import compute

DESIGNS: tuple[Sampler, ...] = ("kmeans", "equal_range", "pca", "lhs")
"""The paper's."""
SIZES = (1000, 3000, 5000, 10_000)
PAPERS_SIZE = 5000
JUDGED_BY = ("own", "common", "blocks")
DRAWS = 1000
"""Of the bootstrap of blocks."""
SCORES = ("rmse", "mae", "r", "variance_explained_percent")

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What is tried."""

    designs: tuple[Sampler, ...] = DESIGNS
    sizes: tuple[int, ...] = SIZES
    allocation: Allocation = "density"
    trees: int = 500
    seed: int = 123
    judges: int = JUDGES


@dataclass(frozen=True)
class Case:
    """One design at one size."""

    design: str
    samples: int
    """As many as were asked for."""
    scores: Mapping[str, Mapping[str, float]]
    """By what it was judged: rmse, mae, r, variance_explained_percent, n."""
    block: tuple[int, ...]
    """Blocks with judges."""
    judges: tuple[int, ...]
    """Judges in each of them."""
    squares: tuple[float, ...]
    """Sum of their squared errors, nothing in their block having been learnt from."""
    drawing_s: float
    """Time that the design took [s]."""
    growing_s: float
    """Time that the eleven forests took [s]."""
    peak_bytes: int
    """Most memory of a worker process, so far, that had a part in it."""

    @property
    def name(self) -> str:
        """What the case is called."""
        return f"{self.design}-{self.samples}"


def known_designs(names: Sequence[str]) -> tuple[Sampler, ...]:
    """Return the names of sampling designs, each once.

    Raises
    ------
    UserError
        There is none of a name.
    """
    known: tuple[Sampler, ...] = get_args(Sampler)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError("no such sampling design", found=unknown[0], wanted=", ".join(known))
    return tuple(design for design in known if design in names)


def fitting_sizes(
    sizes: Sequence[int], candidates: int, design: str = "any design", *, strict: bool = True
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sizes of samples that so many pixels allow, and those that they do not.

    Raises
    ------
    UserError
        None is allowed; or, where `strict`, one is not.

    Examples
    --------
    >>> fitting_sizes((1000, 10_000), 9431, strict=False)
    ((1000,), (10000,))
    """
    fitting, left_out = tuple(n for n in sizes if n <= candidates), tuple(n for n in sizes if n > candidates)
    if not fitting or (strict and left_out):
        raise UserError(
            "there are fewer pixels than a sample wants",
            where=f"{design}, {max(left_out)} samples",
            found=f"{candidates} pixels with E and all predictors, beside those that judge",
            wanted=f"at least {max(left_out)}",
            remedy="try smaller samples (--size), or a larger region",
        )
    return fitting, left_out


# ---- tasks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Drawn:
    """A design's sample."""

    pixels: Pixels
    own_fold: npt.NDArray[np.int64]
    seconds: float


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a forest says of pixels that it was not grown on."""

    rows: npt.NDArray[np.int64]
    """Of the design's own sample, or of the common one."""
    e: Numbers
    seconds: float
    peak_bytes: int


def draw(population: Population, design: Sampler, size: int, settings: Settings) -> Drawn:
    """Return a design's sample of the candidates."""
    began = time.perf_counter()
    candidates = population.candidates
    fitting_sizes((size,), len(candidates), design)
    rows = candidates[choose(design, population.values[candidates], size, settings.seed, settings.allocation)]
    return Drawn(some(population, rows), random_folds(len(rows), settings.seed), round(time.perf_counter() - began, 3))


def predict_own(drawn: Drawn, fold: int, settings: Settings) -> Predicted:
    """Return E of one fold of a sample, predicted from its other folds."""
    there = drawn.own_fold == fold
    return _predicted(drawn.pixels, ~there, drawn.pixels.values[there], np.flatnonzero(there), settings)


def predict_common(drawn: Drawn, common: Pixels, settings: Settings) -> Predicted:
    """Return E of the common sample, predicted from the whole sample of a design."""
    every = np.ones(len(drawn.own_fold), bool)
    return _predicted(drawn.pixels, every, common.values, np.arange(len(common.target)), settings)


def predict_blocks(drawn: Drawn, common: Pixels, fold: int, settings: Settings) -> Predicted:
    """Return E of the common sample in some blocks, predicted from a design's sample in all others."""
    there = np.flatnonzero(common.fold == fold)
    return _predicted(drawn.pixels, drawn.pixels.fold != fold, common.values[there], there, settings)


def _predicted(
    pixels: Pixels,
    known: npt.NDArray[np.bool_],
    asked: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    settings: Settings,
) -> Predicted:
    began = time.perf_counter()
    if known.any():
        target = pixels.target[known].astype(np.float64)
        grown = grow(pixels.values[known], target, settings.trees, settings.seed)
        e = predict(grown.forest, np.ascontiguousarray(asked.T)).astype(np.float64)
    else:
        e = np.full(len(rows), np.nan)
    return Predicted(rows, e, time.perf_counter() - began, peak_memory())


def judge(drawn: Drawn, common: Pixels, parts: Mapping[str, Sequence[Predicted]], design: str, size: int) -> Case:
    """Return the scores of a design: each of its judges has one prediction."""
    judged, squares = {}, {}
    for name, some_parts in parts.items():
        true = (drawn.pixels if name == "own" else common).target.astype(np.float64)
        e = np.full(len(true), np.nan)
        for part in some_parts:
            e[part.rows] = part.e
        there = np.isfinite(e)
        judged[name] = scores(true[there], e[there]) | {"n": int(there.sum())}
        squares[name] = (e - true) ** 2
    block, place = np.unique(common.block, return_inverse=True)
    of_blocks = squares["blocks"]
    every = [part for some_parts in parts.values() for part in some_parts]
    return Case(
        design,
        size,
        judged,
        tuple(block.tolist()),
        tuple(np.bincount(place[np.isfinite(of_blocks)], minlength=len(block)).tolist()),
        tuple(np.bincount(place, np.nan_to_num(of_blocks)).tolist()),
        drawn.seconds,
        round(sum(part.seconds for part in every), 3),
        max(part.peak_bytes for part in every),
    )


def peak_memory() -> int:
    """Return the most memory that this process has had [bytes]."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def case_task(
    population: Delayed, common: Delayed, design: Sampler, size: int, settings: Settings, folds: Sequence[int]
) -> Delayed:
    """Return the task that makes a case: a sample, and eleven forests, each a task of its own."""
    drawn = delayed(draw)(population, design, size, settings)
    parts = {
        "own": [delayed(predict_own)(drawn, fold, settings) for fold in range(FOLDS)],
        "common": [delayed(predict_common)(drawn, common, settings)],
        "blocks": [delayed(predict_blocks)(drawn, common, fold, settings) for fold in folds],
    }
    case: Delayed = delayed(judge)(drawn, common, parts, design, size)
    return case


def experiment(
    population: Delayed,
    settings: Settings,
    client: Client,
    *,
    kept: Mapping[str, Case] = {},
    keep: Callable[[Case], None] = lambda _case: None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Case]:
    """Return all cases, computed in parallel.

    Parameters
    ----------
    population
        A task that returns a `Population`.
    settings
        What is tried.
    client
        Where it is computed.
    kept
        Cases by name that an interrupted experiment has made already.
    keep
        Is given each case as soon as it is made.
    progress
        Is told how many cases are done, and of how many.
    """
    wanted = [(design, size) for size in sorted(settings.sizes, reverse=True) for design in settings.designs]
    found = {case.name: case for case in kept.values()}
    todo = [(design, size) for design, size in wanted if f"{design}-{size}" not in found]
    if todo:
        common = delayed(common_sample)(population)
        tasks = [case_task(population, common, *one, settings, range(FOLDS)) for one in todo]

        def collect(case: Case) -> None:
            found[case.name] = case
            keep(case)

        compute(client, tasks, lambda done: progress(len(wanted) - len(todo) + done, len(wanted)), collect)
    return [found[f"{design}-{size}"] for design in settings.designs for size in sorted(settings.sizes)]


# ---- the winner ---------------------------------------------------------------------------------------------------


RULE = (
    "Judged by the common sample in blocks of which nothing was learnt. The best is the case of the smallest RMSE. "
    "Equal to it is what a bootstrap of blocks does not tell from it: a larger RMSE by less than one standard error of "
    "the difference. Of these the winner is the smallest sample, and among equal sizes the smallest RMSE."
)


@dataclass(frozen=True)
class Verdict:
    """Which case wins, by `RULE`."""

    winner: str
    best: str
    """The case of the smallest RMSE."""
    equal: tuple[str, ...]
    """Cases that cannot be told from it, itself among them."""
    difference: Mapping[str, tuple[float, float]]
    """By case: how much larger its RMSE is than that of the best, and the standard error of that."""


def verdict(cases: Sequence[Case], seed: int) -> Verdict:
    """Return which case wins."""
    judges = np.array([case.judges for case in cases], np.float64)
    squares = np.array([case.squares for case in cases])
    rng, blocks = np.random.default_rng(seed), judges.shape[1]
    weight = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=DRAWS).astype(np.float64)
    drawn = np.sqrt((squares @ weight.T) / np.maximum(judges @ weight.T, 1.0))  # (cases, draws)
    rmse = np.sqrt(squares.sum(axis=1) / judges.sum(axis=1))
    best = int(rmse.argmin())
    error = (drawn - drawn[best]).std(axis=1)
    equal = [i for i in range(len(cases)) if i == best or rmse[i] - rmse[best] < error[i]]
    winner = min(equal, key=lambda i: (cases[i].samples, rmse[i]))
    return Verdict(
        cases[winner].name,
        cases[best].name,
        tuple(cases[i].name for i in equal),
        {case.name: (float(rmse[i] - rmse[best]), float(error[i])) for i, case in enumerate(cases)},
    )


# ---- tables -------------------------------------------------------------------------------------------------------


def table(cases: Sequence[Case]) -> pd.DataFrame:
    """Return all scores, one row a case and judge, the paper's Table 1 below them.

    `implied_sd` is the standard deviation of E among the judges: what RMSE and the variance explained amount to.
    """
    rows = [
        {"source": "here", "design": case.design, "samples": case.samples, "judged_by": name}
        | {key: case.scores[name][key] for key in ("n", *SCORES)}
        | {"implied_sd": implied_sd(case.scores[name]["rmse"], case.scores[name]["variance_explained_percent"])}
        | {"drawing_s": case.drawing_s, "growing_s": case.growing_s}
        for case in cases
        for name in JUDGED_BY
    ]
    return pd.DataFrame([*rows, *paper_rows()])


def paper_rows() -> list[dict[str, Any]]:
    """Return the rows of the paper's Table 1."""
    _, rows = published_table("chen_nan_table1.csv", "frostmap.pipeline.experiments")
    found = []
    for row in rows:
        numbers = {key: float(row[key]) for key in SCORES}
        sd = implied_sd(numbers["rmse"], numbers["variance_explained_percent"])
        named = {"source": "paper", "design": row["design"], "samples": int(row["samples"]), "judged_by": "own"}
        found.append(named | numbers | {"implied_sd": sd})
    return found


def implied_sd(rmse: float, variance_explained_percent: float) -> float:
    """Return the standard deviation of a target that RMSE and the variance explained imply.

    >>> round(implied_sd(0.048, 74.83), 4)
    0.0957
    """
    unexplained = 1.0 - variance_explained_percent / 100.0
    return rmse / unexplained**0.5 if unexplained > 0 else float("nan")


# ---- kept between runs --------------------------------------------------------------------------------------------


def save_case(folder: Path, cause: str, case: Case) -> None:
    """Write a case, whole or not at all, with the digest of all that it depends on."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{case.name}.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"cause": cause, "case": asdict(case)}, indent=1), encoding="utf-8")
    draft.replace(path)


def read_cases(folder: Path, cause: str) -> dict[str, Case]:
    """Return the cases by name that were made from the same; files that are damaged are as good as none."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["cause"] != cause:
                continue
            given = content["case"] | {key: tuple(content["case"][key]) for key in ("block", "judges", "squares")}
            case = Case(**given)
        except (ValueError, KeyError, TypeError):
            continue
        found[case.name] = case
    return found


def cause_of(contents: Sequence[str], settings: Settings) -> str:
    """Return the digest of what a case depends on besides its own design and size."""
    fixed = {key: value for key, value in asdict(settings).items() if key not in ("designs", "sizes")}
    return ledger.digest([FORMAT, list(contents), fixed])


FORMAT = 1
"""Raised when the code changes what a case is."""
