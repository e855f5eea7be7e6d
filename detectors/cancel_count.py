"""Cancels per contract and day: a customer's own cancels in one contract on one trading day."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core.contract import CANCEL, Detector, Explanation, Nearness, Steps
from detectors.core.day_count import COUNT, DAY_COUNT, DUE, count_day
from detectors.core.emit import has_ended
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.wording import at_most, count_of, shared_evidence, standing

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
    wanted: ClassVar[int] = CANCEL
    params_type: ClassVar[type[Struct]] = Params

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return DAY_COUNT

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        figures = (self.params.cancels_min, 0)
        count_day(steps, self.selection, figures, state.memory(), out.records, out.count)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``."""
        return has_ended(rows, horizon_ns)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        figure = self.params.cancels_min
        observed, due = (int(finding["numbers"][k]) for k in (COUNT, DUE))
        why = f"{count_of(observed, 'cancel')} {WITHIN}; the rule's figure is {figure:,}."
        evidence = {
            "cancels": observed,
            "figure": figure,
            **shared_evidence(finding, self.rule),
        }
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most("cancels", due - 1, observed, within=WITHIN),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][COUNT]), float(self.params.cancels_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {"default": {"cancels_min": 5}}
