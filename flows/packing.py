"""Snapshots without their zeros: tables are mostly zeros, and each one is written every epoch.

Bytes are seen as 64-bit words; a bitmap says which of them are not zero, and only those are kept.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.jit import kernel

WORD: Final = 8
_SMALL_BYTES: Final = 256  # below this, packing costs more than it saves


class Packed(NamedTuple):
    """Bytes without their zero words.

    Attributes
    ----------
    size
        Of the original, in bytes.
    bitmap
        A bit for each word, least significant first, set where the word is kept.
    words
        The kept words.
    tail
        What is left behind the last whole word.
    """

    size: int
    bitmap: bytes
    words: bytes
    tail: bytes


@kernel
def keep_words(words: NDArray[np.uint64], bitmap: NDArray[np.uint8], kept: Any) -> int:
    """Set bitmap bit i and append to ``kept`` for each words[i] != 0; return how many.

    Parameters
    ----------
    words
        Shape (n,).
    bitmap
        Shape (n / 8 rounded up,), zeroed.
    kept
        Room for n words.
    """
    count = 0
    for i in range(len(words)):
        if words[i] != 0:
            bitmap[i >> 3] |= np.uint8(1 << (i & 7))
            kept[count] = words[i]
            count += 1
    return count


@kernel
def put_words(bitmap: NDArray[np.uint8], kept: Any, words: NDArray[np.uint64]) -> None:
    """Undo ``keep_words``: ``words``, shape (n,) and zeroed, gets back what was kept."""
    count = 0
    for i in range(len(words)):
        if bitmap[i >> 3] >> (i & 7) & 1:
            words[i] = kept[count]
            count += 1


def pack(data: bytes | NDArray[np.uint8]) -> Packed:
    """Leave out the zero words.

    Examples
    --------
    >>> packed = pack(bytes(1000) + b"end")
    >>> len(packed.words), unpack(packed) == bytes(1000) + b"end"
    (0, True)
    """
    whole = len(data) // WORD
    words = np.frombuffer(data, np.uint64, whole)
    bitmap = np.zeros((whole + 7) // 8, np.uint8)
    kept = np.empty(whole, np.uint64)
    count = keep_words(words, bitmap, kept)
    return Packed(len(data), bitmap.tobytes(), kept[:count].tobytes(), bytes(data[whole * WORD :]))


def unpack(packed: Packed) -> bytes:
    """Return the original bytes."""
    words = np.zeros(packed.size // WORD, np.uint64)
    bitmap = np.frombuffer(packed.bitmap, np.uint8)
    put_words(bitmap, np.frombuffer(packed.words, np.uint64), words)
    return words.tobytes() + packed.tail


def pack_tree(tree: Any) -> Any:
    """Pack every large bytes in nested dicts, lists and tuples; everything else stays.

    Arrays of bytes become bytes, so that what comes back shares no memory with the tree.
    """
    if isinstance(tree, bytes | np.ndarray):
        return pack(tree) if len(tree) >= _SMALL_BYTES else bytes(tree)
    return _walk(tree, pack_tree)


def unpack_tree(tree: Any) -> Any:
    """Undo ``pack_tree``."""
    if isinstance(tree, Packed):
        return unpack(tree)
    return _walk(tree, unpack_tree)


def _walk(tree: Any, change: Any) -> Any:
    if isinstance(tree, dict):
        return {key: change(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [change(value) for value in tree]
    if isinstance(tree, tuple):
        return tuple(change(value) for value in tree)
    return tree
