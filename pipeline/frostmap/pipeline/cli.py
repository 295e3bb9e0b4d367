"""The command line."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich import box
from rich.filesize import decimal
from rich.table import Column, Table

from frostmap.pipeline.commands.archive import archive_run
from frostmap.pipeline.commands.cite import cite_sources
from frostmap.pipeline.commands.compare_paper import compare_with_paper
from frostmap.pipeline.commands.dashboard import show_dashboard
from frostmap.pipeline.commands.doctor import show_examination
from frostmap.pipeline.commands.export import export_maps
from frostmap.pipeline.commands.figures import draw_figures
from frostmap.pipeline.commands.recover_e import recover_from_map
from frostmap.pipeline.commands.status import show_status
from frostmap.pipeline.commands.view import view_run
from frostmap.pipeline.commands.work_directory import RECIPE_COPY, open_work, step_names
from frostmap.pipeline.console import Session
from frostmap.pipeline.errors import DataIncomplete, UserError

if TYPE_CHECKING:  # the rest is imported where it is used: --help must not wait for numerical libraries
    from distributed import Client

    from frostmap.pipeline.plan import Plan
    from frostmap.pipeline.recipe import Recipe
    from frostmap.pipeline.run import Reporter
    from frostmap.pipeline.simulate import Simulation

ARCHIVE_MARKER = "simulation.json"
ARCHIVE_TITLE = "simulated granules, grids and sites"
SMALL_TILES = ("h25v05", "h26v05")
SMALL_PIXELS = 24

app = typer.Typer(
    name="frostmap",
    help="Map permafrost and seasonally frozen ground from MODIS land surface temperature.",
    epilog="Exit codes: 0 done, 2 the input is wrong, 3 data is incomplete, 4 the cluster was lost, 1 our fault, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

experiments = typer.Typer(
    help="Try sampling designs and networks, and compare strategies.", no_args_is_help=True, rich_markup_mode="rich"
)
app.command("doctor")(show_examination)
app.command("figures")(draw_figures)
app.add_typer(experiments, name="experiment")

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe: a YAML file, such as init writes.")]
WorkdirOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Work directory. Default: the recipe's name, then -work.")
]
WorkdirArgument = Annotated[Path, typer.Argument(metavar="WORKDIR", help="The work directory of a run.")]
UntilOption = Annotated[str | None, typer.Option(metavar="STAGE", help="Last stage to run. Default: all.")]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        "--scheduler",
        metavar="WHERE",
        help="Where to compute: threads, local (worker processes of this machine), kubernetes, or the address of a "
        "running Dask scheduler. Default: the recipe's.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


def main() -> None:
    """Run the command line."""
    # of libraries, here and in worker processes; before they are imported
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    for library in ("DISTRIBUTED", "RASTERIO"):
        os.environ.setdefault(f"DASK_LOGGING__{library}", "error")
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"frostmap {version('frostmap')}\n")
        raise typer.Exit


@app.callback()
def frostmap(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Map permafrost and seasonally frozen ground from MODIS land surface temperature."""


# ---- init ---------------------------------------------------------------------------------------------------------


@app.command("init")
def write_recipe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="demo, qtp-2020 or wenquan.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: the name, then .yaml.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder of the recipe's input files.")] = None,
) -> None:
    """Write a recipe to start from, every key explained."""
    with Session() as session:
        from frostmap.pipeline.recipes import bundled, with_values

        text = bundled(name)
        path = output or Path(f"{name}.yaml")
        if not path.parent.is_dir():
            raise UserError("no such folder", where=f"--output {path}", wanted="a folder that exists")
        if data is not None:
            if not data.is_dir():
                raise UserError("no such folder", where=f"--data {data}", wanted="the folder of the input files")
            folder = data if data.is_absolute() else os.path.relpath(data.resolve(), path.parent.resolve())
            text = with_values(text, {"data": str(folder)})
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise UserError(
                "the file exists already",
                where=str(path),
                remedy="name another with --output, or remove it first",
            ) from error
        session.say(f"wrote {path}; next: frostmap plan {path}")


# ---- plan ---------------------------------------------------------------------------------------------------------


