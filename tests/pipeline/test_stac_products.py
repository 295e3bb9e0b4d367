"""Exported maps are a STAC collection that validates, says what is in its files, and leads to them; and one archive."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pystac
import pytest
import rasterio
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.datacube import DatacubeExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterExtension
from pystac.extensions.scientific import ScientificExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from typer.testing import CliRunner

from frostmap.pipeline.cli import app
from frostmap.pipeline.errors import DataIncomplete, UserError
from frostmap.pipeline.products.archive import archive
from frostmap.pipeline.products.export import Exported, export
from frostmap.pipeline.products.prov import prov_document
from frostmap.pipeline.work import Work

from .conftest import Finished

NUMBERS = {"type": "array", "items": {"type": "number"}}
CHECKSUM = {"type": "string", "pattern": "^1220[0-9a-f]{64}$"}
OF_ASSETS: dict[str, Any] = {
    "file:size": {"type": "integer", "minimum": 1},
    "file:checksum": CHECKSUM,
    "raster:bands": {
        "type": "array",
        "minItems": 1,
        "items": {
            "properties": {
                "data_type": {"enum": ["int8", "int16", "int32", "uint8", "uint16", "float32", "float64"]},
                "nodata": {"anyOf": [{"type": "number"}, {"enum": ["nan", "inf", "-inf"]}]},
                "unit": {"type": "string"},
                "sampling": {"enum": ["area", "point"]},
            }
        },
    },
    "classification:classes": {
        "type": "array",
        "minItems": 1,
        "items": {
            "required": ["value", "name"],
            "properties": {
                "value": {"type": "integer"},
                "name": {"type": "string", "pattern": "^[0-9A-Za-z-_]+$"},
                "color_hint": {"type": "string", "pattern": "^([0-9A-F]{6})$"},
            },
        },
    },
}
AXIS = {
    "required": ["type", "axis"],
    "properties": {"type": {"const": "spatial"}, "axis": {"enum": ["x", "y"]}, "extent": NUMBERS | {"minItems": 2}},
}
OF_PROPERTIES: dict[str, Any] = {
    "proj:code": {"type": ["string", "null"], "pattern": "^[A-Z]+:[0-9]+$"},
    "proj:wkt2": {"type": "string"},
    "proj:shape": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
    "proj:transform": NUMBERS | {"minItems": 6, "maxItems": 9},
    "proj:bbox": NUMBERS | {"minItems": 4, "maxItems": 4},
    "processing:software": {"type": "object", "additionalProperties": {"type": "string"}},
    "processing:lineage": {"type": "string"},
    "cube:dimensions": {
        "type": "object",
        "minProperties": 1,
        "properties": {"x": AXIS, "y": AXIS, "time": {"required": ["type", "extent"]}},
    },
    "cube:variables": {"additionalProperties": {"required": ["dimensions", "type"]}},
}
"""Fields of the extensions that are used, as their specifications have them."""


@pytest.fixture(scope="module")
def exported(mapped: Finished, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return some maps of the small run on two grids, as COG and NetCDF."""
    work, folder = Work(mapped.recipe, mapped.folder), tmp_path_factory.mktemp("stac")
    only = ("frozen_ground", "ddf")
    return export(work, folder, grids=("native", "longlat"), only=only, formats=("cog", "netcdf"), licence="CC-BY-4.0")


@pytest.fixture(scope="module")
def collection(exported: Exported) -> pystac.Collection:
    """Return the collection as a reader finds it."""
    return pystac.Collection.from_file(str(exported.folder / "collection.json"))


def test_collection_and_items_follow_the_specification_and_its_extensions(exported: Exported) -> None:
    validator = JsonSchemaSTACValidator()  # the specification's own schemas, from the package
    assert len(exported.metadata) == 1 + 2
    for path in exported.metadata:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_item = path.name != "collection.json"
        kind = pystac.STACObjectType.ITEM if is_item else pystac.STACObjectType.COLLECTION
        validator.validate_core(content, kind, content["stac_version"])
        prefixes = {key.partition(":")[0] for key in content.get("properties", content) if ":" in key}
        prefixes |= {key.partition(":")[0] for asset in content["assets"].values() for key in asset if ":" in key}
        long_names = {"proj": "projection", "sci": "scientific", "cube": "datacube"}
        declared = {uri.split("/")[3] for uri in content["stac_extensions"]}
        assert {long_names.get(prefix, prefix) for prefix in prefixes} - {"frostmap"} <= declared
        for asset in content["assets"].values():
            jsonschema.validate(asset, {"properties": OF_ASSETS})
            assert not Path(asset["href"]).is_absolute()
            assert (path.parent / asset["href"]).is_file()
        if is_item:
            jsonschema.validate(content["properties"], {"properties": OF_PROPERTIES})


