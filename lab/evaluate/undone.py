"""What a counterfactual speaks of, undone in the events: the last ones first, positions stay.

Cancels are taken out, so that their orders rest; messages and trades are taken out; a round trip
that was won is lost by what its last fill is said to earn.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from detectors.core.contract import Detector
from lab.evaluate.replays import Event
from schemas.alerts import Finding
from schemas.events import SECOND_NS

ACTIONS: Final = frozenset({"order.new", "order.replace", "order.cancel"})
CUSTOMERS: Final = frozenset({"user", "unknown", "kill_switch"})  # whose cancels count
DAYS_BEFORE: Final = "it compares with days before, and there is one day"
_LOSS: Final = "-1000000000"  # earned at the end of a round trip that shall be lost
_E8: Final = 10**8


class NotApplicable(Exception):  # noqa: N818 - nothing failed: there is nothing to hold it to
    """Nothing in the events can be undone as the counterfactual has it; says why."""


class Account:
    """An alert's events, and what rules count among them.

    ``detector`` is the rule's.
    """

    def __init__(self, finding: Finding, events: Sequence[Event], detector: Detector) -> None:
        self.finding, self.events = finding, events
        self.params = detector.params
        self._venues = detector.rule.venues
        self._orders = {e["order_id"]: e for e in events if e["kind"] == "order.new"}
        self.left = self._left()

    def _left(self) -> dict[str, int]:
        """Return what each cancel withdrew, by event id."""
        held: dict[str, int] = {}
        withdrawn: dict[str, int] = {}
        for event in self.events:
            order = event.get("order_id", "")
            if event["kind"] in {"order.new", "order.replace"}:
                held[order] = event["quantity"]
            elif event["kind"] == "fill":
                held[order] = held.get(order, 0) - event["quantity"]
            elif event["kind"] == "order.cancel":
                withdrawn[event["event_id"]] = event.get("quantity", held.get(order, 0))
        return withdrawn

    def order_of(self, event: Event) -> Event:
        """Return the entry of an event's order; empty where there is none."""
        return self._orders.get(event.get("order_id", ""), {})

    def is_own(self, event: Event) -> bool:
        """Say whether the rule looks at an event's order."""
        order = self.order_of(event)
        if not order or order["account_id"] != self.finding.account_id:
            return False
        if self._venues and order["venue"] not in self._venues:
            return False
        return self.finding.instrument in {None, order["instrument"]}

    def is_cancel(self, event: Event) -> bool:
        """Say whether an event is a cancel that counts."""
        return (
            event["kind"] == "order.cancel" and event["reason"] in CUSTOMERS and self.is_own(event)
        )

    def is_action(self, event: Event) -> bool:
        """Say whether an event is an order, replace or cancel that counts."""
        if event["kind"] == "order.cancel":
            return self.is_cancel(event)
        return event["kind"] in ACTIONS and self.is_own(event)

    def is_fill(self, event: Event) -> bool:
        """Say whether an event is a fill in the alert's instrument."""
        return event["kind"] == "fill" and self.is_own(event)

    def age_ns(self, event: Event) -> int:
        """Return how long after its order's entry an event was."""
        age: int = event["event_time_ns"] - self.order_of(event)["event_time_ns"]
        return age

    def without_last(self, is_meant: Callable[[Event], bool], count: int) -> list[Event]:
        """Return the events without the last ``count`` of those that are meant.

        Raises
        ------
        NotApplicable
            There are fewer.
        """
        meant = [i for i, event in enumerate(self.events) if is_meant(event)]
        if len(meant) < count:
            raise NotApplicable("fewer such events than the counterfactual says")
        gone = set(meant[len(meant) - count :])
        return [event for i, event in enumerate(self.events) if i not in gone]

    def without(self, gone: Sequence[Event]) -> list[Event]:
        """Return the events without some."""
        ids = {event["event_id"] for event in gone}
        return [event for event in self.events if event["event_id"] not in ids]


Undoing = Callable[[Account, int], list[Event]]


def claimed(finding: Finding) -> int:
    """Return how many of what it speaks of have to be undone, as the counterfactual says."""
    claim = finding.counterfactual
    return int(claim["observed"]) - int(claim["at_most"])


def _cancels(account: Account, count: int) -> list[Event]:
    return account.without_last(account.is_cancel, count)


def _large_cancels(account: Account, count: int) -> list[Event]:
    least = account.finding.evidence["lots_min"]

    def is_large(event: Event) -> bool:
        return account.is_cancel(event) and account.left[event["event_id"]] >= least

    return account.without_last(is_large, count)


