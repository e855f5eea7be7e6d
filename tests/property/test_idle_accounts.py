"""Letting go of idle accounts changes no finding, wherever rows are cut and however soon it is."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from detector_kit import (
    DAY_NS,
    START_NS,
    Tape,
    all_rules,
    columns_of,
    feed,
    no_carry,
    reborn,
    rule_of,
    stage_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import messy_days

from detectors.core.features import FEATURE, Features
from detectors.core.stage import AccountStage, StageOutput
from schemas.alerts import Finding
from schemas.columns import EventColumns
from schemas.events import SECOND_NS

CONFIG: dict[str, Any] = {
    "lateness_ns": 2 * SECOND_NS,
    "duplicate_window_ns": 3 * SECOND_NS,
    "order_age_ns": 30 * SECOND_NS,
}
SOON = CONFIG | {"idle_ns": 4 * SECOND_NS}
Event = dict[str, Any]


@st.composite
def messy_weeks(draw: st.DrawFn) -> list[Event]:
    """Draw messy days one after another, with rests of a day or three between them."""
    events: list[Event] = []
    later_ns = 0
    for part in range(draw(st.integers(1, 4))):
        for event in draw(messy_days(size_max=40)):
            moved = event | {"event_time_ns": event["event_time_ns"] + later_ns}
            moved["event_id"] = f"{part}-{event['event_id']}"
            for name in ("valid_from_ns", "valid_until_ns"):
                if isinstance(moved.get(name), int):
                    moved[name] += later_ns
            events.append(moved)
        later_ns += draw(st.sampled_from([DAY_NS, 3 * DAY_NS, 3 * DAY_NS + 7 * SECOND_NS]))
    return events


def by_text(output: StageOutput) -> list[str]:
    return sorted(str(finding) for finding in output.findings)


@given(messy_weeks(), st.lists(st.integers(1, 9), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_no_finding_can_tell_that_accounts_were_let_go(
    events: list[Event], sizes: list[int]
) -> None:
    columns, rules = columns_of(events), all_rules()
    kept = feed(stage_of(rules, **CONFIG), columns)
    stage = stage_of(rules, **SOON)
    let_go = feed(stage, columns)
    parts = feed(stage_of(rules, **SOON), columns, sizes, reborn(rules, **SOON))
    # Verdicts come when their day is looked at, which is no later here.
    assert by_text(let_go) == by_text(kept) == by_text(parts)
    assert let_go.headroom == kept.headroom == parts.headroom


@given(messy_weeks(), st.lists(st.integers(1, 9), min_size=1, max_size=60))
@settings(max_examples=20, deadline=None)
def test_what_is_let_go_does_not_depend_on_batches(events: list[Event], sizes: list[int]) -> None:
    columns, rules = columns_of(events), all_rules()
    counts = []
    for cuts in ([], sizes, [1] * len(events)):
        stage = stage_of(rules, **SOON)
        feed(stage, columns, cuts)
        rows = stage.row_counts()
        del rows["orders"]  # those that are over go whenever room is needed
        counts.append((stage.totals(), rows))
    assert counts[0] == counts[1] == counts[2]


def days_of_strangers(days: int, accounts: int) -> list[Event]:
    """Return days on each of which other accounts trade: each once, flat in the end."""
    tape = Tape()
    for day in range(days):
        for number in range(accounts):
            name, now = f"{day}-{number}", 86_400.0 * day + number
            tape.new(now, name, account_id=name)
            tape.cancel(now + 0.1, name, account_id=name)
            tape.fill(now + 0.2, f"{name}b", account_id=name)
            tape.fill(now + 0.3, f"{name}s", account_id=name, side="sell")
    return tape.events


def test_contracts_and_instruments_go_though_their_account_stays() -> None:
    tape = Tape()
    for day in range(20):
        for k in range(3):
            now, series = 86_400.0 * day + k, f"option-{day}-{k}"
            tape.fill(now, f"b{series}", account_id="maker", instrument=series)
            tape.fill(now + 0.5, f"s{series}", account_id="maker", instrument=series, side="sell")
    rules = all_rules()
    stage = stage_of(rules, idle_ns=DAY_NS, order_age_ns=DAY_NS)
    feed(stage, columns_of(tape.events), [7] * 100)
    counts = stage.row_counts()
    assert counts["accounts"] == 1
    assert counts["contracts"] == counts["instruments"] == len(stage.instrument_names) <= 4 * 3


KEPT = {
    "win_rate",
    "certified_win_rate",
    "dormant_reactivation",
}  # what rules remember for as long as a run lasts


def test_memory_holds_the_accounts_of_late_only() -> None:
    rules = [rule for rule in all_rules() if rule.detector not in KEPT]
    config = {"idle_ns": DAY_NS, "order_age_ns": DAY_NS}
    few, many = (stage_of(rules, **config) for _ in range(2))
    feed(few, columns_of(days_of_strangers(5, 40)), [7] * 10_000)
    feed(many, columns_of(days_of_strangers(25, 40)), [7] * 10_000)
    for table in ("accounts", "contracts", "subjects", "orders"):
        assert many.row_counts()[table] <= few.row_counts()[table] * 1.25, table
    assert len(many.state.accounts.rows) == len(few.state.accounts.rows)
    assert many.totals()["accounts"] + many.totals()["accounts_let_go"] == 25 * 40


def stage_after(events: list[Event], **config: Any) -> AccountStage:
    rules = [rule for rule in all_rules() if rule.detector not in KEPT]
    stage = stage_of(rules, **SOON | config)
    stage.take(columns_of(events), no_carry())
    return stage


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("order.new", {"order_id": "o", "side": "buy", "quantity": 1, "price": 1}),
        ("fill", {"order_id": "o", "fill_id": "f", "side": "buy", "quantity": 1, "price": 1}),
        (
            "position.closed",
            {"opened_ns": START_NS, "quantity": 1, "realized_pnl": 1},
        ),
        (
            "ref.account",
            {"registrations": [{"registration": "hedge", "valid_from_ns": START_NS}]},
        ),
    ],
)
def test_who_holds_something_is_kept(kind: str, fields: dict[str, Any]) -> None:
    tape = Tape()
    place = {"instrument": "I", "venue": "TEST"}
    if kind == "position.closed":
        del place["venue"]
    tape.add(kind, 0, account_id="holder", **fields, **(place if kind != "ref.account" else {}))
    for number in range(4):
        tape.new(4 * 86_400 + 60.0 * number, f"x{number}", account_id="other")
    stage = stage_after(tape.events, order_age_ns=90 * DAY_NS)
    assert (stage.totals()["accounts"], stage.totals()["accounts_let_go"]) == (2, 0)


@pytest.mark.parametrize("claims", [True, False])
def test_who_claimed_something_once_is_kept(claims: bool) -> None:
    tape = Tape()
    tape.new(0, "o", account_id="holder", claims_market_maker=claims)
    tape.cancel(1, "o", account_id="holder")
    for number in range(4):
        tape.new(4 * 86_400 + 60.0 * number, f"x{number}", account_id="other")
    assert stage_after(tape.events).totals()["accounts_let_go"] == (0 if claims else 1)


def test_a_registration_that_ended_is_let_go_with_its_account() -> None:
    tape = Tape()
    until = tape.events
    ended = {"valid_from_ns": START_NS, "valid_until_ns": START_NS + SECOND_NS}
    listed = [{"registration": "hedge", **ended}]
    tape.add("ref.account", 0, account_id="ended", registrations=listed)
    for number in range(4):
        tape.new(4 * 86_400 + 60.0 * number, f"x{number}", account_id="other")
    stage = stage_after(until)
    assert stage.totals()["accounts_let_go"] == 1
    assert stage.state.registrations.free > 0


def test_a_rule_that_says_nothing_keeps_all_for_ever() -> None:
    tape = Tape()
    tape.fill(0, "b", account_id="winner")
    tape.fill(1, "s", account_id="winner", side="sell", price=11)
    for number in range(4):
        tape.new(4 * 86_400 + 60.0 * number, f"x{number}", account_id="other")
    win_rate = {"unit": "round_trip", "simulated_only": False}
    stage = stage_of([rule_of("win_rate", win_rate)], **SOON)
    stage.take(columns_of(tape.events), no_carry())
    assert stage.totals()["accounts_let_go"] == 0
    assert len(stage.subjects[0]) == 1


Counts = dict[str, dict[str, int]]


def features_after(events: list[Event], sizes: list[int], **config: Any) -> tuple[Counts, int]:
    """Return each account's newest features, and how many accounts were let go on the way."""
    held: Counts = {}

    def hand_out(stage: AccountStage) -> AccountStage:
        assert stage.features is not None
        handed = stage.features.hand_out(0, is_last=True)
        if handed is not None:
            for (_, name), row in zip(handed.names, handed.rows, strict=True):
                fields = FEATURE.names or ()
                held[name] = {f: int(row[f]) for f in fields if not f.startswith("name_")}
        return stage

    rules = [rule for rule in all_rules() if rule.detector not in KEPT]
    stage = stage_of(rules, **config, features_every_ns=0)
    feed(stage, columns_of(events), sizes, hand_out)
    return held, stage.totals()["accounts_let_go"]


