"""A click in `frostmap view` on a cube of the plateau's size: how long the server takes for a pixel, as JSON.

``prepare FOLDER`` lays out the cube of a run over six tiles at 1 km, two years, every group that a click reads, in the
product's own chunks, and fills the chunks of some places with made-up series (a sine of the year and noise: they are
no weather, but they are as long and compress as badly); other chunks are not stored, and nothing reads them.
``ask FOLDER`` starts the server of the page and asks it for those pixels over HTTP, as the page does: `/pixel`, and
`/year` of each year. Cold is the first time, with the files put out of the system's memory; warm is again. Run it as
``python -m tests.benchmarks.explorer_once``.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from shapely.geometry import mapping

from frostmap.pipeline import cubes, schema
from frostmap.pipeline.explorer.server import address, listening, serve
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.simulate.outline import plateau_outline
from frostmap.pipeline.work import Work

from .report_once import work_of

YEARS = {"training": "2010", "target": "2020"}
PLACES = 8
SEED = 2020
WAITED = 300
"""Most that a click may take [ms]."""

SERIES = {
    "ingest": (schema.LST,),
    "observations": (schema.STATE, schema.VIEW_TIME),
    "gap_filling": schema.FILLED,
}
MAPS = {
    "forcing": schema.FORCING,
    "transfer": schema.PREDICTED,
    "frozen_ground": (schema.FROST_NUMBER, schema.PROBABILITY, schema.FROZEN_GROUND),
    "covariates": schema.PREDICTORS,
}


def work_in(folder: Path) -> Work:
    """Return the work directory of a run over the plateau from granules."""
    base = work_of(folder).recipe
    content = base.model_dump(mode="json", exclude_unset=True)
    content["sources"] = {name: given for name, given in content["sources"].items() if name != "forcing"}
    content["sources"]["lst"] = {"kind": "folder", "catalogue": "none"}
    content["ground_correction"] = {"method": "identity", "freezing": "none"}
    return Work(Recipe.model_validate_json(json.dumps(content)), folder / "work")


def places(work: Work) -> list[tuple[int, int]]:
    """Return rows and columns of some pixels far apart, each in a chunk of its own."""
    rows, columns = np.nonzero(work.inside)
    chosen = np.linspace(0, rows.size - 1, PLACES + 2, dtype=int)[1:-1]
    return [(int(rows[each]), int(columns[each])) for each in chosen]


def prepare(folder: Path) -> None:
    """Write the groups' metadata, and the chunks of the places."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "outline.geojson").write_text(json.dumps(mapping(plateau_outline())), encoding="utf-8")
    work, rng = work_in(folder), np.random.default_rng(SEED)
    days = 365
    for epoch, year in YEARS.items():
        time_axis = np.datetime64(f"{year}-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D")
        axes = {"time": time_axis, "overpass": np.arange(len(schema.OVERPASSES))}
        for stage, variables in SERIES.items():
            _fill(work, f"{stage}/{year}", variables, axes, rng)
        for stage, variables in MAPS.items():
            _fill(work, f"{stage}/{epoch}", variables, {}, rng)
        _fill(work, f"degree_days/{year}", (schema.FREEZING, schema.THAWING, schema.VALID_DAYS), {}, rng)
    _fill(work, "calibration/training", (schema.CLUSTER, schema.SOIL_E), {}, rng)


def _fill(
    work: Work,
    group: str,
    variables: tuple[schema.Variable, ...],
    axes: dict[str, npt.NDArray[Any]],
    rng: np.random.Generator,
) -> None:
    cubes.prepare_group(work.storage, group, variables, work.geobox, axes, work.chunk_pixels)
    side = work.chunk_pixels
    for variable in variables:
        stored = zarr.open_array(work.storage.zarr_store(), path=f"{group}/{variable.name}", mode="r+")
        for row, column in places(work):
            top, left = row // side * side, column // side * side
            shape = (*stored.shape[:-2], side, side)
            stored[..., top : top + side, left : left + side] = _made_up(variable, shape, rng)


def _made_up(variable: schema.Variable, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Return noise in a range that the variable may have, about a sine of the year where it has days."""
    if np.dtype(variable.dtype) == np.uint8:
        return rng.integers(0, 5, shape, dtype=np.uint8)
    noise = rng.normal(0.0, 3.0, shape).astype(np.float32)
    if len(shape) > 2:
        noise += 20.0 * np.sin(np.arange(shape[0], dtype=np.float32) / 58.0)[:, None, None, None]
    scale = 0.02 if np.dtype(variable.dtype) == np.uint16 else 1.0
    return ((270.0 + noise) / scale).astype(variable.dtype)


def ask(folder: Path) -> dict[str, Any]:
    """Return how long the server took for each kind of question, cold and warm [ms]."""
    work = work_in(folder)
    sockets = listening(0)
    host = address(sockets).removeprefix("http://").rstrip("/")
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    began = time.perf_counter()
    threading.Thread(target=loop.run_until_complete, args=(serve(work, sockets, ready.set),), daemon=True).start()
    ready.wait()
    _get(host, "/pixel?row=0&column=0")  # waits behind what is compiled and opened at the start
    _get(host, f"/year?row=0&column=0&year={YEARS['target']}")
    started = time.perf_counter() - began
    questions = {"pixel": "/pixel?row={}&column={}"}
    questions |= {f"year_{year}": "/year?row={}&column={}&year=" + year for year in YEARS.values()}
    told: dict[str, Any] = {"first_page_ready_s": round(started, 1), "pixels": int(work.inside.sum())}
    for name, question in questions.items():
        for when in ("cold", "warm"):
            took = []
            for place in places(work):
                if when == "cold":
                    _forget(work)
                took.append(_get(host, question.format(*place)))
            told[f"{name}_{when}_ms"] = {"median": round(float(np.median(took)), 1), "most": round(max(took), 1)}
    told["all_within_ms"] = WAITED
    told["all_within"] = all(each["most"] <= WAITED for each in told.values() if isinstance(each, dict))
    return told


def _get(host: str, question: str) -> float:
    """Return how long an answer took [ms]."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", question)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    if answer.status != 200 or not content:
        raise SystemExit(f"{question}: {answer.status} {content}")
    return 1000.0 * (time.perf_counter() - began)


def _forget(work: Work) -> None:
    """Put the chunks of the places out of the system's memory, as far as it lets them go."""
    side, chunks = work.chunk_pixels, {(row, column) for row, column in places(work)}
    ends = {f"{row // side}/{column // side}" for row, column in chunks}
    for path in (work.folder / "cube.zarr").rglob("*"):
        if "/".join(path.parts[-2:]) in ends and path.is_file():
            opened = os.open(path, os.O_RDONLY)
            os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(opened)


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "prepare":
        prepare(where)
    else:
        sys.stdout.write(json.dumps(ask(where)) + "\n")
