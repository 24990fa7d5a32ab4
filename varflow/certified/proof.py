r"""Proofs for the memoryless layer at infinite width: all its fixed points, that there are no others, and its critical gain.

The critical gain is found by interval Newton for the ``z`` at which ``z f(z) = 2 Q(z)``.

In ball arithmetic the layer is ``E(y) = ln F(e^y) - y``, zero at every active fixed point.

.. math:: F(V) = \sigma_b^2 + g^2 Q(\theta/\sqrt V), \qquad E'(y) = \frac{V F'(V)}{F(V)} - 1
        = \frac{g^2 z f(z)}{2 F(V)} - 1, \qquad z = \theta e^{-y/2}

At a root ``F = V``, so ``E' = m - 1`` with the multiplier ``m``. ``F`` is monotone and ``f`` decreases with ``|z|``, so values
at the two ends of an interval bound ``E'`` inside it; the mean value theorem also holds across the kinks of ``Q``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from varflow._checks import ConvergenceError, DomainError, integer, non_negative_number, positive_number, real_number
from varflow._display import Table
from varflow.certified.distributions import BallPotential, Enclosure, ball, distribution_named, exact, outward, precision
from varflow.certified.newton import isolate, narrow, sign
from varflow.model.distributions import Distribution
from varflow.results import FixedPoint, FixedPoints
from varflow.results.fixed_points import basin

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


_FIRST_BITS = 96  # of precision; doubled while anything is undecided


@dataclass(frozen=True, slots=True)
class CertifiedPoint(FixedPoint):
    """A proven fixed point; ``enclosure`` bounds its variance.

    Fixed points closer together than neighbouring doubles may have the same bounds; that they differ is still proven.

    Attributes
    ----------
    firing_rate_enclosure, multiplier_enclosure : Enclosure
        Proven bounds of ``P(u > θ)`` and of ``F'(V)`` there.

    Examples
    --------
    >>> import varflow as vf
    >>> point = vf.certified.fixed_points(threshold=1.0, gain=2.6)[-1]
    >>> point.stable, bool(point.enclosure[0] < point.variance < point.enclosure[1])
    (True, False)
    """

    firing_rate_enclosure: Enclosure | None = None
    multiplier_enclosure: Enclosure | None = None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CertifiedFixedPoints(FixedPoints):
    """Proven fixed points.

    There are no cycles: ``F`` increases for ``θ > 0`` and contracts in ``ln V`` for ``θ < 0``.

    Attributes
    ----------
    precision : int
        Bits of precision with which the proof succeeded.
    unresolved : tuple of Enclosure
        Ranges of variance that are undecided. Empty, except in the ``.partial`` of a ConvergenceError.

    Examples
    --------
    >>> import varflow as vf
    >>> points = vf.certified.fixed_points(threshold=1.5, gain=3.65)
    >>> len(points), points.complete
    (1, True)
    """

    precision: int = _FIRST_BITS
    unresolved: tuple[Enclosure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return FixedPoints.to_dict(self) | {"precision": self.precision, "unresolved": [list(e) for e in self.unresolved]}

    def _table(self) -> Table:
        proven = f"unresolved: {len(self.unresolved)}" if self.unresolved else "proven: no others"
        numbers = [(p, *(f"{end:.17g}" for end in p.enclosure)) for p in self if p.enclosure]
        rows = [(lower, upper, f"{p.multiplier:.6g}", "yes" if p.stable else "no") for p, lower, upper in numbers]
        title = f"CertifiedFixedPoints ({proven}, {self.precision} bits{basin(self, lambda edge: f'{edge:.8g}')})"
        return Table(title, rows, ("lower", "upper", "multiplier", "stable"))


def fixed_points(
    *,
    threshold: float,
    gain: float,
    distribution: str | Distribution = "normal",
    bias_std: float = 0.0,
    digits: int = 15,
    max_precision: int = 4096,
) -> CertifiedFixedPoints:
    r"""All fixed points of the variance map, in proven bounds, and the proof that there are no others.

    .. math:: V = F(V) = \sigma_b^2 + g^2 Q(\theta/\sqrt V)

    Parameters
    ----------
    threshold, gain, bias_std : float
        ``θ``, ``g > 0``, ``σ_b ≥ 0``: doubles or integers, taken as exact.
    distribution : str or Distribution
        A built-in name or ``vf.distributions.student_t(df)`` with ``df ≤ 1e6``.
    digits : int
        Relative accuracy ``10^-digits`` of each variance; at most 15, since the bounds are doubles.
    max_precision : int
        Most bits of precision to try, at least 64. Starts at 96 bits, doubled while anything is undecided.

    Returns
    -------
    CertifiedFixedPoints
        ``FixedPoints``, silence included, whose points carry ``.enclosure``, ``.firing_rate_enclosure`` and
        ``.multiplier_enclosure``. ``stable`` is proven by ``|m| < 1`` or ``|m| > 1``.

    Raises
    ------
    DomainError
        For a distribution that is not built in or a number outside its domain.
    ConvergenceError
        "cannot separate": with ``max_precision`` bits two neighbouring fixed points cannot be told from one or none (as exactly
        at a saddle-node), or ``|m|`` from 1. ``.partial`` holds what is proven, ``.partial.unresolved`` what is not.
    MissingExtraError
        Without python-flint.

    Notes
    -----
    Active fixed points are the roots of ``E(y) = ln F(e^y) - y`` in ``y = ln V``. They lie in a finite interval: ``V ≤ σ_b² +
    g²``, and ``V ≥ σ_b²`` or, without bias, ``V ≥ (θ/Z)²`` with ``z² Q(z) < θ²/g²`` for all ``z ≥ Z``. The interval is divided
    until each part is proven to hold no root (bounds of ``E'`` from both ends) or exactly one (``E'`` has one sign, ``E``
    changes it). Interval Newton then narrows each root. At ``θ = 0`` the map is constant except at ``V = 0``.

    **Assumes** infinite width, memoryless neurons, no weight mean. python-flint's working precision, which threads share, is
    changed during the call; calls run one after another.
    **Accuracy**: proven. For 5000 random networks, 1000 per distribution, the relative width of a variance's bounds was at most
    2.3e-16. Where the variance underflows (very heavy tails and large gains) the bounds are 0 and the smallest double.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> found = vf.certified.fixed_points(threshold=1.5, gain=4.0)
    >>> [point.stable for point in found], found.complete
    ([True, False, True], True)
    >>> found[2].variance in found[2].enclosure, found[2].enclosure.relative_width < 1e-15
    (True, True)
    """
    digits = integer("digits", digits, minimum=1)
    if digits > 15:
        raise DomainError("digits", digits, "must be at most 15: the bounds are doubles")
    bits, most_bits = _FIRST_BITS, integer("max_precision", max_precision, minimum=64)
    potential = distribution_named(distribution)
    while True:
        bits = min(bits, most_bits)
        with precision(bits):
            theta = exact("threshold", threshold, real_number)
            gain2 = exact("gain", gain, positive_number) ** 2
            bias2 = exact("bias_std", bias_std, non_negative_number) ** 2
            proven = _proven(CertifiedLayer(potential(), theta, gain2, bias2), bits, ball(10) ** -digits)
        if proven.complete:
            return proven
        if bits == most_bits:
            raise ConvergenceError(_undecided(proven), proven)
        bits *= 2


def _proven(layer: CertifiedLayer, bits: int, accuracy: Any) -> CertifiedFixedPoints:
    """The fixed points proven with this precision, and what stays undecided."""
    silence = bool(layer.bias2 == 0) and bool(layer.threshold >= 0)
    points = [_silence(layer)] if silence else []
    unresolved: tuple[Enclosure, ...] = ()
    if layer.threshold == 0:
        points.append(_at_zero_threshold(layer))
    else:
        active, unresolved = _active(layer, accuracy)
        points += active
    edge = float("nan") if unresolved else _basin_edge(layer, points, silence)
    return CertifiedFixedPoints(tuple(points), not unresolved, None, edge, precision=bits, unresolved=unresolved)


def _active(layer: CertifiedLayer, accuracy: Any) -> tuple[list[CertifiedPoint], tuple[Enclosure, ...]]:
    """The active fixed points at ``θ ≠ 0``, and the ranges of variance left undecided."""
    ends = layer.range()
    if ends is None:
        return [], (Enclosure(0.0, outward(layer.bias2 + layer.gain2).upper),)
    points = []
    single, unknown = isolate(layer.place, layer.slope, *ends)
    undecided = [(left.at, right.at) for left, right in unknown]
    for left, right in single:
        y = narrow(layer.place, layer.slope, left, right)
        point = _point(layer, layer.place(y), accuracy)
        if point is None:
            undecided.append((y, y))
        else:
            points.append(point)
    return points, tuple(Enclosure(outward(a.exp()).lower, outward(b.exp()).upper) for a, b in undecided)


def _silence(layer: CertifiedLayer) -> CertifiedPoint:
    """``V = 0``: ``F' = 0`` there for ``θ > 0``, as ``z² Q(z) → 0``; at ``θ = 0`` the map is discontinuous."""
    stable = bool(layer.threshold > 0)
    m = 0.0 if stable else float("inf")
    zero = Enclosure(0.0, 0.0)
    return CertifiedPoint(0.0, 0.0, m, stable, 0.0, 0.0, zero, zero, Enclosure(m, m))


