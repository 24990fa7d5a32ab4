"""How large the house is: code lines, numbers that stand as constants, and the files that a call enters.

``python benchmarks/house.py`` prints the table of rooms;
``--calls`` the files on the way of some calls, and with ``-v`` their names.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "varflow"
DEFINED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(text: str) -> int:
    """Lines that are not blank and not only comment or docstring."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DEFINED) and ast.get_docstring(node) is not None:
            documented |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(text.split("\n"), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and number not in documented for number, line in lines)


def numbers_in(value: ast.expr | None) -> int:
    """Numbers of an expression; those of tuples, lists, sets and dictionaries one by one, an arithmetic expression as one."""
    match value:
        case ast.Constant(value=bool()):
            return 0
        case ast.Constant(value=int() | float()):
            return 1
        case ast.UnaryOp(operand=operand):
            return numbers_in(operand)
        case ast.BinOp(left=left, right=right):
            return int(bool(numbers_in(left) and numbers_in(right)))
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items) | ast.Dict(values=items):
            return sum(map(numbers_in, items))
    return 0


def constants(text: str) -> int:
    """Numbers assigned to names in capitals, in a module or a class."""
    found = 0
    for scope in ast.walk(ast.parse(text)):
        for node in scope.body if isinstance(scope, ast.Module | ast.ClassDef) else ():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            if any(name.strip("_").isupper() for name in names):
                found += numbers_in(node.value)  # type: ignore[union-attr]
    return found


def rooms() -> Iterator[tuple[str, int, int, int]]:
    """Room, files, code lines and constants."""
    files = sorted(ROOT.rglob("*.py"))
    names = {file: file.relative_to(ROOT).parts for file in files}
    for room in sorted({parts[0] if len(parts) > 1 else "(top)" for parts in names.values()}):
        texts = [f.read_text() for f, parts in names.items() if room == (parts[0] if len(parts) > 1 else "(top)")]
        yield room, len(texts), sum(map(code_lines, texts)), sum(map(constants, texts))


def entered(call: Callable[[], object]) -> list[str]:
    """Files of varflow in which a call enters a function, after a first call; without ``_*.py`` and ``results``."""
    call()
    files: set[str] = set()

    def see(frame, event, argument):
        if event == "call":
            files.add(frame.f_code.co_filename)

    threading.setprofile(see)
    sys.setprofile(see)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    own = [Path(name).relative_to(ROOT) for name in files if name.startswith(f"{ROOT}/")]
    return sorted(str(path) for path in own if not path.name.startswith("_") and path.parts[0] != "results")


def calls() -> dict[str, Callable[[], object]]:
    """The calls whose way is counted; torch's weights leave the last layer of a model silent, those of gain 2 let all fire."""
    from copy import deepcopy

    import torch

    import varflow as vf

    snntorch = __import__("snntorch")
    neuron = vf.neurons.snntorch_leaky(0.5)
    chain = vf.Network(width=100, depth=3, gain=2.7)
    in_time = vf.Network(width=100, depth=3, gain=2.7, neuron=neuron, steps=4)
    torch.manual_seed(0)
    dense = [module for _ in range(2) for module in (torch.nn.Linear(32, 32), snntorch.Leaky(beta=0.5, init_hidden=True))]
    maps = torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), snntorch.Leaky(beta=0.5, init_hidden=True)),
        *(torch.nn.AvgPool2d(2), torch.nn.Conv2d(8, 8, 3, padding=1), snntorch.Leaky(beta=0.5, init_hidden=True)),
    )
    silent = {"chain": (torch.nn.Sequential(*dense), torch.rand(4, 32)), "conv": (maps, torch.rand(4, 1, 8, 8))}
    firing = deepcopy(silent)
    weighted = torch.nn.Linear | torch.nn.Conv2d
    for module in (module for model, _ in firing.values() for module in model if isinstance(module, weighted)):
        vf.init.normal_(module.weight, 2.0)
    return {
        "mean_field": lambda: vf.mean_field(in_time, points=2**8),
        "gradient_flow": lambda: vf.gradient_flow(in_time, points=2**8),
        "finite_width": lambda: vf.finite_width(chain),
        "simulate": lambda: vf.simulate(chain, repeats=2),
        "gain_for_rate": lambda: vf.gain_for_rate(neuron, rate=0.2, steps=8, depth=10),
        "lookup": lambda: vf.lookup(neuron=neuron, rate=0.2, fan_in=100, steps=8, depth=10),
        **{f"audit, {name}": partial(vf.audit, *of, steps=6) for name, of in firing.items()},
        **{f"audit, silent {name}": partial(vf.audit, *of, steps=6) for name, of in silent.items()},
    }


def main() -> None:
    if "--calls" in sys.argv:
        for name, call in calls().items():
            files = entered(call)
            print(f"{name:<19} {len(files):>3} files")
            if "-v" in sys.argv:
                print("   ", *files, sep="\n    ")
        return
    table = list(rooms())
    for row in (*table, ("varflow", *(sum(column) for column in list(zip(*table, strict=True))[1:]))):
        print("{:<14} {:>4} files {:>7} code lines {:>5} constants".format(*row))


if __name__ == "__main__":
    main()
