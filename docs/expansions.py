"""Writes ``docs/expansions.md``: how wide is wide enough for the ``1/n`` series, also in time, and for escape asymptotics.

Run from the repository: ``python docs/expansions.py`` (two minutes).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import varflow as vf
from varflow._files import replace_files

THRESHOLDS = (0.3, 0.5, 0.7, 0.85, 1.0)
WIDTHS = np.unique(np.geomspace(20, 80_000, 85).round().astype(int))
ORDERS = (1, 2, 3)
WITHIN = 0.01
ESCAPES = {0.7: (1000, 2000, 4000, 7000), 0.85: (1000, 4000, 16_000), 1.0: (1000, 2000, 4000, 8000, 16_000, 32_000, 100_000)}
NEURONS = (
    ("`spikingjelly_lif()`", vf.neurons.spikingjelly_lif(), 8, 1.3),
    ("`spikingjelly_lif()`", vf.neurons.spikingjelly_lif(), 16, 1.3),
    ("`snntorch_leaky(0.5)`", vf.neurons.snntorch_leaky(0.5), 8, 1.3),
    ("`snntorch_leaky(0.9)`", vf.neurons.snntorch_leaky(0.9), 8, 1.2),
    ("subtract, β = 0.5", vf.Neuron(1.0, decay=0.5, reset="subtract"), 4, 1.5),
    ("no reset, β = 0.5", vf.Neuron(1.0, decay=0.5), 8, 1.2),
)  # with steps, and gains in units of the critical one of one step
WIDTH, NETWORKS, LAYERS = 300, 2000, (14, 20, 26, 32, 38)  # layers so far apart that they are independent


PAGE = r"""# Accuracy of the expansion in 1/n

This page compares two theories of wide networks with the exact Markov chain of spike counts: the series in 1/n, and the
asymptotic rate of escape to silence. Weights are normal, with the preserving gain `vf.gain(threshold=θ)`.
`python docs/expansions.py` makes this page; [notebook 5](../theory_notebooks/05_expansions.py) derives the series and
[notebook 11](../theory_notebooks/11_escape.py) the escape.

## The 1/n series in one step

The table compares `vf.expansion(network, order=…)` with `vf.SpikeChain(network).quasi_stationary()`, by the variance
$C = g^2 K/n$ of potentials given $K$ spikes. It gives the width from which the shift of the mean $E[C] - V^*$, the variance
$\mathrm{{Var}}[C]$ and the skewness of $C$ are within 1 %, on a grid of widths that starts at 20 and has steps of 10 %.
Order 1 is the leading term alone. Where the small parameter exceeds 1/4 there is no series, and the width counts as too
small.

{widths}

Near the saddle-node the small parameter is $(\pi''/(1-m))^2\, p(1-p)/(n(1-m^2))$, so these widths grow as $(1-m)^{{-3}}$.

## The 1/n series over several steps

For neurons with leak and reset, `vf.expansion(network)` is the first order in 1/n of the second moments of the spike
trains, $M_{{tt'}} = \frac 1n \sum_i S_{{i,t}} S_{{i,t'}}$. The table compares its late rate (steps $T/2$ to $T$) with
{networks} networks of width {width} drawn from the exact chain. Here $c$ is $n$ times the difference between the mean late
rate and its value at infinite width, and $v$ is $n$ times the variance of the late rate over networks, each beside its
simulated value ± one standard error. The drive is a constant current of standard deviation $\theta/\lambda$. Gains are
given as multiples of the critical gain of a single step, both in units of $\theta/\lambda$.

{in_time}

Leak and reset act in opposite ways. With a long memory (β = 0.9, or no reset), late steps are further from their
saddle-node than the first step, and $c$ is small. With a reset after every spike, they are nearer to it. Longer runs do not
replace more networks: the steps of one network stay correlated, so the variance of the late rate does not vanish with their
number.

The `small_parameter` of each step says where the series holds. Between 0.05 and 0.18, networks with every step alive are
shifted by 10 to 40 % more than $c/n$. Once a late step has died, the rate is lower still. Above 1/4 `vf.expansion` raises
an error that names the width it needs.

`vf.expansion(network, per_layer=True)` follows the layers from the drive on. Variances are within 10 % of their final value
after 2 to 7 layers, shifts after 8 to 11.

## Escape to silence

The rate $r$ at which a network falls silent per layer, exactly and by `vf.escape_asymptotics`, $r \simeq A e^{{-nI}}$. The
ratio of the two departs from 1 by $O(1/n)$, and the last column is the coefficient of $1/n$. (At θ = 0.7 the coefficient
drifts, because $A$ is known only to a relative 1e-5.)