@given(messy_weeks(), st.lists(st.integers(1, 9), min_size=1, max_size=60))
@settings(max_examples=20, deadline=None)
def test_live_features_begin_anew_by_event_time_alone(
    events: list[Event], sizes: list[int]
) -> None:
    whole, _ = features_after(events, [], **SOON)
    assert features_after(events, sizes, **SOON)[0] == whole


def test_features_of_accounts_that_were_let_go_leave_no_names_behind() -> None:
    events = days_of_strangers(12, 20)
    config = {"idle_ns": DAY_NS, "order_age_ns": DAY_NS}
    held, let_go = features_after(events, [7] * 10_000, **config)
    assert len(held) == 12 * 20
    assert {row["applied"] for row in held.values()} == {4}
    assert let_go > 20


def test_names_of_accounts_that_stay_outlive_those_that_go() -> None:
    features = Features(0, "default")
    columns = columns_of(days_of_strangers(1, 8))
    stage = stage_of([], features_every_ns=0)
    stage.features = features
    stage.take(columns, no_carry())
    features.hand_out(0, is_last=True)
    features.let_go(np.arange(6))
    assert len(features._names) == 2 * len("default-0-6")
    assert set(features._names_at(features._rows[6:8])) == {("default", "0-6"), ("default", "0-7")}


