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
from varflow.torch_models.tracing.measurements import LayerMeasurement
from varflow.torch_models.tracing.origins import attended


@dataclass(slots=True, eq=False)
class Factor:
    """A number, or tensor, by which a module multiplies, scaled in place."""

    module: Any
    place: str
    name: str

    def mul_(self, factor: float) -> None:
        value = getattr(self.module, self.name)
        if isinstance(value, Tensor):
            value.mul_(factor)
        else:
            setattr(self.module, self.name, value * factor)

    def is_inference(self) -> bool:
        value = getattr(self.module, self.name)
        return isinstance(value, Tensor) and value.is_inference()

    def __str__(self) -> str:
        return f"{self.place}{self.name} = {float(getattr(self.module, self.name)):.3g}"


def scale_attention(model: Any, scales: Sequence[LayerScale], seen: dict[str, LayerMeasurement]) -> None:
    """Give neurons of attention what is scaled: the factor, or, where they are silent and no attribute of the model is that, the
    scales of ``q``, ``k`` and ``v``.
    """
    by_name = {scale.layer.neuron_name: scale for scale in scales}
    for name, scale in by_name.items():
        if (origin := scale.layer.origin) is None or not attended(origin):
            continue
        below = [each for each in scales if each.layer.neuron_name in origin.sources and each.scaled]
        if factor := factor_of(model, origin):
            scale.scaled, scale.set_by = [factor], f"measured: {factor.place}{factor.name}, the scale of attention"
        elif below and seen[name].late_rate < LIVE_RATE:
            scale.scaled, scale.through = [*below], tuple(each.layer.neuron_name for each in below)
            scale.set_by = f"measured: rates of {', '.join(scale.through)}"


def factor_of(model: Any, origin: Any) -> Factor | None:
    """The attribute of the module where attention is computed that is the factor on its sums."""
    module, place = dict(model.named_modules()).get(origin.place, model), f"{origin.place}."
    numbers = {**vars(module), **module._parameters, **module._buffers}
    fitting = [name for name, value in numbers.items() if origin.operation.scale != 1 and _is(value, origin.operation.scale)]
    name = min(fitting, key=lambda each: "scale" not in each, default=None)
    return None if name is None else Factor(module, "" if module is model else place, name)


def _is(value: Any, number: float) -> bool:
    """True for a number, or a tensor of one that can be changed."""
    free = isinstance(value, float) or (isinstance(value, Tensor) and value.numel() == 1 and value.is_floating_point())
    return free and math.isclose(float(value), number, rel_tol=1e-6)
