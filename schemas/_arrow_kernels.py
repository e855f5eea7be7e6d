"""Kernels that check the columns of an Arrow batch and write them into rows.

What they take is exactly what the scanner's kernels take of the same event as a line; a row with
any surprise is marked odd and left to the referee. Columns are gone through one after another, a
few hundred rows at a time, so that these rows stay in the cache.
"""

from typing import Any

import numpy as np

from schemas._arrow_fields import (
    find_spec,
    fits,
    is_plain,
    put_boolean,
    put_code,
    put_decimal,
    put_integer,
    put_rest,
)
from schemas._arrow_table import (
    Batch,
    Work,
    find_index,
    find_items,
    find_text,
    has_value,
    pick_rows,
)
from schemas._scan_fields import RowViews, lacks_price
from schemas._scan_lex import find_name, same_text
from schemas.columns import ROW
from schemas.hashing import hash_text, murmur2
from schemas.jit import inlined, kernel

# Plain numbers, not imported ones: numba's cache only watches the file a kernel stands in.
# ``tests/unit/schemas/test_arrow_tables.py`` holds them equal to those of the other files.
STRING, INTEGER, MONEY, BOOLEAN, CHOICE, LIST = 1, 2, 3, 4, 5, 7
KEEP_HASH, KEEP_EVENT, KEEP_ACCOUNT, KEEP_SOURCE, KEEP_TENANT = 1, 2, 3, 4, 5
KIND_KEY = 0
KIND_SET = np.int64(1)
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
ZERO = np.uint64(0)
# Longer ones go to the referee, who says when a line is too long; no plain row comes near that.
FOREIGN_TEXT_MAX = 4_096
ITEMS_MAX = 1_000
TILE = 512  # rows whose columns are gone through together
_OFFSETS = {name: int(place[1]) for name, place in (ROW.fields or {}).items()}
KIND_OFFSET = _OFFSETS["kind"]
MURMUR_HALF = _OFFSETS["account_murmur2"] // 4
SOURCE_WORD = _OFFSETS["source_1"] // 8
EVENT_WORD = _OFFSETS["event_1"] // 8
ACCOUNT_WORD = _OFFSETS["account_1"] // 8
NAME_WORD = _OFFSETS["name_1"] // 8
NOTICE_WORD = _OFFSETS["notice_1"] // 8


@kernel
def read_names(batch: Batch, column: Any, layout: Any, tables: Any, keys: Any) -> Any:
    """Look once at every name of a dictionary; False if one stands outside the message.

    Parameters
    ----------
    batch
        Its column ``column`` reads the rows' indexes.
    layout
        A ``Batch`` whose only column reads the names as texts.
    keys
        The hash key, shape (2,) uint64, and the default tenant's hash.
    """
    data, names = batch.data, batch.names
    key, tenant = keys
    name_set = batch.columns[column, SIZE]
    is_account = batch.columns[column, VALUES] == KEEP_ACCOUNT
    first = batch.columns[column, FIRST_NAME]
    for index in range(batch.columns[column, NAME_COUNT]):
        name = first + index
        names[name, NAME_STATE] = ABSENT
        if not has_value(layout, 0, index):
            continue
        start, length = find_text(layout, 0, layout.columns[0, OFFSET] + index)
        if length < 0:
            return False
        names[name, NAME_START] = start
        names[name, NAME_LENGTH] = length
        names[name, NAME_STATE] = PLAIN if is_plain(data, start, length) else ODD
        if name_set >= 0:
            names[name, NAME_CODE] = find_name(data, start, length, name_set, tables)
        one, two = hash_text(data, start, length, tenant if is_account else ZERO, key)
        batch.hashes[name, 0] = one
        batch.hashes[name, 1] = two
        if is_account:
            batch.hashes[name, 2] = murmur2(data, start, length)
    return True


