"""An evaluation as tables for people, on the terminal and as a page."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, Final

from lab.evaluate.burst_tables import burst_tables
from lab.evaluate.counterfactuals import counterfactuals_table
from lab.evaluate.evasion_table import evasion_table
from lab.evaluate.planted import planted_tables
from lab.evaluate.real_tables import real_tables
from lab.evaluate.share_tables import share_tables
from lab.evaluate.stream_tables import stream_tables
from lab.evaluate.table import Table, interval, number, percents, verdict

_WIDTH: Final = 105  # of a page's lines


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Return an evaluation's tables; ``found`` is what ``lab.evaluate.run`` returned."""
    if "planted" in found:
        return planted_tables(found["planted"])
    if "real_plants" in found:
        return real_tables(found)
    makers = (_nulls, _delays, _power, _traps, _baselines)
    return [
        *(make(found) for make in makers),
        *share_tables(found),
        *burst_tables(found),
        *stream_tables(found),
        _layers(found),
        evasion_table(found),
        counterfactuals_table(found),
    ]


def to_markdown(found: Mapping[str, Any]) -> str:
    """Return the tables as Markdown, one section each."""
    return "\n".join(_section(table) for table in tables(found))


def _section(table: Table) -> str:
    lines = [
        f"## {table.title}\n",
        f"{fill(table.note, _WIDTH)}\n",
        _line(table.head),
        _line(["---" if name in table.words else "---:" for name in table.head]),
        *map(_line, table.rows),
    ]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _nulls(found: Mapping[str, Any]) -> Table:
    sizes = found["sizes"]
    rows = tuple(
        (
            row["world"],
            row["what"],
            f"{row['alarms']:,.2f} {interval(row['alarms_interval'])}",
            f"{row['bound']:,.2f}",
            interval(row["excess_interval"]),
            verdict(row),
        )
        for row in found["nulls"]
    )
    return Table(
        title="False alarms against the bound",
        note=(
            f"{sizes['seeds']} rounds of {sizes['accounts']:,} accounts with {sizes['units']:,} "
            f"round trips each, null 90 %, {sizes['granted']:g} alarms granted a round: so many "
            "that there is something to count. The bound is what was granted less what is still "
            "staked. Refuted means that the whole interval of alarms less bound lies above 0. "
            "Intervals are of 95 %."
        ),
        head=("world", "wins", "alarms a round", "bound", "alarms less bound", "verdict"),
        words=("world", "wins", "verdict"),
        rows=rows,
    )


def _delays(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            f"{row['null']:.0%}",
            f"{row['truth']:.0%}",
            number(row["units"]),
            number(row["oracle_units"]),
            "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
            number(row["days"]),
        )
        for row in found["delays"]
    )
    sizes, first = found["sizes"], found["delays"][0]
    return Table(
        title="Delay, beside an oracle that knows the truth",
        note=(
            f"Median over {sizes['delay_accounts']:,} accounts from their first round trip on, at "
            f"{sizes['units_a_day']} a day and the budget shipped: one alarm granted for "
            f"A = {first['bound_a']:,.0f} round trips. A dash: fewer than half were named within "
            f"{max(sizes['counts']):,}."
        ),
        head=("null", "truth", "round trips", "oracle's", "ratio", "days"),
        rows=rows,
    )


def _power(found: Mapping[str, Any]) -> Table:
    counts = found["sizes"]["counts"]
    truths = list(dict.fromkeys(row["truth"] for row in found["power"]))
    cells = {(row["truth"], row["units"]): row for row in found["power"]}
    rows = tuple(
        (f"{truth:.0%}", *(_share(cells[truth, count]) for count in counts)) for truth in truths
    )
    return Table(
        title="Share certified after so many round trips",
        note="Null 90 %, the budget shipped; with intervals of 95 %.",
        head=("truth", *(f"{count:,}" for count in counts)),
        rows=rows,
    )


def _share(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    return f"{row['share']:.1%} [{low:.1%}, {high:.1%}]"


def _traps(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (
            row["trap"],
            row["what"],
            "yes" if row["is_within_null"] else ("no" if row["has_edge"] else "by payoff"),
            f"{row['certified']:,.2f} {interval(row['certified_interval'])}",
            f"{row['naive']:,.0f}",
        )
        for row in found["traps"]
    )
    sizes = found["sizes"]
    return Table(
        title="Accounts that did nothing wrong: alarms a day on 100,000 of them",
        note=(
            f"From {sizes['trap_accounts']:,} accounts over {sizes['trap_days']} days of "
            f"{sizes['units_a_day']} round trips, at the budget shipped: "
            f"{found['traps'][0]['granted']:.2f} alarms a day granted for this test. Beside it "
            "the policy's rule: more than 90 % of at least ten on a day. Sizes vary by half in "
            "logarithm; where no money is earned, losses are as much larger as that takes, and "
            "the null of each account is what its own past breaks even at, known as well as a "
            "short past tells: before its first loss, not at all, so that who hardly ever loses is "
            "held to the policy's figure. The last two sorts have an edge, some of it beyond "
            "90 %: whom the test names there is rightly named."
        ),
        head=("accounts", "wins", "within the null", "certified", "policy's rule"),
        words=("accounts", "wins", "within the null"),
        rows=rows,
    )


def _baselines(found: Mapping[str, Any]) -> Table:
    rows = tuple(
        (row["name"], *(f"{row[key]:.0%}" for key in ("lucky", "from_start", "from_middle")))
        for row in found["baselines"]
    )
    return Table(
        title="Ways to watch, on the same outcomes",
        note=(
            "Share of accounts named at any time of a round. ADWIN and Page-Hinkley (River, as it "
            "ships them) look for a change, so they cannot see who always won 97 %. "
            "Without intervals: these are single shares of at most 100 accounts."
        ),
        words=("way",),
        head=("way", "wins 90 %", "wins 97 % from the start", "wins 97 % from the middle"),
        rows=rows,
    )


def _layers(found: Mapping[str, Any]) -> Table:
    sizes = found["sizes"]
    rows = tuple(
        (
            row["name"],
            f"{row['found']} of {row['layerers']} {percents(row['recall'])}",
            f"{row['found_within']} of {row['within']} {percents(row['recall_within'])}",
            f"{row['makers']} of {row['makers_there']}",
            f"{row['others']}",
            percents(row["precision"]),
        )
        for row in found["layers"]
    )
    return Table(
        title="Layering among makers who quote anew",
        note=(
            f"{sizes['mornings']} mornings of {sizes['morning_accounts']:,} ordinary accounts; one "
            "account in 1,000 layers, makers without a registration send a fifth of the messages. "
            "Layerers differ in all they do; those within the rule use three prices or more and "
            "withdraw 70 % of 1.5 times what they want to trade within ten seconds, three times or "
            "more. "
            "Intervals are of 95 %."
        ),
        head=("way", "found", "of those within the rule", "makers named", "others", "precision"),
        words=("way",),
        rows=rows,
    )
