"""Writes ``docs/choose.md``: which initialisation to take, with a table of what each does.

Run from the repository: ``python docs/choose.py`` (seconds).
"""

from __future__ import annotations

from pathlib import Path

import varflow as vf
from varflow._files import replace_files

SETTING = {"threshold": 1.0, "fan_in": 512, "depth": 100}
LEAKY = {"decay": 0.5, "steps": 20}

PAGE = """# How to choose

Made by `python docs/choose.py`.

To initialise a spiking network you choose one number per layer, the gain `g`: weights get the standard deviation `g/√fan_in`,
biases are zero. If it is too small, activity dies within a few layers; if it is too large, almost half of all neurons fire at
every step. In short:

- **A PyTorch model** with neurons of snnTorch, SpikingJelly, Norse or sinabs ([your own model](models.md)):
  `vf.init.init_model(model, inputs, steps=…, rate=…)`, then `vf.audit(model, inputs, steps=…)`.
- **Dense layers of threshold neurons without memory**, or one time step:
  `vf.init.corrected_normal_(layer.weight, threshold, depth=…)` in every layer after the first.
- **Your own neuron and a given firing rate**: `vf.gain_for_rate(neuron, rate=…, steps=…)` returns a gain for the first layer
  and one for the others, or explains why there is none.
- **Only the gain and its consequences**: `vf.lookup(threshold=…, fan_in=…, depth=…, width=…)` or `varflow lookup`.

In detail:

1. **`corrected_gain`, not the preserving gain** (`vf.gain(threshold=…)`). The preserving gain keeps the variance of an
   infinitely wide network. At finite width activity fluctuates and finally stays silent, the sooner the narrower the
   network and the larger θ. `corrected_gain` is the smallest gain with which 99 % of networks of your width are alive at
   your depth; `corrected_normal_` uses the larger of the two. If too few networks survive with it, the preserving gain is
   raised, and with it variance and rate: at θ = 1, width {fan_in}, depth {depth} from {paper_1:.3f} to {corrected_1:.3f},
   and the variance from 1 to {raised:.2f}. If enough survive, the preserving gain is used: the smallest sufficient gain
   would only lower the variance, at θ = 0.5 from 1 to {lowered:.2f}.
2. **A given firing rate?** Without memory: `vf.init.calculate_gain(neuron, rate=…)`. Rates below {edge:.3f} have no stable
   fixed point (normal potentials, θ > 0): activity decays or grows away from them, and `vf.lookup` tells where to.
3. **The first layer** receives data, not spikes, and needs a different gain. `init_model` sets it from your batch; by hand it
   is `√(v / E[x²])`, with `v` the variance you want and `E[x²]` the mean square of your data.
4. **Layer by layer without a batch?** `model.apply(vf.init.init_fn(vf.Neuron(…)))` fills every linear layer and convolution
   with the right fan-in and sets biases to 0. It treats the first layer like the others.
5. **A convolution with padding?** The mean number of inputs is `vf.init.effective_fan_in(layer, size)`; neurons at the border
   fire less than those in the middle. Finite-width results (survival, corrected gains) are for dense layers.
6. **A transposed convolution?** Pass the layer: `vf.init.normal_(layer.weight, gain, fan=layer)`. The shape of its weights
   does not tell its fan-in.
7. **An unusual architecture, with data?** `vf.init.lsuv_(model, batch)` scales each layer by its measured variance. That sets
   the variance, but does not make it stable.
8. **Half precision?** Use `vf.init`: torch's own uniform numbers in bfloat16 have a wrong mean.
9. **Biases?** Leave them at zero. torch's default biases are constant in time, and a leak adds them up.
10. **Residual blocks?** `vf.gain_for_rate(block=[…], rate=…)`, with the layers of one block from `vf.layers`. A shortcut of
    currents that keeps the fraction α takes `√(1-α²)` times the plain gain: for a rate of {rate:g} and α = {keep:g}, {kept:.3f}
    instead of {whole:.3f}. With α = 1 activity grows with depth at every gain: scale the gains of the branches by
    1/√depth. Sums of spikes (SEW add) grow too: normalise before the neurons. SEW `and` dies at every gain, `iand`
    decays slowly. See [blocks](blocks.md).
11. **BatchNorm?** Weights then do not set the rate, γ does: `vf.gain_for_rate(block=[…], rate=…).gamma`, without memory
    {gamma:.3f} θ/λ for a rate of {rate:g}. Keep γ ≥ θ/λ then, λ being the factor of the input current: below 0.780 θ/λ some
    inputs fall silent, although the mean rate looks right. With a leak give `steps=` and `depth=` too; γ may be smaller
    ([an example](blocks.md#batchnorm)). Before training, run some batches in training mode: with its initial
    statistics BatchNorm is the identity in evaluation.
12. **Neurons that differ?** `vf.Neuron(scipy.stats.uniform(0.5, 1.0))`; a decay may be a distribution too. Low thresholds
    keep activity alive: of networks of width 100, 39 % are alive in layer 100 at the gain that keeps V = 1, with equal
    thresholds 2 %. `vf.gain(threshold=…)` and `vf.gain_for_rate(block=[…], rate=…)` take them. See [blocks](blocks.md).

## What the methods do

![Variance and spikes over 100 layers with every method of the catalogue, theory and simulation](figure-3.png)

`vf.catalogue(threshold={threshold:g}, fan_in={fan_in}, depth={depth})`: memoryless neurons, exact at width {fan_in}. The
figure is `vf.catalogue(threshold=1, fan_in=1000).plot_layers()`, or from a shell `varflow catalogue --fan-in 1000 --plot
methods.png`.

- alive: whether at least 99 % of networks have a spike in layer {depth}; survival: the fraction that have one.
- rate, spikes: of layer {depth}, averaged over all networks, silent ones included.
- needs: what the method requires besides threshold and shape; ignores: what it does not take into account.
- A dash: no gain without data, or a formula for a different neuron.

{memoryless}

Sources, for `vf.citation`: {sources}.

The same for leaky neurons: `decay={decay:g}, steps={steps}`, no reset, a constant drive, at infinite width, for methods that
have a gain. The rate is the mean over steps. "alive" is "yes" if layer {depth} spikes at every step, "late" if it spikes at
every step of the [late](glossary.md) half but not at every step before (deeper layers lose more steps), and "volleys" if only
at some steps. Elsewhere "late" names steps; in this column it is a verdict, and says that earlier steps are lost:

{leaky}

With methods that ignore threshold, leak and reset no activity reaches layer {depth}: their gains are below the critical gain,
{critical:.3f}. A bias that raises potentials compensates for that (Ding), and so does a much larger gain chosen by hand
(SpyTorch). For methods that use the threshold, survival depends on the distance to the critical gain. A reset shifts it: with
delayed subtraction at β = 0.5 it lies above the preserving gain. `vf.temporal_critical_gain` computes it for any neuron.

Of the methods without a gain, `vf.init.published` has the formulas of E-I Init and of Herranz-Celotti and Rouat (mean and
variance), and `vf.init.lsuv_` is LSUV. tdBN and MP-Init set no weights. Perez-Nieves and Goodman is not implemented, because
the formulas could not be checked against a published text.

Why only some of them keep 100 layers alive: [notebook 7](../theory_notebooks/07_published_initialisations.py).
"""


