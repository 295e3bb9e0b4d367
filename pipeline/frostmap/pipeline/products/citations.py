"""Who is to be cited for a run: the software, the method, and every data set that it read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import rasterio

from frostmap.catalogs.collections import known_collections, load_collection
from frostmap.catalogs.gridded import known_series, load_series
from frostmap.catalogs.references import Reference, bibtex, load_references, parse_reference, reference_by_doi
from frostmap.pipeline.provenance import versions
from frostmap.pipeline.recipe import Catalogue, Recipe
from frostmap.pipeline.work import PRODUCTS, Work, products_of

Role = Literal["software", "method", "data"]

HEADINGS: dict[Role, str] = {"software": "Software", "method": "Method", "data": "Data"}

SIMULATED = "All data is simulated by frostmap. Its relief derives from ETOPO5 (NOAA)."

SAME_AS = {"distributed": "dask"}
"""Packages that are cited as another."""

CLOUD_TOPS = ("mod06_l2", "myd06_l2")


class Cited(NamedTuple):
    """Something to be cited."""

    role: Role
    use: str
    """What it was used for, or is called in the recipe."""
    key: str
    """For BibTeX."""
    reference: Reference


@dataclass(frozen=True)
class Citations:
    """All that is to be cited for a run."""

    cited: tuple[Cited, ...]
    unknown: dict[str, str]
    """Files that nothing is said of: their keys in the recipe and their names."""
    simulated: bool
    """Whether the data was made by frostmap's own simulator, so that there is none to cite."""

    def under_headings(self) -> dict[str, dict[Reference, str]]:
        """Return the references under headings, each once, with what it was used for; that is told of data alone."""
        listed: dict[str, dict[Reference, str]] = {}
        for role, heading in HEADINGS.items():
            uses: dict[Reference, list[str]] = {}
            for cited in self.cited:
                if cited.role == role:
                    uses.setdefault(cited.reference, []).append(cited.use)
            told = {each: ", ".join(dict.fromkeys(names)) if role == "data" else "" for each, names in uses.items()}
            if told:
                listed[heading] = told
        return listed

    def as_text(self) -> str:
        """Return a list of references under headings, and what is missing from it."""
        lines: list[str] = []
        for heading, references in self.under_headings().items():
            lines += ["", heading, ""]
            lines += [f"- {each.as_text()}{f' [{use}]' if use else ''}" for each, use in references.items()]
        if self.simulated:
            lines += ["", HEADINGS["data"], "", f"- {SIMULATED}"]
        if self.unknown:
            lines += ["", "Files that the recipe says nothing of (say what they are under `citations`)", ""]
            lines += [f"- {key}: {name}" for key, name in self.unknown.items()]
        return "\n".join(lines).lstrip("\n") + "\n"

    def as_bibtex(self) -> str:
        """Return a BibTeX file, and what is missing from it as comments."""
        missing = [f"% {key}: {name}: the recipe does not say what it is\n" for key, name in self.unknown.items()]
        return bibtex((cited.key, cited.reference) for cited in self.cited) + "".join(missing)


def citations(work: Work) -> Citations:
    """Return what is to be cited for a run, as far as its recipe and the definitions of products say it."""
    recipe = work.recipe
    cited = [*_software(work), *_method(recipe)]
    if recipe.simulated:
        return Citations(tuple(cited), {}, simulated=True)
    data = [*_products(recipe), *_series(work), *_given(recipe)]
    covered = {use for _, use, _, _ in data}
    unknown = {
        key: name
        for key, name in _files(recipe)
        if not any(key == use or key.startswith(f"{use}.") or use.startswith(f"{key}.") for use in covered)
    }
    return Citations((*cited, *data), unknown, simulated=False)


