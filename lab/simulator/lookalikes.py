"""Who looks abusive and is not: makers, hedgers, providers, IOC users, the lucky.

A registration on file is what tells some of them from the real thing. Each such behaviour comes
in several variants: registered, not registered, claiming it on orders only, and registered in a
way that does not apply.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lab.simulator import abuses, plants, tape
from lab.simulator.script import Script
from schemas.events import SECOND_NS

# variant -> does the registration exempt?
VARIANTS: Final = {
    "registered": True,  # for all instruments
    "registered_instrument": True,  # for the one concerned
    "unregistered": False,
    "claimed": False,  # on orders only
    "other_instrument": False,
    "expired": False,  # the day before
    "wrong_kind": False,
}
_BOTH_KINDS_EXEMPT: Final = tuple(name for name in VARIANTS if name != "wrong_kind")
_SHANGHAI, _INDEX, _COMMODITY, _PARIS = range(4)


@dataclass(frozen=True, slots=True)
class LookAlike:
    """One innocent behaviour.

    Attributes
    ----------
    rules
        What alerts when no registration applies.
    registration
        The kind that applies; empty where none would.
    reached
        Value over the figure of the rule that it comes nearest to.
    """

    name: str
    venue: int
    build: Callable[[Script], None]
    reached: float
    rules: tuple[str, ...] = ()
    registration: str = ""
    simulated: bool = False
    linked: str = ""  # a second account, of the same owner, group, or a stranger
    early: bool = False  # see ``Family``
    variants: tuple[str, ...] = ("",)
    alone: bool = False  # as of ``Family``
    closing: bool = False


def _equity_maker(script: Script) -> None:
    # Requotes one stock: 340 messages in one second, then 60 quotes withdrawn within seconds.
    start, length = script.window(0.6)
    start = script.inside(start, SECOND_NS)
    for i in range(170):
        at = start + i * 5_000_000
        quantity = script.lots(script.main)
        order = script.enter(at, script.main, (tape.BUY, tape.SELL)[i % 2], quantity)
        script.cancel(order, at + 40_000_000)
    later = start + 3 * SECOND_NS
    for i in range(75):
        at = later + i * (length - 5 * SECOND_NS) // 75
        order = script.enter(
            at, script.main, (tape.BUY, tape.SELL)[i % 2], script.lots(script.main)
        )
        if i % 5 == 0:
            script.fill_all(order, at + script.age(0.5, 3.0))
        else:
            script.cancel(order, at + script.age(0.5, 8.0))


def _futures_maker(script: Script) -> None:
    plants.large_cancels(script, 60, 320)
    plants.futures_cancels(script, 430)


def _hedger(script: Script) -> None:
    plants.futures_cancels(script, 550)


def _liquidity_provider(script: Script) -> None:
    plants.otr(script, trades=2, weight=240, quantity=100)
    script.cover(4)


def _immediate(script: Script, count: int, instruments: int) -> None:
    """Probe for liquidity: most orders lapse at once, some trade in part or whole."""
    for i, at in enumerate(script.moments(count)):
        instrument = script.listed[i % instruments]
        force = tape.FOK if i % 5 == 0 else tape.IOC
        quantity = script.lots(instrument, 2, 6)
        order = script.enter(at, instrument, (tape.BUY, tape.SELL)[i % 2], quantity, force=force)
        if i % 8 == 0:
            traded = quantity if force == tape.FOK else script.lots(instrument, 1, 1)
            script.fill(order, at + 2_000_000, script.price_of(order), traded)
        if script.left_of(order):
            script.cancel(order, at + 3_000_000, tape.IMMEDIATE)


def _immediate_stocks(script: Script) -> None:
    _immediate(script, 450, 4)


def _immediate_futures(script: Script) -> None:
    _immediate(script, 650, 1)


def _lucky_winner(script: Script) -> None:
    plants.winning_trips(script, 9, 9)


def _real_winner(script: Script) -> None:
    plants.winning_trips(script, 40, 38)


def _many_fills(script: Script) -> None:
    """Sell three positions at a gain, each by one order that trades 36 times."""
    for i, at in enumerate(script.moments(3)):
        instrument = script.listed[i]
        lot = script.lots(instrument, 1, 1)
        price = script.mid(instrument, at)
        opening = script.enter(at, instrument, tape.BUY, 36 * lot, price=price)
        script.fill(opening, at + 30_000_000, price, 36 * lot)
        higher = price + 3 * script.tick(instrument)
        closing = script.enter(at + SECOND_NS, instrument, tape.SELL, 36 * lot, price=higher)
        for part in range(36):
            script.fill(closing, at + SECOND_NS + (part + 1) * 50_000_000, higher, lot)


def _usual_counterparties(script: Script) -> None:
    """Two strangers quote the same contract and meet again and again."""
    abuses.crossing_trades(script, 12)
    script.cover(4)


def _crossing_maker(script: Script) -> None:
    """Two desks of one maker, quoting apart, hit each other's quotes."""
    abuses.crossing_trades(script, 8)
    script.cover(4)


