"""What the detectors say of planted abuse and of innocent look-alikes: one row a plant.

A simulated day runs through both stages alone, with every rule that has plants, in memory.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from msgspec import Struct

from detectors.core.contract import Detector
from detectors.core.registry import build_detectors
from detectors.core.stage_config import StageConfig
from flows.calendars import TradingDays
from flows.lanes import LaneTime, stamp
from lab.simulator import Market, SimulatorConfig, Truth
from lab.simulator.plants import PLANTED_RULES
from lab.stages import Stages
from schemas.alerts import Finding
from schemas.columns import HashKey
from schemas.scan import Scanner

END_OF_TIME_NS: Final = 2**62
_KEY: Final = HashKey(1, 2)
_RAISES: Final = frozenset({"opening", "provisional"})


class PlantRow(Struct, frozen=True, kw_only=True):
    """One behaviour at one strength (and variant): how many were planted, and what alerted.

    Attributes
    ----------
    planted
        Accounts that carry it.
    alerted, expected
        Accounts on which exactly the rules named in ``rules_alerted`` (``rules_expected``) alert;
        each is the number of accounts with at least one alert (that should have one).
    right
        Accounts whose alerts are the expected ones, no more and no less.
    withdrawn
        Accounts with a provisional alert that was withdrawn at the end of its day; it counts as an
        alert all the same.
    """

    behaviour: str
    variant: str
    strength: float
    planted: int
    alerted: int
    expected: int
    right: int
    withdrawn: int
    rules_alerted: tuple[str, ...]
    rules_expected: tuple[str, ...]


class PlantsTable(Struct, frozen=True, kw_only=True):
    """Rows by behaviour, and the alerts on accounts that carry no plant (account -> rules)."""

    rows: tuple[PlantRow, ...]
    innocent: dict[str, tuple[str, ...]]

    @property
    def is_right(self) -> bool:
        """Say whether every planted account got its alerts, and nobody else one."""
        return not self.innocent and all(row.right == row.planted for row in self.rows)


@cache
def _calendars() -> TradingDays:
    """Return the calendars of the simulated venues, looked up once."""
    return TradingDays("24/7")


def planted_detectors() -> list[Detector]:
    """Return the detectors of the rules for which there are plants."""
    return [one for one in build_detectors() if one.rule.id in PLANTED_RULES]


def findings_of(
    blocks: Iterable[bytes], detectors: Sequence[Detector] | None = None
) -> list[Finding]:
    """Run one lane of NDJSON through both stages, with all planted rules unless told otherwise."""
    stage = Stages(
        planted_detectors() if detectors is None else detectors,
        StageConfig(calendars=_calendars(), key=_KEY, lane_names=("sim",)),
    )
    scanner, lane = Scanner(_KEY), LaneTime()
    findings: list[Finding] = []
    for block in blocks:
        scanned = scanner.scan(block)
        times = stamp(scanned.columns.rows, scanned.line_count)
        findings += stage.take(scanned.columns, lane.carry(times)).findings
        lane.advance(times)
    return findings + stage.close(END_OF_TIME_NS).findings


def plants_table(config: SimulatorConfig) -> PlantsTable:
    """Simulate a day and hold what the detectors say of it against what was planted."""
    market = Market(config)
    return tabulate(market.truth(), findings_of(market.blocks()))


def accounts_of(account_id: str, evidence: Mapping[str, Any]) -> set[str]:
    """Return every account that a finding is about: of a party, all that its evidence names."""
    return {one["account_id"] for one in evidence.get("accounts", ())} or {account_id}


def tabulate(truth: Sequence[Truth], findings: Iterable[Finding]) -> PlantsTable:
    """Hold findings against truth."""
    alerted: dict[str, set[str]] = defaultdict(set)
    withdrawn: set[str] = set()
    for finding in findings:
        if finding.phase in _RAISES:
            for account_id in accounts_of(finding.account_id, finding.evidence):
                alerted[account_id].add(finding.rule.id)
        if finding.phase == "withdrawn":
            withdrawn.add(finding.account_id)
    groups: dict[tuple[str, str, float], list[Truth]] = defaultdict(list)
    for one in truth:
        groups[one.behaviour, one.variant, one.strength].append(one)
    planted = {one.account_id for one in truth}
    return PlantsTable(
        rows=tuple(_row(ones, alerted, withdrawn) for _, ones in sorted(groups.items())),
        innocent={who: tuple(sorted(r)) for who, r in alerted.items() if who not in planted},
    )


def _row(ones: list[Truth], alerted: dict[str, set[str]], withdrawn: set[str]) -> PlantRow:
    first = ones[0]
    got = [alerted.get(one.account_id, set()) for one in ones]
    return PlantRow(
        behaviour=first.behaviour,
        variant=first.variant,
        strength=first.strength,
        planted=len(ones),
        alerted=sum(bool(rules) for rules in got),
        expected=sum(bool(one.expected_rules) for one in ones),
        right=sum(rules == set(one.expected_rules) for rules, one in zip(got, ones, strict=True)),
        withdrawn=sum(one.account_id in withdrawn for one in ones),
        rules_alerted=tuple(sorted(set().union(*got))),
        rules_expected=tuple(sorted({rule for one in ones for rule in one.expected_rules})),
    )


def text_of(table: PlantsTable) -> str:
    """Lay the table out for a terminal."""
    head = ("behaviour", "variant", "strength", "planted", "alerted", "expected", "right", "rules")
    lines = [head] + [
        (
            row.behaviour,
            row.variant,
            f"{row.strength:g}",
            str(row.planted),
            str(row.alerted),
            str(row.expected),
            "yes" if row.right == row.planted else "NO",
            ", ".join(row.rules_alerted),
        )
        for row in table.rows
    ]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*text, f"alerts on other accounts: {len(table.innocent)}"])
