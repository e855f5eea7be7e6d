"""Payoffs: which share of wins an account's own gains and losses break even at.

Who takes small gains and rare large losses wins often and earns nothing: nine gains of 1 and one
loss of 9 are no edge. The break-even share is the mean loss over the sum of mean loss and mean
gain, both of earlier round trips, so that it is known before the one it is held against.
"""

from typing import Any, Final

import numpy as np

from schemas.jit import Int, kernel

# Beside ``worst_e8``, the largest loss ever. Means need no more digits than these, and counts no
# more than what is past weighs.
PAYOFF: Final[list[Any]] = [("gain", "<f4"), ("loss", "<f4"), ("gains", "u1"), ("losses", "u1")]
_PAST: Final = 200  # of one sort; beyond, what is past counts half


@kernel
def forget_payoff(subject: Any) -> None:
    """Begin anew."""
    subject["gain"] = 0.0
    subject["loss"] = 0.0
    subject["gains"] = 0
    subject["losses"] = 0
    subject["worst_e8"] = 0


@kernel
def note_payoff(subject: Any, pnl_e8: Int) -> None:
    """Count a round trip's profit, in 10^-8 units."""
    pnl = np.float64(pnl_e8)
    if pnl > 0.0:
        count = np.int64(subject["gains"]) + 1
        subject["gain"] += (pnl - subject["gain"]) / count
        subject["gains"] = count // 2 if count > _PAST else count
    else:
        count = np.int64(subject["losses"]) + 1
        subject["loss"] += (-pnl - subject["loss"]) / count
        subject["losses"] = count // 2 if count > _PAST else count


@kernel
def break_even(subject: Any) -> Any:
    """Return the share of wins at which nothing is earned; 0 where nothing was gained or lost.

    As if the largest loss had come once more: a short past has too few of rare ones.
    """
    if subject["gains"] == 0 or subject["losses"] == 0:
        return 0.0
    losses = np.float64(subject["losses"])
    lost = np.float64(subject["loss"]) * losses - np.float64(subject["worst_e8"])
    loss = lost / (losses + 1.0)
    return loss / (loss + np.float64(subject["gain"]))
