r"""Two-cycles of the layer map: variances that follow each other from layer to layer, ``V₂ = F(V₁)`` and ``V₁ = F(V₂)``.

``F`` has none where it rises, and none for a unimodal symmetric law without weight mean: for ``θ < 0`` its slope in ``ln V`` is
``-g² |z| f(z)/(2F)``, at most 1/2 in size since ``F ≥ g²/2`` and ``|z| f(z) ≤ 1/2``, so that ``F`` contracts. Elsewhere they
are the places where the secant of ``F`` through ``V`` and ``F(V)`` has slope -1; at a fixed point it is the tangent.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from varflow.model.distributions import Distribution
from varflow.results import Cycle
from varflow.theory.maps import multiplier, rate
from varflow.theory.roots import scan

__all__ = ["may_cycle", "two_cycles"]

CLOSED = 1e-6  # relative residual above which a change of sign is a jump of F, not a cycle


def may_cycle(law: Distribution, theta: float, m_g: float) -> bool:
    """Whether ``F`` falls anywhere without contracting."""
    return m_g < 0 or (theta < 0 and (m_g > 0 or law.inflection is None))


def two_cycles(law: Distribution, lowest: float, theta: float, g: float, sigma_b: float, m_g: float) -> tuple[Cycle, ...]:
    """All cycles, of continuous laws those that a scan finds from ``lowest`` on, below which every variance rises or falls."""
    parameters = (theta, g, sigma_b, m_g)
    image = lambda V: sigma_b**2 + g**2 * rate(law, V, *parameters)  # noqa: E731
    if law.levels is not None:
        upper = _on_the_levels(law, *parameters)
    else:
        upper = [V for V in scan(partial(_secant, image), lowest, sigma_b**2 + g**2) if image(V) < V]
    cycles = (_described(law, V, *parameters) for V in upper)
    return tuple(cycle for cycle in cycles if abs(cycle.residual) <= CLOSED * cycle.variances[1])


def _secant(image, V: np.ndarray) -> np.ndarray:
    """``V (1 + slope)`` of the secant through ``V`` and ``F(V)``."""
    following = image(V)
    step = following - V
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (image(following) - following) / step
    return V * (1 + np.where(step == 0, 0.0, slope))


def _on_the_levels(law: Distribution, theta: float, g: float, sigma_b: float, m_g: float) -> list[float]:
    """The larger variances of the cycles of a discrete law: its tail takes finitely many values, and so does ``F``."""
    assert law.levels is not None
    tails = np.unique(law.sf(np.concatenate([[-np.inf], law.levels])))
    variances = sigma_b**2 + g**2 * tails
    following = np.searchsorted(tails, rate(law, variances, theta, g, sigma_b, m_g))
    places = np.arange(len(tails))
    return variances[(following < places) & (following[following] == places)].tolist()


def _described(law: Distribution, V: float, theta: float, g: float, sigma_b: float, m_g: float) -> Cycle:
    parameters = (theta, g, sigma_b, m_g)
    image = lambda V: sigma_b**2 + g**2 * float(rate(law, V, *parameters))  # noqa: E731
    product = lambda V: multiplier(law, V, *parameters) * multiplier(law, image(V), *parameters)  # noqa: E731
    if abs(product(V)) < 0.5:
        V = image(image(V))  # two layers contract what rounding is left
    low, m = image(V), product(V)
    with np.errstate(divide="ignore"):
        depth_scale = float(-2 / np.log(np.abs(m))) if abs(m) not in (0.0, 1.0) else (np.inf if m else 0.0)
    rates = tuple(float(rate(law, v, *parameters)) for v in (low, V))
    return Cycle((low, V), rates, m, bool(abs(m) < 1), depth_scale + 0.0, image(low) - V)  # pyright: ignore[reportArgumentType]
