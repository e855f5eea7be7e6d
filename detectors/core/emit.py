"""Writing findings from kernels: the fields every subject and every finding has, in one place."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import CONFIRMED, HEADROOM, REASON_UNKNOWN, RECENT, WITHDRAWN
from detectors.core.memory import DUE_NS
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

_COMMON: Final = [
    ("subject", "<i4"),  # row of the account or contract table
    ("day", "<i4"),
    ("findings", "<i4"),  # of the day so far, headroom apart
    ("warned", "u1"),  # headroom level already told
    ("registered", "u1"),
    ("claimed", "u1"),
    ("open", "u1"),
    ("day_end_ns", "<i8"),
    ("onset_ns", "<i8"),
    ("seen", "<i8"),  # rows that counted since the day began; the recent ones' ring index
    ("unknown_reasons", "<i8"),
]


def common_state(recent: int = RECENT) -> list[Any]:
    """Return the fields every state row begins with, so that these kernels can fill and read them.

    ``recent`` is how many positions it remembers.
    """
    return [*_COMMON, ("recent", "<i8", (recent,))]


COMMON_STATE: Final = common_state()
# Shares of the figure, in per cent, at which nearness is told, once each.
HEADROOM_LEVELS: Final = (80, 90, 95)
_DAY_NS: Final = 86_400 * SECOND_NS


@inlined
def begins_day(subject: Any, step: Any) -> Any:
    """Say whether the step is of a later day than its subject's (or the subject's first).

    A step of an earlier day counts in its subject's day.
    """
    return step["day"] > subject["day"] or subject["seen"] == 0


@kernel
def roll(subject: Any, step: Any) -> None:
    """Start a new day for a subject; the caller resets its own fields."""
    subject["day"] = step["day"]
    subject["day_end_ns"] = step["day_end_ns"]
    subject["findings"] = 0
    subject["onset_ns"] = step["time_ns"]
    subject["unknown_reasons"] = 0
    subject["warned"] = 0
    subject["open"] = 0
    subject["seen"] = 0  # a day's evidence is of that day, whatever is still known of earlier ones


@inlined
def remember(subject: Any, step: Any) -> None:
    """Keep where a counted row stood, and what was claimed by then."""
    subject["recent"][subject["seen"] % RECENT] = step["position"]
    subject["seen"] += 1
    subject["registered"] = step["registered"]
    subject["claimed"] = step["claimed"]
    if step["what"] & REASON_UNKNOWN:
        subject["unknown_reasons"] += 1


@kernel
def emit(out: Any, count: Any, phase: Int, where: Any, subject: Any) -> Any:
    """Write one finding's common fields, its own numbers cleared, and return its index.

    ``where`` is (row of the batch or -1, row during which it happens or -1, time in ns).
    """
    index = count[0]
    count[0] = index + 1
    record = out[index]
    record["phase"] = phase
    record["row"] = where[0]
    record["at"] = where[1]
    record["subject"] = subject["subject"]
    record["time_ns"] = where[2]
    record["ordinal"] = subject["findings"]
    record["day"] = subject["day"]
    record["onset_ns"] = subject["onset_ns"]
    record["day_end_ns"] = subject["day_end_ns"]
    record["registered"] = subject["registered"]
    record["claimed"] = subject["claimed"]
    record["unknown_reasons"] = subject["unknown_reasons"]
    width = len(subject["recent"])
    held = min(subject["seen"], width)
    record["recent_count"] = held
    for k in range(held):
        record["recent"][k] = subject["recent"][(subject["seen"] - held + k) % width]
    for k in range(len(record["numbers"])):
        record["numbers"][k] = 0
    if phase != HEADROOM:
        subject["findings"] += 1
    return index


@kernel
def emit_step(out: Any, count: Any, phase: Int, i: Int, time_ns: Int, subject: Any) -> Any:
    """Write a finding that row ``i`` of the batch brought about; return its index."""
    return emit(out, count, np.int64(phase), (np.int64(i), np.int64(i), time_ns), subject)


@kernel
def emit_verdict(out: Any, count: Any, holds: bool, at: Int, subject: Any) -> Any:  # noqa: FBT001 - kernels take no keywords
    """Confirm or withdraw what is provisional on the subject's day; return the finding's index.

    ``at`` is the row of the batch that begins a later day, or -1 where time alone ended the day.
    """
    subject["open"] = 0
    phase = np.int64(CONFIRMED) if holds else np.int64(WITHDRAWN)
    return emit(out, count, phase, (np.int64(-1), np.int64(at), subject["day_end_ns"]), subject)


@inlined
def await_verdict(subject: Any, memory: Any) -> None:
    """Note that the subject's day must be judged when it is over."""
    subject["open"] = 1
    memory.counters[DUE_NS] = min(memory.counters[DUE_NS], subject["day_end_ns"])


def has_ended(rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
    """Say of each subject whether every step at the horizon or later begins a new day for it.

    Calendars differ by a day at most: a row's trading day is never before its date in the zone
    farthest west, which is the date of UTC or the one before.
    """
    ended: NDArray[np.bool_] = rows["day"] < horizon_ns // _DAY_NS - 1
    return ended


@inlined
def headroom_level(value: Int, figure: Int, warned: Int) -> Any:
    """Return the highest level newly reached by ``value`` of ``figure``, or 0."""
    level = np.int64(0)
    for k in range(len(HEADROOM_LEVELS)):
        if warned < HEADROOM_LEVELS[k] and value * 100 >= figure * HEADROOM_LEVELS[k]:
            level = np.int64(HEADROOM_LEVELS[k])
    return level
