"""From an event's due time to its alert in the ledger, at a pace that is held from outside."""

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, convert, to_builtins
from msgspec import json as msgspec_json

from lab.bench import machine, processes
from lab.bench.load import Load, Paced
from lab.bench.paced_part import Asked, Seen
from lab.bench.plot import Chart

_PERCENT: Final = 100
MS_NS: Final = 1_000_000


class Size(Struct, frozen=True, kw_only=True):
    """How much.

    Attributes
    ----------
    rate
        Events a second.
    burst_share
        Of so many orders one is of an account in a burst; 400 of those bring an alert.
    self_share
        Of so many orders one is traded with oneself; 5 of those bring an aligned alert.
    lateness_ms
        Allowed to events. Aligned alerts wait for it, whatever the machine.
    """

    rate: int
    accounts: int
    seconds: float
    burst_share: int
    self_share: int
    lateness_ms: int = 5_000


USUAL: Final = Size(rate=100_000, accounts=1_000_000, seconds=60, burst_share=10, self_share=500)
QUICK: Final = Size(rate=20_000, accounts=20_000, seconds=8, burst_share=4, self_share=50)


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    return measure(QUICK if quick else USUAL, say)


def measure(size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """Run at a pace and say how late alerts were."""
    say(f"{size.rate:,} events a second for {size.seconds:g} s, {size.accounts:,} accounts.")
    orders = round(size.rate * size.seconds / 2)
    load = Load(
        accounts=size.accounts,
        rate=size.rate,
        burst_share=size.burst_share,
        self_share=size.self_share,
    )
    with tempfile.TemporaryDirectory(prefix="tapewatch-latency-") as folder:
        asked = Asked(
            data=str(Path(folder) / "data"),
            paced=Paced(load=load, orders=orders, ahead_seconds=size.seconds + 1),
            settings=[f"lateness_ns={size.lateness_ms * MS_NS}"],
        )
        words = [sys.executable, "-m", "lab.bench.paced_part", msgspec_json.encode(asked).decode()]
        used = processes.measure(words)
    seen = convert(used.summary, Seen)
    late = sorted(late for _, late in seen.alerts)
    # Those of the last seconds are let go by the end of the load, not by time: leave them out.
    told_until = size.seconds - size.lateness_ms / 1_000 - 1
    timely = [(due, late) for due, late in seen.aligned if due < told_until]
    aligned = sorted(late for _, late in timely)
    figures = {
        **to_builtins(size),
        "events": seen.summary["events"],
        "alerts": len(late),
        "ms_p50": quantile(late, 50),
        "ms_p99": quantile(late, 99),
        "ms_most": quantile(late, _PERCENT),
        "aligned_alerts": len(seen.aligned),
        **_aligned(aligned, size.lateness_ms),
        "seconds_behind_at_the_end": round(seen.seconds - 2 * orders / size.rate, 3),
        "cpu_seconds": round(used.cpu_seconds, 2),
        "peak_mib": round(used.peak_bytes / 2**20, 1),
    }
    chart = Chart(
        title="From an event's due time to its alert in the ledger",
        x="seconds into the run",
        y="milliseconds",
        series=by_second(seen.alerts)
        | {f"aligned, {name}": points for name, points in by_second(timely).items()},
    )
    return machine.report(figures=figures, charts=[chart])


def _aligned(ordered: Sequence[float], lateness_ms: int) -> dict[str, float | None]:
    """Return quantiles of aligned alerts: whole, and beyond the lateness that they waited for."""
    figures: dict[str, float | None] = {}
    for percent in (50, 99):
        late = quantile(ordered, percent)
        figures[f"aligned_ms_p{percent}"] = late
        beyond = None if late is None else round(late - lateness_ms, 2)
        figures[f"aligned_ms_p{percent}_beyond_lateness"] = beyond
    return figures


def quantile(ordered: Sequence[float], percent: int) -> float | None:
    """Return a quantile of values in order, rounded; None of none.

    Examples
    --------
    >>> quantile([1.0, 2.0, 3.0, 4.0], 50)
    2.0
    """
    if not ordered:
        return None
    place = max(0, -(-len(ordered) * percent // _PERCENT) - 1)
    return round(ordered[place], 2)


def by_second(alerts: Sequence[tuple[float, float]]) -> dict[str, list[tuple[float, float]]]:
    """Return median and largest by the second in which events were due."""
    seconds: dict[int, list[float]] = {}
    for due, late in alerts:
        seconds.setdefault(int(due), []).append(late)
    return {
        "median": [(second, statistics.median(held)) for second, held in sorted(seconds.items())],
        "most": [(second, max(held)) for second, held in sorted(seconds.items())],
    }
