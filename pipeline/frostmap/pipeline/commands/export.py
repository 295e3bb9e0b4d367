"""`frostmap export`: a run's maps for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from frostmap.pipeline.commands.work_directory import open_work
from frostmap.pipeline.console import Session
from frostmap.pipeline.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def export_maps(
    workdir: Annotated[Path, typer.Argument(metavar="WORKDIR", help="The work directory of a run.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where files go. Default: products in the work directory.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="native, longlat, albers or published; may be repeated. Default: all."),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A variable, such as frozen_ground; may be repeated. Default: all results."),
    ] = None,
    form: Annotated[
        list[str] | None, typer.Option("--format", metavar="NAME", help="cog or netcdf; may be repeated. Default: cog.")
    ] = None,
    licence: Annotated[
        str, typer.Option(metavar="NAME", help="SPDX identifier for the STAC collection, such as CC-BY-4.0.")
    ] = "other",
    inputs: Annotated[bool, typer.Option("--inputs", help="Masks, terrain and predictors, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Write a finished run's maps on four grids as cloud-optimised GeoTIFFs or NetCDF; tell what that does to areas."""
    with Session(as_json) as session:
        from frostmap.pipeline.products.export import AREAS, FORMATS, export

        unknown = sorted(set(form or ()) - set(FORMATS))
        if unknown:
            raise UserError("no such format", where=f"--format {unknown[0]}", wanted=", ".join(FORMATS))
        work = open_work(workdir)
        session.work_in(workdir)
        folder = out or workdir / "products"
        with session.progress(len(grid or ()) or 4) as report:
            exported = export(
                work,
                folder,
                grids=grid or (),
                only=layer or (),
                inputs=inputs,
                formats=[name for name in FORMATS if name in (form or ["cog"])],
                licence=licence,
                report=report,
            )
        files = [str(path.resolve()) for path in exported.files]
        session.emit({"event": "done", "files": files, "areas": _plain(exported.areas)})
        table = Table("grid", "map", "class", box=box.SIMPLE)
        for heading in ("on the map [km²]", "on the grid [km²]", "change [%]"):
            table.add_column(heading, justify="right")
        for row in exported.areas[exported.areas["map_km2"] > 0].to_dict("records"):
            numbers = f"{row['map_km2']:,.0f}", f"{row['grid_km2']:,.0f}", f"{row['change_percent']:+.2f}"
            table.add_row(row["grid"], row["map"], row["class"], *numbers)
        session.say(table)
        for target in exported.grids:
            session.say(f"wrote    {folder / target.name}: {len(exported.layers)} maps, {target.title}")
        session.say(f"wrote    {folder / AREAS} and the STAC collection {exported.metadata[0]}")


def _plain(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows of a table for JSON, which has no NaN."""
    rows: list[dict[Any, Any]] = table.astype(object).where(table.notna(), None).to_dict("records")
    return rows