def _at_zero_threshold(layer: CertifiedLayer) -> CertifiedPoint:
    """``F(V) = σ_b² + g²/2`` for all ``V > 0``, since ``Q(0) = 1/2``."""
    variance = layer.bias2 + layer.gain2 / 2
    half, zero = Enclosure(0.5, 0.5), Enclosure(0.0, 0.0)
    stated = float(variance.mid())
    return CertifiedPoint(stated, 0.5, 0.0, True, 0.0, float(variance - ball(stated)), outward(variance), half, zero)


def _point(layer: CertifiedLayer, place: Place, accuracy: Any) -> CertifiedPoint | None:
    """The fixed point in the ball ``place.at``, or None where its stability or accuracy is not proven."""
    variance = place.at.exp().intersection(place.image)  # the root lies in both
    multiplier = layer.multiplier(place, variance)
    size = abs(multiplier)
    if not (size < 1 or size > 1) or not 4 * variance.rad() < accuracy * variance:
        return None
    stated = float(variance.mid())
    depth_scale = float((-1 / size.log()).mid()) if size > 0 else 0.0
    image = layer.bias2 + layer.gain2 * layer.potential.tail(layer.threshold / ball(stated).sqrt())
    rate, m, residual = (float(number.mid()) for number in (place.rate, multiplier, image - stated))
    enclosures = outward(variance), _probability(place.rate), outward(multiplier)
    return CertifiedPoint(stated, rate, m, bool(size < 1), depth_scale, residual, *enclosures)


