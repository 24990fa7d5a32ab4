"""Layers of neurons, put together from the calls of weights and neurons in one pass."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import torch

from varflow._checks import DomainError
from varflow.results.audit import first_of
from varflow.torch_models.tracing.modules import Modules
from varflow.torch_models.tracing.origins import INPUT, Origin, Sender, attended, maximum, not_gaussian, of_all_steps
from varflow.torch_models.tracing.traced import Received, Trace, TracedLayer, neurons_of, steps_first, steps_of
from varflow.torch_models.tracing.weights import (
    EMPTY,
    add_arrivals,
    carries_spikes,
    count_operations,
    few_in_groups,
    has_own_forward,
    one_by_one,
    why_not_covered,
)


class Layers:
    """Layers of one pass, and what is noted of their calls."""

    def __init__(self, modules: Modules):
        self.modules = modules
        self.received: dict[str, Received] = {}  # by name of the weight module
        self.layers: list[TracedLayer] = []
        self.by_call: dict[Any, TracedLayer] = {}  # by neuron, what it receives, and the shape of an input
        self.sent: dict[TracedLayer, Any] = {}  # spikes of the step before, where recurrent weights receive them
        self.unsteady: set[TracedLayer] = set()  # layers behind other operations on the same signals than a step before
        self.calls: list[TracedLayer] = []
        self.steps: Counter[TracedLayer] = Counter()
        self.sizes: dict[TracedLayer, set[int]] = {}  # numbers of a step
        self.notes: list[str] = []

    def weights_called(self, name: str, origin: Origin, x: Any) -> None:
        """Note a call of a weight module, and its synaptic operations."""
        self._note_inputs(name, origin, x)
        weights = self.modules.weights
        add_arrivals(self.received[name].arrivals, weights[name], x, carries_spikes(origin, weights))

    def neuron_called(self, name: str, module: Any, origin: Origin, current: Any, spikes: Any) -> TracedLayer:
        """Note a call of a neuron, and return its layer."""
        shape = tuple(current.shape)
        key = name, origin, neurons_of(self.modules.spiking[name][1], shape)
        layer = self.by_call.get(key)
        if layer is None:
            layer = self.by_call[key] = self._layer(name, module, origin, shape)
        if layer.has_inner_weights:
            self._note_inputs(layer.neuron_name, origin, current)
        self._count_inner(layer, origin, current, spikes)
        if layer.origin not in (origin, None) and not layer.origin.sources < origin.sources:
            self.unsteady.add(layer)
        layer.origins.pop(origin, None)
        layer.origins[origin] = None
        self.calls.append(layer)
        made = steps_of(layer.spiking, shape)
        self.steps[layer] += made
        self.sizes.setdefault(layer, set()).add(current.numel() // max(made, 1))
        if self.steps[layer] == made:  # the first call
            self._compare(layer, shape, tuple(spikes.shape))
        return layer

    def _count_inner(self, layer: TracedLayer, origin: Origin, current: Any, spikes: Any) -> None:
        """Note what the weights within a neuron module receive: its input, and its own spikes of the step before."""
        entry, recurrent = layer.spiking.entry, layer.spiking.recurrent
        if entry is not None and entry.parameter is None:
            add_arrivals(layer.inner.setdefault(entry, {}), entry, current, carries_spikes(origin, self.modules.weights))
        if recurrent is not None and recurrent.parameter is None:
            arrivals, steps = layer.inner.setdefault(recurrent, {}), steps_first(layer.spiking, spikes)
            if layer not in self.sent:  # no spikes can arrive at the first step
                first = one_by_one(recurrent, torch.zeros_like(steps[0], dtype=torch.float64))
                arrivals[False, first.shape[1:]] = first[0], len(first)
            for before in [*([self.sent[layer]] if layer in self.sent else []), *steps[:-1]]:
                add_arrivals(arrivals, recurrent, before, True)
            self.sent[layer] = steps[-1].detach()

    def replace_origin(self, before: Origin, after: Origin) -> None:
        """Take another origin for what weights received."""
        for received in self.received.values():
            received.origins = {after if origin is before else origin: None for origin in received.origins}

    def _note_inputs(self, name: str, origin: Origin, x: Any) -> None:
        """Note what a weight module, or the weights within a neuron, received."""
        received = self.received.get(name)
        if received is None:
            received = self.received[name] = Received(tuple(x.shape), self._needs_numbers(origin))
        received.origins.pop(origin, None)
        received.origins[origin] = None
        if received.stored:  # stored tensors slow down the pass
            received.inputs.append(x.detach())

    def _needs_numbers(self, origin: Origin) -> bool:
        """True if theory may need the numbers themselves: unless they are the spikes of a layer that it knows."""
        if not isinstance(origin.operation, Sender):
            return True
        layer = next((layer for layer in self.layers if layer.neuron_name == origin.operation.name), None)
        if layer is None or bool(layer.unknown) or any(map(has_own_forward, layer.weights)):
            return True
        if not layer.names and layer.spiking.entry is None:
            return True
        return layer.origin is not None and maximum(layer.origin)

    def _compare(self, layer: TracedLayer, received: tuple[int, ...], returned: tuple[int, ...]) -> None:
        """Note neurons that add axes before that of the inputs, as SpikingJelly's ``GatedLIFNode`` does for all but maps."""
        per_input = [math.prod(neurons_of(layer.spiking, shape)) for shape in (received, returned)]
        if per_input[0] < per_input[1] and math.prod(received) == math.prod(returned):
            shapes = f"returns spikes of shape {returned} for currents of shape {received}"
            self.notes.append(f"{layer.neuron_name} {shapes}: from there on inputs count as neurons")

    def _layer(self, name: str, module: Any, origin: Origin, shape: tuple[int, ...]) -> TracedLayer:
        """The layer of this neuron that shares weights with the origin and has as many neurons, else a new one."""
        weights, spiking = self.modules.weights, self.modules.spiking[name][1]
        feeding = tuple(source for source in weights if source in origin.sources)
        size = neurons_of(spiking, shape)
        of_module = [layer for layer in self.layers if layer.module is module]
        sharing = [each for each in of_module if not feeding or not each.names or not set(feeding).isdisjoint(each.names)]
        for layer in sharing:
            if neurons_of(spiking, layer.current_shape) == size:
                self._add_weights(layer, feeding)
                return layer
        earlier = {source for each in self.layers if each not in sharing for source in each.names}
        names = tuple(source for source in feeding if source not in earlier) or feeding  # the others come by a shortcut
        if not math.prod(size) or not all(weights[source].weight.numel() for source in names):
            raise DomainError("model", name, f"receives currents of shape {shape}: {EMPTY}")
        words = [*(["+".join(names)] if names else []), *(["×".join(map(str, size))] if sharing else [])]
        called, modules = f"{name} ({', '.join(words)})" if of_module else name, [weights[source] for source in names]
        layer = TracedLayer(names, called, modules, module, spiking, current_shape=shape, unknown=self._unknown(name, origin))
        self.layers.append(layer)
        return layer

    def _add_weights(self, layer: TracedLayer, feeding: tuple[str, ...]) -> None:
        """Add weights that feed a layer at later steps, as recurrent ones do."""
        earlier = {source for each in self.layers if each is not layer for source in each.names}
        later = {source for source in feeding if source not in earlier}
        layer.names = tuple(source for source in self.modules.weights if source in {*layer.names, *later})
        layer.weights = [self.modules.weights[source] for source in layer.names]

    def _unknown(self, name: str, origin: Origin) -> tuple[str, ...]:
        """Reasons why theory does not know a layer."""
        weights, spiking = self.modules.weights, self.modules.spiking[name][1]
        reasons = [] if spiking.neuron is not None else [f"{name} {spiking.reason}"]
        if spiking.entry is not None and origin.sources.isdisjoint(weights):
            return tuple(reasons)
        pooled = origin.inputs[0] if maximum(origin) else origin
        those = [(source, weight) for source, weight in weights.items() if source in origin.sources]
        of_weights = [(source, why_not_covered(weight) or few_in_groups(weight)) for source, weight in those]
        reasons += [f"{source} {why}" for source, why in of_weights if why]
        return (*reasons, *origin.unknown, *([] if attended(origin) else not_gaussian(pooled, weights)))

    # After the pass.

    def completed(self, parameters: set[int], calls: Counter[Origin]) -> Trace:
        """The trace, at the end of the pass; ``parameters``: ids of those that were given to functions outside of modules;
        ``calls``: of normalisations over a batch.
        """
        for layer in self.layers:
            self._complete(layer)
        others = count_operations(self.layers, self.received, self.modules.weights)
        used = {name for layer in self.layers for name in (layer.neuron_name, *layer.names)}
        if factors := self._only_factors(used):
            rule = "only make factors of other signals: they are not advised on, and init_model leaves them as they are"
            self.notes.append(f"weights of {first_of(sorted(factors))} {rule}")
        used |= factors
        unused = {name: received for name, received in self.received.items() if name not in used}
        readouts = [(name, self.modules.weights[name], inputs.sources, inputs.shape) for name, inputs in unused.items()]
        notes, steps = [*self.notes, *self._idle(parameters)], self._number_of_steps()
        each_step = {origin for origin, number in calls.items() if number == steps > 1}
        return Trace(self.layers, readouts, steps, self.calls, self.received, notes, each_step=each_step, operations=others)

    def _complete(self, layer: TracedLayer) -> None:
        """Set what only the end of the pass tells."""
        if len(layer.origins) == self.steps[layer] and (of_steps := of_all_steps(list(layer.origins))) is not None:
            layer.origins[of_steps] = None
            self.unsteady.discard(layer)
        origins, weights = list(layer.origins), self.modules.weights
        sources: set[str] = set().union(*(origin.sources for origin in origins))
        scaling: set[str] = set().union(*(origin.scaling for origin in origins))
        feeding = layer.names or ((layer.neuron_name,) if layer.has_inner_weights else ())
        layer.received = [self.received[name] for name in feeding]
        layer.feeding = tuple(source for source in weights if source in sources or source in layer.names)
        layer.sources = tuple(sorted({source for each in layer.received for source in each.sources}))
        spikes = [below for each in layer.received for below in each.origins if below.sources != {INPUT}]
        direct = [f"{source or 'a constant'} without a weight layer" for source in sorted(sources - set(weights))]
        layer.through = tuple(dict.fromkeys([*(step for each in (*spikes, *origins) for step in each.through), *direct]))
        layer.scaled_by = tuple(source for source in layer.names if source in scaling or source not in sources)
        layer.normalised_by = tuple(sorted({step for each in origins for name, step in each.normalised if name in layer.names}))
        module_name = next(name for name, (module, _) in self.modules.spiking.items() if module is layer.module)
        layer.unknown = (*self._unknown(module_name, origins[-1]), *self._irregular(layer))

    def _irregular(self, layer: TracedLayer) -> list[str]:
        """Reasons why theory does not know the calls of a layer."""
        fed = layer.received or all(map(attended, layer.origins))
        words = [] if fed else [f"{layer.neuron_name} follows no weight layer"]
        others = [each for each in self.layers if each is not layer]
        again = [name for name in layer.names if any(self.received[name].called_again(name, layer, other) for other in others)]
        words += [f"{name} is called for several layers" for name in again]
        fewer = len(self.sizes[layer]) > 1 or any(len({x.shape for x in received.inputs}) > 1 for received in layer.received)
        if fewer and not again:
            words.append(f"{layer.neuron_name} receives fewer inputs at some steps: its rates are means over those")
        if layer in self.unsteady:
            words.append(f"{layer.neuron_name} receives other operations at every step")
        return words

    def _only_factors(self, used: set[str]) -> set[str]:
        """Weights whose currents arrive only as factors of other signals: neither at neurons or in readouts, nor on the way."""
        senders = [inputs.senders for inputs in self.received.values()]
        senders += [layer.origin.sources | layer.origin.factors for layer in self.layers if layer.origin is not None]
        carried = used | (self.modules.weights.keys() - set().union(*senders))  # to neurons, and by readouts out of the model
        for name, inputs in reversed(list(self.received.items())):
            carried |= set(inputs.sources) if name in carried else set()
        return self.received.keys() - carried

    def _idle(self, parameters: set[int]) -> list[str]:
        """Notes on weights that are used by functions, and on what did not run."""
        weights, ran = self.modules.weights, {layer.module for layer in self.layers}
        idle = [name for name in weights if name not in self.received]
        idle += [name for name, (module, _) in self.modules.spiking.items() if module not in ran | self.modules.inside]
        used = {name for name, weight in weights.items() if any(id(each) in parameters for each in weight.parameters())}
        by_functions = [name for name in idle if name in used]
        unused = [name for name in idle if name not in used]
        rule = "are used by functions without a call of their modules, so their gains and operations are not measured"
        notes = [f"weights of {first_of(by_functions)} {rule}"] if by_functions else []
        return notes + ([f"did not run in this forward pass: {first_of(unused)}"] if unused else [])

    def _number_of_steps(self) -> int:
        steps = max(self.steps.values())
        for layer, count in self.steps.items():
            if count != steps:
                layer.unknown = (*layer.unknown, f"{layer.neuron_name} makes {count} steps, others {steps}")
        return steps
