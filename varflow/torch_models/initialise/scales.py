"""The tensors that set the scale of each neuron layer's currents: its weights, or γ of the normalisation behind them.

A layer owns what no earlier layer has: in a residual sum the modules of its last branch. Behind a normalisation the scale of
the weights has no effect in train mode, while γ has the same in both modes, so γ is what is scaled. Tensors are compared by
their memory, and what a layer's weight is made of decides what can be drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.nn.utils.parametrize import is_parametrized

from varflow._restoring import kept
from varflow.init.gains import memoryless_gain
from varflow.model.over_neurons import mean_of
from varflow.results.audit import AuditReport, first_of
from varflow.results.audited_layer import FLOOR
from varflow.torch_models.initialise.layer_gains import RATE
from varflow.torch_models.tracing.checks import integrators
from varflow.torch_models.tracing.measurements import LayerMeasurement, measured_layer
from varflow.torch_models.tracing.modules import input_weights
from varflow.torch_models.tracing.origins import INPUT, attended
from varflow.torch_models.tracing.traced import Trace, TracedLayer
from varflow.torch_models.tracing.weights import padding_factor

FROZEN = "is frozen (requires_grad=False)"
UNWEIGHTED = "no weights of its own"
ALIKE = 0.1, 0.3  # late rates between which plain networks train alike; recurrent ones at 0.03 to 0.05 learned less
OF_GAMMA, HEALTHY = "measured: γ of ", "kept: healthy"
WITHOUT_GAMMA = "a normalisation without γ to set before it"
LARGEST_RATE = 0.4  # at which the first gain is taken for higher ones: memoryless neurons with weights of mean 0 stay below 1/2


@dataclass(slots=True, eq=False)
class Factor:
    """A number by which a module multiplies, scaled as a tensor in place."""

    module: Any
    path: str

    @property
    def value(self) -> float:
        return getattr(self.module, self.path.rpartition(".")[2])

    def mul_(self, factor: float) -> None:
        setattr(self.module, self.path.rpartition(".")[2], factor * self.value)


@dataclass(slots=True, eq=False)
class LayerScale:
    """One neuron layer's own modules.

    Attributes
    ----------
    layer : TracedLayer
    weights : list of (str, module)
        Its own weight layers that can be drawn.
    kept : dict of str to str
        Its other weight layers, and why they keep their weights.
    norms : list of (str, module)
        Its own normalisations with γ.
    scaled : list of tensors
        What is multiplied, for attention also numbers or scales of other layers; empty if the layer has nothing to scale.
    set_by : str
        In words: "measured: weights", "measured: γ of bn1", "kept: …".
    factor : float
        Present factor on what was drawn.
    most : float
        Largest factor: of attention that with which a single product reaches the threshold, beyond which none fires more.
    through : tuple of str
        Other layers whose scales it moves to have its rate, as neurons of attention those of ``q``, ``k`` and ``v``.
    """

    layer: TracedLayer
    weights: list[tuple[str, Any]]
    kept: dict[str, str]
    norms: list[tuple[str, Any]]
    scaled: list[Any] = field(default_factory=list)
    set_by: str = ""
    factor: float = 1.0
    most: float = math.inf
    through: tuple[str, ...] = ()

    @property
    def by_weights(self) -> bool:
        """True if its weights are scaled."""
        return bool(self.scaled) and not self.norms

    def to(self, factor: float) -> None:
        """Rescale to a new factor, or the largest."""
        if (factor := min(factor, self.most)) == self.factor:
            return
        for tensor in self.scaled:
            with torch.inference_mode(getattr(tensor, "is_inference", bool)()), torch.no_grad():
                tensor.mul_(factor / self.factor)
        torch.clear_autocast_cache()  # it holds the old weights
        self.factor = factor

    def mul_(self, factor: float) -> None:
        """Multiply what is scaled, as a tensor in place."""
        self.to(self.factor * factor)

    def first_gain(self, rate: float) -> float:
        """The gain to draw with: that of memoryless neurons for this rate, with inputs of the same rate or of the strength of
        the batch.
        """
        neuron, layer = self.layer.spiking.neuron, self.layer
        threshold = 0.0 if neuron is None else mean_of(neuron.threshold)
        unit = 1.0 if neuron is None or threshold <= 0 else threshold / neuron.input_scale
        gain = unit * memoryless_gain(min(rate, LARGEST_RATE), threshold=1.0)
        if layer.driven:  # second moments of its inputs in place of those of spikes, which are the rate
            squares = [float(x.double().square().mean()) for x in layer.weight_inputs]
            gain *= math.sqrt(rate * len(squares) / sum(squares))
        # Currents of several modules add up, each with its share of the variance.
        return gain * padding_factor(layer.weights[0], layer.input_shape) / math.sqrt(max(len(self.weights), 1))


def scales_of(model: Any, traced: Trace, seen: dict[str, LayerMeasurement]) -> list[LayerScale]:
    """Scales of every layer, in their order; ``seen``: measurements by neuron."""
    owners: dict[str, Any] = {}  # weight modules by name
    norms: set[Any] = set()
    unscaled = dict(integrators(traced))
    scales = []
    for layer in traced.layers:
        new = [(name, weight) for name, weight in zip(layer.names, layer.weights, strict=True) if name not in owners]
        reasons = {name: why for name, weight in new if (why := why_kept(name, weight, owners))}
        owners |= dict(new)
        between = [(name, norm) for name, norm in _normalisations(model, layer) if norm not in norms]
        norms |= {norm for _, norm in between}
        free = [(name, weight) for name, weight in new if name not in reasons]
        scale = LayerScale(layer, free, reasons, [(name, norm) for name, norm in between if _has_free_gamma(norm)])
        scale.scaled, scale.set_by = _scaled(scale, bool(between), unscaled.get(layer.neuron_name))
        scales.append(scale)
    _scale_attention(model, scales, seen)
    return scales


def factors_of(scales: Sequence[LayerScale]) -> list[Factor]:
    """Numbers among what is scaled."""
    return [each for scale in scales for each in scale.scaled if isinstance(each, Factor)]


def _scale_attention(model: Any, scales: Sequence[LayerScale], seen: dict[str, LayerMeasurement]) -> None:
    """Give neurons of attention what is scaled: the factor on their sums, or, where they are silent and no attribute of the
    model is that, the scales of ``q``, ``k`` and ``v``.
    """
    for scale in (each for each in scales if all(map(attended, each.layer.origins))):
        origin: Any = next(iter(scale.layer.origins))
        below = [each for each in scales if each.layer.neuron_name in origin.sources and each.scaled]
        for path, factor in _factors(model, origin):
            scale.scaled, scale.set_by = [factor], f"measured: {path}, the scale of attention"
            if (neuron := scale.layer.neuron) is not None:
                scale.most = mean_of(neuron.threshold) / (neuron.input_scale * origin.operation.scale)
        if not scale.scaled and below and seen[scale.layer.neuron_name].late_rate < FLOOR:
            scale.scaled, scale.through = [*below], tuple(each.layer.neuron_name for each in below)
            scale.set_by = f"measured: rates of {', '.join(scale.through)}"


def _factors(model: Any, origin: Any) -> Iterator[tuple[str, Any]]:
    """Attributes of the module where attention is computed that have the value of its scale, the likeliest last."""
    module, number = dict(model.named_modules()).get(origin.place, model), origin.operation.scale
    values: dict[str, Any] = {**vars(module), **module._parameters, **module._buffers}
    for name in sorted(values, key=lambda each: "scale" in each):
        value, path = values[name], name if module is model else f"{origin.place}.{name}"
        tensor = isinstance(value, torch.Tensor) and value.numel() == 1 and value.is_floating_point()
        free = isinstance(value, float) or (tensor and (value.requires_grad or name in module._buffers))
        if free and number != 1 and math.isclose(torch.as_tensor(value).item(), number, rel_tol=1e-6):
            yield path, value if tensor else Factor(module, path)


def _scaled(scale: LayerScale, normalised: bool, unscaled: str | None) -> tuple[list[Any], str]:
    """The tensors to be scaled, none if all are kept; and how the layer is set, in words."""
    layer, neuron = scale.layer, scale.layer.spiking.neuron
    acting = [(normed_weight(weight) or [weight.weight])[0] for name, weight in scale.weights if name in layer.scaled_by]
    threshold, entry = 1.0 if neuron is None else mean_of(neuron.threshold), layer.spiking.entry
    if entry is not None:
        inner = [entry.weight if entry.parameter is None else entry.parameter]
    else:
        inner = input_weights(layer.module, layer.current_shape) if layer.has_inner_weights else []
    if unscaled or threshold <= 0:
        return [], f"kept: {layer.neuron_name} {unscaled or f'has a threshold of {threshold:g}'}"
    if scale.norms:
        return [norm.weight for _, norm in scale.norms], OF_GAMMA + first_of([name for name, _ in scale.norms])
    if acting:
        return acting, "measured: weights"
    if inner and all(parameter.requires_grad for parameter in inner):
        return inner, f"measured: input weights of {layer.neuron_name}"
    words = WITHOUT_GAMMA if normalised or layer.normalised_by else UNWEIGHTED
    reason = f"{layer.neuron_name} {FROZEN}" if inner else f"{layer.neuron_name} has {words}"
    return [], f"kept: {next(iter(scale.kept.values()), reason)}"


def healthy_scales(
    traced: Trace, scales: Sequence[LayerScale], seen: dict[str, LayerMeasurement], learns: Callable[[], Any] | None
) -> list[LayerScale]:
    """The scales of layers that need nothing: all of a healthy network (asked for only with ``learns``) whose layers without a
    normalisation fire at rates that train alike, else those of healthy layers behind a normalisation, if their inputs stay as
    they are or are normalised anew.
    """
    readouts = dict(integrators(traced))
    neurons = [layer for layer in traced.layers if layer.neuron_name not in readouts]
    layers = tuple(measured_layer(traced, layer, seen[layer.neuron_name]) for layer in neurons)
    report = AuditReport(layers, traced.steps, len(layers[0].survival), None, None, None, None, "")
    usual = all(l.normalised_by or l.output or ALIKE[0] <= l.firing_rate <= ALIKE[1] for l in layers)
    if learns and usual and report.healthy and not report.remarks and replace(report, learning=learns()).healthy:
        return list(scales)
    sound = {layer.neuron_name for layer in layers if layer.verdict == "healthy"}.difference(*(each.through for each in scales))
    silent = {layer.neuron_name for layer in layers if layer.dead}
    if any(scale.layer.neuron_name in silent and not scale.scaled for scale in scales):
        return []  # such a layer, as of attention, lives only if those below it are set
    healthy, unchanged = list[LayerScale](), {INPUT}
    for scale in scales:
        name, normalised = scale.layer.neuron_name, scale.layer.normalised_by
        if normalised or traced.senders_to(scale.layer) <= unchanged:
            healthy += [scale] if name in sound and (normalised or scale.norms) else []
            unchanged |= {name} if scale in healthy or not scale.scaled else set()
    return healthy


def leave(healthy: Sequence[LayerScale], whole: bool, asked: bool) -> list[str]:
    """A note on scales of healthy layers, which stay as they are unless something is asked for."""
    names = [scale.layer.neuron_name for scale in healthy if scale.norms or not asked]
    if asked or not names:
        return [f"healthy as they are: {first_of(names)}; another γ may cost accuracy"] if names else []
    for scale in healthy:
        scale.set_by, scale.scaled = HEALTHY if scale.scaled else scale.set_by, []
    kept_layers = "all layers" if whole else first_of(names)
    return [f"healthy, and kept as they are: {kept_layers}; rate={RATE:g} would set them, which may cost accuracy"]


def _normalisations(model: Any, layer: TracedLayer) -> list[tuple[str, Any]]:
    """Normalisations between a layer's weights and its neurons, in train and in eval mode."""
    operations = [each for origin in layer.origins for each in origin.ancestors]
    places = {each.place for each in operations if getattr(each.operation, "normalises", False)}
    return [(name, module) for name, module in model.named_modules() if name in places]


