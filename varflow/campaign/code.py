"""The version of the code that determines a result: a digest of the sources behind a function.

These are the function's own file and all files of every part of varflow (a subpackage or module) that it imports, directly or
through others. Parts that only show, run or write results are left out. Snakemake ("rerun triggers: code") and joblib.Memory
look at the source of the function alone, and reuse results that a change further down has made wrong.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from varflow._checks import DomainError
from varflow._lazy import LOADED

PACKAGE = Path(__file__).parent.parent
NO_NUMBERS = {"__main__", "_display", "_files", "_lazy", "_process", "_progress", "_stopping"}
NO_NUMBERS |= {"campaign", "citations", "cli", "plots"}
LIBRARIES = ("numpy", "scipy", "torch")
IMPORT = re.compile(r"^[ \t]*(?:from|import) ([\w.]+)(?: as \w+| import (.*))?$", re.MULTILINE)  # ast takes ten times as long
FOR_TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)
FRAMEWORKS = ("norse", "snntorch", "spikingjelly")  # if a file outside varflow names them


def code_version(*modules: str) -> str:
    """The digest of everything that these modules compute with, the versions of numpy, scipy and torch included.

    DomainError if a file of varflow was changed after it was loaded: this process then runs other code than the file's.
    """
    loaded = {getattr(module, "__dict__", {}).get("__file__") for module in list(sys.modules.values())}
    for path in (path for path in _sources(modules) if PACKAGE in path.parents and str(path) in loaded):
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
