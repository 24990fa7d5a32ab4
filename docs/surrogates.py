"""Writes ``docs/surrogates.md``: what the surrogate derivatives of libraries do to gradients in deep networks.

Run from the repository: ``python docs/surrogates.py`` (some seconds).
"""

from __future__ import annotations

from pathlib import Path

import varflow as vf
from varflow._files import replace_files
from varflow.init.surrogate_width import with_unit_growth

THRESHOLDS = (1.0, 0.5, 0.0)
S = vf.surrogates
ROWS = [
    ("snnTorch `atan` (its default), SpikingJelly `ATan`", lambda theta: S.atan()),
    ("snnTorch `sigmoid`", lambda theta: S.sigmoid()),
    ("snnTorch `fast_sigmoid`", lambda theta: S.fast_sigmoid()),
    ("snnTorch `triangular(θ)`: not a triangle, see below", S.snntorch_triangular),
    ("snnTorch `spike_rate_escape`: peaks at H = θ + 1", lambda theta: S.spike_rate_escape()),
    ("snnTorch `SFS`: 0 up to H = θ + 1", lambda theta: S.SFS()),
    ("snnTorch `straight_through_estimator`", lambda theta: S.straight_through_estimator()),
    ("SpikingJelly `Sigmoid` (its default)", lambda theta: S.spikingjelly_sigmoid()),
    ("SpikingJelly `PiecewiseQuadratic` (a triangle)", lambda theta: S.spikingjelly_piecewise_quadratic()),
    ("SpikingJelly `PiecewiseExp`", lambda theta: S.spikingjelly_piecewise_exp()),
    ("SpikingJelly `SoftSign`", lambda theta: S.spikingjelly_soft_sign()),
    ("SpikingJelly `Erf`", lambda theta: S.spikingjelly_erf()),
    ("SpikingJelly `Rect`", lambda theta: S.spikingjelly_rect()),
    ("SpikingJelly `SuperSpike`", lambda theta: S.spikingjelly_super_spike()),
    ("Norse `super` (its default), any α", lambda theta: S.norse_super()),
    ("Norse `triangle`, α = 0.3", lambda theta: S.norse_triangle()),
    ("Norse `triangle`, α = 100 (default of its neurons)", lambda theta: S.norse_triangle(100.0)),
    ("sinabs `SingleExponential` (default of its LIF)", lambda theta: S.sinabs_single_exponential(spike_threshold=theta)),
    ("sinabs `MultiGaussian`", lambda theta: S.sinabs_multi_gaussian()),
    ("SuperSpike as published, `fast_sigmoid(slope=100)`", lambda theta: S.fast_sigmoid(100.0)),
]
N, LAYERS, STEPS = vf.neurons, 20, (4, 8, 16)
IN_TIME = [  # those of one step at about χ = 1
    ("snnTorch `Leaky(0.5)`, 8, `atan`", N.snntorch_leaky(0.5), 8.0, S.atan()),
    ("snnTorch `Leaky(0.9)`, 6.3, `atan`", N.snntorch_leaky(0.9), 6.303, S.atan()),
    ("snnTorch `Leaky(0.5)`, 8, `fast_sigmoid`", N.snntorch_leaky(0.5), 8.0, S.fast_sigmoid()),
    ("SpikingJelly `LIFNode()`, 25.2, `Sigmoid`", N.spikingjelly_lif(), 25.2, S.spikingjelly_sigmoid()),
    (
        "SpikingJelly `LIFNode(detach_reset=True)`, 25.2, `Sigmoid`",
        N.spikingjelly_lif(detach_reset=True),
        25.2,
        S.spikingjelly_sigmoid(),
    ),
    ("Norse `LIFBoxCell()`, 630, `super`", N.norse_lif_box(), 630.3, S.norse_super()),
]
ADJUSTABLE = ["atan", "sigmoid", "fast_sigmoid", "spikingjelly_piecewise_quadratic", "spikingjelly_piecewise_exp"]
ADJUSTABLE += ["spikingjelly_soft_sign", "spikingjelly_erf", "spikingjelly_rect", "norse_tanh", "norse_heavi_erfc"]

