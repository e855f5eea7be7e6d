"""The supervisor, above programs of a few lines that die, hang, refuse or end as they are told."""

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from msgspec import json as msgspec_json

from console import exits
from flows import supervision
from flows.processes import EXIT_PEER_LOST
from flows.supervision import BEAT, DONE, VARIABLE, Limits, Post, Pulse, open_pulse
from flows.supervisor import Restarts, Supervisor

WAIT_SECONDS = 60.0
QUICK = Limits(stall_seconds=0.2, window_seconds=600, pause_seconds=0.0, pause_seconds_max=0.0)
# A run: its lives are lines of a file, and each does what the words after the file say.
RUN = """
import os, signal, sys, threading
from pathlib import Path
from flows.supervision import Limits, open_pulse
pulse = open_pulse()
log = Path(sys.argv[1])
life = len(log.read_text().splitlines()) if log.exists() else 0
with log.open("a") as lives:
    lives.write(f"{os.getpid()} {sorted(pulse.restarts.items())}\\n")
word = sys.argv[2:][life]
start_seconds = 0.3 if word == "stuck" else 60.0
pulse.begin(Limits(stall_seconds=0.2, start_seconds=start_seconds, pause_seconds=0.0))
if word == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if word == "stuck":
    threading.Event().wait()
if word == "hung":
    pulse.beat()
    threading.Event().wait()
if word == "busy":
    pulse.done()
    threading.Event().wait(2.0)
if word == "waits":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("waits", flush=True)
    while True:
        signal.pause()
if word == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pulse.beat()
    print("deaf", flush=True)
    threading.Event().wait()
sys.exit(int(word) if word.isdecimal() else 0)
"""
SUPERVISED = """
import sys
from flows.supervisor import Supervisor
command = [sys.executable, "-c", *sys.argv[2:]]
sys.exit(Supervisor(command, int(sys.argv[1]), print).run())
"""


def supervise(log: Path, words: list[str], most: int = 9) -> tuple[int, list[str]]:
    said: list[str] = []
    command = [sys.executable, "-c", RUN, str(log), *words]
    return Supervisor(command, most, said.append).run(), said


def lives(log: Path) -> list[str]:
    """Return what each life was told of the restarts before it."""
    return [line.partition(" ")[2] for line in log.read_text().splitlines()]


def test_a_run_that_ends_well_is_left_at_that(tmp_path: Path) -> None:
    assert supervise(tmp_path / "log", ["0"]) == (0, [])


def test_a_run_that_dies_or_hangs_is_started_again_and_told_how_often(tmp_path: Path) -> None:
    words = ["killed", "stuck", "hung", str(EXIT_PEER_LOST), "busy"]
    code, said = supervise(tmp_path / "log", words)
    assert code == 0
    assert lives(tmp_path / "log") == [
        "[]",
        "[('died', 1)]",
        "[('died', 1), ('hung', 1)]",
        "[('died', 1), ('hung', 2)]",
        "[('died', 2), ('hung', 2)]",
    ]
    assert len(said) == 4


@pytest.mark.parametrize("code", sorted(set(exits.MEANINGS) - {exits.OK, exits.LOST}))
def test_a_run_that_says_what_is_wrong_is_not_started_again(tmp_path: Path, code: int) -> None:
    assert supervise(tmp_path / "log", [str(code), "0"]) == (code, [])


def test_a_run_that_goes_on_dying_is_given_up_with_a_sentence(tmp_path: Path) -> None:
    code, said = supervise(tmp_path / "log", ["killed"] * 9, most=2)
    assert (code, len(lives(tmp_path / "log"))) == (EXIT_PEER_LOST, 3)
    assert said[-1] == (
        "A process of the run died, too often within 600 s to start it again. Nothing durable is "
        "lost: look for the reason, then run the same command to go on."
    )


def test_the_exit_code_of_a_lost_process_has_its_meaning() -> None:
    assert exits.LOST == EXIT_PEER_LOST


def test_pauses_grow_to_a_bound_and_old_restarts_are_forgotten() -> None:
    limits = Limits(window_seconds=100, pause_seconds=1, pause_seconds_max=5)
    restarts = Restarts(4)
    times = [0, 10, 20, 30, 40, 101, 111]
    pauses = [restarts.pause_seconds("died", limits, t * 10**9) for t in times]
    assert pauses == [1, 2, 4, 5, None, 5, 5]
    assert restarts.counts == {"died": 6}


def start(log: Path, *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, "9", RUN, str(log), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def said_next(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_passed_on_and_ends_both(tmp_path: Path, number: int) -> None:
    with start(tmp_path / "log", "waits") as process:
        assert said_next(process) == b"waits"
        process.send_signal(number)
    assert process.returncode == 0


def test_a_run_that_does_not_stop_is_ended_and_not_started_again(tmp_path: Path) -> None:
    with start(tmp_path / "log", "deaf", "0") as process:
        assert said_next(process) == b"deaf"
        process.send_signal(signal.SIGTERM)
        said = said_next(process).decode()
    assert process.returncode == EXIT_PEER_LOST
    assert said.endswith("was ended while it was stopping. The same command goes on.")
    assert len(lives(tmp_path / "log")) == 1


def test_a_killed_supervisor_takes_the_run_with_it(tmp_path: Path) -> None:
    with start(tmp_path / "log", "waits") as process:
        assert said_next(process) == b"waits"
        process.kill()
        # The run holds this pipe too: it has an end only when the run has ended.
        assert process.stdout is not None
        assert process.stdout.read() == b""


def test_nobody_is_told_without_a_supervisor() -> None:
    pulse = open_pulse({})
    pulse.begin(Limits())
    pulse.beat()
    pulse.done()
    assert (pulse.handle, pulse.restarts) == (None, {})


def test_a_run_tells_its_limits_and_some_beats_and_that_it_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[int] = []
    monkeypatch.setattr(supervision, "end_with_parent", held.append)  # it would end this process
    told, telling = os.pipe()
    post = Post(life=99, told=telling, restarts={"died": 1})
    environment = {VARIABLE: msgspec_json.encode(post).decode()}
    pulse = open_pulse(environment)
    assert (held, environment, pulse.restarts) == ([99], {}, {"died": 1})
    pulse.begin(QUICK)
    for _ in range(1_000):
        pulse.beat()
    pulse.done()
    os.close(telling)
    with os.fdopen(told, "rb") as lines:
        first, *beats, last = lines
    assert msgspec_json.decode(first, type=Limits) == QUICK
    assert set(beats) == {BEAT}
    assert 1 <= len(beats) < 100
    assert last == DONE


def test_a_supervisor_that_reads_nothing_or_is_gone_holds_nobody_up() -> None:
    told, telling = os.pipe()
    os.set_blocking(telling, False)
    while select.select([], [telling], [], 0)[1]:
        os.write(telling, b"x" * 4096)
    Pulse(telling).done()
    os.close(told)
    Pulse(telling).done()
    os.close(telling)


def test_a_stop_between_two_lives_ends_well(tmp_path: Path) -> None:
    said = threading.Event()
    command = [sys.executable, "-c", RUN.replace("pause_seconds=0.0", "pause_seconds=30.0")]
    supervisor = Supervisor(
        [*command, str(tmp_path / "log"), "killed", "0"],
        9,
        lambda _sentence: (said.set(), os.kill(os.getpid(), signal.SIGTERM))[0],
    )
    assert supervisor.run() == 0
    assert said.is_set()
    assert len(lives(tmp_path / "log")) == 1
