"""A BatchNorm of which the batch is known by the overlap of two inputs: as where all its inputs are in one index."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from autograd_networks import gradients

import varflow as vf
from varflow.theory.operations import batch_norm, weights
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
    solved = ForwardPass.of(Blocks.of(network, Effort(Responses(2**11, 4, 0), largest_batch=largest)))
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
    monkeypatch.setattr(weights.places, "average_mean", lambda mean, grid: np.zeros_like(mean.mean(axis=1)))
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
    blocks = Blocks.of(network, Effort(Responses(2**9, 4, 0), largest_batch=largest))

    def fits():
        flow = ForwardPass.of(blocks).gradients(vf.surrogates.atan(), scatter=False)
        return abs(flow.weight_norms[0] - measured.mean()) < 4 * error + 3 / ROWS * measured.mean()

    assert fits()
    about_mean = weights._about_batch_mean
    monkeypatch.setattr(
        weights, "_about_batch_mean", lambda at, G, walk: about_mean(at, replace(G, balanced=G.balanced**0), walk)
    )
    assert not fits()
    monkeypatch.setattr(weights, "_about_batch_mean", lambda at, *_: at.centred())
    assert not fits()


def _like_an_average_input(second, grid, between, batch_size, over):
    """Wrong: all inputs have the same product with the mean over the batch."""
    return (second.mean(axis=-1) / batch_size + (1 - 1 / batch_size) * between.mean(axis=-1)[:, None])[..., None]


def _means_averaged_first(layer, currents, *batch):
    """Wrong: means of currents have no variance between inputs."""
    alike = np.broadcast_to(currents.mean.mean(axis=1, keepdims=True), currents.mean.shape)
    return batch_norm.by_overlap_of(layer, replace(currents, mean=alike), *batch)


def _entries_twice(*numbers):
    """Wrong: entries drawn with replacement, which pair with themselves."""
    return weights.inverse_dof_of(*numbers) + 1 / 16


@pytest.mark.parametrize(
    ("size", "shift", "mean_gain", "wrong"),
    [
        (0.0, 0.0, None, (weights, "_inverse_dof", _entries_twice)),
        (0.9, 0.0, None, (batch_norm, "_by_overlap_with_batch_mean", _like_an_average_input)),
        (0.0, 1.0, 1.0, (batch_norm, "by_overlap", _means_averaged_first)),
    ],
)
def test_rates_of_unlike_inputs_are_those_of_real_networks(size, shift, mean_gain, wrong, monkeypatch):
    """16 inputs that differ in size or mean, by overlaps: 40 networks within 4 standard errors and 2 %."""
    z, row = np.random.default_rng(0).standard_normal((16, 200)), np.linspace(-1, 1, 16)[:, None]
    first = [L.Linear(gain=1.5, mean_gain=mean_gain), L.BatchNorm(gamma=1.3), L.Spike(vf.Neuron(1.0))]
    x = (z + 1.0 + shift * row) * np.exp(size * row)
    network = vf.Network(width=WIDTH, layers=[*first, *layers("free")[3:]], drive=vf.drives.inputs(x))
    simulated = vf.simulate(network, repeats=40, seed=1).firing_rate
    mean, error = simulated.mean(axis=0), simulated.std(axis=0, ddof=1) / np.sqrt(len(simulated))

    def fits():
        solved = ForwardPass.of(Blocks.of(network, Effort(Responses(2, 2, 0), largest_batch=0)))
        return np.all(np.abs([state.firing_rate.mean() for state in solved.states] - mean) < 4 * error + 0.02 * mean)

    assert fits()
    monkeypatch.setattr(batch_norm, "by_overlap_of", batch_norm.by_overlap, raising=False)
    monkeypatch.setattr(weights, "inverse_dof_of", weights._inverse_dof, raising=False)
    monkeypatch.setattr(*wrong)
    assert not fits()


def test_overlaps_of_unlike_inputs_are_those_of_real_neurons():
    """60,000 neurons, within 4 standard errors and 4 %; the overlap of inputs of the same mean size is rejected."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((8, 100)) + 0.7) * np.exp(np.linspace(-0.5, 0.5, 8))[:, None]
    fired = x @ rng.standard_normal((100, 60_000)) * 0.15 > 1.0
    spikes = fired.sum(axis=0)
    pairs = spikes * (spikes - 1) / 56
    allowed = 4 * pairs.std(ddof=1) / np.sqrt(pairs.size) + 0.04 * pairs.mean()

    first, _, *later = layers("free")

    def predicted(x):
        network = vf.Network(width=WIDTH, layers=[first, *later], drive=vf.drives.inputs(x))
        blocks = Blocks.of(network, Effort(Responses(2, 2, 0), largest_batch=0))
        ((start, batching),) = blocks
        neurons = signals_walk(blocks.graph, start, blocks.walk(batching), keep=True)[1]
        return neurons.sent.overlap.between.item()

    assert abs(predicted(x) - pairs.mean()) < allowed
    size = np.sqrt((x**2).mean(axis=1, keepdims=True))
    assert not abs(predicted(x / size * np.sqrt((size**2).mean())) - pairs.mean()) < allowed


def test_dense_weights_read_whole_images():
    """Maps of 48 images: as all in one index, within 1 %; without the bias of the numbers it is rejected."""
    x = np.random.default_rng(0).standard_normal((48, 3, 6, 6)) + 0.5

    def rates(largest, x=x):
        network = vf.Network(width=100, layers=layers("free"), drive=vf.drives.inputs(x))
        solved = ForwardPass.of(Blocks.of(network, Effort(Responses(2, 2, 0), largest_batch=largest)))
        return np.array([state.firing_rate.mean() for state in solved.states])

    together = rates(2**11)
    assert np.all(np.abs(rates(0) - together) < 0.01 * together)
    assert not np.all(np.abs(rates(0, x[..., :1, :1]) - together) < 0.01 * together)


def test_a_batch_without_its_overlap_is_not_normalised_input_by_input():
    network = vf.Network(width=500, layers=[L.Spike(vf.Neuron(1.0)), *layers("free")])
    blocks = Blocks.of(network, Effort(Responses(2, 2, 0)))
    ((start, _),) = blocks
    with pytest.raises(vf.DomainError, match="the overlap of two inputs is not known"):
        signals_walk(blocks.graph, start, Walk(blocks.effort, BY_OVERLAP, INPUTS))
    signals_walk(blocks.graph, start, Walk(blocks.effort, INFINITE))
