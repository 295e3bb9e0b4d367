"""A recipe: one YAML file that says what a run is."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from frostmap.catalogs.elevation import ModelId
from frostmap.catalogs.gridded import PrecipitationId, SnowId, SoilId
from frostmap.catalogs.reference_maps import RULES, Ground, Holds, ReferenceId, Rule, Units
from frostmap.kernels.diurnal_cycle import DailyMean
from frostmap.kernels.drainage import Flow
from frostmap.pipeline.errors import UserError

EpochName = str
"""training or target."""
Fraction = Annotated[float, Field(ge=0, le=1)]
TileName = Annotated[str, Field(pattern=r"^h\d{2}v\d{2}$")]

_ADDRESS_ALONE = re.compile(r"s3://[^/:@]+/|https?://[^@]*$")
_MAY_HOLD_A_PASSWORD = re.compile(r"@|//[^/]*:(?!\d+(/|$))")
"""A name and a password before a host, or what may be the beginning of them."""


class Section(BaseModel):
    """A part of a recipe: frozen, strict, and closed to keys that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class PolygonLayer(Section):
    """Some of the polygons in a file."""

    path: Path
    layer: str = ""
    """Its layer, where it has several."""
    where: str = ""
    """Which of the features, as in SQL, such as `year = 2020`; all if left out."""


_PATH, _LAYER, _CATALOGUE, _TABLE = "a path", "a layer", "a catalogue", "a table"
_RASTERS, _SERIES = "a raster for each epoch", "a gridded series"
_TAGS = (_PATH, _LAYER, _CATALOGUE, _TABLE, _RASTERS, _SERIES)
"""What a source is; pydantic puts it among the keys of its errors, and no key has a blank."""

PathOrLayer = Annotated[
    Annotated[Path, Tag(_PATH)] | Annotated[PolygonLayer, Tag(_LAYER)],
    Discriminator(lambda given: _LAYER if isinstance(given, (dict, PolygonLayer)) else _PATH),
]


class Region(Section):
    """Where: MODIS tiles, a box, an outline, or the grid of an existing raster."""

    tiles: tuple[TileName, ...] | None = None
    """MODIS tiles to map, such as [h25v05, h26v05]; found from the outline or box if left out."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north [degrees]."""
    outline: PathOrLayer | None = None
    """Polygons (GeoPackage, shapefile, GeoJSON); only pixels whose centre is inside are mapped."""
    grid_of: Path | None = None
    """A raster whose own grid is used; for runs that start from given freezing and thawing sums."""
    pixels_per_tile: Annotated[int, Field(ge=4, le=4800)] = 1200
    """1200 is MODIS's own 1 km; smaller numbers are the coarser lattices of simulations."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not (self.tiles or self.bbox or self.outline or self.grid_of):
            raise ValueError("say where: one of tiles, bbox, outline, grid_of")
        return self


class Epoch(Section):
    """Some years that are averaged to one map."""

    years: Annotated[tuple[Annotated[int, Field(ge=2000, le=2100)], ...], Field(min_length=1)]
    """Calendar years; Terra begins in 2000, Aqua in mid-2002."""
    label: str = ""
    """What figures and tables call it; the last year if left out."""

    @property
    def title(self) -> str:
        """The label, or the last year."""
        return self.label or str(max(self.years))

    @model_validator(mode="after")
    def _each_year_once(self) -> Self:
        if len(set(self.years)) != len(self.years):
            raise ValueError(f"each year once; found {list(self.years)}")
        return self


class Epochs(Section):
    """The epoch of the surveys, and the epoch to map."""

    training: Epoch
    target: Epoch | None = None

    def named(self) -> dict[EpochName, Epoch]:
        """Return the epochs that the recipe has, training first."""
        return {"training": self.training} | ({"target": self.target} if self.target else {})

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.target and set(self.training.years) & set(self.target.years):
            raise ValueError(f"training and target share {sorted(set(self.training.years) & set(self.target.years))}")
        return self


SourceKind = Literal["stac", "planetary-computer", "earthdata", "folder", "parquet"]


class Catalogue(Section):
    """Where granules are found."""

    kind: SourceKind = "stac"
    """What it is: a STAC API or static catalogue, one of two archives, a folder of granules, a GeoParquet snapshot."""
    catalogue: str = ""
    """URL or path; of planetary-computer and earthdata, their own address if left out."""
    second: Catalogue | None = None
    """Another source, asked for what this one does not have."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.kind in ("stac", "folder", "parquet") and not self.catalogue:
            raise ValueError(f"a source of kind '{self.kind}' needs a catalogue: its path or URL")
        return self

    def in_turn(self) -> list[Catalogue]:
        """Return this source, and those that are asked after it."""
        return [self, *(self.second.in_turn() if self.second else [])]


class VegetationCatalogue(Catalogue):
    """Where granules of vegetation indices are found."""

    product: Literal["mod13a1", "mod13a2"] = "mod13a1"
    """mod13a1: 500 m, averaged two by two; mod13a2: 1 km, not on Planetary Computer."""


class SnowCatalogue(Catalogue):
    """Where daily granules of the snow index, MOD10A1, are found."""


class ElevationCatalogue(Catalogue):
    """Where the cells of an elevation model are found."""

    model: ModelId = "cop-dem-glo-90"
    """cop-dem-glo-90, nasadem (1 arc second), or srtm-v4.1 (CGIAR's, as in the paper; in folders only)."""

    @model_validator(mode="after")
    def _where_it_is(self) -> Self:
        kinds = ("folder",) if self.model == "srtm-v4.1" else ("stac", "planetary-computer", "folder")
        other = [each.kind for each in self.in_turn() if each.kind not in kinds]
        if other:
            raise ValueError(
                f"elevation of the model {self.model} is found in sources of kind {', '.join(kinds)}; "
                f"not {', '.join(other)}"
            )
        return self


