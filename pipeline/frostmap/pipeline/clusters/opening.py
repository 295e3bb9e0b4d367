"""Which kind of cluster is wanted, and that it is fit for the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from frostmap.pipeline.clusters import kubernetes, this_machine
from frostmap.pipeline.clusters.address import is_address, running
from frostmap.pipeline.clusters.loss import loss_explained
from frostmap.pipeline.clusters.opened import Kind, Opened, Say
from frostmap.pipeline.clusters.preparation import prepared
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Recipe

KINDS: Mapping[str, Kind] = {
    "threads": this_machine.threads,
    "local": this_machine.processes,
    "kubernetes": kubernetes.pods,
}
"""By the name that a recipe's `cluster.where` or --cluster has for it; else that is an address."""


@contextmanager
def open_cluster(recipe: Recipe, where: str | None = None, say: Say = lambda _words: None) -> Iterator[Opened]:
    """Yield a cluster with workers of the same software, prepared for a run.

    Parameters
    ----------
    recipe
        Its section `cluster` says where, how large, and with which certificates.
    where
        A name of `KINDS` or the address of a running scheduler, instead of the recipe's.
    say
        Told what happens while it is made.

    Raises
    ------
    UserError
        It cannot be had: says why. `SoftwareDiffers` among them.
    ClusterLost
        Its scheduler ended while it was used.
    """
    chosen = where or recipe.cluster.where
    asked = f"--cluster {where}" if where else f"{chosen} (recipe: cluster.where)"
    kind = KINDS.get(chosen)
    if kind is None and not is_address(chosen):
        raise UserError(
            "no such place to compute",
            where=asked,
            found=chosen,
            wanted=f"{', '.join(KINDS)}, or the address of a running Dask scheduler",
            remedy="name one of these, or leave it out to compute on this machine",
        )
    opening = kind(recipe, say) if kind is not None else running(recipe, chosen, asked, say)
    with opening as opened, loss_explained(opened.client), prepared(opened.client, deaf=chosen == "local"):
        yield opened
