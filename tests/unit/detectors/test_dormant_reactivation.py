"""Dormant reactivation: wrong clocks, late rows, what a finding names, and how near one is."""

import pytest
from detector_kit import DAY_NS, START_NS, Tape, rule_of, run

HOUR_S = 3_600.0
RULE = rule_of(
    "dormant_reactivation",
    {"dormant_min_ns": 30 * DAY_NS, "window_ns": DAY_NS, "orders_min": 10, "fills_min": 20},
)
BACK_S = 40 * 86_400.0


def orders(tape: Tape, start_s: float, count: int) -> None:
    for k in range(count):
        tape.new(start_s + k, f"{start_s}-{k}")


def test_a_row_from_a_wrong_clock_is_no_return() -> None:
    tape = Tape()
    tape.new(0, "first")
    tape.new(500 * 86_400.0, "wild")
    orders(tape, 60, 30)
    assert run(tape.events, [RULE]).findings == []


def test_a_row_that_is_late_shortens_no_rest_and_lengthens_none() -> None:
    tape = Tape()
    tape.new(HOUR_S, "first")
    tape.new(HOUR_S - 1, "late")
    orders(tape, HOUR_S + 30 * 86_400 - 0.5, 10)
    assert run(tape.events, [RULE], lateness_ns=DAY_NS).findings == []


def test_a_late_row_from_before_the_return_does_not_count() -> None:
    tape = Tape()
    tape.new(0, "first")
    tape.new(BACK_S, "back")
    orders(tape, BACK_S - 9, 9)
    assert run(tape.events, [RULE], lateness_ns=DAY_NS).findings == []


def test_a_finding_names_rows_since_the_return_only() -> None:
    rule = rule_of("dormant_reactivation", RULE.parameters | {"orders_min": 3, "dormant_min_ns": 1})
    tape = Tape()
    orders(tape, 0, 1)
    for k in range(3):
        tape.new(9, f"o{k}")
    (found,) = run(tape.events, [rule]).findings
    assert [position.line for position in found.positions] == [1, 2, 3]
    assert found.onset_ns == START_NS + 9 * 10**9


def test_a_window_goes_on_after_midnight() -> None:
    tape = Tape()
    tape.new(0, "first")
    orders(tape, BACK_S + 86_395, 10)
    (found,) = run(tape.events, [RULE]).findings
    assert found.evidence["rest_ns"] == str(40 * DAY_NS + 86_395 * 10**9)


@pytest.mark.parametrize(("kind", "figure"), [("new", 10), ("fill", 20)])
def test_how_near_it_is_is_told_at_eight_in_ten(kind: str, figure: int) -> None:
    tape = Tape()
    tape.new(0, "first")
    for k in range(figure * 8 // 10):
        getattr(tape, kind)(BACK_S + k, f"o{k}")
    (near,) = run(tape.events, [RULE]).headroom
    assert (near.value, near.figure) == (figure * 8 // 10, figure)
