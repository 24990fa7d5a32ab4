r"""Growth of gradients per layer for infinitely many steps, with a leak through which alone they pass from step to step.

With ``D = β`` the layer map acts on a stationary ``G(τ) = E[δ_t δ_{t+τ}]`` as a linear operator; the growth is the top of its
spectrum,

.. math:: \Lambda\, G(\tau) = \frac{\lambda^2 g^2}{1 - \beta^2} \sum_\sigma \beta^{|\tau - \sigma|} K_\psi(\sigma)\, G(\sigma),
          \qquad K_\psi(\sigma) = E[\psi_t \psi_{t+\sigma}]

either an eigenvalue or, for ``G`` spread over long times, ``λ² g² K_ψ(∞)/(1 - β)²``.
"""

from __future__ import annotations

import numpy as np

FEWEST_STEPS = 16
SPAN = 8  # of the lags kept, in steps of the network or memories 1/(1 - β) of the leak, whichever is longer


def long_time_rate(decay: float, second: np.ndarray) -> float:
    """``Λ``, from ``λ² g² E[ψ_t ψ_t']`` of a deep layer (steps, steps), whose late half counts as stationary."""
    if decay == 1:
        return np.inf
    steps = len(second)
    late = second[steps // 2 :, steps // 2 :]
    by_lag = np.array([np.diagonal(late, lag).mean() for lag in range(len(late) // 2 + 1)])
    far = by_lag[-1]
    lag = np.arange(-(reach := int(SPAN * max(steps, 1 / (1 - decay)))), reach + 1)
    root = np.sqrt(np.maximum(by_lag[np.minimum(np.abs(lag), len(by_lag) - 1)], 0.0))
    kernel = decay ** np.abs(lag[:, None] - lag) / (1 - decay**2)
    top = np.linalg.eigvalsh(root[:, None] * kernel * root)[-1]
    return float(max(top, far / (1 - decay) ** 2))
