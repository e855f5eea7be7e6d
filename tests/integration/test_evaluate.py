"""The evaluation in its small size: what is claimed holds, what is not claimed is seen to fail."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import caller
from msgspec import to_builtins

from lab import evaluate
from lab.evaluate import nulls, tables
from lab.evaluate.sizes import QUICK
from lab.evaluate.traps import named_naively

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return evaluate.run(quick=True, say=lambda _sentence: None)


def test_the_bound_is_kept_where_it_is_claimed_and_seen_to_break_elsewhere(
    found: dict[str, Any],
) -> None:
    rows = {row["world"]: row for row in found["nulls"]}
    refuted = {name for name, row in rows.items() if row["is_refuted"]}
    assert refuted == {name for name, row in rows.items() if not row["is_claimed"]}
    assert rows["luck"]["alarms"] > 0, "or nothing was tried"
    assert rows["streaks"]["alarms"] > 5 * rows["luck"]["alarms"]


def test_the_bets_are_a_fifth_slower_than_an_oracle_at_most(found: dict[str, Any]) -> None:
    ratios = [row["ratio"] for row in found["delays"] if row["ratio"] is not None]
    assert len(ratios) >= 5
    assert all(1.0 <= ratio <= 1.2 for ratio in ratios), ratios


def test_who_wins_more_is_named_sooner(found: dict[str, Any]) -> None:
    last = max(QUICK.counts)
    shares = [row["share"] for row in found["power"] if row["units"] == last]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for row in found["power"]:
        low, high = row["interval"]
        assert low <= row["share"] <= high


def test_policy_names_the_lucky_and_the_test_does_not(found: dict[str, Any]) -> None:
    for row in found["traps"]:
        if row["is_within_null"]:
            assert row["certified"] == 0 < row["naive"]


def test_payoffs_explain_wins_without_money(found: dict[str, Any]) -> None:
    rows = {row["trap"]: row for row in found["traps"]}
    for name in ("population", "92 % winners", "loser-holders"):
        assert rows[name]["certified"] == 0 < rows[name]["naive"]


def test_layerers_within_the_rule_are_found_and_few_makers_named(found: dict[str, Any]) -> None:
    rule, share = found["layers"]
    assert rule["layerers"] > rule["within"] > 0
    assert rule["found_within"] >= 0.8 * rule["within"]
    assert rule["makers"] <= 0.2 * rule["makers_there"]
    assert rule["others"] == 0
    assert share["makers"] > share["found"], "who looks at cancels alone names makers"


def test_no_counterfactual_is_refuted_by_replay(found: dict[str, Any]) -> None:
    rows = found["counterfactuals"]
    assert sum(row["confirmed"] for row in rows) > 300
    assert [row["rule"] for row in rows if row["refuted"]] == []


def test_the_same_seed_gives_the_same_figures(found: dict[str, Any]) -> None:
    again = evaluate.run(quick=True, say=lambda _sentence: None)
    assert json.dumps(again) == json.dumps(found)


def test_the_naive_rule_counts_whoever_was_ever_above() -> None:
    wins = np.ones((20, 3), np.bool_)
    wins[5, 1] = wins[3, 2] = wins[4, 2] = False  # 19 and 18 of 20
    assert named_naively(wins) == 2
    assert named_naively(wins[:9]) == 0, "nine are too few"


def test_a_world_that_wins_too_often_breaks_the_bound(
    found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict can be bad: otherwise it says nothing."""
    cheat = nulls.World("cheat", "95 %", lambda rng, *shape: rng.random(shape) < 0.95)
    monkeypatch.setattr(nulls, "WORLDS", (cheat,))
    rows = to_builtins(nulls.measure(QUICK, 1))
    assert tables.tables(found | {"nulls": rows})[0].rows[0][-1] == "REFUTED"


def test_the_command_shows_writes_and_draws(
    found: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(evaluate, "run", lambda **_: found)
    call = caller(monkeypatch, capsys)
    page, drawing = tmp_path / "evaluation.md", tmp_path / "evaluation.svg"
    said = call("evaluate", "--quick", "--report", page, "--plot", drawing)
    assert said.code == 0
    for table in tables.tables(found):
        assert table.title in said.out
        assert f"## {table.title}" in page.read_text()
    ET.fromstring(drawing.read_text())
    as_json = json.loads(call("evaluate", "--quick", "--json").out)
    assert as_json["nulls"] == json.loads(json.dumps(found["nulls"]))


def test_a_report_that_has_nowhere_to_go_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = caller(monkeypatch, capsys)("evaluate", "--report", tmp_path / "none" / "page.md")
    assert said.code == 2
    assert "There is no folder" in said.err


def test_cancel_ratios_at_the_null_bring_no_more_alarms_than_were_granted(
    found: dict[str, Any],
) -> None:
    rows = {row["world"]: row for row in found["share_edges"]}
    refuted = {name for name, row in rows.items() if row["is_refuted"]}
    assert refuted == {name for name, row in rows.items() if not row["is_claimed"]}
    assert rows["alone"]["alarms"] > 1, "or nothing was tried"


def test_no_bound_is_claimed_where_orders_come_in_long_stretches(found: dict[str, Any]) -> None:
    rows = {row["family"]: row for row in found["share_families"]}
    assert rows["steady"]["bucket_orders"] == 10
    assert rows["regimes"]["bucket_orders"] > 10
    assert rows["long regimes"]["days_claimed"] == 0
    assert not any(row["is_refuted"] for row in rows.values())


def test_who_begins_to_cancel_more_is_named_nearly_as_soon_as_an_oracle_could(
    found: dict[str, Any],
) -> None:
    last = {row["odds"]: row["found"] for row in found["share_plants"] if row["orders"] == 5_000}
    assert all(count >= 0.85 * QUICK.share_plants for count in last.values())
    assert all(1.0 <= row["ratio"] <= 1.2 for row in found["share_delays"])


def test_bursts_keep_the_bound_where_it_is_claimed_and_break_it_where_not(
    found: dict[str, Any],
) -> None:
    rows = {row["world"]: row for row in found["burst_edges"]}
    assert not any(row["is_refuted"] for row in rows.values() if row["is_claimed"])
    assert rows["alone"]["alarms"] > 0, "or nothing was tried"
    assert rows["all day"]["alarms"] > rows["all day"]["bound"], "or nothing would be refuted"


def test_no_bound_is_claimed_where_an_account_is_busy_for_hours(found: dict[str, Any]) -> None:
    rows = {row["family"]: row for row in found["burst_families"]}
    assert rows["steady"]["minutes"] == 1
    assert (rows["own 0.99"]["minutes"], rows["own 0.99"]["claim"]) == (0, "clustered")
    assert not any(row["is_refuted"] for row in rows.values())
    assert sum(row["innocent"] for row in rows.values()) == 0


def test_whoever_begins_to_burst_is_named_within_minutes(found: dict[str, Any]) -> None:
    last = {row["times"]: row["found"] for row in found["burst_plants"] if row["minutes"] == 60}
    assert last[10] >= 0.95 * QUICK.share_plants
    assert all(0.8 <= row["ratio"] <= 1.5 for row in found["burst_delays"])


def test_evasion_has_a_price(found: dict[str, Any]) -> None:
    rows = {row["adversary"]: row["named"] / row["tried"] for row in found["evasion"]}
    assert rows["dilution: 100% of its orders cancelled"] > 0.8
    assert rows["dilution: 33% of its orders cancelled"] == 0
    assert rows["splitting: a burst dealt out to 1 account"] == 1.0
