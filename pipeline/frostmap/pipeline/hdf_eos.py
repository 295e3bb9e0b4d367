"""What HDF-EOS2 files say about themselves, and whether it is what a granule's name says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from frostmap.pipeline.granule_errors import DOWNLOAD_AGAIN, GranuleError

_OBJECT_OR_VALUE = re.compile(r'^[ \t]*(OBJECT|VALUE)[ \t]*=[ \t]*"?([^"\n]*)', re.MULTILINE)
_RADIUS_TOLERANCE = 1e-3  # metres
_CORNER_TOLERANCE = 1.0  # metres; a pixel size rounded to half a millimetre is 0.6 m off after 1200 pixels


@dataclass(frozen=True)
class Expected:
    """What the file of a granule must be: plain numbers and texts, so that they travel to another process as JSON."""

    product: str
    """Short name of the product."""

    version: str
    """Version of the algorithm, of three digits."""

    date: str
    """The UTC day, or the first day of a composite, YYYY-MM-DD."""

    tile: str
    """Address on the sinusoidal lattice."""

    grid: str
    """Name of the HDF-EOS grid; empty for a GeoTIFF."""

    pixels: int
    """Rows and columns."""

    corners: tuple[float, float, float, float]
    """Exact west, north, east and south edge [m]."""

    sphere_radius: float
    """Radius of the projection's sphere [m]."""


@dataclass(frozen=True)
class ExpectedSwath:
    """What the file of a swath must be: plain numbers and texts, so that they travel to another process as JSON."""

    product: str
    """Short name of the product."""

    version: str
    """Version of the algorithm, of three digits."""

    date: str
    """The UTC day that it begins on, YYYY-MM-DD."""

    time: str
    """When it begins (UTC), HH:MM."""

    swath: str
    """Name of the HDF-EOS swath."""

    most_rows: int
    """It may have so many cells along the track, not more."""

    most_columns: int
    """The same across the track."""


@dataclass(frozen=True)
class HdfSwath:
    """What a swath of an HDF-EOS file has."""

    sizes: Mapping[str, int]
    """Length of each dimension."""

    fields: Mapping[str, tuple[str, ...]]
    """Dimensions of each field, of positions too."""


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


def parse_swaths(text: str) -> dict[str, HdfSwath]:
    """Read the swaths that an HDF-EOS file's ``StructMetadata.0`` describes.

    Examples
    --------
    >>> text = '''GROUP=SwathStructure
    ... GROUP=SWATH_1
    ... SwathName="S"
    ... GROUP=Dimension
    ... OBJECT=Dimension_1
    ... DimensionName="Along"
    ... Size=406
    ... END_OBJECT=Dimension_1
    ... END_GROUP=Dimension
    ... GROUP=GeoField
    ... OBJECT=GeoField_1
    ... GeoFieldName="Latitude"
    ... DimList=("Along","Across")
    ... END_OBJECT=GeoField_1
    ... END_GROUP=GeoField
    ... END_GROUP=SWATH_1
    ... END_GROUP=SwathStructure'''
    >>> parse_swaths(text)["S"]
    HdfSwath(sizes={'Along': 406}, fields={'Latitude': ('Along', 'Across')})
    """
    swaths: dict[str, HdfSwath] = {}
    path: list[str] = []
    name = ""
    sizes: dict[str, int] = {}
    fields: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        key, _, value = line.strip().partition("=")
        if key in ("GROUP", "OBJECT"):
            path.append(value)
        elif key in ("END_GROUP", "END_OBJECT"):
            if path:
                path.pop()
        elif path[:1] == ["SwathStructure"]:
            if key == "SwathName":
                name, sizes, fields = value.strip('"'), {}, {}
                swaths[name] = HdfSwath(sizes, fields)
            elif key in ("DimensionName", "GeoFieldName", "DataFieldName"):
                name = value.strip('"')
            elif key == "Size" and value.isdigit():
                sizes[name] = int(value)
            elif key == "DimList":
                fields[name] = tuple(dim.strip(' "') for dim in value.strip("()").split(","))
    return swaths


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


def parse_core_metadata(text: str) -> dict[str, str]:
    """Read the values that an HDF-EOS file's ``CoreMetadata.0`` gives, additional attributes under their own names.

    Blank values are left out; of objects that come several times, the first counts; of lists, what stands on the first
    line.

    Examples
    --------
    >>> parse_core_metadata('''OBJECT = ADDITIONALATTRIBUTENAME
    ... VALUE = "VERTICALTILENUMBER"
    ... END_OBJECT = ADDITIONALATTRIBUTENAME
    ... OBJECT = PARAMETERVALUE
    ... VALUE = "05"
    ... END_OBJECT = PARAMETERVALUE''')
    {'ADDITIONALATTRIBUTENAME': 'VERTICALTILENUMBER', 'VERTICALTILENUMBER': '05'}
    """
    values: dict[str, str] = {}
    name = attribute = ""
    for key, text_of_value in _OBJECT_OR_VALUE.findall(text):
        value = text_of_value.strip()
        if key == "OBJECT":
            name = value
        elif value:
            if name == "ADDITIONALATTRIBUTENAME":
                attribute = value
            values.setdefault(attribute if name == "PARAMETERVALUE" else name, value)
    return values


