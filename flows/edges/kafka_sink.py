"""Topics that other programs read: alerts, notices, dead letters, each by its key.

What is published was committed before, so a crash can only publish it again, with the same key and
content. A message that Kafka does not take stops the run: it goes on from its last snapshot, and
so publishes what is missing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from flows.edges.kafka_url import KafkaProblem, check_topic, is_address

Record = tuple[str, bytes]  # key, value
_FLUSH_SECONDS: Final = 1.0
_LINGER_MS: Final = 2


class Sink(Protocol):
    """Where records go."""

    def send(self, records: Sequence[Record]) -> None:
        """Hand records over; durable on return."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class KafkaSink:
    """One topic.

    Parameters
    ----------
    url
        ``kafka://HOST:PORT[,HOST:PORT]/TOPIC``.
    properties
        Further properties of the client library.
    on_waiting
        Called every second while Kafka has not taken what was sent: waiting is not hanging.

    Raises
    ------
    KafkaProblem
        If the client refuses its settings.
    """

    def __init__(
        self,
        url: str,
        properties: Mapping[str, str],
        on_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self._brokers, self._topic = parse_sink(url)
        self._on_waiting = on_waiting
        self._failed: KafkaError | None = None
        own: dict[str, Any] = {
            "bootstrap.servers": self._brokers,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": _LINGER_MS,
            "partitioner": "murmur2_random",  # as every Java client deals keys
            "log_level": 2,
        }
        try:
            self._producer = Producer({**own, **dict(properties)})
        except KafkaException as error:
            raise KafkaProblem(
                f"The Kafka client refuses its settings: {error.args[0].str()}. "
                "Correct kafka.properties."
            ) from error

    def send(self, records: Sequence[Record]) -> None:
        """See ``Sink``.

        Raises
        ------
        KafkaProblem
            If a message was not taken, however long the client tried.
        """
        for key, value in records:
            self._produce(key, value)
        while self._producer.flush(_FLUSH_SECONDS) and self._failed is None:
            self._on_waiting()
        if self._failed is not None:
            raise KafkaProblem(
                f"Kafka at {self._brokers} did not take a message for topic {self._topic} "
                f"({self._failed.name()}: {self._failed.str()}). Correct it and start again: what "
                "was not published is published then."
            )

    def _produce(self, key: str, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
            except BufferError:  # full: deliveries make room
                self._producer.poll(_FLUSH_SECONDS)
                self._on_waiting()
            else:
                return

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._failed is None:
            self._failed = error

    def close(self) -> None:
        """Let go; everything sent is durable already."""
        self._producer.flush(_FLUSH_SECONDS)


def parse_sink(url: str) -> tuple[str, str]:
    """Return brokers and topic of a sink's URL.

    Raises
    ------
    ValueError
        With a sentence saying what is wrong with it.

    Examples
    --------
    >>> parse_sink("kafka://127.0.0.1:9092/tapewatch.alerts")
    ('127.0.0.1:9092', 'tapewatch.alerts')
    """
    parts = urlsplit(url)
    brokers, topic = parts.netloc, parts.path.removeprefix("/")
    if parts.scheme != "kafka" or parts.query or not all(map(is_address, brokers.split(","))):
        raise ValueError(f"{url}: expected kafka://HOST:PORT/TOPIC, with a port for every broker.")
    check_topic(url, topic)
    return brokers, topic


def send_all(sink: Sink | None, records: Iterable[Record]) -> None:
    """Send records where there is a sink and anything to send."""
    if sink is not None and (some := list(records)):
        sink.send(some)
