"""A disk that takes nothing more, at any moment: a sentence, and the same command goes on."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import caller
from plan_parts import FLAGS as PLAN_FLAGS
from plan_parts import make_plan
from servers.mock_kafka import MockKafka

from flows.disk import DiskProblem
from flows.plan import Plan
from flows.replay import Engine, RunOptions, run
from lab.bench import inputs, processes, topics
from lab.bench.content import Content, compare, read_content
from lab.bench.crash import SETTINGS

pytestmark = [
    pytest.mark.long,
    # Nothing but the fork's own thread is needed in the child, which ends without looking back.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

EVENTS, SEED, ACCOUNTS = 5_000, 3, 300
FLAGS = (
    *(setting for setting in SETTINGS if setting.startswith("detectors.")),
    "intake.block_bytes=131072",
    "epoch_seconds=0",
    "shards=4",
    "intake.idle_seconds=3600",
    "kafka.messages_at_once=150",
)
KIB = 1024
ROOM_KIB = 32 * KIB
# From a start that cannot write its manifest to a run that dies near its end.
FREE_KIB = (4, 90, 110, 120, 200, 420, 900, 2_500)
FILE_KIB = (1, 60, 120, 700)
# One that a file of ours mostly meets first, and one that the engine's own mostly does.
FILE_KIB_OF_TWO = (400, 1_500)
FREE_KIB_OF_TWO = 2_500
WAIT_SECONDS = 120


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("input") / "day.ndjson"
    rough = inputs.roughen(inputs.market_lines(EVENTS, SEED, ACCOUNTS), SEED)
    inputs.write_lines(path, rough)
    return path


def plan_of(day: Path | str, data: Path) -> Plan:
    return make_plan(data, [day], FLAGS)


@pytest.fixture(scope="module")
def unbroken(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Content:
    data = tmp_path_factory.mktemp("unbroken") / "data"
    assert run(plan_of(day, data), RunOptions()).is_complete
    content = read_content(data)
    assert len(content.parts["alerts"]) > 20
    assert len(content.parts["outbox"]) > 0
    return content


def refused(day: Path | str, data: Path, engine: Engine = "bytewax") -> str:
    """Run where there is too little room; return the sentence.

    That is done in a child, for an engine that has panicked never closes its files.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = "it went well"
        try:
            run(plan_of(day, data), RunOptions(engine=engine))
        except BaseException as error:  # noqa: BLE001 - the parent judges it
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        sentence = pipe.read()
    os.waitpid(child, 0)
    assert sentence.startswith(f"{DiskProblem.__name__}: "), sentence
    return sentence


def assert_it_goes_on(day: Path | str, data: Path, unbroken: Content) -> None:
    assert run(plan_of(day, data), RunOptions()).is_complete
    difference = compare(unbroken, read_content(data))
    assert difference.is_none, difference


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file of this process become larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kib", FILE_KIB)
def test_files_that_may_not_grow_stop_the_run_and_it_goes_on_when_they_may(
    day: Path, unbroken: Content, tmp_path: Path, kib: int
) -> None:
    plan_of(day, tmp_path / "data")
    with files_up_to(kib * KIB):
        sentence = refused(day, tmp_path / "data")
    assert "does not take what is written" in sentence
    assert "run the same command again" in sentence
    assert_it_goes_on(day, tmp_path / "data", unbroken)


def test_the_plain_loop_says_the_same_and_lets_go_of_its_files(
    day: Path, unbroken: Content, tmp_path: Path
) -> None:
    plan_of(day, tmp_path / "data")
    with files_up_to(300 * KIB):
        assert "does not take what is written" in refused(day, tmp_path / "data", "loop")
    assert_it_goes_on(day, tmp_path / "data", unbroken)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder that is a disk of its own."""
    folder = tmp_path_factory.mktemp("disk")
    words = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_KIB}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("only a superuser can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def room_of(disk: Path, kib: int) -> Iterator[None]:
    """Leave only so much room."""
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - kib * KIB)))
    try:
        yield
    finally:
        filler.unlink()


@pytest.mark.parametrize("kib", FREE_KIB)
def test_a_full_disk_stops_the_run_and_it_goes_on_when_there_is_room(
    day: Path, unbroken: Content, small_disk: Path, kib: int
) -> None:
    data = small_disk / "data"
    plan_of(day, data)
    with room_of(small_disk, kib):
        sentence = refused(day, data)
    assert f"The disk that holds {data}" in sentence
    assert "is full. Make room" in sentence
    assert_it_goes_on(day, data, unbroken)
    shutil.rmtree(data)


def two_processes(day: Path, data: Path) -> "subprocess.CompletedProcess[str]":
    """Run the command in two processes, as people do."""
    flags = [word for each in (*PLAN_FLAGS, *FLAGS) for word in ("--set", each)]
    return subprocess.run(
        [
            *(sys.executable, "-m", "console.cli", "replay", str(day), "--json"),
            *("--data", str(data), "--processes", "2", *flags),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=processes.environment(),
        timeout=WAIT_SECONDS,
    )


def assert_two_say_it(said: "subprocess.CompletedProcess[str]", words: str) -> None:
    assert said.returncode == 4, said.stderr
    assert words in said.stderr
    assert "run the same command again" in said.stderr
    assert "its own mistake" not in said.stderr
    assert "Traceback" not in said.stderr


def assert_two_go_on(day: Path, data: Path, unbroken: Content) -> None:
    done = two_processes(day, data)
    assert done.returncode == 0, done.stderr
    difference = compare(unbroken, read_content(data))
    assert difference.is_none, difference


@pytest.mark.parametrize("kib", FILE_KIB_OF_TWO)
def test_two_processes_whose_files_may_not_grow_stop_together_and_go_on(
    day: Path, unbroken: Content, tmp_path: Path, kib: int
) -> None:
    data = tmp_path / "data"
    plan_of(day, data)
    with files_up_to(kib * KIB):
        said = two_processes(day, data)
    assert_two_say_it(said, "does not take what is written")
    assert_two_go_on(day, data, unbroken)


def test_two_processes_on_a_full_disk_stop_together_and_go_on(
    day: Path, unbroken: Content, small_disk: Path
) -> None:
    data = small_disk / "data"
    plan_of(day, data)
    with room_of(small_disk, FREE_KIB_OF_TWO):
        said = two_processes(day, data)
    assert_two_say_it(said, "is full. Make room")
    assert_two_go_on(day, data, unbroken)
    shutil.rmtree(data)


@pytest.mark.parametrize("kib", [60, 200])
def test_a_run_on_kafka_goes_on_too(
    day: Path, mock_kafka: MockKafka, tmp_path: Path, kib: int
) -> None:
    mock_kafka.create_topic("orders", topics.PARTITIONS)
    topics.publish(mock_kafka.bootstrap, day.read_bytes().splitlines()[:2_000], "orders")
    url = f"kafka://{mock_kafka.bootstrap}/orders?until=end"
    assert run(plan_of(url, tmp_path / "unbroken"), RunOptions()).is_complete
    plan_of(url, tmp_path / "data")
    with files_up_to(kib * KIB):
        assert "does not take what is written" in refused(url, tmp_path / "data")
    assert_it_goes_on(url, tmp_path / "data", read_content(tmp_path / "unbroken"))


def test_the_command_line_says_it_with_exit_code_4(
    day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    with files_up_to(200 * KIB):
        said = call("replay", day, "--data", tmp_path / "data", "--json")
    assert said.code == 4
    assert "does not take what is written" in said.err.splitlines()[-1]
    assert "its own mistake" not in said.err

    assert call("replay", day, "--data", tmp_path / "data", "--json").code == 0
