# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 1. Weights of variance 1/(n P(u > θ)) preserve a layer's unit variance
#
# *You learn* where the gain of a spiking layer comes from, and how derivation, number and simulation are compared in all
# notebooks. *You need* the variance of a sum. *It runs* in about 6 seconds. *In practice:* [the
# gain](../docs/practitioner.md#gain).
#
# A spiking neuron emits $x = 1$ if its membrane potential $u$ exceeds the threshold $\theta$, else $0$. Let a layer have $n$
# neurons with potentials of variance $V$, and let independent weights of mean zero connect them to the next layer. Then
#
# $$V' = n \operatorname{Var}[w]\, P(u > \theta), \qquad\text{so}\qquad
#   \operatorname{Var}[w] = \frac{1}{n\,P(u>\theta)} \quad\text{preserves } V = 1.$$
#
# This is the initialisation of Micheli et al. (2024). Kaiming's $2/n$ is the same result for a ReLU.

# %%
import matplotlib.pyplot as plt
import mpmath
import numpy as np

import varflow as vf

plt.style.use("varflow.plots.notebook")
print(vf.citation("micheli2024"))

# %% [markdown]
# ## Derivation
#
# Start from the variance of a sum of $n$ products. Each line gives the reason why it follows from the one above, with
# assumptions in brackets. Correlations $\mathrm E[x_i x_j]$ between the neurons of a layer drop out because the weights have
# mean zero.

# %%
derivation = vf.symbolic.weight_variance()
derivation

# %% [markdown]
# `check()` draws random parameters and compares both sides of every line, to 40 digits, with values computed from the
# definition of the layer.

# %%
assert derivation.check(points=2)

# %% [markdown]
# For a ReLU $x = \max(u, 0)$, or a leaky one with slope $a$ below zero, the same steps give Kaiming's rule.

# %%
kaiming = vf.symbolic.weight_variance(response="leaky_relu", threshold=0)
a = next(symbol for symbol in kaiming.result.free_symbols if symbol.name == "a")
assert kaiming.check(points=2)
assert kaiming.result.subs(a, 0) * vf.symbolic.n == 2
kaiming.result

# %% [markdown]
# For any variance, not only the preserved one, this is the **variance map** $V' = F(V)$ with the gain
# $g^2 = n \operatorname{Var}[w]$:

# %%
variance_map = vf.symbolic.variance_map()
assert variance_map.check(points=2)
variance_map

# %% [markdown]
# ## Number
#
# For normal potentials $P(u > \theta) = Q(\theta)$. The table compares the gain in double precision with 30 digits computed
# from the definition.

# %%
print("   θ     g² = 1/Q(θ)    to 30 digits")
for theta in (0.0, 0.3, 0.5, 0.7, 0.85, 1.0):
    gain = vf.gain(threshold=theta)
    with mpmath.workdps(30):
        exact = vf.reference.gain(threshold=theta, digits=30) ** 2
    print(f"{theta:5.2f}  {gain**2:12.6f}    {mpmath.nstr(exact, 30)}")
    assert abs(gain**2 / float(exact) - 1) < 1e-14
    assert abs(derivation.lambdify()(threshold=theta, fan_in=1) / gain**2 - 1) < 1e-14

paper = vf.gain(threshold=1.0)
assert abs(vf.variance_map(1.0, threshold=1.0, gain=paper) - 1) < 1e-14

# %% [markdown]
# ## Picture
#
# The next layer receives the mean square of a neuron's output. Below, a ReLU and a threshold act on the same potentials,
# $u \sim \mathcal N(0, 1)$. The shaded area is $\mathrm E[x^2]$, and its inverse is the gain $g^2$ that compensates the loss.
# A threshold at $\theta = 1$ passes on a third of what a ReLU does.

# %%
theta = 1.0
u = np.linspace(-3.6, 3.6, 721)
density = vf.distribution("normal").pdf(u)
passed = {
    "ReLU": (np.maximum(u, 0), 0.5, r"$x = \max(u, 0)$"),
    "threshold": ((u > theta).astype(float), 1 / paper**2, r"$x = 1(u > \theta)$"),
}

