import json
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from statistics import mean, pvariance
from typing import Any

import msgspec
import naive_rules
import pytest

from lab.simulator import Market, SimulatorConfig, Truth, plant_names
from lab.simulator.lookalikes import LOOK_ALIKES
from lab.simulator.plants import FAMILIES

HEAVY = {family.name for family in FAMILIES if family.heavy}
CLOSING = {one.name for one in (*FAMILIES, *LOOK_ALIKES) if one.closing}
LIGHT = tuple(name for name in plant_names() if name not in HEAVY | CLOSING)
STRENGTHS = (0.8, 0.99, 1.0, 1.2, 3.0)
PLANTED = SimulatorConfig(events=100_000, seed=11, accounts=4_000, minutes=60, plants=LIGHT)
# As many events an account as a config may ask for, nearly.
CROWDED = SimulatorConfig(events=45_000, seed=12, accounts=50, plants=())


@cache
def lines_of(config: SimulatorConfig) -> list[bytes]:
    return b"".join(Market(config).blocks()).splitlines()


@cache
def events_of(config: SimulatorConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(config)]


@cache
def truth_of(config: SimulatorConfig) -> list[Truth]:
    return Market(config).truth()


@cache
def facts_of(config: SimulatorConfig) -> list[naive_rules.Fact]:
    return naive_rules.read_facts(lines_of(config))


def expected_of(truth: list[Truth]) -> dict[str, set[str]]:
    expected: dict[str, set[str]] = defaultdict(set)
    for one in truth:
        for rule in one.expected_rules:
            expected[rule].add(one.account_id)
    return expected


@pytest.mark.parametrize("at_close", [False, True], ids=["at any moment", "at the close"])
def test_truth_equals_naive_counting_of_every_rule(at_close: bool) -> None:
    found = naive_rules.evaluate_facts(facts_of(PLANTED), at_close=at_close)
    expected = expected_of(truth_of(PLANTED))
    assert {rule: found[rule] ^ expected[rule] for rule in found} == {rule: set() for rule in found}
    assert {rule for rule in found if not found[rule]} == {
        family.rule for family in FAMILIES if family.heavy or family.closing
    }


def test_twenty_thousand_a_day_is_planted_on_demand() -> None:
    config = SimulatorConfig(
        events=48_000, accounts=300, minutes=6, plants=("order_rate.day@0.99", "order_rate.day@1")
    )
    facts = facts_of(config)
    below, reached = sorted(truth_of(config), key=lambda one: one.strength)
    assert below.expected_rules == ()
    assert reached.expected_rules == ("cn.order_rate.day",)
    found = naive_rules.evaluate_facts(facts, at_close=False)
    assert found == expected_of([reached]) | {
        rule: set() for rule in found if rule != "cn.order_rate.day"
    }


def test_seconds_near_the_threshold_are_planted_on_demand() -> None:
    config = SimulatorConfig(
        events=24_000, accounts=300, minutes=6, plants=("busy_seconds.near_threshold",)
    )
    expected = expected_of(truth_of(config))
    assert list(expected) == ["cn.order_rate.near_threshold"]
    assert len(expected["cn.order_rate.near_threshold"]) == 3
    found = naive_rules.evaluate_facts(facts_of(config), at_close=False)
    assert {rule: accounts for rule, accounts in found.items() if accounts} == expected


def test_the_last_minutes_are_planted_on_whole_days() -> None:
    config = SimulatorConfig(events=12_000, seed=6, accounts=600, plants=tuple(sorted(CLOSING)))
    expected = expected_of(truth_of(config))
    assert {rule: len(accounts) for rule, accounts in expected.items()} == {
        "surveillance.marking_the_close.cn": 3 + 5, "surveillance.marking_the_close.eu": 3,
    }  # fmt: skip
    found = naive_rules.evaluate_facts(facts_of(config), at_close=False)
    assert {rule: accounts for rule, accounts in found.items() if accounts} == expected


def test_what_must_fit_into_a_few_minutes_is_as_fast_as_a_programme() -> None:
    config = SimulatorConfig(
        events=16_000, accounts=300, minutes=5, plants=("futures.cancels", "hedger")
    )
    expected = expected_of(truth_of(config))
    assert len(expected["cn.futures.programme_reporting"]) > 2
    found = naive_rules.evaluate_facts(facts_of(config), at_close=False)
    assert {rule: accounts for rule, accounts in found.items() if accounts} == expected


