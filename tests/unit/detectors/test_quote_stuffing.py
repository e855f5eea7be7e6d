"""Quote stuffing: what is no longer in the window neither counts nor takes memory."""

from detector_kit import Tape, columns_of, feed, rule_of, run, stage_of


def test_a_withdrawal_leaves_the_window_with_its_order_whatever_came_before() -> None:
    """The oldest order is withdrawn last; counted on, it would begin a burst too early."""
    tape = Tape()
    tape.new(0.0, "a")
    tape.new(0.9, "b")
    tape.cancel(0.95, "b")
    tape.cancel(0.99, "a")
    for name in "cd":
        tape.new(1.55, name)
    for name in "ef":
        tape.new(1.95, name)
    for name in "ef":
        tape.cancel(2.0, name)
    figures = {"bursts_min": 1, "messages_min": 5, "cancelled_share_min": 0.5}
    (found,) = run(tape.events, [rule_of("quote_stuffing", figures)]).findings
    assert (found.evidence["orders_in_latest"], found.evidence["withdrawn_in_latest"]) == (4, 2)


def test_only_the_last_window_is_held() -> None:
    tape = Tape()
    for k in range(300):
        now = k / 10
        tape.new(now, f"o{k}")
        tape.replace(now, f"o{k}", quantity=200)
        tape.fill(now, f"o{k}", quantity=1)
    rule = rule_of("quote_stuffing", {"messages_min": 1_000})
    stage = stage_of([rule])
    feed(stage, columns_of(tape.events), [7] * 200)
    assert stage.subjects[0].nodes_held <= 3 * 10
    stage.close(10**18 * 4)
    assert stage.subjects[0].nodes_held == 0
