"""Throughput and memory of the account stage as accounts become many."""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from lab.bench import machine, processes
from lab.bench.plot import Chart

STEPS: Final = (10_000, 100_000, 1_000_000)
FULL: Final = (*STEPS, 10_000_000)
QUICK: Final = (2_000, 20_000)
EVENTS: Final = 1_000_000
EVENTS_QUICK: Final = 100_000
_MIB: Final = 2**20


def run(*, quick: bool, say: Callable[[str], None], full: bool = False) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    if quick:
        return measure(QUICK, EVENTS_QUICK, say)
    return measure(FULL if full else STEPS, EVENTS, say)


def measure(steps: Sequence[int], events: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure with each number of accounts, every one in a process of its own."""
    figures: dict[str, Any] = {"events": events}
    rates: dict[int, float] = {}
    bytes_each: dict[int, float] = {}
    for accounts in steps:
        say(f"{accounts:,} accounts.")
        used = processes.measure(
            [sys.executable, "-m", "lab.bench.scale_part", str(accounts), str(events)]
        ).summary
        rates[accounts] = used["events"] / used["seconds"]
        bytes_each[accounts] = used["state_bytes"] / accounts
        figures[f"accounts_{accounts}"] = {
            "events_per_second": round(rates[accounts]),
            "events_per_second_first_meeting": round(2 * accounts / used["first_meeting_seconds"]),
            "bytes_an_account": round(bytes_each[accounts], 1),
            "peak_mib": round(used["peak_bytes"] / _MIB, 1),
        }
    first, last = steps[0], steps[-1]
    return machine.report(
        figures=figures,
        ratios={
            f"{first}_to_{last}": round(rates[first] / rates[last], 3),
            # What does not grow with accounts is in both, and so in neither.
            "bytes_an_account_more": round(
                (bytes_each[last] * last - bytes_each[first] * first) / (last - first), 1
            ),
        },
        charts=[
            _chart("Account stage", "events a second", rates),
            _chart("Memory", "bytes an account", bytes_each),
        ],
    )


def _chart(title: str, y: str, by_accounts: dict[int, float]) -> Chart:
    points = [(float(accounts), value) for accounts, value in by_accounts.items()]
    return Chart(title=title, x="accounts", y=y, series={y: points}, x_scale="log")
