"""How real a flow is: figures of a real tape beside those of simulated days, measured alike.

What is counted is what an exchange publishes: an order that rests (or the part of it that does)
and a cancel are a message each, an order that trades at once and whole is none. Trades are not
messages. Shares are of the whole day; counts by the second are of continuous trading, morning and
afternoon apart. Figures of several stocks are pooled: sums of their moments, not means of ratios.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from msgspec import Struct
from numpy.typing import NDArray

from flows.adapters import AdapterOptions
from flows.adapters.sse import ADAPTER
from lab.exchange.book import CANCEL, ENTER, ORDERS, TAPE, Book
from lab.exchange.flow import CALIBRATED, MORNING_S, SESSION_S, Flow
from lab.exchange.market import Market
from schemas.events import SECOND_NS

SAMPLE: Final = "sse_orders_and_trades_2023-07-11.zip"
LAGS: Final = (1, 10, 60)
WITHIN: Final = 0.2
# Shanghai level 2, five stocks, 2023-07-11, as ``read_sample`` and ``figures_of`` measure it;
# whoever has the sample can measure again.
SHANGHAI: Final[dict[str, float]] = {
    "messages a second": 2.016,
    "cancels an order": 0.3606,
    "cancelled within 1 s": 0.0741,
    "variance over mean": 9.904,
    "autocorrelation, 1 s": 0.457,
    "autocorrelation, 10 s": 0.2606,
    "autocorrelation, 60 s": 0.1919,
}
_MARKETS: Final = 10_000  # days of one seed at most, so that no two seeds share any
_DAY_S: Final = 86_400
_CHINA_S: Final = 8 * 3_600
_MORNING: Final = (9 * 3_600 + 1_800, 11 * 3_600 + 1_800)
_AFTERNOON: Final = (13 * 3_600, 14 * 3_600 + 57 * 60)


class Messages(Struct, frozen=True):
    """One stock's day of messages, in any order.

    Attributes
    ----------
    second
        Shape (n,): of continuous trading, breaks left out; -1 outside.
    is_cancel
        Shape (n,).
    life_ns
        Shape (n,): of cancels, how old the order was; -1 where that is not known, and of orders.
    """

    second: NDArray[np.int64]
    is_cancel: NDArray[np.bool_]
    life_ns: NDArray[np.int64]


class Figure(Struct, frozen=True, kw_only=True):
    """One figure of both; ``ratio`` is simulated over real."""

    name: str
    real: float
    simulated: float

    @property
    def ratio(self) -> float:
        """How much of the real figure the simulated one is."""
        return self.simulated / self.real

    @property
    def is_within(self) -> bool:
        """Whether it is within a fifth."""
        return abs(self.ratio - 1.0) <= WITHIN


def read_sample(path: Path) -> list[Messages]:
    """Read a Shanghai file, stock by stock.

    Raises
    ------
    FileProblem
        If the file cannot be read or is another one.
    """
    stock_of: dict[str, str] = {}
    entered: dict[str, int] = {}
    found: dict[str, list[tuple[int, bool, int]]] = {}
    for event in _events(path):
        order, time_ns = event["order_id"], event["event_time_ns"]
        second = _second_of(time_ns)
        if event["kind"] == "order.new":
            stock_of[order], entered[order] = event["instrument"], time_ns
            found.setdefault(event["instrument"], []).append((second, False, -1))
        elif event["kind"] == "order.cancel" and order in entered:
            life_ns = time_ns - entered[order]
            found[stock_of[order]].append((second, True, life_ns))
    return [_messages(rows) for _, rows in sorted(found.items())]


def _messages(rows: list[tuple[int, bool, int]]) -> Messages:
    second, is_cancel, life_ns = zip(*rows, strict=True)
    return Messages(np.array(second), np.array(is_cancel), np.array(life_ns))


def _events(path: Path) -> Iterator[dict[str, Any]]:
    for block in ADAPTER.adapt(path, AdapterOptions()):
        yield from map(orjson.loads, block.raw.tobytes().splitlines())


def _second_of(time_ns: int) -> int:
    """Return the second of continuous trading, -1 outside."""
    clock = (time_ns // SECOND_NS + _CHINA_S) % _DAY_S
    if _MORNING[0] <= clock < _MORNING[1]:
        return clock - _MORNING[0]
    if _AFTERNOON[0] <= clock < _AFTERNOON[1]:
        return clock - _AFTERNOON[0] + MORNING_S
    return -1


def messages_of(book: Book) -> list[Messages]:
    """Return a simulated day's messages, stock by stock."""
    tape, orders = book.tape[: book.used[TAPE]], book.orders[: book.used[ORDERS]]
    is_cancel = tape["what"] == CANCEL
    tape = tape[is_cancel | ((tape["what"] == ENTER) & (tape["other"] == 1))]
    is_cancel = tape["what"] == CANCEL
    about = orders[tape["order"]]
    life_ns = np.where(is_cancel, tape["time_ns"] - about["entered_ns"], -1)
    second = tape["time_ns"] // SECOND_NS
    return [
        Messages(second[own], is_cancel[own], life_ns[own])
        for own in (about["instrument"] == k for k in range(len(book.best)))
    ]


def figures_of(days: Sequence[Messages]) -> dict[str, float]:
    """Return the figures of some stocks' days, pooled; named as in ``SHANGHAI``.

    Raises
    ------
    ValueError
        If there is not an order and a cancel in continuous trading.
    """
    if not any(day.is_cancel.any() and (day.second >= 0).any() for day in days):
        raise ValueError("there are no orders and cancels in continuous trading to measure")
    cancels = sum(int(day.is_cancel.sum()) for day in days)
    orders = sum(int((~day.is_cancel).sum()) for day in days)
    quick = sum(int((day.is_cancel & (day.life_ns <= SECOND_NS)).sum()) for day in days)
    moments = np.sum([_moments(day) for day in days], axis=0)
    mean, variance, *products = moments.tolist()
    found = (
        mean / len(days),
        cancels / orders,
        quick / cancels,
        variance / mean,
        *(product / variance for product in products),
    )
    return dict(zip(SHANGHAI, found, strict=True))


def _moments(day: Messages) -> list[float]:
    """Return mean and variance of counts by the second, and the covariances at each lag."""
    counts = np.bincount(day.second[day.second >= 0], minlength=SESSION_S).astype(np.float64)
    mean = float(counts.mean())
    parts = (counts[:MORNING_S] - mean, counts[MORNING_S:] - mean)
    products = [
        sum(float((part[:-lag] * part[lag:]).sum()) for part in parts) / (SESSION_S - 2 * lag)
        for lag in LAGS
    ]
    return [mean, float(counts.var()), *products]


def compare(
    real: dict[str, float] | None = None,
    *,
    days: int = 20,
    seed: int = 1,
    flow: Flow = CALIBRATED,
    say: Callable[[int], None] = lambda _days: None,
) -> list[Figure]:
    """Hold simulated days against a real one.

    Parameters
    ----------
    real
        As ``figures_of`` returns them; by default those of the Shanghai sample.
    days, seed
        How many days are simulated, each of a market of its own; single ones differ as real ones
        do.
    flow
        What is simulated.
    say
        Told how many days are done.
    """
    found: list[Messages] = []
    for number in range(days):
        found += messages_of(Market(flow, _MARKETS * seed + number).day())
        say(number + 1)
    simulated = figures_of(found)
    return [
        Figure(name=name, real=value, simulated=simulated[name])
        for name, value in (SHANGHAI if real is None else real).items()
    ]
