"""The one-page report, made from the results alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from validation.claim import FAILS, HOLDS, INCONCLUSIVE, Result
from validation.controls import MARGIN

__all__ = ["Examined", "how_to_read", "page", "percent", "probability", "setting", "unsupported", "value", "verdicts"]


@dataclass(frozen=True, slots=True)
class Examined:
    """The content of a report: results, and how they came about.

    Attributes
    ----------
    command : str
        That made them.
    missing, why
        The claims that were not examined, and the reason.
    longer
        Results of the long budget.
    new
        The claims examined by this command, by default all; the others are from earlier runs.
    """

    results: Sequence[Result]
    command: str
    missing: Sequence[str] = ()
    why: str = "Stopped early"
    longer: Sequence[Result] = ()
    new: Collection[str] | None = None

    @property
    def made(self) -> list[Result]:
        """The results of this command."""
        return [result for result in self.results if self.new is None or result.claim in self.new]

    @property
    def told(self) -> list[Result]:
        """All results, those of the long budget named so."""
        return [*self.results, *(replace(result, claim=f"{result.claim}, long") for result in self.longer)]

    @property
    def left_out(self) -> str:
        return f" {self.why}: {', '.join(self.missing)} not examined." if self.missing else ""


def page(examined: Examined) -> str:
    """Markdown: the verdicts in a table, how to read it, and a paragraph for every claim."""
    lines = ["# Validation report", "", f"**{verdicts(examined.results)}.**{examined.left_out}"]
    lines += ["", *failed] if (failed := unsupported(examined.told)) else []
    earlier = [result for result in examined.results if result not in examined.made]
    of_long = " (those marked *long*: by `--budget long`)" if examined.longer else ""
    lines += ["", f"Made by `{examined.command}`{of_long}. {setting(examined.made)}", *_earlier(earlier)]
    lines += ["", *_table(examined.told), "", *how_to_read(examined.told)]
    for result in examined.told:
        lines += ["", *_paragraphs(result)]
    return "\n".join(lines) + "\n"


def verdicts(results: Sequence[Result]) -> str:
    """ "11 of 12 claims hold, 1 is inconclusive"."""
    held, failed, open_ = (sum(result.verdict == verdict for result in results) for verdict in (HOLDS, FAILS, INCONCLUSIVE))
    words = [f"{held} of {len(results)} claims hold"]
    words += [f"{failed} fail{'s' * (failed == 1)}"] * bool(failed)
    words += [f"{open_} {'is' if open_ == 1 else 'are'} inconclusive"] * bool(open_)
    return ", ".join(words)


def unsupported(results: Sequence[Result]) -> list[str]:
    """A line for each claim that does not hold: what it says, what was measured, and the command that examines it again."""
    return [
        f"- **{result.claim}**: {result.told}. {result.statement} {_largest(result)}. Again: `python -m validation "
        f"--claim {result.claim.removesuffix(', long')} --budget {result.budget} --seed {result.seed}`"
        for result in results
        if not result.holds
    ]


def setting(results: Sequence[Result]) -> str:
    if not results:
        return ""
    first = results[0]
    versions = ", ".join(f"{name} {number}" for name, number in first.version.items())
    budgets = ", ".join(dict.fromkeys(result.budget for result in results))
    return f"Budget {budgets}, seed {first.seed}, device {first.configuration.get('device', 'unknown')}; {versions}."


def _earlier(results: Sequence[Result]) -> list[str]:
    """The claims examined in earlier runs, and their settings."""
    if not results:
        return []
    told = "; ".join(f"{result.claim} ({setting([result]).removesuffix('.')})" for result in results)
    return ["", f"From earlier runs into this folder: {told}."]


def _table(results: Sequence[Result]) -> list[str]:
    rows = ["| claim | verdict | p | false alarm | smallest error caught | control |", "|---|---|---|---|---|---|"]
    for result in results:
        error, controls = result.smallest_detectable_error, [result.negative_control, *result.further_controls]
        rejected = sum(control["rejected"] for control in controls)
        rows.append(
            f"| [{result.claim}](#{result.claim.replace(', ', '-')}) | {result.told} | {result.p_value:.2g} "
            f"| {result.false_alarm:g} | {percent(error['relative_size'])} | {rejected} of {len(controls)} rejected |"
        )
    return rows


def how_to_read(results: Sequence[Result]) -> list[str]:
    alarm = sum(result.false_alarm for result in results)
    return [
        "A claim *fails* if its simulation, of real weight matrices unless it says otherwise, rejects its theory. It *holds* "
        "if the theory is not rejected and every control is. If a control passes too, the simulation was too small to tell, "
        "and the claim is *inconclusive*: the report names the budget that has the power.",
        "",
        "- **p**: the probability, if the theory is right, of a deviation at least as large as that observed, anywhere in the "
        "claim. At or below **false alarm** the theory is rejected. With another seed, right theories fail somewhere on this "
        f"page with probability at most {100 * alarm:.2g} %.",
        "- **smallest error caught**: simulations are drawn from the exact distribution of a *wrong* network and compared "
        "with the right theory; this is the smallest relative error, to about 10 % of itself, for which at least 99 of 100 "
        "draws are rejected, for either sign. A smaller error may go unnoticed.",
        f"- **control**: wrong theories, among them one with an error {MARGIN:g} times as large, compared with the same "
        "simulation.",
        "",
        "All numbers are in the JSON file of the claim.",
    ]


def _paragraphs(result: Result) -> list[str]:
    errors = "; ".join(f"{e['what']} {percent(e['relative_size'])}" for e in result.smallest_detectable_error["each"])
    controls = "; ".join(
        f"{c['what']} ({'rejected' if c['rejected'] else 'NOT REJECTED'}, {probability(c['p_value'])})"
        for c in (result.negative_control, *result.further_controls)
    )
    return [
        f"## {result.claim}",
        "",
        f"{result.statement}",
        "",
        f"*Source*: {result.source}.",
        "",
        result.reading,
        "",
        f"{_largest(result)}. *Smallest errors caught*: {errors}. *Controls*: {controls}.",
    ]


def _largest(result: Result) -> str:
    sizes = [float("inf") if z is None else abs(z) for z in result.z]
    worst = sizes.index(max(sizes))
    theory, seen, error = (value(row[worst]) for row in (result.theory, result.estimate, result.standard_error))
    return (
        f"*Largest deviation* of {len(result.points)} points ({result.quantity}): {result.points[worst]}, theory {theory}, "
        f"simulated {seen} ± {error}, z = {value(result.z[worst])}"
    )


def probability(value: float) -> str:
    return f"p = {value:.2g}" if value > 0 else "p < 1e-300"


def percent(size: float | None) -> str:
    return "none" if size is None else f"{100 * size:.2g} %"


def value(number: float | None) -> str:
    return "–" if number is None else f"{number:.4g}"
