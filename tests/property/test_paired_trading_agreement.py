"""The instrument stage and paired trading agree with plain Python, however rows are cut."""

from fractions import Fraction
from typing import Any

import pytest
from detector_kit import columns_of, feed, reborn, rule_of, stage_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive_paired_trading import Figures, Told, paired_trades
from trade_days import events_of, files

from detectors.core.instrument_stage import InstrumentConfig
from lab.conformance.kit import DAY_NS
from schemas.alerts import Finding
from schemas.events import SECOND_NS

FIGURES = Figures(2, Fraction(1, 2), Fraction(1, 4))
RULE = rule_of(
    "paired_trading", {"trades_min": 2, "share_min": 0.5, "round_share_min": 0.25}, exempt=()
)
CONFIG = {"lateness_ns": 2 * SECOND_NS}
SOON = CONFIG | {"idle_ns": 4 * SECOND_NS}
fills = st.tuples(
    st.just("fill"),
    st.sampled_from("AAAABBBC"),
    st.sampled_from(["buy", "sell"]),
    st.integers(0, 30),  # fill_id
    st.sampled_from(["", "A", "B", "A", "B", "A", "B", "C"]),  # counterparty
    st.sampled_from("IIIIIJ"),
)
gaps = st.sampled_from([0, 0, 0, 1, 1, 1, 3, 6, 11, 43_200])
days = st.lists(st.tuples(gaps, st.one_of(*(fills,) * 12, files)), max_size=40)
BOTH_WAYS = [(1, ("fill", "A", side, k, "B", "I")) for k, side in enumerate(["buy", "sell"] * 3)]
LONELY = [(0, ("fill", "A", "buy", k, "", "I")) for k in range(2)]
LATE = [(1, ("fill", "B", side, k, "", "I")) for k, side in enumerate(["sell", "buy"])]


def told(finding: Finding) -> Told:
    evidence = finding.evidence
    return Told(
        finding.subject,
        finding.phase,
        evidence["trades_between"],
        evidence["trades_of_the_busier"],
        int(evidence["traded_e8"]) // 10**8,
        evidence["came_back_ppm"],
        evidence["fills_without_counterparty"],
        finding.trigger[1],
        [position.line for position in finding.positions],
    )


def by_contract(findings: list[Told]) -> list[Told]:
    """Sort by contract, stably: which of two comes first at one moment means nothing."""
    return sorted(findings, key=lambda one: one.subject.rpartition(" ")[2])


@settings(max_examples=150, deadline=None)
@given(days, st.integers(1, 9))
@example(BOTH_WAYS, 1)
@example([*BOTH_WAYS, (86_400, BOTH_WAYS[0][1]), *BOTH_WAYS], 2)
@example([*LONELY[:1], (0, ("fill", "A", "sell", 1, "", "I")), *LATE], 1)  # reported one by one
@example([BOTH_WAYS[0], (0, ("file", "A", "X", "")), (0, ("file", "B", "X", "")), *BOTH_WAYS], 3)
def test_findings_agree_with_plain_python(
    day: list[tuple[int, tuple[Any, ...]]], size: int
) -> None:
    events = events_of(day)
    expected = by_contract(paired_trades(events, FIGURES))
    columns = columns_of(events)
    whole = feed(stage_of([RULE], **CONFIG), columns).findings
    assert by_contract([told(one) for one in whole]) == expected
    cut = feed(stage_of([RULE], **CONFIG), columns, [size] * 40, reborn([RULE], **CONFIG))
    assert cut.findings == whole
    # Nor can they tell that what rests is let go as soon as it may be.
    for again in (lambda stage: stage, reborn([RULE], **SOON)):
        assert feed(stage_of([RULE], **SOON), columns, [size] * 40, again).findings == whole


def test_examples_find_something() -> None:
    assert [one.trades for one in paired_trades(events_of(BOTH_WAYS), FIGURES)] == [2, 4]


def test_both_accounts_are_named_whoever_reports() -> None:
    """Only the first trade's reports say nothing; names come from either side's own lines."""
    day = []
    for k in range(4):
        sides = ["buy", "sell"] if k % 2 else ["sell", "buy"]
        for who, side in zip("AB", sides, strict=True):
            day.append((1, ("fill", who, side, k, "", "I")))
    (first, *_) = feed(stage_of([RULE], **CONFIG), columns_of(events_of(day))).findings
    assert {one["account_id"] for one in first.evidence["accounts"]} == {"A", "B"}
    assert first.account_id == "B"
    named = [(1, ("fill", "A", "buy" if k % 2 else "sell", k, "B", "I")) for k in range(4)]
    (first, *_) = feed(stage_of([RULE], **CONFIG), columns_of(events_of(named))).findings
    assert {one["account_id"] for one in first.evidence["accounts"]} == {"A", "B"}
    bought = {one["account_id"]: int(one["quantity_e8"]) for one in first.evidence["accounts"]}
    assert bought == {"A": 2 * 10**8, "B": 1 * 10**8}, "each bought what the other sold"


