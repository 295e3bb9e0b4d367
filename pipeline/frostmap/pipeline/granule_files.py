"""Reading the files of granules: HDF-EOS2 and cloud-optimised GeoTIFF, checked before a number is believed.

What is returned are the stored numbers; `decode` makes physical ones of them. A file that is truncated, empty, a login
page in a granule's place, of another product, day or tile or without a wanted layer raises `GranuleError`, which says
so. `granule_reader` reads the same with the HDF library in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
import rioxarray
import xarray as xr
from isal import isal_zlib
from numpy.typing import NDArray
from rasterio.enums import Compression
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from frostmap.catalogs.collections import Band, Collection, known_collections, load_collection
from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granules import Granule, parse_granule_name
from frostmap.catalogs.grids import SPHERE_RADIUS, lattice
from frostmap.pipeline import hdf4_process
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.granule_errors import DOWNLOAD_AGAIN, GranuleError
from frostmap.pipeline.hdf4 import Layer, read_layers
from frostmap.pipeline.hdf4_elements import HDF4_MAGIC
from frostmap.pipeline.hdf_eos import Expected, check_place

__all__ = ["GranuleError", "check_granule_file", "decode", "read_granule", "read_raster"]

ReadHdf: TypeAlias = Callable[[Path, Expected, Sequence[Layer]], list[NDArray[Any]]]

_TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and big, of both byte orders


def read_granule(
    granule: Granule | str | Path,
    collection: Collection,
    bands: Iterable[str] | None = None,
    *,
    pixels_per_tile: int | None = None,
    read_hdf: ReadHdf = read_layers,
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
    read_hdf
        What reads HDF layers; by default the library in this process, which a damaged file can bring down.

    Returns
    -------
    dict of (y, x) arrays
        For each name, the stored numbers in the product's type, row 0 in the north. Fills are left in.
    """
    wanted = [collection.band(name) for name in bands] if bands is not None else list(collection.bands)
    if not isinstance(granule, Granule):
        granule = _named_by_its_file(Path(granule))
    expected = _expected(granule, collection, pixels_per_tile)
    if all(band.asset in granule.band_hrefs for band in wanted):
        return {band.name: _read_geotiff(granule.band_hrefs[band.asset], band, expected) for band in wanted}
    if granule.hdf_href is not None:
        path = _local(granule.hdf_href)
        _check_holds_data(path)
        arrays = read_hdf(path, expected, [Layer(band.sds, band.dtype) for band in wanted])
        return {band.name: array for band, array in zip(wanted, arrays, strict=True)}
    raise GranuleError(
        "a granule without a file of each wanted layer",
        where=granule.name,
        found=", ".join(granule.band_hrefs) or "no files",
        wanted="an HDF file, or GeoTIFFs of " + ", ".join(band.asset for band in wanted),
    )


