"""The account step: blocks in order, whatever order they arrive in, and nothing lost in a crash."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plan_parts import CANCELLERS, DAY_NS, START_NS, lines, make_plan, story

from detectors.core.stage import AccountStage
from flows.lanes import LaneBlock, deal
from flows.plan import Plan
from flows.sources import in_order
from flows.steps import END_OF_TIME_NS, AccountStep, ShardMessage
from schemas.events import SECOND_NS

FLAGS = ("shards=1", "intake.block_bytes=4096")
BAD = b'{"kind":"order.now"}\n'


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    path = tmp_path / "a.ndjson"
    told = lines(story(["0" * 32])).splitlines(keepends=True)
    path.write_bytes(BAD + b"".join(told[:60]) + BAD + b"".join(told[60:]) + BAD)
    return make_plan(tmp_path / "data", [path], FLAGS)


def blocks(plan: Plan) -> list[LaneBlock]:
    return [item.scan() for item in in_order(plan.source())]


def new_step(plan: Plan, state: dict[str, Any] | None = None) -> AccountStep:
    return plan.account_step(0, plan.stage_factory(plan.source()), state)


def taken(step: AccountStep, some: list[LaneBlock]) -> Iterator[ShardMessage]:
    for block in some:
        yield from step.take(deal(block, 1)[0])


def test_blocks_in_any_order_give_the_same_messages(plan: Plan) -> None:
    some = blocks(plan)
    wanted = list(taken(new_step(plan), some))
    assert [message.number for message in wanted] == list(range(len(some)))
    for order in (some[::-1], some[1::2] + some[::2]):
        assert list(taken(new_step(plan), order)) == wanted


def test_a_block_that_comes_again_stops_the_process(plan: Plan) -> None:
    some = blocks(plan)
    step = new_step(plan)
    list(taken(step, some[:2]))
    with pytest.raises(AssertionError, match="block 1 came again, 2 is next"):
        list(taken(step, some[1:2]))
    list(taken(step, some[3:4]))
    with pytest.raises(AssertionError, match="block 3 came twice"):
        list(taken(step, some[3:4]))


def test_a_step_resumed_at_any_block_goes_on_as_before(plan: Plan) -> None:
    some = blocks(plan)
    wanted = list(taken(new_step(plan), some))
    for crash in range(len(some) + 1):
        first = new_step(plan)
        messages = list(taken(first, some[:crash]))
        if crash + 1 < len(some):
            messages += list(taken(first, some[crash + 1 : crash + 2]))  # waits in the snapshot
        state = pickle.loads(pickle.dumps(first.snapshot()))
        second = new_step(plan, state)
        rest = some[crash : crash + 1] + some[crash + 2 :]
        messages += list(taken(second, rest))
        assert messages == wanted


def test_a_snapshot_is_a_copy(plan: Plan) -> None:
    some = blocks(plan)
    step = new_step(plan)
    list(taken(step, some[:1]))
    state = step.snapshot()
    before = pickle.dumps(state)
    list(taken(step, some[1:]))
    assert pickle.dumps(state) == before


def test_a_resumed_step_knows_its_venues_calendars(plan: Plan) -> None:
    """Calendars are numbered as a process meets them; a new process has met none."""
    some = blocks(plan)
    step = new_step(plan)
    list(taken(step, some))
    resumed = new_step(plan, step.snapshot())
    assert len(resumed.stage.config.calendars.starts) == 1  # type: ignore[attr-defined]
    assert resumed.stage.state.instruments.rows["calendar"][0] == 1


def test_refused_lines_have_their_place_in_the_lane(plan: Plan) -> None:
    lost = [line for one in taken(new_step(plan), blocks(plan)) for line in one.lost]
    count = len(story(["0" * 32]))
    assert [(line.lane, line.line_number) for line in lost] == [
        ("a.ndjson", 0),
        ("a.ndjson", 61),
        ("a.ndjson", count + 2),
    ]


def test_findings_and_answers_keep_their_order_in_any_batching(plan: Plan) -> None:
    def order(batch_rows: int) -> list[tuple[str, int]]:
        step = new_step(plan)
        step.batch_rows = batch_rows
        told = []
        for message in taken(step, blocks(plan)):
            before = 0
            for office in message.office:
                told += message.findings[before : office.findings_before]
                told.append(office)
                before = office.findings_before
            told += message.findings[before:]
        return [
            (type(one).__name__, getattr(one, "event_time_ns", 0) or one.event.event_time_ns)
            for one in told
        ]

    whole = order(64_000)
    assert ("OfficeEvent", START_NS + 600 * SECOND_NS) in whole
    assert order(1) == order(7) == whole


def test_the_watermark_is_behind_the_lane_by_the_allowed_lateness(plan: Plan) -> None:
    messages = list(taken(new_step(plan), blocks(plan)))
    last = START_NS + (86_400 + 7) * SECOND_NS  # two rows reached it
    assert messages[-1].watermark_ns == last - 5 * SECOND_NS
    assert (messages[-1].is_last, messages[-1].closed_until_ns) == (True, END_OF_TIME_NS)
    assert all(one.closed_until_ns <= one.watermark_ns for one in messages[:-1])


def test_days_are_judged_before_the_message_says_they_are_closed(plan: Plan) -> None:
    judged_at = closed_at = None
    for message in taken(new_step(plan), blocks(plan)):
        phases = {one.phase for one in message.findings if one.account_id == CANCELLERS[0]}
        if "confirmed" in phases:
            judged_at = message.number
        day_end = START_NS + DAY_NS * 14 // 24 + DAY_NS // 48  # midnight in Shanghai
        if closed_at is None and message.closed_until_ns >= day_end:
            closed_at = message.number
    assert judged_at is not None
    assert closed_at is not None
    assert judged_at <= closed_at


def test_people_are_told_once_that_days_are_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    far = 20 * 365 * DAY_NS
    told = [event | {"event_time_ns": event["event_time_ns"] + far} for event in story()]
    path.write_bytes(lines(told))
    plan = make_plan(tmp_path / "data", [path], FLAGS)
    messages = list(taken(new_step(plan), blocks(plan)))
    notes = [note for one in messages for note in one.notes]
    assert len(notes) == 1
    assert notes[0].startswith("The calendar XSHG knows holidays until ")


def by_rule(stage: AccountStage) -> dict[str, bytes]:
    return {
        detector.rule.id: subject.rows[: len(subject)].tobytes()
        for detector, subject in zip(stage.detectors, stage.subjects, strict=True)
    }


def test_a_rule_that_changed_begins_anew_and_all_others_go_on(plan: Plan, tmp_path: Path) -> None:
    step = new_step(plan)
    list(taken(step, blocks(plan)))
    flags = (*FLAGS, "detectors.instant_cancels.orders_min=5")
    other = make_plan(tmp_path / "data", [tmp_path / "a.ndjson"], flags)
    resumed = other.account_step(0, other.stage_factory(other.source()), step.snapshot())
    before, after = by_rule(step.stage), by_rule(resumed.stage)
    changed = {rule for rule in before if "instant" in rule}
    assert before.keys() == after.keys() > changed
    assert any(before[rule] for rule in changed)
    assert all(after[rule] == b"" for rule in changed)
    assert all(after[rule] == before[rule] for rule in before.keys() - changed)


def test_rules_that_come_and_go_apply_to_instruments_met_before(plan: Plan, tmp_path: Path) -> None:
    step = new_step(plan)
    some = blocks(plan)
    list(taken(step, some[: len(some) // 2]))
    flags = (*FLAGS, "packs.enabled=source")
    other = make_plan(tmp_path / "data", [tmp_path / "a.ndjson"], flags)
    fewer = other.account_step(0, other.stage_factory(other.source()), step.snapshot())
    bits = fewer.stage.state.instruments.rows["rules"][: len(fewer.stage.instrument_names)]
    assert {int(b) for b in bits} == {(1 << len(fewer.stage.detectors)) - 1}
    back = new_step(plan, fewer.snapshot())
    list(taken(back, some[len(some) // 2 :]))
    assert any(by_rule(back.stage).values())
