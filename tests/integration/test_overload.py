"""More than can be taken: sources wait, memory is bounded, nothing is lost, nobody becomes late."""

import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any
from urllib.error import URLError

import pytest
from bytewax.inputs import StatefulSourcePartition
from plan_parts import make_plan
from scraping import free_ports, scrape
from servers.mock_kafka import MockKafka

from flows import kafka_source
from flows.crash import CrashPoints
from flows.kafka_source import SLOTS
from flows.live_flow import EPOCH_WINDOWS as LIVE_WINDOWS
from flows.monitor import EPOCH_WINDOWS
from flows.observe.observer import Observer, Part
from flows.replay import RunOptions, run
from lab.bench import inputs, processes, topics
from lab.bench.content import Content, compare, read_content
from lab.bench.crash import SETTINGS
from lab.bench.engine import run_watched
from lab.bench.load import BURST_ORDERS, Load
from schemas.events import SECOND_NS
from schemas.hashing import murmur2_bytes

pytestmark = pytest.mark.long

EVENTS, SEED, ACCOUNTS = 3_000, 3, 200
KIB = 1024
BLOCK, ALLOWANCE = 4 * KIB, 4 * KIB
FLAGS = (
    *(setting for setting in SETTINGS if setting.startswith("detectors.")),
    f"intake.block_bytes={BLOCK}",
    f"intake.unacknowledged_bytes_max={ALLOWANCE}",
    "intake.idle_seconds=3600",
    "epoch_seconds=0.5",
    "shards=4",
)
NEVER = Event()
LAGGING, IDLE = 2, 3  # lanes
AT_ONCE = 10  # messages
RSS_MAX = 400 * KIB * KIB  # of one process: libraries and kernels need 250


class SlowDisk(CrashPoints):
    """Makes one kind of write wait, each time it comes."""

    def __init__(self, point: str, seconds: float) -> None:
        super().__init__("")
        self._slow, self._seconds = point, seconds
        self.waited = 0

    def __call__(self, point: str) -> None:
        if point == self._slow:
            self.waited += 1
            NEVER.wait(self._seconds)


class Scales(Observer):
    """Weighs what sources gave and nobody has acknowledged yet."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.most = 0
        self.total = 0

    def part(self, part: Part, index: int, first: int) -> Part:
        del first
        return WeighedPart(part, index, self)


class WeighedPart(StatefulSourcePartition[Any, Any]):
    def __init__(self, inner: Part, index: int, scales: Scales) -> None:
        self._inner, self._index, self._scales = inner, index, scales
        self._is_saved = False

    def next_batch(self) -> Sequence[Any]:
        scales = self._scales
        if self._is_saved:  # we are asked: the epoch before is durable
            self._is_saved = False
            scales.held[self._index] = 0
        items = list(self._inner.next_batch())
        size = sum(item.size for item in items)
        scales.held[self._index] = scales.held.get(self._index, 0) + size
        scales.total += size
        scales.most = max(scales.most, sum(scales.held.values()))
        return items

    def snapshot(self) -> Any:
        self._is_saved = True
        return self._inner.snapshot()

    def next_awake(self) -> Any:
        return self._inner.next_awake()

    def close(self) -> None:
        self._inner.close()


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("input") / "day.ndjson"
    inputs.write_lines(path, inputs.market_lines(EVENTS, SEED, ACCOUNTS))
    return path


@pytest.fixture(scope="module")
def unhurried(day: Path, tmp_path_factory: pytest.TempPathFactory) -> Content:
    """Return what a run leaves that nothing holds up."""
    data = tmp_path_factory.mktemp("unhurried") / "data"
    assert run(make_plan(data, [day], FLAGS), RunOptions(engine="loop")).is_complete
    content = read_content(data)
    assert len(content.parts["alerts"]) > 10
    return content


@pytest.mark.parametrize(
    "slow",
    [SlowDisk("ledger.before_commit", 0.02), SlowDisk("store.before_commit", 0.02)],
    ids=["ledger", "store"],
)
def test_a_slow_disk_holds_the_file_back_and_changes_nothing(
    day: Path, unhurried: Content, tmp_path: Path, slow: SlowDisk
) -> None:
    plan = make_plan(tmp_path / "data", [day], FLAGS)
    plan.crash = slow
    scales = Scales()
    writer = run_watched(plan, scales)
    assert writer is not None
    assert writer.is_complete()
    assert slow.waited > 10
    assert scales.total == day.stat().st_size
    bound = EPOCH_WINDOWS * ALLOWANCE + 4 * BLOCK  # each part may go over by one block
    assert bound / 8 < scales.most <= bound < scales.total / 3
    difference = compare(unhurried, read_content(tmp_path / "data"))
    assert difference.is_none, difference


@pytest.mark.slow
def test_an_output_that_takes_nothing_holds_two_processes_back(
    mock_kafka: MockKafka, tmp_path: Path
) -> None:
    """The writer waits in one process; the other has to be held back all the same."""
    load, orders = Load(accounts=5_000, rate=20_000, burst_share=2), 50_000
    path, data = tmp_path / "load.ndjson", tmp_path / "data"
    path.write_bytes(load.lines(0, orders))
    mock_kafka.create_topic("alerts")
    mock_kafka.set_down()
    port = free_ports(2)
    settings = (
        f"outputs.alerts=kafka://{mock_kafka.bootstrap}/alerts",
        f"metrics.listen=127.0.0.1:{port}",
        f"intake.unacknowledged_bytes_max={512 * KIB}",
        f"intake.block_bytes={128 * KIB}",
    )
    process = processes.start(processes.replay_command([path], data, 2, settings))
    try:
        read = [when_it_stands(process, port + k) for k in range(2)]
        mock_kafka.set_up()
        peaks = [peak_bytes(pid) for pid in (process.pid, *processes.children_of(process.pid))]
        found = processes.finish(process)
    finally:
        process.kill()
    # Each process has half of the parts, and each part counts its share of a block.
    assert all(0 < each <= EPOCH_WINDOWS * 512 * KIB / 2 for each in read)
    assert sum(read) < path.stat().st_size / 2
    assert len(peaks) == 2
    assert max(peaks) < RSS_MAX
    assert (found["complete"], found["events"], found["late"]) == (True, 2 * orders, 0)
    bursts = orders / load.burst_share / BURST_ORDERS
    assert found["alerts"] == {"order_rate": pytest.approx(bursts, abs=1)}


def when_it_stands(process: "subprocess.Popen[bytes]", port: int) -> float:
    """Wait until a process reads no more, and return how many bytes it has read."""
    seen: list[float] = []
    for _ in range(600):
        assert process.poll() is None, process.communicate()
        NEVER.wait(0.1)
        with suppress(URLError):
            seen.append(scrape(port).get(("tapewatch_read_bytes_total", ()), 0))
        if len(seen) > 15 and 0 < seen[-1] == seen[-15]:
            return seen[-1]
    raise AssertionError(seen)


def peak_bytes(process_id: int) -> int:
    """Return the most memory that a process has had so far."""
    status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * KIB


def uneven(day: Path) -> list[list[bytes]]:
    """Deal a day's lines to four lanes: two as they are, one two hours behind, one almost idle."""
    lanes: list[list[bytes]] = [[] for _ in range(4)]
    for line in day.read_bytes().splitlines():
        event = json.loads(line)
        if "account_id" not in event:
            continue  # Kafka gives messages without a key to any lane
        lane = murmur2_bytes(event["account_id"].encode()) % 4
        if lane == LAGGING:
            event["event_time_ns"] -= 7_200 * SECOND_NS
        if lane != IDLE or len(lanes[IDLE]) < 3:
            lanes[lane].append(json.dumps(event, separators=(",", ":")).encode())
    return lanes


