"""What the documentation says is run: doctests, README, examples in help texts, sources, versions."""

import ast
import doctest
import importlib
import inspect
import itertools
import pkgutil
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from wording import same_text

import varflow as vf
from varflow.cli import app

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "validation" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
}
MODULES = ["varflow", *(module.name for module in pkgutil.walk_packages(vf.__path__, "varflow."))]
MODULES = sorted(set(MODULES) - {"varflow.__main__"})


def module(name):
    """The module itself, also where a function of its package has its name."""
    try:
        importlib.import_module(name)
    except ImportError as missing:
        pytest.skip(f"without its extra: {missing}")
    return importlib.import_module("sys").modules[name]


def doctests(name):
    tests = doctest.DocTestFinder(exclude_empty=True).find(module(name), name)
    return [test for test in tests if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    runner = doctest.DocTestRunner(verbose=False)
    report = []
    for test in doctests(name):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_most_public_functions_have_examples():
    """The finder finds: an empty list would make the test above pass on nothing."""
    tested = {test.name.rpartition(".")[2] for name in MODULES for test in doctests(name)}
    public = {name for name in vf.__all__ if inspect.isfunction(getattr(vf, name))}
    assert public - tested == set()


def test_a_wrong_example_is_seen():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1


BLOCKS = {
    f"{name}, block {number}": block
    for name, page in PAGES.items()
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE), start=1)
}
TEXT = "\n".join(PAGES.values())
COMMANDS = [
    line.partition("#")[0].strip().strip("`")
    for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("varflow ")
] + [found.strip("`") for found in re.findall(r"`varflow [a-z-]+ [^`\n]*`", TEXT)]


