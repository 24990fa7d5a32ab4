"""Theory: what layers do to signals at infinite and at finite width.

Shown here is what the maps of a layer of one's own are written with: signals of moments, and formulas that reach every place
where a signal holds second moments.
"""

from typing import TYPE_CHECKING

from varflow._lazy import loaded_when_asked

if TYPE_CHECKING:
    from varflow.model.graph import Uncovered
    from varflow.theory.operations.layer_norm import over_map
    from varflow.theory.operations.merge import summed
    from varflow.theory.operations.pool import averaged, averaged_back
    from varflow.theory.signals.gradients import Gradients
    from varflow.theory.signals.moments import Currents, Spikes, elementwise, rescaled
    from varflow.theory.signals.places import Window

__getattr__, __dir__ = loaded_when_asked(globals())
