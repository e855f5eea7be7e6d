"""Counting rows of a subject and trading day against a figure: the kernel several rules share."""

from typing import Any, Final

import numpy as np

from detectors.core.contract import GROWTH, HEADROOM, OPENING
from detectors.core.emit import (
    COMMON_STATE,
    begins_day,
    count_up,
    due_at,
    emit_step,
    headroom_level,
    is_near,
    remember,
    roll,
)
from detectors.core.memory import admit
from schemas.jit import kernel

DAY_COUNT: Final = np.dtype([*COMMON_STATE, ("count", "<u4")])
# numbers of a finding: the count, and the count at which this very finding was due
COUNT, DUE = range(2)


@kernel
def count_day(steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any) -> None:
    """Count matching steps by subject and day; a finding at the figure and at each doubling.

    ``figures`` = (figure, smallest quantity that counts in 10^-8 units). O(n), no allocation.
    """
    figure, quantity_min = figures
    for i in range(len(steps)):
        step = steps[i]
        if step["quantity_e8"] < quantity_min:
            continue
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        if begins_day(subject, step):
            roll(subject, step, memory)
            subject["count"] = 0
        subject["count"] = count_up(subject["count"])
        remember(subject, step, memory, is_near(subject["count"], figure))
        level = headroom_level(subject["count"], figure, subject["warned"])
        due = due_at(figure, subject)
        if subject["count"] >= due:
            phase = GROWTH if subject["open"] else OPENING
            subject["open"] = 1
            subject["doublings"] += 1
        elif level > 0:
            phase = HEADROOM
        else:
            continue
        subject["warned"] = max(level, subject["warned"])
        record = out[emit_step(out, count, phase, i, step["time_ns"], subject, memory)]
        record["numbers"][COUNT] = subject["count"]
        record["numbers"][DUE] = due
