"""Mean field in time without reset: orthants against mpmath, the recursion against its definition and its special cases."""

import importlib
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

import varflow as vf
from varflow.theory.responses.neurons import LONG, Responses
from varflow.theory.responses.orthants import both_or_one, orthant
from varflow.theory.responses.step import driven_by, stepped

PAPER = vf.gain(threshold=1.0)


def net(steps=5, depth=4, gain=PAPER, **options):
    neuron = {name: options.pop(name) for name in list(options) if name in vf.Neuron.__dataclass_fields__}
    return vf.Network(width=100, depth=depth, gain=gain, steps=steps, neuron=vf.Neuron(**neuron), **options)


# Orthants.


def exact_orthant(h, k, rho):
    """``P(X > h, Y > k)`` by quadrature over X."""
    with mpmath.workdps(20):
        h, k, rho = mpmath.mpf(h), mpmath.mpf(k), mpmath.mpf(rho)
        width = mpmath.sqrt((1 - rho) * (1 + rho))
        if width == 0:
            either = mpmath.ncdf(-max(h, k))
            return either if rho > 0 else max(mpmath.mpf(0), mpmath.ncdf(-h) - mpmath.ncdf(k))
        middle = k / rho if rho else h
        reach = width / abs(rho) if rho else mpmath.mpf(1)
        ends = {h, h + 1, h + 4, h + 15, *(middle + j * reach for j in (-12, -6, -3, -1, 0, 1, 3, 6, 12))}
        ends = [end for end in sorted(ends) if end >= h]
        return mpmath.quad(lambda x: mpmath.npdf(x) * mpmath.ncdf((rho * x - k) / width), [*ends, mpmath.inf])


def one(h, k, rho):
    return float(orthant(np.array([h]), np.array([k]), np.array([rho]))[0])


CORRELATIONS = [-1.0, -1 + 1e-12, -0.9, 0.0, 1e-9, 0.925, 1 - 1e-8, 1 - 1e-13, 1.0]


@pytest.mark.parametrize("rho", CORRELATIONS)
@pytest.mark.parametrize(("h", "k"), [(0, 0), (1, 1), (0, 2.5), (0.3, 0.3000001), (-1, 1), (-2, -0.5), (4, 1), (6, 6)])
def test_orthant_against_mpmath(h, k, rho):
    exact = float(exact_orthant(h, k, rho))
    rarer = float(min(mpmath.ncdf(-h), mpmath.ncdf(-k)))
    assert abs(one(h, k, rho) - exact) <= 1e-15 + 1e-12 * rarer
    assert abs(one(h, k, rho) - exact) <= 1e-11 * rarer


def exactly_one(h, change, apart):
    """``P(X > h, Y ≤ k) + P(X ≤ h, Y > k)`` by quadrature over X, in units of the conditional width from ``h``."""
    with mpmath.workdps(25):
        h, change, apart = mpmath.mpf(h), mpmath.mpf(change), mpmath.mpf(apart)
        width = mpmath.sqrt(apart * (2 - apart))
        start = (change + h * apart) / width
        ends = {mpmath.mpf(u) for u in (0, 1, 3, 8, 15)} | {abs(start) + u for u in (-12, -6, -3, -1, 0, 1, 3, 6, 12)}
        ends = [u for u in sorted(ends) if u >= 0]
        above = mpmath.quad(lambda u: mpmath.npdf(h + width * u) * mpmath.ncdf(start - (1 - apart) * u), ends)
        below = mpmath.quad(lambda u: mpmath.npdf(h - width * u) * mpmath.ncdf(-start - (1 - apart) * u), ends)
        return float(width * (above + below))


NEAR = [
    (1, 1e-15, 1e-30),
    (0.3, -1e-3, 1e-10),
    (2, 0.5, 0.01),
    (0, 0, 1e-200),
    (-1, 1e-9, 1e-20),
    (-1e-3, 2e-3, 1e-4),
    (5, 1e-150, 1e-250),
    (0.7, 0.2, 0.6),
]


