"""Fault drill: campaigns are killed (``kill -9``) at random times and continued; their results are those of undisturbed runs.

    python tests/drill.py [--kills 50] [--seed 0] [--folder FOLDER]

A table of corrected gains and claims of ``python -m validation --budget quick``, each in two processes. After every kill the
store must hold all blocks that it held before, and every block that was reported as finished, but for those in flight.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WORKERS = 2
STORE = "blocks.sqlite"
IN_FLIGHT = 2 * WORKERS  # blocks that are out; one that is finished but not on disk is counted among them
TABLE = {"threshold": [0.5, 0.7, 0.85, 1.0], "width": [100, 300, 1000], "depth": [20, 50, 100, 200]}
CLAIMS = ("chain_narrow", "corrected_gain", "figure_5", "kaiming_death_depth", "one_layer_map")
LONGEST = 1 / 3  # of an undisturbed run: the longest time to a kill, from the start or from the first new block


@dataclass(frozen=True)
class Job:
    """A command, run in a folder, and what its result there says without its times."""

    name: str
    command: list[str]
    result: Callable[[Path], Any]


def jobs() -> list[Job]:
    examine = ["-m", "validation", "--budget", "quick", "--out", ".", "--resume", "--workers", str(WORKERS)]
    return [
        Job("table", [__file__, "--table", json.dumps(TABLE)], lambda folder: json.loads((folder / "table.json").read_text())),
        Job("validation", [*examine, "--claim", *CLAIMS], _claims),
    ]


def _claims(folder: Path) -> dict[str, Any]:
    read = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in CLAIMS}
    return {name: {key: value for key, value in one.items() if "seconds" not in key} for name, one in read.items()}


def drill(job: Job, kills: int, rng: random.Random, folder: Path) -> dict[str, Any]:
    """Kill the job that often, then let it end; as often as it ends by itself it begins anew. The figures of the drill.

    Every second kill, the first among them, waits until the run has stored a block: before, there is nothing new to lose.
    """
    start = time.monotonic()
    assert _ends(job, folder / "undisturbed", None), f"{job.name} is killed"
    longest, right, lost, runs = LONGEST * (time.monotonic() - start), job.result(folder / "undisturbed"), [], 0
    gained = 0
    here, done = folder / "0", 0
    while done < kills:
        before = stored(here / STORE)
        if _ends(job, here, rng.uniform(0, longest), but_after=before if done % 2 == 0 else None):
            assert job.result(here) == right, f"{job.name}: another result in {here}"
            here, runs = folder / str(runs + 1), runs + 1
            continue
        done += 1
        after = stored(here / STORE)
        assert before <= after, f"{job.name}: blocks are gone from {here / STORE}"
        gained += len(after) > len(before)
        lost.append(max(0, _reported(here) - len(after)))
        assert lost[-1] <= IN_FLIGHT, f"{job.name}: {lost[-1]} finished blocks are lost"
    assert _ends(job, here, None)
    assert job.result(here) == right, f"{job.name}: another result in {here}"
    return {
        "job": job.name,
        "kills": kills,
        "after a new block": gained,
        "runs to the end": runs + 1,
        "finished blocks lost by a kill, at most": max(lost),
    }


def _ends(job: Job, folder: Path, delay: float | None, but_after: set[str] | None = None) -> bool:
    """Run the job, for ``delay`` seconds at most, from when it has stored more than ``but_after``; False if it was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reported").unlink(missing_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *job.command], stdout=log, stderr=log, cwd=folder, env=environment)
        while but_after is not None and process.poll() is None and stored(folder / STORE) <= but_after:
            time.sleep(0.02)
        try:
            code = process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
    assert code == 0, (folder / "log").read_text()
    return True


def stored(store: Path) -> set[str]:
    """The keys of finished blocks."""
    if not store.exists():
        return set()
    connection = sqlite3.connect(store)
    try:
        return {key for (key,) in connection.execute("SELECT key FROM blocks")}
    except sqlite3.OperationalError:  # killed before there was a table
        return set()
    finally:
        connection.close()


def _reported(folder: Path) -> int:
    """How many blocks the last run reported as finished, those of earlier runs included."""
    path = folder / "reported"
    return len(path.read_bytes()) if path.exists() else 0


def table(axes: dict[str, Any]) -> None:
    """The job of the table: one byte for every finished row."""
    import varflow as vf
    from varflow._files import replace_files

    with Path("reported").open("wb", buffering=0) as file:
        campaign = vf.Campaign(STORE, workers=WORKERS)
        found = vf.corrected_gain_table(**axes, campaign=campaign, progress=lambda done, total: file.write(b"."))
    replace_files({Path("table.json"): json.dumps(found.to_dict())})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--table", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        return table(options.table)
    with tempfile.TemporaryDirectory() as scratch:
        for job in jobs():
            folder = (options.folder or Path(scratch)) / job.name
            print(json.dumps(drill(job, options.kills, random.Random(options.seed), folder)), flush=True)


if __name__ == "__main__":
    main()
