"""Hypothesis strategies of single events: of every kind, in the many ways JSON can spell them."""

import json
from typing import Any

from hypothesis import strategies as st

from schemas import events, wire

ascii_ids = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=24)
plain_ids = st.text("aZ09-_. /{}[]:,~", min_size=1, max_size=24)
wide_ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=128)


@st.composite
def id_texts(draw: st.DrawFn) -> str:
    """Give an id; mostly a plain one, so that most lines stay with the kernel."""
    odd = draw(st.integers(0, 30))
    return draw({0: ascii_ids, 1: wide_ids}.get(odd, plain_ids))


ids = id_texts()
times = st.integers(events.TIME_MIN_NS, events.TIME_MAX_NS - 1)
money = st.integers(-events.MONEY_MAX * events.E8, events.MONEY_MAX * events.E8)
amounts = money | st.integers(-10, 10).map(lambda n: n * events.E8)
positive = st.integers(1, events.MONEY_MAX * events.E8)
SPACE = st.sampled_from(["", "", "", " ", "\t", "\r", " \t "])


class Spelled(str):
    """A piece of JSON as it will stand in the line."""

    __slots__ = ()


@st.composite
def spelled_money(draw: st.DrawFn, values: st.SearchStrategy[int] = amounts) -> Spelled:
    value = draw(values)
    sign = "-" if value < 0 else draw(st.sampled_from([""] * 20 + ["+"]))
    whole, rest = divmod(abs(value), events.E8)
    decimals = f"{rest:08d}" if draw(st.booleans()) else f"{rest:08d}".rstrip("0")
    zeros = "0" * draw(st.sampled_from([0, 0, 0, 1, 12]))
    text = f"{whole}.{decimals}{zeros}" if decimals + zeros else str(whole)
    if draw(st.sampled_from([False] * 20 + [True])):
        text = f"{abs(value)}{draw(st.sampled_from(['e', 'E']))}-8"
    if sign == "+" or draw(st.booleans()):
        return Spelled(f'"{sign}{text}"')
    return Spelled(sign + text)


day = st.dates().map(lambda d: f"{d:%Y}".zfill(4) + f"{d:-%m-%d}")
COMPLEX = {
    "holdings": st.lists(
        st.fixed_dictionaries({"instrument": ids, "quantity": spelled_money()}), max_size=3
    ),
    "bids": st.lists(
        st.fixed_dictionaries({"price": spelled_money(), "quantity": spelled_money()}), max_size=3
    ),
    "segments": st.none() | st.lists(ascii_ids, max_size=2),
    "registrations": st.none()
    | st.lists(
        st.fixed_dictionaries(
            {"registration": st.sampled_from(["hedge", "market_maker"]), "valid_from_ns": times}
        ),
        max_size=2,
    ),
    "trading_day": day,
    "counts": st.dictionaries(ids, st.integers(0, 2**53), max_size=3),
    "notional": st.none() | st.dictionaries(ids, spelled_money(), max_size=3),
}
COMPLEX["asks"] = COMPLEX["bids"]


def values_of(field: wire.Field) -> st.SearchStrategy[Any]:
    """Give good values of a field."""
    match field.value_type:
        case wire.STRING:
            return ids
        case wire.INTEGER:
            return st.integers(field.low, field.high)
        case wire.MONEY:
            return spelled_money(positive if field.positive else amounts)
        case wire.BOOLEAN:
            return st.booleans()
        case wire.CHOICE:
            return st.sampled_from(field.choices)
    return COMPLEX[field.name]


@st.composite
def good_events(draw: st.DrawFn, kinds: tuple[str, ...] = events.KINDS) -> dict[str, Any]:
    """Give an event of any kind, some optional fields present, null or absent."""
    kind = draw(st.sampled_from(kinds))
    event: dict[str, Any] = {"kind": kind}
    for field in wire.FIELDS[kind][1:]:
        if field.required or field.name == "account_id":
            event[field.name] = draw(values_of(field))
        elif draw(st.booleans()):
            event[field.name] = draw(st.none() | values_of(field))
    if kind == "order.new" and event.get("order_type") not in wire.PRICELESS_ORDER_TYPES:
        event["price"] = draw(spelled_money())
    if draw(st.booleans()):
        scalars = st.none() | st.booleans() | st.integers() | st.floats(-1e300, 1e300) | ids
        texts = st.lists(st.text(max_size=9), max_size=3)
        extra = draw(st.dictionaries(ids, scalars | texts, max_size=2))
        event = {name: v for name, v in extra.items() if name not in wire.KEYS} | event
    return event


def _spell(draw: st.DrawFn, value: Any) -> str:
    if isinstance(value, Spelled):
        return str(value)
    if isinstance(value, dict):
        pieces = [
            f"{_spell(draw, n)}{_spell_colon(draw)}{_spell(draw, v)}" for n, v in value.items()
        ]
        return "{" + ",".join(pieces) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_spell(draw, v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=draw(st.sampled_from([False, False, True])))


def _spell_colon(draw: st.DrawFn) -> str:
    return draw(SPACE) + ":" + draw(SPACE)


@st.composite
def good_lines(draw: st.DrawFn) -> bytes:
    """Give an event in one of its many spellings."""
    event = draw(good_events())
    names = draw(st.permutations(list(event)))
    gap = draw(SPACE)
    pieces = [
        f"{gap}{json.dumps(n, ensure_ascii=False)}{_spell_colon(draw)}{_spell(draw, event[n])}{gap}"
        for n in names
    ]
    return (gap + "{" + ",".join(pieces) + "}" + gap).encode()
