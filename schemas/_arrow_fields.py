"""Kernels that check one value of an Arrow batch against its field and write it into its row."""

from typing import Any

import numpy as np

from schemas._arrow_table import Batch, Work, load_boolean, load_decimal, load_integer
from schemas._scan_fields import RowViews, to_e8
from schemas._scan_lex import lex_number
from schemas.columns import ROW, Bytes
from schemas.copying import copy_bytes
from schemas.hashing import load_u64
from schemas.jit import inlined, kernel

# Plain numbers, not imported ones: numba's cache only watches the file a kernel stands in.
# ``tests/unit/schemas/test_arrow_tables.py`` holds them equal to those of the other files.
STRING, INTEGER, MONEY, BOOLEAN, CHOICE, LIST = 1, 2, 3, 4, 5, 7
KEEP_HASH, KEEP_EVENT, KEEP_ACCOUNT, KEEP_SOURCE, KEEP_TENANT = 1, 2, 3, 4, 5
KEEP_COUNTER, KEEP_OWNER, KEEP_GROUP = 6, 7, 8
NO_POINT = -1
# Readers: how a column's values lie in the message.
TEXTS, NAMES, INTEGERS, BOOLEANS, FIXED_POINTS, LISTS, OTHERS, ITEMS = 1, 2, 3, 4, 5, 6, 7, 8
(
    KEY, READER, VALIDITY, OFFSET, VALUES, SIZE, STARTS, WIDTH,
    DETAIL, PREFIX, PREFIX_LENGTH, FIRST_NAME, NAME_COUNT,
) = range(13)  # fmt: skip
# What is known of a name of a dictionary: where it stands, whether it is plain, its code.
NAME_START, NAME_LENGTH, NAME_STATE, NAME_CODE = 0, 1, 2, 3
ABSENT, PLAIN, ODD = 0, 1, 2
# What a row waits with until its other fields are known: places of texts, by what is kept of them.
EVENT_TEXT, ACCOUNT_TEXT, TENANT_TEXT, ACCOUNT_NAME = 0, 2, 4, 6
COUNTER_TEXT, OWNER_TEXT, GROUP_TEXT = 7, 9, 11
ONES = np.uint64(0x0101010101010101)
HIGHS = np.uint64(0x8080808080808080)
QUOTES = np.uint64(0x2222222222222222)
BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
SPACES = np.uint64(0x2020202020202020)
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
ZERO = np.uint64(0)
WORD = 8
MONEY_TEXT_MAX = 32  # no plain spelling of money is longer
# Longer ones go to the referee, who says when a line is too long; no plain row comes near that.
_OFFSETS = {name: int(place[1]) for name, place in (ROW.fields or {}).items()}
KIND_OFFSET = _OFFSETS["kind"]
FLAGS_OFFSET = _OFFSETS["flags"]
HAS_OFFSET = _OFFSETS["has"]


@inlined
def is_plain(data: Bytes, start: Any, length: Any) -> Any:
    """Say whether a text is printable ASCII without quotes and backslashes."""
    at = 0
    while at < length:
        word = load_u64(data, start + at)
        rest = length - at
        if rest < WORD:  # what stands behind the text counts as spaces
            mask = FULL >> np.uint64(64 - 8 * rest)
            word = (word & mask) | (SPACES & ~mask)
        found = ((word ^ QUOTES) - ONES) | ((word ^ BACKSLASHES) - ONES)
        found |= word | (word + ONES) | (word - SPACES)
        if found & HIGHS != ZERO:
            return False
        at += WORD
    return True


@inlined
def find_spec(batch: Batch, column: Any, row: int, rows: RowViews, tables: Any) -> Any:
    """Return how a row's kind has a column's field; 0 if not at all."""
    kind = rows.codes[row, KIND_OFFSET]
    return np.int64(tables.spec_of[kind, batch.columns[column, KEY]])


@inlined
def fits(length: Any, spec: Any, tables: Any) -> Any:
    """Say whether a text has a length that its field allows."""
    return tables.specs[spec, 3] <= length <= tables.specs[spec, 4]


