"""Published initialisations: hand values of their gains, torch's own numbers, the equations they claim to solve."""

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

import varflow as vf

published = vf.init.published
Q = stats.norm.sf


# Hand values: g², each to the digits written.

SQUARED = [
    (lambda: published.kaiming_gain(), 2.0),
    (lambda: published.kaiming_gain(slope=0.1), 2 / 1.01),
    (lambda: published.torch_gain(), 1 / 3),
    (lambda: published.xavier_gain(300, 100), 1.5),
    (lambda: published.lecun_gain(), 1.0),
    (lambda: published.bellec_gain(scale=0.5), 0.25),
    (lambda: published.spytorch_gain(0.9), 0.49),
    (lambda: published.ikun_gain(), 4 / math.pi),
    (lambda: published.ikun_gain(300, 100), 3 / math.pi),
    (lambda: published.micheli_gain(1.0), 6.302974),
    (lambda: published.micheli_gain(0.5), 3.241096),
    (lambda: published.ding_gain(1.0), 2.0),
    (lambda: published.ding_gain(0.5, input_scale=0.5), 2.0),
]


@pytest.mark.parametrize(("gain", "squared"), SQUARED, ids=range(len(SQUARED)))
def test_hand_values_of_gains(gain, squared):
    assert gain() ** 2 == pytest.approx(squared, rel=1e-6)


def test_other_hand_values():
    assert published.ding_bias(1.0, 0.5, input_scale=0.5) == 0.5
    assert published.torch_bias_std(12) == pytest.approx(1 / 6)


def test_torchs_gains_are_torchs():
    torch = pytest.importorskip("torch")
    assert published.kaiming_gain() == pytest.approx(torch.nn.init.calculate_gain("relu"), rel=1e-6)
    assert published.kaiming_gain(slope=0.2) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.2), rel=1e-6)
    layer = torch.nn.Linear(4096, 64)
    for values, std in ((layer.weight, published.torch_gain() / 64), (layer.bias, published.torch_bias_std(4096))):
        drawn = values.detach().double().numpy().ravel()
        bound = math.sqrt(3) * std
        distribution = stats.uniform(-bound, 2 * bound)
        assert stats.kstest(drawn, distribution.cdf).pvalue > 1e-3 / 2
    drawn = layer.weight.detach().double().numpy().ravel()
    assert np.abs(drawn).max() / (math.sqrt(3) * published.torch_gain() / 64) == pytest.approx(1.0, abs=1e-4)
    assert stats.kstest(drawn, stats.uniform(-1.01 / 64, 2.02 / 64).cdf).pvalue < 1e-3


def test_ikun_is_the_mean_surrogate_derivative():
    mean, _ = integrate.quad(lambda x: 1 / (1 + x**2), -1, 1)
    assert published.ikun_gain() ** 2 == pytest.approx(2 / mean, rel=1e-12)


def test_the_finite_size_correction_follows_its_sample_not_a_margin():
    """``1/g²`` scatters as one sample's fraction does, and its mean is not below the tail: no margin to speak of."""
    n, p = 400, float(Q(1.0))
    fractions = np.array([published.micheli_finite_size_gain(1.0, n, seed=s) ** -2 for s in range(400)])
    scatter = math.sqrt(p * (1 - p) / n)
    margin = 1.96 * scatter / math.sqrt(1000)
    assert fractions.std(ddof=1) == pytest.approx(scatter, rel=3.3 / math.sqrt(2 * 400))
    assert fractions.mean() == pytest.approx(p - margin, abs=3.3 * scatter / 20)
    assert abs(fractions.mean() - (p - 1.96 * scatter)) > 5 * scatter / 20  # a real lower bound would be there
    assert published.micheli_finite_size_gain(1.0, n, seed=3) == published.micheli_finite_size_gain(1.0, n, seed=3)
    with pytest.raises(vf.DomainError, match="no draw above the threshold"):
        published.micheli_finite_size_gain(9.0, 10)


