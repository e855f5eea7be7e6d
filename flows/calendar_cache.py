"""Tables of trading days, kept in the user's cache so that a warm start imports no pandas.

The cache is only ever a copy: a file that is missing or damaged is made again, and a folder that
cannot be written is done without.
"""

import json
import os
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LIBRARY: Final = "exchange_calendars"
_FORMAT: Final = 1  # of our tables; a change of how days are made counts as one


class DayTable(NamedTuple):
    """One calendar's days.

    Attributes
    ----------
    starts
        Shape (n,) int64, ascending: where each trading day begins, ns.
    numbers
        Shape (n,) int32: its number in days since 1970-01-01; the last only ends the one before.
    known_until_ns
        End of the last day whose holidays are known.
    zone
        The venue's time zone.
    """

    starts: NDArray[np.int64]
    numbers: NDArray[np.int32]
    known_until_ns: int
    zone: str


class CalendarCache:
    """Files of one version of the calendar library.

    Parameters
    ----------
    root
        Folder shared with other caches; None keeps nothing.
    """

    def __init__(self, root: Path | None) -> None:
        folder = f"calendars-{version(LIBRARY)}-{_FORMAT}"
        self._folder = None if root is None else root / folder
        self._held: dict[str, DayTable] = {}

    def table(self, key: str, make: Callable[[], DayTable]) -> DayTable:
        """Return a table from memory or file, or make it."""
        found = self._held.get(key)
        if found is None:
            found = _table_of(self._read(f"{key}.npz"))
            if found is None:
                found = make()
                self._write(f"{key}.npz", _bytes_of(found))
            self._held[key] = found
        return found

    def names(self, make: Callable[[], list[str]]) -> list[str]:
        """Return the names of all calendars from file, or ask for them."""
        try:
            return [str(name) for name in json.loads(self._read("names.json") or b"")]
        except ValueError:
            names = make()
            self._write("names.json", json.dumps(names).encode())
            return names

    def _read(self, name: str) -> bytes | None:
        if self._folder is None:
            return None
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        """Put a file in place whole; two processes may do so at once."""
        if self._folder is None:
            return
        aside = self._folder / f".{name}.{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(data)
            aside.replace(self._folder / name)
        except OSError:
            return


def _bytes_of(table: DayTable) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(
        buffer,
        starts=table.starts,
        numbers=table.numbers,
        known_until_ns=np.int64(table.known_until_ns),
        zone=np.array(table.zone),
    )
    return buffer.getvalue()


def _table_of(data: bytes | None) -> DayTable | None:
    """Read a table; None where the file is not one. The container checks its own sums."""
    if data is None:
        return None
    try:
        with np.load(BytesIO(data), allow_pickle=False) as held:
            return DayTable(
                held["starts"], held["numbers"], int(held["known_until_ns"]), str(held["zone"])
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