@pytest.mark.parametrize(("h", "change", "apart"), NEAR)
def test_the_probability_of_exactly_one_keeps_its_digits(h, change, apart):
    """However near two potentials are, their spikes differ with a probability right to 1e-13 of itself."""
    given = (np.array([float(x)]) for x in (h, h + change, change, apart, 2 - apart))
    assert both_or_one(*given)[1][0] == pytest.approx(exactly_one(h, change, apart), rel=1e-13)


# Anchors and special cases of the recursion.


def test_leaky_anchors():
    variance = vf.mean_field(net(steps=20, depth=2, gain=6.303**0.5, decay=0.5)).variance
    assert variance[0] == pytest.approx(((1 - 0.5 ** np.arange(1, 21)) / 0.5) ** 2, rel=1e-14)
    assert variance[1, -1] == pytest.approx(7.779, abs=5e-4)


@pytest.mark.parametrize(("first_step", "dead", "alive"), [(11, 5.28, 5.33), (1, 6.0, 6.04)])
def test_critical_gains_of_a_leaky_network(first_step, dead, alive):
    """β = 0.5, 20 steps, layer 100: steps 11 to 20 live from g² = 5.303 on, all steps from the memoryless 6.02."""
    rates = [vf.mean_field(net(steps=20, depth=100, gain=square**0.5, decay=0.5)).firing_rate[-1] for square in (dead, alive)]
    assert rates[0][first_step - 1] < 1e-3
    assert np.all(rates[1][first_step - 1 :] > 0.01)


IN_DEGREE = {"weights": vf.weights.fixed_in_degree(20), "mean_gain": 0.7}  # the number of active inputs varies too


@pytest.mark.parametrize(
    "options", [{}, {"bias_std": 0.4}, {"mean_gain": 0.7}, {"threshold": -0.3}, {"weights": "lognormal"}, IN_DEGREE]
)
def test_a_memoryless_neuron_repeats_its_one_step_answer(options):
    """Every step of a held drive is the memoryless network: perfect correlation survives all layers, to the last digits."""
    once, often = (vf.mean_field(net(steps=steps, depth=30, gain=2.7, input_scale=0.9, **options)) for steps in (1, 4))
    for name in ("variance", "firing_rate", "survival"):
        assert getattr(often, name) == pytest.approx(np.repeat(getattr(once, name)[:, None], 4, axis=1), rel=1e-12)
    second_moments = often.second_moments
    expected = np.broadcast_to(once.firing_rate[:, None, None], second_moments.shape)
    assert second_moments == pytest.approx(expected, rel=1e-12)


# The recursion against its definition, in mpmath.

QUANTITIES = ("variance", "potential_mean", "firing_rate", "second_moments")
NETWORKS = {
    "leak": {"decay": 0.5},
    "integrator below threshold 0": {"decay": 1.0, "threshold": -0.4},
    "synapse, bias and weight mean": {
        "decay": 0.6,
        "synaptic_decay": 0.3,
        "input_scale": 0.7,
        "threshold": 0.8,
        "bias_std": 0.2,
        "mean_gain": 0.5,
    },
    "delay": {"decay": 0.3, "delay": 1, "depth": 3},
    "threshold 0, not strict": {"threshold": 0.0, "strict": False, "decay": 0.9, "delay": 1},
    "white": {"decay": 0.7, "drive": vf.drives.white(1.3)},
    "mixed inputs": {"decay": 0.4, "drive": vf.drives.inputs([[[1.0, -0.5], [0.2, 0.9], [-0.7, 0.4]]], 2.0)},
}


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_recursion_against_the_reference(options):
    network = net(**{"steps": 3, "depth": 2, "gain": 2.4} | options)
    exact, profile = vf.reference.mean_field_in_time(network, digits=15), vf.mean_field(network)
    for name in QUANTITIES:
        wanted, got = np.array(getattr(exact, name), dtype=float), getattr(profile, name)
        assert got.shape == wanted.shape
        assert got == pytest.approx(wanted, rel=1e-12, abs=1e-13)
        assert np.all(np.abs(got - wanted) <= 1e-13 * (1 + np.abs(wanted)) + 3 * profile.error[name])