def _actions(account: Account, count: int) -> list[Event]:
    return account.without_last(account.is_action, count)


def _slow_cancels_first(account: Account, count: int) -> list[Event]:
    """Leave those within a second as long as there are others: they are another condition."""
    most = int(account.finding.evidence["age_max_ns"])
    cancels = [event for event in account.events if account.is_cancel(event)]
    slow = [event for event in cancels if account.age_ns(event) > most]
    if count > len(slow) + 1:
        raise NotApplicable("most of the cancels are within a second, which is another condition")
    if count <= len(slow):
        return account.without(slow[len(slow) - count :])
    last_quick = [event for event in cancels if account.age_ns(event) <= most][-1:]
    return account.without([*slow, *last_quick])


def _messages(account: Account, weight: int) -> list[Event]:
    """Take out cancels and replaces from the end, then orders that never traded.

    As many as ``weight`` is worth: a replace counts twice; by volume, times its quantity.
    """
    return account.without(_weighed(account, weight))


def _weighed(account: Account, weight: int) -> list[Event]:
    by_number = account.finding.evidence["measure"] == "number"
    traded = {e["order_id"] for e in account.events if e["kind"] == "fill"}
    own = [event for event in account.events if account.is_action(event)]
    later = [event for event in own if event["kind"] != "order.new"]
    entered = [e for e in own if e["kind"] == "order.new" and e["order_id"] not in traded]
    gone: list[Event] = []
    for event in [*entered, *later][::-1]:
        if weight <= 0:
            break
        quantity = 1 if by_number else _quantity(account, event)
        weight -= quantity * (2 if event["kind"] == "order.replace" else 1)
        gone.append(event)
    if weight > 0:
        raise NotApplicable("the rest of its messages are orders that traded")
    return gone


def _quantity(account: Account, event: Event) -> int:
    if event["kind"] == "order.cancel":
        return account.left[event["event_id"]] * _E8
    quantity: int = event["quantity"]
    return quantity * _E8


def _busy_seconds(account: Account, count: int) -> list[Event]:
    """Take out all actions of the last seconds with as many of them as the alert speaks of."""
    known = account.finding.evidence
    windows = _windows(account, int(known["window_ns"]))
    below = known["actions_max"] or len(account.events) + 1
    busy = [window for window in windows if known["actions_min"] <= len(window) < below]
    if len(busy) < count:
        raise NotApplicable("fewer such seconds than the counterfactual says")
    return account.without([event for window in busy[len(busy) - count :] for event in window])


def _windows(account: Account, length_ns: int) -> list[list[Event]]:
    windows: list[list[Event]] = []
    for event in filter(account.is_action, account.events):
        if not windows or event["event_time_ns"] >= windows[-1][0]["event_time_ns"] + length_ns:
            windows.append([])
        windows[-1].append(event)
    return windows


def _bursts(account: Account, count: int) -> list[Event]:
    """Take out all messages of the last bursts; between two there is more than a second."""
    bursts: list[list[Event]] = []
    for event in filter(account.is_action, account.events):
        if not bursts or event["event_time_ns"] > bursts[-1][-1]["event_time_ns"] + SECOND_NS:
            bursts.append([])
        bursts[-1].append(event)
    least = account.finding.evidence["messages_min"]
    dense = [burst for burst in bursts if len(burst) >= least]
    return account.without([event for burst in dense[len(dense) - count :] for event in burst])


def _layers(account: Account, count: int) -> list[Event]:
    """Let the orders rest that the last episode withdrew."""
    finding = account.finding
    if count > 1:
        raise NotApplicable("more than one episode")
    side, began_ns = finding.evidence["side_withdrawn"], _episode_ns(account)
    gone = [
        event
        for event in account.events
        if account.is_cancel(event)
        and account.order_of(event)["side"] == side
        and event["event_time_ns"] >= began_ns
    ]
    return account.without(gone if count else [])


def _episode_ns(account: Account) -> int:
    """Return when the last episode began: each further fill of it prolonged its window."""
    side = account.finding.evidence["side_withdrawn"]
    began_ns = account.finding.event_time_ns
    for event in reversed(account.events):
        if account.is_fill(event) and event["side"] != side:
            if event["event_time_ns"] < began_ns - account.params.window_ns:
                break
            began_ns = event["event_time_ns"]
    return began_ns


