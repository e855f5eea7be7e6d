"""A day of a market: orders meet in the book, cancels fall due, makers answer.

Makers quote both sides of one instrument. Whenever one of their quotes is hit, or the middle has
moved, they look again after their latency: a quote that stands where it should is left, any other
is cancelled and entered anew, or replaced.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from lab.exchange.book import (
    BUY,
    LIMIT,
    NOBODY,
    ORDERS,
    SELL,
    TAPE,
    TRADE,
    Book,
    cancel,
    empty_book,
    enter,
    replace,
    with_room,
)
from lab.exchange.flow import LEVELS, SESSION_S, Flow
from lab.exchange.orders import LOTS_MOST, People, Rows, draw_day
from schemas.events import SECOND_NS
from schemas.jit import Int, inlined, kernel

MAKER: Final = np.dtype(
    [
        ("latency_ns", "<i8"),
        ("size", "<i8"),
        ("middle", "<i8"),  # twice the price around which the quotes stand; -1: none stand
        ("account", "<i4"),
        ("instrument", "<i4"),
        ("spread", "<i4"),  # ticks from the middle to the best quote, beyond the first
        ("is_due", "i1"),
        ("replaces", "i1"),
    ]
)
_DUE: Final = 4  # columns of what falls due: time, number, what, whose
_END_CANCEL, _QUOTE = 0, 1
# Of ``counts``: orders asked for so far, entries of ``due``, their number, lines of the tape read.
_ASKED, _DUES, _NUMBER, _READ = range(4)
_PERSON, _DAY = 0, 1  # streams of random numbers
_SPREADS: Final = 3
_ROOM_FIRST: Final = 1.5


class World(NamedTuple):
    """Everything that a day's run reads and changes.

    Attributes
    ----------
    asked
        Orders to come, dtype ``orders.ASKED``, by time.
    book
        The books.
    due
        Shape (room, 4): a heap of cancels and quotes to come, by time and number.
    makers
        Shape (makers,), dtype ``MAKER``.
    quotes
        Shape (makers, 2, levels): order numbers, or ``NOBODY``.
    maker_of
        Shape (all accounts,): number of the maker, or ``NOBODY``.
    middles
        Shape (instruments,): twice the middle as it was seen last.
    counts
        Shape (4,).
    patience
        Shape (1,): half ticks that the middle may move before makers look again.
    """

    asked: Rows
    book: Book
    due: NDArray[np.int64]
    makers: NDArray[np.void]
    quotes: NDArray[np.int32]
    maker_of: NDArray[np.int32]
    middles: NDArray[np.int64]
    counts: NDArray[np.int64]
    patience: NDArray[np.int64]


@inlined
def _is_before(due: Any, one: Int, other: Int) -> Any:
    return due[one, 0] < due[other, 0] or (
        due[one, 0] == due[other, 0] and due[one, 1] < due[other, 1]
    )


@inlined
def _swap(due: Any, one: Int, other: Int) -> None:
    for k in range(_DUE):
        due[one, k], due[other, k] = due[other, k], due[one, k]


@kernel
def _plan(world: Any, time_ns: Int, what: Int, whose: Int) -> None:
    """Put something on the heap."""
    due, counts = world.due, world.counts
    at = counts[_DUES]
    due[at, 0], due[at, 1], due[at, 2], due[at, 3] = time_ns, counts[_NUMBER], what, whose
    counts[_DUES] += 1
    counts[_NUMBER] += 1
    while at > 0 and _is_before(due, at, (at - 1) // 2):
        _swap(due, at, (at - 1) // 2)
        at = (at - 1) // 2


@kernel
def _take_first(world: Any) -> None:
    """Move what is due first behind the heap's end."""
    due = world.due
    world.counts[_DUES] -= 1
    count = world.counts[_DUES]
    _swap(due, 0, count)
    at = 0
    while 2 * at + 1 < count:
        least = 2 * at + 1
        if least + 1 < count and _is_before(due, least + 1, least):
            least += 1
        if not _is_before(due, least, at):
            return
        _swap(due, at, least)
        at = least


@inlined
def _call(world: Any, time_ns: Int, number: Int) -> None:
    """Have a maker look again after its latency, unless it will."""
    maker = world.makers[number]
    if not maker["is_due"]:
        maker["is_due"] = 1
        _plan(world, time_ns + maker["latency_ns"], _QUOTE, number)


@inlined
def _middle(book: Any, instrument: Int) -> Any:
    """Return twice the middle of the best prices, -1 where a side is empty."""
    bid, ask = book.best[instrument, BUY], book.best[instrument, SELL]
    return bid + ask if bid >= 0 and ask < book.queues.shape[1] else np.int64(-1)


@kernel
def _look(world: Any, time_ns: Int, instrument: Int) -> None:
    """Call makers that were hit, and all of the instrument where its middle has moved."""
    book, counts = world.book, world.counts
    for at in range(counts[_READ], book.used[TAPE]):
        if book.tape[at]["what"] != TRADE:
            continue
        hit = world.maker_of[book.orders[book.tape[at]["other"]]["account"]]
        if hit != NOBODY:
            _call(world, time_ns, hit)
    counts[_READ] = book.used[TAPE]
    middle = _middle(book, instrument)
    if middle < 0 or middle == world.middles[instrument]:
        return
    world.middles[instrument] = middle
    for number in range(len(world.makers)):
        maker = world.makers[number]
        moved = abs(middle - maker["middle"])
        if maker["instrument"] == instrument and (
            maker["middle"] < 0 or moved >= world.patience[0]
        ):
            _call(world, time_ns, number)


