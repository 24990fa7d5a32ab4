"""One backward pass of a model, measured: the gradients that reach every layer of neurons, and what its surrogate does to them.

The loss is the user's, or an independent normal readout ``Σ_t v·S_t`` of the spikes that go into no further layer of neurons,
one ``v`` for each input. With ``S_t`` the spikes and ``I_t`` the currents of a layer,

- ``norm``: ``√(Σ_t Σ_j (∂L/∂I_t)²)``, the mean over inputs under the root; infinite if a gradient is NaN;
- ``slope``: late mean of ``(∂S_t/∂I_t)²``, without the paths through the membrane: ``λ² E[ψ²]``. Every neuron of every input is
  looked at in one step, drawn from the late ones: then one backward pass through a layer gives all, also if it makes all steps;
- ``dead``: the fraction of neurons whose gradient is 0 for all inputs at all steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce, wraps
from typing import Any

import numpy as np
import torch

from varflow._checks import DomainError
from varflow._restoring import kept
from varflow.results import late_steps
from varflow.torch_models.tracing.modules import holds_weights
from varflow.torch_models.tracing.origins import tensors_in
from varflow.torch_models.tracing.passes import copied, forward, in_short
from varflow.torch_models.tracing.traced import Trace, TracedLayer, batch_of, flat, steps_first, steps_of
from varflow.torch_models.tracing.weights import Moments

SLOPES = 8  # late steps at which slopes are measured, evenly spaced


@dataclass(frozen=True, slots=True)
class Backward:
    """Gradients of one layer; ``weights``: mean square of the gradient by its weights, frozen ones included. NaN for
    what is not known: weights that a hook computes, gradients by currents within neurons, and slopes where a spike depends on
    several currents or autograd is off (``cut``).
    """

    weights: float = math.nan
    norm: float = math.nan
    slope: float = math.nan
    dead: float = math.nan
    cut: bool = False


def check_gradients(model: Any, asked: str, value: Any) -> None:
    """Raise, with the argument that asked for gradients, where torch has none."""
    if torch.is_inference_mode_enabled():
        raise DomainError(asked, value, "has no gradients within torch.inference_mode: leave that mode")
    if any(parameter.is_inference() for parameter in model.parameters()):
        rule = "has no gradients with respect to weights made in torch.inference_mode: make them outside"
        raise DomainError(asked, value, rule)


def squared_gain_above(traced: Trace, layer: TracedLayer, used: Mapping[str, Moments]) -> float:
    """``Σ g²`` of the weights that receive a layer's spikes; NaN if there are none, or if more than weights lies between."""
    readers = [each for each in traced.layers if layer.neuron_name in each.sources]
    plain = all(each.scaled_by and not each.through and len(each.sources) == 1 for each in readers)
    return sum(used[name].gain ** 2 for each in readers for name in each.scaled_by) if readers and plain else math.nan


def gradients(
    model: Any, inputs: Any, steps: int | None, traced: Trace, loss: Callable[[Any], Any] | None
) -> dict[TracedLayer, Backward]:
    """The gradients of every layer, by ``loss(output)`` or, if it is None, by a normal readout; the model is unchanged."""
    return kept(model, lambda: _Pass(traced, loss).run(model, inputs, steps))


def value_of(loss: Callable[..., Any], *given: Any) -> Any:
    """The loss of a model's output, and of targets if there are any."""
    try:
        value = loss(*given)
    except DomainError:
        raise
    except Exception as error:
        labels = "" if len(given) > 1 else "; labels go to targets="
        raise DomainError("loss", loss, f"fails for the model's output: {in_short(error)}{labels}") from error
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        raise DomainError("loss", type(value).__name__, "must return a tensor of one number")
    return value


