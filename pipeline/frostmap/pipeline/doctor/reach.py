"""What is elsewhere: hosts that a recipe names, accounts at them, and the cluster. Secrets are never shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests

from frostmap.catalogs.hosts import without_query
from frostmap.catalogs.sources import ROOTS
from frostmap.pipeline.clusters import open_cluster
from frostmap.pipeline.clusters.address import is_address
from frostmap.pipeline.doctor.finding import Finding
from frostmap.pipeline.downloads import Downloads
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.recipe import Catalogue, Recipe
from frostmap.pipeline.transfers import TransferError, has_login

_OF_THIS_MACHINE = ("threads", "local")
_OF_S3 = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_ELSEWHERE = ("AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
"""What says that keys of an object store come from somewhere else."""


def catalogues(recipe: Recipe) -> list[Catalogue]:
    """Return all of a recipe's catalogues, those that are asked second too."""
    given = (recipe.sources.lst, recipe.sources.ndvi, recipe.sources.elevation)
    return [each for source in given if isinstance(source, Catalogue) for each in source.in_turn()]


def hosts(recipe: Recipe) -> dict[str, str]:
    """Return the addresses that a recipe names, by host."""
    addresses = [recipe.catalogue(each) or ROOTS.get(each.kind, "") for each in catalogues(recipe)]
    addresses.append(recipe.store.endpoint)
    remote = [address for address in addresses if address.startswith(("http://", "https://"))]
    return {urlsplit(address).netloc.rpartition("@")[2]: address for address in remote}


def network(recipe: Recipe, timeout_s: float = 20.0) -> Iterator[Finding]:
    """Ask each host that a recipe names, and no other, for the first line of an answer."""
    found = hosts(recipe)
    if not found:
        yield Finding("network", "good", "the recipe names no host: nothing is fetched")
    for host, address in found.items():
        remedy = "check the address in the recipe, the network, and what proxy the environment names (HTTPS_PROXY)"
        try:
            with requests.get(address, timeout=timeout_s, stream=True, allow_redirects=False) as answer:
                status = answer.status_code
        except requests.RequestException as error:
            yield Finding(f"network {host}", "bad", f"no answer: {type(error).__name__}", remedy)
            continue
        words = f"{without_query(address)} answers with status {status}"
        yield (
            Finding(f"network {host}", "doubtful", words, remedy)
            if status >= 500
            else Finding(f"network {host}", "good", words)
        )


def credentials(recipe: Recipe) -> Iterator[Finding]:
    """Tell which accounts a recipe needs, and whether there is something to show for them."""
    if any(each.kind == "earthdata" for each in catalogues(recipe)):
        yield _of_earthdata(Downloads.login_host)
    if recipe.store.location:
        yield _of_the_store()


def _of_earthdata(host: str) -> Finding:
    if os.environ.get("EARTHDATA_TOKEN", "").strip():
        return Finding("Earthdata", "good", "EARTHDATA_TOKEN is set")
    remedy = f"put 'machine {host} login NAME password PASSWORD' into ~/.netrc (chmod 600), or set EARTHDATA_TOKEN"
    try:
        there = has_login(host)
    except TransferError as error:
        return Finding("Earthdata", "bad", error.found, remedy)
    if there:
        return Finding("Earthdata", "good", f"the netrc file has {host}")
    return Finding("Earthdata", "bad", f"neither EARTHDATA_TOKEN nor {host} in the netrc file", remedy)


def _of_the_store() -> Finding:
    there = [name for name in (*_OF_S3, *_ELSEWHERE) if os.environ.get(name)]
    if set(_OF_S3) <= set(there) or set(_ELSEWHERE) & set(there):
        return Finding("object store", "good", f"{', '.join(there)} set")
    missing = ", ".join(name for name in _OF_S3 if name not in there)
    remedy = f"set {missing}, on the workers too; on a cloud's own machines their role may do instead"
    return Finding("object store", "doubtful", f"{missing} not set", remedy)


def cluster(recipe: Recipe, where: str | None) -> Iterator[Finding]:
    """Open the cluster of a recipe, if it is of this machine or running already, and look at its workers."""
    chosen = where or recipe.cluster.where
    if chosen not in _OF_THIS_MACHINE and not is_address(chosen):
        yield Finding("cluster", "good", f"{chosen}: is made by a run, and not tried here")
        return
    try:
        with open_cluster(recipe, where) as opened:
            found = opened.client.scheduler_info(n_workers=-1)["workers"].values()
            threads = sum(worker["nthreads"] for worker in found)
            words = f"{chosen}: {len(found)} workers, {threads} threads, the same software"
    except UserError as error:
        about = f"{chosen}: {error.what}" + (f" ({error.found})" if error.found else "")
        yield Finding("cluster", "bad", about, error.remedy)
        return
    several = chosen != "threads" and threads > len(found)
    remedy = "start workers with --nthreads 1: HDF4 is read by one thread a process" if several else ""
    yield Finding("cluster", "doubtful" if several else "good", words, remedy)
