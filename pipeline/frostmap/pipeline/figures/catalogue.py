"""Every figure, and the files that they are drawn to."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import matplotlib as mpl

from frostmap.pipeline.figures.change import (
    change_parts,
    change_significance,
    drivers,
    hot_spots,
    single_years,
)
from frostmap.pipeline.figures.charts import (
    areas,
    cluster_e,
    forest,
    ground_correction,
    partial_dependence,
    reliability,
    transition,
)
from frostmap.pipeline.figures.classes import boreholes, change, frozen_ground
from frostmap.pipeline.figures.covariates import histograms, missing_predictors
from frostmap.pipeline.figures.drawing import Drawing, draw
from frostmap.pipeline.figures.granules import granules
from frostmap.pipeline.figures.observations import gap_filling, observed_days, overpasses, quality
from frostmap.pipeline.figures.palette import STYLE
from frostmap.pipeline.figures.reference import inconsistency, reference_maps
from frostmap.pipeline.figures.truth import truth, truth_classes
from frostmap.pipeline.figures.values import (
    applicability,
    covariates,
    e_error,
    forcing,
    forcing_change,
    frost_number,
    masks,
    probability,
    soil_parameter,
)
from frostmap.pipeline.map_sheets import map_sheet
from frostmap.pipeline.work import PRODUCTS, Work

FIGURES: tuple[Drawing, ...] = (
    Drawing(
        "frozen_ground",
        "Frozen ground",
        "headline",
        "Class of each pixel: permafrost where the frost number is above 0.5. Equal-area projection about the "
        "middle of the region; each point of the map shows the pixel it lies in.",
        "Map of permafrost, seasonally frozen ground, non-frozen ground, glaciers and lakes in {epochs}.",
        frozen_ground,
    ),
    *(
        Drawing(
            f"granules_{product}",
            f"Granules of {product.upper()}",
            "granules",
            "Each cell is a granule that should exist: a tile on a date. Pale blue is read; the other colours and the "
            "number of granules of each are in the legend. White: there is no such date.",
            f"Chart of what became of each granule of {product.upper()}, dates along x, tiles and years along y.",
            partial(granules, product=product, kind=kind),
        )
        for kind, products in PRODUCTS.items()
        for product in products
    ),
    Drawing(
        "overpasses",
        "Share of pixel-days observed",
        "data",
        "Of all pixels of the region and all days of the year, the share with an observation whose "
        "quality bits the recipe accepts. The rest is filled.",
        "Bar chart of the observed share of pixel-days, for each overpass of Terra and Aqua and each year.",
        overpasses,
    ),
    Drawing(
        "observed_days",
        "Days with a trusted observation",
        "data",
        "Share of the epoch's days on which the pixel has an observation whose quality bits the recipe accepts.",
        "Four maps of the share of days with an observation: Terra and Aqua, by day and by night.",
        observed_days,
    ),
    Drawing(
        "quality",
        "Observations kept",
        "data",
        "Of the pixels that a satellite passed over in a month, the share whose temperature is kept: neither cloud, "
        "nor beyond the error limits of the recipe, nor screened as cloud that the mask missed.",
        "Four charts of the share of observations kept, months along x, tiles and years along y, one an overpass.",
        quality,
    ),
    Drawing(
        "gap_filling",
        "One overpass before and after gap filling",
        "data",
        "First: the temperatures that are kept, grey where clouds hid the ground. Second: the same overpass after gap "
        "filling. Third: the standard error of each value. Fourth: which values were observed, and how the others were "
        "estimated. The day is the one of summer whose observed share is nearest to one half.",
        "Four maps of one day: land surface temperature with gaps, the same with its gaps filled, the standard error, "
        "and the origin of each value.",
        gap_filling,
    ),
    Drawing(
        "forcing",
        "Freezing and thawing degree days",
        "forcing",
        "Mean annual sums of daily mean temperature below (freezing) and above (thawing) 0 °C. One scale for all "
        "epochs.",
        "Maps of the mean annual freezing and thawing degree-day sums in {epochs}.",
        forcing,
    ),
    Drawing(
        "forcing_change",
        "Change of the degree days",
        "forcing",
        "Red is towards thaw in both maps: less freezing, more thawing.",
        "Two maps of the change of freezing and thawing degree-day sums between {epochs}.",
        forcing_change,
    ),
    Drawing(
        "ground_correction",
        "Thawing sums at weather stations",
        "forcing",
        "Each point is a station in an interval of 16 days. Right: predicted by a regression that was fitted without "
        "the station. The line is equality.",
        "Two scatter plots of thawing sums measured in the ground against those from satellite, before and after "
        "the correction.",
        ground_correction,
    ),
    Drawing(
        "cluster_e",
        "E of each soil cluster",
        "soil",
        "Every E within the bar gives the same map of the surveyed pixels: the surveys do not tell these values apart, "
        "and the one nearest to the prior is taken. A short bar is a well-determined E.",
        "Chart of the calibrated soil parameter of each cluster with its interval of indifference, the bounds and the "
        "prior.",
        cluster_e,
    ),
    Drawing(
        "soil_parameter",
        "Soil parameter E",
        "soil",
        "E is the square root of the thawed over the frozen thermal conductivity: at a lower E, ground stays frozen "
        "under more thawing.",
        "Maps of the soil parameter E in {epochs}.",
        soil_parameter,
    ),
    Drawing(
        "e_error",
        "Standard error of E",
        "soil",
        "What the trees disagree about, and what the surveys leave undecided of the E that they learnt.",
        "Maps of the standard error of E in {epochs}.",
        e_error,
    ),
    Drawing(
        "applicability",
        "Where the forest was never tried",
        "soil",
        "How far each pixel's predictors are from those of the nearest sample, each predictor weighted by its "
        "importance. Red pixels are farther than samples were from those of other blocks of 200 km, by which the "
        "forest was judged.",
        "Maps of how unlike the forest's samples each pixel is in {epochs}, red where it was never tried.",
        applicability,
    ),
    Drawing(
        "forest",
        "What the forest predicts E from",
        "soil",
        "Left: share of what the trees gain by looking at a predictor. Right: how much the error of left-out samples "
        "rises when the predictor's values are shuffled. Both tell what the forest uses, not what causes E.",
        "Two bar charts of the importance of the forest's predictors.",
        forest,
    ),
    Drawing(
        "partial_dependence",
        "E against each predictor",
        "soil",
        "The mean prediction if a predictor had this value everywhere, all others as they are; 80 % of the samples lie "
        "in the band. Where predictors go together, parts of the lines are combinations that do not exist.",
        "Small charts of the predicted E against each predictor.",
        partial_dependence,
    ),
    Drawing(
        "covariates",
        "Predictors of E",
        "covariates",
        "Soil clusters are made of these, and the forest predicts E from them.",
        "Small maps of the predictors: terrain, vegetation, snow, precipitation and soil texture.",
        covariates,
    ),
    Drawing(
        "covariate_histograms",
        "How often each value of the predictors is",
        "covariates",
        "Share of the region's pixels by value; the outermost steps hold what lies beyond them. One line where both "
        "epochs have the same map.",
        "Small charts of the distribution of each predictor in {epochs}.",
        histograms,
    ),
    Drawing(
        "missing_predictors",
        "Where predictors are missing",
        "covariates",
        "A pixel that lacks one predictor has no E, and so no class; the table says why each is missing.",
        "Maps of the pixels that lack a predictor in {epochs}.",
        missing_predictors,
    ),
    Drawing(
        "frost_number",
        "Frost number",
        "areas",
        "F compares how deep winter freezes the ground with how deep summer thaws it. White is the boundary of "
        "permafrost, 0.5: pale pixels could easily be of the other class.",
        "Maps of the frost number in {epochs}.",
        frost_number,
    ),
    Drawing(
        "areas",
        "Area of each class",
        "areas",
        "Areas on the WGS 84 ellipsoid.",
        "Bar chart of the area of each class in {epochs}.",
        areas,
    ),
    Drawing(
        "masks",
        "Lakes and glaciers",
        "areas",
        "How much of each pixel is covered. Pixels with much of it are shown as lake or glacier, not as frozen ground.",
        "Maps of the share of each pixel that is lake, and that is glacier, in {epochs}.",
        masks,
    ),
    Drawing(
        "probability",
        "Probability of permafrost",
        "areas",
        "From the errors of freezing and thawing sums and of E, taken to be normal and independent. What is pale could "
        "be either.",
        "Maps of the probability of permafrost in {epochs}.",
        probability,
    ),
    Drawing(
        "single_years",
        "Years in which ground is permafrost",
        "areas",
        "Each year of the epoch has a map of its own sums, with the epoch's E, lakes and glaciers. Yellow ground is "
        "permafrost in some years only.",
        "Maps of the number of single years in which ground is permafrost, in {epochs}.",
        single_years,
    ),
    Drawing(
        "boreholes",
        "Boreholes on the map",
        "validation",
        "Circles: permafrost was found in the borehole; squares: none was. Purple marks boreholes where the map says "
        "otherwise.",
        "Map of boreholes on the classes, marked by whether the map agrees with them.",
        boreholes,
    ),
    Drawing(
        "reference_maps",
        "Reference maps",
        "reference",
        "Maps that the run's own is compared with, on its pixels. Where a map tells permafrost alone from other "
        "ground, all other ground is shown as seasonally frozen.",
        "Maps of frozen ground by other methods and by other authors.",
        reference_maps,
    ),
    Drawing(
        "inconsistency",
        "Where maps differ",
        "reference",
        "Dark blue: permafrost in this map alone; vermilion: in the other alone; pale: both agree. Grey: either has no "
        "ground there. Broken lines: zones of the recipe, in which agreement is counted on its own.",
        "Maps of where each reference map and this one agree and differ about permafrost.",
        inconsistency,
    ),
    Drawing(
        "change",
        "Change of frozen ground",
        "change",
        "Lost and gained compare the class of the same pixel in the two epochs.",
        "Map of the change of classes between {epochs}: permafrost lost, gained and stable, and the same for "
        "seasonally frozen ground.",
        change,
    ),
    Drawing(
        "transition",
        "What became of each class",
        "change",
        "Rows: the class before; columns: after. The diagonal, in bold, did not change.",
        "Table of the area that went from each class to each class between {epochs}.",
        transition,
    ),
    Drawing(
        "change_parts",
        "What changed the frost number",
        "change",
        "The change of F and its three parts, which add up to it exactly: freezing sums, thawing sums, and E. Red is "
        "towards thaw. One scale for all.",
        "Four maps between {epochs}: the change of the frost number, and what freezing, thawing and E did of it.",
        change_parts,
    ),
    Drawing(
        "change_significance",
        "How sure the change is",
        "change",
        "Significant: the change is more than 1.96 of its standard errors, from those of the sums and of E "
        "and from how far they go together in both epochs.",
        "Map of changed ground between {epochs}, by whether the change is beyond the maps' errors.",
        change_significance,
    ),
    Drawing(
        "hot_spots",
        "Where ground degraded",
        "change",
        "Share of each block's ground that degraded. Hot spots are blocks that lie together with more of it than "
        "chance would have (Getis and Ord's Gi*, with the share of false discoveries held down).",
        "Maps of the share of degraded ground in square blocks between {epochs}, with outlines of hot spots.",
        hot_spots,
    ),
    Drawing(
        "drivers",
        "Degraded ground, and stable ground beside it",
        "change",
        "Boxes from quartile to quartile, with the median as a line and the mean as a diamond; whiskers end within 1.5 "
        "boxes. Pixels further out are not drawn.",
        "Box plots of changes of degree-day sums, E and other variables, in degraded and in stable ground.",
        drivers,
    ),
    Drawing(
        "truth",
        "Found against true",
        "truth",
        "Number of pixels, on a logarithmic scale of colour, by true and by found value, dark where "
        "there are many; the line is equality. Lakes and glaciers are left out.",
        "Density plots of found against true freezing and thawing sums and E.",
        truth,
    ),
    Drawing(
        "reliability",
        "How often permafrost is where it is thought probable",
        "truth",
        "Pixels in ten ranges of probability: their mean probability, and the share that truly is permafrost; larger "
        "marks are more pixels. On the line, probabilities mean what they say. A curve that is steeper than the line "
        "claims less than is known, a flatter one more.",
        "Chart of the share of true permafrost against its probability in {epochs}, with the line of equality.",
        reliability,
    ),
    Drawing(
        "truth_classes",
        "Mapped against true classes",
        "truth",
        "Where the mapped class differs from the truth of the simulation, and how.",
        "Maps of agreement of the mapped with the true classes in {epochs}.",
        truth_classes,
    ),
)
"""Every figure, in the order of the report."""


def draw_all(work: Work) -> list[Path]:
    """Draw every figure that the work directory has the data for; return their paths."""
    paths = (draw_to_file(drawing.name, work) for drawing in FIGURES)
    return [path for path in paths if path is not None]


def draw_to_file(name: str, work: Work) -> Path | None:
    """Draw one of `FIGURES` into the work directory; return its path, or None where the data is not there."""
    drawing = next(drawing for drawing in FIGURES if drawing.name == name)
    folder = work.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure = draw(drawing, work, map_sheet(work))
    if figure is None:
        path.unlink(missing_ok=True)  # an earlier run may have had the data
        return None
    draft = path.with_suffix(".draft")
    with mpl.rc_context(STYLE):
        figure.savefig(draft, format="png", metadata={"Software": None})
    draft.replace(path)
    return path
