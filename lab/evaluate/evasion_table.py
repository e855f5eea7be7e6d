"""The table of what it costs to go unnoticed."""

from collections.abc import Mapping
from typing import Any, Final

from lab.evaluate.table import Table, percents

_NOTE: Final = (
    "Adversaries know nulls, buckets and budgets. Each sort begins with six ordinary days behind "
    "it, at 1,000 orders a day, and goes on for ten days (a ramp for 30, a burst for one). Of a "
    "split burst it is enough that one of its accounts is named. Not in the table: who rests for "
    "31 days begins anew, and is not tested until the close after 500 more orders; and a rule "
    "with a figure names nobody below its figure, at 0.99 of it as at 0.8. Accounts with one "
    "owner or control group on file are counted together by the rules on self-trading only."
)


def evasion_table(found: Mapping[str, Any]) -> Table:
    """Return the table; ``found`` is what ``lab.evaluate.run`` returned."""
    return Table(
        title="What it costs to go unnoticed",
        note=_NOTE,
        head=("adversary", "what it costs", "named all the same"),
        words=("adversary", "what it costs"),
        rows=tuple(
            (
                row["adversary"],
                row["cost"],
                f"{row['named']} of {row['tried']} {percents(row['interval'])}",
            )
            for row in found["evasion"]
        ),
    )
