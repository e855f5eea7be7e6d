"""The feed to Kafka: events to their topics, each under its account."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from servers.mock_kafka import MockKafka

from lab import kafka_feed

ORDER = b'{"kind":"order.new","account_id":"A"}'
APP = b'{"kind":"app.event","account_id":"B"}'


def messages(cluster: MockKafka, topic: str, count: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = consumer.consume(count, timeout=30)
    consumer.close()
    return found


def test_a_file_is_sent_by_kind_and_keyed_by_account(
    mock_kafka: MockKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for topic in ("orders", "app"):
        mock_kafka.create_topic(topic, 1)
    path = tmp_path / "day.ndjson"
    path.write_bytes(b"\n".join([ORDER, APP, b"no event", b"[1]"]) + b"\n")
    words = ["publish", mock_kafka.bootstrap, "orders", "--app", "app", "--file", str(path)]
    kafka_feed.main(words)
    assert capsys.readouterr().out == "sent: 4 events\n"
    orders, app = messages(mock_kafka, "orders", 3), messages(mock_kafka, "app", 1)
    assert [(m.key() or b"", m.value()) for m in orders] == [
        (b"A", ORDER),
        (b"", b"no event"),
        (b"", b"[1]"),
    ]
    assert [(m.key(), m.value()) for m in app] == [(b"B", APP)]


def test_a_topic_with_other_partitions_is_left_alone_and_said(
    mock_kafka: MockKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    mock_kafka.create_topic("there", 2)
    with pytest.raises(SystemExit) as end:
        kafka_feed.main(["topics", mock_kafka.bootstrap, "there:8"])
    assert end.value.code == 4
    assert capsys.readouterr().err == "Topic there has 2 partitions already, not 8.\n"


@pytest.mark.parametrize("text", ["orders", "orders:0", ":8", "orders:x"])
def test_what_names_no_topic_and_partitions_is_refused(text: str) -> None:
    with pytest.raises(SystemExit):
        kafka_feed.main(["topics", "127.0.0.1:9", text])
