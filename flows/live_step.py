"""The account step on several lanes at once, such as the partitions of a Kafka topic.

Blocks of a lane come in their order; which lane is next is chance, so it is counted, handed to the
writer and, after a crash, done again in the order that was written down (``flows.arrivals``).
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.core.stage import AccountStage, StageOutput
from flows.arrivals import Arrival
from flows.lanes import NEVER_NS, ShardBlock
from flows.state_files import ShardFiles
from flows.steps import END_OF_TIME_NS, AccountStep, ShardMessage
from schemas.columns import EventColumns


@dataclass(slots=True)
class LanePlace:
    """How far a shard has come on one lane."""

    high_ns: int = NEVER_NS
    next_number: int = 0
    is_ended: bool = False


@dataclass(slots=True)
class LiveStep(AccountStep):
    """One shard fed by several lanes.

    Attributes
    ----------
    places
        By lane.
    script
        Arrivals written down by a run that ended early: they come first, in this order.
    queues
        By lane, blocks that came before their turn in the script.
    ordinal
        Blocks with rows taken so far.
    lane_count
        Lanes there are, heard of or not.
    """

    places: dict[int, LanePlace] = field(default_factory=dict)
    script: deque[Arrival] = field(default_factory=deque)
    queues: dict[int, deque[ShardBlock]] = field(default_factory=dict)
    ordinal: int = 0
    lane_count: int = 0

    def take(self, block: ShardBlock) -> list[ShardMessage]:
        """Take a block, and every one whose turn comes with it; see ``AccountStep.take``."""
        self.queues.setdefault(block.lane, deque()).append(block)
        messages = []
        while (ready := self._next()) is not None:
            messages.append(self._pass(ready))
        return messages

    def _next(self) -> ShardBlock | None:
        """Return the next block in its turn, cut where the script says; None: wait for more."""
        for lane, queue in list(self.queues.items()):
            block = queue[0]
            self._tick_off(lane, _first_position(block))
            if len(block.columns) and self.script and self.script[0].lane != lane:
                continue
            del self.queues[lane]
            queue.popleft()
            if (
                self.script
                and len(block.columns)
                and self.script[0].next_number < block.next_number
            ):
                block, later = _cut(block, self.script[0].next_number)
                queue.appendleft(later)
            if queue:  # back at the end: lanes take turns
                self.queues[lane] = queue
            return block
        return None

    def _tick_off(self, lane: int, position: int) -> None:
        """Leave behind the script's arrivals of which nothing more can come."""
        while self.script and self.script[0].lane == lane:
            if self.script[0].next_number > position:
                return
            self.script.popleft()
            self.ordinal += 1

    def _pass(self, block: ShardBlock) -> ShardMessage:
        """Let one block have its effect."""
        place = self.places.setdefault(block.lane, LanePlace(next_number=block.number))
        assert block.next_number >= place.next_number, (
            f"shard {self.shard}, lane {block.lane}: position {block.number} came again, "
            f"{place.next_number} is next"
        )
        output = StageOutput()
        self.stage.state.turn_to(block.lane)  # repetitions are looked for within a lane
        self._take_rows(block, self._carry(), output)
        place.high_ns = max(place.high_ns, block.times.high_ns)
        place.next_number = block.next_number
        place.is_ended = place.is_ended or block.is_last
        self.lane_time.ahead += block.times.ahead
        lost = self._lost(block)
        self.lane_count = max(self.lane_count, block.lane_count)
        # A lane that has ended is heard of again when a run starts once more: it stays ended.
        is_last = self._have_all_ended()
        watermark_ns = self._watermark_ns()
        self._close(END_OF_TIME_NS if is_last else watermark_ns, output)
        number, self.next_number = self.next_number, self.next_number + 1
        message = self._message(output, lost, watermark_ns)
        message.number, message.is_last = number, is_last
        message.read_ns = block.read_ns
        message.arrivals = self._arrived(block)
        message.sent = self.send_on(message, output)
        return message

    def _have_all_ended(self) -> bool:
        return sum(place.is_ended for place in self.places.values()) == self.lane_count

    def _arrived(self, block: ShardBlock) -> list[Arrival]:
        """Count a block with rows, but for those of the script, which are counted there."""
        if len(block.columns) == 0:
            return []
        if self.script:  # it stands there already
            self._tick_off(block.lane, block.next_number)
            return []
        arrival = Arrival(self.ordinal, block.lane, block.next_number)
        self.ordinal += 1
        return [arrival]

    def _watermark_ns(self) -> int:
        """Return the time that every lane with rows to come has passed; it never goes back."""
        if len(self.places) >= self.lane_count:
            places = self.places.values()
            waited_for = [p.high_ns for p in places if not p.is_ended]
            # When all have ended, whichever was the last, nothing can come that is older than any.
            high_ns = min(waited_for) if waited_for else max(p.high_ns for p in places)
            self.lane_time.high_ns = max(self.lane_time.high_ns, high_ns)
        return self.lane_time.high_ns - self.stage.config.lateness_most_ns

    def _carry(self) -> NDArray[np.int64]:
        # Rows bring their own lane's time; the clock here only lets old orders go.
        return np.array([NEVER_NS, self.lane_time.high_ns, 0], np.int64)

    def lane_times(self) -> dict[str, int]:
        """Return the event time (ns) that each lane has reached."""
        names = self.stage.config.lane_names
        return {names[lane]: place.high_ns for lane, place in self.places.items()}

    def snapshot(self) -> dict[str, Any]:
        """Copy everything that must survive a crash."""
        return AccountStep.snapshot(self) | {
            "places": {n: (p.high_ns, p.next_number, p.is_ended) for n, p in self.places.items()},
            "queues": [replace(b, read_ns=0) for queue in self.queues.values() for b in queue],
            "ordinal": self.ordinal,
            "lane_count": self.lane_count,
        }


