"""Events a second through parts of the monitor, beside the msgspec reference in the same run.

Every measure is a process of its own; they take turns, so that a machine that becomes slower during
the run does so for all of them, and medians are stated. Parts (reference, scanner, account stage)
time their own work on bytes in memory; the whole flow is the command people run, from its start to
its end, with recovery, duplicates, ledger and store.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from lab.bench import inputs, machine, processes
from lab.bench.plot import Chart

SEED: Final = 1
EVENTS: Final = 2_000_000
EVENTS_QUICK: Final = 300_000
EVENTS_AN_ACCOUNT: Final = 50
ROUNDS: Final = 5
ROUNDS_QUICK: Final = 3
REFERENCE: Final = "msgspec_reference"
PARTS: Final = (REFERENCE, "scanner", "account_stage")
FLOWS: Final = {"flow_1_process": 1, "flow_2_processes": 2}
_MIB: Final = 2**20

Sample = dict[str, float]


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    events = EVENTS_QUICK if quick else EVENTS
    accounts = events // EVENTS_AN_ACCOUNT
    with tempfile.TemporaryDirectory(prefix="tapewatch-throughput-") as name:
        folder = Path(name)
        day = folder / "day.ndjson"
        say(f"Simulating {events:,} events.")
        inputs.write_market(day, events, SEED, accounts)
        samples = _measure(day, folder, ROUNDS_QUICK if quick else ROUNDS, say)
        size = day.stat().st_size
    figures = {measure: _median(taken) for measure, taken in samples.items()}
    reference = figures[REFERENCE]["events_per_second"]
    chart = Chart(
        title="Throughput",
        x="round",
        y="events a second",
        series={
            name: [(float(k + 1), one["events_per_second"]) for k, one in enumerate(taken)]
            for name, taken in samples.items()
        },
    )
    return machine.report(
        seed=SEED,
        charts=[chart],
        figures={"events": events, "bytes": size, "accounts_at_most": accounts, **figures},
        ratios={
            **{
                f"{measure}_to_reference": round(figure["events_per_second"] / reference, 3)
                for measure, figure in figures.items()
                if measure != REFERENCE
            },
            "2_processes_to_1": round(
                figures["flow_2_processes"]["events_per_second_at_work"]
                / figures["flow_1_process"]["events_per_second_at_work"],
                3,
            ),
        },
    )


def _measure(
    day: Path, folder: Path, rounds: int, say: Callable[[str], None]
) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {measure: [] for measure in (*PARTS, *FLOWS)}
    _flow(day, folder / "warm", 1)  # kernels compiled and the file in memory before anything counts
    for number in range(rounds):
        for part in PARTS:
            samples[part].append(_part(part, day))
        for flow, count in FLOWS.items():
            samples[flow].append(_flow(day, folder / flow, count))
        say(f"Round {number + 1} of {rounds} done.")
    return samples


def _part(part: str, day: Path) -> Sample:
    used = processes.measure([sys.executable, "-m", "lab.bench.part", part, str(day)])
    summary = used.summary
    return {
        "events_per_second": summary["events"] / summary["seconds"],
        "seconds": summary["seconds"],
        "cpu_seconds": summary["cpu_seconds"],
        "peak_mib": used.peak_bytes / _MIB,
    }


def _flow(day: Path, data: Path, count: int) -> Sample:
    used = processes.measure(processes.replay_command([day], data, count))
    rmtree(data)
    events = used.summary["events"]
    return {
        "events_per_second": events / used.seconds,  # start-up counts
        "events_per_second_at_work": events / used.summary["seconds"],
        "seconds": used.seconds,
        "cpu_seconds": used.cpu_seconds,
        "peak_mib": used.peak_bytes / _MIB,  # of the largest process
    }


def _median(samples: list[Sample]) -> Sample:
    return {
        name: round(statistics.median(sample[name] for sample in samples), 2) for name in samples[0]
    }
