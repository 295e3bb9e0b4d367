"""Granules as the archives serve them: HDF-EOS2 files, or one cloud-optimised GeoTIFF a band.

An HDF-EOS2 grid is an HDF4 file whose attribute ``StructMetadata.0`` says in text where the grid lies and whose
Vgroups (GRID, then "Data Fields") gather the arrays; ``CoreMetadata.0`` says which granule it is. The HDF4 library
makes one such file per product and tile; a granule is a copy of it with its name and day written over blanks, the
deflated arrays appended and their descriptors pointed there, ten times as fast as asking the library each time.

References
----------
The HDF Group 2017. HDF4 Specification and Developer's Guide, chapters 2 (data descriptors) and 7 (compression).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyhdf.HDF import HC, HDF
from pyhdf.SD import SD, SDC
from pyhdf.V import V  # noqa: F401  # gives HDF.vgstart

from frostmap.catalogs.errors import CatalogError
from frostmap.catalogs.granules import parse_granule_name
from frostmap.catalogs.grids import SINUSOIDAL_CRS, TILE_SIZE, Tile, lattice
from frostmap.pipeline.hdf4 import HDF4_LIBRARY

DEFLATE_LEVEL = 2

_PATH_LENGTH = 100  # of the mould, whatever the name of the temporary folder

_VERSION = "061"

_NO_NAME = " " * len("MOD11A1.A2021227.h11v05.061.2021228105320.hdf")

_NO_DATE = " " * len("2021-08-15")

_COMPRESSED = 40  # DFTAG_COMPRESSED, the bytes of a compressed element

_NUMBER_TYPES = {
    "uint8": ("DFNT_UINT8", SDC.UINT8),
    "int8": ("DFNT_INT8", SDC.INT8),
    "uint16": ("DFNT_UINT16", SDC.UINT16),
    "int16": ("DFNT_INT16", SDC.INT16),
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One array of a granule, with the attributes the archive gives it."""

    name: str
    """Name in the HDF file."""

    dtype: str
    """Stored number type."""

    title: str
    """Long name."""

    valid_range: tuple[int, int]
    """Stored values that mean something."""

    fill: int | None = None
    """Stored value that means nothing, if the layer has one."""

    units: str | None = None
    """Unit after scaling."""

    scale: float | None = None
    """Scale factor as the file has it: MOD11's multiplies, MOD13's divides."""

    offset: float | None = None
    """Offset added after scaling."""

    stac_scale: float | None = None
    """Scale as STAC items tell it: always a factor."""

    @property
    def asset(self) -> str:
        """Key of the layer's asset in a STAC item."""
        return self.name.replace(" ", "_")


@dataclasses.dataclass(frozen=True)
class Product:
    """A gridded product: what its granules look like."""

    grid: str
    """Name of the HDF-EOS2 grid."""

    layers: tuple[Layer, ...]
    """Arrays, in file order."""

    pixels: int
    """Pixels a side, as a multiple of the 1-km lattice's."""

    resolution: int
    """Nominal pixel size [m]."""


def _temperature_layers() -> tuple[Layer, ...]:
    layers: list[Layer] = []
    for half, word in (("Day", "daytime"), ("Night", "nighttime")):
        layers += [
            Layer(
                f"LST_{half}_1km",
                "uint16",
                f"Daily {word} 1km grid Land-surface Temperature",
                (7500, 65535),
                0,
                "K",
                0.02,
                stac_scale=0.02,
            ),
            Layer(f"QC_{half}", "uint8", f"Quality control for {word} LST and emissivity", (0, 255)),
            Layer(
                f"{half}_view_time",
                "uint8",
                f"Time of {word} Land-surface Temperature observation",
                (0, 240),
                255,
                "hrs",
                0.1,
                stac_scale=0.1,
            ),
            Layer(
                f"{half}_view_angl",
                "uint8",
                f"View zenith angle of {word} Land-surface Temperature",
                (0, 130),
                255,
                "deg",
                1.0,
                -65.0,
            ),
        ]
    for band in (31, 32):
        layers.append(
            Layer(f"Emis_{band}", "uint8", f"Band {band} emissivity", (1, 255), 0, None, 0.002, 0.49, stac_scale=0.002)
        )
    for half in ("day", "night"):
        layers.append(
            Layer(
                f"Clear_{half}_cov",
                "uint16",
                f"{half} clear-sky coverage",
                (1, 65535),
                0,
                None,
                0.0005,
                stac_scale=0.0005,
            )
        )
    return tuple(layers)


