"""``tapewatch peers``: what accounts of a tier usually do in a day."""

from typing import Final

import msgspec
from rich.table import Table

from console import options, screen
from console.commands import Command, group, takes
from console.notices import control_place
from flows.control_topic import open_control
from flows.market import QUANTILES, PeerGroup, read_groups

_NAMES: Final = {
    "orders": "orders",
    "cancels": "cancels",
    "fills": "fills",
    "cancel_percent": "cancelled, %",
    "win_percent": "won, %",
}
_NONE: Final = "none on file"

app = group("""\
Show what accounts of a tier usually do in a day.

Examples
--------
$ tapewatch peers list --data run1
""")


@app.command("list", cls=Command)
@takes(options.Reading)
def peers_list(asked: options.Reading) -> None:
    """List the quantiles of every day that is over, by tier.

    So many accounts of the tier, and the value that 10, 50, 90, 95 and 99 of 100 did not exceed.
    A share is counted for accounts with at least 10 orders, or 10 closing fills.

    Examples
    --------
    $ tapewatch peers list --data run1
    $ tapewatch peers list --data run1 --json
    """
    place = control_place(asked.data, asked.config_file)
    if not place.path.exists():
        raise FileNotFoundError(2, "there is no control log", str(place.path))
    with open_control(place) as control:
        groups = read_groups(control)
    if asked.as_json:
        screen.put_json_lines(msgspec.to_builtins(one) for one in groups)
        return
    console = screen.out()
    if not groups:
        console.print("No day is over yet: peers are counted at a trading day's end.")
        return
    console.print(_table(groups))


def _table(groups: list[PeerGroup]) -> Table:
    table = screen.table(
        "day",
        "ended (UTC)",
        "tier",
        "a day's",
        "accounts",
        *QUANTILES,
        right=("accounts", *QUANTILES),
    )
    for one in groups:
        tier = (one.tier or _NONE) + (" (simulated)" if one.is_simulated else "")
        shown = [(name, one.features[name]) for name in _NAMES if name in one.features]
        for number, (name, values) in enumerate(shown):
            table.add_row(
                one.trading_day if number == 0 else "",
                screen.time_text(one.day_end_ns, is_short=True) if number == 0 else "",
                screen.plain(tier) if number == 0 else "",
                _NAMES[name],
                f"{values['accounts']:,}",
                *(f"{values[label]:,}" for label in QUANTILES),
                end_section=number == len(shown) - 1,
            )
    return table
