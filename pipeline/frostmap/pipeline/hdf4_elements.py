"""What the bytes of an HDF4 file say, read without the library, which trusts every one of them.

Damage to a header can make the library write past its buffers or run in circles, and it reads arrays without a look at
their checksums. So the file is taken for what it is, a list of data elements, and what refers to what is checked.

References
----------
The HDF Group 2017. HDF4 Specification and Developer's Guide, chapters 2 (data descriptors), 3 (tags), 7 (compression),
10 (linked blocks and chunks).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from frostmap.pipeline.granule_errors import DOWNLOAD_AGAIN, GranuleError

HDF4_MAGIC = b"\x0e\x03\x13\x01"
"""The first bytes of an HDF4 file."""

_VDATA_HEADER, _VDATA, _GROUP = 1962, 1963, 1965  # DFTAG_VH, DFTAG_VS, DFTAG_VG
_ARRAY, _COMPRESSED, _CHUNK, _LINKED = 702, 40, 61, 20  # DFTAG_SD, DFTAG_COMPRESSED, DFTAG_CHUNK, DFTAG_LINKED
_LONGEST = {30: 92, 106: 4}  # bytes of DFTAG_VERSION and DFTAG_NT, which are read into buffers of that size
_WIDTHS = {3: 1, 4: 1, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2, 23: 2, 24: 4, 25: 4, 26: 8, 27: 8}  # bytes of number types
_SPECIAL = 0x4000  # is added to the tag of an element whose bytes only say where and how its data is stored
_IN_LINKED_BLOCKS, _IS_COMPRESSED, _IS_CHUNKED = 1, 3, 5  # the kinds of special elements that the archive uses
_DEFLATE = 4  # the coder that the archive uses


class Element(NamedTuple):
    """A data element of an HDF4 file."""

    tag: int
    """What it is."""

    reference: int
    """Which of its kind."""

    offset: int
    """Its first byte in the file."""

    length: int
    """Its number of bytes."""


class Piece(NamedTuple):
    """Bytes that hold a block of an array."""

    row: int
    """First row of the block."""

    column: int
    """First column of the block."""

    elements: tuple[Element, ...]
    """The bytes, one after the other."""

    is_deflated: bool
    """Whether they are a deflated stream, or the numbers as they are."""


class StoredArray(NamedTuple):
    """How an array is stored."""

    shape: tuple[int, int] | None
    """Rows and columns; None if it is in one piece, which does not tell."""

    block: tuple[int, int] | None
    """Rows and columns of its pieces; None if it is in one piece."""

    pieces: list[Piece]
    """Its blocks."""


class Hdf4File:
    """The elements of an HDF4 file, each inside the file and referring to others that are there.

    Parameters
    ----------
    path
        The file, for error messages.
    content
        Its bytes. Anything but a sound file raises `GranuleError`, `ValueError` or `struct.error`.
    """

    def __init__(self, path: Path, content: bytes) -> None:
        self._path, self._content = path, content
        self._elements = _elements(path, content)
        self._at = {(element.tag, element.reference): element for element in self._elements}
        if len(self._at) < len(self._elements):
            raise self._damaged_header()
        self._check_headers()

    def bytes_of(self, element: Element) -> bytes:
        """Return an element's bytes."""
        return self._content[element.offset : element.offset + element.length]

    def texts(self) -> Iterable[str]:
        """Yield texts in the Object Description Language, such as the attribute ``StructMetadata.0``.

        pyhdf turns attributes into text a character at a time, which takes as long as reading a granule's arrays. They
        are stored as plain bytes under the tag of tables.
        """
        for element in self._elements:
            if element.tag == _VDATA and element.length >= 32:
                start = self._content[element.offset : element.offset + min(element.length, 64)]
                if start.lstrip().startswith(b"GROUP"):
                    yield self.bytes_of(element).decode("latin-1").rstrip("\0 \n")

    def arrays(self) -> dict[str, StoredArray]:
        """Find where each named array has its bytes: a group names it, and lists it among its members.

        Arrays that are stored in a way that the archive does not use are left out. The library would read them without
        a check, if need be from another file.
        """
        arrays: dict[str, StoredArray] = {}
        for element in self._elements:
            if element.tag == _GROUP:
                body = self.bytes_of(element)
                members = _members(body)
                stored = next((self._array(reference) for tag, reference in members if tag == _ARRAY), None)
                if stored is not None:
                    start = 2 + 4 * len(members)
                    arrays[body[start + 2 : _skip_texts(body, start, 1)].decode("latin-1")] = stored
        places = [element.offset for stored in arrays.values() for piece in stored.pieces for element in piece.elements]
        if len(set(places)) < len(places):  # bytes of one piece would pass for another's
            raise self._damaged_header()
        return arrays

    def _array(self, reference: int) -> StoredArray | None:
        stored = self._numbers(_ARRAY, reference)
        if stored is not None:
            return StoredArray(None, None, [Piece(0, 0, *stored)])
        special = self._at.get((_ARRAY | _SPECIAL, reference))
        if special is None or self._kind(special) != _IS_CHUNKED:
            return None
        head = self.bytes_of(special)
        # lengths of all, of a chunk, of a number; tag and reference of the table of chunks; their compression; axes
        _, _, _, table, _, _, axes = struct.unpack_from(">IIIxxHHHI", head, 11)
        if axes != 2:
            return None
        sizes = struct.unpack_from(">6I", head, 35)
        (rows, columns), (height, width) = sizes[1::3], sizes[2::3]
        pieces: list[Piece] = []
        for row, column, tag, chunk in struct.iter_unpack(">iiHH", self._table(table)):
            stored = self._numbers(tag, chunk) if tag == _CHUNK else None
            if stored is None:
                raise self._damaged_header()
            pieces.append(Piece(row * height, column * width, *stored))
        down, across = range(0, rows, height), range(0, columns, width)
        if len(pieces) != len(down) * len(across) or {(piece.row, piece.column) for piece in pieces} != {
            (row, column) for row in down for column in across
        }:
            raise self._damaged_header()
        return StoredArray((rows, columns), (height, width), pieces)

    def _numbers(self, tag: int, reference: int) -> tuple[tuple[Element, ...], bool] | None:
        """Return the elements of numbers, and whether they are deflated; None if they are stored in another way.

        The bytes of compressed ones are a kind, a version, a length (4 bytes), the compressed bytes' reference, a model
        and a coder.
        """
        plain = self._in_turn(tag, reference)
        if plain is not None:
            return plain, False
        special = self._at.get((tag | _SPECIAL, reference))
        if special is None or self._kind(special) != _IS_COMPRESSED:
            return None
        _, _, _, stream, _, coder = struct.unpack_from(">HHIHHH", self.bytes_of(special))
        elements = self._in_turn(_COMPRESSED, stream)
        return (elements, True) if elements is not None and coder == _DEFLATE else None

    def _kind(self, special: Element) -> int:
        return int.from_bytes(self._content[special.offset : special.offset + min(special.length, 2)])

    def _table(self, reference: int) -> bytes:
        """Return the records of a table."""
        elements = self._in_turn(_VDATA, reference)
        if elements is None:
            raise self._damaged_header()
        return b"".join(map(self.bytes_of, elements))

    def _in_turn(self, tag: int, reference: int) -> tuple[Element, ...] | None:
        """Return an element, or the blocks that a chain of lists leads to; None if it is stored in another way.

        The bytes of one in blocks are a kind, its length, a block's length, how many blocks a list holds (4 bytes
        each), and the reference of the first list, which begins with the reference of the next.
        """
        plain = self._at.get((tag, reference))
        if plain is not None:
            return (plain,)
        special = self._at.get((tag | _SPECIAL, reference))
        if special is None or self._kind(special) != _IN_LINKED_BLOCKS:
            return None
        left, _, _, following = struct.unpack_from(">IIIH", self.bytes_of(special), 2)
        found, visited = list[Element](), set[int]()
        while following and left:
            if following in visited:
                raise self._damaged_header()
            visited.add(following)
            following, *blocks = (
                number for (number,) in struct.iter_unpack(">H", self.bytes_of(self._linked(following)))
            )
            for block in blocks:
                if block and left:
                    element = self._linked(block)
                    found.append(element._replace(length=min(element.length, left)))
                    left -= found[-1].length
        return tuple(found)

    def _linked(self, reference: int) -> Element:
        element = self._at.get((_LINKED, reference))
        if element is None:
            raise self._damaged_header()
        return element

    def _check_headers(self) -> None:
        """Check that headers are consistent: the library writes past its buffers on some that are not."""
        listed = {(element.tag & ~_SPECIAL, element.reference) for element in self._elements}
        for element in self._elements:
            sound = element.length <= _LONGEST.get(element.tag, element.length)
            if element.tag in (_VDATA_HEADER, _GROUP):
                body = self.bytes_of(element)
                try:
                    if element.tag == _GROUP:
                        members = _members(body)
                        end = _skip_texts(body, 2 + 4 * len(members), 2)
                        # one that comes twice, or is not there, sends the library round in circles or crashes it
                        sound = len(set(members)) == len(members) and listed.issuperset(members)
                    else:
                        end = _vdata_header_end(body, self._table_size(element.reference))
                    sound = sound and end + 8 <= len(body)  # a link and two version numbers follow
                except struct.error:
                    sound = False
            if not sound:
                raise self._damaged_header()

    def _table_size(self, reference: int) -> float:
        """Return how many bytes a table may have at most; infinitely many where the directory does not tell."""
        if (_VDATA | _SPECIAL, reference) in self._at:
            return math.inf
        plain = self._at.get((_VDATA, reference))
        return plain.length if plain is not None else 0

    def _damaged_header(self) -> GranuleError:
        return GranuleError("an HDF granule with a damaged header", where=self._path, remedy=DOWNLOAD_AGAIN)


