"""Mean field of networks made of layers: exact recursions written out here, and numbers found by simulations elsewhere."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

import varflow as vf

L = vf.layers
MEMORYLESS = L.Spike(vf.Neuron(1.0))
PAPER = 6.303
WEIGHTS = L.Linear(gain=PAPER**0.5)


def predicted(*layers, points=None, **more):
    return vf.mean_field(vf.Network(**({"width": 1000} | more), layers=layers), points=points)


def Q(variance):
    return norm.sf(1 / np.sqrt(variance))


# --- residual blocks --------------------


@pytest.mark.parametrize(("keep", "square", "at_60"), [(1.0, PAPER, 165.17), (0.9, 1.1976, 1.0)])
def test_a_membrane_shortcut_follows_its_recursion(keep, square, at_60):
    block = L.Residual(MEMORYLESS, L.Linear(gain=square**0.5), keep=keep)
    variance = predicted(*[block] * 60, MEMORYLESS).variance
    V = [1.0]
    for _ in range(60):
        V.append(keep**2 * V[-1] + square * Q(V[-1]))
    assert variance == pytest.approx(V, rel=1e-12)
    assert variance[-1] == pytest.approx(at_60, abs=0.006)


def test_a_branch_of_two_layers_grows_past_its_own_gain():
    variance = predicted(*[L.Residual(MEMORYLESS, WEIGHTS, MEMORYLESS, WEIGHTS)] * 40, MEMORYLESS).variance
    assert variance[-1] == pytest.approx(67.6, abs=0.05)  # the stream after 40 blocks
    assert variance[-2] == pytest.approx(2.84, abs=0.005)  # the inner layer of the last


@pytest.mark.parametrize(("branch", "blocks", "square"), [(1, 20, 79.09), (1, 40, 347.3), (2, 20, 33.45), (2, 40, 130.9)])
def test_added_spikes_grow_with_depth(branch, blocks, square):
    block = L.Residual(*[WEIGHTS, MEMORYLESS] * branch)
    variance = predicted(MEMORYLESS, *[block] * blocks, WEIGHTS, MEMORYLESS).variance[-1]
    assert variance / PAPER == pytest.approx(square, rel=3e-4)


@pytest.mark.parametrize(("merge", "expected"), [("and", [0.0252, 1.5e-4]), ("iand", [0.1335, 0.1161])])
def test_spikes_merged_by_logic(merge, expected):
    block = L.Residual(WEIGHTS, MEMORYLESS, merge=merge)
    second = predicted(MEMORYLESS, block, block, WEIGHTS, MEMORYLESS).variance[-1] / PAPER
    p = [Q(1.0)]
    for _ in range(2):
        q = Q(PAPER * p[-1])
        p.append(p[-1] * (q if merge == "and" else 1 - q))
    assert second == pytest.approx(p[-1], rel=1e-12)
    assert p[1:] == pytest.approx(expected, rel=0.02)


def test_iand_decays_slowly():
    block = L.Residual(WEIGHTS, MEMORYLESS, merge="iand")
    variance = predicted(MEMORYLESS, *[block] * 40, WEIGHTS, MEMORYLESS).variance[-1]
    assert variance / PAPER == pytest.approx(0.0295, abs=5e-5)


def test_a_branch_of_zero_is_the_identity_except_for_and():
    silent = L.Spike(vf.Neuron(1e9))
    for merge, kept in (("add", 1.0), ("iand", 1.0), ("and", 0.0)):
        profile = predicted(MEMORYLESS, L.Residual(WEIGHTS, silent, merge=merge), WEIGHTS, MEMORYLESS)
        assert profile.variance[-1] == pytest.approx(kept * PAPER * Q(1.0), abs=1e-15)


def test_a_shortcut_of_leaky_neurons_over_time():
    """Theory and real networks elsewhere: mean variance of the currents after 20 blocks 1.106 ± .005 and 1.080 ± .041."""
    spike = L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"))
    profile = predicted(*[L.Residual(spike, L.Linear(gain=2.269**0.5), keep=0.8)] * 20, spike, steps=6)
    stream = np.ones(6)
    for rate in profile.firing_rate[:20]:
        stream = 0.64 * stream + 2.269 * rate
    assert stream.mean() == pytest.approx(1.106, abs=0.01)
    assert profile.error["firing_rate"].max() < 5e-4


# --- normalisation, rows, scale --------------------


def test_batch_normalisation_sets_the_rate_whatever_the_gain():
    for gain in (0.5, 10.0):
        rate = predicted(MEMORYLESS, L.Linear(gain=gain), L.BatchNorm(gamma=1.5, beta=0.2), MEMORYLESS).firing_rate[1]
        assert rate == pytest.approx(norm.sf(0.8 / 1.5), abs=2e-4)  # eps
    assert predicted(MEMORYLESS, L.Linear(gain=1e-4), L.BatchNorm(), MEMORYLESS).firing_rate[1] < 1e-9  # eps again


@pytest.mark.parametrize(
    ("gamma", "rates"), [(1.0, [0.0699, 0.0469, 0.0383, 0.0336, 0.0371]), (2.0, [0.2167, 0.1801, 0.1635, 0.1514, 0.1458])]
)
def test_batch_normalisation_over_inputs_and_steps(gamma, rates):
    """Layers 1, 2, 3, 5 and 10 of Conv-BN-LIF with SpikingJelly's neuron, 4 steps; real networks within .003 of these."""
    spike = L.Spike(vf.neurons.spikingjelly_lif())
    layers = [L.Linear(gain=1.0), L.BatchNorm(gamma=gamma), spike] * 10
    network = vf.Network(width=64, layers=[spike, *layers], steps=4, drive=vf.drives.currents(gamma))
    found = vf.mean_field(network, points=2**12).firing_rate.mean(axis=-1)
    assert found[[0, 1, 2, 4, 9]] == pytest.approx(rates, abs=0.0011)


