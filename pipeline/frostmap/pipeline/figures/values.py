"""Maps of numbers: forcing, E, the frost number, predictors, masks, and how sure each is."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import ListedColormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from frostmap.pipeline import schema
from frostmap.pipeline.figures.contents import by_epoch, epoch_title, group_of, label_of
from frostmap.pipeline.figures.layout import (
    colour_bar,
    diverging_scale,
    draw_legend,
    map_figure,
    patch,
    percentile,
    robust_scale,
)
from frostmap.pipeline.figures.palette import VERMILION
from frostmap.pipeline.map_sheets import MapSheet
from frostmap.pipeline.stages.frozen_ground import e_group
from frostmap.pipeline.work import Work


def forcing(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the degree-day sums of each epoch."""
    sums = {name: by_epoch(work, "forcing", name) for name in ("ddf", "ddt")}
    if not any(sums.values()):
        return None
    epochs = list(sums["ddf"] or sums["ddt"])
    figure, panels = map_figure(work, sheet, "Freezing and thawing degree days", 2 * len(epochs), columns=2, bars=1)
    titles = {"ddf": "Freezing (DDF)", "ddt": "Thawing at the ground (DDT)"}
    for column, (name, maps) in enumerate(sums.items()):
        drawn = panels[column::2]
        norm = robust_scale(maps.values(), sheet, lowest=0)
        for axes, epoch in zip(drawn, epochs, strict=True):
            image = sheet.draw_values(axes, maps[epoch], cmap="cividis", norm=norm)
            axes.set_title(f"{titles[name]}, {label_of(work, epoch)}")
        colour_bar(figure, image, drawn, "mean annual sum [°C d]", extend="max")
    return figure


