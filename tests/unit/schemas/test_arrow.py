"""Arrow messages: what is refused as a whole, what row by row, and that neighbours stay."""

import json
import random
import struct
from decimal import Decimal
from typing import Any

import damage
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from lab.arrow_feed import encode, encode_batches, messages
from schemas import _arrow_message, _arrow_spell, _arrow_types, reasons
from schemas.arrow import ROWS_MAX, ArrowScanner
from schemas.columns import HashKey, Rejected, Scanned
from schemas.scan import UNKNOWN_NAMES_MAX
from schemas.strict_json import Fault

ARROW = ArrowScanner(HashKey(5, 6), tenant="house")
HEAD = {
    "kind": ["heartbeat", "heartbeat"],
    "source": ["s", "s"],
    "event_id": ["1", "2"],
    "event_time_ns": pa.array([damage.START_NS, damage.START_NS + 1], pa.int64()),
}
GOOD = encode([damage.spell(damage.sample_order(number)) for number in range(3)])


def message(**more: Any) -> bytes:
    """Give two good heartbeats with further columns, or others in place of theirs."""
    return encode_batches([pa.record_batch(HEAD | more)])


def part(metadata: bytes) -> bytes:
    """Give a part of a stream with these metadata."""
    return b"\xff\xff\xff\xff" + len(metadata).to_bytes(4, "little") + metadata


def scan(*values: bytes) -> Scanned:
    return ARROW.scan([GOOD, *values, GOOD])


def refused(value: bytes) -> Rejected:
    """Return the only refusal of a message between two good ones, of which nothing is lost."""
    scanned = scan(value)
    assert len(scanned.columns) == 6
    (found,) = scanned.rejected
    assert found.line_number == ROWS_MAX
    assert found.reason in reasons.REASONS
    return found


def test_rows_are_numbered_by_message_and_row() -> None:
    scanned = scan(GOOD)
    numbers = scanned.columns.rows["line_number"].tolist()
    assert numbers == [message * ROWS_MAX + row for message in range(3) for row in range(3)]
    assert scanned.line_count == 9


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (b"", "an empty message"),
        (damage.spell(damage.sample_order()), "a message that begins b'{"),
        (b"ARROW1\0\0" + GOOD, "an Arrow file; send the stream format"),
        (b"\xff\xff\xff\xff", "a stream that was cut"),
        (GOOD[:-8], "no end of stream"),
        (GOOD[:-1], "a stream that was cut"),
        (GOOD + GOOD, "something behind the stream"),
        (GOOD + b"\0", "something behind the stream"),
        (GOOD[:8] + bytes(40) + GOOD[8:], "no part at byte"),
        (part(struct.pack("<Ii", 4, 100)), "metadata that point outside themselves"),
        (part(struct.pack("<I6Hiq", 16, 12, 12, 0, 0, 0, 4, 12, -1)), "a body of negative size"),
        (part(bytes(4)) * 5_000, "more than 4,096 parts"),
    ],
)
def test_what_is_no_whole_stream_is_said_to_be_none(value: bytes, got: str) -> None:
    found = refused(value)
    assert (found.reason, found.path) == ("bad_arrow", "")
    assert found.expected == "one whole Arrow IPC stream, uncompressed"
    assert found.got.startswith(got)
    assert found.raw == value[:4_096]


def test_a_stream_cut_anywhere_is_refused() -> None:
    for size in range(0, len(GOOD) - 1, 7):
        assert refused(GOOD[:size]).reason == "bad_arrow"


def test_compressed_buffers_are_refused_before_they_are_unpacked() -> None:
    batch = pa.record_batch(HEAD | {"tenant": pa.array(["a" * 99] * 2).dictionary_encode()})
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema, options=ipc.IpcWriteOptions(compression="zstd")) as out:
        out.write_batch(batch)
    assert "compressed buffers" in refused(sink.getvalue().to_pybytes()).got