def test_evaluation_with_initial_statistics_changes_nothing():
    with_it = predicted(MEMORYLESS, WEIGHTS, L.BatchNorm(statistics=(0.0, 1.0), eps=0.0), MEMORYLESS)
    without = predicted(MEMORYLESS, WEIGHTS, MEMORYLESS)
    assert with_it.variance == pytest.approx(without.variance, rel=1e-14)


def test_layer_normalisation_sets_every_input_to_the_same_rate():
    x = np.array([[1.0, 0.0, 0.0, 0.0], [3.0, 2.0, 1.0, 0.5]])
    profile = predicted(L.Linear(gain=1.0), L.LayerNorm(gamma=1.2), MEMORYLESS, drive=vf.drives.inputs(x))
    assert profile.per_input["firing_rate"][:, 0] == pytest.approx(norm.sf(1 / 1.2), abs=1e-4)


def test_centred_rows_see_the_variance_of_spikes():
    variance = predicted(MEMORYLESS, *[L.Linear(gain=7.49155**0.5, rows="centred"), MEMORYLESS] * 60).variance
    assert variance[-1] == pytest.approx(1.0, abs=2e-5)
    p = Q(1.0)
    assert variance[1] == pytest.approx(7.49155 * p * (1 - p), rel=1e-12)


def test_a_factor_scales_what_it_multiplies():
    p = Q(1.0)
    scaled = predicted(MEMORYLESS, L.Scale(0.5), WEIGHTS, L.Scale(3.0), MEMORYLESS)
    assert scaled.variance[1] == pytest.approx(PAPER * p * 0.25 * 9, rel=1e-12)


# --- maps --------------------


def on_maps(*layers, side, channels=64, **more):
    return vf.mean_field(vf.Network(layers=layers, drive=vf.drives.currents(shape=(channels, side, side)), **more))


def test_zero_padding_raises_the_critical_gain():
    """To ``g² = 7.046`` on 8 × 8 maps."""

    def alive(square):
        rates = on_maps(MEMORYLESS, *[L.Conv(64, gain=square**0.5), MEMORYLESS] * 60, side=8).firing_rate
        return rates[-1] > 0.05

    assert alive(1.03 * 7.046)
    assert not alive(0.97 * 7.046)


