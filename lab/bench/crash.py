"""Kill runs again and again, let them finish, and hold what they leave against an unbroken run.

A chain is one data folder: the same command is started, killed, started again … and at last left to
finish. Half of the kills fall inside a barrier, a third at other named points (``flows.crash``),
the rest at random times. Starts change between one process, two and four, and between whole
snapshots and pointers to files of state, and sometimes another process than the first is the one
killed. On Kafka the same events come on two topics, eight lanes in all, and a broker may be
restarted under each chain's last start. The first chain begins with a start whose disk is full
half-way.
"""

import random
import select
import shlex
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec import Struct

from flows import clock
from flows.crash import POINTS, STATE_POINTS, VARIABLE
from flows.datafolder import Paths
from flows.manifest import read_manifest
from lab.bench import inputs, machine, processes, topics
from lab.bench.content import Content, Difference, compare, read_content
from lab.bench.disk import largest_file, limited

SEED: Final = 7
EVENTS: Final = 40_000
ACCOUNTS: Final = 10_000
KILLS: Final = 240  # half of them in barriers, ten at each other named point
KILLS_QUICK: Final = 20  # every named point at least once
EVENTS_QUICK: Final = 16_000
# Small blocks and epochs, so that a short run has many moments; more alerts than a quiet day has.
SETTINGS: Final = (
    "epoch_seconds=0.1",
    "intake.block_bytes=262144",
    "intake.idle_seconds=3600",  # a heartbeat would let a clock have its say
    "kafka.messages_at_once=700",
    "detectors.order_to_trade.ratio_max=3",
    "detectors.win_rate.min_units=2",
    "detectors.win_rate.threshold=0.5",
    "detectors.self_trading.trades_min=2",
    "packs.added=peers",
    "detectors.certified_cancels.baseline_units_min=0",
    "detectors.certified_cancels.null_rate=0.3",
    "detectors.certified_cancels.alarms_a_day=1000000",
    "detectors.certified_cancels.accounts_planned=1",
    "detectors.certified_burst.baseline_windows_min=0",
    "detectors.certified_burst.actions_min=2",
    "detectors.certified_burst.alarms_a_day=1000000",
    "detectors.certified_burst.accounts_planned=1",
)
EPOCH_SECONDS: Final = 0.25
# Figures so low that an epoch has a hundred alerts and more, most of which grow.
MANY_ALERTS: Final = (
    f"epoch_seconds={EPOCH_SECONDS}",
    "detectors.cancel_count.cancels_min=1",
    "detectors.instant_cancels.cancels_min=1",
    "detectors.instant_cancels.orders_min=1",
    "detectors.instant_cancels.cancel_ratio_min=0.1",
    "detectors.large_cancels.cancels_min=1",
    "detectors.large_cancels.lots_min=1",
    "detectors.order_rate.actions_min=3",
    "detectors.order_to_trade.ratio_max=1",
    "detectors.win_rate.min_units=1",
    "detectors.win_rate.threshold=0.2",
    "detectors.self_trading.trades_min=1",
)
POINTERS: Final = "state.pointer_from_bytes=0"  # however small the state is
RANDOM: Final = "random"
# While an epoch ends: what is snapshotted is durable in part.
BARRIER_POINTS: Final = (
    "snapshot.account",
    "snapshot.instruments",
    "snapshot.writer",
    "state.written",
)
_NO_BROKER: Final = "No broker at"
_CHAIN_KILLS: Final = 5
_EARLY_SHARE: Final = 0.15  # of random kills: before the first block, while the run is starting
_EARLY_SECONDS: Final = 2.0
_WORK_SHARE: Final = 0.4  # of an unbroken run's time at work: a chain's starts share it
_POLL_SECONDS: Final = 0.005
_WAIT_SECONDS: Final = 120.0
_WORKER_SHARE: Final = 0.3
_POINTER_SHARE: Final = 0.5
# Processes of a start, and how often: four start slowly where there are two processors.
_PROCESSES: Final = ((1, 2, 4), (3, 3, 1))
_NANOSECONDS: Final = 1e9
_EXIT_NO_ROOM: Final = 4  # as docs/reference/cli.md has it
# How often a run of a few epochs passes each point; a kill falls at a random one of the passings.
_PASSINGS: Final = {
    "snapshot.account": 60,
    "snapshot.instruments": 12,
    "between": 30,
    "ledger.mid_apply": 2,
    "state.written": 60,
}
_PASSINGS_USUAL: Final = 8


