"""What is to be cited: the publications and data sets behind products, the method and the software."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, ValidationError

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.shipped import StrictModel, as_tuple, faults

OTHERS = "others"
"""Last of the authors where they are too many to be named."""

DOI = re.compile(r"10\.\d{4,9}/\S+")


class Reference(StrictModel):
    """A publication, a data set or a program."""

    kind: Literal["article", "dataset", "software", "other"]
    authors: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """As "Family, Given"; a name without comma is an organisation."""
    year: int | None = None
    title: str
    publisher: str = ""
    """The journal, archive or organisation."""
    volume: str = ""
    pages: str = ""
    version: str = ""
    doi: str = ""
    url: str = ""

    @property
    def address(self) -> str:
        """Where it is found; empty where nobody says.

        Examples
        --------
        >>> load_references()["numpy"].address
        'https://doi.org/10.1038/s41586-020-2649-2'
        """
        return f"https://doi.org/{self.doi}" if self.doi else self.url

    def as_text(self) -> str:
        """Return it in a line, for a list of references.

        Examples
        --------
        >>> load_references()["breiman_2001"].as_text()
        'Breiman, L. (2001): Random forests. Machine Learning 45, 5-32. https://doi.org/10.1023/A:1010933404324'
        """
        year = f" ({self.year})" if self.year else ""
        where = " ".join(part for part in (self.publisher, self.volume) if part)
        where += (", " if where else "pp. ") + self.pages if self.pages else ""
        version = f"version {self.version}" if self.version else ""
        rest = [part for part in (self.title.rstrip("."), version, where) if part]
        who = f"{_names(self.authors)}{year}: " if self.authors else ""
        return f"{who}{'. '.join(rest)}. {self.address}".rstrip()

    def as_bibtex(self, key: str) -> str:
        r"""Return it as an entry of a BibTeX file; organisations keep their names whole.

        Examples
        --------
        >>> print(Reference(kind="other", authors=("NASA JPL",), title="A & B", year=2020).as_bibtex("a"))
        @misc{a,
          author = {{NASA JPL}},
          title = {{A \& B}},
          year = {2020},
        }
        """
        authors = " and ".join(
            author if author == OTHERS or "," in author else f"{{{author}}}" for author in map(_escaped, self.authors)
        )
        place = "journal" if self.kind == "article" else "publisher"
        fields = {
            "author": authors,
            "title": f"{{{_escaped(self.title)}}}",
            "year": str(self.year or ""),
            place: _escaped(self.publisher),
            "volume": self.volume,
            "pages": self.pages.replace("-", "--"),
            "version": self.version,
            "doi": self.doi,
            "url": self.address,
        }
        lines = [f"  {name} = {{{text}}}," for name, text in fields.items() if text]
        return "\n".join([f"@{'article' if self.kind == 'article' else 'misc'}{{{key},", *lines, "}"])


def parse_reference(text: str) -> Reference:
    """Return what a user's words refer to: what is known of a DOI, else the words themselves.

    Examples
    --------
    >>> parse_reference("doi:10.1002/jame.20026").authors[0]
    'Shangguan, W.'
    >>> parse_reference("Soil survey of 1985, unpublished").title
    'Soil survey of 1985, unpublished'
    """
    found = DOI.search(text)
    doi = found[0].rstrip(".,;)") if found else ""
    known = reference_by_doi(doi)
    if known is not None:
        return known[1]
    words = text.strip() if text.strip().removeprefix("doi:").strip() != doi else ""
    alone = not words or words.removeprefix("https://doi.org/") == doi
    return Reference(kind="other", title=f"doi {doi}" if alone else words, doi=doi)


def reference_by_doi(doi: str) -> tuple[str, Reference] | None:
    """Return the key and reference with a DOI, whose case does not matter; None where it is not known."""
    wanted = doi.lower()
    return next((item for item in load_references().items() if item[1].doi.lower() == wanted and wanted), None)


@functools.cache
def load_references() -> Mapping[str, Reference]:
    """Return what ships with frostmap, by key.

    Examples
    --------
    >>> load_references()["shangguan_2013"].year
    2013
    """
    file = resources.files("frostmap.catalogs") / "references.yaml"
    return parse_references(file.read_text("utf-8"), "references.yaml")


def parse_references(text: str, where: str = "") -> dict[str, Reference]:
    """Read references from YAML text; `where` is the file it comes from, for messages."""
    try:
        given: dict[str, Any] = yaml.safe_load(text)
        return {key: Reference.model_validate(fields) for key, fields in given.items()}
    except yaml.YAMLError as error:
        raise CatalogError("references that are not YAML", where=where, found=error) from error
    except ValidationError as error:
        raise CatalogError("references that cannot be read", where=where, found=faults(error)) from error


def bibtex(references: Iterable[tuple[str, Reference]]) -> str:
    """Return a BibTeX file, each key and each reference once."""
    entries: dict[str, Reference] = {}
    for key, reference in references:
        if reference not in entries.values():
            plain = _plain_key(key)
            entries[plain if plain not in entries else f"{plain}_{len(entries)}"] = reference
    return "\n\n".join(reference.as_bibtex(key) for key, reference in entries.items()) + "\n"


def _plain_key(text: str) -> str:
    """Return a key that BibTeX takes.

    >>> _plain_key("Muñoz Sabater: sand.tif")
    'Munoz_Sabater_sand_tif'
    """
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", ascii_only).strip("_") or "reference"


def _names(authors: tuple[str, ...]) -> str:
    """Return authors in words.

    >>> _names(("Meyer, H.", "Pebesma, E.")), _names(("Zhao, L.", "Zou, D.", "others"))
    ('Meyer, H. and Pebesma, E.', 'Zhao, L., Zou, D. et al.')
    """
    if authors[-1] == OTHERS:
        return f"{', '.join(authors[:-1])} et al."
    *most, last = authors
    return f"{', '.join(most)} and {last}" if most else last


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text)
