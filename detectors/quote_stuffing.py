"""Quote stuffing: bursts of orders in one instrument that are nearly all withdrawn at once.

A burst is a stretch of ``window_ns`` with at least ``messages_min`` messages: orders entered,
replaces, and withdrawals, of which each counts where its order was entered and only within
``life_ns`` of that. It begins as soon as the last ``window_ns`` hold so many, with the oldest of
them, and counts as soon as at least ``cancelled_share_min`` of its orders so far are withdrawn and
its fills are at most ``fill_share_max`` of its orders, whatever follows. A replace withdraws an
order and enters another.
Bursts never overlap; the next one begins once this one counts, or nobody can withdraw in time what
was entered in it. ``bursts_min`` bursts of one account in one instrument on one trading day fire.

``order_rate`` and ``busy_seconds`` count an account's messages whatever becomes of its orders, and
``instant_cancels`` its quick cancels however far apart: here both must come together, in one
instrument. A message that arrives after a later one of its account counts at the later time, but a
withdrawal at the time at which its order says it was entered.

Whether others were slowed down would need their orders and the venue's delays: neither is looked
at, and the evidence says so.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from detectors.core.contract import (
    FILL,
    FIRST_CANCEL,
    GROWTH,
    HEADROOM,
    NEW,
    OPENING,
    RECENT,
    REPLACE,
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
    emit_step,
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
from detectors.core.sliding import (
    QUEUE,
    drop_until,
    empty,
    give_back_ns,
    oldest_ns,
    pop,
    push,
)
from detectors.core.wording import at_most, count_of, seconds, shared_evidence, standing
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("time_ns", "<i8"),  # of the newest step
        ("start_ns", "<i8"),  # of the burst at hand
        ("recent_orders", QUEUE),  # of the last window, as far as no burst has them
        ("recent_replaces", QUEUE),
        ("recent_withdrawals", QUEUE),  # by when their orders were entered
        ("recent_fills", QUEUE),
        ("orders", "<u4"),  # of the burst at hand
        ("replaces", "<u4"),
        ("withdrawals", "<u4"),
        ("fills", "<u4"),
        ("largest", "<u4"),  # messages of the day's fullest burst
        ("bursts", "<u4"),  # of the day that count
        ("is_on", "u1"),  # there is a burst at hand
        ("counts", "u1"),  # and it counts
        ("padding", "u1", (2,)),
    ]
)
# numbers of a finding
BURSTS, DUE, ENTERED, REPLACED, WITHDRAWN, FILLED, LARGEST = range(7)
_PPM: Final = 1_000_000
WITHIN: Final = "in one instrument on one trading day"


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    bursts_min
        Bursts that fire, per account, instrument and trading day.
    messages_min
        Orders, replaces and quick withdrawals that make a burst.
    window_ns
        Length of a burst, event time.
    life_ns
        An order withdrawn no later than this after its entry was not there to trade; event time.
    cancelled_share_min
        Share of a burst's orders that are withdrawn so soon, in (0, 1].
    fill_share_max
        Fills over a burst's orders, in [0, 1]; with more of them it is trading.
    """

    bursts_min: Annotated[int, Meta(ge=1)] = 3
    messages_min: Annotated[int, Meta(ge=2)] = 100
    window_ns: Annotated[int, Meta(gt=0)] = SECOND_NS
    life_ns: Annotated[int, Meta(gt=0)] = SECOND_NS
    cancelled_share_min: Annotated[float, Meta(gt=0, le=1)] = 0.9
    fill_share_max: Annotated[float, Meta(ge=0, le=1)] = 0.05


@kernel
def _begin_day(subject: Any, step: Any, memory: Any) -> None:
    """Begin a day, into which no burst reaches."""
    roll(subject, step, memory)
    empty(subject["recent_orders"], memory)
    empty(subject["recent_replaces"], memory)
    empty(subject["recent_withdrawals"], memory)
    empty(subject["recent_fills"], memory)
    subject["time_ns"] = step["time_ns"]
    subject["is_on"] = 0
    subject["bursts"] = 0
    subject["largest"] = 0


