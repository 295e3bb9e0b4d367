"""A run's figures show what its work directory holds, leave out what it lacks, and say so where it is simulated."""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import rasterio
import zarr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from odc.geo.geobox import GeoBox

from frostmap.catalogs.grids import pixel_area_km2, to_geographic, to_sinusoidal
from frostmap.kernels.agreement import counts
from frostmap.kernels.frost_number import CLASS_NAMES, permafrost_probability
from frostmap.kernels.frost_number import frost_number as frost_number_of
from frostmap.kernels.frost_number import frozen_ground as frozen_ground_of
from frostmap.pipeline import cubes, figures, schema
from frostmap.pipeline.map_sheets import MapSheet, map_sheet
from frostmap.pipeline.recipe import Change, Rectangle, parse_recipe
from frostmap.pipeline.stages.change import change_parts
from frostmap.pipeline.stages.change import hot_spots as hot_spot_tables
from frostmap.pipeline.stages.change_maps import change_window
from frostmap.pipeline.work import Work

pytestmark = pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")  # odc-geo's to_crs

RECIPE = """
name: plateau
title: An analytic plateau
simulated: {simulated}
region: {{bbox: [76, 28, 102, 39], outline: outline.geojson, pixels_per_tile: {pixels}}}
epochs:
  training: {{years: [2009, 2010], label: "2010"}}
  target: {{years: [2019, 2020], label: "2020"}}
sources:
  lst: {{catalogue: archive/catalog.json, second: {{kind: folder, catalogue: mirror}}}}
  ndvi: {{catalogue: archive/catalog.json}}
  elevation: elevation.tif
  sand: sand.tif
  clay: clay.tif
  snow_cover: {{training: snow.tif, target: snow.tif}}
  precipitation: {{training: rain.tif, target: rain.tif}}
  surveys: [{{name: north, path: survey.tif}}]
  stations: {{sites: sites.csv, daily: daily.csv}}
  boreholes: boreholes.csv
  truth: {{training: truth-training.tif, target: truth-target.tif}}
"""
EPOCHS = {"training": 0.0, "target": 0.9}
"""Warming of each epoch [K]."""


