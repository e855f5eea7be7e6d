"""Windows, and the test that bets on them, agree with plain Python, however rows are cut."""

from functools import cache
from typing import Any

import pytest
from detector_kit import columns_of, feed, reborn, rule_of, stage_of
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_bursts import Bursts, Window, windows_of
from naive_detectors import naive_steps
from strategies import messy_days
from tests_on_peers import (
    DAY_S,
    FEW,
    START_NS,
    Event,
    busy_market,
    steps_of,
    tallies_seen,
    tiers_of,
)

from detectors.core.registry import build_detector
from detectors.core.stage import StageOutput
from detectors.core.tallies import WINDOW
from schemas.alerts import Finding
from schemas.events import SECOND_NS

OF_STEPS = {"duplicate_window_ns": 3 * SECOND_NS, "order_age_ns": 3_600 * SECOND_NS}
CONFIG = {"lateness_ns": 2 * SECOND_NS, **OF_STEPS}
FIGURES = {name: FEW[name] for name in ("peers_min", "tests")} | {
    "baseline_windows_min": 4,
    "actions_min": 2.0,
    "alarms_a_day": 3_000.0,
}


def burst() -> list[Event]:
    """Return 20 minutes in which two accounts do far more than they do, one more than the other."""
    begin_ns = START_NS + (4 * DAY_S + 3_600) * SECOND_NS
    head = {"kind": "order.new", "source": "b", "venue": "TEST", "side": "buy", "quantity": 1}
    return [
        head
        | {
            "event_id": f"b{number}",
            "event_time_ns": begin_ns + number * 300 * 1_000_000,
            "account_id": f"A{4 + (number % 5 == 0)}",
            "order_id": f"b{number}",
            "instrument": "I",
            "price": 10,
        }
        for number in range(4_000)
    ]


@cache
def market_with_windows() -> tuple[list[Event], list[Window]]:
    events = sorted(busy_market(1) + burst(), key=lambda event: int(event["event_time_ns"]))
    return events, windows_of(steps_of(events, CONFIG), tiers_of(events))


def told(finding: Finding) -> tuple[Any, ...]:
    evidence = finding.evidence
    return (
        finding.account_id, finding.event_time_ns, evidence["actions"], evidence["windows"],
        round(evidence["allowed_ppm"] / 1e3), evidence["alarms_so_far"],
    )  # fmt: skip


def fixed(output: StageOutput) -> list[tuple[Any, ...]]:
    return [
        (one.time_ns, one.tier, one.is_simulated, one.fixed.claim, one.fixed.accounts,
         one.fixed.tested, one.fixed.window_s, one.fixed.budget_ppt)
        for one in sorted(output.fixed, key=lambda one: (one.time_ns, one.tier, one.is_simulated))
    ]  # fmt: skip


@pytest.mark.parametrize("autocorrelation_max", [0.15, 0.9])
def test_the_test_agrees_with_plain_python(autocorrelation_max: float) -> None:
    events, windows = market_with_windows()
    rule = rule_of("certified_burst", FIGURES | {"autocorrelation_max": autocorrelation_max})
    twin = Bursts(build_detector(rule, 0).params).run(windows)
    columns = columns_of(events)
    whole = feed(stage_of([rule], **CONFIG), columns)
    assert [told(one) for one in whole.findings] == twin.found
    assert fixed(whole) == twin.fixed
    assert whole.findings
    assert {one[3] for one in twin.fixed} >= {"claimed", "few peers", "few buckets"}
    parts = feed(stage_of([rule], **CONFIG), columns, [997] * 99, reborn([rule], **CONFIG))
    assert (parts.findings, parts.fixed) == (whole.findings, whole.fixed)


@given(messy_days(size_max=150), st.lists(st.integers(1, 30), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_windows_agree_with_plain_python_on_messy_days(
    events: list[Event], sizes: list[int]
) -> None:
    expected = windows_of(naive_steps(events, **CONFIG), {})
    rules = [rule_of("certified_burst")]
    for between in (lambda stage: stage, reborn(rules, **CONFIG)):
        stage = stage_of(rules, **CONFIG)
        got = tallies_seen(stage, WINDOW, columns_of(events), sizes, between)
        seen = [
            (int(r["event_time_ns"]), int(r["position"]), int(r["size"]), int(r["actions"]))
            for r in got
        ]
        assert seen == [(w.end_ns - 1, w.line, w.size, w.actions) for w in expected]
