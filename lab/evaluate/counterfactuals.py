"""What alerts say would have prevented them, held to it by replay.

Figures are set so low that ordinary accounts alert too. For each alert the events that led to it
are changed as its counterfactual says (the last cancels rest, the last trades or messages are
taken out, the last wins are lost) and replayed: the alert must be gone, and with one change fewer
it must stand.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct

from detectors.core.contract import Detector
from detectors.core.registry import build_detectors
from lab.evaluate.replays import PRICED, Case, Day, Event, Key
from lab.evaluate.table import Table
from lab.evaluate.undone import DAYS_BEFORE, UNDOING, NotApplicable, undo
from lab.simulator import Market, SimulatorConfig, plant_names
from schemas.alerts import Finding
from schemas.events import SECOND_NS

# By detector; the others' alerts are those of plants.
FIGURES: Final[dict[str, dict[str, Any]]] = {
    "busy_seconds": {"actions_min": 2, "times_min": 2},
    "cancel_count": {"cancels_min": 3},
    "certified_win_rate": {
        "null_rate": 0.3,
        "alarms_a_day": 20_000.0,
        "accounts_planned": 5_000,
        "simulated_only": False,
    },
    "instant_cancels": {"cancels_min": 1, "orders_min": 8, "cancel_ratio_min": 0.3},
    "large_cancels": {"cancels_min": 2, "lots_min": 2},
    "layering": {
        "episodes_min": 1,
        "levels_min": 1,
        "size_ratio_min": 0.5,
        "withdrawn_share_min": 0.3,
        "window_ns": 60 * SECOND_NS,
    },
    "order_rate": {"actions_min": 12},
    "order_to_trade": {"ratio_max": 3.0},
    "win_rate": {"min_units": 4, "threshold": 0.4, "simulated_only": False},
}
# So many orders that they would only make the day longer: ordinary accounts alert in their place.
_HEAVY: Final = frozenset({"order_rate.day", "busy_seconds.near_threshold"})
_NONE: Final = "nothing alerted on these days"
_UNITS: Final = ("round_trip", "order", "fill")


class Extent(NamedTuple):
    """How many days, and what is on each."""

    days: int
    events: int
    accounts: int
    strengths: tuple[float, ...]


FULL: Final = Extent(3, 120_000, 4_000, (1.0, 1.2, 3.0))
QUICK: Final = Extent(1, 45_000, 1_500, (1.2,))


class CounterfactualRow(Struct, frozen=True, kw_only=True):
    """One rule's alerts.

    Attributes
    ----------
    confirmed
        Gone with as many changes as was said, and standing with one fewer.
    gone_earlier
        Gone with as many, and with one fewer too, where another of the rule's conditions (how far
        the price went, whose share of it) ends with it: the count is enough, and not the least.
    refuted
        Standing with as many changes, or, of the other rules, gone with one fewer.
    not_applicable
        By reason: nothing could be changed as was said.
    changes_max
        The most events changed for one of them; what counts alerts at its figure: one is enough.
    """

    detector: str
    rule: str
    alerts: int
    confirmed: int
    gone_earlier: int
    refuted: int
    not_applicable: dict[str, int]
    changes_max: int


class Verdict(NamedTuple):
    """What became of one alert's counterfactual: a field of ``CounterfactualRow``, and why.

    ``changes`` counts the events taken out or changed.
    """

    finding: Finding
    outcome: str
    why: str = ""
    changes: int = 0


def measure(extent: Extent, seed: int) -> list[CounterfactualRow]:
    """Replay every alert of the days; one row a rule, sorted."""
    verdicts: list[Verdict] = []
    for number in range(extent.days):
        detectors = build_detectors(overrides=figures_of(number))
        day = day_of(extent, seed + number, detectors)
        verdicts += judge(day, list(day.cases(day.alerts)), detectors)
    by_rule: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_rule[verdict.finding.rule.id].append(verdict)
    rows = [_row(one, by_rule[one.rule.id]) for one in build_detectors()]
    return sorted(rows, key=lambda row: (row.detector, row.rule))


def figures_of(day: int) -> dict[str, dict[str, Any]]:
    """Return a day's figures: wins are counted in another unit on each."""
    return FIGURES | {"win_rate": FIGURES["win_rate"] | {"unit": _UNITS[day % len(_UNITS)]}}


