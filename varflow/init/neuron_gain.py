"""``calculate_gain``: the gain for a neuron, as ``torch.nn.init.calculate_gain`` gives it for activation functions."""

from __future__ import annotations

from typing import Any

from varflow._checks import DomainError, choice, integer, need, non_negative_number, positive_number, probability, real_number
from varflow.init.gains import gain as preserving_gain
from varflow.init.gains import memoryless_gain
from varflow.init.in_time import gain_for_rate, gain_for_variance
from varflow.init.initialization import without_memory
from varflow.init.kept_alive import raised_gain
from varflow.init.rules import RULES
from varflow.model.as_neuron import neuron_or_threshold
from varflow.model.distributions import distribution as as_distribution
from varflow.model.neurons import Neuron


def calculate_gain(
    neuron: Any,
    rule: str = "preserving",
    *,
    variance: float = 1.0,
    rate: float | None = None,
    distribution: Any = "normal",
    bias_std: float = 0.0,
    mean_gain: float = 0.0,
    width: int | None = None,
    depth: int | None = None,
    survival_target: float = 0.99,
    steps: int | None = None,
) -> float:
    r"""The gain of the weights in front of a neuron: ``w`` of standard deviation ``g/√n``.

    Parameters
    ----------
    neuron : Neuron, torch module, str or float
        As :func:`varflow.neuron` takes it; a number is the threshold of a memoryless neuron.
    rule : str
        ``"preserving"`` keeps the variance of the potential (or gives a wanted rate); ``"corrected"`` is the paper's gain,
        raised to :func:`varflow.corrected_gain` if networks of this ``width`` would not survive to ``depth``; ``"kaiming"`` is
        ``√2`` for any neuron.
    variance : float
        Of the potential, to be preserved.
    rate : float, optional
        Wanted firing rate, instead of a variance.
    distribution, bias_std, mean_gain
        As in :func:`varflow.gain`; bias and mean are those of the current, before the input scale.
    width, depth, survival_target
        As in :func:`varflow.corrected_gain`; for ``"corrected"`` only. ``depth`` also applies to a neuron with memory.
    steps : int, optional
        For a neuron with memory, whose late variance or rate is then prescribed: :func:`varflow.gain_for_variance`,
        :func:`varflow.gain_for_rate`.

    Returns
    -------
    float
        For ``vf.init.normal_(w, g)``, ``torch.nn.init.xavier_normal_(w, gain=g)``, ``orthogonal_(w, g)``.

    Raises
    ------
    DomainError
        For values outside their domain, and for neurons with memory without steps.

    Notes
    -----
    **Assumes** memoryless neurons, and infinite width for those with memory. An input scale ``λ`` divides the gain.
    **Source**: ``micheli2024`` for the gain at variance 1, ``he2015`` for Kaiming's; the rest derived here.

    Examples
    --------
    >>> import varflow as vf
    >>> round(vf.init.calculate_gain(vf.Neuron(1.0)), 6)
    2.510573
    >>> round(vf.init.calculate_gain(1.0, "corrected", width=100, depth=100) ** 2, 4)
    8.1639
    >>> round(vf.init.calculate_gain(0.5, rate=0.2), 4)
    1.3284
    """
    neuron = neuron_or_threshold(neuron)
    choice("rule", rule, (*RULES, "corrected"))
    theta, unit, law = neuron.threshold, neuron.input_scale, as_distribution(distribution)
    sigma_b, m_g = non_negative_number("bias_std", bias_std), real_number("mean_gain", mean_gain)
    v, p = positive_number("variance", variance), rate
    if p is not None:
        p = probability("rate", p, open_ends=True)
    for name, value in {"width": width, "depth": depth, "steps": steps}.items():
        if value is not None:
            integer(name, value, minimum=1)
    target = probability("survival_target", survival_target, open_ends=True)
    if rule == "kaiming":
        return 2**0.5
    if not without_memory(neuron, steps):
        plain = rule == "preserving" and law.name == "normal" and sigma_b == m_g == 0 and width is None
        return _with_memory(neuron, v, p, steps, depth, plain)
    if rule == "corrected":
        need("is missing: the corrected gain depends on width and depth", depth=depth, width=width)
        return raised_gain(neuron, steps, width=width, depth=depth, survival_target=target)
    if p is not None:
        if sigma_b or m_g:
            raise DomainError("rate", rate, "is supported without bias and weight mean only; give a variance instead")
        return memoryless_gain(p, threshold=theta, distribution=law) / unit
    current: dict[str, Any] = {"bias_std": unit * sigma_b, "mean_gain": unit * m_g}
    return float(preserving_gain(threshold=theta, variance=v, distribution=law, **current)) / unit


def _with_memory(
    neuron: Neuron, variance: float, rate: float | None, steps: int | None, depth: int | None, plain: bool
) -> float:
    """The gain of a late rate or variance, of neurons with leak, reset or filter."""
    if not plain:
        rule = "has memory, for which only a variance or rate can be given, at infinite width without bias and weight mean"
        raise DomainError("neuron", neuron, rule)
    deep: dict[str, Any] = {} if depth is None else {"depth": depth}
    if rate is None:
        return gain_for_variance(neuron, variance=variance, steps=steps, **deep).gain
    return gain_for_rate(neuron, rate=rate, steps=steps, **deep).gain