def make_work(folder: Path, *, simulated: bool = True, pixels: int = 24, days: int = 46) -> Work:
    """Return a work directory full of smooth fields; nothing in it is observed."""
    around = np.radians(np.arange(0, 361, 5))
    ring = np.column_stack([89 + 12.5 * np.cos(around), 33.5 + 4.6 * np.sin(around) + 0.5 * np.cos(3 * around)])
    shape = {"type": "Polygon", "coordinates": [ring[::-1].tolist()]}
    (folder / "outline.geojson").write_text(json.dumps(shape))
    recipe = parse_recipe(RECIPE.format(simulated=str(simulated).lower(), pixels=pixels), folder / "recipe.yaml")
    work = Work(recipe, folder / "work")
    rng = np.random.default_rng(7)
    geobox = work.geobox
    coords = geobox.coordinates
    longitude, latitude = to_geographic(*np.meshgrid(coords["x"].values, coords["y"].values))
    longitude = np.nan_to_num(longitude, nan=60.0)
    ridge = np.sin(longitude * 1.3) * np.cos(latitude * 2.1)
    height = 3300 + 1700 * np.exp(-(((longitude - 88) / 11) ** 2) - ((latitude - 34) / 3.6) ** 2) + 350 * ridge
    cluster = (1 + np.digitize(longitude + 3 * ridge, [82, 88, 94])).astype(np.int16)
    e = np.choose(cluster, [0.9, 0.82, 0.95, 0.9, 1.02]).astype(np.float32)
    area = np.broadcast_to(pixel_area_km2(geobox)[:, np.newaxis], geobox.shape)
    inside = work.inside
    classes = {}
    for epoch, warming in EPOCHS.items():
        mean = 21.0 - 0.0052 * height - 0.35 * (latitude - 33) + warming
        ddf, ddt = degree_days(mean)
        lakes = (np.cos(longitude * 2.7) * np.sin(latitude * 3.3) > 0.93).astype(np.float32)
        glaciers = (height > 5150 + 80 * warming).astype(np.float32)
        drift = (e + (0.02 * ridge if epoch == "target" else 0.0)).astype(np.float32)
        codes = frozen_ground_of(ddf, ddt, drift)
        codes[glaciers > 0.5], codes[lakes > 0.5] = 4, 5
        codes[~inside] = 255
        classes[epoch] = codes
        write(work, f"forcing/{epoch}", {schema.DDF: ddf, schema.DDT: ddt})
        write(
            work,
            f"frozen_ground/{epoch}",
            {
                schema.FROZEN_GROUND: codes,
                schema.FROST_NUMBER: frost_number_of(ddf, ddt, drift).astype(np.float32),
                schema.PROBABILITY: permafrost_probability(ddf, ddt, drift, 0.05, 0.1, 0.1),
            },
        )
        write(work, f"masks/{epoch}", {schema.INSIDE: inside, schema.LAKES: lakes, schema.GLACIERS: glaciers})
        predictors = {variable: np.float32(i + 1) * ridge for i, variable in enumerate(schema.PREDICTORS)}
        predictors |= {schema.ELEVATION: height, schema.SAND: np.where(lakes > 0.5, np.nan, 50 + 9 * ridge)}
        predictors |= {schema.CLAY: np.where(lakes * warming > 0.5, np.nan, 20 + 4 * ridge)}
        write(work, f"covariates/{epoch}", predictors | {schema.FILLED_PREDICTORS: ridge > 0.8})
        seen = np.stack([730 * (0.5 + 0.2 * ridge - 0.05 * overpass) for overpass in range(4)])
        write(work, f"annual_cycle/{epoch}", {schema.CLEAR_OBSERVATIONS: seen.astype(np.int16)}, overpass=np.arange(4))
        unlike = (0.3 + 0.2 * ridge).astype(np.float32)
        made = {schema.SOIL_E: drift, schema.E_SIGMA: np.abs(0.05 * ridge), schema.DISSIMILARITY: unlike}
        write(work, f"transfer/{epoch}", made | {schema.APPLICABLE: unlike < 0.45})
        if epoch == "training":
            write(work, "calibration/training", {schema.CLUSTER: cluster, schema.SOIL_E: e})
        true = np.stack([ddf + 60 * ridge, ddt - 40 * ridge, drift + 0.01 * ridge, frozen_ground_of(ddf, ddt, e)])
        write_truth(folder / f"truth-{epoch}.tif", true.astype(np.float32), geobox)
    write_change(work, classes)
    write_days(work, ridge, rng, days)
    write_tables(work, classes, area, longitude, latitude, rng)
    return work


def write_change(work, classes):
    """Write maps of change, single years, and the tables of hot spots and drivers that follow from them."""
    epochs = ("training", "target")
    windows = [work.open(f"{stage}/{epoch}") for epoch in epochs for stage in ("forcing", "transfer", "frozen_ground")]
    errors = {"clusters": np.zeros(1), "ddf_error": 0.1, "ddt_error": 0.1, "sums_together": 0.5, "e_together": 0.5}
    made = change_window(*windows, **errors, non_frozen_below=0.5)
    write(work, "change_maps", {variable: made[variable.name] for variable in schema.CHANGE})
    for epoch in epochs:
        land = np.isin(classes[epoch], (1, 2, 3))
        frozen = np.where(land, (classes["training"] == 1).astype("uint8") + (classes["target"] == 1), 255)
        write(work, f"single_years/{epoch}", {schema.YEARS_PERMAFROST: frozen})
    states = {
        f"{stage}/{epoch}": work.open(f"{stage}/{epoch}")
        for epoch in epochs
        for stage in ("forcing", "transfer", "frozen_ground", "covariates")
    }
    maps = work.open("change_maps")
    recipe = work.recipe.model_copy(
        update={"change": Change(rectangles=(WEST,), block_km=150.0, false_discoveries=0.9)}
    )
    (work.folder / "tables").mkdir()
    for name, table in hot_spot_tables(recipe, work.geobox, work.pixel_km, maps, states).items():
        table.to_csv(work.table_path(name), index=False)
    parts, _ = change_parts(maps, work.geobox, 0.05)
    parts.to_csv(work.table_path("change_parts"), index=False)


WEST = Rectangle(name="west", bbox=(78.0, 31.0, 84.0, 36.0))


def degree_days(mean):
    """Return freezing and thawing sums of a year that is a cosine of 12 K about its mean."""
    phase = np.cos(2 * np.pi * (np.arange(73) + 0.5) / 73)
    days = mean[np.newaxis] + 12 * phase[:, np.newaxis, np.newaxis]
    return (
        (5 * np.maximum(-days, 0).sum(axis=0)).astype(np.float32),
        (5 * np.maximum(days, 0).sum(axis=0)).astype(np.float32),
    )


