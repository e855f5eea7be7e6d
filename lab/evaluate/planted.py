"""Plants from files: which are named, by which rule, and which look-alikes are named in vain.

Every seed is a day of its own with each plant at each of its strengths once, among ordinary
accounts, through the scanner and both stages with every rule there is.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from detectors.core.registry import build_detectors
from lab.evaluate.intervals import Interval, of_count, of_share
from lab.evaluate.table import Table, percents
from lab.plants_table import accounts_of, findings_of
from lab.simulator import FilePlant, Market, SimulatorConfig, Truth
from lab.simulator.plant_steps import rehearse
from schemas.alerts import Finding

_RAISES: Final = frozenset({"opening", "provisional"})
ABUSIVE, BELOW, INNOCENT = "abusive", "below its figure", "innocent"


class Days(NamedTuple):
    """How many days, and what ordinary accounts do on each."""

    days: int
    ordinary_events: int
    accounts: int


FULL: Final = Days(20, 20_000, 2_000)
QUICK: Final = Days(3, 8_000, 1_000)


class PlantedRow(Struct, frozen=True, kw_only=True):
    """One plant at one strength, over all days.

    Attributes
    ----------
    expected
        Rules that must name it; none below its figure and for innocents.
    by_expected, by_another, missed
        Of ``planted``: named by one of its rules at least (of a plant below its figure: by one
        that names it above), by others alone, and by none.
    named
        Interval of 95 % of the share named by any rule.
    others
        Rules that named it and are not its own: how often.
    """

    plant: str
    strength: float
    sort: str
    planted: int
    by_expected: int
    by_another: int
    missed: int
    named: Interval
    expected: tuple[str, ...]
    others: dict[str, int]


class Planted(Struct, frozen=True, kw_only=True):
    """All rows.

    Attributes
    ----------
    ordinary_named, ordinary_interval
        Ordinary accounts named a day, and its interval of 95 %.
    """

    days: int
    events: int
    accounts: int
    rows: tuple[PlantedRow, ...]
    ordinary_named: float
    ordinary_interval: Interval


Key = tuple[str, float]


def measure(
    plants: Sequence[FilePlant], sizes: Days, seed: int, say: Callable[[str], None]
) -> Planted:
    """Plant each file's behaviour on several days and count who is named.

    Raises
    ------
    PlantFileError
        A plant cannot be carried out.
    """
    detectors = build_detectors()
    # Files on instruments and accounts are events too, and 1 in 1,000 accounts' worth is enough.
    events = rehearse(plants) + sizes.ordinary_events + 2 * sizes.accounts
    accounts = max(sizes.accounts, events // 500)
    named: dict[Key, list[set[str]]] = defaultdict(list)
    ordinary = 0
    for day in range(sizes.days):
        say(f"Day {day + 1} of {sizes.days}: {events:,} events.")
        config = SimulatorConfig(
            events=events, accounts=accounts, seed=seed + day, plant_files=tuple(plants)
        )
        market = Market(config)
        rules = _rules_by_account(findings_of(market.blocks(), detectors))
        truth = market.truth()
        ordinary += len(rules.keys() - {one.account_id for one in truth})
        for key, accounts_there in _instances(truth).items():
            named[key].append(set().union(*(rules[who] for who in accounts_there)))
    low, high = of_count(ordinary)
    return Planted(
        days=sizes.days,
        events=events,
        accounts=accounts,
        rows=tuple(_row(one, at, named[one.name, at]) for one in plants for at in one.strengths),
        ordinary_named=ordinary / sizes.days,
        ordinary_interval=(low / sizes.days, high / sizes.days),
    )


def _rules_by_account(findings: Sequence[Finding]) -> Mapping[str, set[str]]:
    rules: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        if finding.phase in _RAISES:
            for who in accounts_of(finding.account_id, finding.evidence):
                rules[who].add(finding.rule.id)
    return rules


def _instances(truth: Sequence[Truth]) -> dict[Key, list[str]]:
    """Return the accounts of each plant: two where it has a partner."""
    accounts: dict[Key, list[str]] = defaultdict(list)
    for one in truth:
        accounts[one.behaviour, one.strength].append(one.account_id)
    return accounts


def _row(plant: FilePlant, strength: float, named: Sequence[set[str]]) -> PlantedRow:
    own = set(plant.says.rules)
    by_expected = sum(bool(rules & own) for rules in named)
    missed = sum(not rules for rules in named)
    sort = INNOCENT if plant.says.innocent else ABUSIVE
    if sort == ABUSIVE and strength < plant.expects_from:
        sort = BELOW
    return PlantedRow(
        plant=plant.name,
        strength=strength,
        sort=sort,
        planted=len(named),
        by_expected=by_expected,
        by_another=len(named) - missed - by_expected,
        missed=missed,
        named=of_share(len(named) - missed, len(named)),
        expected=plant.says.rules if sort == ABUSIVE else (),
        others=dict(sorted(Counter(rule for rules in named for rule in rules - own).items())),
    )


def planted_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return the tables of ``Planted``, as builtins."""
    rows = found["rows"]
    note = (
        f"{found['days']} days of {found['events']:,} events and {found['accounts']:,} accounts, "
        "each with every plant at every strength once, through the scanner and both stages with "
        "all rules. Of ordinary accounts "
        f"{found['ordinary_named']:.2f} [{found['ordinary_interval'][0]:.2f}, "
        f"{found['ordinary_interval'][1]:.2f}] a day were named. Intervals are of 95 %."
    )
    return [_named(rows, note), _in_vain(rows)]


def _named(rows: Sequence[Mapping[str, Any]], note: str) -> Table:
    cells = tuple(
        (
            row["plant"],
            f"{row['strength']:g}",
            ", ".join(row["expected"]),
            _share(row["by_expected"], row["planted"]),
            f"{row['by_another']}",
            f"{row['missed']}",
            _rules(row["others"]),
        )
        for row in rows
        if row["sort"] == ABUSIVE
    )
    return Table(
        title="Plants from files: who is named",
        note=note,
        head=("plant", "strength", "expected rule", "named by it", "by another alone", "missed",
              "other rules"),
        words=("plant", "expected rule", "other rules"),
        rows=cells,
    )  # fmt: skip


def _in_vain(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = tuple(
        (
            row["plant"],
            f"{row['strength']:g}",
            row["sort"],
            _share(row["planted"] - row["missed"], row["planted"]),
            _rules(row["others"]) or ("its own" if row["by_expected"] else ""),
        )
        for row in rows
        if row["sort"] != ABUSIVE
    )
    return Table(
        title="Plants from files: who is named in vain",
        note="Innocents, and plants below the strength from which a rule is expected to name them.",
        head=("plant", "strength", "sort", "named", "by"),
        words=("plant", "sort", "by"),
        rows=cells,
    )


def _share(count: int, total: int) -> str:
    return f"{count} of {total} {percents(of_share(count, total))}"


def _rules(others: Mapping[str, int]) -> str:
    return ", ".join(f"{rule} ({count})" for rule, count in others.items())
