"""Bounded files as blocks of whole lines, each block readable by itself.

Block k of a file holds the lines that start in bytes [k*B, (k+1)*B). So any process can read any
block of a plain file without having read another, and the blocks together hold every line once.
Packed files (gzip, a zip of one file) are cut in the same places of their unpacked bytes, but must
be read in order.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np

from flows.edges._bytes import CHUNK_BYTES, FileProblem, PlainBytes, open_bytes
from schemas.columns import Bytes, Rejected

__all__ = ["FileBlocks", "FileProblem", "RawBlock", "content_hash", "head", "whole"]

BLOCK_BYTES: Final = 4 * 1024 * 1024
LINE_BYTES_MAX: Final = 1024 * 1024
WHOLE_BYTES_MAX: Final = 1024**3
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_LINE_FEED: Final = b"\n"
_EDGE_BYTES: Final = 16 * 1024  # lines are mostly much shorter


@dataclass(frozen=True, slots=True)
class RawBlock:
    """Some whole lines of one file.

    Attributes
    ----------
    lane
        The file's lane number.
    number
        0-based; an empty block is a block too.
    byte_offset
        Of ``raw``'s first byte in the (unpacked) file.
    raw
        Shape (n,) uint8, writable: whole lines. The file's last line may lack its line feed, and
        so does a line that was cut because it is too long.
    is_last
        No block follows.
    torn
        Set on the last block of a packed file that ends before its container says.
    """

    lane: int
    number: int
    byte_offset: int
    raw: Bytes
    is_last: bool
    torn: Rejected | None = None


class FileBlocks:
    """The blocks of one file.

    A byte order mark at the start of the file is left out and noted: it says nothing in UTF-8, and
    the line behind it is good. Only the part of an overlong line that is needed to call it too
    long is kept, so memory is bounded by ``block_bytes + line_bytes_max``.

    Parameters
    ----------
    path
        A regular file: plain, gzip (several members too) or a zip archive of one file; told by
        content, not by name.
    block_bytes
        B above; positions depend on it, so a resumed run must use the same.
    lane
        Copied to every block.
    line_bytes_max
        A line that runs out of its block is cut one byte beyond this size.

    Attributes
    ----------
    notes
        Sentences about what was found at the start of the file.

    Raises
    ------
    FileProblem
        If the file cannot be read as lines of UTF-8; also from ``read``.
    """

    def __init__(
        self,
        path: Path,
        block_bytes: int = BLOCK_BYTES,
        lane: int = 0,
        line_bytes_max: int = LINE_BYTES_MAX,
    ) -> None:
        assert block_bytes > 0
        assert line_bytes_max > 0
        self.path = path
        self.block_bytes = block_bytes
        self.lane = lane
        self.line_bytes_max = line_bytes_max
        self._bytes = open_bytes(path)
        try:
            first_bytes = bytes(self._bytes.read_at(0, 4))
            self._text_start = _text_start(path, first_bytes, self._bytes.torn)
        except BaseException:
            self._bytes.close()
            raise
        self.notes = (
            (f"{path} starts with a byte order mark, which was left out.",)
            if self._text_start
            else ()
        )

    def count(self) -> int | None:
        """Count the blocks; nothing for a packed file until its last block was read."""
        size = self._bytes.size()
        return None if size is None else max(1, -(-size // self.block_bytes))

    def read(self, number: int) -> RawBlock:
        """Return block ``number``; empty beyond the end. Packed files: cheap only in order."""
        start = number * self.block_bytes
        end = start + self.block_bytes
        self._bytes.discard(max(0, start - 1))
        offset, raw = self._lines(start, end)
        is_last = not self._bytes.read_at(end, 1)
        torn = self._torn(offset, raw) if is_last and self._bytes.torn else None
        return RawBlock(self.lane, number, offset, raw, is_last, torn)

    def read_into(self, number: int, room: Bytes) -> RawBlock | None:
        """Return block ``number``, read into ``room``, which its bytes then are part of.

        None for what only ``read`` can do: packed files, blocks in which no line starts or for
        which there is no room, and those with a long line where they begin or end.
        """
        file, end = self._bytes, (number + 1) * self.block_bytes
        if not isinstance(file, PlainBytes):
            return None
        first, stop = self._line_start(number * self.block_bytes), self._line_start(end)
        if first is None or stop is None or not 0 < stop - first <= len(room):
            return None
        raw = room[: stop - first]
        file.fill(raw.data, first)
        last_line = raw[-_EDGE_BYTES:-1].tobytes()
        if len(raw) > _EDGE_BYTES and _LINE_FEED not in last_line:
            return None  # it may have to be cut
        return RawBlock(self.lane, number, first, raw, is_last=not file.read_at(end, 1))

    def _line_start(self, at: int) -> int | None:
        """Return where the first line begins that does not begin before ``at``; None if far on."""
        if at <= self._text_start:
            return self._text_start
        edge = self._bytes.read_at(at - 1, _EDGE_BYTES)
        found = edge.find(_LINE_FEED) + 1
        if found:
            return at - 1 + found
        return self._bytes.size() if len(edge) < _EDGE_BYTES else None

    def blocks(self, first: int = 0) -> Iterator[RawBlock]:
        """Yield the blocks from ``first`` on, up to and including the last."""
        number = first
        while True:
            block = self.read(number)
            yield block
            if block.is_last:
                return
            number += 1

    def close(self) -> None:
        """Give the file back."""
        self._bytes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lines(self, start: int, end: int) -> tuple[int, Bytes]:
        """Return offset and bytes of the lines that start in [start, end)."""
        # The byte before the block says whether a line starts with the block's first byte.
        base = max(start - 1, self._text_start)
        buffer = self._bytes.read_at(base, max(0, end - base))
        first = 0
        if start > self._text_start:
            first = buffer.find(_LINE_FEED) + 1
            if first == 0:
                return start, np.zeros(0, np.uint8)
        self._finish_last_line(buffer, first, base)
        return base + first, np.frombuffer(buffer, np.uint8)[first:]

    def _finish_last_line(self, buffer: bytearray, first: int, base: int) -> None:
        """Append what the last line has beyond the block."""
        last = buffer.rfind(_LINE_FEED, first, max(first, len(buffer) - 1)) + 1 or first
        while buffer and not buffer.endswith(_LINE_FEED):
            more = self._bytes.read_at(base + len(buffer), CHUNK_BYTES)
            if not more:
                return
            line_end = more.find(_LINE_FEED) + 1 or len(more)
            buffer += more[:line_end]
            if len(buffer) - last > self.line_bytes_max + 1:
                del buffer[last + self.line_bytes_max + 1 :]
                return

    def _torn(self, offset: int, raw: Bytes) -> Rejected:
        size = self._bytes.size()
        assert size is not None  # the end was reached
        return Rejected(
            reason="torn_record",
            stage="scan",
            path="",
            expected="a whole file",
            got=f"{self._bytes.torn}; copy the file again and replay it",
            line_number=int(np.count_nonzero(raw == _LINE_FEED[0])),
            byte_offset=size - offset,
            raw=b"",
        )


def _text_start(path: Path, first_bytes: bytes, torn: str) -> int:
    """Return where the text starts, having looked at the file's encoding."""
    if not first_bytes and torn:
        raise FileProblem(f"{path} has {torn}; copy the file again.")
    if not first_bytes:
        raise FileProblem(f"{path} holds nothing once unpacked; there is nothing to read.")
    is_nul = [byte == 0 for byte in first_bytes]
    # ASCII in UTF-16 without a mark: every other byte is zero. One zero alone is mere damage.
    if first_bytes[:2] in UTF_16_MARKS or is_nul in ([True, False] * 2, [False, True] * 2):
        raise FileProblem(
            f"{path} is UTF-16 text; save it as UTF-8 first (iconv -f UTF-16 -t UTF-8)."
        )
    return len(BYTE_ORDER_MARK) if first_bytes.startswith(BYTE_ORDER_MARK) else 0


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as they lie on disk, in hexadecimal.

    Raises
    ------
    FileProblem
        If the file cannot be read.
    """
    open_bytes(path).close()  # for its sentences
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def head(path: Path, size: int = CHUNK_BYTES) -> bytes:
    """Return the first (unpacked) bytes of a file without its byte order mark.

    Raises
    ------
    FileProblem
        As ``FileBlocks``.
    """
    with FileBlocks(path, block_bytes=size) as blocks:
        return bytes(blocks.read(0).raw)


def whole(path: Path, size_max: int = WHOLE_BYTES_MAX) -> RawBlock:
    """Return a file as one block, for formats whose records must be sorted.

    Raises
    ------
    FileProblem
        As ``FileBlocks``, and if the file has more than ``size_max`` bytes once unpacked.
    """
    with FileBlocks(path, block_bytes=size_max) as blocks:
        block = blocks.read(0)
    if not block.is_last:
        raise FileProblem(
            f"{path} has more than {size_max:,} bytes, which must be sorted in memory; "
            "split it by stock or by day."
        )
    return block