def write(work, group, arrays, **coords):
    cubes.prepare_group(work.storage, group, list(arrays), work.geobox, coords, work.chunk_pixels)
    for variable, values in arrays.items():
        zarr.open_array(work.storage.zarr_store(), path=f"{group}/{variable.name}", mode="r+")[...] = np.asarray(
            values, variable.dtype
        )


def write_truth(path, bands, geobox: GeoBox):
    profile = {"driver": "GTiff", "dtype": "float32", "nodata": np.nan, "crs": str(geobox.crs)}
    profile |= {"count": 4, "height": geobox.shape.y, "width": geobox.shape.x, "transform": geobox.transform}
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(bands)
        raster.descriptions = ("ddf", "ddt", "e", "frozen_ground")


def write_days(work, ridge, rng, days):
    time = np.datetime64("2020-01-01", "ns") + np.arange(days) * np.timedelta64(1, "D")
    coords = {"time": time, "overpass": np.arange(4)}
    filled = np.empty((days, 4, *work.geobox.shape), dtype=np.uint16)
    flag = np.zeros(filled.shape, dtype=np.uint8)
    for day in range(days):
        clouds = np.sin(ridge * 3 + day) + 0.2 * rng.standard_normal(ridge.shape) > 0.2 * np.sin(day)
        filled[day] = (13400 + 500 * ridge + 100 * np.cos(day / 9)).astype(np.uint16)
        flag[day, :, clouds] = 2
        flag[day, :, clouds & (ridge > 0.8)] = 8 + 2
    kept = np.where(flag == 0, filled, 0)
    sigma = np.where(flag == 0, 0.5, 1.0 + 0.1 * flag).astype(np.float16)
    write(work, "observations/2020", {schema.LST: kept}, **coords)
    made = {schema.FILLED_LST: filled, schema.SIGMA: sigma, schema.FILL_FLAG: flag}
    write(work, "gap_filling/2020", made, **coords)


