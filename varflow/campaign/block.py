"""A block: one piece of work, the computation itself, its result as bytes, and what determines it.

Bytes are JSON, or an npz file for a dict of arrays: exact both ways, and never a pickle. A result is determined by its
arguments, described by numbers, as JSON, and by the version of the code. Equal descriptions mean equal computations. Parsl's
``id_for_memo`` (parsl/dataflow/memoization.py) dispatches on types in the same way and refuses what it does not know;
joblib.Memory hashes pickles instead, which differ between Python versions for equal values. A user's functions and classes are
described as they were loaded, with all that they refer to: a file may have been edited since, and a cell of a notebook is in no
file. So this is the bytecode, with constants, defaults, closures and the globals that it names; of a class the same for its own
members and for those of its bases. Code of installed packages is known by name and version.

The version of code is a digest of sources: the function's own file and all files of every part of varflow (a subpackage or
module) that it imports, directly or through others. Parts that only show, run or write results are left out. Snakemake ("rerun
triggers: code") and joblib.Memory look at the source of the function alone, and reuse results that a change further down has
made wrong.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property, lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from threading import Event
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from varflow._checks import DomainError
from varflow._lazy import LOADED
from varflow._shared import known_by_name

Describe = Callable[[Any], Any]
OF_PYTHON = {"__dict__", "__weakref__", "__doc__", "__module__", "__abstractmethods__", "_abc_impl", "__firstlineno__"}
OF_PYTHON |= {"__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__static_attributes__"}
OF_PYTHON |= {"__dataclass_fields__", "__dataclass_params__", "__match_args__", "__parameters__", "__orig_bases__"}
PACKAGE = Path(__file__).parent.parent
NO_NUMBERS = {"__main__", "_display", "_files", "_hints", "_lazy", "_process", "_progress"}
NO_NUMBERS |= {"campaign", "citations", "cli", "plots"}
LIBRARIES = ("numpy", "scipy", "torch")
IMPORT = re.compile(r"^[ \t]*(?:from|import) ([\w.]+)(?: as \w+| import (.*))?$", re.MULTILINE)  # ast takes ten times as long
FOR_TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)
FRAMEWORKS = ("norse", "snntorch", "spikingjelly")  # if a file outside varflow names them
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


def described(value: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    """A value as JSON: arrays by dtype, shape and digest, objects by class and fields, a user's own classes and functions by
    the code that runs.

    ``memo`` holds objects met before with their descriptions, by identity: networks and inputs that many blocks share are
    read once.

    Raises
    ------
    DomainError
        For a function without a name, or what else no numbers describe.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if id(value) not in memo:
        if isinstance(memo, _Inside):
            memo[id(value)] = value, {"again": len(memo)}
        memo[id(value)] = value, _described(value, memo)  # the value too: as long as it lives, no other has its identity
    return memo[id(value)][1]


class _Inside(dict):
    """The memo within the description of one piece of code, which may refer to itself."""


def _described(value: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcUS":
        data = np.ascontiguousarray(value)
        return {"array": [data.dtype.str, list(data.shape), hashlib.sha256(data.tobytes()).hexdigest()]}
    if isinstance(value, np.generic):
        return described(value.item(), memo)
    if isinstance(value, (bytes, bytearray, complex)):
        return {"number": repr(value)}
    if isinstance(value, (np.random.RandomState, np.random.Generator)):
        return {"object": _name(type(value), memo)}  # scipy's distributions have one; draws here use their own seeds
    if isinstance(value, (list, tuple)):
        return [described(item, memo) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(json.dumps(described(item, memo)) for item in value)}
    if isinstance(value, Mapping):
        return {"mapping": [[described(name, memo), described(item, memo)] for name, item in value.items()]}
    if isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        return {"name": _name(value, memo)}
    if isinstance(memo, _Inside) and (parts := parts_of(value, lambda part: described(part, memo))) is not None:
        return {"parts": parts}
    kind = _name(type(value), memo)
    if is_dataclass(value):
        return {"object": kind, **{f.name: described(getattr(value, f.name), memo) for f in fields(value)}}
    inner = getattr(value, "__wrapped__", None)  # of a function with a cache
    return {"object": kind, "state": [described(part, memo) for part in (*_state(value), inner)]}


def _name(thing: Any, memo: dict[int, tuple[Any, Any]]) -> Any:
    """Module and name, with the version of an installed library or the code of a user's own class or function."""
    module, name = thing.__module__, thing.__qualname__
    inside = isinstance(memo, _Inside)
    if "<" in name and not inside:
        raise DomainError("store", name, "cannot keep it: a function or class without a name of its own cannot be recognised")
    if (version := known_by_name(module)) is not None:
        return f"{module}:{name} {version}".strip()
    within = memo if inside else _Inside({id(thing): (thing, {"again": 0})})
    parts = parts_of(thing, lambda part: described(part, within))
    if parts is None:
        raise DomainError("store", name, "cannot keep it: its code cannot be compared, as that of functions in Python can")
    return [f"{module}:{name}", parts if inside else hashlib.sha256(json.dumps(parts).encode()).hexdigest()]


def _state(value: Any) -> tuple[Any, ...]:
    """The parts that determine an object, by the protocol of ``copy``."""
    if type(value).__module__.startswith("torch") and hasattr(value, "detach"):
        return (value.detach().cpu().numpy(),)
    try:
        reduced = value.__reduce_ex__(2)
        if isinstance(reduced, str):  # a global name
            return (reduced,)
        _, arguments, *items = reduced
    except Exception:  # whatever the object raises
        raise DomainError("store", value, "cannot keep it: the object cannot be described by numbers") from None
    return arguments, *(part if not hasattr(part, "__next__") else list(part) for part in items[:3])


def parts_of(thing: Any, describe: Describe) -> Any:
    """The parts of a user's function, class, method or descriptor, each by ``describe``; None for anything else."""
    match thing:
        case type():
            inside = {name: part for name, part in vars(thing).items() if name not in OF_PYTHON}
            return [[describe(base) for base in thing.__bases__], *([name, describe(inside[name])] for name in sorted(inside))]
        case FunctionType():
            inner = [None if cell == CellType() else cell.cell_contents for cell in thing.__closure__ or ()]  # some are empty
            named = [[name, describe(value)] for name, value in _globals(thing)]
            return [_code(thing.__code__), named, *map(describe, (thing.__defaults__, thing.__kwdefaults__, inner))]
        case MethodType():
            return [describe(thing.__func__), describe(thing.__self__)]
        case staticmethod() | classmethod():
            return [type(thing).__name__, describe(thing.__func__)]
        case property():
            return ["property", *map(describe, (thing.fget, thing.fset, thing.fdel))]
        case cached_property():
            return ["cached_property", describe(thing.func)]
    return None


def _code(code: CodeType) -> list[Any]:
    """Without the lines and the file, so that only changes of what it does count."""
    constants = [_code(constant) if isinstance(constant, CodeType) else _constant(constant) for constant in code.co_consts]
    arguments = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, arguments]


