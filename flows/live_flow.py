"""Lanes that never end, under the engine: slots as its partitions, each in a fixed process."""

from collections.abc import Callable
from typing import Any, Final

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.edges.kafka_url import KafkaLanes
from flows.kafka_source import SLOTS, KafkaLanesReader, KafkaSource, freeze
from flows.lanes import LaneBlock
from flows.observe.observer import Observer, Part

FrozenLanes = dict[int, tuple[int, tuple[Any, ...], bool]]
# Within an epoch nothing but this holds a process back.
EPOCH_WINDOWS: Final = 32


class LiveItem:
    """A block that is already scanned: only in its lane's order is its time known."""

    def __init__(self, block: LaneBlock, size: int, lane_name: str) -> None:
        self.number = block.number
        self.lane_names = (lane_name,)
        self.size = size
        self._block = block

    def scan(self) -> LaneBlock:
        """See ``flows.sources.LaneItem``."""
        return self._block


class LiveSource(FixedPartitionedSource[LiveItem, FrozenLanes]):
    """The slots that one process reads.

    Parameters
    ----------
    source
        What is read.
    process, processes
        Which process this is, of how many.
    allowance
        Bytes that may stand between the source and the shards.
    should_stop
        Says whether to stop where we are.
    observer
        Who watches.
    """

    def __init__(
        self,
        source: KafkaSource,
        process: int,
        processes: int,
        allowance: int,
        should_stop: Callable[[], bool],
        observer: Observer,
    ) -> None:
        self._source = source
        self._observer = observer
        self._slots = [slot for slot in range(SLOTS) if slot % processes == process]
        self._reader = source.open(process, processes)
        self._epoch_bytes = EPOCH_WINDOWS * allowance // max(len(self._slots), 1)
        self._should_stop = should_stop

    def list_parts(self) -> list[str]:
        """Name the slots of this process; the engine asks every process once they are connected."""
        self._observer.joined()
        return [f"slot-{slot:02}" for slot in self._slots]

    def build_part(self, step_id: str, for_part: str, resume_state: FrozenLanes | None) -> "Part":
        """Open one slot where it stood."""
        del step_id
        slot = int(for_part.removeprefix("slot-"))
        part = LivePart(
            slot,
            self._reader,
            self._source.lane_names,
            self._epoch_bytes,
            self._should_stop,
            resume_state,
        )
        return self._observer.part(part, slot, 0)


class LivePart(StatefulSourcePartition[LiveItem, FrozenLanes]):
    """One slot: gives its lanes' blocks as they come."""

    def __init__(
        self,
        slot: int,
        reader: KafkaLanesReader,
        names: KafkaLanes,
        epoch_bytes: int,
        should_stop: Callable[[], bool],
        state: FrozenLanes | None,
    ) -> None:
        self._slot = slot
        self._names = names
        self._reader = reader
        self._epoch_bytes = epoch_bytes
        self._should_stop = should_stop
        self._given: FrozenLanes = dict(state or {})
        self._given_bytes = 0
        self._to_commit: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        reader.resume(slot, self._given)

    def next_batch(self) -> list[LiveItem]:
        """Give what has come; nothing while this epoch is full."""
        if self._should_stop():
            raise StopIteration
        self._commit()
        if self._given_bytes >= self._epoch_bytes:
            return []
        items = []
        for block, size, state in self._reader.take(self._slot):
            items.append(LiveItem(block, size, self._names[block.lane]))
            self._given[block.lane] = freeze(state)
            self._given_bytes += size
        if not items and self._reader.is_done(self._slot):
            raise StopIteration
        return items

    def _commit(self) -> None:
        """Tell the group of the last snapshot: it is durable, or no batch were asked for."""
        if self._to_commit:
            self._reader.commit(self._to_commit)
            self._committed |= self._to_commit
            self._to_commit = {}

    def snapshot(self) -> FrozenLanes:
        """Return where to go on. The next call of ``next_batch`` comes when that is durable."""
        self._given_bytes = 0
        self._to_commit = {
            lane: frozen[0]
            for lane, frozen in self._given.items()
            if self._committed.get(lane) != frozen[0]
        }
        return dict(self._given)

    def close(self) -> None:
        """Leave the brokers; the process's slots share one consumer."""
        self._reader.release(self._slot)
