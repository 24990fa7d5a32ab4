"""Files and graphs of the neuromorphic intermediate representation (NIR) as primitives and edges, without subgraphs.

A file is looked through before it is read: its size and number of nodes are bounded, and links are refused, since a few bytes
of them can stand for any number of nodes. **Source**: ``pedersen2024``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from varflow._checks import DomainError, VarflowError, real_array, require
from varflow._memory import room

MOST_NODES = 10_000
DEEPEST = 20  # subgraphs within each other
NOT_VALUES = ("input_type", "output_type", "metadata")


@dataclass(frozen=True, slots=True, eq=False)
class Primitives:
    """Values of all primitives by name, with their ``kind``, those of subgraphs as ``subgraph.name``; and which each receives."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    received: dict[str, list[str]] = field(default_factory=dict)

    def add(self, graph: Any, prefix: str = "", within: tuple[int, ...] = ()) -> tuple[str, str]:
        """Add those of a graph; the names of its input and its output."""
        if id(graph) in within or len(within) > DEEPEST:
            raise DomainError("graph", prefix, "is a subgraph within itself")
        ends = {}
        for name, node in graph.nodes.items():
            full, kind = f"{prefix}{name}", type(node).__name__
            if kind == "NIRGraph":
                ends[name] = self.add(node, f"{full}.", (*within, id(graph)))
                continue
            self.values[full], self.received[full], ends[name] = _values(full, kind, node), [], (full, full)
            _few(len(self.values))
        for source, target in dict.fromkeys(map(tuple, graph.edges)):
            if missing := [name for name in (source, target) if name not in ends]:
                raise DomainError("graph", f"edge {source} → {target}", f"has no node {missing[0]!r}")
            self.received[ends[target][0]].append(ends[source][1])
        doors = [
            [f"{prefix}{name}" for name, node in graph.nodes.items() if type(node).__name__ == k] for k in ("Input", "Output")
        ]
        if not all(len(names) == 1 for names in doors[: 1 + bool(prefix)]):
            raise DomainError("graph", prefix or "NIRGraph", "has no single Input and Output: it needs one of each")
        return doors[0][0], doors[1][0] if prefix else ""


def primitives_of(graph: Any) -> tuple[Primitives, str]:
    """The primitives of a ``nir.NIRGraph`` or file, and the name of the input; DomainError in one line if there are none."""
    primitives, shown = Primitives(), repr(str(graph)) if isinstance(graph, (str, Path)) else type(graph).__name__
    try:
        graph = _read(Path(graph)) if isinstance(graph, (str, Path)) else graph
        if not (hasattr(graph, "nodes") and hasattr(graph, "edges")):
            raise DomainError("graph", shown, "must be a nir.NIRGraph, or the path of a file with one")
        return primitives, primitives.add(graph)[0]
    except VarflowError:
        raise
    except Exception as error:  # whatever h5py and nir raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DomainError("graph", shown, f"is no NIR graph that can be read ({reason})") from error


def _read(path: Path) -> Any:
    """The graph of a file."""
    nir, h5py = require("nir", "nir"), require("nir", "h5py")
    with h5py.File(path, "r") as file:
        size, nodes, groups = 0, 0, [file]
        while groups:
            for name in (group := groups.pop()):
                hard = isinstance(group.get(name, getlink=True), h5py.HardLink)
                if not hard or h5py.h5o.get_info(group[name].id).rc > 1:
                    raise DomainError("graph", str(path), f"has a link, {name!r}: write the graph out")
                if isinstance(group[name], h5py.Group):
                    groups.append(group[name])
                else:
                    nodes, size = nodes + (name == "type"), size + group[name].size * group[name].dtype.itemsize
            _few(nodes)
        room("graph", str(path), size, "its numbers")
    return nir.read(path, type_check=False)


def _few(nodes: int) -> None:
    if nodes > MOST_NODES:
        raise DomainError("graph", f"of more than {MOST_NODES} nodes", "is too large")


def _values(name: str, kind: str, node: Any) -> dict[str, Any]:
    """Values of a node, numbers as arrays; an input's shape."""
    if kind in ("Input", "Output"):
        return {"kind": kind, "shape": [int(side) for side in np.ravel(next(iter(node.output_type.values())))]}
    given = {each.name: getattr(node, each.name) for each in fields(node) if each.name not in NOT_VALUES}
    return {"kind": kind, **{key: _numbers(f"{name}.{key}", value) for key, value in given.items()}}


def _numbers(name: str, value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    try:
        return real_array("graph", value.detach() if hasattr(value, "detach") else value)
    except DomainError as error:
        raise DomainError("graph", name, error.rule) from None
