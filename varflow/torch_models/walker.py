"""Tracing of one forward pass: which neuron layer follows which weight layer, and the number of steps.

The structure comes from labels on tensors (``provenance``), not from the order of modules. Anything that cannot be described
raises DomainError with its name. The model is unchanged afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

import torch

from varflow._checks import DomainError, integer
from varflow._progress import Report, unreported
from varflow._restoring import at_rest, kept
from varflow.torch_models.library_neurons import recognise, refuse
from varflow.torch_models.provenance import Label, Provenance, tensors_in
from varflow.torch_models.traced import INPUT, Fed, Trace, TracedLayer, steps_of

__all__ = ["forward", "trace"]

UNTRACED = (
    "receives a tensor that cannot be followed back to a layer or the input: it is a constant, as a recurrent state is at "
    "first, or was made outside of torch's functions"
)


def trace(
    model: Any,
    inputs: Any,
    steps: int | None = None,
    record: Callable[[TracedLayer, Any, Any], None] | None = None,
    report: Report = unreported,
) -> Trace:
    """Run the model once and return its structure.

    Parameters
    ----------
    model : torch.nn.Module
    inputs : tensor, tuple of positional or dict of keyword arguments
    steps : int, optional
        Number of calls, for models that leave the loop over time to the caller.
    record : callable, optional
        ``record(layer, currents, spikes)``, called after every call of a neuron.
    report : callable, optional
        ``report(done)``, called after every call of the model.

    Raises
    ------
    DomainError
        For models without spiking layers, lazy modules, raw weights, unknown neurons or thresholds, inputs that do not fit.
    """
    check_model(model)
    _check_inputs(inputs)

    def walked() -> Trace:
        walk = _Walk(model, record)
        walk.enclose()
        with torch.no_grad(), walk.provenance:
            forward(model, walk.labelled(inputs), steps, [module for module, _ in walk.spiking.values()], report)
        return walk.result()

    return kept(model, walked)


def check_model(model: Any) -> None:
    """Raise unless ``model`` is a module with numbers (not lazy, not on the meta device)."""
    if not isinstance(model, torch.nn.Module):
        raise DomainError("model", type(model).__name__, "must be a torch.nn.Module")
    for name, parameter in model.named_parameters():
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise DomainError("model", name, "belongs to a lazy module without a weight yet: run one batch through it first")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise DomainError(
                "model", name, "is on the meta device, without numbers: materialise the model with to_empty first"
            )


def _check_inputs(inputs: Any) -> None:
    for tensor in tensors_in(inputs):
        shape = f"shape {tuple(tensor.shape)}"
        if tensor.is_meta:
            raise DomainError("inputs", shape, "is on the meta device, without numbers: give a batch of data")
        if not tensor.numel():
            raise DomainError("inputs", shape, "is empty: give a batch of data")
        if not bool(torch.isfinite(tensor).all()):
            raise DomainError("inputs", shape, "holds numbers that are not finite")


def forward(
    model: Any, inputs: Any, steps: int | None = None, spiking: list[Any] | None = None, report: Report = unreported
) -> Any:
    """The model's output from reset membranes, without dropout; with ``steps``, that of the last call."""
    at_rest(spiking or [])
    for module in model.modules():
        if "Dropout" in type(module).__name__:
            module.training = False
    out = None
    try:
        for called in range(1, 1 + (1 if steps is None else integer("steps", steps, minimum=1))):
            with _uncompiled(model):
                if isinstance(inputs, dict):
                    out = model(**inputs)
                else:
                    out = model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
            report(called)
        return out
    except DomainError:
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors_in(inputs))
        words = " ".join(str(error).split())
        if not words or isinstance(error, LookupError):  # whose message is only the key
            words = f"{type(error).__name__} {words}".strip()
        raise DomainError(
            "inputs", f"shape {shapes}" if shapes else type(inputs).__name__, f"do not go through the model: {words}"
        ) from error


