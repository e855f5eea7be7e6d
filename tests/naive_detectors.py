"""The account stage and every rule in the plainest Python: dicts, lists and fractions.

``naive_steps(events, ...)`` says what each event means for its account; ``naive_findings`` says
what one rule finds in these steps. Both follow the words of the modules they check, not the code.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from naive_betting import Bank

from detectors.core import contract as c

E8 = 10**8
SECOND_NS = 10**9
DAY_NS = 86_400 * SECOND_NS
LINGER_NS = 60 * SECOND_NS
INT64_MAX = 2**63 - 1
Event = dict[str, Any]


@dataclass
class Step:
    """What one event means; ``None`` for one without effect stands in the list instead."""

    event: Event
    what: int
    contract: tuple[str, str, str] | None
    day: int
    time_ns: int
    quantity_e8: int = 0
    age_ns: int = -1
    pnl_e8: int = 0
    trip_pnl_e8: int = 0
    order_units: int = 0
    order_wins: int = 0
    registered: int = 0
    side: str | None = None
    price_e8: int = 0
    rest_change_e8: int = 0
    open_change: int = 0


@dataclass
class Order:
    contract: tuple[str, str, str]
    quantity: int
    entered_ns: int
    day: int
    force: str | None
    simulated: bool
    unseen: bool = False
    filled: int = 0
    filled_ns: int | None = None
    ended_ns: int = 0
    canceled: bool = False
    profits: list[int] = field(default_factory=list)
    side: str | None = None

    def standing(self, step: Step) -> tuple[int, int]:
        """Return what rests of it, and 1, where it is open and of the step's day."""
        is_open = not self.unseen and not self.done and self.day == step.day
        return (self.left, 1) if is_open else (0, 0)

    @property
    def left(self) -> int:
        return max(0, self.quantity - self.filled)

    @property
    def done(self) -> bool:
        return not self.unseen and self.left == 0

    def note(self, time_ns: int) -> None:
        if self.done:
            self.ended_ns = max(self.ended_ns, time_ns)


@dataclass
class Trip:
    position: int = 0
    cash: Fraction = Fraction(0)
    given: int = 0
    all_given: bool = True

    def book(self, side: str, price: int, quantity: int) -> None:
        signed = quantity if side == "buy" else -quantity
        self.position += signed
        self.cash -= Fraction(price, E8) * Fraction(signed, E8)

    def profit_e8(self) -> int:
        if self.all_given:
            return self.given
        exact = self.cash * E8
        cut = int(exact)  # towards zero
        if cut == 0 and exact != 0:
            return 1 if exact > 0 else -1
        return max(-INT64_MAX, min(INT64_MAX, cut))


def e8(value: Any) -> int:
    exact = Fraction(str(value)) * E8
    assert exact.denominator == 1
    return int(exact)