PAGE = """# Surrogate derivatives

**Keep your library's formula and set its width**: `vf.init.init_model(model, batch, steps=…, surrogate="set")` does so,
together with the gains. The formula then matters little: ten layers learn scikit-learn's digits (12 steps, three seeds,
`tests/init/test_training_of_deep_networks.py`)

| accuracy with | `atan` | `sigmoid` | `fast_sigmoid` |
|---|---|---|---|
| the width set | 0.94 ± 0.01 | 0.94 ± 0.01 | 0.92 ± 0.02 |
| snnTorch's own width | 0.91 ± 0.01 | 0.08 ± 0.00 | 0.27 ± 0.01 |

Afterwards [`vf.audit`](will_it_learn.md) says whether a deeper network would learn with a wider surrogate; if so, follow
the audit. For a `vf.Network`, `vf.surrogate_width(network)` finds [the width](gradients.md).

## The gain of gradients

Training replaces the derivative of the spike by a function $\\psi(H - \\theta)$. In a deep network of memoryless neurons,
every layer multiplies the variance of gradients by

$$
\\chi = g^2\\, E[\\psi(u - \\theta)^2], \\qquad u \\sim N(0, V),
$$

and $L$ layers multiply it by $\\chi^L$: gradients vanish for $\\chi < 1$ and explode for $\\chi > 1$. $\\chi$ depends on
the peak *and* the width of $\\psi$, and libraries differ in both. `vf.gradient_gain` computes it:

```python
import varflow as vf

layer = {{"threshold": 1.0, "variance": 1.0, "gain": vf.gain(threshold=1.0)}}
chi = vf.gradient_gain(**layer, surrogate="atan")
print(f"default: {{chi:.3f}} per layer, {{chi**20:.3f}} after 20 layers")
chi = vf.gradient_gain(**layer, surrogate=vf.surrogates.atan(alpha=4.0))
print(f"narrower: {{chi:.3f}} per layer")
chi = vf.gradient_gain(**layer, surrogate=lambda v: abs(v) < 0.3)
print(f"your own: {{chi:.3f}} per layer")
```

```text
default: 0.759 per layer, 0.004 after 20 layers
narrower: 1.524 per layer
your own: 0.910 per layer
```

## Defaults of the libraries, for one step without memory

The table has $\\chi$ at the preserving gain ($V = 1$), with $\\psi$ as these versions compute it: snnTorch 1.0,
SpikingJelly 2.0, Norse 1.1, sinabs 3.1.

| surrogate | peak, area | χ at θ = 1 | 0.5 | 0 |
|---|---|---|---|---|
{table}

## How to choose

1. **Compute $\\chi$ for your depth.** Over $L$ layers the size of gradients grows by $\\chi^{{L/2}}$. At θ = 1 their
   variance falls by a factor of {fast:.0f} per layer with `fast_sigmoid(slope=25)`, and grows by a factor of {steep:.1f}
   with `sigmoid(slope=25)`.
2. **Change the width.** These parameters give $\\chi = 1$ at $V = 1$, for one step without memory:

   | | θ = 1 | 0.5 | 0 |
   |---|---|---|---|
{widths}

   Formulas of area 1 (`atan`, `sigmoid`, and those of SpikingJelly) need a *larger* width to lower $\\chi$; formulas of
   peak 1 (`fast_sigmoid` and those of Norse) need a larger width to raise it. With peak 1, $\\chi \\leq g^2$, so no width
   helps for $g \\leq 1$.
3. **A low rate makes $\\chi$ small.** Narrow surrogates see only neurons near the threshold:
   $\\chi \\approx g^2\\, \\varphi(\\theta/\\sqrt V)/\\sqrt V \\int \\psi^2$.
4. **At finite width** networks differ. Per layer, the variance of the logarithm of the squared gradient norm grows by
   $(3\\kappa - 1)/n$, where $\\kappa = E[\\psi^4]/E[\\psi^2]^2$. It is large for narrow surrogates: 14 times as large for
   `fast_sigmoid(25)` as for `atan` at θ = 1. In deep layers the fluctuations of activity add

   $$
   \\frac 1n \\left( \\frac{{b^2 (1-p)}}{{p (1-m)^2}} + \\frac{{2b (w-p)}}{{p (1-m)}} \\right).
   $$

   Here $m$ is the multiplier of the rate $p$, $w$ is the fraction of $E[\\psi^2]$ above threshold, and
   $b = d \\ln E[\\psi^2]/d \\ln p$, about $(\\theta^2/V - 1)/2$ without bias. This term vanishes at θ² = V. It is largest
   near the critical gain, where $m$ is near 1.
5. **Several steps** change the answer (see below): $\\chi$ is exact only for a single step, or for neurons without memory.

## Several steps

Gradients also flow through the leak and the reset, so they need not vanish for $\\chi < 1$. `vf.gradient_flow` follows them
through depth and time. The table has the mean factor by which their energy grows per layer, towards the input, over
{layers} layers with a loss at all steps:

| neuron, $g^2$, surrogate | 1 step | {steps} |
|---|---|{rule}
{in_time}

SpikingJelly's reset is part of the graph, and nearly cancels what the leak adds; with `detach_reset=True` it does not.
snnTorch detaches its reset.

```python
import varflow as vf

neuron = vf.neurons.snntorch_leaky(0.5)
network = vf.Network(width=1000, depth=10, gain=8**0.5, neuron=neuron, steps=4)
flow = vf.gradient_flow(network, "atan")
print(f"growth per layer {{flow.growth:.3f}}, largest over smallest {{flow.range:.2f}}")
print("layers differ least with", vf.surrogate_width(network, "atan"))
```

```text
growth per layer 1.158, largest over smallest 3.75
layers differ least with atan(alpha=1.72617)
```

Equal energies are not enough: gradients must also differ between inputs, which `vf.trainability` measures.
`vf.audit(model, inputs, steps=…, gradients=True)` measures the gradients in your model.
`vf.init.init_model(model, inputs, steps=…, surrogate="set")` gives its neurons, whatever the structure, the width with which
the predicted gradient norms differ least between layers. There is one exception: networks with shortcuts, with batch
normalisation, or with few layers (`report.learning.shallow`) keep a surrogate that is within a factor of 5 of this width.
In a pilot of fifteen small models, setting it cost them up to 17 points of accuracy, while surrogates far too narrow cost 1
to 7.

## Differences from the documentation of the libraries

- Norse 1.1: `super` ignores `alpha`. Its `triangle` has width 1 and peak `alpha`, which is 100 unless you set it.
- snnTorch 1.0: `triangular(threshold)` returns $\\theta$ below the threshold and $-\\theta$ above. `sigmoid(25)` gives NaN
  in float32 for $H < \\theta - 3.5$ by overflow. `LSO()` raises `TypeError`; `SFS()` is 0 for $H \\leq \\theta + 1$;
  `SSO()` draws random numbers.
- SpikingJelly 2.0: `SquarewaveFourierSeries(n)` sums `n - 1` terms; the parameter of `SuperSpike` is the peak, not the
  width.

`vf.surrogates` has all of these as the libraries compute them. `vf.surrogates.Surrogate("atan", peak=1, width=0.3)` is any
family with a peak and a width of your choice.

[Notebook 10](../theory_notebooks/10_gradients.py) derives how the width of a surrogate decides whether gradients survive.
`python docs/surrogates.py` makes this page.
"""


