"""Fixed points, critical gains and gains of blocks: closed forms of plain chains, and recursions iterated far."""

import numpy as np
import pytest
from scipy.stats import norm

import varflow as vf

L = vf.layers
SPIKE = L.Spike(vf.Neuron(1.0))
CRITICAL = 6.034397946968073


def linear(square, **more):
    return L.Linear(gain=square**0.5, **more)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_a_membrane_shortcut_has_the_fixed_points_of_a_larger_gain(keep):
    square = 7.0
    block = vf.fixed_points(block=[L.Residual(SPIKE, linear(square * (1 - keep**2)), keep=keep)])
    plain = vf.fixed_points(threshold=1.0, gain=square**0.5)
    assert [point.variance for point in block] == pytest.approx([point.variance for point in plain], rel=1e-12)
    assert [point.firing_rate for point in block] == pytest.approx([point.firing_rate for point in plain], rel=1e-11)
    multipliers = [keep**2 + (1 - keep**2) * point.multiplier for point in plain]
    assert [point.multiplier for point in block] == pytest.approx(multipliers, abs=1e-7)
    assert [point.stable for point in block] == [point.stable for point in plain]
    assert block.basin_edge == pytest.approx(plain.basin_edge, rel=1e-12)


def test_a_plain_block_is_the_plain_map_whether_it_starts_with_weights_or_neurons():
    plain = [point.variance for point in vf.fixed_points(threshold=1.0, gain=2.6)]
    for block in ([SPIKE, L.Linear(gain=2.6)], [L.Linear(gain=2.6), SPIKE], [L.Linear(gain=2.6), SPIKE] * 2):
        assert [point.variance for point in vf.fixed_points(block=block)] == pytest.approx(plain, rel=1e-12)


@pytest.mark.parametrize(
    ("block", "square"),
    [
        (lambda square: [SPIKE, linear(square)], CRITICAL),
        (lambda square: [linear(square), SPIKE], CRITICAL),
        (lambda square: [L.Residual(SPIKE, linear(square), keep=0.9)], 0.19 * CRITICAL),
        (lambda square: [linear(square, rows="centred"), SPIKE], 6.76527),
        (lambda square: [linear(square, rows="standardised"), SPIKE], 6.76527),
        (lambda square: [L.Residual(SPIKE, linear(2.0), SPIKE, linear(square), keep=0.9)], 0.19 * 24.76),
        (lambda square: [L.Residual(SPIKE, linear(6.303), SPIKE, linear(square), keep=0.9)], 0.19 * 5.779),
        (lambda square: [L.Residual(SPIKE, linear(10.0), SPIKE, linear(square), keep=0.9)], 0.19 * 3.812),
        (lambda square: [L.Residual(SPIKE, linear(square))], 0.0),
        (lambda square: [L.Spike(vf.Neuron(0.0)), linear(square)], 0.0),
        (lambda square: [L.Spike(vf.Neuron(-1.0)), linear(square)], 0.0),
    ],
)
def test_critical_gain_of_a_block(block, square):
    critical = vf.critical_gain(block=block(1.0))
    assert critical**2 == pytest.approx(square, rel=2e-4)
    if square:
        below, above = (vf.fixed_points(block=block((critical * (1 + change)) ** 2)) for change in (-1e-4, 1e-4))
        assert (len(below), len(above)) == (1, 3)


@pytest.mark.parametrize("width", [100, 2000])
def test_the_mean_of_weights_is_that_of_the_blocks_width(width):
    """``√n`` times the gain for exponential weights; a block took 1000 neurons for any that it received."""
    neuron = vf.Neuron(1.0)
    found = vf.fixed_points(block=[L.Linear(width, gain=0.1, weights="exponential"), L.Spike(neuron)])
    expected = vf.fixed_points(threshold=1.0, gain=0.1, mean_gain=0.1 * width**0.5)
    wrong = vf.fixed_points(threshold=1.0, gain=0.1, mean_gain=0.1 * 1000**0.5)
    assert [point.variance for point in found] == pytest.approx([point.variance for point in expected], rel=1e-9)
    assert [point.variance for point in found] != pytest.approx([point.variance for point in wrong], rel=1e-3)