PathOrCells = Annotated[
    Annotated[Path, Tag(_PATH)] | Annotated[ElevationCatalogue, Tag(_CATALOGUE)],
    Discriminator(lambda given: _CATALOGUE if isinstance(given, (dict, Catalogue)) else _PATH),
]


class ByEpoch(Section):
    """One raster for each epoch."""

    training: Path
    target: Path | None = None


class PrecipitationSeries(Section):
    """Months of precipitation, whose sums are averaged over the years of each epoch."""

    series: PrecipitationId
    """china-precipitation-1km (as in the paper), terraclimate, or era5-land."""
    folder: Path
    """Where its files are, under their archive's names."""


class SnowSeries(Section):
    """Days of snow cover, which are averaged over the years of each epoch."""

    series: SnowId
    """awt-modis-fsc: High Asia at 0.005°, as in the paper."""
    folder: Path
    """Where its files are, under their archive's names."""


class SoilSeries(Section):
    """Layers of sand and clay, which are averaged over a depth."""

    series: SoilId
    """shangguan-2013 (China, as in the paper), or soilgrids-2 (the world)."""
    folder: Path
    """Where its files are, under their archive's names."""
    depths: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] = (0.0, 200.0)
    """Between which layers count, each by its thickness [cm]."""


def _kind_of_source(given: Any) -> str:
    keys = given.keys() if isinstance(given, dict) else getattr(type(given), "model_fields", {}).keys()
    if "series" in keys:
        return _SERIES
    return _CATALOGUE if keys & {"kind", "catalogue"} else _RASTERS


PrecipitationSource = Annotated[
    Annotated[ByEpoch, Tag(_RASTERS)] | Annotated[PrecipitationSeries, Tag(_SERIES)],
    Discriminator(lambda given: _SERIES if _kind_of_source(given) == _SERIES else _RASTERS),
]
SnowSource = Annotated[
    Annotated[ByEpoch, Tag(_RASTERS)] | Annotated[SnowSeries, Tag(_SERIES)] | Annotated[SnowCatalogue, Tag(_CATALOGUE)],
    Discriminator(_kind_of_source),
]


class CoverByEpoch(Section):
    """What covers pixels, for each epoch: polygons, or a raster of shares of a pixel."""

    training: PathOrLayer
    target: PathOrLayer | None = None


class Forcing(Section):
    """Given mean annual degree-day sums [°C d]."""

    freezing: Path
    thawing: Path


class ForcingByEpoch(Section):
    """Given degree-day sums for each epoch."""

    training: Forcing
    target: Forcing | None = None


class Survey(Section):
    """A surveyed map: 1 permafrost, 2 seasonally frozen, 3 not surveyed."""

    name: str
    path: Path


class Stations(Section):
    """Weather stations with daily 0 cm ground temperature."""

    sites: Path | None = None
    """CSV: station, name, longitude, latitude, elevation. Left out where CMA's monthly files say it."""
    daily: Path
    """CSV: station, year, month, day, ground_temperature (0.1 °C, 32766 missing); or a folder of published files."""
    columns: dict[str, str] = {}
    """What the table of sites calls columns that it names differently, such as {longitude: lon_dd}."""
    coordinates: Literal["degrees", "degrees_minutes"] | None = None
    """How it writes longitude and latitude: 35.2167, or 35.13 or 3513 for 35° 13'; degrees if left out."""

    @field_validator("columns")
    @classmethod
    def _known(cls, given: dict[str, str]) -> dict[str, str]:
        known = ("station", "name", "longitude", "latitude", "elevation")
        unknown = sorted(given.keys() - {*known})
        if unknown:
            raise ValueError(f"a table of sites has the columns {', '.join(known)}; not {', '.join(unknown)}")
        return given


class BoreholeTable(Section):
    """A table of boreholes that must be told how to be read."""

    path: Path
    columns: dict[str, str] = {}
    """What it calls columns that are not recognised, such as {magt_10m: "T (10 m)"}."""
    coordinates: Literal["degrees", "degrees_minutes"] | None = None
    """How plain numbers are meant: 35.2167, or 35.13 or 3513 for 35° 13'; degrees if left out."""
    encoding: str | None = None
    """Of the text, such as gb18030 or utf-16; found out if left out."""


PathOrTable = Annotated[
    Annotated[Path, Tag(_PATH)] | Annotated[BoreholeTable, Tag(_TABLE)],
    Discriminator(lambda given: _TABLE if isinstance(given, (dict, BoreholeTable)) else _PATH),
]