def check_grid(text: str, path: Path, expected: Expected) -> None:
    """Check that the file's grid is the tile that its name says."""
    grids = parse_struct_metadata(text)
    if expected.grid not in grids:
        raise GranuleError(
            "an HDF granule without the product's grid",
            where=path,
            found=", ".join(grids) or "no grid",
            wanted=expected.grid,
        )
    grid = grids[expected.grid]
    # written so that a radius which is not a number is refused too
    if grid.projection != "GCTP_SNSOID" or not abs(grid.sphere_radius - expected.sphere_radius) <= _RADIUS_TOLERANCE:
        raise GranuleError(
            "an HDF granule on another projection",
            where=path,
            found=f"{grid.projection} on a sphere of {grid.sphere_radius} m",
            wanted=f"GCTP_SNSOID on a sphere of {expected.sphere_radius} m",
        )
    check_place(path, (grid.rows, grid.columns), (*grid.upper_left, *grid.lower_right), expected)


def check_swath(text: str, path: Path, expected: ExpectedSwath, fields: Iterable[str]) -> tuple[int, int]:
    """Return the rows and columns of a file's swath, after checking that it has the fields, all on the same cells."""
    swaths = parse_swaths(text)
    if expected.swath not in swaths:
        other = [*swaths, *(f"the grid {grid}" for grid in parse_struct_metadata(text))]
        raise GranuleError(
            "an HDF granule without the product's swath",
            where=path,
            found=", ".join(other) or "no swath",
            wanted=expected.swath,
        )
    swath = swaths[expected.swath]
    shapes = {name: tuple(swath.sizes.get(dim, 0) for dim in swath.fields.get(name, ())) for name in fields}
    (rows, columns), *others = {shape if len(shape) == 2 else (0, 0) for shape in shapes.values()}
    if others or not (1 < rows <= expected.most_rows and 1 < columns <= expected.most_columns):
        raise GranuleError(
            "an HDF granule whose layers are not those of the product's cells",
            where=path,
            found=", ".join(f"{name} {shape or 'not there'}" for name, shape in shapes.items()),
            wanted=f"one shape, from 2 x 2 to {expected.most_rows} x {expected.most_columns}",
            remedy=DOWNLOAD_AGAIN,
        )
    return rows, columns


def check_place(
    where: object, shape: tuple[int, int], corners: tuple[float, float, float, float], expected: Expected
) -> None:
    """Check a shape and corners (west, north, east, south) against the exact lattice, to within a metre."""
    if shape != (expected.pixels, expected.pixels):
        raise GranuleError(
            "a granule of another resolution",
            where=where,
            found=f"{shape[0]} x {shape[1]} pixels",
            wanted=f"{expected.pixels} x {expected.pixels}",
        )
    if not all(abs(a - b) <= _CORNER_TOLERANCE for a, b in zip(corners, expected.corners, strict=True)):
        raise GranuleError(
            "a granule that does not lie where its name says",
            where=where,
            found="corners " + ", ".join(f"{corner:.3f}" for corner in corners),
            wanted=f"{expected.tile} with corners " + ", ".join(f"{corner:.3f}" for corner in expected.corners),
            remedy="the file was renamed or is another tile's: " + DOWNLOAD_AGAIN,
        )


def check_identity(text: str, path: Path, expected: Expected | ExpectedSwath) -> None:
    """Check product, version, day, and tile or time, that the file's inventory states against its name."""
    values = parse_core_metadata(text)
    version, h, v = (
        values.get(key, "") for key in ("VERSIONID", "HORIZONTALTILENUMBER", "VERTICALTILENUMBER")
    )  # fmt: skip
    stated = {
        "product": values.get("SHORTNAME", ""),
        "version": version.zfill(3) if version else "",
        "date": values.get("RANGEBEGINNINGDATE", ""),
        "tile": f"h{h.zfill(2)}v{v.zfill(2)}" if h and v else "",
        "time": values.get("RANGEBEGINNINGTIME", "")[:5],
    }
    named = dataclasses.asdict(expected)
    wrong = [key for key, value in stated.items() if value and key in named and value != named[key]]
    if wrong:
        raise GranuleError(
            "an HDF granule that is not what its name says",
            where=path,
            found=", ".join(f"{key} {stated[key]}" for key in wrong),
            wanted=", ".join(f"{key} {named[key]}" for key in wrong),
            remedy="the file was renamed or is another granule's: " + DOWNLOAD_AGAIN,
        )
