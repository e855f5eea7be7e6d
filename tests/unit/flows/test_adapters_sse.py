"""Facts about Shanghai orders and trades. The samples here are invented."""

import gzip
import json
import os
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows import adapters
from flows.adapters import AdaptedBlock, AdapterOptions, _csv
from flows.adapters._overlay import Overlay
from flows.edges.files import FileProblem
from schemas.columns import KIND_CODES, HashKey
from schemas.scan import Scanner

SAMPLE = "sse_orders_and_trades_2023-07-11.zip"
HEADER = "SecurityID,Date,Time,SourceType,Type,Price,Qty,BSFlag,BuyNo,SellNo,ApplSeqNum,ChannelNo"
# Two invented stocks, stock by stock, orders before trades; order 30 trades 100 on arrival.
NEW_10 = "600001.SH,2024.01.02,09:30:00.010,0,2,100000,500,1,10,10,1,1"
CANCEL_10 = "600001.SH,2024.01.02,09:30:05.000,0,10,100000,400,1,10,10,9,1"
REST_30 = "600001.SH,2024.01.02,09:30:02.000,0,2,100000,300,2,30,30,6,1"
NEW_20 = "600002.SH,2024.01.02,09:30:01.000,0,2,123456,700,2,20,20,3,1"
TRADE = "600001.SH,2024.01.02,09:30:02.000,1,0,100000,100,2,10,30,5,1"
AUCTION = "600002.SH,2024.01.02,09:25:00.000,1,0,123400,200,0,2,3,2,1"
RECORDS = [NEW_10, CANCEL_10, REST_30, NEW_20, TRADE, AUCTION]


def csv(*records: str, ending: str = "\n") -> bytes:
    return "".join(record + ending for record in (HEADER, *records)).encode()


def adapt(folder: Path, data: bytes, **options: Any) -> list[AdaptedBlock]:
    path = folder / "file"
    path.write_bytes(data)
    return list(adapters.by_name("sse").adapt(path, AdapterOptions(**options)))


def events(blocks: list[AdaptedBlock]) -> list[dict[str, Any]]:
    return [json.loads(line) for b in blocks for line in b.raw.tobytes().splitlines()]


def refused(blocks: list[AdaptedBlock]) -> list[tuple[str, int, str]]:
    return [(r.reason, r.line_number, r.path) for b in blocks for r in b.rejected]


def accepted(blocks: list[AdaptedBlock]) -> int:
    scanner = Scanner(HashKey(), anonymous=True)
    return sum(len(scanner.scan(b.raw).columns) for b in blocks if len(b.raw))


def test_a_new_order_a_cancel_and_a_trade_become_our_events(tmp_path: Path) -> None:
    blocks = adapt(tmp_path, csv(NEW_10, CANCEL_10, TRADE))
    new, buy, sell, cancel = events(blocks)
    start = 1_704_159_000 * 10**9  # 2024-01-02 09:30 in Shanghai
    assert new == {
        "kind": "order.new",
        "source": "sse",
        "event_id": "20240102-1-1-new",
        "event_time_ns": start + 10_000_000,
        "order_id": "20240102-1-10",
        "instrument": "600001.SH",
        "venue": "XSHG",
        "side": "buy",
        "quantity": 500,
        "price": 10.0,
    }
    assert cancel == {
        "kind": "order.cancel",
        "source": "sse",
        "event_id": "20240102-1-9-cancel",
        "event_time_ns": start + 5 * 10**9,
        "order_id": "20240102-1-10",
        "quantity": 400,
        "reason": "unknown",
    }
    assert buy == {
        "kind": "fill",
        "source": "sse",
        "event_id": "20240102-1-5-buy",
        "event_time_ns": start + 2 * 10**9,
        "order_id": "20240102-1-10",
        "fill_id": "20240102-1-5-buy",
        "instrument": "600001.SH",
        "venue": "XSHG",
        "side": "buy",
        "price": 10.0,
        "quantity": 100,
        "liquidity": "maker",
    }
    assert (sell["order_id"], sell["side"]) == ("20240102-1-30", "sell")
    assert (sell["event_id"], sell["liquidity"]) == ("20240102-1-5-sell", "taker")
    assert accepted(blocks) == 4


