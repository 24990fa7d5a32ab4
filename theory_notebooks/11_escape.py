# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 11. A live network falls silent at a rate that is exponentially small in its width
#
# *You learn* how long a network of finite width stays alive. *You need* [notebooks 4](04_finite_width.py) and
# [5](05_expansions.py). *It runs* in about 5 seconds. *In practice:* [width](../docs/width.md).
#
# Silence is absorbing: after very many layers every finite network is silent ([notebook 4](04_finite_width.py)). While it is
# alive it stays near the stable fixed point of the variance map, off by powers of $1/n$ ([notebook 5](05_expansions.py)). To
# die, its $n$ neurons must all deviate together. The rate per layer is smaller than any power of $1/n$:
#
# $$r(n) \simeq A\, e^{-nI}.$$

# %%
import matplotlib.pyplot as plt
import numpy as np

import varflow as vf

plt.style.use("varflow.plots.notebook")


def network(threshold, width, depth=2):
    """The preserving gain, equal layers."""
    return vf.Network(
        width=width,
        depth=depth,
        gain=vf.gain(threshold=threshold),
        neuron=vf.Neuron(threshold),
    )


def mean_alive(ensemble, squared_gain, first=15):
    """Mean of C over live layers, and its standard error: a ratio of two sums over
    independent networks.
    """
    rate = ensemble.firing_rate[:, first:]
    total, layers = squared_gain * rate.sum(axis=1), (rate > 0).sum(axis=1)
    mean = total.sum() / layers.sum()
    return mean, np.sqrt(np.sum((total - mean * layers) ** 2)) / layers.sum()


# %% [markdown]
# ## Derivation: the cheapest way down
#
# To die, a live network must fluctuate from $p$ down to the edge $p_e$ of the basin of silence; from there it decays by
# itself. A step from the firing fraction $\kappa = K/n$ to $\kappa'$ costs $\mathrm{KL}(\kappa' \,\|\, \pi(\kappa))$ per
# neuron, so
#
# $$I = \min \sum_l \mathrm{KL}\bigl(\kappa_{l+1} \,\|\, \pi(\kappa_l)\bigr) \quad\text{over paths from } p \text{ to } p_e,$$
#
# The prefactor $A$ *assumes* Gaussian fluctuations about the cheapest path, layer by layer, as in Laplace's method; the
# integrals are in `varflow/theory/finite_width/escape.py`. The exact rate is that of the quasi-stationary distribution,
# $r = \sum_K \nu_K (1 - \pi_K)^n$; its relative difference from $A e^{-nI}$ must be $O(1/n)$.

# %%
LADDERS = {
    t: np.geomspace(100, widest, 7).astype(int)
    for t, widest in {0.7: 2000, 0.85: 6000, 1.0: 10000}.items()
}
escapes = {
    t: vf.escape_asymptotics(threshold=t, gain=vf.gain(threshold=t)) for t in LADDERS
}
rates = {
    t: np.array(
        [vf.SpikeChain(network(t, n)).quasi_stationary().escape_rate for n in ns]
    )
    for t, ns in LADDERS.items()
}
missing = {
    t: rates[t] / [escapes[t].escape_rate(n) for n in LADDERS[t]] - 1 for t in LADDERS
}
for t, escape in escapes.items():
    print(f"θ = {t:4}: r ≈ {escape.prefactor:.5f} exp(-{escape.rate_per_neuron:.9f} n)")
    print(
        f"          at n = {LADDERS[t][-1]}: exact {rates[t][-1]:.3e}, "
        f"{missing[t][-1]:+.2%} from it"
    )
    scaled = (missing[t] * LADDERS[t])[-3:]  # what is missing is O(1/n)
    assert np.ptp(scaled) < 0.12 * np.abs(scaled).max()
    assert abs(missing[t][-1]) < 0.01

# %% [markdown]
# In simulations the rate is the number of deaths divided by the number of live layers, after twelve layers in which the start
# is forgotten.

# %%
DEATHS = {100: 100, 200: 40, 300: 15}
BINS = np.arange(0.5, 66, 5)


def fraction_alive(hits, alive):
    """Fraction of live layers with a property, and its standard error over
    independent networks.
    """
    hits, layers = np.sum(hits & alive, axis=1), alive.sum(axis=1)
    fraction = hits.sum() / layers.sum()
    return fraction, np.sqrt(np.sum((hits - fraction * layers) ** 2)) / layers.sum()


counted, occupied = {}, {}
for n, repeats in DEATHS.items():
    ensemble = vf.simulate(network(1.0, n, depth=40), repeats=repeats, seed=2)
    spikes = ensemble.spikes[:, 12:]
    before, after = spikes[:, :-1] > 0, spikes[:, 1:] > 0
    state, exposed = vf.SpikeChain(network(1.0, n)).quasi_stationary(), before.sum()
    fraction, error = (
        np.sum(before & ~after) / exposed,
        np.sqrt(state.escape_rate * (1 - state.escape_rate) / exposed),
    )
    counted[n] = fraction, error
    occupied[n] = np.array(
        [fraction_alive((a < spikes) & (spikes < a + 5), spikes > 0) for a in BINS[:-1]]
    )
    print(
        f"n = {n}: {fraction:.4f} ± {error:.4f} of live layers fall silent, exact "
        f"{state.escape_rate:.4f}"
    )
    assert abs(fraction - state.escape_rate) < 4 * error
    mean, mean_error = mean_alive(ensemble, 1.0, first=12)
    assert abs(mean - state.firing_rate) < 4 * mean_error

