"""Theory notebooks: what a stored one may contain; a failing cell fails. ``make site`` executes all, warnings as errors."""

import ast
import importlib
import warnings
from pathlib import Path

import pytest
from processes import Scenario

import varflow as vf

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "theory_notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
HEADER = """\
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # """


def name_of(path):
    return path.stem


WRONG = {
    "assert": "assert 1 + 1 == 3",
    "warning": "import warnings; warnings.warn('look')",
    "name": "import varflow as vf; vf.gian",
}


def test_a_failing_cell_fails_the_script(ended, tmp_path):
    cells = {**WRONG, "right": "assert 1 + 1 == 2"}
    for name, line in cells.items():
        (tmp_path / f"99_{name}.py").write_text(f"{HEADER}One equals two\n\n# %%\n{line}\n", encoding="utf-8")
    (tmp_path / "runs").mkdir()
    strict = "import warnings; warnings.simplefilter('error')"
    scripts = {path.stem: Scenario("", module=str(path), first=strict) for path in tmp_path.glob("99_*.py")}
    runs = ended(scripts, tmp_path / "runs", ())
    assert {name: run[0] != 0 for name, run in runs.items()} == {f"99_{name}": name in WRONG for name in cells}


@pytest.fixture
def reader(monkeypatch):
    """What reads the notebooks for the site."""
    pytest.importorskip("jupytext")
    monkeypatch.syspath_prepend(ROOT / "docs" / "site")
    return importlib.import_module("notebooks")


@pytest.mark.parametrize("line", WRONG.values(), ids=WRONG)
def test_a_failing_cell_fails_on_the_site(reader, line):
    first, title, cell = reader.read(f"{HEADER}One equals two\n\n# %%\n{line}\n").cells
    assert first.metadata.tags == ["remove-cell"]
    assert title.source == "# One equals two"
    with warnings.catch_warnings(action="ignore"):
        exec(first.source)
        with pytest.raises((AssertionError, UserWarning, AttributeError)):
            exec(cell.source)


DRAWS = 'figure, ax = plt.subplots()\nax.set(xlabel=r"layer $l$", ylabel="rate", title="two layers")\nfigure'


def test_cells_that_draw_are_folded_and_described(reader):
    *_, other, drawing = reader.read(f"{HEADER}One\n\n# %%\nfigure = 1\n\n# %%\n{DRAWS}\n").cells
    assert drawing.metadata.tags == ["hide-input"]
    assert drawing.metadata.mystnb["image"]["alt"] == "Figure: rate over layer l (two layers)"
    assert "tags" not in other.metadata


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_every_figure_says_what_it_shows(reader, path):
    drawing = [cell for cell in reader.read(path.read_text(encoding="utf-8")).cells if "mystnb" in cell.metadata]
    assert drawing
    for cell in drawing:
        unlabelled = cell.metadata.mystnb["image"]["alt"].startswith("Figure: curves over")
        assert unlabelled == ("plt.subplots(" not in cell.source), "axes have labels"


# What a stored notebook may contain.


def faults(source):
    """Reasons why a notebook must not be stored like this."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    found = [] if source.startswith(HEADER) else ["the header is not the plain one, or the first cell no title"]
    if sum(line.startswith("# # ") for line in source.splitlines()) != 1:
        found.append("one title, one claim")
    if source.count("# %%") != sum(line.rstrip() in ("# %%", "# %% [markdown]") for line in source.splitlines()):
        found.append("a cell carries metadata")
    if any(len(line) > 88 and not line.startswith("#") for line in source.splitlines()):
        found.append("pages show 88 columns of code")
    if "*You learn*" not in source:
        found.append("does not say what one learns, needs and waits")
    if not any(isinstance(node, ast.Assert) for node in nodes):
        found.append("proves nothing: no assert")
    imports = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    found += [f"import {alias.name}" for alias in imports if alias.name.partition(".")[0] == "varflow" and alias.asname != "vf"]
    found += [f"import {alias.name}" for alias in imports if alias.name.startswith("varflow.")]
    found += [
        f"from {node.module}" for node in nodes if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("varflow.")
    ]
    if "varflow" not in {alias.name for alias in imports}:
        found.append("does not import varflow as vf")
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    found += [f"private {node.attr}" for node in attributes if node.attr.startswith("_")]
    of_package = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "vf"}
    return found + [f"vf.{name} is not public" for name in sorted(of_package - {*vf.__all__, "__version__"})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_stored_notebook_is_plain_and_public(path):
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_stored_notebook_has_no_outputs_and_a_claim(path):
    jupytext = pytest.importorskip("jupytext")
    notebook = jupytext.read(path)
    first, *rest = notebook.cells
    assert first.cell_type == "markdown"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in rest)
    assert "kernelspec" not in notebook.metadata
    heading = first.source.partition("\n")[0].removeprefix("# ")
    assert heading.startswith(f"{int(path.stem[:2])}. ")
    assert len(heading.split()) >= 6, "a claim is a sentence"


PLAIN = f"{HEADER}9. A claim\n#\n# *You learn* it.\n\n# %%\nimport varflow as vf\n\nassert vf.gain(threshold=0) > 0\n"


@pytest.mark.parametrize(
    "source",
    [
        PLAIN.replace("# jupyter:", "# jupyter:\n#   kernelspec:\n#     name: python3"),
        PLAIN.replace("# # 9", "# ## 9"),
        PLAIN + "\n# %% [markdown]\n# # Another claim\n",
        PLAIN + '\n# %% {"outputs": []}\n1\n',
        PLAIN.replace("assert vf", "vf"),
        PLAIN.replace("*You learn*", "It is about"),
        PLAIN + f"assert vf.gain(threshold=1{'0' * 80})\n",
        PLAIN.replace("import varflow as vf", "import varflow"),
        PLAIN + "import varflow.theory.memoryless.variance_map\n",
        PLAIN + "import varflow.theory.memoryless.variance_map as maps\n",
        PLAIN + "from varflow import gain\n",
        PLAIN + "from varflow.theory.memoryless.variance_map import slope\n",
        PLAIN + "vf.SpikeChain._masses\n",
        PLAIN + "vf.walks\n",
        PLAIN.replace("import varflow as vf", "import numpy as vf"),
    ],
)
def test_what_is_not_plain_or_not_public_is_seen(source):
    assert faults(PLAIN) == []
    assert faults(source)


def test_there_are_notebooks_and_nothing_executed_beside_them():
    assert NOTEBOOKS
    stored = [
        path
        for path in FOLDER.rglob("*")
        if path.suffix in (".ipynb", ".html", ".png") and ".ipynb_checkpoints" not in path.parts
    ]
    assert stored == []
