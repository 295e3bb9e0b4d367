"""Published maps of permafrost that frostmap knows: what their numbers mean, and from where on ground counts as it."""

from __future__ import annotations

import functools
import math
import re
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from frostmap.catalogs.shipped import StrictModel, as_tuple, known_in, load, parse

ReferenceId: TypeAlias = Literal[
    "cao-2023",
    "chen-2026",
    "esa-cci-permafrost-extent",
    "esa-cci-permafrost-temperature",
    "obu-2019-probability",
    "obu-2019-temperature",
    "ran-2022",
    "zou-2017",
    "zou-2025",
]
"""A published map: the name of its definition."""

Holds: TypeAlias = Literal["classes", "temperature", "share"]
"""classes of ground; its temperature; or the share of a cell that is permafrost, or the probability that it is."""

Ground: TypeAlias = Literal[
    "permafrost", "seasonally_frozen", "non_frozen", "no_permafrost", "glacier", "lake", "missing"
]
"""What a number of a map of classes may mean; no_permafrost where a map does not tell what else the ground is."""

Rule: TypeAlias = Literal["below", "at_most", "at_least", "above"]
"""How the number of a pixel that is permafrost lies to the threshold."""

Units: TypeAlias = Literal["degC", "K", "1", "%"]

RULES: dict[Holds, tuple[float, Rule]] = {"temperature": (0.0, "below"), "share": (0.5, "at_least")}
"""Threshold [°C, or a share of one] and rule of maps that say nothing else."""


class ReferenceMap(StrictModel):
    """A published map of permafrost, as its files have it.

    Examples
    --------
    >>> obu = load_reference_map("obu-2019-temperature")
    >>> obu.holds, obu.threshold, obu.rule
    ('temperature', 0.0, 'below')
    """

    id: str
    """What frostmap calls it."""

    title: str
    """Full name."""

    doi: str
    """Digital object identifier of the paper, to cite."""

    data_doi: str = ""
    """That of the files, where it is another and known."""

    licence: str
    """The terms it may be used under, as far as its page tells."""

    landing_pages: Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
    """Where people find it."""

    years: Annotated[tuple[int, int], BeforeValidator(as_tuple)]
    """First and last year that it shows; of a map a year, those that there are maps of."""

    holds: Holds
    """What its numbers are."""

    files: str = ""
    """What its file is called, as a regular expression; another name is taken, and told. Empty: not known."""

    variable: str = ""
    """Its variable, in NetCDF files."""

    crs: str = ""
    """Of files that do not say where they are."""

    codes: dict[int, Ground] = Field(default_factory=dict)
    """Of classes: what each number means. A number that is not here, and not missing, is refused where it is met."""

    missing: Annotated[tuple[float, ...], BeforeValidator(as_tuple)] = ()
    """Numbers that mean none, beside what the file itself says."""

    units: Units | None = None
    """Of files that do not say it; of a temperature degC or K, of a share 1 or %."""

    valid_range: Annotated[tuple[float, float], BeforeValidator(as_tuple)] = (-math.inf, math.inf)
    """Lowest and highest temperature or share that means something [°C, or a share of one]."""

    threshold: float | None = None
    """From where on a pixel is permafrost [°C, or a share of one]."""

    rule: Rule | None = None
    """Whether below it, at most, at least, or above."""

    covers: Annotated[tuple[float, float, float, float], BeforeValidator(as_tuple)] = (-180.0, -90.0, 180.0, 90.0)
    """West, south, east and north of what it shows [°]."""

    note: str = ""
    """What whoever compares with it should know."""

    @field_validator("files")
    @classmethod
    def _a_pattern(cls, given: str) -> str:
        try:
            re.compile(given)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return given

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if self.years[0] > self.years[1]:
            raise ValueError(f"years {list(self.years)} run backwards")
        if self.holds == "classes":
            if self.threshold is not None or self.rule is not None or self.units is not None:
                raise ValueError("classes have codes; no units, no threshold and no rule")
            if self.codes.keys() & set(self.missing):
                raise ValueError(f"numbers {sorted(self.codes.keys() & set(self.missing))} mean a class, and none")
            return self
        if self.codes:
            raise ValueError(f"codes are of classes; this map holds a {self.holds}")
        if self.threshold is None or self.rule is None:
            raise ValueError(f"a map of a {self.holds} needs a threshold and a rule")
        wanted = ("degC", "K") if self.holds == "temperature" else ("1", "%")
        if self.units not in wanted:
            raise ValueError(f"a {self.holds} has the units {' or '.join(wanted)}; found {self.units}")
        if self.valid_range[0] >= self.valid_range[1]:
            raise ValueError(f"valid_range {list(self.valid_range)} runs backwards")
        return self


def known_reference_maps() -> list[str]:
    """List the ids of the published maps that ship with frostmap.

    Examples
    --------
    >>> known_reference_maps()[:2]
    ['cao-2023', 'chen-2026']
    """
    return known_in("reference")


@functools.cache
def load_reference_map(map_id: str) -> ReferenceMap:
    """Load the definition of a published map.

    Examples
    --------
    >>> load_reference_map("cao-2023").codes[2]
    'seasonally_frozen'
    """
    return load(ReferenceMap, "reference", map_id, "reference map", known_reference_maps())


def parse_reference_map(text: str, where: str = "") -> ReferenceMap:
    """Read a map's definition from YAML text; `where` is the file it comes from, for messages."""
    return parse(ReferenceMap, text, "reference map", where)
