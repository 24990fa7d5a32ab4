"""Learning rate of Adam: constants of its formula, and the changes of currents by real first steps."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

import varflow as vf
from varflow.theory.operations.update import coherence

snntorch = pytest.importorskip("snntorch")
reset = pytest.importorskip("snntorch.utils").reset
DIGITS = load_digits()
IMAGES, LABELS = torch.tensor(DIGITS.data / 16, dtype=torch.float32), torch.tensor(DIGITS.target)
STEPS, LEAKY = 4, vf.neurons.snntorch_leaky(0.5)
L = vf.layers


@pytest.mark.parametrize(("rate", "overlap", "known"), [(0.2, 0.44, 0.60), (0.3, 0.66, 0.70)])
def test_how_alike_the_signs_of_a_gradient_are(rate, overlap, known):
    assert coherence(rate, overlap, math.inf) == pytest.approx(known, abs=0.005)
    many = coherence(rate, overlap, math.inf) ** 2
    assert coherence(rate, overlap, 10.0) ** 2 == pytest.approx(many + (1 - many) / 10)
    assert coherence(rate, overlap, 1.0) == pytest.approx(1.0)


def chain(width, depth, *, shortcut=False, images=64):
    first = 1.123 / float(IMAGES.square().mean().sqrt())
    spike, later = L.Spike(LEAKY), L.Linear(width, gain=math.sqrt(0.5) if shortcut else 2.859)
    layers = [
        L.Linear(width, gain=first),
        *([L.Residual(spike, later)] * (depth - 1) if shortcut else [spike, later] * (depth - 1)),
    ]
    drive = vf.drives.inputs(IMAGES[:images].numpy())
    return vf.Network(layers=[*layers, spike], width=width, steps=STEPS, drive=drive)


@pytest.mark.parametrize(("width", "known"), [(64, 0.0064), (128, 0.013), (256, 0.025), (512, 0.050)])
def test_changes_per_layer(width, known):
    found = vf.learning_rate(chain(width, 5))
    direct = found.direct / found.rate * 1e-3
    assert direct[0] == pytest.approx(0.013, abs=0.0006)
    assert direct[1:] == pytest.approx(np.full(4, known), rel=0.04)


@pytest.mark.parametrize(
    ("network", "known"), [(chain(512, 6), 1.24e-3), (chain(256, 15, shortcut=True), 1.50e-3), (chain(32, 6), 9.2e-3)]
)
def test_rates_from_measured_changes(network, known):
    """Those that measured first steps gave, of which the formula's are .95 ± .08."""
    found = vf.learning_rate(network)
    assert known / found.rate == pytest.approx(0.95, abs=2 * 0.08)
    assert np.linalg.norm(found.direct) == pytest.approx(0.147)


# Real first steps of Adam.


class Model(torch.nn.Module):
    def __init__(self, width, depth, shortcut):
        super().__init__()
        gains = [1.123 / float(IMAGES.square().mean().sqrt())] + (depth - 1) * [math.sqrt(0.5) if shortcut else 2.859]
        self.weights = torch.nn.ModuleList(torch.nn.Linear(width if l else 64, width, bias=False) for l in range(depth))
        for gain, weights in zip(gains, self.weights, strict=True):
            torch.nn.init.normal_(weights.weight, std=gain / math.sqrt(weights.in_features))
        self.neurons = torch.nn.ModuleList(snntorch.Leaky(0.5, init_hidden=True) for _ in range(depth))
        self.readout, self.shortcut = torch.nn.Linear(width, 10), shortcut

    def forward(self, x):
        """One step."""
        currents = None
        for weights, neuron in zip(self.weights, self.neurons, strict=True):
            received = weights(x)
            currents = currents + received if self.shortcut and currents is not None else received
            x = neuron(currents)
        return self.readout(x)

    def run(self, images):
        """Scores, and what every layer of weights received and the currents of its neurons, (steps, batch, neurons)."""
        reset(self)
        seen = [], []
        hooks = [
            w.register_forward_hook(lambda module, received, _: seen[0].append(received[0].detach())) for w in self.weights
        ]
        hooks += [
            n.register_forward_pre_hook(lambda module, received: seen[1].append(received[0].detach())) for n in self.neurons
        ]
        scores = torch.stack([self(images) for _ in range(STEPS)]).mean(0)
        for hook in hooks:
            hook.remove()
        depth = len(self.weights)
        received, currents = ([torch.stack(each[l::depth]) for l in range(depth)] for each in seen)
        return scores, received, currents


def measured(width, depth, shortcut, seed, rate=1e-3):
    """``d_l`` of the first step on 50 images, on 200 others; and the model as it was."""
    torch.manual_seed(seed)
    model = Model(width, depth, shortcut)
    order = torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(seed))
    step, probe = order[:50], order[50:250]
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    functional.cross_entropy(model.run(IMAGES[step])[0], LABELS[step]).backward()
    before = [w.weight.detach().clone() for w in model.weights]
    with torch.no_grad():
        _, received, currents = model.run(IMAGES[probe])
    found = vf.learning_rate(model, IMAGES[probe], steps=STEPS)
    optimiser.step()
    changes = [w.weight.detach() - old for w, old in zip(model.weights, before, strict=True)]
    size = [(x @ change.T).square().mean() for x, change in zip(received, changes, strict=True)]
    return np.array([float((d / I.var(-1).mean()).sqrt()) for d, I in zip(size, currents, strict=True)]) / rate, found


