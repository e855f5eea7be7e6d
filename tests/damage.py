"""A file in which many kinds of damage stand at known lines among a consistent order stream.

The damaged lines are extra: the good lines by themselves are a whole story (every cancel and fill
has its order), so that a test can also check what the good ones did.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Event = dict[str, Any]
LINES = 10_000
START_NS = 1_772_415_000_000_000_000  # 2026-03-02T01:30:00Z
ACCOUNTS = tuple(f"A-{n:03d}" for n in range(12))
INSTRUMENTS = ("600000", "600519", "601318")
TIMES_EACH = 4


class Damage(NamedTuple):
    """One kind of damage.

    ``make`` turns a good order.new into a bad line; ``in_schema`` says whether a JSON Schema can
    express the fault of the parsed object.
    """

    name: str
    make: Callable[[Event], bytes]
    reason: str
    path: str
    in_schema: bool = False


def spell(event: Event) -> bytes:
    """Write an event as most feeds do."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def _with(**changes: Any) -> Callable[[Event], bytes]:
    return lambda event: spell(event | changes)


def _raw(name: str, text: str) -> Callable[[Event], bytes]:
    """Put a value in as it stands, without checking that it is JSON."""
    return lambda event: spell(event | {name: "@@"}).replace(b'"@@"', text.encode())


def _without(name: str) -> Callable[[Event], bytes]:
    return lambda event: spell({k: v for k, v in event.items() if k != name})


def _swap(old: bytes, new: bytes) -> Callable[[Event], bytes]:
    return lambda event: spell(event).replace(old, new, 1)


def _to(kind: str, *names: str, **changes: Any) -> Callable[[Event], bytes]:
    """Turn the order into another kind that keeps the named fields."""
    kept = ("source", "event_id", "event_time_ns", "account_id", *names)
    return lambda event: spell({"kind": kind} | {n: event[n] for n in kept} | changes)


def _fill(**changes: Any) -> Callable[[Event], bytes]:
    names = ("order_id", "instrument", "venue", "side", "price", "quantity")
    return _to("fill", *names, **({"fill_id": "F-x"} | changes))


