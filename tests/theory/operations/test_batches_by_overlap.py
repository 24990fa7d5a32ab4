"""A BatchNorm of which the batch is known by the overlap of two inputs: as where all its inputs are in one index."""

import numpy as np
import pytest
import torch
from autograd_networks import gradients

import varflow as vf
from varflow.theory.operations import weights
from varflow.theory.operations.visit import BY_OVERLAP, INFINITE, Effort, Walk
from varflow.theory.responses.neurons import Responses
from varflow.theory.walks.gradients import ForwardPass
from varflow.theory.walks.signals import Blocks, signals_walk

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


NETWORKS, ROWS, WIDTH = 20, 96, 400


@pytest.mark.parametrize("largest", [2**11, 0])
def test_gradients_by_weights_below_a_layer_norm_and_a_batch_norm(largest, monkeypatch):
    """Rows of unlike size, by which the LayerNorm divides gradients whose sum is 0: 20 networks within 4 standard errors and 3
    over the number of rows. Gradients whose sum is 0 without that, or is not, are rejected.
    """
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((ROWS, 200)) + 1.0) * np.exp(np.linspace(-1.2, 1.2, ROWS))[:, None]
    structure = [L.Linear(WIDTH, gain=1.5), L.LayerNorm(), L.BatchNorm(gamma=1.3), L.Spike(vf.Neuron(1.0))]
    network = vf.Network(layers=structure, drive=vf.drives.inputs(x))
    rows = torch.tensor(x, dtype=torch.float32)[:, None]
    measured = np.array([gradients(structure, rows, seed=seed)[1].item() for seed in range(NETWORKS)])
    error = measured.std(ddof=1) / np.sqrt(NETWORKS)
    blocks = Blocks.of(network, Effort(Responses(2**9, 4, 0), inputs_together=largest))

    def fits():
        flow = ForwardPass.of(blocks).gradients(vf.surrogates.atan(), scatter=False)
        return abs(flow.weight_norms[0] - measured.mean()) < 4 * error + 3 / ROWS * measured.mean()

    assert fits()
    about_mean = weights._about_batch_mean
    monkeypatch.setattr(weights, "_about_batch_mean", lambda layer, M, e, f, *more: about_mean(layer, M, e, f**0, *more))
    assert not fits()
    monkeypatch.setattr(weights, "_about_batch_mean", lambda layer, M, *_: M)
    assert not fits()


def test_a_batch_without_its_overlap_is_not_normalised_input_by_input():
    network = vf.Network(width=500, layers=[L.Spike(vf.Neuron(1.0)), *layers("free")])
    blocks = Blocks.of(network, Effort(Responses(2, 2, 0)))
    ((start, _),) = blocks
    with pytest.raises(vf.DomainError, match="the overlap of two inputs is not known"):
        signals_walk(blocks.graph, start, Walk(blocks.effort, BY_OVERLAP, INPUTS))
    signals_walk(blocks.graph, start, Walk(blocks.effort, INFINITE))
