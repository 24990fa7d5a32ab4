r"""The rate at which wide networks fall silent: the most likely path to silence, its action per neuron, and the prefactor.

A layer of firing fraction ``x`` is followed by ``y`` with probability ``√(n/(2π y(1-y))) e^{-n ℓ(x, y)}/n``, where
``ℓ(x, y) = y ln(y/π) + (1-y) ln((1-y)/(1-π))``, ``π = π(x)``, is a relative entropy. The action of silence is that of the
cheapest path from the stable fixed point ``p`` to the edge ``p_e`` of the basin of silence; below the edge the map leads to
silence.

*Path.* With the momentum ``λ = ∂_y ℓ(x_-, x) = -∂_x ℓ(x, y)``, stationary action is a map of ``(x, λ)`` that can be solved in
both directions, ``y = π + λ π(1-π)/π'`` and ``π(x_-) = expit(logit x - λ)``. The path leaves ``p`` along its unstable manifold
``λ = Φ'(x)`` and reaches ``p_e`` along its stable manifold ``λ = -Ψ'(x)``; each is followed in the direction where errors
shrink.

*Prefactor.* Away from the ends the quasi-stationary density is ``√n K(x) e^{-nΦ}`` and the probability of dying from ``x`` is
``H(x) e^{-nΨ}/√n``. One layer is a Gaussian integral, which propagates ``K``, ``H`` and the curvatures:
``K(y) = K(x)/√(y(1-y)(Φ''(x) + ℓ_xx))``, ``Φ''(y) = ℓ_yy - ℓ_xy²/(Φ''(x) + ℓ_xx)``, ``H(x) = H(y)/√(y(1-y)(Ψ''(y) + ℓ_yy))``,
``Ψ''(x) = ℓ_xx - ℓ_xy²/(Ψ''(y) + ℓ_yy)``. At ``p`` the density is normal, ``K = √(Φ''/2π)`` with ``Φ'' = (1-m²)/(p(1-p))``; at
``p_e`` the map is linear with slope ``m_e > 1``, whence ``Ψ'' = (m_e²-1)/(p_e(1-p_e))``, ``H = 1/((x-p_e)√(2πΨ''))``. Every
path to silence crosses a level ``a`` downwards once, net; the paths crossing it in this layer lie between the image of ``a``
and ``a``, so ``r = ∫ K H e^{-n(Φ+Ψ)} dx`` over that interval, and the powers of ``n`` cancel. Averaging ``a`` over one layer
with a smooth window removes the remaining ripple.

``Φ + Ψ`` is not quite constant there, since in discrete time a path cannot be shifted continuously. Its ripple ``Δ`` is
exponentially small in ``1/ln m_e``. For ``nΔ ≪ 1`` the prefactor is constant; for ``nΔ ≫ 1`` the same integral
falls like ``1/√n``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtri

from varflow._checks import DomainError, frozen, integer, positive_number, real_number
from varflow._display import Drawn, Listed
from varflow.model.distributions import distribution
from varflow.theory.finite_width.binomial import deviance
from varflow.theory.memoryless.fixed_points import critical_gain, fixed_points

START = 1e-7  # distance of the path's ends from the fixed points, in units of p - p_e; the prefactor's relative error
PHASES = 32  # points of the manifold between two layers of the path
LARGEST_GAMMA = 10.2  # above, the path is a few jumps, and its two manifolds are no longer graphs over x
NARROWEST = 0.01  # smallest 1 - m: the path takes about 20/(1 - m) layers


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EscapeAsymptotics(Listed, Drawn):
    """The escape rate of wide networks.

    Attributes
    ----------
    rate_per_neuron : float
        ``I``: the rate per layer falls like ``e^{-nI}``.
    prefactor : float
        ``A`` in ``r = A e^{-nI}``, for widths well below ``1/ripple``.
    path : ndarray
        Firing rates of successive layers on the path of least action, from the stable state to the edge of the basin.
    ripple : float
        ``Δ``: range of the action per neuron over shifts of the path. Values below 1e-16 are rounding.
    residual : float
        Largest violation of stationary action along ``path``, in units of momentum (differences of log-odds).
    actions, weights : ndarray
        ``Φ + Ψ`` and ``K H dx`` over the interval of the module's text: ``r = Σ weights e^{-n actions}``.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.escape_asymptotics(threshold=1.0, gain=2.6)
    >>> round(found.rate_per_neuron, 5)
    0.02019
    """

    rate_per_neuron: float
    prefactor: float
    path: np.ndarray
    ripple: float
    residual: float
    actions: np.ndarray
    weights: np.ndarray
    listed: ClassVar = {"rate_per_neuron": ".10g", "prefactor": ".6g", "ripple": ".2g", "residual": ".1g"}

    def escape_rate(self, width: int) -> float:
        """Probability per layer that a live network of this width falls silent: ``A e^{-nI}``, with the ripple."""
        n = integer("width", width, minimum=1)
        return float(np.sum(self.weights * np.exp(-n * self.actions)))

    def _parts(self) -> list[tuple[str, str]]:
        return [*Listed._parts(self), ("path", f"{len(self.path)} layers")]


def escape_asymptotics(*, threshold: float, gain: float) -> EscapeAsymptotics:
    r"""The rate at which wide networks fall silent, to leading order in the width, prefactor included.

    .. math::
        r(n) \simeq A\, e^{-nI}, \qquad
        I = \min_{\kappa_{-\infty} = p,\; \kappa_\infty = p_e} \sum_l \mathrm{KL}\bigl(\kappa_{l+1} \,\|\, \pi(\kappa_l)\bigr)

    Parameters
    ----------
    threshold : float
        ``θ > 0``.
    gain : float
        ``g``, with ``γ = g²/θ²`` between the critical 6.0344 and 10.2.

    Returns
    -------
    EscapeAsymptotics
        ``.rate_per_neuron .prefactor .path .escape_rate(width)``, and ``.ripple .residual``.

    Raises
    ------
    DomainError
        For ``θ ≤ 0``, where silence has no basin; for gains below or too close to the critical one (``1 - m < 0.01``); for
        ``γ > 10.2``, where the path is a few jumps through layers of single spikes (and the rate tiny, 1e-28 at width 400):
        use ``vf.SpikeChain``.

    Notes
    -----
    **Assumes** normal weights, equal widths, memoryless neurons, no bias (so that silence is absorbing), no weight mean.
    **Accuracy**: the relative error is ``O(1/n)``. Exact rates from ``vf.SpikeChain`` at the preserving gain, and their
    ratio to ``A e^{-nI}``:

    ====  ============  =======  ======  ===========  =======  ============
    θ     I             A        n       exact        ratio    n(ratio - 1)
    ====  ============  =======  ======  ===========  =======  ============
    0.7   0.0907178275  0.25947  1000    1.0297e-40   0.99308     -6.92
    0.7                          7000    4.2188e-277  0.99899     -7.04
    0.85  0.0297079947  0.13182  1000    1.6245e-14   0.98346    -16.54
    0.85                         16000   4.8669e-208  0.99899    -16.15
    1.0   0.0049810360  0.05574  1000    3.4872e-4    0.91108    -88.92
    1.0                          8000    2.7289e-19   0.99022    -78.24
    1.0                          100000  2.6435e-218  0.99923    -76.79
    ====  ============  =======  ======  ===========  =======  ============

    ``I`` agrees with 50-digit arithmetic to a relative 1e-14 at θ = 1 and 2e-12 at θ = 0.85. For few, large jumps the ripple
    makes the prefactor uncertain: by 1e-5 at θ = 0.7, by 2e-3 at θ = 0.6 (γ = 10.13). More in ``docs/expansions.md``.
    **Source**: least action, ``freidlin2012``; prefactors for population extinction are reviewed in ``assaf2017``; the map in
    discrete time, its prefactor and its ripple are derived here, see the module.

    Examples
    --------
    >>> import varflow as vf
    >>> escape = vf.escape_asymptotics(threshold=1.0, gain=vf.gain(threshold=1.0))
    >>> print(f"{escape.prefactor:.4f} exp(-{escape.rate_per_neuron:.7f} n)")
    0.0557 exp(-0.0049810 n)
    >>> print(f"{escape.escape_rate(8000):.3g}")
    2.76e-19
    """
    s, stable, edge = _states(threshold, gain)
    well = _Well(s, stable, edge)
    phase = np.arange(2 * PHASES) / PHASES
    window = np.sin(np.pi * phase / 2) ** 2 / PHASES
    out, last = well.both_legs(phase)
    actions = out.action + last.action
    weights = window * np.exp(out.log_amplitude + last.log_amplitude) * -out.slope
    mean, harmonic = float(window @ actions), complex(window @ (actions * np.exp(-2j * np.pi * phase)))
    ripple, trough = 4 * abs(harmonic), float(-np.angle(-harmonic) / (2 * np.pi))
    action, path, residual = well.best_path(1 + trough, polish=ripple > 1e-6 * mean)
    actions += action - (mean - ripple / 2)  # the manifolds' mismatch, second order in the ripple
    arrays = {"path": frozen(path), "actions": frozen(actions), "weights": frozen(weights)}
    return EscapeAsymptotics(action, float(weights.sum()), ripple=ripple, residual=residual, **arrays)


class State(NamedTuple):
    """A fixed point of ``π``: firing fraction and multiplier."""

    p: float
    m: float


class Leg(NamedTuple):
    """A manifold after some layers; ``slope`` is ``dx/dphase``."""

    x: np.ndarray
    slope: np.ndarray
    momentum: np.ndarray
    action: np.ndarray
    curvature: np.ndarray
    log_amplitude: np.ndarray
    visited: list[np.ndarray]


class StepAction(NamedTuple):
    """``ℓ(x, y)`` and its derivatives."""

    value: np.ndarray
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray


def _states(threshold: float, gain: float) -> tuple[float, State, State]:
    """``s = θ/g``, on which everything depends, and the two fixed points; DomainError where the method does not apply."""
    theta, g = real_number("threshold", threshold), positive_number("gain", gain)
    if theta <= 0:
        raise DomainError("threshold", threshold, "must be positive: at θ ≤ 0 silence has no basin to escape to")
    critical = critical_gain(threshold=theta)
    points = fixed_points(threshold=theta, gain=g)
    if len(points) < 3:
        raise DomainError("gain", gain, f"leaves only silence: the critical gain is {critical:.8g}")
    if (g / theta) ** 2 > LARGEST_GAMMA:
        rule = f"must be at most {theta * LARGEST_GAMMA**0.5:.6g} at this threshold: above, the path to silence is a few jumps"
        raise DomainError("gain", gain, rule + "; vf.SpikeChain has the exact rate")
    edge, stable = (_refined(theta / g, point.firing_rate) for point in points[1:])
    if 1 - stable.m < NARROWEST:
        raise DomainError("gain", gain, f"is too close to the critical {critical:.10g}: 1 - m must be at least {NARROWEST}")
    return theta / g, stable, edge


def _refined(s: float, p: float) -> State:
    """A fixed point refined by Newton's method."""
    for _ in range(3):
        rate, slope, _ = _response(s, np.array(p))
        p += float((rate - p) / (1 - slope))
    return State(p, float(_response(s, np.array(p))[1]))


