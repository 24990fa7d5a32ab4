"""Neurons that differ in threshold or decay: equal ones as a limit, arbitrary precision, and simulations by both engines."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats
from wording import NO_FRACTION

import varflow as vf
from varflow.model.over_neurons import OverNeurons

L = vf.layers
WIDE = stats.uniform(0.5, 1.0)
SKEWED = stats.gamma(4, scale=0.25)
BIAS = 0.015  # of theory at infinite width, at these widths
K = 4.5


@pytest.mark.parametrize(
    "distribution",
    [WIDE, SKEWED, stats.norm(1, 0.2), stats.lognorm(0.3), stats.beta(2, 3), stats.triang(0.5, 0.5)],
)
def test_averages_over_neurons(distribution):
    over = OverNeurons.of("threshold", distribution)
    inside = list(pairwise([distribution.ppf(1e-16), *distribution.ppf([0.01, 0.5, 0.99]), distribution.isf(1e-16)]))
    accuracy = 1e-6 if distribution.dist.name == "triang" else 1e-10  # its density has a kink
    for V in (1.0, 0.1):
        fires = lambda x, V=V: stats.norm.sf(x / V**0.5)  # noqa: E731
        exact = sum(
            integrate.quad(lambda x, fires=fires: distribution.pdf(x) * fires(x), *ends, epsrel=1e-13)[0] for ends in inside
        )
        values, weights = over.rule()
        assert weights @ fires(values) == pytest.approx(exact, rel=accuracy)
        values, weights = over.rule(12)
        assert weights @ fires(values) == pytest.approx(exact, rel=1e-5)
        assert weights.sum() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(
    "distribution", [stats.expon(), stats.lognorm(1.0), stats.lognorm(2.0), stats.pareto(1.5), stats.weibull_min(0.5)]
)
def test_heavy_tails_in_time(distribution):
    """The first step, by a Gauss rule, against one step, by the fine rule; the Gauss rule is 2e-4 off at worst (lognorm(2))."""

    def rate(thresholds, steps):
        neuron = vf.Neuron(thresholds, decay=0.5 if steps > 1 else 0.0)
        return vf.mean_field(vf.Network(width=2, depth=1, gain=2.0, neuron=neuron, steps=steps)).firing_rate.flat[0]

    assert rate(distribution, 2) == pytest.approx(rate(distribution, 1), rel=5e-4)
    wrong = distribution.dist(*distribution.args, scale=1.01)
    assert rate(wrong, 2) != pytest.approx(rate(distribution, 1), rel=5e-4)


# Critical gains of unit mean threshold.
@pytest.mark.parametrize(
    ("distribution", "square"),
    [
        (stats.uniform(0.8, 0.4), 5.919),
        (WIDE, 5.235),
        (stats.gamma(25, scale=0.04), 5.684),
        (SKEWED, 3.677),
        (stats.gamma(1e4, scale=1e-4), 6.034398 / (1 + 1.4175e-4)),
        (stats.norm(1, 0.1), 6.034398 / (1 + 1.4175e-2)),
        (stats.expon(), 0.0),
        (stats.norm(0.1, 1), 0.0),
    ],
)
def test_critical_gain(distribution, square):
    assert vf.critical_gain(threshold=distribution) ** 2 == pytest.approx(square, abs=2.5e-3)
    if distribution in (WIDE, SKEWED):
        block = vf.critical_gain(block=[L.Spike(vf.Neuron(distribution)), L.Linear(gain=1.0)])
        assert block == pytest.approx(vf.critical_gain(threshold=distribution), rel=1e-9)


@pytest.mark.parametrize("distribution", [WIDE, pytest.param(stats.gamma(5, scale=0.2), marks=pytest.mark.slow)])
def test_critical_gain_against_mpmath(distribution):
    exact = float(vf.reference.critical_gain(threshold=distribution, digits=15))
    assert vf.critical_gain(threshold=distribution) == pytest.approx(exact, rel=1e-13)
    assert vf.critical_gain(threshold=distribution) != pytest.approx(vf.critical_gain(threshold=distribution.mean()), rel=1e-2)


def test_below_the_critical_gain_only_silence_is_left_and_the_gain_preserves_its_variance():
    critical = vf.critical_gain(threshold=WIDE)
    assert [len(vf.fixed_points(threshold=WIDE, gain=critical * (1 + x))) for x in (-1e-6, 1e-6)] == [1, 3]
    for variance in (0.5, 1.0, 3.0):
        gain = vf.gain(threshold=WIDE, variance=variance)
        assert vf.variance_map(variance, threshold=WIDE, gain=gain) == pytest.approx(variance, rel=1e-14)
        found = vf.fixed_points(threshold=WIDE, gain=gain)
        (point,) = (point for point in found if point.variance == pytest.approx(variance, rel=1e-9))
        up, down = (vf.variance_map(variance * (1 + x), threshold=WIDE, gain=gain) for x in (1e-5, -1e-5))
        assert point.multiplier == pytest.approx((up - down) / (2e-5 * variance), rel=1e-8)
        block = vf.fixed_points(block=[L.Spike(vf.Neuron(WIDE)), L.Linear(gain=gain)])
        assert [p.variance for p in block] == pytest.approx([p.variance for p in found], rel=1e-9, abs=1e-12)
    mean = vf.gain(threshold=WIDE, mean_gain=-1.0)
    assert vf.variance_map(1.0, threshold=WIDE, gain=mean, mean_gain=-1.0) == pytest.approx(1.0, rel=1e-12)
    assert vf.gain_for_rate(block=[L.Spike(vf.Neuron(WIDE)), L.Linear(gain=1.0)], rate=0.2).firing_rate == pytest.approx(0.2)


def test_thresholds_dense_at_zero_make_silence_unstable():
    silence, active = vf.fixed_points(threshold=stats.expon(), gain=2.0)
    assert (silence.variance, silence.stable, active.stable) == (0.0, False, True)


@settings(max_examples=6, deadline=None)
@given(theta=st.floats(0.2, 2.0), gain=st.floats(1.0, 6.0), width=st.integers(2, 60), bias_std=st.sampled_from([0.0, 0.1]))
def test_a_narrow_distribution_is_one_value(theta, gain, width, bias_std):
    narrow = stats.uniform(theta * (1 - 1e-10), 2e-10 * theta)
    assert vf.critical_gain(threshold=narrow) == pytest.approx(vf.critical_gain(threshold=theta), rel=1e-8)
    networks = [
        vf.Network(width=width, depth=4, gain=gain, neuron=vf.Neuron(value), bias_std=bias_std) for value in (narrow, theta)
    ]
    for answer in (vf.finite_width, vf.mean_field):
        spread, one = map(answer, networks)
        for name in ("variance", "firing_rate", "survival"):
            assert getattr(spread, name) == pytest.approx(getattr(one, name), rel=1e-7, abs=1e-300)


@pytest.mark.parametrize("reset", ["none", "zero", "delayed_subtract"])
def test_narrow_distributions_are_one_value_in_time(reset):
    def network(threshold, decay):
        neuron = vf.Neuron(threshold, decay=decay, reset=reset)
        return vf.Network(width=100, depth=4, gain=3.0, neuron=neuron, steps=5)

    one = vf.mean_field(network(1.0, 0.5), points=2**12)
    narrow = vf.mean_field(network(stats.uniform(1 - 1e-9, 2e-9), stats.uniform(0.5 - 1e-9, 2e-9)), points=2**12)
    error = sum(profile.error["firing_rate"] for profile in (one, narrow)) + 1e-7
    assert np.all(np.abs(narrow.firing_rate - one.firing_rate) < 5 * error)


# Survival to layer 100 of networks of width 100 at the preserving gain.
@pytest.mark.parametrize(
    ("distribution", "survival"),
    [
        (stats.uniform(0.8, 0.4), 0.031),
        (WIDE, 0.389),
        (stats.gamma(25, scale=0.04), 0.088),
        (SKEWED, 0.992),
    ],
)
def test_survival(distribution, survival):
    profile = vf.finite_width(
        vf.Network(width=100, depth=100, gain=vf.gain(threshold=distribution), neuron=vf.Neuron(distribution))
    )
    assert profile.survival[-1] == pytest.approx(survival, abs=6e-4)


def test_deep_states_are_those_of_the_averaged_chain():
    n, gain = 60, 2.6
    chain = vf.SpikeChain(vf.Network(width=n, depth=3, gain=gain, neuron=vf.Neuron(WIDE)))
    theta = np.linspace(0.5, 1.5, 4001)
    p = [0.0, *(integrate.simpson(stats.norm.sf(theta / (gain**2 * k / n) ** 0.5), x=theta) for k in range(1, n + 1))]
    matrix = stats.binom.pmf(np.arange(n + 1), n, np.array(p)[:, None])
    values = np.sort(np.abs(np.linalg.eigvals(matrix[1:, 1:])))
    assert chain.quasi_stationary().escape_rate == pytest.approx(1 - values[-1], rel=1e-8)
    assert chain.lifetime().from_quasi_stationary == pytest.approx(1 / (1 - values[-1]), rel=1e-8)


MIDPOINTS = 0.5 + (np.arange(100) + 0.5) / 100, np.full(100, 0.01)
GAUSS = [x.tolist() for x in np.polynomial.legendre.leggauss(10)]


@pytest.mark.parametrize(
    ("weights", "thresholds", "shares", "error"),
    [("sign", *MIDPOINTS, 6e-3), ("uniform", 1 + np.array(GAUSS[0]) / 2, np.array(GAUSS[1]) / 2, 4e-4)],
    ids=["sign", "uniform"],
)
def test_other_weights(weights, thresholds, shares, error):
    """The threshold of each neuron is part of the network: its chain is the mean over thresholds, here by a quadrature."""
    n, gain = 20, 2.5
    network = lambda theta: vf.Network(width=n, depth=2, gain=gain, neuron=vf.Neuron(theta), weights=weights)  # noqa: E731
    chance = shares @ [vf.SpikeChain(network(float(value))).kernels[0].p for value in thresholds]
    found = vf.SpikeChain(network(WIDE)).kernels[0].p
    assert found == pytest.approx(chance, abs=error)  # of the quadrature
    equal = vf.SpikeChain(network(1.0)).kernels[0].p
    assert np.abs(equal - chance).max() > 1e-2


@pytest.mark.parametrize(("engine", "plain"), [("dense", True), ("conditional", False)])
def test_simulations_of_one_step(engine, plain):
    neuron, gain = vf.Neuron(WIDE), vf.gain(threshold=WIDE)

    def network(neuron):
        if plain:
            return vf.Network(width=120, depth=6, gain=gain, neuron=neuron)
        layers = [L.Spike(neuron), *[L.Linear(gain=gain), L.Scale(1.0), L.Spike(neuron)] * 5]
        return vf.Network(width=120, layers=layers)

    ensemble = vf.simulate(network(neuron), repeats=100, seed=3, engine=engine)
    exact = vf.finite_width(vf.Network(width=120, depth=6, gain=gain, neuron=neuron))
    assert vf.compare(exact, ensemble).passed
    assert np.all(ensemble.std().firing_rate < exact.firing_rate_std * (1 + K / (2 * 99) ** 0.5))
    wrong = vf.finite_width(vf.Network(width=120, depth=6, gain=gain, neuron=vf.Neuron(1.0)))
    assert not vf.compare(wrong, ensemble).passed


def test_neurons_are_new_in_every_layer_and_network_whatever_the_batching():
    networks = [vf.Network(width=50, depth=d, gain=2.6, neuron=vf.Neuron(WIDE)) for d in (3, 5)]
    both = vf.simulate(networks, repeats=9, seed=1)
    one = vf.simulate(networks[1], repeats=4, seed=1)
    assert np.array_equal(one.firing_rate, both[1].firing_rate[:4])
    assert np.array_equal(both[0].firing_rate, both[1].firing_rate[:, :3])


NEURONS = [
    vf.Neuron(1.0, decay=stats.uniform(0.1, 0.8), reset="delayed_subtract"),
    vf.Neuron(stats.uniform(0.2, 1.6), decay=0.5, reset="zero"),
    vf.Neuron(WIDE, decay=stats.beta(2, 2), reset=vf.resets.Reset(membrane=0.5, input=0.3)),
    vf.Neuron(WIDE, decay=stats.uniform(0.1, 0.8)),
    vf.Neuron(WIDE, decay=0.4, reset="multi_spike"),
]


@pytest.mark.parametrize(
    ("neuron", "engine"),
    [
        pytest.param(neuron, engine, id=f"{neuron}-{engine}", marks=[pytest.mark.slow] * (engine == "dense" and k != 3))
        for k, neuron in enumerate(NEURONS)
        for engine in ("dense", "conditional")
    ],
)
def test_simulations_in_time(engine, neuron):
    def network(neuron):
        return vf.Network(width=400, depth=4, gain=8**0.5, neuron=neuron, steps=6, drive=vf.drives.white(1.5))

    ensemble = vf.simulate(network(neuron), repeats=24 if engine == "dense" else 48, seed=2, engine=engine)
    profile = vf.mean_field(network(neuron), points=2**12, scrambles=4)
    comparison = vf.compare(profile, ensemble, bias=BIAS)
    assert comparison.passed, comparison
    M, error = ensemble.mean().second_moments, ensemble.stderr().second_moments
    assert M is not None
    assert error is not None
    assert profile.second_moments is not None
    assert np.all(np.abs(M - profile.second_moments) < K * error + BIAS * profile.second_moments)
    equal = vf.Neuron(1.0, decay=0.5, reset=neuron.reset)
    assert not vf.compare(vf.mean_field(network(equal), points=2**12, scrambles=4), ensemble, bias=BIAS).passed


def test_rates_of_deep_layers_in_time():
    """β in U(.1, .9), and θ in U(.5, 1.5), at g² = 8 in layer 15."""
    for neuron, rate in (
        (vf.Neuron(1.0, decay=stats.uniform(0.1, 0.8), reset="delayed_subtract"), 0.2170),
        (vf.Neuron(WIDE, decay=0.5, reset="delayed_subtract"), 0.2176),
    ):
        network = vf.Network(width=1000, depth=15, gain=8**0.5, neuron=neuron, steps=20)
        profile = vf.mean_field(network, points=2**12, scrambles=4)
        assert np.abs(profile.firing_rate[-1, 10:].mean() - rate) < 4 * profile.error["firing_rate"][-1, 10:].max() + 5e-4


@pytest.mark.parametrize("engine", ["dense", "conditional"])
def test_layers_of_neurons_that_differ(engine):
    """Channels of a map share their threshold between positions; recurrent layers, a maximum, and several inputs."""
    neuron = vf.Neuron(WIDE, decay=stats.uniform(0.1, 0.8), reset="subtract")

    def network(neuron):
        layers = [
            L.Conv(60, gain=3.0),
            L.Spike(neuron),
            L.Pool("max", 2),
            L.Conv(60, gain=3.0),
            L.Spike(neuron),
            L.Linear(250, gain=2.5),
            L.Spike(neuron, recurrent_gain=1.5),
            L.Linear(250, gain=2.5),
            L.Spike(vf.Neuron(WIDE)),
        ]
        x = np.random.default_rng(3).normal(size=(1, 4, 16, 4, 4)) / 1.5
        return vf.Network(layers=layers, steps=4, drive=vf.drives.inputs(x))

    ensemble = vf.simulate(network(neuron), repeats=40, seed=2, engine=engine)
    profile = vf.mean_field(network(neuron), points=2**11, scrambles=4)
    assert vf.compare(profile, ensemble, bias=3 * BIAS).passed
    equal = vf.mean_field(network(vf.Neuron(1.0, decay=0.5, reset="subtract")), points=2**11, scrambles=4)
    assert not vf.compare(equal, ensemble, bias=3 * BIAS).passed


def test_results_of_neurons_that_differ_are_kept_and_written(tmp_path):
    network = vf.Network(width=20, depth=3, gain=2.5, neuron=vf.Neuron(WIDE))
    rates = [vf.simulate(network, repeats=5, campaign=vf.Campaign(store=tmp_path / "kept")).firing_rate for _ in range(2)]
    np.testing.assert_array_equal(rates[0], rates[1])
    found = vf.gain_for_rate(block=[L.Spike(vf.Neuron(WIDE)), L.Linear(gain=1.0)], rate=0.2)
    assert json.loads(json.dumps(found.to_dict()))["threshold"] == 1.0


def test_a_drive_given_neuron_by_neuron():
    currents = np.random.default_rng(0).normal(size=(1, 4, 500)) * 1.5
    neuron = vf.Neuron(WIDE, decay=0.5, reset="zero")
    network = vf.Network(width=500, depth=1, gain=1.0, neuron=neuron, steps=4, drive=vf.drives.given(currents))
    ensemble = vf.simulate(network, repeats=80, seed=1)
    profile = vf.mean_field(network)
    assert np.all(np.abs(ensemble.mean().firing_rate - profile.firing_rate) < K * ensemble.stderr().firing_rate)


@pytest.mark.parametrize("reset", ["zero", "gate"])
def test_the_inverse_in_time_takes_decays_that_differ(reset):
    neuron = vf.Neuron(1.0, decay=stats.uniform(0.3, 0.4), reset=reset)
    found = vf.gain_for_rate(neuron, rate=0.25, steps=6, depth=10, points=2**9)
    network = vf.Network(
        width=500, depth=10, gain=found.gain, neuron=neuron, steps=6, drive=vf.drives.currents(found.input_gain or 0.0)
    )
    profile = vf.mean_field(network, points=2**12, scrambles=4)
    assert profile.firing_rate[-1, 3:].mean() == pytest.approx(0.25, abs=0.01)


def late_rate(gain, neuron, seed):
    """Mean over the late steps of the deepest layer, and its standard error, of networks under currents of strength 1.5."""
    network = vf.Network(width=1000, depth=12, gain=gain, neuron=neuron, steps=6, drive=vf.drives.currents(1.5))
    rates = vf.simulate(network, repeats=75, seed=seed, engine="conditional").firing_rate[:, -1, 3:].mean(axis=-1)
    return rates.mean(), rates.std(ddof=1) / 75**0.5


@pytest.mark.parametrize(("reset", "wanted"), [("none", 0.3), pytest.param("subtract", 0.2, marks=pytest.mark.slow)])
def test_the_inverse_in_time_takes_thresholds_that_differ(reset, wanted):
    neuron = vf.Neuron(stats.uniform(0.5, 1.5), decay=0.5, reset=reset, input_scale=0.7)
    found = vf.gain_for_rate(neuron, rate=wanted, steps=6, depth=12, drive=vf.drives.currents(1.5), points=2**10)
    rate, error = late_rate(found.gain, neuron, 1)
    assert abs(rate - wanted) < K * error + BIAS * wanted
    equal = vf.gain_for_rate(
        vf.Neuron(1.25, decay=0.5, reset=reset, input_scale=0.7), rate=wanted, steps=6, depth=12, points=2**10
    )
    rate, error = late_rate(equal.gain, neuron, 2)
    assert abs(rate - wanted) > K * error + BIAS * wanted
    found = vf.gain_for_variance(neuron, variance=2.0, steps=2, depth=3)
    drive = vf.drives.currents(found.input_gain or 0.0)

    def off(gain):  # found to 3e-4
        profile = vf.mean_field(vf.Network(width=9, depth=3, gain=gain, neuron=neuron, steps=2, drive=drive), seed=1)
        errors = (of.error["variance"] if of.error else 0.0 for of in (found, profile))
        return abs(profile.variance[-1, 1] - 2.0) / (K * math.hypot(*(float(np.ravel(each)[-1]) for each in errors)) + 6e-4)

    assert off(found.gain) <= 1 < 2 < off(0.97 * found.gain)


def test_critical_gains_in_time_of_thresholds_that_differ():
    """Without memory that of the averaged map; thresholds below rest keep every step alive."""

    def alive(gain, low=0.5, high=1.5):
        theta, V, rate = np.linspace(low, high, 1001), 1.0, 0.0
        for _ in range(8):
            rate = integrate.simpson(stats.norm.sf(theta / V**0.5), x=theta) / (high - low)
            V = gain**2 * rate + 1e-300
        return rate > 1e-3

    found = vf.temporal_critical_gain(vf.Neuron(WIDE, input_scale=0.5), steps=2, depth=8, drive=vf.drives.currents(2.0))
    assert alive(found.gain / 2 * (1 + 1e-3))
    assert not alive(found.gain / 2 * (1 - 1e-3))
    assert not alive(found.gain / 2 * (1 + 1e-3), 0.99, 1.01)
    assert vf.temporal_critical_gain(vf.Neuron(stats.norm(0.5, 1), decay=0.5), steps=2).gain == 0


@pytest.mark.parametrize("bias_std", [0.0, 0.1])
@pytest.mark.parametrize("law", [WIDE, stats.expon()], ids=["uniform", "exponential"])
def test_the_largest_stable_variance_is_that_of_the_averaged_map(law, bias_std):
    gains = np.array([1.5, 2.5, 4.0])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    edges = law.ppf([1e-16, 0.5, 1 - 1e-12])
    x = np.concatenate([(low + high) / 2 + (high - low) / 2 * nodes for low, high in pairwise(edges)])
    mass = law.pdf(x) * np.concatenate([(high - low) / 2 * weights for low, high in pairwise(edges)])
    for gain, found in zip(gains, vf.stable_variance(threshold=law, gain=gains, bias_std=bias_std), strict=True):
        V = gain**2
        for _ in range(60):  # from above, downwards to the largest fixed point
            V = bias_std**2 + gain**2 * (mass @ special.ndtr(-x / V**0.5) if V > 0 else 0.0)
        assert found == pytest.approx(V, rel=1e-6, abs=1e-9)
        assert (
            found != pytest.approx(vf.stable_variance(threshold=law.mean(), gain=gain, bias_std=bias_std), rel=1e-3) or V < 0.1
        )


def alive(gain, width, depth, neuron, repeats=600, drive=1.0):
    """Fraction of simulated networks alive in the last layer, and its standard error."""
    network = vf.Network(width=width, depth=depth, gain=gain, neuron=neuron, drive=vf.drives.currents(drive))
    fraction = float((vf.simulate(network, repeats=repeats, seed=5, engine="conditional").spikes[:, -1] > 0).mean())
    return fraction, (fraction * (1 - fraction) / repeats) ** 0.5


def test_lookup_of_thresholds_that_differ():
    found = vf.lookup(neuron=vf.Neuron(WIDE, input_scale=0.5), fan_in=40, depth=10, survival_target=0.8)
    assert found.gain == pytest.approx(2 * vf.gain(threshold=WIDE), rel=1e-14)
    (point,) = (p for p in vf.fixed_points(threshold=WIDE, gain=found.gain / 2) if p.variance == pytest.approx(1.0, rel=1e-6))
    for name in ("firing_rate", "multiplier", "stable", "depth_scale"):
        assert getattr(found, name) == pytest.approx(getattr(point, name), rel=1e-9)
    assert found.critical_gain == pytest.approx(2 * vf.critical_gain(threshold=WIDE), rel=1e-14)
    assert found.corrected_gain is not None
    assert found.survival is not None
    for gain, survival in ((found.gain, found.survival), (found.corrected_gain, 0.8)):
        fraction, error = alive(gain / 2, 40, 10, vf.Neuron(WIDE))
        assert abs(fraction - survival) < K * error
        assert abs(fraction - alive(gain / 2, 40, 10, vf.Neuron(1.0))[0]) > 2 * K * error
    at_rate = vf.lookup(threshold=WIDE, fan_in=40, depth=10, rate=0.25)
    theta = np.linspace(0.5, 1.5, 4001)
    assert integrate.simpson(stats.norm.sf(theta / at_rate.variance**0.5), x=theta) == pytest.approx(0.25, rel=1e-9)
    assert at_rate.variance == pytest.approx(at_rate.gain**2 * 0.25, rel=1e-12)
    assert vf.init.calculate_gain(vf.Neuron(WIDE), rate=0.25) == at_rate.gain
    fraction, error = alive(at_rate.gain, 40, 10, vf.Neuron(WIDE), drive=at_rate.variance**0.5)
    assert at_rate.survival is not None
    assert abs(fraction - at_rate.survival) < K * error


def test_a_phase_diagram_of_thresholds_that_differ():
    laws = [stats.uniform(0.5 * mean, mean) for mean in (0.8, 1.0)]
    diagram = vf.phase_diagram(threshold=laws[::-1], width=[20, 40], depth=15)
    assert diagram.thresholds == pytest.approx([0.8, 1.0])
    assert "uniform(0.4, 0.8)" in str(diagram)
    for row, law in zip(diagram.survival, laws, strict=True):
        for survival, width in zip(row, (20, 40), strict=True):
            fraction, error = alive(vf.gain(threshold=law), width, 15, vf.Neuron(law))
            assert abs(fraction - survival) < K * error + 1e-3
    equal = vf.phase_diagram(threshold=[0.8, 1.0], width=[20, 40], depth=15).survival
    assert np.abs(diagram.survival - equal).max() > 0.1


def test_validate_takes_thresholds_that_differ():
    experiment = vf.validate(
        threshold=[1.0, WIDE, stats.uniform(0.5, 1.0)], gain=[2.5, 3.0], width=100, depth=6, repeats=50, false_alarm=0.01
    )
    assert experiment.passed
    assert len(experiment.curves) == 4
    assert [curve["threshold"] for curve in json.loads(json.dumps(experiment.to_dict()))["curves"]][1] == "uniform(0.5, 1)"
    assert "uniform(0.5, 1)" in str(experiment)
    equal, differing = experiment.curves[:2]
    assert not vf.compare(equal.profile, differing.ensemble).passed
    leaky = vf.Neuron(WIDE, decay=0.5, reset="zero")
    assert vf.validate(neuron=leaky, gain=2.6, width=200, depth=3, repeats=10, steps=3, bias=BIAS).passed


FROZEN = "frozen continuous scipy.stats distribution"
REFUSED = [
    (lambda: vf.Neuron(stats.norm), FROZEN),
    (lambda: vf.Neuron(stats.poisson(2)), FROZEN),
    (lambda: vf.Neuron(stats.rv_histogram(np.histogram([1.0, 2.0, 3.0]))), FROZEN),
    (lambda: vf.Neuron(stats.cauchy()), "finite mean"),
    (lambda: vf.Neuron(stats.uniform([0.1, 0.2], 1.0)), "array parameters"),
    (lambda: vf.Neuron(decay=stats.uniform(0.1, 1.0)), NO_FRACTION),
    (lambda: vf.Neuron(decay=stats.norm(0.5, 0.1)), NO_FRACTION),
    (lambda: vf.Neuron(stats.uniform(0, 1), reset="multi_spike"), "must be positive"),
    (lambda: vf.fixed_points(threshold=stats.norm(0, 1), gain=2.0), "values below 0"),
    (lambda: vf.fixed_points(threshold=WIDE, gain=2.0, mean_gain=1.0), "mean_gain=1.0 must be 0"),
    (lambda: vf.critical_gain(threshold=WIDE, distribution=stats.binom(9, 0.5)), "must be continuous"),
    (lambda: vf.stable_variance(threshold=stats.norm(0, 1), gain=2.0), "values below 0"),
    (lambda: vf.lookup(threshold=stats.norm(0, 1), fan_in=9, rate=0.2), "values below 0"),
    (lambda: vf.lookup(threshold=1.0, neuron=vf.Neuron(WIDE), fan_in=9), "conflicts with the neuron's uniform"),
    (lambda: vf.corrected_gain(threshold=stats.norm(0, 1), width=10, depth=10), "positive in all neurons"),
    (lambda: vf.phase_diagram(threshold=[1.0, WIDE], width=10), r"has the mean of 1.0"),
    (lambda: vf.gain_for_rate(vf.Neuron(stats.norm(-1, 1), decay=0.5), rate=0.2, steps=4), "give a gain"),
    (lambda: vf.catalogue(neuron=vf.Neuron(WIDE)), "differs between neurons: give numbers, or call vf.finite_width"),
    (lambda: vf.certified.critical_gain(threshold=WIDE), "real number"),  # pyright: ignore
    (lambda: vf.expansion(vf.Network(width=10, depth=2, gain=3.0, neuron=vf.Neuron(WIDE))), "differs between neurons"),
    (
        lambda: vf.reference.mean_field_in_time(
            vf.Network(width=10, depth=2, gain=3.0, neuron=vf.Neuron(WIDE, decay=0.5), steps=2)
        ),
        "differs between neurons",
    ),
]


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_refused_in_one_line(call, words):
    with pytest.raises(vf.DomainError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("thresholds", [WIDE, SKEWED, stats.norm(1, 0.2), stats.lognorm(0.3)])
def test_wide_membranes_are_averaged_over_thresholds_by_few_values(thresholds):
    """As adaptive quadrature to 1e-11; a Gauss rule of 12 values is not. Narrow ones keep the fine rule, samples theirs."""
    over = OverNeurons.of("threshold", thresholds)
    middle, ends = thresholds.median(), [thresholds.ppf(1e-16), thresholds.isf(1e-16)]
    unit = thresholds.interval(0.5)[1] - middle
    for std in (0.6 * unit, 2 * unit, 20 * unit):
        rate = lambda theta, std=std: stats.norm.sf((theta - middle) / std)  # noqa: E731
        inside = [middle + k * std for k in (-6, -3, -1, 0, 1, 3, 6) if ends[0] < middle + k * std < ends[1]]
        inside = sorted({*ends, *inside, *thresholds.ppf([0.01, 0.3, 0.7, 0.99])})
        density = lambda x, rate=rate: rate(x) * thresholds.pdf(x)  # noqa: E731
        exact = sum(integrate.quad(density, *piece, epsabs=1e-14)[0] for piece in pairwise(inside))
        ((_, values, weights),) = over.rules_for(np.array([std]))
        assert len(values) < len(over.rule()[0]) / 4
        assert abs(rate(values) @ weights - exact) < 1e-11
        few, their_weights = over.rule(12)
        assert std > unit or abs(rate(few) @ their_weights - exact) > 1e-11
    _, (_, values, _) = over.rules_for(np.array([1.0, 1e-3]) * middle)
    assert len(values) == len(over.rule()[0])
    ((_, values, _),) = OverNeurons.of("threshold", np.linspace(0.5, 1.5, 200)).rules_for(np.array([5.0]))
    assert len(values) == 200


def learned(outliers, low, bulk, high, seed=0):
    """Thresholds of which a few lie far below the others, all different."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(low, 0.05 * low, outliers), rng.normal(high, 0.05 * high, bulk)])


