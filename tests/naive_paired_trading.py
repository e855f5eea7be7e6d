"""Paired trading in plain Python, from the words of ``detectors.paired_trading``."""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from naive_self_trading import DAY_NS, WINDOW_NS, Book, in_order, party_of

Event = dict[str, Any]
Place = tuple[str, str, int]  # instrument, venue, day


class Figures(NamedTuple):
    trades_min: int
    share_min: Fraction
    round_share_min: Fraction


@dataclass
class Trade:
    """A trade as far as it is known."""

    first: Event
    line: int
    other: str = ""  # who stood on the other side, once that is known
    is_over: bool = False  # both sides have reported


@dataclass
class Pair:
    trades: int = 0
    bought: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    lines: list[int] = field(default_factory=list)
    due: int = 0


class Told(NamedTuple):
    subject: str
    phase: str
    trades: int
    busier: int
    traded: int
    came_back_ppm: int
    alone: int
    event_id: str
    lines: list[int]


class Market:
    """Everything that was said so far."""

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.behind = Book()
        self.trades: dict[tuple[str, str, str], Trade] = {}
        self.traded: dict[tuple[str, Place], int] = defaultdict(int)
        self.alone: dict[Place, int] = defaultdict(int)
        self.pairs: dict[tuple[frozenset[str], Place], Pair] = defaultdict(Pair)
        self.told: list[Told] = []

    def on_fill(self, line: int, event: Event) -> None:
        key = event["instrument"], event["venue"], event["fill_id"]
        place = place_of(event)
        known = self.trades.get(key)
        now = event["event_time_ns"]
        if known is None or known.first["event_time_ns"] <= now - WINDOW_NS:
            self.on_first(Trade(event, line), key, place)
        elif not known.is_over and known.first["side"] != event["side"]:
            known.is_over = True
            self.on_second(known, line, event, place)

    def on_first(self, trade: Trade, key: tuple[str, str, str], place: Place) -> None:
        self.trades[key] = trade
        account = trade.first["account_id"]
        trade.other = trade.first.get("counter_account_id", "")
        self.traded[account, place] += 1
        if not trade.other:
            self.alone[place] += 1
            return
        if trade.other != account:
            self.traded[trade.other, place] += 1
        self.on_trade(trade, trade.first, place, [trade.line])

    def on_second(self, known: Trade, line: int, event: Event, place: Place) -> None:
        first, account = known.first["account_id"], event["account_id"]
        if known.other:
            pair = self.pairs.get((frozenset({first, account}), place))
            if pair is not None and not party_of(self.behind, first, known.other):
                pair.lines.append(line)
            return
        if place_of(known.first) == place:
            self.alone[place] -= 1
        if account != first:
            self.traded[account, place] += 1
        known.other = account
        self.on_trade(known, event, place, [known.line, line])

    def on_trade(self, trade: Trade, event: Event, place: Place, lines: list[int]) -> None:
        """Take a trade whose sides are both known; ``event`` is what made them known."""
        one, other = trade.first["account_id"], trade.other
        if party_of(self.behind, one, other):
            return
        pair = self.pairs[frozenset({one, other}), place]
        pair.trades += 1
        pair.lines += lines
        counter = other if event["account_id"] == one else one
        pair.bought[event["account_id"] if event["side"] == "buy" else counter] += event["quantity"]
        self.judge(pair, sorted((one, other)), event, place)

    def judge(self, pair: Pair, names: list[str], event: Event, place: Place) -> None:
        busier = max(self.traded[name, place] for name in names)
        less, more = sorted(pair.bought[name] for name in names)
        due = pair.due or self.figures.trades_min
        if pair.trades < due or pair.trades < self.figures.share_min * busier:
            return
        if less < self.figures.round_share_min * more:
            return
        phase = "growth" if pair.due else "opening"
        while due <= pair.trades:
            due *= 2
        pair.due = due
        self.told.append(
            Told(
                f"{names[0]} with {names[1]} {place[0]}@{place[1]}",
                phase,
                pair.trades,
                busier,
                less + more,
                less * 10**6 // more,
                self.alone[place],
                event["event_id"],
                pair.lines[-8:],
            )
        )


def place_of(event: Event) -> Place:
    return event["instrument"], event["venue"], event["event_time_ns"] // DAY_NS


def paired_trades(events: list[Event], figures: Figures) -> list[Told]:
    """Return what is told of pairs, in order."""
    market = Market(figures)
    for line, event in in_order(events):
        if event["kind"] == "ref.account":
            who = event.get("beneficial_owner", ""), event.get("control_group", "")
            market.behind.behind[event["account_id"]] = who
        elif event["kind"] == "fill":
            market.on_fill(line, event)
    return market.told
