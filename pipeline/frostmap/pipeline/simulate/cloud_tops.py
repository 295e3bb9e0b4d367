"""Heights of the simulated clouds' tops, as files have them: a gridded field, or swaths of MODIS's cloud product.

A swath is laid out as the radiometer scans: lines across a ground track, cells that grow towards the edges. Files hold
those layers of the product that say where cells are, how they were seen, and how high clouds reach.
"""

from __future__ import annotations

import datetime as dt
import math
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords
from pyhdf.HDF import HC, HDF
from pyhdf.SD import SD, SDC
from pyhdf.V import V  # noqa: F401  # gives HDF.vgstart

from frostmap.catalogs.collections import load_collection
from frostmap.catalogs.grids import Bounds, Tile, region_geobox, tile_bounds
from frostmap.kernels.compiled import compiled
from frostmap.kernels.view_geometry import equation_of_time, solar_declination
from frostmap.pipeline.hdf4 import HDF4_LIBRARY
from frostmap.pipeline.simulate.climate import landscape
from frostmap.pipeline.simulate.clouds import cloud_climate, cloud_top, cloudiness, displaced, monsoon
from frostmap.pipeline.simulate.orbits import (
    ALTITUDE_KM,
    ASCENDING,
    EARTH_RADIUS_KM,
    INCLINATION,
    LARGEST_SCAN,
    NO_SWATH,
    NODE_HOUR,
    NODE_PHASE,
    PERIOD,
    heading_tilt,
    overpass,
    track,
    view_azimuth,
)
from frostmap.pipeline.simulate.positions import Places, Window
from frostmap.pipeline.simulate.settings import Simulation
from frostmap.pipeline.simulate.surface import ORIGIN, day_number, sun_position

Array = NDArray[np.float64]

SIMULATED = "simulated by frostmap; not an observation"
BY_DAY = {"MOD06_L2": 0, "MYD06_L2": 1}
"""The cloud products, and the overpass by day of each one's satellite."""

FIELD_NAME = "cloud_tops.zarr"
SWATHS_NAME = "cloud_tops"
"""What the field and the folder of swaths are called in an archive."""

DAYS_TOGETHER = 50
"""Days of a tile that the field stores as one chunk."""
MOST_CELLS = 240
"""Cells along a tile's side that the field has at most: 4.6 km."""

GRANULE_MINUTES, LINES_KM, SAMPLES_KM = 5, 2030.0, 1354.0
"""A granule's length in time, and along and across the track: 406 x 270 cells of 5 km."""
_HIGHEST_LATITUDE = 75.0
_MISSING = -9999
_PATH_LENGTH = 100  # of the file that the library writes, whatever the name of the temporary folder


# ---- how high -----------------------------------------------------------------------------------------------------


@compiled
def _tops(
    longitude: Array,
    latitude: Array,
    hours: Array,
    view_zenith: Array,
    ascending: bool,
    threshold: Array,
    elevation: Array,
    seed: np.uint64,
) -> Array:
    """Return heights above sea level [m] of the clouds in lines of sight, NaN where there is none; angles in radians.

    `hours` counts from the origin (UTC), NaN where there is no view; `view_zenith` is negative where the satellite
    stands in the east.
    """
    tops = np.full(longitude.size, np.nan)
    for i in range(longitude.size):
        if hours[i] != hours[i]:
            continue
        top = cloud_top(longitude[i], latitude[i], hours[i], seed)
        azimuth = view_azimuth(latitude[i], -1.0, ascending)
        east, north = displaced(longitude[i], latitude[i], top, -view_zenith[i], azimuth)
        if cloudiness(east, north, hours[i], threshold[i], seed) > 0.0:
            tops[i] = elevation[i] + 1000.0 * top
    return tops


@compiled
def _views(
    longitude: Array, latitude: Array, day: int, node_hour: float, phase: float, ascending: bool
) -> tuple[Array, Array]:
    """Return when places are seen (hours from the origin, UTC; NaN: not at all), and their view zenith [rad]."""
    hours, angles = np.full(longitude.size, np.nan), np.zeros(longitude.size)
    for i in range(longitude.size):
        local_hour, turns, across = track(latitude[i], node_hour, ascending)
        hour, angle = overpass(longitude[i], day, phase, local_hour, turns, across)
        if hour != NO_SWATH:
            hours[i], angles[i] = 24.0 * day + hour - longitude[i] / 15.0, angle
    return hours, angles


