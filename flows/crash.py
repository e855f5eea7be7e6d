"""Named points at which a crash test ends the process, as a power cut would: with SIGKILL.

Set TAPEWATCH_CRASH_AT=POINT:N and the N-th passing of POINT kills the process. Unset, which is
always but in tests, a point costs one dictionary look-up.
"""

import os
import signal
from collections import Counter
from typing import Final

VARIABLE: Final = "TAPEWATCH_CRASH_AT"
POINTS: Final = (
    "ledger.before_commit",
    "ledger.after_commit",
    "ledger.mid_apply",
    "store.before_commit",
    "store.after_commit",
    "snapshot.account",
    "snapshot.instruments",
    "snapshot.writer",
    "between",
)
STATE_POINTS: Final = ("state.written", "state.compacting", "state.compacted")  # pointers only
LIVE_POINTS: Final = ("live.before_send", "live.after_send")  # passed with live features only


class CrashPoints:
    """Counts passings; kills at the one that was asked for."""

    def __init__(self, wanted: str | None = None) -> None:
        text = os.environ.get(VARIABLE, "") if wanted is None else wanted
        self._point, _, count = text.partition(":")
        self._count = int(count or 1)
        self._passed: Counter[str] = Counter()

    def __call__(self, point: str) -> None:
        """Pass a point."""
        if point != self._point:
            return
        self._passed[point] += 1
        if self._passed[point] >= self._count:  # several threads may pass at once
            os.kill(os.getpid(), signal.SIGKILL)
