"""Win rate: the share of an account's closed units that made money, counted in the right unit.

A unit is a closing ``fill``, an ``order`` (won or lost by the sign of its profit so far) or a
``round_trip``. Counting fills lets one order filled 36 times look like 36 wins. The rule is policy,
not statistics: it promises nothing about luck.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct

from detectors.core.contract import (
    CLOSING,
    GROWTH,
    HEADROOM,
    OPENING,
    RECEDED,
    SIMULATED,
    TRIP,
    TRIPS_RESTART,
    Detector,
    Explanation,
    Nearness,
    Steps,
)
from detectors.core.emit import COMMON_STATE, emit_step, is_near, remember, roll
from detectors.core.memory import FindingBuffer, SubjectState, admit
from detectors.core.won_units import (
    COUNTS,
    MONEY,
    PPM,
    count_units,
    forget_units,
    units_evidence,
    units_of,
    write_units,
)
from detectors.core.wording import count_of, standing
from schemas.jit import Int, kernel

STATE: Final = np.dtype(
    [
        *COMMON_STATE,
        *MONEY,
        *COUNTS,
        ("told_units", "<u4"),  # units at the latest opening or growth; twice as many are told
        ("is_above", "u1"),
        ("has_receded", "u1"),
        ("padding", "u1", (2,)),
    ]
)
FILL_UNIT, ORDER_UNIT, TRIP_UNIT = range(3)
_UNITS: Final = {"fill": FILL_UNIT, "order": ORDER_UNIT, "round_trip": TRIP_UNIT}
_NOUNS: Final = {"fill": "closing fill", "order": "closing order", "round_trip": "round trip"}
_NEAR_UNITS: Final = 2  # nearness is told this many units before the rate counts


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


@kernel
def _count(subject: Any, step: Any, unit: Int) -> None:
    """Count the step, which closes (or changes) a unit."""
    pnl_e8 = step["trip_pnl_e8"] if unit == TRIP_UNIT else step["pnl_e8"]
    if unit == ORDER_UNIT:
        units, wins = np.int64(step["order_units"]), np.int64(step["order_wins"])
    else:
        units, wins = np.int64(1), np.int64(pnl_e8 > 0)
    count_units(subject, units, wins, pnl_e8)


@kernel
def _phase(subject: Any, min_units: Int, threshold_ppm: Int) -> Any:
    """Fire on crossing, at each doubling of units, and once when it recedes; 0 for nothing."""
    units, wins = np.int64(subject["units"]), np.int64(subject["wins"])
    is_above = units >= min_units and wins * PPM > threshold_ppm * units
    was_above = subject["is_above"] != 0
    subject["is_above"] = np.uint8(is_above)
    if subject["open"] == 0:
        if is_above:
            subject["open"] = 1
            subject["told_units"] = units
            return OPENING
        is_near = units + _NEAR_UNITS == min_units and wins == units
        if is_near and subject["warned"] == 0:
            subject["warned"] = 1
            return HEADROOM
        return 0
    if units >= 2 * np.int64(subject["told_units"]):
        subject["told_units"] = units
        return GROWTH if is_above else RECEDED
    if was_above and not is_above and subject["has_receded"] == 0:
        subject["has_receded"] = 1
        return RECEDED
    return 0


@kernel
def follow_wins(
    steps: Any, selection: Any, figures: Any, memory: Any, out: Any, count: Any
) -> None:
    """Count units and wins by account, since the account was first seen.

    ``figures`` = (unit, smallest number of units, threshold in millionths, bits of ``what`` that
    a step must have all of). O(n), no allocation.
    """
    unit, min_units, threshold_ppm, needed = figures
    for i in range(len(steps)):
        step = steps[i]
        if step["what"] & needed != needed:
            continue
        row = admit(step, selection, memory)
        if row < 0:
            continue
        subject = memory.rows[row]
        if subject["seen"] == 0:
            roll(subject, step, memory)
        if step["day"] > subject["day"]:
            subject["day"] = step["day"]
            subject["day_end_ns"] = step["day_end_ns"]
        if unit == TRIP_UNIT and step["what"] & TRIPS_RESTART:
            forget_units(subject)
        _count(subject, step, unit)
        keeps = subject["open"] != 0 or is_near(subject["units"], min_units)
        remember(subject, step, memory, keeps)
        phase = _phase(subject, min_units, threshold_ppm)
        if phase == 0:
            continue
        record = out[emit_step(out, count, phase, i, step["time_ns"], subject, memory)]
        write_units(record, subject)


class WinRate(Detector):
    """Fires when more than ``threshold`` of at least ``min_units`` closed units made money."""

    name: ClassVar[str] = "win_rate"
    subject: ClassVar[Literal["account"]] = "account"
    wanted: ClassVar[int] = CLOSING | TRIP
    params_type: ClassVar[type[Struct]] = Params

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return STATE

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        p, memory = self.params, state.memory()
        unit = _UNITS[p.unit]
        needed = (TRIP if unit == TRIP_UNIT else CLOSING) | (SIMULATED if p.simulated_only else 0)
        figures = (unit, p.min_units, round(p.threshold * PPM), needed)
        follow_wins(steps, self.selection, figures, memory, out.records, out.count)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        units, wins, rate = units_of(finding)
        noun = _NOUNS[p.unit]
        why = (
            f"{wins:,} of {count_of(units, noun)} made money ({rate:.1%}); the rule's figure is "
            f"more than {p.threshold:.0%} of at least {p.min_units:,}. A rule, not a proof: "
            "it does not rule out luck."
        ) + standing(finding, self.rule)
        evidence = {
            "unit": p.unit,
            **units_evidence(finding),
            "threshold_ppm": round(p.threshold * PPM),
            "min_units": p.min_units,
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
        return Nearness(float(units_of(finding)[0]), float(self.params.min_units))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {
            unit: {"unit": unit, "min_units": 4, "threshold": 0.7, "simulated_only": False}
            for unit in _UNITS
        }
