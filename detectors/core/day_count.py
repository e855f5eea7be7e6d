"""Counting rows of a subject and trading day against a figure: the kernel several rules share."""

from typing import Any, Final

import numpy as np
from numba import njit

from detectors.core.contract import GROWTH, HEADROOM, OPENING
from detectors.core.emit import COMMON_STATE, emit, headroom_level, remember, roll, zero_numbers

DAY_COUNT: Final = np.dtype([*COMMON_STATE, ("count", "<i8"), ("next_count", "<i8")])
# numbers of a finding
COUNT, FIGURE, FIRST_NS = range(3)


@njit(cache=True, nogil=True)
def count_day(
    steps: Any, selection: Any, figure: int, state: Any, out: Any, count: Any
) -> None:
    """Count matching steps by subject and day; a finding at ``figure`` and at each doubling.

    ``selection`` = (1 by account or 0 by contract, rule bit, exempt bits, bits of ``what`` of
    which one must be set, smallest quantity). A row of a day before its subject's counts in the
    subject's day.
    """
    by_account, rule_bit, exempt, what, quantity_min = selection
    for i in range(len(steps)):
        step = steps[i]
        index = step["account"] if by_account == 1 else step["contract"]
        if index < 0 or step["rules"] & rule_bit == 0 or step["what"] & what == 0:
            continue
        if step["registered"] & exempt or step["quantity_e8"] < quantity_min:
            continue
        subject = state[index]
        if step["day"] > subject["day"] or subject["seen"] == 0:
            roll(subject, step)
            subject["count"] = 0
            subject["next_count"] = figure
        subject["count"] += 1
        remember(subject, step)
        level = headroom_level(subject["count"], figure, subject["warned"])
        if subject["count"] >= subject["next_count"]:
            phase = OPENING if subject["open"] == 0 else GROWTH
            subject["open"] = 1
            subject["next_count"] *= 2
        elif level > 0 and subject["open"] == 0:
            phase = HEADROOM
        else:
            continue
        subject["warned"] = max(level, subject["warned"])
        record = emit(out, count, phase, (i, i, index, step["time_ns"]), subject)
        zero_numbers(record)
        record["numbers"][COUNT] = subject["count"]
        record["numbers"][FIGURE] = figure
        record["numbers"][FIRST_NS] = subject["onset_ns"]
