"""Sources give the same numbered blocks at every start, from wherever they start."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_parts import START_NS, dealt, lines, spell, story

from flows import adapters
from flows.edges.files import FileProblem
from flows.lanes import NEVER_NS, LaneBlock, ShardBlock, deal
from flows.merged_source import MergedSource
from flows.sources import (
    AdaptedSource,
    BytesSource,
    FileSource,
    ScanOptions,
    Source,
    in_order,
)
from schemas.columns import HashKey
from schemas.events import SECOND_NS

OPTIONS = ScanOptions(HashKey(1, 2), "default", 4096, batch_rows=10)
BAD = b'{"kind":"order.now"}\n'


def blocks_of(source: Source, first: int = 0) -> list[LaneBlock]:
    """Return all blocks from ``first`` on, whatever parts they come from, by number."""
    found = [item.scan() for part in range(source.parts) for item in source.items(part, first)]
    return sorted(found, key=lambda block: block.number)


def seen(block: LaneBlock) -> tuple[Any, ...]:
    """Return what must be the same at every start."""
    rows = block.columns.rows
    names = [name for name in rows.dtype.names if name not in {"line_start", "padding"}]
    return (
        block.number,
        [rows[name].tolist() for name in names],
        [block.columns.line(k) for k in range(len(rows))],
        block.rejected,
        block.times,
        block.is_absolute,
        block.is_last,
        block.skipped_fields,
    )


def damaged() -> bytes:
    """Give the story with refused lines at the beginning, in the middle and at the end."""
    told = lines(story()).split(b"\n")
    return b"\n".join([b"", *told[:40], b"{", *told[40:-1], b"x", b"[1]"])


Make = Callable[[Path], Source]


def plain(folder: Path) -> Source:
    path = folder / "a.ndjson"
    path.write_bytes(damaged())
    return FileSource(path, OPTIONS)


def packed(folder: Path) -> Source:
    path = folder / "a.ndjson.gz"
    path.write_bytes(gzip.compress(damaged()))
    return FileSource(path, OPTIONS)


def made(folder: Path) -> Source:
    del folder
    pieces = damaged().splitlines(keepends=True)
    blocks = [b"".join(pieces[k : k + 9]) for k in range(0, len(pieces), 9)]
    return BytesSource("sim", lambda _first: iter(blocks), OPTIONS)


def adapted(folder: Path) -> Source:
    path = folder / "a.ndjson"
    path.write_bytes(damaged())
    small = adapters.AdapterOptions(block_bytes=4096)
    return AdaptedSource(path, adapters.by_name("ndjson"), small, OPTIONS)


def merged(folder: Path) -> Source:
    sources = []
    for k, part in enumerate(dealt(story(), 3)):
        path = folder / f"{k}.ndjson"
        path.write_bytes(BAD + lines(part[:9]) + BAD + lines(part[9:]) + BAD)
        sources.append(FileSource(path, OPTIONS))
    return MergedSource(sources, OPTIONS)


EVERY = [plain, packed, made, adapted, merged]


@pytest.mark.parametrize("make", EVERY)
def test_blocks_are_numbered_without_gaps_and_only_the_last_says_so(
    make: Make, tmp_path: Path
) -> None:
    blocks = blocks_of(make(tmp_path))
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert [block.is_last for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert sum(len(block.columns) for block in blocks) == len(story())
    assert len(blocks) > 3


@pytest.mark.parametrize("make", EVERY)
def test_a_resumed_source_gives_the_same_blocks(make: Make, tmp_path: Path) -> None:
    whole = [seen(block) for block in blocks_of(make(tmp_path))]
    for first in range(len(whole) + 1):
        assert [seen(block) for block in blocks_of(make(tmp_path), first)] == whole[first:]


@pytest.mark.parametrize("make", EVERY)
def test_every_part_has_every_block(make: Make, tmp_path: Path) -> None:
    source = make(tmp_path)
    numbers = [item.number for item in in_order(source)]
    for part in range(source.parts):
        assert [item.number for item in source.items(part, 0)] == numbers


def test_the_parts_of_a_plain_file_have_each_shard_of_a_block_once(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(damaged())
    source = FileSource(path, OPTIONS._replace(shards=32))
    whole = [deal(item.scan(), 32) for item in in_order(source)]
    assert source.parts == 8
    # One part far behind another, as after a crash in a barrier.
    items = [list(source.items(part, 0)) for part in range(8)]
    found: dict[int, list[ShardBlock]] = {}
    for part in (3, 0, 1, 2, 7, 6, 5, 4):
        for item in items[part]:
            block = item.scan()
            block.read_ns = 5
            dealt_out = deal(block, 32)
            assert {one.read_ns for one in dealt_out} == {5}
            assert {one.shard % 8 for one in dealt_out} == {part}
            found.setdefault(item.number, []).extend(dealt_out)
    for number, expected in enumerate(whole):
        mine = sorted(found[number], key=lambda one: one.shard)
        assert [one.shard for one in mine] == list(range(32))
        for one, other in zip(mine, expected, strict=True):
            assert one.rejected == other.rejected
            assert [one.columns.line(k) for k in range(len(one.columns))] == [
                other.columns.line(k) for k in range(len(other.columns))
            ]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.sampled_from([b"", b"{", BAD.strip(), *lines(story()[:6]).split(b"\n")]), min_size=1
    ),
    st.integers(40, 900),
)
def test_any_block_size_gives_every_line_once_in_place(
    tmp_path: Path, told: list[bytes], block_bytes: int
) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"\n".join(told) + b"\n")
    source = FileSource(path, OPTIONS._replace(block_bytes=block_bytes))
    offset, places = 0, {}
    for number, line in enumerate(told):
        places[offset] = (number, line)
        offset += len(line) + 1
    found: list[int] = []
    lines_before = 0
    for block in blocks_of(source):
        for _, r in block.rejected:
            assert places[r.byte_offset] == (lines_before + r.line_number, r.raw)
            found.append(lines_before + r.line_number)
        for k, row in enumerate(block.columns.rows):
            number = lines_before + int(row["line_number"])
            assert told[number] == block.columns.line(k)
            found.append(number)
        lines_before += block.times.line_count
    assert sorted(found) == list(range(len(told)))


def test_merged_lanes_keep_their_refused_lines_with_lane_and_line(tmp_path: Path) -> None:
    blocks = blocks_of(merged(tmp_path))
    found = sorted((lane, r.line_number) for block in blocks for lane, r in block.rejected)
    sizes = [len(part) for part in dealt(story(), 3)]
    assert found == sorted(
        (lane, line) for lane, size in enumerate(sizes) for line in (0, 10, size + 2)
    )


def test_merged_rows_know_their_lane_and_line_and_come_by_time(tmp_path: Path) -> None:
    source = merged(tmp_path)
    parts = [[BAD, *part[:9], BAD, *part[9:], BAD] for part in dealt(story(), 3)]
    times = []
    for block in blocks_of(source):
        for k, row in enumerate(block.columns.rows):
            event = parts[int(row["lane"])][int(row["line_number"])]
            assert block.columns.line(k) + b"\n" == spell(event)
            times.append(int(row["event_time_ns"]))
    assert times == sorted(times)
    assert source.lane_names == ("0.ndjson", "1.ndjson", "2.ndjson")


def test_files_of_one_name_are_lanes_of_different_names(tmp_path: Path) -> None:
    sources = []
    for k, part in enumerate(dealt(story(), 2)):
        path = tmp_path / str(k) / "a.ndjson"
        path.parent.mkdir()
        path.write_bytes(lines(part))
        sources.append(FileSource(path, OPTIONS))
    assert MergedSource(sources, OPTIONS).lane_names == ("a.ndjson#0", "a.ndjson#1")


def at(seconds: float) -> dict[str, Any]:
    return story()[0] | {"event_time_ns": START_NS + round(seconds * SECOND_NS)}


def test_merged_time_waits_for_the_lane_furthest_behind(tmp_path: Path) -> None:
    """One lane's clock runs an hour ahead once; its later rows are not late, so they count."""
    ahead = [at(0), at(3_600), *(at(k) for k in range(1, 40))]
    steady = [at(k) for k in range(0, 4_000, 100)]
    sources = []
    for name, told in (("ahead", ahead), ("steady", steady)):
        path = tmp_path / name
        path.write_bytes(lines(told))
        sources.append(FileSource(path, OPTIONS))
    reached, to_come = NEVER_NS, {0: list(ahead), 1: list(steady)}
    for block in blocks_of(MergedSource(sources, OPTIONS)):
        for row in block.columns.rows:
            assert int(row["event_time_ns"]) >= reached - SECOND_NS
            to_come[int(row["lane"])].pop(0)
        reached = max(reached, block.times.high_ns)
    assert to_come == {0: [], 1: []}
    assert reached > START_NS