def _busy_counterparties(script: Script) -> None:
    """Two who trade much in a stock, and meet 14 times; one has traded 20 times elsewhere."""
    abuses.meetings(script, abuses.to_and_fro(14), elsewhere=20)
    script.cover(4)


def _worked_order(script: Script) -> None:
    """Sell a large holding piece by piece, all of it to one maker."""
    abuses.meetings(script, ((1, 4),) * 30)
    script.cover(4)


def _house_maker(script: Script) -> None:
    """Quote for a client who trades with nobody else."""
    abuses.meetings(script, abuses.to_and_fro(16))
    script.cover(4)


def _closing_maker(script: Script) -> None:
    """Buy and sell alike in the last minutes, while the price rises."""
    abuses.rise_at_close(script, (4, -4) * 8, 100)


def _late_buyer(script: Script) -> None:
    """Buy all there is in the last minutes, at one price."""
    abuses.rise_at_close(script, (4,) * 8, 0)


def _sole_maker(script: Script) -> None:
    """Be the one who still sells what is wanted in the last minutes, at rising prices."""
    abuses.rise_at_close(script, (4,) * 8, 100)


def _requoting_maker(script: Script) -> None:
    """Quote both sides at three prices, and move all quotes of one side when the other trades."""
    lot = script.instruments[script.main].lot
    for begins in script.moments(15, longest_s=2400):
        at = script.inside(begins, 30 * SECOND_NS)
        quotes = _quotes(script, at, tape.SELL, lot)
        bids = _quotes(script, at + SECOND_NS, tape.BUY, lot)
        for turn in range(2):
            now = at + (3 + 4 * turn) * SECOND_NS
            script.fill(bids[0], now, script.price_of(bids[0]), lot)
            for k, order in enumerate(quotes):
                script.cancel(order, now + 1_100_000_000 + k * 1_000_000)
            quotes = _quotes(script, now + 1_200_000_000, tape.SELL, lot)
        for k, order in enumerate(quotes + bids):
            script.fill_all(order, at + (20 * SECOND_NS) + k * 5_000_000)


def _quotes(script: Script, at: int, side: int, lot: int) -> list[int]:
    price, tick = script.mid(script.main, at), script.tick(script.main)
    away = tick if side == tape.SELL else -tick
    return [
        script.enter(at + k * 5_000_000, script.main, side, 4 * lot, price=price + (1 + k) * away)
        for k in range(3)
    ]


def _quoting_maker(script: Script) -> None:
    """Quote one stock anew fifty times a second, in four seconds of the day."""
    abuses.stuffing(script, 4, 52, 52)
    script.cover(4)


def _ladder(script: Script) -> None:
    """Build a ladder of 120 orders within a second, and take it down seconds later; three times."""
    abuses.stuffing(script, 3, 120, 0)
    script.cover(4)


