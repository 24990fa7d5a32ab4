"""Tools for testing code that builds on varflow: Hypothesis strategies, and assertions about initialisers and theories.

- Strategies: :func:`thresholds`, :func:`gains`, :func:`distributions`, :func:`neurons`, :func:`drives`, :func:`networks`. They
  need Hypothesis.
- Initialisers: :func:`assert_gain`, :func:`assert_preserves_variance`, :func:`assert_survives` and
  :func:`assert_agrees_with_theory` test a function that fills a weight tensor. They need torch.
- Theories: :func:`assert_variance_map` tests a variance map by Monte Carlo.
- Optimisers: :func:`coordinate_check` measures what a step changes over widths.

Every assertion is a statistical test with a fixed seed and a stated false-alarm rate: correct code fails it for that fraction
of seeds, and for a given seed always or never. A failed one raises ``AssertionError`` with the measured value, its standard
error and the expected value.
"""

from varflow._lazy import names_of
from varflow.testing.coordinates import coordinate_check
from varflow.testing.depth import assert_agrees_with_theory, assert_survives
from varflow.testing.initialisers import assert_gain, assert_preserves_variance
from varflow.testing.strategies import distributions, drives, gains, networks, neurons, thresholds
from varflow.testing.theories import assert_variance_map

__all__ = names_of(globals())  # pyright: ignore[reportUnsupportedDunderAll]
