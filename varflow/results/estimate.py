"""A number with its standard error, and by which method it was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from varflow._display import Shown, Table
from varflow.results.export import Exported, evenly


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Estimate(Exported, Shown):
    """A survival, or a gain, width or threshold with which networks reach one, and its error.

    Attributes
    ----------
    quantity : str
        ``survival``, ``escape rate``, ``gain``, ``threshold`` or ``width``.
    value, error : float or ndarray
        The number, and its standard error, by the scatter of what was drawn.
    alive : str
        Which steps count: ``every step``, ``every late step``, ``a late step`` or ``any step``; late: of the second half.
    method : str
        How it was found, with the error that the method has besides.

    Examples
    --------
    >>> import varflow as vf
    >>> network = vf.Network(width=64, depth=4, gain=2.7, neuron=vf.neurons.snntorch_leaky(0.5), steps=2)
    >>> vf.survival(network, alive="any step", networks=50)
    survival (any step alive; 50 networks drawn from the exact chain)
      1  1  ± 0.019
      2  1  ± 0.019
      3  1  ± 0.019
      4  1  ± 0.019
    """

    quantity: str
    value: Any
    error: Any
    alive: str
    method: str

    def _table(self) -> Table:
        title = f"{self.quantity} ({self.alive} alive; {self.method})"
        if np.ndim(self.value) == 0:
            return Table(title, [(f"{self.value:.6g} ± {self.error:.2g}",)])
        rows = [(f"{i + 1}", f"{self.value[i]:.4g}", f"± {self.error[i]:.2g}") for i in evenly(len(self.value), 8)]
        return Table(title, rows)