@inlined
def _read_kind(batch: Batch, column: Any, row: int, tables: Any) -> Any:
    """Return the code of a row's kind: -1 if it is none of ours, -2 if the message is broken."""
    if batch.columns[column, READER] == NAMES:
        name = find_index(batch, column, row)
        if name < 0:
            return np.int64(-2)
        is_known = batch.names[name, NAME_STATE] == PLAIN
        return batch.names[name, NAME_CODE] if is_known else np.int64(-1)
    start, length = find_text(batch, column, batch.columns[column, OFFSET] + row)
    if length < 0:
        return np.int64(-2)
    return np.int64(find_name(batch.data, start, length, KIND_SET, tables))


@kernel
def read_kinds(batch: Batch, column: Any, rows: RowViews, work: Work, tables: Any) -> Any:
    """Write every row's kind; rows without a kind of ours are odd. False: the message is broken."""
    if column < 0 or batch.columns[column, READER] > NAMES:
        work.odd[:] = 1
        return True
    for row in range(len(rows.ints)):
        if not has_value(batch, column, row):
            work.odd[row] = 1
            continue
        kind = _read_kind(batch, column, row, tables)
        if kind < -1:
            return False
        if kind < 0:
            work.odd[row] = 1
        else:
            rows.codes[row, KIND_OFFSET] = np.uint8(kind)
            work.required[row] = 1
    return True


@inlined
def _is_foreign(state: Any, length: Any, spec: Any, row: int, work: Work) -> Any:
    """See to texts that are not plain, and to those that the row's kind does not know."""
    if state != PLAIN or (spec == 0 and length > FOREIGN_TEXT_MAX):
        work.odd[row] = 1
        return True
    if spec == 0:
        work.counts[-1] = 1
    return spec == 0


@inlined
def _is_hashed(spec: Any, tables: Any) -> Any:
    """Say whether a field is a text of which the hash alone goes into a column."""
    keep = tables.specs[spec, 5]
    return tables.specs[spec, 0] == STRING and keep in (KEEP_HASH, KEEP_SOURCE)


@inlined
def _settle(is_taken: Any, spec: Any, row: int, work: Work, tables: Any) -> None:
    """Count a field that was taken, or leave its row to the referee."""
    if is_taken:
        work.required[row] += tables.specs[spec, 1]
    else:
        work.odd[row] = 1


@kernel
def check_texts(
    batch: Batch, column: Any, span: Any, rows: RowViews, work: Work, tables: Any, key: Any
) -> Any:
    """Take a column of texts for some rows; False where one stands outside the message."""
    specs, data = tables.specs, batch.data
    memo_start, memo_length, memo_hash = np.int64(0), np.int64(-1), ZERO
    for index in range(pick_rows(batch, column, span, work.picked)):
        row = work.picked[index]
        start, length = find_text(batch, column, batch.columns[column, OFFSET] + row)
        if length < 0:
            return False
        if work.odd[row] != 0:
            continue
        spec = find_spec(batch, column, row, rows, tables)
        state = PLAIN if is_plain(data, start, length) else ODD
        if _is_foreign(state, length, spec, row, work):
            continue
        if _is_hashed(spec, tables):
            if length != memo_length or not same_text(data, start, data, memo_start, length):
                memo_hash, _ = hash_text(data, start, length, ZERO, key)
                memo_start, memo_length = start, length
            rows.hashes[row, specs[spec, 2] >> 3] = memo_hash
            is_taken = fits(length, spec, tables)
        elif specs[spec, 0] == CHOICE:
            code = find_name(data, start, length, specs[spec, 5], tables)
            is_taken = put_code(code, spec, row, rows, tables)
        else:
            text = ((start, length), np.int64(-1))
            is_taken = put_rest(batch, text, spec, row, rows, work, tables)
        _settle(is_taken, spec, row, work, tables)
    return True


