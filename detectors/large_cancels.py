"""Large cancels: how often a customer withdraws a large quantity in one contract on one day."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from detectors.core.contract import CANCEL, Detector, Explanation, Nearness, Steps
from detectors.core.day_count import COUNT, DAY_COUNT, DUE, count_day
from detectors.core.emit import has_ended
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.wording import at_most, count_of, shared_evidence, standing
from schemas.events import E8


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
    wanted: ClassVar[int] = CANCEL
    params_type: ClassVar[type[Struct]] = Params

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return DAY_COUNT

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``."""
        figures = (self.params.cancels_min, self.params.lots_min * E8)
        count_day(steps, self.selection, figures, state.memory(), out.records, out.count)

    def spent(self, rows: NDArray[np.void], horizon_ns: int) -> NDArray[np.bool_]:
        """See ``Detector.spent``."""
        return has_ended(rows, horizon_ns)

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p = self.params
        observed, due = (int(finding["numbers"][k]) for k in (COUNT, DUE))
        size = f"of {p.lots_min:,} lots or more"
        within = "in one contract on one trading day"
        why = (
            f"{count_of(observed, 'cancel')} {size} {within}; "
            f"the rule's figure is {p.cancels_min:,}."
        )
        evidence = {
            "large_cancels": observed,
            "figure": p.cancels_min,
            "lots_min": p.lots_min,
            **shared_evidence(finding, self.rule),
        }
        return Explanation(
            why + standing(finding, self.rule),
            evidence,
            at_most(f"cancels {size}", due - 1, observed, within=within),
        )

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``."""
        return Nearness(float(finding["numbers"][COUNT]), float(self.params.cancels_min))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``."""
        return {"default": {"cancels_min": 3, "lots_min": 10}}
