"""A file's lines in order of event time: late events in their places, for a day to be run again.

Lines of one time keep their order. A line that no run would take stays behind the line before it,
so that it is refused again beside the same neighbours. About 50 bytes for each line stand in
memory; the lines are read from the file in their new order.
"""

import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.edges._bytes import GZIP_MAGIC, ZIP_MAGIC, FileProblem
from schemas.columns import HashKey
from schemas.scan import Scanner

READ_BYTES: Final = 8 * 2**20
_PART_LINES: Final = 65_536  # written one after the other; Python's numbers take much room
_KEY: Final = HashKey(1, 2)
_LINE_FEED: Final = 10
_BEFORE_ALL_NS: Final = -(2**62)

Ints = NDArray[np.int64]


class Ordered(NamedTuple):
    """What was written: lines, and how many stood behind one of a later time."""

    lines: int
    moved: int


def write_in_order(source: Path, out: Path, on_lines: Callable[[int], None]) -> Ordered:
    """Write a file's lines in order of event time; the new file appears only when it is whole.

    Parameters
    ----------
    source
        Plain NDJSON.
    on_lines
        Called with the number of lines written so far.

    Raises
    ------
    FileProblem
        The file is packed, or is itself where the lines shall go.
    """
    if out.exists() and out.samefile(source):
        raise FileProblem(f"{source} cannot be put in order in place; give --out another name.")
    with source.open("rb") as file:
        if file.read(4).startswith((GZIP_MAGIC, ZIP_MAGIC)):
            raise FileProblem(f"{source} is packed; unpack it first, lines are moved within it.")
        starts, times = _index(file)
        order = np.argsort(times, kind="stable")
        # A name of its own: nothing that is there already may be written over.
        with NamedTemporaryFile(dir=out.parent, prefix=f"{out.name}.", delete=False) as target:
            partial = Path(target.name)
            try:
                for count, line in enumerate(_lines(file, starts, order), 1):
                    target.write(line)
                    if count % _PART_LINES == 0:
                        on_lines(count)
            except BaseException:
                partial.unlink()
                raise
    partial.chmod(0o666 & ~_umask())
    partial.replace(out)
    on_lines(len(order))
    moved = int(np.count_nonzero(times < np.maximum.accumulate(times))) if len(times) else 0
    return Ordered(len(order), moved)


def _umask() -> int:
    held = os.umask(0)
    os.umask(held)
    return held


def _index(file: BinaryIO) -> tuple[Ints, Ints]:
    """Return each line's first byte, with the file's end behind the last, and its time."""
    file.seek(0)
    scanner = Scanner(_KEY)
    starts, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    offset, latest_ns = 0, _BEFORE_ALL_NS
    while block := _whole_lines(file):
        found = _times(scanner, block, latest_ns)
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == _LINE_FEED) + 1
        firsts = np.concatenate([np.zeros(1, np.int64), ends])[: len(found)]
        starts.append(offset + firsts)
        times.append(found)
        offset += len(block)
        latest_ns = int(found[-1])
    starts.append(np.array([offset], np.int64))
    return np.concatenate(starts), np.concatenate(times)


def _whole_lines(file: BinaryIO) -> bytes:
    return file.read(READ_BYTES) + file.readline()


def _times(scanner: Scanner, block: bytes, latest_ns: int) -> Ints:
    """Return each line's time; of one that is refused, that of the line before."""
    scanned = scanner.scan(block)
    rows = scanned.columns.rows
    count = scanned.line_count
    holder = np.zeros(count, np.int64)
    holder[rows["line_number"]] = np.arange(1, len(rows) + 1)
    known = np.concatenate([np.array([latest_ns], np.int64), rows["event_time_ns"]])
    times: Ints = known[np.maximum.accumulate(holder)]
    return times


def _lines(file: BinaryIO, starts: Ints, order: Ints) -> Iterator[bytes]:
    if not len(order):
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        for part in np.split(order, range(_PART_LINES, len(order), _PART_LINES)):
            places = zip(starts[part].tolist(), starts[part + 1].tolist(), strict=True)
            for first, end in places:
                line = view[first:end]
                yield line if line.endswith(b"\n") else line + b"\n"
