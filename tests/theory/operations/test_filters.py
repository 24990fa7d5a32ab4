"""Filters over time: theory against networks, gradients against autograd, and wrong filters, which must be rejected."""

import math

import numpy as np
import pytest
import torch
from autograd_networks import gradients_of_each

import varflow as vf

L = vf.layers
STEPS, WIDTH = 8, 300
SPIKE, LINEAR = L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero")), L.Linear(WIDTH, gain=3.0, mean_gain=0.5)
LEAKY, TWO = L.Filter((0.8,), scale=0.4), L.Filter((0.5, 0.8), scale=0.3, delay=2)


def on_currents(layer):
    return [SPIKE, LINEAR, layer, SPIKE, LINEAR, SPIKE]


def on_spikes(layer):
    return [SPIKE, layer, LINEAR, SPIKE]


def on_maps(layer):
    return [L.Conv(60, gain=2.5), layer, SPIKE, L.Pool("average", 2), layer, L.Linear(WIDTH, gain=3.0), SPIKE]


def network(layers, shape=None):
    drive = (
        vf.drives.white(1.5) if shape is None else vf.drives.inputs(np.random.default_rng(0).normal(size=(3, STEPS, *shape)))
    )
    return vf.Network(width=WIDTH, layers=layers, steps=STEPS, drive=drive)


@pytest.mark.parametrize("make", [on_currents, on_spikes])
@pytest.mark.parametrize("layer", [LEAKY, TWO])
def test_mean_field_agrees_with_networks(make, layer):
    ensemble = vf.simulate(network(make(layer)), repeats=64, engine="conditional")
    assert vf.compare(vf.mean_field(network(make(layer))), ensemble, bias=0.02).passed
    for wrong in (L.Filter(layer.decays, layer.scale * 1.2, layer.delay), L.Filter(layer.decays, layer.scale, layer.delay + 1)):
        assert not vf.compare(vf.mean_field(network(make(wrong))), ensemble, bias=0.02).passed


@pytest.mark.parametrize("side", [6, 16])  # all positions in one index, and each on its own
def test_on_maps(side):
    ensemble = vf.simulate(network(on_maps(LEAKY), (2, side, side)), repeats=48)
    assert vf.compare(vf.mean_field(network(on_maps(LEAKY), (2, side, side))), ensemble, bias=0.04).passed
    wrong = L.Filter((0.8,), scale=0.6)
    assert not vf.compare(vf.mean_field(network(on_maps(wrong), (2, side, side))), ensemble, bias=0.04).passed


@pytest.mark.parametrize("make", [on_currents, on_spikes])
def test_gradients_agree_with_autograd(make):
    layers, networks = make(TWO), 32
    layers = [L.Linear(WIDTH, gain=3.0) if layer is LINEAR else layer for layer in layers]
    x = torch.randn(networks, 1, WIDTH, generator=torch.Generator().manual_seed(7)).repeat(1, STEPS, 1)
    energy = torch.cat([gradients_of_each(layers, part, seed=seed)[0] for seed, part in enumerate(x.split(8))]).numpy()
    mean, error = energy.mean(axis=0), energy.std(axis=0, ddof=1) / math.sqrt(networks)

    def agrees(layer):
        made = [layer if isinstance(each, L.Filter) else each for each in layers]
        flow = vf.gradient_flow(vf.Network(width=WIDTH, layers=made, steps=STEPS), "atan")
        return np.all(np.abs(mean - flow.energy) <= 4 * np.hypot(error, flow.error["energy"]) + 0.05 * flow.energy)

    assert agrees(TWO)
    assert not agrees(L.Filter(TWO.decays, 0.4, TWO.delay))
    assert not agrees(L.Filter(TWO.decays, TWO.scale, 1))


@pytest.mark.parametrize("options", [{"decays": (1.5,)}, {"decays": "x"}, {"scale": math.nan}, {"delay": -1}, {"delay": 0.5}])
def test_arguments_are_checked(options):
    with pytest.raises(vf.DomainError) as caught:
        L.Filter(**options)
    assert caught.value.argument in options


def test_a_delay_beyond_all_steps_leaves_nothing():
    silent = network([SPIKE, L.Filter(delay=STEPS + 3), LINEAR, SPIKE])
    assert not vf.mean_field(silent).firing_rate[-1].any()
    assert not vf.simulate(silent, repeats=2).firing_rate[:, -1].any()


def test_counts_refuse_it():
    with pytest.raises(vf.DomainError, match="filters spikes over time"):
        vf.finite_width(vf.Network(width=20, layers=[SPIKE, L.Filter((0.5,)), L.Linear(20, gain=2.0), L.Spike(vf.Neuron(1.0))]))
