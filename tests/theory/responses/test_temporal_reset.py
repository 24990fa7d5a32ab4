"""Mean field in time with reset: quasi-Monte Carlo against plain Monte Carlo, orthants, identities and published anchors.

Standard errors come from 8 scrambles, so a deviation in their unit follows Student's t with 7 degrees of freedom.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

import varflow as vf
from varflow.theory.responses.exact_averages import expected_spikes, rank_one
from varflow.theory.responses.layer_state import LayerState
from varflow.theory.responses.quasi_monte_carlo import JITTER, QuasiMonteCarlo, causal_factor, normal_points
from varflow.theory.responses.step import stepped

RESETS = tuple(vf.resets.FAMILIES)
ROUNDING = 3e-6  # single precision through a few layers; the first step has no other error
FAR = 8.0  # standard errors of 8 scrambles: beyond it with probability 1e-4
QMC = {"method": "quasi_monte_carlo"}


def net(reset, steps=5, depth=4, gain=8**0.5, **options):
    neuron = {name: options.pop(name) for name in list(options) if name in vf.Neuron.__dataclass_fields__}
    neuron = vf.Neuron(**({"decay": 0.5} | neuron), reset=reset)
    return vf.Network(width=100, depth=depth, gain=gain, steps=steps, neuron=neuron, **options)


def deviation(profile, exact, name):
    """Largest distance from exact values, in standard errors."""
    distance, error = np.abs(getattr(profile, name) - exact), profile.error[name]
    return float(np.max(distance / (error + ROUNDING)))


# One layer.


def plain(neuron, mean, covariance, samples, rng):
    """The table of updates, word for word, on drawn currents: means of H, H², S and S Sᵀ with their standard errors."""
    c = rng.multivariate_normal(mean, covariance, samples, method="eigh").T
    beta, theta = neuron.decay, neuron.threshold
    H, S = np.zeros(c.shape), np.zeros(c.shape)
    h = s = np.zeros(samples)
    for t in range(len(c)):
        h = {
            "none": beta * h + c[t],
            "subtract": beta * (h - theta * s) + c[t],
            "delayed_subtract": beta * h - theta * s + c[t],
            "zero": beta * h * (1 - s) + c[t],
            "gate": (beta * h + c[t]) * (1 - s),
            "multi_spike": beta * (h - theta * s) + c[t],
        }[neuron.reset]
        s = np.floor(np.maximum(h / theta, 0)) if neuron.reset == "multi_spike" else np.where(h > theta, 1.0, 0.0)
        H[t], S[t] = h, s
    parts = [H, (H - H.mean(axis=1, keepdims=True)) ** 2, S, S[:, None] * S[None]]
    return [(part.mean(axis=-1), part.std(axis=-1) / samples**0.5) for part in parts]


@pytest.mark.parametrize("threshold", [1.0, -0.2])
@pytest.mark.parametrize("reset", RESETS)
def test_a_layer_against_plain_monte_carlo(reset, threshold):
    threshold = abs(threshold) if reset == "multi_spike" else threshold
    rng, steps = np.random.default_rng(3), 5
    root = rng.standard_normal((steps, 3))
    mean, covariance = rng.standard_normal(steps) * 0.3, root @ root.T / 4 + np.diag([1, 0.5, 0, 0.3, 0])
    neuron = vf.Neuron(threshold, decay=0.7, reset=reset)
    response = QuasiMonteCarlo(neuron, normal_points(steps, points=2**11, scrambles=8, seed=1), seed=1)
    state = response(mean[None, None], covariance[None, None], layer=2)
    drawn = plain(neuron, mean, covariance, 60_000, rng)
    names = ("potential_mean", "variance", "firing_rate", "second_moments")
    for name, (value, error) in zip(names, drawn, strict=True):
        both = np.hypot(error, getattr(state, name)[:, 0].std(axis=0, ddof=1) / 8**0.5) + 1e-9
        assert np.max(np.abs(getattr(state, name).mean(axis=(0, 1)) - value) / both) < 5, name
    wrong = plain(vf.Neuron(threshold + 0.1, decay=0.7, reset=reset), mean, covariance, 60_000, rng)[2]
    assert np.max(np.abs(state.firing_rate.mean(axis=(0, 1)) - wrong[0]) / np.hypot(*[wrong[1]] * 2)) > 5


@pytest.mark.parametrize("threshold", [1.0, -0.2])
@pytest.mark.parametrize("reset", RESETS)
def test_currents_of_rank_one_against_a_fine_grid(reset, threshold):
    """One number a neuron: midpoints of equal probability, wrong by less than a cell at each of the few kinks."""
    neuron = vf.Neuron(abs(threshold) if reset == "multi_spike" else threshold, decay=0.8, reset=reset)
    mean, direction = np.array([0.1, -0.3, 0.4, 0.0, 0.2, 0.1]), np.array([1.0, 0.5, -0.4, 1.2, 0.0, 0.8])
    beside = np.array([mean + 0.01, mean]), np.array([0.3 * direction, direction])
    variance, potential, rate, second_moments = (found[1] for found in rank_one(neuron, *beside, len(mean)))
    cells = 400_000
    z = special.ndtri((np.arange(cells) + 0.5) / cells)
    H, S = stepped(neuron, mean[:, None] + direction[:, None] * z)
    largest = 1 + second_moments.max()
    assert potential == pytest.approx(H.mean(axis=1), abs=1e-4 * largest)
    assert variance == pytest.approx(H.var(axis=1), abs=3e-4 * largest)
    assert rate == pytest.approx(S.mean(axis=1), abs=1e-4 * largest)
    assert second_moments == pytest.approx(S @ S.T / cells, abs=1e-4 * largest)
    assert rank_one(neuron, mean[None] + 0.01, direction[None], len(mean))[2][0] != pytest.approx(
        S.mean(axis=1), abs=1e-4 * largest
    )


def test_currents_of_rank_one_in_too_many_pieces_are_sampled():
    """Counts of a hundred thousand: the first has mean ``σ/√(2π)`` within a half; a thousandth more is rejected."""
    neuron, std = vf.Neuron(1.0, decay=0.5, reset="multi_spike"), 1e5
    assert rank_one(neuron, np.zeros((1, 2)), np.full((1, 2), std), 2) is None
    response = QuasiMonteCarlo(neuron, normal_points(2, points=2**11, scrambles=8, seed=1), seed=1)
    rate = response(np.zeros((1, 1, 2)), np.full((1, 1, 2, 2), std**2), layer=2).firing_rate[:, 0, 0]
    allowed = 4 * rate.std(ddof=1) / 8**0.5 + 0.5
    right = std / np.sqrt(2 * np.pi)
    assert abs(rate.mean() - right) < allowed < abs(rate.mean() - 1.001 * right) / 2


@pytest.mark.parametrize("rank", [0, 1, 2, 5, 8])
def test_the_causal_factor_holds_for_any_rank(rank):
    root = np.random.default_rng(rank).standard_normal((8, rank))
    factor = causal_factor(root @ root.T)
    assert np.array_equal(factor, np.tril(factor))
    rounding = 1e-14 * (1 + (root**2).sum(axis=1).max())
    assert factor @ factor.T == pytest.approx(root @ root.T, rel=1.1 * JITTER, abs=rounding)
    assert (factor.diagonal() >= 0).all()


# Measured with independent code, β = 0.5, θ = 1, unit input: variance and rate, white then constant, to about the digits given.
STATIONARY = {
    "none": (1.333, 0.193, 4.00, 0.3085),
    "subtract": (1.208, 0.148, 2.96, 0.232),
    "delayed_subtract": (1.182, 0.125, 2.47, 0.176),
    "zero": (1.178, 0.133, 2.51, 0.222),
    "gate": (1.044, 0.117, 2.11, 0.122),
}


@pytest.mark.parametrize("reset", STATIONARY)
def test_stationary_moments_of_a_driven_layer(reset):
    white, constant = STATIONARY[reset][:2], STATIONARY[reset][2:]
    for drive, (variance, rate) in ((vf.drives.white(), white), (vf.drives.currents(), constant)):
        profile = vf.mean_field(net(reset, steps=40, depth=1, drive=drive), points=2**12, **QMC)
        late = slice(-24, None)  # neurons under one constant current fire in step: average over periods of 2, 3, 4, 6, 8 and 12
        error = {name: profile.error[name][0, late].max() for name in ("variance", "firing_rate")}
        assert profile.variance[0, late].mean() == pytest.approx(variance, abs=0.012 + FAR * error["variance"])
        assert profile.firing_rate[0, late].mean() == pytest.approx(rate, abs=0.0012 + FAR * error["firing_rate"])


# Through the layers.


@pytest.mark.parametrize("reset", RESETS[:-1])
def test_the_first_step_is_the_memoryless_layer(reset):
    profile = vf.mean_field(net(reset, steps=3, depth=6, bias_std=0.2, mean_gain=0.4), points=2**11, **QMC)
    once = vf.mean_field(vf.Network(width=100, depth=6, gain=8**0.5, bias_std=0.2, mean_gain=0.4))
    off = vf.mean_field(vf.Network(width=100, depth=6, gain=8.2**0.5, bias_std=0.2, mean_gain=0.4))
    first = {name: profile.error[name][:, 0] for name in ("variance", "firing_rate")}
    for name, error in first.items():
        distance = np.abs(getattr(profile, name)[:, 0] - getattr(once, name)) / (error + ROUNDING * (1 + getattr(once, name)))
        assert distance.max() < FAR
        assert (np.abs(getattr(profile, name)[:, 0] - getattr(off, name)) / (error + ROUNDING))[1:].min() > FAR


@pytest.mark.parametrize("options", [{}, {"delay": 1, "synaptic_decay": 0.4, "mean_gain": 0.5, "bias_std": 0.3}])
def test_without_reset_it_gives_the_orthants(options):
    network = net("none", depth=8, **options)
    exact, drawn = vf.mean_field(network), vf.mean_field(network, points=2**12, **QMC)
    for name in ("firing_rate", "potential_mean", "variance", "second_moments"):
        assert deviation(drawn, getattr(exact, name), name) < FAR
    other = vf.mean_field(net("none", depth=8, gain=8.1**0.5, **options))
    assert deviation(drawn, other.variance, "variance") > FAR


@pytest.mark.parametrize(("reset", "other"), [("delayed_subtract", "subtract"), ("subtract", "delayed_subtract")])
def test_the_mean_potential_obeys_its_exact_recursion(reset, other):
    profile = vf.mean_field(net(reset, steps=8, depth=5), points=2**12)
    H, p = profile.potential_mean[:, :-1], profile.firing_rate[:, :-1]
    expected = {"delayed_subtract": 0.5 * H - p, "subtract": 0.5 * (H - p)}
    error = profile.error["potential_mean"]
    error = error[:, 1:] + 0.5 * error[:, :-1] + profile.error["firing_rate"][:, :-1] + ROUNDING
    assert np.max(np.abs(profile.potential_mean[:, 1:] - expected[reset]) / error) < FAR
    assert np.max(np.abs(profile.potential_mean[:, 1:] - expected[other]) / error) > FAR


def test_the_answer_scales_with_the_threshold():
    one = vf.mean_field(net("zero"), points=2**9)
    for unit in (1e-15, 1e15):
        drive = vf.drives.currents(unit)
        scaled = vf.mean_field(net("zero", threshold=unit, gain=unit * 8**0.5, drive=drive), points=2**9)
        assert scaled.firing_rate == pytest.approx(one.firing_rate, rel=1e-3)
        assert scaled.variance == pytest.approx(unit**2 * one.variance, rel=1e-3)


def test_silence_and_runaway():
    silent = vf.mean_field(net("zero", gain=1.0, depth=30), points=2**9)
    assert (silent.firing_rate[-1] == 0).all()
    assert (silent.survival[-1] == 0).all()
    with pytest.raises(vf.ConvergenceError, match="grows without bound"):
        vf.mean_field(net("multi_spike", gain=5.0, depth=60), points=2**9)


def test_scrambles_that_disagree_on_life_show_in_survival():
    """Close to the saddle-node, with few points: some replicas die."""
    profile = vf.mean_field(net("delayed_subtract", steps=20, depth=100, gain=6.7**0.5), points=2**7, scrambles=12)
    last = profile.survival[-1, 11:]
    assert ((last > 0) & (last < 1)).any()
    disputed = (profile.survival[-1] > 0) & (profile.survival[-1] < 1)
    assert (profile.error["firing_rate"][-1, disputed] > 0.01).all()


# Errors and reproducibility.


class Biased(QuasiMonteCarlo):
    """A response that counts one coincidence in a hundred too many."""

    def __call__(self, *parts):
        state = super().__call__(*parts)
        return LayerState(state.variance, state.potential_mean, 1.01 * state.firing_rate, 1.01 * state.second_moments)


def test_stated_errors_have_the_right_size(monkeypatch):
    """Over seeds the deviations from a fine answer, in their stated standard errors, follow Student's t."""
    network = net("delayed_subtract", steps=3, depth=3)
    fine = vf.mean_field(network, points=2**15, seed=99).firing_rate[-1, -1]
    right, wrong = [], []
    for seed in range(40):
        for values, response in ((right, QuasiMonteCarlo), (wrong, Biased)):
            monkeypatch.setattr("varflow.theory.responses.neurons.QuasiMonteCarlo", response)
            answer = vf.mean_field(network, points=2**9, scrambles=8, seed=seed)
            values.append((answer.firing_rate[-1, -1] - fine) / answer.error["firing_rate"][-1, -1])
    assert stats.kstest(right, stats.t(7).cdf).pvalue > 1e-3
    assert stats.kstest(wrong, stats.t(7).cdf).pvalue < 1e-6


