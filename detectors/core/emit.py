"""Writing findings from kernels: the fields every subject and every finding has, in one place."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import (
    CONFIRMED,
    HEADROOM,
    NAMED,
    REASON_UNKNOWN,
    RECENT,
    WITHDRAWN,
)
from detectors.core.memory import DUE_NS, give_ring, take_ring
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

# The fields every state row begins with, so that these kernels can fill and read them.
COMMON_STATE: Final[list[Any]] = [
    ("day_end_ns", "<i8"),
    ("onset_ns", "<i8"),
    ("subject", "<i4"),  # row of the account or contract table
    ("next", "<i4"),  # index + 1 of the next row of its chain
    ("ring", "<i4"),  # index + 1 of the ring with the positions of its latest rows; 0 for none
    ("day", "<i4"),
    ("unknown_reasons", "<u4"),
    ("findings", "<u2"),  # of the day so far, headroom apart
    ("seen", "u1"),  # rows that counted since the day began, see ``count_seen``
    ("warned", "u1"),  # headroom level already told
    ("registered", "u1"),
    ("claimed", "u1"),
    ("open", "u1"),
    ("doublings", "u1"),  # how often the figure was doubled since the day began, see ``due_at``
]
COUNT_MAX: Final = 2**32 - 1  # counts of a row are held there, which a finding then shows
# Shares of the figure, in per cent, at which nearness is told, once each.
HEADROOM_LEVELS: Final = (80, 90, 95)
_DAY_NS: Final = 86_400 * SECOND_NS


@inlined
def begins_day(subject: Any, step: Any) -> Any:
    """Say whether the step is of a later day than its subject's (or the subject's first).

    A step of an earlier day counts in its subject's day.
    """
    return step["day"] > subject["day"] or subject["seen"] == 0


@inlined
def count_up(count: Int) -> Any:
    """Return a row's count plus one, held at the end of 32 bits."""
    return min(np.int64(count) + 1, COUNT_MAX)


@inlined
def due_at(figure: Int, subject: Any) -> Any:
    """Return the figure as often doubled as the subject's row says."""
    return np.int64(figure) << np.int64(subject["doublings"])


@kernel
def roll(subject: Any, step: Any, memory: Any) -> None:
    """Start a new day for a subject; the caller resets its own fields."""
    give_ring(subject, memory)
    subject["day"] = step["day"]
    subject["day_end_ns"] = step["day_end_ns"]
    subject["findings"] = 0
    subject["onset_ns"] = step["time_ns"]
    subject["unknown_reasons"] = 0
    subject["warned"] = 0
    subject["open"] = 0
    subject["doublings"] = 0
    subject["seen"] = 0  # a day's evidence is of that day, whatever is still known of earlier ones


@inlined
def begin_day(subject: Any, step: Any, memory: Any) -> None:
    """Begin a subject's day where the step does; what it saw begin earlier goes on."""
    if begins_day(subject, step):
        onset_ns = subject["onset_ns"]
        roll(subject, step, memory)
        subject["onset_ns"] = onset_ns


@inlined
def count_seen(subject: Any, width: Int) -> None:
    """Count a row, as far as a ring of ``width`` needs it: 0, how many, and which place is next."""
    seen = subject["seen"] + 1
    subject["seen"] = width if seen == 2 * width else seen


@kernel
def note_position(subject: Any, memory: Any, position: Int) -> None:
    """Count a row and keep where it stood, over the oldest one that is still known."""
    if subject["ring"] == 0:
        subject["ring"] = take_ring(memory) + 1
    width = memory.rings.shape[1]
    memory.rings[subject["ring"] - 1, subject["seen"] % width] = position
    count_seen(subject, width)


@inlined
def is_near(count: Int, figure: Int) -> Any:
    """Say whether a finding may be due within as many rows as its evidence names.

    A rule of which each row raises the count by one at most need not remember rows before that.
    """
    return np.int64(count) + RECENT > figure


@inlined
def remember(subject: Any, step: Any, memory: Any, keeps: bool) -> None:  # noqa: FBT001 - kernels take no keywords
    """Count a row and keep what was claimed by then; where it stood only if ``keeps``.

    A rule may do without as long as no finding can be due for so many rows as a ring holds.
    """
    if keeps:
        note_position(subject, memory, step["position"])
    else:
        count_seen(subject, RECENT)
    subject["registered"] = step["registered"]
    subject["claimed"] = step["claimed"]
    if step["what"] & REASON_UNKNOWN:
        subject["unknown_reasons"] = count_up(subject["unknown_reasons"])


@kernel
def emit(out: Any, count: Any, phase: Int, where: Any, subject: Any, memory: Any) -> Any:
    """Write one finding's common fields, its own numbers cleared, and return its index.

    ``where`` is (row of the batch or -1, row during which it happens or -1, time in ns).
    Only findings name rows and are numbered.
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
    width = memory.rings.shape[1]
    seen = np.int64(subject["seen"])
    held = min(seen, width) if phase < HEADROOM else 0
    record["recent_count"] = held
    for k in range(held):
        record["recent"][k] = memory.rings[subject["ring"] - 1, (seen - held + k) % width]
    for k in range(len(record["numbers"])):
        record["numbers"][k] = 0
    if phase < HEADROOM:
        subject["findings"] += 1
    return index


@kernel
def emit_step(
    out: Any, count: Any, phase: Int, i: Int, time_ns: Int, subject: Any, memory: Any
) -> Any:
    """Write a finding that row ``i`` of the batch brought about; return its index."""
    return emit(out, count, np.int64(phase), (np.int64(i), np.int64(i), time_ns), subject, memory)


@kernel
def emit_name(out: Any, count: Any, i: Int, time_ns: Int, subject: Any, memory: Any) -> None:
    """Have the stage learn from row ``i`` whom a finding is about that no row may bring about."""
    emit_step(out, count, np.int64(NAMED), i, time_ns, subject, memory)


@kernel
def emit_verdict(out: Any, count: Any, holds: bool, at: Int, subject: Any, memory: Any) -> Any:  # noqa: FBT001 - kernels take no keywords
    """Confirm or withdraw what is provisional on the subject's day; return the finding's index.

    ``at`` is the row of the batch that begins a later day, or -1 where time alone ended the day.
    """
    subject["open"] = 0
    phase = np.int64(CONFIRMED) if holds else np.int64(WITHDRAWN)
    where = (np.int64(-1), np.int64(at), subject["day_end_ns"])
    return emit(out, count, phase, where, subject, memory)


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
