r"""The memoryless layer at infinite width in balls: ``E(y) = ln F(e^y) - y``, whose roots are all fixed points but silence.

.. math:: F(V) = \sigma_b^2 + g^2 S(\theta/\sqrt V), \qquad E'(y) = \frac{V F'(V)}{F(V)} - 1
        = \frac{g^2 z f(z)}{2 F(V)} - 1, \qquad z = \theta e^{-y/2}

At a root ``F = V``, so ``E' = m - 1``. Since ``F`` is monotone and ``f`` falls with ``|z|``, values at the ends of an interval
bound ``E'`` on all of it; the mean value theorem also holds across the kinks of ``S``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow.certified.laws import Law

__all__ = ["Layer", "Place"]

_STEPS = tuple(2**k for k in range(40))  # up to z = 2^(2^39), or as close to an edge


class Place(NamedTuple):
    """The layer at one log-variance ``at``: ``z``, ``S(z)``, ``f(z)``, ``F(V)``, and the ``value`` ``E(y)``."""

    at: Any
    z: Any
    rate: Any
    density: Any
    image: Any
    value: Any


class Layer(NamedTuple):
    """``F(V) = σ_b² + g² S(θ/√V)`` with ``θ ≠ 0``."""

    law: Law
    threshold: Any
    gain2: Any
    bias2: Any

    def place(self, y: Any) -> Place:
        z = self.threshold * (-y / 2).exp()
        rate = self.law.tail(z)
        image = self.bias2 + self.gain2 * rate
        return Place(y, z, rate, self.law.density(z), image, image.log() - y)

    def multiplier(self, place: Place, variance: Any) -> Any:
        """``m = g² z f(z)/(2V)``."""
        return self.gain2 * place.z * place.density / (2 * variance)

    def slope(self, left: Place, right: Place) -> tuple[Any, Any]:
        """Bounds of ``E'`` on the interval between two places."""
        far, near = left, right  # the larger |z| is at the smaller variance
        images = (left.image, right.image)
        small, large = images if self.threshold > 0 else images[::-1]
        least = self.gain2 * abs(near.z) * far.density / (2 * large)
        most = self.gain2 * abs(far.z) * near.density / (2 * small)
        if self.threshold < 0:
            return (-1 - most).lower(), (-1 - least).upper()
        if far.rate > 0:  # z f/S increases and g² S/F falls with z: often tighter bounds
            hazards = [place.z * place.density / place.rate / 2 for place in (near, far)]
            shares = [self.gain2 * place.rate / place.image for place in (near, far)]
            least, most = (
                least.lower().max((hazards[0] * shares[1]).lower()),
                most.upper().min((hazards[1] * shares[0]).upper()),
            )
        return (least - 1).lower(), (most - 1).upper()

    def range(self) -> tuple[Any, Any] | None:
        r"""Bounds of ``ln V`` for all fixed points but silence; None if this precision finds no lower bound.

        Above, ``V ≤ σ_b² + g²``. Below, ``V ≥ σ_b²``; ``V ≥ σ_b² + g²/2`` for ``θ < 0``; else the tail bound
        ``z² S(z) < θ²/g²`` for ``z ≥ Z``, so that ``F(V) < V`` for ``V ≤ (θ/Z)²``.
        """
        top = (2 * (self.bias2 + self.gain2)).log().mid()
        if self.threshold < 0:
            return ((self.bias2 + self.gain2 / 2) / 2).log().mid(), top
        if self.bias2 > 0:
            return (self.bias2 / 2).log().mid(), top
        wanted = self.threshold**2 / self.gain2
        silent = next((z for z in map(self.law.far, _STEPS) if self.law.beyond(z) < wanted), None)
        return None if silent is None else (2 * (self.threshold / silent).log().lower(), top)
