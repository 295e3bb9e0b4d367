"""What made this: versions, recipe, granules and their digests."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version

import pandas as pd

from frostmap.pipeline import ledger
from frostmap.pipeline.watching.costs import total
from frostmap.pipeline.watching.history import by_step, runs
from frostmap.pipeline.work import Work

SOFTWARE = (
    "frostmap",
    "dask",
    "distributed",
    "numba",
    "numpy",
    "odc-geo",
    "pyhdf",
    "pyogrio",
    "pystac",
    "rasterio",
    "scikit-learn",
    "shapely",
    "xarray",
    "zarr",
)


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {"python": platform.python_version()} | {name: version(name) for name in SOFTWARE}


def write(work: Work) -> None:
    """Write provenance.json for what stands in a work directory."""
    tables = sorted((work.folder / "tables").glob("granules-*.csv"))
    granules = [
        {"id": str(row["id"]), "sha256": str(row["sha256"])}
        for path in tables
        for row in pd.read_csv(path, keep_default_na=False).to_dict("records")
        if row["status"] == "ok"
    ]
    listing = "\n".join(f"{granule['id']} {granule['sha256']}" for granule in granules)
    records = ledger.read_all(work.ledger)
    history = runs(work.folder)
    costs = by_step(history)
    content = {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "simulated": work.recipe.simulated,
        "software": versions(),
        "recipe": {
            "name": work.recipe.name,
            "sha256": work.recipe.digest(),
            "content": work.recipe.model_dump(mode="json"),
        },
        "steps": {
            record.step: {
                "finished": record.finished,
                "seconds": record.seconds,
                "cost": costs[record.step].summary() if record.step in costs else None,
                "causes": record.causes,
                "outputs": record.outputs,
            }
            for record in records
        },
        "runs": [{"run": run.name, "began": run.began} for run in history],
        "cost": total(run.cost for run in history).summary(),
        "granules_sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "granules": granules,
    }
    draft = work.folder / "provenance.draft"
    draft.write_text(json.dumps(content, indent=1), encoding="utf-8")
    draft.replace(work.folder / "provenance.json")
