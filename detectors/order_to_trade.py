"""Order-to-trade ratio: orders per transaction of an account in one instrument on one day.

Ratio = orders / transactions - 1, by number or by volume; a new order counts once, a replace
twice, a cancel once (Commission Delegated Regulation (EU) 2017/566, RTS 9, Article 3 and Annex).
Only the customer's own messages count, and cancels by kill functionality do not (Article 1(a)).
Without a transaction it is a breach by number when orders exceed the maximum; by volume there is
no number to hold against the maximum (a single resting order would exceed any), and the rule by
number covers the case. During the day the finding is provisional; at its end it is confirmed or
withdrawn.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core import wide
from detectors.core.contract import (
    CANCEL,
    FILL,
    HEADROOM,
    KILL_SWITCH,
    NEW,
    PROVISIONAL,
    RECENT,
    REPLACE,
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.emit import (
    COMMON_STATE,
    await_verdict,
    begins_day,
    emit_step,
    emit_verdict,
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
from detectors.core.wording import shared_evidence, standing
from schemas.events import E8
from schemas.jit import Int, inlined, kernel

STATE: Final = np.dtype([*COMMON_STATE, ("orders", "<i8"), ("transactions", "<i8")])
ORDERS, TRANSACTIONS = range(2)  # numbers of a finding: counts, or volumes in 10^-8 units
PPM: Final = 1_000_000
_SUM_MAX: Final = 2**62  # sums stop here; 46 billion whole units in one instrument on one day
_RATIO_MAX: Final = 1e10  # as far as nearness is told, so that it fits int64 in millionths


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    measure
        ``number`` of messages and transactions, or ``volume`` ordered and traded.
    ratio_max
        The highest allowed ratio; every venue publishes its own.
    """

    measure: Literal["number", "volume"] = "number"
    ratio_max: float = 100.0


@kernel
def _holds(subject: Any, figures: Any) -> Any:
    """Say whether orders / transactions - 1 > ratio, exactly."""
    ratio_ppm, by_number = figures
    orders, transactions = subject["orders"], subject["transactions"]
    if transactions == 0:
        return by_number == 1 and orders * PPM > ratio_ppm
    if orders <= transactions:
        return False
    high, low = wide.multiply(orders - transactions, PPM)
    limit_high, limit_low = wide.multiply(transactions, ratio_ppm)
    high, low = wide.subtract(high, low, limit_high, limit_low)
    return wide.sign(high, low) > 0


