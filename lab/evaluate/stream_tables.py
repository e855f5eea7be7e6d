"""Tables of what tests and rules make of null families as streams."""

from collections.abc import Mapping
from typing import Any

from lab.evaluate.streams import CONTROL_NAME, POLICY
from lab.evaluate.table import Table, interval


def stream_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return the tables; ``found`` is what ``lab.evaluate.run`` returned."""
    return [_tests(found), _families(found)]


def _verdict(row: Mapping[str, Any]) -> str:
    if row["family"] == CONTROL_NAME:
        return "no null"
    if row["tested"] == 0:
        return "not claimed"
    return "REFUTED" if row["is_refuted"] else "not refuted"


def _innocent(row: Mapping[str, Any]) -> str:
    if row["innocent"] is None or row["family"] == CONTROL_NAME:
        return "-"
    low, high = row["interval"]
    return f"{row['innocent']:,.0f} [{low:,.0f}, {high:,.0f}]"


def _claimed(row: Mapping[str, Any]) -> str:
    return f"{row['days_claimed']:.0%}" + (f", else {row['claim']}" if row["claim"] else "")


def _tests(found: Mapping[str, Any]) -> Table:
    sizes = found["sizes"]
    rows = tuple(
        (
            row["family"],
            row["test"],
            _claimed(row),
            f"{row['tested']:,}",
            f"{row['alarms']:,} {interval(row['alarms_interval'])}",
            f"{row['granted']:,.0f}",
            _verdict(row),
            _innocent(row),
        )
        for row in found["stream_tests"]
    )
    return Table(
        title="Null families as streams: tests with a bound",
        note=(
            f"{sizes['stream_days']} trading days of {sizes['stream_accounts']} accounts and the "
            "family's makers, whose orders meet in a matching engine and go through all stages of "
            "the product. Nobody does anything wrong, but in the control. Alarms stand beside what "
            f"was granted at most, at a budget of {sizes['stream_granted']:g} a day for seven "
            "tests; innocent alarms a day on 100,000 accounts are at the budget shipped, of which "
            "a test is granted 0.65. So few accounts cannot show so small a number: the interval "
            "says how far they reach. Days with a bound are those after the first "
            "close on which somebody was tested; beside them why nobody was on most others, as the "
            "product says: nulls are too high where more than one account in twenty cancels nearly "
            "all, as makers do who are not registered. The win rate looks at real money here. A "
            f"past of {sizes['stream_past_units']} units is asked for."
        ),
        head=(
            "family",
            "test",
            "days with a bound",
            "account days tested",
            "alarms",
            "granted",
            "verdict",
            "innocent alarms a day",
        ),
        words=("family", "test", "days with a bound", "verdict"),
        rows=rows,
    )


def _families(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            row["family"],
            row["what"],
            f"{row['accounts']:,}",
            f"{row['events']:,}",
            *(f"{row['policy'][rule]:,}" for rule in POLICY),
            f"{row['named']:,}",
        )
        for row in found["stream_families"]
    )
    return Table(
        title="Null families as streams: rules with figures",
        note=(
            "Accounts that rules with figures name on the same streams, at any time, beside those "
            "that the tests with a bound name at the budget shipped. Figures are those of the "
            "packs, used as if they were this venue's. Rules with figures are policy: whoever is "
            "named did what the figure says, so this counts how much there is to look at, not "
            "errors."
        ),
        head=("family", "what they do", "accounts", "events", *POLICY, "tests with a bound"),
        words=("family", "what they do"),
        rows=rows,
    )
