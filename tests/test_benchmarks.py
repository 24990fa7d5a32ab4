"""Every benchmark runs, at a small size, and says what it measured."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_benchmark")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run():
    command = [sys.executable, "-m", "pytest", "benchmarks", "-m", "", "-q", "--benchmark-disable", "-p", "no:cacheprovider"]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=300, env=os.environ | {"VARFLOW_BENCHMARKS": "small"}
    )


def test_none_is_broken(run):
    assert run.returncode == 0, run.stdout[-3000:]
    assert re.search(r"^\d\d+ passed", run.stdout, flags=re.MULTILINE)


def test_each_has_its_numbers_in_the_table(run):
    """A name, and under it what was measured."""
    _, _, table = run.stdout.partition("measured inside this run")
    measured = re.findall(r"^test_\S.*\n(?:    \S.* \d\S*(?: \(.*\))?\n)+", table, flags=re.MULTILINE)
    assert len(measured) == int(re.search(r"^(\d+) passed", run.stdout, flags=re.MULTILINE)[1])
    for ratio in ("dense / conditional", "watching / forward pass", "cheaper at precision", "fraction of the raw normal_ rate"):
        assert ratio in table
