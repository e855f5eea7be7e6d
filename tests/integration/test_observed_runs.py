"""Whole runs, watched over HTTP and through their logs."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command import caller
from plan_parts import lines, make_plan, story
from scraping import Samples, ask, free_ports, labelled, scrape

from detectors.core.contract import ALIGNED
from detectors.core.registry import detector_type, params_types
from flows import clock
from flows.config import load
from flows.observe.server import addresses, check_free
from flows.plan import InputSpec, Plan
from flows.replay import Engine, Outcome, RunOptions, run
from flows.writer import Progress
from lab.bench import inputs
from lab.bench.crash import SETTINGS
from schemas.events import SECOND_NS

EVENTS, SEED, ACCOUNTS = 8_000, 3, 400
RULES = (
    *(setting for setting in SETTINGS if setting.startswith("detectors.")),
    "intake.block_bytes=65536",
    "epoch_seconds=0",
    "shards=4",
)
ACCOUNT_WORDS = ("winner", "canceller", "somebody")
STREAM = "sim://?seed=3&events=9000&accounts=600&minutes=30&plants=order_rate.second@1.2"


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a day with damaged, repeated and late lines in it."""
    path = tmp_path_factory.mktemp("input") / "day.ndjson"
    rough = inputs.roughen(inputs.market_lines(EVENTS, SEED, ACCOUNTS), SEED)
    inputs.write_lines(path, [*rough[:100], rough[99], *rough[100:]])  # one that is not late
    return path


def watched(
    day: Path,
    data: Path,
    on_progress: Callable[[int, Progress], None],
    processes: int = 1,
    engine: Engine = "bytewax",
) -> Outcome:
    """Run with metrics on; ``on_progress`` gets the first port too."""
    port = free_ports(processes)
    flags = (*RULES, f"metrics.listen=127.0.0.1:{port}")
    config = load(flags, {"data": str(data)}, detectors=params_types(), environment={})
    options = RunOptions(
        engine=engine,
        processes=processes,
        worker_command=(sys.executable, "-m", "console.cli", "worker"),
        flags=flags,
    )
    plan = Plan(data, (InputSpec(name=str(day)),), config)
    outcome = run(plan, options, lambda progress: on_progress(port, progress))
    check_free(config, addresses(config, processes))  # nobody listens there any more
    return outcome


def total(found: list[Samples], name: str) -> float:
    return sum(samples.get((name, ()), 0) for samples in found)


def assert_as_the_summary(found: list[Samples], summary: dict[str, Any]) -> None:
    for name, key in (
        ("events", "events"),
        ("late_events", "late"),
        ("duplicate_events", "duplicates"),
    ):
        assert total(found, f"tapewatch_run_{name}") == summary[key]
        assert total(found, f"tapewatch_{name}_total") == summary[key]
    assert min(summary["late"], summary["duplicates"]) > 0
    assert labelled(found[0], "tapewatch_refused_lines_total") == summary["rejected"] != {}
    assert labelled(found[0], "tapewatch_run_refused_lines") == summary["rejected"]
    assert labelled(found[0], "tapewatch_alerts_total") == summary["alerts"]
    assert found[0]["tapewatch_notices_total", ()] == summary["notices"]
    aligned = sum(
        n for name, n in summary["alerts"].items() if detector_type(name).subject in ALIGNED
    )
    counts = labelled(found[0], "tapewatch_event_to_alert_seconds_count")
    assert counts == {"account": sum(summary["alerts"].values()) - aligned, "aligned": aligned}
    assert min(counts.values()) > 0
    assert found[0]["tapewatch_ledger_append_seconds_count", ()] > 0
    assert found[0]["tapewatch_store_write_seconds_count", ()] > 0


@pytest.mark.parametrize("processes", [1, 2])
def test_the_sum_over_processes_is_the_summary(day: Path, tmp_path: Path, processes: int) -> None:
    seen: list[list[Samples]] = []

    def look(port: int, progress: Progress) -> None:
        if progress.is_complete and not seen:  # the others stay until the flow has ended
            seen.append([scrape(port + k) for k in range(processes)])
            assert [ask(port + k, "/livez")[0] for k in range(processes)] == [200] * processes

    outcome = watched(day, tmp_path, look, processes)

    (found,) = seen
    assert outcome.is_complete
    assert_as_the_summary(found, outcome.summary)
    assert total(found, "tapewatch_read_bytes_total") == day.stat().st_size
    for samples in found:
        assert samples["tapewatch_barrier_seconds_count", ()] > 0
        assert labelled(samples, "tapewatch_snapshot_bytes")["accounts"] > 0
        assert labelled(samples, "tapewatch_state_rows")["accounts"] > 0
        assert labelled(samples, "tapewatch_lane_watermark_timestamp_seconds").keys() == {day.name}


def test_the_plain_loop_tells_the_same(day: Path, tmp_path: Path) -> None:
    seen: list[Samples] = []

    def look(port: int, progress: Progress) -> None:
        if progress.is_complete:
            seen.append(scrape(port))

    outcome = watched(day, tmp_path, look, engine="loop")
    assert_as_the_summary(seen[-1:], outcome.summary)


