"""Initialisation of a whole spiking model: theory plans plain chains; any other model is drawn, measured and scaled layer by
layer. Nothing is changed unless all is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import torch

from varflow._checks import DomainError
from varflow._progress import Progress, Report, reporter
from varflow._restoring import all_or_nothing, kept, to_the_end
from varflow.init.fans import fan_in
from varflow.results import LayerPlan, Learning, ModelPlan
from varflow.results.audit import first_of
from varflow.torch_models.initialise.layer_gains import RATE
from varflow.torch_models.initialise.planned_surrogates import with_surrogates
from varflow.torch_models.initialise.planner import BY_DEFAULT, Planner, beyond_a_chain, has_maps, readout_plan
from varflow.torch_models.initialise.refine import HALVED, MOST_PASSES, MOST_SINGLE, Rates, late_rates, rates_of_passes, settle
from varflow.torch_models.initialise.scales import (
    FROZEN,
    HEALTHY,
    OF_GAMMA,
    UNWEIGHTED,
    WITHOUT_GAMMA,
    LayerScale,
    factors_of,
    free_weight,
    healthy_scales,
    leave,
    normed_weight,
    scales_of,
    why_kept,
    written,
)
from varflow.torch_models.tracing.checks import ONE_STEP
from varflow.torch_models.tracing.measurements import LayerMeasurement, trace_and_measure, words_of_chance
from varflow.torch_models.tracing.modules import Neurons
from varflow.torch_models.tracing.passes import full_precision
from varflow.torch_models.tracing.traced import Trace
from varflow.torch_models.tracing.weights import moments_of

STRONGEST = 1e12  # largest root mean square of inputs: float32 squares overflow at 1e19
SCALED = "theory, scaled on the batch"
MISSED = 0.1  # relative deviation from the planned rate above which dense layers are scaled too
REACHED = 0.05  # relative deviation from the rate asked for up to which it counts as reached
INSTEAD = "a factor behind the weights, a normalisation with γ or another threshold changes rates there"
SIGMAS = 8.0  # largest weight of a layer, in standard deviations
COARSEST = 0.01  # largest step between neighbouring numbers of a precision, in standard deviations
RISE, LARGEST_RISE = 0.05, 0.4  # planned growth of rates along residual sums, which only add up: per branch, and in all


@dataclass(slots=True)
class _Draft:
    """A plan to be carried out: its rows with the gains to draw; the late rates ``aims`` to scale layers to, by neuron layer,
    all of them or only if the drawn network misses them by more than ``tolerance``, a relative deviation.
    """

    layers: list[LayerPlan]
    aims: dict[str, float]
    tolerance: float = 0.0
    survival: float = math.nan
    notes: list[str] = field(default_factory=list)
    by_theory: bool = True


def initialised(
    model: Any,
    inputs: Any,
    wanted: tuple[str, float] | None,
    steps: int | None,
    refine: bool | None,
    dry_run: bool,
    generator: Any,
    neurons: Neurons | None,
    surrogates: bool,
    progress: Progress,
    verdict: Callable[[Trace, dict[str, LayerMeasurement]], Learning | None],
) -> ModelPlan:
    """:func:`varflow.init.init_model` after the checks of its arguments; ``wanted``: a quantity and its value. ``verdict``:
    whether a traced model learns.
    """
    traced, seen, _, unlike, notes = trace_and_measure(model, inputs, steps, neurons)
    if ONE_STEP in notes:
        raise DomainError("steps", None, f"is missing: {ONE_STEP}")
    _check_inputs(traced)
    buffers = list(model.buffers())  # to which computing a weight may write, as spectral norm does
    learns = lambda: verdict(traced, seen)  # noqa: E731
    scales, draft = kept(buffers, lambda: _drafted(model, traced, seen, unlike.values(), wanted, refine, learns))
    draft = _with_classes(draft, model, notes)
    if dry_run and draft.tolerance and not surrogates:
        return ModelPlan(tuple(draft.layers), traced.steps, draft.survival, False, tuple(draft.notes))

    def carried_out(report: Report) -> ModelPlan:
        _draw(traced, scales, draft.layers, generator)
        done = count(1)

        def measure() -> Rates:
            rates = late_rates(model, inputs, steps, traced)
            report(next(done))
            return rates

        rates, passes = measure(), 0
        if _misses(draft, rates, traced.outputs):
            rates, passes = settle(scales, draft.aims, measure)
        if traced.random:
            passes_now = rates_of_passes(model, inputs, steps, traced)
            means = [{name: float(of_inputs.mean()) for name, of_inputs in rates.items()} for rates in passes_now]
            draft.notes.append(words_of_chance(means))
        plan = _outcome(traced, scales, draft, rates, passes, filled=not dry_run)
        plan = replace(plan, learning=kept(buffers, learns))
        if not surrogates:
            return plan
        plan = kept(buffers, lambda: with_surrogates(model, inputs, steps, neurons, plan))
        return replace(plan, learning=kept(buffers, learns)) if any(row.surrogate for row in plan.layers) else plan

    modules = [*(each.module for each in factors_of(scales)), *(layer.module for layer in traced.layers if surrogates)]
    changed = [generator, list(model.parameters()), modules]
    with reporter(progress, 1 + MOST_PASSES + MOST_SINGLE * len(scales), "passes") as report:
        plan = (kept if dry_run else all_or_nothing)(changed, lambda: carried_out(report))
        report(1 + MOST_PASSES + MOST_SINGLE * len(scales))
    return plan


def _drafted(
    model: Any,
    traced: Trace,
    seen: dict[str, LayerMeasurement],
    unlike: Iterable[str],
    wanted: tuple[str, float] | None,
    refine: bool | None,
    learns: Callable[[], Learning | None],
) -> tuple[list[LayerScale], _Draft]:
    """The layers' scales and a plan: by theory where that covers the model, else to be measured; what is healthy is left."""
    quantity, value = wanted or BY_DEFAULT
    scales = scales_of(model, traced, seen)
    reasons = list(dict.fromkeys([*beyond_a_chain(traced), *unlike, *_untouched(model, traced, scales)]))
    healthy = healthy_scales(traced, scales, seen, None if wanted else learns)
    whole = len(healthy) == len(scales) and not wanted
    words = leave(healthy, whole, wanted is not None)
    with full_precision():
        if not reasons and not whole:
            planner = Planner(traced, quantity, value)
            if planner.sustains:
                return scales, _planned(planner, refine)
            reasons = planner.notes
        draft = _to_be_measured(traced, scales, quantity, value, [] if whole else reasons)
        return scales, replace(draft, notes=[*words, *draft.notes])