def test_of_a_large_sample_only_the_number_above_the_threshold_is_drawn():
    """Its fraction scatters about the tail as that of a sample drawn normal by normal, also where that would take days."""
    n, p = 2**21, float(Q(1.5))
    fractions = np.array([published.micheli_finite_size_gain(1.5, n, seed=s) ** -2 for s in range(400)])
    scatter = math.sqrt(p * (1 - p) / n)
    assert fractions.std(ddof=1) == pytest.approx(scatter, rel=3.3 / math.sqrt(2 * 400))
    assert fractions.mean() == pytest.approx(p, abs=3.3 * scatter / 20 + 1.96 * scatter / math.sqrt(1000))
    assert published.micheli_finite_size_gain(1.5, 2**53) ** -2 == pytest.approx(p, rel=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.5, 0.9])
def test_the_soft_reset_gain_by_numbers_of_one_step(decay):
    """``Var[β u - θ s + c]`` with ``u ~ N(0, 1)``, integrated, and the published E beside it."""
    theta = 0.8
    p = float(Q(theta))
    after = lambda u: decay * u - theta * (u > theta)  # noqa: E731

    def moment(k):
        parts = [integrate.quad(lambda u: after(u) ** k * stats.norm.pdf(u), *ends) for ends in ((-9, theta), (theta, 9))]
        return sum(part for part, _ in parts)

    kept = moment(2) - moment(1) ** 2
    exact = published.micheli_soft_reset_gain(theta, decay, as_published=False)
    assert exact**2 * p + kept == pytest.approx(1.0, rel=1e-7)
    told = published.micheli_soft_reset_gain(theta, decay)
    phi = float(stats.norm.pdf(theta))
    assert told**2 - exact**2 == pytest.approx(2 * decay * theta * phi * (1 / p - 1) / p, abs=1e-9)


# Filters and fluctuations.


@pytest.mark.parametrize(("alpha", "beta", "scale"), [(0.0, 0.5, 1.0), (0.8, 0.9, 0.1), (0.6, 0.0, 2.0), (0.7, 0.7, 1.0)])
def test_the_filter_in_steps_is_summed_right(alpha, beta, scale):
    i = H = 0.0
    response = []
    for t in range(2000):
        i = alpha * i + (t == 0)
        H = beta * H + scale * i
        response.append(H)
    found = published.step_filter(vf.Neuron(decay=beta, synaptic_decay=alpha, input_scale=scale))
    assert found.mean == pytest.approx(sum(response), rel=1e-12)
    assert found.square == pytest.approx(float(np.sum(np.square(response))), rel=1e-12)


@pytest.mark.parametrize(("tau_mem", "tau_syn"), [(20e-3, 10e-3), (10e-3, 5e-3), (5e-3, 30e-3)])
def test_the_filter_in_seconds_is_integrated_right(tau_mem, tau_syn):
    kernel = lambda t: tau_syn / (tau_mem - tau_syn) * (math.exp(-t / tau_mem) - math.exp(-t / tau_syn))  # noqa: E731
    end = 40 * max(tau_mem, tau_syn)
    found = published.exponential_filter(tau_mem, tau_syn)
    assert found.mean == pytest.approx(integrate.quad(kernel, 0, end)[0], rel=1e-8)
    assert found.square == pytest.approx(integrate.quad(lambda t: kernel(t) ** 2, 0, end)[0], rel=1e-8)
    assert published.exponential_filter(0.02) == published.FilterSums(0.02, 0.01)


def test_fluctuation_driven_weights_by_hand():
    """Numbers of the published example: ν = 15.8 Hz, τ_m = 20 ms, τ_s = 10 ms, 100 inputs, in double precision by hand."""
    sums = published.exponential_filter(20e-3, 10e-3)
    ehat = 1e-4 / 0.06
    centred = published.fluctuation_driven(100, 15.8, sums)
    assert centred.mean == 0.0
    assert centred.std == pytest.approx(math.sqrt(1 / (100 * 15.8 * ehat)), rel=1e-12)
    shifted = published.fluctuation_driven(100, 15.8, sums, mean_potential=0.3, xi=2.0, share=0.9)
    assert shifted.mean == pytest.approx(0.3 / 15.8, rel=1e-12)
    assert shifted.std**2 + shifted.mean**2 == pytest.approx(0.9 * 0.35**2 / (1580 * ehat), rel=1e-12)


