"""What a Kafka message may be: one event as JSON, or an Arrow IPC stream of many."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, Protocol

from flows.edges.kafka_url import Format
from schemas.columns import HashKey, Scanned
from schemas.scan import Scanner

_ARROW_AT_ONCE: Final = 64  # messages: each may hold ten thousand events


class MessageFormat(Protocol):
    """Reads the messages of a lane.

    Attributes
    ----------
    rows_max
        Events in one message, at most. A position is the message's offset times this, plus the
        row in it.
    at_once_max
        Messages that may be taken together.
    """

    rows_max: int
    at_once_max: int

    def scan(self, values: Sequence[bytes]) -> Scanned:
        """Read messages; a ``line_number`` is the message's index times ``rows_max`` plus row."""
        ...


class JsonMessages:
    """One event a message, as JSON."""

    rows_max = 1
    at_once_max = 1_000_000

    def __init__(self, key: HashKey, tenant: str) -> None:
        self._scanner = Scanner(key, tenant=tenant)

    def scan(self, values: Sequence[bytes]) -> Scanned:
        """See ``MessageFormat``."""
        return self._scanner.scan(join_lines(values))


class ArrowMessages:
    """Many events a message, as columns."""

    at_once_max = _ARROW_AT_ONCE

    def __init__(self, key: HashKey, tenant: str) -> None:
        # Who sends JSON need not load the library for Arrow at every start.
        arrow: Any = import_module("schemas.arrow")
        self.rows_max: int = arrow.ROWS_MAX
        self._scanner = arrow.ArrowScanner(key, tenant=tenant)

    def scan(self, values: Sequence[bytes]) -> Scanned:
        """See ``MessageFormat``."""
        scanned: Scanned = self._scanner.scan(values)
        return scanned


def open_format(name: Format, key: HashKey, tenant: str) -> MessageFormat:
    """Return the reader of a format."""
    return ArrowMessages(key, tenant) if name == "arrow" else JsonMessages(key, tenant)


def join_lines(values: Sequence[bytes]) -> bytes:
    """Put messages on lines of their own.

    A line feed inside a message becomes a carriage return: both are white space between tokens,
    and both are refused inside a text.
    """
    joined = b"\n".join(values) + b"\n"
    if joined.count(b"\n") == len(values):
        return joined
    return b"\n".join(value.rstrip(b"\n").replace(b"\n", b"\r") for value in values) + b"\n"
