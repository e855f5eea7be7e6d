"""Stretches of lane time, where memory is looked through for what can be let go.

Where they begin is a function of a shard's own rows, however these come in batches.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_STRETCHES: Final = 4  # what rests is let go at most a quarter of its time after it might be
NOT_BEGUN: Final = -(2**62)

Times = NDArray[np.int64]


class Stretches:
    """Where lane time passes from one stretch to the next.

    Parameters
    ----------
    rest_ns
        How long something must rest, of which a stretch is a quarter; 0: there are none.
    rows_bring_clock
        Rows carry a time that no later row is before, but for the lateness allowed. Else, with
        lanes that come as they please, only the time that was carried in is such a one.
    """

    def __init__(self, rest_ns: int, *, rows_bring_clock: bool) -> None:
        self._every_ns = -(-rest_ns // _STRETCHES)
        self._rows_bring_clock = rows_bring_clock
        self.number = NOT_BEGUN

    @property
    def start_ns(self) -> int:
        """Where the stretch begins; ``NOT_BEGUN`` before the first."""
        return NOT_BEGUN if self.number == NOT_BEGUN else self.number * self._every_ns

    def go_on(self, start_ns: int) -> None:
        """Go on from where a stretch began, which may have been of another length."""
        is_none = start_ns == NOT_BEGUN or self._every_ns == 0
        self.number = NOT_BEGUN if is_none else start_ns // self._every_ns

    def next_in(self, clocks_ns: Times, carried_ns: int) -> int | None:
        """Return the first row of a later stretch, up to which rows are taken first; None: no."""
        if self._every_ns == 0 or len(clocks_ns) == 0:
            return None
        if self.number == NOT_BEGUN:
            self._begin(clocks_ns, carried_ns)
        last_ns = self._clock_at(clocks_ns, -1, carried_ns)
        if last_ns < 0 or last_ns // self._every_ns <= self.number:
            return None
        if carried_ns // self._every_ns > self.number:
            return 0
        return int(np.searchsorted(clocks_ns, (self.number + 1) * self._every_ns))

    def pass_to(self, clocks_ns: Times, first: int, carried_ns: int) -> None:
        """Take the stretch that row ``first`` is in as the one at hand."""
        self.number = self._clock_at(clocks_ns, first, carried_ns) // self._every_ns

    def _begin(self, clocks_ns: Times, carried_ns: int) -> None:
        """Take the stretch of the first row that has a clock as the first."""
        first = int(np.searchsorted(clocks_ns, 0)) if carried_ns < 0 else 0
        if first == len(clocks_ns):
            return
        if (clock_ns := self._clock_at(clocks_ns, first, carried_ns)) >= 0:
            self.number = clock_ns // self._every_ns

    def _clock_at(self, clocks_ns: Times, index: int, carried_ns: int) -> int:
        if not self._rows_bring_clock:
            return carried_ns
        return max(carried_ns, int(clocks_ns[index]))


def cut(
    clocks_ns: Times, carried_ns: int, sorts: Sequence[Stretches]
) -> Iterator[tuple[slice, Stretches | None]]:
    """Cut rows where they pass to another stretch of some sort.

    Parameters
    ----------
    clocks_ns
        Shape (n,), int64, ascending: the rows' times.
    carried_ns
        Time reached before them.
    sorts
        Moved on as rows pass.

    Yields
    ------
    tuple
        Rows to be taken, and the stretches that what follows them has just passed to; None at the
        end.
    """
    start = 0
    while True:
        rest_ns = clocks_ns[start:]
        passing = [
            (first, sort)
            for sort, stretches in enumerate(sorts)
            if (first := stretches.next_in(rest_ns, carried_ns)) is not None
        ]
        if not passing:
            yield slice(start, len(clocks_ns)), None
            return
        first, sort = min(passing)
        sorts[sort].pass_to(rest_ns, first, carried_ns)
        yield slice(start, start + first), sorts[sort]
        start += first
