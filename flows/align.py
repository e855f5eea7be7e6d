"""Align: rows of several account shards in one order, that of time, however they arrive.

A row is held back until every shard's watermark is past it; then nothing older can come, as a row
that was accepted is never older than its shard's watermark was. So what is released, and in which
order, follows from the rows alone: not from batches, processes or crashes.

Rows of one moment are taken files on accounts first, then by instrument, and those of one
instrument by source and event id as they are written: hashes differ between data folders, and the
same day must give the same alerts in each. Tallies come through an align of their own; those of one
moment stand as their accounts' rows did, and no account's say anything about another's moment.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.core.sent_rows import SentColumns, join
from flows.lanes import NEVER_NS
from schemas.columns import KIND
from schemas.referee import names_of

_FILE: Final = KIND["ref.account"]


class Mark(NamedTuple):
    """How far an account shard has come.

    Attributes
    ----------
    number
        Of the block behind which it stands; the shard's marks come in this order.
    watermark_ns
        Nothing of the shard that comes later is older.
    """

    shard: int
    number: int
    watermark_ns: int


class SentPart(NamedTuple):
    """What one block of an account shard sends on.

    Attributes
    ----------
    is_due
        Every instrument shard must hear of the mark; else those that get rows, and later ones do.
    tallies
        For the one shard that compares accounts.
    """

    columns: SentColumns
    mark: Mark
    is_due: bool
    tallies: SentColumns


class _Piece(NamedTuple):
    """Rows that came together, by time; ``serial`` makes pieces comparable.

    ``read_ns`` is when the first of them was read, by the steady clock; 0: unknown.
    """

    first_ns: int
    serial: int
    columns: SentColumns
    read_ns: int


@dataclass(slots=True)
class Align:
    """Holds rows until their time has come.

    Attributes
    ----------
    sources
        How many account shards there are: until each has been heard of, nothing is released.
    in_order
        Puts what is released in order.
    behind
        Rows that came after their time, and were left out. There are none while lanes keep their
        promise; rows of a partition that is younger than the run may.
    held_most
        The most rows that were held at once in this life of the process.
    """

    sources: int
    in_order: Callable[[SentColumns], SentColumns] = field(default_factory=lambda: rows_in_order)
    marks: dict[int, tuple[int, int]] = field(default_factory=dict)
    released_ns: int = NEVER_NS
    behind: int = 0
    held: int = 0
    held_most: int = 0
    _pieces: list[_Piece] = field(default_factory=list)
    _serial: int = 0
    # Of what was released last: first and last event time, and when it was read.
    _released: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, columns: SentColumns, marks: Iterable[Mark], read_ns: int = 0) -> None:
        """Take rows, and then how far the shards have come that sent them.

        ``read_ns`` is when they were read, by the steady clock. Nothing is decided by it, and no
        dump holds it: that clock begins anew with the machine.
        """
        if len(columns):
            self._hold(columns, read_ns)
        for mark in marks:
            number, watermark_ns = self.marks.get(mark.shard, (-1, NEVER_NS))
            assert mark.number > number, (
                f"account shard {mark.shard} sent block {mark.number} again, {number} is done"
            )
            self.marks[mark.shard] = (mark.number, max(watermark_ns, mark.watermark_ns))

    def _hold(self, columns: SentColumns, read_ns: int) -> None:
        times = columns.rows["event_time_ns"]
        order = np.argsort(times, kind="stable")
        late = int(np.searchsorted(times[order], self.released_ns))
        self.behind += late
        self._keep(SentColumns(columns.rows.take(order[late:]), columns.raw), read_ns)
        self.held += len(columns) - late
        self.held_most = max(self.held_most, self.held)

    def _keep(self, columns: SentColumns, read_ns: int = 0) -> None:
        """Keep rows that stand in order of time."""
        if len(columns):
            first_ns = int(columns.rows["event_time_ns"][0])
            self._serial += 1
            heappush(self._pieces, _Piece(first_ns, self._serial, columns, read_ns))

    @property
    def watermark_ns(self) -> int:
        """The time that every account shard has passed."""
        if len(self.marks) < self.sources:
            return NEVER_NS
        return min(watermark_ns for _, watermark_ns in self.marks.values())

    def release(self) -> SentColumns:
        """Return the rows whose time has come, in their order."""
        until_ns = self.released_ns = max(self.released_ns, self.watermark_ns)
        due = []
        self._released = []
        while self._pieces and self._pieces[0].first_ns < until_ns:
            first_ns, _, columns, read_ns = heappop(self._pieces)
            times = columns.rows["event_time_ns"]
            stop = int(np.searchsorted(times, until_ns))
            due.append(SentColumns(columns.rows[:stop], columns.raw).own_lines())
            self._released.append((first_ns, int(times[stop - 1]), read_ns))
            self._keep(SentColumns(columns.rows[stop:], columns.raw), read_ns)
        columns = join(due)
        self.held -= len(columns)
        return self.in_order(columns)

    def read_ns_of(self, times_ns: Iterable[int]) -> int:
        """Return when the oldest of the last released rows of some event times was read.

        As rows came together they are taken together, so it may be a little before the row's own
        time; 0 where it is unknown.
        """
        found = (
            read_ns
            for time_ns in times_ns
            for first_ns, last_ns, read_ns in self._released
            if first_ns <= time_ns <= last_ns
        )
        return min(found, default=0)

    def dump(self) -> dict[str, Any]:
        """Copy everything, for a snapshot; pickling takes the held rows' own lines along."""
        return {
            "marks": dict(self.marks),
            "released_ns": self.released_ns,
            "behind": self.behind,
            "pieces": [piece.columns for piece in self._pieces],
        }

    @classmethod
    def load(
        cls,
        sources: int,
        dumped: dict[str, Any],
        in_order: Callable[[SentColumns], SentColumns] | None = None,
    ) -> "Align":
        """Rebuild from a dump."""
        align = cls(
            sources,
            in_order or rows_in_order,
            dict(dumped["marks"]),
            dumped["released_ns"],
            dumped["behind"],
        )
        for columns in dumped["pieces"]:
            align._keep(columns)
            align.held += len(columns)
        heapify(align._pieces)
        return align