def test_every_family_stands_at_every_strength_and_alerts_by_its_own_rule() -> None:
    planted = Counter(
        (one.behaviour, one.strength) for one in truth_of(PLANTED) if not one.innocent
    )
    families = {f.name: f for f in FAMILIES if f.name not in HEAVY | CLOSING}
    assert planted == {
        (name, strength): 2 if family.linked else 1
        for name, family in families.items()
        for strength in STRENGTHS
    }
    for one in truth_of(PLANTED):
        if one.innocent:
            continue
        family = families[one.behaviour]
        above = one.reached > 1 if family.strict else one.reached >= 1
        assert one.expected_rules == ((family.rule,) if above else ())
        assert (one.reached < 1) == (one.strength < 1)
        assert one.registered is False


@pytest.mark.parametrize(
    ("name", "alerting"),
    [
        ("otr.number", {1.2, 3.0}),
        ("win_rate.rate", {1.2, 3.0}),
        ("futures.cancels", {1.0, 1.2, 3.0}),
    ],
)
def test_a_strict_figure_is_not_reached_by_equalling_it(name: str, alerting: set[float]) -> None:
    of_name = [one for one in truth_of(PLANTED) if one.behaviour == name]
    assert {one.strength for one in of_name if one.expected_rules} == alerting


def test_look_alikes_alert_unless_a_registration_applies() -> None:
    variants: dict[str, dict[str, tuple[bool, bool]]] = defaultdict(dict)
    for one in truth_of(PLANTED):
        if one.variant:
            variants[one.behaviour][one.variant] = (one.registered, bool(one.expected_rules))
    assert set(variants) == {
        "crossing_maker", "equity_maker", "futures_maker", "hedger", "house_maker",
        "liquidity_provider", "quoting_maker",
    }  # fmt: skip
    for outcomes in variants.values():
        for variant, outcome in outcomes.items():
            exempt = variant in {"registered", "registered_instrument"}
            assert outcome == (exempt, not exempt)


def test_users_of_immediate_orders_and_the_lucky_never_alert() -> None:
    never = {
        "immediate_orders", "immediate_orders_futures", "lucky_winner", "real_money_winner",
        "many_fills_winner", "usual_counterparties", "busy_counterparties", "worked_order",
        "ladder", "probing_trader",
    }  # fmt: skip
    found = [one for one in truth_of(PLANTED) if one.behaviour in never]
    assert {one.behaviour for one in found} == never
    assert all(one.innocent and one.expected_rules == () for one in found)


def test_many_fills_would_win_by_fill_and_not_by_round_trip() -> None:
    (winner,) = [one for one in truth_of(PLANTED) if one.behaviour == "many_fills_winner"]
    gains = [
        event["realized_pnl"]
        for event in events_of(PLANTED)
        if event.get("account_id") == winner.account_id and "realized_pnl" in event
    ]
    assert len(gains) == 108
    assert min(gains) > 0


def test_ordinary_accounts_stay_far_from_every_figure() -> None:
    facts = facts_of(CROWDED)
    found = naive_rules.evaluate_facts(facts, at_close=False)
    assert found == {rule: set() for rule in found}
    entered, cancelled = Counter[str](), Counter[str]()
    by_contract = Counter[tuple[str, str]]()
    for fact in facts:
        entered[fact.account] += fact.kind == "order.new"
        cancelled[fact.account] += fact.customer_cancel
        by_contract[fact.account, fact.instrument] += fact.customer_cancel
    busy = [account for account in entered if entered[account] >= 50]
    assert len(busy) > 30
    assert max(cancelled[account] / entered[account] for account in busy) < 0.60
    assert max(by_contract.values()) < 250
    assert naive_rules.order_rate_second(facts, figure=30) == set()
    assert naive_rules.order_rate_day(facts, figure=10_000) == set()
    assert naive_rules.programme_reporting(facts, actions_min=4) == set()
    assert naive_rules.order_to_trade(facts, 20, by_volume=False)[0] == set()
    assert naive_rules.order_to_trade(facts, 100, by_volume=True)[0] == set()


