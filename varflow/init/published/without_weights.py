"""Published methods whose weights are not drawn here: of other networks, from data, or of formulas that were not available."""

from __future__ import annotations

from varflow.init.published.method import Method

METHODS = (
    Method("tdbn", "tdBN", None, "no weights: batch statistics in training", "zheng2021", "data"),
    Method("ei_init", "E-I Init", None, "needs its inhibitory circuit", "liu2025", "data"),
    Method("mp_init", "MP-Init", None, "no weights: potentials at step 0", "kook2025", "data"),
    Method("herranz_celotti", "Herranz-Celotti, Rouat", None, "recurrent weights; half of all fire", "herranz2022", "data"),
    Method(
        "perez_nieves", "Perez-Nieves, Goodman", None, "not implemented: formulas not available", "perez2023", "firing rate"
    ),
)
