# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 4. At finite width activity is a binomial Markov chain: in layers of 100 neurons it dies beyond θ ≈ 0.85
#
# *You learn* why narrow networks fall silent, and which gain keeps them alive. *You need* [notebook 2](02_fixed_points.py).
# *It runs* in about 20 seconds. *In practice:* [width](../docs/width.md).
#
# The preserving gain of Micheli et al. (2024) keeps $\operatorname{Var}[u]$ in an infinitely wide network. Their figure 4 shows
# that in narrow networks this fails: at $n = 100$ activity is not conserved for $\theta > 0.85$; at $n = 600$ the effect is weaker.
#
# **Claim.** The fluctuations of the spike count $K_l$ of a layer explain all of it, and at any width they have an exact
# distribution:
#
# $$K_{l+1} \mid K_l \;\sim\; \mathrm{Binomial}(n, \pi_{K_l}), \qquad
#   \pi_K = P\Bigl(\sum_{i \le K} w_i > \theta\Bigr) = Q\Bigl(\frac{\theta}{g\sqrt{K/n}}\Bigr)\ \text{for normal weights.}$$
#
# $K = 0$ is absorbing, so every finite network falls silent eventually; the width determines when.

# %%
import matplotlib.pyplot as plt
import numpy as np

import varflow as vf

plt.style.use("varflow.plots.notebook")
DEPTH = 100
THRESHOLDS = (0.5, 0.7, 0.85, 0.9, 1.0)
COLOURS = dict(
    zip(
        THRESHOLDS,
        plt.get_cmap("viridis")(np.linspace(0.05, 0.85, len(THRESHOLDS))),
        strict=True,
    )
)


def network(threshold, width, **options):
    """The preserving gain, and N(0, 1) currents into layer 1."""
    options = {"gain": vf.gain(threshold=threshold)} | options
    return vf.Network(width=width, depth=DEPTH, neuron=vf.Neuron(threshold), **options)


# %% [markdown]
# ## Derivation
#
# In an infinitely wide layer the fraction of neurons that spike is its probability $p$, and the variance map follows:

# %%
infinite = vf.symbolic.variance_map()
assert infinite.check(points=2)
infinite

# %% [markdown]
# In a finite layer the number of spikes $K$ is random. Three statements replace the limit; none of them is an approximation:
#
# 1. *Given* $K_l = K$, a potential of the next layer is a sum of $K$ weights (spikes are 0 or 1, so it does not matter
#    which neurons spiked). For normal weights it is $\mathcal N(0, C)$ with $C = g^2 K/n$: the first line above with $K/n$
#    in place of $\mathrm E[x^2]$.
# 2. The rows of the weight matrix are independent, so the $n$ potentials are independent given $K$, and each exceeds $\theta$
#    with the same probability $\pi_K$. Hence $K_{l+1} \mid K \sim \mathrm{Binomial}(n, \pi_K)$.
# 3. Every layer has new weights, so $K_{l+1}$ depends on the past only through $K_l$: a Markov chain.
#
# Layer 1 is driven by currents $\mathcal N(0, 1)$: $K_1 \sim \mathrm{Binomial}(n, Q(\theta))$. Micheli et al. plot the sample
# variance of layer $l$. Given $C$ it is $C/(n-1)$ times a $\chi^2_{n-1}$, of mean $C$ and variance $2 C^2/(n-1)$. So its
# mean is $\mathrm E[C] = g^2\,\mathrm E[K_{l-1}]/n$ and its variance
#
# $$\operatorname{Var}[C] + \frac{2}{n-1}\,\mathrm E[C^2].$$
#
# This chain, written out in 50-digit arithmetic, agrees with the fast implementation:

# %%
gain = vf.gain(threshold=1.0)
slow = vf.reference.finite_width(threshold=1.0, gain=gain, width=12, depth=6)
fast = vf.finite_width(vf.Network(width=12, depth=6, gain=gain))
print(
    f"width 12, layer 6: survival {float(slow.survival[-1]):.15f} from the definition"
)
print(f"                            {fast.survival[-1]:.15f} fast")
assert np.allclose(fast.survival, [float(p) for p in slow.survival], rtol=1e-12, atol=0)
assert np.allclose(
    fast.variance_std, [float(s) for s in slow.variance_std], rtol=1e-11, atol=0
)

