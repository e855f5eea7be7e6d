"""Every simulated line is checked by a bookkeeper that knows only the lines."""

import datetime as dt
import json
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st

from lab.simulator import FilePlant, Market, PlantFileError, SimulatorConfig
from lab.simulator.plant_files import PlantFile
from lab.simulator.profit import TRIP_LOST, TRIP_OPEN, TRIP_WON, realize
from lab.simulator.typeset import Typesetter
from schemas.columns import HashKey
from schemas.scan import Scanner

CENT = Decimal("0.01")
ZONES = {"XPAR": "Europe/Paris"}
SHANGHAI = "Asia/Shanghai"
# venue -> phase -> local stretches, end exclusive
HOURS = {
    "XSHG": {
        "opening_auction": [("09:15", "09:25")],
        "continuous": [("09:30", "11:30"), ("13:00", "14:57")],
        "closing_auction": [("14:57", "15:00")],
    },
    "CCFX": {"continuous": [("09:30", "11:30"), ("13:00", "15:00")]},
    "XSGE": {"continuous": [("09:00", "10:15"), ("10:30", "11:30"), ("13:30", "15:00")]},
    "XPAR": {
        "opening_auction": [("08:55", "09:00")],
        "continuous": [("09:00", "17:30")],
        "closing_auction": [("17:30", "17:35")],
    },
}
NO_CANCEL = {"XSHG": [("09:20", "09:25"), ("14:57", "15:00")]}


@dataclass
class Order:
    new: dict[str, Any]
    price: Decimal | None
    left: Decimal
    filled: Decimal = Decimal(0)
    last_ns: int = 0
    ended_by: str = ""


@dataclass
class Position:
    held: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)


