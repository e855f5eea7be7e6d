"""Order-to-trade ratio: orders per transaction of an account in one instrument on one day.

Ratio = orders / transactions - 1, by number or by volume; a new order counts once, a replace
twice, a cancel once (Commission Delegated Regulation (EU) 2017/566, RTS 9). Without a transaction
it is a breach when the number of orders exceeds the maximum. During the day the finding is
provisional; at its end it is confirmed or withdrawn.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct
from numba import njit

from detectors.core import wide
from detectors.core.contract import (
    CANCEL,
    CONFIRMED,
    FILL,
    HEADROOM,
    NEW,
    PROVISIONAL,
    REPLACE,
    WITHDRAWN,
    Detector,
    Explanation,
    FindingBuffer,
    Nearness,
    Steps,
    SubjectState,
)
from detectors.core.emit import COMMON_STATE, emit, headroom_level, remember, roll, zero_numbers
from detectors.core.wording import exemptions, missing_registration

STATE: Final = np.dtype([*COMMON_STATE, ("orders", "<i8"), ("transactions", "<i8")])
ORDERS, TRANSACTIONS = range(2)  # numbers of a finding: counts, or volumes in 10^-8 units
PPM: Final = 1_000_000
E8: Final = 100_000_000
_SUM_MAX: Final = 2**62


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


@njit(cache=True, nogil=True)
def _breaches(orders: int, transactions: int, ratio_ppm: int, by_number: int) -> bool:
    """Say whether orders / transactions - 1 > ratio, exactly."""
    if transactions == 0:
        return by_number == 1 and orders * PPM > ratio_ppm
    if orders <= transactions:
        return False
    high, low = wide.multiply(orders - transactions, PPM)
    limit_high, limit_low = wide.multiply(transactions, ratio_ppm)
    high, low = wide.subtract(high, low, limit_high, limit_low)
    return wide.sign(high, low) > 0


@njit(cache=True, nogil=True)
def _count(subject: Any, step: Any, by_number: int) -> None:
    weight = 2 if step["what"] & REPLACE else 1
    amount = np.int64(1) if by_number == 1 else step["quantity_e8"]
    if step["what"] & FILL:
        subject["transactions"] = min(subject["transactions"] + amount, _SUM_MAX)
    elif subject["orders"] < _SUM_MAX:
        subject["orders"] += min(weight * amount, _SUM_MAX)


@njit(cache=True, nogil=True)
def _write(record: Any, subject: Any) -> None:
    zero_numbers(record)
    record["numbers"][ORDERS] = subject["orders"]
    record["numbers"][TRANSACTIONS] = subject["transactions"]


@njit(cache=True, nogil=True)
def _judge_day(at: int, index: int, subject: Any, figures: Any, out: Any, count: Any) -> None:
    """Confirm or withdraw what was provisional on the subject's day, once."""
    if subject["open"] == 0:
        return
    subject["open"] = 0
    breach = _breaches(subject["orders"], subject["transactions"], figures[0], figures[1])
    phase = CONFIRMED if breach else WITHDRAWN
    _write(emit(out, count, phase, (-1, at, index, subject["day_end_ns"]), subject), subject)


@njit(cache=True, nogil=True)
def _near(subject: Any, ratio_ppm: int, by_number: int) -> int:
    """Return a newly reached headroom level of the ratio, or 0."""
    transactions = max(subject["transactions"], 1)
    if subject["transactions"] == 0 and by_number == 0:
        return 0
    ratio = max(0.0, subject["orders"] / transactions - 1.0)
    return headroom_level(np.int64(ratio * PPM), ratio_ppm, subject["warned"])


