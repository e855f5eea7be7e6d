"""Layering among makers who quote anew: how many layerers are named, and who else.

Layerers differ in how many prices they use, how large their orders are beside the trade they want,
how soon they withdraw how much, and how often; nothing of it follows the rule's figures, which were
chosen on mornings of another seed. Makers
move their quotes whenever one is hit, at their own speed, with more or less on the side that they
hold too much of, and now and then pull a side. Ordinary accounts are those of the simulator. Beside
the rule stands what a surveillance desk without it would use: the share of orders cancelled.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from msgspec import Struct

from detectors.core.registry import build_detectors
from lab.evaluate.intervals import Interval, of_share
from lab.evaluate.sizes import Sizes
from lab.plants_table import findings_of
from lab.simulator import Market, SimulatorConfig
from schemas.events import SECOND_NS

RULE: Final = "surveillance.layering"
PREVALENCE: Final = 0.001  # of layerers among accounts
MAKERS_SHARE: Final = 0.2  # of messages
_STREAM: Final = 4  # of random numbers, so that no two tables share any
_OPENS_NS: Final = 1_772_588_100 * SECOND_NS  # 2026-03-04 09:35 in Shanghai
_LASTS_S: Final = 6_000.0  # until 11:15
_TURNS: Final = 45  # of a maker
_LEVELS: Final = 3  # of a maker's side
_PULLS: Final = 0.02  # share of turns after which a maker leaves a side empty
_HIT: Final = 0.1  # share of a layerer's episodes in which one of the orders trades
# What the rule describes.
_WINDOW_S: Final = 10.0
_SHARE_MIN: Final = 0.7
_RATIO_MIN: Final = 1.5
_SPREAD_S: Final = 1.2  # between the first fill and the second, and of the cancels
_CANCELLED_MIN: Final = 0.8
_ORDERS_MIN: Final = 20
_OTHER: Final = {"buy": "sell", "sell": "buy"}


class LayerRow(Struct, frozen=True, kw_only=True):
    """One way to look for layerers, over all days.

    Attributes
    ----------
    layerers, found
        How many there were, and how many were named.
    within, found_within
        Of these, those whose style is the rule's: three prices or more, 70 % withdrawn in time,
        three times or more.
    recall, recall_within, precision
        Intervals of 95 %: of the shares of either that were named, and of those named that are
        layerers.
    makers_there, makers, others
        Makers there were; makers named, and other innocent accounts named.
    """

    name: str
    layerers: int
    found: int
    within: int
    found_within: int
    recall: Interval
    recall_within: Interval
    makers_there: int
    makers: int
    others: int
    precision: Interval


@dataclass(slots=True)
class Desk:
    """One account's messages in one stock, made one after the other."""

    rng: np.random.Generator
    account: str
    stock: str
    lines: list[tuple[int, bytes]]
    orders: dict[str, tuple[str, int]] = field(default_factory=dict)  # id -> side, quantity

    def _write(self, kind: str, at_s: float, **fields: Any) -> None:
        time_ns = _OPENS_NS + int(at_s * SECOND_NS)
        head = {
            "kind": kind,
            "source": "sim-desk",
            "event_id": self._token(),
            "event_time_ns": time_ns,
            "account_id": self.account,
        }
        self.lines.append((time_ns, orjson.dumps(head | fields)))

    def _token(self) -> str:
        return f"{int(self.rng.integers(2**48)):012x}"

    def enter(self, at_s: float, side: str, ticks: int, quantity: int) -> str:
        """Enter an order so many ticks from 10.00; return its id."""
        order = self._token()
        self.orders[order] = (side, quantity)
        price = f"{10 + ticks / 100:.2f}"
        body = {"order_id": order, "instrument": self.stock, "venue": "XSHG", "side": side}
        self._write("order.new", at_s, **body, quantity=quantity, price=price)
        return order

    def fill(self, at_s: float, order: str, quantity: int) -> None:
        """Trade part of an order, at 10.00: nothing here looks at prices of trades."""
        side, left = self.orders[order]
        self.orders[order] = (side, left - quantity)
        body = {"order_id": order, "fill_id": self._token(), "instrument": self.stock}
        body |= {"venue": "XSHG", "side": side}
        self._write("fill", at_s, **body, quantity=quantity, price="10.00")

    def cancel(self, at_s: float, order: str) -> None:
        """Withdraw what is left of an order, if anything is."""
        if self.orders.pop(order)[1] > 0:
            self._write("order.cancel", at_s, order_id=order, reason="user")


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Return a number whose logarithm is even between the ends."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


