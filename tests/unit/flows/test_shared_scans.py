"""Blocks scanned in turns are those that each process would have scanned by itself."""

import resource
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plan_parts import lines, story

from flows.file_scans import scan_raw
from flows.lanes import LaneBlock, ShardBlock, deal
from flows.monitor import LanePart, Pace
from flows.shared_scans import SLOTS, ScanBoard, open_memory
from flows.sources import FileSource, ScanOptions
from schemas.columns import HashKey

SHARDS = 16
ROUNDS_MAX = 10_000  # a few hundred are enough
OPTION = ScanOptions(HashKey(1, 2), "default", 1024, shards=SHARDS)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.ndjson"
    told = lines(story())
    path.write_bytes(b"{\n" + told[:9_000] + b"x\n" + told)
    return path


class Counted(FileSource):
    """Counts how often its blocks are read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, OPTION)
        self.numbers: list[int] = []

    def read(self, number: int, room: Any = None) -> Any:
        self.numbers.append(number)
        return super().read(number, room)


class Reader:
    """One process that reads its parts in the order in which the engine would."""

    def __init__(
        self,
        path: Path,
        board: ScanBoard | None,
        process: int,
        first: int | list[int],
        behind: int = 0,
        *,
        is_copying: bool = False,
    ) -> None:
        self.source = Counted(path)
        count = 1 if board is None else board.readers
        self._pace = Pace(100)
        if board is not None:
            self.source.share(board, process, None if is_copying else self._pace.done)
        mine = range(process, self.source.parts, count)
        begins = [first] * len(mine) if isinstance(first, int) else first
        self.parts = [
            LanePart(part, begin, self.source.items(part, begin), 2**40, self._pace, lambda: False)
            for part, begin in zip(mine, begins, strict=True)
        ]
        for part, begin in zip(mine, begins, strict=True):
            if begin:  # shards that resume say where they stand
                for shard in range(part, SHARDS, self.source.parts):
                    self._pace.applied(shard, begin)
        self._behind = behind * SHARDS // count  # what its shards are behind its parts
        self._given: deque[ShardBlock] = deque()
        self.taken: dict[tuple[int, int], tuple[Any, ...]] = {}

    @property
    def next_number(self) -> int:
        return max((number for number, _ in self.taken), default=-1) + 1

    def step(self) -> bool:
        """Ask each part once; say whether any may have more."""
        before = len(self._given)
        for part in list(self.parts):
            try:
                for item in part.next_batch():
                    self._given += deal(item.scan(), SHARDS)
            except StopIteration:
                self.parts.remove(part)
            self._apply(self._behind if self.parts else 0)
        if len(self._given) == before:  # shards go on while their parts wait
            self._apply(0)
        return bool(self.parts)

    def _apply(self, left: int) -> None:
        """Let shards take what they were given: until then it must stay as it is."""
        while len(self._given) > left:
            one = self._given.popleft()
            assert (one.number, one.shard) not in self.taken
            self.taken[one.number, one.shard] = seen(one)
            self._pace.applied(one.shard, one.number + 1)


def finish(found: list[Reader]) -> None:
    for _ in range(ROUNDS_MAX):
        found = [reader for reader in found if reader.step()]
        if not found:
            return
    pytest.fail("the processes wait for each other for ever")


@contextmanager
def readers(
    path: Path,
    firsts: Sequence[int | list[int]],
    behind: int | tuple[int, ...] = 0,
    *,
    is_copying: bool = False,
) -> Iterator[list[Reader]]:
    with open_memory(OPTION.block_bytes) as handle:
        assert handle is not None
        boards = [
            ScanBoard(handle, len(firsts), process, OPTION.block_bytes).clear()
            for process in range(len(firsts))
        ]
        each = (behind,) * len(firsts) if isinstance(behind, int) else behind
        yield [
            Reader(path, boards[k], k, firsts[k], each[k], is_copying=is_copying)
            for k in range(len(firsts))
        ]


def seen(block: ShardBlock) -> tuple[Any, ...]:
    rows = block.columns.rows
    names = [name for name in rows.dtype.names if name != "padding"]
    return (
        [rows[name].tolist() for name in names],
        [block.columns.line(k) for k in range(len(rows))],
        block.rejected,
        block.times,
        block.is_absolute,
        block.is_last,
    )


@pytest.fixture(scope="module")
def alone(day: Path) -> dict[tuple[int, int], Any]:
    reader = Reader(day, None, 0, 0)
    while reader.step():
        pass
    return reader.taken


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 30), min_size=2, max_size=4),
    st.lists(st.integers(0, 3), min_size=1, max_size=30),
    st.integers(0, 3),
    st.booleans(),
)
def test_who_scans_what_changes_nothing(
    day: Path,
    alone: dict[tuple[int, int], Any],
    firsts: list[int],
    turns: list[int],
    behind: int,
    is_copying: bool,
) -> None:
    last = max(number for number, _ in alone) + 1
    begins = [min(first, last) for first in firsts]
    with readers(day, begins, behind, is_copying=is_copying) as found:
        for turn in turns:
            found[turn % len(found)].step()
        finish(found)
        for process, reader in enumerate(found):
            mine = {
                place: block
                for place, block in alone.items()
                if place[0] >= begins[process] and place[1] % 8 % len(found) == process
            }
            assert reader.taken == mine


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.integers(0, 14), min_size=4, max_size=4), min_size=2, max_size=2),
    st.lists(st.integers(0, 1), max_size=60),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
@example([[6, 5, 6, 6], [5, 5, 5, 5]], [0, 1, 0, 0, *[1] * 60], (3, 0))
@example([[11, 0, 7, 10], [14, 13, 13, 1]], [1, 0] * 30, (1, 3))
def test_parts_that_resume_apart_keep_their_rows(
    day: Path,
    alone: dict[tuple[int, int], Any],
    firsts: list[list[int]],
    turns: list[int],
    behind: tuple[int, int],
) -> None:
    with readers(day, firsts, behind) as found:
        for turn in turns:
            found[turn].step()
        finish(found)
        for process, reader in enumerate(found):
            begins = dict(zip(range(process, 8, 2), firsts[process], strict=True))
            mine = {
                (number, shard): block
                for (number, shard), block in alone.items()
                if number >= begins.get(shard % 8, number + 1)
            }
            assert reader.taken == mine


def test_every_block_is_scanned_once_in_all(
    day: Path, alone: dict[tuple[int, int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned: list[int] = []
    monkeypatch.setattr("flows.file_scans.scan_raw", counting(scanned))
    count = max(number for number, _ in alone) + 1
    with readers(day, [0, 0]) as found:
        finish(found)
    assert sorted(scanned) == list(range(count))


def counting(scanned: list[int]) -> Any:
    def scan(block: Any, scanner: Any) -> LaneBlock:
        scanned.append(block.number)
        return scan_raw(block, scanner)

    return scan


def test_nothing_is_claimed_before_all_have_begun_nor_far_ahead_of_the_slowest(day: Path) -> None:
    with readers(day, [3, 5]) as (fast, slow):
        assert fast.step()
        assert fast.taken == {}
        slow.step()
        for _ in range(5 * SLOTS):
            assert fast.step()
        # The slow one has its first block, which stays for it until it comes for the next.
        assert fast.next_number == slow.next_number - 1 + SLOTS
        slow.step()
        fast.step()
        assert fast.next_number == slow.next_number - 1 + SLOTS


@pytest.mark.parametrize("room", [(64, 4096), (8192, 64)], ids=["rows", "lines"])
def test_a_block_that_does_not_fit_is_scanned_by_everybody(
    day: Path,
    alone: dict[tuple[int, int], Any],
    monkeypatch: pytest.MonkeyPatch,
    room: tuple[int, int],
) -> None:
    monkeypatch.setattr("flows.shared_scans._room_bytes", lambda _size: room)
    with readers(day, [0, 0]) as found:
        finish(found)
        taken = found[0].taken | found[1].taken
    assert taken == alone
    least = min(found, key=lambda reader: len(reader.source.numbers))
    assert set(least.source.numbers) >= {number for (number, _), told in alone.items() if told[1]}


def test_a_file_that_has_one_part_is_not_shared(tmp_path: Path) -> None:
    path = tmp_path / "day.ndjson"
    path.write_bytes(lines(story()))
    with open_memory(OPTION.block_bytes) as handle:
        assert handle is not None
        source = FileSource(path, OPTION._replace(shards=1))
        board = ScanBoard(handle, 2, 0, OPTION.block_bytes).clear()
        source.share(board, 0, Pace(1).done)
        turns = zip(source.items(0, 0), cycle([0]), strict=False)
        assert all(item is not None for item, _ in turns)


def test_where_files_may_not_be_so_large_there_is_none() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with open_memory(OPTION.block_bytes * 100) as handle:
            assert handle is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
