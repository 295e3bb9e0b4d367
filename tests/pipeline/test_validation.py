"""Maps are judged by all that is known of the ground, and every observation is accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from frostmap.kernels.frost_number import GLACIER, LAKE, NO_CLASS, PERMAFROST, SEASONALLY_FROZEN
from frostmap.pipeline.errors import DataIncomplete
from frostmap.pipeline.recipe import BoreholeTable, Stations
from frostmap.pipeline.stages.validation import at_boreholes, judgement, scores, station_evidence

from .small_chain import recipe_in

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


def test_other_maps_are_judged_at_the_same_pixels(tmp_path: Path) -> None:
    ground = np.full((8, 8), SEASONALLY_FROZEN, "uint8")
    ground[:, :4] = PERMAFROST
    other = np.full((8, 8), PERMAFROST, "uint8")
    other[0] = LAKE
    rows = [f"h{k}{j},{90.005 + 0.01 * k},{35.075 - 0.01 * j},{int(k < 4)}" for k in range(8) for j in range(3)]
    path = holes_at(tmp_path, *rows)
    judged = at_boreholes(path, BoreholeTable(path=path), GRID, maps(ground))
    tables, metrics = judgement(judged, "target", {"other": maps(other)}, GRID, maps(ground))
    assert metrics["kappa"] == 1.0
    found = metrics["maps"]["other"]  # type: ignore[index]
    assert (found["n"], found["tp"], found["fp"], found["judged_alone_right"]) == (16, 8, 8, 8)
    assert found["p"] == pytest.approx(2 / 2**8)
    whole = tables["boreholes"]
    assert set(whole["mapped_other"]) == {"permafrost", ""}
    assert whole.loc[whole["column"] == 3, "limit_km"].to_numpy() == pytest.approx(0.456, abs=0.01)
    assert set(tables["borehole_groups"]["by"]) >= {"region", "|F - 0.5|"}


def test_stations_are_set_beside_their_pixels(tmp_path: Path) -> None:
    (tmp_path / "sites.csv").write_text(
        "station,name,longitude,latitude,elevation\n1,cold,90.015,35.065,5000\n2,warm,90.065,35.065,3000\n"
        "3,away,99,35,1\n4,short,90.015,35.065,1\n"
    )
    days = pd.date_range("2010-01-01", "2010-12-31")
    rows = []
    for station, (mean, swing) in {1: (-12, 12), 2: (9, 12), 3: (0, 5), 4: (-12, 12)}.items():
        temperature = mean - swing * np.cos(2 * np.pi * (days.day_of_year - 15) / 365)
        tenths = np.rint(10 * temperature).astype(int)
        few = slice(0, 100) if station == 4 else slice(None)
        rows += [f"{station},{d.year},{d.month},{d.day},{t}" for d, t in list(zip(days, tenths, strict=True))[few]]
    (tmp_path / "daily.csv").write_text("station,year,month,day,ground_temperature\n" + "\n".join(rows))
    recipe = recipe_in(tmp_path)
    sources = recipe.sources.model_copy(
        update={"stations": Stations(sites=tmp_path / "sites.csv", daily=tmp_path / "daily.csv")}
    )
    recipe = recipe.model_copy(update={"sources": sources})
    recipe._folder = tmp_path
    ground = maps(np.full((8, 8), PERMAFROST, "uint8"))
    sums = xr.Dataset({name: (("y", "x"), np.full((8, 8), 1000, "float32")) for name in ("ddf", "ddt")})
    soil = xr.Dataset({"e": (("y", "x"), np.full((8, 8), 0.9, "float32"))})
    table, metrics = station_evidence(recipe, "training", GRID, ground, sums, soil)
    assert table["name"].tolist() == ["cold", "warm"]  # one is off the map, one has too few days
    assert metrics["left_out"] == 2
    day = days.day_of_year.to_numpy()
    twin = -np.minimum(0, np.rint(10 * (-12 - 12 * np.cos(2 * np.pi * (day - 15) / 365)))) / 10
    assert table["ddf"][0] == pytest.approx(twin.sum(), rel=1e-4)
    assert table["station_says"].tolist() == ["permafrost", "seasonally frozen"]
    assert table["map_agrees"].tolist() == ["yes", "no"]
    assert (metrics["decisive"], metrics["agree"]) == (2, 1)