class Kill(Struct, frozen=True, kw_only=True):
    """One start that is to be killed: at a named point's ``count``-th passing, or by time."""

    point: str
    count: int
    is_early: bool
    delay_seconds: float
    processes: int
    hits_worker: bool
    uses_pointers: bool


@dataclass(slots=True)
class Tally:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    by_processes: Counter[str] = field(default_factory=Counter)
    of_worker: int = 0
    rescales: Counter[str] = field(default_factory=Counter)
    before_completion: int = 0
    chains: int = 0
    missed: int = 0
    full_disks: int = 0
    broker_restarts: int = 0
    finished_again: int = 0  # starts that found no broker, and were made once more
    epochs: float = 0.0  # of the unbroken run, at most
    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, difference: Difference) -> None:
        """Count a chain's end."""
        self.chains += 1
        self.lost += difference.lost
        self.doubled += difference.doubled
        self.changed += difference.changed
        self.examples += difference.examples

    @property
    def count(self) -> int:
        """All kills."""
        return self.kills.total()


class Source(NamedTuple):
    """What is read.

    Attributes
    ----------
    kafka
        HOST:PORT of a broker to read from; without one, a file is read.
    restart_broker
        Kills that broker and brings it back; None: nobody does.
    """

    kafka: str = ""
    restart_broker: Callable[[], None] | None = None


FILE: Final = Source()


def run(
    *, quick: bool, say: Callable[[str], None], kafka: str = "", restart_broker: str = ""
) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    restart = partial(_run_aside, restart_broker) if restart_broker else None
    kills = KILLS_QUICK if quick else KILLS
    with tempfile.TemporaryDirectory(prefix="tapewatch-crash-") as folder:
        events = EVENTS_QUICK if quick else EVENTS
        source = Source(kafka, restart)
        tally, expected = kill_runs(Path(folder), kills, say, events=events, source=source)
    return {
        "machine": machine.describe(),
        "commit": machine.commit(),
        "seed": SEED,
        "figures": {
            "source": "kafka" if kafka else "file",
            "kills": tally.count,
            "kills_in_barriers": sum(tally.kills[point] for point in BARRIER_POINTS),
            "kills_by_point": dict(sorted(tally.kills.items())),
            "kills_by_processes": dict(sorted(tally.by_processes.items())),
            "kills_of_other_processes": tally.of_worker,
            "rescales": dict(sorted(tally.rescales.items())),
            "kills_before_completion": tally.before_completion,
            "starts_that_ended_before_their_kill": tally.missed,
            "full_disks": tally.full_disks,
            "broker_restarts": tally.broker_restarts,
            "finished_again_after_restart": tally.finished_again,
            "runs_compared": tally.chains,
            "alerts_an_epoch": round(len(expected.parts["alerts"]) / tally.epochs, 1),
            "compared": {part: len(rows) for part, rows in expected.parts.items()},
            "lost": tally.lost.total(),
            "doubled": tally.doubled.total(),
            "changed": tally.changed.total(),
            "examples": tally.examples[:10],
        },
        "ratios": {"before_completion": round(tally.before_completion / max(1, tally.count), 3)},
    }


def kill_runs(
    folder: Path,
    kills: int,
    say: Callable[[str], None],
    *,
    events: int,
    seed: int = SEED,
    source: Source = FILE,
) -> tuple[Tally, Content]:
    """Kill ``kills`` starts and compare every chain's end; also return the unbroken run's."""
    rng = random.Random(seed)  # noqa: S311 - a seeded plan, no secret
    bench = _Bench(folder, rng, events, source)
    say(f"An unbroken run of {events:,} events, to compare with.")
    expected = bench.unbroken()
    tally = Tally(epochs=bench.work_seconds / EPOCH_SECONDS)
    wanted = _wanted(kills, rng)
    while wanted:
        bench.chain(wanted, expected, tally)
        say(
            f"{tally.count} of {kills} kills, {tally.chains} runs compared: lost "
            f"{tally.lost.total()}, doubled {tally.doubled.total()}, changed "
            f"{tally.changed.total()}."
        )
    return tally, expected


