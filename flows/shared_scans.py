"""Blocks that the processes of a run scan in turns and hand to each other in shared memory.

Of every block each process needs the rows of its own shards. Whoever has nothing better to do
claims the next block, reads its lines into a slot, and leaves its rows, dealt to the shards, beside
them. Nothing is copied out of it: a slot is free again when every process has done its part. So a
file is read and scanned once in all, the process that has less to do scans more of it, and none
comes further ahead of another than there are slots.

Nothing is decided by who scanned. Where a block is not to be had, because a process was further on
when it was claimed or because it does not fit its slot, a process scans it by itself.
"""

import fcntl
import mmap
import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from schemas.columns import ROW, Bytes, EventColumns, Rows

SLOTS: Final = 12
# Rows are about 0.7 times as large as their lines; of the shortest lines, three times.
ROWS_TIMES_BLOCK: Final = 3
_LINES_MORE: Final = 64 * 1024  # of a block's last line, which may go beyond it
_HEADER_BYTES: Final = mmap.PAGESIZE
_UNKNOWN: Final = -1
_FIRST: Final = 0  # place in the header of the first block that was claimed
_NEXT: Final = 1  # of the next to be claimed
_NEEDS: Final = 2  # and of the first process's next block
_FIELDS: Final = 4  # of a slot: block, rows, bytes of what stands behind them, bytes of lines


class Found(Enum):
    """How a block stands: in its slot, not yet there, or not to be had."""

    HERE = "here"
    LATER = "later"
    GONE = "gone"


class ScanBoard:
    """The memory that the processes share.

    Parameters
    ----------
    handle
        Of ``open_memory``; one process calls ``clear`` before the others begin.
    readers
        How many processes take blocks.
    reader
        Which of them this one is.
    block_bytes
        Size of a block of lines.

    Notes
    -----
    Locks of the operating system order all access to the header, and with it to the slots.
    """

    def __init__(self, handle: int, readers: int, reader: int, block_bytes: int) -> None:
        self.handle = handle
        self.readers = readers
        self._reader = reader
        self._rows_bytes, self._lines_bytes = _room_bytes(block_bytes)
        memory = mmap.mmap(handle, 0)
        self._bytes = np.frombuffer(memory, np.uint8)
        self._header = self._bytes[:_HEADER_BYTES].view(np.int64)
        first = _NEEDS + readers
        self._slots = self._header[first : first + SLOTS * _FIELDS].reshape(SLOTS, _FIELDS)

    def clear(self) -> Self:
        """Begin, before any process looks at it."""
        self._header[:] = _UNKNOWN
        return self

    @contextmanager
    def _locked(self) -> Iterator[NDArray[np.int64]]:
        """Yield what each reader needs next."""
        fcntl.lockf(self.handle, fcntl.LOCK_EX)
        try:
            yield self._header[_NEEDS : _NEEDS + self.readers]
        finally:
            fcntl.lockf(self.handle, fcntl.LOCK_UN)

    def needs(self, number: int) -> None:
        """Say that this reader needs no block before ``number`` any more."""
        with self._locked() as needs:
            needs[self._reader] = max(int(needs[self._reader]), number)

    def find(self, number: int) -> Found:
        """Say how a block stands."""
        with self._locked():
            held, rows, *_ = self._slots[number % SLOTS].tolist()
            first = int(self._header[_FIRST])
        if held == number:
            return Found.HERE if rows != _UNKNOWN else Found.GONE
        # Claims begin where the reader furthest behind began, and go on without a gap.
        return Found.GONE if number < max(held, first) else Found.LATER

    def claim(self, end: int) -> int | None:
        """Take on the next block before ``end``, if its slot is free and all have begun."""
        with self._locked() as needs:
            slowest = int(needs.min())
            if slowest == _UNKNOWN:
                return None
            if self._header[_FIRST] == _UNKNOWN:
                self._header[_FIRST] = self._header[_NEXT] = slowest
            number = int(self._header[_NEXT])
            if number >= min(end, slowest + SLOTS):
                return None
            self._header[_NEXT] = number + 1
            self._slots[number % SLOTS] = _UNKNOWN
            return number

    def rows_room(self, number: int, count: int) -> Rows | None:
        """Return where a claimed block's rows go; None where they are too many."""
        if count * ROW.itemsize > self._rows_bytes:
            return None
        return self._slot(number)[: count * ROW.itemsize].view(ROW)

    def lines_room(self, number: int) -> Bytes:
        """Return where a claimed block's lines go."""
        return self._slot(number)[self._rows_bytes :]

    def publish(self, number: int, columns: EventColumns | None, rest: Any) -> None:
        """Let the others have a block that stands in its slot; None: it does not fit."""
        said = pickle.dumps(rest)
        rows, lines = (_UNKNOWN, 0) if columns is None else (len(columns), len(columns.raw))
        begin = max(rows, 0) * ROW.itemsize
        if begin + len(said) > self._rows_bytes:
            rows = _UNKNOWN
        else:
            self._slot(number)[begin : begin + len(said)] = np.frombuffer(said, np.uint8)
        with self._locked():
            self._slots[number % SLOTS] = (number, rows, len(said), lines)

    def read(self, number: int) -> tuple[EventColumns, Any]:
        """Return a block, which is its slot's until ``needs`` goes on, and the rest."""
        _, count, size, lines = self._slots[number % SLOTS].tolist()
        slot, begin = self._slot(number), count * ROW.itemsize
        columns = EventColumns(slot[:begin].view(ROW), self.lines_room(number)[:lines])
        return columns, pickle.loads(slot[begin : begin + size].tobytes())  # noqa: S301 - another process of this run wrote it

    def _slot(self, number: int) -> Bytes:
        size = self._rows_bytes + self._lines_bytes
        begin = _HEADER_BYTES + number % SLOTS * size
        return self._bytes[begin : begin + size]


def _room_bytes(block_bytes: int) -> tuple[int, int]:
    """Return how many bytes of rows and of lines there is room for in a slot: whole pages."""
    rows = _pages(ROWS_TIMES_BLOCK * block_bytes) + mmap.PAGESIZE
    return rows, _pages(block_bytes + _LINES_MORE)


def _pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


@contextmanager
def open_memory(block_bytes: int) -> Iterator[int | None]:
    """Open a file that has no name, for blocks of lines of that size; None where none may be.

    Its pages cost nothing before they are written.
    """
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("tapewatch-scans")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    try:
        try:
            os.ftruncate(handle, _HEADER_BYTES + SLOTS * sum(_room_bytes(block_bytes)))
        except OSError:  # larger than this user's files may be (ulimit -f)
            yield None
        else:
            yield handle
    finally:
        os.close(handle)
