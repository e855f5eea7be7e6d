"""Win rate: the share of an account's closed units that made money, counted in the right unit.

A unit is a closing ``fill``, an ``order`` (won or lost by the sign of its profit so far) or a
``round_trip``. Counting fills lets one order filled 36 times look like 36 wins. The rule is policy,
not statistics: it promises nothing about luck.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct
from numba import njit

from detectors.core.contract import (
    CLOSING,
    GROWTH,
    HEADROOM,
    OPENING,
    RECEDED,
    SIMULATED,
    TRIP,
    Detector,
    Explanation,
    FindingBuffer,
    Nearness,
    Steps,
    SubjectState,
)
from detectors.core.emit import COMMON_STATE, emit, remember, roll, zero_numbers
from detectors.core.wording import count_of

STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        ("units", "<i8"),
        ("wins", "<i8"),
        ("pnl_e8", "<i8"),
        ("worst_e8", "<i8"),
        ("next_units", "<i8"),
        ("above", "<i8"),
    ]
)
UNITS, WINS, PNL_E8, WORST_E8 = range(4)  # numbers of a finding
PPM: Final = 1_000_000
FILL_UNIT, ORDER_UNIT, TRIP_UNIT = range(3)
_UNITS: Final = {"fill": FILL_UNIT, "order": ORDER_UNIT, "round_trip": TRIP_UNIT}
_PNL_MAX: Final = 2**62
_NOUNS: Final = {"fill": "closing fill", "order": "closing order", "round_trip": "round trip"}


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    unit
        What is won or lost: ``fill``, ``order`` or ``round_trip``.
    min_units
        Closed units below which the rate says nothing.
    threshold
        The rate that must be exceeded, in [0, 1].
    simulated_only
        Look at simulated trading only.
    """

    unit: Literal["fill", "order", "round_trip"] = "round_trip"
    min_units: int = 10
    threshold: float = 0.90
    simulated_only: bool = True


@njit(cache=True, nogil=True)
def _count(subject: Any, step: Any, unit: int) -> bool:
    """Count the step if it closes (or changes) a unit; say whether it did."""
    pnl_e8 = step["trip_pnl_e8"] if unit == TRIP_UNIT else step["pnl_e8"]
    if unit == TRIP_UNIT:
        if step["what"] & TRIP == 0:
            return False
        subject["units"] += 1
        subject["wins"] += np.int64(pnl_e8 > 0)
    elif step["what"] & CLOSING == 0:
        return False
    elif unit == FILL_UNIT:
        subject["units"] += 1
        subject["wins"] += np.int64(pnl_e8 > 0)
    else:
        subject["units"] += step["order_units"]
        subject["wins"] += step["order_wins"]
    if abs(subject["pnl_e8"]) < _PNL_MAX:
        subject["pnl_e8"] += max(-_PNL_MAX, min(_PNL_MAX, pnl_e8))
    subject["worst_e8"] = min(subject["worst_e8"], pnl_e8)
    return True


@njit(cache=True, nogil=True)
def _phase(subject: Any, min_units: int, threshold_ppm: int) -> int:
    """Fire on crossing, at each doubling of units while above, and once when it recedes."""
    units = subject["units"]
    above = units >= min_units and subject["wins"] * PPM > threshold_ppm * units
    was_above = subject["above"] != 0
    subject["above"] = np.int64(above)
    if above and subject["open"] == 0:
        subject["open"] = 1
        subject["next_units"] = 2 * units
        return OPENING
    if subject["open"] == 0:
        return 0
    if units >= subject["next_units"]:
        subject["next_units"] = 2 * units
        return GROWTH if above else RECEDED
    if was_above and not above and subject["warned"] == 0:
        subject["warned"] = 1
        return RECEDED
    return 0


@njit(cache=True, nogil=True)
def follow_wins(steps: Any, selection: Any, figures: Any, state: Any, out: Any, count: Any) -> None:
    """Count units and wins by account, since the account was first seen.

    ``selection`` = (rule bit, 1 for simulated rows only), ``figures`` = (unit, smallest number of
    units, threshold in millionths). O(n), no allocation.
    """
    rule_bit, simulated_only = selection
    unit, min_units, threshold_ppm = figures
    for i in range(len(steps)):
        step = steps[i]
        index = step["account"]
        if index < 0 or step["rules"] & rule_bit == 0 or step["what"] & (CLOSING | TRIP) == 0:
            continue
        if simulated_only == 1 and step["what"] & SIMULATED == 0:
            continue
        subject = state[index]
        if subject["seen"] == 0:
            roll(subject, step)
        if not _count(subject, step, unit):
            continue
        if step["day"] > subject["day"]:
            subject["day"] = step["day"]
            subject["day_end_ns"] = step["day_end_ns"]
        remember(subject, step)
        phase = _phase(subject, min_units, threshold_ppm)
        near = subject["units"] + 2 == min_units and subject["wins"] == subject["units"]
        if phase == 0 and near and subject["open"] == 0:
            phase = HEADROOM
        if phase == 0:
            continue
        record = emit(out, count, phase, (i, i, index, step["time_ns"]), subject)
        zero_numbers(record)
        record["numbers"][UNITS] = subject["units"]
        record["numbers"][WINS] = subject["wins"]
        record["numbers"][PNL_E8] = subject["pnl_e8"]
        record["numbers"][WORST_E8] = subject["worst_e8"]


class WinRate(Detector):
    """Fires when more than ``threshold`` of at least ``min_units`` closed units made money."""

    name: ClassVar[str] = "win_rate"
    subject: ClassVar[Literal["account"]] = "account"
    state_dtype: ClassVar[np.dtype[np.void]] = STATE
    params_type: ClassVar[type[Struct]] = Params

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        p = self.params
        selection = (self.rule_bit, int(p.simulated_only))
        figures = (_UNITS[p.unit], p.min_units, round(p.threshold * PPM))
        follow_wins(steps, selection, figures, state.rows, out.records, out.count)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        units, wins = int(finding["numbers"][UNITS]), int(finding["numbers"][WINS])
        noun = _NOUNS[p.unit]
        rate = wins / units if units else 0.0
        why = (
            f"{wins:,} of {count_of(units, noun)} made money ({rate:.1%}); the rule's figure is "
            f"more than {p.threshold:.0%} of at least {p.min_units:,}. A rule, not a proof: "
            "it does not rule out luck."
        )
        evidence = {
            "unit": p.unit,
            "units": units,
            "wins": wins,
            "win_rate_ppm": wins * PPM // units if units else 0,
            "threshold_ppm": round(p.threshold * PPM),
            "min_units": p.min_units,
            "realized_pnl_e8": str(int(finding["numbers"][PNL_E8])),
            "largest_loss_e8": str(int(finding["numbers"][WORST_E8])),
            "simulated_only": p.simulated_only,
        }
        limit = round(p.threshold * PPM) * units // PPM
        counterfactual = {
            "quantity": "wins",
            "at_most": limit,
            "observed": wins,
            "text": f"would not have fired with {limit:,} or fewer of {units:,} {noun}s won",
        }
        return Explanation(why, evidence, counterfactual)

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][UNITS]), float(self.params.min_units))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {
            unit: {"unit": unit, "min_units": 4, "threshold": 0.7, "simulated_only": False}
            for unit in _UNITS
        }
