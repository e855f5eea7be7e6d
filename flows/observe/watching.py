"""The observer that watches: readings for the metrics, movement for the health, events for the log.

Everything here is called by the flow's own thread but ``stopping`` and what the server reads.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from bytewax.inputs import StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic

from flows import clock, versions
from flows.config import Config
from flows.heartbeats import BeatItem
from flows.kafka_source import KafkaSource
from flows.lanes import LaneBlock
from flows.observe.health import Health
from flows.observe.logs import kinds_of, open_log
from flows.observe.metrics import (
    LagReading,
    Metrics,
    Readings,
    ShardReading,
    SnapshotReading,
    WriterReading,
    size_of,
)
from flows.observe.observer import AlertMade, Logic, Observer, Part, StepName, Write
from flows.observe.server import Address, Server, addresses, busy, check_free
from flows.sources import LaneItem, Source
from flows.steps import AccountStep, ShardMessage
from flows.writer import WriterStep
from schemas.events import SECOND_NS

WRITER: Final = -1  # where a shard's index stands for other keys


def watch(config: Config, level: str, process: int, processes: int) -> "Watching":
    """Return a watcher of this process; see ``flows.observe.begin.open_observer``."""
    listen = addresses(config, processes)
    if process == 0:
        check_free(config, listen)
    log = open_log(config, level, process)
    return Watching(config, log, listen[process] if listen else None, (process, processes))


class Watching(Observer):
    """Watches one process of a run.

    Parameters
    ----------
    log
        A logger of ``flows.observe.logs``.
    listen
        Where to serve metrics and health; None: nowhere.
    place
        Index of this process, and how many there are.
    """

    def __init__(
        self, config: Config, log: Any, listen: Address | None, place: tuple[int, int] = (0, 1)
    ) -> None:
        self._config = config
        self._listen = listen
        self._log = log
        self.health = Health(float(config.value("health.stall_seconds")))
        self._idle_ns = round(float(config.value("health.lane_idle_seconds")) * SECOND_NS)
        labels = (str(place[0]), str(place[1]), versions.installed()["tapewatch"])
        self.readings = _Readings(labels)
        self.metrics = Metrics(self.readings)
        self._server: Server | None = None
        self._source: Source | KafkaSource | None = None
        self._lanes: tuple[str, ...] = ()
        self._read_ns: dict[int, int] = {}  # by identity of a block not yet scanned
        self._last_read_ns = 0
        self._is_idle = False
        self._barrier_ns = 0
        self._saved_parts: set[int] = set()  # whose epoch is closed and not yet durable
        self._lane_shard: int | None = None

    def __enter__(self) -> Self:
        """Begin to serve."""
        if self._listen is not None:
            try:
                self._server = Server(self._listen, self.metrics.registry, self.health)
            except OSError as error:
                raise busy(self._config, self._listen, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving, and log by its kind what ended the run, if anything did."""
        if error is not None:
            self._log.error("run_failed", errors=kinds_of(error))
        if self._server is not None:
            self._server.close()

    def run_began(self, run_key: str, *, is_resumed: bool) -> None:
        """See ``Observer``."""
        self._log = self._log.bind(run=run_key[:12])
        self._log.info("run_resumed" if is_resumed else "run_started")

    def run_restarted(self, restarts: Mapping[str, int]) -> None:
        """See ``Observer``."""
        self.readings.restarts = dict(restarts)
        if restarts:
            self._log.warning("run_restarted", **restarts)

    def run_joined(self, run_key: str) -> None:
        """See ``Observer``."""
        self._log = self._log.bind(run=run_key[:12])
        self._log.info("worker_joined")

    def run_ended(self, *, is_complete: bool) -> None:
        """See ``Observer``."""
        self._log.info("run_completed" if is_complete else "run_stopped", **self._ending())

    def _ending(self) -> dict[str, int]:
        writer = self.readings.writer or WriterReading()
        return {
            "alerts": sum(writer.alerts.values()),
            "refused": sum(writer.reasons.values()),
            "ledger_entries": writer.ledger_entries,
        }

    def stopping(self) -> None:
        """See ``Observer``. No log here: a signal may come while a line is being written."""
        self.health.stopping()

    def source_opened(self, source: Source | KafkaSource) -> None:
        """See ``Observer``."""
        self._source = source
        # Where lanes are found while running, each item says whose it is.
        self._lanes = source.lane_names if isinstance(source.lane_names, tuple) else ()

    def joined(self) -> None:
        """See ``Observer``."""
        self.health.joined()

    def part(self, part: Part, index: int, first: int) -> Part:
        """See ``Observer``."""
        self.health.part_opened(index)
        self._last_read_ns = self._last_read_ns or clock.monotonic_ns()
        self.readings.next_numbers[index] = first
        self.readings.source = self._source
        return WatchedPart(part, index, self)

    def polled(self, part: int) -> None:
        """Note that the engine asks a part for a block: so its last epoch is durable everywhere."""
        now_ns = self.health.polled()
        if part in self._saved_parts:
            self._saved_parts.clear()  # the others closed the same epoch
            elapsed_ns, self._barrier_ns = now_ns - self._barrier_ns, 0
            self.metrics.observe("barrier", elapsed_ns)
            self._log.debug("epoch_durable", barrier_seconds=elapsed_ns / SECOND_NS)
        if not self._is_idle and now_ns - self._last_read_ns > self._idle_ns:
            self._is_idle = True
            self._log.info("input_idle", seconds=(now_ns - self._last_read_ns) / SECOND_NS)

    def block_read(self, item: LaneItem, part: int) -> None:
        """Note a block on its way to the scanner."""
        now_ns = self._last_read_ns = clock.monotonic_ns()
        self._read_ns[id(item)] = now_ns
        readings = self.readings
        readings.read_blocks += 1
        readings.read_bytes += item.size
        readings.next_numbers[part] = item.number + 1
        for lane in getattr(item, "lane_names", self._lanes):
            readings.lane_read_ns[lane] = now_ns
        if self._is_idle:
            self._is_idle = False
            self._log.info("input_resumed")
        if isinstance(item, BeatItem):
            self._log.debug("lane_heartbeat", number=item.number)

    def part_ended(self, part: int) -> None:
        """Note that a part has no more blocks, or was asked to stop."""
        self.health.part_ended(part)
        self._saved_parts.discard(part)
        self.readings.next_numbers.pop(part, None)

    def part_saved(self, part: int) -> None:
        """Note a part's place at the end of an epoch; the first one begins the barrier."""
        self._saved_parts.add(part)
        self._barrier_ns = self._barrier_ns or clock.monotonic_ns()

    def logic(self, logic: Logic, step: StepName) -> Logic:
        """See ``Observer``."""
        return WatchedLogic(logic, step, self)

    def scan(self, item: LaneItem) -> LaneBlock:
        """See ``Observer``."""
        read_ns = self._read_ns.pop(id(item), 0)
        self.health.begin("scan")
        block = item.scan()
        block.read_ns = read_ns
        self.health.end()
        return block

    def items(self, items: Iterator[LaneItem]) -> Iterator[LaneItem]:
        """See ``Observer``."""
        for item in items:
            self.health.polled()
            self.block_read(item, 0)
            yield item

    def shard_started(self, step: AccountStep) -> None:
        """See ``Observer``."""
        self.readings.began[step.shard] = step.totals()

    def applied(self, step: AccountStep, messages: Sequence[ShardMessage]) -> None:
        """See ``Observer``."""
        if not messages:
            return
        self.readings.shards[step.shard] = ShardReading(messages[-1].totals, len(step.waiting))
        if self._lane_shard is None:
            self._lane_shard = step.shard
            self.readings.lateness_ns = step.stage.config.lateness_most_ns
        if step.shard == self._lane_shard:  # every shard knows the lanes' time
            self.readings.lane_high_ns.update(step.lane_times())

    def snapshot_taken(self, step: str, shard: int, state: Any, rows: dict[str, int]) -> None:
        """Note a copy of state."""
        self.readings.snapshots[step, shard] = SnapshotReading(size_of(state), rows)

    def writer_started(self, writer: WriterStep) -> None:
        """See ``Observer``."""
        self.readings.writer_began = self.readings.writer = _reading(writer)

    def written(self, writer: WriterStep) -> None:
        """See ``Observer``."""
        before = self.readings.writer or WriterReading()
        now = self.readings.writer = _reading(writer)
        for reason in now.reasons.keys() - before.reasons.keys():
            self._log.warning("first_refusal", reason=reason, lines=now.reasons[reason])

    @contextmanager
    def timing(self, write: Write) -> Iterator[None]:
        """See ``Observer``."""
        began_ns = clock.monotonic_ns()
        yield
        self.metrics.observe(write, clock.monotonic_ns() - began_ns)

    def alerts_committed(self, alerts: Sequence[AlertMade]) -> None:
        """See ``Observer``."""
        if not alerts:
            return
        steady_ns, now_ns = clock.monotonic_ns(), clock.now_ns()
        is_live = getattr(self._source, "is_live", False)
        for alert in alerts:
            if alert.read_ns:
                self.metrics.observe("event_to_alert", steady_ns - alert.read_ns, alert.stage)
            if is_live:
                age_ns = now_ns - alert.event_time_ns
                self.metrics.observe("event_time_to_alert", age_ns, alert.stage)

    def failed(self, step: str, error: BaseException) -> None:
        """Note by its kind what went wrong in a step."""
        self._log.error(f"{step}_failed", errors=kinds_of(error))


