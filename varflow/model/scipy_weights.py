"""scipy.stats distributions as distributions of weights.

Normal, uniform, gamma-type and log-normal ones become those of ``weight_distribution``; discrete ones must have their atoms on
a lattice; all others keep scipy's functions, standardised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._shared import quiet
from varflow.model import weight_distribution as families
from varflow.model.adapters import from_scipy as membrane_distribution
from varflow.model.adapters import method_of
from varflow.model.builtin import Discrete, Distribution, Normal, Uniform
from varflow.model.weight_distribution import Pair, WeightDistribution

_SYMMETRIC: dict[type, WeightDistribution] = {Normal: families.NormalWeights(), Uniform: families.UniformWeights()}
_LONGEST_LATTICE = 4096  # steps between the smallest and the largest weight

Found = tuple[WeightDistribution, str, float]  # core, label, offset of the mean from the core's in units of the core


@dataclass(frozen=True)
class ScipyWeights(WeightDistribution):
    """A continuous scipy.stats distribution, standardised."""

    identity: tuple[Any, ...]
    shape: tuple[float, float]
    location: float
    scale: float
    source: Any = field(compare=False)
    standard: Distribution = field(compare=False)
    support: tuple[float, float]

    def cumulants(self) -> tuple[float, float, float, float]:
        return 0.0, 1.0, *self.shape

    def pdf(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.standard.pdf(x), dtype=float)

    def tails(self, x: np.ndarray) -> Pair:
        cdf = self.source.cdf(self.location + self.scale * x)
        return np.asarray(self.standard.sf(x), dtype=float), np.asarray(cdf, dtype=float)

    def draw(self, variates: Any) -> Any:
        return variates.quantile(_quantile(self))


@lru_cache(maxsize=8)
def _quantile(core: ScipyWeights) -> Callable[[np.ndarray], np.ndarray]:
    """Scipy's quantile; where that solves for each value by itself, a table of polynomials, to 1e-12 in probability."""
    from scipy.stats import rv_continuous
    from scipy.stats.sampling import NumericalInversePolynomial, UNURANError

    law = getattr(core.source, "dist", core.source)
    if getattr(type(law), "_ppf", None) is rv_continuous._ppf or type(law).__name__ == "Mixture":
        density: Any = SimpleNamespace(pdf=lambda x: float(core.pdf(x)))
        some = np.linspace(0.01, 0.99, 99)
        with suppress(UNURANError), np.errstate(all="ignore"):
            table = NumericalInversePolynomial(density, domain=core.support, u_resolution=1e-12).ppf
            if np.abs(core.tails(table(some))[1] - some).max() < 1e-10:
                return table
    return lambda p: (np.asarray(method_of(core.source, "ppf")(p)) - core.location) / core.scale


def from_scipy(obj: Any) -> Found | None:
    """Core, label and offset of a scipy.stats object; None if it is not a univariate distribution."""
    try:
        standardised = membrane_distribution(obj)
    except DomainError as error:
        raise DomainError("weights", error.value, error.rule) from None
    if standardised is None:
        return None
    obj = obj if hasattr(obj, "mean") and not hasattr(obj, "numargs") else obj()
    mean, std = float(obj.mean()), float(method_of(obj, "std")())
    if isinstance(standardised, Discrete):
        return _from_atoms(standardised, mean, std)
    low, high = ((float(end) - mean) / std for end in obj.support())
    core = ScipyWeights(_identity(obj), _shape(obj), mean, std, obj, standardised, (low, high))
    return _closed_form(obj, standardised, mean, std) or (core, standardised.name, mean / std)


def _closed_form(obj: Any, standardised: Distribution, mean: float, std: float) -> Found | None:
    """Core, label and offset if this is a location-scale copy of a built-in distribution (scipy's scales are positive)."""
    frozen = hasattr(obj, "dist")
    name, label = (obj.dist.name, f"scipy {obj.dist.name}") if frozen else (type(obj).__name__,) * 2
    if (core := _SYMMETRIC.get(type(standardised))) is not None:
        return core, f"{label}(mean={mean / std:g} std)" if mean else str(core), mean / std * core.std
    known = frozen and type(obj.dist).__module__ == "scipy.stats._continuous_distns"
    if not known or name not in ("expon", "gamma", "erlang", "chi2", "lognorm"):
        return None
    shapes, location, scale = obj.dist._parse_args(*obj.args, **obj.kwds)
    shape = float(shapes[0]) if shapes else 1.0
    if name == "chi2":
        shape, scale = shape / 2, scale * 2
    if name == "lognorm" and not 1e-3 <= shape <= families.LARGEST_SIGMA:
        return None
    core = families.LogNormalWeights if name == "lognorm" else families.GammaWeights
    return core(shape), f"{label}({shape:g})", float(location) / float(scale)


def _from_atoms(law: Discrete, mean: float, std: float) -> Found:
    """Atoms as integers in units of the lattice step; the lattice contains 0 if possible."""
    atoms = law.levels * std + mean
    atoms[np.abs(atoms) < 1e-12 * std] = 0.0
    step = _common_step(np.append(np.diff(atoms), np.abs(atoms[atoms != 0])))
    if np.ptp(atoms) / step > _LONGEST_LATTICE:
        step = _common_step(np.diff(atoms))
    if np.ptp(atoms) / step > _LONGEST_LATTICE:
        rule = f"has no lattice of at most {_LONGEST_LATTICE} steps: give atoms with a common spacing, or a density"
        raise DomainError("weights", law.name, rule)
    first = round(atoms[0] / step)
    offset = atoms[0] / step - first
    levels = first + np.rint((atoms - atoms[0]) / step).astype(int)
    label = f"{law.name} on {len(levels)} levels"
    core = families.LatticeWeights(label, (tuple(levels.tolist()), tuple(law.weights.tolist())))
    return core, label, float(offset) if abs(offset) > 1e-9 else 0.0


def _common_step(lengths: np.ndarray) -> float:
    """Greatest common divisor of lengths by Euclid's algorithm, within 1e-9 of the longest."""
    step = lengths.min()
    for _ in range(60):
        remainders = np.abs(lengths - step * np.rint(lengths / step))
        wrong = remainders > 1e-9 * lengths.max()
        if not wrong.any():
            break
        step = remainders[wrong].min()
    return float(step)


def _shape(obj: Any) -> tuple[float, float]:
    """Skewness and excess kurtosis; infinite where the integrals diverge."""
    with quiet(), np.errstate(all="ignore"):
        if hasattr(obj, "skewness"):
            skewness, kurtosis = float(obj.skewness()), float(obj.kurtosis()) - 3  # a Mixture has no other convention
        else:
            skewness, kurtosis = (float(value) for value in obj.stats("sk"))
    return (skewness if math.isfinite(skewness) else 0.0), (kurtosis if math.isfinite(kurtosis) else math.inf)


def _identity(obj: Any) -> tuple[Any, ...]:
    if hasattr(obj, "dist"):
        named = obj.dist.name if type(obj.dist).__module__ == "scipy.stats._continuous_distns" else id(obj.dist)
        return (named, *map(float, obj.args), *((k, float(v)) for k, v in sorted(obj.kwds.items())))
    return type(obj).__name__, repr(obj)
