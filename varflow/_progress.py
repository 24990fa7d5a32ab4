"""Progress of a long run: none, a bar on stderr, or a function of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from varflow._checks import DomainError

Progress = bool | Callable[[int, int], object]
Report = Callable[[int], object]  # of how many are done


def check_progress(progress: object) -> None:
    """Raise unless ``progress`` is a bool or a function."""
    if not isinstance(progress, bool) and not callable(progress):
        raise DomainError("progress", progress, "must be True, False or a function of (done, total)")


@contextmanager
def reporter(progress: Progress, total: int, what: str) -> Iterator[Report]:
    """A context with a function that reports how many are done."""
    if progress is False:
        yield unreported
    elif progress is True:
        from rich import progress as rich_progress
        from rich.console import Console

        columns = (*rich_progress.Progress.get_default_columns(), rich_progress.MofNCompleteColumn())
        with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield lambda done: progress(done, total)


def counted(report: Report, most: int) -> Report:
    """A report of how often it was called, and at ``most`` so often, for work of which the parts are not known before."""
    calls = count(1)
    return lambda done: report(min(next(calls), most))


def unreported(done: int) -> None:
    """Do nothing: the report of a computation whose progress nobody watches."""


def beyond(report: Report, start: int) -> Report:
    """The report of a part of the work that begins when ``start`` are done."""
    return lambda done: report(start + done)
