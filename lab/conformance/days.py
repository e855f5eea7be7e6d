"""The two busy days on which every example of every detector must find something.

On each, accounts A and B of venue TEST enter 40 orders in I, the first twelve within 1.2 seconds,
the others 2.5 seconds apart. Every fourth is replaced, the others are cancelled after 50
milliseconds; one in five is filled before. Then each makes twelve round trips in J, of which it
wins ten, and trades with itself; both trade with each other, now one buying and now the other; and
both buy while the price rises, and sell later.
"""

from functools import cache
from itertools import product

from lab.conformance.kit import Event, Tape
from schemas.events import SECOND_NS

DAYS = 2
ACCOUNTS = "AB"
_DAY_SECONDS = 86_400
_ORDERS, _QUICK_ORDERS = 40, 12
_FILLED_EACH, _REPLACED_EACH = 5, 4
_TRIPS, _LOST_EACH = 12, 6
_PAIRED, _STEPS_UP = 6, 4
_REPEATED_EACH, _LATE_EACH = 3, 5
_LATE_BY = 20  # events; their times are ten seconds before those around them


@cache
def busy_days() -> tuple[Event, ...]:
    """Return the events, in order of time."""
    tape = Tape()
    for account, day in product(ACCOUNTS, range(DAYS)):
        base = 1_000.0 + _DAY_SECONDS * day
        _orders(tape, account, day, base)
        _round_trips(tape, account, day, base + 200)
    for day in range(DAYS):
        _paired_trades(tape, day, 1_230.0 + _DAY_SECONDS * day)
        _rise(tape, day, 1_250.0 + _DAY_SECONDS * day)
    return tuple(sorted(tape.events, key=lambda event: int(event["event_time_ns"])))


def _orders(tape: Tape, account: str, day: int, base: float) -> None:
    own = {"account_id": account}
    for i in range(_ORDERS):
        now, name = base + i * (0.1 if i < _QUICK_ORDERS else 2.5), f"{account}{day}-{i}"
        tape.new(now, name, quantity=20 + i, **own)
        if i % _FILLED_EACH == _FILLED_EACH - 1:
            side = {"side": "sell"} if i % 2 else {}
            tape.fill(now + 0.01, name, quantity=5, price=10 + i % 2, **own, **side)
        if i % _REPLACED_EACH:
            tape.cancel(now + 0.05, name, **own)
        else:
            tape.replace(now + 0.05, name, quantity=30 + i, **own)


def _round_trips(tape: Tape, account: str, day: int, base: float) -> None:
    for i in range(_TRIPS):
        is_won, now = bool(i % _LOST_EACH), base + i
        both = {"instrument": "J", "fill_id": f"{account}{day}t{i}"}  # with itself
        both["account_id"] = account
        tape.fill(now, f"{account}{day}w{i}", price=10, **both)
        sold = {"side": "sell", "price": 11 if is_won else 9, "realized_pnl": 1 if is_won else -3}
        tape.fill(now + 0.2, f"{account}{day}s{i}", **sold, **both)


def _paired_trades(tape: Tape, day: int, base: float) -> None:
    for i in range(_PAIRED):
        buyer, seller = ACCOUNTS[i % 2], ACCOUNTS[1 - i % 2]
        both = {"instrument": "J", "fill_id": f"p{day}t{i}"}
        for account, other, side in ((buyer, seller, "buy"), (seller, buyer, "sell")):
            own = {"account_id": account, "counter_account_id": other, "side": side}
            tape.fill(base + i, f"{account}{day}p{i}", **both, **own)


def _rise(tape: Tape, day: int, base: float) -> None:
    for account in ACCOUNTS:
        own = {"account_id": account, "instrument": "J"}
        for i in range(_STEPS_UP):
            tape.fill(base + i, f"{account}{day}r{i}", price=11 + i, **own)
        sold = {"side": "sell", "quantity": 100 * _STEPS_UP, "price": 12, "realized_pnl": -1}
        tape.fill(base + 200, f"{account}{day}r", **sold, **own)


def again_and_again(count: int) -> list[Event]:
    """Return the busy days ``count`` times over, each time after the last."""
    return [_moved(event, k) for k in range(count) for event in busy_days()]


def _moved(event: Event, k: int) -> Event:
    later = {
        "event_time_ns": event["event_time_ns"] + k * DAYS * _DAY_SECONDS * SECOND_NS,
        "event_id": f"{k}-{event['event_id']}",
    }
    return event | later | ({"order_id": f"{k}-{event['order_id']}"} if "order_id" in event else {})


def with_noise() -> list[Event]:
    """Return the busy days with repeated and late events among them, which must change nothing."""
    noisy: list[Event] = []
    events = busy_days()
    for i, event in enumerate(events):
        noisy.append(event)
        if i % _REPEATED_EACH == 0:
            noisy.append(event)
        if i > _LATE_BY and i % _LATE_EACH == 0:  # something of ten seconds ago, new to us
            early = min(events[i - 1]["event_time_ns"], event["event_time_ns"])
            late = {"event_id": f"late{i}", "event_time_ns": early - 10 * SECOND_NS}
            noisy.append(events[i - _LATE_BY] | late)
    return noisy