@kernel
def _set_quote(world: Any, time_ns: Int, number: Int, side: Int, level: Int) -> None:
    """Let one quote stand where it should: left, replaced, or cancelled and entered anew."""
    book, maker = world.book, world.makers[number]
    away = level + maker["spread"]
    price = (maker["middle"] - 1) // 2 - away if side == BUY else maker["middle"] // 2 + 1 + away
    price = min(max(price, 0), book.queues.shape[1] - 1)
    held = np.int64(world.quotes[number, side, level])
    if held != NOBODY and book.orders[held]["is_open"]:
        order = book.orders[held]
        if order["price"] == price and 2 * order["quantity"] >= maker["size"]:
            return
        if maker["replaces"]:
            replace(book, time_ns, held, price, maker["size"])
            return
        cancel(book, time_ns, held)
    who = (maker["account"], maker["instrument"])
    world.quotes[number, side, level] = enter(book, time_ns, who, side, price, maker["size"], LIMIT)


@kernel
def _quote(world: Any, time_ns: Int, number: Int) -> None:
    maker = world.makers[number]
    maker["is_due"] = 0
    middle = _middle(world.book, maker["instrument"])
    if middle < 0:
        return
    maker["middle"] = middle
    for level in range(world.quotes.shape[2]):
        for side in range(2):
            _set_quote(world, time_ns, number, side, level)


@kernel
def run(world: Any, until_ns: Int) -> bool:
    """Run until so late, or until room is short; say whether all is done."""
    asked, book, counts = world.asked, world.book, world.counts
    quotes = 2 * world.quotes.shape[2]
    while True:
        time_ns = until_ns
        if counts[_ASKED] < len(asked):
            time_ns = min(time_ns, asked[counts[_ASKED]]["time_ns"])
        is_due = counts[_DUES] > 0 and world.due[0, 0] <= time_ns
        if is_due:
            time_ns = world.due[0, 0]
        if time_ns >= until_ns:
            return True
        # Each lot of what is entered may be a trade of its own.
        if book.used[ORDERS] + quotes >= len(book.orders) or (
            book.used[TAPE] + (quotes + 1) * (LOTS_MOST + 2) >= len(book.tape)
        ):
            return False
        if not is_due:
            instrument = _enter_next(world, time_ns)
        else:
            _take_first(world)
            what, whose = world.due[counts[_DUES], 2], world.due[counts[_DUES], 3]
            if what == _QUOTE:
                instrument = np.int64(world.makers[whose]["instrument"])
                _quote(world, time_ns, whose)
            else:
                instrument = np.int64(book.orders[whose]["instrument"])
                cancel(book, time_ns, whose)
        _look(world, time_ns, instrument)


@kernel
def _enter_next(world: Any, time_ns: Int) -> Any:
    """Enter the next order that was asked for; plan its cancel; return its instrument."""
    one = world.asked[world.counts[_ASKED]]
    world.counts[_ASKED] += 1
    who = (one["account"], one["instrument"])
    number = enter(
        world.book, time_ns, who, one["side"], one["price"], one["quantity"], one["terms"]
    )
    if one["life_ns"] > 0 and world.book.orders[number]["is_open"]:
        _plan(world, time_ns + one["life_ns"], _END_CANCEL, number)
    return np.int64(one["instrument"])


class Market:
    """Days of one flow; the same flow and seed give the same days.

    Parameters
    ----------
    flow
        What drives it.
    seed
        Root of all randomness.
    """

    def __init__(self, flow: Flow, seed: int) -> None:
        self.flow = flow
        self._seed = seed
        rng = np.random.default_rng((seed, _PERSON))
        self._people = People(flow, rng)
        self.makers = _makers(flow, rng)
        self._days = 0

    def day(self) -> Book:
        """Run the next day; return what happened, in session time."""
        rng = np.random.default_rng((self._seed, _DAY, self._days))
        asked = draw_day(self.flow, self._days, self._people, rng)
        self._days += 1
        world = self._world(asked)
        while not run(world, SESSION_S * SECOND_NS):
            room = 2 * len(world.book.orders)
            world = world._replace(book=with_room(world.book, room))
        return world.book

    def _world(self, asked: Rows) -> World:
        flow = self.flow
        maker_of = np.full(flow.accounts + flow.makers, NOBODY, np.int32)
        maker_of[flow.accounts :] = np.arange(flow.makers)
        room = int(_ROOM_FIRST * len(asked)) + 1_000
        return World(
            asked=asked,
            book=empty_book(flow.instruments, LEVELS, room),
            due=np.zeros((len(asked) + flow.makers + 1, _DUE), np.int64),
            makers=self.makers.copy(),
            quotes=np.full((flow.makers, 2, flow.maker_levels), NOBODY, np.int32),
            maker_of=maker_of,
            middles=np.full(flow.instruments, -1, np.int64),
            counts=np.zeros(4, np.int64),
            patience=np.array([flow.maker_patience], np.int64),
        )


def _makers(flow: Flow, rng: np.random.Generator) -> NDArray[np.void]:
    makers = np.zeros(flow.makers, MAKER)
    makers["account"] = flow.accounts + np.arange(flow.makers)
    makers["instrument"] = np.arange(flow.makers) % flow.instruments
    # There are few, so that quick and slow, near and far ones are dealt out evenly; else no two
    # markets compare: a maker alone at the touch leads the middle, two follow each other.
    rank = rng.permutation(flow.makers)
    latency = flow.maker_latency_s * np.exp(stats.norm.ppf((rank + 0.5) / max(1, flow.makers)))
    makers["latency_ns"] = np.maximum(1, latency * SECOND_NS).astype(np.int64)
    makers["size"] = rng.integers(5, LOTS_MOST, flow.makers)
    makers["spread"] = 1 + np.arange(flow.makers) // flow.instruments % _SPREADS
    makers["middle"] = -1
    makers["replaces"] = rng.random(flow.makers) < flow.replacing_share
    return makers