def imported(block):
    """Libraries that an example imports."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


OUTPUTS = {  # blocks of text directly below an example: what it prints
    f"{name}, block {page[: found.start()].count('```python') + 1}": found[1]
    for name, page in PAGES.items()
    for found in re.finditer(r"^```python\n(?:(?!^```).)*?^```\n\n```text\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)
}
LONG = {"docs/critical_gain.md, block 1"}  # a picture of three critical gains over 20 steps


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in BLOCKS])
def test_block_of_a_page(name, tmp_path, monkeypatch, capsys):
    block = BLOCKS[name]
    for library in imported(block):  # some are in no extra that the tests ask for, such as spikingjelly
        pytest.importorskip(library, reason=f"the example needs {library}, which is not installed")
    if "matplotlib" in block:
        pytest.importorskip("matplotlib")
    if "vf.simulate" in block or "vf.validate" in block:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    printed = {}

    def noted(*values):
        line = sys._getframe(1).f_lineno
        printed[line] = f"{printed.get(line, '')} {' '.join(map(str, values))}"

    exec(compile(block, name, "exec"), {"__name__": "__main__", "print": noted})
    assert "print(" not in block or "".join(printed.values()).strip()
    assert unprinted(block, printed) == UNPRINTED.get(name, [])
    if name in OUTPUTS:
        assert same_text("\n".join(text[1:] for text in printed.values()) + "\n", OUTPUTS[name])


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_fits_its_column(name):
    assert [line for line in BLOCKS[name].splitlines() if len(line) > 88] == []


def test_a_wrong_output_is_seen():
    assert same_text("rate 0.201, 6.37e+03 spikes\n", "rate  0.2, 6.36e+03 spikes\n")
    for wrong in ("rate 0.5, 6.36e+03 spikes", "rates 0.2, 6.36e+03 spikes", "rate 0.2, 6.3e+03 spikes"):
        assert not same_text(wrong, "rate 0.2, 6.36e+03 spikes")
    assert "README.md, block 1" in OUTPUTS


# Decimals in the comment of a line that are of another line or of a text: what the number is compared with.
UNPRINTED = {
    "docs/blocks.md, block 3": ["0.19", "6.034"],
}


def unprinted(block, printed):
    """Decimals in the comments of lines that print, to which no number in what was printed rounds."""
    wrong = []
    for line, text in printed.items():
        numbers = [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e[-+]?\d+)?", text)]
        for said in re.findall(r"-?\d+\.\d+", comment(block, line)):
            half = 0.5001 * 10.0 ** -len(said.partition(".")[2])
            if not any(abs(number - float(said)) <= half for number in numbers):
                wrong.append(said)
    return wrong


def comment(block, line):
    """The comment beside a statement, and the one directly below it."""
    lines = block.splitlines()
    ends = [node.end_lineno for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Expr) and node.lineno == line]
    below = itertools.takewhile(lambda text: text.lstrip().startswith("# "), lines[max([line, *ends]) :])
    return " ".join([lines[line - 1].partition("  # ")[2], *below])


def test_a_wrong_number_in_a_comment_is_seen():
    assert unprinted("print(\n    1 / 3\n)\n# 0.333 and\n# 0.34\n\n# 0.5", {1: "0.33333"}) == ["0.34"]
    block = "print(1 / 3)  # 0.333, at most 0.34\nprint(2)  # 2, not 2.5"
    assert unprinted(block, {1: "0.33333", 2: "2"}) == ["0.34", "2.5"]
    assert unprinted(block, {1: "0.33333 0.3399", 2: "2 2.5"}) == []


def test_the_libraries_of_an_example_are_seen():
    """The skip above names what is missing and nothing else: an example of installed libraries is run."""
    block = "import torch\nfrom spikingjelly.activation_based import layer\nimport numpy.linalg as la\n"
    assert list(imported(block)) == ["torch", "spikingjelly", "numpy"]
    needed = {library for block in BLOCKS.values() for library in imported(block)} - {"spikingjelly", "dataclasses"}
    assert needed <= {"varflow", "validation"} | {
        "torch",
        "numpy",
        "scipy",
        "sklearn",
        "snntorch",
        "mpmath",
        "sympy",
        "norse",
        "nir",
        "matplotlib",
    }


def parsed(line):
    """A command line read as the command would read it, and not run."""
    _, command, *arguments = shlex.split(line)
    group = typer.main.get_command(app)
    return group.commands[command].make_context(command, arguments)


def help_examples():
    for name, command in typer.main.get_command(app).commands.items():
        lines = [line.strip() for line in (command.help or "").splitlines() if line.strip().startswith("varflow ")]
        assert len(lines) >= 2, f"{name} --help has too few examples"
        assert all(line.startswith(f"varflow {name}") for line in lines)
        yield from lines


@pytest.mark.parametrize("line", sorted({*COMMANDS, *help_examples()}))
def test_command_in_readme_or_help_is_understood(line):
    assert parsed(line).params


def test_a_wrong_command_is_not_understood():
    with pytest.raises(typer.BadParameter.__bases__[0]):
        parsed("varflow lookup --treshold 1")
    assert BLOCKS
    assert COMMANDS


def cited():
    """Keys such as micheli2024 in double backticks, anywhere in the sources."""
    for path in Path(vf.__file__).parent.rglob("*.py"):
        for key in re.findall(r"``([a-z]+(?:19|20)\d\d[a-z]?)``", path.read_text(encoding="utf-8")):
            yield key, path.name


@pytest.mark.parametrize("key", sorted({key for key, _ in cited()}))
def test_a_cited_source_has_an_entry(key):
    entry = vf.citation(key)
    assert entry.startswith("@")
    assert entry.count("{") == entry.count("}")
    for field in ("author", "title", "year"):
        assert re.search(rf"^\s*{field}\s*=", entry, flags=re.MULTILINE), field
    assert key[-4:] in entry


def test_the_seed_paper_is_cited_and_unknown_keys_are_refused():
    assert "micheli2024" in {key for key, _ in cited()}
    with pytest.raises(vf.DomainError, match=r"name='nobody1999' is unknown; choose one of .*micheli2024"):
        vf.citation("nobody1999")


def test_every_name_in_the_table_of_equations_exists():
    page = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for *_, symbolic, numeric, reference, test in rows:
        for room, cell in ((vf.symbolic, symbolic), (vf, numeric), (vf.reference, reference)):
            name = cell.strip().strip("`")
            home = getattr(room, name.rpartition(".")[0]) if "." in name else room
            assert name == "–" or hasattr(home, name.rpartition(".")[2]), name
        file, _, function = test.strip().strip("`").partition("::")
        source = next((ROOT / "tests").rglob(f"{file}.py")).read_text(encoding="utf-8")
        assert f"def {function}" in source


def test_every_derivation_has_a_row_in_the_table_of_equations():
    page = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    made = {name for name in vf.symbolic.__all__ if inspect.isfunction(getattr(vf.symbolic, name))} - {"correlation_map"}
    assert {name for name in made if f"`{name}`" not in page} == set()


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    stated = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert newest is not None
    assert stated is not None
    of_entry = re.search(r"version = \{(\S+)\}", vf.citation("varflow"))
    assert of_entry is not None
    assert {project["version"], newest[1], stated[1], of_entry[1]} == {vf.__version__}
