"""Which runs of the twelve pairs there are, in the order in which they are made: seed by seed, so that a part is a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from validation.training.normalised_rates import NAME, looked_at, trained_at
from validation.training.twelve import BEGINNINGS, TASKS, trained
from validation.training.varflow_arms import USUAL, advised, called, trained_after
from varflow.campaign import Block

__all__ = ["TWELVE", "missing_library"]

SEEDS = (0, 1, 2)
RATES = (0.05, 0.1, 0.2, 0.3)  # to which γ is scaled
WAYS = (*BEGINNINGS, "init_model")
Found = dict[str, Any]
Results = Callable[[Sequence[Block]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """An experiment on the twelve pairs: ``run(results, folder, seeds, names)`` gives one dict per training."""

    title: str
    run: Callable[..., list[Found]]


def missing_library(names: Iterable[str]) -> str | None:
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
    return Block(trained_after, settings)


ONE_CALL = {
    ("keep", "usual"): "one call",
    ("set", "usual"): "surrogate",
    ("keep", "advised"): "rate",
    ("set", "advised"): "all",
}
"""What is set by the call, by the surrogate and the learning rate; with the advice on structure followed it is ``advice``."""


def one_call(results: Results, folder: str, seeds: Sequence[int] = SEEDS, names: Sequence[str] = tuple(TASKS)) -> list[Found]:
    """``init_model(model, batch)`` as it is, with the surrogate, with the learning rate, with both; and with its advice."""
    found: list[Found] = []
    for seed in seeds:
        pairs = [(name, surrogate) for name in names for surrogate in ("keep", "set")]
        settings = [{"name": name, "seed": seed, "surrogate": surrogate, "folder": folder} for name, surrogate in pairs]
        for (name, surrogate), each in zip(pairs, results([Block(called, some) for some in settings]), strict=True):
            told = {key: each[key] for key in ("verdict", "problem", "advice")}
            for which, run in each["runs"].items():
                way = ONE_CALL.get((surrogate, which), "advice")
                found.append({"task": name, "way": way, "seed": seed} | told | run)
    return found


def normalised(results: Results, folder: str, seeds: Sequence[int] = SEEDS, names: Sequence[str] = (NAME,)) -> list[Found]:
    """Six convolutions with BatchNorm: γ = 1, γ scaled to four rates, and both with larger weights, at two learning rates."""
    if NAME not in names:
        return []
    ways = [(None, "gamma"), *((rate, "gamma") for rate in RATES), (None, "larger"), (0.2, "larger")]
    runs = [{"rate": rate, "way": way, "seed": seed} for seed in seeds for rate, way in ways]
    before = results([Block(looked_at, run | {"folder": folder}) for run in runs])
    found: list[Found] = []
    for run, seen in zip(runs, before, strict=True):
        rates = (USUAL, seen["advised"] or USUAL)
        made = results([_normalised_block(run, each, folder) for each in rates])
        found += [run | {"learning_rate": each, "before": seen} | result for each, result in zip(rates, made, strict=True)]
    return found


def _normalised_block(run: Mapping[str, Any], rate: float, folder: str) -> Block:
    """With γ as it is, the training is one of ``beginnings``."""
    if (run["rate"], run["way"]) == (None, "gamma"):
        return _block({"task": NAME, "way": "batch_norm", "seed": run["seed"], "rate": rate}, folder)
    return Block(trained_at, {**run, "learning_rate": rate, "folder": folder})


TWELVE: dict[str, Pairs] = {
    "beginnings": Pairs("Usual weights of twelve models", beginnings),
    "one_call": Pairs("One call of varflow", one_call),
    "normalised": Pairs("Firing rates behind BatchNorm", normalised),
}
