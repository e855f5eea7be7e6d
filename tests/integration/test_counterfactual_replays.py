"""Alerts by the hundred held to their counterfactuals, each in a world of its own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from msgspec import structs, to_builtins

from detectors.core.contract import Detector
from detectors.core.registry import build_detectors
from lab.evaluate import counterfactuals
from lab.evaluate.counterfactuals import FIGURES, Extent, Verdict, counterfactuals_table
from lab.evaluate.replays import PRICED, Case, Day, Key, renamed
from lab.evaluate.undone import UNDOING, Account, claimed, undo
from lab.simulator import Market, SimulatorConfig
from schemas.alerts import Finding

SMALL = Extent(1, 40_000, 1_000, (1.2,))
VOLUME = "eu.otr.volume"


@cache
def detectors() -> tuple[Detector, ...]:
    return tuple(build_detectors(overrides=FIGURES))


@cache
def day() -> Day:
    return counterfactuals.day_of(SMALL, 7, detectors())


@cache
def cases() -> tuple[Case, ...]:
    return tuple(day().cases(day().alerts))


def detector_of(finding: Finding) -> Detector:
    return next(one for one in detectors() if one.rule.id == finding.rule.id)


def verdicts_on(changed: Sequence[Case]) -> list[Verdict]:
    return counterfactuals.judge(day(), changed, detectors())


def claiming(case: Case, more: int) -> Case:
    """Let the alert say that so many more changes are needed."""
    claim = case.finding.counterfactual
    less = type(claim["at_most"])(int(claim["at_most"]) - more)
    finding = structs.replace(case.finding, counterfactual=claim | {"at_most": less})
    return replace(case, finding=finding)


def test_every_alert_alerts_again_in_a_world_of_its_own() -> None:
    counts = day().counts_of([case.events for case in cases()])
    for number, case in enumerate(cases()):
        finding = case.finding
        key = Key(number, finding.rule.id, finding.instrument, finding.trading_day)
        assert counts[key] == case.count, finding


def test_what_alerts_say_would_have_prevented_them_prevents_them() -> None:
    verdicts = verdicts_on(cases())
    assert [one for one in verdicts if one.outcome == "refuted"] == []
    confirmed = Counter(one.finding.detector for one in verdicts if one.outcome == "confirmed")
    assert sum(confirmed.values()) > 0.9 * len(verdicts) > 200
    assert {one for one in UNDOING if confirmed[one] == 0} <= PRICED
    earlier = {one.finding.detector for one in verdicts if one.outcome == "gone_earlier"}
    assert earlier <= PRICED


def test_a_claim_of_one_change_too_few_is_refuted() -> None:
    """Only where more than one is needed can an alert say too little and still say something."""
    several = [case for case in cases() if claimed(case.finding) > 1]
    several = [case for case in several if case.finding.rule.id != VOLUME]
    told = [one for one in verdicts_on([claiming(case, -1) for case in several])
            if one.outcome != "not_applicable"]  # fmt: skip
    assert len(told) > 20
    # By number a replace counts twice, so that a change too few may still be enough.
    assert {one.outcome for one in told if one.finding.detector == "win_rate"} == {"refuted"}
    assert {one.why for one in told if one.outcome == "refuted"} == {"it stands"}


def test_a_claim_of_one_change_too_many_is_refuted() -> None:
    counting = {"cancel_count", "large_cancels", "order_rate", "win_rate", "self_trading"}
    chosen = [case for case in cases() if case.finding.detector in counting]
    told = [one for one in verdicts_on([claiming(case, 1) for case in chosen])
            if one.outcome != "not_applicable"]  # fmt: skip
    assert {one.finding.detector for one in told} == counting
    assert {one.outcome for one in told} == {"refuted"}
    assert {one.why for one in told} == {"it is gone with one change fewer"}


@pytest.mark.parametrize("detector", sorted({*UNDOING} - {"win_rate", "certified_win_rate"}))
def test_positions_stay_where_only_messages_are_taken_out(detector: str) -> None:
    if detector in PRICED or detector in {"self_trading", "paired_trading"}:
        return  # these are about trades
    for case in (one for one in cases() if one.finding.detector == detector):
        if case.finding.counterfactual["quantity"] == "fills":
            continue
        try:
            changed = undo(case.finding, case.events, detector_of(case.finding))
        except counterfactuals.NotApplicable:
            continue
        fills = [event for event in case.events if event["kind"] == "fill"]
        assert [event for event in changed.enough if event["kind"] == "fill"] == fills
        assert len(changed.enough) < len(changed.one_short) <= len(case.events)


def test_copies_share_no_names_but_those_of_listed_instruments() -> None:
    case = next(one for one in cases() if one.finding.detector == "ramping")
    shared = ("event_id", "account_id", "order_id", "fill_id", "instrument")
    names = [
        {event[name] for event in renamed(case.events, number) for name in shared if name in event}
        for number in (0, 1)
    ]
    assert names[0].isdisjoint(names[1])
    plain = next(one for one in cases() if one.finding.detector == "cancel_count")
    kept = {event.get("instrument") for event in renamed(plain.events, 0)}
    assert kept == {event.get("instrument") for event in plain.events}


def event(number: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "event_time_ns": number, "kind": kind, "account_id": "A",
            **fields}  # fmt: skip


def test_a_cancel_withdraws_what_is_left() -> None:
    events = [
        event(1, "order.new", order_id="1", quantity=10, venue="XPAR", instrument="I"),
        event(2, "fill", order_id="1", quantity=3, instrument="I"),
        event(3, "order.cancel", order_id="1", reason="user"),
        event(4, "order.new", order_id="2", quantity=10, venue="XPAR", instrument="I"),
        event(5, "order.replace", order_id="2", quantity=8),
        event(6, "order.cancel", order_id="2", reason="user", quantity=7),
        event(7, "order.new", order_id="3", quantity=10, venue="XSHG", instrument="I"),
        event(8, "order.cancel", order_id="3", reason="user"),
        event(9, "order.cancel", order_id="4", reason="user"),
    ]
    european = next(one for one in detectors() if one.rule.id == VOLUME)
    finding = structs.replace(cases()[0].finding, account_id="A", instrument="I")
    account = Account(finding, events, european)
    assert account.left == {"e3": 7, "e6": 7, "e8": 10, "e9": 0}
    assert [one["event_id"] for one in events if account.is_cancel(one)] == ["e3", "e6"]


def test_the_table_tells_what_was_tried() -> None:
    rows = counterfactuals.measure(SMALL, 7)
    silent = {row.rule for row in rows if row.alerts == 0}
    assert silent == {row.rule for row in rows if row.detector not in UNDOING}
    assert silent >= {"peers.cancels", "peers.lifetime"}
    for row in rows:
        parts = (row.confirmed, row.gone_earlier, row.refuted, *row.not_applicable.values())
        assert sum(parts) == row.alerts
    most = {row.rule: row.changes_max for row in rows}
    assert most["cn.futures.cancels"] == 1
    assert most["source.win_rate"] > 2
    table = counterfactuals_table({"counterfactuals": to_builtins(rows)})
    assert len(table.rows) == len(rows)
    assert all(len(row) == len(table.head) for row in table.rows)
    assert f"{sum(row.alerts for row in rows):,} alerts" in table.note
    assert {row[-1] for row in table.rows if row[1] in silent} == {
        "it compares with days before, and there is one day"
    }


@pytest.mark.parametrize("number", [1, 2], ids=["order", "fill"])
def test_wins_of_other_units_are_undone_as_they_are_counted(number: int) -> None:
    others = build_detectors(overrides=counterfactuals.figures_of(number))
    whole = Day(Market(SimulatorConfig(events=12_000, accounts=300, seed=9, plants=())), others)
    chosen = list(whole.cases(one for one in whole.alerts if one.detector == "win_rate"))
    assert {case.finding.evidence["unit"] for case in chosen} == {("order", "fill")[number - 1]}
    told = counterfactuals.judge(whole, chosen, others)
    assert Counter(one.outcome for one in told) == {"confirmed": len(chosen)}
    assert len(chosen) > 30


@pytest.mark.long
def test_a_thousand_alerts_and_more_are_confirmed() -> None:
    rows = counterfactuals.measure(counterfactuals.FULL, 20_261_123)
    assert sum(row.refuted for row in rows) == 0
    assert sum(row.confirmed for row in rows) > 1_000
