"""Reads the theory notebooks, which are stored without kernel and language.

A first cell, which no page shows, turns warnings into errors: a warning stops the build as a failing assert does. Those of the
kernel itself are none of the notebook's. Cells that draw are folded, and their pictures described by their labels. Beside each
page stand the notebook and the script, to be downloaded.
"""

import re
import shutil
from pathlib import Path

import jupytext
from nbformat.v4 import new_code_cell

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}

STRICT = """\
import warnings

warnings.simplefilter("error")
warnings.filterwarnings("ignore", module="ipykernel")"""


def read(text: str):
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["kernelspec"] = KERNEL
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.endswith("\nfigure"):
            cell.metadata["mystnb"] = {"image": {"alt": described(cell.source)}}
            cell.metadata["tags"] = ["hide-input"]
    notebook.cells.insert(0, new_code_cell(STRICT, metadata={"tags": ["remove-cell"]}))
    return notebook


def described(source: str) -> str:
    """What a figure shows over what, by the labels and titles in the cell that draws it."""
    y, x, titles = (
        "; ".join(
            dict.fromkeys(re.sub(r"[$\\{}]|mathrm|\\n", "", text) for text in re.findall(rf'{label}[=(]r?f?"([^"]+)"', source))
        )
        for label in ("ylabel", "xlabel", "title")
    )
    return f"Figure: {y or 'curves'} over {x or 'the layers'}" + f" ({titles})" * bool(titles)


def offer(app, page, template, context, doctree):
    """Links to both files below the title of a notebook's page."""
    folder, _, name = page.rpartition("/")
    if folder == "theory_notebooks":
        links = " · ".join(f'<a href="{name}{end}" download>{end}</a>' for end in (".ipynb", ".py"))
        context["body"] = context["body"].replace("</h1>", f"</h1>\n<p>Download: {links}</p>", 1)


def write(app, exception):
    """The notebooks without outputs, and the scripts, in the folder of their pages."""
    for script in [] if exception else sorted(Path(app.srcdir, "theory_notebooks").glob("[0-9][0-9]_*.py")):
        notebook = jupytext.read(script)
        notebook.metadata["kernelspec"] = KERNEL
        folder = Path(app.outdir, "theory_notebooks")
        shutil.copy(script, folder)
        jupytext.write(notebook, folder / f"{script.stem}.ipynb")