@pytest.mark.parametrize(("tau_mem", "tau_syn"), [(20e-3, 10e-3), (10e-3, 5e-3), (5e-3, 12e-3)])
def test_storks_weights_in_steps_are_those_of_its_neuron(tau_mem, tau_syn):
    """Its formula written out: the response to one spike is stepped for ten time constants, its sums taken times the step."""
    step, nu, n, mean_potential, xi = 1e-3, 15.8, 100, 0.2, 1.5
    decay, filtered = math.exp(-step / tau_mem), math.exp(-step / tau_syn)
    current, potential, kernel = 1.0, 0.0, []
    for _ in range(round(10 * max(tau_mem, tau_syn) / step)):
        kernel.append(potential)
        potential = decay * potential + (1 - decay) * current
        current *= filtered
    mean_sum, square_sum = sum(kernel) * step, sum(value**2 for value in kernel) * step
    sums = published.step_filter(vf.neurons.stork_lif(tau_mem, tau_syn, step))

    centred = published.fluctuation_driven(n, nu * step, sums, xi=xi)
    assert centred.std == pytest.approx(1 / (xi * math.sqrt(n * nu * square_sum)), rel=1e-6)
    assert published.fluctuation_driven(n, nu * step, sums, xi=1.001 * xi).std != pytest.approx(centred.std, rel=1e-6)
    shifted = published.fluctuation_driven(n, nu * step, sums, mean_potential=mean_potential, xi=xi)
    mean = mean_potential / (n * nu * mean_sum)
    tail = math.exp(-10) * 3  # of the sum that the kernel's end cuts off
    assert shifted.mean == pytest.approx(mean, rel=tail)
    wanted = ((1 - mean_potential) / xi) ** 2 / (n * nu * square_sum) - mean**2
    assert shifted.std == pytest.approx(math.sqrt(wanted), rel=tail * mean**2 / wanted + 1e-6)
    continuous = published.fluctuation_driven(n, nu, published.exponential_filter(tau_mem, tau_syn), xi=xi)
    assert 0.005 < abs(centred.std / continuous.std - 1) < 0.2  # steps of a millisecond are not continuous time


def test_with_recurrence_the_mean_is_spread_over_all_inputs():
    sums = published.exponential_filter(20e-3, 10e-3)
    forward = published.fluctuation_driven(100, 15.8, sums, mean_potential=0.3, share=0.9, all_inputs=164)
    recurrent = published.fluctuation_driven(64, 15.8, sums, mean_potential=0.3, share=0.1, all_inputs=164)
    assert forward.mean == recurrent.mean == pytest.approx(0.3 / (1.64 * 15.8), rel=1e-12)
    squares = [n * (distribution.std**2 + distribution.mean**2) for n, distribution in ((100, forward), (64, recurrent))]
    assert squares == pytest.approx([0.9 * 0.49 / (15.8 * sums.square), 0.1 * 0.49 / (15.8 * sums.square)], rel=1e-12)
    with pytest.raises(vf.DomainError, match="at least 100"):
        published.fluctuation_driven(100, 15.8, sums, all_inputs=64)


