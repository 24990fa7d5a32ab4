"""``python -m validation.training``: train the networks of the experiments, block by block; write a JSON file for each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import varflow as vf
from validation.training.data import FOLDER, SETS, load, obtain
from validation.training.experiments import EXPERIMENTS, Run
from validation.training.networks import Design
from validation.training.predictors import predicted, scored
from validation.training.training import trained
from validation.training.twelve import TASKS
from validation.training.twelve_runs import TWELVE, missing_library
from varflow._files import replace_files
from varflow._process import INTERRUPTED, outcome, run_command
from varflow.campaign import Block
from varflow.simulation.run import check_device

__all__ = ["main"]

STORE = "blocks.sqlite"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is done, 2 for bad input, 130 after Ctrl-C: finished runs are kept, and ``--resume`` continues."""
    options = _options(arguments)
    if options.what == ["data"]:
        for name in SETS:
            print(f"{name:<14} {obtain(name, options.data)}")
        return 0
    if options.what == ["scores"]:
        return _scores(options)
    names = [*EXPERIMENTS, *TWELVE] if options.what == ["all"] else options.what
    for data in {run.data for name in names if name in EXPERIMENTS for run in EXPERIMENTS[name].runs}:
        load(data, options.data)  # missing or damaged data are an error before any training
    options.out.mkdir(parents=True, exist_ok=True)
    campaign = vf.Campaign(options.out / STORE, workers=options.workers, resume=options.resume, found=_found)
    try:
        with campaign.opened("validation.training.training") as opened:
            for name in names:
                if name in TWELVE:
                    _twelve(name, opened, options)
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
    return 0


def _twelve(name: str, opened: Any, options: argparse.Namespace) -> None:
    """Writes an experiment on the twelve pairs of a task and a model, of those whose library is there."""
    if missing := missing_library(TASKS):
        print(missing, file=sys.stderr)
    names = [each for each in TASKS if not missing_library([each])]
    found = TWELVE[name].run(lambda blocks: opened.results(blocks, progress=True, what=name), str(options.data), names=names)
    lines = ",\n".join(json.dumps(_rounded(run), allow_nan=False, separators=(",", ":")) for run in found)
    head = f'{{"experiment": {json.dumps(name)}, "question": {json.dumps(TWELVE[name].question)}, "runs": [\n'
    replace_files({options.out / f"{name}.json": f"{head}{lines}\n]}}\n"})
    print(f"{options.out / name}.json: {len(found)} runs")


def _scores(options: argparse.Namespace) -> int:
    """Writes the later scores of the held-out networks, which need no training, to ``scores.json``."""
    runs = [run for run in EXPERIMENTS["held_out"].runs if run.seed == 0]
    options.out.mkdir(parents=True, exist_ok=True)
    campaign = vf.Campaign(options.out / STORE, workers=options.workers, resume=options.resume, found=_found)
    with campaign.opened("validation.training.predictors") as opened:
        found = opened.results([Block(scored, {"design": run.design}) for run in runs], progress=True, what="scores")
    lines = [
        json.dumps({"design": run.described["design"], "scores": _rounded(each)}, separators=(",", ":"))
        for run, each in zip(runs, found, strict=True)
    ]
    replace_files({options.out / "scores.json": "[\n" + ",\n".join(lines) + "\n]\n"})
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m validation.training", description=__doc__)
    known = ", ".join([*(f"{name} ({len(each.runs)} runs)" for name, each in EXPERIMENTS.items()), *TWELVE])
    parser.add_argument(
        "what", nargs="+", help=f"data (obtain the images), scores (later predictors), all, or experiments: {known}"
    )
    parser.add_argument("--out", type=Path, default=Path("training-results"), help="folder for the results")
    parser.add_argument("--data", type=Path, default=FOLDER, help=f"folder of the images; default {FOLDER}")
    parser.add_argument("--resume", action="store_true", help="use the runs that are finished, if any")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes; same results for any number")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args(arguments)
    for name in options.what if options.what not in (["data"], ["scores"], ["all"]) else ():
        if name not in EXPERIMENTS | TWELVE:
            parser.error(f"{name} is unknown; choose from data, scores, all, {', '.join(EXPERIMENTS | TWELVE)}")
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
    return (
        f'{{"experiment": {json.dumps(name)}, "question": {json.dumps(EXPERIMENTS[name].question)}, "runs": [\n{lines}\n]}}\n'
    )


def _rounded(value: Any) -> Any:
    """Four digits of every number that was measured."""
    if isinstance(value, Mapping):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    run_command("training", lambda: outcome(main))
