"""The directive ``names``: public names of a module of varflow, first as a table with their summaries, then in full.

```{names} varflow.init
normal_ uniform_
```

The first list of a module brings the module's own docstring. The directive ``sources`` is the bibliography, made from
``varflow/references.bib``; keys of it are links wherever they stand.
"""

import inspect
import re
from collections import defaultdict
from operator import attrgetter

import pictures
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import varflow
import varflow.results.training
import varflow.theory.finite_width.stationary
from varflow.citations import _entries

LETTERS = {r"\\'{?e}?": "é", r'\\"{?o}?': "ö", r'\\"{?u}?': "ü", r"\\v{c}": "č", r"\\ss": "ß", r"--": "–", r"[{}]": ""}
SOURCES = [key for key in _entries() if key != "varflow"]
KEY = re.compile(f"(?<!`)(`{{1,2}})({'|'.join(SOURCES)})\\1(?!`)")


SYMBOLS = {
    "V": "variance of the potentials",
    "g": "gain",
    "gamma": "``g²/θ²``",
    "m_g": "mean gain, fan-in times mean weight",
    "n": "fan-in",
    "sigma_b": "standard deviation of the biases",
    "theta": "firing threshold",
    "z": "standardised threshold ``θ/√V``",
}


def summary(value) -> str:
    """The first paragraph of a docstring in one line; of a constant, its value, of a symbol its meaning."""
    if type(value).__name__ == "Symbol":
        return SYMBOLS[value.name]
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        if isinstance(value, dict):
            return ", ".join(f"``{key}``" for key in value)
        return f"``{value!r}``" if len(repr(value)) < 100 else f"a {type(value).__name__}"
    return " ".join(inspect.getdoc(value).partition("\n\n")[0].split())


def in_full(name, value) -> list[str]:
    """Autodoc's directive for a value, with the documented members of a class, and the picture that an example draws."""
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        return [f".. auto{kind}:: {name}", "   :members:", ""]
    if inspect.isfunction(value):
        room, _, own_name = name.rpartition(".")
        drawn = pictures.picture_of(own_name, value) if room == "varflow.plots" else []
        printed = pictures.shown(own_name, value) if room == "varflow.surrogates" else []
        return [f".. autofunction:: {name}", "", *printed, *drawn]
    return [f".. py:data:: {name}", "", f"   {summary(value)}", ""]


class Names(SphinxDirective):
    required_arguments, has_content = 1, True

    def run(self):
        name, public = self.arguments[0], " ".join(self.content).split()
        module = varflow if name == "varflow" else attrgetter(name.removeprefix("varflow."))(varflow)
        introduced = self.env.temp_data.setdefault("modules of this page", {"varflow", *ROOMS})
        lines = [f".. py:{'current' * (name in introduced)}module:: {name}", ""]
        lines += [] if name in introduced else [*inspect.cleandoc(module.__doc__).splitlines(), ""]
        introduced.add(name)
        lines += pictures.surrogates(public) if name == "varflow.surrogates" else []
        lines += [".. list-table::", ""]
        for one in public:
            lines += [f"   * - :obj:`~{name}.{one}`", f"     - {summary(getattr(module, one))}"]
        lines += ["", *(line for one in public for line in in_full(f"{name}.{one}", getattr(module, one)))]
        block, lines = nodes.container(), ["````{eval-rst}", *lines, "````"]  # the page is Markdown, docstrings are not
        self.state.nested_parse(StringList(lines, self.get_location()), self.content_offset, block)
        return block.children


