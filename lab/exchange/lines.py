"""Days of a market as events in the product's own words, so that the real rules run on them.

Accounts are called by numbers that say nothing of what they do. Both sides report a trade, under
one ``fill_id``; closing fills carry what they earned, at average cost.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from lab.exchange.book import (
    BUY,
    CANCEL,
    ENTER,
    IOC,
    MARKET,
    ORDERS,
    REMAINDER,
    REPLACE,
    SELL,
    TAPE,
    TRADE,
    Book,
)
from lab.exchange.flow import MORNING_S, Flow
from lab.exchange.market import Market
from lab.exchange.orders import Ints, Rows
from lab.simulator import profit
from lab.simulator.population import Scatter
from lab.simulator.typeset import Typesetter
from schemas.events import SECOND_NS

LOT: Final = 100
FIRST_DAY: Final = "2026-03-02"
_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
_OPENS_S: Final = 9 * 3_600 + 1_800
_BREAK_S: Final = 5_400
_WEEKDAYS: Final = 5
_IDS: Final = 2  # the stream of random numbers that ids come from
_BLOCK_ROWS: Final = 32_768
_HEAD: Final = (
    '{"kind":"KIND","source":"sim-exchange","event_id":"%x","event_time_ns":%d,'
    '"account_id":"%x","order_id":"%x"'
)
_PLACE: Final = ',"instrument":"%t","venue":"XSHG","side":"%t","quantity":%d'
_NEW, _NEW_MARKET, _NEW_IOC, _FILL, _FILL_CLOSING, _CANCEL, _REMAINDER, _REPLACE = range(8)


def _line(kind: str, rest: str) -> str:
    return _HEAD.replace("KIND", kind) + rest + "}\n"


_FILL_TEXT: Final = _PLACE + ',"price":%c,"fill_id":"%x","liquidity":"%t"'
_TEMPLATES: Final = (
    _line("order.new", _PLACE + ',"order_type":"limit","price":%c'),
    _line("order.new", _PLACE + ',"order_type":"market"'),
    _line("order.new", _PLACE + ',"order_type":"limit","time_in_force":"ioc","price":%c'),
    _line("fill", _FILL_TEXT),
    _line("fill", _FILL_TEXT + ',"realized_pnl":%c'),
    _line("order.cancel", ',"quantity":%d,"reason":"user"'),
    _line("order.cancel", ',"quantity":%d,"reason":"immediate"'),
    _line("order.replace", ',"price":%c,"quantity":%d'),
)


class _Day:
    """One day's rows: a line of the tape each, of a trade one for either side."""

    def __init__(self, book: Book, number: int) -> None:
        self.number = number
        self.orders: Rows = book.orders[: book.used[ORDERS]].copy()
        tape = book.tape[: book.used[TAPE]]
        sides = np.where(tape["what"] == TRADE, 2, 1)
        self.rows: Rows = np.repeat(tape, sides)
        first = np.repeat(np.cumsum(sides) - sides, sides)
        self.rests = np.arange(len(self.rows)) > first  # the side that was there before
        self.order: Ints = np.where(self.rests, self.rows["other"], self.rows["order"])
        self.trade: Ints = np.repeat(np.arange(len(tape)), sides)
        self.gain_cents = np.zeros(len(self.rows), np.int64)
        self.closes = np.zeros(len(self.rows), np.bool_)


