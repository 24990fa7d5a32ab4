"""Tracing of one forward pass: which neuron layer follows which weight layers by which operations, and the number of steps.

The structure comes from what each tensor was made of (``provenance``), not from the order of modules. A model that runs is
traced; what has no theory is named in ``TracedLayer.unknown``. The model is unchanged afterwards.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import torch

from varflow._checks import DomainError
from varflow._progress import Report, unreported
from varflow._restoring import kept
from varflow.model.library_neurons import Spiking
from varflow.results.audit import first_of
from varflow.torch_models.audit.operations import count_operations, of_spikes, synaptic_operations
from varflow.torch_models.chance import generators, reseed
from varflow.torch_models.tracing.passes import check_inputs, check_model, check_neurons, copied, forward
from varflow.torch_models.tracing.provenance import Provenance, tensors_in
from varflow.torch_models.tracing.readers import INPUT, Node, Source, maximum, not_gaussian
from varflow.torch_models.tracing.spiking_modules import Neurons, holds_weights, spiking_modules
from varflow.torch_models.tracing.traced import Fed, Trace, TracedLayer, neurons_of, only_factors, steps_of
from varflow.torch_models.tracing.wiring import EMPTY, of_its_own, why_not_covered

__all__ = ["trace"]

WEIGHTS = ("Linear", *(f"Conv{d}d" for d in (1, 2, 3)), *(f"ConvTranspose{d}d" for d in (1, 2, 3)))


def trace(
    model: Any,
    inputs: Any,
    steps: int | None = None,
    record: Callable[[TracedLayer, Any, Any], None] | None = None,
    report: Report = unreported,
    neurons: Neurons | None = None,
    number: int = 0,
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
    neurons : dict, optional
        Neurons of modules that are not known by themselves, by class, name or module; None for those to be measured only.
    number : int
        Of the pass: another one than 0 draws other random numbers.

    Raises
    ------
    DomainError
        For models without spiking layers, lazy modules, inputs that do not fit.
    """
    check_model(model)
    check_neurons(neurons)
    check_inputs(inputs)

    def walked() -> Trace:
        walk = _Walk(model, record, neurons or {})
        walk.enclose()
        reseed(number)
        before = generators()
        with torch.no_grad(), walk.provenance:
            forward(model, walk.labelled(inputs), steps, [module for module, _ in walk.spiking.values()], report, walk.where)
        return replace(walk.result(), random=generators() != before)

    return kept(model, walked)


