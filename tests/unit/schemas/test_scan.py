"""Blocks of lines become rows; what surrounds an event does not matter."""

import json

import damage
import numpy as np
import pytest

from schemas import referee, wire
from schemas.columns import (
    FLAG_REGISTRATIONS,
    FLAG_SIMULATED,
    HAS_PRICE,
    HashKey,
    Scanned,
    code_table,
)
from schemas.events import TIME_MIN_NS, OrderNew, RefAccount
from schemas.hashing import hash_bytes, padded
from schemas.scan import OTHER_NAMES, UNKNOWN_NAMES_MAX, Scanner, _Run

KEY = HashKey(11, 12)


def order(**changes: object) -> dict[str, object]:
    return damage.sample_order() | changes


def scan(*events: dict[str, object], **options: object) -> Scanned:
    data = b"\n".join(damage.spell(event) for event in events)
    return Scanner(KEY, **options).scan(data)  # type: ignore[arg-type]


def reasons_of(scanned: Scanned) -> list[str]:
    return [r.reason for r in scanned.rejected]


def kernel_leaves(line: bytes) -> bool:
    """Say whether the kernel leaves the line to the referee."""
    run = _Run(line_size=100)
    Scanner(KEY)._scan_lines(run, padded(line), len(line), 0)
    return bool(run.odd)


def test_nothing_gives_nothing() -> None:
    for empty in (b"", np.zeros(0, np.uint8)):
        scanned = Scanner(KEY).scan(empty)
        assert (len(scanned.columns), scanned.line_count, scanned.rejected) == (0, 0, [])


def test_the_last_line_may_lack_its_line_feed() -> None:
    line = damage.spell(order())
    assert len(Scanner(KEY).scan(line).columns) == 1
    assert len(Scanner(KEY).scan(line + b"\n").columns) == 1
    assert reasons_of(Scanner(KEY).scan(line + b"\n\n")) == ["blank_line"]


def test_carriage_returns_are_white_space() -> None:
    line = damage.spell(order())
    scanned = Scanner(KEY).scan(line + b"\r\n" + line + b"\r\n")
    assert scanned.columns.rows["line_length"].tolist() == [len(line) + 1] * 2
    assert not kernel_leaves(line + b"\r\n")


def test_arrays_are_read_in_place_and_bytes_are_copied() -> None:
    array = np.frombuffer(bytearray(damage.spell(order()) + b"\n"), np.uint8)
    assert Scanner(KEY).scan(array).columns.raw is array
    array.flags.writeable = False
    assert Scanner(KEY).scan(array).columns.raw is not array


def test_bytes_behind_the_block_are_not_read() -> None:
    line = damage.spell(order())
    whole = np.frombuffer(bytearray(line[:-1] + b"}"), np.uint8)
    assert reasons_of(Scanner(KEY).scan(whole[:-1])) == ["truncated_json"]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 300])
def test_lines_of_any_size_are_found(size: int) -> None:
    block = b"\n".join([b"x" * size, damage.spell(order()), b"x" * size, b"y"])
    scanned = Scanner(KEY).scan(block)
    assert [r.line_number for r in scanned.rejected] == [0, 2, 3]
    assert scanned.columns.rows["line_number"].tolist() == [1]


def test_more_lines_than_expected_make_more_room() -> None:
    scanner = Scanner(KEY)
    events = [order(event_id=str(n), note="x" * (3000 if n < 40 else 0)) for n in range(400)]
    lines = [damage.spell(event) for event in events]
    for _ in range(2):
        scanned = scanner.scan(b"\n".join(lines))
        assert [scanned.columns.line(n) for n in range(400)] == lines
    assert len(scanner.scan(b"\n" * 500).rejected) == 500


@pytest.mark.parametrize(
    "kind", ["order.new", "order.cancel", "fill", "app.event", "order.replace"]
)
def test_the_kernel_takes_ordinary_lines_itself(kind: str) -> None:
    good = damage.good_events(3)
    lines = [damage.spell(next(e for e in good if e["kind"] == kind)) for _ in range(50)]
    assert not any(kernel_leaves(line) for line in lines)


@pytest.mark.parametrize(
    "line",
    [
        damage.spell(order(note="x", level=1.5e-7, flag=None)),
        damage.spell(order(tenant=None, order_type=None)),
        json.dumps(order()).encode(),
        json.dumps(order()).replace(":", "\t:\r ").encode(),
        damage.spell(order(price="10.50000000000000")),
        damage.spell(order(quantity=92233720368, is_simulated=True)),
        damage.spell(order(price=-0.0, order_type="pegged", tenant="t")),
    ],
)
def test_the_kernel_takes_plain_spellings_itself(line: bytes) -> None:
    assert not kernel_leaves(line)
    assert len(Scanner(KEY).scan(line).columns) == 1