def _vegetation_layers(prefix: str) -> tuple[Layer, ...]:
    index: dict[str, Any] = {"scale": 10000.0, "offset": 0.0, "stac_scale": 0.0001}
    angle: dict[str, Any] = {"units": "degrees", "scale": 100.0, "offset": 0.0, "stac_scale": 0.01}
    rows: list[tuple[str, str, tuple[int, int], int, dict[str, Any]]] = [
        ("NDVI", "int16", (-2000, 10000), -3000, {"units": "NDVI", **index}),
        ("EVI", "int16", (-2000, 10000), -3000, {"units": "EVI", **index}),
        ("VI Quality", "uint16", (0, 65534), 65535, {"units": "bit field"}),
        ("red reflectance", "int16", (0, 10000), -1000, {"units": "reflectance", **index}),
        ("NIR reflectance", "int16", (0, 10000), -1000, {"units": "reflectance", **index}),
        ("blue reflectance", "int16", (0, 10000), -1000, {"units": "reflectance", **index}),
        ("MIR reflectance", "int16", (0, 10000), -1000, {"units": "reflectance", **index}),
        ("view zenith angle", "int16", (0, 18000), -10000, angle),
        ("sun zenith angle", "int16", (0, 18000), -10000, angle),
        ("relative azimuth angle", "int16", (-18000, 18000), -4000, angle),
        ("composite day of the year", "int16", (1, 366), -1, {"units": "Julian day of the year "}),
        ("pixel reliability", "int8", (0, 3), -1, {"units": "rank"}),
    ]
    return tuple(
        Layer(prefix + name, dtype, prefix + name, span, fill, **more) for name, dtype, span, fill, more in rows
    )


def _snow_layers() -> tuple[Layer, ...]:
    return (
        Layer("NDSI_Snow_Cover", "uint8", "NDSI snow cover from best observation of the day", (0, 100), 255),
        Layer("NDSI_Snow_Cover_Basic_QA", "uint8", "NDSI snow cover general quality value", (0, 4), 255),
    )


_TEMPERATURE = Product("MODIS_Grid_Daily_1km_LST", _temperature_layers(), 1, 1000)

PRODUCTS: dict[str, Product] = {
    "MOD11A1": _TEMPERATURE,
    "MYD11A1": _TEMPERATURE,
    "MOD13A1": Product("MODIS_Grid_16DAY_500m_VI", _vegetation_layers("500m 16 days "), 2, 500),
    "MOD13A2": Product("MODIS_Grid_16DAY_1km_VI", _vegetation_layers("1 km 16 days "), 1, 1000),
    "MOD10A1": Product("MOD_Grid_Snow_500m", _snow_layers(), 2, 500),
}
"""Products that are simulated, by short name."""


def granule_id(product: str, date: dt.date, tile: Tile) -> str:
    """Return a granule's name, its production stamp a pure function of the rest.

    Examples
    --------
    >>> granule_id("MYD11A1", dt.date(2020, 8, 12), Tile(25, 5))[:30]
    'MYD11A1.A2020225.h25v05.061.20'
    """
    stem = f"{product}.A{date:%Y%j}.{tile}.{_VERSION}"
    seconds = zlib.crc32(stem.encode()) % 86400
    made = dt.datetime(date.year, date.month, date.day) + dt.timedelta(
        days=17 if product.startswith("MOD13") else 2, seconds=seconds
    )
    return f"{stem}.{made:%Y%j%H%M%S}"


