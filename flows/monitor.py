"""The dataflow, whole, on one screen.

Only five of the engine's operators are used, and nothing of the monitor's own logic knows it: the
plain loop (``flows.loop``) runs the same steps and must give the same alerts.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from msgspec import structs

from flows.guard import Guard
from flows.instruments import InstrumentMessage, InstrumentStep, deal_sent
from flows.kafka_source import KafkaSource
from flows.lanes import ShardBlock, deal
from flows.live_flow import LiveSource
from flows.observe.observer import Observer, Part
from flows.plan import Plan
from flows.shared_scans import ScanBoard
from flows.snapshots import Snapshots, threads_for
from flows.sources import FileSource, LaneItem, Source
from flows.steps import AccountStep, ShardMessage
from flows.writer import WriterStep
from schemas.hashing import siphash13

Keyed = tuple[str, Any]
WRITER_SHARD: Final = 0  # its key lands on worker 0, where the ledger lies
# A process without shards of its own is held back by nothing but this, in allowances an epoch: at
# epochs of two seconds, half a gigabyte each, which is more than any machine we know takes.
EPOCH_WINDOWS: Final = 32
WINDOW_MIN: Final = 2  # blocks; with one, two processes would take turns


def shard_key(shard: int, shards: int, prefix: str = "s") -> str:
    """Return the shard's key: the first name that the engine puts on worker ``shard`` mod W.

    The engine routes a key by SipHash-1-3 of its text, modulo the workers; so a name whose hash is
    the shard modulo the shard count lands on worker shard mod W for every power of two W up to it.

    Examples
    --------
    >>> shard_key(0, 1)
    's0'
    """
    number = 0
    while True:
        name = f"{prefix}{number}"
        # Rust hashes a str as its bytes and one 0xFF, so that ("a", "bc") and ("ab", "c") differ.
        if siphash13(name.encode() + b"\xff") % shards == shard:
            return name
        number += 1


def build_flow(plan: Plan, run_key: str, hooks: "Hooks") -> Dataflow:
    """Build the dataflow: lanes, scan, accounts, instruments, writer."""
    source = plan.source()
    observer = plan.observer
    observer.source_opened(source)
    keys = [shard_key(shard, plan.shards) for shard in range(plan.shards)]
    writer_key = shard_key(WRITER_SHARD, plan.shards, "w")
    make_stage = plan.stage_factory(source)
    guard = hooks.guard = Guard(plan.pulse)
    instruments = plan.instrument_shards
    instrument_keys = [shard_key(shard, instruments, "i") for shard in range(instruments)]
    make_instruments = plan.instrument_stage_factory(source)

    def start_shard(shard: int, state: Any) -> AccountStep:
        return plan.account_step(shard, make_stage, state)

    @guard.call
    def start_accounts(state: Any) -> Any:
        logic = AccountLogic(start_shard, plan, pace, state, snapshots)
        return guard.logic(observer.logic(logic, "accounts"))

    def start_instrument(index: int, state: Any) -> InstrumentStep:
        return plan.instrument_step(index, make_instruments, state)

    @guard.call
    def start_instruments(state: Any) -> Any:
        logic = InstrumentLogic(start_instrument, plan, state)
        return guard.logic(observer.logic(logic, "instruments"))

    @guard.call
    def start_writer(state: Any) -> Any:
        step = plan.writer_step(run_key, state)
        step.on_progress = hooks.on_progress
        hooks.writer = step
        return guard.logic(observer.logic(WriterLogic(step, plan), "writer"))

    flow = Dataflow("tapewatch")
    pace = Pace(_window(plan))
    snapshots = hooks.snapshots
    lanes: Stream[LaneItem] = op.input(
        "lanes", flow, guard.source(_input(source, plan, pace, hooks))
    )
    deal_out = guard.call(partial(scan, keys=keys, shards=plan.shards, observer=observer))
    parts = op.flat_map("scan", lanes, deal_out)
    found = op.stateful_batch("accounts", parts, start_accounts)
    messages = op.flat_map("to_writer", found, partial(to_writer, key=writer_key))
    if instruments:
        deal_on = guard.call(partial(to_instruments, keys=instrument_keys))
        sent = op.flat_map_batch("align", found, deal_on)
        traded = op.stateful_batch("instruments", sent, start_instruments)
        told = op.flat_map("told", traded, partial(to_writer, key=writer_key))
        messages = op.merge("findings", messages, told)
    written = op.stateful_batch("write", messages, start_writer)
    op.output("done", written, _Nowhere())
    return flow


def _input(source: Source | KafkaSource, plan: Plan, pace: "Pace", hooks: "Hooks") -> Any:
    if isinstance(source, KafkaSource):
        allowance = int(plan.config.value("intake.unacknowledged_bytes_max"))
        return LiveSource(
            source, hooks.process, hooks.processes, allowance, hooks.should_stop, plan.observer
        )
    if isinstance(source, FileSource) and hooks.board is not None:
        # The engine has shards where their parts are read for these numbers of processes only.
        shards_are_near = min(source.parts, plan.shards) % hooks.processes == 0
        source.share(hooks.board, hooks.process, pace.done if shards_are_near else None)
    return LaneSource(source, plan, pace, hooks)


def _window(plan: Plan) -> int:
    allowance = int(plan.config.value("intake.unacknowledged_bytes_max"))
    return max(WINDOW_MIN, allowance // int(plan.config.value("intake.block_bytes")))


class Hooks:
    """What the process around the flow gives it: when to stop, whom to tell, which one it is."""

    def __init__(
        self,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[Any], None] = lambda _progress: None,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.process = process
        self.processes = processes
        self.should_stop = should_stop
        self.on_progress = on_progress
        self.writer: WriterStep | None = None  # in the process where the writer runs
        self.guard: Guard | None = None  # once the flow is built
        self.snapshots = Snapshots(threads_for(processes))  # closed by who runs the flow
        self.board: ScanBoard | None = None  # where several processes scan one file


def scan(item: LaneItem, *, keys: Sequence[str], shards: int, observer: Observer) -> list[Keyed]:
    """Turn a block's bytes into columns and deal them to the shards."""
    return [(keys[part.shard], part) for part in deal(observer.scan(item), shards)]


