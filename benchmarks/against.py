"""The benchmarks of today and of an earlier commit, alternating: what has become slower by more than a tenth.

    python benchmarks/against.py COMMIT [--share 1/3]    # or ``last``: the commit that set the version

The earlier commit is laid out in build/against and runs its own benchmarks of the same names, file by file after today's. What
seems slower is timed twice more, alternating; ratios are of the shortest times. Exit code 1 if a limit of today's benchmarks is
missed twice.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLOWER = 1.1
AGAIN = 2


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def laid_out(commit: str) -> Path:
    """A folder with the files of the commit."""
    folder = ROOT / "build" / "against" / commit
    if not folder.exists():
        made = folder.with_name(f"{commit}-{os.getpid()}")
        made.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x"], cwd=made, input=archive, check=True)
        made.rename(folder)
    return folder


def pytest(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Pytest in a tree, which imports the package of that tree."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "pytest", "-m", "", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def collected(tree: Path, *arguments: str) -> list[str]:
    """Names of the benchmarks, file by file."""
    return [line for line in pytest(tree, "benchmarks", "--collect-only", "-q", *arguments).stdout.splitlines() if "::" in line]


def timed(tree: Path, names: Sequence[str]) -> tuple[dict[str, float], str]:
    """Shortest seconds of each benchmark that could run, and what pytest printed."""
    file = ROOT / "build" / "against" / f"{os.getpid()}.json"
    file.unlink(missing_ok=True)
    run = pytest(tree, *names, f"--benchmark-json={file}", "--benchmark-columns=min,median,rounds", "-q")
    found = json.loads(file.read_text(encoding="utf-8"))["benchmarks"] if file.exists() and file.stat().st_size else []
    return {each["fullname"]: each["stats"]["min"] for each in found}, run.stdout + run.stderr


def missed(printed: str) -> list[str]:
    return re.findall(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - .*)?$", printed, flags=re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the earlier commit; last: the one that set the version")
    parser.add_argument("--share", default="1/1", help="every n-th benchmark from the k-th on: k/n")
    options = parser.parse_args()
    rev = (
        git("log", "-1", "--format=%h", "-G^version = ", "--", "pyproject.toml") if options.commit == "last" else options.commit
    )
    commit = git("rev-parse", "--short=12", f"{rev}^{{commit}}")
    there = laid_out(commit)
    names, earlier = collected(ROOT, "--share", options.share), set(collected(there))
    now: dict[str, float] = {}
    before: dict[str, float] = {}
    failed = []
    for file in dict.fromkeys(name.partition("::")[0] for name in names):
        some = [name for name in names if name.startswith(f"{file}::")]
        times, printed = timed(ROOT, some)
        print(printed, flush=True)
        now |= times
        if bad := missed(printed):
            times, printed = timed(ROOT, bad)
            print(f"again, what missed its limit:\n{printed}", flush=True)
            failed += missed(printed)
        if same := [name for name in some if name in earlier]:
            before |= timed(there, same)[0]
    both = [name for name in names if name in now and name in before]
    for _ in range(AGAIN):
        for name in (name for name in both if now[name] > SLOWER * before[name]):
            now[name] = min(now[name], timed(ROOT, [name])[0][name])
            before[name] = min(before[name], timed(there, [name])[0][name])
    slower = sorted((name for name in both if now[name] > SLOWER * before[name]), key=lambda name: before[name] / now[name])
    print(f"against {commit}: {len(both)} benchmarks in both, {len(slower)} slower by more than a tenth")
    for name in slower:
        print(f"    {now[name] / before[name]:5.2f} times  {name}")
    print(f"{len(failed)} limits missed" + "".join(f"\n    {name}" for name in failed))
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
