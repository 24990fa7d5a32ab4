"""Reads the theory notebooks, which are stored without kernel and language.

A first cell, which no page shows, turns warnings into errors: a warning stops the build as a failing assert does. Those of the
kernel itself are none of the notebook's.
"""

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
    notebook.cells.insert(0, new_code_cell(STRICT, metadata={"tags": ["remove-cell"]}))
    return notebook
