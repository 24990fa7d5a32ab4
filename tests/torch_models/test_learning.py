"""Will it learn? The coherence of gradients between inputs, measured, by theory, and the verdict that follows from it."""

import copy

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

import varflow as vf
from varflow.results.learning import LIMITS, Learning

STEPS, LEAKY = 4, vf.neurons.snntorch_leaky(0.5)
GAIN = 2.859  # late rate 0.2
WIDE, STEEP = vf.surrogates.fast_sigmoid(1), vf.surrogates.fast_sigmoid(25)


def spiking(slope=1.0):
    return snntorch.Leaky(0.5, init_hidden=True, spike_grad=snntorch.surrogate.fast_sigmoid(slope=slope))


def plain(depth, width=100, slope=1.0, norm=False, gain=GAIN, seed=0):
    torch.manual_seed(seed)
    layers = []
    for l in range(depth):
        weights = nn.Linear(width, width, bias=False)
        nn.init.normal_(weights.weight, std=(1.123 if l == 0 else gain) / width**0.5)
        layers += [weights, *([nn.BatchNorm1d(width)] if norm else []), spiking(slope)]
    return nn.Sequential(*layers)


class Shortcuts(nn.Module):
    """Currents add up over layers."""

    def __init__(self, depth, width=100):
        super().__init__()
        self.weights = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.neurons = nn.ModuleList(spiking() for _ in range(depth))
        for l, weights in enumerate(self.weights):
            nn.init.normal_(weights.weight, std=(1.123 if l == 0 else 0.5**0.5) / width**0.5)

    def forward(self, x):
        currents = self.weights[0](x)
        for weights, neuron in zip(self.weights[1:], self.neurons[:-1], strict=True):
            currents = currents + weights(neuron(currents))
        return self.neurons[-1](currents)


def inputs(number=32, width=100, cosine=0.4, seed=1):
    """Inputs of variance 1 and this mean cosine."""
    generator = torch.Generator().manual_seed(seed)
    shared, own = (torch.randn(each, width, generator=generator) for each in (1, number))
    return cosine**0.5 * shared + (1 - cosine) ** 0.5 * own


def learning(model, x=None, steps=STEPS):
    return vf.audit(model, inputs() if x is None else x, steps=steps).learning


def test_coherence_is_that_of_theory():
    """Sums over layers of 12 networks, within 4 standard errors and a bias of 8/width; a steeper surrogate is rejected."""
    network = vf.Network(width=200, depth=8, gain=GAIN, neuron=LEAKY, steps=STEPS)
    found = [learning(plain(8, 200, seed=seed), inputs(16, 200, seed=seed)) for seed in range(12)]
    sums = [np.nansum(each.coherence[1:]) for each in found]
    error = 4 * np.std(sums, ddof=1) / 12**0.5 + 8 / 200
    expected = {psi: np.sum(vf.trainability(network, psi).correlations[:, 1]) for psi in (WIDE, STEEP)}
    assert abs(np.mean(sums) - expected[WIDE]) < error < abs(np.mean(sums) - expected[STEEP])


def test_reach_does_not_depend_on_depth_but_on_the_surrogate():
    """That of 12 and of 24 layers agree within 4 standard errors of 6 networks; a steep surrogate reaches less far."""
    designs = (12, 1), (24, 1), (12, 25)
    reach = {each: [learning(plain(each[0], slope=each[1], seed=s)).reach for s in range(6)] for each in designs}
    wide = [np.array(reach[L, 1]) for L in (12, 24)]
    error = 4 * np.hypot(*(each.std(ddof=1) for each in wide)) / 6**0.5
    assert abs(wide[0].mean() - wide[1].mean()) < error < wide[0].mean() - np.mean(reach[12, 25])


def test_verdicts():
    deep, steep = plain(60), plain(12, slope=25)
    report = vf.audit(deep, inputs(), steps=STEPS)
    assert report.learning.verdict == "forgets"
    assert not report.healthy
    assert report.problems[-1].startswith("alive, but forgets its input after about ")
    assert all(reach > report.learning.reach for reach in report.learning.remedies.values())
    assert next(iter(report.learning.remedies)).startswith("a shortcut")
    assert learning(steep).verdict == "forgets"
    healthy = vf.audit(plain(5), inputs(), steps=STEPS)
    assert healthy.learning.verdict == "learns"
    assert healthy.healthy
    assert "healthy; it learns: " in repr(healthy)
    shortcuts = learning(Shortcuts(40))
    assert (shortcuts.verdict, shortcuts.structure, shortcuts.depth) == ("learns", "shortcuts", 40)


@pytest.mark.parametrize("structure", LIMITS)
def test_limits(structure):
    learned, failed = LIMITS[structure]
    at = lambda ratio: Learning(("a",), np.array([10 / ratio]), 10, structure)  # noqa: E731
    assert at(0.99 * learned).verdict == "learns"
    assert at(1.01 * learned).verdict == "unknown"
    assert at(1e9).verdict == ("forgets" if np.isfinite(failed) else "unknown")
    assert at(learned).reach == pytest.approx(10)
    header, row, words = repr(at(20.0)).splitlines()[1:]
    assert (header.split(), row.split()) == (["neuron", "coherence"], ["a", "0.500"])
    assert words.strip() == at(20.0).words
    nothing = Learning(("a", "b"), np.array([np.nan, -0.2]), 2, structure)
    assert (nothing.mean_coherence, nothing.reach) == (0.0, 0.0)


