# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 11. Does it train? Silent networks can revive, and thirty plain layers learn if they begin as copies
#
# Constant variance keeps a network active. Whether it learns depends on what gradients carry: their size decides little,
# because Adam divides by it, but gradients of different inputs must differ. The contrast of the surrogate neural tangent
# kernel,
#
# $$\text{contrast} = \frac{\Theta(x, x_{\text{similar}}) - \Theta(x, x_{\text{different}})}{\Theta(x, x)},$$
#
# each layer's part divided by its gradient norm, measures that before training.
#
# **Claim.** Networks that begin silent can learn, if the gradient that leaks through their silent layers exceeds Adam's ε. A
# steep surrogate ends learning in ten layers at the same firing rate. Random plain layers forget their input within about
# twenty layers; layers that begin as copies, $W = (\theta/\beta)\, 1$, do not.
#
# The small networks here learn scikit-learn's digits in seconds. The figures at the end are from hundreds of runs on
# Fashion-MNIST, which `make train` repeats.

# %%
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

import varflow as vf

ROOT = Path(find_spec("varflow").origin).parents[1]  # of a clone, where validation/ is
sys.path.append(str(ROOT))

from validation.training import Design, Schedule, build, trained  # noqa: E402
from validation.training.figures import FIGURES  # noqa: E402
from validation.training.predictors import contrast_of, revival_depth  # noqa: E402

SCHEDULE = Schedule(epochs=3, batch=32, rate="constant")


def learned(**design):
    """Accuracy on the test digits after three epochs, and firing rates of all layers before and after."""
    epochs = trained(Design(**design), SCHEDULE, "digits", seed=0)["epochs"]
    return epochs[-1]["accuracy"], epochs[0]["rate"], epochs[-1]["rate"]


# %% [markdown]
# ## Derivation
#
# **Through silence.** Where nothing spikes, $u = 0$, and the surrogate still passes its tail $\psi(-\theta)$. A silent layer
# multiplies the gradient norm by $g\,\psi(-\theta)$. From a gradient $e$ at the last layer a bias $d$ layers down receives
# $e\,(g\,\psi(-\theta))^d$. Adam moves it by a full step if that exceeds its ε, however small it is otherwise:
#
# $$d < \frac{\ln(e/\varepsilon)}{-\ln(g\,\psi(-\theta))}.$$

# %%
for name in ("torch", "kaiming"):
    design = Design(initialisation=name)
    factor = design.gains()[0] * design.surrogate(np.array([-1.0]))[0]
    depths = [revival_depth(design, epsilon) for epsilon in (1e-8, 1e-16)]
    print(f"{name:8} a silent layer passes {factor:.4f}; revives up to {depths[0]:.1f} layers, {depths[1]:.1f} with ε = 1e-16")

# %% [markdown]
# **Copies.** snnTorch's neuron is $H_t = \beta H_{t-1} + I_t - \theta S_{t-1}$. With $W = (\theta/\beta)\,1$ the currents are
# $I_t = (\theta/\beta) S'_t$, of the spikes $S'$ of the layer before. By induction $H_t = (\theta/\beta) S'_t$: if it holds
# at $t - 1$, the layer has spiked as the one before, $S_{t-1} = S'_{t-1}$, and $\beta H_{t-1} = \theta S_{t-1}$ is just what
# the reset takes away. So every layer copies the spikes of the first, and for β = 1/2 its membranes are 0 or 2θ, both θ away
# from the threshold. A surrogate with $\psi(\pm\theta) = \beta/\theta$ passes gradients of the same step on unchanged.

# %%
COPIES = {"initialisation": "identity", "surrogate": vf.surrogates.Surrogate("atan", peak=1.0, width=1.0)}
x = torch.rand(20, 64, generator=torch.Generator().manual_seed(1))
network, seen = build(Design(depth=30, **COPIES), x, (1, 8, 8), 10, torch.Generator().manual_seed(0)), []
with torch.no_grad():
    network(x, seen)
(_, first), (_, last) = seen[0], seen[-1]
print(f"firing rate {first.mean():.3f}; layer 30 equals layer 1: {torch.equal(first, last)}")
assert first.any()
assert torch.equal(first, last)

# %% [markdown]
# ## Numbers
#
# **Silence is no verdict.** Six layers of Kaiming's weights begin silent, and wake up. A silent layer of torch's default
# weights passes less of the gradient, as printed above, and ten of them stay as they are.

# %%
silent = {}
for name, depth in (("kaiming", 6), ("torch", 10)):
    accuracy, before, after = learned(depth=depth, initialisation=name)
    silent[name] = accuracy, after[-1]
    print(f"{name:8} {depth} layers: rate of the last {before[-1]:.3f} before, {after[-1]:.3f} after; accuracy {accuracy:.2f}")
    assert before[-1] < 0.01
assert silent["kaiming"][0] > 0.5
assert silent["kaiming"][1] > 0.01
assert silent["torch"][0] < 0.2

# %% [markdown]
# **The surrogate decides.** Same weights and the same forward pass, two surrogates:

# %%
found = {}
for psi in (vf.surrogates.fast_sigmoid(1.0), vf.surrogates.fast_sigmoid(25.0)):
    design = {"depth": 10, "initialisation": "in_time", "surrogate": psi}
    network = Design(**design).network()
    flow, contrast = vf.gradient_flow(network, psi), contrast_of(network, psi)
    found[contrast] = learned(**design)[0]
    print(f"{psi}: gradient energy × {flow.growth:.3g} a layer, contrast {contrast:.3f}, accuracy {found[contrast]:.2f}")
assert found[max(found)] > found[min(found)] + 0.3

# %% [markdown]
# **Depth.** Thirty plain layers, random and copying:

# %%
deep = {
    name: learned(depth=30, **design)[0] for name, design in {"random": {"initialisation": "in_time"}, "copies": COPIES}.items()
}
print(deep)
assert deep["copies"] > deep["random"] + 0.3

# %% [markdown]
# ## Figures
#
# Accuracy against depth on all 60 000 images of Fashion-MNIST, and the predictors against accuracies of 48 networks that were
# not used to choose them.


# %%
def results(experiment):
    return json.loads((ROOT / "validation" / "training" / "results" / f"{experiment}.json").read_text(encoding="utf-8"))["runs"]


FIGURES["depth"](results("depth") + results("plain"))

# %%
FIGURES["held_out"](results("held_out"))

# %% [markdown]
# ## Where it stops being true
#
# The contrast is that of infinite width: where a narrow network falls silent it is too high. Predictors rank plain networks
# with one optimiser and a budget of a few epochs; more images move every limit of depth. With a shortcut torch's default
# weights learn as well as any: a gain matters for plain layers. Copying weights carry the input past the threshold as a
# shortcut does, but only until training has moved them far. [Does it train?](../docs/training.md) has all experiments, and
# more that did not work.
