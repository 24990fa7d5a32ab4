# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 14. Two bits are enough, or fatal: only the place of the threshold between integers counts
#
# *You learn* why rounded weights silence a network or do not, and how to choose the step. *You need* [notebook 4](04_finite_width.py).
# *It runs* in about 5 seconds. *In practice:* [two bits are enough, or fatal](../docs/quantisation.md).
#
# A chip stores weights as integers $i$ of few bits, in units of a step $\Delta$; the usual step is the one with the least
# rounding error. But rounding errors do not matter. A neuron fires if the integers of its active inputs sum to at least
#
# $$k = \lfloor \theta/\Delta \rfloor + 1,$$
#
# and $k$ alone decides whether networks live: with two bits, all or none. The right $k$ is the largest with
# $n \operatorname{Var}[i]/(k - \tfrac12)^2 \ge g^2$, the corrected gain of weights that are not rounded.

# %%
import matplotlib.pyplot as plt
import numpy as np

import varflow as vf

plt.style.use("varflow.plots.notebook")
WIDTH, DEPTH = 100, 100
BITS = {2: "#D55E00", 3: "#E69F00", 4: "#009E73", 8: "#0072B2"}
LAWS = {bits: vf.weights.quantised(bits) for bits in BITS}
CORRECTED = vf.corrected_gain(threshold=1.0, width=WIDTH, depth=DEPTH)


def network(bits, k, width=WIDTH):
    """Integer weights at θ = 1, with the middle step of this k, ``Δ = θ/(k - ½)``."""
    gain = np.sqrt(width) * LAWS[bits].std / (k - 0.5)
    return vf.Network(width=width, depth=DEPTH, gain=gain, weights=LAWS[bits])


def survival(bits, k):
    return vf.SpikeChain(network(bits, k)).survival()


# %% [markdown]
# ## Derivation
#
# Given $K$ spikes, a potential is $\Delta I_K$ with $I_K$ a sum of $K$ independent integers. It exceeds $\theta$ if
# $I_K \ge k$, so $\pi_K = P(I_K \ge k)$: the step enters only by $k$. Given $\pi_K$ the spike count is the Markov chain of
# notebook 4, and nothing in it is approximate. Two steps with the same $k$, 15 % apart:

# %%
k = 4
size = np.sqrt(WIDTH) * LAWS[3].std
one, other = (
    vf.SpikeChain(vf.Network(width=WIDTH, depth=DEPTH, gain=size / x, weights=LAWS[3]))
    for x in (3.05, 3.95)
)
print(f"3 bits, k = {k}: {one.survival():.6f} alive at Δ = θ/3.05")
print(f"                 {other.survival():.6f} alive at Δ = θ/3.95")
assert int(3.05) + 1 == int(3.95) + 1 == k
assert np.isclose(one.survival(), other.survival(), rtol=1e-10)

# %% [markdown]
# A sum of integers moves in steps of 1. The continuous sum with which it agrees best has its threshold in the middle of a
# step, at $k - \tfrac12$ (the continuity correction), hence the effective gain of the claim.
#
# ## Numbers
#
# `vf.quantise` takes the rule for a first $k$ and asks the chain.

# %%
found = vf.quantise(threshold=1.0, width=WIDTH, depth=DEPTH, bits=list(BITS))
print(found)
by_rule = [int(np.sqrt(WIDTH) * law.std / CORRECTED + 0.5) for law in LAWS.values()]
assert found.integer_threshold.tolist() == by_rule
assert np.all(found.survival >= 0.99)
assert np.all(found.survival_above < 0.99)
assert found.survival_above[0] < 1e-30  # one integer more: with two bits nothing lives

# %% [markdown]
# With two bits $k = 3$ keeps 99.7 % of networks alive and $k = 4$ none. Rounding at the step of least error knows nothing of
# this; with weights of the preserving gain it gives $k = 4$:

# %%
paper = vf.gain(threshold=1.0) / np.sqrt(WIDTH)
nearest = {}
for bits, clip in zip(BITS, found.clip, strict=True):
    step = clip * paper / (2 ** (bits - 1) - 1)
    nearest[bits] = int(1 / step) + 1
    alive = survival(bits, nearest[bits])
    print(f"{bits} bits: k = {nearest[bits]:3d} by least error, {alive:.2g} alive")
assert nearest[2] == 4

# %% [markdown]
# ## Picture
#
# Every $k$ is one point; the line is of weights that are not rounded.

# %%
squares = np.linspace(5.2, 12, 40)
normal = [
    vf.SpikeChain(vf.Network(width=WIDTH, depth=DEPTH, gain=gain)).survival()
    for gain in np.sqrt(squares)
]
figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
ax.plot(squares, normal, color="0.6", label="not rounded")
for bits, colour in BITS.items():
    ks = np.arange(1, 150)
    effective = WIDTH * LAWS[bits].std ** 2 / (ks - 0.5) ** 2
    shown = np.flatnonzero((effective > 5.2) & (effective < 12))
    shown = shown[:: 6 if bits == 8 else 1]
    points = [survival(bits, k) for k in ks[shown]]
    ax.plot(effective[shown], points, "o", color=colour, label=f"{bits} bits")
ax.axvline(CORRECTED**2, color="black", lw=0.8, ls=":", label="corrected gain")
ax.set(xlabel=r"$n\,\mathrm{Var}[i]/(k - 1/2)^2$", ylabel=f"alive in layer {DEPTH}")
ax.legend()
plt.close(figure)
figure

# %% [markdown]
# ## Simulation
#
# Real integer matrices of two bits, at $k$ and one integer beside it. What is exact for the one is rejected for the other.

# %%
REPEATS = 20
ensembles = vf.simulate([network(2, 3), network(2, 4)], repeats=REPEATS, seed=1)
for k, ensemble in zip((3, 4), ensembles, strict=True):
    alive = ensemble.survival[:, -1].sum()
    print(
        f"2 bits, k = {k}: {alive:.0f} of {REPEATS} alive, exact {survival(2, k):.4g}"
    )
theories = {k: vf.finite_width(network(2, k)) for k in (2, 3, 4)}
verdicts = {k: vf.compare(theory, ensembles[0]) for k, theory in theories.items()}
assert verdicts[3].passed
assert not verdicts[2].passed
assert not verdicts[4].passed
assert not ensembles[1].survival[:, -1].any()

# %% [markdown]
# ## Where it stops being true
#
# - **The rule, not the chain, is approximate.** Where counts are small the effective gain predicts survival poorly (with two
#   bits it can be off by 0.7); the chain does not. In all cells looked at the rule names the right $k$.
# - **Layers that differ** have a step each, by their own number of inputs. A bias needs its own lattice.
# - **Other bases.** Weights need no normal distribution before rounding, but mean 0. What is exact here is the chain of any
#   integers, as of any weights, also of some that no gain describes: Cauchy weights have no variance. A sum of $K$ of them is
#   $K$ times one. They live at rates that normal weights cannot have:

# %%
cauchy = vf.weights.cauchy()
rates = {
    name: vf.sparsest_rate(width=800, depth=DEPTH, weights=weights)
    for name, weights in {"normal": "normal", "Cauchy": cauchy}.items()
}
for name, rate in rates.items():
    print(f"least rate at which 99 % of networks of width 800 live: {rate:.4f}, {name}")
least = 0.117  # of normal weights at any width
assert rates["Cauchy"] < least < rates["normal"]
try:
    vf.mean_field(vf.Network(width=800, depth=2, gain=3.2, weights=cauchy))
except vf.DomainError as error:
    refused = str(error)
print(refused)
assert "variance" in refused
