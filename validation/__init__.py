"""Statistical evidence: one file per claim, each with a simulation that could refute it and controls that must fail.

``python -m validation`` runs the claims and writes one JSON per claim and a one-page report. Public names of varflow only.
"""

from validation.claim import Claim, Control, Error, Judgement, Result
from validation.runner import examine
from validation.work import Work

__all__ = ["Claim", "Control", "Error", "Judgement", "Result", "Work", "examine"]