def _probability(rate: Any) -> Enclosure:
    """The bounds within [0, 1]."""
    lower, upper = outward(rate)
    return Enclosure(max(lower, 0.0), min(upper, 1.0))


def _basin_edge(layer: CertifiedLayer, points: list[CertifiedPoint], silence: bool) -> float:
    """The smallest variance from which activity does not decay to silence or, with a bias, to the state of lowest rate."""
    if silence and layer.threshold > 0:
        return points[1].variance if len(points) > 1 else float("inf")
    return next((point.variance for point in points[1:] if not point.stable), 0.0)


def _undecided(proven: CertifiedFixedPoints) -> str:
    where = "; ".join(f"[{low:.10g}, {high:.10g}]" for low, high in proven.unresolved)
    return (
        f"cannot separate the fixed points with variance in {where} at max_precision={proven.precision} bits: their number, "
        "stability or accuracy is undecided; allow more bits, or move away from the saddle-node"
    )


class _Ratio(NamedTuple):
    """Values at ``z = e^x``: ``ratio = z f/Q``, ``value = ratio - 2`` and ``log_slope = z f'/f``."""

    at: Any
    ratio: Any
    log_slope: Any
    value: Any


def critical_gain(*, threshold: float, distribution: str | Distribution = "normal") -> Enclosure:
    r"""Proven bounds of the gain below which silence is the only fixed point.

    .. math:: g_c = \theta / \max_z \sqrt{z^2 Q(z)}

    Parameters
    ----------
    threshold : float
        ``θ``, meant as its exact binary value; for ``θ ≤ 0`` activity never dies and the bounds are 0.
    distribution : str or Distribution
        A built-in name or ``student_t(df)`` with ``df ≤ 1e6``.

    Returns
    -------
    Enclosure
        ``(lower, upper)``, two doubles.

    Raises
    ------
    DomainError
        For a distribution that is not built in or a threshold outside its domain.
    MissingExtraError
        Without python-flint.

    Notes
    -----
    **Assumes** infinite width, no bias, no weight mean.
    **Accuracy**: neighbouring doubles for the built-in distributions (tested). For each of them ``z f/Q`` increases (see
    ``certified.distributions``), so ``z² Q`` has a single maximum, at ``z f = 2 Q``.
    **Source**: derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> vf.certified.critical_gain(threshold=1.0, distribution="laplace")  # e
    Enclosure(lower=2.718281828459045, upper=2.7182818284590455)
    """
    with precision(128):  # bits that make the bounds neighbouring doubles for every built-in distribution
        theta = exact("threshold", threshold, real_number)
        potential = distribution_named(distribution)()
        if theta <= 0:
            return Enclosure(0.0, 0.0)
        z = _critical(potential).exp()
        return outward(theta / (z * potential.tail(z).sqrt()))


def _critical(potential: BallPotential) -> Any:
    """``ln z_c``."""

    def place(x: Any) -> _Ratio:
        z = x.exp()
        ratio = z * potential.density(z) / potential.tail(z)
        return _Ratio(x, ratio, potential.log_slope(z), ratio - 2)

    def slope(left: _Ratio, right: _Ratio) -> tuple[Any, Any]:
        """Bounds of ``dη/d ln z = η (1 + z f'/f + η)``, ``η = z f/Q``: η increases and ``z f'/f`` decreases with z."""
        lowest, highest = 1 + right.log_slope + left.ratio, 1 + left.log_slope + right.ratio
        return (left.ratio * lowest).lower(), (right.ratio * highest).upper()  # used only where the lower one is positive

    left = place(ball(-1))
    right = next(
        (end for end in (place(potential.far(k).log().mid()) for k in (1, 2, 4, 8, 16, 32, 64)) if end.value > 0), left
    )
    while sign(left.value) * sign(right.value) < 0:
        if slope(left, right)[0] > 0:
            return narrow(place, slope, left, right)
        middle = place(((left.at + right.at) / 2).mid())
        left, right = (middle, right) if middle.value < 0 else (left, middle)
    raise ConvergenceError(
        "the maximum of z² Q(z) could not be enclosed: the variance of the distribution is nearly infinite", None
    )
