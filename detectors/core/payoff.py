"""Payoffs: which share of wins an account's own gains and losses break even at.

Who takes small gains and rare large losses wins often and earns nothing: nine gains of 1 and one
loss of 9 are no edge. The break-even share is the mean loss over the sum of mean loss and mean
gain, both of earlier round trips, so that it is known before the one it is held against.
"""

from typing import Any, Final

import numpy as np

from detectors.core import wide
from schemas.jit import Int, kernel

PAYOFF: Final[list[Any]] = [
    ("gained_e8", "<i8"),
    ("lost_e8", "<i8"),
    ("largest_loss_e8", "<i8"),
    ("gains", "<u4"),
    ("losses", "<u4"),
]
_PAST: Final = 1_000  # of one sort; beyond, what is past counts half


@kernel
def forget_payoff(subject: Any) -> None:
    """Begin anew."""
    subject["gained_e8"] = 0
    subject["lost_e8"] = 0
    subject["largest_loss_e8"] = 0
    subject["gains"] = 0
    subject["losses"] = 0


@kernel
def note_payoff(subject: Any, pnl_e8: Int) -> None:
    """Count a round trip's profit, in 10^-8 units."""
    if pnl_e8 > 0:
        subject["gained_e8"] = wide.add_held(subject["gained_e8"], pnl_e8)
        subject["gains"] += np.uint32(1)
        if subject["gains"] > _PAST:
            subject["gained_e8"] //= 2
            subject["gains"] //= np.uint32(2)
        return
    subject["lost_e8"] = wide.add_held(subject["lost_e8"], -pnl_e8)
    subject["largest_loss_e8"] = max(subject["largest_loss_e8"], -pnl_e8)
    subject["losses"] += np.uint32(1)
    if subject["losses"] > _PAST:
        subject["lost_e8"] //= 2
        subject["losses"] //= np.uint32(2)


@kernel
def break_even(subject: Any) -> Any:
    """Return the share of wins at which nothing is earned; 0 where nothing was gained or lost.

    As if the largest loss had come once more: a short past has too few of rare ones.
    """
    if subject["gains"] == 0 or subject["losses"] == 0:
        return 0.0
    gain = np.float64(subject["gained_e8"]) / np.float64(subject["gains"])
    lost = np.float64(subject["lost_e8"]) + np.float64(subject["largest_loss_e8"])
    loss = lost / (np.float64(subject["losses"]) + 1.0)
    return loss / (loss + gain)
