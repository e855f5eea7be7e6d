"""What abusive accounts do: one family a rule, or a condition of a rule, in venue terms.

Each build function takes the exact value to reach. A family trips its own rule only: its other
numbers stay clearly below the other rules' figures, and at every moment below its own rule's
final value, so that nothing opens early and is withdrawn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from lab.simulator import abuses, tape
from lab.simulator.script import Script
from schemas.events import SECOND_NS

RATE_SECOND: Final = "cn.order_rate.second"
RATE_DAY: Final = "cn.order_rate.day"
INSTANT: Final = "cn.instant_cancels"
FUTURES: Final = "cn.futures.cancels"
FUTURES_INDEX: Final = "cn.futures.cancels.index"
FUTURES_LARGE: Final = "cn.futures.large_cancels"
OTR_NUMBER: Final = "eu.otr.number"
OTR_VOLUME: Final = "eu.otr.volume"
WIN_RATE: Final = "source.win_rate"
SELF_TRADING: Final = "cn.futures.self_trading"
STOCKS_SELF: Final = "surveillance.self_trading"
LAYERING: Final = "surveillance.layering"
PAIRED: Final = "surveillance.paired_trading"
CLOSE_CN: Final = "surveillance.marking_the_close.cn"
CLOSE_EU: Final = "surveillance.marking_the_close.eu"
RAMPING: Final = "surveillance.ramping"
STUFFING: Final = "surveillance.quote_stuffing"
DORMANT: Final = "surveillance.dormant_reactivation"
REPORTING: Final = "cn.futures.programme_reporting"
NEAR_THRESHOLD: Final = "cn.order_rate.near_threshold"

RATIO_ORDERS: Final = 250  # 0.80 of them is 200, and 0.792 is 198
RATE_TRIPS: Final = 200  # 0.90 of them is 180
LARGE_LOTS: Final = 300
WEEKS_RESTED: Final = 13  # 91 days, the first whole weeks of 90
_DAY_LAG: Final = 1_000
_MIXED: Final = "NNNCNRNNCNNCNRCNNNRC"  # 42 % of the orders cancelled, far from 80 %
_BUSY_NS: Final = 400_000_000
INSTANT_AGE_S: Final = (0.03, 0.9)
SLOW_AGE_S: Final = (1.5, 25.0)

_SHANGHAI, _INDEX, _COMMODITY, _PARIS = range(4)


@dataclass(frozen=True, slots=True)
class Family:
    """One way to be abusive.

    Attributes
    ----------
    figure
        The rule's figure, in whole units of what is built.
    most
        The largest value there is, for rates; 0 where there is no bound.
    strict
        The rule alerts above its figure only.
    early
        It begins weeks before the day, and is made only where it is asked for by name.
    """

    name: str
    rule: str
    venue: int
    figure: int
    build: Callable[[Script, int], None]
    strict: bool = False
    most: int = 0
    simulated: bool = False
    heavy: bool = False
    alone: bool = False  # in a stock that nobody else trades
    closing: bool = False  # before the close, which a day cut short has not
    linked: str = ""  # by what a second account belongs to the first: owner, group; or strangers
    early: bool = False

    def value(self, strength: float) -> int:
        """Return the whole value nearest ``strength`` x figure, below the figure if it is < 1."""
        value = int(self.figure * strength + 0.5)
        if strength < 1:
            value = min(value, self.figure - 1)
        return min(value, self.most) if self.most else value

    def alerts(self, value: int) -> bool:
        """Say whether the rule alerts at ``value``."""
        return value > self.figure if self.strict else value >= self.figure


def burst(script: Script, pattern: str, count: int) -> list[int]:
    """Send messages within 0.9 s (N new, R replace, C cancel); return the orders left open."""
    start, _ = script.window(0.5)
    return send(script, pattern, count, (script.inside(start, SECOND_NS), 900_000_000))


def send(script: Script, pattern: str, count: int, when: tuple[int, int]) -> list[int]:
    """Send messages evenly over a stretch (start, length); return the orders left open."""
    start, length = when
    open_orders: list[int] = []
    for i, action in zip(range(count), cycle(pattern), strict=False):
        at = start + i * length // count
        if action == "N":
            side = (tape.BUY, tape.SELL)[i % 2]
            instrument = script.listed[1 + i % 8]
            open_orders.append(script.enter(at, instrument, side, script.lots(instrument)))
        elif action == "C":
            script.cancel(open_orders.pop(0), at)
        else:
            script.replace(open_orders[-1], at)
    return open_orders


def _order_rate_second(script: Script, count: int) -> None:
    left = burst(script, _MIXED, count)
    _, end = script.reach()
    for i, order in enumerate(left[::3]):
        script.fill_all(order, end + (i + 1) * 20_000_000)
    script.cover(4, apart=True)


def _busy_seconds(script: Script, times: int, actions: tuple[int, int]) -> None:
    """Be busy for less than half a second, ``times`` times, and do nothing near these seconds."""
    for moment in script.moments(2 * times, share=0.4)[::2]:  # more than a second apart
        at = script.inside(moment, SECOND_NS // 2)
        count = int(script.rng.integers(*actions, endpoint=True))
        for order in send(script, _MIXED, count, (at, _BUSY_NS))[::12]:
            script.fill_all(order, at + _BUSY_NS + 20_000_000)
    script.cover(4, apart=True)


def _reporting(script: Script, times: int) -> None:
    _busy_seconds(script, times, (10, 14))


def _near_threshold(script: Script, times: int) -> None:
    _busy_seconds(script, times, (240, 255))


def _order_rate_day(script: Script, count: int) -> None:
    # Never 300 in a second, and at 300 orders' distance no cancel is instantaneous.
    waiting: list[int] = []
    taken = 0
    for i, at in enumerate(script.moments(count, share=0.9, longest_s=24 * 3600)):
        action = "NRNC"[i % 4]
        if action == "C" and len(waiting) > taken + _DAY_LAG:
            script.cancel(waiting[taken], at)
            taken += 1
        elif action == "R" and len(waiting) > taken:
            script.replace(waiting[-1], at)
        else:
            instrument = script.listed[i % 16]
            order = script.enter(
                at, instrument, (tape.BUY, tape.SELL)[i // 16 % 2], script.lots(instrument)
            )
            if i % 40 == 0:
                script.fill_all(order, at + 5_000_000)
            else:
                waiting.append(order)


def mostly_cancelled(script: Script, orders: int, cancelled: int, instant: int) -> None:
    """Enter orders, cancel some of them, ``instant`` of these within a second; fill the others.

    Cancelled ones are spread so that their share never exceeds the final one.
    """
    done = 0
    held = script.listed[3]
    traded = script.lots(held)
    for i, at in enumerate(script.moments(orders, longest_s=1800)):
        instrument = script.listed[i % 3]
        if (i + 1) * cancelled // orders > done:
            is_instant = done * instant // cancelled < (done + 1) * instant // cancelled
            when = script.inside(at, SECOND_NS) if is_instant else at
            order = script.enter(
                when, instrument, (tape.BUY, tape.SELL)[i % 2], script.lots(instrument)
            )
            script.cancel(order, when + script.age(*(INSTANT_AGE_S if is_instant else SLOW_AGE_S)))
            done += 1
        else:
            order = script.enter(at, held, (tape.BUY, tape.SELL)[(i - done) % 2], traded)
            script.fill_all(order, at + 30_000_000)


def _instant_cancels_count(script: Script, count: int) -> None:
    mostly_cancelled(script, orders=100, cancelled=90, instant=count)


def _instant_cancels_ratio(script: Script, cancelled: int) -> None:
    mostly_cancelled(script, orders=RATIO_ORDERS, cancelled=cancelled, instant=cancelled * 3 // 5)


def futures_cancels(script: Script, count: int) -> None:
    """Enter and withdraw small orders in one contract; every tenth is an IOC that lapses."""
    for i, at in enumerate(script.moments(count)):
        side = (tape.BUY, tape.SELL)[i % 2]
        order = script.enter(at, script.main, side, script.lots(script.main))
        script.cancel(order, at + script.age(0.5, 25.0))
        if i % 10 == 0:
            lapsing = script.enter(at + 1, script.main, side, 2, force=tape.IOC)
            script.cancel(lapsing, at + 3_000_000, tape.IMMEDIATE)
    script.cover(6)


def large_cancels(script: Script, count: int, lots: int) -> None:
    """Withdraw ``lots`` lots ``count`` times from orders that were larger and partly filled."""
    for i, at in enumerate(script.moments(count)):
        traded = int(script.rng.integers(1, 40))
        side = (tape.BUY, tape.SELL)[i % 2]
        order = script.enter(at, script.main, side, lots + traded)
        script.fill(order, at + script.age(0.2, 2.0), script.price_of(order), traded)
        script.cancel(order, at + script.age(3.0, 12.0))


def _futures_large_cancels(script: Script, count: int) -> None:
    large_cancels(script, count, LARGE_LOTS)
    script.cover(4)


def _futures_large_size(script: Script, lots: int) -> None:
    large_cancels(script, 60, lots)
    script.cover(4)


def otr(script: Script, trades: int, weight: int, quantity: int) -> None:
    """Trade first, then send messages that weigh ``weight``: new 1, replace 2, cancel 1."""
    replaced = weight // 12
    pairs, single = divmod(weight - 4 * replaced, 2)
    moments = script.moments(trades // 2 + replaced + pairs + single)
    for i in range(trades // 2):
        script.trip(moments[i], script.main, quantity, (-1) ** i * 2)
    messages = moments[trades // 2 :]
    for i, at in enumerate(messages):
        side = (tape.BUY, tape.SELL)[i % 2]
        # Half a second on: a round trip begun just before is over by then.
        order = script.enter(at + SECOND_NS // 2, script.main, side, quantity)
        if i < replaced:
            script.replace(order, at + SECOND_NS)
        if i < replaced + pairs:
            script.cancel(order, at + SECOND_NS + script.age(0.5, 9.0))


def _otr_number(script: Script, ratio: int) -> None:
    otr(script, trades=4, weight=4 * ratio, quantity=10)
    script.cover(4)


def _otr_no_trades(script: Script, messages: int) -> None:
    otr(script, trades=0, weight=messages, quantity=1)
    script.cover(4)


def _otr_volume(script: Script, ratio: int) -> None:
    moments = script.moments(21)
    script.trip(moments[0], script.main, 5, 2)
    # 10 shares ordered and traded; each order below weighs its quantity twice, new and cancel.
    total = 5 * ratio
    for i, at in enumerate(moments[1:]):
        quantity = total // 20 + (total % 20 if i == 0 else 0)
        order = script.enter(
            at + SECOND_NS // 2, script.main, (tape.BUY, tape.SELL)[i % 2], quantity
        )
        script.cancel(order, at + SECOND_NS + script.age(0.5, 9.0))
    script.cover(4)


def winning_trips(script: Script, trips: int, won: int) -> None:
    """Close round trips one after the other; the share won never exceeds the final one."""
    done = 0
    for i, at in enumerate(script.moments(trips, share=0.7, longest_s=7200)):
        wins = (i + 1) * won // trips > done
        done += wins
        ticks = int(script.rng.integers(1, 6)) * (1 if wins else -1)
        instrument = script.listed[i % 3]
        script.trip(at, instrument, script.lots(instrument), ticks, hold_ns=60_000_000)
    for at in script.moments(5, share=0.7):
        order = script.enter(at, script.listed[3], tape.BUY, script.lots(script.listed[3]))
        script.cancel(order, at + script.age(*SLOW_AGE_S))


def _win_rate_rate(script: Script, won: int) -> None:
    winning_trips(script, RATE_TRIPS, won)


def _win_rate_units(script: Script, trips: int) -> None:
    winning_trips(script, trips, trips)


def _self_trading(script: Script, count: int) -> None:
    abuses.crossing_trades(script, count)
    script.cover(4)


def _close_trades(script: Script, count: int) -> None:
    abuses.rise_at_close(script, (3,) * count, 100)


def _close_share(script: Script, per_cent: int) -> None:
    abuses.rise_at_close(script, abuses.net_of_all(per_cent), 100)


def _ramping_move(script: Script, cents: int) -> None:
    abuses.rise_early(script, (2,) * 8, cents)


def _ramping_share(script: Script, per_cent: int) -> None:
    abuses.rise_early(script, abuses.net_of_all(per_cent), 500)


def _paired_trades(script: Script, count: int) -> None:
    abuses.meetings(script, abuses.to_and_fro(count))
    script.cover(4)


def _paired_share(script: Script, count: int) -> None:
    abuses.meetings(script, abuses.to_and_fro(count), elsewhere=100 - count)
    script.cover(4)


def _paired_round(script: Script, lots: int) -> None:
    """Sell 100 lots to the other in ten trades, and buy ``lots`` of them back in ten."""
    back = tuple((0, lots // 10 + (k < lots % 10)) for k in range(10))
    abuses.meetings(script, (*((1, 10),) * 10, *back))
    script.cover(4)


def _layering_episodes(script: Script, episodes: int) -> None:
    abuses.layers(script, episodes, 90)
    script.cover(6)


def _layering_share(script: Script, withdrawn: int) -> None:
    abuses.layers(script, 5, withdrawn)
    script.cover(6)


def _stuffing_bursts(script: Script, bursts: int) -> None:
    abuses.stuffing(script, bursts, 51, 51)
    script.cover(4)


def _stuffing_messages(script: Script, messages: int) -> None:
    abuses.stuffing(script, 3, -(-messages // 2), messages // 2)
    script.cover(4)


def _stuffing_share(script: Script, withdrawn: int) -> None:
    abuses.stuffing(script, 3, 100, withdrawn)
    script.cover(4)


def _dormant_orders(script: Script, orders: int) -> None:
    abuses.traded_before(script, 26)
    abuses.buys(script, orders)


def _dormant_fills(script: Script, fills: int) -> None:
    abuses.traded_before(script, 26)
    lot = script.instruments[script.main].lot
    for i, at in enumerate(script.moments(10)):
        order = script.enter(at, script.main, tape.BUY, 12 * lot)
        for k in range(fills * i // 10, fills * (i + 1) // 10):
            script.fill(order, at + (1 + k % 12) * 50_000_000, script.price_of(order), lot)


def _dormant_rest(script: Script, weeks: int) -> None:
    abuses.traded_before(script, weeks)
    abuses.buys(script, 40)


FAMILIES: Final = (
    Family("order_rate.second", RATE_SECOND, _SHANGHAI, 300, _order_rate_second),
    Family("order_rate.day", RATE_DAY, _SHANGHAI, 20_000, _order_rate_day, heavy=True),
    Family("instant_cancels.count", INSTANT, _SHANGHAI, 10, _instant_cancels_count),
    Family(
        "instant_cancels.ratio", INSTANT, _SHANGHAI, 200, _instant_cancels_ratio, most=RATIO_ORDERS
    ),
    Family("futures.cancels", FUTURES, _COMMODITY, 500, futures_cancels),
    Family("futures.cancels.index", FUTURES_INDEX, _INDEX, 400, futures_cancels),
    Family("futures.large_cancels", FUTURES_LARGE, _COMMODITY, 50, _futures_large_cancels),
    Family("futures.large_cancels.size", FUTURES_LARGE, _COMMODITY, 300, _futures_large_size),
    Family("otr.number", OTR_NUMBER, _PARIS, 100, _otr_number, strict=True),
    Family("otr.number.no_trades", OTR_NUMBER, _PARIS, 100, _otr_no_trades, strict=True),
    Family("otr.volume", OTR_VOLUME, _PARIS, 1_000, _otr_volume, strict=True),
    Family(
        "win_rate.rate", WIN_RATE, _SHANGHAI, 180, _win_rate_rate,
        strict=True, most=RATE_TRIPS, simulated=True,
    ),
    Family("win_rate.units", WIN_RATE, _SHANGHAI, 10, _win_rate_units, simulated=True),
    Family("self_trading.owner", SELF_TRADING, _COMMODITY, 5, _self_trading, linked="owner"),
    Family("self_trading.group", SELF_TRADING, _INDEX, 5, _self_trading, linked="group"),
    Family("self_trading.stocks", STOCKS_SELF, _SHANGHAI, 5, _self_trading, linked="owner"),
    Family("self_trading.stocks.group", STOCKS_SELF, _PARIS, 5, _self_trading, linked="group"),
    Family("layering.episodes", LAYERING, _PARIS, 3, _layering_episodes),
    Family("layering.share", LAYERING, _SHANGHAI, 70, _layering_share, most=100),
    Family("paired_trading.trades", PAIRED, _SHANGHAI, 10, _paired_trades, linked="strangers"),
    Family("paired_trading.share", PAIRED, _PARIS, 50, _paired_share, most=100, linked="strangers"),
    Family(
        "paired_trading.round", PAIRED, _SHANGHAI, 50, _paired_round, most=100, linked="strangers"
    ),
    Family("marking_the_close.trades", CLOSE_CN, _SHANGHAI, 5, _close_trades, alone=True,
           closing=True),
    Family("marking_the_close.share", CLOSE_EU, _PARIS, 40, _close_share, most=100, alone=True,
           closing=True),
    Family("ramping.move", RAMPING, _SHANGHAI, 400, _ramping_move, alone=True),
    Family("ramping.share", RAMPING, _PARIS, 40, _ramping_share, most=100, alone=True),
    Family("quote_stuffing.bursts", STUFFING, _PARIS, 3, _stuffing_bursts),
    Family("quote_stuffing.messages", STUFFING, _PARIS, 100, _stuffing_messages),
    Family("quote_stuffing.share", STUFFING, _PARIS, 90, _stuffing_share, most=100),
    Family("dormant.orders", DORMANT, _SHANGHAI, 30, _dormant_orders, early=True),
    Family("dormant.fills", DORMANT, _PARIS, 30, _dormant_fills, early=True),
    Family("dormant.rest", DORMANT, _SHANGHAI, WEEKS_RESTED, _dormant_rest, early=True),
    Family("busy_seconds.reporting", REPORTING, _COMMODITY, 10, _reporting),
    Family(
        "busy_seconds.near_threshold", NEAR_THRESHOLD, _SHANGHAI, 10, _near_threshold, heavy=True
    ),
)  # fmt: skip
# Rules whose figures say exactly who must alert; tests with a bound are not among them.
PLANTED_RULES: Final = frozenset(family.rule for family in FAMILIES)
