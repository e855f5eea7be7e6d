"""Every layer-0 rule counted in the plainest way: the referee of the detectors.

``evaluate(lines)`` reads NDJSON in lane order and says which accounts break which rule at some
moment of their day; ``evaluate_at_close(lines)`` says it for the rules that are provisional during
the day, as they stand at its end (the others cannot be taken back).

Conventions
- A day is the local date of the event's venue; there are no night sessions here.
- A replace or cancel belongs to its order's instrument and venue; those of unknown orders are left
  out, as nobody can say which rule they fall under.
- The customer's cancels are those with reason ``user``, ``unknown`` or ``kill_switch``.
- An event is left out of a rule when a registration that the rule honours is on file for its
  account, instrument and moment. The latest ``ref.account`` replaces what was on file.
- Order-to-trade ratios count the customer's own messages, without cancels by kill functionality
  (RTS 9, Article 1(a)). By volume nothing is broken before the first transaction.
- A cancel's quantity is what it says, or else what was left of the order.
- Ratios are compared in whole numbers: never in floats.
- A round trip runs from flat to flat in one instrument; it is won when more came in than went out.
  A fill that turns the position around ends one round trip and begins the next.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

SECOND_NS = 1_000_000_000
CN_EQUITIES = {"XSHG", "XSHE", "BJSE"}
CN_FUTURES = {"CCFX", "XSGE", "XDCE", "XZCE", "XINE", "GFEX"}
INDEX_FUTURES = ("IF", "IH", "IC", "IM")
EU = {"XPAR", "XAMS", "XBRU", "XLIS", "XDUB", "XOSL", "XETR", "XMIL", "XMAD", "XHEL", "XSTO"}
EU_CLOSING_LATE = {"XPAR", "XAMS", "XBRU", "XETR", "XMIL", "XMAD"}
ZONES = dict.fromkeys(CN_EQUITIES | CN_FUTURES, "Asia/Shanghai") | dict.fromkeys(EU, "Europe/Paris")
CUSTOMER = {"user", "unknown", "kill_switch"}


@dataclass
class Fact:
    """One order, replace, cancel or fill, with what is known of its order."""

    kind: str
    account: str
    instrument: str
    venue: str
    day: str
    time_ns: int
    quantity: Decimal
    price: Decimal | None
    side: str
    simulated: bool
    customer_cancel: bool
    kill_switch: bool
    age_ns: int
    registered: set[str]
    order_id: str = ""
    fill_id: str = ""
    behind: tuple[str, str] = ("", "")  # owner and control group of the account by then
    counter: str = ""
    counter_behind: tuple[str, str] = ("", "")
    counter_registered: set[str] = field(default_factory=set)


def read_facts(lines: Iterable[bytes | str]) -> list[Fact]:
    orders: dict[tuple[str, str], dict[str, Any]] = {}
    on_file: dict[str, dict[str, Any]] = {}

    def registered(account: str, event: dict[str, Any], instrument: str) -> set[str]:
        return {
            entry["registration"]
            for entry in on_file.get(account, {}).get("registrations", [])
            if entry.get("instrument") in {None, instrument}
            and entry["valid_from_ns"] <= event["event_time_ns"]
            and event["event_time_ns"] < entry.get("valid_until_ns", 2**63)
        }

    def behind(account: str) -> tuple[str, str]:
        said = on_file.get(account, {})
        return said.get("beneficial_owner", ""), said.get("control_group", "")

    facts = []
    for line in lines:
        event = json.loads(line, parse_float=Decimal)
        kind, account = event["kind"], event.get("account_id")
        if kind == "ref.account":
            on_file[account] = event
            continue
        if kind not in {"order.new", "order.replace", "order.cancel", "fill"}:
            continue
        key = (account, event["order_id"])
        if kind == "order.new":
            orders[key] = {**event, "left": Decimal(event["quantity"])}
        order = orders.get(key, event)
        if "instrument" not in order:
            continue
        quantity = Decimal(event.get("quantity", order.get("left", 0)))
        if kind == "order.replace":
            order["left"] = quantity
        elif kind != "order.new" and "left" in order:
            order["left"] -= quantity
        counter = event.get("counter_account_id", "")
        facts.append(
            Fact(
                kind=kind,
                account=account,
                instrument=order["instrument"],
                venue=order["venue"],
                day=local_day(event["event_time_ns"], order["venue"]),
                time_ns=event["event_time_ns"],
                quantity=quantity,
                price=Decimal(event["price"]) if "price" in event else None,
                side=order["side"],
                simulated=event.get("is_simulated", False),
                customer_cancel=kind == "order.cancel" and event["reason"] in CUSTOMER,
                kill_switch=event.get("reason") == "kill_switch",
                age_ns=event["event_time_ns"] - order["event_time_ns"],
                registered=registered(account, event, order["instrument"]),
                order_id=event["order_id"],
                fill_id=event.get("fill_id", ""),
                behind=behind(account),
                counter=counter,
                counter_behind=behind(counter),
                counter_registered=registered(counter, event, order["instrument"]),
            )
        )
    return facts


def local_day(time_ns: int, venue: str) -> str:
    return day_of_second(time_ns // SECOND_NS, ZONES.get(venue, "UTC"))


@cache
def day_of_second(second: int, zone: str) -> str:
    return datetime.fromtimestamp(second, UTC).astimezone(ZoneInfo(zone)).date().isoformat()


def grouped(
    facts: list[Fact], venues: set[str], exempting: set[str], key: Callable[[Fact], Any]
) -> dict[Any, list[Fact]]:
    groups = defaultdict(list)
    for fact in facts:
        if fact.venue in venues and not fact.registered & exempting:
            groups[key(fact)].append(fact)
    return groups


def by_account_day(fact: Fact) -> tuple[str, str]:
    return fact.account, fact.day


def by_contract_day(fact: Fact) -> tuple[str, str, str]:
    return fact.account, fact.instrument, fact.day


def is_action(fact: Fact) -> bool:
    return fact.kind in {"order.new", "order.replace"} or fact.customer_cancel


def order_rate_second(facts: list[Fact], figure: int = 300) -> set[str]:
    found = set()
    for (account, _), rows in grouped(facts, CN_EQUITIES, {"market_maker"}, by_account_day).items():
        times = [row.time_ns for row in rows if is_action(row)]
        first = 0
        for i, time_ns in enumerate(times):
            while times[first] <= time_ns - SECOND_NS:
                first += 1
            if i - first + 1 >= figure:
                found.add(account)
    return found


def busy_seconds(
    groups: dict[Any, list[Fact]], actions_min: int, actions_below: int, times_min: int = 10
) -> set[str]:
    """Return the accounts with so many separate seconds on a day that are busy enough.

    A second begins with an action that is in no earlier one.
    """
    found = set()
    for (account, _), rows in groups.items():
        seconds: list[list[int]] = []
        for row in filter(is_action, rows):
            if not seconds or row.time_ns >= seconds[-1][0] + SECOND_NS:
                seconds.append([])
            seconds[-1].append(row.time_ns)
        if sum(actions_min <= len(second) < actions_below for second in seconds) >= times_min:
            found.add(account)
    return found


def near_threshold(facts: list[Fact]) -> set[str]:
    return busy_seconds(grouped(facts, CN_EQUITIES, {"market_maker"}, by_account_day), 240, 300)


def programme_reporting(facts: list[Fact], actions_min: int = 10) -> set[str]:
    return busy_seconds(grouped(facts, CN_FUTURES, set(), by_account_day), actions_min, 10**9)


def order_rate_day(facts: list[Fact], figure: int = 20_000) -> set[str]:
    groups = grouped(facts, CN_EQUITIES, {"market_maker"}, by_account_day)
    return {account for (account, _), rows in groups.items() if sum(map(is_action, rows)) >= figure}


def instant_cancels(facts: list[Fact]) -> tuple[set[str], set[str]]:
    """Return who breaks the rule at some moment, and who does at the end of the day."""
    ever, at_close = set(), set()
    for (account, _), rows in grouped(facts, CN_EQUITIES, {"market_maker"}, by_account_day).items():
        entered = cancelled = instant = 0
        broken = False
        for row in rows:
            entered += row.kind == "order.new"
            cancelled += row.customer_cancel
            instant += row.customer_cancel and row.age_ns <= SECOND_NS
            broken = entered >= 50 and instant >= 10 and cancelled * 100 >= 80 * entered
            if broken:
                ever.add(account)
        if broken:
            at_close.add(account)
    return ever, at_close


def is_index_future(fact: Fact) -> bool:
    return fact.venue == "CCFX" and fact.instrument.startswith(INDEX_FUTURES)


def futures_cancels(facts: list[Fact]) -> tuple[set[str], set[str]]:
    """Return who breaks the general figure, and who that of index futures."""
    general, index = set(), set()
    for (account, _, _), rows in grouped(
        facts, CN_FUTURES, {"market_maker", "hedge"}, by_contract_day
    ).items():
        count = sum(row.customer_cancel for row in rows)
        if is_index_future(rows[0]):
            if count >= 400:
                index.add(account)
        elif count >= 500:
            general.add(account)
    return general, index


def futures_large_cancels(facts: list[Fact]) -> set[str]:
    groups = grouped(facts, CN_FUTURES, {"market_maker", "hedge"}, by_contract_day)
    return {
        account
        for (account, _, _), rows in groups.items()
        if sum(row.customer_cancel and row.quantity >= 300 for row in rows) >= 50
    }


def party_of(account: str, behind: tuple[str, str], other: str, others: tuple[str, str]) -> str:
    """Say what two accounts are together; empty for strangers."""
    if behind[1] and behind[1] == others[1]:
        return "group " + behind[1]
    if behind[0] and behind[0] == others[0]:
        return "owner " + behind[0]
    return "account " + account if account == other else ""


def self_trades(
    facts: list[Fact], venues: set[str], exempting: set[str], figure: int = 5
) -> set[str]:
    """Return the accounts of parties that traded with themselves so often in a contract and day.

    A trade is known by its id in its instrument; told by both sides, it counts once.
    """
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    accounts: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    firsts: dict[tuple[str, str], Fact] = {}
    for fact in facts:
        if fact.kind != "fill" or fact.venue not in venues:
            continue
        first = firsts.setdefault((fact.instrument, fact.fill_id), fact)
        if first is not fact and first.counter:
            continue  # counted when it was first told
        if first is fact and not fact.counter:
            continue  # nobody knows yet with whom
        other, others, on_file = (
            (fact.counter, fact.counter_behind, fact.counter_registered)
            if first is fact
            else (first.account, first.behind, first.registered)
        )
        party = party_of(fact.account, fact.behind, other, others)
        if party and not (fact.registered | on_file) & exempting:
            key = (party, fact.instrument, fact.day)
            counts[key] += 1
            accounts[key] |= {fact.account, other}
    return set().union(*(accounts[key] for key, count in counts.items() if count >= figure))


@dataclass
class Sides:
    """Who newly is known to have made a trade, and the other side as far as it is known."""

    fresh: set[str]
    is_first: bool
    other: str = ""
    others: tuple[str, str] = ("", "")
    on_file: set[str] = field(default_factory=set)


def sided_trades(facts: list[Fact], venues: set[str]) -> Iterable[tuple[Fact, Sides]]:
    """Yield each trade when it is first told, and again when the other side becomes known."""
    firsts: dict[tuple[str, str], Fact] = {}
    for fact in facts:
        if fact.kind != "fill" or fact.venue not in venues:
            continue
        first = firsts.setdefault((fact.instrument, fact.fill_id), fact)
        if first is fact:
            fresh = {fact.account, fact.counter} - {""}
            yield (
                fact,
                Sides(fresh, True, fact.counter, fact.counter_behind, fact.counter_registered),
            )
        elif not first.counter:
            fresh = {fact.account} - {first.account}
            yield fact, Sides(fresh, False, first.account, first.behind, first.registered)


def paired_trading(
    facts: list[Fact], venues: set[str], exempting: set[str], figure: int = 10
) -> set[str]:
    """Return the accounts of pairs that traded mostly with each other, and both ways.

    At some moment of the day, after a trade between two accounts that are no one party: at least so
    many, half of all that either traded in the instrument, and half of one way came back.
    """
    found: set[str] = set()
    traded: dict[tuple[str, str, str], int] = defaultdict(int)
    bought: dict[tuple[str, str, str, str], Decimal] = defaultdict(Decimal)
    times: dict[tuple[frozenset[str], str, str], int] = defaultdict(int)
    for fact, sides in sided_trades(facts, venues):
        place = fact.instrument, fact.day
        for account in sides.fresh:
            traded[account, *place] += 1
        two = frozenset({fact.account, sides.other})
        if not sides.other or party_of(fact.account, fact.behind, sides.other, sides.others):
            continue
        times[two, *place] += 1
        ends = (fact.account, sides.other)
        bought[(*(ends if fact.side == "buy" else ends[::-1]), *place)] += fact.quantity
        less, more = sorted((bought[(*ends, *place)], bought[(*ends[::-1], *place)]))
        is_most = all(2 * times[two, *place] >= traded[one, *place] for one in two)
        is_exempt = (fact.registered | sides.on_file) & exempting
        if times[two, *place] >= figure and is_most and 2 * less >= more and not is_exempt:
            found |= two
    return found


def local_close_ns(fact: Fact, clock: tuple[int, int]) -> int:
    """Return when it is ``clock`` on the fact's day at its venue."""
    day = datetime.fromisoformat(fact.day).replace(tzinfo=ZoneInfo(ZONES[fact.venue]))
    return int(day.replace(hour=clock[0], minute=clock[1]).timestamp()) * SECOND_NS