def test_the_grain_of_the_points_is_in_the_error():
    """The first step is the same in all scrambles, and so is every rounding of theirs; layer 1 needs no points."""
    network = net("multi_spike", steps=4, depth=3, gain=3.0)
    for points in (2**4, 2**9):
        error = vf.mean_field(network, points=points, scrambles=4).error
        assert all(not error[name][0].any() for name in error)
        assert all(error[name][1:].min() >= 0.999 / (points * 4**0.5) for name in ("firing_rate", "second_moments"))
    assert error["firing_rate"][1, 0] < 1.5 / (points * 4**0.5)


def test_results_depend_on_the_seed():
    one, again, other = (vf.mean_field(net("zero", steps=6), points=2**9, scrambles=5, seed=seed) for seed in (4, 4, 5))
    for name in ("variance", "firing_rate", "second_moments"):
        assert np.array_equal(getattr(again, name), getattr(one, name))
        assert not np.array_equal(getattr(other, name), getattr(one, name))


@pytest.mark.parametrize("points", [0, 3, 1000, -4])
def test_points_come_in_powers_of_two(points):
    with pytest.raises(vf.DomainError, match="points"):
        vf.mean_field(net("zero"), points=points)


# Anchors, found before with other code: layer 40, last steps, to the digits given. A variance of 4.73 given with the second is
# left out: it is not confirmed by the plain Monte Carlo below.
ANCHORS = [
    ("delayed_subtract", 8.0, 0.190, 2.50),
    ("delayed_subtract", 10.0, 0.247, None),
    ("zero", 6.303, 0.160, 1.62),
]