@kernel
def check_names(
    batch: Batch, column: Any, span: Any, rows: RowViews, work: Work, tables: Any
) -> Any:
    """Take a column of a dictionary's names for some rows; False where there is no such name."""
    specs, names = tables.specs, batch.names
    for index in range(pick_rows(batch, column, span, work.picked)):
        row = work.picked[index]
        name = find_index(batch, column, row)
        if name < 0:
            return False
        start, length = names[name, NAME_START], names[name, NAME_LENGTH]
        if names[name, NAME_STATE] == ABSENT or work.odd[row] != 0:
            continue
        spec = find_spec(batch, column, row, rows, tables)
        if _is_foreign(names[name, NAME_STATE], length, spec, row, work):
            continue
        if _is_hashed(spec, tables):
            rows.hashes[row, specs[spec, 2] >> 3] = batch.hashes[name, 0]
            is_taken = fits(length, spec, tables)
        elif specs[spec, 0] == CHOICE:
            is_taken = put_code(names[name, NAME_CODE], spec, row, rows, tables)
        else:
            text = ((start, length), name)
            is_taken = put_rest(batch, text, spec, row, rows, work, tables)
        _settle(is_taken, spec, row, work, tables)
    return True


@kernel
def check_lists(
    batch: Batch, column: Any, span: Any, rows: RowViews, work: Work, tables: Any
) -> Any:
    """Take a column of lists for some rows; False where an item stands outside the message."""
    columns, specs = batch.columns, tables.specs
    items = columns[column, FIRST_NAME]
    for picked in range(pick_rows(batch, column, span, work.picked)):
        row = work.picked[picked]
        first, stop = find_items(batch, column, row)
        if first < 0:
            return False
        spec = find_spec(batch, column, row, rows, tables)
        is_taken = (first == stop or items >= 0) and stop - first <= ITEMS_MAX
        is_taken = is_taken and (spec == 0 or specs[spec, 0] == LIST)
        if is_taken:
            for index in range(first, stop):
                start, length = find_text(batch, items, columns[items, OFFSET] + index)
                if length < 0:
                    return False
                is_good = has_value(batch, items, index) and is_plain(batch.data, start, length)
                is_taken = is_taken and is_good and (spec == 0 or fits(length, spec, tables))
        if not is_taken:
            work.odd[row] = 1
        elif work.odd[row] != 0:
            continue
        elif spec == 0:
            work.counts[-1] = 1
        else:
            work.required[row] += specs[spec, 1]
    return True


@kernel
def check_numbers(
    batch: Batch, column: Any, span: Any, rows: RowViews, work: Work, tables: Any
) -> None:
    """Take a column of numbers or truth values, or of what only the referee reads."""
    reader = batch.columns[column, READER]
    for index in range(pick_rows(batch, column, span, work.picked)):
        row = work.picked[index]
        if work.odd[row] != 0:
            continue
        spec = find_spec(batch, column, row, rows, tables)
        is_taken = False
        if reader == INTEGERS:
            is_taken = spec == 0 or put_integer(batch, column, spec, row, rows, tables)
        elif reader == FIXED_POINTS:
            is_taken = spec == 0 or put_decimal(batch, column, spec, row, rows, tables)
        elif reader == BOOLEANS:
            is_taken = spec == 0 or put_boolean(batch, column, spec, row, rows, tables)
        if not is_taken:
            work.odd[row] = 1
        elif spec != 0:
            work.required[row] += tables.specs[spec, 1]
        else:
            work.counts[-1] = 1


@kernel
def _put_identity(batch: Batch, row: int, rows: RowViews, work: Work, keys: Any) -> None:
    """Hash what needs another field first: the event within its source, the account its tenant."""
    data, pending = batch.data, work.pending
    key, tenant = keys
    source = rows.hashes[row, SOURCE_WORD]
    one, two = hash_text(data, pending[row, EVENT_TEXT], pending[row, EVENT_TEXT + 1], source, key)
    rows.hashes[row, EVENT_WORD] = one
    rows.hashes[row, EVENT_WORD + 1] = two
    start, length = pending[row, ACCOUNT_TEXT], pending[row, ACCOUNT_TEXT + 1]
    if length == 0:
        return
    name, tenant_length = pending[row, ACCOUNT_NAME] - 1, pending[row, TENANT_TEXT + 1]
    if tenant_length > 0:
        tenant, _ = hash_text(data, pending[row, TENANT_TEXT], tenant_length, ZERO, key)
    if name >= 0 and tenant_length == 0:
        rows.hashes[row, ACCOUNT_WORD] = batch.hashes[name, 0]
        rows.hashes[row, ACCOUNT_WORD + 1] = batch.hashes[name, 1]
        rows.halves[row, MURMUR_HALF] = np.uint32(batch.hashes[name, 2])
    else:
        one, two = hash_text(data, start, length, tenant, key)
        rows.hashes[row, ACCOUNT_WORD] = one
        rows.hashes[row, ACCOUNT_WORD + 1] = two
        rows.halves[row, MURMUR_HALF] = np.uint32(murmur2(data, start, length))
    _put_parties(batch, row, rows, work, (key, tenant))


