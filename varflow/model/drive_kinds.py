"""The classes of drive: what layer 1 receives, and the covariance of its currents over time.

The functions in ``drives`` make them; the classes check their fields. Theory reads ``covariance``, simulation the fields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from varflow._checks import (
    COUNTABLE,
    LARGEST_SCALE,
    SMALLEST_SCALE,
    DomainError,
    choice,
    frozen,
    integer,
    non_negative,
    non_negative_number,
    positive_number,
    put,
    real_array,
    unmasked,
)
from varflow._memory import room

TRAINS = ("bernoulli", "poisson")


class Drive:
    """The currents, inputs or spikes that layer 1 receives.

    Attributes
    ----------
    n_inputs : int
        Number of different inputs; 1 if all networks get the same. Network ``r`` of a simulation sees input ``r mod n_inputs``.
    fan_in : int, optional
        Inputs per neuron of layer 1; None if it receives currents directly.
    steps, width : int, optional
        Steps and width of layer 1 that the network must have; None if any will do.
    """

    __slots__ = ()

    @property
    def n_inputs(self) -> int:
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
        """``Cov[I_t, I_t']`` of layer 1's currents, one matrix per input; shape (n_inputs, steps, steps)."""
        steps = integer("steps", steps, minimum=1)
        room("steps", steps, 8 * self.n_inputs * steps**2, "covariances over the steps: take fewer steps or inputs")
        return self._covariance(steps)

    def _covariance(self, steps: int) -> np.ndarray:
        raise DomainError("drive", self, "has no covariance: define covariance(self, steps), of shape (kinds, steps, steps)")

    @property
    def current_variances(self) -> np.ndarray:
        """Variance of layer 1's currents at the first step, one entry per input."""
        return self.checked_covariance(1)[:, 0, 0]

    def checked_covariance(self, steps: int) -> np.ndarray:
        """``covariance(steps)``; DomainError if that of a drive from outside has another shape."""
        covariance, wanted = self.covariance(steps), (self.n_inputs, steps, steps)
        if np.shape(covariance) != wanted:
            rule = f"has a covariance of shape {np.shape(covariance)}: it must have (n_inputs, steps, steps) = {wanted}"
            raise DomainError("drive", self, rule)
        return covariance

    def of_rows(self, rows: Any) -> Drive:
        """The drive with only these inputs, in this order; itself if all networks get the same."""
        _indices(rows)
        return self


@dataclass(frozen=True, slots=True)
class _GaussianCurrents(Drive):
    """Gaussian currents of one standard deviation; ``made_by``: the function of ``vf.drives``."""

    made_by: ClassVar[str]
    std: float
    shape: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        put(self, std=non_negative_number("std", self.std), shape=map_shape(self.shape))

    @property
    def width(self) -> int | None:
        return None if self.shape is None else math.prod(self.shape)

    def __repr__(self) -> str:
        return f"{self.made_by}(std={self.std:g}{'' if self.shape is None else f', shape={self.shape}'})"


class ConstantCurrents(_GaussianCurrents):
    """A constant Gaussian current per neuron, ``I ~ N(0, std²)``; made by :func:`currents`.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.currents(0.5).covariance(1)
    array([[[0.25]]])
    """

    __slots__, made_by = (), "currents"

    def _covariance(self, steps: int) -> np.ndarray:
        return np.full((1, steps, steps), self.std**2)


class White(_GaussianCurrents):
    """Gaussian currents ``I_t ~ N(0, std²)``, new at every step; made by :func:`white`.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.white(0.5).covariance(1)
    array([[[0.25]]])
    """

    __slots__, made_by = (), "white"

    def _covariance(self, steps: int) -> np.ndarray:
        return self.std**2 * np.eye(steps)[None]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs(Drive):
    """Input vectors through first-layer weights of standard deviation ``input_gain/√n_in``; made by :func:`inputs`.

    ``x`` has shape (batch, n_in), constant in time, or (batch, steps, n_in). Maps (batch[, steps], channels, height, width)
    are flattened, and ``shape`` tells their last three axes.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.inputs([[3.0, 4.0], [0.0, 5.0]]).fan_in
    2
    """

    x: np.ndarray
    input_gain: Any = None  # by default ``unit_gain``
    shape: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        x, shape = input_vectors(self.x), map_shape(self.shape)
        if x.ndim > 3:
            shape = x.shape[-3:]
            x = x.reshape(*x.shape[:-3], -1)
        if shape is not None and math.prod(shape) != x.shape[-1]:
            raise DomainError("shape", shape, f"must have as many numbers as an input: {x.shape[-1]}")
        put(self, x=frozen(x), input_gain=_gain("x", x, x**2, self.input_gain), shape=shape)
        _currents_fit("x", self.x, self.input_gain)

    @property
    def n_inputs(self) -> int:
        return len(self.x)

    @property
    def fan_in(self) -> int:
        return self.x.shape[-1]

    @property
    def unit_gain(self) -> float:
        """The input gain at which the currents have variance 1, averaged over the batch; the default."""
        return float(np.mean(self.x**2)) ** -0.5 if self.x.any() else math.nan

    @property
    def steps(self) -> int | None:
        return self.x.shape[1] if self.x.ndim == 3 else None

    def frames(self, steps: int) -> np.ndarray:
        """``x`` at every step, shape (batch, steps, n_in); a view if it is constant in time."""
        steps = integer("steps", steps, minimum=1)
        if self.x.ndim < 3:
            return np.broadcast_to(self.x[:, None], (self.n_inputs, steps, self.fan_in))
        if steps > self.x.shape[1]:
            raise DomainError("steps", steps, f"is more than the drive has, {self.x.shape[1]}: {self!r}")
        return self.x[:, :steps]

    def _covariance(self, steps: int) -> np.ndarray:
        if self.x.ndim == 3:
            x = self.input_gain * self.frames(steps)
            return x @ x.transpose(0, 2, 1) / self.fan_in
        variances = np.mean((self.input_gain * self.x) ** 2, axis=1)
        return np.broadcast_to(variances[:, None, None], (self.n_inputs, steps, steps))

    def of_rows(self, rows: Any) -> Inputs:
        return replace(self, x=_rows(self.x, rows))

    def __repr__(self) -> str:
        over = "" if self.steps is None else f" over {self.steps} steps"
        return f"inputs({self.n_inputs} vectors of {self.fan_in}{over}, input_gain={self.input_gain:.4g})"


@dataclass(frozen=True, slots=True, eq=False)
class SpikeTrains(Drive):
    """Random spike trains through first-layer weights of standard deviation ``input_gain/√n_in``; made by :func:`spikes`.

    ``rates`` has shape (batch, n_in); ``kind`` is ``bernoulli`` or ``poisson``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.spikes([0.1, 0.3]).rates
    array([[0.1, 0.3]])
    """

    rates: np.ndarray
    input_gain: Any = None  # by default ``unit_gain``
    kind: str = "bernoulli"

    def __post_init__(self) -> None:
        rates = train_rates(self.rates, choice("kind", self.kind, TRAINS))
        put(self, rates=frozen(rates))
        put(self, input_gain=_gain("rates", rates, self.second_moments, self.input_gain))
        _currents_fit("rates", np.maximum(rates, np.sqrt(rates)), self.input_gain)

    @property
    def n_inputs(self) -> int:
        return len(self.rates)

    @property
    def fan_in(self) -> int:
        return self.rates.shape[1]

    @property
    def unit_gain(self) -> float:
        """The input gain at which the currents have variance 1 at each step, averaged over the batch; the default."""
        return float(np.mean(self.second_moments)) ** -0.5 if self.rates.any() else math.nan

    @property
    def second_moments(self) -> np.ndarray:
        """``E[S²]`` of every train at one step, ``r``, or ``r + r²`` for Poisson counts."""
        return self.rates + self.rates**2 if self.kind == "poisson" else self.rates

    def _covariance(self, steps: int) -> np.ndarray:
        """Its mean over trains, about which one network's own scatters by a fraction of order ``1/√n_in``."""
        other_steps = np.mean((self.input_gain * self.rates) ** 2, axis=1)
        same_step = np.mean((self.input_gain * np.sqrt(self.second_moments)) ** 2, axis=1)
        identity = np.eye(steps)
        return other_steps[:, None, None] * (1 - identity) + same_step[:, None, None] * identity

    def of_rows(self, rows: Any) -> SpikeTrains:
        return replace(self, rates=_rows(self.rates, rows))

    def __repr__(self) -> str:
        batch = f"{self.n_inputs} × " if self.n_inputs > 1 else ""
        kind = "" if self.kind == "bernoulli" else f", kind={self.kind!r}"
        return f"spikes({batch}{self.fan_in} trains, mean rate {self.rates.mean():.4g}, input_gain={self.input_gain:.4g}{kind})"


@dataclass(frozen=True, slots=True, eq=False)
class Given(Drive):
    """Given currents, shape (batch, steps, width), or (batch, steps, 1) for the same in all neurons; made by :func:`given`.

    They are not Gaussian: theory steps layer 1 with these numbers and averages over its neurons.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.drives.given([1.5, 0.0, 0.0]).currents.shape
    (1, 3, 1)
    """

    currents: np.ndarray

    def __post_init__(self) -> None:
        array = _numbers("currents", self.currents)
        if not 1 <= array.ndim <= 3 or 0 in array.shape:
            rule = "must have shape (steps,), (steps, width) or (batch, steps, width)"
            raise DomainError("currents", f"array of shape {array.shape}", rule)
        array = array[:, None] if array.ndim == 1 else array
        put(self, currents=frozen(array if array.ndim == 3 else array[None]))

    @property
    def n_inputs(self) -> int:
        return len(self.currents)

    @property
    def steps(self) -> int:
        return self.currents.shape[1]

    @property
    def width(self) -> int | None:
        return self.currents.shape[2] if self.currents.shape[2] > 1 else None

    def _covariance(self, steps: int) -> np.ndarray:
        raise DomainError("drive", self, "has no covariance: its currents are given numbers, not Gaussian")

    def of_rows(self, rows: Any) -> Given:
        return replace(self, currents=_rows(self.currents, rows))

    def __repr__(self) -> str:
        batch = f"{self.n_inputs} inputs, " if self.n_inputs > 1 else ""
        steps = f"{self.steps} step{'s' * (self.steps > 1)}"
        return f"given({batch}{steps} of {f'{self.width} neurons' if self.width else 'one current for all neurons'})"


def map_shape(shape: Any) -> tuple[int, int, int] | None:
    """Checked (channels, height, width)."""
    if shape is None:
        return None
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise DomainError("shape", shape, "must be (channels, height, width)")
    channels, height, width = (integer("shape", side, minimum=1) for side in shape)
    return channels, height, width


def _rows(table: np.ndarray, rows: Any) -> np.ndarray:
    """Rows of a table, chosen by a slice or by index."""
    try:
        return table[_indices(rows)]
    except IndexError:
        raise DomainError("rows", rows, f"must be below {len(table)}, the number of inputs") from None


def _indices(rows: Any) -> Any:
    """A slice, or an array of whole numbers."""
    if isinstance(rows, slice):
        return rows
    array = np.atleast_1d(real_array("rows", rows))
    if np.any(array % 1) or np.any(np.abs(array) > COUNTABLE):
        raise DomainError("rows", rows, "must be a slice, or whole numbers: the inputs to keep")
    return array.astype(np.intp)


def input_vectors(x: Any) -> np.ndarray:
    """Checked input vectors, (batch[, steps], n_in), or maps (batch[, steps], channels, height, width)."""
    array = _numbers("x", x)
    if not 2 <= array.ndim <= 5 or 0 in array.shape:
        rule = (
            "must have shape (batch, n_in), one input vector per row, or (batch, steps, n_in), one per step; "
            "maps (batch[, steps], channels, height, width)"
        )
        raise DomainError("x", f"array of shape {array.shape}", rule)
    return array


def train_rates(rates: Any, kind: str) -> np.ndarray:
    """Checked rates of spike trains, (batch, n_in)."""
    array = _numbers("rates", rates)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or 0 in array.shape:
        rule = "must have shape (n_in,) or (batch, n_in), a rate per input"
        raise DomainError("rates", f"array of shape {array.shape}", rule)
    non_negative("rates", array)
    if kind == "bernoulli" and array.max() > 1:
        rule = "must lie between 0 and 1: a Bernoulli train has one spike a step at most"
        raise DomainError("rates", float(array.max()), rule)
    return array


def _numbers(name: str, value: Any) -> np.ndarray:
    """Real numbers (booleans count as 0 and 1) whose squares do not overflow."""
    unmasked(name, value)
    binary = getattr(value, "dtype", None) == np.bool_
    array = real_array(name, np.asarray(value, dtype=float) if binary else value)
    if array.size and max(array.max(), -array.min()) > LARGEST_SCALE:
        worst = float(array.flat[np.argmax(np.abs(array))])
        raise DomainError(name, worst, f"must be at most {LARGEST_SCALE:g} in size; measure inputs in larger units")
    return array


def _gain(name: str, array: np.ndarray, squares: np.ndarray, input_gain: float | None) -> float:
    """The input gain; by default that at which the currents have second moment 1, averaged over the batch."""
    if input_gain is not None:
        return positive_number("input_gain", input_gain)
    second_moment = float(np.mean(squares))
    if second_moment < 1e-280:
        size = "all zero" if not array.any() else "too small to square"
        raise DomainError(name, f"array of shape {array.shape}", f"is {size}: give input_gain, or other inputs")
    return second_moment**-0.5


def _currents_fit(name: str, inputs: np.ndarray, input_gain: float) -> None:
    """Raise if the square of a current would overflow or underflow."""
    for size in np.abs(inputs).reshape(len(inputs), -1).max(axis=1).tolist():
        if size and not SMALLEST_SCALE <= size * input_gain <= LARGEST_SCALE:
            rule = f"times input_gain={input_gain:g} over- or underflows when squared; measure inputs in other units"
            raise DomainError(name, size, rule)