# %%
figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(13, 4), layout="constrained"
)
for t, colour in zip(LADDERS, ("C0", "C2", "C3"), strict=True):
    ns = np.geomspace(60, LADDERS[t][-1], 80).astype(int)
    left.plot(
        ns,
        [escapes[t].escape_rate(n) for n in ns],
        color=colour,
        lw=1.2,
        label=f"θ = {t}",
    )
    left.plot(LADDERS[t], rates[t], "o", ms=4, mfc="white", color=colour)
    middle.semilogx(
        LADDERS[t],
        missing[t] * LADDERS[t],
        "o-",
        ms=4,
        color=colour,
        mfc="white",
        label=f"θ = {t}",
    )
simulated = np.array(list(counted.values())).T
left.errorbar(
    list(counted), *simulated, fmt="ks", ms=3, lw=1, zorder=3, label="θ = 1, simulated"
)
left.set(
    xscale="log",
    yscale="log",
    xlim=(12, 1.4e4),
    ylim=(1e-20, 1),
    xlabel="width $n$",
    ylabel="escape rate $r$ per layer",
)
left.set_title("lines: $A e^{-nI}$; circles: exact", fontsize=10)
left.legend(loc="lower left")
middle.axhline(0, color="0.7", lw=0.8)
middle.set(xlabel="width $n$", ylabel="$n$ (exact / asymptotic - 1)")
middle.set_title("relative error of $A e^{-nI}$: $O(1/n)$", fontsize=10)

n, centres = 200, BINS[:-1] + 2.5
counts = vf.SpikeChain(network(1.0, n)).quasi_stationary().distribution
inside = np.array(
    [
        counts.mass[(counts.counts > a) & (counts.counts < a + 5)].sum()
        for a in BINS[:-1]
    ]
)
found, errors = occupied[n].T
right.bar(centres, inside, 4.6, color="0.85", label="quasi-stationary distribution")
right.errorbar(
    centres, found, errors, fmt="o", ms=3.5, lw=1, color="C3", label="simulated, alive"
)
edge, stable = vf.fixed_points(threshold=1.0, gain=vf.gain(threshold=1.0))[1:]
for state, name in ((stable, "$np$"), (edge, "$np_e$")):
    right.axvline(n * state.firing_rate, ymax=0.88, color="0.4", lw=0.8, ls=":")
    right.text(n * state.firing_rate, 0.245, name, color="0.3", ha="center")
right.set(xlabel="spikes in a layer", ylabel="probability of 5 counts", ylim=(0, 0.27))
right.set_title("θ = 1, $n$ = 200: what a live network looks like", fontsize=10)
right.legend(loc="upper right", fontsize=8)
plt.close(figure)
assert np.all(np.abs(found - inside)[inside > 0.01] < 4 * errors[inside > 0.01])
figure

# %% [markdown]
# ## Where it stops being true
#
# **Very deep networks.** "Alive" is a condition. The mean over *all* networks is that of the live ones times
# $P(\text{alive}) \approx e^{-rL}$: the limits $n \to \infty$ and $L \to \infty$ do not commute.

# %%
chain = vf.SpikeChain(network(0.7, 60))
r = chain.quasi_stationary().escape_rate
print("n = 60, θ = 0.7:  depth L   alive (exact)   exp(-r L)")
for depth in (10, 100, 1000, 5000):
    print(f"{depth:24d} {chain.survival(depth):13.4f} {np.exp(-r * depth):13.4f}")
assert abs(np.log(chain.survival(5000)) / np.log(chain.survival(1000)) - 5) < 0.05
assert chain.survival(5000) < 0.01  # silence, whatever the series says

# %% [markdown]
# **Few neurons, few jumps.** At $\theta = 1$ and $n = 100$ the exact rate is a quarter above $A e^{-nI}$ (above, middle). At
# gains beyond $\gamma = 10.2$, where networks fall silent in a few jumps through single spikes, and below the critical gain,
# where there is no live state, `vf.escape_asymptotics` raises. With a bias silence is not absorbing.

# %%
ratio = missing[1.0][0]
print(f"θ = 1, n = 100: exact rate / asymptotic rate - 1 = {ratio:+.2f}")
assert abs(ratio) > 0.1
for outside in (
    {"threshold": 0.5, "gain": vf.gain(threshold=0.5)},
    {"threshold": 1.0, "gain": 2.0},
):
    try:
        vf.escape_asymptotics(**outside)
    except vf.DomainError as error:
        print(error)
    else:
        raise AssertionError("outside the domain of the theory")
