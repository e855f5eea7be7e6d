"""Kills at random and named moments, one process to four: nothing lost, nothing doubled."""

from pathlib import Path

import pytest
from servers.kafka import KafkaServer

from flows.crash import POINTS, STATE_POINTS
from lab.bench import crash

KILLS = crash.KILLS_QUICK
KILLS_ON_KAFKA = 6  # those on files have every named point


@pytest.mark.long
@pytest.mark.slow
def test_killed_runs_leave_what_an_unbroken_run_leaves(tmp_path: Path) -> None:
    tally, expected = crash.kill_runs(tmp_path, KILLS, print, events=crash.EVENTS_QUICK)

    assert tally.lost.total() == 0, tally.examples
    assert tally.doubled.total() == 0, tally.examples
    assert tally.changed.total() == 0, tally.examples
    assert tally.count == KILLS
    assert tally.full_disks == 1
    assert tally.rescales.total() > 0
    assert tally.before_completion >= 0.8 * KILLS  # 90 % of the long version's
    assert {*POINTS, *STATE_POINTS} < set(tally.kills)
    # The comparison is worth nothing if there was little to lose.
    least = {
        "alerts": 1_000,
        "alert_updates": 500,
        "dead_letters": 30,
        "notices": 3,
        "entries": 2_500,
    }
    for part, count in least.items():
        assert len(expected.parts[part]) >= count, part
    summary = expected.parts["summary"]
    assert summary["late"] > 10
    assert summary["duplicates"] >= 10


@pytest.mark.slow
def test_runs_killed_on_kafka_leave_what_an_unbroken_run_leaves(
    tmp_path: Path, kafka_server: KafkaServer
) -> None:
    def restart_broker() -> None:
        kafka_server.kill()
        kafka_server.start()

    source = crash.Source(kafka_server.bootstrap, restart_broker)
    tally, expected = crash.kill_runs(
        tmp_path, KILLS_ON_KAFKA, print, events=crash.EVENTS_QUICK, source=source
    )
    assert tally.broker_restarts == tally.chains > 0
    assert tally.full_disks == 1
    assert tally.lost.total() == 0, tally.examples
    assert tally.doubled.total() == 0, tally.examples
    assert tally.changed.total() == 0, tally.examples
    assert tally.count == KILLS_ON_KAFKA
    assert len(expected.parts["alerts"]) >= 1_000
