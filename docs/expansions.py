"""Writes ``docs/expansions.md``: how wide a network must be for its ``1/n`` series, and for its escape asymptotics.

Run from the repository: ``python docs/expansions.py`` (half a minute).
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

PAGE = """# How wide is wide?

Made by `python docs/expansions.py`. Normal weights, the paper's gain `vf.gain(threshold=θ)`.

## The 1/n series against the exact chain

`vf.expansion(network, order=…)` against `vf.SpikeChain(network).quasi_stationary()`: the width above which mean shift `E[C] -
V*`, variance `Var[C]` and skewness are within 1 %, on a grid of widths from 20 on with a step of 10 %. Order 1 is the leading
term alone. Where the small parameter exceeds 1/4 there is no series, which counts as a deviation.

{widths}

The small parameter is `(π''/(1-m))² p(1-p)/(n(1-m²))` near the saddle-node, so the widths grow as `(1-m)^-3`.

## Escape to silence

`vf.escape_asymptotics` against the exact escape rate per layer. The relative difference is O(1/n); the last column is its
coefficient (at θ = 0.7 it drifts, because `A` is known to a relative 1e-5).

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
    rows = ["| θ | m | order | mean shift | variance | skewness |", "|---|---|---|---|---|---|"]
    for threshold in THRESHOLDS:
        truth = np.array([exact(threshold, int(n)) for n in WIDTHS])
        multiplier = vf.expansion(network(threshold, 10**6)).fixed_point.multiplier
        for order in ORDERS:
            told = np.array([series(threshold, int(n), order) for n in WIDTHS])
            good = np.abs(told / truth - 1) < WITHIN
            cells = " | ".join(good_from(column) for column in good.T)
            rows.append(f"| {threshold} | {multiplier:.4f} | {order} | {cells} |")
    return "\n".join(rows)


def escape_table() -> str:
    rows = ["| θ | I | A | n | exact r | A exp(-nI) | ratio | n (ratio - 1) |", "|---|---|---|---|---|---|---|---|"]
    for threshold, widths in ESCAPES.items():
        theory = vf.escape_asymptotics(threshold=threshold, gain=vf.gain(threshold=threshold))
        head = f"| {threshold} | {theory.rate_per_neuron:.10f} | {theory.prefactor:.5f} |"
        for n in widths:
            rate, told = vf.SpikeChain(network(threshold, n)).quasi_stationary().escape_rate, theory.escape_rate(n)
            rows.append(f"{head} {n} | {rate:.5e} | {told:.5e} | {rate / told:.5f} | {n * (rate / told - 1):.3f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    page = PAGE.format(widths=accuracy_table(), escapes=escape_table())
    replace_files({Path(__file__).with_suffix(".md"): page})
