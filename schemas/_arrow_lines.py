"""Kernels that write the line of a plain row of an Arrow batch, as a sender of JSON would have.

Evidence, names and snapshots read lines. Few rows are ever asked for theirs, so it is written then.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas._arrow_table import (
    Batch,
    find_index,
    find_items,
    find_text,
    has_value,
    load_boolean,
    load_decimal,
    load_integer,
)
from schemas.columns import Bytes
from schemas.copying import store_u64
from schemas.hashing import load_u64, low_byte_index
from schemas.jit import inlined, kernel

# Plain numbers, not imported ones: numba's cache only watches the file a kernel stands in.
# ``tests/unit/schemas/test_arrow_tables.py`` holds them equal to those of the other files.
TEXTS, NAMES, INTEGERS, BOOLEANS, FIXED_POINTS, LISTS = 1, 2, 3, 4, 5, 6
(
    KEY, READER, VALIDITY, OFFSET, VALUES, SIZE, STARTS, WIDTH,
    DETAIL, PREFIX, PREFIX_LENGTH, FIRST_NAME, NAME_COUNT,
) = range(13)  # fmt: skip
NAME_START, NAME_LENGTH, NAME_STATE = 0, 1, 2
ABSENT = 0
ZERO = np.uint64(0)
TEN_8 = np.uint64(100_000_000)
TEN_16 = np.uint64(10_000_000_000_000_000)
DIGITS_ZERO = np.uint64(0x3030303030303030)
TRUE_WORD = np.uint64(0x65757274)  # "true", first letter lowest
FALSE_WORD = np.uint64(0x65736C6166)
QUOTE, COMMA, MINUS, POINT, OPEN_BRACE, CLOSE_BRACE = 34, 44, 45, 46, 123, 125
OPEN_BRACKET, CLOSE_BRACKET = 91, 93
VALUE_SIZE = 24  # room for any number, or for the quotes around a text
LINE_SIZE = 16  # room for a line's braces, and for what words reach beyond it
POWERS_OF_TEN = np.array([10**n for n in range(9)], np.uint64)


@inlined
def _copy_words(target: Bytes, place: Any, source: Bytes, start: Any, size: Any) -> Any:
    """Copy a text in whole words, up to 7 bytes too many; return the place behind the text."""
    at = 0
    while at < size:
        store_u64(target, place + at, load_u64(source, start + at))
        at += 8
    return place + size


@inlined
def _digits_word(value: Any) -> Any:
    """Return a number below 10^8 as 8 ASCII digits, the first one lowest.

    Two numbers of four digits, then four of two, then eight of one are made side by side, each
    quotient by a multiplication that is exact in its range.
    """
    pair = (value // np.uint64(10_000)) | ((value % np.uint64(10_000)) << np.uint64(32))
    hundreds = ((pair * np.uint64(10_486)) >> np.uint64(20)) & np.uint64(0x7F0000007F)
    fours = hundreds | ((pair - hundreds * np.uint64(100)) << np.uint64(16))
    tens = ((fours * np.uint64(103)) >> np.uint64(10)) & np.uint64(0x000F000F000F000F)
    return (tens | ((fours - tens * np.uint64(10)) << np.uint64(8))) | DIGITS_ZERO


@inlined
def _write_head(target: Bytes, at: Any, value: Any) -> Any:
    """Write a number below 10^8 without leading zeros."""
    word = _digits_word(value)
    zeros = min(low_byte_index(word ^ DIGITS_ZERO), 7)
    store_u64(target, at, word >> np.uint64(8 * zeros))
    return at + 8 - zeros


@inlined
def _write_whole(target: Bytes, at: Any, value: Any) -> Any:
    """Write a number below 2^64; return the place behind it."""
    if value >= TEN_16:
        at = _write_head(target, at, value // TEN_16)
        value %= TEN_16
        store_u64(target, at, _digits_word(value // TEN_8))
        store_u64(target, at + 8, _digits_word(value % TEN_8))
        return at + 16
    if value >= TEN_8:
        at = _write_head(target, at, value // TEN_8)
        store_u64(target, at, _digits_word(value % TEN_8))
        return at + 8
    return _write_head(target, at, value)


@inlined
def _magnitude(target: Bytes, at: Any, value: Any) -> Any:
    """Write the sign of a number; return the place behind it and the number without it."""
    if value >= 0:
        return at, np.uint64(value)
    target[at] = MINUS
    return at + 1, ZERO - np.uint64(value)


@inlined
def _write_decimal(target: Bytes, at: Any, value: Any, scale: Any) -> Any:
    """Write ``value`` with its point before the last ``scale`` digits, 0 <= scale <= 8."""
    at, magnitude = _magnitude(target, at, value)
    power = POWERS_OF_TEN[scale]
    at = _write_whole(target, at, magnitude // power)
    if scale == 0:
        return at
    target[at] = POINT
    store_u64(target, at + 1, _digits_word((magnitude % power) * POWERS_OF_TEN[8 - scale]))
    return at + 1 + scale


@inlined
def _write_number(batch: Batch, column: Any, row: int, lines: Bytes, at: Any) -> Any:
    """Write a row's number or truth value; return the place behind it."""
    columns = batch.columns
    if columns[column, READER] == FIXED_POINTS:
        value, _ = load_decimal(batch, column, row)
        return _write_decimal(lines, at, value, columns[column, DETAIL])
    if columns[column, READER] == BOOLEANS:
        is_true = load_boolean(batch, column, row)
        store_u64(lines, at, TRUE_WORD if is_true else FALSE_WORD)
        return at + (4 if is_true else 5)
    number = load_integer(
        batch.data,
        columns[column, VALUES],
        columns[column, OFFSET] + row,
        columns[column, WIDTH],
        columns[column, DETAIL],
    )
    at, magnitude = _magnitude(lines, at, number)
    return _write_whole(lines, at, magnitude)


