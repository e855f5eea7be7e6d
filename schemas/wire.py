"""The tables the scanner runs on, generated from the structs in ``schemas.events``.

Nothing about fields is written down twice: names, types, limits, choices and what is required
come from ``msgspec.inspect``; what stands here by hand is only which column a field goes to and
the three rules no struct can say.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import inspect
from numpy.typing import NDArray

from schemas import columns, events

# Types of a field's value, as the kernel switches on them.
FOREIGN, STRING, INTEGER, MONEY, BOOLEAN, CHOICE, COMPLEX, LIST = range(8)
# What is done with a string.
KEEP_NOTHING, KEEP_HASH, KEEP_EVENT, KEEP_ACCOUNT, KEEP_SOURCE, KEEP_TENANT = range(6)
# Other names whose hash depends on the tenant: of an account (128 bits), and of who is behind one.
KEEP_COUNTER, KEEP_OWNER, KEEP_GROUP = range(6, 9)

COLUMN_OF: Final = {
    "event_id": "event_1",
    "account_id": "account_1",
    "source": "source_1",
    "order_id": "order_1",
    "replaces_order_id": "link_1",
    "fill_id": "link_1",
    "instrument": "instrument_1",
    "venue": "venue_1",
    "name": "name_1",
    "notice_id": "notice_1",
    "counter_account_id": "name_1",
    "beneficial_owner": "name_1",
    "control_group": "notice_1",
    "event_time_ns": "event_time_ns",
    "opened_ns": "opened_ns",
    "price": "price_e8",
    "equity": "price_e8",
    "quantity": "quantity_e8",
    "realized_pnl": "amount_e8",
    "amount": "amount_e8",
    "exposure": "amount_e8",
    "side": "side",
    "order_type": "order_type",
    "time_in_force": "time_in_force",
    "session_phase": "session_phase",
    "reason": "reason",
    "liquidity": "liquidity",
    "capacity": "capacity",
}
FLAG_OF: Final = {
    "is_simulated": columns.FLAG_SIMULATED,
    "claims_market_maker": columns.FLAG_CLAIMS_MARKET_MAKER,
    "claims_hedge": columns.FLAG_CLAIMS_HEDGE,
    "registrations": columns.FLAG_REGISTRATIONS,
}
HAS_OF: Final = {
    "price_e8": columns.HAS_PRICE,
    "quantity_e8": columns.HAS_QUANTITY,
    "amount_e8": columns.HAS_AMOUNT,
}
CODES_OF_COLUMN: Final = {
    "side": columns.SIDE_CODES,
    "order_type": columns.ORDER_TYPE_CODES,
    "time_in_force": columns.TIME_IN_FORCE_CODES,
    "session_phase": columns.SESSION_PHASE_CODES,
    "reason": columns.CANCEL_REASON_CODES,
    "liquidity": columns.LIQUIDITY_CODES,
    "capacity": columns.CAPACITY_CODES,
}
# The rules no struct can say.
POSITIVE_QUANTITY_KINDS: Final = frozenset(
    {"order.new", "order.replace", "fill", "position.closed"}
)
PRICE_NEEDED_KIND: Final = "order.new"
PRICELESS_ORDER_TYPES: Final = frozenset({"market", "stop", "pegged"})

LINE_SIZE_MAX: Final = 2**20
NAME_SLOTS: Final = 4_096  # of the perfect hash table; a power of two
NAME_SLOT_SHIFT: Final = 52  # 64 - log2(NAME_SLOTS)
KEY_SET, KIND_SET = 0, 1
_KEEPS: Final = {
    "event_id": KEEP_EVENT,
    "account_id": KEEP_ACCOUNT,
    "source": KEEP_SOURCE,
    "tenant": KEEP_TENANT,
    "counter_account_id": KEEP_COUNTER,
    "beneficial_owner": KEEP_OWNER,
    "control_group": KEEP_GROUP,
}
_WORD: Final = 8
_INT_LIMITS: Final = (-(2**63), 2**63 - 1)


class Field(NamedTuple):
    """One field of one kind, as both the kernel and the referee treat it.

    Attributes
    ----------
    name
        On the wire.
    value_type
        ``STRING`` and so on; ``COMPLEX`` values are left to the referee.
    required
        By the struct; the account rule comes on top.
    column
        Where it goes in ``ROW``; empty if nowhere.
    low, high
        Inclusive limits: of an integer, of a string's length, or of the length of a list's
        strings. A list of anything else has none that a string can meet.
    choices
        Allowed texts; a choice's code is its position plus one.
    positive
        Whether money must be above zero.
    """

    name: str
    value_type: int
    required: bool
    column: str
    low: int
    high: int
    choices: tuple[str, ...]
    positive: bool


class Tables(NamedTuple):
    """What the kernel reads, as arrays.

    Attributes
    ----------
    name_slots
        Shape (NAME_SLOTS,) int16: index into ``names`` plus one, 0 for none.
    names
        Shape (n, 5) uint64: first word, last word, length + 256 x set, code, place in
        ``name_text``. A text shorter than 8 bytes is its own first and last word.
    name_text
        uint8, padded: all names behind each other.
    name_factor
        Shape (1,) uint64: the multiplier that makes the hash perfect.
    spec_of
        Shape (kinds + 1, keys) int16: row of ``specs``, 0 where the kind lacks the key.
    specs
        Shape (m, 8) int64: value type, 1 if required, column's byte offset or -1, low, high,
        choice set or what is kept of a string, bit of ``flags`` or ``has``, 1 if positive.
    required_counts
        Shape (kinds + 1,) int64: how many required fields each kind has.
    limits
        Shape (3,) int64: code of the kind that needs a price, bits of the order types that do
        not, longest line.
    """

    name_slots: NDArray[np.int16]
    names: NDArray[np.uint64]
    name_text: NDArray[np.uint8]
    name_factor: NDArray[np.uint64]
    spec_of: NDArray[np.int16]
    specs: NDArray[np.int64]
    required_counts: NDArray[np.int64]
    limits: NDArray[np.int64]


def plain_type(field_type: Any) -> Any:
    """Take the ``None`` out of an optional field's type."""
    if isinstance(field_type, inspect.UnionType):
        (field_type,) = (t for t in field_type.types if not isinstance(t, inspect.NoneType))
    return field_type


