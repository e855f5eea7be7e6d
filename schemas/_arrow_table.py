"""The columns of an Arrow batch as kernels see them: places in a message, and what stands there.

A batch is a table with a line for each column. The places in it were checked against the message;
where texts, names and items stand is read here, and checked with each of them.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Bytes
from schemas.hashing import load_u64, low_bit_index
from schemas.jit import inlined

# Plain numbers, not imported ones: numba's cache only watches the file a kernel stands in.
# ``tests/unit/schemas/test_arrow_tables.py`` holds them equal to those of the other files.
# Readers: how a column's values lie in the message.
TEXTS, NAMES, INTEGERS, BOOLEANS, FIXED_POINTS, LISTS, OTHERS, ITEMS = 1, 2, 3, 4, 5, 6, 7, 8
# Fields of a column's line in the table of columns. What texts are in lists has a line of its own
# behind the columns, with the reader ITEMS; its place is the list's FIRST_NAME, -1 where the items
# are no texts, and their number is NAME_COUNT.
(
    KEY, READER, VALIDITY, OFFSET, VALUES, SIZE, STARTS, WIDTH,
    DETAIL, PREFIX, PREFIX_LENGTH, FIRST_NAME, NAME_COUNT,
) = range(13)  # fmt: skip
COLUMN_FIELDS = 13
SIGNED = np.int64(1)  # in place of the detail that says whether integers have a sign
# What is known of a name of a dictionary: where it stands, whether it is plain, its code.
NAME_START, NAME_LENGTH, NAME_STATE, NAME_CODE = 0, 1, 2, 3
NAME_FIELDS = 4
HASH_FIELDS = 3
ABSENT, PLAIN, ODD = 0, 1, 2
# What a row waits with until its other fields are known: places of texts, by what is kept of them.
EVENT_TEXT, ACCOUNT_TEXT, TENANT_TEXT, ACCOUNT_NAME = 0, 2, 4, 6
PENDING_FIELDS = 13
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
ZERO = np.uint64(0)
MONEY_TEXT_MAX = 32  # no plain spelling of money is longer
BITS = 32  # of a bitmap that are looked at together
TILE = 512  # rows whose columns are gone through together


class Batch(NamedTuple):
    """One record batch as the kernels read it.

    Attributes
    ----------
    data
        The whole message, uint8, with ``LOAD_PADDING`` bytes behind it.
    columns
        Shape (columns, COLUMN_FIELDS) int64; every place in it was checked against the message.
    names
        Shape (n, 4) int64: the names of all dictionaries, see NAME_START and so on.
    hashes
        Shape (n, 3) uint64: of each name, its hash twice, and its murmur2.
    """

    data: Bytes
    columns: NDArray[np.int64]
    names: NDArray[np.int64]
    hashes: NDArray[np.uint64]


class Work(NamedTuple):
    """What the kernels write beside rows, for one batch of n rows.

    Attributes
    ----------
    odd
        Shape (n,) uint8: 1 where the referee decides.
    required
        Shape (n,) int64: required fields found.
    pending
        Shape (n, PENDING_FIELDS) int64: see EVENT_TEXT and so on; a length of 0 is no text.
    counts
        Shape (keys + 1,) int64: how often a plain row had a field that its kind does not know;
        the last is not zero where any row had one.
    picked
        Shape (TILE,) int64: rows that have a value in the column at hand.
    money
        Shape (MONEY_TEXT_MAX + 16,) uint8: one text with something behind it that is no digit.
    """

    odd: NDArray[np.uint8]
    required: NDArray[np.int64]
    pending: NDArray[np.int64]
    counts: NDArray[np.int64]
    picked: NDArray[np.int64]
    money: Bytes


def make_work(row_count: int, key_count: int) -> Work:
    """Allocate the kernels' work space for one batch."""
    return Work(
        odd=np.zeros(row_count, np.uint8),
        required=np.zeros(row_count, np.int64),
        pending=np.zeros((row_count, PENDING_FIELDS), np.int64),
        counts=np.zeros(key_count + 1, np.int64),
        picked=np.zeros(TILE, np.int64),
        money=np.zeros(MONEY_TEXT_MAX + 16, np.uint8),
    )


