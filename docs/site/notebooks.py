"""Reads the theory notebooks, which are stored without kernel and language.

A first cell, which no page shows, turns warnings into errors: a warning stops the build as a failing assert does. Those of the
kernel itself are none of the notebook's. Cells that draw are folded, and their pictures described by their labels.
"""

import re

import jupytext
from nbformat.v4 import new_code_cell

STRICT = """\
import warnings

warnings.simplefilter("error")
warnings.filterwarnings("ignore", module="ipykernel")"""


def read(text: str):
    notebook = jupytext.reads(text, fmt="py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
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
