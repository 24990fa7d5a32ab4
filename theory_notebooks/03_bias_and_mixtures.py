# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 3. With a bias a layer has up to three fixed points: quiet, unstable and active
#
# *You learn* what biases and other distributions do to the states of a layer. *You need* [notebook 2](02_fixed_points.py). *It
# runs* in about 10 seconds. *In practice:* [the distribution of the weights](../docs/weight_distributions.md).
#
# For normal potentials without a bias there are silence and, above the saddle-node, an unstable and a stable active point
# ([notebook 2](02_fixed_points.py)). A **bias** of variance $\sigma_b^2 < 0.1533\,\theta^2$ changes the count: silence becomes a
# quiet state of low rate, and for a range of gains there is also an active state, with an unstable one in between. Another
# distribution of the potential changes where activity begins; an appendix shows what mixtures of distributions can do.

# %%
import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
import sympy
from sympy.stats import ContinuousRV

import varflow as vf

plt.style.use("varflow.plots.notebook")
print(vf.citation("micheli2024"))

# %% [markdown]
# ## Derivation
#
# **A closed form.** Let $Q$ be the upper tail of the standardised potential. For the Laplace distribution $Q$ is an
# exponential, and Lambert's $W$ gives every fixed point. $W$ is real from $-1/e$ on, so activity needs $g \geq e\,\theta$:
# $\gamma_c = e^2$.

# %%
laplace = vf.symbolic.fixed_points("laplace")
assert laplace.check(points=1)
laplace

# %% [markdown]
# **A bias** adds a constant to the tail in the condition. Its right side then grows without bound in $z$, so at every gain
# there is at least one fixed point.

# %%
biased = vf.symbolic.fixed_point_condition(bias_std=vf.symbolic.sigma_b)
assert biased.check(points=2)
biased

# %% [markdown]
# There are never more than three. By the second line below $F'(V) \propto z^3 \varphi(z)$, and
# $(z^3 \varphi)' = z^2 (3 - z^2)\, \varphi$ changes sign once: $F$ is convex up to $V = \theta^2/3$ and concave beyond, so
# that $F(V) - V$ has at most three monotone pieces. Where three fixed points merge into one, $F$ touches the diagonal with
# slope 1 and no curvature: a cusp.

# %%
cusp = vf.symbolic.bias_cusp()
assert cusp.check(points=2)
z = vf.symbolic.z
turn = sympy.diff(z**3 * sympy.exp(-(z**2) / 2), z) * sympy.exp(z**2 / 2)
assert sympy.factor(turn + z**2 * (z**2 - 3)) == 0
cusp

# %% [markdown]
# ## Number
#
# The critical $\gamma_c = g^2/\theta^2$ depends on the distribution:

# %%
potentials = {
    "uniform": "uniform",
    "normal": "normal",
    "logistic": "logistic",
    "Laplace": "laplace",
}
potentials["Student t, 5 d.o.f."] = vf.distributions.student_t(5)
gamma_c = {
    name: vf.critical_gain(threshold=1.0, distribution=potential) ** 2
    for name, potential in potentials.items()
}
for name, value in gamma_c.items():
    print(f"{name:20} γ_c = {value:.6f}")
assert abs(gamma_c["uniform"] - 9 / 2) < 1e-12
assert abs(gamma_c["Laplace"] - np.e**2) < 1e-12

# %% [markdown]
# With a bias there are three fixed points, proven complete; the outer two are stable.

# %%
theta, gain, bias_std = 1.0, 6.303**0.5, 0.05**0.5
three = vf.certified.fixed_points(threshold=theta, gain=gain, bias_std=bias_std)
assert three.complete
assert [point.stable for point in three] == [True, False, True]
assert np.allclose(
    [point.variance for point in three], [0.0500, 0.3797, 1.1686], atol=5e-5
)
three

# %% [markdown]
# The cusp, beyond which there is one fixed point at every gain:

