"""Exact 128-bit sums of price times quantity: 10^-8 times 10^-8 does not fit an int64.

A wide number is (high: int64, low: uint64), two's complement, in units of 10^-16. Its sign decides
whether a round trip was won, so it must never be rounded.
"""

from typing import Any, Final

import numpy as np

from schemas.jit import Int, inlined, kernel

_LOW_32: Final = np.uint64(0xFFFFFFFF)
_SHIFT_32: Final = np.uint64(32)
_LIMBS: Final = 4  # of 32 bits
_INT64_MAX: Final = np.int64(2**63 - 1)
_E8: Final = np.uint64(100_000_000)


@inlined
def multiply(left: Int, right: Int) -> Any:
    """Return ``left * right`` for 0 <= left, right < 2^63, exactly."""
    a, b = np.uint64(left), np.uint64(right)
    a_low, a_high = a & _LOW_32, a >> _SHIFT_32
    b_low, b_high = b & _LOW_32, b >> _SHIFT_32
    low = a_low * b_low
    middle = a_high * b_low + (low >> _SHIFT_32)
    cross = a_low * b_high + (middle & _LOW_32)
    high = a_high * b_high + (middle >> _SHIFT_32) + (cross >> _SHIFT_32)
    return np.int64(high), (cross << _SHIFT_32) | (low & _LOW_32)


@inlined
def add(high: Int, low: Int, other_high: Int, other_low: Int) -> Any:
    """Return the sum of two wide numbers."""
    total = np.uint64(low) + np.uint64(other_low)
    carry = np.int64(1) if total < np.uint64(low) else np.int64(0)
    return np.int64(high) + np.int64(other_high) + carry, total


@inlined
def subtract(high: Int, low: Int, other_high: Int, other_low: Int) -> Any:
    """Return the difference of two wide numbers."""
    borrow = np.int64(1) if np.uint64(low) < np.uint64(other_low) else np.int64(0)
    return np.int64(high) - np.int64(other_high) - borrow, np.uint64(low) - np.uint64(other_low)


@inlined
def sign(high: Int, low: Int) -> Any:
    """Return -1, 0 or 1."""
    if high < 0:
        return -1
    return 1 if high > 0 or low > np.uint64(0) else 0


@inlined
def add_held(left: Int, right: Int) -> Any:
    """Return the sum of two int64, held at the ends of int64 instead of wrapping around."""
    if right > 0 and left > _INT64_MAX - right:
        return _INT64_MAX
    if right < 0 and left < -_INT64_MAX - right:
        return -_INT64_MAX
    return np.int64(left + right)


@kernel
def to_e8(high: Int, low: Int) -> Any:
    """Return the number in units of 10^-8, cut towards zero, held at the ends of int64."""
    negative = high < 0
    if negative:
        high, low = subtract(np.int64(0), np.uint64(0), high, low)
    rest = np.uint64(0)
    quotient_high = np.uint64(0)
    quotient_low = np.uint64(0)
    for limb in range(_LIMBS):
        word = np.uint64(high) if limb < _LIMBS // 2 else np.uint64(low)
        part = word >> _SHIFT_32 if limb % 2 == 0 else word & _LOW_32
        value = (rest << _SHIFT_32) | part
        digit = value // _E8
        rest = value % _E8
        if limb < _LIMBS // 2:
            quotient_high = (quotient_high << _SHIFT_32) | digit
        else:
            quotient_low = (quotient_low << _SHIFT_32) | digit
    if quotient_high > np.uint64(0) or quotient_low > np.uint64(_INT64_MAX):
        return -_INT64_MAX if negative else _INT64_MAX
    return -np.int64(quotient_low) if negative else np.int64(quotient_low)
