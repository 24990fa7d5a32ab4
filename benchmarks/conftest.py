"""Prints the measured ratios in a table at the end of the run."""

import statistics

import pytest

ROWS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[ROWS] = []


@pytest.fixture(autouse=True)
def _in_the_table(request):
    """The ``extra_info`` of each benchmark."""
    if "benchmark" not in request.fixturenames:
        yield
        return
    benchmark = request.getfixturevalue("benchmark")
    yield
    request.config.stash[ROWS].append((request.node.name, benchmark.extra_info))


@pytest.hookimpl(trylast=True)  # after the table of pytest-benchmark
def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("measured inside this run; of several rounds the median, the least and the largest")
    for name, found in config.stash[ROWS]:
        if found:  # none for skipped or failed ones
            terminalreporter.write_line(name)
        for quantity, value in found.items():
            terminalreporter.write_line(f"    {quantity:<44} {shown(value)}")


def shown(value):
    if isinstance(value, list):
        return f"{statistics.median(value):.3g} ({min(value):.3g} to {max(value):.3g})"
    return f"{value:.3g}"