def test_a_convolution_averages_the_second_moments_under_its_filter():
    """``V(x) = g²/9 Σ p(taps)``: 4, 6 or 9 taps lie inside a 3 × 3 map."""
    profile = on_maps(MEMORYLESS, L.Conv(64, gain=2.0), MEMORYLESS, side=3)
    p = Q(1.0)
    variances = 4 * p / 9 * np.array([4, 4, 4, 4, 6, 6, 6, 6, 9])
    assert profile.variance[1] == pytest.approx(variances.mean(), rel=1e-12)
    assert profile.firing_rate[1] == pytest.approx(Q(variances).mean(), rel=1e-12)


def test_neighbouring_positions_overlap():
    """An average over both positions of a 1 × 2 map that one filter of side 1 reads: overlap 0, and 1 for equal inputs."""
    pool = L.Pool("average", 2)
    p = Q(1.0)
    apart = on_maps(MEMORYLESS, pool, L.Conv(64, 1, gain=1.0), MEMORYLESS, side=2).variance[1]
    assert apart == pytest.approx(p / 4 + 0.75 * p**2, rel=1e-12)
    x = np.ones((1, 3, 2, 2))
    same = vf.mean_field(
        vf.Network(
            layers=[L.Conv(64, 1, gain=1.0), MEMORYLESS, pool, L.Conv(8, 1, gain=1.0), MEMORYLESS], drive=vf.drives.inputs(x)
        )
    )
    assert same.variance[1] == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("overlap", [0.0, 0.6])
def test_a_maximum_counts_windows_with_any_spike(overlap):
    """Against the orthant of four equicorrelated normal potentials."""
    x = np.sqrt(overlap) * np.ones((4, 5))
    x[:, 1:] = np.sqrt(1 - overlap) * np.eye(4)
    drive = vf.drives.inputs(x.T.reshape(1, 5, 2, 2))
    network = vf.Network(
        layers=[L.Conv(64, 1, gain=5**0.5), MEMORYLESS, L.Pool("max", 2), L.Linear(8, gain=1.0), MEMORYLESS], drive=drive
    )
    profile = vf.mean_field(network, scrambles=8)
    covariance = overlap + (1 - overlap) * np.eye(4)
    silent = multivariate_normal(np.zeros(4), covariance).cdf(np.ones(4))
    assert profile.variance[1] == pytest.approx(1 - silent, abs=4 * profile.error["variance"][1] + 1e-5)
    assert profile.error["variance"][1] < 1e-3


# --- recurrence --------------------

DELAYED = vf.Neuron(1.0, decay=0.5, reset="delayed_subtract")
SUBTRACT = vf.Neuron(1.0, decay=0.5, reset="subtract")


@pytest.mark.parametrize(
    ("neuron", "square", "mean", "drive", "rate", "tolerance"),
    [
        (DELAYED, 8.0, 0.0, vf.drives.currents(0.5**0.5), 0.2594, 0.001),
        (SUBTRACT, 4.0, 0.0, vf.drives.white(1.0), 0.2445, 0.001),
        (DELAYED, 8.0, -1.0, vf.drives.currents(0.5**0.5), 0.194, 0.001),
        (DELAYED, 8.0, 1.0, vf.drives.currents(0.5**0.5), 0.360, 0.001),
    ],
)
def test_recurrent_layers_have_the_late_rates_of_real_networks(neuron, square, mean, drive, rate, tolerance):
    spike = L.Spike(neuron, recurrent_gain=square**0.5, recurrent_mean_gain=mean)
    profile = predicted(spike, points=2**13, steps=40, drive=drive)
    assert profile.firing_rate[0, 20:].mean() == pytest.approx(rate, abs=tolerance)


