"""Tables of what the test on bursts makes of accounts of which the truth is known."""

from collections.abc import Mapping
from typing import Any

from lab.evaluate.share_tables import edge_rows
from lab.evaluate.table import Table, interval, number, percents


def burst_tables(found: Mapping[str, Any]) -> list[Table]:
    """Return the tables; ``found`` is what ``lab.evaluate.run`` returned."""
    return [_edges(found), _families(found), _plants(found), _delays(found)]


def _edges(found: Mapping[str, Any]) -> Table:
    sizes = found["sizes"]
    return Table(
        title="Bursts at the null: alarms against the bound",
        note=(
            f"{sizes['seeds']} rounds of {sizes['burst_edge_accounts']:,} accounts that differ. "
            "First they do as they always did; then, for one day, one in fifty does in each minute "
            "just what the null allows that the test fixed for it. Budgets are so large that there "
            "is something to count. What others do by chance above their usual raises nulls and "
            "never lowers them, so that alarms stay well below the bound."
        ),
        head=("world", "on that day", "alarms a round", "bound", "alarms less bound", "verdict"),
        words=("world", "on that day", "verdict"),
        rows=edge_rows(found["burst_edges"]),
    )


def _families(found: Mapping[str, Any]) -> Table:
    sizes = found["sizes"]
    rows = tuple(
        (
            row["family"],
            row["what"],
            f"{row['minutes']} min" if row["minutes"] else f"no bound claimed: {row['claim']}",
            f"{row['days_claimed']:.0%}",
            f"{row['within']:,} of {row['bound']:,.0f}" + (" REFUTED" * row["is_refuted"]),
            f"{row['innocent']:,.2f} {interval(row['interval'])}",
        )
        for row in found["burst_families"]
    )
    return Table(
        title="Bursts of accounts that do as they always do",
        note=(
            f"{sizes['burst_accounts']:,} accounts over {sizes['burst_days']} days of four hours: "
            "what they do in a minute varies by 1 in logarithm around 0.7, more at the open and "
            "the close. The length of windows, and whether a bound is claimed at all, the test "
            "fixes by itself. Alarms within the null stand beside the bound at a large budget; "
            "innocent alarms a day on 100,000 of these accounts at the budget shipped, of which "
            "this test is granted 0.65."
        ),
        head=(
            "family",
            "what they do",
            "window",
            "days claimed",
            "within the null",
            "innocent alarms a day",
        ),
        words=("family", "what they do", "window"),
        rows=rows,
    )


def _plants(found: Mapping[str, Any]) -> Table:
    cells = {(row["times"], row["minutes"]): row for row in found["burst_plants"]}
    minutes = list(dict.fromkeys(row["minutes"] for row in found["burst_plants"]))
    rows = tuple(
        (
            f"{times} times",
            *(
                f"{cells[times, count]['found']} of {cells[times, count]['planted']} "
                f"{percents(cells[times, count]['interval'])}"
                for count in minutes
            ),
        )
        for times in dict.fromkeys(row["times"] for row in found["burst_plants"])
    )
    return Table(
        title="Accounts that begin to do more: share named after so many minutes",
        note=(
            f"{found['sizes']['share_plants']} of {found['sizes']['burst_accounts']:,} steady "
            "accounts do, from an open on, so many times in a minute what one account in a hundred "
            "exceeds on average. The budget shipped. They are among those that are tested: who did "
            "too little for fifty windows is not."
        ),
        head=("times", *(f"{count} min" for count in minutes)),
        rows=rows,
    )


def _delays(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            f"{row['times']} times",
            number(row["minutes"]),
            number(row["oracle_minutes"]),
            "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
            number(row["actions"]),
        )
        for row in found["burst_delays"]
    )
    return Table(
        title="Bursts: how soon, beside an oracle",
        note=(
            "Median minutes of the same accounts until they are named, and what they did until "
            "then. The oracle has the same nulls, market, windows and grants, and is told "
            "beforehand how much is to be expected in each window; no window counts for more than "
            "8 there either. Without that limit, which keeps one window from deciding, an oracle "
            "takes a third to a half of that."
        ),
        head=("times", "minutes", "oracle's", "ratio", "actions"),
        rows=rows,
    )
