"""``varflow audit``, the only command that runs a user's code: a function that makes the model."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from sysconfig import get_path
from typing import Annotated, Any

import typer

import varflow as vf
from varflow.cli import options as opt


def audit(
    factory: Annotated[
        str, typer.Argument(help="A function that returns (model, inputs), or a NIR file.", metavar="MODULE:NAME | FILE.nir")
    ],
    steps: Annotated[
        int | None, opt.whole("Call the model this often; default: once, if it loops over time itself.", "T")
    ] = None,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Measure a backward pass too: which gradients arrive.")
    ] = False,
    optimizer: Annotated[
        str | None, opt.option("Measure the next step of an optimiser of torch.optim too: adam, adamw, sgd, …", "NAME")
    ] = None,
    learning_rate: Annotated[float | None, opt.real("Learning rate of --optimizer; default: torch's.", "η")] = None,
    bits: Annotated[int | None, opt.whole("Predict the layers with weights of so many bits too.", "BITS")] = None,
    inputs: Annotated[str | None, opt.option("Inputs for a NIR file, as .npy, .npz or .csv; default: ones.", "FILE")] = None,
    library: Annotated[
        str | None, opt.option("Conventions for a NIR file: snntorch, norse, sinabs or nir (default).", "NAME")
    ] = None,
    dt: Annotated[float | None, opt.real("Length of a step for a NIR file; default: the library's.", "SECONDS")] = None,
    as_json: opt.Json = False,
) -> None:
    """Tell which layers of a model fire, and why one is dead.

    \b
    Examples:
      varflow audit my_package.training:model_and_batch
      varflow audit train:make --steps 20 --json
      varflow audit train:make --optimizer adam --learning-rate 1e-3
      varflow audit network.nir --inputs x.npy --steps 50 --library norse

    The exit code is 0 if the network is healthy, 1 if not, and 2 if the model cannot be made or run. The module is looked
    for in the current folder first. With --json, everything that it prints goes to stderr. For --optimizer the function
    returns (model, inputs, loss), or (model, inputs, loss, targets) if the loss needs targets.
    """
    path = sys.path
    sys.path = ["", *path]
    try:
        if factory.endswith(".nir"):
            x = None if inputs is None else vf.drives.inputs_from_file(inputs).x
            made, steps = (vf.read_nir(factory, x, steps=steps, dt=dt, library=library or "nir"),), None
        else:
            opt.refuse("is of NIR files", inputs=inputs, library=library, dt=dt)
            made = _made(factory, as_json, 2 if optimizer is None else 4)
        run = partial(vf.audit, steps=steps, gradients=gradients, bits=bits, progress=opt.bar(as_json))
        names = ("model", "inputs", "loss", "targets")[: len(made)]
        run = partial(run, **dict(zip(names, made, strict=True)), optimizer=_optimizer(made[0], optimizer, learning_rate))
        report = _result(run, factory, as_json, "makes a model that cannot be run", passed_on=vf.VarflowError)
    finally:
        sys.path = path
    opt.show(report, as_json)
    if len(report.fixes) > 1 and not as_json:
        print("All of .fixes:", *(f"  {report.remedy(name)}" for name in report.fixes), sep="\n")
    raise typer.Exit(0 if report.healthy else 1)


@contextmanager
def _redirected(as_json: bool) -> Iterator[None]:
    """A context in which the user's code prints, with JSON to stderr. Afterwards streams are as before."""
    sys.stdout.flush()
    stdout = os.dup(1)  # system calls and other programs print there
    if as_json:
        os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr if as_json else sys.stdout), redirect_stderr(sys.stderr):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _optimizer(model: Any, name: str | None, rate: float | None) -> Any:
    """An optimiser of torch by its name, in small letters or its own."""
    if name is None:
        return opt.refuse("is the rate of --optimizer", learning_rate=rate) if rate is not None else None
    torch = sys.modules.get("torch")  # loaded by the model's module
    kinds = {} if torch is None else {key.lower(): kind for key, kind in vars(torch.optim).items() if isinstance(kind, type)}
    if name.lower() not in kinds.keys() - {"optimizer"}:
        raise vf.DomainError("optimizer", name, "is no optimiser of torch.optim: adam, adamw, sgd, …")
    return kinds[name.lower()](model.parameters(), **({} if rate is None else {"lr": rate}))


def _made(factory: str, as_json: bool, most: int) -> tuple[Any, ...]:
    """Model, inputs and more, at most so many in all, that the user's function returns; DomainError in one line if it fails."""
    module, _, name = factory.partition(":")
    if not module or not name:
        raise vf.DomainError("factory", factory, "must be MODULE:NAME, as in my_package.training:model_and_batch")
    if module.endswith(".py"):
        parts = Path(module).with_suffix("").parts
        dotted = parts[-1] if Path(module).is_absolute() or ".." in parts else ".".join(parts)
        raise vf.DomainError("factory", factory, f"names a file; give its module, {dotted}:{name}, from its folder")
    named = _result(lambda: getattr(import_module(module), name), factory, as_json, "cannot be run")
    if wrong := _no_function(named):
        raise vf.DomainError("factory", factory, f"{wrong}; name a function that returns (model, inputs)")
    made = _result(named, factory, as_json, "cannot be run")
    if not isinstance(made, tuple) or not 2 <= len(made) <= most:
        raise vf.DomainError("factory", factory, f"must return (model, inputs), not a {type(made).__name__}")
    return made


def _result(code: Callable[[], Any], factory: str, as_json: bool, trouble: str, passed_on: Any = ()) -> Any:
    """The value that the user's code returns; an error or exit becomes a DomainError in one line."""
    with _redirected(as_json):
        try:
            return code()
        except passed_on as error:
            cause = error.__cause__
            if cause is None or isinstance(cause, vf.VarflowError) or not isinstance(error, vf.DomainError):
                raise
            at = f" ({type(cause).__name__}: {_line_of(cause)})"
            raise vf.DomainError(error.argument, error.value, error.rule + at) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            reason = " ".join("".join(traceback.format_exception_only(error)).split())
            raise vf.DomainError("factory", factory, f"{trouble}: {reason} ({_line_of(error)})") from error


def _line_of(error: BaseException) -> str:
    """The innermost line of the user's code (not of a library below it, nor of varflow above it)."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = {get_path("stdlib"), get_path("purelib"), get_path("platlib"), str(Path(__file__).parents[1])}
    theirs = [frame for frame in frames if not frame.filename.startswith(("<", *(path + os.sep for path in libraries)))]
    return "".join(f"{Path(at.filename).name}, line {at.lineno}, in {at.name}" for at in (theirs or frames)[-1:])


def _no_function(named: Any) -> str:
    """Words for an object that is no function returning a model; empty if it may be one."""
    torch = sys.modules.get("torch")  # loaded by the model's module
    if torch is not None and isinstance(named, torch.nn.Module):
        return "is a model"
    return "" if callable(named) else f"is of type {type(named).__name__}"