def _software(work: Work) -> Iterator[Cited]:
    path = work.folder / "provenance.json"
    recorded = json.loads(path.read_text(encoding="utf-8"))["software"] if path.exists() else {}
    references = load_references()
    found = (recorded or versions()) | {"gdal": rasterio.__gdal_version__}
    for name, number in found.items():
        if name in SAME_AS:
            continue
        known = references.get(name) or Reference(kind="software", title=name)
        yield Cited("software", name, name, known.model_copy(update={"version": str(number)}))


def _method(recipe: Recipe) -> Iterator[Cited]:
    uses = {"chen_nan_2026": "the whole", "nelson_outcalt_1987": "frost number", "cao_2023": "E from surveys"}
    if recipe.epochs.target is not None:
        uses |= {"breiman_2001": "E of another epoch", "meyer_pebesma_2021": "where E may be predicted"}
    references = load_references()
    yield from (Cited("method", use, key, references[key]) for key, use in uses.items())


def _products(recipe: Recipe) -> Iterator[Cited]:
    """Yield the products whose files are looked for in sources, and those that a source names."""
    sources = recipe.sources
    names = {kind: products_of(recipe, kind) for kind in PRODUCTS}
    if sources.cloud_top is not None and sources.cloud_top.kind == "mod06":
        names["cloud_top"] = CLOUD_TOPS
    for use, products in names.items():
        yield from (cited for product in products for cited in _product(use, product))
    for use, name in _names(sources.model_dump(mode="json"), ""):
        yield from _product(use, name)


def _names(given: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield where a recipe's sources name a product or series, and its name."""
    if isinstance(given, dict):
        for name, value in given.items():
            if name in ("model", "product", "series") and isinstance(value, str) and value:
                yield key, value
            yield from _names(value, f"{key}.{name}" if key else name)


def _product(use: str, name: str) -> Iterator[Cited]:
    """Yield what a product or series is to be cited by: its publication, and its data where that has a DOI too."""
    if name in known_collections():
        product = load_collection(name)
        yield _by_doi(use, name, product.doi, f"{product.title}, version {product.version}")
    elif name in known_series():
        series = load_series(name)
        yield _by_doi(use, name, series.doi, series.title)
        data_doi = getattr(series, "data_doi", "")
        if data_doi:
            yield _by_doi(use, f"{name}-data", data_doi, f"{series.title} (data)")


def _by_doi(use: str, name: str, doi: str, title: str) -> Cited:
    known = reference_by_doi(doi)
    key, reference = known or (name, Reference(kind="dataset", title=title, doi=doi))
    return Cited("data", use, key, reference)


def _series(work: Work) -> Iterator[Cited]:
    """Yield what the tables of files say that covariates were made of."""
    for path in sorted((work.folder / "tables").glob("sources-*.csv")):
        table = pd.read_csv(path, keep_default_na=False, dtype=str)
        if {"what", "series", "doi"} <= set(table.columns):
            for use, series, doi in table[["what", "series", "doi"]].drop_duplicates().itertuples(index=False):
                if doi:
                    yield _by_doi(str(use), str(series) or str(use), str(doi), str(series) or str(use))


def _given(recipe: Recipe) -> Iterator[Cited]:
    """Yield what the recipe says that its files are."""
    for given in recipe.citations:
        reference = parse_reference(given.cite)
        known = reference_by_doi(reference.doi)
        yield Cited("data", given.source, known[0] if known else given.source, reference)


def _files(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the files that a recipe names, by key."""
    pending: list[tuple[str, Any]] = [
        (name, getattr(recipe.sources, name)) for name in type(recipe.sources).model_fields
    ]
    pending.append(("region.outline", recipe.region.outline))
    while pending:
        key, given = pending.pop(0)
        if isinstance(given, Path):
            yield key, given.name
        elif isinstance(given, tuple):
            pending[:0] = [(f"{key}.{getattr(each, 'name', number)}", each) for number, each in enumerate(given)]
        elif hasattr(given, "model_fields_set") and not isinstance(given, Catalogue):
            fields = type(given).model_fields
            pending[:0] = [
                (key if name == "path" else f"{key}.{name}", getattr(given, name))
                for name in fields
                if name != "second"
            ]
