# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 13. What finite width does to neurons with memory: a leak protects later steps, a reset endangers them
#
# *You learn* which step of a neuron with memory falls silent first, and how wide layers must be. *You need* [notebooks
# 4](04_finite_width.py), [5](05_expansions.py) and [6](06_leak_and_reset.py). *It runs* in about 40 seconds. *In practice:*
# [width with memory](../docs/finite_width_in_time.md).
#
# Layers of $n$ neurons without memory lose their activity at a rate exponentially small in $n$
# ([notebook 4](04_finite_width.py), [notebook 5](05_expansions.py)). Neurons with memory spike at several steps,
# and every step can die by itself.
#
# **Claim.** The second moments of the spikes over the steps are a Markov chain from layer to layer, exactly and at any width.
# Its first step is the chain of neurons without memory. The later steps are safer than the first where the leak wins
# (snnTorch's neuron with β = 0.9), and more fragile where the reset wins (β = 0.5). So the gain that keeps narrow networks
# alive is not that of one step, nor is it bounded by it.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import poisson

import varflow as vf

plt.style.use("varflow.plots.notebook")
STEPS, LATE = 8, slice(4, None)
NEURONS = {beta: vf.neurons.snntorch_leaky(beta) for beta in (0.5, 0.9)}
COLOURS = {0.5: "#D55E00", 0.9: "#0072B2"}


def network(beta, gain2, width, depth, steps=STEPS):
    """Threshold 1; a constant current N(0, 1) drives each neuron of layer 1."""
    return vf.Network(
        width=width, depth=depth, gain=gain2**0.5, neuron=NEURONS[beta], steps=steps
    )


# %% [markdown]
# ## Derivation
#
# Let $s_i$ be the spikes of neuron $i$, a vector of 0 and 1 over the steps. The next layer receives the currents
# $I_j = (g/\sqrt n) \sum_i W_{ji} s_i$. *Given* the spikes, the rows of $W$ are independent, so the currents of different
# neurons are independent. Each is normal over the steps, with the covariance $g^2 M$:
#
# $$M_l = \frac 1 n \sum_i s_i s_i^T, \qquad
#   M_{l+1} = \frac 1 n \sum_i s_i s_i^T, \quad s_i \text{ the spikes under } \mathcal N(0, g^2 M_l).$$
#
# Nothing else of layer $l$ matters. So $M$ is a Markov chain, whatever leak and reset do. Two facts organise all that follows.
#
# 1. **Causality.** The first $t$ steps are a chain of their own: no later step acts on them. The **first step is the chain of
#    neurons without memory**, since a membrane at rest has neither leaked nor been reset.
# 2. **Silence.** A step that is silent in layer $l$ sends no current to the same step of layer $l + 1$. That step can fire only
#    from what earlier currents have left on the membrane.
#
# The chain takes ten lines. It is compared with real weights, and its first step with the exact binomial chain. As controls, a
# chain that keeps only the firing rates and forgets the overlaps $M_{tt'}$, and the last step, must be rejected.

# %%
NARROW, NETWORKS = 50, 1500


def spikes(currents, beta):
    """Of snnTorch's neuron with θ = 1; steps are the last axis."""
    h, sent = np.zeros(currents.shape[:-1]), [np.zeros(currents.shape[:-1])]
    for current in np.moveaxis(currents, -1, 0):
        h = beta * h + current - sent[-1]
        sent.append((h > 1).astype(float))
    return np.stack(sent[1:], axis=-1)


def chain(beta, gain, depth, steps, rng, overlaps=True):
    """Firing rates (network, layer, step) of networks that are drawn without
    weights.
    """
    s, rates = (
        spikes(
            np.repeat(rng.standard_normal((NETWORKS, NARROW, 1)), steps, axis=2), beta
        ),
        [],
    )
    for _ in range(depth):
        M = np.swapaxes(s, 1, 2) @ s / NARROW
        rates.append(np.diagonal(M, axis1=1, axis2=2))
        kept = M if overlaps else M * np.eye(steps)
        root = np.linalg.cholesky(
            kept + 1e-12 * np.eye(steps)
        )  # also where a step is silent
        s = spikes(gain * rng.standard_normal(s.shape) @ np.swapaxes(root, 1, 2), beta)
    return np.stack(rates, axis=1)