def test_ordinary_accounts_go_long_in_stocks_and_both_ways_in_futures() -> None:
    held: dict[tuple[str, str], Any] = defaultdict(int)
    flat, short = Counter[str](), Counter[str]()
    for fact in facts_of(CROWDED):
        if fact.kind == "fill":
            key = (fact.account, fact.instrument)
            held[key] += fact.quantity if fact.side == "buy" else -fact.quantity
            short[fact.venue] += held[key] < 0
            flat[fact.venue] += held[key] == 0
    assert {venue for venue in short if short[venue]} == {"CCFX", "XSGE"}
    assert all(flat[venue] > 100 for venue in ("XSHG", "CCFX", "XSGE", "XPAR"))


def test_ordinary_trades_are_won_about_as_often_as_lost() -> None:
    gains = [e["realized_pnl"] for e in events_of(CROWDED) if e.get("realized_pnl")]
    assert 0.45 < mean(gain > 0 for gain in gains) < 0.62


def test_simulated_accounts_that_would_win_by_luck_trade_real_money() -> None:
    # With this seed chance alone would lift one simulated account above the share allowed.
    facts = facts_of(SimulatorConfig(events=12_000, seed=47, accounts=120, plants=()))
    earned: dict[str, list[bool]] = defaultdict(list)
    fills: dict[tuple[str, str], list[naive_rules.Fact]] = defaultdict(list)
    for fact in facts:
        if fact.kind == "fill" and fact.simulated:
            of_contract = fills[fact.account, fact.instrument]
            before = len(naive_rules.closed_round_trips(of_contract))
            of_contract.append(fact)
            closed = naive_rules.closed_round_trips(of_contract)[before:]
            earned[fact.account] += [amount > 0 for amount in closed]
            won = earned[fact.account]
            assert len(won) < 8 or mean(won) <= 0.85
    assert max(map(len, earned.values())) >= 15


def test_arrivals_are_clustered_and_busier_at_the_open_than_at_noon() -> None:
    seconds = Counter(
        event["event_time_ns"] // 10**9
        for event in events_of(CROWDED)
        if event["kind"] == "order.new" and event["source"] == "sim-xshg"
    )
    start = 1_772_587_800  # 09:30 in Shanghai
    morning = [seconds[start + i] for i in range(7_200)]
    ten_seconds = [sum(morning[i : i + 10]) for i in range(0, 7_200, 10)]
    assert pvariance(ten_seconds) / mean(ten_seconds) > 1.5
    assert sum(morning[:1_800]) > 1.3 * sum(morning[-1_800:])


def test_the_same_config_gives_the_same_bytes_and_another_seed_others() -> None:
    config = SimulatorConfig(events=9_000, accounts=400, minutes=10)
    first = b"".join(Market(config).blocks())
    assert b"".join(Market(config).blocks()) == first
    assert b"".join(Market(msgspec.structs.replace(config, seed=2)).blocks()) != first
    assert Market(config).truth() == Market(config).truth()


@pytest.mark.parametrize("block_rows", [1, 7, 1_000, 50_000])
def test_block_size_changes_nothing_but_the_cuts(block_rows: int) -> None:
    market = Market(SimulatorConfig(events=2_500, accounts=200, minutes=10))
    blocks = list(market.blocks(block_rows))
    assert b"".join(blocks) == b"".join(market.blocks())
    assert all(block.endswith(b"\n") for block in blocks)
    assert {block.count(b"\n") for block in blocks[:-1]} <= {block_rows}


def test_written_files_hold_the_day_and_its_truth(tmp_path: Path) -> None:
    config = SimulatorConfig(events=20_000, accounts=1_000, minutes=30)
    progress: list[int] = []
    out, truth = tmp_path / "day.ndjson", tmp_path / "truth.ndjson"
    Market(config).write(out, truth, progress.append)
    assert out.read_bytes().splitlines() == lines_of(config)
    assert progress == [16_384, 20_000]
    decoded = [msgspec.json.decode(line, type=Truth) for line in truth.read_bytes().splitlines()]
    assert decoded == truth_of(config)
    assert list(json.loads(truth.read_bytes().splitlines()[0]))[:7] == [
        "account_id", "behaviour", "strength", "innocent", "registered", "start_ns", "end_ns",
    ]  # fmt: skip
    assert sorted(tmp_path.iterdir()) == [out, truth]


