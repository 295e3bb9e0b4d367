"""A run as one file for an archive: maps, tables, report, recipe, provenance, citations, licence, checksums."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.products.citations import citations
from frostmap.pipeline.products.layers import LEGENDS
from frostmap.pipeline.products.stac import COLLECTION
from frostmap.pipeline.work import Work

LICENCES = {
    "CC-BY-4.0": ("Creative Commons Attribution 4.0 International", "https://creativecommons.org/licenses/by/4.0/"),
    "CC-BY-SA-4.0": (
        "Creative Commons Attribution-ShareAlike 4.0 International",
        "https://creativecommons.org/licenses/by-sa/4.0/",
    ),
    "CC0-1.0": ("CC0 1.0 Universal", "https://creativecommons.org/publicdomain/zero/1.0/"),
    "ODbL-1.0": ("Open Data Commons Open Database License v1.0", "https://opendatacommons.org/licenses/odbl/1-0/"),
}
"""Name and address of each licence that may be named; the text of another is given as a file."""

CHECKSUMS = "SHA256SUMS"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every member: the same run gives the same archive."""

STORED = (".tif", ".nc", ".png", ".gz", ".npz")
"""Suffixes of what is compressed already."""

_PIECE = 1 << 20


@dataclass(frozen=True)
class Archived:
    """What was written."""

    path: Path
    members: int
    bytes: int
    sha256: str


def archive(work: Work, products: Path, out: Path, licence: str, authors: Sequence[str] = ()) -> Archived:
    """Write the archive of a finished run whose maps were exported.

    Parameters
    ----------
    work
        The run.
    products
        Where its maps were exported to, with their collection.
    out
        The archive, a zip file.
    licence
        One of `LICENCES`, or the path of a text file.
    authors
        Whom the README names.

    Raises
    ------
    DataIncomplete
        Nothing was exported.
    UserError
        There is no such licence.
    """
    if not (products / COLLECTION).is_file():
        raise DataIncomplete(
            "there are no exported maps to archive",
            where=str(products),
            found=f"no {COLLECTION}",
            remedy=f"write them with: frostmap export {work.folder}",
        )
    if not out.parent.is_dir():
        raise UserError("no such folder", where=f"--out {out}", wanted="a folder that exists")
    texts = {"README.md": _readme(work, products, licence, authors), "LICENSE.txt": _licence(licence)}
    cited = citations(work)
    texts |= {"CITATIONS.txt": cited.as_text(), "CITATIONS.bib": cited.as_bibtex()}
    root, draft = work.recipe.name, out.with_suffix(".draft.zip")
    sums: list[str] = []
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as file:
            for name, text in texts.items():
                sums.append(_add_text(file, f"{root}/{name}", name, text))
            for name, path in _files(work, products):
                sums.append(_add_file(file, f"{root}/{name}", name, path))
            _add_text(file, f"{root}/{CHECKSUMS}", CHECKSUMS, "".join(sums))
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    with out.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Archived(out, len(sums) + 1, out.stat().st_size, digest)


def _files(work: Work, products: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a run that are worth keeping, by the name that they get."""
    for name in ("recipe.yaml", "metrics.json", "provenance.json"):
        if (work.folder / name).is_file():
            yield name, work.folder / name
    for folder, pattern in (("tables", "*.csv"), ("report", "*.html"), ("figures", "*")):
        for path in sorted((work.folder / folder).glob(pattern)):
            if path.is_file():
                yield f"{folder}/{path.name}", path
    for path in sorted(products.rglob("*")):
        if path.is_file() and path.suffix != ".draft":
            yield f"products/{path.relative_to(products).as_posix()}", path


def _add_text(file: zipfile.ZipFile, member: str, name: str, text: str) -> str:
    content = text.encode()
    file.writestr(_entry(member, name), content)
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"


def _add_file(file: zipfile.ZipFile, member: str, name: str, path: Path) -> str:
    """Add a file, piece by piece; return its line of the checksums."""
    digest = hashlib.sha256()
    entry = _entry(member, name)
    entry.file_size = path.stat().st_size  # whether zip64 is needed
    with path.open("rb") as source, file.open(entry, "w") as target:
        while piece := source.read(_PIECE):
            digest.update(piece)
            target.write(piece)
    return f"{digest.hexdigest()}  {name}\n"


def _entry(member: str, name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(member, EPOCH)
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(STORED) else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _licence(given: str) -> str:
    if given in LICENCES:
        name, address = LICENCES[given]
        return f"{name} ({given})\n\nThe terms: {address}legalcode\n"
    path = Path(given)
    if not path.is_file():
        raise UserError(
            "no such licence",
            where=f"--licence {given}",
            wanted=f"{', '.join(LICENCES)}, or a text file",
            remedy="terms of data that the run has read may bind its maps: `frostmap cite` lists them",
        )
    return path.read_text(encoding="utf-8")


README = """# {title}

{simulated}{authors}Maps of frozen ground by frostmap {version}, recipe {name} (SHA-256 {digest}).
Years that each map is the mean of: {epochs}.

Licence: {licence}. What is to be cited: CITATIONS.txt, CITATIONS.bib.

## What is here

- `products/GRID/LAYER_MAP.tif`: cloud-optimised GeoTIFFs on the grids {grids};
  `products/collection.json` is a STAC collection over them, `products/areas.csv` says what each grid changes of the
  classes' areas.
- Classes of `frozen_ground`: {classes}; 255 is no data.
- `report/index.html`, `figures/`, `tables/`, `metrics.json`: the same to read.
- `recipe.yaml`, `provenance.json`, `products/prov.json`: what was made from what, with digests.
- `SHA256SUMS`: of every file; check them with `sha256sum -c SHA256SUMS`.
"""


def _readme(work: Work, products: Path, licence: str, authors: Sequence[str]) -> str:
    recipe = work.recipe
    epochs = [f"{each.title}: {', '.join(map(str, each.years))}" for each in recipe.epochs.named().values()]
    return README.format(
        title=recipe.title or recipe.name,
        simulated="**All data is simulated: these are no maps of the Earth.**\n\n" if recipe.simulated else "",
        authors=f"By {', '.join(authors)}.\n\n" if authors else "",
        version=version("frostmap"),
        name=recipe.name,
        digest=recipe.digest(),
        epochs="; ".join(epochs),
        licence=licence if licence in LICENCES else "see LICENSE.txt",
        grids=", ".join(sorted(path.name for path in products.iterdir() if path.is_dir())),
        classes=", ".join(f"{code} {entry.name}" for code, entry in LEGENDS["frozen_ground"].items()),
    )
