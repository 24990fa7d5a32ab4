"""The conditional engine against dense networks, entry by entry, and against distributions written down here at tiny width.

Two samples of networks are compared through their means and mean squares; every comparison has controls that must fail:
a wrong gain, and uniform weights at a width where their distribution is another.
"""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

import varflow as vf

torch = pytest.importorskip("torch")

from varflow.simulation import simulate  # noqa: E402
from varflow.simulation.conditional import factor  # noqa: E402

K = 5.0  # standard errors, for the largest of some 600 comparisons: one honest test in 3000 fails
NAMES = ("variance", "firing_rate", "potential_mean", "second_moments")
FRAMES = np.random.default_rng(6).random((2, 4, 15)) * 2


def network(width=16, depth=3, gain=2.4, steps=4, threshold=0.6, neuron=(), **options):
    return vf.Network(width=width, depth=depth, gain=gain, steps=steps, neuron=vf.Neuron(threshold, **dict(neuron)), **options)


def moments(ensemble):
    """Everything measured, and its square, one row per network."""
    found = [getattr(ensemble, name) for name in NAMES if getattr(ensemble, name) is not None]
    rows = np.concatenate([values.reshape(len(values), -1) for values in found], axis=1)
    return np.concatenate([rows, rows**2], axis=1)


def largest_z(one, other):
    """Of the differences of two independent samples; entries that never vary must be equal."""
    one, other = moments(one), moments(other)
    error = np.sqrt(one.var(axis=0, ddof=1) / len(one) + other.var(axis=0, ddof=1) / len(other))
    difference = np.abs(one.mean(axis=0) - other.mean(axis=0))
    scale = np.abs(one).mean(axis=0)
    still = error <= 1e-12 * scale
    assert np.allclose(difference[still], 0, atol=1e-6)
    return (difference[~still] / error[~still]).max()


DESCRIPTIONS = [
    network(steps=1),
    network(steps=1, bias_std=0.3, mean_gain=0.8, threshold=0.4),
    network(steps=1, neuron={"reset": "multi_spike"}, gain=1.2),
    network(neuron={"decay": 0.5}),
    network(neuron={"decay": 0.5, "reset": "delayed_subtract"}, mean_gain=0.7),
    network(neuron={"decay": 0.8, "reset": "subtract", "input_scale": 0.7}, bias_std=0.4),
    network(neuron={"decay": 0.8, "reset": "zero", "delay": 1}, bias_std=0.2),
    network(neuron={"decay": 0.6, "reset": "gate", "synaptic_decay": 0.4}, drive=vf.drives.white(1.2)),
    network(neuron={"decay": 0.6, "reset": "multi_spike", "delay": 1}, gain=1.4, mean_gain=0.3),
    network((20, 12, 30), neuron={"decay": 0.3, "reset": "zero"}, drive=vf.drives.inputs(FRAMES[:, 0])),
    network(neuron={"decay": 0.3, "reset": "zero"}, drive=vf.drives.inputs(FRAMES)),
    network(neuron={"decay": 0.3}, drive=vf.drives.spikes([0.2] * 10 + [0.8] * 5)),
    network(neuron={"decay": 0.3}, drive=vf.drives.spikes([0.2] * 10 + [1.5] * 5, kind="poisson")),
    network(
        neuron={"decay": 0.7, "reset": "zero"}, drive=vf.drives.given([[1.0], [0.2], [0.0], [3.0]] * np.linspace(0, 1, 16))
    ),
]


