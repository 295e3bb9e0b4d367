"""The cube's variables: what they are called, their dimensions, types and units, and whether a cube has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from frostmap.pipeline.errors import FrostmapError

SPATIAL = ("y", "x")
OVERPASSES = ("terra_day", "aqua_day", "terra_night", "aqua_night")
"""Order of the overpass axis: Terra 10:30, Aqua 13:30, Terra 22:30, Aqua 01:30 local time."""


class SchemaError(FrostmapError):
    """A cube lacks what a stage reads, or a stage wrote what it should not."""


@dataclass(frozen=True)
class Variable:
    """One variable of the cube."""

    name: str
    dims: tuple[str, ...]
    dtype: str
    units: str
    long_name: str
    fill: float | int | None = None
    """What missing pixels hold; NaN for floating point if None."""
    scale: float | None = None
    """Stored counts times this are in `units`."""
    offset: float | None = None
    """Added after scaling."""

    @property
    def fill_value(self) -> float | int:
        """What a pixel holds that was never written."""
        if self.fill is not None:
            return self.fill
        return float("nan") if np.dtype(self.dtype).kind == "f" else 0

    @property
    def attrs(self) -> dict[str, str | float]:
        """CF attributes."""
        attrs: dict[str, str | float] = {
            "long_name": self.long_name,
            "units": self.units,
            "grid_mapping": "spatial_ref",
        }
        optional = {"scale_factor": self.scale, "add_offset": self.offset, "_FillValue": self.fill}
        return attrs | {name: value for name, value in optional.items() if value is not None}


def check(cube: xr.Dataset, variables: Iterable[Variable], where: str) -> xr.Dataset:
    """Return the cube if it has the variables; metadata only, nothing is computed.

    Raises
    ------
    SchemaError
        With every fault found, not only the first.
    """
    faults = [fault for variable in variables for fault in _faults(cube, variable)]
    if faults:
        raise SchemaError(
            f"{where}: the cube does not have what is wanted",
            found="; ".join(faults),
            wanted=", ".join(v.name for v in variables),
            remedy="delete the work directory's cube.zarr and run again, or correct the stage",
        )
    return cube


def _faults(cube: xr.Dataset, variable: Variable) -> list[str]:
    if variable.name not in cube:
        return [f"no variable '{variable.name}'; there are {sorted(map(str, cube.data_vars))}"]
    array = cube[variable.name]
    faults = []
    if array.dims != variable.dims:
        faults.append(f"'{variable.name}' has dimensions {array.dims}, not {variable.dims}")
    if array.dtype != np.dtype(variable.dtype):
        faults.append(f"'{variable.name}' is {array.dtype}, not {variable.dtype}")
    if array.attrs.get("units") != variable.units:
        faults.append(f"'{variable.name}' has units '{array.attrs.get('units')}', not '{variable.units}'")
    return faults


OBSERVED = ("time", "overpass", "y", "x")

LST = Variable("lst", OBSERVED, "uint16", "K", "land surface temperature", fill=0, scale=0.02)
QC = Variable("qc", OBSERVED, "uint8", "1", "quality bits", fill=3)  # 3: not produced, other than cloud
VIEW_TIME = Variable("view_time", OBSERVED, "uint8", "h", "local mean solar time of view", fill=255, scale=0.1)
VIEW_ANGLE = Variable("view_angle", OBSERVED, "uint8", "degree", "signed view zenith angle", fill=255, offset=-65.0)
RAW = (LST, QC, VIEW_TIME, VIEW_ANGLE)

NDVI_SERIES = Variable("ndvi", ("composite", "y", "x"), "float32", "1", "NDVI of 16-day composites")

SNOW_BY_MONTH = Variable(
    "snow_by_month", ("month", "y", "x"), "float32", "%", "mean snow cover of the days that were seen"
)
SNOW_DAYS = Variable("days_seen", ("month", "y", "x"), "int16", "d", "days of the month whose snow cover was seen")
SNOW_YEAR = (SNOW_BY_MONTH, SNOW_DAYS)

ANNUAL_CYCLE = Variable(
    "annual_cycle", ("harmonic", "overpass", "y", "x"), "float32", "degC", "mean, cosine and sine terms of clear days"
)
ANNUAL_SPREAD = Variable("spread", ("overpass", "y", "x"), "float32", "K", "spread of clear days about the cycle")
CLEAR_OBSERVATIONS = Variable(
    "clear_observations", ("overpass", "y", "x"), "int16", "1", "clear observations in the epoch"
)

STATE = Variable(
    "state",
    OBSERVED,
    "uint8",
    "1",
    "observed: 0 to 3, the class of its error; else why not: 4 cloud, 5 not produced, 6 doubtful, 7 residual cloud; "
    "+16 view interpolated, +32 no swath",
    fill=5,
)
STATE_KINDS = (
    *(f"observed, {error}" for error in ("error <= 1 K", "error <= 2 K", "error <= 3 K", "error > 3 K")),
    "cloud",
    "not produced",
    "doubtful",
    "residual cloud",
)
"""What pictures call the numbers of `STATE`, in order."""
OBSERVATIONS = (LST, STATE, VIEW_TIME, VIEW_ANGLE)

CLOUD_TOP = Variable("cloud_top", OBSERVED, "int16", "m", "height of cloud tops above sea level", fill=-9999)
SKY = Variable(
    "sky",
    OBSERVED,
    "uint8",
    "1",
    "0 clear, 1 cloud over sunlit ground, 2 cloud over shaded ground, 3 clear in a cloud's shadow, 4 night cloud, "
    "5 no swath, 6 clear amid clouds, 7 in shadow amid clouds",
    fill=255,
)
SKY_KINDS = (
    "clear",
    "sunlit_cloud",
    "shaded_cloud",
    "shadow",
    "night_cloud",
    "no_swath",
    "clear_amid_clouds",
    "shadow_amid_clouds",
)
"""What tables call the numbers of `SKY`, in order."""
OBSERVED_KINDS = ("clear", "shadow", "clear_amid_clouds", "shadow_amid_clouds")

FILLED_LST = Variable("lst", OBSERVED, "uint16", "K", "gap-filled land surface temperature", fill=0, scale=0.02)
SIGMA = Variable("sigma", OBSERVED, "float16", "K", "standard error of the temperature")
FILL_FLAG = Variable(
    "fill_flag",
    OBSERVED,
    "uint8",
    "1",
    "bits 0-2: sky; 3: from the annual cycle; 4: view interpolated; 5: no model of the shading; 6: residual cloud; "
    "255 missing",
    fill=255,
)
FILLED = (FILLED_LST, SIGMA, FILL_FLAG)

FREEZING = Variable("freezing", SPATIAL, "float32", "degC d", "freezing degree-day sum of the year (DDF)")
THAWING = Variable("thawing", SPATIAL, "float32", "degC d", "thawing degree-day sum of the year, skin (DDT)")
THAWING_BY_INTERVAL = Variable(
    "thawing_by_interval", ("interval", "y", "x"), "float32", "degC d", "thawing sums of 16-day intervals, skin"
)
VALID_DAYS = Variable("valid_days", SPATIAL, "int16", "d", "days with a daily mean")
YEAR = (FREEZING, THAWING, THAWING_BY_INTERVAL, VALID_DAYS)

DDF = Variable("ddf", SPATIAL, "float32", "degC d", "mean annual freezing degree-day sum")
DDT = Variable("ddt", SPATIAL, "float32", "degC d", "mean annual thawing degree-day sum of the ground")
FORCING = (DDF, DDT)

ELEVATION = Variable("elevation", SPATIAL, "float32", "m", "elevation")
SLOPE = Variable("slope", SPATIAL, "float32", "degree", "slope")
NORTHNESS = Variable("northness", SPATIAL, "float32", "1", "cosine of aspect times sine of slope")
EASTNESS = Variable("eastness", SPATIAL, "float32", "1", "sine of aspect times sine of slope")
WETNESS = Variable("wetness", SPATIAL, "float32", "ln(m)", "topographic wetness index")
NDVI = Variable("ndvi", SPATIAL, "float32", "1", "mean NDVI")
SNOW_COVER = Variable("snow_cover", SPATIAL, "float32", "%", "mean fractional snow cover")
PRECIPITATION = Variable("precipitation", SPATIAL, "float32", "mm", "mean annual precipitation")
SAND = Variable("sand", SPATIAL, "float32", "%", "sand content")
CLAY = Variable("clay", SPATIAL, "float32", "%", "clay content")


def coverage_of(variable: Variable) -> Variable:
    """Return the variable that says what share of each pixel a source has values for."""
    return Variable(
        f"{variable.name}_coverage", SPATIAL, "float32", "1", f"share of the pixel with {variable.long_name}"
    )


def missing_of(variable: Variable) -> Variable:
    """Return the variable that says why a pixel lacks another."""
    return Variable(
        f"{variable.name}_missing",
        SPATIAL,
        "uint8",
        "1",
        f"why there is no {variable.long_name}: 0 there is, 1 beyond the source, 2 none in the source, "
        "3 numbers that cannot be; 255 outside the region",
        fill=255,
    )


TERRAIN = (ELEVATION, SLOPE, EASTNESS, NORTHNESS, WETNESS)
PREDICTORS = (ELEVATION, SLOPE, NORTHNESS, EASTNESS, WETNESS, NDVI, SNOW_COVER, PRECIPITATION, SAND, CLAY)
"""The paper's nine predictors of E; aspect counts as one and needs two numbers."""

