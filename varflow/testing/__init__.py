"""Tools for the tests of those who build on varflow: Hypothesis strategies, and properties for their own code to pass.

- Strategies draw what the theory is about: :func:`thresholds`, :func:`gains`, :func:`distributions`,
  :func:`neurons`, :func:`drives`, :func:`networks`. They need Hypothesis.
- Of initialisers, :func:`assert_gain`, :func:`assert_preserves_variance`, :func:`assert_survives`,
  :func:`assert_agrees_with_theory` judge a function that fills a weight tensor. They need torch.
- Of theories, :func:`assert_variance_map` judges a variance map by Monte Carlo.

Every property is a statistical test with fixed seeds and a stated false-alarm rate: correct code fails it for that share of
all seeds, and with a given seed always or never. A property that does not hold raises ``AssertionError`` with what was
measured, its standard error, and what was due.
"""

from varflow.testing.depth import assert_agrees_with_theory, assert_survives
from varflow.testing.initialisers import assert_gain, assert_preserves_variance
from varflow.testing.strategies import distributions, drives, gains, networks, neurons, thresholds
from varflow.testing.theories import assert_variance_map

__all__ = [
    "assert_agrees_with_theory",
    "assert_gain",
    "assert_preserves_variance",
    "assert_survives",
    "assert_variance_map",
    "distributions",
    "drives",
    "gains",
    "networks",
    "neurons",
    "thresholds",
]
