"""What an alert says would have prevented it does prevent it: replayed with changed events.

Cancels are turned into resting orders (the cancel is taken out), actions are taken out, wins are
turned into losses by moving the price of a closing fill, and layering's fills on the other side are
taken out. With one change fewer the alert stands.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
import pytest

from detectors.core.registry import build_detectors
from lab.plants_table import findings_of
from lab.simulator import Market, SimulatorConfig, plant_names
from schemas.alerts import Finding

NEAR = "busy_seconds.near_threshold"
LIGHT = tuple(name for name in plant_names() if name not in {"order_rate.day", NEAR})
SEEDS = (3, 21)
DETECTORS = build_detectors()
VENUES = {detector.rule.id: detector.rule.venues for detector in DETECTORS}
WINDOWS = {"marking_the_close", "ramping"}
CUSTOMERS = {"user", "unknown", "kill_switch"}
ACTIONS = {"order.new", "order.replace", "order.cancel"}
Event = dict[str, Any]


@cache
def day(seed: int) -> dict[str, tuple[Event, ...]]:
    """Return the events of each account on which something alerts, of a simulated day."""
    config = SimulatorConfig(
        events=84_000, accounts=2_200, seed=seed, plants=LIGHT, strengths=(1.0, 1.2, 3.0)
    )
    by_account: dict[str, list[Event]] = defaultdict(list)
    for line in b"".join(Market(config).blocks()).splitlines():
        event = orjson.loads(line)
        by_account[event.get("account_id", "")].append(event)
    everybody = [event for events in by_account.values() for event in events]
    everybody.sort(key=lambda event: event["event_time_ns"])
    alerted = {finding.account_id for finding in raised(everybody)}
    return {account: tuple(by_account[account]) for account in sorted(alerted)}


def raised(events: tuple[Event, ...] | list[Event]) -> list[Finding]:
    findings = findings_of([b"".join(orjson.dumps(e) + b"\n" for e in events)], DETECTORS)
    return [f for f in findings if f.phase in {"opening", "provisional"}]


def until(events: tuple[Event, ...], finding: Finding) -> list[Event]:
    if finding.trigger[0] == "trading_day":  # the end of a window brought it about
        return [event for event in events if event["event_time_ns"] <= finding.event_time_ns]
    ids = [event["event_id"] for event in events]
    return list(events[: ids.index(finding.trigger[1]) + 1])


def fires(events: list[Event], finding: Finding) -> bool:
    same = (finding.rule.id, finding.subject, finding.trading_day)
    return any((f.rule.id, f.subject, f.trading_day) == same for f in raised(events))


def without_last(events: list[Event], is_meant: Callable[[Event], bool], k: int) -> list[Event]:
    """Take out the last k events that are meant."""
    meant = [i for i, event in enumerate(events) if is_meant(event)]
    gone = set(meant[len(meant) - k :])
    return [event for i, event in enumerate(events) if i not in gone]


def orders_of(events: list[Event]) -> dict[str, Event]:
    return {e["order_id"]: e for e in events if e["kind"] == "order.new"}


def meant_by(finding: Finding, events: list[Event]) -> Callable[[Event], bool]:
    """Return which events the counterfactual of a counting rule speaks of."""
    orders = orders_of(events)

    def is_own(event: Event) -> bool:
        order = orders.get(event.get("order_id", ""))
        if order is None or order["venue"] not in (VENUES[finding.rule.id] or [order["venue"]]):
            return False
        return finding.instrument in (None, order["instrument"])

    def is_cancel(event: Event) -> bool:
        return is_own(event) and event["kind"] == "order.cancel" and event["reason"] in CUSTOMERS

    def is_large(event: Event) -> bool:
        order = orders.get(event.get("order_id", ""))
        assert order is not None
        filled = sum(
            e["quantity"] for e in events
            if e["kind"] == "fill" and e["order_id"] == event["order_id"]
        )  # fmt: skip
        return event.get("quantity", order["quantity"] - filled) >= 300

    if finding.detector == "order_rate":
        return lambda e: e["kind"] in ACTIONS and (e["kind"] != "order.cancel" or is_cancel(e))
    if finding.detector == "large_cancels":
        return lambda e: is_cancel(e) and is_large(e)
    return is_cancel


def change(finding: Finding, events: list[Event], k: int) -> list[Event]:
    """Undo k of what the counterfactual speaks of, the last ones first."""
    if finding.detector in {"win_rate", "certified_win_rate"}:
        return with_losses(events, k)
    if finding.detector in WINDOWS:
        is_own = {"kind": "fill", "instrument": finding.instrument}.items()
        return without_last(events, lambda event: is_own <= event.items(), k)
    if finding.detector == "layering":
        is_there = {"kind": "fill", "instrument": finding.instrument}.items()
        return without_last(events, lambda event: is_there <= event.items(), k)
    if finding.detector in CHANGES:
        return CHANGES[finding.detector](finding, events, k)
    if finding.detector == "instant_cancels":
        # Slow cancels first: the figure of the instantaneous ones is another condition.
        orders, is_meant = orders_of(events), meant_by(finding, events)

        def is_slow(event: Event) -> bool:
            if not is_meant(event):
                return False
            return event["event_time_ns"] - orders[event["order_id"]]["event_time_ns"] > 10**9

        slow = sum(map(is_slow, events))
        kept = without_last(events, is_slow, min(k, slow))
        return without_last(kept, is_meant, max(0, k - slow))
    return without_last(events, meant_by(finding, events), k)


def without_busy_seconds(finding: Finding, events: list[Event], k: int) -> list[Event]:
    """Take out all actions of the last k seconds with as many of them as the alert speaks of."""
    known = finding.evidence
    venues = VENUES[finding.rule.id]
    orders = orders_of(events)
    seconds: list[list[Event]] = []
    for event in events:
        order = orders.get(event.get("order_id", ""))
        is_own = order is not None and order["venue"] in venues and event["kind"] in ACTIONS
        if not is_own or event.get("reason", "user") not in CUSTOMERS:
            continue
        if not seconds or event["event_time_ns"] >= seconds[-1][0]["event_time_ns"] + 10**9:
            seconds.append([])
        seconds[-1].append(event)
    below = known["actions_max"] or len(events) + 1
    busy = [second for second in seconds if known["actions_min"] <= len(second) < below]
    gone = {event["event_id"] for second in busy[len(busy) - k :] for event in second}
    return [event for event in events if event["event_id"] not in gone]


def without_bursts(finding: Finding, events: list[Event], k: int) -> list[Event]:
    """Take out all messages of the last k bursts, which others do not touch."""
    own = {name for name, order in orders_of(events).items()
           if order["instrument"] == finding.instrument}  # fmt: skip
    bursts: list[list[Event]] = []
    for event in events:
        if event["kind"] in ACTIONS and event["order_id"] in own:
            if not bursts or event["event_time_ns"] > bursts[-1][-1]["event_time_ns"] + 10**9:
                bursts.append([])
            bursts[-1].append(event)
    dense = [burst for burst in bursts if len(burst) >= finding.evidence["messages_min"]]
    gone = {event["event_id"] for burst in dense[len(dense) - k :] for event in burst}
    return [event for event in events if event["event_id"] not in gone]


def without_entries(finding: Finding, events: list[Event], k: int) -> list[Event]:
    """Take out the last k orders, or fills."""
    kind = {"orders": "order.new", "fills": "fill"}[finding.counterfactual["quantity"]]
    return without_last(events, lambda event: event["kind"] == kind, k)


CHANGES: dict[str, Callable[[Finding, list[Event], int], list[Event]]] = {
    "busy_seconds": without_busy_seconds,
    "dormant_reactivation": without_entries,
    "quote_stuffing": without_bursts,
}


def with_losses(events: list[Event], k: int) -> list[Event]:
    """Turn the last k won round trips into lost ones: the closing fill gets nothing for it."""
    changed = list(events)
    left = k
    for i in reversed(range(len(changed))):
        event = changed[i]
        if left and event["kind"] == "fill" and float(event.get("realized_pnl", 0)) > 0:
            changed[i] = event | {"price": "0.01", "realized_pnl": "-1"}
            left -= 1
    assert left == 0
    return changed


def changes_claimed(finding: Finding) -> int:
    """Return how many changes the counterfactual says are enough."""
    claim = finding.counterfactual
    return int(claim["observed"]) - int(claim["at_most"])


@pytest.mark.parametrize("seed", SEEDS)
def test_what_would_have_prevented_an_alert_prevents_it(seed: int) -> None:
    checked: Counter[str] = Counter()
    windows = 0
    for events in day(seed).values():
        for finding in raised(events):
            if finding.detector in {"order_to_trade", "self_trading", "paired_trading"}:
                continue  # a message weighs more than one, a trade is two accounts': see below
            so_far = until(events, finding)
            k = changes_claimed(finding)
            assert k >= 1, finding.counterfactual
            assert not fires(change(finding, so_far, k), finding), finding
            if finding.detector in WINDOWS:
                windows += 1  # the price goes less far with each trade less, whatever their number
                continue
            assert fires(change(finding, so_far, k - 1), finding), finding
            checked[finding.rule.id] += 1
    print(dict(checked))  # noqa: T201 - shows how many were looked at
    assert sum(checked.values()) >= 40
    assert windows >= 12
    assert len(checked) == 11


def test_an_alert_on_seconds_near_the_threshold_ends_with_them() -> None:
    config = SimulatorConfig(
        events=9_000, accounts=400, seed=5, plants=(NEAR,), strengths=(1.0, 1.2)
    )
    events = [orjson.loads(line) for line in b"".join(Market(config).blocks()).splitlines()]
    findings = raised(events)
    assert [f.rule.id for f in findings] == ["cn.order_rate.near_threshold"] * 2
    for finding in findings:
        own = tuple(e for e in events if e.get("account_id") == finding.account_id)
        so_far = until(own, finding)
        assert changes_claimed(finding) == 1
        assert fires(change(finding, so_far, 0), finding)
        assert not fires(change(finding, so_far, 1), finding)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_an_order_to_trade_alert_ends_at_the_orders_it_names(seed: int) -> None:
    """Messages are taken out from the end until their weight is what the alert says."""
    checked = 0
    for events in day(seed).values():
        for finding in raised(events):
            if finding.detector != "order_to_trade":
                continue
            so_far = until(events, finding)
            by_number = finding.evidence["measure"] == "number"
            surplus = changes_claimed(finding)
            orders = orders_of(so_far)
            kept = list(so_far)
            taken = 0
            while taken < surplus:
                event = kept.pop()
                if event["kind"] not in ACTIONS:
                    continue
                order = orders[event["order_id"]]
                if order["instrument"] != finding.instrument:
                    continue
                assert fires([*kept, event], finding) == (kept == so_far[:-1] or taken < surplus)
                weight = 2 if event["kind"] == "order.replace" else 1
                amount = 1 if by_number else event.get("quantity", order["quantity"]) * 10**8
                taken += weight * amount
            assert not fires(kept, finding)
            checked += 1
    assert checked >= 10


@pytest.mark.parametrize(
    "plants",
    [
        ("self_trading.owner", "self_trading.group"),
        ("paired_trading.trades", "paired_trading.share", "paired_trading.round"),
    ],
    ids=["self-trading", "paired trading"],
)
def test_an_alert_on_trades_of_two_ends_with_those_it_names(plants: tuple[str, ...]) -> None:
    """Trades are taken out from the end, both their sides."""
    strengths = (1.0, 1.2, 3.0)
    config = SimulatorConfig(
        events=10_000, accounts=400, seed=5, plants=plants, strengths=strengths
    )
    events = [orjson.loads(line) for line in b"".join(Market(config).blocks()).splitlines()]
    findings = raised(events)
    parties = {f.evidence.get("party", {"counted_by": ""})["counted_by"] for f in findings}
    is_of_parties = plants[0].startswith("self_trading")
    assert parties == ({"beneficial_owner", "control_group"} if is_of_parties else {""})
    assert len(findings) == len(plants) * len(strengths)
    for finding in findings:
        party = {one["account_id"] for one in finding.evidence["accounts"]}
        own = [e for e in events if e.get("account_id") in party]
        so_far = [e for e in own if e["event_time_ns"] <= finding.event_time_ns]  # both sides
        sides = Counter(e["fill_id"] for e in events if e["kind"] == "fill")
        trades = list(
            dict.fromkeys(
                e["fill_id"]
                for e in so_far
                if e["kind"] == "fill"
                and e["instrument"] == finding.instrument
                and sides[e["fill_id"]] > 1
            )
        )
        k = changes_claimed(finding)
        assert k >= 1
        for gone, expected in ((k, False), (k - 1, True)):
            out = set(trades[len(trades) - gone :])
            kept = [e for e in so_far if e.get("fill_id") not in out]
            assert fires(kept, finding) == expected
