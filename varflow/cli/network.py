"""The commands ``varflow predict`` and ``varflow simulate``, of one network, and ``varflow fixed-points``, of its layers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import varflow as vf
from varflow.cli import options as opt


@opt.of_a_network
def predict(
    network: Any,
    infinite: Annotated[bool, typer.Option("--infinite", help="Infinite width, not exact theory at this width.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Exact theory of a network, layer by layer.

    \b
    Examples:
      varflow predict --threshold 1 --width 600
      varflow predict --threshold 1 --gain 2.5 --steps 20 --decay 0.5 --depth 40
      varflow predict --threshold 0.7 --gain kaiming --infinite --json

    Over several steps, theory of infinite width.
    """
    in_the_limit = infinite or network.steps > 1
    profile = vf.mean_field(network, progress=opt.bar(as_json)) if in_the_limit else vf.finite_width(network)
    opt.show(profile, as_json, gain=network.gain)


@opt.of_a_network
def simulate(
    network: Any,
    repeats: opt.Repeats = 20,
    seed: opt.Seed = 0,
    engine: opt.Engine = "dense",
    device: opt.Device = "cpu",
    dtype: Annotated[str, opt.option("float32 or float64.", "NAME")] = "float32",
    as_json: opt.Json = False,
) -> None:
    """Simulate networks and measure every layer.

    \b
    Examples:
      varflow simulate --threshold 1 --width 600 --repeats 50
      varflow simulate --threshold 1 --width 100 --weights sign --json
      varflow simulate --threshold 1 --gain 2.5 --depth 40 --steps 20 --decay 0.5

    Exit code 130 after Ctrl-C and 143 after SIGTERM; networks finished by then are shown.
    """
    options: dict[str, Any] = {"repeats": repeats, "seed": seed, "engine": engine, "device": device, "dtype": dtype}
    try:
        ensemble = vf.simulate(network, **options, progress=opt.bar(as_json))
    except vf.Interrupted as stop:
        if not stop.ensembles or not stop.ensembles[0].repeats:
            raise opt.Stopped(str(stop)) from None
        opt.show(stop.ensembles[0], as_json, [f"{stop}; these are shown"], gain=network.gain)
        raise opt.Stopped from None
    opt.show(ensemble, as_json, gain=network.gain)


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
      varflow fixed-points --threshold 1 --gain kaiming --distribution laplace
    """
    law = vf.distribution(distribution)
    g = vf.gain_by_rule(gain, threshold, distribution=law, bias_std=bias_std, mean_gain=mean_gain)
    points = vf.fixed_points(threshold=threshold, gain=g, distribution=law, bias_std=bias_std, mean_gain=mean_gain)
    scanned = f"scanned in steps of {points.resolution:g} in ln V: a closer pair can be missed" if points.resolution else None
    opt.show(points, as_json, [scanned] if scanned else [], gain=g)
