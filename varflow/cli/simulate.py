"""The command ``varflow simulate``."""

from __future__ import annotations

from typing import Annotated, Any

from varflow.cli import options as opt
from varflow.cli.options import network_of
from varflow.cli.terminal import Stopped, bar, option, show

__all__ = ["simulate"]


def simulate(
    threshold: opt.Threshold,
    gain: opt.Gain = "preserving",
    width: opt.Width = 1000,
    depth: opt.Depth = 100,
    bias_std: opt.BiasStd = 0.0,
    mean_gain: opt.MeanGain = 0.0,
    weights: Annotated[str, option("Weight distribution: normal, uniform, sign, exponential or lognormal.", "NAME")] = "normal",
    repeats: opt.Repeats = 20,
    seed: opt.Seed = 0,
    steps: opt.Steps = 1,
    decay: opt.Decay = 0.0,
    reset: opt.Reset = "none",
    input_scale: opt.InputScale = 1.0,
    synaptic_decay: opt.SynapticDecay = 0.0,
    delay: opt.Delay = 0,
    drive: opt.Drive = None,
    input_gain: opt.InputGain = None,
    engine: opt.Engine = "dense",
    device: opt.Device = "cpu",
    dtype: Annotated[str, option("float32 or float64.", "NAME")] = "float32",
    as_json: opt.Json = False,
) -> None:
    """Simulate networks and measure every layer.

    Exit code 130 after Ctrl-C and 143 after SIGTERM; networks finished by then are shown.

    \b
    Examples:
      varflow simulate --threshold 1 --width 600 --repeats 50
      varflow simulate --threshold 1 --width 100 --weights sign --json
      varflow simulate --threshold 1 --gain 2.5 --depth 40 --steps 20 --decay 0.5
    """
    import varflow as vf

    network = network_of(
        threshold=threshold,
        gain=gain,
        width=width,
        depth=depth,
        bias_std=bias_std,
        mean_gain=mean_gain,
        steps=steps,
        decay=decay,
        reset=reset,
        input_scale=input_scale,
        synaptic_decay=synaptic_decay,
        delay=delay,
        drive=drive,
        input_gain=input_gain,
        weights=weights,
    )
    options: dict[str, Any] = {"repeats": repeats, "seed": seed, "engine": engine, "device": device, "dtype": dtype}
    try:
        ensemble = vf.simulate(network, **options, progress=bar(as_json))
    except vf.Interrupted as stop:
        if not stop.ensembles or not stop.ensembles[0].repeats:
            raise Stopped(str(stop)) from None
        show(stop.ensembles[0], as_json, [f"{stop}; these are shown"], gain=network.gain)
        raise Stopped from None
    show(ensemble, as_json, gain=network.gain)
