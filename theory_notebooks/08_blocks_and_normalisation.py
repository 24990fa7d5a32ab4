# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 8. Residual blocks, normalisation and what they do to activity: full shortcuts grow, scaled ones have fixed points
#
# *You learn* what shortcuts and normalisation do to activity. *You need* [notebook 2](02_fixed_points.py). *It runs* in about
# 10 seconds. *In practice:* [residual blocks and normalisation](../docs/blocks.md).
#
# Deep spiking networks in use are made of residual blocks. For memoryless neurons and independent weights of mean 0 a block
# whose shortcut carries the currents, $u' = \alpha u + W x(u)$, maps the variance of the currents like this:
#
# $$V' = \alpha^2 V + g^2\, Q(\theta/\sqrt V).$$
#
# **Claim.** For $\alpha < 1$ the fixed points are those of a plain network of gain$^2$ $g^2/(1-\alpha^2)$. For $\alpha = 1$
# there is none but silence, and $V \approx V_0 + g^2 l/2$. Spikes that are added (SEW) grow faster, $E x^2 \approx l^2/4$.
# BatchNorm fixes the mean rate, but below $\gamma = 0.780\,\theta$ it amplifies differences between inputs until some of them
# are silent.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import brentq

import varflow as vf

plt.style.use("varflow.plots.notebook")
PAPER = vf.gain(threshold=1.0) ** 2
normal = vf.distribution("normal")
spike = vf.layers.Spike(vf.Neuron(1.0))


def linear(square):
    return vf.layers.Linear(gain=square**0.5)


def shortcut(square, keep):
    return vf.layers.Residual(spike, linear(square), keep=keep)


def sew(merge):
    return vf.layers.Residual(linear(PAPER), spike, merge=merge)


# %% [markdown]
# ## Derivation
#
# **Scaled shortcut.** $V = \alpha^2 V + g^2 Q$ is $V = \frac{g^2}{1-\alpha^2}\, Q(\theta/\sqrt V)$, the plain condition. The
# slope of the map is a mixture: $m_\alpha = \alpha^2 + (1-\alpha^2)\, m$. So $|m_\alpha| < 1$ where $0 \le m < 1$: stability
# is the same, and deviations decay more slowly. The plain condition and its slope $m = z\varphi(z)/2Q(z)$:

# %%
condition, multiplier = vf.symbolic.fixed_point_condition(), vf.symbolic.multiplier()
assert condition.check(points=2)
assert multiplier.check(points=2)
condition

# %% [markdown]
# **Full shortcut.** $V' - V = g^2 Q(\theta/\sqrt V) \to g^2/2$ from below. With $Q(z) \approx \frac12 - z/\sqrt{2\pi}$ and
# $V \approx g^2 l/2$ the deficit adds up to $g^2 \theta \sum_l (\pi g^2 l)^{-1/2} = 2 g \theta \sqrt{l/\pi}$:
#
# $$V_l \approx V_0 + \frac{g^2 l}{2} - 2 g \theta \sqrt{l/\pi}.$$
#
# **Added spikes.** $E x$ grows by the rate $p_y$ of the branch and $E x^2$ by $2 p_y\, E x + p_y$, with
# $p_y = Q(\theta / \sqrt{g^2 E x^2}) \to \frac12$: so $E x \approx l/2$ and $E x^2 \approx l^2/4$, all neurons nearly alike.
#
# **IAND**, $x(1-y)$: $p' = p\,(1-p_y)$ decays, and ever more slowly, since $p_y$ falls with $p$.
#
# **BatchNorm.** Let one input have the variance $V$ of its currents where all others have $\bar V$. The batch is centred at its
# own mean, so $V \propto \mathrm E(x - \bar p)^2 = p(1-2\bar p) + \bar p^2$; divided by the mean over the batch,
# $V' = \gamma^2\, (p(1-2\bar p) + \bar p^2)/\bar p(1-\bar p)$. At the fixed point $V = \bar V = \gamma^2$, $z = \theta/\gamma$,
#
# $$\frac{d \ln V'}{d \ln V} = \frac{1-2p}{p(1-p)} \cdot \frac{z\,\varphi(z)}{2}, \qquad p = Q(z).$$

