"""The referee: takes one line as an event, or names the reason it cannot.

It decides every line the scanner's kernels do not call plain, explains what ``tapewatch check``
reports, and gives back whole events where strings are wanted again (alerts). It reads the same
structs as the kernels' tables do, and makes the same rows.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec
import numpy as np
from msgspec import inspect

from schemas import columns, events, wire
from schemas.columns import ROW, HashKey
from schemas.events import MONEY_MAX, Event
from schemas.hashing import hash_bytes, murmur2_bytes
from schemas.money import MoneyError, parse_e8
from schemas.strict_json import Fault, Number, describe, parse_object, shorten

Check: TypeAlias = Callable[[Any], None]

_DECODER: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(cast("Any", events.AnyEvent))
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)\Z")
_INTEGER_LENGTH_MAX: Final = 20  # no int64 has more characters
_PATH_LENGTH_MAX: Final = 512
_WORD_LENGTH_MAX: Final = 64  # nothing longer is near one of our words
_EVENT_TYPE_OF: Final = dict(zip(events.KINDS, events.EVENT_TYPES, strict=True))
_MONEY_EXPECTED: Final = {
    "bad_decimal": "a plain decimal",
    "too_many_decimals": "at most 8 decimals",
    "money_out_of_range": f"at most {MONEY_MAX:,} either way",
}


class Verdict(NamedTuple):
    """Why a line is refused; ``expected`` and ``got`` are the halves of a sentence."""

    reason: str
    path: str
    expected: str
    got: str


class Names(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The names an accepted event goes by; those its kind does not have are empty."""

    source: str
    event_id: str
    tenant: str | None = None
    account_id: str | None = None
    instrument: str | None = None
    venue: str | None = None


class RowKey(NamedTuple):
    """What hashes in a row depend on besides the event.

    Attributes
    ----------
    key
        Of every hash.
    tenant_hash
        Of the connection's tenant; 0 where it has none.
    """

    key: HashKey
    tenant_hash: int = 0


_NAMES_DECODER: Final = msgspec.json.Decoder(Names)
# Names whose hash depends on the tenant, and the columns of its halves, as many as are kept.
_OF_TENANT: Final = {
    "counter_account_id": ("name_1", "notice_1"),
    "beneficial_owner": ("name_1",),
    "control_group": ("notice_1",),
}


def judge(line: bytes, *, anonymous: bool = False) -> Event | Verdict:
    """Decide one line.

    Parameters
    ----------
    line
        Without its line feed.
    anonymous
        Whether account kinds may leave out their account.

    Returns
    -------
    Event or Verdict
        The event, or the first fault found: of the line's syntax from left to right, then of
        its kind, then of its fields in the order the struct lists them.
    """
    decided = _decide(line, anonymous=anonymous)
    return decided if isinstance(decided, Verdict) else decided[0]


def judge_row(
    line: bytes, row_key: RowKey, *, anonymous: bool
) -> tuple[np.void, tuple[str, ...]] | Verdict:
    """Decide one line; return its row and the names of its unknown fields.

    The row lacks what only the block knows: place, length and number of the line.
    """
    decided = _decide(line, anonymous=anonymous)
    if isinstance(decided, Verdict):
        return decided
    event, unknown = decided
    return row_of(event, row_key), unknown


def names_of(line: bytes | memoryview) -> Names:
    """Read only the names of an event that was accepted before, several times faster."""
    return _NAMES_DECODER.decode(line)


def decode(line: bytes) -> Event:
    """Decode a line that was accepted before.

    Raises
    ------
    ValueError
        If it was not, with the reason in words.
    """
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError):
        # Absent lists spelled as null, which only the referee takes.
        event = judge(line, anonymous=True)
        if isinstance(event, Verdict):
            message = f"expected {event.expected}, got {event.got}"
            raise ValueError(message) from None  # noqa: TRY004 the text is at fault, no type
        return event


def _decide(line: bytes, *, anonymous: bool) -> tuple[Event, tuple[str, ...]] | Verdict:
    """Do the work of ``judge``, keeping the unknown fields' names."""
    try:
        _check_size(line)
        tree = parse_object(line)
        kind = _check_kind(tree)
        _check_fields(tree, _plan(kind, anonymous=anonymous))
        _check_price(kind, tree)
    except Fault as fault:
        path = fault.path[:_PATH_LENGTH_MAX]
        return Verdict(fault.reason, path, fault.expected, fault.got)
    known = {field.name for field in wire.FIELDS[kind]}
    unknown = tuple(name for name in tree if name not in known)
    return _to_event(line, tree), unknown


def _check_size(line: bytes) -> None:
    if len(line) > wire.LINE_SIZE_MAX:
        raise Fault("line_too_long", "at most 1 MiB a line", f"{len(line):,} bytes")


def _to_event(line: bytes, tree: dict[str, Any]) -> Event:
    """Let msgspec build the event; it refuses null for a list, so absent fields go first."""
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError:
        present = {name: value for name, value in tree.items() if value is not None}
        return _DECODER.decode(msgspec.json.encode(_spell(present)))