class Stage:
    """Everything known of all accounts, in dicts."""

    def __init__(self, *, lateness_ns: int, duplicate_window_ns: int, order_age_ns: int) -> None:
        self.lateness_ns, self.window_ns, self.age_ns = (
            lateness_ns, duplicate_window_ns, order_age_ns,
        )  # fmt: skip
        self.times: list[int] = []
        self.windows: dict[int, set[tuple[str, str]]] = defaultdict(set)
        self.orders: dict[tuple[str, str], Order] = {}
        self.trips: dict[tuple[str, str, str], Trip] = defaultdict(Trip)
        self.sends_trips: set[str] = set()
        self.on_file: dict[str, list[dict[str, Any]]] = {}

    def lane_time(self) -> int | None:
        """Return the highest time that two consecutive rows have both reached."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return max((min(pair) for pair in pairs), default=None)

    def is_accepted(self, event: Event) -> bool:
        self.times.append(event["event_time_ns"])
        lane_ns = self.lane_time()
        if lane_ns is not None and event["event_time_ns"] < lane_ns - self.lateness_ns:
            return False
        window = 0 if lane_ns is None else lane_ns // self.window_ns
        key = (event["source"], event["event_id"])
        if key in self.windows[window] or key in self.windows[window - 1]:
            return False
        self.windows[window].add(key)
        return "account_id" in event

    def find(self, account: str, order_id: str, time_ns: int) -> Order | None:
        order = self.orders.get((account, order_id))
        if order is None:
            return None
        is_old = time_ns > order.entered_ns + self.age_ns
        if is_old or (order.done and time_ns > order.ended_ns + LINGER_NS):
            del self.orders[account, order_id]
            return None
        return order

    def registered(self, step: Step) -> int:
        instrument = step.contract[1] if step.contract else None
        bits = 0
        for entry in self.on_file.get(step.event["account_id"], []):
            until = entry.get("valid_until_ns", INT64_MAX)
            covers = entry.get("instrument") in (None, instrument)
            if covers and entry["valid_from_ns"] <= step.time_ns < until:
                bits |= c.REGISTRATIONS[entry["registration"]]
        return bits

    def take(self, event: Event) -> Step | None:
        if not self.is_accepted(event):
            return None
        time_ns = event["event_time_ns"]
        what = c.SIMULATED if event.get("is_simulated") else 0
        step = Step(event, what, None, time_ns // DAY_NS, time_ns)
        handler = getattr(self, "on_" + event["kind"].replace(".", "_"), None)
        if handler is not None:
            handler(step, event, event["account_id"], time_ns)
        step.price_e8 = e8(event.get("price", 0))
        step.registered = self.registered(step)
        if event["kind"] == "ref.account":
            self.on_file[event["account_id"]] = event.get("registrations", [])
        return step

    def on_order_new(self, step: Step, event: Event, account: str, time_ns: int) -> None:
        step.contract = (account, event["instrument"], event["venue"])
        order = self.find(account, event["order_id"], time_ns)
        if order is not None and not order.unseen:
            return
        if order is None:
            order = self.orders[account, event["order_id"]] = Order(
                step.contract, 0, 0, 0, None, simulated=False
            )
        order.quantity = e8(event["quantity"])
        order.entered_ns, order.day = time_ns, step.day
        order.force = event.get("time_in_force")
        order.simulated, order.unseen = event.get("is_simulated", False), False
        order.side = step.side = event["side"]
        order.note(time_ns)
        self.rests(step, (0, 0), order)
        step.what |= c.NEW
        step.quantity_e8 = order.quantity

    def on_order_replace(self, step: Step, event: Event, account: str, time_ns: int) -> None:
        step.what |= c.REPLACE
        step.quantity_e8 = e8(event["quantity"])
        old = event.get("replaces_order_id", event["order_id"])
        order = self.find(account, old, time_ns)
        if order is None:
            step.what |= c.UNKNOWN_ORDER
            return
        step.contract = order.contract
        before = order.standing(step)
        gone = self.orders.get((account, event["order_id"]))
        is_another = gone is not None and gone is not order
        if is_another and (gone.contract, gone.side) == (order.contract, order.side):
            rest, count = gone.standing(step)
            before = (before[0] + rest, before[1] + count)
        del self.orders[account, old]
        self.orders[account, event["order_id"]] = order
        order.quantity = step.quantity_e8
        order.note(time_ns)
        self.rests(step, before, order)

    def on_order_cancel(self, step: Step, event: Event, account: str, time_ns: int) -> None:
        order = self.find(account, event["order_id"], time_ns)
        reason = event["reason"]
        customers = reason in {"user", "kill_switch"}
        if reason == "unknown":
            lapsed = order is not None and not order.unseen and order.force in {"ioc", "fok"}
            in_fill = order is not None and order.filled_ns == time_ns
            customers = not lapsed and not in_fill
        if order is not None:
            step.contract = order.contract
            step.what |= c.SIMULATED if order.simulated else 0
        if order is None or order.unseen:
            step.what |= c.UNKNOWN_ORDER
            step.quantity_e8 = e8(event.get("quantity", 0))
        else:
            step.age_ns = max(0, time_ns - order.entered_ns)
            step.quantity_e8 = order.left
            if "quantity" in event:
                step.quantity_e8 = min(e8(event["quantity"]), order.left)
            before = order.standing(step)
            customers = customers and not order.done
            if customers:
                if not order.canceled and order.day == step.day:
                    step.what |= c.FIRST_CANCEL
                order.canceled = True
            order.quantity -= step.quantity_e8
            self.rests(step, before, order)
            if order.left == 0:
                del self.orders[account, event["order_id"]]
        if customers:
            step.what |= c.CANCEL
            step.what |= c.REASON_UNKNOWN if reason == "unknown" else 0
            step.what |= c.KILL_SWITCH if reason == "kill_switch" else 0

    def on_order_reject(self, step: Step, event: Event, account: str, time_ns: int) -> None:
        order = self.find(account, event["order_id"], time_ns)
        if order is not None:
            step.contract = order.contract
            if not order.unseen:
                step.age_ns = max(0, time_ns - order.entered_ns)
            before = order.standing(step)
            order.quantity = order.filled
            self.rests(step, before, order)
            del self.orders[account, event["order_id"]]

    def rests(self, step: Step, before: tuple[int, int], order: Order) -> None:
        """Note what the step changed of what rests of an order."""
        after = order.standing(step)
        step.side = order.side
        step.rest_change_e8, step.open_change = after[0] - before[0], after[1] - before[1]
        step.what |= c.RESTS if step.rest_change_e8 else 0

    on_order_expire = on_order_reject

    def on_fill(self, step: Step, event: Event, account: str, time_ns: int) -> None:
        step.contract = (account, event["instrument"], event["venue"])
        step.what |= c.FILL
        step.quantity_e8 = e8(event["quantity"])
        pnl = e8(event["realized_pnl"]) if "realized_pnl" in event else None
        order = self.find(account, event["order_id"], time_ns)
        if order is None or order.unseen:
            step.what |= c.UNKNOWN_ORDER
        if order is None and pnl is not None:
            simulated = event.get("is_simulated", False)
            side = event["side"]
            order = Order(
                step.contract, 0, time_ns, step.day, None, simulated, unseen=True, side=side
            )
            self.orders[account, event["order_id"]] = order
        if order is not None and not order.unseen:
            step.age_ns = max(0, time_ns - order.entered_ns)
        if order is not None:
            before = order.standing(step)
            order.filled += step.quantity_e8
            order.filled_ns = time_ns
            order.note(time_ns)
            self.rests(step, before, order)
            step.what |= c.SIMULATED if order.simulated else 0
            if pnl is not None:
                before = sum(order.profits) > 0
                step.order_units = int(not order.profits)
                order.profits.append(pnl)
                step.order_wins = (sum(order.profits) > 0) - before
        if pnl is not None:
            step.what |= c.CLOSING
            step.pnl_e8 = pnl
        step.side = event["side"]
        self.trade(step, event, pnl)

    def trade(self, step: Step, event: Event, pnl: int | None) -> None:
        assert step.contract is not None
        trip = self.trips[step.contract]
        quantity, side = step.quantity_e8, event["side"]
        signed = quantity if side == "buy" else -quantity
        if trip.position == 0 and pnl is not None:
            return  # closes what was opened before we looked
        if trip.position * signed >= 0:
            trip.book(side, e8(event["price"]), quantity)
            return
        closing = min(quantity, abs(trip.position))
        trip.book(side, e8(event["price"]), closing)
        trip.given += pnl or 0
        trip.all_given = trip.all_given and pnl is not None
        if trip.position == 0:
            step.trip_pnl_e8 = trip.profit_e8()
            if event["account_id"] not in self.sends_trips:
                step.what |= c.TRIP
            rest = self.trips[step.contract] = Trip()
            if quantity > closing:
                rest.book(side, e8(event["price"]), quantity - closing)

    def on_position_closed(self, step: Step, event: Event, account: str, _: int) -> None:
        if account not in self.sends_trips:
            step.what |= c.TRIPS_RESTART
        self.sends_trips.add(account)
        step.what |= c.TRIP
        step.trip_pnl_e8 = e8(event["realized_pnl"])
        step.quantity_e8 = e8(event["quantity"])


def naive_steps(events: Sequence[Event], **config: int) -> list[Step | None]:
    stage = Stage(**config)
    return [stage.take(event) for event in events]


# Row (None: the day's end), phase, subject, numbers.
Found = tuple[int | None, str, Any, tuple[int, ...]]


def seen_by(steps: Sequence[Step | None], wanted: int, by: str) -> Iterator[tuple[int, Step, Any]]:
    """Yield (row, step, subject) of the steps that a rule without registrations looks at."""
    for row, step in enumerate(steps):
        if step is None or not step.what & wanted or step.registered & c.MARKET_MAKER:
            continue
        subject = step.event["account_id"] if by == "account" else step.contract
        if subject is not None:
            yield row, step, subject


def day_of(days: dict[Any, int], subject: Any, step: Step) -> int:
    """Return the day the step counts in: a subject's day never goes back."""
    days[subject] = max(days.get(subject, 0), step.day)
    return days[subject]


