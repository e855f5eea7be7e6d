"""The win rate counted in the plainest way: the referee of the win-rate detector.

Conventions, which give the figures known for the Hyperliquid sample:

- Only closing fills count: those whose ``realized_pnl`` is present (a present zero is no win).
- Unit ``fill``: every closing fill is one unit; it is won when its ``realized_pnl`` > 0.
- Unit ``order``: every order with a closing fill is one unit, from its first closing fill on; it
  is won while the sum of its ``realized_pnl`` so far is > 0, so a later fill can turn it.
- An account is above when units >= ``units_min`` and wins / units > ``threshold``, strictly, judged
  after every closing fill. All in whole numbers: ``wins * 10 > 9 * units``.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

# account, order, realized profit (None: not a closing fill), in lane order
ClosingFill = tuple[str, str, Decimal | int | None]


@dataclass
class Account:
    """What is known of one account: profit by unit."""

    profit_by_unit: dict[str, Decimal | int]

    @property
    def units(self) -> int:
        return len(self.profit_by_unit)

    @property
    def wins(self) -> int:
        return sum(profit > 0 for profit in self.profit_by_unit.values())


def follow(fills: Iterable[ClosingFill], unit: str) -> Iterator[tuple[str, int, int]]:
    """Yield (account, wins, units) after every closing fill."""
    accounts: dict[str, Account] = {}
    for number, (account_id, order_id, profit) in enumerate(fills):
        if profit is None:
            continue
        account = accounts.setdefault(account_id, Account({}))
        name = {"fill": str(number), "order": order_id}[unit]
        account.profit_by_unit[name] = account.profit_by_unit.get(name, 0) + profit
        yield account_id, account.wins, account.units


@dataclass
class Verdict:
    """Which accounts were above at some moment, are above at the end, and have enough units."""

    above_once: set[str]
    above_at_end: set[str]
    active: set[str]


def judge(
    fills: Iterable[ClosingFill],
    unit: str,
    units_min: int = 20,
    threshold: Fraction = Fraction(9, 10),
) -> Verdict:
    """Follow all fills and say who was above."""
    verdict = Verdict(set(), set(), set())
    for account_id, wins, units in follow(fills, unit):
        is_active = units >= units_min
        is_above = is_active and Fraction(wins, units) > threshold
        if is_active:
            verdict.active.add(account_id)
        if is_above:
            verdict.above_once.add(account_id)
            verdict.above_at_end.add(account_id)
        else:
            verdict.above_at_end.discard(account_id)
    return verdict