def test_a_wrong_definition_is_noticed():
    """Negative control of the agreement above: 1 % of gain, or the filter's order of a step."""
    exact = vf.reference.mean_field_in_time(net(steps=2, depth=2, gain=2.4, decay=0.5), digits=15)
    wrong = vf.mean_field(net(steps=2, depth=2, gain=2.424, decay=0.5))
    assert np.abs(wrong.variance[1] - np.array(exact.variance[1], dtype=float)).min() > 1e-3


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: vf.reference.mean_field_in_time(net(decay=0.5, reset="zero")), "reset="),
        (lambda: vf.reference.mean_field_in_time(net(drive=vf.drives.inputs(np.eye(2)))), "drive="),
        (lambda: vf.reference.mean_field_in_time(net(weights=vf.weights.fixed_in_degree(5))), "fixed in-degree"),
        (lambda: vf.reference.mean_field_in_time(net(), digits=3), "digits=3"),
        (lambda: vf.reference.orthant(0, 0, 1.1), "must lie between -1 and 1"),
        (lambda: vf.reference.orthant(np.nan, 0, 0.5), "h=nan must be finite"),
        (lambda: vf.reference.two_steps(vf.Neuron(), covariance=((0, 0), (0, 1))), "covariance="),
        (lambda: vf.reference.two_steps(vf.Neuron(), covariance=((1, 2), (2, 1))), "covariance="),
        (lambda: vf.reference.two_steps(vf.Neuron(), covariance=((1, 0), (0.5, 1))), "covariance="),
    ],
)
def test_the_reference_says_what_it_does_not_know(call, rule):
    with pytest.raises(vf.DomainError, match=rule):
        call()


@pytest.mark.parametrize("reset", ["none", "subtract", "delayed_subtract", "zero", "gate", "multi_spike"])
def test_two_steps_against_stepped_neurons(reset):
    """The reference of resets against 200 000 stepped neurons: within four standard errors, and with another decay not."""
    neuron = vf.Neuron(0.8, decay=0.5, reset=reset, input_scale=0.9, synaptic_decay=0.2)
    covariance = np.array([[1.0, 1.0], [1.0, 1.0]]) if reset == "multi_spike" else np.array([[1.0, 0.3], [0.3, 1.2]])
    exact = vf.reference.two_steps(neuron, covariance=covariance.tolist(), mean=(0.1, -0.2), digits=10)
    number = 200_000
    z = np.random.default_rng(1).standard_normal((2, number))
    values, vectors = np.linalg.eigh(covariance)
    currents = vectors * np.sqrt(np.maximum(values, 0)) @ z + np.array([[0.1], [-0.2]])

    def deviations(neuron):
        """Of each moment, in standard errors."""
        H, S = stepped(neuron, currents)
        samples = [*((H - np.array(exact.potential_mean, dtype=float)[:, None]) ** 2), *H, *S, S[0] * S[1]]
        wanted = [*exact.variance, *exact.potential_mean, *exact.firing_rate, exact.second_moments[0][1]]
        pairs = zip(samples, wanted, strict=True)
        return [abs(x.mean() - float(y)) / max(x.std() / np.sqrt(number), 1e-12) for x, y in pairs]

    assert max(deviations(neuron)) < 4
    assert max(deviations(vf.Neuron(0.8, decay=0.45, reset=reset, input_scale=0.9, synaptic_decay=0.2))) > 8


def test_reference_without_reset_is_the_reference_of_resets():
    """Two routes in mpmath: all pairs of normal potentials, and integration over the first current."""
    neuron = vf.Neuron(0.9, decay=0.4, synaptic_decay=0.3)
    network = net(steps=2, depth=1, threshold=0.9, decay=0.4, synaptic_decay=0.3, drive=vf.drives.white(1.1))
    pairs = vf.reference.mean_field_in_time(network, digits=20)
    with mpmath.workdps(50):
        square = mpmath.mpf(1.1) ** 2
    given_first = vf.reference.two_steps(neuron, covariance=((square, 0), (0, square)), digits=20)
    for name in QUANTITIES:
        with mpmath.workdps(30):
            difference = mpmath.matrix(getattr(pairs, name)[0]) - mpmath.matrix(getattr(given_first, name))
            assert mpmath.mnorm(difference, mpmath.inf) < 1e-18


