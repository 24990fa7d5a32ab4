"""The kinds of drive: frozen records of what layer 1 receives, and the second moments of its currents in time.

They are made and checked by the functions in ``drives``. A theory reads ``covariance``, a simulation the fields.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen

__all__ = ["Currents", "Drive", "Given", "Inputs", "Spikes", "White"]


class Drive:
    """What layer 1 receives.

    Attributes
    ----------
    kinds : int
        Different inputs, one a row; 1 where all networks are driven alike. Network ``r`` of a simulation sees ``r mod kinds``.
    fan_in : int, optional
        Inputs of a neuron of layer 1; None where it receives a current of its own.
    steps, width : int, optional
        What the network must have; None where any fits.
    """

    __slots__ = ()

    @property
    def kinds(self) -> int:
        return 1

    @property
    def fan_in(self) -> int | None:
        return None

    @property
    def steps(self) -> int | None:
        return None

    @property
    def width(self) -> int | None:
        return None

    def covariance(self, steps: int) -> np.ndarray:
        """``Cov[I_t, I_t']`` of layer 1's currents, one matrix per kind of input; shape (kinds, steps, steps)."""
        raise NotImplementedError

    @property
    def current_variances(self) -> np.ndarray:
        """Variance of layer 1's currents at the first step, one entry per kind of input."""
        return self.covariance(1)[:, 0, 0]

    def of_rows(self, rows: Any) -> Drive:
        """The drive by some of its inputs, in this order; itself where all networks are driven alike."""
        return self


@dataclass(frozen=True, slots=True)
class Currents(Drive):
    """A constant Gaussian current per neuron, ``I ~ N(0, std²)``; made by :func:`currents`."""

    std: float

    def covariance(self, steps: int) -> np.ndarray:
        return np.full((1, steps, steps), self.std**2)

    def __repr__(self) -> str:
        return f"currents(std={self.std:g})"


@dataclass(frozen=True, slots=True)
class White(Drive):
    """Gaussian currents ``I_t ~ N(0, std²)``, new at every step; made by :func:`white`."""

    std: float

    def covariance(self, steps: int) -> np.ndarray:
        return self.std**2 * np.eye(steps)[None]

    def __repr__(self) -> str:
        return f"white(std={self.std:g})"


@dataclass(frozen=True, slots=True, eq=False)
class Inputs(Drive):
    """Input vectors through first-layer weights of standard deviation ``input_gain/√n_in``; made by :func:`inputs`.

    ``x`` has shape (batch, n_in), held over time, or (batch, steps, n_in).
    """

    x: np.ndarray
    input_gain: float

    @property
    def kinds(self) -> int:
        return len(self.x)

    @property
    def fan_in(self) -> int:
        return self.x.shape[-1]

    @property
    def steps(self) -> int | None:
        return self.x.shape[1] if self.x.ndim == 3 else None

    def frames(self, steps: int) -> np.ndarray:
        """``x`` of every step, shape (batch, steps, n_in); a view where it is held."""
        if self.x.ndim == 3:
            return _first(self, self.x, steps)
        return np.broadcast_to(self.x[:, None], (self.kinds, steps, self.fan_in))

    def covariance(self, steps: int) -> np.ndarray:
        if self.x.ndim == 3:
            x = self.frames(steps)
            return self.input_gain**2 / self.fan_in * (x @ x.transpose(0, 2, 1))
        variances = self.input_gain**2 * np.mean(self.x**2, axis=1)
        return np.broadcast_to(variances[:, None, None], (self.kinds, steps, steps))

    def of_rows(self, rows: Any) -> Inputs:
        return replace(self, x=frozen(self.x[rows]))

    def __repr__(self) -> str:
        over = "" if self.steps is None else f" over {self.steps} steps"
        return f"inputs({self.kinds} vectors of {self.fan_in}{over}, input_gain={self.input_gain:.4g})"


@dataclass(frozen=True, slots=True, eq=False)
class Spikes(Drive):
    """Random spike trains through first-layer weights of standard deviation ``input_gain/√n_in``; made by :func:`spikes`.

    ``rates`` has shape (batch, n_in); ``kind`` is ``bernoulli`` or ``poisson``.
    """

    rates: np.ndarray
    input_gain: float
    kind: str = "bernoulli"

    @property
    def kinds(self) -> int:
        return len(self.rates)

    @property
    def fan_in(self) -> int:
        return self.rates.shape[1]

    @property
    def second_moments(self) -> np.ndarray:
        """``E[S²]`` of every train at one step: ``r``, or ``r + r²`` for counts."""
        return self.rates + self.rates**2 if self.kind == "poisson" else self.rates

    def covariance(self, steps: int) -> np.ndarray:
        """The mean over trains; those of ``n_in`` inputs scatter about it by a share of order ``1/√n_in``."""
        apart, same = np.mean(self.rates**2, axis=1), np.mean(self.second_moments, axis=1)
        now = np.eye(steps)
        return self.input_gain**2 * (apart[:, None, None] * (1 - now) + same[:, None, None] * now)

    def of_rows(self, rows: Any) -> Spikes:
        return replace(self, rates=frozen(self.rates[rows]))

    def __repr__(self) -> str:
        batch = f"{self.kinds} × " if self.kinds > 1 else ""
        kind = "" if self.kind == "bernoulli" else f", kind={self.kind!r}"
        return f"spikes({batch}{self.fan_in} trains, mean rate {self.rates.mean():.4g}, input_gain={self.input_gain:.4g}{kind})"


@dataclass(frozen=True, slots=True, eq=False)
class Given(Drive):
    """A user's own currents, of shape (batch, steps, width), or (batch, steps, 1) for all neurons alike; by :func:`given`.

    They have no Gaussian law: a theory steps layer 1 with them as they are and averages over its neurons.
    """

    currents: np.ndarray

    @property
    def kinds(self) -> int:
        return len(self.currents)

    @property
    def steps(self) -> int:
        return self.currents.shape[1]

    @property
    def width(self) -> int | None:
        return self.currents.shape[2] if self.currents.shape[2] > 1 else None

    def covariance(self, steps: int) -> np.ndarray:
        raise DomainError("drive", self, "has no Gaussian law: layer 1 steps these currents as they are")

    def of_rows(self, rows: Any) -> Given:
        return replace(self, currents=frozen(self.currents[rows]))

    def __repr__(self) -> str:
        batch = f"{self.kinds} inputs, " if self.kinds > 1 else ""
        steps = f"{self.steps} step{'s' * (self.steps > 1)}"
        return f"given({batch}{steps} of {f'{self.width} neurons' if self.width else 'one current for all neurons'})"


def _first(drive: Drive, array: np.ndarray, steps: int) -> np.ndarray:
    """The first steps of a batch of them."""
    if steps > array.shape[1]:
        raise DomainError("steps", steps, f"is beyond the drive's own {array.shape[1]}: {drive!r}")
    return array[:, :steps]
