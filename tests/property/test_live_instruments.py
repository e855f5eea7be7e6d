"""Lanes that meet in instrument shards: what left rests on arrivals that were written down.

What an account claims on its orders may come on another lane than its fills, so a finding's words
depend on which lane's block came first; after a crash they must be the same again.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_parts import line, numbered
from live_parts import INSTRUMENTS, LANES, SHARDS, Run, finish, new_control
from plan_parts import START_NS, make_plan

from flows.plan import Plan
from flows.steps import ShardMessage
from schemas.events import SECOND_NS

Event = dict[str, Any]
ACCOUNTS = ("A-17", "B-29", "C-31", "D-53")
CONTRACTS = ("rb2610", "cu2605", "zn2605")


def events_of_the_day() -> list[Event]:
    """Let the accounts of one owner trade with one another, and claim this and that."""
    told: list[Event] = [
        {"kind": "ref.account", "account_id": account, "beneficial_owner": "W"}
        for account in ACCOUNTS
    ]
    for n in range(60):
        account, other = ACCOUNTS[n % 4], ACCOUNTS[(n + 1) % 4]
        place = {"instrument": CONTRACTS[n % 3], "venue": "XSGE", "quantity": 1 + n, "price": 10}
        claims = {"claims_hedge": True} if n % 5 == 2 else {"claims_market_maker": n % 7 == 3}
        buys = {"account_id": account, "side": "buy", "order_id": f"O{n}", **place}
        told += [
            {"kind": "order.new", **buys, **claims},
            {"kind": "fill", **buys, "fill_id": f"F{n}", "counter_account_id": other},
        ]
    return [
        {"source": "g", "event_id": f"E{n:04}", "event_time_ns": START_NS + n * SECOND_NS, **event}
        for n, event in enumerate(told)
    ]


EVENTS = events_of_the_day()
schedules = st.lists(st.tuples(st.integers(0, LANES - 1), st.integers(1, 30)), max_size=40)
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


@settings(max_examples=25, deadline=None)
@given(dealt, schedules, schedules, st.integers(0, 10), st.integers(0, 25))
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
    assert sum(len(told([*kept, *again.messages], SHARDS + k)) for k in range(INSTRUMENTS)) == 12
    assert all(step.align.held == step.align.behind == 0 for step in again.instruments)
