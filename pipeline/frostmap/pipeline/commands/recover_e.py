"""`frostmap recover-e`: the E behind a published map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Column, Table

from frostmap.pipeline.console import Session
from frostmap.pipeline.errors import DataIncomplete, UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from odc.geo.geobox import GeoBox


def recover_from_map(
    frozen_ground: Annotated[
        Path, typer.Argument(metavar="MAP", help="Raster of classes: 1 permafrost, 2 seasonally frozen.")
    ],
    clusters: Annotated[Path, typer.Argument(metavar="CLUSTERS", help="Raster of soil clusters.")],
    ddt: Annotated[Path, typer.Argument(metavar="DDT", help="Raster of thawing degree days, a positive sum.")],
    ddf: Annotated[Path, typer.Argument(metavar="DDF", help="Raster of freezing degree days, a positive sum.")],
    violations: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Share of a cluster's pixels of either class that may contradict.")
    ] = 0.001,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="A CSV table to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Bracket E of each soil cluster from a published map, its clusters and its degree days, all on one grid."""
    with Session(as_json) as session:
        from dataclasses import asdict

        import numpy as np
        import pandas as pd

        from frostmap.kernels.recovered_e import recover_e

        if out is not None and not out.parent.is_dir():
            raise UserError("no such folder", where=f"--out {out}", wanted="a folder that exists")
        grids = {name: _read(path, name) for name, path in (("MAP", frozen_ground), ("CLUSTERS", clusters))}
        grids |= {name: _read(path, name) for name, path in (("DDT", ddt), ("DDF", ddf))}
        first = grids["MAP"][1]
        for name, path in (("CLUSTERS", clusters), ("DDT", ddt), ("DDF", ddf)):
            if grids[name][1] != first:
                raise UserError(
                    "two rasters are not on one grid",
                    where=f"{path} ({name})",
                    found=f"{grids[name][1].shape} pixels, {grids[name][1].transform.to_gdal()}",
                    wanted=f"as {frozen_ground}: {first.shape} pixels, {first.transform.to_gdal()}",
                    remedy="bring it to that grid, classes by the nearest pixel (gdalwarp -r near)",
                )
        values = {name: grid[0] for name, grid in grids.items()}
        missing = ~np.isfinite(values["CLUSTERS"])
        names = np.where(missing, -1, values["CLUSTERS"]).astype(np.int64)
        found = recover_e(np.nan_to_num(values["MAP"]), names, values["DDT"], values["DDF"], violations)
        rows = [asdict(each) | {"e": each.e, "consistent": each.consistent} for each in found]
        plain = [row | {key: _or_none(row[key]) for key in ("lower", "upper", "e")} for row in rows]
        if out is not None:
            pd.DataFrame(rows).to_csv(out, index=False)
        session.emit({"clusters": plain})
        titles = ("cluster", "lower", "upper", "E", "permafrost", "seasonally frozen", "contradicting")
        table = Table(*(Column(title, justify="right") for title in titles), box=box.SIMPLE)
        for each in found:
            e = f"{each.e:.6f}" if each.e == each.e else ("open" if each.consistent else "none")
            table.add_row(
                str(each.cluster), f"{each.lower:.6f}", f"{each.upper:.6f}", e,
                f"{each.permafrost:,}", f"{each.seasonally_frozen:,}", f"{each.contradicting:,}",
            )  # fmt: skip
        session.say(table)
        wrong = [str(each.cluster) for each in found if not each.consistent]
        if wrong:
            raise DataIncomplete(
                "no E explains the map in some clusters",
                where=f"{frozen_ground}, cluster {', '.join(wrong)}",
                found="a seasonally frozen pixel with a greater critical E than a permafrost pixel, more often than "
                f"--violations {violations:g} allows",
                wanted="the clusters and degree days that the map was made from",
                remedy="check that years, units and versions of the files belong together",
            )


def _read(path: Path, name: str) -> tuple[npt.NDArray[np.float64], GeoBox]:
    """Return the only band of a raster, NaN where it has no value, and its grid."""
    import numpy as np
    import rasterio
    from odc.geo.geobox import GeoBox

    try:
        raster = rasterio.open(path)
    except rasterio.errors.RasterioIOError as error:
        raise UserError(
            "a raster cannot be opened",
            where=f"{path} ({name})",
            found=str(error) if path.exists() else "no such file",
            wanted="a raster that GDAL reads, such as GeoTIFF",
        ) from error
    with raster:
        values = raster.read(1, masked=True).astype(np.float64).filled(np.nan)
        return values, GeoBox(raster.shape, raster.transform, raster.crs)


def _or_none(value: float) -> float | None:
    return value if value == value else None