DAMAGES: tuple[Damage, ...] = (
    # The line as a whole.
    Damage("empty line", lambda _: b"", "blank_line", ""),
    Damage("white space only", lambda _: b" \t ", "blank_line", ""),
    Damage("carriage return only", lambda _: b"\r", "blank_line", ""),
    Damage("longer than 1 MiB", _with(note="x" * 2**20), "line_too_long", ""),
    Damage("byte that is no UTF-8", _swap(b"XSHG", b"XS\xffG"), "bad_utf8", ""),
    Damage("UTF-8 cut short", _swap(b"XSHG", b"XS\xe4\xb8"), "bad_utf8", ""),
    Damage("surrogate in UTF-8", _swap(b"XSHG", b"\xed\xa0\x80"), "bad_utf8", ""),
    Damage("overlong UTF-8", _swap(b"XSHG", b"\xc0\xafHG"), "bad_utf8", ""),
    Damage("byte order mark", lambda e: b"\xef\xbb\xbf" + spell(e), "byte_order_mark", ""),
    Damage("UTF-16", lambda e: b"\xff\xfe" + spell(e), "byte_order_mark", ""),
    Damage("tab inside a string", _swap(b"XSHG", b"XS\tG"), "control_character", "$.venue"),
    Damage("NUL inside a string", _swap(b"XSHG", b"XS\x00G"), "control_character", "$.venue"),
    Damage("cut in a string", lambda e: spell(e).partition(b"HG")[0], "truncated_json", "$.venue"),
    Damage("brace missing", lambda e: spell(e)[:-1], "truncated_json", ""),
    Damage("cut after a colon", lambda e: spell(e).partition(b'"XSHG')[0], "truncated_json", ""),
    Damage("two objects on a line", lambda e: spell(e) + spell(e), "trailing_data", ""),
    Damage("rubbish behind", lambda e: spell(e) + b";", "trailing_data", ""),
    Damage("comma behind", lambda e: spell(e) + b",", "trailing_data", ""),
    Damage("single quotes", lambda e: spell(e).replace(b'"', b"'"), "malformed_json", ""),
    Damage("trailing comma", lambda e: spell(e)[:-1] + b",}", "malformed_json", ""),
    Damage("bare key", _swap(b'"venue"', b"venue"), "malformed_json", ""),
    Damage("colon missing", _swap(b'"venue":', b'"venue"'), "malformed_json", ""),
    Damage("comment", lambda e: spell(e)[:-1] + b"/* x */}", "malformed_json", ""),
    Damage("leading zero", _raw("price", "010.5"), "malformed_json", ""),
    Damage("plus sign", _raw("price", "+10.5"), "malformed_json", ""),
    Damage("point without digits", _raw("price", ".5"), "malformed_json", ""),
    Damage("Python's None", _raw("tenant", "None"), "malformed_json", ""),
    Damage("text line", lambda _: b"2026-03-02 09:30:00 INFO started", "trailing_data", ""),
    Damage("a list", lambda e: b"[" + spell(e) + b"]", "not_an_object", "", in_schema=True),
    Damage("a number", lambda _: b"42", "not_an_object", "", in_schema=True),
    Damage("65 levels", _raw("note", "[" * 64 + "]" * 64), "too_deep", "$.note" + "[0]" * 63),
    Damage("NaN", _raw("price", "NaN"), "not_finite", "$.price"),
    Damage("minus Infinity", _raw("price", "-Infinity"), "not_finite", "$.price"),
    Damage("unknown escape", _swap(b"XSHG", b"XS\\xG"), "bad_escape", "$.venue"),
    Damage("half a surrogate pair", _swap(b"XSHG", b"\\ud83d"), "bad_escape", "$.venue"),
    Damage("low surrogate alone", _swap(b"XSHG", b"\\ude00"), "bad_escape", "$.venue"),
    Damage("key twice", lambda e: spell(e)[:-1] + b',"side":"buy"}', "duplicate_key", "$.side"),
    Damage(
        "key twice, once escaped",
        lambda e: spell(e)[:-1] + b',"sid\\u0065":"buy"}',
        "duplicate_key",
        "$.side",
    ),
    Damage("unknown key twice", lambda e: spell(e)[:-1] + b',"x":1,"x":1}', "duplicate_key", "$.x"),
    Damage("inner key twice", _raw("note", '{"a":1,"a":2}'), "duplicate_key", "$.note.a"),
    # The kind.
    Damage("no kind", _without("kind"), "missing_field", "$.kind", in_schema=True),
    Damage("null kind", _with(kind=None), "missing_field", "$.kind", in_schema=True),
    Damage("number as kind", _with(kind=1), "wrong_type", "$.kind", in_schema=True),
    Damage("misspelled kind", _with(kind="order.now"), "unknown_kind", "$.kind", in_schema=True),
    Damage("kind in capitals", _with(kind="ORDER.NEW"), "unknown_kind", "$.kind", in_schema=True),
    # Fields.
    Damage("no order_id", _without("order_id"), "missing_field", "$.order_id", in_schema=True),
    Damage("null side", _with(side=None), "missing_field", "$.side", in_schema=True),
    Damage("no account", _without("account_id"), "missing_field", "$.account_id", in_schema=True),
    Damage("no source", _without("source"), "missing_field", "$.source", in_schema=True),
    Damage("number as id", _with(order_id=7), "wrong_type", "$.order_id", in_schema=True),
    Damage("list as id", _with(order_id=["7"]), "wrong_type", "$.order_id", in_schema=True),
    Damage("text as time", _with(event_time_ns="1"), "wrong_type", "$.event_time_ns", True),
    Damage("time with a point", _with(event_time_ns=1.5e18), "wrong_type", "$.event_time_ns"),
    Damage(
        "time in seconds",
        _with(event_time_ns=1_772_415_000),
        "out_of_range",
        "$.event_time_ns",
        True,
    ),
    Damage(
        "time beyond 64 bits", _with(event_time_ns=2**64), "out_of_range", "$.event_time_ns", True
    ),
    Damage("text as truth", _with(is_simulated="true"), "wrong_type", "$.is_simulated", True),
    Damage("truth as money", _with(price=True), "wrong_type", "$.price", in_schema=True),
    Damage("object as money", _with(price={}), "wrong_type", "$.price", in_schema=True),
    Damage("unknown side", _with(side="BUY"), "not_a_choice", "$.side", in_schema=True),
    Damage("empty choice", _with(order_type=""), "not_a_choice", "$.order_type", in_schema=True),
    Damage("number as choice", _with(side=1), "wrong_type", "$.side", in_schema=True),
    Damage("empty id", _with(event_id=""), "too_short", "$.event_id", in_schema=True),
    Damage("id of 129", _with(account_id="a" * 129), "too_long", "$.account_id", in_schema=True),
    Damage("DEL in an id", _with(venue="XS\x7fG"), "not_printable", "$.venue", in_schema=True),
    Damage("escaped line feed", _with(venue="XSHG\n"), "not_printable", "$.venue", in_schema=True),
    Damage("C1 control", _with(venue="\x85"), "not_printable", "$.venue", in_schema=True),
    # Money.
    Damage("thousands comma", _with(price="1,000.5"), "bad_decimal", "$.price", in_schema=True),
    Damage("blank in money", _with(price=" 10.5"), "bad_decimal", "$.price", in_schema=True),
    Damage("empty money", _with(price=""), "bad_decimal", "$.price", in_schema=True),
    Damage("full-width digits", _with(price="１０"), "bad_decimal", "$.price", in_schema=True),
    Damage("nine decimals", _raw("price", "1.000000001"), "too_many_decimals", "$.price"),
    Damage("tiny exponent", _raw("price", "1e-9"), "too_many_decimals", "$.price"),
    Damage(
        "too much money", _raw("price", "92233720368.00000001"), "money_out_of_range", "$.price"
    ),
    Damage("huge exponent", _raw("price", "1e400"), "money_out_of_range", "$.price"),
    Damage("far too much", _raw("quantity", "-1e12"), "money_out_of_range", "$.quantity", True),
    Damage("zero quantity", _with(quantity=0), "quantity_not_positive", "$.quantity"),
    Damage("negative quantity", _with(quantity="-5"), "quantity_not_positive", "$.quantity"),
    Damage("order without price", _without("price"), "missing_price", "$.price", in_schema=True),
    Damage(
        "stop_limit without price",
        _with(order_type="stop_limit", price=None),
        "missing_price",
        "$.price",
        in_schema=True,
    ),
    # Other kinds.
    Damage("zero fill", _fill(quantity=0), "quantity_not_positive", "$.quantity"),
    Damage("fill without fill_id", _fill(fill_id=None), "missing_field", "$.fill_id", True),
    Damage(
        "cancel for no listed reason",
        _to("order.cancel", "order_id", reason="because"),
        "not_a_choice",
        "$.reason",
        in_schema=True,
    ),
    Damage(
        "replace without price",
        _to("order.replace", "order_id", "quantity"),
        "missing_field",
        "$.price",
        in_schema=True,
    ),
    Damage(
        "holding without quantity",
        _to(
            "position.snapshot", holdings=[{"instrument": "a", "quantity": 1}, {"instrument": "b"}]
        ),
        "missing_field",
        "$.holdings[1].quantity",
        in_schema=True,
    ),
    Damage(
        "count below zero",
        _to("control.totals", trading_day="2026-03-02", counts={"fill": -1}),
        "out_of_range",
        "$.counts.fill",
        in_schema=True,
    ),
    Damage(
        "day spelled otherwise",
        _to("control.totals", trading_day="02.03.2026", counts={}),
        "bad_format",
        "$.trading_day",
        in_schema=True,
    ),
)


