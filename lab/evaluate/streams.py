"""Null families as streams: what the rules say of flows in which nobody does anything wrong.

Each family's orders meet in the matching engine, and what comes of it goes through the product's
own stages, days on end, with tests that compare accounts with their peers and with their own past.
What a test was granted is read off what it fixed at each close. Beside the tests stand the rules
with figures, on the same streams.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct, structs

from detectors.core.betting import budget_of
from detectors.core.contract import Detector, Fixed, FixedGroup, RuleSpec
from detectors.core.packs import load_rules
from detectors.core.registry import build_detector
from detectors.core.stage_config import StageConfig
from flows.calendars import TradingDays
from flows.lanes import LaneTime, stamp
from lab.conformance.kit import DAY_NS
from lab.evaluate.intervals import Interval, of_count, of_counts
from lab.evaluate.sizes import Sizes
from lab.exchange.flow import CONTROL, FAMILIES
from lab.exchange.lines import Stream
from lab.stages import Stages
from schemas.alerts import Finding
from schemas.columns import HashKey
from schemas.scan import Scanner

WIN_RATE: Final = "certified.win_rate"
TESTS: Final = ("peers.cancels", "peers.lifetime", "peers.burst", WIN_RATE)
POLICY: Final = ("cn.instant_cancels", "cn.order_rate.second", "eu.otr.number")
CONTROL_NAME: Final = "control"
ALL: Final = "all null families"
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
_SEEDS: Final = 2**31  # so that what is made of a seed stays small
_KEY: Final = HashKey(1, 2)
_END_NS: Final = 2**62


class TestRow(Struct, frozen=True, kw_only=True):
    """What one test made of one family.

    Attributes
    ----------
    days_claimed
        Share of the days after the first on which it claimed a bound and tested somebody.
    claim
        Why not, on most other days; empty if there was none.
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
            past = "windows" if test == "peers.burst" else "units"
            own[f"baseline_{past}_min"] = sizes.stream_past_units
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
    """Run every family's stream and a control's, count, and add all families up."""
    found = Found([], [])
    control = structs.replace(CONTROL, turned_day=sizes.stream_days // 2)
    flows = FAMILIES | {CONTROL_NAME: control}
    for number, (name, flow) in enumerate(flows.items()):
        if name not in (*(sizes.stream_families or FAMILIES), CONTROL_NAME):
            continue
        # No two families share accounts, so that they can be added up.
        own_seed = (seed % _SEEDS) * len(flows) + number
        own_flow = structs.replace(flow, accounts=sizes.stream_accounts)
        stream = Stream(own_flow, own_seed, sizes.stream_days)
        detectors = [build_detector(rule, bit) for bit, rule in enumerate(rules(sizes))]
        said = listen(stream, detectors)
        found.families.append(_family_row((name, flow.what), stream, said, sizes))
        found.tests.extend(_test_row(name, test, stream, said, sizes) for test in TESTS)
    found.tests.extend(_pooled(test, found.tests) for test in TESTS)
    return found


def _pooled(test: str, rows: Sequence[TestRow]) -> TestRow:
    """Add up what a test made of all null families."""
    own = [row for row in rows if row.test == test and row.family != CONTROL_NAME]
    alarms, shipped = sum(row.alarms for row in own), sum(row.shipped for row in own)
    granted, tested = sum(row.granted for row in own), sum(row.tested for row in own)
    # Families are independent, so that the ends of their intervals' halves add up as squares do.
    reach = [
        sum((row.alarms_interval[end] - row.alarms) ** 2 for row in own) ** 0.5 for end in (0, 1)
    ]
    low, high = (
        of_count(alarms) if alarms == 0 else (max(0.0, alarms - reach[0]), alarms + reach[1])
    )
    return TestRow(
        family=ALL,
        test=test,
        days_claimed=fmean(row.days_claimed for row in own),
        claim="",
        tested=tested,
        alarms=alarms,
        granted=granted,
        alarms_interval=(low, high),
        is_refuted=low > granted,
        shipped=shipped,
        **_scaled(shipped, tested),
    )


def _scaled(shipped: int, tested: int) -> dict[str, Any]:
    """Return alarms a day on 100,000 accounts that are tested, and their interval."""
    if tested == 0:
        return {"innocent": None, "interval": None}
    scale = _SHIPPED / tested
    low, high = of_count(shipped)
    return {"innocent": shipped * scale, "interval": (low * scale, high * scale)}


def _named(said: Said, rule: str) -> set[str]:
    raised = (one for one in said.findings if one.phase in _RAISES)
    return {one.account_id for one in raised if one.rule.id == rule}


def _family_row(name: tuple[str, str], stream: Stream, said: Said, sizes: Sizes) -> FamilyRow:
    family, what = name
    return FamilyRow(
        family=family,
        what=what,
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
    return TestRow(
        family=name,
        test=test,
        days_claimed=standing.days_claimed,
        claim=standing.claim,
        tested=standing.tested,
        alarms=large.total(),
        granted=standing.granted,
        alarms_interval=interval,
        is_refuted=interval[0] > standing.granted,
        shipped=shipped,
        **_scaled(shipped, standing.tested),
    )


def _why_not(fixed: Fixed) -> str:
    """Say why nobody is tested, as the product does; it may claim a bound and have nobody."""
    if fixed.claim != "claimed":
        return fixed.claim
    return "nulls too high" if fixed.above else "no past"


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
    others = Counter(_why_not(one.fixed) for one in counted if not one.fixed.tested)
    granted = sum(
        one.fixed.tested * one.fixed.budget_ppt / 1e12 * lasts[one.time_ns] for one in claimed
    )
    return _Standing(
        days_claimed=len({one.time_ns for one in claimed}) / max(1, len(lasts)),
        claim=others.most_common(1)[0][0] if others else "",
        tested=sum(one.fixed.tested for one in claimed),
        granted=granted,
    )
