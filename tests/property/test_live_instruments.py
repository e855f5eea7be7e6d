"""Lanes that meet in instrument shards: what left rests on arrivals that were written down.

What an account claims on its orders may come on another lane than its fills, so a finding's words
depend on which lane's block came first; after a crash they must be the same again.
"""

from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from kafka_parts import line, numbered
from live_parts import INSTRUMENTS, LANES, SHARDS, TURNS_MAX, Run, finish, new_control
from plan_parts import START_NS, make_plan

from flows import kafka_source
from flows.align import Backlog
from flows.plan import Plan
from flows.steps import ShardMessage
from schemas.events import SECOND_NS

Event = dict[str, Any]
PAIRS = 16
CONTRACTS = ("rb2610", "cu2605", "zn2605")


def events_of_the_day() -> list[Event]:
    """Let pairs of accounts trade with each other, and claim something just before it counts."""
    told: list[Event] = []
    for n in range(PAIRS):
        one, other = (f"{name}-{n:02}" for name in "AB")
        place = {"instrument": CONTRACTS[n % 3], "venue": "XSGE", "quantity": 1 + n, "price": 10}
        buys = {"account_id": one, "side": "buy", **place}
        told += [
            {"kind": "ref.account", "account_id": who, "beneficial_owner": f"W{n}"}
            for who in (one, other)
        ]
        for k in range(3):
            trade = {"order_id": f"O{n}-{k}", "fill_id": f"F{n}-{k}", "counter_account_id": other}
            if k == 1:  # the second trade is told
                claim = {"order_id": f"O{n}-{k}", "claims_market_maker": True}
                told.append({"kind": "order.new", **buys, **claim})
            told.append({"kind": "fill", **buys, **trade})
    return [
        {"source": "g", "event_id": f"E{n:04}", "event_time_ns": START_NS + n * SECOND_NS, **event}
        for n, event in enumerate(told)
    ]


EVENTS = events_of_the_day()
# Large helpings let one lane run ahead of the others, small ones interleave them.
helpings = st.tuples(st.integers(0, LANES - 1), st.sampled_from([1, 8, 40]))
schedules = st.lists(helpings, min_size=3, max_size=12)
dealt = st.lists(st.integers(0, LANES - 1), min_size=len(EVENTS), max_size=len(EVENTS))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_plan(
        tmp_path_factory.mktemp("live") / "data",
        ["kafka://127.0.0.1:9/orders?until=end"],
        ["detectors.self_trading.trades_min=2"],
    )


def lists_of(choice: list[int]) -> dict[int, list[tuple[int, bytes]]]:
    return {
        lane: numbered([line(e) for e, c in zip(EVENTS, choice, strict=True) if c == lane])
        for lane in range(LANES)
    }


def told(messages: list[ShardMessage], shard: int) -> list[Any]:
    return [f for m in messages if m.shard == shard for f in m.findings]


def trades(messages: list[ShardMessage], shard: int) -> list[Any]:
    return [(f.subject, f.trigger, f.positions) for f in told(messages, shard)]


# Runs are long, and a smaller failing one says little more.
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(dealt, schedules, schedules, st.integers(0, 2), st.integers(0, 30))
def test_a_crash_repeats_what_left_the_instrument_shards(
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
    script = [arrival for m in lost for arrival in m.rests_on]
    again = Run(plan, lists, second, control, state, script)
    finish(again)
    kept = run.messages[:before]
    for shard in range(SHARDS, SHARDS + INSTRUMENTS):
        left = told(lost, shard)
        assert told(again.messages, shard)[: len(left)] == left
        whole = [m for m in [*kept, *again.messages] if m.shard == shard]
        assert [m.number for m in whole] == list(range(len(whole)))
        assert [m.is_last for m in whole] == [False] * (len(whole) - 1) + [True]
    assert sum(len(told([*kept, *again.messages], SHARDS + k)) for k in range(INSTRUMENTS)) == PAIRS
    assert all(step.align.held == step.align.behind == 0 for step in again.instruments)


def held_most(run: Run) -> int:
    return sum(step.align.held_most for step in run.instruments)


def test_lanes_that_are_ahead_wait_when_too_many_rows_do(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_source, "TELL_ALL_NS", 0)  # every shard hears of a lane at once
    lists = lists_of([n % 2 for n in range(len(EVENTS))])
    ahead = [(1, 1), (1, 1), *[(0, 1)] * 100]  # all of lane 0, before lane 1 is read on
    free = Run(plan, lists, ahead, new_control(plan))
    finish(free)
    backlog = Backlog(rows_max=4, slack_ns=6 * SECOND_NS)
    bounded = Run(plan, lists, ahead, new_control(plan), backlog=backlog)
    waited = 0
    for _ in range(TURNS_MAX):
        goes_on = bounded.turn()
        waited += 0 in bounded.list_reader.paused
        if not goes_on:
            break
    assert waited > 0
    assert not bounded.list_reader.paused
    assert held_most(bounded) < held_most(free) / 2, (held_most(bounded), held_most(free))
    for shard in range(SHARDS, SHARDS + INSTRUMENTS):
        # What was claimed by then hangs on which lane came first; nothing else does.
        assert trades(bounded.messages, shard) == trades(free.messages, shard) != []
