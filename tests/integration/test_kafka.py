"""Kafka in and out: the same alerts as from a file, whatever happens between."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from servers.kafka import KafkaServer
from servers.mock_kafka import MockKafka

from flows import clock
from flows.crash import VARIABLE
from flows.datafolder import Paths
from flows.processes import EXIT_PEER_LOST
from lab.bench import inputs, processes, topics
from lab.bench.content import Content, compare, read_content
from lab.kafka_feed import Feed
from ledger.tokens import PEPPER_SIZE

EVENTS = 12_000
PARTITIONS = 4
WAIT_SECONDS = 60.0
SETTINGS = ("epoch_seconds=0.3", "intake.idle_seconds=3600", "kafka.messages_at_once=150")
LONG_1, LONG_2 = (pytest.param(count, marks=pytest.mark.long) for count in (1, 2))
Cluster = KafkaServer | MockKafka


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("day") / "day.ndjson"
    inputs.write_market(path, EVENTS, 3, 400)
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[MockKafka]:
    with MockKafka() as made:
        yield made


def publish(cluster: Cluster, lines: Iterable[bytes], topic: str, app: str = "") -> None:
    topics.publish(cluster.bootstrap, lines, topic, app)


def make_topics(cluster: Cluster, *topics: str) -> None:
    for topic in topics:
        cluster.create_topic(topic, PARTITIONS)


def command(url: str, data: Path, *more: str, count: int = 1, verb: str = "replay") -> list[str]:
    wanted = ["--input", url] if verb == "up" else [url, "--json"]
    flags = [word for setting in (*SETTINGS, *more) for word in ("--set", setting)]
    return [
        *(sys.executable, "-m", "console.cli", verb, *wanted),
        *("--data", str(data), "--processes", str(count), *flags),
    ]


def run(words: Sequence[str], crash_at: str = "") -> "subprocess.CompletedProcess[str]":
    more = {VARIABLE: crash_at} if crash_at else {}
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        env=processes.environment(more),
        timeout=WAIT_SECONDS * 2,
    )


def summary(words: Sequence[str]) -> dict[str, Any]:
    done = run(words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def alerts(data: Path) -> list[dict[str, Any]]:
    """Return the alerts without what names their place."""
    listed = run(
        [sys.executable, "-m", "console.cli", "alerts", "list", "--data", str(data), "--json"]
    )
    found = [json.loads(line) for line in listed.stdout.splitlines()]
    for alert in found:
        del alert["ledger"]
    return sorted(found, key=lambda alert: str(alert["alert_id"]))


def share_pepper(*folders: Path) -> None:
    """Give data folders the same pepper, so that their contents can be compared."""
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True)
        (folder / "keys").mkdir(mode=0o700)
        (folder / "keys" / "pepper").write_bytes(bytes(range(PEPPER_SIZE)))
        (folder / "keys" / "pepper").chmod(0o600)
        (folder / "tapewatch.lock").touch()


@pytest.mark.parametrize("count", [LONG_1, 2])
def test_a_topic_gives_the_alerts_of_the_file(
    day: Path, cluster: MockKafka, tmp_path: Path, count: int
) -> None:
    topic = f"orders-{count}"
    make_topics(cluster, topic)
    publish(cluster, day.read_bytes().splitlines(), topic)
    share_pepper(tmp_path / "file", tmp_path / "topic")
    from_file = summary([*processes.replay_command([day], tmp_path / "file", 1)])
    url = f"kafka://{cluster.bootstrap}/{topic}?until=end"
    words = command(url, tmp_path / "topic", count=count)
    from_topic = summary(words)
    for name in ("events", "alerts", "accounts", "notices", "late", "duplicates", "rejected"):
        assert from_topic[name] == from_file[name], name
    assert from_topic["complete"]
    assert alerts(tmp_path / "topic") == alerts(tmp_path / "file") != []
    again = summary(words)
    assert again["ledger"] == from_topic["ledger"]


@pytest.fixture(scope="module")
def columns(day: Path, cluster: MockKafka) -> str:
    """Give the URL of the day as Arrow messages, orders and app events on topics of their own."""
    make_topics(cluster, "columns-orders", "columns-app")
    feed = Feed(cluster.bootstrap, "columns-orders", "columns-app")
    assert feed.send_columns(day.read_bytes().splitlines(), 150) == EVENTS
    return f"kafka://{cluster.bootstrap}/columns-orders,columns-app?until=end&format=arrow"


@pytest.mark.long
@pytest.mark.slow
def test_arrow_messages_give_the_alerts_of_lines_whatever_is_killed(
    unbroken: Content, columns: str, tmp_path: Path
) -> None:
    share_pepper(tmp_path / "whole", tmp_path / "killed")
    words = command(columns, tmp_path / "killed", "kafka.messages_at_once=3", count=2)
    killed = run(words, crash_at="snapshot.writer:2")
    assert killed.returncode == -signal.SIGKILL
    assert summary(command(columns, tmp_path / "killed", "kafka.messages_at_once=3"))["complete"]
    assert summary(command(columns, tmp_path / "whole"))["complete"]
    expected = read_content(tmp_path / "whole")
    difference = compare(expected, read_content(tmp_path / "killed"))
    assert difference.is_none, difference
    for part in ("alerts", "notices", "episodes", "headroom"):  # their places differ, no more
        assert expected.parts[part].keys() == unbroken.parts[part].keys() != set()


@pytest.mark.long
@pytest.mark.slow
def test_a_control_log_on_a_topic_survives_a_kill(
    two_topics: str, unbroken: Content, cluster: MockKafka, tmp_path: Path
) -> None:
    cluster.create_topic("control", 1)
    data, setting = tmp_path / "data", f"control.log=kafka://{cluster.bootstrap}/control"
    share_pepper(data)
    killed = run(command(two_topics, data, setting, count=2), crash_at="snapshot.account:40")
    # Whichever process comes to the point first; the run ends with either.
    assert killed.returncode in {-signal.SIGKILL, EXIT_PEER_LOST}
    moved = run(command(two_topics, data))
    assert (moved.returncode, "began in topic control" in moved.stderr) == (4, True)
    assert summary(command(two_topics, data, setting))["complete"]
    difference = compare(unbroken, read_content(data))
    assert difference.is_none, difference
    records = consumed(cluster, "control")
    # Both processes wrote; where both wrote the same at once, the first counts.
    assert len({r["key"] for r in records if r["kind"] == "lane.started"}) == 1 + 2 * PARTITIONS


POINTS = (
    "snapshot.writer:2",
    *(
        pytest.param(point, marks=pytest.mark.long)
        for point in (
            "ledger.before_commit:3",
            "ledger.after_commit:4",
            "store.after_commit:6",
            "between:20",
            "snapshot.account:40",
        )
    ),
)


@pytest.fixture(scope="module")
def two_topics(day: Path, cluster: MockKafka) -> str:
    make_topics(cluster, "live-orders", "live-app")
    publish(cluster, day.read_bytes().splitlines(), "live-orders", "live-app")
    return f"kafka://{cluster.bootstrap}/live-orders,live-app?until=end"


@pytest.fixture(scope="module")
def unbroken(two_topics: str, tmp_path_factory: pytest.TempPathFactory) -> Content:
    data = tmp_path_factory.mktemp("unbroken") / "data"
    share_pepper(data)
    assert summary(command(two_topics, data))["complete"]
    return read_content(data)


@pytest.mark.parametrize("count", [LONG_1, 2])
def test_a_run_that_died_after_its_last_commit_completes(
    day: Path, cluster: MockKafka, tmp_path: Path, count: int
) -> None:
    topic = f"last-{count}"
    make_topics(cluster, topic)
    publish(cluster, day.read_bytes().splitlines(), topic)
    words = command(f"kafka://{cluster.bootstrap}/{topic}?until=end", tmp_path)
    whole = summary(words)
    manifest = Paths(tmp_path).manifest
    manifest.write_text(manifest.read_text().replace('"completed": true', '"completed": false'))
    again = summary([*words, "--processes", str(count)])
    assert again["complete"]
    assert again | {"seconds": 0} == whole | {"seconds": 0}


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_on_two_topics_leaves_what_an_unbroken_one_leaves(
    two_topics: str, unbroken: Content, tmp_path: Path, point: str
) -> None:
    data = tmp_path / "data"
    share_pepper(data)
    count = 1 + point.startswith("snapshot")
    killed = run(command(two_topics, data, count=count), crash_at=point)
    # Of two processes either may come to that point first; the other then says what happened.
    ended = {-signal.SIGKILL} if count == 1 else {-signal.SIGKILL, EXIT_PEER_LOST}
    assert killed.returncode in ended, killed.stderr
    rescaled = 3 - count
    assert summary(command(two_topics, data, count=rescaled))["complete"]
    difference = compare(unbroken, read_content(data))
    assert difference.is_none, difference


def test_refused_messages_are_named_by_partition_and_offset(
    cluster: MockKafka, tmp_path: Path
) -> None:
    cluster.create_topic("damaged", 1)
    good = (
        b'{"kind":"app.event","source":"s","event_id":"1","event_time_ns":1772584453835693051,'
        b'"account_id":"A","name":"open"}'
    )
    pretty = json.dumps(json.loads(good.replace(b'"1"', b'"2"')), indent=1).encode()
    publish(cluster, [good, b"no event", pretty, b""], "damaged")
    url = f"kafka://{cluster.bootstrap}/damaged?until=end"
    found = summary(command(url, tmp_path / "data"))
    assert (found["events"], sum(found["rejected"].values())) == (2, 2)
    words = [sys.executable, "-m", "console.cli", "deadletters", "list"]
    listed = run([*words, "--data", str(tmp_path / "data"), "--json"]).stdout.splitlines()
    letters = sorted((json.loads(each) for each in listed), key=lambda letter: letter["line"])
    assert [(letter["lane"], letter["byte_offset"]) for letter in letters] == [
        ("damaged/0", 1),
        ("damaged/0", 3),
    ]


def test_expired_offsets_stop_the_run_with_what_to_do(
    day: Path, cluster: MockKafka, tmp_path: Path
) -> None:
    cluster.create_topic("expiring", 1)
    publish(cluster, day.read_bytes().splitlines()[:3_000], "expiring")
    words = command(f"kafka://{cluster.bootstrap}/expiring?until=end", tmp_path / "data")
    assert run(words, crash_at="snapshot.writer:1").returncode == -signal.SIGKILL
    cluster.delete_records("expiring", 0, 2_000)
    stopped = run(words)
    assert stopped.returncode == 4
    assert "expiring/0 holds offsets 2,000 to 3,000, but 0 is next" in stopped.stderr
    assert "Nothing was skipped." in stopped.stderr


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (
            "no-such-topic-at-all",
            "has no topic no-such-topic-at-all. Create it, or correct the URL.",
        ),
    ],
)
def test_what_cannot_be_read_is_said(
    kafka_server: KafkaServer, tmp_path: Path, place: str, sentence: str
) -> None:
    stopped = run(command(f"kafka://{kafka_server.bootstrap}/{place}?until=end", tmp_path / "data"))
    assert stopped.returncode == 4
    assert sentence in stopped.stderr


def test_alerts_notices_and_refused_lines_are_published(
    day: Path, cluster: MockKafka, tmp_path: Path
) -> None:
    for topic in ("out-alerts", "out-notices", "out-dead"):
        cluster.create_topic(topic, 1)
    outputs = [
        f"outputs.{kind}=kafka://{cluster.bootstrap}/out-{topic}"
        for kind, topic in (("alerts", "alerts"), ("notices", "notices"), ("dead_letters", "dead"))
    ]
    lines = day.read_bytes().splitlines()
    path = tmp_path / "day.ndjson"
    path.write_bytes(b"\n".join([*lines, b"no event"]) + b"\n")
    data = tmp_path / "data"
    words = processes.replay_command([path], data, 1)
    found = summary([*words, *(word for each in outputs for word in ("--set", each))])
    last = {m["alert_id"]: m for m in consumed(cluster, "out-alerts")}
    for message in last.values():
        del message["ledger"]
    assert sorted(last.values(), key=lambda m: str(m["alert_id"])) == alerts(data)
    assert len({m["notice_id"] for m in consumed(cluster, "out-notices")}) == found["notices"] > 0
    assert [m["reason"] for m in consumed(cluster, "out-dead")] == list(found["rejected"])


def consumed(cluster: Cluster, topic: str) -> list[dict[str, Any]]:
    """Return all messages of partition 0."""
    consumer = Consumer(
        {"bootstrap.servers": cluster.bootstrap, "group.id": topic, "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while True:
        message = consumer.poll(WAIT_SECONDS)
        assert message is not None
        if message.error() is not None:
            assert message.error().code() == KafkaError._PARTITION_EOF
            consumer.close()
            return found
        found.append(json.loads(message.value() or b"{}"))


def start(words: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=processes.environment(),
    )


@pytest.mark.parametrize("count", [1, LONG_2])
def test_a_live_run_stops_when_asked_and_commits_what_is_durable(
    day: Path, cluster: MockKafka, tmp_path: Path, count: int
) -> None:
    topic, group = f"steady-{count}", f"watchers-{count}"
    make_topics(cluster, topic)
    lines = day.read_bytes().splitlines()
    publish(cluster, lines[:6_000], topic)
    url = f"kafka://{cluster.bootstrap}/{topic}?group={group}"
    words = command(url, tmp_path / "data", verb="up", count=count)
    for upto, more in ((6_000, []), (len(lines), lines[6_000:])):
        publish(cluster, more, topic)
        process = start(words)
        wait_for_group(cluster, group, topic, upto)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, said
    share_pepper(tmp_path / "file")
    assert [a["alert_id"] for a in alerts(tmp_path / "data")]


def wait_for_group(cluster: Cluster, group: str, topic: str, count: int) -> None:
    """Wait until a group has committed so many messages of a topic."""
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group})
    wanted = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    until_ns = clock.monotonic_ns() + int(WAIT_SECONDS * 1e9)
    while sum(max(0, p.offset) for p in consumer.committed(wanted, timeout=10)) < count:
        assert clock.monotonic_ns() < until_ns, "the group did not come so far"
    consumer.close()


def test_a_real_broker_that_dies_is_waited_for(
    day: Path, kafka_server: KafkaServer, tmp_path: Path
) -> None:
    kafka_server.create_topic("restarted", PARTITIONS)
    lines = day.read_bytes().splitlines()
    publish(kafka_server, lines[:6_000], "restarted")
    data = tmp_path / "data"
    url = f"kafka://{kafka_server.bootstrap}/restarted?group=waiting"
    process = start(command(url, data, verb="up"))
    wait_for_group(kafka_server, "waiting", "restarted", 6_000)
    kafka_server.kill()
    kafka_server.start()
    publish(kafka_server, lines[6_000:], "restarted")
    wait_for_group(kafka_server, "waiting", "restarted", len(lines))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, said
