"""Tests on shares of orders: what is fixed at a close, what is told, and when nothing is."""

from typing import Any

import numpy as np
import pytest
from detector_kit import END_NS, Tape, columns_of, no_carry, rule_of, stage_of

from detectors.core.account_state import ACCOUNT
from detectors.core.contract import HEADROOM, MARKET_MAKER, NEW, STEP, Findings, Fixed
from detectors.core.memory import FindingBuffer, SubjectState
from detectors.core.peer_stage import UNIT_STEP
from detectors.core.registry import build_detector
from detectors.core.share_kernels import GROUP
from detectors.core.tallier import Tallier
from detectors.core.tallies import (
    DAY,
    LIFETIME_BINS,
    NAME,
    UNIT,
    lifetime_below_ms,
    lifetime_bin,
)

DAY_NS = 86_400 * 10**9
START_NS = 20_516 * DAY_NS
ACCOUNTS, UNITS = 40, 60


class Days:
    """A test, fed a day at a time."""

    def __init__(self, name: str = "certified_cancels", **parameters: Any) -> None:
        self.test = build_detector(rule_of(name, parameters), 0)
        self.state = SubjectState.of(self.test.state_dtype, self.test.recent, GROUP)
        self.state.shared = np.zeros(4, GROUP)
        self.day = 0

    def units(self, hits: Any) -> Any:
        """Make units of a day: ``hits`` has shape (accounts, units), of ten orders each."""
        accounts, each = hits.shape
        units = np.zeros(hits.size, UNIT_STEP)
        units["account"] = np.tile(np.arange(accounts), each)
        units["kind"], units["orders"] = UNIT, 10
        units["canceled"] = hits.T.reshape(-1)
        units["lifetimes"][:, 3] = units["canceled"]
        units["day"] = 20_516 + self.day
        begin_ns = START_NS + self.day * DAY_NS
        units["time_ns"] = begin_ns + (1 + np.arange(hits.size)) * 10**9
        units["begin_ns"] = units["time_ns"] - 1
        units["position"] = np.arange(hits.size)
        units["day_end_ns"] = begin_ns + DAY_NS
        return units

    def take(self, units: Any) -> Findings:
        self.state.reserve(1_000, len(units), uses_pool=False)
        out = FindingBuffer.of(2 * len(units))
        self.test.update(units, self.state, out)
        return out.take()

    def close(self) -> Fixed:
        self.day += 1
        (fixed,) = self.test.fix(self.state, START_NS + self.day * DAY_NS)
        return fixed

    def past(self, rate: float = 0.3, days: int = 3) -> Fixed:
        """Have all accounts cancel as they please for some days."""
        rng = np.random.default_rng(7)
        for _ in range(days):
            self.take(self.units(rng.binomial(10, rate, (ACCOUNTS, UNITS))))
            fixed = self.close()
        return fixed


def alarms(found: Findings) -> Findings:
    return found[found["phase"] != HEADROOM]


def test_a_bound_is_claimed_once_there_is_a_past_and_enough_peers() -> None:
    days = Days()
    assert days.past(days=1).claim == "few buckets"
    fixed = days.past(days=1)
    assert (fixed.claim, fixed.tested, fixed.bucket_orders) == ("claimed", ACCOUNTS, 10)
    assert fixed.accounts == fixed.with_past == ACCOUNTS
    assert fixed.budget_ppt == round(5 / (7 * 1.1 * ACCOUNTS) * 1e12)
    assert Days(peers_min=ACCOUNTS + 1).past().claim == "few peers"
    assert Days(baseline_units_min=10_000).past().tested == 0