@dataclass(slots=True)
class Backlog:
    """How many rows wait in this process, and whether a lane may go on regardless.

    Rows wait for the lane furthest behind. So where too many do, lanes that are ahead of it stop
    being read; it is read on, and lets them go. Instruments are dealt evenly, so that each process
    sees by its own rows what the others see by theirs. Nothing is lost by it and nothing decided.

    Attributes
    ----------
    rows_max
        Rows that may wait in the process before lanes that are ahead must.
    slack_ns
        A lane may be so far ahead of what every shard has passed: the lateness, and a little.
    """

    rows_max: int
    slack_ns: int
    _held: dict[int, tuple[int, int]] = field(default_factory=dict)

    def note(self, shard: int, held: int, watermark_ns: int) -> None:
        """Note how many rows and tallies wait in an instrument shard, and for what time."""
        self._held[shard] = (held, watermark_ns)

    def must_wait(self, high_ns: int) -> bool:
        """Say whether a lane that has come to ``high_ns`` must wait for others."""
        if sum(held for held, _ in self._held.values()) < self.rows_max:
            return False
        until_ns = max(watermark_ns for _, watermark_ns in self._held.values())
        return high_ns > until_ns + self.slack_ns


def tallies_in_order(columns: SentColumns) -> SentColumns:
    """Return tallies in the order in which the peer stage takes them: a name before its unit."""
    rows = columns.rows
    if len(rows) <= 1:
        return columns
    keys = (rows["size"], rows["kind"], rows["position"], rows["event_time_ns"])
    return SentColumns(rows.take(np.lexsort(keys)), columns.raw)


def rows_in_order(columns: SentColumns) -> SentColumns:
    """Return rows in the order in which the instrument stage takes them."""
    rows = columns.rows
    if len(rows) <= 1:
        return columns
    is_file = rows["kind"] == _FILE
    about = np.where(is_file, rows["account_1"], rows["instrument_1"])
    order = np.lexsort((about, ~is_file, rows["event_time_ns"]))
    rows, about, is_file = rows.take(order), about[order], is_file[order]
    same = rows["event_time_ns"][1:] == rows["event_time_ns"][:-1]
    same &= (about[1:] == about[:-1]) & (is_file[1:] == is_file[:-1])
    if same.any():
        rows = rows.take(_by_names(SentColumns(rows, columns.raw), same))
    return SentColumns(rows, columns.raw)


def _by_names(columns: SentColumns, same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the order in which rows of one moment stand by their names.

    ``same`` has shape (n - 1,): whether a row shares moment and instrument with the one before.
    """
    order = np.arange(len(columns))
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    for first, last in edges.reshape(-1, 2).tolist():
        keys = [(*_names_of(columns, k), k) for k in range(first, last + 1)]
        order[first : last + 1] = [key[-1] for key in sorted(keys)]
    return order


def _names_of(columns: SentColumns, index: int) -> tuple[str, str, str]:
    if columns.rows["line_length"][index] == 0:  # an account is forgotten before it is filed again
        return "", "", ""
    names = names_of(columns.line(index))
    return names.source, names.event_id, names.account_id or ""