def _with_classes(draft: _Draft, model: Any, notes: list[str]) -> _Draft:
    """The plan with the classes of its modules, a note on frozen weights, and further notes."""
    frozen = [row.name for row in draft.layers if row.set_by.endswith(FROZEN)]
    words = [f"frozen weights are left as they are: {first_of(frozen)}"] if frozen else []
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    rows = [(row, {name: kinds[name] for name in (row.name, row.neuron_name) if name in kinds}) for row in draft.layers]
    layers = [replace(row, classes=classes) for row, classes in rows]
    return replace(draft, layers=layers, notes=[*draft.notes, *words, *notes])


def _check_inputs(traced: Trace) -> None:
    for layer in (layer for layer in traced.layers if layer.driven and layer.weights):
        strength = max(float(x.double().square().mean().sqrt()) for x in layer.weight_inputs)
        if not strength:
            raise DomainError("inputs", "zero throughout", f"drives nothing through {layer.name}: give a batch of data")
        if not 1 / STRONGEST < strength < STRONGEST:
            raise DomainError("inputs", f"rms {strength:.3g}", f"is out of scale for {layer.name}: scale them to about 1")


def _untouched(model: Any, traced: Trace, scales: Sequence[LayerScale]) -> list[str]:
    """Reasons why layers are left as they are; DomainError if all weights are."""
    untouched = [scale.set_by.removeprefix("kept: ") for scale in scales if not scale.scaled]
    free = any(scale.scaled or scale.weights for scale in scales)
    if not free and all(why_kept(name, weight, {}) for name, weight, *_ in traced.readouts):
        bare = "weights are set in Linear and Conv modules and within cells, not as bare parameters"
        advice = bare if untouched[0].endswith(UNWEIGHTED) else INSTEAD
        rule = f"has no layer whose weights can be set: {untouched[0]}; {advice}"
        raise DomainError("model", type(model).__name__, rule)
    return untouched


