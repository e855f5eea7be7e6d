"""What a process tells about itself: metrics by the rules, health that can say no, quiet logs."""

import io
import json
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from bytewax.operators import StatefulBatchLogic
from plan_parts import make_plan
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from scraping import ask, free_ports, labelled, samples, scrape

from console import exits
from detectors.core.registry import params_types
from flows import clock
from flows.config import Config, ConfigError, load
from flows.edges.files import FileBlocks
from flows.lanes import NEVER_NS, LaneBlock, deal
from flows.observe import health as health_module
from flows.observe.begin import open_observer
from flows.observe.catalog import BY_NAME, METRICS, PREFIX
from flows.observe.health import Health
from flows.observe.logs import kinds_of, open_log
from flows.observe.metrics import (
    LagReading,
    Metrics,
    Readings,
    ShardReading,
    SnapshotReading,
    WriterReading,
)
from flows.observe.observer import AlertMade, Observer, told_too
from flows.observe.server import REQUESTS_MAX, addresses
from flows.observe.watching import Watching
from flows.sources import BytesSource, FileSource, ScanOptions
from flows.steps import AccountStep
from schemas.columns import EventColumns, HashKey
from schemas.events import SECOND_NS

RESERVED = ("_count", "_sum", "_bucket", "_created")
UNITS = ("_seconds", "_bytes")


class FullReadings(Readings):
    """Readings in which every metric has a value."""

    def lags(self) -> list[LagReading]:
        return [LagReading("bytes", {"a": 5}), LagReading("messages", {"b": 7})]


def full() -> Metrics:
    readings = FullReadings(
        ("0", "2", "9"),
        shards={0: ShardReading({"events": 9, "late": 2, "duplicates": 1}, 3)},
        began={0: {"events": 4, "late": 1, "duplicates": 0}, 1: {"events": 6}},
        snapshots={("accounts", 0): SnapshotReading(100, {"orders": 4})},
        writer=WriterReading({"truncated_json": 5}, {"win_rate": 3}, 2, 40),
        writer_began=WriterReading({"truncated_json": 1}, {}, 2, 30),
        lane_high_ns={"a": 50 * SECOND_NS},
        lane_read_ns={"a": 1},
        lateness_ns=5 * SECOND_NS,
        read_blocks=1,
        read_bytes=2,
        restarts={"died": 1},
    )
    metrics = Metrics(readings)
    for metric in METRICS:
        if metric.kind == "histogram":
            name = metric.name.removeprefix(PREFIX).removesuffix("_seconds")
            metrics.observe(name, SECOND_NS, *("accounts" for _ in metric.labels))
    return metrics


