"""``python -m validation``: examine claims, write results and report; the exit code says whether all hold."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import varflow as vf
from validation.claim import FAILS, INCONCLUSIVE, Claim, Result
from validation.claims import discover
from validation.pages import pages, read
from validation.report import Examined, unsupported
from validation.runner import Planned, judged, smallest_errors
from validation.work import Work
from varflow._files import replace_files
from varflow._process import INTERRUPTED, finishing, outcome, run_command, stop_wanted
from varflow.simulation.run import check_device

__all__ = ["main"]

UNDECIDED = 3
STORE = "blocks.sqlite"  # in the folder of the results
ENGINE = "varflow.simulation.dense"  # and torch, which worker processes import while the first theory is computed
BUDGETS = ("quick", "standard", "long")


class _Parser(argparse.ArgumentParser):
    """Errors as one line on stderr and exit code 2, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"validation: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every chosen claim holds; 1 if one fails; 3 if none fails, but one is inconclusive or cannot be examined here; 2 for
    bad input, 130 after Ctrl-C."""
    claims = discover()
    options = _options(arguments, claims)
    if options.list:
        for claim in claims.values():
            print(f"{claim.name:<22} {claim.statement}")
        return 0
    chosen = [claims[name] for name in dict.fromkeys(options.claim or claims)]
    with _writing_to(options.out):
        options.out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    there = _Found()
    campaign = vf.Campaign(
        options.out / STORE, workers=options.workers, scheduler=options.scheduler, resume=options.resume, found=there
    )
    try:
        with campaign.opened(ENGINE) as run:
            interrupted = _run(chosen, options, Work(run, options.device), there, results)
        missing = [claim.name for claim in chosen if claim.name not in {result.claim for result in results}]
        why = "Stopped early" if interrupted else "Without the libraries"
        new = {result.claim for result in results}
        with finishing():
            _report(options, claims, command=_command(options), missing=missing, why=why, new=new)
    finally:
        for result in results:
            print(f"{result.claim:<22} {result.told:<6} p = {result.p_value:<8.2g} {result.seconds:g} s")
        for line in unsupported(results):
            print(line.replace("*", ""))
    print(f"{options.out / 'REPORT.md'}" + (f" (not examined: {', '.join(missing)})" if missing else ""))
    if interrupted:
        print("stopped; --resume continues", file=sys.stderr)
        return INTERRUPTED
    verdicts = {result.verdict for result in results}
    return 1 if FAILS in verdicts else UNDECIDED if missing or INCONCLUSIVE in verdicts else 0


def _options(arguments: Sequence[str] | None, claims: dict[str, Claim]) -> argparse.Namespace:
    parser = _Parser(prog="python -m validation", description="Statistical evidence for varflow, one claim at a time.")
    parser.add_argument("--claim", nargs="+", metavar="NAME", help="claims to examine; all by default")
    parser.add_argument(
        "--budget", choices=BUDGETS, default="standard", help="width and number of networks; 'long' where a claim has it"
    )
    parser.add_argument("--out", type=Path, default=Path("validation-results"), help="folder for the report and the JSON files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulations")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for the claims that can use it")
    parser.add_argument("--resume", action="store_true", help="use the blocks that an earlier run finished, if any")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes on this machine; same results for any number"
    )
    parser.add_argument("--scheduler", metavar="tcp://HOST:PORT", help="address of a Dask scheduler whose workers do the work")
    parser.add_argument("--list", action="store_true", help="list the claims and stop")
    options = parser.parse_args(arguments)
    for name in options.claim or ():
        if name not in claims:
            parser.error(f"--claim {name} is unknown; choose from {', '.join(claims)}")
    if options.seed < 0:
        parser.error(f"--seed {options.seed} must not be negative")
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"--out {options.out} is a file; name a folder")
    check_device(options.device)
    return options


class _Found:
    """Counts the parts that were in the store: networks, searches."""

    def __init__(self) -> None:
        self.blocks = (0, 0)

    def __call__(self, there: int, total: int) -> None:
        self.blocks = (self.blocks[0] + there, self.blocks[1] + total)

    def told(self, claim: str) -> None:
        """Say how many there were for this claim, if it was asked for; then count anew."""
        (there, total), self.blocks = self.blocks, (0, 0)
        if total:
            print(f"{claim}: {there} of {total} parts were there", file=sys.stderr)


def _run(claims: Sequence[Claim], options: argparse.Namespace, work: Work, there: _Found, results: list[Result]) -> bool:
    """Examine the claims in turn, each written as soon as it is finished; returns whether it was interrupted."""
    columns = (
        TextColumn("{task.description:<44}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        overall = bar.add_task("claims", total=len(claims))
        try:
            planned = list(_planned(claims, options.budget, replace(work, progress=_reporter(bar, "all claims"))))
            sizes = smallest_errors(planned, replace(work, progress=_reporter(bar, "all claims")))
            there.told("smallest errors")
            for done, (plan, found) in enumerate(zip(planned, sizes, strict=True), start=1):
                if stop_wanted():
                    return True
                name = plan[0].name
                result = judged(plan, found, seed=options.seed, work=replace(work, progress=_reporter(bar, name)))
                with finishing():
                    text = json.dumps(asdict(result), ensure_ascii=False, indent=1, allow_nan=False)
                    results.append(result)
                    _write(options.out, f"{name}.json", text + "\n")
                there.told(name)
                bar.update(overall, completed=done)
        except KeyboardInterrupt:
            return True
    return stop_wanted()


def _planned(claims: Sequence[Claim], budget: str, work: Work) -> Iterator[Planned]:
    """The claims whose libraries are installed, with their settings and predictions."""
    for done, claim in enumerate(claims):
        work.progress("theory", done, len(claims))
        settings = claim.budgets[budget if budget in claim.budgets else "standard"]
        try:
            yield claim, settings, claim.theory(settings)
        except vf.MissingExtraError as missing:
            print(f"{claim.name} is not examined: {missing}", file=sys.stderr)


def _report(options: argparse.Namespace, claims: Iterable[str], **told: Any) -> None:
    """Write the reports on all claims with a file in the folder; repeated while another run adds files."""
    told_of = None
    while told_of != (found := read(options.out, claims)):
        made = pages(options.out, Examined(found, **told))
        with _writing_to(options.out):
            replace_files({options.out / name: text for name, text in made.items()})
        told_of = found


def _write(folder: Path, name: str, text: str) -> None:
    with _writing_to(folder):
        replace_files({folder / name: text})


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise vf.DomainError("out", str(folder), f"cannot be written: {error.strerror or error}") from None


def _reporter(bar: Progress, name: str) -> Callable[[str, int, int], object]:
    task, doing = bar.add_task(name, total=None), ""

    def report(what: str, done: int, total: int) -> None:
        nonlocal doing
        if what != doing:  # the time left is that of the present part
            doing = what
            bar.reset(task, description=f"{name}: {what}")
        bar.update(task, completed=done, total=total or None)

    return report


def _command(options: argparse.Namespace) -> str:
    chosen = f" --claim {' '.join(options.claim)}" if options.claim else ""
    return f"python -m validation{chosen} --budget {options.budget} --seed {options.seed}"


if __name__ == "__main__":
    run_command("validation", lambda: outcome(main))
