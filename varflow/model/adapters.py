"""scipy.stats distributions, frozen or new-style, as distributions of the standardised membrane potential.

Location-scale copies of the built-in distributions become those. All others keep scipy's tail, evaluated at ``mean + std z``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from varflow._checks import DomainError, put
from varflow._shared import quiet
from varflow.model.builtin import Distribution, Laplace, Logistic, Normal, Uniform
from varflow.model.levels import Discrete, checked_discrete
from varflow.model.student import StudentT

_SAME = {"norm": Normal, "uniform": Uniform, "laplace": Laplace, "logistic": Logistic}
_SAME_NEW = {"Normal": Normal, "StandardNormal": Normal, "Uniform": Uniform, "Logistic": Logistic}
_MOST_ATOMS = 2_000_000  # 16 MB of levels


class ScipyDistribution(Distribution):
    """A continuous scipy distribution, standardised."""

    __slots__ = ("_law", "_mean", "_std", "_tail", "name", "upper")
    _law: Any
    _mean: float
    _std: float
    _tail: str

    def __init__(self, name: str, law: Any, mean: float, std: float):
        put(self, name=name, _law=law, _mean=mean, _std=std, _tail="ccdf" if hasattr(law, "ccdf") else "sf")
        put(self, upper=(float(law.support()[1]) - mean) / std)

    def _read(self, method: str, z: np.ndarray) -> np.ndarray:
        return np.asarray(getattr(self._law, method)(self._mean + self._std * z), dtype=np.float64)

    def _sf(self, z: np.ndarray) -> np.ndarray:
        return self._read(self._tail, z)

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        return self._std * self._read("pdf", z)

    def _log_sf(self, z: np.ndarray) -> np.ndarray:
        return self._read("log" + self._tail, z)

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        return self._std * np.exp(self._read("logpdf", z) - self._log_sf(z))

    def __repr__(self) -> str:
        return f"distribution({self.name})"


def from_scipy(obj: Any) -> Distribution | None:
    """The distribution of a scipy.stats object; None if it is not a univariate distribution."""
    if hasattr(obj, "ccdf") and hasattr(obj, "standard_deviation"):
        return _from_new_style(obj)
    if hasattr(obj, "sf") and hasattr(obj, "numargs"):  # rv_discrete(values=…) and rv_histogram need no parameters
        if obj.numargs:
            raise DomainError("distribution", obj.name, f"has parameters: freeze it, scipy.stats.{obj.name}(…)")
        obj = obj()
    if hasattr(obj, "dist") and hasattr(obj, "sf"):
        return _from_frozen(obj)
    return None


def _from_frozen(obj: Any) -> Distribution:
    name = f"scipy {obj.dist.name}" if obj.dist.name else "scipy distribution"
    mean, std = _moments(name, obj.mean, obj.std)
    shapes, location, _ = obj.dist._parse_args(*obj.args, **obj.kwds)
    if hasattr(obj, "pmf"):
        if hasattr(obj.dist, "xk"):
            return checked_discrete(name, obj, np.asarray(obj.dist.xk, dtype=np.float64) + location, np.asarray(obj.dist.pk))
        return _lattice(name, obj, obj.pmf, obj.sf, obj.cdf, mean, std)
    if type(obj.dist).__module__ == "scipy.stats._continuous_distns":
        if obj.dist.name in _SAME:
            return _SAME[obj.dist.name]()
        if obj.dist.name == "t":
            return StudentT(float(shapes[0]))
    return ScipyDistribution(name, obj, mean, std)


def _from_new_style(obj: Any) -> Distribution:
    kind = type(obj).__name__
    name = f"scipy {kind}"
    mean, std = _moments(name, obj.mean, obj.standard_deviation)
    if type(obj).__module__ == "scipy.stats._new_distributions" and kind in _SAME_NEW:
        return _SAME_NEW[kind]()
    if any(base.__name__ == "DiscreteDistribution" for base in type(obj).__mro__):
        return _lattice(name, obj, obj.pmf, obj.ccdf, obj.cdf, mean, std)
    return ScipyDistribution(name, obj, mean, std)


def _moments(name: str, mean: Callable[[], Any], std: Callable[[], Any]) -> tuple[float, float]:
    """Mean and standard deviation; DomainError unless both are finite and the second positive."""
    with quiet(), np.errstate(all="ignore"):  # a divergent integral raises below
        first, second = np.asarray(mean(), dtype=np.float64), np.asarray(std(), dtype=np.float64)
    if first.ndim or second.ndim:
        raise DomainError("distribution", name, "has array parameters: give one distribution at a time")
    if not (np.isfinite(first) and np.isfinite(second)):
        raise DomainError("distribution", name, "has infinite or undefined variance: it cannot be scaled to variance 1")
    if second <= 0:
        raise DomainError("distribution", name, "has variance 0: it cannot be scaled to variance 1")
    return float(first), float(second)


def _lattice(name: str, obj: Any, pmf: Any, sf: Any, cdf: Any, mean: float, std: float) -> Discrete:
    """Atoms on the (shifted) integers; an infinite end is cut where less than 1e-17 of the probability lies beyond."""
    low, high = (float(end) for end in obj.support())
    anchor = low if np.isfinite(low) else high if np.isfinite(high) else np.floor(mean)
    first = low if np.isfinite(low) else anchor - _reach(lambda k: cdf(anchor - k), std)
    last = high if np.isfinite(high) else anchor + _reach(lambda k: sf(anchor + k), std + max(mean - anchor, 0.0))
    if last - first > _MOST_ATOMS:
        raise DomainError("distribution", name, f"has more than {_MOST_ATOMS} atoms: give a continuous distribution instead")
    atoms = first + np.arange(int(last - first) + 1)
    return checked_discrete(name, obj, atoms, np.asarray(pmf(atoms), dtype=np.float64))


def _reach(tail: Callable[[float], Any], start: float) -> float:
    """A distance beyond which the probability, ``tail`` of it, is negligible."""
    distance = float(np.ceil(start)) + 1.0
    # a probability below the rounding of 1 is left out at either end
    while tail(distance) > 1e-17 and distance < 2 * _MOST_ATOMS:
        distance = np.ceil(1.5 * distance)
    return distance