class _Sky(NamedTuple):
    """What the clouds of some places need to be known, flat."""

    seed: np.uint64
    longitude: Array
    latitude: Array
    elevation: Array
    winter: Array
    summer: Array

    @classmethod
    def over(cls, seed: int, places: Places) -> _Sky:
        land = landscape(seed, places)
        climate = cloud_climate(seed, land)
        arrays = (places.longitude, places.latitude, land.elevation, climate.winter, climate.summer)
        return cls(climate.seed, *(np.ascontiguousarray(array, np.float64).ravel() for array in arrays))

    def tops(self, day: int, which: int, hours: Array, view_zenith: Array) -> Array:
        day_of_year = (ORIGIN + dt.timedelta(day)).timetuple().tm_yday - 1.0
        threshold = self.winter + monsoon(day_of_year) * (self.summer - self.winter)
        return np.asarray(
            _tops(
                self.longitude,
                self.latitude,
                hours,
                view_zenith,
                bool(ASCENDING[which]),
                threshold,
                self.elevation,
                self.seed,
            )
        )


def seen_tops(seed: int, window: Window, dates: Sequence[dt.date], which: int) -> NDArray[np.float32]:
    """Return the heights above sea level [m] of the clouds that an overpass by day sees at a window's pixels.

    (time, y, x) float32; NaN where the line of sight is clear, or no swath reaches.
    """
    sky = _Sky.over(seed, window.places())
    tops = np.empty((len(dates), window.height, window.width), np.float32)
    for place, date in enumerate(dates):
        day = day_number(date)
        views = _views(sky.longitude, sky.latitude, day, NODE_HOUR[which], NODE_PHASE[which], bool(ASCENDING[which]))
        tops[place] = sky.tops(day, which, *views).reshape(tops.shape[1:])
    return tops


# ---- a field ------------------------------------------------------------------------------------------------------


