"""The table of corrected gains over thresholds, widths and depths, with the resulting variance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from varflow._checks import DomainError, integer, listed, positive_number, probability
from varflow._progress import check_progress
from varflow.campaign import Block, Campaign, Run
from varflow.campaign.campaign import campaign_of
from varflow.init.gains import gain as preserving_gain
from varflow.init.inverse import corrected_gain
from varflow.results import CorrectedGain, CorrectedGainTable
from varflow.theory.finite_width.chain import survival_at
from varflow.theory.memoryless.stable import stable_variance

THRESHOLDS = tuple(sorted([*(k / 10 for k in range(1, 13)), 0.85]))  # the last is one of the paper


def corrected_gain_table(
    *,
    threshold: Sequence[float] | float = THRESHOLDS,
    width: Sequence[int] | int = (50, 100, 200, 300, 500, 1000, 2000, 5000),
    depth: Sequence[int] | int = (10, 20, 50, 100, 200),
    survival_target: float = 0.99,
    progress: bool | Callable[[int, int], object] = False,
    campaign: Campaign | Run | None = None,
) -> CorrectedGainTable:
    r"""Corrected gains over thresholds, widths and depths.

    .. math:: g(\theta, n, L) = \inf \{ g : P(K_L > 0) \ge 1 - \epsilon \}

    Parameters
    ----------
    threshold : float or sequence of float
        ``θ > 0``. By default 13 values from 0.1 to 1.2, 8 widths from 50 to 5000 and 5 depths from 10 to 200.
    width, depth : int or sequence of int
    survival_target : float
        ``1 - ε``, strictly between 0 and 1.
    progress : bool or callable
        True draws a bar on stderr; a callable receives ``(done, total)`` in rows.
    campaign : Campaign, optional
        Where rows are computed and kept; by default in this process, and nothing is kept.

    Returns
    -------
    CorrectedGainTable
        ``.rows`` ``.to_csv()`` ``.to_dict()``

    Raises
    ------
    DomainError
        For values outside their domain. A row is NaN if no gain reaches the target.

    Notes
    -----
    **Assumes** equal layers, normal weights, no bias, currents of standard deviation 1.
    **Accuracy**: the gains to a relative 1e-12, see :func:`varflow.corrected_gain`. The default table ships with the package
    as ``varflow/data/corrected_gains.csv``; ``varflow lookup --table corrected_gains.csv`` makes it.
    **Source**: derived here; the preserving gain is ``micheli2024``'s.

    Examples
    --------
    >>> import varflow as vf
    >>> row = vf.corrected_gain_table(threshold=1.0, width=100, depth=100).rows[0]
    >>> print(f"{row.paper_gain**2:.4f} {row.survival_at_paper_gain:.4f} {row.corrected_gain**2:.4f} {row.variance:.3f}")
    6.3030 0.0171 8.1639 1.921
    """
    thetas = [positive_number("threshold", value) for value in listed("threshold", threshold)]
    widths = [integer("width", n, minimum=1) for n in listed("width", width)]
    depths = [integer("depth", n, minimum=1) for n in listed("depth", depth)]
    target = probability("survival_target", survival_target, open_ends=True)
    check_progress(progress)
    cells = [{"threshold": theta, "width": n, "depth": L} for theta in thetas for n in widths for L in depths]
    blocks = [Block(row, cell | {"survival_target": target}) for cell in cells]
    with campaign_of(campaign).opened() as run:
        rows = run.results(blocks, progress=progress, what="rows")
    return CorrectedGainTable(tuple(CorrectedGain(**values) for values in rows))


def row(threshold: float, width: int, depth: int, survival_target: float) -> dict[str, float]:
    """The fields of one :class:`varflow.results.CorrectedGain`."""
    paper = float(preserving_gain(threshold=threshold))
    asked = {"threshold": threshold, "width": width, "depth": depth, "survival_target": survival_target}
    known = asked | {"paper_gain": paper, "survival_at_paper_gain": survival_at(threshold, paper, width, depth)}
    try:
        corrected = float(corrected_gain(**asked))
    except DomainError:  # not attainable at any gain
        return known | dict.fromkeys(("corrected_gain", "corrected_survival", "variance"), float("nan"))
    survival = survival_at(threshold, corrected or paper, width, depth)
    variance = float(stable_variance(threshold=threshold, gain=corrected)) if corrected else 0.0
    return known | {"corrected_gain": corrected, "corrected_survival": survival, "variance": variance}
