"""The same job, done by the monitor, by its engine as people use it, and by a plain loop.

All read the same file, take turns in processes of their own, and must find the same accounts.
"""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from lab.bench import machine, processes
from lab.bench.load import Load
from lab.bench.peer_part import PEERS
from lab.bench.plot import Chart, Point

_BLOCK_ORDERS: Final = 16_384
_OURS: Final = "tapewatch"
_WHOLE: Final = "tapewatch_replay"


class Size(Struct, frozen=True, kw_only=True):
    """How much; 400 orders of a burst are found once."""

    orders: int
    accounts: int
    rounds: int
    burst_share: int = 20


USUAL: Final = Size(orders=1_000_000, accounts=50_000, rounds=3)
QUICK: Final = Size(orders=100_000, accounts=10_000, rounds=1)


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    return measure(QUICK if quick else USUAL, say)


def measure(size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """Let everybody do the job, and compare what they found.

    Raises
    ------
    RuntimeError
        If they did not find the same.
    """
    load = Load(accounts=size.accounts, rate=100_000, burst_share=size.burst_share)
    rates: dict[str, list[float]] = {name: [] for name in (*PEERS, _WHOLE)}
    per_cpu: dict[str, list[float]] = {name: [] for name in PEERS}
    found: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory(prefix="tapewatch-peers-") as name:
        file = Path(name) / "load.ndjson"
        with file.open("wb") as out:
            out.writelines(load.blocks(size.orders, _BLOCK_ORDERS))
        for number in range(size.rounds):
            for peer in PEERS:
                words = [sys.executable, "-m", "lab.bench.peer_part", peer, str(file)]
                used = processes.measure(words).summary
                rates[peer].append(2 * size.orders / used["seconds"])
                per_cpu[peer].append(2 * size.orders / used["cpu_seconds"])
                found[peer] = used["found"]
            rates[_WHOLE].append(_replay(file, Path(name) / "data"))
            say(f"Round {number + 1} of {size.rounds} done.")
    require_same(found)
    return _report(size, rates, per_cpu, len(found[_OURS]))


def require_same(found: dict[str, list[Any]]) -> None:
    """Raise ``RuntimeError`` unless everybody found the same, and something."""
    for peer, accounts in found.items():
        if accounts != found[_OURS] or not accounts:
            raise RuntimeError(
                f"{peer} found {len(accounts)} accounts and {_OURS} {len(found[_OURS])}, not the "
                "same: one of them does not do the job. Please report it."
            )


def _replay(file: Path, data: Path) -> float:
    """Return the events a second of the whole command at work, with everything it does."""
    summary = processes.measure(processes.replay_command([file], data)).summary
    shutil.rmtree(data)
    return float(summary["events"] / summary["seconds"])


def _report(
    size: Size, rates: dict[str, list[float]], per_cpu: dict[str, list[float]], found: int
) -> dict[str, Any]:
    medians = {name: statistics.median(taken) for name, taken in rates.items()}
    cpu_medians = {name: statistics.median(taken) for name, taken in per_cpu.items()}
    points: dict[str, list[Point]] = {
        name: [(float(k + 1), rate) for k, rate in enumerate(taken)]
        for name, taken in rates.items()
    }
    return machine.report(
        figures={
            "events": 2 * size.orders,
            "accounts_at_most": size.accounts,
            "accounts_found_by_all": found,
            **{f"{name}_events_per_second": round(rate) for name, rate in medians.items()},
            **{f"{name}_events_per_cpu_second": round(r) for name, r in cpu_medians.items()},
        },
        ratios={
            **_ratios(medians, ""),
            # The same on a machine that others use meanwhile.
            **_ratios(cpu_medians, "_by_cpu"),
        },
        charts=[Chart(title="The same job", x="round", y="events a second", series=points)],
    )


def _ratios(rates: dict[str, float], kind: str) -> dict[str, float]:
    return {
        f"{_OURS}_to_{name}{kind}": round(rates[_OURS] / rate, 2)
        for name, rate in rates.items()
        if name != _OURS
    }
