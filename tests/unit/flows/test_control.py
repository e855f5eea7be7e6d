import multiprocessing
import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from servers.mock_kafka import PRODUCE_API, MockKafka

from flows import control
from flows.control import ControlError, ControlLog, ControlRecord
from flows.control_topic import ControlPlace, TopicControlLog, open_control
from flows.edges.kafka_sink import KafkaSink


@pytest.fixture(params=["table", "mock topic", "topic"])
def path(request: pytest.FixtureRequest, tmp_path: Path | ControlPlace) -> Path | ControlPlace:
    """Give each form of the log that there is: all keep one contract."""
    table = tmp_path / "control.sqlite3"
    if request.param == "table":
        return table
    name = "mock_kafka" if request.param == "mock topic" else "kafka_server"
    cluster = request.getfixturevalue(name)
    topic = f"control-{uuid.uuid4().hex[:12]}"
    cluster.create_topic(topic, 1)
    return ControlPlace(table, f"kafka://{cluster.bootstrap}/{topic}")


def reopened(place: Path | ControlPlace, folder: Path) -> Path | ControlPlace:
    """Give the log as another machine has it, which has the topic alone in common."""
    if isinstance(place, Path):
        return place
    folder.mkdir()
    return replace(place, path=folder / "control.sqlite3")


def test_records_come_back_in_the_order_they_were_appended(
    path: Path | ControlPlace, tmp_path: Path
) -> None:
    with open_control(path) as log:
        first = log.append("heartbeat", 50, {"position": 7}, "h1", lane="a")
        second = log.append("config", 40, {"detectors.win_rate.min_units": 20}, "c1")
        assert (first, second) == (1, 2)
    with open_control(reopened(path, tmp_path / "other")) as log:
        assert list(log.read()) == [
            ControlRecord(
                sequence=1,
                kind="heartbeat",
                lane="a",
                effective_ns=50,
                key="h1",
                body={"position": 7},
            ),
            ControlRecord(
                sequence=2,
                kind="config",
                lane=None,
                effective_ns=40,
                key="c1",
                body={"detectors.win_rate.min_units": 20},
            ),
        ]


def test_one_act_is_one_record_however_often_appended(path: Path | ControlPlace) -> None:
    with open_control(path) as log:
        assert log.append("notice.answered", 5, {"a": 1, "b": 2}, "n1") == 1
        assert log.append("notice.answered", 9, {"b": 2, "a": 1}, "n1", applied_ns=99) == 1
        assert log.append("notice.answered", 5, {}, "n2") == 2
        assert [record.effective_ns for record in log.read()] == [5, 5]


@pytest.mark.parametrize(
    ("kind", "lane", "body"),
    [("silence", None, {"a": 1}), ("config", "lane", {"a": 1}), ("config", None, {"a": 2})],
)
def test_one_key_with_two_contents_is_refused(
    path: Path | ControlPlace, kind: control.ControlKind, lane: str | None, body: dict[str, int]
) -> None:
    with open_control(path) as log:
        log.append("config", 5, {"a": 1}, "k")
        with pytest.raises(ControlError, match="'k' as record 1 with other content"):
            log.append(kind, 5, body, "k", lane=lane)
        assert log.last_sequence() == 1


@pytest.mark.parametrize(("effective", "applied", "written"), [(5, 9, 10), (9, 9, 10), (12, 9, 12)])
def test_nothing_takes_effect_before_what_was_applied(
    path: Path | ControlPlace, effective: int, applied: int, written: int
) -> None:
    with open_control(path) as log:
        log.append("config", effective, {}, "k", applied_ns=applied)
        assert next(log.read()).effective_ns == written


def test_reading_goes_on_after_what_was_read(path: Path | ControlPlace) -> None:
    with open_control(path) as log:
        for number in range(5):
            log.append("config", number, {}, str(number))
        assert [record.sequence for record in log.read(after_sequence=3)] == [4, 5]
        assert list(log.read(after_sequence=5)) == []


