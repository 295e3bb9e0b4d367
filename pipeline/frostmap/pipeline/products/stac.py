"""A STAC collection over exported maps: an item for each map and grid, an asset for each file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pystac
from pyproj import CRS, Transformer

from frostmap.catalogs.references import reference_by_doi
from frostmap.pipeline.products.citations import Citations
from frostmap.pipeline.products.grids import DEGREES, Extent, TargetGrid
from frostmap.pipeline.products.layers import Layer
from frostmap.pipeline.work import Work

COLLECTION = "collection.json"

_EXTENSIONS = {
    "projection": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "scientific": "https://stac-extensions.github.io/scientific/v1.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "datacube": "https://stac-extensions.github.io/datacube/v2.2.0/schema.json",
}
OF_ITEMS = [_EXTENSIONS[name] for name in ("projection", "raster", "classification", "processing", "file", "datacube")]
OF_COLLECTIONS = [_EXTENSIONS[name] for name in ("processing", "scientific", "file")]

GEOTIFF, NETCDF = str(pystac.MediaType.COG), "application/x-netcdf"

SHA256 = "1220"
"""How a multihash begins that is a SHA-256 of 32 bytes."""


def write_collection(
    work: Work,
    folder: Path,
    layers: Sequence[Layer],
    targets: Sequence[TargetGrid],
    extent: Extent,
    cited: Citations,
    licence: str = "other",
) -> list[Path]:
    """Write a collection and its items beside the files that they are about; return their paths.

    Links and assets are relative, so that the folder may be moved.

    Parameters
    ----------
    work, folder
        The run, and where its maps were exported to.
    layers, targets, extent
        What was exported, on which grids, and where the map has values.
    cited
        What the collection names as its publications.
    licence
        SPDX identifier, or other.
    """
    box = bounds_in_degrees(work, extent)
    items = [
        item
        for target in targets
        for label in dict.fromkeys(layer.label for layer in layers)
        if (item := _item(work, folder, target, label, [each for each in layers if each.label == label], box))
    ]
    collection = _collection(work, folder, items, box, cited, licence)
    for item in items:
        collection.add_item(item, set_parent=True)
        item.set_self_href(str(folder / str(item.properties["frostmap:grid"]) / f"{item.id}.json"))
    collection.set_self_href(str(folder / COLLECTION))
    collection.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
    return [folder / COLLECTION, *(Path(str(item.get_self_href())) for item in items)]


def bounds_in_degrees(work: Work, extent: Extent) -> list[float]:
    """Return west, south, east and north of where the map has values, outwards to 1e-6°."""
    transformer = Transformer.from_crs(str(work.geobox.crs), DEGREES, always_xy=True)
    x, y = transformer.transform(*extent.corners(work.geobox))
    lowest, highest = (np.floor(np.array([x, y]).min(axis=1) * 1e6), np.ceil(np.array([x, y]).max(axis=1) * 1e6))
    return [float(edge) / 1e6 for edge in (*lowest, *highest)]


def _item(
    work: Work, folder: Path, target: TargetGrid, label: str, layers: Sequence[Layer], box: list[float]
) -> pystac.Item | None:
    """Return the item of a map on a grid; None where no file of it is there."""
    recipe = work.recipe
    epochs, own = recipe.epochs.named(), layers[0].epoch
    years = [year for name, each in epochs.items() if own in (None, name) for year in each.years]
    start, end = datetime(min(years), 1, 1, tzinfo=UTC), datetime(max(years), 12, 31, 23, 59, 59, tzinfo=UTC)
    name = f"{recipe.name}_{label}" if label else recipe.name
    item = pystac.Item(
        f"{name}_{target.name}",
        _rectangle(box),
        box,
        None,
        {
            "title": f"{recipe.title or recipe.name}, {label}: {target.title}".replace(", :", ":"),
            "frostmap:grid": target.name,
            "frostmap:map": label,
            "frostmap:simulated": recipe.simulated,
            "processing:software": {"frostmap": version("frostmap")},
            "processing:lineage": f"frostmap recipe {recipe.name} {recipe.digest()}",
            "gsd": round(1000.0 * work.pixel_km, 1),
            **projection_of(target),
            **_cube(target, layers, start, end),
        },
        start_datetime=start,
        end_datetime=end,
        stac_extensions=list(OF_ITEMS),
    )
    for layer in layers:
        path = folder / target.name / f"{layer.name}.tif"
        if path.is_file():
            item.add_asset(layer.variable.name, _asset(path, GEOTIFF, layer.variable.long_name, ["data"], _band(layer)))
    netcdf = folder / target.name / f"{name}.nc"
    if netcdf.is_file():
        item.add_asset("netcdf", _asset(netcdf, NETCDF, "all layers, CF conventions", ["data"]))
    return item if item.assets else None


def _collection(
    work: Work, folder: Path, items: Sequence[pystac.Item], box: list[float], cited: Citations, licence: str
) -> pystac.Collection:
    recipe = work.recipe
    times = [item.common_metadata for item in items]
    known = [each for span in times for each in (span.start_datetime, span.end_datetime) if each is not None]
    grids = sorted({str(item.properties["frostmap:grid"]) for item in items})
    what = "Frozen ground from MODIS land surface temperature: classes, frost number and what they are made of."
    collection = pystac.Collection(
        recipe.name,
        f"{what} All data is simulated." if recipe.simulated else what,
        pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([[min(known), max(known)]])),
        title=recipe.title or recipe.name,
        stac_extensions=list(OF_COLLECTIONS),
        license=licence,
        keywords=["permafrost", "frozen ground", "frost number", "degree days"],
        summaries=pystac.Summaries({"frostmap:grid": grids}),
        extra_fields={"sci:publications": _publications(cited)} if cited.cited else None,
    )
    for name, title, roles in (
        ("areas.csv", "areas of classes on each grid", ["metadata"]),
        ("prov.json", "what was made from what (W3C PROV-JSON)", ["metadata"]),
        ("citations.bib", "what is to be cited", ["metadata"]),
    ):
        path = folder / name
        if path.is_file():
            kind = {".csv": "text/csv", ".json": "application/json", ".bib": "application/x-bibtex"}[path.suffix]
            collection.add_asset(path.stem, _asset(path, kind, title, roles))
    return collection


def _publications(cited: Citations) -> list[dict[str, str]]:
    """Return publications of the method and the data, each once."""
    references = [each.reference for each in cited.cited if each.role != "software" and each.reference.doi]
    found = {reference.doi: reference.as_text() for reference in references}
    return [{"doi": doi, "citation": text} for doi, text in found.items() if reference_by_doi(doi)]


def projection_of(target: TargetGrid) -> dict[str, Any]:
    """Return the fields of the projection extension.

    A grid without a code of its own has `proj:code` null, and its WKT.
    """
    crs, box = CRS(str(target.geobox.crs)), target.geobox.boundingbox
    authority = crs.to_authority()
    place: dict[str, Any] = {"proj:code": ":".join(authority) if authority else None}
    if not authority:
        place["proj:wkt2"] = crs.to_wkt("WKT2_2019")
    return place | {
        "proj:shape": list(target.shape),
        "proj:transform": [float(part) for part in tuple(target.geobox.affine)[:6]],
        "proj:bbox": [float(edge) for edge in (box.left, box.bottom, box.right, box.top)],
    }


def _cube(target: TargetGrid, layers: Sequence[Layer], start: datetime, end: datetime) -> dict[str, Any]:
    """Return the fields of the data-cube extension."""
    crs, box = CRS(str(target.geobox.crs)), target.geobox.boundingbox
    system: Any = crs.to_epsg() or crs.to_json_dict()
    step = abs(float(target.geobox.affine.a))
    spans = {"x": (box.left, box.right), "y": (box.bottom, box.top)}
    dimensions: dict[str, Any] = {
        name: {
            "type": "spatial",
            "axis": name,
            "extent": [float(edge) for edge in span],
            "step": step,
            "reference_system": system,
        }
        for name, span in spans.items()
    }
    dimensions["time"] = {"type": "temporal", "extent": [_iso(start), _iso(end)]}
    variables = {
        layer.variable.name: {
            "type": "data",
            "dimensions": ["y", "x"],
            "description": layer.variable.long_name,
            "unit": layer.variable.units,
        }
        for layer in layers
    }
    return {"cube:dimensions": dimensions, "cube:variables": variables}


def _band(layer: Layer) -> dict[str, Any]:
    """Return the fields of the raster and classification extensions."""
    missing: Any = layer.missing
    band: dict[str, Any] = {
        "data_type": layer.dtype,
        "nodata": "nan" if missing != missing else missing,
        "unit": layer.variable.units,
        "sampling": "area",
    }
    fields: dict[str, Any] = {"raster:bands": [band]}
    if layer.legend:
        fields["classification:classes"] = [
            {
                "value": code,
                "name": entry.name.replace(" ", "_"),
                "title": entry.name,
                "color_hint": entry.colour.removeprefix("#").upper(),
            }
            for code, entry in layer.legend.items()
        ]
    return fields


def _asset(path: Path, kind: str, title: str, roles: list[str], fields: dict[str, Any] | None = None) -> pystac.Asset:
    """Return what is said of a file that lies beside what says it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    about = {"file:size": path.stat().st_size, "file:checksum": SHA256 + digest} | (fields or {})
    return pystac.Asset(f"./{path.name}", title=title, media_type=kind, roles=roles, extra_fields=about)


def _rectangle(box: list[float]) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