def _spell(value: Any) -> Any:
    """Put numbers back as they were spelled."""
    if isinstance(value, Number):
        return msgspec.Raw(value.encode())
    if isinstance(value, dict):
        return {name: _spell(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_spell(inner) for inner in value]
    return value


def _check_kind(tree: dict[str, Any]) -> str:
    """Return the line's kind."""
    kind = tree.get("kind")
    if kind is None:
        raise Fault("missing_field", "a kind", "none", "$.kind")
    if isinstance(kind, Number) or not isinstance(kind, str):
        raise Fault("wrong_type", "text", describe(kind), "$.kind")
    if kind not in _EVENT_TYPE_OF:
        got = shorten(kind) + _nearest(kind, events.KINDS)
        raise Fault("unknown_kind", "a kind of event we know", got, "$.kind")
    return kind


def _nearest(word: str, choices: Iterable[str]) -> str:
    """Suggest what may have been meant."""
    if len(word) > _WORD_LENGTH_MAX:
        return ""
    close = difflib.get_close_matches(word.lower(), list(choices), n=1)
    return f" (nearest: {close[0]})" if close else ""


def _check_price(kind: str, tree: dict[str, Any]) -> None:
    """Check that an order has a price unless its type goes without one.

    A stop order becomes a market order and a pegged one takes its price from the book, so they
    may come without a price just as a market order does.
    """
    if kind != wire.PRICE_NEEDED_KIND or tree.get("price") is not None:
        return
    order_type = tree.get("order_type")
    if order_type not in wire.PRICELESS_ORDER_TYPES:
        got = f"none for order_type {order_type}" if order_type else "none and no order_type"
        raise Fault("missing_price", "a price", got, "$.price")


class _Plan(NamedTuple):
    """How one field is checked."""

    name: str
    needed: bool
    check: Check


@cache
def _plan(kind: str, *, anonymous: bool) -> tuple[_Plan, ...]:
    """Return a kind's checks, in the struct's order."""
    event_type = _EVENT_TYPE_OF[kind]
    account_needed = events.requires_account(event_type) and not anonymous
    positive = {field.name for field in wire.FIELDS[kind] if field.positive}
    info: Any = inspect.type_info(event_type)
    plans = []
    for field in info.fields:
        needed = field.required or (field.encode_name == "account_id" and account_needed)
        check = _check_positive if field.encode_name in positive else _check_of(field.type)
        plans.append(_Plan(field.encode_name, needed, check))
    return tuple(plans)


def _check_fields(tree: dict[str, Any], plans: tuple[_Plan, ...], path: str = "$") -> None:
    """Check an object's fields; null is absent."""
    for plan in plans:
        value = tree.get(plan.name)
        here = f"{path}.{plan.name}"
        if value is not None:
            _check_inside(plan.check, value, here)
        elif plan.needed:
            got = "null" if plan.name in tree else "nothing"
            raise Fault("missing_field", "a value", got, here)


def _check_of(field_type: Any) -> Check:
    """Return the check for one inspected type."""
    inner: Any = wire.plain_type(field_type)
    if wire.is_money(inner):
        return _check_money
    match inner:
        case inspect.StrType():
            return _text_check(inner)
        case inspect.IntType():
            return _integer_check(inner)
        case inspect.BoolType():
            return _check_boolean
        case inspect.LiteralType():
            return _choice_check(inner.values)
    return _container_check(inner)


def _container_check(inner: Any) -> Check:
    """Return the check for a list, a dict or a struct."""
    match inner:
        case inspect.ListType():
            return _list_check(_check_of(inner.item_type))
        case inspect.DictType():
            return _dict_check(_check_of(inner.value_type))
        case inspect.StructType():
            return _struct_check(inner)
    raise AssertionError(f"no check for {inner}: add one here and to schemas.wire")


def _text_check(text_type: Any) -> Check:
    low, high = text_type.min_length, text_type.max_length
    pattern = re.compile(text_type.pattern) if text_type.pattern else None
    off_pattern = "not_printable" if high is not None else "bad_format"

    def check(value: Any) -> None:
        if isinstance(value, Number) or not isinstance(value, str):
            raise Fault("wrong_type", "text", describe(value))
        if low is not None and len(value) < low:
            raise Fault("too_short", "text that is not empty", "none")
        if high is not None and len(value) > high:
            raise Fault("too_long", f"at most {high} characters", f"{len(value):,}")
        if pattern is not None and not pattern.search(value):
            expected = "printable text" if high is not None else "a date such as 2026-01-31"
            raise Fault(off_pattern, expected, shorten(value))

    return check


def _integer_check(integer_type: Any) -> Check:
    low, high = wire.limits_of(integer_type)

    def check(value: Any) -> None:
        if not isinstance(value, Number):
            raise Fault("wrong_type", "an integer", describe(value))
        if not _INTEGER.match(value):
            raise Fault("wrong_type", "an integer without point or exponent", describe(value))
        if len(value) > _INTEGER_LENGTH_MAX or not low <= int(value) <= high:
            raise Fault("out_of_range", f"{low} to {high}", value[: _INTEGER_LENGTH_MAX * 2])

    return check


def _check_boolean(value: Any) -> None:
    if not isinstance(value, bool):
        raise Fault("wrong_type", "true or false", describe(value))


def _choice_check(choices: tuple[Any, ...]) -> Check:
    _, ordered = wire.codes_of(choices)
    allowed = frozenset(choices)

    def check(value: Any) -> None:
        if isinstance(value, Number) or not isinstance(value, str):
            raise Fault("wrong_type", "text", describe(value))
        if value not in allowed:
            got = shorten(value) + _nearest(value, ordered)
            raise Fault("not_a_choice", f"one of {', '.join(ordered)}", got)

    return check


def _check_money(value: Any) -> None:
    _read_money(value)


def _check_positive(value: Any) -> None:
    if _read_money(value) <= 0:
        raise Fault("quantity_not_positive", "more than zero", describe(value))


def _read_money(value: Any) -> int:
    """Read money from a number or a decimal string."""
    if not isinstance(value, str):
        raise Fault("wrong_type", "a number or a decimal string", describe(value))
    try:
        return parse_e8(value.encode())
    except MoneyError as error:
        raise Fault(error.reason, _MONEY_EXPECTED[error.reason], describe(value)) from None


def _list_check(check_item: Check) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, list):
            raise Fault("wrong_type", "a list", describe(value))
        for index, item in enumerate(value):
            _check_inside(check_item, item, f"[{index}]")

    return check


