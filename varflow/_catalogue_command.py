"""The command ``varflow catalogue``."""

from __future__ import annotations

from typing import Annotated

import typer

from varflow._terminal import option, real, show, whole

__all__ = ["catalogue"]


def catalogue(
    threshold: Annotated[float, real("Firing threshold θ, positive.", "θ")] = 1.0,
    decay: Annotated[float, real("Membrane decay β, 0 to 1.", "β")] = 0.0,
    fan_in: Annotated[int, whole("Inputs of one neuron.", "n")] = 512,
    depth: Annotated[int, whole("Layer that activity should reach.", "L")] = 100,
    width: Annotated[int | None, whole("Neurons in a layer; default: the fan-in.", "n")] = None,
    steps: Annotated[int | None, whole("Time steps; default: 1 without memory, else 20.", "T")] = None,
    reset: Annotated[str, option("none, subtract, delayed_subtract, zero, gate or multi_spike.", "NAME")] = "none",
    input_scale: Annotated[float, real("What the membrane takes of its input, λ.", "λ")] = 1.0,
    rate: Annotated[float, real("For methods that ask for a firing rate.", "p")] = 0.1,
    survival_target: Annotated[float, real("Survival that counts as alive.", "P")] = 0.99,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Published initialisations side by side.

    Each method's gain, whether activity reaches a depth with it, and what that costs in spikes.

    \b
    Examples:
      varflow catalogue --threshold 1 --fan-in 512
      varflow catalogue --threshold 1 --decay 0.5 --fan-in 512 --json
      varflow catalogue --threshold 0.7 --width 100 --depth 50 --rate 0.15
    """
    import varflow as vf

    found = vf.catalogue(
        threshold=threshold,
        decay=decay,
        fan_in=fan_in,
        depth=depth,
        width=width,
        steps=steps,
        reset=reset,
        input_scale=input_scale,
        rate=rate,
        survival_target=survival_target,
        progress=not as_json,
    )
    show(found, as_json)
