"""What counts as alive in a network of several steps: four criteria, which differ by orders of magnitude at finite width."""

from __future__ import annotations

import numpy as np

from varflow._checks import choice
from varflow.results import late_steps

CRITERIA = ("every step", "every late step", "a late step", "any step")


def criterion(alive: str) -> str:
    """A checked criterion."""
    return choice("alive", alive, CRITERIA)


def alive_by(alive: str, steps: np.ndarray) -> np.ndarray:
    """True where a layer is alive by a criterion, whose ``steps`` (…, steps) are alive; late: the second half of them."""
    among = steps[..., late_steps(steps.shape[-1])] if "late" in alive else steps
    return among.all(axis=-1) if alive.startswith("every") else among.any(axis=-1)
