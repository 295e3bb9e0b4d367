"""The same software at client, scheduler and workers: other versions make other numbers, or none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from distributed import Client
from distributed.versions import get_versions

from frostmap.pipeline.errors import UserError
from frostmap.pipeline.provenance import SOFTWARE

Versions = Mapping[str, str | None]
"""Version of each package; None where it is not there."""

_OF_THE_SCHEDULER = ("python", "dask", "distributed", "cloudpickle")
"""What the scheduler has to do with: it passes tasks on and does not look into them."""


class SoftwareDiffers(UserError):
    """Client, scheduler and workers do not have the same software."""


def own() -> dict[str, str | None]:
    """Return what counts of the software here: of Python, the minor version."""
    return _counting(get_versions(SOFTWARE)["packages"])


def _counting(packages: Versions) -> dict[str, str | None]:
    python = packages["python"] or ""
    names = dict.fromkeys((*_OF_THE_SCHEDULER, *SOFTWARE))
    return {name: packages.get(name) for name in names} | {"python": ".".join(python.split(".")[:2])}


def differences(here: Versions, there: Versions) -> str:
    """Return what differs there, in words; empty where nothing does.

    >>> differences({"numpy": "2.1", "zarr": "3.1", "dask": "1"}, {"numpy": "2.0", "zarr": None, "dask": "1"})
    'numpy 2.0, not 2.1; zarr is missing, not 3.1'
    """
    return "; ".join(
        f"{name} {there.get(name) or 'is missing'}, not {version}"
        for name, version in here.items()
        if there.get(name) != version
    )


def check(client: Client) -> None:
    """Compare the software of client, scheduler and workers.

    Raises
    ------
    SoftwareDiffers
        Names what differs, and where.
    """
    found: Any = client.get_versions(packages=list(SOFTWARE))
    here = _counting(found["client"]["packages"])
    of_scheduler = {name: here[name] for name in _OF_THE_SCHEDULER}
    faults: dict[str, list[str]] = defaultdict(list)
    faults[differences(of_scheduler, _counting(found["scheduler"]["packages"]))].append("the scheduler")
    for address, worker in found["workers"].items():
        faults[differences(here, _counting(worker["packages"]))].append(f"worker {address}")
    faults.pop("", None)
    if faults:
        raise SoftwareDiffers(
            "client, scheduler and workers do not have the same software",
            where=", ".join(_first(places) for places in faults.values()),
            found="; ".join(f"{_first(places)}: {fault}" for fault, places in faults.items()),
            wanted=f"the same versions as here, frostmap {here['frostmap']} among them",
            remedy="install all of them from the same requirements.lock, and start the cluster again",
        )


def _first(places: list[str]) -> str:
    return f"{places[0]} and {len(places) - 1} more" if len(places) > 1 else places[0]
