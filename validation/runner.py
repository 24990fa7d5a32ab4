"""Examining a claim: theory against simulation, the smallest error that would be detected, and the controls."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import numpy as np

import varflow as vf
from validation.budgets import powerful_budget
from validation.claim import FAILS, HOLDS, INCONCLUSIVE, Claim, Control, Error, Judgement, Result
from validation.power import DRAWS, POWER, smallest
from validation.work import HERE, Work

__all__ = ["MARGIN", "examine"]

MARGIN = 1.5  # size of a control in units of the smallest error detected


def examine(claim: Claim, settings: Any, *, seed: int = 0, work: Work = HERE) -> Result:
    """Run one claim on the given settings.

    The simulation rejects the theory, or else every control, or it is inconclusive: then the budgets of the claim are tried,
    from the smallest on, for one that has the power.
    """
    start = time.perf_counter()
    if work.device not in claim.devices:
        work = replace(work, device=claim.devices[0])
    work.progress("theory", 0, 0)
    predicted = claim.theory(settings)
    measured = claim.simulate(settings, seed, work)
    work.progress("judging", 0, 0)
    judgement = claim.judge(settings, predicted, measured)
    errors = claim.errors(settings)
    sizes = _smallest(claim, settings, predicted, len(errors), work)
    work.progress("controls", 0, 0)
    controls = [_in_error(claim, error, size, settings, measured) for error, size in zip(errors, sizes, strict=True)]
    further = [_control(claim, control, settings, seed, measured, work) for control in claim.controls]
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


def _verdict(rejected: bool, controls: Sequence[bool]) -> str:
    return FAILS if rejected else HOLDS if all(controls) else INCONCLUSIVE


def _smallest(claim: Claim, settings: Any, right: Any, errors: int, work: Work) -> list[float]:
    """The smallest size detected of each error; a block each, unless no module defines the claim."""
    module = f"validation.claims.{claim.name}"
    known = getattr(sys.modules.get(module), "CLAIM", None) is claim
    wanted = [{"claim": module if known else claim, "settings": settings, "error": k, "right": right} for k in range(errors)]
    return (work if known else replace(work, run=None)).results(smallest, wanted, what="searching smallest errors")


def _in_error(claim: Claim, error: Error, size: float, settings: Any, measured: Any) -> dict[str, Any]:
    """The theory of a network whose error is ``MARGIN`` times the smallest one detected."""
    if not np.isfinite(size):
        return {"what": f"{error.what}: no error was caught", "p_value": 1.0, "rejected": False}
    amount = MARGIN * size
    what = f"{error.what} {100 * amount:.2g} % too large"
    wrong = Control(what, lambda settings: claim.theory(error.wrong(settings, amount)))
    return _control(claim, wrong, settings, 0, measured)


def _control(claim: Claim, control: Control, settings: Any, seed: int, measured: Any, work: Work = HERE) -> dict[str, Any]:
    seen = control.simulate(settings, seed, work) if control.simulate else measured
    judgement = claim.judge(settings, control.theory(settings), seen)
    p_value = float(judgement.p_value)
    numbers = {name: [_number(x) for x in getattr(judgement, name)] for name in ("theory", "z")}
    return {"what": control.what, "p_value": p_value, "rejected": p_value <= settings.false_alarm, **numbers}


def _worst(errors: Sequence[Error], sizes: Sequence[float]) -> dict[str, Any]:
    """The largest of the smallest errors detected, and all of them."""
    each = [{"what": error.what, "relative_size": _number(size)} for error, size in zip(errors, sizes, strict=True)]
    return each[int(np.argmax(sizes))] | {"power": POWER, "draws": DRAWS, "each": each}


def _numbers(judgement: Judgement) -> dict[str, list]:
    names = ("theory", "estimate", "standard_error", "z")
    return {"points": list(judgement.points)} | {name: [_number(x) for x in getattr(judgement, name)] for name in names}


def _number(value: float) -> float | None:
    """Six digits; None for NaN and infinity, which JSON lacks."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _versions() -> dict[str, str]:
    return {
        "varflow": vf.__version__,
        "numpy": np.__version__,
        "scipy": version("scipy"),
        "torch": version("torch"),
        "python": platform.python_version(),
    }
