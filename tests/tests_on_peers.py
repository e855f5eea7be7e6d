"""Days of accounts that differ, for tests that compare them."""

from typing import Any

import numpy as np
import pytest
from detector_kit import feed
from naive_detectors import Step, naive_steps

from detectors.core.stage import StageOutput
from schemas.columns import EventColumns
from schemas.events import SECOND_NS

START_NS = 1_772_582_400 * SECOND_NS
DAY_S = 86_400
ACCOUNTS, DAYS = 30, 5
# Parameters for so few of them.
FEW = {
    "baseline_units_min": 4,
    "peers_min": 3,
    "alarms_a_day": 20.0,
    "tests": 1,
    "autocorrelation_max": 0.4,
}
Event = dict[str, Any]


def busy_market(seed: int) -> list[Event]:
    """Return days of accounts that differ; two of them change their ways after three days."""
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.1, 0.5, ACCOUNTS)
    events: list[Event] = []

    def add(kind: str, day: int, seconds: float, account: int, **fields: Any) -> None:
        time_ns = START_NS + day * DAY_S * SECOND_NS + round(seconds * SECOND_NS)
        head = {"kind": kind, "source": "s", "event_id": f"e{len(events)}"}
        events.append(head | {"event_time_ns": time_ns, "account_id": f"A{account}"} | fields)

    for account in range(0, ACCOUNTS, 2):
        add("ref.account", 0, account / 10, account, tier="T")
    for day in range(DAYS):
        for account in range(ACCOUNTS):
            rate = 0.97 if day >= 3 and account < 2 else rates[account]
            now = 3_600.0 + account
            for number in range(int(rng.integers(100, 250))):
                now += 0.0 if rng.random() < 0.05 else float(rng.choice((0.02, 5.0, 20.0)))
                order = {"order_id": f"{account}-{day}-{number}"}
                money = {"is_simulated": True} if rng.random() < 0.02 else {}
                what = {"instrument": "I", "venue": "TEST", "side": "buy", "quantity": 1}
                add("order.new", day, now, account, price=10, **order, **what, **money)
                if rng.random() < rate:
                    ages = (rng.uniform(0.001, 0.4), 3.0, 40.0)[: 1 if rate > 0.9 else 3]
                    later = now + float(rng.choice(ages))
                    add("order.cancel", day, later, account, reason="user", **order)
                elif rng.random() < 0.95:
                    body = {**what, **order, "price": 10, "fill_id": f"f{len(events)}"}
                    add("fill", day, now + 0.5, account, **body)
    return sorted(events, key=lambda event: int(event["event_time_ns"]))


def share_cancelled(summary: dict[str, float]) -> float:
    return summary["cancel_share"]


def no_number(summary: dict[str, float]) -> float:
    return float("nan") * summary["orders"]


def tiers_of(events: list[Event]) -> dict[int, tuple[str, str]]:
    files = [(row, e) for row, e in enumerate(events) if e["kind"] == "ref.account"]
    return {row: (e["account_id"], e["tier"]) for row, e in files}


def steps_of(events: list[Event], config: dict[str, Any]) -> list[Step | None]:
    """Return the steps, an account at a time: nothing is late or repeated here."""
    steps: list[Step | None] = [None] * len(events)
    for account in {event["account_id"] for event in events}:
        rows = [row for row, event in enumerate(events) if event["account_id"] == account]
        own = naive_steps([events[row] for row in rows], **config)
        for row, step in zip(rows, own, strict=True):
            steps[row] = step
    return steps


def tallies_seen(
    stage: Any, kind: int, columns: EventColumns, sizes: list[int], between: Any
) -> list[Any]:
    """Feed a stage, reborn in between, and return the tallies of one kind that it compared."""
    got: list[Any] = []
    take = type(stage.peers).take

    def watch(self: Any, tallies: Any) -> StageOutput:
        got.extend(row for row in tallies.rows if len(tallies) and row["kind"] == kind)
        output: StageOutput = take(self, tallies)
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(stage.peers), "take", watch)
        feed(stage, columns, sizes, between)
    return got
