"""Windows of one, five and fifteen minutes, and the test that bets on them, in plain Python."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from typing import Any

from naive_betting import DAY_NS, plain_sum
from naive_detectors import Step

from detectors.core import contract as c

LENGTHS_S = (60, 300, 900)
GROWTHS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0)
SECOND_NS = 10**9


@dataclass
class Window:
    """What an account did in one stretch that was looked at."""

    account: str
    group: str
    size: int
    begin_ns: int
    line: int
    is_simulated: bool
    actions: int = 0

    @property
    def end_ns(self) -> int:
        return self.begin_ns + LENGTHS_S[self.size] * SECOND_NS

    @property
    def who(self) -> tuple[str, bool]:
        return self.account, self.is_simulated


@dataclass
class Looker:
    """One account's windows of one length."""

    size: int
    over: list[Window]
    window: Window | None = None
    since: int = 0
    latest_ns: int = 0  # end of the latest window

    def pass_time(self, time_ns: int, group: str) -> None:
        while self.window is not None and self.window.end_ns <= time_ns:
            last, self.window = self.window, None
            last.group, self.latest_ns = group, last.end_ns
            self.over.append(last)
            if self.since >= 10:
                self.look(last.account, last.end_ns, last.line, last.is_simulated)

    def look(self, account: str, begin_ns: int, line: int, is_simulated: bool) -> None:
        self.window = Window(account, "", self.size, begin_ns, line, is_simulated)
        self.since = 0

    def act(self, step: Step, line: int) -> None:
        account, is_simulated = step.event["account_id"], bool(step.what & c.SIMULATED)
        length_ns = LENGTHS_S[self.size] * SECOND_NS
        is_begun = self.window is None or self.window.actions > 0
        if self.window and not is_begun and step.time_ns + 4 * length_ns < self.window.end_ns:
            self.window, self.since, self.latest_ns = None, 0, 0  # a wild clock's
        if self.window is None:
            self.since += 1
            if self.since >= 10:
                begin_ns = max((step.time_ns // length_ns + 1) * length_ns, self.latest_ns)
                self.look(account, begin_ns, line, is_simulated)
        elif is_simulated == self.window.is_simulated and step.time_ns >= self.window.begin_ns:
            self.window.actions += 1
            self.window.line = line
            self.since += 1


def windows_of(steps: Sequence[Step | None], tiers: dict[int, tuple[str, str]]) -> list[Window]:
    """Return all windows, those of one moment together; ``tiers`` as in ``naive_units``."""
    over: list[Window] = []
    lookers: dict[str, list[Looker]] = defaultdict(
        lambda: [Looker(size, over) for size in range(len(LENGTHS_S))]
    )
    group: dict[str, str] = defaultdict(str)
    for row, step in enumerate(steps):
        if row in tiers:
            account, tier = tiers[row]
            group[account] = tier
        if step is None or not step.what & c.ACTION or step.what & c.KILL_SWITCH:
            continue
        account = step.event["account_id"]
        for looker in lookers[account]:
            looker.pass_time(step.time_ns, group[account])
            looker.act(step, row)
    for account, own in lookers.items():
        for looker in own:
            looker.pass_time(2**62, group[account])
    return sorted(over, key=lambda window: (window.end_ns, window.line, window.size))


def ratio(actions: int, mean: float, growth: float) -> float:
    """Return the ratio of two negative binomial laws of shape 2, at most 8."""
    mu, theta = Fraction(mean), Fraction(growth)
    less = (2 + mu) / (2 + theta * mu)
    if actions * float(theta * less - 1) > 5_000:
        return 8.0
    return float(min(less**2 * (theta * less) ** actions, Fraction(8)))


@dataclass
class Past:
    """What the test knows of an account."""

    group: tuple[str, bool] = ("", False)
    counts: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    today: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    mean: dict[int, float] = field(default_factory=dict)
    previous: dict[int, float] = field(default_factory=dict)
    null: float = 0.0
    scores: list[float] = field(default_factory=lambda: [0.0] * len(GROWTHS))
    run: list[tuple[int, float]] = field(default_factory=list)
    granted_ns: int = 0
    latest_ns: int = 0
    alarms: int = 0

    def begin_anew(self) -> None:
        self.scores, self.run = [0.0] * len(GROWTHS), []

    def grant(self, time_ns: int, budget: float) -> None:
        reached_ns = min(self.latest_ns, time_ns)
        self.latest_ns = time_ns
        if reached_ns <= self.granted_ns:
            return
        if self.granted_ns:
            since_ns = reached_ns - max(self.granted_ns, reached_ns - DAY_NS)
            each = budget * (since_ns / DAY_NS) / len(GROWTHS)
            self.scores = [score + each for score in self.scores]
        self.granted_ns = reached_ns


@dataclass
class Group:
    size: int | None = None
    peers: dict[int, float] = field(default_factory=dict)
    sums: dict[int, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0] * 3))
    gains: dict[int, list[float]] = field(
        default_factory=lambda: defaultdict(lambda: [0.0] * len(GROWTHS))
    )
    gained: dict[int, int] = field(default_factory=lambda: defaultdict(int))


