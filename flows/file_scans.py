"""Who scans the blocks of a plain file: this process alone, or the run's processes in turns."""

from dataclasses import replace
from functools import cached_property
from typing import Protocol

from flows import adapters
from flows.edges.files import RawBlock
from flows.lanes import LaneBlock, ShardBlock, deal, deal_rows, stamp
from flows.shared_scans import Found, ScanBoard
from schemas.columns import Bytes, EventColumns
from schemas.scan import Scanner


class BlockReader(Protocol):
    """What a file gives to those who scan it."""

    def read(self, number: int) -> RawBlock:
        """Read one block."""
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
    """

    def __init__(
        self, file: BlockReader, mine: frozenset[int], parts: int, shards: int, board: ScanBoard
    ) -> None:
        super().__init__(file, parts, shards)
        self._own = [shard for shard in range(shards) if shard % parts in mine]
        self._board = board
        self._raw: dict[int, Bytes] = {}  # of blocks scanned here whose turn has not come

    def begin(self, first: int) -> None:
        """See ``Scans``."""
        self._board.needs(first)

    def is_ready(self, number: int, count: int) -> bool:
        """See ``Scans``."""
        if self._held is not None and self._held[0].number == number:
            return True
        self._board.needs(number)
        while (found := self._board.find(number)) is Found.LATER:
            claimed = self._board.claim(count)
            if claimed is None:
                return False
            self._publish(claimed)
        if found is Found.HERE:
            self._take(number)
        self._raw.pop(number, None)
        return True  # one that is gone is scanned when it is asked for

    def _publish(self, number: int) -> None:
        """Scan a block for everybody."""
        raw = self._file.read(number)
        block = scan_raw(raw, self._scanner)
        self._raw[number] = raw.raw
        rows = block.columns.rows
        room = self._board.room(number, len(rows))
        ends = None if room is None else deal_rows(rows, self._shards, room).tolist()
        rest = (ends, block.times, block.rejected, block.is_last)
        self._board.publish(number, None if room is None else len(rows), rest)

    def _take(self, number: int) -> None:
        """Copy what this process's shards get of a block."""
        self._held = None
        raw = self._raw.pop(number, None)
        if raw is None:
            raw = self._file.read(number).raw
        rows, (ends, times, rejected, is_last) = self._board.read(number)
        own = {s: rows[ends[s - 1] if s else 0 : ends[s]].copy() for s in self._own}
        if self._board.find(number) is Found.HERE:  # as it always is, unless parts begin anew
            whole = LaneBlock(number, EventColumns.empty(), rejected, times, is_last=is_last)
            self._held = (whole, [_dealt(whole, s, EventColumns(own[s], raw)) for s in own])
        self._board.needs(number + 1)


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
