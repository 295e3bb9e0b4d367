"""What became of each class between the epochs: how much, where, by what, and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from dask.delayed import Delayed, delayed
from odc.geo.geobox import GeoBox
from scipy.special import ndtr

from frostmap.catalogs.grids import pixel_area_km2
from frostmap.kernels.change import area_change, changed_area, transition_matrix
from frostmap.kernels.hot_spots import false_discovery
from frostmap.kernels.net_change import drawn_areas
from frostmap.pipeline import drivers
from frostmap.pipeline.change_samples import estimates, read_places, strata_of, to_look_at
from frostmap.pipeline.change_truth import against_truth
from frostmap.pipeline.hot_spots import (
    KINDS,
    Compared,
    block_side,
    block_table,
    blocks_of,
    compared,
    spot_table,
    spots_of,
)
from frostmap.pipeline.rasters import on_grid
from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.schema import (
    CHANGE_CAUSE,
    CHANGE_SCORE,
    CLUSTER,
    E_SIGMA,
    ELEVATION,
    FREEZING_PART,
    NDVI,
    PRECIPITATION,
    SLOPE,
    SNOW_COVER,
    SOIL_E,
    SOIL_PART,
    THAWING_PART,
    TRANSITION,
)
from frostmap.pipeline.stage import Products, Stage
from frostmap.pipeline.stages.change_maps import BY_BOTH, BY_EITHER, BY_FORCING, BY_SOIL, EPOCHS
from frostmap.pipeline.stages.e_spread import cluster_errors, sum_errors
from frostmap.pipeline.stages.frozen_ground import CALIBRATED, CLASS_KEYS, e_group, maps_of
from frostmap.pipeline.work import Work

GROUND_NAMES = ("permafrost", "seasonally_frozen", "non_frozen")
DEGRADED = (("permafrost", "seasonally_frozen"), ("permafrost", "non_frozen"), ("seasonally_frozen", "non_frozen"))
"""Transitions towards thaw."""
STATIC = (ELEVATION, SLOPE)
MOVING = (PRECIPITATION, SNOW_COVER, NDVI)
"""Predictors of E whose change is compared, beside sums and E."""
DRAWS = 200
"""How often errors are drawn for the interval of an area's change."""
SURE = 1.959964
"""Standard errors beyond which a change is significant on its own (95 %)."""


def build(work: Work, _scope: str) -> Products:
    """Return tables of transitions, parts, hot spots, drivers and significance, and what they come to."""
    recipe = work.recipe
    before, after = (work.open(f"frozen_ground/{epoch}") for epoch in EPOCHS)
    maps = work.open("change_maps")
    table = delayed(transitions)(before, after, work.geobox)
    tables: dict[str, Delayed] = {"transition": table, "area_change": delayed(area_changes)(table)}
    metrics: dict[str, Delayed] = {"change": delayed(summary)(table)}
    if CALIBRATED in maps_of(recipe):
        calibrated = work.open(f"frozen_ground/{CALIBRATED}")
        metrics["change.of_method"] = delayed(summary)(delayed(transitions)(calibrated, before, work.geobox))
        metrics["change.from_calibrated"] = delayed(summary)(delayed(transitions)(calibrated, after, work.geobox))
    parts = delayed(change_parts)(maps, work.geobox, recipe.change.false_discoveries)
    tables["change_parts"] = parts[0]
    metrics["change.by_cause"] = parts[1]
    states = {name: work.open(name) for name in _groups(recipe)}
    spots = delayed(hot_spots, pure=False)(recipe, work.geobox, work.pixel_km, maps, states)
    tables |= {name: spots[name] for name in ("change_blocks", "hot_spots", "drivers", "driver_effects", "driver_soil")}
    metrics["change.hot_spots"] = delayed(_counted)(spots["change_blocks"], spots["hot_spots"])
    metrics["change.net"] = delayed(net_change)(
        recipe, work.geobox, maps, states, cluster_errors(work.table("e_spread")), sum_errors(work)
    )
    if recipe.change.places:
        tables["change_places"] = delayed(to_look_at)(maps, work.geobox, recipe.change.places, recipe.change.seed)
    if recipe.change.samples is not None:
        path = recipe.path(recipe.change.samples)
        tables["change_estimates"] = delayed(sampled)(path, maps, work.geobox)
    if recipe.sources.truth is not None:
        truths = {epoch: recipe.path(getattr(recipe.sources.truth, epoch)) for epoch in EPOCHS}
        judged = delayed(against_truth)(truths, work.geobox, maps, states, {e: e_group(recipe, e) for e in EPOCHS})
        tables["transition_truth"] = delayed(transitions_of)(judged[0], work.geobox)
        metrics["change.truth"] = judged[1]
        metrics["change.truth_areas"] = delayed(summary)(tables["transition_truth"])
    return Products(tables=tables, metrics=metrics)


