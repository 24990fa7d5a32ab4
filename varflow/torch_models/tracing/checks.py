"""Errors for models and calls that cannot be traced, with what to do instead; notes on what is probably a mistake, and on what
cannot be put back after a pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from varflow._checks import DomainError
from varflow._restoring import kept, lost
from varflow.model.library_neurons import recognise
from varflow.model.over_neurons import mean_of
from varflow.results.audit import first_of
from varflow.torch_models.tracing.origins import tensors_in
from varflow.torch_models.tracing.traced import Trace, axes_of_a_step
from varflow.torch_models.tracing.weights import has_own_forward, torch_class


def check_loss(loss: Any, optimizer: Any, targets: Any) -> None:
    """Raise for a loss that cannot be called, or is missing where something needs it."""
    if loss is not None and not callable(loss):
        raise DomainError("loss", loss, "must be a function of the model's output")
    if loss is None and (optimizer is not None or targets is not None):
        asked = "an optimizer's step" if targets is None else "targets"
        raise DomainError("loss", None, f"is needed with {asked}: a function of the model's output, and of targets if given")


def check_model(model: Any) -> None:
    """Raise unless ``model`` is a module of Python with numbers (not lazy, not on the meta device)."""
    if not isinstance(model, torch.nn.Module):
        raise DomainError("model", type(model).__name__, "must be a torch.nn.Module")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise DomainError("model", name or "(root)", "is compiled by torch.jit: give the module it was made from")
    for name, parameter in model.named_parameters():
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise DomainError("model", name, "belongs to a lazy module without a weight yet: run one batch through it first")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            rule = "is on the meta device, without numbers: materialise the model with to_empty first"
            raise DomainError("model", name, rule)


def check_numbers(model: Any, spiking: Container[Any]) -> None:
    """Raise for parameters that are not finite, and for NaN in buffers of neurons and of torch's modules.

    Infinity in a buffer may mean a mask, or a readout; NaN in that of a user's class, a number that is not yet known. Norse
    keeps parameters of neurons in a tuple ``p``.
    """
    known = {name: each for name, each in model.named_modules() if each in spiking or torch_class(each) is not torch.nn.Module}
    buffers = (named for path, each in known.items() for named in each.named_buffers(path, recurse=False))
    in_tuples = (
        (f"{path}.p.{name}", torch.as_tensor(value))
        for path, each in known.items()
        for name, value in getattr(getattr(each, "p", None), "_asdict", dict)().items()
        if isinstance(value, float | torch.Tensor)
    )
    for name, tensor in (*model.named_parameters(), *buffers, *in_tuples):
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            continue
        wrong = ~tensor.detach().isfinite() if isinstance(tensor, torch.nn.Parameter) else tensor.isnan()
        if number := int(wrong.sum()):
            rule = f"holds numbers that are not finite, {number} of {tensor.numel()}: load earlier ones or draw it anew"
            raise DomainError("model", name, rule)


def check_neurons(neurons: Any) -> None:
    """Raise unless ``neurons`` is a dict or None."""
    if not isinstance(neurons, Mapping | None):
        raise DomainError("neurons", neurons, "must be a dict from a class, name or module to its neuron: {Mine: vf.Neuron(…)}")


def check_inputs(inputs: Any) -> None:
    """Raise unless every tensor of the inputs is dense and holds finite numbers; errors say of which argument it is."""
    if isinstance(inputs, (torch.utils.data.DataLoader, torch.utils.data.Dataset)):
        rule = "is no batch: give one without its labels, next(iter(loader))[0]"
        raise DomainError("inputs", type(inputs).__name__, rule)
    arguments = dict(enumerate(inputs)) if isinstance(inputs, tuple | list) else inputs
    several = arguments.items() if isinstance(arguments, Mapping) else [(None, inputs)]
    for name, tensor in ((name, tensor) for name, argument in several for tensor in tensors_in(argument)):
        shape = ("" if name is None else f"argument {name}, ") + f"shape {tuple(tensor.shape)}"
        if tensor.layout != torch.strided:
            raise DomainError("inputs", shape, "is sparse: give inputs.to_dense()")
        if tensor.is_meta:
            raise DomainError("inputs", shape, "is on the meta device, without numbers: give a batch of data")
        if not tensor.numel():
            raise DomainError("inputs", shape, "is empty: give a batch of data")
        if not bool(torch.isfinite(tensor).all()):
            raise DomainError("inputs", shape, "holds numbers that are not finite")


@contextmanager
def advised(model: Any, inputs: Any) -> Iterator[None]:
    """A context that adds advice to errors about the inputs."""
    try:
        yield
    except DomainError as error:
        advice = _advice(model, inputs, error.rule) if error.argument == "inputs" else ""
        if not advice:
            raise
        raise DomainError("inputs", error.value, f"{error.rule} ({advice})") from (error.__cause__ or error)


def _advice(model: Any, inputs: Any, rule: str) -> str:
    """Advice if a model does not run because layers, neurons or inputs have different precisions, or are on different devices.

    For instance, snnTorch's neurons return spikes in single precision, which the next layer in half precision does not accept.
    """
    tensors, parameters = tensors_in(inputs), list(model.parameters())
    devices, place = {str(each.device) for each in tensors}, {str(each.device) for each in parameters}
    if devices and len(place) == 1 and not devices & place:
        return f"inputs are on {_words(devices)}, the model on {_words(place)}: give inputs.to({min(place)!r})"
    if "dtype" not in rule:
        return ""
    of_inputs, of_weights = {each.dtype for each in tensors}, {each.dtype for each in parameters}
    if len(of_weights) == 1 and not of_inputs & of_weights:
        return f"inputs are {_words(of_inputs)}, weights {_words(of_weights)}: give inputs.to({_words(of_weights)})"
    not_single = {dtype for dtype in of_weights if dtype.itemsize != 4}
    if not not_single:
        return ""
    advice = "take a float32 copy, copy.deepcopy(model).float(), with inputs.float(), or torch.autocast"
    return f"the model's weights are {_words(not_single)}, its neurons return another precision: {advice}"


def _words(names: set[Any]) -> str:
    return " and ".join(sorted(map(str, names)))


INTEGRATES = 1e3  # times the lowest threshold: above this ratio a neuron counts as an integrator

ONE_STEP = "neurons have memory but the model makes one step: pass steps=…"


def unlike_their_class(traced: Trace) -> dict[str, str]:
    """Notes on weight layers of derived classes whose output is not that of their base class, by name."""
    weights: dict[Any, tuple[str, tuple[int, ...]]] = {}
    for layer in (layer for layer in traced.layers if layer.names):
        modules = zip(layer.names, layer.weights, layer.received, strict=True)
        weights |= {weight: (name, received.shape) for name, weight, received in modules}
    weights |= {weight: (name, shape) for name, weight, _, shape in traced.readouts}
    words: dict[str, str] = {}
    for weight, (name, shape) in weights.items():
        base = torch_class(weight)
        if has_own_forward(weight) and not _gives_the_output_of(base, weight, shape):
            words[name] = f"{name} is a {type(weight).__name__} whose output is not that of a {base.__name__}"
    return words


def _gives_the_output_of(base: Any, weight: Any, shape: tuple[int, ...]) -> bool:
    """True if a layer gives the output of its base class for a random input; leading axes are part of the batch."""
    leading = 0 if hasattr(weight, "in_features") else max(len(shape) - len(weight.kernel_size) - 2, 0)

    def outputs() -> tuple[Any, Any]:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(weight.weight)
        return weight.forward(x), base.forward(weight, x.flatten(0, leading))

    try:
        with torch.no_grad():
            out, expected = kept(weight, outputs)
    except Exception:  # it needs other arguments, or a special input
        return False
    return out.numel() == expected.numel() and torch.allclose(out.reshape(expected.shape), expected, rtol=1e-2, atol=1e-4)


def integrators(traced: Trace) -> list[tuple[str, str]]:
    """Names of neurons whose thresholds are far above the others', with a note."""
    thresholds = {layer.neuron_name: mean_of(layer.neuron.threshold) for layer in traced.layers if layer.neuron is not None}
    lowest = min(thresholds.values(), default=0.0)
    rule = "has a threshold of {:g}, others of {:g}: a readout?"
    return [(name, rule.format(theta, lowest)) for name, theta in thresholds.items() if theta > INTEGRATES * lowest > 0]


