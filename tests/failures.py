"""What a failed test was about, printed below its traceback: its claim, what was measured and stated, and the seeds."""

import ast
import functools
import inspect
import re
from collections import deque
from contextlib import suppress
from pathlib import Path

import numpy as np

import varflow as vf

TESTS = Path(__file__).parent
SEEDS = re.compile(r"seeds?\s*=\s*[\w.]+|(?:default_rng|manual_seed|RandomState)\([^)]*\)")
made = deque(maxlen=8)  # the last comparisons of the present test


@functools.wraps(vf.Comparison.__init__)
def recorded(self, *args, _init=vf.Comparison.__init__, **fields):
    _init(self, *args, **fields)
    made.append(self)


vf.Comparison.__init__ = recorded


def checked(item, excinfo):
    """Lines on a failed test."""
    frames = [entry for entry in excinfo.traceback if {TESTS, item.path.parent} & {*Path(entry.path).parents}]
    lines = [f"claim: {claim(item)}"]
    lines += [f"seed {one.ensemble.seed}, {one.ensemble.repeats} networks. {one!r}" for one in made]
    if frames:
        lines += [f"{name} = {value}" for name, value in values(frames[-1]).items()]
    seeds = dict.fromkeys(found for source in sources(item, frames) for found in SEEDS.findall(source))
    return [*lines, *([f"seeds: {'; '.join(seeds)}"] if seeds else [])]


def claim(item):
    """The first paragraph of the test's docstring, or its name in words."""
    text = inspect.getdoc(item.obj) or item.originalname.removeprefix("test_").replace("_", " ")
    given = item.name.removeprefix(item.originalname)
    return f"{' '.join(text.split(chr(10) * 2)[0].split())} {given}".rstrip()


def values(entry):
    """The numbers that the failed statement names, as the frame has them: names, attributes and entries, no calls."""
    found = {}
    with suppress(SyntaxError):
        for node in ast.walk(ast.parse(str(entry.statement).strip())):
            if isinstance(node, ast.Name | ast.Attribute | ast.Subscript) and not calls(node):
                with suppress(Exception):
                    value = entry.frame.eval(ast.unparse(node))
                    if np.asarray(value).dtype.kind in "bifc":
                        found[ast.unparse(node)] = np.array2string(np.asarray(value), precision=6, threshold=12)
    return found


def calls(node):
    return any(isinstance(each, ast.Call) for each in ast.walk(node))


def sources(item, frames):
    """Source of the test, of the functions of its file that it uses, and of those in which it failed."""
    names = getattr(getattr(item.obj, "__code__", None), "co_names", ())
    used = (getattr(item.module, name, None) for name in (*names, *item.fixturenames))
    for function in (item.obj, *used, *(entry.frame.code.raw for entry in frames)):
        with suppress(TypeError, OSError):
            yield inspect.getsource(function)
