"""BibTeX entries of the sources named in docstrings."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from varflow._checks import choice


def citation(name: str) -> str:
    """The BibTeX entry of a source named in a docstring.

    Parameters
    ----------
    name : str
        A key of ``varflow/references.bib``, such as ``"micheli2024"``; ``"varflow"`` for varflow itself.

    Raises
    ------
    DomainError
        For an unknown key; the message lists the known ones.

    Examples
    --------
    >>> import varflow as vf
    >>> print(vf.citation("micheli2024").splitlines()[0])
    @article{micheli2024,
    """
    return _entries()[choice("name", name, _entries())]


@cache
def _entries() -> dict[str, str]:
    text = files("varflow").joinpath("references.bib").read_text(encoding="utf-8")
    return {match[1]: match[0].strip() for match in re.finditer(r"@\w+\{([\w-]+),.*?\n\}", text, flags=re.DOTALL)}
