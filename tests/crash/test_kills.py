"""Twenty kills, at random and named moments, one process to four: nothing lost, nothing doubled."""

from pathlib import Path

import pytest
from servers.kafka import KafkaServer

from flows.crash import POINTS
from lab.bench import crash

KILLS_ON_KAFKA = 8


@pytest.mark.slow
def test_killed_runs_leave_what_an_unbroken_run_leaves(tmp_path: Path) -> None:
    tally, expected = crash.kill_runs(tmp_path, crash.KILLS_QUICK, print, events=crash.EVENTS_QUICK)

    assert tally.lost.total() == 0, tally.examples
    assert tally.doubled.total() == 0, tally.examples
    assert tally.changed.total() == 0, tally.examples
    assert tally.count == crash.KILLS_QUICK
    assert tally.rescales.total() > 0
    assert tally.before_completion >= 0.8 * crash.KILLS_QUICK  # 90 % of the long version's 200
    assert set(POINTS) < set(tally.kills)
    # The comparison is worth nothing if there was little to lose.
    least = {
        "alerts": 100,
        "alert_updates": 30,
        "dead_letters": 30,
        "notices": 3,
        "entries": 250,
    }
    for part, count in least.items():
        assert len(expected.parts[part]) >= count, part
    summary = expected.parts["summary"]
    assert summary["late"] > 10
    assert summary["duplicates"] > 10


@pytest.mark.slow
def test_runs_killed_on_kafka_leave_what_an_unbroken_run_leaves(
    tmp_path: Path, kafka_server: KafkaServer
) -> None:
    tally, expected = crash.kill_runs(
        tmp_path, KILLS_ON_KAFKA, print, events=crash.EVENTS_QUICK, kafka=kafka_server.bootstrap
    )
    assert tally.lost.total() == 0, tally.examples
    assert tally.doubled.total() == 0, tally.examples
    assert tally.changed.total() == 0, tally.examples
    assert tally.count == KILLS_ON_KAFKA
    assert len(expected.parts["alerts"]) >= 100
