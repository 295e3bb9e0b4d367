"""A map on paper: projection, graticule, outline of the region, scale bar.

The MODIS sinusoidal grid shears what lies far from Greenwich, the plateau by forty degrees. Maps are drawn in Lambert's
azimuthal equal-area projection about the region's middle instead: north is up, and areas compare. Each point of the
paper shows the grid's pixel that it lies in; nothing is interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from frostmap.catalogs.grids import lattice, parse_tile
from frostmap.pipeline.work import Work

PAPER_PIXELS = 1250
"""Points along a map's longer side, on a screen."""
MARGIN = 0.025
"""Empty share of the longer side around the region."""
NO_VALUE_COLOUR = "#d4d4d4"
"""Pixels in the region that have no value."""
INK = "#262626"

DEGREES = "EPSG:4326"


@dataclass(frozen=True)
class MapSheet:
    """The paper of all maps of one region."""

    geobox: GeoBox
    """The grid of the arrays to draw."""
    inside: npt.NDArray[np.bool_]
    """(y, x) of the grid: pixels of the region."""
    region: BaseGeometry
    """The region's outline in degrees."""
    points: int = PAPER_PIXELS
    """Of the paper along its longer side."""

    def part(self, west: float, south: float, east: float, north: float) -> MapSheet:
        """Return the paper for a part of the region, between meridians and parallels [degrees].

        Raises
        ------
        ValueError
            The region has no pixel there.
        """
        rows, columns = np.nonzero(self.inside)
        to_degrees = Transformer.from_crs(str(self.geobox.crs), DEGREES, always_xy=True)
        longitude, latitude = to_degrees.transform(*_centres(self.geobox, rows, columns))
        here = (longitude >= west) & (longitude <= east) & (latitude >= south) & (latitude <= north)
        inside = np.zeros_like(self.inside)
        inside[rows[here], columns[here]] = True
        if not inside.any():
            raise ValueError(f"the region has no pixel in {west:g} to {east:g}° E, {south:g} to {north:g}° N")
        return MapSheet(
            self.geobox, inside, self.region.intersection(shapely.box(west, south, east, north)), self.points
        )

    @cached_property
    def crs(self) -> CRS:
        """Lambert's azimuthal equal-area projection about the middle of the region."""
        x, y = _ends_of_rows(self.geobox, self.inside)
        longitude, latitude = Transformer.from_crs(str(self.geobox.crs), DEGREES, always_xy=True).transform(x, y)
        middle = (np.min(longitude) + np.max(longitude)) / 2, (np.min(latitude) + np.max(latitude)) / 2
        return CRS.from_proj4(f"+proj=laea +lon_0={middle[0]:.4f} +lat_0={middle[1]:.4f} +datum=WGS84 +units=m")

    @cached_property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the paper [m]."""
        left, bottom, right, top = self.outline.bounds
        margin = MARGIN * max(right - left, top - bottom)
        return left - margin, right + margin, bottom - margin, top + margin

    @property
    def aspect(self) -> float:
        """Width over height."""
        left, right, bottom, top = self.extent
        return (right - left) / (top - bottom)

    @cached_property
    def outline(self) -> BaseGeometry:
        """The region on the paper."""
        return _projected(shapely.segmentize(self.region, 0.1), self._from_degrees)

    @cached_property
    def _from_degrees(self) -> Transformer:
        return Transformer.from_crs(DEGREES, self.crs, always_xy=True)

    @cached_property
    def _pixels(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Row and column of the grid under each point of the paper, and where they lie in the region."""
        left, right, bottom, top = self.extent
        step = max(right - left, top - bottom) / self.points
        width, height = round((right - left) / step), round((top - bottom) / step)
        x = left + (np.arange(width) + 0.5) * (right - left) / width
        y = top - (np.arange(height) + 0.5) * (top - bottom) / height
        to_grid = Transformer.from_crs(self.crs, str(self.geobox.crs), always_xy=True)
        across, down = to_grid.transform(*np.meshgrid(x, y))
        grid = self.geobox.affine  # north up
        columns, rows = (across - grid.c) / grid.a, (down - grid.f) / grid.e
        with np.errstate(invalid="ignore"):
            on_grid = (rows >= 0) & (rows < self.geobox.shape.y) & (columns >= 0) & (columns < self.geobox.shape.x)
        rows = np.where(on_grid, rows, 0).astype(np.intp)
        columns = np.where(on_grid, columns, 0).astype(np.intp)
        return rows, columns, on_grid & self.inside[rows, columns]

    def on_paper(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the pixel's value at each point of the paper; masked outside the region."""
        rows, columns, inside = self._pixels
        return np.ma.masked_array(values[rows, columns], ~inside)

    def positions(
        self, longitude: npt.ArrayLike, latitude: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return places on the paper [m]."""
        x, y = self._from_degrees.transform(np.asarray(longitude, np.float64), np.asarray(latitude, np.float64))
        return np.asarray(x), np.asarray(y)

    def draw_colours(self, axes: Axes, values: npt.NDArray[Any], colours: dict[int, str], rest: str) -> None:
        """Draw a map of codes, `rest` for codes without a colour of their own."""
        paper = self._on_panel(axes, values)
        picture = _filled(~np.ma.getmaskarray(paper), rest)
        for code, colour in colours.items():
            picture[(paper == code).filled(False)] = _rgba(colour)
        axes.imshow(picture, extent=self.extent, interpolation="nearest")
        self._draw_frame(axes)

    def draw_values(self, axes: Axes, values: npt.NDArray[Any], **style: Any) -> AxesImage:
        """Draw a map of numbers; `style` (cmap, norm) goes to imshow."""
        paper = self._on_panel(axes, values.astype(np.float32, copy=False))
        axes.imshow(_filled(~np.ma.getmaskarray(paper), NO_VALUE_COLOUR), extent=self.extent, interpolation="nearest")
        image = axes.imshow(np.ma.masked_invalid(paper), extent=self.extent, interpolation="nearest", **style)
        self._draw_frame(axes)
        return image

    def _on_panel(self, axes: Axes, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the paper with as many points as a panel of its figure can show."""
        place = axes.get_subplotspec()
        step = 1 if place is None else max(1, place.get_gridspec().ncols // len(place.colspan))
        return self.on_paper(values)[step // 2 :: step, step // 2 :: step]

    def _draw_frame(self, axes: Axes) -> None:
        left, right, bottom, top = self.extent
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        axes.tick_params(length=2, width=0.5, labelsize=7, pad=2)
        for spine in axes.spines.values():
            spine.set(linewidth=0.6, color=INK)
        for part in shapely.get_parts(self.outline):
            for ring in shapely.get_rings(part):
                line = np.asarray(ring.coords)
                axes.plot(line[:, 0], line[:, 1], color=INK, linewidth=0.7, zorder=3)
        self._draw_graticule(axes)
        self._draw_scale_bar(axes)

    @cached_property
    def _graticule(self) -> Graticule:
        left, right, bottom, top = self.extent
        to_degrees = Transformer.from_crs(self.crs, DEGREES, always_xy=True)
        longitudes, latitudes = to_degrees.transform(
            *np.meshgrid(np.linspace(left, right, 60), np.linspace(bottom, top, 60))
        )
        west, east, south, north = np.min(longitudes), np.max(longitudes), np.min(latitudes), np.max(latitudes)
        meridians, parallels = round_steps(west, east, wanted=6), round_steps(south, north, wanted=4)
        lines = [self.positions(np.full(200, m), np.linspace(south - 1, north + 1, 200)) for m in meridians]
        lines += [self.positions(np.linspace(west - 1, east + 1, 200), np.full(200, p)) for p in parallels]
        along, up = np.linspace(left, right, 500), np.linspace(bottom, top, 500)
        lower, _ = to_degrees.transform(along, np.full(500, bottom))
        _, beside = to_degrees.transform(np.full(500, left), up)
        return Graticule(
            lines,
            {_degrees(m, "E", "W"): float(np.interp(m, lower, along)) for m in meridians if lower[0] < m < lower[-1]},
            {_degrees(p, "N", "S"): float(np.interp(p, beside, up)) for p in parallels if beside[0] < p < beside[-1]},
        )

    def _draw_graticule(self, axes: Axes) -> None:
        """Draw meridians and parallels, and label them where they cross the lower and the left edge."""
        graticule = self._graticule
        lines = LineCollection([np.column_stack(line) for line in graticule.lines], colors=INK, linewidths=0.35)
        lines.set(alpha=0.45, zorder=2.5)
        axes.add_collection(lines, autolim=False)
        axes.set_xticks(list(graticule.longitudes.values()), list(graticule.longitudes))
        axes.set_yticks(list(graticule.latitudes.values()), list(graticule.latitudes))

    @cached_property
    def _scale_length(self) -> float:
        """Length of the scale bar [m]."""
        left, right, _, _ = self.extent
        return _round_length((right - left) / 4)

    @cached_property
    def scale_bar_corner(self) -> tuple[float, float]:
        """Where the scale bar starts, in shares of the paper: the corner that covers least of the region."""
        left, right, _, _ = self.extent
        *_, inside = self._pixels
        height, width = inside.shape
        length = self._scale_length / (right - left)
        corners = [(0.03, 0.04), (0.97 - length, 0.04), (0.03, 0.9), (0.97 - length, 0.9)]

        def covered(corner: tuple[float, float]) -> float:
            x, y = corner
            rows = slice(int((1 - y - 0.08) * height), int((1 - y + 0.02) * height))
            return float(inside[rows, int(x * width) : int((x + length) * width)].mean())

        return min(corners, key=covered)

    def _draw_scale_bar(self, axes: Axes) -> None:
        left, right, bottom, top = self.extent
        width, height = right - left, top - bottom
        length = self._scale_length
        x, y = left + self.scale_bar_corner[0] * width, bottom + self.scale_bar_corner[1] * height
        halo = [withStroke(linewidth=2.5, foreground="white")]
        thickness = 0.006 * max(width, height)
        for half, colour in ((0, INK), (1, "white")):
            axes.add_patch(
                Rectangle(
                    (x + half * length / 2, y),
                    length / 2,
                    thickness,
                    facecolor=colour,
                    edgecolor=INK,
                    linewidth=0.6,
                    path_effects=halo,
                    zorder=4,
                )
            )
        text = f"{length / 1000:g} km"
        axes.text(
            x + length / 2,
            y + 1.8 * thickness,
            text,
            ha="center",
            va="bottom",
            fontsize=7,
            color=INK,
            path_effects=halo,
            zorder=4,
        )


@dataclass(frozen=True)
class Graticule:
    """Meridians and parallels on the paper [m]."""

    lines: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
    longitudes: dict[str, float]
    """Labels, and where they stand on the lower edge."""
    latitudes: dict[str, float]
    """Labels, and where they stand on the left edge."""


def map_sheet(work: Work, points: int = PAPER_PIXELS) -> MapSheet:
    """Return the paper for a run's maps, with so many points along its longer side."""
    grid = lattice(work.recipe.region.pixels_per_tile)
    boxes = [grid[parse_tile(tile)] for tile in work.tiles] or [work.geobox]
    covered = shapely.union_all([box.extent.geom for box in boxes], grid_size=abs(work.geobox.affine.a) / 1e6)
    dense = shapely.segmentize(covered, covered.length / 1000)  # meridians are curves on the sinusoidal grid
    region = _projected(dense, Transformer.from_crs(str(work.geobox.crs), DEGREES, always_xy=True))
    if work.recipe.region.bbox is not None:
        region = region.intersection(shapely.box(*work.recipe.region.bbox))
    if work.outline is not None:
        region = region.intersection(work.outline)
    return MapSheet(work.geobox, work.inside, region, points)


def _centres(
    geobox: GeoBox, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return x and y of the middles of some pixels of a north-up grid."""
    grid = geobox.affine
    return np.asarray(grid.c + grid.a * (columns + 0.5)), np.asarray(grid.f + grid.e * (rows + 0.5))


def _ends_of_rows(
    geobox: GeoBox, inside: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return x and y of the first and last pixel of each row; around a sheared region no rectangle fits well."""
    rows = np.flatnonzero(inside.any(axis=1))
    first, last = inside[rows].argmax(axis=1), inside.shape[1] - inside[rows, ::-1].argmax(axis=1)
    grid = geobox.affine
    x, y = grid.c + grid.a * np.concatenate([first, last]), grid.f + grid.e * (rows + 0.5)
    return x, np.concatenate([y, y])


def _projected(shape: BaseGeometry, transformer: Transformer) -> BaseGeometry:
    return shapely.transform(shape, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))


def round_steps(low: float, high: float, wanted: int) -> list[float]:
    """Return round numbers between two, about as many as wanted.

    >>> round_steps(72.3, 105.1, wanted=6)
    [75.0, 80.0, 85.0, 90.0, 95.0, 100.0, 105.0]
    """
    steps = [a * 10.0**b for b in range(-3, 3) for a in (1, 2, 5)]
    step = min(steps, key=lambda s: abs(math.log((high - low) / s / wanted)))
    return [round(i * step, 6) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _round_length(longest: float) -> float:
    """Return the largest of 1, 2, 5, 10, ... that is not above `longest`.

    >>> _round_length(780_000.0)
    500000.0
    """
    power = 10.0 ** math.floor(math.log10(longest))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= longest)


def _degrees(value: float, positive: str, negative: str) -> str:
    """Return a label of the graticule.

    >>> _degrees(92.5, "E", "W"), _degrees(-5.0, "N", "S")
    ('92.5°E', '5°S')
    """
    return f"{abs(value):g}°{positive if value >= 0 else negative}"


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue, 255


def _filled(where: npt.NDArray[np.bool_], colour: str) -> npt.NDArray[np.uint8]:
    """Return a picture (y, x, 4) of one colour, transparent elsewhere."""
    picture = np.zeros((*where.shape, 4), dtype=np.uint8)
    picture[where] = _rgba(colour)
    return picture