# %%


def difference_multiplier(gamma):
    """Of a small difference between one input and all others, per layer."""
    z = 1 / gamma
    p = normal.sf(z)
    return float(z * normal.pdf(z) * (1 - 2 * p) / (2 * p * (1 - p)))


edge = brentq(lambda gamma: difference_multiplier(gamma) - 1, 0.5, 1.5)
print(f"differences between inputs grow below γ = {edge:.4f} θ")
assert abs(edge - 0.780) < 5e-4

# %% [markdown]
# ## Numbers

# %%
print("keep     V      rate      m     α² + (1-α²) m")
plain = vf.fixed_points(threshold=1.0, gain=PAPER**0.5)
for keep in (0.0, 0.5, 0.9, 0.99):
    found = vf.fixed_points(block=[shortcut((1 - keep**2) * PAPER, keep)])
    mixed = [keep**2 + (1 - keep**2) * point.multiplier for point in plain]
    for point, m in zip(found, mixed, strict=True):
        print(
            f"{keep:4.2f} {point.variance:8.4f} {point.firing_rate:8.4f} "
            f"{point.multiplier:8.4f} {m:8.4f}"
        )
        assert abs(point.multiplier - m) < 1e-6
    assert np.allclose(
        [p.variance for p in found], [p.variance for p in plain], rtol=1e-10
    )
    assert [p.stable for p in found] == [p.stable for p in plain]
critical = [
    vf.critical_gain(block=[shortcut(1.0, keep)]) ** 2 / (1 - keep**2)
    for keep in (0.0, 0.5, 0.9)
]
print("critical gain² / (1 - α²):", critical)
assert np.allclose(critical, vf.critical_gain(threshold=1.0) ** 2, rtol=1e-9)

# %%
for gamma in (0.7, edge - 0.01, edge + 0.01, 1.0):
    point = vf.fixed_points(
        block=[linear(2.0), vf.layers.BatchNorm(gamma=gamma, eps=0.0), spike]
    )[-1]
    print(
        f"γ = {gamma:.3f}: rate {point.firing_rate:.4f}, m = {point.multiplier:.4f}, "
        f"stable: {point.stable}"
    )
    assert abs(point.firing_rate - normal.sf(1 / gamma)) < 1e-9
    assert abs(point.multiplier - difference_multiplier(gamma)) < 1e-6
    assert point.stable is (gamma > edge)

# %% [markdown]
# ## Simulation
#
# Networks of 60 blocks and width 1000. The theory holds at infinite width; the error allowed is 4 standard errors and 2 % of
# the value. As a control, the theory of a gain$^2$ that is 10 % too large must be rejected. With IAND the variance hardly
# depends on the gain, since more spikes also remove more; there the control is a threshold that is 5 % too high.

# %%
BLOCKS, REPEATS = 60, 40
TALL = {
    "plain": lambda g2, s: [s, *[linear(g2), s] * BLOCKS],
    "keep = 0.9": lambda g2, s: [
        *[vf.layers.Residual(s, linear(0.19 * g2), keep=0.9)] * BLOCKS,
        s,
    ],
    "keep = 1": lambda g2, s: [*[vf.layers.Residual(s, linear(g2))] * BLOCKS, s],
    "SEW add": lambda g2, s: [
        s,
        *[vf.layers.Residual(linear(g2), s)] * BLOCKS,
        linear(g2),
        s,
    ],
    "SEW iand": lambda g2, s: [
        s,
        *[vf.layers.Residual(linear(g2), s, merge="iand")] * BLOCKS,
        linear(g2),
        s,
    ],
}
SQUARE = 8.0  # far enough above the critical gain² that no network of this width dies


def network(name, square=SQUARE, threshold=1.0):
    return vf.Network(
        width=1000, layers=TALL[name](square, vf.layers.Spike(vf.Neuron(threshold)))
    )