figure, axes = plt.subplots(1, 2, figsize=(9, 3.3), sharey=True, layout="constrained")
for ax, (name, (x, area, response)), colour in zip(
    axes, passed.items(), ("C0", "C1"), strict=True
):
    assert (
        abs(np.trapezoid(x**2 * density, u) - area) < 3e-3
    )  # the shaded area is the number in the figure
    ax.fill_between(u, x**2 * density, color=colour, alpha=0.35, lw=0)
    ax.plot(u, density, color="0.3", lw=1.3)
    ax.plot(u, 0.2 * x, color=colour, lw=1.3, ls="--")
    ax.annotate(
        r"density $\varphi(u)$",
        (-0.75, vf.distribution("normal").pdf(-0.75)),
        (-3.4, 0.34),
        color="0.3",
    )
    ax.set(
        title=f"{name}, {response}",
        xlabel="potential $u$",
        xlim=(-3.6, 3.6),
        ylim=(0, 0.46),
    )
    ax.set_yticks([0, 0.2, 0.4])
axes[0].text(2.3, 0.22, r"$\mathrm{E}[x^2] = 0.5$", fontsize=11)
axes[0].text(2.3, 0.30, "$g^2 = 2$", fontsize=11)
axes[0].text(1.7, 0.42, r"output $x$, $\times\, 0.2$", color="C0", ha="right")
axes[1].text(1.65, 0.135, r"$\mathrm{E}[x^2] = 0.159$", fontsize=11)
axes[1].text(1.65, 0.30, "$g^2 = 6.30$", fontsize=11)
axes[1].text(3.55, 0.21, r"output $x$, $\times\, 0.2$", color="C1", ha="right")
axes[1].set_xticks([-2, 0, theta, 2], ["−2", "0", r"$\theta$", "2"])
axes[0].set_ylabel(r"density;  shaded: $x^2 \varphi(u)$")
plt.close(figure)
figure

# %% [markdown]
# ## Simulation
#
# Two layers with real weight matrices. Layer 1 is driven to variance $V$; the variance of layer 2 is measured over 100
# networks of width 400. For this single step the map is exact at *every* width, because it only needs the mean of the output
# of layer 1. The only tolerance is therefore the standard error.

# %%
variances = np.array([0.2, 0.5, 1.0, 1.5, 2.5, 4.0])
gains = {"this gain, $g^2 = 6.30$": paper, "Kaiming, $g^2 = 2$": 2**0.5}


def two_layers(gain, variance):
    drive = vf.drives.currents(variance**0.5)
    return vf.Network(
        width=400, depth=2, gain=gain, neuron=vf.Neuron(theta), drive=drive
    )


measured, errors = {}, {}
for first_seed, (name, gain) in zip((0, 100), gains.items(), strict=True):
    ensembles = [
        vf.simulate(two_layers(gain, V), repeats=50, seed=first_seed + k)
        for k, V in enumerate(variances)
    ]
    measured[name] = np.array([ensemble.mean().variance[1] for ensemble in ensembles])
    errors[name] = np.array([ensemble.stderr().variance[1] for ensemble in ensembles])
    z = (
        measured[name] - vf.variance_map(variances, threshold=theta, gain=gain)
    ) / errors[name]
    wrong = (
        measured[name] - vf.variance_map(variances, threshold=theta, gain=1.05 * gain)
    ) / errors[name]
    print(
        f"{name}: largest deviation {np.abs(z).max():.1f} standard errors;  gain wrong "
        f"by 5 %: {np.abs(wrong).max():.1f}"
    )
    assert np.abs(z).max() < 4
    assert np.abs(wrong).max() > 6  # so small an error of the theory is detected

# %%
figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
V = np.linspace(1e-3, 4.3, 400)
ax.plot(V, V, color="0.7", lw=1, zorder=0)
ax.text(3.05, 3.12, "$V' = V$", color="0.5", rotation=40, rotation_mode="anchor")
for (name, gain), colour in zip(gains.items(), ("C1", "C0"), strict=True):
    ax.plot(V, vf.variance_map(V, threshold=theta, gain=gain), color=colour, lw=1.5)
    ax.errorbar(
        variances,
        measured[name],
        2 * errors[name],
        fmt="o",
        ms=4,
        color=colour,
        capsize=2,
    )
    ax.text(
        2.6, vf.variance_map(2.6, threshold=theta, gain=gain) - 0.33, name, color=colour
    )