def write_tables(work, classes, area, longitude, latitude, rng):
    frames = {}
    codes = [1, 2, 3, 4, 5]
    sizes = {epoch: [float(area[mapped == code].sum()) for code in codes] for epoch, mapped in classes.items()}
    names = ["permafrost", "seasonally_frozen", "non_frozen", "glacier", "lake"]
    for epoch, row in sizes.items():
        frames[f"areas-{epoch}"] = pd.DataFrame({"epoch": epoch, "class": names, "km2": row})
    before, after = classes["training"], classes["target"]
    frames["transition"] = pd.DataFrame(
        [(names[i - 1], names[j - 1], float(area[(before == i) & (after == j)].sum())) for i in codes for j in codes],
        columns=["from", "to", "km2"],
    )
    rows, columns = np.nonzero(np.isin(after, (1, 2)) & work.inside)
    chosen = rng.choice(rows.size, min(109, rows.size), replace=False)
    mapped = after[rows[chosen], columns[chosen]]
    observed = np.where(rng.random(mapped.size) < 0.85, mapped, 3 - mapped)
    frames["boreholes"] = pd.DataFrame(
        {
            "name": [f"B{i}" for i in range(mapped.size)],
            "longitude": longitude[rows[chosen], columns[chosen]],
            "latitude": latitude[rows[chosen], columns[chosen]],
            "observed": np.where(observed == 1, "permafrost", "seasonally frozen"),
            "mapped": np.where(mapped == 1, "permafrost", "seasonally frozen"),
            "frost_number": 0.5,
        }
    )
    off_map = {"name": "far", "longitude": 120.0, "latitude": 50.0, "observed": "permafrost", "mapped": ""}
    frames["boreholes"] = pd.concat([frames["boreholes"], pd.DataFrame([off_map])], ignore_index=True)
    ground = rng.gamma(2.0, 60.0, 600)
    skin = 1.2 * ground + rng.normal(0, 25, 600) + 20
    frames["stations_fit"] = pd.DataFrame(
        {
            "station": 1 + np.arange(600) % 20,
            "year": 2010,
            "interval": np.arange(600) % 23,
            "thawing_lst": skin,
            "thawing_ground": ground,
            "ndvi": 0.3,
            "latitude": 33.0,
            "fitted": 0.8 * skin - 10,
            "cross_validated": 0.8 * skin - 12,
        }
    )
    frames["clusters"] = pd.DataFrame(
        {
            "cluster": [1, 2, 3, 4],
            "e": [0.82, 0.95, 0.90, 1.02],
            "lower": [0.781, 0.9474, 0.5, 1.0],
            "upper": [1.0, 0.9493, 1.5, 1.1],
            "surveyed_pixels": [1250, 980, 0, 401],
        }
    )
    predictors = [variable.name for variable in schema.PREDICTORS]
    weights = np.arange(1.0, 1 + len(predictors))
    shares = weights / weights.sum()
    frames["forest"] = pd.DataFrame({"predictor": predictors, "importance": shares, "permutation": 2 * shares})
    steps = np.linspace(0, 1, 9)
    frames["partial_dependence"] = pd.concat(
        pd.DataFrame({"predictor": name, "value": steps, "e": e, "lower": e - 0.02, "upper": e + 0.02})
        for name, e in zip(predictors, 0.8 + 0.1 * shares[:, None] * steps, strict=True)
    )
    low = np.arange(10) / 10
    frames["reliability"] = pd.concat(
        pd.DataFrame({"map": name, "lower": low, "pixels": 50, "probability": low + 0.05, "observed": observed})
        for name, observed in (("training", low), ("target", low + 0.02), ("calibrated", low**2))
    )
    for year, share in ((2009, 0.45), (2010, 0.50), (2019, 0.55), (2020, 0.62)):
        observed_share = share + np.array([0.0, -0.02, 0.06, 0.05])
        frames[f"overpasses-{year}"] = pd.DataFrame(
            {"year": year, "overpass": schema.OVERPASSES, "observed": observed_share, "filled": 1 - observed_share}
        )
        frames[f"quality-{year}"] = pd.DataFrame(
            [
                {"year": year, "tile": tile, "overpass": overpass, "month": month, "kept": share - 0.02 * month}
                for tile in ("h25v05", "h26v05")
                for overpass in schema.OVERPASSES
                for month in range(1, 13)
            ]
        )
    frames |= granule_frames()
    for name, frame in frames.items():
        frame.to_csv(work.table_path(name), index=False)
    judged = counts(observed == 1, mapped == 1)
    validation = {
        "n": judged.n,
        "tp": judged.tp,
        "fn": judged.fn,
        "fp": judged.fp,
        "tn": judged.tn,
        "overall_accuracy": judged.overall_accuracy,
        "kappa": judged.kappa,
    }
    areas = {epoch: dict(zip(frames[f"areas-{epoch}"]["class"], row, strict=True)) for epoch, row in sizes.items()}
    (work.folder / "metrics.json").write_text(json.dumps({"validation": validation, "areas_km2": areas}))


def granule_frames():
    """Return tables of granules of two tiles with one of each fate: read, from a second source, bad, explained, not."""
    frames = {}
    for year in (2009, 2010, 2019, 2020):
        last = 366 if year == 2020 else 365
        rows = [
            (product, tile, day) for product in ("MOD11A1", "MYD11A1") for tile in TILES for day in range(1, last + 1)
        ]
        frames[f"granules-{year}"] = granule_frame(year, rows)
        frames[f"composites-{year}"] = granule_frame(
            year, [("MOD13A1", tile, day) for tile in TILES for day in range(1, 366, 16)]
        )
    return frames


TILES = ("h24v05", "h25v05")
FATES = {
    ("MOD11A1", "h24v05", 5): ("mirror", "ok", ""),
    ("MOD11A1", "h24v05", 7): ("archive", "bad", "the file ends early"),
    ("MOD11A1", "h25v05", 9): ("", "missing", "in no catalogue"),
    ("MYD11A1", "h25v05", 233): ("", "missing", "known outage: Aqua, 2020-08-16 to 2020-09-02: data recorder"),
    ("MOD13A1", "h24v05", 17): ("", "missing", "in no catalogue"),
}
"""Of some granules of 2020: source, status and error."""


