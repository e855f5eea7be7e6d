"""Lanes that meet in a shard: after a crash the same happens again, whichever comes first then."""

import pickle
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_parts import ListReader, lanes_reader, line, numbered
from plan_parts import DAY_NS, START_NS, make_plan, story

from flows.arrivals import Arrival
from flows.kafka_source import SLOTS, KafkaLanesReader, freeze
from flows.lanes import deal
from flows.live_step import LiveStep, resume_live
from flows.plan import Plan
from flows.steps import ShardMessage

LANES = 3
SHARDS = 4
TURNS_MAX = 500
EVENTS = story(["0" * 32])[:260]
schedules = st.lists(st.tuples(st.integers(0, LANES - 1), st.integers(1, 40)), max_size=40)
dealt = st.lists(st.integers(0, LANES - 1), min_size=len(EVENTS), max_size=len(EVENTS))


class Run:
    """One process and one shard, from a start to an end or a crash."""

    def __init__(
        self,
        plan: Plan,
        lists: dict[int, list[tuple[int, bytes]]],
        schedule: list[tuple[int, int]],
        control: Path,
        state: dict[str, Any] | None = None,
        script: list[tuple[int, Arrival]] | None = None,
    ) -> None:
        self.reader: KafkaLanesReader = lanes_reader(ListReader(lists, list(schedule)), control)
        self.given = dict(state["given"]) if state else {}
        self.reader.resume(0, self.given)
        stage = plan.stage_factory(plan.source())
        held = (state or {}).get("steps", [None] * SHARDS)

        def written(shard: int, first: int) -> list[Arrival]:
            return [a for s, a in script or [] if s == shard and a.ordinal >= first]

        self.steps: list[LiveStep] = [
            resume_live(shard, stage, 1_000, held[shard], written) for shard in range(SHARDS)
        ]
        self.messages: list[ShardMessage] = []

    def turn(self) -> bool:
        """Read once; return whether anything may still come."""
        for slot in range(SLOTS):
            for block, _, state in self.reader.take(slot):
                self.given[block.lane] = freeze(state)
                for part in deal(block, SHARDS):
                    self.messages += self.steps[part.shard].take(part)
        places = [place for step in self.steps for place in step.places.values()]
        return len(places) < LANES * SHARDS or not all(place.is_ended for place in places)

    def freeze(self) -> dict[str, Any]:
        state: dict[str, Any] = pickle.loads(
            pickle.dumps({"given": self.given, "steps": [step.snapshot() for step in self.steps]})
        )
        return state


def told(messages: list[ShardMessage], shard: int) -> list[Any]:
    """Return what left a shard, in order, without how it was cut into messages."""
    return [
        (f.detector, f.account_id, f.phase, f.trigger, f.why, f.evidence, f.positions)
        for m in messages
        if m.shard == shard
        for f in m.findings
    ]


def new_control(plan: Plan) -> Path:
    return Path(mkdtemp(dir=plan.data)) / "control.sqlite3"


def finish(run: Run) -> None:
    for _ in range(TURNS_MAX):
        if not run.turn():
            return
    raise AssertionError("the lanes never ended")


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