def moved_windows(
    facts: list[Fact],
    venues: set[str],
    clock: tuple[int, int] | None,
    length_s: int,
    move: Fraction,
) -> set[str]:
    """Return who net bought or sold 40 % of a window in which the price went with it.

    One window a day that ends at ``clock``, or one after another, each from a trade on.
    """
    by_day: dict[tuple[str, str], list[tuple[Fact, Sides]]] = defaultdict(list)
    for fact, sides in sided_trades(facts, venues):
        by_day[fact.instrument, fact.day].append((fact, sides))
    found: set[str] = set()
    for trades in by_day.values():
        before, at = None, 0
        while at < len(trades):
            first = trades[at][0]
            begins = first.time_ns
            ends = begins + length_s * SECOND_NS
            if clock is not None:
                ends = local_close_ns(first, clock) + 1
                begins = ends - length_s * SECOND_NS
            inside = [one for one in trades[at:] if begins <= one[0].time_ns < ends]
            if begins <= first.time_ns < ends:
                found |= who_moved(inside, before, move)
            at += max(1, len(inside) if begins <= first.time_ns else 1)
            before = trades[at - 1][0].price
    return found


def who_moved(inside: list[tuple[Fact, Sides]], before: Decimal | None, move: Fraction) -> set[str]:
    last = inside[-1][0].price
    if before is None or last is None or abs(last - before) < move * Fraction(before):
        return set()
    volume = sum((f.quantity for f, sides in inside if sides.is_first), Decimal(0))
    net: dict[str, Decimal] = defaultdict(Decimal)
    times: dict[str, int] = defaultdict(int)
    for fact, sides in inside:
        for account in sides.fresh:
            exempt = fact.registered if account == fact.account else sides.on_file
            if "market_maker" in exempt:
                continue
            bought = (fact.side == "buy") == (account == fact.account)
            net[account] += fact.quantity if bought else -fact.quantity
            times[account] += 1
    way = 1 if last > before else -1
    return {one for one in net if times[one] >= 5 and way * net[one] * 10 >= 4 * volume}


