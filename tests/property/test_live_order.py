"""Lanes that meet in a shard: after a crash the same happens again, whichever comes first then."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_parts import line, numbered
from live_parts import LANES, SHARDS, Run, finish, new_control
from plan_parts import DAY_NS, START_NS, make_plan, story

from flows.plan import Plan
from flows.steps import ShardMessage

EVENTS = story(["0" * 32])[:260]
schedules = st.lists(st.tuples(st.integers(0, LANES - 1), st.integers(1, 40)), max_size=40)
dealt = st.lists(st.integers(0, LANES - 1), min_size=len(EVENTS), max_size=len(EVENTS))


def told(messages: list[ShardMessage], shard: int) -> list[Any]:
    """Return what left a shard, in order, without how it was cut into messages."""
    return [
        (f.detector, f.account_id, f.phase, f.trigger, f.why, f.evidence, f.positions)
        for m in messages
        if m.shard == shard
        for f in m.findings
    ]


def lists_of(choice: list[int]) -> dict[int, list[tuple[int, bytes]]]:
    return {
        lane: numbered([line(e) for e, c in zip(EVENTS, choice, strict=True) if c == lane])
        for lane in range(LANES)
    }


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_plan(
        tmp_path_factory.mktemp("live") / "data", ["kafka://127.0.0.1:9/orders?until=end"]
    )


@settings(max_examples=60)
@given(dealt, schedules, schedules, st.integers(0, 12), st.integers(0, 12))
def test_a_crash_repeats_what_was_written_down(
    plan: Plan,
    choice: list[int],
    first: list[tuple[int, int]],
    second: list[tuple[int, int]],
    until_snapshot: int,
    until_crash: int,
) -> None:
    lists, control = lists_of(choice), new_control(plan)
    run = Run(plan, lists, first, control)
    for _ in range(until_snapshot):
        run.turn()
    state, before = run.freeze(), len(run.messages)
    for _ in range(until_crash):
        run.turn()
    lost = run.messages[before:]
    script = [(m.shard, a) for m in lost for a in m.arrivals]
    again = Run(plan, lists, second, control, state, script)
    finish(again)
    for shard in range(SHARDS):
        before_crash = told(lost, shard)
        assert told(again.messages, shard)[: len(before_crash)] == before_crash
        count = sum(m.shard == shard for m in [*run.messages[:before], *again.messages])
        assert again.steps[shard].next_number == count
        assert not again.steps[shard].script
    assert sum(step.totals()["events"] for step in again.steps) == len(EVENTS)


@settings(max_examples=10)
@given(dealt, schedules)
def test_what_has_ended_stays_so_when_its_lanes_are_heard_of_again(
    plan: Plan, choice: list[int], schedule: list[tuple[int, int]]
) -> None:
    lists, control = lists_of(choice), new_control(plan)
    run = Run(plan, lists, schedule, control)
    finish(run)
    again = Run(plan, lists, schedule, control, run.freeze())
    finish(again)
    last = {m.shard: m.is_last for m in run.messages}
    assert len(last) > SHARDS
    assert last | {m.shard: m.is_last for m in again.messages} == last == dict.fromkeys(last, True)
    assert not any(told(again.messages, shard) for shard in last)


@settings(max_examples=30)
@given(schedules, schedules)
def test_accounts_that_keep_to_a_lane_do_not_care_which_comes_first(
    plan: Plan, first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    names = sorted({e.get("account_id", "") for e in EVENTS})
    lists = lists_of([names.index(e.get("account_id", "")) % LANES for e in EVENTS])
    found, reached = [], []
    for schedule in (first, second):
        run = Run(plan, lists, schedule, new_control(plan))
        finish(run)
        found.append([sorted(told(run.messages, n), key=repr) for n in range(SHARDS)])
        reached.append({m.shard: m.watermark_ns for m in run.messages})
    assert found[0] == found[1]
    assert any(found[0])
    assert reached[0] == reached[1]  # where a notice has run out at the end, it always has


def test_the_story_crosses_days() -> None:
    assert EVENTS[-1]["event_time_ns"] > START_NS + DAY_NS
