"""Examining a claim: theory against simulation, the smallest error that would be detected, and the controls."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

import varflow as vf
from validation.budgets import powerful_budget
from validation.claim import FAILS, HOLDS, INCONCLUSIVE, Claim, Error, Judgement, Result, number
from validation.controls import compared, in_error, wrong
from validation.power import DRAWS, POWER, smallest
from validation.work import HERE, Work

__all__ = ["Planned", "examine", "judged", "smallest_errors"]

Planned = tuple[Claim, Any, Any]  # with its settings, and what the theory predicts


def examine(claim: Claim, settings: Any, *, seed: int = 0, work: Work = HERE) -> Result:
    """Run one claim on the given settings.

    The simulation rejects the theory, or else every control, or it is inconclusive: then the budgets of the claim are tried,
    from the smallest on, for one that has the power.
    """
    work.progress("theory", 0, 0)
    planned = claim, settings, claim.theory(settings)
    (sizes,) = smallest_errors([planned], work)
    return judged(planned, sizes, seed=seed, work=work)


def smallest_errors(planned: Sequence[Planned], work: Work) -> list[list[float]]:
    """The smallest size detected of each error of each claim: all searches at once, for they do not need the simulations."""
    searches = [(each, k) for each in planned for k in range(len(each[0].errors(each[1])))]
    wanted = [{"claim": _name(claim), "settings": s, "error": k, "right": right} for (claim, s, right), k in searches]
    found = iter(_blocks(smallest, wanted, work, "searching smallest errors"))
    return [[next(found) for _ in claim.errors(settings)] for claim, settings, _ in planned]


def judged(planned: Planned, sizes: Sequence[float], *, seed: int, work: Work) -> Result:
    """Simulate a claim, and compare its theory and the controls with the simulation."""
    start, (claim, settings, predicted) = time.perf_counter(), planned
    if work.device not in claim.devices:
        work = replace(work, device=claim.devices[0])
    measured = claim.simulate(settings, seed, work)
    work.progress("judging", 0, 0)
    judgement = claim.judge(settings, predicted, measured)
    seen = {"claim": _name(claim), "settings": settings, "measured": measured}
    errors = claim.errors(settings)
    wanted = [seen | {"error": k, "size": size if np.isfinite(size) else None} for k, size in enumerate(sizes)]
    controls = _blocks(in_error, wanted, work, "controls")
    given = [k for k, control in enumerate(claim.controls) if control.simulate is None]
    further = dict(zip(given, _blocks(wrong, [seen | {"control": k} for k in given], work, "controls"), strict=True))
    for k, control in enumerate(claim.controls):
        if control.simulate:
            further[k] = compared(claim, control, settings, measured, seed=seed, work=work)
    further = [further[k] for k in range(len(claim.controls))]
    controls.sort(key=lambda control: -control["p_value"])
    verdict = _verdict(judgement.p_value <= settings.false_alarm, [control["rejected"] for control in controls + further])
    powerful = powerful_budget(claim, work.progress) if verdict == INCONCLUSIVE else None
    return Result(
        claim=claim.name,
        statement=claim.statement,
        source=claim.source,
        configuration=asdict(settings) | {"device": work.device},
        seed=seed,
        version=_versions(),
        quantity=claim.quantity,
        **_numbers(judgement),
        p_value=judgement.p_value,
        false_alarm=settings.false_alarm,
        smallest_detectable_error=_worst(errors, sizes),
        negative_control=controls[0],
        further_controls=controls[1:] + further,
        reading=claim.reading(settings, predicted, measured),
        verdict=verdict,
        budget=claim.budget_of(settings),
        powerful_budget=powerful,
        seconds=round(time.perf_counter() - start, 1),
    )


def _verdict(rejected: bool, controls: Sequence[bool]) -> Literal["holds", "fails", "inconclusive"]:
    return FAILS if rejected else HOLDS if all(controls) else INCONCLUSIVE


def _name(claim: Claim) -> Claim | str:
    """The module that defines the claim, by which other processes find it; the claim itself if there is none."""
    module = f"validation.claims.{claim.name}"
    return module if getattr(sys.modules.get(module), "CLAIM", None) is claim else claim


def _blocks(function: Callable[..., Any], wanted: Sequence[dict[str, Any]], work: Work, what: str) -> list[Any]:
    """The results of a block for each; claims without a module are computed here, and not kept."""
    elsewhere = all(isinstance(each["claim"], str) for each in wanted)
    return (work if elsewhere else replace(work, run=None)).results(function, wanted, what=what)


def _worst(errors: Sequence[Error], sizes: Sequence[float]) -> Any:
    """The largest of the smallest errors detected, and all of them."""
    each = [{"what": error.what, "relative_size": number(size)} for error, size in zip(errors, sizes, strict=True)]
    return each[int(np.argmax(sizes))] | {"power": POWER, "draws": DRAWS, "each": each}


def _numbers(judgement: Judgement) -> dict[str, list]:
    names = ("theory", "estimate", "standard_error", "z")
    return {"points": list(judgement.points)} | {name: [number(x) for x in getattr(judgement, name)] for name in names}


def _versions() -> dict[str, str]:
    return {
        "varflow": vf.__version__,
        "numpy": np.__version__,
        "scipy": version("scipy"),
        "torch": version("torch"),
        "python": platform.python_version(),
    }
