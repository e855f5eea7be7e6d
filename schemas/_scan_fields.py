"""Kernels that check a line's fields against its kind and write them into its row."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas._scan_lex import find_name, lex_number, same_text
from schemas.columns import ROW, Bytes, Rows
from schemas.hashing import hash_text, murmur2
from schemas.jit import inlined

# Plain numbers, not imported ones: numba's cache only watches the file a kernel stands in.
# ``tests/unit/schemas/test_wire.py`` holds them equal to ``schemas.wire`` and ``schemas.columns``.
STRING, INTEGER, MONEY, BOOLEAN, CHOICE, COMPLEX, LIST = 1, 2, 3, 4, 5, 6, 7
KEEP_HASH, KEEP_EVENT, KEEP_ACCOUNT, KEEP_SOURCE, KEEP_TENANT = 1, 2, 3, 4, 5
KEEP_COUNTER, KEEP_OWNER, KEEP_GROUP = 6, 7, 8
TOKEN_STRING, TOKEN_NUMBER, TOKEN_TRUE, TOKEN_FALSE, TOKEN_NULL, TOKEN_LIST = 1, 2, 3, 4, 5, 6
NO_POINT, ODD_NUMBER = -1, -2  # in place of a number's count of decimals
HAS_PRICE = 1
DECIMALS = 8
MONEY_LIMIT = np.uint64(9_223_372_036_800_000_000)
ZERO = np.uint64(0)
TOKENS_MAX = 64  # fields of one line; more is no longer plain
UNKNOWN_NAMES_MAX = 64  # different unknown fields of one block that are counted here
CONTEXTS = 1_024  # in which the next key is guessed; a power of two
_OFFSETS = {name: int(place[1]) for name, place in (ROW.fields or {}).items()}
ORDER_TYPE_OFFSET = _OFFSETS["order_type"]
FLAGS_OFFSET = _OFFSETS["flags"]
HAS_OFFSET = _OFFSETS["has"]
MURMUR_HALF = _OFFSETS["account_murmur2"] // 4
SOURCE_WORD = _OFFSETS["source_1"] // 8
EVENT_WORD = _OFFSETS["event_1"] // 8
ACCOUNT_WORD = _OFFSETS["account_1"] // 8
NAME_WORD = _OFFSETS["name_1"] // 8
NOTICE_WORD = _OFFSETS["notice_1"] // 8


class RowViews(NamedTuple):
    """The same zeroed rows, seen as words and as bytes.

    Attributes
    ----------
    ints, hashes
        Shape (n, 22) int64 and uint64.
    halves
        Shape (n, 44) uint32.
    codes
        Shape (n, 176) uint8.
    """

    ints: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    halves: NDArray[np.uint32]
    codes: NDArray[np.uint8]


class Work(NamedTuple):
    """What the kernel writes beside rows; made afresh for every block.

    Attributes
    ----------
    tokens
        Shape (TOKENS_MAX, 5) int64: key, token type, start, length, decimals. Of a list: key,
        token type, length of its shortest and longest string, how many they are.
    values
        Shape (TOKENS_MAX,) int64: a number token's digits with its sign.
    stamps
        Shape (keys + UNKNOWN_NAMES_MAX,) int64: last line each key stood on, to see doubles.
    counts
        Same shape: how often an accepted line had the key although its kind does not know it.
    unknown
        Shape (UNKNOWN_NAMES_MAX + 1, 2) int64: start and length of each unknown name; the last
        row's first number is how many there are.
    memo
        Shape (ROW words, 2) int64: where the text hashed last for a column stands.
    memo_hash
        Shape (ROW words,) uint64: its hash.
    guesses
        Shape (CONTEXTS, 3) int64: start, length and number of the key, with the colon and the
        white space around it, that last stood in each context; length 0 where none did.
    pending
        Shape (9, 2) int64: start and length by what is kept of a string.
    """

    tokens: NDArray[np.int64]
    values: NDArray[np.int64]
    stamps: NDArray[np.int64]
    counts: NDArray[np.int64]
    unknown: NDArray[np.int64]
    memo: NDArray[np.int64]
    memo_hash: NDArray[np.uint64]
    guesses: NDArray[np.int64]
    pending: NDArray[np.int64]


def view_rows(rows: Rows) -> RowViews:
    """View ``rows`` as the kernels take them."""
    size = rows.dtype.itemsize  # spelled out, because -1 cannot be told for no rows at all
    return RowViews(
        rows.view(np.int64).reshape(len(rows), size // 8),
        rows.view(np.uint64).reshape(len(rows), size // 8),
        rows.view(np.uint32).reshape(len(rows), size // 4),
        rows.view(np.uint8).reshape(len(rows), size),
    )


def make_work(key_count: int) -> Work:
    """Allocate the kernel's work space for one block."""
    words = ROW.itemsize // 8
    return Work(
        tokens=np.zeros((TOKENS_MAX, 5), np.int64),
        values=np.zeros(TOKENS_MAX, np.int64),
        stamps=np.full(key_count + UNKNOWN_NAMES_MAX, -1, np.int64),
        counts=np.zeros(key_count + UNKNOWN_NAMES_MAX, np.int64),
        unknown=np.zeros((UNKNOWN_NAMES_MAX + 1, 2), np.int64),
        memo=np.full((words, 2), -1, np.int64),
        memo_hash=np.zeros(words, np.uint64),
        guesses=np.zeros((CONTEXTS, 3), np.int64),
        pending=np.zeros((9, 2), np.int64),
    )