class TestEqualInDistribution:
    @pytest.mark.parametrize("described", DESCRIPTIONS, ids=repr)
    def test_every_entry(self, described):
        dense = simulate(described, repeats=3000, seed=1)
        conditional = simulate(described, repeats=3000, seed=1, engine="conditional")
        assert (conditional.engine, dense.engine) == ("conditional", "dense")
        assert largest_z(dense, conditional) < K
        options = {name: getattr(described, name) for name in ("width", "depth", "neuron", "bias_std", "mean_gain", "steps")}
        wrong = vf.Network(**options, gain=1.12 * described.gain, drive=described.drive)
        assert largest_z(dense, simulate(wrong, repeats=3000, seed=1, engine="conditional")) > K

    def test_uniform_weights_have_another_distribution(self):
        neuron = {"decay": 0.5, "reset": "zero"}
        normal, uniform = (
            network(5, neuron=neuron, steps=3, weights=distribution, threshold=1.0) for distribution in ("normal", "uniform")
        )
        conditional = simulate(normal, repeats=20000, engine="conditional")
        assert largest_z(simulate(normal, repeats=20000, seed=1), conditional) < K
        assert largest_z(simulate(uniform, repeats=20000, seed=1), conditional) > K

    @pytest.mark.parametrize(("width", "bias_std"), [(3, 0.0), (2, 0.7), (1, 0.5)])
    def test_counts_of_three_layers(self, width, bias_std):
        """``K' | K ~ Binomial(n, Q(θ/√(g² K/n + σ_b²)))``, joint distribution of all three counts."""
        described = network(width, gain=2.0, steps=1, threshold=0.8, bias_std=bias_std)
        ensemble = simulate(described, repeats=20000, seed=3, engine="conditional")
        counts = np.round(ensemble.spikes).astype(int)
        found = np.zeros((width + 1,) * 3)
        np.add.at(found, tuple(counts.T), 1)

        def distribution(gain):
            k = np.arange(width + 1)
            std = np.sqrt(gain**2 * k / width + bias_std**2)
            with np.errstate(divide="ignore"):
                step = binom.pmf(k[None, :], width, norm.sf(0.8 / std)[:, None])
            first = binom.pmf(k, width, norm.sf(0.8))
            return first[:, None, None] * step[:, :, None] * step[None, :, :]

        def z(chance):
            error = np.sqrt(20000 * chance * (1 - chance))
            assert (found[chance == 0] == 0).all()
            often = 20000 * chance > 30
            return np.abs((found - 20000 * chance)[often] / error[often]).max()

        assert z(distribution(2.0)) < K
        assert z(distribution(3.5)) > K

    def test_two_steps_of_one_input(self):
        """Width 2, two steps: from the joint distribution of two currents whose covariance is the Gram matrix."""
        drive = vf.drives.inputs([[[1.0, 2.0], [2.0, -1.0]]], input_gain=1.0)
        ensemble = simulate(network(4, depth=1, steps=2, threshold=0.5, drive=drive), repeats=20000, engine="conditional")
        together = ensemble.second_moments[:, 0, 0, 1]
        chance = norm.sf(0.5 / math.sqrt(2.5)) ** 2  # the two frames are orthogonal
        error = math.sqrt(chance * (1 - chance) / 80000)
        assert abs(together.mean() - chance) < K * error
        assert abs(together.mean() - 1.1 * chance) > K * error


class TestCovariance:
    def test_the_factor_has_the_given_product(self):
        raster = (np.random.default_rng(1).random((7, 20, 50)) < 0.3).astype(float)
        raster[:, 3] = 0  # a silent step
        raster[:, 5] = raster[:, 4]  # and a repeated one
        raster[2] = 0
        gram = torch.from_numpy(raster @ raster.swapaxes(1, 2))
        root = factor(gram)
        np.testing.assert_allclose(root @ root.mT, gram, atol=1e-9)
        assert not root[:, 3].any()
        assert not root[2].any()

    def test_constant_activity_has_constant_currents(self):
        ensemble = simulate(network(100, depth=4), repeats=20, engine="conditional")
        np.testing.assert_allclose(ensemble.variance, ensemble.variance[..., :1] * np.ones(4), rtol=1e-4)
        assert (ensemble.firing_rate == ensemble.firing_rate[..., :1]).mean() > 0.99

    def test_silent_steps_are_exactly_silent(self):
        ensemble = simulate(network(100, depth=3, neuron={"delay": 1}), repeats=20, engine="conditional")
        assert not ensemble.variance[:, 1, 0].any()
        assert not ensemble.variance[:, 2, :2].any()
        assert (ensemble.variance[:, 2, 2:] > 0).all()