def test_long_logs_are_read_whole(
    path: Path | ControlPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_PAGE_SIZE", 3)
    with open_control(path) as log:
        for number in range(10):
            log.append("config", number, {}, str(number))
        assert [record.sequence for record in log.read()] == list(range(1, 11))


def test_an_empty_log_has_sequence_zero(path: Path | ControlPlace) -> None:
    with open_control(path) as log:
        assert log.last_sequence() == 0
        assert list(log.read()) == []


def test_an_unknown_kind_is_our_bug(path: Path | ControlPlace) -> None:
    with open_control(path) as log, pytest.raises(ValueError, match="gossip"):
        log.append("gossip", 1, {}, "k")  # type: ignore[arg-type]


def test_what_is_not_json_leaves_no_trace(path: Path | ControlPlace) -> None:
    with open_control(path) as log:
        with pytest.raises(ValueError, match="JSON compliant"):
            log.append("config", 1, {"x": float("nan")}, "k")
        with pytest.raises((sqlite3.IntegrityError, ControlError)):
            log.append("config", 1, {}, None)  # type: ignore[arg-type]
        assert log.append("config", 1, {}, "k") == 1


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite3"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(ControlError, match="Cannot open the control log"):
        ControlLog(path)


def test_the_horizon_only_rises_and_moves_what_comes_behind_it(path: Path | ControlPlace) -> None:
    with open_control(path) as log:
        assert log.horizon_ns() is None
        log.append("config", 5, {}, "before")
        before = log.settle(next(log.read()))
        log.raise_horizon(100)
        log.raise_horizon(50)
        assert log.horizon_ns() == 100
        log.append("config", 60, {}, "behind")
        log.append("config", 500, {}, "beyond")
        settled = [log.settle(record).effective_ns for record in log.read(after_sequence=1)]
        assert (before.effective_ns, *settled) == (5, 101, 500)
        log.raise_horizon(1_000)
    with open_control(path) as log:
        assert log.horizon_ns() == 1_000
        assert [log.settle(record).effective_ns for record in log.read()] == [5, 101, 500]


def _append_many(path: Path | ControlPlace, name: str) -> None:
    with open_control(path) as log:
        for number in range(30):
            log.append("config", number, {}, f"shared-{number}")
            log.append("config", number, {}, f"{name}-{number}")


def test_writers_share_one_order_without_gaps_or_repeats(
    path: Path | ControlPlace, tmp_path: Path
) -> None:
    other = reopened(path, tmp_path / "other")
    with ThreadPoolExecutor() as pool:
        # Two of one folder, and one of another, as on another machine.
        list(pool.map(_append_many, (path, path, other), "abc"))
    found = []
    for place in (path, other):
        with open_control(place) as log:
            found.append(list(log.read()))
    assert found[0] == found[1]
    assert [record.sequence for record in found[0]] == list(range(1, 121))
    assert len({record.key for record in found[0]}) == 120


def test_processes_share_one_table(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "control.sqlite3"
    children = [context.Process(target=_append_many, args=(path, name)) for name in "ab"]
    for child in children:
        child.start()
    for child in children:
        child.join()
    with ControlLog(path) as log:
        assert [record.sequence for record in log.read()] == list(range(1, 91))


def topic_of(cluster: MockKafka, folder: Path, name: str, partitions: int = 1) -> ControlPlace:
    cluster.create_topic(name, partitions)
    return ControlPlace(folder / "control.sqlite3", f"kafka://{cluster.bootstrap}/{name}")


def test_of_two_that_append_a_key_at_once_the_first_counts(
    mock_kafka: MockKafka, tmp_path: Path
) -> None:
    place = topic_of(mock_kafka, tmp_path, "race")
    with open_control(place) as log, open_control(reopened(place, tmp_path / "b")) as other:
        assert isinstance(other, TopicControlLog)
        send = other._send

        def overtaken(value: bytes) -> int:
            assert log.append("config", 7, {"a": 1}, "k") == 1
            return send(value)

        other._send = overtaken  # type: ignore[method-assign]
        assert other.append("config", 9, {"a": 1}, "k") == 1
        other._send = lambda value: (log.append("hold", 1, {}, "k2"), send(value))[1]  # type: ignore[method-assign]
        with pytest.raises(ControlError, match="'k2' as record 2 with other content"):
            other.append("config", 1, {}, "k2")
        other._send = send  # type: ignore[method-assign]
        assert other.append("config", 1, {}, "k3") == 3
        for each in (log, other):
            while each.last_sequence() < 3:  # what others append comes with a moment's delay
                list(each.read())
            assert [(r.key, r.effective_ns) for r in each.read()] == [
                ("k", 7),
                ("k2", 1),
                ("k3", 1),
            ]


def test_a_broker_that_is_away_is_named_and_nobody_waits_for_ever(
    mock_kafka: MockKafka, tmp_path: Path
) -> None:
    place = topic_of(mock_kafka, tmp_path, "away")
    with open_control(place) as log:
        log.append("config", 1, {}, "a")
    with TopicControlLog(place) as log:
        mock_kafka.set_down()
        log._wait_seconds = 1  # it was patient with a busy machine until here
        assert [record.key for record in log.read()] == ["a"]  # what is copied can be read
        with pytest.raises(ControlError, match=r"topic away of Kafka at .* cannot be used"):
            log.append("config", 1, {}, "b")
        with pytest.raises(ControlError, match="start again; nothing is lost"):
            TopicControlLog(replace(place, path=tmp_path / "other"), wait_seconds=1)
    mock_kafka.set_up()
    assert appended_once_up(place) in {2, 3}  # b may have come through after all


def appended_once_up(place: ControlPlace) -> int:
    """Append as a run does that is started again: the broker may need more than one start."""
    for _ in range(3):
        try:
            with TopicControlLog(place, wait_seconds=20) as log:
                return log.append("config", 1, {}, "c")
        except ControlError as error:
            assert "start again" in str(error)  # noqa: PT017 - the next start decides
    raise AssertionError("the broker did not come back")


def test_a_record_that_is_not_taken_was_not_appended(mock_kafka: MockKafka, tmp_path: Path) -> None:
    place = topic_of(mock_kafka, tmp_path, "refusing")
    with TopicControlLog(place) as log:
        mock_kafka.refuse(PRODUCE_API, KafkaError.TOPIC_AUTHORIZATION_FAILED)
        with pytest.raises(ControlError, match="TOPIC_AUTHORIZATION_FAILED"):
            log.append("config", 1, {}, "a")
        assert log.append("config", 1, {}, "a") == 1


@pytest.mark.parametrize(
    ("partitions", "sentence"),
    [(3, "has 3 partitions, but a control log has one order")],
)
def test_a_topic_of_several_orders_is_refused(
    mock_kafka: MockKafka, tmp_path: Path, partitions: int, sentence: str
) -> None:
    with pytest.raises(ControlError, match=sentence):
        open_control(topic_of(mock_kafka, tmp_path, "wide", partitions))


def test_what_others_write_on_the_topic_is_refused(mock_kafka: MockKafka, tmp_path: Path) -> None:
    place = topic_of(mock_kafka, tmp_path, "shared")
    KafkaSink(place.url, {}).send([("k", b'{"version":1}')])
    with pytest.raises(ControlError, match="Record 0 of topic shared is none of a control log"):
        open_control(place)


def test_records_that_expired_unread_stop_the_run(mock_kafka: MockKafka, tmp_path: Path) -> None:
    place = topic_of(mock_kafka, tmp_path, "expired")
    with open_control(place) as log:
        for number in range(4):
            log.append("config", 1, {}, str(number))
    mock_kafka.delete_records("expired", 0, 2)
    with open_control(place) as log:  # this folder has them
        assert log.last_sequence() == 4
    with pytest.raises(ControlError, match="holds records 2 to 4, but 0 is next"):
        open_control(replace(place, path=tmp_path / "new.sqlite3"))


def test_a_folder_keeps_the_form_of_its_log(mock_kafka: MockKafka, tmp_path: Path) -> None:
    place = topic_of(mock_kafka, tmp_path, "first")
    open_control(place).close()
    second = topic_of(mock_kafka, tmp_path, "second")
    for other in (place.path, second):
        with pytest.raises(ControlError, match=r"began in topic first, and control\.log now"):
            open_control(other)
    table = tmp_path / "table.sqlite3"
    with open_control(table) as log:
        log.append("config", 1, {}, "a")
    with pytest.raises(ControlError, match="began in the data folder itself"):
        open_control(replace(place, path=table))


def test_a_client_that_refuses_its_settings_says_so(tmp_path: Path) -> None:
    url = "kafka://127.0.0.1:9/control"
    place = ControlPlace(tmp_path / "c.sqlite3", url, {"no.such.property": "1"})
    with pytest.raises(ControlError, match=r"Correct kafka\.properties"):
        open_control(place)