def test_memory_is_given_back_within_hours_of_a_day_s_end() -> None:
    stage = stage_of([RULE], **CONFIG)
    day = []
    for number in range(40):
        for k, side in enumerate(["buy", "sell"]):
            fill = ("fill", f"A{number}", side, 2 * number + k, f"B{number}", f"I{number}")
            day.append((43_200, fill))
    feed(stage, columns_of(events_of(day)), [1] * 80)
    counts = stage.instruments.row_counts()
    assert counts["traders"] <= 4
    assert counts["pairs"] <= 2
    assert counts["subjects"] <= 2
    idle = stage_of([RULE], **SOON)
    feed(idle, columns_of(events_of(day)), [1] * 80)
    counts = idle.instruments.row_counts()
    assert counts["holders"] <= 4
    assert counts["traded_instruments"] == len(idle.instruments.instrument_names) <= 2


@pytest.mark.parametrize("most", [2, 3, 4])
def test_accounts_without_room_are_left_out_and_counted(most: int) -> None:
    """C and D find no room; E, who comes when there is some again, is left out for the day too."""
    trades = [("A", "B"), ("C", "D"), ("A", "B"), ("C", "D"), ("E", "A"), ("E", "A")]
    day = [
        (1, ("fill", one, "buy" if k % 4 < 2 else "sell", k, other, "I"))
        for k, (one, other) in enumerate(trades)
    ]
    stage = stage_of([RULE], **CONFIG)
    own = stage.instruments
    own._settings = own._settings._replace(traders_max=most)
    own.config = InstrumentConfig(own.config.key, own.config.lane_names, traders_max=most)
    output = feed(stage, columns_of(events_of(day)), [1] * len(day))
    subjects = {one.subject for one in output.findings}
    assert ("A with B I@TEST" in subjects) == (most >= 2)
    assert ("C with D I@TEST" in subjects) == (most >= 4)
    assert "A with E I@TEST" not in subjects
    assert (stage.totals()["trades_left_out_of_pairs"] > 0) == (most < 5)
    assert own.row_counts()["traders"] <= most


def test_the_day_s_room_comes_back_with_the_next_day() -> None:
    day = [(1, ("fill", "A", "buy" if k % 2 else "sell", k, "B", "I")) for k in range(2)]
    next_day = [(1, ("fill", "C", "buy" if k % 2 else "sell", k, "D", "I")) for k in (3, 4)]
    next_day[0] = (DAY_NS // SECOND_NS + 7_200, next_day[0][1])
    stage = stage_of([RULE], **CONFIG)
    own = stage.instruments
    own._settings = own._settings._replace(traders_max=2)
    own.config = InstrumentConfig(own.config.key, own.config.lane_names, traders_max=2)
    subjects = [one.subject for one in feed(stage, columns_of(events_of(day + next_day))).findings]
    assert subjects == ["A with B I@TEST", "C with D I@TEST"]


def test_a_trade_with_oneself_counts_once_among_what_an_account_traded() -> None:
    own = [("fill", "A", side, 90 + k, "", "I") for k in range(2) for side in ("buy", "sell")]
    day = [*((1, fill) for fill in own), *BOTH_WAYS]
    (first, *_) = feed(stage_of([RULE], **CONFIG), columns_of(events_of(day))).findings
    assert (first.evidence["trades_between"], first.evidence["trades_of_the_busier"]) == (2, 4)


MUMBAI_CLOSE_S = 2 * 86_400 - 5 * 3_600 - 1_800  # of 5 March, at midnight there


def mumbai(day: list[tuple[int, tuple[Any, ...]]], instruments: str) -> list[dict[str, Any]]:
    """Return events of which some instruments are listed where days begin at half past six."""
    events = events_of(day)
    for event in events:
        event["venue"] = "XBOM" if event["instrument"] in instruments else "TEST"
    return events


def test_days_that_end_within_an_hour_are_told_apart() -> None:
    before = [
        *((0, ("fill", "A", "buy", 50 + k, "", "I")) for k in range(5)),
        (0, ("fill", "A", "buy", 60, "B", "I")),
    ]
    before[0] = (MUMBAI_CLOSE_S - 5, before[0][1])
    late = [(6, ("fill", "B", "sell", 60, "A", "I")), *BOTH_WAYS[:2]]
    events = mumbai([*before, *late], "I")
    (first,) = feed(stage_of([RULE], **CONFIG), columns_of(events)).findings
    assert (first.evidence["trades_between"], first.evidence["trades_of_the_busier"]) == (2, 2)
    assert [position.line for position in first.positions] == [7, 8]


def test_who_was_left_out_is_so_until_the_day_ends() -> None:
    """Room that another venue's evening gives back does not make a day's share of half a day."""
    left_out = [(1, ("fill", "C", "buy", 50 + k, "", "J")) for k in range(5)]
    again = [(1, ("fill", "C", side, k, "D", "J")) for k, side in enumerate(["buy", "sell"])]
    day = [(MUMBAI_CLOSE_S - 60, BOTH_WAYS[0][1]), *left_out, (7_200, again[0][1]), again[1]]
    stage = stage_of([RULE], **CONFIG)
    own = stage.instruments
    own._settings = own._settings._replace(traders_max=2)
    own.config = InstrumentConfig(own.config.key, own.config.lane_names, traders_max=2)
    assert feed(stage, columns_of(mumbai(day, "I"))).findings == []
    assert stage.totals()["trades_left_out_of_pairs"] == 5 + 2 * 2
