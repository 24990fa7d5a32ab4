"""One virtual step of the user's optimiser, made on half of a batch and measured on the other half; nothing is changed by it.

Passes of half a batch, from rest and with equal random numbers: the gradient that makes the step; the other half before it; its
currents after the step where each layer receives what it received before, so that only its own weights change them; and after
it. With sums over neurons, steps and inputs, and ``Ī`` the mean over neurons at each step for each input,

- ``direct``: ``√(Σ (ΔW S + Δb)² / Σ (I - Ī)²)``, at four steps if the weights are called step by step;
- ``currents``: ``√(Σ (I' - I)² / Σ (I - Ī)²)``;
- ``flips``: ``Σ (S' - S)² / Σ (S² + S'²)``;
- ``kept``: cosine of the gradients of the layer's weights before and after, without biases.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial, wraps
from inspect import signature
from typing import Any

import numpy as np
import torch

from varflow._checks import DomainError
from varflow._restoring import kept, rewinding
from varflow.results import OptimizerStep
from varflow.results.update import STEP
from varflow.torch_models.audit.gradients import check_gradients, derivatives, value_of
from varflow.torch_models.learning_rate import CHANGE, DEEP, advised
from varflow.torch_models.tracing.checks import integrators
from varflow.torch_models.tracing.measurements import LayerMeasurement
from varflow.torch_models.tracing.origins import tensors_in
from varflow.torch_models.tracing.passes import copied, forward, in_short, mapped
from varflow.torch_models.tracing.traced import Trace, TracedLayer, in_single, steps_first

LOOKED_AT = 4  # steps at which direct changes are measured, evenly spaced, where a model calls its weights at each
DOMAIN = "digits and Fashion-MNIST, dense layers, about 200 steps, Adam's default β"


def check_optimizer(model: Any, optimizer: Any) -> None:
    """Raise for what is no optimiser of this model that makes a step by itself."""
    name = type(optimizer).__name__
    if not hasattr(optimizer, "param_groups") or not callable(getattr(optimizer, "step", None)):
        raise DomainError("optimizer", optimizer, "must be a torch.optim.Optimizer made from model.parameters()")
    closure = signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise DomainError("optimizer", name, "makes no single step: its step evaluates the loss several times")
    own = {id(parameter) for parameter in model.parameters()}
    if own.isdisjoint(map(id, _parameters(optimizer))):
        raise DomainError("optimizer", name, "has no parameter of this model: make it from model.parameters()")


def _parameters(optimizer: Any) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def with_targets(loss: Any, targets: Any) -> Any:
    """The loss as a function of the output alone."""
    return loss if targets is None else lambda out: loss(out, targets)


def checked_targets(targets: Any, traced: Trace, seen: Mapping[str, LayerMeasurement], steps: int | None) -> Any:
    """Targets as tensors, one for each input of the traced pass that was ``seen``."""
    try:
        given = targets if tensors_in(targets) else torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DomainError("targets", type(targets).__name__, "must be numbers, one for each input") from error
    number, within = _sizes(traced, seen, steps)
    for tensor in tensors_in(given):
        if _batch_axis("targets", tensor, number, within) is None:
            raise DomainError("targets", f"shape {tuple(tensor.shape)}", f"must be one for each of the {number} inputs")
    return given


def _sizes(traced: Trace, seen: Mapping[str, LayerMeasurement], steps: int | None) -> tuple[int, int]:
    """Numbers of inputs, and of steps in one call that the model's inputs may count, 0 for models of one step per call."""
    return len(next(iter(seen.values())).alive), traced.steps if steps is None else 0


def _batch_axis(name: str, tensor: Any, number: int, steps: int) -> int | None:
    """The axis of a tensor that counts inputs: the first, or behind time the second; None if it has none."""
    fitting = [axis for axis, size in enumerate(tensor.shape[:2]) if size == number and (axis == 0 or tensor.dim() > 2)]
    if len(fitting) == 2 and number == steps:
        rule = "has as many steps as inputs: give another number of inputs, so that they can be told apart"
        raise DomainError(name, f"shape {tuple(tensor.shape)}", rule)
    return fitting[0] if fitting else None