def words_of_what_stays(model: Any) -> list[str]:
    """A note on what a pass may change and what cannot be put back."""
    stays = lost(model)
    return [f"what a pass changes in these stays changed: {', '.join(stays)}"] if stays else []


def notes_on_steps(traced: Trace, steps: int | None) -> list[str]:
    """Notes on a number of steps that is probably a mistake."""
    memory = any(layer.neuron is not None and not layer.neuron.memoryless for layer in traced.layers)
    if steps is None and traced.steps == 1 and memory:
        return [ONE_STEP]
    if steps is not None and traced.steps > steps > 1:
        inside = traced.steps // steps
        return [f"each call makes {inside} steps itself, {steps} calls make {traced.steps}: leave out steps="]
    return _with_more_axes(traced, steps)


def _with_more_axes(traced: Trace, steps: int | None) -> list[str]:
    """A note on modules of one's own, read as one step per call, whose currents have one more axis, which may be time."""
    suspicious = [
        layer
        for layer in traced.layers
        if layer.weights and layer.spiking.time_axis is None and len(layer.current_shape) > 1 + axes_of_a_step(layer)
        if steps in layer.current_shape[:2] or (steps is None and traced.steps == 1)
        if recognise(layer.neuron_name, layer.module) is None
    ]
    if not suspicious:
        return []
    shape, name = suspicious[0].current_shape, type(suspicious[0].module).__name__
    rule = f"count as one step: if an axis is time, register the class with vf.init.reads({name}, time_axis=…)"
    return [f"currents of shape {shape} into {first_of([layer.neuron_name for layer in suspicious])} {rule}"]


def warn_of_one_step(traced: Trace, steps: int | None) -> None:
    """Warn (not only in the notes) if neurons have memory but only one step was made."""
    if ONE_STEP in notes_on_steps(traced, steps):
        warnings.warn(ONE_STEP, stacklevel=4)
