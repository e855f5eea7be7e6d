"""The bytes of one file by position: plain, or behind gzip or zip, within bounded memory."""

import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeAlias

CHUNK_BYTES: Final = 64 * 1024  # compressed bytes read at a time
INFLATED_BYTES_MAX: Final = 1024 * 1024  # of one step, so that a tiny file cannot fill the memory
GZIP_MAGIC: Final = b"\x1f\x8b"
ZIP_MAGIC: Final = b"PK\x03\x04"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
GZIP_WINDOW_BITS: Final = 31  # zlib: 15 bits of window, + 16 for a gzip header and trailer

# Pieces of unpacked bytes; returns why they ended too early, or "".
Unpacking: TypeAlias = Generator[bytes, None, str]


class FileProblem(Exception):  # noqa: N818 - people are told of a problem, not of an error
    """A file cannot be used; the text is one sentence saying what to do about it."""


class ByteReader(Protocol):
    """What a block cutter needs of a file."""

    torn: str
    """Why the bytes end before their container says; known once the end was reached."""

    def read_at(self, offset: int, size: int) -> bytearray:
        """Return ``size`` bytes from ``offset``; fewer only at the end."""

    def discard(self, before: int) -> None:
        """Promise that no byte before this offset will be asked for soon."""

    def size(self) -> int | None:
        """Return the number of bytes, where it is known without reading them."""

    def close(self) -> None:
        """Give the file back."""


class PlainBytes:
    """A regular file, read where asked."""

    torn = ""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def read_at(self, offset: int, size: int) -> bytearray:
        """Return ``size`` bytes from ``offset``; fewer only at the end."""
        buffer = bytearray(max(0, min(size, self._size - offset)))
        self.fill(memoryview(buffer), offset)
        return buffer

    def fill(self, room: memoryview, offset: int) -> None:
        """Fill ``room`` with the bytes from ``offset``; there are so many."""
        done = 0
        while done < len(room):
            got = os.preadv(self._file.fileno(), [room[done:]], offset + done)
            if got == 0:
                raise FileProblem(f"{self._path} became shorter while it was read; try again.")
            done += got

    def discard(self, before: int) -> None:
        """Do nothing: a plain file keeps no buffer."""

    def size(self) -> int | None:
        """Return the file's size when it was opened; what is appended later is not read."""
        return self._size

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


class PackedBytes:
    """Unpacked bytes, which can only be had in order; going back starts again at the first.

    Parameters
    ----------
    file
        The packed file; closed with the reader.
    unpack
        Starts unpacking from the first byte.
    """

    def __init__(self, file: BinaryIO, unpack: Callable[[], Unpacking]) -> None:
        self.torn = ""
        self._file = file
        self._unpack = unpack
        self._restart()

    def _restart(self) -> None:
        self._pieces = self._unpack()
        self._buffer = bytearray()
        self._base = 0
        self._floor = 0
        self._ended = False

    def read_at(self, offset: int, size: int) -> bytearray:
        """Return ``size`` bytes from ``offset``; fewer only at the end."""
        if offset < self._base:
            self._restart()
            self._floor = offset
        while not self._ended and self._base + len(self._buffer) < offset + size:
            self._take_piece()
        return self._buffer[max(0, offset - self._base) : max(0, offset - self._base + size)]

    def _take_piece(self) -> None:
        try:
            self._buffer += next(self._pieces)
        except StopIteration as end:
            self.torn = end.value
            self._ended = True
        self._forget()

    def _forget(self) -> None:
        gone = min(len(self._buffer), max(0, self._floor - self._base))
        del self._buffer[:gone]
        self._base += gone

    def discard(self, before: int) -> None:
        """Free the buffer before this offset."""
        self._floor = before
        self._forget()

    def size(self) -> int | None:
        """Return nothing before the end was reached."""
        return self._base + len(self._buffer) if self._ended else None

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def open_bytes(path: Path) -> ByteReader:
    """Open a file, looking at its first bytes for what it is packed in.

    Raises
    ------
    FileProblem
        If there is no such file, it is not a regular file, cannot be read, is empty, or is packed
        in a way we do not read.
    """
    file = _open(path)
    try:
        magic = os.pread(file.fileno(), 4, 0)
        return _reader(path, file, magic)
    except BaseException:
        file.close()
        raise


def _open(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise FileProblem(f"{path} is a folder; name the files in it, as in {path}/*.jsonl.")
        if not stat.S_ISREG(mode):
            raise FileProblem(f"{path} is not a regular file; save the stream to a file first.")
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise FileProblem(f"There is no file {path}; check the path.") from None
    except PermissionError:
        raise FileProblem(f"{path} may not be read by you; change its permissions.") from None
    except OSError as error:
        raise FileProblem(f"{path} cannot be read: {error.strerror or error}.") from error


def _reader(path: Path, file: BinaryIO, magic: bytes) -> ByteReader:
    if not magic:
        raise FileProblem(f"{path} is empty; there is nothing to read.")
    if magic == ZSTD_MAGIC:
        raise FileProblem(f"{path} is packed with zstd, which is not read; unpack it first.")
    if magic == ZIP_MAGIC:
        return PackedBytes(file, lambda: _unzip(path, file))
    if magic[:2] == GZIP_MAGIC:
        return PackedBytes(file, lambda: _gunzip(file))
    return PlainBytes(path, file)


def _gunzip(file: BinaryIO) -> Unpacking:
    """Unpack all members of a gzip file; what can be unpacked before damage is kept."""
    file.seek(0)
    packed = b""
    member = None
    while True:
        packed = packed or file.read(CHUNK_BYTES)
        if member is None:
            packed = packed.lstrip(b"\0")  # tapes and some tools pad with zeros
            if not packed:
                if not (packed := file.read(CHUNK_BYTES)):
                    return ""
                continue
            if len(packed) == 1:
                packed += file.read(CHUNK_BYTES)
            if not packed.startswith(GZIP_MAGIC):
                return "other bytes after its gzip data"
            member = zlib.decompressobj(GZIP_WINDOW_BITS)
        at_end = not packed
        before = member.copy()
        try:
            piece = member.decompress(packed, INFLATED_BYTES_MAX)
        except zlib.error as error:
            yield _salvage(before, packed)
            return f"damaged gzip data ({error})"
        yield piece
        packed = member.unused_data if member.eof else member.unconsumed_tail
        if member.eof:
            member = None
        elif at_end and not piece:
            return "gzip data that stop in the middle"


def _salvage(member: "zlib._Decompress", packed: bytes) -> bytes:
    """Return what can be unpacked before the byte at which unpacking fails."""
    unpacked = bytearray()
    try:
        for index in range(len(packed)):
            unpacked += member.decompress(packed[index : index + 1])
    except zlib.error:
        pass
    return bytes(unpacked)


def _unzip(path: Path, file: BinaryIO) -> Unpacking:
    """Unpack the only file of a zip archive."""
    try:
        archive = zipfile.ZipFile(file)
        names = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(names) != 1:
            raise FileProblem(
                f"{path} holds {len(names)} files; unpack it and name the files one by one."
            )
        member = archive.open(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise FileProblem(f"{path} cannot be unpacked ({error}); unpack it first.") from error
    try:
        while piece := member.read(CHUNK_BYTES):
            yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        return f"damaged zip data ({error})"
    return ""
