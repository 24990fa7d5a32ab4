"""Both reports, from the JSON files alone.

    python -m validation.pages FOLDER [--out FOLDER] [--command TEXT]

reads the results in a folder (those of the long budget in ``long``, envelopes in ``envelope``) and writes ``REPORT.md`` and
``REPORT.html``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import varflow as vf
from validation import envelope
from validation.claim import Result
from validation.report import Examined, page
from validation.stored import stored
from validation.webpage import webpage
from varflow._files import replace_files

__all__ = ["pages", "read"]


def pages(folder: Path, examined: Examined) -> dict[str, str]:
    """``REPORT.md`` and, if matplotlib is there, ``REPORT.html``; envelopes are those in the folder."""
    made = {"REPORT.md": page(examined)}
    try:
        made["REPORT.html"] = webpage(examined, envelope.read(folder))
    except vf.MissingExtraError as missing:
        print(f"REPORT.html is not written: {missing}", file=sys.stderr)
    return made


def read(folder: Path, claims: Iterable[str]) -> list[Result]:
    """Results of these claims; files of another format are named on stderr and left out."""
    return stored(Result, (folder / f"{name}.json" for name in claims))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m validation.pages", description="Both reports, from the JSON files alone.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, help="where the reports go; by default the same folder")
    parser.add_argument("--command", default="", help="the command to name; by default that of the results")
    options = parser.parse_args()
    folders = options.folder, options.folder / "long"
    results, longer = (read(folder, sorted(path.stem for path in folder.glob("*.json"))) for folder in folders)
    if not results:
        parser.error(f"{options.folder} has no results")
    command = options.command or f"python -m validation --budget {results[0].budget} --seed {results[0].seed}"
    made = pages(options.folder, Examined(results, command, longer=longer))
    replace_files({(options.out or options.folder) / name: text for name, text in made.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