def test_a_burst_on_kafka_waits_and_lanes_behind_make_nobody_late(
    day: Path, mock_kafka: MockKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = uneven(day)
    lines = sorted((line for lane in lanes for line in lane), key=time_of)
    inputs.write_lines(tmp_path / "day.ndjson", lines)
    loop = make_plan(tmp_path / "file", [tmp_path / "day.ndjson"], FLAGS)
    expected = run(loop, RunOptions(engine="loop")).summary
    # All of it stands there at once: more than any multiple of what is taken in a moment.
    mock_kafka.create_topic("burst", 4)
    topics.publish(mock_kafka.bootstrap, lines, "burst")
    monkeypatch.setattr(kafka_source, "READY_BYTES_MAX", BLOCK)
    flags = (
        *FLAGS,
        f"kafka.messages_at_once={AT_ONCE}",
        f"intake.unacknowledged_bytes_max={3 * ALLOWANCE}",
    )
    plan = make_plan(tmp_path / "data", [f"kafka://{mock_kafka.bootstrap}/burst?until=end"], flags)
    slow = plan.crash = SlowDisk("ledger.before_commit", 0.01)
    scales = Scales()
    writer = run_watched(plan, scales)
    assert writer is not None
    assert slow.waited > 5
    size = sum(map(len, lines))
    assert scales.total == size
    pump = AT_ONCE * max(map(len, lines))
    bound = len(lanes) * (3 * LIVE_WINDOWS * ALLOWANCE // SLOTS + BLOCK + 2 * pump)
    assert bound / 8 < scales.most <= bound < size / 2
    found = writer.summary()
    for name in ("events", "alerts", "late", "notices", "duplicates", "rejected"):
        assert found[name] == expected[name], name
    assert found["late"] == 0
    assert alerts(tmp_path / "data") == alerts(tmp_path / "file") != []


def time_of(line: bytes) -> tuple[int, bytes]:
    return int(json.loads(line)["event_time_ns"]), line


def alerts(data: Path) -> list[dict[str, Any]]:
    """Return the alerts without what names their place."""
    rows = read_content(data).parts["alerts"].values()
    return sorted(({k: v for k, v in r.items() if k != "positions"} for r in rows), key=str)
