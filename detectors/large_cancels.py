"""Large cancels: how often a customer withdraws a large quantity in one contract on one day."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct

from detectors.core.contract import (
    CANCEL,
    Detector,
    Explanation,
    FindingBuffer,
    Nearness,
    Steps,
    SubjectState,
)
from detectors.core.day_count import COUNT, DAY_COUNT, count_day
from detectors.core.wording import at_most, count_of, exemptions, missing_registration
from schemas.events import E8

STATE: Final = DAY_COUNT


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    cancels_min
        Large customer cancels that fire, per account, contract and trading day.
    lots_min
        Withdrawn quantity from which a cancel is large, in the contract's lots.
    """

    cancels_min: int = 50
    lots_min: int = 300


class LargeCancels(Detector):
    """Fires at ``cancels_min`` cancels of ``lots_min`` lots or more in one contract on one day."""

    name: ClassVar[str] = "large_cancels"
    subject: ClassVar[Literal["contract"]] = "contract"
    state_dtype: ClassVar[np.dtype[np.void]] = STATE
    params_type: ClassVar[type[Struct]] = Params

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        p = self.params
        selection = (0, self.rule_bit, self.exempt_bits, CANCEL, p.lots_min * E8)
        count_day(steps, selection, p.cancels_min, state.rows, out.records, out.count)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p, observed = self.params, int(finding["numbers"][COUNT])
        noun = f"cancel of {p.lots_min:,} lots or more"
        within = "in one contract on one trading day"
        why = (
            f"{count_of(observed, 'cancel')} of {p.lots_min:,} lots or more {within}; "
            f"the rule's figure is {p.cancels_min:,}." + missing_registration(finding, self.rule)
        )
        evidence = {
            "large_cancels": observed,
            "figure": p.cancels_min,
            "lots_min": p.lots_min,
            "exemptions": exemptions(finding, self.rule),
        }
        quantity = noun.replace("cancel", "cancels", 1)
        return Explanation(
            why, evidence, at_most(quantity, p.cancels_min - 1, observed, within=within)
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][COUNT]), float(self.params.cancels_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {"default": {"cancels_min": 3, "lots_min": 10}}
