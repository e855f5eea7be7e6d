"""Whether a notice leaves does not hang on when an alert on several accounts reaches the writer.

Shards tell the writer in any order: those of instruments long before or after those of accounts.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json as msgspec_json
from policy_parts import PARTY, contents, joint, make_policy
from policy_rows import (
    ACCOUNTS,
    Row,
    messages_of,
    records_for,
    rows_of_days,
)

from flows.acts import Act
from flows.control import ControlRecord
from flows.lanes import NEVER_NS
from flows.policy import Policy, PolicyState
from flows.steps import END_OF_TIME_NS, ShardMessage
from schemas.alerts import Finding

INSTRUMENT_SHARDS = 2
Told = list[list[ShardMessage]]  # by shard, in its order

joints = st.lists(
    st.tuples(
        st.sampled_from((0.0, 0.5, 2.0, 52.5, 1_800.0, 40_000.0, 90_000.0)),
        st.lists(st.sampled_from(ACCOUNTS), min_size=1, max_size=2, unique=True),
        st.integers(0, INSTRUMENT_SHARDS - 1),
    ),
    max_size=6,
)
orders = st.lists(st.integers(0, 4), max_size=60)


def joint_findings(drawn: list[tuple[float, list[str], int]]) -> list[list[Finding]]:
    """Give each shard of instruments what it finds, in order of time."""
    found: list[list[Finding]] = [[] for _ in range(INSTRUMENT_SHARDS)]
    for number, (seconds, accounts, shard) in enumerate(sorted(drawn)):
        # A subject is a party in an instrument, and an instrument is in one shard.
        subject = f"{accounts} in {shard}"
        facts = {"trigger": ("venue", str(number)), "ordinal": number, "subject": subject}
        found[shard].append(joint(seconds, *accounts, **facts))
    return found


def aligned(shard: int, findings: list[Finding], marks: list[int]) -> list[ShardMessage]:
    """Tell findings once the shard has passed their time, as ``flows.instruments`` does."""
    messages, before = [], NEVER_NS
    for number, until in enumerate([*sorted(set(marks)), END_OF_TIME_NS]):
        due = [one for one in findings if before <= one.event_time_ns < until]
        messages.append(
            ShardMessage(
                shard=shard,
                number=number,
                watermark_ns=until,
                closed_until_ns=until,
                findings=due,
                is_last=until == END_OF_TIME_NS,
                is_aligned=True,
            )
        )
        before = until
    return messages


def told_by_shard(
    rows: list[Row], cuts: set[int], shards: int, findings: list[list[Finding]]
) -> Told:
    told: Told = [[] for _ in range(shards)]
    for message in messages_of(rows, cuts, shards):
        told[message.shard].append(message)
    marks = [message.watermark_ns for message in told[0][:-1]]
    return told + [aligned(shards + k, found, marks) for k, found in enumerate(findings)]


def interleaved(told: Told, order: list[int]) -> list[ShardMessage]:
    """Take a shard's next message in some order, and then the rest, those of accounts first."""
    queues = [list(one) for one in told]
    messages = [queues[pick].pop(0) for pick in order if pick < len(queues) and queues[pick]]
    return messages + [message for queue in queues for message in queue]


def run(messages: list[ShardMessage], records: list[ControlRecord], shards: int) -> list[Act]:
    policy = make_policy(shards=shards, instrument_shards=INSTRUMENT_SHARDS)
    policy.notices.learn(records)
    acts = [act for one in messages for act in policy.take(one)]
    assert not policy.state.turns.waiting
    return acts


def expected_to_be_held(acts: list[Act], findings: list[list[Finding]]) -> set[str]:
    """Say from the findings alone which alerts have a case on several accounts by their time."""
    held = set()
    for row in (row for act in acts if act.draft.kind == "alert" for row in act.batch.alerts):
        for one in (one for found in findings for one in found):
            names = {listed["account_id"] for listed in one.evidence["accounts"]}
            is_before = one.event_time_ns <= row.event_time_ns
            if row.account_id in names and is_before and one.trading_day == row.trading_day:
                held.add(row.alert_id)
    return held


@settings(max_examples=250, deadline=None)
@given(
    rows_of_days(),
    st.sets(st.integers(1, 25)),
    joints,
    st.lists(st.floats(0, 90_000).map(round).map(float), max_size=3),
    st.sampled_from((1, 2, 3)),
    orders,
)
def test_no_order_of_telling_changes_an_act(
    rows: list[Row],
    cuts: set[int],
    drawn: list[tuple[float, list[str], int]],
    holds: list[float],
    shards: int,
    order: list[int],
) -> None:
    findings, records = joint_findings(drawn), records_for(holds)
    whole = run(interleaved(told_by_shard(rows, set(), 1, findings), []), records, 1)
    cut = run(interleaved(told_by_shard(rows, cuts, shards, findings), order), records, shards)
    assert contents(cut) == contents(whole)
    held = expected_to_be_held(whole, findings)
    sent = {
        row.alert_id for act in whole if act.draft.kind == "notice" for row in act.batch.notices
    }
    assert not held & sent
    because = {
        act.draft.body["alert_id"]
        for act in whole
        if act.draft.kind == "notice.withheld" and PARTY in act.draft.body["because"]
    }
    assert because <= held


@settings(max_examples=100, deadline=None)
@given(rows_of_days(), joints, orders, st.integers(0, 100))
def test_turns_resumed_from_a_snapshot_go_on_as_before(
    rows: list[Row], drawn: list[tuple[float, list[str], int]], order: list[int], crash: int
) -> None:
    cuts = set(range(len(rows)))
    messages = interleaved(told_by_shard(rows, cuts, 2, joint_findings(drawn)), order)
    crash_after = crash % (len(messages) + 1)
    first: Policy = make_policy(shards=2, instrument_shards=INSTRUMENT_SHARDS)
    acts = [act for one in messages[:crash_after] for act in first.take(one)]
    kept = msgspec_json.decode(msgspec_json.encode(first.state), type=PolicyState)
    second = make_policy(kept, shards=2, instrument_shards=INSTRUMENT_SHARDS)
    acts += [act for one in messages[crash_after:] for act in second.take(one)]
    assert contents(acts) == contents(run(messages, [], 2))
