"""When cases are forgotten: once no finding of their trading day can come any more."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

from detectors.core.findings import day_name
from schemas.events import SECOND_NS

DAYS_BACK: Final = 3  # before the day of the watermark: no venue's calendar is so far behind
_DAY_NS: Final = 86_400 * SECOND_NS


class CaseDays:
    """Keeps people's cases by trading day, and lets go of those of days that are over.

    Parameters
    ----------
    cases
        Person to trading day to what is kept of the case; changed in place.
    shard_of
        The shard that a person's days end with.
    """

    def __init__(self, cases: dict[str, dict[str, Any]], shard_of: Callable[[str], int]) -> None:
        self._cases = cases
        self._shard_of = shard_of
        # Per shard, oldest first; may name some that were let go for another reason.
        self._days: dict[int, list[tuple[str, str]]] = {}
        for person, days in cases.items():
            for day in days:
                self._expect(day, person)

    def of(self, person: str, day: str) -> dict[str, Any]:
        """Return a person's cases by day, in which one of this day is about to be noted."""
        days = self._cases.setdefault(person, {})
        if day not in days:
            self._expect(day, person)
        return days

    def forget(self, shard: int, until_ns: int) -> None:
        """Forget cases of days that no finding of the shard can be of, closed until then."""
        held = self._days.get(shard)
        if not held:
            return
        oldest = day_name(until_ns // _DAY_NS - DAYS_BACK)
        while held and held[0][0] < oldest:
            day, person = heappop(held)
            days = self._cases.get(person, {})
            days.pop(day, None)
            if not days:
                self._cases.pop(person, None)

    def _expect(self, day: str, person: str) -> None:
        heappush(self._days.setdefault(self._shard_of(person), []), (day, person))
