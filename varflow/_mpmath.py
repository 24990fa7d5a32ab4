"""A context of mpmath that only varflow computes in: mpmath's own precision, which all threads share, is never changed.

One call at a time computes in it, as threads would share its precision too, and mpmath's caches of constants.
"""

from __future__ import annotations

from functools import cache
from threading import RLock
from typing import Any

import mpmath

mp = type(mpmath.mp)()
mpf = mp.mpf
one_call = RLock()


def as_own(number: Any) -> Any:
    """An mpf number of any context, with all its digits, in this one."""
    return mp.make_mpf(number._mpf_)


@cache
def functions() -> dict[str, Any]:
    """The names in code that sympy prints for mpmath, for its ``lambdify``."""
    from sympy.utilities.lambdify import MPMATH_TRANSLATIONS

    own = {name: getattr(mp, name) for name in dir(mp) if not name.startswith("_")}
    return own | {name: own[other] for name, other in MPMATH_TRANSLATIONS.items() if other in own}
