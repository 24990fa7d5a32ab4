"""Membranes in integer registers: the exact chain against all paths in numpy's integers, theory, and networks."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import scipy.stats

import varflow as vf
from varflow.model.resets import FAMILIES, Register, Reset

K, THETA = 2, 5


def neuron(reset="subtract", bits=6, rounding="shift", threshold=THETA, **options):
    register = Register(bits=bits, threshold=threshold, rounding=rounding)
    return vf.Neuron(float(threshold), decay=1 - 2.0**-K, reset=replace(FAMILIES[reset], register=register), **options)


def all_paths(reset, rounding, values, chances, steps, bits=6):
    """Probabilities of registers at each step and of spike counts, path by path, in integer arithmetic."""
    paths = np.array(list(product(range(len(values)), repeat=steps)))
    currents, mass = np.asarray(values)[paths], np.asarray(chances)[paths].prod(axis=1)
    v, s, counts = (np.zeros(len(paths), dtype=int) for _ in range(3))
    leak = {
        "shift": lambda v: v - (v >> K),
        "nearest": lambda v: np.rint(v * (2**K - 1) / 2**K).astype(int),
        "zero": lambda v: np.sign(v) * (np.abs(v) * (2**K - 1) >> K),
    }[rounding]
    laws = np.zeros((steps, 2**bits))
    for t in range(steps):
        left = {
            "subtract": leak(v - THETA * s),
            "delayed_subtract": leak(v) - THETA * s,
            "zero": leak(v * (1 - s)),
            "gate": leak(v * (1 - s)),
        }[reset]
        arriving = currents[:, t] * (1 - s) if reset == "gate" else currents[:, t]
        v = np.clip(left + arriving, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        s = (v > THETA).astype(int)
        counts += s
        np.add.at(laws[t], v + 2 ** (bits - 1), mass)
    return laws, np.bincount(counts, mass, minlength=steps + 1)


def total_variation(p, q):
    return np.abs(p - q).sum(axis=-1).max() / 2


@pytest.mark.parametrize("rounding", ["shift", "nearest", "zero"])
@pytest.mark.parametrize("reset", ["subtract", "delayed_subtract", "zero", "gate"])
def test_the_chain_is_that_of_all_paths(reset, rounding):
    values, chances, steps = [-11, 3, 9], [0.35, 0.25, 0.4], 8
    law = scipy.stats.rv_discrete(values=(values, chances))()
    chain = vf.integer_membrane(neuron(reset, rounding=rounding), law, steps=steps)
    registers, counts = all_paths(reset, rounding, values, chances, steps)
    assert total_variation(chain.probability, registers) < 1e-12
    assert total_variation(chain.spike_counts, counts) < 1e-12
    np.testing.assert_allclose(chain.firing_rate.sum(), counts @ np.arange(steps + 1), rtol=1e-12)
    other = "nearest" if rounding == "shift" else "shift"
    assert total_variation(chain.probability, all_paths(reset, other, values, chances, steps)[0]) > 1e-3


def test_saturated_paths_and_rounded_normal_currents():
    law, values = scipy.stats.norm(0.5, 0.8), np.arange(-9, 11)
    chances = law.cdf(values + 0.5) - law.cdf(values - 0.5)
    chain = vf.integer_membrane(neuron(threshold=THETA, bits=4), law, steps=4)
    registers, counts = all_paths("subtract", "shift", values, chances, 4, bits=4)
    assert total_variation(chain.probability, registers) < 1e-12
    assert total_variation(chain.spike_counts, counts) < 1e-12
    strong = vf.integer_membrane(neuron(bits=4), scipy.stats.rv_discrete(values=([-7, 6], [0.5, 0.5]))(), steps=4)
    assert strong.saturation[-1] > 0.1
    assert total_variation(strong.probability, all_paths("subtract", "shift", [-7, 6], [0.5, 0.5], 4, bits=4)[0]) < 1e-12
    assert "saturated" in str(strong)


def white(cell, width=400, depth=1, steps=8):
    return vf.Network(width=width, depth=depth, gain=3.0, neuron=cell, steps=steps, drive=vf.drives.white(1.0))


def test_the_chain_is_that_of_networks_and_of_theory_under_white_currents():
    cell = vf.Neuron(decay=0.75, reset=Reset(membrane=1.0, register=Register(bits=6)))
    chain = vf.integer_membrane(cell, scipy.stats.norm(), steps=8)
    network = vf.simulate(white(cell), repeats=400, seed=1, engine="conditional")
    error = network.firing_rate[:, 0].std(axis=0, ddof=1) / 400**0.5
    assert np.abs((network.firing_rate[:, 0].mean(axis=0) - chain.firing_rate) / error).max() < 4
    real = vf.mean_field(white(vf.Neuron(decay=0.75, reset="zero"))).firing_rate[0]
    assert np.abs((real - chain.firing_rate) / error).max() > 8
    theory = vf.mean_field(white(cell))
    assert np.abs(theory.firing_rate[0] - chain.firing_rate).max() < 4 * theory.error["firing_rate"].max() + 1e-12


def layered(reset):
    return vf.Network(width=300, depth=4, gain=2.9, neuron=vf.Neuron(decay=0.5, reset=reset), steps=8)


def test_sixteen_bits_pass_for_real_numbers_and_six_do_not():
    real = vf.mean_field(layered("zero"))
    held = {bits: layered(Reset(membrane=1.0, register=Register(bits=bits))) for bits in (16, 6)}
    drawn = {bits: vf.simulate(network, repeats=60, seed=2) for bits, network in held.items()}
    assert vf.compare(real, drawn[16], bias=0.02).passed
    assert not vf.compare(real, drawn[6], bias=0.02).passed
    assert vf.compare(vf.mean_field(held[6]), drawn[6], bias=0.02).passed


def test_given_currents_give_the_same_integers_in_theory_and_simulation():
    generator = np.random.default_rng(3)
    for reset, rounding in product(("subtract", "delayed_subtract", "gate"), ("shift", "zero")):
        cell = neuron(reset, rounding=rounding, input_scale=0.5)
        drive = vf.drives.given(generator.integers(-40, 40, size=(12, 50)))
        network = vf.Network(width=50, depth=1, gain=1.0, neuron=cell, steps=12, drive=drive)
        drawn, theory = vf.simulate(network, repeats=1, seed=0), vf.mean_field(network)
        np.testing.assert_allclose(drawn.firing_rate[0], theory.firing_rate, rtol=1e-12)
        np.testing.assert_allclose(drawn.variance[0], theory.variance, rtol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Register(bits=1),
        lambda: Register(bits=25),
        lambda: Register(bits=4, threshold=7),
        lambda: Register(bits=4, rounding="down"),
        lambda: Reset(register=8),
        lambda: Reset(threshold=1.0, counts=True, register=Register(bits=8)),
        lambda: Reset(membrane=1.0, lowest=-1.0, register=Register(bits=8)),
        lambda: vf.integer_membrane(vf.Neuron(1.0), scipy.stats.norm(), steps=2),
        lambda: vf.integer_membrane(neuron(bits=13), scipy.stats.norm(), steps=2),
        lambda: vf.integer_membrane(neuron(), 0.5, steps=2),
        lambda: vf.mean_field(vf.Network(width=9, depth=2, gain=2.0, neuron=neuron())),
        lambda: vf.expansion(vf.Network(width=9, depth=2, gain=2.0, neuron=neuron(), steps=3)),
    ],
)
def test_what_is_no_register_is_refused(call):
    with pytest.raises(vf.DomainError):
        call()


def test_a_module_of_a_chip_is_audited():
    """Membranes of a user's integer neuron are those of its description; those of real numbers are told apart."""
    torch = pytest.importorskip("torch")

    class Chip(torch.nn.Module):
        def forward(self, current, v):
            v = torch.round(torch.ceil(0.75 * v * (v <= 4)) + 4 * current).clamp(-32, 31)
            return (v > 4).float(), v

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weights, self.chips = (torch.nn.ModuleList(of() for _ in range(2)) for of in (self.weight, Chip))

        def weight(self):
            layer = torch.nn.Linear(60, 60, bias=False)
            torch.nn.init.normal_(layer.weight, 0, 3 / 60**0.5)
            return layer

        def forward(self, x):
            states = [torch.zeros_like(x)] * 2
            for _ in range(12):
                spikes = x
                for l in range(2):
                    spikes, states[l] = self.chips[l](self.weights[l](spikes), states[l])
            return spikes

    torch.manual_seed(0)
    model, inputs = Model(), torch.rand(8, 60)
    cell = vf.Neuron(decay=0.75, reset=Reset(membrane=1.0, register=Register(bits=6)))
    report = vf.audit(model, inputs, neurons={Chip: cell})
    assert report.layers[1].variance > 0
    assert abs(report.layers[1].predicted_rate - report.layers[1].firing_rate) < 0.05
    assert not any("does not step" in note for note in report.notes)
    real = vf.audit(model, inputs, neurons={Chip: vf.Neuron(decay=0.75, reset="zero")})
    assert any("does not step" in note for note in real.notes)