def _has_free_gamma(norm: Any) -> bool:
    return getattr(norm._parameters.get("weight"), "requires_grad", False)


def why_kept(name: str, weight: Any, owners: dict[str, Any]) -> str | None:
    """The reason why weights cannot be drawn, in words; None if they can. ``owners`` are the weight modules before it."""
    free = free_weight(weight)
    if not isinstance(free, torch.nn.Parameter):
        return f"{name} computes its weight from other parameters"
    if not free.is_floating_point():
        return f"{name} has weights of {free.dtype}"
    if not all(parameter.requires_grad for parameter in weight.parameters()):
        return f"{name} {FROZEN}"
    if any(map(repeats, weight.parameters())):
        return f"{name} has an expanded weight or bias, one number in several places"
    others = ((owner, free_weight(other)) for owner, other in owners.items())
    shared = next((owner for owner, tensor in others if tensor is not None and overlap(free, tensor)), None)
    return None if shared is None else f"{name} shares its weights with {shared}"


def multiplier(weight: Any, shape: tuple[int, ...]) -> str:
    """Name of the parameter that multiplies the weight a layer computes, found by doubling each; empty if there is none."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weight.weight)

    def response() -> Any:
        return weight(x) - weight(torch.zeros_like(x))  # without the bias

    def doubles(parameter: Any, once: Any) -> bool:
        parameter.mul_(2)
        twice = response()
        parameter.div_(2)
        return bool(once.any()) and torch.allclose(twice, 2 * once, rtol=1e-3)

    def name_of_multiplier() -> str:
        with written(weight):
            once = response()
            return next((name for name, parameter in weight.named_parameters() if doubles(parameter, once)), "")

    try:
        return kept(weight, name_of_multiplier)
    except Exception:  # it needs other arguments, or a special input
        return ""


def repeats(tensor: Any) -> bool:
    """True if elements of a tensor may share memory, as in an expanded one."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride <= reach:
            return True
        reach += (size - 1) * stride
    return False


