from pathlib import Path

import pytest
from ledger_logs import make_log

from ledger.bundles import (
    bundle_path,
    clear_temporary,
    decode_bundle,
    encode_bundle,
    list_bundles,
    parse_path,
    put_bundle,
    read_bundle,
)
from ledger.errors import LedgerDamaged
from ledger.verify.files import _bundle_name, _parse_bundle


@pytest.mark.parametrize(
    ("number", "width", "path"),
    [
        (0, 256, "000"),
        (0, 1, "000.p/1"),
        (999, 255, "999.p/255"),
        (1000, 256, "x001/000"),
        (1234067, 256, "x001/x234/067"),
        (1234067, 8, "x001/x234/067.p/8"),
    ],
)
def test_bundles_lie_where_the_tile_layout_puts_them(number: int, width: int, path: str) -> None:
    assert bundle_path(number, width).as_posix() == f"tile/entries/{path}"
    assert _bundle_name(number, width) == f"tile/entries/{path}"
    assert parse_path(path) == _parse_bundle(f"tile/entries/{path}") == (number, width)


@pytest.mark.parametrize(
    "path",
    ["0", "0000", "x000/000", "000.p/0", "000.p/256", "000.p/01", "000/1", "001/000", "000.tmp"],
)
def test_other_names_are_no_bundles(path: str) -> None:
    assert parse_path(path) is None
    assert _parse_bundle(f"tile/entries/{path}") is None


def test_entries_follow_their_lengths() -> None:
    data = encode_bundle([b"", b"ab", b"x" * 65_535])
    assert data[:6] == b"\0\0\0\2ab"
    assert decode_bundle(data, "here") == [b"", b"ab", b"x" * 65_535]


@pytest.mark.parametrize(("data", "where"), [(b"\0", "inside a length"), (b"\0\2a", "an entry")])
def test_a_torn_bundle_is_refused(data: bytes, where: str) -> None:
    with pytest.raises(LedgerDamaged, match=where):
        decode_bundle(data, "here")


def test_writing_a_bundle_twice_changes_nothing_and_other_bytes_are_fatal(tmp_path: Path) -> None:
    put_bundle(tmp_path, 1000, [b"a", b"b"])
    put_bundle(tmp_path, 1000, [b"a", b"b"])
    assert list(list_bundles(tmp_path)) == [(1000, 2)]
    with pytest.raises(LedgerDamaged, match="differs from what was committed"):
        put_bundle(tmp_path, 1000, [b"a", b"c"])


def test_a_missing_or_short_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerDamaged, match="is missing"):
        read_bundle(tmp_path, 0)
    make_log(tmp_path, 256)
    short = tmp_path / bundle_path(0)
    short.write_bytes(encode_bundle(decode_bundle(short.read_bytes(), "")[:255]))
    with pytest.raises(LedgerDamaged, match="holds 255 entries"):
        read_bundle(tmp_path, 0)


def test_a_foreign_file_among_the_bundles_is_refused(tmp_path: Path) -> None:
    make_log(tmp_path, 2)
    tmp_path.joinpath("tile/entries/notes.txt").write_text("mine")
    with pytest.raises(LedgerDamaged, match="does not belong there"):
        list(list_bundles(tmp_path))


def test_what_a_crash_left_half_written_is_removed(tmp_path: Path) -> None:
    tmp_path.joinpath("tmp").mkdir()
    tmp_path.joinpath("tmp/3-256").write_bytes(b"half")
    clear_temporary(tmp_path)
    assert not list(tmp_path.joinpath("tmp").iterdir())