# Properties.

NEURONS = {
    "threshold": st.just(0.0) | st.floats(-1.5, -0.01) | st.floats(0.01, 2.5),
    "decay": st.sampled_from([0.0, 1.0]) | st.floats(0.01, 1),
    "input_scale": st.floats(0.2, 2),
    "strict": st.booleans(),
    "synaptic_decay": st.floats(0, 0.9),
    "delay": st.integers(0, 3),
}
REST = {
    "gain": st.floats(0.5, 5),
    "bias_std": st.just(0.0) | st.floats(0.01, 1),
    "mean_gain": st.just(0.0) | st.floats(0.01, 1),
}


@settings(max_examples=12, deadline=None)
@given(options=st.fixed_dictionaries(NEURONS | REST), std=st.just(0.0) | st.floats(0.01, 3))
def test_coincidences_are_those_of_spikes(options, std):
    """Symmetric, between the bounds of Fréchet, positive semi-definite, with the rate on the diagonal."""
    profile = vf.mean_field(net(drive=vf.drives.white(std), **options))
    M, p = profile.second_moments, profile.firing_rate
    assert np.array_equal(M, M.swapaxes(1, 2))
    assert np.diagonal(M, axis1=1, axis2=2) == pytest.approx(p, abs=1e-15)
    rows, columns = p[:, :, None], p[:, None, :]
    assert np.all(np.minimum(rows, columns) + 1e-14 >= M)
    assert np.all(np.maximum(rows + columns - 1, 0) - 1e-14 <= M)
    assert np.linalg.eigvalsh(M - rows * columns).min() > -1e-9
    assert np.all(profile.variance >= 0)
    assert np.array_equal(profile.survival, (p > 0).astype(float))


@settings(max_examples=12, deadline=None)
@given(options=st.fixed_dictionaries(NEURONS | REST), scale=st.floats(0.1, 10))
def test_the_unit_of_the_potential_does_not_matter(options, scale):
    """θ, g, σ_b, m_g and the drive in other units: variances with their square, spikes not at all."""
    one = vf.mean_field(net(drive=vf.drives.white(1.0), **options))
    scaled = {name: scale * options[name] for name in ("threshold", "gain", "bias_std", "mean_gain")}
    other = vf.mean_field(net(drive=vf.drives.white(scale), **options | scaled))
    assert other.second_moments == pytest.approx(one.second_moments, rel=1e-7, abs=1e-9)
    assert other.variance == pytest.approx(scale**2 * one.variance, rel=1e-7, abs=1e-9)


def test_earlier_steps_do_not_know_later_ones():
    long, short = (vf.mean_field(net(steps=steps, decay=0.7, synaptic_decay=0.2)) for steps in (12, 7))
    for name in ("variance", "firing_rate"):
        assert getattr(long, name)[:, :7] == pytest.approx(getattr(short, name), rel=1e-11)
    assert long.second_moments[:, :7, :7] == pytest.approx(short.second_moments, rel=1e-10)


def test_a_delay_shifts_each_layer_by_its_steps():
    """Nothing arrives before: layer l of a network of delay d begins d (l - 1) steps later."""
    prompt, late = (vf.mean_field(net(steps=9, decay=0.5, delay=delay)) for delay in (0, 2))
    assert late.variance[0] == pytest.approx(prompt.variance[0])
    for layer in range(1, 4):
        assert np.all(late.variance[layer, : 2 * layer] == 0)
        assert late.variance[layer, 2 * layer :] == pytest.approx(prompt.variance[layer, : 9 - 2 * layer], rel=1e-11)
        assert late.firing_rate[layer, 2 * layer :] == pytest.approx(prompt.firing_rate[layer, : 9 - 2 * layer], rel=1e-11)
    assert np.all(vf.mean_field(net(steps=2, delay=5)).firing_rate[1:] == 0)


