"""Files and graphs of the neuromorphic intermediate representation (NIR) as primitives and edges, without subgraphs.

A file is looked through before it is read: its size and number of nodes are bounded, and links are refused, since a few bytes
of them can stand for any number of nodes. **Source**: ``pedersen2024``.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from varflow._checks import DomainError, real_array, require
from varflow._memory import room

MOST_NODES, DEEPEST = 10_000, 20  # nodes, and subgraphs within each other


class Primitives:
    """The primitives of a graph by name, those of subgraphs as ``subgraph.name``.

    Attributes
    ----------
    values : dict of str to dict
        Numbers of each by name, and its ``kind``.
    received, readers : dict of str to list of str
        What each receives, and what receives it.
    start : str
        The input.
    """

    def __init__(self, graph: Any):
        self.values: dict[str, dict[str, Any]] = {}
        self.received, self.readers = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        self.start = self._add(_read(Path(graph)) if isinstance(graph, (str, Path)) else graph)[0]

    def _add(self, graph: Any, prefix: str = "", depth: int = 0) -> tuple[str, str]:
        """Add those of a graph; the names of its input and output."""
        kinds = {name: type(node).__name__ for name, node in graph.nodes.items()}
        doors = [[name for name in kinds if kinds[name] == kind] for kind in ("Input", "Output")]
        if depth > DEEPEST or len(doors[0]) != 1 or (depth and len(doors[1]) != 1):
            raise DomainError("graph", prefix or "NIRGraph", "is too deep, or has not one Input and, as a subgraph, one Output")
        ends = {name: (f"{prefix}{name}",) * 2 for name in kinds}
        for name, node in graph.nodes.items():
            if kinds[name] == "NIRGraph":
                ends[name] = self._add(node, f"{prefix}{name}.", depth + 1)
            else:
                self.values[ends[name][0]] = _values(ends[name][0], kinds[name], node)
            _few(len(self.values))
        for source, target in dict.fromkeys(map(tuple, graph.edges)):
            if not {source, target} <= kinds.keys():
                raise DomainError("graph", f"edge from {source} to {target}", "joins nodes of which one is missing")
            self.received[ends[target][0]].append(ends[source][1])
            self.readers[ends[source][1]].append(ends[target][0])
        return ends[doors[0][0]][0], ends[doors[1][0]][1] if doors[1] else ""


def _read(path: Path) -> Any:
    """The graph of a file."""
    nir, h5py = require("nir", "nir"), require("nir", "h5py")
    with h5py.File(path, "r") as file:
        size, groups = 0, [file]
        for group in groups:  # which grow
            for name in group:
                link, item = group.get(name, getlink=True), group.get(name)
                if not isinstance(link, h5py.HardLink) or h5py.h5o.get_info(item.id).rc > 1:
                    raise DomainError("graph", str(path), f"has a link, {name!r}: write the graph out")
                if name == "type" and not hasattr(nir, item.asstr()[()]):
                    raise DomainError("graph", item.asstr()[()], "is no primitive of NIR")
                groups += [item] if isinstance(item, h5py.Group) else []
                size += getattr(item, "nbytes", 0)
                _few(len(groups))
        room("graph", str(path), size, "its numbers")
    return nir.read(path, type_check=False)


def _few(nodes: int) -> None:
    if nodes > MOST_NODES:
        raise DomainError("graph", f"{nodes} nodes", f"are too many: at most {MOST_NODES}")


def _values(name: str, kind: str, node: Any) -> dict[str, Any]:
    """Values of a node, numbers as arrays; an input's shape."""
    if kind in ("Input", "Output"):
        return {"kind": kind, "shape": [int(side) for side in np.ravel(next(iter(node.output_type.values())))]}
    numbers: dict[str, Any] = {"kind": kind}
    for key, value in vars(node).items():
        if value is not None and key not in ("input_type", "output_type", "metadata"):
            plain = value.detach() if hasattr(value, "detach") else value
            numbers[key] = plain if isinstance(plain, str) else real_array(f"{name}.{key}", plain)
    return numbers
