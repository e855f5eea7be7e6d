"""Market abuse as accounts do it: trades among themselves, prices moved, orders withdrawn."""

from lab.simulator import tape
from lab.simulator.script import Script
from schemas.events import SECOND_NS


def crossing_trades(script: Script, count: int) -> None:
    """Let the two accounts trade with each other, each selling as often as buying."""
    for i, at in enumerate(script.moments(count)):
        price, quantity = script.mid(script.main, at), script.lots(script.main)
        first, second = (tape.BUY, tape.SELL) if i % 4 < 2 else (tape.SELL, tape.BUY)  # noqa: PLR2004 - by twos
        resting = script.enter(at, script.main, first, quantity, price=price, who=i % 2)
        taking = script.enter(
            at + 20_000_000, script.main, second, quantity, price=price, who=1 - i % 2
        )
        script.match((resting, taking), at + 25_000_000, price, quantity)


def meetings(script: Script, quantities: tuple[tuple[int, int], ...], elsewhere: int = 0) -> None:
    """Let two accounts trade with each other; ``quantities`` = (buyer as an index, lots) of each.

    The first of them trades ``elsewhere`` times with others before.
    """
    moments = script.moments(elsewhere + len(quantities))
    lot = script.instruments[script.main].lot
    for i, at in enumerate(moments[:elsewhere]):
        order = script.enter(at, script.main, (tape.BUY, tape.SELL)[i % 2], 2 * lot)
        script.fill_all(order, at + 30_000_000)
    for i, (at, (buyer, lots)) in enumerate(zip(moments[elsewhere:], quantities, strict=True)):
        price = script.mid(script.main, at)
        rests, takes = (tape.BUY, tape.SELL) if i % 2 else (tape.SELL, tape.BUY)
        who = buyer if rests == tape.BUY else 1 - buyer
        resting = script.enter(at, script.main, rests, lots * lot, price=price, who=who)
        later = at + 20_000_000
        taking = script.enter(later, script.main, takes, lots * lot, price=price, who=1 - who)
        script.match((resting, taking), at + 25_000_000, price, lots * lot)


def rise(script: Script, begins: int, lots: tuple[int, ...], cents: int, before_s: int) -> None:
    """Trade within a minute while the price rises by ``cents``; lots below 0 are sold.

    Nobody has traded the stock before but the account itself, once, ``before_s`` ago.
    """
    price, lot = script.instruments[script.main].price_cents, script.instruments[script.main].lot
    early = begins - before_s * SECOND_NS
    first = script.enter(early, script.main, tape.BUY, lot, price=price)
    script.fill_all(first, early + 30_000_000)
    for i, quantity in enumerate(lots):
        at = begins + i * 60 * SECOND_NS // len(lots)
        paid = price + cents * (i + 1) // len(lots)
        side = tape.BUY if quantity > 0 else tape.SELL
        order = script.enter(at, script.main, side, abs(quantity) * lot, price=paid)
        script.fill_all(order, at + 30_000_000)


def rise_at_close(script: Script, lots: tuple[int, ...], cents: int) -> None:
    """Trade so a few minutes before continuous trading ends."""
    begins = script.session.close_ns - 240 * SECOND_NS + script.age(0.1, 60.0)
    rise(script, begins, lots, cents, 600)
    script.cover(4)


def rise_early(script: Script, lots: tuple[int, ...], cents: int) -> None:
    """Trade so a few minutes after continuous trading began."""
    begins = script.session.open_ns + 196 * SECOND_NS + script.age(0.1, 10.0)
    rise(script, begins, lots, cents, 190)
    script.cover(4)


def net_of_all(per_cent: int) -> tuple[int, ...]:
    """Return 200 lots in ten trades, of which so much more were bought than sold."""
    sold, bought = 100 - per_cent, 100 + per_cent
    sales = tuple(-(sold // 4 + (k < sold % 4)) for k in range(4) if sold > k)
    return (*sales, *(bought // 6 + (k < bought % 6) for k in range(6)))


def to_and_fro(count: int) -> tuple[tuple[int, int], ...]:
    """Return so many trades of three lots, of which each buys every other."""
    return tuple((i % 2, 3) for i in range(count))


def layers(script: Script, episodes: int, withdrawn: int) -> None:
    """Let sells of 100 lots rest at four prices, buy 20, withdraw ``withdrawn`` lots soon after.

    Every other time it is the other way round. What is not withdrawn then is so much later.
    """
    lot = script.instruments[script.main].lot
    sizes = (withdrawn - 40, 20, 20, 100 - withdrawn)
    free = 0
    for i, begins in enumerate(script.moments(episodes, longest_s=1800)):
        at = max(script.inside(begins, 20 * SECOND_NS), free)
        free = at + 16 * SECOND_NS
        resting, taking = (tape.SELL, tape.BUY) if i % 2 == 0 else (tape.BUY, tape.SELL)
        price, away = script.mid(script.main, at), script.tick(script.main)
        away = away if resting == tape.SELL else -away
        orders = [
            script.enter(at + k * 50_000_000, script.main, resting, size * lot,
                         price=price + (2 + k) * away)
            for k, size in enumerate(sizes) if size
        ]  # fmt: skip
        order = script.enter(at + SECOND_NS, script.main, taking, 20 * lot, price=price)
        script.fill_all(order, at + SECOND_NS + 30_000_000)
        for k, order in enumerate(orders):
            later_s = 2.0 if k < 3 else 13.0  # noqa: PLR2004 - the fourth stays a while
            script.cancel(order, at + int((later_s + 0.1 * k) * SECOND_NS))


def stuffing(script: Script, bursts: int, orders: int, withdrawn: int, filled: int = 0) -> None:
    """Trade a little, then enter buys within 0.7 s, again and again, in one instrument.

    ``withdrawn`` of them go after 40 ms, spread so that their share never exceeds the final one;
    ``filled`` trade after 60 ms, and what is left is withdrawn seconds later.
    """
    lot = script.instruments[script.main].lot
    moments = script.moments(10 + 3 * bursts)
    for i, at in enumerate(moments[:10]):
        script.trip(at, script.main, 10 * lot, (-1) ** i * 2)
    for begins in moments[10::3]:
        at = script.inside(begins, 5 * SECOND_NS)
        entered = []
        for i in range(orders):
            now = at + i * 700_000_000 // orders
            order = script.enter(now, script.main, tape.BUY, lot)
            if (i + 1) * withdrawn // orders > i * withdrawn // orders:
                script.cancel(order, now + 40_000_000)
            else:
                entered.append((order, now))
        for k, (order, now) in enumerate(entered):
            if k < filled:
                script.fill_all(order, now + 60_000_000)
            else:
                script.cancel(order, now + 3 * SECOND_NS)


def traded_before(script: Script, *weeks_ago: int) -> None:
    """Make a round trip at about the same time of day, so many weeks ago; again for each."""
    for weeks in weeks_ago:
        script.weeks_ago = weeks
        script.trip(script.moments(1)[0], script.main, script.lots(script.main), 1)
    script.weeks_ago = 0


def buys(script: Script, count: int) -> None:
    """Enter buys one after another, of which a quarter trade and a third are withdrawn."""
    for i, at in enumerate(script.moments(count)):
        instrument = script.listed[i % 3]
        order = script.enter(at, instrument, tape.BUY, script.lots(instrument))
        if i % 4 == 0:
            script.fill_all(order, at + 30_000_000)
        elif i % 3 == 0:
            script.cancel(order, at + script.age(1.05, 1.5))
