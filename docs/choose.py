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

An initialisation of a spiking network is one number per layer, the gain `g`: weights get the standard deviation `g/√fan_in`,
biases are zero. Too small, and activity dies within a few layers; too large, and almost half of all neurons fire at every step.
In short:

- **A PyTorch model** with neurons of snnTorch, SpikingJelly, Norse or sinabs ([your own model](models.md)):
  `vf.init.init_model(model, inputs, steps=…, rate=…)`, then `vf.audit(model, inputs, steps=…)`.
- **Dense layers of threshold neurons without memory**, or one time step:
  `vf.init.corrected_normal_(layer.weight, threshold, depth=…)` in every layer after the first.
- **A neuron of your own and a wanted rate**: `vf.gain_for_rate(neuron, rate=…, steps=…)` gives a gain for the first layer and
  one for the rest, or says why there is none.
- **Only a question**, which gain, and what will happen: `vf.lookup(threshold=…, fan_in=…, depth=…, width=…)`, `varflow lookup`.

Then, by case:

1. **Why not the paper's gain, `vf.gain(threshold=…)`?** It keeps the variance of an infinitely wide network. One of finite
   width wanders and falls silent for good, sooner the narrower it is and the larger θ. `corrected_gain` is the smallest gain
   with which 99 of 100 networks of your width are alive at your depth. `corrected_normal_` takes the larger of the two. Where
   the paper's gain leaves too few alive it is raised, at the price of a larger variance and rate: at θ = 1, width {fan_in},
   depth {depth} from {paper_1:.3f} to {corrected_1:.3f}, the variance from 1 to {raised:.2f}. Where it leaves enough it stays:
   the smallest gain that does is lower and would only lower the variance, at θ = 0.5 from 1 to {lowered:.2f}.
2. **A wanted firing rate?** Without memory: `vf.init.calculate_gain(neuron, rate=…)`. Rates below {edge:.3f} have no stable
   fixed point (normal potentials, θ > 0): activity at them dies or grows, and `vf.lookup` says where to.
3. **The first layer** sees data, not spikes: its gain is another one. `init_model` sets it from your batch; by hand it is
   `√(v / E[x²])`, `v` being the wanted variance and `E[x²]` the mean square of your data.
4. **Layer by layer without a batch?** `model.apply(vf.init.init_fn(vf.Neuron(…)))` fills every linear layer and convolution
   with the right fan-in and zeroes the biases. It treats the first layer like the others.
5. **A convolution with padding?** The mean number of inputs is `vf.init.effective_fan_in(layer, size)`; borders stay quieter
   than the middle. Finite-width numbers (survival, corrected gains) are for dense layers.
6. **A transposed convolution?** Name the layer: `vf.init.normal_(layer.weight, gain, fan=layer)`. Its tensor alone misleads.
7. **Data at hand, an unusual architecture?** `vf.init.lsuv_(model, batch)` scales each layer by what it really gives. It
   keeps a variance, not its stability.
8. **Half precision?** Fill with `vf.init`: torch's own uniform draws in bfloat16 are off in the mean.
9. **Biases?** Leave them at zero. Torch's default ones are constant in time, and a leak adds them up.

## What the methods do

![Variance and spikes over 100 layers with every method of the catalogue, theory and simulation](figure-3.png)

`vf.catalogue(threshold={threshold:g}, fan_in={fan_in}, depth={depth})`: memoryless neurons, exact at width {fan_in}; the
picture is `vf.catalogue(threshold=1, fan_in=1000).plot_layers()`, from the shell
`varflow catalogue --fan-in 1000 --plot methods.png`. "alive": at least 99 % of networks have a spike in layer {depth}.
"survival": the share that has. Rate and spikes are those of layer {depth} in the mean over all networks, silent ones
included. "needs": what the method asks for beyond threshold and shape. "ignores": what it leaves out of account. A dash:
there is no gain without data, or the formula is for another neuron.

{memoryless}

Sources, for `vf.citation`: {sources}.

With `decay={decay:g}, steps={steps}` (a leak, no reset, a constant drive), those that have a gain there. Infinite width; the
rate is the mean over steps. "alive": "yes" where every step spikes in layer {depth}, "late" where every step of the late half
does and earlier ones are silent (deeper layers lose more), "volleys" where only some steps do:

{leaky}

None of the methods that leave threshold, leak and reset out of account reaches layer {depth} here: their gains are below
{critical:.3f}, the critical one. A bias that lifts potentials makes up for it (Ding), as does a gain set by hand far above
(SpyTorch). What takes its gain from the threshold lives or dies by its distance to that number. A reset moves that number:
with delayed subtraction at β = 0.5 it lies above the paper's gain. `vf.temporal_critical_gain` finds it for any neuron.

Methods without a gain have their formulas in `vf.init.published` too (E-I Init; mean and variance of Herranz-Celotti and Rouat)
and `vf.init.lsuv_`. tdBN and MP-Init set no weights. Those of Perez-Nieves and Goodman are not implemented: the formulas could
not be checked against a text.
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
    )


if __name__ == "__main__":
    replace_files({Path(__file__).with_suffix(".md"): page()})
