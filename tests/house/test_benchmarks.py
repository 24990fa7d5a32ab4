"""Every benchmark runs, at a small size, and says what it measured."""

import re
from pathlib import Path

import pytest
from processes import Scenario

pytest.importorskip("pytest_benchmark")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = "import os; os.environ['VARFLOW_BENCHMARKS'] = 'small'"
LOADED = ("pytest", "scipy.stats", "snntorch", "sympy", "varflow.certified", "varflow.experiment", "varflow.reference")


@pytest.fixture(scope="module")
def run(ended, tmp_path_factory):
    line = f"{BENCHMARKS} -m '' -q --benchmark-disable -p no:cacheprovider -W ignore::pytest.PytestAssertRewriteWarning"
    scenario = Scenario(line, module="pytest", first=SMALL, limit=300)
    return ended({"small": scenario}, tmp_path_factory.mktemp("runs"), LOADED)["small"]


def test_none_is_broken(run):
    code, out, _, _ = run
    assert code == 0, out[-3000:]
    assert re.search(r"^\d\d+ passed", out, flags=re.MULTILINE)


def test_each_has_its_numbers_in_the_table(run):
    """A name, and under it what was measured."""
    _, out, _, _ = run
    _, _, table = out.partition("measured inside this run")
    measured = re.findall(r"^test_\S.*\n(?:    \S.* \d\S*(?: \(.*\))?\n)+", table, flags=re.MULTILINE)
    assert len(measured) == int(re.search(r"^(\d+) passed", out, flags=re.MULTILINE)[1])
    for ratio in ("dense / conditional", "watching / forward pass", "cheaper at precision", "fraction of the raw normal_ rate"):
        assert ratio in table
