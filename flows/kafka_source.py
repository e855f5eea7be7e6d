"""Kafka as a source: partitions are lanes, read from positions of our own, scanned in their order.

A lane's time is kept here, where all of its messages pass, and every row leaves with it. Parts are
slots that partitions fall into by their number, so that the slots never change when partitions or
processes are added: partition p is in slot p mod 16, which process p mod N reads. Keys dealt with
Kafka's own partitioner then land in the process whose shards want them.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from flows import clock
from flows.align import Backlog
from flows.control import ControlLog, ControlRecord
from flows.control_topic import ControlPlace, open_control
from flows.edges.kafka_reader import KafkaReader, LaneMessages, first_offset
from flows.edges.kafka_url import KafkaLanes, KafkaProblem, KafkaUrl
from flows.lanes import BlockTimes, LaneBlock, LaneTime, stamp
from flows.message_formats import MessageFormat, open_format
from flows.sources import ScanOptions
from schemas.columns import EventColumns, Rejected

SLOTS: Final = 16  # any number of processes that divides it shares them evenly
TELL_ALL_NS: Final = 100_000_000  # every shard hears of a lane's time at most this long after it
READY_BYTES_MAX: Final = 8 * 1024 * 1024  # of a slot whose turn has not come: it is paused beyond
BEAT_EVERY_NS: Final = 1_000_000_000
POSITION_MAX: Final = 2**48  # what a step keeps of a position beside its lane
_LANES_KEY: Final = "kafka/lanes"


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """How Kafka is read.

    Attributes
    ----------
    properties
        Of the client library, beside our own.
    messages_at_once
        Taken from the client by one call, at most.
    idle_ns
        A lane without a message for so long, by the clock, is taken to be idle.
    backlog
        Says which lanes must wait for others; None: none has to.
    """

    properties: Mapping[str, str] = field(default_factory=dict)
    messages_at_once: int = 10_000
    idle_ns: int = 5_000_000_000
    backlog: Backlog | None = None


@dataclass(slots=True)
class LaneState:
    """Where a lane stands behind a block; what a snapshot keeps of it."""

    next_offset: int
    time: LaneTime = field(default_factory=LaneTime)
    is_done: bool = False

    def copy(self) -> "LaneState":
        """Return a copy that later blocks leave alone."""
        return LaneState(self.next_offset, replace(self.time), self.is_done)


@dataclass(slots=True)
class _Lane:
    """A lane in this process: where it stands, and what it waits for."""

    number: int
    name: str
    state: LaneState
    end: int | None
    beats: deque[tuple[int, int]]  # (offset, ns): written down by a run before
    heard_ns: int  # when a message came last, by the clock
    told_ns: int = 0  # when all shards last heard of its time
    beat_ns: int = 0  # when it last got a heartbeat
    is_dirty: bool = False  # its time moved, and not all shards know
    is_at_end: bool = False


class KafkaSource:
    """One URL's topics; ``open`` gives what one process reads."""

    parts = SLOTS
    total_bytes: int | None = None
    notes: tuple[str, ...] = ()
    is_live = True
    lag_unit = "messages"

    def __init__(
        self, url: KafkaUrl, options: ScanOptions, kafka: KafkaOptions, control: Path | ControlPlace
    ) -> None:
        self.url = url
        self.lane_names = KafkaLanes(url.topics)
        self._options = options
        self._kafka = kafka
        self._control = control
        self._opened: KafkaLanesReader | None = None

    def lag(self, part: int, _number: int) -> dict[str, int]:
        """Return how many messages of a slot's lanes are known and not read; any thread may ask."""
        return {} if self._opened is None else self._opened.lag(part)

    def open(self, process: int = 0, processes: int = 1) -> "KafkaLanesReader":
        """Return the reader of one process; nothing is read yet."""
        messages = open_format(self.url.format, self._options.key, self._options.tenant)
        reader = KafkaReader(
            self.url,
            self._kafka.properties,
            lambda partition: (partition % SLOTS) % processes == process,
            min(self._kafka.messages_at_once, messages.at_once_max),
        )
        self._opened = KafkaLanesReader(self.url, reader, messages, self._kafka, self._control)
        return self._opened


