"""Written by hand, order by order: what a planted account does."""

import random
from typing import Final

import numpy as np

from lab.simulator import tape
from lab.simulator.ordinary import EXTRA_SHARES
from lab.simulator.prices import Prices
from lab.simulator.tape import Table
from lab.simulator.venues import CONTINUOUS, Instrument, Session
from schemas.events import SECOND_NS

_ORDER_COLUMNS: Final = ("instrument", "side", "order_type", "time_in_force", "claim", "account")
_EVENT_COLUMNS: Final = ("kind", "subject", "time_ns", "price", "quantity", "code", "partner")
_GUARD_NS: Final = 10 * SECOND_NS
_WEEK_NS: Final = 7 * 86_400 * SECOND_NS
_TAIL_SHARE: Final = 0.04  # of the session, left free behind every window


class Script:
    """One account's orders on one venue, or those of two that trade with each other.

    ``quiet`` is an instrument that nobody else trades, where the behaviour needs one.

    Times are session time, prices cents. The caller keeps the life cycles
    right; a test checks every line that is written.
    """

    def __init__(
        self,
        accounts: tuple[int, ...],
        floor: tuple[Session, tuple[Instrument, ...], Prices],
        venue: int,
        rng: np.random.Generator,
        quiet: int | None = None,
    ) -> None:
        self.accounts = accounts
        self.session, self.instruments, self._prices = floor
        self.rng = rng
        # Single numbers: many times faster than numpy's. S311: nothing here is secret.
        self._dice = random.Random(int(rng.integers(2**62)))  # noqa: S311 - no secret
        self.claim = tape.CLAIM_NONE
        self.spans: list[tuple[int, int]] = []  # of each account; set when the behaviour ends
        listed = [
            i for i, one in enumerate(self.instruments) if one.venue == venue and not one.is_quiet
        ]
        self.listed: list[int] = rng.permutation(listed).tolist()
        if quiet is not None:
            self.listed[0] = quiet
        self._orders: list[tuple[int, ...]] = []
        self._events: list[tuple[int, ...]] = []
        self.weeks_ago = 0  # of what is written next
        self._weeks_ago: list[int] = []
        self._left: list[int] = []
        self._price: list[int] = []

    @property
    def main(self) -> int:
        """The instrument the behaviour is about."""
        return self.listed[0]

    @property
    def breaks(self) -> int:
        """How many breaks cut continuous trading in parts."""
        return int(np.count_nonzero(self.session.phase == CONTINUOUS)) - 1

    def window(self, share: float) -> tuple[int, int]:
        """Return start and length of a stretch of continuous trading, ``share`` of all of it.

        It starts early, so that short runs show something soon.
        """
        length = self.session.close_ns - self.session.open_ns
        latest = min(0.3, 0.95 - share)
        start = self.session.open_ns + int(length * self.rng.uniform(0.02, latest))
        return start, int(length * share)

    def moments(self, count: int, share: float = 0.6, longest_s: int = 3600) -> list[int]:
        """Return ``count`` ascending moments, one in each equal part of a stretch."""
        start, length = self.window(share)
        step = min(length, longest_s * SECOND_NS) / max(count, 1)
        jitter = self.rng.uniform(0.0, 0.9, count)
        moments: list[int] = (start + (np.arange(count) + jitter) * step).astype(np.int64).tolist()
        return moments

    def mid(self, instrument: int, at: int) -> int:
        """Return the mid price in cents."""
        return self._prices.at_moment(instrument, at)

    def tick(self, instrument: int) -> int:
        """Return the tick in cents."""
        return self.instruments[instrument].tick_cents

    def inside(self, at: int, length_ns: int) -> int:
        """Move a stretch that a break would cut in two to the far side of the break."""
        ends = self.session.segment_of(np.array([at - length_ns, at + length_ns]))
        if ends[0] == ends[1]:
            return at
        return int(self.session.offset_ns[ends[1]]) + length_ns

    def age(self, low_s: float, high_s: float) -> int:
        """Return a random age in ns, cut so that it ends within a short session."""
        session_s = (self.session.close_ns - self.session.open_ns) / SECOND_NS
        high_s = max(low_s, min(high_s, session_s * _TAIL_SHARE))
        return int(self._dice.uniform(low_s, high_s) * SECOND_NS)

    def price_of(self, order: int) -> int:
        """Return the price of an order."""
        return self._price[order]

    def lot_of(self, order: int) -> int:
        """Return the lot of an order's instrument."""
        return self.instruments[self._orders[order][0]].lot

    def side_of(self, order: int) -> int:
        """Return the side of an order."""
        return self._orders[order][1]

    def force_of(self, order: int) -> int:
        """Return how long an order is in force."""
        return self._orders[order][3]

    def left_of(self, order: int) -> int:
        """Return what is left of an order."""
        return self._left[order]

    def lots(self, instrument: int, low: int = 1, high: int = 5) -> int:
        """Return a random quantity from ``low`` to ``high`` lots."""
        return self._dice.randint(low, high) * self.instruments[instrument].lot

    def enter(
        self,
        at: int,
        instrument: int,
        side: int,
        quantity: int,
        *,
        price: int = 0,
        force: int = tape.DAY,
        who: int = 0,
    ) -> int:
        """Enter an order, passively 2 ticks from the mid unless priced; return its number.

        ``who`` says whose it is, as an index of ``accounts``.
        """
        if price == 0:
            away = 2 * self.tick(instrument)
            price = self.mid(instrument, at) + (away if side == tape.SELL else -away)
        order = len(self._orders)
        account = self.accounts[who]
        self._orders.append((instrument, side, tape.LIMIT, force, self.claim, account))
        self._left.append(quantity)
        self._price.append(price)
        self._note(tape.NEW, order, at, price, quantity, 0)
        return order

    def replace(self, order: int, at: int, ticks: int = 1) -> None:
        """Move an open order some ticks towards the market and keep its quantity."""
        instrument, side = self._orders[order][:2]
        self._price[order] += ticks * self.tick(instrument) * (1 if side == tape.BUY else -1)
        self._note(tape.REPLACE, order, at, self._price[order], self._left[order], 0)

    def cancel(self, order: int, at: int, reason: int = tape.USER) -> None:
        """Withdraw what is left of an order; every other time the quantity is written."""
        shown = tape.QUANTITY_SHOWN if self._dice.random() < 0.5 else 0  # noqa: PLR2004 - a coin
        self._note(tape.CANCEL, order, at, 0, self._left[order], reason + shown)
        self._left[order] = 0

    def fill(self, order: int, at: int, price: int, quantity: int) -> None:
        """Trade part of an open order."""
        self._left[order] -= quantity
        self._note(tape.FILL, order, at, price, quantity, tape.MAKER)

    def fill_all(self, order: int, at: int) -> None:
        """Trade all that is left of an order, at its price."""
        self.fill(order, at, self._price[order], self._left[order])

    def match(self, orders: tuple[int, int], at: int, price: int, quantity: int) -> None:
        """Let two open orders trade with each other; both sides report it."""
        for order, partner in (orders, orders[::-1]):
            self._left[order] -= quantity
            liquidity = tape.MAKER if order == min(orders) else tape.TAKER
            self._note(tape.FILL, order, at, price, quantity, liquidity, partner + 1)

    def trip(
        self, at: int, instrument: int, quantity: int, ticks: int, *, hold_ns: int = 400_000_000
    ) -> None:
        """Buy and sell again ``ticks`` higher, each in one fill."""
        price = self.mid(instrument, at)
        opening = self.enter(at, instrument, tape.BUY, quantity, price=price)
        self.fill(opening, at + hold_ns // 8, price, quantity)
        higher = price + ticks * self.tick(instrument)
        closing = self.enter(at + hold_ns // 2, instrument, tape.SELL, quantity, price=higher)
        self.fill(closing, at + hold_ns, higher, quantity)

    def cover(self, count: int, *, apart: bool = False) -> None:
        """Trade ordinarily too: ``count`` round trips on other instruments; every other one loses.

        ``apart`` keeps them clear of the moments of the behaviour, which ends here.
        """
        self.spans = self._spans()
        begin, end = self.reach()
        for i, at in enumerate(self.moments(count, share=0.9, longest_s=24 * 3600)):
            if apart and begin - _GUARD_NS <= at <= end + _GUARD_NS:
                at = end + (1 + i) * _GUARD_NS  # noqa: PLW2901 - moved, not mistaken
            instrument = self.listed[1 + i % (len(self.listed) - 1)]
            ticks = int(self.rng.integers(1, 5)) * (-1) ** i
            self.trip(at, instrument, self.lots(instrument), ticks, hold_ns=self.age(1.0, 8.0))

    def reach(self) -> tuple[int, int]:
        """Return first and last moment of the day written so far, in session time."""
        times = [event[2] for event in self._of_the_day()]
        return min(times), max(times)

    def finish(self) -> tuple[Table, Table]:
        """Return the script as columns, in wall-clock time, as ``spans`` are from then on."""
        spans = np.array(self.spans or self._spans())
        self.spans = [tuple(span) for span in self.session.to_wall(spans).tolist()]
        orders = np.array(self._orders, np.int64).reshape(-1, len(_ORDER_COLUMNS))
        events = np.array(self._events, np.int64).reshape(-1, len(_EVENT_COLUMNS))
        order_table = tape.order_table(
            len(orders),
            extra=self.rng.choice(len(EXTRA_SHARES), len(orders), p=EXTRA_SHARES),
            **dict(zip(_ORDER_COLUMNS, orders.T, strict=True)),
        )
        named = dict(zip(_EVENT_COLUMNS, events.T, strict=True))
        kinds, subject, time_ns = named.pop("kind"), named.pop("subject"), named.pop("time_ns")
        table = tape.event_table(0, subject, time_ns, unit=tape.NO_UNIT, **named)
        table["kind"] = kinds
        settled = tape.settle(self.session, table)
        assert len(settled) == len(table), "a plant must fit into its session"
        settled["time_ns"] -= np.array(self._weeks_ago, np.int64) * _WEEK_NS
        return order_table, settled

    def _spans(self) -> list[tuple[int, int]]:
        """Return each account's first and last moment of the day so far, in session time."""
        events = self._of_the_day()
        whose = [self._orders[event[1]][-1] for event in events]
        times = {who: [e[2] for e, w in zip(events, whose, strict=True) if w == who]
                 for who in self.accounts}  # fmt: skip
        return [(min(times[who]), max(times[who])) for who in self.accounts]

    def _of_the_day(self) -> list[tuple[int, ...]]:
        written = zip(self._events, self._weeks_ago, strict=True)
        return [event for event, weeks_ago in written if weeks_ago == 0]

    def _note(
        self,
        kind: int,
        order: int,
        at: int,
        price: int,
        quantity: int,
        code: int,
        partner: int = 0,
    ) -> None:
        self._events.append((kind, order, at, price, quantity, code, partner))
        self._weeks_ago.append(self.weeks_ago)