def test_without_recurrent_weights_the_sweep_is_the_plain_layer():
    from varflow.theory.responses.neurons import recurrent_layer
    from varflow.theory.responses.quasi_monte_carlo import QuasiMonteCarlo, normal_points

    covariance = (0.7 + 0.3 * np.eye(5))[None, None]
    sampling = QuasiMonteCarlo(SUBTRACT, normal_points(5, points=2**12, scrambles=2, seed=0), 0)
    mean = np.full((1, 1, 5), 0.1)
    plain = sampling(mean, covariance, 3)
    swept = recurrent_layer(L.Spike(SUBTRACT), mean, covariance, 5, sampling, 3)
    for name in ("firing_rate", "variance", "potential_mean", "second_moments"):
        assert getattr(swept, name) == pytest.approx(getattr(plain, name), abs=2e-6)


# --- one algebra --------------------


def test_a_chain_of_several_neurons_is_iterated_layer_by_layer():
    other = L.Spike(vf.Neuron(0.5))
    profile = predicted(MEMORYLESS, WEIGHTS, other)
    assert profile.variance[1] == pytest.approx(PAPER * Q(1.0), rel=1e-13)
    assert profile.firing_rate[1] == pytest.approx(norm.sf(0.5 / np.sqrt(PAPER * Q(1.0))), rel=1e-13)


def test_a_chain_made_of_a_trivial_shortcut_is_the_plain_chain_in_time():
    spike = L.Spike(DELAYED)
    linear = L.Linear(gain=8**0.5)
    layered = predicted(spike, L.Scale(1.0), linear, spike, steps=8)
    plain = vf.mean_field(vf.Network(width=1000, depth=2, gain=8**0.5, neuron=DELAYED, steps=8))
    assert layered.firing_rate == pytest.approx(plain.firing_rate, abs=1e-12)
    assert layered.second_moments == pytest.approx(plain.second_moments, abs=1e-12)
    assert layered.potential_mean == pytest.approx(plain.potential_mean, abs=1e-12)


def test_increments_between_steps_pass_shortcuts_without_cancellation(monkeypatch):
    """Nearly equal steps, and a shortcut that keeps nothing: the plain chain. Subtracted moments lose layers 4 to 8."""
    from varflow.theory.signals.moments import Currents, differences

    spike, linear = L.Spike(vf.Neuron(1.0, decay=0.1)), L.Linear(gain=8**0.5)
    network = vf.Network(width=1000, layers=[*[L.Residual(spike, linear, keep=0.0)] * 11, spike], steps=20)
    plain = vf.mean_field(vf.Network(width=1000, depth=12, gain=8**0.5, neuron=spike.neuron, steps=20)).second_moments
    assert vf.mean_field(network).second_moments == pytest.approx(plain, abs=1e-12)
    monkeypatch.setattr(Currents, "increments", property(lambda self: differences(self.mean, self.covariance)))
    assert np.abs(vf.mean_field(network).second_moments - plain).max() > 1e-4


def test_spikes_arrive_after_their_delay():
    late = vf.Neuron(1.0, delay=2)
    profile = predicted(L.Spike(late), L.Scale(1.0), WEIGHTS, L.Spike(late), steps=5)
    assert profile.firing_rate[1, :2].tolist() == [0.0, 0.0]
    assert profile.variance[1, 2:] == pytest.approx(PAPER * Q(1.0), rel=1e-12)


def test_only_auto_is_a_method_for_layers():
    with pytest.raises(vf.DomainError, match="method"):
        vf.mean_field(vf.Network(width=10, layers=[MEMORYLESS, L.Residual(WEIGHTS, MEMORYLESS)]), method="orthants")


def test_what_theory_does_not_cover_is_refused():
    with pytest.raises(vf.DomainError, match="positions × steps"):
        on_maps(MEMORYLESS, L.Conv(4, gain=1.0), L.BatchNorm(), MEMORYLESS, side=46)


# --- effective width of maps --------------------


def test_a_dense_layer_has_no_effective_width_and_independent_positions_have_all_of_it():
    assert predicted(MEMORYLESS, L.Residual(WEIGHTS, MEMORYLESS)).effective_width is None
    widths = on_maps(MEMORYLESS, L.Conv(16, gain=3.0), MEMORYLESS, L.Linear(50, gain=3.0), MEMORYLESS, side=4, channels=8)
    assert widths.effective_width[0] == pytest.approx(8 * 16, rel=1e-12)
    assert 16 < widths.effective_width[1] < 16 * 16
    assert widths.effective_width[2] == 50