def _entries(account: Account, count: int) -> list[Event]:
    kind = {"orders": "order.new", "fills": "fill"}[account.finding.counterfactual["quantity"]]
    return account.without_last(lambda e: e["kind"] == kind and account.is_own(e), count)


def _fills(account: Account, count: int) -> list[Event]:
    return account.without_last(account.is_fill, count)


def _trades(account: Account, count: int) -> list[Event]:
    """Take out both sides of the last trades between the alert's accounts."""
    party = {one["account_id"] for one in account.finding.evidence["accounts"]}
    both: dict[str, set[str]] = {}
    for event in account.events:
        if event["kind"] == "fill" and event["instrument"] == account.finding.instrument:
            told = {event["account_id"], event.get("counter_account_id", event["account_id"])}
            both.setdefault(event["fill_id"], set()).update(told)
    trades = [fill for fill, accounts in both.items() if len(accounts & party) > 1]
    if len(trades) < count:
        raise NotApplicable("one side alone reported some of the trades")
    gone = set(trades[len(trades) - count :])
    return [event for event in account.events if event.get("fill_id") not in gone]


def _losses(account: Account, count: int) -> list[Event]:
    """Turn the last won units into lost ones, by what their last fill is said to earn."""
    changed = list(account.events)
    unit = account.finding.evidence["unit"]
    won = _won_round_trips(account) if unit == "round_trip" else _won_fills(account, unit)
    if len(won) < count:
        raise NotApplicable("fewer units were won than the counterfactual says")
    for place in won[len(won) - count :]:
        changed[place] = changed[place] | {"realized_pnl": _LOSS}
    return changed


def _won_round_trips(account: Account) -> list[int]:
    """Return the places of the last fills of round trips that were won."""
    held: dict[str, int] = {}
    earned: dict[str, Decimal] = {}
    won: list[int] = []
    for place, event in _fills_of(account):
        name = event["instrument"]
        before = held.get(name, 0)
        after = before + event["quantity"] * (1 if event["side"] == "buy" else -1)
        held[name] = after
        earned[name] = earned.get(name, Decimal(0)) + _earned(event)
        if before and before * after <= 0:
            if earned[name] > 0:
                won.append(place)
            earned[name] = Decimal(0)
    return won


def _won_fills(account: Account, unit: str) -> list[int]:
    """Return the places of closing fills that won, or of the last ones of orders that did."""
    earned: dict[str, Decimal] = {}
    last: dict[str, int] = {}
    for place, event in _fills_of(account):
        if "realized_pnl" in event:
            name = event["order_id" if unit == "order" else "event_id"]
            earned[name] = earned.get(name, Decimal(0)) + _earned(event)
            last[name] = place
    return sorted(place for name, place in last.items() if earned[name] > 0)


def _fills_of(account: Account) -> list[tuple[int, Event]]:
    return [pair for pair in enumerate(account.events) if pair[1]["kind"] == "fill"]


def _earned(event: Event) -> Decimal:
    return Decimal(str(event.get("realized_pnl", 0)))


UNDOING: Final[dict[str, Undoing]] = {
    "busy_seconds": _busy_seconds,
    "cancel_count": _cancels,
    "certified_win_rate": _losses,
    "dormant_reactivation": _entries,
    "instant_cancels": _slow_cancels_first,
    "large_cancels": _large_cancels,
    "layering": _layers,
    "marking_the_close": _fills,
    "order_rate": _actions,
    "order_to_trade": _messages,
    "paired_trading": _trades,
    "quote_stuffing": _bursts,
    "ramping": _fills,
    "self_trading": _trades,
    "win_rate": _losses,
}


class Changed(NamedTuple):
    """The events with as much undone as the counterfactual says, and with one thing less."""

    enough: list[Event]
    one_short: list[Event]


def undo(finding: Finding, events: Sequence[Event], detector: Detector) -> Changed:
    """Undo what the counterfactual of an alert of this detector speaks of.

    Raises
    ------
    NotApplicable
        It cannot be done in these events.
    """
    make = UNDOING.get(finding.detector)
    if make is None:
        raise NotApplicable(DAYS_BEFORE)
    account, count = Account(finding, events, detector), claimed(finding)
    assert count >= 1, "an alert that needs nothing undone would not be there"
    if make is _messages:  # one message is worth more than one
        gone = _weighed(account, count)
        return Changed(account.without(gone), account.without(gone[:-1]))
    one_short = make(account, count - 1) if count > 1 else list(events)
    return Changed(make(account, count), one_short)