# %%
cusp_gamma, cusp_bias = (float(value) for value in cusp.result)
print(f"cusp: γ = {cusp_gamma:.6f}, σ_b²/θ² = {cusp_bias:.6f}, V/θ² = 1/3")
assert (
    len(
        vf.fixed_points(
            threshold=1.0, gain=4.33**0.5, bias_std=(cusp_bias + 1e-3) ** 0.5
        )
    )
    == 1
)

# %% [markdown]
# ## Picture
#
# The condition $z^2 Q(z) = 1/\gamma$ for three distributions. Each curve has one maximum, so there are two roots or none.

# %%
figure, ax = plt.subplots(figsize=(6.6, 3.7), layout="constrained")
z = np.linspace(1e-3, 4.5, 900)
shown = {"uniform": (1.2, 0.226), "normal": (1.78, 0.139), "Laplace": (2.6, 0.098)}
for (name, place), colour in zip(shown.items(), ("C2", "C1", "C4"), strict=True):
    ax.plot(z, z**2 * vf.distribution(potentials[name]).sf(z), color=colour, lw=1.8)
    ax.text(*place, rf"{name}, $\gamma_c = {gamma_c[name]:.3f}$", color=colour)
ax.set(
    xlabel=r"$z = \theta/\sqrt{V}$", ylabel="$z^2 Q(z)$", xlim=(0, 4.5), ylim=(0, 0.25)
)

plt.close(figure)
figure

# %% [markdown]
# With a bias. Left: the map and its three fixed points. Right: the region of gains and biases with three fixed points, which
# ends in the cusp. Its sides are saddle-nodes, $F' = 1$; from the derivation, $\gamma = 2/(z^3 \varphi(z))$ and
# $\sigma_b^2/\theta^2 = z^{-2} - \gamma Q(z)$.

# %%
normal = vf.distribution("normal")


def side(z):
    gamma = 2 / (z**3 * normal.pdf(z))
    return gamma, z**-2 - gamma * normal.sf(z)


figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.7), layout="constrained")
V = np.linspace(1e-4, 1.6, 500)
left.plot(V, V, color="0.7", lw=1)
left.plot(
    V,
    vf.variance_map(V, threshold=theta, gain=gain, bias_std=bias_std),
    color="C1",
    lw=1.8,
)
for point, name, offset in zip(
    three, ("quiet", "edge", "active"), ((36, -4), (10, -12), (10, -12)), strict=True
):
    left.plot(
        point.variance,
        point.variance,
        "o",
        color="0.2",
        mfc="0.2" if point.stable else "white",
        ms=6,
        zorder=3,
    )
    left.annotate(
        f"{name}, {point.variance:.3f}",
        (point.variance, point.variance),
        offset,
        textcoords="offset points",
    )
left.set(
    xlabel="variance of a layer, $V$",
    ylabel="variance of the next, $V'$",
    xlim=(0, 1.6),
    ylim=(0, 1.6),
)
left.set_title(r"$\theta = 1$, $g^2 = 6.303$, $\sigma_b^2 = 0.05$", fontsize=10)

active_ends, quiet_ends = (
    side(np.linspace(1.19061, 3**0.5, 200)),
    side(np.linspace(3**0.5, 3.4, 400)),
)
right.plot(*active_ends, color="C1", lw=1.8)
right.plot(*quiet_ends, color="C0", lw=1.8)
wedge = np.linspace(cusp_gamma, 12, 300)
lower = np.interp(wedge, *(values[::-1] for values in active_ends), right=0)
right.fill_between(
    wedge, lower, np.interp(wedge, *quiet_ends), color="0.9", lw=0, zorder=0
)
right.plot(cusp_gamma, cusp_bias, "o", color="0.2", ms=5)
right.text(cusp_gamma + 0.15, cusp_bias + 0.004, "cusp", color="0.2")
right.plot(gain**2, bias_std**2, "s", color="0.2", ms=5)
right.text(gain**2 + 0.2, bias_std**2 - 0.003, "left panel", color="0.2")
right.text(8.2, 0.075, "three fixed points", ha="center")
right.text(8.6, 0.155, "one: active", ha="center")
right.text(3.2, 0.06, "one: quiet", ha="left")
right.set(
    xlabel=r"$\gamma = g^2/\theta^2$",
    ylabel=r"$\sigma_b^2/\theta^2$",
    xlim=(3, 12),
    ylim=(0, 0.18),
)
plt.close(figure)