@pytest.mark.slow
@pytest.mark.parametrize(("reset", "squared_gain", "rate", "variance"), ANCHORS)
def test_anchors_at_depth(reset, squared_gain, rate, variance):
    profile = vf.mean_field(net(reset, steps=20, depth=40, gain=squared_gain**0.5))
    rate_error, variance_error = profile.error["firing_rate"][-1, -1], profile.error["variance"][-1, -1]
    assert profile.firing_rate[-1, -1] == pytest.approx(rate, abs=0.0005 + FAR * rate_error)
    if variance is not None:
        assert profile.variance[-1, -1] == pytest.approx(variance, abs=0.005 + FAR * variance_error)
    assert rate_error < 2e-3


@pytest.mark.slow
def test_depth_against_plain_monte_carlo():
    """Forty layers of drawn neurons, second moments from raw spikes; six copies of the whole say how far each is off."""
    neuron, squared_gain = vf.Neuron(1.0, decay=0.5, reset="delayed_subtract"), 10.0
    profile = vf.mean_field(net("delayed_subtract", steps=20, depth=40, gain=squared_gain**0.5))
    copies = []
    for seed in range(6):
        rng, covariance = np.random.default_rng(seed), np.ones((20, 20))
        for _ in range(40):
            (_, variance, rate, second_moments) = plain(neuron, np.zeros(20), covariance, 50_000, rng)
            covariance = squared_gain * second_moments[0]
        copies.append([variance[0][10:].mean(), rate[0][10:].mean()])
    drawn, error = np.mean(copies, axis=0), np.std(copies, axis=0, ddof=1) / 6**0.5
    late = np.array([profile.variance[-1, 10:].mean(), profile.firing_rate[-1, 10:].mean()])
    ours = np.array([profile.error[name][-1, 10:].max() for name in ("variance", "firing_rate")])
    assert np.max(np.abs(late - drawn) / np.hypot(error, ours)) < FAR
    off = vf.mean_field(net("delayed_subtract", steps=20, depth=40, gain=1.02 * squared_gain**0.5), points=2**12)
    assert abs(off.variance[-1, 10:].mean() - drawn[0]) / np.hypot(error[0], ours[0]) > FAR


