"""Plant files: mixed into a day like the others, or refused with file, key, expected and got."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command import caller

from lab.simulator import Market, PlantFileError, SimulatorConfig, load_plants
from lab.simulator.plant_files import FilePlant, read_plant
from lab.simulator.plant_steps import unroll
from schemas.events import SECOND_NS

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "docs" / "how-to" / "plants"
SMALL = """\
name = "small"
venue = "XSHG"
innocent = false
rules = ["cn.instant_cancels"]
strength = { scales = "rounds" }

[[steps]]
do = "repeat"
name = "rounds"
times = 10
steps = [
    { do = "enter", order = "a", side = "buy", lots = 4 },
    { do = "wait", s = 0.5 },
    { do = "replace", order = "a", ticks = 2 },
    { do = "fill", order = "a", share = 0.5 },
    { do = "cancel", order = "a" },
    { do = "wait", s = 20, jitter_s = 10 },
]
"""
PAIR = """\
name = "pair"
venue = "CCFX"
innocent = false
partner = "owner"
rules = ["cn.futures.self_trading"]

[[steps]]
do = "repeat"
times = 5
steps = [
    { do = "enter", order = "a", side = "sell", lots = 3, ticks = 0 },
    { do = "enter", order = "b", side = "buy", lots = 3, ticks = 0, beside = "a", who = "partner" },
    { do = "fill", order = "b", against = "a" },
    { do = "wait", s = 9 },
]
"""


def plant_of(text: str) -> FilePlant:
    return read_plant(text.encode(), "my.toml")


def day_of(*plants: FilePlant, seed: int = 3, **more: Any) -> Market:
    return Market(
        SimulatorConfig(events=3_000, accounts=100, seed=seed, plant_files=plants, **more)
    )


def try_days(text: str) -> None:
    """Plant it on days of several seeds: only some stocks cost less than 900 ticks."""
    for seed in range(12):
        day_of(plant_of(text), seed=seed).truth()


def own_events(market: Market, account_id: str) -> list[dict[str, Any]]:
    lines = b"".join(market.blocks()).splitlines()
    events = [json.loads(line) for line in lines]
    return [e for e in events if e.get("account_id") == account_id and "order_id" in e]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("lots = 4", "lots = 0", "steps[0].steps[0].lots: expected `int` >= 1; got 0"),
        ("lots = 4", "lots = 1.5", "steps[0].steps[0].lots: expected `int`; got 1.5"),
        ("lots = 4", "lot = 4", "steps[0].steps[0].lot: expected one of do, order, side, lots, "),
        (", lots = 4", "", "steps[0].steps[0].lots: expected a value; got none"),
        ('"enter"', '"entr"', ("steps[0].steps[0].do: expected wait, enter, replace, cancel, fill, "
                              "repeat; got 'entr'")),
        ('"buy"', '"by"', "steps[0].steps[0].side: expected 'buy' or 'sell'; got 'by'"),
        ('"XSHG"', '"XLON"', "venue: expected 'XSHG', 'CCFX', 'XSGE' or 'XPAR'; got 'XLON'"),
        ("innocent = false", "innocent = 0", "innocent: expected `bool`; got 0"),
        ("innocent = false", "innocent = true", "rules: expected none, as the plant is innocent"),
        ('rules = ["cn.instant_cancels"]', "", "rules: expected the rules that alert on it"),
        ('{ scales = "rounds" }', '{ scales = "turns" }', "strength.scales: expected the name of"),
        ('{ scales = "rounds" }', '{ scale = "rounds" }', "strength.scale: expected one of scales"),
        ('order = "a", ticks', 'order = "b", ticks', ("steps[0].steps[2].order: expected an order "
                                                    "that is open then; got 'b'")),
        ("share = 0.5", "share = 1.0", "steps[0].steps[4].order: expected an order that is open"),
        ("lots = 4", 'lots = 4, who = "partner"', "steps[0].steps[0].who: expected 'account'"),
        ("lots = 4", "lots = 4, instrument = 1", ("steps[0].steps[0].instrument: expected a number "
                                                 "below 1; got 1")),
        ("lots = 4", 'lots = 4, type = "fok"', "steps[0].steps[3].share: expected all of a fok"),
        ('venue = "XSHG"', 'venue = "XSGE"\ninstruments = "quiet"', "instruments: expected"),
        ("s = 20", "s = 9000", "steps: expected less than 14,220 s, as XSHG trades; got "),
        ("ticks = 2", "ticks = -900", "a price above 0; got -"),
        ("name", "= name", "expected TOML; got: "),
    ],
)  # fmt: skip
def test_a_mistake_names_file_key_expected_and_got(before: str, after: str, said: str) -> None:
    assert before in SMALL
    with pytest.raises(PlantFileError) as refused:
        try_days(SMALL.replace(before, after, 1))
    assert str(refused.value).startswith("my.toml: ")
    assert said in str(refused.value)


def test_steps_are_what_the_file_says() -> None:
    acts = unroll(plant_of(SMALL), 1.0, seed=0)
    assert [act.step.__struct_config__.tag for act in acts] == [
        "enter", "replace", "fill", "cancel",
    ] * 10  # fmt: skip
    assert [act.lots for act in acts[:4]] == [4, 0, 2, 0]
    ages = [acts[i + 3].offset_ns - acts[i].offset_ns for i in range(0, 40, 4)]
    assert all(SECOND_NS // 2 <= age < SECOND_NS // 2 + 10 for age in ages)
    gaps = [acts[i].offset_ns - acts[i - 1].offset_ns for i in range(4, 40, 4)]
    assert min(gaps) >= 20 * SECOND_NS
    assert max(gaps) <= 30 * SECOND_NS + 10
    assert len(set(gaps)) > 5


def test_strength_multiplies_what_it_names() -> None:
    plant = plant_of(SMALL)
    counts = {one: len(unroll(plant, one, 0)) // 4 for one in plant.strengths}
    assert counts == {0.8: 8, 0.99: 9, 1.0: 10, 1.2: 12, 3.0: 30}
    by_lots = plant_of(SMALL.replace('"rounds" }', '"a", at = [0.5, 2] }'))
    assert [unroll(by_lots, one, 0)[0].lots for one in by_lots.strengths] == [2, 8]


def test_a_file_is_planted_and_stands_in_the_truth() -> None:
    market = day_of(plant_of(SMALL))
    truth = {one.strength: one for one in market.truth()}
    assert sorted(truth) == [0.8, 0.99, 1.0, 1.2, 3.0]
    assert [truth[one].expected_rules for one in (0.99, 1.0)] == [(), ("cn.instant_cancels",)]
    assert truth[0.99].reached == 0.9
    for strength, one in truth.items():
        assert (one.behaviour, one.innocent) == ("small", False)
        events = [e for e in own_events(market, one.account_id) if e["source"] == "sim-xshg"]
        kinds = [e["kind"] for e in events]
        times = {0.8: 8, 0.99: 9, 1.0: 10, 1.2: 12, 3.0: 30}[strength]
        assert kinds == ["order.new", "order.replace", "fill", "order.cancel"] * times
        assert len({e["instrument"] for e in events if e["kind"] == "order.new"}) == 1
        assert one.start_ns == events[0]["event_time_ns"]
        assert one.end_ns == events[-1]["event_time_ns"]


def test_rounds_take_instruments_by_turns() -> None:
    plant = plant_of(SMALL.replace("innocent", "instruments = 4\ninnocent"))
    market = day_of(plant)
    who = market.truth()[0].account_id
    news = [e for e in own_events(market, who) if e["kind"] == "order.new"]
    names = [e["instrument"] for e in news if e["source"] == "sim-xshg"]
    assert len(set(names)) == 4
    assert names[:4] * 2 == names[:8]


def test_partners_trade_with_each_other_and_have_one_owner() -> None:
    market = day_of(plant_of(PAIR))
    first, second = market.truth()
    fills = [e for e in own_events(market, first.account_id) if e["kind"] == "fill"]
    other = [e for e in own_events(market, second.account_id) if e["kind"] == "fill"]
    assert {e["fill_id"] for e in fills} & {e["fill_id"] for e in other}
    files = [json.loads(line) for line in b"".join(market.blocks()).splitlines()]
    owners = [e for e in files if e["kind"] == "ref.account"]
    named = {e["account_id"]: e.get("beneficial_owner") for e in owners}
    assert named[first.account_id] == named[second.account_id] is not None


def test_a_partner_must_do_something() -> None:
    with pytest.raises(PlantFileError, match="an order of each account"):
        unroll(plant_of(SMALL.replace("innocent", 'partner = "group"\ninnocent')), 1.0, 0)


def test_a_plant_before_the_close_ends_before_it() -> None:
    text = SMALL.replace("innocent", "before_close_s = 1200\ninnocent")
    market = day_of(plant_of(text))
    session = market.sessions[0]
    close_ns = int(session.wall_ns[-2]) + (session.close_ns - int(session.offset_ns[-2]))
    for one in market.truth():
        assert one.start_ns == close_ns - 1_200 * SECOND_NS
        assert one.end_ns < close_ns
    with pytest.raises(ValueError, match="leave minutes out"):
        day_of(plant_of(text), minutes=30).truth()
    with pytest.raises(PlantFileError, match=r"before_close_s: expected .* got 100"):
        day_of(plant_of(text.replace("1200", "100"))).truth()


def test_breaks_cut_no_short_round_in_two() -> None:
    text = SMALL.replace("s = 20, jitter_s = 10", "s = 300, jitter_s = 30")
    text = text.replace("s = 0.5", "s = 120").replace('"rounds" }', '"rounds", at = [3] }')
    for seed in range(8):
        market = day_of(plant_of(text), seed=seed)
        (one,) = market.truth()
        events = [e for e in own_events(market, one.account_id) if e["source"] == "sim-xshg"]
        for entered, ended in zip(events[::4], events[3::4], strict=True):
            assert ended["event_time_ns"] - entered["event_time_ns"] < 121 * SECOND_NS


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    plant = plant_of(SMALL)
    assert b"".join(day_of(plant).blocks()) == b"".join(day_of(plant).blocks())
    assert b"".join(day_of(plant).blocks()) != b"".join(day_of(plant, seed=4).blocks())


def test_names_and_files_are_planted_together() -> None:
    market = day_of(plant_of(SMALL), plants=("win_rate.units@1",))
    assert {one.behaviour for one in market.truth()} == {"small", "win_rate.units"}


@pytest.mark.parametrize("name", ["small", "win_rate.units"])
def test_a_name_is_a_plants_own(name: str) -> None:
    one, two = plant_of(SMALL), plant_of(SMALL.replace('"small"', f'"{name}"', 1))
    with pytest.raises(PlantFileError, match="a name of its own"):
        day_of(one, two).truth()


def test_a_folder_gives_its_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(SMALL)
    (tmp_path / "a.toml").write_text(PAIR)
    (tmp_path / "notes.txt").write_text("not a plant")
    assert [one.name for one in load_plants(tmp_path)] == ["pair", "small"]
    assert [one.name for one in load_plants(tmp_path / "b.toml")] == ["small"]
    (tmp_path / "c.toml").write_text(SMALL)
    with pytest.raises(PlantFileError, match=r"c\.toml: name: expected a name of its own"):
        load_plants(tmp_path)
    with pytest.raises(PlantFileError, match="got none"):
        load_plants(tmp_path / "nowhere")


def test_the_plants_that_are_shown_are_those_that_are_shipped() -> None:
    page = (SHIPPED.parent / "add-plants.md").read_text(encoding="utf-8")
    shown = dict(
        re.findall(
            r"cat > my-plants/(\w+\.toml) <<'EOF'\n(.*?)^EOF$", page, re.MULTILINE | re.DOTALL
        )
    )
    shipped = {one.name: one.read_text(encoding="utf-8") for one in SHIPPED.glob("*.toml")}
    assert shown == shipped
    assert len(load_plants(SHIPPED)) == len(shown) == 3


def test_the_command_plants_files_beside_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "small.toml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    common = ("simulate", "--events", 4_000, "--accounts", 200, "--out", "day.ndjson")
    assert call(*common, "--plants", "mine,win_rate.units@1.2").code == 0
    lines = (tmp_path / "day.ndjson.truth").read_text().splitlines()
    planted = [json.loads(line)["behaviour"] for line in lines]
    assert sorted(planted) == ["small"] * 5 + ["win_rate.units"]
    (tmp_path / "mine" / "small.toml").write_text(SMALL.replace("cn.instant", "cn.instand"))
    refused = call(*common, "--plants", "mine/small.toml")
    assert refused.code == 2
    assert "mine/small.toml: rules: expected some of " in " ".join(refused.err.split())
    assert call(*common, "--plants", "nowhere/").code == 2
