"""``varflow audit``: the one command that runs a user's own code, which makes the model to be audited."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from varflow.cli import options as opt
from varflow.cli.terminal import show, whole

__all__ = ["audit"]


def audit(
    factory: Annotated[
        str, typer.Argument(help="A function without arguments that returns (model, inputs).", metavar="MODULE:NAME")
    ],
    steps: Annotated[int | None, whole("Call the model this many times; default: it loops in time itself.", "T")] = None,
    as_json: opt.Json = False,
) -> None:
    """Which layers of a model fire, and why one is dead.

    Exit code 0 if the network is healthy, 1 if it is not. The module is looked for in this folder first; it is run.

    \b
    Examples:
      varflow audit my_package.training:model_and_batch
      varflow audit train:make --steps 20 --json
    """
    import varflow as vf

    model, inputs = _made(factory)
    report = vf.audit(model, inputs, steps=steps)
    show(report, as_json)
    raise typer.Exit(0 if report.healthy else 1)


def _made(factory: str) -> tuple[Any, Any]:
    """What the user's function returns, or what is wrong with it in one line."""
    from varflow import DomainError

    module, _, name = factory.partition(":")
    if not module or not name:
        raise DomainError("factory", factory, "must be MODULE:NAME, as in my_package.training:model_and_batch")
    if module.endswith(".py"):
        parts = Path(module).with_suffix("").parts
        dotted = parts[-1] if Path(module).is_absolute() or ".." in parts else ".".join(parts)
        raise DomainError("factory", factory, f"names a file; name its module, {dotted}:{name}, from the folder it is in")
    sys.path.insert(0, "")
    try:
        named = getattr(import_module(module), name)
        wrong = _no_function(named)
        made = None if wrong else named()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DomainError("factory", factory, f"cannot be run: {reason}") from error
    finally:
        sys.path.remove("")
    if wrong:
        raise DomainError("factory", factory, f"{wrong}; name a function that returns (model, inputs)")
    if not isinstance(made, tuple) or len(made) != 2:
        raise DomainError("factory", factory, f"must return (model, inputs), not a {type(made).__name__}")
    return made


def _no_function(named: Any) -> str:
    """What a thing is that cannot be called for a model and its inputs; nothing of one that can."""
    torch = sys.modules.get("torch")  # a model's module has loaded it
    if torch is not None and isinstance(named, torch.nn.Module):
        return "is a model"
    return "" if callable(named) else f"is of type {type(named).__name__}"
