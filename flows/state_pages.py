"""Which parts of a shard's tables changed since they were last written: pages, known by a hash.

Tables are large and most of their rows rest, so only pages that changed are written again.
Comparing with a hash of each page reads the tables once and keeps 6 % beside them; comparing with
a copy of them took twice as long (4.1 and 2.0 GB/s) and keeps as much again.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.jit import Int, inlined, kernel

PAGE_BYTES: Final = 128  # about a row: where scattered rows change, little else is written along
PAGE_WORDS: Final = PAGE_BYTES // 8
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)
_BITS: Final = 8

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Indices = NDArray[np.int32]


@inlined
def _stir(held: Any, word: Any) -> Any:
    """Mix one word in; for each value of ``held`` no two words give the same."""
    mixed = (held ^ word) * _FACTOR
    return mixed ^ (mixed >> _HALF)


@kernel
def page_hash(words: Any, start: Int) -> Any:
    """Return a hash of ``PAGE_WORDS`` words; two pages that differ in one word never share one."""
    first, second = np.uint64(1), np.uint64(2)
    third, fourth = np.uint64(3), np.uint64(4)  # four at once keep the processor busy
    for k in range(start, start + PAGE_WORDS, 4):
        first = _stir(first, words[k])
        second = _stir(second, words[k + 1])
        third = _stir(third, words[k + 2])
        fourth = _stir(fourth, words[k + 3])
    return _stir(_stir(_stir(_stir(np.uint64(0), first), second), third), fourth)


@kernel
def find_dirty(words: Any, tail: Any, hashes: Any, known: Int, dirty: Any) -> Any:
    """List the pages whose hash is not the one held, hold the new ones, and return how many.

    Parameters
    ----------
    words
        Shape (n,), uint64: whole pages.
    tail
        Shape (0,) or (``PAGE_WORDS``,): one more page, filled up with zeros.
    hashes
        Shape (pages,), uint64.
    known
        How many of the pages have a hash; all later ones are new.
    dirty
        Shape (pages,), int32: receives the pages' indexes, ascending.
    """
    count = 0
    whole = len(words) // PAGE_WORDS
    for page in range(len(hashes)):
        found = page_hash(tail, 0) if page == whole else page_hash(words, page * PAGE_WORDS)
        if page >= known or hashes[page] != found:
            hashes[page] = found
            dirty[count] = page
            count += 1
    return count


@kernel
def pack_pages(words: Any, tail: Any, pages: Any, bitmap: Any, kept: Any) -> Any:
    """Append the words of some pages that are not zero to ``kept``; return how many.

    ``bitmap``, zeroed, has a bit for each word of these pages, set where the word is kept.
    """
    count = place = 0
    whole = len(words) // PAGE_WORDS
    for page in pages:
        for k in range(PAGE_WORDS):
            word = tail[k] if page == whole else words[page * PAGE_WORDS + k]
            if word != 0:
                bitmap[place >> 3] |= np.uint8(1 << (place & 7))
                kept[count] = word
                count += 1
            place += 1
    return count


@kernel
def unpack_pages(pages: Any, bitmap: Any, kept: Any, words: Any) -> None:
    """Put packed pages in their places."""
    count = place = 0
    for page in pages:
        for k in range(PAGE_WORDS):
            word = np.uint64(0)
            if bitmap[place >> 3] >> (place & 7) & 1:
                word = kept[count]
                count += 1
            words[page * PAGE_WORDS + k] = word
            place += 1


def page_count(size: int) -> int:
    """Return how many pages so many bytes fill."""
    return -(-size // PAGE_BYTES)


def words_of(data: Bytes) -> tuple[Words, Words]:
    """Return bytes as words: whole pages without copying them, and what is left as one more."""
    whole = len(data) // PAGE_BYTES * PAGE_BYTES
    rest = len(data) - whole
    tail = np.zeros(PAGE_WORDS if rest else 0, np.uint64)
    tail.view(np.uint8)[:rest] = data[whole:]
    return data[:whole].view(np.uint64), tail


class PackedPages:
    """Some pages of one array, without their zero words.

    Attributes
    ----------
    pages
        Shape (n,), int32: their indexes.
    bitmap
        Shape (n * ``PAGE_WORDS`` / 8,), uint8.
    kept
        Shape (k,), uint64.
    """

    def __init__(self, pages: Indices, bitmap: Bytes, kept: Words) -> None:
        self.pages, self.bitmap, self.kept = pages, bitmap, kept

    @classmethod
    def of(cls, data: Bytes, pages: Indices) -> "PackedPages":
        """Pack some pages of an array's bytes."""
        words, tail = words_of(data)
        bitmap = np.zeros(len(pages) * PAGE_WORDS // _BITS, np.uint8)
        kept = np.empty(len(pages) * PAGE_WORDS, np.uint64)
        count = pack_pages(words, tail, pages, bitmap, kept)
        return cls(pages, bitmap, kept[:count])

    def put(self, target: Bytes) -> None:
        """Put the pages into bytes that hold whole pages."""
        unpack_pages(self.pages, self.bitmap, self.kept, target.view(np.uint64))


def _resized(old: Words, size: int) -> tuple[Words, int]:
    """Return room for so many hashes, with the old ones, and how many of them there are."""
    if len(old) == size:
        return old, size
    hashes = np.zeros(size, np.uint64)
    known = min(len(old), size)
    hashes[:known] = old[:known]
    return hashes, known


class PageHashes:
    """The hashes of all pages of a shard's arrays, as they were last written."""

    def __init__(self) -> None:
        self._held: dict[str, Words] = {}

    def changed(self, parts: dict[str, Bytes]) -> dict[str, Indices]:
        """Return which pages of each array changed, and hold their hashes as written."""
        found = {}
        for name, data in parts.items():
            words, tail = words_of(data)
            old = self._held.get(name, np.zeros(0, np.uint64))
            hashes, known = _resized(old, page_count(len(data)))
            dirty = np.empty(len(hashes), np.int32)
            found[name] = dirty[: find_dirty(words, tail, hashes, known, dirty)].copy()
            self._held[name] = hashes
        for name in self._held.keys() - parts.keys():
            del self._held[name]
        return found
