"""What a plant file says, done: its steps one after another, then as an account's orders."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, NamedTuple

from lab.simulator import tape
from lab.simulator.plant_files import (
    Cancel,
    Enter,
    FilePlant,
    Fill,
    Repeat,
    Replace,
    Step,
    Wait,
)
from lab.simulator.script import Script
from schemas.events import SECOND_NS

ACTS_MAX: Final = 200_000
_WHOLE_NS: Final = 600 * SECOND_NS  # rounds up to so long are not cut in two by a break
_REST_SHARE: Final = 0.02  # of the time left over, before a plant begins
_LATEST_SHARE: Final = 0.3  # of the session, so that short runs show something soon
_FORCES: Final = {"limit": tape.DAY, "ioc": tape.IOC, "fok": tape.FOK}


class Act(NamedTuple):
    """One message or fill.

    Attributes
    ----------
    order
        Orders are counted from 0, as they are entered.
    offset_ns
        From the plant's begin.
    round
        Of the outermost ``repeat``, counted over the plant; rounds are kept whole.
    place
        Of the instrument among the plant's; of orders entered.
    ticks
        From the mid, or towards the other side.
    lots
        Entered or filled.
    other
        The order whose price is taken, or that is traded with; -1: none.
    """

    step: Step
    order: int
    offset_ns: int
    round: int
    place: int = 0
    ticks: int = 0
    lots: int = 0
    other: int = -1


@dataclass(slots=True)
class _Order:
    """An order while steps are unrolled."""

    enter: Enter
    place: int
    left: int
    has_traded: bool = False


@dataclass(slots=True)
class _Unrolling:
    """The state of one pass through the steps."""

    plant: FilePlant
    value: int
    dice: random.Random
    now_ns: int = 0
    round: int = 0
    turn: int = 0  # of the outermost repeat; it chooses the instrument
    inner: int = 0  # round of the innermost repeat
    acts: list[Act] = field(default_factory=list)
    orders: list[_Order] = field(default_factory=list)
    named: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def do_all(self, steps: Sequence[Step], key: str, depth: int) -> None:
        for index, step in enumerate(steps):
            at = f"{key}[{index}]"
            if isinstance(step, Repeat):
                self._repeat(step, at, depth)
            elif isinstance(step, Wait):
                self.now_ns += int((step.s + self.dice.random() * step.jitter_s) * SECOND_NS)
            elif isinstance(step, Enter):
                self._enter(step, at)
            else:
                self._touch(step, at)
            if len(self.acts) > ACTS_MAX:
                self.plant.refuse(at, f"at most {ACTS_MAX:,} messages and fills", "more")

    def _repeat(self, step: Repeat, key: str, depth: int) -> None:
        outer = self.inner
        for number in range(self._scaled(step.name, step.times)):
            self.inner = number
            if depth == 0:
                self.round += 1
                self.turn = number
            self.do_all(step.steps, f"{key}.steps", depth + 1)
        self.inner = outer
        if depth == 0:
            self.round += 1
            self.turn = 0

    def _scaled(self, name: str | None, count: int) -> int:
        scale = self.plant.says.strength
        return self.value if scale and name == scale.scales else count

    def _enter(self, step: Enter, key: str) -> None:
        count = self.plant.instrument_count
        place = self.turn % count if step.instrument is None else step.instrument
        if place >= count:
            self.plant.refuse(f"{key}.instrument", f"a number below {count}", place)
        if step.who == "partner" and not self.plant.linked:
            self.plant.refuse(f"{key}.who", "'account', as there is no partner", step.who)
        lots = self._scaled(step.order, step.lots)
        if lots < 1:
            self.plant.refuse(f"{key}.lots", "1 or more at every strength", lots)
        other = -1 if step.beside is None else self._known(step.beside, f"{key}.beside")
        ticks = step.ticks + step.ticks_more * self.inner
        order = len(self.orders)
        self.orders.append(_Order(step, place, lots))
        self.named[step.order].append(order)
        self._act(Act(step, order, self.now_ns, self.round, place, ticks, lots, other))

    def _touch(self, step: Replace | Cancel | Fill, key: str) -> None:
        open_orders = [n for n in self.named[step.order] if self.orders[n].left]
        if not open_orders:
            self.plant.refuse(f"{key}.order", "an order that is open then", repr(step.order))
        if isinstance(step, Cancel):
            for order in open_orders if step.all else open_orders[-1:]:
                self.orders[order].left = 0
                self._act(Act(step, order, self.now_ns, self.round))
        elif isinstance(step, Fill):
            self._fill(step, key, open_orders[-1])
        else:
            if self.orders[open_orders[-1]].has_traded:
                self.plant.refuse(f"{key}.order", "an order that has not traded", step.order)
            self._act(Act(step, open_orders[-1], self.now_ns, self.round, ticks=step.ticks))
        # Names of ended orders are kept only while their prices may be asked for.
        self.named[step.order] = [
            n for n in self.named[step.order] if self.orders[n].left
        ] or self.named[step.order][-1:]

    def _fill(self, step: Fill, key: str, order: int) -> None:
        one = self.orders[order]
        lots = max(1, round(step.share * one.left))
        other, two = -1, None
        if step.against is not None:
            other = self._known(step.against, f"{key}.against")
            two = self.orders[other]
            fits = two.enter.who != one.enter.who and two.enter.side != one.enter.side
            if not fits or two.place != one.place or two.left < lots:
                expected = f"an order of the other account on the other side, {lots} lots left"
                self.plant.refuse(f"{key}.against", expected, repr(step.against))
            two.left -= lots
            two.has_traded = True
        one.left -= lots
        one.has_traded = True
        if any(o.enter.type == "fok" and o.left for o in (one, two or one)):
            self.plant.refuse(f"{key}.share", "all of a fok order", step.share)
        self._act(Act(step, order, self.now_ns, self.round, lots=lots, other=other))

    def _known(self, name: str, key: str) -> int:
        if not self.named[name]:
            self.plant.refuse(key, "an order entered before", repr(name))
        return self.named[name][-1]

    def _act(self, act: Act) -> None:
        self.acts.append(act)
        self.now_ns += 1  # so that what is done later in a file also happens later


def unroll(plant: FilePlant, strength: float, seed: int) -> list[Act]:
    """Return everything that a plant does at a strength, in order.

    Raises
    ------
    PlantFileError
        A step names an order that is not there then, or the accounts do nothing.
    """
    # S311: nothing here is secret.
    pass_through = _Unrolling(plant, plant.value(strength), random.Random(seed))  # noqa: S311 - no secret
    pass_through.do_all(plant.says.steps, "steps", 0)
    doing = {one.enter.who for one in pass_through.orders}
    wanted = {"account", "partner"} if plant.linked else {"account"}
    if doing != wanted:
        missing = ", ".join(sorted(wanted - doing))
        plant.refuse("steps", f"an order of each account at strength {strength:g}",
                     f"none of {missing}")  # fmt: skip
    return pass_through.acts


def rehearse(plants: Sequence[FilePlant]) -> int:
    """Go through every plant at every strength; return how many messages and fills they make.

    Raises
    ------
    PlantFileError
        See ``unroll``.
    """
    return sum(len(unroll(plant, one, 0)) for plant in plants for one in plant.strengths)


def perform(plant: FilePlant, strength: float, script: Script) -> None:
    """Write a plant as an account's orders, within its session.

    Raises
    ------
    PlantFileError
        It lasts longer than the session, or a price would be below one tick.
    """
    acts = unroll(plant, strength, int(script.rng.integers(2**62)))
    orders: list[int] = []
    for act, at in _placed(plant, acts, script):
        if isinstance(act.step, Enter):
            orders.append(_entered(plant, act, act.step, (script, at, orders)))
        elif isinstance(act.step, Replace):
            script.replace(orders[act.order], at, act.ticks)
            _check_price(plant, act.step.order, script.price_of(orders[act.order]))
        elif isinstance(act.step, Cancel):
            lapses = script.force_of(orders[act.order]) in {tape.IOC, tape.FOK}
            script.cancel(orders[act.order], at, tape.IMMEDIATE if lapses else tape.USER)
        elif isinstance(act.step, Fill):
            order = orders[act.order]
            quantity = act.lots * script.lot_of(order)
            if act.other < 0:
                script.fill(order, at, script.price_of(order), quantity)
            else:
                both = (orders[act.other], order)
                _check_limits(plant, act.step, script, both)
                script.match(both, at, script.price_of(both[0]), quantity)


def _entered(plant: FilePlant, act: Act, step: Enter, where: tuple[Script, int, list[int]]) -> int:
    script, at, orders = where
    instrument = script.listed[act.place]
    side = tape.BUY if step.side == "buy" else tape.SELL
    start = script.mid(instrument, at) if act.other < 0 else script.price_of(orders[act.other])
    away = act.ticks * script.tick(instrument)
    price = start + (away if side == tape.SELL else -away)
    _check_price(plant, step.order, price)
    quantity = act.lots * script.instruments[instrument].lot
    who = int(step.who == "partner")
    return script.enter(
        at, instrument, side, quantity, price=price, force=_FORCES[step.type], who=who
    )


def _check_limits(plant: FilePlant, step: Fill, script: Script, both: tuple[int, int]) -> None:
    """Refuse a trade at the resting order's price that the other's limit does not allow."""
    resting, taking = (script.price_of(order) for order in both)
    if (taking < resting) if script.side_of(both[1]) == tape.BUY else (taking > resting):
        key = f"steps: fill of order {step.order!r}: against"
        plant.refuse(key, "an order whose price its own reaches", f"{step.against!r}")


def _check_price(plant: FilePlant, order: str, price_cents: int) -> None:
    if price_cents < 1:
        key = f"steps: ticks of order {order!r}"
        plant.refuse(key, "a price above 0", f"{price_cents / 100:g}")


def _placed(plant: FilePlant, acts: list[Act], script: Script) -> Iterator[tuple[Act, int]]:
    """Yield acts with their session times; short rounds are not cut in two by a break."""
    rounds = [list(group) for _, group in groupby(acts, key=lambda act: act.round)]
    spans = [group[-1].offset_ns - group[0].offset_ns for group in rounds]
    longest = max((span for span in spans if span <= _WHOLE_NS), default=0)
    shift = _begin(plant, acts, script, 2 * longest)
    for group, span in zip(rounds, spans, strict=True):
        at = group[0].offset_ns + shift
        if span <= _WHOLE_NS and not plant.closing:
            shift += script.inside(at, span + 1) - at
        for act in group:
            yield act, act.offset_ns + shift


def _begin(plant: FilePlant, acts: list[Act], script: Script, for_break_ns: int) -> int:
    session = script.session
    lasts = acts[-1].offset_ns + 1
    length = session.close_ns - session.open_ns
    if plant.says.before_close_s is not None:
        before = int(plant.says.before_close_s * SECOND_NS)
        if before > length or lasts > before:
            plant.refuse(
                "before_close_s",
                f"{lasts / SECOND_NS:,.0f} s at least, which the plant lasts, and "
                f"{length / SECOND_NS:,.0f} s at most, which {plant.says.venue} trades",
                f"{before / SECOND_NS:g}",
            )
        return session.close_ns - before
    room = length - lasts - script.breaks * for_break_ns
    if room <= 0:
        plant.refuse(
            "steps",
            f"less than {length / SECOND_NS:,.0f} s, as {plant.says.venue} trades",
            f"{lasts / SECOND_NS:,.0f} s",
        )
    latest = min(_LATEST_SHARE * length, room)
    first = min(_REST_SHARE * length, latest)
    return session.open_ns + int(script.rng.uniform(first, latest))
