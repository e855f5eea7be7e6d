import multiprocessing
import os
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import given, settings
from hypothesis import strategies as st

import flows.store
from flows.store import (
    AlertFilter,
    AlertRow,
    AlertUpdateRow,
    CountRow,
    DeadLetterRow,
    EpisodeRow,
    HeadroomRow,
    NoticeRow,
    RunSummaryRow,
    Store,
    StoreBatch,
    StoreError,
    StoreReader,
    dead_letter_id,
    schema,
    tables,
)
from schemas.alerts import Position, Rule

RULE = Rule(id="r", version=1, pack="p", article="a", parameters_hash="h")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
def store(path: Path) -> Any:
    with Store(path) as opened:
        yield opened


def alert(number: int, **changes: Any) -> AlertRow:
    row = AlertRow(
        alert_id=f"{number:032x}",
        tenant="",
        detector="win_rate",
        rule_id="r",
        account_id=f"A{number % 3}",
        instrument=None,
        subject=f"A{number % 3}",
        severity="high",
        state="open",
        onset_ns=number,
        event_time_ns=2**62 + number // 2,  # two alerts share each moment
        updated_ns=number,
        trading_day="2026-11-20",
        why="Won 19 of 20 round trips.",
        evidence={"wins": 19, "at_ns": 2**62 + 1, "nested": {"ratio": 0.95}},
        counterfactual={"wins_max": 18},
        rule=RULE,
        positions=(Position(lane="a.ndjson", line=7),),
    )
    return msgspec.structs.replace(row, **changes)


def letter(number: int, reason: str = "bad_decimal", lane: str = "a") -> DeadLetterRow:
    return DeadLetterRow(
        id=dead_letter_id(lane, number * 10),
        lane=lane,
        line_number=number,
        byte_offset=number * 10,
        stage="scan",
        reason=reason,
        path="$.price",
        sentence="expected a plain decimal at $.price, got 1..2",
        raw=b"\xff\x00",
    )


def notice(number: int, **changes: Any) -> NoticeRow:
    row = NoticeRow(
        notice_id=f"{number:032x}",
        rule_id="r",
        account_id="A",
        alert_id="0",
        sent_ns=number,
        expires_ns=number + 9,
        state="sent",
    )
    return msgspec.structs.replace(row, **changes)


def test_rows_come_back_as_they_went_in(store: Store) -> None:
    update = AlertUpdateRow(
        eid="e",
        alert_id=f"{1:032x}",
        ordinal=1,
        phase="growth",
        severity="high",
        event_time_ns=5,
        why="Now 29 of 30.",
        evidence={"wins": 29},
        counterfactual={},
    )
    episode = EpisodeRow(
        episode_id="x",
        detector="d",
        subject="s",
        account_id="A",
        alert_id="0",
        opened_ns=1,
        last_ns=2,
    )
    summary = RunSummaryRow(run_key="k", completed=False, summary={"events": 3})
    store.write(
        StoreBatch(
            alerts=[alert(1)],
            alert_updates=[update],
            episodes=[episode],
            notices=[notice(1)],
            dead_letters=[letter(1)],
            run_summary=[summary],
            meta={"tenant": "t"},
        )
    )
    assert store.alerts().rows == [alert(1)]
    assert store.updates(f"{1:032x}") == [update]
    assert store.episodes() == [episode]
    assert store.notices().rows == [notice(1)]
    assert store.dead_letters().rows == [letter(1)]
    assert store.summary("k") == summary
    assert store.summary("other") is None
    assert store.meta("tenant") == "t"
    assert store.meta("other") is None


def test_writing_twice_changes_nothing(store: Store) -> None:
    batch = StoreBatch(
        alerts=[alert(1)],
        notices=[notice(1)],
        dead_letters=[letter(1), letter(1)],
        lane_counts=[CountRow(lane="a", name="accepted", count=5)],
    )
    store.write(batch)
    store.write(batch)
    assert len(store.alerts().rows) == len(store.notices().rows) == 1
    assert len(store.dead_letters().rows) == 1
    assert store.counts() == {"accepted": 5}


def test_an_alert_never_falls_back_to_an_earlier_state(store: Store) -> None:
    store.write(StoreBatch(alerts=[alert(1, state="confirmed", update_count=2)]))
    store.write(StoreBatch(alerts=[alert(1, state="provisional", update_count=0)]))
    assert store.alert("0").state == "confirmed"
    store.write(StoreBatch(alerts=[alert(1, state="closed", update_count=2)]))
    assert store.alert("0").state == "closed"