def to_writer(item: Keyed, *, key: str) -> list[Keyed]:
    """Send a shard's message to the one writer, without what it sends elsewhere."""
    message: ShardMessage = item[1]
    return [(key, message if message.sent is None else structs.replace(message, sent=None))]


def to_instruments(items: Sequence[Keyed], *, keys: Sequence[str]) -> list[Keyed]:
    """Deal what several shards send on to the shards of instruments."""
    sent = deal_sent([message for _, message in items], len(keys))
    return [(keys[message.shard], message) for message in sent]


class Pace:
    """How far this process's sources may run ahead of its shards: the engine holds back nobody.

    Blocks leave in their order, so that none has to wait at a shard for an earlier one of this
    process; and at most ``window`` blocks beyond what every shard here has applied, so that blocks
    of this process do not pile up while those of another are late.

    Parameters
    ----------
    window
        In blocks, at least 1.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._next_by_part: dict[int, int] = {}
        self._applied: dict[int, int] = {}

    def stands(self, part: int, number: int) -> None:
        """Note a part's next block."""
        self._next_by_part[part] = number

    def ended(self, part: int) -> None:
        """Note that a part has no more blocks."""
        self._next_by_part.pop(part, None)

    def applied(self, shard: int, number: int) -> None:
        """Note the next block that a shard waits for."""
        self._applied[shard] = number

    def done(self, shards: Sequence[int], first: int) -> int:
        """Return the block that the shard furthest behind waits for; each began with ``first``."""
        return min(self._applied.get(shard, first) for shard in shards)

    def is_next(self, number: int) -> bool:
        """Say whether ``number`` is the lowest block that a part here has not given."""
        return number == min(self._next_by_part.values())

    def has_room(self, number: int) -> bool:
        """Say whether block ``number`` is not too far ahead of the shards."""
        return number < min(self._applied.values(), default=number) + self._window


class LaneSource(FixedPartitionedSource[LaneItem, int]):
    """A source's parts as the engine's partitions; the state is the next block's number."""

    def __init__(self, source: Source, plan: Plan, pace: Pace, hooks: Hooks) -> None:
        self._source = source
        self._pace = pace
        self._hooks = hooks
        self._observer = plan.observer
        allowance = int(plan.config.value("intake.unacknowledged_bytes_max"))
        self._epoch_bytes = EPOCH_WINDOWS * allowance // source.parts

    def list_parts(self) -> list[str]:
        """Name the parts."""
        self._observer.joined()  # the engine asks once the processes are connected
        # A part is read where its shards are, as the engine deals their keys.
        process, processes = self._hooks.process, self._hooks.processes
        own = [part for part in range(self._source.parts) if part % processes == process]
        return [f"part-{part:03}" for part in own]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> Part:
        """Open one part where it stood."""
        del step_id
        part = int(for_part.removeprefix("part-"))
        first = resume_state or 0
        items = self._source.items(part, first)
        opened = LanePart(
            part, first, items, self._epoch_bytes, self._pace, self._hooks.should_stop
        )
        return self._observer.part(opened, part, first)


