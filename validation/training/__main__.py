"""``python -m validation.training``: train the networks of the experiments, block by block; write a JSON file for each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any

import varflow as vf
from validation.training.data import FOLDER, SETS, load, obtain
from validation.training.experiments import EXPERIMENTS, Run
from validation.training.later import COMPUTED
from validation.training.networks import Design
from validation.training.predictors import predicted
from validation.training.training import trained
from validation.training.twelve import TASKS
from validation.training.twelve_runs import TWELVE, missing_library
from varflow._files import replace_files
from varflow._process import INTERRUPTED, outcome, run_command
from varflow.campaign import Block
from varflow.simulation.run import check_device

__all__ = ["main"]

STORE = "blocks.sqlite"
LEARNS, CHANCE = 0.8, 0.2  # accuracies


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is done, 1 if ``--against`` found another outcome, 2 for bad input, 130 after Ctrl-C: finished runs are kept,
    and ``--resume`` continues."""
    options = _options(arguments)
    if options.what == ["data"]:
        for name in SETS:
            print(f"{name:<14} {obtain(name, options.data)}")
        return 0
    names = [*EXPERIMENTS, *COMPUTED, *TWELVE] if options.what == ["all"] else options.what
    for data in {run.data for name in names if name not in TWELVE for run in _runs(name)}:
        load(data, options.data)  # missing or damaged data are an error before any training
    options.out.mkdir(parents=True, exist_ok=True)
    campaign = vf.Campaign(options.out / STORE, workers=options.workers, resume=options.resume, found=_found)
    try:
        with campaign.opened("validation.training.later") as opened:
            for name in names:
                if name in TWELVE:
                    _twelve(name, opened, options)
                    continue
                if name in COMPUTED:
                    _compute(name, opened, options)
                    continue
                runs = EXPERIMENTS[name].runs
                predictions: dict[Design, Any] = {}
                if EXPERIMENTS[name].predicted:  # before any of them is trained
                    wanted = {run.design: _prediction(run, options) for run in runs}
                    found = opened.results([*wanted.values()], progress=True, what="predictors")
                    predictions = dict(zip(wanted, found, strict=True))
                results = opened.results([_block(run, options) for run in runs], progress=True, what=name)
                results = [predictions.get(run.design, {}) | result for run, result in zip(runs, results, strict=True)]
                replace_files({options.out / f"{name}.json": _text(name, runs, results)})
                print(f"{options.out / name}.json: {len(runs)} runs")
    except KeyboardInterrupt:
        print("stopped; --resume continues", file=sys.stderr)
        return INTERRUPTED
    changes = [line for name in names if name in EXPERIMENTS and options.against for line in changed(name, options)]
    print("\n".join(changes), file=sys.stderr, end="\n" if changes else "")
    return int(bool(changes))


def changed(name: str, options: argparse.Namespace) -> list[str]:
    """Designs that learned with every seed in earlier results and no longer do, or that stayed at chance and now learn.

    To learn is to end above an accuracy of .8, to stay at chance to end below .2. Between them designs are not judged: their
    accuracy depends on rounding, which differs between machines.
    """
    ended: list[dict[str, list[float]]] = []
    for folder in (options.against, options.out):
        ended.append({})
        for run in json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["runs"]:
            design = asdict(Design()) | run["design"]  # a setting that is newer than the results had its default
            ended[-1].setdefault(json.dumps(design), []).append(run["epochs"][-1]["accuracy"])
    before, now = ended
    return [
        f"{name}: accuracy {now.get(design, 'not measured')} where {before[design]} is stored, of {design}"
        for design in before
        if design not in now
        or (min(before[design]) > LEARNS >= min(now[design]))
        or (max(before[design]) < CHANCE <= max(now[design]))
    ]


