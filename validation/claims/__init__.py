"""The claims: every file here that defines ``CLAIM``, in alphabetical order."""

from importlib import import_module
from pkgutil import iter_modules

from validation.claim import Claim

__all__ = ["discover"]


def discover() -> dict[str, Claim]:
    """All claims by name."""
    found = [import_module(f"{__name__}.{module.name}").CLAIM for module in iter_modules(__path__)]
    return {claim.name: claim for claim in found}
