"""Minutes at an even pace, to see whether memory grows, and the recovery store.

Both are looked at once a second from outside. The first part, in which every account is met and the
duplicate check fills, does not count. A slope is that of a straight line through means of ten
spans; its interval is the 95 % one of such a line, spans being far enough apart to count as ten
looks, which single seconds are not.
"""

import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, convert, to_builtins
from msgspec import json as msgspec_json

from flows import clock
from flows.datafolder import Paths
from lab.bench import machine, processes
from lab.bench.latency import quantile
from lab.bench.load import Load, Paced
from lab.bench.paced_part import Asked, Seen
from lab.bench.plot import Chart, Point
from schemas.events import SECOND_NS

SPANS: Final = 10
_STUDENT_95: Final = 2.306  # two-sided, SPANS - 2 degrees of freedom
_MIB: Final = 2**20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Size(Struct, frozen=True, kw_only=True):
    """How much; ``counted_share`` of the time, the last of it, counts."""

    rate: int
    accounts: int
    seconds: float
    every_seconds: float = 1.0
    counted_share: float = 0.8


USUAL: Final = Size(rate=50_000, accounts=100_000, seconds=1_800)
QUICK: Final = Size(rate=10_000, accounts=2_000, seconds=20, every_seconds=0.25, counted_share=0.5)


def run(*, quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the bench; see ``lab.bench.run``."""
    return measure(QUICK if quick else USUAL, say)


def measure(size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """Run at a pace and look at memory and recovery store meanwhile."""
    say(f"{size.rate:,} events a second for {size.seconds / 60:.1f} minutes.")
    load = Load(accounts=size.accounts, rate=size.rate, burst_share=20)
    orders = round(size.rate * size.seconds / 2)
    with tempfile.TemporaryDirectory(prefix="tapewatch-soak-") as folder:
        data = Path(folder) / "data"
        asked = Asked(data=str(data), paced=Paced(load=load, orders=orders))
        seen, memory, store = _watched(asked, size)
        kept = _bytes_below(data)
    end = max(x for x, _ in memory)
    counted = [point for point in memory if point[0] >= end * (1 - size.counted_share)]
    slope, interval = slope_of(counted)
    stores = sorted(y for x, y in store if x >= end * (1 - size.counted_share))
    figures = {
        **to_builtins(size),
        "events": seen.summary["events"],
        "seconds_behind_at_the_end": round(seen.seconds - 2 * orders / size.rate, 3),
        "memory_mib_at_the_end": round(memory[-1][1], 1),
        "memory_mib_an_hour": round(3_600 * slope, 2),
        "memory_mib_an_hour_interval_95": [round(3_600 * s, 2) for s in interval],
        "recovery_mib_median": quantile(stores, 50),
        "recovery_mib_5_to_95_percent": [quantile(stores, 5), quantile(stores, 95)],
        "data_folder_mib_at_the_end": round(kept / _MIB, 1),
        "alert_ms_p99": quantile(sorted(late for _, late in seen.alerts), 99),
    }
    charts = [
        Chart(title="Memory of the process", x="seconds", y="MiB", series={"resident": memory}),
        Chart(title="Recovery store", x="seconds", y="MiB", series={"on disk": store}),
    ]
    return machine.report(figures=figures, charts=charts)


def _watched(asked: Asked, size: Size) -> tuple[Seen, list[Point], list[Point]]:
    """Run; return what the run saw, and memory and recovery store (MiB) by the second."""
    words = [sys.executable, "-m", "lab.bench.paced_part", msgspec_json.encode(asked).decode()]
    recovery = Paths(Path(asked.data)).recovery
    memory: list[tuple[int, float]] = []
    store: list[tuple[int, float]] = []
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(  # noqa: S603 - our own command
            words, stdout=out, env=processes.environment()
        )
        while _is_running(process, size.every_seconds):
            now_ns = clock.monotonic_ns()
            memory.append((now_ns, _resident_bytes(process.pid) / _MIB))
            store.append((now_ns, _bytes_below(recovery) / _MIB))
        if process.returncode != 0:
            raise processes.ProcessFailedError(f"{words!r} ended with {process.returncode}")
        out.seek(0)
        seen = convert(msgspec_json.decode(out.read()), Seen)
    return seen, _since(memory, seen.began_ns), _since(store, seen.began_ns)


def _is_running(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait a moment; say whether the process is still there."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _since(samples: Sequence[tuple[int, float]], began_ns: int) -> list[Point]:
    return [
        ((now - began_ns) / SECOND_NS, value) for now, value in samples if now >= began_ns and value
    ]


def _resident_bytes(process_id: int) -> int:
    """Return a process's memory; 0 where it has just ended or the system does not tell."""
    try:
        fields = Path(f"/proc/{process_id}/statm").read_text(encoding="utf-8").split()
    except OSError:
        return 0
    return int(fields[1]) * _PAGE


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # it was there a moment ago
    return total


def slope_of(points: Sequence[Point]) -> tuple[float, tuple[float, float]]:
    """Return the slope of points in the order of x, and its 95 % interval.

    Raises
    ------
    ValueError
        If there are fewer points than spans.

    Examples
    --------
    >>> import random
    >>> noise = random.Random(1)
    >>> slope, (low, high) = slope_of([(x, 3 * x + noise.gauss(0, 5)) for x in range(1000)])
    >>> low < 3 < high, round(slope, 1)
    (True, 3.0)
    """
    if len(points) < SPANS:
        raise ValueError(f"{len(points)} points are too few for {SPANS} spans")
    cuts = [len(points) * k // SPANS for k in range(SPANS + 1)]
    spans = [points[a:b] for a, b in pairwise(cuts)]
    xs = [statistics.fmean(x for x, _ in span) for span in spans]
    ys = [statistics.fmean(y for _, y in span) for span in spans]
    slope, intercept = statistics.linear_regression(xs, ys)
    rest = sum((y - slope * x - intercept) ** 2 for x, y in zip(xs, ys, strict=True))
    spread = sum((x - statistics.fmean(xs)) ** 2 for x in xs)
    half = _STUDENT_95 * math.sqrt(rest / (SPANS - 2) / spread)
    return slope, (slope - half, slope + half)
