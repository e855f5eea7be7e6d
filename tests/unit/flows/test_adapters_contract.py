"""Facts about finding adapters and telling formats apart."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from flows import adapters
from flows.adapters import AdapterOptions
from flows.edges.files import FileProblem
from schemas.columns import HashKey
from schemas.scan import Scanner

EVENT = {
    "kind": "order.expire",
    "source": "test",
    "event_id": "1",
    "event_time_ns": 1_700_000_000_000_000_000,
    "account_id": "a",
    "order_id": "o",
}
NDJSON = json.dumps(EVENT).encode() + b"\n"
HYPERLIQUID = b'{"block_number":1,"events":[]}\n'
SSE = b"SecurityID,Date,Time,SourceType,Type,Price,Qty,BSFlag,BuyNo,SellNo,ApplSeqNum,ChannelNo\n"


def written(folder: Path, data: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(data)
    return path


def test_adapters_are_the_files_of_the_package() -> None:
    folder = Path(adapters.__file__).parent
    found = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert set(adapters.names()) == found == {"hyperliquid", "ndjson", "sse"}


def test_every_adapter_bears_its_files_name_and_a_known_calendar() -> None:
    for name in adapters.names():
        adapter = adapters.by_name(name)
        assert adapter.name == name
        assert adapter.default_calendar in {"XSHG", "24/7"}
    assert [n for n in adapters.names() if adapters.by_name(n).anonymous] == ["sse"]


@pytest.mark.parametrize("name", ["fix", "", "_csv", "../sse", "sse.ADAPTER", "auto"])
def test_an_unknown_format_is_told_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match="choose one of hyperliquid, ndjson, sse"):
        adapters.by_name(name)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (NDJSON, "ndjson"),
        (HYPERLIQUID, "hyperliquid"),
        (SSE, "sse"),
        (b"\xef\xbb\xbf" + SSE, "sse"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_formats_are_told_by_content(tmp_path: Path, data: bytes, name: str, packed: bool) -> None:
    path = written(tmp_path, gzip.compress(data) if packed else data)
    assert adapters.guess_format(path) == name
    assert adapters.choose("auto", path).name == name
    assert adapters.choose(name, path).name == name


def test_a_wrong_format_is_told_with_the_right_one(tmp_path: Path) -> None:
    path = written(tmp_path, SSE)
    with pytest.raises(FileProblem, match=r"does not look like hyperliquid.*use --format sse"):
        adapters.choose("hyperliquid", path)


def test_a_file_of_no_format_is_told_by_its_beginning(tmp_path: Path) -> None:
    path = written(tmp_path, b"Dear all,\nplease find attached\n")
    with pytest.raises(FileProblem, match=r"none of our formats .*Dear all,.*--format"):
        adapters.guess_format(path)


def test_a_damaged_file_keeps_the_format_it_was_given(tmp_path: Path) -> None:
    path = written(tmp_path, b"rubbish\n" + NDJSON)
    assert adapters.choose("ndjson", path).name == "ndjson"


@pytest.mark.parametrize("name", ["ndjson", "hyperliquid"])
def test_overlay_accounts_are_for_anonymous_sources(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, NDJSON)
    options = AdapterOptions(accounts="overlay:1:10")
    with pytest.raises(ValueError, match="leave out --accounts"):
        list(adapters.by_name(name).adapt(path, options))


@pytest.mark.parametrize("block_bytes", [1, 50, 10**6])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n\n"])
def test_ndjson_lines_pass_as_they_are(tmp_path: Path, block_bytes: int, ending: bytes) -> None:
    data = NDJSON * 3 + NDJSON.strip() + ending
    path = written(tmp_path, data)
    blocks = list(adapters.by_name("ndjson").adapt(path, AdapterOptions(block_bytes=block_bytes)))
    assert b"".join(block.raw.tobytes() for block in blocks) == data
    lines = np.concatenate([block.origin_lines for block in blocks])
    assert lines.tolist() == list(range(4 + (ending == b"\n\n")))
    scanner = Scanner(HashKey())
    scanned = [scanner.scan(block.raw) for block in blocks if len(block.raw)]
    assert sum(len(s.columns) for s in scanned) == 4
    for block in blocks:
        in_block = scanner.scan(block.raw).line_count if len(block.raw) else 0
        assert in_block == len(block.origin_lines)


def test_truncated_gzip_is_refused_at_its_place(tmp_path: Path) -> None:
    packed = gzip.compress(NDJSON * 3)
    path = written(tmp_path, packed[:-8])
    *_, last = adapters.by_name("ndjson").adapt(path, AdapterOptions(block_bytes=100))
    (torn,) = last.rejected
    assert (torn.reason, torn.line_number) == ("torn_record", 3)
    assert torn.byte_offset == 3 * len(NDJSON)
