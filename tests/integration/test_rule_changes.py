"""A figure that changes between two starts on Kafka: one rule begins anew, and people are told."""

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command import caller
from plan_parts import FLAGS, make_plan
from servers.mock_kafka import MockKafka

from flows.control import ControlLog
from flows.datafolder import Paths
from flows.plan import LOG_NAME
from flows.replay import RunOptions, run
from flows.writer import Progress
from lab.bench import inputs, topics
from lab.bench.content import read_content
from ledger.reader import read_entries

EVENTS, SEED, ACCOUNTS = 9_000, 3, 300
SETTINGS = (
    "epoch_seconds=0",
    "shards=4",
    "intake.idle_seconds=3600",
    "kafka.messages_at_once=150",
    "detectors.order_to_trade.ratio_max=3",
    "detectors.win_rate.threshold=0.5",
    "detectors.self_trading.trades_min=2",
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Yield the URL of a day on a topic."""
    with MockKafka() as cluster:
        cluster.create_topic("orders", topics.PARTITIONS)
        topics.publish(cluster.bootstrap, inputs.market_lines(EVENTS, SEED, ACCOUNTS), "orders")
        yield f"kafka://{cluster.bootstrap}/orders?until=end"


@pytest.fixture(scope="module")
def unchanged(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("unchanged") / "data"
    assert run(make_plan(data, [url], SETTINGS), RunOptions()).is_complete
    return data


def stop_once(rule: str) -> Callable[[Progress], None]:
    """Stop at the rule's first alert: the lanes are read as they come, so no count would do."""

    def stop(progress: Progress) -> None:
        if any(row.rule_id == rule for row in progress.newest):
            os.kill(os.getpid(), signal.SIGTERM)

    return stop


def alerts_by_rule(data: Path, rule: str) -> dict[bool, list[dict[str, Any]]]:
    """Return the alerts of the rule that changed (True) and those of all others, by id."""
    held: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    alerts = read_content(data).parts["alerts"]
    for alert_id in sorted(alerts):
        held[alerts[alert_id]["rule_id"] == rule].append(alerts[alert_id])
    return held


def hashes_of(alerts: Iterable[dict[str, Any]]) -> set[str]:
    return {json.loads(alert["rule"])["parameters_hash"] for alert in alerts}


@pytest.mark.parametrize(
    ("rule", "lower"),
    [
        ("source.win_rate", "detectors.win_rate.min_units=2"),
        # Its rows wait for the lane furthest behind.
        ("cn.futures.self_trading", "detectors.self_trading.trades_min=1"),
    ],
)
def test_only_the_rule_that_changed_begins_anew_and_people_are_told(
    rule: str,
    lower: str,
    url: str,
    unchanged: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data"
    stopped = run(make_plan(data, [url], SETTINGS), RunOptions(), stop_once(rule))
    assert 0 < stopped.summary["events"] < EVENTS
    before = {alert["alert_id"] for alert in alerts_by_rule(data, rule)[True]}

    flags = [word for each in (*FLAGS, *SETTINGS, lower) for word in ("--set", each)]
    said = caller(monkeypatch, capsys)("replay", url, "--data", data, *flags)

    assert said.code == 0, said.err
    told = " ".join(said.out.split())
    assert f"Rule {rule} began with an empty memory in the middle of this run" in told
    assert told.count("began with an empty memory") == 1
    assert_it_is_written_down(data, rule)
    found, whole = alerts_by_rule(data, rule), alerts_by_rule(unchanged, rule)
    others = {alert["alert_id"]: alert for alert in found[False]}
    assert [a["alert_id"] for a in whole[False] if others.pop(a["alert_id"], None) != a] == []
    assert others == {}
    assert whole[False]
    old = hashes_of(a for a in found[True] if a["alert_id"] in before)
    new = hashes_of(a for a in found[True] if a["alert_id"] not in before)
    assert (len(old), len(new)) == (1, 1), "both sides of the change have alerts"
    assert old == hashes_of(whole[True]) != new


def assert_it_is_written_down(data: Path, rule: str) -> None:
    """Look into the control log, which has it first, and the ledger."""
    with ControlLog(Paths(data).control) as control:
        (written,) = [r.body for r in control.read() if r.key.startswith("rules/")]
    assert written["changes"] == [{"rule": rule, "change": "changed"}]
    entries = [json.loads(raw) for _, raw in read_entries(Paths(data).ledger / LOG_NAME)]
    assert [e["body"] for e in entries if "changes" in e["body"]] == [written]
