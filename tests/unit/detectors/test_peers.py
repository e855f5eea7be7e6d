"""What accounts do in a day, counted as plain Python counts it, whatever the cuts and closings."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from detector_kit import DAY_NS, START_NS, Event, Tape, columns_of, feed, stage_of

from detectors.core import peers
from detectors.core.peers import BINS, PEER_FEATURES, PeerCounts, PeerKey, bin_top, count_bin
from detectors.core.stage import AccountStage, StageOutput

Held = dict[PeerKey, list[dict[int, int]]]


def rough_days(seed: int, rows: int = 900) -> list[Event]:
    """Return orders, cancels, fills and files of a few accounts over some days."""
    rng = np.random.default_rng(seed)
    tape, open_orders = Tape(), []
    times = np.sort(rng.integers(0, 3 * DAY_NS, rows)) / 1e9
    for number, seconds in enumerate(times.tolist()):
        account = {"account_id": f"A{int(rng.integers(6))}"}
        match int(rng.integers(8)):
            case 0:
                tier = [f"T{int(rng.integers(2))}", None][int(rng.integers(2))]
                tape.add("ref.account", seconds, **account, tier=tier)
            case 1 | 2 if open_orders:
                tape.cancel(seconds, **open_orders.pop(int(rng.integers(len(open_orders)))))
            case 3 | 4:
                pnl = str(int(rng.integers(-1, 3)))
                tape.fill(seconds, f"o{number}", **account, realized_pnl=pnl)
            case _:
                order = {"order": f"o{number}", **account}
                tape.new(seconds, **order, is_simulated=bool(rng.random() < 0.02))
                open_orders.append(order)
    return tape.events


def referee(events: Iterable[Event]) -> Held:
    """Count days of 24 h that begin at midnight UTC."""
    filed: dict[str, list[tuple[int, str]]] = {}
    simulated_orders: set[str] = set()
    days: dict[tuple[str, int], Counter[str]] = {}
    for event in events:
        account, kind, time_ns = event["account_id"], event["kind"], event["event_time_ns"]
        if kind == "ref.account":
            filed.setdefault(account, []).append((time_ns, event["tier"] or ""))
            continue
        counted = days.setdefault((account, time_ns // DAY_NS), Counter())
        counted[kind] += 1
        if event.get("is_simulated", False):
            simulated_orders.add(event["order_id"])
        counted["simulated"] += event["order_id"] in simulated_orders
        if kind == "fill":
            counted["wins"] += int(event["realized_pnl"]) > 0
    held: Held = {}
    for (account, day), counted in days.items():
        end_ns = (day + 1) * DAY_NS
        tiers = [tier for time_ns, tier in filed.get(account, []) if time_ns < end_ns]
        key = PeerKey(end_ns, day, tiers[-1] if tiers else "", counted["simulated"] > 0)
        features: list[dict[int, int]] = held.setdefault(key, [{} for _ in PEER_FEATURES])
        for at, value in enumerate(values_of(counted)):
            if value is not None:
                features[at][value] = features[at].get(value, 0) + 1
    return held


def values_of(counted: Counter[str]) -> list[int | None]:
    orders, cancels, fills = (counted[k] for k in ("order.new", "order.cancel", "fill"))
    counts: list[int | None] = [int(count_bin(n)) for n in (orders, cancels, fills)]
    share = cancels * 100 // orders if orders >= peers.ORDERS_MIN else None
    won = counted["wins"] * 100 // fills if fills >= peers.ORDERS_MIN else None
    return [*counts, None if share is None else min(share, 100), won]


def collected(counts: Iterable[PeerCounts]) -> Held:
    held: dict[PeerKey, Any] = {}
    for one in counts:
        histograms = held.setdefault(one.key, np.zeros((len(PEER_FEATURES), BINS), np.int64))
        peers.add_counts(histograms, one)
    return {
        key: [{int(at): int(bins[at]) for at in np.flatnonzero(bins)} for bins in histograms]
        for key, histograms in held.items()
    }


def run(events: list[Event], sizes: Iterable[int] = (), **ways: Callable[..., Any]) -> Held:
    output: StageOutput = feed(stage_of([]), columns_of(events), sizes, **ways)
    return collected(output.peers)


@pytest.mark.parametrize("seed", [1, 2])
def test_days_are_counted_as_the_referee_counts(seed: int) -> None:
    events = rough_days(seed)
    found = run(events)
    assert found == referee(events)
    assert {key.tier for key in found} == {"", "T0", "T1"}
    assert any(key.is_simulated for key in found)


def test_cuts_closings_and_resumes_change_nothing() -> None:
    events = rough_days(3)
    times = [event["event_time_ns"] for event in events]

    def resumed(stage: AccountStage) -> AccountStage:
        other = stage_of([])
        other.restore(stage.dump())
        return other

    cuts = [1, 7, 100, 3, 200, 250]
    assert run(events) == run(
        events, cuts, between=resumed, close_after=lambda rows: times[rows - 1]
    )


def test_a_day_is_over_at_its_end_though_nobody_looked() -> None:
    tape = Tape()
    for seconds in (10, DAY_NS / 1e9 - 1, DAY_NS / 1e9):
        tape.new(seconds, f"o{seconds}")
    held = run(tape.events)
    first, second = sorted(held)
    assert (first.day_end_ns, second.day_end_ns) == (START_NS + DAY_NS, START_NS + 2 * DAY_NS)
    assert held[first][peers.ORDERS] == {2: 1}


def test_rows_of_a_lane_that_is_ahead_end_no_day() -> None:
    tape, end = Tape(), DAY_NS / 1e9
    tape.add("ref.account", 1, tier="T0")
    tape.new(10, "o1")
    tape.add("app.event", end + 2, name="open")
    tape.add("ref.account", end + 2, tier="T1")
    tape.new(end - 1, "o2")
    tape.new(end + 3, "o3")
    held = run(tape.events)
    found = {key.tier: features[peers.ORDERS] for key, features in held.items()}
    assert found == {"T0": {2: 1}, "T1": {1: 1}}


def test_tiers_beyond_the_bound_share_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "GROUPS_MAX", 2)
    tape = Tape()
    for number in range(4):
        account = {"account_id": f"A{number}"}
        tape.add("ref.account", number, **account, tier=f"T{number}")
        tape.new(number + 0.5, f"o{number}", **account)
    assert {key.tier for key in run(tape.events)} == {"T0", "T1", "other"}


def test_every_count_has_a_bin_that_is_not_above_its_top() -> None:
    for count in [*range(3_000), 2**31 - 1]:
        at = int(count_bin(count))
        assert bin_top(at) >= count
        assert at == 0 or bin_top(at - 1) < count
    assert count_bin(2**31 - 1) < BINS


def test_a_quantile_is_what_so_many_do_not_exceed() -> None:
    bins = np.array([5, 0, 3, 1, 1])
    assert [peers.quantile(bins, q) for q in (100, 500, 501, 800, 801, 900, 990)] == [
        0, 0, 2, 2, 3, 3, 4,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no quantiles"):
        peers.quantile(np.zeros(3, np.int64), 500)