@inlined
def to_e8(digits: int, decimals: int) -> Any:
    """Turn a number's digits into units of 10^-8; return (whether it is plain money, value)."""
    if decimals == ODD_NUMBER:
        return False, 0
    magnitude = np.uint64(-digits) if digits < 0 else np.uint64(digits)
    if decimals == NO_POINT:
        decimals = 0
    while decimals > DECIMALS:
        if magnitude % np.uint64(10) != np.uint64(0):
            return False, 0
        magnitude //= np.uint64(10)
        decimals -= 1
    limit = MONEY_LIMIT
    scale = np.uint64(1)
    for _ in range(DECIMALS - decimals):
        scale *= np.uint64(10)
        limit //= np.uint64(10)
    if magnitude > limit:
        return False, 0
    value = np.int64(magnitude * scale)
    return True, (-value if digits < 0 else value)


@inlined
def _put_money(buffer: Bytes, spec: Any, index: int, work: Any, tables: Any, place: Any) -> Any:
    """Read token ``index`` as money, from a number or from a string that spells one."""
    tokens, specs = work.tokens, tables.specs
    digits = work.values[index]
    decimals = tokens[index, 4]
    if tokens[index, 1] == TOKEN_STRING:
        start = tokens[index, 2]
        end, minus, magnitude, decimals = lex_number(buffer, start)
        if end != start + tokens[index, 3]:
            return False
        digits = -np.int64(magnitude) if minus else np.int64(magnitude)
    elif tokens[index, 1] != TOKEN_NUMBER:
        return False
    plain, value = to_e8(digits, decimals)
    if not plain or (specs[spec, 7] == 1 and value <= 0):
        return False
    if specs[spec, 2] >= 0:
        rows, row = place
        rows.ints[row, specs[spec, 2] >> 3] = value
        rows.codes[row, HAS_OFFSET] |= np.uint8(specs[spec, 6])
    return True


@inlined
def _hash_again(buffer: Bytes, word: int, index: int, work: Any, key: Any) -> Any:
    """Hash a string token, unless the column's last text was the same."""
    start, length = work.tokens[index, 2], work.tokens[index, 3]
    memo = work.memo
    if memo[word, 1] == length and same_text(buffer, start, buffer, memo[word, 0], length):
        return work.memo_hash[word]
    value, _ = hash_text(buffer, start, length, ZERO, key)
    memo[word, 0] = start
    memo[word, 1] = length
    work.memo_hash[word] = value
    return value


@inlined
def _put_string(
    buffer: Bytes, spec: Any, index: int, work: Any, tables: Any, place: Any, key: Any
) -> Any:
    """Check a string's length; hash it, or note it where its hash needs another field first."""
    tokens, specs = work.tokens, tables.specs
    length = tokens[index, 3]
    if tokens[index, 1] != TOKEN_STRING or length < specs[spec, 3] or length > specs[spec, 4]:
        return False
    keep = specs[spec, 5]
    if keep in (KEEP_HASH, KEEP_SOURCE):
        word = specs[spec, 2] >> 3
        rows, row = place
        rows.hashes[row, word] = _hash_again(buffer, word, index, work, key)
    elif keep != 0:
        work.pending[keep, 0] = tokens[index, 2]
        work.pending[keep, 1] = length
    return True


@inlined
def _put_choice(buffer: Bytes, spec: Any, index: int, work: Any, tables: Any, place: Any) -> Any:
    """Look a choice up and write its code."""
    tokens, column = work.tokens, tables.specs[spec, 2]
    if tokens[index, 1] != TOKEN_STRING:
        return False
    name_set = tables.specs[spec, 5]
    code = find_name(buffer, tokens[index, 2], tokens[index, 3], name_set, tables)
    if code > 0 and column >= 0:
        rows, row = place
        rows.codes[row, column] = np.uint8(code)
    return code > 0


@inlined
def _put_scalar(spec: Any, index: int, work: Any, tables: Any, place: Any) -> Any:
    """Check an integer or a truth value and write it."""
    tokens, specs = work.tokens, tables.specs
    rows, row = place
    token_type = tokens[index, 1]
    if specs[spec, 0] == BOOLEAN:
        if token_type == TOKEN_TRUE:
            rows.codes[row, FLAGS_OFFSET] |= np.uint8(specs[spec, 6])
        return token_type in (TOKEN_TRUE, TOKEN_FALSE)
    if specs[spec, 0] != INTEGER or token_type != TOKEN_NUMBER or tokens[index, 4] != NO_POINT:
        return False
    value = work.values[index]
    if value < specs[spec, 3] or value > specs[spec, 4]:
        return False
    if specs[spec, 2] >= 0:
        rows.ints[row, specs[spec, 2] >> 3] = value
    return True