class Sources(Section):
    """What is read. Relative paths start at the recipe's `data` folder."""

    lst: Catalogue | None = None
    """MOD11A1 and MYD11A1 granules."""
    ndvi: VegetationCatalogue | None = None
    """MOD13A1 or MOD13A2 granules."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts, or host:port, that granules may come from although they are private or not encrypted."""
    forcing: ForcingByEpoch | None = None
    """Ready degree-day sums; instead of lst."""
    cloud_top: CloudTops | None = None
    """Heights of cloud tops; without them all cloud counts as shading the ground below."""
    clusters: Path | None = None
    """Ready soil clusters (whole numbers from 1); instead of clustering the covariates."""
    elevation: PathOrCells | None = None
    """Elevation [m]: a raster in degrees, or where the cells of an elevation model are found."""
    soil: SoilSeries | None = None
    """Sand and clay by depth; or two rasters, the next two keys."""
    sand: Path | None = None
    """Sand [%], root zone or 0-2 m."""
    clay: Path | None = None
    """Clay [%]."""
    snow_cover: SnowSource | None = None
    """Mean fractional snow cover [%]: a series of days, MOD10A1 granules, or a raster of the mean for each epoch."""
    precipitation: PrecipitationSource | None = None
    """Mean annual precipitation [mm]: a series of months, or a raster of the mean for each epoch."""
    lakes: CoverByEpoch | None = None
    """Lakes: polygons (GeoPackage, shapefile, GeoJSON), or a raster of the share of each of its cells, 0 to 1."""
    glaciers: CoverByEpoch | None = None
    """Glaciers, as lakes."""
    surveys: tuple[Survey, ...] = ()
    """Maps of surveyed regions, of the training epoch."""
    stations: Stations | None = None
    """Ground temperatures for the correction of the thawing sums."""
    boreholes: PathOrTable | None = None
    """Boreholes that judge the last epoch's map: a table in any of the usual forms, or how it is to be read."""
    truth: ByEpoch | None = None
    """Where everything is simulated: bands ddf, ddt, e, frozen_ground."""

    @property
    def borehole_table(self) -> BoreholeTable | None:
        """The table of boreholes, and how it is to be read."""
        given = self.boreholes
        return BoreholeTable(path=given) if isinstance(given, Path) else given

    @model_validator(mode="after")
    def _some_forcing(self) -> Self:
        if self.lst is None and self.forcing is None:
            raise ValueError("name granules (sources.lst) or ready degree-day sums (sources.forcing)")
        if self.lst is not None and self.forcing is not None:
            raise ValueError("either granules (sources.lst) or ready degree-day sums (sources.forcing), not both")
        return self

    @model_validator(mode="after")
    def _one_soil(self) -> Self:
        given = [name for name in ("sand", "clay") if getattr(self, name) is not None]
        if self.soil is not None and given:
            raise ValueError(f"either a series (sources.soil) or rasters (sources.{given[0]}), not both")
        return self

    @property
    def texture(self) -> bool:
        """Whether sand and clay are known."""
        return self.soil is not None or (self.sand is not None and self.clay is not None)


class Downloads(Section):
    """How remote granules are fetched; changes no result."""

    folder: Path | None = None
    """Where they are kept, to be used again by other runs; `downloads` in the work directory if left out."""
    connections: Annotated[int, Field(ge=1, le=32)] = 6
    """Files at once, a worker."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    """Tries before a file counts as failed."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long a server may take to connect, and between two pieces."""


class Ingest(Section):
    """Granules into the raw cube."""

    bad_granules: Literal["refuse", "accept"] = "refuse"
    """refuse: the run ends after ingest with exit code 3 and the list. accept: they count as cloud, and are listed."""
    missing_granules: Literal["refuse", "accept"] = "accept"
    """Days that the catalogue does not have; archives have outages, so the default lists them and goes on."""


class Quality(Section):
    """Which observations are kept (science: QC bits of MOD11A1)."""

    max_lst_error_class: Annotated[int, Field(ge=0, le=3)] = 1
    """0: <= 1 K, 1: <= 2 K, 2: <= 3 K, 3: any."""
    max_emissivity_error_class: Annotated[int, Field(ge=0, le=3)] = 2
    """0: <= 0.01, 1: <= 0.02, 2: <= 0.04, 3: any."""
    residual_cloud_screen: bool = True
    """Drop what lies far off the median of the days around it: cloud that the mask missed."""


class Terrain(Section):
    """Slope, aspect and wetness from elevation."""

    order: Literal["slope_first", "dem_first"] = "slope_first"
    """slope_first: on the elevation model's own cells, then their means; dem_first: on cells of about a pixel, the
    means of the model's, as the paper may be read."""
    flow: Flow = "fd8"
    """How water divides: fd8, among all lower neighbours; d8, to the steepest; dinf, along the steepest facet."""
    wetness_margin_km: Annotated[float, Field(ge=0, le=1000)] = 50.0
    """How far around a piece of the map water is followed [km]; what comes from further is lacking."""


class Covariates(Section):
    """Predictors of E."""

    fill: Literal["none", "around"] = "none"
    """Pixels that lack a predictor. none: stay without; around: the mean of the known ones around, nearer ones
    counting for more (inverse square of the distance)."""
    fill_reach_km: Annotated[float, Field(gt=0, le=50)] = 5.0
    """Of around: how far known pixels may be [km]."""