def prepare_field(folder: Path, simulation: Simulation) -> int:
    """Make the field ready for its chunks; return how many there are along time."""
    geobox, dates = _field_geobox(simulation), _dates(simulation)
    n = _cells_per_tile(simulation)
    coords = {str(name): coord for name, coord in xr_coords(geobox, dims=("y", "x")).items()}
    coords |= {
        "time": xr.DataArray(np.array(dates, "datetime64[ns]"), dims="time", attrs={"long_name": "UTC day"}),
        "overpass": xr.DataArray(
            np.array([0, 1], "int8"), dims="overpass", attrs={"flag_meanings": "terra_day aqua_day"}
        ),
    }
    cube = xr.Dataset(coords=coords, attrs={"Conventions": "CF-1.11", "source": SIMULATED})
    encoding = {"time": {"units": "days since 2000-01-01", "calendar": "standard", "dtype": "int32"}}
    cube.to_zarr(folder / FIELD_NAME, mode="w", consolidated=False, zarr_format=3, encoding=encoding)
    zarr.open_group(folder / FIELD_NAME, mode="r+").create_array(
        "cloud_top_height",
        shape=(len(dates), 2, *geobox.shape),
        chunks=(DAYS_TOGETHER, 1, n, n),
        dtype="int16",
        fill_value=_MISSING,
        dimension_names=("time", "overpass", "y", "x"),
        attributes={
            "long_name": "height of cloud tops above sea level",
            "units": "m",
            "grid_mapping": "spatial_ref",
            "_FillValue": _MISSING,
            "source": SIMULATED,
        },
    )
    return -(-len(dates) // DAYS_TOGETHER)


def write_field(folder: Path, simulation: Simulation, tile: Tile, chunk: int) -> None:
    """Write a tile's chunk of the field."""
    n, dates = _cells_per_tile(simulation), _dates(simulation)
    window = Window.of_tile(tile, n)
    days = slice(chunk * DAYS_TOGETHER, min((chunk + 1) * DAYS_TOGETHER, len(dates)))
    tops = np.stack([seen_tops(simulation.seed, window, dates[days], which) for which in BY_DAY.values()], axis=1)
    stored = np.where(np.isfinite(tops), np.rint(tops), _MISSING).astype(np.int16)
    left, top = (min(getattr(each, axis) for each in simulation.tile_addresses) for axis in "hv")
    rows, columns = (slice((at - first) * n, (at - first + 1) * n) for at, first in ((tile.v, top), (tile.h, left)))
    region = {"time": days, "overpass": slice(0, 2), "y": rows, "x": columns}
    block = xr.Dataset({"cloud_top_height": (("time", "overpass", "y", "x"), stored)})
    block.to_zarr(folder / FIELD_NAME, region=region, consolidated=False)


def _dates(simulation: Simulation) -> list[dt.date]:
    return [
        dt.date(year, 1, 1) + dt.timedelta(day)
        for year in simulation.years
        for day in range((dt.date(year + 1, 1, 1) - dt.date(year, 1, 1)).days)
    ]


def _cells_per_tile(simulation: Simulation) -> int:
    n = simulation.pixels_per_tile
    return max(cells for cells in range(1, MOST_CELLS + 1) if n % cells == 0)


def _field_geobox(simulation: Simulation) -> GeoBox:
    return region_geobox(tiles=simulation.tiles, pixels_per_tile=_cells_per_tile(simulation))


# ---- swaths -------------------------------------------------------------------------------------------------------


class Granule(NamedTuple):
    """A simulated granule of the cloud product, (row, column)."""

    product: str
    begins: dt.datetime
    hours: Array
    """When each line is seen [h from the origin, UTC]."""
    longitude: Array
    latitude: Array
    view_zenith: Array
    """[rad]."""
    tops: Array
    """Heights of cloud tops above sea level [m]; NaN where clear."""

    @property
    def name(self) -> str:
        """The file's name, its production stamp a pure function of the rest."""
        stem = f"{self.product}.A{self.begins:%Y%j.%H%M}.061"
        made = self.begins + dt.timedelta(days=30, seconds=zlib.crc32(stem.encode()) % 86400)
        return f"{stem}.{made:%Y%j%H%M%S}.hdf"


def write_swaths(folder: Path, simulation: Simulation, product: str, first: dt.date, last: dt.date) -> None:
    """Write the granules of some days that see any of the tiles by day."""
    for granule in granules(simulation, product, first, last):
        where = folder / SWATHS_NAME / product / str(granule.begins.year)
        where.mkdir(parents=True, exist_ok=True)
        write_granule(where / granule.name, granule)


def granules(simulation: Simulation, product: str, first: dt.date, last: dt.date) -> Iterator[Granule]:
    """Yield the granules of some days that see any of the tiles by day."""
    which, cell_km = BY_DAY[product], max(5.0, simulation.pixel_km / 3.0)
    bounds = _bounds(simulation)
    # day 0 begins with the origin; revolution k passes its node k + phase periods later
    begin, end = day_number(first), day_number(last) + 1
    for revolution in range(math.floor(begin / PERIOD) - 1, math.ceil(end / PERIOD) + 1):
        node = (revolution + NODE_PHASE[which]) * PERIOD
        leg = PERIOD / (2 * math.pi) * math.asin(math.sin(math.radians(_HIGHEST_LATITUDE)) / math.sin(INCLINATION))
        step = GRANULE_MINUTES / 1440
        for number in range(math.floor((node - leg) / step), math.ceil((node + leg) / step)):
            begins = dt.datetime.combine(ORIGIN, dt.time()) + dt.timedelta(minutes=GRANULE_MINUTES * number)
            if not first <= begins.date() <= last:
                continue
            shape = round(LINES_KM / cell_km), round(SAMPLES_KM / cell_km)
            laid = _laid_out(which, revolution, number * step, shape)
            if laid is not None and _meets(laid[1], laid[2], bounds):
                yield _seen(simulation.seed, product, begins, laid, cell_km)


def _laid_out(
    which: int, revolution: int, begins: float, shape: tuple[int, int]
) -> tuple[Array, Array, Array, Array] | None:
    """Return when lines are seen [h], and longitude, latitude [°] and signed view zenith [rad] of cells.

    None where the satellite comes too near to a pole.
    """
    rows, columns = shape
    moments = begins + (np.arange(rows) + 0.5) / rows * GRANULE_MINUTES / 1440  # [d]
    ascending = bool(ASCENDING[which])
    turns = moments / PERIOD - revolution - NODE_PHASE[which]
    argument = 2 * math.pi * (turns if ascending else -turns)
    sine = np.sin(argument) * math.sin(INCLINATION)
    if (np.abs(argument) > math.pi / 2).any() or (np.abs(sine) > math.sin(math.radians(_HIGHEST_LATITUDE))).any():
        return None
    phi = np.arcsin(sine)
    offset = np.arctan2(math.cos(INCLINATION) * np.sin(argument), np.cos(argument)) * (1 if ascending else -1)
    # the local hour under the satellite is fixed at each latitude, so its longitude follows from the time
    local_hour = NODE_HOUR[which] + np.degrees(offset) / 15.0
    lam = np.radians((15.0 * local_hour - 360.0 * moments + 180.0) % 360.0 - 180.0)

    scan = ((np.arange(columns) + 0.5) / columns * 2.0 - 1.0) * LARGEST_SCAN  # negative: west of the track
    arc = np.arcsin((EARTH_RADIUS_KM + ALTITUDE_KM) / EARTH_RADIUS_KM * np.sin(scan)) - scan
    tilt = np.array([heading_tilt(latitude) for latitude in phi])
    eastward = math.pi / 2 - tilt if ascending else math.pi / 2 + tilt  # across the track, clockwise from north
    sine = np.sin(phi)[:, None] * np.cos(arc) + np.cos(phi)[:, None] * np.sin(arc) * np.cos(eastward)[:, None]
    turn = np.arctan2(
        np.sin(eastward)[:, None] * np.sin(arc) * np.cos(phi)[:, None], np.cos(arc) - np.sin(phi)[:, None] * sine
    )
    longitude = (np.degrees(lam[:, None] + turn) + 180.0) % 360.0 - 180.0
    zenith = np.broadcast_to(arc + scan, longitude.shape)
    return 24.0 * moments, longitude, np.degrees(np.arcsin(sine)), zenith


def _seen(
    seed: int, product: str, begins: dt.datetime, laid: tuple[Array, Array, Array, Array], cell_km: float
) -> Granule:
    hours, longitude, latitude, zenith = laid
    sky = _Sky.over(seed, Places(longitude, latitude, cell_km))
    each = np.repeat(hours, longitude.shape[1])
    tops = sky.tops(day_number(begins.date()), BY_DAY[product], each, np.ascontiguousarray(zenith).ravel())
    return Granule(product, begins, hours, longitude, latitude, np.abs(zenith), tops.reshape(longitude.shape))


def _bounds(simulation: Simulation) -> Bounds:
    corners = [tile_bounds(tile) for tile in simulation.tile_addresses]
    west, south, east, north = zip(*corners, strict=True)
    return min(west), min(south), max(east), max(north)


def _meets(longitude: Array, latitude: Array, bounds: Bounds) -> bool:
    west, south, east, north = bounds
    inside = (longitude >= west) & (longitude <= east) & (latitude >= south) & (latitude <= north)
    return bool(inside.any())


# ---- files --------------------------------------------------------------------------------------------------------

_SPHERE = "Internal geolocation arrays"
_KINDS = {"float32": SDC.FLOAT32, "float64": SDC.FLOAT64, "int16": SDC.INT16}
_TAI_ORIGIN = dt.datetime(1993, 1, 1)
_ALONG, _ACROSS = "Cell_Along_Swath_5km", "Cell_Across_Swath_5km"


class _Layer(NamedTuple):
    name: str
    dtype: str
    title: str
    units: str
    valid_range: tuple[float, float]
    fill: float
    scale: float
    stored: NDArray[Any]


def _layers(granule: Granule) -> list[_Layer]:
    def scaled(degrees: Array) -> NDArray[np.int16]:
        return np.rint(100.0 * degrees).astype(np.int16)

    day_angle = 2 * math.pi * (granule.begins.timetuple().tm_yday - 1) / 365
    tilt, equation = float(solar_declination(day_angle)), float(equation_of_time(day_angle)) / 60
    local = (granule.hours[:, None] + granule.longitude / 15.0) % 24.0
    sun = np.array(
        [
            sun_position(lat, hour, tilt, equation)[0]
            for lat, hour in zip(granule.latitude.flat, local.flat, strict=True)
        ]
    ).reshape(local.shape)
    tai = (dt.datetime.combine(ORIGIN, dt.time()) - _TAI_ORIGIN).total_seconds() + 3600.0 * granule.hours
    tops = np.where(np.isfinite(granule.tops), 50.0 * np.rint(granule.tops / 50.0), -32767).astype(np.int16)
    position = {"dtype": "float32", "fill": -999.9, "scale": 1.0}
    angle = {"dtype": "int16", "units": "degrees", "valid_range": (0, 18000), "fill": -32767, "scale": 0.01}
    return [
        _Layer(
            "Latitude",
            title="Geodetic Latitude",
            units="degrees_north",
            valid_range=(-90.0, 90.0),
            stored=granule.latitude.astype(np.float32),
            **position,  # type: ignore[arg-type]
        ),
        _Layer(
            "Longitude",
            title="Geodetic Longitude",
            units="degrees_east",
            valid_range=(-180.0, 180.0),
            stored=granule.longitude.astype(np.float32),
            **position,  # type: ignore[arg-type]
        ),
        _Layer(
            "Scan_Start_Time",
            "float64",
            "TAI time at start of scan replicated across the swath",
            "seconds since 1993-1-1 00:00:00.0 0",
            (0.0, 3155800064.0),
            -999.9,
            1.0,
            np.broadcast_to(tai[:, None], granule.tops.shape).astype(np.float64),
        ),
        _Layer("Solar_Zenith", title="Solar Zenith Angle, Cell to Sun", stored=scaled(np.degrees(sun)), **angle),  # type: ignore[arg-type]
        _Layer(
            "Sensor_Zenith",
            title="Sensor Zenith Angle, Cell to Sensor",
            stored=scaled(np.degrees(granule.view_zenith)),
            **angle,  # type: ignore[arg-type]
        ),
        _Layer(
            "Cloud_Top_Height",
            "int16",
            "Geopotential Height at Retrieved Cloud Top Pressure Level (rounded to nearest 50 m)",
            "meters",
            (0, 18000),
            -32767,
            1.0,
            tops,
        ),
    ]


def write_granule(path: Path, granule: Granule, *, swath: str = "mod06") -> None:
    """Write a granule as an HDF-EOS2 swath."""
    layers = _layers(granule)
    rows, columns = granule.tops.shape
    with HDF4_LIBRARY, tempfile.TemporaryDirectory(prefix="frostmap-simulate-") as folder:
        draft = str(Path(folder) / "m").ljust(_PATH_LENGTH, "m")
        file = SD(draft, SDC.WRITE | SDC.CREATE | SDC.TRUNC)
        references = []
        for layer in layers:
            kind = _KINDS[layer.dtype]
            array = file.create(layer.name, kind, (rows, columns))
            array.dim(0).setname(f"{_ALONG}:{swath}")
            array.dim(1).setname(f"{_ACROSS}:{swath}")
            array.attr("valid_range").set(kind, list(layer.valid_range))
            array.attr("_FillValue").set(kind, layer.fill)
            array.attr("long_name").set(SDC.CHAR, layer.title)
            array.attr("units").set(SDC.CHAR, layer.units)
            array.attr("scale_factor").set(SDC.FLOAT64, layer.scale)
            array.attr("add_offset").set(SDC.FLOAT64, 0.0)
            array.attr("Parameter_Type").set(SDC.CHAR, "Output" if layer.name.startswith("Cloud") else "MODIS Input")
            array.attr("Cell_Along_Swath_Sampling").set(SDC.INT32, [3, 5 * rows - 2, 5])
            array.attr("Cell_Across_Swath_Sampling").set(SDC.INT32, [3, 5 * columns - 2, 5])
            array.attr("Geolocation_Pointer").set(SDC.CHAR, _SPHERE)
            array.setcompress(SDC.COMP_DEFLATE, 2)
            array[:] = layer.stored
            references.append(array.ref())
            array.endaccess()
        file.attr("HDFEOSVersion").set(SDC.CHAR, "HDFEOS_V2.19")
        file.attr("StructMetadata.0").set(SDC.CHAR, struct_metadata(layers, swath, (rows, columns)))
        file.attr("CoreMetadata.0").set(SDC.CHAR, core_metadata(granule))
        file.attr("identifier_product_doi").set(SDC.CHAR, load_collection(granule.product.lower()).doi)
        file.attr("comment").set(SDC.CHAR, SIMULATED)
        file.end()
        _group_as_swath(draft, swath, references)
        # the library writes the file's path into it; neither place nor length of the path may show
        content = Path(draft).read_bytes().replace(draft.encode(), b"simulated".ljust(len(draft)))
    path.write_bytes(content)


def struct_metadata(layers: Sequence[_Layer], swath: str, shape: tuple[int, int]) -> str:
    """Return the text that makes an HDF4 file an HDF-EOS2 swath."""
    dimensions = "".join(
        f'\t\t\tOBJECT=Dimension_{number}\n\t\t\t\tDimensionName="{name}"\n\t\t\t\tSize={size}\n'
        f"\t\t\tEND_OBJECT=Dimension_{number}\n"
        for number, (name, size) in enumerate(zip((_ALONG, _ACROSS), shape, strict=True), 1)
    )

    def fields(kind: str, chosen: Sequence[_Layer]) -> str:
        listed = "".join(
            f'\t\t\tOBJECT={kind}_{number}\n\t\t\t\t{kind}Name="{layer.name}"\n'
            f"\t\t\t\tDataType=DFNT_{layer.dtype.upper()}\n"
            f'\t\t\t\tDimList=("{_ALONG}","{_ACROSS}")\n\t\t\tEND_OBJECT={kind}_{number}\n'
            for number, layer in enumerate(chosen, 1)
        )
        return f"\t\tGROUP={kind}\n{listed}\t\tEND_GROUP={kind}\n"

    return (
        f'GROUP=SwathStructure\n\tGROUP=SWATH_1\n\t\tSwathName="{swath}"\n'
        f"\t\tGROUP=Dimension\n{dimensions}\t\tEND_GROUP=Dimension\n"
        "\t\tGROUP=DimensionMap\n\t\tEND_GROUP=DimensionMap\n"
        "\t\tGROUP=IndexDimensionMap\n\t\tEND_GROUP=IndexDimensionMap\n"
        f"{fields('GeoField', layers[:2])}{fields('DataField', layers[2:])}"
        "\t\tGROUP=MergedFields\n\t\tEND_GROUP=MergedFields\n\tEND_GROUP=SWATH_1\nEND_GROUP=SwathStructure\n"
        "GROUP=GridStructure\nEND_GROUP=GridStructure\nGROUP=PointStructure\nEND_GROUP=PointStructure\nEND\n"
    )


def core_metadata(granule: Granule) -> str:
    """Return the text that says which granule a file is."""
    ends = granule.begins + dt.timedelta(minutes=GRANULE_MINUTES)
    groups = {
        "ECSDATAGRANULE": {"LOCALGRANULEID": f'"{granule.name}"'},
        "COLLECTIONDESCRIPTIONCLASS": {"SHORTNAME": f'"{granule.product}"', "VERSIONID": "61"},
        "RANGEDATETIME": {
            "RANGEBEGINNINGDATE": f'"{granule.begins:%Y-%m-%d}"',
            "RANGEBEGINNINGTIME": f'"{granule.begins:%H:%M:%S}.000000"',
            "RANGEENDINGDATE": f'"{ends:%Y-%m-%d}"',
            "RANGEENDINGTIME": f'"{ends:%H:%M:%S}.000000"',
        },
    }
    lines = ["", "GROUP                  = INVENTORYMETADATA", "  GROUPTYPE            = MASTERGROUP", ""]
    for group, values in groups.items():
        lines.append(f"  GROUP                  = {group}")
        for name, value in values.items():
            lines += [f"    OBJECT                 = {name}", "      NUM_VAL              = 1"]
            lines += [f"      VALUE                = {value}", f"    END_OBJECT             = {name}", ""]
        lines += [f"  END_GROUP              = {group}", ""]
    return "\n".join([*lines, "END_GROUP              = INVENTORYMETADATA", "", "END", ""])


def _group_as_swath(path: str, swath: str, references: Sequence[int]) -> None:
    file = HDF(path, HC.WRITE)
    groups = file.vgstart()
    outer, positions, fields, attributes = (groups.attach(-1, write=1) for _ in range(4))
    outer._name, outer._class = swath, "SWATH"
    names = ("Geolocation Fields", "Data Fields", "Swath Attributes")
    for group, name in zip((positions, fields, attributes), names, strict=True):
        group._name, group._class = name, "SWATH Vgroup"
    for place, reference in enumerate(references):
        (positions if place < 2 else fields).add(HC.DFTAG_NDG, reference)
    for group in (positions, fields, attributes):
        outer.insert(group)
    for group in (positions, fields, attributes, outer):
        group.detach()
    groups.end()
    file.close()
