"""The message of a failed test says what was claimed, measured and stated, how exactly, and with which seed."""

from pathlib import Path

from processes import Scenario

PLANTED = '''
import numpy as np
import pytest
import varflow as vf


def drawn(number):
    return np.random.default_rng(5).normal(size=number)


def test_rates_are_those_of_another_gain():
    right, wrong = (vf.finite_width(vf.Network(width=100, depth=5, gain=gain)) for gain in (2.5, 3.0))
    passed = [vf.compare(profile, right.sample(20, seed=11)).passed for profile in (right, wrong)]
    assert all(passed)


@pytest.mark.parametrize("number", [1000])
def test_mean(number):
    """The mean of normal numbers is 0.3.

    It is not.
    """
    found = {"mean": drawn(number).mean()}
    stated, error = 0.3, 1 / number**0.5
    assert abs(found["mean"] - stated) < 4 * error
'''


def test_a_failed_test_names_claim_numbers_and_seed(ended, tmp_path):
    path = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})"
    line = "-q -p conftest -p no:cacheprovider --rootdir=. test_planted.py"
    planted = Scenario(line, first=path, before={"test_planted.py": PLANTED}, module="pytest")
    code, printed, _, _ = ended({"planted": planted}, tmp_path, ["scipy.stats"])["planted"]
    assert code == 1
    first, second = (part.split("\n____")[0].split("===")[0] for part in printed.split("- what was checked -")[1:])
    claimed, stands, *table = [line.strip("-") for line in first.splitlines() if line.strip("-")]
    assert claimed == "claim: rates are those of another gain"
    assert stands.startswith("seed 11, 20 networks. Comparison: the theory stands (p = ")
    rejected = next(i for i, line in enumerate(table) if "Comparison: the theory is rejected (p = " in line)
    assert table[rejected + 1].split() == ["quantity", "largest", "|z|", "at", "layer", "predicted", "measured"]
    assert [line.split()[0] for line in table[rejected + 2 : rejected + 4]] == ["variance", "firing_rate"]
    claimed, *numbers = [line for line in second.splitlines() if line.strip("-")]
    assert claimed == "claim: The mean of normal numbers is 0.3. [1000]"
    assert sorted(numbers) == ["error = 0.031623", "found['mean'] = 0.001864", "seeds: default_rng(5)", "stated = 0.3"]
