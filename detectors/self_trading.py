"""Self-trading: trades whose both sides are one account, one owner's or one control group's.

Who stood on the other side is known where a fill names it (``counter_account_id``) or where both
sides report the trade under one ``fill_id``; reported twice, it counts once. Accounts are one party
when the same control group is on file for both, else the same beneficial owner, else when they are
the same account; what is on file at the moment of the trade decides. A trade of which either side
is exempt is not counted. Fills of which nobody says with whom are counted and told.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core.contract import (
    GROWTH,
    HEADROOM,
    OPENING,
    OTHER_SIDE,
    PARTIES,
    SELF_TRADE,
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
    note_position,
    roll,
)
from detectors.core.memory import FindingBuffer, SubjectState, admit
from detectors.core.wide import add_held
from detectors.core.wording import at_most, count_of, exemptions, standing
from schemas.alerts import POSITIONS_MAX
from schemas.jit import Int, kernel

STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("traded_e8", "<i8"),
        ("count", "<u4"),
        ("accounts", "<i4", (PARTIES,)),  # rows of the table of holders, plus one
        ("quantities", "<i8", (PARTIES,)),  # what each bought or sold so, 10^-8 units
    ]
)
COUNT, DUE, TRADED_E8, FILLS, ONE_SIDED = range(5)  # numbers of a finding
WITHIN: Final = "in one contract on one trading day"


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    trades_min
        Self-trades that fire, per party, contract and trading day.
    """

    trades_min: int = 5


@kernel
def _add_share(subject: Any, holder: Int, quantity_e8: Int) -> None:
    """Count what an account traded; more accounts than there is room for are left out."""
    for k in range(PARTIES):
        if subject["accounts"][k] == 0:
            subject["accounts"][k] = holder + 1
        if subject["accounts"][k] == holder + 1:
            subject["quantities"][k] = add_held(subject["quantities"][k], quantity_e8)
            return


@kernel
def _count(subject: Any, step: Any, memory: Any) -> None:
    """Count one self-trade with its accounts and its reports so far."""
    if begins_day(subject, step):
        roll(subject, step, memory)
        subject["count"] = 0
        subject["traded_e8"] = 0
        for k in range(PARTIES):
            subject["accounts"][k] = 0
            subject["quantities"][k] = 0
    subject["count"] = count_up(subject["count"])
    subject["traded_e8"] = add_held(subject["traded_e8"], step["quantity_e8"])
    _add_share(subject, np.int64(step["account"]), step["quantity_e8"])
    if step["counter"] != step["account"]:
        _add_share(subject, np.int64(step["counter"]), step["quantity_e8"])
    if step["other_position"] >= 0:
        note_position(subject, memory, step["other_position"])
    note_position(subject, memory, step["position"])
    subject["registered"] = step["registered"]
    subject["claimed"] = step["claimed"]


@kernel
def _phase(subject: Any, figure: Int) -> Any:
    """Return phase (0: none) of the finding the latest self-trade makes, and the count due."""
    level = headroom_level(subject["count"], figure, subject["warned"])
    due = due_at(figure, subject)
    phase = 0
    if subject["count"] >= due:
        phase = GROWTH if subject["open"] else OPENING
        subject["open"] = 1
        subject["doublings"] += 1
    elif level > 0:
        phase = HEADROOM
    if phase != 0:
        subject["warned"] = max(level, subject["warned"])
    return phase, due


@kernel
def count_self_trades(
    steps: Any, selection: Any, figure: Int, memory: Any, out: Any, count: Any
) -> None:
    """Count self-trades by party, contract and day; a finding at the figure and each doubling.

    ``steps`` are of dtype ``TRADE``, each trade marked ``SELF_TRADE`` once. O(n), no allocation.
    """
    for i in range(len(steps)):
        step = steps[i]
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        if step["what"] & OTHER_SIDE:
            if subject["seen"] > 0 and subject["day"] == step["day"]:
                note_position(subject, memory, step["position"])
            continue
        _count(subject, step, memory)
        phase, due = _phase(subject, figure)
        if phase == 0:
            continue
        record = out[emit_step(out, count, phase, i, step["time_ns"], subject, memory)]
        record["numbers"][COUNT] = subject["count"]
        record["numbers"][DUE] = due
        record["numbers"][TRADED_E8] = subject["traded_e8"]
        record["numbers"][FILLS] = step["fills"]
        record["numbers"][ONE_SIDED] = step["one_sided"]
        for k in range(PARTIES):
            record["accounts"][k] = subject["accounts"][k]
            record["quantities"][k] = subject["quantities"][k]


class SelfTrading(Detector):
    """Fires at ``trades_min`` self-trades of one party in one contract on one day."""

    name: ClassVar[str] = "self_trading"
    subject: ClassVar[Literal["party"]] = "party"
    wanted: ClassVar[int] = SELF_TRADE | OTHER_SIDE
    recent: ClassVar[int] = POSITIONS_MAX
    kinds: ClassVar[frozenset[str]] = frozenset({"fill"})
    params_type: ClassVar[type[Struct]] = Params

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        figure, memory = self.params.trades_min, state.memory()
        count_self_trades(steps, self.selection, figure, memory, out.records, out.count)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``."""
        return has_ended(rows, horizon_ns)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        figure = self.params.trades_min
        observed, due, traded_e8, fills, one_sided = (
            int(finding["numbers"][k]) for k in range(ONE_SIDED + 1)
        )
        why = (
            f"{count_of(observed, 'trade')} with both sides of one party {WITHIN}; "
            f"the rule's figure is {figure:,}."
        )
        if one_sided:
            why += f" Of {count_of(one_sided, 'further fill')} nobody has said with whom."
        evidence = {
            "self_trades": observed,
            "figure": figure,
            "traded_e8": str(traded_e8),
            "fills_in_contract": fills,
            "fills_without_counterparty": one_sided,
            "exemptions": exemptions(finding, self.rule),
        }
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most("self-trades", due - 1, observed, within=WITHIN),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][COUNT]), float(self.params.trades_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {"default": {"trades_min": 5}}
