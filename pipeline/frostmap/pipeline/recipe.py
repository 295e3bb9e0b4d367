"""A recipe: one YAML file that says what a run is."""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from frostmap.pipeline.errors import UserError

EpochName = str
"""training or target."""
Fraction = Annotated[float, Field(ge=0, le=1)]
TileName = Annotated[str, Field(pattern=r"^h\d{2}v\d{2}$")]


class Section(BaseModel):
    """A part of a recipe: frozen, strict, and closed to keys that it does not know."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Region(Section):
    """Where: MODIS tiles, a box, an outline, or the grid of an existing raster."""

    tiles: tuple[TileName, ...] | None = None
    """MODIS tiles to map, such as [h25v05, h26v05]; found from the outline or box if left out."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north [degrees]."""
    outline: Path | None = None
    """Polygons (GeoJSON, longitude and latitude); only pixels whose centre is inside are mapped."""
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


class ByEpoch(Section):
    """One raster for each epoch."""

    training: Path
    target: Path | None = None


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

    sites: Path
    """CSV: station, name, longitude, latitude, elevation."""
    daily: Path
    """CSV: station, year, month, day, ground_temperature (0.1 °C, 32766 missing)."""


class Sources(Section):
    """What is read. Relative paths start at the recipe's `data` folder."""

    lst: Catalogue | None = None
    """MOD11A1 and MYD11A1 granules."""
    ndvi: Catalogue | None = None
    """MOD13A1 granules."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts, or host:port, that granules may come from although they are private or not encrypted."""
    forcing: ForcingByEpoch | None = None
    """Ready degree-day sums; instead of lst."""
    clusters: Path | None = None
    """Ready soil clusters (whole numbers from 1); instead of clustering the covariates."""
    elevation: Path | None = None
    """Elevation [m]."""
    sand: Path | None = None
    """Sand [%], root zone or 0-2 m."""
    clay: Path | None = None
    """Clay [%]."""
    snow_cover: ByEpoch | None = None
    """Mean fractional snow cover [%]."""
    precipitation: ByEpoch | None = None
    """Mean annual precipitation [mm]."""
    lakes: ByEpoch | None = None
    """Lake fraction of a pixel."""
    glaciers: ByEpoch | None = None
    """Glacier fraction of a pixel."""
    surveys: tuple[Survey, ...] = ()
    """Maps of surveyed regions, of the training epoch."""
    stations: Stations | None = None
    """Ground temperatures for the correction of the thawing sums."""
    boreholes: Path | None = None
    """Boreholes that judge the last epoch's map."""
    truth: ByEpoch | None = None
    """Where everything is simulated: bands ddf, ddt, e, frozen_ground."""

    @model_validator(mode="after")
    def _some_forcing(self) -> Self:
        if self.lst is None and self.forcing is None:
            raise ValueError("name granules (sources.lst) or ready degree-day sums (sources.forcing)")
        if self.lst is not None and self.forcing is not None:
            raise ValueError("either granules (sources.lst) or ready degree-day sums (sources.forcing), not both")
        return self


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


class GapFilling(Section):
    """Observations that clouds took."""

    method: Literal["annual_cycle"] = "annual_cycle"
    """annual_cycle: harmonics of the pixel plus the damped anomaly of the day's neighbourhood."""
    harmonics: Annotated[int, Field(ge=1, le=4)] = 2
    minimum_observations: Annotated[int, Field(ge=10)] = 30
    """Fewer clear observations of an overpass in an epoch: no fit, the pixel stays missing."""
    anomaly_radius_km: Annotated[float, Field(gt=0, le=1000)] = 25.0
    """Half the width of the neighbourhood [km]."""
    anomaly_damping: Fraction = 0.5
    """How much of the neighbourhood's anomaly a cloudy pixel takes."""
    night_cloud_offset: Annotated[float, Field(ge=-5, le=10)] = 0.0
    """Added to filled night observations [K]."""


class DegreeDays(Section):
    """Daily means and their sums."""

    daily_mean: Literal["sinusoid"] = "sinusoid"
    minimum_days: Annotated[int, Field(ge=1, le=366)] = 350
    """Fewer valid days a year: the year is missing at that pixel."""


