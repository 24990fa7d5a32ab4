# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 9. Information: activity survives a hundred layers, what distinguishes inputs is gone after a few
#
# *You learn* how fast two inputs become alike, and what a linear readout can still tell apart. *You need* [notebook
# 2](02_fixed_points.py). *It runs* in about 6 seconds. *In practice:* [will it learn?](../docs/will_it_learn.md).
#
# Two inputs reach a layer with potentials of correlation $\rho$. Their spikes overlap by $\rho' = E[x \hat x]/p$, and without
# bias $\rho'$ is the correlation of the next layer's potentials.
#
# **Claim.** At infinite width every pair of different inputs approaches the same overlap $\rho^* < 1$, with a depth scale
# $\xi_c \le 1.58$ layers, whatever the gain: there is no edge of chaos at which memory of pairs becomes long. Identical inputs
# are an unstable fixed point of infinite slope. Leak and reset prolong the decay, up to threefold. What a linear readout can
# use of a real network ends sooner than infinite width says, and doubling the width gains less than one layer.

# %%
import matplotlib.pyplot as plt
import numpy as np

import varflow as vf

plt.style.use("varflow.plots.notebook")
PAPER = vf.gain(threshold=1.0)

# %% [markdown]
# ## Derivation
#
# With $z = \theta/\sqrt V$ at the stationary variance,
#
# $$\rho' = \frac{P(u > \theta, \hat u > \theta; \rho)}{Q(z)}, \qquad
# \frac{d\rho'}{d\rho} = \frac{\varphi_2(z, z; \rho)}{Q(z)},$$
#
# where the slope is Plackett's identity. It grows like $(1-\rho^2)^{-1/2}$ for $\rho \to 1$: a hard threshold separates nearby
# inputs. Since $\rho'(0) = Q(z) > 0$ and $\rho'(1) = 1$, the map crosses the diagonal in between, from above.

# %%
vf.symbolic.correlation_slope()

# %% [markdown]
# ## Numbers

# %%
print("  z      ρ*        m       ξ_c")
for z in (-1.0, 0.0, 0.466, 1.0, 2.0, 3.0):
    stable, identical = vf.correlation_fixed_points(threshold=z)
    print(
        f"{z:6.3f} {stable.overlap:.6f} {stable.multiplier:.6f} "
        f"{stable.depth_scale:.4f}"
    )
    step = 1e-6
    above, below = vf.correlation_map(
        [stable.overlap + step, stable.overlap - step], threshold=z
    )
    assert abs((above - below) / (2 * step) - stable.multiplier) < 1e-6
    assert stable.stable
    assert not identical.stable
    assert stable.depth_scale < 1.58
exact = vf.reference.correlation_map(0.3, 1.0, digits=20)
print("ρ'(0.3) at z = 1:", vf.correlation_map(0.3, threshold=1.0), "in mpmath:", exact)
assert abs(vf.correlation_map(0.3, threshold=1.0) / exact - 1) < 1e-14

# %% [markdown]
# Activity has the multiplier 0.76 at the same point ($\theta = 1$, $V = 1$) and, in the exact chain of width 1000, lives on:

# %%
alive = vf.finite_width(vf.Network(width=1000, depth=100, gain=PAPER)).survival[-1]
energy = [
    point for point in vf.fixed_points(threshold=1.0, gain=PAPER) if point.stable
][-1]
print(
    f"alive in layer 100: {alive:.3f}; depth scale of the variance "
    f"{energy.depth_scale:.2f} layers"
)
assert alive > 0.95
assert (
    energy.depth_scale > 2 * vf.correlation_fixed_points(threshold=1.0)[0].depth_scale
)

# %% [markdown]
# ## Picture

# %%
rho = np.linspace(0, 1, 401)
figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.0), layout="constrained")
left.plot([0, 1], [0, 1], color="0.7", lw=0.9)
for z, colour in (
    (0.0, "#0072B2"),
    (0.466, "#009E73"),
    (1.0, "#E69F00"),
    (2.0, "#D55E00"),
):
    left.plot(
        rho,
        vf.correlation_map(rho, threshold=z),
        color=colour,
        lw=1.6,
        label=f"$z = {z:g}$",
    )
    left.plot(
        *[vf.correlation_fixed_points(threshold=z)[0].overlap] * 2,
        "o",
        color=colour,
        ms=5,
    )
