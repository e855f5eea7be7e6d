"""Events as Arrow IPC messages, as senders make them: a column a field, null where absent."""

import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Any, Final

import pyarrow as pa  # type: ignore[import-untyped]
from msgspec import inspect
from pyarrow import ipc

from schemas import events, wire

ROWS: Final = 10_000
MONEY: Final = pa.decimal128(19, 8)
_INDEX: Final = pa.int32()
# Texts of which there are few: a dictionary names each once a message.
_REPEATED: Final = frozenset({"kind", "source", "account_id", "tenant", "instrument", "venue"})


@cache
def field_types() -> dict[str, Any]:
    """Return every field's Arrow type, in the order in which the kinds list them."""
    found: dict[str, Any] = {"kind": pa.dictionary(_INDEX, pa.utf8())}
    for event_type in events.EVENT_TYPES:
        info: Any = inspect.type_info(event_type)
        for field in info.fields:
            found.setdefault(field.encode_name, _arrow_type(field.encode_name, field.type))
    return found


def _arrow_type(name: str, field_type: Any) -> Any:
    inner: Any = wire.plain_type(field_type)
    if wire.is_money(inner):
        return MONEY
    match inner:
        case inspect.ListType():
            return pa.list_(_arrow_type("", inner.item_type))
        case inspect.DictType():
            return pa.map_(pa.utf8(), _arrow_type("", inner.value_type))
        case inspect.StructType():
            return pa.struct([(f.encode_name, _arrow_type("", f.type)) for f in inner.fields])
    is_repeated = name in _REPEATED or isinstance(inner, inspect.LiteralType)
    text = pa.dictionary(_INDEX, pa.utf8()) if is_repeated else pa.utf8()
    simple: dict[type, Any] = {inspect.IntType: pa.int64(), inspect.BoolType: pa.bool_()}
    return simple.get(type(inner), text)


def encode(lines: Sequence[bytes], names: Iterable[str] | None = None) -> bytes:
    """Return one message that holds the events of some good lines.

    Parameters
    ----------
    names
        The columns, in their order; by default those that any event has.

    Raises
    ------
    ValueError
        If a line is no event, or has a value that its column cannot hold exactly.
    """
    rows = [json.loads(line, parse_float=Decimal) for line in lines]
    types = field_types()
    wanted = [n for n in types if any(n in row for row in rows)] if names is None else list(names)
    columns = {name: _column([row.get(name) for row in rows], types[name]) for name in wanted}
    return encode_batches([pa.record_batch(columns)])


def encode_batches(batches: Sequence[Any]) -> bytes:
    """Return one message of record batches that have one schema."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    message: bytes = sink.getvalue().to_pybytes()
    return message


def _column(values: list[Any], arrow_type: Any) -> Any:
    return pa.array([_exact(value, arrow_type) for value in values], arrow_type)


def _exact(value: Any, arrow_type: Any) -> Any:
    """Turn money into decimals, wherever it stands."""
    if value is None:
        return None
    if arrow_type == MONEY:
        return Decimal(value)
    if pa.types.is_list(arrow_type):
        return [_exact(each, arrow_type.value_type) for each in value]
    if pa.types.is_struct(arrow_type):
        return {name: _exact(each, arrow_type.field(name).type) for name, each in value.items()}
    if pa.types.is_map(arrow_type):
        return [(name, _exact(each, arrow_type.item_type)) for name, each in value.items()]
    return value


def messages(lines: Iterable[bytes], rows: int = ROWS) -> Iterator[bytes]:
    """Yield messages of so many events each."""
    left = iter(lines)
    while some := list(islice(left, rows)):
        yield encode(some)
