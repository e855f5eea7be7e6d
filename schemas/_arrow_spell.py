"""A row of an Arrow batch as the line that a sender of JSON would have written.

Only for rows that the kernels do not take: the referee judges such a line, and a dead letter keeps
it. Texts are put in as they came, byte by byte, so that what is wrong with them stays wrong.
"""

import json
import re
from decimal import Context, Decimal
from typing import Any, Final

from pyarrow import types  # type: ignore[import-untyped]

from schemas import _arrow_table as tables
from schemas._arrow_message import ReadBatch

_ESCAPED: Final = re.compile(rb'["\\\x00-\x1f]')
_EXACT: Final = Context(prec=76)  # decimal places of the widest Arrow type


def spell_row(read: ReadBatch, row: int) -> bytes:
    """Write one row as a line, in the order of its columns; what is null is left out.

    Every text and index of the row was checked by the kernels before.
    """
    pieces = []
    for column, layout in enumerate(read.plan.layouts):
        value = _spell_value(read, column, row)
        if value is not None:
            pieces.append(b'"%b":%b' % (layout.name.encode(), value))
    return b"{" + b",".join(pieces) + b"}"


def _spell_value(read: ReadBatch, column: int, row: int) -> bytes | None:
    """Write one value; None where there is none."""
    layout, table = read.plan.layouts[column], read.table
    if layout.refusal is not None or not tables.has_value(table, column, row):
        return None
    if layout.reader in {tables.FOREIGN, tables.LISTS}:
        return _spell(read.arrays[column][row].as_py(), layout.arrow_type)
    line = table.columns[column]
    index = int(line[tables.OFFSET]) + row
    if layout.reader <= tables.NAMES:
        return _spell_text(read, column, row, index)
    if layout.reader == tables.BOOLEANS:
        return b"true" if tables.load_boolean(table, column, row) else b"false"
    width = int(line[tables.WIDTH])
    start = int(line[tables.VALUES]) + index * width
    data = table.data[start : start + width].tobytes()
    if layout.reader == tables.DECIMALS:
        unscaled = int.from_bytes(data, "little", signed=True)
        return format(Decimal(unscaled).scaleb(-int(line[tables.DETAIL]), _EXACT), "f").encode()
    return b"%d" % int.from_bytes(data, "little", signed=bool(line[tables.DETAIL]))


def _spell_text(read: ReadBatch, column: int, row: int, index: int) -> bytes | None:
    """Write a text or a name."""
    table = read.table
    if read.plan.layouts[column].reader == tables.NAMES:
        name = table.names[int(tables.find_index(table, column, row))]
        if name[tables.NAME_STATE] == tables.ABSENT:
            return None
        start, length = int(name[tables.NAME_START]), int(name[tables.NAME_LENGTH])
    else:
        start, length = map(int, tables.find_text(table, column, index))
    return _quote(table.data[start : start + length].tobytes())


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