def _elements(path: Path, content: bytes) -> list[Element]:
    """List every element of an HDF4 file, after checking that each lies inside the file.

    The list is a chain of blocks of data descriptors from byte 4 on: a count (2 bytes) and the next block's offset (4),
    then each element's tag (2), reference (2), offset (4) and length (4), all big-endian. The library itself notices
    damage late or not at all.
    """
    if not content.startswith(HDF4_MAGIC):
        raise GranuleError("not an HDF4 file", where=path, wanted="an HDF-EOS2 granule", remedy=DOWNLOAD_AGAIN)
    elements: list[Element] = []
    position, visited, needed = 4, set[int](), 10
    while position:
        if position in visited:
            raise GranuleError("an HDF granule with a circular directory", where=path, remedy=DOWNLOAD_AGAIN)
        visited.add(position)
        needed = max(needed, position + 6)
        if needed > len(content):
            break
        count, following = struct.unpack_from(">hI", content, position)
        needed = max(needed, position + 6 + 12 * max(count, 0))
        if count <= 0 or needed > len(content):
            needed = max(needed, len(content) + 1)
            break
        block = content[position + 6 : position + 6 + 12 * count]
        for element in map(Element._make, struct.iter_unpack(">HHII", block)):
            # tag 1: a free slot; all ones: not written
            if element.tag != 1 and 0xFFFFFFFF not in (element.offset, element.length):
                needed = max(needed, element.offset + element.length)
                elements.append(element)
        position = following
    if needed > len(content):
        raise GranuleError(
            "a truncated HDF granule",
            where=path,
            found=f"{len(content)} bytes",
            wanted=f"at least {needed} bytes",
            remedy=DOWNLOAD_AGAIN,
        )
    return elements


