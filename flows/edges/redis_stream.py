"""Alerts as they change, for any number of readers: a Redis stream, or one in memory.

Readers that were away miss what the stream no longer holds; a Kafka topic or ``tapewatch alerts``
has everything.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, Final, Protocol

from redis import RedisError
from redis.exceptions import NoScriptError

from flows.edges.redis_url import MEMORY, CacheDownError, connect, place_of, split

STREAM: Final = "tapewatch.alerts"
ENTRIES_MAX: Final = 100_000
REPEAT_SECONDS: Final = 3_600  # how long an entry is known, so that a replay does not add it again
_OPTIONS: Final = ("stream", "maxlen")

_ADD: Final = """\
if not redis.call('SET', KEYS[2], '1', 'NX', 'EX', ARGV[1]) then return 0 end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
return 1
"""


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One alert as it stands; ``state`` and ``update_count`` tell its entries apart."""

    alert_id: str
    state: str
    update_count: int
    alert: bytes

    @property
    def identity(self) -> str:
        """What two entries that say the same have in common."""
        return f"{self.alert_id}:{self.state}:{self.update_count}"

    def fields(self) -> dict[str, str]:
        """Return the entry's fields."""
        return {
            "alert_id": self.alert_id,
            "state": self.state,
            "update_count": str(self.update_count),
            "alert": self.alert.decode(),
        }


class AlertStream(Protocol):
    """Where alerts are fanned out."""

    @property
    def entries_max(self) -> int:
        """How many entries it holds, about."""
        ...

    def add(self, entries: Sequence[StreamEntry]) -> int:
        """Add what was not added lately; return how many that were.

        Raises
        ------
        CacheDownError
            If some were perhaps not added: add them again later.
        """
        ...

    def read(self) -> list[dict[str, str]]:
        """Return the fields of everything held, oldest first."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


@dataclass(slots=True)
class MemoryStream:
    """In this process, for tests and notebooks."""

    entries_max: int = ENTRIES_MAX
    held: deque[dict[str, str]] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)

    def add(self, entries: Sequence[StreamEntry]) -> int:
        """See ``AlertStream``."""
        fresh = [e for e in entries if e.identity not in self.seen]
        fresh = list({e.identity: e for e in fresh}.values())
        self.seen.update(e.identity for e in fresh)
        self.held.extend(e.fields() for e in fresh)
        while len(self.held) > self.entries_max:
            self.held.popleft()
        return len(fresh)

    def read(self) -> list[dict[str, str]]:
        """See ``AlertStream``."""
        return list(self.held)

    def close(self) -> None:
        """See ``AlertStream``."""


class RedisStream:
    """A stream in Redis.

    Parameters
    ----------
    url
        ``redis://HOST:PORT/DB?stream=NAME&maxlen=COUNT``; both options have defaults.
    """

    def __init__(self, url: str) -> None:
        plain, self._stream, self.entries_max = parse_stream(url)
        self._place = place_of(plain)
        self._client: Any = connect(plain)
        self._script = sha1(_ADD.encode(), usedforsecurity=False).hexdigest()

    def add(self, entries: Sequence[StreamEntry]) -> int:
        """See ``AlertStream``."""
        try:
            answers = self._send(entries)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                self._client.script_load(_ADD)
                answers = self._send(entries)
        except RedisError as error:
            raise CacheDownError(f"Redis at {self._place}: {type(error).__name__}") from error
        failed = next((a for a in answers if isinstance(a, RedisError)), None)
        if failed is not None:
            raise CacheDownError(f"Redis at {self._place}: {failed}") from failed
        return sum(answers)

    def _send(self, entries: Sequence[StreamEntry]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for entry in entries:
            seen = f"{self._stream}:seen:{entry.identity}"
            fields = [text for pair in entry.fields().items() for text in pair]
            arguments = (str(REPEAT_SECONDS), str(self.entries_max), *fields)
            pipeline.execute_command("EVALSHA", self._script, 2, self._stream, seen, *arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers

    def read(self) -> list[dict[str, str]]:
        """See ``AlertStream``."""
        return [fields for _, fields in self._client.xrange(self._stream)]

    def close(self) -> None:
        """See ``AlertStream``."""
        self._client.close()


def parse_stream(url: str) -> tuple[str, str, int]:
    """Return the client's URL, the stream's name and how many entries it holds.

    Raises
    ------
    ValueError
        With a sentence saying what is wrong with it.

    Examples
    --------
    >>> parse_stream("redis://127.0.0.1:6379/0?maxlen=500")
    ('redis://127.0.0.1:6379/0', 'tapewatch.alerts', 500)
    """
    plain, options = split(url, _OPTIONS)
    name, count = options.get("stream", STREAM), options.get("maxlen", str(ENTRIES_MAX))
    if not name or not count.isdecimal() or int(count) == 0:
        raise ValueError(
            f"{place_of(plain)}: the stream needs a name, and maxlen a whole number above 0."
        )
    return plain, name, int(count)


def check_stream(url: str) -> None:
    """Raise ``ValueError`` with a sentence where the URL names no stream."""
    if url not in ("", MEMORY):
        parse_stream(url)


def open_stream(url: str) -> AlertStream | None:
    """Open what the setting names; an empty URL is nothing."""
    if not url:
        return None
    return MemoryStream() if url == MEMORY else RedisStream(url)