class Bookkeeper:
    """Follow each order from entry to end, and each position, in exact decimals."""

    def __init__(self, multipliers: dict[str, int]) -> None:
        self.multipliers = multipliers
        self.instruments: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, Order] = {}
        self.positions: dict[tuple[str, str], Position] = {}
        self.seen: set[tuple[str, str]] = set()
        self.fills: dict[str, list[dict[str, Any]]] = {}
        self.time_ns = 0

    def take(self, line: bytes) -> None:
        event = json.loads(line, parse_float=Decimal)
        assert event["event_time_ns"] >= self.time_ns, "sorted by time"
        self.time_ns = event["event_time_ns"]
        key = (event["source"], event["event_id"])
        assert key not in self.seen, "an event id is unique within its source"
        self.seen.add(key)
        if event["kind"] == "ref.instrument":
            self.instruments[event["instrument"]] = event
        elif event["kind"] == "order.new":
            self.enter(event)
        elif event["kind"].startswith(("order.", "fill")):
            self.move(event)

    def enter(self, event: dict[str, Any]) -> None:
        assert event["order_id"] not in self.orders
        on_file = self.instruments[event["instrument"]]
        assert event["venue"] == on_file["venue"]
        assert event["source"] == "sim-" + event["venue"].lower()
        assert event["quantity"] > 0
        assert event["quantity"] % on_file["lot"] == 0
        assert ("price" in event) == (event["order_type"] != "market")
        assert event["session_phase"] in phases_at(event)
        if "price" in event:
            self.check_price(event["price"], on_file)
        self.orders[event["order_id"]] = Order(
            event, event.get("price"), Decimal(event["quantity"])
        )

    def move(self, event: dict[str, Any]) -> None:
        order = self.orders[event["order_id"]]
        assert not order.ended_by, f"nothing happens after {order.ended_by}"
        assert event["account_id"] == order.new["account_id"]
        assert event["event_time_ns"] > order.new["event_time_ns"]
        assert event["source"] == order.new["source"]
        where = {**event, "venue": order.new["venue"]}
        assert phases_at(where), "within the session"
        on_file = self.instruments[order.new["instrument"]]
        kind = event["kind"]
        if kind == "order.replace":
            assert event["quantity"] > 0
            assert event["quantity"] % on_file["lot"] == 0
            assert order.filled == 0
            self.check_price(event["price"], on_file)
            order.price, order.left = event["price"], Decimal(event["quantity"])
        elif kind == "order.cancel":
            assert order.left > 0
            assert event.get("quantity", order.left) == order.left
            takes_part = order.new["order_type"] == "market"
            takes_part |= order.new["time_in_force"] in {"ioc", "fok"}
            assert (event["reason"] == "immediate") <= takes_part
            if event["reason"] == "user":
                assert not stands_in(where, NO_CANCEL.get(where["venue"], []))
            order.ended_by = kind
        elif kind == "fill":
            self.fill(event, order, on_file)
        else:
            assert order.filled == 0
            order.ended_by = kind

    def fill(self, event: dict[str, Any], order: Order, on_file: dict[str, Any]) -> None:
        self.check_sides(event)
        for name in ("instrument", "venue", "side"):
            assert event[name] == order.new[name]
        assert event.get("is_simulated") == order.new.get("is_simulated")
        assert 0 < event["quantity"] <= order.left
        assert event["quantity"] % on_file["lot"] == 0
        self.check_price(event["price"], on_file)
        assert event["fee"] > 0
        if order.price is not None:
            better = event["price"] <= order.price
            assert better if event["side"] == "buy" else event["price"] >= order.price
        if order.new["time_in_force"] == "fok":
            assert event["quantity"] == order.new["quantity"]
        order.left -= event["quantity"]
        order.filled += event["quantity"]
        if order.left == 0:
            order.ended_by = "its last fill"
        earned = self.settle(event)
        assert event.get("realized_pnl") == earned

    def settle(self, event: dict[str, Any]) -> Decimal | None:
        """Book a fill at average cost; return what it realised, None if it closed nothing."""
        account = (event["account_id"], event["instrument"])
        position = self.positions.setdefault(account, Position())
        signed = event["quantity"] if event["side"] == "buy" else -event["quantity"]
        earned = None
        if position.held * signed < 0:
            closing = min(abs(signed), abs(position.held))
            share = position.cost * closing / abs(position.held)
            taken_out = share.quantize(CENT, ROUND_HALF_UP)
            direction = 1 if position.held > 0 else -1
            earned = direction * (event["price"] * closing - taken_out)
            earned *= self.multipliers[event["instrument"]]
            position.cost -= taken_out
            position.held -= direction * closing
            signed += direction * closing
        position.held += signed
        position.cost += abs(signed) * event["price"]
        return earned

    def check_sides(self, event: dict[str, Any]) -> None:
        """Check that a trade is one fill, or the two fills of both its sides."""
        told = self.fills.setdefault(event["fill_id"], [])
        told.append(event)
        assert event.get("counter_account_id") != event["account_id"]
        if len(told) == 1:
            return
        first, second = told
        for name in ("event_time_ns", "instrument", "venue", "price", "quantity"):
            assert first[name] == second[name]
        assert {first["side"], second["side"]} == {"buy", "sell"}
        for one, other in ((first, second), (second, first)):
            assert one.get("counter_account_id", other["account_id"]) == other["account_id"]

    @staticmethod
    def check_price(price: Decimal, on_file: dict[str, Any]) -> None:
        assert price > 0
        assert price % Decimal(on_file["tick_size"]) == 0


