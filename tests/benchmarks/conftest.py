"""One small table of all benchmarks at the end of a session."""

from typing import Any

import pytest

COLUMNS = ("ns_per_pixel_day", "peer", "peer_ns_per_pixel_day", "ratio")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what each benchmark left in ``extra_info``, as a ratio to its peer of the same session."""
    # pytest-benchmark offers no public way to its results; this attribute has been there since its version 3.
    session = getattr(config, "_benchmarksession", None)
    runs = [(run.name, run.extra_info) for run in getattr(session, "benchmarks", [])]
    _print_kernels(terminalreporter, [(name, info) for name, info in runs if "ratio" in info])
    _print_costs(terminalreporter, [(name, info) for name, info in runs if "multiple" in info])


def _print_kernels(terminalreporter: pytest.TerminalReporter, rows: list[tuple[str, dict[str, Any]]]) -> None:
    if not rows:
        return
    terminalreporter.section("kernels against their peers")
    terminalreporter.write_line(f"{'benchmark':44}{'ns/pixel-day':>14}{'peer':>10}{'ratio':>8}  the peer")
    for name, info in rows:
        ours, peer, theirs, ratio = (info[column] for column in COLUMNS)
        terminalreporter.write_line(f"{name:44}{ours:14.2f}{theirs:10.1f}{ratio:8.1f}  {peer}")


def _print_costs(terminalreporter: pytest.TerminalReporter, rows: list[tuple[str, dict[str, Any]]]) -> None:
    if not rows:
        return
    terminalreporter.section("processor time against peers: less than 1 is cheaper than the peer")
    terminalreporter.write_line(f"{'benchmark':60}{'s':>7}{'peer':>7}{'ratio':>7}  the peer; besides")
    for name, info in rows:
        shown = {"wall_s": "wall {:.1f} s", "peer_wall_s": "peer's {:.1f} s", "peak_gib": "peak {:.2f} GiB"}
        shown |= {"of_half": "{:.2f} times the cost of half"}
        more = "".join(f", {text.format(info[key])}" for key, text in shown.items() if key in info)
        more += f"; {info['besides']}" if "besides" in info else ""
        costs = f"{info['cost_s']:7.2f}{info['peer_cost_s']:7.2f}{info['multiple']:7.2f}"
        terminalreporter.write_line(f"{name:60}{costs}  {info['peer']}{more}")
