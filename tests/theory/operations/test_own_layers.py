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
    with pytest.raises(vf.DomainError, match=r"layers\[2\]=Odd\(\) has no forward: give it by vf.register\(Odd, forward="):
        vf.mean_field(network)
    vf.register(Odd, forward=lambda layer, inputs, visit: inputs[0])
    plain = replace(network, layers=[SPIKE, L.Linear(gain=2.0), SPIKE])
    assert np.array_equal(vf.mean_field(network).firing_rate, vf.mean_field(plain).firing_rate)


def test_what_is_missing_is_named_before_any_work():
    """Gradients ask for every backward map before signals go forwards; where no gradient returns, none is asked for."""
    walked = []
    network = one_of(forward=lambda layer, inputs, visit: walked.append(visit) or inputs[0])
    for call in (vf.gradient_flow, lambda network: vf.trainability(network, "atan", np.eye(3, 20))):
        with pytest.raises(
            vf.DomainError, match=r"layers\[2\]=New\(.*\) has no backward: give it by vf.register\(New, backward="
        ):
            call(network)
    assert not walked
    nodes = {
        "s1": (SPIKE, "drive"),
        "c1": (L.Linear(gain=2.0), "s1"),
        "dead end": (network.layers[2], "c1"),
        "s2": (SPIKE, "c1"),
    }
    assert len(vf.gradient_flow(vf.Network(width=50, nodes=nodes)).energy) == 2
    assert walked


# Merges of signals that depend on the same weights.


@dataclass(frozen=True, slots=True, repr=False)
class Lerp(L.Layer):
    """``a + w (b - a)``."""

    weight: float
    merges = True

    def after(self, first, second, width=None):
        return first

    @property
    def factors(self):
        return 1 - self.weight, self.weight


@dataclass(frozen=True, slots=True, repr=False)
class HarmlessMixture(Mixture):
    independent = False


vf.register(Lerp, forward=lambda layer, inputs, visit: vf.theory.summed(inputs, layer.factors))


def merged(*merge):
    nodes = {
        "s1": (SPIKE, "drive"),
        "c": (L.Linear(gain=3.0), "s1"),
        "half": (L.Scale(0.5), "c"),
        "m": merge,
        "s": (SPIKE, "m"),
    }
    return vf.Network(width=200, nodes=nodes)


def test_own_merges_of_dependent_signals_are_refused_unless_that_does_not_matter():
    with pytest.raises(
        vf.DomainError, match=r"m=Lerp\(weight=0.5\) is not covered: it merges .* Lerp says independent = False"
    ):
        vf.mean_field(merged(Lerp(0.5), "c", "half"))
    nodes = dict(mixture(0.7).nodes and {"s1": (SPIKE, "drive"), "c": (L.Linear(gain=4.0), "s1"), "s": (SPIKE, "c")})

    def twice(layer):
        return vf.Network(width=200, nodes=nodes | {"m": (layer, "s", "s"), "d": (L.Linear(gain=2.0), "m"), "t": (SPIKE, "d")})

    with pytest.raises(vf.DomainError, match=r"m=Mixture\(fraction=0.7\) is not covered: it merges"):
        vf.mean_field(twice(Mixture(0.7)))
    plain = vf.Network(width=200, layers=[SPIKE, L.Linear(gain=4.0), SPIKE, L.Linear(gain=2.0), SPIKE])
    found, expected = (vf.mean_field(each).firing_rate for each in (twice(HarmlessMixture(0.7)), plain))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_merge_of_one_signal_is_named():
    with pytest.raises(vf.DomainError, match=r"m=Lerp\(weight=0.5\) receives 1 signals, which its after cannot take: .*second"):
        merged(Lerp(0.5), "c")


# What maps return.


def one_of(**maps):
    """A layer of a new class with these maps, in a network."""
    new = dataclass(frozen=True, slots=True, repr=False)(
        type("New", (UnitNorm,), {"__annotations__": {}, "__module__": __name__})
    )
    vf.register(new, **maps)
    return vf.Network(width=50, layers=[SPIKE, L.Linear(gain=2.0), new(7.0), SPIKE])


