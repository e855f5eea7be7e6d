"""A full disk is told from other failures, whoever met it and however it is wrapped."""

import errno
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from engine_parts import PanicException

from flows import disk
from flows.disk import DiskProblem, naming_disk_problems

DATA = Path("some") / "data"
PANIC = (
    "(src/run.rs:167:13) called `Result::unwrap()` on an `Err` value: SqliteFailure(Error "
    '{{ code: {}, extended_code: {} }}, Some("…"))'
)


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("…")
    error.sqlite_errorcode = code
    return error


@contextmanager
def wrapped(data: Path, error: BaseException) -> Iterator[None]:
    """Raise an error as the engine does, from another one."""
    with naming_disk_problems(data):
        yield
        raise RuntimeError("error calling `next_batch`") from error


def test_a_database_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as database:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE t (a)")
        with (
            pytest.raises(DiskProblem, match=r"is full\. Make room"),
            naming_disk_problems(tmp_path),
        ):
            database.execute("INSERT INTO t VALUES (zeroblob(100000))")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        sqlite_error(sqlite3.SQLITE_FULL),
        RuntimeError(PANIC.format("DiskFull", sqlite3.SQLITE_FULL)),
    ],
)
def test_full_disks_are_named(error: BaseException) -> None:
    with pytest.raises(DiskProblem, match=r"is full\. Make room") as caught, wrapped(DATA, error):
        pass
    assert str(DATA) in str(caught.value)
    assert "run the same command again" in str(caught.value)


def test_the_file_is_named_where_an_error_names_one() -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "outbox/1.json")
    with pytest.raises(DiskProblem, match=r"holds outbox/1\.json is full"), wrapped(DATA, error):
        pass


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EFBIG, "File too large"),
        sqlite_error(sqlite3.SQLITE_IOERR_WRITE),
        RuntimeError(PANIC.format("SystemIoFailure", sqlite3.SQLITE_IOERR_WRITE)),
    ],
)
def test_what_is_not_written_though_there_is_room_is_another_sentence(
    error: BaseException, tmp_path: Path
) -> None:
    with (
        pytest.raises(DiskProblem, match="does not take what is written"),
        wrapped(tmp_path, error),
    ):
        pass


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_CANTOPEN])
def test_without_room_a_failure_to_open_is_a_full_disk(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_ROOM_MIN", 2**62)
    with pytest.raises(DiskProblem, match="is full"), wrapped(tmp_path, sqlite_error(code)):
        pass


def test_without_room_a_panic_that_names_nothing_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panic = PanicException("Send thread panic: Any { .. }")
    assert not disk.is_disk_problem(panic, tmp_path)
    monkeypatch.setattr(disk, "_ROOM_MIN", 2**62)
    assert disk.is_disk_problem(panic, tmp_path)
    assert not disk.is_disk_problem(ValueError("a bug"), tmp_path)


def test_after_a_panic_that_names_nothing_the_disk_is_asked(tmp_path: Path) -> None:
    (tmp_path / "recovery").mkdir()
    (tmp_path / "recovery" / "part-0.sqlite3").write_bytes(bytes(300_000))
    panic = PanicException("Send thread panic: Any { .. }")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    try:
        with (
            pytest.raises(DiskProblem, match=r"does not take what is written.*File too large"),
            naming_disk_problems(tmp_path),
        ):
            raise panic
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not disk.is_disk_problem(panic, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["recovery"]


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "day.ndjson"),
        sqlite_error(sqlite3.SQLITE_CORRUPT),
        sqlite_error(sqlite3.SQLITE_CANTOPEN),
        sqlite_error(sqlite3.SQLITE_IOERR_READ),
        sqlite3.ProgrammingError("made by Python: no code"),
        ValueError("a bug"),
    ],
)
def test_other_failures_stay_what_they_are(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="error calling"), wrapped(tmp_path, error):
        pass
