"""The account stage of every shard on a simulated day, and what its tables hold, in one process."""

import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import json as msgspec_json

from detectors.core.memory import RINGS
from detectors.core.registry import params_types
from detectors.core.stage import AccountStage
from detectors.core.tables import USED
from flows.config import load
from flows.kafka_source import KafkaSource
from flows.lanes import deal
from flows.plan import InputSpec, Plan
from flows.sources import in_order
from flows.steps import AccountStep

POINTS_MAX: Final = 60  # of a chart
_PAGE_BYTES: Final = resource.getpagesize()


def rss_bytes() -> int:
    """Return the memory of this process; 0 where the system does not say."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * _PAGE_BYTES if path.is_file() else 0


def held_bytes(stage: AccountStage) -> dict[str, int]:
    """Return the bytes of a shard's tables as far as they were ever used, by table."""
    state = stage.state
    found = {
        name: table.used * table.rows.itemsize + table.heads.nbytes
        for name, table in (
            ("accounts", state.accounts),
            ("orders", state.orders),
            ("contracts", state.contracts),
        )
    }
    trips = state.contracts.trip_counters[USED]
    found["open_trips"] = int(trips) * state.contracts.trips.itemsize
    found["duplicates"] = state.seen.nbytes
    found["peers"] = 0 if stage.peers is None else stage.peers.held_bytes
    found["rules_rows"] = sum(s.used * s.rows.itemsize for s in stage.subjects)
    found["rules_heads"] = sum(s.heads.nbytes for s in stage.subjects)
    found["rules_rings"] = sum(int(s.counters[RINGS]) * s.rings[:1].nbytes for s in stage.subjects)
    found["rules_nodes"] = sum(int(s.node_counters[0]) * s.nodes.itemsize for s in stage.subjects)
    return found


def main(day: str, shards: int) -> None:
    """Take a day and print how many accounts there are and what they cost."""
    with tempfile.TemporaryDirectory(prefix="tapewatch-memory-") as name:
        flags = [f"shards={shards}", "intake.block_bytes=1048576"]
        config = load(flags, {"data": name}, detectors=params_types(), environment={})
        plan = Plan(Path(name), (InputSpec(name=day),), config)
        source = plan.source()
        assert not isinstance(source, KafkaSource), "a day is a file"
        make_stage = plan.stage_factory(source)
        steps = [plan.account_step(shard, make_stage, None) for shard in range(shards)]
        before = 0
        growth: list[tuple[int, int, int]] = []
        for item in in_order(source):
            for part in deal(item.scan(), shards):
                steps[part.shard].take(part)
            before = before or rss_bytes()  # kernels are loaded, and one block's room is there
            held = sum(_totals(steps).values())
            growth.append((_counts(steps)["accounts"], held, rss_bytes() - before))
        after = rss_bytes()
    figures = {
        "rows": _counts(steps),
        "held": _totals(steps),
        "rss_growth": after - before,
        "growth": growth[:: 1 + len(growth) // POINTS_MAX],
    }
    sys.stdout.buffer.write(msgspec_json.encode(figures))


def _totals(steps: Sequence[AccountStep]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for step in steps:
        for table, size in held_bytes(step.stage).items():
            totals[table] = totals.get(table, 0) + size
    return totals


def _counts(steps: Sequence[AccountStep]) -> dict[str, int]:
    rows = [step.stage.row_counts() for step in steps]
    return {table: sum(int(one[table]) for one in rows) for table in rows[0]}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
