"""The control log as a Kafka topic with one partition: an order that machines share.

The partition is the truth. Its records are copied, in its order, into the data folder's table, and
read there by every process as if they had been appended to it: the first record of a key counts, a
later one leaves no trace, and so everyone counts the same sequence. What only the one writer
decides, horizon and settled times, stays in the table.

Records have no Kafka key: a broker refuses such records on a topic that it compacts, where the
first record of a key would be the one that is lost.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from msgspec import DecodeError, Struct
from msgspec import json as msgspec_json

from flows import clock
from flows.control import (
    ControlError,
    ControlKind,
    ControlLog,
    ControlRecord,
    content,
    existing,
    insert,
)
from flows.edges.kafka_reader import PASSING
from flows.edges.kafka_sink import parse_sink

WAIT_SECONDS: Final = 20.0  # until a broker must have answered
_AT_ONCE: Final = 1_000
_POLL_SECONDS: Final = 0.1
_VERSION: Final = 1
_READING: Final[dict[str, Any]] = {
    "group.id": "tapewatch-control",  # the library wants one; nothing is committed to it
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "max.poll.interval.ms": 86_400_000,  # nobody waits for this consumer
    "fetch.wait.max.ms": 50,
}
_WRITING: Final[dict[str, Any]] = {"enable.idempotence": True, "acks": "all", "linger.ms": 0}
# After brokers were away, a client may for a moment not know who leads.
_PASSING_HERE: Final = PASSING | {KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001 - the library's own name


class TopicRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record as it stands on the topic."""

    version: int
    kind: ControlKind
    lane: str | None
    effective_ns: int
    key: str
    body: dict[str, Any]


_DECODER: Final = msgspec_json.Decoder(TopicRecord)


@dataclass(frozen=True, slots=True)
class ControlPlace:
    """Where the control log is.

    Attributes
    ----------
    path
        Of the data folder's table.
    url
        ``kafka://HOST:PORT/TOPIC``; empty where the table is all there is.
    properties
        Further properties of the Kafka client.
    """

    path: Path
    url: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


def open_control(place: Path | ControlPlace) -> ControlLog:
    """Open the control log, wherever it is.

    Raises
    ------
    ControlError
        If it cannot be opened, or the data folder's log is somewhere else.
    """
    if isinstance(place, Path):
        return ControlLog(place)
    return TopicControlLog(place) if place.url else ControlLog(place.path)