# %% [markdown]
# ## The numbers of figure 4
#
# Layer 100 with the preserving gain. Silent networks count, with variance 0.

# %%
profiles = {
    (n, t): vf.finite_width(network(t, n)) for n in (100, 600) for t in THRESHOLDS
}
print("    n     θ    alive    E[Var u]   std[Var u]")
for (n, t), profile in profiles.items():
    print(
        f"{n:5d}  {t:4.2f}  {profile.survival[-1]:7.4f}  {profile.variance[-1]:9.4f}  "
        f"{profile.variance_std[-1]:10.4f}"
    )
alive = {key: profile.survival[-1] for key, profile in profiles.items()}
assert (
    alive[100, 0.7] > 0.99 > 0.6 > alive[100, 0.85] > 0.25 > 0.02 > alive[100, 1.0]
)  # lost between 0.7 and 0.9
assert alive[600, 0.85] > 1 - 1e-6  # and conserved there by 600 neurons
assert 0.80 < alive[600, 1.0] < 0.82

# %% [markdown]
# At $n = 100$ and $\theta = 0.85$ 59 % of the networks are alive at layer 100, at 0.9 26 %, at 1 less than 2 %. So at the
# threshold of 0.85 that they name about half of the networks are lost. At $n = 600$ and $\theta = 1$ one in five is lost,
# which shows in the mean as a slow decay.
#
# ## Simulation
#
# 200 networks of each width and threshold: at $n = 100$ with real weight matrices, drawn anew in every layer; at $n = 600$ with
# potentials drawn given the spikes below, which have the same distribution. Error bars are standard errors over networks. `vf.compare` tests all layers
# and all three quantities at once, with a false-alarm rate that is exact also where networks die.

# %%
REPEATS = {100: 200, 600: 200}
ENGINES = {100: "dense", 600: "conditional"}
ensembles = {}
for n, repeats in REPEATS.items():
    found = vf.simulate(
        [network(t, n) for t in THRESHOLDS],
        repeats=repeats,
        seed=4,
        engine=ENGINES[n],
    )
    ensembles |= {
        (n, t): ensemble for t, ensemble in zip(THRESHOLDS, found, strict=True)
    }

print(
    "    n     θ   alive: exact  simulated     deviation of Var u: largest |z|   "
    "p-value"
)
for key, ensemble in ensembles.items():
    verdict = vf.compare(profiles[key], ensemble, false_alarm=0.05 / len(ensembles))
    fraction, largest = (
        ensemble.survival[:, -1].mean(),
        np.nanmax(np.abs(verdict.z["variance"])),
    )
    print(
        f"{key[0]:5d}  {key[1]:4.2f}  {alive[key]:12.4f}  {fraction:9.4f}  "
        f"{largest:31.2f}  {verdict.p_value:9.3f}"
    )
    assert verdict.passed
    assert (
        abs(fraction - alive[key])
        < 4 * np.sqrt(alive[key] * (1 - alive[key]) / ensemble.repeats)
        + 1 / ensemble.repeats
    )  # a whole count

# %% [markdown]
# The same test rejects a theory whose gain is wrong by 3 %:

# %%
wrong = vf.finite_width(network(0.85, 100, gain=1.03 * vf.gain(threshold=0.85)))
verdict = vf.compare(wrong, ensembles[100, 0.85], false_alarm=0.01)
print(f"gain 3 % too large: p = {verdict.p_value:.2g}")
assert not verdict.passed

# %%
figure, axes = plt.subplots(
    2,
    2,
    figsize=(10, 6.4),
    sharex=True,
    sharey="row",
    height_ratios=[2.2, 1],
    layout="constrained",
)
layers, shown = np.arange(1, DEPTH + 1), np.arange(4, DEPTH, 12)
for column, n in enumerate(REPEATS):
    for shift, t in enumerate(THRESHOLDS):
        profile, ensemble, colour = profiles[n, t], ensembles[n, t], COLOURS[t]
        at = np.clip(
            shown + 2 * shift - 4, 0, DEPTH - 1
        )  # shifted so that dots do not overlap
        for ax, name in zip(axes[:, column], ("variance", "survival"), strict=True):
            exact, error = getattr(profile, name), getattr(ensemble.stderr(), name)
            ax.plot(layers, exact, color=colour, lw=1.6)
            dots = {
                "fmt": "o",
                "ms": 3.2,
                "lw": 1,
                "color": colour,
                "label": f"θ = {t}",
            }
            ax.errorbar(
                layers[at], getattr(ensemble.mean(), name)[at], error[at], **dots
            )
    axes[0, column].set_title(f"$n$ = {n}, {REPEATS[n]} networks", fontsize=11)
    axes[1, column].set_xlabel("layer $l$")