def standard_errors_apart(one, other):
    """Of two samples of networks."""
    error = np.sqrt(
        one.var(axis=0, ddof=1) / len(one) + other.var(axis=0, ddof=1) / len(other)
    )
    return np.abs(one.mean(axis=0) - other.mean(axis=0)) / error


DEPTH, FEW, GAIN2 = 10, 4, 8.0
exact = vf.finite_width(vf.Network(width=NARROW, depth=DEPTH, gain=GAIN2**0.5))
for beta in NEURONS:
    weights = vf.simulate(
        network(beta, GAIN2, NARROW, DEPTH, FEW), repeats=NETWORKS, seed=1
    ).firing_rate[:, -1]
    drawn, forgetful = (
        chain(beta, GAIN2**0.5, DEPTH, FEW, np.random.default_rng(2), overlaps)[:, -1]
        for overlaps in (True, False)
    )
    apart, wrong = (
        standard_errors_apart(drawn, weights),
        standard_errors_apart(forgetful, weights),
    )
    z = (drawn.mean(axis=0) - exact.firing_rate[-1]) / (
        drawn.std(axis=0, ddof=1) / NETWORKS**0.5
    )
    survived, expected = np.mean(drawn[:, 0] > 0), exact.survival[-1]
    z_alive = (survived - expected) / np.sqrt(expected * (1 - expected) / NETWORKS)
    print(
        f"β = {beta}: rates by step {weights.mean(axis=0).round(3)} with weights, "
        f"{drawn.mean(axis=0).round(3)} by the chain"
    )
    print(
        f"         at most {apart.max():.1f} standard errors apart; without overlaps "
        f"{wrong.max():.0f}"
    )
    print(
        f"         step 1: rate {drawn[:, 0].mean():.3f}, {survived:.3f} of networks "
        f"alive; without memory",
        end=" ",
    )
    print(
        f"{exact.firing_rate[-1]:.3f} and {expected:.3f}, exactly; standard errors "
        f"apart, by step: {z.round(1)}"
    )
    assert apart.max() < 4
    assert wrong.max() > 6
    assert abs(z[0]) < 4
    assert abs(z_alive) < 4
    assert abs(z[-1]) > 4

# %% [markdown]
# Causality holds bit by bit: with the same weights, four steps are the beginning of eight.

# %%
short, long = (
    vf.simulate(
        network(0.5, GAIN2, NARROW, DEPTH, steps), repeats=20, seed=3
    ).firing_rate
    for steps in (FEW, STEPS)
)
assert np.array_equal(long[:, :, :FEW], short)
assert not np.array_equal(long[:, :, FEW:], short)

# %% [markdown]
# ## How networks die
#
# Firing rates by layer and step, in three networks of each neuron. They have 100 neurons a layer, and gains too small for that:

# %%
figure, axes = plt.subplots(
    2, 3, figsize=(12.0, 5.0), sharex=True, sharey=True, layout="constrained"
)
for row, (beta, gain2) in zip(axes, {0.9: 5.5, 0.5: 7.0}.items(), strict=True):
    dying = vf.simulate(
        network(beta, gain2, 100, 90, steps=16), repeats=3, engine="conditional", seed=1
    )
    for ax, rate in zip(row, dying.firing_rate, strict=True):
        shown = np.ma.masked_equal(rate.T, 0)
        image = ax.imshow(
            shown,
            origin="lower",
            aspect="auto",
            cmap="viridis",
            vmin=0,
            vmax=0.4,
            extent=(0.5, 90.5, 0.5, 16.5),
        )
        ax.set_facecolor("0.93")
    row[0].set(
        ylabel=f"β = {beta}, $g^2$ = {gain2}\nstep $t$", yticks=(1, 4, 8, 12, 16)
    )
for ax, name in zip(axes[0], ("a network", "another", "a third"), strict=True):
    ax.set_title(name, fontsize=10)
