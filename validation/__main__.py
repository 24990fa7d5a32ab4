"""``python -m validation``: choose claims, show progress, write what was found, say by the exit code whether all hold."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import varflow as vf
from validation.claim import Claim, Result
from validation.claims import discover
from validation.report import page
from validation.runner import examine

__all__ = ["main"]

INTERRUPTED = 130
BUDGETS = ("quick", "standard", "long")


class _Parser(argparse.ArgumentParser):
    """One line on stderr and exit code 2, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"validation: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every claim asked for holds, 1 if one fails, 2 for bad input, 130 after Ctrl-C."""
    claims = discover()
    options = _options(arguments, claims)
    if options.list:
        for claim in claims.values():
            print(f"{claim.name:<22} {claim.statement}")
        return 0
    chosen = [claims[name] for name in dict.fromkeys(options.claim or claims)]
    options.out.mkdir(parents=True, exist_ok=True)
    results, interrupted = _run(chosen, options)
    missing = [claim.name for claim in chosen[len(results) :]]
    report = page(results, command=_command(options), missing=missing)
    (options.out / "REPORT.md").write_text(report, encoding="utf-8")
    for result in results:
        print(f"{result.claim:<22} {result.verdict:<6} p = {result.p_value:<8.2g} {result.seconds:g} s")
    print(f"{options.out / 'REPORT.md'}" + (f" (stopped before {', '.join(missing)})" if missing else ""))
    return INTERRUPTED if interrupted else 0 if all(result.holds for result in results) else 1


def _options(arguments: Sequence[str] | None, claims: dict[str, Claim]) -> argparse.Namespace:
    parser = _Parser(prog="python -m validation", description="The standing evidence for varflow, one claim at a time.")
    parser.add_argument("--claim", nargs="+", metavar="NAME", help="claims to examine; all by default")
    parser.add_argument(
        "--budget", choices=BUDGETS, default="standard", help="width, networks and patience; long where a claim has it"
    )
    parser.add_argument("--out", type=Path, default=Path("validation-results"), help="folder for the report and the JSON files")
    parser.add_argument("--seed", type=int, default=0, help="of the simulations")
    parser.add_argument("--list", action="store_true", help="list the claims and stop")
    options = parser.parse_args(arguments)
    for name in options.claim or ():
        if name not in claims:
            parser.error(f"--claim {name} is unknown; choose from {', '.join(claims)}")
    if options.seed < 0:
        parser.error(f"--seed {options.seed} must not be negative")
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"--out {options.out} is a file; name a folder")
    return options


def _run(claims: Sequence[Claim], options: argparse.Namespace) -> tuple[list[Result], bool]:
    """Examine one claim after another, each written as soon as it is finished."""
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    results: list[Result] = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        overall = bar.add_task("claims", total=len(claims))
        try:
            for claim in claims:
                settings = claim.budgets[options.budget if options.budget in claim.budgets else "standard"]
                result = examine(claim, settings, seed=options.seed, progress=_reporter(bar, claim.name))
                text = json.dumps(asdict(result), ensure_ascii=False, indent=1, allow_nan=False)
                (options.out / f"{claim.name}.json").write_text(text + "\n", encoding="utf-8")
                results.append(result)
                bar.update(overall, completed=len(results))
        except KeyboardInterrupt:
            return results, True
    return results, False


def _reporter(bar: Progress, name: str) -> Callable[[str, int, int], object]:
    task = bar.add_task(name, total=None)
    return lambda what, done, total: bar.update(task, description=f"{name}: {what}", completed=done, total=total or None)


def _command(options: argparse.Namespace) -> str:
    chosen = f" --claim {' '.join(options.claim)}" if options.claim else ""
    return f"python -m validation{chosen} --budget {options.budget} --seed {options.seed}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except vf.MissingExtraError as missing:
        print(f"validation: {missing}", file=sys.stderr)
        sys.exit(2)
