"""The forest's walk against scikit-learn's and other programs', on the same forest and the same pixels.

Peers that are not installed are skipped; the whole of 2.6 million pixels and what else is in the table:
``python tests/benchmarks/forest_once.py table FOLDER 2600000``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from . import forest_once

PIXELS = 100_000
PEERS = {"scikit-learn": "sklearn", "treelite": "treelite", "onnxruntime": "skl2onnx", "ydf": "ydf"}
FASTER = 5.0


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not request.config.getoption("--benchmark-enable"):
        pytest.skip("takes minutes, and measures nothing unless enabled: make bench")
    made = tmp_path_factory.mktemp("forest")
    forest_once.once("prepare", made, PIXELS)
    return made


@pytest.mark.benchmark(group="forest")
@pytest.mark.parametrize("peer", PEERS)
def test_two_workers_predict_faster_than(benchmark: BenchmarkFixture, folder: Path, peer: str) -> None:
    if importlib.util.find_spec(PEERS[peer]) is None:
        pytest.skip(f"{PEERS[peer]} is not installed: pip install treelite onnxruntime skl2onnx ydf")
    theirs = forest_once.once(peer, folder, 2)
    ours: dict[str, Any] = benchmark.pedantic(lambda: forest_once.once("frostmap", folder, 2), rounds=1, iterations=1)
    alone = forest_once.once("frostmap", folder, 1)
    benchmark.extra_info.update(
        cost_s=ours["processor_s"],
        wall_s=ours["wall_s"],
        peak_gib=ours["peak_bytes"] / 2**30,
        peer=f"{peer}; {PIXELS:,} pixels",
        peer_cost_s=theirs["processor_s"],
        peer_wall_s=theirs["wall_s"],
        multiple=ours["processor_s"] / theirs["processor_s"],
        two_workers=alone["wall_s"] / ours["wall_s"],
    )
    assert ours["checksum"] == pytest.approx(theirs["checksum"], abs=2e-5)
    assert theirs["processor_s"] >= FASTER * ours["processor_s"]
    assert ours["peak_bytes"] < 2**30


@pytest.mark.benchmark(group="forest")
def test_quantiles_cost_less_than_the_prediction_again(benchmark: BenchmarkFixture, folder: Path) -> None:
    mean = forest_once.once("frostmap", folder, 1)
    whole: dict[str, Any] = benchmark.pedantic(
        lambda: forest_once.once("frostmap-distribution", folder, 1), rounds=1, iterations=1
    )
    benchmark.extra_info.update(
        cost_s=whole["processor_s"],
        peer="the mean alone",
        peer_cost_s=mean["processor_s"],
        multiple=whole["processor_s"] / mean["processor_s"],
    )
    assert whole["processor_s"] < 2 * mean["processor_s"]