def good_events(seed: int) -> Iterator[Event]:
    """Give a consistent order stream of a few accounts without end, in time order."""
    rng = random.Random(seed)
    working: list[tuple[Event, int]] = []
    number, time_ns = 0, START_NS
    while True:
        number += 1
        time_ns += rng.randrange(1_000_000, 400_000_000)
        head: Event = {"source": "broker-1", "event_id": f"E{number:06d}", "event_time_ns": time_ns}
        roll = rng.random()
        if roll < 0.05:
            name = rng.choice(("open", "login", "order.button", "feature.used"))
            account = rng.choice(ACCOUNTS)
            yield {"kind": "app.event", **head, "account_id": account, "name": name}
        elif roll < 0.5 or not working:
            event = {"kind": "order.new", **head, **_order(rng, number)}
            working.append((event, event["quantity"]))
            yield event
        else:
            yield _follow(rng, head, working)


def _order(rng: random.Random, number: int) -> Event:
    order: Event = {
        "account_id": rng.choice(ACCOUNTS),
        "order_id": f"O{number:06d}",
        "instrument": rng.choice(INSTRUMENTS),
        "venue": "XSHG",
        "side": rng.choice(("buy", "sell")),
        "quantity": rng.randrange(1, 20) * 100,
        "price": rng.choice((10.5, "1688.88", 43, 7.07)),
    }
    if rng.random() < 0.3:
        order |= {"order_type": "limit", "time_in_force": rng.choice(("day", "ioc", "gtc"))}
    return order


