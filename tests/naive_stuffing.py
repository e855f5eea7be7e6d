"""Quote stuffing in plain Python, from the words of ``detectors.quote_stuffing``."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from naive_detectors import Found, Step, day_of, seen_by

from detectors.core import contract as c
from schemas.events import SECOND_NS

MESSAGES = ("order", "replace", "withdrawal")


@dataclass(frozen=True)
class Figures:
    bursts_min: int
    messages_min: int
    share: Fraction
    fills: Fraction
    window_ns: int = SECOND_NS
    life_ns: int = SECOND_NS


@dataclass
class Burst:
    start_ns: int
    held: Counter[str]
    counts: bool = False

    def is_stuffing(self, figures: Figures) -> bool:
        entered = self.held["order"] + self.held["replace"]
        withdrawn = self.held["withdrawal"] + self.held["replace"]
        is_quick = withdrawn >= figures.share * entered
        return is_quick and self.held["fill"] <= figures.fills * entered

    @property
    def messages(self) -> int:
        return sum(self.held[kind] for kind in MESSAGES)


@dataclass
class Day:
    """One contract of one account on one day."""

    figures: Figures
    now_ns: int = 0
    loose: list[tuple[str, int]] = field(default_factory=list)  # kind, when: in no burst
    burst: Burst | None = None
    bursts: int = 0
    largest: int = 0

    def take(self, step: Step) -> tuple[str, int] | None:
        """Return what the step is and when it counts; None: not at all."""
        self.now_ns = max(self.now_ns, step.time_ns)
        if step.what & c.FIRST_CANCEL:
            is_quick = step.age_ns <= self.figures.life_ns
            return ("withdrawal", step.time_ns - step.age_ns) if is_quick else None
        kinds = {c.NEW: "order", c.REPLACE: "replace", c.FILL: "fill"}
        return next(kind for bit, kind in kinds.items() if step.what & bit), self.now_ns

    def count(self, kind: str, when_ns: int) -> None:
        figures = self.figures
        if self.burst is not None and when_ns < self.burst.start_ns + figures.window_ns:
            self.burst.held[kind] += when_ns >= self.burst.start_ns
            return
        self.loose.append((kind, when_ns))
        if kind != "fill":
            self.begin()

    def begin(self) -> None:
        figures, before = self.figures, self.burst
        if before is not None and not before.counts:
            last_ns = before.start_ns + figures.window_ns + figures.life_ns
            if self.now_ns < last_ns:
                return
        window = [one for one in self.loose if one[1] > self.now_ns - figures.window_ns]
        entries = [when_ns for kind, when_ns in window if kind in MESSAGES[:2]]
        if entries and sum(kind in MESSAGES for kind, _ in window) >= figures.messages_min:
            start_ns = min(entries)
            held = Counter(kind for kind, when_ns in window if when_ns >= start_ns)
            self.burst, self.loose = Burst(start_ns, held), []

    def judge(self) -> tuple[str, tuple[int, ...]] | None:
        burst = self.burst
        if burst is None:
            return None
        self.largest = max(self.largest, burst.messages)
        if burst.counts or not burst.is_stuffing(self.figures):
            return None
        burst.counts = True
        self.bursts += 1
        due = {self.figures.bursts_min * 2**k: "growth" if k else "opening" for k in range(20)}
        if self.bursts not in due:
            return None
        of_burst = tuple(burst.held[kind] for kind in (*MESSAGES, "fill"))
        return due[self.bursts], (self.bursts, *of_burst, self.largest)


def quote_stuffing(steps: Sequence[Step | None], figures: Figures) -> list[Found]:
    found: list[Found] = []
    days: dict[Any, int] = {}
    held: dict[Any, Day] = defaultdict(lambda: Day(figures))
    wanted = c.NEW | c.REPLACE | c.FIRST_CANCEL | c.FILL
    for row, step, subject in seen_by(steps, wanted, "contract"):
        day = held[subject, day_of(days, subject, step)]
        message = day.take(step)
        if message is not None:
            day.count(*message)
        told = day.judge()
        if told is not None:
            found.append((row, told[0], subject, told[1]))
    return found
