"""Lanes: how far their time has come, and how their rows are dealt to shards.

A **lane** is one ordered input. Its time is the highest event time that two consecutive rows have
both reached (or that a heartbeat states): one row with a wrong clock moves nothing. That is a
running maximum over pairs of neighbours, so it can be computed block by block, by any process, and
put together afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.columns import KIND, ROW, EventColumns, Rejected, Rows
from schemas.copying import gather_lines
from schemas.events import SECOND_NS
from schemas.jit import kernel
from schemas.whole_rows import as_bytes, copied, of_bytes

NEVER_NS: Final = -(2**62)
AHEAD_NS: Final = 5 * SECOND_NS
_HEARTBEAT: Final = KIND["heartbeat"]
_WORD: Final = 8


@dataclass(frozen=True, slots=True)
class BlockTimes:
    """What a block of one lane adds to the lane's time.

    Attributes
    ----------
    first_ns, last_ns
        Event times of its first and last row; ``NEVER_NS`` where it has none.
    second_ns, before_last_ns
        Those of its second and last but one; ``NEVER_NS`` where it has fewer than two.
    high_ns
        Highest time that two consecutive rows inside it reached, or a heartbeat stated.
    line_count
        Lines, refused ones included.
    ahead
        Rows that stood more than 5 s ahead of both their neighbours inside the block.
    """

    first_ns: int = NEVER_NS
    last_ns: int = NEVER_NS
    high_ns: int = NEVER_NS
    line_count: int = 0
    ahead: int = 0
    second_ns: int = NEVER_NS
    before_last_ns: int = NEVER_NS


def stamp(rows: Rows, line_count: int) -> BlockTimes:
    """Write the lane's time at each row into it, as far as the block alone knows.

    Sets ``high_before_ns`` and ``clock_ns``. Counting a row's own pair never makes it late: the
    smaller time of a pair is never above the row's own.
    """
    if len(rows) == 0:
        return BlockTimes(line_count=line_count)
    times = np.ascontiguousarray(rows["event_time_ns"])
    reached = np.full(len(rows), NEVER_NS, np.int64)
    reached[1:] = np.minimum(times[1:], times[:-1])
    beats = rows["kind"] == _HEARTBEAT
    reached[beats] = times[beats]
    high = np.maximum.accumulate(reached)
    rows["high_before_ns"] = high
    rows["clock_ns"] = high
    middle = times[1:-1]
    ahead = (middle > times[:-2] + AHEAD_NS) & (middle > times[2:] + AHEAD_NS)
    return BlockTimes(
        first_ns=int(times[0]),
        last_ns=int(times[-1]),
        high_ns=int(high[-1]),
        line_count=line_count,
        ahead=int(np.count_nonzero(ahead)),
        second_ns=int(times[1]) if len(times) > 1 else NEVER_NS,
        before_last_ns=int(times[-2]) if len(times) > 1 else NEVER_NS,
    )


@dataclass(slots=True)
class LaneTime:
    """How far a lane has come: the carry from one block to the next."""

    high_ns: int = NEVER_NS
    last_ns: int = NEVER_NS
    lines: int = 0
    before_last_ns: int = NEVER_NS
    ahead: int = 0

    def reached_by(self, block: BlockTimes) -> int:
        """Return the lane's time once the pair across the block's beginning counts."""
        if NEVER_NS in (self.last_ns, block.first_ns):
            return self.high_ns
        return max(self.high_ns, min(self.last_ns, block.first_ns))

    def carry(self, block: BlockTimes) -> NDArray[np.int64]:
        """Return what rows of ``block`` must add: lane time, merged clock, lines before."""
        reached = self.reached_by(block)
        return np.array([reached, reached, self.lines], np.int64)

    def advance(self, block: BlockTimes) -> None:
        """Move past ``block``."""
        self.high_ns = max(self.reached_by(block), block.high_ns)
        self.ahead += block.ahead + self._ahead_across(block)
        if block.last_ns != NEVER_NS:
            is_single = block.before_last_ns == NEVER_NS
            self.before_last_ns = self.last_ns if is_single else block.before_last_ns
            self.last_ns = block.last_ns
        self.lines += block.line_count

    def _ahead_across(self, block: BlockTimes) -> int:
        """Count the rows ahead of neighbours of which one stands in the other block."""
        times = (self.before_last_ns, self.last_ns, block.first_ns, block.second_ns)
        return sum(
            NEVER_NS not in (before, after) and middle > max(before, after) + AHEAD_NS
            for before, middle, after in zip(times, times[1:], times[2:], strict=False)
        )


@dataclass(slots=True)
class LaneBlock:
    """One block of input, scanned.

    Attributes
    ----------
    number
        Position in the order of blocks, from 0, without gaps.
    columns
        The accepted rows.
    rejected
        The refused lines, each with the index of its lane.
    times
        What the block adds to its lane's time.
    is_absolute
        Rows, refused lines and times already carry what came before; else the receiver adds it.
    is_last
        End of input: no block follows.
    skipped_fields
        Optional fields that an adapter left out, by name.
    unknown_fields
        Fields we do not know that stood on accepted lines, by name.
    dealt
        The shards' parts, where only some shards are to get the block here.
    lane
        Which lane it is of, where lanes have positions of their own.
    next_number
        Of such a lane: the position behind the block; ``number`` is the one it begins at.
    lane_count
        How many such lanes there are in all: until each has been heard of, no time has passed.
    is_for_all
        Goes to every shard, those without rows too.
    read_ns
        When it was read, by the machine's steady clock, for those who watch; 0 where nobody does.
        Nothing is decided by it, and no snapshot keeps it.
    """

    number: int
    columns: EventColumns
    rejected: list[tuple[int, Rejected]] = field(default_factory=list)
    times: BlockTimes = field(default_factory=BlockTimes)
    is_absolute: bool = False
    is_last: bool = False
    skipped_fields: dict[str, int] = field(default_factory=dict)
    unknown_fields: dict[str, int] = field(default_factory=dict)
    dealt: "list[ShardBlock] | None" = None
    lane: int = 0
    next_number: int = 0
    lane_count: int = 0
    is_for_all: bool = True
    read_ns: int = 0


@dataclass(frozen=True, slots=True)
class ShardBlock:
    """One shard's part of a block; every shard gets one of every block, empty ones too.

    Inside a process the shards of a block share its bytes. Pickled, for another process or a
    snapshot, each takes along the lines of its own rows only.
    """

    shard: int
    number: int
    columns: EventColumns
    times: BlockTimes
    is_absolute: bool
    is_last: bool
    rejected: tuple[tuple[int, Rejected], ...] = ()
    skipped_fields: dict[str, int] = field(default_factory=dict)

    lane: int = 0
    next_number: int = 0
    lane_count: int = 0
    read_ns: int = 0

    def __reduce__(self) -> tuple[Callable[..., "ShardBlock"], tuple[Any, ...]]:
        """Pickle with the rows' own lines."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        columns = own_lines(values.pop("columns"))
        return _received, (as_bytes(columns.rows), columns.raw, values)