SILENT_NS = 30 * DAY_NS
GAP_NS = 40 * DAY_NS  # beyond it by more than a quarter


def later(events: list[Event], by_ns: int) -> list[Event]:
    """Return the same events as another part of a feed, so much later."""
    moved = []
    for event in events:
        one = event | {"event_time_ns": event["event_time_ns"] + by_ns}
        one["event_id"] = f"later-{event['event_id']}"
        for name in ("valid_from_ns", "valid_until_ns", "opened_ns"):
            if isinstance(one.get(name), int):
                one[name] += by_ns
        moved.append(one)
    return moved


@given(messy_days(), messy_days(), st.lists(st.integers(1, 9), min_size=1, max_size=60))
@settings(max_examples=40, deadline=None)
def test_whoever_was_silent_for_very_long_begins_anew(
    before: list[Event], after: list[Event], sizes: list[int]
) -> None:
    rules, config = all_rules(), CONFIG | {"silent_ns": SILENT_NS}
    after = later(after, GAP_NS)
    alone = feed(stage_of(rules, **config), columns_of(after))
    events = [*before, *two_ticks(GAP_NS), *after]
    # By the time of the next event, whether memory is given back or, without a clock, never.
    for clock, again in product((True, False), (False, True)):
        own = config | {"rows_bring_clock": clock}
        between = reborn(rules, **own) if again else lambda stage: stage
        told = feed(stage_of(rules, **own), columns_of(events), sizes, between)
        of_later = [f for f in told.findings if f.event_time_ns >= START_NS + GAP_NS]
        assert by_words(of_later) == by_words(alone.findings)


