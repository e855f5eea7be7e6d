"""Dormant reactivation: an account that rests for months and then trades much within a day.

An account returns with the first order, replace, customer's cancel or fill that comes
``dormant_min_ns`` or more after the latest one before it, by event time. It fires once a return, at
``orders_min`` orders entered or ``fills_min`` fills within ``window_ns`` of the return, which
counts. What an account does in the app, or what is put on file about it, ends no rest.

Whoever was never seen before does not return: nobody knows how long it rested. Nor does whoever was
silent for ``accounts.silent_ns``, whose next event finds it as new; so a rest is seen from
``dormant_min_ns`` to there, and never where the second is shorter. Of a row from a clock that is
far ahead, the rest until then is a return too, in whose window no other row falls; until that time
comes, rests of its account are not seen.

The row of an account must outlast its rest, which is why the rule runs on request only: it is never
spent, ends with its account, and costs 80 bytes for each account that ever traded, beside the
account's own 32, where other rules let go of both after ``accounts.idle_ns``.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Meta, Struct

from detectors.core.contract import (
    ACTION,
    FILL,
    HEADROOM,
    NEW,
    OPENING,
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.emit import (
    COMMON_STATE,
    begins_day,
    count_up,
    emit_step,
    headroom_level,
    is_near,
    remember,
    roll,
)
from detectors.core.memory import FindingBuffer, SubjectState, admit, fetch_ahead, give_ring
from detectors.core.wording import at_most, count_of, seconds, shared_evidence, standing
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

_HOUR_NS: Final = 3_600 * SECOND_NS
_DAY_NS: Final = 24 * _HOUR_NS
STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("last_ns", "<i8"),  # of the latest order or fill; 0 before the first
        ("return_ns", "<i8"),  # of the latest return; 0 for none
        ("rest_ns", "<i8"),  # how long the account had rested by then
        ("orders", "<u4"),  # since then, as long as the window lasts
        ("fills", "<u4"),
        ("told", "u1"),  # the return has fired
        ("padding", "u1", (3,)),
    ]
)
ORDERS, FILLS, REST_NS, RETURN_NS, BY_FILLS = range(5)  # numbers of a finding


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    dormant_min_ns
        How long without an order or fill makes an account dormant, event time; the rest cannot be
        seen from ``accounts.silent_ns`` on.
    window_ns
        How long after its return the account is watched, event time.
    orders_min
        Orders entered in that time that fire.
    fills_min
        Fills in that time that fire.
    """

    dormant_min_ns: Annotated[int, Meta(gt=0)] = 90 * _DAY_NS
    window_ns: Annotated[int, Meta(gt=0)] = _DAY_NS
    orders_min: Annotated[int, Meta(ge=1)] = 30
    fills_min: Annotated[int, Meta(ge=1)] = 30


@kernel
def _follow(subject: Any, step: Any, dormant_min_ns: Int, memory: Any) -> None:
    """Begin a return where the account rested for long enough, and note the step's time."""
    now_ns = np.int64(step["time_ns"])
    rest_ns = now_ns - subject["last_ns"]
    if subject["last_ns"] > 0 and rest_ns >= dormant_min_ns:
        subject["return_ns"] = now_ns
        subject["rest_ns"] = rest_ns
        subject["orders"] = 0
        subject["fills"] = 0
        subject["told"] = 0
        subject["warned"] = 0
        give_ring(subject, memory)  # evidence names no row from before the return
        subject["seen"] = 0
    subject["last_ns"] = max(subject["last_ns"], now_ns)


@inlined
def _is_watched(subject: Any, step: Any, window_ns: Int) -> Any:
    """Say whether the step falls within the window of a return that has not fired."""
    after_ns = step["time_ns"] - subject["return_ns"]
    return subject["return_ns"] > 0 and subject["told"] == 0 and 0 <= after_ns < window_ns


@inlined
def _keeps(subject: Any, step: Any, figures: Any) -> Any:
    """Say whether a finding may be due within as many rows as its evidence names."""
    _, window_ns, orders_min, fills_min = figures
    is_open = subject["return_ns"] > 0 and subject["told"] == 0
    nears = is_near(subject["orders"], orders_min) or is_near(subject["fills"], fills_min)
    return is_open and nears and step["time_ns"] < subject["return_ns"] + window_ns


