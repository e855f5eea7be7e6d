"""Writing findings from kernels: the fields every finding has, in one place."""

from typing import Any, Final

import numpy as np
from numba import njit

from detectors.core.contract import RECENT

# Fields every state row begins with, so that these kernels can fill and read them.
COMMON_STATE: Final = [
    ("day", "<i4"),
    ("findings", "<i4"),  # of the day so far
    ("day_end_ns", "<i8"),
    ("onset_ns", "<i8"),
    ("seen", "<i8"),  # rows that counted, ever; the recent ones' ring index
    ("recent", "<i8", (RECENT,)),
    ("warned", "u1"),  # headroom level already told
    ("registered", "u1"),
    ("claimed", "u1"),
    ("open", "u1"),
    ("padding", "u1", (4,)),
]
# Shares of the figure, in per cent, at which nearness is told, once each.
HEADROOM_LEVELS: Final = (80, 90, 95)


@njit(cache=True, nogil=True)
def roll(subject: Any, step: Any) -> None:
    """Start a new day for a subject; the caller resets its own fields."""
    subject["day"] = step["day"]
    subject["day_end_ns"] = step["day_end_ns"]
    subject["findings"] = 0
    subject["onset_ns"] = step["time_ns"]
    subject["warned"] = 0
    subject["open"] = 0


@njit(cache=True, nogil=True)
def remember(subject: Any, step: Any) -> None:
    """Keep where a counted row stood, and what was claimed by then."""
    subject["recent"][subject["seen"] % RECENT] = step["position"]
    subject["seen"] += 1
    subject["registered"] = step["registered"]
    subject["claimed"] = step["claimed"]


@njit(cache=True, nogil=True)
def emit(out: Any, count: Any, phase: int, where: Any, subject: Any) -> Any:
    """Write one finding's common fields and return its record.

    ``where`` is (row of the batch or -1, row during which it happens or -1, state row, time in ns).
    """
    record = out[count[0]]
    count[0] += 1
    record["phase"] = phase
    record["row"] = where[0]
    record["at"] = where[1]
    record["subject"] = where[2]
    record["time_ns"] = where[3]
    record["ordinal"] = subject["findings"]
    record["day"] = subject["day"]
    record["onset_ns"] = subject["onset_ns"]
    record["day_end_ns"] = subject["day_end_ns"]
    record["registered"] = subject["registered"]
    record["claimed"] = subject["claimed"]
    held = min(subject["seen"], RECENT)
    record["recent_count"] = held
    for k in range(held):
        record["recent"][k] = subject["recent"][(subject["seen"] - held + k) % RECENT]
    subject["findings"] += 1
    return record


@njit(cache=True, nogil=True)
def headroom_level(value: int, figure: int, warned: int) -> int:
    """Return the highest level newly reached by ``value`` of ``figure``, or 0."""
    level = 0
    for k in range(len(HEADROOM_LEVELS)):
        if warned < HEADROOM_LEVELS[k] and value * 100 >= figure * HEADROOM_LEVELS[k]:
            level = HEADROOM_LEVELS[k]
    return level


@njit(cache=True, nogil=True)
def zero_numbers(record: Any) -> None:
    """Clear a record's own evidence numbers before the detector writes its own."""
    for k in range(len(record["numbers"])):
        record["numbers"][k] = np.int64(0)