def _follow(rng: random.Random, head: Event, working: list[tuple[Event, int]]) -> Event:
    """Cancel, replace or fill a working order."""
    index = rng.randrange(len(working))
    order, left = working.pop(index)
    tail: Event = {"account_id": order["account_id"], "order_id": order["order_id"]}
    roll = rng.random()
    if roll < 0.5:
        reason = rng.choice(("user", "user", "user", "immediate"))
        return {"kind": "order.cancel", **head, **tail, "quantity": left, "reason": reason}
    if roll < 0.6:
        working.append((order, left))
        return {"kind": "order.replace", **head, **tail, "price": order["price"], "quantity": left}
    traded = left if roll < 0.8 else max(100, left // 200 * 100)
    if traded < left:
        working.append((order, left - traded))
    same = {name: order[name] for name in ("instrument", "venue", "side", "price")}
    fill_id = {"fill_id": "F" + head["event_id"]}
    return {"kind": "fill", **head, **tail, **fill_id, **same, "quantity": traded}


def sample_order(number: int = 0) -> Event:
    """Give one good order.new to damage; its event_id is in no good stream."""
    return {
        "kind": "order.new",
        "source": "broker-1",
        "event_id": f"damaged-{number}",
        "event_time_ns": START_NS + number,
        "account_id": ACCOUNTS[0],
        "order_id": f"damaged-{number}",
        "instrument": INSTRUMENTS[0],
        "venue": "XSHG",
        "side": "buy",
        "quantity": 100,
        "price": 10.5,
    }


def make_damaged_file(seed: int) -> tuple[bytes, list[tuple[int, str, str]]]:
    """Give a file of ``LINES`` lines and (line number from 0, damage, reason) of every bad one."""
    rng = random.Random(seed)
    damages = list(DAMAGES) * TIMES_EACH
    rng.shuffle(damages)
    places = sorted(rng.sample(range(LINES), len(damages)))
    by_place = dict(zip(places, damages, strict=True))
    good = good_events(seed)
    lines, expected = [], []
    for number in range(LINES):
        damage = by_place.get(number)
        if damage is None:
            lines.append(spell(next(good)))
        else:
            lines.append(damage.make(sample_order(number)))
            expected.append((number, damage.name, damage.reason))
    return b"\n".join(lines) + b"\n", expected
