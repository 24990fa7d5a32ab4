# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 5. A live network of width n is off its fixed point by powers of 1/n
#
# *You learn* how far a finite network is from the theory of infinite width, as a series. *You need* [notebook
# 4](04_finite_width.py). *It runs* in about 10 seconds. *In practice:* [expansions](../docs/expansions.md).
#
# [Notebook 4](04_finite_width.py) describes a finite network exactly by a Markov chain. A network that is alive fluctuates about the stable fixed
# point $V^*$ of the variance map $F$, and its mean is shifted. With $C = g^2 K/n$, $p$ the firing rate, $m = F'(V^*)$,
#
# $$\mathrm E[C] - V^* \sim \frac{F''(V^*)\, s^2}{2n(1-m^2)(1-m)}, \qquad \operatorname{Var}[C] \sim \frac{s^2}{n(1-m^2)},
#   \qquad s^2 = g^4 p(1-p).$$
#
# How such a network falls silent at last is another story, told in [notebook 11](11_escape.py).

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


# %% [markdown]
# ## Derivation: powers of 1/n
#
# $X = C - V^*$ is a Markov chain. Its moments given the layer before are binomial, hence known exactly. Expand $F$ about the
# fixed point, require that the moments do not change from layer to layer, and solve from the highest one down.

# %%
corrections = vf.symbolic.finite_width_corrections(order=1)
assert corrections.check(points=2)
corrections

# %% [markdown]
# ## The number
#
# At $\theta = 0.7$ and $n = 2000$ the mean lies about a thousandth below 1. Compare the formula derived above, the numerical
# series to higher orders, and the quasi-stationary distribution of the exact chain (the distribution after many layers, given
# that the network is alive):

# %%
theta, n = 0.7, 2000
g = vf.gain(threshold=theta)
point = vf.fixed_points(threshold=theta, gain=g)[-1]
step = 1e-4
F = [vf.variance_map(1 + k * step, threshold=theta, gain=g) for k in (-1, 0, 1)]
curvature = (F[0] - 2 * F[1] + F[2]) / step**2
values = {
    "F1": point.multiplier,
    "F2": curvature,
    "gain": g,
    "fan_in": n,
    "p": point.firing_rate,
}
derived, spread = corrections.lambdify()(
    **{name: values[name] for name in corrections.arguments}
)

exact = vf.SpikeChain(network(theta, n)).quasi_stationary().variance - 1
orders = [vf.expansion(network(theta, n), order=k).variance - 1 for k in (1, 2, 3)]
print(f"derivation       {derived:.9f}")
for k, shift in enumerate(orders, 1):
    print(f"series, order {k}  {shift:.9f}")
print(f"exact chain      {exact:.9f}")
assert abs(derived / orders[0] - 1) < 1e-6  # the curvature is a difference quotient
assert (
    abs(orders[2] - exact) < abs(orders[1] - exact) / 50 < abs(orders[0] - exact) / 1000
)

# %% [markdown]
# ## Picture and simulation
#
# Left: the mean shift over $1/n$. Dots are real networks, each averaged over the layers 16 … 60 in which it is alive, with
# standard errors over networks. Right: the remainder of the series, which must decrease as $n^{-(k+1)}$ at order $k$.

# %%
REPEATS = {60: 400, 100: 80, 200: 20}


def mean_alive(ensemble, squared_gain, first=15):
    """Mean of C over live layers, and its standard error: a ratio of two sums over
    independent networks.
    """
    rate = ensemble.firing_rate[:, first:]
    total, layers = squared_gain * rate.sum(axis=1), (rate > 0).sum(axis=1)
    mean = total.sum() / layers.sum()
    return mean, np.sqrt(np.sum((total - mean * layers) ** 2)) / layers.sum()


measured = {}
for n, repeats in REPEATS.items():
    measured[n] = mean_alive(
        vf.simulate(network(theta, n, depth=60), repeats=repeats, seed=1), g**2
    )
    exact = vf.SpikeChain(network(theta, n)).quasi_stationary().variance
    z = (measured[n][0] - exact) / measured[n][1]
    print(
        f"n = {n:3d}: shift {measured[n][0] - 1:+.4f} ± {measured[n][1]:.4f} "
        f"simulated, {exact - 1:+.4f} exact, z = {z:+.1f}"
    )
    assert abs(z) < 4
assert (
    measured[60][0] - 1 < -5 * measured[60][1]
)  # there is a shift: infinite width is rejected
leading = vf.expansion(network(theta, 60), order=1).variance
assert (
    measured[60][0] - leading < -3 * measured[60][1]
)  # and so is the leading term alone

