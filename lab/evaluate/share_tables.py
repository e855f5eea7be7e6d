"""Tables of what tests on cancel ratios make of accounts of which the truth is known."""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.evaluate.table import Table, interval, number, percents, verdict


def share_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return the tables; ``found`` is what ``lab.evaluate.run`` returned."""
    return [_edges(found), _families(found), _plants(found), _delays(found)]


def edge_rows(found: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """Return the rows of a table of alarms at the null; ``found`` are of ``EdgeRow``."""
    return tuple(
        (
            row["world"],
            row["what"],
            f"{row['alarms']:,.2f}",
            f"{row['bound']:,.2f}",
            interval(row["excess_interval"]),
            verdict(row),
        )
        for row in found
    )


def _edges(found: Mapping[str, Any]) -> Table:
    sizes = found["sizes"]
    return Table(
        title="Cancel ratios at the null: alarms against the bound",
        note=(
            f"{sizes['seeds']} rounds of {sizes['edge_accounts']:,} accounts that differ. First "
            "they do as they always did; then, for one day with twenty times as many orders, each "
            "cancels just what the null allows that the test fixed for it. Budgets are so large "
            "that there is something to count; otherwise as above."
        ),
        head=("world", "on that day", "alarms a round", "bound", "alarms less bound", "verdict"),
        words=("world", "on that day", "verdict"),
        rows=edge_rows(found["share_edges"]),
    )


def _families(found: Mapping[str, Any]) -> Table:
    sizes = found["sizes"]
    rows = tuple(
        (
            row["family"],
            row["what"],
            f"{row['bucket_orders']:,}" if row["bucket_orders"] else "no bound claimed",
            f"{row['days_claimed']:.0%}",
            f"{row['within']:,} of {row['bound']:,.0f}" + (" REFUTED" * row["is_refuted"]),
            f"{row['innocent']:,.2f} {interval(row['interval'])}",
        )
        for row in found["share_families"]
    )
    return Table(
        title="Cancel ratios of accounts that do as they always do",
        note=(
            f"{sizes['share_accounts']:,} accounts over {sizes['share_days']} days: log odds of "
            "cancelling vary by 1 around 35 %, and the busiest have ten times the orders of the "
            "quiet. Families differ in what one unit says of the next; the size of buckets, and "
            "whether a bound is claimed at all, the test fixes by itself. Alarms within the null "
            "stand beside the bound at a large budget; innocent alarms a day on 100,000 of these "
            "accounts at the budget shipped, of which this test is granted 0.65."
        ),
        head=(
            "family",
            "how they cancel",
            "bucket, orders",
            "days claimed",
            "within the null",
            "innocent alarms a day",
        ),
        words=("family", "how they cancel", "bucket, orders"),
        rows=rows,
    )


def _plants(found: Mapping[str, Any]) -> Table:
    cells = {(row["odds"], row["orders"]): row for row in found["share_plants"]}
    odds = list(dict.fromkeys(row["odds"] for row in found["share_plants"]))
    orders = list(dict.fromkeys(row["orders"] for row in found["share_plants"]))
    rows = tuple(
        (
            f"{times} times",
            *(
                f"{cells[times, count]['found']} of {cells[times, count]['planted']} "
                f"{percents(cells[times, count]['interval'])}"
                for count in orders
            ),
        )
        for times in odds
    )
    return Table(
        title="Accounts that begin to cancel more: share named after so many orders",
        note=(
            f"{found['sizes']['share_plants']} of {found['sizes']['share_accounts']:,} steady "
            "accounts go, overnight, to so many times the odds of cancelling that one account in "
            "a hundred exceeds. 1,000 orders a day; the budget shipped. Whoever cancelled nearly "
            "all before has no null that a test can use, and is not named."
        ),
        head=("odds", *(f"{count:,}" for count in orders)),
        rows=rows,
    )


def _delays(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            f"{row['odds']} times",
            number(row["orders"]),
            number(row["oracle_orders"]),
            "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
            number(row["days"]),
        )
        for row in found["share_delays"]
    )
    return Table(
        title="How soon, beside an oracle",
        note=(
            "Median orders of the same accounts until they are named. The oracle has the same "
            "nulls, buckets and grants, and is told beforehand what share to stake."
        ),
        head=("odds", "orders", "oracle's", "ratio", "days"),
        rows=rows,
    )
