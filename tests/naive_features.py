"""Live features counted in the plainest way, from the lines of one file: their referee."""

import datetime as dt
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from flows.calendars import TradingDays

LATENESS_NS = 5_000_000_000
DAY_NS = 86_400 * 10**9
LINGER_NS = 60_000_000_000
KINDS = {
    *("order.new", "order.replace", "order.cancel", "order.reject", "order.expire", "fill"),
    *("position.closed", "app.event", "ref.account", "ref.instrument", "entitlement.changed"),
}
TradingDay = Callable[[str | None, int], str]  # venue (None: the default calendar), time -> date
Text = dict[str, str]


@dataclass
class Order:
    day: str
    venue: str
    quantity: Decimal
    time_in_force: str = ""
    filled: Decimal = Decimal(0)
    filled_ns: int = 0
    ended_ns: int = 0
    is_done: bool = False
    is_unseen: bool = False
    profit: Decimal | None = None  # None: no closing fill yet

    @property
    def left(self) -> Decimal:
        return max(Decimal(0), self.quantity - self.filled)

    def note_end(self, time_ns: int) -> None:
        if self.is_unseen:
            return
        self.is_done = self.left == 0
        if self.is_done:
            self.ended_ns = max(self.ended_ns, time_ns)

    def is_open_on(self, day: str) -> bool:
        return not self.is_unseen and not self.is_done and self.day == day


