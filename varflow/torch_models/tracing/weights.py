"""Weight layers in terms of moments: fan-in, gain of the weights, windows of a convolution; and their synaptic operations.

Every spike is added once to each neuron that it is connected to; other numbers are multiplied.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from varflow._checks import DomainError
from varflow.init.fans import effective_fan_in, fan_in
from varflow.model.graph import keeps_spikes
from varflow.torch_models.tracing.origins import INPUT, Origin, Sender
from varflow.torch_models.tracing.passes import full_precision
from varflow.torch_models.tracing.traced import Arrivals, Received, TracedLayer

EMPTY = "a layer has no neurons or no inputs"
BOUNDED = 1.1 * math.sqrt(3)  # standard deviations: 64 uniform numbers stay within, 98 in 100 samples of normal ones do not
FEW_IN_GROUPS = 16  # channels: with 8, predicted late rates are 10 % too high after three layers, with one two to three times


@dataclass(frozen=True, slots=True)
class Moments:
    """Standard deviations and means of a layer's weights and biases; ``gain`` is ``√(fan-in · Var w)``."""

    fan_in: int
    weight_std: float
    weight_mean: float = 0.0
    bias_std: float = 0.0
    bias_mean: float = 0.0
    biases: str = "normal"

    @property
    def gain(self) -> float:
        return self.weight_std * math.sqrt(self.fan_in)


def sum_of_modules(moments: Sequence[Moments]) -> Moments:
    """Moments of a single module equivalent to several whose currents add up, for similar inputs."""
    if not moments:
        return Moments(1, math.nan, math.nan, math.nan, math.nan)
    fan = moments[0].fan_in
    gain, bias_std = math.hypot(*(m.gain for m in moments)), math.hypot(*(m.bias_std for m in moments))
    mean_gain, bias_mean = sum(m.fan_in * m.weight_mean for m in moments), sum(m.bias_mean for m in moments)
    return Moments(fan, gain / math.sqrt(fan), mean_gain / fan, bias_std, bias_mean)


def moments_of(weight: Any, name: str = "") -> Moments:
    """Moments of a layer's present weights; errors call it by its name."""
    std, mean = _spread(weight.weight, f"{name}.weight".lstrip("."))
    if weight.bias is None:
        return Moments(fan_in(weight), std, mean)
    bias_std, bias_mean = _spread(weight.bias, f"{name}.bias".lstrip("."))
    bounded = bias_std > 0 and float((weight.bias.detach() - bias_mean).abs().max()) <= BOUNDED * bias_std
    return Moments(fan_in(weight), std, mean, bias_std, bias_mean, "uniform" if bounded else "normal")


@full_precision()
def record_moments(used: dict[str, Moments], layer: TracedLayer) -> None:
    """Add the moments of a layer's weights during the pass: its forward may clamp them, which is undone afterwards."""
    for name, weight in zip(layer.names, layer.weights, strict=True):
        if name not in used:
            used[name] = moments_of(weight, name)


def _spread(tensor: Any, name: str) -> tuple[float, float]:
    values = tensor.detach().float().flatten()
    if not len(values):
        raise DomainError("model", name, f"has shape {tuple(tensor.shape)}: {EMPTY}")
    mean = values.mean()
    variance = float(torch.linalg.vector_norm(values - mean)) ** 2 / len(values)  # torch.var_mean takes 20 times as long
    if not math.isfinite(variance):
        infinite = "a variance beyond float32" if bool(values.isfinite().all()) else "numbers that are not finite"
        raise DomainError("model", name, f"holds {infinite}")
    return math.sqrt(variance), float(mean)


def why_not_covered(weight: Any) -> str | None:
    """The reason why moments do not describe a weight layer, in words that follow its name; None if they do."""
    if len(getattr(weight, "kernel_size", ())) > 2:
        return "is a convolution in three dimensions"
    padding = getattr(weight, "padding_mode", "zeros")
    return None if padding == "zeros" else f"pads with {padding!r}"


def few_in_groups(weight: Any) -> str | None:
    """Words for weights whose sums are not Gaussian, which neurons need, since each is over few channels; None otherwise."""
    channels = getattr(weight, "in_channels", 0) // getattr(weight, "groups", 1)
    few = getattr(weight, "groups", 1) > 1 and channels < FEW_IN_GROUPS
    return f"sums {channels} channels in each group, too few to be Gaussian" if few else None


def padding_factor(weight: Any, input_shape: tuple[int, ...]) -> float:
    """Factor on the gain that compensates for zero padding: ``√(fan-in / mean inputs over the map)``."""
    inputs = effective_fan_in(weight, [] if hasattr(weight, "in_features") else input_shape[-len(weight.kernel_size) :])
    return math.sqrt(fan_in(weight) / inputs)