def _response(s: float, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``π(x) = Q(s/√x)``, ``π'`` and ``π''``."""
    z = s / np.sqrt(x)
    tail, density = distribution("normal").sf_and_pdf(z)
    slope = density * z / (2 * x)
    return tail, slope, slope * (z**2 - 3) / (2 * x)


def _cost(s: float, x: np.ndarray, y: np.ndarray) -> StepAction:
    p, slope, bend = _response(s, x)
    spread, excess = p * (1 - p), y - p
    pull = slope / spread
    return StepAction(
        value=deviance(y, p, excess) + deviance(1 - y, 1 - p, -excess),
        x=-pull * excess,
        y=logit(y) - logit(p),
        xx=pull * slope + excess * (pull**2 * (1 - 2 * p) - bend / spread),
        xy=-pull,
        yy=1 / (y * (1 - y)),
    )


class _Well:
    """The two manifolds and where they meet. ``phase`` is time in layers, along each manifold."""

    def __init__(self, s: float, stable: State, edge: State):
        self.s = s
        self.way_out = partial(self._way, stable, edge, onward=True)  # the unstable manifold of the stable state
        self.way_in = partial(self._way, edge, stable, onward=False)  # the stable manifold of the edge, backwards
        half = 0.5 * (stable.p + edge.p)
        self.layers_out = self._layers(self.way_out, stable.m, lambda x: x < half) - 1
        first = self.way_out(np.zeros(1), self.layers_out).x
        self.layers_in = self._layers(self.way_in, edge.m, lambda x: x > first)

    def _layers(self, way: Callable[..., Leg], multiplier: float, arrived: Callable[[np.ndarray], np.ndarray]) -> int:
        """Layers from the start of a manifold until it has ``arrived``."""
        layers = max(int(np.log(0.02 / START) / abs(np.log(multiplier))) - 2, 1)
        while not (there := [bool(arrived(x)[0]) for x in way(np.zeros(1), layers).visited])[-1]:
            layers += 1 + layers // 10
        return there.index(True)

    def _way(self, start: State, other: State, phase: np.ndarray, layers: int, onward: bool) -> Leg:
        """The manifold that leaves one state towards the other for so many layers, with costs ``onward`` or backwards."""
        p, m = start
        curvature = np.abs(1 - m**2) / (p * (1 - p)) + 0 * phase
        offset = START * (other.p - p) * m**-phase
        x, slope, momentum = p + offset, -offset * np.log(m), (1 if onward else -1) * curvature * offset
        action, visited = curvature * offset**2 / 2, [x]
        log_amplitude = 0.5 * np.log(curvature / (2 * np.pi)) - (0.0 if onward else np.log(curvature * offset))
        for _ in range(layers):
            if onward:
                rate, steepness, _ = _response(self.s, x)
                following = rate + momentum * rate * (1 - rate) / steepness
                cost = _cost(self.s, x, following)
                momentum, here, there = cost.y, cost.xx, cost.yy
            else:
                following = (self.s / ndtri(expit(logit(x) - momentum))) ** 2
                cost = _cost(self.s, following, x)
                momentum, here, there = -cost.x, cost.yy, cost.xx
            x, stiffness = following, curvature + here
            action = action + cost.value
            log_amplitude = log_amplitude - 0.5 * np.log(stiffness / cost.yy)
            slope = -slope * stiffness / cost.xy
            curvature = there - cost.xy**2 / stiffness
            visited.append(x)
        return Leg(x, slope, momentum, action, curvature, log_amplitude, visited)

    def both_legs(self, phase: np.ndarray) -> tuple[Leg, Leg]:
        """The way out, and the way in from the same ``x``, whose phase is found by Newton's method."""
        out = self.way_out(phase, self.layers_out)
        table = np.linspace(0, 4, 401)
        phase_in = np.interp(-out.x, -self.way_in(table, self.layers_in).x, table)
        for _ in range(4):
            leg = self.way_in(phase_in, self.layers_in)
            phase_in = phase_in + (out.x - leg.x) / leg.slope
        leg = self.way_in(phase_in, self.layers_in)
        gap = out.x - leg.x  # rounding at the start of the manifold, amplified on the way
        return out, leg._replace(
            x=out.x,
            action=leg.action - leg.momentum * gap + leg.curvature * gap**2 / 2,
            momentum=leg.momentum - leg.curvature * gap,
        )

    def best_path(self, phase: float, polish: bool) -> tuple[float, np.ndarray, float]:
        """Action and points of the path of least action, and its residual."""
        best = np.array([phase])
        for _ in range(4 if polish else 0):
            out, last = self.both_legs(best)
            best = best - (out.momentum - last.momentum) / ((out.curvature + last.curvature) * out.slope)
        out, last = self.both_legs(best)
        path = np.concatenate([*out.visited, *last.visited[-2::-1]])
        cost = _cost(self.s, path[:-1], path[1:])
        return float(out.action[0] + last.action[0]), path, float(np.abs(cost.y[:-1] + cost.x[1:]).max())
