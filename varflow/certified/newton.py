"""All roots of a function on an interval, proven by bounds of its slope, and narrowed by interval Newton.

A function is given by ``place(y)``, a record with ``.at`` and ``.value`` in balls, and by ``slope(left, right)``, two exact
numbers that bound its slope between two places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MOST_PIECES = 50_000  # intervals examined before the rest is left undecided


def sign(number: Any) -> int:
    """1 or -1 if certain, else 0."""
    return 1 if number > 0 else -1 if number < 0 else 0


def isolate(
    place: Callable[[Any], Any], slope: Callable[[Any, Any], tuple[Any, Any]], low: Any, high: Any
) -> tuple[list[Any], list[Any]]:
    """Intervals with exactly one root each, ascending, and intervals left undecided at this precision.

    Outside of them there is no root between the exact numbers ``low`` and ``high``.
    """
    single, unknown = [], []
    waiting = [(place(low), place(high))] if low < high else []
    seen = 0
    while waiting:
        left, right = waiting.pop()
        seen += 1
        if sign(left.value) * sign(right.value) == 0 or seen > _MOST_PIECES:
            unknown.append((left, right))
            continue
        lowest, highest = slope(left, right)
        if lowest > 0 or highest < 0:  # monotone: one root if the signs at the ends differ, else none
            if sign(left.value) != sign(right.value):
                single.append((left, right))
        elif not _excluded(left, right, lowest, highest):
            middle = _cut(place, left, right)
            if middle is None:
                unknown.append((left, right))
            else:
                waiting += [(middle, right), (left, middle)]
    return single, unknown


def _excluded(left: Any, right: Any, lowest: Any, highest: Any) -> bool:
    """True if slopes between ``down < 0`` and ``up > 0`` exclude a root: ``a/|down| + b/up > Δy``, a and b the end values."""
    side = sign(left.value)
    if side != sign(right.value):
        return False
    a, b = side * left.value, side * right.value
    down, up = (lowest, highest) if side > 0 else (-highest, -lowest)
    return bool(a * up - b * down + down * up * (right.at - left.at) > 0)


def _cut(place: Callable[[Any], Any], left: Any, right: Any) -> Any:
    """A place between two others at which the sign is certain, or None."""
    for fraction in (0.5, 0.4375, 0.59375, 0.328125):  # the sign at a cut must be certain, and is not near a root
        y = (left.at + fraction * (right.at - left.at)).mid()
        if left.at < y < right.at:
            middle = place(y)
            if sign(middle.value):
                return middle
    return None


def narrow(place: Callable[[Any], Any], slope: Callable[[Any, Any], tuple[Any, Any]], left: Any, right: Any) -> Any:
    """A ball around the only root between two places, where the slope has one sign: interval Newton until it stops shrinking.

    ``y - E(y)/E'`` contains the root and lies on one side of ``y``, so each step at least halves the interval.
    """
    while True:
        middle = place(((left.at + right.at) / 2).mid())
        steps = [middle.value / bound for bound in slope(left, right)]
        low = left.at.max((middle.at - steps[0].max(steps[1])).lower())
        high = right.at.min((middle.at - steps[0].min(steps[1])).upper())
        if not 0 <= high - low < 0.75 * (right.at - left.at):
            return left.at.union(right.at)
        left, right = place(low), place(high)
