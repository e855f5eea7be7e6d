"""Frequent instantaneous cancels: many orders withdrawn at once, on a day of mostly cancels.

Two conditions together: ``cancels_min`` orders cancelled within ``age_max_ns`` of entry, and a
cancel ratio of the day of at least ``cancel_ratio_min`` once ``orders_min`` orders were entered.
Only orders of the day itself count, each once. During the day the finding is provisional; at its
end it is confirmed or withdrawn.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core.contract import (
    FIRST_CANCEL,
    GROWTH,
    HEADROOM,
    NEW,
    PROVISIONAL,
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.emit import (
    COMMON_STATE,
    await_verdict,
    begins_day,
    count_up,
    due_at,
    emit_step,
    emit_verdict,
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
from detectors.core.wording import count_of, seconds, shared_evidence, standing
from schemas.events import SECOND_NS
from schemas.jit import Int, kernel

STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("orders", "<u4"),
        ("cancels", "<u4"),
        ("instant", "<u4"),
        ("fired_at", "<u4"),  # ``instant`` when it became provisional
    ]
)
ORDERS, CANCELS, INSTANT, DUE = range(4)  # numbers of a finding
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


@kernel
def _holds(subject: Any, figures: Any) -> Any:
    cancels_min, orders_min, ratio_ppm, _ = figures
    orders, cancels = np.int64(subject["orders"]), np.int64(subject["cancels"])
    return (
        subject["instant"] >= cancels_min
        and orders >= orders_min
        and cancels * PPM >= ratio_ppm * orders
    )


@kernel
def _write(record: Any, subject: Any, due: Int) -> None:
    record["numbers"][ORDERS] = subject["orders"]
    record["numbers"][CANCELS] = subject["cancels"]
    record["numbers"][INSTANT] = subject["instant"]
    record["numbers"][DUE] = due


@kernel
def _judge_day(at: Int, subject: Any, figures: Any, memory: Any, out: Any, count: Any) -> None:
    index = emit_verdict(out, count, _holds(subject, figures), at, subject, memory)
    _write(out[index], subject, figures[0])


@kernel
def _count(subject: Any, step: Any, age_max_ns: Int) -> None:
    if step["what"] & NEW:
        subject["orders"] = count_up(subject["orders"])
        return
    subject["cancels"] = count_up(subject["cancels"])
    if 0 <= step["age_ns"] <= age_max_ns:
        if subject["instant"] == 0:
            subject["onset_ns"] = step["time_ns"]
        subject["instant"] = count_up(subject["instant"])


@kernel
def _phase(subject: Any, step: Any, figures: Any, memory: Any) -> Any:
    """Return phase (0: none) of the finding this step makes, and the instant cancels due."""
    if subject["open"]:
        due = due_at(subject["fired_at"], subject)
        if subject["instant"] >= due:
            subject["doublings"] += 1
            return GROWTH, due
    elif _holds(subject, figures):
        await_verdict(subject, memory)
        subject["fired_at"] = subject["instant"]
        subject["doublings"] = 1
        return PROVISIONAL, figures[0]
    elif step["what"] & NEW == 0:
        level = headroom_level(subject["instant"], figures[0], subject["warned"])
        if level > 0:
            subject["warned"] = level
            return HEADROOM, figures[0]
    return 0, figures[0]


@kernel
def follow_days(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Count orders, cancelled orders and instantaneous cancels by account and day.

    ``figures`` = (cancels_min, orders_min, ratio in millionths, age_max_ns). O(n), no allocation.
    """
    for i in range(len(steps)):
        fetch_ahead(steps, i, selection, memory)
        step = steps[i]
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        if begins_day(subject, step):
            if subject["open"]:
                _judge_day(np.int64(i), subject, figures, memory, out, count)
            roll(subject, step, memory)
            subject["orders"] = 0
            subject["cancels"] = 0
            subject["instant"] = 0
        _count(subject, step, figures[3])
        keeps = is_near(subject["instant"], figures[0]) and is_near(subject["orders"], figures[1])
        remember(subject, step, memory, keeps)
        phase, due = _phase(subject, step, figures, memory)
        if phase != 0:
            index = emit_step(out, count, phase, i, step["time_ns"], subject, memory)
            _write(out[index], subject, due)


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


class InstantCancels(Detector):
    """Provisional when both conditions hold; confirmed or withdrawn at the day's end."""

    name: ClassVar[str] = "instant_cancels"
    subject: ClassVar[Literal["account"]] = "account"
    wanted: ClassVar[int] = NEW | FIRST_CANCEL
    params_type: ClassVar[type[Struct]] = Params

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def _figures(self) -> tuple[int, int, int, int]:
        p = self.params
        return p.cancels_min, p.orders_min, round(p.cancel_ratio_min * PPM), p.age_max_ns

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        memory = state.memory()
        follow_days(steps, self.selection, self._figures(), memory, out.records, out.count)

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
        orders, cancels, instant, _ = (int(finding["numbers"][k]) for k in range(DUE + 1))
        why = (
            f"{count_of(instant, 'order')} cancelled within {seconds(p.age_max_ns)} of entry "
            f"(figure {p.cancels_min:,}), and {cancels:,} of {count_of(orders, 'order')} of the "
            f"day cancelled ({cancels / orders:.1%}; figure {p.cancel_ratio_min:.0%} from "
            f"{p.orders_min:,} orders on)."
        )
        evidence = {
            "instantaneous_cancels": instant,
            "cancels_figure": p.cancels_min,
            "orders": orders,
            "orders_figure": p.orders_min,
            "cancelled_orders": cancels,
            "cancel_ratio_ppm": cancels * PPM // orders,
            "ratio_figure_ppm": round(p.cancel_ratio_min * PPM),
            "age_max_ns": str(p.age_max_ns),
            **shared_evidence(finding, self.rule),
        }
        why += standing(finding, self.rule)
        return Explanation(why, evidence, self._counterfactual(finding))

    def _counterfactual(self, finding: np.void) -> dict[str, Any]:
        """Say how many cancels fewer would have kept the rule silent, by either condition."""
        p = self.params
        orders, cancels, instant, due = (int(finding["numbers"][k]) for k in range(DUE + 1))
        # The fewest cancels at which the ratio still holds, less one.
        limit = -(-round(p.cancel_ratio_min * PPM) * orders // PPM) - 1
        age = seconds(p.age_max_ns)
        quick = f"{due - 1:,} or fewer cancelled within {age}"
        if int(finding["phase"]) == GROWTH:
            return {
                "quantity": f"orders cancelled within {age}",
                "at_most": due - 1,
                "observed": instant,
                "text": f"would not have grown with {quick}",
            }
        return {
            "quantity": "cancelled orders",
            "at_most": limit,
            "observed": cancels,
            "text": f"would not have fired with {limit:,} or fewer of its {orders:,} orders "
            f"cancelled, or with {quick}",
        }

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][INSTANT]), float(self.params.cancels_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {"default": {"cancels_min": 3, "orders_min": 6, "cancel_ratio_min": 0.5}}
