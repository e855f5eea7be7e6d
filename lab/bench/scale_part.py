"""``python -m lab.bench.scale_part ACCOUNTS EVENTS``: the account stage with so many accounts.

Every account is met once, which is what memory is counted for; then come ``EVENTS`` events of
accounts in no visible order, which are timed. Making the input is not. Prints JSON.
"""

import gc
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Final

from msgspec import json as msgspec_json

from flows import clock
from lab.bench.engine import plan_of
from lab.bench.load import Load
from lab.bench.part import Take, account_stage
from schemas.events import SECOND_NS

_BLOCK_ORDERS: Final = 16_384
_WARM_ORDERS: Final = 2_000
# So that what is counted is accounts, not the ids that the duplicate check remembers for a minute.
SETTINGS: Final = ("duplicates.window_ns=1000000000",)


def main(accounts: int, events: int) -> None:
    """Measure; see the module."""
    with tempfile.TemporaryDirectory(prefix="tapewatch-scale-") as folder:
        take = _stage(Path(folder))
        load = Load(accounts=accounts)
        gc.collect()
        before = _resident_bytes()
        met_seconds = _timed(take, load, 0, accounts)
        gc.collect()
        grown = _resident_bytes() - before
        cpu = _cpu_seconds()
        seconds = _timed(take, load, accounts, events // 2)
        used = _cpu_seconds() - cpu
    sys.stdout.buffer.write(
        msgspec_json.encode(
            {
                "events": events // 2 * 2,
                "seconds": seconds,
                "making_and_taking_cpu_seconds": used,
                "first_meeting_seconds": met_seconds,
                "state_bytes": grown,
                "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


def _stage(folder: Path) -> Take:
    """Return the stage, its kernels compiled."""
    path = folder / "load.ndjson"
    path.write_bytes(Load(accounts=100).lines(0, _WARM_ORDERS))
    warm = account_stage(plan_of(folder / "warm", str(path), SETTINGS))
    warm(path.read_bytes())
    return account_stage(plan_of(folder / "data", str(path), SETTINGS))


def _timed(take: Take, load: Load, first: int, orders: int) -> float:
    """Take orders; return the seconds that taking alone took."""
    taken_ns = 0
    for start in range(first, first + orders, _BLOCK_ORDERS):
        block = load.lines(start, min(_BLOCK_ORDERS, first + orders - start))
        began_ns = clock.monotonic_ns()
        take(block)
        taken_ns += clock.monotonic_ns() - began_ns
    return taken_ns / SECOND_NS


def _resident_bytes() -> int:
    """Return this process's memory; its most, where the system tells only that."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="utf-8").split()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
