"""Whatever bytes the verifier is fed, it says sound only of what was written, or AuditError."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_logs import drafts, entries_of, make_log, writer

from ledger.database import DATABASE
from ledger.verify import AuditError, verify


@pytest.fixture(scope="module")
def at_rest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "rest"
    make_log(folder, 300)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    with writer(folder / "log") as log:
        log.append(drafts(270))
        log.append(drafts(20, start=270))
        return Path(shutil.copytree(folder / "log", folder / "killed"))


def damaged(pristine: Path, folder: Path, data: st.DataObject) -> Path:
    """Copy a log and change some bytes of one file: overwrite, cut, insert or repeat."""
    names = sorted(path.relative_to(pristine) for path in pristine.rglob("*") if path.is_file())
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    path = folder / data.draw(st.sampled_from([name for name in names if name.name != "lock"]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        length = data.draw(st.integers(0, 4))
        new = data.draw(st.binary(max_size=4) | st.just(bytes(content[at : at + 40])))
        content[at : at + length] = new
    path.write_bytes(bytes(content))
    if path.name.endswith("-wal"):  # beside a foreign index SQLite would wait ten seconds
        folder.joinpath(f"{DATABASE}-shm").unlink(missing_ok=True)
    return folder


SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SETTINGS
@given(data=st.data())
def test_damage_to_a_log_at_rest_is_detected_or_changes_nothing(
    at_rest: Path, tmp_path: Path, data: st.DataObject
) -> None:
    honest = verify(at_rest)
    folder = damaged(at_rest, tmp_path / "copy", data)
    try:
        report = verify(folder)
    except AuditError:
        return
    assert (report.size, report.head, report.origin) == (honest.size, honest.head, honest.origin)
    assert entries_of(folder) == entries_of(at_rest)


@SETTINGS
@given(data=st.data())
def test_damage_to_a_killed_writers_log_can_hide_no_more_than_its_tail(
    killed: Path, tmp_path: Path, data: st.DataObject
) -> None:
    """Without a trusted head a cut-off write-ahead log looks like one that ended earlier."""
    honest = verify(killed)
    truth = entries_of(killed)
    folder = damaged(killed, tmp_path / "copy", data)
    try:
        report = verify(folder)
    except AuditError:
        return
    assert entries_of(folder) == truth[: report.size]
    assert report.size >= 256  # what reached a file cannot be hidden
    if report.size < honest.size:
        with pytest.raises(AuditError):
            verify(folder, trusted=(honest.size, honest.head))
