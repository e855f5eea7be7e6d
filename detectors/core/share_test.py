"""Tests on a share of orders that follow own past and peers: what is fixed at each close.

The null of an account is the largest of a floor, what one account in twenty of its group exceeded
on the latest day, and its own mean and a margin. It is fixed at a close for buckets that begin
after it, and so cannot know what it will meet. A bound is claimed for a group only while buckets
say little of those that follow them; else their size is raised, and where none will do, nobody of
the group is tested.
"""

from typing import Annotated, ClassVar, Final

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from detectors.core.betting import shares
from detectors.core.contract import Claim, Explanation, Fixed, Nearness, Steps
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.peer_test import (
    PeerParams,
    PeerTest,
    forget_half,
    peer_quantile,
    ppm_or_none,
)
from detectors.core.share_kernels import (
    ALARMS,
    AT_MOST,
    BUCKETS,
    GROUP,
    HITS,
    LAST,
    MEAN_PPM,
    MERGES,
    MILLE,
    MISSING,
    NULL_PPM,
    ORDERS,
    PEER_PPM,
    PPM,
    SHARE,
    ShareFigures,
    follow_shares,
    forget_pasts,
    orders_of,
)
from detectors.core.tallies import UNIT_ORDERS, lifetime_below_ms
from detectors.core.wording import count_of, shared_evidence, standing

_DAY_ORDERS_MIN: Final = 50  # a day's share of fewer says little


class ShareParams(PeerParams, frozen=True, kw_only=True):
    """Parameters of every such test; see ``PeerParams`` for those not named here.

    Attributes
    ----------
    null_rate
        The least share that anybody's null allows, in (0, 1).
    baseline_units_min
        Units of ten orders by the latest close, below which an account has no null of its own and
        is not tested. 0: everybody is tested, from the first unit on, against ``null_rate`` alone.
    margin
        What an account's null allows above its own mean.
    null_max
        An account whose null would be above is not tested: it has nowhere to go.
    """

    null_rate: Annotated[float, Meta(gt=0, lt=1)]
    baseline_units_min: Annotated[int, Meta(ge=0)] = 50
    margin: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    null_max: Annotated[float, Meta(gt=0, lt=1)] = 0.95


