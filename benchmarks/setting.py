"""Size of the benchmarks: full for measurements, ``VARFLOW_BENCHMARKS=small`` for a quick check that all of them run."""

import os
import time

SMALL = os.environ.get("VARFLOW_BENCHMARKS") == "small"


def size(full, small):
    """The full or the small value of a setting."""
    return small if SMALL else full


def best(function, rounds):
    """Shortest CPU time of several calls, and the last result."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        answer = function()
        times.append(time.process_time() - start)
    return min(times), answer


def bar(kept):
    """Assert a speed, only at full size: small sizes and busy machines say nothing about it."""
    assert kept or SMALL
