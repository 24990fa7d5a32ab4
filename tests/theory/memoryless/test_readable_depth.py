"""How deep a linear readout reaches: against scikit-learn's ridge, real matrices and published depths; splits; bad input."""

import numpy as np
import pytest

import varflow as vf
from varflow.kernels.kernel import _split, held_out_accuracy, sampled_grams

pytest.importorskip("torch")
from varflow.simulation.kernels import sampled_moments

RNG = np.random.default_rng(2)
LABELS = np.arange(120) % 3
X = RNG.normal(size=(3, 30))[LABELS] + 1.2 * RNG.normal(size=(120, 30))


def net(depth=9, width=150, threshold=1.0, **options):
    return vf.Network(width=width, depth=depth, gain=vf.gain(threshold=threshold), neuron=vf.Neuron(threshold), **options)


@pytest.fixture(scope="module")
def found():
    return vf.readable_depth(net(), X, LABELS, repeats=6)


def test_accuracy_falls_to_chance_within_a_few_layers(found):
    assert found.accuracies.shape == (6, 9)
    assert found.accuracy[0] > 0.8
    assert abs(found.accuracy[-1] - 1 / 3) < 5 * found.error[-1] + 0.03
    assert found.accuracy[found.deepest - 1] >= found.half > found.accuracy[found.deepest]
    assert found.deepest < found.depth < found.deepest + 1
    assert 0 < found.depth_error < 0.5
    assert found.half == pytest.approx((found.accuracy[0] + 1 / 3) / 2)
    assert not found.throughout


def test_shuffled_labels_cannot_be_read():
    """A control: layer 1 itself is not above chance."""
    found = vf.readable_depth(net(depth=2), X, RNG.permutation(LABELS), repeats=6)
    assert (found.deepest, found.depth) == (0, 0.0)


def test_infinite_width_is_an_upper_bound(found):
    limit = vf.readable_depth(net(), X, LABELS, repeats=6, infinite_width=True)
    assert np.all(limit.accuracy > found.accuracy - 3 * found.error)
    assert limit.accuracy[-1] > found.accuracy[-1] + 0.3
    assert limit.throughout
    assert limit.depth == 9
    assert "only an upper bound" in repr(limit)
    assert "upper bound" not in repr(found)


def test_real_matrices_have_the_same_accuracies():
    """Of 30 networks each, in layers 1 to 4, within 4.5 standard errors; those of a layer further are rejected."""
    kernel = vf.kernel(net(depth=4), X, repeats=30, seed=3)
    real = sampled_moments(kernel.network, repeats=30, seed=4, engine="dense")
    test = _split(LABELS, 0.5, np.random.default_rng(0))
    sampled, dense = (
        np.array([[held_out_accuracy(gram, LABELS, test, 1e-3) for gram in network] for network in found])
        for found in (kernel.samples, real)
    )
    error = np.hypot(sampled.std(0, ddof=1), dense.std(0, ddof=1)) / 30**0.5
    assert np.all(np.abs(sampled.mean(0) - dense.mean(0)) < 4.5 * error)
    assert np.any(np.abs(sampled.mean(0)[1:] - dense.mean(0)[:-1]) > 4.5 * error[1:])


def test_the_readout_is_kernel_ridge_regression():
    ridge = pytest.importorskip("sklearn.kernel_ridge")
    labels = np.repeat([0, 1, 2], [40, 50, 30])
    gram, test = X @ X.T, _split(labels, 0.4, np.random.default_rng(1))
    size = np.diagonal(gram)[~test].mean()
    targets = np.eye(3)[labels[~test]]
    targets = targets / targets.mean(axis=0) - 1
    fitted = ridge.KernelRidge(alpha=0.1, kernel="precomputed").fit(gram[np.ix_(~test, ~test)] / size, targets)
    right = fitted.predict(gram[np.ix_(test, ~test)] / size).argmax(axis=1) == labels[test]
    wanted = np.mean([right[labels[test] == one].mean() for one in range(3)])
    assert held_out_accuracy(gram, labels, test, 0.1) == pytest.approx(wanted, rel=1e-12)


def test_a_kernel_that_says_nothing_leaves_chance():
    labels = np.repeat([0, 1], [90, 10])
    for gram in (np.zeros((100, 100)), np.ones((100, 100))):
        assert held_out_accuracy(gram, labels, _split(labels, 0.5, np.random.default_rng(1)), 1e-3) == 0.5


def test_splits_keep_the_frequencies_of_the_classes():
    labels = np.repeat([0, 1, 2], [50, 20, 2])
    test = _split(labels, 0.3, np.random.default_rng(1))
    assert np.bincount(labels[test]).tolist() == [15, 6, 1]
    assert _split(labels, 0.999, np.random.default_rng(1)).sum() == 49 + 19 + 1