@pytest.mark.parametrize(
    ("block", "gain"),
    [
        ([SPIKE, linear(1.0)], 6.302974375068593**0.5),
        ([L.Residual(SPIKE, linear(1.0), keep=0.9)], (0.19 * 6.302974375068593) ** 0.5),
        ([linear(1.0, rows="centred"), SPIKE], 7.4915477924**0.5),
    ],
)
def test_gain_of_a_block_for_a_rate(block, gain):
    found = vf.gain_for_rate(block=block, rate=norm.sf(1.0), fan_in=400)
    assert found.gain == pytest.approx(gain, rel=1e-10)
    assert found.weight_std == found.gain / 20
    assert found.variance == pytest.approx(1.0, rel=1e-10)
    assert found.stable
    assert found.critical_gain == pytest.approx(vf.critical_gain(block=block), rel=1e-10)
    assert found.margin == pytest.approx(found.gain / found.critical_gain - 1, rel=1e-12)


def test_after_a_normalisation_gamma_sets_the_rate():
    for normalise in (L.BatchNorm(eps=0.0), L.LayerNorm(eps=0.0)):
        found = vf.gain_for_rate(block=[linear(3.0), normalise, L.Spike(vf.Neuron(0.5))], rate=0.2)
        assert found.gamma == pytest.approx(0.5 / norm.isf(0.2), rel=1e-10)
        assert found.gain == 3.0**0.5


def test_an_unstable_fixed_point_is_said_to_be_one():
    found = vf.gain_for_rate(block=[SPIKE, linear(1.0)], rate=0.05)
    assert not found.stable
    assert "unstable" in found.warnings[0]


@pytest.mark.parametrize(("gamma", "stable"), [(0.75, False), (0.779, False), (0.781, True), (1.0, True)])
def test_batch_normalisation_amplifies_differences_between_inputs_below_a_gamma(gamma, stable):
    point = vf.fixed_points(block=[linear(2.0), L.BatchNorm(gamma=gamma, eps=0.0), SPIKE])[-1]
    z = 1 / gamma
    S = norm.sf(z)
    assert point.firing_rate == pytest.approx(S, rel=1e-9)
    assert point.multiplier == pytest.approx(z * norm.pdf(z) * (1 - 2 * S) / (2 * S * (1 - S)), abs=1e-6)
    assert point.stable is stable


def test_a_block_keeps_the_rate_it_is_asked_for_over_steps():
    spike = L.Spike(vf.Neuron(1.0, decay=0.5, reset="zero"))
    block = [L.Residual(spike, linear(1.0), keep=0.8)]
    found = vf.gain_for_rate(block=block, rate=0.18, steps=6, depth=10, points=2**11)
    again = [L.Residual(spike, L.Linear(gain=found.gain), keep=0.8)] * 10 + [spike]
    rate = vf.mean_field(vf.Network(width=1000, layers=again, steps=6)).firing_rate[-1, 3:].mean()
    assert rate == pytest.approx(0.18, abs=1e-3)
    assert found.firing_rate == pytest.approx(0.18, abs=1e-3)
    assert found.multiplier is None


@pytest.mark.parametrize(("rate", "jumps"), [(0.02, True), (0.2, False)])
def test_a_rate_that_the_block_jumps_past_is_said(rate, jumps):
    """After sixty layers those that die fall so fast with the gain that no gain has this rate."""
    found = vf.gain_for_rate(block=[linear(1.0), SPIKE], rate=rate, steps=2, depth=60, points=2**8, scrambles=2)
    assert (abs(found.firing_rate / rate - 1) > 0.01) == jumps
    assert [words.startswith("the rate jumps near this gain") for words in found.warnings] == [True] * jumps


# --- merges: what leaves the block --------------------


def falling(gain, first=2.2, thetas=(0.7, 1.3)):
    """The last weights lie in the branch of an ``iand``: they remove spikes."""
    spikes = [L.Spike(vf.Neuron(theta)) for theta in thetas]
    return [L.Linear(gain=first), spikes[0], L.Residual(L.Linear(gain=gain), spikes[1], merge="iand")]


def after_falling(p, gain, first=2.2, thetas=(0.7, 1.3)):
    x = norm.sf(thetas[0] / (first * np.sqrt(p)))
    return x * (1 - norm.sf(thetas[1] / (gain * np.sqrt(x))))


@pytest.mark.parametrize("setting", [{}, {"first": 3.1, "thetas": (1.1, 0.6)}])
def test_activity_dies_above_the_critical_gain_of_a_branch_that_removes_spikes(setting):
    p = np.geomspace(1e-3, 1, 20001)
    most = lambda gain: np.max(after_falling(p, gain, **setting) / p)  # noqa: E731
    critical = vf.critical_gain(block=falling(1.0, **setting))
    assert most(critical * (1 - 1e-4)) > 1 > most(critical * (1 + 1e-4))
    for factor, points in ((0.98, 3), (1.02, 1)):
        assert len(vf.fixed_points(block=falling(factor * critical, **setting))) == points


