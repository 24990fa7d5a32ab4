"""Pictures and outputs of the reference: what the examples in docstrings draw, and all surrogates in one figure."""

import doctest
import inspect
from pathlib import Path

import numpy as np

import varflow as vf

FOLDER = Path(__file__).parents[2] / "build" / "pictures"
ACROSS = 7  # panels of surrogates in a row


def picture_of(name, function) -> list[str]:
    """The image directive of the figure that the example of a plot function draws."""
    known = {}
    for example in doctest.DocTestParser().get_examples(inspect.getdoc(function)):
        exec(example.source, known)
    drawn = known.get("figure") or known["ax"].figure
    return _image(name, drawn, " ".join(inspect.getdoc(function).partition("\n\n")[0].split()))


def surrogates(names) -> list[str]:
    """The image directive of a figure of surrogates at their own parameters."""
    from varflow.plots.style import new_figure

    drawn = [name for name in names if isinstance(value := getattr(vf.surrogates, name), type(picture_of)) and _plain(value)]
    down = -(-len(drawn) // ACROSS)
    figure = new_figure(figsize=(1.7 * ACROSS, 1.35 * down), dpi=100, layout="constrained")
    panels = figure.subplots(down, ACROSS).ravel()
    v = np.linspace(-2, 2, 401)
    for name, ax in zip(drawn, panels, strict=False):
        ax.plot(v, getattr(vf.surrogates, name)()(v), lw=1.2, color="#440154")
        ax.set_title(name.replace("spikingjelly_", "sj_"), fontsize=6.5)
        ax.tick_params(labelsize=6)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in panels[len(drawn) :]:
        ax.set_visible(False)
    words = "The surrogate derivatives at their own parameters, each over the distance v of the potential from the threshold"
    caption = f"{words}. ``sj_`` stands for ``spikingjelly_``."
    return [*_image("surrogates", figure, words), "", caption, ""]


def shown(name, function) -> list[str]:
    """What a surrogate prints as, at its own parameters."""
    if ">>>" in inspect.getdoc(function) or not _plain(function):
        return []
    return [".. code-block:: pycon", "", f"   >>> vf.surrogates.{name}()", f"   {function()!r}", ""]


def _plain(function) -> bool:
    """True for a surrogate that needs no argument."""
    parameters = inspect.signature(function).parameters.values()
    return function.__name__ != "surrogate_of" and all(each.default is not each.empty for each in parameters)


def _image(name, figure, words) -> list[str]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure.savefig(FOLDER / f"{name}.png", dpi=100, bbox_inches="tight")
    return [f".. image:: /build/pictures/{name}.png", f"   :alt: {words.replace('``', '')}", ""]