def granule_frame(year, rows):
    return pd.DataFrame(
        [
            (f"{product}.A{year}{day:03d}.{tile}", product, tile, pd.Timestamp(year, 1, 1) + pd.Timedelta(day - 1, "D"),
             source, "", status, error)
            for product, tile, day in rows
            for source, status, error in [
                FATES.get((product, tile, day), ("archive", "ok", "")) if year == 2020 else ("archive", "ok", "")
            ]
        ],
        columns=["id", "product", "tile", "date", "source", "sha256", "status", "error"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Work:
    return make_work(tmp_path_factory.mktemp("plateau"))


@pytest.fixture(scope="module")
def sheet(work) -> MapSheet:
    return map_sheet(work)


@dataclass(frozen=True)
class Drawn:
    """All figures of a work directory, drawn once."""

    figures: dict[str, Figure | None]
    paths: list[Path]


@pytest.fixture(scope="module")
def everything(work) -> Drawn:
    made, draw = {}, figures.draw

    def keep(drawing, *paper):
        made[drawing.name] = draw(drawing, *paper)
        return made[drawing.name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures.catalogue, "draw", keep)
        return Drawn(made, figures.draw_all(work))


NOT_READ = ("granules_mod13a2", "granules_mod10a1", "reference_maps", "inconsistency")
"""Of NDVI one product is taken, and snow is a raster; this run has no reference maps."""


@pytest.fixture
def drawn(everything) -> dict[str, Figure | None]:
    return {name: figure for name, figure in everything.figures.items() if name not in NOT_READ}


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


# ---- what must always hold --------------------------------------------------------------------------------------


def test_a_full_work_directory_has_every_figure(drawn):
    assert [name for name, figure in drawn.items() if figure is None] == []


def test_every_figure_of_simulated_input_says_so(drawn):
    assert [name for name, figure in drawn.items() if "simulated" not in texts(figure)] == []


def test_figures_of_observations_do_not_say_simulated(work, sheet):
    observed = Work(work.recipe.model_copy(update={"simulated": False}), work.folder)
    figure = figures.draw(figures.FIGURES[0], observed, sheet)
    assert "simulated" not in texts(figure)


def test_files_are_whole_pictures_with_something_in_them(work, everything):
    paths = everything.paths
    assert [path.stem for path in paths] == [each.name for each in figures.FIGURES if each.name not in NOT_READ]
    assert {path.parent for path in paths} == {work.folder / "figures"}
    for path in paths:
        picture = matplotlib.image.imread(path)
        assert picture.shape[1] == pytest.approx(figures.WIDTH * figures.DOTS_PER_INCH, abs=1)
        assert picture[..., :3].std() > 0.02, path.stem
    assert not list((work.folder / "figures").glob("*.draft"))


def test_labels_along_an_axis_keep_apart(drawn):
    touching = []
    for name, figure in drawn.items():
        canvas = FigureCanvasAgg(figure)
        with mpl.rc_context(figures.STYLE):
            canvas.draw()
        for axes in filter(lambda each: each.axison, figure.axes):
            frame = axes.get_window_extent()
            boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
            inside = sorted((box.x0, box.x1) for box in boxes if frame.x0 - 1 <= (box.x0 + box.x1) / 2 <= frame.x1 + 1)
            touching += [name for (_, end), (begin, _) in pairwise(inside) if begin - end < 2]
    assert touching == []


def test_an_empty_work_directory_has_no_figure_and_no_error(tmp_path, work):
    assert figures.draw_all(Work(work.recipe.model_copy(), tmp_path)) == []


def test_a_figure_whose_data_is_gone_does_not_outlive_it(tmp_path, work):
    stale = tmp_path / "figures" / "areas.png"
    stale.parent.mkdir()
    stale.write_bytes(b"an earlier run's")
    figures.draw_all(Work(work.recipe.model_copy(), tmp_path))
    assert not stale.exists()


def test_a_table_without_its_columns_is_named_with_what_it_lacks(tmp_path, work, sheet):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "forest.csv").write_text("predictor,weight\nelevation,1\n")
    drawing = next(drawing for drawing in figures.FIGURES if drawing.name == "forest")
    with pytest.raises(schema.SchemaError, match="importance"):
        figures.draw(drawing, Work(work.recipe, tmp_path), sheet)


def test_a_run_of_one_epoch_has_no_figure_of_change(work, sheet):
    epochs = work.recipe.epochs.model_copy(update={"target": None})
    single = Work(work.recipe.model_copy(update={"epochs": epochs}), work.folder)
    by_name = {drawing.name: drawing for drawing in figures.FIGURES}
    assert all(
        figures.draw(by_name[name], single, sheet) is None for name in ("change", "transition", "forcing_change")
    )
    assert all(figures.draw(by_name[name], single, sheet) is not None for name in ("frozen_ground", "soil_parameter"))


def test_headline_map_has_a_title_for_each_epoch_a_legend_and_a_scale(drawn):
    found = texts(drawn["frozen_ground"])
    for wanted in (
        "2010 (mean of 2009 and 2010)",
        "2020 (mean of 2019 and 2020)",
        "permafrost",
        "lake",
        " km",
        "°E",
        "°N",
    ):
        assert wanted in found


def test_boreholes_in_the_legend_are_the_counts_of_the_metrics(work, drawn):
    found = texts(drawn["boreholes"])
    judged = work.metrics["validation"]
    for text, name in (
        ("permafrost observed, map agrees", "tp"),
        ("permafrost observed, map disagrees", "fn"),
        ("no permafrost observed, map disagrees", "fp"),
        ("no permafrost observed, map agrees", "tn"),
    ):
        assert f"{text} ({judged[name]})" in found


def test_the_transition_table_shows_every_area(work, drawn):
    found = texts(drawn["transition"]).split("\n")
    for km2 in work.table("transition")["km2"]:
        assert f"{km2:,.0f}" in found


# ---- granules ---------------------------------------------------------------------------------------------------


def granule_cells(figure: Figure):
    """Return the states drawn, (row, date), and the labels of the rows."""
    axes = figure.axes[0]
    return axes.images[0].get_array(), [label.get_text() for label in axes.get_yticklabels()]


def test_every_granule_has_its_cell(drawn):
    cells, labels = granule_cells(drawn["granules_mod11a1"])
    assert labels == [f"{tile} {year}" for tile in TILES for year in (2009, 2010, 2019, 2020)]
    assert cells.shape == (8, 366)
    row = cells[labels.index("h24v05 2020")]
    assert row[[0, 4, 6, 8]].tolist() == [
        figures.PRESENT, figures.FROM_ANOTHER, figures.BAD, figures.PRESENT,
    ]  # fmt: skip
    assert cells[labels.index("h25v05 2020"), 8] == figures.MISSING
    assert (cells[labels.index("h24v05 2010"), :365] == figures.PRESENT).all()


def test_a_day_that_a_year_does_not_have_is_left_white(drawn):
    cells, labels = granule_cells(drawn["granules_mod11a1"])
    no_such_day = np.ma.getmaskarray(cells)[:, 365]
    assert dict(zip(labels, no_such_day.tolist(), strict=True)) == {label: "2020" not in label for label in labels}
    assert not np.ma.getmaskarray(cells)[:, :365].any()


def test_a_hole_that_an_outage_explains_is_told_from_one_that_nothing_explains(drawn):
    cells, labels = granule_cells(drawn["granules_myd11a1"])
    assert cells[labels.index("h25v05 2020"), 232] == figures.OUTAGE
    assert "missing, known outage (1)" in texts(drawn["granules_myd11a1"])
    assert "missing (1)" in texts(drawn["granules_mod11a1"])


def test_composites_are_counted_by_their_number_in_the_year(drawn):
    cells, labels = granule_cells(drawn["granules_mod13a1"])
    assert cells.shape == (8, 23)
    assert cells[labels.index("h24v05 2020"), 1] == figures.MISSING
    assert (cells == figures.MISSING).sum() == 1
    assert drawn["granules_mod13a1"].axes[0].get_xlabel() == "composite of 16 days"


def test_the_legend_counts_the_cells(drawn):
    cells, _ = granule_cells(drawn["granules_mod11a1"])
    found = texts(drawn["granules_mod11a1"])
    for state, (name, _) in figures.GRANULE_STATES.items():
        number = int((cells == state).sum())
        assert (f"{name} ({number:,})" in found) == (number > 0)


def test_states_of_granules_differ_for_every_kind_of_colour_vision():
    # Machado, Oliveira and Fernandes (2009), doi:10.1109/TVCG.2009.113, Table 1, severity 1: linear RGB as it is seen
    vision = {
        "all cones": np.eye(3),
        "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    colours = [colour for _, colour in figures.GRANULE_STATES.values()]
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for kind, matrix in vision.items():
        lab = cielab(np.clip(linear @ np.transpose(matrix), 0, 1))
        apart = np.linalg.norm(lab[:, np.newaxis] - lab, axis=-1) + np.where(np.eye(len(lab)), np.inf, 0)
        assert apart.min() > 25, kind


def cielab(linear):
    """Return L*, a* and b* of linear sRGB under D65."""
    xyz = linear @ np.array(
        [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    ) / [0.9505, 1.0, 1.089]  # fmt: skip
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)


# ---- the paper --------------------------------------------------------------------------------------------------


def test_a_pixel_is_drawn_where_its_coordinates_are(sheet):
    rows, columns = np.indices(sheet.geobox.shape)
    paper = sheet.on_paper(rows * 10_000 + columns)
    longitude, latitude = 91.3, 33.7
    x, y = to_sinusoidal(longitude, latitude)
    column, row = (
        (x - sheet.geobox.affine.c) / sheet.geobox.affine.a,
        (y - sheet.geobox.affine.f) / sheet.geobox.affine.e,
    )
    left, right, bottom, top = sheet.extent
    across, up = sheet.positions(longitude, latitude)
    height, width = paper.shape
    point = paper[int((top - up) / (top - bottom) * height), int((across - left) / (right - left) * width)]
    assert divmod(point, 10_000) == (int(row), int(column))


def test_equal_areas_on_the_ground_are_equal_on_the_paper(sheet):
    area = np.broadcast_to(pixel_area_km2(sheet.geobox)[:, np.newaxis], sheet.geobox.shape)
    left, right, bottom, top = sheet.extent
    north = sheet.inside & (np.indices(sheet.geobox.shape)[0] < np.median(np.nonzero(sheet.inside)[0]))
    paper = sheet.on_paper(north).filled(False)
    drawn = paper.mean() * (right - left) * (top - bottom) / 1e6
    assert drawn == pytest.approx(area[north].sum(), rel=0.005)


def test_nothing_outside_the_region_is_drawn(sheet):
    paper = sheet.on_paper(np.ones(sheet.geobox.shape))
    assert np.ma.getmaskarray(paper)[[0, -1]].all()
    assert np.ma.getmaskarray(paper)[:, [0, -1]].all()


@pytest.mark.parametrize(
    "region",
    [
        "{tiles: [h25v05, h26v05], pixels_per_tile: 24}",
        "{bbox: [85, 31, 92, 36], pixels_per_tile: 240}",
        "{outline: outline.geojson, tiles: [h25v05], pixels_per_tile: 120}",
    ],
)
def test_the_outline_is_around_the_pixels_of_the_region(work, region):
    path = work.recipe.folder / "recipe.yaml"
    text = RECIPE.format(simulated="true", pixels=24)
    line = next(line for line in text.splitlines() if line.startswith("region:"))
    other = map_sheet(Work(parse_recipe(text.replace(line, f"region: {region}"), path), work.folder))
    area = np.broadcast_to(pixel_area_km2(other.geobox)[:, np.newaxis], other.geobox.shape)[other.inside].sum()
    assert other.outline.area / 1e6 == pytest.approx(area, rel=0.01)
    assert other.outline.geom_type == "Polygon"


def test_a_grid_of_degrees_is_as_wide_as_its_meridians_are_apart():
    degrees = GeoBox.from_bbox((90, 32, 94, 35), "EPSG:4326", resolution=0.05)
    sheet = MapSheet(degrees, np.ones(degrees.shape, dtype=bool), degrees.extent.geom)
    assert sheet.aspect == pytest.approx(4 * np.cos(np.radians(33.5)) / 3, rel=0.05)


# ---- what became of a pixel -------------------------------------------------------------------------------------


def test_every_pair_of_classes_is_one_kind_of_change():
    before, after = np.meshgrid([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    kinds = figures.kind_of_change(before, after)
    assert set(kinds.ravel()) == set(figures.CHANGES)
    swapped = figures.kind_of_change(after, before)
    assert ((kinds == figures.LOST) == (swapped == figures.GAINED)).all()


def test_a_pixel_without_class_in_one_epoch_has_no_change():
    assert figures.kind_of_change(np.array([255, 1]), np.array([1, 255])).tolist() == [255, 255]


@pytest.mark.parametrize("name", [*CLASS_NAMES.values(), "permafrost", "seasonally_frozen", "non_frozen", "lake"])
def test_classes_are_known_by_name_and_by_code(name):
    code = figures.class_code(name)
    assert name.replace("_", " ").replace("-", " ") in CLASS_NAMES[code].replace("-", " ")
    assert figures.class_code(code) == figures.class_code(name.upper().replace(" ", "_")) == code
