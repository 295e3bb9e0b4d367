"""Maps are judged by all that is known of the ground, and every observation is accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from frostmap.kernels.frost_number import GLACIER, LAKE, NO_CLASS, PERMAFROST, SEASONALLY_FROZEN
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.recipe import BoreholeTable
from frostmap.pipeline.stages.validation import at_boreholes, scores

GRID = GeoBox((8, 8), Affine(0.01, 0, 90, 0, -0.01, 35.08), "EPSG:4326")


def maps(ground: np.ndarray) -> xr.Dataset:
    number = np.where(ground == PERMAFROST, 0.6, 0.4).astype("float32")
    return xr.Dataset({"frozen_ground": (("y", "x"), ground), "frost_number": (("y", "x"), number)})


def holes_at(folder: Path, *rows: str) -> Path:
    path = folder / "holes.csv"
    path.write_text("name,longitude,latitude,permafrost\n" + "\n".join(rows))
    return path


def test_every_row_of_the_table_is_judged_or_has_a_reason(tmp_path: Path) -> None:
    ground = np.full((8, 8), SEASONALLY_FROZEN, "uint8")
    ground[:, :3] = PERMAFROST
    ground[3:8, 3:8] = LAKE
    ground[0, 7] = NO_CLASS
    ground[0, 0] = GLACIER
    path = holes_at(
        tmp_path,
        "cold,90.015,35.065,1",
        "ice,90.005,35.075,1",  # on a glacier: the nearest ground, a pixel away
        "shore,90.035,35.015,0",  # on a lake, a pixel from ground
        "deep,90.065,35.015,0",  # on a lake, far from ground
        "unknown,90.075,35.075,0",
        "far,91.0,35.0,1",
        "nowhere,,35.0,1",
    )
    judged = at_boreholes(path, BoreholeTable(path=path), GRID, maps(ground))
    assert judged["name"].tolist() == ["cold", "ice", "shore", "deep", "unknown", "far", "nowhere"]
    assert judged["mapped"].tolist() == ["permafrost"] * 3 + [""] * 4
    assert judged["moved"].tolist()[:3] == [0, 1, 1]
    assert judged["dropped"].tolist() == [
        "", "", "", "on a lake, no ground within 2 pixels", "outside the region, or without a class", "outside the map",
        "no longitude",
    ]  # fmt: skip
    found = scores(judged)
    assert (found["n"], found["tp"], found["fp"], found["rows"], found["moved"], found["off_map"]) == (3, 2, 1, 7, 2, 2)
    assert sum(found["dropped"].values()) + found["n"] == found["rows"]


def test_a_table_of_another_country_is_refused(tmp_path: Path) -> None:
    path = holes_at(tmp_path, "a,10,50,1", "b,11,50,0")
    with pytest.raises(DataIncomplete, match="no borehole lies on the map"):
        at_boreholes(path, BoreholeTable(path=path), GRID, maps(np.ones((8, 8), "uint8")))