# %%
widths = np.unique(np.geomspace(60, 4000, 16).astype(int))
exact = np.array(
    [vf.SpikeChain(network(theta, n)).quasi_stationary().variance - 1 for n in widths]
)
series = {
    k: np.array([vf.expansion(network(theta, n), order=k).variance - 1 for n in widths])
    for k in (1, 2, 3)
}
for k, values in series.items():
    slope = np.polyfit(np.log(widths[-6:]), np.log(np.abs(values - exact)[-6:]), 1)[0]
    print(f"order {k}: the remainder decreases as n^{slope:.3f}")
    assert abs(slope + k + 1) < 0.1

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
left.axhline(0, color="0.7", lw=0.8)
left.plot(1 / widths, series[1], color="C1", label="order 1")
left.plot(1 / widths, series[2], color="C2", ls="--", label="order 2")
left.plot(1 / widths, exact, color="0.1", label="exact chain")
shifts, errors = np.array(list(measured.values())).T
left.errorbar(
    1 / np.array(list(measured)),
    shifts - 1,
    errors,
    fmt="o",
    ms=4,
    color="C0",
    label="simulation ± standard error",
)
left.set(
    xlabel="$1/n$",
    ylabel=r"$\mathrm{E}[C] - V^*$, alive",
    xlim=(0, 0.0172),
    title="mean shift at θ = 0.7",
)
left.legend(loc="lower left")
for k, colour in zip(series, ("C1", "C2", "C4"), strict=True):
    left_over = np.abs(series[k] - exact)
    right.loglog(widths, left_over, "o-", ms=3, color=colour, label=f"order {k}")
    right.loglog(
        widths[-6:],
        2.2 * left_over[-1] * (widths[-6:] / widths[-1]) ** -(k + 1.0),
        color="0.6",
        lw=0.8,
        ls="--",
    )
    right.text(
        widths[-4],
        3.2 * left_over[-1] * (widths[-4] / widths[-1]) ** -(k + 1.0),
        f"$n^{{-{k + 1}}}$",
        color="0.4",
    )
right.set(
    xlabel="width $n$", ylabel="|series - exact|", title="remainder of the series"
)
right.legend(loc="lower left")
plt.close(figure)
figure

# %% [markdown]
# ## Derivation: the fixed point near the limits of the theory
#
# The coefficients above contain $p$, $m$ and $F''$, which have closed forms in several limits. First the preserving gain at small
# thresholds, where Kaiming's 2 is the leading term:

# %%
small = vf.symbolic.expansion("threshold_to_zero", order=2)
assert small.check(points=2)
small

# %% [markdown]
# At large thresholds the tail is Mills' ratio. The multiplier grows as $\theta^2/2$: the preserved fixed point is unstable.

# %%
large = vf.symbolic.expansion("threshold_to_infinity", order=2)
assert large.check(points=2)
large

# %% [markdown]
# For a given gain only $\gamma = g^2/\theta^2$ matters. At the saddle-node, with $\varepsilon = \sqrt{1 - \gamma_c/\gamma}$,
# the stable fixed point (s) and the edge of the basin of silence (e) separate as a square root:

# %%
born = vf.symbolic.expansion("saddle_node", order=1)
assert born.check(points=1)
born

# %% [markdown]
# At large gain, $\eta = \theta/g \to 0$, the edge decreases logarithmically, given by the lower branch of Lambert's function:

# %%
strong = vf.symbolic.expansion("gain_to_infinity", order=1)
assert strong.check(points=1)
strong


# %% [markdown]
# The error of each series against the numerical fixed points must have the stated order: halving the small parameter divides
# the error by $2^{k+1}$.


# %%
def living(gamma):
    """Edge and stable point at θ = 1."""
    return vf.fixed_points(threshold=1.0, gain=np.sqrt(gamma))[1:]


def preserving(t):
    """g² and multiplier of the preserved fixed point."""
    gain = vf.gain(threshold=t)
    slope = min(
        vf.fixed_points(threshold=t, gain=gain),
        key=lambda point: abs(point.variance - 1),
    ).multiplier
    return gain**2, slope


critical = vf.critical_gain(threshold=1.0) ** 2
near_zero, near_infinity, near_birth, near_strong = (
    found.lambdify() for found in (small, large, born, strong)
)


def halving(miss, size):
    """Powers with which the parts of a miss fall."""
    return np.log2(np.abs(miss(size)) / np.abs(miss(size / 2)))


powers = halving(lambda t: np.subtract(near_zero(t), preserving(t)), 0.02)
print("θ → 0:   orders of the errors of g², m", powers.round(2))
assert np.allclose(powers, [3, 4], atol=0.1)


def miss_at_birth(epsilon):
    edge, stable = living(critical / (1 - epsilon**2))
    told = near_birth(threshold=1.0, epsilon=epsilon)
    return np.subtract(
        told, (stable.variance, edge.variance, stable.multiplier, edge.multiplier)
    )


powers = halving(miss_at_birth, 0.04)
print("γ → γ_c: V_s, V_e, m_s, m_e    ", powers.round(2))
assert np.allclose(powers, 2, atol=0.15)