class KafkaLanesReader:
    """What one process reads: blocks by slot, each with the state behind it."""

    def __init__(
        self,
        url: KafkaUrl,
        reader: KafkaReader,
        messages: MessageFormat,
        kafka: KafkaOptions,
        control: Path | ControlPlace,
    ) -> None:
        self._url = url
        self._names = KafkaLanes(url.topics)
        self._reader = reader
        self._messages = messages
        self._kafka = kafka
        self._control_place = control
        self._control: ControlLog | None = None
        self._resumed: dict[int, LaneState] = {}
        self._lanes: dict[int, _Lane] = {}
        self._ready: list[deque[tuple[LaneBlock, int, LaneState]]] = [deque() for _ in range(SLOTS)]
        self._ready_bytes = [0] * SLOTS
        self._paused: set[int] = set()
        self._held: set[int] = set()
        self._ahead: set[int] = set()  # lanes that wait for others
        self._lane_count = 0
        self._is_open = False

    def resume(self, slot: int, states: Mapping[int, tuple[int, tuple[Any, ...], bool]]) -> None:
        """Take up a slot, with what ``freeze`` gave of its lanes, before anything is read."""
        self._held.add(slot)
        for lane, (offset, time, is_done) in states.items():
            self._resumed[lane] = LaneState(offset, LaneTime(*time), is_done)

    def take(self, slot: int) -> list[tuple[LaneBlock, int, LaneState]]:
        """Return what is ready in a slot: blocks, their sizes (bytes), their lanes' states.

        Raises
        ------
        KafkaProblem
            See ``KafkaReader``.
        """
        if not self._is_open:
            self._open()
        if not self._ready[slot]:
            self._pump()
        ready, self._ready[slot] = list(self._ready[slot]), deque()
        self._ready_bytes[slot] = 0
        if slot in self._paused:
            self._paused.remove(slot)
            self._reader.resume(set(self._lanes_of(slot)) - self._ahead)
        return ready

    def _lanes_of(self, slot: int) -> list[int]:
        return [lane.number for lane in list(self._lanes.values()) if _slot(lane) == slot]

    def is_done(self, slot: int) -> bool:
        """Say whether nothing more can come in a slot."""
        if self._url.until != "end" or not self._is_open or self._ready[slot]:
            return False
        return all(self._lanes[number].state.is_done for number in self._lanes_of(slot))

    def lag(self, slot: int) -> dict[str, int]:
        """Return by lane how many messages are known and not read."""
        return self._reader.lag(self._lanes_of(slot)) if self._is_open else {}

    def commit(self, positions: Mapping[int, int]) -> None:
        """Tell the group which offsets, by lane, are behind us for good."""
        self._reader.commit(positions.items())

    def release(self, slot: int) -> None:
        """Let go of a slot; with the last that was taken up, leave the brokers."""
        self._held.discard(slot)
        if not self._held:
            self._reader.close()
            if self._control is not None:
                self._control.close()

    def _open(self) -> None:
        self._is_open = True
        control = self._control = open_control(self._control_place)
        records = list(control.read())
        first = self._first_lanes(control)
        is_bounded = self._url.until == "end"
        self._lane_count = len(first) if is_bounded else self._reader.count_lanes()
        self._add(self._reader.lanes(), control, records, first)

    def _first_lanes(self, control: ControlLog) -> frozenset[int]:
        """Return the lanes that the first start of the run found, in whichever process."""
        held = [r.body["lanes"] for r in control.read() if r.key == _LANES_KEY]
        if not held:
            held = [self._reader.every_lane()]
            control.append("lane.started", 0, {"lanes": held[0]}, _LANES_KEY)
        return frozenset(held[0])

    def _add(
        self,
        numbers: list[int],
        control: ControlLog,
        records: list[ControlRecord],
        first: frozenset[int],
    ) -> None:
        """Begin to read lanes: where they were, or where they are begun for the first time."""
        beats: dict[str, list[tuple[int, int]]] = {}
        started: dict[str, dict[str, Any]] = {}
        for record in records:
            if record.kind == "heartbeat" and record.lane is not None:
                place = (int(record.body["number"]), int(record.body["time_ns"]))
                beats.setdefault(record.lane, []).append(place)
            elif record.kind == "lane.started" and record.lane is not None:
                started[record.lane] = record.body
        for number in numbers:
            name = self._names[number]
            # A lane younger than the run is read whole, wherever the others were begun.
            start = self._url.start if number in first else "earliest"
            body = started.get(name) or self._start(control, number, start)
            state = self._resumed.get(number) or LaneState(int(body["offset"]))
            wanted = deque(sorted(b for b in beats.get(name, []) if _is_ahead(b, state)))
            end = body["end"] if self._url.until == "end" else None
            now = clock.monotonic_ns()
            self._lanes[number] = _Lane(number, name, state.copy(), end, wanted, now, now)
        self._reader.assign({n: self._lanes[n].state.next_offset for n in numbers})
        for number in numbers:
            lane = self._lanes[number]
            self._give(lane, self._news(lane), 0)  # shards wait for every lane they know to exist
            self._settle(lane)

    def _start(self, control: ControlLog, number: int, start: str) -> dict[str, Any]:
        """Fix where a lane is begun; a run that dies before its first snapshot begins there too."""
        low, high = self._reader.bounds(number)
        name = self._names[number]
        body = {"offset": first_offset(start, low, high), "end": high}
        control.append("lane.started", 0, body, f"kafka/start/{name}", lane=name)
        return body

    def _pump(self) -> None:
        """Read once, and see to lanes that are quiet."""
        self._hold_back()
        for number, messages in self._reader.pump().items():
            lane = self._lanes[number]
            if messages.values:
                lane.heard_ns = clock.monotonic_ns()
            lane.is_at_end = messages.is_at_end
            for piece in self._pieces(lane, messages):
                block = self._block(lane, piece)
                self._give(lane, block, max(sum(map(len, piece.values)), block.columns.rows.nbytes))
            if messages.next_offset is not None and not lane.state.is_done:
                lane.state.next_offset = max(lane.state.next_offset, messages.next_offset)
            self._settle(lane)
        self._beat_idle()
        self._tell_dirty()
        if self._url.until != "end" and (found := self._reader.new_lanes()):
            self._lane_count = self._reader.count_lanes()
            assert self._control is not None, "it is opened before anything is read"
            self._add(found, self._control, [], frozenset())

    def _hold_back(self) -> None:
        """Stop reading lanes that are too far ahead of the others, and go on when they are not."""
        if self._kafka.backlog is None:
            return
        lanes = self._lanes.values()
        must = self._kafka.backlog.must_wait
        ahead = {lane.number for lane in lanes if must(lane.state.time.high_ns)}
        if ahead - self._ahead:
            self._reader.pause(ahead - self._ahead)
        freed = {n for n in self._ahead - ahead if _slot(self._lanes[n]) not in self._paused}
        if freed:
            self._reader.resume(freed)
        self._ahead = ahead
        for number in ahead:  # a lane that we do not read is not idle
            self._lanes[number].heard_ns = clock.monotonic_ns()

    def _pieces(self, lane: _Lane, messages: LaneMessages) -> Iterator[LaneMessages]:
        """Yield the messages before the lane's end, cut where a heartbeat once stood."""
        offsets, values = messages.offsets, messages.values
        last = len(offsets) if lane.end is None else bisect_left(offsets, lane.end)
        first = 0
        while first < last:
            while lane.beats and lane.beats[0][0] <= offsets[first]:
                self._give(lane, self._beat(lane, lane.beats.popleft()[1]), 0)
            stop = last
            if lane.beats:
                stop = max(first + 1, bisect_left(offsets, lane.beats[0][0], first, last))
            yield LaneMessages(values[first:stop], offsets[first:stop])
            first = stop

    def _settle(self, lane: _Lane) -> None:
        """Let recorded heartbeats at the lane's place count, and end it where it ends."""
        while lane.beats and lane.beats[0][0] <= lane.state.next_offset:
            self._give(lane, self._beat(lane, lane.beats.popleft()[1]), 0)
        if lane.end is not None and lane.state.next_offset >= lane.end and not lane.state.is_done:
            lane.state.is_done = True
            self._give(lane, replace(self._news(lane), is_last=True), 0)

    def _block(self, lane: _Lane, messages: LaneMessages) -> LaneBlock:
        """Scan messages and give every row its lane's time."""
        scanned = self._messages.scan(messages.values)
        rows, rows_max = scanned.columns.rows, self._messages.rows_max
        last = messages.offsets[-1]
        if self._position(last + 1) > POSITION_MAX:
            raise KafkaProblem(_too_far(lane.name, last))
        index, row = np.divmod(rows["line_number"], rows_max)
        rows["line_number"] = np.array(messages.offsets, np.int64)[index] * rows_max + row
        rows["lane"] = lane.number
        times = stamp(rows, 0)
        time, ahead = lane.state.time, lane.state.time.ahead
        carry = time.carry(times)
        for column in ("high_before_ns", "clock_ns"):
            rows[column] = np.maximum(rows[column], carry[0])
        time.advance(times)
        begin, lane.state.next_offset = lane.state.next_offset, last + 1
        return LaneBlock(
            number=self._position(begin),
            columns=scanned.columns,
            rejected=[
                (lane.number, _placed(r, messages.offsets, rows_max)) for r in scanned.rejected
            ],
            times=BlockTimes(high_ns=time.high_ns, ahead=time.ahead - ahead),
            is_absolute=True,
            unknown_fields=scanned.unknown_fields,
            lane=lane.number,
            next_number=self._position(lane.state.next_offset),
            lane_count=self._lane_count,
        )

    def _position(self, offset: int) -> int:
        """Return the position of a message's first row, as blocks, rows and arrivals count it."""
        return offset * self._messages.rows_max

    def _news(self, lane: _Lane) -> LaneBlock:
        """Return a block without rows that says where the lane stands."""
        return LaneBlock(
            number=self._position(lane.state.next_offset),
            columns=EventColumns.empty(),
            times=BlockTimes(high_ns=lane.state.time.high_ns),
            is_absolute=True,
            lane=lane.number,
            next_number=self._position(lane.state.next_offset),
            lane_count=self._lane_count,
        )

    def _beat(self, lane: _Lane, time_ns: int) -> LaneBlock:
        lane.state.time.high_ns = max(lane.state.time.high_ns, time_ns)
        return self._news(lane)

    def _give(self, lane: _Lane, block: LaneBlock, size: int) -> None:
        """Put a block in its slot: to all shards where it is due, else to those with rows."""
        now = clock.monotonic_ns()
        is_due = now - lane.told_ns >= TELL_ALL_NS or len(block.columns) == 0
        lane.is_dirty = not is_due
        if is_due:
            lane.told_ns = now
        block.is_for_all = is_due
        slot = _slot(lane)
        self._ready[slot].append((block, size, lane.state.copy()))
        self._ready_bytes[slot] += size
        if self._ready_bytes[slot] > READY_BYTES_MAX and slot not in self._paused:
            self._paused.add(slot)
            self._reader.pause(self._lanes_of(slot))

    def _tell_dirty(self) -> None:
        now = clock.monotonic_ns()
        for lane in self._lanes.values():
            if lane.is_dirty and now - lane.told_ns >= TELL_ALL_NS:
                self._give(lane, self._news(lane), 0)

    def _beat_idle(self) -> None:
        """Let idle lanes come as far as the slowest that is not; written down before it counts."""
        now = clock.monotonic_ns()
        idle, high_ns = [], []
        for lane in self._lanes.values():
            if lane.state.is_done or (lane.is_at_end and now - lane.heard_ns > self._kafka.idle_ns):
                idle.append(lane)
            else:
                high_ns.append(lane.state.time.high_ns)
        if not high_ns:
            return
        due = [
            lane
            for lane in idle
            if not lane.state.is_done
            and min(high_ns) > lane.state.time.high_ns + BEAT_EVERY_NS
            and now - lane.beat_ns >= BEAT_EVERY_NS
        ]
        if not due:
            return
        assert self._control is not None, "it is opened before anything is read"
        for lane in due:
            lane.beat_ns = now
            self._write_beat(self._control, lane, min(high_ns))
            self._give(lane, self._beat(lane, min(high_ns)), 0)

    @staticmethod
    def _write_beat(control: ControlLog, lane: _Lane, time_ns: int) -> None:
        offset = lane.state.next_offset
        body = {"number": offset, "time_ns": str(time_ns)}
        key = f"heartbeat/{lane.name}/{offset}/{time_ns}"
        control.append("heartbeat", time_ns, body, key, lane=lane.name)


def freeze(state: LaneState) -> tuple[int, tuple[Any, ...], bool]:
    """Return a lane's state as a snapshot keeps it."""
    return state.next_offset, astuple(state.time), state.is_done


def _slot(lane: _Lane) -> int:
    return lane.number % SLOTS  # the number of partitions of a topic is a multiple of the slots


def _is_ahead(beat: tuple[int, int], state: LaneState) -> bool:
    offset, time_ns = beat
    return offset > state.next_offset or (
        offset == state.next_offset and time_ns > state.time.high_ns
    )


def _placed(rejected: Rejected, offsets: list[int], rows_max: int) -> Rejected:
    """Give a refused event its position; where messages hold many, say in words which it is."""
    index, row = divmod(rejected.line_number, rows_max)
    position = offsets[index] * rows_max + row
    got = rejected.got if rows_max == 1 else f"{rejected.got} (message {offsets[index]}, row {row})"
    return replace(rejected, line_number=position, byte_offset=position, got=got)


def _too_far(lane: str, offset: int) -> str:
    return (
        f"{lane} is at offset {offset:,}, but positions are counted up to 2^48 events, ten "
        "thousand to a message of Arrow. Go on with a new topic and another --data."
    )
