import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import orjson
import pytest
from ledger_fold import contents_of, entries_of, fold, stored
from msgspec import structs
from policy_parts import (
    ACCOUNT,
    DAY_NS,
    EXPIRY_NS,
    OTHER,
    WIN_RATE,
    alert_of,
    answer,
    at,
    finding,
    make_policy,
    message,
    notice_of,
)

from flows.control import ControlLog
from flows.policy import PolicyState
from flows.steps import LostLine, ShardMessage
from flows.store import Store, StoreReader
from flows.topics import OutboxNotice
from flows.writer import HORIZON_STEP_NS, WriterOutputs, WriterStep
from ledger.errors import LedgerRolledBack
from ledger.writer import LedgerWriter
from schemas.columns import Rejected
from schemas.events import SECOND_NS

OPENING = finding("opening", 1)
NOTICE = notice_of(alert_of(OPENING))


class Desk:
    """A writer with outputs in a folder, to be opened again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"

    def open(self, kept: dict[str, object] | None = None, shards: int = 1) -> WriterStep:
        outputs = WriterOutputs(
            ledger=LedgerWriter(self.ledger, "test/log", lambda: 5),
            store=Store(self.folder / "store.sqlite3"),
            control=ControlLog(self.folder / "control.sqlite3"),
            outbox=self.folder / "outbox",
        )
        state = None
        if kept is not None:
            state = msgspec.json.decode(kept["policy"], type=PolicyState)  # type: ignore[arg-type]
        step = WriterStep(make_policy(state, shards), outputs, "run", shards)
        try:
            if kept is not None:
                step.restore(kept)
        except LedgerRolledBack:
            step.close()
            raise
        return step

    def reader(self) -> StoreReader:
        return StoreReader(self.folder / "store.sqlite3")

    def outbox(self) -> OutboxNotice:
        path = self.folder / "outbox" / f"{NOTICE}.json"
        return msgspec.json.decode(path.read_bytes(), type=OutboxNotice)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def numbered(*messages: ShardMessage) -> Iterator[ShardMessage]:
    for number, one in enumerate(messages):
        yield structs.replace(one, number=number)


def lost(line: int, reason: str = "bad_decimal") -> LostLine:
    rejected = Rejected(reason, "validate", "$.price", "a number", "x", line, 100 * line, b"{}")
    return LostLine(lane="lane", line_number=line, rejected=rejected)


def story() -> list[ShardMessage]:
    """Give messages in which everything happens to an account and most things to another."""
    judged = structs.replace(
        finding("withdrawn", 10, rule_id=OTHER), trigger=("trading_day", "2026-03-02"), why="not"
    )
    judged = structs.replace(judged, event_time_ns=judged.day_end_ns)
    return list(
        numbered(
            message(OPENING, finding("opening", 1, rule_id=OTHER, account_id="another-account")),
            message(
                finding("growth", 5),
                finding("provisional", 10, rule_id=OTHER),
                office=[answer(NOTICE, 3)],
                lost=[lost(4), lost(5, "bad_escape")],
            ),
            message(finding("growth", 20), finding("receded", 30)),
            message(finding("growth", 86_400), watermark_ns=at(86_000)),
            message(
                judged,
                watermark_ns=at(86_400) + EXPIRY_NS + 1,
                totals={"events": 9, "late": 1, "accounts": 2},
            ),
            message(closed_until_ns=2**62, is_last=True, totals={"events": 10, "late": 1}),
        )
    )


def test_the_store_holds_what_the_ledgers_entries_amount_to(desk: Desk) -> None:
    step = desk.open()
    for one in story():
        step.take([one])
        with desk.reader() as reader:
            assert stored(reader) == fold(entries_of(desk.ledger))
    step.close()
    alerts, notices = fold(entries_of(desk.ledger))
    assert len(alerts) == 4
    assert sorted(notice["state"] for notice in notices.values()) == ["expired", "rechecked"]


def test_batches_of_messages_make_no_difference(desk: Desk, tmp_path: Path) -> None:
    one_by_one, at_once = desk, Desk(tmp_path / "at-once")
    at_once.folder.mkdir()
    step = one_by_one.open()
    for one in story():
        step.take([one])
    whole = at_once.open()
    whole.take(story())
    assert contents_of(one_by_one.ledger) == contents_of(at_once.ledger)
    ours, theirs = step.summary(), whole.summary()
    assert ours == theirs
    step.close()
    whole.close()


@pytest.mark.parametrize("crash_after", range(7))
@pytest.mark.parametrize("snapshot_at", range(4))
def test_a_replay_after_a_crash_adds_nothing(
    desk: Desk, crash_after: int, snapshot_at: int
) -> None:
    messages = story()
    step, kept = desk.open(), None
    for number, one in enumerate(messages[:crash_after]):
        if number == snapshot_at:
            kept = step.snapshot()
        step.take([one])
    step.close()  # everything is durable after every ``take``, so a crash leaves as much
    again = desk.open(kept)
    again.take(messages[0 if kept is None else snapshot_at :])
    assert again.is_complete()
    again.close()
    entries = entries_of(desk.ledger)
    assert "divergence" not in {entry["kind"] for entry in entries}
    assert len({entry["eid"] for entry in entries}) == len(entries)
    with desk.reader() as reader:
        assert stored(reader) == fold(entries)
        assert reader.counts() == {"rejected.bad_decimal": 1, "rejected.bad_escape": 1}
        summary = reader.summary("run")
    assert summary is not None
    assert summary.completed
    assert summary.summary["events"] == 10
    assert desk.outbox().state == "rechecked"


def test_a_snapshot_ahead_of_the_ledger_is_refused(desk: Desk) -> None:
    step = desk.open()
    step.take(story()[:1])
    kept = step.snapshot()
    step.close()
    for path in sorted(desk.ledger.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(LedgerRolledBack):
        desk.open(kept)


def test_a_message_out_of_turn_stops_the_process(desk: Desk) -> None:
    step = desk.open()
    with pytest.raises(AssertionError, match="sent block 1, 0 is next"):
        step.take([story()[1]])
    step.close()


def test_the_run_is_complete_when_every_shard_has_ended(desk: Desk) -> None:
    step = desk.open(shards=2)
    step.take([message(shard=0, is_last=True)])
    assert not step.is_complete()
    step.take([message(shard=1, is_last=True)])
    assert step.is_complete()
    step.close()


def test_totals_are_summed_over_shards_and_replace_each_other(desk: Desk) -> None:
    step = desk.open(shards=2)
    step.take([message(totals={"events": 5}), message(shard=1, totals={"events": 7})])
    step.take([message(number=1, totals={"events": 6, "late": 1})])
    assert (step.summary()["events"], step.summary()["late"]) == (13, 1)
    kept = step.snapshot()
    step.close()
    again = desk.open(kept, shards=2)
    assert again.summary()["events"] == 13
    again.close()


def test_a_quiet_message_writes_nothing_but_the_end_is_summarised(desk: Desk) -> None:
    step = desk.open()
    step.take([message(totals={"events": 5})])
    with desk.reader() as reader:
        assert reader.summary("run") is None
    step.close()
    with desk.reader() as reader:
        held = reader.summary("run")
    assert held is not None
    assert (held.summary["events"], held.completed) == (5, False)


def test_refused_lines_are_kept_and_counted_by_reason(desk: Desk) -> None:
    step = desk.open()
    step.take([message(lost=[lost(4), lost(9), lost(5, "bad_escape")])])
    assert step.summary()["rejected"] == {"bad_decimal": 2, "bad_escape": 1}
    step.close()
    with desk.reader() as reader:
        held = [(d.line_number, d.reason, d.sentence) for d in reader.dead_letters().rows]
    assert held == [
        (4, "bad_decimal", "expected a number at $.price, got x"),
        (5, "bad_escape", "expected a number at $.price, got x"),
        (9, "bad_decimal", "expected a number at $.price, got x"),
    ]


def test_notes_reach_the_summary_once(desk: Desk) -> None:
    step = desk.open(shards=2)
    step.take([message(notes=["b", "a"]), message(shard=1, notes=["a"])])
    assert step.summary()["notes"] == ["a", "b"]
    step.close()


def test_withheld_notices_are_counted(desk: Desk) -> None:
    step = desk.open()
    step.take([message(finding("opening", 0.5, rule_id=OTHER), OPENING)])
    assert step.summary()["notices_withheld"] == {"open_case": 1}
    step.close()


def test_the_outbox_holds_a_file_a_notice_that_follows_its_state(desk: Desk) -> None:
    step = desk.open()
    step.take([message(OPENING)])
    sent = desk.outbox()
    assert (sent.state, sent.ordinal, sent.account_id) == ("sent", 0, ACCOUNT)
    step.take([message(number=1, office=[answer(NOTICE, 3)])])
    assert (desk.outbox().state, desk.outbox().answered_ns) == ("answered", at(3))
    step.close()
    (path,) = (desk.folder / "outbox").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text(encoding="utf-8")
    assert [w for w in (WIN_RATE, "win_rate", alert_of(OPENING), "above") if w in text] == []


def test_the_outbox_never_goes_back_when_messages_come_again(desk: Desk) -> None:
    step = desk.open()
    messages = list(numbered(message(OPENING), message(office=[answer(NOTICE, 3)])))
    step.take(messages)
    step.close()
    again = desk.open()
    again.take(messages[:1])
    assert desk.outbox().state == "answered"
    again.close()


def test_no_account_id_stands_in_the_ledger_files(desk: Desk) -> None:
    step = desk.open()
    step.take(story())
    step.close()
    data = b"".join(path.read_bytes() for path in desk.ledger.rglob("*") if path.is_file())
    assert b"****3456" in data
    assert ACCOUNT.encode() not in data
    assert b"another-account" not in data


def test_an_answer_counts_past_what_was_decided_now_and_in_every_replay(desk: Desk) -> None:
    """It is meant for a time before the notice ran out, but comes after that was decided."""
    step = desk.open()
    kept = step.snapshot()
    ran_out = at(1) + EXPIRY_NS + SECOND_NS
    messages = list(
        numbered(
            message(OPENING, watermark_ns=ran_out),
            message(watermark_ns=ran_out + 2 * HORIZON_STEP_NS),
        )
    )
    step.take(messages[:1])
    body = {"tenant": "default", "account_id": ACCOUNT, "notice_id": NOTICE}
    step.outputs.control.append("notice.answered", at(2), body, "answer/1")
    step.take(messages[1:])
    before = contents_of(desk.ledger)
    step.close()
    for start in (kept, None):
        again = desk.open(start)
        again.take(messages)
        again.close()
        assert contents_of(desk.ledger) == before
    assert desk.outbox().state == "expired"


def test_a_record_that_came_while_nothing_ran_does_not_change_what_was_decided(desk: Desk) -> None:
    """The ledger is ahead of the snapshot; the record is meant for a time in between."""
    step = desk.open()
    kept = step.snapshot()
    first = message(OPENING, watermark_ns=at(100))
    step.take([first])
    step.close()
    with ControlLog(desk.folder / "control.sqlite3") as control:
        body = {"tenant": "default", "account_id": ACCOUNT, "is_set": True}
        control.append("hold", at(0), body, "hold/1")
    again = desk.open(kept)
    later = message(number=1, watermark_ns=at(100) + DAY_NS)
    again.take([first, later])
    again.close()
    entries = entries_of(desk.ledger)
    assert "divergence" not in {e["kind"] for e in entries}
    hold = next(e for e in entries if e["kind"] == "hold.set")
    assert int(hold["event_time_ns"]) == at(100) + HORIZON_STEP_NS + 1
    assert orjson.dumps(entries).count(b'"sent":true') == 1