def count_day(
    steps: Sequence[Step | None], wanted: int, by: str, figure: int, quantity_min: int = 0
) -> list[Found]:
    found: list[Found] = []
    days: dict[Any, int] = {}
    counted: dict[Any, int] = defaultdict(int)
    due = {figure * 2**k: "growth" if k else "opening" for k in range(20)}
    for row, step, subject in seen_by(steps, wanted, by):
        if step.quantity_e8 < quantity_min:
            continue
        key = subject, day_of(days, subject, step)
        counted[key] += 1
        if counted[key] in due:
            found.append((row, due[counted[key]], subject, (counted[key], counted[key])))
    return found


def order_rate_second(
    steps: Sequence[Step | None], figure: int, window_ns: int = SECOND_NS
) -> list[Found]:
    found: list[Found] = []
    days: dict[Any, int] = {}
    times: dict[Any, list[int]] = defaultdict(list)
    today: dict[Any, dict[str, Any]] = {}
    for row, step, account in seen_by(steps, c.ACTION, "account"):
        day = day_of(days, account, step)
        state = today.setdefault((account, day), {"bursts": 0, "over": False, "told": None})
        times[account].append(max([step.time_ns, *times[account]]))
        now = times[account][-1]
        held = sum(t > now - window_ns for t in times[account])
        if held * 2 < figure:
            state["over"] = False
        if held < figure:
            continue
        state["bursts"] += not state["over"]
        state["over"] = True
        numbers = (held, figure, state["bursts"])
        if state["told"] is None:
            state["told"] = (2 * figure, 2)
            found.append((row, "opening", account, numbers))
            continue
        due, next_bursts = state["told"]
        if held >= due:
            state["told"] = (2 * due, next_bursts)
            found.append((row, "growth", account, (held, due, state["bursts"])))
        elif state["bursts"] >= next_bursts:
            state["told"] = (due, 2 * next_bursts)
            found.append((row, "growth", account, numbers))
    return found