def _twelve(name: str, opened: Any, options: argparse.Namespace) -> None:
    """Writes an experiment on the twelve pairs of a task and a model, of those whose library is there."""
    if missing := missing_library(TASKS):
        print(missing, file=sys.stderr)
    names = [each for each in TASKS if not missing_library([each])]
    found = TWELVE[name].run(lambda blocks: opened.results(blocks, progress=True, what=name), str(options.data), names=names)
    lines = ",\n".join(json.dumps(_rounded(run), allow_nan=False, separators=(",", ":")) for run in found)
    head = f'{{"experiment": {json.dumps(name)}, "title": {json.dumps(TWELVE[name].title)}, "runs": [\n'
    replace_files({options.out / f"{name}.json": f"{head}{lines}\n]}}\n"})
    print(f"{options.out / name}.json: {len(found)} runs")


def _runs(name: str) -> tuple[Run, ...]:
    return COMPUTED[name].runs() if name in COMPUTED else EXPERIMENTS[name].runs


def _compute(name: str, opened: vf.campaign.Run, options: argparse.Namespace) -> None:
    """Writes what needs no training, once for each of the different settings of the runs."""
    function, wanted = COMPUTED[name].function, COMPUTED[name].settings
    of_runs = [{setting: run.settings[setting] for setting in wanted} for run in _runs(name)]
    described = [{setting: run.described[setting] for setting in wanted} for run in _runs(name)]
    once = {json.dumps(words): (settings, words) for settings, words in zip(of_runs, described, strict=True)}
    folder = {"folder": str(options.data)} if "folder" in signature(function).parameters else {}
    blocks = [Block(function, settings | folder) for settings, _ in once.values()]
    results = opened.results(blocks, progress=True, what=name)
    lines = [
        json.dumps(words | {"scores": _rounded(scores)}, separators=(",", ":"))
        for (_, words), scores in zip(once.values(), results, strict=True)
    ]
    replace_files({options.out / f"{name}.json": "[\n" + ",\n".join(lines) + "\n]\n"})
    print(f"{options.out / name}.json: {len(lines)} networks")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m validation.training", description=__doc__)
    known = ", ".join([*(f"{name} ({len(_runs(name))} runs)" for name in EXPERIMENTS), *TWELVE])
    needs_none = f"what needs no training: {', '.join(COMPUTED)}"
    parser.add_argument("what", nargs="+", help=f"data (obtain the images), all, experiments: {known}; or {needs_none}")
    parser.add_argument("--out", type=Path, default=Path("training-results"), help="folder for the results")
    parser.add_argument("--data", type=Path, default=FOLDER, help=f"folder of the images; default {FOLDER}")
    parser.add_argument("--resume", action="store_true", help="use the runs that are finished, if any")
    parser.add_argument(
        "--against", type=Path, metavar="FOLDER", help="earlier results: exit code 1 if other designs learn now"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; same results for any number")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args(arguments)
    for name in options.what if options.what not in (["data"], ["all"]) else ():
        if name not in {*EXPERIMENTS, *COMPUTED, *TWELVE}:
            parser.error(f"{name} is unknown; choose from data, all, {', '.join([*EXPERIMENTS, *COMPUTED, *TWELVE])}")
    check_device(options.device)
    return options


def _found(stored: int, total: int) -> None:
    if stored:
        print(f"{stored} of {total} runs were there", file=sys.stderr)


def _block(run: Run, options: argparse.Namespace) -> Block:
    return Block(trained, run.settings | {"device": options.device, "folder": str(options.data)})


def _prediction(run: Run, options: argparse.Namespace) -> Block:
    return Block(predicted, {"design": run.design, "data": run.data, "folder": str(options.data)})


def _text(name: str, runs: Sequence[Run], results: Sequence[Mapping[str, Any]]) -> str:
    """Every run with its design and schedule in words and its results."""
    described = [run.described | _rounded(result) for run, result in zip(runs, results, strict=True)]
    lines = ",\n".join(json.dumps(run, allow_nan=False, separators=(",", ":")) for run in described)
    return f'{{"experiment": {json.dumps(name)}, "title": {json.dumps(EXPERIMENTS[name].title)}, "runs": [\n{lines}\n]}}\n'


def _rounded(value: Any) -> Any:
    """Four digits of every number that was measured."""
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    run_command("training", lambda: outcome(main))
