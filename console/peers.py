"""``tapewatch peers``: what accounts of a tier usually do, and what tests against them rest on."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from rich.table import Table

from console import options, screen
from console.commands import Command, group, takes
from console.notices import control_place
from detectors.core.contract import Fixed, FixedGroup
from detectors.core.ranking import Review
from flows.control import ControlLog
from flows.control_topic import open_control
from flows.market import QUANTILES, PeerGroup, read_fixed, read_groups, read_reviews

_NAMES: Final = {
    "orders": "orders",
    "cancels": "cancels",
    "fills": "fills",
    "cancel_percent": "cancelled, %",
    "win_percent": "won, %",
}
_NONE: Final = "none on file"
_PPM: Final = 1_000_000

app = group("""\
Show what accounts of a tier usually do in a day, and what tests against peers rest on.

Examples
--------
$ tapewatch peers list --data run1
$ tapewatch peers tests --data run1
$ tapewatch peers review --data run1
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
    none = "No day is over yet: peers are counted at a trading day's end."
    _show(asked, read_groups, _table, none)


@app.command("tests", cls=Command)
@takes(options.Reading)
def peers_tests(asked: options.Reading) -> None:
    """List what tests against own past and peers fixed at each close, by tier.

    Whether a bound is claimed until the next close, and if not, why; how many accounts are tested;
    of how many orders a bucket has, how much it says of the next; what one account in twenty
    exceeded.

    Examples
    --------
    $ tapewatch peers tests --data run1
    $ tapewatch peers tests --data run1 --json
    """
    none = (
        "Nothing was fixed yet: tests against peers are in the pack peers, which packs.added "
        "switches on, and fix what they rest on at midnight UTC."
    )
    _show(asked, read_fixed, _fixed_table, none)


@app.command("review", cls=Command)
@takes(options.Reading)
def peers_review(asked: options.Reading) -> None:
    """List the accounts whose day was most unusual in their tier, latest day first.

    Ranked by the model or function that review.model or review.score names. No bound is claimed for
    a ranking: it says where to look first.

    Examples
    --------
    $ tapewatch peers review --data run1
    $ tapewatch peers review --data run1 --json
    """
    none = (
        "No day was ranked yet: review.model or review.score says by what, and midnight UTC when."
    )
    _show(asked, read_reviews, _review_table, none)


def _review_table(reviews: list[Review]) -> Table:
    numbers = ("score", "cancelled", "within 1 s", "filled", "won")
    table = screen.table("close (UTC)", "tier", "account", *numbers, right=numbers)
    for one in reversed(reviews):
        tier = (one.tier or _NONE) + (" (simulated)" if one.is_simulated else "")
        for number, row in enumerate(one.rows):
            shares = (row.summary[f"{name}_share"] for name in ("cancel", "quick", "fill", "win"))
            table.add_row(
                screen.time_text(one.time_ns, is_short=True) if number == 0 else "",
                screen.plain(f"{tier}, {one.accounts:,} accounts") if number == 0 else "",
                screen.plain(row.account_id),
                f"{float(row.score):.3f}",
                *(f"{float(share):.0%}" for share in shares),
                end_section=number == len(one.rows) - 1,
            )
    return table


def _show(
    asked: options.Reading,
    read: Callable[[ControlLog], list[Any]],
    table: Callable[[list[Any]], Table],
    none: str,
) -> None:
    """Show what stands in the control log, or say why there is nothing."""
    place = control_place(asked.data, asked.config_file)
    if not place.path.exists():
        raise FileNotFoundError(2, "there is no control log", str(place.path))
    with open_control(place) as control:
        found = read(control)
    if asked.as_json:
        screen.put_json_lines(msgspec.to_builtins(one) for one in found)
    else:
        screen.out().print(table(found) if found else none)


def _fixed_table(fixed: list[FixedGroup]) -> Table:
    table = screen.table(
        "close (UTC)", "test", "tier", "bound", "accounts", "tested", "bucket", "says of next",
        "peers' 95 %",
        right=("accounts", "tested", "bucket", "says of next", "peers' 95 %"),
    )  # fmt: skip
    for one in fixed:
        found = one.fixed
        tier = (one.tier or _NONE) + (" (simulated)" if one.is_simulated else "")
        table.add_row(
            screen.time_text(one.time_ns, is_short=True),
            one.rule,
            screen.plain(tier),
            found.claim,
            f"{found.accounts:,}",
            f"{found.tested:,}",
            _stretch(found),
            _share(found.autocorrelation_ppm),
            _share(found.peer_ppm),
        )
    return table


def _stretch(found: Fixed) -> str:
    """Spell what is bet on as one: so many orders, or so many minutes."""
    if found.window_s:
        return f"{found.window_s // 60} min"
    return f"{found.bucket_orders:,}" if found.bucket_orders else "-"


def _share(ppm: int | None) -> str:
    return "-" if ppm is None else f"{ppm / _PPM:.3f}"


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
