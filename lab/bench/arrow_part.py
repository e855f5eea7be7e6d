"""``python -m lab.bench.arrow_part DAY [ROWS [EVENTS]]``: Arrow messages beside the same lines.

Both readers take the same events by turns, so that whatever else the machine does, it does to both;
medians over the rounds are printed, and the median of the rounds' ratios. Writing the messages is
not measured: senders do that.
"""

import statistics
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from time import process_time
from typing import Final

from msgspec import json as msgspec_json

from flows.plan import TENANT
from lab.arrow_feed import ROWS, messages
from lab.bench.part import blocks
from schemas.arrow import ArrowScanner
from schemas.columns import HashKey
from schemas.scan import Scanner

EVENTS: Final = 200_000
ROUNDS: Final = 9
_KEY: Final = HashKey(1, 2)


def main(day: Path, rows: int = ROWS, events: int = EVENTS) -> None:
    """Measure both readers on the first events of a file."""
    with day.open("rb") as file:
        raw = b"".join(islice(file, events))
    sent = list(messages(raw.splitlines(), rows))
    scanner, arrow = Scanner(_KEY, tenant=TENANT), ArrowScanner(_KEY, tenant=TENANT)
    lines = list(blocks(raw))

    def read_lines() -> int:
        return sum(len(scanner.scan(block).columns) for block in lines)

    def read_messages() -> int:
        return sum(len(arrow.scan([message]).columns) for message in sent)

    taken = read_lines(), read_messages()  # compiles, and shows that both take the same
    pairs = [(_seconds(read_lines), _seconds(read_messages)) for _ in range(ROUNDS)]
    used = {
        "events": taken[0],
        "same": taken[0] == taken[1],
        "rows_a_message": rows,
        "bytes_a_line": round(len(raw) / taken[0], 1),
        "bytes_a_row": round(sum(map(len, sent)) / taken[0], 1),
        "lines_per_cpu_second": round(taken[0] / statistics.median(one for one, _ in pairs)),
        "rows_per_cpu_second": round(taken[1] / statistics.median(two for _, two in pairs)),
        "ratio": round(statistics.median(one / two for one, two in pairs), 3),
    }
    sys.stdout.buffer.write(msgspec_json.encode(used) + b"\n")


def _seconds(work: Callable[[], int]) -> float:
    began = process_time()
    work()
    return process_time() - began


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