@pytest.mark.parametrize(
    ("name", "values", "got"),
    [
        ("price", pa.array([10.5, None]), "a column of double"),
        ("price", pa.array([10, None]), "a column of int64"),
        ("event_time_ns", pa.array([1, 2], pa.timestamp("ns")), "a column of timestamp[ns]"),
        ("tenant", pa.array([b"a", b"b"]), "a column of binary"),
        ("tenant", pa.array([1, 2]).dictionary_encode(), "a column of dictionary<values=int64"),
        ("counts", pa.array([{"a": 1.0}, None]), "a column of double"),
        ("notional", pa.array([[("a", 1)], None], pa.map_(pa.utf8(), pa.int64())), "a column of i"),
        ("notional", pa.array([{"a": 1}, None]), "a column of int64"),
        ("holdings", pa.array([[{"instrument": "a", "quantity": 1}], None]), "a column of int64"),
        (
            "quantity",
            pa.array([Decimal(500)] * 2, pa.decimal128(3, -2)),
            "a column of decimal128(3",
        ),
    ],
)
def test_a_column_that_would_not_be_exact_is_refused(name: str, values: Any, got: str) -> None:
    found = refused(message(**{name: values}))
    assert (found.reason, found.path) == ("bad_column", f"$.{name}")
    assert found.got.startswith(got)
    assert "decimal128" in found.expected or "JSON" in found.expected


def test_an_inner_name_that_stands_twice_is_refused() -> None:
    both = pa.StructArray.from_arrays([pa.array(["a", "b"])] * 2, names=["instrument"] * 2)
    assert refused(message(counts=both)).expected == "each name once"


def test_a_column_that_nobody_can_read_may_be_there_without_a_value() -> None:
    empty = pa.array([None, None], pa.float64())
    assert len(scan(message(price=empty, tenant=pa.nulls(2))).columns) == 8


def test_a_column_that_stands_twice_is_refused() -> None:
    columns = [*HEAD.items(), ("tenant", ["a", "b"]), ("tenant", ["a", "b"])]
    arrays = [pa.array(values) for _, values in columns]
    batch = pa.record_batch(arrays, names=[name for name, _ in columns])
    found = refused(encode_batches([batch]))
    assert (found.reason, found.path) == ("duplicate_key", "$.tenant")


def test_columns_we_do_not_know_are_counted_and_left_alone() -> None:
    texts, floats = pa.array(["a", None]), pa.array([1.5, 2.5])
    union = pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])])
    scanned = scan(message(note=texts, weight=floats, both=union, none=pa.nulls(2)))
    assert scanned.unknown_fields == {"note": 1, "weight": 2, "both": 2}
    refused_row = message(kind=["heartbeat", "none"], weight=floats)
    assert scan(refused_row).unknown_fields == {"weight": 1}


def test_rows_of_columns_we_do_not_know_alone_have_no_kind() -> None:
    value = encode_batches([pa.record_batch({"note": ["a", "b"]})])
    found = scan(value).rejected
    assert [(r.reason, r.path, r.raw) for r in found] == [("missing_field", "$.kind", b"{}")] * 2


def test_fields_that_another_kind_has_are_counted_too() -> None:
    more: dict[str, Any] = {
        "order_id": ["a", None],
        "venue": pa.array(["a", None, None]).dictionary_encode()[:2],
        "price": pa.array([None, Decimal("1.5")]),
        "opened_ns": pa.array([1, 2]),
        "is_simulated": pa.array([True, None]),
        "segments": pa.array([["a"], None]),
    }
    expected = {"order_id": 1, "venue": 1, "price": 1, "opened_ns": 2, "is_simulated": 1}
    scanned = scan(message(**more))
    assert scanned.unknown_fields == expected | {"segments": 1}
    assert b"order_id" not in scanned.columns.line(3)
    long = scan(message(order_id=["a" * 5_000, None], venue=pa.array(["b" * 5_000] * 2)))
    assert long.unknown_fields == {"order_id": 1, "venue": 2}
    assert b"a" * 5_000 in long.columns.line(3)  # the referee took that one, from its line


def test_names_that_senders_invent_fill_one_last_bucket() -> None:
    values = [message(**{f"x{index}-{n}": ["a", "b"] for n in range(900)}) for index in range(3)]
    counted = scan(*values).unknown_fields
    assert (len(counted), counted["(other)"]) == (UNKNOWN_NAMES_MAX + 1, 2 * (2_700 - 1_024))


def test_too_many_columns_are_refused() -> None:
    found = refused(message(**{f"x{n}": ["a", "b"] for n in range(1_100)}))
    assert (found.reason, found.got) == ("batch_too_large", "1,104")


def test_too_many_rows_are_refused() -> None:
    columns = {name: pa.array([values[0]] * 6_000) for name, values in HEAD.items()}
    batch = pa.record_batch(columns)
    found = refused(encode_batches([batch, batch]))
    assert (found.reason, found.got) == ("batch_too_large", "12,000")