def test_poisson_spikes_through_fluctuation_driven_weights_make_the_wanted_fluctuations():
    """Through the filter: mean ``μ_U``, variance ``((θ - μ_U)/ξ)²``, a fraction p of it less since inputs are Bernoulli.

    That is the fluctuation in time; frozen weights give each neuron a mean of its own beside it.
    """
    neuron = vf.Neuron(1.0, decay=0.8, synaptic_decay=0.5)
    n, p, sums = 200, 0.02, published.step_filter(neuron)
    distribution = published.fluctuation_driven(n, p, sums, mean_potential=0.2, xi=2.0)
    rng = np.random.default_rng(4)
    rows, steps = 1500, 60
    w = rng.normal(distribution.mean, distribution.std, (rows, n))
    x = rng.random((steps, rows, n)) < p
    i = H = np.zeros(rows)
    for spikes in x:
        i = 0.5 * i + (w * spikes).sum(axis=1)
        H = 0.8 * H + i
    own_mean = p * sums.mean * w.sum(axis=1)
    fluctuation, wanted = (H - own_mean).var(ddof=1), (1 - p) * 0.4**2
    assert own_mean.mean() == pytest.approx(0.2, abs=3.3 * own_mean.std() / math.sqrt(rows))
    assert fluctuation == pytest.approx(wanted, rel=3.3 * math.sqrt(3 / rows))
    assert abs(H.var(ddof=1) - wanted) > 5 * wanted * math.sqrt(3 / rows)
    assert own_mean.var() == pytest.approx(0.4**2 * p * sums.mean**2 / sums.square, rel=3.3 * math.sqrt(2 / rows) + 0.02)


# SpikeInit.


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("rate", [0.02, 0.1, 0.15])
def test_spikeinit_solves_its_equations(rate, decay):
    """The two moment equations solved by a root finder, without the closed form."""
    theta, lam = 0.5, 0.7
    g = published.spikeinit_gain(rate, threshold=theta, decay=decay, input_scale=lam)
    drive = lam**2 * g**2 * rate

    def equations(state):
        m, s = state
        a = (theta - m) / s
        below, density = stats.norm.cdf(a), stats.norm.pdf(a)
        first = decay * (m * below - s * density) - m
        second = decay**2 * ((m**2 + s**2) * below - s * (theta + m) * density) + drive - m**2 - s**2
        return first, second

    (m, s), _, found, _ = optimize.fsolve(equations, (0.0, math.sqrt(drive)), full_output=True, xtol=1e-13)
    assert found == 1
    assert Q((theta - m) / s) == pytest.approx(rate, rel=1e-8)


def test_spikeinit_without_memory_is_the_gain_for_a_rate():
    assert published.spikeinit_gain(0.15, threshold=0.7) == pytest.approx(vf.init.calculate_gain(0.7, rate=0.15), rel=1e-12)
    with pytest.raises(vf.DomainError, match="not attainable"):
        published.spikeinit_gain(0.45, decay=0.9)


def test_spikeinit_fires_at_its_rate_on_white_input_and_not_on_a_constant_one():
    neuron = {"decay": 0.5, "threshold": 0.5, "input_scale": 0.5}
    g = published.spikeinit_gain(0.1, **neuron)
    rng = np.random.default_rng(0)
    measured = {}
    for kind in ("white", "constant"):
        H, frozen = np.zeros(40_000), rng.standard_normal(40_000)
        for _ in range(40):
            c = 0.5 * g * math.sqrt(0.1) * (rng.standard_normal(40_000) if kind == "white" else frozen)
            H = 0.5 * H * (H <= 0.5) + c
        measured[kind] = float(np.mean(H > 0.5))
    stderr = math.sqrt(0.09 / 40_000)
    assert measured["white"] == pytest.approx(0.1, abs=3.3 * stderr + 0.004)  # 0.004: the potential is only nearly normal
    assert abs(measured["constant"] - 0.1) > 10 * stderr


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_first_layer_fires_at_its_rate(decay):
    """A frozen current through the neuron itself, over many steps."""
    s = published.spikeinit_first_layer_std(0.12, decay=decay)
    c = stats.norm.ppf((np.arange(40_000) + 0.5) / 40_000) * s  # evenly over the distribution: no sampling noise
    H, spikes = np.zeros_like(c), np.zeros_like(c)
    steps = 1000
    for _ in range(steps):
        H = decay * H * (H <= 1.0) + c
        spikes += H > 1.0
    assert spikes.mean() / steps == pytest.approx(0.12, abs=1e-3)  # the last interval is cut off: at most 1/steps


# LSUV.


