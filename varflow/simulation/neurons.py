r"""Neurons in time: membrane potentials and spikes from currents, step by step.

.. math:: H_t = \beta H_{t-1} (1 - r_H S_{t-1}) + c_t (1 - r_c S_{t-1}) - r_\theta \theta S_{t-1}, \qquad S_t = 1(H_t > \theta)

with ``r_H, r_c, r_θ`` the fractions ``membrane``, ``input``, ``threshold`` of the reset (``r_θ`` times ``β`` unless it is
delayed) and ``c_t`` the filtered and scaled current; what is left of ``H`` after the reset may have a lower bound, and ``H`` be
an integer in units. What adapts,
``w_t = ρ w_{t-1} + j θ S_{t-1} + κ V_{t-1}``, is subtracted, less ``β w_{t-1}`` where the threshold moves and was not reset.
Tensors have the axes (networks, configurations, steps, neurons), parameters the shape (configurations, 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from varflow._checks import DomainError
from varflow.model.neurons import Neuron
from varflow.model.over_neurons import OverNeurons
from varflow.model.resets import ROUNDED, Adaptation, Reset


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The neurons of several configurations; parameters of shape (configurations, 1).

    Where neurons differ, threshold, decay and ``subtracted`` have shape (networks, configurations, neurons), after
    :meth:`drawn`.

    A spike removes the fraction ``membrane`` of the potential, the amount ``subtracted`` and the fraction ``input`` of the next
    current; ``counts`` marks neurons that can spike several times in a step. At least
    ``lowest`` is left of a membrane at the next step. Each is None if no configuration uses it.
    """

    neurons: tuple[Neuron, ...]
    decay: Tensor
    input_scale: Tensor
    threshold: Tensor
    strict: Tensor
    synaptic_decay: Tensor
    membrane: Tensor | None
    subtracted: Tensor | None
    input: Tensor | None
    counts: Tensor | None
    spacing: Tensor | None
    most: Tensor | None
    lowest: Tensor | None
    adaptation: Tensor | None
    refractory: Tensor | None

    @classmethod
    def of(
        cls,
        neurons: Sequence[Neuron],
        device: torch.device,
        dtype: torch.dtype = torch.float64,
        fractions: Tensor | None = None,
        axis: int = 1,
    ) -> Cells:
        def column(value: Callable[[Neuron], Any]) -> Tensor:
            values = [value(neuron) for neuron in neurons]
            if any(np.ndim(one) for one in values):
                return torch.tensor(np.stack(np.broadcast_arrays(*values), axis=axis), dtype=dtype, device=device)
            return torch.tensor(values, dtype=torch.bool if isinstance(values[0], bool) else dtype, device=device)[:, None]

        def unless_zero(value: Callable[[Neuron], Any]) -> Tensor | None:
            return column(value) if any(np.any(value(neuron)) for neuron in neurons) else None

        thresholds, decays = ({n: _drawn(n, name, fractions) for n in neurons} for name in ("threshold", "decay"))

        def bound(n: Neuron) -> Any:
            lowest = n.reset_rule.lowest
            return -np.inf if lowest is None else decays[n] * lowest * thresholds[n]

        return cls(
            tuple(neurons),
            column(decays.__getitem__),
            column(lambda n: n.input_scale),
            column(thresholds.__getitem__),
            column(lambda n: n.strict),
            column(lambda n: n.synaptic_decay),
            unless_zero(lambda n: n.reset_rule.membrane),
            unless_zero(lambda n: (1.0 if n.reset_rule.delayed else decays[n]) * n.reset_rule.threshold * thresholds[n]),
            unless_zero(lambda n: n.reset_rule.input),
            unless_zero(lambda n: n.reset_rule.counts),
            column(lambda n: n.reset_rule.spacing) if any(n.reset_rule.spacing != 1 for n in neurons) else None,
            column(lambda n: float(n.reset_rule.most or np.inf)) if any(n.reset_rule.most for n in neurons) else None,
            column(bound) if any(n.reset_rule.lowest is not None for n in neurons) else None,
            _adaptation(neurons, dtype, device) if any(n.reset_rule.adaptation for n in neurons) else None,
            column(lambda n: float(n.reset_rule.refractory)) if any(n.reset_rule.refractory for n in neurons) else None,
        )

    @property
    def registers(self) -> list[tuple[slice, Any, Tensor]]:
        """Places of configurations whose membranes are integers, their resets, and the units of the integers."""
        one = len(self.neurons) == 1  # for all configurations
        rules: Any = [(slice(None) if one else slice(at, at + 1), neuron.reset_rule) for at, neuron in enumerate(self.neurons)]
        return [(at, rule, self.threshold[..., at, :] / rule.register.threshold) for at, rule in rules if rule.register]

    @property
    def heterogeneous(self) -> bool:
        return any(neuron.heterogeneous for neuron in self.neurons)

    def drawn(self, fractions: Callable[[], Tensor], axis: int = 1) -> Cells:
        """Neurons with thresholds and decays of one layer, at uniform ``fractions`` of shape (2, networks, neurons).

        ``axis`` is that of the configurations.
        """
        if not self.heterogeneous:
            return self
        return Cells.of(self.neurons, self.input_scale.device, self.input_scale.dtype, fractions(), axis)

    def only(self, active: Tensor) -> Cells:
        living = [neuron for neuron, lives in zip(self.neurons, active.tolist(), strict=True) if lives]
        return Cells.of(living, self.decay.device, self.decay.dtype) if living else self


