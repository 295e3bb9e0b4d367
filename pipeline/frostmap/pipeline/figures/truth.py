"""A run against the truth of its simulation."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from frostmap.kernels.frost_number import (
    GLACIER,
    LAKE,
    PERMAFROST,
)
from frostmap.pipeline.figures.contents import by_epoch, group_of, label_of, truth_path, truth_values
from frostmap.pipeline.figures.layout import density_scale, draw_density, draw_legend, headline, map_figure, patch
from frostmap.pipeline.figures.palette import BLUE, GREY, PALE_BLUE, PALE_GREY, PURPLE, VERMILION, WIDTH
from frostmap.pipeline.map_sheets import NO_VALUE_COLOUR, MapSheet
from frostmap.pipeline.stages.frozen_ground import e_group
from frostmap.pipeline.work import Work

TRUTH_BANDS = ("ddf", "ddt", "e")
"""What is compared with the truth."""


def truth(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw what was found against what is true, pixel by pixel."""
    names = list(work.recipe.epochs.named())
    pairs = {
        (epoch, band): (truth_values(work, epoch, band), cube[band].to_numpy())
        for epoch in names
        for band in TRUTH_BANDS
        if truth_path(work, epoch) is not None
        and (cube := group_of(work, e_group(work.recipe, epoch) if band == "e" else f"forcing/{epoch}", band))
        is not None
    }
    if not pairs:
        return None
    epochs = [epoch for epoch in names if any(key[0] == epoch for key in pairs)]
    figure = Figure(figsize=(WIDTH, 0.7 + 2.9 * len(epochs)), layout="constrained")
    headline(work, figure, "Found against true, pixel by pixel")
    grid = figure.subplots(len(epochs), 3, squeeze=False)
    titles = {"ddf": "DDF [°C d]", "ddt": "DDT [°C d]", "e": "E [1]"}
    classes = by_epoch(work, "frozen_ground", "frozen_ground")
    ground = {
        epoch: sheet.inside
        & ~np.isin(classes.get(epoch, 0), (GLACIER, LAKE))
        & ~np.isin(truth_values(work, epoch, "frozen_ground", how="nearest"), (GLACIER, LAKE))
        for epoch in epochs
    }
    images: list[AxesImage | None] = []
    for row, epoch in zip(grid, epochs, strict=True):
        for axes, band in zip(row, TRUTH_BANDS, strict=True):
            if (epoch, band) not in pairs:
                axes.set_axis_off()
                continue
            true, found = (values[ground[epoch]] for values in pairs[epoch, band])
            images.append(draw_density(axes, true, found))
            axes.set(xlabel="true", title=f"{titles[band]}, {label_of(work, epoch)}")
        row[0].set_ylabel("found")
    density_scale(figure, [image for image in images if image is not None])
    return figure


def truth_classes(work: Work, sheet: MapSheet) -> Figure | None:
    """Draw where the mapped classes are those of the truth."""
    maps = {
        epoch: (truth_values(work, epoch, "frozen_ground", how="nearest"), codes)
        for epoch, codes in by_epoch(work, "frozen_ground", "frozen_ground").items()
        if truth_path(work, epoch) is not None
    }
    if not maps:
        return None
    figure, panels = map_figure(work, sheet, "Mapped against true classes", len(maps), legend_rows=2)
    kinds = {
        0: ("permafrost, as in truth", PALE_BLUE),
        1: ("another class, as in truth", PALE_GREY),
        2: ("permafrost that is not there", BLUE),
        3: ("permafrost that is missed", VERMILION),
        4: ("other classes confused", PURPLE),
        5: ("glacier or lake, not compared", GREY),
    }
    present: set[int] = set()
    for axes, (epoch, (true, codes)) in zip(panels, maps.items(), strict=True):
        kind = np.where(true == codes, 1, 4)
        kind[(true == PERMAFROST) & (codes == PERMAFROST)] = 0
        kind[(true != PERMAFROST) & (codes == PERMAFROST)] = 2
        kind[(true == PERMAFROST) & (codes != PERMAFROST)] = 3
        kind[np.isin(codes, (GLACIER, LAKE)) | np.isin(true, (GLACIER, LAKE))] = 5
        kind[(codes == 255) | ~np.isfinite(true) | (true == 255)] = 255
        sheet.draw_colours(axes, kind, {code: colour for code, (_, colour) in kinds.items()}, NO_VALUE_COLOUR)
        compared = kind[sheet.inside & (kind < 5)]
        agree = (
            f": {100 * np.isin(compared, (0, 1)).mean():.1f} % of {compared.size:,} pixels agree"
            if compared.size
            else ""
        )
        axes.set_title(f"{label_of(work, epoch)}{agree}")
        present |= set(np.unique(kind[sheet.inside]).tolist())
    draw_legend(figure, [patch(colour, name) for code, (name, colour) in kinds.items() if code in present], columns=3)
    return figure
