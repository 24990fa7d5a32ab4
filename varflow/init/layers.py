"""The gain for a neuron, as ``torch.nn.init.calculate_gain`` gives it for activation functions, and layers filled for it:
weights and biases of linear layers and convolutions that one neuron follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from varflow._checks import (
    DomainError,
    choice,
    integer,
    need,
    non_negative_number,
    positive_number,
    probability,
    real_array,
    real_number,
    refuse,
    require,
    scalar,
)
from varflow.init import fills
from varflow.init.fans import fan_in
from varflow.init.gains import gain as preserving_gain
from varflow.init.gains import memoryless_gain, without_memory
from varflow.init.in_time import gain_for_rate, gain_for_variance
from varflow.init.kept_alive import raised_gain
from varflow.init.rules import RULES
from varflow.model.as_neuron import neuron_or_threshold
from varflow.model.distributions import distribution as as_distribution
from varflow.model.neurons import Neuron

FILLS: dict[str, Callable[..., Any]] = {
    "normal": fills.normal_,
    "uniform": fills.uniform_,
    "truncated_normal": fills.truncated_normal_,
    "sign": fills.sign_,
    "orthogonal": fills.orthogonal_,
}


def init_fn(
    neuron: Any = 1.0,
    *,
    fill: str = "normal",
    gain: float | None = None,
    rate: float | None = None,
    steps: int | None = None,
    bias: str | float = "zero",
    bias_std: float = 0.0,
    generator: Any = None,
) -> Callable[[Any], None]:
    """A function for ``model.apply`` that fills linear layers and convolutions; other modules are unchanged.

    Parameters
    ----------
    neuron : Neuron, torch module, str or float
        The neuron after each layer, as :func:`varflow.neuron` takes it; a number is the threshold of a memoryless one.
    fill : str
        Distribution of the weights: normal, uniform, truncated_normal, sign or orthogonal.
    gain : float, optional
        By default ``vf.init.calculate_gain(neuron, rate=rate, steps=steps, bias_std=bias_std)``.
    rate, steps : float and int, optional
        For that gain: a firing rate instead of variance 1, and the steps, which a neuron with memory needs.
    bias : str or float
        ``"zero"``, ``"keep"`` (unchanged; torch's default is uniform with variance ``1/(3n)``, constant in time and so summed
        by a leaky membrane), or one value for all biases.
    bias_std : float
        Alternatively, normal biases with this standard deviation, for which the gain is reduced.
    generator : torch.Generator, optional

    Returns
    -------
    callable
        Takes a module; ``model.apply(...)`` visits them all.

    Raises
    ------
    DomainError
        For values outside their domain; when applied, for lazy layers and for weights computed from other parameters
        (initialise before ``weight_norm``).

    Notes
    -----
    The first layer receives data, not spikes, and needs another gain.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3), torch.nn.Flatten(), torch.nn.LazyLinear(10))
    >>> _ = model(torch.zeros(1, 8, 9, 9))  # a lazy layer learns its shape
    >>> _ = model.apply(vf.init.init_fn(0.7))
    >>> float(model[0].bias.detach().abs().sum())
    0.0
    >>> import snntorch
    >>> leaky = snntorch.Leaky(beta=0.5)
    >>> _ = model.apply(vf.init.init_fn(leaky, rate=0.2, steps=8))
    """
    choice("fill", fill, FILLS)
    policy = _bias_policy(bias, bias_std)
    if gain is None:
        g = calculate_gain(neuron, rate=rate, steps=steps, bias_std=bias_std)
    else:
        g = non_negative_number("gain", gain)
        refuse(f"conflicts with gain={g:g}: give one of them", rate=rate, steps=steps)
    if generator is not None:
        fills.check_generator(generator)

    def initialise(module: Any) -> None:
        torch = require("torch", "torch")
        if isinstance(module, (torch.nn.Linear, torch.nn.modules.conv._ConvNd)):
            init_layer_(module, g, fill=fill, bias=policy, bias_std=bias_std, generator=generator)

    return initialise


def init_layer_(
    layer: Any, gain: float, *, fill: str = "normal", bias: str | float = "zero", bias_std: float = 0.0, generator: Any = None
) -> Any:
    """Fill one layer's weight, by its fan-in, and set its bias.

    Parameters
    ----------
    layer : torch module
        With a ``weight`` that sums over inputs: linear, bilinear, any convolution.
    gain : float
        ``g = σ_w √fan_in``.
    fill, bias, bias_std, generator
        As in :func:`varflow.init.init_fn`.

    Returns
    -------
    torch module
        The layer.

    Raises
    ------
    DomainError
        As in :func:`varflow.init.init_fn`.

    Examples
    --------
    >>> import torch, varflow as vf
    >>> layer = vf.init.init_layer_(torch.nn.ConvTranspose2d(4, 6, 4, stride=2), 2.0, fill="sign")
    >>> vf.init.fan_in(layer), float(layer.weight.detach().abs().max())
    (16, 0.5)
    """
    torch = require("torch", "torch")
    choice("fill", fill, FILLS)
    policy = _bias_policy(bias, bias_std)
    if not isinstance(layer, torch.nn.Module):
        raise DomainError("layer", layer, "must be a torch module; to fill a tensor: vf.init.normal_(tensor, gain)")
    fan_in(layer)  # raises for layers without one
    if "weight" not in layer._parameters:
        raise DomainError("layer", layer, "computes its weight from other parameters: initialise before parametrising it")
    if layer.bias is not None:
        name, value = ("bias_std", float(bias_std)) if bias_std else ("bias", 0.0 if isinstance(policy, str) else policy)
        fills.check_representable(name, value, value, layer.bias.dtype)
    FILLS[fill](layer.weight, gain, fan=layer if layer.weight.numel() else None, generator=generator)
    if layer.bias is not None:
        with torch.no_grad():
            if bias_std:
                layer.bias.normal_(0.0, float(bias_std), generator=generator)
            elif policy != "keep":
                layer.bias.fill_(0.0 if policy == "zero" else policy)
    return layer


def _bias_policy(bias: str | float, bias_std: float) -> str | float:
    sigma_b = non_negative_number("bias_std", bias_std)
    if sigma_b and not (isinstance(bias, str) and bias == "zero"):
        raise DomainError("bias", bias, f"conflicts with bias_std={sigma_b:g}: give one of the two")
    if isinstance(bias, str):
        return choice("bias", bias, ("zero", "keep"))
    return scalar("bias", real_array("bias", bias))


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
        ``"preserving"`` keeps the variance of the potential (or gives a wanted rate); ``"corrected"`` is the preserving gain,
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
