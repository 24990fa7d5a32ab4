"""The command ``varflow predict``."""

from __future__ import annotations

from typing import Annotated

import typer

from varflow.cli import options as opt
from varflow.cli.options import network_of
from varflow.cli.terminal import bar, show

__all__ = ["predict"]


def predict(
    threshold: opt.Threshold,
    gain: opt.Gain = "preserving",
    width: opt.Width = 1000,
    depth: opt.Depth = 100,
    bias_std: opt.BiasStd = 0.0,
    mean_gain: opt.MeanGain = 0.0,
    steps: opt.Steps = 1,
    decay: opt.Decay = 0.0,
    reset: opt.Reset = "none",
    input_scale: opt.InputScale = 1.0,
    synaptic_decay: opt.SynapticDecay = 0.0,
    delay: opt.Delay = 0,
    drive: opt.Drive = None,
    input_gain: opt.InputGain = None,
    infinite: Annotated[bool, typer.Option("--infinite", help="Infinite width, not exact theory at this width.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Exact theory of a network, layer by layer.

    Over several steps, theory of infinite width.

    \b
    Examples:
      varflow predict --threshold 1 --width 600
      varflow predict --threshold 1 --gain 2.5 --steps 20 --decay 0.5 --depth 40
      varflow predict --threshold 0.7 --gain kaiming --infinite --json
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
    )
    in_the_limit = infinite or steps > 1
    profile = vf.mean_field(network, progress=bar(as_json)) if in_the_limit else vf.finite_width(network)
    show(profile, as_json, gain=network.gain)
