"""The metrics of one process: readings that the flow leaves, made into families at each scrape."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from flows import clock
from flows.lanes import NEVER_NS
from flows.observe.catalog import BY_NAME, METRICS, PREFIX
from flows.state_files import PointedState
from schemas.events import SECOND_NS

Counts = Mapping[str, int]
Samples = Iterable[tuple[tuple[str, ...], float]]
_NONE: Final[Counts] = {}
_SIZED_MAX: Final = 16  # of a container; a dump has fewer parts, only names of accounts are more
_EVENT_TOTALS: Final = {
    "events": "events",
    "late_events": "late",
    "duplicate_events": "duplicates",
}


class ShardReading(NamedTuple):
    """How far a shard has come."""

    totals: Counts
    waiting_blocks: int


class SnapshotReading(NamedTuple):
    """What a shard's newest snapshot held."""

    size: int
    rows: Counts


class WriterReading(NamedTuple):
    """What the writer has made durable."""

    reasons: Counts = _NONE
    alerts: Counts = _NONE
    notices: int = 0
    ledger_entries: int = 0


class LagReading(NamedTuple):
    """What is known of a part and unread."""

    unit: str
    unread: Counts


@dataclass(slots=True)
class Readings:
    """What the flow's thread leaves for the server's; whole values are put in place, never changed.

    Attributes
    ----------
    began
        Totals that each shard began with, by shard: what was done before this process started.
    lane_high_ns
        Event time that each lane has reached.
    lane_read_ns
        When each lane last gave a block, by the steady clock.
    lateness_ns
        The longest lateness allowed to any source.
    """

    labels: tuple[str, str, str]
    shards: dict[int, ShardReading] = field(default_factory=dict)
    began: dict[int, Counts] = field(default_factory=dict)
    snapshots: dict[tuple[str, int], SnapshotReading] = field(default_factory=dict)
    writer: WriterReading | None = None
    writer_began: WriterReading = field(default_factory=WriterReading)
    lane_high_ns: dict[str, int] = field(default_factory=dict)
    lane_read_ns: dict[str, int] = field(default_factory=dict)
    lateness_ns: int = 0
    read_blocks: int = 0
    read_bytes: int = 0
    restarts: Counts = field(default_factory=dict)

    def lags(self) -> list[LagReading]:
        """Return what is unread of the parts that are open here."""
        return []


class Metrics(Collector):
    """One process's metrics in a registry of their own.

    Parameters
    ----------
    readings
        Left by the flow.
    """

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when a histogram began tells nobody anything
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        self._histograms = {
            metric.name.removeprefix(PREFIX).removesuffix("_seconds"): Histogram(
                metric.name,
                metric.help,
                metric.labels,
                buckets=metric.buckets,
                registry=self.registry,
            )
            for metric in METRICS
            if metric.kind == "histogram"
        }

    def observe(self, name: str, elapsed_ns: int, *labels: str) -> None:
        """Put one duration (ns) into the histogram that the catalog calls so, less prefix and unit.

        A negative one, as two wall clocks may give, counts as nothing at all.
        """
        histogram = self._histograms[name]
        child = histogram.labels(*labels) if labels else histogram
        child.observe(max(0, elapsed_ns) / SECOND_NS)

    def describe(self) -> list[Any]:
        """Name the families without reading them."""
        return list(self._families({}))

    def collect(self) -> Iterator[Any]:
        """Make the families anew from the readings."""
        yield from self._families(dict(self._samples(self._readings)))

    def _families(self, samples: Mapping[str, Samples]) -> Iterator[Any]:
        for metric in METRICS:
            if metric.kind == "histogram":
                continue
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.help, labels=metric.labels)
            for labels, value in samples.get(metric.name, ()):
                family.add_metric(labels, value)
            yield family

    def _samples(self, readings: Readings) -> Iterator[tuple[str, Samples]]:
        for name, samples in (
            *_info(readings),
            *_shards(readings),
            *_writer(readings),
            *_lanes(readings),
            *_snapshots(readings),
        ):
            assert PREFIX + name in BY_NAME, name
            yield PREFIX + name, samples


Named = Iterator[tuple[str, Samples]]


