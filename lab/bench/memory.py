"""What an account costs in memory with every rule, by its tables and by the system's account."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import to_builtins

from lab.bench import inputs, machine, processes
from lab.bench.plot import Chart

SEED: Final = 1
EVENTS: Final = 2_000_000
EVENTS_QUICK: Final = 30_000
EVENTS_AN_ACCOUNT: Final = 50
SHARDS: Final = 32
_MIB: Final = 2**20


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    events = EVENTS_QUICK if quick else EVENTS
    with tempfile.TemporaryDirectory(prefix="tapewatch-memory-") as folder:
        day = Path(folder) / "day.ndjson"
        say(f"Simulating {events:,} events.")
        inputs.write_market(day, events, SEED, events // EVENTS_AN_ACCOUNT)
        command = [sys.executable, "-m", "lab.bench.memory_part", str(day), str(SHARDS)]
        used = processes.measure(command)
    rows, held = used.summary["rows"], used.summary["held"]
    accounts = max(1, rows["accounts"])
    return {
        "machine": machine.describe(),
        "commit": machine.commit(),
        "seed": SEED,
        "figures": {
            "events": events,
            "rows": rows,
            "bytes_an_account": {name: round(size / accounts, 1) for name, size in held.items()},
            "peak_mib": round(used.peak_bytes / _MIB, 1),
        },
        "ratios": {
            "bytes_an_account": round(sum(held.values()) / accounts, 1),
            "bytes_an_account_without_orders": round(
                (sum(held.values()) - held["orders"]) / accounts, 1
            ),
            "resident_bytes_an_account": round(used.summary["rss_growth"] / accounts, 1),
        },
        "charts": [to_builtins(chart_of(used.summary["growth"]))],
    }


def chart_of(growth: Sequence[Sequence[float]]) -> Chart:
    """Draw what the tables and the process grow by as accounts come: (accounts, bytes, bytes)."""
    return Chart(
        title="Memory as accounts come",
        x="accounts held",
        y="MiB",
        series={
            name: [(point[0], round(point[k] / _MIB, 2)) for point in growth]
            for k, name in ((1, "tables"), (2, "process, beyond its start"))
        },
    )
