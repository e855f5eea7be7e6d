"""One day of one market: build it, read it in blocks, ask what was planted."""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from lab.simulator import background, profit, reference, tape
from lab.simulator.arrivals import Arrivals
from lab.simulator.config import SimulatorConfig, Truth, check_config
from lab.simulator.lines import Lines
from lab.simulator.ordinary import Floor
from lab.simulator.plan import Plan, Planted
from lab.simulator.population import Population
from lab.simulator.prices import Prices
from lab.simulator.tape import Table
from lab.simulator.venues import VENUES, Instrument, Ints, Session, list_instruments, open_session

APP_SHARE: Final = 0.05  # of the events beside plants and files; it also fills up what is missing
WRITE_ROWS: Final = 16_384

# One random stream for each part, so that changing one leaves the others as they were.
_PRICES, _POPULATION, _ARRIVALS, _ORDER, _BACKGROUND, _FILES, _APP, _IDS = range(8)


class Market:
    r"""A simulated trading day.

    Nothing is made until it is asked for; then all of it is, at about 150 bytes an event.

    Parameters
    ----------
    config
        What to simulate.

    Raises
    ------
    ValueError
        The config asks for something that cannot be; the sentence says what to change.

    Examples
    --------
    >>> market = Market(SimulatorConfig(events=300, accounts=50, minutes=5, seed=7))
    >>> sum(block.count(b"\n") for block in market.blocks(block_rows=100))
    300
    """

    def __init__(self, config: SimulatorConfig) -> None:
        check_config(config)
        self.config = config

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The simulated part of each venue's day."""
        return self._built.sessions

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """All instruments, those without an event too."""
        return self._built.instruments

    def blocks(self, block_rows: int = 8192) -> Iterator[bytes]:
        """Yield the day as NDJSON, in time order, ``block_rows`` whole lines at a time."""
        if block_rows < 1:
            raise ValueError(f"block_rows is {block_rows}; a block holds at least 1 line")
        lines = self._built.lines
        for first in range(0, self.config.events, block_rows):
            yield lines.write(first, min(first + block_rows, self.config.events))

    def truth(self) -> list[Truth]:
        """Return what was planted, one entry an account, by account id."""
        return sorted(self._built.truth, key=lambda one: one.account_id)

    def write(self, out: Path, truth: Path, progress: Callable[[int], None] | None = None) -> None:
        """Write the day and its truth as NDJSON files.

        Each file appears under its name only when it is whole. ``progress`` is called with the
        number of lines written so far.
        """
        _write_whole(truth, (msgspec.json.encode(one) + b"\n" for one in self.truth()))
        _write_whole(out, self._counted_blocks(progress))

    def _counted_blocks(self, progress: Callable[[int], None] | None) -> Iterator[bytes]:
        for index, block in enumerate(self.blocks(WRITE_ROWS)):
            yield block
            if progress is not None:
                progress(min((index + 1) * WRITE_ROWS, self.config.events))

    @cached_property
    def _built(self) -> "_Day":
        return _Day(self.config)


def _write_whole(path: Path, parts: Iterator[bytes]) -> None:
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        for part in parts:
            file.write(part)
    partial.replace(path)