rng = np.random.default_rng(0)
for gamma_at, bias_at in zip(
    rng.uniform(4.4, 12, 200), rng.uniform(0.001, 0.18, 200), strict=True
):
    inside = (
        np.interp(gamma_at, *(v[::-1] for v in active_ends), right=0)
        < bias_at
        < np.interp(gamma_at, *quiet_ends)
    )
    count = len(
        vf.fixed_points(threshold=1.0, gain=gamma_at**0.5, bias_std=bias_at**0.5)
    )
    assert count == (3 if inside else 1)
figure

# %% [markdown]
# ## Simulation
#
# Networks of width 400 with the bias above, driven below and above the unstable point. All stay on their side, and the exact
# theory of that width agrees at every layer. In the quiet state a bias wrong by 5 % is detected.

# %%
starts = (0.2, 0.6, 1.6)


def network(start, bias_std=bias_std, width=400, depth=15):
    drive = vf.drives.currents(start**0.5)
    return vf.Network(
        width=width,
        depth=depth,
        gain=gain,
        neuron=vf.Neuron(theta),
        bias_std=bias_std,
        drive=drive,
    )


runs = [
    vf.simulate(network(start), repeats=20, seed=seed)
    for seed, start in enumerate(starts)
]
quiet, edge, active = (point.variance for point in three)
for start, run in zip(starts, runs, strict=True):
    assert vf.compare(vf.finite_width(network(start)), run, false_alarm=0.01).passed
    last, error = run.mean().variance[-1], run.stderr().variance[-1]
    print(f"from {start:.1f} to {last:.4f} ± {error:.4f}")
    assert last + 4 * error < edge if start < edge else last - 4 * error > edge
bias = abs(vf.finite_width(network(0.2)).variance[-1] - quiet)  # from the finite width
assert (
    abs(runs[0].mean().variance[-1] - quiet) < 4 * runs[0].stderr().variance[-1] + bias
)
wrong = vf.finite_width(network(0.2, bias_std=1.05 * bias_std)).variance[-1]
assert abs(runs[0].mean().variance[-1] - wrong) > 5 * runs[0].stderr().variance[-1]

# %%
figure, ax = plt.subplots(figsize=(6.6, 3.6), layout="constrained")
layer = np.arange(1, 16)
for start, run, colour in zip(starts, runs, ("C0", "C1", "C3"), strict=True):
    ax.plot(layer, vf.mean_field(network(start)).variance, "--", color=colour, lw=1)
    ax.plot(layer, vf.finite_width(network(start)).variance, "-", color=colour, lw=1.5)
    ax.errorbar(
        layer,
        run.mean().variance,
        2 * run.stderr().variance,
        fmt="o",
        ms=3.5,
        color=colour,
        capsize=2,
        lw=1,
    )
for level, name in (
    (quiet, "quiet, stable"),
    (edge, "unstable"),
    (active, "active, stable"),
):
    ax.axhline(level, color="0.7", lw=1, zorder=0)
    ax.text(15.4, level, name, color="0.3", va="center", clip_on=False)
ax.plot([], [], "--", color="0.4", lw=1, label="infinite width")
ax.plot([], [], "-", color="0.4", lw=1.5, label="exact, width 400")
ax.errorbar(
    [],
    [],
    [],
    fmt="o",
    ms=3.5,
    color="0.4",
    capsize=2,
    lw=1,
    label=r"20 networks, $\pm 2$ s.e.",
)
ax.legend(loc="upper right", fontsize=9, ncols=3)
ax.set(
    xlabel="layer $l$", ylabel=r"$\mathrm{Var}[u_l]$", xlim=(0.7, 15.3), ylim=(0, 1.9)
)
plt.close(figure)
figure

