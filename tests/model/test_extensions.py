"""Layers, drives and figures registered from outside: found by simulation and plots, by spawned processes too, and named
where a part is missing.
"""

import importlib
from dataclasses import dataclass

import numpy as np
import pytest
from processes import import_once

import varflow as vf

torch = pytest.importorskip("torch")

SPIKE, LINEAR = vf.layers.Spike(vf.Neuron(1.0)), vf.layers.Linear(gain=2.5)


@dataclass(frozen=True, slots=True, repr=False)
class Power(vf.layers.Layer):
    """Currents to the power of an odd number."""

    exponent: int
    accepts = ("currents",)

    def after(self, signal, width=None):
        return signal


def powers(layer, flows, walk, node):
    return vf.simulation.Flow(flows[0].values ** layer.exponent)


@dataclass(frozen=True, slots=True, repr=False)
class Nameless(vf.layers.Layer):
    def after(self, signal, width=None):
        return signal


@dataclass(frozen=True)
class Uniform(vf.drives.Drive):
    """Currents between -1 and 1, new at every step."""

    std: float = 3**-0.5

    def covariance(self, steps):
        return self.std**2 * np.eye(steps)[None]


def uniform(drive, flows, walk, node):
    normals = walk.stream("drive").normals(walk.probes, walk.steps, *node.operation.sends.shape)
    return vf.simulation.Flow(drive.std * 3**0.5 * torch.erf(normals.double() / 2**0.5))


vf.register(Power, simulate=powers)
vf.register(Uniform, simulate=uniform)


def network(*layers, **more):
    return vf.Network(width=40, layers=[SPIKE, LINEAR, *layers, SPIKE], **more)


@pytest.mark.parametrize("engine", ["dense", "conditional"])
def test_a_layer_from_outside_is_simulated(engine):
    options = {"repeats": 5, "seed": 3, "engine": engine}
    first, third, plain = (
        vf.simulate(network(*layers), **options) for layers in ([Power(1)], [Power(3)], [vf.layers.Scale(1.0)])
    )
    assert np.array_equal(first.variance, plain.variance)
    assert np.array_equal(third.variance[:, 0], plain.variance[:, 0])
    assert (third.variance[:, 1] > plain.variance[:, 1]).all()
    assert np.array_equal(third.firing_rate, plain.firing_rate)  # u³ > 1 where u > 1


@dataclass(frozen=True, slots=True, repr=False)
class Noise(vf.layers.Layer):
    """Currents with noise, new at every step."""

    std: float
    own: bool = True
    accepts = ("currents",)

    def after(self, signal, width=None):
        return signal


def noisy(layer, flows, walk, node):
    x = flows[0].real
    return vf.simulation.Flow(x + layer.std * torch.randn(x.shape, generator=walk.generator if layer.own else None))


vf.register(Noise, simulate=noisy)


@pytest.mark.parametrize("engine", ["dense", "conditional"])
def test_noise_is_the_same_for_any_repeats_and_threads(engine, monkeypatch):
    from varflow.simulation.layered import batch_of

    monkeypatch.setattr("varflow.simulation.run.DRAWN", 1)  # every chunk is a block of its own

    def variance(noise, repeats, threads=1):
        layers = network(noise, SPIKE, LINEAR, noise, steps=3)
        return vf.simulate(layers, repeats=repeats, seed=3, engine=engine, threads=threads).variance

    chunk = batch_of(network(Noise(0.5), SPIKE, LINEAR, Noise(0.5), steps=3), engine=engine, seed=3).streams.repeats
    whole = variance(Noise(0.5), 3 * chunk, threads=3)
    assert np.array_equal(whole[: chunk + 5], variance(Noise(0.5), chunk + 5))
    assert np.array_equal(whole[:2], variance(Noise(0.5), 2))
    assert not np.isin(whole[:chunk, 1], whole[chunk:, 1]).any()  # each chunk has its own noise
    assert np.array_equal(whole[:, 0], variance(Noise(0.0), 3 * chunk)[:, 0])
    assert (whole[:2, 1] != variance(Noise(0.6), 2)[:, 1]).all()
    with pytest.raises(vf.DomainError, match=r"layers\[2\]=Noise.* global generator.* pass walk.generator"):
        variance(Noise(0.5, own=False), 2)


@pytest.mark.parametrize(
    "made", [lambda **more: network(Power(1), **more), lambda **more: vf.Network(width=40, depth=2, gain=2.5, **more)]
)
@pytest.mark.parametrize("engine", ["dense", "conditional"])
def test_a_drive_from_outside_is_simulated(made, engine):
    found = vf.simulate(made(drive=Uniform(), steps=3), repeats=200, engine=engine)
    assert (found.firing_rate[:, 0] == 0).all()  # no current is above 1
    variance = found.variance[:, 0]
    assert np.all(np.abs(variance.mean(axis=0) - 1 / 3) < 4.5 * variance.std(axis=0) / 200**0.5)
    assert np.any(np.abs(variance.mean(axis=0) - 0.3) > 4.5 * variance.std(axis=0) / 200**0.5)
    wider = vf.simulate(made(drive=Uniform(1.0), steps=3), repeats=20, engine=engine)
    assert (wider.firing_rate[:, 0].mean(axis=0) > 0.15).all()