def _wanted(kills: int, rng: random.Random) -> list[str]:
    """Return the points to die at, in random order: half of them inside a barrier.

    A third are the other named points, and the rest random times; of few kills more are named, so
    that each point has its turn, as far as there are enough.
    """
    others = [point for point in (*POINTS, *STATE_POINTS) if point not in BARRIER_POINTS]
    inside = kills // 2
    named = min(max(kills // 3, len(others)), kills - inside - 1)
    wanted = _turns(BARRIER_POINTS, inside, rng) + _turns(others, named, rng)
    wanted += [RANDOM] * (kills - len(wanted))
    rng.shuffle(wanted)
    return wanted


def _turns(points: Sequence[str], count: int, rng: random.Random) -> list[str]:
    shuffled = rng.sample(points, len(points))
    return [shuffled[index % len(points)] for index in range(count)]


class _Bench:
    """The input and the commands of one bench."""

    def __init__(self, folder: Path, rng: random.Random, events: int, source: Source) -> None:
        kafka, self._restart_broker = source
        self._folder = folder
        self._rng = rng
        self._input = str(folder / "day.ndjson")
        self._chains = 0
        self.work_seconds = 0.0
        lines = inputs.roughen(inputs.market_lines(events, SEED, ACCOUNTS), SEED)
        if kafka:
            orders, app = (f"crash-{kind}-{clock.now_ns()}" for kind in ("orders", "app"))
            topics.make_topics(kafka, orders, app)
            topics.publish(kafka, lines, orders, app)
            self._input = f"kafka://{kafka}/{orders},{app}?until=end"
        else:
            inputs.write_lines(Path(self._input), lines)

    def unbroken(self) -> Content:
        """Run to the end, noting how long the work itself takes."""
        data = self._folder / "unbroken"
        process = processes.start(self._command(data, 1))
        wait_for_work(process, data, [])
        began_ns = clock.monotonic_ns()
        assert processes.finish(process)["complete"]
        self.work_seconds = (clock.monotonic_ns() - began_ns) / _NANOSECONDS
        content = read_content(data)
        assert not content.faults, content.faults
        return content

    def _finish(self, data: Path, count: int, tally: Tally) -> None:
        before = _traces(data)
        process = processes.start(self._command(data, count))
        if self._restart_broker is not None:
            wait_for_work(process, data, before)
            self._restart_broker()
            tally.broker_restarts += 1
        try:
            summary = processes.finish(process)
        except processes.ProcessFailedError as error:
            # A process that was still starting found no broker, said so and ended.
            if self._restart_broker is None or _NO_BROKER not in str(error):
                raise
            summary = processes.finish(processes.start(self._command(data, count)))
            tally.finished_again += 1
        assert summary["complete"], summary

    def _how_many(self) -> int:
        return self._rng.choices(*_PROCESSES)[0]

    def _fill_disk(self, data: Path, tally: Tally) -> None:
        """Start with room for half of the largest file there will be: it must end and say so."""
        size = largest_file(self._folder / "unbroken") // 2
        process = processes.start(limited(self._command(data, 1), size))
        _, said = process.communicate()
        assert process.returncode == _EXIT_NO_ROOM, said.decode(errors="replace")
        tally.full_disks += 1

    def _command(self, data: Path, count: int, *more: str) -> list[str]:
        return processes.replay_command(
            [self._input], data, count, (*SETTINGS, *MANY_ALERTS, *more)
        )

    def chain(self, wanted: list[str], expected: Content, tally: Tally) -> None:
        """Kill starts on one data folder, finish, compare; take what was done off ``wanted``."""
        data = self._folder / f"chain-{self._chains}"
        self._chains += 1
        self._share_pepper(data)
        if tally.full_disks == 0:
            self._fill_disk(data, tally)
        counts = []
        for _ in range(min(_CHAIN_KILLS, len(wanted))):
            kill = self._plan(wanted[0], is_first_try=tally.missed == 0)
            counts.append(kill.processes)
            if not self._start_and_kill(data, kill, tally):
                tally.missed += 1
                wanted.append(wanted.pop(0))
                break
            wanted.pop(0)
        counts.append(self._how_many())
        self._finish(data, counts[-1], tally)
        tally.rescales.update(f"{old}-{new}" for old, new in pairwise(counts) if old != new)
        tally.add(compare(expected, read_content(data)))
        shutil.rmtree(data)

    def _share_pepper(self, data: Path) -> None:
        """Give a folder the unbroken run's pepper, so that tokens in the ledger can be compared."""
        keys = Paths(data).keys
        keys.mkdir(mode=0o700, parents=True)
        shutil.copy2(Paths(self._folder / "unbroken").keys / "pepper", keys / "pepper")
        Paths(data).lock.touch()  # which says that the folder is ours

    def _plan(self, point: str, *, is_first_try: bool) -> Kill:
        rng = self._rng
        passings = _PASSINGS.get(point, _PASSINGS_USUAL)
        is_early = point == RANDOM and rng.random() < _EARLY_SHARE
        count = rng.randint(1, passings if is_first_try else max(1, passings // 2))
        how_many = self._how_many()
        return Kill(
            point=point,
            count=count,
            is_early=is_early,
            delay_seconds=rng.uniform(
                0, _EARLY_SECONDS if is_early else _WORK_SHARE * self.work_seconds
            ),
            processes=how_many,
            hits_worker=how_many > 1 and rng.random() < _WORKER_SHARE,
            # Starts of one folder change between whole snapshots and pointers.
            uses_pointers=point in STATE_POINTS or rng.random() < _POINTER_SHARE,
        )

    def _start_and_kill(self, data: Path, kill: Kill, tally: Tally) -> bool:
        """Start the run and kill it; say whether it was killed rather than ended by itself."""
        more = {} if kill.point == RANDOM else {VARIABLE: f"{kill.point}:{kill.count}"}
        before = _traces(data)
        pointers = (POINTERS,) if kill.uses_pointers else ()
        process = processes.start(self._command(data, kill.processes, *pointers), more)
        hit_worker = kill.point == RANDOM and _kill_in_time(process, data, kill, before)
        process.communicate()
        if process.returncode == 0:
            return False
        tally.kills[kill.point] += 1
        tally.by_processes[str(kill.processes)] += 1
        tally.of_worker += hit_worker
        tally.before_completion += not _is_complete(data)
        return True


def _run_aside(command: str) -> None:
    subprocess.run(shlex.split(command), check=True)  # noqa: S603 - the caller's own command


def _kill_in_time(
    process: "subprocess.Popen[bytes]", data: Path, kill: Kill, before: list[int]
) -> bool:
    """Kill a start by the clock; say whether another process than its first was hit."""
    if not kill.is_early:
        wait_for_work(process, data, before)
    _pause(kill.delay_seconds)
    workers = processes.children_of(process.pid) if kill.hits_worker else []
    if process.poll() is None:
        processes.kill(workers[-1] if workers else process.pid)
    return bool(workers)


def wait_for_work(process: "subprocess.Popen[bytes]", data: Path, before: list[int]) -> None:
    """Wait until a start has written something, or has ended."""
    until = clock.monotonic_ns() + int(_WAIT_SECONDS * _NANOSECONDS)
    while process.poll() is None and _traces(data) == before:
        assert clock.monotonic_ns() < until, "a run did nothing for two minutes"
        _pause(_POLL_SECONDS)


def _pause(seconds: float) -> None:
    select.select([], [], [], seconds)


def _traces(data: Path) -> list[int]:
    """Return what changes as soon as a run writes alerts or counts."""
    wal = data / "store.sqlite3-wal"
    return [wal.stat().st_mtime_ns] if wal.is_file() else []


def _is_complete(data: Path) -> bool:
    manifest = read_manifest(data)
    return manifest is not None and manifest.completed
