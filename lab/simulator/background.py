"""What ordinary accounts do: lone orders that come to nothing, and round trips.

An undertaking is one unit of background: a lone order (cancelled, refused, expired or left open)
or a round trip (an opening order with its fills, then a closing one). Whole undertakings are
independent of one another, so the day is cut to size by leaving some out.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from lab.simulator import tape
from lab.simulator.ordinary import Asked, Floor, exponential, leg, lone_orders, sign
from lab.simulator.population import FAVOURITES
from lab.simulator.tape import Table
from lab.simulator.venues import VENUES, Ints
from schemas.events import SECOND_NS

EVENTS_PER_UNDERTAKING: Final = 3.6  # a low guess: a little too much is made, then cut
CLOSE_ALL_SHARE: Final = 0.9
HOLD_MEAN_S: Final = 120.0
GAIN_TICKS_P: Final = 0.25  # geometric


def undertake(
    floors: Sequence[Floor], event_count: int, rng: np.random.Generator
) -> list[tuple[Table, Table]]:
    """Make background of about ``event_count`` events, by venue, in wall-clock time."""
    total = int(event_count / EVENTS_PER_UNDERTAKING) + 1
    shares = np.array([VENUES[floor.index].share for floor in floors])
    counts = rng.multinomial(total, shares / shares.sum())
    units = np.split(rng.permutation(total), np.cumsum(counts)[:-1])
    return [_undertake_at(floor, unit, rng) for floor, unit in zip(floors, units, strict=True)]


def cut(parts: list[tuple[Table, Table]], event_count: int) -> list[tuple[Table, Table]]:
    """Leave out whole undertakings until at most ``event_count`` events remain."""
    units = np.concatenate([np.zeros(0, np.int32), *(events["unit"] for _, events in parts)])
    reached = np.cumsum(np.bincount(units))
    first_out = np.searchsorted(reached, event_count, side="right")
    return [(orders, events[events["unit"] < first_out]) for orders, events in parts]


def _undertake_at(floor: Floor, unit: Ints, rng: np.random.Generator) -> tuple[Table, Table]:
    population = floor.population
    account = population.draw(VENUES[floor.index].group, len(unit), rng)
    unit = unit[: len(account)]
    # The square makes an account's first favourites its most traded ones.
    slot = (FAVOURITES * rng.random(len(unit)) ** 2).astype(np.int64)
    instrument = population.favourites[account, floor.index, slot]
    start_ns = floor.arrivals.draw(len(unit), rng)
    asked = Asked(
        account=account,
        instrument=instrument,
        side=rng.choice([tape.BUY, tape.SELL], len(unit)),
        lots=population.size[account] * rng.integers(1, 4, len(unit)),
        price=floor.prices.at(instrument, start_ns),
        start_ns=start_ns,
        unit=unit,
    )
    lone = rng.random(len(unit)) < population.lone_share[account]
    parts = [
        lone_orders(floor, asked.take(lone), rng),
        *_round_trips(floor, asked.take(~lone), rng),
    ]
    orders, events = tape.join(parts)
    return orders, tape.settle(floor.session, events)


def _round_trips(floor: Floor, asked: Asked, rng: np.random.Generator) -> list[tuple[Table, Table]]:
    futures = VENUES[floor.index].group == 1
    side = asked.side if futures else np.full(len(asked.side), tape.BUY)
    opening = Asked(
        asked.account, asked.instrument, side, asked.lots, asked.price, asked.start_ns, asked.unit
    )
    opened, done = leg(floor, opening, rng)
    count = len(side)
    won = rng.random(count) < floor.population.win_share[asked.account]
    ticks = rng.geometric(GAIN_TICKS_P, count) * np.where(won, 1, -1)
    change = ticks * sign(side) * floor.prices.tick_cents[asked.instrument]
    part = np.ceil(done.filled_lots * rng.random(count)).astype(np.int64)
    whole = rng.random(count) < CLOSE_ALL_SHARE
    closing = Asked(
        account=asked.account,
        instrument=asked.instrument,
        side=np.where(side == tape.BUY, tape.SELL, tape.BUY),
        lots=np.where(whole, done.filled_lots, np.maximum(part, 1)),
        price=done.price + change,
        start_ns=done.last_ns + 2 * SECOND_NS + exponential(HOLD_MEAN_S, count, rng),
        unit=asked.unit,
    )
    return [opened, leg(floor, closing, rng)[0]]
