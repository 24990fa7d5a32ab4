"""``read``: checks its arguments and loads torch and the reader itself when called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from varflow._checks import require
from varflow.model.network import Network


def read(model: Any, inputs: Any, *, steps: int | None = None, neurons: Mapping[Any, Any] | None = None) -> Network:
    r"""The network of layers of a spiking torch model, from one forward pass.

    Weights are read by their moments, ``gain = √n · std(w)`` and ``mean_gain = n · mean(w)`` with ``n`` the fan-in, biases by
    their standard deviation and a ``Sum`` that adds their mean, normalisations by the root mean square of γ, the mean of β and
    running statistics. The network is driven by the inputs, and :func:`varflow.mean_field`, :func:`varflow.gradient_flow`,
    :func:`varflow.kernel`, :func:`varflow.simulate` and, if its layers repeat, :func:`varflow.fixed_points` take it. The model
    is unchanged.

    Parameters
    ----------
    model : torch.nn.Module
        Any model that :func:`varflow.audit` takes.
    inputs : tensor, tuple or dict
        A batch as the model takes it.
    steps : int, optional
        For a model that does one step per call: number of calls with the same inputs.
    neurons : dict, optional
        As in :func:`varflow.audit`.

    Returns
    -------
    Network
        A graph of nodes that prints as a table, or, if all are in a row, the network of these ``layers``. ``.unknown`` names
        what is left out because theory does not know it; weights behind such a gap receive what they received in the pass
        (``Measured``). Rows of an input that share weights, such as tokens, count as inputs.

    Raises
    ------
    DomainError
        For models and inputs that :func:`varflow.audit` refuses, and if no layer of neurons is known.

    Notes
    -----
    **Assumes** independent weights; modules that share theirs are joined only where that is exact. The network of a model is
    that whose weights are drawn anew: its mean field is what :func:`varflow.audit` predicts at infinite width (of at most
    eight inputs, with fewer points), but that a BatchNorm over the batch takes the inputs jointly. **Source**: derived here.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> hidden = [m for _ in range(2) for m in (torch.nn.Linear(64, 64, bias=False), snntorch.Leaky(0.5, init_hidden=True))]
    >>> network = vf.read(torch.nn.Sequential(*hidden), torch.rand(8, 64), steps=4)
    >>> network.depth, network.steps, network.unknown
    (2, 4, ())
    """
    require("torch", "torch")
    from varflow.torch_models.tracing.checks import warn_of_one_step
    from varflow.torch_models.tracing.measurements import trace_and_measure
    from varflow.torch_models.tracing.passes import full_precision
    from varflow.torch_models.tracing.read import network_of, read_trace

    measured = trace_and_measure(model, inputs, steps, neurons)
    warn_of_one_step(measured.trace, steps)
    with full_precision():
        return network_of(read_trace(measured.trace, measured.covered), measured.trace.steps, list(measured.unlike.values()))