def two_ticks(after_ns: int) -> list[Event]:
    """Let somebody else come so much later; a time counts once two rows have reached it."""
    tick = {"kind": "ref.account", "source": "t", "account_id": "Z"}
    both = [tick | {"event_id": f"tick{k}", "event_time_ns": START_NS} for k in (1, 2)]
    return later(both, after_ns)


@pytest.mark.parametrize("rows_bring_clock", [True, False])
def test_one_row_from_a_wrong_clock_forgets_nobody(rows_bring_clock: bool) -> None:
    tape = Tape()
    entry = {"registration": "market_maker", "valid_from_ns": START_NS}
    tape.add("ref.account", 0, account_id="maker", tier="gold", registrations=[entry])
    tape.fill(1, "b", account_id="maker")
    tape.fill(500 * 86_400.0, "wild", account_id="maker")
    for k in range(25):
        tape.new(10.0 + k, f"o{k}", account_id="maker")
        tape.cancel(10.5 + k, f"o{k}", account_id="maker")
    stage = stage_of(all_rules(), silent_ns=400 * DAY_NS, rows_bring_clock=rows_bring_clock)
    feed(stage, columns_of(tape.events), [7] * 100)
    assert stage.totals()["accounts_forgotten"] == stage.totals()["positions_forgotten"] == 0
    assert stage.peers is not None
    assert stage.peers.filed(1).all()


def by_words(findings: list[Finding]) -> list[tuple[str, str, str, str]]:
    return sorted((f.rule.id, f.subject, f.phase, str(f.evidence)) for f in findings)


def test_of_those_who_trade_on_positions_nobody_moved_are_forgotten() -> None:
    tape = Tape()
    tape.fill(0, "old", account_id="holder", instrument="expired")
    for day in range(1, 60):
        tape.fill(86_400.0 * day, f"b{day}", account_id="holder", instrument="held")
    stage = stage_of([], idle_ns=DAY_NS, silent_ns=SILENT_NS, order_age_ns=DAY_NS)
    feed(stage, columns_of(tape.events), [7] * 100)
    assert stage.row_counts()["contracts"] == stage.row_counts()["instruments"] == 1
    assert (stage.totals()["positions_forgotten"], stage.totals()["accounts_forgotten"]) == (1, 0)


def test_whatever_an_account_holds_goes_with_it() -> None:
    tape = Tape()
    tape.add("ref.account", 0, account_id="holder", tier="gold", registrations=[
        {"registration": "hedge", "valid_from_ns": START_NS}
    ])  # fmt: skip
    tape.new(0, "o", account_id="holder", claims_market_maker=True)
    tape.fill(1, "f", account_id="holder")
    for day in range(1, 60):
        tape.new(86_400.0 * day, f"x{day}", account_id="other")
    stage = stage_of(all_rules(), **CONFIG, silent_ns=SILENT_NS, features_every_ns=0)
    handed: list[str] = []

    def hand_out(stage: AccountStage) -> AccountStage:
        assert stage.features is not None
        now = stage.features.hand_out(0, is_last=True)
        handed.extend([] if now is None else [name for _, name in now.names])
        return stage

    feed(stage, columns_of(tape.events), [7] * 100, hand_out)
    assert (stage.totals()["accounts"], stage.totals()["accounts_forgotten"]) == (1, 1)
    assert stage.totals()["positions_forgotten"] == 1
    assert stage.state.registrations.free > 0
    assert stage.peers is not None
    assert not stage.peers.filed(2).any()
    assert handed[0] == "holder"
    assert set(handed[1:]) == {"other"}