@pytest.mark.parametrize("rate", [0.11, 0.23])
def test_the_rate_of_a_block_is_that_of_the_spikes_that_leave_it(rate):
    found = vf.gain_for_rate(block=falling(9.0), rate=rate)
    assert after_falling(rate, found.gain) == pytest.approx(rate, rel=1e-10)
    assert found.firing_rate == pytest.approx(rate, rel=1e-10)
    assert found.margin is not None
    assert found.margin < 0
    point = vf.fixed_points(block=falling(found.gain))[-1]
    assert point.firing_rate == pytest.approx(rate, rel=1e-8)
    x = norm.sf(0.7 / (2.2 * rate**0.5))
    assert point.variance == pytest.approx(found.gain**2 * x, rel=1e-8)


@pytest.mark.parametrize(("reset", "rate"), [("multi_spike", 0.3), ("multi_spike", 0.9), ("subtract", 0.25)])
def test_rates_of_neurons_whose_spikes_grow_without_bound_at_large_gains(reset, rate):
    spike = L.Spike(vf.Neuron(1.3, decay=0.6, reset=reset))
    options = {"points": 2**10, "scrambles": 4, "seed": 0}
    found = vf.gain_for_rate(block=[linear(1.0), spike], rate=rate, steps=6, depth=4, **options)
    again = [spike, *[L.Linear(gain=found.gain), spike] * 4]
    network = vf.Network(width=1000, layers=again, steps=6, drive=vf.drives.currents())
    assert vf.mean_field(network, **options).firing_rate[-1, 3:].mean() == pytest.approx(rate, abs=1e-3)


@pytest.mark.parametrize(("merge", "rate"), [("and", 0.14), ("iand", 0.22)])
def test_a_gain_is_the_same_with_several_steps_of_memoryless_neurons(merge, rate):
    block = [linear(45.0), SPIKE, L.Residual(linear(20.0), SPIKE, merge=merge)]
    once = vf.gain_for_rate(block=block, rate=rate)
    more = vf.gain_for_rate(block=block, rate=rate, steps=2, depth=25, drive=vf.drives.currents(2.0))
    assert more.gain == pytest.approx(once.gain, rel=1e-3)
    assert more.firing_rate == pytest.approx(rate, rel=1e-3)


def test_sums_of_spikes_may_have_any_rate_in_time():
    spike = L.Spike(vf.Neuron(0.8, decay=0.3))
    found = vf.gain_for_rate(block=[L.Residual(linear(1.0), spike)], rate=1.2, steps=2, depth=3)
    network = vf.Network(width=300, layers=[spike, *[L.Residual(L.Linear(gain=found.gain), spike)] * 3], steps=2)
    ensemble = vf.simulate(network, repeats=40, seed=2, engine="conditional")
    rates = ensemble.firing_rate[:, -1, 1:].mean(axis=-1)
    error = rates.std(ddof=1) / 40**0.5
    assert abs(rates.mean() - 1.2) < 4 * error + 0.015 * 1.2  # bias of order 1/width
    assert abs(rates.mean() - 1.1) > 4 * error + 0.015 * 1.1


@pytest.mark.parametrize(("merge", "critical"), [("and", np.inf), ("iand", 0.0)])
def test_a_merge_alone_dies_at_every_gain_or_ever_more_slowly(merge, critical):
    assert vf.critical_gain(block=[L.Residual(linear(3.0), SPIKE, merge=merge)]) == critical


# --- thresholds that differ --------------------


@pytest.mark.parametrize("theta", [0.5, 2e-5, 3e-9])
def test_silence_is_as_stable_and_its_basin_as_wide_whatever_other_thresholds_there_are(theta):
    """The faint first part has its fixed points where the second one only forgets."""
    keep, gain = 0.6, 2.5
    faint = L.Residual(L.Spike(vf.Neuron(theta)), L.Linear(gain=gain * theta), keep=keep)
    points = vf.fixed_points(block=[faint, L.Residual(L.Spike(vf.Neuron(1e3 * theta**0.5)), L.Linear(gain=0.1), keep=keep)])
    V = np.geomspace(0.01, 10, 200001) * theta**2
    after = keep**2 * (keep**2 * V + (gain * theta) ** 2 * norm.sf(theta / np.sqrt(V)))
    crossings = V[1:][np.diff(after > V)]
    assert points[0].multiplier == pytest.approx(keep**4, rel=1e-9)
    assert points[0].stable
    assert [point.variance for point in points[1:]] == pytest.approx(crossings.tolist(), rel=1e-4)


