"""What all commands write with: data to standard output, words to standard error."""

import csv
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.events import SECOND_NS

# Shape and word carry the severity; colour only repeats it.
SEVERITY: Final = {
    "info": ("·", "dim"),
    "low": ("-", "cyan"),
    "medium": ("▲", "yellow"),
    "high": ("◆", "red"),
    "critical": ("■", "bold red"),
}
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


def out() -> Console:
    """Return the console of standard output; NO_COLOR and pipes are honoured by rich."""
    return Console(highlight=False)


def err() -> Console:
    """Return the console of standard error."""
    return Console(stderr=True, highlight=False)


def is_terminal(stream: TextIO) -> bool:
    """Say whether somebody is looking."""
    return stream.isatty()


def own_name() -> str:
    """Return how to call us from here: by name, where the shell would find it."""
    called = Path(sys.argv[0])
    return "tapewatch" if shutil.which("tapewatch") or called.suffix == ".py" else str(called)


def say(sentence: str) -> None:
    """Tell something that is not data."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def put_json(value: Any) -> None:
    """Write one JSON object on one line."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def put_json_lines(values: Iterable[Any]) -> None:
    """Write one JSON object a line, each as soon as it is there."""
    for value in values:
        put_json(value)


def put_bytes(pieces: Iterable[bytes]) -> None:
    """Write bytes as they are."""
    sys.stdout.flush()
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def put_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write CSV that no spreadsheet takes for formulas."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([harmless(row[column]) for column in columns])


def harmless(value: Any) -> str:
    """Return a cell's text; what would start a formula gets an apostrophe before it.

    Examples
    --------
    >>> harmless("=1+1"), harmless(-5), harmless(None)
    ("'=1+1", '-5', '')
    """
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    text = str(value)
    if isinstance(value, str) and text.startswith(_FORMULA_STARTS):
        return f"'{text}"
    return text


def table(*columns: str, right: Sequence[str] = (), wrap: Sequence[str] = ()) -> Table:
    """Make a table; columns in ``right`` hold numbers, those in ``wrap`` sentences."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            overflow="fold",
            no_wrap=column not in wrap,
        )
    return made


def plain(text: object) -> str:
    """Return text in which nothing is markup."""
    return escape(str(text))


def severity(word: str) -> str:
    """Return a severity as symbol and word, in its colour.

    Examples
    --------
    >>> severity("high")
    '[red]◆ high[/red]'
    """
    symbol, style = SEVERITY[word]
    return f"[{style}]{symbol} {word}[/{style}]"


def time_text(time_ns: int | None, *, is_short: bool = False) -> str:
    """Return event time in UTC.

    Examples
    --------
    >>> time_text(1_772_587_800_123_456_789)
    '2026-03-04 01:30:00.123 UTC'
    """
    if time_ns is None:
        return ""
    whole, rest = divmod(time_ns, SECOND_NS)
    moment = datetime.fromtimestamp(whole, UTC)
    if is_short:
        return f"{moment:%m-%d %H:%M:%S}"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03} UTC"
