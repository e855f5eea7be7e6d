"""Kernels that turn plain lines into rows; a line with any surprise is left to the referee.

A line is plain if it is printable ASCII without backslashes and holds one well-formed object of
scalars in which every known field has a value the structs allow. What is not plain is not wrong:
it is only not decided here.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas._scan_lex import (
    find_name,
    lex_number,
    line_end,
    same_text,
    skip_space,
    string_end,
)
from schemas.columns import ROW, Bytes, Rows
from schemas.hashing import hash_text, load_u64, murmur2
from schemas.jit import inlined, kernel

# Plain numbers, not imported ones: numba's cache only watches the file a kernel stands in.
# ``tests/unit/schemas/test_wire.py`` holds them equal to ``schemas.wire`` and ``schemas.columns``.
STRING, INTEGER, MONEY, BOOLEAN, CHOICE, COMPLEX = 1, 2, 3, 4, 5, 6
KEEP_HASH, KEEP_EVENT, KEEP_ACCOUNT, KEEP_SOURCE, KEEP_TENANT = 1, 2, 3, 4, 5
TOKEN_STRING, TOKEN_NUMBER, TOKEN_TRUE, TOKEN_FALSE, TOKEN_NULL = 1, 2, 3, 4, 5
HAS_PRICE = 1
KIND_KEY, KIND_SET = 0, 1
TOKENS_MAX = 64  # fields of one line; more is no longer plain
UNKNOWN_NAMES_MAX = 64  # different unknown fields of one block that are counted here
NOT_PLAIN = -1
CONTEXTS = 1_024  # a power of two
CONTEXT_FACTOR = np.uint64(0x9E3779B97F4A7C15)
ZERO = np.uint64(0)
LOW32 = np.uint64(0xFFFFFFFF)
TRUE_WORD = np.uint64(0x65757274)  # "true", first letter lowest
FALS_WORD = np.uint64(0x736C6166)
NULL_WORD = np.uint64(0x6C6C756E)
MONEY_LIMIT = np.uint64(9_223_372_036_800_000_000)
KIND_OFFSET = ROW.fields["kind"][1]
ORDER_TYPE_OFFSET = ROW.fields["order_type"][1]
FLAGS_OFFSET = ROW.fields["flags"][1]
HAS_OFFSET = ROW.fields["has"][1]
MURMUR_HALF = ROW.fields["account_murmur2"][1] // 4
LENGTH_HALF = ROW.fields["line_length"][1] // 4
TIME_WORD = ROW.fields["event_time_ns"][1] // 8
HIGH_WORD = ROW.fields["high_before_ns"][1] // 8
LINE_NUMBER_WORD = ROW.fields["line_number"][1] // 8
SOURCE_WORD = ROW.fields["source_1"][1] // 8
EVENT_WORD = ROW.fields["event_1"][1] // 8
ACCOUNT_WORD = ROW.fields["account_1"][1] // 8


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
        Shape (TOKENS_MAX, 5) int64: key, token type, start, length, decimals.
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
        Shape (6, 2) int64: start and length by what is kept of a string.
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
    shape = (len(rows), -1)
    return RowViews(
        rows.view(np.int64).reshape(shape),
        rows.view(np.uint64).reshape(shape),
        rows.view(np.uint32).reshape(shape),
        rows.view(np.uint8).reshape(shape),
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
        pending=np.zeros((6, 2), np.int64),
    )


@kernel
def _unknown_key(buffer: Bytes, start: int, length: int, work: Any, key_count: int) -> int:
    """Return the number of an unknown field's name, taking it in if new; -1 if the list is full."""
    unknown = work.unknown
    count = unknown[UNKNOWN_NAMES_MAX, 0]
    for index in range(count):
        if unknown[index, 1] == length and same_text(
            buffer, start, buffer, unknown[index, 0], length
        ):
            return key_count + index
    if count == UNKNOWN_NAMES_MAX:
        return NOT_PLAIN
    unknown[count, 0] = start
    unknown[count, 1] = length
    unknown[UNKNOWN_NAMES_MAX, 0] = count + 1
    return key_count + count


@inlined
def _read_key(buffer: Bytes, at: int, work: Any, tables: Any) -> Any:
    """Read ``"key" :``; return (key, place of the value), key -1 if the line is not plain."""
    at = skip_space(buffer, at)
    if buffer[at] != 34:
        return NOT_PLAIN, at
    end = string_end(buffer, at + 1)
    if end < 0:
        return NOT_PLAIN, at
    key_count = tables.spec_of.shape[1]
    key = find_name(buffer, at + 1, end - at - 1, 0, tables)
    if key < 0:
        key = _unknown_key(buffer, at + 1, end - at - 1, work, key_count)
    at = skip_space(buffer, end + 1)
    if key < 0 or buffer[at] != 58:
        return NOT_PLAIN, at
    return key, skip_space(buffer, at + 1)


