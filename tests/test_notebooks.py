"""The theory notebooks: each runs as a script with warnings as errors, one as a notebook; what a stored one may contain."""

import ast
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import varflow as vf

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "theory_notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.py"))
AT_ONCE = 2
LIMIT = 400  # seconds; a guard against cells that hang, no measurement
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


def run(*command):
    """A command in a process of its own that sees this checkout, draws without a screen and, of several, takes one core."""
    there = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = os.environ | {"MPLBACKEND": "Agg", "PYTHONPATH": there, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=LIMIT, env=env)


def as_script(path):
    return run("-W", "error", path)


@pytest.fixture(scope="module")
def scripts():
    """All notebooks under way, two at a time; each test waits for its own."""
    for extra in ("torch", "matplotlib", "snntorch"):
        pytest.importorskip(extra)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {path: pool.submit(as_script, path) for path in NOTEBOOKS}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_runs_as_a_script(path, scripts):
    done = scripts[path].result()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.strip()


@pytest.mark.parametrize(
    "line", ["assert 1 + 1 == 3", "import warnings; warnings.warn('look')", "import varflow as vf; vf.gian"]
)
def test_a_failing_cell_fails_the_script(line, tmp_path):
    path = tmp_path / "99_wrong.py"
    path.write_text(f"{HEADER}One equals two\n\n# %%\n{line}\n", encoding="utf-8")
    assert as_script(path).returncode == 1
    path.write_text(f"{HEADER}One equals one\n\n# %%\nassert 1 + 1 == 2\n", encoding="utf-8")
    assert as_script(path).returncode == 0


def gallery(folder, *paths):
    for extra in ("jupytext", "nbclient", "nbconvert", "ipykernel"):
        pytest.importorskip(extra)
    return run(FOLDER / "gallery.py", folder, *paths)


def test_a_notebook_runs_in_a_kernel_and_shows_formulas_and_figures(tmp_path, scripts):
    path = NOTEBOOKS[0]
    for started in scripts.values():
        started.result()  # two processes at once are enough
    done = gallery(tmp_path, path)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / f"{path.stem}.html").read_text(encoding="utf-8")
    assert "data:image/png" in page
    assert r"$\displaystyle \begin{aligned}" in page
    assert f'href="{path.stem}.html"' in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_failing_cell_fails_the_gallery(tmp_path):
    path = tmp_path / "99_wrong.py"
    path.write_text(f"{HEADER}One equals two\n\n# %%\nassert 1 + 1 == 3\n", encoding="utf-8")
    done = gallery(tmp_path / "pages", path)
    assert done.returncode == 1
    assert "AssertionError" in done.stdout
    assert "0 of 1 notebooks" in done.stdout


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


PLAIN = f"{HEADER}9. A claim\n\n# %%\nimport varflow as vf\n\nassert vf.gain(threshold=0) > 0\n"


@pytest.mark.parametrize(
    "source",
    [
        PLAIN.replace("# jupyter:", "# jupyter:\n#   kernelspec:\n#     name: python3"),
        PLAIN.replace("# # 9", "# ## 9"),
        PLAIN + "\n# %% [markdown]\n# # Another claim\n",
        PLAIN + '\n# %% {"outputs": []}\n1\n',
        PLAIN.replace("assert vf", "vf"),
        PLAIN.replace("import varflow as vf", "import varflow"),
        PLAIN + "import varflow.theory.maps\n",
        PLAIN + "import varflow.theory.maps as maps\n",
        PLAIN + "from varflow import gain\n",
        PLAIN + "from varflow.theory.maps import slope\n",
        PLAIN + "vf.SpikeChain._masses\n",
        PLAIN + "vf.theory\n",
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