FILLED_PREDICTORS = Variable(
    "filled",
    SPATIAL,
    "uint16",
    "1",
    "which predictors are the mean of the pixels around, a bit each: " + ", ".join(v.name for v in PREDICTORS),
)

INSIDE = Variable("inside", SPATIAL, "bool", "1", "pixel centre inside the region")
LAKES = Variable("lakes", SPATIAL, "float32", "1", "lake fraction")
GLACIERS = Variable("glaciers", SPATIAL, "float32", "1", "glacier fraction")
MASKS = (INSIDE, LAKES, GLACIERS)

CLUSTER = Variable("cluster", SPATIAL, "int16", "1", "soil cluster, 0 none")
SOIL_E = Variable("e", SPATIAL, "float32", "1", "soil parameter E")
E_SIGMA = Variable("e_sigma", SPATIAL, "float32", "1", "standard error of E")
E_LOWER = Variable("e_lower", SPATIAL, "float32", "1", "5 % quantile of E")
E_MEDIAN = Variable("e_median", SPATIAL, "float32", "1", "median of E")
E_UPPER = Variable("e_upper", SPATIAL, "float32", "1", "95 % quantile of E")
E_QUANTILES = {0.05: E_LOWER, 0.5: E_MEDIAN, 0.95: E_UPPER}
DISSIMILARITY = Variable(
    "dissimilarity", SPATIAL, "float32", "1", "distance to the nearest training sample, of the samples' mean distance"
)
APPLICABLE = Variable(
    "applicable",
    SPATIAL,
    "uint8",
    "1",
    "1 as like the training samples as these are to each other, 0 more unlike than was ever tried",
    fill=255,
)
PREDICTED = (SOIL_E, E_SIGMA, *E_QUANTILES.values(), DISSIMILARITY, APPLICABLE)