axes[0, 0].set(ylabel=r"mean of $\mathrm{Var}[u_l]$", ylim=(0, 1.3))
axes[1, 0].set(ylabel="fraction of networks alive", ylim=(-0.04, 1.06))
axes[0, 1].legend(
    ncols=3,
    loc="lower center",
    title="lines: exact chain; dots: simulation ± standard error",
)
plt.close(figure)
figure

# %% [markdown]
# ## Survival
#
# $P(K_{100} > 0)$ over the threshold. Every width has its own critical threshold, which increases slowly with the width, since
# the rate of falling silent is exponentially small in $n$ ([notebook 11](11_escape.py)).

# %%
grid = np.linspace(0.4, 1.15, 26)
figure, ax = plt.subplots(figsize=(7.4, 4.3), layout="constrained")
widths = (50, 100, 200, 600, 2000)
for n, colour in zip(
    widths, plt.get_cmap("plasma")(np.linspace(0.1, 0.8, len(widths))), strict=True
):
    curve = [vf.SpikeChain(network(t, n)).survival() for t in grid]
    ax.plot(grid, curve, color=colour, label=f"$n$ = {n}")
    for t in THRESHOLDS if n in REPEATS else ():
        fraction = ensembles[n, t].survival[:, -1].mean()
        error = np.sqrt(alive[n, t] * (1 - alive[n, t]) / REPEATS[n])
        ax.errorbar(t, fraction, error, fmt="o", ms=4, color=colour, clip_on=False)
ax.axvline(0.85, color="0.6", lw=0.8, ls="--")
ax.text(
    0.856, 1.05, "the limit of Micheli et al. at $n$ = 100", color="0.4", fontsize=9
)
ax.set(
    xlabel="threshold θ",
    ylabel="fraction of networks alive at layer 100",
    ylim=(-0.03, 1.1),
)
ax.legend(loc="lower left")
plt.close(figure)
figure

# %%
edges = [
    vf.largest_threshold(width=[100, 600], depth=DEPTH, survival_target=fraction)
    for fraction in (0.99, 0.5)
]
for fraction, edge in zip((99, 50), edges, strict=True):
    print(
        f"largest θ that keeps {fraction} % alive to layer 100: {edge[0]:.4f} at n = "
        f"100, {edge[1]:.4f} at n = 600"
    )
print(
    "smallest width for 99 % at θ = 1:", vf.smallest_width(threshold=1.0, depth=DEPTH)
)
assert abs(edges[0][0] - 0.7284) < 1e-4
assert 0.85 < edges[1][0] < 0.87

# %% [markdown]
# ## The corrected gain
#
# A slightly larger gain moves the fixed point away from the edge of the basin of silence. The smallest gain with
# $P(K_{100} > 0) \ge 0.99$ follows from the chain by solving for $g$, at the price of a larger variance.

# %%
corrected = vf.corrected_gain(threshold=1.0, width=100, depth=DEPTH)
repaired = network(1.0, 100, gain=corrected)
profile, ensemble = (
    vf.finite_width(repaired),
    vf.simulate(repaired, repeats=100, seed=5),
)
fraction = ensemble.survival[:, -1].mean()
settled = vf.stable_variance(threshold=1.0, gain=corrected)
print(f"θ = 1, n = 100: g² = {corrected**2:.5f} in place of {gain**2:.5f}")
print(
    f"alive at layer 100: {alive[100, 1.0]:.4f} → {profile.survival[-1]:.4f} exact, "
    f"{fraction:.4f} of 100 simulated networks"
)
print(
    f"price: the infinitely wide network settles at V* = {settled:.4f}, this one at "
    f"{profile.variance[-1]:.4f}"
)
assert abs(profile.survival[-1] - 0.99) < 1e-9
assert abs(fraction - 0.99) < 4 * np.sqrt(0.99 * 0.01 / 100)
assert vf.compare(profile, ensemble, false_alarm=0.01).passed

