"""Units, and the tests that bet on them, agree with plain Python, however rows are cut."""

from functools import cache
from typing import Any

import pytest
from detector_kit import columns_of, feed, reborn, rule_of, stage_of
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_detectors import naive_steps
from naive_units import Shares, Unit, units_of
from strategies import messy_days
from tests_on_peers import FEW, Event, busy_market, steps_of, tallies_seen, tiers_of

from detectors.core.registry import build_detector
from detectors.core.stage import StageOutput
from detectors.core.tallies import UNIT
from schemas.alerts import Finding
from schemas.events import SECOND_NS

OF_STEPS = {"duplicate_window_ns": 3 * SECOND_NS, "order_age_ns": 3_600 * SECOND_NS}
CONFIG = {"lateness_ns": 2 * SECOND_NS, **OF_STEPS}
CASES = {
    "certified_cancels": FEW | {"null_rate": 0.3},
    "certified_lifetime": FEW | {"null_rate": 0.1, "quick_share": 0.3},
}
SEEDS = (1,)


@cache
def market_with_units(seed: int) -> tuple[list[Event], list[Unit]]:
    events = busy_market(seed)
    return events, units_of(steps_of(events, CONFIG), tiers_of(events))


def told(finding: Finding) -> tuple[Any, ...]:
    evidence = finding.evidence
    return (
        finding.account_id, finding.event_time_ns, evidence["counted"], evidence["orders"],
        evidence["null_ppm"], evidence["alarms_so_far"],
    )  # fmt: skip


def fixed(output: StageOutput) -> list[tuple[Any, ...]]:
    return [
        (one.time_ns, one.tier, one.is_simulated, one.fixed.claim, one.fixed.accounts,
         one.fixed.tested, one.fixed.bucket_orders, one.fixed.budget_ppt)
        for one in sorted(output.fixed, key=lambda one: (one.time_ns, one.tier, one.is_simulated))
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("seed", SEEDS)
def test_tests_agree_with_plain_python(name: str, seed: int) -> None:
    events, units = market_with_units(seed)
    rule = rule_of(name, CASES[name])
    kind = build_detector(rule, 0)
    twin = Shares(kind.params, by_lifetime=name == "certified_lifetime").run(units)
    columns = columns_of(events)
    whole = feed(stage_of([rule], **CONFIG), columns)
    assert [told(one) for one in whole.findings] == twin.found
    assert fixed(whole) == twin.fixed
    assert any(one[3] == "claimed" for one in twin.fixed), "or nothing was tested"
    parts = feed(stage_of([rule], **CONFIG), columns, [997] * 99, reborn([rule], **CONFIG))
    assert (parts.findings, parts.fixed) == (whole.findings, whole.fixed)


def test_something_is_found() -> None:
    found = [
        finding
        for name in CASES
        for seed in SEEDS
        for finding in feed(
            stage_of([rule_of(name, CASES[name])], **CONFIG), columns_of(busy_market(seed))
        ).findings
    ]
    assert {f.detector for f in found} == set(CASES)
    assert {f.account_id for f in found if f.phase == "opening"} >= {"A0", "A1"}


@given(messy_days(size_max=150), st.lists(st.integers(1, 30), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_units_agree_with_plain_python_on_messy_days(events: list[Event], sizes: list[int]) -> None:
    expected = units_of(naive_steps(events, **CONFIG), {})
    rules = [rule_of("certified_cancels")]
    for between in (lambda stage: stage, reborn(rules, **CONFIG)):
        stage = stage_of(rules, **CONFIG)
        got = tallies_seen(stage, UNIT, columns_of(events), sizes, between)
        seen = [
            (int(r["event_time_ns"]), int(r["position"]), int(r["orders"]), int(r["canceled"]))
            for r in got
        ]
        assert seen == [(u.time_ns, u.line, len(u.entered), len(u.ages)) for u in expected]