# ---- how much -----------------------------------------------------------------------------------------------------


def transitions(before: xr.Dataset, after: xr.Dataset, geobox: GeoBox) -> pd.DataFrame:
    """Return what became of every class, over pixels known in both epochs.

    Returns
    -------
    DataFrame
        from, to, km2; share_of_class: of the class before; share_of_changed: of all area whose class is another;
        share_of_degraded: of the area that went from permafrost to other ground or from seasonally frozen to non-frozen
        ground. Shares are NaN where they make no sense.
    """
    return transitions_of((before["frozen_ground"].values, after["frozen_ground"].values), geobox)


def transitions_of(maps: tuple[npt.NDArray[Any], npt.NDArray[Any]], geobox: GeoBox) -> pd.DataFrame:
    """Return `transitions` of two arrays of classes."""
    area = pixel_area_km2(geobox)
    each = np.broadcast_to(area.reshape(geobox.shape.y, -1), geobox.shape)
    codes = tuple(CLASS_KEYS)
    matrix = transition_matrix(maps[0], maps[1], each, codes)
    changed = changed_area(matrix)
    names = [CLASS_KEYS[code] for code in codes]
    degraded = sum(matrix[names.index(a), names.index(b)] for a, b in DEGRADED)
    rows = []
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            km2 = float(matrix[i, j])
            rows.append(
                {
                    "from": a,
                    "to": b,
                    "km2": km2,
                    "share_of_class": _share(km2, matrix[i].sum()),
                    "share_of_changed": _share(km2, changed) if i != j else np.nan,
                    "share_of_degraded": _share(km2, degraded) if (a, b) in DEGRADED else np.nan,
                }
            )
    return pd.DataFrame(rows)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else np.nan


def _matrix(table: pd.DataFrame) -> npt.NDArray[np.float64]:
    names = list(CLASS_KEYS.values())
    matrix: npt.NDArray[np.float64] = (
        table.pivot_table(index="from", columns="to", values="km2").loc[names, names].to_numpy()
    )
    return matrix


def area_changes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the change of each class's area, of pixels known in both epochs.

    Returns
    -------
    DataFrame
        class; before, after, difference [km²]; share_before, share_after [%] and points (their difference) of all;
        the same of the ground without lakes and glaciers; relative [%]: to the class's own area before.
    """
    matrix, names = _matrix(table), list(CLASS_KEYS.values())
    before, after = matrix.sum(axis=1), matrix.sum(axis=0)
    whole = area_change(before, after)
    n = len(GROUND_NAMES)
    land = area_change(before[:n], after[:n])
    nothing = np.full(len(names) - n, np.nan)
    with np.errstate(invalid="ignore"):
        shares = {"before": 100 * before / before.sum(), "after": 100 * after / after.sum()}
        of_land = {"before": 100 * before[:n] / before[:n].sum(), "after": 100 * after[:n] / after[:n].sum()}
    return pd.DataFrame(
        {
            "class": names,
            "before": before,
            "after": after,
            "difference": whole.difference,
            "share_before": shares["before"],
            "share_after": shares["after"],
            "points": whole.points,
            "relative": whole.relative,
            "share_of_ground_before": np.concatenate([of_land["before"], nothing]),
            "share_of_ground_after": np.concatenate([of_land["after"], nothing]),
            "points_of_ground": np.concatenate([land.points, nothing]),
        }
    )


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Return areas [km2]: compared, changed, degraded, and what permafrost and frost lost and gained."""
    matrix = _matrix(table)
    between = table.set_index(["from", "to"])["km2"]
    thawed = GROUND_NAMES[1:]
    return {
        "compared_km2": float(matrix.sum()),
        "changed_km2": float(changed_area(matrix)),
        "degraded_km2": float(sum(between[pair] for pair in DEGRADED)),
        "permafrost_lost_km2": float(sum(between["permafrost", name] for name in thawed)),
        "permafrost_gained_km2": float(sum(between[name, "permafrost"] for name in thawed)),
        "frost_lost_km2": float(between["seasonally_frozen", "non_frozen"]),
        "frost_gained_km2": float(between["non_frozen", "seasonally_frozen"]),
    }


