"""Single ordinary orders and what becomes of them, many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lab.simulator import tape
from lab.simulator.arrivals import Arrivals
from lab.simulator.population import Population
from lab.simulator.prices import Prices
from lab.simulator.tape import Table
from lab.simulator.venues import Instrument, Ints, Session
from schemas.columns import CANCEL_REASON
from schemas.events import SECOND_NS

MILLISECOND_NS: Final = 1_000_000

# Outcomes of a lone order and their shares.
_USER, _IMMEDIATE, _REJECT, _GTD, _EXPIRED, _EXCHANGE, _SELF, _OPEN = range(8)
OUTCOME_SHARES: Final = (0.72, 0.10, 0.04, 0.03, 0.02, 0.01, 0.02, 0.06)
AGE_MEDIAN_S: Final = (25.0, 0.005, 0.002, 240.0, 240.0, 60.0, 0.004, 1.0)
AGE_SIGMA: Final = (1.5, 0.6, 0.5, 0.5, 0.5, 1.0, 0.5, 0.1)
OUTCOME_REASON: Final = (
    CANCEL_REASON["user"], CANCEL_REASON["immediate"], 0, 0,
    CANCEL_REASON["expired"], CANCEL_REASON["exchange"], CANCEL_REASON["self_trade_prevention"], 0,
)  # fmt: skip
LONE_REPLACE_SHARE: Final = 0.12
PASSIVE_TICKS_MAX: Final = 8

MARKET_SHARE: Final = 0.12
FORCE_CHOICES: Final = (tape.DAY, tape.IOC, tape.GTC, tape.FOK)
FORCE_SHARES: Final = (0.80, 0.10, 0.07, 0.03)
FILL_COUNT_SHARES: Final = (0.62, 0.26, 0.12)
PARTIAL_SHARE: Final = 0.12
LEG_REPLACE_SHARE: Final = 0.08
REMAINDER_CANCEL_SHARE: Final = 0.7
PRICE_IMPROVED_SHARE: Final = 0.3
WAIT_MEAN_S: Final = 20.0
EXTRA_SHARES: Final = (0.75, 0.07, 0.03, 0.05, 0.04, 0.06)  # codes of lab.simulator.lines


Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Floor:
    """What trading on one venue needs to know."""

    index: int
    session: Session
    arrivals: Arrivals
    instruments: Sequence[Instrument]
    prices: Prices
    population: Population

    @property
    def lot(self) -> Ints:
        """Lot size of every instrument."""
        return np.array([one.lot for one in self.instruments], np.int64)


@dataclass(frozen=True, slots=True)
class Asked:
    """Orders about to be entered: arrays of shape (n,), quantities in lots, prices in cents."""

    account: Ints
    instrument: Ints
    side: Ints
    lots: Ints
    price: Ints
    start_ns: Ints
    unit: Ints

    def take(self, where: Flags) -> "Asked":
        """Return the orders where ``where`` is true."""
        return Asked(*(getattr(self, name)[where] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Done:
    """What came of the orders of one leg."""

    filled_lots: Ints
    last_ns: Ints
    price: Ints


def lone_orders(floor: Floor, asked: Asked, rng: np.random.Generator) -> tuple[Table, Table]:
    """Enter orders that never trade, and end them as their outcome says."""
    session, count = floor.session, len(asked.unit)
    tick, lot = floor.prices.tick_cents[asked.instrument], floor.lot[asked.instrument]
    away = rng.integers(1, PASSIVE_TICKS_MAX + 1, count) * tick * sign(asked.side)
    price, quantity = asked.price - away, asked.lots * lot
    outcome = rng.choice(len(OUTCOME_SHARES), count, p=OUTCOME_SHARES)
    in_auction = session.is_auction(asked.start_ns)
    outcome[in_auction & ((outcome == _IMMEDIATE) | (outcome == _SELF))] = _USER
    age_s = np.exp(rng.normal(np.log(AGE_MEDIAN_S)[outcome], np.array(AGE_SIGMA)[outcome]))
    end_ns = asked.start_ns + MILLISECOND_NS + (age_s * SECOND_NS).astype(np.int64)
    replaced = (rng.random(count) < LONE_REPLACE_SHARE) & (outcome == _USER)
    replace_ns = _between(asked.start_ns, end_ns, rng)
    replaced &= ~session.forbids_cancel(session.to_wall(replace_ns))
    later_quantity = np.maximum(quantity + rng.integers(-2, 3, count) * lot, lot)
    left = np.where(replaced, later_quantity, quantity)
    # A cancel that the venue would not take is sent again ten minutes later.
    end_ns += np.where(session.forbids_cancel(session.to_wall(end_ns)), 600 * SECOND_NS, 0)

    force = np.where(rng.random(count) < FORCE_SHARES[2], tape.GTC, tape.DAY)
    force[outcome == _IMMEDIATE] = tape.IOC
    force[(outcome == _IMMEDIATE) & (rng.random(count) < FORCE_SHARES[1])] = tape.FOK
    force[outcome == _GTD] = tape.GTD
    orders = _orders(floor, asked, np.full(count, tape.LIMIT), force, rng)
    index = np.arange(count)
    reason = np.array(OUTCOME_REASON)[outcome] + _shown(count, rng)
    text = rng.integers(0, 4, count)
    cancelled = np.array(OUTCOME_REASON)[outcome] > 0
    events = [
        _events(tape.NEW, index, asked, asked.start_ns, price=price, quantity=quantity),
        _events(
            tape.REPLACE, index, asked, replace_ns, where=replaced, quantity=later_quantity,
            price=price + tick * sign(asked.side),
        ),
        _events(tape.CANCEL, index, asked, end_ns, where=cancelled, quantity=left, code=reason),
        _events(tape.REJECT, index, asked, end_ns, where=outcome == _REJECT, code=text),
        _events(tape.EXPIRE, index, asked, end_ns, where=outcome == _GTD),
    ]  # fmt: skip
    return orders, np.concatenate(events)


def leg(floor: Floor, asked: Asked, rng: np.random.Generator) -> tuple[tuple[Table, Table], Done]:
    """Enter orders that trade, in one to three fills, wholly or in part."""
    session, count = floor.session, len(asked.unit)
    tick, lot = floor.prices.tick_cents[asked.instrument], floor.lot[asked.instrument]
    in_auction = session.is_auction(asked.start_ns)
    market = (rng.random(count) < MARKET_SHARE) & ~in_auction
    force = np.where(in_auction, tape.DAY, rng.choice(FORCE_CHOICES, count, p=FORCE_SHARES))
    force[market & (force == tape.GTC)] = tape.DAY
    immediate = market | (force == tape.IOC) | (force == tape.FOK)
    parts, filled = _split(asked.lots, force == tape.FOK, rng)
    fill_ns = _fill_times(asked.start_ns, immediate, rng)
    replaced = (rng.random(count) < LEG_REPLACE_SHARE) & ~immediate & ~in_auction
    replace_ns = _between(asked.start_ns, fill_ns[0], rng)
    replaced &= ~session.forbids_cancel(session.to_wall(replace_ns))
    limit = asked.price + np.where(replaced, tick * sign(asked.side), 0)
    improved = immediate & (rng.random(count) < PRICE_IMPROVED_SHARE)
    fill_price = limit - np.where(improved & ~market, tick * sign(asked.side), 0)

    index = np.arange(count)
    quantity = asked.lots * lot
    events = [
        _events(
            tape.NEW, index, asked, asked.start_ns, quantity=quantity,
            price=np.where(market, 0, asked.price),
        ),
        _events(
            tape.REPLACE, index, asked, replace_ns, where=replaced, price=limit, quantity=quantity
        ),
    ]  # fmt: skip
    last_ns = asked.start_ns
    for i, lots in enumerate(parts):
        at_auction = session.is_auction(fill_ns[i])
        code = np.where(at_auction, tape.AUCTION, np.where(immediate, tape.TAKER, tape.MAKER))
        walked = fill_price + np.where(market, i * tick * sign(asked.side), 0)
        time_ns = session.uncross(fill_ns[i])
        last_ns = np.where(lots > 0, time_ns, last_ns)
        events.append(
            _events(
                tape.FILL, index, asked, time_ns, where=lots > 0, price=walked,
                quantity=lots * lot, code=code,
            )
        )  # fmt: skip
    events.append(
        _remainder_cancels(session, asked, (immediate, last_ns, quantity - filled * lot), rng)
    )
    orders = _orders(floor, asked, np.where(market, tape.MARKET, tape.LIMIT), force, rng)
    return (orders, np.concatenate(events)), Done(filled, last_ns, limit)


def _remainder_cancels(
    session: Session, asked: Asked, state: tuple[Flags, Ints, Ints], rng: np.random.Generator
) -> Table:
    """Withdraw what was left: at once where the order says so, by the customer now and then."""
    immediate, last_ns, left = state
    count = len(left)
    waited = last_ns + SECOND_NS + exponential(WAIT_MEAN_S, count, rng)
    end_ns = np.where(immediate, last_ns + MILLISECOND_NS, waited)
    wants = immediate | (rng.random(count) < REMAINDER_CANCEL_SHARE)
    wants &= immediate | ~session.forbids_cancel(session.to_wall(end_ns))
    code = np.where(immediate, tape.IMMEDIATE, tape.USER) + _shown(count, rng)
    return _events(
        tape.CANCEL,
        np.arange(count),
        asked,
        end_ns,
        where=wants & (left > 0),
        quantity=left,
        code=code,
    )


def _split(lots: Ints, whole: Flags, rng: np.random.Generator) -> tuple[list[Ints], Ints]:
    """Cut orders into up to three fills, in lots; return the fills and their sum."""
    count = len(lots)
    partial = (rng.random(count) < PARTIAL_SHARE) & ~whole & (lots > 1)
    some = np.maximum((lots * rng.uniform(0.2, 0.9, count)).astype(np.int64), 1)
    filled = np.where(partial, np.minimum(some, lots - 1), lots)
    fills = 1 + rng.choice(len(FILL_COUNT_SHARES), count, p=FILL_COUNT_SHARES)
    fills = np.where(whole, 1, np.minimum(fills, filled))
    one, two = fills == 1, fills == 2  # noqa: PLR2004 - the counts are the cases themselves
    room = filled - np.where(two, 1, 2)
    first = np.where(one, filled, 1 + (rng.random(count) * room).astype(np.int64))
    rest = filled - first
    second = np.where(two | one, rest, 1 + (rng.random(count) * (rest - 1)).astype(np.int64))
    return [first, second, rest - second], filled


def _fill_times(start_ns: Ints, immediate: Flags, rng: np.random.Generator) -> list[Ints]:
    count = len(start_ns)
    quick = exponential(0.008, count, rng)
    first = (
        start_ns + MILLISECOND_NS + np.where(immediate, quick, exponential(WAIT_MEAN_S, count, rng))
    )
    times = [first]
    for _ in range(2):
        gap = np.where(immediate, quick // 50, exponential(WAIT_MEAN_S / 4, count, rng))
        times.append(times[-1] + 1_000 + gap)
    return times


def _orders(
    floor: Floor, asked: Asked, order_type: Ints, force: Ints, rng: np.random.Generator
) -> Table:
    count = len(asked.unit)
    return tape.order_table(
        count,
        account=asked.account,
        instrument=asked.instrument,
        side=asked.side,
        order_type=order_type,
        time_in_force=force,
        claim=floor.population.claim[asked.account],
        extra=rng.choice(len(EXTRA_SHARES), count, p=EXTRA_SHARES),
    )


def _events(
    kind: int,
    index: Ints,
    asked: Asked,
    time_ns: Ints,
    *,
    where: Flags | None = None,
    **columns: Ints,
) -> Table:
    chosen = index if where is None else np.flatnonzero(where)
    taken = {name: values[chosen] for name, values in columns.items()}
    return tape.event_table(kind, chosen, time_ns[chosen], unit=asked.unit[chosen], **taken)


def sign(side: Ints) -> Ints:
    """Return 1 for buys and -1 for sells."""
    return np.where(side == tape.BUY, 1, -1)


def exponential(mean_s: float, count: int, rng: np.random.Generator) -> Ints:
    """Return exponential waiting times in ns, shape (count,)."""
    return rng.exponential(mean_s * SECOND_NS, count).astype(np.int64)


def _between(start_ns: Ints, end_ns: Ints, rng: np.random.Generator) -> Ints:
    """Return moments strictly between; the two lie at least a millisecond apart."""
    return (
        start_ns
        + 1_000
        + (rng.random(len(start_ns)) * (end_ns - start_ns - 2_000)).astype(np.int64)
    )


def _shown(count: int, rng: np.random.Generator) -> Ints:
    """Write the quantity on half of the cancels; the schema lets senders leave it out."""
    return rng.integers(0, 2, count) * tape.QUANTITY_SHOWN
