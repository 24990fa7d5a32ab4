"""Which budget of a claim can tell its theory from every wrong one: found from draws alone, without a simulation."""

from __future__ import annotations

from math import isfinite
from typing import Any

from validation.claim import Claim
from validation.power import SCOUTS, rejections, smallest_error
from validation.work import Progress, unreported

__all__ = ["has_power", "powerful_budget"]


def powerful_budget(claim: Claim, progress: Progress = unreported) -> str | None:
    """The first budget of the claim that has power, from the smallest on; None if none has."""
    for done, (name, settings) in enumerate(claim.budgets.items()):
        progress("searching a budget with power", done, len(claim.budgets))
        if has_power(claim, settings):
            return name
    return None


def has_power(claim: Claim, settings: Any) -> bool:
    """Whether some error of every kind is caught, and every wrong theory is rejected by 20 of 20 simulations drawn from the
    right one. Controls that simulate wrong networks are left out: there is no distribution to draw those from."""
    right = claim.theory(settings)
    if not all(isfinite(smallest_error(rejections(claim, error, settings, right))) for error in claim.errors(settings)):
        return False
    drawn = [claim.draw(settings, right, seed) for seed in range(SCOUTS)]
    wrong = [control.theory(settings) for control in claim.controls if control.simulate is None]
    return all(claim.judge(settings, theory, each).p_value <= settings.false_alarm for theory in wrong for each in drawn)
