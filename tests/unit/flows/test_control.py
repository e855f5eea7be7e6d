import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from flows import control
from flows.control import ControlError, ControlLog, ControlRecord


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sqlite3"


def test_records_come_back_in_the_order_they_were_appended(path: Path) -> None:
    with ControlLog(path) as log:
        first = log.append("heartbeat", 50, {"position": 7}, "h1", lane="a")
        second = log.append("config", 40, {"detectors.win_rate.min_units": 20}, "c1")
        assert (first, second) == (1, 2)
    with ControlLog(path) as log:
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


def test_one_act_is_one_record_however_often_appended(path: Path) -> None:
    with ControlLog(path) as log:
        assert log.append("notice.answered", 5, {"a": 1, "b": 2}, "n1") == 1
        assert log.append("notice.answered", 9, {"b": 2, "a": 1}, "n1", applied_ns=99) == 1
        assert log.append("notice.answered", 5, {}, "n2") == 2
        assert [record.effective_ns for record in log.read()] == [5, 5]


@pytest.mark.parametrize(
    ("kind", "lane", "body"),
    [("silence", None, {"a": 1}), ("config", "lane", {"a": 1}), ("config", None, {"a": 2})],
)
def test_one_key_with_two_contents_is_refused(
    path: Path, kind: control.ControlKind, lane: str | None, body: dict[str, int]
) -> None:
    with ControlLog(path) as log:
        log.append("config", 5, {"a": 1}, "k")
        with pytest.raises(ControlError, match="'k' as record 1 with other content"):
            log.append(kind, 5, body, "k", lane=lane)
        assert log.last_sequence() == 1


@pytest.mark.parametrize(("effective", "applied", "written"), [(5, 9, 10), (9, 9, 10), (12, 9, 12)])
def test_nothing_takes_effect_before_what_was_applied(
    path: Path, effective: int, applied: int, written: int
) -> None:
    with ControlLog(path) as log:
        log.append("config", effective, {}, "k", applied_ns=applied)
        assert next(log.read()).effective_ns == written


def test_reading_goes_on_after_what_was_read(path: Path) -> None:
    with ControlLog(path) as log:
        for number in range(5):
            log.append("config", number, {}, str(number))
        assert [record.sequence for record in log.read(after_sequence=3)] == [4, 5]
        assert list(log.read(after_sequence=5)) == []


def test_long_logs_are_read_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_PAGE_SIZE", 3)
    with ControlLog(path) as log:
        for number in range(10):
            log.append("config", number, {}, str(number))
        assert [record.sequence for record in log.read()] == list(range(1, 11))


def test_an_empty_log_has_sequence_zero(path: Path) -> None:
    with ControlLog(path) as log:
        assert log.last_sequence() == 0
        assert list(log.read()) == []


def test_an_unknown_kind_is_our_bug(path: Path) -> None:
    with ControlLog(path) as log, pytest.raises(ValueError, match="gossip"):
        log.append("gossip", 1, {}, "k")  # type: ignore[arg-type]


def test_what_is_not_json_leaves_no_trace(path: Path) -> None:
    with ControlLog(path) as log:
        with pytest.raises(ValueError, match="JSON compliant"):
            log.append("config", 1, {"x": float("nan")}, "k")
        with pytest.raises(sqlite3.IntegrityError):
            log.append("config", 1, {}, None)  # type: ignore[arg-type]
        assert log.append("config", 1, {}, "k") == 1


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"no database" * 100)
    with pytest.raises(ControlError, match="Cannot open the control log"):
        ControlLog(path)


def _append_many(path: Path, name: str) -> None:
    with ControlLog(path) as log:
        for number in range(50):
            log.append("config", number, {}, f"shared-{number}")
            log.append("config", number, {}, f"{name}-{number}")


def test_processes_share_one_order_without_gaps_or_repeats(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_append_many, args=(path, name)) for name in "ab"]
    for child in children:
        child.start()
    for child in children:
        child.join()
    with ControlLog(path) as log:
        records = list(log.read())
    assert [record.sequence for record in records] == list(range(1, 151))
    assert len({record.key for record in records}) == 150
