"""The demo at full size: a whole plateau from granules to a map that is near the truth, within a laptop's memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

MOST_MEMORY = 4 * 2**30


def memory_of(process: psutil.Process) -> int:
    """Return the resident memory of a process and its children [bytes]; shared pages count in each."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # it ended between the listing and the look
    return total


@pytest.mark.slow
def test_the_demo_maps_the_simulated_plateau(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("frostmap")
    with (tmp_path / "log").open("w") as log:
        process = psutil.Popen(
            [command, "demo", "--workdir", "demo"], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory_of(process))
            time.sleep(0.5)
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert peak < MOST_MEMORY
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text(encoding="utf-8"))
    truth = metrics["truth"]
    assert truth["class_kappa"] >= 0.80
    assert truth["ddf_relative_rmse"] <= 0.12
    assert truth["ddt_relative_rmse"] <= 0.12
    assert truth["pixels_unmapped"] == 0
    assert 0.25 < metrics["areas_km2"]["target"]["permafrost"] / sum(metrics["areas_km2"]["target"].values()) < 0.5
    assert "simulated" in (tmp_path / "demo" / "report" / "index.html").read_text(encoding="utf-8").lower()
