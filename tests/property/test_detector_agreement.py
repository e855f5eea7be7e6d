"""The account stage and every rule agree with plain Python, on messy days."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from detector_kit import all_rules, columns_of, feed, no_carry, reborn, stage_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive_detectors import (
    Found,
    Step,
    busy_seconds,
    certified_win_rate,
    count_day,
    instant_cancels,
    naive_steps,
    order_rate_second,
    order_to_trade,
    win_rate,
)
from naive_dormancy import dormant_reactivation
from naive_layering import Figures, layering
from naive_stuffing import Figures as StuffingFigures
from naive_stuffing import quote_stuffing
from strategies import START_NS, messy_days

from detectors.core import contract as c
from schemas.alerts import Finding
from schemas.events import E8, SECOND_NS

CONFIG = {
    "lateness_ns": 2 * SECOND_NS,
    "duplicate_window_ns": 3 * SECOND_NS,
    "order_age_ns": 30 * SECOND_NS,
}
COMPARED = (
    "what", "day", "time_ns", "quantity_e8", "age_ns", "pnl_e8", "trip_pnl_e8", "order_units",
    "order_wins", "registered", "rest_change_e8", "open_change",
)  # fmt: skip
CANCEL_DAY = (c.CANCEL, "contract", 5)
EXPECTED = {
    "certified_win_rate.default": lambda s: certified_win_rate(s, 0.3, 100 / (1.1 * 1_000)),
    "busy_seconds.busy": lambda s: busy_seconds(s, 2, 2),
    "busy_seconds.between": lambda s: busy_seconds(s, 2, 2, 4),
    "cancel_count.default": lambda s: count_day(s, *CANCEL_DAY),
    "dormant_reactivation.default": lambda s: dormant_reactivation(
        s, 15 * SECOND_NS, 5 * SECOND_NS, 3, 2
    ),
    "large_cancels.default": lambda s: count_day(s, c.CANCEL, "contract", 3, 10 * E8),
    "order_rate.day": lambda s: count_day(s, c.ACTION, "account", 20),
    "order_rate.second": lambda s: order_rate_second(s, 5),
    "instant_cancels.default": lambda s: instant_cancels(s, 3, 6, Fraction(1, 2)),
    "layering.default": lambda s: layering(s, Figures(1, 1, Fraction(1, 2), Fraction(15, 100))),
    "order_to_trade.number": lambda s: order_to_trade(s, Fraction(4), by_number=True),
    "order_to_trade.volume": lambda s: order_to_trade(s, Fraction(4), by_number=False),
    "quote_stuffing.default": lambda s: quote_stuffing(
        s, StuffingFigures(1, 3, Fraction(1, 2), Fraction(1, 2))
    ),
    "win_rate.fill": lambda s: win_rate(s, "fill", 4, Fraction(7, 10)),
    "win_rate.order": lambda s: win_rate(s, "order", 4, Fraction(7, 10)),
    "win_rate.round_trip": lambda s: win_rate(s, "round_trip", 4, Fraction(7, 10)),
}
NUMBERS = {
    "busy_seconds": ("windows", "actions_in_latest_window", "actions_in_largest_window"),
    "cancel_count": ("cancels",),
    "dormant_reactivation": ("orders", "fills", "rest_ns"),
    "large_cancels": ("large_cancels",),
    "order_rate": ("actions",),
    "instant_cancels": ("orders", "cancelled_orders", "instantaneous_cancels"),
    "layering": ("episodes", "rested_e8", "withdrawn_net_e8"),
    "order_to_trade": ("orders", "transactions"),
    "quote_stuffing": (
        "bursts",
        "orders_in_latest",
        "replaces_in_latest",
        "withdrawn_in_latest",
        "fills_in_latest",
        "messages_in_largest",
    ),
    "win_rate": ("units", "wins"),
    "certified_win_rate": ("units", "wins"),
}


def test_every_example_has_a_twin() -> None:
    assert {rule.id.removeprefix("test.") for rule in all_rules()} == set(EXPECTED)


def overwriting() -> list[dict[str, Any]]:
    """Let an order of which only a fill is known take the id of one that rests."""
    what = {"instrument": "I", "venue": "TEST", "side": "buy", "quantity": "1", "price": "10"}
    lines = [
        {"kind": "order.new", "order_id": "o2", **what},
        {"kind": "fill", "order_id": "o4", "fill_id": "f", "realized_pnl": "1", **what},
        {"kind": "order.replace", "order_id": "o2", "replaces_order_id": "o4", "quantity": "1",
         "price": "10"},
    ]  # fmt: skip
    head = {"source": "t", "account_id": "A", "event_time_ns": START_NS}
    return [{**head, "event_id": f"e{k}", **line} for k, line in enumerate(lines)]


@given(messy_days())
@example(overwriting())
@settings(max_examples=60, deadline=None)
def test_steps_agree_with_plain_python(events: list[dict[str, Any]]) -> None:
    stage = stage_of(all_rules(), **CONFIG)
    stage.take(columns_of(events), no_carry())
    for index, expected in enumerate(naive_steps(events, **CONFIG)):
        got = stage._scratch.steps[index]
        assert (expected is None) == (got["account"] < 0), index
        if expected is not None:
            assert told(got) == told_of(expected), (index, events[index])
            assert (got["contract"] < 0) == (expected.contract is None), index


def told(step: Any) -> dict[str, int]:
    return {name: int(step[name]) for name in COMPARED}


def told_of(step: Step) -> dict[str, int]:
    return {name: int(getattr(step, name)) for name in COMPARED}


@given(messy_days(size_max=120))
@settings(max_examples=60, deadline=None)
def test_findings_agree_with_plain_python(events: list[dict[str, Any]]) -> None:
    steps = naive_steps(events, **CONFIG)
    output = feed(stage_of(all_rules(), **CONFIG), columns_of(events))
    for name, expected in EXPECTED.items():
        got = [summary(f) for f in output.findings if f.rule.id == "test." + name]
        width = len(NUMBERS[name.split(".")[0]])
        wanted = [shown(one, events, width) for one in expected(steps)]
        if name.startswith("instant_cancels"):
            got = [row for row in got if row[0] != "growth"]
        assert sorted(got, key=str) == sorted(wanted, key=str), name


def summary(finding: Finding) -> tuple[Any, ...]:
    numbers = tuple(int(finding.evidence[name]) for name in NUMBERS[finding.detector])
    subject = finding.subject.replace("@", " ").split()
    is_day = finding.trigger[0] == "trading_day"
    return finding.phase, tuple(subject), None if is_day else finding.trigger[1], numbers


def shown(found: Found, events: list[dict[str, Any]], width: int) -> tuple[Any, ...]:
    row, phase, subject, numbers = found
    names = (subject,) if isinstance(subject, str) else subject
    event_id = None if row is None else events[row]["event_id"]
    return phase, names, event_id, numbers[:width]


@given(messy_days(size_max=80), st.lists(st.integers(1, 9), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None)
def test_parts_and_crashes_change_nothing(events: list[dict[str, Any]], sizes: list[int]) -> None:
    columns = columns_of(events)
    rules = all_rules()
    whole = feed(stage_of(rules, **CONFIG), columns)
    parts = feed(stage_of(rules, **CONFIG), columns, sizes, reborn(rules, **CONFIG))
    assert parts.findings == whole.findings
    assert parts.headroom == whole.headroom


@pytest.mark.parametrize("size", [1, 7])
@given(events=messy_days(size_max=80))
@settings(max_examples=12, deadline=None)
def test_when_days_are_closed_changes_no_verdict(size: int, events: list[dict[str, Any]]) -> None:
    columns = columns_of(events)
    times = [event["event_time_ns"] for event in events]

    def watermark_ns(count: int) -> int:
        pairs = [min(pair) for pair in pairwise(times[:count])]
        return max(pairs, default=-(2**62)) - CONFIG["lateness_ns"]

    rules = all_rules()
    at_end = feed(stage_of(rules, **CONFIG), columns)
    often = feed(stage_of(rules, **CONFIG), columns, [size] * 200, close_after=watermark_ns)
    assert sorted(often.findings, key=str) == sorted(at_end.findings, key=str)
    assert often.headroom == at_end.headroom
