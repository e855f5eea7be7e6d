"""Hashes of identifiers, as kernels and as plain functions.

Identifiers become keyed 128-bit SipHash-1-3 values: short, equal only for equal text (by chance
once in 2^64 pairs), and useless to somebody who sees them without the key. Two public unkeyed
hashes stand beside it because others compute them too: murmur2, by which Kafka's partitioner
deals keys to partitions, and 64-bit SipHash-1-3, by which the engine deals keys to workers.

References
----------
Aumasson, Bernstein (2012), "SipHash: a fast short-input PRF", INDOCRYPT 2012.
"""

from typing import Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic, overload

from schemas.columns import Bytes, HashKey
from schemas.jit import inlined, kernel

LOAD_PADDING: Final = 8  # bytes that must stand behind any offset given to ``load_u64``
_WORD_SIZE: Final = 8
_MASK64: Final = 2**64 - 1

_I0 = np.uint64(0x736F6D6570736575)  # "somepseudorandomlygeneratedbytes", as the paper has it
_I1 = np.uint64(0x646F72616E646F6D)
_I2 = np.uint64(0x6C7967656E657261)
_I3 = np.uint64(0x7465646279746573)
_LONG_OUTPUT = np.uint64(0xEE)  # marks the 128-bit variant, first half
_SECOND_HALF = np.uint64(0xDD)
_FINAL = np.uint64(0xFF)
_ZERO = np.uint64(0)
_FULL = np.uint64(_MASK64)
_U8 = np.uint64(8)
_U13 = np.uint64(13)
_U16 = np.uint64(16)
_U17 = np.uint64(17)
_U21 = np.uint64(21)
_U32 = np.uint64(32)
_U43 = np.uint64(43)
_U47 = np.uint64(47)
_U48 = np.uint64(48)
_U51 = np.uint64(51)
_U56 = np.uint64(56)
_U64 = np.uint64(64)

_M2 = np.uint64(0x5BD1E995)  # murmur2's multiplier
_M2_SEED = np.uint64(0x9747B28C)  # Kafka's seed
_LOW32 = np.uint64(0xFFFFFFFF)
_BYTE = np.uint64(0xFF)
_U15 = np.uint64(15)
_U24 = np.uint64(24)


