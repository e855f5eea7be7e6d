"""``python -m lab.bench.kafka_part URL``: consume a topic to its end and scan it, nothing else."""

import resource
import sys

from msgspec import json as msgspec_json

from flows import clock
from flows.edges.kafka_reader import KafkaReader
from flows.edges.kafka_url import parse
from flows.message_formats import join_lines
from schemas.columns import HashKey
from schemas.scan import Scanner

_NANOSECONDS = 1e9
_AT_ONCE = 10_000
_WARM = b'{"kind":"heartbeat","source":"s","event_id":"1","event_time_ns":1772584453835693051}'


def main(url: str) -> None:
    """Measure from the first message to the last."""
    reader = KafkaReader(parse(url), {}, lambda _partition: True, _AT_ONCE)
    scanner = Scanner(HashKey(1, 2), tenant="default")
    scanner.scan(join_lines([_WARM]))
    ends = {lane: reader.bounds(lane)[1] for lane in reader.lanes()}
    reader.assign(dict.fromkeys(ends, 0))
    events, open_lanes = 0, {lane for lane, end in ends.items() if end > 0}
    began_ns, cpu = clock.monotonic_ns(), _cpu_seconds()
    while open_lanes:
        for lane, taken in reader.pump(0.1).items():
            if taken.values:
                events += len(scanner.scan(join_lines(taken.values)).columns)
                if taken.offsets[-1] + 1 >= ends[lane]:
                    open_lanes.discard(lane)
    seconds = (clock.monotonic_ns() - began_ns) / _NANOSECONDS
    used = {"events": events, "seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu}
    sys.stdout.buffer.write(msgspec_json.encode(used))
    reader.close()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1])
