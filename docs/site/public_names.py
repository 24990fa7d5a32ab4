"""The directive ``names``: public names of a module of varflow, first as a table with their summaries, then in full.

```{names} varflow.init
normal_ uniform_
```

The first list of a module brings the module's own docstring.
"""

import inspect
from operator import attrgetter

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import varflow


def summary(value) -> str:
    """The first paragraph of a docstring in one line; of a constant, its value."""
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        if isinstance(value, dict):
            return ", ".join(f"``{key}``" for key in value)
        return f"``{value!r}``" if len(repr(value)) < 100 else f"a {type(value).__name__}"
    return " ".join(inspect.getdoc(value).partition("\n\n")[0].split())


def in_full(name, value) -> list[str]:
    """Autodoc's directive for a value, with the documented members of a class."""
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        return [f".. auto{kind}:: {name}", "   :members:", ""]
    if inspect.isfunction(value):
        return [f".. autofunction:: {name}", ""]
    return [f".. py:data:: {name}", "", f"   {summary(value)}", ""]


class Names(SphinxDirective):
    required_arguments, has_content = 1, True

    def run(self):
        name, public = self.arguments[0], " ".join(self.content).split()
        module = varflow if name == "varflow" else attrgetter(name.removeprefix("varflow."))(varflow)
        introduced = self.env.temp_data.setdefault("modules of this page", {"varflow"})
        lines = [f".. py:{'current' * (name in introduced)}module:: {name}", ""]
        lines += [] if name in introduced else [*inspect.cleandoc(module.__doc__).splitlines(), ""]
        introduced.add(name)
        lines += [".. list-table::", ""]
        for one in public:
            lines += [f"   * - :obj:`~{name}.{one}`", f"     - {summary(getattr(module, one))}"]
        lines += ["", *(line for one in public for line in in_full(f"{name}.{one}", getattr(module, one)))]
        block, lines = nodes.container(), ["````{eval-rst}", *lines, "````"]  # the page is Markdown, docstrings are not
        self.state.nested_parse(StringList(lines, self.get_location()), self.content_offset, block)
        return block.children


def setup(app):
    app.add_directive("names", Names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
