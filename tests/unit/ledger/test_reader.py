import shutil
import sqlite3
from pathlib import Path
from types import ModuleType

import pytest
from ledger_logs import ORIGIN, draft, drafts, execute, make_log, writer

from ledger import database
from ledger.errors import LedgerDamaged
from ledger.reader import TreeHead, find, read_entries, read_head
from ledger.verify import AuditError, verify
from ledger.verify import database as audited


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("start", [0, 1, 255, 256, 300, 511, 512, 599, 600, 700])
def test_reading_begins_anywhere(tmp_path: Path, start: int) -> None:
    entries = make_log(tmp_path, 600)
    assert list(read_entries(tmp_path, start)) == list(enumerate(entries))[start:]


def test_a_reader_sees_what_is_committed_and_not_yet_in_files(tmp_path: Path) -> None:
    with writer(tmp_path) as log:
        log.append(drafts(9))
        assert len(list(read_entries(tmp_path))) == 10
        assert read_head(tmp_path) == TreeHead(ORIGIN, *log.head)
        reading = read_entries(tmp_path)
        next(reading)
        log.append(drafts(600, start=9))
        assert len(list(reading)) == 9
        assert verify(tmp_path).size == 610


def test_looking_at_a_log_at_rest_leaves_nothing_behind(tmp_path: Path) -> None:
    make_log(tmp_path, 300)
    before = names_in(tmp_path)
    assert read_head(tmp_path).size == verify(tmp_path).size == 300
    assert names_in(tmp_path) == before


def dead(folder: Path, tmp_path: Path) -> Path:
    """Copy a log while its writer is at work: what a killed process leaves behind."""
    return Path(shutil.copytree(folder, tmp_path / "dead"))


def test_a_dead_writers_log_is_read_without_writing_to_it(tmp_path: Path) -> None:
    with writer(tmp_path / "log") as log:
        log.append(drafts(300))
        left = dead(tmp_path / "log", tmp_path)
    before = {name: left.joinpath(name).stat().st_mtime_ns for name in names_in(left)}
    assert f"{database.DATABASE}-wal" in before
    assert read_head(left).size == verify(left).size == 301
    assert {name: left.joinpath(name).stat().st_mtime_ns for name in names_in(left)} == before


def test_a_copy_without_the_wal_index_is_read_too(tmp_path: Path) -> None:
    with writer(tmp_path / "log") as log:
        log.append(drafts(300))
        left = dead(tmp_path / "log", tmp_path)
    left.joinpath(f"{database.DATABASE}-shm").unlink()
    before = names_in(left)
    assert read_head(left).size == verify(left).size == 301
    assert names_in(left) == before


@pytest.mark.parametrize("module", [database, audited])
def test_an_index_of_another_time_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    """SQLite tries such an index for ten seconds; the error stands for that here."""
    with writer(tmp_path / "log") as log:
        log.append(drafts(300))
        left = dead(tmp_path / "log", tmp_path)
    real = sqlite3.connect

    def connect(address: str, **options: object) -> sqlite3.Connection:
        if "readonly_shm" in address:
            error = sqlite3.OperationalError("locking protocol")
            error.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
            raise error
        return real(address, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(module.sqlite3, "connect", connect)
    assert (read_head(left).size if module is database else verify(left).size) == 301


@pytest.mark.parametrize("module", [database, audited])
def test_a_write_ahead_log_that_goes_while_it_is_copied_makes_the_look_start_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    with writer(tmp_path / "log") as log:
        log.append(drafts(3))
        left = dead(tmp_path / "log", tmp_path)
    left.joinpath(f"{database.DATABASE}-shm").unlink()
    real = shutil.copyfile
    gone = [FileNotFoundError(2, "No such file")]

    def copyfile(source: Path, target: Path) -> Path:
        if gone:
            raise gone.pop()
        return real(source, target)

    monkeypatch.setattr(module.shutil, "copyfile", copyfile)
    assert (read_head(left).size if module is database else verify(left).size) == 4


@pytest.mark.parametrize("module", [database, audited])
def test_a_writer_starting_meanwhile_makes_the_look_start_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    make_log(tmp_path, 3)
    answers = iter([False, True])  # no index when the look began, one at its end
    real = database._wal_index
    monkeypatch.setattr(
        module, "_wal_index", lambda folder: _Claimed(next(answers, None), real(folder))
    )
    assert (read_head(tmp_path).size if module is database else verify(tmp_path).size) == 3


class _Claimed:
    def __init__(self, claim: bool | None, path: Path) -> None:
        self._claim = claim
        self._path = path

    def exists(self) -> bool:
        return self._path.exists() if self._claim is None else self._claim


@pytest.mark.parametrize("module", [database, audited])
def test_a_log_that_never_rests_is_given_up_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    make_log(tmp_path, 3)
    claims = [False, True] * 20
    monkeypatch.setattr(module, "_wal_index", lambda folder: _Claimed(claims.pop(0), folder))
    if module is database:
        with pytest.raises(LedgerDamaged, match="writers come and go"):
            read_head(tmp_path)
    else:
        with pytest.raises(AuditError, match="writers come and go"):
            verify(tmp_path)


def test_no_database_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LedgerDamaged, match=r"holds no ledger\.sqlite: name the folder"):
        read_head(tmp_path)


def test_an_unreadable_database_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.joinpath(database.DATABASE).write_bytes(b"x" * 5000)
    with pytest.raises(LedgerDamaged, match=r"cannot be read .*try again"):
        next(read_entries(tmp_path))


def test_an_index_that_points_nowhere_is_told(tmp_path: Path) -> None:
    make_log(tmp_path, 5)
    execute(tmp_path, "UPDATE eid SET i = 77 WHERE i = 3")
    with pytest.raises(LedgerDamaged, match="names entry 77, which is not there"):
        find(tmp_path, draft(2).eid)


def test_a_reader_does_not_lock_the_writer_out(tmp_path: Path) -> None:
    make_log(tmp_path, 3)
    holder = sqlite3.connect(f"file:{tmp_path / database.DATABASE}?mode=ro", uri=True)
    holder.execute("BEGIN")
    holder.execute("SELECT * FROM head").fetchone()
    with writer(tmp_path) as log:
        log.append(drafts(300, start=50))
    holder.close()
    assert verify(tmp_path).size == 303
