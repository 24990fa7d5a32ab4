"""The command ``varflow catalogue``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import varflow as vf
from varflow._files import picture
from varflow._process import finishing
from varflow.cli import options as opt
from varflow.cli.options import changed, preset_of
from varflow.cli.terminal import bar, check_picture, deliver, option, real, whole


def catalogue(
    threshold: Annotated[float | None, real("Firing threshold θ, positive.  [default: 1, or of --neuron]", "θ")] = None,
    decay: opt.Decay = 0.0,
    fan_in: Annotated[int, whole("Inputs per neuron.", "n")] = 512,
    depth: Annotated[int, whole("Layer that activity should reach.", "L")] = 100,
    width: Annotated[int | None, whole("Neurons per layer; default: the fan-in.", "n")] = None,
    steps: Annotated[int | None, whole("Time steps; default: 1 without memory, else 20.", "T")] = None,
    reset: opt.Reset = "none",
    input_scale: opt.InputScale = 1.0,
    neuron: opt.Preset = None,
    beta: opt.Beta = None,
    rate: Annotated[float, real("Firing rate, for methods that need one.", "p")] = 0.1,
    survival_target: Annotated[float, real("Survival probability that counts as alive.", "P")] = 0.99,
    plot: Annotated[Path | None, option("Write variance and spikes over layers to this .png, .pdf or .svg.", "FILE")] = None,
    as_json: opt.Json = False,
) -> None:
    """Published initialisations side by side.

    For each method its gain, whether activity reaches the given depth, and the number of spikes.

    \b
    Examples:
      varflow catalogue --threshold 1 --fan-in 512
      varflow catalogue --threshold 1 --decay 0.5 --fan-in 512 --json
      varflow catalogue --neuron snntorch_leaky --beta 0.5 --steps 8 --depth 20
      varflow catalogue --threshold 0.7 --width 100 --depth 50 --rate 0.15
      varflow catalogue --fan-in 1000 --plot methods.png
    """
    form = "" if plot is None else check_picture(plot, argument="plot")
    result = vf.catalogue(
        threshold=threshold,
        neuron=preset_of(neuron, beta),
        **changed(decay=decay, reset=reset, input_scale=input_scale),
        fan_in=fan_in,
        depth=depth,
        width=width,
        steps=steps,
        rate=rate,
        survival_target=survival_target,
        progress=bar(as_json),
    )
    with finishing():
        files = {} if plot is None else {plot: picture(result.plot_layers(), form)}
        deliver(result, as_json, files, argument="plot")