# %% [markdown]
# ## Where it stops being true
#
# **After one dense layer potentials are normal.** Layer 1 below receives one input through uniform or Laplace weights, so its
# potentials have that distribution, with variance 1. The gain is the one that preserves this variance. It does so in layer 2,
# since $\mathrm E[V_2] = g^2 Q(\theta)$ exactly. But a potential of layer 2 is a sum of many weights: from layer 3 on the
# normal map applies, and with the uniform distribution, whose $\gamma = 4.73$ is below 6.03, activity dies.

# %%
figure, ax = plt.subplots(figsize=(6.6, 3.7), layout="constrained")
layer = np.arange(1, 10)
weights = {
    "uniform": ("uniform", "C2", 10),
    "laplace": (scipy.stats.laplace(), "C4", 11),
}
for name, (weight_distribution, colour, seed) in weights.items():
    preserving = vf.gain(threshold=1.0, distribution=name)
    common = {"width": 300, "gain": preserving, "neuron": vf.Neuron(1.0)}
    one_input = vf.drives.inputs(np.ones((1, 1)), input_gain=1.0)
    run = vf.simulate(
        vf.Network(**common, depth=9, weights=weight_distribution, drive=one_input),
        repeats=60,
        seed=seed,
    )
    mean, error = run.mean().variance, run.stderr().variance
    by_its_own = vf.variance_map(1.0, threshold=1.0, gain=preserving, distribution=name)
    normal_again = vf.mean_field(
        vf.Network(**common, depth=8)
    ).variance  # from layer 2 on, where the variance is 1
    print(
        f"{name}: by its own map {by_its_own:.3f}, by the normal map "
        f"{normal_again[1]:.3f};",
        end=" ",
    )
    print(
        "measured",
        ", ".join(f"{mean[l]:.3f} ± {error[l]:.3f} in layer {l + 1}" for l in (1, 2)),
    )
    assert abs(mean[1] - by_its_own) < 4 * error[1]
    assert abs(mean[1] - normal_again[1]) > 8 * error[1]
    assert (
        abs(mean[2] - normal_again[1]) < 4 * error[2] + 0.02
    )  # 0.02: curvature times the variance of layer 2, order 1/n
    assert abs(mean[2] - by_its_own) > 8 * error[2]
    ax.plot(layer[1:], normal_again, "-", color=colour, lw=1.5)
    ax.errorbar(layer, mean, 2 * error, fmt="o", ms=4, color=colour, capsize=2, lw=1)
ax.axhline(1, color="0.6", lw=1, ls="--", zorder=0)
ax.text(9.2, 1.03, "if distributions were kept", color="0.4", ha="right")
ax.text(5.2, 1.5, "Laplace potentials in layer 1", color="C4")
ax.text(6.2, 0.42, "uniform potentials in layer 1", color="C2")
ax.text(
    1,
    1.9,
    "lines: normal map from layer 2 on\nbars: 60 networks of width 300, ± 2 s.e.",
    color="0.3",
    va="center",
)
ax.set(
    xlabel="layer $l$", ylabel=r"$\mathrm{Var}[u_l]$", xlim=(0.7, 9.3), ylim=(0, 2.1)
)
plt.close(figure)
figure

# %% [markdown]
# **Two stable states are metastable at finite width.** With a bias the chain of spike counts has no absorbing state, and a
# narrow network forgets in which state it started.

# %%
difference = {}
for width in (50, 600):
    pair = [
        vf.finite_width(network(start, width=width, depth=400)).variance
        for start in (0.2, 0.6)
    ]
    difference[width] = pair[1] - pair[0]
    early, late = difference[width][[14, -1]]
    print(
        f"width {width}: mean variances differ by {early:.3f} at layer 15 and by "
        f"{late:.5f} at layer 400"
    )
assert difference[50][-1] < 0.01 < 0.8 < difference[600][-1]

# %% [markdown]
# **A distribution without a variance** has no map, and raises an error:

