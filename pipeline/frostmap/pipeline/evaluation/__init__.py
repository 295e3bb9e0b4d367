"""What the thermal chain is worth: against pixels that were withheld, denser readings, publications, a simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from frostmap.pipeline.evaluation import diurnal, heaton, madrid, scenes, simulated, stations
from frostmap.pipeline.evaluation.tables import Section, document

__all__ = ["TITLES", "Section", "document", "evaluate"]

TITLES: Mapping[str, str] = {
    "heaton": heaton.TITLE,
    "madrid": madrid.TITLE,
    "scenes": scenes.TITLE,
    "diurnal": diurnal.TITLE,
    "stations": stations.TITLE,
    "simulated": simulated.TITLE,
}
"""What can be evaluated, by name."""

_NOWHERE = Path("no folder of real data")
_SECTIONS: Mapping[str, Callable[[Path], Section]] = {
    "heaton": heaton.evaluate,
    "madrid": madrid.evaluate,
    "scenes": scenes.evaluate,
    "diurnal": diurnal.evaluate,
    "stations": stations.evaluate,
    "simulated": lambda _data: simulated.evaluate(),
}


def evaluate(name: str, data: Path | None) -> Section:
    """Return what one set of data says.

    Parameters
    ----------
    name
        Of `TITLES`.
    data
        Folder of real data, None if there is none; where the set is not in it, the section says so.
    """
    return _SECTIONS[name](_NOWHERE if data is None else data)