@pytest.mark.slow
def test_a_thousand_steps_are_those_of_real_networks():
    """20 layers, late half, mean over layers 5 to 20; a theory 8 % off is rejected. The first step has the exact map."""
    network = vf.Network(width=1000, depth=20, gain=8**0.5, steps=1000, neuron=vf.Neuron(decay=0.5, reset="subtract"))
    network = replace(network, drive=vf.drives.white())
    profile, ensemble = vf.mean_field(network), vf.simulate(network, repeats=4, seed=1)
    for name in ("firing_rate", "variance"):
        each = getattr(ensemble, name)[:, 4:, 500:].mean(axis=(1, 2))
        error = np.hypot(each.std(ddof=1) / 2, profile.error[name][4:, 500:].mean())
        predicted = getattr(profile, name)[4:, 500:].mean()
        assert abs(predicted - each.mean()) < 5 * error  # of 4 networks: Student's t with 3 degrees of freedom
        assert abs(0.92 * predicted - each.mean()) > 5 * error
    first = vf.mean_field(vf.Network(width=1000, depth=20, gain=8**0.5)).firing_rate
    assert profile.firing_rate[:, 0] == pytest.approx(first, abs=4 * profile.error["firing_rate"][:, 0].max())


def test_points_stay_in_single_precision(monkeypatch):
    """Double precision would take twice the time."""
    seen = set()
    monkeypatch.setattr(
        "varflow.theory.responses.quasi_monte_carlo.expected_spikes",
        lambda neuron, expected, *more: seen.add(expected.dtype) or expected_spikes(neuron, expected, *more),
    )
    vf.mean_field(net("subtract", threshold=1.3), points=2**4)
    assert seen == {np.dtype("float32")}