def test_a_lane_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    sources = []
    for name, seconds in (("short", range(5)), ("long", range(0, 600, 10))):
        path = tmp_path / name
        path.write_bytes(lines([at(k) for k in seconds]))
        sources.append(FileSource(path, OPTIONS))
    times = [block.times.high_ns for block in blocks_of(MergedSource(sources, OPTIONS))]
    assert times[-2] >= START_NS + 500 * SECOND_NS


def test_refused_adapted_lines_of_one_original_line_have_places_of_their_own(
    tmp_path: Path,
) -> None:
    class Doubling:
        name, anonymous, default_calendar = "doubling", False, "XSHG"

        def recognises(self, first_bytes: bytes) -> bool:
            return bool(first_bytes)

        def adapt(
            self, path: Path, options: adapters.AdapterOptions
        ) -> Iterator[adapters.AdaptedBlock]:
            del options
            for block in adapters.by_name("ndjson").adapt(path, adapters.AdapterOptions()):
                origin = block.origin_lines.copy()
                origin[:] = 5
                yield adapters.AdaptedBlock(block.raw, origin)

    path = tmp_path / "a.ndjson"
    path.write_bytes(BAD * 3)
    source = AdaptedSource(path, Doubling(), adapters.AdapterOptions(), OPTIONS)
    refused = [r for block in blocks_of(source) for _, r in block.rejected]
    assert [r.line_number for r in refused] == [5, 5, 5]
    assert len({r.byte_offset for r in refused}) == 3
    assert {r.stage for r in refused} == {"adapt"}