def _uncompiled(model: Any) -> Any:
    """A context in which compiled modules run uncompiled, so that hooks and labels work."""
    compiled = (type(m).__name__ == "OptimizedModule" or m.__dict__.get("_compiled_call_impl") for m in model.modules())
    stance = getattr(torch.compiler, "set_stance", None)
    return stance("force_eager") if stance is not None and any(compiled) else nullcontext()


class _Walk:
    """Labels of one pass, and the wrappers around the modules."""

    def __init__(self, model: Any, record: Any = None):
        nn = torch.nn
        self.names = {module: name for name, module in model.named_modules()}
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        self.weights = {name: module for module, name in self.names.items() if isinstance(module, kinds)}
        found = {name: (module, recognise(name, module)) for module, name in self.names.items()}
        self.spiking = {name: (module, known) for name, (module, known) in found.items() if known is not None}
        if not self.spiking:
            rule = "has no spiking layer of snnTorch, SpikingJelly, Norse or sinabs, and none registered by vf.init.reads"
            raise DomainError("model", type(model).__name__, rule)
        for name, (module, known) in self.spiking.items():
            if known.neuron is None:
                refuse(name, module, known.reason)
            if known.recurrent is not None or known.neuron.heterogeneous:
                refuse(name, module, "has recurrent weights, or neurons that differ: not supported in a model")
        self.record = record
        self.running: list[str] = []
        self.provenance = Provenance(self._place)
        self.fed: dict[str, Fed] = {}  # by name of the weight module
        self.layers: dict[tuple[str, tuple[str, ...]], TracedLayer] = {}
        self.known: dict[tuple[str, frozenset[str]], TracedLayer] = {}  # layers by neuron and sources of their currents
        self.labels: dict[TracedLayer, Any] = {}  # labels of their outputs
        self.calls: list[TracedLayer] = []

    def labelled(self, inputs: Any) -> Any:
        copies = _copied(inputs)
        for tensor in tensors_in(copies):
            self.provenance.put(tensor, Label(frozenset({INPUT})))
        return copies

    def enclose(self) -> None:
        """Wrap the forwards of weights and neurons, and add hooks to all other modules."""
        for module, name in self.names.items():
            if name in self.weights or name in self.spiking:
                self._enclose(name, module)
            else:
                module.register_forward_pre_hook(self._enter(name), prepend=True)
                module.register_forward_hook(self._leave)

    def _place(self) -> str:
        return repr(self.running[-1]) if self.running and self.running[-1] else "the model's forward"

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda module, args: self.running.append(name)

    def _leave(self, *_: Any) -> None:
        self.running.pop()

    def _enclose(self, name: str, module: Any) -> None:
        """Wrap a module's forward: a third of the cost of hooks, which would dominate tracing. Its output is labelled here, not
        by the torch-function mode.
        """
        see = (self._weight if name in self.weights else self._neuron)(name, module)
        inner, unlabelled = module.forward, torch._C.DisableTorchFunction

        @wraps(inner)
        def forward(*args: Any, **kwargs: Any) -> Any:
            with unlabelled():
                self.running.append(name)
                out = inner(*args, **kwargs)
                see(args[0] if args else next(iter(kwargs.values())), out)
                self.running.pop()
            return out

        module.__dict__["forward"] = forward

    def _label(self, name: str, module: Any, tensor: Any) -> Any:
        label = self.provenance.of(tensor)
        if label is None:
            refuse(name, module, UNTRACED)
        return label

    def _weight(self, name: str, module: Any) -> Callable[[Any, Any], None]:
        own, driven = Label(frozenset({name})), frozenset({INPUT})

        def see(given: Any, out: Any) -> None:
            label = self._label(name, module, given)
            fed = self.fed.get(name)
            if fed is None:
                fed = self.fed[name] = Fed(tuple(given.shape))
            if label is not fed.last:
                fed.last = fed.labels[label] = label
            if label.sources == driven:  # keep only these: kept tensors slow down the pass
                fed.inputs.append(given.detach())
            self.provenance.put(out, own)

        return see

    def _neuron(self, name: str, module: Any) -> Callable[[Any, Any], None]:
        def see(current: Any, out: Any) -> None:
            label = self._label(name, module, current)
            layer = self.known.get((name, label.sources))
            if layer is None:
                layer = self.known[name, label.sources] = self._layer(name, module, label, tuple(current.shape))
            self.calls.append(layer)
            outputs = tensors_in(out)
            if self.record is not None:
                self.record(layer, current, outputs[0])
            for tensor in outputs:
                self.provenance.put(tensor, self.labels[layer])

        return see

    def _layer(self, name: str, module: Any, label: Any, shape: tuple[int, ...]) -> TracedLayer:
        feeding = tuple(source for source in self.weights if source in label.sources)
        if not feeding:
            refuse(name, module, f"follows no weight layer, only {', '.join(sorted(label.sources))}")
        key = (name, feeding)
        if key not in self.layers:
            again = sum(other == name for other, _ in self.layers)
            direct = tuple(sorted(label.sources - set(feeding)))
            layer = TracedLayer(
                feeding,
                name if not again else f"{name} ({'+'.join(feeding)})",
                [self.weights[source] for source in feeding],
                module,
                self.spiking[name][1],
                through=(*label.through, *(f"{source} without a weight layer" for source in direct)),
                scaled_by=tuple(source for source in feeding if source in label.scaling),
                normalised_by=tuple(sorted({step for source, step in label.normalised if source in feeding})),
                current_shape=shape,
            )
            self.layers[key] = layer
            self.labels[layer] = Label(frozenset({layer.neuron_name}))
        return self.layers[key]

    def result(self) -> Trace:
        for tensor, place in self.provenance.raw_weights:
            rule = f"of shape {tuple(tensor.shape)} is used as a raw parameter, outside of Linear and the convolutions"
            raise DomainError("model", f"a weight in {place}", rule)
        for label, place in self.provenance.thresholds:
            if label.sources & set(self.weights):
                raise DomainError("model", place, "compares currents with a threshold, but is not a supported neuron")
        if not self.layers:
            raise DomainError("model", ", ".join(self.spiking), "did not run: its forward calls no spiking layer")
        for layer in self.layers.values():
            self._complete(layer)
        used = {name for _, feeding in self.layers for name in feeding}
        readouts = []
        for name, fed in self.fed.items():
            if name not in used:
                readouts.append((name, self.weights[name], fed.sources, fed.shape))
        self._nothing_left_out(used | {name for name, *_ in readouts})
        return Trace(list(self.layers.values()), readouts, self._steps(), self.calls)

    def _complete(self, layer: TracedLayer) -> None:
        """Set the sources of the weights and the operations on the way; functions of the input alone count as input."""
        layer.fed = [self.fed[name] for name in layer.names]
        spikes = [label for each in layer.fed for label in each.labels if label.sources != {INPUT}]
        through = dict.fromkeys(step for label in spikes for step in label.through)
        layer.sources = tuple(sorted({source for each in layer.fed for source in each.sources}))
        layer.through = (*through, *layer.through)

    def _nothing_left_out(self, used: set[str]) -> None:
        idle = [name for name in self.weights if name not in used]
        ran = {name for name, _ in self.layers}
        idle += [name for name in self.spiking if name not in ran]
        if idle:
            raise DomainError("model", ", ".join(idle), "did not run in this forward pass: leave it out, or use it")

    def _steps(self) -> int:
        layers = self.layers.values()
        ran = Counter(self.calls)
        counts = {l.neuron_name: ran[l] * steps_of(l.spiking, l.current_shape) for l in layers}
        if len(set(counts.values())) > 1:
            text = ", ".join(f"{name}: {count}" for name, count in counts.items())
            raise DomainError("model", text, "run different numbers of steps")
        return next(iter(counts.values()))


def _copied(tree: Any) -> Any:
    """The same with tensors copied, so that the user's are not changed."""
    if hasattr(tree, "detach"):
        return tree.detach().clone()
    if isinstance(tree, (tuple, list)):
        return type(tree)(_copied(item) for item in tree)
    return {key: _copied(item) for key, item in tree.items()} if isinstance(tree, dict) else tree
