"""Initialisation of a whole spiking model: one forward pass gives its structure, theory in time the gains."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from varflow._checks import DomainError, flag, positive_scale, probability, require, scalar
from varflow._restoring import all_or_nothing, to_the_end
from varflow.init.fills import check_generator
from varflow.results import LayerPlan, ModelPlan
from varflow.torch_models.layer_gains import RATE
from varflow.torch_models.planner import Planner
from varflow.torch_models.precision import check_range, full_precision, in_full_precision
from varflow.torch_models.prediction import uncovered
from varflow.torch_models.refine import refined
from varflow.torch_models.refusals import checked, integrators, unlike_their_kind, watched
from varflow.torch_models.steps import notes_on_steps, warn_of_one_step
from varflow.torch_models.tensor_memory import overlap, repeats, written
from varflow.torch_models.traced import Trace
from varflow.torch_models.watch import Recorder

__all__ = ["init_model", "planned_gains"]

STRONGEST = 1e12  # largest root mean square of inputs: float32 squares overflow at 1e19


def init_model(
    model: Any,
    inputs: Any,
    *,
    rate: float | None = None,
    variance: float | None = None,
    gain: float | None = None,
    steps: int | None = None,
    refine: bool | None = None,
    dry_run: bool = False,
    generator: Any = None,
) -> ModelPlan:
    r"""Set all weights of a spiking model so that its layers keep firing; biases are set to 0.

    Weights are drawn from ``N(0, g²/n)`` with ``n`` the fan-in. Layers driven by the input get their own gain, from the second
    moments of the batch over the steps; all others the gain for which deep layers are at a fixed point of

    .. math:: \mathrm{Cov}[I_t, I_{t'}] = g^2\, \mathrm{E}[S_t S_{t'}]

    at the wanted late rate ("late": the second half of the steps), corrected for the widths of the layers.

    Parameters
    ----------
    model : torch.nn.Module
        Linear layers and convolutions followed by spiking modules of snnTorch (Leaky, Synaptic), SpikingJelly (IFNode,
        LIFNode, ParametricLIFNode), Norse (LIFBoxCell, LIFCell, LIF) or sinabs (LIF, IAF). The loop over time is in its
        forward, in multi-step modules, or left to the caller (``steps``).
    inputs : tensor, tuple or dict
        A batch as the model takes it: positional arguments as a tuple, keyword arguments as a dict.
    rate : float, optional
        Wanted late firing rate of every layer, in spikes per neuron and step. By default 0.2, or the nearest rate above that a
        constant gain sustains. An unattainable rate raises DomainError with the attainable range; a rate that networks of these
        widths do not sustain gives a note with one that they do.
    variance : float, optional
        Alternatively, the wanted late variance of the membranes at the spike test.
    gain : float, optional
        Alternatively, the gain of all layers except those driven by the input.
    steps : int, optional
        For a model that does one step per call: number of calls with the same inputs.
    refine : bool, optional
        Measure the drawn network on the batch, and scale each layer's weights until it has its planned late rate, in a few
        forward passes. By default for models with convolutions (where single networks deviate from the mean), unless a gain is
        given.
    dry_run : bool
        Only plan; nothing is changed.
    generator : torch.Generator, optional

    Returns
    -------
    ModelPlan

    Raises
    ------
    DomainError
        For a model that is not a plain chain of supported layers (the message names the module), and inputs that do not fit.

    Notes
    -----
    **Assumes** independent weights, and many channels in convolutions unless ``refine`` measures them. Layers without a neuron
    after them (readouts) get outputs of variance 1 at every step. Dropout is off. Weights and biases are set at the end: after
    an error or interrupt the model is unchanged. Neurons with several spikes per step (sinabs with ``MultiSpike``) have no
    stable rate, and single networks drift from the mean over networks: ``.notes`` says over how many layers they keep it.
    **Source**: derived here.

    Examples
    --------
    >>> import torch, varflow as vf, snntorch
    >>> layers = [torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True), torch.nn.Linear(64, 10)]
    >>> plan = vf.init.init_model(torch.nn.Sequential(*layers), torch.ones(4, 64), steps=6)
    >>> [layer.name for layer in plan.layers], round(plan.layers[0].firing_rate, 1)
    (['0', '2'], 0.2)
    """
    torch = require("torch", "torch")
    wanted = _wanted(rate, variance, gain)
    flag("dry_run", dry_run)
    if refine is not None:
        flag("refine", refine)
    check_generator(generator)
    traced = _stepping(torch, model, inputs, steps)
    _fillable(torch, traced)
    warn_of_one_step(traced, steps)
    with full_precision(torch):
        planner = Planner(traced, *wanted)
        planner.notes += notes_on_steps(traced, steps)
        plan = planner.plan()
        planner.note_losses()
    if refine is None:
        refine = gain is None and _has_maps(traced)  # a given gain is not changed

    def drawn() -> ModelPlan:
        layers, notes = plan, planner.notes
        if not dry_run:
            fill(torch, traced, layers, generator)
        if refine and not dry_run:
            layers, left = refined(torch, model, inputs, steps, traced, layers)
            notes = [*notes, f"weights are scaled to these rates on the given batch, to within {100 * left:.3g} %"]
        return ModelPlan(tuple(layers), traced.steps, planner.survival, not dry_run, tuple(notes))

    tensors = [(weight.weight, weight.bias) for _, weight in _weights(traced)]
    return drawn() if dry_run else all_or_nothing([generator, tensors], drawn)


def _stepping(torch: Any, model: Any, inputs: Any, steps: int | None) -> Trace:
    """The trace of a model; DomainError unless its neurons step as their attributes say, in this pass."""
    recorder = Recorder()
    traced = watched(torch, model, inputs, steps, in_full_precision(torch, recorder))
    checked(torch, recorder, notes_on_steps(traced, steps))
    return traced


def planned_gains(traced: Trace) -> list[float]:
    """The gains that ``init_model`` would set in a plain chain."""
    planner = Planner(traced, *_wanted(None, None, None))
    planner.plan()
    return planner.gains


def _has_maps(traced: Trace) -> bool:
    return any(not hasattr(layer.weights[0], "in_features") for layer in traced.layers)


def _wanted(rate: Any, variance: Any, gain: Any) -> tuple[str, float, bool]:
    """Quantity, value, and whether the user gave it."""
    given = {name: value for name, value in (("rate", rate), ("variance", variance), ("gain", gain)) if value is not None}
    checked = {
        name: probability(name, value, open_ends=True) if name == "rate" else scalar(name, positive_scale(name, value))
        for name, value in given.items()
    }
    if not checked:
        return "firing_rate", RATE, False
    (name, value), *others = checked.items()
    for other, also in others:
        raise DomainError(other, also, f"conflicts with {name}={value:g}: give one of rate, variance, gain")
    return "firing_rate" if name == "rate" else name, value, True


def _fillable(torch: Any, traced: Trace) -> None:
    words = uncovered(traced) + unlike_their_kind(torch, traced)
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


def fill(torch: Any, traced: Trace, plan: list[LayerPlan], generator: Any) -> None:
    """Fill every layer in parallel, each from its own generator seeded by the given one, so that the number of threads has no
    effect on the weights.
    """
    weights = [weight for _, weight in _weights(traced)]
    check_range(torch, weights, plan)
    device = "cpu" if generator is None else generator.device
    seeds = torch.randint(2**63 - 1, (len(weights),), generator=generator, device=device).tolist()

    def one(weight: Any, layer: LayerPlan, seed: int) -> None:
        with written(torch, weight):  # which holds for one thread
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
