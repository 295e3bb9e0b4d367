"""Tables that people send: their encoding, delimiter, first lines and decimal signs are found out, never assumed.

Text is decoded by its byte order mark, else as UTF-8 if it is that; else as GB 18030 where bytes above 127 come in
pairs as Chinese characters do, else as Windows' Latin alphabet. The header is the first line that names the columns
asked for.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from frostmap.catalogs.errors import CatalogError

if TYPE_CHECKING:
    import _csv

DELIMITERS = (",", ";", "\t", "|")
HEADER_WITHIN = 200
"""Lines from the top among which the header is looked for."""
NOTHING = frozenset(
    {"", "-", "--", "---", "/", "\\", ".", "n/a", "na", "nan", "null", "none", "nd", "#n/a", "—", "–", "无"}
    | {"-9999", "-9999.0", "-999", "-999.0", "-999.9", "9999", "32766"}
)
"""What stands for no value, in small letters."""

_BRACKETS = re.compile(r"[(\[（【].*?[)\]）】]")
_NOT_A_LETTER = re.compile(r"[^0-9a-z\u4e00-\u9fff]")
_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-", "\u2010": "-", "\u2011": "-", "\uff0d": "-", "\u00a0": " "})
_UNIT = re.compile(r"\s*(°\s*c|deg\s*c|m|m\.?a\.?s\.?l\.?|米)$", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")


class Row(NamedTuple):
    """A row of a table, under our names."""

    line: int
    """Of the file, the first being 1."""
    values: dict[str, str]
    """Text as found, without blanks around it; empty where there is nothing."""
    extra: bool
    """More fields than the header has."""


class LooseTable(NamedTuple):
    """A table, and what was found out about it."""

    rows: list[Row]
    columns: dict[str, str]
    """Our names, and what the file calls them."""
    encoding: str
    delimiter: str
    decimal: str
    """A point or a comma."""


def read_loose_table(
    path: str | Path,
    spellings: Mapping[str, Sequence[str]],
    needed: Sequence[str],
    small: Sequence[str],
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> LooseTable:
    """Read a table of text, whoever wrote it.

    Parameters
    ----------
    path
        Text with a delimiter, plain or compressed by gzip. Lines above the header, such as titles, are skipped.
    spellings
        For each of our columns, what it is called: small letters and digits alone, as `plain` gives them.
    needed
        Those of them without which there is no table.
    small
        Those that hold numbers below 1000, from which the decimal sign is told.
    columns
        What the file calls some of them, exactly; wins over spellings.
    encoding
        Of the text; found out if None.

    Raises
    ------
    CatalogError
        It cannot be read, no line names all needed columns, or two columns may both be a needed one.
    """
    text, found = _decoded(path, encoding)
    table = _with_header(text, path, spellings, needed, columns or {})
    if table is None:
        first = next((line for line in text.splitlines() if line.strip()), "nothing")
        raise CatalogError(
            "no line of a table names the columns that it needs: " + ", ".join(needed),
            where=path,
            found=first[:200],
            wanted="a header; for instance " + ", ".join(needed),
            remedy="rename the columns of the file, or say what it calls them (columns), or its encoding",
        )
    rows, named, delimiter = table
    if not rows:
        raise CatalogError("a table without rows", where=path)
    return LooseTable(rows, named, found, delimiter, _decimal_sign(rows, small))


def plain(name: str) -> str:
    """Return a name's small letters, digits and Chinese characters.

    Examples
    --------
    >>> plain("MAGT_10 m"), plain("Longitude (°E)"), plain("经度")
    ('magt10m', 'longitudee', '经度')
    """
    return _NOT_A_LETTER.sub("", unicodedata.normalize("NFKC", name).lower())


def is_nothing(text: str) -> bool:
    """Say whether a field stands for no value.

    Examples
    --------
    >>> is_nothing(" N/A "), is_nothing("-9999"), is_nothing("0")
    (True, True, False)
    """
    return text.strip().lower() in NOTHING


def number(text: str, decimal: str = ".") -> float | None:
    """Return the number that a field holds, a unit behind it left out; None if it is none.

    Examples
    --------
    >>> number("−1,25 °C", ","), number("4,612 m"), number("-0.5*")
    (-1.25, 4612.0, None)
    """
    written = _UNIT.sub("", unicodedata.normalize("NFKC", text).translate(_MINUS).strip()).strip()
    if decimal == ",":
        written = written.replace(".", "").replace(",", ".") if written.count(",") == 1 else written
    elif _THOUSANDS.fullmatch(written):
        written = written.replace(",", "")
    return float(written) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", written, re.IGNORECASE) else None


# ---- letters ------------------------------------------------------------------------------------------------------


def _decoded(path: str | Path, encoding: str | None) -> tuple[str, str]:
    try:
        content = Path(path).read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        used = encoding or encoding_of(content)
        text = content.decode(used)
    except (OSError, EOFError, LookupError, UnicodeDecodeError) as error:
        raise CatalogError(
            "cannot read a table",
            where=path,
            found="no such file" if isinstance(error, FileNotFoundError) else error,
            wanted=f"text{f' in {encoding}' if encoding else ''}, plain or compressed by gzip",
            remedy="save a spreadsheet as CSV; or correct the encoding" if encoding else "save a spreadsheet as CSV",
        ) from error
    if "\0" in text:
        raise CatalogError(
            "cannot read a table", where=path, found="bytes that are no text", wanted="text", remedy="save it as CSV"
        )
    return text.removeprefix("\ufeff"), used


def encoding_of(content: bytes) -> str:
    """Return in which encoding a text is.

    Examples
    --------
    >>> [encoding_of("钻孔,Zürich".encode(code)) for code in ("utf-8", "utf-16", "gb18030")]
    ['utf-8', 'utf-16', 'gb18030']
    >>> encoding_of("Zürich;35°13'".encode("latin-1")), encoding_of("name,longitude".encode("utf-16-le"))
    ('cp1252', 'utf-16-le')
    """
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    start = content[:4000]
    for odd, name in ((1, "utf-16-le"), (0, "utf-16-be")):  # every other byte of Latin letters is 0
        if len(start) > 8 and start[odd::2].count(0) > 0.3 * len(start[odd::2]):
            return name
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "gb18030" if _in_pairs(content) else _latin(content)
    return "utf-8"


def _in_pairs(content: bytes) -> bool:
    """Say whether bytes above 127 are Chinese: those of GB 2312 are two and two, those of Latin alphabets alone."""
    try:
        content.decode("gb18030")
    except UnicodeDecodeError:
        return False
    runs = [len(run) for run in re.findall(rb"[\xa1-\xfe]+", content)]
    return 2 * sum(run for run in runs if run % 2 == 0) > sum(runs)


def _latin(content: bytes) -> str:
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


# ---- lines and columns --------------------------------------------------------------------------------------------


def _with_header(
    text: str,
    path: str | Path,
    spellings: Mapping[str, Sequence[str]],
    needed: Sequence[str],
    columns: Mapping[str, str],
) -> tuple[list[Row], dict[str, str], str] | None:
    """Return rows, columns and delimiter below the first line that names what is needed."""
    lines = text.splitlines(keepends=True)
    for start, line in enumerate(lines[:HEADER_WITHIN]):
        if not line.strip():
            continue
        for delimiter in sorted(DELIMITERS, key=line.count, reverse=True):
            if delimiter not in line:
                continue
            header = [field.strip() for field in next(csv.reader([line], delimiter=delimiter))]
            named = _named(header, path, spellings, needed, columns)
            if set(needed) <= named.keys():
                reader = csv.reader(io.StringIO("".join(lines[start + 1 :]), newline=""), delimiter=delimiter)
                return _rows(reader, start + 1, header, named, path), named, delimiter
    return None


def _named(
    header: list[str],
    path: str | Path,
    spellings: Mapping[str, Sequence[str]],
    needed: Sequence[str],
    columns: Mapping[str, str],
) -> dict[str, str]:
    """Return what the file calls each of our columns that it has; of several, the spelling that is listed first."""
    named: dict[str, str] = {}
    for ours, spelt in spellings.items():
        if ours in columns:
            if columns[ours] in header:
                named[ours] = columns[ours]
            continue
        left = [name for name in header if name not in columns.values()]
        exact = [name for name in left if plain(name) == plain(ours)]
        whole = [name for word in spelt for name in left if plain(name) == word]
        brief = [name for word in spelt for name in left if plain(_BRACKETS.sub("", name)) == word]
        candidates = list(dict.fromkeys(exact or whole or brief))
        if len(candidates) > 1 and (ours in needed or exact):
            raise CatalogError(
                f"it is not clear which column of a table is the {ours}",
                where=path,
                found=", ".join(candidates),
                wanted="one of them",
                remedy=f"say which in the recipe, for instance columns: {{{ours}: {candidates[0]}}}",
            )
        if candidates:
            named[ours] = candidates[0]
    return named


def _rows(reader: _csv.Reader, above: int, header: list[str], named: Mapping[str, str], path: str | Path) -> list[Row]:
    places = {ours: header.index(theirs) for ours, theirs in named.items()}
    rows = []
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                values = {ours: fields[at].strip() if at < len(fields) else "" for ours, at in places.items()}
                extra = any(field.strip() for field in fields[len(header) :])
                rows.append(Row(above + reader.line_num, values, extra))
    except csv.Error as error:
        raise CatalogError(
            "cannot read a table", where=f"{path}, line {above + reader.line_num}", found=error, wanted="a CSV file"
        ) from error
    return rows


def _decimal_sign(rows: list[Row], small: Sequence[str]) -> str:
    """Return the decimal sign of a table, by numbers that are too small to have commas of thousands."""
    written = [row.values.get(column, "") for row in rows for column in small]
    points, commas = (sum(bool(re.search(sign, text)) for text in written) for sign in (r"\d\.\d", r"\d,\d"))
    return "," if commas > points else "."
