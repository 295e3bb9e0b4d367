"""Where a group of the cube lies, as GeoZarr's conventions `proj` and `spatial` say it, beside CF."""

from __future__ import annotations

from typing import Any

from odc.geo.geobox import GeoBox
from pyproj import CRS

_CONVENTIONS = (
    ("proj", "zarr-conventions/geo-proj", "f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system"),
    ("spatial", "zarr-conventions/spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Where rows and columns lie"),
)
"""Name, repository, identifier and what it is for: https://github.com/zarr-conventions."""


def geozarr_attributes(geobox: GeoBox) -> dict[str, Any]:
    """Return the attributes of a group whose arrays have the dimensions y and x.

    Examples
    --------
    >>> from affine import Affine
    >>> found = geozarr_attributes(GeoBox((2, 3), Affine(0.5, 0.0, 90.0, 0.0, -0.5, 35.0), "EPSG:4326"))
    >>> found["proj:code"], found["spatial:bbox"], found["spatial:shape"]
    ('EPSG:4326', [90.0, 34.0, 91.5, 35.0], [2, 3])
    """
    crs, box = CRS(str(geobox.crs)), geobox.boundingbox
    authority = crs.to_authority()
    place = {"proj:code": ":".join(authority)} if authority else {"proj:wkt2": crs.to_wkt("WKT2_2019")}
    return {
        "zarr_conventions": [
            {
                "schema_url": f"https://raw.githubusercontent.com/{repository}/refs/tags/v1/schema.json",
                "spec_url": f"https://github.com/{repository}/blob/v1/README.md",
                "uuid": identifier,
                "name": name,
                "description": purpose,
            }
            for name, repository, identifier, purpose in _CONVENTIONS
        ],
        **place,
        "spatial:dimensions": ["y", "x"],
        "spatial:transform_type": "affine",
        "spatial:transform": [float(part) for part in tuple(geobox.affine)[:6]],
        "spatial:shape": [geobox.shape.y, geobox.shape.x],
        "spatial:bbox": [float(edge) for edge in (box.left, box.bottom, box.right, box.top)],
        "spatial:registration": "pixel",
    }