def _vdata_header_end(body: bytes, size: float) -> int:
    """Return where the names in a table's header end; beyond its end if its counts contradict each other."""
    _, records, record_size, fields = struct.unpack_from(">hiHh", body)
    columns = struct.unpack_from(f">{4 * fields}H", body, 10) if fields >= 0 else ()
    codes, widths, offsets, orders = (columns[i * fields : (i + 1) * fields] for i in range(4))
    sound = (
        records >= 0
        and sum(widths) == record_size
        and list(offsets) == [sum(widths[:i]) for i in range(fields)]
        and all(
            width == _WIDTHS.get(code & 0xFF, 0) * order
            for code, width, order in zip(codes, widths, orders, strict=True)
        )
        and records * record_size <= size
    )
    return _skip_texts(body, 10 + 8 * fields, fields + 2) if sound else len(body)


def _members(body: bytes) -> list[tuple[int, int]]:
    """List tag and reference of each member of a group."""
    (count,) = struct.unpack_from(">H", body)
    numbers = struct.unpack_from(f">{2 * count}H", body, 2)
    return list(zip(numbers[:count], numbers[count:], strict=True))


def _skip_texts(body: bytes, position: int, count: int) -> int:
    """Return the position after so many texts, each a length (2 bytes) and its characters."""
    for _ in range(count):
        position += 2 + int(struct.unpack_from(">H", body, position)[0])
    return position
