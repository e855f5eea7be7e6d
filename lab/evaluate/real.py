"""Real market files: whom rules name on real flow, and how far real accounts are from a verdict.

The Shanghai file has no accounts: every order is given one by lot, so that each account's flow is a
thinned sample of everybody's, and nobody did anything wrong. Abuse of known strength is put in
beside it, at the prices of that day. The Hyperliquid file has accounts, and 81 seconds: too short
for a test with a bound, which should say so.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import orjson
from msgspec import Struct

from detectors.core.betting import FACTOR_MAX, SHARES, budget_of
from detectors.core.registry import build_detectors
from flows.adapters import AdapterOptions, by_name
from lab.evaluate.intervals import Interval, of_share
from lab.plants_table import findings_of
from schemas.events import SECOND_NS

SHANGHAI: Final = "sse_orders_and_trades_2023-07-11.zip"
HYPERLIQUID: Final = "hyperliquid_node_fills_2025-10-27.jsonl.gz"
_ACCOUNTS: Final = 5_000
_EACH: Final = 20  # accounts of each plant
_STREAM: Final = 80  # of random numbers, so that no two tables share any
_NULL: Final = 0.9
_UNITS_MIN: Final = 20


class Plant(NamedTuple):
    """One thing that accounts are made to do, in figures of the rule it is held against.

    Attributes
    ----------
    orders, cancels, within_s
        Orders entered, how many are withdrawn within half a second, and over how long a stretch.
    """

    rule: str
    strength: float
    orders: int
    cancels: int
    within_s: float


PLANTS: Final = (
    Plant("cn.order_rate.second", 0.8, 240, 0, 0.9),
    Plant("cn.order_rate.second", 1.2, 360, 0, 0.9),
    Plant("cn.instant_cancels", 0.8, 60, 38, 3_000.0),  # 63 % cancelled, of 80 % that it takes
    Plant("cn.instant_cancels", 1.1, 60, 53, 3_000.0),
)


class RealPlantRow(Struct, frozen=True, kw_only=True):
    """How many of the planted accounts a rule named."""

    rule: str
    strength: float
    planted: int
    named: int
    interval: Interval


class RealInnocentRow(Struct, frozen=True, kw_only=True):
    """How many accounts by lot a rule named, of those who ordered anything."""

    rule: str
    accounts: int
    named: int
    interval: Interval


class RealAccountRow(Struct, frozen=True, kw_only=True):
    """A real account that the policy's rule would name, and what the test says of it.

    Attributes
    ----------
    number
        Of the account among those, by units; names are left out.
    unit
        What was counted: ``fill`` or ``order``.
    missing
        Wins in a row until the test would name it, at the budget shipped; 0: it is named.
    """

    number: int
    unit: str
    units: int
    wins: int
    missing: int


class RealMeasured(NamedTuple):
    """All tables."""

    plants: list[RealPlantRow]
    innocents: list[RealInnocentRow]
    accounts: list[RealAccountRow]


def measure(folder: Path, seed: int) -> RealMeasured:
    """Look at the files of a folder.

    Raises
    ------
    FileNotFoundError
        If one of them is not there.
    """
    for name in (SHANGHAI, HYPERLIQUID):
        if not (folder / name).exists():
            raise FileNotFoundError(2, "there is no such sample", str(folder / name))
    plants, innocents = shanghai(folder / SHANGHAI, seed)
    return RealMeasured(plants, innocents, accounts_of(folder / HYPERLIQUID))


def _lines(path: Path, name: str, accounts: str = "") -> Iterator[bytes]:
    for block in by_name(name).adapt(path, AdapterOptions(accounts=accounts)):
        yield from bytes(block.raw).splitlines()


def shanghai(path: Path, seed: int) -> tuple[list[RealPlantRow], list[RealInnocentRow]]:
    """Put abuse into a real day of which the accounts are dealt out, and see whom rules name."""
    rng = np.random.default_rng((seed, _STREAM))
    lines = [
        (int(orjson.loads(line)["event_time_ns"]), line)
        for line in _lines(path, "sse", f"overlay:{seed % 1_000}:{_ACCOUNTS}")
    ]
    innocent = {orjson.loads(line).get("account_id") for _, line in lines} - {None}
    planted: dict[Plant, set[str]] = {}
    entered = [line for line in lines if b'"order.new"' in line[1]]
    for plant in PLANTS:
        who = [f"{int(rng.integers(2**48)):012x}" for _ in range(_EACH)]
        planted[plant] = set(who)
        for account in who:
            like = entered[int(rng.integers(len(entered) // 4, len(entered) * 3 // 4))]
            lines += _planted(rng, plant, account, like)
    lines.sort(key=lambda line: line[0])
    detectors = build_detectors(["cn-equities"])
    blocks = (b"".join(line + b"\n" for _, line in lines[at : at + 8_192])
              for at in range(0, len(lines), 8_192))  # fmt: skip
    named: dict[str, set[str]] = defaultdict(set)
    for finding in findings_of(blocks, detectors):
        if finding.phase in {"opening", "growth", "confirmed"}:
            named[finding.rule.id].add(finding.account_id)
    return _plant_rows(planted, named), [
        RealInnocentRow(
            rule=one.rule.id,
            accounts=len(innocent),
            named=len(named[one.rule.id] & innocent),
            interval=of_share(len(named[one.rule.id] & innocent), len(innocent)),
        )
        for one in detectors
    ]


def _plant_rows(planted: dict[Plant, set[str]], named: dict[str, set[str]]) -> list[RealPlantRow]:
    return [
        RealPlantRow(
            rule=plant.rule,
            strength=plant.strength,
            planted=len(who),
            named=len(named[plant.rule] & who),
            interval=of_share(len(named[plant.rule] & who), len(who)),
        )
        for plant, who in planted.items()
    ]


def _planted(
    rng: np.random.Generator, plant: Plant, account: str, like: tuple[int, bytes]
) -> list[tuple[int, bytes]]:
    """Write what a planted account does from the moment and at the price of a real order on."""
    begin_ns, model = like[0], orjson.loads(like[1])
    made = []
    times = begin_ns + np.sort(rng.integers(int(plant.within_s * SECOND_NS), size=plant.orders))
    for number, time_ns in enumerate(times.tolist()):
        head = {"source": "sse", "account_id": account, "order_id": f"{account}-{number}"}
        order = {key: model[key] for key in ("instrument", "venue", "side", "price")}
        new: dict[str, object] = {
            "kind": "order.new",
            "event_id": f"{account}-{number}-new",
            "event_time_ns": time_ns,
        }
        made.append((time_ns, orjson.dumps(new | head | order | {"quantity": 100})))
        if number < plant.cancels:
            gone_ns = time_ns + int(rng.integers(SECOND_NS // 20, SECOND_NS // 2))
            gone: dict[str, object] = {
                "kind": "order.cancel",
                "event_id": f"{account}-{number}-gone",
            }
            gone |= {"event_time_ns": gone_ns, "reason": "user", "quantity": 100}
            made.append((gone_ns, orjson.dumps(gone | head)))
    return made


def accounts_of(path: Path) -> list[RealAccountRow]:
    """Return the real accounts that won more than 90 % of at least 20 units, by fill and order."""
    fills: dict[str, list[float]] = defaultdict(list)
    orders: dict[str, dict[str, float]] = defaultdict(dict)
    for event in map(orjson.loads, _lines(path, "hyperliquid")):
        if event["kind"] != "fill" or "realized_pnl" not in event:
            continue
        account, profit = event["account_id"], float(event["realized_pnl"])
        fills[account].append(profit)
        own = orders[account]
        own[event["order_id"]] = own.get(event["order_id"], 0.0) + profit
    rows = []
    for unit, found in (
        ("fill", fills.values()),
        ("order", [[*o.values()] for o in orders.values()]),
    ):
        named = sorted((profits for profits in found if _is_named(profits)), key=len, reverse=True)
        rows += [_account_row(number + 1, unit, profits) for number, profits in enumerate(named)]
    return rows


def _is_named(profits: Sequence[float]) -> bool:
    wins = sum(profit > 0 for profit in profits)
    return len(profits) >= _UNITS_MIN and wins > _NULL * len(profits)


def _account_row(number: int, unit: str, profits: Sequence[float]) -> RealAccountRow:
    return RealAccountRow(
        number=number,
        unit=unit,
        units=len(profits),
        wins=sum(profit > 0 for profit in profits),
        missing=missing_wins([profit > 0 for profit in profits]),
    )


def missing_wins(won: Sequence[bool]) -> int:
    """Return how many wins in a row would bring an alarm after some units, at the budget shipped.

    As if a whole day's budget had been granted before the first: so at most as many are missing.

    Examples
    --------
    >>> missing_wins([]), missing_wins([True] * 20)
    (132, 112)
    """
    gain = (1 - _NULL) / _NULL
    each = budget_of(5.0, 7, 100_000) / len(SHARES)
    scores = np.full(len(SHARES), each)
    shares = np.array(SHARES)
    for is_won in won:
        scores *= np.minimum(1 + shares * (gain if is_won else -1.0), FACTOR_MAX)
    wins = 0
    while scores.sum() < 1.0:
        scores *= 1 + shares * gain
        wins += 1
    return wins
