"""The variance of every layer at infinite width, in mpmath: the recursion from layer to layer."""

from __future__ import annotations

from typing import Any, NamedTuple

from varflow._checks import integer
from varflow._mpmath import mp, mpf
from varflow.model.distributions import Distribution
from varflow.reference.digits import at_least_zero, in_digits, rounded
from varflow.reference.layer import layer_of


class ExactMeanField(NamedTuple):
    """Variance and firing rate of layers 1 … depth, in mpf numbers."""

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
        gap, V = layer.threshold - mean, variances[-1]
        if V > 0:
            rates.append(layer.potential.tail(gap / mp.sqrt(V)))
        else:
            rates.append(mpf(1) if gap < 0 else mpf(0))  # u is its mean, and a spike needs u > θ
        mean = layer.mean_gain * rates[-1]
        variances.append(layer.bias2 + layer.gain2 * rates[-1])
    return ExactMeanField(tuple(rounded(V, digits) for V in variances[:-1]), tuple(rounded(p, digits) for p in rates))
