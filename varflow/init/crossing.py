r"""Crossing of a target by a survival that is measured on networks drawn: a bracket, then logistic fits that move to it.

.. math:: \mathrm{logit}\, P(x) \approx a + b\, d + c\, d^2, \qquad d = s (x - x_0)

near the target, by maximum likelihood with a weak prior; ``s`` is the slope of the fit before. In ``x = ln g`` it is 36 to 290.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, logit

FEW = 64  # networks that tell on which side of one half a survival is
NARROW = 0.02  # bracket of one half
SLOPE, LEAST, MOST = 40.0, 0.5, 2e3  # of the logit: the first guess, and between which it is believed
PLACES = 0.9 * np.arange(-2.0, 3.0)  # of a round about the crossing, in logits
ROUNDS = (0.05, 0.1, 0.3, 1.0)  # networks at each place of a round, as a fraction of those of the last
REACH = 6.0  # logits from the crossing within which networks count for the fit
PRIOR = np.array([0.01, 1.0, 100.0])  # precision of a about the target, of b about 1, and of c about 0


@dataclass(slots=True)
class Crossing:
    """The search for the ``x`` at which survival, which rises with it, is ``target``.

    Attributes
    ----------
    drawn : callable
        Number of survivors among so many networks drawn at ``x``; with the number of those looks, for its seed.
    furthest : float
        The largest ``x``, and ``-x``, of the bracket.
    """

    drawn: Callable[[float, int, int], float]
    target: float
    furthest: float
    seen: list[tuple[float, float, int]] = field(default_factory=list)

    def look(self, x: float, networks: int) -> float:
        """Survival at ``x``."""
        alive = self.drawn(x, networks, len(self.seen))
        self.seen.append((x, alive, networks))
        return alive / networks

    def find(self, networks: int) -> tuple[float, float]:
        """The crossing and its standard error; infinite if it lies beyond the furthest ``x``."""
        x, error, slope = self._half() + float(logit(self.target)) / SLOPE / 2, 0.0, SLOPE
        for part in ROUNDS:
            for place in PLACES:
                self.look(x + place / slope, max(round(part * networks), FEW))
            x, error, slope = self._fitted(x, slope)
        return (x, error) if x < self.furthest else (math.inf, 0.0)

    def _half(self) -> float:
        """The ``x`` at which about half of the networks are alive."""
        lower, upper = -self.furthest, self.furthest
        while upper - lower > NARROW:
            middle = (lower + upper) / 2
            lower, upper = (middle, upper) if self.look(middle, FEW) < 0.5 else (lower, middle)
        return (lower + upper) / 2

    def _fitted(self, x: float, slope: float) -> tuple[float, float, float]:
        """Crossing, its standard error and the slope there, from all networks drawn near ``x``."""
        places, alive, networks = np.array(self.seen).T
        near = abs(slope * (places - x)) < REACH
        d, alive, networks = slope * (places - x)[near], alive[near], networks[near]
        powers, level = np.stack([np.ones_like(d), d, d**2], axis=1), float(logit(self.target))
        fit, mean, information = np.array([level, 1.0, 0.0]), np.array([level, 1.0, 0.0]), np.diag(PRIOR)
        for _ in range(30):
            P = expit(powers @ fit)
            information = (powers.T * (networks * P * (1 - P))) @ powers + np.diag(PRIOR)
            step = np.linalg.solve(information, powers.T @ (alive - networks * P) - PRIOR * (fit - mean))
            fit = fit + step / max(1.0, float(abs(step).max()))
        at, steepness = 0.0, 1.0
        for _ in range(20):
            steepness = max(fit[1] + 2 * fit[2] * at, LEAST / slope)
            at = float(np.clip(at - (fit @ [1.0, at, at**2] - level) / steepness, -REACH, REACH))
        direction = np.array([1.0, at, at**2])
        error = math.sqrt(direction @ np.linalg.solve(information, direction)) / (slope * steepness)
        return x + at / slope, error, float(np.clip(slope * steepness, LEAST, MOST))
