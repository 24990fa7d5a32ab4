"""Writes ``docs/choose.md``: which initialisation to take, with a table of what each does.

Run from the repository: ``python docs/choose.py`` (seconds).
"""

from __future__ import annotations

from pathlib import Path

import varflow as vf

SETTING = {"threshold": 1.0, "fan_in": 512, "depth": 100}
LEAKY = {"decay": 0.5, "steps": 20}

PAGE = """# How to choose

Made by `python docs/choose.py`.

1. **Plain dense layers, memoryless or one step?** `vf.lookup(threshold=…, fan_in=…, depth=…)` says which gain and what to
   expect of it. If it warns about finite width, take its `corrected_gain`, or at once
   `vf.init.corrected_normal_(weight, threshold, depth=…)`.
2. **A whole model?** `model.apply(vf.init.init_fn(vf.Neuron(…)))` fills every linear layer and convolution with the right
   fan-in and zeroes the biases. With the neurons of a spiking library, `vf.init.init_model(model, inputs)` reads them and
   gives each layer the gain of a wanted rate ([your own model](models.md)).
3. **A wanted firing rate?** `vf.init.calculate_gain(neuron, rate=…)`. Rates below {edge:.3f} have no stable fixed point
   (normal potentials, θ > 0): activity at them dies or grows, `vf.lookup` says where to.
4. **A convolution with padding?** The mean number of inputs is `vf.init.effective_fan_in(layer, size)`; borders stay
   quieter than the middle. Finite-width numbers are for dense layers.
5. **A transposed convolution?** Name the layer: `vf.init.normal_(layer.weight, gain, fan=layer)`. Its tensor alone misleads.
6. **Data at hand, an unusual architecture?** `vf.init.lsuv_(model, batch)` scales each layer by what it really gives. It
   keeps a variance, not its stability.
7. **Half precision?** Fill with `vf.init`: torch's own uniform draws in bfloat16 are off in the mean.

The first layer sees data, not spikes: its gain is another one (`vf.drives.inputs` simulates it).

## What the methods do

`vf.catalogue(threshold={threshold:g}, fan_in={fan_in}, depth={depth})`: memoryless neurons, exact at width {fan_in}.
"alive" means that at least 99 % of networks have a spike in layer {depth}; rate and spikes are that layer's, dead networks
included. A dash: it depends on data, or on something the setting has not.

{memoryless}

With `decay={decay:g}, steps={steps}` (a leak, no reset, a constant drive), those that have a gain there. Infinite width; the
rate is the mean over steps, and "alive" means a spike a step:

{leaky}

None of the methods that leave threshold, leak and reset out of account reaches layer {depth} here: their gains are below
{critical:.3f}, the critical one. A bias that lifts potentials makes up for it (Ding), as does a gain set by hand far above
(SpyTorch). What takes its gain from the threshold lives or dies by its distance to that number.
"""


def table(found: vf.Catalogue, *, everything: bool) -> str:
    rows = ["| method | gain | alive | survival | rate | spikes | needs | ignores |", "|---|---|---|---|---|---|---|---|"]
    for entry in found.methods:
        if entry.gain is None and not everything:
            continue
        alive = {True: "yes", False: "no", None: "–"}[entry.survives]
        gain = "–" if entry.gain is None else f"{entry.gain:.3f}"
        rate = "–" if entry.firing_rate is None else f"{entry.firing_rate:.3f}"
        survival = "–" if entry.survival is None else f"{entry.survival:.2f}"
        spikes = "–" if entry.spikes is None else f"{entry.spikes:.0f}"
        rows.append(f"| {entry.name} | {gain} | {alive} | {survival} | {rate} | {spikes} | {entry.needs} | {entry.ignores} |")
    return "\n".join(rows)


def page() -> str:
    found = vf.catalogue(**SETTING)
    edge = vf.stable_variance(threshold=1.0, gain=vf.critical_gain(threshold=1.0) * (1 + 1e-12))
    return PAGE.format(
        **SETTING,
        **LEAKY,
        edge=edge / vf.critical_gain(threshold=1.0) ** 2,
        critical=found.critical_gain,
        memoryless=table(found, everything=True),
        leaky=table(vf.catalogue(**SETTING, **LEAKY), everything=False),
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), encoding="utf-8")
