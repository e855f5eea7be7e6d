"""Parts for trying detectors: events in few words, a stage, ways to feed it."""

import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import orjson

from detectors.core.contract import Detector, RuleSpec
from detectors.core.registry import build_detector
from detectors.core.stage import AccountStage, StageOutput
from detectors.core.stage_config import StageConfig
from flows.calendars import TradingDays
from flows.lanes import NEVER_NS, stamp
from lab.stages import Stages
from schemas.columns import EventColumns, HashKey
from schemas.events import SECOND_NS
from schemas.scan import Scanner

START_NS = 1_772_582_400 * SECOND_NS  # 2026-03-04T00:00:00Z
DAY_NS = 86_400 * SECOND_NS
END_NS = 2**62
KEY = HashKey(7, 11)
Event = dict[str, Any]


def at(seconds: float) -> int:
    """Return an event time so long after the start, ns."""
    return START_NS + round(seconds * SECOND_NS)


@dataclass
class Tape:
    """Events written down one after the other; ids are given where none is named."""

    events: list[Event] = field(default_factory=list)
    ids: Iterable[int] = field(default_factory=count)

    def add(self, kind: str, seconds: float, **fields: Any) -> Event:
        """Write any event of account A; ``fields`` are added, or take the place of these."""
        event = {
            "kind": kind,
            "source": "t",
            "event_id": f"e{next(iter(self.ids))}",
            "event_time_ns": at(seconds),
            "account_id": "A",
            **fields,
        }
        self.events.append(event)
        return event

    def new(self, seconds: float, order: str, **fields: Any) -> Event:
        """Enter an order: a limit order to buy 100 of I at 10, unless told otherwise."""
        base = {"instrument": "I", "venue": "TEST", "side": "buy", "quantity": 100, "price": 10}
        return self.add("order.new", seconds, order_id=order, **base | fields)

    def replace(self, seconds: float, order: str, **fields: Any) -> Event:
        """Replace an order, by one at 11 unless told otherwise."""
        base = {"quantity": 100, "price": 11}
        return self.add("order.replace", seconds, order_id=order, **base | fields)

    def cancel(self, seconds: float, order: str, **fields: Any) -> Event:
        """Cancel an order, as its customer wishes unless told otherwise."""
        return self.add("order.cancel", seconds, order_id=order, **{"reason": "user"} | fields)

    def fill(self, seconds: float, order: str, **fields: Any) -> Event:
        """Fill 100 of an order, bought at 10 unless told otherwise."""
        base = {"instrument": "I", "venue": "TEST", "side": "buy", "quantity": 100, "price": 10}
        base["fill_id"] = f"f{len(self.events)}"
        return self.add("fill", seconds, order_id=order, **base | fields)


def rule_of(name: str, parameters: dict[str, Any] | None = None, **fields: Any) -> RuleSpec:
    """Return a rule of one detector that applies everywhere unless told otherwise."""
    parameters = parameters or {}
    defaults: dict[str, Any] = {
        "id": f"test.{name}",
        "version": 1,
        "detector": name,
        "pack": "test",
        "title": name,
        "article": "none",
        "severity": "low",
        "parameters": parameters,
        "parameters_hash": "0" * 16,
        "exempt": ("market_maker",),
    }
    return RuleSpec(**defaults | fields)


def detectors_of(rules: Sequence[RuleSpec]) -> list[Detector]:
    """Build one detector a rule."""
    return [build_detector(rule, bit) for bit, rule in enumerate(rules)]


@cache
def calendars_of_venues() -> TradingDays:
    """Return the venues' calendars, looked up once; venues without one have days of UTC."""
    return TradingDays("24/7")


def stage_of(rules: Sequence[RuleSpec], **config: Any) -> Any:
    """Return the account stage, with the instrument stage behind it where a rule needs that."""
    calendars = config.pop("calendars", None) or calendars_of_venues()
    detectors = detectors_of(rules)
    make = Stages if any(detector.is_aligned for detector in detectors) else AccountStage
    return make(detectors, StageConfig(calendars=calendars, key=KEY, lane_names=("t",), **config))


def columns_of(events: Iterable[Event | bytes]) -> EventColumns:
    """Scan events as one lane and stamp its time on them."""
    lines = [e if isinstance(e, bytes) else orjson.dumps(e) for e in events]
    scanned = Scanner(KEY).scan(b"".join(line + b"\n" for line in lines))
    assert scanned.rejected == []
    stamp(scanned.columns.rows, scanned.line_count)
    return scanned.columns


def no_carry() -> Any:
    """Return what a stage is told of a lane that begins."""
    return np.array([NEVER_NS, NEVER_NS, 0], np.int64)


def feed(
    stage: Any,
    columns: EventColumns,
    sizes: Iterable[int] = (),
    between: Callable[[Any], Any] = lambda stage: stage,
    close_after: Callable[[int], int | None] = lambda _: None,
) -> StageOutput:
    """Give a stage its rows in parts of ``sizes`` (the rest at once), then end the input.

    ``between`` may put another stage in its place after each part; ``close_after`` says up to
    which time days are judged once so many rows are in.
    """
    output, start = StageOutput(), 0
    cuts = iter(sizes)
    while start < len(columns):
        stop = start + next(cuts, len(columns))
        output.extend(stage.take(EventColumns(columns.rows[start:stop], columns.raw), no_carry()))
        start = min(stop, len(columns))
        if (watermark_ns := close_after(start)) is not None:
            output.extend(stage.close(watermark_ns))
        stage = between(stage)
    output.extend(stage.close(END_NS))
    return output


def run(events: Iterable[Event | bytes], rules: Sequence[RuleSpec], **config: Any) -> StageOutput:
    """Feed events to a fresh stage at once."""
    return feed(stage_of(rules, **config), columns_of(events))


def reborn(rules: Sequence[RuleSpec], **config: Any) -> Callable[[Any], Any]:
    """Return what makes a stage anew from the pickled dump of another, as after a crash."""

    def resume(stage: Any) -> Any:
        fresh = stage_of(rules, **config)
        fresh.restore(pickle.loads(pickle.dumps(stage.dump())))  # noqa: S301 - what it has just written
        return fresh

    return resume
