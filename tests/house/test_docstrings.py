"""Docstrings begin with what is returned or done: "True if …", "Variance of …", "Fill with …"."""

import ast
from pathlib import Path

import pytest

import varflow as vf

PACKAGE = Path(vf.__file__).parent
QUESTIONS = ("whether ", "of ", "the same", "what ")
# Rooms in which docstrings that begin otherwise are left: each of them must have some.
UNFINISHED = ("torch_models",)


def beginnings(source):
    """The first lines of docstrings that ask or refer instead of saying what there is."""
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return [text.split("\n")[0] for text in texts if text.lower().startswith(QUESTIONS)]


def rooms_with_questions():
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = ".".join(path.relative_to(PACKAGE).parent.parts)
        found.setdefault(room, []).extend(f"{path.name}: {text}" for text in beginnings(path.read_text(encoding="utf-8")))
    return {room: lines for room, lines in found.items() if lines}


def test_docstrings_begin_with_what_is_returned_or_done():
    rooms = rooms_with_questions()
    assert {room: lines for room, lines in rooms.items() if not f"{room}.".startswith(within(UNFINISHED))} == {}
    assert [room for room in UNFINISHED if not any(f"{other}.".startswith(within([room])) for other in rooms)] == []


def within(rooms):
    return tuple(f"{room}." for room in rooms)


@pytest.mark.parametrize("text", ["Whether it holds.", "Of a series.", "The same for maps.", "What layer 1 receives."])
@pytest.mark.parametrize("form", ['"""{}"""', 'class A:\n    """{}"""', 'def f():\n    def g():\n        """{}"""'])
def test_questions_are_seen(text, form):
    assert beginnings(form.format(text)) == [text]
    assert beginnings(form.format("True if it holds.")) == []
