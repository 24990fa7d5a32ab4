"""scipy.stats distributions as laws of weights.

Laws that have a closed form here (normal, uniform, gamma and its kin, log-normal) become it; discrete ones must sit on a
lattice; others keep their own functions, standardised.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.model import weights
from varflow.model.adapters import from_scipy as membrane_law
from varflow.model.levels import Discrete
from varflow.model.weights import WeightLaw

__all__ = ["from_scipy"]

_LONGEST_LATTICE = 4096  # steps between the smallest and the largest weight


def from_scipy(obj: Any) -> WeightLaw | None:
    """The law of weights of a scipy.stats object, None if it is no univariate distribution."""
    try:
        found = membrane_law(obj)
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
    skewness, kurtosis = _shape(obj, new)
    return WeightLaw(
        found.name,
        "scipy",
        _identity(obj, mean, std),
        skewness=skewness,
        excess_kurtosis=kurtosis,
        offset=mean / std,
        source=(obj, found, mean, std),
    )


def _closed_form(obj: Any, mean: float, std: float) -> WeightLaw | None:
    """Location-scale copies of laws that are known; a negative scale does not occur in scipy."""
    if not hasattr(obj, "dist") or type(obj.dist).__module__ != "scipy.stats._continuous_distns":
        known = {"Normal": "normal", "StandardNormal": "normal", "Uniform": "uniform"}
        base = known.get(type(obj).__name__)
        return None if base is None else _moved(weights.weight_law(base), type(obj).__name__, mean, std)
    shapes, location, scale = obj.dist._parse_args(*obj.args, **obj.kwds)
    name, label = obj.dist.name, f"scipy {obj.dist.name}"
    if name in ("norm", "uniform"):
        return _moved(weights.weight_law({"norm": "normal", "uniform": "uniform"}[name]), label, mean, std)
    if name in ("expon", "gamma", "chi2", "erlang"):
        shape = {"expon": 1.0, "chi2": float(shapes[0]) / 2 if shapes else 1.0}.get(name) or float(shapes[0])
        return weights._gamma(f"{label}({shape:g})", shape, float(location) / (float(scale) * (2 if name == "chi2" else 1)))
    if name == "lognorm" and 1e-3 <= float(shapes[0]) <= weights.LARGEST_SIGMA:
        return weights._lognormal(f"{label}({float(shapes[0]):g})", float(shapes[0]), float(location) / float(scale))
    return None


def _moved(base: WeightLaw, label: str, mean: float, std: float) -> WeightLaw:
    """A symmetric core with a mean of its own."""
    return base if mean == 0 else replace(base, label=f"{label}(mean={mean / std:g} std)", offset=mean / std * base.std)


def _from_atoms(law: Discrete, mean: float, std: float) -> WeightLaw:
    """Integers in units of the lattice's step, with 0 on the lattice if it can be had."""
    atoms = law.levels * std + mean
    atoms[np.abs(atoms) < 1e-12 * std] = 0.0
    step = _common_step(np.append(np.diff(atoms), np.abs(atoms[atoms != 0])))
    if np.ptp(atoms) / step > _LONGEST_LATTICE:
        step = _common_step(np.diff(atoms))
    if np.ptp(atoms) / step > _LONGEST_LATTICE:
        rule = f"has no lattice of at most {_LONGEST_LATTICE} steps: give atoms with a common spacing, or a continuous law"
        raise DomainError("weights", law.name, rule)
    first = round(atoms[0] / step)
    offset = atoms[0] / step - first
    levels = first + np.rint((atoms - atoms[0]) / step).astype(int)
    exact = float(offset) if abs(offset) > 1e-9 else 0.0
    label = f"{law.name} on {len(levels)} levels"
    return weights._lattice(label, tuple(levels.tolist()), tuple(law.weights.tolist()), exact)


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


def _identity(obj: Any, mean: float, std: float) -> tuple[Any, ...]:
    if hasattr(obj, "dist"):
        named = obj.dist.name if type(obj.dist).__module__ == "scipy.stats._continuous_distns" else id(obj.dist)
        return (named, *map(float, obj.args), *((k, float(v)) for k, v in sorted(obj.kwds.items())), mean, std)
    return (type(obj).__name__, repr(obj), mean, std)
