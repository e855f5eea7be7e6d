"""A simulated day on Kafka: orders on one topic, app events on another, keyed by account."""

from collections.abc import Iterable
from typing import Final

from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from msgspec import Struct
from msgspec import json as msgspec_json

PARTITIONS: Final = 4
_WAIT_SECONDS: Final = 60.0
_POLL_EVERY: Final = 1_000


class _Head(Struct):
    kind: str = ""
    account_id: str = ""


class TopicError(RuntimeError):
    """Kafka did not take what a bench needs; the sentence says what."""


def make_topics(brokers: str, *topics: str) -> None:
    """Create topics of ``PARTITIONS`` partitions.

    Raises
    ------
    KafkaException
        If one exists already, or no broker answers.
    """
    admin = AdminClient({"bootstrap.servers": brokers})
    for done in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in topics]).values():
        done.result(_WAIT_SECONDS)


def publish(brokers: str, lines: Iterable[bytes], orders: str, app: str = "") -> None:
    """Send lines in their order, app events to a topic of their own where ``app`` names one.

    Raises
    ------
    TopicError
        If a message was not taken.
    """
    failed: list[KafkaError] = []
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for number, line in enumerate(lines):
        head = _head(line)
        topic = app if app and head.kind == "app.event" else orders
        producer.produce(
            topic,
            line,
            head.account_id,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
        if number % _POLL_EVERY == 0:
            producer.poll(0)
    if producer.flush(_WAIT_SECONDS) or failed:
        raise TopicError(f"{orders}: {failed[:1] or 'a broker does not answer'}")


def _head(line: bytes) -> _Head:
    try:
        return msgspec_json.decode(line, type=_Head)
    except (ValueError, RecursionError):
        return _Head()  # damaged on purpose
