"""Cancels per contract and day: a customer's own cancels in one contract on one trading day."""

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

STATE: Final = DAY_COUNT
WITHIN: Final = "in one contract on one trading day"


class Params(Struct, frozen=True, kw_only=True):
    """Parameters.

    Attributes
    ----------
    cancels_min
        Customer cancels that fire, per account, contract and trading day.
    """

    cancels_min: int = 500


class CancelCount(Detector):
    """Fires at ``cancels_min`` customer cancels in one contract on one day."""

    name: ClassVar[str] = "cancel_count"
    subject: ClassVar[Literal["contract"]] = "contract"
    state_dtype: ClassVar[np.dtype[np.void]] = STATE
    params_type: ClassVar[type[Struct]] = Params

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        selection = (0, self.rule_bit, self.exempt_bits, CANCEL, -1)
        figure = self.params.cancels_min
        count_day(steps, selection, figure, state.rows, out.records, out.count)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        figure, observed = self.params.cancels_min, int(finding["numbers"][COUNT])
        why = (
            f"{count_of(observed, 'cancel')} {WITHIN}; the rule's figure is {figure:,}."
            + missing_registration(finding, self.rule)
        )
        evidence = {
            "cancels": observed,
            "figure": figure,
            "exemptions": exemptions(finding, self.rule),
        }
        counterfactual = at_most("cancels", figure - 1, observed, within=WITHIN)
        return Explanation(why, evidence, counterfactual)

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][COUNT]), float(self.params.cancels_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {"default": {"cancels_min": 5}}