def test_nulls_are_the_largest_of_floor_peers_and_own_past() -> None:
    days = Days(null_rate=0.4)
    rng = np.random.default_rng(3)
    rates = np.where(np.arange(ACCOUNTS) < 4, 0.7, 0.2)[:, None]
    for _ in range(3):
        hits = rng.binomial(10, rates, (ACCOUNTS, UNITS))
        days.take(days.units(hits))
        fixed = days.close()
    assert fixed.peer_ppm is not None
    assert 650_000 < fixed.peer_ppm < 750_000, "four of forty are more than one in twenty"
    nulls = days.state.rows["null_next"][: days.state.used]
    assert np.allclose(nulls[4:], fixed.peer_ppm / 1e6, atol=1e-6)
    assert np.all(nulls[:4] > 0.74), "own mean, twice its error and the margin"
    low = Days(null_rate=0.9)
    low.past()
    assert np.all(low.state.rows["null_next"][:ACCOUNTS] == 0.9)


def test_who_has_nowhere_to_go_is_not_tested() -> None:
    days = Days()
    fixed = days.past(rate=0.97)
    assert (fixed.above, fixed.tested, fixed.claim) == (ACCOUNTS, 0, "claimed")


def test_buckets_grow_where_they_say_something_of_the_next_and_else_nothing_is_claimed() -> None:
    rng = np.random.default_rng(5)

    def regimes(length: int) -> Fixed:
        days = Days()
        for _ in range(4):
            states = np.repeat(rng.random((ACCOUNTS, 600 // length + 1)) < 0.5, length, axis=1)
            rates = np.where(states, 0.6, 0.2)[:, :600]
            days.take(days.units(rng.binomial(10, rates)))
            fixed = days.close()
        return fixed

    short, long = regimes(4), regimes(300)
    assert short.claim == "claimed"
    assert short.bucket_orders > 10
    assert (long.claim, long.tested, long.bucket_orders) == ("clustered", 0, 0)
    assert long.autocorrelation_ppm is not None
    assert long.autocorrelation_ppm > 150_000


def test_without_a_claim_nobody_is_named_and_nothing_is_granted() -> None:
    days = Days(alarms_a_day=1e9)
    days.past(days=1)
    assert len(days.take(days.units(np.full((ACCOUNTS, UNITS), 10)))) == 0
    assert float(days.state.rows["scores"].sum()) == 0.0


def test_who_begins_to_cancel_more_is_named_with_what_would_have_prevented_it() -> None:
    days = Days(alarms_a_day=5.0)
    days.past()
    hits = np.full((ACCOUNTS, UNITS), 3)
    hits[0] = 10
    units = days.units(hits)
    whole = alarms(days.take(units))
    first = whole[0]
    assert set(whole["subject"].tolist()) == {0}
    words = days.test.explain(first)
    evidence = words.evidence
    assert evidence["counted"] == evidence["orders"] > 50
    assert evidence["own_mean_ppm"] < evidence["null_ppm"] == 500_000
    assert first["recent_count"] == 8
    # Once more from the same past, with the last bucket of the alarm as its words say.
    at_most = words.counterfactual["at_most"]
    assert 0 <= at_most < 10
    for last, is_named in ((at_most, False), (at_most + 1, True)):
        again = Days(alarms_a_day=5.0)
        again.past()
        hits[0, int(first["row"]) // ACCOUNTS] = last
        found = alarms(again.take(again.units(hits)))
        assert (int(first["row"]) in found["row"].tolist()) == is_named


def test_registered_makers_are_neither_tested_nor_part_of_the_past() -> None:
    days = Days()
    units = days.units(np.full((ACCOUNTS, UNITS), 10))
    units["registered"] = MARKET_MAKER
    days.take(units)
    assert days.test.fix(days.state, START_NS + DAY_NS) == []


def test_a_name_is_no_unit_and_nobody_without_one_is_looked_at() -> None:
    days = Days()
    units = days.units(np.full((2, 5), 10))
    units["kind"][:5] = NAME
    units["group"][5:] = -1
    days.take(units)
    assert len(days.state) == 0


def test_an_account_of_another_group_waits_for_that_group_s_close() -> None:
    days = Days(alarms_a_day=1e6)
    days.past()
    units = days.units(np.full((ACCOUNTS, 1), 10))
    units["group"] = 1
    days.take(units)
    assert float(days.state.rows["null"][:ACCOUNTS].sum()) == 0.0


def test_what_is_quick_is_fixed_by_peers_and_begins_the_past_anew() -> None:
    days = Days("certified_lifetime", peers_min=5)
    rng = np.random.default_rng(3)
    claims = []
    for _ in range(4):
        units = days.units(rng.binomial(10, 0.5, (ACCOUNTS, UNITS)))
        units["lifetimes"][:, :] = 0
        units["lifetimes"][:, 2] = units["canceled"] // 8
        units["lifetimes"][:, 9] = units["canceled"] - units["canceled"] // 8
        days.take(units)
        fixed = days.close()
        claims.append((fixed.claim, fixed.lifetime_ms))
    assert claims[0][0] == "few peers", "nothing counted before it was fixed"
    assert claims[-1] == ("claimed", 256)


def test_a_figure_between_two_bins_and_a_narrow_scope_are_refused() -> None:
    with pytest.raises(ValueError, match="quick_ms is 3; expected a power of two, or 0"):
        build_detector(rule_of("certified_lifetime", {"quick_ms": 3}), 0)
    with pytest.raises(ValueError, match="leave out venues and instruments"):
        build_detector(rule_of("certified_cancels", venues=("XSHG",)), 0)


def test_bins_of_lifetimes_double() -> None:
    ages_ms = (0, 1, 2, 3, 4, 16_383, 16_384, 10**6)
    bins = [int(lifetime_bin(ms * 10**6)) for ms in ages_ms]
    assert bins == [0, 1, 2, 2, 3, 14, 15, 15]
    for bins_below in range(1, LIFETIME_BINS):
        below_ns = lifetime_below_ms(bins_below) * 10**6
        assert lifetime_bin(below_ns - 1) == bins_below - 1
        assert lifetime_bin(below_ns) == bins_below


def test_orders_that_share_a_moment_with_a_unit_s_first_are_not_its_own() -> None:
    tape = Tape()
    for moment, count in ((0, 10), (10, 10), (30, 9), (40, 10)):
        for number in range(count):
            tape.new(moment, f"{moment}-{number}")
    for number in range(1, 10):
        tape.cancel(50, f"10-{number}")  # of no unit, whichever of the ten begins one
    for number in range(10):
        tape.fill(51, f"40-{number}")
    stage = stage_of([rule_of("certified_cancels")])
    stage.take(columns_of(tape.events), no_carry())
    output = stage.accounts.close_tallies(END_NS)
    told = [(int(r["orders"]), int(r["canceled"])) for part in output for r in part.rows]
    assert all(canceled == 0 for _, canceled in told), told


def test_a_night_session_of_the_next_day_hides_nothing() -> None:
    tallier, steps = Tallier("t"), np.zeros(60, STEP)
    steps["what"], steps["time_ns"] = NEW, START_NS + (1 + np.arange(60)) * 10**9
    steps["day"], steps["day_end_ns"] = 20_516, START_NS + DAY_NS
    steps["day"][5], steps["day_end_ns"][5] = 20_517, START_NS + DAY_NS + DAY_NS // 2
    rows = columns_of([Tape().new(number, f"o{number}") for number in range(60)])
    no_groups = (np.zeros(0, np.int32), list[str]())
    tallier.take(rows, steps, no_groups, np.zeros(1, ACCOUNT))
    over = tallier.close(START_NS + DAY_NS, np.zeros(1, ACCOUNT))
    assert over is not None
    days = over.rows[over.rows["kind"] == DAY]
    assert [int(day["counts"][0]) for day in days] == [60]


def test_time_before_a_close_is_not_granted_at_the_rate_behind_it() -> None:
    days = Days(alarms_a_day=1.0)
    days.past()
    budget = float(days.state.shared["budget"][0])
    before = float(days.state.rows["scores"].sum())
    days.take(days.units(np.full((1, 3), 5))[:3])  # three units within seconds of midnight
    gained = float(days.state.rows["scores"][:ACCOUNTS].sum()) - before
    assert gained < budget / 1_000
