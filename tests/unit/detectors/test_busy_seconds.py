"""A window that only the end of its day can judge, where venues end their day at other hours."""

from itertools import pairwise

import pytest
from detector_kit import SECOND_NS, Tape, at, columns_of, feed, rule_of, run, stage_of

RULE = rule_of("busy_seconds", {"actions_min": 2, "actions_max": 9, "times_min": 2})
SHANGHAI_ENDS_S = 16 * 3_600  # midnight there, from midnight UTC on


def three_windows() -> Tape:
    """Act twice in Shanghai, once of that late in the day, then in Paris on the same day."""
    tape = Tape()
    places = ((7_200, "XSHG"), (10_000, "XSHG"), (SHANGHAI_ENDS_S + 1, "XPAR"))
    for number, (seconds, venue) in enumerate((*places, (SHANGHAI_ENDS_S + 9, "XPAR"))):
        for k in range(2):
            tape.new(seconds + k / 10, f"o{number}-{k}", venue=venue)
    return tape


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_day_that_lasts_longer_elsewhere_is_judged_the_same_in_any_parts(size: int) -> None:
    events = three_windows().events
    times = [event["event_time_ns"] for event in events]
    stage = stage_of([RULE], lateness_ns=SECOND_NS // 10)

    def watermark_ns(count: int) -> int:
        pairs = [min(pair) for pair in pairwise(times[:count])]
        return max(pairs, default=-(2**62)) - SECOND_NS // 10

    output = feed(stage, columns_of(events), [size] * 100, close_after=watermark_ns)
    found = [(f.phase, f.trigger[0], f.evidence["windows"]) for f in output.findings]
    assert found == [("opening", "trading_day", 2), ("growth", "trading_day", 4)]
    opening, growth = output.findings
    assert opening.event_time_ns == times[3] + 9 * SECOND_NS // 10
    assert growth.event_time_ns == times[7] + 9 * SECOND_NS // 10
    assert growth.event_time_ns < growth.day_end_ns
    assert opening.onset_ns == growth.onset_ns == times[0]


def test_a_window_that_reaches_beyond_its_day_is_judged_within_it() -> None:
    tape = Tape()
    for number, seconds in enumerate((10.0, 86_399.5)):
        for k in range(2):
            tape.new(seconds + k / 10, f"o{number}-{k}")
    (found,) = run(tape.events, [RULE]).findings
    assert found.event_time_ns == found.day_end_ns - 1 == at(86_400) - 1


def test_the_end_of_one_day_judges_no_window_of_another() -> None:
    tape = Tape()
    for number, (seconds, venue) in enumerate(((10, "XSHG"), (20, "XSHG"), (11, "XPAR"))):
        for k in range(2):
            tape.new(seconds + k / 10, f"o{number}-{k}", account_id=venue, venue=venue)
    late = SHANGHAI_ENDS_S - 100
    for k in range(2):
        tape.new(late + k / 10, f"late-{k}", account_id="XPAR", venue="XPAR")
    tape.new(SHANGHAI_ENDS_S + 3_600, "last", account_id="XPAR", venue="XPAR")
    tape.events.sort(key=lambda event: event["event_time_ns"])
    watermark_ns = at(SHANGHAI_ENDS_S + 60)
    columns, last = columns_of(tape.events), len(tape.events) - 1
    output = feed(stage_of([RULE]), columns, [last], close_after=lambda _: watermark_ns)
    triggers = {f.account_id: f.trigger[1] for f in output.findings}
    assert triggers == {"XSHG": "2026-03-04", "XPAR": tape.events[-1]["event_id"]}


@pytest.mark.parametrize("most", [1, 2])
def test_bounds_with_nothing_between_are_refused(most: int) -> None:
    with pytest.raises(ValueError, match=f"actions_max is {most}.*take more than actions_min, 2"):
        stage_of([rule_of("busy_seconds", {"actions_min": 2, "actions_max": most})])