def _received(rows: bytearray, raw: NDArray[np.uint8], values: dict[str, Any]) -> ShardBlock:
    return ShardBlock(columns=EventColumns(of_bytes(rows, ROW), raw), **values)


def own_lines(columns: EventColumns) -> EventColumns:
    """Return a copy whose bytes are the rows' lines and nothing else."""
    rows, raw = columns.lines()
    own = copied(rows)
    target = np.empty(int(own["line_length"].sum()), np.uint8)
    gather_lines(own, raw, target)
    return EventColumns(own, target)


def shard_of(rows: Rows, shards: int) -> NDArray[np.uint16]:
    """Return each row's shard: Kafka's partitioner over the account; 0 where there is none."""
    # The partitioner drops the sign bit; a power of two of shards makes that plain masking.
    shard = (rows["account_murmur2"] & np.uint32(shards - 1)).astype(np.uint16)
    shard[(rows["account_1"] == 0) & (rows["account_2"] == 0)] = 0
    return shard


@kernel
def deal_words(
    words: NDArray[np.uint64],
    shard: NDArray[np.uint16],
    dealt: NDArray[np.uint64],
    ends: NDArray[np.int64],
) -> None:
    """Copy rows to ``dealt``, shard by shard and in order within each (a counting sort).

    Parameters
    ----------
    words, dealt
        Shape (n, words in a row).
    shard
        Shape (n,).
    ends
        Shape (shards,), zeroed; becomes where each shard's rows end.
    """
    for s in shard:
        ends[s] += 1
    place = 0
    for s in range(len(ends)):
        count = ends[s]
        ends[s] = place
        place += count
    for i in range(len(words)):
        at = ends[shard[i]]
        for w in range(words.shape[1]):
            dealt[at, w] = words[i, w]
        ends[shard[i]] = at + 1


def deal_rows(rows: Rows, shards: int, dealt: Rows) -> NDArray[np.int64]:
    """Copy rows to ``dealt``, shard by shard; return where each shard's end, shape (shards,)."""
    width = ROW.itemsize // _WORD
    ends = np.zeros(shards, np.int64)
    words = np.ascontiguousarray(rows).view(np.uint64).reshape(-1, width)
    deal_words(words, shard_of(rows, shards), dealt.view(np.uint64).reshape(-1, width), ends)
    return ends


def _dealt_rows(rows: Rows, shards: int) -> list[Rows]:
    if shards == 1:
        return [rows]
    dealt = np.empty(len(rows), ROW)
    return np.split(dealt, deal_rows(rows, shards, dealt)[:-1])


def deal(block: LaneBlock, shards: int) -> list[ShardBlock]:
    """Deal a block's rows to the shards, in lane order within each; refused lines to shard 0."""
    if block.dealt is not None:
        return [replace(part, read_ns=block.read_ns) for part in block.dealt]
    has_own = bool(block.rejected or block.skipped_fields or block.times.ahead)
    return [
        ShardBlock(
            shard=s,
            number=block.number,
            columns=EventColumns(rows, block.columns.raw),
            times=block.times,
            is_absolute=block.is_absolute,
            is_last=block.is_last,
            rejected=tuple(block.rejected) if s == 0 else (),
            skipped_fields=block.skipped_fields if s == 0 else {},
            lane=block.lane,
            next_number=block.next_number,
            lane_count=block.lane_count,
            read_ns=block.read_ns,
        )
        for s, rows in enumerate(_dealt_rows(block.columns.rows, shards))
        if block.is_for_all or len(rows) or (s == 0 and has_own)
    ]