def forcing_change(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the difference of the degree-day sums between the epochs."""
    sums = {name: by_epoch(work, "forcing", name) for name in ("ddf", "ddt")}
    if any(len(maps) < 2 for maps in sums.values()):
        return None
    title = f"Change of the degree days, {label_of(work, 'target')} minus {label_of(work, 'training')}"
    figure, panels = map_figure(work, sheet, title, 2, columns=2, bars=1)
    differences = {name: maps["target"] - maps["training"] for name, maps in sums.items()}
    norm = diverging_scale(differences.values(), sheet)
    names = {"ddf": ("Freezing (DDF)", "RdBu"), "ddt": ("Thawing at the ground (DDT)", "RdBu_r")}
    for axes, (name, difference) in zip(panels, differences.items(), strict=True):
        text, cmap = names[name]  # red is towards thaw in both
        image = sheet.draw_values(axes, difference, cmap=cmap, norm=norm)
        axes.set_title(text)
        colour_bar(figure, image, [axes], "change of the mean annual sum [°C d]", extend="both")
    return figure


def soil_parameter(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw E of each epoch, and their difference."""
    groups: dict[str, str] = {epoch: e_group(work.recipe, epoch) for epoch in work.recipe.epochs.named()}
    maps = {
        epoch: cube["e"].to_numpy().astype(np.float32)
        for epoch, group in groups.items()
        if (cube := group_of(work, group, "e")) is not None
    }
    if not maps:
        return None
    count = 3 if len(maps) == 2 else 1
    columns = 2 if count == 3 else None
    figure, panels = map_figure(work, sheet, "Soil parameter E", count, columns=columns, bars=count - count // 2)
    norm = robust_scale(maps.values(), sheet)
    how = {
        epoch: "predicted by the forest" if group.startswith("transfer") else "calibrated on the surveyed maps"
        for epoch, group in groups.items()
    }
    for axes, (epoch, values) in zip(panels, maps.items(), strict=False):
        image = sheet.draw_values(axes, values, cmap="viridis", norm=norm)
        axes.set_title(f"{epoch_title(work, epoch)}, {how[epoch]}")
    colour_bar(figure, image, panels[: len(maps)], "E [1]", extend="both")
    if len(maps) == 2:
        difference = maps["target"] - maps["training"]
        image = sheet.draw_values(panels[2], difference, cmap="RdBu_r", norm=diverging_scale([difference], sheet))
        panels[2].set_title(f"{label_of(work, 'target')} minus {label_of(work, 'training')}")
        colour_bar(figure, image, panels[2:], "difference of E [1]", extend="both")
    return figure


def frost_number(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the frost number of each epoch."""
    maps = by_epoch(work, "frozen_ground", "frost_number")
    if not maps:
        return None
    figure, panels = map_figure(work, sheet, "Frost number F", len(maps), bars=1)
    spread = float(np.nanmax([percentile(np.abs(values - 0.5), sheet, 99) for values in maps.values()]))
    norm = TwoSlopeNorm(0.5, max(0.0, 0.5 - spread), min(1.0, 0.5 + spread)) if spread > 0 else TwoSlopeNorm(0.5, 0, 1)
    for axes, (epoch, values) in zip(panels, maps.items(), strict=True):
        image = sheet.draw_values(axes, values, cmap="RdBu", norm=norm)
        axes.set_title(epoch_title(work, epoch))
    colour_bar(figure, image, panels, "F [1]; permafrost above 0.5", extend="both")
    return figure


def covariates(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the predictors of E in the last epoch that has them."""
    epochs = [epoch for epoch in work.recipe.epochs.named() if group_of(work, f"covariates/{epoch}") is not None]
    if not epochs:
        return None
    cube = work.open(f"covariates/{epochs[-1]}")
    shown = [variable for variable in schema.PREDICTORS if variable.name in cube]
    title = f"Predictors of E, {label_of(work, epochs[-1])}"
    figure, panels = map_figure(work, sheet, title, len(shown), columns=2, bars=-(-len(shown) // 2))
    for axes, variable in zip(panels, shown, strict=True):
        values = cube[variable.name].to_numpy()
        image = sheet.draw_values(axes, values, cmap="cividis", norm=robust_scale([values], sheet))
        axes.set_title(variable.long_name)
        unit = "" if variable.units == "1" else f"[{variable.units}]"
        colour_bar(figure, image, [axes], unit, extend="both")
    return figure


def masks(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw how much of each pixel is lake or glacier, in each epoch."""
    shown = {
        (epoch, variable): values
        for variable in (schema.LAKES, schema.GLACIERS)
        for epoch, values in by_epoch(work, "masks", variable.name).items()
        if np.any(values[sheet.inside] > 0)
    }
    if not shown:
        return None
    figure, panels = map_figure(work, sheet, "Lakes and glaciers", len(shown), columns=min(2, len(shown)), bars=1)
    for axes, ((epoch, variable), values) in zip(panels, shown.items(), strict=True):
        image = sheet.draw_values(axes, values, cmap="Blues", norm=Normalize(0, 1))
        axes.set_title(f"{variable.name.capitalize()}, {label_of(work, epoch)}")
    colour_bar(figure, image, panels, "share of a pixel [1]")
    return figure


def e_error(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the standard error of E in each epoch that the forest predicts."""
    maps = by_epoch(work, "transfer", schema.E_SIGMA.name)
    if not maps:
        return None
    figure, panels = map_figure(work, sheet, "Standard error of E", len(maps), bars=1)
    norm = robust_scale(maps.values(), sheet, lowest=0.0)
    for axes, (epoch, values) in zip(panels, maps.items(), strict=True):
        image = sheet.draw_values(axes, values, cmap="magma_r", norm=norm)
        axes.set_title(epoch_title(work, epoch))
    colour_bar(figure, image, panels, "standard error of E [1]", extend="max")
    return figure


def applicability(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw how unlike the forest's samples each pixel is, against the most unlike that it was tried on."""
    maps = by_epoch(work, "transfer", schema.DISSIMILARITY.name)
    like = by_epoch(work, "transfer", schema.APPLICABLE.name)
    if not maps or maps.keys() != like.keys():
        return None
    figure, panels = map_figure(work, sheet, "Where the forest was never tried", len(maps), bars=1, legend_rows=1)
    norm = robust_scale(maps.values(), sheet, lowest=0.0)
    for axes, (epoch, values) in zip(panels, maps.items(), strict=True):
        asked = sheet.inside & (like[epoch] != schema.APPLICABLE.fill_value)
        outside = like[epoch] == 0
        image = sheet.draw_values(axes, np.where(outside, np.nan, values), cmap="cividis_r", norm=norm)
        beyond = 100 * outside[asked].mean() if asked.any() else 0.0
        axes.set_title(f"{label_of(work, epoch)}: {beyond:.1f} % of the pixels beyond")
        axes.imshow(
            sheet.on_paper(np.where(outside, 1.0, np.nan)),
            extent=sheet.extent,
            cmap=ListedColormap([VERMILION]),
            interpolation="nearest",
            zorder=image.get_zorder() + 0.01,
        )
    colour_bar(figure, image, panels, "distance to the nearest sample, of the samples' mean distance [1]", extend="max")
    draw_legend(figure, [patch(VERMILION, "more unlike than was ever tried")], columns=1)
    return figure


def probability(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw how probable permafrost is in each epoch."""
    maps = by_epoch(work, "frozen_ground", schema.PROBABILITY.name)
    if not maps:
        return None
    figure, panels = map_figure(work, sheet, "Probability of permafrost", len(maps), bars=1)
    for axes, (epoch, values) in zip(panels, maps.items(), strict=True):
        image = sheet.draw_values(axes, values, cmap="RdBu", norm=Normalize(0, 1))
        known = values[sheet.inside & np.isfinite(values)]
        undecided = 100 * ((known > 0.1) & (known < 0.9)).mean() if known.size else 0.0
        axes.set_title(f"{label_of(work, epoch)}: {undecided:.0f} % of the pixels between 0.1 and 0.9")
    colour_bar(figure, image, panels, "probability of permafrost [1]")
    return figure