def test_labels_may_be_words_and_their_order_does_not_matter(found):
    words = np.array(["b", "c", "a"])[LABELS]
    again = vf.readable_depth(net(), X, words.tolist(), repeats=6)
    assert again.accuracies.shape == found.accuracies.shape
    assert again.accuracy == pytest.approx(found.accuracy, abs=6 * found.error.max())
    same = vf.readable_depth(net(), X, 10 * LABELS, repeats=6)
    assert np.array_equal(same.accuracies, found.accuracies)


def test_counts_say_more_than_the_last_step():
    """In the same networks with the same splits; the difference is above 4 of its standard errors."""
    leaky = vf.Network(width=300, depth=6, gain=2.83, neuron=vf.neurons.snntorch_leaky(0.5), steps=4)
    every, last = (
        vf.readable_depth(leaky, X[:60], LABELS[:60], repeats=8, readout=readout).accuracies for readout in ("counts", "last")
    )
    gained = (every - last)[:, 1:].mean(axis=1)
    assert gained.mean() > 4 * gained.std(ddof=1) / 8**0.5


def test_shown_drawn_and_written(found):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    told = found.to_dict()
    assert told["depth"] == found.depth
    assert told["infinite_width"] is False
    assert f"{found.depth:.2f}" in repr(found)
    assert f"{found.depth:.2f}" in found.plot().get_title()
    pyplot.close("all")


BAD = [
    ({"labels": LABELS[:-1]}, "labels=.*119 labels.* must have one for each of the 120 inputs"),
    ({"labels": np.zeros(120)}, "labels=.*at least two classes"),
    ({"labels": [*np.zeros(119), 1]}, "at least two inputs each"),
    ({"labels": None}, "labels=None must be a sequence of classes"),
    ({"labels": np.eye(120)}, "must be a sequence of classes"),
    ({"labels": [float("nan")] * 120}, "must be a sequence of classes"),
    ({"repeats": 0}, "repeats=0"),
    ({"held_out": 1.0}, "held_out=1.0"),
    ({"ridge": 0.0}, "ridge=0.0 must be positive"),
    ({"readout": "rate"}, "readout='rate' is unknown"),
    ({"infinite_width": 1}, "infinite_width=1 must be True or False"),
    ({"inputs": X[0]}, "inputs="),
]


@pytest.mark.parametrize(("wrong", "message"), BAD, ids=[f"{next(iter(wrong))} {n}" for n, (wrong, _) in enumerate(BAD)])
def test_bad_input(wrong, message):
    with pytest.raises(vf.DomainError, match=message):
        vf.readable_depth(**{"network": net(depth=2), "inputs": X, "labels": LABELS} | wrong)


@pytest.fixture(scope="module")
def digits():
    X, y = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    some = np.sort(np.random.default_rng(1).permutation(len(X))[:600])
    return X[some], y[some]


def test_digits_are_read_as_deep_as_published(digits):
    """4.4 layers at width 1000, of 3 networks with a standard deviation up to 0.04 in accuracy: ± 0.3 layers."""
    found = vf.readable_depth(net(depth=7, width=1000), *digits, held_out=2 / 3, repeats=2)
    assert found.depth == pytest.approx(4.4, abs=0.3)
    published = np.array([0.897, 0.742, 0.574, 0.364, 0.243])
    assert np.abs(found.accuracy[[0, 2, 3, 4, 5]] - published).max() < 0.06
    assert np.abs(found.accuracy[[1, 3, 4, 5, 6]] - published).max() > 0.06


@pytest.mark.slow
@pytest.mark.parametrize(("width", "depth"), [(2000, 5.3), (4000, 5.9)])
def test_less_than_one_layer_per_doubling(digits, width, depth):
    found = vf.readable_depth(net(depth=8, width=width), *digits, held_out=2 / 3, repeats=4)
    assert found.depth == pytest.approx(depth, abs=0.3)


@pytest.mark.parametrize("readout", ["counts", "raster", "last"])
def test_grams_of_sampled_networks_are_those_of_their_moments(readout):
    leaky = vf.Network(width=150, depth=3, gain=2.5, neuron=vf.Neuron(0.8, decay=0.6, reset="subtract"), steps=4)
    x = np.concatenate([X[:20], X[:5]])  # some inputs twice
    kernel = vf.kernel(leaky, x, repeats=3, seed=5)
    grams = sampled_grams(kernel.network, repeats=3, seed=5, readout=readout)
    for sample in range(3):
        for layer in range(3):
            np.testing.assert_allclose(grams[sample, layer], kernel.to_gram(layer + 1, readout, sample), rtol=1e-6, atol=1e-9)
    assert (grams[:, :, 0] == grams[:, :, 20]).all()
