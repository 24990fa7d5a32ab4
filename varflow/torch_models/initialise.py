"""``init_model``: checks its arguments and loads torch and the initialisation itself (``filling``) when called."""

from __future__ import annotations

from typing import Any

from varflow._checks import DomainError, flag, positive_scale, probability, require, scalar
from varflow.init.fills import check_generator
from varflow.results import ModelPlan

__all__ = ["init_model"]


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
    require("torch", "torch")
    from varflow.torch_models.filling import initialised

    wanted = _wanted(rate, variance, gain)
    flag("dry_run", dry_run)
    if refine is not None:
        flag("refine", refine)
    check_generator(generator)
    return initialised(model, inputs, wanted, steps, refine, dry_run, generator)


def _wanted(rate: Any, variance: Any, gain: Any) -> tuple[str, float, bool] | None:
    """Quantity, value, and whether the user gave it."""
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
    return "firing_rate" if name == "rate" else name, value, True