def _halves(name: str, tree: Any, number: int, steps: int, used: int | None = None) -> tuple[Any, Any]:
    """Every second of all inputs, or of the first ones that are used, from the first and from the second on."""
    even = (used or number) // 2 * 2

    def of(first: int, tensor: Any) -> Any:
        axis = _batch_axis(name, tensor, number, steps)
        return tensor if axis is None else tensor.narrow(axis, 0, even).movedim(axis, 0)[first::2].movedim(0, axis)

    return mapped(tree, partial(of, 0)), mapped(tree, partial(of, 1))


def halved(
    inputs: Any, traced: Trace, seen: Mapping[str, LayerMeasurement], steps: int | None, used: int | None = None
) -> tuple[Any, Any]:
    """The inputs of the traced pass, or the first ones, in two halves; DomainError if they have none."""
    number, within = _sizes(traced, seen, steps)
    if number < 2 or all(_batch_axis("inputs", each, number, within) is None for each in tensors_in(inputs)):
        raise DomainError("inputs", f"{number} of them", "must be two or more, half for the step and half to measure it")
    return _halves("inputs", inputs, number, within, used)


def one_step(
    model: Any,
    inputs: Any,
    steps: int | None,
    traced: Trace,
    seen: Mapping[str, LayerMeasurement],
    optimizer: Any,
    loss: Any,
    targets: Any,
) -> OptimizerStep:
    """Changes of each layer by the optimiser's next step, after the checks of it and of targets; it and the model stay as they
    are. ``seen``: the measurements of the traced pass.
    """
    check_gradients(model, "optimizer", type(optimizer).__name__)
    of_step, other = halved(inputs, traced, seen, steps)
    labels = _halves("targets", targets, *_sizes(traced, seen, steps))
    passes, fresh = Passes(model, steps, traced, loss), not optimizer.state
    kept([model, optimizer], lambda: passes.run(optimizer, (of_step, labels[0]), (other, labels[1])))
    return _result(traced, optimizer, fresh, passes)


