"""Segments: files of a shard's state, each a row of records that hold pages of its arrays.

The first segment of a state holds every page once, the later ones what changed since, in order. A
segment is only appended to; how much of it counts, and the hash of that much, stands elsewhere.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from flows.manifest import DataFolderError
from flows.state_pages import PAGE_BYTES, PAGE_WORDS, Bytes, Indices, PackedPages, page_count

_MAGIC: Final = b"TWS1"
_LENGTH: Final = 8
_SPARE: Final = 4  # a quarter: most arrays grow from record to record, and few are copied each time
_ADVICE: Final = (
    "The folders state and recovery belong together: restore both from one copy of the data "
    "folder. Without one, start again with another --data; the same input gives the same alert ids."
)


class StateFileError(DataFolderError):
    """A file of state is missing or damaged; the sentence says what to do."""


class Segment(NamedTuple):
    """How much of a file counts.

    Attributes
    ----------
    name
        Of the file in the shard's folder.
    size
        In bytes, from the beginning.
    sha256
        Of so many bytes, hex.
    """

    name: str
    size: int
    sha256: str


class _Array(Struct, frozen=True, array_like=True):
    name: str
    size: int
    pages: int
    kept: int


class _Header(Struct, frozen=True):
    generation: int
    arrays: list[_Array]


class SegmentFile:
    """A segment that is being written.

    Parameters
    ----------
    path
        Of the file; what stood there is of a run that died, and goes.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self._hash = hashlib.sha256()
        self._size = 0

    def append(
        self, generation: int, parts: dict[str, Bytes], pages: dict[str, Indices]
    ) -> Segment:
        """Append a record and return how far the segment counts now; durable on return."""
        is_new = self._size == 0
        flags = os.O_CREAT | os.O_TRUNC if is_new else os.O_APPEND
        with os.fdopen(os.open(self._path, os.O_WRONLY | flags, 0o600), "wb") as file:
            for piece in _record(generation, parts, pages):
                file.write(piece)
                self._hash.update(piece)
                self._size += len(piece)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self._path.parent)
        return Segment(self._path.name, self._size, self._hash.hexdigest())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _record(
    generation: int, parts: dict[str, Bytes], pages: dict[str, Indices]
) -> Iterator[memoryview]:
    packed = {name: PackedPages.of(data, pages[name]) for name, data in parts.items()}
    header = _Header(
        generation,
        [
            _Array(name, len(parts[name]), len(one.pages), len(one.kept))
            for name, one in packed.items()
        ],
    )
    head = msgspec.json.encode(header)
    yield memoryview(_MAGIC + len(head).to_bytes(_LENGTH, "little") + head)
    for one in packed.values():
        for array in (one.pages, one.bitmap, one.kept):
            yield array.view(np.uint8).data


def read_segments(folder: Path, segments: Iterable[Segment]) -> dict[str, Bytes]:
    """Return the arrays that segments hold, by name.

    Raises
    ------
    StateFileError
        If one is missing, shorter than it should be, or holds other bytes.
    """
    parts: dict[str, Bytes] = {}
    for segment in segments:
        data = _read(folder / segment.name, segment)
        place = 0
        while place < len(data):
            parts, place = _apply(parts, data, place)
    return parts


def _read(path: Path, segment: Segment) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(segment.size)
    except FileNotFoundError as error:
        raise StateFileError(f"The state file {path} is missing. {_ADVICE}") from error
    if len(data) < segment.size:
        raise StateFileError(
            f"The state file {path} has {len(data):,} bytes instead of {segment.size:,}. {_ADVICE}"
        )
    if hashlib.sha256(data).hexdigest() != segment.sha256:
        raise StateFileError(f"The state file {path} holds other bytes than it should. {_ADVICE}")
    return data


def _apply(before: dict[str, Bytes], data: bytes, place: int) -> tuple[dict[str, Bytes], int]:
    """Return the arrays as the record at ``place`` leaves them, and where the next one begins."""
    assert data[place : place + len(_MAGIC)] == _MAGIC, "its hash was right"
    place += len(_MAGIC)
    length = int.from_bytes(data[place : place + _LENGTH], "little")
    place += _LENGTH
    header = msgspec.json.decode(data[place : place + length], type=_Header)
    place += length
    parts = {}
    for array in header.arrays:
        pages, place = _take(data, place, np.int32, array.pages)
        bitmap, place = _take(data, place, np.uint8, array.pages * PAGE_WORDS // 8)
        kept, place = _take(data, place, np.uint64, array.kept)
        whole = _resized(before.get(array.name), page_count(array.size) * PAGE_BYTES)
        PackedPages(pages, bitmap, kept).put(whole)
        parts[array.name] = whole
    sizes = {array.name: array.size for array in header.arrays}
    return {name: whole[: sizes[name]] for name, whole in parts.items()}, place


def _take(data: bytes, place: int, dtype: Any, count: int) -> tuple[Any, int]:
    # Copied, for what stands anywhere in a file may lie at any address.
    taken = np.frombuffer(data, dtype, count, place).copy()
    return taken, place + taken.nbytes


def _resized(old: Bytes | None, size: int) -> Bytes:
    """Return at least so many bytes that begin with the old ones.

    What stands beyond them may be anything: whatever a record adds to an array it holds whole.
    """
    base = None if old is None else old.base
    if base is not None and len(base) >= size:
        whole: Bytes = base
        return whole
    room = size if base is None else page_count(size + size // _SPARE) * PAGE_BYTES
    resized = np.zeros(room, np.uint8)
    if old is not None:
        resized[: len(old)] = old
    return resized