# ---- by what, and how surely --------------------------------------------------------------------------------------

CAUSES = {"by_forcing": BY_FORCING, "by_e": BY_SOIL, "by_either": BY_EITHER, "by_both": BY_BOTH}
"""What metrics call the codes of `CHANGE_CAUSE`."""


def change_parts(maps: xr.Dataset, geobox: GeoBox, rate: float) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """Return what changed the frost number and the class, by kind of change, and how much of it is significant.

    Parameters
    ----------
    maps
        The group change_maps.
    geobox
        Its grid.
    rate
        Share of discoveries that may be false.

    Returns
    -------
    table
        kind; km2; mean change of the frost number, and by freezing sums, by thawing sums, by E (weighted by area);
        forcing_larger: share of the area where the two sums together did more than E; significant_km2: where the change
        is beyond 1.96 standard errors, each pixel on its own; discovered_km2: of all ground, at the given share of
        false discoveries.
    causes
        By kind of changed class: by_forcing_km2, by_e_km2 (either alone would have changed it), by_either_km2,
        by_both_km2 (only together).
    """
    pixels = compared(maps[TRANSITION.name].values, geobox)
    at = (pixels.row, pixels.col)
    freezing, thawing, soil, score = (
        maps[v.name].values[at].astype(np.float64) for v in (FREEZING_PART, THAWING_PART, SOIL_PART, CHANGE_SCORE)
    )
    cause = maps[CHANGE_CAUSE.name].values[at]
    p = 2.0 * ndtr(-np.abs(score))
    discovered, sure = false_discovery(p) <= rate, np.abs(score) > SURE
    kinds = dict(KINDS) | {"stable_permafrost": (11,), "stable_seasonally_frozen": (22,), "stable_non_frozen": (33,)}
    rows = []
    for kind, which in [
        *((name, pixels.are(codes)) for name, codes in kinds.items()),
        ("all_ground", np.isfinite(score)),
    ]:
        known = which & np.isfinite(score)
        area = pixels.area[known]
        means = {
            name: float(np.average(values[known], weights=area)) if len(area) else np.nan
            for name, values in (
                ("frost_number_change", freezing + thawing + soil), ("by_freezing", freezing), ("by_thawing", thawing),
                ("by_e", soil),
            )
        }  # fmt: skip
        larger = np.abs(freezing + thawing) > np.abs(soil)
        rows.append(
            {"kind": kind, "km2": pixels.km2(which)}
            | means
            | {"forcing_larger": _share(pixels.km2(known & larger), float(area.sum()))}
            | {"significant_km2": pixels.km2(known & sure), "discovered_km2": pixels.km2(known & discovered)}
        )
    causes = {
        str(kind): {f"{name}_km2": pixels.km2(pixels.are(codes) & (cause == code)) for name, code in CAUSES.items()}
        for kind, codes in KINDS.items()
    }
    return pd.DataFrame(rows), causes


