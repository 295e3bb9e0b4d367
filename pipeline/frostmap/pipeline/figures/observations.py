"""Observations, and how their gaps are filled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from frostmap.pipeline import schema
from frostmap.pipeline.figures.contents import Numbers, group_of, label_of, table_of
from frostmap.pipeline.figures.layout import (
    chart_figure,
    colour_bar,
    draw_legend,
    grouped_bars,
    headline,
    map_figure,
    patch,
    percentile,
    robust_scale,
)
from frostmap.pipeline.figures.palette import BLUE, GREEN, ORANGE, PALE_BLUE, PURPLE, SKY_BLUE, VERMILION, WIDTH, YELLOW
from frostmap.pipeline.map_sheets import NO_VALUE_COLOUR, MapSheet
from frostmap.pipeline.stage import all_years
from frostmap.pipeline.work import Work, days_in

OVERPASS_TITLES = dict(zip(schema.OVERPASSES, ("Terra, day", "Aqua, day", "Terra, night", "Aqua, night"), strict=True))


def observed_days(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw the share of days with a trusted observation, by overpass, in the last epoch that has observations."""
    counts = {
        epoch: cube["clear_observations"].to_numpy()
        for epoch in work.recipe.epochs.named()
        if (cube := group_of(work, f"annual_cycle/{epoch}", "clear_observations")) is not None
    }
    if not counts:
        return None
    epoch, observations = list(counts.items())[-1]
    years = work.recipe.epochs.named()[epoch].years
    share = 100.0 * observations / sum(days_in(year) for year in years)
    title = f"Days with a trusted observation, {label_of(work, epoch)}"
    figure, panels = map_figure(work, sheet, title, 4, columns=2, bars=1)
    norm = Normalize(0, max(10.0, np.ceil(percentile(share.max(axis=0), sheet, 99) / 10) * 10))
    for axes, name, values in zip(panels, OVERPASS_TITLES.values(), share, strict=True):
        image = sheet.draw_values(axes, values, cmap="cividis", norm=norm)
        axes.set_title(f"{name}: mean {np.mean(values[sheet.inside]):.0f} %")
    colour_bar(figure, image, panels, "days observed [%]")
    return figure


