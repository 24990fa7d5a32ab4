"""Every check that is not in ``make test``, one after another; then a table of their times and outcomes.

    make nightly                    # all that this commit has not finished yet
    make nightly PART=slow,fuzz     # these parts, again if need be
    make nightly PART="slow 3/12"   # one share of a part
    make nightly PART=shard         # what continuous integration runs on this commit: a share of "slow", one of another part

A part is a command of the Makefile, in shares of at most about ten minutes. A failure does not end the run. After an
interruption the same command goes on with the share that was interrupted. Outcomes, logs and the table are in
build/nightly/COMMIT. Seeds are made from the number of commits: every commit has its own, and keeps them. Exit code 1 if
anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "nightly"
LIMIT = 2400  # seconds after which a share counts as hanging
PASSED, FAILED, LEFT_OUT = "passed", "FAILED", "left out"
BROWSER = "chromium|chromium-headless-shell|google-chrome|chrome"
CLAIMS = sorted(path.stem for path in (ROOT / "validation" / "claims").glob("[a-z]*.py"))


@dataclass(frozen=True)
class Part:
    """A command. Braces are filled in: ``share`` (3/12), ``seed``, ``claims`` (those of this share).

    ``needs`` are programs without which it is left out; a bar separates alternatives. Parts that continuous integration
    ``always`` runs do not rotate there.
    """

    name: str
    command: str
    shares: int = 1
    needs: tuple[str, ...] = ()
    always: bool = False

    def missing(self) -> list[str]:
        return [need for need in self.needs if not any(map(shutil.which, need.split("|")))]


PARTS = (
    Part("types", "make types", always=True),
    Part("site", "make site", always=True),  # which executes the notebooks
    Part("slow", "make test-slow SHARE={share}", 12),
    Part("libraries", "make test-libraries"),
    Part("run", "make run OUT=build/nightly/run"),
    Part("validate", "make validate CLAIMS='{claims}'", 3),
    Part("fuzz", "make fuzz SEED={seed}"),
    Part("drill", "make drill KILLS=6 SEED={seed}", 3),
    Part("bench", "make bench AGAINST=last SHARE={share}", 3),
    Part("train-quick", "make train-quick"),
    Part("axe", "make axe", needs=("npm", BROWSER)),
    Part("dist", "make dist"),
    Part("oldest", "make oldest"),
    Part("newest", "make newest"),
)
SLOW = "slow"  # continuous integration runs a share of it and one of the others


@dataclass(frozen=True)
class Unit:
    """One share of a part, and its command, to be run by hand too."""

    part: Part
    name: str
    command: str


@dataclass(frozen=True)
class Outcome:
    """What a unit came to; ``remark`` is the last line that it printed."""

    name: str
    command: str
    outcome: str
    seconds: float = 0.0
    remark: str = ""


def units(number: int) -> list[Unit]:
    """All of them, in order; ``number``, of the commit, gives the seeds."""
    made = []
    for part in PARTS:
        for k in range(part.shares):
            share = f"{k + 1}/{part.shares}"
            command = part.command.format(share=share, seed=100 * number + k, claims=" ".join(CLAIMS[k :: part.shares]))
            made.append(Unit(part, f"{part.name} {share}" if part.shares > 1 else part.name, command))
    return made


def shard(listed: Sequence[Unit], number: int) -> list[Unit]:
    """A share of the slow tests and one of the other units, which rotate with the number of the commit."""
    slow = [unit for unit in listed if unit.part.name == SLOW]
    others = [unit for unit in listed if unit.part.name != SLOW and not unit.part.always]
    return [slow[number % len(slow)], others[number % len(others)]]


def chosen(listed: Sequence[Unit], wanted: str, number: int) -> list[Unit]:
    """The units that ``PART=`` names."""
    found: list[Unit] = []
    for name in filter(None, map(str.strip, wanted.split(","))):
        some = shard(listed, number) if name == "shard" else [unit for unit in listed if name in (unit.name, unit.part.name)]
        if not some:
            known = ", ".join(part.name for part in PARTS)
            sys.exit(f"PART={name} is unknown; choose from shard, {known}, or a share such as 'slow 3/12'")
        found += some
    return found


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def state() -> str:
    """The commit; with changes that are not committed, also their digest."""
    changes = git("diff", "HEAD")
    return git("rev-parse", "--short=12", "HEAD") + (f"-{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else "")


def finished(file: Path) -> dict[str, Outcome]:
    """Outcomes by unit, the latest of each; a line that was cut off does not count."""
    outcomes = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            outcome = Outcome(**json.loads(line))
        except json.JSONDecodeError:
            continue
        outcomes[outcome.name] = outcome
    return outcomes


def lines_of(log: Path) -> list[str]:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return [line for line in text.splitlines() if line.strip()]


def last_line(log: Path) -> str:
    """The last line, without the rules that pytest draws around it."""
    return "".join(lines_of(log)[-1:]).strip("= ")


def run(unit: Unit, log: Path, lock: int, tell: Callable[[str], object]) -> Outcome:
    """Run the command as a process group, which is ended if it hangs, or when this process is told to end."""
    if missing := unit.part.missing():
        return Outcome(unit.name, unit.command, LEFT_OUT, remark=f"needs {', '.join(missing)}")
    start, code = time.monotonic(), None
    with log.open("w", encoding="utf-8") as file:
        streams = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(unit.command, shell=True, cwd=ROOT, start_new_session=True, pass_fds=(lock,), **streams)
        try:
            while code is None and time.monotonic() - start < LIMIT:
                tell(last_line(log)[:60])
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(2)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
    hung = f"ended after {LIMIT / 60:g} minutes: " if code is None else ""
    outcome = PASSED if code == 0 else FAILED
    return Outcome(unit.name, unit.command, outcome, round(time.monotonic() - start, 1), hung + last_line(log))


def table(listed: Sequence[Unit], outcomes: dict[str, Outcome], of: str) -> Table:
    """A row for each unit, whether it has run or not, and the sum of their times."""
    rows = [outcomes.get(unit.name) or Outcome(unit.name, unit.command, "not run") for unit in listed]
    failed = [row.name for row in rows if row.outcome == FAILED]
    table = Table(
        "part", "outcome", Column("minutes", justify="right"), "command", "last line", title=f"nightly checks of {of}"
    )
    for row in rows:
        table.add_row(row.name, row.outcome, f"{row.seconds / 60:.1f}", row.command, row.remark[:100])
    table.add_section()
    total = sum(row.seconds for row in rows) / 60
    table.add_row("all", FAILED if failed else PASSED, f"{total:.1f}", "", f"{len(failed)} failed {', '.join(failed)}")
    return table


def ratios(listed: Sequence[Unit], folder: Path) -> Iterator[str]:
    """What benchmarks have measured: the part of their logs from the line that announces it."""
    for unit in (unit for unit in listed if unit.part.name == "bench"):
        lines = lines_of(logged(folder, unit))
        yield from lines[next((i for i, line in enumerate(lines) if "measured inside this run" in line), len(lines)) :]


def logged(folder: Path, unit: Unit) -> Path:
    return folder / f"{unit.name.replace(' ', '-').replace('/', '-of-')}.log"


@contextlib.contextmanager
def alone() -> Iterator[int]:
    """A lock, which is held until this process and all that inherited it have ended."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = os.open(FOLDER / "lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    except BlockingIOError:
        sys.exit(f"another run, or a part that it started, is still at work in {FOLDER}: wait for it or end it")
    finally:
        os.close(lock)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="", help="parts, separated by commas; all that are not finished by default")
    parser.add_argument("--list", action="store_true", help="list the parts of this commit and stop")
    options = parser.parse_args()
    console, of, number = Console(highlight=False, soft_wrap=True), state(), int(git("rev-list", "--count", "HEAD"))
    listed = units(number)
    wanted = chosen(listed, options.part, number) or listed
    if options.list:
        for unit in wanted:
            console.print(f"{unit.name:<14} {unit.command}")
        return 0
    folder = FOLDER / of
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with alone() as lock:
            outcomes = ran(wanted, bool(options.part), of, folder, lock, console)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on")
        return 130
    with (folder / "table.txt").open("w", encoding="utf-8") as file:
        for each in (console, Console(file=file, width=200)):
            each.print(table(wanted, outcomes, of))
            each.print("\n".join(ratios(wanted, folder)), markup=False)
    console.print(f"logs and this table: {folder.relative_to(ROOT)}")
    return int(any(outcomes[unit.name].outcome == FAILED for unit in wanted))