class Bursts:
    """The test on windows; ``p`` are its parameters."""

    def __init__(self, p: Any) -> None:
        self.p = p
        self.pasts: dict[tuple[str, bool], Past] = defaultdict(Past)
        self.groups: dict[tuple[str, bool], Group] = defaultdict(Group)
        self.found: list[tuple[Any, ...]] = []
        self.fixed: list[tuple[Any, ...]] = []
        self.closed_ns = 0
        self.budget = 0.0

    def run(self, windows: Sequence[Window]) -> "Bursts":
        close_ns = 0
        for end_ns, together in groupby(windows, key=lambda window: window.end_ns):
            if close_ns and end_ns > close_ns:
                self.close(close_ns)
            close_ns = ((end_ns - 1) // DAY_NS + 1) * DAY_NS
            self.take(list(together))
        if close_ns:
            self.close(close_ns)
        return self

    def take(self, together: list[Window]) -> None:
        """Take the windows that end at one moment."""
        sees = [
            (one, self.pasts[one.who].mean[one.size])
            for one in together
            if one.size in self.pasts[one.who].mean
        ]
        for one in together:
            others = [
                (min(other.actions, int(4 * mean) + 1), int(mean * 1e6))
                for other, mean in sees
                if other.size == one.size
                and other.is_simulated == one.is_simulated
                and other is not one
            ]
            scale = 1.0
            if len(others) >= 10 and sum(usual for _, usual in others) > 0:
                done, usual = map(sum, zip(*others, strict=True))
                scale = min(max(done * 1e6 / usual, 0.1), 10.0)
            self.follow(one, scale)

    def follow(self, one: Window, scale: float) -> None:
        name = (one.group, one.is_simulated)
        past, group, size = self.pasts[one.who], self.groups[name], one.size
        if past.group != name:
            past.group, past.null = name, 0.0
            past.begin_anew()
        past.counts[size].append(one.actions)
        past.today[size].append(one.actions)
        if size in past.mean:
            self.learn(past, group, one, scale)
        if size == group.size and one.begin_ns >= self.closed_ns and past.null > 0:
            self.bet(past, one, past.null * max(scale, 1.0))

    def learn(self, past: Past, group: Group, one: Window, scale: float) -> None:
        own = past.mean[one.size]
        mean = own * scale
        variance = 1 / mean + 1 / 2
        reach = 3 * variance**0.5
        off = min(max(one.actions / mean - 1, -reach), reach)
        if one.size in past.previous:
            group.sums[one.size][0] += off * past.previous[one.size] / variance
            group.sums[one.size][1] += 1 / (2 * variance)
            group.sums[one.size][2] += 1
        past.previous[one.size] = off
        for k, growth in enumerate(GROWTHS):
            group.gains[one.size][k] += ratio(
                one.actions, self.p.growth * own * max(scale, 1.0), growth
            )
        group.gained[one.size] += 1

    def bet(self, past: Past, one: Window, mean: float) -> None:
        past.run.append((one.actions, mean))
        actions, expected = (sum(column) for column in zip(*past.run, strict=True))
        if actions <= expected:
            past.run, actions, expected = [], 0, 0.0
        past.scores = [
            score * ratio(one.actions, mean, growth)
            for score, growth in zip(past.scores, GROWTHS, strict=True)
        ]
        if past.run and plain_sum(past.scores) >= 1.0:
            past.alarms += 1
            told = (one.account, one.end_ns - 1, actions, len(past.run), round(expected * 1e3))
            self.found.append((*told, past.alarms))
            past.begin_anew()
        past.grant(one.end_ns - 1, self.budget)

    def close(self, close_ns: int) -> None:
        self.closed_ns = close_ns
        for past in self.pasts.values():
            if past.granted_ns:
                past.granted_ns = max(past.granted_ns, close_ns)
        names = sorted({past.group for past in self.pasts.values()})
        fixed = {name: self.close_group(name) for name in names}
        tested = sum(past.null > 0 for past in self.pasts.values())
        self.budget = self.p.alarms_a_day / (self.p.tests * 1.1 * tested) if tested else 0.0
        for name in names:
            self.fixed.append((close_ns, *name, *fixed[name], round(self.budget * 1e12)))
        for past in self.pasts.values():
            past.today.clear()

    def close_group(self, name: tuple[str, bool]) -> tuple[Any, ...]:
        group, p = self.groups[name], self.p
        own = [past for past in self.pasts.values() if past.group == name]
        for size in range(len(LENGTHS_S)):
            days = [past.today[size] for past in own if len(past.today[size]) >= 5]
            rates = sorted(sum(day) / len(day) for day in days)
            if len(rates) >= p.peers_min:
                group.peers[size] = max(rates[-(-len(rates) * 95 // 100) - 1], 1e-6)
        size, before = self.size_of(group), group.size
        claim = self.claim_of(group, size)
        group.size = size if claim == "claimed" else None
        for past in own:
            past.mean = {
                k: max(sum(counts) / len(counts), 1e-6)
                for k, counts in past.counts.items()
                if len(counts) >= p.baseline_windows_min
            }
            past.null = 0.0
            if group.size is not None and group.size in past.mean:
                least = p.actions_min * LENGTHS_S[group.size] / 60
                usual = past.mean[group.size] * p.growth
                past.null = max(usual, least, group.peers[group.size])
            if past.null == 0 or before != group.size:
                past.begin_anew()
        for k in range(len(LENGTHS_S)):
            products, squares, pairs = group.sums[k]
            group.sums[k] = [products / 2, squares / 2, pairs // 2]
            group.gains[k] = [gain / 2 for gain in group.gains[k]]
            group.gained[k] //= 2
        tested = sum(past.null > 0 for past in own)
        window_s = 0 if group.size is None else LENGTHS_S[group.size]
        return claim, len(own), tested, window_s

    def size_of(self, group: Group) -> int | None:
        for size in range(len(LENGTHS_S)):
            products, squares, pairs = group.sums[size]
            if pairs < 100 or self.is_uneven(group, size):
                continue
            if squares <= 0 or products / squares <= self.p.autocorrelation_max:
                return size
        return None

    @staticmethod
    def is_uneven(group: Group, size: int) -> bool:
        count = group.gained[size]
        limit = 1 + 2 * (7 / max(count, 1)) ** 0.5
        return count >= 100 and any(gain / count > limit for gain in group.gains[size])

    def claim_of(self, group: Group, size: int | None) -> str:
        if not group.peers or (size is not None and size not in group.peers):
            return "few peers"
        if size is not None:
            return "claimed"
        known = [sums for sums in group.sums.values() if sums[2] >= 100]
        if not known:
            return "few buckets"
        limit = self.p.autocorrelation_max
        is_clustered = all(sums[0] / max(sums[1], 1e-300) > limit for sums in known)
        return "clustered" if is_clustered else "uneven"
