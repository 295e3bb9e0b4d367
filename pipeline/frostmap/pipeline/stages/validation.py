"""How far to trust the maps: boreholes, surveys, and the truth where everything is simulated."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import Delayed, delayed
from odc.geo.geobox import GeoBox

from frostmap.catalogs.sites import read_boreholes
from frostmap.catalogs.stations import read_stations, station_files
from frostmap.kernels.agreement import class_kappa, counts
from frostmap.kernels.frost_number import (
    CLASS_NAMES,
    GLACIER,
    LAKE,
    NO_CLASS,
    NON_FROZEN,
    PERMAFROST,
    SEASONALLY_FROZEN,
    critical_e,
    frost_number,
)
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.judgement import (
    GROUND,
    by_group,
    classes_at,
    compare_maps,
    counted,
    drawn_regions,
    limit_distances,
    once_a_pixel,
    regions_of,
    score,
    shares_with_interval,
    station_verdicts,
)
from frostmap.pipeline.ledger import digest
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import BoreholeTable, Recipe
from frostmap.pipeline.reference_maps import MAGT, compared_epoch, reference_group, reference_scopes
from frostmap.pipeline.sites import pixels_of
from frostmap.pipeline.stage import Products, Stage, all_epochs
from frostmap.pipeline.stages.calibration import agreement
from frostmap.pipeline.stages.frozen_ground import CALIBRATED, e_group, epoch_of, maps_of
from frostmap.pipeline.stages.ground_correction import station_sums
from frostmap.pipeline.surveys import read_surveys
from frostmap.pipeline.work import Work

REACH = 2
"""A borehole on a lake or glacier pixel takes the nearest frozen-ground pixel within this many pixels, flagged."""
BINS = 10
"""Of the reliability curve: ranges of probability that are compared with how often permafrost is there."""
NORMAL_90 = 1.645
"""Standard errors on either side of a normal distribution's mean that hold 90 % of it."""


def build(work: Work, _scope: str) -> Products:
    """Return the confusion table of the last epoch's map, agreement with surveys, and errors against the truth.

    Boreholes judge the map of the last epoch, surveys those of the training epoch, the truth all.
    """
    recipe, sources = work.recipe, work.recipe.sources
    last = list(recipe.epochs.named())[-1]
    tables: dict[str, Delayed] = {}
    metrics: dict[str, Delayed] = {}
    if sources.borehole_table is not None:
        ground = work.open(f"frozen_ground/{last}")
        table = sources.borehole_table
        others = {scope: work.open(f"frozen_ground/{scope}") for scope in maps_of(recipe) if scope != last}
        others |= {scope: work.open(reference_group(scope)) for scope in _references(recipe)}
        left_out = work.table_path("magt") if MAGT in others else None
        judged = delayed(at_boreholes)(recipe.path(table.path), table, work.geobox, ground)
        verdict = delayed(judgement)(judged, last, others, work.geobox, ground, left_out)
        tables |= {name: verdict[0][name] for name in ("boreholes", "borehole_groups", "borehole_maps")}
        metrics["validation"] = verdict[1]
    if sources.stations is not None:
        cubes = [work.open(group) for group in (f"frozen_ground/{last}", f"forcing/{last}", e_group(recipe, last))]
        evidence = delayed(station_evidence)(recipe, last, work.geobox, *cubes)
        tables["station_evidence"] = evidence[0]
        metrics["station_evidence"] = evidence[1]
    if CALIBRATED in maps_of(recipe):
        surveys = [(survey.name, recipe.path(survey.path)) for survey in sources.surveys]
        surveyed = delayed(read_surveys)(surveys, work.geobox)
        for scope in ("training", CALIBRATED):
            maps = work.open(f"frozen_ground/{scope}")
            metrics[f"surveys.{scope}"] = delayed(against_surveys)(surveyed, maps)
    if sources.truth is not None:
        errors, curves = {}, []
        for scope in maps_of(recipe):
            epoch = epoch_of(scope)
            groups = (f"forcing/{epoch}", e_group(recipe, scope), f"frozen_ground/{scope}")
            cubes = [work.open(group) for group in groups]
            path = recipe.path(getattr(sources.truth, epoch))
            errors[scope] = delayed(against_truth)(path, work.geobox, *cubes)
            curves.append(delayed(reliability)(path, work.geobox, cubes[-1], scope))
        metrics["truth"] = delayed(_headline)(errors, last)
        tables["reliability"] = delayed(pd.concat)(curves, ignore_index=True)
    return Products(tables=tables, metrics=metrics)