@kernel
def _count(subject: Any, step: Any, by_number: Int) -> None:
    amount = np.int64(1) if by_number == 1 else min(step["quantity_e8"], np.int64(_SUM_MAX // 2))
    if step["what"] & FILL:
        subject["transactions"] = min(subject["transactions"] + amount, _SUM_MAX)
        return
    weight = 2 if step["what"] & REPLACE else 1
    subject["orders"] = min(subject["orders"] + weight * amount, _SUM_MAX)


@inlined
def _may_fire(subject: Any, figures: Any) -> Any:
    """Say whether the rule may fire within as many rows as a finding names.

    By volume one row may bring any quantity. By number a row adds two at most, and the rule never
    fires with fewer orders than its maximum.
    """
    ratio_ppm, by_number = figures
    return by_number == 0 or subject["orders"] + 2 * RECENT > ratio_ppm // PPM


@kernel
def _write(record: Any, subject: Any) -> None:
    record["numbers"][ORDERS] = subject["orders"]
    record["numbers"][TRANSACTIONS] = subject["transactions"]


@kernel
def _judge_day(at: Int, subject: Any, figures: Any, memory: Any, out: Any, count: Any) -> None:
    index = emit_verdict(out, count, _holds(subject, figures), at, subject, memory)
    _write(out[index], subject)


@kernel
def _near(subject: Any, figures: Any) -> Any:
    """Return a newly reached headroom level of the ratio, or 0."""
    ratio_ppm, by_number = figures
    if subject["transactions"] == 0 and by_number == 0:
        return np.int64(0)
    ratio = subject["orders"] / max(subject["transactions"], 1) - 1.0
    held = np.int64(max(0.0, min(ratio, _RATIO_MAX)) * PPM)
    return headroom_level(held, ratio_ppm, subject["warned"])


@kernel
def _phase(subject: Any, figures: Any, memory: Any) -> Any:
    if subject["open"]:
        return 0
    if _holds(subject, figures):
        await_verdict(subject, memory)
        return PROVISIONAL
    level = _near(subject, figures)
    if level > 0:
        subject["warned"] = level
        return HEADROOM
    return 0


@kernel
def follow_ratio(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Sum orders and transactions by account, instrument and day.

    ``figures`` = (maximum ratio in millionths, 1 for numbers or 0 for volumes). O(n), no
    allocation.
    """
    for i in range(len(steps)):
        fetch_ahead(steps, i, selection, memory)
        step = steps[i]
        if step["what"] & KILL_SWITCH:
            continue
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        if begins_day(subject, step):
            if subject["open"]:
                _judge_day(np.int64(i), subject, figures, memory, out, count)
            roll(subject, step, memory)
            subject["orders"] = 0
            subject["transactions"] = 0
        _count(subject, step, figures[1])
        remember(subject, step, memory, _may_fire(subject, figures))
        phase = _phase(subject, figures, memory)
        if phase != 0:
            index = emit_step(out, count, phase, i, step["time_ns"], subject, memory)
            _write(out[index], subject)


@kernel
def close_days(memory: Any, watermark_ns: Int, figures: Any, out: Any, count: Any) -> None:
    """Judge every subject whose day ended by the watermark, as far as there is room."""
    due_ns = NEVER_DUE
    for row in range(memory.counters[ROWS]):
        if count[0] == len(out):
            return
        subject = memory.rows[row]
        if subject["open"] == 0:
            continue
        if subject["day_end_ns"] <= watermark_ns:
            _judge_day(np.int64(-1), subject, figures, memory, out, count)
        else:
            due_ns = min(due_ns, subject["day_end_ns"])
    memory.counters[DUE_NS] = due_ns


class OrderToTrade(Detector):
    """Provisional when the day's ratio exceeds the maximum; judged at the day's end."""

    name: ClassVar[str] = "order_to_trade"
    subject: ClassVar[Literal["contract"]] = "contract"
    wanted: ClassVar[int] = NEW | REPLACE | CANCEL | FILL
    params_type: ClassVar[type[Struct]] = Params

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def _figures(self) -> tuple[int, int]:
        return round(self.params.ratio_max * PPM), int(self.params.measure == "number")

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        memory = state.memory()
        follow_ratio(steps, self.selection, self._figures(), memory, out.records, out.count)

    def close(self, state: SubjectState, watermark_ns: int, out: FindingBuffer) -> None:
        """See ``Detector.close``."""
        close_days(state.memory(), watermark_ns, self._figures(), out.records, out.count)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``."""
        spent: NDArray[np.bool_] = has_ended(rows, horizon_ns) & (rows["open"] == 0)
        return spent

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        orders, transactions = (int(finding["numbers"][k]) for k in (ORDERS, TRANSACTIONS))
        by_number = p.measure == "number"
        unit = 1 if by_number else E8
        what = "orders" if by_number else "ordered units"
        traded = "transactions" if by_number else "traded units"
        ratio = f"{orders / transactions - 1:,.1f}" if transactions else "without a transaction"
        why = (
            f"{orders / unit:,.0f} {what} to {transactions / unit:,.0f} {traded} in one "
            f"instrument on one day: ratio {ratio}, maximum {p.ratio_max:,g}."
        )
        evidence = {
            "measure": p.measure,
            "orders": orders if by_number else str(orders),
            "transactions": transactions if by_number else str(transactions),
            "ratio_max_ppm": str(round(p.ratio_max * PPM)),
            **shared_evidence(finding, self.rule),
        }
        why += standing(finding, self.rule)
        return Explanation(why, evidence, self._counterfactual(orders, transactions, what))

    def _counterfactual(self, orders: int, transactions: int, what: str) -> dict[str, Any]:
        ppm, by_number = self._figures()
        limit = ppm // PPM if transactions == 0 else transactions + transactions * ppm // PPM
        shown = limit if by_number else limit // E8
        return {
            "quantity": what,
            "at_most": limit if by_number else str(limit),
            "observed": orders if by_number else str(orders),
            "text": f"would not have fired with {shown:,} or fewer {what} so far",
        }

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        transactions = max(int(finding["numbers"][TRANSACTIONS]), 1)
        ratio = int(finding["numbers"][ORDERS]) / transactions - 1
        return Nearness(ratio, float(self.params.ratio_max))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {
            "number": {"measure": "number", "ratio_max": 4.0},
            "volume": {"measure": "volume", "ratio_max": 4.0},
        }
