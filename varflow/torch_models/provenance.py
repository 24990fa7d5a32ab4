"""Labels on tensors that record where they come from in a forward pass.

A label names the layers whose outputs went into a tensor since the last weight layer or neuron, and the operations on the way.
Operations that only move, split or gather numbers are not recorded; all others are, with their module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode

__all__ = ["Label", "Provenance", "tensors_in"]

_MOVES = {
    *("reshape", "view", "view_as", "flatten", "ravel", "unflatten", "contiguous", "clone", "detach", "to", "float", "type"),
    *("unsqueeze", "squeeze", "transpose", "swapaxes", "permute", "movedim", "moveaxis", "t", "select", "narrow", "stack"),
    *("vstack", "unbind", "split", "chunk", "tensor_split", "expand", "expand_as", "repeat", "dropout", "requires_grad_"),
    *("__get__", "__getitem__", "__setitem__", "__iter__", "cpu", "cuda", "double", "type_as", "index_select", "alias"),
    *("detach_", "copy_", "reshape_as", "as_strided", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"),
}
_TESTS = {"gt", "ge", "lt", "le", "heaviside", "sign", "__gt__", "__ge__", "__lt__", "__le__", "greater", "greater_equal"}
_JOINS = {"cat", "concat", "concatenate", "hstack"}
_OWN_SCALE = {"layer_norm", "group_norm", "rms_norm", "normalize"}  # the output scale does not depend on that of the input
_OF_THE_BATCH = {"batch_norm", "instance_norm"}  # the same, if their sixth argument (training) is true
_FRESH = {"zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "full_like", "new_zeros", "new_ones", "new_empty"}


@dataclass(frozen=True, slots=True)
class Label:
    """``sources``: names of layers, ``"input"`` for the model's input. ``through``: operations since then, in words.
    ``normalised``: sources whose scale has been normalised away, each with the operation that did it.
    """

    sources: frozenset[str]
    through: tuple[str, ...] = ()
    normalised: frozenset[tuple[str, str]] = frozenset()

    @property
    def scaling(self) -> frozenset[str]:
        """Sources whose scale has an effect."""
        return self.sources - {source for source, _ in self.normalised}


class Provenance(TorchFunctionMode):
    """Propagates labels from the arguments of every torch function to its result, as attributes of the tensors.

    ``place()`` names the running module. It is disabled in modules whose outputs are labelled explicitly. ``raw_weights``
    collects matrices used outside known layers, ``thresholds`` comparisons outside known neurons.
    """

    ATTRIBUTE = "_varflow_label"

    def __init__(self, place: Any):
        super().__init__()
        self.place = place
        self.raw_weights: list[tuple[Any, str]] = []
        self.thresholds: list[tuple[Label, str]] = []

    def of(self, tensor: Any) -> Label | None:
        return getattr(tensor, self.ATTRIBUTE, None)

    def put(self, tensor: Any, label: Label) -> None:
        setattr(tensor, self.ATTRIBUTE, label)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._follow(getattr(func, "__name__", str(func)), args, kwargs or {}, out)
        return out

    def _follow(self, name: str, args: Any, kwargs: Any, out: Any) -> None:
        given = tensors_in((args, kwargs))
        labels = [label for tensor in given if (label := self.of(tensor)) is not None]
        results = [args[0]] if name == "__setitem__" else tensors_in(out)
        if not labels or not results or name in _FRESH:
            return
        if name in _TESTS:
            self.thresholds.append((labels[0], self.place()))
        self.raw_weights += [(t, self.place()) for t in given if isinstance(t, Parameter) and t.dim() > 1]
        label = _joined(name, labels, self.place(), _takes_out_scale(name, args, kwargs))
        for tensor in results:
            self.put(tensor, label)


def _takes_out_scale(name: str, args: Any, kwargs: Any) -> bool:
    if name not in _OF_THE_BATCH:
        return name in _OWN_SCALE
    by_default = args[5] if len(args) > 5 else name == "instance_norm"
    return bool(kwargs.get("training", kwargs.get("use_input_stats", by_default)))


def _joined(name: str, labels: list[Label], place: str, normalising: bool) -> Label:
    sources = frozenset().union(*(label.sources for label in labels))
    scaling = frozenset().union(*(label.scaling for label in labels))
    normalised = frozenset(pair for label in labels for pair in label.normalised if pair[0] not in scaling)
    through = tuple(dict.fromkeys(step for label in labels for step in label.through))
    harmless = name in _MOVES or (name in _JOINS and len(sources) == 1)
    if harmless:
        return Label(sources, through, normalised)
    step = f"{name.strip('_')} in {place}"
    if normalising:
        normalised = frozenset((source, step) for source in sources)
    return Label(sources, through if step in through else (*through, step), normalised)


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if not isinstance(tree, (tuple, list)):
        return []
    for item in tree:
        if type(item) is not Tensor:
            return [tensor for item in tree for tensor in tensors_in(item)]
    return list(tree)  # the common case, faster
