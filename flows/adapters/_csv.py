"""Plain CSV (no quotes) as arrays of field positions, and fields as numbers, without Python loops.

Every function takes the file's bytes, shape (size,) uint8, and field bounds, shape (n,) int64.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Bytes

Positions = NDArray[np.int64]
Flags = NDArray[np.bool_]
_COMMA: Final = ord(",")
_LINE_FEED: Final = ord("\n")
_CARRIAGE_RETURN: Final = ord("\r")
_ZERO: Final = ord("0")
_NINE: Final = ord("9")
INTEGER_DIGITS_MAX: Final = 18  # 10^18 fits an int64


@dataclass(frozen=True, slots=True)
class Table:
    """Where the fields of a CSV file with a header stand.

    Attributes
    ----------
    columns
        The header.
    line_start, line_end
        Shape (lines,): every line but the header; without line ends.
    field_count
        Shape (lines,).
    ends_torn
        The last line has no line end.
    """

    raw: Bytes
    columns: tuple[str, ...]
    line_start: Positions
    line_end: Positions
    field_count: Positions
    ends_torn: bool
    _commas: Positions

    def whole_lines(self) -> Positions:
        """Return the 0-based indices of lines with as many fields as the header."""
        return np.flatnonzero(self.field_count == len(self.columns))

    def bounds(self, lines: Positions, column: str) -> tuple[Positions, Positions]:
        """Return where a column's fields start and end in the given whole lines."""
        index = self.columns.index(column)
        first_comma = np.searchsorted(self._commas, self.line_start[lines])
        start, end = self.line_start[lines], self.line_end[lines]
        if index > 0:
            start = self._commas[first_comma + index - 1] + 1
        if index < len(self.columns) - 1:
            end = self._commas[first_comma + index]
        return start, end

    def line(self, index: int) -> bytes:
        """Return one line's bytes."""
        return bytes(self.raw[self.line_start[index] : self.line_end[index]])


def read_table(raw: Bytes) -> Table:
    """Find the lines and fields of a CSV file."""
    feeds = np.flatnonzero(raw == _LINE_FEED)
    ends_torn = len(raw) > 0 and raw[-1] != _LINE_FEED
    line_end = np.append(feeds, len(raw)) if ends_torn else feeds
    line_start = np.concatenate([np.zeros(1, np.int64), line_end[:-1] + 1])
    has_return = (line_end > line_start) & (raw[np.maximum(line_end - 1, 0)] == _CARRIAGE_RETURN)
    line_end = line_end - has_return
    commas = np.flatnonzero(raw == _COMMA)
    field_count = 1 + np.searchsorted(commas, line_end) - np.searchsorted(commas, line_start)
    header = bytes(raw[line_start[0] : line_end[0]]).decode(errors="replace")
    columns = tuple(name.strip() for name in header.split(","))
    return Table(
        raw, columns, line_start[1:], line_end[1:], field_count[1:], bool(ends_torn), commas
    )


def integers(raw: Bytes, start: Positions, end: Positions) -> tuple[Positions, Flags]:
    """Return the whole numbers in the fields, and which fields are 1 to 18 digits and no more."""
    length = end - start
    is_number = (length >= 1) & (length <= INTEGER_DIGITS_MAX)
    values = np.zeros(len(start), np.int64)
    for place in range(int(length[is_number].max(initial=0))):
        rows = np.flatnonzero(is_number & (place < length))
        digit = raw[start[rows] + place]
        is_number[rows] &= (digit >= _ZERO) & (digit <= _NINE)
        values[rows] = values[rows] * 10 + digit - _ZERO
    return np.where(is_number, values, 0), is_number


def shaped_digits(
    raw: Bytes, start: Positions, end: Positions, shape: str
) -> tuple[Positions, Flags]:
    """Return the digits of fields of one shape as whole numbers, and which fields have it.

    Parameters
    ----------
    shape
        As ``0000.00.00``: a zero stands for any digit, anything else for itself.

    Examples
    --------
    >>> text = np.frombuffer(b"09:15:00", np.uint8)
    >>> values, has_shape = shaped_digits(text, np.array([0]), np.array([8]), "00:00:00")
    >>> (int(values[0]), bool(has_shape[0]))
    (91500, True)
    """
    has_shape = end - start == len(shape)
    values = np.zeros(len(start), np.int64)
    for place, sign in enumerate(shape):
        char = raw[np.where(has_shape, start + place, 0)]
        if sign == "0":
            has_shape &= (char >= _ZERO) & (char <= _NINE)
            values = values * 10 + char - _ZERO
        else:
            has_shape &= char == ord(sign)
    return np.where(has_shape, values, 0), has_shape
