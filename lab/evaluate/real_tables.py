"""Tables of what rules and tests make of real market files."""

from collections.abc import Mapping
from typing import Any

from lab.evaluate.table import Table, percents


def real_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return the tables; ``found`` is what ``lab.evaluate.run_samples`` returned."""
    return [_plants(found), _innocents(found), _accounts(found)]


def _plants(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            row["rule"],
            f"{row['strength']:g}",
            f"{row['named']} of {row['planted']} {percents(row['interval'])}",
        )
        for row in found["real_plants"]
    )
    return Table(
        title="Abuse put into a real day of Shanghai: accounts named",
        note=(
            "Five stocks on 11 July 2023, orders, cancels and trades as they were. Planted "
            "accounts begin at moments and prices of real orders; the strength is a multiple of "
            "the rule's figure, so below 1 nobody should be named."
        ),
        head=("rule", "strength", "named"),
        words=("rule",),
        rows=rows,
    )


def _innocents(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            row["rule"],
            f"{row['accounts']:,}",
            f"{row['named']:,}",
            f"[{row['interval'][0]:.2%}, {row['interval'][1]:.2%}]",
        )
        for row in found["real_innocents"]
    )
    return Table(
        title="The same day: accounts by lot that rules name",
        note=(
            "The file has no accounts, so each real order was given one by lot: nobody planned "
            "anything. Real accounts are less alike than these, so the share says what market "
            "flow alone brings about, and no more."
        ),
        head=("rule", "accounts", "named", "share, 95 %"),
        words=("rule",),
        rows=rows,
    )


def _accounts(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            row["unit"],
            f"{row['number']}",
            f"{row['units']:,}",
            f"{row['wins']:,}",
            f"cannot conclude; {row['missing']:,} more" if row["missing"] else "named",
        )
        for row in found["real_accounts"]
    )
    return Table(
        title="81 seconds of real accounts: policy's rule, and a test with a bound",
        note=(
            "Accounts of a public venue that end above 90 % of at least 20 closing fills, or "
            "orders: policy's rule would name each of them. The test is told of the same units, "
            "with a whole day's budget granted beforehand, and says how many wins in a row it "
            "would still take."
        ),
        head=("unit", "account", "units", "won", "the test"),
        words=("unit", "the test"),
        rows=rows,
    )
