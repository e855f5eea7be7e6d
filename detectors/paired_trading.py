"""Paired trading: two accounts that nothing links trade with each other again and again, both ways.

A pair fires in one instrument on one trading day once the two have traded with each other at least
`trades_min` times, these trades are at least `share_min` of all that either of them traded there so
far on the day, and of the quantity that went one way at least `round_share_min` came back. So two
who meet often among many others do not fire, nor does a large order that is worked against one
maker.

With whom a fill was made is known where it names its counterparty (`counter_account_id`), or where
both sides report the trade under one `fill_id`; reported twice, it counts once. Accounts with the
same beneficial owner or control group on file are one party: their trades are self-trading's. A
trade of which either side is exempt fires nothing. Fills of which nobody says with whom count
among what their account traded. Whether the two agreed, and how alike their orders were, is not
looked at.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from detectors.core.contract import (
    GROWTH,
    HEADROOM,
    MATCHED,
    OPENING,
    OTHER_SIDE,
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.emit import (
    COMMON_STATE,
    HEADROOM_LEVELS,
    begins_day,
    due_at,
    emit_step,
    headroom_level,
    is_near,
    note_position,
    roll,
)
from detectors.core.memory import FindingBuffer, SubjectState, looks_at, row_of
from detectors.core.wording import at_most, count_of, exemptions, standing
from schemas.jit import Int, inlined, kernel

# A dtype of the common fields alone would pass for all others, which begin with them.
STATE: Final = np.dtype([*COMMON_STATE, ("padding", "u1", (4,))])
# Numbers of a finding: those of the two begin with the one that reported the first trade.
TRADES, ALL_TRADES, BOUGHT_E8, ONE_SIDED = 0, 1, 3, 5
_PPM: Final = 1_000_000
_TOLD_FROM: Final = HEADROOM_LEVELS[0]
WITHIN: Final = "in one contract on one trading day"


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    trades_min
        Trades between the two that fire, per pair, contract and trading day.
    share_min
        Share of these in all that either of them traded in the contract so far that day.
    round_share_min
        Share of the quantity that went the one way which came back the other, in (0, 1].
    """

    trades_min: Annotated[int, Meta(ge=2)] = 10
    share_min: Annotated[float, Meta(gt=0, le=1)] = 0.5
    round_share_min: Annotated[float, Meta(gt=0, le=1)] = 0.5


@inlined
def _is_watched(trades: Int, trades_min: Int) -> Any:
    """Say whether a pair may be told within as many rows as its evidence names."""
    return is_near(trades, trades_min) or trades * 100 >= np.int64(trades_min) * _TOLD_FROM


@kernel
def _is_paired(step: Any, figures: Any) -> Any:
    """Say whether the two trade mostly with each other, and both ways."""
    _, share_ppm, round_ppm = figures
    for k in range(2):
        if step["pair_trades"] * _PPM < step["pair_all_trades"][k] * share_ppm:
            return False
    less_e8 = min(step["pair_bought_e8"][0], step["pair_bought_e8"][1])
    more_e8 = max(step["pair_bought_e8"][0], step["pair_bought_e8"][1])
    return np.float64(less_e8) * _PPM >= np.float64(more_e8) * round_ppm


@kernel
def _phase(subject: Any, step: Any, figures: Any) -> Any:
    """Return the phase (0: none) of the finding that the latest trade makes."""
    trades_min, trades = figures[0], step["pair_trades"]
    if not _is_paired(step, figures):
        return 0
    level = headroom_level(trades, trades_min, subject["warned"])
    phase = 0
    if trades >= due_at(trades_min, subject):
        phase = GROWTH if subject["open"] else OPENING
        subject["open"] = 1
        while due_at(trades_min, subject) <= trades:
            subject["doublings"] += 1
    elif level > 0 and trades < trades_min:
        phase = HEADROOM
    if phase != 0:
        subject["warned"] = max(level, subject["warned"])
    return phase


@kernel
def _note(subject: Any, step: Any, memory: Any) -> None:
    """Keep where the reports of a trade stood, and what was on file and claimed by then."""
    if begins_day(subject, step):
        roll(subject, step, memory)
        subject["onset_ns"] = step["pair_onset_ns"]
    if step["other_position"] >= 0:
        note_position(subject, memory, step["other_position"])
    note_position(subject, memory, step["position"])
    subject["registered"] = step["registered"]
    subject["claimed"] = step["claimed"]


