"""Leaky integrators and delays between layers: theory and simulation agree, and another filter is rejected."""

import numpy as np
import pytest

import varflow as vf

L = vf.layers
SPIKE = L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"))


def network(of_spikes, of_currents):
    block = [of_spikes, L.Linear(400, gain=3.0), of_currents, SPIKE]
    return vf.Network(width=400, layers=[SPIKE, *block * 2], steps=8)


def test_filtered_spikes_and_currents_agree_with_simulation():
    filters = L.Filter((0.6,), 0.5, delay=1), L.Filter((0.4, 0.7), 0.4)
    ensemble = vf.simulate(network(*filters), repeats=60)
    passed = {
        other: vf.compare(vf.mean_field(network(*other), points=2**10), ensemble, bias=0.02).passed
        for other in [filters, (L.Filter((0.6,), 0.5), filters[1]), (filters[0], L.Filter((0.4, 0.6), 0.4))]
    }
    assert list(passed.values()) == [True, False, False]
    convolved = vf.Network(layers=[L.Conv(8, gain=2.0), L.Filter((0.6,), 0.5), SPIKE], steps=4, drive=vf.drives.inputs(DIGITS))
    assert vf.compare(vf.mean_field(convolved, points=2**10), vf.simulate(convolved, repeats=40), bias=0.03).passed


DIGITS = np.random.default_rng(0).random((4, 1, 8, 8))


@pytest.mark.parametrize("options", [{"decays": (1.1,)}, {"decays": (np.nan,)}, {"scale": np.inf}, {"delay": -1}])
def test_bad_arguments_are_refused(options):
    with pytest.raises(vf.DomainError, match=next(iter(options))):
        L.Filter(**options)


def test_filtered_spikes_have_no_chain():
    memoryless = L.Spike(vf.Neuron())
    with pytest.raises(vf.DomainError, match="filters spikes over time"):
        vf.finite_width(vf.Network(width=10, layers=[memoryless, L.Filter(), L.Linear(gain=2.0), memoryless]))