def ran(wanted: Sequence[Unit], again: bool, of: str, folder: Path, lock: int, console: Console) -> dict[str, Outcome]:
    """Outcomes of all units, each recorded as soon as it is there; those recorded earlier are not run, unless ``again``."""
    record = folder / "outcomes.jsonl"
    outcomes = finished(record)
    left = [unit for unit in wanted if again or unit.name not in outcomes]
    console.print(f"{len(wanted)} parts for {of}" + (f", {len(wanted) - len(left)} of them finished" if left != wanted else ""))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    counts = TextColumn("{task.completed} of {task.total}  {task.description}")
    with Progress(SpinnerColumn(), counts, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=len(left))
        for unit in left:
            console.print(f"{time.strftime('%H:%M:%S')}  {unit.name:<14} {unit.command}")
            log = logged(folder, unit)
            outcome = run(unit, log, lock, lambda last, name=unit.name: progress.update(task, description=f"{name}: {last}"))
            if state() != of:
                sys.exit("the tree has changed meanwhile: start again, for what is there now")
            with record.open("a", encoding="utf-8") as file:
                print(json.dumps(asdict(outcome), ensure_ascii=False), file=file)
            outcomes[unit.name] = outcome
            console.print(f"          {outcome.outcome}, {outcome.seconds / 60:.1f} min: {outcome.remark}", markup=False)
            if outcome.outcome == FAILED:
                console.print("\n".join(lines_of(log)[-60:]), markup=False)
            progress.advance(task)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