class Passes:
    """The passes before and after a step, with their sums."""

    def __init__(self, model: Any, steps: int | None, traced: Trace, loss: Callable[..., Any]):
        self.model, self.steps, self.traced, self.loss = model, steps, traced, loss
        self.before: list[tuple[Any, Any, float]] = []  # currents, output and Σ (I - Ī)² of every call of a neuron
        self.sums: dict[tuple[TracedLayer, str], float] = defaultdict(float)
        self.gradients: list[dict[int, Any]] = []  # of all weights, before and after

    def run(self, optimizer: Any, of_step: tuple[Any, Any], other: tuple[Any, Any]) -> None:
        trained = [parameter for parameter in _parameters(optimizer) if parameter.requires_grad]
        weights = self.unfrozen()
        rewind = rewinding(self.model, but=self.model.parameters())
        self.gradients.append(self.differentiated(*other, weights, self._note))
        rewind()
        gradients = self.differentiated(*of_step, trained)
        rewind()
        if not gradients:
            raise DomainError("loss", self.loss, "does not depend on the optimiser's parameters")
        for parameter in _parameters(optimizer):
            parameter.grad = gradients.get(id(parameter))
        try:
            optimizer.step()
        except Exception as error:
            raise DomainError("optimizer", type(optimizer).__name__, f"fails in its step: {in_short(error)}") from error
        self._replayed(other[0])
        rewind()
        self.gradients.append(self.differentiated(*other, weights, self._compare))

    def unfrozen(self) -> list[Any]:
        """Weights of all layers, each once, which require gradients from now on."""
        weights = list({id(each): each for layer in self.traced.layers for each in weights_of(layer)}.values())
        for weight in weights:
            weight.requires_grad_(True)
        return weights

    def differentiated(self, inputs: Any, labels: Any, by: list[Any], see: Any = None) -> dict[int, Any]:
        """Gradients by some parameters, those that there are, by their ids."""
        with torch.enable_grad():
            value = value_of(self.loss, self.sent(inputs, see), *([] if labels is None else [labels]))
            if not bool(torch.isfinite(value)):
                raise DomainError("loss", float(value.detach()), "is not finite: a step of it says nothing")
            graph = [parameter for parameter in by if parameter.requires_grad]
            gradients = derivatives(value, graph, "loss", self.loss) if graph and value.requires_grad else ()
        pairs = zip(graph, gradients, strict=False)
        return {id(parameter): gradient for parameter, gradient in pairs if gradient is not None}

    def _replayed(self, inputs: Any) -> None:
        """Send the inputs again with new weights, each called at some steps only: else it sends NaN, which is not counted."""
        every = -(-self.traced.steps // LOOKED_AT)
        of_one = Counter(weight for layer in self.traced.layers for weight in layer.weights)
        for weight in [*of_one, *(module for _, module, *_ in self.traced.readouts)]:
            if of_one[weight] <= 1 and not list(weight.buffers()):  # which the calls of spectral norm count
                weight.__dict__["forward"] = _now_and_then(weight.forward, every)
        with torch.no_grad():
            self.sent(inputs, self._replay)

    def sent(self, inputs: Any, see: Callable[..., Any] | None) -> Any:
        """The output of a pass in which ``see(layer, before, current, run)`` stands for each call of a neuron."""
        modules = list(dict.fromkeys(layer.module for layer in self.traced.layers))
        calls = enumerate(self.traced.calls)
        for module in modules if see is not None else ():
            module.__dict__["forward"] = self._enclosed(module.forward, calls, see)
        return forward(self.model, copied(inputs), self.steps, modules)

    def _enclosed(self, inner: Callable[..., Any], calls: Iterator[tuple[int, TracedLayer]], see: Any) -> Callable[..., Any]:
        @wraps(inner)
        def forward(*args: Any, **kwargs: Any) -> Any:
            number, layer = next(calls, (0, None))  # None if a checkpoint runs its part again
            run = partial(inner, *args, **kwargs)
            return run() if layer is None else see(layer, number, args[0] if args else next(iter(kwargs.values())), run)

        return forward

    def _note(self, layer: TracedLayer, number: int, current: Any, run: Callable[[], Any]) -> Any:
        I, out = copied(current), run()
        spread = _deviations(layer, I)
        self.before.append((I, _held(out), spread))
        self.sums[layer, "spread"] += spread
        return out

    def _replay(self, layer: TracedLayer, number: int, current: Any, run: Callable[[], Any]) -> Any:
        I, out, spread = self.before[number]
        change = _difference(current, I)
        if not math.isnan(change):
            self.sums[layer, "direct"] += change
            self.sums[layer, "spread_then"] += spread
        if current.shape == I.shape and 0 not in current.stride():
            current.copy_(I)  # so that shortcuts do not carry the change to the next layer
        return _held(out)

    def _compare(self, layer: TracedLayer, number: int, current: Any, run: Callable[[], Any]) -> Any:
        (I, before, _), out = self.before[number], run()
        S, S_before = (tensors_in(each)[0].detach() for each in (out, before))
        self.sums[layer, "currents"] += _difference(current.detach(), I)
        now, then = _square(S), _square(S_before)
        self.sums[layer, "flipped"] += now + then - 2 * _product(S, S_before)
        self.sums[layer, "spikes_before"] += then
        self.sums[layer, "spikes_after"] += now
        return out

    def of(self, layer: TracedLayer) -> dict[str, float]:
        """The numbers of one layer; NaN where nothing fires, no gradient arrives or its own weights are within the neuron."""
        names = ("direct", "spread_then", "currents", "spread", "flipped", "spikes_before", "spikes_after")
        direct, spread_then, currents, spread, flipped, fired, fires = (self.sums[layer, name] for name in names)
        within = layer.spiking.entry is not None or not layer.names
        return {
            "direct": math.nan if within else _ratio(direct, spread_then) ** 0.5,
            "flips": _ratio(flipped, fired + fires),
            "currents": _ratio(currents, spread) ** 0.5,
            "kept": self.cosine(layer) if fired and fires else math.nan,
        }

    def cosine(self, layer: TracedLayer) -> float:
        pairs = [tuple(of.get(id(weight)) for of in self.gradients) for weight in weights_of(layer)]
        pairs = [(g.double(), h.double()) for g, h in pairs if g is not None and h is not None]
        products = np.array([[float((x * y).sum()) for x, y in ((g, h), (g, g), (h, h))] for g, h in pairs])
        both, before, after = products.sum(0) if pairs else (0.0, 0.0, 0.0)
        return _ratio(both, math.sqrt(before * after))  # exactly 1 for equal gradients: the same sums


def _now_and_then(inner: Callable[..., Any], every: int) -> Callable[..., Any]:
    """A forward that runs at every so many calls of inputs of one shape, and sends NaN at the others."""
    last: list[Any] = [0, None, None]  # calls, shape of the inputs and output

    @wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else next(iter(kwargs.values()))
        calls, shape, out = last
        runs = calls % every == 0 or given.shape != shape
        out = inner(*args, **kwargs) if runs else torch.full_like(out, math.nan)
        last[:] = calls + 1, given.shape, out
        return out

    return forward


def weights_of(layer: TracedLayer) -> list[Any]:
    """The matrices of a layer's weight modules, or of its neuron, of which there are gradients: not of whole numbers."""
    modules = layer.weights or [layer.module]
    return [each for module in modules for each in module.parameters() if each.dim() > 1 and each.is_floating_point()]


def _held(out: Any) -> Any:
    """An output with a copy of its spikes, to which a model may add in place."""
    S = tensors_in(out)[0]
    return mapped(out, lambda each: copied(each) if each is S else each.detach())


def _deviations(layer: TracedLayer, current: Any) -> float:
    """``Σ (I - Ī)²``, the mean over neurons taken off at each step for each input."""
    I = in_single(steps_first(layer.spiking, current)).flatten(2)
    return _square(I - I.mean(2, keepdim=True))


def _difference(now: Any, before: Any) -> float:
    """Sum of squared differences; NaN for unlike shapes."""
    return _square(in_single(now) - in_single(before)) if now.shape == before.shape else math.nan


def _square(values: Any) -> float:
    return _product(values, values)


def _product(x: Any, y: Any) -> float:
    """Sum of products; NaN for unlike shapes. A dot product takes a tenth of the time of other sums, with autocast too."""
    return float(in_single(x).flatten().dot(in_single(y).flatten())) if x.shape == y.shape else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _result(traced: Trace, optimizer: Any, fresh: bool, passes: Passes) -> OptimizerStep:
    readouts = dict(integrators(traced))
    layers = [layer for layer in traced.layers if layer.neuron_name not in readouts]
    rows = [passes.of(layer) for layer in layers]
    columns = {name: np.array([row[name] for row in rows]) for name in STEP}
    change = float(np.sqrt(np.nansum(columns["direct"] ** 2)))
    name, rates = type(optimizer).__name__, {float(group["lr"]) for group in optimizer.param_groups if "lr" in group}
    rate = rates.pop() if len(rates) == 1 else math.nan
    plain = all(len(traced.senders_to(layer)) == 1 and not layer.normalised_by for layer in layers)
    (every, other, of_first), words = _advice(name, rate, fresh, columns["direct"], plain)
    first = f"{name}'s next step, made on half of the batch and measured on the other: D = √Σ direct² = {change:.3g}"
    names = tuple(layer.neuron_name for layer in layers)
    return OptimizerStep(names, name, rate, change, every, other, of_first, **columns, notes=(first, *words))


def _advice(name: str, rate: float, fresh: bool, direct: np.ndarray, plain: bool) -> tuple[list[float | None], list[str]]:
    """Learning rates for all layers, for all but the first and for the first; and sentences about them."""
    best = f"D = {CHANGE} is best for Adam's first step ({DOMAIN})"
    known = {
        f"{name} was not measured": name == "Adam",
        "the optimiser has made steps, and D falls to half after ten": fresh,
        "parameter groups have several": not math.isnan(rate),
        "D is 0 or not known here": 0 < float(np.sum(direct**2)) < math.inf,
    }
    if not all(known.values()):
        why = next(words for words, fine in known.items() if not fine)
        return [None] * 3, [f"no learning rate is advised, as {why}: {best}"]
    every, other, first = (None if factor is None else factor * rate for factor in advised(direct, plain))
    half = f", half of what D asks for, a guess for more than {DEEP} plain layers" if plain and len(direct) > DEEP else ""
    words = [f"advised: learning rate {every:.2g}{half}; {best}"]
    if other is not None:
        words.append(f"the first layer dominates: better {first:.2g} for it and {other:.2g} for the others")
    return [every, other, first], words