for ax in axes[1]:
    ax.set_xlabel("layer $l$")
figure.colorbar(image, ax=axes, label="firing rate (grey: silent)", shrink=0.8)
plt.close(figure)
figure

# %% [markdown]
# With β = 0.9 death is a front. Step 1 goes first. Then step 2 has lost its predecessor and is a first step itself. A late
# step is safe as long as an earlier one lives, since the membrane carries what earlier currents have left. With β = 0.5 any
# step may go first. The reset takes from each step what the one before it has spiked, and a step whose predecessor is silent
# is better off. What remains are single steps and pairs, other ones in each network; now and then a silent step revives.
#
# ## Expansion
#
# Far from death $M$ fluctuates about its fixed point $M^* = F(M^*)$, with $F(M) = \mathrm E[s s^T]$ under
# $\mathcal N(0, g^2 M)$. With $\delta_l = M_l - M^*$, $J = F'$, $H = F''$ and noise $\xi$ of the covariance
# $C = \operatorname{Cov}[s s^T]$,
#
# $$\delta_{l+1} = J \delta_l + \tfrac12 H[\delta_l, \delta_l] + \xi_l/\sqrt n \quad\Rightarrow\quad
#   \operatorname{Cov}[M] = \frac V n,\quad V = J V J^T + C, \qquad
#   \mathrm E[M] = M^* + \frac c n,\quad c = (1 - J)^{-1} \tfrac12 (H{:}V).$$
#
# `vf.expansion` has both, for any leak and reset. Two ways to read $c$: it is the loss of activity by finite width, and
# $4c^2/(nv)$, with $v$ the variance of the rate, is the small parameter of the series, which grows as a step comes near its
# saddle-node. Both neurons here have the same gain and differ in their leak alone.

# %%
WIDTH, GAIN2, SETTLED = 300, 7.98, slice(12, None)
SERIES = {beta: vf.expansion(network(beta, GAIN2, WIDTH, 36)) for beta in NEURONS}
ENSEMBLES = dict(
    zip(
        NEURONS,
        vf.simulate(
            [network(beta, GAIN2, WIDTH, 36) for beta in NEURONS],
            repeats=2400,
            engine="conditional",
            seed=4,
        ),
        strict=True,
    )
)


def coefficients(beta):
    """``c`` and ``v`` of each step by theory, and in networks with standard errors
    from 24 batches.
    """
    series, batches = (
        SERIES[beta],
        ENSEMBLES[beta].firing_rate[:, SETTLED].reshape(24, 100, -1, STEPS),
    )
    c = WIDTH * (batches.mean(axis=(1, 2)) - np.diag(series.fixed_point))
    v = WIDTH * batches.var(axis=1, ddof=1).mean(axis=1)
    theory = np.diag(series.mean_coefficients), np.diag(series.variance_coefficients)
    off = WIDTH * np.diag(series.error["fixed_point"])  # of M*, n times larger in c
    errors = (
        np.hypot(c.std(axis=0, ddof=1) / 24**0.5, off),
        v.std(axis=0, ddof=1) / 24**0.5,
    )
    return theory, (c.mean(axis=0), v.mean(axis=0)), errors


MEASURED = {beta: coefficients(beta) for beta in NEURONS}
for beta, (theory, found, errors) in MEASURED.items():
    print(f"β = {beta}, small parameter", SERIES[beta].small_parameter.round(3))
    for name, *values in zip("cv", theory, found, errors, strict=True):
        print(
            f"   {name}    theory",
            values[0].round(3),
            "\n      networks",
            values[1].round(3),
            "±",
            values[2].max().round(3),
        )

# %% [markdown]
# Allowed are 4 standard errors, and 25 % of $c$ and 4 % of $v$ for what the next order adds at this width. No shift at all,
# and the $c$ of the other neuron, must be rejected.


# %%
def agree(theory, found, errors):
    return [
        bool(np.all(np.abs(have - want) < 4 * error + bias * np.abs(want)))
        for want, have, error, bias in zip(
            theory, found, errors, (0.25, 0.04), strict=True
        )
    ]


