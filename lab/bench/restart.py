"""How long a run that knows many accounts takes to go on: from its start to the first new block.

Everything counts: interpreter, imports, the look at the input, the snapshots. Beside it stands a
run that begins, on the same file in the same turn; what a start costs anyway is in both.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import convert
from msgspec import json as msgspec_json

from flows import clock
from flows.datafolder import Paths
from lab.bench import machine, processes
from lab.bench.load import Load
from lab.bench.plot import Chart
from lab.bench.restart_part import Asked, Seen
from schemas.events import SECOND_NS

STEPS: Final = (10_000, 100_000, 1_000_000)
QUICK: Final = (1_000, 10_000)
_MORE_ORDERS: Final = 100_000  # behind the place where the first start stops
_BLOCK_ORDERS: Final = 16_384
_MIB: Final = 2**20


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    return measure(QUICK if quick else STEPS, say)


def measure(steps: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Measure with each number of accounts."""
    figures: dict[str, Any] = {}
    resumed: list[tuple[float, float]] = []
    begun: list[tuple[float, float]] = []
    for accounts in steps:
        say(f"{accounts:,} accounts.")
        with tempfile.TemporaryDirectory(prefix="tapewatch-restart-") as folder:
            found = _measure(Path(folder), accounts)
        figures[f"accounts_{accounts}"] = found
        resumed.append((accounts, found["seconds_to_first_block_resumed"]))
        begun.append((accounts, found["seconds_to_first_block_begun"]))
    chart = Chart(
        title="From the start of the command to the first block done",
        x="accounts",
        y="seconds",
        series={"resumed": resumed, "begun": begun},
        x_scale="log",
    )
    ratio = round(resumed[-1][1] / begun[-1][1], 2)
    return machine.report(figures=figures, ratios={"resumed_to_begun": ratio}, charts=[chart])


def _measure(folder: Path, accounts: int) -> dict[str, Any]:
    file, data = folder / "load.ndjson", folder / "data"
    with file.open("wb") as out:
        out.writelines(Load(accounts=accounts).blocks(accounts + _MORE_ORDERS, _BLOCK_ORDERS))
    _start(folder / "warm", file, 1)
    begun, _ = _start(folder / "begun", file, 1)
    _, before = _start(data, file, 2 * accounts)
    recovery = sum(path.stat().st_size for path in Paths(data).recovery.iterdir())
    resumed, after = _start(data, file, before.events + 1)
    assert before.events < after.events
    shutil.rmtree(data)
    return {
        "events_before": before.events,
        "file_mib": round(file.stat().st_size / _MIB, 1),
        "recovery_mib": round(recovery / _MIB, 1),
        "seconds_to_first_block_begun": round(begun, 2),
        "seconds_to_first_block_resumed": round(resumed, 2),
    }


def _start(data: Path, file: Path, stop_at: int) -> tuple[float, Seen]:
    """Start and stop; return the seconds until the first block was done, and what was seen."""
    asked = msgspec_json.encode(Asked(data=str(data), file=str(file), stop_at=stop_at)).decode()
    began_ns = clock.monotonic_ns()
    summary = processes.measure([sys.executable, "-m", "lab.bench.restart_part", asked]).summary
    seen = convert(summary, Seen)
    return (seen.first_ns - began_ns) / SECOND_NS, seen