def test_leak_and_synapse_are_the_same_filter():
    """Without reset the membrane is a linear filter of the current: β and α may change places."""
    one = vf.mean_field(net(steps=8, decay=0.7, synaptic_decay=0.2, bias_std=0.3))
    other = vf.mean_field(net(steps=8, decay=0.2, synaptic_decay=0.7, bias_std=0.3))
    assert other.second_moments == pytest.approx(one.second_moments, rel=1e-9)
    assert other.variance == pytest.approx(one.variance, rel=1e-9)


def test_late_steps_are_stationary():
    """A white drive: the state depends on the difference of steps alone, and decorrelates with it."""
    profile = vf.mean_field(net(steps=60, decay=0.5, depth=6, gain=3.0, drive=vf.drives.white(1.0)))
    M, p = profile.second_moments[:, 40:, 40:], profile.firing_rate[:, 40:]
    assert np.ptp(p, axis=1) == pytest.approx(np.zeros(6), abs=1e-9)
    assert M[:, 1:, 1:] == pytest.approx(M[:, :-1, :-1], abs=1e-9)
    first = [1 / (1 - 0.5**2), 0.5 / (1 - 0.5**2)]
    assert profile.variance[0, -1] == pytest.approx(first[0], rel=1e-12)
    assert profile.variance[1, -1] < 9.0 * p[0, -1] / (1 - 0.5) ** 2, "not that of a constant current"


def test_a_silent_drive_and_zero_thresholds():
    """Where nothing varies, strictness decides; at θ = 0 the rate is one half as soon as something does."""
    silent = {"drive": vf.drives.currents(0.0), "threshold": 0.0, "decay": 0.5, "gain": 2.0}
    quiet, firing = (vf.mean_field(net(strict=strict, **silent)) for strict in (True, False))
    assert not quiet.second_moments.any()
    assert not quiet.variance.any()
    assert np.all(firing.second_moments[0] == 1)
    assert firing.firing_rate[1:] == pytest.approx(np.full((3, 5), 0.5))
    assert np.all(vf.mean_field(net(**silent | {"threshold": -1.0})).firing_rate[0] == 1)


def test_inputs_are_kinds_of_their_own():
    rows = [[1.0, 0.0], [2.0, 1.0]]
    batch = vf.mean_field(net(decay=0.5, drive=vf.drives.inputs(rows, 1.5)))
    alone = [vf.mean_field(net(decay=0.5, drive=vf.drives.inputs([row], 1.5))) for row in rows]
    for name in ("variance", "firing_rate", "survival"):
        each = np.stack([getattr(profile, name) for profile in alone])
        assert batch.per_input[name] == pytest.approx(each, rel=1e-12)
        assert getattr(batch, name) == pytest.approx(each.mean(axis=0), rel=1e-12)
    assert batch.variance_std == pytest.approx(batch.per_input["variance"].std(axis=0))
    assert batch.second_moments == pytest.approx(np.mean([profile.second_moments for profile in alone], axis=0), rel=1e-12)


@pytest.mark.parametrize("given_ones", [False, True])
def test_a_batch_in_blocks_is_the_batch_at_once(monkeypatch, given_ones):
    rng = np.random.default_rng(5)
    currents, rows = vf.drives.given(rng.normal(size=(7, 5, 100))), vf.drives.inputs(rng.normal(size=(7, 3)), 1.5)
    network = net(decay=0.5, drive=currents if given_ones else rows)
    at_once = vf.mean_field(network)
    monkeypatch.setattr("varflow.theory.walks.signals.AT_ONCE", 3 * 5**2)
    in_blocks = vf.mean_field(network)
    for name in (*QUANTITIES, "survival", "variance_std"):
        assert getattr(in_blocks, name) == pytest.approx(getattr(at_once, name), rel=1e-13, abs=1e-15)
    assert np.array_equal(in_blocks.per_input["variance"], at_once.per_input["variance"])


