"""Negative controls: wrong theories, compared with the simulation of the right network. Each is a block of its own."""

from __future__ import annotations

from typing import Any

from validation.claim import Claim, Control, number
from validation.power import named
from validation.work import HERE, Work

__all__ = ["MARGIN", "compared", "in_error", "wrong"]

MARGIN = 1.5  # size of a control in units of the smallest error detected


def in_error(claim: Claim | str, settings: Any, error: int, size: float | None, measured: Any) -> dict[str, Any]:
    """The theory of a network whose error, given by its index, is ``MARGIN`` times the smallest one detected, if any was."""
    found = named(claim)
    chosen = found.errors(settings)[error]
    if size is None:
        return {"what": f"{chosen.what}: no error was caught", "p_value": 1.0, "rejected": False}
    amount = MARGIN * size
    what = f"{chosen.what} {100 * amount:.2g} % too large"
    return compared(found, Control(what, lambda settings: found.theory(chosen.wrong(settings, amount))), settings, measured)


def wrong(claim: Claim | str, settings: Any, control: int, measured: Any) -> dict[str, Any]:
    """A control of the claim, by its index."""
    found = named(claim)
    return compared(found, found.controls[control], settings, measured)


def compared(
    claim: Claim, control: Control, settings: Any, measured: Any, *, seed: int = 0, work: Work = HERE
) -> dict[str, Any]:
    """The control's theory against the claim's simulation, or against its own."""
    seen = control.simulate(settings, seed, work) if control.simulate else measured
    judgement = claim.judge(settings, control.theory(settings), seen)
    p_value = float(judgement.p_value)
    numbers = {name: [number(x) for x in getattr(judgement, name)] for name in ("theory", "z")}
    return {"what": control.what, "p_value": p_value, "rejected": bool(p_value <= settings.false_alarm), **numbers}
