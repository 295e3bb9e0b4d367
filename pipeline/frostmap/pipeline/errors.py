"""Errors of a run, each with the exit code that it ends the command with."""

from __future__ import annotations

from frostmap.catalogs.errors import ExplainedError


class FrostmapError(ExplainedError):
    """A failure of a run whose cause is known."""

    exit_code = 1


class UserError(FrostmapError):
    """The input is wrong: a recipe, a file, a grid, a unit."""

    exit_code = 2


class DataIncomplete(FrostmapError):
    """The input is right, but data that the run needs is missing or unreadable."""

    exit_code = 3