@pytest.mark.parametrize(("threshold", "sequences"), [(1.0, 1), (-0.2, 1), (1.0, 2)])
def test_first_steps_without_currents(threshold, sequences):
    """As with very weak ones: neurons rest through them, and fire if their threshold is negative. Probes start at rest."""
    steps, silent = 8, 3
    points = normal_points(steps, points=2**7, scrambles=2, seed=0)
    sampling = QuasiMonteCarlo(vf.Neuron(threshold, decay=0.9, reset="subtract"), points, 0, steps // sequences)
    covariance = np.full((1, 1, steps, steps), 0.5) + 3.0 * np.eye(steps)
    covariance[..., :silent, :] = covariance[..., :, :silent] = 0.0
    none, weak = (sampling(np.zeros((1, 1, steps)), covariance + tiny * np.eye(steps), 1) for tiny in (0.0, 1e-60))
    for name in ("firing_rate", "variance", "second_moments"):
        assert getattr(none, name) == pytest.approx(getattr(weak, name), abs=1e-6)
    assert none.firing_rate[0, 0, :silent] == pytest.approx(float(threshold < 0))
    assert none.firing_rate[0, 0, silent] > 0.1


def test_layers_that_write_into_the_same_memory_do_not_disturb_each_other():
    """Of other numbers of steps and points, one after the other or in several threads: to the last bit."""
    sizes = [(12, 2**8), (5, 2**10), (12, 2**8), (20, 2**6)]

    def rates(size):
        steps, points = size
        network = vf.Network(width=100, depth=5, gain=2.8, steps=steps, neuron=vf.Neuron(1.0, decay=0.5, reset="zero"))
        return vf.mean_field(network, points=points, scrambles=2).firing_rate

    alone = [rates(size) for size in sizes]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(rates, 4 * sizes))
    for one, other in zip(4 * alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(alone[0], alone[2])


COUNTED = [(0.1, 2e-7), (0.44, 2e-7), (0.46, 2e-6), (0.7, 2e-7), (1.24, 2e-7), (1.26, 1e-5), (4.0, 1e-5)]


@pytest.mark.parametrize(("std", "accuracy"), COUNTED)
def test_expected_counts_are_sums_over_all_numbers_of_spikes(std, accuracy):
    """Relative to ``E[S] + 1`` and ``E[S²] + 1``, on both sides of the limits of each rule; a spread 1 % larger is rejected."""
    expected, k = np.linspace(-8, 30, 2001), np.arange(1, 80)[:, None]
    counting = vf.Neuron(1.0, decay=0.5, reset="multi_spike")
    at_least = special.ndtr((expected - k) / std)

    def off(std):
        none = np.zeros_like(expected)
        found = expected_spikes(counting, expected, np.array([std]), none, none)
        sums = at_least.sum(axis=0), ((2 * k - 1) * at_least).sum(axis=0)
        return max(np.max(np.abs(x - y) / (y + 1)) for x, y in zip(found, sums, strict=True))

    assert off(std) < accuracy < off(1.01 * std)
