"""Entry bundles on disk: ``tile/entries/<N>[.p/<W>]``, 256 entries a file, C2SP tlog-tiles."""

import os
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ledger.errors import LedgerDamaged
from ledger.tree import BUNDLE_WIDTH

ENTRIES: Final = Path("tile", "entries")
TEMPORARY: Final = "tmp"  # beside tile/, never in it: readers of tile/ see whole files only
_GROUP: Final = re.compile(r"(?:x\d{3}/)*\d{3}(?:\.p/[1-9]\d{0,2})?")
_LENGTH: Final = struct.Struct(">H")


def bundle_path(number: int, width: int = BUNDLE_WIDTH) -> Path:
    """Return a bundle's place below the log's folder: digits in threes, all but the last with x.

    Examples
    --------
    >>> bundle_path(1234067).as_posix()
    'tile/entries/x001/x234/067'
    >>> bundle_path(0, 7).as_posix()
    'tile/entries/000.p/7'
    """
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:  # noqa: PLR2004 - three decimal digits a group
        number //= 1000
        groups.insert(0, f"x{number % 1000:03d}")
    path = ENTRIES.joinpath(*groups)
    return path if width == BUNDLE_WIDTH else path.with_name(f"{path.name}.p") / str(width)


def parse_path(relative: str) -> tuple[int, int] | None:
    """Return (number, width) of a path below ``tile/entries``, or None if it is no bundle's."""
    if not _GROUP.fullmatch(relative):
        return None
    name, _, width_text = relative.partition(".p/")
    number = int(name.replace("x", "").replace("/", ""))
    width = int(width_text or BUNDLE_WIDTH)
    proper = bundle_path(number, width).relative_to(ENTRIES).as_posix() == relative
    return (number, width) if proper else None


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return the entries, each after its length in two bytes, big-endian."""
    return b"".join(_LENGTH.pack(len(entry)) + entry for entry in entries)


def decode_bundle(data: bytes, where: str) -> list[bytes]:
    """Return the entries of a bundle's bytes.

    Raises
    ------
    LedgerDamaged
        If a length points beyond the end.
    """
    entries = []
    position = 0
    while position < len(data):
        start = position + _LENGTH.size
        if start > len(data):
            raise LedgerDamaged(f"{where} ends inside a length: run the audit on this log.")
        position = start + _LENGTH.unpack_from(data, start - _LENGTH.size)[0]
        if position > len(data):
            raise LedgerDamaged(f"{where} ends inside an entry: run the audit on this log.")
        entries.append(data[start:position])
    return entries


def read_bundle(folder: Path, number: int) -> list[bytes]:
    """Return the 256 entries of a full bundle.

    Raises
    ------
    LedgerDamaged
        If it is missing, torn, or not 256 entries.
    """
    path = folder / bundle_path(number)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise LedgerDamaged(f"{path} is missing: bring it back from a copy of the log.") from error
    entries = decode_bundle(data, str(path))
    if len(entries) != BUNDLE_WIDTH:
        raise LedgerDamaged(f"{path} holds {len(entries)} entries, not {BUNDLE_WIDTH}.")
    return entries


def list_bundles(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield (number, width) of every bundle file there is.

    Raises
    ------
    LedgerDamaged
        On a file that is no bundle: nobody but the writer puts anything there.
    """
    top = folder / ENTRIES
    for path in top.rglob("*"):
        if path.is_dir():
            continue
        found = parse_path(path.relative_to(top).as_posix())
        if found is None:
            raise LedgerDamaged(f"{path} does not belong there: move it out of the log.")
        yield found


def put_bundle(folder: Path, number: int, entries: Sequence[bytes]) -> Path:
    """Write one bundle file; doing it again changes nothing.

    Returns
    -------
    Path
        The folder it lies in, for the caller to sync: then it is durable.

    Raises
    ------
    LedgerDamaged
        If the file exists with other bytes: bundles never change.
    """
    data = encode_bundle(entries)
    path = folder / bundle_path(number, len(entries))
    if path.exists():
        if path.read_bytes() != data:
            raise LedgerDamaged(f"{path} differs from what was committed: run the audit.")
    else:
        _make_folders(path.parent)
        _write_whole(folder / TEMPORARY / f"{number}-{len(entries)}", path, data)
    return path.parent  # to be synced even if the file was there: a crash may have come between


def _write_whole(temporary: Path, path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    temporary.parent.mkdir(exist_ok=True)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def drop_partials(folder: Path, number: int, below: int) -> None:
    """Remove the partials of a bundle narrower than `below`: a wider file holds all they held."""
    partials = (folder / bundle_path(number, 1)).parent
    if not partials.is_dir():
        return
    for path in partials.iterdir():
        if int(path.name) < below:
            path.unlink()
    if below == BUNDLE_WIDTH:
        partials.rmdir()


def clear_temporary(folder: Path) -> None:
    """Remove what a crash left half written."""
    for path in folder.joinpath(TEMPORARY).glob("*"):
        path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_folders(folder: Path) -> None:
    missing = [folder] if not folder.exists() else []
    while missing and not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for new in reversed(missing):
        new.mkdir()
        sync_folder(new.parent)
