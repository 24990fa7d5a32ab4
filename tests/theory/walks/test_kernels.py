"""Kernels of many inputs: against pairs, mpmath and published anchors; sampled ones against real matrices; Gram matrices."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

import varflow as vf

pytest.importorskip("torch")
from varflow.simulation.kernels import sampled_moments

PAPER = vf.gain(threshold=1.0)
L = vf.layers
module = import_module("varflow.kernels.kernel")  # its function has the same name
RNG = np.random.default_rng(5)
X = RNG.normal(size=(6, 40))


def pair(rho):
    """Two inputs of variance 1 with this correlation."""
    x = np.sqrt(2) * np.array([[1.0, 0.0], [rho, np.sqrt(1 - rho**2)]])
    return vf.drives.inputs(x, 1.0)


def net(depth=4, width=100, gain=PAPER, **options):
    return vf.Network(width=width, depth=depth, gain=gain, **options)


# Infinite width.


def test_two_inputs_follow_the_correlation_map():
    kernel, rho = vf.kernel(net(depth=30), pair(0.8)), 0.8
    for layer in range(1, 31):
        rho = vf.correlation_map(rho, threshold=1.0)
        assert kernel.overlap(layer)[0, 1] == pytest.approx(rho, rel=1e-13)
    assert kernel.overlap(30)[0, 1] == pytest.approx(vf.correlation_fixed_points(threshold=1.0)[0].overlap, rel=1e-8)
    assert (kernel.error, kernel.samples, kernel.repeats) == (None, None, None)


def test_inputs_of_different_norm_are_orthants():
    network = net(depth=2, bias_std=0.3)
    kernel = vf.kernel(network, X)
    C = kernel.network.drive.input_gain**2 * X @ X.T / 40
    for layer in (1, 2):
        h = 1 / np.sqrt(np.diagonal(C))
        for a, b in [(0, 0), (0, 1), (2, 5)]:
            rho = 1.0 if a == b else C[a, b] * h[a] * h[b]
            exact = float(vf.reference.orthant(h[a], h[b], rho, digits=18))
            assert kernel.moments[layer - 1, a, b] == pytest.approx(exact, rel=1e-12, abs=1e-15)
        C = PAPER**2 * kernel.moments[layer - 1] + 0.3**2


def test_the_diagonal_is_what_mean_field_says():
    network = net(depth=3, drive=vf.drives.inputs(X), mean_gain=-0.5, neuron=vf.Neuron(0.9))
    kernel = vf.kernel(network, X)
    rates = vf.mean_field(network).per_input["firing_rate"]
    own = np.diagonal(kernel.moments, axis1=1, axis2=2).T
    assert own == pytest.approx(rates, rel=1e-13)
    assert all(np.array_equal(M, M.T) for M in kernel.moments)


LEAKY = vf.Neuron(1.0, decay=0.5)
IN_TIME = {  # neuron, gain², overlap of rasters in layer 3 from input correlations 0.95 and 0, and in layer 20
    "memoryless": (vf.Neuron(1.0), 6.303, 0.473, 0.250, 0.274),
    "snnTorch 0.5": (vf.neurons.snntorch_leaky(0.5), 8.0, 0.506, 0.330, 0.435),
    "snnTorch 0.9": (vf.neurons.snntorch_leaky(0.9), 6.303, 0.740, 0.516, 0.656),
    "zero": (vf.Neuron(1.0, decay=0.5, reset="zero"), 6.303, 0.554, 0.353, 0.343),
    "none": (LEAKY, 6.303, 0.722, 0.533, 0.665),
}


@pytest.mark.parametrize("name", IN_TIME)
def test_rasters_of_ten_steps_have_the_anchored_overlaps(name):
    neuron, square, near, far, late = IN_TIME[name]
    network = net(depth=20, gain=square**0.5, neuron=neuron, steps=10)
    for rho, wanted in ((0.95, near), (0.0, far)):
        kernel = vf.kernel(network, pair(rho), points=2**11)
        assert kernel.raster_overlap(3)[0, 1] == pytest.approx(wanted, abs=0.005)
        assert kernel.raster_overlap(20)[0, 1] == pytest.approx(late, abs=0.005)
        if neuron.reset_rule.absent:
            assert kernel.error is None or kernel.error.max() < 1e-12
        else:
            assert 1e-5 < kernel.error.max() < 5e-3


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("reset", ["none", "subtract"])
def test_a_batch_in_parts_is_the_batch_at_once(monkeypatch, steps, reset):
    """Exactly, or within the errors of quasi-Monte Carlo."""
    network = net(depth=3, neuron=vf.Neuron(1.0, decay=0.5, reset=reset), steps=steps)
    whole = vf.kernel(network, X)
    monkeypatch.setattr(module, "LONGEST", 5 * steps)
    monkeypatch.setattr(module, "IN_TIME", 5 * steps)
    parts = vf.kernel(network, X)
    shape = (3, 6, 6) if steps == 1 else (3, 6, steps, 6, steps)
    assert whole.moments.shape == parts.moments.shape == shape
    if steps == 1 or reset == "none":
        assert parts.moments == pytest.approx(whole.moments, rel=0, abs=1e-13)
    else:
        assert np.all(np.abs(parts.moments - whole.moments) < 6 * np.hypot(parts.error, whole.error))
        assert parts.moments != pytest.approx(whole.moments, rel=0, abs=1e-13)


def test_equal_inputs_stay_equal_and_silent_ones_are_guarded():
    x = np.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])
    for kernel in (vf.kernel(net(depth=30), x), vf.kernel(net(depth=30, gain=4.0), x, repeats=2)):
        for layer in (1, 30):
            rho = kernel.overlap(layer)
            assert rho[0, 2] == rho[0, 0] == 1.0
            assert np.isnan(rho[1]).all()
            assert rho[0, 3] < 1
            assert np.isfinite(kernel.to_gram(layer)).all()


def test_moments_in_time_are_those_of_mean_field():
    """``M[a, t, a, s]``, with a delay."""
    neuron = vf.Neuron(1.0, decay=0.5, delay=1)
    x = RNG.normal(size=(2, 4, 30))
    network = net(depth=3, neuron=neuron, steps=4, drive=vf.drives.inputs(x))
    kernel, profile = vf.kernel(network, x), vf.mean_field(network)
    own = np.einsum("latas->lts", kernel.moments) / 2
    assert own == pytest.approx(profile.second_moments, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("merge", ["add", "iand"])
def test_moments_of_shortcuts_around_other_neurons_are_those_of_mean_field(merge):
    """The shortcut is exact, its branch is sampled, in more replicas."""
    layers, x = vf.layers, RNG.normal(size=(2, 4, 30))
    exact, sampled = (layers.Spike(vf.Neuron(1.2, decay=0.4, reset=reset)) for reset in ("none", "subtract"))
    branch = layers.Residual(layers.Linear(gain=2.1), sampled, merge=merge)
    network = vf.Network(
        layers=[layers.Linear(50, gain=1.6), exact, branch, layers.Linear(50, gain=2.4), exact],
        steps=4,
        drive=vf.drives.inputs(x),
    )
    kernel, profile = vf.kernel(network, x, scrambles=5), vf.mean_field(network, scrambles=5)
    own, error = np.einsum("latas->lts", kernel.moments) / 2, np.einsum("latas->lts", kernel.error) / 2
    assert own[0] == pytest.approx(profile.second_moments[0], rel=1e-12)
    assert np.all(np.abs(own - profile.second_moments) <= 6 * np.hypot(error, profile.error["second_moments"]) + 1e-12)


def test_a_batch_normalisation_needs_the_whole_batch():
    layers = [L.Linear(gain=2.0), L.BatchNorm(gamma=1.0), L.Spike(vf.Neuron(1.0))] * 2
    network = vf.Network(width=50, layers=layers, drive=vf.drives.inputs(X))
    kernel = vf.kernel(network, X)
    assert np.diagonal(kernel.moments, axis1=1, axis2=2).mean(1) == pytest.approx(vf.mean_field(network).firing_rate, rel=1e-12)
    two = vf.kernel(network, X[:2])
    assert two.moments[1, 0, 1] != pytest.approx(kernel.moments[1, 0, 1], abs=1e-3)


def test_maps_of_inputs_that_differ_in_norm_are_walked_in_parts(monkeypatch):
    """Moments are averages over positions; a part of the batch has another mean square than the whole."""
    x = RNG.normal(size=(3, 1, 5, 5)) * np.array([1.0, 1.5, 2.0])[:, None, None, None]
    layers = [L.Conv(8, gain=2.0), L.Spike(vf.Neuron(1.0)), L.Conv(8, gain=2.5), L.Spike(vf.Neuron(1.0))]
    network = vf.Network(layers=layers, drive=vf.drives.inputs(x))
    whole = vf.kernel(network, x)
    monkeypatch.setattr(module, "LONGEST", 60)
    assert vf.kernel(network, x).moments == pytest.approx(whole.moments, rel=0, abs=1e-14)
    monkeypatch.setattr("varflow.theory.walks.signals.AT_ONCE", 1)
    rates = vf.mean_field(network).per_input["firing_rate"]
    assert rates == pytest.approx(np.diagonal(whole.moments, axis1=1, axis2=2).T, rel=1e-12)


# Sampled networks.

SMALL = net(depth=3, width=60, gain=2.8)
NETWORKS = 600


def deviation(samples, wanted, errors=0.0):
    """The largest deviation of mean entries, in standard errors; ``errors`` of the wanted ones."""
    mean, error = samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    upper = np.triu_indices(mean.shape[-1])
    return float(np.abs((mean - wanted) / np.hypot(error, errors))[..., upper[0], upper[1]].max())


@pytest.fixture(scope="module")
def sampled():
    return vf.kernel(SMALL, X[:4], repeats=NETWORKS, seed=1)


@pytest.mark.parametrize("steps", [1, 3])
def test_sampled_kernels_are_those_of_real_matrices(steps):
    """Means and second moments over networks agree within 4.5 standard errors; a gain 10 % larger is rejected."""
    neuron = vf.Neuron(1.0, decay=0.5, reset="subtract") if steps > 1 else vf.Neuron(1.0)

    def found(gain, seed, engine="conditional"):
        network = net(depth=3, width=60, gain=gain, neuron=neuron, steps=steps, drive=vf.drives.inputs(X[:4]))
        return sampled_moments(network, repeats=NETWORKS, seed=seed, engine=engine)

    real, right, wrong = found(2.8, 2, "dense"), found(2.8, 1), found(1.1 * 2.8, 3)
    for moment in (1, 2):
        of_real = real**moment
        error = of_real.std(axis=0, ddof=1) / np.sqrt(NETWORKS)
        assert deviation(right**moment, of_real.mean(axis=0), error) < 4.5
        assert deviation(wrong**moment, of_real.mean(axis=0), error) > 6


def test_the_first_layer_is_that_of_infinite_width_on_average(sampled):
    """``E[M_1]`` has no correction; deeper layers differ by O(1/n), visible in 600 networks of width 60."""
    limit = vf.kernel(SMALL, X[:4]).moments
    assert deviation(sampled.samples[:, 0], limit[0]) < 4.5
    assert deviation(sampled.samples[:, 2], limit[2]) > 4.5


def test_wide_networks_approach_the_limit():
    """At width 2000 within 4.5 standard errors plus 10/n; an overlap 5 % larger is rejected."""
    kernel, limit = vf.kernel(net(depth=3, width=2000), X[:3], repeats=30), vf.kernel(net(depth=3), X[:3])
    allowed = 4.5 * kernel.error + 10 / 2000
    assert np.all(np.abs(kernel.moments - limit.moments) < allowed)
    assert np.any(np.abs(kernel.moments - 1.15 * limit.moments) > allowed)


SPIKE = L.Spike(vf.Neuron(1.0))
WIDE = {
    "added currents": [L.Residual(SPIKE, L.Linear(gain=2.0)), SPIKE],
    "merged spikes": [SPIKE, L.Residual(L.Linear(gain=2.5), SPIKE, merge="iand"), L.Linear(gain=2.5), SPIKE],
    "layer norm": [SPIKE, L.Linear(gain=2.5), L.LayerNorm(gamma=1.2), SPIKE],
    "centred rows": [SPIKE, L.Linear(gain=2.5, rows="centred", bias_std=0.4), SPIKE],
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_blocks_approach_the_limit(name):
    """As above, in the last layer."""
    network = vf.Network(width=1500, layers=WIDE[name])
    kernel, limit = vf.kernel(network, X[:3], repeats=24), vf.kernel(network, X[:3]).moments[-1]
    allowed = 4.5 * kernel.error[-1] + 10 / 1500
    assert np.all(np.abs(kernel.moments[-1] - limit) < allowed)
    assert np.any(np.abs(kernel.moments[-1] - 1.15 * limit) > allowed)


OTHERS = {
    "in time": net(depth=2, width=40, gain=3.0, steps=3, neuron=vf.Neuron(1.0, decay=0.5, reset="subtract")),
    "bias": net(depth=2, width=40, gain=2.0, bias_std=0.7),
    "weight mean": net(depth=2, width=40, gain=2.5, mean_gain=-1.0),
    "sign": net(depth=2, width=40, gain=2.5, weights="sign"),
    "fewer neurons than columns": net(depth=2, width=3, gain=3.0),
    "residual": vf.Network(width=40, layers=[L.Residual(L.Spike(vf.Neuron(1.0)), L.Linear(gain=2.0)), L.Spike(vf.Neuron(1.0))]),
    "recurrent": vf.Network(
        width=40,
        layers=[L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"), recurrent_gain=1.0), L.Linear(gain=3.0), L.Spike(vf.Neuron())],
        steps=3,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_are_sampled_as_they_are_simulated(name):
    """Each input's rate, against ``simulate`` of that input alone; rates 10 % lower (of three neurons 50 %) are rejected."""
    network, x = OTHERS[name], X[:3]
    kernel = vf.kernel(network, x, repeats=500, seed=4)
    alone = vf.simulate(kernel.network, repeats=1500, seed=5)
    samples = kernel.samples.reshape(500, network.depth, 3 * network.steps, 3 * network.steps)
    rates = np.diagonal(samples, axis1=-2, axis2=-1).reshape(500, network.depth, 3, network.steps)
    wanted = alone.firing_rate.reshape(500, 3, network.depth, network.steps).swapaxes(1, 2)
    difference = rates.mean(0) - wanted.mean(0)
    error = np.hypot(rates.std(0), wanted.std(0)) / np.sqrt(500)
    assert np.all(np.abs(difference) < 4.5 * error + 1e-12)
    wrong = (0.5 if network.width == 3 else 0.1) * wanted.mean(0)
    assert np.any(np.abs(difference + wrong) > 4.5 * error)


