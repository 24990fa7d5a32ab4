"""Distributions of the standardised membrane potential, and those that have closed forms: normal, uniform, Laplace, logistic,
atoms and their probabilities.

Each is standardised (mean 0, variance 1) and knows its upper tail ``Q``, density ``f``, ``ln Q`` and hazard ``f/Q``.
Rounding ``z²`` before exponentiating would cost ``z²`` ulp in the tail, so exponents are carried as an unevaluated sum
``hi + lo`` of two floats (Dekker 1971), and ``exp(hi + lo) = exp(hi) (1 + lo)``. Distributions made from a user's object are in
``adapters``, ``samples`` and ``densities``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from varflow._checks import DomainError, frozen, numbers, put, unwrap

_CHUNK = 1 << 14  # intermediates of this many elements stay in cache


class Distribution(ABC):
    """The distribution of a standardised membrane potential: mean 0, variance 1. Immutable.

    Attributes
    ----------
    name : str
    upper : float
        Upper end of the support.
    inflection : float or None
        The ``z_i`` such that ``z³ f(z)`` rises on ``(0, z_i)`` and falls, or is 0, beyond; None if there is no unique
        one or it is unknown. The map ``V → Q(θ/√V)`` is then convex up to ``V = (θ/z_i)²`` and concave beyond, so
        all its fixed points can be found.
    unbounded : bool
        Whether ``z² Q(z)`` grows without bound, which it does for no distribution of finite variance.
    levels, weights : ndarray or None
        Atoms of a discrete distribution, ascending, and their probabilities.

    Examples
    --------
    >>> import varflow as vf
    >>> law = vf.distribution("laplace")
    >>> law.name, isinstance(law, vf.distributions.Distribution)
    ('laplace', True)
    """

    __slots__ = ()
    name: str
    upper: float = math.inf
    inflection: float | None = None
    unbounded: bool = False
    levels: np.ndarray | None = None
    weights: np.ndarray | None = None

    def sf(self, z: Any) -> Any:
        """Upper tail ``Q(z) = P(Z > z)``; arrays broadcast, a scalar gives a float."""
        return _apply(self._sf, z)

    def pdf(self, z: Any) -> Any:
        """Density ``f(z)``; 0 throughout for a discrete distribution."""
        return _apply(self._pdf, z)

    def log_sf(self, z: Any) -> Any:
        """``ln Q(z)``, also where ``Q`` underflows; ``-inf`` where it is 0."""
        return _apply(self._log_sf, z)

    def hazard(self, z: Any) -> Any:
        """``f(z)/Q(z)``, also where both underflow; NaN where ``Q`` is 0."""
        return _apply(self._hazard, z)

    def sf_and_pdf(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``Q(z)`` and ``f(z)`` of an array that fits the cache, together."""
        return self._sf(z), self._pdf(z)

    def elasticity(self, z: Any) -> Any:
        """``z f'(z)/f(z)``, for distributions with an ``inflection``; there it equals -3."""
        return _apply(self._elasticity, z)

    @abstractmethod
    def _sf(self, z: np.ndarray) -> np.ndarray: ...

    @abstractmethod
    def _pdf(self, z: np.ndarray) -> np.ndarray: ...

    def _log_sf(self, z: np.ndarray) -> np.ndarray:
        return np.log(self._sf(z))

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        return self._pdf(z) / self._sf(z)

    def _elasticity(self, z: np.ndarray) -> np.ndarray:
        raise DomainError("distribution", self.name, "has no known elasticity; only built-in distributions do")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:  # copies and pickles
        for name, value in state[1].items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"distribution({self.name!r})"


def _apply(function: Any, z: Any) -> Any:
    """Evaluate in chunks that fit the cache; overflow to inf and ``ln 0 = -inf`` are valid results."""
    array = numbers("z", z)
    with np.errstate(all="ignore"):
        if array.size <= _CHUNK:
            return unwrap(function(array))
        flat, result = array.ravel(), np.empty(array.size)
        for start in range(0, array.size, _CHUNK):
            result[start : start + _CHUNK] = function(flat[start : start + _CHUNK])
    return result.reshape(array.shape)


def two_product(a: np.ndarray, b: Any) -> tuple[np.ndarray, np.ndarray]:
    """``a·b = hi + lo`` exactly, barring overflow (Veltkamp's split, Dekker's product)."""
    hi = a * b
    a_top, a_rest = _halves(a)
    b_top, b_rest = (a_top, a_rest) if b is a else _halves(b)
    return hi, a_rest * b_rest - (((hi - a_top * b_top) - a_rest * b_top) - a_top * b_rest)


def _halves(a: Any) -> tuple[Any, Any]:
    scaled = 134217729.0 * a
    top = scaled - (scaled - a)
    return top, a - top


