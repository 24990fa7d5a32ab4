"""Initialisation of a whole spiking model: one forward pass gives its structure, theory in time the gains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from varflow._checks import DomainError
from varflow._restoring import all_or_nothing, to_the_end
from varflow.results import LayerPlan, ModelPlan
from varflow.torch_models.layer_gains import RATE
from varflow.torch_models.planner import Planner
from varflow.torch_models.precision import check_range, full_precision, in_full_precision
from varflow.torch_models.prediction import uncovered
from varflow.torch_models.refine import refined
from varflow.torch_models.refusals import checked, integrators, notes_on_steps, unlike_their_kind, warn_of_one_step, watched
from varflow.torch_models.tensor_memory import overlap, repeats, written
from varflow.torch_models.traced import Trace
from varflow.torch_models.watch import Recorder

__all__ = ["fill", "initialised", "planned_gains"]

BY_DEFAULT = "firing_rate", RATE, False
STRONGEST = 1e12  # largest root mean square of inputs: float32 squares overflow at 1e19


def initialised(
    model: Any,
    inputs: Any,
    asked: tuple[str, float, bool] | None,
    steps: int | None,
    refine: bool | None,
    dry_run: bool,
    generator: Any,
) -> ModelPlan:
    """:func:`varflow.init.init_model` after the checks of its arguments; ``asked``: a quantity, its value, whether exactly."""
    wanted, traced = asked or BY_DEFAULT, _stepping(model, inputs, steps)
    _fillable(traced)
    warn_of_one_step(traced, steps)
    with full_precision():
        planner = Planner(traced, *wanted)
        planner.notes += notes_on_steps(traced, steps)
        plan = planner.plan()
        planner.note_losses()
    if refine is None:
        refine = wanted[0] != "gain" and _has_maps(traced)  # a given gain is not changed

    def drawn() -> ModelPlan:
        layers, notes = plan, planner.notes
        if not dry_run:
            fill(traced, layers, generator)
        if refine and not dry_run:
            layers, left = refined(model, inputs, steps, traced, layers)
            notes = [*notes, f"weights are scaled to these rates on the given batch, to within {100 * left:.3g} %"]
        return ModelPlan(tuple(layers), traced.steps, planner.survival, not dry_run, tuple(notes))

    tensors = [(weight.weight, weight.bias) for _, weight in _weights(traced)]
    return drawn() if dry_run else all_or_nothing([generator, tensors], drawn)


def _stepping(model: Any, inputs: Any, steps: int | None) -> Trace:
    """The trace of a model; DomainError unless its neurons step as their attributes say, in this pass."""
    recorder = Recorder()
    traced = watched(model, inputs, steps, in_full_precision(recorder))
    checked(recorder, notes_on_steps(traced, steps))
    return traced


def planned_gains(traced: Trace) -> list[float]:
    """The gains that ``init_model`` would set in a plain chain."""
    planner = Planner(traced, *BY_DEFAULT)
    planner.plan()
    return planner.gains


def _has_maps(traced: Trace) -> bool:
    return any(not hasattr(layer.weights[0], "in_features") for layer in traced.layers)


def _fillable(traced: Trace) -> None:
    words = uncovered(traced) + unlike_their_kind(traced)
    if words:
        more = f" (so are: {'; '.join(words[1:])})" if words[1:] else ""
        rule = f"is not part of a plain chain of weight layers and neurons{more}: set these weights by hand"
        raise DomainError("model", words[0], rule)
    owners: dict[str, Any] = {}
    for name, weight in _weights(traced):
        if not isinstance(dict(weight.named_parameters(recurse=False)).get("weight"), torch.nn.Parameter):
            raise DomainError("model", name, "computes its weight from other parameters: initialise before that is set up")
        if not weight.weight.is_floating_point():
            raise DomainError("model", name, f"has weights of {weight.weight.dtype}: only floating-point weights can be drawn")
        if any(repeats(tensor) for tensor in (weight.weight, weight.bias) if tensor is not None):
            raise DomainError("model", name, "has an expanded weight or bias, one number in several places: clone it")
        if owner := next((owner for owner, other in owners.items() if overlap(weight.weight, other)), None):
            rule = "feeds several neuron layers" if owner == name else f"shares its weights with {owner}"
            raise DomainError("model", name, f"{rule}: each layer needs its own weights")
        owners[name] = weight.weight
    for layer in traced.layers:
        if layer.neuron.threshold <= 0:
            rule = f"has a threshold of {layer.neuron.threshold:g} and fires without input: no gain sets its rate"
            raise DomainError("model", layer.neuron_name, rule)
    for name, words in integrators(traced):
        raise DomainError("model", name, f"{words} leave it out while weights are set")
    for layer in (layer for layer in traced.layers if layer.driven):
        strength = max(float(given.double().square().mean().sqrt()) for given in layer.weight_inputs)
        if not strength:
            raise DomainError("inputs", "zero throughout", f"drives nothing through {layer.name}: give a batch of data")
        if not 1 / STRONGEST < strength < STRONGEST:
            raise DomainError("inputs", f"rms {strength:.3g}", f"is out of scale for {layer.name}: scale them to about 1")


def _weights(traced: Trace) -> list[tuple[str, Any]]:
    """Weight modules of a plain chain and its readouts, with their names."""
    readouts = [(name, weight) for name, weight, *_ in traced.readouts]
    return [(layer.name, layer.weights[0]) for layer in traced.layers] + readouts


def fill(traced: Trace, plan: list[LayerPlan], generator: Any) -> None:
    """Fill every layer in parallel, each from its own generator seeded by the given one, so that the number of threads has no
    effect on the weights.
    """
    weights = [weight for _, weight in _weights(traced)]
    check_range(weights, plan)
    device = "cpu" if generator is None else generator.device
    seeds = torch.randint(2**63 - 1, (len(weights),), generator=generator, device=device).tolist()

    def one(weight: Any, layer: LayerPlan, seed: int) -> None:
        with written(weight):  # which holds for one thread
            own = torch.Generator(weight.weight.device).manual_seed(seed)
            weight.weight.normal_(0.0, layer.weight_std, generator=own)
            if weight.bias is not None:
                weight.bias.zero_()

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        try:
            list(pool.map(one, weights, plan, seeds))
        finally:
            to_the_end([pool.shutdown])  # after an interrupt, drawing must end before weights are restored
    torch.clear_autocast_cache()  # it holds the old weights