def config_of(*flags: str) -> Config:
    return load(flags, {}, environment={}, detectors=params_types())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_named_by_prometheus_own_rules(metric: Any) -> None:
    assert re.fullmatch(r"tapewatch_[a-z][a-z_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith(RESERVED)
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(set(metric.buckets))
    for unit in UNITS:  # a unit stands last, but for _total
        stem = metric.name.removesuffix("_total")
        assert unit not in stem or stem.endswith(unit)
    assert not re.search(r"_(ns|ms|milliseconds|minutes|kb|mb)(_|$)", metric.name)
    assert set(metric.labels) <= {
        "lane",
        "reason",
        "detector",
        "process",
        "processes",
        "version",
        "step",
        "stage",
        "table",
    }
    assert metric.help.endswith((".", "…"))
    assert "|" not in metric.help, "it stands in a table of the page"


def test_what_is_served_is_what_the_catalog_says() -> None:
    families = list(text_string_to_metric_families(generate_latest(full().registry).decode()))
    own = {family.name: family for family in families if family.name.startswith(PREFIX)}
    assert set(own) == {m.name.removesuffix("_total") for m in METRICS}
    for metric in METRICS:
        family = own[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert family.samples, f"{metric.name} has no value in readings that are full"
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), sample
    assert {f.name.partition("_")[0] for f in families} == {"tapewatch", "process"}


def test_counters_count_from_the_process_and_gauges_from_the_run() -> None:
    found = samples(generate_latest(full().registry).decode())
    assert found["tapewatch_events_total", ()] == 9 - 4
    assert found["tapewatch_run_events", ()] == 9 + 6  # shard 1 still stands where it began
    assert labelled(found, "tapewatch_refused_lines_total") == {"truncated_json": 4}
    assert labelled(found, "tapewatch_run_refused_lines") == {"truncated_json": 5}
    assert found["tapewatch_notices_total", ()] == 0
    assert labelled(found, "tapewatch_lane_watermark_timestamp_seconds") == {"a": 45}


def test_restarts_are_told_by_their_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(sys, "stderr", told)
    config = config_of("log.format=json")
    watching = Watching(config, open_log(config, "info", 0), None)
    watching.run_restarted({})
    assert told.getvalue() == ""
    watching.run_restarted({"died": 2, "hung": 1})
    event = json.loads(told.getvalue())
    assert (event["event"], event["died"], event["hung"]) == ("run_restarted", 2, 1)
    found = samples(generate_latest(watching.metrics.registry).decode())
    assert labelled(found, "tapewatch_restarts_total") == {"died": 2, "hung": 1}


def test_a_name_that_the_catalog_lacks_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        full().observe("nothing_like_it", 1)
    assert len(BY_NAME) == len(METRICS)


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    metrics = full()
    metrics.observe("store_write", -SECOND_NS)
    found = samples(generate_latest(metrics.registry).decode())
    assert found["tapewatch_store_write_seconds_sum", ()] == 1


def test_nobody_watches_unless_asked_and_nothing_is_imported_for_it() -> None:
    assert type(open_observer(config_of())) is Observer
    assert type(open_observer(config_of("log.level=info"))) is Watching
    assert type(open_observer(config_of("log.format=json", "log.level=none"))) is Observer
    script = (
        "import sys, console.replay, console.up, console.worker\n"
        "print([name for name in ('prometheus_client', 'structlog') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert said.stdout.strip() == b"[]"


def test_an_observer_that_does_nothing_gives_back_what_it_gets() -> None:
    class Item:
        number, size = 0, 0

        def scan(self) -> LaneBlock:
            return LaneBlock(number=0, columns=EventColumns.empty())

    observer, part, logic = Observer(), object(), object()
    with observer as same, observer.timing("store_write"):
        assert same is observer
        assert observer.part(part, 0, 0) is part  # type: ignore[comparison-overlap, arg-type]
        assert observer.logic(logic, "writer") is logic  # type: ignore[comparison-overlap, arg-type]
        assert next(observer.items(iter([Item()]))).number == 0
        assert observer.scan(Item()).read_ns == 0


def test_both_are_told() -> None:
    told: list[int] = []
    told_too(lambda: told.append(1), lambda: told.append(2))()
    assert told == [1, 2]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a clock's one hand, to be moved."""
    hand = [100 * SECOND_NS]
    monkeypatch.setattr(health_module.clock, "monotonic_ns", lambda: hand[0])
    return hand


def test_a_loop_that_stands_still_is_not_live(now: list[int]) -> None:
    health = Health(10)
    assert health.live().is_good, "nothing has begun that could stand still"
    health.part_opened(0)
    health.polled()
    now[0] += 10 * SECOND_NS
    assert health.live().is_good
    now[0] += 1
    assert not health.live().is_good
    health.polled()
    assert health.live().is_good


def test_a_process_without_input_is_judged_only_at_work(now: list[int]) -> None:
    health = Health(10)
    health.begin("accounts")
    health.end()
    now[0] += 1_000 * SECOND_NS
    assert health.live().is_good, "it may wait for others as long as it likes"
    health.begin("writer")
    now[0] += 11 * SECOND_NS
    answer = health.live()
    assert not answer.is_good
    assert "11.0 s at: writer" in answer.sentence


def test_a_part_that_ended_is_not_waited_for(now: list[int]) -> None:
    health = Health(10)
    health.part_opened(0)
    health.polled()
    health.part_ended(0)
    now[0] += 11 * SECOND_NS
    assert health.live().is_good


def test_ready_begins_with_the_input_and_ends_with_a_stop() -> None:
    health = Health(10)
    assert not health.ready().is_good
    health.part_opened(0)
    health.joined()
    assert not health.ready().is_good
    health.polled()
    assert health.ready().is_good
    health.stopping()
    assert not health.ready().is_good


def test_a_process_without_input_is_ready_once_it_has_joined() -> None:
    health = Health(10)
    health.joined()
    assert health.ready().is_good


@pytest.fixture
def watched() -> Iterator[tuple[Watching, int]]:
    port = free_ports(1)
    config = config_of(f"metrics.listen=127.0.0.1:{port}", "health.stall_seconds=30")
    with open_observer(config) as observer:
        assert isinstance(observer, Watching)
        yield observer, port


def test_the_server_answers_and_says_what_there_is(watched: tuple[Watching, int]) -> None:
    watching, port = watched
    assert ask(port, "/livez")[0] == 200
    assert ask(port, "/readyz") == (503, "Starting: the input is not open yet.\n")
    watching.joined()
    assert ask(port, "/readyz?verbose") == (200, "Ready.\n")
    watching.stopping()
    assert ask(port, "/readyz")[0] == 503
    code, text = ask(port, "/")
    assert (code, "/metrics" in text) == (404, True)
    labels = [dict(labels) for name, labels in scrape(port) if name == "tapewatch_process_info"]
    assert [(one["process"], one["processes"]) for one in labels] == [("0", "1")]


def test_a_stalled_loop_is_told_by_the_server(
    watched: tuple[Watching, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    watching, port = watched
    watching.health.begin("writer")
    moved_ns = clock.monotonic_ns()
    assert ask(port, "/livez")[0] == 200
    monkeypatch.setattr(health_module.clock, "monotonic_ns", lambda: moved_ns + 31 * SECOND_NS)
    code, text = ask(port, "/livez")
    assert code == 503
    assert "has not moved for 31.0 s at: writer" in text


def test_clients_that_say_nothing_cannot_fill_memory(watched: tuple[Watching, int]) -> None:
    _, port = watched
    with ExitStack() as held:
        idle = [
            held.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=20)))
            for _ in range(REQUESTS_MAX + 1)
        ]
        # All are taken in order; the one above the limit is let go at once.
        assert idle[-1].recv(1) == b""
    assert ask_until_free(port) == 200


def ask_until_free(port: int) -> int:
    """Ask until the threads of those who said nothing have given their places back."""
    until_ns = clock.monotonic_ns() + 10 * SECOND_NS
    while True:
        try:
            return int(ask(port, "/livez")[0])
        except ConnectionError:
            assert clock.monotonic_ns() < until_ns


@pytest.mark.parametrize(
    "listen", ["9464", ":9464", "host:", "host:x", "host:0", "host:65536", "127.0.0.1:65535"]
)
def test_a_wrong_address_is_a_configuration_error(listen: str) -> None:
    with pytest.raises(ConfigError) as error:
        open_observer(config_of(f"metrics.listen={listen}"), 0, 2)
    assert exits.expected(error.value) == (exits.CONFIG, str(error.value))
    assert "metrics.listen: expected HOST:PORT" in str(error.value)


def test_a_port_taken_by_somebody_is_told_before_any_process_starts() -> None:
    first = free_ports(2)
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", first + 1))
        other.listen(1)
        with pytest.raises(ConfigError, match=f"127.0.0.1:{first + 1} is not") as error:
            open_observer(config_of(f"metrics.listen=127.0.0.1:{first}"), 0, 2)
        late = open_observer(config_of(f"metrics.listen=127.0.0.1:{first}"), 1, 2)
        with pytest.raises(ConfigError, match="somebody listens there already"):
            late.__enter__()
    assert exits.expected(error.value) == (exits.CONFIG, str(error.value))


def test_an_address_of_ipv6_is_understood() -> None:
    (address,) = addresses(config_of("metrics.listen=[::1]:9464"), 1)
    assert (address.host, address.family) == ("::1", socket.AF_INET6)
    assert str(address) == "[::1]:9464"


def logged(monkeypatch: pytest.MonkeyPatch, *flags: str, level: str = "debug") -> io.StringIO:
    kept = io.StringIO()
    monkeypatch.setattr(sys, "stderr", kept)
    log = open_log(config_of(*flags), level, 3)
    log.bind(run="abc").info("run_started", files=2)
    log.debug("epoch_durable")
    return kept


def test_logs_are_one_json_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = map(json.loads, logged(monkeypatch, "log.format=json").getvalue().splitlines())
    assert {**first, "time": 0} == {
        "time": 0,
        "level": "info",
        "event": "run_started",
        "process": 3,
        "run": "abc",
        "files": 2,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["time"])
    assert "run" not in second


def test_logs_as_text_are_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = logged(monkeypatch, level="info").getvalue().splitlines()
    assert re.fullmatch(r'\S+Z info    run_started process=3 run="abc" files=2', line)


def test_a_silent_log_takes_everything_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = open_log(config_of(), "none", 0).bind(run="abc")
    for write in (log.debug, log.info, log.warning, log.error):
        write("event", field=1)
    assert capsys.readouterr() == ("", "")


def test_errors_are_told_by_their_kinds_only() -> None:
    error = ValueError("about account-6217")
    error.__cause__ = KeyError("account-6217")
    assert kinds_of(error) == ["ValueError", "KeyError"]


class Failing(StatefulBatchLogic[Any, Any, Any]):
    step = None

    def on_batch(self, values: list[Any]) -> Any:
        raise OSError(f"cannot write {values}")

    def snapshot(self) -> Any:
        return None


def test_an_error_in_a_step_is_logged_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = io.StringIO()
    monkeypatch.setattr(sys, "stderr", kept)
    observer = open_observer(config_of("log.format=json"))
    with pytest.raises(OSError, match="6217"), observer:
        observer.logic(Failing(), "writer").on_batch(["account-6217"])
    lines = [json.loads(line) for line in kept.getvalue().splitlines()]
    assert [(line["event"], line["errors"]) for line in lines] == [
        ("writer_failed", ["OSError"]),
        ("run_failed", ["OSError"]),
    ]
    assert "6217" not in kept.getvalue()


def test_live_lanes_are_measured_from_event_time_too() -> None:
    class Live:
        lane_names, is_live = ("topic-0",), True

    watching = open_observer(config_of("log.level=error"))
    assert isinstance(watching, Watching)
    alerts = [AlertMade(clock.monotonic_ns(), clock.now_ns() - 7 * SECOND_NS), AlertMade(0, 0)]
    watching.source_opened(Live())  # type: ignore[arg-type]  # all that is asked of it
    watching.alerts_committed(alerts[:1])
    watching.alerts_committed([])
    found = samples(generate_latest(watching.metrics.registry).decode())
    account, aligned = ((("stage", stage),) for stage in ("account", "aligned"))
    assert 7 <= found["tapewatch_event_time_to_alert_seconds_sum", account] < 60
    assert found["tapewatch_event_to_alert_seconds_count", account] == 1
    watching.alerts_committed(alerts[1:])  # of a snapshot: nobody knows when it was read
    watching.alerts_committed([AlertMade(clock.monotonic_ns(), clock.now_ns(), is_aligned=True)])
    found = samples(generate_latest(watching.metrics.registry).decode())
    assert found["tapewatch_event_to_alert_seconds_count", account] == 1
    assert found["tapewatch_event_to_alert_seconds_count", aligned] == 1


def test_a_file_knows_what_it_has_not_given_yet(tmp_path: Path) -> None:
    path = tmp_path / "day.ndjson"
    path.write_bytes(b"x" * 99 + b"\n" + b"y" * 6_000 + b"\n")
    options = ScanOptions(key=HashKey(), tenant="t", block_bytes=1_000)
    source = FileSource(path, options)
    with FileBlocks(path, 1_000) as blocks:
        assert blocks.count() == 7
    assert source.lag(0, 0) == {"day.ndjson": path.stat().st_size}
    assert source.lag(0, 6) == {"day.ndjson": 101}
    assert source.lag(0, 7) == {"day.ndjson": 0}
    assert source.lag(6, 0) == {}  # all parts read the same bytes: one of them tells


@pytest.fixture
def step(tmp_path: Path) -> AccountStep:
    plan = make_plan(tmp_path / "data", [])
    source = BytesSource("lane", lambda _first: [], ScanOptions(HashKey(), "t", 4_096))
    return plan.account_step(0, plan.stage_factory(source), None)


def test_the_reading_time_travels_but_no_snapshot_keeps_it(step: AccountStep) -> None:
    first, second = (
        deal(LaneBlock(number=n, columns=EventColumns.empty(), read_ns=17 + n), 1)[0]
        for n in range(2)
    )
    step.take(second)
    assert step.snapshot()["waiting"][1].read_ns == 0
    assert pickle.loads(pickle.dumps(first)).read_ns == 17
    assert [message.read_ns for message in step.take(first)] == [17, 18]


def test_a_steps_rows_and_lanes_are_readable(step: AccountStep) -> None:
    assert set(step.stage.row_counts().values()) == {0}
    assert step.lane_times() == {"lane": NEVER_NS}
