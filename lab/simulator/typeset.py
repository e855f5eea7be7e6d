"""Lines from numbers: templates with slots, filled for many rows by one kernel."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

LITERAL, TEXT, HEX, NUMBER, CENTS = range(5)
SLOTS: Final = {"%t": TEXT, "%x": HEX, "%d": NUMBER, "%c": CENTS}
NUMBER_SIZE_MAX: Final = 24  # bytes of any slot that is no text
HEX_DIGITS: Final = 12

_ZERO: Final = ord("0")
_TEN_LETTER: Final = ord("a") - 10
_POINT: Final = ord(".")
_MINUS: Final = ord("-")

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]


@njit(cache=True)
def _put_number(out: Bytes, at: int, value: int) -> int:
    """Write a decimal integer at ``at``; return the place behind it."""
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    size = 1
    rest = value // 10
    while rest > 0:
        size += 1
        rest //= 10
    for i in range(size):
        out[at + size - 1 - i] = _ZERO + value % 10
        value //= 10
    return at + size


@njit(cache=True)
def _put_cents(out: Bytes, at: int, value: int) -> int:
    """Write cents as a number with two decimals; return the place behind it."""
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    at = _put_number(out, at, value // 100)
    out[at] = _POINT
    out[at + 1] = _ZERO + value // 10 % 10
    out[at + 2] = _ZERO + value % 10
    return at + 3


@njit(cache=True)
def _put_hex(out: Bytes, at: int, value: int) -> int:
    """Write 12 hexadecimal digits; return the place behind them."""
    for i in range(HEX_DIGITS):
        digit = (value >> (4 * (HEX_DIGITS - 1 - i))) & 15
        out[at + i] = _ZERO + digit if digit < 10 else _TEN_LETTER + digit  # noqa: PLR2004 - 0-9
    return at + HEX_DIGITS


@njit(cache=True)
def _measure(template: Ints, args: Ints, parts: Ints, first: Ints, starts: Ints) -> int:
    """Bound the bytes of all rows from above; arguments as in ``_fill``."""
    size = 0
    for i in range(len(template)):
        arg = 0
        for p in range(first[template[i]], first[template[i] + 1]):
            how, text = parts[p]
            if how == TEXT:
                text = args[i, arg]
            size += starts[text + 1] - starts[text] if how <= TEXT else NUMBER_SIZE_MAX
            arg += how != LITERAL
    return size


@njit(cache=True)
def _fill(
    template: Ints, args: Ints, parts: Ints, first: Ints, starts: Ints, heap: Bytes, out: Bytes
) -> int:
    """Write row after row to ``out``; return the bytes written.

    template (n,); args (n, slots): the row's slots in order, a text's number for text slots;
    parts (p, 2): (how, literal's text number); first (templates + 1,) into parts;
    text t is heap[starts[t]:starts[t + 1]].
    """
    at = 0
    for i in range(len(template)):
        arg = 0
        for p in range(first[template[i]], first[template[i] + 1]):
            how, text = parts[p]
            value = args[i, arg]
            arg += how != LITERAL
            if how <= TEXT:
                if how == TEXT:
                    text = value
                for b in range(starts[text], starts[text + 1]):
                    out[at] = heap[b]
                    at += 1
            elif how == HEX:
                at = _put_hex(out, at, value)
            elif how == NUMBER:
                at = _put_number(out, at, value)
            else:
                at = _put_cents(out, at, value)
    return at


class Typesetter:
    """Fill templates.

    A slot is ``%t`` (a text), ``%x`` (12 hexadecimal digits), ``%d`` (an integer) or ``%c``
    (cents, written with two decimals). Texts are added first and named by number.

    Parameters
    ----------
    templates
        Lines with slots, line feeds included.

    Examples
    --------
    >>> typesetter = Typesetter(['{"who":"%t","price":%c}'])
    >>> ann = typesetter.add(["ann"])
    >>> typesetter.fill(np.array([0]), np.array([[ann, -1205]]))
    b'{"who":"ann","price":-12.05}'
    """

    def __init__(self, templates: Sequence[str]) -> None:
        self._texts: list[bytes] = [b""]
        parts: list[tuple[int, int]] = []
        first = [0]
        for template in templates:
            for piece in re.split("|".join(f"({slot})" for slot in SLOTS), template):
                if piece in SLOTS:
                    parts.append((SLOTS[piece], 0))
                elif piece:
                    parts.append((LITERAL, self.add([piece])))
            first.append(len(parts))
        self._parts = np.array(parts, np.int64)
        self._first = np.array(first, np.int64)
        self.slots = max(sum(how != LITERAL for how, _ in parts[a:b]) for a, b in pairwise(first))
        self._table: tuple[Ints, Bytes] | None = None

    def add(self, texts: Sequence[str]) -> int:
        """Add texts; the i-th gets the number returned plus i. Number 0 is the empty text."""
        first = len(self._texts)
        self._texts.extend(text.encode() for text in texts)
        self._table = None
        return first

    def fill(self, template: Ints, args: Ints) -> bytes:
        """Return the rows' lines one after the other.

        Parameters
        ----------
        template
            Shape (n,): which template each row takes.
        args
            Shape (n, at least the slots of the template): what its slots take, in order.
        """
        starts, heap = self._table or self._lay_out()
        # One column more, so that the kernel may look at the slot behind the last.
        padded = np.zeros((len(args), max(args.shape[1], self.slots) + 1), np.int64)
        padded[:, : args.shape[1]] = args
        size = _measure(template, padded, self._parts, self._first, starts)
        out = np.empty(size, np.uint8)
        written = _fill(template, padded, self._parts, self._first, starts, heap, out)
        return out[:written].tobytes()

    def _lay_out(self) -> tuple[Ints, Bytes]:
        sizes = np.array([0] + [len(text) for text in self._texts], np.int64)
        self._table = (np.cumsum(sizes), np.frombuffer(b"".join(self._texts), np.uint8))
        return self._table