def _info(readings: Readings) -> Named:
    yield "process_info", [(readings.labels, 1)]
    yield "restarts_total", _less(readings.restarts, _NONE)
    yield "read_blocks_total", [((), readings.read_blocks)]
    yield "read_bytes_total", [((), readings.read_bytes)]


def _shards(readings: Readings) -> Named:
    shards, began = dict(readings.shards), dict(readings.began)
    for name, total in _EVENT_TOTALS.items():
        whole = sum(shard.totals.get(total, 0) for shard in shards.values())
        # A shard that has done nothing yet since a resume still stands where it began.
        before = sum(began[s].get(total, 0) for s in began if s in shards)
        rest = sum(began[s].get(total, 0) for s in began if s not in shards)
        yield f"{name}_total", [((), whole - before)]
        yield f"run_{name}", [((), whole + rest)]
    yield "waiting_blocks", [((), max((s.waiting_blocks for s in shards.values()), default=0))]


def _writer(readings: Readings) -> Named:
    now, began = readings.writer, readings.writer_began
    if now is None:
        return
    yield "refused_lines_total", _less(now.reasons, began.reasons)
    yield "run_refused_lines", _less(now.reasons, _NONE)
    yield "alerts_total", _less(now.alerts, began.alerts)
    yield "run_alerts", _less(now.alerts, _NONE)
    yield "notices_total", [((), now.notices - began.notices)]
    yield "run_notices", [((), now.notices)]
    yield "ledger_entries", [((), now.ledger_entries)]


def _less(now: Counts, before: Counts) -> Samples:
    return [((name,), count - before.get(name, 0)) for name, count in sorted(now.items())]


def _lanes(readings: Readings) -> Named:
    high = {lane: t for lane, t in sorted(readings.lane_high_ns.items()) if t != NEVER_NS}
    late, now_ns, steady_ns = readings.lateness_ns, clock.now_ns(), clock.monotonic_ns()
    yield (
        "lane_watermark_timestamp_seconds",
        [((lane,), (time_ns - late) / SECOND_NS) for lane, time_ns in high.items()],
    )
    yield (
        "lane_freshness_seconds",
        [((lane,), (now_ns - time_ns) / SECOND_NS) for lane, time_ns in high.items()],
    )
    yield (
        "lane_idle_seconds",
        [
            ((lane,), (steady_ns - read_ns) / SECOND_NS)
            for lane, read_ns in sorted(readings.lane_read_ns.items())
        ],
    )
    unread: dict[str, dict[str, int]] = {"bytes": {}, "messages": {}}
    for lag in readings.lags():
        lanes = unread[lag.unit]
        for lane, count in lag.unread.items():
            lanes[lane] = lanes.get(lane, 0) + count
    for unit, lanes in unread.items():
        yield f"lane_lag_{unit}", _less(lanes, _NONE)


def _snapshots(readings: Readings) -> Named:
    sizes: dict[str, int] = {}
    rows: dict[str, int] = {}
    for (step, _), snapshot in dict(readings.snapshots).items():
        sizes[step] = sizes.get(step, 0) + snapshot.size
        for table, count in snapshot.rows.items():
            rows[table] = rows.get(table, 0) + count
    yield "snapshot_bytes", _less(sizes, _NONE)
    yield "state_rows", _less(rows, _NONE)


def size_of(tree: Any) -> int:
    """Return about how many bytes nested containers hold: bytes and texts whole, numbers as 8.

    A long container is judged by its beginning, for a shard's may be very long.

    Examples
    --------
    >>> size_of({"a": b"1234", "b": [1, 2]}), size_of([1] * 1_000)
    (22, 8000)
    """
    if isinstance(tree, bytes | str):
        return len(tree)
    if isinstance(tree, PointedState):
        return size_of(tree.rest) + tree.pointer.size
    if isinstance(tree, dict):
        return _size_of_all(tree, len(tree)) + _size_of_all(tree.values(), len(tree))
    if isinstance(tree, list | tuple):
        return _size_of_all(tree, len(tree))
    return 8


def _size_of_all(values: Iterable[Any], count: int) -> int:
    size = 0
    for value in islice(values, _SIZED_MAX):  # most are numbers, which spares the call
        size += 8 if type(value) is int else size_of(value)
    return size if count <= _SIZED_MAX else size * count // _SIZED_MAX