@inlined
def _write_list(batch: Batch, column: Any, row: int, lines: Bytes, at: Any) -> Any:
    """Write a row's list of texts; return the place behind it."""
    first, stop = find_items(batch, column, row)
    items = batch.columns[column, FIRST_NAME]
    lines[at] = OPEN_BRACKET
    at += 1
    for index in range(first, stop):
        start, length = find_text(batch, items, batch.columns[items, OFFSET] + index)
        lines[at] = QUOTE
        at = _copy_words(lines, at + 1, batch.data, start, length)
        lines[at] = QUOTE
        lines[at + 1] = COMMA
        at += 2
    at -= np.int64(stop > first)  # the last comma
    lines[at] = CLOSE_BRACKET
    return at + 1


@inlined
def _find_value(batch: Batch, column: Any, row: int) -> Any:
    """Return the place and length of a row's text; -1 where it has none."""
    columns, names = batch.columns, batch.names
    if columns[column, READER] != NAMES:
        return find_text(batch, column, columns[column, OFFSET] + row)
    name = find_index(batch, column, row)
    if names[name, NAME_STATE] == ABSENT:
        return np.int64(0), np.int64(-1)
    return names[name, NAME_START], names[name, NAME_LENGTH]


@inlined
def _write_value(
    batch: Batch, column: Any, row: int, prefixes: Bytes, lines: Bytes, at: Any
) -> Any:
    """Write a row's field; return the place behind it."""
    columns = batch.columns
    reader, prefix = columns[column, READER], columns[column, PREFIX]
    size = columns[column, PREFIX_LENGTH]
    if reader > NAMES:
        at = _copy_words(lines, at, prefixes, prefix, size)
        if reader == LISTS:
            return _write_list(batch, column, row, lines, at)
        return _write_number(batch, column, row, lines, at)
    start, length = _find_value(batch, column, row)
    if length < 0:
        return at
    at = _copy_words(lines, at, prefixes, prefix, size)
    at = _copy_words(lines, at, batch.data, start, length)
    lines[at] = QUOTE
    return at + 1


@inlined
def _has_field(batch: Batch, column: Any, row: int, kind: Any, spec_of: Any) -> Any:
    """Say whether a row has a column's field; what its kind does not know is left out."""
    columns = batch.columns
    if columns[column, READER] > LISTS or not has_value(batch, column, row):
        return False
    return spec_of[kind, columns[column, KEY]] != 0


@kernel
def measure_lines(
    batch: Batch, numbers: NDArray[np.int64], kinds: NDArray[np.uint8], spec_of: NDArray[np.int16]
) -> Any:
    """Return the room that the lines of some plain rows need at most; see ``write_lines``."""
    columns, room = batch.columns, np.int64(0)
    for i in range(len(numbers)):
        row = numbers[i]
        room += LINE_SIZE
        for column in range(len(columns)):
            if not _has_field(batch, column, row, kinds[i], spec_of):
                continue
            room += columns[column, PREFIX_LENGTH] + VALUE_SIZE
            if columns[column, READER] <= NAMES:
                room += _find_value(batch, column, row)[1]
            elif columns[column, READER] == LISTS:
                first, stop = find_items(batch, column, row)
                items = columns[column, FIRST_NAME]
                for index in range(first, stop):
                    _, length = find_text(batch, items, columns[items, OFFSET] + index)
                    room += length + VALUE_SIZE
    return room


@kernel
def write_lines(
    batch: Batch, numbers: NDArray[np.int64], kinds: NDArray[np.uint8], prefixes: Bytes,
    lines: Bytes, ends: NDArray[np.int64], spec_of: NDArray[np.int16],
) -> None:  # fmt: skip
    """Write the lines of plain rows one behind the other, the first at ``lines[0]``.

    Parameters
    ----------
    numbers, kinds
        Shape (n,): the rows' numbers in the batch, and the codes of their kinds.
    prefixes
        The texts that stand before the columns' values, such as ``,"price":``.
    lines
        With as much room as ``measure_lines`` says.
    ends
        Shape (n,): receives where each line ends.
    spec_of
        Of ``wire.Tables``.
    """
    at = np.int64(0)
    for i in range(len(numbers)):
        start = at
        for column in range(len(batch.columns)):
            if _has_field(batch, column, numbers[i], kinds[i], spec_of):
                at = _write_value(batch, column, numbers[i], prefixes, lines, at)
        lines[start] = OPEN_BRACE  # in the place of the first field's comma
        lines[at] = CLOSE_BRACE
        at += 1
        ends[i] = at