def _headline(errors: dict[str, dict[str, float]], mapped: str) -> dict[str, object]:
    """Return the mapped epoch's errors, with those of every map beneath."""
    return {**errors[mapped], **errors}


def against_surveys(surveyed: npt.NDArray[np.uint8], maps: xr.Dataset) -> dict[str, float | int]:
    """Return the agreement of a map with the surveys that its E was calibrated on."""
    ground = maps["frozen_ground"].values
    both = (surveyed > 0) & np.isin(ground, GROUND)
    return agreement(counts(surveyed[both] == PERMAFROST, ground[both] == PERMAFROST))


def reliability(path: Path, geobox: GeoBox, maps: xr.Dataset, scope: str) -> pd.DataFrame:
    """Return how often permafrost truly is where a map gives it a probability, in ranges of equal width.

    Columns: map, lower, upper (of the range), pixels, probability (their mean), observed (share that is permafrost).
    Where the truth is lake or glacier, it does not count.
    """
    real = on_grid(path, geobox, "sources.truth", how="nearest", band="frozen_ground")
    chance = maps["permafrost_probability"].values
    both = np.isfinite(chance) & np.isin(real, GROUND)
    return reliability_curve(chance[both], real[both] == PERMAFROST).assign(map=scope)


def reliability_curve(chance: npt.NDArray[np.float32], happened: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Return lower, upper, pixels, probability and observed of equal ranges of probability; NaN where one is empty.

    >>> curve = reliability_curve(np.float32([0.02, 0.04, 0.97]), np.array([False, True, True]))
    >>> curve["observed"].iloc[[0, -1]].tolist()
    [0.5, 1.0]
    """
    place = np.minimum((chance * BINS).astype(np.int64), BINS - 1)
    pixels = np.bincount(place, minlength=BINS)
    some = np.where(pixels > 0, pixels, np.nan)
    edges = np.arange(BINS + 1) / BINS
    return pd.DataFrame(
        {
            "lower": edges[:-1],
            "upper": edges[1:],
            "pixels": pixels,
            "probability": np.bincount(place, chance, BINS) / some,
            "observed": np.bincount(place, happened, BINS) / some,
        }
    )


def at_boreholes(path: Path, how: BoreholeTable, geobox: GeoBox, maps: xr.Dataset) -> pd.DataFrame:
    """Return every row of a table of boreholes with the map's class and frost number there, or why it is left out.

    `mapped` is empty and `dropped` the reason where a row is left out. `row`, `column` are the pixel that a hole is
    compared with, `moved` how far that is from its own [pixels]: more than 0 where that one is lake or glacier.
    """
    boreholes = read_boreholes(path, how.columns, how.coordinates, how.encoding)
    holes = boreholes.kept
    places = pixels_of(geobox, holes["longitude"], holes["latitude"])
    ground, number = maps["frozen_ground"].values, maps["frost_number"].values
    found = [taken(ground, row, col) for row, col in zip(places.row, places.col, strict=True)]
    pixels = [None if isinstance(each, str) else each for each in found]
    table = holes.assign(
        observed=np.where(holes["permafrost"], "permafrost", "seasonally frozen"),
        mapped=[
            "" if t is None else ("permafrost" if ground[t.row, t.column] == PERMAFROST else "seasonally frozen")
            for t in pixels
        ],
        frost_number=[np.nan if t is None else float(number[t.row, t.column]) for t in pixels],
        row=[np.nan if t is None else t.row for t in pixels],
        column=[np.nan if t is None else t.column for t in pixels],
        moved=[np.nan if t is None else t.moved for t in pixels],
        dropped=[each if isinstance(each, str) else "" for each in found],
    )
    if not (table["mapped"] != "").any():
        raise DataIncomplete(
            "no borehole lies on the map",
            where=str(path),
            found=f"{len(table)} boreholes elsewhere",
            wanted="boreholes inside the region",
            remedy="check that longitude and latitude are not swapped, or leave sources.boreholes out",
        )
    unread = boreholes.dropped.rename(columns={"reason": "dropped"}).assign(mapped="", observed="")
    whole = pd.concat([table, unread], ignore_index=True) if len(unread) else table
    return whole.sort_values("line", ignore_index=True)


class Taken(NamedTuple):
    """The pixel that a borehole is compared with."""

    row: int
    column: int
    moved: int
    """How far it is from the borehole's own [pixels]."""


def taken(ground: npt.NDArray[np.uint8], row: int, col: int) -> Taken | str:
    """Return the pixel that holds a borehole; where that is lake or glacier, the nearest ground within reach.

    Or, in words, why there is none.
    """
    if row < 0:
        return "outside the map"
    own = int(ground[row, col])
    if own in GROUND:
        return Taken(int(row), int(col), 0)
    if own not in (LAKE, GLACIER):
        return "outside the region, or without a class"
    top, left = max(row - REACH, 0), max(col - REACH, 0)
    rows, cols = np.nonzero(np.isin(ground[top : row + REACH + 1, left : col + REACH + 1], GROUND))
    if not len(rows):
        return f"on a {CLASS_NAMES[own]}, no ground within {REACH} pixels"
    distance = np.hypot(rows + top - row, cols + left - col)
    nearest = int(np.argmin(distance))
    return Taken(int(rows[nearest] + top), int(cols[nearest] + left), round(float(distance[nearest])))


def judgement(
    table: pd.DataFrame,
    judged: str,
    others: Mapping[str, xr.Dataset],
    geobox: GeoBox,
    maps: xr.Dataset,
    left_out: Path | None = None,
) -> tuple[dict[str, pd.DataFrame], dict[str, object]]:
    """Return tables and metrics of how a map agrees with boreholes, beside other maps.

    Parameters
    ----------
    table
        From `at_boreholes`.
    judged
        The map's name.
    others
        Other maps, each with `frozen_ground`.
    geobox, maps
        The grid, and the judged map.
    left_out
        The table of the step `magt`: boreholes that its map was fitted to judge it by what it said when they were left
        out, a region at a time.

    Returns
    -------
    tables
        boreholes: the table, with regions, distances to the limit and what other maps say; borehole_groups: agreement
        by region and margin; borehole_maps: agreement of each map, and McNemar's test.
    metrics
        Flat scores, intervals, and what is in the tables by map.
    """
    on_map = table["mapped"] != ""
    points = table[on_map].copy()
    points["region_of"] = regions_of(points, geobox)
    points["limit_km"] = limit_distances(points, maps["frozen_ground"].values, geobox)
    said = {name: classes_at(points, other["frozen_ground"].values) for name, other in others.items()}
    if left_out is not None:
        said[MAGT] = said_when_left_out(points, said[MAGT], pd.read_csv(left_out))
    by_map = compare_maps(points, judged, said)
    metrics = scores(table) | {"by_region_drawn_again": drawn_regions(points), "once_a_pixel": once_a_pixel(points)}
    if said:
        rows = by_map.iloc[1:].set_index("map").to_dict("index")
        metrics["maps"] = {str(name): row for name, row in rows.items()}
    added = points[["region_of", "limit_km"]].assign(**{f"mapped_{name}": words for name, words in said.items()})
    tables = {"boreholes": table.join(added), "borehole_groups": by_group(points), "borehole_maps": by_map}
    return tables, metrics


def said_when_left_out(points: pd.DataFrame, said: list[str], fitted: pd.DataFrame) -> list[str]:
    """Return what the regression of ground temperature says at points: of those that it was fitted to, without them."""
    known = fitted.dropna(subset=["left_out_regions"]).set_index("line")["left_out_regions"]
    return [
        word if word == "" or line not in known.index else "permafrost" if known[line] < 0 else "seasonally frozen"
        for line, word in zip(points["line"], said, strict=True)
    ]


def scores(judged: pd.DataFrame) -> dict[str, object]:
    """Return the confusion table of the boreholes on the map, with intervals, and why rows are left out."""
    on_map = judged[judged["mapped"] != ""]
    table = counted(on_map)
    reasons = judged.loc[judged["mapped"] == "", "dropped"].map(_kind_of_reason)
    return score(table) | {
        "overall_accuracy_interval": list(table.accuracy_interval()),
        "kappa_interval": list(table.kappa_interval()),
        "rows": len(judged),
        "off_map": int(reasons.str.startswith("outside").sum()),
        "dropped": {str(reason): int(count) for reason, count in reasons.value_counts().sort_index().items()},
        "moved": int((on_map["moved"] > 0).sum()),
        "sign_conflicts": int(on_map["sign_conflict"].astype(bool).sum()),
        "label_conflicts": int(on_map["label_conflict"].astype(bool).sum()),
    }


def station_evidence(
    recipe: Recipe, epoch: str, geobox: GeoBox, maps: xr.Dataset, forcing: xr.Dataset, soil: xr.Dataset
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Return weather stations with their own sums beside those of their pixel, and what they say of the map's class.

    Sums of a station are means over the epoch's years that it observed nearly whole (`degree_days.minimum_days`).
    """
    given = recipe.sources.stations
    assert given is not None  # only then is it called  # noqa: S101
    years = recipe.degree_years(epoch)
    kind = recipe.degree_days.year
    calendar = {year - before for year in years for before in ((0, 1) if kind == "freezing" else (0,))}
    box = geobox.footprint("EPSG:4326", buffer=0, npoints=50).boundingbox
    found = read_stations(
        recipe.path(given.sites) if given.sites else None,
        recipe.path(given.daily),
        columns=given.columns,
        coordinates=given.coordinates,
        years=calendar,
        within=(box.left, box.bottom, box.right, box.top),
    )
    daily = found.daily.pivot(index="date", columns="station", values="ground_temperature")
    daily = daily.reindex(columns=found.sites.index)
    sums = [station_sums(daily, year, kind, recipe.degree_days.minimum_days) for year in years]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # stations without a whole year have no mean
        ddt = np.nanmean([thawing.sum(axis=0) for thawing, _ in sums], axis=0)
        ddf = np.nanmean([freezing for _, freezing in sums], axis=0)
    places = pixels_of(geobox, found.sites["longitude"], found.sites["latitude"])
    on_map = (places.row >= 0) & np.isfinite(ddf) & np.isfinite(ddt)
    rows, columns = places.row[on_map], places.col[on_map]
    ground = maps["frozen_ground"].values[rows, columns]
    table = found.sites[on_map].reset_index()[["station", "name", "longitude", "latitude", "elevation"]]
    table = table.assign(
        ddf=ddf[on_map],
        ddt=ddt[on_map],
        critical_e=critical_e(ddf[on_map], ddt[on_map]),
        frost_number_at_e_1=frost_number(ddf[on_map], ddt[on_map]),
        pixel_ddf=forcing["ddf"].values[rows, columns],
        pixel_ddt=forcing["ddt"].values[rows, columns],
        pixel_e=soil["e"].values[rows, columns],
        pixel_frost_number=maps["frost_number"].values[rows, columns],
        mapped=[STATION_CLASSES.get(int(code), "") for code in ground],
    )
    bounds = (recipe.calibration.lower, recipe.calibration.upper)
    verdicts, agrees = station_verdicts(table, bounds, recipe.frozen_ground.non_frozen_below)
    metrics = shares_with_interval(agrees) | {"left_out": int((~on_map).sum())}
    return table.assign(station_says=verdicts, map_agrees=agrees), metrics


STATION_CLASSES = {PERMAFROST: "permafrost", SEASONALLY_FROZEN: "seasonally frozen", NON_FROZEN: "non-frozen"}


def _kind_of_reason(reason: str) -> str:
    """Return a reason without what is of one row alone.

    >>> _kind_of_reason("the same hole as line 7"), _kind_of_reason("longitude cannot be read: 'x'")
    ('the same hole as another line', 'longitude cannot be read')
    """
    return re.sub(r"line \d+", "another line", re.sub(r": .*", "", reason))


def against_truth(
    path: Path, geobox: GeoBox, forcing: xr.Dataset, soil: xr.Dataset, maps: xr.Dataset
) -> dict[str, float]:
    """Return errors of a map whose truth is known, over pixels of frozen or non-frozen ground."""

    def true(band: str) -> npt.NDArray[np.float32]:
        return on_grid(path, geobox, "sources.truth", how="nearest", band=band)

    ground, real = maps["frozen_ground"].values, true("frozen_ground")
    both = np.isin(ground, GROUND) & np.isin(real, GROUND)

    def rmse(mapped: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
        return float(np.sqrt(np.mean(np.square(mapped[both].astype(np.float64) - expected[both]))))

    ddf, ddt, e = true("ddf"), true("ddt"), true("e")
    return {
        "pixels": int(both.sum()),
        "pixels_unmapped": int((~both & np.isin(real, GROUND) & (ground == NO_CLASS)).sum()),
        "class_kappa": class_kappa(real[both].astype(int), ground[both].astype(int), GROUND),
        "class_agreement": float(np.mean(real[both] == ground[both])),
        "ddf_relative_rmse": rmse(forcing["ddf"].values, ddf) / float(ddf[both].mean()),
        "ddf_relative_bias": float(np.mean(forcing["ddf"].values[both] - ddf[both])) / float(ddf[both].mean()),
        "ddt_relative_rmse": rmse(forcing["ddt"].values, ddt) / float(ddt[both].mean()),
        "ddt_relative_bias": float(np.mean(forcing["ddt"].values[both] - ddt[both])) / float(ddt[both].mean()),
        "e_rmse": rmse(soil["e"].values, e),
        **_probability_scores(maps["permafrost_probability"].values[both], real[both] == PERMAFROST),
        **_coverage(soil, e, both),
    }


def _probability_scores(chance: npt.NDArray[np.float32], happened: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return the Brier score of a probability, and by how much it is off on average over the reliability curve."""
    known = np.isfinite(chance)
    curve = reliability_curve(chance[known], happened[known]).dropna()
    off = np.average(np.abs(curve["probability"] - curve["observed"]), weights=curve["pixels"])
    return {"brier": float(np.mean((chance[known] - happened[known]) ** 2)), "reliability_error": float(off)}


def _coverage(soil: xr.Dataset, true: npt.NDArray[np.float32], both: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return how often true E lies in the forest's interval of 90 %, and in one of its standard error."""
    if "e_sigma" not in soil:
        return {}
    lower, upper, e, sigma = (soil[name].values[both] for name in ("e_lower", "e_upper", "e", "e_sigma"))
    within = (true[both] >= lower) & (true[both] <= upper)
    near = np.abs(true[both] - e) <= NORMAL_90 * sigma
    return {"e_within_interval_percent": 100 * float(within.mean()), "e_within_error_percent": 100 * float(near.mean())}


def validation_scopes(recipe: Recipe) -> list[str]:
    """Return what validation is done for: the run, if there is anything to judge it by."""
    sources = recipe.sources
    return [""] if sources.boreholes or sources.truth or sources.stations or CALIBRATED in maps_of(recipe) else []


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    groups = [
        group
        for scope in maps_of(recipe)
        for group in (f"forcing/{epoch_of(scope)}", e_group(recipe, scope), f"frozen_ground/{scope}")
    ]
    references = _references(recipe) if recipe.sources.boreholes else []
    groups += [reference_group(scope) for scope in references] + ([MAGT] if MAGT in references else [])
    return list(dict.fromkeys(groups))


def _references(recipe: Recipe) -> list[str]:
    """Return the reference maps that are compared with the map that boreholes judge."""
    last = list(recipe.epochs.named())[-1]
    return [scope for scope in reference_scopes(recipe) if compared_epoch(recipe, scope) == last]


def _sources(recipe: Recipe, _scope: str) -> list[Path]:
    sources = recipe.sources
    truth = [getattr(sources.truth, epoch) for epoch in all_epochs(recipe)] if sources.truth else []
    surveys = [survey.path for survey in sources.surveys] if CALIBRATED in maps_of(recipe) else []
    boreholes = [sources.borehole_table.path] if sources.borehole_table else []
    stations = []
    if sources.stations is not None:
        sites = recipe.path(sources.stations.sites) if sources.stations.sites else None
        stations = [*([sites] if sites else []), *station_files(recipe.path(sources.stations.daily), sites)]
    return [*stations, *(recipe.path(path) for path in [*boreholes, *truth, *surveys])]


def _causes(work: Work, _scope: str) -> dict[str, str]:
    sources = work.recipe.sources
    given = {"boreholes": sources.borehole_table, "stations": sources.stations}
    return {f"how {what} are read": digest(how.model_dump(mode="json")) for what, how in given.items() if how}


VALIDATION = Stage(
    "validation",
    "boreholes, stations, surveys and truth",
    build,
    scopes=validation_scopes,
    inputs=_inputs,
    sources=_sources,
    causes=_causes,
    sections=("degree_days", "calibration", "frozen_ground"),
    version=5,
)
