"""The servers that tests start: they serve, come back with their data, and outlive nobody."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from redis import ConnectionError as RedisConnectionError
from servers import kafka
from servers.kafka import KafkaServer
from servers.mock_kafka import DEFAULT_PARTITIONS, PRODUCE_API, MockKafka
from servers.process import HOST, MissingError, ServerFailedError
from servers.redis import RedisServer

from flows import clock

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 30.0
VALUES = [b"%d" % number for number in range(1_000)]
Cluster = KafkaServer | MockKafka
# A Maven that takes its time, counts its calls and brings one jar.
SLOW_MAVEN = """\
#!/bin/sh
for word; do case $word in -DoutputDirectory=*) folder=${word#*=};; esac; done
echo called >>"$CALLS"
sleep 0.3
echo jar >"$folder/kafka_2.13-0.jar"
"""


def settings(cluster: Cluster) -> dict[str, object]:
    return {"bootstrap.servers": cluster.bootstrap, "log_level": 0}


def produce(cluster: Cluster, topic: str, values: Sequence[bytes], partition: int = 0) -> None:
    failed: list[KafkaError] = []
    producer = Producer({**settings(cluster), "enable.idempotence": True})
    for value in values:
        producer.produce(
            topic,
            value,
            partition=partition,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    assert producer.flush(WAIT_SECONDS) == 0
    assert failed == []


def consume(cluster: Cluster, topic: str, count: int, offset: int = 0) -> list[Message]:
    """Return this many messages of partition 0; fewer if they do not come in time."""
    consumer = Consumer({**settings(cluster), "group.id": topic, "auto.offset.reset": "error"})
    found: list[Message] = []
    until_ns = clock.monotonic_ns() + int(WAIT_SECONDS * 1e9)
    with closing(consumer):
        consumer.assign([TopicPartition(topic, 0, offset)])
        while len(found) < count and clock.monotonic_ns() < until_ns:
            for message in consumer.consume(count - len(found), timeout=0.5):
                error = message.error()
                if error is not None:
                    raise KafkaException(error)
                found.append(message)
    return found


def values_of(messages: Sequence[Message]) -> list[bytes | None]:
    return [message.value() for message in messages]


def watermarks(cluster: Cluster, topic: str) -> tuple[int, int]:
    with closing(Consumer({**settings(cluster), "group.id": topic})) as consumer:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=WAIT_SECONDS)
        return low, high


def partition_count(cluster: Cluster, topic: str) -> int:
    known = Producer(settings(cluster)).list_topics(topic, timeout=WAIT_SECONDS)
    return len(known.topics[topic].partitions)


def test_kafka_gives_back_what_it_was_given(kafka_server: KafkaServer) -> None:
    kafka_server.create_topic("given")
    produce(kafka_server, "given", VALUES)

    messages = consume(kafka_server, "given", len(VALUES))

    assert values_of(messages) == VALUES
    assert [message.offset() for message in messages] == list(range(len(VALUES)))


def test_kafka_keeps_its_messages_over_a_kill_and_a_stop(kafka_server: KafkaServer) -> None:
    kafka_server.create_topic("kept", 3)
    produce(kafka_server, "kept", VALUES)
    before = kafka_server.bootstrap, kafka_server.pid

    kafka_server.kill()
    assert not kafka_server.is_running
    kafka_server.start()
    assert values_of(consume(kafka_server, "kept", len(VALUES))) == VALUES

    kafka_server.restart()
    produce(kafka_server, "kept", [b"later"])
    assert values_of(consume(kafka_server, "kept", 1, len(VALUES))) == [b"later"]
    assert partition_count(kafka_server, "kept") == 3
    assert kafka_server.bootstrap == before[0]
    assert kafka_server.pid != before[1]


def test_kafka_forgets_deleted_records(kafka_server: KafkaServer) -> None:
    kafka_server.create_topic("expired")
    produce(kafka_server, "expired", VALUES)

    assert kafka_server.delete_records("expired", 0, 400) == 400

    assert watermarks(kafka_server, "expired") == (400, len(VALUES))
    assert values_of(consume(kafka_server, "expired", 1, 400)) == [b"400"]
    with pytest.raises(KafkaException) as refused:
        consume(kafka_server, "expired", 1, 399)
    assert refused.value.args[0].code() == KafkaError._AUTO_OFFSET_RESET


def test_kafka_makes_topics_and_partitions_when_asked_and_never_else(
    kafka_server: KafkaServer,
) -> None:
    kafka_server.create_topic("grown", 2, retention_ms=3_600_000)
    kafka_server.add_partitions("grown", 5)

    assert partition_count(kafka_server, "grown") == 5
    assert partition_count(kafka_server, "unheard_of") == 0


def test_redis_answers_and_forgets_when_it_restarts(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("forgotten", "1")
        assert client.get("forgotten") == b"1"

    redis_server.restart()

    with redis_server.client() as client:
        assert client.get("forgotten") is None


def test_redis_told_to_keep_comes_back_from_a_kill_with_its_data(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    assert redis_server.is_running  # so that a machine without Redis skips this
    with RedisServer(tmp_path, keep=True) as server:
        with server.client() as client:
            client.set("kept", "1")
        server.kill()
        with server.client() as client, pytest.raises(RedisConnectionError):
            client.ping()
        server.start()
        with server.client() as client:
            assert client.get("kept") == b"1"


def test_a_server_that_cannot_start_says_why(tmp_path: Path, redis_server: RedisServer) -> None:
    server = RedisServer(tmp_path)
    server._port = redis_server._port
    with pytest.raises(
        ServerFailedError, match=r"Redis ended with 1 before it was ready\. The end"
    ):
        # The one that has the port would answer for it.
        raise_unless_ready(server)
    assert not server.is_running
    assert redis_server.is_running


def raise_unless_ready(server: RedisServer) -> None:
    server.is_ready = lambda: False  # type: ignore[method-assign]
    server.start()


@pytest.mark.skipif(sys.platform != "linux", reason="optional: only Linux ends children by itself")
def test_a_server_dies_with_the_process_that_started_it(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    assert redis_server.is_running
    script = (
        "import os, signal, sys; from pathlib import Path; from servers.redis import RedisServer\n"
        "server = RedisServer(Path(sys.argv[1])); server.start()\n"
        "print(server.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = run_python("-c", script, str(tmp_path))
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    server_id = int(ended.stdout)
    gone = is_gone(server_id)
    if not gone:
        os.kill(server_id, signal.SIGKILL)  # a failure here must not leave it behind
    assert gone


def is_gone(process_id: int) -> bool:
    """Wait for the end of somebody else's process."""
    try:
        handle = os.pidfd_open(process_id)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], WAIT_SECONDS)[0])
    finally:
        os.close(handle)