class LanePart(StatefulSourcePartition[LaneItem, int]):
    """One part: gives a block at a time when its turn comes."""

    def __init__(
        self,
        part: int,
        first: int,
        items: Iterator[LaneItem | None],
        epoch_bytes: int,
        pace: Pace,
        should_stop: Callable[[], bool],
    ) -> None:
        self._part = part
        self._next_number = first
        self._items = items
        self._held: LaneItem | None = None  # read, but not given
        self._epoch_bytes = epoch_bytes
        self._given_bytes = 0
        self._pace = pace
        self._should_stop = should_stop
        pace.stands(part, first)

    def next_batch(self) -> list[LaneItem]:
        """Give the next block; nothing while it is another's turn or this epoch is full."""
        if self._should_stop():
            raise StopIteration
        if self._given_bytes >= self._epoch_bytes or not self._pace.is_next(self._next_number):
            return []
        # Read before there is room: a part without more blocks must not wait for room to say so.
        try:
            item = self._held = self._held or next(self._items)
        except StopIteration:
            self._pace.ended(self._part)
            raise
        if item is None or not self._pace.has_room(self._next_number):
            return []
        self._held = None
        self._next_number = item.number + 1
        self._given_bytes += item.size
        self._pace.stands(self._part, self._next_number)
        return [item]

    def snapshot(self) -> int:
        """Return where to go on. The next call comes when this epoch is durable everywhere."""
        self._given_bytes = 0
        return self._next_number


class AccountLogic(StatefulBatchLogic[ShardBlock, ShardMessage, dict[str, Any]]):
    """One shard's account step under the engine; its first block says which shard it is."""

    def __init__(
        self,
        start: Callable[[int, Any], AccountStep],
        plan: Plan,
        pace: Pace,
        state: dict[str, Any] | None,
        snapshots: Snapshots,
    ) -> None:
        self._start = start
        self._plan = plan
        self._pace = pace
        self._snapshots = snapshots
        self._step = None if state is None else start(state["shard"], state["step"])
        if self._step is not None:
            pace.applied(self._step.shard, self._step.next_number)

    @property
    def step(self) -> AccountStep | None:
        """The shard's step; None before its first block."""
        return self._step

    def on_batch(self, values: list[ShardBlock]) -> tuple[list[ShardMessage], bool]:
        """Take blocks; keep the state for ever."""
        if self._step is None:
            self._step = self._start(values[0].shard, None)
        self._snapshots.will_change(self._step)
        messages = [message for block in values for message in self._step.take(block)]
        self._pace.applied(self._step.shard, self._step.next_number)
        return messages, StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[ShardMessage], bool]:
        """Do nothing: a stop is not the end of the input, whose mark is in the stream."""
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        """Copy the state."""
        assert self._step is not None
        self._plan.crash("snapshot.account")
        return {"shard": self._step.shard, "step": self._snapshots.of(self._step)}


class InstrumentLogic(StatefulBatchLogic[InstrumentMessage, ShardMessage, dict[str, Any]]):
    """One instrument shard's step under the engine; its first message says which shard it is."""

    def __init__(
        self,
        start: Callable[[int, Any], InstrumentStep],
        plan: Plan,
        state: dict[str, Any] | None,
    ) -> None:
        self._start = start
        self._plan = plan
        self._index = 0 if state is None else int(state["index"])
        self._step = None if state is None else start(self._index, state["step"])

    @property
    def step(self) -> InstrumentStep | None:
        """The shard's step; None before its first message."""
        return self._step

    def on_batch(self, values: list[InstrumentMessage]) -> tuple[list[ShardMessage], bool]:
        """Take messages; keep the state for ever."""
        if self._step is None:
            self._index = values[0].shard
            self._step = self._start(self._index, None)
        messages = [message for value in values for message in self._step.take(value)]
        return messages, StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[ShardMessage], bool]:
        """Do nothing: a stop is not the end of the input."""
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        """Copy the state."""
        assert self._step is not None
        self._plan.crash("snapshot.instruments")
        return {"index": self._index, "step": self._step.snapshot()}


class WriterLogic(StatefulBatchLogic[ShardMessage, Keyed, dict[str, Any]]):
    """The writer under the engine."""

    def __init__(self, step: WriterStep, plan: Plan) -> None:
        self._step = step
        self._plan = plan

    def on_batch(self, values: list[ShardMessage]) -> tuple[list[Keyed], bool]:
        """Make messages durable."""
        self._step.take(values)
        self._plan.crash("between")
        return [], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[list[Keyed], bool]:
        """Bring the ledger's files up to date; the state stays."""
        self._step.outputs.ledger.flush()
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> dict[str, Any]:
        """Copy the state."""
        self._plan.crash("snapshot.writer")
        return self._step.snapshot()


class _Nowhere(DynamicSink[Keyed]):
    """The writer step has done everything by then; nothing reaches this sink."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_NowherePart":
        """Make a worker's part."""
        del step_id, worker_index, worker_count
        return _NowherePart()


class _NowherePart(StatelessSinkPartition[Keyed]):
    def write_batch(self, items: list[Keyed]) -> None:
        assert not items