def gap_filling(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw one day before and after the gaps are filled, how sure each value is, and what the sky was."""
    year = str(max(list(work.recipe.epochs.named().values())[-1].years))
    kept = group_of(work, f"observations/{year}", "lst")
    filled = group_of(work, f"gap_filling/{year}", "lst", "sigma", "fill_flag")
    if kept is None or filled is None:
        return None
    overpass = schema.OVERPASSES.index("terra_day")
    day = _half_clouded_day(kept["lst"][:, overpass], sheet)
    before, after = (_celsius(cube["lst"][day, overpass].to_numpy()) for cube in (kept, filled))
    flag = filled["fill_flag"][day, overpass].to_numpy()
    sigma = filled["sigma"][day, overpass].to_numpy().astype(np.float32)
    date = str(kept["time"].to_numpy()[day])[:10]
    title = f"Land surface temperature of one overpass, {date}"
    figure, panels = map_figure(work, sheet, title, 4, columns=2, bars=2, legend_rows=2)
    norm = robust_scale([after], sheet)
    observed = np.isfinite(before[sheet.inside]).mean()
    for axes, values, text in (
        (panels[0], before, f"Terra, day, as kept: {100 * observed:.0f} % observed"),
        (panels[1], after, "the same overpass with its gaps filled"),
    ):
        image = sheet.draw_values(axes, values, cmap="viridis", norm=norm)
        axes.set_title(text)
    colour_bar(figure, image, panels[:2], "land surface temperature [°C]", extend="both")
    widest = Normalize(0, max(1.0, np.ceil(percentile(sigma, sheet, 99))))
    image = sheet.draw_values(panels[2], sigma, cmap="magma", norm=widest)
    panels[2].set_title("standard error")
    colour_bar(figure, image, panels[2:3], "standard error [K]", extend="max")
    origin = np.where(flag == schema.FILL_FLAG.fill_value, 255, np.where(flag & 8, 8, flag & 7))
    sheet.draw_colours(panels[3], origin, {code: colour for code, (_, colour) in ORIGINS.items()}, NO_VALUE_COLOUR)
    panels[3].set_title("where each value comes from")
    present = set(np.unique(origin[sheet.inside]).tolist())
    draw_legend(figure, [patch(colour, name) for code, (name, colour) in ORIGINS.items() if code in present], columns=3)
    return figure


ORIGINS = {
    0: ("observed", PALE_BLUE),
    6: ("observed amid clouds", SKY_BLUE),
    3: ("observed in the shadow of a cloud", BLUE),
    7: ("observed in shadow, amid clouds", VERMILION),
    1: ("similar pixels: cloud, sunlit below", YELLOW),
    2: ("similar pixels: cloud, shaded below", ORANGE),
    4: ("similar pixels: cloud at night", ORANGE),
    5: ("similar pixels: no swath", GREEN),
    8: ("the pixel's own seasons", PURPLE),
    255: ("missing", NO_VALUE_COLOUR),
}
"""Names and colours of where a filled value comes from: the sky class, 8 where the annual cycle was taken."""


def quality(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw the share of looks that were kept: months along x, tiles and years along y, one panel an overpass."""
    tables = [
        table_of(work, f"quality-{year}", "year", "tile", "overpass", "month", "kept")
        for year in all_years(work.recipe)
    ]
    found = [table for table in tables if table is not None and len(table)]
    if not found:
        return None
    table = pd.concat(found)
    rows = sorted(set(zip(table["tile"], table["year"], strict=True)))
    figure = Figure(figsize=(WIDTH, 1.9 + 2 * (0.75 + 0.17 * len(rows))), layout="constrained")
    headline(work, figure, "Observations kept, of all looks at the ground")
    panels = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    row = {place: number for number, place in enumerate(rows)}
    for axes, (overpass, name) in zip(panels, OVERPASS_TITLES.items(), strict=True):
        own = table[table["overpass"] == overpass]
        share = np.full((len(rows), 12), np.nan)
        share[[row[place] for place in zip(own["tile"], own["year"], strict=True)], own["month"] - 1] = (
            100 * own["kept"]
        )
        image = axes.imshow(share, cmap="cividis", norm=Normalize(0, 100), aspect="auto", interpolation="nearest")
        axes.set_title(f"{name}: mean {np.nanmean(share):.0f} %")
        axes.set_xticks(range(12), [str(month) for month in range(1, 13)])
        axes.set_yticks(range(len(rows)), [f"{tile} {year}" for tile, year in rows])
        axes.tick_params(axis="y", length=0, labelsize=7)
    for axes in panels[2:]:
        axes.set_xlabel("month")
    colour_bar(figure, image, list(panels), "looks kept [%]")
    return figure


def overpasses(work: Work, _sheet: MapSheet) -> Figure | None:
    """Draw the observed share of each overpass and year."""
    years = [table_of(work, f"overpasses-{year}", "year", "overpass", "observed") for year in all_years(work.recipe)]
    tables = [table for table in years if table is not None]
    if not tables:
        return None
    by_year = pd.concat(tables).pivot_table(index="year", columns="overpass", values="observed", sort=True)
    names = [name for name in OVERPASS_TITLES if name in by_year.columns]
    figure, axes = chart_figure(work, "Share of pixel-days observed", height=3.2)
    grouped_bars(
        axes,
        [str(year) for year in by_year.index],
        {OVERPASS_TITLES[name]: (100 * by_year[name]).tolist() for name in names},
        colours=[ORANGE, VERMILION, SKY_BLUE, BLUE],
        write="{:.0f}".format if len(by_year) <= 6 else None,
    )
    axes.set_ylabel("observed [%]")
    axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
    return figure


def _half_clouded_day(lst: xr.DataArray, sheet: MapSheet) -> int:
    """Return the day of summer, when clouds are many, whose observed share is nearest to one half."""
    days = np.arange(lst.sizes["time"])
    summer = days[(days >= 184) & (days < 230)] if days.size > 230 else days
    share = np.array([np.count_nonzero(lst[day].to_numpy()[sheet.inside]) for day in summer]) / max(
        1, sheet.inside.sum()
    )
    return int(summer[np.abs(share - 0.5).argmin()])


def _celsius(stored: Numbers) -> npt.NDArray[np.float32]:
    scale = schema.LST.scale or 1.0
    celsius: npt.NDArray[np.float32] = np.where(stored > 0, stored * scale - 273.15, np.nan).astype(np.float32)
    return celsius