{escapes}
"""


def network(threshold: float, width: int) -> vf.Network:
    return vf.Network(width=width, depth=2, gain=vf.gain(threshold=threshold), neuron=vf.Neuron(threshold))


def exact(threshold: float, width: int) -> np.ndarray:
    """Mean shift, variance and skewness of ``C``."""
    counts = vf.SpikeChain(network(threshold, width)).quasi_stationary().distribution
    g2 = vf.gain(threshold=threshold) ** 2
    C = g2 * counts.counts / width
    mean = counts.mass @ C
    variance = counts.mass @ (C - mean) ** 2
    return np.array([mean - 1, variance, counts.mass @ (C - mean) ** 3 / variance**1.5])


def series(threshold: float, width: int, order: int) -> np.ndarray:
    try:
        e = vf.expansion(network(threshold, width), order=order)
    except vf.DomainError:
        return np.full(3, np.nan)
    return np.array([e.variance - 1, e.firing_rate_std**2 * vf.gain(threshold=threshold) ** 4, e.skewness])


def good_from(good: np.ndarray) -> str:
    """The smallest width from which on all are good."""
    bad = np.flatnonzero(~good)
    first = bad[-1] + 1 if len(bad) else 0
    return str(WIDTHS[first]) if first < len(WIDTHS) else f"> {WIDTHS[-1]}"


def accuracy_table() -> str:
    rows = ["| θ | $m$ | order | mean shift | variance | skewness |", "|---|---|---|---|---|---|"]
    for threshold in THRESHOLDS:
        truth = np.array([exact(threshold, int(n)) for n in WIDTHS])
        multiplier = vf.expansion(network(threshold, 10**6)).fixed_point.multiplier
        for order in ORDERS:
            told = np.array([series(threshold, int(n), order) for n in WIDTHS])
            good = np.abs(told / truth - 1) < WITHIN
            cells = " | ".join(good_from(column) for column in good.T)
            rows.append(f"| {threshold} | {multiplier:.4f} | {order} | {cells} |")
    return "\n".join(rows)


def table_in_time() -> str:
    head = "| neuron | steps | gain | rate, n = ∞ | $c$ | simulated | $v$ | simulated | small parameter |"
    rows = [head, "|---|---|---|---|---|---|---|---|---|"]
    for name, neuron, steps, factor in NEURONS:
        unit = neuron.threshold / neuron.input_scale
        gain, drive = factor * unit * vf.critical_gain(threshold=1.0), vf.drives.currents(unit)
        shape = {"width": WIDTH, "depth": max(LAYERS), "gain": gain, "neuron": neuron}
        network = vf.Network(**shape, steps=steps, drive=drive)
        found, drawn = vf.expansion(network), vf.simulate(network, repeats=NETWORKS, seed=1, engine="conditional")
        rates = drawn.firing_rate[:, np.array(LAYERS) - 1, steps // 2 :].mean(axis=-1)
        (c, v), limit = found.late_coefficients, found.late_rate - found.late_coefficients[0] / WIDTH
        shifts, spreads = WIDTH * (rates - limit).mean(axis=1), WIDTH * ((rates - found.late_rate) ** 2).mean(axis=1)
        cells = f"{c:.3f} | {plus_minus(shifts, 2)} | {v:.4f} | {plus_minus(spreads, 4)}"
        rows.append(f"| {name} | {steps} | {factor} | {limit:.4f} | {cells} | {found.small_parameter.max():.3f} |")
    return "\n".join(rows)


def plus_minus(values: np.ndarray, digits: int) -> str:
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1) / len(values) ** 0.5:.{digits}f}"


def escape_table() -> str:
    rows = ["| θ | $I$ | $A$ | $n$ | exact $r$ | $A e^{-nI}$ | ratio | $n$ (ratio − 1) |", "|---|---|---|---|---|---|---|---|"]
    for threshold, widths in ESCAPES.items():
        theory = vf.escape_asymptotics(threshold=threshold, gain=vf.gain(threshold=threshold))
        head = f"| {threshold} | {theory.rate_per_neuron:.10f} | {theory.prefactor:.5f} |"
        for n in widths:
            rate, told = vf.SpikeChain(network(threshold, n)).quasi_stationary().escape_rate, theory.escape_rate(n)
            rows.append(f"{head} {n} | {rate:.5e} | {told:.5e} | {rate / told:.5f} | {n * (rate / told - 1):.3f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    tables = {"widths": accuracy_table(), "in_time": table_in_time(), "escapes": escape_table()}
    page = PAGE.format(**tables, networks=NETWORKS, width=WIDTH)
    replace_files({Path(__file__).with_suffix(".md"): page})