def struct_metadata(product: str, tile: Tile, pixels: int) -> str:
    """Return the text that makes an HDF4 file an HDF-EOS2 grid."""
    what = PRODUCTS[product]
    west, north = (tile.h - 18) * TILE_SIZE, (9 - tile.v) * TILE_SIZE
    fields = "".join(
        f"\t\t\tOBJECT=DataField_{number}\n"
        f'\t\t\t\tDataFieldName="{layer.name}"\n'
        f"\t\t\t\tDataType={_NUMBER_TYPES[layer.dtype][0]}\n"
        f'\t\t\t\tDimList=("YDim","XDim")\n'
        f"\t\t\tEND_OBJECT=DataField_{number}\n"
        for number, layer in enumerate(what.layers, 1)
    )
    return (
        "GROUP=SwathStructure\nEND_GROUP=SwathStructure\nGROUP=GridStructure\n\tGROUP=GRID_1\n"
        f'\t\tGridName="{what.grid}"\n'
        f"\t\tXDim={pixels}\n\t\tYDim={pixels}\n"
        f"\t\tUpperLeftPointMtrs=({west:.6f},{north:.6f})\n"
        f"\t\tLowerRightMtrs=({west + TILE_SIZE:.6f},{north - TILE_SIZE:.6f})\n"
        "\t\tProjection=GCTP_SNSOID\n\t\tProjParams=(6371007.181000,0,0,0,0,0,0,0,86400,0,0,0,0)\n"
        "\t\tSphereCode=-1\n\t\tGridOrigin=HDFE_GD_UL\n\t\tGROUP=Dimension\n\t\tEND_GROUP=Dimension\n"
        f"\t\tGROUP=DataField\n{fields}\t\tEND_GROUP=DataField\n"
        "\t\tGROUP=MergedFields\n\t\tEND_GROUP=MergedFields\n\tEND_GROUP=GRID_1\nEND_GROUP=GridStructure\n"
        "GROUP=PointStructure\nEND_GROUP=PointStructure\nEND\n"
    )


def core_metadata(product: str, tile: Tile, name: str = _NO_NAME, date: str = _NO_DATE) -> str:
    """Return the text that says which granule a file is, line by line as the archive has it among much else.

    Parameters
    ----------
    product, tile
        What the granule is of.
    name, date
        Its file's name and its first day, YYYY-MM-DD; by default blanks of the same length.
    """
    address = (("HORIZONTALTILENUMBER", tile.h), ("VERTICALTILENUMBER", tile.v))
    lines = _odl(
        "GROUP",
        "INVENTORYMETADATA",
        [
            f"{'GROUPTYPE':<21}= MASTERGROUP",
            "",
            *_odl("GROUP", "ECSDATAGRANULE", _odl_value("LOCALGRANULEID", f'"{name}"')),
            *_odl(
                "GROUP",
                "COLLECTIONDESCRIPTIONCLASS",
                [*_odl_value("VERSIONID", str(int(_VERSION))), *_odl_value("SHORTNAME", f'"{product}"')],
            ),
            *_odl("GROUP", "RANGEDATETIME", _odl_value("RANGEBEGINNINGDATE", f'"{date}"')),
            *_odl(
                "GROUP",
                "ADDITIONALATTRIBUTES",
                [line for n, (key, value) in enumerate(address, 6) for line in _odl_attribute(n, key, f"{value:02d}")],
            ),
        ],
    )
    return "\n".join(["", *lines, "END", ""])


def _odl(kind: str, name: str, lines: list[str]) -> list[str]:
    """Return the lines of a group or object of the Object Description Language."""
    within = [f"  {line}" if line else "" for line in lines]
    return [f"{kind:<23}= {name}", *within, f"{f'END_{kind}':<23}= {name}", ""]