SETTINGS = [(128, 6, False), (64, 8, False), (256, 4, False), (128, 8, True)]


@pytest.fixture(scope="module")
def ratios():
    """``D`` by formula over ``D`` measured, four networks of each setting; and the same with ``κ = 1``."""
    found = []
    for width, depth, shortcut in SETTINGS:
        for seed in range(4):
            d, rates = measured(width, depth, shortcut, seed)
            assert rates.direct.shape == (depth,)
            found.append([(0.147 / rates.rate) / np.linalg.norm(d), rates.direct[0] / rates.rate / d[0]])
    return np.array(found).reshape(len(SETTINGS), 4, 2)


def test_first_steps_change_what_the_formula_says(ratios):
    """Known mean .95 and spread .08 over settings."""
    means, errors = ratios[..., 0].mean(axis=1), ratios[..., 0].std(axis=1, ddof=1) / 2
    assert np.all(np.abs(means - 0.95) < 2 * 0.08 + 3 * errors)
    assert abs(means.mean() - 0.95) < 0.08 / 2 + 3 * np.linalg.norm(errors) / len(errors)
    aligned = means / 0.62  # all signs alike: κ = 1 instead of about .62
    assert not np.all(np.abs(aligned - 0.95) < 2 * 0.08 + 3 * errors)
    first, errors = 0.75 / ratios[..., 1].mean(axis=1), ratios[..., 1].std(axis=1, ddof=1) / 2  # κ of layer 1: .69 to .79
    assert np.all((first > 0.69 - 3 * errors) & (first < 0.79 + 3 * errors))


# Doors.


def test_the_first_layer_may_dominate():
    pixels = vf.learning_rate(
        vf.Network(width=128, depth=6, gain=2.859, neuron=LEAKY, steps=4), np.random.default_rng(0).random((8, 784))
    )
    assert pixels.dominated_by == 1
    assert pixels.first_layer_rate < pixels.rate < pixels.other_rate
    scaled = pixels.direct / pixels.rate * np.array([pixels.first_layer_rate] + 5 * [pixels.other_rate])
    assert np.linalg.norm(scaled) == pytest.approx(0.147, rel=1e-6)
    assert scaled[0] == pytest.approx(np.sqrt(np.mean(scaled[1:] ** 2)))
    assert "for the first layer" in repr(pixels)
    layers = [L.Residual(L.Spike(LEAKY), L.Linear(128, gain=1.0))] * 5
    shortcuts = vf.Network(width=128, layers=[*layers, L.Spike(LEAKY)], steps=4)
    found = vf.learning_rate(shortcuts, np.random.default_rng(0).random((8, 784)))
    assert (found.dominated_by, found.first_layer_rate, found.other_rate) == (1, None, None)  # it costs accuracy there


def test_deep_plain_networks_get_half():
    deep, shallow = (vf.learning_rate(chain(128, depth)) for depth in (11, 10))
    assert np.linalg.norm(deep.direct) == pytest.approx(0.147 / 2)
    assert np.linalg.norm(shallow.direct) == pytest.approx(0.147)
    assert np.isnan(deep.error)
    assert np.linalg.norm(vf.learning_rate(chain(128, 11, shortcut=True)).direct) == pytest.approx(0.147)


def test_a_single_example_has_aligned_signs():
    network = chain(128, 4)
    one, many = (vf.learning_rate(network, batch=batch) for batch in (1, 50))
    assert np.all(one.direct[1:] / one.rate > 1.4 * many.direct[1:] / many.rate)


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (chain(32, 2), {"optimizer": "sgd"}, r"0.24 to 1.2.*vf\.audit\(.*optimizer=…\)"),
        (chain(32, 2), {"optimizer": "AdamW"}, "two settings"),
        (chain(32, 2), {"optimizer": "lion"}, "was not measured"),
        (chain(32, 2), {"optimizer": 3}, "'adam' is"),
        (chain(32, 2, images=1), {}, "two inputs"),
        (vf.Network(width=9, depth=2, gain=2.0), {}, "two inputs"),
        (vf.Network(width=20, depth=4, gain=0.3, drive=vf.drives.inputs(IMAGES[:4].numpy())), {}, "less than one spike"),
        (chain(32, 2), {"batch": 0}, "batch"),
    ],
)
def test_what_is_not_covered_is_refused(network, options, message):
    with pytest.raises(vf.DomainError, match=message):
        vf.learning_rate(network, **options)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (L.Conv(4, gain=2.0), r"layers\[0\].* adds up the changes at all positions"),
        (L.LayerNorm(), r"layers\[1\]=LayerNorm\(\) normalises"),
        (L.Spike(LEAKY, recurrent_gain=1.0), r"layers\[1\].* has recurrent weights"),
    ],
)
def test_layers_that_were_not_measured_are_refused(layer, words):
    rows = {L.Conv: [layer, L.Spike(LEAKY), L.Linear(9, gain=2.0), L.Spike(LEAKY)]}.get(
        type(layer), [L.Linear(9, gain=2.0), *([layer, L.Spike(LEAKY)] if isinstance(layer, L.LayerNorm) else [layer])]
    )
    x = np.random.default_rng(0).normal(size=(2, 1, 4, 4) if isinstance(layer, L.Conv) else (2, 16))
    with pytest.raises(vf.DomainError, match=rf"{words}.*measured only for Linear.*vf\.audit\(.*optimizer=…\)"):
        vf.learning_rate(vf.Network(layers=rows, steps=2, drive=vf.drives.inputs(x)))
