"""Null families as streams: what the rules say of flows in which nobody does anything wrong.

Each family's orders meet in the matching engine, and what comes of it goes through the product's
own stages, days on end, with tests that compare accounts with their peers and with their own past.
What a test was granted is read off what it fixed at each close. Beside the tests stand the rules
with figures, on the same streams.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct, structs

from detectors.core.betting import budget_of
from detectors.core.contract import Detector, FixedGroup, RuleSpec
from detectors.core.packs import load_rules
from detectors.core.registry import build_detector
from detectors.core.stage_config import StageConfig
from flows.calendars import TradingDays
from flows.lanes import LaneTime, stamp
from lab.conformance.kit import DAY_NS
from lab.evaluate.intervals import Interval, of_count, of_counts
from lab.evaluate.sizes import Sizes
from lab.exchange.flow import FAMILIES
from lab.exchange.lines import Stream
from lab.stages import Stages
from schemas.alerts import Finding
from schemas.columns import HashKey
from schemas.scan import Scanner

WIN_RATE: Final = "certified.win_rate"
TESTS: Final = ("peers.cancels", "peers.lifetime", WIN_RATE)
POLICY: Final = ("cn.instant_cancels", "cn.order_rate.second", "eu.otr.number")
LARGE: Final = ".large"  # what the id of a test with a large budget ends in
_SHIPPED: Final = 100_000  # accounts that a budget is shared among
_PACKS: Final = ("certified", "peers", "cn-equities", "eu-rts9")
_TESTS: Final = 7  # that share a budget, as shipped
_SHIPPED_A_DAY: Final = 5.0
# A grant accrues up to the earlier of the last two outcomes, and over a pause no more than a day.
_GRANTED_DAYS: Final = 2.0
_ALARMS: Final = frozenset({"opening", "growth"})
_RAISES: Final = frozenset({"opening", "provisional"})
_VENUES: Final = ("XSHG",)  # where all streams trade
_KEY: Final = HashKey(1, 2)
_END_NS: Final = 2**62


class TestRow(Struct, frozen=True, kw_only=True):
    """What one test made of one family.

    Attributes
    ----------
    days_claimed
        Share of the days after the first on which it claimed a bound for these accounts.
    claim
        What it said most often where it claimed none; empty if there was no such day.
    tested
        Account days that it tested.
    alarms, granted
        At a large budget: alarms, and what was granted at most.
    alarms_interval
        Of the alarms that were to be expected.
    is_refuted
        The whole interval lies above what was granted.
    shipped
        Alarms at the budget that is shipped.
    innocent, interval
        Of these, a day on 100,000 accounts that are tested; nothing where none was.
    """

    family: str
    test: str
    days_claimed: float
    claim: str
    tested: int
    alarms: int
    granted: float
    alarms_interval: Interval
    is_refuted: bool
    shipped: int
    innocent: float | None
    interval: Interval | None


class FamilyRow(Struct, frozen=True, kw_only=True):
    """One family: its stream, and what each rule with figures made of it.

    Attributes
    ----------
    accounts, days, events
        Of the stream.
    policy
        Accounts named at any time, by rule.
    named
        Accounts named at any time by a test with a bound, at the budget that is shipped.
    """

    family: str
    what: str
    accounts: int
    days: int
    events: int
    policy: dict[str, int]
    named: int


class Found(NamedTuple):
    """Rows of all families."""

    tests: list[TestRow]
    families: list[FamilyRow]


class Said(NamedTuple):
    """What the stages said of one stream."""

    findings: list[Finding]
    fixed: list[FixedGroup]


def rules(sizes: Sizes) -> list[RuleSpec]:
    """Return the rules that run: tests at both budgets, and rules with figures for this venue.

    What is shipped is for 100,000 accounts, so these get their share of it. The win rate, which
    is a test of simulated accounts, looks at all of them here.
    """
    known = {one.id: one for one in load_rules(_PACKS)}
    shipped_a_day = _SHIPPED_A_DAY * sizes.stream_accounts / _SHIPPED
    budgets = (("", shipped_a_day), (LARGE, sizes.stream_granted))
    found = []
    for test in TESTS:
        own: dict[str, object] = {"accounts_planned": sizes.stream_accounts}
        if test == WIN_RATE:
            own["simulated_only"] = False
        else:
            own["baseline_units_min"] = sizes.stream_past_units
        found += [
            structs.replace(
                known[test],
                id=test + ending,
                parameters={**known[test].parameters, **own, "alarms_a_day": alarms_a_day},
            )
            for ending, alarms_a_day in budgets
        ]
    return found + [structs.replace(known[one], venues=_VENUES) for one in POLICY]


def listen(stream: Stream, detectors: Sequence[Detector]) -> Said:
    """Run a stream through all stages."""
    config = StageConfig(calendars=TradingDays("XSHG"), key=_KEY, lane_names=("sim",))
    stages = Stages(detectors, config)
    scanner, lane = Scanner(_KEY), LaneTime()
    said = Said([], [])
    for block in stream.blocks():
        scanned = scanner.scan(block)
        assert not scanned.rejected, scanned.rejected[0]
        times = stamp(scanned.columns.rows, scanned.line_count)
        output = stages.take(scanned.columns, lane.carry(times))
        said.findings.extend(output.findings)
        said.fixed.extend(output.fixed)
        lane.advance(times)
    output = stages.close(_END_NS)
    said.findings.extend(output.findings)
    said.fixed.extend(output.fixed)
    return said


def measure(sizes: Sizes, seed: int) -> Found:
    """Run every family's stream, and count."""
    found = Found([], [])
    for name in sizes.stream_families or tuple(FAMILIES):
        flow = structs.replace(FAMILIES[name], accounts=sizes.stream_accounts)
        stream = Stream(flow, seed, sizes.stream_days)
        detectors = [build_detector(rule, bit) for bit, rule in enumerate(rules(sizes))]
        said = listen(stream, detectors)
        found.families.append(_family_row(name, stream, said, sizes))
        found.tests.extend(_test_row(name, test, stream, said, sizes) for test in TESTS)
    return found


