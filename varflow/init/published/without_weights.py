"""Published methods that set no weights, or whose formulas were not available: rows of the catalogue only."""

from __future__ import annotations

from varflow.init.published.method import Method

__all__ = ["MP_INIT", "PEREZ_NIEVES", "TDBN"]

TDBN = Method("tdbn", "tdBN", None, "no weights: batch statistics in training", "zheng2021", "data")
MP_INIT = Method("mp_init", "MP-Init", None, "no weights: potentials at step 0", "kook2025", "data")
PEREZ_NIEVES = Method(
    "perez_nieves", "Perez-Nieves, Goodman", None, "not implemented: formulas not available", "perez2023", "firing rate"
)
