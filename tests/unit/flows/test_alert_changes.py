"""Two runs' alerts held against each other."""

import pytest
from msgspec import structs

from flows.alert_changes import OtherFigures, compare
from flows.store import AlertRow
from schemas.alerts import Rule

RULE = Rule(id="r", version=1, pack="p", article="a", parameters_hash="h")


def alert(alert_id: str, at_ns: int = 1, **changed: object) -> AlertRow:
    row = AlertRow(
        alert_id=alert_id, tenant="t", detector="d", rule_id="r", account_id="A", instrument=None,
        subject="account:A", severity="low", state="open", onset_ns=0, event_time_ns=at_ns,
        updated_ns=at_ns, trading_day="2026-03-04", why="because", evidence={"n": 1},
        counterfactual={}, rule=RULE,
    )  # fmt: skip
    return structs.replace(row, **changed)


def told(first: list[AlertRow], second: list[AlertRow]) -> list[tuple[str, str, str]]:
    return [
        (
            one.change,
            "" if one.first is None else one.first.alert_id,
            "" if one.second is None else one.second.alert_id,
        )
        for one in compare(first, second)
    ]


def test_alerts_of_one_id_are_the_same_or_amended() -> None:
    assert told([alert("1")], [alert("1")]) == [("same", "1", "1")]
    assert told([alert("1")], [alert("1", ledger_index=7)]) == [("same", "1", "1")]
    for changed in ({"state": "withdrawn"}, {"why": "else"}, {"evidence": {"n": 2}}):
        assert told([alert("1")], [alert("1", **changed)]) == [("amended", "1", "1")]


def test_alerts_of_another_id_are_matched_by_rule_subject_and_day() -> None:
    assert told([alert("1", 5)], [alert("2", 3)]) == [("amended", "1", "2")]
    for other in ({"subject": "account:B"}, {"trading_day": "2026-03-05"},
                  {"rule": structs.replace(RULE, id="s")}):  # fmt: skip
        assert told([alert("1", 5)], [alert("2", 3, **other)]) == [
            ("added", "", "2"),
            ("gone", "1", ""),
        ]


def test_they_are_matched_in_order_of_time() -> None:
    first = [alert("b", 20), alert("a", 10), alert("c", 30)]
    assert told(first, [alert("y", 25), alert("x", 15)]) == [
        ("amended", "a", "x"),
        ("amended", "b", "y"),
        ("gone", "c", ""),
    ]
    assert told([alert("y", 25)], [*first]) == [
        ("amended", "y", "a"),
        ("added", "", "b"),
        ("added", "", "c"),
    ]


def test_one_of_the_same_id_is_matched_with_no_other() -> None:
    assert told([alert("1", 10)], [alert("2", 5), alert("1", 10)]) == [
        ("added", "", "2"),
        ("same", "1", "1"),
    ]


def test_other_figures_are_not_compared() -> None:
    rule = structs.replace(RULE, parameters_hash="other")
    with pytest.raises(OtherFigures, match="other figures for r"):
        compare([alert("1")], [alert("2", rule=rule)])
    elsewhere = structs.replace(rule, id="s")
    assert len(compare([alert("1")], [alert("2", rule=elsewhere)])) == 2