def _planned(planner: Planner, refine: bool | None) -> _Draft:
    """A plan by theory; with ``refine`` layers are then scaled to the planned rates, by default where that is needed."""
    maps = has_maps(planner.trace)
    tolerance = 0.0 if refine or (refine is None and maps) else MISSED
    if refine is False or (refine is None and planner.quantity == "gain"):  # a given gain is not changed
        tolerance = math.inf
    layers = planner.plan(to_be_scaled=not tolerance and maps)
    planner.note_losses()
    firing = {row.neuron_name: row.firing_rate for row in layers if not row.firing_rate <= row.firing_rate_std}
    aims = {name: rate for name, rate in firing.items() if name and rate > 0}
    return _Draft(layers, aims, tolerance, planner.survival, planner.notes)


def _misses(draft: _Draft, rates: Rates, outputs: set[str]) -> bool:
    """True if layers are to be scaled; the few neurons of an output layer are no reason."""
    hidden = {name: rate for name, rate in draft.aims.items() if name not in outputs}
    deviations = [abs(float(np.mean(rates[name])) / rate - 1) for name, rate in hidden.items()]
    return max(deviations, default=0.0) > draft.tolerance or (bool(draft.aims) and not draft.tolerance)


def _to_be_measured(traced: Trace, scales: Sequence[LayerScale], quantity: str, value: float, reasons: list[str]) -> _Draft:
    """A plan by measurement: gains to begin with, and the rates that layers shall have; without reasons all are kept."""
    if quantity == "variance":
        raise DomainError(quantity, value, f"can only be planned for plain chains of layers; here {reasons[0]}: give rate")
    rate = value if quantity == "firing_rate" else RATE
    aims = _aims(scales, rate) if quantity == "firing_rate" else {}
    layers = []
    for scale in scales:
        neuron_name, aim = scale.layer.neuron_name, aims.get(scale.layer.neuron_name, math.nan)
        neuron = neuron_name, scale.layer.spiking.neuron
        first = scale.first_gain(rate) if scale.weights and scale.by_weights else None
        as_given = quantity == "gain" and not scale.layer.driven
        for name, weight in scale.weights:
            gain = value if as_given else first or moments_of(weight).gain
            set_by = "as given" if as_given else scale.set_by
            layers.append(LayerPlan(name, *neuron, fan_in(weight), gain, aim, set_by=set_by))
        for name, why in scale.kept.items():
            weight = scale.layer.weights[scale.layer.names.index(name)]
            layers.append(LayerPlan(name, *neuron, fan_in(weight), moments_of(weight).gain, aim, set_by=f"kept: {why}"))
        if not scale.weights and not scale.kept:
            layers.append(LayerPlan(neuron_name, *neuron, 0, math.nan, aim, set_by=scale.set_by))
    rates = {scale.layer.neuron_name: rate for scale in scales}
    layers += [readout_plan(*readout, rates, None if reasons else "healthy") for readout in traced.readouts]
    more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    notes = [f"rates are measured, not planned by theory: {reasons[0]}{more}"] if reasons else []
    return _Draft(layers, aims, notes=notes, by_theory=False)


def _aims(scales: Sequence[LayerScale], rate: float) -> dict[str, float]:
    """The late rate for every layer that can be scaled. Layers that read a residual sum have all that earlier ones read, and
    more: their rates are planned to grow a little from branch to branch.
    """
    aims: dict[str, float] = {}
    below = [_branch_below(scales[:l], scale) for l, scale in enumerate(scales)]
    growth = 1 + min(RISE, LARGEST_RISE / max(sum(name is not None for name in below), 1))
    for scale, name in zip(scales, below, strict=True):
        if scale.scaled:
            aims[scale.layer.neuron_name] = rate if name is None else growth * aims.get(name, rate)
    through = {name for scale in scales for name in scale.through}
    return {name: aim for name, aim in aims.items() if name not in through}


