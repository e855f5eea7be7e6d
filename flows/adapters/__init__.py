"""Other people's records turned into our events, one file per format.

An adapter reads a file and yields blocks of NDJSON in our own words, which then go through the
ordinary scanner: so what an adapter gets wrong is refused with a reason like anything else.
Adapters are found by listing this package; a file that starts with an underscore is not one.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from flows.adapters._overlay import Overlay
from flows.edges import files
from schemas.columns import RAW_SIZE_MAX, Bytes, Rejected

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class AdapterOptions:
    """What a person may ask of an adapter.

    Attributes
    ----------
    accounts
        Empty, or ``overlay:SEED:N``: give every order of an anonymous source one of N synthetic
        accounts.
    block_bytes
        Size of the input pieces, for formats read piece by piece.
    block_lines
        Events in one output block, for formats sorted in memory.
    """

    accounts: str = ""
    block_bytes: int = files.BLOCK_BYTES
    block_lines: int = 16_384


@dataclass(frozen=True, slots=True)
class AdaptedBlock:
    """Some adapted events, and what could not be adapted.

    Attributes
    ----------
    raw
        Shape (n,) uint8, writable: whole NDJSON lines.
    origin_lines
        Shape (lines in ``raw``,) int64: the 0-based line of the original file each came from.
    rejected
        Records that could not be adapted: stage ``adapt``, original bytes, original line, byte
        offset in the (unpacked) original.
    skipped_fields
        How often each optional field was left out because our events cannot hold its value.
    """

    raw: Bytes
    origin_lines: NDArray[np.int64]
    rejected: list[Rejected] = field(default_factory=list)
    skipped_fields: dict[str, int] = field(default_factory=dict)


class Adapter(Protocol):
    """One format."""

    name: str
    """What ``--format`` calls it; the file's name."""
    anonymous: bool
    """The source names no accounts of its own."""
    default_calendar: str
    """Whose trading days the events belong to: ``XSHG`` or ``24/7``."""

    def recognises(self, first_bytes: bytes) -> bool:
        """Say whether a file that starts like this is of the format."""

    def adapt(self, path: Path, options: AdapterOptions) -> Iterator[AdaptedBlock]:
        """Yield the file's events in the order they are to be replayed.

        Raises
        ------
        FileProblem
            If the file cannot be read at all.
        ValueError
            If the options do not suit the format.
        """


def names() -> tuple[str, ...]:
    """List the formats there are, in alphabetical order."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in modules if not name.startswith("_")))


def by_name(name: str) -> Adapter:
    """Return the adapter of a format.

    Raises
    ------
    ValueError
        If there is none of this name; the text lists the names.
    """
    if name not in names():
        raise ValueError(f"There is no format {name!r}; choose one of {', '.join(names())}.")
    return cast("Adapter", importlib.import_module(f"{__name__}.{name}").ADAPTER)


def guess_format(path: Path) -> str:
    """Return the name of the only format that recognises the file's beginning.

    Raises
    ------
    FileProblem
        If the file cannot be read, or none or several formats recognise it.
    """
    found = _recognised(path)
    if len(found) != 1:
        what = f"looks like {' and '.join(found)}" if found else "looks like none of our formats"
        raise files.FileProblem(
            f"{path} {what} (it begins {_beginning(path)}); "
            f"say which it is with --format, one of {', '.join(names())}."
        )
    return found[0]


def choose(name: str, path: Path) -> Adapter:
    """Return the adapter a person asked for, having checked that the file is of its format.

    Raises
    ------
    FileProblem
        If the file is not of the format, and looks like another.
    ValueError
        If there is no such format.
    """
    if name == AUTO:
        return by_name(guess_format(path))
    adapter = by_name(name)
    if not adapter.recognises(files.head(path)) and (found := _recognised(path)):
        raise files.FileProblem(
            f"{path} does not look like {name} (it begins {_beginning(path)}); "
            f"it looks like {found[0]}: use --format {found[0]}."
        )
    return adapter


def _recognised(path: Path) -> list[str]:
    first_bytes = files.head(path)
    return [name for name in names() if by_name(name).recognises(first_bytes)]


def _beginning(path: Path) -> str:
    return repr(files.head(path).split(b"\n", 1)[0][:60].decode(errors="replace"))


def as_rejected(
    line_number: int, byte_offset: int, raw: bytes, *, expected: str, got: str, path: str = ""
) -> Rejected:
    """Return a record that could not be adapted."""
    return Rejected(
        reason="bad_record",
        stage="adapt",
        path=path,
        expected=expected,
        got=got,
        line_number=line_number,
        byte_offset=byte_offset,
        raw=raw[:RAW_SIZE_MAX],
    )


def torn_at(block: files.RawBlock, line_number: int) -> list[Rejected]:
    """Return the block's torn end, if it has one, with its place in the file."""
    if block.torn is None:
        return []
    byte_offset = block.byte_offset + block.torn.byte_offset
    return [replace(block.torn, line_number=line_number, byte_offset=byte_offset)]


def refuse_accounts(name: str, options: AdapterOptions) -> None:
    """Raise ValueError if overlay accounts are asked of a source that has accounts."""
    if options.accounts:
        raise ValueError(f"{name} events name their accounts; leave out --accounts.")


def check_accounts(adapter: Adapter, accounts: str) -> None:
    """Raise ValueError if what is asked for with ``--accounts`` does not suit the format."""
    if not accounts:
        return
    if not adapter.anonymous:
        refuse_accounts(adapter.name, AdapterOptions(accounts=accounts))
    Overlay.parse(accounts)
