"""Full or small: figures are taken at full size; a small one, ``VARFLOW_BENCHMARKS=small``, shows in no time that all run."""

import os

SMALL = os.environ.get("VARFLOW_BENCHMARKS") == "small"


def size(full, small):
    """A number, or several, of the setting."""
    return small if SMALL else full


def bar(kept):
    """A bar on speed, which means nothing at a small size or on a busy machine's wall clock."""
    assert kept or SMALL