def _probing_trader(script: Script) -> None:
    """Look for liquidity with a hundred orders within a second, of which a few trade."""
    abuses.stuffing(script, 3, 100, 92, filled=8)
    script.cover(4)


def _newcomer(script: Script) -> None:
    """Begin with many orders: nobody knows of a rest."""
    abuses.buys(script, 60)


def _monthly_trader(script: Script) -> None:
    """Trade much on one day of each month."""
    abuses.traded_before(script, 12, 8, 4)
    abuses.buys(script, 60)


def _saver(script: Script) -> None:
    """Come back after half a year, for a few orders."""
    abuses.traded_before(script, 26)
    abuses.buys(script, 12)


LOOK_ALIKES: Final = (
    LookAlike(
        "equity_maker", _SHANGHAI, _equity_maker, 1.13,
        (plants.INSTANT, plants.RATE_SECOND), "market_maker", variants=tuple(VARIANTS),
    ),
    LookAlike(
        "futures_maker", _INDEX, _futures_maker, 1.22,
        (plants.FUTURES_INDEX, plants.FUTURES_LARGE), "market_maker", variants=_BOTH_KINDS_EXEMPT,
    ),
    LookAlike(
        "hedger", _COMMODITY, _hedger, 1.1,
        (plants.FUTURES,), "hedge", variants=_BOTH_KINDS_EXEMPT,
    ),
    LookAlike(
        "liquidity_provider", _PARIS, _liquidity_provider, 1.2,
        (plants.OTR_NUMBER,), "market_maker", variants=tuple(VARIANTS),
    ),
    LookAlike(
        "crossing_maker", _COMMODITY, _crossing_maker, 1.6,
        (plants.SELF_TRADING,), "market_maker", linked="owner", variants=_BOTH_KINDS_EXEMPT,
    ),
    LookAlike(
        "house_maker", _PARIS, _house_maker, 1.6,
        (plants.PAIRED,), "market_maker", linked="strangers", variants=tuple(VARIANTS),
    ),
    LookAlike(
        "sole_maker", _SHANGHAI, _sole_maker, 1.6, (plants.CLOSE_CN,), "market_maker",
        variants=tuple(VARIANTS), alone=True, closing=True,
    ),
    LookAlike("closing_maker", _SHANGHAI, _closing_maker, 0.0, alone=True, closing=True),
    LookAlike("late_buyer", _PARIS, _late_buyer, 0.0, alone=True, closing=True),
    LookAlike("busy_counterparties", _SHANGHAI, _busy_counterparties, 0.82, linked="strangers"),
    LookAlike("worked_order", _SHANGHAI, _worked_order, 0.0, linked="strangers"),
    LookAlike(
        "quoting_maker", _PARIS, _quoting_maker, 1.33,
        (plants.STUFFING,), "market_maker", variants=tuple(VARIANTS),
    ),
    LookAlike("ladder", _PARIS, _ladder, 0.0),
    LookAlike("probing_trader", _PARIS, _probing_trader, 0.0),
    LookAlike("newcomer", _SHANGHAI, _newcomer, 0.0),
    LookAlike("monthly_trader", _SHANGHAI, _monthly_trader, 0.31, early=True),
    LookAlike("saver", _PARIS, _saver, 0.4, early=True),
    LookAlike("usual_counterparties", _INDEX, _usual_counterparties, 0.0, linked="strangers"),
    LookAlike("requoting_maker", _SHANGHAI, _requoting_maker, 0.0),
    LookAlike("immediate_orders", _SHANGHAI, _immediate_stocks, 0.0),
    LookAlike("immediate_orders_futures", _COMMODITY, _immediate_futures, 0.0),
    LookAlike("lucky_winner", _SHANGHAI, _lucky_winner, 0.9, simulated=True),
    LookAlike("real_money_winner", _SHANGHAI, _real_winner, 1.06),
    LookAlike("many_fills_winner", _SHANGHAI, _many_fills, 0.3, simulated=True),
)  # fmt: skip