def test_the_effective_width_is_the_spread_of_the_rates_of_networks():
    """Layer 1 exactly: the channels are independent given the input."""
    x = np.random.default_rng(3).normal(size=(1, 4, 6, 6))
    network = vf.Network(layers=[L.Conv(16, gain=1.2), MEMORYLESS], drive=vf.drives.inputs(x))
    rates = vf.simulate(network, repeats=2000, seed=1).firing_rate[:, 0]
    (n,) = vf.mean_field(network).effective_width
    by_position = norm.sf(1 / np.sqrt(1.44 * np.array([mean_square(x[0], y, z) for y in range(6) for z in range(6)])))
    alone = np.mean(by_position * (1 - by_position))
    z = np.array([rates.var(ddof=1) / (alone / width) - 1 for width in (n, 16 * 36)]) / np.sqrt(2 / 2000)
    assert abs(z[0]) < 4
    assert abs(z[1]) > 6


def mean_square(x, row, column, kernel=3):
    """Mean of the squares under a filter, with zeros around the map."""
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1)])
    return np.mean(padded[:, row : row + kernel, column : column + kernel] ** 2)


def test_rates_of_deeper_maps_spread_as_stated():
    network = vf.Network(
        layers=[MEMORYLESS, *[L.Conv(16, gain=8**0.5), MEMORYLESS] * 3], drive=vf.drives.currents(shape=(16, 8, 8))
    )
    profile, spread = vf.mean_field(network), vf.simulate(network, repeats=2000, seed=1).firing_rate.std(axis=0, ddof=1)
    p, z = profile.firing_rate, 1 / np.sqrt(profile.variance)
    m = np.append(0.0, z[1:] * norm.pdf(z[1:]) / (2 * p[:-1]))

    def stated(widths):
        variance = [0.0]
        for layer in range(4):
            variance.append(p[layer] * (1 - p[layer]) / widths[layer] + m[layer] ** 2 * variance[-1])
        return np.sqrt(variance[1:])

    room = 0.05 + 4 / np.sqrt(2 * 2000)
    assert np.all(np.abs(spread / stated(profile.effective_width) - 1) < room)
    assert np.any(np.abs(spread / stated(np.full(4, 16 * 64)) - 1) > 2 * room)


@pytest.mark.parametrize(("side", "spread"), [(4, 0.263), (8, 0.246)])
def test_the_effective_width_of_equal_positions(side, spread):
    """Far from borders positions are alike: g² times the rate of deep maps of 64 channels then spreads so at g² = 8."""
    layers = [MEMORYLESS, *[L.Conv(64, 1, gain=8**0.5), MEMORYLESS] * 24]
    profile = vf.mean_field(vf.Network(layers=layers, drive=vf.drives.currents(1.35, shape=(64, side, side))))
    p, V, positions = profile.firing_rate[-1], profile.variance[-1], side**2

    def overlap(r):  # of two positions in the next layer
        cov = 8 * (p**2 + r * (p - p**2)) * np.array([[0, 1], [1, 0]]) + V * np.eye(2)
        return (multivariate_normal.cdf([-1, -1], cov=cov) - p**2) / (p - p**2)

    r = 0.3
    for _ in range(60):
        r = overlap(r)
    n = 64 * positions / (1 + (positions - 1) * r)
    assert profile.effective_width[-1] == pytest.approx(n, rel=1e-3)
    m = V**-0.5 * norm.pdf(V**-0.5) / (2 * p)
    assert 8 * np.sqrt(p * (1 - p) / n / (1 - m**2)) == pytest.approx(spread, abs=6e-4)
    assert profile.effective_width[-1] != pytest.approx(64 * positions, rel=0.5)


# --- maxima of merged spikes, synapses of recurrent layers --------------------


def agrees(network, repeats, wrong):
    """Whether the last layer's rates are those of simulated networks, and those of a wrong network are not."""
    rates = (
        vf.simulate(network, repeats=repeats, seed=1, engine="conditional").firing_rate[:, -1].reshape(repeats, -1).mean(axis=1)
    )
    error = rates.std(ddof=1) / np.sqrt(repeats)
    z = [(vf.mean_field(each, points=2**12).firing_rate[-1].mean() - rates.mean()) / error for each in (network, wrong)]
    return abs(z[0]) < 4 and abs(z[1]) > 8