def net_change(
    recipe: Recipe,
    geobox: GeoBox,
    maps: xr.Dataset,
    states: Mapping[str, xr.Dataset],
    clusters: npt.NDArray[np.float64],
    sum_error: tuple[float, float],
) -> dict[str, Any]:
    """Return the area of permafrost in both epochs and its change [km2], with 95 % intervals from the maps' errors.

    Errors of all pixels of a block (`errors_together_km`) are taken to be one; those of the two epochs go together as
    the recipe says.
    """
    settings = recipe.change
    pixels = compared(maps[TRANSITION.name].values, geobox)
    at = (pixels.row, pixels.col)
    known = np.isfinite(maps[CHANGE_SCORE.name].values[at])
    if not known.any():
        return {}
    z, sigma, soil_share = [], [], []
    for epoch in EPOCHS:
        forcing, soil = states[f"forcing/{epoch}"], states[e_group(recipe, epoch)]
        ddf, ddt = (np.maximum(forcing[name].values[at][known].astype(np.float64), 1.0) for name in ("ddf", "ddt"))
        e = soil[SOIL_E.name].values[at][known].astype(np.float64)
        error = soil[E_SIGMA.name].values[at] if E_SIGMA.name in soil else clusters[soil[CLUSTER.name].values[at]]
        of_soil = (2.0 * error[known] / e) ** 2
        z.append(np.log(ddf / ddt) - 2.0 * np.log(e))
        sigma.append(np.sqrt(of_soil + sum_error[0] ** 2 + sum_error[1] ** 2))
        soil_share.append(float(np.mean(of_soil / np.maximum(sigma[-1], 1e-12) ** 2)))
    share = float(np.mean(soil_share))
    together = share * settings.e_together + (1.0 - share) * settings.sums_together
    _, block = np.unique(blocks_of(pixels, settings.errors_together_km).index[known], return_inverse=True)
    area = pixels.area[known]
    drawn = drawn_areas(
        np.stack(z), np.stack(sigma), area, block, together, DRAWS, np.random.default_rng(settings.seed)
    )
    own = [float(area[each > 0].sum()) for each in z]
    return {
        "permafrost_km2": dict(zip(EPOCHS, own, strict=True)),
        "permafrost_interval": dict(zip(EPOCHS, (_interval(drawn[:, k]) for k in range(2)), strict=True)),
        "change_km2": own[1] - own[0],
        "change_interval": _interval(drawn[:, 1] - drawn[:, 0]),
        "errors_together": together,
        "blocks": int(block.max()) + 1,
    }