@pytest.mark.parametrize("make", [plain, packed, adapted, merged])
def test_a_byte_order_mark_is_noted_and_harms_nothing(make: Make, tmp_path: Path) -> None:
    without = make(tmp_path)
    assert without.notes == ()
    count = sum(len(block.columns) for block in blocks_of(without))
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + gzip.decompress(data)))
        else:
            path.write_bytes(b"\xef\xbb\xbf" + data)
    source = _again(without, tmp_path)
    assert all("starts with a byte order mark, which was left out" in n for n in source.notes)
    assert len(source.notes) == len(source.lane_names)
    assert sum(len(block.columns) for block in blocks_of(source)) == count


def _again(source: Source, folder: Path) -> Source:
    paths = sorted(folder.iterdir())
    if isinstance(source, MergedSource):
        return MergedSource([FileSource(path, OPTIONS) for path in paths], OPTIONS)
    if isinstance(source, AdaptedSource):
        options = adapters.AdapterOptions()
        return AdaptedSource(paths[0], adapters.by_name("ndjson"), options, OPTIONS)
    return FileSource(paths[0], OPTIONS)


def test_an_empty_file_is_refused_and_an_empty_stream_ends(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with pytest.raises(FileProblem):
        FileSource(path, OPTIONS)
    (block,) = blocks_of(BytesSource("sim", lambda _first: iter(()), OPTIONS))
    assert (len(block.columns), block.is_last, block.number) == (0, True, 0)


def test_a_file_of_refused_lines_only_still_ends(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(BAD * 3)
    sources = [FileSource(path, OPTIONS), FileSource(path, OPTIONS)]
    for source in (sources[0], MergedSource(sources, OPTIONS)):
        blocks = blocks_of(source)
        assert sum(len(block.rejected) for block in blocks) == 3 * len(source.lane_names)
        assert blocks[-1].is_last


def test_a_lane_may_be_called_otherwise_than_its_file(tmp_path: Path) -> None:
    path = tmp_path / "new-name"
    path.write_bytes(BAD)
    assert FileSource(path, OPTIONS, "first-name").lane_names == ("first-name",)
