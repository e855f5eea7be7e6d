"""What every test against own past and peers has in common: closes, budgets, and when it claims.

At a close each group of peers gets what counts until the next: what peers do, how long a stretch
must be for it to say little of the one that follows, whom it tests, and the budget that those
share. What is fixed so cannot know what it will meet.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from msgspec import Meta, Struct, structs
from numpy.typing import NDArray

from detectors.core.betting import budget_of
from detectors.core.contract import Detector, Fixed, RuleSpec
from detectors.core.memory import SubjectState

PPM: Final = 1_000_000
_PEER_QUANTILE: Final = 0.95
_PAST: Final = 2_000  # units or windows beyond which the past counts half
PAIRS_MIN: Final = 100  # stretches and their next, before anything is said of how they follow


class PeerParams(Struct, frozen=True, kw_only=True):
    """Parameters of every such test.

    Attributes
    ----------
    peers_min
        Accounts with enough on a day, below which the day says nothing of peers.
    autocorrelation_max
        How much a stretch may say of the next one, as a correlation, while a bound is claimed.
    alarms_a_day
        Alerts a day that may be luck, of all accounts and tests together, on average.
    tests
        How many tests share that budget.
    accounts_planned
        Among how many accounts it is shared where no close has counted them.
    """

    peers_min: Annotated[int, Meta(ge=1)] = 20
    autocorrelation_max: Annotated[float, Meta(gt=0, le=1)] = 0.15
    alarms_a_day: Annotated[float, Meta(gt=0)] = 5.0
    tests: Annotated[int, Meta(ge=1)] = 7
    accounts_planned: Annotated[int, Meta(ge=1)] = 100_000


class PeerTest(Detector):
    """A test against own past and peers; state rows have ``group``, their group's number + 1."""

    subject: ClassVar[Literal["peer"]] = "peer"
    wanted: ClassVar[int] = 0

    def __init__(self, rule: RuleSpec, params: Struct, rule_bit: int) -> None:
        if rule.venues or rule.instruments or rule.instruments_except:
            raise ValueError(
                f"rule {rule.id}: {self.name} looks at all that an account does; leave out venues "
                "and instruments"
            )
        super().__init__(rule, params, rule_bit)

    @property
    @abstractmethod
    def baseline_min(self) -> int:
        """How much of a past an account needs; 0: none, and the rule's figure is the null."""

    @property
    def planned_budget(self) -> float:
        """What one account is granted in 24 hours where no close has counted them, in alarms."""
        p = self.params
        return budget_of(p.alarms_a_day, p.tests, p.accounts_planned)

    @abstractmethod
    def fix_group(
        self, rows: NDArray[np.void], own: NDArray[np.int64], shared: NDArray[np.void], group: int
    ) -> Fixed:
        """Fix what counts for one group, whose state rows are ``own``; return it."""

    @abstractmethod
    def end_day(self, rows: NDArray[np.void]) -> None:
        """Begin to count the day anew, and let what is long past count for less."""

    def fix(self, state: SubjectState, closed_ns: int) -> list[Fixed]:
        """See ``Detector.fix``."""
        rows = state.rows[: state.used]
        state.shared["closed_ns"] = closed_ns
        if self.baseline_min:  # time before a close was shared out at the rate of then
            granted = rows["granted_ns"]
            rows["granted_ns"] = np.where(granted > 0, np.maximum(granted, closed_ns), 0)
        groups = np.where(rows["subject"] >= 0, rows["group"].astype(np.int64) - 1, -1)
        fixed = [
            self.fix_group(rows, np.flatnonzero(groups == group), state.shared, group)
            for group in np.unique(groups[groups >= 0]).tolist()
        ]
        budget = self._budget_of(sum(one.tested for one in fixed))
        state.shared["budget"] = budget
        self.end_day(rows)
        return [structs.replace(one, budget_ppt=round(budget * PPM * PPM)) for one in fixed]

    def _budget_of(self, tested: int) -> float:
        if not self.baseline_min:
            return self.planned_budget
        p = self.params
        return budget_of(p.alarms_a_day, p.tests, tested) if tested else 0.0

    def fix_size(
        self, held: NDArray[np.void], refused: Sequence[bool] = ()
    ) -> tuple[int | None, float | None]:
        """Return the smallest size whose stretches say little of the next, None for none.

        Beside it stands the correlation at that size, or else at the largest that has enough pairs.
        ``held`` has shape (1,), with ``products``, ``squares`` and ``pairs`` by size: what is past
        counts half from here on. ``refused`` are sizes that will not do for another reason.
        """
        found: float | None = None
        chosen: int | None = None
        for size in range(held["pairs"].shape[1]):
            squares = float(held["squares"][0, size])
            if int(held["pairs"][0, size]) < PAIRS_MIN:
                continue
            # Who never strays from the mean says nothing of the next stretch.
            found = float(held["products"][0, size]) / squares if squares > 0.0 else 0.0
            if found <= self.params.autocorrelation_max and not (refused and refused[size]):
                chosen = size
                break
        for name in ("products", "squares"):
            held[name] /= 2
        held["pairs"] //= 2
        return chosen, found


def peer_quantile(values: NDArray[np.float64]) -> float:
    """Return what one in twenty of the values reaches or exceeds.

    Examples
    --------
    >>> peer_quantile(np.arange(100.0))
    94.0
    """
    return float(np.sort(values)[int(np.ceil(_PEER_QUANTILE * len(values))) - 1])


def ppm_or_none(rate: float) -> int | None:
    """Return a rate in millionths; None for 0, which says that nothing was fixed."""
    return round(rate * PPM) if rate > 0 else None


def forget_half(rows: NDArray[np.void], count: str, sums: Sequence[str]) -> None:
    """Let what is long past count for less: by ``count``, which ``sums`` are over."""
    long = rows[count] > _PAST
    for name in (count, *sums):
        rows[name][long] //= 2