@pytest.mark.parametrize(
    ("units", "text"), [(1, "0.0001"), (123456, "12.3456"), (20_000_000, "2000.0000")]
)
def test_prices_are_exact(tmp_path: Path, units: int, text: str) -> None:
    (_, block) = adapt(tmp_path, csv(NEW_10.replace("100000", str(units))))
    assert f'"price":{text}'.encode() in block.raw.tobytes()


def test_an_order_without_price_is_a_market_order(tmp_path: Path) -> None:
    blocks = adapt(tmp_path, csv(NEW_10.replace("100000", "0")))
    (event,) = events(blocks)
    assert event["order_type"] == "market"
    assert "price" not in event
    assert accepted(blocks) == 1


def test_auction_fills_are_neither_maker_nor_taker(tmp_path: Path) -> None:
    assert [e["liquidity"] for e in events(adapt(tmp_path, csv(AUCTION)))] == ["auction"] * 2


def test_stocks_are_merged_by_time_and_ties_by_the_exchanges_sequence(tmp_path: Path) -> None:
    blocks = adapt(tmp_path, csv(*RECORDS))
    # Order 30 trades on arrival: its fills first, then the order record with what is left.
    assert [e["event_id"].split("-", 2)[2] for e in events(blocks)] == [
        *("2-buy", "2-sell", "1-new", "3-new"),
        *("5-buy", "5-sell", "6-new", "9-cancel"),
    ]
    lines = np.concatenate([b.origin_lines for b in blocks])
    assert lines.tolist() == [6, 6, 1, 4, 5, 5, 3, 2]


@pytest.mark.parametrize("block_lines", [1, 2, 5, 100])
@pytest.mark.parametrize("accounts", ["", "overlay:3:5"])
def test_block_size_changes_nothing(tmp_path: Path, block_lines: int, accounts: str) -> None:
    whole = adapt(tmp_path, csv(*RECORDS), accounts=accounts)
    cut = adapt(tmp_path, csv(*RECORDS), block_lines=block_lines, accounts=accounts)
    assert events(cut) == events(whole)
    for block in cut:
        assert block.raw.tobytes().count(b"\n") == len(block.origin_lines)


def zipped(folder: Path, data: bytes) -> bytes:
    path = folder / "packed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("records.csv", data)
    return path.read_bytes()


def test_plain_zip_gzip_crlf_and_byte_order_mark_read_the_same(tmp_path: Path) -> None:
    data = csv(*RECORDS)
    expected = events(adapt(tmp_path, data))
    for other in (
        zipped(tmp_path, data),
        gzip.compress(data),
        csv(*RECORDS, ending="\r\n"),
        b"\xef\xbb\xbf" + data,
        data.removesuffix(b"\n"),
    ):
        blocks = adapt(tmp_path, other)
        assert events(blocks) == expected
        assert refused(blocks) == []


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    turned = "\n".join(
        ",".join([*reversed(record.split(",")), "extra"]) for record in (HEADER, *RECORDS)
    )
    blocks = adapt(tmp_path, turned.encode())
    assert events(blocks) == events(adapt(tmp_path, csv(*RECORDS)))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileProblem, match="has no column Qty, ChannelNo"):
        adapt(tmp_path, csv().replace(b"Qty,", b"").replace(b",ChannelNo", b""))


def test_a_header_alone_gives_nothing(tmp_path: Path) -> None:
    for data in (csv(), csv().strip()):
        blocks = adapt(tmp_path, data)
        assert (events(blocks), refused(blocks)) == ([], [])


