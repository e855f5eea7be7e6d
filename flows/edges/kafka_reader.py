"""One consumer a process: messages of its partitions, in order, from positions of our own.

The consumer is assigned partitions and offsets, never subscribed: which process reads what follows
from the shards, and where to go on is in our snapshots. Offsets are committed to the group for
others to see how far we are; nothing of ours reads them back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from flows import clock
from flows.edges.kafka_url import PARTITIONS_MAX, KafkaLanes, KafkaProblem, KafkaUrl, topic_of

_ANSWER_SECONDS: Final = 20.0  # until a broker must have answered at the start
_METADATA_EVERY_NS: Final = 30_000_000_000
_QUEUED_KIB: Final = 32 * 1024
# What the client settles by itself: it goes on trying, and messages come again.
PASSING: Final = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the library's own name
        KafkaError._TRANSPORT,  # noqa: SLF001 - the same
        KafkaError._RESOLVE,  # noqa: SLF001 - the same
        KafkaError._TIMED_OUT,  # noqa: SLF001 - the same
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
    }
)


@dataclass(slots=True)
class LaneMessages:
    """Messages of one lane, in order.

    Attributes
    ----------
    values, offsets
        As long as each other. A message without a value is empty bytes.
    is_at_end
        The partition held nothing beyond them when they came.
    next_offset
        Where the lane stands behind them; None without messages and end.
    """

    values: list[bytes] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    is_at_end: bool = False
    next_offset: int | None = None


class KafkaReader:
    """The consumer of one process.

    Parameters
    ----------
    url
        Brokers, topics, group.
    properties
        Further properties of the client library, such as TLS and SASL.
    is_ours
        Says whether this process reads a partition, by its number.
    messages_at_once
        Taken by one ``pump`` at most.
    """

    def __init__(
        self,
        url: KafkaUrl,
        properties: Mapping[str, str],
        is_ours: Callable[[int], bool],
        messages_at_once: int,
    ) -> None:
        self._messages_at_once = messages_at_once
        self._url = url
        self._names = KafkaLanes(url.topics)
        self._is_ours = is_ours
        self._fatal: KafkaError | None = None
        self._consumer = _consumer(url, properties, self._on_error)
        self._assigned: dict[int, int] = {}
        self._metadata_ns = clock.monotonic_ns()

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() not in PASSING:
            self._fatal = error

    def lanes(self) -> list[int]:
        """Return the lanes of this process, as the brokers list them now.

        Raises
        ------
        KafkaProblem
            If no broker answers, or a topic is missing or has too many partitions.
        """
        found = []
        for topic in self._url.topics:
            listed = self._metadata(topic)
            if len(listed) > PARTITIONS_MAX:
                raise KafkaProblem(
                    f"Topic {topic} has {len(listed)} partitions; Tapewatch reads topics of up to "
                    f"{PARTITIONS_MAX}. Split it."
                )
            found += [self._names.number(topic, p) for p in sorted(listed) if self._is_ours(p)]
        return found

    def every_lane(self) -> list[int]:
        """Return the lanes of all partitions, whoever reads them."""
        return [
            self._names.number(topic, partition)
            for topic in self._url.topics
            for partition in sorted(self._metadata(topic))
        ]

    def count_lanes(self) -> int:
        """Return how many partitions the topics have, whoever reads them."""
        return len(self.every_lane())

    def _metadata(self, topic: str) -> list[int]:
        try:
            described = self._consumer.list_topics(topic, _ANSWER_SECONDS).topics[topic]
        except KafkaException as error:
            raise KafkaProblem(
                f"No broker at {self._url.brokers} answered ({_words(error.args[0])}). Check that "
                "Kafka runs there, and kafka.properties for TLS and SASL."
            ) from error
        if described.error is not None or not described.partitions:
            raise KafkaProblem(
                f"Kafka at {self._url.brokers} has no topic {topic}. Create it, or correct the URL."
            )
        return list(described.partitions)

    def bounds(self, lane: int) -> tuple[int, int]:
        """Return the first offset that a lane still holds, and the one behind its last."""
        topic, partition = topic_of(lane, self._url.topics)
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=_ANSWER_SECONDS
            )
        except KafkaException as error:
            raise KafkaProblem(
                f"The bounds of {self._names[lane]} are not to be had "
                f"({_words(error.args[0])}). Check the broker and try again."
            ) from error
        return int(low), int(high)

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read these lanes too, each from its offset.

        Raises
        ------
        KafkaProblem
            If a lane no longer holds its offset: what we have not read is gone.
        """
        for lane, offset in positions.items():
            low, high = self.bounds(lane)
            if not low <= offset <= high:
                raise KafkaProblem(self._expired(lane, offset, low, high))
        self._assigned |= positions
        wanted = [
            TopicPartition(*topic_of(lane, self._url.topics), offset)
            for lane, offset in positions.items()
        ]
        self._consumer.incremental_assign(wanted)

    def _expired(self, lane: int, offset: int, low: int, high: int) -> str:
        return (
            f"{self._names[lane]} holds offsets {low:,} to {high:,}, but {offset:,} is next: what "
            "was not read yet has expired, or the topic was made anew. Nothing was skipped. "
            "Lengthen the topic's retention; to go on without the missing events, start with "
            "another --data."
        )

    def pump(self, seconds: float = 0.0) -> dict[int, LaneMessages]:
        """Take what has come, by lane.

        Raises
        ------
        KafkaProblem
            If the client gives up, or a lane has lost what we want to read.
        """
        messages = self._consumer.consume(self._messages_at_once, seconds)
        taken: dict[int, LaneMessages] = {}
        for first, stop in _runs(messages):
            some = messages[first:stop]
            held = taken.setdefault(self._names.number(*_place(some[0])), LaneMessages())
            if some[0].error() is None:
                held.values += [message.value() or b"" for message in some]
                held.offsets += [message.offset() or 0 for message in some]
            else:
                self._on_message_error(some[0], held)
        if self._fatal is not None:
            raise KafkaProblem(
                f"Kafka at {self._url.brokers}: {_words(self._fatal)}. Correct it and start again; "
                "nothing is lost."
            )
        return taken

    def _on_message_error(self, message: Message, held: LaneMessages) -> None:
        error = message.error()
        assert error is not None
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's own name
            held.is_at_end = True
            held.next_offset = message.offset()
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - the same
            lane = self._names.number(*_place(message))
            low, high = self.bounds(lane)
            raise KafkaProblem(self._expired(lane, message.offset() or 0, low, high))
        elif error.fatal() or error.code() not in PASSING:
            self._fatal = error

    def pause(self, lanes: Iterable[int]) -> None:
        """Take nothing from these lanes until ``resume``; the client holds what it has."""
        self._consumer.pause([TopicPartition(*topic_of(n, self._url.topics)) for n in lanes])

    def resume(self, lanes: Iterable[int]) -> None:
        """Undo ``pause``."""
        self._consumer.resume([TopicPartition(*topic_of(n, self._url.topics)) for n in lanes])

    def new_lanes(self) -> list[int]:
        """Return lanes that were not assigned yet; looks only once in a while."""
        if clock.monotonic_ns() - self._metadata_ns < _METADATA_EVERY_NS:
            return []
        self._metadata_ns = clock.monotonic_ns()
        return [lane for lane in self.lanes() if lane not in self._assigned]

    def commit(self, positions: Iterable[tuple[int, int]]) -> None:
        """Tell the group how far we are for good; nobody waits for it."""
        offsets = [
            TopicPartition(*topic_of(lane, self._url.topics), offset) for lane, offset in positions
        ]
        if offsets:
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def lag(self, lanes: Iterable[int]) -> dict[str, int]:
        """Return by lane name how many messages are known and not read, as the client knows it."""
        found = {}
        for lane in lanes:
            partition = TopicPartition(*topic_of(lane, self._url.topics))
            _, high = self._consumer.get_watermark_offsets(partition, cached=True)
            position = self._consumer.position([partition])[0].offset
            if high >= 0 and position >= 0:
                found[self._names[lane]] = max(0, high - position)
        return found

    def close(self) -> None:
        """Leave the brokers."""
        self._consumer.close()


