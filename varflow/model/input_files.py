"""Arrays of numbers from files: ``.npy``, ``.npz`` with one array, ``.csv``. Nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from varflow._checks import DomainError, said
from varflow._memory import room
from varflow._shared import quiet

Made = TypeVar("Made")


def from_file(path: str | Path, make: Callable[[Any], Made]) -> Made:
    """``make(array)`` of the array in a file; a DomainError about its ``x`` becomes one about the file."""
    try:
        file = Path(path)
    except TypeError:
        raise DomainError("path", path, "must be the path of a file") from None
    reader = {".npy": _npy, ".npz": _npz, ".csv": _csv}.get(file.suffix.lower())
    if reader is None:
        raise DomainError("path", str(path), "must be a .npy, .npz or .csv file")
    try:
        if file.exists() and not (file.is_file() or file.is_dir()):  # a pipe would have to be waited for
            raise DomainError("path", str(path), "is no regular file")
        return make(reader(file))
    except FileNotFoundError:
        raise DomainError("path", str(path), "does not exist") from None
    except OSError as error:
        raise DomainError("path", str(path), f"cannot be read: {error.strerror or 'it is empty or damaged'}") from None
    except DomainError as error:
        if error.argument != "x":
            raise
        raise DomainError("path", str(path), f"holds {_one_line(error.value)}, which {error.rule}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DomainError("path", str(path), f"is not a table of numbers: {_reason(error)}") from None


def _one_line(value: Any) -> str:
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else str(value)
    return " ".join(kind.split())


def _reason(error: Exception) -> str:
    """numpy's message in one line, without its advice to allow pickles or to use other numpy options."""
    words = said(error, str)
    if "pickle" in words.lower():
        return "it holds Python objects or is damaged, and nothing is unpickled"
    return words.partition("; use ")[0] or type(error).__name__


def _announced(file: Path, content: IO[bytes], size: int) -> None:
    """Raise if the header announces more bytes than the file has or memory can hold."""
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = header[np.lib.format.read_magic(content)](content)
    except (KeyError, ValueError):  # numpy names the fault when it reads the whole file
        return
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > size and not dtype.hasobject:
        raise DomainError("path", str(file), f"announces {wanted} bytes of numbers in {size} bytes: it is cut off or damaged")
    room("path", str(file), wanted, "its numbers")


def _npy(file: Path) -> Any:
    with file.open("rb") as content:
        _announced(file, content, file.stat().st_size)
    return np.load(file, allow_pickle=False)


def _npz(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:  # raises here on what numpy would try to read as another format
        for entry in archive.infolist():
            with archive.open(entry) as content:
                _announced(file, content, entry.file_size)
    with np.load(file, allow_pickle=False) as archive:
        names = list(archive)
        if len(names) != 1:
            held = f"{len(names)}: {', '.join(names)}" if names else "none"
            raise DomainError("path", str(file), f"must hold one array, not {held}")
        return archive[names[0]]


def _csv(file: Path) -> Any:
    with file.open(encoding="utf-8-sig") as lines:
        first = lines.readline()
    header = bool(first.strip()) and not any(_is_number(cell) for cell in first.split(","))
    with quiet():  # an empty file raises by its shape
        return np.loadtxt(file, delimiter=",", ndmin=2, skiprows=int(header), encoding="utf-8-sig")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