def _interval(values: npt.NDArray[np.float64]) -> list[float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return [float(low), float(high)]


# ---- where --------------------------------------------------------------------------------------------------------


def hot_spots(
    recipe: Recipe, geobox: GeoBox, pixel_km: float, maps: xr.Dataset, states: Mapping[str, xr.Dataset]
) -> dict[str, pd.DataFrame]:
    """Return tables of blocks, of hot spots and rectangles, and of what differs between their ground and others.

    Parameters
    ----------
    recipe, geobox, pixel_km
        Of the run.
    maps
        The group change_maps.
    states
        Groups of the cube, by name: forcing, E and covariates of both epochs.
    """
    settings = recipe.change
    pixels = compared(maps[TRANSITION.name].values, geobox)
    blocks = blocks_of(pixels, block_side(settings.block_km, pixel_km))
    table = pd.concat(
        [block_table(pixels, blocks, kind, settings.false_discoveries) for kind in ("permafrost_lost", "frost_lost")],
        ignore_index=True,
    )
    spots = spots_of(pixels, blocks, table, settings.rectangles)
    reach = max(settings.adjacent_km, 1.5 * pixel_km)
    pairs = {spot.name: drivers.groups_of(pixels, spot, reach) for spot in spots}
    groups = {name: pair for name, pair in pairs.items() if pair is not None}
    wanted = np.zeros(len(pixels.row), np.bool_)
    for pair in groups.values():
        wanted |= pair[0] | pair[1]
    values, units = driver_values(recipe, geobox, pixels, wanted, states)
    boxes, effects = drivers.compare(pixels, groups, values, units, max(settings.thinning_km, pixel_km), settings.seed)
    moving = [f"{v.name}_change" for v in MOVING if f"{v.name}_change" in values]
    return {
        "change_blocks": table,
        "hot_spots": spot_table(pixels, spots),
        "drivers": boxes,
        "driver_effects": effects,
        "driver_soil": drivers.by_sign_of_e(moving, groups, values),
    }


LEAST_FROST = 100.0
"""Freezing sum from which the ratio of thawing to freezing says something [°C d]: towards none it grows without end."""


def driver_values(
    recipe: Recipe, geobox: GeoBox, pixels: Compared, wanted: npt.NDArray[np.bool_], states: Mapping[str, xr.Dataset]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, str]]:
    """Return the values of what may have driven change at the wanted pixels (NaN at others), and their units."""
    at = (pixels.row[wanted], pixels.col[wanted])

    def spread(some: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        whole = np.full(len(wanted), np.nan, np.float32)
        whole[wanted] = some
        return whole

    def of(group: str, name: str) -> npt.NDArray[Any]:
        read: npt.NDArray[Any] = states[group][name].values[at].astype(np.float64)
        return read

    sums = {name: [of(f"forcing/{epoch}", name) for epoch in EPOCHS] for name in ("ddf", "ddt")}
    ratio = [
        np.divide(thaw, frost, out=np.full_like(thaw, np.nan), where=frost >= LEAST_FROST)
        for frost, thaw in zip(sums["ddf"], sums["ddt"], strict=True)
    ]
    e = [of(e_group(recipe, epoch), SOIL_E.name) for epoch in EPOCHS]
    number = [of(f"frozen_ground/{epoch}", "frost_number") for epoch in EPOCHS]
    pairs = {"ddf": sums["ddf"], "ddt": sums["ddt"], "ddt_ddf_ratio": ratio, "e": e, "frost_number": number}
    units = {"ddf_change": "degC d", "ddt_change": "degC d", "ddt_ddf_ratio_change": "1", "e_change": "1"}
    units["frost_number_change"] = "1"
    values = {f"{name}_change": spread(after - before) for name, (before, after) in pairs.items()}
    for variable in MOVING:
        if all(variable.name in states.get(f"covariates/{epoch}", ()) for epoch in EPOCHS):
            before, after = (of(f"covariates/{epoch}", variable.name) for epoch in EPOCHS)
            values[f"{variable.name}_change"], units[f"{variable.name}_change"] = spread(after - before), variable.units
    for variable in STATIC:
        if variable.name in states.get("covariates/training", ()):
            values[variable.name], units[variable.name] = (
                spread(of("covariates/training", variable.name)),
                variable.units,
            )
    for given in recipe.change.drivers:
        before, after = (
            on_grid(recipe.path(getattr(given, epoch)), geobox, f"change.drivers.{given.name}.{epoch}")[at]
            for epoch in EPOCHS
        )
        values[f"{given.name}_change"], units[f"{given.name}_change"] = spread(after - before), given.units
    return values, units


def _counted(blocks: pd.DataFrame, spots: pd.DataFrame) -> dict[str, Any]:
    """Return how many blocks are hot, and what the spots hold of all change, by kind."""
    found: dict[str, Any] = {}
    for kind, rows in blocks.groupby("kind", sort=False):
        of_kind = spots[(spots["kind"] == kind) & (spots["found_by"] == "getis_ord")]
        found[str(kind)] = {
            "blocks": len(rows),
            "hot_blocks": int(rows["hot"].sum()),
            "spots": len(of_kind),
            "share_of_kind": float(of_kind["share_of_kind"].sum()),
        }
    return found


# ---- places that were looked at -----------------------------------------------------------------------------------


def sampled(path: Path, maps: xr.Dataset, geobox: GeoBox) -> pd.DataFrame:
    """Return areas of each kind of change as the places of a table have it (`change_samples.estimates`)."""
    places = read_places(path)
    area = pixel_area_km2(geobox)
    return estimates(places, strata_of(maps[TRANSITION.name].values), area, geobox, path)


# ---- the step -----------------------------------------------------------------------------------------------------


def _groups(recipe: Recipe) -> list[str]:
    """Return the groups that drivers and errors are read from."""
    groups = [
        group
        for epoch in EPOCHS
        for group in (f"forcing/{epoch}", e_group(recipe, epoch), f"frozen_ground/{epoch}", f"covariates/{epoch}")
    ]
    return list(dict.fromkeys(groups))


def _scopes(recipe: Recipe) -> list[str]:
    return [""] if recipe.epochs.target else []


def _inputs(recipe: Recipe, _scope: str) -> list[str]:
    maps = [f"frozen_ground/{scope}" for scope in maps_of(recipe)]
    return list(dict.fromkeys([*maps, *_groups(recipe), "e_spread", "change_maps"]))


def _sources(recipe: Recipe, _scope: str) -> list[Path]:
    given = [path for driver in recipe.change.drivers for path in (driver.training, driver.target)]
    given += [recipe.change.samples] if recipe.change.samples else []
    given += [getattr(recipe.sources.truth, epoch) for epoch in EPOCHS] if recipe.sources.truth else []
    return [recipe.path(path) for path in given]


CHANGE = Stage(
    "change",
    "transitions, hot spots and drivers",
    build,
    scopes=_scopes,
    inputs=_inputs,
    sources=_sources,
    sections=("change",),
    version=3,
)
