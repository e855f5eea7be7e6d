"""Parts for tests of Kafka as a source: a reader of lists in place of a broker, and live shards."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.align import Backlog
from flows.edges.kafka_reader import LaneMessages
from flows.edges.kafka_url import PARTITIONS_MAX, parse
from flows.kafka_source import KafkaLanesReader, KafkaOptions
from flows.message_formats import open_format
from schemas.columns import HashKey

URL = "kafka://127.0.0.1:9/orders?until=end"


def line(event: Mapping[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode()


@dataclass
class ListReader:
    """Gives messages of lists, one lane after another as ``schedule`` says; then by turns.

    Attributes
    ----------
    lists
        By lane: (offset, value) pairs.
    schedule
        (lane, how many) for each pump.
    """

    lists: dict[int, list[tuple[int, bytes]]]
    schedule: list[tuple[int, int]]
    first: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    paused: set[int] = field(default_factory=set)
    positions: dict[int, int] = field(default_factory=dict)
    new: list[int] = field(default_factory=list)
    is_closed: bool = False

    def lanes(self) -> list[int]:
        return sorted(self.lists)

    def every_lane(self) -> list[int]:
        return sorted(self.lists)

    def count_lanes(self) -> int:
        return len(self.lists)

    def bounds(self, lane: int) -> tuple[int, int]:
        held = self.lists[lane]
        return self.first.get(lane, 0), held[-1][0] + 1 if held else 0

    def assign(self, positions: Mapping[int, int]) -> None:
        self.positions |= positions

    def pump(self) -> dict[int, LaneMessages]:
        lane, count = self.schedule.pop(0) if self.schedule else (None, 3)
        lanes = [lane] if lane is not None else sorted(self.positions)
        taken = {}
        for each in lanes:
            if each in self.positions and each not in self.paused:
                taken[each] = self._take(each, count)
        return taken

    def _take(self, lane: int, count: int) -> LaneMessages:
        left = [m for m in self.lists[lane] if m[0] >= self.positions[lane]]
        now = left[:count]
        if now:
            self.positions[lane] = now[-1][0] + 1
        is_at_end = len(left) <= count
        end = self.positions[lane] if is_at_end else None
        return LaneMessages([v for _, v in now], [o for o, _ in now], is_at_end, end)

    def pause(self, lanes: Iterable[int]) -> None:
        self.paused |= set(lanes)

    def resume(self, lanes: Iterable[int]) -> None:
        self.paused -= set(lanes)

    def new_lanes(self) -> list[int]:
        found, self.new = self.new, []
        return found

    def commit(self, positions: Iterable[tuple[int, int]]) -> None:
        self.committed |= dict(positions)

    def close(self) -> None:
        self.is_closed = True


def lanes_reader(
    reader: ListReader,
    control: Path,
    url: str = URL,
    idle_ns: int = 2**62,
    backlog: Backlog | None = None,
) -> KafkaLanesReader:
    asked = parse(url)
    messages = open_format(asked.format, HashKey(1, 2), "default")
    options = KafkaOptions(idle_ns=idle_ns, backlog=backlog)
    return KafkaLanesReader(asked, reader, messages, options, control)  # type: ignore[arg-type]


def numbered(values: Sequence[bytes], first: int = 0) -> list[tuple[int, bytes]]:
    return list(enumerate(values, first))


def lane_of(topic: int, partition: int) -> int:
    return topic * PARTITIONS_MAX + partition