def test_a_machine_without_a_server_skips_with_the_reason_and_fails_in_ci() -> None:
    name = f"{Path(__file__)}::{test_redis_answers_and_forgets_when_it_restarts.__name__}"
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", name)
    bare = {"PATH": str(Path(sys.executable).parent)}

    skipped = run_python(*words, environment={**bare, "CI": ""})
    failed = run_python(*words, environment={**bare, "CI": "true"})

    assert skipped.returncode == 0, skipped.stdout
    assert "redis-server is not installed" in skipped.stdout
    assert failed.returncode == 1, failed.stdout
    assert "required in CI, but skipped" in failed.stdout


def test_kafka_is_not_fetched_outside_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(MissingError, match="`make servers` fetches it once"):
        kafka.find_jars()
    assert list(tmp_path.iterdir()) == []


def test_processes_that_fetch_kafka_at_once_fetch_it_once(tmp_path: Path) -> None:
    maven = tmp_path / "bin" / "mvn"
    maven.parent.mkdir()
    maven.write_text(SLOW_MAVEN)
    maven.chmod(0o755)
    calls, caches = tmp_path / "calls", tmp_path / "caches"
    environment = {
        "PATH": f"{maven.parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(caches),
        "CALLS": str(calls),
    }
    script = "from servers import kafka; print(kafka.fetch_jars())"
    started = [start_python("-c", script, environment=environment) for _ in range(3)]
    said = [process.communicate() for process in started]

    assert calls.read_text() == "called\n", said
    assert all(one == other for one, other in pairwise(said))
    folder = Path(said[0][0].strip())
    assert [path.name for path in folder.iterdir()] == ["kafka_2.13-0.jar"]
    assert sorted(path.name for path in folder.parent.iterdir()) == [
        folder.name,
        f"{folder.name}.lock",
    ]


def test_a_fetch_that_fails_leaves_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho no such planet\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    with pytest.raises(MissingError, match="could not fetch Apache Kafka:\nno such planet"):
        kafka.fetch_jars()
    assert not kafka.jars_folder().exists()


def test_the_mock_gives_back_what_it_was_given(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("given", 3)
    produce(mock_kafka, "given", VALUES)

    assert values_of(consume(mock_kafka, "given", len(VALUES))) == VALUES
    assert partition_count(mock_kafka, "given") == 3
    assert partition_count(mock_kafka, "merely_asked_about") == DEFAULT_PARTITIONS
    assert mock_kafka.bootstrap.startswith(f"{HOST}:")


def test_the_mock_serves_other_processes(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("shared")
    script = (
        "import sys; from confluent_kafka import Producer\n"
        "producer = Producer({'bootstrap.servers': sys.argv[1]})\n"
        "producer.produce('shared', b'hello'); sys.exit(producer.flush(30))"
    )
    assert run_python("-c", script, mock_kafka.bootstrap).returncode == 0
    assert values_of(consume(mock_kafka, "shared", 1)) == [b"hello"]


def test_the_mock_forgets_deleted_records(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("expired")
    produce(mock_kafka, "expired", VALUES)
    mock_kafka.delete_records("expired", 0, 400)

    assert watermarks(mock_kafka, "expired") == (400, len(VALUES))
    with pytest.raises(KafkaException):
        consume(mock_kafka, "expired", 1, 399)
    with pytest.raises(ValueError, match="Unknown topic or partition"):
        mock_kafka.delete_records("unheard_of", 0, 1)


def test_the_mock_goes_down_and_comes_back_with_its_messages(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("kept")
    produce(mock_kafka, "kept", VALUES)
    mock_kafka.set_down()
    with pytest.raises(KafkaException):
        Producer(settings(mock_kafka)).list_topics(timeout=0.5)
    mock_kafka.set_up()
    assert values_of(consume(mock_kafka, "kept", len(VALUES))) == VALUES


def test_the_mock_refuses_as_often_as_it_is_told(mock_kafka: MockKafka) -> None:
    mock_kafka.create_topic("refused")
    mock_kafka.refuse(PRODUCE_API, KafkaError.MSG_SIZE_TOO_LARGE)
    said: list[KafkaError | None] = []
    producer = Producer(settings(mock_kafka))
    for value in (b"first", b"second"):
        producer.produce("refused", value, on_delivery=lambda error, _: said.append(error))
        producer.flush(WAIT_SECONDS)

    assert [error and error.code() for error in said] == [
        KafkaError.MSG_SIZE_TOO_LARGE,
        None,
    ]


def start_python(*words: str, environment: dict[str, str] | None = None) -> "subprocess.Popen[str]":
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(
    *words: str, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    process = start_python(*words, environment=environment)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