@pytest.mark.parametrize("reset", ["none", "subtract", "delayed_subtract", "zero", "gate", "multi_spike"])
def test_given_currents_step_layer_1_as_they_are(reset):
    currents = np.random.default_rng(3).normal(scale=1.5, size=(2, 6, 100))
    neuron = vf.Neuron(0.7, decay=0.6, reset=reset, input_scale=0.8, synaptic_decay=0.3)
    state = driven_by(vf.drives.given(currents), neuron)
    H, S = stepped(neuron, currents)
    assert state.variance[0] == pytest.approx(H.var(axis=2, ddof=1))
    assert state.firing_rate[0] == pytest.approx(S.mean(axis=2))
    assert state.second_moments[0] == pytest.approx(np.einsum("bti,bsi->bts", S, S) / 100)
    if reset == "none":
        network = net(drive=vf.drives.given(currents), steps=6, threshold=0.7, decay=0.6, input_scale=0.8, synaptic_decay=0.3)
        profile = vf.mean_field(network)
        assert profile.variance[0] == pytest.approx(H.var(axis=2, ddof=1).mean(axis=0))
        assert profile.per_input["firing_rate"].shape == (2, 4, 6)


# Steps that are all but equal: a layer makes of their difference its root.

NEARLY_EQUAL = {
    "leak": {"decay": 0.01},
    "synapse, bias and weight mean": {"decay": 0.01, "synaptic_decay": 0.02, "bias_std": 0.2, "mean_gain": 0.5},
    "threshold below 0, delay": {"decay": 0.01, "threshold": -0.4, "delay": 1, "mean_gain": -0.5},
}


@pytest.mark.slow
@pytest.mark.parametrize("options", NEARLY_EQUAL.values(), ids=NEARLY_EQUAL)
def test_differences_of_steps_keep_their_digits(options):
    """Six steps of a held drive differ by down to 1e-20 of their variance; five layers of that, in fifty digits."""
    network = net(**{"steps": 6, "depth": 5} | options)
    exact, profile = vf.reference.mean_field_in_time(network, digits=50), vf.mean_field(network)
    for name in QUANTITIES:
        assert getattr(profile, name) == pytest.approx(np.array(getattr(exact, name), dtype=float), rel=1e-12, abs=1e-13)


def as_is(neurons, neuron, currents, number, state=Responses.state):
    return state(neurons, neuron, replace(currents, changes=None), number)


def test_without_digits_of_their_own_differences_are_lost(monkeypatch):
    """Negative control: with only the moments handed down, layers 4 to 8 are off, and the stationary state is the same."""
    network = net(steps=20, depth=40, decay=0.1)
    carried = vf.mean_field(network).second_moments
    monkeypatch.setattr(Responses, "state", as_is)
    lost = np.abs(vf.mean_field(network).second_moments - carried).max(axis=(1, 2))
    assert lost[5] > 1e-4
    assert lost[-1] < 1e-6


def test_longer_runs_do_not_move_earlier_steps():
    """Differences of 1e-140 in the second run: if they were rounded, its last steps would come apart from the first one's."""
    short, long = (vf.mean_field(net(steps=steps, depth=12, decay=0.2)) for steps in (20, 100))
    assert long.second_moments[:, :20, :20] == pytest.approx(short.second_moments, rel=1e-11)
    late = long.second_moments[:3, 20:, 20:]
    q = late[:, :-1, :-1].diagonal(0, 1, 2) + late[:, 1:, 1:].diagonal(0, 1, 2) - 2 * late.diagonal(1, 1, 2)
    assert np.abs(q).max() < 1e-4


def test_the_error_is_that_of_the_last_digits(monkeypatch):
    """Layers keep them; with fewer digits the error grows in proportion."""
    network = net(steps=20, depth=60, decay=0.5)
    error = vf.mean_field(network).error["second_moments"]
    assert 0 < error.max() < 3e-15
    monkeypatch.setattr("varflow.theory.responses.orthants.LAST_DIGITS", 1e-6)
    coarse = vf.mean_field(network).error["second_moments"]
    assert 1e-8 < coarse.max() < 1e-6


# Against real weight matrices.

REAL = {
    "held current": {"decay": 0.5},
    "all at once": {
        "decay": 0.6,
        "synaptic_decay": 0.3,
        "delay": 1,
        "input_scale": 0.8,
        "bias_std": 0.3,
        "mean_gain": 0.5,
        "drive": vf.drives.white(1.5),
    },
}