def test_a_torn_last_line_is_refused_alone(tmp_path: Path) -> None:
    data = csv(NEW_10) + b"600001.SH,2024.01.02,09:3"
    blocks = adapt(tmp_path, data)
    assert len(events(blocks)) == 1
    assert refused(blocks) == [("torn_record", 2, "")]
    (rejected,) = blocks[0].rejected
    assert rejected.raw == b"600001.SH,2024.01.02,09:3"
    assert rejected.byte_offset == len(csv(NEW_10))
    assert rejected.sentence == "expected 12 fields, got 3"


def test_torn_gzip_is_told_after_the_last_line(tmp_path: Path) -> None:
    blocks = adapt(tmp_path, gzip.compress(csv(NEW_10))[:-8])
    assert len(events(blocks)) == 1
    assert refused(blocks) == [("torn_record", 2, "")]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("600001.SH", "", "SecurityID"),
        ("600001.SH", '"600001"', "SecurityID"),
        ("600001.SH", "6" * 33, "SecurityID"),
        ("2024.01.02", "2024-01-02", "Date"),
        ("2024.01.02", "2024.02.30", "Date"),
        ("2024.01.02", "0001.01.01", "Date"),
        ("2024.01.02", "2100.01.01", "Date"),
        ("09:30:00.010", "9:30:00.010", "Time"),
        ("09:30:00.010", "24:00:00.000", "Time"),
        ("09:30:00.010", "09:60:00.000", "Time"),
        (",0,2,", ",0,3,", "Type"),
        (",0,2,", ",2,2,", "Type"),
        (",0,2,", ",x,2,", "SourceType"),
        ("100000", "-1", "Price"),
        ("100000", "10.5", "Price"),
        ("100000", "1" * 19, "Price"),
        (",500,", ",,", "Qty"),
        (",500,1,", ",500,0,", "BSFlag"),
        (",500,1,", ",500,3,", "BSFlag"),
        (",1,1", ",1,", "ChannelNo"),
        (",1,1", ",1,1,1", ""),
        (",500,", ",", ""),
        (NEW_10, "", ""),
    ],
)
def test_a_bad_record_is_refused_alone(tmp_path: Path, old: str, new: str, path: str) -> None:
    bad = new.join(NEW_10.rsplit(old, 1))
    assert bad != NEW_10
    blocks = adapt(tmp_path, csv(NEW_20, bad, TRADE))
    assert [e["kind"] for e in events(blocks)] == ["order.new", "fill", "fill"]
    assert refused(blocks) == [("bad_record", 2, path)]
    (rejected,) = blocks[0].rejected
    assert rejected.raw == bad.encode()
    assert rejected.stage == "adapt"


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_bytes_crash_it_and_no_line_is_lost(tmp_path: Path, data: st.DataObject) -> None:
    start = len(csv())
    text = bytearray(csv(*RECORDS))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(start, len(text) - 1))
        text[place] = data.draw(st.sampled_from(b'",\n\r\x00\xff-.:09 e'))
    blocks = adapt(tmp_path, bytes(text))
    good = {int(line) for b in blocks for line in b.origin_lines}
    bad = {line for _, line, _ in refused(blocks)}
    assert good.isdisjoint(bad)
    assert good | bad == set(range(1, len(bytes(text).removesuffix(b"\n").split(b"\n"))))


@given(st.lists(st.text("0123456789x-. ", max_size=20), min_size=1, max_size=30))
def test_integers_are_those_python_reads(fields: list[str]) -> None:
    raw = np.frombuffer(",".join(fields).encode(), np.uint8)
    sizes = np.array([len(f) for f in fields], np.int64)
    start = np.cumsum(sizes + 1) - sizes - 1
    values, are_numbers = _csv.integers(raw, start, start + sizes)
    for text, value, is_number in zip(fields, values, are_numbers, strict=True):
        assert is_number == (text.isdigit() and len(text) <= 18)
        assert value == (int(text) if is_number else 0)


