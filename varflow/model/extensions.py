"""``register``: maps, readers and figures of classes from outside, entered where the rooms look, so that none is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from inspect import signature
from typing import Any

from varflow._checks import DomainError, called
from varflow._figures import FIGURES
from varflow.model.drive_kinds import Drive
from varflow.model.graph import enter, from_outside
from varflow.model.signals import Layer

READS: dict[str | type, Callable[..., Any]] = {}  # by name of a function of torch, or by class of a module
PARAMETERS = {
    "forward": ("layer", "received", "visit"),
    "backward": ("layer", "gradients", "visit", "way"),
    "count": ("layer", "received", "counts", "node"),
    "simulate": ("layer", "flows", "walk", "node"),
}


def register(
    kind: type,
    *,
    forward: Callable[..., Any] | None = None,
    backward: Callable[..., Any] | None = None,
    count: Callable[..., Any] | None = None,
    simulate: Callable[..., Any] | None = None,
    reads: Mapping[str | type, Callable[..., Any]] | None = None,
    figure: Callable[..., Any] | None = None,
) -> None:
    """Make a layer, a drive or a result of your own known to theory, simulation, the reader of torch models and ``plots``.

    Call it beside the class, in a module that can be imported: processes of a campaign import it, and so register again.

    Parameters
    ----------
    kind : type
        A subclass of ``vf.layers.Layer`` or ``vf.drives.Drive``; for a figure alone, any class.
    forward : callable, optional
        ``forward(layer, received, visit)`` returns the signal that the layer sends, from the moments of those it receives.
    backward : callable, optional
        ``backward(layer, gradients, visit, way)`` returns the gradients by each signal that it received, in a list.
    count : callable, optional
        ``count(layer, received, counts, node)``: spike counts at finite width.
    simulate : callable, optional
        ``simulate(layer, flows, walk, node)`` returns the ``vf.simulation.Flow`` that it sends; for a drive with no flows, and
        ``node.operation.sends`` says of which shape.
    reads : mapping, optional
        By name of a function of torch, a reader with the parameters of that function; by class of a module, ``read(module)``.
        It returns the layer.
    figure : callable, optional
        What ``vf.plots.draw(result)`` calls.

    Raises
    ------
    DomainError
        For a class of varflow itself, a layer that is no dataclass, maps of what is neither a layer nor a drive, functions with
        other parameters, and names of no function of torch.

    Notes
    -----
    A part that is missing is named where it is needed; layers without ``count`` have no exact chain. A subclass has the maps of
    its parent unless it is registered with maps of its own: then it has these only. See docs/extending_layers.md.

    Examples
    --------
    >>> import varflow as vf
    >>> class Doubled(vf.layers.Layer):
    ...     def after(self, signal, width=None):
    ...         return signal
    ...
    ...     def __repr__(self):
    ...         return "Doubled()"
    >>> vf.register(Doubled, simulate=lambda layer, flows, walk, node: vf.simulation.Flow(2 * flows[0].values))
    >>> spike, linear = vf.layers.Spike(vf.Neuron(1.0)), vf.layers.Linear(gain=1.5)
    >>> network = vf.Network(width=200, layers=[spike, linear, Doubled(), spike])
    >>> bool(vf.simulate(network, repeats=4).firing_rate[:, 1].min() > 0)
    True
    """
    if not isinstance(kind, type) or not from_outside(kind):
        raise DomainError("kind", kind, "must be a class of your own")
    parts = {"forward": forward, "backward": backward, "count": count, "simulate": simulate, "figure": figure}
    given = {part: called(part, function) for part, function in parts.items() if function is not None}
    allowed = {Layer: set(parts), Drive: {"simulate", "figure"}, object: {"figure"}}
    base = next(base for base in allowed if issubclass(kind, base))
    if refused := [part for part in given if part not in allowed[base]]:
        rule = "must be a subclass of vf.layers.Layer" + (", or of vf.drives.Drive," if refused == ["simulate"] else "")
        raise DomainError("kind", kind, f"{rule} to have {refused[0]}")
    if issubclass(kind, Layer) and kind.__repr__ is Layer.__repr__ and not is_dataclass(kind):
        raise DomainError("kind", kind, "must be a dataclass, @dataclass(frozen=True, repr=False), or define __repr__")
    for part in PARAMETERS.keys() & given.keys():
        try:
            signature(given[part]).bind(*PARAMETERS[part])
        except TypeError:
            raise DomainError(part, given[part], f"must take ({', '.join(PARAMETERS[part])})") from None
    for name in reads or {}:
        _check_name(name)
    if "figure" in given:
        FIGURES[kind] = given.pop("figure")
    enter(kind, **given)
    for name, reader in (reads or {}).items():
        READS[name] = called("reads", reader)


def _check_name(name: str | type) -> None:
    """DomainError for a name that no function of torch has."""
    if isinstance(name, str):
        import torch

        inner = (getattr(torch._C, place) for place in ("_special", "_linalg", "_fft"))
        if not any(hasattr(place, name) for place in (torch, torch.nn.functional, torch.Tensor, *inner)):
            raise DomainError("reads", name, "is no function of torch, torch.nn.functional or torch.Tensor")
