"""Whole runs in the plain loop: how blocks, batches, shards and files are cut changes nothing."""

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ledger_fold import contents_of, entries_of, fold, stored
from plan_parts import CANCELLERS, WINNERS, dealt, lines, make_plan, story

from flows.loop import run_loop
from flows.plan import Plan
from flows.store import StoreReader
from flows.writer import Progress


class Told:
    """What a run left behind."""

    def __init__(self, plan: Plan, summary: dict[str, Any]) -> None:
        self.plan = plan
        self.summary = summary
        self.ledger = plan.paths.ledger / "monitor"
        self.contents = contents_of(self.ledger)

    def reader(self) -> StoreReader:
        return StoreReader(self.plan.paths.store)

    def without_config(self) -> list[Any]:
        return [one for one in self.contents if one[1]["kind"] != "config.changed"]


def told(data: Path, inputs: Sequence[Path], flags: Sequence[str] = ()) -> Told:
    plan = make_plan(data, inputs, flags)
    writer = run_loop(plan, "run")
    summary = writer.summary()
    writer.close()
    return Told(plan, summary)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the ids of the winners' notices, as a first run names them."""
    folder = tmp_path_factory.mktemp("first")
    path = folder / "story.ndjson"
    path.write_bytes(lines(story()))
    with told(folder / "data", [path]).reader() as reader:
        ids = {row.account_id: row.notice_id for row in reader.notices().rows}
    return [ids[winner] for winner in WINNERS[:2]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, answers: list[str]) -> Told:
    folder = tmp_path_factory.mktemp("whole")
    path = folder / "story.ndjson"
    path.write_bytes(lines(story(answers)))
    return told(folder / "data", [path], ["shards=1"])


def test_the_story_comes_out_as_told(whole: Told) -> None:
    assert whole.summary["alerts"] == {"instant_cancels": 2, "win_rate": 3}
    assert whole.summary["notices"] == 3
    assert (whole.summary["late"], whole.summary["duplicates"]) == (0, 0)
    kinds = Counter(entry["kind"] for entry in entries_of(whole.ledger))
    assert kinds == {
        "log.opened": 1,
        "config.changed": 1,
        "alert": 5,
        "alert.updated": 5,
        "alert.closed": 5,
        "notice": 3,
        "notice.updated": 6,
    }
    with whole.reader() as reader:
        states = {row.account_id: row.state for row in reader.every_alert()}
        notices = {row.account_id: row for row in reader.notices().rows}
    assert [states[one] for one in CANCELLERS] == ["confirmed", "withdrawn"]
    assert [notices[one].answered_ns is not None for one in WINNERS] == [True, False, False]
    assert {(row.state, row.outcome) for row in notices.values()} == {("rechecked", "still above")}


def test_the_store_is_what_the_ledger_says(whole: Told) -> None:
    with whole.reader() as reader:
        assert stored(reader) == fold(entries_of(whole.ledger))


def test_no_account_stands_in_the_ledger(whole: Told) -> None:
    data = b"".join(path.read_bytes() for path in whole.ledger.rglob("*") if path.is_file())
    assert [one for one in (*WINNERS, *CANCELLERS) if one.encode() in data] == []


@pytest.mark.parametrize(
    "flags",
    [
        ["intake.block_bytes=4096", "shards=1"],
        ["intake.block_bytes=4096", "shards=16"],
        ["intake.batch_rows=1", "shards=2"],
        ["intake.batch_rows=7", "intake.block_bytes=4096", "shards=32"],
    ],
)
def test_blocks_batches_and_shards_change_no_entry(
    whole: Told, tmp_path: Path, answers: list[str], flags: list[str]
) -> None:
    path = tmp_path / "story.ndjson"
    path.write_bytes(lines(story(answers)))
    again = told(tmp_path / "data", [path], flags)
    assert again.contents == whole.contents
    assert again.summary["counts"] == whole.summary["counts"]


def test_a_packed_file_is_the_same(whole: Told, tmp_path: Path, answers: list[str]) -> None:
    path = tmp_path / "story.ndjson.gz"
    path.write_bytes(gzip.compress(lines(story(answers))))
    assert told(tmp_path / "data", [path], ["shards=4"]).contents == whole.contents


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_several_files_in_any_order_are_the_same(
    whole: Told, tmp_path: Path, answers: list[str], order: tuple[int, ...]
) -> None:
    paths = [tmp_path / f"{name}.ndjson" for name in "abc"]
    for path, part in zip(paths, dealt(story(answers), 3), strict=True):
        path.write_bytes(lines(part))
    again = told(tmp_path / "data", [paths[k] for k in order], ["shards=4"])
    assert again.without_config() == whole.without_config()


def test_a_second_start_adds_nothing(whole: Told) -> None:
    before = entries_of(whole.ledger)
    writer = run_loop(whole.plan, "run")
    assert writer.summary() == whole.summary
    writer.close()
    assert entries_of(whole.ledger) == before


def test_progress_ends_complete(tmp_path: Path) -> None:
    path = tmp_path / "story.ndjson"
    path.write_bytes(lines(story()))
    seen: list[Progress] = []
    run_loop(make_plan(tmp_path / "data", [path]), "run", seen.append).close()
    assert (seen[-1].is_complete, seen[-1].events) == (True, len(story()))
    assert sum(len(one.newest) for one in seen) == seen[-1].alerts == 5
