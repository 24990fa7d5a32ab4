"""The neurons of simulators, by their own names and parameters, as :class:`varflow.Neuron`.

Each function takes the arguments of the class it is named after and returns the neuron with the same spikes for the same
currents, from rest; arguments without an equivalent raise DomainError. What a spike does to the next membrane, and when,
differs between the libraries even where the names agree. So does whether gradients pass through the reset: snnTorch (unless
``reset_delay=False``), stork and sinabs' ``MembraneReset`` detach it.

Thresholds and decays may be arrays or distributions (see :class:`varflow.Neuron`), if the input is not scaled by them.

====================  ================================  ===========================  ==================
preset                reset                             spike at                     current
====================  ================================  ===========================  ==================
snntorch_leaky        delayed_subtract, zero, none      ``H > θ``                    as it is
snntorch_synaptic     delayed_subtract, gate, none      ``H > θ``                    filtered
spikingjelly_lif      zero, subtract                    ``H ≥ θ``                    divided by τ
spikingjelly_if       zero, subtract                    ``H ≥ θ``                    as it is
norse_lif_box         zero, subtract                    ``H > θ``                    times dt/τ
norse_lif             zero                              ``H > θ``                    filtered, dt/τ
stork_lif             gate                              ``H > θ``, 3 steps late      filtered, 1 - β
sinabs_lif            multi_spike, subtract, zero       ``⌊H/θ⌋`` or ``H ≥ θ``       times 1 - β
====================  ================================  ===========================  ==================

Further, with the parameters of a circuit (snntorch_lapicque) or a synapse (spikingjelly_cubalif), rectified membranes
(snntorch_leaky_parallel, spikingjelly_klif), several spikes up to a limit (spikingjelly_ilif), any filter over time
(spikingjelly_psn), refractory steps (norse_lif_refrac), a threshold that moves (norse_lsnn, sinabs_alif), an adaptation current
(se_adlif).
"""

from __future__ import annotations

from varflow._lazy import names_of
from varflow.model.presets.norse import norse_lif, norse_lif_box, norse_lif_refrac, norse_lsnn
from varflow.model.presets.others import se_adlif, stork_lif
from varflow.model.presets.sinabs import sinabs_alif, sinabs_lif
from varflow.model.presets.snntorch import snntorch_lapicque, snntorch_leaky, snntorch_leaky_parallel, snntorch_synaptic
from varflow.model.presets.spikingjelly import (
    spikingjelly_cubalif,
    spikingjelly_if,
    spikingjelly_ilif,
    spikingjelly_klif,
    spikingjelly_lif,
    spikingjelly_psn,
)

__all__ = names_of(globals())  # pyright: ignore[reportUnsupportedDunderAll]