@app.command("plan")
def show_plan(
    recipe_file: RecipeFile, workdir: WorkdirOption = None, until: UntilOption = None, as_json: JsonOption = False
) -> None:
    """Show what a run would do, and what it needs. Computes nothing."""
    with Session(as_json) as session:
        from frostmap.pipeline.plan import plan
        from frostmap.pipeline.recipe import load_recipe

        recipe = load_recipe(recipe_file)
        planned = plan(recipe, _workdir(workdir, recipe_file, recipe), until)
        summary = planned.summary()
        session.emit(summary)
        if not as_json:
            options = {"--workdir": workdir, "--until": until}
            given = [str(word) for option, value in options.items() if value for word in (option, value)]
            _show(session, summary, recipe_file, shlex.join(["frostmap", "run", str(recipe_file), *given]))
        if recipe.cluster.where in ("threads", "local") or recipe.cluster.memory_gib:  # else its workers are not known
            planned.refuse_what_does_not_fit(summary["memory_per_worker_bytes"])


def _show(session: Session, summary: dict[str, Any], recipe_file: Path, command: str) -> None:
    """Show what a plan says, and the command that follows it."""
    grid = summary["grid"]
    tiles = f", tiles {' '.join(grid['tiles'])}" if grid["tiles"] else ""
    session.say(f"recipe   {summary['recipe']}, in {summary['workdir']}")
    session.say(
        f"grid     {grid['height']} x {grid['width']} pixels of {grid['pixel_km']:g} km, "
        f"{grid['pixels_inside']} in the region; {grid['crs']}{tiles}; chunks of {grid['chunk_pixels']} pixels"
    )
    memory = summary["memory_per_worker_bytes"]
    session.say(f"workers  {summary['workers']} with {decimal(memory)} each")
    _show_completeness(session, summary, recipe_file)
    if cells := summary["elevation_cells"]:
        found = ", ".join(f"{number:,} from {name}" for name, number in cells["found_in"].items())
        missing = f"; in no catalogue: {', '.join(cells['missing'])}" if cells["missing"] else ""
        session.say(f"cells    of elevation, {cells['expected']:,} wanted: {found}{missing}")
    for read in summary["grids"]:
        span = read["first"] if read["first"] == read["last"] else f"{read['first']} to {read['last']}"
        session.say(f"grids    of {read['step']}, {read['what']}: {read['series']}, {read['files']:,} files, {span}")
    table = Table(Column("step", no_wrap=True), "what", "why", box=box.SIMPLE)
    for heading in ("chunks", "bytes", "memory a worker"):
        table.add_column(heading, justify="right")
    for step in summary["steps"]:
        sizes = [decimal(step[key]) if step[key] else "" for key in ("bytes", "memory_bytes")]
        table.add_row(
            step["step"],
            step["title"],
            step["reason"],
            str(step["chunks"] or ""),
            *sizes,
            style=None if step["run"] else "dim",
        )
    session.say(table)
    todo = sum(step["run"] for step in summary["steps"])
    what = f"{todo} of {len(summary['steps'])} steps to do: {command}" if todo else "all is up to date"
    session.say(what)


def _show_completeness(session: Session, summary: dict[str, Any], recipe_file: Path) -> None:
    """Show which granules should exist, which were found, and what explains the missing ones."""
    completeness: dict[str, Any] = summary["completeness"]
    if not completeness["products"]:
        return
    asked: dict[str, list[str]] = completeness["sources"]
    later = list(dict.fromkeys(name for names in asked.values() for name in names[1:]))
    size = f", {decimal(summary['granule_bytes'])} on disk" if summary["granule_bytes"] else ""
    table = Table("product", "year", box=box.SIMPLE, title=f"granules{size}", title_justify="left")
    several = [f"from {name}" for name in later]
    for heading in ("expected", "found", *several, "missing", "of these known outages"):
        table.add_column(heading, justify="right")
    for row in completeness["products"]:
        elsewhere = [row["found_in"].get(name, 0) for name in later]
        counts = [row["expected"], row["found"], *elsewhere, row["missing"], row["known_outages"]]
        table.add_row(row["product"], row["year"], *(f"{count:,}" for count in counts))
    session.say(table)
    for kind, names in asked.items():
        session.say(f"sources  {kind}: {', then '.join(names)}")
    for outage in completeness["outages"]:
        session.say(f"outage   {outage['outage']} ({outage['missing']:,} granules; {outage['source']})")
    if any(row["missing"] for row in completeness["products"]):
        session.say(f"missing  the dates, by tile: frostmap plan {recipe_file} --json")


