"""The exact Markov chain of two steps at small width, tabulated: an oracle for neurons with memory.

States are counts of the spike trains 00, 10, 01, 11 of a layer; rows are multinomial, with probabilities of trains by bivariate
orthants (Owen's T).
"""

import numpy as np
from scipy.special import gammaln, ndtr, owens_t


def orthant(h, k, rho):
    """``P(X > h, Y > k)`` of standard normal numbers with correlation ``rho``."""
    h, k, rho = np.broadcast_arrays(-h, -k, rho)
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(np.maximum(1 - rho**2, 0))
        slopes = [np.nan_to_num((b / a - rho) / root, nan=0.0, posinf=np.inf, neginf=-np.inf) for a, b in ((h, k), (k, h))]
    split = (h * k < 0) | ((h * k == 0) & (h + k < 0))
    return ndtr(h) / 2 + ndtr(k) / 2 - owens_t(h, slopes[0]) - owens_t(k, slopes[1]) - split / 2


class TwoSteps:
    """The chain of a neuron with threshold 1 whose membrane after a spike is ``kept · H - taken``."""

    def __init__(self, width, gain, decay, kept, taken, drive=1.0):
        n = self.width = width
        some = [(a, b, c) for a in range(n + 1) for b in range(n + 1 - a) for c in range(n + 1 - a - b)]
        counts = np.array([(n - sum(trains), *trains) for trains in some])
        self.rates = np.stack([counts[:, 1] + counts[:, 3], counts[:, 2] + counts[:, 3]], axis=1) / n
        self.overlap = counts[:, 3] / n
        self.decay, self.kept, self.taken = decay, kept, taken
        self.coefficients = gammaln(n + 1) - gammaln(counts + 1).sum(axis=1)
        self.counts = counts
        moments = gain**2 * np.stack([*self.rates.T, self.overlap])
        self.matrix = self._rows(*moments)
        self.start = self._rows(*np.full((3, 1), drive**2))[0]

    def _rows(self, first, second, both):
        """Probabilities of the next counts, given the covariance of the currents of two steps."""
        trains = self._trains(first, second, both)
        with np.errstate(divide="ignore"):
            logs = np.log(np.maximum(trains, 1e-320))
        return np.exp(self.coefficients + logs @ self.counts.T)

    def _trains(self, first, second, both):
        def second_spikes(factor, level):
            """``P(c₁ > 1, factor c₁ + c₂ > level)``, and without the condition on ``c₁``."""
            spread = np.sqrt(np.maximum(factor**2 * first + 2 * factor * both + second, 1e-300))
            sigma = np.sqrt(np.maximum(first, 1e-300))
            rho = np.clip((factor * first + both) / (sigma * spread), -1, 1)
            h, k = np.minimum(1 / sigma, 40), np.minimum(level / spread, 40)
            return orthant(h, k, rho), ndtr(-k), ndtr(-h)

        fired_both, _, fires = second_spikes(self.decay * self.kept, 1 + self.taken)
        unreset, any_second, _ = second_spikes(self.decay, 1.0)
        only_second = any_second - unreset
        trains = np.stack([1 - fires - only_second, fires - fired_both, only_second, fired_both], axis=-1)
        return np.clip(trains, 0, 1)

    def alive(self, every):
        live = self.rates > 0
        return live.all(axis=1) if every else live[:, 1]

    def survival(self, layers, every=True):
        """Probability that layer ``layers`` is alive."""
        mass = self.start
        for _ in range(layers - 1):
            mass = mass @ self.matrix
        return float(mass[self.alive(every)].sum())

    def escape(self):
        """Escape rate from both steps alive, with the rates and the overlap of the quasi-stationary state."""
        inside = self.alive(every=True)
        part, mass = self.matrix[np.ix_(inside, inside)], np.ones(int(inside.sum()))
        left = 1.0
        for _ in range(120):  # the state settles by a factor 0.7 or less in a layer
            following = mass @ part
            left, mass = 1 - following.sum() / mass.sum(), following / following.sum()
        return float(left), mass @ self.rates[inside], float(mass @ self.overlap[inside])