class _Walk:
    """Nodes of one pass, and the wrappers around the modules."""

    def __init__(self, model: Any, record: Any, neurons: Neurons):
        self.names = {module: name for name, module in model.named_modules()}
        kinds = tuple(getattr(torch.nn, kind) for kind in WEIGHTS)
        self.spiking = spiking_modules(self.names, neurons)
        inside = {part for module, _ in self.spiking.values() for part in module.modules() if part is not module}
        self.weights = {name: m for m, name in self.names.items() if isinstance(m, kinds) and m not in inside}
        self.candidates = {name for m, name in self.names.items() if m not in inside and self._may_spike(m)}
        self.inside = inside
        self.record = record
        self.running: list[str] = []
        self.provenance = Provenance(self._place)
        self.fed: dict[str, Fed] = {}  # by name of the weight module
        self.layers: list[TracedLayer] = []
        self.known: dict[Any, TracedLayer] = {}  # layers by neuron, what it receives, and the shape of an input
        self.unsteady: set[TracedLayer] = set()  # layers behind other operations on the same signals than a step before
        self.calls: list[TracedLayer] = []
        self.silent: dict[str, list[Any]] = {}  # calls of modules that may be neurons, with their places in the order of calls
        self.made: Counter[TracedLayer] = Counter()  # steps
        self.sizes: dict[TracedLayer, set[int]] = {}  # numbers of a step
        self.notes: list[str] = []
        self.unweighted: dict[str, str] = {}  # modules that return spikes but follow no weight module, with their classes

    def _may_spike(self, module: Any) -> bool:
        """True for modules that may be neurons without equations: of none of torch's classes, and without weights."""
        if "Norm" in type(module).__name__:  # with γ = 0 its output is 0, as that of silent neurons
            return False
        own = not type(module).__module__.startswith(("torch.", "varflow.")) and self.names[module]
        return bool(own) and self.names[module] not in self.spiking and not holds_weights(module)

    def labelled(self, inputs: Any) -> Any:
        copies, node = copied(inputs), self.provenance.graph.source(INPUT)
        for tensor in tensors_in(copies):
            self.provenance.put(tensor, node)
        return copies

    def enclose(self) -> None:
        """Wrap the forwards of weights and neurons, and add hooks to all other modules."""
        for module, name in self.names.items():
            if module in self.inside:
                continue
            if name in self.weights:
                self._enclose(name, module, self._weight(name))
            elif name in self.spiking:
                self._enclose(name, module, self._neuron(name, module))
            else:
                module.register_forward_pre_hook(self._enter(name), prepend=True)
                if name in self.candidates:
                    module.register_forward_hook(self._if_it_spikes(name))
                module.register_forward_hook(self._leave)

    def where(self) -> str:
        """The module that runs, if it is not the whole model, in words."""
        name = self.running[-1] if self.running else ""
        return f" at {name}, a {next(type(m).__name__ for m, own in self.names.items() if own == name)}" if name else ""

    def _place(self) -> str:
        return repr(self.running[-1]) if self.running and self.running[-1] else "the model's forward"

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda module, args: self.running.append(name)

    def _leave(self, *_: Any) -> None:
        self.running.pop()

    def _enclose(self, name: str, module: Any, see: Callable[[Any, Any], None]) -> None:
        """Wrap a module's forward: a third of the cost of hooks, which would dominate tracing. Its output gets its node here,
        not by the torch-function mode.
        """
        inner, unseen = module.forward, torch._C.DisableTorchFunction

        @wraps(inner)
        def forward(*args: Any, **kwargs: Any) -> Any:
            with unseen():
                self.running.append(name)
                out = inner(*args, **kwargs)
                see(args[0] if args else next(iter(kwargs.values())), out)
                self.running.pop()
            return out

        module.__dict__["forward"] = forward

    def _node(self, tensor: Any) -> Node:
        return self.provenance.of(tensor) or self.provenance.graph.source("")

    def _weight(self, name: str) -> Callable[[Any, Any], None]:
        own = self.provenance.graph.source(name)

        def see(given: Any, out: Any) -> None:
            node = self._node(given)
            self._feed(name, node, given)
            arriving = given if of_spikes(node, self.weights) else given != 0
            self.fed[name].operations += synaptic_operations(self.weights[name], arriving)
            self.provenance.put(out, own)

        return see

    def _feed(self, name: str, node: Node, given: Any) -> None:
        """Note what a weight module, or the weights within a neuron, received."""
        fed = self.fed.get(name)
        if fed is None:
            fed = self.fed[name] = Fed(tuple(given.shape), self._keeps(node))
        fed.nodes.pop(node, None)
        fed.nodes[node] = None
        if fed.kept:  # kept tensors slow down the pass
            fed.inputs.append(given.detach())

    def _keeps(self, node: Node) -> bool:
        """True if theory may need the numbers themselves: unless they are the spikes of a layer that it knows."""
        layer = next(
            (each for each in self.layers if isinstance(node.operation, Source) and each.neuron_name == node.operation.name),
            None,
        )
        if layer is None or bool(layer.unknown) or any(map(of_its_own, layer.weights)):
            return True
        if not layer.names and layer.spiking.entry is None:
            return True
        return layer.node is not None and maximum(layer.node)

    def _neuron(self, name: str, module: Any) -> Callable[[Any, Any], None]:
        def see(current: Any, out: Any) -> None:
            node, shape = self._node(current), tuple(current.shape)
            key = name, node, neurons_of(self.spiking[name][1], shape)
            layer = self.known.get(key)
            if layer is None:
                layer = self.known[key] = self._layer(name, module, node, shape)
            if layer.weighs:
                self._feed(layer.neuron_name, node, current)
            if layer.node not in (node, None) and not layer.node.sources < node.sources:
                self.unsteady.add(layer)
            layer.nodes.pop(node, None)
            layer.nodes[node] = None
            self.calls.append(layer)
            made = steps_of(layer.spiking, shape)
            self.made[layer] += made
            self.sizes.setdefault(layer, set()).add(current.numel() // max(made, 1))
            outputs = tensors_in(out)
            if self.made[layer] == made:  # the first call
                self._compare(layer, shape, tuple(outputs[0].shape))
            if self.record is not None:
                self.record(layer, current, outputs[0])
            own = self.provenance.graph.source(layer.neuron_name)
            for tensor in outputs:
                self.provenance.put(tensor, own)

        return see

    def _compare(self, layer: TracedLayer, given: tuple[int, ...], returned: tuple[int, ...]) -> None:
        """Note neurons that add axes before that of the inputs, as SpikingJelly's ``GatedLIFNode`` does for all but maps."""
        per_input = [math.prod(neurons_of(layer.spiking, shape)) for shape in (given, returned)]
        if per_input[0] < per_input[1] and math.prod(given) == math.prod(returned):
            shapes = f"returns spikes of shape {returned} for currents of shape {given}"
            self.notes.append(f"{layer.neuron_name} {shapes}: from there on inputs count as neurons")

    def _if_it_spikes(self, name: str) -> Callable[[Any, Any, Any], None]:
        """A hook that makes a module a neuron if currents come out as spikes."""

        def hook(module: Any, args: Any, out: Any) -> None:
            given, outputs = tensors_in(args), tensors_in(out)
            if not given or not outputs:
                return
            if name not in self.spiking and self._spikes(given[0], outputs[0]):
                silent, reason = torch.equal(given[0], outputs[0]), f"is a {type(module).__name__}, a neuron without equations"
                if not self._node(given[0]).sources.isdisjoint(self.weights):
                    if silent:  # it may be no neuron: its first spikes will tell
                        self.silent.setdefault(name, []).append((len(self.calls), given[0].clone(), outputs[0]))
                        return
                    self.spiking[name] = module, Spiking(None, reason=reason)
                elif not silent:
                    self.unweighted[name] = type(module).__name__
            if name in self.spiking:
                with torch._C.DisableTorchFunction():
                    for number, (place, *tensors) in enumerate(self.silent.pop(name, ())):
                        self._was_silent(name, module, place + number, *tensors)
                    self._neuron(name, module)(given[0], outputs[0])

        return hook

    @staticmethod
    def _spikes(current: Any, out: Any) -> bool:
        """True if currents come out as spikes, or nothing as nothing."""
        if current.shape != out.shape or not bool(((out == 0) | (out == 1)).all()):
            return False
        return not torch.equal(current, out) or not out.any()

    def _was_silent(self, name: str, module: Any, place: int, current: Any, out: Any) -> None:
        """Add an earlier call of a neuron, without currents and spikes, to the calls then made."""
        before = self._node(out)
        self._neuron(name, module)(current, out)
        for fed in self.fed.values() if before.sources else ():
            fed.nodes = {self._node(out) if node is before else node: None for node in fed.nodes}
        self.calls.insert(place, self.calls.pop())
        for calls in self.silent.values():
            calls[:] = [(each + (each >= place), *tensors) for each, *tensors in calls]

    def _layer(self, name: str, module: Any, node: Node, shape: tuple[int, ...]) -> TracedLayer:
        """The layer of this neuron that shares weights with the node and has as many neurons, else a new one."""
        spiking, feeding = self.spiking[name][1], tuple(source for source in self.weights if source in node.sources)
        size = neurons_of(spiking, shape)
        of_module = [layer for layer in self.layers if layer.module is module]
        alike = [each for each in of_module if not feeding or not each.names or not set(feeding).isdisjoint(each.names)]
        for layer in alike:
            if neurons_of(spiking, layer.current_shape) == size:
                self._joins(layer, feeding)
                return layer
        earlier = {source for each in self.layers if each not in alike for source in each.names}
        own = tuple(source for source in feeding if source not in earlier) or feeding  # the others come by a shortcut
        if not math.prod(size) or not all(self.weights[source].weight.numel() for source in own):
            raise DomainError("model", name, f"receives currents of shape {shape}: {EMPTY}")
        words = [*(["+".join(own)] if own else []), *(["×".join(map(str, size))] if alike else [])]
        layer = TracedLayer(
            own,
            name if not of_module else f"{name} ({', '.join(words)})",
            [self.weights[source] for source in own],
            module,
            spiking,
            current_shape=shape,
            unknown=self._unknown(name, node),
        )
        self.layers.append(layer)
        return layer

    def _joins(self, layer: TracedLayer, feeding: tuple[str, ...]) -> None:
        """Weights that feed a layer at later steps, as recurrent ones do."""
        earlier = {source for each in self.layers if each is not layer for source in each.names}
        later = {source for source in feeding if source not in earlier}
        layer.names = tuple(source for source in self.weights if source in {*layer.names, *later})
        layer.weights = [self.weights[source] for source in layer.names]

    def _unknown(self, name: str, node: Node) -> tuple[str, ...]:
        """Why theory does not know a layer."""
        spiking = self.spiking[name][1]
        own = [] if spiking.neuron is not None else [f"{name} {spiking.reason}"]
        if spiking.entry is not None and node.sources.isdisjoint(self.weights):
            return tuple(own)
        below = node.below[0] if maximum(node) else node
        reasons = [(name, why_not_covered(weight)) for name, weight in self.weights.items() if name in node.sources]
        of_weights = [f"{name} {reason}" for name, reason in reasons if reason]
        return (*own, *of_weights, *node.unknown, *not_gaussian(below, self.weights))

    def result(self) -> Trace:
        if not self.layers:
            if self.spiking:
                raise DomainError("model", ", ".join(self.spiking), "did not run: its forward calls no spiking layer")
            rule = (
                "has no spiking layer that is known by its class or by its spikes: name it in neurons={module: vf.Neuron(…)}, "
                "with None if the module also holds weights; a function that makes the spikes is found once it is the forward "
                "of a module of its own behind Linear or Conv modules"
            )
            for name, kind in self.unweighted.items():
                rule = f"has no weight module before {name}, which returns spikes: for a neuron give neurons={{{kind}: None}}"
            raise DomainError("model", type(next(iter(self.names))).__name__, rule)
        for layer in self.layers:
            self._complete(layer)
        count_operations(self.layers, self.fed)
        used = {name for layer in self.layers for name in (layer.neuron_name, *layer.names)}
        if factors := only_factors(self.layers, self.fed, self.weights, used):
            rule = "only make factors of other signals: they are not advised on, and init_model leaves them as they are"
            self.notes.append(f"weights of {first_of(sorted(factors))} {rule}")
        used |= factors
        readouts = []
        for name, fed in self.fed.items():
            if name not in used:
                readouts.append((name, self.weights[name], fed.sources, fed.shape))
        return Trace(self.layers, readouts, self._steps(), self.calls, self.fed, [*self.notes, *self._idle()])

    def _complete(self, layer: TracedLayer) -> None:
        """What is known only at the end of the pass."""
        nodes = list(layer.nodes)
        sources: set[str] = set().union(*(node.sources for node in nodes))
        scaling: set[str] = set().union(*(node.scaling for node in nodes))
        own = layer.names or ((layer.neuron_name,) if layer.weighs else ())
        layer.fed = [self.fed[name] for name in own]
        layer.feeding = tuple(source for source in self.weights if source in sources or source in layer.names)
        layer.sources = tuple(sorted({source for each in layer.fed for source in each.sources}))
        spikes = [below for each in layer.fed for below in each.nodes if below.sources != {INPUT}]
        direct = [f"{source or 'a constant'} without a weight layer" for source in sorted(sources - set(self.weights))]
        layer.through = tuple(dict.fromkeys([*(step for each in (*spikes, *nodes) for step in each.through), *direct]))
        layer.scaled_by = tuple(source for source in layer.names if source in scaling or source not in sources)
        layer.normalised_by = tuple(sorted({step for each in nodes for name, step in each.normalised if name in layer.names}))
        layer.unknown = self._unknown(next(n for n, (m, _) in self.spiking.items() if m is layer.module), nodes[-1])
        if not layer.fed:
            layer.unknown = (*layer.unknown, f"{layer.neuron_name} follows no weight layer")
        others = [each for each in self.layers if each is not layer]
        again = [name for name in layer.names if any(self.fed[name].again(name, layer, each) for each in others)]
        layer.unknown = (*layer.unknown, *(f"{name} is called for several layers" for name in again))
        fewer = len(self.sizes[layer]) > 1 or any(len({given.shape for given in each.inputs}) > 1 for each in layer.fed)
        if fewer and not again:
            rule = "receives fewer inputs at some steps: its rates are means over those"
            layer.unknown = (*layer.unknown, f"{layer.neuron_name} {rule}")
        if layer in self.unsteady:
            layer.unknown = (*layer.unknown, f"{layer.neuron_name} receives other operations at every step")

    def _idle(self) -> list[str]:
        """Notes on weights that are used by functions, and on what did not run."""
        ran = {layer.module for layer in self.layers}
        idle = [name for name in self.weights if name not in self.fed]
        idle += [name for name, (module, _) in self.spiking.items() if module not in ran | self.inside]
        by_functions = [name for name in idle if name in self.weights and self._used(self.weights[name])]
        unused = [name for name in idle if name not in by_functions]
        rule = "are used by functions without a call of their modules, so their gains and operations are not measured"
        notes = [f"weights of {first_of(by_functions)} {rule}"] if by_functions else []
        return notes + ([f"did not run in this forward pass: {first_of(unused)}"] if unused else [])

    def _used(self, weight: Any) -> bool:
        """True if a function outside of the module was given one of its parameters."""
        return any(id(parameter) in self.provenance.parameters for parameter in weight.parameters())

    def _steps(self) -> int:
        steps = max(self.made.values())
        for layer, count in self.made.items():
            if count != steps:
                layer.unknown = (*layer.unknown, f"{layer.neuron_name} makes {count} steps, others {steps}")
        return steps
