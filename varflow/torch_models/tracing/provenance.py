"""Where tensors come from in a forward pass: every tensor carries the origin of the graph that made it.

Operations that only move, split or gather numbers leave the origin as it is; all others make a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import Parameter
from torch.overrides import TorchFunctionMode

from varflow.torch_models.tracing.origins import INPUT, Origin, Origins
from varflow.torch_models.tracing.readers import operation

__all__ = ["Provenance", "tensors_in"]

_MOVES = {
    *("reshape", "view", "view_as", "flatten", "ravel", "unflatten", "contiguous", "clone", "detach", "to", "float", "type"),
    *("unsqueeze", "squeeze", "transpose", "swapaxes", "permute", "movedim", "moveaxis", "t", "select", "narrow", "stack"),
    *("vstack", "unbind", "split", "chunk", "tensor_split", "expand", "expand_as", "repeat", "dropout", "requires_grad_"),
    *("__get__", "__getitem__", "__setitem__", "__iter__", "cpu", "cuda", "double", "type_as", "index_select", "alias"),
    *("detach_", "copy_", "reshape_as", "as_strided", "dropout1d", "dropout2d", "dropout3d", "feature_dropout"),
}
_JOINS = {"cat", "concat", "concatenate", "hstack"}
_FRESH = {"zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "full_like", "new_zeros", "new_ones", "new_empty"}


class Provenance(TorchFunctionMode):
    """Gives the results of every torch function their origin, as an attribute of the tensors.

    ``place()`` names the running module. It is disabled in modules whose outputs get their origin explicitly; ``parameters``
    are those that functions were given elsewhere.
    """

    ATTRIBUTE = "_varflow_origin"

    def __init__(self, place: Callable[[], str]):
        super().__init__()
        self.place, self.origins = place, Origins()
        self.parameters: set[int] = set()  # their ids

    def of(self, tensor: Any) -> Origin | None:
        return getattr(tensor, self.ATTRIBUTE, None)

    def put(self, tensor: Any, origin: Origin) -> None:
        setattr(tensor, self.ATTRIBUTE, origin)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self._follow(getattr(func, "__name__", str(func)), args, kwargs or {}, out)
        return out

    def _follow(self, name: str, args: Any, kwargs: Any, out: Any) -> None:
        given = tensors_in((args, kwargs))
        self.parameters.update(id(tensor) for tensor in given if isinstance(tensor, Parameter))
        inputs = tuple(origin for tensor in given if (origin := self.of(tensor)) is not None)
        results = [args[0]] if name == "__setitem__" else tensors_in(out)
        if not inputs or not results or name in _FRESH:
            return
        origin = self._origin(name, args, kwargs, inputs)
        for tensor in results:
            self.put(tensor, origin)

    def _origin(self, name: str, args: Any, kwargs: Any, inputs: tuple[Origin, ...]) -> Origin:
        moves = (name in _MOVES or name in _JOINS) and not ("dropout" in name and _drops(args, kwargs))
        if moves and len(set(inputs)) == 1:
            return inputs[0]
        if all(origin.sources == {INPUT} and not origin.factors for origin in inputs):
            return self.origins.sender(INPUT)  # a function of the input alone counts as input
        place = self.place()
        words = f"{name.strip('_')} in {place}"
        key = name, place, _settings(args, kwargs)
        return self.origins.after(key, inputs, lambda: (operation(name, words, args, kwargs, self.of), words))


def _drops(args: Any, kwargs: Any) -> bool:
    """Whether a dropout is active: ``dropout(x, p, training)``."""
    return bool(kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True)))


def _settings(args: Any, kwargs: Any) -> tuple[Any, ...]:
    """Arguments other than tensors, by which calls of one function in one place differ."""
    values = (*args, *kwargs.values())
    return tuple(value for value in values if isinstance(value, (int, float, str)))


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
