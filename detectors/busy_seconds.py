"""Busy seconds: separate seconds of a trading day with many orders and cancels of one account.

A window opens at an action that no earlier window covers, and covers what comes less than
``window_ns`` after it; so windows never overlap, and none reaches into the next trading day. It is
busy with ``actions_min`` actions or more and, where there is an ``actions_max``, with fewer than
that. An action that arrives after a later one of its account counts in the window at hand. A run of
actions that an earlier window cuts in two may so be missed: the count errs towards silence.

Without ``actions_max`` a window counts with the action that makes it busy, which is the finding's
trigger. With it a window can be told only when it is over: it is judged by the account's next
action outside it, which is the trigger then, or else by the end of its trading day. A finding of
that kind has the day as its trigger, and the window's end as its time. The rows it names are those
of the window in both cases. While such a window decides, it is told as headroom.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core.contract import (
    ACTION,
    GROWTH,
    HEADROOM,
    OPENING,
    RECENT,
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.emit import (
    COMMON_STATE,
    begins_day,
    count_up,
    due_at,
    emit,
    has_ended,
    headroom_level,
    remember,
    roll,
)
from detectors.core.memory import (
    DUE_NS,
    NEVER_DUE,
    ROWS,
    FindingBuffer,
    SubjectState,
    admit,
    fetch_ahead,
)
from detectors.core.wording import at_most, count_of, seconds, shared_evidence, standing
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("start_ns", "<i8"),  # of the window at hand
        ("in_window", "<u4"),  # its actions so far
        ("largest", "<u4"),  # actions of the day's fullest window
        ("windows", "<u4"),  # busy ones of the day that are counted
        ("waits", "u1"),  # the window at hand makes a finding should it end as it stands
        ("padding", "u1", (3,)),
    ]
)
WINDOWS, DUE, LATEST, LARGEST = range(4)  # numbers of a finding
_DECIDES: Final = 100  # per cent of the figure: the next window to end is the one that matters


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    actions_min
        Orders, replaces and customer cancels that make a window busy.
    actions_max
        As many and more make it another rule's; 0: there is no such bound.
    times_min
        Busy windows of the trading day that fire.
    window_ns
        Length of a window, event time.
    """

    actions_min: int = 10
    actions_max: int = 0
    times_min: int = 10
    window_ns: int = SECOND_NS

    def __post_init__(self) -> None:
        """Refuse bounds between which there is nothing."""
        if 0 < self.actions_max <= self.actions_min:
            raise ValueError(
                f"actions_max is {self.actions_max}, which leaves no window busy: take more than "
                f"actions_min, {self.actions_min}, or 0 for no bound"
            )


@inlined
def _is_near(subject: Any, figures: Any) -> Any:
    """Say whether a finding may be due within as many actions as its evidence names."""
    times_min, actions_min, _, _ = figures
    windows = due_at(times_min, subject) - np.int64(subject["windows"])
    return windows * actions_min - min(np.int64(subject["in_window"]), actions_min) < RECENT


@kernel
def _write(
    subject: Any, phase: Int, due: Int, where: Any, memory: Any, out: Any, count: Any
) -> Any:
    """Write a finding; return its index."""
    subject["onset_ns"] = min(subject["onset_ns"], where[2])
    index = emit(out, count, np.int64(phase), where, subject, memory)
    numbers = out[index]["numbers"]
    numbers[WINDOWS] = subject["windows"]
    numbers[DUE] = due
    numbers[LATEST] = subject["in_window"]
    numbers[LARGEST] = subject["largest"]
    return index