def test_the_default_plants_take_at_most_half_of_the_events() -> None:
    small = truth_of(SimulatorConfig(events=3_000, accounts=500, minutes=10))
    large = truth_of(SimulatorConfig(events=20_000, accounts=1_000, minutes=30))
    assert 0 < len(small) < len(large)
    assert not any(one.behaviour == "order_rate.day" for one in large)


def test_prevalence_sets_the_share_of_abusive_accounts() -> None:
    config = SimulatorConfig(
        events=9_000, accounts=1_000, plants=("win_rate.units", "hedger"), prevalence=0.007
    )
    truth = truth_of(config)
    assert sum(not one.innocent for one in truth) == 7
    assert len(truth) == 13


def test_plants_show_within_their_stated_span() -> None:
    times: dict[str, list[int]] = defaultdict(list)
    for event in events_of(PLANTED):
        if event["kind"] == "order.new":
            times[event["account_id"]].append(event["event_time_ns"])
    for one in truth_of(PLANTED):
        assert one.start_ns in times[one.account_id]
        inside = sum(one.start_ns <= t <= one.end_ns for t in times[one.account_id])
        assert inside >= len(times[one.account_id]) / 4


def test_ids_and_fields_reveal_no_role() -> None:
    planted = {one.account_id for one in truth_of(PLANTED)}
    fields: dict[bool, dict[str, set[str]]] = {True: defaultdict(set), False: defaultdict(set)}
    ranks: dict[str, dict[bool, set[float]]] = defaultdict(lambda: {True: set(), False: set()})
    ids: dict[bool, set[str]] = {True: set(), False: set()}
    for event in events_of(PLANTED):
        if "account_id" not in event:
            continue
        role = event["account_id"] in planted
        ids[role].add(event["account_id"])
        fields[role][event["kind"]] |= set(event)
        for name in ("event_id", "order_id"):
            if name in event:
                assert len(event[name]) == 12
                ranks[name][role].add(int(event[name], 16) / 2**48)
    for kind, names in fields[True].items():
        assert names <= fields[False][kind], kind
    ranks["account_id"] = {role: {int(i, 16) / 2**48 for i in ids[role]} for role in ids}
    for by_role in ranks.values():
        for values in by_role.values():
            assert abs(mean(values) - 0.5) < 4 * 0.289 / len(values) ** 0.5
    on_file = [e for e in events_of(PLANTED) if e["kind"] == "ref.account"]
    assert sum(e["account_id"] not in planted for e in on_file) > 10 * len(planted & ids[True]) / 4
    assert any(e["registrations"] for e in on_file if e["account_id"] not in planted)


def test_planted_accounts_trade_ordinarily_too() -> None:
    held = defaultdict(set)
    for fact in facts_of(PLANTED):
        held[fact.account].add((fact.venue, fact.instrument))
    abusive = [one.account_id for one in truth_of(PLANTED)]
    assert mean(len(held[account]) > 3 for account in abusive) > 0.6


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"events": 0}, "at least 1 event"),
        ({"events": 200_000, "accounts": 100}, "at least 201 accounts"),
        ({"instruments": 20}, "ask for 108 or more"),
        ({"minutes": 4}, "at least 5 minutes"),
        ({"trading_date": "2026-03-07"}, "is closed on 2026-03-07"),
        ({"trading_date": "7 March"}, "not a date like 2026-03-04"),
        ({"prevalence": 1.5}, "between 0 and 1"),
        ({"strengths": (0.0,)}, "above 0"),
    ],
)
def test_a_config_that_cannot_be_is_refused_with_what_to_change(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Market(SimulatorConfig(**changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"plants": ("spoofing",)}, "no plant is called 'spoofing'; choose from"),
        ({"plants": ("otr.number@high",)}, "write 1.2"),
        ({"plants": ("order_rate.day",), "events": 5_000}, "more events or fewer plants"),
        ({"plants": ("hedger",), "accounts": 5}, "more accounts or fewer plants"),
        ({"plants": ("late_buyer",), "minutes": 60}, "before the close; leave minutes out"),
        ({"plants": ("ramping.move",), "strengths": (1.0,) * 30}, "no quiet stock left on XSHG"),
    ],
)
def test_plants_that_cannot_be_made_are_refused_with_what_to_change(
    changes: dict[str, Any], sentence: str
) -> None:
    market = Market(SimulatorConfig(**({"events": 4_000, "accounts": 100} | changes)))
    with pytest.raises(ValueError, match=sentence):
        market.truth()