def _odl_value(name: str, value: str) -> list[str]:
    return _odl("OBJECT", name, [f"{'NUM_VAL':<21}= 1", f"{'VALUE':<21}= {value}"])


def _odl_attribute(number: int, name: str, value: str) -> list[str]:
    class_and_number = [f'{"CLASS":<21}= "{number}"', f"{'NUM_VAL':<21}= 1"]
    key = _odl("OBJECT", "ADDITIONALATTRIBUTENAME", [*class_and_number, f'{"VALUE":<21}= "{name}"'])
    content = _odl("OBJECT", "PARAMETERVALUE", [*class_and_number[::-1], f'{"VALUE":<21}= "{value}"'])
    information = _odl("GROUP", "INFORMATIONCONTENT", [class_and_number[0], "", *content])
    return _odl("OBJECT", "ADDITIONALATTRIBUTESCONTAINER", [class_and_number[0], "", *key, *information])


@dataclasses.dataclass(frozen=True)
class _Mould:
    """An HDF-EOS2 file whose arrays, name and day may be replaced."""

    content: bytes
    """The file, its arrays filled with a constant."""

    slots: tuple[int, ...]
    """Where in the file offset and length of each layer's compressed bytes stand, in layer order."""

    name: int
    """Where the file's own name stands."""

    date: int
    """Where its day stands."""


@functools.lru_cache(maxsize=32)
def _mould(product: str, tile: Tile, pixels: int) -> _Mould:
    what = PRODUCTS[product]
    with HDF4_LIBRARY, tempfile.TemporaryDirectory(prefix="frostmap-simulate-") as folder:
        path = str(Path(folder) / "m").ljust(_PATH_LENGTH, "m")
        file = SD(path, SDC.WRITE | SDC.CREATE | SDC.TRUNC)
        references = []
        for number, layer in enumerate(what.layers, 1):
            kind = _NUMBER_TYPES[layer.dtype][1]
            array = file.create(layer.name, kind, (pixels, pixels))
            array.dim(0).setname(f"YDim:{what.grid}")
            array.dim(1).setname(f"XDim:{what.grid}")
            array.attr("long_name").set(SDC.CHAR, layer.title)
            if layer.units is not None:
                array.attr("units").set(SDC.CHAR, layer.units)
            array.attr("Number Type").set(SDC.CHAR, layer.dtype)
            array.attr("valid_range").set(kind, list(layer.valid_range))
            if layer.fill is not None:
                array.attr("_FillValue").set(kind, layer.fill)
            elif layer.name.startswith("QC_"):
                array.attr("_FillValue").set(SDC.CHAR, "NA\0")  # as in collection 061
            if layer.scale is not None:
                array.attr("scale_factor").set(SDC.FLOAT64, layer.scale)
                if layer.offset is not None:
                    array.attr("add_offset").set(SDC.FLOAT64, layer.offset)
                array.attr("scale_factor_err").set(SDC.FLOAT64, 0.0)
                array.attr("add_offset_err").set(SDC.FLOAT64, 0.0)
                array.attr("calibrated_nt").set(SDC.INT32, 5)
            array.setcompress(SDC.COMP_DEFLATE, DEFLATE_LEVEL)
            array[:] = np.full((pixels, pixels), number, layer.dtype)  # tells the layers apart below
            references.append(array.ref())
            array.endaccess()
        file.attr("HDFEOSVersion").set(SDC.CHAR, "HDFEOS_V2.19")
        file.attr("StructMetadata.0").set(SDC.CHAR, struct_metadata(product, tile, pixels))
        file.attr("CoreMetadata.0").set(SDC.CHAR, core_metadata(product, tile))
        file.attr("comment").set(SDC.CHAR, "simulated by frostmap; not an observation")
        file.end()
        _group_as_grid(path, what.grid, references)
        # the library writes the file's path into it; neither place nor length of the path may show
        content = Path(path).read_bytes().replace(path.encode(), b"simulated".ljust(len(path)))
    slots: dict[int, int] = {}
    for where, offset, length in _compressed_elements(content):
        array_bytes = zlib.decompress(content[offset : offset + length])
        slots[array_bytes[-1]] = where  # big-endian: the last byte is the number
    return _Mould(
        content,
        tuple(slots[number] for number in range(1, len(what.layers) + 1)),
        content.index(f'"{_NO_NAME}"'.encode()) + 1,
        content.index(f'"{_NO_DATE}"'.encode()) + 1,
    )