@intrinsic
def _load_u64_at(_context: Any, array: Any, offset: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        place = builder.gep(view.data, [args[1]])
        word = builder.bitcast(place, ir.PointerType(ir.IntType(64)))
        return builder.load(word, align=1)

    return types.uint64(array, offset), codegen


@intrinsic
def _trailing_zeros(_context: Any, mask: Any) -> Any:  # noqa: ARG001 typing comes from below
    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


def load_u64(array: Bytes, offset: int) -> np.uint64:
    """Load 8 bytes, little-endian, from any offset.

    Inside kernels this is one instruction without a bounds check: the caller keeps
    ``LOAD_PADDING`` bytes behind the last offset.
    """
    return np.uint64(int.from_bytes(bytes(array[offset : offset + _WORD_SIZE]), "little"))


@overload(load_u64)
def _load_u64_overload(array, offset):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001 numba compares bare signatures
    return lambda array, offset: _load_u64_at(array, np.int64(offset))  # type: ignore[call-arg]


def low_byte_index(mask: np.uint64) -> int:
    """Return the index, 0 to 7, of the lowest byte that has a bit set; 8 if none has."""
    bits = int(mask)
    return ((bits & -bits).bit_length() - 1) >> 3 if bits else _WORD_SIZE


@overload(low_byte_index)
def _low_byte_index_overload(mask):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001 numba compares bare signatures
    return lambda mask: _trailing_zeros(np.uint64(mask)) >> 3  # type: ignore[call-arg]


def low_bit_index(mask: np.uint64) -> int:
    """Return the index, 0 to 63, of the lowest bit that is set in a mask that is not zero."""
    bits = int(mask)
    return (bits & -bits).bit_length() - 1


@overload(low_bit_index)
def _low_bit_index_overload(mask):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001 numba compares bare signatures
    return lambda mask: _trailing_zeros(np.uint64(mask))  # type: ignore[call-arg]


@inlined
def _sip_round(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    """Mix the four words once, as the paper's figure 2.1 shows."""
    v0 += v1
    v1 = ((v1 << _U13) | (v1 >> _U51)) ^ v0
    v0 = (v0 << _U32) | (v0 >> _U32)
    v2 += v3
    v3 = ((v3 << _U16) | (v3 >> _U48)) ^ v2
    v0 += v3
    v3 = ((v3 << _U21) | (v3 >> _U43)) ^ v0
    v2 += v1
    v1 = ((v1 << _U17) | (v1 >> _U47)) ^ v2
    v2 = (v2 << _U32) | (v2 >> _U32)
    return v0, v1, v2, v3


@inlined
def _last_word(buffer: Bytes, start: int, length: int) -> Any:
    """Return the 0 to 7 bytes after the whole words, with the length in the top byte."""
    rest = np.uint64(length & 7)
    word = np.uint64(length & 255) << _U56
    if rest > _ZERO:
        tail = load_u64(buffer, start + length - (length & 7))
        word |= tail & (_FULL >> (_U64 - (rest << np.uint64(3))))
    return word


@inlined
def _absorb(buffer: Bytes, start: int, length: int, words: Any) -> Any:
    """Feed the text to the four words, one round (the 1 of 1-3) for every 8 bytes."""
    v0, v1, v2, v3 = words
    for at in range(start, start + (length >> 3 << 3), 8):
        word = load_u64(buffer, at)
        v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    word = _last_word(buffer, start, length)
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3 ^ word)
    return v0 ^ word, v1, v2, v3


@inlined
def _finish(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    """Run the 3 closing rounds."""
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _sip_round(v0, v1, v2, v3)
    return _sip_round(v0, v1, v2, v3)


@kernel
def hash_text(buffer: Bytes, start: int, length: int, tweak: Any, key: Any) -> Any:
    """Return SipHash-1-3 with 128-bit output of ``buffer[start : start + length]``.

    Parameters
    ----------
    buffer
        Shape (n,) uint8 with ``LOAD_PADDING`` bytes behind the text.
    start, length
        The text.
    tweak
        uint64 that separates name spaces: the key is (key[0] ^ tweak, key[1]).
    key
        Shape (2,) uint64.

    Returns
    -------
    tuple of two uint64
        Low half first, as the reference implementation writes them out.
    """
    k0 = key[0] ^ tweak
    k1 = key[1]
    words = (_I0 ^ k0, _I1 ^ k1 ^ _LONG_OUTPUT, _I2 ^ k0, _I3 ^ k1)
    v0, v1, v2, v3 = _absorb(buffer, start, length, words)
    v0, v1, v2, v3 = _finish(v0, v1, v2 ^ _LONG_OUTPUT, v3)
    low = v0 ^ v1 ^ v2 ^ v3
    v0, v1, v2, v3 = _finish(v0, v1 ^ _SECOND_HALF, v2, v3)
    return low, v0 ^ v1 ^ v2 ^ v3


@kernel
def _siphash13(buffer: Bytes, length: int) -> Any:
    """Return 64-bit SipHash-1-3 with the zero key."""
    v0, v1, v2, v3 = _absorb(buffer, 0, length, (_I0, _I1, _I2, _I3))
    v0, v1, v2, v3 = _finish(v0, v1, v2 ^ _FINAL, v3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel
def murmur2(buffer: Bytes, start: int, length: int) -> Any:
    """Return the 32-bit murmur2 of a text as Kafka's partitioner computes it, as uint64 < 2^32.

    The sign bit stays: Kafka clears it (``& 0x7fffffff``) only where it takes the remainder.
    ``buffer`` has ``LOAD_PADDING`` bytes behind the text.
    """
    value = (_M2_SEED ^ np.uint64(length)) & _LOW32
    whole = length >> 2 << 2
    for at in range(start, start + whole, 4):
        word = ((load_u64(buffer, at) & _LOW32) * _M2) & _LOW32
        word = ((word ^ (word >> _U24)) * _M2) & _LOW32
        value = ((value * _M2) & _LOW32) ^ word
    rest = np.uint64(length - whole)
    if rest > _ZERO:
        tail = load_u64(buffer, start + whole) & (_FULL >> (_U64 - rest * _U8))
        value = ((value ^ tail) * _M2) & _LOW32
    value = ((value ^ (value >> _U13)) * _M2) & _LOW32
    return value ^ (value >> _U15)


def padded(data: bytes) -> Bytes:
    """Copy ``data`` into an array with ``LOAD_PADDING`` zero bytes behind it."""
    # Writable, because numba compiles every kernel anew for read-only arrays.
    return np.frombuffer(bytearray(data + bytes(LOAD_PADDING)), np.uint8)


def hash_bytes(data: bytes, tweak: int, key: HashKey) -> tuple[int, int]:
    """Return ``hash_text`` of ``data`` as two Python integers.

    Examples
    --------
    >>> hash_bytes(b"A-1", 0, HashKey()) == hash_bytes(b"A-1", 1, HashKey())
    False
    """
    with np.errstate(over="ignore"):  # wrap-around is meant; only uncompiled kernels would warn
        low, high = hash_text(padded(data), 0, len(data), np.uint64(tweak), key.as_array())
    return int(low), int(high)


def murmur2_bytes(data: bytes) -> int:
    """Return ``murmur2`` of ``data``, 0 to 2^32 - 1.

    Examples
    --------
    >>> murmur2_bytes(b"foobar") - 2**32
    -790332482
    """
    with np.errstate(over="ignore"):  # as above
        return int(murmur2(padded(data), 0, len(data)))


def siphash13(data: bytes) -> int:
    """Return 64-bit SipHash-1-3 of ``data`` with the zero key.

    Rust's default hasher gives this for a ``str`` when ``data`` is its UTF-8 and one byte 0xff.
    """
    with np.errstate(over="ignore"):  # as above
        return int(_siphash13(padded(data), len(data)))