class CloudTops(Section):
    """Heights of cloud tops, which say where clouds cast their shadows."""

    kind: Literal["constant", "field", "mod06"]
    """constant: one height above the ground; field: a gridded cube; mod06: a folder of MOD06_L2 and MYD06_L2 swaths."""
    height_m: Annotated[float, Field(gt=0, le=15000)] = 3000.0
    """Of kind constant: height above the ground [m]."""
    path: Path | None = None
    """Of kind field: a Zarr or NetCDF cube with `cloud_top_height` [m above sea level]; of kind mod06: the folder."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.kind != "constant" and self.path is None:
            raise ValueError(f"cloud tops of kind '{self.kind}' need a path")
        return self


class GapFilling(Section):
    """Observations that clouds took."""

    method: Literal["scsg", "annual_cycle", "harmonic"] = "scsg"
    """scsg: similar pixels of the days around, sorted by what sun, cloud and satellite see; annual_cycle: harmonics of
    the pixel plus the damped anomaly of the day's neighbourhood; harmonic: a robust harmonic series of each year."""
    slope: Literal["ols", "eof1", "major_axis"] = "ols"
    """How a day follows another among similar pixels: least squares, the published first EOF, or the major axis."""
    reference_days: Annotated[int, Field(ge=1, le=15)] = 7
    """Days before and after from which similar pixels are taken."""
    analogues: Annotated[int, Field(ge=30)] = 1000
    """Similar pixels that a relation between two days is made of."""
    clear_around: Fraction = 0.7
    """Of the 7 x 7 km around an observation, the share that must be observed for it to say anything of other pixels:
    between clouds, the cloud mask lets cold remains pass. 0 trusts all."""
    residuals: bool = True
    """Add the day's own departure around a pixel, interpolated from where the day is clear."""
    shading: bool = True
    """Correct pixels in the shadow of clouds by those that were seen in shadow; needs sources.cloud_top."""
    shaded_observations: Literal["observed", "clear_sky", "bias_corrected"] = "observed"
    """Pixels seen in the shadow of a cloud: as observed, as under clear sky, or corrected for the published bias."""
    harmonics: Annotated[int, Field(ge=1, le=4)] = 2
    """Of the annual cycle, and of the harmonic series."""
    minimum_observations: Annotated[int, Field(ge=10)] = 30
    """Fewer clear observations of an overpass in an epoch: no annual cycle; what nothing else fills stays missing."""
    tolerance: Annotated[float, Field(gt=0)] = 5.0
    """Of harmonic: observations further below the curve than this are dropped as cloud [K]."""
    anomaly_radius_km: Annotated[float, Field(gt=0, le=1000)] = 25.0
    """Half the width of the neighbourhood [km]."""
    anomaly_damping: Fraction = 0.5
    """How much of the neighbourhood's anomaly a cloudy pixel takes."""
    night_cloud_offset: Annotated[float, Field(ge=-5, le=10)] = 0.0
    """Added to filled night observations [K]."""


YearKind = Literal["calendar", "freezing"]


class DegreeDays(Section):
    """Daily means and their sums."""

    daily_mean: DailyMean = "sinusoid"
    """sinusoid: one wave through the day's overpasses, as the paper; sun_response: how a ground answers the sun;
    got09: a cosine by day, decay by night; sin_linear: a wave by day, a line by night; mean4: their plain mean."""
    dates: Literal["utc", "local"] = "utc"
    """utc: a day is what one file date holds, morning to the night after it; local: the date at the pixel."""
    year: YearKind = "calendar"
    """calendar; or freezing: from July to June, called by the year in which it ends."""
    minimum_days: Annotated[int, Field(ge=1, le=366)] = 350
    """Fewer valid days a year: the year is missing at that pixel."""


class Coefficients(Section):
    """A linear correction of thawing sums of 16 days: constant + thawing DDT + ndvi NDVI + latitude Lat."""

    constant: float = 0.0
    """[°C d]."""
    thawing: float
    """Of the skin's sum [°C d / °C d]."""
    ndvi: float = 0.0
    """[°C d]."""
    latitude: float = 0.0
    """[°C d / °]."""


def _with_whole_keys(given: Any) -> Any:
    """JSON has keys of text only, and strict models want the numbers that they are."""
    if not isinstance(given, dict):
        return given
    return {int(key) if isinstance(key, str) and re.fullmatch(r"-?\d+", key) else key: given[key] for key in given}


