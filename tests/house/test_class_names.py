"""One name, one class: no two files of the package define classes of one name."""

import ast
from collections import defaultdict
from pathlib import Path

import varflow as vf

PACKAGE = Path(vf.__file__).parent


def homes_of_classes(sources):
    """The files in which each class name is defined, for ``sources`` by file."""
    homes = defaultdict(list)
    for file, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                homes[node.name.lstrip("_")].append(file)
    return homes


def test_each_class_name_stands_once():
    sources = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    assert {name: files for name, files in homes_of_classes(sources).items() if len(files) > 1} == {}


def test_a_second_class_of_a_name_is_seen():
    homes = homes_of_classes({"a.py": "class Walk: ...", "b.py": "class Step:\n    class _Walk: ...", "c.py": "walk = 1"})
    assert homes == {"Walk": ["a.py", "b.py"], "Step": ["b.py"]}
