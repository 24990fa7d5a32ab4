"""The command ``varflow predict``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import varflow as vf
from varflow.cli import options as opt
from varflow.cli.options import of_a_network
from varflow.cli.terminal import bar, show


@of_a_network
def predict(
    network: Any,
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
    in_the_limit = infinite or network.steps > 1
    profile = vf.mean_field(network, progress=bar(as_json)) if in_the_limit else vf.finite_width(network)
    show(profile, as_json, gain=network.gain)
