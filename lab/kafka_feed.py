"""Topics made and filled from the command line, to try Tapewatch on Kafka.

``python -m lab.kafka_feed topics BROKERS TOPIC:PARTITIONS...`` makes what is missing;
``python -m lab.kafka_feed publish BROKERS TOPIC`` sends a file or a simulated day to it, keyed as
the monitor likes it best.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows import clock
from lab.arrow_feed import encode
from lab.simulator import Market, SimulatorConfig
from schemas.events import SECOND_NS
from schemas.hashing import murmur2_bytes

_ANSWER_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.5
_APP_KINDS: Final = "app."


class FeedProblem(RuntimeError):  # noqa: N818 - people are told of a problem, not of an error
    """Kafka did not take it; the text says what."""


def make_topics(brokers: str, wanted: dict[str, int]) -> list[str]:
    """Make topics of so many partitions, each kept once; return those that were not there.

    Raises
    ------
    FeedProblem
        If one cannot be made, or is there with another number of partitions.
    """
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 2})
    try:
        there = admin.list_topics(timeout=_ANSWER_SECONDS).topics
        missing = [name for name in wanted if name not in there]
        asked = [NewTopic(name, wanted[name], 1) for name in missing]
        for made in (admin.create_topics(asked) if asked else {}).values():
            made.result(_ANSWER_SECONDS)
    except KafkaException as error:
        raise FeedProblem(f"Kafka at {brokers}: {error.args[0].str()}.") from error
    for name in wanted.keys() & there.keys():
        count = len(there[name].partitions)
        if count != wanted[name]:
            raise FeedProblem(f"Topic {name} has {count} partitions already, not {wanted[name]}.")
    _wait_for_leaders(admin, wanted)
    return missing


def _wait_for_leaders(admin: AdminClient, wanted: dict[str, int]) -> None:
    """Wait until whoever asks next finds the topics whole."""
    until_ns = clock.monotonic_ns() + int(_ANSWER_SECONDS * SECOND_NS)
    while True:
        there = admin.list_topics(timeout=_ANSWER_SECONDS).topics
        late = []
        for name, count in wanted.items():
            partitions = there[name].partitions.values() if name in there else ()
            if sum(partition.leader >= 0 for partition in partitions) < count:
                late.append(name)
        if not late:
            return
        if clock.monotonic_ns() > until_ns:
            raise FeedProblem(f"No broker leads all of {', '.join(late)}. Look at Kafka's log.")


class Feed:
    """Sends events to topics, each keyed by its account.

    Parameters
    ----------
    brokers
        HOST:PORT, or several with commas.
    topic
        Where everything goes that goes nowhere else.
    app
        Where app events go; none: they go to ``topic``.
    """

    def __init__(self, brokers: str, topic: str, app: str | None = None) -> None:
        self._topic, self._app = topic, app or topic
        self._failed: KafkaError | None = None
        own: dict[str, Any] = {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "linger.ms": 20,
            "log_level": 2,
            # The monitor's own rule of dealing accounts: an event comes to the process it is for.
            "partitioner": "murmur2_random",
        }
        self._producer = Producer(own)

    def send(self, lines: Iterable[bytes]) -> int:
        """Send every line, in order; return how many, once Kafka has them all.

        Raises
        ------
        FeedProblem
            If Kafka did not take one.
        """
        count = 0
        for line in lines:
            topic, account = self._place(line)
            self._produce(topic, line, key=account)
            count += 1
        self._flush()
        return count

    def _flush(self) -> None:
        while self._producer.flush(_POLL_SECONDS) and self._failed is None:
            pass
        if self._failed is not None:
            raise FeedProblem(f"Kafka did not take an event: {self._failed.str()}.")

    def send_columns(self, lines: Iterable[bytes], rows: int) -> int:
        """Send every line as a row of an Arrow message of up to so many; return how many rows.

        A message holds events of one partition only: all of an account stay in their order.

        Raises
        ------
        FeedProblem
            If Kafka did not take a message.
        """
        counts = {topic: self._partitions(topic) for topic in (self._topic, self._app)}
        held: dict[tuple[str, int], list[bytes]] = {}
        count = 0
        for count, line in enumerate(lines, start=1):  # noqa: B007 - the last is the count
            topic, account = self._place(line)
            # As the partitioner that Java clients use by default deals keys.
            partition = (murmur2_bytes(account.encode()) & 0x7FFFFFFF) % counts[topic]
            some = held.setdefault((topic, partition), [])
            some.append(line)
            if len(some) == rows:
                self._produce(topic, encode(held.pop((topic, partition))), partition=partition)
        for (topic, partition), some in held.items():
            self._produce(topic, encode(some), partition=partition)
        self._flush()
        return count

    def _partitions(self, topic: str) -> int:
        return len(self._producer.list_topics(topic, _ANSWER_SECONDS).topics[topic].partitions)

    def _place(self, line: bytes) -> tuple[str, str]:
        """Return topic and account of a line."""
        kind, account = _kind_and_account(line)
        return (self._app if kind.startswith(_APP_KINDS) else self._topic), account

    def _produce(self, topic: str, value: bytes, **to: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, on_delivery=self._delivered, **to)
            except BufferError:  # full: deliveries make room
                self._producer.poll(_POLL_SECONDS)
            else:
                self._producer.poll(0)
                return

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._failed is None:
            self._failed = error


def _kind_and_account(line: bytes) -> tuple[str, str]:
    """Return what a line says of itself; nothing where it cannot be read."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return "", ""
    if not isinstance(event, dict):
        return "", ""
    return str(event.get("kind", "")), str(event.get("account_id", ""))


