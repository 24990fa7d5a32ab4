"""Input and output of the commands: options are read, results printed, files written, errors worded."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

import typer

from varflow import DomainError, VarflowError
from varflow._checks import require
from varflow._files import replace_files
from varflow._process import BAD_INPUT, INTERRUPTED, finishing, run_command

UsageError: Any = typer.BadParameter.__bases__[0]  # click's, or typer's own copy in newer versions
PICTURES = (".png", ".pdf", ".svg")
OPTION_OF = {"df": "distribution", "path": "drive", "x": "drive"}  # arguments whose option has another name


class Stopped(Exception):
    """Ctrl-C, with a message; none if the result was shown."""


def _reader(kind: Callable[[str], Any], rule: str) -> Callable[[Any], Any]:
    def read(text: Any) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise typer.BadParameter(f"{_shown(text)} {rule}") from None

    return read


def option(what: str, metavar: str, *names: str) -> Any:
    """A text option."""
    return typer.Option(*names, help=what, metavar=metavar)


def real(what: str, metavar: str) -> Any:
    """A number option."""
    return typer.Option(help=what, metavar=metavar, parser=_reader(float, "must be a number"))


def whole(what: str, metavar: str) -> Any:
    """An integer option."""
    return typer.Option(help=what, metavar=metavar, parser=_reader(int, "must be a whole number"))


def result_json(result: Any, warnings: Iterable[str], **more: Any) -> str:
    """A result and its warnings as one JSON object (without NaN, which JSON lacks)."""
    return json.dumps(result.to_dict() | more | {"warnings": list(warnings)}, ensure_ascii=False, allow_nan=False)


def show(result: Any, as_json: bool, warnings: Iterable[str] = (), *, in_table: bool = False, **more: Any) -> None:
    """Print one JSON object or a table; warnings go to stderr, unless they are in the table."""
    if as_json:
        print(result_json(result, warnings, **more))
    else:
        print("\n".join([*(f"{name} {value:.8g}" for name, value in more.items()), repr(result)]))
    if as_json or not in_table:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)


def bar(as_json: bool) -> bool:
    """True if progress is drawn on stderr: where a person reads it."""
    return not as_json and sys.stderr.isatty()


def check_folder(folder: Path, *names: str, argument: str = "out") -> None:
    """Raise before the work if the folder cannot be written; nothing is created yet."""
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=existing).close()
        taken = [name for name in names if (folder / name).is_dir()]
    except OSError as error:
        at = folder / names[0] if len(names) == 1 else folder
        raise DomainError(argument, str(at), f"cannot be written: {error.strerror or error}") from None
    if taken:
        raise DomainError(argument, str(folder), f"cannot be written: {taken[0]} is a folder there")


def check_picture(path: Path, argument: str) -> str:
    """The format of a picture by its suffix; DomainError for another suffix or a missing folder; needs matplotlib."""
    if path.suffix.lower() not in PICTURES:
        raise DomainError(argument, str(path), f"must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
    check_folder(path.parent, path.name, argument=argument)
    if not path.parent.exists():
        raise DomainError(argument, str(path), f"cannot be written: the folder {path.parent} does not exist")
    require("plot", "matplotlib.figure")
    return path.suffix.lower().removeprefix(".")


def deliver(
    result: Any, as_json: bool, files: Mapping[Path, str | bytes], warnings: Iterable[str] = (), *, argument: str = "out"
) -> None:
    """Write a result and print it; if one fails (full disk, closed pipe), the other still happens."""
    with finishing():
        try:
            replace_files(files)
        except OSError as error:
            (at,) = {path.parent for path in files} if argument == "out" else files
            raise DomainError(argument, str(at), f"cannot be written: {error.strerror or error}") from None
        finally:
            show(result, as_json, warnings)
        if files and not as_json:
            print(f"written: {', '.join(map(str, files))}")


def run(app: typer.Typer) -> NoReturn:
    """Run the command line; bad input gives one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without θ shows \u03b8, valid in JSON too
    run_command("varflow", partial(_outcome, app))


@cache
def _command(app: typer.Typer) -> Any:
    """The click command of a command line: building it from signatures takes longer than to run most of its functions."""
    return typer.main.get_command(app)


def _outcome(app: typer.Typer) -> tuple[str, int]:
    """The final message, and the exit code."""
    try:
        code = _command(app)(sys.argv[1:] or ["--help"], prog_name="varflow", standalone_mode=False)
        if code == INTERRUPTED:  # Ctrl-C in newer versions of typer; older ones abort
            raise KeyboardInterrupt
        return "", code or 0
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Stopped as stop:
        return str(stop), INTERRUPTED
    except UsageError as error:
        return _usage(error), BAD_INPUT
    except Exception as error:
        if str(error) == "can't start new thread":
            return "the system allows no further thread", BAD_INPUT
        if not isinstance(error, VarflowError):
            raise
        return _domain(app, error) if isinstance(error, DomainError) else str(error), BAD_INPUT


def _usage(error: Any) -> str:
    """The message for an option that cannot be read."""
    option = getattr(getattr(error, "param", None), "opts", [""])[0]
    if option.startswith("--"):
        return f"{option} {error.message}" if error.message else f"{option} is missing"
    return " ".join(error.format_message().split())


def _domain(app: typer.Typer, error: Any) -> str:
    """The message of a DomainError, in terms of the option."""
    command = _command(app).commands[sys.argv[1]]
    argument: str = error.argument
    option = "--" + OPTION_OF.get(argument, argument).replace("_", "-")
    if all(option not in parameter.opts for parameter in command.params):
        return str(error)
    return " ".join(word for word in (option, _shown(error.value), error.rule) if word)


def _shown(value: Any) -> str:
    """A value as it is typed."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(_shown(item) for item in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = " ".join(str(value).split())
    return text if text == str(value) and text else repr(value)