def sources(found: vf.Catalogue) -> str:
    """Each method with the key of its source."""
    return ", ".join(f"{entry.name} `{entry.citation}`" for entry in found.methods if entry.citation)


def table(found: vf.Catalogue, *, everything: bool) -> str:
    rows = ["| method | gain | alive | survival | rate | spikes | needs | ignores |", "|---|---|---|---|---|---|---|---|"]
    for entry in found.methods:
        if entry.gain is None and not everything:
            continue
        gain = "–" if entry.gain is None else f"{entry.gain:.3f}"
        rate = "–" if entry.firing_rate is None else f"{entry.firing_rate:.3f}"
        survival = "–" if entry.survival is None else f"{entry.survival:.2f}"
        spikes = "–" if entry.spikes is None else f"{entry.spikes:.0f}"
        numbers = f"{gain} | {entry.alive or '–'} | {survival} | {rate} | {spikes}"
        rows.append(f"| {entry.name} | {numbers} | {entry.needs} | {entry.ignores} |")
    return "\n".join(rows)


def blocks() -> dict[str, float]:
    """Gains of a plain layer and of a scaled shortcut, and gamma, for one rate."""
    rate, keep, spike, linear = 0.2, 0.9, vf.layers.Spike(vf.Neuron(1.0)), vf.layers.Linear(gain=1.0)
    layers = {
        "whole": [spike, linear],
        "kept": [vf.layers.Residual(spike, linear, keep=keep)],
        "gamma": [linear, vf.layers.BatchNorm(eps=0.0), spike],
    }
    found = {name: vf.gain_for_rate(block=block, rate=rate) for name, block in layers.items()}
    gamma = found["gamma"].gamma
    assert gamma is not None
    return {"rate": rate, "keep": keep, "whole": found["whole"].gain, "kept": found["kept"].gain, "gamma": gamma}


def page() -> str:
    found = vf.catalogue(**SETTING)
    corrected = {theta: vf.corrected_gain(threshold=theta, width=found.width, depth=found.depth) for theta in (0.5, 1.0)}
    edge = vf.stable_variance(threshold=1.0, gain=vf.critical_gain(threshold=1.0) * (1 + 1e-12))
    return PAGE.format(
        **SETTING,
        **LEAKY,
        edge=edge / vf.critical_gain(threshold=1.0) ** 2,
        critical=found.critical_gain,
        paper_1=vf.gain(threshold=1.0),
        corrected_1=corrected[1.0],
        raised=vf.stable_variance(threshold=1.0, gain=corrected[1.0]),
        lowered=vf.stable_variance(threshold=0.5, gain=corrected[0.5]),
        memoryless=table(found, everything=True),
        sources=sources(found),
        leaky=table(vf.catalogue(**SETTING, **LEAKY), everything=False),
        **blocks(),
    )


if __name__ == "__main__":
    replace_files({Path(__file__).with_suffix(".md"): page()})
