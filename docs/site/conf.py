"""The site, built by ``make site``: the pages of ``docs/``, the theory notebooks, the reference and the validation report.

The source folder is the whole repository, so that links between files work on the site as they do in the repository.
"""

import hashlib
import logging
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import notebooks  # noqa: E402
from jupyter_cache.cache.db import create_db  # noqa: E402

import varflow  # noqa: E402

os.environ["JUPYTER_PATH"] = str(HERE / "jupyter")  # its kernel does not warn of connections within this machine
logging.getLogger("traitlets").setLevel(logging.WARNING)

project, author, release = "varflow", "varflow contributors", varflow.__version__
copyright = author

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "public_names",
    "glossary",
]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/reference/*.md",
    "theory_notebooks/[0-9][0-9]_*.py",
    "validation/README.md",
    "validation/REPORT.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = [".venv", "site", "build", "**/.*"]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
myst_html_meta = {"description": "How to initialise a deep spiking network, and why it works: gains, audits, theory."}
nb_custom_formats = {".py": ["notebooks.read", {}]}
PACKAGE = b"".join(path.read_bytes() for path in sorted(Path(varflow.__file__).parent.rglob("*.py")))
nb_execution_mode = "off"  # `make site` says "cache": cells run once, and again when their notebook or the package changes
nb_execution_cache_path = str(HERE.parents[1] / "build" / "notebooks" / hashlib.sha256(PACKAGE).hexdigest()[:16])
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_code_prompt_show, nb_code_prompt_hide = "Show the code of this figure", "Hide the code"
nb_merge_streams = True  # what one cell prints is one block

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as the source names them: lists of methods and grids would fill pages
autodoc_typehints = "none"  # the docstrings say types, shapes and units
napoleon_google_docstring = False
napoleon_use_param = napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]
nitpicky = True  # a reference to a name that the site does not have is a warning
nitpick_ignore_regex = [("py:(class|obj|attr)", ".*")]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "varflow"
templates_path = ["templates"]
html_additional_pages = {"index": "first.html"}
html_static_path = ["site.css", "keyboard.js", "vendored"]
mathjax_path = "mathjax/tex-chtml-full.js"  # 3.2.2, in ``vendored`` with its fonts: formulas need no network
mathjax3_config = {"options": {"enableMenu": False}}  # what its menu would load is not there
html_css_files = ["site.css"]
html_favicon = str(HERE / "spike.svg")
html_js_files = ["keyboard.js"]
html_search_scorer = str(HERE / "search_order.js")
html_copy_source = False
html_show_copyright = False


def spread(app, env, names):
    """Two processes read the pages in four batches: the notebooks, which take longest, go into all of these."""
    names[:] = [name for first in range(4) for name in names[first::4]]
    if app.config.nb_execution_mode == "cache":
        Path(app.config.nb_execution_cache_path).mkdir(parents=True, exist_ok=True)
        create_db(app.config.nb_execution_cache_path)  # before there are two processes, which would both make it


def without_type(app, what, name, obj, options, lines):
    """Keep the first sentence of a property whole: napoleon would take the words before its colon for a type."""
    if what in {"property", "attribute"}:
        lines.insert(0, "")


def setup(app):
    app.connect("autodoc-process-docstring", without_type, priority=400)  # before napoleon
    app.connect("env-before-read-docs", spread)
    app.connect("html-page-context", notebooks.offer)
    app.connect("build-finished", notebooks.write)