def busy_seconds(
    steps: Sequence[Step | None], actions_min: int, times_min: int, actions_max: int = 0
) -> list[Found]:
    """Cut each account's day into windows of a second, then judge those that are busy."""
    days: dict[Any, int] = {}
    windows: dict[Any, list[list[tuple[int, int]]]] = defaultdict(list)
    for row, step, account in seen_by(steps, c.ACTION, "account"):
        of_day = windows[account, day_of(days, account, step)]
        if not of_day or step.time_ns >= of_day[-1][0][1] + SECOND_NS:
            of_day.append([])
        of_day[-1].append((row, step.time_ns))
    found: list[Found] = []
    due = {times_min * 2**k: "growth" if k else "opening" for k in range(20)}
    for (account, _), of_day in windows.items():
        counted = largest = 0
        for number, window in enumerate(of_day):
            actions = len(window)
            if actions_max:
                is_busy = actions_min <= actions < actions_max
                later = of_day[number + 1 : number + 2]
                row = later[0][0][0] if later else None
            else:
                is_busy, actions = actions >= actions_min, min(actions, actions_min)
                row = window[actions - 1][0]
            counted += is_busy
            if is_busy and counted in due:
                numbers = (counted, actions, max(largest, actions))
                found.append((row, due[counted], account, numbers))
            largest = max(largest, len(window))
    return found


def judged_by_day(
    steps: Sequence[Step | None], wanted: int, by: str, holds: Any, numbers: Any, skip: int = 0
) -> list[Found]:
    """Follow a rule that is provisional by day: ``holds`` and ``numbers`` of a day's steps."""
    found: list[Found] = []
    days: dict[Any, int] = {}
    so_far: dict[Any, list[Step]] = defaultdict(list)
    provisional: dict[Any, int] = {}

    def judge(subject: Any) -> None:
        if subject in provisional:
            day = provisional.pop(subject)
            rows = so_far[subject, day]
            phase = "confirmed" if holds(rows) else "withdrawn"
            found.append((None, phase, subject, numbers(rows)))

    for row, step, subject in seen_by(steps, wanted, by):
        if step.what & skip:
            continue
        before = days.get(subject)
        day = day_of(days, subject, step)
        if before is not None and day > before:
            judge(subject)
        so_far[subject, day].append(step)
        rows = so_far[subject, day]
        if subject not in provisional and holds(rows):
            provisional[subject] = day
            found.append((row, "provisional", subject, numbers(rows)))
    for subject in list(provisional):
        judge(subject)
    return found


def instant_numbers(age_max_ns: int = SECOND_NS) -> Any:
    def numbers(rows: list[Step]) -> tuple[int, ...]:
        cancels = [r for r in rows if r.what & c.FIRST_CANCEL]
        instant = sum(0 <= r.age_ns <= age_max_ns for r in cancels)
        return sum(bool(r.what & c.NEW) for r in rows), len(cancels), instant

    return numbers


def instant_cancels(
    steps: Sequence[Step | None], cancels_min: int, orders_min: int, ratio: Fraction
) -> list[Found]:
    numbers = instant_numbers()

    def holds(rows: list[Step]) -> bool:
        orders, cancels, instant = numbers(rows)
        return instant >= cancels_min and orders >= orders_min and cancels >= ratio * orders

    return judged_by_day(steps, c.NEW | c.FIRST_CANCEL, "account", holds, numbers)


