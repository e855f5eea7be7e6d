"""Layering in plain Python, from the words of ``detectors.layering``."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from naive_detectors import DAY_NS, Found, Step, day_of, seen_by

from detectors.core import contract as c
from schemas.events import SECOND_NS

OPPOSITE = {"buy": "sell", "sell": "buy"}


@dataclass
class Side:
    """What rests on one side of a contract, of orders of the day."""

    rests: int = 0
    orders: int = 0
    prices: list[int] = field(default_factory=list)  # one after another, since none rested

    @property
    def levels(self) -> int:
        return min(len(self.prices), self.orders)

    def follow(self, step: Step) -> None:
        if step.open_change > 0:
            if self.orders == 0:
                self.prices = []
            if not self.prices or self.prices[-1] != step.price_e8:
                self.prices.append(step.price_e8)
        self.orders = max(0, self.orders + step.open_change)
        self.rests = max(0, self.rests + step.rest_change_e8)


@dataclass
class Episode:
    """Orders watched after a fill on the other side."""

    side: str
    until_ns: int
    rested: int
    traded: int
    beside: int
    withdrawn: int = 0


@dataclass(frozen=True)
class Figures:
    episodes_min: int
    levels_min: int
    ratio: Fraction
    share: Fraction
    window_ns: int = 10 * SECOND_NS


@dataclass
class Day:
    """One contract of one account on one day."""

    figures: Figures
    sides: dict[str, Side] = field(default_factory=lambda: {"buy": Side(), "sell": Side()})
    episode: Episode | None = None
    episodes: int = 0

    def judge(self) -> tuple[str, tuple[int, ...]] | None:
        episode, self.episode = self.episode, None
        if episode is None or episode.withdrawn < self.figures.share * episode.rested:
            return None
        if episode.rested < self.figures.ratio * max(episode.beside, episode.traded):
            return None
        self.episodes += 1
        due = {self.figures.episodes_min * 2**k: "growth" if k else "opening" for k in range(20)}
        if self.episodes not in due:
            return None
        return due[self.episodes], (self.episodes, episode.rested, episode.withdrawn)

    def watch(self, step: Step, side: str, ends_ns: int) -> None:
        """Begin an episode, if enough rests on the side that the fill is not on."""
        resting, figures = self.sides[side], self.figures
        until_ns = min(step.time_ns + figures.window_ns, ends_ns - 1)
        if self.episode is not None:
            if self.episode.side == side:
                self.episode.traded += step.quantity_e8
                self.episode.until_ns = max(self.episode.until_ns, until_ns)
            return
        beside = max(step.quantity_e8, self.sides[OPPOSITE[side]].rests)
        is_large = resting.rests > 0 and resting.rests >= figures.ratio * beside
        if is_large and resting.levels >= figures.levels_min:
            self.episode = Episode(side, until_ns, resting.rests, step.quantity_e8, beside)

    def follow(self, step: Step, side: str) -> None:
        is_own = step.rest_change_e8 > 0 or step.what & (c.CANCEL | c.REPLACE)
        is_watched = self.episode is not None and self.episode.side == side
        if self.episode is not None and is_watched and is_own and not step.what & c.FILL:
            self.episode.withdrawn -= step.rest_change_e8
        self.sides[side].follow(step)


def layering(steps: Sequence[Step | None], figures: Figures) -> list[Found]:
    found: list[Found] = []
    days: dict[Any, int] = {}
    held: dict[Any, Day] = defaultdict(lambda: Day(figures))

    def judge(subject: Any, day: int) -> None:
        told = held[subject, day].judge()
        if told is not None:
            found.append((None, told[0], subject, told[1]))

    for _, step, subject in seen_by(steps, c.RESTS | c.FILL, "contract"):
        before = days.get(subject)
        now = day_of(days, subject, step)
        if before is not None and before < now:
            judge(subject, before)
        day = held[subject, now]
        if day.episode is not None and step.time_ns > day.episode.until_ns:
            judge(subject, now)
        assert step.side is not None
        if step.what & c.FILL:
            day.watch(step, OPPOSITE[step.side], (now + 1) * DAY_NS)
        if step.what & c.RESTS:
            day.follow(step, step.side)
    for subject, now in days.items():
        judge(subject, now)
    return found
