"""The standing evidence: one file per claim, each able to fail, each with a control that must.

``python -m validation`` runs the claims and writes one JSON per claim and a one-page report. Public names of varflow only.
"""

from validation.claim import Claim, Control, Error, Judgement, Result
from validation.runner import examine

__all__ = ["Claim", "Control", "Error", "Judgement", "Result", "examine"]