@inlined
def _in_window(subject: Any) -> Any:
    """Count the messages of the last window."""
    orders = np.int64(subject["recent_orders"]["in_window"])
    withdrawals = np.int64(subject["recent_withdrawals"]["in_window"])
    return orders + subject["recent_replaces"]["in_window"] + withdrawals


@kernel
def _slide(subject: Any, memory: Any, horizon_ns: Int) -> None:
    """Give back what the window has left behind; withdrawals as far as their order shows it."""
    drop_until(subject["recent_orders"], memory, horizon_ns)
    drop_until(subject["recent_replaces"], memory, horizon_ns)
    drop_until(subject["recent_withdrawals"], memory, horizon_ns)
    drop_until(subject["recent_fills"], memory, horizon_ns)


@kernel
def _purge(queue: Any, memory: Any, horizon_ns: Int) -> None:
    """Keep the withdrawals of orders entered after the horizon, which come in any order."""
    for _ in range(queue["in_window"]):
        entered_ns = pop(queue, memory)
        if entered_ns > horizon_ns:
            push(queue, memory, entered_ns)


@kernel
def _take_all(queue: Any, memory: Any, start_ns: Int) -> Any:
    """Count what is as new as the start, and give all back."""
    count = np.int64(0)
    while queue["first"] > 0:
        count += pop(queue, memory) >= start_ns
    return count


@kernel
def _begin(subject: Any, memory: Any) -> None:
    """Begin a burst with the oldest order or replace of the window."""
    start_ns = NEVER_DUE
    if subject["recent_orders"]["first"] > 0:
        start_ns = oldest_ns(subject["recent_orders"], memory)
    if subject["recent_replaces"]["first"] > 0:
        start_ns = min(start_ns, oldest_ns(subject["recent_replaces"], memory))
    if start_ns == NEVER_DUE:
        return  # orders entered under a registration that has ended since
    subject["start_ns"] = start_ns
    subject["is_on"] = 1
    subject["counts"] = 0
    subject["orders"] = _take_all(subject["recent_orders"], memory, start_ns)
    subject["replaces"] = _take_all(subject["recent_replaces"], memory, start_ns)
    subject["withdrawals"] = _take_all(subject["recent_withdrawals"], memory, start_ns)
    subject["fills"] = _take_all(subject["recent_fills"], memory, start_ns)


@inlined
def _end_ns(subject: Any, window_ns: Int) -> Any:
    """Return when the burst at hand ends; without one any message is later."""
    return subject["start_ns"] + window_ns if subject["is_on"] else -NEVER_DUE


@kernel
def _count_withdrawal(subject: Any, step: Any, figures: Any, memory: Any) -> Any:
    """Count a quick withdrawal where its order was entered; say whether it is a new message."""
    _, _, window_ns, life_ns, _, _ = figures
    if step["age_ns"] > life_ns:
        return False
    entered_ns = step["time_ns"] - step["age_ns"]
    if entered_ns >= _end_ns(subject, window_ns):
        push(subject["recent_withdrawals"], memory, entered_ns)
        return True
    if entered_ns >= subject["start_ns"]:
        subject["withdrawals"] = count_up(subject["withdrawals"])
    return False


@kernel
def _count(subject: Any, step: Any, figures: Any, memory: Any) -> Any:
    """Count a step in its burst, or keep it in the window; say whether it is a new message."""
    what, now_ns = step["what"], np.int64(subject["time_ns"])
    if what & FIRST_CANCEL != 0:
        return _count_withdrawal(subject, step, figures, memory)
    is_later = now_ns >= _end_ns(subject, figures[2])
    if what & NEW != 0:
        if is_later:
            push(subject["recent_orders"], memory, now_ns)
        else:
            subject["orders"] = count_up(subject["orders"])
    elif what & REPLACE != 0:
        if is_later:
            push(subject["recent_replaces"], memory, now_ns)
        else:
            subject["replaces"] = count_up(subject["replaces"])
    elif is_later:
        push(subject["recent_fills"], memory, now_ns)
        return False
    else:
        subject["fills"] = count_up(subject["fills"])
    return is_later