def _branch_below(earlier: Sequence[LayerScale], scale: LayerScale) -> str | None:
    """The last earlier layer that reads a part of the same sum."""
    shared = (each.layer.neuron_name for each in reversed(earlier) if set(each.layer.feeding) & set(scale.layer.feeding))
    return next(shared, None)


def _draw(traced: Trace, scales: Sequence[LayerScale], layers: Sequence[LayerPlan], generator: Any) -> None:
    """Draw all weights of the plan that are not kept, nor before a γ that is scaled: a normalisation undoes their scale, but
    steps of Adam change large ones relatively less. γ is 1, and biases are 0.
    """
    modules = {name: weight for scale in scales for name, weight in scale.weights}
    modules |= {name: weight for name, weight, *_ in traced.readouts}
    drawn = [row for row in layers if row.name in modules and not row.set_by.startswith(("kept", OF_GAMMA))]
    fill([modules[row.name] for row in drawn], drawn, generator)
    for _, norm in (each for scale in scales if scale.scaled for each in scale.norms):
        with written(norm):
            norm.weight.fill_(1.0)
            if getattr(norm, "bias", None) is not None:  # RMSNorm has none
                norm.bias.zero_()


def fill(weights: Sequence[Any], plan: Sequence[LayerPlan], generator: Any) -> None:
    """Fill every layer in parallel, each from its own generator seeded by the given one, so that the number of threads has no
    effect on the weights.
    """
    _check_range(weights, plan)
    device = "cpu" if generator is None else generator.device
    seeds = torch.randint(2**63 - 1, (len(weights),), generator=generator, device=device).tolist()

    def one(weight: Any, layer: LayerPlan, seed: int) -> None:
        with written(weight):  # which holds for one thread
            stream = torch.Generator(weight.weight.device).manual_seed(seed)
            drawn = free_weight(weight).normal_(0.0, layer.weight_std, generator=stream)
            if (normed := normed_weight(weight)) is not None:  # its weights are then those drawn
                size = normed[0].shape
                axes = [axis for axis in range(drawn.dim()) if not size or size[axis] == 1]
                normed[0].copy_(torch.linalg.vector_norm(drawn, dim=axes, keepdim=True).reshape(size))
            if weight.bias is not None:
                weight.bias.zero_()

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        try:
            list(pool.map(one, weights, plan, seeds))
        finally:
            to_the_end([pool.shutdown])  # after an interrupt, drawing must end before weights are restored
    torch.clear_autocast_cache()  # it holds the old weights


def _check_range(weights: Sequence[Any], plan: Sequence[LayerPlan]) -> None:
    """Raise for weights that their precision would round to 0 or infinity."""
    for weight, layer in zip(weights, plan, strict=True):
        numbers = torch.finfo(weight.weight.dtype)
        # The smallest step between numbers is that of subnormal ones, smallest_normal · eps.
        if not numbers.smallest_normal * numbers.eps / COARSEST < layer.weight_std < numbers.max / SIGMAS:
            rule = f"needs weights of standard deviation {layer.weight_std:.3g}, beyond {numbers.dtype}: scale the inputs"
            raise DomainError("model", layer.name, rule)


