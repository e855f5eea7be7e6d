"""Windows in which an account trades much of an instrument's volume and the price goes with it.

Rules on such windows differ in where windows lie; everything else is here: what is remembered of
an instrument's window and of each account in it, how both are followed, and how a window that is
over is judged.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.core.contract import (
    FILL,
    GROWTH,
    OPENING,
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.emit import COMMON_STATE, count_up, emit, note_position, roll
from detectors.core.memory import (
    DUE_NS,
    NEVER_DUE,
    FindingBuffer,
    SubjectState,
    give_ring,
    row_of,
)
from detectors.core.wide import add_held
from detectors.core.wording import at_most, count_of, exemptions, seconds, standing
from schemas.columns import SIDE
from schemas.jit import Int, inlined, kernel

PPM: Final = 1_000_000
_BUY: Final = SIDE["buy"]
# Of an account in an instrument's window.
IN_WINDOW: Final = np.dtype(
    [
        *COMMON_STATE,
        ("next_of_window", "<i4"),  # index + 1 of the row of who came before it; 0: none
        ("bought_e8", "<i8"),
        ("sold_e8", "<i8"),
        ("trades", "<u4"),  # 0: it is in no window
        ("padding", "u1", (4,)),
    ]
)
# Of an instrument, beside its accounts' rows.
WINDOW: Final = np.dtype(
    [
        ("until_ns", "<i8"),  # last moment of the window at hand; 0: none
        ("before_e8", "<i8"),  # price of the day's last trade before it; 0: none
        ("last_e8", "<i8"),  # price of the day's last trade; 0: none
        ("volume_e8", "<i8"),  # of the window
        ("newest", "<i4"),  # index + 1 of the row of the account that came last; 0: none
        ("day", "<i4"),
    ]
)
# Numbers of a finding.
BEFORE_E8, LAST_E8, VOLUME_E8, BOUGHT_E8, SOLD_E8, TRADES = range(6)


class WindowFigures(NamedTuple):
    """A rule's figures as kernels take them.

    Attributes
    ----------
    close_ns
        How long before its trading day's end a day's one window ends; 0: windows follow each other,
        and each begins with a trade.
    window_ns
        Length of a window.
    trades_min, share_ppm, move_ppm
        Of the account, of the window's volume, and of the price before.
    """

    close_ns: int
    window_ns: int
    trades_min: int
    share_ppm: int
    move_ppm: int


@kernel
def _begin_window(window: Any, step: Any, figures: Any) -> None:
    """Begin a window with the step, if one does: on its day, and where the rule has them."""
    if step["day"] > window["day"]:
        window["day"] = step["day"]
        window["last_e8"] = 0
    time_ns, until_ns = step["time_ns"], step["time_ns"] + figures.window_ns - 1
    if figures.close_ns > 0:
        until_ns = step["day_end_ns"] - figures.close_ns
        if time_ns > until_ns or time_ns <= until_ns - figures.window_ns:
            return
    window["until_ns"] = min(until_ns, step["day_end_ns"] - 1)
    window["before_e8"] = window["last_e8"]
    window["volume_e8"] = 0


@inlined
def _is_counted(step: Any, side: Int) -> Any:
    """Say whether the side is that of an account whose trade this was already: with itself."""
    is_with_itself = step["account"] >= 0 and step["account"] == step["counter"]
    return is_with_itself and (side == 1 or step["is_first_report"] == 0)


@kernel
def _take_part(window: Any, step: Any, side: Int, memory: Any) -> None:
    """Count the step's trade for one of its sides: 0 is the row's own account."""
    row = row_of(np.int64(step["traders"][side]), memory)
    subject = memory.rows[row]
    if step["day"] > subject["day"] or subject["onset_ns"] == 0:
        roll(subject, step, memory)
    if subject["trades"] == 0:
        subject["onset_ns"] = step["time_ns"]
        subject["next_of_window"] = window["newest"]
        window["newest"] = row + 1
    if not _is_counted(step, side) or subject["trades"] == 0:
        subject["trades"] = count_up(subject["trades"])
    if (step["side"] == _BUY) == (side == 0):
        subject["bought_e8"] = add_held(subject["bought_e8"], step["quantity_e8"])
    else:
        subject["sold_e8"] = add_held(subject["sold_e8"], step["quantity_e8"])
    if side == 0 or step["traders"][0] != step["traders"][1]:
        note_position(subject, memory, step["position"])
    subject["registered"] = step["trader_registered"][side]
    subject["claimed"] = step["claimed"] if side == 0 else 0


@inlined
def _net_with_the_price(window: Any, subject: Any) -> Any:
    """Return what the account traded in the direction in which the price went, less the other."""
    net_e8 = subject["bought_e8"] - subject["sold_e8"]
    return net_e8 if window["last_e8"] > window["before_e8"] else -net_e8


@inlined
def _has_moved(window: Any, move_ppm: Int) -> Any:
    """Say whether the price has gone far enough; not where no trade of the day stood before."""
    if window["before_e8"] == 0:
        return False
    moved = np.float64(abs(window["last_e8"] - window["before_e8"]))
    return moved * PPM >= np.float64(window["before_e8"]) * move_ppm


@kernel
def _is_it(window: Any, subject: Any, figures: Any) -> Any:
    """Say whether the account traded often and much in the direction of the price."""
    if subject["trades"] < figures.trades_min:
        return False
    net_e8 = np.float64(_net_with_the_price(window, subject))
    return net_e8 * PPM >= np.float64(window["volume_e8"]) * figures.share_ppm


@kernel
def _tell(window: Any, at: Int, subject: Any, memory: Any, out: Any, count: Any) -> None:
    phase = np.int64(GROWTH) if subject["open"] else np.int64(OPENING)
    subject["open"] = 1
    where = (np.int64(-1), np.int64(at), np.int64(window["until_ns"]))
    record = out[emit(out, count, phase, where, subject, memory)]
    record["numbers"][BEFORE_E8] = window["before_e8"]
    record["numbers"][LAST_E8] = window["last_e8"]
    record["numbers"][VOLUME_E8] = window["volume_e8"]
    record["numbers"][BOUGHT_E8] = subject["bought_e8"]
    record["numbers"][SOLD_E8] = subject["sold_e8"]
    record["numbers"][TRADES] = subject["trades"]


@kernel
def _leave(subject: Any, memory: Any) -> None:
    """Let an account be in no window."""
    give_ring(subject, memory)
    subject["seen"] = 0
    subject["trades"] = 0
    subject["bought_e8"] = 0
    subject["sold_e8"] = 0
    subject["next_of_window"] = 0


@kernel
def _judge(window: Any, at: Int, figures: Any, memory: Any, out: Any, count: Any) -> Any:
    """Judge a window that is over, account by account; say whether there was room for all.

    ``at`` is the row of the batch, or -1. More than a third of a volume is had by two at most.
    """
    moved = _has_moved(window, figures.move_ppm)
    while window["newest"] > 0:
        if count[0] == len(out):
            return False
        subject = memory.rows[window["newest"] - 1]
        window["newest"] = subject["next_of_window"]
        if moved and _is_it(window, subject, figures):
            _tell(window, at, subject, memory, out, count)
        _leave(subject, memory)
    window["until_ns"] = 0
    return True


@kernel
def follow_windows(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Follow each instrument's windows, and who trades in them; judge those that are over.

    ``steps`` are of dtype ``TRADE``, ``figures`` a ``WindowFigures``. O(n), no allocation; at most
    two findings a step.
    """
    for i in range(len(steps)):
        step = steps[i]
        if step["rules"] & selection.rule_bit == 0 or step["what"] & FILL == 0:
            continue
        window = memory.shared[step["instrument"]]
        if window["until_ns"] != 0 and step["time_ns"] > window["until_ns"]:
            _judge(window, np.int64(i), figures, memory, out, count)
        if window["until_ns"] == 0:
            _begin_window(window, step, figures)
            if window["until_ns"] != 0:
                memory.counters[DUE_NS] = min(memory.counters[DUE_NS], window["until_ns"])
        if window["until_ns"] != 0:
            for side in range(2):
                is_exempt = step["trader_registered"][side] & selection.exempt != 0
                if step["traders"][side] >= 0 and not is_exempt:
                    _take_part(window, step, np.int64(side), memory)
        if step["is_first_report"] == 1:
            window["volume_e8"] = add_held(window["volume_e8"], step["quantity_e8"])
            window["last_e8"] = step["price_e8"]


