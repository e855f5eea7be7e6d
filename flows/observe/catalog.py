"""Every metric there is, in one table, which also gives docs/reference/metrics.md."""

from typing import Final, Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
PREFIX: Final = "tapewatch_"
_COMMIT_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_ALERT_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_BARRIER_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class Metric(NamedTuple):
    """One metric.

    Attributes
    ----------
    name
        As Prometheus shows it, without the suffixes of a histogram's own samples.
    help
        One sentence or two: what is measured, and where it stops being true.
    labels
        Names of labels; each has few values, and none of them comes from an event.
    buckets
        Upper bounds of a histogram's buckets, in seconds.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}_total", "counter", text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, "gauge", text, labels)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}_seconds", "histogram", text, labels, buckets)


_SHARDS: Final = "by the shards of this process"
METRICS: Final = (
    _gauge("process_info", "Always 1; the labels say which of the run's processes this is, and its version.", "process", "processes", "version"),

    _counter("restarts", "Times the supervisor has started this run again since it began itself, by reason: died, hung. Process 0 only.", "reason"),

    _counter("events", f"Events taken {_SHARDS} since it started."),
    _counter("late_events", f"Events found late {_SHARDS} since it started."),
    _counter("duplicate_events", f"Events dropped as duplicates {_SHARDS} since it started."),
    _counter("refused_lines", "Lines refused since this process started; process 0 knows them all.", "reason"),
    _counter("alerts", "Alerts made since this process started; process 0 knows them all.", "detector"),
    _counter("notices", "Verification notices sent since this process started; process 0 knows them all."),

    _gauge("run_events", f"Events taken {_SHARDS} since the run began; the sum over processes is `events` of the summary."),
    _gauge("run_late_events", f"Events found late {_SHARDS} since the run began."),
    _gauge("run_duplicate_events", f"Events dropped as duplicates {_SHARDS} since the run began."),
    _gauge("run_refused_lines", "Lines refused since the run began; `rejected` of the summary. Process 0 only.", "reason"),
    _gauge("run_alerts", "Alerts made since the run began; `alerts` of the summary. Process 0 only.", "detector"),
    _gauge("run_notices", "Verification notices sent since the run began. Process 0 only."),

    _counter("read_blocks", "Blocks of input that this process read since it started."),
    _counter("read_bytes", "Bytes of input that this process read since it started, as they go to the scanner."),
    _gauge("waiting_blocks", f"Blocks that came before their turn and are held {_SHARDS}, the most of any one shard."),

    _gauge("lane_watermark_timestamp_seconds", "Event time (Unix) that the lane has reached, less the longest lateness allowed: nothing older is waited for.", "lane"),
    _gauge("lane_freshness_seconds", "This machine's clock now, less the event time that the lane has reached. Of a file it is the age of its market.", "lane"),
    _gauge("lane_idle_seconds", "Time since this process last read a block of its input.", "lane"),
    _gauge("lane_lag_bytes", "Bytes of the lane that are known and not yet read by this process. Only where the size is known: plain files.", "lane"),
    _gauge("lane_lag_messages", "Messages of the lane that are known and not yet read by this process. Only sources that count messages.", "lane"),

    _histogram("barrier", "From an epoch's first snapshot in this process to the next time it may read: blocks under way are finished everywhere, state is copied, pickled and committed to the recovery store. Processes that read nothing have none.", _BARRIER_BUCKETS),
    _histogram("snapshot", "Waiting for the copy of one key's state (a shard, or the writer), before the engine pickles and stores it. Shards are copied side by side, so the first waits longest.", _COMMIT_BUCKETS, "step"),
    _gauge("snapshot_bytes", "Size of the newest copies of state in this process, without what pickling adds (long tables of names are estimated); keys untouched in an epoch keep their old size.", "step"),
    _gauge("state_rows", f"Rows of state held {_SHARDS}, as of each one's newest snapshot.", "table"),

    _histogram("event_to_alert", "From reading the block that held an alert's last event to the ledger's commit of the alert, on one machine's steady clock. What a broker or a pacing source held back before is not in it. `stage` is `account`, or `aligned` for alerts on several accounts' rows: these wait for the lateness allowed to pass, and count from the oldest row read with the last one.", _ALERT_BUCKETS, "stage"),
    _histogram("event_time_to_alert", "From the event time of an alert to the ledger's commit, by this machine's wall clock: for live lanes only, and only as good as both clocks. `stage` as above.", _ALERT_BUCKETS, "stage"),
    _histogram("ledger_append", "One append of entries to the ledger, durable at its end.", _COMMIT_BUCKETS),
    _histogram("store_write", "One transaction of the store, durable at its end.", _COMMIT_BUCKETS),
    _gauge("ledger_entries", "Entries in the ledger. Process 0 only."),
)  # fmt: skip
BY_NAME: Final = {metric.name: metric for metric in METRICS}


def metrics_page() -> str:
    """Return docs/reference/metrics.md."""
    return _PAGE_HEAD + "".join(_page_row(metric) for metric in METRICS) + _PAGE_END


_PAGE_HEAD: Final = """\
# Metrics

This page is made from `flows/observe/catalog.py` by `make docs`.

With `metrics.listen` set to `HOST:PORT`, process k of a run (from 0) serves on PORT + k:

| path | answers |
|---|---|
| `/metrics` | the metrics below, and `process_*` (memory, processor time, open files) |
| `/livez` | 200 while the process moves; 503 and a sentence once it has not for `health.stall_seconds` |
| `/readyz` | 200 once it has reached its input or taken a first block; 503 before that, and while it stops |

No metric and no label holds an account, an order or an instrument.

## What starts again, and what goes on

Names that end in `_total`, and histograms, count from the start of the process, as Prometheus takes
for granted: use them with `rate()` and `increase()`. They are differences of the run's own totals,
so what a crash makes a process do twice is counted twice in them, once before and once after.

Gauges that begin with `tapewatch_run_` are the run's own totals, which are part of its state. A
resumed run goes on where its snapshot stood, so after a crash they may fall back a little and then
come to the same figures again; at the end they equal the summary. Do not use `rate()` on them.

| metric | kind | labels | is |
|---|---|---|---|
"""
_PAGE_END: Final = """
A process that reads no part of the input polls nothing while it waits for others, so `/livez`
judges it only while it is at work.
"""


def _page_row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n"
