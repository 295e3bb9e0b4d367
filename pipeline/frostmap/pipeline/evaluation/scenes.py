"""Two real scenes of the plateau, one image each: ground that was clear, under clouds of the scene's own shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from scipy.ndimage import map_coordinates, uniform_filter

from frostmap.pipeline.evaluation.scores import COLUMNS, scores, share_within_sigma
from frostmap.pipeline.evaluation.spatial import Array, departures, nearest, positions, trend
from frostmap.pipeline.evaluation.tables import Section, Table, absent

TITLE = "Real clouds over the plateau: 1 January 2010, and Heihe on 1 January 2013"
RELIEF = Path("terrain/etopo5_qtp_24-43N_72-106E.tif")
IMAGES = {
    "plateau, Aqua day": Path("modis_plateau_2010001/MYD11A1_2010001.LST_Day_1km_clip.tif"),
    "Heihe, Terra day": Path("modis_heihe_2013001/MOD11A1_2013001.LST_Day_1km.tif"),
    "Heihe, Terra night": Path("modis_heihe_2013001/MOD11A1_2013001.LST_Night_1km.tif"),
}
SCALE, FREEZING, LOWEST = 0.02, 273.15, 7500
FLIPS: tuple[tuple[int, ...], ...] = ((1,), (0,), (0, 1))
"""Along which axes the clouds are turned over."""
SPATIAL = "trend and departures"
AROUND = 7
"""Pixels along the side of what counts as around."""
SURROUNDED = (0.3, 0.5, 0.6, 0.7)
"""Limits of the share that is observed around."""
FAR = 3.0
"""[K]"""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Image:
    """One image and the ground below it."""

    temperature: Array
    """(y, x) [°C]; NaN is missing."""
    inside: Mask
    """What was looked at: elsewhere is outside of the clipped scene."""
    elevation: Array
    """[m], from cells of 5 arc-minutes."""


def load(data: Path, path: Path) -> Image:
    """Read an image."""
    with rasterio.open(data / path) as file:
        stored, outside = file.read(1).astype(np.int64), file.nodata
        transform, (height, width) = file.transform, file.shape
    longitude = transform.c + transform.a * (np.arange(width) + 0.5)
    latitude = transform.f + transform.e * (np.arange(height) + 0.5)
    with rasterio.open(data / RELIEF) as file:
        relief, cells = file.read(1).astype(np.float64), file.transform
    rows = (latitude - cells.f) / cells.e - 0.5
    cols = (longitude - cells.c) / cells.a - 0.5
    elevation = map_coordinates(relief, np.meshgrid(rows, cols, indexing="ij"), order=1, mode="nearest")
    inside = stored != outside if outside is not None else np.ones(stored.shape, np.bool_)
    temperature = np.where(stored >= LOWEST, stored * SCALE - FREEZING, np.nan)
    return Image(temperature, inside, elevation)


def withheld(image: Image, axes: tuple[int, ...]) -> Mask:
    """Return which clear pixels are hidden when the scene's own clouds are turned over along some axes."""
    cloud = image.inside & np.isnan(image.temperature)
    hidden: Mask = np.flip(cloud, axes) & np.isfinite(image.temperature)
    return hidden


def surrounded(image: Image) -> list[tuple[str, ...]]:
    """Return how observations amid clouds differ from what the clear ground around the clouds tells.

    All that are in less clear surroundings than the last limit are hidden, and estimated by the spatial part.
    """
    seen = np.isfinite(image.temperature)
    around = uniform_filter(seen.astype(np.float64), AROUND) / np.maximum(
        uniform_filter(image.inside.astype(np.float64), AROUND), 1.0 / AROUND**2
    )
    amid = seen & (around < SURROUNDED[-1])
    filled, _ = spatial(np.where(amid, np.nan, image.temperature), image)
    rows = []
    for low, high in pairwise((0.0, *SURROUNDED)):
        where = amid & (around >= low) & (around < high)
        if where.any():
            difference = (image.temperature - filled)[where]
            numbers = f"{difference.mean():+.2f}", f"{np.median(difference):+.2f}"
            shares = (f"{100 * float(far.mean()):.0f} %" for far in (difference < -FAR, difference > FAR))
            rows.append((f"{100 * low:.0f} to {100 * high:.0f} %", f"{difference.size:,}", *numbers, *shares))
    return rows


