"""An event gives the same row, or the same reason, as a row of an Arrow message and as a line."""

import json
from typing import Any

import arrow_parts
import damage
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spellings import Spelled, good_events, wide_ids

from lab import arrow_feed
from schemas import wire
from schemas.arrow import ROWS_MAX, ArrowScanner
from schemas.columns import HashKey, Scanned, describe_row
from schemas.scan import Scanner

KEY = HashKey(31, 32)
ARROW = ArrowScanner(KEY, tenant="house")
JSON = Scanner(KEY, tenant="house")
OF_PLACE = {"line_start", "line_length", "line_number", "high_before_ns"}


def numbers_of(scanned: Scanned) -> dict[int, dict[str, int]]:
    """Return rows by number, without what tells their place."""
    return {
        int(row["line_number"]): {n: v for n, v in describe_row(row).items() if n not in OF_PLACE}
        for row in scanned.columns.rows
    }


def reasons_of(scanned: Scanned) -> dict[int, tuple[str, str]]:
    return {r.line_number: (r.reason, r.path) for r in scanned.rejected}


def assert_agreement(events: list[dict[str, Any]], messages: list[bytes]) -> Scanned:
    """Check messages of one event each against the events' lines."""
    arrow = ARROW.scan(messages)
    lines = JSON.scan(b"\n".join(map(arrow_parts.spell, events)))
    assert {n // ROWS_MAX: r for n, r in numbers_of(arrow).items()} == numbers_of(lines)
    assert {n // ROWS_MAX: r for n, r in reasons_of(arrow).items()} == reasons_of(lines)
    assert arrow.unknown_fields == lines.unknown_fields
    assert arrow.line_count == len(events)
    return arrow


@settings(max_examples=120)
@given(st.lists(good_events(), min_size=1, max_size=4), st.data())
def test_good_events_give_the_rows_of_their_lines(
    events: list[dict[str, Any]], data: st.DataObject
) -> None:
    messages = [data.draw(arrow_parts.single(event)) for event in events]
    arrow = assert_agreement(events, messages)
    assert arrow.rejected == []
    known = [{n for n in e if n in wire.KEYS and e[n] is not None} for e in events]
    for index, event in enumerate(events):
        line = arrow.columns.line(index)
        assert known[index] >= json.loads(line).keys() >= {"kind", "source"}
        again = JSON.scan(line).columns.rows
        assert numbers_of(JSON.scan(arrow_parts.spell(event)))[0] == numbers_of_row(again[0])


def numbers_of_row(row: Any) -> dict[str, int]:
    return {n: v for n, v in describe_row(row).items() if n not in OF_PLACE}


ODD_VALUES = (
    st.sampled_from(["", "x" * 129, "x" * 300, "a\tb", 'a"b', "\x7f", "BUY", "é", "1e3", "nil"])
    | wide_ids
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from(["1e-9", "0", "-5", "92233720368.00000001", "1e12", "0.10"]).map(Spelled)
    | st.sampled_from([[], ["a"], ["", "b"], [["a"]], {}, {"a": 1}, {"quantity": True}])
)


@settings(max_examples=150)
@given(good_events(), st.data())
def test_damaged_values_give_the_reasons_of_their_lines(
    event: dict[str, Any], data: st.DataObject
) -> None:
    names = [name for name in event if name in wire.KEYS]
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)):
        event[name] = data.draw(st.none() | ODD_VALUES)
    assert_agreement([event], [data.draw(arrow_parts.single(event))])


# What Arrow has no words for: what is wrong with the text of a line, and what stands twice in it.
ONLY_IN_TEXT = {
    "blank_line", "line_too_long", "bad_utf8", "byte_order_mark", "control_character",
    "malformed_json", "truncated_json", "trailing_data", "not_an_object", "too_deep",
    "not_finite", "bad_escape", "duplicate_key",
}  # fmt: skip
NOT_IN_ARROW = {"time with a point", "huge exponent"}  # spelled so: 1.5e18; beyond any decimal
EXPRESSED = [
    d for d in damage.DAMAGES if d.reason not in ONLY_IN_TEXT and d.name not in NOT_IN_ARROW
]


@pytest.mark.parametrize("kind", EXPRESSED, ids=lambda d: d.name)
def test_every_damage_that_arrow_can_express_is_refused_as_its_line_is(kind: damage.Damage) -> None:
    line = kind.make(damage.sample_order())
    event = json.loads(line, parse_float=Spelled)
    columns = {
        name: pa.array([arrow_parts.exact(v, is_money=name in arrow_parts.MONEY_NAMES)])
        for name, v in event.items()
    }
    found = ARROW.scan([arrow_feed.encode_batches([pa.record_batch(columns)])]).rejected
    assert [(r.reason, r.path) for r in found] == [(kind.reason, kind.path)]
    assert json.loads(found[0].raw).keys() == {n for n, v in event.items() if v is not None}


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[dict[str, Any]], bytes]:
    """Give events of several kinds as one message of one or two batches, mostly null columns."""
    events = draw(st.lists(good_events(), min_size=2, max_size=9))
    events = [{n: v for n, v in e.items() if n in wire.KEYS} for e in events]
    types = dict(arrow_feed.field_types())
    for name in ("event_id", "account_id", "instrument", "side", "kind", "tenant"):
        types[name] = draw(st.sampled_from(arrow_parts.TEXT_TYPES))
    for event in events:
        for name, value in event.items():
            if isinstance(value, Spelled):  # one column has one type: all money as decimals here
                event[name] = Spelled(str(value).strip('"').removeprefix("+"))
    names = draw(st.permutations([n for n in types if any(n in e for e in events)]))
    cut = draw(st.integers(0, len(events)))
    made = [arrow_parts.wide(part, names, types) for part in (events[:cut], events[cut:])]
    return events, arrow_feed.encode_batches(made)


@settings(max_examples=120)
@given(st.lists(batches(), min_size=1, max_size=2))
def test_batches_of_many_kinds_give_the_rows_of_their_lines(
    drawn: list[tuple[list[dict[str, Any]], bytes]],
) -> None:
    arrow = ARROW.scan([message for _, message in drawn])
    assert arrow.rejected == []
    for index, (events, _) in enumerate(drawn):
        lines = JSON.scan(b"\n".join(map(arrow_parts.spell, events)))
        numbers = {
            n % ROWS_MAX: row for n, row in numbers_of(arrow).items() if n // ROWS_MAX == index
        }
        assert numbers == numbers_of(lines)
    rows, raw = arrow.columns.lines()
    written = [
        bytes(raw[start : start + length])
        for start, length in zip(rows["line_start"], rows["line_length"], strict=True)
    ]
    assert list(map(numbers_of_row, JSON.scan(b"\n".join(written)).columns.rows)) == list(
        map(numbers_of_row, arrow.columns.rows)
    )
    picked = np.array([len(rows) - 1, 0])
    some = type(arrow.columns)(arrow.columns.rows[picked], arrow.columns.raw)
    assert [some.line(0), some.line(1)] == [written[-1], written[0]]