left.set(xlabel=r"$\rho$", ylabel=r"$\rho'$", xlim=(0, 1), ylim=(0, 1), aspect="equal")
left.legend(loc="upper left")
z = np.linspace(-2, 3, 101)
right.plot(
    z,
    [vf.correlation_fixed_points(threshold=x)[0].depth_scale for x in z.tolist()],
    color="0.1",
    lw=1.6,
)
right.set(
    xlabel=r"$z = \theta/\sqrt{V}$",
    ylabel=r"$\xi_c$ in layers",
    ylim=(0, None),
    title="depth scale of the overlap",
)
plt.close(figure)
figure

# %% [markdown]
# ## Simulation
#
# Two inputs in real networks, written out in numpy, and in the chain that `vf.kernel` samples: given the spikes of one layer
# the currents of the next are independent rows of a normal distribution, so that no matrices are needed. The error allowed is
# 4 standard errors and $8/n$ for the finite width; as a control, the theory of a threshold 10 % too high must be rejected.

# %%
WIDTH, DEPTH, NETWORKS = 400, 6, 10


def two_inputs(overlap):
    return vf.drives.inputs(
        2**0.5 * np.array([[1.0, 0.0], [overlap, (1 - overlap**2) ** 0.5]]),
        input_gain=1.0,
    )


def real_overlaps(overlap, rng):
    """In every layer of one network."""
    signal, found = two_inputs(overlap).x / 2**0.5, []
    for layer in range(DEPTH):
        gain = 1.0 if layer == 0 else PAPER / WIDTH**0.5
        signal = (
            signal @ rng.normal(0, gain, size=(signal.shape[1], WIDTH)) > 1
        ).astype(float)
        found.append(
            (signal[0] @ signal[1]) / np.sqrt(signal[0].sum() * signal[1].sum())
        )
    return found


rng = np.random.default_rng(1)
layer = np.arange(1, DEPTH + 1)
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for start, colour in ((0.95, "#D55E00"), (0.0, "#0072B2")):
    network = vf.Network(width=WIDTH, depth=DEPTH, gain=PAPER)
    theory, wrong = (
        vf.kernel(
            vf.Network(width=WIDTH, depth=DEPTH, gain=PAPER, neuron=vf.Neuron(theta)),
            two_inputs(start),
        )
        for theta in (1.0, 1.1)
    )
    expected, control = (
        np.array([kernel.overlap(l)[0, 1] for l in layer]) for kernel in (theory, wrong)
    )
    sampled = vf.kernel(network, two_inputs(start), repeats=NETWORKS, seed=2).samples
    measured = {
        "real matrices": np.array([real_overlaps(start, rng) for _ in range(NETWORKS)]),
        "sampled": sampled[..., 0, 1]
        / np.sqrt(sampled[..., 0, 0] * sampled[..., 1, 1]),
    }
    ax.plot(
        layer, expected, color=colour, lw=1.6, label=f"infinite width, from {start:g}"
    )
    for (name, runs), sign in zip(measured.items(), "os", strict=True):
        mean, error = runs.mean(axis=0), runs.std(axis=0, ddof=1) / NETWORKS**0.5
        allowed = 4 * error + 8 / WIDTH
        assert np.all(np.abs(mean - expected) < allowed), name
        assert np.any(np.abs(mean - control) > allowed), name
        ax.errorbar(
            layer,
            mean,
            2 * error,
            fmt=sign,
            color=colour,
            mfc="white",
            ms=4,
            capsize=2,
            label=name,
        )
ax.axhline(
    vf.correlation_fixed_points(threshold=1.0)[0].overlap, color="0.5", ls=":", lw=1
)
ax.set(
    xlabel="layer",
    ylabel="overlap of spikes",
    title=f"{NETWORKS} networks of width {WIDTH}, ± 2 s.e.",
    ylim=(0, 1),
)
ax.legend(fontsize=8.5)
plt.close(figure)
figure

# %% [markdown]
# **In time** the overlap of rasters, $R = \sum_t M_{ab}(t, t)/\sqrt{\sum p_a \sum p_b}$, decays more slowly, and to a larger
# value. Its Jacobian is triangular in time (no later covariance acts on an earlier spike), so its eigenvalues are local in
# time, and leak and reset do not enter them; but it is not normal, and over a few layers the transient is what counts.