def check_granule_file(path: Path, granule: Granule, asset: str | None, *, pixels_per_tile: int | None = None) -> None:
    """Check to the last byte that a file is what a granule's name says.

    Of an HDF file: its structure and headers, that its grid is the tile, that product, version, day and tile in its own
    metadata (where it has them) are the name's, and that every layer of the product is there and inflates to its size.
    The HDF library does its part in another process, so that no damage can reach this one. Of a GeoTIFF: that it is
    one, its projection, its place on the lattice, its type, its nodata value, and that every block can be read and,
    if deflated, fits its checksum.

    Parameters
    ----------
    path
        The file, under any name.
    granule
        The granule that it must be of.
    asset
        Key of the layer that a GeoTIFF must hold; None for an HDF file with all of them.
    pixels_per_tile
        Rows and columns it must have, where they are not the product's own (coarser simulations).

    Raises
    ------
    GranuleError
        The file is absent, damaged or something else.
    """
    collection = _collection_of(granule)
    expected = _expected(granule, collection, pixels_per_tile)
    if asset is not None:
        _read_geotiff(str(path), _band_of(collection, asset), expected)
        return
    _check_holds_data(path)
    hdf4_process.of_this_process().check_layers(
        path, expected, [Layer(band.sds, band.dtype) for band in collection.bands]
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


def _named_by_its_file(path: Path) -> Granule:
    try:
        name = parse_granule_name(path.name)
    except CatalogError as error:
        raise UserError(
            "a file that is not named as its archive names it", where=str(path), wanted=error.wanted
        ) from error
    return Granule(path.name.removesuffix(".hdf"), *name, hdf_href=str(path))


def _collection_of(granule: Granule) -> Collection:
    for collection in map(load_collection, known_collections()):
        if (collection.product, collection.version) == (granule.product, granule.version):
            return collection
    raise UserError(
        "a granule of a product that frostmap does not know",
        where=granule.name,
        found=f"{granule.product} version {granule.version}",
        wanted="one of " + ", ".join(known_collections()),
    )


def _band_of(collection: Collection, asset: str) -> Band:
    for band in collection.bands:
        if band.asset == asset:
            return band
    raise UserError(
        f"{collection.product} has no layer {asset!r}",
        wanted="one of " + ", ".join(band.asset for band in collection.bands),
    )


def _expected(granule: Granule, collection: Collection, pixels_per_tile: int | None) -> Expected:
    """Return what a granule's file must be, after checking that it is one of the collection's."""
    n = pixels_per_tile or collection.pixels_per_tile
    if n is None:
        raise UserError(f"{collection.id} does not come in tiles", remedy="read its files with read_raster()")
    if (granule.product, granule.version) != (collection.product, collection.version):
        raise UserError(
            "a granule of another product",
            where=granule.name,
            found=f"{granule.product} version {granule.version}",
            wanted=f"{collection.product} version {collection.version}",
        )
    box = lattice(n)[granule.tile].boundingbox
    return Expected(
        product=granule.product,
        version=granule.version,
        date=granule.date.isoformat(),
        tile=str(granule.tile),
        grid=collection.hdf_grid,
        pixels=n,
        corners=(box.left, box.top, box.right, box.bottom),
        sphere_radius=SPHERE_RADIUS,
    )


def _local(href: str) -> Path:
    if _is_remote(href):
        raise UserError(
            "an HDF granule that is not on disk",
            where=href,
            remedy="download it first: HDF4 cannot be read over a network. Catalogues with GeoTIFFs can",
        )
    return Path(href)


def _is_remote(href: str) -> bool:
    return "://" in href or href.startswith("/vsi")


def _check_holds_data(path: Path) -> bytes:
    """Check that a file is there and holds data, not a web page; return its first bytes."""
    if not path.is_file():
        raise GranuleError("a granule's file is not there", where=path, remedy="download it, or update the catalogue")
    try:
        with path.open("rb") as file:
            start = file.read(256)
    except OSError as error:
        raise GranuleError("a granule's file that cannot be read", where=path, found=error) from error
    if not start:
        raise GranuleError("a granule's file is empty", where=path, found="0 bytes", remedy=DOWNLOAD_AGAIN)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.lower().startswith((b"<!doctype", b"<html", b"<?xml", b"{")):
        raise GranuleError(
            "a granule's file holds a text or web page, not data",
            where=path,
            found=text[:60].decode("latin-1").split("\n")[0],
            remedy="the archive may have answered with its login page: log in, " + DOWNLOAD_AGAIN,
        )
    return start


# ---- GeoTIFF ------------------------------------------------------------------------------------------------------


def _read_geotiff(href: str, band: Band, expected: Expected) -> NDArray[Any]:
    if not _is_remote(href):
        _check_is_tiff(_check_holds_data(Path(href)), href)
    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(href, driver="GTiff") as file:
            _check_projection(file, href)
            _check_transform(file, href, expected)
            _check_coding(file, href, band)
            stored: NDArray[Any] = file.read(1)
            blocks = stored_blocks(file, href)
            if not _is_remote(href) and file.compression == Compression.deflate:
                check_checksums(Path(href), blocks)
    # a warning that the file lies nowhere is an exception where warnings are errors; elsewhere its place is refused
    except (RasterioError, NotGeoreferencedWarning) as error:
        raise GranuleError("a GeoTIFF that cannot be read", where=href, found=error, remedy=DOWNLOAD_AGAIN) from error
    return stored.view(band.dtype)


def _check_is_tiff(start: bytes, href: str) -> None:
    if start.startswith(HDF4_MAGIC):
        raise GranuleError("an HDF file renamed to a GeoTIFF", where=href, wanted="a GeoTIFF", remedy=DOWNLOAD_AGAIN)
    if not start.startswith(_TIFF_MAGICS):
        raise GranuleError(
            "not a GeoTIFF, or one that cannot be read",
            where=href,
            found=f"first bytes {start[:4]!r}",
            wanted="a GeoTIFF",
            remedy=DOWNLOAD_AGAIN,
        )


def _check_projection(file: rasterio.DatasetReader, href: str) -> None:
    projection = file.crs.to_dict() if file.crs is not None else {}
    origin = [float(projection.get(key, 0)) for key in ("lon_0", "x_0", "y_0")]
    if (
        projection.get("proj") != "sinu"
        or abs(float(projection.get("R", 0)) - SPHERE_RADIUS) > 1e-3
        or any(origin)
        or projection.get("units", "m") != "m"
    ):
        raise GranuleError(
            "a GeoTIFF on another projection",
            where=href,
            found=projection or "no CRS",
            wanted=f"MODIS sinusoidal, on a sphere of {SPHERE_RADIUS} m",
        )


def _check_transform(file: rasterio.DatasetReader, href: str, expected: Expected) -> None:
    """Check the place, as catalogues round it: numbers that are off by less than a metre are snapped to the lattice."""
    width, shear_x, west, shear_y, height, north = tuple(file.transform)[:6]
    if shear_x or shear_y:
        raise GranuleError(
            "a GeoTIFF that is not north-up", where=href, found=f"shear {shear_x}, {shear_y}", wanted="no shear"
        )
    corners = (west, north, west + width * file.width, north + height * file.height)
    check_place(href, file.shape, corners, expected)


def _check_coding(file: rasterio.DatasetReader, href: str, band: Band) -> None:
    if file.count != 1 or file.dtypes[0] not in _stored_as(band):
        raise GranuleError(
            f"layer {band.asset} is not stored as the product's definition says",
            where=href,
            found=f"{file.count} bands of {file.dtypes[0]}",
            wanted=f"1 band of {band.dtype}",
        )
    nodata = file.nodata
    fill = None if band.fill is None else float(np.array(band.fill, band.dtype).view(file.dtypes[0]))
    if nodata is not None and nodata != fill:
        raise GranuleError(
            f"layer {band.asset} has another nodata value than the product's definition says",
            where=href,
            found=nodata,
            wanted="none" if fill is None else f"{fill} or none",
        )


def stored_blocks(file: rasterio.DatasetReader, href: str) -> list[tuple[int, int]]:
    """List offset and length of every block; blocks that a file leaves out are read as zeros without a word."""
    height, width = file.block_shapes[0]
    blocks = []
    for row in range(-(-file.height // height)):
        for column in range(-(-file.width // width)):
            place = [file.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE")]
            if None in place:
                raise GranuleError(
                    "a GeoTIFF without all its blocks",
                    where=href,
                    found=f"no block in row {row}, column {column}",
                    remedy=DOWNLOAD_AGAIN,
                )
            blocks.append((int(place[0]), int(place[1])))
    return blocks


def check_checksums(path: Path, blocks: Iterable[tuple[int, int]]) -> None:
    """Inflate every block of a deflated GeoTIFF: GDAL may be built to stop before the checksum at a block's end."""
    try:
        with path.open("rb") as file:
            for offset, length in blocks:
                file.seek(offset)
                isal_zlib.decompress(file.read(length))
    except (isal_zlib.IsalError, OSError) as error:  # type: ignore[misc]  # a class, whatever its stubs say
        raise GranuleError("a GeoTIFF that cannot be read", where=path, found=error, remedy=DOWNLOAD_AGAIN) from error


def _stored_as(band: Band) -> tuple[str, ...]:
    """Return the types a band may have in a GeoTIFF: writers before GDAL 3.7 stored signed bytes as unsigned ones."""
    return ("int8", "uint8") if band.dtype == "int8" else (band.dtype,)