class ShareTest(PeerTest):
    """A test on a share of orders; what counts is a subclass's."""

    by_lifetime: ClassVar[bool] = False

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return SHARE

    @property
    def shared_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.shared_dtype``: a row a group of peers."""
        return GROUP

    @property
    def fixed_quick(self) -> int:
        """How many bins of lifetimes count where the figure is policy's; 0: the peers' own."""
        return 0

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``; ``steps`` are units."""
        p = self.params
        figures = ShareFigures(
            int(self.by_lifetime),
            0.0 if p.baseline_units_min else p.null_rate,
            self.planned_budget,
            self.fixed_quick,
        )
        follow_shares(
            steps,
            self.selection.exempt,
            figures,
            shares(),
            state.shared,
            state.memory(),
            (out.records, out.count),
        )

    @property
    def baseline_min(self) -> int:
        """See ``PeerTest.baseline_min``."""
        return int(self.params.baseline_units_min)

    def end_day(self, rows: NDArray[np.void]) -> None:
        """See ``PeerTest.end_day``."""
        rows["day_hits"] = rows["day_orders"] = 0
        forget_half(rows, "units", ("sum", "square"))

    def fix_group(
        self,
        rows: NDArray[np.void],
        own: NDArray[np.int64],
        shared: NDArray[np.void],
        group: int,
    ) -> Fixed:
        """See ``PeerTest.fix_group``."""
        held = shared[group : group + 1]  # a view
        if self.fix_what_counts(held):
            forget_pasts(rows, own)
            for name in ("peer_rate", "products", "squares", "pairs"):
                held[name] = 0
        if not self.params.baseline_units_min:
            return Fixed(
                group=group,
                claim="policy",
                accounts=len(own),
                with_past=len(own),
                tested=len(own),
                bucket_orders=UNIT_ORDERS,
                lifetime_ms=self._lifetime_ms(int(held["quick"][0])),
            )
        self._fix_peers(rows["day_hits"][own], rows["day_orders"][own], held)
        index, found = self.fix_size(held)
        size = MERGES[index] if index is not None else 0
        units = rows["units"][own].astype(np.int64)
        with_past = units >= max(self.params.baseline_units_min, 1)
        nulls = self._nulls(rows, own, float(held["peer_rate"][0]))
        claim = self._claim(held, size, is_known=found is not None)
        testable = with_past & (nulls <= self.params.null_max) & (claim == "claimed")
        rows["null_next"][own] = np.where(testable, nulls, 0.0)
        rows["mean"][own] = rows["sum"][own] / (np.maximum(units, 1) * MILLE)
        rows["has_mean"][own] = with_past
        held["size"] = size if claim == "claimed" else 0
        quick = int(held["quick"][0])
        return Fixed(
            group=group,
            claim=claim,
            accounts=len(own),
            with_past=int(with_past.sum()),
            above=int((with_past & (nulls > self.params.null_max)).sum()),
            tested=int(testable.sum()),
            bucket_orders=orders_of(int(held["size"][0])),
            autocorrelation_ppm=None if found is None else round(found * PPM),
            peer_ppm=ppm_or_none(float(held["peer_rate"][0])),
            lifetime_ms=self._lifetime_ms(quick),
        )

    def _lifetime_ms(self, quick: int) -> int | None:
        if not self.by_lifetime:
            return 0
        return lifetime_below_ms(quick) if quick else None

    def _claim(self, held: NDArray[np.void], size: int, *, is_known: bool) -> Claim:
        if self.by_lifetime and int(held["quick"][0]) == 0:
            return "no lifetime"
        if float(held["peer_rate"][0]) <= 0.0:
            return "few peers"
        if size:
            return "claimed"
        return "clustered" if is_known else "few buckets"

    def fix_what_counts(self, held: NDArray[np.void]) -> bool:
        """Fix which orders count until the next close; say whether that is another sort.

        ``held`` has shape (1,), dtype ``GROUP``, and is changed in place.
        """
        del held
        return False

    def _fix_peers(
        self, hits: NDArray[np.uint32], orders: NDArray[np.uint32], held: NDArray[np.void]
    ) -> None:
        """Fix what one account in twenty exceeded, where the day had enough accounts."""
        active = orders >= _DAY_ORDERS_MIN
        if int(active.sum()) < self.params.peers_min:
            return
        # Never 0: it says that nothing was fixed.
        held["peer_rate"] = max(peer_quantile(hits[active] / orders[active]), 1 / PPM)

    def _nulls(
        self, rows: NDArray[np.void], own: NDArray[np.int64], peer_rate: float
    ) -> NDArray[np.float64]:
        """Return the null of each account from here on, whether or not it is tested."""
        units = np.maximum(rows["units"][own], 1).astype(np.float64)
        mean = rows["sum"][own] / units
        spread = np.sqrt(np.maximum(rows["square"][own] / units - mean**2, 0.0) / units)
        least = max(self.params.null_rate, peer_rate)
        own_null = (mean + 2 * spread) / MILLE + self.params.margin
        nulls: NDArray[np.float64] = np.maximum(own_null, least)
        return nulls

    @property
    def _whose_null(self) -> str:
        return "own past and peers" if self.params.baseline_units_min else "the rule's figures"

    def what_counts(self, finding: np.void) -> str:
        """Name orders that count, as in "were cancelled"."""
        del finding
        return "were cancelled"

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p, numbers = self.params, finding["numbers"]
        hits, orders = int(numbers[HITS]), int(numbers[ORDERS])
        last = int(numbers[LAST])
        last_hits, last_orders = last >> 40, (last >> 8) & (2**32 - 1)
        null = int(numbers[NULL_PPM]) / PPM
        share = hits / max(orders, 1)
        counted = self.what_counts(finding)
        why = (
            f"{hits:,} of {count_of(orders, 'order')} in one run {counted} ({share:.1%}): more "
            f"than luck explains where at most {null:.1%} are, as {self._whose_null} have it. "
            f"Of all accounts of which that holds, at most {p.alarms_a_day:g} a day are named by "
            "all tests together, on average."
        ) + standing(finding, self.rule)
        evidence = {
            "orders": orders,
            "counted": hits,
            "buckets": int(numbers[BUCKETS]),
            "share_ppm": hits * PPM // max(orders, 1),
            "null_ppm": int(numbers[NULL_PPM]),
            "peer_q95_ppm": int(numbers[PEER_PPM]),
            "own_mean_ppm": int(numbers[MEAN_PPM]) if int(numbers[MEAN_PPM]) >= 0 else None,
            "last_bucket_orders": last_orders,
            "last_bucket_counted": last_hits,
            "alarms_so_far": int(numbers[ALARMS]),
            "budget_alarms_a_day_ppm": round(p.alarms_a_day * PPM),
            "budget_tests": p.tests,
            **shared_evidence(finding, self.rule),
        }
        at_most = int(numbers[AT_MOST])
        counterfactual = {
            "quantity": f"orders of the last bucket that {counted}",
            "at_most": at_most,
            "observed": last_hits,
            "text": f"would not have fired here had at most {at_most:,} of the last "
            f"{count_of(last_orders, 'order')} counted, instead of {last_hits:,}",
        }
        return Explanation(why, evidence, counterfactual)

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``: buckets of the run, and with those that are missing."""
        buckets, missing = int(finding["numbers"][BUCKETS]), int(finding["numbers"][MISSING])
        return Nearness(float(buckets), float(max(buckets + missing, 1)))


def quick_of(finding: np.void) -> int:
    """Return how many bins of lifetimes counted as quick."""
    return int(finding["numbers"][LAST]) & 0xFF


assert UNIT_ORDERS * MERGES[-1] < 2**16, "a bucket's orders fit its counters"