def _adaptation(neurons: Sequence[Neuron], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Coefficients of the adaptation, shape (7, configurations, 1), as they are read by :func:`go_on`."""

    def of(rule: Reset) -> tuple[float, ...]:
        w, subtracted = rule.adaptation or Adaptation(decay=0.0, jump=0.0), 0.0 if rule.delayed else rule.threshold
        lowered = rule.membrane + rule.threshold * w.reset_moves
        return w.decay, w.jump, w.coupling, w.moves_threshold, rule.membrane, subtracted, lowered

    return torch.tensor([of(neuron.reset_rule) for neuron in neurons], dtype=dtype, device=device).T[..., None]


def _drawn(neuron: Neuron, name: str, fractions: Tensor | None) -> Any:
    """A parameter: its number, or where it is a distribution, values of shape (networks, neurons)."""
    parameter = getattr(neuron, name)
    if not isinstance(parameter, OverNeurons):
        return parameter
    if fractions is None:
        return np.nan
    which = ("threshold", "decay").index(name)
    return parameter.frozen.ppf(fractions[which].cpu().numpy())


def respond(
    currents: Tensor,
    cells: Cells,
    dtype: torch.dtype,
    memory: Tensor | None = None,
    recurrence: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Potentials before the reset, which overwrite ``currents``, and spikes in ``dtype`` (spike counts in float64).

    ``memory``, if given, is reused for the spikes. ``recurrence`` turns the spikes of each step into further currents at the
    next.
    """
    steps = currents.shape[2]
    for place, neuron in enumerate(cells.neurons):
        if neuron.longer_filter:
            those = slice(place, place + 1) if len(cells.neurons) > 1 else slice(None)  # one for all configurations
            currents[:, those] = through_synapse(currents[:, those], neuron)
    if any(neuron.synaptic_decay for neuron in cells.neurons):
        for t in range(1, steps):
            currents[:, :, t] += cells.synaptic_decay * currents[:, :, t - 1]
    membranes = currents.mul_(cells.input_scale[:, None])
    if memory is None:
        memory = torch.empty(
            membranes.numel(), dtype=torch.float64 if cells.counts is not None else dtype, device=membranes.device
        )
    spikes = memory[: membranes.numel()].view(membranes.shape)
    H, S = membranes.unbind(2), spikes.unbind(2)
    recurrent, after = 0.0, None
    for t in range(steps):
        if t > 0:
            if recurrence is not None:
                recurrent = cells.synaptic_decay * recurrent + recurrence(S[t - 1])
                H[t].add_(cells.input_scale * recurrent)
            after = go_on(H[t], H[t - 1], S[t - 1].to(H[t].dtype), cells, after)
        fired(H[t], cells, out=S[t])
    return membranes, spikes


def through_synapse(currents: Tensor, neuron: Neuron) -> Tensor:
    """Currents (…, steps, neurons) after a delay or a kernel."""
    steps = currents.shape[-2]
    if neuron.kernel is None:
        late = min(neuron.synaptic_delay, steps)
        return torch.nn.functional.pad(currents, (0, 0, late, 0))[..., :steps, :]
    kernel = torch.tensor(neuron.kernel, dtype=currents.dtype, device=currents.device)
    if kernel.ndim == 2:
        if steps > len(kernel):
            raise DomainError("steps", steps, f"must be at most {len(kernel)}, the steps of the neuron's kernel")
        return kernel[:steps, :steps] @ currents
    filtered = torch.zeros_like(currents)
    for lag, weight in enumerate(kernel[:steps]):
        filtered[..., lag:, :] += weight * currents[..., : steps - lag, :]
    return filtered


def go_on(c: Tensor, H: Tensor, S: Tensor, cells: Cells, after: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Turn the scaled current ``c`` into the potential after ``H`` with spikes ``S``, in place: allocation costs more.

    Returns what lasts after spikes, as it was given for the step before: the adaptation ``w``, and steps ``held`` at 0.
    """
    before, after = after or {}, {}
    if cells.refractory is not None:
        held = (before.get("held", torch.zeros_like(S)) - 1).clamp(min=0)
        after["held"] = torch.where(S > 0, cells.refractory, held)
        S = torch.where(cells.refractory > 0, after["held"].sign(), S)
    if cells.input is not None:
        c.addcmul_(c * cells.input, S, value=-1)
    arrived = c.clone() if cells.registers else c
    if cells.lowest is not None:
        remaining = cells.decay * (H if cells.membrane is None else H - H * cells.membrane * S)
        c.add_(torch.maximum(remaining if cells.subtracted is None else remaining - cells.subtracted * S, cells.lowest))
    else:
        c.addcmul_(cells.decay, H if cells.membrane is None else torch.addcmul(H, H * cells.membrane, S, value=-1))
        if cells.subtracted is not None:
            c.addcmul_(cells.subtracted, S, value=-1)
    for those, rule, unit in cells.registers:
        before_leak = (1 - rule.membrane * S[..., those, :]) * (H[..., those, :] / unit).round()
        subtracted = rule.threshold * rule.register.threshold * S[..., those, :]
        decay, rounded = cells.decay[..., those, :], getattr(torch, ROUNDED[rule.register.rounding])
        left = rounded(decay * before_leak) - subtracted if rule.delayed else rounded(decay * (before_leak - subtracted))
        c[..., those, :] = arrived[..., those, :] + unit * left
    if cells.adaptation is not None:
        decay, jump, coupling, moves, removed, subtracted, lowered = cells.adaptation
        w, remaining = before.get("w", torch.zeros_like(c)), H * (1 - removed * S) - subtracted * cells.threshold * S
        after["w"] = decay * w + jump * cells.threshold * S + coupling * remaining
        c.add_(moves * cells.decay * (1 - lowered * S) * w - after["w"])
    return after


def fired(membrane: Tensor, cells: Cells, *, out: Tensor | None = None) -> Tensor:
    """Spikes of membranes at the test, which integer registers hold from now on."""
    for those, rule, unit in cells.registers:
        register, held = rule.register, membrane[..., those, :]
        integers = (held / unit).round_().clamp_(-register.end, register.end - 1)
        held.copy_(integers / register.threshold * cells.threshold[..., those, :])
    out = torch.empty_like(membrane) if out is None else out
    strict = {neuron.strict for neuron in cells.neurons}
    (torch.gt if True in strict else torch.ge)(membrane, cells.threshold, out=out)
    if len(strict) > 1:
        out[(membrane == cells.threshold) & ~cells.strict] = 1
    if cells.counts is not None:
        number = membrane / cells.threshold
        if cells.spacing is not None:
            number = (number - 1) / cells.spacing + 1
        number = number.floor_().clamp_(min=0)
        if cells.most is not None:
            number = number.minimum(cells.most)
        torch.where(cells.counts, number.to(out.dtype), out, out=out)
    return out


def arriving(spikes: Tensor, cells: Cells) -> Tensor:
    """Spikes as they arrive at the next layer, ``delay`` steps later; none before the first step."""
    if not any(neuron.delay for neuron in cells.neurons):
        return spikes
    later, steps = torch.zeros_like(spikes), spikes.shape[2]
    for place, neuron in enumerate(cells.neurons):
        later[:, place, neuron.delay :] = spikes[:, place, : max(steps - neuron.delay, 0)]
    return later
