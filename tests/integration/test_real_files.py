"""Real market files through the whole monitor; they lie where TAPEWATCH_SAMPLES says."""

import os
from pathlib import Path
from typing import Any

import pytest

from detectors.core.registry import params_types
from flows.config import load
from flows.datafolder import Paths
from flows.loop import run_loop
from flows.plan import InputSpec, Plan
from flows.store.reader import StoreReader
from flows.store.rows import AlertRow

HYPERLIQUID = "hyperliquid_node_fills_2025-10-27.jsonl.gz"
SHANGHAI = "sse_orders_and_trades_2023-07-11.zip"


def sample(name: str) -> str:
    folder = os.environ.get("TAPEWATCH_SAMPLES")
    if not folder:
        pytest.skip("TAPEWATCH_SAMPLES names no folder of real samples")
    return str(Path(folder) / name)


def monitored(
    data: Path, spec: InputSpec, flags: list[str]
) -> tuple[dict[str, Any], list[AlertRow]]:
    config = load(flags, {"data": str(data)}, detectors=params_types())
    writer = run_loop(Plan(data, (spec,), config), "real")
    summary = writer.summary()
    writer.close()
    reader = StoreReader(Paths(data).store)
    alerts = list(reader.every_alert())
    reader.close()
    return summary, alerts


@pytest.mark.parametrize(("unit", "accounts"), [("fill", 11), ("order", 3)])
def test_win_rates_alert_on_as_many_accounts_as_counted_by_hand(
    tmp_path: Path, unit: str, accounts: int
) -> None:
    flags = [
        f"detectors.win_rate.unit={unit}",
        "detectors.win_rate.min_units=20",
        "detectors.win_rate.simulated_only=false",
        "detectors.certified_win_rate.simulated_only=false",
    ]
    summary, alerts = monitored(tmp_path, InputSpec(name=sample(HYPERLIQUID)), flags)
    assert summary["events"] == 7_282
    assert summary["late"] == summary["duplicates"] == 0
    # In 81 seconds nobody ends enough round trips for a test with a bound to conclude anything.
    assert {alert.detector for alert in alerts} == {"win_rate"}
    assert len({alert.account_id for alert in alerts}) == accounts


def test_shanghai_orders_are_all_taken_and_alerts_explained(tmp_path: Path) -> None:
    spec = InputSpec(name=sample(SHANGHAI), accounts="overlay:7:50")
    summary, alerts = monitored(tmp_path, spec, [])
    assert summary["late"] == summary["duplicates"] == 0
    assert sum(summary["rejected"].values()) == 1
    assert alerts
    for alert in alerts:
        assert alert.why
        assert alert.evidence
        assert "would not have" in alert.counterfactual["text"]
