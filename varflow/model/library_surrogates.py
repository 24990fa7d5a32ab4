"""Surrogate derivatives as simulators compute them, by their own names and parameters; ``v = H - θ``. Those of installed
libraries are recognised by module, name and parameters; nothing is imported from them.

Bare names are those of snnTorch (``snntorch.surrogate``), which is described in ``eshraghian2023`` and takes ``atan`` from
``fang2021a``, ``fast_sigmoid`` from ``zenke2018``; others begin with the library's.

- SpikingJelly (``activation_based.surrogate``): without ``PoissonPass``, whose spikes are random, and ``MultiLevelSpikeCount``.
  ``DeterministicPass`` is ``straight_through_estimator``.
- Norse (``norse.torch.functional.threshold``), by method. The default ``alpha`` is that of the neurons' parameters, 100, except
  for the triangle, which is meant for 0.3 (``bellec2018``).
- sinabs (``sinabs.activation``): some depend on the threshold, which sinabs passes to them as ``spike_threshold``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from varflow._checks import DomainError, integer, real_number
from varflow.model.library_neurons import plain_value
from varflow.model.surrogate import FORMULAS, Shape, Surrogate, formula

# snnTorch.


@formula("alpha")
def atan(alpha: float = 2.0) -> Shape:
    r"""``ψ = (α/2) / (1 + (π α v/2)²)``, area 1: the default of snnTorch's neurons.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.atan(), vf.surrogates.atan().area
    (atan(alpha=2), 1.0)
    """
    return "atan", alpha / 2, 2 / (math.pi * alpha)


@formula("slope")
def sigmoid(slope: float = 25.0) -> Shape:
    """``ψ = k e^{-kv} / (1 + e^{-kv})²`` with ``k`` the slope, area 1.

    snnTorch's own formula overflows in float32 for ``k v < -88`` and gives NaN; this one does not.
    """
    return "sigmoid", slope / 4, 1 / slope


@formula("slope")
def fast_sigmoid(slope: float = 25.0) -> Shape:
    """``ψ = 1 / (1 + k|v|)²`` with ``k`` the slope, peak 1: at the default slope its area is 0.08."""
    return "fast_sigmoid", 1.0, 1 / slope


@formula()
def straight_through_estimator() -> Shape:
    """``ψ = 1`` everywhere; SpikingJelly's ``DeterministicPass`` is the same."""
    return (np.ones_like,)


@formula(threshold=real_number)
def snntorch_triangular(threshold: float = 1.0) -> Shape:
    """snnTorch's ``triangular(threshold)`` as it computes: ``θ`` below the threshold and ``-θ`` above, so ``|ψ|`` is constant.

    A triangle is ``vf.surrogates.triangular(width)``.
    """
    return (lambda v: np.where(v >= 0, -threshold, threshold)), 0.0


@formula()
def spike_rate_escape(beta: float = 1.0, slope: float = 25.0) -> Shape:
    """``ψ = k e^{-β|v - 1|}`` with ``k`` the slope: its peak is 1 above the threshold."""
    return (lambda v: slope * np.exp(-beta * np.abs(v - 1))), 1.0


@formula(B=real_number)
def SFS(slope: float = 25.0, B: float = 1.0) -> Shape:
    """``ψ = 1(v > B) / (1 + k|v|)²`` with ``k`` the slope: 0 for all ``v`` up to ``B``, the threshold included."""
    return (lambda v: (v > B) / (slope * np.abs(v) + 1) ** 2), 0.0, B


@formula(slope=real_number)
def leaky_spike_operator(slope: float = 0.1) -> Shape:
    """``ψ = 1`` above the threshold, ``k`` below, with ``k`` the slope: what snnTorch documents for ``LSO``, which cannot run.

    ``slope=0`` is its ``heaviside()``.
    """
    return (lambda v: np.where(v > 0, 1.0, slope)), 0.0


# SpikingJelly.


@formula("alpha")
def spikingjelly_sigmoid(alpha: float = 4.0) -> Shape:
    """``ψ = α σ(αv) (1 - σ(αv))``, area 1: the default of SpikingJelly's neurons.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.spikingjelly_sigmoid().peak
    1.0
    """
    return "sigmoid", alpha / 4, 1 / alpha


@formula("alpha")
def spikingjelly_atan(alpha: float = 2.0) -> Shape:
    """``ψ = (α/2) / (1 + (π α v/2)²)``, area 1."""
    return "atan", alpha / 2, 2 / (math.pi * alpha)


@formula("alpha")
def spikingjelly_piecewise_quadratic(alpha: float = 1.0) -> Shape:
    """``ψ = α max(0, 1 - α|v|)``, area 1: a triangle, the derivative of a piecewise quadratic step."""
    return "triangular", alpha, 1 / alpha


@formula("alpha")
def spikingjelly_piecewise_exp(alpha: float = 1.0) -> Shape:
    """``ψ = (α/2) e^{-α|v|}``, area 1."""
    return "exponential", alpha / 2, 1 / alpha


@formula("alpha")
def spikingjelly_soft_sign(alpha: float = 2.0) -> Shape:
    """``ψ = (α/2) / (1 + α|v|)²``, area 1."""
    return "fast_sigmoid", alpha / 2, 1 / alpha