@pytest.mark.parametrize("theta", [0.5, 1e-8])
def test_the_critical_gain_of_faint_neurons(theta):
    """Others, that never fire, only forget: ``W = 0.25 (0.25 W + g² Q(θ/√W))`` of what enters the faint ones."""
    others = L.Residual(L.Spike(vf.Neuron(1.0)), linear(1.0), keep=0.5)
    block = [others, L.Residual(L.Spike(vf.Neuron(theta)), linear(1.0), keep=0.5)]
    if theta < 1e-3:  # else the others fire too
        assert vf.critical_gain(block=block) / theta == pytest.approx((15 / 4 * CRITICAL) ** 0.5, rel=1e-9)
    before = [L.Spike(vf.Neuron(theta)), linear(7.0 * theta**2), L.Spike(vf.Neuron(theta)), linear(1.0)]
    unit = [SPIKE, linear(7.0), SPIKE, linear(1.0)]
    assert vf.critical_gain(block=before) / theta == pytest.approx(vf.critical_gain(block=unit), rel=1e-9)


# --- growth --------------------


def test_growth_without_a_fixed_point_is_said_in_words_and_true():
    square = 3.0
    points = vf.fixed_points(block=[L.Residual(SPIKE, linear(square))])
    assert len(points) == 1
    assert "1.5 l" in points.note
    V = [1.0]
    for _ in range(20000):
        V.append(V[-1] + square * norm.sf(V[-1] ** -0.5))
    assert V[-1] - V[-2] == pytest.approx(1.5, rel=0.01)


def test_added_spikes_grow_as_they_are_said_to():
    points = vf.fixed_points(block=[L.Residual(linear(6.303), SPIKE)])
    assert "0.25 l²" in points.note
    network = vf.Network(width=100, layers=[SPIKE, *[L.Residual(linear(6.303), SPIKE)] * 300, linear(1.0), SPIKE])
    assert vf.mean_field(network).variance[-1] == pytest.approx(0.25 * 300**2, rel=0.07)


def test_iand_only_decays_ever_more_slowly():
    points = vf.fixed_points(block=[L.Residual(linear(6.303), SPIKE, merge="iand")])
    assert [point.variance for point in points] == [0.0]
    assert "decays" in points.note


# --- refusals --------------------


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ([SPIKE], "must return"),
        ([L.Scale(2.0)], "Spike"),
        ([SPIKE, L.Linear(gain=1.0, mean_gain=1.0)], "mean"),
        ([L.Spike(vf.Neuron(), recurrent_gain=1.0), linear(1.0)], "several steps"),
        ([L.Conv(4, gain=1.0), SPIKE], "map"),
        ([1.0], "layer of vf.layers"),
        ([], "layer of vf.layers"),
    ],
)
def test_blocks_that_have_no_such_map_are_refused(block, named):
    with pytest.raises(vf.DomainError, match=named):
        vf.fixed_points(block=block)


def test_a_block_excludes_the_arguments_it_replaces():
    for call in (
        lambda: vf.fixed_points(threshold=1.0, block=[SPIKE, linear(1.0)]),
        lambda: vf.fixed_points(threshold=1.0),
        lambda: vf.critical_gain(threshold=1.0, block=[SPIKE, linear(1.0)]),
        lambda: vf.critical_gain(),
        lambda: vf.gain_for_rate(vf.Neuron(), block=[SPIKE, linear(1.0)], rate=0.1),
        lambda: vf.gain_for_rate(rate=0.1),
    ):
        with pytest.raises(vf.DomainError):
            call()


def test_a_rate_out_of_reach_is_refused():
    with pytest.raises(vf.DomainError, match="rate"):
        vf.gain_for_rate(block=[L.Residual(linear(1.0), SPIKE, merge="and")], rate=0.3)
    assert np.isfinite(vf.gain_for_rate(block=[linear(1.0), SPIKE], rate=0.49).gain)


def test_a_block_of_neurons_with_memory_needs_steps():
    """The answer of one step would be another one, without a word."""
    block = [linear(1.0), L.BatchNorm(), L.Spike(vf.Neuron(decay=0.9))]
    with pytest.raises(vf.DomainError, match="steps=None is missing"):
        vf.gain_for_rate(block=block, rate=0.15)
    one, eight = (vf.gain_for_rate(block=block, rate=0.15, steps=steps, depth=4).gamma for steps in (1, 8))
    assert one > 1.05 * eight
