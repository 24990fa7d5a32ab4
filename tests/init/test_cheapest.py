"""The cheapest network that lives: a little less of gain, or more of threshold or width, and it does not, or costs too much."""

from dataclasses import replace

import numpy as np
import pytest

import varflow as vf


def survival(network):
    return vf.finite_width(network).survival[-1]


def test_the_gain_of_a_width_is_the_smallest_that_lives():
    found = vf.cheapest(width=80, depth=10)
    assert survival(found.network) == pytest.approx(0.99, abs=1e-9)
    less = replace(found.network, gain=0.99 * found.network.gain)
    assert survival(less) < 0.99
    assert vf.cost(less).operations < found.operations
    assert found.operations == vf.cost(found.network).operations


def test_the_threshold_of_a_gain_is_the_largest_that_lives():
    network = vf.cheapest(width=80, depth=10, gain=1.7, survival_target=0.9).network
    assert network.gain == 1.7
    assert survival(network) == pytest.approx(0.9, abs=1e-9)
    assert survival(replace(network, neuron=vf.Neuron(1.01 * network.neuron.threshold))) < 0.9


SPARSE = {"weights": vf.weights.sparse(0.1), "operations": 1500}


@pytest.mark.parametrize("given", [{}, {"threshold": 1.5}, {"gain": 2.0}, SPARSE])
def test_the_widest_network_within_a_budget(given):
    given = {"depth": 5, "operations": 20000} | given
    found, budget = vf.cheapest(**given), given.pop("operations")
    assert found.operations <= budget < vf.cheapest(width=found.network.width + 1, **given).operations
    assert survival(found.network) >= 0.99 - 1e-9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"operations": 500, "width": 80, "depth": 10}, "operations=500 is too few: the cheapest network needs 1"),
        ({"depth": 10}, "operations=None must be given, or a width"),
        ({"operations": 30, "depth": 10}, "survival_target"),
        ({"operations": -1.0, "depth": 10}, "operations"),
        ({"width": 80, "depth": 1}, "depth=1"),
        ({"width": 80, "depth": 10, "gain": 0.0}, "gain"),
        ({"width": 80, "depth": 10, "gain": 2.0, "weights": "sign"}, "weights='sign' must be normal"),
        ({"width": 80, "depth": 10, "gain": 2.0, "weights": np.ones(2)}, "weights must be normal|weights=.* must be normal"),
        ({"width": 0, "depth": 10}, "width=0"),
        ({"width": 80, "depth": 10, "threshold": -1.0}, "threshold"),
        ({"width": 80, "depth": 10, "survival_target": 1.0}, "survival_target"),
    ],
)
def test_what_cannot_be_had(arguments, words):
    with pytest.raises(vf.DomainError, match=words):
        vf.cheapest(**arguments)
