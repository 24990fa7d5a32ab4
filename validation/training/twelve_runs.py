"""Which runs of the twelve pairs there are, in the order in which they are made: seed by seed, so that a part is a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from validation.training.twelve import BEGINNINGS, TASKS, trained
from validation.training.varflow_arms import USUAL, advised, initialised
from varflow.campaign import Block

__all__ = ["TWELVE", "missing_library"]

SEEDS = (0, 1, 2)
ASKED = {"rate": 0.2}  # what init_model aims at where it is asked for a rate
WAYS = (*BEGINNINGS, "init_model")
Found = dict[str, Any]
Results = Callable[[Sequence[Block]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """An experiment on the twelve pairs: ``run(results, folder, seeds, names)`` gives one dict per training."""

    question: str
    run: Callable[..., list[Found]]


def missing_library(names: Sequence[str] = tuple(TASKS)) -> str | None:
    """A sentence on what is not installed, if anything is."""
    libraries = {TASKS[name].library for name in names}
    missing = sorted(library for library in libraries if find_spec(library) is None)
    if not missing:
        return None
    how = "'make train' installs it in .venv/libraries and names that folder in PYTHONPATH"
    return f"{', '.join(missing)} is not installed, so that tasks are left out: {how}"


def distinct(name: str) -> Iterator[str]:
    """Ways to begin that differ: BatchNorm does not, where the model has it anyway."""
    return (way for way in WAYS if not (way == "batch_norm" and TASKS[name].normalised))


def beginnings(results: Results, folder: str, seeds: Sequence[int] = SEEDS, names: Sequence[str] = tuple(TASKS)) -> list[Found]:
    """torch's default, Kaiming, BatchNorm and ``init_model(rate=0.2)``, at 10⁻³ and at the rate that the audit advises."""
    found: list[Found] = []
    for seed in seeds:
        pairs = [(name, way) for name in names for way in distinct(name)]
        rates = results([Block(advised, {"name": n, "beginning": w, "seed": seed, "folder": folder}) for n, w in pairs])
        runs = [
            {"task": name, "way": way, "seed": seed, "rate": rate, "advised": by_audit}
            for (name, way), each in zip(pairs, rates, strict=True)
            for rate, by_audit in ((USUAL, False), (each["rate"], True))
            if rate is not None
        ]
        found += _made(runs, results, folder)
    return found


def _made(runs: Sequence[Found], results: Results, folder: str) -> list[Found]:
    made = results([_block(run, folder) for run in runs])
    return [run | result for run, result in zip(runs, made, strict=True)]


def _block(run: Mapping[str, Any], folder: str) -> Block:
    settings = {"name": run["task"], "rate": run["rate"], "seed": run["seed"], "folder": folder}
    if run["way"] in BEGINNINGS:
        return Block(trained, settings | {"beginning": run["way"]})
    return Block(initialised, settings | {"options": ASKED})


TWELVE: dict[str, Pairs] = {
    "beginnings": Pairs("How do usual weights train twelve models?", beginnings),
}