COMPANY = [
    network(steps=1),
    network(300, neuron={"decay": 0.5, "reset": "zero"}, threshold=1.0),
    network(neuron={"decay": 0.5, "reset": "multi_spike"}),
    network((20, 12, 30), neuron={"decay": 0.3}, drive=vf.drives.inputs(FRAMES)),
    network(neuron={"decay": 0.3}, drive=vf.drives.spikes([[0.2] * 5, [0.6] * 5])),
    network(4, neuron={"decay": 0.3}),
    network(40, neuron={"decay": 0.6, "reset": "gate", "synaptic_decay": 0.4, "delay": 1}, drive=vf.drives.white(1.5)),
    network(40, neuron={"decay": 0.9, "reset": "delayed_subtract"}, bias_std=0.3, mean_gain=0.5),
    network(neuron={"decay": 0.3}, drive=vf.drives.spikes([0.4] * 9, kind="poisson")),
    network(neuron={"decay": 0.3, "reset": "subtract"}, drive=vf.drives.given([1.0, 0.0, 0.5, 2.0])),
    network(50, depth=30, threshold=1.0, steps=1),
]


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
        for name in NAMES
        if getattr(one, name) is not None
    )


class TestReproducibility:
    def test_threads_company_and_repeats(self):
        reference = simulate(COMPANY, repeats=70, seed=4, engine="conditional", threads=1)
        assert all(map(same, simulate(COMPANY[::-1], repeats=70, seed=4, engine="conditional", threads=3)[::-1], reference))
        for described, ensemble in zip(COMPANY, reference, strict=True):
            alone = simulate(described, repeats=37, seed=4, engine="conditional")
            assert all(
                np.array_equal(getattr(alone, name), getattr(ensemble, name)[:37], equal_nan=True)
                for name in NAMES
                if getattr(alone, name) is not None
            )
        assert not same(simulate(COMPANY[0], repeats=70, seed=5, engine="conditional"), reference[0])
        assert len(np.unique(reference[1].variance[:, 2, 3])) == 70

    def test_threads_inside_torch(self):
        before = torch.get_num_threads()
        try:
            found = []
            for threads in (1, 3):
                torch.set_num_threads(threads)
                found.append(simulate(COMPANY, repeats=33, seed=4, engine="conditional"))
        finally:
            torch.set_num_threads(before)
        assert all(map(same, *found))

    def test_as_many_steps_as_neurons_are_drawn_densely(self):
        narrow = COMPANY[5]
        assert same(simulate(narrow, repeats=9, engine="conditional"), simulate(narrow, repeats=9))
        wider = network(5, neuron={"decay": 0.3})
        assert not same(simulate(wider, repeats=9, engine="conditional"), simulate(wider, repeats=9))

    def test_double_precision(self):
        single, double = (
            simulate(network(threshold=t, gain=2.4 * t / 0.6, drive=vf.drives.currents(t)), repeats=9, engine="conditional")
            for t in (0.6, 1e-60)
        )
        assert np.isfinite(double.variance).all()
        assert double.firing_rate.any()
        assert single.dtype == double.dtype == "float32"

    def test_silence_costs_nothing(self, monkeypatch):
        drawn, draw = [], torch.Tensor.normal_

        def counted(tensor, **options):
            drawn.append(tensor.numel())
            return draw(tensor, **options)

        monkeypatch.setattr(torch.Tensor, "normal_", counted)
        ensemble = simulate(network(100, depth=200, gain=2.3, threshold=1.0, steps=1), repeats=128, engine="conditional")
        alive = (ensemble.firing_rate > 0).sum(axis=0)
        last = int(np.flatnonzero(alive).max())
        assert last < 199
        assert drawn == [12800, *(100 * alive[: last + 1])]
        assert not ensemble.variance[:, last + 2 :].any()


class TestDoor:
    @pytest.mark.parametrize("distribution", ["uniform", "sign", vf.weights.sparse(0.5)], ids=repr)
    def test_other_weights_are_refused_by_name(self, distribution):
        with pytest.raises(vf.DomainError, match=r"weights=.* must be normal .*use engine='dense'"):
            simulate(network(weights=distribution), engine="conditional")

    def test_explosions_are_named(self):
        described = network(gain=1e3, depth=150, threshold=1e-3, steps=1, neuron={"reset": "multi_spike"})
        with pytest.raises(vf.DomainError, match=r"gain=1000.0 .* double precision"):
            simulate(described, repeats=2, engine="conditional")