def overlap(one: Any, other: Any) -> bool:
    """True if two tensors overlap in memory."""
    (start, end), (first, last) = _stretch(one), _stretch(other)
    return one.device == other.device and start < last and first < end


def _stretch(tensor: Any) -> tuple[int, int]:
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (reach + 1) * tensor.element_size()


def normed_weight(layer: Any) -> tuple[Any, Any] | None:
    """Magnitudes and directions of weight norm, ``w = g v/|v|``, by torch's parametrisation or its older hook; else None."""
    if {"weight_g", "weight_v"} <= layer._parameters.keys():
        return layer.weight_g, layer.weight_v
    made_by: Any = layer.parametrizations.weight if is_parametrized(layer, "weight") else []
    return (made_by.original0, made_by.original1) if [type(each).__name__ for each in made_by] == ["_WeightNorm"] else None


def free_weight(layer: Any) -> Any:
    """The tensor to draw weights into: the weight, or the directions of weight norm; None if it is computed otherwise."""
    normed = normed_weight(layer)
    return layer._parameters.get("weight") if normed is None else normed[1]


@contextmanager
def written(layer: Any) -> Iterator[None]:
    """A context in which a layer's parameters can be written to (inference mode for those made in it)."""
    made_there = any(tensor.is_inference() for tensor in layer.parameters())
    with torch.inference_mode(made_there), torch.no_grad():
        yield