def order_to_trade(
    steps: Sequence[Step | None], ratio_max: Fraction, *, by_number: bool
) -> list[Found]:
    def numbers(rows: list[Step]) -> tuple[int, ...]:
        orders = traded = 0
        for r in rows:
            amount = 1 if by_number else r.quantity_e8
            traded += amount if r.what & c.FILL else 0
            orders += 0 if r.what & c.FILL else amount * (2 if r.what & c.REPLACE else 1)
        return orders, traded

    def holds(rows: list[Step]) -> bool:
        orders, traded = numbers(rows)
        if traded == 0:
            return by_number and orders > ratio_max
        return Fraction(orders, traded) - 1 > ratio_max

    wanted = c.NEW | c.REPLACE | c.CANCEL | c.FILL
    return judged_by_day(steps, wanted, "contract", holds, numbers, skip=c.KILL_SWITCH)


def win_rate(
    steps: Sequence[Step | None], unit: str, min_units: int, threshold: Fraction
) -> list[Found]:
    """Find crossings, doublings and the first time it recedes."""
    found: list[Found] = []
    units: dict[Any, int] = defaultdict(int)
    wins: dict[Any, int] = defaultdict(int)
    told: dict[Any, dict[str, Any]] = {}
    wanted = c.TRIP if unit == "round_trip" else c.CLOSING
    for row, step, account in seen_by(steps, wanted, "account"):
        if unit == "round_trip" and step.what & c.TRIPS_RESTART:
            units[account] = wins[account] = 0
        if unit == "order":
            units[account] += step.order_units
            wins[account] += step.order_wins
        else:
            units[account] += 1
            pnl = step.trip_pnl_e8 if unit == "round_trip" else step.pnl_e8
            wins[account] += pnl > 0
        held, won = units[account], wins[account]
        is_above = held >= min_units and Fraction(won, held) > threshold
        state = told.get(account)
        phase = ""
        if state is None:
            if is_above:
                told[account] = {"next": 2 * held, "above": True, "receded": False}
                phase = "opening"
        else:
            if held >= state["next"]:
                state["next"] = 2 * held
                phase = "growth" if is_above else "receded"
            elif state["above"] and not is_above and not state["receded"]:
                state["receded"] = True
                phase = "receded"
            state["above"] = is_above
        if phase:
            found.append((row, phase, account, (held, won)))
    return found


def break_even(profits: Sequence[int]) -> float:
    """Return the share of wins at which such profits earn nothing, the largest loss once more.

    Beyond 200 gains or losses the past of these counts half.
    """
    means, counts = {True: 0.0, False: 0.0}, {True: 0, False: 0}
    for profit in profits:
        is_gain = profit > 0
        counts[is_gain] += 1
        means[is_gain] += (abs(profit) - means[is_gain]) / counts[is_gain]
        if counts[is_gain] > 200:
            counts[is_gain] //= 2
    if not counts[True] or not counts[False]:
        return 0.0
    loss = (means[False] * counts[False] - min(profits)) / (counts[False] + 1)
    return loss / (loss + means[True])


def certified_win_rate(
    steps: Sequence[Step | None], null_rate: float, budget: float
) -> list[Found]:
    """Find what bets on the next round trip's loss make of the budget; all but headroom."""
    found: list[Found] = []
    banks: dict[Any, Bank] = {}
    trips: dict[Any, list[bool]] = defaultdict(list)
    days: dict[Any, int] = {}
    alarmed: set[tuple[Any, int]] = set()
    profits: dict[Any, list[int]] = defaultdict(list)
    for row, step, account in seen_by(steps, c.TRIP, "account"):
        day = days[account] = max(days.get(account, step.day), step.day)
        bank = banks.setdefault(account, Bank(budget))
        if step.what & c.TRIPS_RESTART:
            trips[account].clear()
            profits[account].clear()
            bank.scores = [0.0] * len(bank.scores)
        is_won = step.trip_pnl_e8 > 0
        null = max(null_rate, break_even(profits[account]))
        trips[account].append(is_won)
        profits[account].append(step.trip_pnl_e8)
        if sum(trips[account]) * 10**6 <= round(null * 10**6) * len(trips[account]):
            trips[account].clear()  # the run is over
        if bank.settle((1 - null) / null if is_won else -1.0):
            phase = "growth" if (account, day) in alarmed else "opening"
            alarmed.add((account, day))
            found.append((row, phase, account, (len(trips[account]), sum(trips[account]))))
            trips[account].clear()
        bank.grant(step.time_ns)
    return found