def _constant(value: Any) -> str:
    return f"frozenset {sorted(map(repr, value))}" if isinstance(value, frozenset) else repr(value)


def _globals(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The globals that a function names, and what it names in the user's own modules among them."""
    names = sorted(_names(function.__code__))
    for name in names:
        value = function.__globals__.get(name)
        if not isinstance(value, ModuleType):
            yield name, value
        elif (version := known_by_name(value.__name__)) is not None:
            yield name, f"{value.__name__} {version}"
        else:
            yield from ((f"{name}.{part}", vars(value)[part]) for part in names if part in vars(value))


def _names(code: CodeType) -> set[str]:
    return {*code.co_names}.union(*(_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)))


def code_version(*modules: str) -> str:
    """The digest of everything that these modules compute with, the versions of numpy, scipy and torch included.

    DomainError if a file of varflow was changed after it was loaded: this process then runs other code than the file's.
    """
    # text is compared, for each block: parents of paths take a hundred times as long
    loaded = {getattr(module, "__file__", None) for name, module in list(sys.modules.items()) if name.startswith("varflow")}
    for path in (path for path in _sources(modules) if str(path) in loaded):
        if max((at := path.stat()).st_mtime, at.st_ctime) > LOADED:
            raise DomainError(
                "store", path.name, "was changed after it was loaded: start a new process, which runs the new code"
            )
    return _digest(*modules)


@lru_cache
def _digest(*modules: str) -> str:
    digests, others = {}, ""
    for path in sorted(_sources(modules)):
        inside, content = PACKAGE in path.parents, path.read_bytes()
        digests[str(path.relative_to(PACKAGE)) if inside else path.name] = hashlib.sha256(content).hexdigest()
        others += "" if inside else content.decode()
    libraries = [*LIBRARIES, *(name for name in FRAMEWORKS if name in others)]
    determining = [digests, {name: _installed(name) for name in libraries}]
    return hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()


@cache
def _installed(library: str) -> str | None:
    with suppress(PackageNotFoundError):
        return version(library)


def _sources(modules: tuple[str, ...]) -> set[Path]:
    """The files of these modules, and of all parts and modules that they import, directly or through others."""
    waiting, paths, seen = [_unit(module) for module in modules], set[Path](), set[str]()
    while waiting:
        unit = waiting.pop()
        if unit not in seen:
            seen.add(unit)
            files, imported = _files_and_imports(unit)
            paths.update(files)
            waiting += imported
    return paths


@cache  # most modules have most parts in common
def _files_and_imports(unit: str) -> tuple[list[Path], set[str]]:
    """The files of a unit, and the units that they import."""
    files = _files(unit)
    return files, {_unit(module) for path in files for module in _imported(path, unit)}


def _unit(module: str) -> str:
    """The part of varflow that a module belongs to; a module outside varflow is its own unit."""
    return ".".join(module.split(".")[:2]) if module.startswith("varflow.") else module


def _files(unit: str) -> list[Path]:
    part = unit.partition(".")[2]
    if not unit.startswith("varflow."):
        return [Path(spec.origin)] if unit != "varflow" and (spec := _spec_of(unit)) and spec.origin else []
    if part in NO_NUMBERS:
        return []
    return [path for path in (*(PACKAGE / part).rglob("*.py"), PACKAGE / f"{part}.py") if path.is_file()]


def _spec_of(module: str) -> ModuleSpec | None:
    with suppress(ImportError):  # "module" is a name in a module
        return find_spec(module)


def _imported(path: Path, module: str) -> Iterator[str]:
    """Modules of varflow, or of the package of ``module``, that a file imports anywhere in it, but not for types only."""
    projects = {"varflow", module.partition(".")[0]}
    for source, names in IMPORT.findall(FOR_TYPES.sub("", path.read_text(encoding="utf-8"))):
        if source == "varflow" and PACKAGE not in path.parents:  # public names, which come from any part
            yield from (f"varflow.{part.stem}" for part in PACKAGE.iterdir())
        elif source.partition(".")[0] in projects:
            yield from (source, *(f"{source}.{name}" for name in re.findall(r"\w+", names)))
