"""Free memory, and an error for what would not fit into it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from varflow._checks import DomainError


def room(argument: str, value: Any, size: float, what: str) -> None:
    """Raise if ``what`` would need more memory than is free."""
    if size > 2**26 and size > (free := free_memory()):  # smaller requests are not checked
        raise DomainError(argument, value, f"needs {gibibytes(size)} of memory, with {gibibytes(free)} free, for {what}")


def gibibytes(size: float) -> str:
    """A number of bytes, to be read."""
    return f"{size / 2**30:.3g} GiB"


def free_memory() -> float:
    """Bytes that this process can still allocate (machine, container and process limits); ``inf`` if unknown."""
    machine = _table(Path("/proc/meminfo")).get("MemAvailable", math.inf)
    return max(0.0, min(machine, _of_the_container(), _of_the_process()))


def _of_the_container(folder: Path = Path("/sys/fs/cgroup")) -> float:
    try:
        allowed, taken = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        pages = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return math.inf
    return math.inf if allowed == "max" else float(allowed) - float(taken) + float(pages.get("inactive_file", 0))


def _of_the_process() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    taken, free = _table(Path("/proc/self/status")), math.inf
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        allowed = resource.getrlimit(limit)[0]
        if allowed != resource.RLIM_INFINITY:
            free = min(free, allowed - taken.get(name, 0.0))
    return free


def _table(path: Path) -> dict[str, float]:
    """Bytes by name from a file of lines such as ``VmData:  123 kB``; empty without such a file."""
    try:
        cells = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {cell[0].rstrip(":"): 1024.0 * int(cell[1]) for cell in cells if len(cell) == 3 and cell[2] == "kB"}
