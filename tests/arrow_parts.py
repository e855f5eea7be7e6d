"""Events as Arrow columns of many types, to be read beside the same events as lines."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from spellings import Spelled

from lab.arrow_feed import encode_batches
from schemas import wire

TEXT_TYPES = (
    pa.utf8(),
    pa.large_utf8(),
    pa.dictionary(pa.int8(), pa.utf8()),
    pa.dictionary(pa.uint16(), pa.large_utf8()),
    pa.dictionary(pa.int64(), pa.utf8()),
)
MONEY_NAMES = frozenset(
    field.name
    for fields in wire.FIELDS.values()
    for field in fields
    if field.value_type == wire.MONEY
)
INT64 = range(-(2**63), 2**63)


def exact(value: Any, *, is_money: bool = False, is_inside: bool = False) -> Any:
    """Return a value as Python has it exactly; inside a list, all money must be of one type."""
    if isinstance(value, Spelled):
        text = str(value).strip('"') if is_inside else str(value)
        return json.loads(text) if text.startswith('"') else Decimal(text)
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, int):
        return Decimal(value) if is_money or value not in INT64 else value
    if isinstance(value, dict):
        return {
            name: exact(v, is_money=name in MONEY_NAMES, is_inside=True)
            for name, v in value.items()
        }
    if isinstance(value, list):
        return [exact(v, is_inside=True) for v in value]
    return value


def spell(event: Mapping[str, Any]) -> bytes:
    """Write an event as a line, without what is null."""
    pieces = [f"{json.dumps(n)}:{_spell(v)}" for n, v in event.items() if v is not None]
    return ("{" + ",".join(pieces) + "}").encode()


def _spell(value: Any) -> str:
    if isinstance(value, Spelled):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(n)}:{_spell(v)}" for n, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spell, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


@st.composite
def single(draw: st.DrawFn, event: Mapping[str, Any]) -> bytes:
    """Write one event as a message of one row, each column of a type that holds its value."""
    columns = {}
    for name, value in event.items():
        if value is None and draw(st.booleans()):
            continue
        held = exact(value, is_money=name in MONEY_NAMES)
        if isinstance(held, Decimal):
            columns[name] = pa.array([held], draw(decimals(held, is_money=name in MONEY_NAMES)))
        else:
            columns[name] = pa.array([held], draw(types_of(held)))
    return encode_batches([pa.record_batch(columns)])


def types_of(value: Any) -> st.SearchStrategy[Any]:
    """Give Arrow types that hold a value; None lets pyarrow choose."""
    match value:
        case None:
            return st.sampled_from([pa.null(), *TEXT_TYPES, pa.int64(), pa.float64()])
        case str():
            return st.sampled_from(TEXT_TYPES)
        case int() if not isinstance(value, bool):
            fits = [t for t in (pa.int8(), pa.int16(), pa.uint32()) if _holds(t, value)]
            return st.sampled_from([pa.int64(), *fits])
        case dict() if value and all(type(v) is int for v in value.values()):
            return st.sampled_from([None, pa.map_(pa.utf8(), pa.int64())])
    return st.none()


def decimals(value: Decimal, *, is_money: bool) -> st.SearchStrategy[Any]:
    """Give decimal types that hold a value; where no money belongs, 0 and 0.00 are not the same."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    scale = max(0, -exponent)
    precision = max(len(digits) + max(0, exponent), scale + 1)
    if precision + 8 > 38:
        return st.just(pa.decimal256(76, scale))
    scales = [scale] if scale > 8 or not is_money else [scale, 8]
    return st.sampled_from([pa.decimal128(38, each) for each in scales])


def _holds(integers: Any, value: int) -> bool:
    try:
        pa.scalar(value, integers)
    except (pa.ArrowInvalid, OverflowError):
        return False
    return True


def wide(
    events: Sequence[Mapping[str, Any]], names: Sequence[str], types: Mapping[str, Any]
) -> Any:
    """Put events into one batch, a column for each name."""
    columns = {
        name: pa.array(
            [exact(event.get(name), is_money=name in MONEY_NAMES) for event in events], types[name]
        )
        for name in names
    }
    return pa.record_batch(columns)
