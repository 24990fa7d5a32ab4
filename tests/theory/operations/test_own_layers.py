"""Layers written outside the package (a normalisation, a mixture of branches, a pool): theory agrees with simulation and with
layers that do the same, and says what a layer lacks.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import varflow as vf

L = vf.layers
SPIKE = L.Spike(vf.Neuron(0.8))
LEAKY = L.Spike(vf.Neuron(0.8, decay=0.5, reset="subtract"))


@dataclass(frozen=True, slots=True, repr=False)
class UnitNorm(L.Layer):
    """``g x/|x|``, over the neurons of each input and step."""

    factor: float
    accepts = ("currents",)
    normalises, free = True, "factor"

    def after(self, signal, width=None):
        return signal


def scale_of(layer, currents):
    square = np.diagonal(currents.covariance, axis1=-2, axis2=-1) + currents.mean**2
    neurons = currents.channels * currents.grid.positions
    return layer.factor / np.sqrt(neurons * vf.theory.over_map(square, currents.grid))


vf.register(
    UnitNorm,
    forward=lambda layer, inputs, visit: vf.theory.rescaled(inputs[0], scale_of(layer, inputs[0])),
    backward=lambda layer, gradients, visit, way: [gradients.rescaled(scale_of(layer, way.laid_out(visit.received[0])))],
    simulate=lambda layer, flows, walk, node: vf.simulation.Flow(
        layer.factor
        * flows[0].values
        / flows[0].values.flatten(3).norm(dim=-1).view(*flows[0].values.shape[:3], *[1] * len(flows[0].shape))
    ),
)


@dataclass(frozen=True, slots=True, repr=False)
class Mixture(L.Layer):
    """The first neurons (or channels), a fraction of all, of one signal of spikes and the rest of another."""

    fraction: float
    accepts, merges = ("spikes",), True

    def after(self, *signals, width=None):
        return signals[0]


def mixed(layer, inputs, visit):
    p = layer.fraction

    def average(values, *_):
        return p * values[0] + (1 - p) * values[1]

    return vf.theory.elementwise(inputs, average, average)


def chosen(layer, flows, walk, node):
    first, second = (flow.real for flow in flows)
    values = second.clone()
    some = round(layer.fraction * values.shape[3])
    values[:, :, :, :some] = first[:, :, :, :some]
    return vf.simulation.Flow(values)


vf.register(
    Mixture,
    forward=mixed,
    backward=lambda layer, gradients, visit, way: [gradients.times(layer.fraction), gradients.times(1 - layer.fraction)],
    simulate=chosen,
)


@dataclass(frozen=True, slots=True, repr=False)
class SumPool(L.Layer):
    """Sums over windows of ``size²``."""

    size: int
    accepts = ("spikes",)

    def after(self, signal, width=None):
        return L.Pool("average", self.size).after(signal)


def window_of(layer):
    return vf.theory.Window((layer.size, layer.size), (layer.size, layer.size))


def summed(layer, flows, walk, node):
    values = flows[0].real
    for axis in (-1, -2):
        values = values.unflatten(axis, (-1, layer.size)).sum(axis)
    return vf.simulation.Flow(values)


def summed_back(layer, gradients, visit, way):
    signal = way.laid_out(visit.received[0])
    window = window_of(layer)
    above = gradients.on_map(window.smaller(signal.grid), signal.channels).times(layer.size**4)
    return [vf.theory.averaged_back(window, above, signal.grid)]


vf.register(
    SumPool,
    forward=lambda layer, inputs, visit: vf.theory.summed([vf.theory.averaged(window_of(layer), inputs[0])], [layer.size**2]),
    backward=summed_back,
    simulate=summed,
)


def normalised(factor):
    linear = L.Linear(gain=2.0, mean_gain=0.5, bias_std=0.1)
    block = L.Residual(linear, UnitNorm(factor * 20), LEAKY)
    return vf.Network(width=400, layers=[LEAKY, block, block, linear, UnitNorm(factor * 20), LEAKY], steps=3)


def mixture(fraction):
    nodes = {"s1": (SPIKE, "drive"), "c2": (L.Linear(gain=4.0), "s1"), "s2": (SPIKE, "c2")}
    nodes |= {"mix": (Mixture(fraction), "s1", "s2"), "c3": (L.Linear(gain=2.5), "mix"), "s3": (SPIKE, "c3")}
    return vf.Network(width=400, nodes=nodes)


def pooled(size, first=SPIKE):
    drive = vf.drives.currents(2.0, shape=(3, 8, 8))
    layers = [first, L.Conv(60, gain=2.5), SPIKE, SumPool(size), L.Conv(60, gain=1.0), SPIKE, L.Linear(400, gain=2.0), SPIKE]
    return vf.Network(layers=layers, drive=drive)


NETWORKS = {"normalisation": (normalised, 1.2, 1.32), "mixture": (mixture, 0.7, 0.4), "pool": (pooled, 2, 4)}


@pytest.mark.parametrize("name", NETWORKS)
def test_theory_and_simulation_agree_and_reject_another_parameter(name):
    pytest.importorskip("torch")
    built, right, wrong = NETWORKS[name]
    ensemble = vf.simulate(built(right), repeats=100, seed=1, engine="conditional")
    bias = 0.08 if name == "pool" else 0.02  # a map has few channels
    assert vf.compare(vf.mean_field(built(right), points=2**10), ensemble, bias=bias).passed
    assert not vf.compare(vf.mean_field(built(wrong), points=2**10), ensemble, bias=bias).passed


def test_gradients_are_those_of_layers_that_do_the_same():
    linear = L.Linear(gain=2.0)
    norm = [SPIKE, linear, UnitNorm(1.2 * 20), SPIKE, linear, SPIKE]
    exact, wrong = ([*norm[:2], L.LayerNorm(gamma=gamma, eps=0.0), *norm[3:]] for gamma in (1.2, 1.3))
    assert flows_equal(norm, exact, width=400)
    assert not flows_equal(norm, wrong, width=400)
    pool = list(pooled(2).layers)
    exact, wrong = ([*pool[:3], L.Pool("average", 2), L.Scale(factor), *pool[4:]] for factor in (4.0, 3.9))
    drive = pooled(2).drive
    assert flows_equal(pool, exact, drive=drive)
    assert not flows_equal(pool, wrong, drive=drive)


def flows_equal(one, other, **more):
    first, second = (vf.gradient_flow(vf.Network(layers=each, **more), points=2**9, scrambles=2) for each in (one, other))
    return all(np.allclose(getattr(first, name), getattr(second, name), rtol=1e-9) for name in ("energy", "weight_norms"))


def test_gradients_of_a_mixture_are_those_of_its_branches():
    """With the whole of one signal, the other gets none."""

    def energies(network):
        return vf.gradient_flow(network).energy

    plain = vf.Network(width=400, layers=[SPIKE, L.Linear(gain=4.0), SPIKE, L.Linear(gain=2.5), SPIKE])
    np.testing.assert_allclose(energies(mixture(0.0)), energies(plain), rtol=1e-12)
    assert np.abs(energies(mixture(0.1)) / energies(plain) - 1).max() > 0.05


def test_a_layer_without_a_map_is_named_with_the_part_it_lacks():
    @dataclass(frozen=True, slots=True, repr=False)
    class Odd(L.Layer):
        def after(self, signal, width=None):
            return signal

    network = vf.Network(width=40, layers=[SPIKE, L.Linear(gain=2.0), Odd(), SPIKE])
    with pytest.raises(vf.DomainError, match=r"layers\[2\]=Odd\(\) is not covered: vf.register\(Odd"):
        vf.mean_field(network)
    vf.register(Odd, forward=lambda layer, inputs, visit: inputs[0])
    plain = replace(network, layers=[SPIKE, L.Linear(gain=2.0), SPIKE])
    assert np.array_equal(vf.mean_field(network).firing_rate, vf.mean_field(plain).firing_rate)
    with pytest.raises(vf.DomainError, match=r"layers\[2\]=Odd\(\) has no backward: give it by vf.register\(Odd, backward="):
        vf.gradient_flow(network)
