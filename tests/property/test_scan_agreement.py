"""The scanner, the referee and an obvious twin agree on every event in every spelling."""

import json
from typing import Any

import naive_scan
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spellings import Spelled, good_lines, times

from schemas import events, referee, wire
from schemas.columns import HashKey, describe_row
from schemas.hashing import padded
from schemas.scan import Scanner, _Run

KEY = HashKey(21, 22)
TENANT = "house"
SCANNER = Scanner(KEY, tenant=TENANT)
ROW_KEY = SCANNER._judge_key
OF_BLOCK = {"line_start", "line_length", "line_number", "high_before_ns"}


def numbers_of(row: Any) -> dict[str, int]:
    return {n: v for n, v in describe_row(row).items() if n not in OF_BLOCK}


def assert_agreement(lines: list[bytes]) -> None:
    """Check that scanning a block decides every line as the referee does, with the same row."""
    scanned = SCANNER.scan(b"\n".join(lines) + b"\n")
    rows = dict(
        zip(scanned.columns.rows["line_number"].tolist(), scanned.columns.rows, strict=True)
    )
    rejected = {r.line_number: r for r in scanned.rejected}
    for number, line in enumerate(lines):
        verdict = referee.judge_row(line, ROW_KEY, anonymous=False)
        if isinstance(verdict, referee.Verdict):
            assert (rejected[number].reason, rejected[number].path) == verdict[:2], line
        else:
            assert numbers_of(rows[number]) == numbers_of(verdict[0]), line
    assert len(rows) + len(rejected) == len(lines)


@settings(max_examples=150, deadline=None)
@given(st.lists(good_lines(), min_size=1, max_size=6))
def test_good_lines_give_the_twins_rows(lines: list[bytes]) -> None:
    scanned = SCANNER.scan(b"\n".join(lines))
    assert scanned.rejected == []
    for line, row in zip(lines, scanned.columns.rows, strict=True):
        known = {f.name for f in wire.FIELDS[json.loads(line)["kind"]]}
        twin = naive_scan.row(line, known, KEY, TENANT)
        assert {n: int(row[n]) for n in twin if n not in OF_BLOCK} == {
            n: v for n, v in twin.items() if n not in OF_BLOCK
        }


@settings(max_examples=100, deadline=None)
@given(st.lists(good_lines(), min_size=1, max_size=6))
def test_scanner_and_referee_agree_on_good_lines(lines: list[bytes]) -> None:
    assert_agreement(lines)
    unknown: dict[str, int] = {}
    for line in lines:
        verdict = referee.judge_row(line, ROW_KEY, anonymous=False)
        assert not isinstance(verdict, referee.Verdict)
        for name in verdict[1]:
            unknown[name] = unknown.get(name, 0) + 1
    assert SCANNER.scan(b"\n".join(lines)).unknown_fields == unknown


@st.composite
def mutated_lines(draw: st.DrawFn) -> bytes:
    """Give a good line with some bytes changed, put in or taken out."""
    line = bytearray(draw(good_lines()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(line) - 1)))
        byte = draw(
            st.sampled_from(list(b'"\\{}[]:,-+.eE0159 \tntu\x00\x7f\x80\xc3')) | st.integers(0, 255)
        )
        if byte == 10:
            continue
        how = draw(st.sampled_from(["change", "put", "take"]))
        if how == "put":
            line.insert(at, byte)
        elif line:
            line[at : at + 1] = bytes([byte]) if how == "change" else b""
    return bytes(line)


@settings(max_examples=250, deadline=None)
@given(st.lists(mutated_lines(), min_size=1, max_size=4))
def test_scanner_and_referee_agree_on_damaged_bytes(lines: list[bytes]) -> None:
    assert_agreement(lines)


@settings(max_examples=60, deadline=None)
@given(st.lists(good_lines() | mutated_lines(), min_size=2, max_size=8), st.data())
def test_a_block_cut_at_any_line_gives_the_same(lines: list[bytes], data: st.DataObject) -> None:
    whole = SCANNER.scan(b"\n".join(lines))
    cut = data.draw(st.integers(1, len(lines) - 1))
    parts = [SCANNER.scan(b"\n".join(part) + b"\n") for part in (lines[:cut], lines[cut:])]
    joined = [numbers_of(row) for part in parts for row in part.columns.rows]
    assert joined == [numbers_of(row) for row in whole.columns.rows]
    reasons = [r.reason for part in parts for r in part.rejected]
    assert reasons == [r.reason for r in whole.rejected]


def plain_value(field: wire.Field) -> Any:
    """Give one good value spelled plainly."""
    match field.value_type:
        case wire.INTEGER:
            return field.high
        case wire.MONEY:
            return Spelled("10.50")
        case wire.BOOLEAN:
            return True
        case wire.CHOICE:
            return field.choices[-1]
        case wire.LIST:
            return []
    return "x" * 20


@pytest.mark.parametrize("kind", events.KINDS)
def test_plain_events_need_no_referee(kind: str) -> None:
    """Kinds without dicts or lists of structs need the kernel alone, or feeds would crawl."""
    plain = [f for f in wire.FIELDS[kind][1:] if f.value_type != wire.COMPLEX]
    event = {"kind": kind} | {f.name: plain_value(f) for f in plain}
    line = json.dumps(event).replace('"10.50"', "10.50").encode()
    run = _Run(line_size=100)
    SCANNER._scan_lines(run, padded(line), len(line), 0)
    needs_list = any(f.required and f.value_type == wire.COMPLEX for f in wire.FIELDS[kind])
    assert bool(run.odd) == needs_list
    assert bool(SCANNER.scan(line).rejected) == needs_list


@settings(max_examples=200, deadline=None)
@given(st.lists(times, max_size=30))
def test_high_before_is_the_twins(event_times: list[int]) -> None:
    heartbeat = {"kind": "heartbeat", "source": "s", "event_id": "e"}
    lines = [json.dumps(heartbeat | {"event_time_ns": t}).encode() for t in event_times]
    rows = SCANNER.scan(b"\n".join(lines)).columns.rows
    assert rows["high_before_ns"].tolist() == naive_scan.high_before(event_times)