KEEPS = {
    "forward": lambda layer, inputs, visit: inputs[0],
    "simulate": lambda layer, flows, walk, node: flows[0],
}
WRONG = {
    "no signal": (
        {"forward": lambda layer, inputs, visit: None},
        vf.mean_field,
        "forward that returns None: it must return the signal",
    ),
    "an array": (
        {"forward": lambda layer, inputs, visit: inputs[0].covariance},
        vf.mean_field,
        r"forward that returns an array of shape \(1, 1, 1, 1\)",
    ),
    "another map": (
        {"forward": lambda layer, inputs, visit: replace(inputs[0], grid=replace(inputs[0].grid, height=2))},
        vf.mean_field,
        r"forward that returns Currents of shape \(50, 2, 1\); its after says currents of shape \(50,\)",
    ),
    "other channels": (
        {"forward": lambda layer, inputs, visit: replace(inputs[0], channels=49)},
        vf.mean_field,
        r"forward that returns Currents of shape \(49,\); its after says currents of shape \(50,\)",
    ),
    "no list": (
        KEEPS | {"backward": lambda layer, gradients, visit, way: gradients},
        vf.gradient_flow,
        "backward that returns .* a list of the gradients",
    ),
    "two": (
        KEEPS | {"backward": lambda layer, gradients, visit, way: [gradients] * 2},
        vf.gradient_flow,
        "backward that returns .* a list of the gradients",
    ),
    "a tensor": (
        {"simulate": lambda layer, flows, walk, node: flows[0].values},
        lambda network: vf.simulate(network, repeats=2),
        "simulate that returns an array .* vf.simulation.Flow",
    ),
    "another shape": (
        {"simulate": lambda layer, flows, walk, node: vf.simulation.Flow(flows[0].values[..., :49])},
        lambda network: vf.simulate(network, repeats=2),
        r"simulate that returns an array .* 49\): .* 50\), as its after says",
    ),
    "0/0": (
        {"simulate": lambda layer, flows, walk, node: vf.simulation.Flow(0 * flows[0].values / 0)},
        lambda network: vf.simulate(network, repeats=2),
        "simulate that returns NaN for finite numbers",
    ),
    "overflow": (
        {"simulate": lambda layer, flows, walk, node: vf.simulation.Flow(flows[0].values * 1e300 * 1e300)},
        lambda network: vf.simulate(network, repeats=2),
        "grow beyond double precision",
    ),
    "a parent's map": (
        {"forward": KEEPS["forward"]},
        vf.gradient_flow,
        r"layers\[2\]=New\(factor=7.0\) has no backward: give it by vf.register\(New",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_maps_that_return_what_they_must_not_are_named(name):
    if name in ("a tensor", "another shape", "0/0", "overflow"):
        pytest.importorskip("torch")
    maps, call, words = WRONG[name]
    with pytest.raises(vf.DomainError, match=words) as error:
        call(one_of(**maps))
    assert name == "overflow" or "layers[2]=New(factor=7.0)" in str(error.value)


def test_after_must_return_a_signal():
    @dataclass(frozen=True, slots=True, repr=False)
    class Shapeless(L.Layer):
        def after(self, signal, width=None):
            return signal.shape

    with pytest.raises(vf.DomainError, match=r"layers\[2\]=Shapeless\(\) has an after .* vf.layers.Signal"):
        vf.Network(width=40, layers=[SPIKE, L.Linear(gain=2.0), Shapeless(), SPIKE])


# Gains of blocks.


def test_the_gain_of_a_block_is_the_free_field_of_its_last_layer():
    """Normalisations scale what they receive, so that only γ sets the rate: of RMSNorm and of a layer from outside too."""

    def scale_with(layer):
        return vf.gain_for_rate(block=[L.Linear(gain=2.0), layer, SPIKE], rate=0.2)

    layer_norm = scale_with(L.LayerNorm(eps=0.0))
    for layer, unit in ((L.RMSNorm(eps=0.0), 1.0), (UnitNorm(5.0), 1000**0.5)):  # of 1000 neurons
        found = scale_with(layer)
        assert found.gamma == pytest.approx(unit * layer_norm.gamma, rel=1e-9)
        assert found.gain == 2.0
        assert found.firing_rate == pytest.approx(0.2, rel=1e-9)