def test_items_say_what_their_files_are(collection: pystac.Collection) -> None:
    assert collection.license == "CC-BY-4.0"
    assert "simulated" in collection.description
    doi = {each.doi for each in ScientificExtension.ext(collection).publications or []}
    assert "10.2307/1551363" in doi
    for item in collection.get_items():
        projection = ProjectionExtension.ext(item)
        assert set(DatacubeExtension.ext(item).variables or {}) <= {"ddf", "frozen_ground"}
        for name, asset in item.assets.items():
            path = Path(asset.get_absolute_href() or "")
            file = FileExtension.ext(asset)
            assert file.size == path.stat().st_size
            assert file.checksum == "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
            if name == "netcdf":
                continue
            with rasterio.open(path) as raster:
                assert projection.shape == list(raster.shape)
                assert np.allclose(projection.transform or [], tuple(raster.transform)[:6])
                band = (RasterExtension.ext(asset).bands or [])[0]
                assert str(band.data_type) == raster.dtypes[0]
                assert band.unit == raster.units[0]
                if name == "frozen_ground":
                    classes = ClassificationExtension.ext(asset).classes or []
                    colours = raster.colormap(1)
                    assert {c.value: (c.color_hint or "").lower() for c in classes} == {
                        code: "{:02x}{:02x}{:02x}".format(*colours[code]) for code in range(1, 6)
                    }
    dates = {(item.common_metadata.start_datetime or datetime.min).year for item in collection.get_items()}
    assert dates == {2010}


def test_the_region_lies_within_what_the_collection_says(collection: pystac.Collection) -> None:
    west, south, east, north = collection.extent.spatial.bboxes[0]
    assert 80 < west < east < 118
    assert 29 < south < north < 41
    for item in collection.get_items():
        assert item.bbox == [west, south, east, north]


def test_provenance_leads_from_every_result_to_what_it_was_made_of(mapped: Finished) -> None:
    document = prov_document(Work(mapped.recipe, mapped.folder))
    entities, activities = document["entity"], document["activity"]
    used = {(each["prov:activity"], each["prov:entity"]) for each in document["used"].values()}
    made = {each["prov:entity"]: each["prov:activity"] for each in document["wasGeneratedBy"].values()}
    assert {entity for _, entity in used} <= entities.keys()
    assert set(made) <= entities.keys()
    assert set(made.values()) <= activities.keys()
    assert {each["prov:agent"] for each in document["wasAssociatedWith"].values()} == document["agent"].keys()

    def roots(entity: str) -> set[str]:
        if entity not in made:
            return {entity}
        return {root for activity, other in used if activity == made[entity] for root in roots(other)}

    origins = roots("frostmap:result/frozen_ground/training")
    assert {"frostmap:recipe", "frostmap:input/ddf.tif", "frostmap:input/grids/lakes_2010.tif"} <= origins
    assert not any(entity.startswith("frostmap:result") for entity in origins)
    assert len(entities["frostmap:input/ddf.tif"]["frostmap:sha256"]) == 64
    for activity in activities.values():
        assert activity["prov:startTime"] <= activity["prov:endTime"]
    assert str(mapped.folder.parent) not in json.dumps(document)  # where it was made is nobody's business


def test_an_archive_has_all_and_its_checksums_hold(mapped: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    shutil.copytree(mapped.folder, folder)
    work, products = Work(mapped.recipe, folder), folder / "products"
    with pytest.raises(DataIncomplete, match="frostmap export"):
        archive(work, products, tmp_path / "a.zip", "CC-BY-4.0")
    export(work, products, grids=("longlat",), only=("frozen_ground",))
    with pytest.raises(UserError, match="CC-BY-SA"):
        archive(work, products, tmp_path / "a.zip", "GPL")
    assert not list(tmp_path.glob("*.zip"))
    out = tmp_path / "sums.zip"
    arguments = ["archive", str(folder), "--licence", "CC-BY-4.0", "--author", "A. Author", "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    with zipfile.ZipFile(out) as file:
        assert file.testzip() is None
        names = {name.removeprefix("sums/") for name in file.namelist()}
        assert len(names) == told["members"]
        file.extractall(tmp_path / "there")
    root = tmp_path / "there" / "sums"
    expected = {"README.md", "LICENSE.txt", "CITATIONS.bib", "recipe.yaml", "metrics.json", "provenance.json"}
    expected |= {"products/collection.json", "products/longlat/frozen_ground_2010.tif", "tables/areas-training.csv"}
    assert expected | {"SHA256SUMS"} <= names
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert "All data is simulated" in readme
    assert "By A. Author." in readme
    assert "1 permafrost" in readme
    listed = dict(line.split("  ")[::-1] for line in (root / "SHA256SUMS").read_text().splitlines())
    assert listed.keys() == names - {"SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == digest
    again = archive(work, products, tmp_path / "again.zip", "CC-BY-4.0", ["A. Author"])
    assert again.sha256 == told["sha256"]