@kernel
def close_windows(memory: Any, watermark_ns: Int, figures: Any, out: Any, count: Any) -> None:
    """Judge every window that ended before the watermark, as far as there is room."""
    due_ns = NEVER_DUE
    for index in range(len(memory.shared)):
        window = memory.shared[index]
        if window["until_ns"] == 0:
            continue
        if window["until_ns"] >= watermark_ns:
            due_ns = min(due_ns, window["until_ns"])
        elif not _judge(window, np.int64(-1), figures, memory, out, count):
            return
    memory.counters[DUE_NS] = due_ns


class WindowDetector(Detector):
    """What detectors on such windows have in common."""

    subject: ClassVar[Literal["trader"]] = "trader"
    wanted: ClassVar[int] = FILL
    kinds: ClassVar[frozenset[str]] = frozenset({"fill"})
    is_large: ClassVar[bool] = True
    unavailable: ClassVar[tuple[str, ...]] = ("orders and quotes", "trades of which no event tells")

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return IN_WINDOW

    @property
    def shared_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.shared_dtype``."""
        return WINDOW

    @abstractmethod
    def place(self) -> str:
        """Say where the rule's windows lie, in the middle of a sentence."""

    def _figures(self) -> WindowFigures:
        p = self.params
        return WindowFigures(
            getattr(p, "close_before_day_end_ns", 0),
            p.window_ns,
            p.trades_min,
            round(p.share_min * PPM),
            round(p.move_min * PPM),
        )

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        memory = state.memory()
        follow_windows(steps, self.selection, self._figures(), memory, out.records, out.count)

    def close(self, state: SubjectState, watermark_ns: int, out: FindingBuffer) -> None:
        """See ``Detector.close``."""
        close_windows(state.memory(), watermark_ns, self._figures(), out.records, out.count)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``: an instrument's days end as its own rows say."""
        over: NDArray[np.bool_] = (rows["day_end_ns"] <= horizon_ns) & (rows["trades"] == 0)
        return over

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        before_e8, last_e8, volume_e8, bought_e8, sold_e8, trades = (
            int(finding["numbers"][k]) for k in range(TRADES + 1)
        )
        rose = last_e8 > before_e8
        net_e8 = bought_e8 - sold_e8 if rose else sold_e8 - bought_e8
        moved, share = (last_e8 - before_e8) / max(before_e8, 1), net_e8 / max(volume_e8, 1)
        why = (
            f"{self.place()} the account {'bought' if rose else 'sold'} {share:.0%} of what all "
            f"traded, net, in {count_of(trades, 'trade')}, and the price went {moved:+.2%}. The "
            f"rule's figures are {p.share_min:.0%}, {p.trades_min:,} trades and {p.move_min:.2%}."
        )
        evidence = {
            "trades": trades,
            "figure": p.trades_min,
            "bought_e8": str(bought_e8),
            "sold_e8": str(sold_e8),
            "volume_of_window_e8": str(volume_e8),
            "net_share_ppm": net_e8 * PPM // max(volume_e8, 1),
            "price_before_e8": str(before_e8),
            "price_at_end_e8": str(last_e8),
            "moved_ppm": (last_e8 - before_e8) * PPM // max(before_e8, 1),
            "window": seconds(p.window_ns),
            "unavailable": list(self.unavailable),
            "exemptions": exemptions(finding, self.rule),
        }
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most("trades", p.trades_min - 1, trades, within="in the window"),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][TRADES]), float(self.params.trades_min))