@pytest.mark.parametrize(
    "line",
    [
        damage.spell(order(venue="上海")),
        json.dumps(order(venue="上海")).encode(),
        damage.spell(order(note={"a": [1]})),
        damage.spell(order(price="+10.5")),
        damage.spell(order()).replace(b"10.5", b"105e-1"),
        damage.spell(order()).replace(b"10.5", b"10." + b"5" + b"0" * 30),
        damage.spell(order(**{f"x{n}": n for n in range(80)})),
        damage.spell(order(account_id="账" * 128)),
        damage.spell(order(account_id="😀")),
        json.dumps(order(account_id="😀")).encode(),
    ],
)
def test_the_referee_takes_other_spellings(line: bytes) -> None:
    assert kernel_leaves(line)
    scanned = Scanner(KEY).scan(line)
    assert reasons_of(scanned) == []
    row, _ = referee.judge_row(line, referee.RowKey(KEY), anonymous=False)
    assert int(row["order_1"]) == int(scanned.columns.rows["order_1"][0]) != 0


def test_unknown_fields_are_counted_by_name() -> None:
    events = [order(note="x", **{"": 1}), order(note=None), order(注="y"), order(note={})]
    cancel = {"kind": "order.cancel", "reason": "user", "venue": "XSHG", "price": "free"}
    kept = {n: order()[n] for n in ("source", "event_id", "event_time_ns", "account_id")}
    scanned = scan(*events, cancel | kept | {"order_id": "o"}, order(side="?", refused=1))
    assert scanned.unknown_fields == {"note": 3, "": 1, "注": 1, "venue": 1, "price": 1}
    assert scanned.columns.rows["venue_1"][4] == 0
    assert scanned.columns.rows["has"][4] == 0


def test_a_sender_who_invents_names_fills_one_bucket() -> None:
    events = [order(**{f"x{n}": 1}) for n in range(UNKNOWN_NAMES_MAX + 100)]
    counts = scan(*events).unknown_fields
    assert len(counts) == UNKNOWN_NAMES_MAX + 1
    assert counts[OTHER_NAMES] == 100


def test_the_connections_tenant_is_the_default() -> None:
    bare, named = order(), order(tenant="t2")
    one = scan(bare, named, tenant="t1").columns.rows
    other = scan(bare, named, tenant="t2").columns.rows
    none = scan(bare).columns.rows
    assert len({int(r["account_1"][0]) for r in (one, other, none)}) == 3
    assert one["account_1"][1] == other["account_1"][1] == other["account_1"][0]
    assert one["event_1"][0] == other["event_1"][0]


def test_nothing_of_a_line_stays_for_the_next() -> None:
    beat = {n: order()[n] for n in ("source", "event_id", "event_time_ns")} | {"kind": "heartbeat"}
    rows = scan(order(tenant="t2", is_simulated=True), order(), beat, tenant="t1").columns.rows
    assert rows["account_1"][1] == scan(order(), tenant="t1").columns.rows["account_1"][0]
    assert rows["account_1"][2] == rows["account_murmur2"][2] == rows["has"][2] == 0
    assert rows["flags"].tolist() == [FLAG_SIMULATED, 0, 0]


def test_the_event_is_hashed_within_its_source() -> None:
    rows = scan(order(source="a"), order(source="b")).columns.rows
    tweak = hash_bytes(b"b", 0, KEY)[0]
    found = (int(rows["event_1"][1]), int(rows["event_2"][1]))
    assert found == hash_bytes(b"damaged-0", tweak, KEY)
    assert rows["event_1"][0] != rows["event_1"][1]


def test_anonymous_sources_may_leave_the_account_out() -> None:
    event = {k: v for k, v in order().items() if k != "account_id"}
    assert reasons_of(scan(event)) == ["missing_field"]
    rows = scan(event, order(), anonymous=True).columns.rows
    assert rows["account_1"][0] == rows["account_murmur2"][0] == 0
    assert rows["account_1"][1] != 0


def test_an_account_of_a_market_event_is_an_unknown_field() -> None:
    trade = order(kind="market.trade")
    scanned = scan(trade)
    assert scanned.columns.rows["account_1"][0] == 0
    assert scanned.unknown_fields == {"account_id": 1, "order_id": 1}


@pytest.mark.parametrize("order_type", sorted(wire.PRICELESS_ORDER_TYPES))
def test_orders_that_take_the_markets_price_need_none(order_type: str) -> None:
    rows = scan(order(price=None, order_type=order_type)).columns.rows
    assert len(rows) == 1
    assert rows["has"][0] & HAS_PRICE == 0


def test_a_present_zero_differs_from_absent() -> None:
    rows = scan(order(price=0), order(price=None, order_type="market")).columns.rows
    assert (rows["has"] & HAS_PRICE).tolist() == [HAS_PRICE, 0]


def test_truths_become_flags() -> None:
    rows = scan(order(is_simulated=True), order(is_simulated=False)).columns.rows
    assert rows["flags"].tolist() == [FLAG_SIMULATED, 0]


