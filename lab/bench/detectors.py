"""What each rule costs: nanoseconds an event and bytes a subject, all of them on one market day."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from lab.bench import inputs, machine, processes
from lab.bench.plot import Chart

SEED: Final = 1
EVENTS: Final = 1_000_000
EVENTS_QUICK: Final = 30_000
ROUNDS: Final = 3
ROUNDS_QUICK: Final = 1
_EVENTS_AN_ACCOUNT: Final = 20


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    events, rounds = (EVENTS_QUICK, ROUNDS_QUICK) if quick else (EVENTS, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="tapewatch-detectors-") as folder:
        day = Path(folder) / "day.ndjson"
        say(f"Simulating {events:,} events.")
        inputs.write_market(day, events, SEED, events // _EVENTS_AN_ACCOUNT)
        say(f"Taking them through every rule, {rounds} times.")
        command = [sys.executable, "-m", "lab.bench.detectors_part", str(day), str(rounds)]
        told = processes.measure(command).summary
    course = told.pop("course")
    total = told["stage_nanoseconds_an_event"]
    rules = sum(rule["nanoseconds_an_event"] for rule in told["rules"].values())
    return machine.report(
        figures={"events": events, "rounds": rounds, **told},
        ratios={
            "rules_of_stage": round(rules / total, 3),
            "share_of_stage": {
                name: round(rule["nanoseconds_an_event"] / total, 3)
                for name, rule in told["rules"].items()
            },
        },
        charts=[
            Chart(
                title="What each rule takes as accounts come",
                x="events so far",
                y="nanoseconds an event",
                series={name: [(x, y) for x, y in points] for name, points in course.items()},
            )
        ],
        seed=SEED,
    )