class TopicControlLog(ControlLog):
    """The log as a topic; any number of processes on any machines may append and read.

    Parameters
    ----------
    place
        With a URL.
    wait_seconds
        How long a broker may take to answer.

    Raises
    ------
    ControlError
        If no broker answers, or the topic is not one for a control log; from every method too.
    """

    def __init__(self, place: ControlPlace, wait_seconds: float = WAIT_SECONDS) -> None:
        self._brokers, self._topic = parse_sink(place.url)
        self._wait_seconds = wait_seconds
        self._fatal: KafkaError | None = None
        self._producer: Producer | None = None
        self._properties = dict(place.properties)
        super().__init__(place.path, topic=self._topic)
        try:
            self._consumer = Consumer(self._own(_READING))
            self._check_topic()
            self._next = self._followed()
            self._consumer.assign([TopicPartition(self._topic, 0, self._next)])
            self._follow_to_end()
        except KafkaException as error:
            super().close()
            raise ControlError(
                f"The Kafka client refuses its settings: {error.args[0].str()}. "
                "Correct kafka.properties."
            ) from error
        except BaseException:
            super().close()
            raise

    def _own(self, more: Mapping[str, Any]) -> dict[str, Any]:
        common = {"bootstrap.servers": self._brokers, "log_level": 2, "error_cb": self._on_error}
        return {**common, **more, **self._properties}

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() not in PASSING:
            self._fatal = error

    def close(self) -> None:
        """Leave the brokers and let go of the file."""
        self._consumer.close()
        super().close()

    def append(
        self,
        kind: ControlKind,
        effective_ns: int,
        body: dict[str, Any],
        key: str,
        *,
        lane: str | None = None,
        applied_ns: int = 0,
    ) -> int:
        """See ``ControlLog.append``; of two that append a key at once, the topic's first counts."""
        wanted = content(kind, lane, body)
        self._follow_to_end()
        with closing(self._connection.cursor()) as cursor:
            held = existing(cursor, key, wanted)
        if held is not None:
            return held
        record = TopicRecord(
            version=_VERSION,
            kind=kind,
            lane=lane,
            effective_ns=max(effective_ns, applied_ns + 1),
            key=key,
            body=body,
        )
        value = msgspec_json.encode(record)
        self._decode(value, "new")  # nothing may come onto the topic that nobody can read
        offset = self._send(value)
        if offset == self._next:  # nobody was faster, so there is nothing to wait for
            self._put([(offset, record)])
        else:
            self._follow_to_end(offset + 1)
        with closing(self._connection.cursor()) as cursor:
            sequence = existing(cursor, key, wanted)
        assert sequence is not None, "what was delivered stands on the topic"
        return sequence

    def read(self, after_sequence: int = 0) -> Iterator[ControlRecord]:
        """See ``ControlLog.read``; what others append comes with a moment's delay."""
        self._take(0.0)
        yield from super().read(after_sequence)

    def _check_topic(self) -> None:
        """Refuse a topic in which there would be more than one order."""
        try:
            described = self._consumer.list_topics(self._topic, self._wait_seconds).topics
        except KafkaException as error:
            raise self._away(error.args[0]) from error
        found = described[self._topic]
        if found.error is not None or not found.partitions:
            raise ControlError(
                f"Kafka at {self._brokers} has no topic {self._topic} for the control log. "
                "Make it, with one partition and retention.ms=-1."
            )
        if len(found.partitions) != 1:
            raise ControlError(
                f"Topic {self._topic} has {len(found.partitions)} partitions, but a control log "
                "has one order. Make a topic with one partition."
            )

    def _followed(self) -> int:
        return int(self._connection.execute("SELECT next_offset FROM followed").fetchone()[0])

    def _follow_to_end(self, least: int = 0) -> None:
        """Copy everything that stands on the topic now, at least what stands before ``least``."""
        until_ns = clock.monotonic_ns() + int(self._wait_seconds * 1e9)
        low, high = self._bounds(until_ns)
        if not low <= self._next <= max(high, least):
            raise ControlError(
                f"Topic {self._topic} holds records {low:,} to {high:,}, but {self._next:,} is "
                "next: what was not read yet has expired, or the topic was made anew. Nothing was "
                "skipped. Set its retention.ms to -1, and start with another --data."
            )
        while self._next < max(high, least):
            self._take(_POLL_SECONDS)
            if clock.monotonic_ns() > until_ns:
                raise self._away(None)

    def _bounds(self, until_ns: int) -> tuple[int, int]:
        """Return the first offset that the topic holds, and the one behind its last."""
        partition = TopicPartition(self._topic, 0)
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(
                    partition, timeout=self._wait_seconds
                )
            except KafkaException as error:
                code = error.args[0].code()
                if code not in _PASSING_HERE or clock.monotonic_ns() > until_ns:
                    raise self._away(error.args[0]) from error
                self._take(_POLL_SECONDS)
            else:
                return int(low), int(high)

    def _take(self, seconds: float) -> None:
        """Copy what has come, or comes within so many seconds."""
        messages = self._consumer.consume(1, seconds)  # more would wait for all of them
        messages += self._consumer.consume(_AT_ONCE, 0.0)
        if self._fatal is not None:
            raise self._away(self._fatal)
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                offset = message.offset() or 0
                records.append((offset, self._decode(message.value() or b"", f"{offset:,}")))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's own name
                self._next = max(self._next, message.offset() or 0)
            elif error.fatal() or error.code() not in PASSING:
                raise self._away(error)
        if records:
            self._put(records)

    def _put(self, records: list[tuple[int, TopicRecord]]) -> None:
        """Copy records into the table, each once, whichever process comes first."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")  # other processes copy the same
            try:
                held = self._followed()
                for offset, record in records:
                    if offset >= held:
                        _copy(cursor, record)
                self._next = max(held, records[-1][0] + 1)
                cursor.execute("UPDATE followed SET next_offset = ?", (self._next,))
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    def _decode(self, value: bytes, name: str) -> TopicRecord:
        try:
            return _DECODER.decode(value)
        except DecodeError as error:
            raise ControlError(
                f"Record {name} of topic {self._topic} is none of a control log ({error}). Give "
                "the control log a topic to which nobody else writes."
            ) from error

    def _send(self, value: bytes) -> int:
        """Send one record and return its offset; durable on return."""
        if self._producer is None:
            self._producer = Producer(self._own(_WRITING | {"message.timeout.ms": self._wait_ms()}))
        producer, self._producer = self._producer, None  # after a failure, begin anew
        told: list[tuple[KafkaError | None, int]] = []
        try:
            producer.produce(
                self._topic,
                value,
                partition=0,
                on_delivery=lambda error, message: told.append((error, message.offset() or 0)),
            )
        except KafkaException as error:
            raise self._away(error.args[0]) from error
        # The client itself gives up after its own timeout; twice that is for a client that hangs.
        until_ns = clock.monotonic_ns() + 2 * self._wait_ms() * 1_000_000
        while not told and clock.monotonic_ns() < until_ns:
            producer.poll(_POLL_SECONDS)
        failed, offset = told[0] if told else (None, -1)
        if offset < 0 or failed is not None:
            raise self._away(failed)
        self._producer = producer
        return offset

    def _wait_ms(self) -> int:
        return int(self._wait_seconds * 1_000)

    def _away(self, error: KafkaError | None) -> ControlError:
        words = "no answer" if error is None else f"{error.name()}: {error.str()}".rstrip(".")
        return ControlError(
            f"The control log, topic {self._topic} of Kafka at {self._brokers}, cannot be used "
            f"({words}). Correct it and start again; nothing is lost."
        )


def _copy(cursor: sqlite3.Cursor, record: TopicRecord) -> None:
    """Put a record behind those in the table, unless its key is there."""
    if cursor.execute("SELECT 1 FROM control WHERE key = ?", (record.key,)).fetchone() is None:
        body = json.dumps(record.body, sort_keys=True)
        insert(cursor, (record.kind, record.lane, record.effective_ns, record.key, body))