def layering(facts: list[Fact], figure: int = 3) -> set[str]:
    """Return the accounts with so many episodes in a contract and day.

    An episode: three orders or more rest at several prices, 1.5 times what rests or trades on the
    other side; within 10 s the customer withdraws 70 % of that and enters nothing in its place.
    """
    venues = {fact.venue for fact in facts}
    groups = grouped(facts, venues, {"market_maker"}, by_contract_day)
    return {key[0] for key, rows in groups.items() if episodes_of(rows) >= figure}


def episodes_of(rows: list[Fact]) -> int:
    found, free_ns = 0, 0
    resting: dict[str, tuple[str, Decimal | None, Decimal]] = {}
    for at, row in enumerate(rows):
        if row.kind == "fill" and row.time_ns > free_ns:
            there = [one for one in resting.values() if one[0] != row.side]
            rested = sum((left for _, _, left in there), Decimal(0))
            beside = sum(left for side, _, left in resting.values() if side == row.side)
            beside = max(beside, row.quantity)
            if len({price for _, price, _ in there}) >= 3 and 2 * rested >= 3 * beside:
                free_ns = row.time_ns + 10 * SECOND_NS
                found += 10 * net_withdrawn(rows[at + 1 :], row, free_ns) >= 7 * rested
        if row.kind == "order.new":
            resting[row.order_id] = (row.side, row.price, row.quantity)
        elif row.order_id in resting:
            side, price, left = resting.pop(row.order_id)
            left = row.quantity if row.kind == "order.replace" else left - row.quantity
            if left > 0:
                resting[row.order_id] = (side, price, left)
    return found