def chi(surrogate: vf.surrogates.Surrogate, theta: float) -> float:
    return vf.gradient_gain(threshold=theta, gain=vf.gain(threshold=theta), surrogate=surrogate, variance=1.0)


def _row(label: str, make) -> str:
    cells = []
    for theta in THRESHOLDS:
        try:
            cells.append(f"{chi(make(theta), theta):.3g}")
        except vf.DomainError:  # sinabs' width is a multiple of the threshold
            cells.append("–")
    psi = make(1.0)
    size = "–" if psi.family == "own" else f"{psi.peak:.4g}, {psi.area:.4g}"
    return f"| {label} | {size} | {' | '.join(cells)} |"


def _growth(label: str, neuron: vf.Neuron, square: float, psi: vf.surrogates.Surrogate) -> str:
    drive = vf.drives.currents(1 / neuron.input_scale)
    shape = {"width": 1000, "depth": LAYERS, "gain": square**0.5, "neuron": neuron, "drive": drive}
    found = (vf.gradient_flow(vf.Network(steps=T, **shape), psi, points=2**10, scrambles=4).growth for T in (1, *STEPS))
    return f"| {label} | {' | '.join(f'{value:.2g}' if value < 0.1 else f'{value:.2f}' for value in found)} |"


def _parameters(name: str) -> str:
    cells = []
    for theta in THRESHOLDS:
        found = with_unit_growth(S.surrogate_of(name), lambda psi, theta=theta: chi(psi, theta))
        cells.append(f"{dict(found.formula.arguments)[found.formula.sets_width]:.3g}")
    psi = S.surrogate_of(name)
    return f"   | `{name}({psi.formula.sets_width}=…)` | {' | '.join(cells)} |"


def page() -> str:
    table = "\n".join(_row(*row) for row in ROWS)
    widths = "\n".join(map(_parameters, ADJUSTABLE))
    in_time = {
        "in_time": "\n".join(_growth(*row) for row in IN_TIME),
        "layers": LAYERS,
        "steps": " | ".join(map(str, STEPS)),
        "rule": "---|" * len(STEPS),
    }
    return PAGE.format(table=table, widths=widths, **in_time, fast=1 / chi(S.fast_sigmoid(), 1.0), steep=chi(S.sigmoid(), 1.0))


if __name__ == "__main__":
    replace_files({Path(__file__).with_suffix(".md"): page()})