def derivatives(value: Any, graph: list[Any], asked: str, given: Any) -> tuple[Any, ...]:
    """Gradients with respect to some tensors, None for those without; errors name the argument that asked for them."""
    try:
        return torch.autograd.grad(value, graph, allow_unused=True)
    except Exception as error:
        of_torch = isinstance(error, RuntimeError)
        why = "has no backward pass through this model" if of_torch else "fails in a backward hook or function of this model"
        raise DomainError(asked, given, f"{why}: {in_short(error)}") from error


class _Pass:
    """Currents and spikes of one pass with gradients, call by call."""

    def __init__(self, traced: Trace, loss: Callable[[Any], Any] | None):
        self.traced, self.loss = traced, loss
        self.calls = iter(traced.calls)
        self.currents: dict[TracedLayer, list[Any]] = {layer: [] for layer in traced.layers}
        self.slopes = dict.fromkeys(traced.layers, 0.0)  # means of squares
        self.picked: dict[tuple[TracedLayer, Any], Any] = {}  # the step at which each neuron is looked at, by layer and shape
        self.done = dict.fromkeys(traced.layers, 0)  # steps
        self.cut: set[TracedLayer] = set()
        late = range(traced.steps)[late_steps(traced.steps)]
        self.looked_at = np.linspace(late[0], late[-1], min(SLOPES, len(late))).round().astype(int)
        self.last = traced.last
        self.read: Any = 0.0  # the value of the readout
        self.readouts: dict[tuple[TracedLayer, Any], Any] = {}  # by layer and shape
        self.generator = torch.Generator().manual_seed(0)

    def run(self, model: Any, inputs: Any, steps: int | None) -> dict[TracedLayer, Backward]:
        modules = list(dict.fromkeys(weight for layer in self.traced.layers for weight in layer.weights))
        for module in modules:
            module.requires_grad_(True)
        for module in dict.fromkeys(layer.module for layer in self.traced.layers):
            module.__dict__["forward"] = self._enclosed(module.forward)
        with torch.enable_grad(), torch.nn.utils.parametrize.cached():
            weights = [module.weight for module in modules]
            out = forward(model, copied(inputs), steps, [layer.module for layer in self.traced.layers])
            value = self.read if self.loss is None else value_of(self.loss, out)
            signals = [current for layer in self.traced.layers for current in self.currents[layer]]
            graph = list({id(each): each for each in (*weights, *signals) if each.requires_grad}.values())
            asked, given = ("gradients", True) if self.loss is None else ("loss", self.loss)
            returned = derivatives(value, graph, asked, given) if graph and value.requires_grad else ()
        by = {id(each): gradient for each, gradient in zip(graph, returned, strict=False)}
        computed = {m: not (w.is_leaf or hasattr(m, "parametrizations")) for m, w in zip(modules, weights, strict=True)}
        of = {m: math.nan if computed[m] else _square(by.get(id(w))) for m, w in zip(modules, weights, strict=True)}
        first = {layer: steps_first(layer.spiking, each[0])[0] for layer, each in self.currents.items() if each}
        batch = batch_of(inputs, [len(flat(layer, each)) for layer, each in first.items()])
        return {layer: self._of(layer, of, by, batch) for layer in self.traced.layers}

    def _enclosed(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        """A forward that notes its currents and spikes."""

        @wraps(inner)
        def forward(*args: Any, **kwargs: Any) -> Any:
            name = None if args else next(iter(kwargs))
            given = args[0] if name is None else kwargs[name]
            alone = not given.requires_grad and given.is_floating_point()
            current = given.view_as(given) if not alone else given.detach().clone().requires_grad_()  # not through shortcuts
            with torch.autograd.graph.saved_tensors_hooks(_kept, _kept):  # a checkpoint drops what slopes need
                out = inner(current, *args[1:], **kwargs) if name is None else inner(**{**kwargs, name: current})
                layer = next(self.calls, None)  # None if a checkpoint runs its part again
                if layer is not None:
                    self._see(layer, current, tensors_in(out)[0])
            return out

        return forward

    def _see(self, layer: TracedLayer, current: Any, spikes: Any) -> None:
        if not torch.is_grad_enabled():
            self.cut.add(layer)
        first = self.done[layer]
        self.done[layer] += steps_of(layer.spiking, tuple(current.shape))
        if layer.spiking.entry is None:
            self.currents[layer].append(current)
            self.slopes[layer] += self._slopes(layer, current, spikes, range(first, self.done[layer]))
        if self.loss is None and layer in self.last:
            steps = steps_first(layer.spiking, spikes)
            key = layer, steps.shape[1:]
            if key not in self.readouts:
                self.readouts[key] = torch.randn(steps.shape[1:], generator=self.generator).to(steps)
            self.read = self.read + (steps * self.readouts[key]).sum()

    def _slopes(self, layer: TracedLayer, current: Any, spikes: Any, steps: range) -> float:
        """``Σ (∂S_t/∂I_t)²`` of the neurons looked at in the steps of one call, over the number of all; NaN if spikes depend on
        more than their own current.
        """
        if current.shape != spikes.shape or (layer.neuron is None and holds_weights(layer.module)):
            return math.nan
        if not (spikes.requires_grad and current.requires_grad and any(t in steps for t in self.looked_at)):
            return 0.0
        S, at = steps_first(layer.spiking, spikes), self._picked(layer, spikes) - steps.start
        inside = (at >= 0) & (at < len(steps))
        at = at.clamp(0, len(steps) - 1)[None]
        read = (S.gather(0, at)[0] * inside).sum()
        gradient = torch.autograd.grad(read, current, retain_graph=True, allow_unused=True)[0]
        if gradient is None:
            return 0.0
        return float((steps_first(layer.spiking, gradient).gather(0, at)[0].float().square() * inside).mean())

    def _picked(self, layer: TracedLayer, spikes: Any) -> Any:
        """Steps drawn for all neurons; the same for all of one input if they are connected with each other."""
        shape = steps_first(layer.spiking, spikes).shape[1:]
        if (layer, shape) not in self.picked:
            drawn = shape if layer.spiking.recurrent is None else (shape[0], *[1] * (len(shape) - 1))
            generator = torch.Generator().manual_seed(self.traced.layers.index(layer))  # whatever the order of calls
            number = torch.randint(len(self.looked_at), drawn, generator=generator)
            self.picked[layer, shape] = torch.as_tensor(self.looked_at)[number].expand(shape).to(spikes.device)
        return self.picked[layer, shape]

    def _of(self, layer: TracedLayer, weights: dict[Any, float], by: dict[int, Any], batch: int) -> Backward:
        numbers = sum(m.weight.numel() for m in layer.weights)
        square = sum(weights[m] * m.weight.numel() for m in layer.weights) / numbers if numbers else math.nan
        if not self.currents[layer]:
            return Backward(square, cut=layer in self.cut)
        gradients = [by.get(id(current)) for current in self.currents[layer]]
        gradients = [gradient for gradient in gradients if gradient is not None] or [torch.zeros_like(self.currents[layer][0])]
        largest = [flat(layer, steps_first(layer.spiking, gradient.abs()).amax(0)) for gradient in gradients]
        dead = float((reduce(torch.maximum, (each.amax(0) for each in largest)) == 0).float().mean())
        norm = math.hypot(*map(_norm, gradients)) / math.sqrt(batch)
        cut = layer in self.cut
        return Backward(square, norm if math.isfinite(norm) else math.inf, math.nan if cut else self.slopes[layer], dead, cut)


def _kept(tensor: Any) -> Any:
    """The tensor that autograd saves, as it is."""
    return tensor


def _square(gradient: Any) -> float:
    """Mean square."""
    return 0.0 if gradient is None else _norm(gradient) ** 2 / gradient.numel()


def _norm(gradient: Any) -> float:
    """Root of the sum of squares, in double precision, where they do not underflow, without a copy in it."""
    return float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