def _named(said: Said, rule: str) -> set[str]:
    raised = (one for one in said.findings if one.phase in _RAISES)
    return {one.account_id for one in raised if one.rule.id == rule}


def _family_row(name: str, stream: Stream, said: Said, sizes: Sizes) -> FamilyRow:
    return FamilyRow(
        family=name,
        what=FAMILIES[name].what,
        accounts=stream.accounts,
        days=sizes.stream_days,
        events=stream.events,
        policy={rule: len(_named(said, rule)) for rule in POLICY},
        named=len(set().union(*(_named(said, test) for test in TESTS))),
    )


def _alarms(said: Said, rule: str) -> Counter[str]:
    """Count alarms by account; each is a finding of its own, also on a day that has one."""
    alarms = (one for one in said.findings if one.rule.id == rule and one.phase in _ALARMS)
    return Counter(one.account_id for one in alarms)


def _test_row(name: str, test: str, stream: Stream, said: Said, sizes: Sizes) -> TestRow:
    large, shipped = _alarms(said, test + LARGE), _alarms(said, test).total()
    standing = _standing(test, stream, said, sizes)
    each = np.zeros(stream.accounts, np.int64)
    each[: len(large)] = list(large.values())
    interval = of_counts(each)
    tested = standing.tested
    scale = _SHIPPED / tested if tested else 0.0
    low, high = of_count(shipped)
    return TestRow(
        family=name,
        test=test,
        days_claimed=standing.days_claimed,
        claim=standing.claim,
        tested=tested,
        alarms=large.total(),
        granted=standing.granted,
        alarms_interval=interval,
        is_refuted=interval[0] > standing.granted,
        shipped=shipped,
        innocent=shipped * scale if tested else None,
        interval=(low * scale, high * scale) if tested else None,
    )


class _Standing(NamedTuple):
    """What a test claimed of a stream."""

    days_claimed: float
    claim: str
    tested: int
    granted: float


def _standing(test: str, stream: Stream, said: Said, sizes: Sizes) -> _Standing:
    """Read off what a test claimed, for how many accounts, and what it granted them at most.

    The last close has no day after it. A test without closes claims its bound every day.
    """
    if test == WIN_RATE:
        accounts = stream.accounts * sizes.stream_days
        budget = budget_of(sizes.stream_granted, _TESTS, stream.accounts)
        return _Standing(1.0, "", accounts, budget * accounts)
    fixed = [one for one in said.fixed if one.rule == test + LARGE]
    closes = sorted({one.time_ns for one in fixed})
    lasts = {a: min((b - a) / DAY_NS, _GRANTED_DAYS) for a, b in pairwise(closes)}
    counted = [one for one in fixed if one.time_ns in lasts]
    claimed = [one for one in counted if one.fixed.tested]
    others = Counter(one.fixed.claim for one in counted if one.fixed.claim != "claimed")
    granted = sum(
        one.fixed.tested * one.fixed.budget_ppt / 1e12 * lasts[one.time_ns] for one in claimed
    )
    return _Standing(
        days_claimed=len({one.time_ns for one in claimed}) / max(1, len(lasts)),
        claim=others.most_common(1)[0][0] if others else "",
        tested=sum(one.fixed.tested for one in claimed),
        granted=granted,
    )