def lines_of(path: Path | None, config: SimulatorConfig) -> Iterable[bytes]:
    """Yield the lines of a file, or of a simulated day."""
    if path is None:
        for block in Market(config).blocks(16_384):
            yield from block.splitlines()
        return
    with path.open("rb") as file:
        for line in file:
            yield line.rstrip(b"\r\n")


def _count(text: str) -> tuple[str, int]:
    """Read TOPIC:PARTITIONS."""
    name, _, count = text.rpartition(":")
    if not name or not count.isdecimal() or int(count) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected TOPIC:PARTITIONS, as in orders:8")
    return name, int(count)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    found = argparse.ArgumentParser(prog="python -m lab.kafka_feed", description=__doc__)
    verbs = found.add_subparsers(dest="verb", required=True)
    topics = verbs.add_parser("topics", help="make topics that are missing")
    topics.add_argument("brokers")
    topics.add_argument("topics", nargs="+", type=_count, metavar="TOPIC:PARTITIONS")
    publish = verbs.add_parser("publish", help="send a file or a simulated day")
    publish.add_argument("brokers")
    publish.add_argument("topic")
    publish.add_argument("--app", metavar="TOPIC", help="where app events go; else to the same")
    publish.add_argument("--file", type=Path, help="one event a line; else a day is simulated")
    publish.add_argument("--events", type=int, default=200_000)
    publish.add_argument("--seed", type=int, default=1)
    publish.add_argument("--accounts", type=int, default=10_000)
    publish.add_argument("--format", choices=["json", "arrow"], default="json")
    publish.add_argument("--rows", type=int, default=2_000, help="in a message of Arrow, at most")
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Do what the command line asks for; exit 4 with a sentence where Kafka does not."""
    asked = parser().parse_args(words)
    try:
        if asked.verb == "topics":
            made = make_topics(asked.brokers, dict(asked.topics))
            sys.stdout.write(f"made: {', '.join(made) or 'nothing, all are there'}\n")
            return
        config = SimulatorConfig(events=asked.events, seed=asked.seed, accounts=asked.accounts)
        feed, lines = Feed(asked.brokers, asked.topic, asked.app), lines_of(asked.file, config)
        count = (
            feed.send_columns(lines, asked.rows) if asked.format == "arrow" else feed.send(lines)
        )
        sys.stdout.write(f"sent: {count:,} events\n")
    except FeedProblem as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(4)


if __name__ == "__main__":
    main()
