"""The simulated exchange: what flows it, what makers do, what its lines say, how real it is."""

import datetime as dt
import json
import os
import re
from collections import defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from msgspec import structs

from lab.evaluate.streams import listen
from lab.exchange import calibration
from lab.exchange.book import BUY, CANCEL, ENTER, ORDERS, REPLACE, SELL, TAPE, TRADE, Book
from lab.exchange.flow import CONTROL, FAMILIES, SESSION_S, Flow
from lab.exchange.lines import Stream
from lab.exchange.market import Market
from lab.exchange.orders import Climate, People, draw_day
from schemas.events import SECOND_NS

SHANGHAI = ZoneInfo("Asia/Shanghai")


@cache
def book_of(name: str) -> Book:
    return Market(FAMILIES[name], 1).day()


def tape_of(book: Book) -> Any:
    return book.tape[: book.used[TAPE]]


def orders_of(book: Book) -> Any:
    return book.orders[: book.used[ORDERS]]


@cache
def events_of(name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in b"".join(Stream(FAMILIES[name], 3, 2).blocks()).splitlines()
    ]


def drawn(flow: Flow, seed: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    return draw_day(flow, 0, People(flow, rng), rng)


def test_the_same_seed_gives_the_same_bytes_and_another_others() -> None:
    flow = structs.replace(FAMILIES["makers"], orders_a_second=0.05)
    first, again, other = (b"".join(Stream(flow, seed, 2).blocks()) for seed in (1, 1, 2))
    assert first == again != other


def test_more_room_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = structs.replace(FAMILIES["makers"], orders_a_second=0.2)
    tight, wide = Market(flow, 1), Market(flow, 1)
    monkeypatch.setattr("lab.exchange.market._ROOM_FIRST", 0.1)
    little = tape_of(tight.day())
    monkeypatch.setattr("lab.exchange.market._ROOM_FIRST", 5)
    assert np.array_equal(little, tape_of(wide.day()))


def test_accounts_differ_in_activity_and_in_log_odds_by_one() -> None:
    people = People(structs.replace(FAMILIES["plain"], accounts=20_000), np.random.default_rng(1))
    activity = np.log(np.diff(people.bounds, prepend=0.0))
    assert 0.97 < activity.std() < 1.03
    assert 0.97 < people.logits.std() < 1.03


@pytest.mark.parametrize("name", ["makers", "calibrated"])
def test_makers_send_a_fifth_of_the_messages_or_more(name: str) -> None:
    tape, orders = tape_of(book_of(name)), orders_of(book_of(name))
    messages = tape[np.isin(tape["what"], (ENTER, CANCEL, REPLACE))]
    is_makers = orders["account"][messages["order"]] >= FAMILIES[name].accounts
    assert is_makers.mean() >= 0.2


def test_makers_look_again_whenever_a_quote_was_taken() -> None:
    flow, book = FAMILIES["makers"], book_of("makers")
    tape, orders = tape_of(book), orders_of(book)
    makers = Market(flow, 1).makers
    trades = tape[tape["what"] == TRADE]
    # The last trade of each order, where nothing of it is left: then it was taken whole.
    number, places = np.unique(trades["other"][::-1], return_index=True)
    taken = trades[::-1][places][orders["quantity"][number] == 0]
    owners = orders["account"][taken["other"]] - flow.accounts
    due_ns = taken["time_ns"] + makers["latency_ns"][np.maximum(owners, 0)]
    is_makers = (owners >= 0) & (due_ns < SESSION_S * SECOND_NS)
    assert is_makers.sum() > 20
    for hit, owner, until_ns in zip(
        taken[is_makers], owners[is_makers], due_ns[is_makers], strict=True
    ):
        entered = orders["entered_ns"][orders["account"] == owner + flow.accounts]
        is_answer = (entered > hit["time_ns"]) & (entered <= until_ns)
        assert is_answer.any(), hit


def test_makers_rest_at_few_prices_on_both_sides() -> None:
    flow, orders = FAMILIES["makers"], orders_of(book_of("makers"))
    open_ = orders[(orders["is_open"] == 1) & (orders["account"] >= flow.accounts)]
    for account in range(flow.accounts, flow.accounts + flow.makers):
        sides = open_["side"][open_["account"] == account]
        assert 0 < len(sides) <= 2 * flow.maker_levels
        assert set(sides.tolist()) == {BUY, SELL}


def test_orders_are_cancelled_when_they_were_meant_to_be_and_never_else() -> None:
    flow = FAMILIES["plain"]
    market = Market(flow, 1)
    rng = np.random.default_rng((1, 1, 0))
    asked = draw_day(flow, 0, People(flow, np.random.default_rng((1, 0))), rng)
    book = market.day()
    orders = orders_of(book)
    assert np.array_equal(asked["time_ns"], orders["entered_ns"]), "no makers: one for each"
    ends = asked["time_ns"] + asked["life_ns"]
    cancels = tape_of(book)[tape_of(book)["what"] == CANCEL]
    assert np.array_equal(cancels["time_ns"], ends[cancels["order"]])
    is_due = (asked["life_ns"] > 0) & (ends < SESSION_S * SECOND_NS)
    assert not (is_due & (orders["is_open"] == 1)).any()


def test_baskets_have_twenty_to_five_hundred_orders_and_some_go_as_one() -> None:
    flow = structs.replace(FAMILIES["baskets"], orders_a_second=0.0, baskets_a_day=200.0)
    asked = drawn(flow)
    pairs = np.stack([asked["account"], asked["side"]], axis=1)
    breaks = np.flatnonzero(np.diff(asked["time_ns"]) > 2 * SECOND_NS) + 1
    alone = [
        one
        for one in np.split(np.arange(len(asked)), breaks)
        if len(np.unique(pairs[one], axis=0)) == 1
    ]
    assert len(alone) > 100
    assert all(len(one) >= 20 for one in alone)
    assert max(map(len, alone)) > 300
    as_one = sum(len(np.unique(asked["life_ns"][one])) == 1 for one in alone)
    assert 0.35 * len(alone) < as_one < 0.65 * len(alone)


def test_regimes_last_ten_to_three_hundred_orders_and_go_on_the_next_day() -> None:
    people = People(structs.replace(FAMILIES["regimes"], accounts=3), np.random.default_rng(1))
    whole = People(structs.replace(FAMILIES["regimes"], accounts=3), np.random.default_rng(1))
    accounts = np.random.default_rng(2).integers(0, 3, 9_000)
    states = np.concatenate([people.regime(accounts[:4_000]), people.regime(accounts[4_000:])])
    assert np.array_equal(states, whole.regime(accounts))
    for account in range(3):
        own = states[accounts == account]
        lengths = np.diff(np.flatnonzero(np.diff(own)))
        assert set(own.tolist()) == {1.0, -1.0}
        assert lengths.min() >= 10
        assert lengths.max() <= 300


@pytest.mark.parametrize("lag", [50, 90, 99])
def test_intensity_follows_itself_as_the_family_says(lag: int) -> None:
    flow = structs.replace(FAMILIES[f"cox_{lag}"], instruments=40)
    log = np.log(Climate(flow, np.random.default_rng(1)).intensity)
    log -= log.mean(axis=1, keepdims=True)
    found = (log[:, 1:] * log[:, :-1]).mean() / log.var()
    assert abs(found - lag / 100) < 0.02


def test_prices_drift_where_they_are_said_to_and_jump_in_shocks() -> None:
    rng = np.random.default_rng(1)
    calm = structs.replace(FAMILIES["drift"], volatility=0.0)
    value = Climate(calm, rng).value
    assert np.allclose(value[:, -1] - value[:, 0], calm.drift_ticks, rtol=0.01)
    shaken = structs.replace(FAMILIES["shocks"], volatility=0.0, shocks_a_day=30.0)
    climate = Climate(shaken, rng)
    jumps = np.abs(np.diff(climate.value[0]))
    assert set(np.rint(jumps[jumps > 1]).tolist()) <= {25.0, 50.0}
    assert climate.intensity[0][climate.shocked > 0.9].mean() > 4 * climate.intensity[0].min()


def test_only_the_control_has_accounts_that_change_their_ways() -> None:
    assert all(flow.turned_share == 0 for flow in FAMILIES.values())
    rng = np.random.default_rng(1)
    people = People(CONTROL, rng)
    assert 0.05 < people.turned.mean() < 0.15
    for day, is_more in ((CONTROL.turned_day - 1, False), (CONTROL.turned_day, True)):
        asked = draw_day(CONTROL, day, people, rng)
        meant = asked["life_ns"] > 0
        own = people.turned[asked["account"]]
        assert (meant[own].mean() > meant[~own].mean() + 0.3) == is_more


def test_lines_tell_a_life_of_every_order() -> None:
    left: dict[str, int] = {}
    filled: dict[str, int] = defaultdict(int)
    sides: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in events_of("makers"):
        order = event["order_id"]
        if event["kind"] == "order.new":
            assert order not in left
            left[order] = event["quantity"]
        elif event["kind"] == "order.replace":
            left[order] = event["quantity"] - filled[order]
        elif event["kind"] == "fill":
            left[order] -= event["quantity"]
            filled[order] += event["quantity"]
            sides[event["fill_id"]].append(event)
        else:
            assert event["kind"] == "order.cancel"
            assert left.pop(order) == event["quantity"]
    assert min(left.values()) >= 0
    assert {event["kind"] for event in events_of("makers")} == {
        "order.new", "order.replace", "order.cancel", "fill",
    }  # fmt: skip
    for pair in sides.values():
        taker, maker = pair
        assert {taker["side"], maker["side"]} == {"buy", "sell"}
        assert (taker["price"], taker["quantity"]) == (maker["price"], maker["quantity"])
        assert (taker["liquidity"], maker["liquidity"]) == ("taker", "maker")


def test_days_are_weekdays_and_within_trading_hours() -> None:
    flow = structs.replace(FAMILIES["plain"], orders_a_second=0.02)
    events = [json.loads(line) for line in b"".join(Stream(flow, 1, 6).blocks()).splitlines()]
    times = [event["event_time_ns"] for event in events]
    assert times == sorted(times)
    moments = [dt.datetime.fromtimestamp(time / 1e9, SHANGHAI) for time in times]
    days = {moment.date().isoformat() for moment in moments}
    assert days == {f"2026-03-{day:02}" for day in (2, 3, 4, 5, 6, 9)}
    for moment in moments:
        clock = moment.strftime("%H:%M")
        assert "09:30" <= clock < "11:30" or "13:00" <= clock < "14:57", clock
    assert len({event["event_id"] for event in events}) == len(events)


def test_ids_say_nothing_of_what_an_account_does() -> None:
    flow = FAMILIES["makers"]
    ids = Stream(flow, 1, 1).account_ids()
    assert len(set(ids)) == flow.accounts + flow.makers
    assert all(re.fullmatch("[0-9a-f]{12}", one) for one in ids)
    numbers = [int(one, 16) for one in ids]
    ups = sum(one < other for one, other in pairwise(numbers))
    assert 0.4 * len(ids) < ups < 0.6 * len(ids)


def test_the_product_refuses_nothing_and_knows_every_order() -> None:
    """``listen`` asserts the first; no rule is needed for it."""
    said = listen(Stream(structs.replace(FAMILIES["makers"], orders_a_second=0.05), 1, 2), [])
    assert said.findings == []


def test_figures_are_those_one_would_count_by_hand() -> None:
    day = calibration.Messages(
        np.array([0, 0, 1, 1, 1, 9_000, -1]),
        np.array([False, False, False, True, True, False, False]),
        np.array([-1, -1, -1, SECOND_NS, SECOND_NS + 1, -1, -1]),
    )
    found = calibration.figures_of([day])
    counts = np.zeros(SESSION_S)
    counts[[0, 1, 9_000]] = (2, 3, 1)
    assert found["cancels an order"] == 2 / 5
    assert found["cancelled within 1 s"] == 1 / 2
    assert found["messages a second"] == pytest.approx(6 / SESSION_S)
    assert found["variance over mean"] == pytest.approx(counts.var() / counts.mean())
    around = counts - counts.mean()
    products = np.append(around[:7_199] * around[1:7_200], around[7_200:-1] * around[7_201:])
    assert found["autocorrelation, 1 s"] == pytest.approx(products.mean() / counts.var())


def test_the_calibrated_flow_is_within_a_fifth_of_the_sample() -> None:
    found = calibration.compare(days=20)
    assert [(one.name, one.ratio) for one in found if not one.is_within] == []
    plain = calibration.compare(days=2, flow=FAMILIES["plain"])
    assert not all(one.is_within for one in plain), "the verdict can be bad"


def test_the_sample_has_the_figures_that_are_written_down() -> None:
    folder = os.environ.get("TAPEWATCH_SAMPLES")
    if not folder:
        pytest.skip("TAPEWATCH_SAMPLES names no folder of real samples")
    days = calibration.read_sample(Path(folder) / calibration.SAMPLE)
    assert len(days) == 5
    assert calibration.figures_of(days) == pytest.approx(calibration.SHANGHAI, rel=1e-3)
