"""A row of an Arrow batch as the line that a sender of JSON would have written.

Only for rows that the kernels do not take: the referee judges such a line, and a dead letter keeps
it. Texts are put in as they came, byte by byte, so that what is wrong with them stays wrong.
"""

import json
import re
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import Any, Final

from pyarrow import types  # type: ignore[import-untyped]

from schemas import _arrow_table as tables
from schemas._arrow_frame import broken
from schemas._arrow_message import ReadBatch

_ESCAPED: Final = re.compile(rb'["\\\x00-\x1f]')
_EXACT: Final = Context(prec=76)  # decimal places of the widest Arrow type


def spell_row(read: ReadBatch, row: int, columns: Sequence[int]) -> bytes:
    """Write one row as a line: the columns that have a value in it, in their order.

    Every text and index of the row was checked by the kernels before.

    Raises
    ------
    Fault
        If a value is none that its type could have.
    """
    pieces = []
    for column in columns:
        value = _spell_value(read, column, row)
        if value is not None:
            name = read.plan.layouts[column].name.encode()
            pieces.append(b'"%b":%b' % (name, value))
    return b"{" + b",".join(pieces) + b"}"


def _spell_value(read: ReadBatch, column: int, row: int) -> bytes | None:
    """Write one value; None where there is none."""
    layout = read.plan.layouts[column]
    if column in read.arrays:
        return _spell(_value_of(read.arrays[column], row, layout.name), layout.arrow_type)
    if layout.reader <= tables.NAMES:
        return _spell_text(read, column, row)
    if layout.reader == tables.LISTS:
        return _spell_items(read, column, row)
    return _spell_number(read, column, row)


def _spell_number(read: ReadBatch, column: int, row: int) -> bytes:
    """Write a number or a truth value."""
    table, line = read.table, read.table.columns[column]
    if line[tables.READER] == tables.BOOLEANS:
        return b"true" if tables.load_boolean(table, column, row) else b"false"
    width = int(line[tables.WIDTH])
    start = int(line[tables.VALUES]) + (int(line[tables.OFFSET]) + row) * width
    data = table.data[start : start + width].tobytes()
    if line[tables.READER] == tables.FIXED_POINTS:
        unscaled = int.from_bytes(data, "little", signed=True)
        return format(Decimal(unscaled).scaleb(-int(line[tables.DETAIL]), _EXACT), "f").encode()
    return b"%d" % int.from_bytes(data, "little", signed=bool(line[tables.DETAIL]))


def _value_of(array: Any, row: int, name: str) -> Any:
    """Return a value as Python has it; a decimal's bytes may say more than its type allows."""
    try:
        return array[row].as_py()
    except (ArithmeticError, ValueError) as error:
        raise broken(f"column {name}: {error}") from None


def _spell_text(read: ReadBatch, column: int, row: int) -> bytes | None:
    """Write a text or a name."""
    table = read.table
    if read.plan.layouts[column].reader == tables.NAMES:
        name = table.names[int(tables.find_index(table, column, row))]
        if name[tables.NAME_STATE] == tables.ABSENT:
            return None
        start, length = int(name[tables.NAME_START]), int(name[tables.NAME_LENGTH])
    else:
        place = int(table.columns[column, tables.OFFSET]) + row
        start, length = map(int, tables.find_text(table, column, place))
    return _quote(table.data[start : start + length].tobytes())


def _spell_items(read: ReadBatch, column: int, row: int) -> bytes:
    """Write a list of texts; the kernels have looked at those of short lists only."""
    table, pieces = read.table, []
    items = int(table.columns[column, tables.FIRST_NAME])
    for index in range(*map(int, tables.find_items(table, column, row))):
        if not tables.has_value(table, items, index):
            pieces.append(b"null")
            continue
        place = int(table.columns[items, tables.OFFSET]) + index
        start, length = map(int, tables.find_text(table, items, place))
        if length < 0:
            raise broken("texts that point outside it")
        pieces.append(_quote(table.data[start : start + length].tobytes()))
    return b"[%b]" % b",".join(pieces)


def _quote(text: bytes) -> bytes:
    """Put a text in quotes; bytes that are no UTF-8 stay what they are."""
    return b'"%b"' % _ESCAPED.sub(lambda found: json.dumps(found[0].decode())[1:-1].encode(), text)


def _spell(value: Any, arrow_type: Any) -> bytes:
    """Write a value of any type that JSON has too."""
    if types.is_map(arrow_type):
        pairs = [(name, _spell(inner, arrow_type.item_type)) for name, inner in value or ()]
        return b"null" if value is None else _spell_object(pairs)
    if isinstance(value, dict):
        return _spell_object(
            [(name, _spell(inner, arrow_type.field(name).type)) for name, inner in value.items()]
        )
    if isinstance(value, list):
        return b"[%b]" % b",".join(_spell(inner, arrow_type.value_type) for inner in value)
    if isinstance(value, Decimal):
        return format(value, "f").encode()
    return _quote(value.encode()) if isinstance(value, str) else json.dumps(value).encode()


def _spell_object(pairs: list[tuple[str, bytes]]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % (_quote(name.encode()), value) for name, value in pairs)