@formula()
def spikingjelly_super_spike(alpha: float = 1.0) -> Shape:
    """``ψ = α / (1 + |v|)²``: here ``alpha`` is the peak, and the width is 1."""
    return "fast_sigmoid", alpha, 1.0


@formula("alpha")
def spikingjelly_erf(alpha: float = 2.0) -> Shape:
    """``ψ = (α/√π) e^{-α² v²}``, area 1."""
    return "gaussian", alpha / math.sqrt(math.pi), 1 / (math.sqrt(2) * alpha)


@formula("alpha")
def spikingjelly_rect(alpha: float = 1.0) -> Shape:
    """``ψ = α`` where ``|v| < 1/(2α)``, area 1."""
    return "box", alpha, 0.5 / alpha


@formula("w", power=1, c=real_number)
def spikingjelly_piecewise_leaky_relu(w: float = 1.0, c: float = 0.01) -> Shape:
    """``ψ = 1/(2w)`` where ``|v| < w``, else ``c``."""
    return ((lambda v: np.where(np.abs(v) < w, 1 / (2 * w), c)), -w, w) if c else ("box", 1 / (2 * w), w)


@formula()
def spikingjelly_nonzero_sign_log_abs(alpha: float = 1.0) -> Shape:
    """``ψ = α / (1 + α|v|)``."""
    return (lambda v: alpha / (1 + alpha * np.abs(v))), 0.0


@formula(n=partial(integer, minimum=1))
def spikingjelly_squarewave_fourier_series(n: int = 2, T_period: float = 8.0) -> Shape:
    """``ψ = (4/T) Σ_{i=1}^{n-1} cos((2i - 1) 2π v/T)``: one term less than ``n``; not 0 far from the threshold."""

    def psi(v: np.ndarray) -> np.ndarray:
        waves = (np.cos((2 * i - 1) * 2 * math.pi / T_period * v) for i in range(1, n))
        return 4 / T_period * sum(waves, np.zeros_like(v))

    return (psi,)


@formula()
def spikingjelly_s2nn(alpha: float = 4.0, beta: float = 1.0) -> Shape:
    """``ψ = α σ(αv) (1 - σ(αv))`` below the threshold, ``β/(1 + v)`` above."""

    def psi(v: np.ndarray) -> np.ndarray:
        e = np.exp(-alpha * np.abs(v))
        return np.where(v < 0, alpha * e / (1 + e) ** 2, beta / (1 + np.abs(v)))

    return psi, 0.0


@formula()
def spikingjelly_q_pseudo_spike(alpha: float = 2.0) -> Shape:
    """``ψ = (1 + 2|v|/(α - 1))^{-α}``, ``α > 1``, area 1."""
    if alpha <= 1:
        raise DomainError("alpha", alpha, "must be greater than 1")
    if alpha == 2:
        return "fast_sigmoid", 1.0, 0.5
    return (lambda v: (1 + 2 / (alpha - 1) * np.abs(v)) ** -alpha), 0.0


@formula(leak=real_number, k=real_number)
def spikingjelly_leaky_k_relu(leak: float = 0.0, k: float = 1.0) -> Shape:
    """``ψ = k`` for ``v ≥ 0``, else ``leak``."""
    return (lambda v: np.where(v >= 0, k, leak)), 0.0


@formula()
def spikingjelly_fake_numerical_gradient(alpha: float = 0.3) -> Shape:
    """``ψ = min(1/|v|, α)``."""
    return (lambda v: np.minimum(1 / np.abs(v), alpha)), *((-1 / alpha, 1 / alpha) if math.isfinite(1 / alpha) else ())


@formula(alpha=real_number)
def spikingjelly_log_tailed_relu(alpha: float = 0.0) -> Shape:
    """``ψ = α`` for ``v ≤ 0``, 1 up to ``v = 1``, then ``1/v``."""
    return (lambda v: np.where(v <= 0, alpha, 1 / np.maximum(v, 1))), 0.0, 1.0


# Norse.


@formula()
def norse_super(alpha: float = 100.0) -> Shape:
    """``ψ = 1 / (1 + |v|)²``, the method ``super`` and the default: Norse 1.1 ignores ``alpha``.

    The ``1/(1 + α|v|)²`` of ``zenke2018`` is ``vf.surrogates.fast_sigmoid(slope=alpha)``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.norse_super(alpha=100).width
    1.0
    """
    return "fast_sigmoid", 1.0, 1.0


@formula()
def norse_triangle(alpha: float = 0.3) -> Shape:
    """``ψ = α max(0, 1 - |v|)``, the method ``triangle``: here ``alpha`` is the peak. The neurons' default is 100."""
    return "triangular", alpha, 1.0


@formula("alpha")
def norse_tanh(alpha: float = 100.0) -> Shape:
    """``ψ = 1 - tanh²(α v)``, the method ``tanh``: peak 1, area ``2/α``."""
    return "sigmoid", 1.0, 1 / (2 * alpha)


