"""Order rate: orders and cancels of one account in a sliding second, or in a trading day.

The second is exact and slides: at each action, the actions of the last second are counted, this
one included. An action that arrives after a later one of its account counts at the later time.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct
from numba import njit

from detectors.core.contract import (
    ACTION,
    GROWTH,
    HEADROOM,
    OPENING,
    Detector,
    Explanation,
    FindingBuffer,
    Nearness,
    Steps,
    SubjectState,
)
from detectors.core.day_count import COUNT, DAY_COUNT, FIGURE, count_day
from detectors.core.emit import emit, headroom_level, remember, roll, zero_numbers
from detectors.core.wording import at_most, count_of, exemptions, missing_registration, seconds
from schemas.events import SECOND_NS

# The day count's fields, and the window's: first and last node of the pool, time of the newest.
STATE: Final = np.dtype(
    [
        *[(name, *DAY_COUNT.fields[name][:1]) for name in DAY_COUNT.names or ()],
        ("time_ns", "<i8"),
        ("first", "<i4"),  # index + 1
        ("last", "<i4"),  # index + 1
        ("in_window", "<i8"),
        ("bursts", "<i8"),
        ("is_over", "<i8"),
    ]
)
BURSTS: Final = 3  # further number of a finding: separate bursts so far today


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


@njit(cache=True, nogil=True)
def _push(subject: Any, nodes: Any, counters: Any, position: int) -> None:
    """Append an action at the subject's newest time."""
    if counters[1] > 0:
        index = counters[1] - 1
        counters[1] = nodes[index]["next"]
    else:
        index = counters[0]
        counters[0] += 1
    nodes[index]["time_ns"] = subject["time_ns"]
    nodes[index]["position"] = position
    nodes[index]["next"] = 0
    if subject["first"] == 0:
        subject["first"] = index + 1
    else:
        nodes[subject["last"] - 1]["next"] = index + 1
    subject["last"] = index + 1
    subject["in_window"] += 1


@njit(cache=True, nogil=True)
def _drop_before(subject: Any, nodes: Any, counters: Any, horizon_ns: int) -> None:
    """Give back the actions at or before the horizon."""
    while subject["first"] > 0 and nodes[subject["first"] - 1]["time_ns"] <= horizon_ns:
        index = subject["first"] - 1
        subject["first"] = nodes[index]["next"]
        nodes[index]["next"] = counters[1]
        counters[1] = index + 1
        subject["in_window"] -= 1
    if subject["first"] == 0:
        subject["last"] = 0


@njit(cache=True, nogil=True)
def _judge(subject: Any, figure: int) -> int:
    """Return the phase of a finding that this action makes, or 0."""
    held = subject["in_window"]
    if held < figure:
        if held * 2 < figure:
            subject["is_over"] = 0  # a burst has ended; the next one is another
        return 0
    if subject["is_over"] == 0:
        subject["is_over"] = 1
        subject["bursts"] += 1
    if subject["open"] == 0:
        subject["open"] = 1
        subject["next_count"] = 2 * figure
        subject["count"] = 2  # next number of bursts worth telling
        return OPENING
    if held >= subject["next_count"]:
        subject["next_count"] *= 2
        return GROWTH
    if subject["bursts"] >= subject["count"]:
        subject["count"] *= 2
        return GROWTH
    return 0


@njit(cache=True, nogil=True)
def actions_in_window(
    steps: Any, selection: Any, state: Any, pool: Any, out: Any, count: Any
) -> None:
    """Count each account's actions j <= i with time_j > time_i - window, exactly.

    ``selection`` = (rule bit, exempt bits, figure, window_ns); ``pool`` = (nodes, counters). The
    times of one account are taken as their running maximum. O(n), no allocation.
    """
    rule_bit, exempt, figure, window_ns = selection
    nodes, counters = pool
    for i in range(len(steps)):
        step = steps[i]
        index = step["account"]
        if index < 0 or step["rules"] & rule_bit == 0 or step["what"] & ACTION == 0:
            continue
        if step["registered"] & exempt:
            continue
        subject = state[index]
        if step["day"] > subject["day"] or subject["seen"] == 0:
            roll(subject, step)
            subject["bursts"] = 0
        subject["time_ns"] = max(subject["time_ns"], step["time_ns"])
        _drop_before(subject, nodes, counters, subject["time_ns"] - window_ns)
        _push(subject, nodes, counters, step["position"])
        remember(subject, step)
        phase = _judge(subject, figure)
        level = headroom_level(subject["in_window"], figure, subject["warned"])
        if phase == 0 and level > 0 and subject["open"] == 0:
            phase = HEADROOM
        if phase == 0:
            continue
        subject["warned"] = max(level, subject["warned"])
        subject["onset_ns"] = nodes[subject["first"] - 1]["time_ns"]
        record = emit(out, count, phase, (i, i, index, step["time_ns"]), subject)
        zero_numbers(record)
        record["numbers"][COUNT] = subject["in_window"]
        record["numbers"][FIGURE] = figure
        record["numbers"][BURSTS] = subject["bursts"]


class OrderRate(Detector):
    """Fires at ``actions_min`` actions of one account in a sliding second, or in a day."""

    name: ClassVar[str] = "order_rate"
    subject: ClassVar[Literal["account"]] = "account"
    state_dtype: ClassVar[np.dtype[np.void]] = STATE
    params_type: ClassVar[type[Struct]] = Params

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        p = self.params
        if p.measure == "day":
            selection = (1, self.rule_bit, self.exempt_bits, ACTION, -1)
            count_day(steps, selection, p.actions_min, state.rows, out.records, out.count)
            return
        selection = (self.rule_bit, self.exempt_bits, p.actions_min, p.window_ns)
        pool = (state.pool.nodes, state.pool.counters)
        actions_in_window(steps, selection, state.rows, pool, out.records, out.count)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        observed = int(finding["numbers"][COUNT])
        is_second = p.measure == "second"
        within = f"within {seconds(p.window_ns)}" if is_second else "on the trading day"
        why = (
            f"{count_of(observed, 'order or cancel')} {within}; the rule's figure is "
            f"{p.actions_min:,}.".replace("order or cancels", "orders and cancels")
            + missing_registration(finding, self.rule)
        )
        evidence = {
            "actions": observed,
            "figure": p.actions_min,
            "measure": p.measure,
            "exemptions": exemptions(finding, self.rule),
        }
        if is_second:
            evidence |= {"window_ns": str(p.window_ns), "bursts": int(finding["numbers"][BURSTS])}
        limit = p.actions_min - 1
        return Explanation(
            why, evidence, at_most("orders and cancels", limit, observed, within=within)
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