def test_rows_that_say_one_long_text_again_and_again_are_refused() -> None:
    name = pa.DictionaryArray.from_arrays(
        pa.array([0] * 9_000, pa.int16()), pa.array(["x" * 9_000])
    )
    columns = {k: pa.array([v[0]] * 9_000) for k, v in HEAD.items()} | {"order_id": name}
    found = refused(encode_batches([pa.record_batch(columns)]))
    assert found.reason == "batch_too_large"
    assert "MiB" in found.expected


def with_bytes(value: bytes, old: bytes, new: bytes) -> bytes:
    assert value.count(old) == 1
    return value.replace(old, new)


@pytest.mark.parametrize("is_dictionary", [False, True])
def test_bytes_that_are_no_utf_8_are_the_row_s_own_fault(is_dictionary: bool) -> None:
    tenant: Any = pa.array(["good", "bad-"])
    value = message(tenant=tenant.dictionary_encode() if is_dictionary else tenant)
    scanned = scan(with_bytes(value, b"bad-", b"\xff\xfe\xfd\xfc"))
    assert [r.reason for r in scanned.rejected] == ["bad_utf8"]
    assert scanned.rejected[0].raw.endswith(b'"tenant":"\xff\xfe\xfd\xfc"}')
    assert len(scanned.columns) == 7


def test_items_that_are_no_utf_8_spoil_their_message() -> None:
    value = message(holdings=pa.array([[{"instrument": "bad-"}], None]))
    assert refused(with_bytes(value, b"bad-", b"\xff\xfe\xfd\xfc")).reason == "bad_arrow"


def changed(value: bytes, old: tuple[int, ...], new: tuple[int, ...], width: int = 4) -> bytes:
    """Replace some integers that stand behind each other, and only there."""
    before, after = (
        b"".join(n.to_bytes(width, "little", signed=True) for n in numbers)
        for numbers in (old, new)
    )
    return with_bytes(value, before, after)


@pytest.mark.parametrize("name", ["tenant", "kind"])
@pytest.mark.parametrize(
    ("column", "old", "new"),
    [
        # Offsets that go back, begin below zero, or lead out of the texts.
        (pa.array(["aaa", "bb"]), (0, 3, 5), (0, 9, 5)),
        (pa.array(["aaa", "bb"]), (0, 3, 5), (-1, 3, 5)),
        (pa.array(["aaa", "bb"]), (0, 3, 5), (0, 3, 2**30)),
        (pa.array(["aaa", None]), (0, 3, 3), (0, 4, 3)),
        (pa.array(["aaa", "bb"]).dictionary_encode(), (0, 3, 5), (0, 3, 2**30)),
    ],
)
def test_texts_that_lie_outside_the_message_spoil_it(
    name: str, column: Any, old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    assert refused(changed(message(**{name: column}), old, new)).reason == "bad_arrow"


@pytest.mark.parametrize("name", ["tenant", "kind"])
@pytest.mark.parametrize("index", [-1, 2, 2**40])
def test_an_index_without_a_name_spoils_its_message(name: str, index: int) -> None:
    names = pa.array(["a", "b"]).cast(pa.dictionary(pa.int64(), pa.utf8()))
    value = changed(message(**{name: names}), (0, 1), (0, index), 8)
    assert refused(value).reason == "bad_arrow"


@pytest.mark.parametrize(
    ("old", "new"),
    [((0, 2, 3), (0, 4, 3)), ((0, 2, 3), (0, 2, 9)), ((0, 3, 5, 9), (0, 3, 2**30, 9))],
)
def test_lists_that_point_outside_spoil_their_message(
    old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    segments = pa.array([["aaa", "bb"], ["cccc"]])
    assert refused(changed(message(segments=segments), old, new)).reason == "bad_arrow"


def test_lists_of_texts_stand_in_lines() -> None:
    head = {"kind": "ref.account", "source": "s", "event_time_ns": damage.START_NS}
    accounts = [{"segments": ["a", "bc"]}, {"segments": []}, {"tier": "x"}]
    lines = [
        damage.spell(head | {"event_id": str(n), "account_id": "A"} | more)
        for n, more in enumerate(accounts)
    ]
    scanned = scan(encode(lines))
    assert [json.loads(scanned.columns.line(3 + n)) for n in range(3)] == list(
        map(json.loads, lines)
    )


def test_long_lists_are_looked_at_too() -> None:
    segments = pa.array([["a"] * 1_200, ["b" * 300, None, "\x07"]])
    scanned = scan(message(segments=segments))
    assert scanned.unknown_fields == {"segments": 2}
    assert scanned.columns.line(3).endswith(b'"a"]}')
    assert scanned.columns.line(4).endswith(b'"' + b"b" * 300 + b'",null,"\\u0007"]}')
    outside = changed(message(segments=segments), (599, 600, 601), (599, 2**30, 601))
    assert refused(outside).reason == "bad_arrow"


def test_a_dictionary_may_name_nothing() -> None:
    names = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None]))
    more: dict[str, Any] = {"venue": names, "tenant": names, "account_id": names}
    scanned = scan(message(**more))
    assert scanned.unknown_fields == {"venue": 1, "account_id": 1}
    assert [b"tenant" in scanned.columns.line(index) for index in (3, 4)] == [True, False]
    odd = scan(message(**more, source=["s", "\u00e9"], kind=["app.event", "heartbeat"]))
    assert [b'"tenant"' in r.raw for r in odd.rejected] == [True]
    assert b"tenant" not in odd.columns.line(3)