# %%
try:
    vf.distributions.student_t(2)
except vf.DomainError as error:
    print(error)
else:
    raise AssertionError("infinite variance was accepted")

# %% [markdown]
# ## Appendix: mixtures
#
# A curiosity: each scale of a mixture can bring two more fixed points, one of them stable. Only structured layers keep such a
# distribution over depth.
#
# **A mixture**, $0.95\,\mathcal N(0,1) + 0.05\,\mathcal N(0,6^2)$, standardised: one neuron in twenty receives currents six
# times as strong.

# %%
x = sympy.Symbol("x", real=True)
narrow, wide = (
    sympy.exp(-(x**2) / (2 * s**2)) / (s * sympy.sqrt(2 * sympy.pi)) for s in (1, 6)
)
mixture = ContinuousRV(x, (19 * narrow + wide) / 20)
mixed = vf.symbolic.fixed_point_condition(mixture)
assert mixed.check(points=2)
mixed

# %% [markdown]
# At $\gamma = 15$ it has four active fixed points. This list comes from a scan, not from a proof (`complete` is false), so its
# roots are checked in the condition derived above.

# %%
gamma = 15.0
potential = vf.distribution(mixture)
silence, *four = found = vf.fixed_points(
    threshold=1.0, gain=gamma**0.5, distribution=potential
)
for point in four:
    print(
        f"V = {point.variance:.6f}   m = {point.multiplier:.4f}   "
        f"{'stable' if point.stable else 'unstable'}"
    )
assert not found.complete
assert [point.stable for point in four] == [False, True, False, True]
height = mixed.lambdify()
assert np.allclose(
    [height(point.variance**-0.5) * gamma for point in four], 1, atol=1e-9
)

# %% [markdown]
# Rising parts (solid) are stable:

# %%
figure, ax = plt.subplots(figsize=(6.6, 3.7), layout="constrained")
z = np.linspace(1e-3, 9, 1800)
curve = z**2 * potential.sf(z)
rises = np.gradient(curve) > 0
for wanted, style in ((True, "-"), (False, "--")):
    ax.plot(z, np.where(rises == wanted, curve, np.nan), style, color="C3", lw=1.8)
ax.axhline(1 / gamma, color="C0", lw=1, zorder=0)
ax.text(9, 1 / gamma + 0.002, r"$\gamma = 15$", color="C0", ha="right")
for point in four:
    ax.plot(
        point.variance**-0.5,
        1 / gamma,
        "o",
        color="C3",
        mfc="C3" if point.stable else "white",
        ms=6,
    )
ax.text(1.5, 0.112, "mixture", color="C3", ha="center")
ax.set(xlabel=r"$z = \theta/\sqrt{V}$", xlim=(0, 9), ylim=(0, 0.125))
ax.set(ylabel="$z^2 Q(z)$")
plt.close(figure)
figure

# %% [markdown]
# Four is not the maximum. A component of weight $w$ and scale $s$ contributes $w s^2$ times the normal curve, stretched by
# $s$, to $z^2 Q(z)$. With weights $\propto s^{-2}$ and very different scales all maxima have about the same height, and a line
# just below it intersects each of them twice. Three scales, 1, 8 and 64:

# %%
scales, weights = np.array([1.0, 8.0, 64.0]), np.array([4096, 64, 1]) / 4161
three_scales = scipy.stats.Mixture(
    [scipy.stats.Normal(mu=0.0, sigma=s) for s in scales], weights=weights
)
silence, *six = vf.fixed_points(
    threshold=1.0, gain=18.47265**0.5, distribution=three_scales
)
print("V =", [float(f"{point.variance:.4g}") for point in six])
assert [point.stable for point in six] == 3 * [False, True]
z_six = np.array([point.variance**-0.5 for point in six])
tails = (
    scipy.stats.norm.sf(z_six[:, None] * np.sqrt(weights @ scales**2) / scales)
    @ weights
)
assert np.allclose(18.47265 * z_six**2 * tails, 1, atol=1e-9)