@kernel
def _fill_in(record: Any, step: Any) -> None:
    record["numbers"][TRADES] = step["pair_trades"]
    record["numbers"][ONE_SIDED] = step["one_sided"]
    for k in range(2):
        record["numbers"][ALL_TRADES + k] = step["pair_all_trades"][k]
        record["numbers"][BOUGHT_E8 + k] = step["pair_bought_e8"][k]
        record["accounts"][k] = step["pair_holders"][k] + 1
        record["quantities"][k] = step["pair_bought_e8"][k]
    for k in range(2, len(record["accounts"])):
        record["accounts"][k] = 0
        record["quantities"][k] = 0


@kernel
def follow_pairs(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Judge a pair at each trade between the two; a finding at the figure and each doubling.

    ``steps`` are of dtype ``TRADE``, ``figures`` = (trades_min, share and what came back in
    millionths). O(n), no allocation.
    """
    for i in range(len(steps)):
        step = steps[i]
        if step["pair"] < 0 or not looks_at(step, selection):
            continue
        if not _is_watched(step["pair_trades"], figures[0]):
            continue
        subject = memory.rows[row_of(np.int64(step["pair"]), memory)]
        if step["what"] & OTHER_SIDE:
            if subject["seen"] > 0 and subject["day"] == step["day"]:
                note_position(subject, memory, step["position"])
            continue
        _note(subject, step, memory)
        phase = _phase(subject, step, figures)
        if phase != 0:
            _fill_in(out[emit_step(out, count, phase, i, step["time_ns"], subject, memory)], step)


class PairedTrading(Detector):
    """Fires at ``trades_min`` trades of two accounts with each other, most of what they trade."""

    name: ClassVar[str] = "paired_trading"
    subject: ClassVar[Literal["pair"]] = "pair"
    wanted: ClassVar[int] = MATCHED | OTHER_SIDE
    kinds: ClassVar[frozenset[str]] = frozenset({"fill"})
    params_type: ClassVar[type[Struct]] = Params
    is_large: ClassVar[bool] = True

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        p = self.params
        figures = (p.trades_min, round(p.share_min * _PPM), round(p.round_share_min * _PPM))
        follow_pairs(steps, self.selection, figures, state.memory(), out.records, out.count)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``: a pair has one instrument, whose days end as its own rows say."""
        ended: NDArray[np.bool_] = rows["day_end_ns"] <= horizon_ns
        return ended

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        numbers = [int(number) for number in finding["numbers"]]
        trades, one_sided = numbers[TRADES], numbers[ONE_SIDED]
        busier = max(*numbers[ALL_TRADES : ALL_TRADES + 2], 1)
        less_e8, more_e8 = sorted(numbers[BOUGHT_E8 : BOUGHT_E8 + 2])
        share, back = trades / busier, less_e8 / max(more_e8, 1)
        why = (
            f"{count_of(trades, 'trade')} {WITHIN} between two accounts that no owner or control "
            f"group on file links: {share:.0%} of what the busier of the two traded there, and "
            f"{back:.0%} of what went one way came back. The rule's figures are {p.trades_min:,} "
            f"trades, {p.share_min:.0%} and {p.round_share_min:.0%}."
        )
        if one_sided:
            why += f" Of {count_of(one_sided, 'fill')} there nobody has said with whom."
        evidence = {
            "trades_between": trades,
            "figure": p.trades_min,
            "trades_of_the_busier": busier,
            "share_of_the_busier_ppm": trades * _PPM // busier,
            "traded_e8": str(less_e8 + more_e8),
            "came_back_ppm": less_e8 * _PPM // max(more_e8, 1),
            "fills_without_counterparty": one_sided,
            "unavailable": ["whether the two agreed", "how alike their orders were"],
            "exemptions": exemptions(finding, self.rule),
        }
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most("trades between the two", trades - 1, trades, within=WITHIN),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][TRADES]), float(self.params.trades_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {"default": {"trades_min": 4, "share_min": 0.1, "round_share_min": 0.2}}
