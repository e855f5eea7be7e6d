"""A disk that takes nothing more: found among the causes of a failure, and said in a sentence.

Store, control log, arrivals, ledger and the engine's recovery store all end at the same disk, but
each says in its own way that it is full; the engine says it in the text of a panic only, and in a
run of several processes even that is lost to a panic about the connection between them. The disk
itself is asked then.
"""

import errno
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct

from flows.guard import is_panic

_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_WRITE_ERRNOS: Final = frozenset({errno.EFBIG, errno.EROFS})  # EIO may be of a file read
# Failures to write. One to read may be damage, which is another matter.
_WRITE_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR,  # the code of whoever does not say more
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }
)
# Only where no room is left does it say so: a file may be unreadable for many reasons.
_OPEN_CODES: Final = frozenset({sqlite3.SQLITE_CANTOPEN})
_ENGINE_CODE: Final = re.compile(r"SqliteFailure\(.*?extended_code: (\d+)")
_GROWTH_MAX: Final = (
    8 * 1024 * 1024
)  # by this much a log of SQLite may be beyond what is left of it
_ROOM_MIN: Final = 1024 * 1024  # SQLite asks for tens of KiB at once, and calls a refusal an error


class DiskProblem(RuntimeError):  # noqa: N818 - people are told of a problem, not of an error
    """The disk does not take what must be written; the sentence says what to do."""


class _Refusal(Struct, frozen=True):
    """What a disk refused: where, in whose words, and whether for want of room."""

    place: str
    words: str
    is_full: bool


@contextmanager
def naming_disk_problems(data: Path) -> Iterator[None]:
    """Raise what a full or failing disk has caused inside as ``DiskProblem``.

    Parameters
    ----------
    data
        The data folder, which is named where an error names no file.
    """
    try:
        yield
    except BaseException as error:
        refusal = _refusal_in(error, data)
        if refusal is not None:
            raise DiskProblem(_sentence(refusal)) from error
        raise


def is_disk_problem(error: BaseException, data: Path) -> bool:
    """Say whether ``naming_disk_problems`` would name a full or failing disk for an error."""
    return _refusal_in(error, data) is not None


def _refusal_in(error: BaseException, data: Path) -> _Refusal | None:
    link: BaseException | None = error
    while link is not None:
        found = _refusal_of(link, data)
        if found is not None:
            return found
        link = link.__cause__
    return None


def _refusal_of(error: BaseException, data: Path) -> _Refusal | None:
    if isinstance(error, OSError):
        if error.errno not in _FULL_ERRNOS | _WRITE_ERRNOS:
            return None
        place = str(data) if error.filename is None else str(error.filename)
        return _Refusal(place, str(error.strerror), error.errno in _FULL_ERRNOS)
    code = _sqlite_code(error)
    has_room = _has_room(data)
    is_silent = code is None and is_panic(error)
    if code == sqlite3.SQLITE_FULL or (
        (is_silent or code in _WRITE_CODES | _OPEN_CODES) and not has_room
    ):
        return _Refusal(str(data), "", is_full=True)
    if code in _WRITE_CODES:
        return _Refusal(str(data), "input/output error", is_full=False)
    return _refusal_when_asked(data) if is_silent else None


def _refusal_when_asked(data: Path) -> _Refusal | None:
    """Write beside the largest file where one would grow, and see what the disk says.

    A panic between two processes that names nothing may come of a quota or of a limit on the size
    of files, which the free room does not show.
    """
    largest = max((each.stat().st_size for each in data.rglob("*") if each.is_file()), default=0)
    try:
        with tempfile.TemporaryFile(dir=data) as asked:
            asked.seek(largest + _GROWTH_MAX)
            asked.write(bytes(_ROOM_MIN))
            asked.flush()
            os.fsync(asked.fileno())
    except OSError as error:
        return _refusal_of(error, data)
    return None


def _sqlite_code(error: BaseException) -> int | None:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)  # only what SQLite itself says has one
        return None if code is None else int(code)
    found = _ENGINE_CODE.search(str(error))
    return None if found is None else int(found[1])


def _has_room(data: Path) -> bool:
    place = data if data.exists() else data.parent
    return not place.exists() or shutil.disk_usage(place).free >= _ROOM_MIN


def _sentence(refusal: _Refusal) -> str:
    go_on = "Then run the same command again: it goes on from its last snapshot, nothing is lost."
    if refusal.is_full:
        return (
            f"The disk that holds {refusal.place} is full. Make room, or move the whole data "
            f"folder to a larger disk. {go_on}"
        )
    return (
        f"The disk does not take what is written to {refusal.place} ({refusal.words}). Check the "
        f"disk, its quota and the limit on the size of files. {go_on}"
    )