@kernel
def _count_window(
    subject: Any, where: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Count the window at hand, and tell what is due; of headroom only what a row brings about."""
    subject["windows"] = count_up(subject["windows"])
    if subject["windows"] == 1:
        subject["onset_ns"] = subject["start_ns"]
    level = headroom_level(subject["windows"], figures[0], subject["warned"])
    due = due_at(figures[0], subject)
    if subject["windows"] >= due:
        phase = GROWTH if subject["open"] else OPENING
        subject["open"] = 1
        subject["doublings"] += 1
    elif level > 0 and where[0] >= 0:
        phase = HEADROOM
    else:
        return
    subject["warned"] = max(level, subject["warned"])
    _write(subject, phase, due, where, memory, out, count)


@kernel
def _end_window(subject: Any, where: Any, figures: Any, memory: Any, out: Any, count: Any) -> None:
    """Judge the window at hand, which is over, where that could not be done before."""
    _, actions_min, actions_max, _ = figures
    if actions_min <= subject["in_window"] < actions_max:
        _count_window(subject, where, figures, memory, out, count)
    subject["waits"] = 0
    subject["in_window"] = 0


@inlined
def _at_day_end(subject: Any, at: Int, window_ns: Int) -> Any:
    """Say where the day's last window is judged, at the time of its own end.

    ``at`` is the row of the batch that comes after the day, or -1 where time alone ended it.
    """
    end_ns = min(subject["start_ns"] + window_ns, subject["day_end_ns"] - 1)
    return np.int64(-1), np.int64(at), np.int64(end_ns)


@kernel
def _take(subject: Any, where: Any, figures: Any, memory: Any, out: Any, count: Any) -> None:
    """See what the action just counted makes of the window at hand."""
    times_min, actions_min, actions_max, _ = figures
    subject["largest"] = max(subject["largest"], subject["in_window"])
    if actions_max > 0 and subject["in_window"] >= actions_max:
        subject["waits"] = 0
    if subject["in_window"] != actions_min:
        return
    if actions_max == 0:
        _count_window(subject, where, figures, memory, out, count)
    elif actions_max > actions_min and subject["windows"] + 1 >= due_at(times_min, subject):
        subject["waits"] = 1
        memory.counters[DUE_NS] = min(memory.counters[DUE_NS], subject["day_end_ns"])
        if subject["open"] == 0 and subject["warned"] < _DECIDES:
            # Told by a row, this also gives the account its name, which time alone cannot.
            subject["warned"] = _DECIDES
            index = _write(subject, HEADROOM, times_min, where, memory, out, count)
            out[index]["numbers"][WINDOWS] += 1  # the one at hand


@kernel
def follow_windows(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Count each account's busy windows by day; a finding at the figure and at each doubling.

    A window holds the actions j from its first, i, on with time_j < time_i + window. ``figures`` =
    (times_min, actions_min, actions_max or 0, window_ns). O(n), no allocation.
    """
    window_ns = figures[3]
    for i in range(len(steps)):
        fetch_ahead(steps, i, selection, memory)
        step = steps[i]
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        where = (np.int64(i), np.int64(i), np.int64(step["time_ns"]))
        if begins_day(subject, step):
            _end_window(subject, _at_day_end(subject, i, window_ns), figures, memory, out, count)
            roll(subject, step, memory)
            subject["windows"] = 0
            subject["largest"] = 0
        elif step["time_ns"] >= subject["day_end_ns"]:  # the day lasts longer on another venue
            _end_window(subject, _at_day_end(subject, i, window_ns), figures, memory, out, count)
            subject["day_end_ns"] = max(subject["day_end_ns"], step["day_end_ns"])
        elif step["time_ns"] >= subject["start_ns"] + window_ns:
            _end_window(subject, where, figures, memory, out, count)
        if subject["in_window"] == 0:
            subject["start_ns"] = step["time_ns"]
        subject["in_window"] = count_up(subject["in_window"])
        remember(subject, step, memory, _is_near(subject, figures))
        _take(subject, where, figures, memory, out, count)


@kernel
def close_days(memory: Any, watermark_ns: Int, figures: Any, out: Any, count: Any) -> None:
    """Judge the last windows of days that ended by the watermark, as far as there is room."""
    due_ns = NEVER_DUE
    for row in range(memory.counters[ROWS]):
        if count[0] == len(out):
            return
        subject = memory.rows[row]
        if subject["waits"] == 0:
            continue
        if subject["day_end_ns"] <= watermark_ns:
            where = _at_day_end(subject, np.int64(-1), figures[3])
            _end_window(subject, where, figures, memory, out, count)
        else:
            due_ns = min(due_ns, subject["day_end_ns"])
    memory.counters[DUE_NS] = due_ns


class BusySeconds(Detector):
    """Fires at ``times_min`` busy windows of one account on one day, and at each doubling."""

    name: ClassVar[str] = "busy_seconds"
    subject: ClassVar[Literal["account"]] = "account"
    wanted: ClassVar[int] = ACTION
    params_type: ClassVar[type[Struct]] = Params

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def _figures(self) -> tuple[int, int, int, int]:
        p = self.params
        return p.times_min, p.actions_min, p.actions_max, p.window_ns

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        memory = state.memory()
        follow_windows(steps, self.selection, self._figures(), memory, out.records, out.count)

    def close(self, state: SubjectState, watermark_ns: int, out: FindingBuffer) -> None:
        """See ``Detector.close``."""
        close_days(state.memory(), watermark_ns, self._figures(), out.records, out.count)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``."""
        spent: NDArray[np.bool_] = has_ended(rows, horizon_ns) & (rows["waits"] == 0)
        return spent

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        windows, due, latest, largest = (int(finding["numbers"][k]) for k in range(LARGEST + 1))
        many = f"{p.actions_min:,} to {p.actions_max - 1:,}" if p.actions_max else (
            f"{p.actions_min:,} or more"
        )  # fmt: skip
        kind = f"of {seconds(p.window_ns)} with {many} orders and cancels"
        why = (
            f"{count_of(windows, 'separate window')} {kind} on the trading day, {latest:,} in the "
            f"latest; the rule's figure is {p.times_min:,}."
        )
        evidence = {
            "windows": windows,
            "figure": p.times_min,
            "actions_min": p.actions_min,
            "actions_max": p.actions_max,
            "window_ns": str(p.window_ns),
            "actions_in_latest_window": latest,
            "actions_in_largest_window": largest,
            **shared_evidence(finding, self.rule),
        }
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most(f"separate windows {kind}", due - 1, windows, within="on the trading day"),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        windows = int(finding["numbers"][WINDOWS])
        return Nearness(float(windows), float(self.params.times_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {
            "busy": {"actions_min": 2, "times_min": 2},
            "between": {"actions_min": 2, "actions_max": 4, "times_min": 2},
        }