def _consumer(
    url: KafkaUrl, properties: Mapping[str, str], on_error: Callable[[KafkaError], None]
) -> Consumer:
    own: dict[str, Any] = {
        "bootstrap.servers": url.brokers,
        "group.id": url.group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # a jump would lose events without a word
        "enable.partition.eof": True,
        "queued.max.messages.kbytes": _QUEUED_KIB,
        "fetch.queue.backoff.ms": 10,
        "error_cb": on_error,
        "log_level": 2,
    }
    try:
        return Consumer({**own, **dict(properties)})
    except KafkaException as error:
        raise KafkaProblem(
            f"The Kafka client refuses its settings: {_words(error.args[0])}. "
            "Correct kafka.properties."
        ) from error


def _words(error: KafkaError) -> str:
    return f"{error.name()}: {error.str()}".rstrip(".")


def _runs(messages: Sequence[Message]) -> Iterator[tuple[int, int]]:
    """Yield where messages of one partition stand together; one with an error stands alone."""
    first, held = 0, None
    # One tuple a message, and nothing else: this is the only work done for each by itself. An
    # error is not kept in it: compared with anything but an error it raises where nobody looks.
    keys = [(m.partition(), m.topic(), m.error() is None) for m in messages]
    for at, key in enumerate(keys):
        if key != held or not key[2]:
            if at > first:
                yield first, at
            first, held = at, key
    if messages:
        yield first, len(messages)


def _place(message: Message) -> tuple[str, int]:
    return message.topic() or "", message.partition() or 0


def first_offset(start: str, low: int, high: int) -> int:
    """Return where a lane is begun that nobody has begun before."""
    return high if start == "latest" else low
