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

For each layer of a spiking network you choose one number, the gain $g$: its weights get the standard deviation
$g/\\sqrt{{\\text{{fan-in}}}}$, its biases are zero. If the gain is too small, activity dies within a few layers; if it is
too large, almost half of all neurons fire at every step.

- **A PyTorch model** with neurons of snnTorch, SpikingJelly, Norse or sinabs ([your own model](models.md)):
  `vf.init.init_model(model, inputs, steps=…, rate=…)`, then `vf.audit(model, inputs, steps=…)`.
- **Dense layers of threshold neurons without memory**, or a single time step:
  `vf.init.corrected_normal_(layer.weight, threshold, depth=…)` in every layer after the first.
- **A neuron of your own and a firing rate**: `vf.gain_for_rate(neuron, rate=…, steps=…)` returns a gain for the first layer
  and one for the others, or explains why there is none.
- **Only a gain, and what it does**: `vf.lookup(threshold=…, fan_in=…, depth=…, width=…)` or `varflow lookup`.

## Special cases

### Finite width

Use `corrected_gain`, not the preserving gain (`vf.gain(threshold=…)`). The preserving gain keeps the
variance of an infinitely wide network. At finite width activity fluctuates and finally dies, the sooner the narrower the
network and the larger θ. `corrected_gain` is the smallest gain with which 99 % of networks of your width are alive at your
depth, and `corrected_normal_` takes the larger of the two. Where the preserving gain is too small, this raises variance and
rate: at θ = 1, width {fan_in} and depth {depth} the gain rises from {paper_1:.3f} to {corrected_1:.3f}, and the variance
from 1 to {raised:.2f}. Where it is large enough it is kept, since the smallest sufficient gain would only lower the
variance, at θ = 0.5 from 1 to {lowered:.2f}.

### A given firing rate

Without memory, `vf.init.calculate_gain(neuron, rate=…)`. Rates below {edge:.3f} have no stable
fixed point (normal potentials, θ > 0): activity decays or grows away from them, and `vf.lookup` says where it goes.

### First layer

The first layer receives data, not spikes, and needs a different gain. `init_model` sets it from your batch. By hand it
is $\\sqrt{{v / E[x^2]}}$, where $v$ is the variance you want and $E[x^2]$ the mean square of your data.

### Layer by layer, without a batch

`model.apply(vf.init.init_fn(vf.Neuron(…)))` fills every linear layer and convolution
with the right fan-in and sets biases to 0. It treats the first layer like the others.

### Convolutions

With padding, the mean number of inputs is `vf.init.effective_fan_in(layer, size)`; neurons at the border
fire less than those in the middle. Survival and corrected gains are known for dense layers only. For a transposed
convolution pass the layer, `vf.init.normal_(layer.weight, gain, fan=layer)`, since the shape of its weights does not
determine its fan-in.

### Unusual architectures, with data

`vf.init.lsuv_(model, batch)` scales each layer by its measured variance. This sets
the variance, but does not make it stable.

### Half precision

Use `vf.init`, since torch's own uniform numbers in bfloat16 have a wrong mean.

### Biases

Leave them at zero: torch's default biases are constant in time, and a leak sums them up.

### Residual blocks

`vf.gain_for_rate(block=[…], rate=…)` takes the layers of one block, from `vf.layers`. A shortcut of
currents that keeps the fraction α needs $\\sqrt{{1-\\alpha^2}}$ times the plain gain: for a rate of {rate:g} and α =
{keep:g}, {kept:.3f} instead of {whole:.3f}. With α = 1 activity grows with depth at every gain; then multiply the gains of
the branches by $1/\\sqrt{{\\text{{depth}}}}$. Sums of spikes (SEW `add`) grow too; normalise them before the neurons. SEW
`and` dies at every gain, `iand` decays slowly ([blocks](blocks.md)).

### BatchNorm

The rate is set by γ, not by the weights: `vf.gain_for_rate(block=[…], rate=…).gamma`, which without memory
is {gamma:.3f} θ/λ for a rate of {rate:g}, where λ is the factor on the input current. Keep γ ≥ θ/λ: below 0.780 θ/λ some
inputs fall silent although the mean rate looks right. With a leak, also give `steps=` and `depth=`; γ may be smaller or larger
([an example](blocks.md#batchnorm)). Before training, run a few batches in training mode, because with its initial
statistics BatchNorm in evaluation mode is the identity.

### Neurons that differ

Write `vf.Neuron(scipy.stats.uniform(0.5, 1.0))`; the decay may be a distribution too. Low thresholds keep activity alive: at
width 100 and the gain for V = 1, 39 % of networks are alive in layer 100, with equal thresholds 2 %. `vf.gain(threshold=…)`
and `vf.gain_for_rate(block=[…], rate=…)` accept distributions ([blocks](blocks.md)).

## Published methods

![Variance and spikes over 100 layers with every method of the catalogue, theory and simulation](figure-3.png)

These are memoryless neurons, exactly at width {fan_in}: `vf.catalogue(threshold={threshold:g}, fan_in={fan_in},
depth={depth})`. The figure shows width 1000, `vf.catalogue(threshold=1, fan_in=1000).plot_layers()`, or in a shell `varflow
catalogue --fan-in 1000 --plot methods.png`.

- *alive*: yes if at least 99 % of networks have a spike in layer {depth}; *survival*: the fraction that have one.
- *rate*, *spikes*: in layer {depth}, averaged over all networks, silent ones included.
- *needs*: what the method requires besides threshold and shape; *ignores*: what it does not take into account.
- A dash: the method has no gain without data, or its formula is for a different neuron.

{memoryless}

The [sources](bibliography.md), as keys for `vf.citation`: {sources}.

For leaky neurons (`decay={decay:g}, steps={steps}`, no reset, constant drive, infinite width) the table has the methods
that give a gain. The rate is the mean over all steps. *Alive* is "yes" if layer {depth} spikes at every step, "late" if it
spikes at every [late](glossary.md) step but not at every earlier one (deeper layers then lose more steps), and "volleys" if
it spikes at some steps only.

{leaky}

Methods that ignore threshold, leak and reset lose all activity before layer {depth}: their gains are below the critical
gain, {critical:.3f}. Exceptions are Ding's, whose bias raises the potentials, and SpyTorch's much larger gain, which was
chosen by hand. For methods that use the threshold, survival depends on how far the gain lies above the critical gain. A
reset shifts the critical gain: with delayed subtraction at β = 0.5 it exceeds the preserving gain.
`vf.temporal_critical_gain` computes it for any neuron.

Some methods have no gain. `vf.init.published` has the formulas of E-I Init and of Herranz-Celotti and Rouat (mean and
variance), and `vf.init.lsuv_` is LSUV. tdBN and MP-Init do not set weights. The method of Perez-Nieves and Goodman is not
implemented, because its formulas could not be checked against a published text.

Why only some methods keep 100 layers alive: [notebook 7](../theory_notebooks/07_published_initialisations.py).
`python docs/choose.py` makes this page.
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