FROST_NUMBER = Variable("frost_number", SPATIAL, "float32", "1", "frost number F")
PROBABILITY = Variable("permafrost_probability", SPATIAL, "float32", "1", "probability that the ground is permafrost")
FROZEN_GROUND = Variable(
    "frozen_ground",
    SPATIAL,
    "uint8",
    "1",
    "frozen ground: 1 permafrost, 2 seasonally frozen, 3 non-frozen, 4 glacier, 5 lake",
    fill=255,
)

TRANSITION = Variable(
    "transition",
    SPATIAL,
    "uint8",
    "1",
    "class before times ten, plus class after: 11 permafrost in both, 12 permafrost to seasonally frozen, ...",
    fill=255,
)
FREEZING_PART = Variable("change_by_freezing", SPATIAL, "float32", "1", "change of the frost number by freezing sums")
THAWING_PART = Variable("change_by_thawing", SPATIAL, "float32", "1", "change of the frost number by thawing sums")
SOIL_PART = Variable("change_by_soil", SPATIAL, "float32", "1", "change of the frost number by E")
CHANGE_SCORE = Variable(
    "change_score", SPATIAL, "float32", "1", "change of ln(DDF / (E2 DDT)), in standard errors; below 0 towards thaw"
)
CHANGE_CAUSE = Variable(
    "change_cause",
    SPATIAL,
    "uint8",
    "1",
    "what changed the class: 0 it did not change, 1 forcing alone, 2 E alone, 3 either would, 4 only both; 255 none",
    fill=255,
)
CHANGE = (TRANSITION, FREEZING_PART, THAWING_PART, SOIL_PART, CHANGE_SCORE, CHANGE_CAUSE)

YEAR_CLASSES = Variable(
    "frozen_ground",
    ("year", "y", "x"),
    "uint8",
    "1",
    "frozen ground of a single year: 1 permafrost, 2 seasonally frozen, 3 non-frozen, 4 glacier, 5 lake",
    fill=255,
)
YEARS_PERMAFROST = Variable(
    "years_permafrost", SPATIAL, "uint8", "1", "years of the epoch that are permafrost", fill=255
)
YEARS_KNOWN = Variable("years_known", SPATIAL, "uint8", "1", "years of the epoch that have a class", fill=255)
YEARS_AGREEING = Variable(
    "years_agreeing", SPATIAL, "uint8", "1", "years of the epoch whose class is that of the epoch's map", fill=255
)
SINGLE_YEARS = (YEAR_CLASSES, YEARS_PERMAFROST, YEARS_KNOWN, YEARS_AGREEING)

GROUND_TEMPERATURE = Variable(
    "ground_temperature", SPATIAL, "float32", "degC", "mean ground temperature, of maps of temperature"
)
PERMAFROST_SHARE = Variable(
    "permafrost_share", SPATIAL, "float32", "1", "share of permafrost, or its probability, of maps of either"
)
REFERENCE = (FROZEN_GROUND, GROUND_TEMPERATURE, PERMAFROST_SHARE)
"""Of a map that the map is compared with; seasonally frozen is all that is not permafrost, where it does not tell."""
INCONSISTENCY = Variable(
    "inconsistency",
    SPATIAL,
    "uint8",
    "1",
    "permafrost: 0 in neither map, 1 in both, 2 in the run's own alone, 3 in the reference map alone",
    fill=255,
)
