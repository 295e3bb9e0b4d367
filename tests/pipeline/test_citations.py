"""A run names all that it owes to others, and says what its recipe leaves unsaid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from frostmap.pipeline.cli import app
from frostmap.pipeline.errors import UserError
from frostmap.pipeline.products.citations import Citations, citations
from frostmap.pipeline.recipe import parse_recipe
from frostmap.pipeline.recipes import bundled, with_values
from frostmap.pipeline.work import Work


def cited(tmp_path: Path, name: str = "qtp-2020", **changes: Any) -> Citations:
    text = with_values(bundled(name), {key.replace("__", "."): value for key, value in changes.items()})
    return citations(Work(parse_recipe(text, tmp_path / "recipe.yaml"), tmp_path))


def dois(found: Citations, use: str) -> set[str]:
    return {each.reference.doi for each in found.cited if each.use == use}


def test_the_plateau_s_recipe_leaves_nothing_unsaid_but_its_own_files(tmp_path: Path) -> None:
    found = cited(tmp_path)
    assert dois(found, "lst") == {"10.5067/MODIS/MOD11A1.061", "10.5067/MODIS/MYD11A1.061"}
    assert dois(found, "ndvi") == {"10.5067/MODIS/MOD13A1.061"}
    assert "10.5194/essd-16-2501-2024" in dois(found, "snow_cover")
    assert "10.1002/jame.20026" in dois(found, "soil")
    assert set(found.unknown) <= {"elevation", "region.outline"}
    text = found.as_text()
    assert "- Harris, C. R., Millman, K. J., van der Walt, S. J. et al. (2020): Array programming with NumPy" in text
    assert "- region.outline: TPBoundary_HF_wgs84.shp" in text


def test_an_elevation_model_and_cloud_tops_are_cited_by_their_definitions(tmp_path: Path) -> None:
    model = {"kind": "folder", "catalogue": "srtm", "model": "srtm-v4.1"}
    clouds = {"kind": "mod06", "path": "clouds"}
    found = cited(tmp_path, sources__elevation=model, sources__cloud_top=clouds)
    assert dois(found, "elevation") == {"10.1080/13658810601169899"}
    assert dois(found, "cloud_top") == {"10.5067/MODIS/MOD06_L2.061", "10.5067/MODIS/MYD06_L2.061"}
    assert "elevation" not in found.unknown


def test_tables_of_files_say_what_covariates_were_made_of(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "sources-snow.csv").write_text(
        "what,series,doi,file\nsnow_cover,awt-modis-fsc,10.5194/essd-16-2501-2024,a.tif\nsand,,,b.tif\n"
    )
    found = cited(
        tmp_path,
        citations=[
            {"source": "lakes", "cite": "10.5194/essd-13-3951-2021"},
            {"source": "lakes", "cite": "Own digitisation, 2020"},
        ],
    )
    assert "10.5194/essd-16-2501-2024" in dois(found, "snow_cover")
    assert "Own digitisation, 2020" in found.as_text()
    assert "snow_cover.training" not in found.unknown
    assert {"glaciers.training", "surveys.gaize", "stations.daily"} <= set(found.unknown)


def test_versions_are_those_that_made_the_run(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps({"software": {"numpy": "9.9.9", "frostmap": "0.0.7"}}))
    text = cited(tmp_path).as_text()
    assert "version 9.9.9" in text
    assert "version 0.0.7" in text


def test_simulated_data_is_not_cited_as_if_it_were_the_archive_s(tmp_path: Path) -> None:
    found = cited(tmp_path, "demo")
    assert not [each for each in found.cited if each.role == "data"]
    assert "simulated by frostmap" in found.as_text()


def test_a_citation_of_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no source is called so"):
        cited(tmp_path, citations=[{"source": "snow", "cite": "10.1/x"}])


def test_the_command_writes_bibtex(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(bundled("wenquan"))
    out = tmp_path / "cited.bib"
    result = CliRunner().invoke(app, ["cite", str(tmp_path), "--format", "bibtex", "--out", str(out)])
    assert result.exit_code == 0, result.output
    text = out.read_text(encoding="utf-8")
    assert "@article{cao_2023," in text
    assert "@misc{cao_2023_data," in text
    assert text.count("@article{numpy,") == 1
    listed = CliRunner().invoke(app, ["cite", str(tmp_path), "--json"])
    assert {each["role"] for each in json.loads(listed.stdout)["cited"]} == {"software", "method", "data"}
    assert json.loads(listed.stdout)["unknown"] == {}
