"""A BatchNorm of which the batch is known by the overlap of two inputs: as where all its inputs are in one index."""

import numpy as np

import varflow as vf
from varflow.theory.operations import weights
from varflow.theory.operations.visit import Effort
from varflow.theory.responses.neurons import Responses
from varflow.theory.walks.gradients import ForwardPass
from varflow.theory.walks.signals import Blocks

L = vf.layers
INPUTS = 32
BIAS = np.array([2, 1.25]) / INPUTS  # relative, of the first layer, whose inputs have variances of their own; of the second


def layers(rows):
    weights = [L.Linear(gain=gain, rows=rows) for gain in (1.5, 2.0)]
    return [layer for each in weights for layer in (each, L.BatchNorm(gamma=1.3), L.Spike(vf.Neuron(1.0)))]


def passed(rows, largest):
    """Variances and norms of gradients by weights, with errors; all of a batch up to this size is in one index."""
    x = np.random.default_rng(0).standard_normal((INPUTS, 200)) + 1.0
    network = vf.Network(width=500, layers=layers(rows), drive=vf.drives.inputs(x))
    solved = ForwardPass.of(Blocks.of(network, Effort(Responses(2**11, 4, 0), inputs_together=largest)))
    flow = solved.gradients(vf.surrogates.atan(), "independent", scatter=False)
    variance = np.array([state.variance.mean() for state in solved.states])
    return np.stack([variance, flow.weight_norms]), np.stack([0 * variance, flow.error.get("weight_norms", 0 * variance)])


def agree(one, other):
    (a, a_error), (b, b_error) = one, other
    return np.all(np.abs(a - b) <= 4 * np.hypot(a_error, b_error) + BIAS * b)


def test_gradients_by_weights_see_activity_about_its_mean_over_the_batch(monkeypatch):
    together = passed("free", 2**11)
    assert agree(passed("free", 0), together)
    monkeypatch.setattr(weights, "centred_by_overlap", lambda second, *_: second)
    assert not agree(passed("free", 0), together)


def test_overlaps_behind_centred_rows_are_centred(monkeypatch):
    """Inputs of mean 1, whose overlap is mostly the product of their means."""
    together = passed("centred", 2**11)
    assert agree(passed("centred", 0), together)
    monkeypatch.setattr(weights, "average_mean", lambda mean, grid: np.zeros_like(mean.mean(axis=1)))
    assert not agree(passed("centred", 0), together)