def _outcome(
    traced: Trace, scales: Sequence[LayerScale], draft: _Draft, rates: Rates, passes: int, *, filled: bool
) -> ModelPlan:
    """The plan with present gains and measured rates; DomainError if a layer that must fire does not."""
    last = traced.layers[-1].neuron_name
    filled = filled and any("kept" not in row.set_by for row in draft.layers)
    silent = next((scale for scale in scales if not rates[scale.layer.neuron_name].any()), None)
    if passes and not draft.by_theory and silent is not None and silent.layer.neuron_name not in traced.outputs:
        scale = "at any scale" if silent.scaled else "and cannot be scaled"
        rule = f"stays silent on these inputs {scale} ({silent.set_by}): the model is left as it was"
        raise DomainError("model", silent.layer.neuron_name, rule)
    halved = {name: len(values) >= HALVED for name, values in rates.items()}
    on_batch = {name: float(np.mean(values[::2] if halved[name] else values)) for name, values in rates.items()}
    fresh = {name: float(np.mean(values[1::2])) if halved[name] else math.nan for name, values in rates.items()}
    factors = {scale.layer.neuron_name: scale.factor for scale in scales if scale.by_weights}
    aims = {row.neuron_name: row.firing_rate for row in draft.layers if passes and row.neuron_name in draft.aims}
    missed = {name: aim for name, aim in aims.items() if abs(on_batch[name] / aim - 1) > REACHED}

    def measured(row: LayerPlan) -> LayerPlan:
        name, planned = row.neuron_name, row.firing_rate
        return replace(
            row,
            gain=row.gain if "kept" in row.set_by else row.gain * factors.get(name, 1.0),
            firing_rate=on_batch[name] if name in missed or math.isnan(planned) else planned,
            firing_rate_std=row.firing_rate_std if math.isfinite(row.firing_rate_std) else float(rates[name].std()),
            set_by=SCALED if passes and draft.by_theory else row.set_by,
            measured_rate=on_batch[name],
            fresh_rate=fresh[name],
        )

    layers = [measured(row) if row.neuron_name else row for row in draft.layers]
    survival = draft.survival if math.isfinite(draft.survival) else float((rates[last] > 0).mean())
    notes = [*draft.notes, *_notes(scales, missed, passes, halved[last]), *_unset(scales, rates)]
    return ModelPlan(tuple(layers), traced.steps, survival, filled, tuple(notes))


def _unset(scales: Sequence[LayerScale], rates: Rates) -> list[str]:
    """Notes on layers whose scale cannot be set, and on those that are silent at last."""
    unset = [scale for scale in scales if not scale.scaled and scale.set_by != HEALTHY]
    names = [scale.layer.neuron_name for scale in unset if not scale.set_by.endswith(WITHOUT_GAMMA)]
    words = []
    if names:
        why = next(scale.set_by for scale in scales if scale.layer.neuron_name == names[0])
        means = [rates[name].mean() for name in names]
        span = " to ".join(dict.fromkeys(f"{end(means):.2g}" for end in (min, max)))
        words.append(f"late rates of {first_of(names)} stay as they are, {span} ({why}): {INSTEAD}")
    silent = [name for name, each in rates.items() if not each.any()]
    return words + ([f"silent on these inputs: {first_of(silent)}"] if silent else [])


def _notes(scales: Sequence[LayerScale], missed: dict[str, float], passes: int, halved: bool) -> list[str]:
    """Notes on layers that do not reach their rate, on the mode of normalisations, and on what was measured."""
    kept = "numbers of modules, which no state_dict holds: set them again where the model is made"
    words = [f"{each.path} = {each.value:.3g}, the scale of attention" for each in factors_of(scales)]
    words = [f"{'; '.join(words)}: {kept}"] if words else []
    if missed:
        (name, aim), others = next(iter(missed.items())), f" and {len(missed) - 1} more" if len(missed) > 1 else ""
        words.append(f"a late rate of {aim:.3g} is out of reach for {name}{others}: planned is the nearest one found")
    if fixed := [scale.layer.neuron_name for scale in scales if scale.set_by.endswith(WITHOUT_GAMMA)]:
        rule = "are those that their normalisations give, whatever the scale of weights; a free γ (affine=True) would be set"
        words.append(f"rates of {first_of(fixed)} {rule}")
    gammas = [f"{norm.weight.mean().item():.3g} in {name}" for scale in scales if scale.scaled for name, norm in scale.norms]
    words += [f"mean γ: {', '.join(gammas)}"] if passes and gammas else []
    of_batches = [norm for scale in scales for _, norm in scale.norms if getattr(norm, "running_mean", None) is not None]
    if of_batches:
        mode = "train" if any(norm.training for norm in of_batches) else "eval"
        words.append(f"rates are those of normalisations in {mode} mode")
    if passes:
        inputs = "every second input, fresh rates are those on the others" if halved else "all inputs"
        words.append(f"layers are scaled to these rates on {inputs}, in {passes} forward passes")
    return words