@pytest.mark.parametrize("merge", ["add", "and", "iand"])
def test_maxima_of_merged_spikes(merge):
    x = np.random.default_rng(3).normal(size=(1, 8, 8, 8))

    def built(pool):
        block = L.Residual(L.Conv(128, gain=3.0), MEMORYLESS, merge=merge)
        layers = [L.Conv(128, gain=3.0), MEMORYLESS, block, pool, L.Linear(800, gain=3.0), MEMORYLESS]
        return vf.Network(layers=layers, drive=vf.drives.inputs(x))

    assert agrees(built(L.Pool("max", 2)), 30, built(L.Pool("average", 2)))


def test_a_synapse_filters_recurrent_currents_too():
    def built(recurrent):
        spike = L.Spike(vf.Neuron(1.0, decay=0.5, synaptic_decay=0.6, reset="subtract"), recurrent_gain=recurrent)
        return vf.Network(width=1000, layers=[spike], steps=8, drive=vf.drives.white())

    assert agrees(built(1.5), 40, built(1.0))


def test_a_leak_starts_from_rest_at_every_position_and_input():
    """Under a constant input ``H_t = s_t c`` with ``s_t = Σ β^k``: step ``t`` is one step at the threshold ``θ/s_t``."""
    x = np.random.default_rng(0).random((2, 1, 4, 4))
    conv = L.Conv(channels=60, kernel=3, gain=2.5)

    def network(neuron, steps, **later):
        return vf.Network(
            layers=[conv, L.Spike(neuron), conv, L.Spike(neuron)], drive=vf.drives.inputs(x), steps=steps, **later
        )

    leaky = network(vf.Neuron(1.0, decay=0.4, synaptic_decay=0.3), 3)
    theory = vf.mean_field(leaky)
    filtered = np.cumsum([1.0, 0.7, 0.37])  # Σ_k β^(t-k) δ^k = 1, β + δ, β² + βδ + δ²
    for step, size in enumerate(filtered):
        one = vf.mean_field(network(vf.Neuron(1.0 / size), 1))
        np.testing.assert_allclose(theory.firing_rate[0, step], one.firing_rate[0], rtol=1e-12)
    simulated = vf.simulate(leaky, repeats=40, seed=1, engine="conditional").firing_rate
    error = simulated.std(axis=0) / 40**0.5
    bias = 0.02 * theory.firing_rate  # 60 channels
    assert np.all(np.abs(simulated.mean(axis=0) - theory.firing_rate) < 4 * error + bias)
    other = vf.mean_field(network(vf.Neuron(1.0, decay=0.7, synaptic_decay=0.3), 3)).firing_rate
    assert np.any(np.abs(simulated.mean(axis=0) - other) > 4 * error + bias)


def test_maxima_of_leaky_spikes_without_reset():
    """Two replicas before the maximum, sampled ones after it."""
    conv, leaky = L.Conv(channels=100, kernel=3, gain=2.5), L.Spike(vf.Neuron(1.0, decay=0.4))
    drive = vf.drives.inputs(np.random.default_rng(0).random((2, 1, 4, 4)))
    network = vf.Network(layers=[conv, leaky, L.Pool("max", 2), conv, leaky], drive=drive, steps=3)
    theory = vf.mean_field(network, points=2**10).firing_rate
    simulated = vf.simulate(network, repeats=40, seed=2, engine="conditional").firing_rate
    allowed = 4 * simulated.std(axis=0) / 40**0.5 + 0.01 * theory  # 100 channels
    assert np.all(np.abs(simulated.mean(axis=0) - theory) < allowed)
    average = vf.Network(layers=[conv, leaky, L.Pool("average", 2), conv, leaky], drive=drive, steps=3)
    assert np.any(np.abs(simulated.mean(axis=0) - vf.mean_field(average).firing_rate) > allowed)