def tail(values):
    """From the neurons that read the signal after no block to those after the last."""
    return values[..., -BLOCKS - 1 :]


theory = {name: vf.mean_field(network(name)) for name in TALL}
runs = vf.simulate(
    [network(name) for name in TALL], repeats=REPEATS, seed=8, engine="conditional"
)
measured = dict(zip(TALL, runs, strict=True))
print("                 variance after 60 blocks           theory")
for name, run in measured.items():
    mean, error = run.mean().variance[-1], run.stderr().variance[-1]
    control = (
        network(name, threshold=1.05)
        if name == "SEW iand"
        else network(name, 1.1 * SQUARE)
    )
    expected, wrong = theory[name].variance[-1], vf.mean_field(control).variance[-1]
    print(f"{name:12} {mean:14.3f} ± {error:.3f} {expected:20.3f}")
    assert abs(mean - expected) < 4 * error + 0.02 * expected
    assert abs(mean - wrong) > 4 * error + 0.02 * wrong

# %% [markdown]
# The asymptotic growth, against the exact recursion of theory after many blocks:

# %%
many = 2000
deep = {
    "keep = 1": vf.mean_field(
        vf.Network(width=1000, layers=[*[shortcut(PAPER, 1.0)] * many, spike])
    ).variance[-1],
    "SEW add": vf.mean_field(
        vf.Network(
            width=1000, layers=[spike, *[sew("add")] * many, linear(PAPER), spike]
        )
    ).variance[-1],
}
growth = {
    "keep = 1": 1 + PAPER * many / 2 - 2 * (PAPER * many / np.pi) ** 0.5,
    "SEW add": PAPER * many**2 / 4,
}
for name, value in deep.items():
    print(
        f"{name}: V = {value:.0f} after {many} blocks; asymptotically "
        f"{growth[name]:.0f}"
    )
assert abs(deep["keep = 1"] / growth["keep = 1"] - 1) < 2e-3
assert abs(deep["SEW add"] / growth["SEW add"] - 1) < 0.02
assert "l²" in vf.fixed_points(block=[sew("add")]).note
assert "decays" in vf.fixed_points(block=[sew("iand")]).note

# %% [markdown]
# ## Picture

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.2, 3.9), layout="constrained")
colours = dict(
    zip(TALL, ("0.1", "#009E73", "#E69F00", "#D55E00", "#0072B2"), strict=True)
)
layer, shown = np.arange(BLOCKS + 1), np.arange(0, BLOCKS + 1, 5)
for ax, quantity in ((left, "firing_rate"), (right, "variance")):
    for name, run in measured.items():
        style = "--" if name == "plain" else "-"
        ax.plot(
            layer,
            tail(getattr(theory[name], quantity)),
            style,
            color=colours[name],
            lw=1.6,
            label=name,
        )
        mean, error = (
            tail(getattr(x, quantity))[shown] for x in (run.mean(), run.stderr())
        )
        ax.errorbar(
            shown,
            mean,
            2 * error,
            fmt="o",
            ms=3.5,
            mfc="white",
            color=colours[name],
            capsize=2,
            lw=1,
        )
    ax.set(xlabel="blocks", yscale="log")
left.set(ylabel="firing rate", title="40 networks of width 1000, ± 2 s.e.; $g^2 = 8$")
right.set(ylabel="variance of the currents")
left.legend(loc="upper right", fontsize=9, bbox_to_anchor=(1.0, 0.66))
plt.close(figure)
figure

# %% [markdown]
# **Inputs of different norm under BatchNorm.** 100 inputs, 30 layers: the theory for this very batch, and networks of width
# 512 written out in numpy. With $\gamma = 0.7$ the mean rate is as wanted, but many inputs are silent; with $\gamma = 1$ all
# fire alike.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(100, 64)) * rng.lognormal(0, 0.1, size=(100, 1))