def test_memory_is_given_back_after_idle_ns_was_raised() -> None:
    columns = columns_of(days_of_strangers(60, 2))
    first, then = (stage_of([], idle_ns=days * DAY_NS, order_age_ns=DAY_NS) for days in (3, 4))
    feed(first, EventColumns(columns.rows[:160], columns.raw))
    then.restore(first.dump())
    feed(then, EventColumns(columns.rows[160:], columns.raw))
    assert then.totals()["accounts"] <= 2 * 7


REST_DAYS = 45


def rested_and_back(rest_days: int) -> list[Event]:
    """Let A and a stranger trade, others go on every day, and A alone come back to trade much."""
    tape = Tape()
    for name in ("A", "stranger"):
        tape.new(0, name, account_id=name)
        tape.cancel(1, name, account_id=name)
    for day in range(1, rest_days + 1):
        tape.new(86_400.0 * day, f"x{day}", account_id="other")
        tape.cancel(86_400.0 * day + 1, f"x{day}", account_id="other")
    for k in range(6):
        tape.new(86_400.0 * rest_days + 10 + k, f"o{k}", account_id="A")
    return tape.events


@pytest.mark.parametrize("sizes", [[], [7] * 100, [1] * 400], ids=["whole", "sevens", "ones"])
@pytest.mark.parametrize(
    ("config", "found", "held"),
    [
        ({}, 1, 3),
        ({"idle_ns": DAY_NS}, 1, 3),
        ({"idle_ns": DAY_NS, "silent_ns": (REST_DAYS + 1) * DAY_NS}, 1, 3),
        ({"idle_ns": DAY_NS, "silent_ns": (REST_DAYS - 1) * DAY_NS}, 0, 3),
        ({"idle_ns": DAY_NS, "silent_ns": REST_DAYS // 2 * DAY_NS}, 0, 2),
    ],
    ids=["kept", "idle", "idle, not yet silent", "silent just now", "silent"],
)
def test_who_rested_is_known_again_until_it_begins_anew(
    config: dict[str, Any], found: int, held: int, sizes: list[int]
) -> None:
    """What is remembered of a resting account goes with the account, and not before."""
    figures = {"dormant_min_ns": 30 * DAY_NS, "orders_min": 5}
    rules = [rule_of("dormant_reactivation", figures)]
    config = {"order_age_ns": DAY_NS} | config
    resume, stages = reborn(rules, **config), [stage_of(rules, **config)]

    def between(stage: AccountStage) -> AccountStage:
        stages.append(resume(stage))
        return stages[-1]

    output = feed(stages[0], columns_of(rested_and_back(REST_DAYS)), sizes, between)
    assert len(stages[-1].subjects[0]) == held
    told = [(finding.account_id, finding.evidence["orders"]) for finding in output.findings]
    assert told == [("A", 5)] * found


def test_a_late_row_ends_no_silence() -> None:
    tape, other_lane = Tape(), Tape()
    listed = [{"registration": "hedge", "valid_from_ns": START_NS}]
    tape.add("ref.account", 0, account_id="holder", registrations=listed)
    for number in range(3):
        tape.new(33 * 86_400 + number, f"x{number}", account_id="other")
    tape.new(31 * 86_400, "late", account_id="holder")
    stage = stage_of([], **CONFIG, silent_ns=SILENT_NS)
    stage.take(columns_of(tape.events), no_carry())
    stage.state.turn_to(1)
    other_lane.new(29 * 86_400, "in time", account_id="holder")
    stage.take(columns_of(other_lane.events), no_carry())
    assert (stage.totals()["late"], stage.totals()["accounts_forgotten"]) == (1, 0)