class GroundCorrection(Section):
    """Thawing sums of the skin to those of the ground, by stations."""

    method: Literal["pooled", "identity"] = "pooled"
    force: bool = False
    """Apply the regression even where cross-validation says that it makes things worse."""


class Calibration(Section):
    """E of each soil cluster from the surveyed maps."""

    method: Literal["exact"] = "exact"
    clusters: Annotated[int, Field(ge=1, le=64)] = 8
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


class Transfer(Section):
    """E from the training epoch to the target epoch."""

    sampler: Literal["kmeans"] = "kmeans"
    samples: Annotated[int, Field(ge=50)] = 5000
    trees: Annotated[int, Field(ge=10, le=5000)] = 500
    seed: int = 123


class FrozenGround(Section):
    """Frost number to classes."""

    non_frozen_below: Annotated[float, Field(ge=0)] = 0.5
    """Freezing sums up to this are non-frozen ground [°C d]."""
    mask_fraction: Fraction = 0.5
    """A pixel with at least this much lake or glacier is masked; lake before glacier."""


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


class Cluster(Section):
    """Where it runs, unless --scheduler names a running one."""

    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes; one a core if left out."""
    memory_gib: Annotated[float, Field(gt=0.25)] | None = None
    """Memory a worker; its share of the machine if left out."""
    dashboard: str = "127.0.0.1:8787"
    """Address of the dashboard; another free port is taken where this one is in use."""


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
    gap_filling: GapFilling = GapFilling()
    degree_days: DegreeDays = DegreeDays()
    ground_correction: GroundCorrection = GroundCorrection()
    calibration: Calibration = Calibration()
    transfer: Transfer = Transfer()
    frozen_ground: FrozenGround = FrozenGround()
    store: Store = Store()
    cluster: Cluster = Cluster()

    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _enough_for_its_epochs(self) -> Self:
        sources = self.sources
        if not sources.surveys:
            raise ValueError("sources.surveys is empty: E is calibrated on at least one surveyed map")
        derived = ("elevation", "sand", "clay", "snow_cover", "precipitation", "ndvi")
        missing = [name for name in derived if getattr(sources, name) is None]
        if missing and sources.clusters is None:
            raise ValueError(f"sources lack {missing}, from which soil clusters are made (or give sources.clusters)")
        if missing and self.epochs.target:
            raise ValueError(f"sources lack {missing}, from which E of the target epoch is predicted")
        if self.epochs.target:
            by_epoch = ("forcing", "snow_cover", "precipitation", "lakes", "glaciers", "truth")
            for name in by_epoch:
                given = getattr(sources, name)
                if given is not None and given.target is None:
                    raise ValueError(f"sources.{name} has no 'target', but epochs.target is asked for")
        if sources.lst and self.ground_correction.method == "pooled" and not sources.stations:
            raise ValueError("ground_correction.method is 'pooled' but there are no sources.stations; use 'identity'")
        return self

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
        raise _as_user_error(error, root, path) from error
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
        keys = [str(key) for key in fault["loc"]]
        message = _unknown_key(keys) if fault["type"] == "extra_forbidden" else fault["msg"]
        found = "" if isinstance(fault["input"], dict) else f" (found {fault['input']!r})"
        lines.append(f"{'.'.join(keys) or 'recipe'}, line {_line(root, keys)}: {message}{found}")
    count = f"{len(faults)} things" if len(faults) > 1 else "one thing"
    return UserError(
        f"{count} in the recipe cannot be used",
        where=str(path),
        found="\n    ".join(["", *lines]) if len(lines) > 1 else lines[0],
        remedy="correct the file and run again; `frostmap plan` checks it without running",
    )


def _unknown_key(keys: list[str]) -> str:
    """Return what to say of a key that its section does not know: the nearest that it does."""
    section: type[Section] = Recipe
    for key in keys[:-1]:
        if not key.isdigit():  # a place in a list: the list's field named the section already
            section = _section_in(section.model_fields[key].annotation) or section
    nearest = difflib.get_close_matches(keys[-1], section.model_fields, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return f"unknown key '{keys[-1]}': {hint}known here: {', '.join(sorted(section.model_fields))}"


def _section_in(annotation: Any) -> type[Section] | None:
    """Return the section in an annotation such as `tuple[Survey, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


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
