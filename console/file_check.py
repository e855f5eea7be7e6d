"""What a run would make of a file: read with the live scanner, kept nowhere."""

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.core.stage import AccountStage
from detectors.core.stage_config import StageConfig
from flows.lanes import deal
from flows.plan import TENANT, InputSpec, open_input
from flows.sources import ScanOptions, in_order
from flows.steps import AccountStep, LostLine
from schemas.columns import HashKey

BATCH_ROWS: Final = 64_000


class EveryDay:
    """No calendar: without rules, nothing depends on trading days."""

    starts: NDArray[np.int64] = np.zeros((0, 1), np.int64)
    numbers: NDArray[np.int32] = np.zeros((0, 1), np.int32)
    zone_day_ns = 0

    def index(self, venue: str) -> int:
        """Return the default."""
        del venue
        return 0


@dataclass(slots=True)
class Refused:
    """All lines refused for one reason: how many, and the first."""

    first: LostLine
    count: int = 0


@dataclass(slots=True)
class FileCheck:
    """What was found so far."""

    lines: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)
    unknown_fields: dict[str, int] = field(default_factory=dict)
    skipped_fields: dict[str, int] = field(default_factory=dict)

    @property
    def has_findings(self) -> bool:
        """Whether something would be refused, late or dropped."""
        return bool(self.refused or self.totals.get("late") or self.totals.get("duplicates"))


def look_through(
    spec: InputSpec, block_bytes: int, lateness_ns: int, duplicate_window_ns: int, on_block: Any
) -> FileCheck:
    """Read a file as a run would; ``on_block`` is called with the events taken so far."""
    source = open_input(spec, ScanOptions(HashKey(), TENANT, block_bytes), {})
    config = StageConfig(
        calendars=EveryDay(),
        key=HashKey(),
        lane_names=source.lane_names,
        tenant=TENANT,
        lateness_ns=lateness_ns,
        duplicate_window_ns=duplicate_window_ns,
    )
    step = AccountStep.resume(0, lambda: AccountStage([], config), BATCH_ROWS, None)
    found = FileCheck()
    for item in in_order(source):
        block = item.scan()
        _add(found.unknown_fields, block.unknown_fields)
        _add(found.skipped_fields, block.skipped_fields)
        found.lines += block.times.line_count
        for message in step.take(deal(block, 1)[0]):
            for line in message.lost:
                kept = found.refused.setdefault(line.rejected.reason, Refused(line))
                kept.count += 1
        found.totals = step.totals()
        on_block(found.totals["events"])
    return found


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
