"""Reading the files of granules: HDF-EOS2 and cloud-optimised GeoTIFF, checked before a number is believed.

What is returned are the stored numbers; `decode` makes physical ones of them. A file that is truncated, empty, a login
page in a granule's place, of another tile or without a wanted layer raises `GranuleError`, which says so.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import rioxarray
import xarray as xr
from numpy.typing import NDArray
from pyhdf.error import HDF4Error
from pyhdf.SD import SD, SDC
from rasterio.errors import RasterioError

from frostmap.catalogs.collections import Band, Collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granules import Granule, parse_granule_name
from frostmap.catalogs.grids import SPHERE_RADIUS, Tile, lattice
from frostmap.pipeline.errors import DataIncomplete, UserError

_HDF4_MAGIC = b"\x0e\x03\x13\x01"
_HDF4_VDATA_HEADER, _HDF4_VDATA, _HDF4_GROUP = 1962, 1963, 1965  # DFTAG_VH, DFTAG_VS, DFTAG_VG
_HDF4_ARRAY, _HDF4_COMPRESSED = 702, 40  # DFTAG_SD, DFTAG_COMPRESSED
_HDF4_LONGEST = {30: 92, 106: 4}  # bytes of DFTAG_VERSION and DFTAG_NT, which are read into buffers of that size
_HDF4_SPECIAL = 0x4000  # is added to the tag of an element that is stored in pieces or compressed
_HDF4_WIDTHS = {3: 1, 4: 1, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2, 23: 2, 24: 4, 25: 4, 26: 8, 27: 8}  # bytes of number types
_HDF4_TYPES = {SDC.INT8: "int8", SDC.UINT8: "uint8", SDC.INT16: "int16", SDC.UINT16: "uint16", SDC.FLOAT32: "float32"}
_CORNER_TOLERANCE = 1.0  # metres; the corners that files state are rounded by up to a millimetre
_DOWNLOAD_AGAIN = "delete the file and download it again"


class GranuleError(DataIncomplete):
    """A granule's file is absent, damaged or not what its name says."""


@dataclass(frozen=True)
class HdfGrid:
    """Where a grid of an HDF-EOS file lies."""

    rows: int
    """Number of rows, from the north."""

    columns: int
    """Number of columns, from the west."""

    upper_left: tuple[float, float]
    """x and y of the north-western corner [m]."""

    lower_right: tuple[float, float]
    """x and y of the south-eastern corner [m]."""

    projection: str
    """Name of the projection in GCTP's terms."""

    sphere_radius: float
    """Radius of the projection's sphere [m]."""


