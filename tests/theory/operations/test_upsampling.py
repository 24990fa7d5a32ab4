"""Upsampled maps and transposed convolutions: theory agrees with simulation, on maps of all sizes, and with torch's layers."""

import numpy as np
import pytest

import varflow as vf

L = vf.layers
SPIKE = L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"))
WAYS = {
    "repeated": [L.Upsample(2)],
    "pooled": [L.Upsample(3), L.Pool("average", 2)],
    "zeros": [L.Upsample(2, zeros=True, extra=1)],
    "unequal": [L.Upsample((2, 3), zeros=True)],
}


def network(way, side):
    layers = [L.Conv(64, gain=2.0), SPIKE, *way, L.Conv(64, gain=3.0), SPIKE, L.Conv(64, gain=3.0), SPIKE]
    return vf.Network(layers=layers, steps=3, drive=vf.drives.inputs(np.random.default_rng(0).random((4, 2, side, side))))


@pytest.mark.parametrize("side", [4, 12])  # positions followed together, and each on its own
@pytest.mark.parametrize("way", WAYS)
def test_upsampled_maps_agree_with_simulation(way, side):
    ensemble = vf.simulate(network(WAYS[way], side), repeats=24)
    assert vf.compare(vf.mean_field(network(WAYS[way], side), points=2**10), ensemble, bias=0.03).passed


def test_the_other_kind_of_zeros_is_rejected():
    """Repeats have the shape of zeros with an extra one."""
    ensemble = vf.simulate(network(WAYS["repeated"], 4), repeats=24)
    assert not vf.compare(vf.mean_field(network(WAYS["zeros"], 4), points=2**10), ensemble, bias=0.03).passed


@pytest.mark.parametrize("arguments", [{"factor": 0}, {"factor": 2, "extra": 1}, {"factor": 2, "zeros": True, "extra": 2}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(vf.DomainError, match="factor"):
        L.Upsample(**arguments)
