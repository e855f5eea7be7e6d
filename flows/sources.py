"""Sources: bounded input as numbered blocks, the same blocks at every start.

A source has parts, which can begin at any block, so that a run resumes by number alone. A plain
file has several, which different processes read; everything else is read in order by one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np

from flows import adapters
from flows.control_topic import ControlPlace
from flows.edges.files import FileBlocks, RawBlock
from flows.file_scans import Done, LoneScans, Scans, TurnedScans, scan_raw
from flows.heartbeats import BeatItem, Heartbeats, Idle
from flows.lanes import LaneBlock, stamp
from flows.shared_scans import ScanBoard
from schemas.columns import Bytes, EventColumns, HashKey, Rejected
from schemas.scan import Scanner

BlockType = TypeVar("BlockType")
_NO_LINES: Final = adapters.AdaptedBlock(np.zeros(0, np.uint8), np.zeros(0, np.int64))
_PER_LINE_MAX: Final = 2**24  # adapted events of one original line
PLAIN_PARTS: Final = 8  # any number of processes that divides it shares a plain file evenly


class LaneItem(Protocol):
    """One block on its way to the scanner."""

    number: int
    size: int

    def scan(self) -> LaneBlock:
        """Turn the block's bytes into columns."""
        ...


class Source(Protocol):
    """Bounded input of one or more lanes.

    ``notes`` are sentences for people about what was found at the beginning of the files.

    A source that knows what it has not read yet has a method ``lag(part, number)`` too, which
    returns what lies in the part from block ``number`` on, by lane, in ``lag_unit``: ``"bytes"`` or
    ``"messages"``. It is called by another thread than the one that reads. A source of events that
    happen just now says ``is_live = True``.
    """

    lane_names: tuple[str, ...]
    parts: int
    total_bytes: int | None
    notes: tuple[str, ...]

    def items(self, part: int, first: int) -> Iterator[LaneItem | None]:
        """Yield the part's blocks from the first of them numbered ``first`` or more.

        None stands for a block that another process has not handed over yet: ask again.
        """
        ...


class ScanOptions(NamedTuple):
    """How a source's lines are read."""

    key: HashKey
    tenant: str
    block_bytes: int
    batch_rows: int = 65_536
    shards: int = 1


class RawItem:
    """A block of NDJSON as it lies in a file."""

    def __init__(self, block: RawBlock, scanner: Scanner) -> None:
        self.number = block.number
        self.size = len(block.raw)
        self._block = block
        self._scanner = scanner

    def scan(self) -> LaneBlock:
        """See ``LaneItem``."""
        return scan_raw(self._block, self._scanner)


class FileSource:
    """One NDJSON file: plain, gzip or zip.

    A plain file has parts for as many processes: part p yields all blocks, with the rows of the
    shards s for which s mod parts is p. Processes scan the blocks in turns once ``share`` was
    called; without it, one that reads some parts scans every block, which costs less than to hand
    rows from process to process through the engine.

    ``lane_name`` is what positions call it, where that is not the file's own name.
    """

    lag_unit = "bytes"

    def __init__(self, path: Path, options: ScanOptions, lane_name: str = "") -> None:
        self._path = path
        self._options = options
        self.lane_names: tuple[str, ...] = (lane_name or path.name,)
        with FileBlocks(path, options.block_bytes) as blocks:
            count = blocks.count()
            self.notes: tuple[str, ...] = blocks.notes
        self.parts = 1 if count is None else min(PLAIN_PARTS, options.shards)
        self.total_bytes: int | None = None if count is None else path.stat().st_size
        self._count = count
        self._scans: Scans = LoneScans(self, self.parts, options.shards)

    def lag(self, part: int, number: int) -> dict[str, int]:
        """Return the bytes of the blocks numbered ``number`` or more; see ``Source``."""
        if self.total_bytes is None or part != 0:
            return {}
        return {self.lane_names[0]: max(0, self.total_bytes - number * self._options.block_bytes)}

    def share(self, board: ScanBoard, process: int, done: Done | None) -> None:
        """Scan blocks in turns with the other processes, those of a plain file.

        ``done`` is as that of ``TurnedScans``.
        """
        if self._count is not None and self.parts >= board.readers > process:
            mine = frozenset(range(process, self.parts, board.readers))
            self._scans = TurnedScans(self, mine, self.parts, self._options.shards, board, done)

    def items(self, part: int, first: int) -> Iterator[LaneItem | None]:
        """See ``Source``."""
        if self._count is None:
            yield from islice(self.sequence(), first, None)
            return
        self._scans.begin(first)
        for number in range(first, self._count):
            while not self._scans.is_ready(number, self._count):
                yield None
            yield PartItem(number, part, self._scans, self._size(number, part))

    def _size(self, number: int, part: int) -> int:
        """Return what a part counts of a block's bytes: all parts together count all of them."""
        assert self.total_bytes is not None
        size = self._options.block_bytes
        left = min(size, self.total_bytes - number * size)
        return left * (part + 1) // self.parts - left * part // self.parts

    def sequence(self) -> Iterator["RawItem"]:
        """Yield all blocks whole, in order."""
        scanner = self.scanner()
        with FileBlocks(self._path, self._options.block_bytes) as blocks:
            for block in blocks.blocks():
                yield RawItem(block, scanner)

    def read(self, number: int, room: Bytes | None = None) -> RawBlock:
        """Read one block, into ``room`` if it can be."""
        with FileBlocks(self._path, self._options.block_bytes) as blocks:
            placed = None if room is None else blocks.read_into(number, room)
            return placed or blocks.read(number)

    def scanner(self) -> Scanner:
        """Make a scanner of its lines."""
        return Scanner(self._options.key, tenant=self._options.tenant)


