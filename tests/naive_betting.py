"""Betting against a null in plain Python: the referee of the tests with a bound."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import add

SHARES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.99)
DAY_NS = 86_400 * 10**9


@dataclass
class Bank:
    """One subject's scores.

    Each share f of them is staked on every outcome; what accrued until the earlier of the last two
    outcomes is shared evenly, from the second of them on, 24 hours' budget at most.
    """

    budget: float  # in 24 hours
    scores: list[float] = field(default_factory=lambda: [0.0] * len(SHARES))
    granted_ns: int = 0
    latest_ns: int = 0

    def settle(self, outcome: float, *, may_alarm: bool = True) -> bool:
        """Say whether an alarm is due, after which scores are 0 again."""
        self.scores = [s * (1.0 + f * outcome) for s, f in zip(self.scores, SHARES, strict=True)]
        if plain_sum(self.scores) < 1.0 or not may_alarm:
            return False
        self.scores = [0.0] * len(SHARES)
        return True

    def grant(self, time_ns: int) -> None:
        reached_ns = min(self.latest_ns, time_ns)
        self.latest_ns = time_ns
        if reached_ns <= self.granted_ns:
            return
        begin_ns = max(self.granted_ns, reached_ns - DAY_NS)
        if self.granted_ns:
            each = self.budget * ((reached_ns - begin_ns) / DAY_NS) / len(SHARES)
            self.scores = [s + each for s in self.scores]
        self.granted_ns = reached_ns


def plain_sum(numbers: Iterable[float]) -> float:
    """Add in order; Python's own sum corrects its error."""
    return reduce(add, numbers, 0.0)