class Style(NamedTuple):
    """How one layers."""

    levels: int
    episodes: int
    ratio: float  # of what rests to what is wanted
    delay_s: float  # until it is withdrawn
    soon: int  # orders withdrawn then

    @property
    def is_within(self) -> bool:
        """Whether it is what the rule describes."""
        is_in_time = self.delay_s + _SPREAD_S <= _WINDOW_S
        is_enough = self.soon >= _SHARE_MIN * self.levels and self.ratio >= _RATIO_MIN
        return is_in_time and is_enough and min(self.levels, self.episodes) >= _LEVELS


def layer(desk: Desk) -> Style:
    """Layer all morning, in a style of one's own."""
    rng = desk.rng
    levels, episodes = int(rng.integers(2, 7)), int(rng.integers(2, 16))
    ratio, delay_s = _between(rng, 1.5, 12), _between(rng, 0.1, 15)
    soon = round(float(rng.uniform(0.7, 1.0)) * levels)
    for number in range(episodes):
        now = (number + float(rng.uniform(0, 0.7))) * _LASTS_S / episodes
        resting = ("buy", "sell")[int(rng.integers(2))]
        wanted = 100 * int(rng.integers(5, 30))
        sizes = [max(100, round(wanted * ratio / levels / 100) * 100)] * levels
        placed = [
            desk.enter(now + 0.1 * k, resting, (2 + k) * (1 if resting == "sell" else -1), size)
            for k, size in enumerate(sizes)
        ]
        now += 0.1 * levels + _between(rng, 0.2, 10)
        real = desk.enter(now, _OTHER[resting], 0, wanted)
        first = int(rng.integers(1, wanted))
        desk.fill(now + 0.02, real, first)
        if rng.random() < _HIT:
            desk.fill(now + 0.05, placed[0], sizes[0])
        now += float(rng.uniform(0.05, 1.0))
        desk.fill(now, real, wanted - first)
        for k, order in enumerate(placed):
            desk.cancel(now + delay_s + 0.02 * k + (0 if k < soon else 30), order)
    return Style(levels, episodes, ratio, delay_s, soon)


def make(desk: Desk) -> None:
    """Quote both sides all morning, and move the quotes whenever one is hit."""
    rng = desk.rng
    latency_s, size = _between(rng, 0.005, 2), 100 * int(rng.integers(5, 30))
    quotes: dict[str, list[str]] = {"buy": [], "sell": []}
    now = float(rng.uniform(0, 60))
    _quote(desk, now, quotes, size, {"buy": 1.0, "sell": 1.0})
    for _ in range(_TURNS):
        now += latency_s + _between(rng, 20, _LASTS_S / _TURNS * 1.2)
        hit = ("buy", "sell")[int(rng.integers(2))]
        if not quotes[hit]:
            hit = _OTHER[hit]
        desk.fill(now, quotes[hit][0], max(1, int(size * 0.3 * rng.uniform(0.3, 1))))
        for side, orders in quotes.items():
            for order in orders:
                desk.cancel(now + 0.003, order)
            quotes[side] = []
        shares = {hit: 1.0, _OTHER[hit]: float(rng.uniform(0.3, 1))}
        if rng.random() < _PULLS:
            del shares[_OTHER[hit]]
        _quote(desk, now + latency_s, quotes, size, shares)


def _quote(
    desk: Desk, at_s: float, quotes: dict[str, list[str]], size: int, shares: dict[str, float]
) -> None:
    middle = int(desk.rng.integers(-20, 20))
    for side, share in shares.items():
        away = 1 if side == "sell" else -1
        quotes[side] = [
            desk.enter(at_s + 0.001 * k, side, middle + away * (1 + k), max(1, int(size * share)))
            for k in range(_LEVELS)
        ]