def torch_class(weight: Any) -> Any:
    """The class of torch that a weight module is or is derived from."""
    return next(base for base in type(weight).__mro__ if base.__module__.startswith("torch.nn.modules."))


def has_own_forward(weight: Any) -> bool:
    """True if a weight module has another forward than torch's class."""
    return type(weight).forward is not torch_class(weight).forward


def connections_of(weight: Any) -> Any:
    """Number of weights of each input of a neuron, summed over the neurons of a group: of those that are not 0, and of all."""
    values, transposed = weight.weight.detach(), getattr(weight, "transposed", False)
    if not transposed:
        values = values.unflatten(0, (getattr(weight, "groups", 1), -1))
    senders, each, *window = values.shape
    dense = torch.full((senders, *[1] * transposed, *window), each, dtype=torch.float64, device=values.device)
    # Mostly no weight is 0, and counting by inputs takes several times as long as counting all.
    present = dense if torch.count_nonzero(values) == values.numel() else (values != 0).sum(1, keepdim=transposed).double()
    return torch.stack([present, dense])


def synaptic_operations(weight: Any, received: Any, connections: Any = None) -> Any:
    """``Σ x · (connections of x)`` over all that a weight layer receives in one call, as a tensor; zero padding and strides
    are left out. By default ``connections`` are the weights that are not 0.

    Spikes are counted as often as they arrive (sums of spikes are integers). For numbers that are no spikes, give
    ``received != 0``: the multiplications by numbers other than 0.
    """
    connections = connections_of(weight)[0] if connections is None else connections
    x = one_by_one(weight, received).sum(0, dtype=torch.float64)
    axes = x.dim() - 1
    if not axes:
        return (x * connections).sum()
    last = (weight.output_padding, weight.groups, weight.dilation) if weight.transposed else (weight.dilation, weight.groups)
    across = getattr(torch, f"conv{'_transpose' * weight.transposed}{axes}d")
    return across(x, connections, None, weight.stride, weight.padding, *last).sum()


def one_by_one(weight: Any, received: Any) -> Any:
    """The input of a weight layer, with one axis before those of a single input."""
    axes = 0 if hasattr(weight, "in_features") else len(weight.kernel_size)
    return received.detach().reshape(-1, *received.shape[received.dim() - 1 - axes :])


def add_arrivals(arrivals: Arrivals, weight: Any, received: Any, spikes: bool) -> None:
    """Add what a weight layer receives in one call; all numbers that are 0 or ±1 count as spikes."""
    x = one_by_one(weight, received)
    key = spikes or bool(((x == 0) | (x.abs() == 1)).all()), x.shape[1:]
    total, inputs = arrivals.get(key, (0.0, 0))
    arrivals[key] = total + (x if spikes else x != 0).sum(0, dtype=torch.float64), inputs + len(x)


def counted_operations(weight: Any, arrivals: Arrivals) -> np.ndarray:
    """MACs, ACs, those if everything received were a spike, and all connections, of all calls of a weight layer."""
    operations = np.zeros(4)
    if not arrivals:
        return operations
    connections = connections_of(weight)
    for (adds, _), (total, inputs) in arrivals.items():
        most, dense = (synaptic_operations(weight, torch.full_like(total, inputs), each).item() for each in connections)
        number = synaptic_operations(weight, total, connections[0]).item()
        operations += number * (not adds), number * adds, most * adds, dense
    return operations


def carries_spikes(origin: Origin, weights: Container[str]) -> bool:
    """True for spikes and numbers of spikes; not for currents, averages and the input."""
    operations = [each.operation for each in origin.ancestors]
    senders = {each.name for each in operations if isinstance(each, Sender)}
    kept = all(keeps_spikes(each) for each in operations if not isinstance(each, Sender))
    return kept and not any(name in {INPUT, ""} or name in weights for name in senders)


def count_operations(layers: Sequence[TracedLayer], received: Mapping[str, Received], weights: Mapping[str, Any]) -> Any:
    """Set ``operations`` of every layer: of its weights, also within neurons, of those that make factors of its currents,
    and of those before them without a neuron between, each once; those of weights called for several layers in equal parts.
    Returned are all others.
    """
    operations = {name: counted_operations(weights.get(name), each.arrivals) for name, each in received.items()}
    counted = Counter(name for layer in layers for name in layer.names)
    for layer in layers:
        factors = frozenset() if layer.origin is None else layer.origin.factors
        names = list(layer.names)
        for senders in chain([factors], (received[name].senders for name in names)):  # names grow
            before = [source for source in sorted(senders) if source in received and source not in counted]
            names += before
            counted.update(before)
        each = [operations[name] / counted[name] for name in names]
        each += [counted_operations(weight, arrivals) for weight, arrivals in layer.inner.items()]
        layer.operations = sum(each) if each else layer.operations
    return sum((number for name, number in operations.items() if name not in counted), np.zeros(4))
