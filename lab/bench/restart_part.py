"""``python -m lab.bench.restart_part JSON``: one start of a run, up to some event.

Stops as people stop it: what was read is finished and the state saved. Prints when (by the steady
clock, ns) the first block was durable, and how many events were by then.
"""

import sys
from pathlib import Path

from msgspec import Struct
from msgspec import json as msgspec_json

from flows import clock
from flows.observe.observer import Observer
from flows.writer import WriterStep
from lab.bench.engine import plan_of, run_watched


class Asked(Struct, frozen=True, kw_only=True):
    """What to run, and after how many events to stop."""

    data: str
    file: str
    stop_at: int


class Seen(Struct, frozen=True, kw_only=True):
    """When the first block of this start was done, and where the run stands."""

    first_ns: int
    events: int


class FirstBlock(Observer):
    """Notes when the writer has taken a block for the first time."""

    def __init__(self) -> None:
        self.first_ns = 0
        self.events = 0

    def written(self, writer: WriterStep) -> None:
        """See ``Observer``."""
        self.first_ns = self.first_ns or clock.monotonic_ns()
        self.events = writer.sums.get("events", 0)


def main(text: str) -> None:
    """Run, and print what was seen."""
    asked = msgspec_json.decode(text, type=Asked)
    watch = FirstBlock()
    plan = plan_of(Path(asked.data), asked.file)
    run_watched(plan, watch, lambda: watch.events >= asked.stop_at)
    seen = Seen(first_ns=watch.first_ns, events=watch.events)
    sys.stdout.buffer.write(msgspec_json.encode(seen))


if __name__ == "__main__":
    main(sys.argv[1])
