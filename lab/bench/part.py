"""One part of the monitor on bytes in memory, in a process of its own: ``python -m``.

Prints the number of events, the seconds the work itself took, and the processor's time for it; a
small block goes first, so that compiling is not counted.
"""

import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import json as msgspec_json

from flows import clock
from flows.lanes import LaneBlock, deal, stamp
from flows.plan import TENANT, Plan
from lab.bench.engine import plan_of
from lab.bench.reference import read_columns
from schemas.columns import HashKey
from schemas.scan import Scanner

BLOCK_BYTES: Final = 8 * 2**20
_WARM_BYTES: Final = 2**18
_NANOSECONDS: Final = 1e9
Take = Callable[[bytes], int]


def blocks(raw: bytes, size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield whole lines, about ``size`` bytes at a time."""
    start = 0
    while start < len(raw):
        end = raw.rfind(b"\n", start, start + size) + 1
        yield raw[start:end]
        start = end


def reference() -> Take:
    """Return the msgspec reference."""
    return lambda block: len(read_columns(block))


def scanner() -> Take:
    """Return the scanner by itself."""
    scan = Scanner(HashKey(1, 2), tenant=TENANT).scan
    return lambda block: len(scan(block).columns)


def account_stage(plan: Plan) -> Take:
    """Return scanner, dealing and every shard's account stage with all rules; no outputs."""
    plan.data.mkdir(exist_ok=True)
    make_stage = plan.stage_factory(plan.source())
    steps = [plan.account_step(shard, make_stage, None) for shard in range(plan.shards)]
    scan = Scanner(HashKey(1, 2), tenant=TENANT)
    numbers = iter(range(sys.maxsize))

    def take(block: bytes) -> int:
        scanned = scan.scan(block)
        times = stamp(scanned.columns.rows, scanned.line_count)
        lane = LaneBlock(number=next(numbers), columns=scanned.columns, times=times)
        for part in deal(lane, plan.shards):
            steps[part.shard].take(part)
        return len(scanned.columns)

    return take


def main(part: str, day: Path) -> None:
    """Measure one part on one file."""
    raw = day.read_bytes()
    with tempfile.TemporaryDirectory(prefix="tapewatch-part-") as name:
        makers: dict[str, Callable[[], Take]] = {
            "msgspec_reference": reference,
            "scanner": scanner,
            "account_stage": lambda: account_stage(plan_of(Path(name), str(day))),
        }
        makers[part]()(next(blocks(raw, _WARM_BYTES)))
        take = makers[part]()
        began_ns, cpu = clock.monotonic_ns(), _cpu_seconds()
        events = sum(take(block) for block in blocks(raw))
        seconds = (clock.monotonic_ns() - began_ns) / _NANOSECONDS
        used = {"events": events, "seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu}
    sys.stdout.buffer.write(msgspec_json.encode(used))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
