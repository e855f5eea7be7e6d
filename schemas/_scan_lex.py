"""Kernels that read the pieces of a line: strings, numbers, names. 8 bytes at a time.

Every kernel takes the padded buffer: ``LOAD_PADDING`` zero bytes stand behind the block, and no
loop gets past a zero byte, so no bounds need checking.
"""

from typing import Any

import numpy as np

from schemas.columns import Bytes
from schemas.hashing import load_u64, low_byte_index
from schemas.jit import inlined, kernel

# Plain numbers, not imported ones: numba's cache only watches the file a kernel stands in.
ONES = np.uint64(0x0101010101010101)
HIGHS = np.uint64(0x8080808080808080)
QUOTES = np.uint64(0x2222222222222222)
BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
SPACES = np.uint64(0x2020202020202020)
LINE_FEEDS = np.uint64(0x0A0A0A0A0A0A0A0A)
HIGH_NIBBLES = np.uint64(0xF0F0F0F0F0F0F0F0)
DIGIT_NIBBLES = np.uint64(0x3030303030303030)
SIXES = np.uint64(0x0606060606060606)
LOW_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)
PAIRS = np.uint64(0x00FF00FF00FF00FF)
QUADS = np.uint64(0x0000FFFF0000FFFF)
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
ZERO = np.uint64(0)
TEN = np.uint64(10)
EIGHT_DIGITS = np.uint64(100_000_000)
NAME_LENGTH_MAX = 32
WORD = 8
DIGITS_MAX = 19  # of the largest int64
TAB, RETURN, SPACE, QUOTE, PLUS, MINUS, POINT, DIGIT_0 = 9, 13, 32, 34, 43, 45, 46, 48
CAPITAL_E, LETTER_E = 69, 101


@inlined
def string_end(buffer: Bytes, start: int) -> int:
    """Find the quote that closes the string whose first byte is at ``start``.

    Returns -1 if a backslash or any byte outside 0x20..0x7e comes first. Subtracting per byte can
    borrow from the next higher byte only where this byte already matches, so the lowest match
    is exact.
    """
    while True:
        word = load_u64(buffer, start)
        found = (word ^ QUOTES) - ONES
        found |= (word ^ BACKSLASHES) - ONES
        found |= word | (word + ONES) | (word - SPACES)
        found &= HIGHS
        if found != ZERO:
            end = start + low_byte_index(found)
            return end if buffer[end] == QUOTE else -1
        start += 8


@kernel
def line_end(buffer: Bytes, start: int, size: int) -> int:
    """Return the place of the next line feed, or ``size``."""
    while start < size:
        word = load_u64(buffer, start) ^ LINE_FEEDS
        found = (word - ONES) & ~word & HIGHS
        if found != ZERO:
            return min(start + low_byte_index(found), size)
        start += 8
    return size


@inlined
def skip_space(buffer: Bytes, at: int) -> int:
    """Return the first place from ``at`` on that is no space, tab or carriage return."""
    while buffer[at] <= SPACE and (
        buffer[at] == SPACE or buffer[at] == TAB or buffer[at] == RETURN
    ):
        at += 1
    return at


@kernel
def _digits(buffer: Bytes, at: int, value: Any) -> Any:
    """Read digits on top of ``value``; return (place behind them, value), modulo 2^64."""
    word = load_u64(buffer, at)
    while (word & HIGH_NIBBLES) == DIGIT_NIBBLES and (
        (word + SIXES) & HIGH_NIBBLES
    ) == DIGIT_NIBBLES:
        # Two, four, then eight digits at a time; the first digit is the lowest byte.
        word &= LOW_NIBBLES
        word = (word * TEN + (word >> np.uint64(8))) & PAIRS
        word = (word * np.uint64(100) + (word >> np.uint64(16))) & QUADS
        word = (word * np.uint64(10_000) + (word >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
        value = value * EIGHT_DIGITS + word
        at += 8
        word = load_u64(buffer, at)
    digit = np.uint64(buffer[at]) - np.uint64(48)
    while digit < TEN:
        value = value * TEN + digit
        at += 1
        digit = np.uint64(buffer[at]) - np.uint64(48)
    return at, value


@kernel
def _skip_exponent(buffer: Bytes, at: int) -> int:
    """Return the place behind the exponent at ``at``, or -1 if it has no digits."""
    at += 1
    if buffer[at] == PLUS or buffer[at] == MINUS:
        at += 1
    end, _ = _digits(buffer, at, ZERO)
    return end if end > at else -1


@kernel
def lex_number(buffer: Bytes, at: int) -> Any:
    """Read a JSON number.

    Returns
    -------
    tuple
        Place behind it (-1 if it is none); 1 if it has a minus sign; its digits as uint64; how
        many of them stand behind the point (-1: no point, -2: right JSON, but with an exponent
        or more digits than an int64 holds).
    """
    minus = 1 if buffer[at] == MINUS else 0
    start = at + minus
    at, value = _digits(buffer, start, ZERO)
    if at == start or (buffer[start] == DIGIT_0 and at > start + 1):
        return -1, minus, ZERO, -1
    decimals = -1
    count = at - start
    if buffer[at] == POINT:
        point = at
        at, value = _digits(buffer, point + 1, value)
        decimals = at - point - 1
        count += decimals
        if decimals == 0:
            return -1, minus, ZERO, -1
    if count > DIGITS_MAX or value >> np.uint64(63) != ZERO:
        decimals = -2
    if buffer[at] == LETTER_E or buffer[at] == CAPITAL_E:
        at = _skip_exponent(buffer, at)
        decimals = -2
    return at, minus, value, decimals


@inlined
def words_of(buffer: Bytes, start: int, length: int) -> Any:
    """Return the first and the last 8 bytes of a text; below 8 bytes, the text twice."""
    first = load_u64(buffer, start)
    if length >= WORD:
        return first, load_u64(buffer, start + length - 8)
    if length == 0:
        return ZERO, ZERO
    first &= FULL >> np.uint64(64 - 8 * length)
    return first, first


@inlined
def same_text(one: Bytes, one_start: int, two: Bytes, two_start: Any, length: int) -> Any:
    """Compare two texts of equal length."""
    at = 0
    while at + 8 <= length:
        if load_u64(one, one_start + at) != load_u64(two, two_start + at):
            return False
        at += 8
    if at == length:
        return True
    difference = load_u64(one, one_start + at) ^ load_u64(two, two_start + at)
    return difference << np.uint64(64 - 8 * (length - at)) == ZERO


@inlined
def find_name(buffer: Bytes, start: int, length: int, name_set: Any, tables: Any) -> Any:
    """Return the code of a name in a set of names, or -1."""
    if length > NAME_LENGTH_MAX:
        return -1
    first, last = words_of(buffer, start, length)
    meta = np.uint64(length + 256 * name_set)
    factor = tables.name_factor[0]
    # The twin of ``wire.name_hash``.
    rotated = (last >> np.uint64(7)) | (last << np.uint64(57))
    mixed = (first ^ rotated ^ (meta << np.uint64(40))) * factor
    mixed ^= mixed >> np.uint64(29)
    index = tables.name_slots[(mixed * factor) >> np.uint64(52)] - 1
    if index < 0:
        return -1
    names = tables.names
    if names[index, 0] != first or names[index, 1] != last or names[index, 2] != meta:
        return -1
    place = np.int64(names[index, 4])
    if length > 2 * WORD and not same_text(buffer, start, tables.name_text, place, length):
        return -1
    return np.int64(names[index, 3])
