"""What sets the rate of neurons of attention, which have no weights: the factor on its sums, or the scales of ``q``, ``k`` and
``v``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from varflow.torch_models.initialise.scales import LayerScale
from varflow.torch_models.prediction.signals import LIVE_RATE
from varflow.torch_models.tracing.attention import Attended
from varflow.torch_models.tracing.measurements import LayerMeasurement


@dataclass(slots=True, eq=False)
class Factor:
    """A number that a module multiplies by, scaled as a tensor is."""

    module: Any
    path: str
    name: str

    @property
    def value(self) -> float:
        return float(getattr(self.module, self.name))

    def mul_(self, factor: float) -> None:
        number = getattr(self.module, self.name)
        if isinstance(number, Tensor):
            number.mul_(factor)
        else:
            setattr(self.module, self.name, number * factor)

    def is_inference(self) -> bool:
        number = getattr(self.module, self.name)
        return isinstance(number, Tensor) and number.is_inference()


@dataclass(slots=True, eq=False)
class Below:
    """The scale of another layer, scaled as a tensor is."""

    scale: LayerScale

    def mul_(self, factor: float) -> None:
        self.scale.to(self.scale.factor * factor)

    def is_inference(self) -> bool:
        return False


def scale_attention(model: Any, scales: Sequence[LayerScale], seen: dict[str, LayerMeasurement]) -> None:
    """Give neurons of attention what is scaled: the factor, or where they are silent and it is none of the model's, the scales of
    ``q``, ``k`` and ``v``.
    """
    by_name = {scale.layer.neuron_name: scale for scale in scales}
    for name, scale in by_name.items():
        origin = scale.layer.origin
        if origin is None or not isinstance(origin.operation, Attended):
            continue
        below = [by_name[source] for source in sorted(origin.sources) if source in by_name and by_name[source].scaled]
        if (factor := factor_of(model, origin)) is not None:
            scale.scaled, scale.set_by = [factor], f"measured: {factor.path}, the scale of attention"
        elif below and seen[name].late_rate < LIVE_RATE:
            scale.scaled, scale.through = [Below(each) for each in below], tuple(each.layer.neuron_name for each in below)
            scale.set_by = f"measured: rates of {', '.join(scale.through)}"


def factor_of(model: Any, origin: Any) -> Factor | None:
    """The attribute of the module where attention is computed that is the factor on its sums."""
    value, place = origin.operation.scale, origin.place
    module = dict(model.named_modules()).get(place, model)
    numbers = {**vars(module), **dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    fitting = [name for name, number in numbers.items() if value != 1 and _is(number, value)]
    name = min(fitting, key=lambda each: "scale" not in each, default=None)
    return None if name is None else Factor(module, f"{place}.{name}" if module is not model else name, name)


def _is(number: Any, value: float) -> bool:
    """True for this number, unless it is frozen."""
    if isinstance(number, Tensor):
        return number.numel() == 1 and number.is_floating_point() and math.isclose(float(number), value, rel_tol=1e-6)
    return isinstance(number, float) and math.isclose(number, value, rel_tol=1e-6)