class WatchedPart(StatefulSourcePartition[LaneItem, Any]):
    """A part of a source with somebody watching it."""

    def __init__(self, inner: Part, index: int, watching: Watching) -> None:
        self._inner = inner
        self._index = index
        self._watching = watching

    def next_batch(self) -> list[LaneItem]:
        """Give the next blocks."""
        self._watching.polled(self._index)
        try:
            items = list(self._inner.next_batch())
        except StopIteration:
            self._watching.part_ended(self._index)
            raise
        for item in items:
            self._watching.block_read(item, self._index)
        return items

    def snapshot(self) -> Any:
        """Return where to go on."""
        self._watching.part_saved(self._index)
        return self._inner.snapshot()

    def next_awake(self) -> Any:
        """Say when to be asked again, as the part itself does."""
        return self._inner.next_awake()

    def close(self) -> None:
        """Let go of the part."""
        self._inner.close()


class WatchedLogic(StatefulBatchLogic[Any, Any, Any]):
    """A step of the engine with somebody watching it."""

    def __init__(self, inner: Any, step: StepName, watching: Watching) -> None:
        self._inner = inner
        self._name = step
        self._watching = watching
        if step == "accounts" and inner.step is not None:
            watching.shard_started(inner.step)

    def on_batch(self, values: list[Any]) -> Any:
        """Take values."""
        watching = self._watching
        watching.health.begin(self._name)
        try:
            given = self._inner.on_batch(values)
        except BaseException as error:
            watching.failed(self._name, error)
            raise
        if self._name == "accounts":
            watching.applied(self._inner.step, given[0])
        watching.health.end()
        return given

    def on_eof(self) -> Any:
        """End the input."""
        return self._inner.on_eof()

    def snapshot(self) -> Any:
        """Copy the state."""
        watching = self._watching
        began_ns = watching.health.begin(f"snapshot of {self._name}")
        state = self._inner.snapshot()
        watching.metrics.observe("snapshot", watching.health.end() - began_ns, self._name)
        step = None if self._name == "writer" else self._inner.step
        rows = {} if step is None else step.row_counts()
        watching.snapshot_taken(self._name, WRITER if step is None else step.shard, state, rows)
        return state


class _Readings(Readings):
    """Readings with what can only be asked of the source itself."""

    def __init__(self, labels: tuple[str, str, str]) -> None:
        super().__init__(labels)
        self.source: Source | KafkaSource | None = None
        self.next_numbers: dict[int, int] = {}

    def lags(self) -> list[LagReading]:
        """See ``Readings``."""
        lag = getattr(self.source, "lag", None)
        if lag is None:
            return []
        unit = getattr(self.source, "lag_unit", "bytes")
        return [LagReading(unit, lag(part, n)) for part, n in dict(self.next_numbers).items()]


def _reading(writer: WriterStep) -> WriterReading:
    state = writer.policy.state
    return WriterReading(
        dict(writer.reasons),
        dict(state.alerts_by_detector),
        state.notices.sent,
        writer.outputs.ledger.head[0],
    )