def source(entry: str) -> str:
    """An entry of the bibliography in words, with its address as a link."""
    for letter, plain in LETTERS.items():
        entry = re.sub(letter, plain, entry)
    of = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?),?$", entry, flags=re.MULTILINE))
    names = [" ".join(reversed(name.split(", "))) for name in of.get("author", "").split(" and ")]
    place = of.get("journal") or of.get("booktitle") or of.get("publisher") or of.get("howpublished") or ""
    where = ", ".join(filter(None, [place, *(of.get(name) for name in ("volume", "pages"))]))
    words = f"\\{', '.join(names)} ({of.get('year', '')}). {of.get('title', '')}" + (f". *{where}*" if where else "")
    arxiv = re.search(r"arXiv:(\S+?)[,\s]*$", place) or re.search(r"arXiv[: ](\d{4}\.\d{4,5})", entry)
    address = (
        of.get("url") or ("doi" in of and f"https://doi.org/{of['doi']}") or (arxiv and f"https://arxiv.org/abs/{arxiv[1]}")
    )
    return f"{words}. `{address.removeprefix('https://')} <{address}>`__" if address else f"{words}."


class Sources(SphinxDirective):
    def run(self):
        lines = ["````{eval-rst}"]
        for key in sorted(SOURCES):
            lines += [f".. _source-{key}:", "", f"``{key}``", f"   {source(_entries()[key])}", ""]
        block = nodes.container()
        self.state.nested_parse(StringList([*lines, "````"], self.get_location()), self.content_offset, block)
        return block.children


class Coverage(SphinxDirective):
    """What is read from models, as the code has it: ``neurons`` by library, or ``functions`` of torch."""

    required_arguments = 1

    def run(self):
        from varflow.model import library_neurons  # noqa: F401  registers its readers
        from varflow.model.spiking_modules import _READERS
        from varflow.torch_models.tracing.readers import _OF_ONE_SIGNAL, _OF_SIGNALS

        if self.arguments[0] == "neurons":
            of = defaultdict(list)
            for library, name in (key.split(".") for key in sorted(_READERS, key=str) if isinstance(key, str)):
                of[library].append(name)
        else:
            of = {"several signals": sorted(_OF_SIGNALS), "one signal": sorted(_OF_ONE_SIGNAL)}
        lines = ["````{eval-rst}", ".. list-table::", ""]
        for row, names in of.items():
            public = [f"``{name}``" for name in names if not name.startswith("_")]
            lines += [f"   * - {row}", f"     - {', '.join(public)}"]
        lines += ["````"]
        block = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_location()), self.content_offset, block)
        return block.children


OF_CHAINS = "varflow.theory.finite_width"
ROOMS = ("varflow.results", "varflow.results.training", f"{OF_CHAINS}.stationary", f"{OF_CHAINS}.counts")  # of types held
HELD = {"AuditedLayer", "Learning", "ModelPlan", "LayerPlan", "CorrectedGain", "CatalogueEntry", "Curve"}
CLASSES = {name: f"varflow.{name}" for name in varflow.__all__ if inspect.isclass(getattr(varflow, name))}
CLASSES |= {name: f"varflow.results.{name}" for name in HELD}
CLASSES |= {name: f"{OF_CHAINS}.stationary.{name}" for name in ("QuasiStationary", "Stationary", "Lifetime")}
CLASSES |= {"CountLaw": f"{OF_CHAINS}.counts.CountLaw"}
RETURNED = re.compile(rf"^(:returns: )\*({'|'.join(CLASSES)})\*")


def linked_docstring(app, what, name, obj, options, lines):
    """Keys of the bibliography in a docstring, and the class that is returned, as links."""
    lines[:] = [KEY.sub(r":ref:`\2 <source-\2>`", line) for line in lines]
    lines[:] = [RETURNED.sub(lambda found: f"{found[1]}:obj:`~{CLASSES[found[2]]}`", line) for line in lines]


def linked_page(app, name, content):
    """Keys of the bibliography on a page as links."""
    if name != "docs/bibliography" and str(app.env.doc2path(name)).endswith(".md"):
        parts = re.split(r"(^```.*?^```$)", content[0], flags=re.DOTALL | re.MULTILINE)
        content[0] = "".join(part if part.startswith("```") else KEY.sub(r"{ref}`\2 <source-\2>`", part) for part in parts)


def setup(app):
    app.add_directive("names", Names)
    app.add_directive("sources", Sources)
    app.add_directive("coverage", Coverage)
    app.connect("autodoc-process-docstring", linked_docstring)
    app.connect("source-read", linked_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
