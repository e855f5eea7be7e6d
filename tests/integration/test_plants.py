"""Every plant at every strength and every look-alike, through the whole monitor."""

from collections import defaultdict
from functools import cache
from pathlib import Path

import naive_rules
import pytest

from detectors.core.registry import params_types
from flows.config import load
from flows.datafolder import Paths
from flows.loop import run_loop
from flows.plan import InputSpec, Plan
from flows.store.reader import StoreReader
from lab.plants_table import (
    PlantsTable,
    accounts_of,
    findings_of,
    plants_table,
    tabulate,
    text_of,
)
from lab.simulator import Market, SimulatorConfig, plant_names
from lab.simulator.plants import PLANTED_RULES
from schemas.alerts import Finding

NEAR_NAME = "busy_seconds.near_threshold"
LIGHT = tuple(name for name in plant_names() if name not in {"order_rate.day", NEAR_NAME})
DAY = SimulatorConfig(events=100_000, accounts=3_000, seed=3, plants=LIGHT)
HEAVY = SimulatorConfig(events=150_000, accounts=2_000, seed=4, plants=("order_rate.day",))
NEAR = SimulatorConfig(events=24_000, accounts=2_000, seed=5, plants=(NEAR_NAME,))


@cache
def lines_of(config: SimulatorConfig) -> tuple[bytes, ...]:
    return tuple(Market(config).blocks())


@cache
def found_in(config: SimulatorConfig) -> tuple[Finding, ...]:
    return tuple(findings_of(lines_of(config)))


def raised(findings: tuple[Finding, ...]) -> dict[str, set[str]]:
    rules: dict[str, set[str]] = defaultdict(set)
    for finding in findings:
        if finding.phase in {"opening", "provisional"}:
            rules[finding.rule.id] |= accounts_of(finding.account_id, finding.evidence)
    return rules


def referee(config: SimulatorConfig) -> dict[str, set[str]]:
    judged = naive_rules.evaluate(b"".join(lines_of(config)).splitlines())
    return {rule: accounts for rule, accounts in judged.items() if accounts}


def table_of(config: SimulatorConfig) -> PlantsTable:
    return tabulate(Market(config).truth(), found_in(config))


def test_every_plant_and_look_alike_gets_its_alerts_and_no_others() -> None:
    table = table_of(DAY)
    print(text_of(table))  # noqa: T201 - the table is what people want to see
    assert {row.behaviour for row in table.rows} == set(LIGHT)
    assert table.is_right, text_of(table)
    assert sum(row.planted for row in table.rows) > 90


@pytest.mark.parametrize("config", [HEAVY, NEAR], ids=["heavy", "near"])
def test_behaviour_of_very_many_orders_alerts_at_its_figure(config: SimulatorConfig) -> None:
    table = table_of(config)
    print(text_of(table))  # noqa: T201 - the table is what people want to see
    assert table.is_right, text_of(table)
    assert [row.alerted for row in table.rows] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("config", [DAY, HEAVY, NEAR], ids=["light", "heavy", "near"])
def test_alerts_are_those_of_the_plain_referee(config: SimulatorConfig) -> None:
    assert raised(found_in(config)) == referee(config)


def test_verdicts_at_the_close_are_those_of_the_plain_referee() -> None:
    standing = raised(found_in(DAY))
    for finding in found_in(DAY):
        if finding.phase == "withdrawn":
            standing[finding.rule.id].discard(finding.account_id)
    judged = naive_rules.evaluate_at_close(b"".join(lines_of(DAY)).splitlines())
    assert {k: v for k, v in standing.items() if v} == {k: v for k, v in judged.items() if v}


def test_alerts_on_the_unregistered_name_the_missing_registration() -> None:
    by_account: dict[str, list[Finding]] = defaultdict(list)
    for finding in found_in(DAY):
        if finding.phase in {"opening", "provisional"}:
            by_account[finding.account_id].append(finding)
    looked_at = 0
    for one in Market(DAY).truth():
        if not one.innocent or one.registered:
            continue
        for finding in by_account[one.account_id]:
            looked_at += 1
            assert "No registration for" in finding.why
            assert "is on file" in finding.why
            claims = finding.evidence["exemptions"].values()
            assert not any(c["registered"] and c["honoured_by_rule"] for c in claims)
            if one.variant == "claimed":
                assert "unverified" in finding.why
                assert any(claim["claimed"] for claim in claims)
    assert looked_at > 20


def test_the_whole_loop_raises_the_same_alerts(tmp_path: Path) -> None:
    path = tmp_path / "day.ndjson"
    path.write_bytes(b"".join(lines_of(DAY)))
    flags = {"data": str(tmp_path / "data"), "packs.added": "surveillance"}
    config = load([], flags, detectors=params_types())
    writer = run_loop(Plan(tmp_path / "data", (InputSpec(name=str(path)),), config), "test")
    writer.close()
    reader = StoreReader(Paths(tmp_path / "data").store)
    got: dict[str, set[str]] = defaultdict(set)
    for row in reader.every_alert():
        if row.rule_id in PLANTED_RULES:
            got[row.rule_id] |= accounts_of(row.account_id, row.evidence)
    reader.close()
    assert got == raised(found_in(DAY))


def test_the_table_is_made_in_one_call() -> None:
    config = SimulatorConfig(events=3_000, accounts=300, seed=9, plants=("win_rate.units",))
    assert plants_table(config).is_right
