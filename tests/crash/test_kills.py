"""Twenty kills, at random and named moments, one process and two: nothing lost, nothing doubled."""

from pathlib import Path

import pytest

from flows.crash import POINTS
from lab.bench import crash


@pytest.mark.slow
def test_killed_runs_leave_what_an_unbroken_run_leaves(tmp_path: Path) -> None:
    tally, expected = crash.kill_runs(tmp_path, crash.KILLS_QUICK, crash.SEED, print)

    assert tally.lost.total() == 0, tally.examples
    assert tally.doubled.total() == 0, tally.examples
    assert tally.changed.total() == 0, tally.examples
    assert tally.count == crash.KILLS_QUICK
    assert tally.before_completion >= 0.8 * crash.KILLS_QUICK  # 90 % of the long version's 200
    assert set(POINTS) < set(tally.kills)
    # The comparison is worth nothing if there was little to lose.
    least = {
        "alerts": 300,
        "alert_updates": 100,
        "dead_letters": 100,
        "notices": 20,
        "entries": 900,
    }
    for part, count in least.items():
        assert len(expected.parts[part]) >= count, part
    summary = expected.parts["summary"]
    assert summary["late"] > 50
    assert summary["duplicates"] > 50