@pytest.mark.parametrize(
    "thresholds", [learned(11, 0.02, 500, 0.9), learned(4, 0.05, 900, 0.8), np.repeat([0.03, 0.8], [9, 500])]
)
def test_arrays_are_averaged_over_all_values(thresholds):
    """Fixed points, the critical gain and chains with the mean over all neurons; neighbours averaged in 305 groups fail."""
    gain = 2.2

    def F(V, theta=thresholds, weight=1.0):
        return gain**2 * np.sum(weight * special.ndtr(-theta / np.sqrt(V))) / np.sum(weight * np.ones(len(theta)))

    block = [L.Spike(vf.Neuron(thresholds)), L.Linear(gain=gain)]
    active = [point.variance for point in vf.fixed_points(block=block) if point.variance]
    assert len(active) >= 2
    assert [F(V) for V in active] == pytest.approx(active, rel=1e-9)
    groups = np.array_split(np.sort(thresholds), 305)
    grouped = np.array([group.mean() for group in groups]), np.array([len(group) for group in groups])
    assert [F(V, *grouped) for V in active] != pytest.approx(active, rel=1e-5)
    V = np.geomspace(1e-7, 30, 1001)
    for _ in range(2):  # the second time about the maximum, to (1e-5)²
        ratio = np.array([F(v) for v in V]) / V / gain**2
        V = np.geomspace(V[ratio.argmax() - 1], V[ratio.argmax() + 1], 1001)
    assert vf.critical_gain(block=block) == pytest.approx(ratio.max() ** -0.5, rel=1e-8)
    chain = vf.SpikeChain(vf.Network(width=40, depth=2, gain=gain, neuron=vf.Neuron(thresholds))).kernels[0].p
    assert chain[1:] == pytest.approx([F(gain**2 * k / 40) / gain**2 for k in range(1, 41)], rel=1e-12)


