"""Weights inside a spiking module: recurrent ones, and those through which its input goes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class InnerWeights:
    r"""The map ``W x + b`` inside a module.

    Attributes
    ----------
    weight : tensor, shape (out, in)
    bias : tensor, shape (out,), optional
    parameter : tensor, optional
        What to multiply so that ``weight`` is; None for ``weight`` itself, which shares the memory of the module's parameter.
    at_first : bool
        Whether the bias of recurrent weights acts at the first step, before there are spikes.
    """

    weight: Any
    bias: Any = None
    parameter: Any = None
    at_first: bool = True

    def __call__(self, x: Any) -> Any:
        """The currents for inputs or spikes of shape (…, in)."""
        out = x @ self.weight.detach().to(x.dtype).T
        return out if self.bias is None else out + self.bias.detach().to(x.dtype)

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    @property
    def gain(self) -> float:
        r"""``√(n Var W)``."""
        return math.sqrt(self.in_features) * _moments(self.weight)[1]

    @property
    def mean_gain(self) -> float:
        """``n E[W]``."""
        return self.in_features * _moments(self.weight)[0]

    @property
    def bias_moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the bias."""
        return (0.0, 0.0) if self.bias is None else _moments(self.bias)


def _moments(tensor: Any) -> tuple[float, float]:
    values = tensor.detach().double()
    return float(values.mean()), float(values.std(correction=0))
