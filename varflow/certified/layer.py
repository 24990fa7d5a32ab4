r"""The memoryless layer at infinite width in ball arithmetic: ``E(y) = ln F(e^y) - y``, zero at every active fixed point.

.. math:: F(V) = \sigma_b^2 + g^2 Q(\theta/\sqrt V), \qquad E'(y) = \frac{V F'(V)}{F(V)} - 1
        = \frac{g^2 z f(z)}{2 F(V)} - 1, \qquad z = \theta e^{-y/2}

At a root ``F = V``, so ``E' = m - 1`` with the multiplier ``m``. ``F`` is monotone and ``f`` decreases with ``|z|``, so values
at the two ends of an interval bound ``E'`` inside it; the mean value theorem also holds across the kinks of ``Q``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow.certified.distributions import BallPotential

_STEPS = tuple(2**k for k in range(40))  # the search for the smallest variance: up to z = 2^(2^39), or that close to an edge


class Place(NamedTuple):
    """Values at ``y = at``: ``z``, ``rate = Q(z)``, ``density = f(z)``, ``image = F(V)`` and ``value = E(y)``."""

    at: Any
    z: Any
    rate: Any
    density: Any
    image: Any
    value: Any


class CertifiedLayer(NamedTuple):
    """``F(V) = σ_b² + g² Q(θ/√V)`` with ``θ ≠ 0``."""

    potential: BallPotential
    threshold: Any
    gain2: Any
    bias2: Any

    def place(self, y: Any) -> Place:
        z = self.threshold * (-y / 2).exp()
        rate = self.potential.tail(z)
        image = self.bias2 + self.gain2 * rate
        return Place(y, z, rate, self.potential.density(z), image, image.log() - y)

    def multiplier(self, place: Place, variance: Any) -> Any:
        """``m = g² z f(z)/(2V)``."""
        return self.gain2 * place.z * place.density / (2 * variance)

    def slope(self, left: Place, right: Place) -> tuple[Any, Any]:
        """Bounds of ``E'`` between two places."""
        outer, inner = left, right  # the larger |z| is at the smaller variance
        images = (left.image, right.image)
        small, large = images if self.threshold > 0 else images[::-1]
        lowest = self.gain2 * abs(inner.z) * outer.density / (2 * large)
        highest = self.gain2 * abs(outer.z) * inner.density / (2 * small)
        if self.threshold < 0:
            return (-1 - highest).lower(), (-1 - lowest).upper()
        if outer.rate > 0:  # E' + 1 = (z f/2Q)(g² Q/F): the first factor increases, the second decreases with z
            hazards = [place.z * place.density / place.rate / 2 for place in (inner, outer)]
            fractions = [self.gain2 * place.rate / place.image for place in (inner, outer)]
            lowest, highest = (
                lowest.lower().max((hazards[0] * fractions[1]).lower()),
                highest.upper().min((hazards[1] * fractions[0]).upper()),
            )
        return (lowest - 1).lower(), (highest - 1).upper()

    def range(self) -> tuple[Any, Any] | None:
        r"""Log-variances that enclose every active fixed point; None where this precision proves no lower bound.

        Upper bound: ``V ≤ σ_b² + g²``. Lower bound: ``σ_b² + g²/2`` for ``θ < 0``; ``σ_b²`` with a bias; otherwise ``(θ/Z)²``,
        below which ``F(V) < V``, where ``z² Q(z) < θ²/g²`` for all ``z ≥ Z``.
        """
        top = (2 * (self.bias2 + self.gain2)).log().mid()
        if self.threshold < 0:
            return ((self.bias2 + self.gain2 / 2) / 2).log().mid(), top
        if self.bias2 > 0:
            return (self.bias2 / 2).log().mid(), top
        wanted = self.threshold**2 / self.gain2
        silent = next((z for z in map(self.potential.far, _STEPS) if self.potential.beyond(z) < wanted), None)
        return None if silent is None else (2 * (self.threshold / silent).log().lower(), top)
