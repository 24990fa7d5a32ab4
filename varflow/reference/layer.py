"""The memoryless layer at infinite width, in mpmath: its map, the gain that preserves a variance, and all layers one by one."""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import DomainError, integer
from varflow._mpmath import mp, mpf
from varflow.model.distributions import Distribution
from varflow.reference.digits import at_least_zero, enough_digits_for, first_power, in_digits, number, parameters, root_between
from varflow.reference.distributions import ExactPotential, distribution_named


class ReferenceLayer(NamedTuple):
    """``F(V) = σ_b² + g² Q((θ - m_g (V - σ_b²)/g²)/√V)``."""

    potential: ExactPotential
    threshold: Any
    gain2: Any
    bias2: Any
    mean_gain: Any

    def z(self, variance: Any) -> Any:
        gap = self.threshold - self.mean_gain * (variance - self.bias2) / self.gain2
        if variance == 0:
            return mp.inf if gap >= 0 else -mp.inf  # u = 0, which spikes if 0 > θ
        return gap / mp.sqrt(variance)

    def rate(self, variance: Any) -> Any:
        z = self.z(variance)
        return (mpf(0) if z > 0 else mpf(1)) if mp.isinf(z) else self.potential.tail(z)

    def excess(self, variance: Any) -> Any:
        """``F(V) - V``."""
        return self.bias2 + self.gain2 * self.rate(variance) - variance

    def approach(self, variance: Any) -> Any:
        """``-z'(V) = z/(2V) + m_g/(g² √V)``."""
        return self.z(variance) / (2 * variance) + self.mean_gain / (self.gain2 * mp.sqrt(variance))

    def slope(self, variance: Any) -> Any:
        """``F'(V) = -g² f(z) z'(V)``."""
        return self.gain2 * self.potential.density(self.z(variance)) * self.approach(variance)

    def slopes(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Bounds of ``F'`` on an interval on which ``z`` and ``z'`` are monotone; ``f`` decreases with ``|z|``."""
        z, factors = [self.z(v) for v in (a, b)], [self.gain2 * self.approach(v) for v in (a, b)]
        nearest = mpf(0) if z[0] * z[1] <= 0 else min(map(abs, z))
        bounds = [self.potential.density(y) * factor for y in (nearest, max(map(abs, z))) for factor in factors]
        return min(bounds), max(bounds)


def layer_of(threshold: Any, gain: Any, distribution: Any, bias_std: Any, mean_gain: Any) -> ReferenceLayer:
    """The layer of the user's numbers, taken as exact."""
    return ReferenceLayer(distribution_named(distribution), *parameters(threshold, gain, bias_std, mean_gain))


@in_digits
def variance_map(
    variance: float,
    *,
    threshold: float,
    gain: float,
    distribution: str | Distribution = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    digits: int = 50,
) -> Any:
    r"""The next layer's variance at infinite width.

    .. math:: F(V) = \sigma_b^2 + g^2\, S\Bigl(\frac{\theta - m_g (V - \sigma_b^2)/g^2}{\sqrt V}\Bigr)

    Parameters
    ----------
    variance, threshold, gain, bias_std, mean_gain : float
        ``V ≥ 0``, ``θ``, ``g > 0``, ``σ_b ≥ 0``, ``m_g = n E[w]``, taken as their exact binary values.
    distribution : str or Distribution
        A built-in name or ``student_t(df)``.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        For a distribution that is not built in or a number outside its domain.

    Notes
    -----
    **Source**: the definition of the layer.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.reference.variance_map(1, threshold=0, gain=2, digits=20))
    2.0
    """
    layer = layer_of(threshold, gain, distribution, bias_std, mean_gain)
    variance = at_least_zero("variance", variance, zero=True)
    return layer.bias2 + layer.gain2 * layer.rate(variance)


@in_digits
def gain(
    *,
    threshold: float,
    variance: float = 1.0,
    distribution: str | Distribution = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    digits: int = 50,
) -> Any:
    r"""The gain that preserves a variance.

    .. math:: g^2 = \frac{v - \sigma_b^2}{p}, \qquad p = S\Bigl(\frac{\theta - m_g p}{\sqrt v}\Bigr)

    Parameters
    ----------
    threshold, variance, bias_std, mean_gain : float
        ``θ``, ``v > σ_b²``, ``σ_b ≥ 0``, ``m_g = n E[w]``; where a large ``m_g`` allows several
        rates ``p``, the lowest is taken.
    distribution : str or Distribution
        A built-in name or ``student_t(df)``.
    digits : int
        Relative accuracy of the answer.

    Returns
    -------
    mpf

    Raises
    ------
    DomainError
        If no gain preserves the variance: ``v ≤ σ_b²``, or a threshold beyond the support.

    Notes
    -----
    **Source**: ``F(v) = v`` of :func:`variance_map`, solved for ``g``.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.reference.gain(threshold=0, digits=20) ** 2)
    2.0
    """
    potential, threshold = distribution_named(distribution), number("threshold", threshold)
    wanted = at_least_zero("variance", variance, zero=False)
    from_spikes = wanted - at_least_zero("bias_std", bias_std, zero=True) ** 2
    if from_spikes <= 0:
        raise DomainError("variance", variance, "must exceed bias_std², the variance of the biases alone")
    z, shift = threshold / mp.sqrt(wanted), number("mean_gain", mean_gain) / mp.sqrt(wanted)
    with enough_digits_for(max(abs(z), abs(shift))):
        rate = _rate(potential, z, shift, digits)
    if rate == 0:
        raise DomainError(
            "threshold", threshold, f"is beyond the support: no neuron spikes and no gain preserves variance={variance}"
        )
    return mp.sqrt(from_spikes / rate)


def _rate(potential: ExactPotential, z: Any, shift: Any, digits: int) -> Any:
    """The smallest solution of ``p = Q(z - shift p)``.

    ``Q`` is convex above the mode 0 and concave below it. For ``shift > 0``, ``Q(z - shift p) - p`` is therefore positive at
    ``p = 0``, convex up to ``p = z/shift``, concave beyond, and negative at ``p = 1``.
    """

    def difference(p: Any) -> Any:
        return potential.tail(z - shift * p) - p

    if shift == 0 or difference(mpf(0)) == 0:
        return potential.tail(z)
    if shift < 0:  # the difference falls with p: one root
        highest = potential.tail(z)
        return root_between(difference, first_power(lambda p: difference(p) > 0, highest, factor=mpf(1) / 2), highest, digits)
    lowest = potential.tail(z) * (1 - mpf(10) ** (2 - mp.dps))
    convex_to = min(z / shift, mpf(1))
    if convex_to > 0:
        minimum = _minimum(potential, z, shift, convex_to, digits)
        if difference(minimum) <= 0:
            return root_between(difference, lowest, minimum, digits)
        lowest = convex_to  # no root in the convex part, one in the concave part
    return root_between(difference, lowest, mpf(1), digits)


def _minimum(potential: ExactPotential, z: Any, shift: Any, end: Any, digits: int) -> Any:
    """The minimum of the convex ``Q(z - shift p) - p`` on ``[0, end]``: the root of its increasing slope, or an end."""

    def slope(p: Any) -> Any:
        return shift * potential.density(z - shift * p) - 1

    if slope(mpf(0)) >= 0:
        return mpf(0)
    return end if slope(end) <= 0 else root_between(slope, end * mpf(10) ** -mp.dps, end, digits)


class ExactMeanField(NamedTuple):
    """Variance and firing rate of layers 1 … depth, in mpf numbers.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> mpmath.nstr(vf.reference.mean_field(threshold=1, gain=2**0.5, depth=4, digits=15).variance[-1], 5)
    '0.00028257'
    """

    variance: tuple[Any, ...]
    firing_rate: tuple[Any, ...]


@in_digits
def mean_field(
    *,
    threshold: float,
    gain: float,
    depth: int,
    distribution: str | Distribution = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    drive_std: float = 1.0,
    digits: int = 50,
) -> ExactMeanField:
    r"""Variance and firing rate of every layer at infinite width.

    .. math:: V_1 = \sigma_I^2, \quad p_1 = Q(\theta/\sqrt{V_1}), \qquad
              V_{l+1} = \sigma_b^2 + g^2 p_l, \quad p_{l+1} = S\Bigl(\frac{\theta - m_g p_l}{\sqrt{V_{l+1}}}\Bigr)

    Parameters
    ----------
    threshold, gain, bias_std, mean_gain, drive_std : float
        ``θ``, ``g > 0``, ``σ_b ≥ 0``, ``m_g = n E[w]``, ``σ_I ≥ 0``; layer 1 has neither bias nor weight mean.
    depth : int
        Number of layers, including layer 1.
    distribution : str or Distribution
        Of the standardised potential in every layer.
    digits : int
        Relative accuracy, as long as the product of the slopes of the map, by which rounding errors grow, stays below the
        1e15 of the guard digits.

    Returns
    -------
    ExactMeanField
        ``.variance`` and ``.firing_rate``, one mpf per layer.

    Raises
    ------
    DomainError
        For a distribution that is not built in or a number outside its domain.

    Notes
    -----
    **Assumes** infinite width, no memory. **Source**: the definition of the layer.

    Examples
    --------
    >>> import mpmath, varflow as vf
    >>> kaiming = vf.reference.mean_field(threshold=1, gain=2**0.5, depth=4)
    >>> print(*(mpmath.nstr(V, 5) for V in kaiming.variance))
    1.0 0.31731 0.075858 0.00028257
    """
    layer = layer_of(threshold, gain, distribution, bias_std, mean_gain)
    variances, rates = [at_least_zero("drive_std", drive_std, zero=True) ** 2], []
    mean = mpf(0)
    for _ in range(integer("depth", depth, minimum=1)):
        rates.append(layer.potential.above(layer.threshold - mean, variances[-1]))
        mean = layer.mean_gain * rates[-1]
        variances.append(layer.bias2 + layer.gain2 * rates[-1])
    return ExactMeanField(tuple(variances[:-1]), tuple(rates))