MISSING = {
    "simulation": (
        lambda: vf.simulate(network(Nameless()), repeats=1),
        r"layers\[2\]=Nameless.* has no simulate: .*vf.register",
    ),
    "counts": (
        lambda: vf.finite_width(network(Power(3))),
        r"layers\[2\]=Power\(exponent=3\) has no count: .*register\(Power, count=",
    ),
    "counts of a stranger": (
        lambda: vf.finite_width(network(Nameless())),
        r"layers\[2\]=Nameless.* has no count: .*register\(Nameless, count=",
    ),
    "a figure": (lambda: vf.plots.draw(Power(3)), "has no figure: give it by vf.register"),
    "an option of a figure": (lambda: vf.catalogue(fan_in=20, width=10, depth=3).plot(ax=3), "is no option of this figure"),
}


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_part_is_named(name):
    call, words = MISSING[name]
    if name == "a figure":
        pytest.importorskip("matplotlib")
    with pytest.raises(vf.DomainError, match=words):
        call()


def test_a_drive_without_parts_is_refused():
    class Bare(vf.drives.Drive):
        __slots__ = ()

    with pytest.raises(vf.DomainError, match="define covariance"):
        vf.mean_field(vf.Network(width=10, depth=2, gain=1.0, drive=Bare()))

    class Covariance(vf.drives.Drive):
        def covariance(self, steps):
            return np.ones((1, steps, steps))

    with pytest.raises(vf.DomainError, match=r"no simulate: .*register\(Covariance, simulate="):
        vf.simulate(vf.Network(width=10, depth=2, gain=1.0, drive=Covariance()), repeats=1)


WRONG = {
    "a tensor": (lambda flow: flow.values, "simulate that returns an array of shape .*: it must return vf.simulation.Flow"),
    "another shape": (lambda flow: vf.simulation.Flow(flow.values[..., :39]), r"shape \(.* 3, 39\): .* of shape \(.* 3, 40\)$"),
    "0/0": (lambda flow: vf.simulation.Flow(0 * flow.values / 0), "simulate that returns NaN"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(
    "made", [lambda **more: network(Power(1), **more), lambda **more: vf.Network(width=40, depth=2, gain=2.5, **more)]
)
def test_a_drive_that_sends_what_it_must_not_is_named(name, made):
    class Other(Uniform):
        """A drive with a map of its own."""

    change, words = WRONG[name]
    vf.register(Other, simulate=lambda *walked: change(uniform(*walked)))
    with pytest.raises(vf.DomainError, match=words) as error:
        vf.simulate(made(drive=Other(), steps=3), repeats=2)
    assert str(error.value).startswith("drive=")


def test_a_covariance_of_another_shape_is_named():
    class Flat(Uniform):
        """Of one matrix, without an axis of inputs."""

        def covariance(self, steps):
            return np.eye(steps)

    words = r"covariance of shape \(\d, \d\): it must have \(n_inputs, steps, steps\) = \(1, \d, \d\)"
    with pytest.raises(vf.DomainError, match=words):
        vf.Network(width=10, depth=2, gain=1.0, drive=Flat())
    with pytest.raises(vf.DomainError, match=words):
        vf.mean_field(network(vf.layers.Scale(1.0), drive=Flat(), steps=3))


class Result:
    """Of a user."""


class Bare(vf.layers.Layer):
    """No dataclass, and without __repr__."""


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        (3, {}, "class of your own"),
        (vf.layers.LayerNorm, {"simulate": powers}, "class of your own"),
        (Result, {"simulate": powers}, "must be a subclass of vf.layers.Layer, or of vf.drives.Drive"),
        (Uniform, {"forward": powers}, "must be a subclass of vf.layers.Layer to have forward"),
        (Power, {"simulate": 3}, "must be a function"),
        (Power, {"reads": {"pow": None}}, "must be a function"),
        (Power, {"reads": {"no_such_function": powers}}, "no function of torch"),
        (Power, {"forward": lambda layer, inputs: None}, r"must take \(layer, received, visit\)"),
        (Bare, {"simulate": powers}, "must be a dataclass"),
    ],
)
def test_what_cannot_be_registered_is_refused(kind, more, words):
    with pytest.raises(vf.DomainError, match=words):
        vf.register(kind, **more)


def test_a_figure_of_a_result_from_outside():
    pytest.importorskip("matplotlib")
    vf.register(Result, figure=lambda result, **options: ("drawn", options))
    assert vf.plots.draw(Result(), ax=1) == ("drawn", {"ax": 1})


MINE = """
import torch
import varflow as vf

class Doubled(vf.layers.Layer):
    __slots__ = ()
    def after(self, signal, width=None):
        return signal
    def __repr__(self):
        return "Doubled()"
    def __eq__(self, other):
        return type(self) is type(other)
    def __hash__(self):
        return 1

def noisy(layer, flows, walk, node):
    x = flows[0].real
    return vf.simulation.Flow(2 * x + 0.1 * torch.randn(x.shape, generator=walk.generator))

vf.register(Doubled, simulate=noisy)
"""


def test_processes_of_a_campaign_register_again(tmp_path, monkeypatch):
    """They import the module that holds the class, and draw the noise that is drawn here."""
    (tmp_path / "layer_of_my_own.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import_once(monkeypatch)
    doubled = importlib.import_module("layer_of_my_own").Doubled()
    one = network(doubled)
    here, there = vf.simulate(one, repeats=4), vf.simulate(one, repeats=4, campaign=vf.Campaign(workers=2))
    assert np.array_equal(here.variance, there.variance)
    assert here.firing_rate[:, 1].any()