class PartItem:
    """One part's share of a block, scanned when it is asked for."""

    def __init__(self, number: int, part: int, scans: Scans, size: int) -> None:
        self.number = number
        self.size = size
        self._part = part
        self._scans = scans

    def scan(self) -> LaneBlock:
        """See ``LaneItem``."""
        return self._scans.part(self.number, self._part)


class AdaptedItem:
    """A block that an adapter made, with the original lines it came from."""

    def __init__(
        self, number: int, block: adapters.AdaptedBlock, scanner: Scanner, *, is_last: bool
    ) -> None:
        self.number = number
        self.size = len(block.raw)
        self._block = block
        self._scanner = scanner
        self._is_last = is_last

    def scan(self) -> LaneBlock:
        """See ``LaneItem``."""
        scanned = scan_adapted(self._block, self._scanner)
        return LaneBlock(
            number=self.number,
            columns=scanned[0],
            rejected=[(0, r) for r in scanned[1]],
            times=stamp(scanned[0].rows, 0),  # the rows know their lines: nothing to add
            is_last=self._is_last,
            skipped_fields=self._block.skipped_fields,
        )


def scan_adapted(
    block: adapters.AdaptedBlock, scanner: Scanner
) -> tuple[EventColumns, list[Rejected]]:
    """Scan adapted lines and give everything its place in the original."""
    scanned = scanner.scan(block.raw)
    rows = scanned.columns.rows
    rows["line_number"] = block.origin_lines[rows["line_number"]]
    refused = []
    seen: Counter[int] = Counter()
    for r in scanned.rejected:
        origin = int(block.origin_lines[r.line_number])
        # An adapted line has no byte of its own in the original, and an original line may give
        # many; still each must have a place of its own.
        place = -1 - (origin * _PER_LINE_MAX + seen[origin])
        seen[origin] += 1
        refused.append(replace(r, line_number=origin, byte_offset=place, stage="adapt"))
    return scanned.columns, [*block.rejected, *refused]


class AdaptedSource:
    """One file of another format, through its adapter."""

    def __init__(
        self,
        path: Path,
        adapter: adapters.Adapter,
        adapter_options: adapters.AdapterOptions,
        options: ScanOptions,
        lane_name: str = "",
    ) -> None:
        self._path = path
        self._adapter = adapter
        self._adapter_options = adapter_options
        self._options = options
        self.lane_names: tuple[str, ...] = (lane_name or path.name,)
        self.parts = 1
        self.total_bytes: int | None = None
        with FileBlocks(path) as blocks:
            self.notes: tuple[str, ...] = blocks.notes

    def items(self, part: int, first: int) -> Iterator[LaneItem]:
        """See ``Source``."""
        assert part == 0
        scanner = self.scanner()
        for number, (block, is_last) in enumerate(with_last(chain(self.blocks(), [_NO_LINES]))):
            if number >= first:
                yield AdaptedItem(number, block, scanner, is_last=is_last)

    def blocks(self) -> Iterator[adapters.AdaptedBlock]:
        """Yield the adapter's blocks."""
        yield from self._adapter.adapt(self._path, self._adapter_options)

    def scanner(self) -> Scanner:
        """Make a scanner that takes what the adapter's source may leave out."""
        anonymous = self._adapter.anonymous and not self._adapter_options.accounts
        return Scanner(self._options.key, anonymous=anonymous, tenant=self._options.tenant)


class BytesSource:
    """Blocks of NDJSON from a function, such as the simulator: the same blocks at every call.

    The function is told the first block wanted. It may yield ``Idle`` between blocks; when it does
    is nobody's to repeat, so that becomes a heartbeat in the control log, and a block of its own.
    """

    def __init__(
        self,
        name: str,
        blocks: Callable[[int], Iterable[bytes | Idle]],
        options: ScanOptions,
        control: Path | ControlPlace | None = None,
    ) -> None:
        self._blocks = blocks
        self._options = options
        self._beats = Heartbeats(control, name)
        self.lane_names: tuple[str, ...] = (name,)
        self.parts = 1
        self.total_bytes: int | None = None
        self.notes: tuple[str, ...] = ()

    def items(self, part: int, first: int) -> Iterator[LaneItem]:
        """See ``Source``."""
        assert part == 0
        scanner = Scanner(self._options.key, tenant=self._options.tenant)
        beats = self._beats.recorded()
        wanted = first - sum(number < first for number in beats)
        number = offset = 0
        for made, is_last in with_last(chain(self._blocks(wanted), [b""])):
            while number in beats:
                if number >= first:
                    yield BeatItem(number, beats[number])
                number += 1
            if isinstance(made, Idle):
                if number < first or not self._beats.are_kept:
                    continue
                self._beats.write(number, made.time_ns)
                yield BeatItem(number, made.time_ns)
            else:
                if number >= first:
                    data = np.frombuffer(made, np.uint8)
                    yield RawItem(RawBlock(0, number, offset, data, is_last), scanner)
                offset += len(made)
            number += 1


def in_order(source: Source) -> Iterator[LaneItem]:
    """Yield all blocks of a source in order, whatever its parts."""
    if isinstance(source, FileSource):
        yield from source.sequence()
        return
    parts = [source.items(part, 0) for part in range(source.parts)]
    while True:
        for part in parts:
            item = next(part, None)
            if item is None:
                return
            yield item


def with_last(blocks: Iterable[BlockType]) -> Iterator[tuple[BlockType, bool]]:
    """Yield each block and whether it is the last."""
    ahead = iter(blocks)
    try:
        block = next(ahead)
    except StopIteration:
        return
    for following in ahead:
        yield block, False
        block = following
    yield block, True