def test_an_interrupted_write_leaves_nothing(path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(point: str) -> None:
        if point == "store.before_commit":
            raise StoppedError

    with Store(path, on_point=stop) as stopping:
        with pytest.raises(StoppedError):
            stopping.write(StoreBatch(alerts=[alert(1)], dead_letters=[letter(1)]))
        assert stopping.alerts().rows == []
        assert stopping.dead_letters().rows == []


def test_points_are_called_around_the_commit(path: Path) -> None:
    points: list[str] = []
    with Store(path, on_point=points.append) as store:
        store.write(StoreBatch(alerts=[alert(1)]))
    assert points == ["store.before_commit", "store.after_commit"]


def _write_and_die(path: Path) -> None:
    store = Store(path)
    store.write(StoreBatch(alerts=[alert(1)]))
    os._exit(9)


def test_a_reader_sees_what_a_killed_writer_committed(path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_write_and_die, args=(path,))
    child.start()
    child.join()
    assert child.exitcode == 9
    with StoreReader(path) as reader:
        assert reader.alerts().rows == [alert(1)]


def test_readers_read_while_the_writer_is_inside_its_transaction(path: Path) -> None:
    seen: list[int] = []

    def read(point: str) -> None:
        if point == "store.before_commit":
            with StoreReader(path) as reader:
                seen.append(len(reader.alerts().rows))

    with Store(path, on_point=read) as store:
        store.write(StoreBatch(alerts=[alert(1)]))
        store.write(StoreBatch(alerts=[alert(2)]))
    assert seen == [0, 1]


def test_a_copy_on_read_only_media_can_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(path) as store:
        store.write(StoreBatch(alerts=[alert(1)]))
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    before = sorted(path.parent.iterdir())
    with StoreReader(path) as reader:
        assert len(reader.alerts().rows) == 1
        assert sorted(path.parent.iterdir()) == before == [path]


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 9), count=st.integers(0, 25))
def test_pages_together_are_the_whole_list(
    tmp_path_factory: pytest.TempPathFactory, size: int, count: int
) -> None:
    with Store(tmp_path_factory.mktemp("s") / "s.sqlite3") as store:
        store.write(StoreBatch(alerts=[alert(number) for number in range(count)]))
        found, page = [], store.alerts(limit=size)
        found += page.rows
        while page.after is not None:
            page = store.alerts(limit=size, after=page.after)
            found += page.rows
        assert found == list(store.every_alert())
        assert [row.alert_id for row in found] == [f"{n:032x}" for n in reversed(range(count))]


def test_a_new_alert_shifts_no_page(store: Store) -> None:
    store.write(StoreBatch(alerts=[alert(number) for number in range(6)]))
    first = store.alerts(limit=3)
    store.write(StoreBatch(alerts=[alert(99)]))
    second = store.alerts(limit=3, after=first.after)
    assert [int(row.alert_id, 16) for row in first.rows + second.rows] == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (AlertFilter(account_id="A1"), {1, 4}),
        (AlertFilter(state="closed"), {2}),
        (AlertFilter(severity="low"), {3}),
        (AlertFilter(detector="other"), {4}),
        (AlertFilter(rule_id="r2"), {5}),
        (AlertFilter(instrument="600000"), {0}),
        (AlertFilter(trading_day="2026-11-21"), {1}),
        (AlertFilter(tenant="t"), {2}),
        (AlertFilter(since_ns=2**62 + 1, until_ns=2**62 + 2), {2, 3}),
        (AlertFilter(account_id="A1", detector="other"), {4}),
        (AlertFilter(account_id="%"), set()),
    ],
)
def test_alerts_are_filtered_by_every_column(
    store: Store, wanted: AlertFilter, expected: set[int]
) -> None:
    alerts = [
        alert(0, instrument="600000"),
        alert(1, trading_day="2026-11-21"),
        alert(2, state="closed", tenant="t"),
        alert(3, severity="low"),
        alert(4, detector="other"),
        alert(5, rule_id="r2"),
    ]
    store.write(StoreBatch(alerts=alerts))
    assert {int(row.alert_id, 16) for row in store.alerts(wanted).rows} == expected


def test_an_alert_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    store.write(StoreBatch(alerts=[alert(1, alert_id="ab01"), alert(2, alert_id="ab02")]))
    assert store.alert("AB01 ").alert_id == "ab01"
    with pytest.raises(StoreError, match="More than one alert begins with 'ab'"):
        store.alert("ab")
    for unknown in ("ac", "%", ""):
        with pytest.raises(StoreError, match="There is no alert"):
            store.alert(unknown)


def test_alerts_are_counted_by_detector_and_state(store: Store) -> None:
    store.write(StoreBatch(alerts=[alert(1), alert(2), alert(3, state="closed")]))
    assert store.alert_counts() == {"win_rate": {"closed": 1, "open": 2}}


