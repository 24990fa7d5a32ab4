"""A coordinate check: how much one step of an optimiser changes currents, over widths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import varflow as vf
from varflow._checks import DomainError, called, choice, integer, listed
from varflow.testing.initialisers import seeded


def coordinate_check(
    make: Callable[[int], dict[str, Any]],
    *,
    widths: Sequence[int] = (32, 64, 128, 256),
    quantity: str = "currents",
    repeats: int = 3,
    seed: int = 0,
) -> vf.CoordinateCheck:
    r"""Relative change of currents by one step of an optimiser, and its power of the width in each layer.

    .. math:: \ln c_l = a_l + s_l \ln n + \mathrm{noise}

    by least squares over all widths and repeats. In a parametrisation whose learning rate carries over from width to width the
    slopes are 0; with one rate for all widths, Adam has ``direct`` slopes of about 1 behind hidden layers.

    Parameters
    ----------
    make : callable
        ``make(width)`` returns arguments of :class:`varflow.Monitor` by name: ``model``, ``batch``, ``optimizer``, ``loss``,
        and ``targets`` or ``steps`` if needed. Draw batch and targets from a generator of your own: the same for all widths.
    widths : sequence of int
        At least two different ones.
    quantity : str
        ``"currents"``, changed by the whole step, or ``"direct"``, by each layer's own weights.
    repeats : int
        Models of every width, each with new weights.
    seed : int
        Of torch's generator in ``make``.

    Returns
    -------
    CoordinateCheck
        ``.slope`` and its standard error ``.error`` for each layer; ``.change``, ``.plot()``.

    Raises
    ------
    DomainError
        For fewer than two widths or three models in all, models of differing layers, and what ``Monitor`` does not take.

    Notes
    -----
    Flips saturate: behind a few layers of neurons ``currents`` change by a fraction that hardly depends on the rate
    (:func:`varflow.flips`), so look at ``direct`` where depth is more than two or three. **Assumes** independent noise of equal
    size at all widths. **Source**: ``yang2021`` for the idea.

    Examples
    --------
    >>> import snntorch, torch, varflow as vf
    >>> x = torch.rand(32, 16, generator=torch.Generator().manual_seed(0))
    >>> def make(width):
    ...     hidden = [torch.nn.Linear(16, width), snntorch.Leaky(0.5, init_hidden=True)]
    ...     model = torch.nn.Sequential(*hidden, torch.nn.Linear(width, 1))
    ...     torch.nn.init.normal_(model[0].weight, std=0.5)
    ...     optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    ...     return {"model": model, "batch": x, "optimizer": optimizer, "loss": lambda y: y.square().mean(), "steps": 4}
    >>> check = vf.testing.coordinate_check(make, widths=(64, 256), quantity="direct")
    >>> bool(abs(check.slope[0]) < 0.2)  # the number of inputs does not grow with the width
    True
    """
    called("make", make)
    choice("quantity", quantity, ("currents", "direct"))
    seed = integer("seed", seed, minimum=0)
    sizes = [integer("widths", width, minimum=1) for width in listed("widths", widths)]
    if len(set(sizes)) < 2 or len(sizes) * integer("repeats", repeats, minimum=1) < 3:
        raise DomainError("widths", widths, "must be two or more different ones, of three or more models in all")
    monitors = [[_measured(make, width, seed + number) for number in range(repeats)] for width in sizes]
    layers = monitors[0][0].layers
    if any(monitor.layers != layers for of_width in monitors for monitor in of_width):
        raise DomainError("make", make, "must return models of the same layers for all widths")
    change = np.array([[[m.values(quantity, name)[0] for name in layers] for m in of_width] for of_width in monitors])
    slope, error = _slopes(np.repeat(np.log(sizes), repeats), change.reshape(-1, len(layers)))
    return vf.CoordinateCheck(quantity, tuple(layers), np.array(sizes), change, slope, error)


def _measured(make: Callable[[int], dict[str, Any]], width: int, seed: int) -> vf.Monitor:
    with seeded(seed):
        made = make(width)
    if not isinstance(made, dict) or not {"model", "batch", "optimizer", "loss"} <= made.keys():
        raise DomainError("make", type(made).__name__, "must return a dict of model, batch, optimizer, loss, … for vf.Monitor")
    monitor = vf.Monitor(**made)
    monitor(0)
    return monitor


def _slopes(x: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes of ``ln change`` over ``x`` and their standard errors; NaN where something does not change."""
    with np.errstate(divide="ignore", invalid="ignore"):
        y = np.where(change > 0, np.log(change), np.nan)
    x, y = x - x.mean(), y - y.mean(axis=0)
    slope = x @ y / (x @ x)
    return slope, np.sqrt(((y - np.outer(x, slope)) ** 2).sum(axis=0) / (len(x) - 2) / (x @ x))