def day_of(extent: Extent, seed: int, detectors: Sequence[Detector]) -> Day:
    """Simulate one day."""
    config = SimulatorConfig(
        events=extent.events,
        accounts=extent.accounts,
        seed=seed,
        plants=tuple(name for name in plant_names() if name not in _HEAVY),
        strengths=extent.strengths,
    )
    return Day(Market(config), detectors)


def judge(day: Day, cases: Sequence[Case], detectors: Sequence[Detector]) -> list[Verdict]:
    """Change and replay what led to each alert, all in one replay."""
    by_rule = {one.rule.id: one for one in detectors}
    copies: list[Sequence[Event]] = []
    verdicts: list[Verdict] = []
    changed: list[tuple[Case, int]] = []
    for case in cases:
        try:
            pair = undo(case.finding, case.events, by_rule[case.finding.rule.id])
        except NotApplicable as error:
            verdicts.append(Verdict(case.finding, "not_applicable", str(error)))
        else:
            kept = {id(event) for event in pair.enough}
            changed.append((case, sum(id(event) not in kept for event in case.events)))
            copies += [pair.enough, pair.one_short]
    counts = day.counts_of(copies)
    for i, (case, changes) in enumerate(changed):
        outcome, why = _outcome(case, 2 * i, counts)
        verdicts.append(Verdict(case.finding, outcome, why, changes))
    return verdicts


def _outcome(case: Case, copy: int, counts: Mapping[Key, int]) -> tuple[str, str]:
    finding = case.finding
    keys = (Key(copy + k, finding.rule.id, finding.instrument, finding.trading_day) for k in (0, 1))
    stands, stands_one_short = (counts.get(key, 0) >= case.count for key in keys)
    if stands:
        return "refuted", "it stands"
    if stands_one_short:
        return "confirmed", ""
    if finding.detector in PRICED:
        return "gone_earlier", ""
    return "refuted", "it is gone with one change fewer"


def _row(detector: Detector, verdicts: Sequence[Verdict]) -> CounterfactualRow:
    counts = Counter(one.outcome for one in verdicts)
    reasons = Counter(one.why for one in verdicts if one.outcome == "not_applicable")
    return CounterfactualRow(
        detector=detector.name,
        rule=detector.rule.id,
        alerts=len(verdicts),
        confirmed=counts["confirmed"],
        gone_earlier=counts["gone_earlier"],
        refuted=counts["refuted"],
        not_applicable=dict(sorted(reasons.items())),
        changes_max=max((one.changes for one in verdicts), default=0),
    )


def counterfactuals_table(found: Mapping[str, Any]) -> Table:
    """Lay the rows out; ``found`` has them under ``counterfactuals``."""
    rows: Sequence[Mapping[str, Any]] = found["counterfactuals"]
    total, confirmed, refuted = (
        sum(row[key] for row in rows) for key in ("alerts", "confirmed", "refuted")
    )
    cells = tuple(
        (
            row["detector"],
            row["rule"],
            f"{row['alerts']:,}",
            f"{row['changes_max']:,}",
            f"{row['confirmed']:,}",
            f"{row['gone_earlier']:,}",
            f"{row['refuted']:,}",
            f"{sum(row['not_applicable'].values()):,}",
            _why(row),
        )
        for row in rows
    )
    return Table(
        title="Counterfactuals, replayed",
        note=(
            f"{total:,} alerts of simulated days with figures so low that ordinary accounts alert: "
            f"{confirmed:,} confirmed, {refuted:,} refuted. What led to an alert is replayed with "
            "as many changes as its counterfactual says, and with one fewer: confirmed means that "
            "it is gone, and that it stands. Cancels are turned into resting orders, trades and "
            "messages are taken out, wins are turned into losses; the last ones first. Where a "
            "rule has other conditions that end with a trade, the alert may be gone with one "
            "change fewer."
        ),
        head=("detector", "rule", "alerts", "most changes", "confirmed", "gone with fewer",
              "refuted", "not applicable", "why"),
        words=("detector", "rule", "why"),
        rows=cells,
    )  # fmt: skip


def _why(row: Mapping[str, Any]) -> str:
    if row["alerts"] == 0:
        return _NONE if row["detector"] in UNDOING else DAYS_BEFORE
    return "; ".join(row["not_applicable"])
