"""The market stage: groups are fixed once, in any order of shards, and survive a crash."""

from itertools import permutations
from pathlib import Path

import pytest
from msgspec import json as msgspec_json

from detectors.core.peers import PEER_FEATURES, PeerCounts
from flows.control import ControlError, ControlLog
from flows.market import MarketState, MarketStep, PeerGroup, read_groups, write_down
from flows.steps import ShardMessage

DAY = 20_516
NOTHING: tuple[tuple[int, int], ...] = ()


def counts(end_ns: int, orders: dict[int, int], tier: str = "T1") -> PeerCounts:
    bins = (tuple(sorted(orders.items())), *(NOTHING for _ in PEER_FEATURES[1:]))
    return PeerCounts(end_ns, DAY, tier, False, bins)


def message(shard: int, closed_until_ns: int, *held: PeerCounts) -> ShardMessage:
    return ShardMessage(
        shard=shard,
        number=0,
        watermark_ns=closed_until_ns,
        closed_until_ns=closed_until_ns,
        peers=list(held),
    )


def messages() -> list[ShardMessage]:
    return [
        message(0, 150, counts(100, {3: 2}), counts(100, {1: 1}, "T2")),
        message(1, 120, counts(100, {3: 1, 20: 4})),
        message(2, 110),
    ]


def test_shards_in_any_order_give_the_same_groups() -> None:
    found = []
    for order in permutations(messages()):
        step = MarketStep(MarketState(), 3)
        made = [step.take(one) for one in order]
        assert made[:2] == [[], []]
        found.append(made[2])
    assert all(one == found[0] for one in found)
    first, second = found[0]
    assert (first.tier, first.trading_day, first.bins) == (
        "T1",
        "2026-03-04",
        {"orders": [(3, 3), (20, 4)]},
    )
    assert first.features == {
        "orders": {"accounts": 7, "q10": 3, "q50": 25, "q90": 25, "q95": 25, "q99": 25}
    }
    assert second.tier == "T2"


def test_a_day_waits_for_the_last_shard_to_pass_its_end() -> None:
    step = MarketStep(MarketState(), 2)
    assert step.take(message(0, 200, counts(100, {1: 1}))) == []
    assert step.take(message(1, 99)) == []
    assert len(step.take(message(1, 100))) == 1
    assert step.take(message(1, 101)) == []


def test_a_snapshot_goes_on_as_before() -> None:
    step = MarketStep(MarketState(), 3)
    for one in messages()[:2]:
        step.take(one)
    data = msgspec_json.encode(step.snapshot())
    resumed = MarketStep(msgspec_json.decode(data, type=MarketState), 3)
    last = messages()[2]
    assert resumed.take(last) == step.take(last) != []


def test_a_group_is_written_once_and_never_with_other_content(tmp_path: Path) -> None:
    group = PeerGroup(
        trading_day="2026-03-04",
        day_end_ns=100,
        tier="T1",
        is_simulated=False,
        features={"orders": {"accounts": 1, "q50": 2}},
        bins={"orders": [(2, 1)]},
    )
    with ControlLog(tmp_path / "control.sqlite3") as control:
        write_down(control, group)
        write_down(control, group)
        assert read_groups(control) == [group]
        group.bins["orders"][0] = (3, 1)
        with pytest.raises(ControlError, match="other content"):
            write_down(control, group)
