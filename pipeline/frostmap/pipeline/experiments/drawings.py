"""Figures of experiments."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from frostmap.pipeline.experiments.sampling_designs import PAPERS_SIZE, Verdict
from frostmap.pipeline.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, STAMP, STYLE, VERMILION, WIDTH

COLOURS = {
    "kmeans": BLUE,
    "equal_range": ORANGE,
    "pca": GREEN,
    "lhs": VERMILION,
    "clhs": PURPLE,
    "random": GREY,
}
MARKERS = {"kmeans": "o", "equal_range": "s", "pca": "^", "lhs": "v", "clhs": "D", "random": "x"}
TITLES = {"own": "own sample (as the paper)", "common": "common sample", "blocks": "common sample, in blocks"}


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    draft = path.with_suffix(".draft")
    with mpl.rc_context(STYLE):
        figure.savefig(draft, format="png", metadata={"Software": None})
    draft.replace(path)


def table1_figure(rows: pd.DataFrame, won: Verdict, simulated: bool) -> Figure:
    """Draw RMSE by the size of the sample, a line for each design, a panel for each judge."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        figure.suptitle(_title("RMSE of E by sampling design and size", simulated), x=0.01, ha="left", fontsize=11)
        panels = figure.subplots(1, 3, sharey=True)
        here, paper = rows[rows["source"] == "here"], rows[rows["source"] == "paper"]
        for axes, (judge, title) in zip(panels, TITLES.items(), strict=True):
            for design, some in here[here["judged_by"] == judge].groupby("design", sort=False):
                name = str(design)
                style = {"color": COLOURS[name], "marker": MARKERS[name], "markersize": 5, "linewidth": 1.3}
                axes.plot(some["samples"], some["rmse"], label=name.replace("_", " "), **style)
                if judge == "own":
                    published = paper[paper["design"] == name]
                    hollow = {"facecolors": "none", "edgecolors": COLOURS[name], "marker": MARKERS[name]}
                    axes.scatter(published["samples"], published["rmse"], s=34, **hollow)
                if judge == "blocks" and won.winner.startswith(f"{name}-"):
                    best = some[some["samples"] == int(won.winner.rpartition("-")[2])]
                    axes.scatter(best["samples"], best["rmse"], s=150, facecolors="none", edgecolors="black")
            axes.set_xscale("log")
            sizes = sorted(set(here["samples"]))
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=7)
            axes.minorticks_off()
            axes.set_title(title)
            axes.set_xlabel("samples")
            axes.grid(axis="y", linewidth=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("RMSE of E")
        panels[0].text(
            0.02, 0.02, f"hollow: the paper, {PAPERS_SIZE:,} samples", transform=panels[0].transAxes, fontsize=7
        )
        panels[2].text(0.02, 0.02, "ring: the winner by the rule", transform=panels[2].transAxes, fontsize=7)
        panels[0].set_ylim(bottom=0)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=6)
    return figure


def _title(text: str, simulated: bool) -> str:
    return f"{text} ({STAMP})" if simulated else text