def _dict_check(check_value: Check) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise Fault("wrong_type", "an object", describe(value))
        for name, inner in value.items():
            _check_inside(check_value, inner, f".{name}")

    return check


def _check_inside(check: Check, value: Any, path: str) -> None:
    """Check an inner value, putting its place before the fault's path."""
    try:
        check(value)
    except Fault as fault:
        fault.path = path + fault.path
        raise


def _struct_check(struct_type: Any) -> Check:
    plans = tuple(
        _Plan(field.encode_name, field.required, _check_of(field.type))
        for field in struct_type.fields
    )

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise Fault("wrong_type", "an object", describe(value))
        _check_fields(value, plans, path="")

    return check


def row_of(event: Event, row_key: RowKey) -> np.void:
    """Make the row the kernels would make of the event.

    Parameters
    ----------
    event
        Accepted by ``judge``.
    row_key
        What the hashes depend on.

    Returns
    -------
    numpy.void
        Of dtype ``ROW``; place, length and number of the line are zero.
    """
    kind = str(event.__struct_config__.tag)
    row: np.void = np.zeros(1, ROW)[0]
    row["kind"] = columns.KIND[kind]
    for field in wire.FIELDS[kind][1:]:
        value = getattr(event, field.name)
        if value is not None:
            _put_value(row, field, value, row_key.key)
    _put_identity(row, event, row_key)
    return row


def _put_value(row: np.void, field: wire.Field, value: Any, key: HashKey) -> None:
    """Write one field into its column."""
    if field.value_type == wire.MONEY:
        amount = money_of(value)
        if amount is not None and field.column:
            row[field.column] = amount
            row["has"] |= wire.HAS_OF[field.column]
    elif field.value_type in (wire.BOOLEAN, wire.LIST):
        row["flags"] |= wire.FLAG_OF.get(field.name, 0) if value else 0
    elif not field.column:
        return
    elif field.value_type == wire.STRING:
        if field.name not in _OF_TENANT:  # those with the account's, below
            row[field.column] = hash_bytes(value.encode(), 0, key)[0]
    elif field.value_type == wire.CHOICE:
        row[field.column] = field.choices.index(value) + 1
    else:
        row[field.column] = value


def _put_identity(row: np.void, event: Event, row_key: RowKey) -> None:
    """Write the hashes that depend on another field."""
    key = row_key.key
    row["event_1"], row["event_2"] = hash_bytes(event.event_id.encode(), int(row["source_1"]), key)
    account = getattr(event, "account_id", None)
    if account is None:
        return
    tenant = row_key.tenant_hash
    if event.tenant is not None:
        tenant = hash_bytes(event.tenant.encode(), 0, key)[0]
    row["account_1"], row["account_2"] = hash_bytes(account.encode(), tenant, key)
    row["account_murmur2"] = murmur2_bytes(account.encode())
    for name, places in _OF_TENANT.items():
        value = getattr(event, name, None)
        if value is not None:
            hashed = hash_bytes(value.encode(), tenant, key)
            for place, half in zip(places, hashed, strict=False):
                row[place] = half


def money_of(raw: msgspec.Raw) -> int | None:
    """Return a struct's money field in units of 10^-8; None where it is absent."""
    text = bytes(raw)
    if text in {b"", b"null"}:
        return None
    if text.startswith(b'"'):
        return parse_e8(msgspec.json.decode(text, type=str).encode())
    return parse_e8(text)