def hide(image: Image) -> dict[str, Array]:
    """Return estimates of what turned clouds hide, by method; and `truth`, and `sigma` of the last method."""
    found: dict[str, list[Array]] = {}
    for axes in FLIPS:
        hidden = withheld(image, axes)
        masked = np.where(hidden, np.nan, image.temperature)
        filled, sigma = spatial(masked, image)
        made = {name: fill(masked, image) for name, fill in methods().items()}
        made |= {SPATIAL: filled, "sigma": sigma, "truth": image.temperature}
        for name, values in made.items():
            found.setdefault(name, []).append(values[hidden])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def spatial(masked: Array, image: Image) -> tuple[Array, Array]:
    """Return the image filled by the spatial part, and the standard error."""
    shape = (masked.shape[0], masked.shape[1])
    expected = trend(masked, (image.elevation, *positions(shape)))
    departure, sigma = departures(masked - expected)
    return expected + departure, sigma


def methods() -> Mapping[str, Callable[[Array, Image], Array]]:
    """Return the ways in which an image is filled; the spatial part of `scsg` comes with its error, see `spatial`."""
    return {
        "mean of the image": lambda masked, _image: np.full(masked.shape, np.nanmean(masked)),
        "nearest clear pixel": lambda masked, _image: nearest(masked),
        "trend of elevation and position": lambda masked, image: trend(
            masked, (image.elevation, *positions((masked.shape[0], masked.shape[1])))
        ),
    }


def evaluate(data: Path) -> Section:
    """Hide clear ground under turned clouds, fill it, and compare; look at what clouds surround."""
    missing = [str(path) for path in (RELIEF, *IMAGES.values()) if not (data / path).is_file()]
    if missing:
        return absent(TITLE, missing)
    rows, within, amid = [], [], []
    for name, path in IMAGES.items():
        image = load(data, path)
        found = hide(image)
        truth = found["truth"]
        rows += [(name, method, *scores(found[method], truth).cells) for method in (*methods(), SPATIAL)]
        n, share = share_within_sigma(found[SPATIAL], found["sigma"], truth)
        within.append((name, f"{n:,}", f"{100 * share:.0f} %"))
        amid += [(name, *row) for row in surrounded(image)]
    return Section(
        TITLE,
        "The scene's own clouds are turned over, east to west, north to south and both, and laid over its clear "
        "ground; what they hide there is filled and compared. There is one image each, so that this is again the "
        "spatial part alone: a linear trend of elevation (ETOPO5, 5 arc-minutes) and position, and the departures from "
        "it on cells of one pixel. What the archive's cloud mask took for clear is the truth here, whether or not it "
        "is.",
        (
            Table("Pixels hidden by turned clouds.", ("scene", "method", *COLUMNS), tuple(rows)),
            Table(
                "Share of the errors of the last method within the standard error that it tells (68 % if right).",
                ("scene", "n", "within"),
                tuple(within),
            ),
            Table(
                f"What is observed amid clouds, by the share of the {AROUND} x {AROUND} pixels around that is "
                "observed: observed minus what the ground outside of the clouds tells.",
                ("scene", "observed around", "n", "mean", "median", f"{FAR:.0f} K too cold", f"{FAR:.0f} K too warm"),
                tuple(amid),
            ),
        ),
        remarks="By day, what is observed amid clouds is mostly too cold, seldom too warm: it is cloud that the mask "
        "missed, or ground in the shade. An estimate that leans on it is too cold below the clouds around it.",
    )
