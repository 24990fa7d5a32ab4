"""Size of the benchmarks: full for measurements, ``VARFLOW_BENCHMARKS=small`` for a quick check that all of them run."""

import os

SMALL = os.environ.get("VARFLOW_BENCHMARKS") == "small"


def size(full, small):
    """The full or the small value of a setting."""
    return small if SMALL else full


def bar(kept):
    """Assert a speed, only at full size: small sizes and busy machines say nothing about it."""
    assert kept or SMALL
