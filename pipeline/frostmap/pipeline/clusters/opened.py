"""What a place to compute gives a run, whichever kind it is of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from distributed import Client

if TYPE_CHECKING:
    from frostmap.pipeline.recipe import Recipe


@dataclass(frozen=True)
class Opened:
    """A cluster that takes tasks."""

    client: Client
    dashboard: str
    """Link to its dashboard; empty where it has none."""


Say = Callable[[str], None]
"""What is told what happens while a cluster is made, in words for a user."""


class Kind(Protocol):
    """A kind of cluster."""

    def __call__(self, recipe: Recipe, say: Say, /) -> AbstractContextManager[Opened]:
        """Make a cluster as the recipe's section `cluster` wants it; it ends with the context, however that ends.

        Raises `UserError` where it cannot be made.
        """