@formula("alpha")
def norse_heavi_erfc(alpha: float = 100.0) -> Shape:
    """``ψ = (2/√π) e^{-α² v²}``, the method ``heavi_erfc``: area ``2/α``."""
    return "gaussian", 2 / math.sqrt(math.pi), 1 / (math.sqrt(2) * alpha)


@formula()
def norse_circ(alpha: float = 100.0) -> Shape:
    """``ψ = (1 + v²/α²)^{-3/2}``, the method ``circ``: peak 1, area ``2 α``; at the default it is 1 for all potentials."""
    return ((lambda v: (1 + (v / alpha) ** 2) ** -1.5),)


# sinabs.


@formula("grad_width", power=1)
def sinabs_single_exponential(grad_width: float = 0.5, grad_scale: float = 1.0, spike_threshold: float = 1.0) -> Shape:
    """``ψ = (s/a) e^{-|v|/a}`` with ``a = grad_width · spike_threshold`` and ``s = grad_scale``: the default of sinabs' LIF.

    The exponential of ``shrestha2018``.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.surrogates.sinabs_single_exponential(spike_threshold=0.5).width
    0.25
    """
    width = spike_threshold * grad_width
    return "exponential", grad_scale / width, width


def _density(x: Any, sigma: float) -> Any:
    return np.exp(-((x / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))


@formula("sigma", power=1, mu=real_number)
def sinabs_gaussian(mu: float = 0.0, sigma: float = 0.5, grad_scale: float = 1.0) -> Shape:
    """``grad_scale`` times the normal density of mean ``mu`` and standard deviation ``sigma``."""
    if mu == 0:
        return "gaussian", float(grad_scale * _density(0.0, sigma)), sigma
    return ((lambda v: grad_scale * _density(v - mu, sigma)),)


@formula(mu=real_number, h=real_number)
def sinabs_multi_gaussian(
    mu: float = 0.0, sigma: float = 0.5, h: float = 0.15, s: float = 6.0, grad_scale: float = 1.0
) -> Shape:
    """``(1 + h) N(v; mu, σ) - h N(v; σ, sσ) - h N(v; -σ, sσ)`` times ``grad_scale``: negative far from the threshold."""

    def psi(v: np.ndarray) -> np.ndarray:
        sides = _density(v - sigma, s * sigma) + _density(v + sigma, s * sigma)
        return grad_scale * ((1 + h) * _density(v - mu, sigma) - h * sides)

    return (psi,)


@formula()
def sinabs_periodic_exponential(grad_width: float = 0.5, grad_scale: float = 1.0, spike_threshold: float = 1.0) -> Shape:
    """``grad_scale · e^{-d/grad_width}``: ``d = |v|`` below the threshold, above it twice the distance from ``v`` to the
    nearest multiple of the threshold.
    """

    def psi(v: np.ndarray) -> np.ndarray:
        distance = 2 * np.abs(v - spike_threshold * np.round(v / spike_threshold))
        return grad_scale * np.exp(-np.where(v < 0, -v, distance) / grad_width)

    return psi, *(spike_threshold * n / 2 for n in range(17))  # kinks of the first 8 periods


@formula(window=real_number)
def sinabs_heaviside(window: float = 1.0, spike_threshold: float = 1.0) -> Shape:
    """``ψ = 1/θ`` for ``v ≥ -window``, else 0."""
    return (lambda v: (v >= -window) / spike_threshold), -window


__all__ = [*FORMULAS]  # pyright: ignore[reportUnsupportedDunderAll]

# Recognised.

OTHERWISE = {  # named otherwise here than in the library
    "snntorch.triangular": snntorch_triangular,
    "snntorch.heaviside": lambda: leaky_spike_operator(0.0),
}


def recognised(function: Any, threshold: float = 1.0) -> Surrogate | None:
    """The surrogate of a function object of snnTorch, SpikingJelly or sinabs, which passes it the threshold; else None.

    In snnTorch a surrogate is a function within the function that made it, whose variables are the parameters.
    """
    if getattr(function, "__module__", "") == "snntorch.surrogate" and hasattr(function, "__code__"):
        cells = (cell.cell_contents for cell in function.__closure__ or ())
        given = dict(zip(function.__code__.co_freevars, cells, strict=True))
        return by_method("snntorch", function.__qualname__.partition(".")[0], given)
    package = type(function).__module__.partition(".")[0]
    if package not in ("spikingjelly", "sinabs") or not getattr(function, "spiking", True):
        return None
    return by_method(package, type(function).__name__, {"spike_threshold": threshold} | vars(function))


def by_method(package: str, name: str, given: Mapping[str, Any]) -> Surrogate | None:
    """The surrogate of this name in a library, with those of the given values that it takes; None for unknown names."""
    wanted = (package if package != "snntorch" else "") + name.replace("_", "").lower()
    matching = (make for public, make in FORMULAS.items() if public.replace("_", "").lower() == wanted)
    make: Callable[..., Surrogate] | None = OTHERWISE.get(f"{package}.{name}") or next(matching, None)
    if make is None or not set(parameters := inspect.signature(make).parameters) <= set(given):
        return None
    return make(**{parameter: plain_value(given[parameter]) for parameter in parameters})