def read_granule(
    granule: Granule | str | Path,
    collection: Collection,
    bands: Iterable[str] | None = None,
    *,
    pixels_per_tile: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Read layers of a granule as they are stored.

    Parameters
    ----------
    granule
        A granule of a catalogue, whose GeoTIFFs are preferred if it has all that are wanted; or the path of an HDF file
        under its archive name.
    collection
        The product that it must be of.
    bands
        Names of the wanted layers; by default all.
    pixels_per_tile
        Rows and columns it must have, where they are not the product's own (coarser simulations).

    Returns
    -------
    dict of (y, x) arrays
        For each name, the stored numbers in the product's type, row 0 in the north. Fills are left in.
    """
    wanted = [collection.band(name) for name in bands] if bands is not None else list(collection.bands)
    n = pixels_per_tile or collection.pixels_per_tile
    if n is None:
        raise UserError(f"{collection.id} does not come in tiles", remedy="read its files with read_raster()")
    if not isinstance(granule, Granule):
        granule = _named_by_its_file(Path(granule))
    if (granule.product, granule.version) != (collection.product, collection.version):
        raise UserError(
            "a granule of another product",
            where=granule.name,
            found=f"{granule.product} version {granule.version}",
            wanted=f"{collection.product} version {collection.version}",
        )
    if all(band.asset in granule.band_hrefs for band in wanted):
        return {band.name: _read_geotiff(granule.band_hrefs[band.asset], band, granule.tile, n) for band in wanted}
    if granule.hdf_href is not None:
        return _read_hdf(granule.hdf_href, collection, wanted, granule.tile, n)
    raise GranuleError(
        "a granule without a file of each wanted layer",
        where=granule.name,
        found=", ".join(granule.band_hrefs) or "no files",
        wanted="an HDF file, or GeoTIFFs of " + ", ".join(band.asset for band in wanted),
    )


def decode(stored: NDArray[Any], band: Band) -> NDArray[np.float32]:
    """Turn stored numbers into physical ones; NaN where they are the fill or outside the valid range.

    Examples
    --------
    >>> from frostmap.catalogs.collections import load_collection
    >>> decode(np.array([14000, 0], np.uint16), load_collection("mod11a1").band("lst_day"))
    array([280.,  nan], dtype=float32)
    """
    lowest, highest = band.valid_range
    valid = (stored >= lowest) & (stored <= highest)
    if band.fill is not None:
        valid &= stored != band.fill
    number = stored.astype(np.float64)
    scaled = number / band.divisor if band.divisor is not None else number * band.factor
    return np.where(valid, scaled + band.offset, np.nan).astype(np.float32)


def read_raster(path: str | Path, *, fill: float | Sequence[float] = ()) -> xr.DataArray:
    """Read a GeoTIFF of one band into memory, with its coordinates and CRS.

    Parameters
    ----------
    path
        The file.
    fill
        Stored numbers that mean none, besides the nodata value that the file may declare. Many clips of MODIS granules
        declare nothing: take the fill from the product's definition.

    Returns
    -------
    (y, x) DataArray
        Stored numbers as float32 (float64 for 32-bit integers and float64), NaN where none.
    """
    try:
        opened = rioxarray.open_rasterio(path, masked=False)
        if not isinstance(opened, xr.DataArray) or opened.sizes["band"] != 1:
            raise UserError("a raster of several layers", where=str(path), wanted="one band")
        with opened:
            raster = opened.squeeze("band", drop=True).load()
    except (RasterioError, OSError) as error:
        raise UserError("cannot read a raster", where=str(path), found=error, wanted="a GeoTIFF") from error
    fills = [fill] if isinstance(fill, (int, float)) else list(fill)
    nodata = raster.rio.nodata
    valid = ~np.isin(raster.values, np.asarray([*fills, *([] if nodata is None else [nodata])]))
    number = raster.values.astype(np.result_type(raster.dtype, np.float32))
    masked = raster.copy(data=np.where(valid, number, np.asarray(np.nan, number.dtype)))
    for attribute in ("_FillValue", "scale_factor", "add_offset"):  # spent, or not to be trusted
        masked.attrs.pop(attribute, None)
    return masked


def parse_struct_metadata(text: str) -> dict[str, HdfGrid]:
    """Read the grids that an HDF-EOS file's ``StructMetadata.0`` describes.

    Examples
    --------
    >>> text = '''GROUP=GridStructure
    ... GROUP=GRID_1
    ... GridName="G"
    ... XDim=2
    ... YDim=2
    ... UpperLeftPointMtrs=(0.0,20.0)
    ... LowerRightMtrs=(20.0,0.0)
    ... Projection=GCTP_SNSOID
    ... ProjParams=(6371007.181,0,0,0,0,0,0,0,0,0,0,0,0)
    ... END_GROUP=GRID_1
    ... END_GROUP=GridStructure'''
    >>> parse_struct_metadata(text)["G"].upper_left
    (0.0, 20.0)
    """
    grids: dict[str, HdfGrid] = {}
    path: list[str] = []
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition("=")
        if key in ("GROUP", "OBJECT"):
            path.append(value)
            if path[:1] == ["GridStructure"] and len(path) == 2:
                fields = {}
        elif key in ("END_GROUP", "END_OBJECT"):
            if path[:1] == ["GridStructure"] and len(path) == 2:
                grids[fields.get("GridName", "").strip('"')] = _hdf_grid(fields)
            if path:
                path.pop()
        elif path[:1] == ["GridStructure"] and len(path) == 2 and value:
            fields[key] = value
    return grids


def _hdf_grid(fields: Mapping[str, str]) -> HdfGrid:
    def numbers(name: str) -> list[float]:
        return [float(number) for number in fields[name].strip("()").split(",")]

    try:
        (west, north), (east, south) = numbers("UpperLeftPointMtrs"), numbers("LowerRightMtrs")
        rows, columns = int(fields["YDim"]), int(fields["XDim"])
        radius = numbers("ProjParams")[0]  # further numbers differ from product to product and mean nothing here
    except (KeyError, ValueError) as error:
        raise ValueError(f"incomplete grid structure ({error})") from error
    return HdfGrid(rows, columns, (west, north), (east, south), fields.get("Projection", ""), radius)


def _named_by_its_file(path: Path) -> Granule:
    try:
        name = parse_granule_name(path.name)
    except CatalogError as error:
        raise UserError(
            "a file that is not named as its archive names it", where=str(path), wanted=error.wanted
        ) from error
    return Granule(path.name.removesuffix(".hdf"), *name, hdf_href=str(path))


# ---- HDF-EOS2 -----------------------------------------------------------------------------------------------------


def _read_hdf(
    href: str, collection: Collection, bands: Sequence[Band], tile: Tile, pixels_per_tile: int
) -> dict[str, NDArray[Any]]:
    if "://" in href or href.startswith("/vsi"):
        raise UserError(
            "an HDF granule that is not on disk",
            where=href,
            remedy="download it first: HDF4 cannot be read over a network. Catalogues with GeoTIFFs can",
        )
    path = Path(href)
    _check_file(path)
    elements = _hdf_elements(path)
    _check_hdf_headers(path, elements)
    try:
        _check_hdf_grid(_struct_metadata(path, elements), path, collection, tile, pixels_per_tile)
        file = SD(str(path), SDC.READ)
        try:
            layers, streams = set(file.datasets()), _deflated(path, elements)
            return {
                band.name: _read_sds(file, path, layers, streams.get(band.sds), band, pixels_per_tile) for band in bands
            }
        finally:
            file.end()
    except (HDF4Error, ValueError, OverflowError, struct.error, zlib.error) as error:
        raise GranuleError(
            "an HDF granule with damaged content", where=str(path), found=error, remedy=_DOWNLOAD_AGAIN
        ) from error


def _check_file(path: Path) -> None:
    """Check that a file is there and holds data, not a web page."""
    if not path.is_file():
        raise GranuleError(
            "a granule's file is not there", where=str(path), remedy="download it, or update the catalogue"
        )
    if path.stat().st_size == 0:
        raise GranuleError("a granule's file is empty", where=str(path), found="0 bytes", remedy=_DOWNLOAD_AGAIN)
    with path.open("rb") as file:
        start = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"{")):
        raise GranuleError(
            "a granule's file holds a text or web page, not data",
            where=str(path),
            found=start[:60].decode("latin-1").split("\n")[0],
            remedy="the archive may have answered with its login page: log in, " + _DOWNLOAD_AGAIN,
        )


class _Element(NamedTuple):
    """A data element of an HDF4 file."""

    tag: int
    """What it is."""

    reference: int
    """Which of its kind."""

    offset: int
    """Its first byte in the file."""

    length: int
    """Its number of bytes."""


def _hdf_elements(path: Path) -> list[_Element]:
    """List every element of an HDF4 file, after checking that each lies inside the file.

    The list is a chain of blocks of data descriptors from byte 4 on: a count (2 bytes) and the next block's offset (4),
    then each element's tag (2), reference (2), offset (4) and length (4), all big-endian. The library itself notices
    damage late or not at all.
    """
    size = path.stat().st_size
    elements: list[_Element] = []
    with path.open("rb") as file:
        if file.read(4) != _HDF4_MAGIC:
            raise GranuleError(
                "not an HDF4 file", where=str(path), wanted="an HDF-EOS2 granule", remedy=_DOWNLOAD_AGAIN
            )
        position, visited, needed = 4, set[int](), 4
        while position:
            if position in visited:
                raise GranuleError("an HDF granule with a circular directory", where=str(path), remedy=_DOWNLOAD_AGAIN)
            visited.add(position)
            file.seek(position)
            head = file.read(6)
            count, following = struct.unpack(">hI", head) if len(head) == 6 else (0, 0)
            block = file.read(12 * max(count, 0))
            needed = max(needed, position + 6 + 12 * max(count, 0))
            if count <= 0 or len(block) < 12 * count:
                break
            for element in map(_Element._make, struct.iter_unpack(">HHII", block)):
                # tag 1: a free slot; all ones: not written
                if element.tag != 1 and 0xFFFFFFFF not in (element.offset, element.length):
                    needed = max(needed, element.offset + element.length)
                    elements.append(element)
            position = following
        else:
            if needed <= size:
                return elements
    raise GranuleError(
        "a truncated HDF granule",
        where=str(path),
        found=f"{size} bytes",
        wanted=f"at least {max(needed, size + 1)} bytes",
        remedy=_DOWNLOAD_AGAIN,
    )


def _check_hdf_headers(path: Path, elements: list[_Element]) -> None:
    """Check that headers are consistent: the library writes past its buffers on some that are not."""
    listed = {(element.tag & ~_HDF4_SPECIAL, element.reference) for element in elements}
    sizes: dict[int, float] = {}
    for element in elements:
        if element.tag == _HDF4_VDATA:
            sizes[element.reference] = element.length
        elif element.tag == _HDF4_VDATA | _HDF4_SPECIAL:
            sizes[element.reference] = math.inf  # in linked blocks: its length is not in the list
    with path.open("rb") as file:
        for element in elements:
            sound = element.length <= _HDF4_LONGEST.get(element.tag, element.length)
            if element.tag in (_HDF4_VDATA_HEADER, _HDF4_GROUP):
                file.seek(element.offset)
                body = file.read(element.length)
                try:
                    if element.tag == _HDF4_GROUP:
                        members = _members(body)
                        end = _skip_texts(body, 2 + 4 * len(members), 2)
                        # a member that comes twice, or is not there, sends the library round in circles
                        sound = len(set(members)) == len(members) and listed.issuperset(
                            member for member in members if member[0] in (_HDF4_VDATA_HEADER, _HDF4_GROUP)
                        )
                    else:
                        end = _vdata_header_end(body, sizes.get(element.reference, 0))
                    sound = sound and end + 8 <= len(body)  # a link and two version numbers follow
                except struct.error:
                    sound = False
            if not sound:
                raise GranuleError("an HDF granule with a damaged header", where=str(path), remedy=_DOWNLOAD_AGAIN)


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
            width == _HDF4_WIDTHS.get(code & 0xFF, 0) * order
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


def _struct_metadata(path: Path, elements: list[_Element]) -> str:
    """Find the text of ``StructMetadata.0`` among a file's elements.

    It is an attribute, but pyhdf turns attributes into text a character at a time, which takes as long as reading a
    granule's arrays. Attributes are stored as plain bytes under the tag of tables.
    """
    with path.open("rb") as file:
        for element in elements:
            if element.tag == _HDF4_VDATA and element.length >= 32:
                file.seek(element.offset)
                if file.read(6) == b"GROUP=":
                    file.seek(element.offset)
                    text = file.read(element.length).decode("latin-1").rstrip("\0 \n")
                    if "GROUP=GridStructure" in text:
                        return text
    return ""


def _deflated(path: Path, elements: list[_Element]) -> dict[str, _Element]:
    """Find where layers that are deflated as a whole have their compressed bytes.

    A layer's group names its array; the array's element describes its compression: a kind (3: compressed), a version, a
    length (4 bytes), the compressed bytes' reference, a model and a coder (4: deflate).
    """
    at = {(element.tag, element.reference): element for element in elements}
    streams: dict[str, _Element] = {}
    with path.open("rb") as file:
        for element in elements:
            if element.tag != _HDF4_GROUP:
                continue
            file.seek(element.offset)
            body = file.read(element.length)
            members = _members(body)
            arrays = [at.get((tag | _HDF4_SPECIAL, reference)) for tag, reference in members if tag == _HDF4_ARRAY]
            array = arrays[0] if arrays else None
            if array is None or array.length < 14:
                continue
            file.seek(array.offset)
            kind, _, _, reference, _, coder = struct.unpack(">HHIHHH", file.read(14))
            if (kind, coder) == (3, 4) and (_HDF4_COMPRESSED, reference) in at:
                start = 2 + 4 * len(members)
                name = body[start + 2 : _skip_texts(body, start, 1)].decode("latin-1")
                streams[name] = at[_HDF4_COMPRESSED, reference]
    return streams


def _check_hdf_grid(text: str, path: Path, collection: Collection, tile: Tile, pixels_per_tile: int) -> None:
    """Check that the file's grid is the tile that its name says."""
    grids = parse_struct_metadata(text)
    if collection.hdf_grid not in grids:
        raise GranuleError(
            "an HDF granule without the product's grid",
            where=str(path),
            found=", ".join(grids) or "no grid",
            wanted=collection.hdf_grid,
        )
    grid = grids[collection.hdf_grid]
    if grid.projection != "GCTP_SNSOID" or abs(grid.sphere_radius - SPHERE_RADIUS) > 1e-3:
        raise GranuleError(
            "an HDF granule on another projection",
            where=str(path),
            found=f"{grid.projection} on a sphere of {grid.sphere_radius} m",
            wanted=f"GCTP_SNSOID on a sphere of {SPHERE_RADIUS} m",
        )
    _check_place(str(path), (grid.rows, grid.columns), (*grid.upper_left, *grid.lower_right), tile, pixels_per_tile)


def _check_place(
    where: str, shape: tuple[int, int], corners: tuple[float, float, float, float], tile: Tile, pixels_per_tile: int
) -> None:
    """Check the shape and the corners (west, north, east, south) against the exact lattice, to within a metre."""
    if shape != (pixels_per_tile, pixels_per_tile):
        raise GranuleError(
            "a granule of another resolution",
            where=where,
            found=f"{shape[0]} x {shape[1]} pixels",
            wanted=f"{pixels_per_tile} x {pixels_per_tile}",
        )
    box = lattice(pixels_per_tile)[tile].boundingbox
    exact = (box.left, box.top, box.right, box.bottom)
    if max(abs(a - b) for a, b in zip(corners, exact, strict=True)) > _CORNER_TOLERANCE:
        raise GranuleError(
            "a granule that does not lie where its name says",
            where=where,
            found="corners " + ", ".join(f"{corner:.3f}" for corner in corners),
            wanted=f"{tile} with corners " + ", ".join(f"{corner:.3f}" for corner in exact),
            remedy="the file was renamed or is another tile's: " + _DOWNLOAD_AGAIN,
        )


def _read_sds(
    file: SD, path: Path, layers: set[str], stream: _Element | None, band: Band, pixels_per_tile: int
) -> NDArray[Any]:
    """Read a layer: inflated here where it is one stream, else by the library.

    The library does not look at a stream's checksum, so a page of zeros in it would pass for data; and it keeps other
    threads waiting.
    """
    if band.sds not in layers:
        raise GranuleError(
            "an HDF granule without a wanted layer",
            where=str(path),
            found=", ".join(sorted(layers)) or "no layers",
            wanted=band.sds,
        )
    layer = file.select(band.sds)
    try:
        _, _, shape, code, _ = layer.info()
        found = (_HDF4_TYPES.get(code, f"HDF4 type {code}"), tuple(np.atleast_1d(shape)))
        wanted = (band.dtype, (pixels_per_tile, pixels_per_tile))
        if found != wanted:
            raise GranuleError(
                f"layer {band.sds} is not stored as the product's definition says",
                where=str(path),
                found=f"{found[0]} {tuple(map(int, found[1]))}",
                wanted=f"{wanted[0]} {wanted[1]}",
            )
        if stream is None:
            stored: NDArray[Any] = layer.get()
            return stored
    finally:
        layer.endaccess()
    with path.open("rb") as source:
        source.seek(stream.offset)
        content = zlib.decompress(
            source.read(stream.length), bufsize=np.dtype(band.dtype).itemsize * pixels_per_tile**2
        )
    numbers = np.frombuffer(content, np.dtype(band.dtype).newbyteorder(">"))
    return numbers.reshape(pixels_per_tile, pixels_per_tile).astype(band.dtype)


# ---- GeoTIFF ------------------------------------------------------------------------------------------------------


def _read_geotiff(href: str, band: Band, tile: Tile, pixels_per_tile: int) -> NDArray[Any]:
    if "://" not in href and not href.startswith("/vsi"):
        _check_file(Path(href))
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(href) as file:
            projection = file.crs.to_dict() if file.crs is not None else {}
            if projection.get("proj") != "sinu" or abs(float(projection.get("R", 0)) - SPHERE_RADIUS) > 1e-3:
                raise GranuleError(
                    "a GeoTIFF on another projection",
                    where=href,
                    found=projection or "no CRS",
                    wanted=f"MODIS sinusoidal, on a sphere of {SPHERE_RADIUS} m",
                )
            box = file.bounds
            _check_place(href, file.shape, (box.left, box.top, box.right, box.bottom), tile, pixels_per_tile)
            if file.count != 1 or file.dtypes[0] not in _stored_as(band):
                raise GranuleError(
                    f"layer {band.asset} is not stored as the product's definition says",
                    where=href,
                    found=f"{file.count} bands of {file.dtypes[0]}",
                    wanted=f"1 band of {band.dtype}",
                )
            stored: NDArray[Any] = file.read(1)
    except RasterioError as error:
        raise GranuleError("a GeoTIFF that cannot be read", where=href, found=error, remedy=_DOWNLOAD_AGAIN) from error
    return stored.view(band.dtype)


def _stored_as(band: Band) -> tuple[str, ...]:
    """Return the types a band may have in a GeoTIFF: writers before GDAL 3.7 stored signed bytes as unsigned ones."""
    return ("int8", "uint8") if band.dtype == "int8" else (band.dtype,)
