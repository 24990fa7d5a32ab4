"""Between the commands and the terminal: options are read, results shown, files written, refusals worded.

What is asked and answered is the business of the commands.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import typer

__all__ = ["Stopped", "check_folder", "check_picture", "option", "real", "result_json", "run", "show", "whole", "write"]

UsageError: Any = typer.BadParameter.__bases__[0]  # typer carries click's exceptions inside from 0.2x on; this finds either
PICTURES = (".png", ".pdf", ".svg")
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
OPTION_OF = {"df": "distribution", "path": "drive", "x": "drive"}  # where an argument is not the option it came from


class Stopped(Exception):
    """Ctrl-C, with what is left to say about it: nothing where the result was shown."""


def _reader(kind: Callable[[str], Any], rule: str) -> Callable[[Any], Any]:
    def read(text: Any) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise typer.BadParameter(f"{_shown(text)} {rule}") from None

    return read


def option(what: str, metavar: str, *names: str) -> Any:
    """An option that takes text."""
    return typer.Option(*names, help=what, metavar=metavar)


def real(what: str, metavar: str) -> Any:
    """An option that takes a number, and says so where it gets another thing."""
    return typer.Option(help=what, metavar=metavar, parser=_reader(float, "must be a number"))


def whole(what: str, metavar: str) -> Any:
    """An option that takes a whole number."""
    return typer.Option(help=what, metavar=metavar, parser=_reader(int, "must be a whole number"))


def result_json(result: Any, warnings: Iterable[str], **more: Any) -> str:
    """A result and its warnings as one JSON object; NaN is not JSON and must not be there."""
    return json.dumps(result.to_dict() | more | {"warnings": list(warnings)}, ensure_ascii=False, allow_nan=False)


def show(result: Any, as_json: bool, warnings: Iterable[str] = (), *, in_table: bool = False, **more: Any) -> None:
    """One JSON object or a table on stdout; warnings on stderr, unless the table has them."""
    if as_json:
        print(result_json(result, warnings, **more))
    else:
        print("\n".join([*(f"{name} {value:.8g}" for name, value in more.items()), repr(result)]))
    if as_json or not in_table:
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)


def check_folder(folder: Path, *names: str, argument: str = "out") -> None:
    """Refuse before the work, not after it; nothing is made yet."""
    from varflow import DomainError

    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=existing).close()
        taken = [name for name in names if (folder / name).is_dir()]
    except OSError as error:
        raise DomainError(argument, str(folder), f"cannot be written: {error.strerror or error}") from None
    if taken:
        raise DomainError(argument, str(folder), f"cannot be written: {taken[0]} is a folder there")


def check_picture(path: Path, argument: str) -> str:
    """The format that a picture's name asks for; names without one and folders that do not exist are refused."""
    from varflow import DomainError

    if path.suffix.lower() not in PICTURES:
        raise DomainError(argument, str(path), f"must end in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}")
    if not path.parent.exists():
        raise DomainError(argument, str(path), f"cannot be written: the folder {path.parent} does not exist")
    check_folder(path.parent, path.name, argument=argument)
    return path.suffix.lower().removeprefix(".")


def write(folder: Path, files: dict[str, bytes], argument: str = "out") -> None:
    """All files or none of them."""
    from varflow import DomainError

    partial = {folder / f"{name}.partial": content for name, content in files.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in partial.items():
            path.write_bytes(content)
        for path in partial:
            path.replace(path.with_suffix(""))
    except OSError as error:
        raise DomainError(argument, str(folder), f"cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            for path in partial:
                path.unlink(missing_ok=True)


def run(app: typer.Typer) -> NoReturn:
    """Run the command line: every refusal is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without θ shows \u03b8, valid in JSON too
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="varflow", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # what newer versions of typer make of Ctrl-C; older ones abort
            raise KeyboardInterrupt
    except (KeyboardInterrupt, typer.Abort):
        _refuse("interrupted", INTERRUPTED)
    except Stopped as stop:
        _refuse(str(stop), INTERRUPTED)
    except UsageError as error:
        _refuse(_usage(error), 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter's last flush is quiet
        code = 1
    except Exception as error:
        from varflow import DomainError, VarflowError

        if not isinstance(error, VarflowError):
            raise
        _refuse(_domain(app, error) if isinstance(error, DomainError) else str(error), 2)
    sys.exit(code or 0)


def _refuse(message: str, code: int) -> NoReturn:
    if message:
        print(f"varflow: {message}", file=sys.stderr)
    sys.exit(code)


def _usage(error: Any) -> str:
    """An option that cannot be read, in the words of those that can."""
    option = getattr(getattr(error, "param", None), "opts", [""])[0]
    if option.startswith("--"):
        return f"{option} {error.message}" if error.message else f"{option} is missing"
    return " ".join(error.format_message().split())


def _domain(app: typer.Typer, error: Any) -> str:
    """A refusal of the library, by the option the value came in."""
    command = typer.main.get_command(app).commands[sys.argv[1]]  # pyright: ignore[reportAttributeAccessIssue]
    argument: str = error.argument
    option = "--" + OPTION_OF.get(argument, argument).replace("_", "-")
    if all(option not in parameter.opts for parameter in command.params):
        return str(error)
    return " ".join(part for part in (option, _shown(error.value), error.rule) if part)


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