def test_more_networks_begin_with_the_same_ones():
    few, many = (vf.kernel(SMALL, X[:3], repeats=n, seed=7).samples for n in (3, 70))
    assert np.array_equal(few, many[:3])
    assert not np.array_equal(few, vf.kernel(SMALL, X[:3], repeats=3, seed=8).samples)


# Gram matrices.


@pytest.mark.parametrize("repeats", [None, 2])
def test_gram_matrices_are_symmetric_and_positive_semidefinite(repeats):
    network = net(depth=3, steps=3, neuron=vf.Neuron(1.0, decay=0.9, reset="subtract"), gain=3.0)
    kernel = vf.kernel(network, X, repeats=repeats, points=2**6, scrambles=2)
    for readout in ("counts", "raster", "last"):
        gram = kernel.to_gram(3, readout)
        assert gram.shape == (6, 6)
        assert np.array_equal(gram, gram.T)
        assert np.linalg.eigvalsh(gram).min() > -1e-12 * gram.max()
    M = kernel.moments[2]
    assert np.diagonal(kernel.to_gram(3, "last")) == pytest.approx(np.einsum("aa->a", M[:, -1, :, -1]), abs=2e-2)
    assert kernel.to_gram(3).sum() == pytest.approx(M.sum(), rel=2e-2)
    if repeats:
        assert np.mean([kernel.to_gram(2, sample=r) for r in range(2)], axis=0) == pytest.approx(kernel.to_gram(2), rel=1e-12)


