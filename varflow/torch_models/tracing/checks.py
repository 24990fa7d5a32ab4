"""Errors for models and inputs that cannot be traced, raised before or after the pass, with what to do instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from varflow._checks import DomainError
from varflow.torch_models.tracing.provenance import tensors_in

__all__ = ["advised", "check_inputs", "check_model", "check_neurons"]


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


def check_neurons(neurons: Any) -> None:
    """Raise unless ``neurons`` is a dict or None."""
    if not isinstance(neurons, Mapping | None):
        raise DomainError("neurons", neurons, "must be a dict from a class, name or module to its neuron: {Mine: vf.Neuron(…)}")


def check_inputs(inputs: Any) -> None:
    """Raise unless every tensor of the inputs is dense and holds finite numbers."""
    if isinstance(inputs, (torch.utils.data.DataLoader, torch.utils.data.Dataset)):
        rule = "is no batch: give one without its labels, next(iter(loader))[0]"
        raise DomainError("inputs", type(inputs).__name__, rule)
    for tensor in tensors_in(inputs):
        shape = f"shape {tuple(tensor.shape)}"
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
    given_on, places = ({str(tensor.device) for tensor in tensors} for tensors in (tensors_in(inputs), model.parameters()))
    if given_on and len(places) == 1 and not given_on & places:
        (place,) = places
        return f"inputs are on {' and '.join(sorted(given_on))}, the model on {place}: give inputs.to({place!r})"
    if "dtype" not in rule:
        return ""
    held = {parameter.dtype for parameter in model.parameters()}
    given = {tensor.dtype for tensor in tensors_in(inputs)}
    if len(held) == 1 and not given & held:
        return f"inputs are {_words(given)}, weights {_words(held)}: give inputs.to({_words(held)})"
    odd = {dtype for dtype in held if dtype.itemsize != 4}
    if not odd:
        return ""
    advice = "take a float32 copy, copy.deepcopy(model).float(), with inputs.float(), or torch.autocast"
    return f"the model's weights are {_words(odd)}, its neurons return another precision: {advice}"


def _words(dtypes: set[Any]) -> str:
    return " and ".join(sorted(map(str, dtypes)))