for beta, other in ((0.5, 0.9), (0.9, 0.5)):
    theory, found, errors = MEASURED[beta]
    assert agree(theory, found, errors) == [True, True]
    assert not agree(np.zeros((2, STEPS)), found, errors)[0]
    assert not agree(MEASURED[other][0], found, errors)[0]
(fragile, _), (safe, _) = (MEASURED[beta][0] for beta in (0.5, 0.9))
print(
    f"late c over c of step 1: β = 0.5 {fragile[LATE].mean() / fragile[0]:.2f}, β = "
    f"0.9 {safe[LATE].mean() / safe[0]:.2f}"
)
assert np.isclose(fragile[0], safe[0], rtol=1e-3)  # step 1 knows no leak
assert np.all(fragile[LATE] < 1.5 * fragile[0])
assert np.all(safe[LATE] > 0.5 * safe[0])

# %% [markdown]
# ## Which step dies first
#
# Given $M$, the count of step $t$ is binomial: $K_t' \sim \mathrm{Binomial}(n, F_{tt}(M))$. Let all other moments follow the
# count $K_t$ at once. Then $F_{tt}$ becomes a function $\pi_t(K_t/n)$, and the rate $r_t$ at which step $t$ falls silent is
# that of a binomial chain, as in [notebook 11](11_escape.py). `vf.escape_by_step` tabulates $\pi_t$ once; any width then takes no time, and no
# network is drawn.

# %%
WIDTHS = np.array([50, 100, 200, 400, 800, 1600])
ESCAPE = {beta: vf.escape_by_step(network(beta, GAIN2, 100, 2)) for beta in NEURONS}
RATES = {
    beta: np.array([escape.log_rates_at(int(n)) for n in WIDTHS])
    for beta, escape in ESCAPE.items()
}
for beta, rates in RATES.items():
    print(f"β = {beta}: ln r of each step")
    for n, row in zip(WIDTHS, rates, strict=True):
        print(
            f"   n = {n:4}",
            *(f"{value:7.1f}" for value in row),
            f"   step {row.argmax() + 1} dies first",
        )
    print(
        "   slope -d ln r/dn",
        ((rates[-2] - rates[-1]) / (WIDTHS[-1] - WIDTHS[-2])).round(4),
    )
assert np.all(RATES[0.9].argmax(axis=1) == 0)
assert np.all(RATES[0.5].argmax(axis=1) >= 4)
lead = {
    beta: rates[:, -1] - rates[:, 0] for beta, rates in RATES.items()
}  # of the last step over the first
assert np.all(np.diff(lead[0.5]) > 0)
assert np.all(np.diff(lead[0.9]) < 0)
assert np.allclose(RATES[0.5][:, 0], RATES[0.9][:, 0], rtol=1e-6)
one_step = vf.SpikeChain(
    vf.Network(width=100, depth=2, gain=GAIN2**0.5)
).quasi_stationary()
assert np.isclose(RATES[0.9][1, 0], np.log(one_step.escape_rate), rtol=1e-6)

# %% [markdown]
# The slopes differ, so width does not help all steps alike: the wider the layers, the more surely a late step is the first
# to die with β = 0.5, and the first step with β = 0.9.
#
# First deaths in drawn networks, all of whose steps were alive so far, must be Poisson numbers with means within the factor
# 1.7 of the reduction, at a false alarm of $3 \cdot 10^{-5}$ a side. That later steps die as the first does must be rejected.

# %%
DEATHS = vf.simulate(
    [network(beta, GAIN2, 100, 60) for beta in NEURONS],
    repeats=2500,
    engine="conditional",
    seed=5,
)
COUNTED = {}
for beta, ensemble in zip(NEURONS, DEATHS, strict=True):
    alive = ensemble.firing_rate > 0
    so_far = np.logical_and.accumulate(alive.all(axis=2), axis=1)[
        :, 9:-1
    ]  # ten layers forget the drive
    COUNTED[beta] = (so_far[..., None] & ~alive[:, 10:]).sum(axis=(0, 1)), so_far.sum()


