"""Events a second from a broker, beside a loop that only consumes and scans the same topic.

Loop and flow are processes of their own and take turns. The broker shares the machine with them.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from flows import clock
from lab.bench import inputs, machine, processes, topics

SEED: Final = 1
EVENTS: Final = 1_000_000
EVENTS_QUICK: Final = 100_000
EVENTS_AN_ACCOUNT: Final = 50
ROUNDS: Final = 3
SETTINGS: Final = ("intake.idle_seconds=3600",)

Sample = dict[str, float]


def run(*, quick: bool, say: Callable[[str], None], kafka: str) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    events = EVENTS_QUICK if quick else EVENTS
    topic = f"bench-{clock.now_ns()}"
    say(f"Publishing {events:,} events to {topic}.")
    topics.make_topics(kafka, topic)
    topics.publish(kafka, inputs.market_lines(events, SEED, events // EVENTS_AN_ACCOUNT), topic)
    url = f"kafka://{kafka}/{topic}?until=end"
    with tempfile.TemporaryDirectory(prefix="tapewatch-kafka-") as folder:
        samples = _measure(url, Path(folder), say)
    figures = {
        name: {key: round(statistics.median(s[key] for s in taken), 2) for key in taken[0]}
        for name, taken in samples.items()
    }
    loop = figures["consume_and_scan"]["events_per_second"]
    return {
        "machine": machine.describe(),
        "commit": machine.commit(),
        "seed": SEED,
        "figures": {"events": events, "partitions": topics.PARTITIONS, **figures},
        "ratios": {
            f"{name}_to_consume_and_scan": round(
                figures[name]["events_per_second_at_work"] / loop, 3
            )
            for name in ("flow_1_process", "flow_2_processes")
        },
    }


def _measure(url: str, folder: Path, say: Callable[[str], None]) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {
        "consume_and_scan": [],
        "flow_1_process": [],
        "flow_2_processes": [],
    }
    _flow(url, folder / "warm", 1)
    for number in range(ROUNDS):
        used = processes.measure([sys.executable, "-m", "lab.bench.kafka_part", url])
        summary = used.summary
        samples["consume_and_scan"].append(
            {
                "events_per_second": summary["events"] / summary["seconds"],
                "cpu_seconds": summary["cpu_seconds"],
            }
        )
        for name, count in (("flow_1_process", 1), ("flow_2_processes", 2)):
            samples[name].append(_flow(url, folder / name, count))
        say(f"Round {number + 1} of {ROUNDS} done.")
    return samples


def _flow(url: str, data: Path, count: int) -> Sample:
    used = processes.measure(processes.replay_command([url], data, count, SETTINGS))
    rmtree(data)
    events = used.summary["events"]
    return {
        "events_per_second": events / used.seconds,  # start-up counts
        "events_per_second_at_work": events / used.summary["seconds"],
        "cpu_seconds": used.cpu_seconds,
    }
