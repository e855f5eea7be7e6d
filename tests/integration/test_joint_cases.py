"""An alert on several accounts holds their notices back: the same ones, however a day is run."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from plan_parts import FLAGS, head, lines, make_plan

from flows.replay import Engine, RunOptions, run
from lab.bench.content import Content, compare, read_content

TRADED_BEFORE, TRADED_AFTER, ONLY_WON = WINNERS = ("before-6217", "after-6217", "neither-6217")
SMALL = ("detectors.self_trading.trades_min=2", "intake.block_bytes=4096", "shards=4")
Runner = Callable[..., Content]


def trip(number: int) -> dict[str, Any]:
    """Give a round trip that wins; the fourth is the alert."""
    return {
        "kind": "position.closed",
        "instrument": "600000",
        "opened_ns": 1_772_000_000_000_000_000,
        "side": "buy",
        "quantity": 100,
        "realized_pnl": f"{number + 1}.5",
        "is_simulated": True,
    }


def trade(number: int, account_id: str) -> dict[str, Any]:
    """Give a trade of an account's partner with the account; the second is the alert."""
    return {
        "kind": "fill",
        "order_id": f"O-{account_id}-{number}",
        "fill_id": f"F-{account_id}-{number}",
        "instrument": "rb2610",
        "venue": "XSGE",
        "side": "buy",
        "quantity": 1,
        "price": 3000,
        "counter_account_id": account_id,
    }


def day() -> Iterator[tuple[float, str, dict[str, Any]]]:
    """Tell a day: each winner's alert comes at 40 s."""
    for winner in (TRADED_BEFORE, TRADED_AFTER):
        for account_id in (winner, f"{winner}-partner"):
            yield 0.0, account_id, {"kind": "ref.account", "beneficial_owner": f"of {winner}"}
    for winner in WINNERS:
        yield from ((10.0 * n, winner, trip(n)) for n in range(1, 5))
    for k in range(2):
        yield 39.0 + k, f"{TRADED_BEFORE}-partner", trade(k, TRADED_BEFORE)
        yield 40.1 + k, f"{TRADED_AFTER}-partner", trade(k, TRADED_AFTER)
    for second in range(90):
        order = {"kind": "order.new", "order_id": f"O{second}", "instrument": "600519"}
        more = {"venue": "XSHG", "side": "sell", "quantity": 1, "price": 3000}
        yield float(second), f"somebody-{second % 7}", order | more


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    folder = tmp_path_factory.mktemp("runs")
    path = folder / "day.ndjson"
    told = sorted(day(), key=lambda one: one[0])
    path.write_bytes(lines([head(n, at, who) | event for n, (at, who, event) in enumerate(told)]))

    def run_once(*flags: str, engine: Engine = "loop", processes: int = 1) -> Content:
        data = folder / f"data-{len(list(folder.iterdir()))}"
        options = RunOptions(
            engine=engine,
            processes=processes,
            worker_command=(sys.executable, "-m", "console.cli", "worker"),
            flags=(*FLAGS, *SMALL, *flags),
        )
        assert run(make_plan(data, [path], (*SMALL, *flags)), options).is_complete
        return read_content(data)

    return run_once


@pytest.fixture(scope="module")
def expected(runner: Runner) -> Content:
    return runner()


def test_who_traded_with_a_partner_before_winning_is_not_told(expected: Content) -> None:
    notices = expected.parts["notices"].values()
    assert {notice["account_id"] for notice in notices} == {TRADED_AFTER, ONLY_WON}
    assert expected.parts["summary"]["notices_withheld"] == {"open_case": 1}
    kinds = [entry["kind"] for entry in expected.parts["entries"].values()]
    assert (kinds.count("notice"), kinds.count("notice.withheld")) == (2, 1)


@pytest.mark.parametrize("flag", ["intake.batch_rows=1", "intake.block_bytes=1000000", "shards=16"])
def test_batches_blocks_and_shards_hold_back_the_same(
    runner: Runner, expected: Content, flag: str
) -> None:
    difference = compare(expected, runner(flag))
    assert difference.is_none, str(difference)


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_hold_back_the_same(runner: Runner, expected: Content, processes: int) -> None:
    found = runner("epoch_seconds=0.05", engine="bytewax", processes=processes)
    difference = compare(expected, found)
    assert difference.is_none, str(difference)