@kernel
def _judge(subject: Any, figures: Any) -> Any:
    """Return phase (0: none) of the finding a step of the window makes, and if fills made it."""
    _, _, orders_min, fills_min = figures
    orders, fills = np.int64(subject["orders"]), np.int64(subject["fills"])
    if orders >= orders_min or fills >= fills_min:
        subject["told"] = 1
        return OPENING, fills >= fills_min
    by_orders = headroom_level(orders, orders_min, subject["warned"])
    by_fills = headroom_level(fills, fills_min, subject["warned"])
    level = max(by_orders, by_fills)
    subject["warned"] = max(level, np.int64(subject["warned"]))
    return (HEADROOM if level > 0 else 0), by_fills > by_orders


@kernel
def follow_returns(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Count each account's orders and fills after a long rest.

    ``figures`` = (dormant_min_ns, window_ns, orders_min, fills_min). O(n), no allocation.
    """
    dormant_min_ns, window_ns, _, _ = figures
    for i in range(len(steps)):
        fetch_ahead(steps, i, selection, memory)
        step = steps[i]
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        if begins_day(subject, step):
            roll(subject, step, memory)
        _follow(subject, step, dormant_min_ns, memory)
        is_watched = _is_watched(subject, step, window_ns)
        if is_watched and step["what"] & NEW != 0:
            subject["orders"] = count_up(subject["orders"])
        if is_watched and step["what"] & FILL != 0:
            subject["fills"] = count_up(subject["fills"])
        remember(subject, step, memory, _keeps(subject, step, figures))
        if not is_watched:
            continue
        phase, by_fills = _judge(subject, figures)
        if phase == 0:
            continue
        subject["onset_ns"] = subject["return_ns"]
        record = out[emit_step(out, count, phase, i, step["time_ns"], subject, memory)]
        record["numbers"][ORDERS] = subject["orders"]
        record["numbers"][FILLS] = subject["fills"]
        record["numbers"][REST_NS] = subject["rest_ns"]
        record["numbers"][RETURN_NS] = subject["return_ns"]
        record["numbers"][BY_FILLS] = by_fills


def _long(ns: int) -> str:
    """Spell a long time: whole days from two on, else hours, else seconds."""
    if ns >= 2 * _DAY_NS:
        return f"{ns // _DAY_NS:,} days"
    return f"{ns / _HOUR_NS:,.4g} h" if ns >= _HOUR_NS else seconds(ns)


class DormantReactivation(Detector):
    """Fires once a return, at ``orders_min`` orders or ``fills_min`` fills."""

    name: ClassVar[str] = "dormant_reactivation"
    subject: ClassVar[Literal["account"]] = "account"
    wanted: ClassVar[int] = ACTION | FILL
    params_type: ClassVar[type[Struct]] = Params
    is_large: ClassVar[bool] = True  # small rows, but of everybody who ever traded

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def _figures(self) -> tuple[int, int, int, int]:
        p = self.params
        return p.dormant_min_ns, p.window_ns, p.orders_min, p.fills_min

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        memory = state.memory()
        follow_returns(steps, self.selection, self._figures(), memory, out.records, out.count)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        orders, fills, rest_ns, return_ns, by_fills = (
            int(finding["numbers"][k]) for k in range(BY_FILLS + 1)
        )
        within = f"within {_long(p.window_ns)} of the return after {_long(rest_ns)} of rest"
        counted = f"{count_of(orders, 'order')} and {count_of(fills, 'fill')}"
        why = (
            f"{counted} {within} without any; the rule's figures are {p.orders_min:,} and "
            f"{p.fills_min:,}, after a rest of {_long(p.dormant_min_ns)} or more."
        )
        evidence = {
            "orders": orders,
            "orders_figure": p.orders_min,
            "fills": fills,
            "fills_figure": p.fills_min,
            "rest_ns": str(rest_ns),
            "dormant_min_ns": str(p.dormant_min_ns),
            "last_active_ns": str(return_ns - rest_ns),
            "returned_ns": str(return_ns),
            "window_ns": str(p.window_ns),
            "unavailable": ["what happened before the account was first seen"],
            **shared_evidence(finding, self.rule),
        }
        observed, figure = (fills, p.fills_min) if by_fills else (orders, p.orders_min)
        what = "fills" if by_fills else "orders"
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most(what, figure - 1, observed, within=within),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        numbers = finding["numbers"]
        if numbers[BY_FILLS]:
            return Nearness(float(numbers[FILLS]), float(self.params.fills_min))
        return Nearness(float(numbers[ORDERS]), float(self.params.orders_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``: a rest of some seconds."""
        return {
            "default": {
                "dormant_min_ns": 15 * SECOND_NS,
                "window_ns": 5 * SECOND_NS,
                "orders_min": 3,
                "fills_min": 2,
            }
        }