@inlined
def _guess_key(buffer: Bytes, at: int, context: int, work: Any, tables: Any) -> Any:
    """Do what ``_read_key`` does, by comparing with the key that stood in this context before.

    Feeds write their keys in the same order, line after line, so the next key is mostly known
    from the ones before it, and comparing the bytes is all there is to do.
    """
    guesses = work.guesses
    length = guesses[context, 1]
    if length > 0 and same_text(buffer, at, buffer, guesses[context, 0], length):
        return guesses[context, 2], skip_space(buffer, at + length)
    key, value = _read_key(buffer, at, work, tables)
    if key >= 0:
        guesses[context, 0] = at
        guesses[context, 1] = value - at
        guesses[context, 2] = key
    return key, value


@inlined
def _read_value(buffer: Bytes, at: int, work: Any, index: int) -> int:
    """Read one scalar into token ``index``; return the place behind it, or -1."""
    tokens = work.tokens
    first = buffer[at]
    if first == 34:
        end = string_end(buffer, at + 1)
        tokens[index, 1] = TOKEN_STRING
        tokens[index, 2] = at + 1
        tokens[index, 3] = end - at - 1
        return end + 1 if end >= 0 else NOT_PLAIN
    if first == 45 or (48 <= first <= 57):
        end, minus, digits, decimals = lex_number(buffer, at)
        tokens[index, 1] = TOKEN_NUMBER
        tokens[index, 4] = decimals
        work.values[index] = -np.int64(digits) if minus else np.int64(digits)
        return end
    word = load_u64(buffer, at) & LOW32
    if word == TRUE_WORD:
        tokens[index, 1] = TOKEN_TRUE
        return at + 4
    if word == NULL_WORD:
        tokens[index, 1] = TOKEN_NULL
        return at + 4
    if word == FALS_WORD and buffer[at + 4] == 101:
        tokens[index, 1] = TOKEN_FALSE
        return at + 5
    return NOT_PLAIN


@inlined
def _next_context(buffer: Bytes, context: int, key: int, value: int) -> int:
    """Mix a key, and the value of ``kind``, into what the next key is guessed from."""
    context = context * 31 + key + 1
    if key == KIND_KEY:
        word = load_u64(buffer, value + 1)  # "order.ca", "order.ne": enough to tell them apart
        context += np.int64((word * CONTEXT_FACTOR) >> np.uint64(48))
    return context & (CONTEXTS - 1)


@inlined
def _read_tokens(buffer: Bytes, at: int, line: int, work: Any, tables: Any) -> Any:
    """Read an object of scalars; return (place behind it, how many, where ``kind`` is).

    The place is -1 if the line is not plain.
    """
    kind_index = -1
    context = np.int64(0)
    at = skip_space(buffer, at)
    if buffer[at] != 123:
        return NOT_PLAIN, 0, kind_index
    for index in range(TOKENS_MAX):
        key, at = _guess_key(buffer, at + 1, context, work, tables)
        if key < 0 or work.stamps[key] == line:
            break
        work.stamps[key] = line
        work.tokens[index, 0] = key
        if key == KIND_KEY:
            kind_index = index
        context = _next_context(buffer, context, key, at)
        at = _read_value(buffer, at, work, index)
        if at < 0:
            break
        at = skip_space(buffer, at)
        if buffer[at] == 125:
            return at + 1, index + 1, kind_index
        if buffer[at] != 44:
            break
    return NOT_PLAIN, 0, kind_index


@inlined
def _money(digits: int, decimals: int) -> Any:
    """Turn a number's digits into units of 10^-8; return (whether it is plain money, value)."""
    if decimals == -2:
        return False, 0
    magnitude = np.uint64(-digits) if digits < 0 else np.uint64(digits)
    if decimals == -1:
        decimals = 0
    while decimals > 8:
        if magnitude % np.uint64(10) != np.uint64(0):
            return False, 0
        magnitude //= np.uint64(10)
        decimals -= 1
    limit = MONEY_LIMIT
    scale = np.uint64(1)
    for _ in range(8 - decimals):
        scale *= np.uint64(10)
        limit //= np.uint64(10)
    if magnitude > limit:
        return False, 0
    value = np.int64(magnitude * scale)
    return True, (-value if digits < 0 else value)


@inlined
def _put_money(buffer: Bytes, spec: int, index: int, work: Any, tables: Any, place: Any) -> bool:
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
    plain, value = _money(digits, decimals)
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
    buffer: Bytes, spec: int, index: int, work: Any, tables: Any, place: Any, key: Any
) -> bool:
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
def _put_choice(buffer: Bytes, spec: int, index: int, work: Any, tables: Any, place: Any) -> bool:
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
def _put_scalar(spec: int, index: int, work: Any, tables: Any, place: Any) -> bool:
    """Check an integer or a truth value and write it."""
    tokens, specs = work.tokens, tables.specs
    rows, row = place
    token_type = tokens[index, 1]
    if specs[spec, 0] == BOOLEAN:
        if token_type == TOKEN_TRUE:
            rows.codes[row, FLAGS_OFFSET] |= np.uint8(specs[spec, 6])
        return token_type in (TOKEN_TRUE, TOKEN_FALSE)
    if specs[spec, 0] != INTEGER or token_type != TOKEN_NUMBER or tokens[index, 4] != -1:
        return False
    value = work.values[index]
    if value < specs[spec, 3] or value > specs[spec, 4]:
        return False
    if specs[spec, 2] >= 0:
        rows.ints[row, specs[spec, 2] >> 3] = value
    return True


