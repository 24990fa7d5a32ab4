"""A block: one piece of work, what determines its result, the computation itself, and the result as bytes.

Bytes are JSON, or an npz file for a dict of arrays: exact both ways, and never a pickle.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from threading import Event
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow.campaign.fingerprint import code_version, described

ZIP = b"PK"  # with which an npz file begins, and JSON never does


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A function of a module and its keyword arguments; its result is JSON, or a dict of arrays.

    Attributes
    ----------
    function : callable
        A function of a module, which other processes import. If it has an argument ``stop``, that gets the event which asks it
        to stop.
    settings : mapping
        Numbers, text, arrays, networks and their parts, the seed among them.
    units : int
        How much the block counts in reports of progress.
    sources : tuple of str
        Further modules that determine the result, where a function finds them by name.
    """

    function: Callable[..., Any]
    settings: Mapping[str, Any]
    units: int = 1
    sources: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``package.module:function``."""
        return f"{self.function.__module__}:{self.function.__name__}"

    @property
    def version(self) -> str:
        """The digest of the code behind it."""
        return code_version(self.function.__module__, *self.sources)

    def result(self, stop: Event | None = None) -> Any:
        more = {"stop": stop or Event()} if "stop" in signature(self.function).parameters else {}
        return self.function(**self.settings, **more)


def labels(blocks: Iterable[Block]) -> list[tuple[str, str]]:
    """Key and description of each block: the description names function, settings and code, and the key is its digest."""
    memo: dict[int, tuple[Any, Any]] = {}
    pairs = []
    for block in blocks:
        settings = {name: described(value, memo) for name, value in block.settings.items()}
        parts = {"function": block.name, "settings": settings, "code": block.version}
        text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
        pairs.append((hashlib.sha256(text.encode()).hexdigest(), text))
    return pairs


def computed(block: Block, version: str) -> tuple[bytes, float]:
    """The encoded result and the seconds it took, in a worker; DomainError if the worker has other code."""
    if block.version != version:
        raise DomainError("workers", block.name, "is not the same code in a worker: install one version everywhere")
    result, seconds = timed(block)
    return encoded(result), seconds


def timed(block: Block, stop: Event | None = None) -> tuple[Any, float]:
    """The result, and the seconds it took."""
    start = time.perf_counter()
    return block.result(stop), time.perf_counter() - start


def encoded(result: Any) -> bytes:
    """JSON, or npz for a dict with an array in it."""
    if isinstance(result, dict) and any(isinstance(value, np.ndarray) for value in result.values()):
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **result)
        return file.getvalue()
    return json.dumps(result, ensure_ascii=False).encode()


def decoded(content: bytes) -> Any:
    """The result of these bytes."""
    if content.startswith(ZIP):
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    return json.loads(content)
