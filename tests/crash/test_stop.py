"""Stopping as people do it: the command line, signals, the same command again."""

import fcntl
import json
import os
import pickle
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.datafolder import Paths
from lab.bench import inputs, processes
from lab.bench.content import Content, compare, read_content
from lab.bench.crash import SETTINGS, wait_for_work

EVENTS, SEED = 40_000, 5


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("input") / "day.ndjson"
    inputs.write_lines(path, inputs.roughen(inputs.market_lines(EVENTS, SEED, 2_000), SEED))
    return path


@pytest.fixture(scope="module")
def unbroken(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("unbroken") / "data"
    processes.finish(start(day, data))
    return data


@pytest.fixture(scope="module")
def content(unbroken: Path) -> Content:
    return read_content(unbroken)


def start(day: Path, data: Path, count: int = 1) -> "subprocess.Popen[bytes]":
    return processes.start(processes.replay_command([day], data, count, SETTINGS))


def prepare(data: Path, unbroken: Path) -> None:
    """Give a folder the unbroken run's pepper, so that tokens are the same."""
    keys = Paths(data).keys
    keys.mkdir(mode=0o700, parents=True)
    (keys / "pepper").write_bytes((Paths(unbroken).keys / "pepper").read_bytes())
    (keys / "pepper").chmod(0o600)
    Paths(data).lock.touch()


def next_blocks(data: Path) -> dict[str, int]:
    """Return where each part of the input would go on."""
    found: dict[str, tuple[int, int]] = {}
    for file in Paths(data).recovery.glob("part-*.sqlite3"):
        with closing(sqlite3.connect(file)) as connection:
            rows = connection.execute(
                "SELECT state_key, snap_epoch, ser_change FROM snaps WHERE step_id LIKE '%.lanes'"
            )
            for key, epoch, change in rows:
                found[key] = max(found.get(key, (0, 0)), (epoch, pickle.loads(change)))
    return {key: number for key, (_, number) in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_sigterm_drains_snapshots_and_exits_0_and_the_same_command_goes_on(
    day: Path, unbroken: Path, content: Content, tmp_path: Path, count: int
) -> None:
    data = tmp_path / "data"
    prepare(data, unbroken)
    process = start(day, data, count)
    wait_for_work(process, data, [])
    process.send_signal(signal.SIGTERM)
    stopped = processes.finish(process)  # raises unless it exits 0

    assert stopped["complete"] is False
    assert 0 < stopped["events"] < EVENTS
    assert sum(next_blocks(data).values()) > 0  # not where it began

    done = processes.finish(start(day, data, count))
    assert done["complete"] is True
    assert compare(content, read_content(data)).is_none


@pytest.mark.long
@pytest.mark.slow
def test_a_worker_asked_to_stop_stops_the_whole_run(
    day: Path, unbroken: Path, content: Content, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    prepare(data, unbroken)
    process = start(day, data, 2)
    wait_for_work(process, data, [])
    (worker,) = processes.children_of(process.pid)
    os.kill(worker, signal.SIGTERM)
    stopped = processes.finish(process)

    assert stopped["complete"] is False
    processes.finish(start(day, data, 2))
    assert compare(content, read_content(data)).is_none


def test_a_completed_run_adds_nothing_and_shows_the_same_summary(
    day: Path, unbroken: Path, content: Content
) -> None:
    first = processes.finish(start(day, unbroken))
    again = processes.finish(start(day, unbroken))

    assert without_seconds(first) == without_seconds(again)
    assert again["complete"] is True
    assert again["ledger"]["size"] == first["ledger"]["size"]
    assert compare(content, read_content(unbroken)).is_none


def test_sigterm_to_a_run_that_waits_for_its_turn_leaves_the_folder_usable(
    day: Path, unbroken: Path, content: Content
) -> None:
    process = start(day, unbroken)
    process.send_signal(signal.SIGTERM)  # long before it could have begun anything
    process.communicate()

    assert process.returncode in {0, -signal.SIGTERM}
    assert processes.finish(start(day, unbroken))["complete"] is True
    assert compare(content, read_content(unbroken)).is_none


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """Yield a data folder that another process (we) is writing to."""
    data = tmp_path / "data"
    data.mkdir()
    with Paths(data).lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b"process 1 (tapewatch replay other.ndjson)")
        file.flush()
        yield data


def test_a_folder_in_use_is_refused_with_the_name_of_its_user(day: Path, held: Path) -> None:
    process = start(day, held)
    _, said = process.communicate()

    assert process.returncode not in {0, 1}
    assert "is in use by process 1 (tapewatch replay other.ndjson)" in said.decode()
    assert "Stop that process, or choose another --data." in said.decode()


def test_other_inputs_on_the_same_folder_are_refused(
    day: Path, unbroken: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.ndjson"
    other.write_bytes(day.read_bytes()[: 1 << 16].rpartition(b"\n")[0] + b"\n")
    process = start(other, unbroken)
    out, said = process.communicate()

    assert process.returncode not in {0, 1}
    assert out == b""
    assert "holds another run: its inputs are" in said.decode()
    assert "Choose another --data" in said.decode()


def without_seconds(summary: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in summary.items() if k != "seconds"}, sort_keys=True)
