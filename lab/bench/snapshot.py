"""How long a barrier holds a run up: state whole in the snapshots, and pointers to files of state.

Each measure is a process of its own and they take turns, so that a machine that becomes slower does
so for both forms.
"""

import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import to_builtins

from lab.bench import machine, processes
from lab.bench.plot import Chart
from lab.bench.snapshot_part import DIRTY_SHARE, SEED, SHARDS

MB: Final = 1_000_000
SIZES: Final = (60 * MB, 600 * MB)
SIZES_QUICK: Final = (6 * MB,)
FORMS: Final = ("whole", "pointers")
EPOCHS: Final = 12
EPOCHS_QUICK: Final = 4
ROUNDS: Final = 2
_MIB: Final = 2**20

Sample = dict[str, float]
Barriers = list[float]  # seconds, one an epoch


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    sizes, epochs = (SIZES_QUICK, EPOCHS_QUICK) if quick else (SIZES, EPOCHS)
    taken: dict[str, list[Sample]] = {}
    barriers: dict[str, Barriers] = {}
    for number in range(1 if quick else ROUNDS):
        for size in sizes:
            for form in FORMS:
                name = _name(size, form)
                sample, barriers[name] = _measure(form, size, epochs)
                taken.setdefault(name, []).append(sample)
        say(f"Round {number + 1} done.")
    figures = {name: _median(samples) for name, samples in taken.items()}
    return {
        "machine": machine.describe(),
        "commit": machine.commit(),
        "seed": SEED,
        "figures": {"shards": SHARDS, "dirty_share": DIRTY_SHARE, "epochs": epochs, **figures},
        "ratios": {
            f"{size // MB}_mb_whole_to_pointers": round(
                figures[_name(size, "whole")]["barrier_seconds"]
                / figures[_name(size, "pointers")]["barrier_seconds"],
                2,
            )
            for size in sizes
        },
        "charts": [to_builtins(chart_of(barriers))],
    }


def chart_of(barriers: Mapping[str, Barriers]) -> Chart:
    """Draw the last round's barriers, one after another."""
    return Chart(
        title="How long each barrier held the run up",
        x="barrier",
        y="seconds",
        series={
            name.replace("_", " "): [(float(k), seconds) for k, seconds in enumerate(held, 1)]
            for name, held in barriers.items()
        },
    )


def _name(size: int, form: str) -> str:
    return f"{size // MB}_mb_{form}"


def _measure(form: str, size: int, epochs: int) -> tuple[Sample, Barriers]:
    used = processes.measure(
        [sys.executable, "-m", "lab.bench.snapshot_part", form, str(size), str(epochs)]
    )
    seconds = used.summary["seconds"]
    sample = {
        "barrier_seconds": statistics.median(seconds),
        "barrier_seconds_worst": max(seconds),
        "barrier_seconds_first": used.summary["first_seconds"],
        "peak_mib": used.peak_bytes / _MIB,
        "disk_mib": used.summary["disk"] / _MIB,
    }
    return sample, seconds


def _median(samples: list[Sample]) -> Sample:
    return {
        name: round(statistics.median(sample[name] for sample in samples), 4) for name in samples[0]
    }
