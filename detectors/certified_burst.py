"""Certified burst: far more orders and cancels in a window than own past, peers and market explain.

Each window of one, five or fifteen minutes that is looked at is a bet against the null that what an
account does in it is, whatever happened before, no more than a negative binomial law with the
null's mean brings about: the largest of a floor, what one account in twenty of its peers exceeds on
average, and its own mean and half as much again, times what all others do beside their usual in the
same window. Budgets and when no bound is claimed are those of the certified cancel ratio; in
addition, the law itself is looked at, and where bets gain on the whole tier, none is claimed.
Bursts of a second are for the rules on order rates.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from detectors.core.betting import BETS
from detectors.core.burst_kernels import (
    ACTIONS,
    ALARMS,
    AT_MOST,
    BURST,
    BURST_GROUP,
    EXPECTED_PPM,
    LENGTH,
    MEAN_PPM,
    MISSING,
    PEER_PPM,
    SCALE_PPM,
    WINDOWS,
    BurstFigures,
    Market,
    follow_bursts,
)
from detectors.core.contract import Claim, Explanation, Fixed, Nearness, Steps
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.peer_test import (
    PAIRS_MIN,
    PPM,
    PeerParams,
    PeerTest,
    forget_half,
    peer_quantile,
    ppm_or_none,
)
from detectors.core.windows import SIZES, WINDOW_SECONDS
from detectors.core.wording import count_of, shared_evidence, standing

_DAY_WINDOWS_MIN: Final = 5  # a day's mean of fewer says little


class Params(PeerParams, frozen=True, kw_only=True):
    """Parameters; see ``detectors.core.peer_test.PeerParams`` for those not named here.

    Attributes
    ----------
    actions_min
        Orders, replaces and cancels in a window of a minute that anybody's null allows; in longer
        ones, in proportion.
    growth
        How many times its own mean an account's null allows.
    baseline_windows_min
        Windows by the latest close, below which an account has no null of its own and is not
        tested. 0: everybody is tested, from the first window of a minute on, against
        ``actions_min`` alone.
    """

    actions_min: Annotated[float, Meta(gt=0)] = 20.0
    growth: Annotated[float, Meta(ge=1)] = 1.5
    baseline_windows_min: Annotated[int, Meta(ge=0)] = 50


class CertifiedBurst(PeerTest):
    """Fires when bets that an account's windows are within its null have failed."""

    name: ClassVar[str] = "certified_burst"
    params_type: ClassVar[type[Struct]] = Params
    looks_at_windows: ClassVar[bool] = True

    @property
    def state_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.state_dtype``."""
        return BURST

    @property
    def shared_dtype(self) -> np.dtype[np.void]:
        """See ``Detector.shared_dtype``: a row a group of peers."""
        return BURST_GROUP

    @property
    def baseline_min(self) -> int:
        """See ``PeerTest.baseline_min``."""
        return int(self.params.baseline_windows_min)

    def update(self, steps: Steps, state: SubjectState, out: FindingBuffer) -> None:
        """See ``Detector.update``; ``steps`` are windows, those of one moment together."""
        p = self.params
        figures = BurstFigures(
            p.growth, p.actions_min, int(self.baseline_min == 0), self.planned_budget
        )
        market = Market(*(np.zeros((2, SIZES), np.int64) for _ in range(3)))
        rest = (market, (out.records, out.count), np.zeros(BETS))
        follow_bursts(steps, self.selection.exempt, figures, state.shared, state.memory(), rest)

    def end_day(self, rows: NDArray[np.void]) -> None:
        """See ``PeerTest.end_day``."""
        rows["day_sum"] = rows["day_windows"] = 0
        forget_half(rows, "windows", ("sum",))

    def fix_group(
        self, rows: NDArray[np.void], own: NDArray[np.int64], shared: NDArray[np.void], group: int
    ) -> Fixed:
        """See ``PeerTest.fix_group``."""
        held = shared[group : group + 1]  # a view
        if not self.baseline_min:
            whole = len(own)
            return Fixed(
                group=group, claim="policy", accounts=whole, with_past=whole, tested=whole,
                window_s=WINDOW_SECONDS[0],
            )  # fmt: skip
        self._fix_peers(rows, own, held)
        uneven = self._uneven(held)
        before = int(held["size"][0])
        size, found = self.fix_size(held, uneven)
        claim = self._claim(held, size, is_known=found is not None)
        held["size"] = 0 if size is None or claim != "claimed" else size + 1
        with_past = self._fix_means(rows, own)
        tested = self._fix_nulls(rows, own, held, before)
        at = max(int(held["size"][0]) - 1, 0)
        return Fixed(
            group=group,
            claim=claim,
            accounts=len(own),
            with_past=int(with_past[:, at].sum()),
            tested=tested,
            window_s=WINDOW_SECONDS[at] if held["size"][0] else 0,
            autocorrelation_ppm=None if found is None else round(found * PPM),
            peer_ppm=ppm_or_none(float(held["peers"][0, at])),
        )

    def _fix_peers(
        self, rows: NDArray[np.void], own: NDArray[np.int64], held: NDArray[np.void]
    ) -> None:
        """Fix what one account in twenty exceeded, for each length with enough accounts."""
        windows, actions = rows["day_windows"][own], rows["day_sum"][own]
        for size in range(SIZES):
            active = windows[:, size] >= _DAY_WINDOWS_MIN
            if int(active.sum()) >= self.params.peers_min:
                # Never 0: whoever is looked at did something.
                means = actions[active, size] / windows[active, size]
                held["peers"][0, size] = max(peer_quantile(means), 1 / PPM)

    @staticmethod
    def _uneven(held: NDArray[np.void]) -> list[bool]:
        """Say at which lengths bets gain on the whole tier: the law is not what the null says.

        As a fair bet's own average may, by luck: two standard errors of what is at most
        ``FACTOR_MAX`` and 1 on average, so of a variance of 7 at most, are let pass.
        """
        found = []
        for size in range(SIZES):
            count = int(held["gained"][0, size])
            means = held["gains"][0, size] / max(count, 1)
            luck = 2 * np.sqrt(7.0 / max(count, 1))
            found.append(count >= PAIRS_MIN and bool((means > 1.0 + luck).any()))
        held["gains"] /= 2
        held["gained"] //= 2
        return found

    def _claim(self, held: NDArray[np.void], size: int | None, *, is_known: bool) -> Claim:
        if not (held["peers"][0] > 0).any() or (size is not None and held["peers"][0, size] <= 0):
            return "few peers"
        if size is not None:
            return "claimed"
        if not is_known:
            return "few buckets"
        return "clustered" if self._is_clustered(held) else "uneven"

    def _is_clustered(self, held: NDArray[np.void]) -> bool:
        """Say whether at no length windows say little of the next."""
        known = held["pairs"][0] >= PAIRS_MIN // 2  # what is past counts half by now
        squares = np.maximum(held["squares"][0], 1e-300)
        says = held["products"][0] / squares > self.params.autocorrelation_max
        return bool(says[known].all())

    def _fix_means(self, rows: NDArray[np.void], own: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Fix what is usual of each account; return who has enough of a past, by length."""
        windows = rows["windows"][own].astype(np.int64)
        with_past: NDArray[np.bool_] = windows >= self.baseline_min
        means = rows["sum"][own] / np.maximum(windows, 1)
        rows["mean"][own] = np.where(with_past, np.maximum(means, 1 / PPM), 0.0)
        return with_past

    def _fix_nulls(
        self, rows: NDArray[np.void], own: NDArray[np.int64], held: NDArray[np.void], before: int
    ) -> int:
        """Fix the null of each account from here on; return how many are tested."""
        p, size = self.params, int(held["size"][0]) - 1
        nulls = np.zeros(len(own))
        if size >= 0:
            means = rows["mean"][own, size]
            floor = p.actions_min * WINDOW_SECONDS[size] / WINDOW_SECONDS[0]
            least = max(floor, float(held["peers"][0, size]))
            nulls = np.where(means > 0, np.maximum(means * p.growth, least), 0.0)
        rows["null"][own] = nulls
        anew = own[(nulls == 0) | (before != size + 1)]  # other windows are other evidence
        for name in ("scores", "run_actions", "run_expected", "run_windows"):
            rows[name][anew] = 0
        return int((nulls > 0).sum())

    def explain(self, finding: np.void) -> Explanation:
        """See ``Detector.explain``."""
        p, numbers = self.params, finding["numbers"]
        actions, last = int(numbers[ACTIONS]) >> 24, int(numbers[ACTIONS]) & (2**24 - 1)
        windows, minutes = (
            int(numbers[WINDOWS]),
            WINDOW_SECONDS[min(int(numbers[LENGTH]), SIZES - 1)] // 60,
        )
        allowed, at_most = int(numbers[EXPECTED_PPM]) / PPM, int(numbers[AT_MOST])
        whose = "own past, peers and market" if self.baseline_min else "the rule's figure"
        why = (
            f"{count_of(actions, 'order, replace and cancel', 'orders, replaces and cancels')} in "
            f"{count_of(windows, f'window of {minutes} min', f'windows of {minutes} min')} of one "
            f"run: more than luck explains where {allowed:,.1f} are usual at most, as {whose} have "
            f"it. Of all accounts of which that holds, at most {p.alarms_a_day:g} a day are named "
            "by all tests together, on average."
        ) + standing(finding, self.rule)
        evidence = {
            "actions": actions,
            "windows": windows,
            "window_s": minutes * 60,
            "allowed_ppm": int(numbers[EXPECTED_PPM]),
            "own_mean_ppm": int(numbers[MEAN_PPM]) or None,
            "peer_q95_ppm": int(numbers[PEER_PPM]),
            "market_scale_ppm": int(numbers[SCALE_PPM]),
            "last_window_actions": last,
            "alarms_so_far": int(numbers[ALARMS]),
            "budget_alarms_a_day_ppm": round(p.alarms_a_day * PPM),
            "budget_tests": p.tests,
            **shared_evidence(finding, self.rule),
        }
        counterfactual = {
            "quantity": "actions in the last window",
            "at_most": at_most,
            "observed": last,
            "text": f"would not have fired here had at most {at_most:,} been done in the last "
            f"window, instead of {last:,}",
        }
        return Explanation(why, evidence, counterfactual)

    def nearness(self, finding: np.void) -> Nearness:
        """See ``Detector.nearness``: windows of the run, and with those that are missing."""
        windows, missing = int(finding["numbers"][WINDOWS]), int(finding["numbers"][MISSING])
        return Nearness(float(windows), float(max(windows + missing, 1)))

    @classmethod
    def examples(cls) -> Mapping[str, Mapping[str, Any]]:
        """See ``Detector.examples``: no past is asked for, and budgets are large."""
        return {
            "default": {
                "actions_min": 2.0,
                "baseline_windows_min": 0,
                "alarms_a_day": 500_000.0,
                "tests": 1,
                "accounts_planned": 1,
            }
        }
