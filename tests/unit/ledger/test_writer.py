import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger_logs import (
    ORIGIN,
    START_NS,
    chained,
    changed,
    draft,
    drafts,
    entries_of,
    execute,
    forge,
    make_log,
    ticking,
    writer,
)

from ledger.database import DATABASE
from ledger.entry import content_hash, leaf_hash
from ledger.reader import find
from ledger.tree import EMPTY_ROOT, root_of
from ledger.verify import verify
from ledger.writer import (
    EntryError,
    LedgerBusy,
    LedgerDamaged,
    LedgerError,
    LedgerLost,
    LedgerRolledBack,
    LedgerWriter,
)


def files_of(folder: Path) -> set[str]:
    top = folder / "tile/entries"
    return {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()}


def test_a_log_begins_with_its_opening(tmp_path: Path) -> None:
    with writer(tmp_path / "deep/log") as log:
        assert log.head[0] == 1
    (opened,) = entries_of(tmp_path / "deep/log")
    held = json.loads(opened)
    assert (held["kind"], held["i"], held["prev"], held["log"]) == (
        "log.opened",
        0,
        "0" * 64,
        ORIGIN,
    )


def test_each_entry_names_the_one_before_and_all_give_the_root(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        receipts = log.append(drafts(5)) + log.append(drafts(3, start=5))
        head = log.head
    entries = entries_of(tmp_path)
    leaves = [leaf_hash(entry) for entry in entries]
    assert [json.loads(entry)["prev"] for entry in entries[1:]] == [
        leaf.hex() for leaf in leaves[:-1]
    ]
    assert [(receipt.index, receipt.leaf) for receipt in receipts] == [
        (index, leaf.hex()) for index, leaf in enumerate(leaves) if index
    ]
    assert all(receipt.is_new and receipt.origin == ORIGIN for receipt in receipts)
    assert head == (9, root_of(leaves).hex())


def test_a_repeated_draft_gets_its_first_receipt(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        first = log.append(drafts(300))
        head = log.head
        again = log.append(drafts(300)[::-1])[::-1]
        twice = log.append([draft(900), draft(900, src=[])])
        assert log.append([]) == []
    assert [(one.index, one.leaf) for one in again] == [(one.index, one.leaf) for one in first]
    assert not any(receipt.is_new for receipt in again)
    assert head[0] == 301
    assert [(receipt.index, receipt.is_new) for receipt in twice] == [(301, True), (301, False)]


def test_another_content_under_one_eid_is_recorded_once_for_each_content(tmp_path: Path) -> None:
    other = draft(1, body={"count": 99})
    third = draft(1, kind="notice")
    with writer(tmp_path) as log:
        log.append(drafts(3))
        (told,) = log.append([other])
        again = log.append([other, third, third, draft(1)])
        assert log.head[0] == 6
    assert (told.index, told.is_new, told.diverges_from) == (4, True, 2)
    assert [(one.index, one.is_new, one.diverges_from) for one in again] == [
        (4, False, 2),
        (5, True, 2),
        (5, False, 2),
        (2, False, None),
    ]
    divergence = json.loads(entries_of(tmp_path)[4])
    assert divergence["kind"] == "divergence"
    assert divergence["body"]["eid"] == other.eid.hex()
    contents = [
        content_hash(one.kind, one.event_time_ns, one.actor, one.rule, one.body).hex()
        for one in (draft(1), other)
    ]
    assert [divergence["body"][key] for key in ("content_held", "content_new")] == contents


def test_log_time_never_goes_backwards(tmp_path: Path) -> None:
    times = iter([100, 50, 200, 10])
    with LedgerWriter(tmp_path, ORIGIN, lambda: next(times)) as log:
        for number in range(3):
            log.append([draft(number)])
    with LedgerWriter(tmp_path, ORIGIN, lambda: 5) as log:
        log.append([draft(3)])
    logged = [json.loads(entry)["log_time_ns"] for entry in entries_of(tmp_path)]
    assert logged == ["100", "100", "200", "200", "200"]


@pytest.mark.parametrize(
    "bad",
    [
        draft(2, body={"ratio": 0.5}),
        draft(2, body={"a": "x" * 66_000}),
        draft(2, kind="log.opened"),
    ],
)
def test_a_batch_with_an_unfit_draft_leaves_no_trace(tmp_path: Path, bad: object) -> None:
    with writer(tmp_path) as log:
        head = log.head
        with pytest.raises(EntryError):
            log.append([draft(1), bad])  # type: ignore[list-item]
        assert log.head == head
        (receipt,) = log.append([draft(1)])
        assert receipt.is_new
    assert verify(tmp_path).size == 2


def test_full_bundles_reach_files_by_themselves_and_the_rest_at_flush(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        log.append(drafts(254))
        assert files_of(tmp_path) == set()
        log.append(drafts(1, start=254))
        assert files_of(tmp_path) == {"000"}
        log.append(drafts(300, start=255))
        assert files_of(tmp_path) == {"000", "001"}
        log.flush()
        assert files_of(tmp_path) == {"000", "001", "002.p/44"}
        log.append(drafts(6, start=555))
        log.flush()
        log.flush()
        assert files_of(tmp_path) == {"000", "001", "002.p/50"}
        log.append(drafts(206, start=561))
        assert files_of(tmp_path) == {"000", "001", "002"}
    assert verify(tmp_path).size == 768


def test_a_reopened_log_goes_on_where_it_was(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    whole = tmp_path / "whole"
    clock = lambda: START_NS  # noqa: E731 - the same time for both
    for start in range(0, 700, 70):
        with LedgerWriter(parts, ORIGIN, clock) as log:
            log.append(drafts(70, start=start))
    with LedgerWriter(whole, ORIGIN, clock) as log:
        log.append(drafts(700))
        head = log.head
    with LedgerWriter(parts, ORIGIN, clock) as log:
        assert log.head == head
    assert entries_of(parts) == entries_of(whole)
    assert files_of(parts) == files_of(whole)


def test_a_remembered_head_is_accepted_at_every_size(tmp_path: Path) -> None:
    entries = make_log(tmp_path, 600)
    leaves = [leaf_hash(entry) for entry in entries]
    with writer(tmp_path) as log:
        for size in (0, 1, 255, 256, 257, 512, 550, 600):
            log.check_snapshot(size, root_of(leaves[:size]).hex())


@pytest.mark.parametrize("size", [-1, 601])
def test_a_head_ahead_of_the_log_is_a_rollback(tmp_path: Path, size: int) -> None:
    make_log(tmp_path, 600)
    with writer(tmp_path) as log:
        with pytest.raises(LedgerRolledBack, match="holds 600 entries and held"):
            log.check_snapshot(size, "00" * 32)
        with pytest.raises(LedgerLost):
            log.append([draft(1)])


@pytest.mark.parametrize("size", [0, 300, 600])
def test_another_root_at_a_remembered_size_is_a_replaced_history(tmp_path: Path, size: int) -> None:
    make_log(tmp_path, 600)
    with writer(tmp_path) as log, pytest.raises(LedgerRolledBack, match="another root at size"):
        log.check_snapshot(size, "00" * 32)


def test_a_second_writer_is_told_who_has_the_folder(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        with pytest.raises(
            LedgerBusy, match=rf"written by process {os.getpid()}: stop that process"
        ):
            writer(tmp_path)
        log.append([draft(1)])
    with writer(tmp_path) as log:
        assert log.head[0] == 2


def test_a_second_process_is_refused_and_says_so(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from ledger.writer import LedgerBusy, LedgerWriter\n"
        "try: LedgerWriter(Path(sys.argv[1]), 'a', lambda: 1)\n"
        "except LedgerBusy as busy: print(busy)"
    )
    with writer(tmp_path):
        told = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
    assert f"process {os.getpid()}" in told.stdout


def test_a_writer_that_lost_the_folder_cannot_commit(tmp_path: Path) -> None:
    old = writer(tmp_path)
    old.append(drafts(3))
    tmp_path.joinpath("lock").unlink()  # someone "cleans up", and another writer starts
    with writer(tmp_path) as new:
        with pytest.raises(LedgerLost, match="Another writer has taken"):
            old.append([draft(7)])
        new.append([draft(8)])
        with pytest.raises(LedgerLost):
            old.flush()
        old.close()
    assert verify(tmp_path).size == 5


def test_a_writer_that_lost_the_folder_cannot_apply(tmp_path: Path) -> None:
    old = writer(tmp_path)
    old.append(drafts(3))
    execute(tmp_path, "UPDATE head SET generation = generation + 1")
    with pytest.raises(LedgerLost, match="Another writer has taken"):
        old.flush()
    old.close()


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "line\n", "journal\u00e9"])
def test_an_origin_that_could_not_name_a_key_is_refused(tmp_path: Path, origin: str) -> None:
    with pytest.raises(LedgerError, match="cannot name a log"):
        LedgerWriter(tmp_path, origin, ticking())


def test_a_log_keeps_its_origin(tmp_path: Path) -> None:
    make_log(tmp_path, 2)
    with pytest.raises(LedgerDamaged, match=f"is the log {ORIGIN}, not other"):
        LedgerWriter(tmp_path, "other", ticking())


def test_a_database_older_than_the_files_is_refused(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    old = tmp_path.joinpath(DATABASE).read_bytes()
    with writer(tmp_path) as log:
        log.append(drafts(10, start=1000))
    tmp_path.joinpath(DATABASE).write_bytes(old)
    with pytest.raises(LedgerRolledBack, match=r"001\.p/54 is ahead of the database.*rolled back"):
        writer(tmp_path)


def test_a_lost_database_is_not_begun_anew_over_its_files(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    tmp_path.joinpath(DATABASE).unlink()
    with pytest.raises(LedgerRolledBack, match="never begun anew"):
        writer(tmp_path)


def edit_full(folder: Path) -> None:
    path = folder / "tile/entries/000"
    path.write_bytes(path.read_bytes().replace(b'"count":7,', b'"count":8,'))


def edit_partial(folder: Path) -> None:
    path = folder / "tile/entries/001.p/44"
    path.write_bytes(path.read_bytes().replace(b'"count":290,', b'"count":291,'))


def remove_partial(folder: Path) -> None:
    folder.joinpath("tile/entries/001.p/44").unlink()


def add_false_partial(folder: Path) -> None:
    folder.joinpath("tile/entries/000.p").mkdir()
    folder.joinpath("tile/entries/000.p/2").write_bytes(b"\0\1a\0\1b")


def drop_staged(folder: Path) -> None:
    execute(folder, "DELETE FROM stage WHERE i = 280")


def drop_head(folder: Path) -> None:
    execute(folder, "DELETE FROM head")


def change_format(folder: Path) -> None:
    execute(folder, "PRAGMA user_version = 9")


def empty_log(folder: Path) -> None:
    folder.joinpath("tile").rename(folder / "gone")
    execute(folder, "DELETE FROM stage")
    execute(folder, "UPDATE head SET size = 0, applied = 0, root = ?", EMPTY_ROOT)


def garble(folder: Path) -> None:
    folder.joinpath(DATABASE).write_bytes(b"not a database" * 1000)


def drop_tables(folder: Path) -> None:
    execute(folder, "DROP TABLE head")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (edit_full, "do not give the root"),
        (edit_partial, r"001\.p/44 differs"),
        (remove_partial, r"001\.p/44 is missing"),
        (add_false_partial, r"000\.p/2 differs"),
        (drop_staged, "does not hold entries 256 to 299"),
        (drop_head, "lost its head"),
        (change_format, "has format 9"),
        (empty_log, "do not give the root"),
        (garble, "cannot be opened"),
        (drop_tables, "cannot be opened"),
    ],
)
def test_a_damaged_log_is_not_written_to(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    make_log(tmp_path, 300)
    damage(tmp_path)
    with pytest.raises(LedgerDamaged, match=sentence):
        writer(tmp_path)


def test_a_lost_eid_index_is_rebuilt_from_the_entries(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    execute(tmp_path, "DROP TABLE eid")
    with writer(tmp_path) as log:
        assert not any(receipt.is_new for receipt in log.append(drafts(299)))
    execute(tmp_path, "DELETE FROM eid WHERE i = 77")
    with writer(tmp_path) as log:
        assert not log.append([draft(76)])[0].is_new
    assert verify(tmp_path).size == 300


def test_a_rebuilt_index_finds_two_entries_with_one_eid(tmp_path: Path) -> None:
    entries = make_log(tmp_path, 10)
    entries[5] = changed(entries[5], eid=json.loads(entries[4])["eid"])
    forge(tmp_path, chained(entries))
    with pytest.raises(LedgerDamaged, match="have one eid"):
        writer(tmp_path)


def test_outgrown_partials_are_removed_at_start(tmp_path: Path) -> None:
    make_log(tmp_path, 100)
    kept = tmp_path.joinpath("tile/entries/000.p/100").read_bytes()
    with writer(tmp_path) as log:
        log.append(drafts(200, start=99))
    partials = tmp_path / "tile/entries/000.p"
    partials.mkdir()
    partials.joinpath("100").write_bytes(kept)
    writer(tmp_path).close()
    assert files_of(tmp_path) == {"000", "001.p/44"}


def test_a_closed_writer_says_so(tmp_path: Path) -> None:
    log = writer(tmp_path)
    log.close()
    log.close()
    for use in (lambda: log.append([draft(1)]), log.flush, lambda: log.check_snapshot(0, "")):
        with pytest.raises(LedgerLost, match="is closed: open anew"):
            use()


def test_a_failing_disk_ends_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = writer(tmp_path)
    log.append(drafts(5))

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(LedgerLost, match=r"failed .*Input/output error.*start it again"):
            log.flush()
    with pytest.raises(LedgerLost):
        log.append([draft(6)])
    log.close()
    assert verify(tmp_path).size == 6
    with writer(tmp_path) as healed:
        assert healed.head[0] == 6


def test_a_failing_database_ends_the_writer(tmp_path: Path) -> None:
    log = writer(tmp_path)
    execute(tmp_path, "DROP TABLE stage")
    with pytest.raises(LedgerLost, match="no such table"):
        log.append([draft(1)])
    log.close()


def test_being_interrupted_inside_a_commit_ends_the_writer(tmp_path: Path) -> None:
    def interrupt(point: str) -> None:
        if point == "ledger.before_commit" and tmp_path.joinpath("armed").exists():
            raise KeyboardInterrupt

    log = writer(tmp_path, on_point=interrupt)
    tmp_path.joinpath("armed").touch()
    with pytest.raises(KeyboardInterrupt):
        log.append(drafts(3))
    with pytest.raises(LedgerLost):
        log.flush()
    log.close()
    tmp_path.joinpath("armed").unlink()
    with writer(tmp_path) as again:
        assert again.head[0] == 1


def test_a_commit_is_visible_before_it_reaches_a_file(tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def watch(point: str) -> None:
        if tmp_path.joinpath("armed").exists():
            with sqlite3.connect(tmp_path / DATABASE) as database:
                seen.append((point, *database.execute("SELECT size FROM head").fetchone()))
            database.close()

    with writer(tmp_path, on_point=watch) as log:
        tmp_path.joinpath("armed").touch()
        log.append(drafts(2))
        tmp_path.joinpath("armed").unlink()
    assert seen == [("ledger.before_commit", 1), ("ledger.after_commit", 3)]


def test_an_entry_is_found_by_its_eid_wherever_it_lies(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        log.append(drafts(300))
        for number in (0, 254, 255, 299):
            found = find(tmp_path, draft(number).eid)
            assert found is not None
            assert found[0] == number + 1
            assert json.loads(found[1])["body"]["count"] == number
        assert find(tmp_path, bytes(16)) is None
