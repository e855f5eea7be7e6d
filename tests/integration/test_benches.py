"""Every bench in its smallest size: it ends, says what it measured, and draws it."""

import json
import select
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from console import bench as command
from console.exits import UsageProblem
from detectors.core.registry import own_names
from flows import clock
from lab import bench
from lab.bench import detectors, latency, peers, restart, scale, soak
from lab.bench.load import (
    BURST_ORDERS,
    SELF_TRADES,
    Due,
    Feed,
    Load,
    Paced,
    blocks_due,
    wait_until_due,
)
from lab.bench.plot import to_svg

pytestmark = pytest.mark.long

LATENCY = latency.Size(
    rate=4_000, accounts=200, seconds=3, burst_share=2, self_share=40, lateness_ms=100
)
SOAK = soak.Size(rate=2_000, accounts=100, seconds=3, every_seconds=0.1, counted_share=0.6)
PEERS = peers.Size(orders=20_000, accounts=500, rounds=1, burst_share=5)


def silent(_sentence: str) -> None:
    pass


def assert_whole(found: dict[str, Any]) -> None:
    """Look at what every bench must give, as JSON and drawn."""
    assert json.loads(json.dumps(found, allow_nan=False)) == json.loads(json.dumps(found))
    assert found.keys() == {"machine", "commit", "seed", "figures", "ratios", "charts"}
    drawing = ET.fromstring(to_svg(found["charts"]))
    lines = drawing.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == sum(len(chart["series"]) for chart in found["charts"]) > 0
    assert all(line.get("points") for line in lines)


@pytest.mark.slow
def test_latency_counts_from_when_events_are_due() -> None:
    found = latency.measure(LATENCY, silent)
    assert_whole(found)
    figures = found["figures"]
    assert figures["events"] == LATENCY.rate * LATENCY.seconds
    assert figures["alerts"] == LATENCY.rate * LATENCY.seconds / 2 / 2 // BURST_ORDERS
    assert 0 < figures["ms_p50"] <= figures["ms_p99"] <= figures["ms_most"]
    assert figures["aligned_alerts"] == LATENCY.rate * LATENCY.seconds / 2 / 40 // SELF_TRADES
    assert LATENCY.lateness_ms < figures["aligned_ms_p50"] <= figures["aligned_ms_p99"]
    beyond = figures["aligned_ms_p99"] - LATENCY.lateness_ms
    assert figures["aligned_ms_p99_beyond_lateness"] == pytest.approx(beyond)


@pytest.mark.slow
def test_soak_gives_a_slope_with_its_interval() -> None:
    found = soak.measure(SOAK, silent)
    assert_whole(found)
    figures = found["figures"]
    low, high = figures["memory_mib_an_hour_interval_95"]
    assert low <= figures["memory_mib_an_hour"] <= high
    assert 0 < figures["recovery_mib_median"] < figures["data_folder_mib_at_the_end"]
    assert figures["events"] == SOAK.rate * SOAK.seconds


@pytest.mark.slow
def test_scale_counts_bytes_and_events() -> None:
    found = scale.measure((500, 5_000), 10_000, silent)
    assert_whole(found)
    assert found["figures"]["accounts_5000"]["events_per_second"] > 0
    assert found["ratios"]["bytes_an_account_more"] > 100  # an account is a row in many tables


@pytest.mark.slow
def test_detectors_costs_each_rule_apart() -> None:
    found = detectors.run(quick=True, say=silent)
    assert_whole(found)
    rules = found["figures"]["rules"]
    assert set(rules) == set(found["ratios"]["share_of_stage"])
    assert {rule["detector"] for rule in rules.values()} == set(own_names())
    assert all(rule["bytes_a_subject"] >= rule["row_bytes"] for rule in rules.values())
    assert all(rule["nanoseconds_an_event"] > 0 for rule in rules.values())
    assert 0 < found["ratios"]["rules_of_stage"] < 1


@pytest.mark.slow
def test_restart_goes_on_and_begins() -> None:
    found = restart.measure((500,), silent)
    assert_whole(found)
    figures = found["figures"]["accounts_500"]
    assert figures["events_before"] >= 1_000
    assert figures["seconds_to_first_block_resumed"] > 0


