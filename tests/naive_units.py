"""Units of ten orders, and tests that bet on them, in the plainest Python."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from naive_betting import Bank
from naive_detectors import DAY_NS, Step

from detectors.core import contract as c

MS = 1_000_000
SIZES = (1, 2, 5, 10, 20, 50)


@dataclass
class Unit:
    """Ten orders of an account, or more where they were entered together."""

    account: str
    group: str
    day: int
    line: int  # of its latest order
    entered: list[int] = field(default_factory=list)
    ages: list[int] = field(default_factory=list)  # of those cancelled
    done: int = 0
    after: int = 0
    after_ns: int = 0
    is_simulated: bool = False
    time_ns: int = 0  # when it was over

    @property
    def is_full(self) -> bool:
        return len(self.entered) >= 10

    @property
    def who(self) -> tuple[str, bool]:
        """Whoever trades simulated money too is another one there."""
        return self.account, self.is_simulated

    def quick(self, ms: int) -> int:
        return sum(age < ms * MS for age in self.ages)


@dataclass
class Holder:
    """An account with the unit at hand."""

    over: list[Unit]
    unit: Unit | None = None
    before_ns: int = -1
    day: int = -1
    is_open: bool = False
    group: str = ""

    def settle(self, time_ns: int) -> None:
        assert self.unit is not None
        self.unit.time_ns = time_ns
        self.over.append(self.unit)
        self.before_ns, self.unit = max(*self.unit.entered, self.unit.after_ns), None

    def end_day(self) -> None:
        if self.is_open and self.unit is not None and self.unit.is_full:
            self.settle((self.day + 1) * DAY_NS - 1)
        self.unit, self.is_open = None, False

    def enter(self, step: Step, line: int) -> None:
        if not self.is_open:
            self.is_open, self.day = True, step.day
        unit = self.unit
        if unit is not None and unit.is_full and step.time_ns > max(unit.entered):
            unit.after += 1
            if unit.after < 10:
                unit.after_ns = max(unit.after_ns, step.time_ns)
                return
            self.settle(step.time_ns)
        if step.time_ns <= self.before_ns:
            return
        if self.unit is not None and step.time_ns < min(self.unit.entered):
            return
        is_simulated = bool(step.what & c.SIMULATED)
        if self.unit is None:
            self.unit = Unit(step.event["account_id"], self.group, step.day, line)
            self.unit.is_simulated = is_simulated
        unit = self.unit
        if unit.is_simulated != is_simulated:
            return
        unit.entered.append(step.time_ns)
        unit.line = line
        if len(unit.entered) == 10:
            unit.group = self.group

    def follow(self, step: Step) -> None:
        unit, entered_ns = self.unit, step.time_ns - step.age_ns
        if unit is None or step.age_ns < 0 or unit.is_simulated != bool(step.what & c.SIMULATED):
            return
        if not min(unit.entered) <= entered_ns <= max(unit.entered):
            return
        if step.what & c.FIRST_CANCEL and not step.what & c.KILL_SWITCH:
            unit.ages.append(step.age_ns)
        unit.done += step.open_change < 0
        if unit.is_full and unit.done >= len(unit.entered):
            self.settle(step.time_ns)


def units_of(steps: Sequence[Step | None], tiers: dict[int, tuple[str, str]]) -> list[Unit]:
    """Return all units in order of time; ``tiers`` says which rows file whom under which tier."""
    over: list[Unit] = []
    holders: dict[str, Holder] = defaultdict(lambda: Holder(over))
    for row, step in enumerate(steps):
        if row in tiers:
            account, tier = tiers[row]
            holders[account].group = tier
        if step is None or not (step.what & (c.NEW | c.FIRST_CANCEL) or step.open_change < 0):
            continue
        holder = holders[step.event["account_id"]]
        if step.time_ns >= (holder.day + 1) * DAY_NS:
            holder.end_day()
        if step.what & c.NEW:
            holder.enter(step, row)
        else:
            holder.follow(step)
    for holder in holders.values():
        holder.end_day()
    return sorted(over, key=lambda unit: (unit.time_ns, unit.line))


@dataclass
class Past:
    """What a test knows of an account."""

    shares: list[int] = field(default_factory=list)  # thousandths
    today: list[tuple[int, int]] = field(default_factory=list)
    mean: float | None = None
    null_next: float = 0.0
    null: float = 0.0
    bucket: list[tuple[int, int]] = field(default_factory=list)
    size: int = 0
    run: list[tuple[int, int]] = field(default_factory=list)
    bank: Bank = field(default_factory=lambda: Bank(0.0))
    alarms: int = 0
    pieces: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    offs: dict[int, float] = field(default_factory=dict)
    group: tuple[str, bool] = ("", False)

    def begin_anew(self) -> None:
        """Forget what was counted of another sort."""
        self.shares, self.today, self.mean, self.offs = [], [], None, {}
        self.pieces.clear()
        self.bucket, self.run, self.null, self.null_next = [], [], 0.0, 0.0
        self.bank.scores = [0.0] * len(self.bank.scores)


@dataclass
class Group:
    size: int = 0
    peer: float = 0.0
    budget: float = 0.0
    quick_ms: int = 0
    lifetimes: list[int] = field(default_factory=lambda: [0] * 16)
    sums: dict[int, list[float]] = field(
        default_factory=lambda: {size: [0.0, 0.0, 0] for size in SIZES}
    )


class Shares:
    """A test on shares of orders; ``p`` are its parameters."""

    def __init__(self, p: Any, *, by_lifetime: bool) -> None:
        self.p, self.by_lifetime = p, by_lifetime
        self.pasts: dict[tuple[str, bool], Past] = defaultdict(Past)
        self.groups: dict[tuple[str, bool], Group] = defaultdict(Group)
        self.found: list[tuple[Any, ...]] = []
        self.fixed: list[tuple[Any, ...]] = []
        self.closed_ns = 0

    def run(self, units: Sequence[Unit]) -> "Shares":
        close_ns = (units[0].time_ns // DAY_NS + 1) * DAY_NS if units else 0
        for unit in units:
            if unit.time_ns >= close_ns:
                self.close(close_ns)
                close_ns = (unit.time_ns // DAY_NS + 1) * DAY_NS
            self.take(unit)
        if units:
            self.close(close_ns)  # that of the end
        return self

    def take(self, unit: Unit) -> None:
        group_name = (unit.group, unit.is_simulated)
        group, past = self.groups[group_name], self.pasts[unit.who]
        if past.group != group_name:
            past.group, past.null_next = group_name, 0.0
            if self.by_lifetime:
                past.begin_anew()
        hits, orders = len(unit.ages), len(unit.entered)
        if self.by_lifetime:
            for age in unit.ages:
                group.lifetimes[min((age // MS).bit_length(), 15)] += 1
            if not group.quick_ms:
                return
            hits = unit.quick(group.quick_ms)
        past.shares.append(hits * 1_000 // orders)
        past.today.append((hits, orders))
        if past.mean is not None:
            self.pair(past, group, (hits, orders))
        self.bet(unit, past, group, (hits, orders))

    def pair(self, past: Past, group: Group, piece: tuple[int, int]) -> None:
        assert past.mean is not None
        for size in SIZES:
            past.pieces[size].append(piece)
            if len(past.pieces[size]) < size:
                continue
            hits, orders = map(sum, zip(*past.pieces.pop(size), strict=True))
            reach = 3 * (max(past.mean * (1 - past.mean), 1 / orders) / orders) ** 0.5
            off = min(max(hits / orders - past.mean, -reach), reach)
            if size in past.offs:
                before = past.offs[size]
                group.sums[size][0] += off * before
                group.sums[size][1] += (off**2 + before**2) / 2
                group.sums[size][2] += 1
            past.offs[size] = off

    def bet(self, unit: Unit, past: Past, group: Group, piece: tuple[int, int]) -> None:
        if not past.bucket and min(unit.entered) < self.closed_ns:
            return
        if not past.bucket:
            if past.null_next <= 0 or group.size <= 0:
                past.null, past.run = 0.0, []
                past.bank.scores = [0.0] * len(past.bank.scores)
                return
            past.null, past.size = past.null_next, group.size
        past.bucket.append(piece)
        if len(past.bucket) < past.size:
            return
        hits, orders = map(sum, zip(*past.bucket, strict=True))
        past.bucket = []
        past.run.append((hits, orders))
        run_hits, run_orders = map(sum, zip(*past.run, strict=True))
        if run_hits <= past.null * run_orders:
            past.run, run_hits, run_orders = [], 0, 0
        if past.bank.settle((hits / orders - past.null) / past.null, may_alarm=bool(past.run)):
            past.alarms += 1
            told = (unit.account, unit.time_ns, run_hits, run_orders, round(past.null * 1e6))
            self.found.append((*told, past.alarms))
            past.run = []
        past.bank.budget = group.budget
        past.bank.grant(unit.time_ns)

    def close(self, close_ns: int) -> None:
        self.closed_ns = close_ns
        for past in self.pasts.values():
            if past.bank.granted_ns:
                past.bank.granted_ns = max(past.bank.granted_ns, close_ns)
        names = sorted({past.group for past in self.pasts.values()})
        fixed = {name: self.close_group(name) for name in names}
        tested = sum(past.null_next > 0 for past in self.pasts.values())
        budget = self.p.alarms_a_day / (self.p.tests * 1.1 * tested) if tested else 0.0
        for name in names:
            self.groups[name].budget = budget
            self.fixed.append((close_ns, *name, *fixed[name], round(budget * 1e12)))
        for past in self.pasts.values():
            past.today = []

    def close_group(self, name: tuple[str, bool]) -> tuple[Any, ...]:
        group, p = self.groups[name], self.p
        own = [past for past in self.pasts.values() if past.group == name]
        self.fix_quick(group, own)
        days = [tuple(map(sum, zip(*past.today, strict=True))) for past in own if past.today]
        rates = sorted(hits / orders for hits, orders in days if orders >= 50)
        if len(rates) >= p.peers_min:
            group.peer = max(rates[-(-len(rates) * 95 // 100) - 1], 1e-6)
        size, known = self.size_of(group)
        if self.by_lifetime and not group.quick_ms:
            claim = "no lifetime"
        elif not group.peer:
            claim = "few peers"
        elif size:
            claim = "claimed"
        else:
            claim = "clustered" if known else "few buckets"
        group.size = size if claim == "claimed" else 0
        tested = 0
        for past in own:
            has_past = len(past.shares) >= p.baseline_units_min
            past.mean = fmean(past.shares) / 1_000 if has_past else None
            past.null_next = 0.0
            if has_past and claim == "claimed":
                mean = fmean(past.shares)
                spread = max(fmean(s * s for s in past.shares) - mean**2, 0) ** 0.5
                null = (mean + 2 * spread / len(past.shares) ** 0.5) / 1_000 + p.margin
                null = max(null, p.null_rate, group.peer)
                if null <= p.null_max:
                    past.null_next = null
                    tested += 1
        return claim, len(own), tested, group.size * 10

    def fix_quick(self, group: Group, own: list[Past]) -> None:
        whole = sum(group.lifetimes)
        if not self.by_lifetime or not whole:
            return
        reached = [sum(group.lifetimes[: k + 1]) / whole for k in range(15)]
        group.lifetimes = [count // 2 for count in group.lifetimes]
        before = group.quick_ms
        if before and 0.3 * self.p.quick_share <= reached[before.bit_length() - 1] <= (
            self.p.quick_share
        ):
            return
        bins = sum(share <= self.p.quick_share for share in reached)
        group.quick_ms = 1 << (bins - 1) if bins else 0
        if group.quick_ms != before:
            group.peer = 0.0
            group.sums = {size: [0.0, 0.0, 0] for size in SIZES}
            for past in own:
                past.begin_anew()

    def size_of(self, group: Group) -> tuple[int, bool]:
        chosen, is_known = 0, False
        for size in SIZES:
            products, squares, pairs = group.sums[size]
            if pairs < 100:
                continue
            is_known = True
            if squares <= 0 or products / squares <= self.p.autocorrelation_max:
                chosen = size
                break
        for size in SIZES:
            products, squares, pairs = group.sums[size]
            group.sums[size] = [products / 2, squares / 2, pairs // 2]
        return chosen, is_known
