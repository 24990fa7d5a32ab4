"""Writes ``docs/surrogates.md``: what the surrogate derivatives of libraries do to gradients in deep networks.

Run from the repository: ``python docs/surrogates.py`` (a second).
"""

from __future__ import annotations

from pathlib import Path

import varflow as vf
from varflow._files import replace_files
from varflow.theory.gradients.width import with_unit_growth

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
ADJUSTABLE = ["atan", "sigmoid", "fast_sigmoid", "spikingjelly_piecewise_quadratic", "spikingjelly_piecewise_exp"]
ADJUSTABLE += ["spikingjelly_soft_sign", "spikingjelly_erf", "spikingjelly_rect", "norse_tanh", "norse_heavi_erfc"]

PAGE = """# Surrogate derivatives

Made by `python docs/surrogates.py`.

Training replaces the derivative of the spike by a function `ψ(H - θ)`. In a deep network of memoryless neurons the variance of
gradients is multiplied in every layer by

$$
\\chi = g^2\\, E[\\psi(u - \\theta)^2], \\qquad u \\sim N(0, V),
$$

so after `L` layers by `χ^L`: gradients vanish for `χ < 1` and explode for `χ > 1`. `χ` depends on the peak *and* the width of
`ψ`, and libraries differ in both. `vf.gradient_gain` computes it:

```python
import varflow as vf

gain = vf.gain(threshold=1.0)  # keeps the variance at 1
chi = vf.gradient_gain(threshold=1.0, gain=gain, surrogate="atan", variance=1.0)
print(chi, chi**20)  # 0.759 a layer, 0.004 after 20
print(vf.gradient_gain(threshold=1.0, gain=gain, surrogate=vf.surrogates.atan(alpha=4.0), variance=1.0))
print(vf.gradient_gain(threshold=1.0, gain=gain, surrogate=lambda v: abs(v) < 0.3, variance=1.0))  # your own
```

## What the libraries' defaults do

At the gain that keeps `V = 1`; `ψ` as these versions compute it (snnTorch 1.0, SpikingJelly 2.0, Norse 1.1, sinabs 3.1).

| surrogate | peak, area | χ at θ = 1 | 0.5 | 0 |
|---|---|---|---|---|
{table}

## How to choose

1. **Compute χ for your depth.** Over `L` layers gradients grow by `χ^(L/2)` in size. With `fast_sigmoid(slope=25)` at θ = 1
   their variance falls by a factor of {fast:.0f} per layer; with `sigmoid(slope=25)` it grows by a factor of {steep:.1f}.
2. **Change the width.** These parameters give `χ = 1` at `V = 1`:

   | | θ = 1 | 0.5 | 0 |
   |---|---|---|---|
{widths}

   Formulas of area 1 (`atan`, `sigmoid`, and SpikingJelly's) need a *larger* width to lower χ, those of peak 1 (`fast_sigmoid`,
   Norse's) a larger width to raise it. With peak 1, `χ ≤ g²`: no width helps for `g ≤ 1`.
3. **A low rate makes χ small.** Narrow surrogates see only neurons near the threshold: `χ ≈ g² φ(θ/√V)/√V ∫ψ²`.
4. **At finite width** the logarithm of the squared gradient norm spreads between networks by `(3κ - 1)/n` per layer, with
   `κ = E[ψ⁴]/E[ψ²]²`: narrow surrogates spread widely, `fast_sigmoid(25)` 14 times as much as `atan` at θ = 1.
5. **Several steps** change the answer: gradients also flow through the leak and the reset, and `χ < 1` does not mean that they
   vanish. `χ` is exact for one step and for neurons without memory.

## What is not as documented

- Norse 1.1: `super` ignores `alpha`. Its `triangle` has width 1 and peak `alpha`, which is 100 unless you set it.
- snnTorch 1.0: `triangular(threshold)` returns `θ` below the threshold and `-θ` above. `sigmoid(25)` gives NaN in float32 for
  `H < θ - 3.5` by overflow. `LSO()` raises `TypeError`; `SFS()` is 0 for `H ≤ θ + 1`; `SSO()` draws random numbers.
- SpikingJelly 2.0: `SquarewaveFourierSeries(n)` sums `n - 1` terms; the parameter of `SuperSpike` is the peak, not the width.

`vf.surrogates` has all of these as they are computed. Any family at any peak and width is
`vf.surrogates.Surrogate("atan", peak=1, width=0.3)`.
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
    return PAGE.format(table=table, widths=widths, fast=1 / chi(S.fast_sigmoid(), 1.0), steep=chi(S.sigmoid(), 1.0))


if __name__ == "__main__":
    replace_files({Path(__file__).with_suffix(".md"): page()})
