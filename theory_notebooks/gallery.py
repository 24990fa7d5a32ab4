"""Runs the notebooks and writes them, outputs included, as HTML pages with an index.

``python theory_notebooks/gallery.py [FOLDER] [NOTEBOOK ...]``; by default all of them, into ``notebook-gallery``. Exit code 1
if a cell of any of them fails. Formulas in the pages are typeset by MathJax, which a browser loads from the network.
"""

import html
import sys
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

from varflow._files import replace_files

HERE = Path(__file__).parent
CELL_LIMIT = 300  # seconds
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>varflow: theory notebooks</title>
<script>window.MathJax = {{tex2jax: {{inlineMath: [["$", "$"]]}}}};</script>
<script src="{mathjax}"></script>
<style>
body {{ font: 17px/1.5 system-ui, sans-serif; max-width: 46em; margin: 3em auto; padding: 0 1em; }}
li {{ list-style: none; margin: .7em 0; }} ul {{ padding: 0; }} small {{ color: #666; }}
</style>
<h1>varflow: theory notebooks</h1>
<p>One claim each: derivation, number, picture, simulation, and where it stops being true.</p>
<ul>
{entries}
</ul>
<p><small>Formulas are typeset by MathJax, loaded from the network; without one they stay LaTeX.</small></p>
</html>
"""


def title(notebook) -> str:
    """The claim: the heading of the first cell."""
    return notebook.cells[0].source.partition("\n")[0].removeprefix("# ")


def executed(path: Path):
    """The notebook after its cells have run, in its own folder and kernel."""
    notebook = jupytext.read(path)
    place, quiet = {"metadata": {"path": str(path.parent)}}, ["--log-level=ERROR"]
    NotebookClient(notebook, kernel_name="python3", timeout=CELL_LIMIT, resources=place, extra_arguments=quiet).execute()
    return notebook


def render(path: Path, folder: Path, exporter: HTMLExporter) -> str:
    """Run one notebook, write its page, and return its line of the index."""
    start = time.perf_counter()
    notebook = executed(path)
    page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": path.stem}})
    replace_files({folder / f"{path.stem}.html": page})
    seconds = time.perf_counter() - start
    return f'<li><a href="{path.stem}.html">{html.escape(title(notebook))}</a> <small>{seconds:.0f} s</small></li>'


def main(folder: Path, paths: list[Path]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    exporter, entries, failures = HTMLExporter(), [], 0
    for number, path in enumerate(paths, 1):
        print(f"[{number}/{len(paths)}] {path.name} ... ", end="", flush=True)
        start = time.perf_counter()
        try:
            entries.append(render(path, folder, exporter))
        except CellExecutionError as error:
            failures += 1
            print(f"failed\n{error}", flush=True)
        else:
            print(f"{time.perf_counter() - start:.0f} s", flush=True)
    index = PAGE.format(mathjax=html.escape(exporter.mathjax_url), entries="\n".join(entries))
    replace_files({folder / "index.html": index})
    print(f"{folder / 'index.html'}: {len(entries)} of {len(paths)} notebooks")
    return 1 if failures else 0


if __name__ == "__main__":
    where, *which = sys.argv[1:] or ["notebook-gallery"]
    sys.exit(main(Path(where), [Path(name) for name in which] or sorted(HERE.glob("[0-9][0-9]_*.py"))))