# Overlay accounts


def test_an_orders_events_share_one_synthetic_account(tmp_path: Path) -> None:
    records = [
        f"60000{n % 3}.SH,2024.01.02,10:00:00.000,{kind},100000,100,1,{n},{n + 500},{n * 9 + i},1"
        for n in range(100)
        for i, kind in enumerate(["0,2", "1,0", "0,10"])
    ]
    blocks = adapt(tmp_path, csv(*records), accounts="overlay:7:50")
    accounts_of_order = defaultdict(set)
    for event in events(blocks):
        accounts_of_order[event["order_id"]].add(event["account_id"])
        assert event["account_id"].startswith("overlay-0000")
    assert len(accounts_of_order) == 200  # the sellers' orders are seen in fills only
    assert all(len(accounts) == 1 for accounts in accounts_of_order.values())
    assert accepted(blocks) == 400


def test_without_overlay_no_account_is_named(tmp_path: Path) -> None:
    assert not any("account_id" in e for e in events(adapt(tmp_path, csv(*RECORDS))))


def test_overlay_accounts_follow_the_seed_and_are_heavy_tailed() -> None:
    orders = np.arange(20_000)
    day = np.full(len(orders), 20240102)
    first = Overlay(7, 1000).account_numbers(day, orders)
    assert first.tolist() == Overlay(7, 1000).account_numbers(day, orders).tolist()
    assert first.tolist() != Overlay(8, 1000).account_numbers(day, orders).tolist()
    counts = np.bincount(first, minlength=1000)
    assert len(counts) == 1000
    assert 0.11 < counts[0] / len(orders) < 0.16  # 1 / (1 + 1/2 + ... + 1/1000) = 0.134
    assert counts[500:].max() < counts[0] / 50


def test_overlay_accounts_never_change() -> None:
    """Recorded alerts name these accounts, so the choice is part of the contract."""
    numbers = Overlay(7, 1000).account_numbers(np.full(6, 20240102), np.arange(6))
    assert numbers.tolist() == [127, 0, 0, 187, 3, 892]


@pytest.mark.parametrize(
    "text",
    ["overlay", "overlay:1", "overlay:1:0", "overlay:x:5", "overlay:1:1000001", "real:1:2"],
)
def test_a_malformed_overlay_is_told_with_its_form(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="must be overlay:SEED:N"):
        adapt(tmp_path, csv(), accounts=text)


# The real sample, where there is one.


@pytest.mark.parametrize("accounts", ["", "overlay:7:1000"])
def test_the_real_sample_gives_its_known_counts(accounts: str) -> None:
    folder = os.environ.get("TAPEWATCH_SAMPLES")
    if not folder:
        pytest.skip("TAPEWATCH_SAMPLES names no folder of real samples")
    options = AdapterOptions(accounts=accounts)
    blocks = list(adapters.by_name("sse").adapt(Path(folder) / SAMPLE, options))
    assert refused(blocks) == [("torn_record", 219_201, "")]
    scanner = Scanner(HashKey(), anonymous=True)
    rows = []
    for block in blocks[1:]:
        scanned = scanner.scan(block.raw)
        assert scanned.rejected == []
        assert scanned.unknown_fields == {}
        assert len(scanned.columns) == len(block.origin_lines)
        rows.append(scanned.columns.rows)
    every = np.concatenate(rows)
    found = Counter(KIND_CODES[code] for code in every["kind"].tolist())
    assert found == {"order.new": 109_771, "order.cancel": 39_588, "fill": 2 * 69_841}
    times = every["event_time_ns"]
    assert (np.diff(times) >= 0).all()  # so none is late
    ids = np.unique(np.stack([every["event_1"], every["event_2"]]), axis=1)
    assert ids.shape[1] == len(every)
    has_account = (every["account_1"] != 0) | (every["account_2"] != 0)
    assert has_account.all() if accounts else not has_account.any()