def _compressed_elements(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield where the descriptor's offset field stands, offset and length of each compressed element."""
    block = 4
    while block:
        count, following = struct.unpack_from(">hi", content, block)
        for descriptor in range(block + 6, block + 6 + 12 * count, 12):
            tag, _, offset, length = struct.unpack_from(">HHii", content, descriptor)
            if tag == _COMPRESSED:
                yield descriptor + 4, offset, length
        block = following


def _group_as_grid(path: str, grid: str, references: list[int]) -> None:
    file = HDF(path, HC.WRITE)
    groups = file.vgstart()
    outer, inner, attributes = (groups.attach(-1, write=1) for _ in range(3))
    outer._name, outer._class = grid, "GRID"
    inner._name, inner._class = "Data Fields", "GRID Vgroup"
    attributes._name, attributes._class = "Grid Attributes", "GRID Vgroup"
    for reference in references:
        inner.add(HC.DFTAG_NDG, reference)
    outer.insert(inner)
    outer.insert(attributes)
    for group in (inner, attributes, outer):
        group.detach()
    groups.end()
    file.close()


def write_hdf(path: Path, product: str, tile: Tile, stored: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a granule as one HDF-EOS2 file; `stored` maps layer names to (y, x) arrays of the stored type.

    Its metadata states the granule's name and day as the file is named; under another name they are left blank.
    """
    layers = PRODUCTS[product].layers
    mould = _mould(product, tile, stored[layers[0].name].shape[0])
    content = bytearray(mould.content)
    for place, text in zip((mould.name, mould.date), _own_name_and_day(path.name), strict=True):
        content[place : place + len(text)] = text.encode()
    parts: list[bytes | bytearray] = [content]
    end = len(content)
    for layer, slot in zip(layers, mould.slots, strict=True):
        values = stored[layer.name]
        deflated = zlib.compress(values.astype(values.dtype.newbyteorder(">")).tobytes(), DEFLATE_LEVEL)
        struct.pack_into(">ii", content, slot, end, len(deflated))
        parts.append(deflated)
        end += len(deflated)
    path.write_bytes(b"".join(parts))


def _own_name_and_day(name: str) -> tuple[str, str]:
    """Return what the metadata states of a file of this name; nothing if it is not a granule's full name."""
    try:
        parsed = parse_granule_name(name)
    except CatalogError:
        return "", ""
    return (name, parsed.date.isoformat()) if len(name) == len(_NO_NAME) else ("", "")


def write_cogs(folder: Path, name: str, product: str, tile: Tile, stored: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a granule as one cloud-optimised GeoTIFF a band, named ``{name}_{asset}.tif``."""
    what = PRODUCTS[product]
    for layer in what.layers:
        values = stored[layer.name]
        geobox = lattice(values.shape[0])[tile]
        with rasterio.open(
            folder / f"{name}_{layer.asset}.tif",
            "w",
            driver="COG",
            height=values.shape[0],
            width=values.shape[1],
            count=1,
            dtype=layer.dtype,
            crs=SINUSOIDAL_CRS.to_wkt(),
            transform=geobox.affine,
            nodata=layer.fill,
            compress="DEFLATE",
            blocksize=512,
        ) as file:
            file.write(values, 1)
            file.update_tags(source="simulated by frostmap; not an observation")