def test_kinds_with_lists_become_rows() -> None:
    head = {n: order()[n] for n in ("source", "event_id", "event_time_ns", "account_id")}
    snapshot = head | {
        "kind": "position.snapshot",
        "holdings": [{"instrument": "a", "quantity": -1}],
    }
    account = head | {"kind": "ref.account", "segments": None, "registrations": []}
    scanned = scan(snapshot, account)
    assert len(scanned.columns) == 2
    assert referee.decode(scanned.columns.line(1)) == referee.judge(scanned.columns.line(1))


@pytest.mark.parametrize(
    ("segments", "registrations", "is_plain"),
    [
        ("[]", "[]", True),
        ('["retail" , "active"]', "[ ]", True),
        ('[""]', "[]", False),
        (f'["a","{"x" * 5_000}"]', "[]", False),
        ('["a",]', "[]", False),
        ('["a"', "[]", False),
        ('[ "a" "b"]', "[]", False),
        ('["a", 1]', "[]", False),
        ('["\\n"]', "[]", False),
        ("[]", '["hedge"]', False),
        ("[]", '[""]', False),
        ('"retail"', "[]", False),
    ],
)
def test_lists_of_strings_are_plain(segments: str, registrations: str, *, is_plain: bool) -> None:
    head = {n: order()[n] for n in ("source", "event_id", "event_time_ns", "account_id")}
    text = json.dumps(head | {"kind": "ref.account", "unknown": ["x"]}).removesuffix("}")
    line = f'{text},"segments":{segments},"registrations":{registrations}}}'.encode()
    assert kernel_leaves(line) == (not is_plain)
    assert len(Scanner(KEY).scan(line).columns) == isinstance(referee.judge(line), RefAccount)


def test_listed_registrations_are_flagged() -> None:
    head = {n: order()[n] for n in ("source", "event_id", "event_time_ns", "account_id")}
    entry = {"registration": "hedge", "valid_from_ns": TIME_MIN_NS}
    rows = scan(
        head | {"kind": "ref.account", "registrations": [entry], "segments": ["a"]},
        head | {"kind": "ref.account", "registrations": [], "segments": ["a"]},
    ).columns.rows
    assert rows["flags"].tolist() == [FLAG_REGISTRATIONS, 0]


def test_decode_gives_the_strings_back() -> None:
    event = referee.decode(damage.spell(order(account_id="Ünï")))
    assert isinstance(event, OrderNew)
    assert event.account_id == "Ünï"
    with pytest.raises(ValueError, match="expected a kind"):
        referee.decode(b"{}")


def test_a_choice_far_off_has_no_suggestion() -> None:
    near = referee.judge(damage.spell(order(kind="order.nwe")))
    far = referee.judge(damage.spell(order(kind="zzz")))
    assert isinstance(near, referee.Verdict)
    assert isinstance(far, referee.Verdict)
    assert near.got == '"order.nwe" (nearest: order.new)'
    assert far.got == '"zzz"'


def test_code_tables_leave_absence_out() -> None:
    assert code_table(("", "a", "b")) == {"a": 1, "b": 2}


HOSTILE = {
    "escapes": b'{"a":"' + b"\\n" * 100_000 + b'\\u0041"',
    "numbers": b'{"\\u0041":[' + b"1," * 100_000,
    "long key": b'{"\\u0041' + b"k" * 100_000 + b'":{' + b'"":0,'.join([b""] * 2),
    "long path": b'{"\\u0041' + b"k" * 100_000 + b'":[' + b"0," * 100_000,
    "long kind": b'{"kind":"' + b"order" * 100_000 + b'"}',
    "digits": damage.spell(order()).replace(b"10.5", b"9" * 900_000),
    "exponent": damage.spell(order()).replace(b"10.5", b"1e" + b"9" * 900_000),
    "time": damage.spell(order(event_time_ns=0)).replace(b":0,", b":" + b"9" * 900_000 + b","),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_lines_are_refused_in_linear_time(name: str) -> None:
    verdict = referee.judge(HOSTILE[name])
    assert isinstance(verdict, referee.Verdict)
    assert len(verdict.path) + len(verdict.expected) + len(verdict.got) < 1_000


@pytest.mark.parametrize(
    ("name", "number", "reason"),
    [
        ("price", 2**64 + 1, "money_out_of_range"),  # 1 if digits wrapped around
        ("event_time_ns", 2**64 + damage.START_NS, "out_of_range"),
        ("quantity", 2**65 + 100, "money_out_of_range"),
        ("price", f"{2**64 + 1}00", "money_out_of_range"),
    ],
)
def test_numbers_beyond_64_bits_do_not_wrap_around(name: str, number: object, reason: str) -> None:
    scanned = scan(order(**{name: number}))
    assert [(r.reason, r.path) for r in scanned.rejected] == [(reason, f"$.{name}")]
