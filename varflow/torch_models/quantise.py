"""``quantise_``: checks its arguments, loads torch when called, and rounds the weights of a model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from varflow._checks import DomainError, choice, integer, require
from varflow.results import RoundedModel


def checked_bits(bits: int) -> int:
    """Bits of a weight, 2 to 16; DomainError otherwise."""
    if integer("bits", bits, minimum=2) > 16:
        raise DomainError("bits", bits, "must be at most 16")
    return bits


def quantise_(
    model: Any,
    inputs: Any,
    *,
    bits: int,
    keep: str = "rate",
    per: str = "layer",
    clip: str = "mse",
    steps: int | None = None,
    neurons: Mapping[Any, Any] | None = None,
) -> RoundedModel:
    r"""Round the weights of a spiking model to integers of few bits, times a step with which its layers keep firing.

    Weights ``w`` become ``Δ i`` with integers from ``-(2^(b-1) - 1)`` to ``2^(b-1) - 1``, biases with integers of any size.
    The clip determines the integers; the step is

    .. math:: Δ = \frac{θ}{λ (k - ½)}, \qquad k = \Bigl[\frac{θ}{λ} \sqrt{\frac{\sum i^2}{\sum w^2}} + \frac12\Bigr]

    with ``λ`` the neuron's input scale and ``k`` the integer threshold that preserves the variance of the currents: a neuron
    fires if its integers sum to at least ``k``, and the threshold lies halfway between ``k - 1`` and ``k``.

    Parameters
    ----------
    model : torch.nn.Module
        As :func:`varflow.audit` takes it, in full precision.
    inputs : tensor, tuple or dict
        A batch as the model takes it.
    bits : int
        2 to 16, with the sign.
    keep : str
        ``"rate"``: ``k`` of each layer is moved until the layer has the late rate on the batch that it had before, in forward
        passes, for a trained model. ``"survival"``: ``k`` is rounded down, so that no layer loses gain, for new weights whose
        gain keeps networks alive; nothing is tuned to the batch.
    per : str
        ``"layer"`` or ``"channel"``: each has its own step and integer threshold.
    clip : str
        ``"mse"``, the smallest mean squared error, or ``"minmax"``: the largest weight becomes the largest integer.
    steps, neurons
        As in :func:`varflow.audit`.

    Returns
    -------
    RoundedModel
        Prints as a table; ``.firing_rate .predicted_rate .distance .survival .predicted_survival`` in full precision, rounded
        to the nearest with both clips, and as set; ``.step .integer_threshold .plot()``.

    Raises
    ------
    DomainError
        For values outside these domains, and inputs that do not fit.

    Notes
    -----
    Where a normalisation follows, the scale of weights has no effect: γ is changed instead, and ``k`` is not known. Weights
    that are computed from others, and those within neurons, keep their precision: ``.unrounded`` names them. After an error
    or interrupt the model is unchanged.
    **Assumes** for predictions what :func:`varflow.audit` assumes. **Accuracy** (20 layers of 256 ``snntorch.Leaky``, 20
    steps, two seeds): late rates within 6 % of full precision with 4 bits, 9 % with 3, and 16 % with 2, where rounding to the
    nearest loses 88 to 100 % (``docs/quantising_models.py``). **Source**: derived here; step and integer threshold as in
    :func:`varflow.quantise`.

    Examples
    --------
    >>> import torch, varflow as vf, snntorch
    >>> _ = torch.manual_seed(0)
    >>> hidden = [m for _ in range(5) for m in (torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))]
    >>> model, inputs = torch.nn.Sequential(*hidden), torch.rand(16, 64)
    >>> plan = vf.init.init_model(model, inputs, steps=10)
    >>> report = vf.init.quantise_(model, inputs, bits=3, steps=10)
    >>> report.integer_threshold.astype(int).tolist()
    [4, 4, 4, 5, 4]
    >>> {kind: round(float(rates[-1]), 2) for kind, rates in report.firing_rate.items()}
    {'full': 0.2, 'minmax': 0.23, 'mse': 0.18, 'set': 0.19}
    """
    require("torch", "torch")
    bits = checked_bits(bits)
    channels = choice("per", per, ("layer", "channel")) == "channel"
    choice("keep", keep, ("rate", "survival"))
    choice("clip", clip, ("minmax", "mse"))
    from varflow.torch_models.initialise.refine import late_rates
    from varflow.torch_models.rounding import rounded
    from varflow.torch_models.tracing.checks import ONE_STEP, check_model
    from varflow.torch_models.tracing.measurements import trace_and_measure

    check_model(model)
    measured = trace_and_measure(model, inputs, steps, neurons)
    if ONE_STEP in measured.notes:
        raise DomainError("steps", None, f"is missing: {ONE_STEP}")
    rates = partial(late_rates, model, inputs, steps, measured.trace)
    return rounded(model, measured, rates, bits, keep, channels, clip)