@dataclass
class Account:
    applied: int = 0
    last_event_time_ns: int = 0
    day: str = ""
    orders: int = 0
    cancels: int = 0
    fills: int = 0
    fill_units: int = 0
    fill_wins: int = 0
    closing: list[Order] = field(default_factory=list)  # orders with a closing fill
    held: dict[str, Order] = field(default_factory=dict)

    def turn(self, day: str) -> bool:
        """Begin a later day; say whether the row is of the day."""
        if day > self.day:
            self.day, self.orders, self.cancels, self.fills = day, 0, 0, 0
        return day == self.day

    def known(self, order_id: str, time_ns: int) -> Order | None:
        order = self.held.get(order_id)
        if order is not None and order.is_done and time_ns > order.ended_ns + LINGER_NS:
            del self.held[order_id]
            return None
        return order

    def fields(self) -> Text:
        acted = self.cancels + self.fills
        still_open = sum(order.is_open_on(self.day) for order in self.held.values())
        return {
            "seq": f"{self.applied:020d}",
            "trading_day": self.day,
            "cancel_ratio_ppm": str(1_000_000 * self.cancels // acted if acted else 0),
            "orders": str(self.orders),
            "cancels": str(self.cancels),
            "fills": str(self.fills),
            "open_orders": str(still_open),
            "last_event_time_ns": str(self.last_event_time_ns),
            "fill_units": str(self.fill_units),
            "fill_wins": str(self.fill_wins),
            "order_units": str(len(self.closing)),
            "order_wins": str(sum((order.profit or 0) > 0 for order in self.closing)),
            "since": "0",
        }


def count(lines: Iterable[bytes], trading_day: TradingDay) -> dict[str, Text]:
    """Return every account's features after all lines."""
    accounts: dict[str, Account] = {}
    seen: set[tuple[str, str]] = set()
    before_ns = high_ns = 0
    for line in lines:
        event = read(line)
        if event is None:
            continue
        time_ns = event["event_time_ns"]
        high_ns = max(high_ns, min(before_ns, time_ns))
        before_ns = time_ns
        if time_ns < high_ns - LATENESS_NS or (event["source"], event["event_id"]) in seen:
            continue
        seen.add((event["source"], event["event_id"]))
        if event.get("account_id") is not None:
            account = accounts.setdefault(event["account_id"], Account())
            account.applied += 1
            account.last_event_time_ns = max(account.last_event_time_ns, time_ns)
            ACTS.get(event["kind"], lambda *_: None)(account, event, trading_day)
    return {account_id: account.fields() for account_id, account in accounts.items()}


def read(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line; None for a damaged one."""
    try:
        event = json.loads(line, parse_float=Decimal, object_pairs_hook=once)
    except ValueError:
        return None
    return event if isinstance(event, dict) and event.get("kind") in KINDS else None


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def number(event: dict[str, Any], name: str) -> Decimal:
    return Decimal(event[name])


def on_new(account: Account, event: dict[str, Any], trading_day: TradingDay) -> None:
    day = trading_day(event["venue"], event["event_time_ns"])
    old = account.known(event["order_id"], event["event_time_ns"])
    if old is not None and not old.is_unseen:
        return
    order = old or Order(day, event["venue"], Decimal(0))
    order.day, order.is_unseen = day, False
    order.quantity = number(event, "quantity")
    order.time_in_force = event.get("time_in_force") or ""
    order.note_end(event["event_time_ns"])
    account.held[event["order_id"]] = order
    account.orders += account.turn(day)


def on_replace(account: Account, event: dict[str, Any], _trading_day: TradingDay) -> None:
    old_id = event.get("replaces_order_id") or event["order_id"]
    order = account.known(old_id, event["event_time_ns"])
    if order is not None:
        account.held[event["order_id"]] = account.held.pop(old_id)
        order.quantity = number(event, "quantity")
        order.note_end(event["event_time_ns"])


def on_cancel(account: Account, event: dict[str, Any], trading_day: TradingDay) -> None:
    time_ns, reason = event["event_time_ns"], event.get("reason") or "unknown"
    order = account.known(event["order_id"], time_ns)
    day = trading_day(order.venue if order else None, time_ns)
    is_seen = order is not None and not order.is_unseen
    filled_now = order is not None and order.filled_ns == time_ns
    is_short = is_seen and order is not None and order.time_in_force in ("ioc", "fok")
    is_customers = reason in ("user", "kill_switch")
    is_customers = is_customers or (reason == "unknown" and not is_short and not filled_now)
    if order is not None and is_seen:
        is_customers = is_customers and not order.is_done
        withdrawn = number(event, "quantity") if "quantity" in event else order.left
        order.quantity -= min(withdrawn, order.left)
        if order.left == 0:
            del account.held[event["order_id"]]
    if is_customers:
        account.cancels += account.turn(day)


def on_end(account: Account, event: dict[str, Any], _trading_day: TradingDay) -> None:
    if account.known(event["order_id"], event["event_time_ns"]) is not None:
        del account.held[event["order_id"]]


def on_fill(account: Account, event: dict[str, Any], trading_day: TradingDay) -> None:
    time_ns, closing = event["event_time_ns"], event.get("realized_pnl")
    day = trading_day(event["venue"], time_ns)
    order = account.known(event["order_id"], time_ns)
    if order is None and closing is not None:
        order = Order(day, event["venue"], number(event, "quantity"), is_unseen=True)
        account.held[event["order_id"]] = order
    if order is not None:
        order.filled_ns = time_ns
        order.filled += number(event, "quantity")
        order.note_end(time_ns)
    if closing is not None and order is not None:
        if order.profit is None:
            account.closing.append(order)
        order.profit = (order.profit or Decimal(0)) + Decimal(closing)
        account.fill_units += 1
        account.fill_wins += Decimal(closing) > 0
    account.fills += account.turn(day)


ACTS: dict[str, Callable[[Account, dict[str, Any], TradingDay], None]] = {
    "order.new": on_new,
    "order.replace": on_replace,
    "order.cancel": on_cancel,
    "order.reject": on_end,
    "order.expire": on_end,
    "fill": on_fill,
}


def date(number: int) -> str:
    """Return the date that is so many days after 1970-01-01."""
    return (dt.date(1970, 1, 1) + dt.timedelta(days=number)).isoformat()


def trading_day(calendars: TradingDays, venue: str | None, time_ns: int) -> str:
    """Return the trading day of a venue, looked up from the beginning every time."""
    calendar = 0 if venue is None else calendars.index(venue)
    if calendar == 0:
        return date((time_ns - calendars.zone_day_ns) // DAY_NS)
    before = int((calendars.starts[calendar - 1] <= time_ns).sum())
    return date(int(calendars.numbers[calendar - 1][before - 1]))