def net_withdrawn(rows: list[Fact], fill: Fact, until_ns: int) -> Decimal:
    """Return what is withdrawn opposite a fill, less what is entered there. No replaces here."""
    withdrawn = Decimal(0)
    for row in rows:
        if row.time_ns <= until_ns and row.side != fill.side:
            withdrawn += row.quantity if row.customer_cancel else 0
            withdrawn -= row.quantity if row.kind == "order.new" else 0
    return withdrawn


def quote_stuffing(facts: list[Fact], figure: int = 3) -> set[str]:
    """Return the accounts with so many bursts in a contract and day.

    A burst: within a second 100 orders, replaces and cancels of orders entered in it that are no
    older than a second; 90 % of its orders are withdrawn so, and 5 % trade at most.
    """
    venues = {fact.venue for fact in facts}
    groups = grouped(facts, venues, {"market_maker"}, by_contract_day)
    return {
        key[0] for key, rows in groups.items() if len(rows) >= 100 and bursts_of(rows) >= figure
    }


def bursts_of(rows: list[Fact]) -> int:
    """Count bursts one after another; whoever stuffs here rests for two seconds in between."""
    found = free_ns = 0
    for at, row in enumerate(rows):
        near = [one for one in rows[max(0, at - 700) : at + 1] if entered_ns(one) >= free_ns]
        window = [one for one in near if entered_ns(one) > row.time_ns - SECOND_NS]
        entries = [one.time_ns for one in window if one.kind in {"order.new", "order.replace"}]
        if entries and len(window) - sum(one.kind == "fill" for one in window) >= 100:
            free_ns = min(entries) + SECOND_NS
            burst = [one for one in rows if min(entries) <= entered_ns(one) < free_ns]
            count = Counter(one.kind for one in burst)
            entered = count["order.new"] + count["order.replace"]
            withdrawn = count["order.cancel"] + count["order.replace"]
            found += 10 * withdrawn >= 9 * entered and 20 * count["fill"] <= entered
    return found


