"""Marking the close and ramping agree with plain Python, however rows are cut."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from detector_kit import DAY_NS, columns_of, feed, no_carry, reborn, rule_of, stage_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive_windows import Figures, Told, moved
from trade_days import events_of

from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.moved_windows import IN_WINDOW, WINDOW
from schemas.alerts import Finding
from schemas.events import SECOND_NS

CLOSE = Figures(DAY_NS - 120 * SECOND_NS, 100 * SECOND_NS, 2, Fraction(2, 5), Fraction(1, 10))
RAMP = Figures(0, 50 * SECOND_NS, 2, Fraction(2, 5), Fraction(1, 10))
CONFIG = {"lateness_ns": 2 * SECOND_NS}
SOON = CONFIG | {"idle_ns": 4 * SECOND_NS}
RULES = {
    "marking_the_close": CLOSE,
    "ramping": RAMP,
}
fills = st.tuples(
    st.just("fill"),
    st.sampled_from("AAAAB"),
    st.sampled_from(["buy", "buy", "buy", "sell"]),
    st.integers(0, 80),  # fill_id
    st.sampled_from(["", "", "", "B", "C", "A"]),  # counterparty
    st.sampled_from("IIIIJ"),
)
gaps = st.sampled_from([0, 1, 3, 3, 11, 11, 20, 30, 86_300])
days = st.lists(st.tuples(gaps, fills, st.integers(8, 14)), max_size=40)
Day = list[tuple[int, tuple[Any, ...], int]]


def rule_for(name: str) -> Any:
    figures = RULES[name]
    parameters = {
        name: float(value) if isinstance(value, Fraction) else value
        for name, value in figures._asdict().items()
        if value != 0
    }
    return rule_of(name, parameters, exempt=("market_maker",))


def events_at_prices(day: Day) -> list[dict[str, Any]]:
    events = events_of([(gap, fill) for gap, fill, _ in day])
    return [event | {"price": price} for event, (_, _, price) in zip(events, day, strict=True)]


def told(finding: Finding) -> Told:
    evidence = finding.evidence
    bought, sold, volume, before, last = (
        int(evidence[name]) // 10**8
        for name in (
            "bought_e8", "sold_e8", "volume_of_window_e8", "price_before_e8", "price_at_end_e8",
        )
    )  # fmt: skip
    return Told(
        finding.subject,
        finding.phase,
        finding.event_time_ns,
        evidence["trades"],
        bought,
        sold,
        volume,
        before,
        last,
        [position.line for position in finding.positions],
    )


def bought(number: int, gap: int, price: int, account: str = "A", side: str = "buy") -> Any:
    return gap, ("fill", account, side, number, "", "I"), price


# A trade before the window, three in it that lift the price, and one after.
CLOSING = [
    bought(0, 0, 10, "B"), bought(1, 60, 10), bought(2, 10, 11), bought(3, 10, 12),
    bought(4, 60, 9, "B"),
]  # fmt: skip
FALLING = [(gap, (*fill[:2], "sell", *fill[3:]), 20 - price) for gap, fill, price in CLOSING]
TWICE = [
    *CLOSING,
    *((gap, (*fill[:3], 10 + fill[3], *fill[4:]), price) for gap, fill, price in CLOSING),
]
# The last of three falls on the next day, within the window's length.
MIDNIGHT = [
    bought(0, 86_300, 10, "B"), bought(1, 80, 10), bought(2, 10, 12), bought(3, 20, 13),
]  # fmt: skip
# Who is told by the other's report alone, the second time by a report that comes later.
OTHER_HALF = [
    bought(0, 0, 10, "B"),
    (60, ("fill", "A", "sell", 1, "B", "I"), 11),
    (10, ("fill", "A", "sell", 2, "", "I"), 12),
    (1, ("fill", "B", "buy", 2, "", "I"), 12),
]
NEXT_DAY = [*CLOSING, (86_400, ("fill", "B", "buy", 20, "", "I"), 9), *TWICE[5:]]


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=120, deadline=None)
@given(day=days, size=st.integers(1, 9))
@example(day=CLOSING, size=1)
@example(day=FALLING, size=2)
@example(day=TWICE, size=1)
@example(day=NEXT_DAY, size=3)
@example(day=MIDNIGHT, size=2)
@example(day=OTHER_HALF, size=1)
def test_findings_agree_with_plain_python(name: str, day: Day, size: int) -> None:
    rule, events = rule_for(name), events_at_prices(day)
    expected = moved(events, RULES[name])
    columns = columns_of(events)
    whole = feed(stage_of([rule], **CONFIG), columns).findings
    assert sorted(told(one) for one in whole) == expected
    cut = feed(stage_of([rule], **CONFIG), columns, [size] * 40, reborn([rule], **CONFIG))
    by_time = sorted(whole, key=lambda one: (one.event_time_ns, one.subject))
    assert sorted(cut.findings, key=lambda one: (one.event_time_ns, one.subject)) == by_time
    # Nor can they tell that what rests is let go as soon as it may be.
    for again in (lambda stage: stage, reborn([rule], **SOON)):
        soon = feed(stage_of([rule], **SOON), columns, [size] * 40, again).findings
        assert sorted(soon, key=lambda one: (one.event_time_ns, one.subject)) == by_time


def test_examples_find_something() -> None:
    for day, account in ((CLOSING, "A"), (FALLING, "A"), (TWICE, "A"), (NEXT_DAY, "A")):
        for figures in (CLOSE, RAMP):
            assert moved(events_at_prices(day), figures)[0].subject == f"{account} I@TEST"
    assert {one.phase for one in moved(events_at_prices(TWICE), RAMP)} == {"opening", "growth"}


@pytest.mark.parametrize("named", [True, False], ids=["named", "by both reports"])
def test_who_trades_with_oneself_has_bought_nothing_net(named: bool) -> None:
    day = [CLOSING[0]]
    for gap, (kind, account, side, number, _, instrument), price in CLOSING[1:4]:
        fill = (kind, account, side, number, account if named else "", instrument)
        if not named:  # told second: the later one's id is smaller
            day.append((gap, (kind, account, "sell", *fill[3:]), price))
        day.append((gap if named else 0, fill, price))
    for name in RULES:
        stage = stage_of([rule_for(name)], **CONFIG)
        assert feed(stage, columns_of(events_at_prices(day))).findings == []


def test_rows_of_instruments_that_are_gone_are_given_out_empty() -> None:
    state = SubjectState.of(IN_WINDOW, 8, WINDOW)
    state.share(3)
    state.shared["last_e8"] = 7
    state.forget_instruments(np.array([1, 9]))
    assert state.shared["last_e8"].tolist()[:3] == [7, 0, 7]
    plain = SubjectState.of(IN_WINDOW, 8)
    plain.share(3)
    assert len(plain.shared) == 0, "rules whose subjects have nothing in common keep nothing"


def test_windows_over_at_once_are_judged_a_buffer_at_a_time() -> None:
    """More findings than there is room for: the rest comes with the next call."""
    rule, day = rule_for("marking_the_close"), []
    for number in range(7):
        for k, (gap, fill, price) in enumerate(CLOSING[:4]):
            own = (*fill[:3], 10 * number + k, "", f"I{number}")
            day.append((gap if number == 0 else 0, own, price) if k else (0, own, price))
    events = events_at_prices(day)
    for number, event in enumerate(events):
        event["event_time_ns"] = events[number % 4]["event_time_ns"]
    events.sort(key=lambda event: int(event["event_time_ns"]))
    stage = stage_of([rule], **CONFIG)
    assert stage.take(columns_of(events), no_carry()).findings == []
    stage.instruments._scratch.buffer = FindingBuffer.of(3)
    findings = stage.close().findings
    assert len({finding.subject for finding in findings}) == len(findings) == 7


def test_time_alone_judges_a_window() -> None:
    """Nothing comes after it; the finding is of the window's last moment."""
    rule, day = rule_for("marking_the_close"), CLOSING[:4]
    (finding,) = feed(stage_of([rule], **CONFIG), columns_of(events_at_prices(day))).findings
    assert finding.event_time_ns % DAY_NS == 120 * SECOND_NS
    assert finding.trigger == ("trading_day", "2026-03-04")
    assert finding.account_id == "A"
    assert finding.day_end_ns > finding.event_time_ns


