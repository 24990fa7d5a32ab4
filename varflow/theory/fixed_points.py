"""Fixed points and critical gains, of a memoryless layer or of a block of layers that is repeated over depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from varflow._checks import need, refuse
from varflow.model.network import Network
from varflow.model.signals import Layer
from varflow.results import FixedPoints
from varflow.theory.memoryless import fixed_points as of_layer


def critical_gain(*, threshold: Any = None, distribution: Any = "normal", block: Sequence[Layer] | None = None) -> Any:
    r"""The gain below which only silence is stable, at infinite width.

    .. math:: g_c = \sqrt{\gamma_c}\,\theta, \qquad 1/\gamma_c = \max_z z^2 Q(z)

    Parameters
    ----------
    threshold : float, array or frozen scipy.stats distribution
        ``θ``; for ``θ ≤ 0`` activity never dies and the result is 0. A distribution is one over neurons: ``Q(z)`` becomes the
        average over them; 0 if some thresholds are negative, or if their density does not vanish fast enough at 0.
    distribution : str or object
        Of the standardised potential.
    block : sequence of vf.layers, optional
        In place of a threshold: the critical gain of the block's last layer with weights, its other gains unchanged; 0 if
        activity never dies, infinite if it always does. Where activity falls with this gain, as in an ``iand`` branch, it is
        the gain *above* which only silence is stable. See :func:`varflow.fixed_points`.

    Returns
    -------
    float or ndarray

    Raises
    ------
    DomainError
        For a threshold that is not finite.

    Notes
    -----
    **Assumes** infinite width, no bias, no weight mean.
    **Accuracy**: full precision for the built-in distributions (γ_c = 6.034397946968073, 9/2, e², 6.813718279415934 for
    normal, uniform, Laplace and logistic); for others the maximum is found by a scan and refined.
    **Source**: derived here; at ``γ_c`` the two non-zero fixed points meet in a saddle-node.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.critical_gain(threshold=1.0), 6)
    2.456501

    Thresholds that differ between neurons lower it, by a factor of about ``1 - 0.71 CV²`` of their coefficient of variation:

    >>> import scipy.stats
    >>> round(vf.critical_gain(threshold=scipy.stats.uniform(0.8, 0.4)) ** 2, 3)
    5.919

    A membrane shortcut lowers it, to ``√(γ_c (1 - α²)) θ``:

    >>> spike, linear = vf.layers.Spike(vf.Neuron(1.0)), vf.layers.Linear(gain=1.0)
    >>> round(vf.critical_gain(block=[vf.layers.Residual(spike, linear, keep=0.9)]), 6)
    1.070764
    """
    if block is None:
        need("must be given, or block=[…]", threshold=threshold)
        return of_layer.critical_gain(threshold, distribution)
    refuse("cannot be given with block=[…], which has its own", threshold=threshold)
    from varflow.theory.deep.block import critical_gain_of_block  # loads scipy.special, which takes 0.2 s

    return critical_gain_of_block(block)


def fixed_points(
    network: Network | None = None,
    *,
    threshold: Any = None,
    gain: float | None = None,
    distribution: Any = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    block: Sequence[Layer] | None = None,
) -> FixedPoints:
    r"""Every variance that a layer reproduces, ``F(V) = V``, with its stability.

    .. math:: V = \sigma_b^2 + g^2 Q(z), \qquad z = \frac{\theta - m_g (V-\sigma_b^2)/g^2}{\sqrt V}, \qquad
              m = F'(V) = f(z)\left(\frac{g^2 z}{2V} + \frac{m_g}{\sqrt V}\right)

    Parameters
    ----------
    network : Network, optional
        In place of all others, for one time step: described by hand or read from a model by :func:`varflow.read`. Its fixed
        points are those of the block of layers that it repeats over more than half of its depth; its drive, width and other
        layers do not matter. Gains, means and biases may differ between repeats as those of weights drawn anew would, within
        four standard errors; the block then has their averages, of means only those that differ from 0, and ``note`` says so.
    threshold, gain, bias_std, mean_gain : float
        As in :func:`varflow.variance_map`, one number each. A threshold may be a frozen scipy.stats distribution over neurons,
        of positive values and with ``mean_gain=0``.
    distribution : str or object
        Of the standardised potential.
    block : sequence of vf.layers, optional
        In place of all others: the layers between two like signals, repeated over depth, for one time step. The variance is
        that of the currents which enter the block, the rate that of the neurons which read them; for a block of spikes, the
        variance is that of its last neurons, the rate that of the spikes which leave it, after its merges. With a BatchNorm,
        the multiplier is that of a difference between one input and all others.

    Returns
    -------
    FixedPoints
        Ascending in variance, including silence (``V = 0``) if it is a fixed point. ``complete`` says whether the list is
        proven complete; after a scan, ``resolution`` is the step in ``ln V``. ``cycles`` holds the two-cycles, stable and
        unstable.

    Raises
    ------
    DomainError
        For values that are not finite single numbers in their domain, if a fixed point has a rate or variance below 1e-300, and
        for a network that repeats no block, or has several steps.

    Notes
    -----
    **Assumes** infinite width and memoryless neurons.
    **Complete** for the built-in distributions with any threshold and bias (see ``theory/memoryless/fixed_points.py``), for
    any continuous one at ``θ ≤ 0`` without weight mean, and for discrete ones (finitely many candidates). Otherwise scanned.
    **Cycles** need a map that falls: none without weight mean for the built-in distributions (proven), and none for ``θ ≥ 0``
    with ``m_g ≥ 0``. They are found by a scan in ``ln p`` (step 0.004), or for discrete distributions from a complete list. A
    cycle so close to absorbing silence that its smaller variance underflows is missed. A map that only falls (``θ ≤ 0``,
    ``m_g ≤ 0``) has no longer cycles. If it rises and then falls, at small ``θ > 0`` with a bias and ``m_g < 0``, longer cycles
    and chaos occur and are not listed. Of 400 000 random networks (θ uniform in ±2g, σ_b log-uniform in 0.01 … 3g, -m_g in
    0.1 … 100g) 134 174 ended in two-cycles, 84 in cycles of 3 to 32 layers and 52 in chaos; the last two kinds all had
    ``0 < θ < 0.07 g``, ``σ_b < 0.04 g`` and ``m_g < -7 g``.
    **Blocks** assume one time step and infinite width. They are scanned in the logarithm of the state (step 0.02, refined at
    extrema), roots to adjacent floats; the multiplier is a central difference, within 1e-7. ``note`` says how activity grows
    where no fixed point holds it.
    **Accuracy**: 6e-16 relative, times ``1/|1 - m|`` near the saddle-node, against 50-digit roots over θ from 1e-8 to 30 and
    γ up to 1e12 (``docs/accuracy.md``); ``vf.certified`` proves it case by case.
    **Source**: ``poole2016`` and ``schoenholz2017`` for multiplier and depth scale with smooth activations; for a threshold
    derived here. ``micheli2024`` name only the fixed point ``V = 1``.

    Examples
    --------
    At θ = 1.5 the fixed point of the preserving gain, ``V = 1``, is unstable:

    >>> import varflow as vf
    >>> for point in vf.fixed_points(threshold=1.5, gain=vf.gain(threshold=1.5)):
    ...     print(f"{point.variance:.5f} {point.stable}")
    0.00000 True
    1.00000 False
    2.71228 True

    A membrane shortcut with ``keep = α`` has the fixed points of the gain ``g/√(1 - α²)``:

    >>> spike, linear = vf.layers.Spike(vf.Neuron(1.0)), vf.layers.Linear(gain=vf.gain(threshold=1.0) * 0.19**0.5)
    >>> [round(point.variance, 5) for point in vf.fixed_points(block=[vf.layers.Residual(spike, linear, keep=0.9)])]
    [0.0, 0.5143, 1.0]

    A network that repeats the same:

    >>> network = vf.Network(width=500, layers=[vf.layers.Residual(spike, linear, keep=0.9)] * 30 + [spike])
    >>> [round(point.variance, 5) for point in vf.fixed_points(network)]
    [0.0, 0.5143, 1.0]
    """
    if network is not None:
        refuse("cannot be given with a network, which has its own", threshold=threshold, gain=gain, block=block)
        from varflow.theory.deep.repeats import fixed_points_of_network

        return fixed_points_of_network(network)
    if block is not None:
        refuse("cannot be given with block=[…], which has its own", threshold=threshold, gain=gain)
        from varflow.theory.deep.block import RepeatedBlock, fixed_points_of_block

        return fixed_points_of_block(RepeatedBlock.of(block))
    need("must be given, or block=[…]", threshold=threshold, gain=gain)
    return of_layer.fixed_points(threshold, gain, distribution, bias_std, mean_gain)
