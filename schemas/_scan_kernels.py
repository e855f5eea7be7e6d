"""Kernels that turn plain lines into rows; a line with any surprise is left to the referee.

A line is plain if it is printable ASCII without backslashes and holds one well-formed object of
scalars and lists of strings in which every known field has a value the structs allow. What is not
plain is not wrong: it is only not decided here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas._scan_fields import put_fields, put_identity
from schemas._scan_lex import find_name, lex_number, line_end, same_text, skip_space, string_end
from schemas.columns import ROW, Bytes
from schemas.hashing import load_u64
from schemas.jit import inlined, kernel

# Plain numbers, not imported ones: numba's cache only watches the file a kernel stands in.
# ``tests/unit/schemas/test_wire.py`` holds them equal to those of ``schemas._scan_fields``.
TOKEN_STRING, TOKEN_NUMBER, TOKEN_TRUE, TOKEN_FALSE, TOKEN_NULL, TOKEN_LIST = 1, 2, 3, 4, 5, 6
KIND_KEY = 0
KEY_SET = np.int64(0)  # a bare 0 or 1 would have ``find_name`` compiled once for each
KIND_SET = np.int64(1)
TOKENS_MAX = 64
UNKNOWN_NAMES_MAX = 64
CONTEXTS = 1_024
CONTEXT_FACTOR = np.uint64(0x9E3779B97F4A7C15)
NOT_PLAIN = -1
LINE_FEED, QUOTE, COMMA, MINUS, DIGIT_0, DIGIT_9, COLON = 10, 34, 44, 45, 48, 57, 58
OPEN_BRACKET, CLOSE_BRACKET, LETTER_E, OPEN_BRACE, CLOSE_BRACE = 91, 93, 101, 123, 125
LENGTH_LIMIT = 2**62  # above that of any text
LOW32 = np.uint64(0xFFFFFFFF)
TRUE_WORD = np.uint64(0x65757274)  # "true", first letter lowest
FALS_WORD = np.uint64(0x736C6166)
NULL_WORD = np.uint64(0x6C6C756E)
_OFFSETS = {name: int(place[1]) for name, place in (ROW.fields or {}).items()}
KIND_OFFSET = _OFFSETS["kind"]
LENGTH_HALF = _OFFSETS["line_length"] // 4
LINE_NUMBER_WORD = _OFFSETS["line_number"] // 8
TIME_WORD = _OFFSETS["event_time_ns"] // 8
HIGH_WORD = _OFFSETS["high_before_ns"] // 8


@kernel
def _unknown_key(buffer: Bytes, start: int, length: int, work: Any, key_count: int) -> Any:
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


@kernel
def _read_key(buffer: Bytes, at: int, work: Any, tables: Any) -> Any:
    """Read ``"key" :``; return (key, place of the value), key -1 if the line is not plain."""
    at = skip_space(buffer, at)
    if buffer[at] != QUOTE:
        return NOT_PLAIN, at
    end = string_end(buffer, at + 1)
    if end < 0:
        return NOT_PLAIN, at
    key_count = tables.spec_of.shape[1]
    key = find_name(buffer, at + 1, end - at - 1, KEY_SET, tables)
    if key < 0:
        key = _unknown_key(buffer, at + 1, end - at - 1, work, key_count)
    at = skip_space(buffer, end + 1)
    if key < 0 or buffer[at] != COLON:
        return NOT_PLAIN, at
    return key, skip_space(buffer, at + 1)


@inlined
def _guess_key(buffer: Bytes, at: int, context: Any, work: Any, tables: Any) -> Any:
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


@kernel
def _read_list(buffer: Bytes, at: int, work: Any, index: int) -> Any:
    """Read a list of strings into token ``index``; return the place behind it, or -1."""
    count, shortest, longest = 0, LENGTH_LIMIT, 0
    at = skip_space(buffer, at + 1)
    while buffer[at] == QUOTE:
        end = string_end(buffer, at + 1)
        if end < 0:
            return NOT_PLAIN
        count += 1
        shortest = min(shortest, end - at - 1)
        longest = max(longest, end - at - 1)
        at = skip_space(buffer, end + 1)
        if buffer[at] != COMMA:
            break
        at = skip_space(buffer, at + 1)
        if buffer[at] != QUOTE:
            return NOT_PLAIN
    work.tokens[index, 1] = TOKEN_LIST
    work.tokens[index, 2] = shortest
    work.tokens[index, 3] = longest
    work.tokens[index, 4] = count
    return at + 1 if buffer[at] == CLOSE_BRACKET else NOT_PLAIN


@inlined
def _read_value(buffer: Bytes, at: int, work: Any, index: int) -> Any:
    """Read one plain value into token ``index``; return the place behind it, or -1."""
    tokens = work.tokens
    first = buffer[at]
    if first == QUOTE:
        end = string_end(buffer, at + 1)
        tokens[index, 1] = TOKEN_STRING
        tokens[index, 2] = at + 1
        tokens[index, 3] = end - at - 1
        return end + 1 if end >= 0 else NOT_PLAIN
    if first == MINUS or (DIGIT_0 <= first <= DIGIT_9):
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
    if word == FALS_WORD and buffer[at + 4] == LETTER_E:
        tokens[index, 1] = TOKEN_FALSE
        return at + 5
    return _read_list(buffer, at, work, index) if first == OPEN_BRACKET else NOT_PLAIN


@inlined
def _next_context(buffer: Bytes, context: Any, key: int, value: int) -> Any:
    """Mix a key, and the value of ``kind``, into what the next key is guessed from."""
    context = context * 31 + key + 1
    if key == KIND_KEY:
        word = load_u64(buffer, value + 1)  # "order.ca", "order.ne": enough to tell them apart
        context += np.int64((word * CONTEXT_FACTOR) >> np.uint64(48))
    return context & (CONTEXTS - 1)


@inlined
def _read_tokens(buffer: Bytes, at: int, line: int, work: Any, tables: Any) -> Any:
    """Read an object of what is plain; return (place behind it, how many, where ``kind`` is).

    The place is -1 if the line is not plain.
    """
    kind_index = -1
    context = np.int64(0)
    at = skip_space(buffer, at)
    if buffer[at] != OPEN_BRACE:
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
        if buffer[at] == CLOSE_BRACE:
            return at + 1, index + 1, kind_index
        if buffer[at] != COMMA:
            break
    return NOT_PLAIN, 0, kind_index


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
    if (at < size and buffer[at] != LINE_FEED) or at - start > tables.limits[2]:
        return NOT_PLAIN
    tokens = work.tokens
    kind = find_name(buffer, tokens[kind_index, 2], tokens[kind_index, 3], KIND_SET, tables)
    if kind < 0 or not put_fields(buffer, kind, count, work, tables, place, keys[0]):
        return NOT_PLAIN
    rows, row = place
    rows.codes[row, KIND_OFFSET] = np.uint8(kind)
    put_identity(buffer, work, place, keys)
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
        if i > 1:
            high = max(high, min(ints[i - 2, TIME_WORD], ints[i - 1, TIME_WORD]))
        ints[i, HIGH_WORD] = high