def is_money(field_type: Any) -> bool:
    """Say whether a field holds money or quantity."""
    extra: Any = getattr(field_type, "extra", None)
    return bool(extra) and extra.get("wire") == "money"


def limits_of(field_type: Any) -> tuple[int, int]:
    """Return an integer type's inclusive limits."""
    low, high = _INT_LIMITS
    if field_type.ge is not None:
        low = field_type.ge
    if field_type.le is not None:
        high = field_type.le
    if field_type.lt is not None:
        high = field_type.lt - 1
    return low, high


def codes_of(choices: tuple[Any, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the column whose codes these choices are, and the choices in code order."""
    for column, codes in CODES_OF_COLUMN.items():
        if set(codes[1:]) == set(choices):
            return column, codes[1:]
    return "", tuple(sorted(choices))


def _describe_field(kind: str, field: Any) -> Field:
    """Turn one inspected field into a ``Field``."""
    name: str = field.encode_name
    inner: Any = plain_type(field.type)
    column = COLUMN_OF.get(name, "")
    make = Field(name, COMPLEX, bool(field.required), "", 0, 0, (), positive=False)._replace
    match inner:
        case inspect.StrType(min_length=int(low), max_length=int(high)):
            return make(value_type=STRING, column=column, low=low, high=high)
        case inspect.IntType():
            low, high = limits_of(inner)
            return make(value_type=INTEGER, column=column, low=low, high=high)
        case inspect.BoolType():
            return make(value_type=BOOLEAN)
        case inspect.LiteralType():
            code_column, choices = codes_of(inner.values)
            kept = column if column == code_column else ""
            return make(value_type=CHOICE, column=kept, choices=choices)
    if is_money(inner):
        positive = name == "quantity" and kind in POSITIVE_QUANTITY_KINDS
        return make(value_type=MONEY, column=column, positive=positive)
    if isinstance(inner, inspect.ListType):
        low, high = _text_lengths(inner.item_type)
        make = make(value_type=LIST, low=low, high=high)._replace
    return make()


def _text_lengths(item_type: Any) -> tuple[int, int]:
    """Return the limits of a text's length, or limits that no text can meet."""
    match item_type:
        case inspect.StrType(min_length=int(low), max_length=int(high)):
            return low, high
    return 1, 0


def _describe_kinds() -> dict[str, tuple[Field, ...]]:
    """Return every kind's fields, in declaration order."""
    described = {}
    for event_type in events.EVENT_TYPES:
        info: Any = inspect.type_info(event_type)
        kind = str(info.tag)
        fields = tuple(_describe_field(kind, f) for f in info.fields)
        tag = Field("kind", CHOICE, True, "", 0, 0, (), positive=False)  # noqa: FBT003 a record
        described[kind] = (tag, *(f._replace(column=_column_here(f)) for f in fields))
    return described


def _column_here(field: Field) -> str:
    """Drop a column that cannot hold the field: a reason in words has no code."""
    if field.column in CODES_OF_COLUMN and field.value_type != CHOICE:
        return ""
    return field.column


FIELDS: Final[dict[str, tuple[Field, ...]]] = _describe_kinds()
KEYS: Final[tuple[str, ...]] = tuple(
    dict.fromkeys(field.name for fields in FIELDS.values() for field in fields)
)
_CHOICE_SETS: Final[tuple[tuple[str, ...], ...]] = (
    KEYS,
    columns.KIND_CODES[1:],
    *dict.fromkeys(f.choices for fields in FIELDS.values() for f in fields if f.choices),
)


def choice_set_of(name: str) -> int:
    """Return which set of choices a field has, in the kernel's tables; -1 if it has none."""
    if name == "kind":
        return KIND_SET
    found = {f.choices for fields in FIELDS.values() for f in fields if f.name == name} - {()}
    assert len(found) <= 1, f"{name} has different choices in different kinds: see check_names"
    return _CHOICE_SETS.index(found.pop()) if found else -1


def _spec_row(field: Field) -> list[int]:
    """Write a field as a row of ``Tables.specs``."""
    rows: Any = columns.ROW.fields
    offset = rows[field.column][1] if field.column else -1
    detail = 0
    if field.value_type == STRING:
        detail = _KEEPS.get(field.name, KEEP_HASH if field.column else KEEP_NOTHING)
    elif field.name == "kind":
        detail = KIND_SET
    elif field.value_type == CHOICE:
        detail = _CHOICE_SETS.index(field.choices)
    bit = FLAG_OF.get(field.name, HAS_OF.get(field.column, 0))
    head = [field.value_type, int(field.required), offset, field.low, field.high]
    return [*head, detail, bit, int(field.positive)]


def _spec_tables(*, anonymous: bool) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return ``spec_of``, ``specs`` and ``required_counts``."""
    spec_of = np.zeros((len(columns.KIND_CODES), len(KEYS)), np.int16)
    specs: list[list[int]] = [[FOREIGN, 0, -1, 0, 0, 0, 0, 0]]
    required_counts = np.zeros(len(columns.KIND_CODES), np.int64)
    for code, event_type in enumerate(events.EVENT_TYPES, start=1):
        account_needed = events.requires_account(event_type) and not anonymous
        for field in FIELDS[columns.KIND_CODES[code]]:
            needed = field.required or (field.name == "account_id" and account_needed)
            row = _spec_row(field._replace(required=needed))
            if row not in specs:
                specs.append(row)
            spec_of[code, KEYS.index(field.name)] = specs.index(row)
            required_counts[code] += needed
    return spec_of, np.array(specs, np.int64), required_counts


def _name_rows() -> tuple[NDArray[np.uint64], bytes]:
    """Return ``Tables.names`` and the texts behind each other."""
    rows, text = [], b""
    for set_id, names in enumerate(_CHOICE_SETS):
        first_code = 0 if set_id == KEY_SET else 1  # code 0 of a choice means absent
        for code, name in enumerate(names, start=first_code):
            data = name.encode("ascii")
            first = int.from_bytes(data[:_WORD], "little")
            last = int.from_bytes(data[-_WORD:], "little")
            rows.append((first, last, len(data) + 256 * set_id, code, len(text)))
            text += data
    return np.array(rows, np.uint64), text


def name_hash(first: Any, last: Any, meta: Any, factor: Any) -> Any:
    """Mix a name's words into a slot; numpy arrays here, scalars in the kernel's twin."""
    rotated = (last >> np.uint64(7)) | (last << np.uint64(57))
    mixed = (first ^ rotated ^ (meta << np.uint64(40))) * factor
    mixed ^= mixed >> np.uint64(29)
    return (mixed * factor) >> np.uint64(NAME_SLOT_SHIFT)


def _name_tables() -> tuple[NDArray[np.int16], NDArray[np.uint64], NDArray[np.uint8], Any]:
    """Find a multiplier under which no two names share a slot."""
    names, text = _name_rows()
    draw = np.random.default_rng(1)
    while True:
        factor = draw.integers(1, 2**64, dtype=np.uint64) | np.uint64(1)
        slots = name_hash(names[:, 0], names[:, 1], names[:, 2], factor)
        if len(np.unique(slots)) == len(names):
            break
    table = np.zeros(NAME_SLOTS, np.int16)
    table[slots.astype(np.int64)] = np.arange(1, len(names) + 1)
    padded = np.frombuffer(bytearray(text + bytes(_WORD)), np.uint8)
    return table, names, padded, np.array([factor], np.uint64)


def build_tables(*, anonymous: bool) -> Tables:
    """Build the kernel's tables.

    Parameters
    ----------
    anonymous
        Whether account kinds may leave out their account.
    """
    free = sum(1 << columns.ORDER_TYPE_CODES.index(name) for name in PRICELESS_ORDER_TYPES)
    limits = np.array([columns.KIND[PRICE_NEEDED_KIND], free, LINE_SIZE_MAX], np.int64)
    return Tables(*_name_tables(), *_spec_tables(anonymous=anonymous), limits)
