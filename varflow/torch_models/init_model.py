"""``init_model``: checks its arguments, loads torch when called, and joins initialisation, verdict and learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from varflow._checks import DomainError, choice, flag, positive_scale, probability, require, scalar
from varflow._progress import Progress, check_progress
from varflow.init.fills import check_generator
from varflow.results import ModelPlan


def init_model(
    model: Any,
    inputs: Any,
    *,
    rate: float | None = None,
    variance: float | None = None,
    gain: float | None = None,
    steps: int | None = None,
    neurons: Mapping[Any, Any] | None = None,
    refine: bool | None = None,
    dry_run: bool = False,
    generator: Any = None,
    surrogate: str = "keep",
    learning_rate: bool = False,
    progress: Progress = False,
) -> ModelPlan:
    r"""Set the weights of a spiking model so that its layers keep firing; biases are set to 0. Healthy layers are kept.

    Unless a rate, variance or gain is asked for, a model that :func:`varflow.audit` calls healthy is left as it is, bit for
    bit, if its outputs fire and its layers without a normalisation have late rates of 0.1 to 0.3, which train equally
    well. In other models the weights, γ and β of a layer after a normalisation are kept if it fires (late rate above 0.015, not
    saturated) and its inputs stay as they are or are normalised over the batch. All else is set. Neurons of attention, which
    have no weights, are set by the scale of the attention, a number or parameter, or, if they are silent and there is none, by
    the rates of q, k and v. If any other neuron without weights is silent, everything is set.

    Weights are drawn from ``N(0, g²/n)`` with ``n`` the fan-in. In a plain chain, layers driven by the input get their own
    gain, from the second moments of the batch over the steps; all others get the gain for which deep layers are at a fixed
    point of

    .. math:: \mathrm{Cov}[I_t, I_{t'}] = g^2\, \mathrm{E}[S_t S_{t'}]

    at the wanted late rate ("late": the second half of the steps), corrected for the widths of the layers. With fewer than 16
    layers of one kind of neuron, each has its own gain, with which it has this rate if the layer before has it. Any other model
    (pools, normalisations, residual sums, attention, neurons that theory does not know) is drawn, measured in forward passes
    of the batch, and scaled layer by layer until each has its late rate: the weights or, where a normalisation with γ
    follows them, γ alone.

    Parameters
    ----------
    model : torch.nn.Module
        Any model with spiking modules of snnTorch, SpikingJelly, Norse, sinabs, or registered by ``vf.init.reads``. The loop
        over time is in its forward, in multi-step modules, or left to the caller (``steps``).
    inputs : tensor, tuple or dict
        A batch as the model takes it: positional arguments as a tuple, keyword arguments as a dict.
    rate : float, optional
        Wanted late firing rate of every layer, in spikes per neuron and step; by default 0.2 for layers that need to be set. If
        given, all layers are set, and a note says where another γ may cost accuracy. Plain chains of 16 or more layers that do
        not keep it (activity dies, or a change of the input by 10 % grows more than ``e`` times over the layers) are planned
        with the nearest rate above that they do; in shorter ones each layer is scaled to it on the batch, and for other inputs
        rates may fall from layer to layer; notes say so. An unattainable rate raises DomainError with the attainable range; a
        rate that networks of these widths do not sustain gives a note with one that they do. In other models a layer that
        cannot have the rate is planned with the nearest one that it has at any scale, and a note says so; layers that read a
        residual sum are planned with rates that grow by 5 % per branch, by less in long sums.
    variance : float, optional
        Alternatively, the wanted late variance of the membranes at the spike test; for plain chains.
    gain : float, optional
        Alternatively, the gain of all layers except those driven by the input.
    steps : int, optional
        For a model that does one step per call: number of calls with the same inputs. A state that it takes and returns is
        passed on (``docs/models.md``).
    neurons : dict, optional
        As in :func:`varflow.audit`.
    refine : bool, optional
        Measure the drawn network on the batch, and scale each layer until it has its planned late rate, in a few forward
        passes. By default for models with convolutions (where single networks deviate from the mean), and if a drawn dense
        network misses its plan by more than 10 %, unless a gain is given. Models that theory does not plan are always scaled.
    dry_run : bool
        Only plan; nothing is changed. Where layers are to be scaled they are drawn, measured and put back.
    generator : torch.Generator, optional
    surrogate : str
        ``"set"``: when the weights are set, give every neuron its own surrogate at the width ``a`` of

        .. math:: \min_a \frac{\max_l ‖δ_l‖}{\min_l ‖δ_l‖}

        with ``‖δ_l‖`` the gradient norms that ``audit(gradients=True)`` predicts, of the layers where it predicts them (not
        below operations without a theory). For models of one surrogate formula whose library has a parameter for the width;
        others are left as they are, and a note says so; so are widths within a factor of 5 of ``a`` in networks with shortcuts
        or batch normalisation, or with few layers (``learning.shallow``). ``dry_run`` then draws weights too.
        ``"keep"``: leave them all.
    learning_rate : bool
        Give ``.learning_rate``, that of Adam for the weights that are set, by :func:`varflow.learning_rate` where this covers
        the model: dense layers, with or without membrane shortcuts.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in measurements of the drawn network, most of which
        may be skipped.

    Returns
    -------
    ModelPlan
        ``set_by`` of each layer says how it was set, ``measured_rate`` and ``fresh_rate`` what its rate is now, on the batch
        and on every second input of 16 or more, which are held out. ``.learning``: will it learn? ``.learning_rate``.

    Raises
    ------
    DomainError
        For inputs that do not fit, a missing ``steps``, a model whose weights must all be kept or in which a layer stays silent
        at any scale.

    Notes
    -----
    **Assumes** independent weights, and many channels in convolutions unless ``refine`` measures them. Weights that are shared,
    computed from other parameters (other than by weight norm) or frozen (``requires_grad=False``, γ too) are kept, and layers
    after them are set for what arrives. Before a normalisation without γ that uses no running statistics the scale of weights
    has no effect: they are kept, and ``.notes`` name the layers. Before one with γ they are kept too: Adam's steps change large
    weights relatively less. Layers without a neuron after them (readouts) get weights with which
    their outputs have variance 1 at every step. Normalisations stay in their mode; rates are those of this mode. Dropout is
    off. Models that draw random numbers have the mean rates of five passes. Weights, biases and γ are set at the end: after an
    error or interrupt the model is unchanged. Neurons with several spikes per step (sinabs with ``MultiSpike``) have no stable
    rate, and single networks drift from the mean over networks: ``.notes`` says over how many layers they keep it.
    **Accuracy** after training by Adam with a rate of 1e-3 (Fashion-MNIST, ten layers, 4 steps, 3 seeds, standard errors 0.5 to
    1.6 %): with BatchNorm 80.2 % with nothing set, 79.2 % with γ set for 0.2, 72.1 % with weights of gain 2.7 as well. Of the
    rates 0.05, 0.1, 0.2, 0.3, in plain networks, with BatchNorm, membrane shortcuts, and convolutions (digits), at 4 and 8
    steps, 0.1 and 0.2 were alike; 0.3 was worse except in convolutions, 0.05 was worse with BatchNorm.
    **Source**: derived here.

    Examples
    --------
    >>> import torch, varflow as vf, snntorch
    >>> layers = [torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True), torch.nn.Linear(64, 10)]
    >>> plan = vf.init.init_model(torch.nn.Sequential(*layers), torch.ones(4, 64), steps=6, rate=0.2)
    >>> [layer.name for layer in plan.layers], round(plan.layers[0].firing_rate, 1)
    (['0', '2'], 0.2)
    """
    require("torch", "torch")
    check_progress(progress)
    from varflow.torch_models.audit.coherence import learning
    from varflow.torch_models.initialise.filling import initialised

    wanted = _wanted(rate, variance, gain)
    flag("dry_run", dry_run)
    if refine is not None:
        flag("refine", refine)
    check_generator(generator)
    surrogates = choice("surrogate", surrogate, ("keep", "set")) == "set"
    rates, verdict = flag("learning_rate", learning_rate), partial(learning, model, inputs, steps)
    plan = initialised(model, inputs, wanted, steps, refine, dry_run, generator, neurons, surrogates, progress, verdict)
    return _with_learning_rate(plan, model, inputs, steps, neurons) if rates and not dry_run else plan


def _with_learning_rate(plan: ModelPlan, model: Any, inputs: Any, steps: int | None, neurons: Any) -> ModelPlan:
    """The plan with a learning rate, or with a note that none is known."""
    from varflow.torch_models.learning_rate import learning_rate

    try:
        return replace(plan, learning_rate=learning_rate(model, inputs, steps=steps, neurons=neurons))
    except DomainError as refusal:
        return replace(plan, notes=(*plan.notes, f"no learning rate is known: {refusal}"))


def _wanted(rate: Any, variance: Any, gain: Any) -> tuple[str, float] | None:
    """The quantity that is given, and its value; None if none is."""
    given = {name: value for name, value in (("rate", rate), ("variance", variance), ("gain", gain)) if value is not None}
    checked = {
        name: probability(name, value, open_ends=True) if name == "rate" else scalar(name, positive_scale(name, value))
        for name, value in given.items()
    }
    if not checked:
        return None
    (name, value), *others = checked.items()
    for other, also in others:
        raise DomainError(other, also, f"conflicts with {name}={value:g}: give one of rate, variance, gain")
    return "firing_rate" if name == "rate" else name, value