@kernel
def _put_parties(batch: Batch, row: int, rows: RowViews, work: Work, keys: Any) -> None:
    """Hash whom a fill was with, or who is behind an account."""
    data, pending = batch.data, work.pending
    key, tenant = keys
    start, length = pending[row, COUNTER_TEXT], pending[row, COUNTER_TEXT + 1]
    if length > 0:
        one, two = hash_text(data, start, length, tenant, key)
        rows.hashes[row, NAME_WORD] = one
        rows.hashes[row, NOTICE_WORD] = two
    start, length = pending[row, OWNER_TEXT], pending[row, OWNER_TEXT + 1]
    if length > 0:
        rows.hashes[row, NAME_WORD], _ = hash_text(data, start, length, tenant, key)
    start, length = pending[row, GROUP_TEXT], pending[row, GROUP_TEXT + 1]
    if length > 0:
        rows.hashes[row, NOTICE_WORD], _ = hash_text(data, start, length, tenant, key)


@kernel
def _finish_rows(
    batch: Batch, span: Any, rows: RowViews, work: Work, tables: Any, keys: Any
) -> None:
    """Decide which rows are whole, and write the hashes they still lack."""
    for row in range(span[0], span[1]):
        if work.odd[row] != 0:
            continue
        kind = int(rows.codes[row, KIND_OFFSET])
        is_short = work.required[row] != tables.required_counts[kind]
        if is_short or lacks_price(kind, tables, (rows, row)):
            work.odd[row] = 1
        else:
            _put_identity(batch, row, rows, work, keys)


@kernel
def check_rows(batch: Batch, rows: RowViews, work: Work, tables: Any, keys: Any) -> Any:
    """Write every plain row, and mark the others odd.

    Parameters
    ----------
    batch
        What is read.
    rows
        As many zeroed rows as the batch has, whose kinds ``read_kinds`` has written.
    work, tables
        ``Work`` of this batch, and ``wire.Tables``.
    keys
        The hash key, shape (2,) uint64, and the default tenant's hash.

    Returns
    -------
    bool
        False where something points outside the message: nothing of it can be trusted then.
    """
    for first in range(0, len(rows.ints), TILE):
        span = (first, min(first + TILE, len(rows.ints)))
        for column in range(len(batch.columns)):
            reader, is_sound = batch.columns[column, READER], True
            if batch.columns[column, KEY] == KIND_KEY or reader == ITEMS:
                continue
            if reader == TEXTS:
                is_sound = check_texts(batch, column, span, rows, work, tables, keys[0])
            elif reader == NAMES:
                is_sound = check_names(batch, column, span, rows, work, tables)
            elif reader == LISTS:
                is_sound = check_lists(batch, column, span, rows, work, tables)
            else:
                check_numbers(batch, column, span, rows, work, tables)
            if not is_sound:
                return False
        _finish_rows(batch, span, rows, work, tables, keys)
    return True


@kernel
def count_foreign(batch: Batch, rows: RowViews, work: Work, tables: Any) -> None:
    """Count by key the fields of plain rows that their kinds do not know."""
    if work.counts[-1] == 0:
        return
    work.counts[-1] = 0
    for column in range(len(batch.columns)):
        key = batch.columns[column, KEY]
        is_names = batch.columns[column, READER] == NAMES
        if batch.columns[column, READER] == ITEMS:
            continue
        for row in range(len(rows.ints)):
            if work.odd[row] != 0 or not has_value(batch, column, row):
                continue
            if is_names and batch.names[find_index(batch, column, row), NAME_STATE] == ABSENT:
                continue
            if find_spec(batch, column, row, rows, tables) == 0:
                work.counts[key] += 1