def real_rates(gamma, width=512):
    """Rate of every input in the last of 30 layers, in one network."""
    signal = x
    for _ in range(30):
        currents = signal @ rng.normal(size=(signal.shape[1], width))
        currents -= currents.mean(axis=0)
        std = currents.std(axis=0)
        signal = (gamma * currents > np.where(std > 0, std, np.inf)).astype(float)
    return signal.mean(axis=1)


per_input = {}
print(
    "  γ   mean rate: wanted   theory     simulated          inputs silent: theory   "
    "simulated"
)
for gamma in (0.7, 1.0):
    layers = [linear(2.0), vf.layers.BatchNorm(gamma=gamma), spike]
    profile = vf.mean_field(
        vf.Network(width=512, layers=layers * 30, drive=vf.drives.inputs(x))
    )
    per_input[gamma] = profile.per_input["firing_rate"]
    real = np.array([real_rates(gamma) for _ in range(6)])
    wanted, predicted = float(normal.sf(1 / gamma)), profile.firing_rate[-1]
    mean, error = real.mean(), real.mean(axis=1).std(ddof=1) / 6**0.5
    silent, dark = (per_input[gamma][:, -1] < 1e-4).mean(), (real == 0).mean(axis=1)
    bars = dark.std(ddof=1) / 6**0.5
    print(
        f"{gamma:.1f} {wanted:17.4f} {predicted:8.4f} {mean:8.4f} ± {error:.4f} "
        f"{silent:22.2f} {dark.mean():9.3f} ± {bars:.3f}"
    )
    assert abs(mean - predicted) < 4 * error + 0.05 * wanted
    assert (
        abs(dark.mean() - silent) < 4 * bars + 0.1
    )  # narrow networks have more silent inputs
    assert silent > 0.2 if gamma < edge else silent == 0

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
for ax, (gamma, rates) in zip(axes, per_input.items(), strict=True):
    ax.plot(np.arange(1, 31), rates.T, color="#0072B2", lw=0.7, alpha=0.6)
    ax.plot(
        np.arange(1, 31),
        rates.mean(axis=0),
        color="#D55E00",
        lw=2.2,
        label="mean over inputs",
    )
    ax.set(title=rf"$\gamma = {gamma}\,\theta$, 100 inputs", xlabel="layer")
axes[0].set_ylabel("firing rate")
axes[0].legend(loc="upper left", fontsize=9)
plt.close(figure)
figure

# %% [markdown]
# ## Where it stops being true
#
# **Evaluation before training.** The running statistics are then (0, 1), and BatchNorm is the identity, so that the gain
# matters again. torch's default weights, $g^2 = 1/3$, are silent:

# %%
for statistics in (None, (0.0, 1.0)):
    normalise = vf.layers.BatchNorm(statistics=statistics, eps=0.0)
    layers = [spike, *[linear(1 / 3), normalise, spike] * 3]
    rates = vf.mean_field(vf.Network(width=300, layers=layers)).firing_rate
    print("batch statistics:  " if statistics is None else "initial statistics:", rates)
    assert bool(rates[-1] > 0.15) is (statistics is None)
    if statistics:
        bare = [spike, *[linear(1 / 3), spike] * 3]
        assert np.allclose(
            rates,
            vf.mean_field(vf.Network(width=300, layers=bare)).firing_rate,
            rtol=1e-12,
        )

# %% [markdown]
# **Finite width.** With the preserving gain, close above the critical one, many networks of width 300 fall silent within 100
# blocks, with a scaled shortcut as without. The mean rate is then below the theory at infinite width.

# %%
alive = {}
for square in (PAPER, SQUARE):
    narrow = vf.Network(
        width=300, layers=[*[shortcut(0.19 * square, 0.9)] * 100, spike]
    )
    run = vf.simulate(narrow, repeats=100, seed=3, engine="conditional")
    alive[square] = (run.firing_rate[:, -1] > 0).mean()
    print(f"g² = 0.19 · {square:.3f}: {alive[square]:.0%} of 100 networks alive")
assert alive[PAPER] < 0.9 < 0.97 < alive[SQUARE]