@kernel
def _see_begin(subject: Any, figures: Any, memory: Any) -> None:
    """Begin a burst if the window holds enough, and the one at hand is decided."""
    _, messages_min, window_ns, life_ns, _, _ = figures
    if _in_window(subject) < messages_min:
        return
    decided_ns = _end_ns(subject, window_ns) + life_ns
    if subject["is_on"] and subject["counts"] == 0 and subject["time_ns"] < decided_ns:
        return
    _purge(subject["recent_withdrawals"], memory, subject["time_ns"] - window_ns)
    if _in_window(subject) >= messages_min:
        _begin(subject, memory)


@kernel
def _counts_now(subject: Any, figures: Any) -> Any:
    """Say whether the burst at hand, which did not count before this step, does now."""
    _, _, _, _, share_ppm, fill_ppm = figures
    if subject["is_on"] == 0:
        return False
    entered = np.int64(subject["orders"]) + subject["replaces"]
    withdrawn = np.int64(subject["withdrawals"]) + subject["replaces"]
    subject["largest"] = max(np.int64(subject["largest"]), entered + subject["withdrawals"])
    if subject["counts"] or withdrawn * _PPM < share_ppm * entered:
        return False
    return np.int64(subject["fills"]) * _PPM <= fill_ppm * entered


@inlined
def _is_near(subject: Any, figures: Any) -> Any:
    """Say whether a finding may be due within as many steps as its evidence names."""
    is_next = np.int64(subject["bursts"]) + 1 >= due_at(figures[0], subject)
    is_undecided = subject["is_on"] and subject["counts"] == 0
    return is_next and (is_undecided or _in_window(subject) + RECENT > figures[1])


@kernel
def _write(record: Any, subject: Any, due: Int) -> None:
    record["numbers"][BURSTS] = subject["bursts"]
    record["numbers"][DUE] = due
    record["numbers"][ENTERED] = subject["orders"]
    record["numbers"][REPLACED] = subject["replaces"]
    record["numbers"][WITHDRAWN] = subject["withdrawals"]
    record["numbers"][FILLED] = subject["fills"]
    record["numbers"][LARGEST] = subject["largest"]


@kernel
def _count_burst(subject: Any, bursts_min: Int) -> Any:
    """Count the burst at hand; return phase (0: none) of the finding and the bursts due."""
    subject["counts"] = 1
    subject["bursts"] = count_up(subject["bursts"])
    if subject["bursts"] == 1:
        subject["onset_ns"] = subject["start_ns"]
    due = due_at(bursts_min, subject)
    if subject["bursts"] >= due:
        phase = GROWTH if subject["open"] else OPENING
        subject["open"] = 1
        subject["doublings"] += 1
        return phase, due
    level = headroom_level(subject["bursts"], bursts_min, subject["warned"])
    subject["warned"] = max(level, subject["warned"])
    return (HEADROOM if level > 0 else 0), due


