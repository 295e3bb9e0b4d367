"""Gap filling keeps pace with the pixels, and with the workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

DAYS = 46


def once(what: str, folder: Path, side: int) -> subprocess.Popen[str]:
    command = [sys.executable, Path(__file__).with_name("scsg_once.py"), what, folder, side]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)


def cost(run: subprocess.Popen[str]) -> dict[str, float]:
    output, _ = run.communicate()
    assert run.returncode == 0
    return dict(json.loads(output)) if output else {}


@pytest.mark.benchmark(group="scsg")
def test_a_tiles_day_takes_what_four_quarters_take(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if not request.config.getoption("--benchmark-enable"):
        pytest.skip("takes minutes, and measures nothing unless enabled: make bench")
    cost(once("prepare", tmp_path, 0))
    for side in (600, 1200):
        cost(once("cube", tmp_path, side))
    quarter = min((cost(once("fill", tmp_path, 600)) for _ in range(2)), key=lambda one: one["processor_s"])
    whole = benchmark.pedantic(lambda: cost(once("fill", tmp_path, 1200)), rounds=1, iterations=1)
    alone = quarter["wall_s"]
    together = [cost(run) for run in [once("fill", tmp_path, 600) for _ in range(2)]]
    speed_up = 2 * alone / max(one["wall_s"] for one in together)
    benchmark.extra_info.update(
        cost_s=whole["processor_s"] / DAYS,
        wall_s=whole["wall_s"] / DAYS,
        peak_gib=whole["peak_bytes"] / 2**30,
        peer="four quarters; a day and overpass of 1200 x 1200",
        peer_cost_s=4 * quarter["processor_s"] / DAYS,
        peer_wall_s=4 * quarter["wall_s"] / DAYS,
        multiple=whole["processor_s"] / (4 * quarter["processor_s"]),
        two_workers=speed_up,
        stated_gib=whole["stated_bytes"] / 2**30,
        filled=whole["filled"],
    )
    assert whole["filled"] > 0.7  # the small scene, repeated, has days without a clear pixel
    assert whole["processor_s"] / DAYS <= 1.5
    assert whole["processor_s"] <= 1.1 * 4 * quarter["processor_s"]  # linear, apart from what every task costs