def of_infinite_width(network, repeats):
    """Means of simulated networks, extrapolated from two widths, and their standard errors, by quantity.

    The bias of a mean is ``c/n + O(1/n²)``: twice the mean at width 2n less that at n is off by the second order alone.
    """
    runs = []
    for seed, width in ((10, 100), (11, 200)):
        same = {name: getattr(network, name) for name in ("depth", "gain", "neuron", "bias_std", "mean_gain", "steps", "drive")}
        ensemble = vf.simulate(vf.Network(width=width, **same), repeats=repeats, seed=seed)
        runs.append({name: getattr(ensemble, name) for name in QUANTITIES})
    means = {name: 2 * runs[1][name].mean(axis=0) - runs[0][name].mean(axis=0) for name in QUANTITIES}
    errors = {
        name: np.hypot(2 * runs[1][name].std(axis=0, ddof=1), runs[0][name].std(axis=0, ddof=1)) / np.sqrt(repeats)
        for name in QUANTITIES
    }
    return means, errors


@pytest.mark.parametrize("options", REAL.values(), ids=REAL)
def test_networks_of_real_weights_approach_the_mean_field(options):
    """Every quantity of every layer and step within 4.5 standard errors; 8 % more gain is not."""
    pytest.importorskip("torch")
    network = net(steps=5, depth=3, gain=2.4, **options)
    means, errors = of_infinite_width(network, 250)

    def largest_deviation(profile):
        ratios = [np.abs(means[name] - getattr(profile, name)) / np.maximum(errors[name], 1e-12) for name in QUANTITIES]
        return max(ratio.max() for ratio in ratios)

    assert largest_deviation(vf.mean_field(network)) < 4.5
    assert largest_deviation(vf.mean_field(net(steps=5, depth=3, gain=2.4 * 1.08, **options))) > 6


def test_the_order_of_limits():
    """Late steps of a constant drive: equal in networks of any usual width, and apart in the limit. A limit, not an error."""
    pytest.importorskip("torch")
    network = vf.Network(width=500, depth=6, gain=6.303**0.5, neuron=vf.Neuron(1.0, decay=0.2), steps=20)
    apart = [
        profile.second_moments for profile in (vf.simulate(network, repeats=20, engine="conditional"), vf.mean_field(network))
    ]
    networks, limit = (M[..., -1, -1] + M[..., -2, -2] - 2 * M[..., -1, -2] for M in apart)
    assert np.abs(networks).max() < 1e-12
    assert limit[-1] > 0.05


def test_a_variance_that_falls_by_many_orders_does_not_become_negative():
    """Step 3 of layer 3 has a variance of about 1e-190 after 5e-7 at step 1; as a sum of changes it was -2e-22."""
    x = np.ones((2, 3, 6))
    x[0, 0, 4:], x[0, 1, 5] = 2.0, 2.0
    neuron, drive = vf.Neuron(1.0, input_scale=0.75), vf.drives.inputs(x, 0.375)
    profile = vf.mean_field(vf.Network(width=1, depth=3, gain=79 / 24, neuron=neuron, steps=3, drive=drive))
    assert (profile.variance >= 0).all()
    assert all(np.isfinite(error).all() for error in profile.error.values())


@pytest.mark.parametrize(("steps", "threads"), [(20, {1}), (LONG + 1, {2})])
@pytest.mark.parametrize(("reset", "function"), [("zero", "quasi_monte_carlo.causal_factor"), ("none", "orthants.membranes")])
def test_small_matrices_are_multiplied_on_one_thread(reset, function, steps, threads, monkeypatch):
    module, name = function.split(".")
    seen, original = set(), getattr(importlib.import_module(f"varflow.theory.responses.{module}"), name)

    def watched(*args):
        seen.update(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return original(*args)

    monkeypatch.setattr(f"varflow.theory.responses.{function}", watched)
    network = net(steps=steps, depth=2, decay=0.5, reset=reset, drive=vf.drives.white(1.0))
    with threadpool_limits(limits=2, user_api="blas"):
        vf.mean_field(network, points=64)
    assert seen == threads