ax.plot(1, 1, "o", ms=11, mfc="none", mec="0.2")
ax.annotate(
    "preserved: $V = V' = 1$",
    (0.95, 1.08),
    (0.1, 1.75),
    arrowprops={"arrowstyle": "-", "color": "0.5"},
)
ax.set(
    xlabel="variance of a layer, $V$",
    ylabel="variance of the next, $V'$",
    xlim=(0, 4.3),
    ylim=(0, 3.5),
)
ax.set_title(
    r"variance map at $\theta = 1$; bars: $\pm 2$ standard errors", fontsize=10
)
plt.close(figure)
figure

# %% [markdown]
# ## Where it stops being true
#
# **Finite width, from the third layer on.** The variance of layer 2 fluctuates from network to network, and $F$ is curved:
# $\mathrm E[F(V)] \neq F(\mathrm E[V])$. According to the map the variance stays 1 for ever. The exact theory of a network of
# width 100 predicts a decay, and simulation confirms it.

# %%
deep = vf.Network(width=100, depth=25, gain=paper, neuron=vf.Neuron(theta))
limit, exact, ensemble = (
    vf.mean_field(deep),
    vf.finite_width(deep),
    vf.simulate(deep, repeats=200, seed=200),
)
mean, error = ensemble.mean().variance, ensemble.stderr().variance
verdicts = {
    "exact theory": vf.compare(exact, ensemble),
    "map iterated": vf.compare(limit, ensemble),
}
for name, verdict in verdicts.items():
    print(f"{name}: {'agrees' if verdict.passed else 'is rejected'}")
assert np.allclose(limit.variance, 1)
assert verdicts["exact theory"].passed
assert not verdicts["map iterated"].passed
assert abs(mean[1] - 1) < 4 * error[1]  # layer 2: still the map
assert mean[-1] + 10 * error[-1] < 1  # layer 25: no longer

figure, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
layer = np.arange(1, deep.depth + 1)
ax.plot(layer, limit.variance, color="0.5", lw=1.5, ls="--")
ax.text(25, 1.03, "the map, iterated (infinite width)", color="0.4", ha="right")
ax.plot(layer, exact.variance, color="C1", lw=1.5)
ax.errorbar(layer, mean, 2 * error, fmt="o", ms=3.5, color="0.2", capsize=2, lw=1)
ax.text(10.3, 0.83, "exact theory at width 100", color="C1")
ax.text(2, 0.25, r"mean of 200 networks, $\pm 2$ standard errors", color="0.2")
ax.set(xlabel="layer $l$", ylabel=r"$\mathrm{Var}[u_l]$", ylim=(0, 1.15), xlim=(0, 26))
ax.set_title(
    r"width 100, $\theta = 1$, the gain that preserves the variance", fontsize=10
)
plt.close(figure)
figure

# %% [markdown]
# **A weight mean.** With $n\,\mathrm E[w] = m_g \neq 0$ the spikes shift the mean potential of the next layer, and with it the
# distance to the threshold. At $\theta = 1$, $m_g = -1$ activity dies with the gain above; the map with this term gives the
# gain that preserves the variance.

# %%
shifted = vf.symbolic.variance_map(mean_gain=vf.symbolic.m_g)
assert shifted.check(points=2)
silent = vf.mean_field(
    vf.Network(
        width=1000, depth=50, gain=paper, neuron=vf.Neuron(theta), mean_gain=-1.0
    )
)
kept = vf.gain(threshold=theta, mean_gain=-1.0)
print(
    f"g² = {paper**2:.3f}: variance {silent.variance[-1]:.3g} at layer 50;  g² = "
    f"{kept**2:.3f} keeps it"
)
assert silent.variance[-1] < 1e-6
assert abs(vf.variance_map(1.0, threshold=theta, gain=kept, mean_gain=-1.0) - 1) < 1e-12
shifted.result

# %% [markdown]
# That $V = 1$ is preserved does not mean that it is stable ([notebook 2](02_fixed_points.py)), and not all potentials are normal ([notebook 3](03_bias_and_mixtures.py)).