@dataclass(frozen=True, slots=True)
class Morning:
    """Lines of one simulated morning, and who is who."""

    lines: list[bytes]
    layerers: frozenset[str]
    within: frozenset[str]
    makers: frozenset[str]


def morning(events: int, accounts: int, rng: np.random.Generator) -> Morning:
    """Make a morning of so many events by ordinary accounts, with makers and layerers beside."""
    seed = int(rng.integers(2**31))
    day = Market(SimulatorConfig(events=events, accounts=accounts, plants=(), seed=seed))
    ordinary = b"".join(day.blocks()).splitlines()
    lines = [(orjson.loads(line)["event_time_ns"], line) for line in ordinary]

    def desk(number: int) -> Desk:
        name = f"{int(rng.integers(2**48)):012x}"
        return Desk(np.random.default_rng((seed, number)), name, f"6{90_000 + number:05}", lines)

    layerers = [desk(number) for number in range(max(1, round(PREVALENCE * accounts)))]
    within = [one for one in layerers if layer(one).is_within]
    makers: list[Desk] = []
    before = len(lines)
    while (len(lines) - before) < MAKERS_SHARE * len(lines):
        makers.append(desk(len(layerers) + len(makers)))
        make(makers[-1])
    lines.sort()
    named = (frozenset(one.account for one in some) for some in (layerers, within, makers))
    return Morning([line for _, line in lines], *named)


def by_rule(lines: Iterable[bytes]) -> set[str]:
    """Return the accounts that the rule names, with the figures shipped."""
    detectors = [one for one in build_detectors(["surveillance"]) if one.rule.id == RULE]
    findings = findings_of([b"".join(line + b"\n" for line in lines)], detectors)
    return {finding.account_id for finding in findings}


def by_share(lines: Iterable[bytes]) -> set[str]:
    """Return the accounts that cancelled four in five of at least twenty orders in one stock."""
    entered: Counter[tuple[str, str]] = Counter()
    cancelled: Counter[tuple[str, str]] = Counter()
    stocks: dict[str, tuple[str, str]] = defaultdict(lambda: ("", ""))
    for event in map(orjson.loads, lines):
        if event["kind"] == "order.new":
            place = stocks[event["order_id"]] = (event["account_id"], event["instrument"])
            entered[place] += 1
        elif event["kind"] == "order.cancel" and event["reason"] == "user":
            cancelled[stocks[event["order_id"]]] += 1
    return {
        place[0]
        for place, count in entered.items()
        if count >= _ORDERS_MIN and cancelled[place] >= _CANCELLED_MIN * count
    }


_WAYS: Final = {
    "layering, with the figures shipped": by_rule,
    "four in five of twenty orders cancelled": by_share,
}


def measure(sizes: Sizes, seed: int) -> list[LayerRow]:
    """Look for layerers in every way, on the same mornings."""
    named: dict[str, list[tuple[set[str], Morning]]] = defaultdict(list)
    for number in range(sizes.mornings):
        rng = np.random.default_rng((seed, _STREAM, number))
        one = morning(sizes.morning_events, sizes.morning_accounts, rng)
        for name, way in _WAYS.items():
            named[name].append((way(one.lines), one))
    return [_row(name, pairs) for name, pairs in named.items()]


def _row(name: str, pairs: list[tuple[set[str], Morning]]) -> LayerRow:
    layerers = sum(len(one.layerers) for _, one in pairs)
    found = sum(len(who & one.layerers) for who, one in pairs)
    within = sum(len(one.within) for _, one in pairs)
    found_within = sum(len(who & one.within) for who, one in pairs)
    makers = sum(len(who & one.makers) for who, one in pairs)
    everybody = sum(len(who) for who, _ in pairs)
    return LayerRow(
        name=name,
        layerers=layerers,
        found=found,
        within=within,
        found_within=found_within,
        recall=of_share(found, layerers),
        recall_within=of_share(found_within, max(1, within)),
        makers_there=sum(len(one.makers) for _, one in pairs),
        makers=makers,
        others=everybody - found - makers,
        precision=of_share(found, max(1, everybody)),
    )
