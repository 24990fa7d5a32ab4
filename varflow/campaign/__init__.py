"""Long computations, cut into blocks: each finished block is stored at once, and blocks run in processes or on a cluster.

A *block* is one piece of work: a function of this package, its settings and their fingerprint (``block``, ``fingerprint``,
``code``). ``store`` keeps results in one file, ``here``, ``processes`` and ``cluster`` are the places where blocks run, and
``campaign`` brings the two together. Nothing here knows what the blocks compute.
"""

from varflow.campaign.block import Block
from varflow.campaign.campaign import Campaign, Run
from varflow.campaign.work import Cancelled

__all__ = ["Block", "Campaign", "Cancelled", "Run"]
