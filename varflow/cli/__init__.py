"""The command line: each command calls one public function and prints a table, or one JSON object with --json.

``options`` are shared by several commands; they are read there, and results and errors printed.
"""

from __future__ import annotations

from typing import Annotated

import typer

from varflow.cli.audit import audit
from varflow.cli.campaigns import phase_diagram, validate
from varflow.cli.initialise import catalogue, lookup, quantise
from varflow.cli.network import fixed_points, predict, simulate
from varflow.cli.options import Grouped, run

__all__ = ["app", "main"]

app = typer.Typer(name="varflow", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        from varflow import __version__

        print(f"varflow {__version__}")
        raise typer.Exit


@app.callback()
def varflow(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """The analytical theory of deep spiking networks.

    \b
    Examples:
      varflow lookup --threshold 1 --fan-in 512   the gain of a layer
      varflow predict --threshold 1 --width 600   exact theory, layer by layer
      varflow phase-diagram                       survival over threshold, width
      varflow validate                            theory against simulation

    Every command has --help and --json.
    """


for command in (lookup, fixed_points, predict, simulate, validate, phase_diagram, quantise, catalogue, audit):
    app.command(command.__name__.replace("_", "-"), cls=Grouped)(command)


def main() -> None:
    """Entry point of ``varflow`` and ``python -m varflow``."""
    run(app)