def test_lsuv_scales_layer_after_layer():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Spikes(nn.Module):
        def forward(self, u):
            return (u > 0.7).float()

    model = nn.Sequential(nn.Conv2d(2, 8, 3), Spikes(), nn.Flatten(), nn.Linear(288, 60), Spikes(), nn.Linear(60, 50))
    x = torch.rand(64, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    outs = {}
    for name in "035":
        model[int(name)].register_forward_hook(lambda _, __, out, name=name: outs.update({name: out.detach().double()}))
    assert vf.init.lsuv_(model, x, generator=torch.Generator().manual_seed(1)) is model
    model(x)
    assert [float(out.var(correction=0)) for out in outs.values()] == pytest.approx([1.0] * 3, rel=0.01)
    wanted = 0.7 - float(stats.norm.isf(0.2))
    vf.init.lsuv_(model, x, mean=wanted, tolerance=1e-4, generator=torch.Generator().manual_seed(1))
    model(x)
    assert [float(out.mean()) for out in outs.values()] == pytest.approx([wanted] * 3, abs=1e-4)
    assert [float(out.var(correction=0)) for out in outs.values()] == pytest.approx([1.0] * 3, rel=1e-4)


def test_lsuv_reaches_a_layer_that_feeds_itself_and_says_when_not():
    torch = pytest.importorskip("torch")

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.late, self.early = torch.nn.Linear(30, 30), torch.nn.Linear(10, 30)  # made in the other order

        def forward(self, x):
            h = self.early(x)
            for _ in range(3):
                h = x.new_ones(()) + self.late(torch.tanh(h)) * 0.5 + self.early(x)
            return h

    x = torch.randn(200, 10, generator=torch.Generator().manual_seed(2))
    vf.init.lsuv_(Loop(), x, generator=torch.Generator().manual_seed(1))
    with pytest.raises(vf.ConvergenceError, match="raise iterations"):
        vf.init.lsuv_(Loop(), x, iterations=1, tolerance=1e-9, generator=torch.Generator().manual_seed(1))
    silent = torch.nn.Sequential(torch.nn.Linear(10, 5), torch.nn.Threshold(99.0, 0.0), torch.nn.Linear(5, 5))
    with pytest.raises(vf.DomainError, match="inputs='2' is a layer whose output does not vary"):
        vf.init.lsuv_(silent, x)
    with pytest.raises(vf.DomainError, match="needs a bias"):
        vf.init.lsuv_(torch.nn.Linear(10, 5, bias=False), x, mean=0.1)


# What is refused.

SUMS = published.FilterSums(1.0, 1.0)
REFUSED = [
    (lambda decay: published.spytorch_gain(decay), "decay", 1.0, "1 excluded"),
    (lambda decay: published.ding_bias(1.0, decay), "decay", 1.5, "between 0 and 1"),
    (lambda threshold: published.ding_gain(threshold), "threshold", 0.0, "must be positive"),
    (lambda threshold: published.micheli_gain(threshold), "threshold", [1.0, 2.0], "single number"),
    (lambda fan_out: published.ikun_gain(10, fan_out), "fan_out", None, "whole number"),
    (lambda threshold: published.micheli_soft_reset_gain(threshold, 1.0), "threshold", -1.0, "no positive solution"),
    (lambda neuron: published.step_filter(neuron), "neuron", vf.Neuron(decay=1.0), "has no finite sum"),
    (lambda neuron: published.step_filter(neuron), "neuron", 0.5, "must be vf.Neuron"),
    (lambda rate: published.fluctuation_driven(10, rate, SUMS), "rate", 0.0, "must be positive"),
    (
        lambda mean_potential: published.fluctuation_driven(1, 0.1, SUMS, mean_potential=mean_potential),
        "mean_potential",
        0.9,
        "needs more variance",
    ),
    (lambda rate: published.spikeinit_gain(rate), "rate", 0.5, "not attainable"),
    (lambda rate: published.spikeinit_first_layer_std(rate), "rate", 0.5, "below 1/2"),
]


@pytest.mark.parametrize(("call", "argument", "value", "rule"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(call, argument, value, rule):
    with pytest.raises(vf.DomainError) as caught:
        call(**{argument: value})
    assert caught.value.argument == argument
    assert rule in str(caught.value)