def local_minute(event: dict[str, Any]) -> str:
    zone = ZoneInfo(ZONES.get(event["venue"], SHANGHAI))
    moment = dt.datetime.fromtimestamp(event["event_time_ns"] // 10**9, dt.UTC).astimezone(zone)
    assert moment.date() == dt.date(2026, 3, 4)
    return f"{moment:%H:%M}"


def stands_in(event: dict[str, Any], stretches: list[tuple[str, str]]) -> bool:
    minute = local_minute(event)
    return any(start <= minute < end for start, end in stretches)


def phases_at(event: dict[str, Any]) -> list[str]:
    hours = HOURS[event["venue"]]
    return [phase for phase, stretches in hours.items() if stands_in(event, stretches)]


def check(config: SimulatorConfig) -> Bookkeeper:
    market = Market(config)
    raw = b"".join(market.blocks())
    scanned = Scanner(HashKey()).scan(raw)
    assert scanned.rejected == []
    assert scanned.unknown_fields == {}
    assert len(scanned.columns) == config.events
    bookkeeper = Bookkeeper({one.name: one.multiplier for one in market.instruments})
    for line in raw.splitlines():
        bookkeeper.take(line)
    return bookkeeper


# No shrinking: a smaller seed would say nothing more.
@settings(max_examples=6, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    seed=st.integers(0, 2**32),
    minutes=st.sampled_from([5, 45, None]),
    accounts=st.sampled_from([30, 2_000]),
    events=st.integers(1_500, 6_000),
)
def test_background_keeps_every_order_and_position_consistent(
    seed: int, minutes: int | None, accounts: int, events: int
) -> None:
    config = SimulatorConfig(
        events=events, seed=seed, minutes=minutes, accounts=accounts, plants=()
    )
    check(config)


@pytest.mark.parametrize("minutes", [5, None])
def test_plants_keep_every_order_and_position_consistent(minutes: int | None) -> None:
    families = (
        "order_rate.second", "instant_cancels.ratio@0.99", "instant_cancels.count@1.2",
        "futures.large_cancels.size@1", "futures.cancels.index@0.8", "otr.number@1.2",
        "otr.number.no_trades@0.99", "otr.volume", "win_rate.rate@0.99", "many_fills_winner",
        "immediate_orders", "real_money_winner",
    )  # fmt: skip
    book = check(SimulatorConfig(events=18_000, seed=4, minutes=minutes, plants=families))
    assert {order.ended_by for order in book.orders.values()} == {
        "", "its last fill", "order.cancel", "order.reject", "order.expire",
    }  # fmt: skip


LABELS = st.sampled_from(["a", "b", "c"])
SMALL_STEPS = st.one_of(
    st.fixed_dictionaries(
        {"do": st.just("wait"), "s": st.floats(0, 20), "jitter_s": st.floats(0, 9)}
    ),
    st.fixed_dictionaries(
        {
            "do": st.just("enter"), "order": LABELS, "side": st.sampled_from(["buy", "sell"]),
            "lots": st.integers(1, 50), "ticks": st.integers(-9, 30),
            "ticks_more": st.integers(-2, 2), "type": st.sampled_from(["limit", "ioc", "fok"]),
            "who": st.sampled_from(["account", "partner"]),
        },
        optional={"beside": LABELS},
    ),
    st.fixed_dictionaries({"do": st.just("replace"), "order": LABELS, "ticks": st.integers(-5, 5)}),
    st.fixed_dictionaries({"do": st.just("cancel"), "order": LABELS, "all": st.booleans()}),
    st.fixed_dictionaries(
        {"do": st.just("fill"), "order": LABELS, "share": st.floats(0.01, 1)},
        optional={"against": LABELS},
    ),
)  # fmt: skip
REPEATS = st.fixed_dictionaries(
    {
        "do": st.just("repeat"),
        "times": st.integers(1, 30),
        "steps": st.lists(SMALL_STEPS, min_size=1, max_size=6),
    }
)
FILES = st.fixed_dictionaries(
    {
        "name": st.just("tried"),
        "venue": st.sampled_from(sorted(HOURS)),
        "instruments": st.sampled_from(["listed", "quiet", 3]),
        "account": st.sampled_from(["real", "simulated"]),
        "innocent": st.just(True),
        "partner": st.just("stranger"),
        "steps": st.lists(st.one_of(SMALL_STEPS, REPEATS), min_size=1, max_size=6),
    },
    optional={"before_close_s": st.floats(600, 1_200)},
)
BEGUN = [
    {"do": "enter", "order": "a", "side": "buy", "lots": 9, "ticks": 0},
    {"do": "enter", "order": "b", "side": "sell", "lots": 9, "ticks": 0, "who": "partner"},
    {"do": "enter", "order": "c", "side": "buy", "lots": 9, "ticks": 0},
]


@settings(max_examples=40, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(raw=FILES, seed=st.integers(0, 2**32))
def test_plants_from_files_keep_every_order_consistent_or_are_refused(
    raw: dict[str, Any], seed: int
) -> None:
    says = msgspec.convert(raw | {"steps": [*BEGUN, *raw["steps"]]}, PlantFile)
    plant = FilePlant(says, "tried.toml")
    config = SimulatorConfig(events=9_000, accounts=60, seed=seed, plant_files=(plant,))
    refused = refusal_of(plant, config)
    if refused:
        event("refused")
        assert re.match(r"tried\.toml: [\w. '\[\]]+: (\w+: )?expected .+; got .+", refused)
    else:
        event("planted")
        check(config)


def refusal_of(plant: FilePlant, config: SimulatorConfig) -> str:
    try:
        plant.check()
        Market(config).truth()
    except PlantFileError as error:
        return str(error)
    return ""


def naive_realize(fills: list[tuple[int, int, int, int]]) -> list[tuple[Decimal | None, int]]:
    book = Bookkeeper({"0": 1, "1": 1})
    money: dict[tuple[int, int], Decimal] = {}
    out: list[tuple[Decimal | None, int]] = []
    for account, instrument, signed, price in fills:
        event = {
            "account_id": str(account),
            "instrument": str(instrument),
            "side": "buy" if signed > 0 else "sell",
            "quantity": abs(signed),
            "price": Decimal(price) / 100,
        }
        key = (account, instrument)
        held = book.positions.get((str(account), str(instrument)), Position()).held
        earned = book.settle(event)
        money[key] = money.get(key, Decimal(0)) + (earned or 0)
        ended = held != 0 and held * signed < 0 and abs(signed) >= abs(held)
        state = (TRIP_WON if money[key] > 0 else TRIP_LOST) if ended else TRIP_OPEN
        if ended:
            money[key] = Decimal(0)
        out.append((earned, state))
    return out


signed_quantities = st.integers(-9, 9).filter(bool)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 1), signed_quantities, st.integers(1, 50)),
        max_size=40,
    )
)
def test_profit_kernel_equals_the_bookkeeper(fills: list[tuple[int, int, int, int]]) -> None:
    columns = np.array(fills, np.int64).reshape(-1, 4).T.copy()
    gain, closes, trip = realize(*columns)
    for i, (earned, state) in enumerate(naive_realize(fills)):
        assert closes[i] == (earned is not None)
        assert gain[i] == (earned or 0) * 100
        assert trip[i] == state


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 1), st.integers(0, 2), st.integers(0, 2**48 - 1),
            st.integers(-(2**62), 2**62),
        ),
        max_size=20,
    ),
    texts=st.lists(st.text(), min_size=3, max_size=3),
)  # fmt: skip
def test_typesetting_equals_formatting_by_hand(
    rows: list[tuple[int, int, int, int]], texts: list[str]
) -> None:
    typesetter = Typesetter(["a%tb%x%d\n", "%c|%t"])
    first = typesetter.add(texts)
    template = np.array([row[0] for row in rows], np.int64)
    args = np.zeros((len(rows), 3), np.int64)
    expected = ""
    for i, (kind, text, identity, number) in enumerate(rows):
        if kind == 0:
            args[i] = first + text, identity, number
            expected += f"a{texts[text]}b{identity:012x}{number}\n"
        else:
            args[i, :2] = number, first + text
            expected += f"{Decimal(number).scaleb(-2):.2f}|{texts[text]}"
    assert typesetter.fill(template, args).decode() == expected