@pytest.mark.parametrize("parameter", ["threshold", "decay"])
def test_arrays_in_time_are_averaged_within_the_stated_error(parameter):
    values = learned(6, 0.1, 250, 0.7, seed=3)
    neuron = lambda value: vf.Neuron(**({"threshold": 1.0, "decay": 0.4} | {parameter: value}))  # noqa: E731
    network = lambda value: vf.Network(width=50, depth=1, gain=2.0, neuron=neuron(value), steps=2)  # noqa: E731
    found = vf.mean_field(network(values))
    exact = np.mean([vf.mean_field(network(float(value))).firing_rate for value in values], axis=0)
    assert found.firing_rate == pytest.approx(exact, abs=1e-7)
    assert (found.error["firing_rate"] > np.abs(found.firing_rate - exact)).all()
    assert vf.mean_field(network(values[:5])).error["firing_rate"].max() < 1e-12  # all values are used
    assert vf.mean_field(network(values.mean())).firing_rate != pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_error_of_averages_over_arrays_is_stated_wherever_not_all_values_are_used(steps):
    """Rows that a BatchNorm joins, and several steps. It is systematic: replicas do not make it smaller."""
    rows, values = np.random.default_rng(5).normal(size=(6, 40)), learned(5, 0.2, 300, 0.8, seed=9)

    def found(thresholds):
        spike = L.Spike(vf.Neuron(thresholds))
        layers = [L.Linear(gain=1.7), L.BatchNorm(), spike, L.Linear(gain=1.7), L.BatchNorm(), spike]
        return vf.mean_field(vf.Network(layers=layers, width=40, steps=steps, drive=vf.drives.inputs(rows)))

    assert found(values).error["firing_rate"].min() > 0.99e-5
    exact = found(values[:12]).error
    assert not exact or exact["firing_rate"].max() < 1e-12