def _first_position(block: ShardBlock) -> int:
    """Return the position before which the block brings no rows."""
    rows = block.columns.rows
    return int(rows["line_number"][0]) if len(rows) else block.next_number


def _cut(block: ShardBlock, end: int) -> tuple[ShardBlock, ShardBlock]:
    """Cut a block at a position, with rows before it and perhaps behind it."""
    rows, raw = block.columns.rows, block.columns.raw
    count = int(np.searchsorted(rows["line_number"], end))
    first = replace(
        block,
        columns=EventColumns(rows[:count], raw),
        next_number=end,
        rejected=tuple(r for r in block.rejected if r[1].line_number < end),
        # What the first part knows of its lane's time is what its own rows do.
        times=replace(block.times, high_ns=int(rows["high_before_ns"][count - 1]), ahead=0),
        is_last=False,
        skipped_fields={},
    )
    later = replace(
        block,
        columns=EventColumns(rows[count:], raw),
        number=end,
        rejected=tuple(r for r in block.rejected if r[1].line_number >= end),
    )
    return first, later


def resume_live(
    shard: int,
    make_stage: Callable[[], AccountStage],
    batch_rows: int,
    state: dict[str, Any] | None,
    read_script: Callable[[int, int], Iterable[Arrival]],
    files: ShardFiles | None = None,
) -> LiveStep:
    """Start a shard on several lanes; ``read_script(shard, ordinal)`` gives what was written."""
    step = LiveStep.resume(shard, make_stage, batch_rows, state, files)
    assert isinstance(step, LiveStep)
    if state is not None:
        step.places = {lane: LanePlace(*values) for lane, values in state["places"].items()}
        for block in state["queues"]:
            step.queues.setdefault(block.lane, deque()).append(block)
        step.ordinal = state["ordinal"]
        step.lane_count = state["lane_count"]
    step.script = deque(read_script(shard, step.ordinal))
    return step