def test_scikit_learn_takes_them():
    svm = pytest.importorskip("sklearn.svm")
    labels = np.arange(40) % 2
    x = RNG.normal(size=(2, 30))[labels] + 0.5 * RNG.normal(size=(40, 30))
    gram = vf.kernel(net(depth=2, width=300), x, repeats=1).to_gram(2)
    fitted = svm.SVC(kernel="precomputed").fit(gram[:20, :20], labels[:20])
    assert fitted.score(gram[20:, :20], labels[20:]) > 0.9
    assert fitted.score(gram[20:, :20], 1 - labels[20:]) < 0.1


def test_the_figure_says_that_infinite_width_is_a_bound():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    for repeats, said in ((None, "only an upper bound"), (2, "2 sampled networks of finite width")):
        kernel = vf.kernel(SMALL, X[:3], repeats=repeats)
        assert said in kernel.plot().get_title()
        assert ("upper bound" in repr(kernel)) is (repeats is None)
        pyplot.close("all")


BAD = [
    ({"network": 3}, "network=3"),
    ({"inputs": [1.0, 2.0]}, "inputs="),
    ({"inputs": [[0.0, 0.0]]}, "inputs=.*all zero"),
    ({"inputs": np.ones((2, 5, 3))}, "steps=5"),
    ({"repeats": 0}, "repeats=0"),
    ({"seed": -1}, "seed=-1"),
    ({"points": 100}, "points=100"),
    ({"scrambles": 1}, "scrambles=1"),
    ({"progress": 3}, "progress=3"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_bad_input(wrong, message):
    with pytest.raises(vf.DomainError, match=message):
        vf.kernel(**{"network": SMALL, "inputs": X[:2]} | wrong)


def test_bad_questions():
    kernel = vf.kernel(SMALL, X[:2])
    for ask, message in [
        (lambda: kernel.overlap(0), "layer=0"),
        (lambda: kernel.overlap(4), "layer=4 must be at most the depth"),
        (lambda: kernel.to_gram(1, "rate"), "readout='rate'"),
        (lambda: kernel.to_gram(1, sample=0), "sample=0 needs a kernel of sampled networks"),
        (lambda: vf.kernel(SMALL, X[:2], repeats=2).to_gram(1, sample=2), "sample=2 must be below 2"),
    ]:
        with pytest.raises(vf.DomainError, match=message):
            ask()


def test_a_network_that_begins_with_weights_brings_its_inputs():
    x, spike = np.random.default_rng(5).normal(size=(4, 12)), vf.layers.Spike(vf.Neuron(0.6))
    layers = [vf.layers.Linear(gain=1.7), spike, vf.layers.Linear(gain=2.2), spike]
    network = vf.Network(width=40, layers=layers, drive=vf.drives.inputs(x))
    plain = vf.Network(width=40, depth=2, gain=2.2, neuron=vf.Neuron(0.6))
    found = vf.kernel(network).moments
    assert np.array_equal(found, vf.kernel(plain, vf.drives.inputs(x, 1.7)).moments)
    assert not np.allclose(found, vf.kernel(plain, vf.drives.inputs(x, 1.6)).moments)
    assert np.array_equal(vf.kernel(replace(plain, drive=vf.drives.inputs(x))).moments, vf.kernel(plain, x).moments)
    with pytest.raises(vf.DomainError, match="inputs=None must be"):
        vf.kernel(plain)


@pytest.mark.parametrize("steps", [1, 3])
def test_inputs_keep_the_gain_of_the_first_weights(steps):
    x, other = np.random.default_rng(3).normal(size=(2, 4, 30))
    spike = vf.layers.Spike(vf.Neuron(1.0, decay=0.5 if steps > 1 else 0.0))
    chain = [vf.layers.Linear(gain=1.7), spike, vf.layers.Linear(gain=2.6), spike]
    own = vf.kernel(vf.Network(width=50, layers=chain, steps=steps, drive=vf.drives.inputs(x)))
    again = vf.kernel(vf.Network(width=50, layers=chain, steps=steps, drive=vf.drives.inputs(other)), x)
    plain = vf.Network(width=50, depth=2, gain=2.6, neuron=spike.neuron, steps=steps)
    np.testing.assert_array_equal(again.moments, own.moments)
    np.testing.assert_array_equal(own.moments, vf.kernel(plain, vf.drives.inputs(x, input_gain=1.7)).moments)
    assert (vf.kernel(plain, x).moments[0] != own.moments[0]).any(), "another gain is noticed"
