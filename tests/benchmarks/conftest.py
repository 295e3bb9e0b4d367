"""One small table of all benchmarks at the end of a session."""

import pytest

COLUMNS = ("ns_per_pixel_day", "peer", "peer_ns_per_pixel_day", "ratio")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what each benchmark left in ``extra_info``, as a ratio to its peer of the same session."""
    # pytest-benchmark offers no public way to its results; this attribute has been there since its version 3.
    session = getattr(config, "_benchmarksession", None)
    rows = [(run.name, run.extra_info) for run in getattr(session, "benchmarks", []) if "ratio" in run.extra_info]
    if not rows:
        return
    terminalreporter.section("kernels against their peers")
    terminalreporter.write_line(f"{'benchmark':44}{'ns/pixel-day':>14}{'peer':>10}{'ratio':>8}  the peer")
    for name, info in rows:
        ours, peer, theirs, ratio = (info[column] for column in COLUMNS)
        terminalreporter.write_line(f"{name:44}{ours:14.2f}{theirs:10.1f}{ratio:8.1f}  {peer}")
