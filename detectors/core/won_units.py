"""Units that were won or lost, and what they earned: what rules about win rates have in common."""

from typing import Any, Final

import numpy as np

from detectors.core import wide
from detectors.core.emit import COUNT_MAX
from schemas.jit import Int, kernel

# Their fields of a rule's state row, and their places in a finding's numbers.
MONEY: Final[list[Any]] = [("pnl_e8", "<i8"), ("worst_e8", "<i8")]
COUNTS: Final[list[Any]] = [("units", "<u4"), ("wins", "<u4")]
UNITS, WINS, PNL_E8, WORST_E8 = range(4)
PPM: Final = 1_000_000


@kernel
def forget_units(subject: Any) -> None:
    """Begin to count anew."""
    subject["units"] = 0
    subject["wins"] = 0
    subject["pnl_e8"] = 0
    subject["worst_e8"] = 0


@kernel
def count_units(subject: Any, units: Int, wins: Int, pnl_e8: Int) -> None:
    """Count units, how many more of them stand as won, and what they earned in 10^-8 units."""
    subject["units"] = min(np.int64(subject["units"]) + np.int64(units), COUNT_MAX)
    subject["wins"] = min(np.int64(subject["wins"]) + np.int64(wins), COUNT_MAX)
    subject["pnl_e8"] = wide.add_held(subject["pnl_e8"], pnl_e8)
    subject["worst_e8"] = min(subject["worst_e8"], pnl_e8)


@kernel
def write_units(record: Any, subject: Any) -> None:
    """Write a finding's first four numbers."""
    record["numbers"][UNITS] = subject["units"]
    record["numbers"][WINS] = subject["wins"]
    record["numbers"][PNL_E8] = subject["pnl_e8"]
    record["numbers"][WORST_E8] = subject["worst_e8"]


def units_of(finding: np.void) -> tuple[int, int, float]:
    """Return units, wins and the share won."""
    units, wins = int(finding["numbers"][UNITS]), int(finding["numbers"][WINS])
    return units, wins, wins / units if units else 0.0


def units_evidence(finding: np.void) -> dict[str, Any]:
    """Return the four numbers, and the share, as evidence."""
    units, wins, _ = units_of(finding)
    return {
        "units": units,
        "wins": wins,
        "win_rate_ppm": wins * PPM // units if units else 0,
        "realized_pnl_e8": str(int(finding["numbers"][PNL_E8])),
        "largest_loss_e8": str(int(finding["numbers"][WORST_E8])),
    }