# %%
CASES = {
    "memoryless": (vf.Neuron(1.0), PAPER),
    "leak 0.5, no reset": (vf.Neuron(1.0, decay=0.5), PAPER),
    "snnTorch, β = 0.5": (vf.neurons.snntorch_leaky(0.5), 8**0.5),
}
scale = {}
for name, (neuron, gain) in CASES.items():
    network = vf.Network(width=1000, depth=8, gain=gain, neuron=neuron, steps=10)
    near, far = (
        vf.kernel(network, two_inputs(start), points=2**10, scrambles=4)
        for start in (0.95, 0.0)
    )
    apart = [near.raster_overlap(l)[0, 1] - far.raster_overlap(l)[0, 1] for l in (3, 8)]
    scale[name] = -5 / np.log(apart[1] / apart[0])
    print(
        f"{name:20} R in layer 8: {near.raster_overlap(8)[0, 1]:.3f}; differences "
        f"decay over {scale[name]:.2f} layers"
    )
assert all(scale[name] > 1.3 * scale["memoryless"] for name in list(CASES)[1:])

# %% [markdown]
# **What a readout can use.** Ten classes of noisy patterns, read by kernel ridge regression from the spikes of each layer. The
# readable depth is where the held-out accuracy has fallen half way from layer 1's to chance.

# %%
labels = np.arange(200) % 10
patterns = rng.normal(size=(10, 40))[labels] + 0.8 * rng.normal(size=(200, 40))
depths = {}
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for width, colour in ((250, "#E69F00"), (500, "#009E73"), (1000, "#0072B2")):
    found = vf.readable_depth(
        vf.Network(width=width, depth=9, gain=PAPER),
        patterns,
        labels,
        repeats=4,
        seed=3,
    )
    depths[width] = found.depth, found.depth_error
    ax.errorbar(
        np.arange(1, 10),
        found.accuracy,
        found.error,
        color=colour,
        lw=1.4,
        capsize=2,
        label=f"width {width}",
    )
    print(f"width {width}: {found.depth:.2f} ± {found.depth_error:.2f} layers")
limit = vf.readable_depth(
    vf.Network(width=1000, depth=9, gain=PAPER),
    patterns,
    labels,
    infinite_width=True,
    seed=3,
)
ax.plot(
    np.arange(1, 10),
    limit.accuracy,
    color="0.1",
    ls="--",
    lw=1.4,
    label="infinite width: only an upper bound",
)
ax.axhline(found.chance, color="0.5", ls=":", lw=1)
ax.set(xlabel="layer", ylabel="held-out accuracy", ylim=(0, 1.02))
ax.legend(fontsize=8.5)
plt.close(figure)
for narrow, wide in ((250, 500), (500, 1000)):
    gained, error = (
        depths[wide][0] - depths[narrow][0],
        np.hypot(depths[wide][1], depths[narrow][1]),
    )
    assert -3 * error < gained < 1 + 3 * error
assert depths[1000][0] - depths[250][0] > 0
figure

# %% [markdown]
# ## Where it stops being true
#
# **Infinite width** forgets nothing, strictly: its kernels differ between pairs by ever smaller amounts, which a noiseless
# readout still finds. At width $n$ entries of a kernel scatter by $O(1/\sqrt n)$, and from where that exceeds the differences
# the layer says nothing about its input.

# %%
print(
    "accuracy in layer 9: infinite width",
    limit.accuracy[-1],
    "width 1000",
    found.accuracy[-1],
)
assert limit.accuracy[-1] > 2 * found.accuracy[-1]

# %% [markdown]
# **A bias** is shared by all inputs and raises the overlap; **shortcuts** carry the input past the threshold. With a scaled
# one, $u' = \alpha u + W x$, $\alpha = 0.9$, the overlap of two inputs settles much more slowly:

# %%
spike, linear = (
    vf.layers.Spike(vf.Neuron(1.0)),
    vf.layers.Linear(gain=(0.19 * PAPER**2) ** 0.5),
)
shortcuts = vf.Network(
    width=1000, layers=[*[vf.layers.Residual(spike, linear, keep=0.9)] * 12, spike]
)
lasting = {}
for name, network in {
    "plain": vf.Network(width=1000, depth=13, gain=PAPER),
    "shortcuts": shortcuts,
}.items():
    near, far = (
        vf.kernel(network, two_inputs(start)).overlap(10)[0, 1] for start in (0.95, 0.0)
    )
    lasting[name] = near - far
    print(f"{name:10} overlaps in layer 10, from 0.95 and 0: {near:.4f}, {far:.4f}")
assert lasting["shortcuts"] > 20 * lasting["plain"]

# %% [markdown]
# **Training** shapes the weights: these are the kernels of random networks, what a network starts from.
