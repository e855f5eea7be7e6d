"""The matching engine does what the naive one does, and what a book must do in any case."""

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from naive_book import NaiveBook

from lab.exchange.book import (
    BUY,
    CANCEL,
    ENTER,
    LIMIT,
    ORDERS,
    REMAINDER,
    REPLACE,
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

LEVELS, INSTRUMENTS = 9, 2
_PRICES = st.integers(0, LEVELS - 1)
_QUANTITIES = st.integers(1, 9)
_ENTRIES = st.tuples(
    st.integers(0, INSTRUMENTS - 1), st.integers(BUY, SELL), _PRICES, _QUANTITIES,
    st.sampled_from((0, 0, 0, 1, 2)),
)  # fmt: skip
_ACTS = st.one_of(
    _ENTRIES,
    _ENTRIES,
    st.tuples(st.integers(0, 30)),
    st.tuples(st.integers(0, 30), _PRICES, _QUANTITIES),
)
Acts = list[tuple[int, ...]]


def carry_out(acts: Acts) -> tuple[Book, NaiveBook]:
    """Let both do the same; acts of five are orders, of one cancels, of three replaces."""
    book, naive = empty_book(INSTRUMENTS, LEVELS, 2), NaiveBook(LEVELS)
    for time_ns, act in enumerate(acts):
        if len(act) == 5:
            instrument, *rest = act
            book = with_room(book, book.used[ORDERS] + 40)
            assert enter(book, time_ns, (7, instrument), *rest) == naive.enter(*act)
        elif act[0] < naive.entered:
            ours, theirs = (cancel, naive.cancel) if len(act) == 1 else (replace, naive.replace)
            assert ours(book, time_ns, *act) == theirs(*act)
    return book, naive


def tape_of(book: Book) -> Any:
    return book.tape[: book.used[TAPE]]


@given(st.lists(_ACTS, max_size=40))
def test_it_does_what_the_naive_book_does(acts: Acts) -> None:
    book, naive = carry_out(acts)
    names = ["what", "order", "other", "price", "quantity"]
    assert [tuple(int(one) for one in line) for line in tape_of(book)[names]] == naive.tape
    orders = book.orders[: book.used[ORDERS]]
    assert set(np.flatnonzero(orders["is_open"]).tolist()) == set(naive.resting)
    for number, one in naive.resting.items():
        assert orders["quantity"][number] == one.quantity


@given(st.lists(_ACTS, max_size=40))
def test_no_book_is_ever_crossed(acts: Acts) -> None:
    for until in range(len(acts) + 1):
        book, _ = carry_out(acts[:until])
        orders = book.orders[: book.used[ORDERS]]
        for instrument in range(INSTRUMENTS):
            own = orders[(orders["instrument"] == instrument) & (orders["is_open"] == 1)]
            bids, asks = (own["price"][own["side"] == side] for side in (BUY, SELL))
            assert bids.max(initial=-1) < asks.min(initial=LEVELS)
            assert bids.max(initial=-1) == book.best[instrument, BUY]
            assert asks.min(initial=LEVELS) == book.best[instrument, SELL]


@given(st.lists(_ACTS, max_size=40))
def test_no_quantity_is_lost_or_made(acts: Acts) -> None:
    book, _ = carry_out(acts)
    wanted: dict[int, int] = {}
    traded: Counter[int] = Counter()
    for line in tape_of(book).tolist():
        _, quantity, filled, order, other, _, what = line
        assert filled == traded[order]
        if what in {ENTER, REPLACE}:
            wanted[order] = quantity
        elif what == TRADE:
            traded.update({order: quantity, other: quantity})
            wanted[order] -= quantity
            wanted[other] -= quantity
        else:
            assert what in {CANCEL, REMAINDER}
            assert wanted.pop(order) == quantity
    left = {number: quantity for number, quantity in wanted.items() if quantity}
    open_ = np.flatnonzero(book.orders["is_open"]).tolist()
    assert left == {number: int(book.orders["quantity"][number]) for number in open_}


def test_a_trade_is_at_the_price_of_the_order_that_rested() -> None:
    book, _ = carry_out([(0, SELL, 4, 5, LIMIT), (0, SELL, 3, 5, LIMIT), (0, BUY, 8, 7, LIMIT)])
    trades = tape_of(book)[-2:]
    assert trades["what"].tolist() == [TRADE, TRADE]
    assert trades["price"].tolist() == [3, 4]
    assert trades["quantity"].tolist() == [5, 2]


def test_more_quantity_or_another_price_costs_the_place_and_less_does_not() -> None:
    first, second = (0, BUY, 5, 3, LIMIT), (0, BUY, 5, 3, LIMIT)
    hit = (0, SELL, 0, 1, 1)
    for change, served in (((0, 5, 2), 0), ((0, 5, 4), 1), ((0, 5, 3), 0)):
        book, _ = carry_out([first, second, change, hit])
        assert int(tape_of(book)["other"][-1]) == served, change
    book, _ = carry_out([first, second, (0, 4, 3), (0, 5, 3), hit])
    assert int(tape_of(book)["other"][-1]) == 1, "back at its price, but behind"
