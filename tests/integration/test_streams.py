"""Null families as streams, small: tests claim what they keep, and the control is found."""

import json
from typing import Any

import pytest
from msgspec import structs, to_builtins

from detectors.core.contract import Fixed, FixedGroup
from lab.conformance.kit import DAY_NS
from lab.evaluate import SEED, streams
from lab.evaluate.sizes import QUICK
from lab.evaluate.stream_tables import stream_tables
from lab.exchange.flow import FAMILIES
from lab.exchange.lines import Stream

SIZES = structs.replace(QUICK, stream_families=("plain", "makers"))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    measured = streams.measure(SIZES, SEED)
    return {
        "sizes": to_builtins(SIZES),
        "stream_tests": to_builtins(measured.tests),
        "stream_families": to_builtins(measured.families),
    }


def rows_of(found: dict[str, Any], family: str) -> dict[str, Any]:
    return {row["test"]: row for row in found["stream_tests"] if row["family"] == family}


def test_no_bound_is_refuted_where_nobody_does_anything_wrong(found: dict[str, Any]) -> None:
    for row in found["stream_tests"]:
        assert row["family"] == streams.CONTROL_NAME or not row["is_refuted"], row
    plain = rows_of(found, "plain")["peers.cancels"]
    assert plain["tested"] > 0
    assert plain["granted"] > 0, "or nothing was tried"


def test_the_control_is_found_by_the_same_tests(found: dict[str, Any]) -> None:
    row = rows_of(found, streams.CONTROL_NAME)["peers.cancels"]
    assert row["alarms"] > row["granted"], "an alarm can be raised"
    (control,) = [one for one in found["stream_families"] if one["family"] == streams.CONTROL_NAME]
    assert control["named"] > 0
    assert control["policy"]["cn.instant_cancels"] > 0


def test_all_families_are_added_up_without_the_control(found: dict[str, Any]) -> None:
    for test, row in rows_of(found, streams.ALL).items():
        own = [rows_of(found, family)[test] for family in SIZES.stream_families]
        for name in ("tested", "alarms", "shipped", "granted"):
            assert row[name] == pytest.approx(sum(one[name] for one in own)), (test, name)


@pytest.mark.parametrize(("granted", "is_refuted"), [(80.0, False), (60.0, True)])
def test_a_bound_is_refuted_where_all_of_the_interval_lies_above(
    granted: float, is_refuted: bool
) -> None:
    row = streams.TestRow(
        family="plain", test="peers.cancels", days_claimed=1.0, claim="", tested=1_000, alarms=50,
        granted=granted / 2, alarms_interval=(30.0, 70.0), is_refuted=False, shipped=1,
        innocent=None, interval=None,
    )  # fmt: skip
    control = structs.replace(row, family=streams.CONTROL_NAME)
    both = streams._pooled("peers.cancels", [row, row, control])
    assert (both.alarms, both.granted, both.tested) == (100, granted, 2_000)
    assert both.alarms_interval == pytest.approx((100 - 20 * 2**0.5, 100 + 20 * 2**0.5))
    assert both.is_refuted == is_refuted
    assert both.innocent == 2 / 2_000 * 100_000


def test_rules_with_figures_name_makers_and_nobody_of_the_plain(found: dict[str, Any]) -> None:
    policy = {row["family"]: row["policy"] for row in found["stream_families"]}
    assert sum(policy["plain"].values()) == 0
    assert policy["makers"]["eu.otr.number"] > 0


def test_the_same_seed_gives_the_same_rows(found: dict[str, Any]) -> None:
    again = streams.measure(SIZES, SEED)
    assert json.dumps(to_builtins(again.tests)) == json.dumps(found["stream_tests"])


def test_tables_have_a_row_for_each(found: dict[str, Any]) -> None:
    tests, families = stream_tables(found)
    assert len(tests.rows) == len(found["stream_tests"])
    assert len(families.rows) == 3
    assert {row[6] for row in tests.rows if row[0] == streams.CONTROL_NAME} == {"no null"}
    worse = [{**row, "is_refuted": True} for row in found["stream_tests"]]
    (shown, _) = stream_tables({**found, "stream_tests": worse})
    assert shown.rows[0][6] == "REFUTED"


def test_what_was_granted_is_read_off_what_was_fixed() -> None:
    """Two closes: on the first day ten accounts were granted a tenth each, then nothing follows."""

    def fixed(day: int, **fields: Any) -> FixedGroup:
        group = Fixed(group=0, accounts=20, **fields)
        rule = "peers.cancels" + streams.LARGE
        return FixedGroup(time_ns=day * DAY_NS, rule=rule, tier="", is_simulated=False, fixed=group)

    flow = structs.replace(FAMILIES["plain"], accounts=20, orders_a_second=0.01)
    stream = Stream(flow, 1, 1)
    said = streams.Said([], [
        fixed(1, claim="clustered"),
        fixed(2, claim="claimed", tested=10, budget_ppt=10**11),
        fixed(3, claim="claimed", tested=10, budget_ppt=10**11),
    ])  # fmt: skip
    standing = streams._standing("peers.cancels", stream, said, SIZES)
    assert standing.days_claimed == 0.5
    assert standing.claim == "clustered"
    assert standing.tested == 10
    assert standing.granted == pytest.approx(1.0)
