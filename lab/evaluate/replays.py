"""A simulated day taken apart: what led to each alert, replayed in a world of its own.

All that an alert rests on (the events of its accounts; of a rule about prices, of everybody in its
instrument) is copied under names of its own, changed or not, and many such copies are one replay:
nothing in one copy can be told from another, except by its names.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import orjson

from detectors.core.contract import Detector
from lab.plants_table import accounts_of, findings_of
from lab.simulator import Market
from schemas.alerts import Finding

Event = dict[str, Any]
BLOCK_EVENTS: Final = 8_192
PRICED: Final = frozenset({"marking_the_close", "ramping"})  # rules about everybody's trades
TRADED: Final = frozenset({"self_trading", "paired_trading"})  # rules about trades of two accounts
_RAISES: Final = frozenset({"opening", "provisional"})
_NAMES: Final = (
    "event_id", "account_id", "order_id", "fill_id", "counter_account_id", "beneficial_owner",
    "control_group",
)  # fmt: skip
_MARK: Final = "~"


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two findings one alert, within a copy."""

    copy: int
    rule: str
    instrument: str | None
    trading_day: str


@dataclass(frozen=True, slots=True)
class Case:
    """One alert: what led to it, and how many of its kind there had been with it."""

    finding: Finding
    events: tuple[Event, ...]
    count: int


class Day:
    """One simulated day, its alerts, and for each what led to it."""

    def __init__(self, market: Market, detectors: Sequence[Detector]) -> None:
        lines = b"".join(market.blocks()).splitlines()
        self._events: list[Event] = [orjson.loads(line) for line in lines]
        self._detectors = detectors
        self._places = {event["event_id"]: i for i, event in enumerate(self._events)}

    @property
    def size(self) -> int:
        """How many events there are."""
        return len(self._events)

    @cached_property
    def alerts(self) -> list[Finding]:
        """Every alert, in order."""
        return raised(self._events, self._detectors)

    @cached_property
    def _by_account(self) -> Mapping[str, list[int]]:
        places: dict[str, list[int]] = defaultdict(list)
        for i, event in enumerate(self._events):
            places[event.get("account_id", "")].append(i)
        return places

    @cached_property
    def _by_instrument(self) -> Mapping[str, list[int]]:
        instruments: dict[str, str] = {}
        places: dict[str, list[int]] = defaultdict(list)
        for i, event in enumerate(self._events):
            name = event.get("instrument") or instruments.get(event.get("order_id", ""))
            if name is not None and event["kind"].startswith(("order.", "fill", "ref.instr")):
                instruments[event.get("order_id", "")] = name
                places[name].append(i)
        return places

    def cases(self, findings: Iterable[Finding]) -> Iterator[Case]:
        """Yield what led to each alert."""
        so_far: Counter[tuple[str, str, str | None, str]] = Counter()
        counts: dict[int, int] = {}
        for finding in self.alerts:
            kind = (finding.account_id, finding.rule.id, finding.instrument, finding.trading_day)
            so_far[kind] += 1
            counts[id(finding)] = so_far[kind]
        for finding in findings:
            yield Case(finding, tuple(self._led_to(finding)), counts[id(finding)])

    def _led_to(self, finding: Finding) -> Iterator[Event]:
        if finding.detector in PRICED:
            assert finding.instrument is not None
            places = self._by_instrument[finding.instrument]
        else:
            whose = sorted(accounts_of(finding.account_id, finding.evidence))
            places = sorted(i for who in whose for i in self._by_account[who])
        last = self._places.get(finding.trigger[1])
        by_time = last is None or finding.detector in PRICED | TRADED
        for i in places:
            event = self._events[i]
            if event["event_time_ns"] <= finding.event_time_ns if by_time else i <= (last or 0):
                yield event

    def counts_of(self, copies: Sequence[Iterable[Event]]) -> Counter[Key]:
        """Replay copies of events, each in a world of its own; count alerts by copy."""
        listed = [event for event in self._events if event["kind"] == "ref.instrument"]
        parts = [listed, *(renamed(events, number) for number, events in enumerate(copies))]
        whole = sorted(
            (event for part in parts for event in part), key=lambda event: event["event_time_ns"]
        )
        return Counter(map(_key_of, raised(whole, self._detectors)))


def raised(events: Sequence[Event], detectors: Sequence[Detector]) -> list[Finding]:
    """Return the alerts on events, which are in order of time."""
    blocks = (
        b"".join(orjson.dumps(event) + b"\n" for event in events[first : first + BLOCK_EVENTS])
        for first in range(0, len(events), BLOCK_EVENTS)
    )
    return [one for one in findings_of(blocks, detectors) if one.phase in _RAISES]


def renamed(events: Iterable[Event], number: int) -> Iterator[Event]:
    """Yield events under names of their own: accounts, orders, owners and, where listed, stocks."""
    events = list(events)
    listed = {event["instrument"] for event in events if event["kind"] == "ref.instrument"}
    for event in events:
        changed: Event = {key: f"{number}{_MARK}{event[key]}" for key in _NAMES if key in event}
        if event.get("instrument") in listed:
            changed["instrument"] = f"{number}{_MARK}{event['instrument']}"
        yield event | changed


def _key_of(finding: Finding) -> Key:
    copy, _, _ = finding.account_id.partition(_MARK)
    instrument = finding.instrument
    if instrument is not None:
        instrument = instrument.rpartition(_MARK)[2]
    return Key(int(copy), finding.rule.id, instrument, finding.trading_day)
