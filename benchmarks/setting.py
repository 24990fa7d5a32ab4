"""Size of the benchmarks: full for measurements, ``VARFLOW_BENCHMARKS=small`` for a quick check that all of them run.

Limits are ratios of times of one run: another machine, or other load, changes both.
"""

import os
import time

SMALL = os.environ.get("VARFLOW_BENCHMARKS") == "small"


def size(full, small):
    """The full or the small value of a setting."""
    return small if SMALL else full


def cpu_seconds(call):
    """CPU seconds of one call, and its result."""
    start = time.process_time()
    answer = call()
    return time.process_time() - start, answer


def best(call, rounds):
    """Shortest CPU time of several calls, and the last result."""
    times = []
    for _ in range(rounds):
        seconds, answer = cpu_seconds(call)
        times.append(seconds)
    return min(times), answer


def bar(kept):
    """Assert a ratio of speeds, only at full size: small sizes say nothing about it."""
    assert kept or SMALL
