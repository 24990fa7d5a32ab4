"""Docstrings begin with what is returned or done: "True if …", "Variance of …", "Fill with …"."""

import ast
from pathlib import Path

import pytest

import varflow as vf

PACKAGE = Path(vf.__file__).parent
QUESTIONS = ("whether ", "of ", "the same", "what ", "why ", "where ", "which ", "how ")
FRAGMENTS = ("also ", "between ", "for ", "those ", "by ", "on ", "in ", "from ", "with ")


def beginnings(source):
    """First lines of docstrings that ask, refer or begin in the middle, instead of saying what there is."""
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return [text.split("\n")[0] for text in texts if text.lower().startswith(QUESTIONS + FRAGMENTS)]


def test_docstrings_begin_with_what_is_returned_or_done():
    sources = {path.relative_to(PACKAGE): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    assert [f"{file}: {text}" for file, source in sources.items() for text in beginnings(source)] == []


@pytest.mark.parametrize(
    "text", ["Whether it holds.", "Of a series.", "The same for maps.", "What layer 1 receives.", "By inversion."]
)
@pytest.mark.parametrize("form", ['"""{}"""', 'class A:\n    """{}"""', 'def f():\n    def g():\n        """{}"""'])
def test_questions_are_seen(text, form):
    assert beginnings(form.format(text)) == [text]
    assert beginnings(form.format("True if it holds.")) == []