@inlined
def _put_field(
    buffer: Bytes, spec: int, index: int, work: Any, tables: Any, place: Any, key: Any
) -> bool:
    """Check token ``index`` against its field and write it into the row."""
    value_type = tables.specs[spec, 0]
    if value_type == STRING:
        return _put_string(buffer, spec, index, work, tables, place, key)
    if value_type == MONEY:
        return _put_money(buffer, spec, index, work, tables, place)
    if value_type == CHOICE:
        return _put_choice(buffer, spec, index, work, tables, place)
    return _put_scalar(spec, index, work, tables, place)


@inlined
def _put_identity(buffer: Bytes, work: Any, place: Any, keys: Any) -> None:
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


@inlined
def _lacks_price(kind: int, tables: Any, place: Any) -> bool:
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
def _put_fields(
    buffer: Bytes, kind: int, count: int, work: Any, tables: Any, place: Any, key: Any
) -> bool:
    """Check all tokens against the kind and write them; False if the line is not plain."""
    work.pending[KEEP_ACCOUNT, 1] = 0
    work.pending[KEEP_TENANT, 1] = 0
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
    if required != tables.required_counts[kind] or _lacks_price(kind, tables, place):
        return False
    if foreign > 0:
        _count_foreign(count, kind, work, tables)
    return True


@inlined
def _scan_line(
    buffer: Bytes, span: Any, line: int, work: Any, tables: Any, place: Any, keys: Any
) -> int:
    """Fill the row from the line at ``span[0]``; return where it ends, -1 if it is not plain."""
    start, size = span
    at, count, kind_index = _read_tokens(buffer, start, line, work, tables)
    if at < 0 or kind_index < 0 or work.tokens[kind_index, 1] != TOKEN_STRING:
        return NOT_PLAIN
    at = skip_space(buffer, at)
    if (at < size and buffer[at] != 10) or at - start > tables.limits[2]:
        return NOT_PLAIN
    tokens = work.tokens
    kind = find_name(buffer, tokens[kind_index, 2], tokens[kind_index, 3], KIND_SET, tables)
    if kind < 0 or not _put_fields(buffer, kind, count, work, tables, place, keys[0]):
        return NOT_PLAIN
    rows, row = place
    rows.codes[row, KIND_OFFSET] = np.uint8(kind)
    _put_identity(buffer, work, place, keys)
    return at


@kernel
def scan_lines(
    buffer: Bytes, span: Any, rows: Any, odd: Any, work: Any, tables: Any, keys: Any
) -> Any:
    """Read lines until the block or the room for rows ends.

    Parameters
    ----------
    buffer
        Shape (size + LOAD_PADDING,) uint8, the padding zero.
    span
        Place of the first line, end of the block, number of the first line.
    rows
        ``RowViews`` of n zeroed rows. One row a line; of a line that is not plain only its
        place and number are right.
    odd
        Shape (n,) int64: receives the row indexes of the lines that are not plain.
    work, tables
        ``Work`` and ``wire.Tables``.
    keys
        The hash key, shape (2,) uint64, and the default tenant's hash.

    Returns
    -------
    tuple of three int
        Rows, odd rows, and the place of the next line.
    """
    at, size, line = span
    count = np.int64(0)  # a bare 0 would have everything below compiled twice
    odd_count = np.int64(0)
    while at < size and count < len(rows.ints):
        end = _scan_line(buffer, (at, size), line, work, tables, (rows, count), keys)
        if end < 0:
            end = line_end(buffer, at, size)
            odd[odd_count] = count
            odd_count += 1
        rows.ints[count, 0] = at
        rows.halves[count, LENGTH_HALF] = np.uint32(end - at)
        rows.ints[count, LINE_NUMBER_WORD] = line
        count += 1
        line += 1
        at = end + 1
    return count, odd_count, at


@kernel
def fill_high_before(ints: NDArray[np.int64]) -> None:
    """high[i] = max over 1 <= j <= i - 1 of min(t[j - 1], t[j]), -2^63 where there is none.

    A time counts once two rows in a row have reached it, so that one wild clock moves nothing.
    """
    high = np.int64(-(2**63))
    for i in range(len(ints)):
        if i >= 2:
            high = max(high, min(ints[i - 2, TIME_WORD], ints[i - 1, TIME_WORD]))
        ints[i, HIGH_WORD] = high