def entered_ns(row: Fact) -> int:
    """Return when a message counts, a quick cancel with its order; -1: it does not."""
    if row.kind != "order.cancel":
        return row.time_ns
    is_quick = row.customer_cancel and row.age_ns <= SECOND_NS
    return row.time_ns - row.age_ns if is_quick else -1


def dormant_reactivation(facts: list[Fact], figure: int = 30) -> set[str]:
    """Return who enters so many orders, or trades so often, within a day after 90 of rest."""
    found: set[str] = set()
    last: dict[str, int] = {}
    since: dict[str, tuple[int, Counter[str]]] = {}
    for fact in facts:
        if fact.kind == "order.cancel" and not fact.customer_cancel:
            continue
        now = fact.time_ns
        if now - last.get(fact.account, now) >= 90 * 86_400 * SECOND_NS:
            since[fact.account] = now, Counter()
        last[fact.account] = max(now, last.get(fact.account, 0))
        returned, count = since.get(fact.account, (0, Counter()))
        count[fact.kind] += returned <= now < returned + 86_400 * SECOND_NS
        if count["order.new"] >= figure or count["fill"] >= figure:
            found.add(fact.account)
    return found


def order_to_trade(
    facts: list[Fact], ratio_max: int, *, by_volume: bool
) -> tuple[set[str], set[str]]:
    """Return who breaks the rule at some moment, and who does at the end of the day."""
    ever, at_close = set(), set()
    weights = {"order.new": 1, "order.replace": 2, "order.cancel": 1}
    for (account, _, _), rows in grouped(facts, EU, {"market_maker"}, by_contract_day).items():
        ordered = traded = Fraction(0)
        broken = False
        for row in rows:
            if row.kind == "order.cancel" and (not row.customer_cancel or row.kill_switch):
                continue
            amount = Fraction(row.quantity) if by_volume else Fraction(1)
            if row.kind == "fill":
                traded += amount
            else:
                ordered += weights[row.kind] * amount
            if traded:
                broken = ordered / traded - 1 > ratio_max
            else:
                # A volume has no number of orders to be compared with the maximum.
                broken = not by_volume and ordered > ratio_max
            if broken:
                ever.add(account)
        if broken:
            at_close.add(account)
    return ever, at_close