def test_a_maker_s_trades_count_for_the_volume_only() -> None:
    rule, events = rule_for("marking_the_close"), events_at_prices(CLOSING)
    entry = {"registration": "market_maker", "valid_from_ns": 946_684_800 * 10**9}
    head = {"kind": "ref.account", "source": "s", "event_id": "f", "account_id": "A"}
    first_ns = events[0]["event_time_ns"]
    file = head | {"event_time_ns": first_ns - SECOND_NS, "registrations": [entry]}
    assert feed(stage_of([rule], **CONFIG), columns_of([file, *events])).findings == []
    # As the other side of B's trades A is exempt too, and B is not.
    events = [event | {"account_id": "B", "counter_account_id": "A"} for event in events]
    (finding,) = feed(stage_of([rule], **CONFIG), columns_of([file, *events])).findings
    assert finding.account_id == "B"


def test_what_an_instrument_s_accounts_share_is_let_go_with_it() -> None:
    rule = rule_for("ramping")
    stage = stage_of([rule], **SOON)
    day = []
    for number in range(30):
        for k, (gap, fill, price) in enumerate(CLOSING):
            own = (*fill[:3], 10 * number + k, "", f"I{number}")
            day.append((gap if k else 2 * 86_400, own, price))
    findings = feed(stage, columns_of(events_at_prices(day)), [1] * 150).findings
    assert len(findings) == 30
    own = stage.instruments
    counts = own.row_counts()
    assert counts["traders"] <= 4
    assert counts["subjects"] <= 4
    assert counts["traded_instruments"] <= 3
    assert len(own.subjects[0].shared) < 100
    assert (own.subjects[0].shared["newest"] == 0).all()
    assert int(own.subjects[0].counters[4]) <= 4, "rings are given back"
