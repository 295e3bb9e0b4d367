"""Where maps differ is told pixel by pixel, in areas and in drawn zones, and at the same boreholes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from frostmap.catalogs.grids import lattice
from frostmap.kernels.agreement import BinaryCounts
from frostmap.kernels.inconsistency import kinds_of_agreement
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.run import run
from frostmap.pipeline.stages.inconsistency import compared
from frostmap.pipeline.stages.validation import said_when_left_out
from frostmap.pipeline.work import Work
from frostmap.pipeline.zones import mask_of

from .small_chain import one_thread
from .small_plateau import SIDE, recipe_in

WEST = [[89.9, 30.0], [92.0, 30.0], [92.0, 37.0], [89.9, 37.0]]
"""Of the piece: its first twenty columns."""


def test_points_that_the_regression_did_not_see_keep_what_its_map_says() -> None:
    points = pd.DataFrame({"line": [2, 3, 4, 5]})
    fitted = pd.DataFrame({"line": [2, 3, 4], "left_out_regions": [-0.5, 0.5, np.nan]})
    said = said_when_left_out(points, ["seasonally frozen", "permafrost", "permafrost", ""], fitted)
    assert said == ["permafrost", "seasonally frozen", "permafrost", ""]


# ---- areas, zones -------------------------------------------------------------------------------------------------


def test_kappa_is_that_of_the_confusion_table_where_pixels_are_alike() -> None:
    box = lattice(1200)[25, 5][600:610, 100:110]  # a row of the sinusoidal grid is nearly all of one area
    rng = np.random.default_rng(1)
    own, other = rng.integers(1, 3, (2, 10, 10)).astype(np.uint8)
    table = compared(own, other, kinds_of_agreement(own, other), np.ones((10, 10), bool), box, {}, {"reference": "x"})
    counted = BinaryCounts(*(int(np.sum((own == a) & (other == b))) for a in (1, 2) for b in (1, 2)))
    assert table.loc[0, "kappa"] == pytest.approx(counted.kappa, abs=1e-4)
    assert table.loc[0, "agreement"] == pytest.approx(counted.overall_accuracy, abs=1e-4)


def test_nothing_to_compare_has_no_kappa() -> None:
    box = GeoBox((2, 2), Affine(0.1, 0, 90, 0, -0.1, 35), "EPSG:4326")
    own, other = np.full((2, 2), 1, np.uint8), np.full((2, 2), 255, np.uint8)
    row = compared(own, other, kinds_of_agreement(own, other), np.ones((2, 2), bool), box, {}, {}).iloc[0]
    assert row["compared_km2"] == 0
    assert np.isnan(row[["agreement", "kappa", "kappa_of_classes"]].astype(float)).all()


def test_a_zone_is_where_it_was_drawn_also_on_the_sheared_grid() -> None:
    box = lattice(120)[25, 5]
    inside = mask_of(shapely.box(92.0, 33.0, 95.0, 36.0), box)
    rows, columns = np.nonzero(inside)
    x, y = box.affine * (columns + 0.5, rows + 0.5)
    latitude = np.degrees(y / 6371007.181)
    longitude = np.degrees(x / 6371007.181 / np.cos(np.radians(latitude)))
    assert longitude.min() > 92.0
    assert longitude.max() < 95.0
    assert latitude.min() > 33.0
    assert latitude.max() < 36.0
    expected = 3 * 3 * 111.2**2 * np.cos(np.radians(34.5))
    assert inside.sum() * 9.266254**2 == pytest.approx(expected, rel=0.03)


def test_a_zone_elsewhere_is_refused_and_told_where_it_is(tmp_path: Path) -> None:
    zones = [{"name": "swapped", "corners": [[35, 90], [36, 90], [36, 91]]}]
    recipe = recipe_in(tmp_path, validation={"ttop": ["constant"], "zones": zones})
    with one_thread() as client, pytest.raises(UserError, match="no pixel of the region") as refused:
        run(recipe, tmp_path / "work", until="inconsistency", client=client)
    assert "swapped" in refused.value.where


@pytest.mark.parametrize(
    ("zones", "says"),
    [
        ([{"name": "a"}], "either polygons"),
        ([{"name": "a", "corners": [[90, 35], [91, 35]]}], "at least 3"),
        ([{"name": "a", "corners": WEST}, {"name": "a", "corners": WEST}], "a name of its own"),
    ],
)
def test_a_zone_that_is_none_is_refused(tmp_path: Path, zones: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(UserError) as refused:
        recipe_in(tmp_path, validation={"zones": zones})
    assert says in str(refused.value)


def test_a_zone_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "zone.geojson").write_text(shapely.to_geojson(shapely.Polygon(WEST)))
    recipe = recipe_in(
        tmp_path, validation={"ttop": ["constant"], "zones": [{"name": "west", "polygons": "zone.geojson"}]}
    )
    with one_thread() as client:
        run(recipe, tmp_path / "work", until="inconsistency", client=client)
    rows = Work(recipe, tmp_path / "work").table("inconsistency-ttop-constant").set_index("zone")
    assert rows.loc["west", "compared_km2"] / rows.loc["all", "compared_km2"] == pytest.approx(20 / SIDE, rel=0.01)