def _decay(t: np.ndarray, rate: float, rate_rest: float) -> np.ndarray:
    """``exp(-rate·t)`` for ``t ≥ 0``, with ``rate + rate_rest`` a constant to twice double precision."""
    t = np.minimum(t, 2048.0)  # exp(-2048) is 0; keeps the exact product in range
    hi, lo = two_product(t, rate)
    return np.exp(-hi) * (1.0 - (lo + t * rate_rest))


_ROOT_HALF, _ROOT_2_PI_INV = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)

# (1 + z) e^{z²/2} Q(z) as a polynomial in s = (z - 4)/(z + 4), highest power first.
_MILLS = [float(line) for line in (Path(__file__).parents[1] / "data" / "normal_tail.txt").read_text().split()]


class Normal(Distribution):
    r"""The standard normal distribution, the limit of infinite fan-in.

    .. math:: Q(z) = \tfrac12 \operatorname{erfc}(z/\sqrt2), \qquad f(z) = e^{-z^2/2}/\sqrt{2\pi}
    """

    __slots__ = ()
    name = "normal"
    inflection = math.sqrt(3.0)  # (z³ f)' = z² (3 - z²) f

    def sf_and_pdf(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        t = np.abs(z)
        gauss = _gauss(t)
        tail = _scaled_tail(t) * gauss
        return np.where(z < 0, 1.0 - tail, tail), _ROOT_2_PI_INV * gauss

    def _sf(self, z: np.ndarray) -> np.ndarray:
        return self.sf_and_pdf(z)[0]

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        return _ROOT_2_PI_INV * _gauss(np.abs(z))

    def _log_sf(self, z: np.ndarray) -> np.ndarray:
        t = np.abs(z)
        ratio = _scaled_tail(t)
        return np.where(z < 0, np.log1p(-ratio * _gauss(t)), np.log(ratio) - 0.5 * t * t)

    def _elasticity(self, z: np.ndarray) -> np.ndarray:
        return -z * z

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        t = np.abs(z)
        ratio, gauss = _scaled_tail(t), _gauss(t)
        return _ROOT_2_PI_INV * np.where(z < 0, gauss / (1.0 - ratio * gauss), 1.0 / ratio)


def _gauss(t: np.ndarray) -> np.ndarray:
    """``exp(-t²/2)``."""
    t = np.minimum(t, 64.0)  # 0 beyond; keeps the exact square in range
    hi, lo = two_product(t, t)
    return np.exp(-0.5 * hi) * (1.0 - 0.5 * lo)


def _scaled_tail(t: np.ndarray) -> np.ndarray:
    """``Q(t) exp(t²/2)`` for ``t ≥ 0``, which is smooth and never underflows."""
    s = 1.0 - 8.0 / (t + 4.0)
    value = _MILLS[0] * s + _MILLS[1]
    for coefficient in _MILLS[2:]:
        value *= s
        value += coefficient
    return value / (1.0 + t)


_ROOT_3, _ROOT_3_REST = math.sqrt(3), 1.0035084221806903e-16  # √3 to twice double precision


class Uniform(Distribution):
    r"""The uniform distribution on ``(-√3, √3)``.

    .. math:: Q(z) = \frac{\sqrt3 - z}{2\sqrt3}, \qquad f(z) = \frac{1}{2\sqrt3} \qquad (|z| < \sqrt3)
    """

    __slots__ = ()
    name = "uniform"
    upper = _ROOT_3
    inflection = _ROOT_3  # z³ f rises up to the edge and is 0 beyond

    def _sf(self, z: np.ndarray) -> np.ndarray:
        return np.clip(((_ROOT_3 - z) + _ROOT_3_REST) / (2 * _ROOT_3), 0.0, 1.0)

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(z), z, np.where(np.abs(z) <= _ROOT_3, 0.5 / _ROOT_3, 0.0))

    def _log_sf(self, z: np.ndarray) -> np.ndarray:
        return np.where(z < 0, np.log1p(-self._sf(-z)), np.log(self._sf(z)))

    def _elasticity(self, z: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(z), z, 0.0)

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        return np.where(z < -_ROOT_3, 0.0, np.where(z > _ROOT_3, np.nan, 1.0 / ((_ROOT_3 - z) + _ROOT_3_REST)))


_ROOT_2, _ROOT_2_REST = math.sqrt(2), -9.667293313452913e-17  # √2 to twice double precision


