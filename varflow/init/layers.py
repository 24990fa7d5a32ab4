"""Weights and biases of linear layers and convolutions, filled for one neuron that follows all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from varflow._checks import DomainError, choice, non_negative_number, real_array, refuse, require, scalar
from varflow.init import fills
from varflow.init.fans import fan_in
from varflow.init.neuron_gain import calculate_gain

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