class Stream:
    """Days of one flow as NDJSON; the same flow and seed give the same bytes.

    Parameters
    ----------
    flow
        What drives the market.
    seed
        Root of all randomness.
    days
        Trading days, weekdays from 2026-03-02 on.
    """

    def __init__(self, flow: Flow, seed: int, days: int) -> None:
        market = Market(flow, seed)
        self._days = [_Day(market.day(), number) for number in range(days)]
        self._settle()
        rng = np.random.default_rng((seed, _IDS))
        scatters = [Scatter(rng) for _ in range(4)]
        self._event_id, self._account_id, self._order_id, self._fill_id = scatters
        self.accounts = flow.accounts + flow.makers
        self._text = Typesetter(_TEMPLATES)
        self._instrument = self._text.add([f"{600_100 + k}" for k in range(flow.instruments)])
        self._side = self._text.add(["buy", "sell"])
        self._liquidity = self._text.add(["taker", "maker"])

    def account_ids(self) -> list[str]:
        """Return the ids: first of ordinary accounts, then of makers."""
        return [f"{one:012x}" for one in self._account_id(np.arange(self.accounts)).tolist()]

    @property
    def events(self) -> int:
        """How many lines there are."""
        return sum(len(day.rows) for day in self._days)

    def _settle(self) -> None:
        """Work out what closing fills earned; positions are carried from day to day."""
        places = [np.flatnonzero(day.rows["what"] == TRADE) for day in self._days]
        pairs = list(zip(self._days, places, strict=True))
        about = np.concatenate([day.orders[day.order[at]] for day, at in pairs])
        traded = np.concatenate([day.rows[at] for day, at in pairs])
        sign = np.where(about["side"] == BUY, 1, -1)
        gain, closes, _ = profit.realize(
            about["account"].astype(np.int64),
            about["instrument"].astype(np.int64),
            sign * traded["quantity"] * LOT,
            traded["price"].astype(np.int64),
        )
        first = 0
        for day, at in pairs:
            day.gain_cents[at] = gain[first : first + len(at)]
            day.closes[at] = closes[first : first + len(at)]
            first += len(at)

    def blocks(self) -> Iterator[bytes]:
        """Yield the lines in order of time, in blocks of whole lines."""
        events = orders = 0
        for day in self._days:
            for first in range(0, len(day.rows), _BLOCK_ROWS):
                at = np.arange(first, min(first + _BLOCK_ROWS, len(day.rows)))
                yield self._write(day, at, events, orders)
            events, orders = events + len(day.rows), orders + len(day.orders)

    def _write(self, day: _Day, at: Ints, events: int, orders: int) -> bytes:
        rows, order = day.rows[at], day.order[at]
        about = day.orders[order]
        template = _template(rows["what"], about["terms"], day.closes[at])
        head = [
            self._event_id(at + events),
            _wall_ns(rows["time_ns"], day.number),
            self._account_id(about["account"]),
            self._order_id(order + orders),
        ]
        quantity = rows["quantity"] * LOT
        price = rows["price"].astype(np.int64)
        place = [self._instrument + about["instrument"], self._side + about["side"], quantity]
        args = np.zeros((len(at), self._text.slots), np.int64)
        args[:, : len(head)] = np.stack(head, axis=1)
        rest = (
            (rows["what"] == ENTER, [*place, price]),
            (
                rows["what"] == TRADE,
                [
                    *place,
                    price,
                    self._fill_id(day.trade[at] + events),
                    self._liquidity + day.rests[at],
                    day.gain_cents[at],
                ],
            ),
            ((rows["what"] == CANCEL) | (rows["what"] == REMAINDER), [quantity]),
            # The product is told of the whole order, what was filled included.
            (rows["what"] == REPLACE, [price, quantity + rows["filled"] * LOT]),
        )
        for chosen, columns in rest:
            stacked = np.stack(columns, axis=1)[chosen]
            args[chosen, len(head) : len(head) + len(columns)] = stacked
        return self._text.fill(template, args)


def _template(what: Ints, terms: Ints, closes: NDArray[np.bool_]) -> Ints:
    found = np.choose(what, (_NEW, _FILL, _CANCEL, _REMAINDER, _REPLACE)).astype(np.int64)
    is_new = what == ENTER
    found[is_new & (terms == MARKET)] = _NEW_MARKET
    found[is_new & (terms == IOC)] = _NEW_IOC
    found[closes] = _FILL_CLOSING
    return found


def _wall_ns(session_ns: Ints, number: int) -> Ints:
    """Map session time of a day to UTC; the break at noon takes none of it."""
    weeks, weekday = divmod(number, _WEEKDAYS)
    day = dt.date.fromisoformat(FIRST_DAY) + dt.timedelta(days=7 * weeks + weekday)
    midnight = dt.datetime.combine(day, dt.time(), _SHANGHAI)
    opens_ns = (int(midnight.timestamp()) + _OPENS_S) * SECOND_NS
    is_later = session_ns >= MORNING_S * SECOND_NS
    wall: Ints = opens_ns + session_ns + is_later * _BREAK_S * SECOND_NS
    return wall


assert (BUY, SELL) == (0, 1), "sides are spelled by their number"