def _one_or_many(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given if given is None else (given,)


class GroundCorrection(Section):
    """Sums of the skin to those of the ground, by stations."""

    method: Literal["pooled", "per_interval", "coefficients", "identity"] = "pooled"
    """pooled: one regression; per_interval: one for each of the 23 intervals, drawn towards the pooled one;
    coefficients: those given here; identity: none."""
    coefficients: Annotated[tuple[Coefficients, ...] | None, BeforeValidator(_one_or_many)] = None
    """Of the method coefficients: one set, or a list of 23."""
    coefficients_table: Path | None = None
    """The same as a CSV: interval (0 to 22), constant, thawing, ndvi, latitude; one row, or 23."""
    freezing: Literal["none", "pooled"] = "none"
    """pooled: yearly freezing sums are corrected too, by a regression on stations."""
    pixel: Literal["nearest", "median3"] = "nearest"
    """What stands for a station: the pixel that holds it, or the median of 3 x 3."""
    max_water: Fraction = 0.2
    """Stations whose pixel has more lake are left out."""
    max_elevation_difference_m: Annotated[float, Field(ge=0)] = 300.0
    """Stations that are further above or below their pixel's mean are left out [m]."""
    force: bool = False
    """Apply the correction even where cross-validation says that it makes things worse."""

    @property
    def changes_anything(self) -> bool:
        """Whether any sum is corrected."""
        return self.method != "identity" or self.freezing != "none"

    @property
    def fits(self) -> bool:
        """Whether a regression is fitted, for which stations are needed."""
        return self.method in ("pooled", "per_interval") or self.freezing == "pooled"

    @model_validator(mode="after")
    def _coefficients_where_they_belong(self) -> Self:
        given = [name for name in ("coefficients", "coefficients_table") if getattr(self, name) is not None]
        if self.method == "coefficients" and len(given) != 1:
            raise ValueError("method 'coefficients' needs either coefficients or a coefficients_table")
        if self.method != "coefficients" and given:
            raise ValueError(f"{given[0]} are of use to the method 'coefficients' alone; found method '{self.method}'")
        if self.coefficients is not None and len(self.coefficients) not in (1, 23):
            raise ValueError(f"one set of coefficients, or 23; found {len(self.coefficients)}")
        return self


class Calibration(Section):
    """E of each soil cluster from the surveyed maps."""

    method: Literal["exact", "pso", "hybrid"] = "hybrid"
    """exact: the greatest kappa; pso: the published particle swarm (SPSO-2007) on kappa and boundary agreement;
    hybrid: descents on these two, from the exact optimum and elsewhere."""
    kappa_weight: Annotated[float, Field(ge=0, le=10)] = 6.5
    """Weight of kappa in pso and hybrid; the agreement along boundaries has 10 less this."""
    weight_draws: Annotated[int, Field(ge=0, le=200)] = 20
    """How many weights between 5 and 8 are tried beside it, to see how far E depends on the choice."""
    clusters: Annotated[int, Field(ge=1, le=64)] = 8
    subclusters: Annotated[int, Field(ge=1, le=8)] = 1
    """Into how many each cluster is divided again."""
    assign: Literal["nearest", "tree"] = "nearest"
    """nearest: clusters are made of all pixels; tree: of the surveyed ones, and a decision tree finds those of the
    rest."""
    lower: Annotated[float, Field(gt=0)] = 0.5
    upper: Annotated[float, Field(gt=0)] = 1.5
    prior: Annotated[float, Field(gt=0)] = 0.90
    """Taken where the surveys leave E undecided, and for clusters that nobody surveyed."""
    seed: int = 123

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.lower < self.prior < self.upper:
            raise ValueError(f"lower < prior < upper; found {self.lower}, {self.prior}, {self.upper}")
        return self


Sampler = Literal["random", "kmeans", "equal_range", "pca", "lhs", "clhs"]
Allocation = Literal["density", "equal"]


class Transfer(Section):
    """E from the training epoch to the target epoch."""

    sampler: Sampler = "kmeans"
    """Which pixels E is learnt from. kmeans: one near the centre of each of many clusters; equal_range: by strata of
    each predictor; pca: by strata of principal components; lhs: near the points of a Latin hypercube; clhs: nearly
    such a hypercube themselves; random: any."""
    allocation: Allocation = "density"
    """Of equal_range and pca: a stratum gets pixels by how many it has (density), or as many as any other (equal)."""
    samples: Annotated[int, Field(ge=50)] = 5000
    trees: Annotated[int, Field(ge=10, le=5000)] = 500
    seed: int = 123


class FrozenGround(Section):
    """Frost number to classes."""

    non_frozen_below: Annotated[float, Field(ge=0)] = 0.5
    """Freezing sums up to this are non-frozen ground [°C d]."""
    mask_fraction: Fraction = 0.5
    """A pixel with at least this much lake or glacier is masked; lake before glacier."""
    training_e: Literal["forest", "calibrated"] = "forest"
    """E of the training epoch's map, where there is a target epoch. forest: predicted as the target epoch's, so that
    their difference is change and not method; calibrated: that of the soil clusters."""
    ddf_error: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Relative standard error of a pixel's freezing sum. What weather stations say if left out, 0.1 without them, and
    no more than the surveys bear."""
    ddt_error: Annotated[float, Field(ge=0, lt=1)] | None = None
    """The same of its thawing sum."""


class Rectangle(Section):
    """A part of the map that is told apart in all that is said of change."""

    name: Annotated[str, Field(min_length=1)]
    """What figures and tables call it."""
    bbox: tuple[float, float, float, float]
    """West, south, east, north [degrees]."""
    kind: Literal["permafrost_lost", "frost_lost"] = "permafrost_lost"
    """Which change: permafrost to other ground, or seasonally frozen to non-frozen ground."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        west, south, east, north = self.bbox
        if not (west < east and south < north):
            raise ValueError(f"west < east and south < north; found {list(self.bbox)}")
        return self


class Driver(Section):
    """Rasters of something that may have driven change, such as air temperature."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """What tables call it: its change is target minus training."""
    units: str = "1"
    training: Path
    target: Path


class Change(Section):
    """What changed between the epochs, where, by what, and how surely."""

    block_km: Annotated[float, Field(gt=0, le=1000)] = 50.0
    """Side of the blocks in which hot spots are looked for [km]; at least four pixels."""
    false_discoveries: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of blocks (and of pixels) called changed that may be so by chance."""
    rectangles: tuple[Rectangle, ...] = ()
    """Hot spots that are named beforehand."""
    adjacent_km: Annotated[float, Field(gt=0, le=500)] = 10.0
    """Stable ground up to this far from degraded ground is compared with it [km]; at least one and a half pixels."""
    thinning_km: Annotated[float, Field(gt=0, le=500)] = 10.0
    """Tests take one pixel out of a square of this side: neighbours tell the same [km]."""
    drivers: tuple[Driver, ...] = ()
    """Rasters whose change is compared beside the chain's own variables."""
    sums_together: Fraction = 0.8
    """Correlation, between the epochs, of the errors of a pixel's degree-day sums. 0 is the most cautious."""
    e_together: Fraction = 0.8
    """The same of its E, where one forest predicts both."""
    errors_together_km: Annotated[float, Field(gt=0, le=5000)] = 200.0
    """Errors of pixels this near to each other are taken to be alike, where areas get intervals [km]."""
    samples: Path | None = None
    """CSV of places whose class was found out in both epochs: longitude, latitude, training, target."""
    places: Annotated[int, Field(ge=0, le=10000)] = 50
    """Places drawn at random in each kind of change to be looked at, thrice as many where nothing changed; 0: none."""
    seed: int = 123


class ReferenceMap(Section):
    """A map of somebody else's, as a raster, that the map is compared with."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    """What tables and figures call it."""
    path: Path
    """A raster that GDAL reads, such as GeoTIFF or NetCDF, on any grid of any coordinate system."""
    product: ReferenceId | None = None
    """The published map that it is; what follows is then known, and may be said otherwise."""
    holds: Holds | None = None
    """classes, temperature [°C], or share: of a cell that is permafrost, or the probability that it is."""
    codes: Annotated[dict[int, Ground], BeforeValidator(_with_whole_keys)] = {}
    """Of classes: what each number means, such as {1: permafrost, 2: no_permafrost, 9: missing}."""
    missing: tuple[float, ...] = ()
    """Numbers that mean none, beside what the file says of itself."""
    units: Units | None = None
    """Of a temperature degC or K, of a share 1 or %; what the file says if left out."""
    threshold: float | None = None
    """From where on a pixel is permafrost [°C, or a share of one]; 0 °C and 0.5 if left out."""
    rule: Rule | None = None
    """How a permafrost pixel's number lies to it: below, at_most, at_least, above."""
    variable: str = ""
    """Of NetCDF files: which."""
    band: Annotated[int, Field(ge=1)] = 1
    """Of rasters with several: which."""
    crs: str = ""
    """Of files that do not say where they are, such as EPSG:4326."""
    epoch: Literal["training", "target"] | None = None
    """The epoch whose map is compared with it; the last if left out."""

    @model_validator(mode="after")
    def _known_or_told(self) -> Self:
        if self.product is None and self.holds is None:
            raise ValueError("say what it is: a product, or what it holds (classes, temperature, share)")
        if self.product is None and self.holds == "classes" and not self.codes:
            raise ValueError("a map of classes needs codes, such as {1: permafrost, 2: no_permafrost}")
        if self.holds == "classes" and (self.threshold is not None or self.rule is not None or self.units is not None):
            raise ValueError("classes have codes; no units, no threshold and no rule")
        if self.holds is not None and self.holds != "classes" and self.codes:
            raise ValueError(f"codes are of classes; this map holds a {self.holds}")
        if (
            self.holds in RULES
            and self.units is not None
            and (self.units in ("degC", "K")) != (self.holds == "temperature")
        ):
            raise ValueError(f"a {self.holds} does not have the units {self.units}")
        return self


Degrees = Annotated[float, Field(ge=-360, le=360)]


class Zone(Section):
    """A part of the region where maps are compared on their own, such as where permafrost ends."""

    name: Annotated[str, Field(min_length=1)]
    """What tables and figures call it."""
    polygons: PathOrLayer | None = None
    """A file of polygons."""
    corners: Annotated[tuple[tuple[Degrees, Degrees], ...], Field(min_length=3)] | None = None
    """Or longitude and latitude of its corners [°]."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.polygons is None) == (self.corners is None):
            raise ValueError("say where it is: either polygons (a file) or corners (longitudes and latitudes)")
        return self


Conductivity = Literal["e", "soil", "constant"]


class Validation(Section):
    """Other maps that the map is judged beside."""

    reference_maps: tuple[ReferenceMap, ...] = ()
    """Maps of others, as files."""
    ttop: tuple[Conductivity, ...] = ("e", "soil", "constant")
    """Maps by TTOP on the run's own sums, one for each source of r_k. e: E squared; soil: texture and moisture, where
    there is sand; constant: conductivity_ratio."""
    conductivity_ratio: Annotated[float, Field(gt=0, le=4)] = 0.85
    """r_k of `constant`: thawed over frozen thermal conductivity."""
    freezing_factor: Annotated[float, Field(gt=0, le=2)] = 1.0
    """n-factor of TTOP: by what freezing sums are multiplied; 1, as they are of the surface."""
    thawing_factor: Annotated[float, Field(gt=0, le=2)] = 1.0
    """The same of thawing sums."""
    soil_water: Annotated[float, Field(gt=0, le=100)] = 20.0
    """Of `soil`: water [% of dry weight], where there is no soil_water_map."""
    soil_density: Annotated[float, Field(gt=0, lt=3)] = 1.4
    """Of `soil`: dry density [g cm-3], where there is no soil_density_map."""
    soil_water_map: Path | None = None
    """A raster of it."""
    soil_density_map: Path | None = None
    """A raster of it; also a predictor of magt."""
    magt: bool = False
    """A map of ground temperature by support vector regression on the boreholes (sources.boreholes)."""
    zones: tuple[Zone, ...] = ()
    """Parts of the region where maps are compared on their own, beside the whole of it."""

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        names = [each.name for each in self.reference_maps]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two reference maps are called {', '.join(twice)}")
        zones = [each.name for each in self.zones]
        if len(set(zones)) != len(zones):
            raise ValueError(f"each zone has a name of its own; found {', '.join(zones)}")
        if len(set(self.ttop)) != len(self.ttop):
            raise ValueError(f"each source of r_k once; found {', '.join(self.ttop)}")
        own = {"training", "target", "calibrated", "magt", *(f"ttop-{each}" for each in get_args(Conductivity))}
        taken = sorted(own & set(names))
        if taken:
            raise ValueError(f"the run's own maps are called {', '.join(taken)}; give the reference map another name")
        return self


class Store(Section):
    """Where and how the cube is kept; changes no result."""

    location: Annotated[str, Field(pattern=r"^(s3://[^/]+/.+)?$")] = ""
    """s3://bucket/prefix of an object store; the work directory if left out. Keys come from the environment."""
    endpoint: Annotated[str, Field(pattern=r"^(https?://.+)?$")] = ""
    """Address of an S3-compatible service; Amazon's own if left out."""
    region: str = ""
    """Region of the bucket; the environment's if left out."""

    chunk_pixels: Annotated[int, Field(ge=4, le=1200)] = 100
    """Most pixels along a chunk's side; the largest divisor of a tile's width up to it is taken."""

    @field_validator("location", "endpoint", mode="before")
    @classmethod
    def _without_keys(cls, given: Any) -> Any:
        if isinstance(given, str) and not _ADDRESS_ALONE.match(given) and _MAY_HOLD_A_PASSWORD.search(given):
            raise ValueError(
                "keys do not belong in an address, because recipes are kept with the results: put them into the "
                "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
            )
        return given


class Certificates(Section):
    """What client, scheduler and workers show each other: PEM files. The key goes nowhere else."""

    ca: Path
    """Of the authority that all of them trust."""
    cert: Path
    """A certificate that it signed."""
    key: Path
    """The certificate's key."""


class Kubernetes(Section):
    """Of what the Dask operator makes a cluster, and where."""

    manifest: Path
    """What `kubectl kustomize OVERLAY` renders of an overlay of deploy/kubernetes."""
    context: str = ""
    """Of the kubeconfig; its current one if left out."""


class Cluster(Section):
    """Where it runs, unless --cluster says otherwise; changes no result."""

    where: Annotated[str, Field(pattern=r"^\S+$")] = "local"
    """threads: of one process, for tiny work; local: worker processes of this machine; kubernetes: pods that are made
    for the run; or the address of a running Dask scheduler."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes on this machine; one a core if left out."""
    memory_gib: Annotated[float, Field(gt=0.25)] | None = None
    """Memory a worker; its share of the machine if left out."""
    dashboard: Annotated[str, Field(pattern=r"^(\S+:)?\d{1,5}$")] = "127.0.0.1:8787"
    """Address of the dashboard; another free port is taken where this one is in use."""
    start_seconds: Annotated[float, Field(gt=0)] = 300
    """How long to wait for a running cluster's first worker, and for others where all have gone [s]."""
    stuck_seconds: Annotated[float, Field(ge=1)] = 3600
    """A worker that finishes nothing for so long hangs, on a file or a connection, and is started anew [s]."""
    performance_reports: bool = False
    """Whether Dask's report on the performance of each step is kept, in logs/performance: some 2 MB a step."""
    kubernetes: Kubernetes | None = None
    """Where and what the pods of `where: kubernetes` are."""
    tls: Certificates | None = None
    """Certificates for tls:// addresses; those of Dask's configuration if left out."""
    allow_unencrypted: bool = False
    """Whether scheduler and dashboard may be reached from other machines without encryption: anybody who reaches a
    scheduler can have it execute what they like."""


class Citation(Section):
    """What a file among the sources is, to be cited."""

    source: str
    """The source's key, such as sand or surveys.wenquan."""
    cite: Annotated[str, Field(min_length=1)]
    """A DOI, or a reference in words."""

    @field_validator("source")
    @classmethod
    def _known(cls, given: str) -> str:
        known = {*Sources.model_fields, "region"} - {"allow_hosts"}
        if given.split(".")[0] not in known:
            raise ValueError(f"no source is called so; there are {', '.join(sorted(known))}")
        return given


class Recipe(Section):
    """What a run is, whole."""

    frostmap: Literal[1] = 1
    """Format of this file."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str = ""
    simulated: bool = False
    """True where the input is simulated: every page and figure then says so."""
    data: Path = Path()
    """Folder that relative source paths start at; itself relative to this file."""
    region: Region
    epochs: Epochs
    sources: Sources
    downloads: Downloads = Downloads()
    ingest: Ingest = Ingest()
    quality: Quality = Quality()
    terrain: Terrain = Terrain()
    covariates: Covariates = Covariates()
    gap_filling: GapFilling = GapFilling()
    degree_days: DegreeDays = DegreeDays()
    ground_correction: GroundCorrection = GroundCorrection()
    calibration: Calibration = Calibration()
    transfer: Transfer = Transfer()
    frozen_ground: FrozenGround = FrozenGround()
    change: Change = Change()
    validation: Validation = Validation()
    store: Store = Store()
    cluster: Cluster = Cluster()
    citations: tuple[Citation, ...] = ()
    """What the files among the sources are, for `frostmap cite`."""

    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _enough_for_its_epochs(self) -> Self:
        sources = self.sources
        if not sources.surveys:
            raise ValueError("sources.surveys is empty: E is calibrated on at least one surveyed map")
        derived = ("elevation", "sand", "clay", "snow_cover", "precipitation", "ndvi")
        missing = [name for name in derived if getattr(sources, name) is None]
        missing = [name for name in missing if name not in ("sand", "clay") or sources.soil is None]
        if missing and sources.clusters is None:
            raise ValueError(f"sources lack {missing}, from which soil clusters are made (or give sources.clusters)")
        if missing and self.epochs.target:
            raise ValueError(f"sources lack {missing}, from which E of the target epoch is predicted")
        if self.epochs.target:
            by_epoch = ("forcing", "snow_cover", "precipitation", "lakes", "glaciers", "truth")
            for name in by_epoch:
                given = getattr(sources, name)
                if given is not None and getattr(given, "target", given) is None:
                    raise ValueError(f"sources.{name} has no 'target', but epochs.target is asked for")
        if self.validation.magt and sources.boreholes is None:
            raise ValueError("validation.magt is fitted to boreholes, but there are no sources.boreholes")
        if not self.epochs.target and any(each.epoch == "target" for each in self.validation.reference_maps):
            raise ValueError("a reference map is of the target epoch, but there is no epochs.target")
        if sources.lst:
            self._enough_for_the_ground_correction()
            for name, epoch in self.epochs.named().items():
                if not self.degree_years(name):
                    raise ValueError(
                        f"degree_days.year is 'freezing', July to June, but epochs.{name} has no two years in a row: "
                        f"{sorted(epoch.years)}"
                    )
        return self

    def _enough_for_the_ground_correction(self) -> None:
        asked, sources = self.ground_correction, self.sources
        if asked.fits and not sources.stations:
            raise ValueError(
                f"ground_correction.method is '{asked.method}', freezing '{asked.freezing}', but there are no "
                "sources.stations; use 'identity' and 'none'"
            )
        needs_ndvi = asked.fits or any(each.ndvi for each in asked.coefficients or ())
        if needs_ndvi and not sources.ndvi:
            raise ValueError("the ground correction needs sources.ndvi; or set ground_correction.method to 'identity'")

    def degree_years(self, epoch: EpochName) -> list[int]:
        """Return the years of an epoch that degree days are summed over: those that its calendar years hold whole."""
        years = sorted(self.epochs.named()[epoch].years)
        return years if self.degree_days.year == "calendar" else [year for year in years if year - 1 in years]

    @property
    def folder(self) -> Path:
        """Where the recipe's file is."""
        return self._folder

    def path(self, given: Path) -> Path:
        """Return a source's path: absolute, or relative to the data folder."""
        return (self._folder / self.data / given).resolve()

    def catalogue(self, source: Catalogue) -> str:
        """Return a catalogue's URL, or its absolute path; empty where the kind of source has its own."""
        given = source.catalogue
        return given if "://" in given or not given else str(self.path(Path(given)))

    def digest(self, *sections: str) -> str:
        """Return the SHA-256 of some sections, or of the whole recipe."""
        content = self.model_dump(mode="json", include=set(sections) if sections else None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load_recipe(path: Path) -> Recipe:
    """Return the recipe in a YAML file.

    Raises
    ------
    UserError
        The file is missing, is not YAML, or says something that no run can do: with the line and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "the recipe cannot be read", where=str(path), found=error, remedy="write one with: frostmap init demo"
        ) from error
    return parse_recipe(text, path)


def parse_recipe(text: str, path: Path) -> Recipe:
    """Return the recipe in a YAML text; `path` is where it is, for messages and relative paths."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        given = yaml.safe_load(text)
        as_json = json.dumps(given, default=str)
    except (yaml.YAMLError, TypeError, ValueError) as error:  # the last two: dates that are none, keys that are dates
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(
            "the recipe is not valid YAML",
            where=f"{path}{line}",
            found=getattr(error, "problem", None) or str(error),
            remedy="check the indentation and colons there",
        ) from error
    if not isinstance(given, dict):
        raise UserError(
            "the recipe is empty or not a mapping",
            where=str(path),
            found=type(given).__name__,
            wanted="keys such as name, region, epochs, sources",
            remedy="see a complete one with: frostmap init demo",
        )
    _refuse_repeated_keys(root, path)
    try:
        recipe = Recipe.model_validate_json(as_json)
    except ValidationError as error:
        raise _as_user_error(error, root, path) from None  # its own message repeats what the file says
    recipe._folder = path.resolve().parent
    return recipe


def _refuse_repeated_keys(root: yaml.Node | None, path: Path) -> None:
    """YAML's readers let the last of two equal keys win, in silence."""
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.value in seen:
                    raise UserError(
                        f"the recipe has the key '{key.value}' twice in one section",
                        where=str(path),
                        found=f"lines {seen[key.value]} and {line}",
                        remedy="remove one of them",
                    )
                seen[key.value] = line
                nodes.append(value)


def _as_user_error(error: ValidationError, root: yaml.Node | None, path: Path) -> UserError:
    faults = error.errors(include_url=False)
    lines = []
    for fault in faults:
        keys = [str(key) for key in fault["loc"] if key not in _TAGS]
        unknown = fault["type"] == "extra_forbidden"  # whatever it holds, such as a password, is not repeated
        message = _unknown_key(fault["loc"]) if unknown else fault["msg"] + _found(fault["input"])
        lines.append(f"{'.'.join(keys) or 'recipe'}, line {_line(root, keys)}: {message}")
    count = f"{len(faults)} things" if len(faults) > 1 else "one thing"
    return UserError(
        f"{count} in the recipe cannot be used",
        where=str(path),
        found="\n    ".join(["", *lines]) if len(lines) > 1 else lines[0],
        remedy="correct the file and run again; `frostmap plan` checks it without running",
    )


def _found(given: Any) -> str:
    """Return what to say of a value that cannot be used; one that may hold a password is not repeated.

    >>> _found(7), _found({"a": 7}), _found("s3://name:password@bucket/a")
    (' (found 7)', '', '')
    """
    return "" if isinstance(given, dict) or _MAY_HOLD_A_PASSWORD.search(str(given)) else f" (found {given!r})"


def _unknown_key(place: tuple[int | str, ...]) -> str:
    """Return what to say of a key that its section does not know: the nearest that it does."""
    section: type[Section] = Recipe
    annotation: Any = None
    *above, unknown = map(str, place)
    for key in above:
        if key in _TAGS:  # which of several sections
            section = _section_in(_tagged(annotation, key)) or section
        elif not key.isdigit():  # a place in a list: the list's field named the section already
            annotation = section.model_fields[key].annotation
            section = _section_in(annotation) or section
    nearest = difflib.get_close_matches(unknown, section.model_fields, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return f"unknown key '{unknown}': {hint}known here: {', '.join(sorted(section.model_fields))}"


def _section_in(annotation: Any) -> type[Section] | None:
    """Return the section in an annotation such as `tuple[Survey, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


def _tagged(annotation: Any, tag: str) -> Any:
    """Return the part of an annotation that has a tag; None if there is none."""
    parts = get_args(annotation)
    if Tag(tag) in parts:
        return annotation
    return next((found for part in parts if (found := _tagged(part, tag)) is not None), None)


def _line(root: yaml.Node | None, keys: list[str]) -> int:
    """Return the line of the deepest node on the way to `keys`."""
    node, line = root, 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            entry = next(((k, v) for k, v in node.value if k.value == key), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
        else:
            break
    return line
