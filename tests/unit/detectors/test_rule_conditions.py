"""Each condition of each shipped rule: one test that fails only that condition.

Every rule has a day on which it alerts; each further case changes one thing about that day, and
the rule is silent. Figures are those of the packs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from detector_kit import Tape, run

from detectors.core.packs import load_rules, pack_names

RULES = {rule.id: rule for rule in load_rules(pack_names())}
Day = Callable[..., Tape]


def fires(rule_id: str, tape: Tape) -> bool:
    tape.events.sort(key=lambda event: event["event_time_ns"])
    output = run(tape.events, [RULES[rule_id]])
    return any(f.phase in {"opening", "provisional"} for f in output.findings)


def rate_second(
    actions: int = 300, spread_s: float = 0.9, venue: str = "XSHG", reason: str = "user"
) -> Tape:
    tape = Tape()
    for i in range(actions):
        now, order = 3_600 + i * spread_s / actions, f"o{i - i % 2}"
        if i % 2:
            tape.cancel(now, order, reason=reason)
        else:
            tape.new(now, order, venue=venue)
    return tape


def rate_day(
    actions: int = 20_000, venue: str = "XSHE", reason: str = "user", last_s: float = 0
) -> Tape:
    tape = Tape()
    for i in range(actions):
        now, order = 3_600 + i * 0.9, f"o{i - i % 2}"
        now += last_s if i == actions - 1 else 0
        if i % 2:
            tape.cancel(now, order, reason=reason)
        else:
            tape.new(now, order, venue=venue)
    return tape


def instant(
    orders: int = 50, cancelled: int = 40, quick: int = 10, venue: str = "XSHG", age_s: float = 1.0
) -> Tape:
    tape = Tape()
    for i in range(orders):
        tape.new(3_600 + i * 10, f"o{i}", venue=venue)
        if i < cancelled:
            tape.cancel(3_600 + i * 10 + (age_s if i < quick else 5.0), f"o{i}")
    return tape


def futures(
    cancels: int = 500, venue: str = "XSGE", instrument: str = "cu2605", reason: str = "user",
    next_day: int = 0, other: int = 0,
) -> Tape:  # fmt: skip
    tape = Tape()
    for i in range(cancels):
        now = 7_200 + i * 10 + (86_400 if i < next_day else 0)
        name = "zn2605" if i < other else instrument
        tape.new(now, f"o{i}", venue=venue, instrument=name)
        tape.cancel(now + 2, f"o{i}", reason=reason)
    return tape


def index(cancels: int = 400, **changes: Any) -> Tape:
    return futures(cancels, **{"venue": "CCFX", "instrument": "IF2603"} | changes)


def large(
    cancels: int = 50, lots: int = 300, filled: int = 0, venue: str = "XSGE", reason: str = "user"
) -> Tape:
    tape = Tape()
    for i in range(cancels):
        now = 7_200 + i * 10
        tape.new(now, f"o{i}", venue=venue, instrument="cu2605", quantity=lots)
        if filled:
            more = {"instrument": "cu2605", "venue": venue, "quantity": filled}
            tape.fill(now + 1, f"o{i}", **more)
        tape.cancel(now + 2, f"o{i}", reason=reason)
    return tape


def busy(
    times: int = 10, actions: int = 10, last: int = 0, venue: str = "XSGE", reason: str = "user",
    each_s: float = 5.0, next_day: int = 0,
) -> Tape:  # fmt: skip
    """Act so often within 0.4 s, so many times; ``last`` are the actions of the last time."""
    tape = Tape()
    for k in range(times):
        count = last if last and k == times - 1 else actions
        start = 7_200 + k * each_s + (86_400 if k >= times - next_day else 0)
        for i in range(count):
            order = f"o{k}-{i - i % 2}"
            if i % 2:
                tape.cancel(start + i * 0.4 / count, order, reason=reason)
            else:
                tape.new(start + i * 0.4 / count, order, venue=venue)
    return tape


def near(actions: int = 240, venue: str = "XSHE", **changes: Any) -> Tape:
    return busy(actions=actions, venue=venue, **changes)


def self_trades(
    trades: int = 5, venue: str = "XSGE", other: int = 0, next_day: int = 0, stranger: int = 0,
    owners: tuple[str, str] = ("", ""), groups: tuple[str, str] = ("", ""),
) -> Tape:  # fmt: skip
    """Let A trade with itself, or with B where somebody is behind them."""
    tape = Tape()
    for account, owner, group in zip("AB", owners, groups, strict=True):
        behind = {"beneficial_owner": owner, "control_group": group}
        if any(behind := {name: value for name, value in behind.items() if value}):
            tape.add("ref.account", 3_600, account_id=account, **behind)
    partner = "B" if tape.events else "A"
    for i in range(trades):
        now = 7_200 + i * 10 + (86_400 if i < next_day else 0)
        place = {"venue": venue, "instrument": "zn2605" if i < other else "cu2605"}
        counter = "Z" if i < stranger else partner
        tape.fill(now, f"a{i}", fill_id=f"f{i}", counter_account_id=counter, **place)
        tape.fill(now, f"b{i}", fill_id=f"f{i}", account_id=counter, side="sell", **place)
    return tape


def otr(orders: int = 203, fills: int = 2, venue: str = "XPAR", quantity: int = 1) -> Tape:
    tape = Tape()
    for i in range(orders):
        tape.new(36_000 + i, f"o{i}", venue=venue, quantity=quantity)
        if i < fills:
            tape.fill(36_000 + i, f"o{i}", venue=venue, quantity=1)
    return tape


def otr_volume(ordered: int = 10_011, traded: int = 10, venue: str = "XPAR") -> Tape:
    tape = Tape()
    tape.new(36_000, "o1", venue=venue, quantity=traded or 10)
    if traded:
        tape.fill(36_001, "o1", venue=venue, quantity=traded)
    tape.new(36_002, "o2", venue=venue, quantity=ordered - (traded or 10))
    return tape


def wins(
    won: int = 10, lost: int = 0, *, simulated: bool = True, still_open: int = 0, fills: int = 1
) -> Tape:
    tape = Tape()
    for i in range(won + lost):
        paper = {"is_simulated": simulated}
        price = 11 if i < won else 9
        tape.fill(i * 10, f"b{i}", quantity=100, **paper)
        for k in range(fills):
            if still_open and i >= won + lost - still_open and k == fills - 1:
                break
            tape.fill(
                i * 10 + 1 + k / 100, f"s{i}", side="sell", price=price, quantity=100 // fills,
                **paper,
            )  # fmt: skip
    return tape


def streak(
    trips: int = 200, lost_every: int = 0, loss: int = 1, *, simulated: bool = True
) -> Tape:  # fmt: skip
    tape = Tape()
    for i in range(trips):
        price = 100 - loss if lost_every and i % lost_every == lost_every - 1 else 101
        for k, side in enumerate(("buy", "sell")):
            now, paid = 30_000 + i * 25 + k, price if side == "sell" else 100
            tape.fill(now, f"{side}{i}", side=side, price=paid, is_simulated=simulated)
    return tape


def stock_self_trades(venue: str = "XPAR", **changes: Any) -> Tape:
    return self_trades(venue=venue, **changes)


def layers(
    episodes: int = 3,
    orders: int = 3,
    prices: int = 3,
    bought: int = 6,
    withdrawn: int = 3,
    after_s: float = 1.0,
    again: int = 0,
    beside: int = 0,
    reason: str = "user",
    last_s: float = 0,
) -> Tape:
    """Let sells of 4 rest, buy, withdraw, and perhaps enter some again; then all over."""
    tape = Tape()
    for n in range(episodes):
        now = 30_000 + n * 60 + (last_s if n == episodes - 1 else 0)
        for k in range(orders):
            price = 11 + k % prices
            tape.new(now + k / 10, f"{n}-{k}", side="sell", price=price, quantity=4)
        if beside:
            tape.new(now + 0.5, f"r{n}", side="buy", price=9, quantity=beside)
            tape.cancel(now + 20, f"r{n}")
        tape.fill(now + 1, f"b{n}", side="buy", quantity=bought)
        for k in range(withdrawn):
            tape.cancel(now + 1 + after_s, f"{n}-{k}", reason=reason)
        for k in range(again):
            tape.new(now + 2.5, f"{n}+{k}", side="sell", price=14, quantity=4)
        for k in range(withdrawn, orders):
            tape.cancel(now + 20, f"{n}-{k}")
        for k in range(again):
            tape.cancel(now + 20, f"{n}+{k}")
    return tape


def paired(
    trades: int = 10, elsewhere: int = 10, back: int = 5, venue: str = "XPAR", other: int = 0,
    next_day: int = 0, stranger: int = 0, owners: tuple[str, str] = ("", ""),
) -> Tape:  # fmt: skip
    """Let A sell to B and buy ``back`` times back; before, B trades elsewhere in the same stock."""
    tape = Tape()
    for account, owner in zip("AB", owners, strict=True):
        if owner:
            tape.add("ref.account", 3_600, account_id=account, beneficial_owner=owner)
    for i in range(elsewhere):
        tape.fill(7_000 + i, f"e{i}", account_id="B", venue=venue, quantity=1)
    for i in range(trades):
        now = 7_200 + i * 10 + (86_400 if i >= trades - next_day else 0)
        place = {"venue": venue, "instrument": "K" if i < other else "I", "fill_id": f"p{i}"}
        sides = ("sell", "buy") if i < trades - back else ("buy", "sell")
        counter = "Z" if i < stranger else "B"
        for account, opposite, side in zip(("A", counter), (counter, "A"), sides, strict=True):
            more = {"account_id": account, "counter_account_id": opposite, "side": side}
            tape.fill(now, f"{account}{i}", **place, **more)
    return tape


def rises(
    trades: int = 5, sold: int = 0, others: int = 150, end: float = 10.05, start: float = 10,
    venue: str = "XPAR", first_s: float = 63_000, reach_s: float = 60, before_s: float = 1_200,
    other: int = 0, next_day: int = 0,
) -> Tape:  # fmt: skip
    """Let B trade, then A buy 20 several times while B sells as much as it buys; then the end."""
    tape = Tape()
    tape.fill(first_s - before_s, "b", account_id="B", venue=venue, price=start, quantity=1)
    for i in range(trades):
        now = first_s + i * reach_s / trades + (86_400 if i < next_day else 0)
        place = {"venue": venue, "instrument": "K" if i < other else "I", "quantity": 20}
        tape.fill(now, f"a{i}", price=end if i == trades - 1 else start, **place)
    if sold:
        tape.fill(first_s, "a", venue=venue, side="sell", price=start, quantity=sold)
    for k, side in enumerate(("buy", "sell") if others else ()):
        more = {"account_id": "B", "side": side, "price": start, "quantity": others / 2}
        tape.fill(first_s + 1, f"m{k}", venue=venue, **more)
    return tape


PARIS_CLOSE_S = 16 * 3_600 + 35 * 60  # 17:35 in winter
SHANGHAI_CLOSE_S = 7 * 3_600


def paris(first_s: float = PARIS_CLOSE_S - 300, **changes: Any) -> Tape:
    return rises(first_s=first_s, **changes)


def shanghai(first_s: float = SHANGHAI_CLOSE_S - 300, **changes: Any) -> Tape:
    return rises(first_s=first_s, **{"venue": "XSHE"} | changes)


def ramp(end: float = 10.4, **changes: Any) -> Tape:
    return rises(end=end, **{"first_s": 36_000} | changes)


def new_ways(
    canceled: int = 10, peers: int = 23, past_days: int = 3, orders: int = 25, life_s: float = 0.01,
    reason: str = "user",
) -> Tape:  # fmt: skip
    """Have accounts cancel about three of ten orders for days; then A cancels ``canceled``."""
    tape, rng = Tape(), np.random.default_rng(5)
    for day in range(past_days + 1):
        for who in range(peers + 1):
            account = "A" if who == 0 else f"P{who}"
            for unit in range(orders if day < past_days or who == 0 else 0):
                is_new = day == past_days and who == 0
                count = canceled if is_new else int(rng.binomial(10, 0.3))
                now = 86_400 * day + 3_600 + 60 * unit + who
                for number in range(10):
                    order, at = f"{account}-{day}-{unit}-{number}", now + number / 20
                    tape.new(at, order, account_id=account)
                    if number < count:
                        age = life_s if is_new or (number == 0 and unit % 5 == 0) else 5.0
                        why = reason if is_new else "user"
                        tape.cancel(at + age, order, account_id=account, reason=why)
                    else:
                        tape.fill(at + 0.02, order, account_id=account)
    return tape


def burst(
    actions: int = 80, peers: int = 23, past_days: int = 3, minutes: int = 12, others: int = 0,
    reason: str = "",
) -> Tape:  # fmt: skip
    """Have accounts enter about 12 orders a minute for days; then A enters ``actions``.

    ``others`` is what the rest does in A's last minutes; with a reason A cancels, above 12 orders.
    """
    tape, rng = Tape(), np.random.default_rng(5)
    for day in range(past_days + 1):
        for who in range(peers + 1):
            account, is_last = "A" if who == 0 else f"P{who}", day == past_days
            for minute in range(minutes if is_last else 40):
                count = int(rng.negative_binomial(4, 0.25))
                if is_last:
                    count = others if who else actions
                for number in range(count):
                    now = 86_400 * day + 3_600 + 60 * minute + (number + who / 100) * 59 / count
                    order = f"{account}-{day}-{minute}-{number}"
                    if is_last and reason and number >= 12:
                        tape.cancel(now, order, account_id=account, reason=reason)
                    else:
                        tape.new(now, order, account_id=account)
    return tape


def stuffed(
    bursts: int = 3,
    orders: int = 50,
    withdrawn: int = 50,
    filled: int = 0,
    age_s: float = 0.04,
    each_s: float = 60.0,
    spread_s: float = 0.7,
    other: int = 0,
    reason: str = "user",
    last_s: float = 0,
) -> Tape:
    """Enter orders in quick succession, withdraw some of them soon after; then all over."""
    tape = Tape()
    for n in range(bursts):
        start = 30_000 + n * each_s + (last_s if n == bursts - 1 else 0)
        place = {"venue": "XPAR", "instrument": "J" if n < other else "I"}
        for k in range(orders):
            now = start + k * spread_s / orders
            tape.new(now, f"{n}-{k}", **place)
            if k >= orders - withdrawn:
                tape.cancel(now + age_s, f"{n}-{k}", reason=reason)
            elif k < filled:
                tape.fill(now + age_s, f"{n}-{k}", **place)
    return tape


def fluttering(bursts: int = 3, replaces: int = 99) -> Tape:
    """Move one order to and fro, again and again."""
    tape = Tape()
    for n in range(bursts):
        tape.new(30_000 + 60 * n, f"{n}", venue="XPAR")
        for k in range(replaces):
            tape.replace(30_000 + 60 * n + (k + 1) * 0.007, f"{n}", quantity=100 + k % 2)
    return tape


DAY_S = 86_400
OPENED = ("app.event", {"name": "open"})
WITHDRAWN = ("order.cancel", {"order_id": "first", "reason": "user"})
LAPSED = ("order.cancel", {"order_id": "first", "reason": "exchange"})


def returned(
    orders: int = 30,
    fills: int = 0,
    rest_s: float = 90 * DAY_S,
    over_s: float = DAY_S - 1e-6,
    meanwhile: tuple[str, dict[str, Any]] = OPENED,
    known: bool = True,
) -> Tape:
    """Trade once, rest, and enter orders or trade for as long as said."""
    tape = Tape()
    if known:
        tape.new(0, "first")
    tape.add(meanwhile[0], rest_s / 2, **meanwhile[1])
    for k in range(orders):
        tape.new(rest_s + k * over_s / max(orders - 1, 1), f"o{k}")
    for k in range(fills):
        tape.fill(rest_s + k * over_s / max(fills - 1, 1), f"f{k}")
    return tape


CASES: list[tuple[str, str, Day, dict[str, Any], bool]] = [
    ("cn.order_rate.second", "all of it", rate_second, {}, True),
    ("cn.order_rate.second", "one action fewer", rate_second, {"actions": 299}, False),
    ("cn.order_rate.second", "the last a second on", rate_second, {"spread_s": 1.01}, False),
    ("cn.order_rate.second", "another market", rate_second, {"venue": "XPAR"}, False),
    ("cn.order_rate.second", "venue's cancels", rate_second, {"reason": "exchange"}, False),
    ("cn.order_rate.day", "all of it", rate_day, {}, True),
    ("cn.order_rate.day", "one action fewer", rate_day, {"actions": 19_999}, False),
    ("cn.order_rate.day", "the last one next day", rate_day, {"last_s": 86_400}, False),
    ("cn.order_rate.day", "another market", rate_day, {"venue": "XPAR"}, False),
    ("cn.order_rate.day", "venue's cancels", rate_day, {"reason": "expired"}, False),
    ("cn.instant_cancels", "all of it", instant, {}, True),
    ("cn.instant_cancels", "one quick cancel fewer", instant, {"quick": 9}, False),
    ("cn.instant_cancels", "older by a nanosecond", instant, {"age_s": 1.000000001}, False),
    ("cn.instant_cancels", "one order fewer", instant, {"orders": 49}, False),
    ("cn.instant_cancels", "below 80 %", instant, {"cancelled": 39}, False),
    ("cn.instant_cancels", "another market", instant, {"venue": "XPAR"}, False),
    ("cn.futures.cancels", "all of it", futures, {}, True),
    ("cn.futures.cancels", "one cancel fewer", futures, {"cancels": 499}, False),
    ("cn.futures.cancels", "one in another contract", futures, {"other": 1}, False),
    ("cn.futures.cancels", "one on another day", futures, {"next_day": 1}, False),
    ("cn.futures.cancels", "venue's cancels", futures, {"reason": "exchange"}, False),
    ("cn.futures.cancels", "another market", futures, {"venue": "XSHG"}, False),
    ("cn.futures.cancels", "an index future", futures,
     {"venue": "CCFX", "instrument": "IF2603"}, False),
    ("cn.futures.cancels.index", "all of it", index, {}, True),
    ("cn.futures.cancels.index", "one cancel fewer", index, {"cancels": 399}, False),
    ("cn.futures.cancels.index", "one on another day", index, {"next_day": 1}, False),
    ("cn.futures.cancels.index", "no index future", index, {"instrument": "TF2603"}, False),
    ("cn.futures.cancels.index", "another market", index, {"venue": "XSGE"}, False),
    ("cn.futures.cancels.index", "venue's cancels", index, {"reason": "expired"}, False),
    ("cn.futures.large_cancels", "all of it", large, {}, True),
    ("cn.futures.large_cancels", "one cancel fewer", large, {"cancels": 49}, False),
    ("cn.futures.large_cancels", "one lot fewer", large, {"lots": 299}, False),
    ("cn.futures.large_cancels", "less than 300 left", large, {"filled": 1}, False),
    ("cn.futures.large_cancels", "another market", large, {"venue": "XSHG"}, False),
    ("cn.futures.large_cancels", "venue's cancels", large, {"reason": "exchange"}, False),
    ("cn.futures.programme_reporting", "all of it", busy, {}, True),
    ("cn.futures.programme_reporting", "many more each time", busy, {"actions": 310}, True),
    ("cn.futures.programme_reporting", "one action fewer once", busy, {"last": 9}, False),
    ("cn.futures.programme_reporting", "one second fewer", busy, {"times": 9}, False),
    ("cn.futures.programme_reporting", "two in a second", busy, {"each_s": 0.5}, False),
    ("cn.futures.programme_reporting", "one on another day", busy, {"next_day": 1}, False),
    ("cn.futures.programme_reporting", "venue's cancels", busy, {"reason": "exchange"}, False),
    ("cn.futures.programme_reporting", "another market", busy, {"venue": "XSHG"}, False),
    ("cn.order_rate.near_threshold", "all of it", near, {}, True),
    ("cn.order_rate.near_threshold", "just below the bound", near, {"actions": 299}, True),
    ("cn.order_rate.near_threshold", "at the bound once", near, {"last": 300}, False),
    ("cn.order_rate.near_threshold", "one action fewer once", near, {"last": 239}, False),
    ("cn.order_rate.near_threshold", "one second fewer", near, {"times": 9}, False),
    ("cn.order_rate.near_threshold", "two in a second", near, {"each_s": 0.5}, False),
    ("cn.order_rate.near_threshold", "one on another day", near, {"next_day": 1}, False),
    ("cn.order_rate.near_threshold", "venue's cancels", near, {"reason": "exchange"}, False),
    ("cn.order_rate.near_threshold", "another market", near, {"venue": "XPAR"}, False),
    ("cn.futures.self_trading", "all of it", self_trades, {}, True),
    ("cn.futures.self_trading", "one trade fewer", self_trades, {"trades": 4}, False),
    ("cn.futures.self_trading", "one in another contract", self_trades, {"other": 1}, False),
    ("cn.futures.self_trading", "one on another day", self_trades, {"next_day": 1}, False),
    ("cn.futures.self_trading", "one with a stranger", self_trades, {"stranger": 1}, False),
    ("cn.futures.self_trading", "another market", self_trades, {"venue": "XSHG"}, False),
    ("cn.futures.self_trading", "one owner", self_trades, {"owners": ("W", "W")}, True),
    ("cn.futures.self_trading", "two owners", self_trades, {"owners": ("W", "V")}, False),
    ("cn.futures.self_trading", "two owners, one group", self_trades,
     {"owners": ("W", "V"), "groups": ("G", "G")}, True),
    ("eu.otr.number", "all of it", otr, {}, True),
    ("eu.otr.number", "ratio at the maximum", otr, {"orders": 202}, False),
    ("eu.otr.number", "one more trade early", otr, {"fills": 3}, False),
    ("eu.otr.number", "another market", otr, {"venue": "XSHG"}, False),
    ("eu.otr.number", "no trade, more orders", otr, {"fills": 0, "orders": 101}, True),
    ("eu.otr.number", "no trade, as many orders", otr, {"fills": 0, "orders": 100}, False),
    ("eu.otr.volume", "all of it", otr_volume, {}, True),
    ("eu.otr.volume", "ratio at the maximum", otr_volume, {"ordered": 10_010}, False),
    ("eu.otr.volume", "no trade", otr_volume, {"traded": 0}, False),
    ("eu.otr.volume", "another market", otr_volume, {"venue": "XSHG"}, False),
    ("source.win_rate", "all of it", wins, {}, True),
    ("source.win_rate", "one round trip fewer", wins, {"won": 9}, False),
    ("source.win_rate", "exactly 90 %", wins, {"won": 9, "lost": 1}, False),
    ("source.win_rate", "real money", wins, {"simulated": False}, False),
    ("source.win_rate", "one still open", wins, {"still_open": 1}, False),
    ("source.win_rate", "one trip in ten fills", wins, {"won": 1, "fills": 10}, False),
    ("peers.cancels", "all of it", new_ways, {}, True),
    ("peers.cancels", "no more than the floor", new_ways, {"canceled": 5}, False),
    ("peers.cancels", "too few peers", new_ways, {"peers": 18}, False),
    ("peers.cancels", "no past", new_ways, {"past_days": 1}, False),
    ("peers.cancels", "too few orders", new_ways, {"orders": 12}, False),
    ("peers.cancels", "an emergency stop", new_ways, {"reason": "kill_switch"}, False),
    ("peers.lifetime", "all of it", new_ways, {"past_days": 4, "canceled": 9}, True),
    ("peers.lifetime", "as slow as others", new_ways, {"past_days": 4, "life_s": 5.0}, False),
    ("peers.lifetime", "as few as others", new_ways, {"past_days": 4, "canceled": 1}, False),
    ("peers.lifetime", "no past", new_ways, {"past_days": 2}, False),
    ("peers.burst", "all of it", burst, {}, True),
    ("peers.burst", "no more than the floor", burst, {"actions": 20}, False),
    ("peers.burst", "too short", burst, {"minutes": 2}, False),
    ("peers.burst", "too few peers", burst, {"peers": 18}, False),
    ("peers.burst", "no past", burst, {"past_days": 1}, False),
    ("peers.burst", "the whole market", burst, {"others": 80}, False),
    ("peers.burst", "own cancels", burst, {"reason": "user"}, True),
    ("peers.burst", "an emergency stop", burst, {"reason": "kill_switch"}, False),
    ("certified.win_rate", "all of it", streak, {}, True),
    ("certified.win_rate", "too few to tell", streak, {"trips": 100}, False),
    ("certified.win_rate", "90 %", streak, {"trips": 2_000, "lost_every": 10}, False),
    ("certified.win_rate", "98 %", streak, {"trips": 2_000, "lost_every": 50}, True),
    ("certified.win_rate", "98 %, which earn nothing", streak,
     {"trips": 2_000, "lost_every": 50, "loss": 49}, False),
    ("certified.win_rate", "real money", streak, {"simulated": False}, False),
    ("surveillance.self_trading", "all of it", stock_self_trades, {}, True),
    ("surveillance.self_trading", "one trade fewer", stock_self_trades, {"trades": 4}, False),
    ("surveillance.self_trading", "one in another", stock_self_trades, {"other": 1}, False),
    ("surveillance.self_trading", "one on another day", stock_self_trades, {"next_day": 1}, False),
    ("surveillance.self_trading", "one with a stranger", stock_self_trades, {"stranger": 1}, False),
    ("surveillance.self_trading", "another market", stock_self_trades, {"venue": "XSGE"}, False),
    ("surveillance.self_trading", "one owner", stock_self_trades, {"owners": ("W", "W")}, True),
    ("surveillance.self_trading", "two owners", stock_self_trades, {"owners": ("W", "V")}, False),
    ("surveillance.paired_trading", "all of it", paired, {}, True),
    ("surveillance.paired_trading", "one trade fewer", paired,
     {"trades": 9, "elsewhere": 9, "back": 4}, False),
    ("surveillance.paired_trading", "one more elsewhere", paired, {"elsewhere": 11}, False),
    ("surveillance.paired_trading", "half came back", paired,
     {"trades": 12, "back": 4, "elsewhere": 0}, True),
    ("surveillance.paired_trading", "less than half came back", paired,
     {"trades": 13, "back": 4, "elsewhere": 0}, False),
    ("surveillance.paired_trading", "all one way", paired, {"back": 0}, False),
    ("surveillance.paired_trading", "one in another", paired, {"other": 1, "elsewhere": 0}, False),
    ("surveillance.paired_trading", "one on another day", paired,
     {"next_day": 1, "elsewhere": 0}, False),
    ("surveillance.paired_trading", "one with a third", paired,
     {"stranger": 1, "elsewhere": 0}, False),
    ("surveillance.paired_trading", "another market", paired, {"venue": "XSGE"}, False),
    ("surveillance.paired_trading", "one owner", paired, {"owners": ("W", "W")}, False),
    ("surveillance.paired_trading", "two owners", paired, {"owners": ("W", "V")}, True),
    ("surveillance.marking_the_close.eu", "all of it", paris, {}, True),
    ("surveillance.marking_the_close.eu", "one trade fewer", paris,
     {"trades": 4, "others": 120}, False),
    ("surveillance.marking_the_close.eu", "less than two fifths", paris, {"others": 152}, False),
    ("surveillance.marking_the_close.eu", "sold as well", paris, {"sold": 2, "others": 148}, False),
    ("surveillance.marking_the_close.eu", "price goes less", paris, {"end": 10.049}, False),
    ("surveillance.marking_the_close.eu", "price goes down", paris, {"end": 9.9}, False),
    ("surveillance.marking_the_close.eu", "before the last minutes", paris,
     {"first_s": PARIS_CLOSE_S - 661}, False),
    ("surveillance.marking_the_close.eu", "after the close", paris,
     {"first_s": PARIS_CLOSE_S + 1}, False),
    ("surveillance.marking_the_close.eu", "the last at the close", paris,
     {"first_s": PARIS_CLOSE_S - 60, "reach_s": 75}, True),
    ("surveillance.marking_the_close.eu", "the last after the close", paris,
     {"first_s": PARIS_CLOSE_S - 59, "reach_s": 75}, False),
    ("surveillance.marking_the_close.eu", "no trade before", paris, {"before_s": 0}, False),
    ("surveillance.marking_the_close.eu", "one in another", paris,
     {"other": 1, "others": 100}, False),
    ("surveillance.marking_the_close.eu", "one on another day", paris,
     {"next_day": 1, "others": 100}, False),
    ("surveillance.marking_the_close.eu", "another market", paris, {"venue": "XSGE"}, False),
    ("surveillance.marking_the_close.cn", "all of it", shanghai, {}, True),
    ("surveillance.marking_the_close.cn", "one trade fewer", shanghai,
     {"trades": 4, "others": 120}, False),
    ("surveillance.marking_the_close.cn", "less than two fifths", shanghai,
     {"others": 152}, False),
    ("surveillance.marking_the_close.cn", "price goes less", shanghai, {"end": 10.049}, False),
    ("surveillance.marking_the_close.cn", "before the last minutes", shanghai,
     {"first_s": SHANGHAI_CLOSE_S - 661}, False),
    ("surveillance.marking_the_close.cn", "after the close", shanghai,
     {"first_s": SHANGHAI_CLOSE_S + 1}, False),
    ("surveillance.marking_the_close.cn", "another market", shanghai, {"venue": "XPAR"}, False),
    ("surveillance.ramping", "all of it", ramp, {}, True),
    ("surveillance.ramping", "one trade fewer", ramp, {"trades": 4, "others": 120}, False),
    ("surveillance.ramping", "less than two fifths", ramp, {"others": 152}, False),
    ("surveillance.ramping", "sold as well", ramp, {"sold": 2, "others": 148}, False),
    ("surveillance.ramping", "price goes less", ramp, {"end": 10.399}, False),
    ("surveillance.ramping", "price goes down", ramp, {"end": 9.6}, False),
    ("surveillance.ramping", "just within three minutes", ramp, {"reach_s": 224.9}, True),
    ("surveillance.ramping", "in more than three minutes", ramp, {"reach_s": 225}, False),
    ("surveillance.ramping", "no trade before", ramp, {"before_s": 0}, False),
    ("surveillance.ramping", "one in another", ramp, {"other": 1, "others": 100}, False),
    ("surveillance.ramping", "one on another day", ramp, {"next_day": 1, "others": 100}, False),
    ("surveillance.ramping", "another market", ramp, {"venue": "XSGE"}, False),
    ("surveillance.layering", "all of it", layers, {}, True),
    ("surveillance.layering", "one episode fewer", layers, {"episodes": 2}, False),
    ("surveillance.layering", "one on another day", layers, {"last_s": 86_400}, False),
    ("surveillance.layering", "two orders", layers, {"orders": 2, "bought": 4}, False),
    ("surveillance.layering", "one price", layers, {"prices": 1}, False),
    ("surveillance.layering", "too small beside what was bought", layers, {"bought": 9}, False),
    ("surveillance.layering", "two thirds rest on the other side", layers, {"beside": 9}, False),
    ("surveillance.layering", "two of three withdrawn", layers, {"withdrawn": 2}, False),
    ("surveillance.layering", "too late", layers, {"after_s": 10.01}, False),
    ("surveillance.layering", "one entered again", layers, {"again": 1}, False),
    ("surveillance.layering", "venue's cancels", layers, {"reason": "exchange"}, False),
    ("surveillance.dormant_reactivation", "all of it", returned, {}, True),
    ("surveillance.dormant_reactivation", "one order fewer", returned, {"orders": 29}, False),
    ("surveillance.dormant_reactivation", "a little less of rest", returned,
     {"rest_s": 90 * DAY_S - 1e-6}, False),
    ("surveillance.dormant_reactivation", "the last a day later", returned,
     {"over_s": DAY_S}, False),
    ("surveillance.dormant_reactivation", "never seen before", returned, {"known": False}, False),
    ("surveillance.dormant_reactivation", "a cancel meanwhile", returned,
     {"meanwhile": WITHDRAWN}, False),
    ("surveillance.dormant_reactivation", "ended by the venue meanwhile", returned,
     {"meanwhile": LAPSED}, True),
    ("surveillance.dormant_reactivation", "as many fills", returned,
     {"orders": 0, "fills": 30}, True),
    ("surveillance.dormant_reactivation", "one fill fewer", returned,
     {"orders": 0, "fills": 29}, False),
    ("surveillance.dormant_reactivation", "not enough of either", returned,
     {"orders": 29, "fills": 29}, False),
    ("surveillance.quote_stuffing", "all of it", stuffed, {}, True),
    ("surveillance.quote_stuffing", "one burst fewer", stuffed, {"bursts": 2}, False),
    ("surveillance.quote_stuffing", "one on another day", stuffed, {"last_s": 86_400}, False),
    ("surveillance.quote_stuffing", "one in another instrument", stuffed, {"other": 1}, False),
    ("surveillance.quote_stuffing", "three in two seconds", stuffed,
     {"each_s": 0.5, "spread_s": 0.4}, False),
    ("surveillance.quote_stuffing", "one message fewer", stuffed, {"withdrawn": 49}, False),
    ("surveillance.quote_stuffing", "over more than a second", stuffed, {"spread_s": 1.03}, False),
    ("surveillance.quote_stuffing", "nine in ten withdrawn", stuffed,
     {"orders": 60, "withdrawn": 54}, True),
    ("surveillance.quote_stuffing", "one fewer withdrawn", stuffed,
     {"orders": 60, "withdrawn": 53}, False),
    ("surveillance.quote_stuffing", "a second old", stuffed,
     {"orders": 100, "withdrawn": 100, "age_s": 1.0}, True),
    ("surveillance.quote_stuffing", "older by a nanosecond", stuffed,
     {"orders": 100, "withdrawn": 100, "age_s": 1.000000001}, False),
    ("surveillance.quote_stuffing", "one in twenty traded", stuffed,
     {"orders": 60, "withdrawn": 57, "filled": 3}, True),
    ("surveillance.quote_stuffing", "one more traded", stuffed,
     {"orders": 60, "withdrawn": 56, "filled": 4}, False),
    ("surveillance.quote_stuffing", "venue's cancels", stuffed, {"reason": "exchange"}, False),
    ("surveillance.quote_stuffing", "one order moved", fluttering, {}, True),
    ("surveillance.quote_stuffing", "moved once less", fluttering, {"replaces": 98}, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule_id", "case", "day", "changes", "expected"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES]
)
def test_condition(
    rule_id: str, case: str, day: Day, changes: dict[str, Any], expected: bool
) -> None:
    assert fires(rule_id, day(**changes)) == expected, case


def test_every_rule_has_a_day_on_which_it_alerts() -> None:
    assert {rule_id for rule_id, case, *_ in CASES if case == "all of it"} == set(RULES)


BASES = {rule_id: day for rule_id, case, day, *_ in CASES if case == "all of it"}


@pytest.mark.parametrize(
    ("rule_id", "kind"), [(rule.id, kind) for rule in RULES.values() for kind in rule.exempt]
)
def test_a_registration_that_the_rule_honours_exempts(rule_id: str, kind: str) -> None:
    day = BASES[rule_id]()
    first_ns = min(event["event_time_ns"] for event in day.events)
    entry = {"registration": kind, "valid_from_ns": first_ns}
    day.add("ref.account", 0, registrations=[entry])
    assert not fires(rule_id, day)


@pytest.mark.parametrize("rule_id", ["eu.otr.number", "cn.instant_cancels"])
def test_a_registration_of_another_kind_does_not(rule_id: str) -> None:
    day = BASES[rule_id]()
    entry = {"registration": "hedge", "valid_from_ns": 946_684_800 * 10**9}
    day.add("ref.account", 0, registrations=[entry])
    assert fires(rule_id, day)
