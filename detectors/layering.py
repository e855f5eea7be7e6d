"""Layering: orders on one side that are withdrawn once the other side has traded, and stay away.

An episode begins with a fill while at least ``levels_min`` orders of the day rest on the opposite
side, entered at as many prices one after another, and their quantity is at least ``size_ratio_min``
times what rests on the fill's own side, or what trades there if that is more: who quotes both
sides alike does not layer. Within ``window_ns`` of the last such fill the customer withdraws at
least ``withdrawn_share_min`` of what rested there, less what is entered there anew: net exposure,
so that a maker who moves quotes has withdrawn nothing. The window ends with its trading day, if not
before, and its end judges it.
``episodes_min`` episodes of one account in one contract on one trading day fire.

Prices are those at which orders were entered, one after another while any rested: an order moved to
another price by a replace counts at its first, and moving it away is no withdrawal.

How near to the best price the orders stood, and whether the price came back, would need market
data: neither is looked at, and the evidence says so.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from detectors.core.contract import (
    CANCEL,
    FILL,
    GROWTH,
    OPENING,
    REPLACE,
    RESTS,
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.emit import (
    COMMON_STATE,
    count_up,
    due_at,
    emit,
    emit_name,
    has_ended,
    note_position,
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
from detectors.core.wide import add_held
from detectors.core.wording import at_most, count_of, exemptions, seconds, standing
from schemas.columns import SIDE
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

_SIDES: Final = 2
STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("rests_e8", "<i8", (_SIDES,)),  # of orders of the day, by side
        ("last_price_e8", "<i8", (_SIDES,)),  # at which an order was entered last
        ("until_ns", "<i8"),  # end of the window of the episode at hand; 0 for none
        ("rested_e8", "<i8"),  # on the watched side when it began
        ("withdrawn_e8", "<i8"),  # since, less what was entered anew
        ("traded_e8", "<i8"),  # on the other side since
        ("beside_e8", "<i8"),  # that, or what rested there if more
        ("orders", "<u4", (_SIDES,)),  # that rest
        ("levels", "<u4", (_SIDES,)),  # prices, one after another, since none rested
        ("rested_levels", "<u4"),
        ("episodes", "<u4"),
        ("watched", "u1"),  # side, as an index
        ("padding", "u1", (7,)),
    ]
)
EPISODES, DUE, RESTED_E8, WITHDRAWN_E8, LEVELS, WATCHED = range(6)  # numbers of a finding
_PPM: Final = 1_000_000
_BUY: Final = SIDE["buy"]
WITHIN: Final = "in one contract on one trading day"


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    episodes_min
        Episodes that fire, per account, contract and trading day.
    levels_min
        Orders that rest on one side, and prices at which they were entered one after another.
    size_ratio_min
        What rests there over what rests on the fill's own side, or what trades there by the end if
        that is more: who quotes both sides alike does not layer.
    withdrawn_share_min
        Share of it that the customer withdraws and does not enter anew, in (0, 1].
    window_ns
        How long after the last fill, event time.
    """

    episodes_min: Annotated[int, Meta(ge=1)] = 3
    levels_min: Annotated[int, Meta(ge=1)] = 3
    size_ratio_min: Annotated[float, Meta(ge=0)] = 1.5
    withdrawn_share_min: Annotated[float, Meta(gt=0, le=1)] = 0.7
    window_ns: Annotated[int, Meta(gt=0)] = 10 * SECOND_NS


@inlined
def _index_of(side: Int) -> Any:
    return 0 if side == _BUY else 1


@kernel
def _begin_day(subject: Any, step: Any, memory: Any) -> None:
    roll(subject, step, memory)
    for k in range(_SIDES):
        subject["rests_e8"][k] = 0
        subject["orders"][k] = 0
        subject["levels"][k] = 0
    subject["until_ns"] = 0
    subject["episodes"] = 0


@kernel
def _rest(subject: Any, step: Any) -> None:
    """Follow what rests on each side, and at how many prices it was entered."""
    side = _index_of(step["side"])
    if step["open_change"] > 0:
        if subject["orders"][side] == 0:
            subject["levels"][side] = 1
        elif step["price_e8"] != subject["last_price_e8"][side]:
            subject["levels"][side] = count_up(subject["levels"][side])
        subject["last_price_e8"][side] = step["price_e8"]
    orders = np.int64(subject["orders"][side]) + step["open_change"]
    subject["orders"][side] = max(orders, np.int64(0))
    rests_e8 = add_held(subject["rests_e8"][side], step["rest_change_e8"])
    subject["rests_e8"][side] = max(rests_e8, np.int64(0))


