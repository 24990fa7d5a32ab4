"""Assertions about an initialiser over depth: activity survives, and layers are distributed as the theory predicts."""

from __future__ import annotations

import numpy as np

import varflow as vf
from varflow._checks import DomainError, called, instance, integer, probability
from varflow.testing.initialisers import Fill, filled, seeded


def assert_survives(
    fill: Fill,
    *,
    threshold: float,
    width: int = 100,
    depth: int = 20,
    share: float = 0.9,
    repeats: int = 100,
    seed: int = 0,
    false_alarm: float = 1e-3,
) -> None:
    r"""Assert that activity survives to the last layer in at least a stated fraction of networks.

    .. math:: P(K_L > 0) \ge \text{share}

    Parameters
    ----------
    fill : callable
        Fills a tensor of shape ``(width, width)`` in place, or returns one.
    threshold : float
        ``θ``.
    width, depth : int
        Of the networks. Layer 1 has N(0, 1) potentials.
    share : float
        Smallest fraction of networks that must be alive, strictly between 0 and 1.
    repeats : int
        Number of networks, each with new weights.
    seed : int
        Of torch's generator and of the drive.
    false_alarm : float
        Probability of rejecting a fill that keeps exactly this fraction alive; smaller if it keeps more.

    Raises
    ------
    AssertionError
        If significantly fewer networks are alive, or the fill leaves weights that are not finite.
    DomainError
        For values outside their domain, or ``repeats`` so small that even no survivor would not be significant.

    Notes
    -----
    **Method**: the exact one-sided binomial test. With the defaults it fails for 79 or fewer of 100 networks alive: a fill that
    keeps 80 % alive is rejected for 44 of 100 seeds, one that keeps 60 % for all. In narrow networks the preserving gain itself
    fails: at θ = 1, 54 % of networks of width 100 are alive at layer 20. The message names a sufficient gain.
    **Assumes** memoryless neurons without bias.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> fill = lambda weight: weight.normal_(0, vf.gain(threshold=0.5) / weight.shape[1] ** 0.5)
    >>> vf.testing.assert_survives(fill, threshold=0.5)
    >>> vf.testing.assert_survives(torch.nn.init.kaiming_normal_, threshold=1.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: activity survives to layer 20 in 0 of 100 networks, expected at least 90 % (p = ...)
    Half of them are silent by layer ... vf.corrected_gain(threshold=1, width=100, depth=20, survival_target=0.9)
    """
    called("fill", fill)
    wanted = probability("share", share, open_ends=True)
    repeats, alpha = integer("repeats", repeats, minimum=1), probability("false_alarm", false_alarm, open_ends=True)
    if (1 - wanted) ** repeats >= alpha:
        raise DomainError("repeats", repeats, f"is too few to reject any fill at a false-alarm rate of {alpha:g}")
    network = vf.Network(width=width, depth=depth, gain=1.0, neuron=vf.Neuron(threshold))  # the gain is not used
    alive = (_measured(fill, network, repeats, seed).firing_rate > 0).sum(axis=0)
    from scipy.special import bdtr

    p_value = float(bdtr(int(alive[-1]), repeats, wanted))
    if p_value < alpha:
        setting = f"threshold={threshold:g}, width={width}, depth={depth}, survival_target={wanted:g}"
        half = np.flatnonzero(2 * alive <= repeats)
        fall = f"Half of them are silent by layer {half[0] + 1}. " if len(half) else ""
        raise AssertionError(
            f"activity survives to layer {depth} in {alive[-1]} of {repeats} networks, expected at least "
            f"{100 * wanted:g} % (p = {p_value:.2g})\n{fall}A sufficient gain: vf.corrected_gain({setting})"
        )


def assert_agrees_with_theory(
    fill: Fill, network: vf.Network, *, repeats: int = 20, seed: int = 0, false_alarm: float = 1e-3
) -> None:
    """Assert that deep networks with a fill's weights have the variance, rate and survival of the exact theory.

    Parameters
    ----------
    fill : callable
        Fills a tensor of shape ``(width[l], width[l-1])`` in place, or returns one.
    network : Network
        What the fill should produce: its weight distribution and gain. Memoryless, driven by currents.
    repeats : int
        Number of networks, each with new weights; at least 2.
    seed : int
        Of torch's generator, the drive and the biases.
    false_alarm : float
        Probability of rejecting a fill that does produce this network.

    Raises
    ------
    AssertionError
        If the fill's networks disagree with the theory; the message is the comparison.
    DomainError
        For networks without an exact theory, or driven by inputs.

    Notes
    -----
    **Method**: :func:`varflow.compare` with :func:`varflow.finite_width`, calibrated by samples of the exact theory.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> network = vf.Network(width=100, depth=10, gain=2.0, neuron=vf.Neuron(0.7), weights="uniform")
    >>> fill = lambda weight: weight.uniform_(-1, 1).mul_(2.0 * (3 / weight.shape[1]) ** 0.5)
    >>> vf.testing.assert_agrees_with_theory(fill, network)
    >>> vf.testing.assert_agrees_with_theory(torch.nn.init.kaiming_uniform_, network)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    AssertionError: Comparison: the theory is rejected (...)
    ...
    """
    called("fill", fill)
    instance("network", network, vf.Network)
    if not isinstance(network.drive, type(vf.drives.currents())):
        raise DomainError("network", network, "must be driven by vf.drives.currents(std)")
    profile = vf.finite_width(network)
    verdict = vf.compare(
        profile, _measured(fill, network, integer("repeats", repeats, minimum=2), seed), false_alarm=false_alarm
    )
    if not verdict.passed:
        raise AssertionError(repr(verdict))


def _measured(fill: Fill, network: vf.Network, repeats: int, seed: int) -> vf.Ensemble:
    """Simulated networks with the fill's weights."""
    generator = np.random.default_rng(integer("seed", seed, minimum=0))
    with seeded(seed):
        rows = np.array([_propagated(fill, network, generator) for _ in range(repeats)])
    return vf.Ensemble(network, variance=rows[:, 0], firing_rate=rows[:, 1], seed=seed, engine="fill")


def _propagated(fill: Fill, network: vf.Network, generator: np.random.Generator) -> np.ndarray:
    """Variance and firing rate of every layer of one network, shape (2, depth)."""
    neuron, widths = network.neuron, network.widths.tolist()
    current = np.sqrt(network.drive.current_variances[0]) * generator.normal(size=widths[0])
    rows = []
    for layer, width in enumerate(widths):
        u = neuron.input_scale * current
        spikes = u > neuron.threshold if neuron.strict else u >= neuron.threshold
        rows.append((np.var(u, ddof=1) if width > 1 else np.nan, spikes.mean()))
        if layer + 1 < len(widths):
            W = filled(fill, (widths[layer + 1], width))
            current = W @ spikes + network.bias_std * generator.normal(size=widths[layer + 1])
    return np.array(rows).T
