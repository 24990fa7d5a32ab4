"""The command ``varflow fixed-points``."""

from __future__ import annotations

import varflow as vf
from varflow.cli import options as opt
from varflow.cli.terminal import show


def fixed_points(
    threshold: opt.Threshold,
    gain: opt.Gain = "preserving",
    distribution: opt.Distribution = "normal",
    bias_std: opt.BiasStd = 0.0,
    mean_gain: opt.MeanGain = 0.0,
    as_json: opt.Json = False,
) -> None:
    """All fixed points of the variance, and their stability.

    \b
    Examples:
      varflow fixed-points --threshold 1.5
      varflow fixed-points --threshold 1 --gain 2.51 --bias-std 0.2236
      varflow fixed-points --threshold 1 --gain kaiming --distribution laplace --json
    """
    law = vf.distribution(distribution)
    g = vf.gain_by_rule(gain, threshold, distribution=law, bias_std=bias_std, mean_gain=mean_gain)
    points = vf.fixed_points(threshold=threshold, gain=g, distribution=law, bias_std=bias_std, mean_gain=mean_gain)
    scanned = f"scanned in steps of {points.resolution:g} in ln V: a closer pair can be missed" if points.resolution else None
    show(points, as_json, [scanned] if scanned else [], gain=g)
