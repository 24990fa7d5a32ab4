"""The search for a gain, in networks whose values are given functions of it."""

import math

import numpy as np
import pytest

from varflow.theory.deep.gain_for_value import LIMITS, VALUE_TOLERANCE, search
from varflow.theory.deep.look import Seen

START, WIDTH, ACCURACY = math.log(2.2), 1e-3, 3e-4
EDGE = math.log(2.05)


def looked(x, miss, lifetime=1.0, noise=1e-4):
    off = miss + noise * np.array([-1.0, 1.0])
    return Seen(x, off, np.full(2, lifetime), None, 0.0, 1)


class Networks:
    """ln(value/wanted) is ``miss(x)``; up to ``edge`` they die, near it after ever more of their layers if ``slowly``."""

    def __init__(self, miss, edge=-math.inf, slowly=False):
        self.tried, self.miss, self.edge, self.slowly = [], miss, edge, slowly

    def __call__(self, x):
        self.tried.append(x)
        lifetime = math.inf
        if x <= self.edge:
            lifetime = 1 / math.sqrt(1 + 400 * (self.edge - x)) - 1e-9 if self.slowly else 0.5
        elif self.slowly:
            lifetime = 1 / math.sqrt(max(1 - 400 * (x - self.edge), 1e-9))
        return looked(x, self.miss(x), lifetime)


def searched(networks, start=START, **options):
    return search(networks, start, **{"accuracy": ACCURACY, "width": WIDTH} | options)


@pytest.mark.parametrize("slope", [0.3, 2.0, 30.0])
def test_a_smooth_value_is_found_and_its_slope_measured(slope):
    networks = Networks(lambda x: slope * (x - math.log(2.0)))
    found = searched(networks)
    assert abs(found.best.miss) < ACCURACY
    assert found.slope.measured
    assert found.slope.value == pytest.approx(slope, rel=0.05)
    assert not found.at_an_edge
    assert len(networks.tried) <= 5


def test_a_value_that_hardly_depends_on_the_gain():
    networks = Networks(lambda x: 0.02 * (x - 4.0))
    found = searched(networks)
    assert abs(found.best.x - 4.0) < ACCURACY / 0.02
    assert len(networks.tried) <= 10


def test_a_start_near_the_answer_measures_the_slope():
    found = searched(Networks(lambda x: 5 * (x - START)))
    assert found.best.x == START
    assert found.slope.value == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize("slowly", [False, True])
@pytest.mark.parametrize("least", [0.02, 0.04])
def test_at_an_edge_with_a_value_too_large_the_smallest_living_gain_is_found(slowly, least):
    """With several networks only, and none of them twice."""
    networks = Networks(lambda x: 2 * (x - EDGE) + (least if x > EDGE else -0.5), EDGE, slowly)
    found = searched(networks)
    assert found.best.alive
    assert 0 < found.best.x - EDGE < WIDTH
    assert found.lower.x <= EDGE
    assert found.corrected == found.best.x  # to first order it would die
    assert len(networks.tried) <= 12
    assert len({round(x, 9) for x in networks.tried}) == len(networks.tried)


def test_a_jump_is_bracketed():
    """From 10 % below the wanted value to 10 % above it."""
    found = searched(Networks(lambda x: x - EDGE + (0.1 if x > EDGE else -0.1)))
    assert found.width < WIDTH
    assert found.lower.x <= EDGE < found.upper.x


def test_a_network_that_dies_with_too_large_a_value_ends_the_search():
    networks = Networks(lambda x: 2 * (x - EDGE) + 3 * VALUE_TOLERANCE, EDGE)
    found = searched(networks)
    assert len(networks.tried) <= 3
    assert found.best.alive
    assert found.best.miss > VALUE_TOLERANCE


def smallest(networks, start, width):
    return search(lambda x: networks(x).of_lifetime(), start, accuracy=0.0, width=width)


@pytest.mark.parametrize(("slowly", "tries"), [(False, 36), (True, 16)])
def test_the_smallest_gain_that_lives_has_the_lifetime_of_the_depth(slowly, tries):
    """Where death is slow, lifetimes lead to it in fewer networks than halving would."""
    networks = Networks(lambda x: math.nan, EDGE, slowly)
    found = smallest(networks, START, 1e-6)
    assert found.lower.x <= EDGE < found.upper.x
    assert found.width < 1e-6
    assert len(networks.tried) < tries


def test_a_value_above_the_largest_ends_at_the_largest_gain():
    networks = Networks(lambda x: -0.1 - math.exp(-x))
    found = searched(networks)
    assert found.upper is None
    assert found.best.x == LIMITS[1]
    assert len(networks.tried) < 20


def test_a_bracket_has_its_lower_end_below():
    """A value that falls with the gain, or noise, would put it above, and the bracket would never shrink."""
    found = searched(Networks(lambda x: 0.1 - 2 * abs(x - START)), start=START)
    assert found.lower is None or found.lower.x < found.upper.x


def test_replicas_of_which_some_die_are_too_low():
    some = Seen(START, np.array([0.1, 0.1]), np.array([2.0, 0.5]), None, 0.0, 1)
    assert some.too_low
    assert not some.alive
    assert some.miss == math.log(0.5)
    assert some.of_lifetime().miss == pytest.approx(math.log(1.25))  # the median replica lives
