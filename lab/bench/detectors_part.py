"""Both stages on a day, with a watch on every rule; of several rounds, each part's shortest."""

import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import json as msgspec_json

from detectors.core.memory import RINGS, SubjectState
from detectors.core.registry import build_detectors
from detectors.core.stage_config import StageConfig
from flows import clock
from flows.calendars import TradingDays
from flows.lanes import NEVER_NS, stamp
from flows.steps import END_OF_TIME_NS
from lab.stages import Stages
from schemas.columns import EventColumns, HashKey
from schemas.scan import Scanner

ROWS_AT_ONCE: Final = 8_192
POINTS_MAX: Final = 60  # of a chart
_KEY: Final = HashKey(7, 11)
_LANE: Final = "day"


class Watch:
    """A day taken through every rule once, with the time that each took.

    Attributes
    ----------
    rules_ns
        By rule: time spent in its own code.
    stage_ns
        All of it, scanning apart.
    course
        By rule: nanoseconds spent so far, after every so many rows.
    """

    def __init__(self, calendars: TradingDays) -> None:
        config = StageConfig(calendars=calendars, key=_KEY, lane_names=(_LANE,))
        self.stage = Stages(build_detectors(), config)
        self.rules_ns: dict[str, int] = {d.rule.id: 0 for d in self.stage.detectors}
        self.stage_ns = 0
        self.course: dict[str, list[int]] = {rule: [] for rule in self.rules_ns}
        for detector in self.stage.detectors:
            for name in ("update", "close"):
                call = partial(self._call, getattr(detector, name), detector.rule.id)
                setattr(detector, name, call)

    def _call(self, function: Callable[..., None], rule_id: str, *given: Any) -> None:
        began_ns = clock.monotonic_ns()
        function(*given)
        self.rules_ns[rule_id] += clock.monotonic_ns() - began_ns

    def take(self, columns: EventColumns) -> None:
        """Take the whole day, and end it."""
        carry = np.array([NEVER_NS, NEVER_NS, 0], np.int64)
        began_ns = clock.monotonic_ns()
        for start in range(0, len(columns), ROWS_AT_ONCE):
            part = columns.rows[start : start + ROWS_AT_ONCE]
            self.stage.take(EventColumns(part, columns.raw), carry)
            for rule, course in self.course.items():
                course.append(self.rules_ns[rule])
        self.stage.close(END_OF_TIME_NS)
        self.stage_ns = clock.monotonic_ns() - began_ns


def bytes_of(state: SubjectState) -> int:
    """Return what a rule's memory holds, as far as it was ever used."""
    nodes = int(state.node_counters[0]) * state.nodes.itemsize
    rings = int(state.counters[RINGS]) * state.rings[:1].nbytes
    return state.used * state.rows.itemsize + state.heads.nbytes + nodes + rings


def main(day: str, rounds: int) -> None:
    """Take the day ``rounds`` times, and print what each rule took."""
    scanned = Scanner(_KEY).scan(Path(day).read_bytes())
    columns = scanned.columns
    stamp(columns.rows, scanned.line_count)
    calendars = TradingDays("24/7")
    Watch(calendars).take(EventColumns(columns.rows[:ROWS_AT_ONCE], columns.raw))  # kernels load
    watches = [_watch(calendars, columns) for _ in range(rounds)]
    stage = watches[-1].stage
    events = len(columns)
    rules = {
        detector.rule.id: {
            "detector": detector.name,
            "nanoseconds_an_event": round(
                min(watch.rules_ns[detector.rule.id] for watch in watches) / events, 2
            ),
            "row_bytes": state.rows.itemsize,
            "subjects": len(state),
            "bytes_a_subject": round(bytes_of(state) / max(1, len(state)), 1),
        }
        for detector, state in zip(stage.detectors, stage.subjects, strict=True)
    }
    told = {
        "stage_nanoseconds_an_event": round(min(w.stage_ns for w in watches) / events, 2),
        "rules": rules,
        "course": {rule: _course(took, events) for rule, took in watches[-1].course.items()},
    }
    sys.stdout.buffer.write(msgspec_json.encode(told))


def _course(took_ns: list[int], rows: int) -> list[tuple[int, float]]:
    """Return (rows so far, nanoseconds a row since the last point)."""
    so_far = [min(rows, ROWS_AT_ONCE * (k + 1)) for k in range(len(took_ns))]
    step = 1 + len(took_ns) // POINTS_MAX
    points = list(zip(so_far, took_ns, strict=True))
    chosen = [(0, 0), *points[step - 1 : -1 : step], points[-1]]
    return [
        (end[0], round((end[1] - begin[1]) / (end[0] - begin[0]), 2))
        for begin, end in pairwise(chosen)
    ]


def _watch(calendars: TradingDays, columns: EventColumns) -> Watch:
    watch = Watch(calendars)
    watch.take(columns)
    return watch


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