@inlined
def put_money(spec: Any, digits: Any, decimals: Any, row: int, rows: RowViews, tables: Any) -> Any:
    """Write money; False if the referee must say why not."""
    is_plain, value = to_e8(digits, decimals)
    if not is_plain or (tables.specs[spec, 7] == 1 and value <= 0):
        return False
    if tables.specs[spec, 2] >= 0:
        rows.ints[row, tables.specs[spec, 2] >> 3] = value
        rows.codes[row, HAS_OFFSET] |= np.uint8(tables.specs[spec, 6])
    return True


@kernel
def put_money_text(
    batch: Batch, place: Any, spec: Any, row: int, rows: RowViews, work: Work, tables: Any
) -> Any:
    """Write money from a text that spells it plainly."""
    start, length = place
    if length > MONEY_TEXT_MAX:
        return False
    copy_bytes(work.money, 0, batch.data, start, length)
    work.money[length] = 0
    end, minus, digits, decimals = lex_number(work.money, 0)
    if end != length:
        return False
    signed = -np.int64(digits) if minus else np.int64(digits)
    return put_money(spec, signed, decimals, row, rows, tables)


@inlined
def put_pending(keep: Any, place: Any, name: Any, row: int, work: Work) -> None:
    """Note a text whose hash needs another field first."""
    slot = EVENT_TEXT
    if keep == KEEP_ACCOUNT:
        slot = ACCOUNT_TEXT
        work.pending[row, ACCOUNT_NAME] = name + 1
    elif keep == KEEP_TENANT:
        slot = TENANT_TEXT
    elif keep >= KEEP_COUNTER:
        slot = COUNTER_TEXT + 2 * (keep - KEEP_COUNTER)
    work.pending[row, slot] = place[0]
    work.pending[row, slot + 1] = place[1]


@inlined
def put_code(code: Any, spec: Any, row: int, rows: RowViews, tables: Any) -> Any:
    """Write a choice's code; False if it is none."""
    if code > 0 and tables.specs[spec, 2] >= 0:
        rows.codes[row, tables.specs[spec, 2]] = np.uint8(code)
    return code > 0


@inlined
def put_rest(
    batch: Batch, text: Any, spec: Any, row: int, rows: RowViews, work: Work, tables: Any
) -> Any:
    """Write a text that is no choice and has no hash of its own; False if it does not fit."""
    place, name = text
    if tables.specs[spec, 0] == MONEY:
        return put_money_text(batch, place, spec, row, rows, work, tables)
    if tables.specs[spec, 0] != STRING or not fits(place[1], spec, tables):
        return False
    keep = tables.specs[spec, 5]
    if keep != 0:
        put_pending(keep, place, name, row, work)
    return True


@inlined
def put_integer(batch: Batch, column: Any, spec: Any, row: int, rows: RowViews, tables: Any) -> Any:
    """Write an integer; False if the referee must decide."""
    columns, specs = batch.columns, tables.specs
    value = load_integer(
        batch.data,
        columns[column, VALUES],
        columns[column, OFFSET] + row,
        columns[column, WIDTH],
        columns[column, DETAIL],
    )
    if specs[spec, 0] != INTEGER or value < specs[spec, 3] or value > specs[spec, 4]:
        return False
    if specs[spec, 2] >= 0:
        rows.ints[row, specs[spec, 2] >> 3] = value
    return True


@inlined
def put_boolean(batch: Batch, column: Any, spec: Any, row: int, rows: RowViews, tables: Any) -> Any:
    """Write a truth value; False if the field is of another type."""
    if tables.specs[spec, 0] != BOOLEAN:
        return False
    if load_boolean(batch, column, row):
        rows.codes[row, FLAGS_OFFSET] |= np.uint8(tables.specs[spec, 6])
    return True


@inlined
def put_decimal(batch: Batch, column: Any, spec: Any, row: int, rows: RowViews, tables: Any) -> Any:
    """Write money; False if it is none, or too much, or needs more than 64 bits."""
    if tables.specs[spec, 0] != MONEY:
        return False
    value, fits = load_decimal(batch, column, row)
    if not fits:
        return False
    scale = batch.columns[column, DETAIL]
    decimals = scale if scale > 0 else np.int64(NO_POINT)
    return put_money(spec, value, decimals, row, rows, tables)
