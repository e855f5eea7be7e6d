"""Frequent instantaneous cancels: many orders withdrawn at once, on a day of mostly cancels.

Two conditions together: ``cancels_min`` orders cancelled within ``age_max_ns`` of entry, and a
cancel ratio of the day of at least ``cancel_ratio_min`` once ``orders_min`` orders were entered.
During the day the finding is provisional; at its end it is confirmed or withdrawn.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct
from numba import njit

from detectors.core.contract import (
    CONFIRMED,
    FIRST_CANCEL,
    GROWTH,
    HEADROOM,
    NEW,
    PROVISIONAL,
    WITHDRAWN,
    Detector,
    Explanation,
    FindingBuffer,
    Nearness,
    Steps,
    SubjectState,
)
from detectors.core.emit import COMMON_STATE, emit, headroom_level, remember, roll, zero_numbers
from detectors.core.wording import count_of, exemptions, missing_registration, seconds
from schemas.events import SECOND_NS

STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("orders", "<i8"),
        ("cancels", "<i8"),
        ("instant", "<i8"),
        ("next_instant", "<i8"),
    ]
)
ORDERS, CANCELS, INSTANT = range(3)  # numbers of a finding
PPM: Final = 1_000_000


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    age_max_ns
        A cancel no older than this after its order's entry is instantaneous; event time.
    cancels_min
        Instantaneous cancels of the day that fire.
    orders_min
        Orders of the day below which the ratio is noise.
    cancel_ratio_min
        Orders the customer cancelled / orders entered, of the day, in [0, 1].
    """

    age_max_ns: int = SECOND_NS
    cancels_min: int = 10
    orders_min: int = 50
    cancel_ratio_min: float = 0.80


@njit(cache=True, nogil=True)
def _meets(subject: Any, cancels_min: int, orders_min: int, ratio_ppm: int) -> bool:
    return (
        subject["instant"] >= cancels_min
        and subject["orders"] >= orders_min
        and subject["cancels"] * PPM >= ratio_ppm * subject["orders"]
    )


@njit(cache=True, nogil=True)
def _write(record: Any, subject: Any) -> None:
    zero_numbers(record)
    record["numbers"][ORDERS] = subject["orders"]
    record["numbers"][CANCELS] = subject["cancels"]
    record["numbers"][INSTANT] = subject["instant"]


@njit(cache=True, nogil=True)
def _judge_day(at: int, index: int, subject: Any, figures: Any, out: Any, count: Any) -> None:
    """Confirm or withdraw what was provisional on the subject's day, once."""
    if subject["open"] == 0:
        return
    subject["open"] = 0
    phase = CONFIRMED if _meets(subject, *figures) else WITHDRAWN
    record = emit(out, count, phase, (-1, at, index, subject["day_end_ns"]), subject)
    _write(record, subject)


@njit(cache=True, nogil=True)
def _phase(subject: Any, figures: Any) -> int:
    if subject["open"] == 0:
        if _meets(subject, *figures):
            subject["open"] = 1
            subject["next_instant"] = 2 * subject["instant"]
            return PROVISIONAL
        return 0
    if subject["instant"] >= subject["next_instant"]:
        subject["next_instant"] *= 2
        return GROWTH
    return 0


@njit(cache=True, nogil=True)
def follow_days(steps: Any, selection: Any, figures: Any, state: Any, out: Any, count: Any) -> None:
    """Count orders, cancelled orders and instantaneous cancels by account and day.

    ``selection`` = (rule bit, exempt bits, age_max_ns), ``figures`` = (cancels_min, orders_min,
    ratio in millionths). O(n), no allocation.
    """
    rule_bit, exempt, age_max_ns = selection
    for i in range(len(steps)):
        step = steps[i]
        index = step["account"]
        if index < 0 or step["rules"] & rule_bit == 0 or step["what"] & (NEW | FIRST_CANCEL) == 0:
            continue
        if step["registered"] & exempt:
            continue
        subject = state[index]
        if step["day"] > subject["day"] or subject["seen"] == 0:
            _judge_day(i, index, subject, figures, out, count)
            roll(subject, step)
            subject["orders"] = 0
            subject["cancels"] = 0
            subject["instant"] = 0
        if step["what"] & NEW:
            subject["orders"] += 1
        else:
            subject["cancels"] += 1
            if 0 <= step["age_ns"] <= age_max_ns:
                if subject["instant"] == 0:
                    subject["onset_ns"] = step["time_ns"]
                subject["instant"] += 1
        remember(subject, step)
        phase = _phase(subject, figures)
        if phase == 0 and subject["open"] == 0 and step["what"] & NEW == 0:
            level = headroom_level(subject["instant"], figures[0], subject["warned"])
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


class InstantCancels(Detector):
    """Provisional when both conditions hold; confirmed or withdrawn at the day's end."""

    name: ClassVar[str] = "instant_cancels"
    subject: ClassVar[Literal["account"]] = "account"
    state_dtype: ClassVar[np.dtype[np.void]] = STATE
    params_type: ClassVar[type[Struct]] = Params

    def _figures(self) -> tuple[int, int, int]:
        p = self.params
        return p.cancels_min, p.orders_min, round(p.cancel_ratio_min * PPM)

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        selection = (self.rule_bit, self.exempt_bits, self.params.age_max_ns)
        follow_days(steps, selection, self._figures(), state.rows, out.records, out.count)

    def close(self, state: SubjectState, watermark_ns: int, out: FindingBuffer) -> None:
        """See ``Detector.close``."""
        close_days(state.rows, watermark_ns, self._figures(), out.records, out.count)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        orders, cancels, instant = (int(finding["numbers"][k]) for k in (ORDERS, CANCELS, INSTANT))
        why = (
            f"{count_of(instant, 'order')} cancelled within {seconds(p.age_max_ns)} of entry "
            f"(figure {p.cancels_min:,}), and {cancels:,} of {count_of(orders, 'order')} of the "
            f"day cancelled ({cancels / orders:.1%}; figure {p.cancel_ratio_min:.0%} from "
            f"{p.orders_min:,} orders on)." + missing_registration(finding, self.rule)
        )
        evidence = {
            "instantaneous_cancels": instant,
            "cancels_figure": p.cancels_min,
            "orders": orders,
            "cancelled_orders": cancels,
            "cancel_ratio_ppm": cancels * PPM // orders,
            "ratio_figure_ppm": round(p.cancel_ratio_min * PPM),
            "age_max_ns": str(p.age_max_ns),
            "exemptions": exemptions(finding, self.rule),
        }
        # The fewest cancels at which the ratio still holds, less one.
        limit = -(-round(p.cancel_ratio_min * PPM) * orders // PPM) - 1
        counterfactual = {
            "quantity": "cancelled orders",
            "at_most": limit,
            "observed": cancels,
            "text": f"would not have fired with {limit:,} or fewer of its {orders:,} orders "
            f"cancelled, or with {p.cancels_min - 1:,} or fewer cancelled within "
            f"{seconds(p.age_max_ns)}",
        }
        return Explanation(why, evidence, counterfactual)

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][INSTANT]), float(self.params.cancels_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {"default": {"cancels_min": 3, "orders_min": 6, "cancel_ratio_min": 0.5}}