def miss_at_large_gain(eta):
    _, stable = living(eta**-2)
    return np.subtract(
        near_strong(eta)[:2], (stable.variance * eta**2, stable.multiplier)
    )


powers = halving(miss_at_large_gain, 0.02)
print("γ → ∞:   V_s/g², m_s           ", powers.round(2))
assert np.allclose(powers, 2, atol=0.2)

error = [near_infinity(t)[1] - preserving(t)[1] for t in (5.0, 8.0)]
print(
    f"θ → ∞:   error of m {error[0]:.4f} at θ = 5, {error[1]:.4f} at 8; the next term "
    f"5/θ⁴ is {5 / 5**4:.4f}, {5 / 8**4:.4f}"
)
assert np.all(np.abs(error) < [10 / 5**4, 10 / 8**4])

# %%
figure, axes = plt.subplots(2, 2, figsize=(10, 6.4), layout="constrained")
t = np.linspace(1e-3, 1.0, 60)
axes[0, 0].plot(t, [vf.gain(threshold=x) ** 2 for x in t], color="0.1")
axes[0, 0].plot(t, near_zero(t)[0], color="C1", ls="--")
axes[0, 0].set(
    xlabel="θ",
    ylabel="preserving $g^2$",
    title=r"$\theta \to 0$: $g^2 = 2 + 4\varphi(0)\theta + \dots$",
)
t = np.linspace(0.9, 6, 60)
axes[0, 1].plot(t, [preserving(x)[1] for x in t], color="0.1", label="exact")
axes[0, 1].plot(t, near_infinity(t)[1], color="C1", ls="--", label="series")
axes[0, 1].axhline(1, color="0.7", lw=0.8)
axes[0, 1].set(
    xlabel="θ",
    ylabel="multiplier $m$",
    title=r"$\theta \to \infty$: $m = \theta^2/2 + 1/2 - \theta^{-2}$",
)
axes[0, 1].legend()
epsilon = np.linspace(1e-3, 0.6, 50)
pairs = [living(critical / (1 - d**2)) for d in epsilon]
told = near_birth(threshold=1.0, epsilon=epsilon)
axes[1, 0].plot(
    epsilon, [[point.variance for point in pair] for pair in pairs], color="0.1"
)
axes[1, 0].plot(epsilon, np.transpose(told[:2]), color="C1", ls="--")
axes[1, 0].set(
    xlabel=r"$\varepsilon = \sqrt{1 - \gamma_c/\gamma}$", ylabel=r"$V/\theta^2$"
)
axes[1, 0].set_title(r"$\gamma \to \gamma_c$: stable point and edge")
eta = np.linspace(0.01, 0.35, 50)
axes[1, 1].plot(eta, [living(e**-2)[0].variance for e in eta], color="0.1")
axes[1, 1].plot(eta, near_strong(eta)[2], color="C1", ls="--")
axes[1, 1].set(xlabel=r"$\eta = \theta/g$", ylabel=r"edge $V_e/\theta^2$")
axes[1, 1].set_title(r"$\gamma \to \infty$: the edge decreases as $1/\ln$")
plt.close(figure)
figure

# %% [markdown]
# ## Where it stops being true
#
# **Narrow networks.** The series in $1/n$ is asymptotic. Its parameter is $(\pi''/(1-m))^2 p(1-p)/(n(1-m^2))$, or
# $1/(n p(1-p))$ if that is larger; towards the saddle-node it grows as $(1-m)^{-3}$. At $\theta = 1$ and $n = 100$ it
# exceeds 1/4, and `vf.expansion` raises:

# %%
try:
    vf.expansion(network(1.0, 100))
except vf.DomainError as error:
    print(error)
else:
    raise AssertionError("outside the domain of the series")

# %% [markdown]
# At $\theta = 0.7$, $n = 60$ there is a series, but its partial sums pass the exact value near order 4 and diverge; at
# $n = 250$ more terms still help:

# %%
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
errors = {}
for n, colour in zip((60, 100, 250), ("C3", "C1", "C0"), strict=True):
    exact = vf.SpikeChain(network(0.7, n)).quasi_stationary()
    found = np.array(
        [vf.expansion(network(0.7, n), order=k).variance for k in range(1, 9)]
    )
    errors[n] = np.abs(found - exact.variance)
    ax.semilogy(range(1, 9), errors[n], "o-", ms=4, color=colour, label=f"$n$ = {n}")
    print(
        f"n = {n:3d}: best order {errors[n].argmin() + 1}, error "
        f"{errors[n].min():.1e}; escape rate {exact.escape_rate:.1e}"
    )
ax.set(xlabel="terms kept", ylabel="|series - exact|", title="mean shift at θ = 0.7")
ax.legend()
plt.close(figure)
assert errors[60].argmin() + 1 < 6
assert errors[60][-1] > 5 * errors[60].min()
assert errors[250].argmin() + 1 >= 7
figure
