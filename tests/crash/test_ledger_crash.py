"""Killed anywhere, a log loses nothing it acknowledged and doubles nothing on the same input."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_logs import draft, drafts, entries_of, writer

from ledger.reader import read_entries
from ledger.verify import verify

SCRIPT = Path(__file__).parents[1] / "ledger_crash_writer.py"
TOTAL = 700
BATCH = 60
POINTS = ("before_commit", "after_commit", "before_apply", "mid_apply", "after_apply")


def start(folder: Path, point: str, hit: int) -> "subprocess.Popen[str]":
    arguments = [str(folder), str(TOTAL), str(BATCH), f"ledger.{point}", str(hit)]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments], stdout=subprocess.PIPE, text=True
    )


def acknowledged(lines: str) -> list[tuple[int, str]]:
    whole = [line for line in lines.splitlines(keepends=True) if line.endswith("\n")]
    return [(int(size), root) for size, root in map(str.split, whole)]


def require_nothing_lost(folder: Path, heads: list[tuple[int, str]]) -> None:
    """Audit what the dead writer left, then give the same drafts again to the next one."""
    if heads:
        assert verify(folder, trusted=heads[-1]).size >= heads[-1][0]
    with writer(folder) as log:
        for head in heads:
            log.check_snapshot(*head)
        receipts = log.append(drafts(TOTAL))
        assert [receipt.index for receipt in receipts] == list(range(1, TOTAL + 1))
    assert verify(folder).size == TOTAL + 1
    eids = [json.loads(entry)["eid"] for entry in entries_of(folder)]
    assert eids[1:] == [draft(number).eid.hex() for number in range(TOTAL)]


@pytest.mark.parametrize("hit", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
def test_dying_at_a_named_point_loses_and_doubles_nothing(
    tmp_path: Path, point: str, hit: int
) -> None:
    with start(tmp_path / "log", point, hit) as process:
        told = process.communicate(timeout=60)[0]
    assert process.returncode == -signal.SIGKILL
    require_nothing_lost(tmp_path / "log", acknowledged(told))


def test_dying_again_and_again_at_every_point_still_ends_in_the_same_log(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    heads: list[tuple[int, str]] = []
    for life in range(10):
        with start(folder, POINTS[life % 5], life + 1) as process:
            heads += acknowledged(process.communicate(timeout=60)[0])
    sizes = dict(heads)
    assert all(sizes[size] == root for size, root in heads)
    require_nothing_lost(folder, sorted(sizes.items()))


@pytest.mark.parametrize("seed", range(8))
def test_dying_at_any_moment_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    """The kill comes from outside, some acknowledgements in: anywhere in the writer's code."""
    lines = random.Random(seed).randrange(1, TOTAL // BATCH)
    with start(tmp_path / "log", "never", 1) as process:
        assert process.stdout is not None
        told = "".join(process.stdout.readline() for _ in range(lines))
        process.kill()
        told += process.communicate(timeout=60)[0]
    require_nothing_lost(tmp_path / "log", acknowledged(told))


def test_a_log_can_be_read_and_verified_while_its_writer_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with start(folder, "never", 1) as process:
        assert process.stdout is not None
        for line in process.stdout:
            ((size, root),) = acknowledged(line)
            report = verify(folder, trusted=(size, root))
            assert report.size >= size
            assert sum(1 for _ in read_entries(folder)) >= report.size
    assert process.returncode == 0
    assert verify(folder).size == TOTAL + 1
