"""Display of results: a table as text in a terminal and as HTML in a notebook, and fractions as per cent.

The HTML has no colours or scripts, so that it follows the notebook's theme.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from os.path import commonprefix
from shutil import get_terminal_size
from textwrap import fill, shorten
from typing import Any, ClassVar

from varflow._figures import draw

NUMBER = re.compile(r"[-+±]?\s?(\d|inf|nan)[\d.e+-]*( ± [\d.e+-]+)?\s?%?")


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction in per cent with significant digits of it or of its complement, whichever is smaller: 3.1 %, 99.98 %."""
    if fraction < 0.9:
        return f"{100 * fraction:.{digits}g} %"
    return f"{100 - float(f'{100 * (1 - fraction):.{digits}g}'):.15g} %"


def measured(value: float, form: str = ".4g") -> str:
    """A number as text; a dash for one that is not known, or not finite."""
    return f"{value:{form}}" if math.isfinite(value) else "–"


def plus_minus(std: float | None, form: str = ".2g") -> str:
    """`` ± 0.01``; empty without a spread, or if it is not known."""
    return f" ± {std:{form}}" if std and math.isfinite(std) else ""


def several(number: int, what: str) -> str:
    """``1 step``, ``2 steps``."""
    return f"{number} {what}{'s' if number != 1 else ''}"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells already written as text.

    Attributes
    ----------
    title : str
    rows : sequence of sequence of str
    header : sequence of str
        Column names; empty for a list of names and values.
    notes : sequence of str
        Sentences below the table.
    bullet : str
        Put before each note in text.
    dispensable : sequence of str
        Columns that are left out of text, in this order, as long as it is wider than the terminal.
    """

    title: str
    rows: Sequence[Sequence[str]]
    header: Sequence[str] = ()
    notes: Sequence[str] = ()
    bullet: str = ""
    dispensable: Sequence[str] = ()

    def text(self) -> str:
        """The table as wide as the terminal, or 80 letters: numbers to the right, words to the left, notes wrapped."""
        width, columns, left_out = get_terminal_size().columns, self._columns(), []
        for name in self.dispensable:
            if _width(columns) > width and name in self.header:
                columns = [column for column in columns if column[0] != name]
                left_out.append(name)
        rows = zip(*map(_aligned, columns), strict=True)
        lines = ["  ".join(cells).rstrip() for cells in rows if len(cells) == 1 or "".join(cells[1:]).strip()]
        wider = [f"a wider terminal also shows: {', '.join(left_out)}"] if left_out else []
        notes = [wrapped(self.bullet + note, width, len(self.bullet)) for note in (*self.notes, *wider)]
        return "\n".join([wrapped(self.title, width, 4), *(line if self.header else f"  {line}" for line in lines), *notes])

    def _columns(self) -> list[Sequence[str]]:
        return list(zip(*((self.header, *self.rows) if self.header else self.rows), strict=True))

    def html(self) -> str:
        head = f"<thead><tr>{''.join(_cell('th', name, 'col') for name in self.header)}</tr></thead>" if self.header else ""
        body = "".join(f"<tr>{self._html_row(row)}</tr>" for row in self.rows)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        caption = f'<caption style="text-align: left">{escape(self.title)}</caption>'
        return f"<div><table>{caption}{head}<tbody>{body}</tbody></table>{notes}</div>"

    def _html_row(self, row: Sequence[str]) -> str:
        first = _cell("td", row[0]) if self.header else _cell("th", row[0], "row")
        return first + "".join(_cell("td", cell) for cell in row[1:])


class Shown:
    """A result that prints as its table."""

    __slots__ = ()

    def _table(self) -> Table:
        """Names and values of the fields, of a result without a table of its own."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # pyright: ignore[reportArgumentType]
        words = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in values.items()}
        return Table(type(self).__name__, [(name, shorten(text, 50, placeholder=" …")) for name, text in words.items()])

    def __repr__(self) -> str:
        return self._table().text()

    def _repr_html_(self) -> str:
        return self._table().html()


class Drawn(Shown):
    """A result that has a figure."""

    __slots__ = ()

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """The figure of the result, a matplotlib Figure; of one that fits into given ``ax``, matplotlib Axes.

        What it shows, and its options, say the functions of :mod:`varflow.plots`, one for each type of result.
        """
        return draw(self, **options if ax is None else {"ax": ax} | options)


class Listed(Shown):
    """A result of few numbers: one line of text, in a notebook a list of names and values.

    ``listed``: the format of each number shown; behind it stands its standard deviation ``…_std``, if there is one.
    """

    __slots__ = ()
    listed: ClassVar[Mapping[str, str]]

    def _parts(self) -> list[tuple[str, str]]:
        behind = {name: plus_minus(getattr(self, f"{name}_std", None)) for name in self.listed}
        return [(name, format(getattr(self, name), layout) + behind[name]) for name, layout in self.listed.items()]

    def _table(self) -> Table:
        return Table(type(self).__name__, self._parts())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={text}' for name, text in self._parts())})"


def without_path(rows: Sequence[tuple[str, ...]], columns: int) -> tuple[str, list[tuple[str, ...]]]:
    """The path that names of modules in the first columns share, as ``" in path"``, and the rows without it."""
    path, dot, _ = commonprefix([name for row in rows for name in row[:columns]]).rpartition(".")  # noqa: RUF071
    short = [(*(name.removeprefix(path + dot) for name in row[:columns]), *row[columns:]) for row in rows]
    return f" in {path}" if path else "", short


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) + 2 for column in columns) - 2


def _aligned(column: Sequence[str]) -> list[str]:
    size = max(map(len, column))
    return [cell.rjust(size) if any(map(NUMBER.fullmatch, column)) else cell.ljust(size) for cell in column]


def wrapped(sentence: str, width: int, indent: int) -> str:
    """The sentence in lines of at most this many columns, the second and later ones indented."""
    return fill(sentence, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _cell(tag: str, text: str, scope: str = "") -> str:
    attribute = f' scope="{scope}"' if scope else ""
    return f"<{tag}{attribute}>{escape(text)}</{tag}>"
