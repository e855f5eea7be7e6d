"""Order rate: orders and cancels of one account in a sliding second, or in a trading day.

The second is exact and slides: at each action, the actions of the last second are counted, this
one included. An action that arrives after a later one of its account counts at the later time.
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
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.day_count import COUNT, DAY_COUNT, DUE, count_day
from detectors.core.emit import (
    COMMON_STATE,
    begins_day,
    count_up,
    due_at,
    emit_step,
    has_ended,
    headroom_level,
    is_near,
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
from detectors.core.sliding import QUEUE, drop_until, empty, give_back_ns, oldest_ns, push
from detectors.core.wording import at_most, count_of, seconds, shared_evidence, standing
from schemas.events import SECOND_NS
from schemas.jit import Int, kernel

WINDOW_STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("time_ns", "<i8"),  # of the newest action
        *QUEUE,  # of the actions in the window
        ("bursts", "<u4"),  # of the day
        ("burst_doublings", "u1"),  # 2 to this power are told next
        ("is_over", "u1"),
        ("padding", "u1", (2,)),
    ]
)
BURSTS: Final = 2  # further number of a finding: separate bursts so far today


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    measure
        ``second`` (sliding) or ``day`` (trading day).
    actions_min
        Orders, replaces and customer cancels that fire, in the measure.
    window_ns
        Length of the sliding window, event time; only for ``second``.
    """

    measure: Literal["second", "day"] = "second"
    actions_min: int = 300
    window_ns: int = SECOND_NS


@kernel
def _judge(subject: Any, figure: Int) -> Any:
    """Return phase (0: none) of the finding this action makes, and the count that was due."""
    held = np.int64(subject["in_window"])
    if held < figure:
        if held * 2 < figure:
            subject["is_over"] = 0  # a burst has ended; the next one is another
        return 0, figure
    if subject["is_over"] == 0:
        subject["is_over"] = 1
        subject["bursts"] = count_up(subject["bursts"])
    if subject["open"] == 0:
        subject["open"] = 1
        subject["doublings"] = 1
        subject["burst_doublings"] = 1
        return OPENING, figure
    due = due_at(figure, subject)
    if held >= due:
        subject["doublings"] += 1
        return GROWTH, due
    if np.int64(subject["bursts"]) >> np.int64(subject["burst_doublings"]) > 0:
        subject["burst_doublings"] += 1
        return GROWTH, figure
    return 0, figure


@kernel
def actions_in_window(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Count each account's actions j <= i with time_j > time_i - window, exactly.

    ``figures`` = (figure, window_ns). The times of one account are taken as their running maximum.
    O(n), no allocation.
    """
    figure, window_ns = figures
    for i in range(len(steps)):
        fetch_ahead(steps, i, selection, memory)
        step = steps[i]
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        if begins_day(subject, step):
            roll(subject, step, memory)
            subject["bursts"] = 0
            subject["is_over"] = 0
        subject["time_ns"] = max(subject["time_ns"], step["time_ns"])
        drop_until(subject, memory, subject["time_ns"] - window_ns)
        push(subject, memory, subject["time_ns"])
        remember(subject, step, memory, is_near(subject["in_window"], figure))
        phase, due = _judge(subject, figure)
        level = headroom_level(subject["in_window"], figure, subject["warned"])
        if phase == 0 and level > 0:
            phase = HEADROOM
        if phase == 0:
            continue
        subject["warned"] = max(level, subject["warned"])
        subject["onset_ns"] = oldest_ns(subject, memory)
        record = out[emit_step(out, count, phase, i, step["time_ns"], subject, memory)]
        record["numbers"][COUNT] = subject["in_window"]
        record["numbers"][DUE] = due
        record["numbers"][BURSTS] = subject["bursts"]


@kernel
def give_back(memory: Any, horizon_ns: Int) -> None:
    """Give back every subject's actions that no later step can count."""
    next_ns = NEVER_DUE
    for row in range(memory.counters[ROWS]):
        subject = memory.rows[row]
        if subject["first"] == 0:
            continue
        if subject["time_ns"] <= horizon_ns:
            empty(subject, memory)
        else:
            next_ns = min(next_ns, give_back_ns(subject["time_ns"]))
    memory.counters[DUE_NS] = next_ns


class OrderRate(Detector):
    """Fires at ``actions_min`` actions of one account in a sliding second, or in a day."""

    name: ClassVar[str] = "order_rate"
    subject: ClassVar[Literal["account"]] = "account"
    wanted: ClassVar[int] = ACTION
    params_type: ClassVar[type[Struct]] = Params
    uses_pool: ClassVar[bool] = True

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return DAY_COUNT if self.params.measure == "day" else WINDOW_STATE

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        p, memory = self.params, state.memory()
        if p.measure == "day":
            count_day(steps, self.selection, (p.actions_min, 0), memory, out.records, out.count)
            return
        figures = (p.actions_min, p.window_ns)
        actions_in_window(steps, self.selection, figures, memory, out.records, out.count)

    def close(self, state: SubjectState, watermark_ns: int, out: FindingBuffer) -> None:
        """See ``Detector.close``."""
        del out  # nothing waits for the end of the day
        if self.params.measure == "second":
            give_back(state.memory(), watermark_ns - self.params.window_ns)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``."""
        spent = has_ended(rows, horizon_ns)
        if self.params.measure == "second":
            spent &= (rows["first"] == 0) & (rows["time_ns"] < horizon_ns)
        return spent

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        observed, due = (int(finding["numbers"][k]) for k in (COUNT, DUE))
        is_second = p.measure == "second"
        within = f"within {seconds(p.window_ns)}" if is_second else "on the trading day"
        counted = count_of(observed, "order or cancel", "orders and cancels")
        why = f"{counted} {within}; the rule's figure is {p.actions_min:,}."
        evidence = {
            "actions": observed,
            "figure": p.actions_min,
            "measure": p.measure,
            **shared_evidence(finding, self.rule),
        }
        if is_second:
            evidence |= {"window_ns": str(p.window_ns), "bursts": int(finding["numbers"][BURSTS])}
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most("orders and cancels", due - 1, observed, within=within),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][COUNT]), float(self.params.actions_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {
            "second": {"measure": "second", "actions_min": 5},
            "day": {"measure": "day", "actions_min": 20},
        }