class _Day:
    """Everything about one day, made in the order in which it depends on one another."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self.instruments = list_instruments(config.instruments)
        self.sessions = tuple(open_session(v, config.trading_date, config.minutes) for v in VENUES)
        self._prices = Prices(self.instruments, self.sessions, self._rng(_PRICES))
        self._population = Population(config.accounts, self.instruments, self._rng(_POPULATION))
        rng = self._rng(_ARRIVALS)
        self._arrivals = tuple(Arrivals(session, rng) for session in self.sessions)
        planted = self._plant()
        self.truth = [truth for one in planted for truth in one.truth]
        orders, events, records = self._happen(planted)
        events = events[np.argsort(events["time_ns"], kind="stable")]
        gains = self._settle_profits(orders, events, planted)
        people = (self._population, self.instruments)
        self.lines = Lines((orders, events), gains, records, people, self._rng(_IDS))

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, stream])

    def _plant(self) -> list[Planted]:
        population = self._population
        order = self._rng(_ORDER).permutation(population.count).tolist()
        ids = (population.ids, population.tokens, order)
        plan = Plan(self._config, self.sessions, self.instruments, self._prices, ids)
        planted = plan.make()
        for one in planted:
            self._take_from_population(one)
        return planted

    def _take_from_population(self, planted: Planted) -> None:
        """Keep planted accounts' ordinary trading where it does not move the figures."""
        for account in planted.accounts:
            member = self._population.member[account]
            member[list(planted.groups_closed)] = False
            free = [group for group in range(len(member)) if group not in planted.groups_closed]
            if free and not member.any():
                member[free[account % len(free)]] = True
            self._population.simulated[account] = planted.simulated

    def _happen(self, planted: list[Planted]) -> tuple[Table, Table, list[tuple[str, str]]]:
        """Put plants, files, background and app events together: exactly as many as asked for."""
        records, templates = self._records(planted)
        fixed = len(records) + sum(len(one.tables[1]) for one in planted)
        free = self._config.events - fixed
        if free < 0:
            raise ValueError(
                f"plants and files on instruments and accounts alone are {fixed} events; "
                "ask for more events or fewer plants"
            )
        parts = self._trade(int(free * (1 - APP_SHARE)))
        missing = free - sum(len(events) for _, events in parts)
        rng = self._rng(_APP)
        times = reference.wall_times(self.sessions, self._arrivals, missing + 1, rng)
        app = reference.app_events(missing, self._population, times, rng)
        orders, events = tape.join([one.tables for one in planted] + parts)
        return orders, np.concatenate([records, events, app]), templates

    def _trade(self, event_count: int) -> list[tuple[Table, Table]]:
        floors = [
            Floor(i, session, arrivals, self.instruments, self._prices, self._population)
            for i, (session, arrivals) in enumerate(zip(self.sessions, self._arrivals, strict=True))
        ]
        parts = background.undertake(floors, event_count, self._rng(_BACKGROUND))
        return background.cut(parts, event_count)

    def _records(self, planted: list[Planted]) -> tuple[Table, list[tuple[str, str]]]:
        rng = self._rng(_FILES)
        on_file = {who: one.on_file.get(who) for one in planted for who in one.accounts}
        grants = int(self._config.events * reference.GRANT_SHARE)
        times = reference.wall_times(self.sessions, self._arrivals, grants, rng)
        records = reference.instrument_records(self.instruments, self.sessions, rng)
        records += reference.account_records(
            self._population, on_file, self.instruments, self.sessions, rng, self._config.events
        )
        records += reference.grant_records(self._population, times, rng)
        return reference.record_events(records)

    def _settle_profits(
        self, orders: Table, events: Table, planted: list[Planted]
    ) -> tuple[Ints, NDArray[np.bool_]]:
        """Work out what closing fills earned, and take luck beyond belief off paper.

        Ordinary accounts that win too often by chance trade real money instead: the rule is about
        simulated ones, and only plants may break it.
        """
        rows = np.flatnonzero(events["kind"] == tape.FILL)
        fills, filled = events[rows], orders[events["subject"][rows]]
        account = filled["account"].astype(np.int64)
        sign = np.where(filled["side"] == tape.BUY, 1, -1)
        gain, closes, trip = profit.realize(
            account,
            filled["instrument"].astype(np.int64),
            fills["quantity"].astype(np.int64) * sign,
            fills["price"].astype(np.int64),
        )
        lucky = np.setdiff1d(
            profit.too_lucky(account, trip),
            [who for one in planted if one.simulated for who in one.accounts],
        )
        self._population.simulated[lucky] = False
        all_gains, all_closes = np.zeros(len(events), np.int64), np.zeros(len(events), np.bool_)
        all_gains[rows], all_closes[rows] = gain, closes
        return all_gains, all_closes