# ---- run ----------------------------------------------------------------------------------------------------------


@app.command("run")
def run_recipe(
    recipe_file: RecipeFile,
    workdir: WorkdirOption = None,
    until: UntilOption = None,
    scheduler: SchedulerOption = None,
    performance_reports: Annotated[
        bool, typer.Option("--performance-reports", help="Keep Dask's report on each step in logs/performance.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make what a recipe asks for. Run it again after an interruption or a change: what stands is kept."""
    with Session(as_json) as session:
        from frostmap.pipeline.recipe import load_recipe
        from frostmap.pipeline.run import run

        recipe = load_recipe(recipe_file)
        folder = _workdir(workdir, recipe_file, recipe)
        session.work_in(folder)
        _copy_recipe(recipe, recipe_file, folder)
        if performance_reports:
            cluster = recipe.cluster.model_copy(update={"performance_reports": True})
            recipe = recipe.model_copy(update={"cluster": cluster})
        with session.progress(len(step_names(recipe, until))) as report:
            followed = run(recipe, folder, until=until, scheduler=scheduler, report=report)
        _show_results(session, followed)


def _workdir(given: Path | None, recipe_file: Path, recipe: Recipe) -> Path:
    """Return the work directory: as given, or the one that the recipe is the copy of, or one named after the recipe."""
    home = recipe_file.parent
    if given is None and recipe_file.name == RECIPE_COPY and (home / "ledger").is_dir():
        return home
    return given or Path(f"{recipe.name}-work")


def _copy_recipe(recipe: Recipe, recipe_file: Path, folder: Path) -> None:
    """Keep the recipe with its results, so that they explain themselves and can be made again."""
    from frostmap.pipeline.recipes import relocated

    copy = folder / RECIPE_COPY
    _refuse_another(recipe, folder)
    if copy.exists() and copy.samefile(recipe_file):
        return
    text = relocated(recipe_file.read_text(encoding="utf-8"), recipe.path(Path()), recipe_file.resolve())
    _replace(copy, text)


def _refuse_another(recipe: Recipe, folder: Path) -> None:
    from frostmap.pipeline.recipe import load_recipe

    copy = folder / RECIPE_COPY
    try:
        owner = load_recipe(copy).name if copy.exists() else recipe.name
    except UserError:
        return  # of an older format, or damaged: it is written anew
    if owner != recipe.name:
        raise UserError(
            "the work directory belongs to another recipe",
            where=str(folder),
            found=owner,
            wanted=recipe.name,
            remedy="name another with --workdir, or remove this one",
        )


def _replace(path: Path, text: str) -> None:
    """Write a small file, whole or not at all."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _show_results(session: Session, followed: Plan) -> None:
    """Name what a run made: the report, the maps and the numbers to look at first."""
    from frostmap.pipeline.ledger import read_record

    work = followed.work
    records = [read_record(work.ledger, step.name) for step in followed.steps]
    outputs = [(work.folder / path).resolve() for record in records if record is not None for path in record.outputs]
    reports = [str(path) for path in outputs if path.suffix == ".html"]
    maps = [str(path) for path in outputs if path.suffix == ".tif"]
    numbers = headline(work.metrics)
    made = sum(step.reason is not None for step in followed.steps)
    result = {"event": "done", "workdir": str(work.folder.resolve()), "steps_made": made}
    session.emit(result | {"reports": reports, "maps": maps, "metrics": numbers})
    if not made:
        session.say("all is up to date")
    for title, paths in (("report", reports), ("map", maps)):
        for path in paths:
            session.say(f"{title:<8} {path}")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in numbers.items():
        table.add_row(name, f"{value:,.0f}" if "km2" in name else f"{value:.3f}")
    session.say(table)


def headline(metrics: dict[str, Any]) -> dict[str, float]:
    """Return the numbers to look at first, by dotted name: areas and kappas.

    >>> headline({"areas_km2": {"target": {"permafrost": 2.0}}, "validation": {"kappa": 0.5, "n": 109}})
    {'areas_km2.target.permafrost': 2.0, 'validation.kappa': 0.5}
    """
    found = {}
    pending: list[tuple[str, Any]] = list(metrics.items())
    while pending:
        name, value = pending.pop(0)
        if isinstance(value, dict):
            pending[:0] = [(f"{name}.{key}", part) for key, part in value.items()]
        elif isinstance(value, (int, float)) and ("km2" in name or name.endswith("kappa")):
            found[name] = value
    return found


# ---- status and report --------------------------------------------------------------------------------------------


app.command("status")(show_status)
app.command("dashboard")(show_dashboard)


@app.command("report")
def make_report(workdir: WorkdirArgument, as_json: JsonOption = False) -> None:
    """Make the report of a finished run again."""
    with Session(as_json) as session:
        from frostmap.pipeline import ledger
        from frostmap.pipeline.run import run

        work = open_work(workdir)
        missing = [name for name in step_names(work.recipe) if ledger.read_record(work.ledger, name) is None]
        if set(missing) - {"report"}:
            raise DataIncomplete(
                "the run is not finished, so there is nothing to report yet",
                where=str(workdir),
                found=f"missing: {', '.join(missing)}",
                remedy=f"finish it with: frostmap run {workdir / RECIPE_COPY}",
            )
        session.work_in(workdir)
        ledger.forget(work.ledger, "report")
        with session.progress(len(step_names(work.recipe))) as report:
            followed = run(work.recipe, workdir, until="report", report=report)
        _show_results(session, followed)


# ---- verify and retry ---------------------------------------------------------------------------------------------


@app.command("verify")
def verify_work(workdir: WorkdirArgument, as_json: JsonOption = False) -> None:
    """Read all that a run has written and compare it with the ledger. What is damaged, the next run makes again."""
    with Session(as_json) as session:
        from frostmap.pipeline.upkeep import listed, verify

        work = open_work(workdir)
        with session.progress(len(step_names(work.recipe))) as report:
            verified = verify(work, report)
        faults = [fault._asdict() for fault in verified.faults]
        session.emit({"workdir": str(workdir), "objects": verified.objects, "bytes": verified.bytes, "faults": faults})
        session.say(f"read {verified.objects} chunks and files, {decimal(verified.bytes)}")
        if verified.faults:
            raise DataIncomplete(
                f"{len(verified.faults)} are not as they were written",
                where=str(workdir),
                found=listed(verified.faults),
                remedy=f"make them again, and only them, with: frostmap run {workdir / RECIPE_COPY}",
            )
        session.say("all are as they were written")


@app.command("retry")
def retry_granules(workdir: WorkdirArgument, scheduler: SchedulerOption = None, as_json: JsonOption = False) -> None:
    """Try granules again that could not be had or read, and only those."""
    with Session(as_json) as session:
        from frostmap.pipeline.upkeep import retry

        work = open_work(workdir)
        with session.progress(len(step_names(work.recipe))) as report:
            retried = retry(work.recipe, workdir, scheduler=scheduler, report=report)
        mended = retried.tried - len(retried.failed)
        session.emit({"workdir": str(workdir), "tried": retried.tried, "mended": mended, "failed": retried.failed})
        if not retried.tried:
            session.say("no granule has failed")
            return
        session.say(f"{mended} of {retried.tried} granules are there now")
        if retried.failed:
            shown = "; ".join(f"{note['id']}: {note['error']}" for note in retried.failed[:5])
            more = f"; and {len(retried.failed) - 5} more" if len(retried.failed) > 5 else ""
            raise DataIncomplete(
                f"{len(retried.failed)} granules failed again",
                where=str(workdir),
                found=shown + more,
                remedy="try later, or replace the files; or set ingest.bad_granules: accept in the recipe",
            )
        session.say(f"go on with: frostmap run {workdir / RECIPE_COPY}")


app.command("export")(export_maps)
app.command("archive")(archive_run)
app.command("cite")(cite_sources)
app.command("compare-paper")(compare_with_paper)


# ---- evaluate -----------------------------------------------------------------------------------------------------


@app.command("evaluate")
def evaluate_chain(
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Real data; what is not there is left out.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="What is written, Markdown.")] = Path("evaluation.md"),
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="One set of data; may be repeated.")] = None,
) -> None:
    """Tell how good gap filling, daily means and degree days are, on real and simulated data."""
    with Session() as session:
        from frostmap.pipeline.evaluation import TITLES, document, evaluate
        from frostmap.pipeline.run import Event

        unknown = sorted(set(only or ()) - set(TITLES))
        if unknown:
            raise UserError("no such set of data", where=f"--only {unknown[0]}", wanted=", ".join(TITLES))
        for folder, option in ((data, "--data"), (out.parent, "--out")):
            if folder is not None and not folder.is_dir():
                raise UserError("no such folder", where=f"{option} {folder}", wanted="a folder that exists")
        names, found = only or list(TITLES), []
        with session.progress(len(names)) as report:
            for name in names:
                report(Event("started", name, TITLES[name]))
                began = time.monotonic()
                found.append(evaluate(name, data))
                report(Event("finished", name, TITLES[name], seconds=time.monotonic() - began))
        _replace(out, document(found))
        session.say(f"wrote {out}")


app.command("recover-e")(recover_from_map)
app.command("view")(view_run)


# ---- experiment ---------------------------------------------------------------------------------------------------


@experiments.command("table1")
def sampling_designs(
    workdir: WorkdirArgument,
    design: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A sampling design; may be repeated. Default: the paper's four."),
    ] = None,
    size: Annotated[
        list[int] | None,
        typer.Option(
            min=50, help="Samples; may be repeated. Default: of 1000, 3000, 5000, 10,000 those that the map allows."
        ),
    ] = None,
    trees: Annotated[int, typer.Option(min=10, max=5000, help="Trees of a forest.")] = 500,
    judges: Annotated[
        int, typer.Option(min=100, help="Pixels that judge every design; a fifth of all at most.")
    ] = 100_000,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of samples, folds and forests.")] = 123,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try sampling designs and sizes on a run: the paper's Table 1, and the same judged alike.

    Run it again after an interruption: what was made stands.
    """
    with Session(as_json) as session:
        from frostmap.pipeline.experiments.sampling_designs import DESIGNS, SIZES, Settings, known_designs
        from frostmap.pipeline.experiments.table1 import run_table1

        work = open_work(workdir)
        session.work_in(workdir)
        designs = known_designs(design or DESIGNS)
        settings = Settings(designs, tuple(size or SIZES), trees=trees, seed=seed, judges=judges)
        with session.progress(1) as report:
            found = run_table1(work, settings, scheduler=scheduler, report=report, strict=bool(size))
        files = [str(path.resolve()) for path in found.files]
        told = {"winner": found.verdict.winner, "best": found.verdict.best, "left_out": found.left_out}
        session.emit({"event": "done", **told, "files": files})
        if found.left_out:
            session.say(f"left out {', '.join(f'{n:,}' for n in found.left_out)} samples: the map has too few pixels")
        session.say(f"winner   {found.verdict.winner}; smallest RMSE: {found.verdict.best}")
        for path in files:
            session.say(f"wrote    {path}")


@experiments.command("forest")
def forest_settings(
    workdir: WorkdirArgument,
    design: Annotated[str, typer.Option(metavar="NAME", help="Sampling design.")] = "kmeans",
    samples: Annotated[int, typer.Option(min=50, help="Pixels that forests learn from.")] = 5000,
    trees: Annotated[int, typer.Option(min=10, max=5000, help="Trees of a forest.")] = 200,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of the sample, folds and forests.")] = 123,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try other ways to grow the forest than R's defaults, judged in blocks that it learnt nothing from.

    Uses dask-ml where it is installed: pip install 'frostmap[dask-ml]'.
    """
    with Session(as_json) as session:
        from frostmap.pipeline.experiments.forest_settings import Settings, run_forest
        from frostmap.pipeline.experiments.sampling_designs import known_designs

        work = open_work(workdir)
        session.work_in(workdir)
        settings = Settings(known_designs([design])[0], samples, trees, seed)
        with session.progress(1) as report:
            found, written = run_forest(work, settings, scheduler=scheduler, report=report)
        files, best = [str(path.resolve()) for path in written], found.table.to_dict("records")[0]
        session.emit({"event": "done", "best": best, "engine": found.engine, "files": files})
        session.say(
            f"best     max_features {best['max_features']:.2f}, min_samples_split {best['min_samples_split']}: "
            f"RMSE {best['rmse']:.5f}; computed by {found.engine}"
        )
        for path in files:
            session.say(f"wrote    {path}")


@experiments.command("network")
def train_networks(
    workdir: WorkdirArgument,
    steps: Annotated[int, typer.Option(min=50, max=100_000, help="Of training, at most.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of weights and pixels.")] = 123,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train networks of E on a run's surveys, as the paper and bounded, and look at E all over the map.

    Needs PyTorch: pip install 'frostmap[network]'.
    """
    with Session(as_json) as session:
        from frostmap.pipeline import networks
        from frostmap.pipeline.experiments.network import run_network, summary

        work = open_work(workdir)
        session.work_in(workdir)
        with session.progress(1) as report:
            written = run_network(work, networks.Settings(steps=steps, seed=seed), scheduler=scheduler, report=report)
        found = summary(written)
        files = [str(path.resolve()) for path in written]
        session.emit({"event": "done", "networks": found, "files": files})
        for name, numbers in found.items():
            session.say(
                f"{name:<14} {100 * numbers['train_accuracy']:.1f} % of training pixels right; "
                f"{100 * numbers['share_physical']:.1f} % of E within bounds; "
                f"kappa with the calibrated map {numbers['kappa_with_calibrated']:.3f}"
            )
        for path in files:
            session.say(f"wrote    {path}")


@experiments.command("strategies")
def compare_strategies(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables and figure go.")] = Path("strategies"),
    pixels_per_tile: Annotated[
        int, typer.Option(min=40, max=1200, help="Pixels along a tile's side; 1200 are 1 km.")
    ] = 200,
    samples: Annotated[int, typer.Option(min=50, help="Pixels that forests learn from.")] = 5000,
    trees: Annotated[int, typer.Option(min=10, max=5000, help="Trees of a forest.")] = 500,
    plateaus: Annotated[int, typer.Option(min=1, max=50, help="Plateaus that are simulated.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Of the first plateau.")] = 2020,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate plateaus, and tell what forests, networks and simpler ways to E are worth on them. Needs no data."""
    with Session(as_json) as session:
        from frostmap.pipeline.experiments.strategies import Settings, compare, ranking, table, write
        from frostmap.pipeline.recipe import parse_recipe
        from frostmap.pipeline.recipes import bundled
        from frostmap.pipeline.run import Event, connected

        title = "strategies"
        seeds = tuple(seed + i for i in range(plateaus))
        settings = Settings(seeds, pixels_per_tile, samples=samples, trees=trees)
        recipe = parse_recipe(bundled("demo"), Path("demo.yaml"))
        began = time.monotonic()
        with session.progress(1) as report, connected(recipe, None, scheduler, report) as client:
            report(Event("started", title, "simulated plateaus"))
            found = compare(settings, client, lambda n, of: report(Event("progress", title, "", "", n, of)))
            report(Event("finished", title, "simulated plateaus", seconds=time.monotonic() - began))
        files = [str(path.resolve()) for path in write(found, settings, out)]
        best = ranking(table(found))
        session.emit({"event": "done", "files": files, "ranking": best.to_dict("records")})
        shown = Table(Column("strategy", no_wrap=True), box=box.SIMPLE)
        for heading in ("RMSE of E", "in 2020", "kappa", "in 2020"):
            shown.add_column(heading, justify="right")
        for row in best.to_dict("records"):
            names = ("training_rmse", "target_rmse", "training_kappa", "target_kappa")
            shown.add_row(str(row["strategy"]), *(f"{row[name]:.3f}" for name in names))
        session.say(shown)
        for path in files:
            session.say(f"wrote    {path}")


# ---- demo ---------------------------------------------------------------------------------------------------------


@app.command("demo")
def run_demo(
    workdir: Annotated[Path, typer.Option(metavar="DIR", help="Work directory.")] = Path("frostmap-demo"),
    small: Annotated[bool, typer.Option("--small", help="Two tiles, coarser pixels, a year an epoch.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Another number, another plateau.")] = 2020,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate a plateau and its archive of granules, and map its frozen ground from them. Needs no data."""
    with Session(as_json) as session:
        from frostmap.pipeline.recipe import parse_recipe
        from frostmap.pipeline.run import Event, connected, run

        session.work_in(workdir)
        simulation, archive, copy = _simulation(small, seed), workdir / "archive", workdir / RECIPE_COPY
        recipe = parse_recipe(_demo_recipe(simulation, small), copy)
        _refuse_another(recipe, workdir)
        with ExitStack() as stack:
            report = stack.enter_context(session.progress(len(step_names(recipe)) + 1))
            client = None
            if _is_written(archive, simulation):
                report(Event("kept", "archive", ARCHIVE_TITLE, "up to date"))
            else:
                client = stack.enter_context(connected(recipe, None, scheduler, report))
                _write_archive(archive, simulation, client, report)
            text = _demo_recipe(simulation, small, archive)
            _replace(copy, text)
            followed = run(parse_recipe(text, copy), workdir, client=client, scheduler=scheduler, report=report)
        _show_results(session, followed)


def _simulation(small: bool, seed: int) -> Simulation:
    from frostmap.pipeline.simulate import Simulation

    whole = Simulation(seed=seed, training_years=(2010,), target_years=(2020,))
    return whole.model_copy(update={"tiles": SMALL_TILES, "pixels_per_tile": SMALL_PIXELS}) if small else whole


def _demo_recipe(simulation: Simulation, small: bool, archive: Path | None = None) -> str:
    """Return the demo's recipe, fitted to what is simulated; to the surveys in the archive, too, once that is there."""
    from frostmap.pipeline.recipes import bundled, with_values

    text = bundled("demo")
    if small:
        text = with_values(
            text,
            {
                "title": "A small part of a simulated plateau",
                "region.tiles": simulation.tiles,
                "region.pixels_per_tile": simulation.pixels_per_tile,
                "gap_filling.analogues": 50,
                "transfer.samples": 300,
                "transfer.trees": 100,
            },
        )
    if archive is not None:
        surveys = yaml.safe_load(text)["sources"]["surveys"]
        written = [survey for survey in surveys if (archive / survey["path"]).exists()]
        if written != surveys:  # regions outside the tiles have no survey
            text = with_values(text, {"sources.surveys": written})
    return text


def _is_written(archive: Path, simulation: Simulation) -> bool:
    """Say whether the archive of these settings is there, whole."""
    marker = archive / ARCHIVE_MARKER
    return marker.exists() and marker.read_text(encoding="utf-8") == simulation.model_dump_json()


def _write_archive(archive: Path, simulation: Simulation, client: Client, report: Reporter) -> None:
    from frostmap.pipeline.run import Event
    from frostmap.pipeline.simulate import write_archive

    marker = archive / ARCHIVE_MARKER
    draft = marker.with_suffix(".draft")
    if archive.exists() and not (marker.exists() or draft.exists()):
        raise UserError(
            "the folder for the simulated archive holds something else",
            where=str(archive),
            wanted="a new folder, or one that `frostmap demo` has written",
            remedy="name another work directory with --workdir",
        )
    if archive.exists():
        shutil.rmtree(archive)  # of other settings, or interrupted: its catalogue would name what is not there
    archive.mkdir()
    draft.touch()
    began = time.monotonic()
    report(Event("started", "archive", ARCHIVE_TITLE))

    def progress(done: int, total: int) -> None:
        report(Event("progress", "archive", ARCHIVE_TITLE, "", done, total))

    write_archive(archive, simulation, client=client, progress=progress)
    draft.write_text(simulation.model_dump_json(), encoding="utf-8")
    draft.replace(marker)
    report(Event("finished", "archive", ARCHIVE_TITLE, seconds=time.monotonic() - began))
