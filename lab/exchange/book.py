"""A matching engine: price, then time, of many instruments at once.

Whoever offers the better price trades first; of one price, whoever came first. A trade happens at
the price of the order that rested. A replaced order keeps its place only if its price stays and
its quantity does not grow. Prices are whole ticks from 0 to the levels that there are, quantities
whole lots. Everything lies in arrays that the caller owns; kernels allocate nothing.

Each price of an instrument has a queue, a list that orders form by naming who is before and after
them. Since a book is never crossed, a price belongs to one side at a time.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.jit import Int, inlined, kernel

BUY, SELL = 0, 1
# How an order is meant: what is left of the last two is withdrawn at once, and a market order takes
# any price.
LIMIT, IOC, MARKET = range(3)
# What the tape tells.
ENTER, TRADE, CANCEL, REMAINDER, REPLACE = range(5)
NOBODY: Final = -1
FIRST, LAST = 0, 1
ORDERS, TAPE = 0, 1

ORDER: Final = np.dtype(
    [
        ("entered_ns", "<i8"),
        ("quantity", "<i8"),  # what is left
        ("filled", "<i8"),
        ("account", "<i4"),
        ("instrument", "<i4"),
        ("price", "<i4"),
        ("before", "<i4"),
        ("after", "<i4"),
        ("side", "i1"),
        ("terms", "i1"),
        ("is_open", "i1"),
    ]
)
# ``other`` is a trade's resting order; of an entry or replace, 1 where something came to rest.
LINE: Final = np.dtype(
    [
        ("time_ns", "<i8"),
        ("quantity", "<i8"),
        ("filled", "<i8"),  # of the order, before
        ("order", "<i4"),
        ("other", "<i4"),
        ("price", "<i4"),
        ("what", "i1"),
    ]
)


class Book(NamedTuple):
    """All instruments' books.

    Attributes
    ----------
    orders
        Shape (room,), dtype ``ORDER``: by number.
    tape
        Shape (room,), dtype ``LINE``: what happened, in order.
    queues
        Shape (instruments, levels, 2): the first and the last order of each price, or ``NOBODY``.
    best
        Shape (instruments, 2): the highest price bought at, -1 for none; the lowest sold at, as
        many as there are levels for none.
    used
        Shape (2,): orders and lines so far.
    """

    orders: NDArray[np.void]
    tape: NDArray[np.void]
    queues: NDArray[np.int32]
    best: NDArray[np.int64]
    used: NDArray[np.int64]


def empty_book(instruments: int, levels: int, room: int) -> Book:
    """Return books without orders; ``room`` is for so many orders, and four lines of each."""
    best = np.empty((instruments, 2), np.int64)
    best[:, BUY], best[:, SELL] = -1, levels
    return Book(
        orders=np.zeros(room, ORDER),
        tape=np.zeros(4 * room, LINE),
        queues=np.full((instruments, levels, 2), NOBODY, np.int32),
        best=best,
        used=np.zeros(2, np.int64),
    )


def with_room(book: Book, room: int) -> Book:
    """Return the same books with room for so many orders."""
    orders, tape = np.zeros(room, ORDER), np.zeros(4 * room, LINE)
    orders[: len(book.orders)] = book.orders
    tape[: len(book.tape)] = book.tape
    return book._replace(orders=orders, tape=tape)


@inlined
def write(book: Any, time_ns: Int, what: Int, order: Int, other: Int) -> Any:
    """Begin a line of the tape; return its place."""
    at = book.used[TAPE]
    book.used[TAPE] = at + 1
    line = book.tape[at]
    line["time_ns"], line["what"], line["order"], line["other"] = time_ns, what, order, other
    about = book.orders[order]
    line["price"], line["quantity"], line["filled"] = (
        about["price"],
        about["quantity"],
        about["filled"],
    )
    return at


@kernel
def _join_queue(book: Any, number: Int) -> None:
    """Let an order rest behind all others of its price."""
    order = book.orders[number]
    instrument, price, side = order["instrument"], order["price"], order["side"]
    last = book.queues[instrument, price, LAST]
    order["before"], order["after"], order["is_open"] = last, NOBODY, 1
    if last == NOBODY:
        book.queues[instrument, price, FIRST] = number
    else:
        book.orders[last]["after"] = number
    book.queues[instrument, price, LAST] = number
    best = book.best[instrument, side]
    if (price > best) if side == BUY else (price < best):
        book.best[instrument, side] = price


@kernel
def _leave_queue(book: Any, number: Int) -> None:
    """Take an order out of its queue; the best price moves on where nobody is left."""
    order = book.orders[number]
    instrument, price, side = order["instrument"], order["price"], order["side"]
    before, after = order["before"], order["after"]
    order["is_open"] = 0
    if before == NOBODY:
        book.queues[instrument, price, FIRST] = after
    else:
        book.orders[before]["after"] = after
    if after == NOBODY:
        book.queues[instrument, price, LAST] = before
    else:
        book.orders[after]["before"] = before
    if book.best[instrument, side] != price:
        return
    step = -1 if side == BUY else 1
    at = np.int64(price)
    while 0 <= at < book.queues.shape[1] and book.queues[instrument, at, FIRST] == NOBODY:
        at += step
    book.best[instrument, side] = at


@kernel
def _match(book: Any, time_ns: Int, number: Int) -> None:
    """Trade an order with whoever rests at its price or better, the best and oldest first."""
    order = book.orders[number]
    instrument, side = order["instrument"], order["side"]
    against = 1 - side
    while order["quantity"] > 0:
        price = book.best[instrument, against]
        if price < 0 or price >= book.queues.shape[1]:
            return
        is_in_reach = price <= order["price"] if side == BUY else price >= order["price"]
        if not is_in_reach:
            return
        resting = np.int64(book.queues[instrument, price, FIRST])
        traded = min(order["quantity"], book.orders[resting]["quantity"])
        line = book.tape[write(book, time_ns, TRADE, number, resting)]
        line["price"], line["quantity"] = price, traded
        for one in (number, resting):
            book.orders[one]["quantity"] -= traded
            book.orders[one]["filled"] += traded
        if book.orders[resting]["quantity"] == 0:
            _leave_queue(book, resting)


@kernel
def enter(
    book: Any, time_ns: Int, who: tuple[Int, Int], side: Int, price: Int, quantity: Int, terms: Int
) -> Any:
    """Enter an order of ``who`` = (account, instrument); return its number.

    ``price`` of a market order is not looked at. Room for it and for its trades must be there.
    """
    number = book.used[ORDERS]
    book.used[ORDERS] = number + 1
    order = book.orders[number]
    if terms == MARKET:
        price = book.queues.shape[1] - 1 if side == BUY else 0
    order["entered_ns"], order["quantity"] = time_ns, quantity
    order["account"], order["instrument"] = who
    order["price"], order["side"], order["terms"] = price, side, terms
    order["filled"] = order["is_open"] = 0
    at = write(book, time_ns, ENTER, number, 0)
    _match(book, time_ns, number)
    if order["quantity"] > 0:
        if terms == LIMIT:
            book.tape[at]["other"] = 1
            _join_queue(book, number)
        else:
            write(book, time_ns, REMAINDER, number, 0)
    return number


@kernel
def cancel(book: Any, time_ns: Int, number: Int) -> bool:
    """Withdraw what is left of an order; say whether anything was."""
    if not book.orders[number]["is_open"]:
        return False
    _leave_queue(book, number)
    write(book, time_ns, CANCEL, number, 0)
    return True


@kernel
def replace(book: Any, time_ns: Int, number: Int, price: Int, quantity: Int) -> bool:
    """Change an open order to another price and so much that is left; say whether it was open.

    It keeps its place if the price stays and the quantity does not grow.
    """
    order = book.orders[number]
    if not order["is_open"]:
        return False
    if price == order["price"] and quantity <= order["quantity"]:
        order["quantity"] = quantity
        write(book, time_ns, REPLACE, number, 1)
        return True
    _leave_queue(book, number)
    order["price"], order["quantity"] = price, quantity
    at = write(book, time_ns, REPLACE, number, 0)
    _match(book, time_ns, number)
    if order["quantity"] > 0:
        book.tape[at]["other"] = 1
        _join_queue(book, number)
    return True
