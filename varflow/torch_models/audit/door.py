"""``audit``: checks its arguments and loads torch and the audit itself (``report``) when called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from varflow._checks import flag, require
from varflow._progress import Progress, check_progress
from varflow._restoring import kept
from varflow.results import AuditReport
from varflow.torch_models.quantise import checked_bits


def audit(
    model: Any,
    inputs: Any = None,
    loss: Callable[..., Any] | None = None,
    *,
    steps: int | None = None,
    neurons: Mapping[Any, Any] | None = None,
    gradients: bool = False,
    optimizer: Any = None,
    targets: Any = None,
    bits: int | None = None,
    progress: Progress = False,
) -> AuditReport:
    r"""Find which layers of a spiking model fire, which are dead, and why.

    One forward pass measures every neuron layer; theory predicts the same layers from the present gains of the weights, over
    the same inputs and steps; gradients of two halves of the batch tell whether the model will learn. It is left unchanged.
    With ``n`` the fan-in of a layer's weights ``w``, and ``S`` its spikes,

    .. math:: g = \sqrt{n \operatorname{Var} w}, \qquad
              \text{late rate} = \frac{1}{\lceil T/2 \rceil} \sum_{t > \lfloor T/2 \rfloor} \langle S_t \rangle

    Parameters
    ----------
    model : torch.nn.Module
        Any model that runs, with spiking modules of snnTorch, SpikingJelly, Norse or sinabs, or your own.
    inputs : tensor, tuple or dict
        A batch as the model takes it.
    loss : callable, optional
        ``loss(output)``, or ``loss(output, targets)``, a scalar, whose gradients are then measured.
    steps : int, optional
        For a model that does one step per call: number of calls with the same inputs. A state that it takes and returns is
        passed on (``docs/models.md``).
    neurons : dict, optional
        For each of your own modules, by class, name or instance, its neuron as :func:`varflow.neuron` takes it, or None to
        measure it only. A module that turns currents into zeros and ones is recognised without an entry, and measured.
    gradients : bool
        Measure a backward pass too, by default from an independent normal readout ``Σ_t v·S_t`` of the last spikes: per layer
        the gradient norm, the factor ``χ`` of one step, and the fraction of neurons that no gradient reaches.
    optimizer : torch.optim.Optimizer, optional
        One that holds the model's parameters. Its next step, with the gradient of ``loss`` on every second input, is taken,
        measured on the other inputs and undone. ``.step`` says what it changes in each layer and which learning rate fits.
    targets : tensor, optional
        Second argument of ``loss``, one for each input.
    bits : int, optional
        Also predict every layer with weights rounded to this many bits, as :func:`varflow.init.quantise_` would round them:
        ``.rounding``, a :class:`varflow.results.RoundedModel` without measurements.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in calls of the model, including those for gradients,
        which may be skipped; not in those of an optimiser's step.

    Returns
    -------
    AuditReport
        Prints as a table; ``.layers``, ``.first_dead``, ``.cause``, ``.fix_layer``, ``.fix_gain``,
        ``.assert_healthy()``, ``.learning``, ``.step``, ``.plot()``.

    Raises
    ------
    DomainError
        If no module of the model spikes, inputs do not fit, ``neurons`` names no module of it, or ``optimizer`` has none of its
        parameters or makes no single step (LBFGS).

    Notes
    -----
    **Assumes** independent weights. A plain chain of dense layers is predicted at its width, exactly in distribution, with
    uniform biases if the model's are bounded as torch's default is. Any other model is predicted with normal biases at
    infinite width, by the theory of ``vf.layers``: residual sums and products, concatenation, averages and maxima over
    windows, BatchNorm (over the batch, or with running statistics), LayerNorm. Large maps are predicted position by position.
    What theory does not cover is named in ``.notes``; the layer has no prediction then, and the layers after it are predicted
    from what their weights received. Gradient norms are predicted at infinite width, back through the same operations; before
    an operation that is not covered there is no prediction, for instance below a max pool of spikes on a large map, unless
    its convolution is the first or follows a pool. Their squares, means of 16 networks: within 4 standard errors and 5 % for
    three convolutions with averages, or with maxima of spikes or of currents, membrane shortcuts, SEW blocks (``ADD``,
    ``AND``, ``IAND``), concatenation, BatchNorm in both modes, LayerNorm and recurrent neurons; for ``sew_resnet18`` in train
    mode, batch 16, 6 to 28 % above theory, more towards the input, and 39 % in the first layer, below the max pool (4
    networks). Norms in attention, four tokens and four heads of 64 channels: 12 % too large for ``q``, 6 % for ``k``, and 6 %
    too small for ``v`` (32 networks). A model that draws random numbers is measured in five passes, and ``.notes`` have the
    standard error. Membranes are those at the spike test, before the reset, also if a library stores them after it. Dropout is
    off. Whether it will learn (:class:`varflow.results.Learning`) takes a forward and a backward pass of up to 64 inputs, and
    one without gradients where statistics of a batch are held fixed. An optimiser's step is its next one, as it is: the first
    of Adam changes twice as much as the tenth. It takes three forward and three backward passes of half the batch, and a
    forward pass of the weights alone. The model, the optimiser, generators and settings of the process are left as found, but
    for globals of modules and for iterators, queues and objects with a lock, which ``.notes`` name; one thread at a time runs
    a model.
    **Source**: derived here.

    Examples
    --------
    PyTorch's default weights are too small for this neuron:

    >>> import torch, varflow as vf, snntorch
    >>> _ = torch.manual_seed(0)
    >>> hidden = [m for _ in range(5) for m in (torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))]
    >>> model, inputs = torch.nn.Sequential(*hidden), torch.rand(8, 64)
    >>> report = vf.audit(model, inputs, steps=10)
    >>> report.first_dead, report.cause
    ('2', 'below the critical gain')
    >>> plan = vf.init.init_model(model, inputs, steps=10)
    >>> vf.audit(model, inputs, steps=10).healthy
    True
    """
    require("torch", "torch")
    from varflow.torch_models.audit.report import audited
    from varflow.torch_models.given_network import with_module
    from varflow.torch_models.tracing.checks import check_loss, check_model

    check_progress(progress)
    model, inputs, steps = with_module(model, inputs, steps)
    check_loss(loss, optimizer, targets)
    backwards = flag("gradients", gradients)
    check_model(model)
    bits = None if bits is None else checked_bits(bits)
    buffers = list(model.buffers())  # to which computing a weight may write, as spectral norm does
    return kept(buffers, lambda: audited(model, inputs, loss, steps, neurons, backwards, optimizer, targets, bits, progress))