def test_money_may_be_spelled_at_any_length() -> None:
    order = damage.sample_order() | {"price": "1." + "5" + "0" * 40, "quantity": "2.50"}
    texts = {n: pa.array([str(v)]) for n, v in order.items() if n != "event_time_ns"}
    times = {"event_time_ns": pa.array([order["event_time_ns"]])}
    rows = scan(encode_batches([pa.record_batch(texts | times)])).columns.rows
    assert rows["price_e8"][3] == 150_000_000
    assert rows["quantity_e8"][3] == 250_000_000


def test_lines_know_what_they_were_made_from() -> None:
    assert len(scan().columns.raw) == len(GOOD) * 2


def test_a_value_that_is_none_of_its_type_spoils_its_message() -> None:
    buffers = [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")]
    text = pa.StringArray.from_buffers(1, *buffers[1:])
    with pytest.raises(Fault, match="bad_arrow"):
        _arrow_spell._value_of(text, 0, "holdings")


def test_buffers_that_are_short_or_lie_elsewhere_are_refused() -> None:
    """As those of another byte order would: they are turned around in memory of their own."""
    whole = pa.py_buffer(GOOD)
    batch = pa.record_batch(HEAD)
    plan = _arrow_types.make_plan(batch.schema)
    reader = _arrow_message._BatchReader(plan, np.zeros(8, np.uint8), whole, batch)
    assert reader._start(None, 0) == 0
    for buffer, got in ((None, "shorter"), (whole.slice(0, 9), "shorter"), (batch, "endian")):
        found = batch.column(0).buffers()[2] if buffer is batch else buffer
        with pytest.raises(Fault) as fault:
            reader._start(found, 1 if buffer is batch else 10)
        assert got in fault.value.got


def test_many_messages_of_changing_columns_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_arrow_message, "_PLANS_MAX", 2)
    scanner = ArrowScanner(HashKey())
    values = [message(**{f"x{n % 3}": ["a", "b"]}) for n in range(7)]
    assert len(scanner.scan(values).columns) == 14
    assert len(scanner._reader._plans) == 2


def test_no_messages_are_no_rows() -> None:
    scanned = ARROW.scan([])
    assert (len(scanned.columns), scanned.line_count, scanned.rejected) == (0, 0, [])
    nothing = encode_batches([pa.record_batch(HEAD)[:0]])
    assert len(scan(nothing).columns) == 6


def test_anonymous_sources_may_leave_out_their_accounts() -> None:
    order = damage.sample_order()
    del order["account_id"]
    value = encode([damage.spell(order)])
    assert [r.reason for r in ARROW.scan([value]).rejected] == ["missing_field"]
    assert len(ArrowScanner(HashKey(), anonymous=True).scan([value]).columns) == 1


def test_a_feed_is_cut_into_messages_of_so_many_rows() -> None:
    lines = [damage.spell(damage.sample_order(number)) for number in range(25)]
    values = list(messages(lines, 10))
    assert [len(ARROW.scan([value]).columns) for value in values] == [10, 10, 5]


def test_no_damage_of_bytes_breaks_the_reader() -> None:
    rng = random.Random(20_260_302)
    lines = [damage.spell(event) for event, _ in zip(damage.good_events(1), range(9), strict=False)]
    value = encode(lines)
    taken = 0
    for _ in range(300):
        damaged = bytearray(value)
        for _ in range(rng.choice([1, 1, 3])):
            at = rng.randrange(len(damaged))
            damaged[at : at + 4] = rng.choice(
                [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", bytes(4), rng.randbytes(1)]
            )
        scanned = scan(bytes(damaged))
        scanned.columns.lines()
        assert {r.reason for r in scanned.rejected} <= reasons.REASONS.keys()
        taken += len(scanned.columns) - 6
    assert 0 < taken < 300 * 9
