"""Facts about reading bounded files block by block."""

import gzip
import hashlib
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flows.edges import files
from flows.edges.files import FileBlocks, FileProblem

LINES = [b"line %d %s" % (n, b"x" * (n * 7 % 50)) for n in range(400)]
TEXT = b"\n".join(LINES) + b"\n"


def naive_blocks(text: bytes, block_bytes: int) -> list[bytes]:
    blocks = [b""] * max(1, -(-len(text) // block_bytes))
    start = 0
    for line in text.splitlines(keepends=True):
        blocks[start // block_bytes] += line
        start += len(line)
    return blocks


def written(folder: Path, data: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read_all(path: Path, block_bytes: int) -> list[files.RawBlock]:
    with FileBlocks(path, block_bytes) as blocks:
        return list(blocks.blocks())


def test_every_line_is_in_the_block_it_starts_in(tmp_path: Path) -> None:
    for block_bytes in (1, 7, 64, 1000, 10**6):
        blocks = read_all(written(tmp_path, TEXT), block_bytes)
        assert [bytes(b.raw) for b in blocks] == naive_blocks(TEXT, block_bytes)
        assert [b.is_last for b in blocks] == [False] * (len(blocks) - 1) + [True]
        assert [b.number for b in blocks] == list(range(len(blocks)))
        for block in blocks:
            stop = block.byte_offset + len(block.raw)
            assert bytes(block.raw) == TEXT[block.byte_offset : stop]


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\n\n", b"ccccccccc"]), min_size=1),
    block_bytes=st.integers(1, 12),
    packed=st.booleans(),
)
def test_any_text_is_cut_as_by_the_naive_cutter(
    tmp_path: Path, text: list[bytes], block_bytes: int, packed: bool
) -> None:
    data = b"".join(text)
    path = written(tmp_path, gzip.compress(data) if packed else data)
    blocks = read_all(path, block_bytes)
    assert [bytes(b.raw) for b in blocks] == naive_blocks(data, block_bytes)
    assert all(b.torn is None for b in blocks)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.lists(st.sampled_from([b"\xef\xbb\xbf", b"a", b"bb", b"\n", b"c" * 9]), min_size=1),
    block_bytes=st.integers(1, 12),
    room=st.integers(0, 40),
    edge=st.integers(1, 12),
)
@example(text=[b"\xef\xbb\xbf", b"\xef\xbb\xbf", b"\n", b"a"], block_bytes=4, room=1, edge=2)
def test_what_is_read_into_room_is_what_is_read(
    tmp_path: Path, text: list[bytes], block_bytes: int, room: int, edge: int
) -> None:
    path = written(tmp_path, b"".join(text))
    with pytest.MonkeyPatch.context() as patch, FileBlocks(path, block_bytes) as blocks:
        patch.setattr(files, "_EDGE_BYTES", edge)
        for number in range(blocks.count() or 0):
            read = blocks.read(number)
            target = np.zeros(room, np.uint8)
            placed = blocks.read_into(number, target)
            if placed is None:
                # Of the whole file: the line before the block may be what was too long to look at.
                longest = max(map(len, b"".join(text).split(b"\n"))) + 1
                assert len(read.raw) > room or longest >= edge or len(read.raw) == 0
                continue
            assert not len(placed.raw) or np.shares_memory(placed.raw, target)
            assert (bytes(placed.raw), placed.byte_offset, placed.is_last) == (
                bytes(read.raw),
                read.byte_offset,
                read.is_last,
            )


def test_a_line_that_may_have_to_be_cut_is_not_read_into_room(tmp_path: Path) -> None:
    path = written(tmp_path, b"short\n" + b"x" * 100_000 + b"\nshort\n")
    with FileBlocks(path, 50_000) as blocks:
        assert blocks.read_into(0, np.zeros(200_000, np.uint8)) is None
        assert blocks.read_into(1, np.zeros(200_000, np.uint8)) is None  # no line starts in it
        last = blocks.read_into(2, np.zeros(200_000, np.uint8))
        assert last is not None
        assert bytes(last.raw) == b"short\n"


@pytest.mark.parametrize("packed", [False, True])
def test_blocks_can_be_read_in_any_order(tmp_path: Path, packed: bool) -> None:
    path = written(tmp_path, gzip.compress(TEXT) if packed else TEXT)
    expected = naive_blocks(TEXT, 500)
    order = list(range(len(expected)))
    random.Random(5).shuffle(order)
    with FileBlocks(path, 500, lane=3) as blocks:
        for number in order:
            block = blocks.read(number)
            assert (block.lane, bytes(block.raw)) == (3, expected[number])


def test_count_is_known_for_a_plain_file_only(tmp_path: Path) -> None:
    with FileBlocks(written(tmp_path, TEXT), 500) as blocks:
        assert blocks.count() == len(naive_blocks(TEXT, 500))
    with FileBlocks(written(tmp_path, gzip.compress(TEXT)), 500) as blocks:
        assert blocks.count() is None


def test_beyond_the_end_there_are_empty_blocks(tmp_path: Path) -> None:
    with FileBlocks(written(tmp_path, TEXT), 500) as blocks:
        block = blocks.read(10_000)
    assert len(block.raw) == 0
    assert block.is_last


def test_blocks_are_writable_arrays(tmp_path: Path) -> None:
    (block,) = read_all(written(tmp_path, TEXT), 10**6)
    assert block.raw.dtype == np.uint8
    assert block.raw.flags.writeable


def test_a_last_line_without_line_feed_is_kept(tmp_path: Path) -> None:
    assert bytes(read_all(written(tmp_path, b"a\nb"), 100)[0].raw) == b"a\nb"


def test_carriage_returns_are_left_to_the_scanner(tmp_path: Path) -> None:
    assert bytes(read_all(written(tmp_path, b"a\r\nb\r\n"), 100)[0].raw) == b"a\r\nb\r\n"


def test_a_byte_order_mark_is_left_out_and_noted(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfa\nb\n")
    for block_bytes in (1, 2, 4, 100):
        blocks = read_all(path, block_bytes)
        assert b"".join(bytes(b.raw) for b in blocks) == b"a\nb\n"
    with FileBlocks(path) as file:
        assert file.read(0).byte_offset == 3
        assert "byte order mark" in file.notes[0]
    with FileBlocks(written(tmp_path, b"a\n", "plain")) as file:
        assert file.notes == ()


def test_an_overlong_line_is_cut_and_its_neighbours_kept(tmp_path: Path) -> None:
    text = b"before\n" + b"x" * 5000 + b"\nafter\n"
    path = written(tmp_path, text)
    with FileBlocks(path, 100, line_bytes_max=300) as file:
        blocks = list(file.blocks())
    assert bytes(blocks[0].raw) == b"before\n" + b"x" * 301
    assert bytes(blocks[-1].raw) == b"after\n"
    assert all(len(b.raw) == 0 for b in blocks[1:-1])


def test_a_line_of_exactly_the_longest_size_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path, b"y" * 300 + b"\nz\n")
    with FileBlocks(path, 100, line_bytes_max=300) as file:
        assert bytes(file.read(0).raw) == b"y" * 300 + b"\n"


def test_gzip_members_one_after_another_are_one_text(tmp_path: Path) -> None:
    packed = b"".join(gzip.compress(TEXT[i : i + 777]) for i in range(0, len(TEXT), 777))
    for tail in (b"", b"\0" * 100):
        blocks = read_all(written(tmp_path, packed + tail), 1000)
        assert b"".join(bytes(b.raw) for b in blocks) == TEXT
        assert blocks[-1].torn is None


def test_truncated_gzip_keeps_the_good_lines_and_says_so(tmp_path: Path) -> None:
    noise = random.Random(1)
    text = b"".join(b"%032x\n" % noise.getrandbits(128) for _ in range(20_000))
    packed = gzip.compress(text)
    blocks = read_all(written(tmp_path, packed[: len(packed) // 2]), 50_000)
    got = b"".join(bytes(b.raw) for b in blocks)
    assert text.startswith(got)
    assert len(got) > len(text) * 0.45
    torn = blocks[-1].torn
    assert torn is not None
    assert torn.reason == "torn_record"
    assert "stop in the middle" in torn.sentence
    assert all(b.torn is None for b in blocks[:-1])


def test_truncated_gzip_loses_nothing_that_was_packed_tightly(tmp_path: Path) -> None:
    text = (b"0" * 1023 + b"\n") * 3000
    path = written(tmp_path, gzip.compress(text)[:-8])
    blocks = read_all(path, 10**7)
    assert bytes(blocks[0].raw) == text
    assert blocks[0].torn is not None


def test_damaged_gzip_gives_every_byte_before_the_damage(tmp_path: Path) -> None:
    stored = gzip.compress(TEXT, compresslevel=0)
    damaged = stored[:-8] + bytes(8)  # the check sum and the size
    (block,) = read_all(written(tmp_path, damaged), 10**6)
    assert bytes(block.raw) == TEXT
    assert block.torn is not None
    assert "damaged gzip data" in block.torn.sentence
    assert block.torn.line_number == len(LINES)


def test_rubbish_after_gzip_is_told(tmp_path: Path) -> None:
    (block,) = read_all(written(tmp_path, gzip.compress(TEXT) + b"rubbish"), 10**6)
    assert bytes(block.raw) == TEXT
    assert block.torn is not None
    assert "other bytes after" in block.torn.sentence


def test_gzip_is_unpacked_within_bounded_memory(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress((b"0" * 99 + b"\n") * 500_000))
    with FileBlocks(path, 100_000) as file:
        held = [len(file._bytes._buffer) for _ in file.blocks()]  # type: ignore[attr-defined]
    assert len(held) >= 500
    assert max(held) < 100_000 + 2 * 1024 * 1024


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return path


def test_a_zip_of_one_file_is_read_as_that_file(tmp_path: Path) -> None:
    blocks = read_all(zipped(tmp_path / "one.zip", "a.csv"), 1000)
    assert [bytes(b.raw) for b in blocks] == naive_blocks(TEXT, 1000)


def test_a_damaged_zip_is_told(tmp_path: Path) -> None:
    path = tmp_path / "one.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", TEXT * 30)
    data = bytearray(path.read_bytes())
    data[len(TEXT) * 20] ^= 0xFF
    blocks = read_all(written(tmp_path, bytes(data)), 10**6)
    assert len(blocks[0].raw) > 0
    torn = blocks[-1].torn
    assert torn is not None
    assert "damaged zip data" in torn.sentence


def problem(path: Path) -> str:
    with pytest.raises(FileProblem) as caught:
        FileBlocks(path)
    with pytest.raises(FileProblem):
        files.head(path)
    return str(caught.value)


def test_unusable_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    assert "There is no file" in problem(tmp_path / "missing")
    assert "is a folder" in problem(tmp_path)
    assert "is empty" in problem(written(tmp_path, b""))
    assert "holds nothing once unpacked" in problem(written(tmp_path, gzip.compress(b"")))
    assert "UTF-16" in problem(written(tmp_path, '{"a":1}\n'.encode("utf-16")))
    assert "UTF-16" in problem(written(tmp_path, '{"a":1}\n'.encode("utf-16-le")))
    assert "UTF-16" in problem(written(tmp_path, '{"a":1}\n'.encode("utf-16-be")))
    assert "zstd" in problem(written(tmp_path, b"\x28\xb5\x2f\xfd....."))
    assert "stop in the middle" in problem(written(tmp_path, gzip.compress(TEXT)[:12]))
    assert "holds 2 files" in problem(zipped(tmp_path / "two.zip", "a", "b"))
    assert "cannot be unpacked" in problem(written(tmp_path, b"PK\x03\x04rubbish"))
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in problem(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_without_permission_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    path.chmod(0)
    assert "may not be read" in problem(path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    with FileBlocks(path, 500) as file:
        path.write_bytes(TEXT[:600])
        with pytest.raises(FileProblem, match="became shorter"):
            file.read(3)


def test_content_hash_is_sha_256_of_the_bytes_on_disk(tmp_path: Path) -> None:
    packed = gzip.compress(TEXT)
    assert files.content_hash(written(tmp_path, packed)) == hashlib.sha256(packed).hexdigest()
    with pytest.raises(FileProblem, match="There is no file"):
        files.content_hash(tmp_path / "missing")


def test_whole_refuses_what_is_too_large_to_sort(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    assert bytes(files.whole(path).raw) == TEXT
    with pytest.raises(FileProblem, match="must be sorted in memory"):
        files.whole(path, size_max=100)
