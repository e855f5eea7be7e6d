"""What only the end of a day can tell is one alert of that day, however the day is run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plan_parts import DAY_NS, FLAGS, START_NS, head, lines, make_plan

from flows.replay import RunOptions, run
from lab.bench.content import Content, compare, read_content
from schemas.events import SECOND_NS

SILENT, RETURNED, GREW = ACCOUNTS = ("silent-77-1", "returned-77-2", "grew-77-3")
NEAR = (
    "detectors.busy_seconds.actions_min=3",
    "detectors.busy_seconds.actions_max=5",
    "detectors.busy_seconds.times_min=2",
)
DAY_S = DAY_NS // SECOND_NS


def orders(account_id: str, seconds: float, count: int = 3) -> Iterator[tuple[float, str, Any]]:
    for k in range(count):
        at = seconds + k / 10
        order = {"kind": "order.new", "order_id": f"O{at}", "instrument": "600519"}
        more = {"venue": "XSHG", "side": "buy", "quantity": 100, "price": 3000}
        yield at, account_id, order | more


def days() -> Iterator[tuple[float, str, Any]]:
    """Tell two days: at the end of the first each account's last second is one near the bound."""
    for account_id in ACCOUNTS:
        yield from orders(account_id, 10.0)
        yield from orders(account_id, 20.0)
    for seconds in (30.0, 40.0):  # judged at 30 s; twice the figure at the end of the day
        yield from orders(GREW, seconds)
    yield from orders(RETURNED, DAY_S + 5.0, 1)
    for second in range(60):
        yield from orders(f"somebody-{second % 7}", DAY_S + 100.0 + second, 1)


def run_once(folder: Path, name: str, *flags: str) -> Content:
    path = folder / "days.ndjson"
    told = sorted(days(), key=lambda one: one[0])
    path.write_bytes(lines([head(n, at, who) | event for n, (at, who, event) in enumerate(told)]))
    options = RunOptions(engine="loop", flags=(*FLAGS, *NEAR, *flags))
    assert run(make_plan(folder / name, [path], (*NEAR, *flags)), options).is_complete
    return read_content(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("days")


@pytest.fixture(scope="module")
def content(folder: Path) -> Content:
    return run_once(folder, "whole")


def test_each_account_has_one_alert_and_it_is_closed(content: Content) -> None:
    alerts = {row["account_id"]: row for row in content.parts["alerts"].values()}
    assert len(content.parts["alerts"]) == len(alerts)
    assert set(alerts) == set(ACCOUNTS)
    assert {row["state"] for row in alerts.values()} == {"closed"}
    assert {row["trading_day"] for row in alerts.values()} == {"2026-03-02"}
    times = {who: row["event_time_ns"] - START_NS for who, row in alerts.items()}
    ended = 21 * SECOND_NS  # the second window's end; the third account acted later that day
    assert times == {SILENT: ended, RETURNED: ended, GREW: 30 * SECOND_NS}
    assert [row["finding_count"] for row in content.parts["episodes"].values()].count(2) == 1


@pytest.mark.parametrize("flag", ["intake.batch_rows=1", "intake.block_bytes=4096", "shards=4"])
def test_batches_and_shards_change_nothing(folder: Path, content: Content, flag: str) -> None:
    difference = compare(content, run_once(folder, flag.replace("=", "-"), flag))
    assert difference.is_none, str(difference)