@kernel
def follow_bursts(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Count the bursts of each account in each instrument by day.

    ``figures`` = (bursts_min, messages_min, window_ns, life_ns, share withdrawn and share of fills
    in millionths). Each step takes a node at most. No allocation.
    """
    for i in range(len(steps)):
        fetch_ahead(steps, i, selection, memory)
        step = steps[i]
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        if begins_day(subject, step):
            _begin_day(subject, step, memory)
        subject["time_ns"] = max(subject["time_ns"], step["time_ns"])
        _slide(subject, memory, subject["time_ns"] - figures[2])
        if _count(subject, step, figures, memory):
            _see_begin(subject, figures, memory)
        remember(subject, step, memory, _is_near(subject, figures))
        if _counts_now(subject, figures):
            phase, due = _count_burst(subject, figures[0])
            if phase != 0:
                index = emit_step(out, count, phase, i, step["time_ns"], subject, memory)
                _write(out[index], subject, due)


@kernel
def give_back(memory: Any, horizon_ns: Int) -> None:
    """Give back every subject's messages that no later step can count."""
    next_ns = NEVER_DUE
    for row in range(memory.counters[ROWS]):
        subject = memory.rows[row]
        if _in_window(subject) + subject["recent_fills"]["in_window"] == 0:
            continue
        if subject["time_ns"] <= horizon_ns:
            _slide(subject, memory, subject["time_ns"])
        else:
            next_ns = min(next_ns, give_back_ns(subject["time_ns"]))
    memory.counters[DUE_NS] = next_ns


class QuoteStuffing(Detector):
    """Fires at ``bursts_min`` bursts in one instrument on one day, and at each doubling."""

    name: ClassVar[str] = "quote_stuffing"
    subject: ClassVar[Literal["contract"]] = "contract"
    wanted: ClassVar[int] = NEW | REPLACE | FIRST_CANCEL | FILL
    params_type: ClassVar[type[Struct]] = Params
    uses_pool: ClassVar[bool] = True
    is_large: ClassVar[bool] = True

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def _figures(self) -> tuple[int, int, int, int, int, int]:
        p = self.params
        shares = round(p.cancelled_share_min * _PPM), round(p.fill_share_max * _PPM)
        return p.bursts_min, p.messages_min, p.window_ns, p.life_ns, *shares

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        memory = state.memory()
        follow_bursts(steps, self.selection, self._figures(), memory, out.records, out.count)

    def close(self, state: SubjectState, watermark_ns: int, out: FindingBuffer) -> None:
        """See ``Detector.close``."""
        del out  # nothing waits for the end of the day
        give_back(state.memory(), watermark_ns - self.params.window_ns)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``."""
        spent = has_ended(rows, horizon_ns)
        for queue in ("recent_orders", "recent_replaces", "recent_withdrawals", "recent_fills"):
            spent &= rows[queue]["first"] == 0
        return spent

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        bursts, due, entered, replaced, withdrawn, filled, largest = (
            int(finding["numbers"][k]) for k in range(LARGEST + 1)
        )
        kind = (
            f"of {seconds(p.window_ns)} with {p.messages_min:,} or more orders, replaces and "
            f"cancels, nearly all of them withdrawn within {seconds(p.life_ns)}"
        )
        why = (
            f"{count_of(bursts, 'burst')} {kind} {WITHIN}; in the latest, "
            f"{count_of(entered, 'order')} and {count_of(replaced, 'replace')}, {withdrawn:,} "
            f"withdrawn so soon and {count_of(filled, 'fill')}; the rule's figure is "
            f"{p.bursts_min:,}."
        )
        evidence = {
            "bursts": bursts,
            "figure": p.bursts_min,
            "messages_min": p.messages_min,
            "window_ns": str(p.window_ns),
            "life_ns": str(p.life_ns),
            "orders_in_latest": entered,
            "replaces_in_latest": replaced,
            "withdrawn_in_latest": withdrawn,
            "fills_in_latest": filled,
            "messages_in_largest": largest,
            "unavailable": ["whether others were slowed down"],
            **shared_evidence(finding, self.rule),
        }
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most(f"bursts {kind}", due - 1, bursts, within=WITHIN),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][BURSTS]), float(self.params.bursts_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``: three messages a burst, half of its orders withdrawn."""
        return {
            "default": {
                "bursts_min": 1,
                "messages_min": 3,
                "cancelled_share_min": 0.5,
                "fill_share_max": 0.5,
            }
        }
