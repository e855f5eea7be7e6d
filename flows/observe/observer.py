"""What the parts of a run tell whoever watches: this one is told and does nothing.

A run holds one observer a process. Its methods are called once a block, a commit or a snapshot,
never once an event. ``flows.observe.watching`` has the one that watches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from bytewax.inputs import StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic

if TYPE_CHECKING:  # who tells the observer imports it
    from flows.kafka_source import KafkaSource
    from flows.lanes import LaneBlock
    from flows.sources import LaneItem, Source
    from flows.steps import AccountStep, ShardMessage
    from flows.writer import WriterStep

Write = Literal["ledger_append", "store_write"]
StepName = Literal["accounts", "instruments", "writer"]
AlertStage = Literal["account", "aligned"]
Part = StatefulSourcePartition[Any, Any]
Logic = StatefulBatchLogic[Any, Any, Any]
_NOT_TIMED: Final = nullcontext()


class AlertMade:
    """An alert on its way to the ledger: when its block was read (ns, steady clock; 0: unknown).

    ``stage`` is ``aligned`` where several accounts' rows made it, which waited for time to pass.
    """

    __slots__ = ("event_time_ns", "read_ns", "stage")

    def __init__(self, read_ns: int, event_time_ns: int, *, is_aligned: bool = False) -> None:
        self.read_ns = read_ns
        self.event_time_ns = event_time_ns
        self.stage: AlertStage = "aligned" if is_aligned else "account"


class Observer:
    """Takes notice of nothing, at the cost of a call."""

    def __enter__(self) -> Self:
        """Begin to watch."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching; ``error`` is what ended the run, if anything did."""

    def run_began(self, run_key: str, *, is_resumed: bool) -> None:
        """Note that the data folder is ours and the run goes on or begins."""

    def run_restarted(self, restarts: Mapping[str, int]) -> None:
        """Note how often a supervisor has started the run again, by reason."""

    def run_joined(self, run_key: str) -> None:
        """Note that this process takes part in a run that another one leads."""

    def run_ended(self, *, is_complete: bool) -> None:
        """Note that the run has read everything, or stopped because it was asked to."""

    def stopping(self) -> None:
        """Note that a stop was asked for; may be called by a signal handler."""

    def source_opened(self, source: "Source | KafkaSource") -> None:
        """Note what is read."""

    def joined(self) -> None:
        """Note that this process stands in connection with the run's others."""

    def part(self, part: Part, index: int, first: int) -> Part:
        """Return a source's part with somebody watching it; ``first`` is its next block."""
        del index, first
        return part

    def logic(self, logic: Logic, step: StepName) -> Logic:
        """Return a step of the engine with somebody watching it."""
        del step
        return logic

    def scan(self, item: "LaneItem") -> "LaneBlock":
        """Scan a block."""
        return item.scan()

    def items(self, items: "Iterator[LaneItem]") -> "Iterator[LaneItem]":
        """Return blocks with somebody watching them, for the plain loop."""
        return items

    def shard_started(self, step: "AccountStep") -> None:
        """Note the totals that a resumed shard begins with; a fresh one begins with none."""

    def applied(self, step: "AccountStep", messages: "Sequence[ShardMessage]") -> None:
        """Note how far a shard has come."""

    def writer_started(self, writer: "WriterStep") -> None:
        """Note the totals that the writer begins with."""

    def written(self, writer: "WriterStep") -> None:
        """Note what the writer has made durable."""

    def timing(self, write: Write) -> AbstractContextManager[None]:
        """Time what is done inside."""
        del write
        return _NOT_TIMED

    def alerts_committed(self, alerts: Sequence[AlertMade]) -> None:
        """Note alerts that the ledger holds now."""


def told_too(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls both."""

    def both() -> None:
        first()
        second()

    return both
