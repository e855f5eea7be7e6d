"""Facts about Hyperliquid fills. The samples here are invented."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import naive_win_rate
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows import adapters
from flows.adapters import AdaptedBlock, AdapterOptions
from schemas.columns import HashKey
from schemas.events import E8
from schemas.scan import Scanner

SAMPLE = "hyperliquid_node_fills_2025-10-27.jsonl.gz"
TIME_MS = 1_750_000_000_123
OPENING = {
    "coin": "AAA",
    "px": "10.5",
    "sz": "2.0",
    "side": "B",
    "time": TIME_MS,
    "startPosition": "0.0",
    "dir": "Open Long",
    "closedPnl": "0.0",
    "hash": "0x0",
    "oid": 11,
    "crossed": True,
    "fee": "0.001",
    "tid": 7,
    "feeToken": "USDC",
    "twapId": None,
}


def fill(**changes: Any) -> dict[str, Any]:
    return OPENING | changes


def block_line(*fills: dict[str, Any], account: str = "acc") -> bytes:
    return json.dumps({"block_number": 1, "events": [[account, f] for f in fills]}).encode() + b"\n"


def adapt(folder: Path, data: bytes, block_bytes: int = 10**6) -> list[AdaptedBlock]:
    path = folder / "file"
    path.write_bytes(data)
    options = AdapterOptions(block_bytes=block_bytes)
    return list(adapters.by_name("hyperliquid").adapt(path, options))


def events(blocks: list[AdaptedBlock]) -> list[dict[str, Any]]:
    return [json.loads(line) for b in blocks for line in b.raw.tobytes().splitlines()]


def scan_all(blocks: list[AdaptedBlock]) -> Iterator[Any]:
    scanner = Scanner(HashKey())
    for block in blocks:
        if len(block.raw):
            yield scanner.scan(block.raw)


def test_a_fill_becomes_our_fill(tmp_path: Path) -> None:
    (event,) = events(adapt(tmp_path, block_line(fill(dir="Close Long", side="A", crossed=False))))
    assert event == {
        "kind": "fill",
        "source": "hyperliquid",
        "event_id": "7-11-A-0",
        "event_time_ns": TIME_MS * 1_000_000,
        "account_id": "acc",
        "order_id": "11",
        "fill_id": "7-A",
        "instrument": "AAA",
        "venue": "XHYP",
        "side": "sell",
        "price": "10.5",
        "quantity": "2.0",
        "realized_pnl": "0.0",
        "fee": "0.001",
        "liquidity": "maker",
    }


@pytest.mark.parametrize(
    ("direction", "profit", "is_closing"),
    [
        ("Open Long", "0.0", False),
        ("Open Short", "-0.0", False),
        ("Buy", "0.0", False),
        ("Close Short", "0.0", True),
        ("Close Long", "-3.25", True),
        ("Sell", "0.00000001", True),
        ("Long > Short", "-1.0", True),
    ],
)
def test_realized_profit_is_given_on_closing_fills_only(
    tmp_path: Path, direction: str, profit: str, is_closing: bool
) -> None:
    blocks = adapt(tmp_path, block_line(fill(dir=direction, closedPnl=profit)))
    (event,) = events(blocks)
    assert event.get("realized_pnl") == (profit if is_closing else None)
    assert sum(len(s.columns) for s in scan_all(blocks)) == 1


def test_both_sides_of_a_trade_have_ids_of_their_own(tmp_path: Path) -> None:
    both = events(adapt(tmp_path, block_line(fill(), fill(side="A", oid=12))))
    assert [e["event_id"] for e in both] == ["7-11-B-0", "7-12-A-0"]
    assert [e["fill_id"] for e in both] == ["7-B", "7-A"]


def test_a_repeat_within_a_block_is_another_event_and_a_repeated_block_is_not(
    tmp_path: Path,
) -> None:
    line = block_line(fill(), fill())
    ids = [e["event_id"] for e in events(adapt(tmp_path, line + line))]
    assert ids == ["7-11-B-0", "7-11-B-1"] * 2


def test_a_fee_of_more_than_8_decimals_is_left_out_and_counted(tmp_path: Path) -> None:
    line = block_line(fill(fee="0.123456789"), fill(fee="0.12345678"), fill(fee=None))
    (block,) = adapt(tmp_path, line)
    assert [e.get("fee") for e in events([block])] == [None, "0.12345678", None]
    assert block.skipped_fields == {"fee": 1}


@pytest.mark.parametrize("block_bytes", [1, 100, 10**6])
def test_every_event_knows_the_line_it_came_from(tmp_path: Path, block_bytes: int) -> None:
    data = block_line() + block_line(fill(), fill(side="A")) + block_line() + block_line(fill())
    blocks = adapt(tmp_path, data, block_bytes)
    assert np.concatenate([b.origin_lines for b in blocks]).tolist() == [1, 1, 3]


def test_a_bad_fill_is_refused_alone(tmp_path: Path) -> None:
    good = fill(tid=8)
    for bad in (fill(px=10.5), fill(side="X"), fill(time="now"), fill(oid=-1), fill(tid=10**30)):
        data = block_line() + block_line(fill(), bad, good)
        (block,) = adapt(tmp_path, data)
        assert [e["fill_id"] for e in events([block])] == ["7-B", "8-B"]
        (rejected,) = block.rejected
        assert (rejected.stage, rejected.reason) == ("adapt", "bad_record")
        assert rejected.line_number == 1
        assert data[rejected.byte_offset :].startswith(rejected.raw)
        assert json.loads(rejected.raw) == ["acc", bad]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"rubbish",
        b"{}",
        b'{"events":7}',
        b'{"events":[',
        b"\xff\xfe",
        b'{"events":' + b"[" * 100_000,
        b'{"events":[["a"]]} {"events":[]}',
    ],
)
def test_a_bad_line_is_refused_and_its_neighbours_are_kept(tmp_path: Path, line: bytes) -> None:
    (block,) = adapt(tmp_path, block_line(fill()) + line + b"\n" + block_line(fill()))
    assert block.origin_lines.tolist() == [0, 2]
    assert [(r.reason, r.line_number) for r in block.rejected] == [("bad_record", 1)]
    assert block.rejected[0].raw == line[:4096]


def test_a_torn_last_line_and_a_torn_gzip_are_told(tmp_path: Path) -> None:
    (block,) = adapt(tmp_path, block_line(fill()) + block_line(fill())[:-20])
    assert [r.line_number for r in block.rejected] == [1]
    (block,) = adapt(tmp_path, gzip.compress(block_line(fill()))[:-8])
    assert len(block.origin_lines) == 1
    assert [(r.reason, r.line_number) for r in block.rejected] == [("torn_record", 1)]


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_bytes_crash_it(tmp_path: Path, data: st.DataObject) -> None:
    line = bytearray(block_line(fill(), fill(tid=9)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(4, len(line) - 2))
        line[place] = data.draw(st.sampled_from(b'"{}[]:,\\0\n\xff\x00e9-.'))
    blocks = adapt(tmp_path, bytes(line))
    adapted = sum(len(b.origin_lines) for b in blocks)
    assert adapted + sum(len(b.rejected) for b in blocks) >= 1
    assert sum(s.line_count for s in scan_all(blocks)) == adapted


# The real sample, where there is one.


def sample_path() -> Path:
    folder = os.environ.get("TAPEWATCH_SAMPLES")
    if not folder:
        pytest.skip("TAPEWATCH_SAMPLES names no folder of real samples")
    return Path(folder) / SAMPLE


def test_the_real_sample_gives_7282_fills_and_refuses_none() -> None:
    blocks = list(adapters.by_name("hyperliquid").adapt(sample_path(), AdapterOptions()))
    skipped: Counter[str] = Counter()
    for block in blocks:
        skipped.update(block.skipped_fields)
    scanned = list(scan_all(blocks))
    assert skipped == {"fee": 56}
    assert [r for b in blocks for r in b.rejected] == []
    assert [r for s in scanned for r in s.rejected] == []
    assert [s.unknown_fields for s in scanned if s.unknown_fields] == []
    assert sum(len(s.columns) for s in scanned) == 7282
    found = events(blocks)
    assert len({e["event_id"] for e in found}) == 7282
    assert len({e["account_id"] for e in found}) == 899
    assert len({e["instrument"] for e in found}) == 187
    times = np.array([e["event_time_ns"] for e in found])
    assert (np.maximum.accumulate(times) - times).max() <= 5 * 10**9  # none is late


def raw_closing_fills(path: Path) -> Iterator[naive_win_rate.ClosingFill]:
    with gzip.open(path) as file:
        pairs = [pair for line in file for pair in json.loads(line)["events"]]
    for account, one in pairs:
        profit = Decimal(one["closedPnl"])
        is_closing = one["dir"].startswith("Close") or profit != 0
        yield account, str(one["oid"]), profit if is_closing else None


def adapted_closing_fills(path: Path) -> Iterator[naive_win_rate.ClosingFill]:
    for event in events(list(adapters.by_name("hyperliquid").adapt(path, AdapterOptions()))):
        profit = event.get("realized_pnl")
        units = None if profit is None else int(Decimal(profit) * E8)
        yield event["account_id"], event["order_id"], units


@pytest.mark.parametrize(
    ("unit", "once", "at_end", "active"), [("fill", 11, 9, 40), ("order", 3, 2, 20)]
)
def test_the_real_sample_has_known_win_rates(
    unit: str, once: int, at_end: int, active: int
) -> None:
    path = sample_path()
    for fills in (raw_closing_fills(path), adapted_closing_fills(path)):
        verdict = naive_win_rate.judge(fills, unit)
        found = (len(verdict.above_once), len(verdict.above_at_end), len(verdict.active))
        assert found == (once, at_end, active)
