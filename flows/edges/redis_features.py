"""Live features where other programs read them: in Redis, or in memory.

Of two states of an account in one run, the one with more of its rows applied is the later one. So
that number, as text of equal length, is the guard: what a replay sends again and is behind changes
nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, Final, Protocol

from redis import RedisError
from redis.exceptions import NoScriptError

from flows.edges.redis_url import MEMORY, CacheDownError, connect, place_of, split

KEY_PREFIX: Final = "tapewatch:features:"
_AT_ONCE: Final = 1_000  # commands sent before their answers are read

# Numbers are doubles in Lua and misorder above 2^53: the guard is compared as text.
_PUT: Final = """\
local held = redis.call('HMGET', KEYS[1], 'run', 'seq')
if held[1] == ARGV[2] and held[2] > ARGV[3] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'run', ARGV[2], 'seq', ARGV[3], unpack(ARGV, 4))
if ARGV[1] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
"""


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One account's features.

    Attributes
    ----------
    run
        Names the count that ``seq`` belongs to: another run's is never compared with it.
    seq
        How many rows of the account had been applied; not negative.
    fields
        Text by name, without ``run`` and ``seq``.
    """

    tenant: str
    account_id: str
    run: str
    seq: int
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Where it is held."""
        return key_of(self.tenant, self.account_id)

    @property
    def sequence(self) -> str:
        """``seq`` as text of a length that every 64-bit number has."""
        return f"{self.seq:020d}"


def key_of(tenant: str, account_id: str) -> str:
    """Return the key of an account's features."""
    return f"{KEY_PREFIX}{tenant}:{account_id}"


class FeatureCache(Protocol):
    """Where features are held."""

    def put(self, rows: Sequence[FeatureRow]) -> int:
        """Hold the rows that are not behind what is held; return how many that were.

        Raises
        ------
        CacheDownError
            If some were perhaps not taken: put them again later.
        """
        ...

    def get(self, tenant: str, account_id: str) -> dict[str, str]:
        """Return an account's fields with ``run`` and ``seq``; none: empty."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


@dataclass(slots=True)
class MemoryFeatures:
    """In this process, for tests and notebooks; nothing expires."""

    held: dict[str, dict[str, str]] = field(default_factory=dict)

    def put(self, rows: Sequence[FeatureRow]) -> int:
        """See ``FeatureCache``."""
        return sum(self._put(row) for row in rows)

    def _put(self, row: FeatureRow) -> bool:
        held = self.held.get(row.key)
        if held is not None and held["run"] == row.run and held["seq"] > row.sequence:
            return False
        self.held[row.key] = {"run": row.run, "seq": row.sequence, **row.fields}
        return True

    def get(self, tenant: str, account_id: str) -> dict[str, str]:
        """See ``FeatureCache``."""
        return dict(self.held.get(key_of(tenant, account_id), {}))

    def close(self) -> None:
        """See ``FeatureCache``."""


class RedisFeatures:
    """In Redis: a hash an account.

    Parameters
    ----------
    url
        ``redis://HOST:PORT/DB``, also ``rediss://``, with user and password where needed.
    ttl_seconds
        An account that is not written for so long is forgotten; 0: never.
    """

    def __init__(self, url: str, ttl_seconds: int) -> None:
        plain, _ = split(url)
        self._place = place_of(plain)
        self._client: Any = connect(plain)
        self._ttl = str(ttl_seconds)
        self._script = sha1(_PUT.encode(), usedforsecurity=False).hexdigest()  # Redis names it so

    def put(self, rows: Sequence[FeatureRow]) -> int:
        """See ``FeatureCache``."""
        try:
            answers = [a for part in _parts(rows) for a in self._put(part)]
        except RedisError as error:
            raise CacheDownError(f"Redis at {self._place}: {type(error).__name__}") from error
        failed = next((a for a in answers if isinstance(a, RedisError)), None)
        if failed is not None:
            raise CacheDownError(f"Redis at {self._place}: {failed}") from failed
        return sum(answers)

    def _put(self, rows: Sequence[FeatureRow]) -> list[Any]:
        answers = self._send(rows)
        if any(isinstance(answer, NoScriptError) for answer in answers):  # first use, or restarted
            self._client.script_load(_PUT)
            answers = self._send(rows)
        return answers

    def _send(self, rows: Sequence[FeatureRow]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for row in rows:
            fields = [text for pair in row.fields.items() for text in pair]
            arguments = (self._ttl, row.run, row.sequence, *fields)
            pipeline.execute_command("EVALSHA", self._script, 1, row.key, *arguments)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        return answers

    def get(self, tenant: str, account_id: str) -> dict[str, str]:
        """See ``FeatureCache``."""
        found: dict[str, str] = self._client.hgetall(key_of(tenant, account_id))
        return found

    def close(self) -> None:
        """See ``FeatureCache``."""
        self._client.close()


def _parts(rows: Sequence[FeatureRow]) -> Iterator[Sequence[FeatureRow]]:
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))


def check_features(url: str) -> None:
    """Raise ``ValueError`` with a sentence where the URL names no place for features."""
    if url not in ("", MEMORY):
        split(url)


def open_features(url: str, ttl_seconds: int) -> FeatureCache | None:
    """Open what the setting names; an empty URL is nothing."""
    if not url:
        return None
    return MemoryFeatures() if url == MEMORY else RedisFeatures(url, ttl_seconds)
