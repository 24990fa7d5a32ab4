"""Chains whose silence does not absorb: stationary state, switching rates, layers before the first silent one."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest
import scipy.stats
from scipy.special import ndtr

import varflow as vf
from varflow import reference
from varflow.theory.finite_width import stationary as stationary_module

ROOT = 6.303**0.5
BIAS = {"threshold": 1.0, "gain": 2.2, "bias_std": 0.3}
TWO_STATES = {"threshold": 1.0, "gain": ROOT, "bias_std": 0.05**0.5}
ALTERNATING = {"threshold": -1.0, "gain": 1.0, "bias_std": 0.3, "mean_gain": -4.0}
NEGATIVE = {"threshold": -0.2, "gain": 1.5}
RARE = {"threshold": 1.0, "gain": 2.8, "bias_std": 0.25}
EXCITED = {"threshold": 1.0, "gain": 1.0, "bias_std": 0.4, "mean_gain": 4.5}
SATURATED = {"threshold": 0.3, "gain": 3.0, "bias_std": 0.1}
TURNING = {"threshold": 0.03762, "gain": 1.0, "bias_std": 0.0131, "mean_gain": -18.0}  # the map has a cycle of three layers


def chain(width, *, threshold, **parameters):
    return vf.SpikeChain(vf.Network(width=width, depth=2, neuron=vf.Neuron(threshold), **parameters))


def full_matrix(width, *, threshold, gain, bias_std=0.0, mean_gain=0.0):
    """``P(K' | K)`` from scipy's binomial."""
    counts = np.arange(width + 1)
    with np.errstate(divide="ignore"):
        z = (threshold - mean_gain * counts / width) / np.sqrt(gain**2 * counts / width + bias_std**2)
    return scipy.stats.binom.pmf(counts, width, ndtr(-z)[:, None])


def eliminated(P):
    """The stationary distribution without subtractions: states are eliminated one by one."""
    P = P.copy()
    for k in range(len(P) - 1, 0, -1):
        P[:k, k] /= P[k, :k].sum()
        P[:k, :k] += np.outer(P[:k, k], P[k, :k])
    distribution = np.ones(1)
    for k in range(1, len(P)):
        distribution = np.append(distribution, distribution @ P[:k, k])
    return distribution / distribution.sum()


@cache
def exact_stationary(width, **setting):
    return reference.stationary(width=width, digits=60, **setting)


@cache
def exact_rates(width, **setting):
    return reference.switching_rates(width=width, digits=25, **setting)


LIFETIMES = [
    (60, BIAS, 11.341),
    (40, TWO_STATES, 23.43),
    (25, TWO_STATES | {"bias_std": 0.35}, None),
    (100, ALTERNATING, None),
    (7, NEGATIVE, None),
    (50, TURNING, None),
]


@pytest.mark.parametrize(("width", "setting", "published"), LIFETIMES)
def test_layers_before_the_first_silent_one_by_a_linear_solve(width, setting, published):
    P, start = full_matrix(width, **setting), scipy.stats.binom.pmf(np.arange(width + 1), width, ndtr(-setting["threshold"]))
    layers = start[1:] @ np.linalg.solve(np.eye(width) - P[1:, 1:], np.ones(width))
    life = chain(width, **setting).lifetime()
    assert life.from_drive == pytest.approx(layers, rel=1e-10)
    assert np.isnan(life.from_quasi_stationary)
    if published:
        assert f"{life.from_drive:.{len(str(published)) - 3}f}" == str(published)


@pytest.mark.parametrize(
    ("width", "setting"),
    [
        (60, BIAS),
        (40, TWO_STATES),
        (150, TWO_STATES),
        (100, ALTERNATING),
        (40, EXCITED),
        (30, SATURATED),
        (20, NEGATIVE),
        (50, {"threshold": 0.0, "gain": 1.0, "bias_std": 0.5}),
        (60, TURNING),
        (1, BIAS),
        (2, TWO_STATES),
    ],
)
def test_the_stationary_state_by_elimination_of_the_full_matrix(width, setting):
    P, state = full_matrix(width, **setting), chain(width, **setting).stationary()
    distribution, sizes = eliminated(P), np.sort(np.abs(np.linalg.eigvals(P)))
    rates = np.arange(width + 1) / width
    assert np.abs(state.distribution.mass - distribution).sum() < 1e-11
    assert state.silence == pytest.approx(distribution[0], rel=1e-9)
    assert state.firing_rate == pytest.approx(distribution @ rates, rel=1e-9)
    assert state.variance == pytest.approx(
        setting["gain"] ** 2 * (distribution @ rates) + setting.get("bias_std", 0.0) ** 2, rel=1e-11
    )
    assert abs(state.second_eigenvalue) == pytest.approx(sizes[-2], abs=1e-11)
    assert state.weights.sum() == pytest.approx(1, rel=1e-12)
    assert len(state.states) == len(state.weights) == len(state.rates)


def test_layers_before_the_first_silent_one_are_what_real_weight_matrices_show():
    described = vf.Network(width=60, depth=90, gain=2.2, bias_std=0.3, neuron=vf.Neuron(1.0))
    alive = vf.simulate(described, repeats=200, seed=7).survival > 0
    assert (~alive).any(axis=1).all()
    layers = np.argmin(alive, axis=1)
    error, told = layers.std(ddof=1) / np.sqrt(len(layers)), vf.SpikeChain(described).lifetime().from_drive
    assert abs(layers.mean() - told) < 4 * error
    assert abs(layers.mean() - 1.4 * told) > 4 * error


def test_published_stationary_state():
    """Networks that last 23 layers on average look quiet in the end: not what live ones look like."""
    state = chain(40, **TWO_STATES).stationary()
    assert f"{state.variance:.5f}" == "0.05028"
    assert [f"{own.variance:.3f}" for own in state.states] == ["0.050", "1.036"]


@pytest.mark.parametrize(
    ("width", "setting", "states"),
    [(16, RARE, 2), (12, EXCITED, 2), (12, ALTERNATING, 1), (8, NEGATIVE, 1)],
)
def test_the_reference_agrees(width, setting, states):
    exact, fast = exact_stationary(width, **setting), chain(width, **setting).stationary()
    assert len(fast.states) == states
    for name in exact._fields[1:]:
        assert getattr(fast, name) == pytest.approx(float(getattr(exact, name)), rel=1e-10), name
    assert fast.distribution.mass == pytest.approx([float(p) for p in exact.distribution], abs=1e-12)
    rates = np.array(exact_rates(width, **setting), dtype=float)
    assert fast.rates == pytest.approx(rates, rel=1e-10)
    value = complex(reference.second_eigenvalue(width=width, **setting))
    assert fast.second_eigenvalue == pytest.approx(value, abs=1e-12)
    life = reference.lifetime(width=width, digits=60, **setting)
    assert chain(width, **setting).lifetime().from_drive == pytest.approx(float(life.from_drive), rel=1e-9)


def test_a_gain_wrong_by_one_in_a_hundred_million_is_noticed():
    state = chain(16, **RARE | {"gain": 2.8 * (1 + 1e-8)}).stationary()
    exact, rates = exact_stationary(16, **RARE), exact_rates(16, **RARE)
    assert state.silence != pytest.approx(float(exact.silence), rel=1e-10)
    assert state.rates[1, 0] != pytest.approx(float(rates[1][0]), rel=1e-10)


def test_rare_switching_keeps_its_relative_accuracy():
    """Weights and rates of one another's inverse over 60 orders of magnitude, where neither is held by a double beside one."""
    state = chain(1000, threshold=0.7, gain=2.2, bias_std=0.2).stationary()
    assert state.weights[0] < 1e-70
    assert state.weights @ state.rates == pytest.approx(state.weights * state.rates.sum(axis=1), rel=1e-3)
    narrow = {"threshold": 0.7, "gain": 2.2, "bias_std": 0.2}
    distribution = eliminated(full_matrix(400, **narrow))
    assert distribution[0] < 1e-25
    assert chain(400, **narrow).stationary().silence == pytest.approx(distribution[0], rel=1e-9)


def test_the_sum_of_rare_rates_is_what_the_second_eigenvalue_lacks():
    state = chain(300, **TWO_STATES).stationary()
    assert 1 - state.second_eigenvalue.real == pytest.approx(state.rates.sum(), rel=1e-3)
    assert state.relaxation_depth == pytest.approx(1 / state.rates.sum(), rel=1e-3)
    rarer = chain(1000, threshold=1.0, gain=ROOT, bias_std=0.06**0.5).stationary()
    assert rarer.relaxation_depth == pytest.approx(1 / rarer.rates.sum(), rel=1e-6)
    assert rarer.relaxation_depth > 1e11


def test_a_grid_of_a_wide_layer_against_every_count(monkeypatch):
    width, setting = 1200, TWO_STATES | {"bias_std": 0.3}
    whole, layers = chain(width, **setting).stationary(), chain(width, **setting).lifetime().from_drive
    monkeypatch.setattr(stationary_module, "EXACT_WIDTH", 500)
    monkeypatch.setattr("varflow.theory.finite_width.counts.INTEGERS", 250)
    monkeypatch.setattr("varflow.theory.finite_width.counts.JOIN", 110.0)
    held = chain(width, **setting)
    coarse = held.stationary()
    assert len(coarse.distribution.counts) < 0.7 * width
    for name in ("variance", "variance_std", "firing_rate", "firing_rate_std", "silence", "weights", "rates"):
        assert getattr(coarse, name) == pytest.approx(getattr(whole, name), rel=1e-6), name
    assert held.lifetime().from_drive == pytest.approx(layers, rel=1e-6)


def test_alternating_layers_have_the_mean_of_both_phases():
    """At infinite width layers alternate between two rates for ever; a wide chain does so longer than a double can tell."""
    state, cycle = chain(20_000, **ALTERNATING).stationary(), [0.99946, 0.00204]
    assert state.relaxation_depth == np.inf
    assert state.second_eigenvalue == pytest.approx(-1, abs=1e-12)
    assert state.firing_rate == pytest.approx(np.mean(cycle), abs=5e-6)
    assert state.firing_rate_std == pytest.approx(np.ptp(cycle) / 2, abs=5e-6)
    assert len(state.states) == 1
    narrow = chain(20, **ALTERNATING).stationary()
    assert 1e8 < narrow.relaxation_depth < 1e9


def test_a_cycle_of_three_layers_shows_in_the_second_eigenvalue():
    angle = np.angle(chain(3000, **TURNING).stationary().second_eigenvalue)
    assert angle == pytest.approx(2 * np.pi / 3, abs=0.05)


def test_any_start_ends_in_the_stationary_state():
    described = vf.Network(width=60, depth=2, gain=2.3, bias_std=0.35, neuron=vf.Neuron(1.0))
    model = vf.SpikeChain(described)
    state = model.stationary()
    assert model.survival(int(40 * state.relaxation_depth)) == pytest.approx(1 - state.silence, rel=1e-10)
    assert model.survival(int(3 * state.relaxation_depth)) != pytest.approx(1 - state.silence, rel=1e-4)


@pytest.mark.parametrize(("threshold", "gain"), [(1.0, 2.5), (0.85, 2.2)])
def test_where_silence_absorbs_it_is_the_stationary_state(threshold, gain):
    model = chain(100, threshold=threshold, gain=gain)
    state, alive = model.stationary(), model.quasi_stationary()
    assert state.silence == 1
    assert state.weights.tolist() == [1, 0]
    assert state.rates[0].tolist() == [0, 0]
    assert state.rates[1, 0] == pytest.approx(alive.escape_rate, rel=1e-11)
    assert state.states[1].variance == pytest.approx(alive.variance, rel=1e-10)
    assert state.relaxation_depth == pytest.approx(-1 / np.log1p(-alive.escape_rate), rel=1e-7)


@pytest.mark.parametrize("setting", [BIAS, NEGATIVE, ALTERNATING, BIAS | {"bias_std": 1e-3}], ids=str)
def test_no_quasi_stationary_state_where_silence_does_not_absorb(setting):
    with pytest.raises(vf.DomainError, match=r"stationary\(\)"):
        chain(50, **setting).quasi_stationary()


@pytest.mark.parametrize(
    "parameters", [{"gain": 0.02}, {"gain": 0.05, "weights": "uniform"}, {"gain": 0.03, "mean_gain": -2.0}]
)
def test_a_network_that_dies_at_once_has_no_quasi_stationary_state(parameters):
    model = vf.SpikeChain(vf.Network(width=80, depth=3, **parameters))
    with pytest.raises(vf.DomainError, match="sustains no activity"):
        model.quasi_stationary()
    life = model.lifetime()
    assert life.from_drive == pytest.approx(1 - ndtr(1.0) ** 80, rel=1e-12)
    assert life.from_quasi_stationary == 1
    assert model.stationary().silence == 1


def test_a_silent_drive_does_not_hide_the_live_state():
    told = chain(80, threshold=1.0, gain=2.6).quasi_stationary()
    silent = chain(80, threshold=1.0, gain=2.6, drive=vf.drives.currents(0.0))
    assert silent.quasi_stationary().escape_rate == pytest.approx(told.escape_rate, rel=1e-11)
    assert silent.lifetime().from_drive == 0


def test_states_that_exchange_nothing_are_refused():
    with pytest.raises(vf.DomainError, match="1e-300"):
        chain(40_000, **TWO_STATES | {"bias_std": 0.3}).stationary()
    alone = chain(2 * 10**5, **TWO_STATES | {"bias_std": 0.4}).stationary()
    point = vf.fixed_points(threshold=1.0, gain=ROOT, bias_std=0.4)[0]
    assert alone.firing_rate == pytest.approx(point.firing_rate, rel=1e-4)
    assert alone.relaxation_depth == pytest.approx(point.depth_scale, rel=1e-4)


def test_lattice_weights_that_zigzag_have_no_spurious_states():
    """Ties with the threshold make ``π_K`` jump between even and odd counts, finer than a layer's own noise."""
    assert len(vf.SpikeChain(vf.Network(width=100, depth=2, gain=2.5, weights="sign")).stationary().states) == 1
    two = vf.SpikeChain(vf.Network(width=100, depth=2, gain=2.5, weights="sign", bias_std=0.2)).stationary()
    assert len(two.states) == 2


def test_an_expansion_that_is_refused_names_the_exact_answer_there_is():
    for bias_std, exact in ((0.0, "quasi_stationary()"), (0.2, ".stationary()")):
        with pytest.raises(vf.DomainError, match="too small for a series") as error:
            vf.expansion(vf.Network(width=40, depth=2, gain=2.6, bias_std=bias_std))
        assert str(error.value).endswith(exact)


def test_an_expansion_about_a_point_that_layers_overshoot_is_refused():
    network = vf.Network(width=1000, depth=2, gain=1.0, bias_std=0.3, mean_gain=-4.0, neuron=vf.Neuron(-1.0))
    with pytest.raises(vf.DomainError, match="cycles"):
        vf.expansion(network)


def test_layers_that_differ_have_no_stationary_state():
    with pytest.raises(vf.DomainError, match="equal widths"):
        vf.SpikeChain(vf.Network(width=[50, 60], depth=2, gain=2.5, bias_std=0.3)).stationary()


def test_references_name_what_they_refuse():
    narrow = {"threshold": 1, "gain": 2, "width": 5}
    with pytest.raises(vf.DomainError, match="at most 40"):
        reference.second_eigenvalue(**narrow | {"width": 41})
    with pytest.raises(vf.DomainError, match="at most 200"):
        reference.stationary(**narrow | {"width": 201})
    assert reference.switching_rates(**narrow, bias_std=2) == ((0,),)
    assert mpmath.isnan(reference.lifetime(**narrow, bias_std=0.1).from_quasi_stationary)


@pytest.mark.parametrize("question", [vf.reference.stationary, vf.reference.lifetime])
def test_counts_that_stay_apart_are_refused_by_the_witness(question):
    """Silence, and a layer all of which fires: neither leaves, at any number of digits."""
    with pytest.raises(vf.DomainError, match=r"mean_gain=.* keeps some spike counts apart"):
        question(threshold=0.7, gain=1.1, width=4, mean_gain=1e40, digits=15)