@kernel
def _follow(subject: Any, step: Any, memory: Any) -> None:
    """Count what is withdrawn from the watched side, and what is entered there anew."""
    if subject["until_ns"] == 0 or _index_of(step["side"]) != subject["watched"]:
        return
    change_e8, what = step["rest_change_e8"], step["what"]
    is_own = change_e8 > 0 or what & (CANCEL | REPLACE) != 0
    if change_e8 == 0 or what & FILL != 0 or not is_own:
        return  # filled, or ended by the venue
    subject["withdrawn_e8"] = add_held(subject["withdrawn_e8"], -change_e8)
    if change_e8 < 0:
        note_position(subject, memory, step["position"])
        subject["registered"] = step["registered"]
        subject["claimed"] = step["claimed"]


@inlined
def _window_end(subject: Any, step: Any, window_ns: Int) -> Any:
    """Return the window's last moment: alerts are closed with their day, so none reaches beyond."""
    return min(step["time_ns"] + window_ns, subject["day_end_ns"] - 1)


@kernel
def _watch(subject: Any, step: Any, figures: Any, memory: Any) -> None:
    """Begin an episode with a fill while enough rests on the other side."""
    _, levels_min, ratio_ppm, _, window_ns = figures
    own = _index_of(step["side"])
    other = 1 - own
    levels = min(np.int64(subject["levels"][other]), np.int64(subject["orders"][other]))
    rests_e8 = subject["rests_e8"][other]
    if levels < levels_min or rests_e8 == 0:
        return
    beside_e8 = max(subject["rests_e8"][own], step["quantity_e8"])  # the fill's order still rests
    if np.float64(rests_e8) * _PPM < np.float64(beside_e8) * ratio_ppm:
        return
    if subject["episodes"] == 0:
        subject["onset_ns"] = step["time_ns"]
    subject["until_ns"] = _window_end(subject, step, window_ns)
    subject["watched"] = other
    subject["rested_e8"] = rests_e8
    subject["rested_levels"] = levels
    subject["withdrawn_e8"] = 0
    subject["beside_e8"] = beside_e8
    subject["traded_e8"] = step["quantity_e8"]
    memory.counters[DUE_NS] = min(memory.counters[DUE_NS], subject["until_ns"])
    note_position(subject, memory, step["position"])
    subject["registered"] = step["registered"]
    subject["claimed"] = step["claimed"]


@kernel
def _trade_on(subject: Any, step: Any, figures: Any, memory: Any) -> None:
    """Take a further fill of what the resting orders are to help: the window begins anew."""
    if _index_of(step["side"]) == subject["watched"]:
        return
    subject["traded_e8"] = add_held(subject["traded_e8"], step["quantity_e8"])
    subject["beside_e8"] = max(subject["beside_e8"], subject["traded_e8"])
    subject["until_ns"] = max(subject["until_ns"], _window_end(subject, step, figures[4]))
    note_position(subject, memory, step["position"])


@inlined
def _needs_name(subject: Any, episodes_min: Int) -> Any:
    """Say whether the window's end may bring about the day's first finding."""
    is_near = np.int64(subject["episodes"]) + 1 >= episodes_min
    return subject["until_ns"] != 0 and is_near and subject["warned"] + subject["open"] == 0


@kernel
def _judge(at: Int, subject: Any, figures: Any, memory: Any, out: Any, count: Any) -> None:
    """Judge the episode whose window is over; ``at`` is the row of the batch, or -1."""
    episodes_min, _, ratio_ppm, share_ppm, _ = figures
    ended_ns = np.int64(subject["until_ns"])
    subject["until_ns"] = 0
    needed = np.float64(subject["rested_e8"]) * share_ppm
    if np.float64(subject["withdrawn_e8"]) * _PPM < needed:
        return
    if np.float64(subject["rested_e8"]) * _PPM < np.float64(subject["beside_e8"]) * ratio_ppm:
        return
    subject["episodes"] = count_up(subject["episodes"])
    due = due_at(episodes_min, subject)
    if subject["episodes"] < due:
        return
    phase = np.int64(GROWTH) if subject["open"] else np.int64(OPENING)
    subject["open"] = 1
    subject["doublings"] += 1
    where = (np.int64(-1), np.int64(at), ended_ns)
    record = out[emit(out, count, phase, where, subject, memory)]
    record["numbers"][EPISODES] = subject["episodes"]
    record["numbers"][DUE] = due
    record["numbers"][RESTED_E8] = subject["rested_e8"]
    record["numbers"][WITHDRAWN_E8] = subject["withdrawn_e8"]
    record["numbers"][LEVELS] = subject["rested_levels"]
    record["numbers"][WATCHED] = subject["watched"]