def explained(rates, deaths, layers):
    too_few, too_many = (
        poisson.cdf(deaths, rates * layers / 1.7),
        poisson.sf(deaths - 1, rates * layers * 1.7),
    )
    return np.minimum(too_few, too_many) > 3e-5


for beta, (deaths, layers) in COUNTED.items():
    rates = np.exp(RATES[beta][1])
    print(
        f"β = {beta}: deaths by step in {layers} layers",
        deaths,
        " expected",
        (rates * layers).round(1),
    )
    assert explained(rates, deaths, layers).all()
    assert not explained(np.full(STEPS, rates[0]), deaths, layers)[LATE].any()

# %%
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(12.6, 3.9), layout="constrained"
)
t = np.arange(1, STEPS + 1)
for beta, colour in COLOURS.items():
    (c, _), (found, _), (error, _) = MEASURED[beta]
    left.plot(t, c, color=colour, lw=1.5, label=f"β = {beta}")
    left.errorbar(
        t, found, 2 * error, fmt="o", ms=4, mfc="white", color=colour, lw=1, capsize=2
    )
    middle.semilogy(t, np.exp(RATES[beta][1]), color=colour, lw=1.5)
    deaths, layers = COUNTED[beta]
    seen = deaths > 0
    spread = 2 * np.sqrt(deaths[seen]) / layers
    low = np.minimum(spread, 0.9 * deaths[seen] / layers)
    middle.errorbar(
        t[seen],
        deaths[seen] / layers,
        (low, spread),
        fmt="o",
        ms=4,
        mfc="white",
        color=colour,
        lw=1,
        capsize=2,
    )
    for step, style in ((2, "--"), (STEPS, "-")):
        right.plot(
            WIDTHS,
            RATES[beta][:, step - 1] / np.log(10),
            style,
            color=colour,
            lw=1.5,
            label=f"step {step}, β = {beta}",
        )
right.plot(
    WIDTHS, RATES[0.5][:, 0] / np.log(10), color="black", lw=1.5, label="step 1 of both"
)
left.axhline(0, color="0.8", lw=0.8, zorder=0)
left.set(xlabel="step $t$", ylabel="$c_t$: $n$ times the shift of the rate")
left.set_title(f"theory and networks of width {WIDTH} (○)", fontsize=10)
left.legend(fontsize=9)
middle.set(xlabel="step $t$", ylabel="death rate per layer $r_t$", xticks=t)
middle.set_title("reduced chain and counted first deaths (○), $n$ = 100", fontsize=10)
right.set(xlabel="width $n$", ylabel=r"$\log_{10} r_t$", xlim=(0, 1650), ylim=(-110, 2))
right.set_title("reduced chain, to any width", fontsize=10)
right.legend(fontsize=9, loc="lower right")
plt.close(figure)
figure

# %% [markdown]
# Left: step 1 is the same for both neurons, later steps part. Middle: where the reset wins, later steps die more often than
# the first; where the leak wins, so rarely that no simulation will ever see it. Right: the ratio grows exponentially with
# the width.
#
# ## The gain that narrow networks need
#
# *Alive* must be named: every late step (of the second half) in the last layer, or one of them. `vf.lookup` interpolates a
# table of the smallest gain with which 99 % of networks are alive; `vf.corrected_gain` draws networks of any neuron. Beside
# them stands the gain of one step, exact.

# %%
DEPTH, CRITERIA = 50, ("every late step", "a late step")
FAN_IN = (64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)
ONE_STEP = np.array(
    [vf.corrected_gain(threshold=1.0, width=n, depth=DEPTH) for n in FAN_IN]
)
asked = {"steps": STEPS, "depth": DEPTH}
GAINS = {
    (beta, alive): np.array(
        [vf.lookup(neuron=neuron, fan_in=n, alive=alive, **asked).gain for n in FAN_IN]
    )
    for beta, neuron in NEURONS.items()
    for alive in CRITERIA
}
print("n" + " " * 26, *(f"{n:6}" for n in FAN_IN))
print("one step" + " " * 19, *(f"{gain:6.3f}" for gain in ONE_STEP))
for (beta, alive), gains in GAINS.items():
    print(f"β = {beta}, {alive:18}", *(f"{gain:6.3f}" for gain in gains))

