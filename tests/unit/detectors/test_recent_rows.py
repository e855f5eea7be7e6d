"""A finding names the rows just before it, though most subjects' rows are not remembered."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from detector_kit import Tape, rule_of, run

from detectors.core.contract import RECENT
from detectors.core.emit import COUNT_MAX, count_up

FIGURE = 20
SECOND = {"measure": "second", "actions_min": FIGURE}
INSTANT = {"cancels_min": FIGURE, "orders_min": 2 * FIGURE, "cancel_ratio_min": 0.1}
BUSY = {"actions_min": FIGURE, "times_min": 1}
DORMANT = {"orders_min": FIGURE, "fills_min": FIGURE}
STUFFING = {"messages_min": FIGURE, "bursts_min": 1}
RATIO = {"ratio_max": float(FIGURE)}


def orders(tape: Tape, seconds: Iterator[float], howmany: int) -> None:
    for _ in range(howmany):
        tape.new(next(seconds), f"o{len(tape.events)}")


def cancelled_orders(tape: Tape, seconds: Iterator[float], howmany: int) -> None:
    for _ in range(howmany):
        name = f"o{len(tape.events)}"
        tape.new(next(seconds), name)
        tape.cancel(next(seconds), name)


def replaced(tape: Tape, seconds: Iterator[float]) -> None:
    tape.new(next(seconds), "o")
    for _ in range(2 * FIGURE):
        tape.replace(next(seconds), "o", quantity=100 + len(tape.events))


def rising_and_falling(tape: Tape, seconds: Iterator[float]) -> None:
    """Come near the figure, let the window empty itself, and exceed the figure then."""
    orders(tape, seconds, FIGURE - 5)
    orders(tape, count(100, 0.01), 2 * FIGURE)


def day_after_day(tape: Tape, seconds: Iterator[float]) -> None:
    """Come near the figure on one day, and exceed it on the next."""
    orders(tape, seconds, FIGURE - 5)
    orders(tape, count(86_400, 0.01), FIGURE + 5)


def threes(tape: Tape, seconds: Iterator[float]) -> None:
    """Act three times in each of some seconds, with a lone action in between them."""
    for _ in range(5):
        start = 300 * next(seconds)
        for later in (0, 1.1, 1.2, 1.3):
            tape.new(start + later, f"o{len(tape.events)}")


def two_bursts(tape: Tape, seconds: Iterator[float]) -> None:
    """Stuff, come near the figure with orders that stay, and stuff again."""
    cancelled_orders(tape, seconds, FIGURE)
    orders(tape, count(100, 0.01), FIGURE - 1)
    cancelled_orders(tape, count(200, 0.01), FIGURE)


def back_again(tape: Tape, seconds: Iterator[float]) -> None:
    """Trade a little, rest for a hundred days, and trade much, withdrawing some of it."""
    orders(tape, seconds, FIGURE - 1)
    cancelled_orders(tape, count(100 * 86_400, 0.01), 2 * FIGURE)


def closing_fills(tape: Tape, seconds: Iterator[float]) -> None:
    for _ in range(2 * FIGURE):
        tape.fill(next(seconds), f"o{len(tape.events)}", side="sell", realized_pnl=1)


CASES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "day": ("order_rate", SECOND | {"measure": "day"}, lambda t, s: orders(t, s, 2 * FIGURE)),
    "days": ("order_rate", SECOND | {"measure": "day"}, day_after_day),
    "second": ("order_rate", SECOND, lambda t, s: orders(t, s, FIGURE)),
    "window": ("order_rate", SECOND, rising_and_falling),
    "busy": ("busy_seconds", BUSY, lambda t, s: orders(t, s, FIGURE)),
    "between": ("busy_seconds", BUSY | {"actions_max": 99}, lambda t, s: orders(t, s, FIGURE)),
    "few in each": ("busy_seconds", {"actions_min": 3, "times_min": 5}, threes),
    "few between": ("busy_seconds", {"actions_min": 3, "actions_max": 4, "times_min": 5}, threes),
    "instant": ("instant_cancels", INSTANT, lambda t, s: cancelled_orders(t, s, 2 * FIGURE)),
    "dormant": ("dormant_reactivation", DORMANT, back_again),
    "stuffing": ("quote_stuffing", STUFFING, lambda t, s: cancelled_orders(t, s, 3 * FIGURE)),
    "stuffing again": ("quote_stuffing", STUFFING | {"bursts_min": 2}, two_bursts),
    "number": ("order_to_trade", RATIO | {"measure": "number"}, replaced),
    "units": (
        "win_rate",
        {"unit": "fill", "min_units": FIGURE, "simulated_only": False},
        closing_fills,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rows_just_before_are_named(case: str) -> None:
    name, parameters, write = CASES[case]
    tape = Tape()
    write(tape, count(0, 0.01))
    found = run(tape.events, [rule_of(name, parameters)]).findings
    assert found
    lines = {event["event_id"]: line for line, event in enumerate(tape.events)}
    for finding in found:
        if finding.trigger[0] == "trading_day":  # a verdict: nothing came after the day's last row
            last = len(tape.events) - 1
        else:
            last = lines[finding.trigger[1]]
        named = [position.line for position in finding.positions]
        assert named == list(range(last - RECENT + 1, last + 1))


def test_a_window_judged_by_a_later_row_names_its_own() -> None:
    tape = Tape()
    orders(tape, count(0, 0.01), FIGURE)
    orders(tape, count(9, 0.01), 1)
    (found,) = run(tape.events, [rule_of("busy_seconds", BUSY | {"actions_max": 99})]).findings
    assert found.trigger[1] == tape.events[FIGURE]["event_id"]
    assert [one.line for one in found.positions] == list(range(FIGURE - RECENT, FIGURE))


def test_counts_are_held_at_the_end_of_32_bits() -> None:
    assert [int(count_up(n)) for n in (0, COUNT_MAX - 1, COUNT_MAX)] == [1, COUNT_MAX, COUNT_MAX]
