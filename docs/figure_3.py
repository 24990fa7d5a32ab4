"""Writes ``docs/figure-3.png``: variance and spikes over 100 layers with every published initialisation, θ = 1, width 1000.

Run from the repository: ``python docs/figure_3.py`` (minutes). The networks are those of the claim ``figure_3``: each layer is
filled by the method's own function.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from figures import described

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # for validation, which is in the repository and not in the wheel

from validation import work  # noqa: E402
from validation.claims.figure_3 import CLAIM, simulate  # noqa: E402
from varflow._files import replace_files  # noqa: E402


def figure() -> Any:
    settings = CLAIM.budgets["standard"]
    return settings.catalogue().plot_layers(simulate(settings, 0, work.HERE))


def main() -> None:
    replace_files({HERE / "figure-3.png": described(figure(), dpi=130)})


if __name__ == "__main__":
    main()
