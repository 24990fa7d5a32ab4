"""Simulated networks made of vf.layers: both engines against each other, against exact identities, and against numbers known
from the definition. Every statistical check has a control that must fail.
"""

import numpy as np
import pytest

import varflow as vf

torch = pytest.importorskip("torch")

from varflow.model.layers import BatchNorm, Conv, LayerNorm, Linear, Pool, Residual, Scale, Spike  # noqa: E402
from varflow.simulation import simulate  # noqa: E402

K = 5.0  # standard errors, for the largest of some hundred comparisons
NAMES = ("variance", "firing_rate", "potential_mean", "coincidences")
LEAKY = vf.Neuron(0.6, decay=0.5, reset="subtract")
RNG = np.random.default_rng(5)


def of(*layers, width=16, **more):
    return vf.Network(width=width, layers=layers, **more)


def rows_of(ensemble):
    """Everything measured, one row per network."""
    found = [getattr(ensemble, name) for name in NAMES if getattr(ensemble, name) is not None]
    return np.concatenate([values.reshape(len(values), -1) for values in found], axis=1)


def largest_z(one, other):
    """Of the differences between means and mean squares of two independent samples."""
    one, other = (np.concatenate([rows, rows**2], axis=1) for rows in map(rows_of, (one, other)))
    error = np.sqrt(one.var(axis=0, ddof=1) / len(one) + other.var(axis=0, ddof=1) / len(other))
    difference, size = np.abs(one.mean(axis=0) - other.mean(axis=0)), np.abs(one).mean(axis=0)
    still = error <= 1e-9 * size
    assert np.allclose(difference[still], 0, atol=1e-6)
    return (difference[~still] / error[~still]).max()


# Networks as functions of a factor on one of their parameters: 1, and the value that must be found out.
PAIRS = {
    "membrane shortcut": (
        lambda f: of(*[Residual(Spike(LEAKY), Linear(gain=2.0), keep=0.8 * f)] * 3, Spike(LEAKY), steps=3),
        1.1,
    ),
    "sum of spikes": (lambda f: of(Spike(LEAKY), *[Residual(Linear(gain=1.5 * f), Spike(LEAKY))] * 3, steps=3), 0.9),
    "iand, delay": (
        lambda f: of(
            Spike(LEAKY),
            Residual(Linear(gain=2.0 * f), Spike(vf.Neuron(0.6, decay=0.5, reset="zero", delay=1)), merge="iand"),
            Linear(gain=2.0 * f, mean_gain=0.5, bias_std=0.3),
            Spike(LEAKY),
            steps=3,
        ),
        0.9,
    ),
    "and, real numbers": (
        lambda f: of(
            Spike(LEAKY),
            Residual(Linear(gain=2.0), Spike(LEAKY), Scale(0.7), merge="and"),
            Residual(Linear(8, gain=2.0), Spike(LEAKY), Scale(-0.37), Linear(16, gain=2.0 * f), Spike(LEAKY)),
            Linear(gain=2.0 * f),
            Spike(LEAKY),
            steps=2,
        ),
        0.88,
    ),
    "centred": (
        lambda f: of(Spike(LEAKY), *[Linear(gain=3.0 * f, rows="centred", bias_std=0.2), Spike(LEAKY)] * 2, steps=3),
        0.9,
    ),
    "standardised": (lambda f: of(Spike(LEAKY), *[Linear(gain=3.0 * f, rows="standardised"), Spike(LEAKY)] * 2, steps=3), 0.92),
    "standardised, one step": (
        lambda f: of(*[Spike(vf.Neuron(1.0)), Linear(gain=3.0 * f, rows="standardised")] * 3, Spike(vf.Neuron(1.0)), width=8),
        0.92,
    ),
    "batch normalisation": (
        lambda f: of(
            Linear(gain=1.0),
            BatchNorm(gamma=1.2 * f, beta=0.2),
            Spike(LEAKY),
            Linear(gain=3.0),
            BatchNorm(gamma=1.2 * f),
            Spike(LEAKY),
            steps=2,
            drive=vf.drives.inputs(np.random.default_rng(1).random((3, 10))),
        ),
        0.93,
    ),
    "layer normalisation": (
        lambda f: of(Spike(LEAKY), Linear(gain=3.0), LayerNorm(gamma=1.1 * f, beta=0.1), Spike(LEAKY), steps=3),
        0.95,
    ),
    "recurrence": (
        lambda f: of(
            Spike(LEAKY, recurrent_gain=2.0 * f, recurrent_mean_gain=0.5),
            Linear(gain=2.0),
            Spike(vf.Neuron(0.5, decay=0.3, synaptic_decay=0.4, reset="gate"), recurrent_gain=1.5 * f),
            steps=5,
        ),
        0.85,
    ),
    "recurrent spike counts": (
        lambda f: of(Spike(vf.Neuron(0.5, decay=0.5, reset="multi_spike"), recurrent_gain=0.8 * f), steps=4),
        0.8,
    ),
    "convolution": (
        lambda f: of(
            Spike(LEAKY),
            Conv(16, gain=2.0 * f, groups=2, bias_std=0.2, mean_gain=0.4),
            Spike(LEAKY),
            Pool("max", 2, padding=1),
            Conv(20, 3, gain=2.5 * f, rows="centred", stride=2),
            Spike(LEAKY),
            Pool("average", 2),
            Linear(12, gain=2.0),
            Spike(LEAKY),
            steps=2,
            drive=vf.drives.currents(1.0, shape=(8, 4, 5)),
        ),
        0.85,
    ),
    "random trains": (
        lambda f: of(
            Linear(gain=1.5 * f),
            Spike(LEAKY),
            Residual(Linear(gain=1.5), Spike(LEAKY)),
            steps=3,
            drive=vf.drives.spikes([0.3] * 12),
        ),
        0.9,
    ),
    "given currents": (
        lambda f: of(
            Residual(Scale(0.5 * f), keep=0.5),
            Spike(LEAKY),
            Linear(gain=2.0),
            Spike(LEAKY),
            steps=3,
            drive=vf.drives.given(np.random.default_rng(3).random((2, 3, 16)) * 2),
        ),
        0.9,
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_engines_agree_in_distribution(name):
    make, wrong = PAIRS[name]
    dense, conditional = (simulate(make(1.0), repeats=2000, seed=1, engine=engine) for engine in ("dense", "conditional"))
    assert (dense.engine, conditional.engine) == ("dense", "conditional")
    assert largest_z(dense, conditional) < K
    assert largest_z(dense, simulate(make(wrong), repeats=2000, seed=2, engine="conditional")) > K