def test_lag_falls_to_nothing(day: Path, tmp_path: Path) -> None:
    lags: list[float] = []

    def look(port: int, _progress: Progress) -> None:
        lags.append(labelled(scrape(port), "tapewatch_lane_lag_bytes").get(day.name, 0))

    watched(day, tmp_path, look)
    assert day.stat().st_size > lags[0] > 0
    assert lags == sorted(lags, reverse=True)
    assert lags[-1] == 0


def test_a_resumed_run_goes_on_in_gauges_and_begins_again_in_counters(
    day: Path, tmp_path: Path
) -> None:
    ready: list[int] = []

    def stop_soon(port: int, progress: Progress) -> None:
        if progress.events > EVENTS // 3 and len(ready) < 2:
            ready.append(ask(port, "/readyz")[0])
            os.kill(os.getpid(), signal.SIGTERM)
            ready.append(ask(port, "/readyz")[0])

    stopped = watched(day, tmp_path, stop_soon)
    assert not stopped.is_complete
    assert ready == [200, 503]

    seen: list[Samples] = []

    def look(port: int, progress: Progress) -> None:
        if not seen or progress.is_complete:
            seen.append(scrape(port))

    done = watched(day, tmp_path, look)
    assert seen[0]["tapewatch_run_events", ()] > stopped.summary["events"]
    last, events = seen[-1], done.summary["events"]
    assert last["tapewatch_run_events", ()] == events
    assert last["tapewatch_events_total", ()] == events - stopped.summary["events"]
    assert labelled(last, "tapewatch_run_refused_lines") == done.summary["rejected"]
    assert labelled(last, "tapewatch_refused_lines_total") == {
        reason: count - stopped.summary["rejected"].get(reason, 0)
        for reason, count in done.summary["rejected"].items()
    }
    assert labelled(last, "tapewatch_run_alerts") == done.summary["alerts"]


def test_a_source_that_hangs_turns_livez_to_503_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inject a source that stands still in the middle of a block, for 31 s of the steady clock."""
    answers: list[tuple[int, str]] = []
    port, ahead, real = free_ports(1), [0], clock.monotonic_ns
    monkeypatch.setattr(clock, "monotonic_ns", lambda: real() + ahead[0])
    told = lines(story())

    def hanging(_url: str, _first: int) -> Iterator[bytes]:
        yield told
        answers.append(ask(port, "/livez"))
        ahead[0] += 31 * SECOND_NS
        answers.append(ask(port, "/livez"))
        yield b""

    def look(_progress: Progress) -> None:
        answers.append(ask(port, "/livez"))

    flags = [f"metrics.listen=127.0.0.1:{port}", "health.stall_seconds=30", "shards=1"]
    plan = make_plan(tmp_path, ["hang://"], flags)
    plan.factories = {"hang": hanging}
    assert run(plan, RunOptions(), look).is_complete

    codes = [code for code, _ in answers]
    assert codes.count(503) == 1
    at = codes.index(503)
    assert (codes[at - 1], codes[at + 1]) == (200, 200)
    assert "has not moved for 31." in answers[at][1]


def test_logs_tell_a_runs_life_and_no_account(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "story.ndjson"
    path.write_bytes(lines(story()) + b"no JSON\n" * 3)
    flags = ["log.format=json", "log.level=debug", "epoch_seconds=0", "shards=1"]
    plan = make_plan(tmp_path / "data", [path], flags)
    outcome = run(plan, RunOptions())
    told = capfd.readouterr().err
    assert not any(word in told for word in ACCOUNT_WORDS)
    events = [json.loads(line) for line in told.splitlines()]
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("run_started", "run_completed")
    assert events[-1]["refused"] == 3
    assert events[-1]["alerts"] == sum(outcome.summary["alerts"].values()) > 0
    assert [event["reason"] for event in events if event["event"] == "first_refusal"] == list(
        outcome.summary["rejected"]
    )
    assert "epoch_durable" in names


def test_up_is_ready_watched_and_stopped_as_a_supervisor_would(tmp_path: Path) -> None:
    port = free_ports(1)
    words = ["up", "--input", f"{STREAM}&speed=400", "--data", str(tmp_path / "data")]
    flags = [f"metrics.listen=127.0.0.1:{port}", "log.format=json"]
    command = [sys.executable, "-m", "console.cli", *words, "--set", flags[0], "--set", flags[1]]
    log = tmp_path / "log.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()  # an alert: so the run is well under way
        assert [ask(port, path)[0] for path in ("/readyz", "/livez")] == [200, 200]
        found = scrape(port)
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    assert process.returncode == 0
    assert found["tapewatch_run_events", ()] > 0
    assert labelled(found, "tapewatch_alerts_total")["order_rate"] > 0
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [event["event"] for event in events][:1] == ["run_started"]
    assert events[-1]["event"] == "run_stopped"
    assert {event["process"] for event in events} == {0}


def test_a_busy_port_ends_the_command_with_a_sentence(
    day: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = caller(monkeypatch, capsys)
    with closing(socket.socket()) as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        address = f"127.0.0.1:{other.getsockname()[1]}"
        said = call(
            "replay", day, "--data", tmp_path / "data", "--set", f"metrics.listen={address}"
        )
    assert said.code == 3
    assert said.err == (
        "--set: metrics.listen: expected a free address for each process (process k listens on "
        f"PORT + k; {address} is not), got somebody listens there already.\n"
    )
    assert not (tmp_path / "data").exists()
