"""The command line: each command asks the public API one question and prints a table, or one JSON object with --json.

A command per file; ``options`` are those that several share, ``terminal`` reads, shows and refuses.
"""

from __future__ import annotations

from typing import Annotated

import typer

from varflow.cli.audit import audit
from varflow.cli.catalogue import catalogue
from varflow.cli.fixed_points import fixed_points
from varflow.cli.lookup import lookup
from varflow.cli.phase_diagram import phase_diagram
from varflow.cli.predict import predict
from varflow.cli.simulate import simulate
from varflow.cli.terminal import run
from varflow.cli.validate import validate

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
      varflow lookup --threshold 1 --fan-in 512    one gain, and what to expect of it
      varflow predict --threshold 1 --width 600    the exact law, layer by layer
      varflow phase-diagram                        which thresholds a width carries
      varflow validate                             theory against simulation, half a minute

    Each command has --help and --json.
    """


for command in (lookup, fixed_points, predict, simulate, validate, phase_diagram, catalogue, audit):
    app.command(command.__name__.replace("_", "-"))(command)


def main() -> None:
    """Entry point of ``varflow`` and ``python -m varflow``."""
    run(app)
