"""How the map was made."""

from __future__ import annotations

from frostmap.pipeline.recipe import Recipe
from frostmap.pipeline.report.parts import Section
from frostmap.pipeline.report.words import in_words
from frostmap.pipeline.stages.frozen_ground import CALIBRATED, maps_of
from frostmap.pipeline.work import Work

LST_ERRORS = ("up to 1 K", "up to 2 K", "up to 3 K", "any size")
EMISSIVITY_ERRORS = ("up to 0.01", "up to 0.02", "up to 0.04", "any size")
"""Error classes of the quality bits, in words."""


def method(work: Work) -> Section:
    """Return how the map was made, with this run's own settings."""
    recipe, sources = work.recipe, work.recipe.sources
    steps: list[str] = []
    if sources.lst is not None:
        quality = recipe.quality
        steps.append(
            "Four overpasses a day of Terra and Aqua (MOD11A1, MYD11A1) are read. Temperatures are kept whose quality "
            f"bits allow an error of {LST_ERRORS[quality.max_lst_error_class]}, and in emissivity of "
            f"{EMISSIVITY_ERRORS[quality.max_emissivity_error_class]}."
        )
        if quality.residual_cloud_screen:
            steps.append(
                "What lies far from the median of the 8 days before and after, on the cold side or by day also on the "
                "warm one, is taken for cloud that the mask missed."
            )
        steps.append(_gap_filling_in_words(recipe))
        steps.append(
            f"{DAILY_MEANS[recipe.degree_days.daily_mean]} Means below and above 0 °C are summed to freezing and "
            f"thawing degree days of each {YEARS[recipe.degree_days.year]} with at least "
            f"{recipe.degree_days.minimum_days} valid days, and averaged over those of each epoch."
        )
        if recipe.ground_correction.method != "identity":
            steps.append(GROUND_CORRECTIONS[recipe.ground_correction.method])
        if recipe.ground_correction.freezing != "none":
            steps.append(
                "Freezing sums of the surface become those of the ground by a regression of yearly sums on weather "
                "stations, judged in the same way."
            )
    else:
        steps.append("Mean annual freezing and thawing degree-day sums (DDF, DDT) were given.")
    calibration = recipe.calibration
    clusters = (
        "Soil clusters were given"
        if sources.clusters
        else f"Pixels are grouped into {calibration.clusters * calibration.subclusters} soil clusters"
    )
    how = {
        "exact": "the exact maximum of kappa",
        "pso": "the best that a particle swarm finds of kappa and of the agreement along boundaries, with the weights "
        f"{calibration.kappa_weight:g} and {10 - calibration.kappa_weight:g}",
        "hybrid": "kappa and the agreement along boundaries, with the weights "
        f"{calibration.kappa_weight:g} and {10 - calibration.kappa_weight:g}",
    }[calibration.method]
    surveys = "the surveyed map" if len(sources.surveys) == 1 else f"{len(sources.surveys)} surveyed maps"
    steps.append(
        f"{clusters}. E of each is chosen, between {calibration.lower:g} and {calibration.upper:g}, such that the map "
        f"of {recipe.epochs.training.title} agrees best with {surveys}: {how}. "
        f"Where the surveys leave E undecided it is the value nearest to {calibration.prior:g}."
    )
    if recipe.epochs.target is not None:
        titles = [epoch.title for epoch in recipe.epochs.named().values()]
        predicted = in_words(titles if CALIBRATED in maps_of(recipe) else titles[1:])
        steps.append(
            f"A random forest of {recipe.transfer.trees} trees, grown on up to {recipe.transfer.samples:,} pixels of "
            f"{recipe.epochs.training.title}, predicts E of {predicted} from terrain, vegetation, snow, precipitation "
            "and soil texture."
        )
    steps.append(
        "The frost number is F = √DDF / (√DDF + E √DDT). Ground is permafrost where F is above 0.5, non-frozen where "
        f"DDF is at most {recipe.frozen_ground.non_frozen_below:g} °C d, and seasonally frozen elsewhere. Pixels with "
        f"at least {100 * recipe.frozen_ground.mask_fraction:g} % lake or glacier are shown as such."
    )
    return Section("method", "How it was made", steps, [], [])


DAILY_MEANS = {
    "sinusoid": "A sinusoid through the day's overpasses gives its mean temperature.",
    "mean4": "The mean of the day's overpasses by day and by night is taken for that of the day.",
    "sin_linear": "A wave by day and a line by night, through the day's overpasses, give its mean temperature.",
    "got09": "A cosine of the sun's height by day and a decay by night (Göttsche and Olesen), scaled to the day's "
    "overpasses, give its mean temperature.",
    "sun_response": "The course of a ground that the sun of the day heats, scaled to its overpasses, gives its mean "
    "temperature.",
}
YEARS = {"calendar": "year", "freezing": "year from July to June"}

GROUND_CORRECTIONS = {
    "pooled": "Thawing sums of the surface become those of the ground by a regression on weather stations (skin sum, "
    "NDVI, latitude; intervals of 16 days). It is judged at stations that were left out of its fit.",
    "per_interval": "Thawing sums of the surface become those of the ground by regressions on weather stations (skin "
    "sum, NDVI, latitude), one for each interval of 16 days and drawn towards the one of all. They are judged at "
    "stations that were left out of their fit.",
    "coefficients": "Thawing sums of the surface become those of the ground by coefficients that were given (skin sum, "
    "NDVI, latitude; intervals of 16 days).",
}


def _gap_filling_in_words(recipe: Recipe) -> str:
    gaps = recipe.gap_filling
    cycle = f"the pixel's annual cycle of clear days ({gaps.harmonics} harmonics, at least {gaps.minimum_observations}"
    if gaps.method == "annual_cycle":
        return (
            f"Gaps are filled with {cycle} observations) plus {gaps.anomaly_damping:g} times the mean anomaly of what "
            f"was seen that day within {gaps.anomaly_radius_km:g} km."
        )
    if gaps.method == "harmonic":
        return (
            f"Gaps are filled with a series of {gaps.harmonics} harmonics of each pixel's year, from which "
            f"observations more than {gaps.tolerance:g} K below the curve were dropped."
        )
    sentence = (
        f"Gaps are filled with what about {gaps.analogues:,} pixels of like temperature, elevation and NDVI did "
        f"between the day and those up to {gaps.reference_days} days before and after (SCSG)"
    )
    sentence += ", plus the day's own departure around the pixel." if gaps.residuals else "."
    tops = recipe.sources.cloud_top
    if tops is None:
        sentence += " Heights of cloud tops were not given: all cloud counts as shading the ground below, uncorrected."
    elif gaps.shading:
        sentence += (
            " Ground in the shade of clouds, by the heights of their tops, is corrected by what was seen in shade on "
            "the same days."
        )
    return f"{sentence} What no other day can tell is filled with {cycle} observations)."
