"""The bracketing searches: right to the accuracy asked for, also of steps, and refused where there is nothing to find."""

import math

import numpy as np
import pytest

import varflow as vf
from varflow.theory.roots import bisect, double_until, first_to_hold, rising_root

ROOTS = [1e-9, 0.3, 1.0, 7.7, 1e12]


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("accuracy", [1e-3, 1e-12])
def test_a_rising_function(root, accuracy):
    asked = []

    def function(x):
        asked.append(x)
        return math.inf if x > 10 * root else (x / root) ** 3 - 1

    assert rising_root(function, 1.0, accuracy) == pytest.approx(root, rel=2 * accuracy)
    assert len(asked) == len(set(asked)) < 40


@pytest.mark.parametrize("root", ROOTS)
def test_a_step(root):
    found = rising_root(lambda x: 1.0 if x >= root else -1.0, 1.0, 1e-12)
    assert found == pytest.approx(root, rel=3e-12)


@pytest.mark.parametrize(
    ("value", "words"), [(1.0, "not negative down to"), (-1.0, "negative up to"), (math.nan, "negative up to")]
)
def test_no_root(value, words):
    with pytest.raises(vf.ConvergenceError, match=words):
        rising_root(lambda x: value, 1.0, 1e-3)


@pytest.mark.parametrize("at_once", [1, 7])
def test_where_a_condition_begins_to_hold(at_once):
    lo, hi = first_to_hold(lambda x: x > 3.0, 0.1, 100.0, 1.001, at_once=at_once)
    assert lo <= 3.0 < hi <= 1.001 * lo
    assert first_to_hold(lambda x: np.zeros(x.shape, bool), 1.0, 2.0, 1.01, at_once=at_once)[1] == 2.0


def test_the_last_failure_of_a_grid_counts():
    lo, hi = first_to_hold(lambda x: (x > 3.0) | ((x > 0.5) & (x < 0.6)), 0.1, 100.0, 1.001)
    assert lo <= 3.0 < hi <= 1.001 * lo


def test_rounds_of_bisection():
    exact, rough = (bisect(lambda x: 2 - x**2, np.array(1.0), np.array(2.0), rounds=rounds) for rounds in (64, 10))
    assert exact == pytest.approx(2**0.5, rel=1e-15)
    assert 1e-6 < abs(rough - 2**0.5) < 2e-3


def test_doubling_ends_at_the_limit():
    assert double_until(lambda x: x > 5, 1, 100) == 8
    assert double_until(lambda x: False, 1, 100) == 100
