"""scipy.stats distributions as distributions of weights.

Those that have a closed form here (normal, uniform, gamma and its kin, log-normal) become it; discrete ones must sit on a
lattice; others keep their own functions, standardised.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model.adapters import from_scipy as membrane_distribution
from varflow.model.builtin import Distribution
from varflow.model.levels import Discrete
from varflow.model.weight_distribution import Pair, Variates, WeightDistribution
from varflow.model.weight_families import (
    LARGEST_SIGMA,
    GammaWeights,
    LatticeWeights,
    LogNormalWeights,
    NormalWeights,
    UniformWeights,
)

__all__ = ["from_scipy"]

_LONGEST_LATTICE = 4096  # steps between the smallest and the largest weight

Found = tuple[WeightDistribution, str, float]  # core, label, offset of the mean from the core's in units of the core


@dataclass(frozen=True, slots=True)
class ScipyWeights(WeightDistribution):
    """A continuous scipy.stats distribution, standardised."""

    name: str
    identity: tuple[Any, ...]
    skew: float
    kurtosis: float
    source: Any = field(compare=False, repr=False)
    standard: Distribution = field(compare=False, repr=False)
    source_mean: float = 0.0
    source_std: float = 1.0

    def cumulants(self) -> tuple[float, float, float, float]:
        return 0.0, 1.0, self.skew, self.kurtosis

    @property
    def support(self) -> tuple[float, float]:
        low, high = ((float(end) - self.source_mean) / self.source_std for end in self.source.support())
        return low, high

    def pdf(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.standard.pdf(x), dtype=float)

    def tails(self, x: np.ndarray) -> Pair:
        below = self.source.cdf(self.source_mean + self.source_std * x)
        return np.asarray(self.standard.sf(x), dtype=float), np.asarray(below, dtype=float)

    def draw(self, variates: Variates) -> Any:
        inverse = self.source.ppf if hasattr(self.source, "ppf") else self.source.icdf
        return variates.quantile(lambda p: (np.asarray(inverse(p)) - self.source_mean) / self.source_std)

    def __str__(self) -> str:
        return self.name


def from_scipy(obj: Any) -> Found | None:
    """Core, label and offset of a scipy.stats object; None if it is no univariate distribution."""
    try:
        found = membrane_distribution(obj)
    except DomainError as error:
        raise DomainError("weights", error.value, error.rule) from None
    if found is None:
        return None
    obj = obj if hasattr(obj, "mean") and not hasattr(obj, "numargs") else obj()
    new = hasattr(obj, "standard_deviation")
    mean, std = float(obj.mean()), float(obj.standard_deviation() if new else obj.std())
    if isinstance(found, Discrete):
        return _from_atoms(found, mean, std)
    closed = _closed_form(obj, mean, std)
    if closed is not None:
        return closed
    core = ScipyWeights(found.name, _identity(obj), *_shape(obj, new), obj, found, mean, std)
    return core, found.name, mean / std


def _closed_form(obj: Any, mean: float, std: float) -> Found | None:
    """Location-scale copies of distributions that are known; a negative scale does not occur in scipy."""
    if not hasattr(obj, "dist") or type(obj.dist).__module__ != "scipy.stats._continuous_distns":
        known = {"Normal": NormalWeights, "StandardNormal": NormalWeights, "Uniform": UniformWeights}
        base = known.get(type(obj).__name__)
        return None if base is None else _moved(base(), type(obj).__name__, mean, std)
    shapes, location, scale = obj.dist._parse_args(*obj.args, **obj.kwds)
    name, label = obj.dist.name, f"scipy {obj.dist.name}"
    if name in ("norm", "uniform"):
        return _moved({"norm": NormalWeights, "uniform": UniformWeights}[name](), label, mean, std)
    if name in ("expon", "gamma", "chi2", "erlang"):
        shape = {"expon": 1.0, "chi2": float(shapes[0]) / 2 if shapes else 1.0}.get(name) or float(shapes[0])
        offset = float(location) / (float(scale) * (2 if name == "chi2" else 1))
        return GammaWeights(shape), f"{label}({shape:g})", offset
    if name == "lognorm" and 1e-3 <= float(shapes[0]) <= LARGEST_SIGMA:
        sigma = float(shapes[0])
        return LogNormalWeights(sigma), f"{label}({sigma:g})", float(location) / float(scale)
    return None


def _moved(core: WeightDistribution, label: str, mean: float, std: float) -> Found:
    """A symmetric core with a mean of its own."""
    return (core, str(core), 0.0) if mean == 0 else (core, f"{label}(mean={mean / std:g} std)", mean / std * core.std)


def _from_atoms(law: Discrete, mean: float, std: float) -> Found:
    """Integers in units of the lattice's step, with 0 on the lattice if it can be had."""
    atoms = law.levels * std + mean
    atoms[np.abs(atoms) < 1e-12 * std] = 0.0
    step = _common_step(np.append(np.diff(atoms), np.abs(atoms[atoms != 0])))
    if np.ptp(atoms) / step > _LONGEST_LATTICE:
        step = _common_step(np.diff(atoms))
    if np.ptp(atoms) / step > _LONGEST_LATTICE:
        rule = (
            f"has no lattice of at most {_LONGEST_LATTICE} steps: give atoms with a common spacing, or a continuous "
            "distribution"
        )
        raise DomainError("weights", law.name, rule)
    first = round(atoms[0] / step)
    offset = atoms[0] / step - first
    levels = first + np.rint((atoms - atoms[0]) / step).astype(int)
    label = f"{law.name} on {len(levels)} levels"
    core = LatticeWeights(tuple(levels.tolist()), tuple(law.weights.tolist()), label)
    return core, label, float(offset) if abs(offset) > 1e-9 else 0.0


def _common_step(lengths: np.ndarray) -> float:
    """Greatest common measure of some lengths by Euclid's algorithm, to a tolerance of 1e-9 of the longest."""
    step = lengths.min()
    for _ in range(60):
        rest = np.abs(lengths - step * np.rint(lengths / step))
        wrong = rest > 1e-9 * lengths.max()
        if not wrong.any():
            break
        step = rest[wrong].min()
    return float(step)


def _shape(obj: Any, new: bool) -> tuple[float, float]:
    """Skewness and excess kurtosis; infinite where the integrals diverge."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if new:
            skewness, kurtosis = float(obj.skewness()), float(obj.kurtosis()) - 3  # a Mixture has no other convention
        else:
            skewness, kurtosis = (float(value) for value in obj.stats("sk"))
    return (skewness if math.isfinite(skewness) else 0.0), (kurtosis if math.isfinite(kurtosis) else math.inf)


def _identity(obj: Any) -> tuple[Any, ...]:
    if hasattr(obj, "dist"):
        named = obj.dist.name if type(obj.dist).__module__ == "scipy.stats._continuous_distns" else id(obj.dist)
        return (named, *map(float, obj.args), *((k, float(v)) for k, v in sorted(obj.kwds.items())))
    return type(obj).__name__, repr(obj)
