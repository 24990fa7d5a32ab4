"""``Monitor``: the measured numbers of an audit during a training, which is not changed by it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from varflow._checks import flag, integer, require
from varflow.results.audited_layer import weights_of
from varflow.results.training import TOTAL, TrainingHistory

OVER_NEURONS = ("firing_rate", "dead_fraction", "saturated_fraction", "dead_gradients")  # means over all neurons


class Monitor(TrainingHistory):
    r"""Firing rates, dead and saturated neurons, membrane variances and gradients of every layer, during a training.

    Call it once per training step. The first call and then every ``every`` steps run one forward pass of the batch without
    gradients, and one with them if asked for, from empty membranes and with dropout off, in the mode (train or eval) that the
    model is in. The training is the same, bit for bit, with and without it. State of the model that cannot be put back
    (iterators, queues, objects with a lock) is named in a warning at the beginning; globals of modules are not followed.

    Parameters
    ----------
    model : torch.nn.Module
        Any model that :func:`varflow.audit` takes.
    batch : tensor, tuple or dict
        Inputs as the model takes them; the same ones each time.
    every : int
        Training steps between measurements.
    steps : int, optional
        For a model that does one step per call: number of calls with the same inputs. A state that it takes and returns is
        passed on (``docs/models.md``).
    neurons : dict, optional
        As in :func:`varflow.audit`.
    gradients : bool
        Measure a backward pass too, from an independent normal readout of the last spikes as in :func:`varflow.audit`.
    loss : callable, optional
        ``loss(output)``, or ``loss(output, targets)``, a scalar, for that backward pass instead of the readout.
    optimizer, targets : optional
        As in :func:`varflow.audit`: what the next step of the optimiser would change is measured too.

    Raises
    ------
    DomainError
        For numbers out of range; at a measurement, for a model or a batch that :func:`varflow.audit` does not take.

    Notes
    -----
    The numbers, per layer and in ``"total"`` over all neurons: ``firing_rate``, mean spikes per neuron and step in the second
    half of the steps; ``dead_fraction`` and ``saturated_fraction``, the fractions of neurons that spike at no step of any input
    and at all; ``variance`` of the membranes at the spike test over neurons, in the second half of the steps, for layers whose
    equations are known; ``raster_overlap``, the mean overlap of the spikes of two inputs. With ``gradients`` or a ``loss`` also
    ``gradient_norm`` by the currents of the layer, ``gradient_gain``, the factor ``χ`` of one step, and ``dead_gradients``, the
    fraction of neurons that no gradient reaches; ``coherence`` of gradients, and ``monitor.learning``: will it learn
    (:class:`varflow.results.Learning`)? With an ``optimizer`` also ``direct``, ``currents``, ``flips`` and ``kept`` of
    its next step, the total of ``direct`` being ``D`` (:class:`varflow.OptimizerStep`). They are those of an audit at that
    moment.

    **Cost**: a measurement takes 1.2 to 1.5 times as long as a plain forward pass of the batch of at least 50 ms, 2.3 times as
    long as one of 10 ms, and 0.5 to 1.2 times as long as a training step of the same batch (``docs/monitoring.md``). With
    gradients it takes 3.5 to 3.8 times as long as a forward and backward pass (50 layers of 512 neurons, 12 steps, batch 64),
    of which coherence is 1.5.

    ``monitor.log(writer)`` sends new measurements to a TensorBoard or Weights & Biases writer, ``monitor.to_csv(path)`` writes
    all, ``monitor.plot()`` shows them, ``monitor.scalars`` is the last one. As a callback of Lightning, with a model ``net`` in
    the module::

        class Activity(lightning.Callback):
            def __init__(self, batch):
                self.batch = batch

            def on_train_start(self, trainer, module):
                self.monitor = vf.Monitor(module.net, self.batch.to(module.device), every=100)

            def on_train_batch_end(self, trainer, module, *args):
                if self.monitor(trainer.global_step):
                    module.log_dict(self.monitor.scalars)

    With several processes, give the module that is wrapped (``model.module``), in one of them.

    Examples
    --------
    >>> import torch, snntorch, varflow as vf
    >>> _ = torch.manual_seed(0)
    >>> hidden = [m for _ in range(3) for m in (torch.nn.Linear(64, 64), snntorch.Leaky(0.5, init_hidden=True))]
    >>> model, batch = torch.nn.Sequential(*hidden), torch.rand(8, 64)
    >>> monitor = vf.Monitor(model, batch, every=10, steps=8)
    >>> [step for step in range(25) if monitor(step)]
    [0, 10, 20]
    >>> monitor.layers
    ['1', '3', '5']
    >>> monitor.to_dict()["total"]["dead_fraction"] == monitor.values("dead_fraction").tolist()
    True
    """

    def __init__(
        self,
        model: Any,
        batch: Any,
        every: int = 100,
        *,
        steps: int | None = None,
        neurons: Mapping[Any, Any] | None = None,
        gradients: bool = False,
        loss: Callable[..., Any] | None = None,
        optimizer: Any = None,
        targets: Any = None,
    ):
        require("torch", "torch")
        from varflow.torch_models.audit.step import check_optimizer
        from varflow.torch_models.tracing.checks import check_loss, check_model, check_neurons, words_of_what_stays

        check_loss(loss, optimizer, targets)
        self.loss, self.backward = loss, flag("gradients", gradients) or loss is not None
        self.optimizer, self.targets = optimizer, targets
        super().__init__(self.backward, optimizer is not None)
        check_model(model)
        if optimizer is not None:
            check_optimizer(model, optimizer)
        check_neurons(neurons)
        self.model, self.batch, self.neurons = model, batch, neurons
        self.every = integer("every", every, minimum=1)
        self.calls = None if steps is None else integer("steps", steps, minimum=1)
        self.passed = 0
        for words in words_of_what_stays(model):
            warnings.warn(words, stacklevel=2)

    def step(self, number: int | None = None) -> bool:
        """Measure if ``every`` steps have passed since the last time; True if it did.

        ``number`` is that of the training step; by default calls are counted, from 0.
        """
        now = self.passed if number is None else integer("number", number, minimum=0)
        self.passed = now + 1
        due = not self.steps or now - self.steps[-1] >= self.every
        if due:
            self.rows.append(self._measured())
            self.steps.append(now)
        return due

    __call__ = step

    def _measured(self) -> dict[str, dict[str, float]]:
        from varflow.torch_models.audit.coherence import learning
        from varflow.torch_models.audit.step import checked_targets, one_step, with_targets
        from varflow.torch_models.tracing.measurements import Recorder
        from varflow.torch_models.tracing.trace import trace
        from varflow.torch_models.tracing.weights import record_moments

        recorder, used = Recorder(), {}

        def record(layer: Any, current: Any, spikes: Any) -> None:
            recorder(layer, current, spikes)
            if self.backward:
                record_moments(used, layer)

        traced = trace(self.model, self.batch, self.calls, record, neurons=self.neurons)
        self.weights |= {layer.neuron_name: weights_of(layer) for layer in traced.layers}
        seen = recorder.results(self.batch)
        row = {name: layer.late for name, layer in seen.items()}
        labels = None if self.targets is None else checked_targets(self.targets, traced, seen, self.calls)
        for name, gradients in self._gradients(traced, used, with_targets(self.loss, labels)).items():
            row[name] |= gradients
        change = {}
        self.learning = learning(self.model, self.batch, self.calls, traced, seen) if self.backward else None
        if self.learning is not None:
            change["coherence"] = self.learning.mean_coherence
            for name, coherence in zip(self.learning.layers, self.learning.coherence, strict=True):
                row[name]["coherence"] = float(coherence)
        if self.optimizer is not None:
            step = one_step(self.model, self.batch, self.calls, traced, seen, self.optimizer, self.loss, labels)
            change["direct"] = step.change
            for name in step.layers:
                row[name] |= step.of(name)
        widths = [layer.width for layer in seen.values()]
        totals = {
            quantity: float(np.average([numbers[quantity] for numbers in row.values()], weights=widths))
            for quantity in OVER_NEURONS
            if quantity in self.quantities
        }
        row[TOTAL] = totals | change
        return {name: {quantity: of.get(quantity, math.nan) for quantity in self.quantities} for name, of in row.items()}

    def _gradients(self, traced: Any, used: dict[str, Any], loss: Any) -> dict[str, dict[str, float]]:
        """Measurements of a backward pass, by layer; none if it is not asked for."""
        if not self.backward:
            return {}
        from varflow.torch_models.audit.gradients import check_gradients, gradients, squared_gain_above

        check_gradients(self.model, *(("gradients", True) if self.loss is None else ("loss", self.loss)))
        measured = gradients(self.model, self.batch, self.calls, traced, loss)
        return {
            layer.neuron_name: {
                "gradient_norm": of.norm,
                "gradient_gain": of.slope * squared_gain_above(traced, layer, used),
                "dead_gradients": of.dead,
            }
            for layer, of in measured.items()
        }