def test_normalisation_and_centred_weights_are_compared_with_their_like():
    assert learning(plain(6, norm=True)).structure == "batch normalisation"
    centred = plain(6)
    for weights in centred[2::2]:
        weights.weight.data -= weights.weight.data.mean(1, keepdim=True)
    assert learning(centred).structure == "centred weights"
    assert learning(plain(6)).structure == "plain"


def test_statistics_of_a_batch_are_held_fixed():
    """Normalised in train mode, as with the running statistics of that batch."""
    x = inputs()
    trained = plain(6, norm=True)
    evaluated = copy.deepcopy(trained)
    for norm in evaluated[1::3]:
        norm.momentum = None
    with torch.no_grad():
        vf.audit(evaluated, x, steps=STEPS)
        for module in evaluated[2::3]:
            module.reset_hidden() if hasattr(module, "reset_hidden") else module.reset_mem()
        for _ in range(STEPS):
            evaluated(x)
    for norm in evaluated[1::3]:
        norm.eval()
    np.testing.assert_allclose(learning(trained, x).coherence, learning(evaluated, x).coherence, atol=1e-6)
    assert trained[1].training
    assert trained[1].num_batches_tracked == 0


def test_no_verdict_without_life_inputs_or_gradients():
    assert learning(plain(6, gain=0.1)) is None
    assert learning(plain(6), inputs(1)) is None
    cut = plain(3)
    cut[3].register_forward_hook(lambda module, args, out: out.detach())
    with torch.inference_mode():
        assert learning(plain(3)) is None
    found = learning(cut)
    assert np.isnan(found.coherence[:2]).all()
    assert found.coherence[2] > 0


class Loop(nn.Module):
    """A layer of neurons that makes all steps itself."""

    def __init__(self, neuron):
        super().__init__()
        self.neuron = neuron

    def forward(self, currents):
        return torch.stack([self.neuron(I) for I in currents])


class Sequence(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.layers = nn.ModuleList(Loop(each) if isinstance(each, snntorch.Leaky) else each for each in model)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_a_loop_around_a_neuron_is_no_layer_of_its_own():
    x = inputs(12)
    by_step, at_once = plain(5), Sequence(plain(5))
    report = vf.audit(at_once, x.expand(STEPS, *x.shape))
    assert len(report.layers) == 5
    np.testing.assert_allclose(report.learning.coherence, learning(by_step, x).coherence, atol=1e-6)


class Rounded(nn.Linear):
    """Weights in whole numbers, of which there are no gradients."""

    def __init__(self, width):
        super().__init__(width, width, bias=False)
        whole = torch.randint(-9, 10, (width, width), generator=torch.Generator().manual_seed(2), dtype=torch.int8)
        self.weight = nn.Parameter(whole, requires_grad=False)

    def forward(self, x):
        return nn.functional.linear(x, self.weight.float() * GAIN / (5.5 * self.in_features**0.5))


def test_layers_of_whole_numbers_have_no_coherence():
    model = plain(4)
    model[4] = Rounded(100)
    found = learning(model)
    assert np.isnan(found.coherence).tolist() == [False, False, True, False]
    assert model[4].weight.dtype == torch.int8


def test_a_neuron_without_weights_does_not_hide_the_remedies():
    model = plain(60)
    model.insert(4, spiking())
    found = learning(model)
    assert found.verdict == "forgets"
    assert "a shortcut of currents around every layer" in found.remedies


def test_shortcuts_and_batch_normalisation_are_advised_where_they_brought_accuracy():
    shallow, middle = learning(plain(3)), learning(plain(10))
    assert (shallow.shallow, shallow.verdict, shallow.remedies) == (True, "learns", {})
    assert (middle.shallow, middle.verdict, list(middle.remedies)) == (
        False,
        "learns",
        ["a shortcut of currents around every layer"],
    )
    assert "; with which it may learn more: a shortcut of currents around every layer (up to " in middle.words
    convolutions = [nn.Conv2d(1, 8, 3, padding=1), spiking(), nn.Conv2d(8, 8, 3, padding=1), spiking(), nn.Flatten()]
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(*convolutions, nn.Linear(512, 5))
    vf.init.init_model(model, x, steps=STEPS, generator=torch.Generator().manual_seed(0))
    advised = vf.audit(model, x, steps=STEPS).learning
    assert list(advised.remedies) == ["batch normalisation between its convolutions and neurons"]
    assert advised.words.endswith("; with which it may learn more: batch normalisation between its convolutions and neurons")
    normed = nn.Sequential(convolutions[0], nn.BatchNorm2d(8), *convolutions[1:3], nn.BatchNorm2d(8), *convolutions[3:])
    assert vf.audit(normed, x, steps=STEPS).learning.remedies == {}