# %% [markdown]
# ## Where it stops being true
#
# **Another distribution of weights** changes $\pi_K$. At $n = 100$ the sum of $K \approx 16$ weights $\pm\sigma$ is not
# normal, and its tail matters: the chain above is wrong, the one with the right $\pi_K$ agrees.

# %%
signs = network(1.0, 100, weights="sign")
ensemble = vf.simulate(signs, repeats=100, seed=6)
own, normal = (
    vf.compare(each, ensemble, false_alarm=0.01)
    for each in (vf.finite_width(signs), profiles[100, 1.0])
)
print(
    f"weights ±σ: alive {ensemble.survival[:, -1].mean():.3f} simulated, "
    f"{own.profile.survival[-1]:.3f} by its own π_K"
)
print(
    f"            {alive[100, 1.0]:.3f} by the π_K of normal weights, rejected with p "
    f"= {normal.p_value:.2g}"
)
assert own.passed
assert not normal.passed

# %% [markdown]
# **Dependent rows** violate the second statement of the derivation, and the count is no longer binomial. Take $W = g\,O$ with
# $O$ a random orthogonal matrix: the same variance per weight. A Haar-random $O$ turns the spikes into a vector that is
# uniform on the sphere of radius $g\sqrt K$, so the potentials share one constraint, $\sum_i u_i^2 = g^2 K$, and the count
# fluctuates less than the binomial.

# %%
rng = np.random.default_rng(7)
RUNS, n = 2000, 100


def orthogonal(counts):
    """Spike counts after a layer of Haar-orthogonal weights, for one network per
    row.
    """
    direction = rng.standard_normal((len(counts), n))
    potentials = (
        direction
        * (gain * np.sqrt(counts) / np.linalg.norm(direction, axis=1))[:, None]
    )
    return (potentials > 1.0).sum(axis=1)


one_layer = orthogonal(np.full(20 * RUNS, 16))
pi = vf.variance_map(gain**2 * 0.16, threshold=1.0, gain=gain) / gain**2
binomial = n * pi * (1 - pi)
error = one_layer.var(ddof=1) * np.sqrt(2 / (len(one_layer) - 1))
print(
    f"Var[K' | K = 16]: {one_layer.var(ddof=1):.3f} ± {error:.3f} orthogonal, "
    f"{binomial:.3f} binomial"
)
assert one_layer.var(ddof=1) < binomial - 5 * error

counts = (rng.standard_normal((RUNS, n)) > 1.0).sum(axis=1)
alive_orthogonal = [np.mean(counts > 0)]
for _ in range(DEPTH - 1):
    counts = orthogonal(counts)
    alive_orthogonal.append(np.mean(counts > 0))
alive_orthogonal = np.array(alive_orthogonal)
chain = profiles[100, 1.0].survival
z = (alive_orthogonal[-1] - chain[-1]) / np.sqrt(chain[-1] * (1 - chain[-1]) / RUNS)
print(
    f"alive at layer 100: {alive_orthogonal[-1]:.4f} orthogonal, {chain[-1]:.4f} by "
    f"the chain: {z:.0f} standard errors apart"
)
assert z > 5

# %%
figure, ax = plt.subplots(figsize=(7.4, 3.9), layout="constrained")
ax.plot(layers, own.profile.survival, color="C2", label="weights ±σ, exact")
ax.plot(layers, chain, color="C0", label="normal weights, exact")
for label, colour, runs, fraction in (
    ("weights ±σ, simulated", "C2", ensemble.repeats, ensemble.survival.mean(axis=0)),
    (
        "normal weights, simulated",
        "C0",
        REPEATS[100],
        ensembles[100, 1.0].survival.mean(axis=0),
    ),
    ("orthogonal weights, simulated", "C3", RUNS, alive_orthogonal),
):
    error = np.sqrt(fraction * (1 - fraction) / runs)
    ax.errorbar(
        layers[::6],
        fraction[::6],
        error[::6],
        fmt="o",
        ms=3.5,
        lw=1,
        color=colour,
        label=label,
    )
ax.set(
    xlabel="layer $l$",
    ylabel="fraction of networks alive",
    title="$n$ = 100, θ = 1, the preserving gain",
    ylim=(-0.03, 1.1),
)
ax.legend(loc="center right", bbox_to_anchor=(1, 0.56))
plt.close(figure)
figure

# %% [markdown]
# Also outside the claim are weights shared between layers (no Markov property), trained weights, and neurons with memory,
# whose state is more than a spike count.