# %% [markdown]
# The table against networks drawn here, within 4 standard errors and 1 % for the interpolation. The gain of one step must be
# rejected.

# %%
DRAWN = {
    (beta, alive): vf.corrected_gain(
        neuron=neuron, width=128, alive=alive, networks=400, seed=6, **asked
    )
    for beta, neuron in NEURONS.items()
    for alive in CRITERIA
}
at = FAN_IN.index(128)


def is_drawn(gain, drawn):
    return abs(gain - drawn.value) < 4 * drawn.error + 0.01 * drawn.value


for (beta, alive), drawn in DRAWN.items():
    print(
        f"β = {beta}, {alive:15}: {drawn.value:.3f} ± {drawn.error:.3f} drawn, "
        f"{GAINS[beta, alive][at]:.3f} from the table"
    )
    assert is_drawn(GAINS[beta, alive][at], drawn)
    assert not is_drawn(ONE_STEP[at], drawn)
assert np.all(GAINS[0.9, "every late step"] < ONE_STEP)  # one step asks for too much
assert np.all(GAINS[0.5, "every late step"] > ONE_STEP)  # and for too little
crossing = GAINS[0.5, "a late step"] - ONE_STEP
assert crossing[0] < 0 < crossing[-1]  # which of the two depends on the width

# %%
figure, ax = plt.subplots(figsize=(8.2, 4.4), layout="constrained")
ax.plot(FAN_IN, ONE_STEP, color="black", lw=1.8, label="one step, exact")
for (beta, alive), gains in GAINS.items():
    style = "-" if alive == CRITERIA[0] else "--"
    ax.plot(
        FAN_IN, gains, style, color=COLOURS[beta], lw=1.6, label=f"β = {beta}, {alive}"
    )
    drawn = DRAWN[beta, alive]
    ax.errorbar(
        128,
        drawn.value,
        2 * drawn.error,
        fmt="o",
        ms=5,
        mfc="white",
        color=COLOURS[beta],
        capsize=2,
    )
for beta in NEURONS:
    ax.fill_between(
        FAN_IN,
        *(GAINS[beta, alive] for alive in CRITERIA),
        color=COLOURS[beta],
        alpha=0.1,
        lw=0,
    )
ax.set(
    xscale="log",
    xlabel="width $n$",
    ylabel="gain $g$",
    title=f"99 % of networks alive in layer {DEPTH}, {STEPS} steps",
)
ax.set_xticks(
    [64, 128, 256, 512, 1024, 2048, 4096],
    ["64", "128", "256", "512", "1024", "2048", "4096"],
)
ax.set_xticks([], minor=True)
ax.legend(fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
plt.close(figure)
figure

# %% [markdown]
# The gain of one step is a bound in neither direction. With β = 0.9 it asks for too much at every width: the leak carries the
# late steps, and a front needs many layers to reach them. With β = 0.5 and every late step alive it asks for too little. With a
# single late step it asks for too much in narrow layers, where the survivors profit from the dead, and for too little in wide
# ones.
#
# ## Where it stops being true
#
# - **Weights that are not normal.** Currents given the spikes are then normal only in the limit; skewed and discrete weights
#   shift rates by more than $1/n$, and the chain does not apply.
# - **Near death** the series is asymptotic and says nothing: above a small parameter of 1/4 `vf.expansion` refuses.
# - **Revival.** snnTorch's neuron with β = 0.5 can fire again at a silent step. A death rate by step is one of first deaths; a
#   layer is alive or not by itself, and survival is counted in the last one.
# - **The reduction** lets all else follow the count at once, and takes the rate at which some step dies for the sum over
#   steps. That is mostly too large, as deaths of several steps coincide.
# - **The drive.** Where layer 1 is too quiet no gain of later layers helps. `vf.corrected_gain` then names the factor that the
#   drive needs ([width with memory](../docs/finite_width_in_time.md)).

# %%
try:
    vf.expansion(network(0.5, 7.0, 64, 2))
except vf.DomainError as error:
    refused = str(error)
print(refused)
assert "width" in refused
