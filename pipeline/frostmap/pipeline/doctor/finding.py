"""What a check found."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["good", "doubtful", "bad"]
"""good; doubtful: a run may end badly; bad: it will."""


class Finding(NamedTuple):
    """What a check found, and what to do about it."""

    check: str
    state: State
    found: str
    remedy: str = ""
