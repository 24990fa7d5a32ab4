"""The report as one web page: no script, no file beside it; figures are drawn into it.

Every text of the results is escaped once, when they come in; figures are drawn before, and escape their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from validation import figures
from validation.claim import Result
from validation.envelope import Envelope
from validation.report import Examined, how_to_read, percent, probability, setting, unsupported, value, verdicts
from validation.uniformity import LEVELS

__all__ = ["webpage"]

STYLE = Path(__file__).with_name("webpage.css")
WIDE = "<div class=wide tabindex=0>"  # scrolls, also by keyboard
STRONG = 4.0  # standard errors at which a cell has its full colour


def webpage(examined: Examined, envelopes: Mapping[str, Envelope] | None = None) -> str:
    """HTML of the same content as ``report.page``, with figures, the deviations of all points and the envelopes."""
    drawn = {escape(result.claim): _drawings(result, (envelopes or {}).get(result.claim)) for result in examined.told}
    power = figures.power(examined.told)
    examined, known = escaped(examined), escaped(envelopes or {})
    results, made = examined.told, examined.made
    parts = [
        f"<header><p class=kicker>varflow · validation</p><h1>{verdicts(made)}</h1>",
        f"<p>Made by <code>{examined.command}</code>. {setting(made)}{examined.left_out}</p></header>",
        *([f"<section><h2>What does not hold</h2>{_blocks(failed)}</section>"] if (failed := unsupported(results)) else []),
        f"<section>{_table(results, known)}</section>",
        f"<section><h2>Every point</h2>{_cells(results)}</section>",
        f"<section><h2>How small an error would be caught</h2>{_figure(power, POWER)}</section>",
        f"<section><h2>How to read this page</h2>{_blocks(how_to_read(results))}</section>",
        *(_claim(result, drawn[result.claim]) for result in results),
        "<footer><p>All numbers are in the JSON files of the claims.</p></footer>",
    ]
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        '<meta name="color-scheme" content="light dark"><title>varflow: validation report</title>'
    )
    style = f"<style>\n{STYLE.read_text(encoding='utf-8')}</style></head>"
    return "\n".join([head + style, "<body>", *parts, "</body></html>", ""])


def escaped(found: Any) -> Any:
    """The same, with every text in it escaped."""
    if isinstance(found, str):
        return escape(found)
    if isinstance(found, Mapping):
        return {escape(name): escaped(each) for name, each in found.items()}
    if isinstance(found, Collection):
        return [escaped(each) for each in found]
    if is_dataclass(found) and not isinstance(found, type):
        return replace(found, **{field.name: escaped(getattr(found, field.name)) for field in fields(found)})
    return found


def _drawings(result: Result, found: Envelope | None) -> dict[str, str]:
    """The figures of a claim, by the caption that each has."""
    over_layers = bool(figures.curves(result.points))
    drawn = {CURVES if over_layers else VALUES: figures.values(result)}
    drawn |= {} if over_layers else {DEVIATIONS: figures.deviations(result)}
    return drawn | ({} if found is None else {escape(_told(found)): figures.envelope(found)})


POWER = (
    "Each dot is one kind of error. Simulations of networks with an error of this size, of either sign, are rejected in at "
    "least 99 of 100 draws."
)
VALUES = "Theory (bar), simulation (dot, ± 1 standard error), and wrong theories that must be rejected (crosses)."
CURVES = "Theory (lines), simulation (dots, ± 1 standard error), and wrong theories that must be rejected (dashed)."
SCORES = "The deviations, in standard errors. The verdict takes all layers and quantities together."
DEVIATIONS = (
    "The same as deviations of the simulation from each theory, with bands of 1 and 2 standard errors; those above 300 "
    "stand at the edge. A deviation within the bias that a claim allows counts as 0. The verdict takes all points together."
)


def _table(results: Sequence[Result], envelopes: Mapping[str, Envelope]) -> str:
    head = "".join(
        f"<th scope=col>{name}</th>"
        for name in ("claim", "verdict", "p", "false alarm", "smallest error caught", "controls rejected", "p-values")
    )
    rows = []
    for result in results:
        controls = [result.negative_control, *result.further_controls]
        cells = (
            _badge(result),
            f"{result.p_value:.2g}",
            f"{result.false_alarm:g}",
            percent(result.smallest_detectable_error["relative_size"]),
            f"{sum(control['rejected'] for control in controls)} of {len(controls)}",
            _calibration(envelopes.get(result.claim)),
        )
        link = f'<th scope=row><a href="#{_id(result)}">{result.claim}</a></th>'
        rows.append(f"<tr>{link}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"{WIDE}<table class=data><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _calibration(found: Envelope | None) -> str:
    if found is None:
        return "–"
    return "<b class=problem>not as stated</b>" if found.problems else found.calibration


def _badge(result: Result) -> str:
    return f'<span class="badge {result.verdict}">{result.told}</span>'


def _id(result: Result) -> str:
    return result.claim.replace(", ", "-")


def _cells(results: Sequence[Result]) -> str:
    """A row of cells per claim, coloured by the deviation; each tells its point when pointed at."""
    rows = []
    for result in results:
        cells = "".join(_cell(*point) for point in zip(result.points, result.z, strict=True))
        link = f'<a href="#{_id(result)}">{result.claim}</a>'
        rows.append(f"<div class=strip><div class=name>{link}</div><div class=cells>{cells}</div></div>")
    scale = "".join(_cell(f"{z:+g} standard errors", z) for z in (-4, -3, -2, -1, 0, 1, 2, 3, 4))
    legend = f"<div class=strip><div class=name>simulated less theory</div><div class=cells>−4 {scale} +4</div></div>"
    told = "One cell per point, coloured by its deviation in standard errors; point at a cell to see which it is."
    return f"<p>{told}</p><div class=heat>{''.join(rows)}{legend}</div>"


def _cell(point: str, z: float | None) -> str:
    side, strength = _colour(z)
    return f'<i class={side} style="--z:{strength:.0f}%" title="{point}: z = {value(z)}"></i>'


def _colour(z: float | None) -> tuple[str, float]:
    """Class and strength, in per cent, of the colour of a deviation; full for one that is not finite."""
    return "above" if (z or 0.0) > 0 else "below", 100.0 if z is None else min(100 * abs(z) / STRONG, 100.0)


def _claim(result: Result, drawn: Mapping[str, str]) -> str:
    pictures = [_figure(drawing, caption) for caption, drawing in drawn.items()]
    pictures[1:1] = _scores(result)
    lines = result.reading.splitlines()
    text, table = ([line for line in lines if line.startswith("|") is there] for there in (False, True))
    return (
        f'<section class=claim id="{_id(result)}"><h2>{result.claim} {_badge(result)}</h2>'
        f"<p class=statement>{result.statement}</p>{_blocks(text)}"
        f"<div class=figures>{''.join(pictures)}<div class=side>{_controls(result)}</div></div>{_blocks(table)}</section>"
    )


def _scores(result: Result) -> list[str]:
    """A table of deviations over layers, where points are layers of a few curves."""
    curves = figures.curves(result.points)
    if not curves:
        return []
    layers = sorted({layer for places in curves.values() for layer in places})
    head = "".join(f"<th scope=col>{layer}</th>" for layer in layers)
    rows = []
    for name, places in curves.items():
        cells = "".join(_score(result.z[places[layer]] if layer in places else None) for layer in layers)
        rows.append(f"<tr><th scope=row>{name}</th>{cells}</tr>")
    head = f"<thead><tr><th scope=col>layer</th>{head}</tr></thead>"
    table = f"{WIDE}<table class=scores>{head}<tbody>{''.join(rows)}</tbody></table></div>"
    return [_figure(table, SCORES)]


def _score(z: float | None) -> str:
    side, strength = _colour(z)
    return f'<td class="score {side}" style="--z:{strength:.0f}%">{_signed(z)}</td>'


def _signed(z: float | None) -> str:
    return "–" if z is None else "0.0" if abs(z) < 0.05 else f"{z:+.1f}".replace("-", "−")


def _controls(result: Result) -> str:
    """The wrong theories and their p-values; what was caught, and how."""
    rows = "".join(
        f"<tr><td>{control['what']}</td><td>{escape(probability(control['p_value']).removeprefix('p = '))}</td>"
        f"<td>{'rejected' if control['rejected'] else '<b class=problem>not rejected</b>'}</td></tr>"
        for control in (result.negative_control, *result.further_controls)
    )
    sizes = [f"{e['what']} {percent(e['relative_size'])}" for e in result.smallest_detectable_error["each"]]
    return (
        f"{WIDE}<table><thead><tr><th scope=col>wrong theory</th><th scope=col>p</th><th scope=col>verdict</th></tr>"
        f"</thead><tbody>{rows}</tbody></table></div><p class=note>Smallest errors caught: {'; '.join(sizes)}.</p>"
        f"<p class=note>Source: {result.source}.</p>"
        f"<p class=note>Budget {result.budget}, seed {result.seed}, {result.seconds:g} s.</p>"
    )


def _told(found: Envelope) -> str:
    """The envelope in words."""
    larger = [level for level in (0.01, 0.05, 0.1) if level > found.false_alarm]
    names = [f"{found.drawn[LEVELS.tolist().index(level)]} at {level:g}" for level in larger]
    words = [
        f"Distribution function of p-values less that of uniform ones: {found.redraws} measurements drawn from the theory "
        f"(line, with its band) and {found.seeds} simulations (thin line; dotted, its upper limit), at cheap settings. Of the "
        f"drawn ones {found.false_alarms} are rejected at {found.false_alarm:g}, {', '.join(names)}."
    ]
    words += [f"Conservative: {found.conservative}."] * bool(found.conservative)
    words += [f"Draws leave out that {found.dependent}."] * bool(found.dependent)
    words += [f"Problem: {'; '.join(found.problems)}."] * bool(found.problems)
    return " ".join(words)


def _figure(drawing: str, caption: str) -> str:
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def _blocks(lines: Sequence[str]) -> str:
    """Paragraphs, lists and tables of the Markdown report."""
    html, rows, items = [], [], []
    for line in [*lines, ""]:
        if line.startswith("|"):
            rows.append([_inline(cell.strip()) for cell in line.strip("|").split("|")])
        elif line.startswith("- "):
            items.append(f"<li>{_inline(line[2:])}</li>")
        else:
            if rows:
                html.append(_markdown_table(rows))
            if items:
                html.append(f"<ul>{''.join(items)}</ul>")
            rows, items = [], []
            html += [f"<p>{_inline(line)}</p>"] * bool(line.strip())
    return "".join(html)


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    head, _, *body = rows
    heads = "".join(f"<th scope=col>{cell}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in body)
    return f"{WIDE}<table class=data><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>"


def _inline(text: str) -> str:
    """``**bold**``, ``*emphasis*`` and code."""
    for mark, tag in (("**", "b"), ("*", "em"), ("`", "code")):
        pieces = text.split(mark)
        text = "".join(piece if i % 2 == 0 else f"<{tag}>{piece}</{tag}>" for i, piece in enumerate(pieces))
    return text