@pytest.mark.slow
def test_peers_find_the_same() -> None:
    found = peers.measure(PEERS, silent)
    assert_whole(found)
    bursts = PEERS.orders / PEERS.burst_share / BURST_ORDERS
    assert found["figures"]["accounts_found_by_all"] == pytest.approx(bursts, abs=1)
    assert found["ratios"].keys() == {
        "tapewatch_to_bytewax",
        "tapewatch_to_python",
        "tapewatch_to_tapewatch_replay",
        "tapewatch_to_bytewax_by_cpu",
        "tapewatch_to_python_by_cpu",
    }


@pytest.mark.parametrize("other", [[["a", "2"]], []])
def test_peers_that_find_something_else_are_told(other: list[Any]) -> None:
    found = {"tapewatch": [["a", "1"]], "python": [["a", "1"]], "bytewax": other}
    with pytest.raises(RuntimeError, match=rf"bytewax found {len(other)} accounts and tapewatch 1"):
        peers.require_same(found)
    with pytest.raises(RuntimeError, match="not the same"):
        peers.require_same({"tapewatch": []})


def test_a_load_is_the_same_however_it_is_cut_and_meets_every_account_once() -> None:
    load = Load(accounts=100, rate=1_000)
    whole = load.lines(0, 100)
    assert b"".join(load.blocks(100, 7)) == whole
    accounts = [json.loads(line)["account_id"] for line in whole.splitlines()[::2]]
    assert len(set(accounts)) == 100
    last = json.loads(whole.splitlines()[-1])
    assert last["event_time_ns"] == load.time_ns(198)


def test_a_paced_load_comes_when_it_is_due() -> None:
    load = Load(accounts=10, rate=1_000)
    asked = Paced(load=load, orders=25)
    blocks = list(blocks_due(asked))
    assert [due.after_ns for due in blocks] == [20_000_000, 40_000_000, 50_000_000]
    assert b"".join(due.made for due in blocks) == load.lines(0, 25)
    began_ns = clock.monotonic_ns()
    for due in blocks:
        assert wait_until_due(due, began_ns) == due.made
        assert clock.monotonic_ns() >= began_ns + due.after_ns
    assert wait_until_due(Due(0, b"long due"), began_ns) == b"long due"


def test_a_feed_that_was_not_read_has_what_fell_due_meanwhile() -> None:
    load = Load(accounts=10, rate=1_000)
    feed = Feed(Paced(load=load, orders=500))
    try:
        blocks = feed.blocks("load://", 0)
        first = next(blocks)
        until_ns = feed.began_ns + load.time_ns(1_000) - load.first_ns
        while clock.monotonic_ns() < until_ns:
            select.select([], [], [], 0.01)
        rest = list(blocks)
    finally:
        feed.close()
    assert first + b"".join(rest) == load.lines(0, 500)
    assert len(rest) < 25, "it comes as one, or a few where the pipe ran empty"


def test_a_load_that_cannot_be_made_is_told_and_not_waited_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(RuntimeError, match="said why"):
        Feed(Paced(load=Load(accounts=0), orders=500))
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("ordered", "percent", "expected"),
    [([], 50, None), ([1.0], 99, 1.0), ([1.0, 2.0, 3.0], 50, 2.0), ([1.0, 2.0], 100, 2.0)],
)
def test_quantiles_are_values_that_were_there(
    ordered: list[float], percent: int, expected: float | None
) -> None:
    assert latency.quantile(ordered, percent) == expected


def test_a_slope_needs_points() -> None:
    with pytest.raises(ValueError, match="3 points are too few"):
        soak.slope_of([(0.0, 1.0)] * 3)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"name": "latency", "full": True}, "Only bench scale"),
        ({"name": "crash", "restart_broker": "true"}, "Only bench crash with --kafka"),
    ],
)
def test_options_of_other_benches_are_refused(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        bench.run(**more)


def test_the_command_draws_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chart = {"title": "a < b", "x": "s", "y": "MiB", "series": {"one": [[1, 2], [3, 4]]}}
    found = {"machine": {}, "figures": {"n": 1}, "charts": [chart]}
    command._draw(found, tmp_path / "scale.svg")
    assert "a &lt; b" in (tmp_path / "scale.svg").read_text(encoding="utf-8")
    command._show(found)
    assert "charts" not in capsys.readouterr().out
    with pytest.raises(UsageProblem, match="nothing to draw"):
        command._draw({}, tmp_path / "none.svg")