def closed_round_trips(fills: list[Fact]) -> list[Decimal]:
    """Return what each closed round trip of one account in one instrument earned."""
    earned = []
    position = money = Decimal(0)
    for fill in fills:
        assert fill.price is not None
        signed = fill.quantity if fill.side == "buy" else -fill.quantity
        if position and position * signed < 0 and abs(signed) >= abs(position):
            money += position * fill.price
            earned.append(money)
            signed += position
            position = money = Decimal(0)
        position += signed
        money -= signed * fill.price
    return earned


def win_rate(facts: list[Fact], units_min: int = 10) -> set[str]:
    """Return the simulated accounts above 90 % after some closed round trip."""
    found = set()
    fills_of: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    trips: dict[str, int] = defaultdict(int)
    wins: dict[str, int] = defaultdict(int)
    for fact in facts:
        if fact.kind != "fill" or not fact.simulated:
            continue
        fills = fills_of[fact.account, fact.instrument]
        before = len(closed_round_trips(fills))
        fills.append(fact)
        earned = closed_round_trips(fills)
        if len(earned) > before:
            trips[fact.account] += 1
            wins[fact.account] += earned[-1] > 0
            # What is closed stays closed: forget the fills unless one turned the position.
            if sum(f.quantity if f.side == "buy" else -f.quantity for f in fills) == 0:
                fills.clear()
            if (
                trips[fact.account] >= units_min
                and wins[fact.account] * 10 > 9 * trips[fact.account]
            ):
                found.add(fact.account)
    return found


def evaluate_facts(facts: list[Fact], *, at_close: bool) -> dict[str, set[str]]:
    """Return rule id -> the accounts that break it, at some moment or as it stands at the end."""
    which = int(at_close)
    general, index = futures_cancels(facts)
    return {
        "cn.order_rate.second": order_rate_second(facts),
        "cn.order_rate.day": order_rate_day(facts),
        "cn.order_rate.near_threshold": near_threshold(facts),
        "cn.instant_cancels": instant_cancels(facts)[which],
        "cn.futures.cancels": general,
        "cn.futures.cancels.index": index,
        "cn.futures.large_cancels": futures_large_cancels(facts),
        "cn.futures.programme_reporting": programme_reporting(facts),
        "cn.futures.self_trading": self_trades(facts, CN_FUTURES, {"market_maker", "hedge"}),
        "eu.otr.number": order_to_trade(facts, 100, by_volume=False)[which],
        "eu.otr.volume": order_to_trade(facts, 1000, by_volume=True)[which],
        "source.win_rate": win_rate(facts),
        "surveillance.dormant_reactivation": dormant_reactivation(facts),
        "surveillance.layering": layering(facts),
        "surveillance.marking_the_close.cn": moved_windows(
            facts, CN_EQUITIES, (15, 0), 600, Fraction(5, 1_000)
        ),
        "surveillance.marking_the_close.eu": moved_windows(
            facts, EU_CLOSING_LATE, (17, 35), 600, Fraction(5, 1_000)
        ),
        "surveillance.ramping": moved_windows(facts, CN_EQUITIES | EU, None, 180, Fraction(4, 100)),
        "surveillance.paired_trading": paired_trading(facts, CN_EQUITIES | EU, {"market_maker"}),
        "surveillance.quote_stuffing": quote_stuffing(facts),
        "surveillance.self_trading": self_trades(facts, CN_EQUITIES | EU, {"market_maker"}),
    }


def evaluate(lines: Iterable[bytes | str]) -> dict[str, set[str]]:
    """Return rule id -> the accounts that break it at some moment."""
    return evaluate_facts(read_facts(lines), at_close=False)


def evaluate_at_close(lines: Iterable[bytes | str]) -> dict[str, set[str]]:
    """Return rule id -> the accounts that stand as having broken it when their day is over."""
    return evaluate_facts(read_facts(lines), at_close=True)
