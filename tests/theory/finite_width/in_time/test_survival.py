"""Survival of neurons with memory: drawn chains against a tabulated one, real weights, and the chain of one step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from two_step_chain import TwoSteps

import varflow as vf
from varflow.results.export import alive_by
from varflow.theory.finite_width.in_time.drawn import DrawnChain, NormalLevels

ZERO = vf.Neuron(1.0, decay=0.5, reset="zero")
DELAYED = vf.neurons.snntorch_leaky(0.5)
LEVELS = 1e-3  # bias of survival by the levels of normal numbers, 8e-6 in each spike: stated, far above what was measured


def deviation(estimate, layer, expected):
    return abs(estimate.value[layer - 1] - expected) / (estimate.error[layer - 1] + LEVELS / 4)


@pytest.fixture(scope="module")
def table():
    return TwoSteps(24, np.sqrt(10), 0.5, kept=1, taken=1)  # snnTorch, β = 0.5


def test_the_table_of_two_steps_is_the_published_one(table):
    rate, rates, overlap = table.escape()
    assert rate == pytest.approx(0.01628865552, abs=1e-10)
    assert [*rates, overlap] == pytest.approx([0.25535252, 0.23637631, 0.11546315], abs=1e-8)
    assert table.survival(20, every=False) == pytest.approx(0.9112151112, abs=1e-9)
    assert table.matrix.sum(axis=1) == pytest.approx(1.0, abs=1e-13)


def test_drawn_chains_have_the_survival_of_the_table(table):
    """Rejected: a neuron whose reset is ignored."""
    network = vf.Network(width=24, depth=20, gain=np.sqrt(10), neuron=DELAYED, steps=2)
    for alive, every in (("every step", True), ("every late step", False), ("a late step", False)):
        estimate = vf.survival(network, alive=alive, networks=6000, seed=1)
        for layer in (1, 5, 20):
            assert deviation(estimate, layer, table.survival(layer, every)) < 4
    without = vf.survival(vf.Network(width=24, depth=20, gain=np.sqrt(10), neuron=vf.Neuron(decay=0.5), steps=2), alive=alive)
    assert deviation(without, 20, table.survival(20, every=False)) > 8


def test_drawn_chains_are_networks_of_real_weights():
    """Rejected: networks that are a fifth wider."""
    network = vf.Network(width=64, depth=12, gain=7.3**0.5, neuron=ZERO, steps=8)
    real = vf.simulate(network, repeats=150, seed=5)
    for alive in ("every late step", "a late step"):
        drawn = vf.survival(network, alive=alive, networks=2000)
        P = alive_by(alive, real.firing_rate > 0).mean(axis=0)
        error = drawn.error * np.sqrt(1 + 2000 / 150)
        assert (abs(drawn.value - P) < 4 * error + LEVELS)[[1, 5, 11]].all()
    wider = vf.survival(vf.Network(width=77, depth=12, gain=7.3**0.5, neuron=ZERO, steps=8), alive="every late step")
    every = vf.survival(network, alive="every late step")
    assert wider.value[-1] - every.value[-1] > 8 * wider.error[-1]


def test_the_first_step_is_the_chain_of_one_step():
    """By causality, whatever follows. Rejected: the second step by the same law."""
    network = vf.Network(width=50, depth=9, gain=2.7, neuron=DELAYED, steps=6)
    exact = vf.finite_width(vf.Network(width=50, depth=9, gain=2.7))
    *_, moments = DrawnChain.of(network).layers(8000, (3,))
    rates = np.diagonal(moments, axis1=1, axis2=2)
    rates = np.concatenate([rates, np.zeros((8000 - len(rates), 6))])
    errors = rates.std(axis=0) / np.sqrt(8000)
    assert abs(rates[:, 0].mean() - exact.firing_rate[-1]) < 4 * errors[0] + 1e-5
    assert abs(rates[:, 1].mean() - exact.firing_rate[-1]) > 8 * errors[1]


def test_one_step_needs_no_drawing():
    network = vf.Network(width=50, depth=9, gain=2.7)
    found = vf.survival(network, alive="every step")
    assert found.value[-1] == vf.SpikeChain(network).survival(9)
    assert not found.error.any()
    assert "exact" in found.method


def test_a_synapse_and_biases_are_drawn():
    network = vf.Network(width=40, depth=6, gain=2.5, neuron=vf.Neuron(decay=0.5, synaptic_decay=0.4), steps=4, bias_std=0.2)
    drawn, real = vf.survival(network, alive="every step"), vf.simulate(network, repeats=400, seed=2)
    P = (real.firing_rate > 0).all(axis=-1).mean(axis=0)
    assert (abs(drawn.value - P) < 4 * drawn.error * np.sqrt(1 + 4000 / 400) + LEVELS).all()


@pytest.mark.parametrize("alive", ["every step", "every late step"])
def test_rare_deaths_are_those_of_the_table(alive):
    """Of two steps at width 24: 7e-4 by layer 20. Rejected: a tenth less gain."""
    drive, gain = 2.0, np.sqrt(40)
    exact = 1 - TwoSteps(24, gain, 0.5, kept=0, taken=0, drive=drive).survival(20, every=alive == "every step")
    network = vf.Network(width=24, depth=20, gain=gain, neuron=ZERO, steps=2, drive=vf.drives.currents(drive))
    found = vf.survival(network, alive=alive, networks=500)
    assert "reduced chain of each step, since fewer than 10 of 500 networks" in found.method
    accepted = lambda dead: 0.65 * exact < dead < 1.7 * exact  # noqa: E731
    assert accepted(1 - found.value[-1])
    assert abs(1 - found.value[-1] - exact) < found.error[-1] < 1 / 500
    assert not accepted(1 - vf.survival(replace(network, gain=0.9 * gain), alive=alive, networks=100).value[-1])
    assert "reduced" not in vf.survival(network, alive="a late step", networks=500).method


PAGE = Path(__file__).parents[4] / "docs" / "finite_width_in_time.md"
RARE = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line.count("e-") > 3]


def near(found, said):
    """True if a probability is the one that is said, to its two digits."""
    return abs(found / float(said) - 1) < 0.06


@pytest.mark.slow
@pytest.mark.parametrize("row", RARE, ids=[row[0] for row in RARE])
def test_rare_deaths_are_those_of_the_page(row):
    """Rejected: a tenth more gain."""
    words, *said = row
    kind, _, width, square, drive = words.split(", ")
    neuron, at_reset = (ZERO, 0) if kind == "zero" else (vf.Neuron(1.0, decay=0.5, reset="delayed_subtract"), 1)
    shape = {"width": int(width), "depth": 20, "neuron": neuron, "steps": 2, "drive": vf.drives.currents(float(drive))}
    gain = float(square) ** 0.5
    table = TwoSteps(int(width), gain, 0.5, at_reset, at_reset, drive=float(drive))
    for alive, (reduced, exact) in {"every step": said[:2], "every late step": said[2:]}.items():
        found, other = (vf.survival(vf.Network(gain=g, **shape), alive=alive, networks=100) for g in (gain, 1.1 * gain))
        assert near(1 - found.value[-1], reduced)
        assert not near(1 - other.value[-1], reduced)
        assert near(1 - table.survival(20, every=alive == "every step"), exact)
    assert len(RARE) == 4


def test_where_rates_do_not_help_networks_are_drawn():
    """Sequential deaths of first steps are likelier than those of late ones; layers that differ have no rates."""
    front = vf.Network(width=60, depth=10, gain=2.6, neuron=vf.neurons.snntorch_leaky(0.9), steps=4)
    for network in (front, replace(front, width=[60] * 9 + [80]), replace(front, bias_std=0.1)):
        found = vf.survival(network, alive="every late step", networks=300)
        assert "reduced" not in found.method
        assert found.error[-1] > 1e-3


def test_normal_numbers_have_the_right_moments():
    normals = NormalLevels(7)(2**10, 2**10).ravel()
    assert scipy.stats.kstest(normals[: 2**16], "norm").pvalue > 1e-3
    assert abs(normals.mean()) < 4 / 2**10
    assert abs(normals.var() - 1) < 4 * np.sqrt(2) / 2**10
    assert abs((normals**4).mean() - 3) < 4 * np.sqrt(96) / 2**10


def test_seeds_decide():
    network = vf.Network(width=30, depth=5, gain=2.5, neuron=ZERO, steps=3)
    first, again, other = (vf.survival(network, alive="any step", networks=300, seed=seed).value for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights": "uniform"},
        {"mean_gain": 0.3},
        {"neuron": vf.Neuron(scipy.stats.uniform(0.7, 0.8), decay=0.5)},
        {"neuron": vf.Neuron(decay=0.5, reset="multi_spike")},
        {"neuron": vf.Neuron(0.0, decay=0.5)},
        {"neuron": vf.Neuron(decay=0.5, delay=1)},
        {"drive": vf.drives.spikes(np.full((1, 30), 0.2))},
        {"drive": vf.drives.given(np.ones((1, 4, 30)))},
    ],
)
def test_what_is_not_drawn(wrong):
    network = vf.Network(**{"width": 30, "depth": 4, "gain": 2.5, "neuron": ZERO, "steps": 4} | wrong)
    with pytest.raises(vf.DomainError, match=r"network=.*vf.simulate"):
        vf.survival(network, alive="any step")


def test_criteria_are_named():
    network = vf.Network(width=30, depth=4, gain=2.5, neuron=ZERO, steps=4)
    with pytest.raises(vf.DomainError, match="every late step"):
        vf.survival(network, alive="late")
    with pytest.raises(TypeError, match="alive"):
        vf.survival(network)
