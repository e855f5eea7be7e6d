"""Redis as an output, named by a URL, and what can go wrong with it."""

from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

MEMORY: Final = "memory:"
_SCHEMES: Final = ("redis", "rediss")
_WAIT_SECONDS: Final = 1.0  # the writer stands still for so long where Redis does not answer


class CacheDownError(Exception):
    """The cache did not take what it was given; the run goes on without it."""


def split(url: str, extra: tuple[str, ...] = ()) -> tuple[str, dict[str, str]]:
    """Return the URL as the client takes it, and what of ``extra`` its query gives.

    Raises
    ------
    ValueError
        With a sentence saying what is wrong with it, without any password.

    Examples
    --------
    >>> split("redis://127.0.0.1:6379/0?stream=a", ("stream",))
    ('redis://127.0.0.1:6379/0', {'stream': 'a'})
    """
    expected = "redis://HOST:PORT/DB" + ("?" + "&".join(f"{x}=…" for x in extra) if extra else "")
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(query)
    is_good = parts.scheme in _SCHEMES and bool(parts.hostname) and _has_port(url)
    is_good = is_good and parts.path.removeprefix("/").isdecimal() and not parts.fragment
    if not is_good or len(given) != len(query) or not set(given) <= set(extra):
        raise ValueError(f"{without_password(url)}: expected {expected}.")
    return urlunsplit(parts._replace(query="")), given


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return False


def place_of(url: str) -> str:
    """Return host and port, for sentences.

    Examples
    --------
    >>> place_of("redis://:secret@127.0.0.1:6379/0")
    '127.0.0.1:6379'
    """
    return urlsplit(url).netloc.rpartition("@")[2]


def without_password(url: str) -> str:
    """Return a URL as people may see it; other texts stay as they are.

    Examples
    --------
    >>> without_password("redis://me:secret@127.0.0.1:6379/0")
    'redis://me:(hidden)@127.0.0.1:6379/0'
    """
    scheme, mark, rest = url.partition("://")
    # What stands before the last @ of a URL that is not well formed may be a password too.
    login, at, place = rest.rpartition("@")
    if not mark or not at or ":" not in login:
        return url
    return f"{scheme}://{login.partition(':')[0]}:(hidden)@{place}"


def connect(url: str) -> "Redis":
    """Return a client that waits little and does not try again by itself."""
    return Redis.from_url(
        url,
        socket_timeout=_WAIT_SECONDS,
        socket_connect_timeout=_WAIT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