class Laplace(Distribution):
    r"""The Laplace distribution, two exponentials back to back.

    .. math:: Q(z) = \tfrac12 e^{-\sqrt2 z} \; (z \ge 0), \qquad f(z) = e^{-\sqrt2 |z|}/\sqrt2
    """

    __slots__ = ()
    name = "laplace"
    inflection = 3 / math.sqrt(2.0)  # (z³ f)' = z² (3 - √2 z) f

    def _sf(self, z: np.ndarray) -> np.ndarray:
        tail = 0.5 * _decay(np.abs(z), _ROOT_2, _ROOT_2_REST)
        return np.where(z < 0, 1.0 - tail, tail)

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        return _ROOT_HALF * _decay(np.abs(z), _ROOT_2, _ROOT_2_REST)

    def _log_sf(self, z: np.ndarray) -> np.ndarray:
        return np.where(z < 0, np.log1p(-0.5 * _decay(np.abs(z), _ROOT_2, _ROOT_2_REST)), -math.log(2.0) - _ROOT_2 * z)

    def _elasticity(self, z: np.ndarray) -> np.ndarray:
        return -_ROOT_2 * np.abs(z)

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        e = _decay(np.abs(z), _ROOT_2, _ROOT_2_REST)
        return np.where(z < 0, _ROOT_HALF * e / (1.0 - 0.5 * e), np.where(np.isnan(z), z, _ROOT_2))


_PI_ROOT_3, _PI_ROOT_3_REST = math.pi / math.sqrt(3), 1.372758647784072e-17  # π/√3 to twice double precision


class Logistic(Distribution):
    r"""The logistic distribution, ``c = π/√3``.

    .. math:: Q(z) = \frac{1}{1 + e^{cz}}, \qquad f(z) = c\, Q(z) (1 - Q(z))
    """

    __slots__ = ()
    name = "logistic"
    inflection = 1.788310997434345  # (z³ f)' = z² (3 - c z tanh(c z/2)) f: the root of 3/z = c tanh(c z/2)

    def _sf(self, z: np.ndarray) -> np.ndarray:
        e = _decay(np.abs(z), _PI_ROOT_3, _PI_ROOT_3_REST)
        return np.where(z < 0, 1.0, e) / (1.0 + e)

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        e = _decay(np.abs(z), _PI_ROOT_3, _PI_ROOT_3_REST)
        return _PI_ROOT_3 * e / (1.0 + e) ** 2

    def _log_sf(self, z: np.ndarray) -> np.ndarray:
        tail = np.log1p(_decay(np.abs(z), _PI_ROOT_3, _PI_ROOT_3_REST))
        return np.where(z < 0, -tail, -_PI_ROOT_3 * z - tail)

    def _elasticity(self, z: np.ndarray) -> np.ndarray:
        return -_PI_ROOT_3 * z * np.tanh(0.5 * _PI_ROOT_3 * z)

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        e = _decay(np.abs(z), _PI_ROOT_3, _PI_ROOT_3_REST)
        return _PI_ROOT_3 * np.where(z < 0, e, 1.0) / (1.0 + e)


class Discrete(Distribution):
    """Atoms with probabilities. ``sf`` is the step function ``P(Z > z)``; ``pdf`` and ``hazard`` are 0.

    Atoms are standardised in floating point, so whether a threshold lies on one is decided by rounding; where ties matter,
    count with ``levels`` and ``weights``.
    """

    __slots__ = ("_tails", "levels", "name", "upper", "weights")  # pyright: ignore[reportIncompatibleVariableOverride]
    levels: np.ndarray
    weights: np.ndarray
    _tails: np.ndarray

    def __init__(self, name: str, atoms: np.ndarray, weights: np.ndarray):
        order = np.argsort(atoms)
        atoms, weights = atoms[order], weights[order] / np.sum(weights)
        mean = np.sum(weights * atoms)
        levels = (atoms - mean) / np.sqrt(np.sum(weights * (atoms - mean) ** 2))
        put(self, name=name, levels=frozen(levels), weights=frozen(weights), upper=float(levels[-1]))
        tails = np.append(np.cumsum(weights[::-1])[::-1], 0.0)  # summed from the right: small tails keep their digits
        tails[0] = 1.0
        put(self, _tails=frozen(tails))

    def _sf(self, z: np.ndarray) -> np.ndarray:
        tails = self._tails[np.searchsorted(self.levels, z, side="right")]
        return np.where(np.isnan(z), z, tails)

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(z), z, 0.0)

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        return np.where(z >= self.upper, np.nan, self._pdf(z))

    def __repr__(self) -> str:
        return f"distribution({self.name}, {self.levels.size} atoms)"


def checked_discrete(name: str, obj: Any, atoms: np.ndarray, weights: np.ndarray) -> Discrete:
    """A :class:`Discrete` of the atoms with positive probability; DomainError if there are fewer than two."""
    some = weights > 0
    if np.count_nonzero(some) < 2:
        raise DomainError("distribution", obj, "is constant: a variance of 0 cannot be scaled to 1")
    return Discrete(name, atoms[some], weights[some])
