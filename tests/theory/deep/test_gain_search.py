"""The search for a gain, with networks whose values are given functions of it."""

import math

import numpy as np
import pytest

from varflow.theory.deep.gain_search import COARSELY, KEPT, Effort, Response, _at_the_edge, _bracket, _next, nearest
from varflow.theory.deep.last_layers import DeepLayers

UNKNOWN = Response(2.0, 1.0, False)


def network(gain, miss, lifetime=1.0, noise=1e-3):
    off, steps = miss + noise * np.array([-1.0, 1.0]), np.zeros((2, 4))
    return DeepLayers(gain, steps, steps, steps, np.exp(off), off, 0.0, lifetime, lifetime == 1, None)


class Networks:
    """The logarithm of their value over the wanted one is ``miss(gain)``; up to ``edge`` they die early."""

    work, early_death = 1, 1e-3

    def __init__(self, miss, edge=0.0, lifetime=0.5):
        self.tried, self.miss, self.edge, self.lifetime = [], miss, edge, lifetime

    def whole_if_silent(self, found):
        return self

    def above(self, gain, below=None):
        self.tried.append(gain)
        return network(gain, self.miss(gain), 1.0 if gain > self.edge else self.lifetime)


def searched(networks, start=2.2, accuracy=3e-4):
    return nearest(networks, networks.above(start), UNKNOWN, accuracy, lambda _: None, Effort(2**20, 8))


@pytest.mark.parametrize("slope", [0.3, 2.0, 30.0])
def test_a_smooth_response_is_solved_and_measured(slope):
    found = searched(Networks(lambda g: slope * math.log(g / 2.0)))
    assert abs(found.best.miss) < 1e-3
    assert found.response.slope == pytest.approx(slope, rel=0.05)
    assert found.dying is None


@pytest.mark.parametrize(("lifetime", "most"), [(0.5, 9), (0.9, 11)], ids=["at once", "slowly"])
@pytest.mark.parametrize("least", [0.02, 0.1])
def test_at_an_edge_with_a_value_too_large_the_smallest_living_gain_is_found(lifetime, most, least):
    """With several networks only, and none of them twice."""
    networks = Networks(lambda g: 2 * math.log(g / 2.05) + (least if g > 2.05 else 0.0), 2.05, lifetime)
    found = searched(networks)
    assert found.best.alive
    assert 0 < math.log(found.best.gain / 2.05) < 2e-3
    assert found.dying.gain <= 2.05
    assert len(networks.tried) <= most
    assert len({round(gain, 9) for gain in networks.tried}) == len(networks.tried)


def test_a_slow_death_with_a_value_far_too_large_ends_the_search():
    networks = Networks(lambda g: 2 * math.log(g / 2.05) + 2 * KEPT, 2.3, 0.9)
    found = searched(networks, start=2.25)
    assert len(networks.tried) == 1
    assert not found.best.alive


def test_a_slow_death_with_a_value_too_small_does_not_end_it():
    lo, hi = network(2.0, -COARSELY, 0.95), network(2.0 * (1 + 1e-6), 2 * KEPT)
    assert not _at_the_edge([lo, hi], 1e-3)
    assert _at_the_edge([network(2.0, -COARSELY, 0.2), hi], 1e-3)


def test_a_bracket_has_its_lower_end_below():
    """Noise, or a value that falls with the gain, would put it above, and the bracket would never shrink."""
    lo, hi, above = network(1.9, -0.1), network(2.0, 0.1), network(2.1, -0.1)
    assert _bracket([above, hi, lo]) == (lo, hi)
    assert _bracket([above, hi]) == (None, hi)
    assert not _at_the_edge([network(2.6, -3.0, 0.5), hi], 1e-3)


def test_equal_gains_of_different_sign_are_survived():
    assert _next([network(2.0, -0.1), network(2.0, 0.1)], UNKNOWN) < 2.0
