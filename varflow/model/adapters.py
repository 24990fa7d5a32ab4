"""scipy.stats distributions, frozen or new-style, as distributions of the standardised membrane potential.

Location-scale copies of the built-in distributions become those. All others keep scipy's tail, evaluated at ``mean + std z``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from varflow._checks import DomainError, put
from varflow._shared import quiet
from varflow.model.builtin import Discrete, Distribution, Laplace, Logistic, Normal, Uniform, checked_discrete
from varflow.model.student import StudentT

_SAME = {"norm": Normal, "uniform": Uniform, "laplace": Laplace, "logistic": Logistic}
_SAME |= {"Normal": Normal, "StandardNormal": Normal, "Uniform": Uniform, "Logistic": Logistic}  # new-style
_NEW_NAMES = {"sf": "ccdf", "logsf": "logccdf", "ppf": "icdf", "std": "standard_deviation"}  # of methods
_MOST_ATOMS = 2_000_000  # 16 MB of levels


def method_of(obj: Any, name: str) -> Callable[..., Any]:
    """A method of a scipy.stats distribution, by its name in frozen ones."""
    return getattr(obj, name if hasattr(obj, name) else _NEW_NAMES[name])


class ScipyDistribution(Distribution):
    """A continuous scipy distribution, standardised."""

    __slots__ = ("_law", "_mean", "_std", "name", "upper")
    _law: Any
    _mean: float
    _std: float

    def __init__(self, name: str, law: Any, mean: float, std: float):
        put(self, name=name, _law=law, _mean=mean, _std=std, upper=(float(law.support()[1]) - mean) / std)

    def _read(self, method: str, z: np.ndarray) -> np.ndarray:
        return np.asarray(method_of(self._law, method)(self._mean + self._std * z), dtype=np.float64)

    def _sf(self, z: np.ndarray) -> np.ndarray:
        return self._read("sf", z)

    def _pdf(self, z: np.ndarray) -> np.ndarray:
        return self._std * self._read("pdf", z)

    def _log_sf(self, z: np.ndarray) -> np.ndarray:
        return self._read("logsf", z)

    def _hazard(self, z: np.ndarray) -> np.ndarray:
        return self._std * np.exp(self._read("logpdf", z) - self._log_sf(z))

    def __repr__(self) -> str:
        return f"distribution({self.name})"


def from_scipy(obj: Any) -> Distribution | None:
    """The distribution of a scipy.stats object; None if it is not a univariate distribution."""
    if hasattr(obj, "sf") and hasattr(obj, "numargs"):  # rv_discrete(values=…) and rv_histogram need no parameters
        if obj.numargs:
            raise DomainError("distribution", obj.name, f"has parameters: freeze it, scipy.stats.{obj.name}(…)")
        obj = obj()
    frozen = hasattr(obj, "dist") and hasattr(obj, "sf")
    if not frozen and not (hasattr(obj, "ccdf") and hasattr(obj, "standard_deviation")):
        return None
    law, kind = (obj.dist, obj.dist.name) if frozen else (obj, type(obj).__name__)
    name = f"scipy {kind or 'distribution'}"
    mean, std = _moments(name, obj.mean, method_of(obj, "std"))
    shapes, location, _ = law._parse_args(*obj.args, **obj.kwds) if frozen else ([], 0.0, 1.0)
    if hasattr(law, "xk"):
        return checked_discrete(name, obj, np.asarray(law.xk, dtype=np.float64) + location, np.asarray(law.pk))
    if hasattr(obj, "pmf") if frozen else any(base.__name__ == "DiscreteDistribution" for base in type(obj).__mro__):
        return _lattice(name, obj, mean, std)
    if type(law).__module__ in ("scipy.stats._continuous_distns", "scipy.stats._new_distributions"):
        if kind in _SAME:
            return _SAME[kind]()
        if kind == "t":
            return StudentT(float(shapes[0]))
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


def _lattice(name: str, obj: Any, mean: float, std: float) -> Discrete:
    """Atoms on the (shifted) integers; an infinite end is cut where less than 1e-17 of the probability lies beyond."""
    sf = method_of(obj, "sf")
    low, high = (float(end) for end in obj.support())
    anchor = low if np.isfinite(low) else high if np.isfinite(high) else np.floor(mean)
    first = low if np.isfinite(low) else anchor - _reach(lambda k: obj.cdf(anchor - k), std)
    last = high if np.isfinite(high) else anchor + _reach(lambda k: sf(anchor + k), std + max(mean - anchor, 0.0))
    if last - first > _MOST_ATOMS:
        raise DomainError("distribution", name, f"has more than {_MOST_ATOMS} atoms: give a continuous distribution instead")
    atoms = first + np.arange(int(last - first) + 1)
    return checked_discrete(name, obj, atoms, np.asarray(obj.pmf(atoms), dtype=np.float64))


def _reach(tail: Callable[[float], Any], start: float) -> float:
    """A distance beyond which the probability, ``tail`` of it, is negligible."""
    distance = float(np.ceil(start)) + 1.0
    # a probability below the rounding of 1 is left out at either end
    while tail(distance) > 1e-17 and distance < 2 * _MOST_ATOMS:
        distance = np.ceil(1.5 * distance)
    return distance
