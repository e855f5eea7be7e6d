"""Which Arrow types a field may come in, and how a column of each is read.

Whatever JSON can say exactly is taken as if it had been said in JSON: a text where a number should
stand is refused row by row, for the reason the referee names. What JSON has no exact word for is
refused as a column: floats and times, and whole numbers for money, of which nobody can tell whether
they count units or hundredths.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import inspect
from numpy.typing import NDArray
from pyarrow import types  # type: ignore[import-untyped]

from schemas import _arrow_table as tables
from schemas import events, wire
from schemas.columns import Bytes
from schemas.hashing import LOAD_PADDING
from schemas.money import DECIMALS
from schemas.strict_json import Fault

COLUMNS_MAX: Final = 1_024
_DECIMAL: Final = f"decimal128(p, s) with s from 0 to {DECIMALS}, or text"


class Layout(NamedTuple):
    """How one column of a schema is read.

    Attributes
    ----------
    column
        Its number in the schema.
    reader
        One of the kernels' readers; ``OTHERS`` leaves every value to the referee.
    inner_width
        Size (bytes) of the offsets of a dictionary's names or a list's texts.
    refusal
        What is said if the column has any value at all; None where it may have some.
    """

    column: int
    name: str
    arrow_type: Any
    reader: int
    inner_width: int = 0
    refusal: tuple[str, str] | None = None


class Plan(NamedTuple):
    """How the columns of one schema are read.

    Attributes
    ----------
    layouts
        Of the columns whose names we know.
    table
        Shape (layouts, COLUMN_FIELDS) int64: what a batch's table says of them before places.
    prefixes
        What stands before the values in lines, behind each other and padded.
    unknown
        Index and name of every other column.
    """

    layouts: tuple[Layout, ...]
    table: NDArray[np.int64]
    prefixes: Bytes
    unknown: tuple[tuple[int, str], ...]


def make_plan(schema: Any) -> Plan:
    """Plan how the columns of a schema are read.

    Raises
    ------
    Fault
        If it has too many columns, or two of one name.
    """
    names = list(schema.names)
    if len(names) > COLUMNS_MAX:
        raise Fault("batch_too_large", f"at most {COLUMNS_MAX:,} columns", f"{len(names):,}")
    for name in names:
        if names.count(name) > 1:
            raise Fault("duplicate_key", "each column once", f"{name} again", f"$.{name}")
    layouts = tuple(
        _layout(index, name, schema.types[index])
        for index, name in enumerate(names)
        if name in wire.KEYS and not types.is_null(schema.types[index])
    )
    table = np.zeros((len(layouts), tables.COLUMN_FIELDS), np.int64)
    text = b""
    for line, layout in zip(table, layouts, strict=True):
        quote = '"' if layout.reader <= tables.NAMES else ""
        prefix = f',"{layout.name}":{quote}'.encode()
        _describe(line, layout)
        line[tables.PREFIX], line[tables.PREFIX_LENGTH] = len(text), len(prefix)
        text += prefix
    return Plan(
        layouts=layouts,
        table=table,
        prefixes=np.frombuffer(bytearray(text + bytes(LOAD_PADDING)), np.uint8),
        unknown=tuple((i, name) for i, name in enumerate(names) if name not in wire.KEYS),
    )


def _layout(index: int, name: str, arrow_type: Any) -> Layout:
    """Say how a column is read."""
    refusal = refuse(arrow_type, field_types(name))
    if refusal is not None:
        return Layout(index, name, arrow_type, tables.OTHERS, refusal=refusal)
    has_inner = types.is_dictionary(arrow_type) or is_list(arrow_type)
    inner_width = offset_width(arrow_type.value_type) if has_inner else 0
    return Layout(index, name, arrow_type, _reader(arrow_type), inner_width)


def _reader(arrow_type: Any) -> int:
    """Return which reader a type has."""
    readers = (
        (is_text(arrow_type), tables.TEXTS),
        (types.is_dictionary(arrow_type), tables.NAMES),
        (types.is_integer(arrow_type), tables.INTEGERS),
        (types.is_boolean(arrow_type), tables.BOOLEANS),
        (is_list(arrow_type), tables.LISTS),
        (
            types.is_decimal128(arrow_type) and 0 <= arrow_type.scale <= DECIMALS,
            tables.FIXED_POINTS,
        ),
    )
    return next((reader for is_it, reader in readers if is_it), tables.OTHERS)


def _describe(line: NDArray[np.int64], layout: Layout) -> None:
    """Fill in what the schema alone says of a column."""
    arrow_type = layout.arrow_type
    line[tables.KEY] = wire.KEYS.index(layout.name)
    line[tables.READER] = layout.reader
    if layout.reader == tables.TEXTS:
        line[tables.WIDTH] = offset_width(arrow_type)
    elif layout.reader == tables.NAMES:
        line[tables.WIDTH] = arrow_type.index_type.bit_width // 8
        line[tables.DETAIL] = types.is_signed_integer(arrow_type.index_type)
        line[tables.SIZE] = wire.choice_set_of(layout.name)
        line[tables.VALUES] = wire.KEEP_ACCOUNT if layout.name == "account_id" else 0
    elif layout.reader == tables.INTEGERS:
        line[tables.WIDTH] = arrow_type.bit_width // 8
        line[tables.DETAIL] = types.is_signed_integer(arrow_type)
    elif layout.reader == tables.FIXED_POINTS:
        line[tables.WIDTH] = arrow_type.byte_width
        line[tables.DETAIL] = arrow_type.scale
    elif layout.reader == tables.LISTS:
        line[tables.WIDTH] = offset_width(arrow_type)


def is_list(arrow_type: Any) -> bool:
    """Say whether a type is one of the two plain lists."""
    return bool(types.is_list(arrow_type) or types.is_large_list(arrow_type))


def is_text(arrow_type: Any) -> bool:
    """Say whether a type is one of the two plain texts."""
    return bool(types.is_string(arrow_type) or types.is_large_string(arrow_type))


def offset_width(arrow_type: Any) -> int:
    """Return the size (bytes) of the offsets of a type of texts or lists."""
    is_large = types.is_large_string(arrow_type) or types.is_large_list(arrow_type)
    return 8 if is_large else 4


@cache
def field_types(name: str) -> tuple[Any, ...]:
    """Return the types that a field has in all kinds that know it."""
    found = []
    for event_type in events.EVENT_TYPES:
        info: Any = inspect.type_info(event_type)
        found += [wire.plain_type(f.type) for f in info.fields if f.encode_name == name]
    return tuple(found)


def refuse(arrow_type: Any, wanted: Iterable[Any]) -> tuple[str, str] | None:
    """Say why values of a type cannot be taken for a field: what is expected, what it is.

    Parameters
    ----------
    wanted
        The inspected types that the field has where it stands.
    """
    wanted = tuple(wanted)
    is_money = any(wire.is_money(each) for each in wanted)
    if types.is_map(arrow_type) and is_text(arrow_type.key_type):
        return refuse(arrow_type.item_type, _inside(wanted, inspect.DictType, "value_type"))
    if is_list(arrow_type):
        return refuse(arrow_type.value_type, _inside(wanted, inspect.ListType, "item_type"))
    if types.is_struct(arrow_type):
        return _refuse_struct(arrow_type, wanted)
    if _is_exact(arrow_type) and not (is_money and types.is_integer(arrow_type)):
        return None
    return _DECIMAL if is_money else "a type that JSON has too", f"a column of {arrow_type}"


def _is_exact(arrow_type: Any) -> bool:
    """Say whether JSON has a word for every value of a simple type."""
    inner = arrow_type.value_type if types.is_dictionary(arrow_type) else arrow_type
    if is_text(inner):
        return True
    if types.is_decimal(arrow_type):
        return bool(0 <= arrow_type.scale <= arrow_type.precision)
    kinds = (types.is_integer, types.is_boolean, types.is_null)
    return inner is arrow_type and any(is_kind(arrow_type) for is_kind in kinds)


def _inside(wanted: Iterable[Any], container: type, attribute: str) -> list[Any]:
    return [
        wire.plain_type(getattr(each, attribute)) for each in wanted if isinstance(each, container)
    ]


def _refuse_struct(arrow_type: Any, wanted: tuple[Any, ...]) -> tuple[str, str] | None:
    """Look at the fields of an inner object."""
    fields = [arrow_type.field(index) for index in range(arrow_type.num_fields)]
    if len({field.name for field in fields}) < len(fields):
        return "each name once", f"a column of {arrow_type}"
    known: dict[str, list[Any]] = {}
    for struct in wanted:
        if isinstance(struct, inspect.StructType):
            for field in struct.fields:
                known.setdefault(field.encode_name, []).append(wire.plain_type(field.type))
        if isinstance(struct, inspect.DictType):  # an object of any names, written as a struct
            for each in fields:
                known.setdefault(each.name, []).append(wire.plain_type(struct.value_type))
    for each in fields:
        refusal = refuse(each.type, known.get(each.name, ()))
        if refusal is not None:
            return refusal
    return None
