"""The width of a surrogate with which gradients neither vanish nor explode."""

import json
import math

import numpy as np
import pytest

import varflow as vf

S = vf.surrogates
SNNTORCH = vf.Network(width=1000, depth=8, gain=8**0.5, neuron=vf.neurons.snntorch_leaky(0.5), steps=5)
GAIN = vf.gain(threshold=0.5)
FEW = {"points": 2**9, "scrambles": 8}
MEMORYLESS = vf.Network(width=1000, depth=12, gain=GAIN, neuron=vf.Neuron(0.5))


@pytest.mark.parametrize("family", ["atan", "fast_sigmoid", "sigmoid", "spikingjelly_piecewise_quadratic", S.box(0.2)])
def test_without_memory_gradients_keep_their_variance(family):
    for objective in ("growth", "range"):
        psi = vf.surrogate_width(MEMORYLESS, family, objective)
        chi = vf.gradient_gain(threshold=0.5, gain=GAIN, variance=1.0, surrogate=psi)
        assert abs(chi - 1) < 1e-3
        other = vf.gradient_gain(threshold=0.5, gain=GAIN, variance=1.0, surrogate=psi.widened(1.01 * psi.width))
        assert abs(other - 1) > 1e-3


@pytest.mark.parametrize("family", ["atan", "fast_sigmoid"])
def test_in_time_the_first_layer_has_the_energy_of_the_last(family):
    psi = vf.surrogate_width(SNNTORCH, family, "growth", **FEW)
    flows = [vf.gradient_flow(SNNTORCH, psi.widened(ratio * psi.width), seed=1, **FEW) for ratio in (1.0, 1.05, 0.95)]
    off = [abs(flow.growth - 1) for flow in flows]
    assert off[0] < 4 * np.sqrt(2) * flows[0].error["growth"] + 1e-4 < min(off[1:])


def test_the_range_is_smallest():
    psi = vf.surrogate_width(SNNTORCH, "atan", **FEW)
    ranges = [vf.gradient_flow(SNNTORCH, psi.widened(ratio * psi.width), seed=1, **FEW).range for ratio in (0.9, 1.0, 1.1)]
    assert ranges[1] < min(ranges[0], ranges[2])


def test_the_answer_is_the_parameter_of_the_library():
    psi = vf.surrogate_width(MEMORYLESS, "atan")
    assert repr(psi).startswith("atan(alpha=")
    assert S.atan(alpha=dict(psi.formula.arguments)["alpha"]) == psi


@pytest.mark.parametrize(
    ("network", "family", "message"),
    [
        (MEMORYLESS, S.Surrogate("box", peak=0.1), "vanish at any width"),
        (MEMORYLESS, np.ones_like, "has no width"),
        (MEMORYLESS, "norse_super", "width"),
        (vf.Network(width=10, depth=1, gain=1.0), "atan", "at least two layers"),
    ],
)
def test_what_no_width_gives_is_refused(network, family, message):
    with pytest.raises(vf.DomainError, match=message):
        vf.surrogate_width(network, family, "growth")


def test_lookup_gives_it_beside_the_gain():
    init = vf.lookup(threshold=0.5, fan_in=100, surrogate="atan")
    assert init.gradient_growth == pytest.approx(
        vf.gradient_gain(threshold=0.5, gain=init.gain, variance=1.0, surrogate="atan")
    )
    assert init.surrogate == repr(vf.surrogate_width(MEMORYLESS, "atan", "growth"))
    weak = vf.lookup(threshold=0.5, fan_in=100, surrogate=S.Surrogate("box", peak=0.1))
    assert weak.surrogate is None
    assert "vanish at any width" in weak.warnings[-1]


@pytest.mark.parametrize(
    ("given", "steps", "psi"),
    [({"threshold": 0.7}, 1, "gaussian"), ({"neuron": "snntorch_leaky:beta=0.6", "rate": 0.2}, 3, "atan")],
)
def test_the_surrogate_of_a_lookup_is_taken_by_other_functions(given, steps, psi):
    """Gradients grow as it says with the width asked for, and by less with the one it gives."""
    init = vf.lookup(fan_in=64, surrogate=psi, steps=steps, depth=6 if steps > 1 else None, **given)
    neuron = given.get("neuron", vf.Neuron(threshold=given.get("threshold", 1.0)))
    network = vf.Network(
        width=1000, depth=6, gain=init.gain, neuron=neuron, steps=steps, drive=vf.drives.currents(init.input_gain or 1.0)
    )
    asked, suited = (vf.gradient_flow(network, each).growth for each in (psi, init.surrogate))
    assert asked == pytest.approx(init.gradient_growth, rel=0.02)
    assert abs(math.log(suited)) < 0.2 * abs(math.log(asked))
    told = json.loads(json.dumps(init.to_dict()))["surrogate"]
    assert vf.gradient_flow(network, told).growth == suited
    assert vf.gradient_flow(network, told).surrogate == told


def test_lookup_in_time_gives_it_on_the_command_line(varflow):
    line = "lookup --neuron snntorch_leaky --beta 0.5 --rate 0.2 --fan-in 64 --steps 4 --depth 8 --surrogate atan --json"
    found = json.loads(varflow(line)[1])
    assert found["surrogate"].startswith("atan(alpha=")
    assert 0.5 < found["gradient_growth"] < 2