@inlined
def has_value(batch: Batch, column: Any, row: int) -> Any:
    """Say whether a column has a value in a row, as its bitmap tells."""
    start = batch.columns[column, VALIDITY]
    if start < 0:
        return True
    bit = batch.columns[column, OFFSET] + row
    return (np.int64(batch.data[start + (bit >> 3)]) >> (bit & 7)) & 1 != 0


@inlined
def pick_rows(batch: Batch, column: Any, span: Any, picked: Any) -> Any:
    """Write to ``picked`` which rows of ``span`` have a value in a column; return how many.

    Most columns belong to few kinds of event, so most words of most bitmaps are zero.
    """
    start, count = batch.columns[column, VALIDITY], np.int64(0)
    first, stop = span
    if start < 0:
        for row in range(first, stop):
            picked[row - first] = row
        return np.int64(stop - first)
    for base in range(first, stop, BITS):  # as many as 8 bytes hold wherever the first bit is
        bit = batch.columns[column, OFFSET] + base
        word = load_u64(batch.data, start + (bit >> 3)) >> np.uint64(bit & 7)
        word &= FULL >> np.uint64(64 - min(BITS, stop - base))
        while word != ZERO:
            picked[count] = base + low_bit_index(word)
            count += 1
            word &= word - np.uint64(1)
    return count


@inlined
def load_integer(data: Bytes, start: Any, index: Any, width: Any, signed: Any) -> Any:
    """Load integer ``index`` of an array of integers of ``width`` bytes; ``signed`` is 1 or 0."""
    shift = np.uint64(64 - 8 * width)
    word = load_u64(data, start + index * width) << shift
    if signed == 1:
        return np.int64(word) >> np.int64(shift)
    return np.int64(word >> shift)


@inlined
def find_text(batch: Batch, column: Any, index: Any) -> Any:
    """Return where text ``index`` of a column starts and its length; -1 if that is not inside."""
    columns = batch.columns
    starts, width = columns[column, STARTS], columns[column, WIDTH]
    start = load_integer(batch.data, starts, index, width, SIGNED)
    end = load_integer(batch.data, starts, index + 1, width, SIGNED)
    if start < 0 or end < start or end > columns[column, SIZE]:
        return np.int64(0), np.int64(-1)
    return columns[column, VALUES] + start, end - start


@inlined
def load_boolean(batch: Batch, column: Any, row: int) -> Any:
    """Return a row's truth value."""
    bit = batch.columns[column, OFFSET] + row
    return (np.int64(batch.data[batch.columns[column, VALUES] + (bit >> 3)]) >> (bit & 7)) & 1 != 0


@inlined
def load_decimal(batch: Batch, column: Any, row: int) -> Any:
    """Return a row's decimal without its point, and whether it fits 64 bits."""
    place = batch.columns[column, VALUES] + (batch.columns[column, OFFSET] + row) * 16
    low = np.int64(load_u64(batch.data, place))
    high = np.int64(load_u64(batch.data, place + 8))
    return low, high == low >> np.int64(63)


@inlined
def find_items(batch: Batch, column: Any, row: Any) -> Any:
    """Return the first item of a row's list and the one behind its last; -1 if they are none."""
    columns = batch.columns
    starts, width = columns[column, STARTS], columns[column, WIDTH]
    index = columns[column, OFFSET] + row
    first = load_integer(batch.data, starts, index, width, SIGNED)
    stop = load_integer(batch.data, starts, index + 1, width, SIGNED)
    if first < 0 or stop < first or stop > columns[column, NAME_COUNT]:
        return np.int64(-1), np.int64(-1)
    return first, stop


@inlined
def find_index(batch: Batch, column: Any, row: int) -> Any:
    """Return the place in ``names`` of a row's name; -1 if its dictionary has none such."""
    columns = batch.columns
    index = load_integer(
        batch.data,
        columns[column, STARTS],
        columns[column, OFFSET] + row,
        columns[column, WIDTH],
        columns[column, DETAIL],
    )
    if index < 0 or index >= columns[column, NAME_COUNT]:
        return np.int64(-1)
    return columns[column, FIRST_NAME] + index
