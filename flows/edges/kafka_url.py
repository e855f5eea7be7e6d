"""Kafka as people name it: ``kafka://HOST:PORT[,HOST:PORT]/TOPIC[,TOPIC][?option=value]``."""

from typing import Any, Final, Literal, TypeAlias, cast, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

SCHEME: Final = "kafka"
Start: TypeAlias = Literal["earliest", "latest"]
Until: TypeAlias = Literal["stopped", "end"]
Format: TypeAlias = Literal["json", "arrow"]
TOPICS_MAX: Final = 16
PARTITIONS_MAX: Final = 4_096  # of one topic: a lane's number has 16 bits
_NAME_LENGTH_MAX: Final = 249
_NAME_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
)
_OPTIONS: Final = ("format", "group", "start", "until")


class KafkaProblem(RuntimeError):  # noqa: N818 - people are told of a problem, not of an error
    """Kafka cannot be used so; the text is a sentence that says what to do about it."""


class KafkaUrl(Struct, frozen=True, kw_only=True):
    """What a URL says.

    Attributes
    ----------
    brokers
        As ``bootstrap.servers`` takes them.
    topics
        In the order of their lanes.
    start
        Where a partition is begun that no earlier run has begun.
    until
        ``end``: stop at what each partition held at the first start.
    group
        The consumer group under which positions are committed, for lag monitors to see.
    format
        What a message is: one event as JSON, or an Arrow IPC stream of many.
    """

    brokers: str
    topics: tuple[str, ...]
    start: Start = "earliest"
    until: Until = "stopped"
    group: str = "tapewatch"
    format: Format = "json"

    @property
    def identity(self) -> str:
        """What decides which events come: brokers may be replaced under a run."""
        asked = f"{SCHEME}:{','.join(self.topics)}?start={self.start}&until={self.until}"
        # Left out where it is JSON: runs that began before there was a choice go on.
        return asked if self.format == "json" else f"{asked}&format={self.format}"


def parse(url: str) -> KafkaUrl:
    """Read a URL.

    Raises
    ------
    ValueError
        With a sentence saying what is wrong with it.

    Examples
    --------
    >>> parse("kafka://127.0.0.1:9092/orders?until=end").topics
    ('orders',)
    """
    parts = urlsplit(url)
    topics = tuple(unquote(parts.path).strip("/").split(","))
    brokers = parts.netloc
    if parts.scheme != SCHEME or not all(is_address(broker) for broker in brokers.split(",")):
        raise ValueError(f"{url}: expected kafka://HOST:PORT/TOPIC, with a port for every broker.")
    _check_topics(url, topics)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            raise ValueError(f"{url}: there is no option {name!r}; there is {', '.join(_OPTIONS)}.")
    return KafkaUrl(
        brokers=brokers,
        topics=topics,
        start=cast("Start", _choice(url, options, "start", Start, "earliest")),
        until=cast("Until", _choice(url, options, "until", Until, "stopped")),
        group=options.get("group", "tapewatch") or "tapewatch",
        format=cast("Format", _choice(url, options, "format", Format, "json")),
    )


def is_address(text: str) -> bool:
    """Say whether a text is HOST:PORT."""
    host, colon, port = text.rpartition(":")
    return bool(host and colon and port.isdecimal())


def _check_topics(url: str, topics: tuple[str, ...]) -> None:
    if len(topics) > TOPICS_MAX or len(set(topics)) != len(topics):
        raise ValueError(f"{url}: name 1 to {TOPICS_MAX} different topics.")
    for topic in topics:
        check_topic(url, topic)


def check_topic(url: str, topic: str) -> None:
    """Refuse what is no name of a topic, with ``ValueError``."""
    if not topic or len(topic) > _NAME_LENGTH_MAX or not set(topic) <= _NAME_CHARACTERS:
        raise ValueError(
            f"{url}: {topic!r} is no name of a topic; "
            "they are made of letters, digits, '.', '_' and '-'."
        )


def _choice(url: str, options: dict[str, str], name: str, kind: Any, default: str) -> str:
    value = options.get(name, default)
    if value not in get_args(kind):
        known = " or ".join(get_args(kind))
        raise ValueError(f"{url}: {name}={value} is not known; choose {known}.")
    return value


class KafkaLanes:
    """Names of a URL's lanes by number: topic and partition, such as ``orders/3``."""

    def __init__(self, topics: tuple[str, ...]) -> None:
        self._topics = topics

    def __getitem__(self, lane: int, /) -> str:
        """Return a lane's name."""
        return f"{self._topics[lane // PARTITIONS_MAX]}/{lane % PARTITIONS_MAX}"

    def number(self, topic: str, partition: int) -> int:
        """Return the lane of a partition."""
        return self._topics.index(topic) * PARTITIONS_MAX + partition


def topic_of(lane: int, topics: tuple[str, ...]) -> tuple[str, int]:
    """Return topic and partition of a lane."""
    return topics[lane // PARTITIONS_MAX], lane % PARTITIONS_MAX
