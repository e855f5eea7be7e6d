"""``python -m lab.bench.peer_part NAME FILE``: one way to find accounts that order too fast.

The job: the orders and cancels of each account in the last second, exactly; the first event of each
account at which they are 300. ``tapewatch`` is this monitor's own dataflow with that one rule,
without outputs; ``bytewax`` is the engine as its documentation uses it, an event at a time, and
``python`` a plain loop: both leave out what else the monitor does (what is damaged, late, repeated
or exempt). Nobody keeps snapshots. Prints what was found, and how long it took from the first byte.
"""

import resource
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import bytewax.operators as op
import orjson
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream
from bytewax.testing import TestingSink, run_main
from msgspec import json as msgspec_json

from detectors.core.contract import Detector
from flows import clock
from flows.kafka_source import KafkaSource
from flows.monitor import AccountLogic, Hooks, LaneSource, Pace, scan, shard_key
from flows.plan import Plan
from flows.snapshots import Snapshots, threads_for
from flows.steps import AccountStep, ShardMessage
from lab.bench.engine import plan_of
from lab.bench.load import Load
from schemas.events import SECOND_NS

RULE: Final = "cn.order_rate.second"
FIGURE: Final = 300
_ACTIONS: Final = frozenset({"order.new", "order.replace", "order.cancel"})
_WINDOW_BLOCKS: Final = 8
_WARM_ORDERS: Final = 2_000
_LINES_AT_ONCE: Final = 1_000
# Without snapshots nobody tells a source to go on: it may give all there is.
_NOBODY_ACKNOWLEDGES: Final = ("intake.unacknowledged_bytes_max=4294967296",)
Found = set[tuple[str, str]]  # (account, event_id)


class Window:
    """An account's orders and cancels of the last second."""

    def __init__(self) -> None:
        self.times: deque[int] = deque()
        self.is_over = False

    def take(self, event: dict[str, Any]) -> bool:
        """Take one; say whether it is the first to reach the figure."""
        time_ns = event["event_time_ns"]
        times = self.times
        times.append(time_ns)
        while times[0] <= time_ns - SECOND_NS:
            times.popleft()
        if self.is_over or len(times) < FIGURE:
            return False
        self.is_over = True
        return True


def python(file: Path) -> Found:
    """Find them in a plain loop."""
    found: Found = set()
    windows: dict[str, Window] = {}
    with file.open("rb") as lines:
        for line in lines:
            event = orjson.loads(line)
            if event["kind"] in _ACTIONS:
                account = event["account_id"]
                window = windows.get(account)
                if window is None:
                    window = windows[account] = Window()
                if window.take(event):
                    found.add((account, event["event_id"]))
    return found


def bytewax(file: Path) -> Found:
    """Find them with the engine's own operators, an event at a time."""
    out: list[tuple[str, Any]] = []
    flow = Dataflow("peer")
    lines = op.input("lines", flow, FileSource(file, batch_size=_LINES_AT_ONCE))
    events = op.map("decode", lines, orjson.loads)
    actions = op.filter("actions", events, lambda event: event["kind"] in _ACTIONS)
    keyed = op.key_on("by_account", actions, lambda event: event["account_id"])
    judged = op.stateful_map("count", keyed, _count)
    over: KeyedStream[str | None] = op.filter_value(
        "over", judged, lambda event_id: event_id is not None
    )
    op.output("found", over, TestingSink(out))
    run_main(flow)  # type: ignore[no-untyped-call]
    return set(out)


def _count(window: Window | None, event: dict[str, Any]) -> tuple[Window, str | None]:
    window = window or Window()
    return window, event["event_id"] if window.take(event) else None


class _OneRule(Plan):
    """A plan with that one rule."""

    def detectors(self) -> list[Detector]:
        return [d for d in super().detectors() if d.rule.id == RULE]


def tapewatch(file: Path) -> Found:
    """Find them as the monitor does."""
    with tempfile.TemporaryDirectory(prefix="tapewatch-peer-") as folder:
        made = plan_of(Path(folder), str(file), _NOBODY_ACKNOWLEDGES)
        out: list[tuple[str, ShardMessage]] = []
        flow = _flow(_OneRule(made.data, made.inputs, made.config), out)
        run_main(flow)  # type: ignore[no-untyped-call]
    openings = (f for _, message in out for f in message.findings if f.phase == "opening")
    return {(finding.account_id, finding.trigger[1]) for finding in openings}


def _flow(plan: Plan, out: list[tuple[str, ShardMessage]]) -> Dataflow:
    """Return the monitor's dataflow as far as the accounts; see ``flows.monitor``."""
    source = plan.source()
    assert not isinstance(source, KafkaSource)
    make_stage = plan.stage_factory(source)
    pace, snapshots = Pace(_WINDOW_BLOCKS), Snapshots(threads_for(1))
    keys = [shard_key(shard, plan.shards) for shard in range(plan.shards)]

    def start(shard: int, state: Any) -> AccountStep:
        return plan.account_step(shard, make_stage, state)

    flow = Dataflow("tapewatch")
    lanes = op.input("lanes", flow, LaneSource(source, plan, pace, Hooks()))
    deal_out = partial(scan, keys=keys, shards=plan.shards, observer=plan.observer)
    parts = op.flat_map("scan", lanes, deal_out)
    found = op.stateful_batch(
        "accounts", parts, lambda state: AccountLogic(start, plan, pace, state, snapshots)
    )
    op.output("found", found, TestingSink(out))
    return flow


PEERS: Final[dict[str, Callable[[Path], Found]]] = {
    "tapewatch": tapewatch,
    "bytewax": bytewax,
    "python": python,
}


def main(name: str, file: Path) -> None:
    """Measure one of them; a small file goes first, so that compiling is not counted."""
    with tempfile.TemporaryDirectory(prefix="tapewatch-warm-") as folder:
        small = Path(folder) / "load.ndjson"
        small.write_bytes(Load(accounts=100, burst_share=2).lines(0, _WARM_ORDERS))
        assert PEERS[name](small)
    began_ns, cpu = clock.monotonic_ns(), _cpu_seconds()
    found = PEERS[name](file)
    seconds = (clock.monotonic_ns() - began_ns) / SECOND_NS
    used = {"seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu, "found": sorted(found)}
    sys.stdout.buffer.write(msgspec_json.encode(used))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
