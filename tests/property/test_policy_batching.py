"""The same rows lead to the same acts, however blocks and shards cut them."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json as msgspec_json
from policy_parts import OTHER, WIN_RATE, at, contents, day_of, make_policy
from policy_rows import Row, messages_of, records_for, rows_of_days

from flows.acts import Act
from flows.control import ControlRecord
from flows.policy import Policy, PolicyState
from flows.steps import ShardMessage


def acts_of(messages: list[ShardMessage], records: list[ControlRecord], shards: int) -> list[Act]:
    policy = make_policy(shards=shards)
    policy.notices.learn(records)
    return [act for one in messages for act in policy.take(one)]


@settings(max_examples=300, deadline=None)
@given(
    rows_of_days(),
    st.sets(st.integers(1, 25)),
    st.lists(st.floats(0, 90_000).map(round).map(float), max_size=3),
    st.sampled_from((1, 2, 3)),
)
def test_blocks_and_shards_change_no_act(
    rows: list[Row], cuts: set[int], holds: list[float], shards: int
) -> None:
    records = records_for(holds)
    whole = acts_of(messages_of(rows, set(), 1), records, 1)
    cut = acts_of(messages_of(rows, cuts, shards), records, shards)
    assert contents(cut) == contents(whole)


@settings(max_examples=100, deadline=None)
@given(rows_of_days(), st.integers(0, 25))
def test_a_policy_resumed_from_its_snapshot_goes_on_as_before(rows: list[Row], crash: int) -> None:
    messages = messages_of(rows, set(range(len(rows))), 1)
    crash_after = crash % (len(messages) + 1)
    unbroken = acts_of(messages, [], 1)
    first: Policy = make_policy()
    acts = [act for one in messages[:crash_after] for act in first.take(one)]
    kept = msgspec_json.decode(msgspec_json.encode(first.state), type=PolicyState)
    second = make_policy(kept)
    acts += [act for one in messages[crash_after:] for act in second.take(one)]
    assert contents(acts) == contents(unbroken)


@settings(max_examples=100, deadline=None)
@given(rows_of_days(), st.sets(st.integers(1, 25)))
def test_entry_ids_are_unique_and_updates_count_up(rows: list[Row], cuts: set[int]) -> None:
    acts = acts_of(messages_of(rows, cuts, 1), [], 1)
    eids = [act.draft.eid for act in acts]
    assert len(set(eids)) == len(eids)
    counts: dict[str, int] = {}
    for row in (row for act in acts for row in act.batch.alerts):
        assert row.update_count == counts.get(row.alert_id, -1) + 1
        counts[row.alert_id] = row.update_count


def test_days_of_the_model_end_where_they_say() -> None:
    assert WIN_RATE != OTHER
    assert day_of(at(0))[0] == "2026-03-02"
    assert day_of(day_of(at(0))[1])[0] == "2026-03-03"