@kernel
def follow_layers(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Follow what rests on each side of a contract, and the episodes that end.

    ``figures`` = (episodes_min, levels_min, size ratio and share withdrawn in millionths,
    window_ns). O(n), no allocation; at most one finding a step, and one name.
    """
    for i in range(len(steps)):
        fetch_ahead(steps, i, selection, memory)
        step = steps[i]
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        later_day = step["day"] > subject["day"] or subject["onset_ns"] == 0
        if subject["until_ns"] != 0 and (later_day or step["time_ns"] > subject["until_ns"]):
            _judge(np.int64(i), subject, figures, memory, out, count)
        if later_day:
            _begin_day(subject, step, memory)
        if step["what"] & FILL != 0 and subject["until_ns"] != 0:
            _trade_on(subject, step, figures, memory)
        elif step["what"] & FILL != 0:
            _watch(subject, step, figures, memory)
            if _needs_name(subject, figures[0]):
                subject["warned"] = 1
                emit_name(out, count, np.int64(i), step["time_ns"], subject, memory)
        if step["what"] & RESTS != 0:
            _follow(subject, step, memory)
            _rest(subject, step)


@kernel
def close_windows(memory: Any, watermark_ns: Int, figures: Any, out: Any, count: Any) -> None:
    """Judge every episode whose window ended before the watermark, as far as there is room."""
    due_ns = NEVER_DUE
    for row in range(memory.counters[ROWS]):
        if count[0] == len(out):
            return
        subject = memory.rows[row]
        if subject["until_ns"] == 0:
            continue
        if subject["until_ns"] < watermark_ns:
            _judge(np.int64(-1), subject, figures, memory, out, count)
        else:
            due_ns = min(due_ns, subject["until_ns"])
    memory.counters[DUE_NS] = due_ns


class Layering(Detector):
    """Fires at ``episodes_min`` episodes in one contract on one day."""

    name: ClassVar[str] = "layering"
    subject: ClassVar[Literal["contract"]] = "contract"
    wanted: ClassVar[int] = RESTS | FILL
    params_type: ClassVar[type[Struct]] = Params
    is_large: ClassVar[bool] = True

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def _figures(self) -> tuple[int, int, int, int, int]:
        p = self.params
        ratio_ppm, share_ppm = round(p.size_ratio_min * _PPM), round(p.withdrawn_share_min * _PPM)
        return p.episodes_min, p.levels_min, ratio_ppm, share_ppm, p.window_ns

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        memory = state.memory()
        follow_layers(steps, self.selection, self._figures(), memory, out.records, out.count)

    def close(self, state: SubjectState, watermark_ns: int, out: FindingBuffer) -> None:
        """See ``Detector.close``."""
        close_windows(state.memory(), watermark_ns, self._figures(), out.records, out.count)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``."""
        spent: NDArray[np.bool_] = has_ended(rows, horizon_ns) & (rows["until_ns"] == 0)
        return spent

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        episodes, due, rested_e8, withdrawn_e8, levels, watched = (
            int(finding["numbers"][k]) for k in range(WATCHED + 1)
        )
        side = "buy" if watched == 0 else "sell"
        why = (
            f"{count_of(episodes, 'time')} {WITHIN}, {side} orders (entered at {levels:,} prices "
            "the last time) rested while the other side traded, and within "
            f"{seconds(p.window_ns)} at least "
            f"{p.withdrawn_share_min:.0%} of them were withdrawn and not entered anew; the rule's "
            f"figure is {p.episodes_min:,}."
        )
        evidence = {
            "episodes": episodes,
            "figure": p.episodes_min,
            "side_withdrawn": side,
            "rested_e8": str(rested_e8),
            "withdrawn_net_e8": str(withdrawn_e8),
            "orders_at_prices": levels,
            "unavailable": ["distance from the best price", "whether the price came back"],
            "exemptions": exemptions(finding, self.rule),
        }
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most("episodes", due - 1, episodes, within=WITHIN),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][EPISODES]), float(self.params.episodes_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``: one order on a side is enough, and few of them withdrawn."""
        return {
            "default": {
                "episodes_min": 1,
                "levels_min": 1,
                "size_ratio_min": 0.5,
                "withdrawn_share_min": 0.15,
            }
        }