@inlined
def _is_plain_list(spec: Any, index: int, work: Any, tables: Any) -> Any:
    """Say whether a list is empty, or of strings of the right lengths. No column holds any."""
    tokens, specs = work.tokens, tables.specs
    if specs[spec, 0] != LIST or tokens[index, 1] != TOKEN_LIST:
        return False
    lengths_fit = tokens[index, 2] >= specs[spec, 3] and tokens[index, 3] <= specs[spec, 4]
    return tokens[index, 4] == 0 or lengths_fit


@inlined
def _put_field(
    buffer: Bytes, spec: Any, index: int, work: Any, tables: Any, place: Any, key: Any
) -> Any:
    """Check token ``index`` against its field and write it into the row."""
    value_type = tables.specs[spec, 0]
    if value_type == STRING:
        return _put_string(buffer, spec, index, work, tables, place, key)
    if value_type == MONEY:
        return _put_money(buffer, spec, index, work, tables, place)
    if value_type == CHOICE:
        return _put_choice(buffer, spec, index, work, tables, place)
    if value_type == LIST:
        return _is_plain_list(spec, index, work, tables)
    return _put_scalar(spec, index, work, tables, place)


@inlined
def put_identity(buffer: Bytes, work: Any, place: Any, keys: Any) -> None:
    """Hash what needs another field first: the event within its source, the account its tenant."""
    rows, row = place
    key, tenant = keys
    pending = work.pending
    source = rows.hashes[row, SOURCE_WORD]
    one, two = hash_text(buffer, pending[KEEP_EVENT, 0], pending[KEEP_EVENT, 1], source, key)
    rows.hashes[row, EVENT_WORD] = one
    rows.hashes[row, EVENT_WORD + 1] = two
    start, length = pending[KEEP_ACCOUNT, 0], pending[KEEP_ACCOUNT, 1]
    if length == 0:
        return
    if pending[KEEP_TENANT, 1] > 0:
        tenant, _ = hash_text(buffer, pending[KEEP_TENANT, 0], pending[KEEP_TENANT, 1], ZERO, key)
    one, two = hash_text(buffer, start, length, tenant, key)
    rows.hashes[row, ACCOUNT_WORD] = one
    rows.hashes[row, ACCOUNT_WORD + 1] = two
    rows.halves[row, MURMUR_HALF] = np.uint32(murmur2(buffer, start, length))
    if pending[KEEP_COUNTER, 1] > 0:
        start, length = pending[KEEP_COUNTER, 0], pending[KEEP_COUNTER, 1]
        one, two = hash_text(buffer, start, length, tenant, key)
        rows.hashes[row, NAME_WORD] = one
        rows.hashes[row, NOTICE_WORD] = two
    if pending[KEEP_OWNER, 1] > 0:
        start, length = pending[KEEP_OWNER, 0], pending[KEEP_OWNER, 1]
        rows.hashes[row, NAME_WORD], _ = hash_text(buffer, start, length, tenant, key)
    if pending[KEEP_GROUP, 1] > 0:
        start, length = pending[KEEP_GROUP, 0], pending[KEEP_GROUP, 1]
        rows.hashes[row, NOTICE_WORD], _ = hash_text(buffer, start, length, tenant, key)


@inlined
def lacks_price(kind: int, tables: Any, place: Any) -> Any:
    """Say whether an order that needs a price has none."""
    rows, row = place
    if kind != tables.limits[0] or rows.codes[row, HAS_OFFSET] & np.uint8(HAS_PRICE) != 0:
        return False
    return (tables.limits[1] >> np.int64(rows.codes[row, ORDER_TYPE_OFFSET])) & 1 == 0


@inlined
def _count_foreign(count: int, kind: int, work: Any, tables: Any) -> None:
    """Count the fields of an accepted line that its kind does not know."""
    key_count = tables.spec_of.shape[1]
    for index in range(count):
        name = work.tokens[index, 0]
        if name >= key_count or tables.spec_of[kind, name] == 0:
            work.counts[name] += 1


@inlined
def put_fields(
    buffer: Bytes, kind: int, count: int, work: Any, tables: Any, place: Any, key: Any
) -> Any:
    """Check all tokens against the kind and write them; False if the line is not plain."""
    work.pending[KEEP_ACCOUNT, 1] = 0
    work.pending[KEEP_TENANT, 1] = 0
    work.pending[KEEP_COUNTER, 1] = 0
    work.pending[KEEP_OWNER, 1] = 0
    work.pending[KEEP_GROUP, 1] = 0
    required = 0
    foreign = 0
    key_count = tables.spec_of.shape[1]
    for index in range(count):
        name = work.tokens[index, 0]
        spec = np.int64(tables.spec_of[kind, name]) if name < key_count else 0
        if spec == 0:
            foreign += 1
        elif work.tokens[index, 1] != TOKEN_NULL:
            if not _put_field(buffer, spec, index, work, tables, place, key):
                return False
            required += tables.specs[spec, 1]
    if required != tables.required_counts[kind] or lacks_price(kind, tables, place):
        return False
    if foreign > 0:
        _count_foreign(count, kind, work, tables)
    return True
