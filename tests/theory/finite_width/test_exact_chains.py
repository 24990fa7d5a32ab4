"""Exact chains of networks of layers: enumeration of whole networks, simulations by both engines, and what has no chain."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import varflow as vf

L = vf.layers
SPIKE = L.Spike(vf.Neuron(1.0))
K = 4.5


def linear(square, **more):
    return L.Linear(gain=square**0.5, **more)


def network(layers, width=40, **more):
    return vf.Network(width=width, layers=layers, **more)


def rows_of(kind, square):
    return network([SPIKE, *[linear(square, rows=kind), SPIKE] * 99], width=100)


# Survival to layer 100, width 100, at the gains that keep the variance 1.
@pytest.mark.parametrize(
    ("kind", "square", "survival"), [("free", 6.303, 0.0171), ("centred", 7.49155, 0.172), ("standardised", 7.49155, 0.281)]
)
def test_survival_with_constrained_rows(kind, square, survival):
    assert vf.finite_width(rows_of(kind, square)).survival[-1] == pytest.approx(survival, abs=6e-4)


def test_survival_of_wider_networks():
    wide = [network([SPIKE, *[linear(square, rows=rows), SPIKE] * 99], width=300) for rows, square in WIDE]
    assert [vf.finite_width(each).survival[-1] for each in wide] == pytest.approx([0.358, 0.959], abs=6e-4)


WIDE = (("free", 6.303), ("standardised", 7.49155))


def test_standardised_rows_are_directions_on_a_sphere():
    """Against the area of a cap, integrated in polar coordinates."""
    n, square = 9, 7.0
    p = vf.SpikeChain(network([SPIKE, linear(square, rows="standardised"), SPIKE], width=n)).kernels[0].p
    phi = (np.arange(200_000) + 0.5) * np.pi / 200_000
    density = np.sin(phi) ** (n - 3)
    for count in range(n + 1):
        length = (square * count * (1 - count / n)) ** 0.5
        cap = density[length * np.cos(phi) > 1].sum() / density.sum()
        assert p[count] == pytest.approx(cap, abs=1e-5)


def _merged(merge, x, y):
    return x & y if merge == "and" else x & ~y


@pytest.mark.parametrize("merge", ["and", "iand"])
@pytest.mark.parametrize("inner", [1, 2])
def test_merges_against_an_enumeration_of_all_spikes(merge, inner):
    """All patterns of two and three layers of 3 neurons, each pattern given the one before by independent neurons."""
    n, square = 3, 9.0
    patterns = np.array(list(itertools.product([False, True], repeat=n)))
    fires = lambda k: stats.norm.sf(1 / (square * k / n) ** 0.5) if k else 0.0  # noqa: E731
    chance = lambda pattern, p: np.prod(np.where(pattern, p, 1 - p))  # noqa: E731
    after, branch = np.zeros(n + 1), np.zeros(n + 1)
    for x in patterns:
        middles = [(x, 1.0)] if inner == 1 else [(j, chance(j, fires(x.sum()))) for j in patterns]
        for (j, mass), y in itertools.product(middles, patterns):
            mass = chance(x, stats.norm.sf(1)) * mass * chance(y, fires(j.sum()))
            branch[y.sum()] += mass
            after[_merged(merge, x, y).sum()] += mass
    layers = [SPIKE, L.Residual(*[linear(square), SPIKE] * inner, merge=merge), linear(square), SPIKE]
    profile = vf.finite_width(network(layers, width=n))
    k = np.arange(n + 1)
    assert profile.firing_rate[-2] == pytest.approx(branch @ k / n, rel=1e-12)
    assert profile.variance[-1] == pytest.approx(square * after @ k / n, rel=1e-12)
    assert profile.firing_rate[-1] == pytest.approx(after @ np.array([fires(count) for count in k]), rel=1e-12)


NETWORKS = {
    "iand": [SPIKE, *[L.Residual(linear(8.0), SPIKE, merge="iand")] * 4, linear(8.0), SPIKE],
    "and": [SPIKE, *[L.Residual(linear(12.0), SPIKE, merge="and")] * 2, linear(12.0), SPIKE],
    "two layers": [SPIKE, *[L.Residual(linear(8.0), SPIKE, linear(8.0), SPIKE, merge="iand")] * 3, linear(8.0), SPIKE],
    "nested": [
        SPIKE,
        L.Residual(linear(9.0), SPIKE, L.Residual(linear(9.0), SPIKE, merge="iand"), linear(9.0), SPIKE, merge="iand"),
        linear(9.0),
        SPIKE,
    ],
    "mixed": [
        SPIKE,
        L.Residual(L.Linear(70, gain=4.0), SPIKE, L.Linear(40, gain=3.0), SPIKE, merge="and"),
        linear(9.0, rows="centred"),
        L.Spike(vf.Neuron(stats.uniform(0.5, 0.6), input_scale=1.1)),
        L.Residual(linear(9.0, rows="standardised"), L.Spike(vf.Neuron(0.8)), merge="iand"),
        linear(8.0, bias_std=0.2, mean_gain=0.3),
        SPIKE,
    ],
}


ENDING = {  # in merges: what counts is what leaves
    "iand last": [SPIKE, *[L.Residual(linear(8.0), SPIKE, merge="iand")] * 3],
    "and last": [SPIKE, linear(8.0), SPIKE, L.Residual(linear(14.0), SPIKE, merge="and"), L.Scale(0.5)],
}


@pytest.mark.parametrize("merge", ["and", "iand"])
def test_the_last_row_is_what_leaves_a_merge_by_an_enumeration(merge):
    n, square = 4, 7.0
    k, fires = np.arange(n + 1), [stats.norm.sf(1 / (square * j / n) ** 0.5) if j else 0.0 for j in range(n + 1)]
    start = stats.binom.pmf(k, n, stats.norm.sf(1))
    kept = [q if merge == "and" else 1 - q for q in fires]
    alive = start @ [1 - (1 - kept[j]) ** j for j in k]
    profile = vf.finite_width(network([SPIKE, L.Residual(linear(square), SPIKE, merge=merge)], width=n))
    assert profile.survival[-1] == pytest.approx(alive, rel=1e-12)
    assert profile.firing_rate[-1] == pytest.approx(start @ (k * kept) / n, rel=1e-12)
    assert profile.variance[-1] == pytest.approx(square * start @ k / n, rel=1e-12)
    assert vf.SpikeChain(profile.network).survival() == pytest.approx(alive, rel=1e-12)


@pytest.mark.parametrize("merge", ["and", "iand"])
def test_a_graph_by_hand_has_the_chain_of_the_layers_it_repeats(merge):
    nodes = {"s1": (SPIKE, "drive"), "c2": (linear(8.0), "s1"), "s2": (SPIKE, "c2"), "no": (L.Sum((-1.0,), 1.0), "s2")}
    nodes |= {"xy": (L.Product(), "s1", "no" if merge == "iand" else "s2"), "c3": (linear(9.0), "xy"), "s3": (SPIKE, "c3")}
    by_hand = vf.finite_width(vf.Network(width=20, nodes=nodes))
    layers = [SPIKE, L.Residual(linear(8.0), SPIKE, merge=merge), linear(9.0), SPIKE]
    short = vf.finite_width(network(layers, width=20))
    assert np.array_equal(by_hand.survival, short.survival)
    assert np.array_equal(by_hand.variance_std, short.variance_std)
    other = nodes | {"xy": (L.Product(), "s1", "s2" if merge == "iand" else "no")}
    assert not np.array_equal(vf.finite_width(vf.Network(width=20, nodes=other)).survival, short.survival)


def test_layers_side_by_side_have_the_counts_of_their_own_chains():
    """Two layers read the same spikes; only the second goes on. What no chain connects is refused."""
    nodes = {"s1": (SPIKE, "drive"), "c2": (linear(8.0), "s1"), "s2": (SPIKE, "c2"), "c3": (linear(9.0), "s1")}
    nodes |= {"s3": (SPIKE, "c3"), "c4": (linear(10.0), "s3"), "s4": (SPIKE, "c4")}
    found = vf.finite_width(vf.Network(width=20, nodes=nodes))
    chain = vf.finite_width(network([SPIKE, linear(9.0), SPIKE, linear(10.0), SPIKE], width=20))
    np.testing.assert_allclose(found.survival[[0, 2, 3]], chain.survival, rtol=1e-12)
    alone = vf.finite_width(network([SPIKE, linear(8.0), SPIKE], width=20))
    assert found.firing_rate[1] == pytest.approx(alone.firing_rate[1], rel=1e-12)
    with pytest.raises(vf.DomainError, match=r"xy=Product.*must end its branch with a Spike"):
        vf.finite_width(vf.Network(width=20, nodes=nodes | {"xy": (L.Product(), "s2", "s3")}))
    with pytest.raises(vf.DomainError, match=r"cat=Concat.* side by side"):
        vf.finite_width(vf.Network(width=20, nodes=nodes | {"cat": (L.Concat(), "s2", "s3")}))


@pytest.mark.parametrize("engine", ["dense", "conditional"])
@pytest.mark.parametrize("name", ENDING)
def test_networks_that_end_in_merges_are_simulated_and_drawn_as_they_leave(name, engine):
    described, merge = network(ENDING[name], width=80), next(layer for layer in ENDING[name] if layer.branch)
    exact = vf.finite_width(described)
    assert exact.sample is not None
    ensembles = vf.simulate(described, repeats=300, seed=5, engine=engine), exact.sample(300, seed=6)
    for ensemble in ensembles:
        comparison = vf.compare(exact, ensemble, false_alarm=0.01)
        assert comparison.passed, comparison
        assert ensemble.mean().survival[-1] == (ensemble.firing_rate[:, -1] > 0).mean()
    stronger = [L.Residual(linear(18.0), SPIKE, merge=name.split()[0]) if layer is merge else layer for layer in ENDING[name]]
    assert not vf.compare(vf.finite_width(network(stronger, width=80)), ensembles[0], false_alarm=0.01).passed


def test_sums_that_leave_are_simulated_as_predicted():
    """Over several steps, with their second moments; sums that miss one branch are rejected."""
    leaky = L.Spike(vf.Neuron(0.9, decay=0.4, reset="subtract"))

    def built(blocks):
        return network([leaky, *[L.Residual(linear(5.0), leaky)] * blocks], width=500, steps=3)

    profile, ensemble = vf.mean_field(built(3), points=2**9), vf.simulate(built(3), repeats=60, seed=1, engine="conditional")
    assert profile.firing_rate[-1, -1] > 1
    assert vf.compare(profile, ensemble, bias=0.02).passed
    M, measured, error = profile.second_moments[-1], ensemble.mean().second_moments[-1], ensemble.stderr().second_moments[-1]
    assert np.all(np.abs(measured - M) < K * error + 0.03 * M)
    assert np.all(np.abs(measured - vf.mean_field(built(2), points=2**9).second_moments[-1]) > K * error + 0.03 * M)


QUICK = (("nested", "dense"), ("mixed", "dense"), ("mixed", "conditional"))  # every kind of layer, in both engines


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        pytest.param(name, engine, marks=[pytest.mark.slow] * ((name, engine) not in QUICK))
        for name in NETWORKS
        for engine in ("dense", "conditional")
    ],
)
def test_simulations(name, engine):
    described = network(NETWORKS[name])
    count, exact = 300, vf.finite_width(described)
    ensemble = vf.simulate(described, repeats=count, seed=4, engine=engine)
    comparison = vf.compare(exact, ensemble, false_alarm=0.01)
    assert comparison.passed, comparison
    alive = (ensemble.firing_rate > 0).mean(axis=0)
    assert np.all(np.abs(alive - exact.survival) < K * np.sqrt(exact.survival * (1 - exact.survival) / count) + 1 / count)
    other = network([layer if layer is not SPIKE else L.Spike(vf.Neuron(0.9)) for layer in NETWORKS[name]])
    assert not vf.compare(vf.finite_width(other), ensemble, false_alarm=0.01).passed


def narrow(bias_std):
    """Layers that receive no spikes: with different biases, behind a merge, and none at all."""
    weights = linear(6.25, rows="centred", bias_std=bias_std), linear(6.25), linear(9.0, bias_std=0.5 * bias_std)
    merge = L.Residual(linear(9.0), SPIKE, merge="iand")
    return network([SPIKE, weights[0], SPIKE, weights[1], SPIKE, merge, weights[2], SPIKE, weights[0], SPIKE], width=10)


def test_compare_knows_the_variance_of_silent_layers():
    """Mean variances are compared among the networks whose layer receives spikes."""
    profile, ensemble = vf.finite_width(narrow(0.4)), vf.simulate(narrow(0.4), repeats=1000, seed=0)
    np.testing.assert_allclose(profile.silent_variance, [0, 0.16, 0, 0, np.nan, 0.16], rtol=1e-14)
    comparison = vf.compare(profile, ensemble)
    assert comparison.passed, comparison
    assert np.abs(comparison.z["variance"]).max() < K
    assert not vf.compare(vf.finite_width(narrow(0.6)), ensemble).passed


@pytest.mark.parametrize("name", NETWORKS)
def test_draws_from_the_chain(name):
    exact = vf.finite_width(network(NETWORKS[name]))
    assert exact.sample is not None
    for drawn in (exact.sample(4000, seed=1), exact.sample(400, seed=2, ensembles=10)):  # by moments, and by potentials
        for quantity in ("variance", "firing_rate"):
            values, mean, std = getattr(drawn, quantity), getattr(exact, quantity), getattr(exact, quantity + "_std")
            assert np.all(np.abs(values.mean(axis=0) - mean) < K * std / len(values) ** 0.5)
            kurtosis = stats.kurtosis(values, axis=0) + 2
            assert np.all(np.abs(values.std(axis=0) / std - 1) < K * np.sqrt(kurtosis / (4 * len(values))))
            assert np.any(np.abs(values.mean(axis=0) - 1.05 * mean) > K * std / len(values) ** 0.5)


def test_several_inputs():
    x = np.random.default_rng(0).normal(size=(3, 20)) + 0.5
    layers = [L.Linear(gain=2.0, rows="centred", bias_std=0.2), SPIKE, *[L.Residual(linear(8.0), SPIKE, merge="iand")] * 2]
    whole = vf.finite_width(network(layers, drive=vf.drives.inputs(x)))
    for row, one in enumerate(x):
        alone = vf.finite_width(network(layers, drive=vf.drives.inputs(one[None])))
        for name in ("variance", "firing_rate", "survival"):
            assert whole.per_input[name][row] == pytest.approx(getattr(alone, name), rel=1e-12)


@settings(max_examples=8, deadline=None)
@given(
    theta=st.floats(0.3, 1.5),
    square=st.floats(2.0, 20.0),
    n=st.integers(2, 25),
    rows=st.sampled_from(["free", "centred", "standardised"]),
)
def test_properties_of_merges_and_rows(theta, square, n, rows):
    spike = L.Spike(vf.Neuron(theta))
    block = [linear(square, rows=rows), spike]
    for inner in (1, 2):
        merged = {merge: L.Residual(*block * inner, merge=merge) for merge in ("and", "iand")}
        rates = [vf.finite_width(network([spike, merged[m], linear(square), spike], width=n)) for m in merged]
        assert sum(profile.variance[-1] for profile in rates) == pytest.approx(square * rates[0].firing_rate[0], rel=1e-11)
        for profile in rates:
            assert np.all((profile.survival >= 0) & (profile.survival <= 1))
    plain = vf.finite_width(network([spike, *[linear(square), spike] * 3], width=n))
    chain = vf.finite_width(vf.Network(width=n, depth=4, gain=square**0.5, neuron=vf.Neuron(theta)))
    assert np.array_equal(plain.survival, chain.survival)


AFFINE = [L.Scale(0.8), L.BatchNorm(1.6, 0.15, (0.1, 1.9)), L.Scale(-0.9)]
ACROSS = 0.8 * 1.6 * -0.9 / (1.9 + 1e-5) ** 0.5  # u' = ACROSS u + SHIFT
SHIFT = -0.9 * (0.15 - 1.6 * 0.1 / (1.9 + 1e-5) ** 0.5)


def test_affine_layers_against_an_enumeration_of_all_spikes():
    """Two transitions of 3 neurons with weight mean and bias, spikes scaled before the weights and currents after them."""
    n, square, mean, bias = 3, 9.0, 0.5, 0.2
    patterns = np.array(list(itertools.product([False, True], repeat=n)))
    layers = [SPIKE, *[L.Scale(1.2), linear(square, mean_gain=mean, bias_std=bias), *AFFINE, SPIKE] * 2]

    def fires(k, across=ACROSS):
        potential, variance = across * 1.2 * mean * k / n + SHIFT, across**2 * (1.2**2 * square * k / n + bias**2)
        return stats.norm.sf((1 - potential) / variance**0.5)

    def enumerated(across):
        law = {tuple(x): np.prod(np.where(x, stats.norm.sf(1), stats.norm.cdf(1))) for x in patterns}
        for _ in range(2):
            chance = {x: fires(sum(x), across) for x in law}
            law = {
                tuple(y): sum(mass * np.prod(np.where(y, chance[x], 1 - chance[x])) for x, mass in law.items())
                for y in patterns
            }
        return sum(mass * sum(x) / n for x, mass in law.items())

    profile = vf.finite_width(network(layers, width=n))
    assert profile.firing_rate[-1] == pytest.approx(enumerated(ACROSS), rel=1e-12)
    assert profile.firing_rate[-1] != pytest.approx(enumerated(-ACROSS), rel=1e-3)  # the sign of the factor


@pytest.mark.parametrize("weights", ["normal", "sign"])
def test_affine_layers_against_networks_that_have_them(weights):
    """Dense networks with every layer, driven by inputs through first weights; neurons differ."""
    spike = L.Spike(vf.Neuron(stats.uniform(0.7, 0.6), input_scale=1.2))
    first = L.Linear(40, gain=1.2), L.BatchNorm(1.3, 0.1, (0.2, 1.5))
    drive = vf.drives.inputs(np.random.default_rng(0).normal(size=(2, 9)))

    def built(*affine):
        middle = [L.Scale(0.5), linear(9.0, weights=weights, bias_std=0.1), *affine, spike]
        return network([*first, spike, *middle * 3], width=40, drive=drive)

    affine = L.BatchNorm(2.0, 0.2, (-0.1, 0.8)), L.Scale(0.9)
    ensemble = vf.simulate(built(*affine), repeats=200, seed=1)
    assert vf.compare(vf.finite_width(built(*affine)), ensemble, false_alarm=0.01).passed
    assert not vf.compare(vf.finite_width(built(*affine[:1])), ensemble, false_alarm=0.01).passed


def test_a_batch_norm_of_factor_zero_leaves_its_shift():
    for beta, rate in ((0.5, 0.0), (1.5, 1.0)):
        norm = L.BatchNorm(gamma=0.0, beta=beta, statistics=(0.0, 1.0))
        assert vf.finite_width(network([SPIKE, linear(9.0), norm, SPIKE])).firing_rate[-1] == pytest.approx(rate, rel=1e-14)


def test_deep_states_with_constrained_rows():
    """The escape rate is that of the whole matrix."""
    chain = vf.SpikeChain(network([SPIKE, *[linear(8.5, rows="centred"), SPIKE] * 2], width=60))
    matrix = stats.binom.pmf(np.arange(61), 60, chain.kernels[0].p[:, None])
    k = np.arange(1, 60)
    assert chain.kernels[0].p[1:60] == pytest.approx(stats.norm.sf(1 / (8.5 * k / 60 * (1 - k / 60)) ** 0.5), rel=1e-12)
    escape = 1 - np.sort(np.abs(np.linalg.eigvals(matrix[1:, 1:])))[-1]
    assert chain.quasi_stationary().escape_rate == pytest.approx(escape, rel=1e-8)
    assert chain.stationary().silence == 1.0


REFUSED = [
    ([SPIKE, L.Residual(linear(8.0), SPIKE), linear(8.0), SPIKE], {}, "adds spikes"),
    ([L.Residual(SPIKE, linear(8.0)), SPIKE], {}, "membrane shortcut"),
    ([SPIKE, linear(8.0), L.LayerNorm(), SPIKE], {}, "neurons one normaliser"),
    ([SPIKE, linear(8.0), L.BatchNorm(), SPIKE], {}, "inputs one normaliser"),
    ([SPIKE, L.Scale(0.0), linear(8.0), SPIKE], {}, "factor=0.0 leaves no spikes"),
    ([SPIKE, L.Scale(-1.0), linear(8.0, weights="sign"), SPIKE], {}, "factor=-1.0 must be positive"),
    ([SPIKE, linear(8.0, weights="sign"), L.Scale(-1.0), SPIKE], {}, "must be normal"),
    ([SPIKE, L.Scale(2.0), L.Residual(linear(8.0), SPIKE, merge="and")], {}, "merges spikes times 2"),
    ([SPIKE, linear(8.0, rows="centred", weights="sign"), SPIKE], {}, "must be normal"),
    ([SPIKE, linear(8.0, rows="standardised", bias_std=1.0), SPIKE], {}, "must be 0"),
    ([SPIKE, L.Residual(linear(8.0), SPIKE, L.Residual(linear(8.0), SPIKE, merge="and"), merge="and")], {}, "end its branch"),
    ([SPIKE, L.Residual(linear(8.0), SPIKE, merge="and")], {"width": 3000}, "must be at most 2000"),
    ([SPIKE, L.Residual(linear(8.0), SPIKE, merge="and")], {"steps": 2}, "must be 1"),
    ([SPIKE, L.Residual(linear(8.0), SPIKE, merge="and")], {"drive": vf.drives.spikes([0.2, 0.3])}, "same random trains"),
    (
        [L.Conv(3, gain=1.0), SPIKE, L.Pool("max", 2), linear(8.0), SPIKE],
        {"drive": vf.drives.inputs(np.ones((1, 1, 4, 4)))},
        "maps",
    ),
    ([L.Linear(gain=2.0, rows="standardised"), SPIKE], {"drive": vf.drives.inputs(np.ones((1, 4)))}, "first layer"),
]


@pytest.mark.parametrize(("layers", "more", "words"), REFUSED)
def test_networks_without_a_chain_are_refused_in_one_line(layers, more, words):
    with pytest.raises(vf.DomainError, match=words) as error:
        vf.finite_width(network(layers, **more))
    assert "\n" not in str(error.value)


def test_deep_states_need_one_transition():
    merging = vf.SpikeChain(network([SPIKE, *[L.Residual(linear(8.0), SPIKE, merge="iand")] * 3]))
    for call in (merging.quasi_stationary, merging.stationary, merging.lifetime, lambda: merging.masses(10)):
        with pytest.raises(vf.DomainError, match="differ"):
            call()
