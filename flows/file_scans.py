"""Who scans the blocks of a plain file: this process alone, or the run's processes in turns."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

import numpy as np

from flows import adapters
from flows.edges.files import RawBlock
from flows.lanes import LaneBlock, ShardBlock, deal, deal_rows, stamp
from flows.shared_scans import Found, ScanBoard
from schemas.columns import Bytes, EventColumns
from schemas.scan import Scanner
from schemas.whole_rows import copied

Done = Callable[[Sequence[int], int], int]


class BlockReader(Protocol):
    """What a file gives to those who scan it."""

    def read(self, number: int, room: Bytes | None = None) -> RawBlock:
        """Read one block, into ``room`` if it can be."""
        ...

    def scanner(self) -> Scanner:
        """Make a scanner of its lines."""
        ...


class Scans(Protocol):
    """A file's blocks, scanned and dealt; parts may ask for any, mostly in order."""

    def begin(self, first: int) -> None:
        """Note the first block that is wanted."""
        ...

    def is_ready(self, number: int, count: int) -> bool:
        """Say whether ``part`` can be asked for a block of ``count``, having done what helps."""
        ...

    def part(self, number: int, part: int) -> LaneBlock:
        """Return a block with the rows of one part's shards."""
        ...


def scan_raw(block: RawBlock, scanner: Scanner) -> LaneBlock:
    """Scan a block of lines."""
    scanned = scanner.scan(block.raw)
    rejected = [replace(r, byte_offset=r.byte_offset + block.byte_offset) for r in scanned.rejected]
    if block.torn is not None:
        rejected += adapters.torn_at(block, scanned.line_count)
    return LaneBlock(
        number=block.number,
        columns=scanned.columns,
        rejected=[(0, r) for r in rejected],
        times=stamp(scanned.columns.rows, scanned.line_count),
        is_last=block.is_last,
        unknown_fields=scanned.unknown_fields,
    )


class LoneScans:
    """The blocks of a file, each scanned once for all parts that this process reads."""

    def __init__(self, file: BlockReader, parts: int, shards: int) -> None:
        self._file = file
        self._parts = parts
        self._shards = shards
        self._held: tuple[LaneBlock, list[ShardBlock]] | None = None

    def begin(self, first: int) -> None:
        """See ``Scans``."""

    def is_ready(self, number: int, count: int) -> bool:
        """See ``Scans``."""
        del number, count
        return True

    def part(self, number: int, part: int) -> LaneBlock:
        """See ``Scans``."""
        if self._held is None or self._held[0].number != number:
            self._held = None  # let go before the next is made
            block = self._scan(number)
            self._held = (block, deal(block, self._shards))
        block, dealt = self._held
        return replace(block, dealt=[one for one in dealt if one.shard % self._parts == part])

    @cached_property
    def _scanner(self) -> Scanner:
        return self._file.scanner()

    def _scan(self, number: int) -> LaneBlock:
        return scan_raw(self._file.read(number), self._scanner)


class TurnedScans(LoneScans):
    """The same, scanned by this process or another one.

    Parameters
    ----------
    file
        The lines.
    mine
        The parts that this process reads.
    parts, shards
        How many there are.
    board
        Where the processes leave blocks for each other.
    done
        Given shards and the block they began with, says which block is the next of the one that is
        furthest behind. A block stays in its slot for as long as one may need it. None where nobody
        here can say, as shards are in other processes than their parts: then blocks are copied.
    """

    def __init__(
        self,
        file: BlockReader,
        mine: frozenset[int],
        parts: int,
        shards: int,
        board: ScanBoard,
        done: Done | None,
    ) -> None:
        super().__init__(file, parts, shards)
        self._own = [shard for shard in range(shards) if shard % parts in mine]
        self._board = board
        self._done = done
        self._first: int | None = None  # that any part began with
        self._needed = 0  # blocks before this one may be gone at any moment

    def begin(self, first: int) -> None:
        """See ``Scans``."""
        if self._first is None:
            self._need(first)  # a later part may be further on, while blocks before it are in use
        self._first = first if self._first is None else min(first, self._first)

    def _need(self, number: int) -> None:
        self._needed = max(number, self._needed)
        self._board.needs(self._needed)

    def is_ready(self, number: int, count: int) -> bool:
        """See ``Scans``."""
        if self._held is not None and self._held[0].number == number:
            return True
        assert self._first is not None, "parts begin before they ask"
        self._need(min(number, self._done(self._own, self._first)) if self._done else number)
        if number < self._needed:
            return True
        while (found := self._board.find(number)) is Found.LATER:
            claimed = self._board.claim(count)
            if claimed is None:
                return False
            self._publish(claimed)
        if found is Found.HERE:
            self._take(number)
        return True  # one that is gone is scanned when it is asked for

    def _publish(self, number: int) -> None:
        """Scan a block for everybody."""
        raw = self._read_into(number, self._board.lines_room(number))
        block = None if raw is None else scan_raw(raw, self._scanner)
        rows = EventColumns.empty().rows if block is None else block.columns.rows
        room = self._board.rows_room(number, len(rows))
        if block is None or room is None:
            self._board.publish(number, None, None)
            return
        ends = deal_rows(rows, self._shards, room).tolist()
        rest = (ends, block.times, block.rejected, block.is_last)
        self._board.publish(number, EventColumns(room, block.columns.raw), rest)

    def _read_into(self, number: int, room: Bytes) -> RawBlock | None:
        """Read a block into its slot; None where it does not fit."""
        block = self._file.read(number, room)
        size = len(block.raw)
        if np.shares_memory(block.raw, room):
            return block
        if size > len(room):
            return None
        room[:size] = block.raw
        return replace(block, raw=room[:size])

    def _take(self, number: int) -> None:
        """Take what this process's shards get of a block, where it lies if it may stay there."""
        columns, (ends, times, rejected, is_last) = self._board.read(number)
        if self._done is None:
            rows, lines = columns.lines()
            columns = EventColumns(copied(rows), lines.copy())
        begins = [0, *ends]
        own = {s: EventColumns(columns.rows[begins[s] : ends[s]], columns.raw) for s in self._own}
        whole = LaneBlock(number, EventColumns.empty(), rejected, times, is_last=is_last)
        self._held = (whole, [_dealt(whole, s, own[s]) for s in self._own])


def _dealt(whole: LaneBlock, shard: int, columns: EventColumns) -> ShardBlock:
    return ShardBlock(
        shard=shard,
        number=whole.number,
        columns=columns,
        times=whole.times,
        is_absolute=False,
        is_last=whole.is_last,
        rejected=tuple(whole.rejected) if shard == 0 else (),
    )