@njit(cache=True, nogil=True)
def follow_ratio(
    steps: Any, selection: Any, figures: Any, state: Any, out: Any, count: Any
) -> None:
    """Sum orders and transactions by account, instrument and day.

    ``selection`` = (rule bit, exempt bits), ``figures`` = (maximum ratio in millionths, 1 for
    numbers or 0 for volumes). O(n), no allocation.
    """
    rule_bit, exempt = selection
    wanted = NEW | REPLACE | CANCEL | FILL
    for i in range(len(steps)):
        step = steps[i]
        index = step["contract"]
        if index < 0 or step["rules"] & rule_bit == 0 or step["what"] & wanted == 0:
            continue
        if step["registered"] & exempt:
            continue
        subject = state[index]
        if step["day"] > subject["day"] or subject["seen"] == 0:
            _judge_day(i, index, subject, figures, out, count)
            roll(subject, step)
            subject["orders"] = 0
            subject["transactions"] = 0
        _count(subject, step, figures[1])
        remember(subject, step)
        if subject["open"] != 0 or step["what"] & FILL:
            continue
        phase = 0
        if _breaches(subject["orders"], subject["transactions"], figures[0], figures[1]):
            phase = PROVISIONAL
            subject["open"] = 1
        else:
            level = _near(subject, figures[0], figures[1])
            if level > 0:
                subject["warned"] = level
                phase = HEADROOM
        if phase != 0:
            _write(emit(out, count, phase, (i, i, index, step["time_ns"]), subject), subject)


@njit(cache=True, nogil=True)
def close_days(state: Any, watermark_ns: int, figures: Any, out: Any, count: Any) -> None:
    """Judge every subject whose day ended by the watermark."""
    for index in range(len(state)):
        if state[index]["open"] != 0 and state[index]["day_end_ns"] <= watermark_ns:
            _judge_day(-1, index, state[index], figures, out, count)


class OrderToTrade(Detector):
    """Provisional when the day's ratio exceeds the maximum; judged at the day's end."""

    name: ClassVar[str] = "order_to_trade"
    subject: ClassVar[Literal["contract"]] = "contract"
    state_dtype: ClassVar[np.dtype[np.void]] = STATE
    params_type: ClassVar[type[Struct]] = Params

    def _figures(self) -> tuple[int, int]:
        return round(self.params.ratio_max * PPM), int(self.params.measure == "number")

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        selection = (self.rule_bit, self.exempt_bits)
        follow_ratio(steps, selection, self._figures(), state.rows, out.records, out.count)

    def close(self, state: SubjectState, watermark_ns: int, out: FindingBuffer) -> None:
        """See ``Detector.close``."""
        close_days(state.rows, watermark_ns, self._figures(), out.records, out.count)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        orders = int(finding["numbers"][ORDERS])
        transactions = int(finding["numbers"][TRANSACTIONS])
        unit = 1 if p.measure == "number" else E8
        what = "orders" if p.measure == "number" else "ordered units"
        traded = "transactions" if p.measure == "number" else "traded units"
        ratio = f"{orders / transactions - 1:,.1f}" if transactions else "without a transaction"
        why = (
            f"{orders / unit:,.0f} {what} to {transactions / unit:,.0f} {traded} in one "
            f"instrument on one day: ratio {ratio}, maximum {p.ratio_max:,g}."
            + missing_registration(finding, self.rule)
        )
        evidence = {
            "measure": p.measure,
            "orders": orders if unit == 1 else str(orders),
            "transactions": transactions if unit == 1 else str(transactions),
            "ratio_max_ppm": str(round(p.ratio_max * PPM)),
            "exemptions": exemptions(finding, self.rule),
        }
        return Explanation(why, evidence, self._counterfactual(orders, transactions, what))

    def _counterfactual(self, orders: int, transactions: int, what: str) -> dict[str, Any]:
        ppm, _ = self._figures()
        limit = ppm // PPM if transactions == 0 else transactions + transactions * ppm // PPM
        shown = limit if self.params.measure == "number" else limit // E8
        return {
            "quantity": what,
            "at_most": limit if self.params.measure == "number" else str(limit),
            "observed": orders if self.params.measure == "number" else str(orders),
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
