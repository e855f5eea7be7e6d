"""One run: from its start, from where it stopped, and when there is nothing left to do."""

import json
import os
import select
import signal
import threading
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest
from bytewax.errors import BytewaxRuntimeError

from detectors.core.registry import params_types
from detectors.order_to_trade import OrderToTrade
from flows.config import load
from flows.control import ControlLog
from flows.datafolder import Paths
from flows.manifest import read_manifest
from flows.plan import LOG_NAME, InputSpec, Plan
from flows.processes import WorkerOrders
from flows.replay import Engine, Outcome, RunOptions, StopFlag, run, specs_of
from flows.steps import AccountStep
from flows.writer import Progress
from lab.bench import inputs
from ledger.reader import read_entries

EVENTS = 3_000
ENGINES: list[Engine] = ["loop", "bytewax"]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("input") / "day.ndjson"
    inputs.write_lines(path, inputs.market_lines(EVENTS, 1, 100))
    return path


def plan_of(day: Path, data: Path) -> Plan:
    flags = ["intake.block_bytes=65536", "epoch_seconds=0", "shards=4"]
    config = load(flags, {"data": str(data)}, detectors=params_types(), environment={})
    return Plan(data, (InputSpec(name=str(day)),), config)


def without_seconds(outcome: Outcome) -> dict[str, Any]:
    return {name: value for name, value in outcome.summary.items() if name != "seconds"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_ends_with_a_summary_and_a_completed_manifest(
    day: Path, tmp_path: Path, engine: Engine
) -> None:
    seen: list[Progress] = []
    outcome = run(plan_of(day, tmp_path), RunOptions(engine=engine), seen.append)

    assert (outcome.is_complete, outcome.was_complete) == (True, False)
    assert outcome.summary["events"] == EVENTS
    assert outcome.summary["ledger"]["size"] >= 2
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.completed
    assert seen[-1].is_complete
    assert seen[-1].events == EVENTS


@pytest.mark.parametrize("engine", ENGINES)
def test_a_completed_run_does_nothing_again(day: Path, tmp_path: Path, engine: Engine) -> None:
    first = run(plan_of(day, tmp_path), RunOptions(engine=engine))
    again = run(plan_of(day, tmp_path), RunOptions(engine=engine))
    assert (again.is_complete, again.was_complete) == (True, True)
    assert without_seconds(again) == without_seconds(first)


def test_a_run_that_fails_leaves_nobody_who_writes(
    day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is let go: whoever has it next must not find a file that another one truncates."""
    snapshot, under_way = AccountStep.snapshot, Semaphore(0)

    def slow_or_broken(step: AccountStep) -> dict[str, Any]:
        if step.shard == 0:
            assert under_way.acquire(timeout=30)
            raise OSError("broken")
        under_way.release()
        select.select([], [], [], 0.2)
        return snapshot(step)

    monkeypatch.setattr(AccountStep, "snapshot", slow_or_broken)
    monkeypatch.setattr("flows.monitor.threads_for", lambda _processes: 4)
    with pytest.raises(BytewaxRuntimeError):
        run(plan_of(day, tmp_path), RunOptions())
    assert not [t.name for t in threading.enumerate() if t.name.startswith("tapewatch-s")]


def test_a_run_that_died_after_its_last_commit_completes_without_reading_again(
    day: Path, tmp_path: Path
) -> None:
    first = run(plan_of(day, tmp_path), RunOptions())
    manifest = Paths(tmp_path).manifest
    manifest.write_text(manifest.read_text().replace('"completed": true', '"completed": false'))

    again = run(plan_of(day, tmp_path), RunOptions())

    assert (again.is_complete, again.was_complete) == (True, False)
    assert without_seconds(again) == without_seconds(first)
    found = read_manifest(tmp_path)
    assert found is not None
    assert found.completed


def test_a_stop_before_the_first_block_is_no_error_and_the_run_goes_on_later(
    day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StopFlag, "is_set", lambda _self: True)
    stopped = run(plan_of(day, tmp_path), RunOptions())
    assert (stopped.is_complete, stopped.was_complete) == (False, False)
    assert set(stopped.summary) == {"seconds"}

    monkeypatch.undo()
    assert run(plan_of(day, tmp_path), RunOptions()).summary["events"] == EVENTS


def test_a_stop_in_the_middle_keeps_what_was_done(day: Path, tmp_path: Path) -> None:
    def stop_soon(progress: Progress) -> None:
        if progress.events > EVENTS // 4:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = run(plan_of(day, tmp_path / "one"), RunOptions(), stop_soon)
    assert (stopped.is_complete, stopped.was_complete) == (False, False)
    assert EVENTS // 4 < stopped.summary["events"] < EVENTS

    seen: list[Progress] = []
    done = run(plan_of(day, tmp_path / "one"), RunOptions(), seen.append)
    assert seen[0].events > stopped.summary["events"]  # it did not begin anew
    whole = run(plan_of(day, tmp_path / "two"), RunOptions())
    assert done.summary["counts"] == whole.summary["counts"]
    assert done.summary["ledger"]["size"] == whole.summary["ledger"]["size"]


def test_a_rule_that_changed_in_the_middle_is_told_and_the_others_go_on(
    day: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_soon(progress: Progress) -> None:
        if progress.events > EVENTS // 4:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = run(plan_of(day, tmp_path / "whole"), RunOptions())
    run(plan_of(day, tmp_path / "one"), RunOptions(), stop_soon)
    monkeypatch.setattr(OrderToTrade, "state_version", 2)
    done = run(plan_of(day, tmp_path / "one"), RunOptions())

    notes = [note for note in done.summary["notes"] if "began with an empty memory" in note]
    changed = {d.rule.id for d in plan_of(day, tmp_path).detectors() if d.name == "order_to_trade"}
    assert [note.split()[1] for note in notes] == sorted(changed)
    others = {k: v for k, v in whole.summary["alerts"].items() if k != "order_to_trade"}
    assert others == {k: v for k, v in done.summary["alerts"].items() if k != "order_to_trade"}
    with ControlLog(Paths(tmp_path / "one").control) as control:
        written = [r.body for r in control.read() if r.key.startswith("rules/1/")]
    assert [one["rule"] for one in written[0]["changes"]] == sorted(changed)
    entries = [
        json.loads(raw) for _, raw in read_entries(Paths(tmp_path / "one").ledger / LOG_NAME)
    ]
    told = [entry["body"] for entry in entries if "changes" in entry["body"]]
    assert told == written
    again = run(plan_of(day, tmp_path / "one"), RunOptions())
    assert again.was_complete


def test_a_stop_flag_tells_once_and_gives_the_signals_back() -> None:
    told: list[bool] = []
    flag = StopFlag(lambda: told.append(True))
    before = signal.getsignal(signal.SIGTERM)
    with flag.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert flag.is_set()
    assert told == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_gets_its_inputs_word_for_word() -> None:
    spec = {"name": "a b.ndjson", "format": "sse", "accounts": "overlay:1:2"}
    orders = WorkerOrders(
        data="d",
        inputs=[spec],
        flags=[],
        config_file=None,
        run_key="k",
        process=1,
        addresses=[],
    )
    assert specs_of(orders) == (InputSpec(**spec),)