def test_dead_letters_beyond_the_limit_are_only_counted(path: Path) -> None:
    with Store(path, dead_letters_kept_max=3) as store:
        totals = [CountRow(lane="a", name="rejected.bad_decimal", count=5)]
        store.write(StoreBatch(dead_letters=[letter(1), letter(2)]))
        store.write(StoreBatch(dead_letters=[letter(2), letter(3), letter(4)]))
        store.write(StoreBatch(dead_letters=[letter(5), letter(1)], lane_counts=totals))
        assert [row.line_number for row in store.dead_letters().rows] == [1, 2, 3]
        (group,) = store.dead_letter_groups()
        assert (group.reason, group.total, group.kept) == ("bad_decimal", 5, 3)
        assert group.first == letter(1)


def test_dead_letters_come_by_place_and_group_by_reason(store: Store) -> None:
    letters = [letter(3), letter(1, "late"), letter(2), letter(4, lane="b")]
    counts = [CountRow(lane="b", name="rejected.blank_line", count=2)]
    store.write(StoreBatch(dead_letters=letters, lane_counts=counts))
    assert [row.line_number for row in store.dead_letters().rows] == [1, 2, 3, 4]
    first = store.dead_letters(limit=2)
    assert [r.line_number for r in store.dead_letters(limit=2, after=first.after).rows] == [3, 4]
    assert [row.line_number for row in store.dead_letters(lane="b").rows] == [4]
    assert [(g.reason, g.total) for g in store.dead_letter_groups()] == [
        ("bad_decimal", 3),
        ("blank_line", 2),
        ("late", 1),
    ]
    assert store.dead_letter(dead_letter_id("b", 40)[:9]).lane == "b"


def test_notices_are_filtered_by_state_and_account(store: Store) -> None:
    answered = notice(2, state="answered", answered_ns=7, outcome="verified", account_id="B")
    store.write(StoreBatch(notices=[notice(1), answered]))
    assert [row.sent_ns for row in store.notices().rows] == [2, 1]
    assert store.notices(state="sent").rows == [notice(1)]
    assert store.notices(account_id="B").rows == [answered]
    assert store.notice(answered.notice_id) == answered


def test_the_nearest_to_its_figure_stands_first(store: Store) -> None:
    def row(subject: str, value: float, figure: float) -> HeadroomRow:
        return HeadroomRow(
            rule_id="cancels",
            subject=subject,
            account_id=subject,
            instrument=None,
            value=value,
            figure=figure,
            projected_breach_ns=None,
            event_time_ns=1,
        )

    near, far, odd = row("near", 415, 500), row("far", 1, 500), row("odd", 1, 0)
    store.write(StoreBatch(headroom=[far, near, odd]))
    assert store.headroom() == [near, far, odd]
    assert store.headroom(account_id="far", rule_id="cancels") == [far]
    assert store.headroom(rule_id="other") == []


def test_totals_add_up_over_lanes_and_not_over_writes(store: Store) -> None:
    store.write(StoreBatch(lane_counts=[CountRow(lane="a", name="late", count=1)]))
    store.write(StoreBatch(lane_counts=[CountRow(lane="a", name="late", count=3)]))
    store.write(StoreBatch(lane_counts=[CountRow(lane="b", name="late", count=4)]))
    assert store.counts() == {"late": 7}
    assert store.counts("a") == {"late": 3}
    assert store.lanes() == ["a", "b"]


@pytest.mark.parametrize("limit", [0, 1001])
def test_pages_are_bounded(store: Store, limit: int) -> None:
    with pytest.raises(StoreError, match="1 to 1000 rows"):
        store.alerts(limit=limit)


def test_going_on_from_nowhere_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="list again from the start"):
        store.alerts(after="feed")


def test_reading_what_is_not_there_says_what_to_do(path: Path) -> None:
    with pytest.raises(StoreError, match="Run `tapewatch up`"):
        StoreReader(path)
    assert not path.exists()


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"store\.sqlite3: file is not a database"):
        Store(path)


def _set_revision(path: Path, revision: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()


def test_a_newer_store_is_refused_by_both(path: Path) -> None:
    Store(path).close()
    _set_revision(path, "9999")
    for opener in (Store, StoreReader):
        with pytest.raises(StoreError, match="a newer version wrote it"):
            opener(path)


def test_an_older_store_is_not_touched_by_a_reader(path: Path) -> None:
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(StoreError, match="bring it up to date"):
        StoreReader(path)
    assert path.stat().st_size == 0


def test_the_schema_is_migrated_once_and_then_left_alone(path: Path) -> None:
    Store(path).close()
    before = path.read_bytes()
    Store(path).close()
    assert path.read_bytes() == before


def test_migrations_lead_to_the_tables_of_the_code(path: Path) -> None:
    engine = schema.open_to_write(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_revision_of_the_code() -> None:
    folder = Path(flows.store.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_heads() == [tables.SCHEMA_REVISION]
