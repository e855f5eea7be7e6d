"""Entry bundles: which there are, and whether they say what was committed."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from .chain import WIDTH
from .fault import AuditError

_BUNDLE: Final = re.compile(r"tile/entries/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_TILE_FOLDER: Final = re.compile(r"tile/entries(?:/x[0-9]{3})*(?:/[0-9]{3}\.p)?")


def list_bundles(folder: Path) -> dict[int, set[int]]:
    """Return the widths there are of each bundle; nothing else may lie below ``tile``."""
    found: dict[int, set[int]] = {}
    for parent, folders, names in os.walk(folder / "tile", onerror=_raise):
        for name in folders:
            path = Path(parent, name)
            proper = _TILE_FOLDER.fullmatch(path.relative_to(folder).as_posix())
            if proper is None or path.is_symlink():
                raise AuditError(str(path), "this folder does not belong into a log.")
        for name in names:
            path = Path(parent, name)
            bundle = _parse_bundle(path.relative_to(folder).as_posix())
            if bundle is None or path.is_symlink():
                raise AuditError(str(path), "this file does not belong into a log.")
            found.setdefault(bundle[0], set()).add(bundle[1])
    return found


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # no files yet, or a partial just outgrown
        raise error


def _parse_bundle(relative: str) -> tuple[int, int] | None:
    match = _BUNDLE.fullmatch(relative)
    if match is None:
        return None
    number, width = int(re.sub("[x/]", "", match[1])), int(match[2] or WIDTH)
    return (number, width) if _bundle_name(number, width) == relative else None


def _bundle_name(number: int, width: int = WIDTH) -> str:
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/entries/{path}" + ("" if width == WIDTH else f".p/{width}")


def fault_file(number: int, width: int, sentence: str) -> NoReturn:
    """Raise `AuditError` about a bundle's file."""
    raise AuditError(_bundle_name(number, width), sentence)


def read_full(folder: Path, number: int) -> list[bytes]:
    """Return the entries of a full bundle, whose bytes they fill exactly."""
    try:
        data = Path(folder, _bundle_name(number)).read_bytes()
    except FileNotFoundError:
        fault_file(number, WIDTH, "is missing.")
    entries = []
    position = 0
    while position < len(data):
        start = position + 2
        position = start + int.from_bytes(data[start - 2 : start], "big")
        entries.append(data[start:position])
    if position != len(data) or len(entries) != WIDTH:
        fault_file(number, WIDTH, f"is not exactly {WIDTH} entries, each after its length.")
    return entries


def check_files(folder: Path, number: int, widths: set[int], entries: Sequence[bytes]) -> None:
    """Hold the files listed for a bundle against the entries it must begin with."""
    for width in sorted(widths):
        truth = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries[:width])
        try:
            data = Path(folder, _bundle_name(number, width)).read_bytes()
        except FileNotFoundError:
            if max(_widths_now(folder, number), default=0) > width:
                continue  # the writer went on and replaced it by a wider one
            fault_file(number, width, "vanished while it was being verified.")
        if data != truth:
            fault_file(number, width, "differs from the entries that were committed.")


def require_applied(folder: Path, applied: int) -> None:
    """Require a file for the unfinished bundle as far as the database says it was written."""
    number, width = divmod(applied, WIDTH)
    if width and max(_widths_now(folder, number), default=0) < width:
        fault_file(number, width, "is missing.")


def _widths_now(folder: Path, number: int) -> set[int]:
    """Return the widths there are at this moment; a full file last, as the writer makes it."""
    partials = Path(folder, _bundle_name(number, 1)).parent
    paths = list(partials.iterdir()) if partials.is_dir() else []
    widths = {int(path.name) for path in paths if path.name.isdecimal()}
    return widths | ({WIDTH} if Path(folder, _bundle_name(number)).is_file() else set())
