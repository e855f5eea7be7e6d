"""``tapewatch alerts``: what the rules found."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from console import options, screen
from console.alert_changes import CompareAsked, compare_runs
from console.alert_panel import show_alert
from console.commands import Command, group, takes
from console.exits import UsageProblem
from detectors.core.wording import count_of
from flows.config import data_folder
from flows.messages import alert_object
from flows.store import AlertFilter, AlertRow, StoreReader

app = group("""\
List, show, export and compare alerts.

Examples
--------
$ tapewatch alerts list --data run1
$ tapewatch alerts show 3f9a --data run1
$ tapewatch alerts export --data run1 --format csv > alerts.csv
$ tapewatch alerts compare --data run1 --with run1-again
""")

TABLE_ROWS: Final = 50
WIDE: Final = 120
COLUMNS: Final = ("id", "severity", "detector", "account", "first seen (UTC)", "state")
EXPORT_COLUMNS: Final = (
    "alert_id",
    "detector",
    "rule_id",
    "account_id",
    "instrument",
    "severity",
    "state",
    "trading_day",
    "onset_ns",
    "event_time_ns",
    "updated_ns",
    "update_count",
    "why",
    "counterfactual",
    "evidence",
    "ledger_origin",
    "ledger_index",
)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Options that say which alerts."""

    data: options.Data = None
    config_file: options.ConfigFile = None
    detector: Annotated[
        str | None, typer.Option("--detector", metavar="NAME", help="Of this detector only.")
    ] = None
    account: Annotated[
        str | None, typer.Option("--account", metavar="ID", help="Of this account only.")
    ] = None
    state: Annotated[
        str | None,
        typer.Option(
            "--state", metavar="STATE", help="open, provisional, confirmed, withdrawn or closed."
        ),
    ] = None

    def filter(self) -> AlertFilter:
        """Return what the store is asked for."""
        return AlertFilter(detector=self.detector, account_id=self.account, state=self.state)


@dataclass(frozen=True, kw_only=True)
class ListAsked(Wanted):
    """The options of ``list``."""

    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", help="At most so many; all with --json, else 50."),
    ] = None
    as_json: options.Json = False


@dataclass(frozen=True, kw_only=True)
class ShowAsked(options.Reading):
    """The options of ``show``."""

    alert_id: Annotated[str, typer.Argument(metavar="ID", help="The id, or how it begins.")]


@dataclass(frozen=True, kw_only=True)
class ExportAsked(Wanted):
    """The options of ``export``."""

    format_name: Annotated[str, typer.Option("--format", metavar="F", help="csv or ndjson.")] = (
        "csv"
    )


@app.command("list", cls=Command)
@takes(ListAsked)
def alerts_list(asked: ListAsked) -> None:
    """List alerts, newest first.

    With --json one object a line, each with its evidence and its place in the ledger.

    Examples
    --------
    $ tapewatch alerts list --data run1
    $ tapewatch alerts list --data run1 --json
    $ tapewatch alerts list --data run1 --detector win_rate --state open
    """
    with open_store(asked.data, asked.config_file) as store:
        if asked.as_json:
            rows = store.every_alert(asked.filter())
            screen.put_json_lines(alert_object(row) for row in islice(rows, asked.limit))
            return
        limit = TABLE_ROWS if asked.limit is None else asked.limit
        shown = list(islice(store.every_alert(asked.filter()), limit + 1))
    _show_table(shown[:limit], has_more=len(shown) > limit)


@app.command("show", cls=Command)
@takes(ShowAsked)
def alerts_show(asked: ShowAsked) -> None:
    """Show one alert: claim, evidence, what would have prevented it, rule, sources, ledger place.

    Examples
    --------
    $ tapewatch alerts show 3f9a --data run1
    $ tapewatch alerts show 3f9a --data run1 --json
    """
    with open_store(asked.data, asked.config_file) as store:
        alert = store.alert(asked.alert_id)
        updates = store.updates(alert.alert_id)
        found = store.notices(account_id=alert.account_id).rows
    notices = [one for one in found if one.alert_id == alert.alert_id]
    if asked.as_json:
        extra = {
            "positions": alert.positions,
            "updates": updates,
            "notices": notices,
        }
        screen.put_json(alert_object(alert) | extra)
        return
    show_alert(screen.out(), alert, updates, notices)


@app.command("export", cls=Command)
@takes(ExportAsked)
def alerts_export(asked: ExportAsked) -> None:
    """Write alerts to standard output as a table for other programs.

    In CSV a text that a spreadsheet would take for a formula gets an apostrophe before it.

    Examples
    --------
    $ tapewatch alerts export --data run1 --format csv > alerts.csv
    $ tapewatch alerts export --data run1 --format ndjson > alerts.ndjson
    """
    if asked.format_name not in {"csv", "ndjson"}:
        raise UsageProblem(f"--format {asked.format_name}: choose csv or ndjson.")
    with open_store(asked.data, asked.config_file) as store:
        rows = store.every_alert(asked.filter())
        if asked.format_name == "ndjson":
            screen.put_json_lines(alert_object(row) for row in rows)
        else:
            screen.put_csv(EXPORT_COLUMNS, _cells(rows))


app.command("compare", cls=Command)(takes(CompareAsked)(compare_runs))


def open_store(data: Path | None, config_file: Path | None) -> StoreReader:
    """Open the store of a data folder to read it."""
    folder = data_folder(None if data is None else str(data), config_file)
    return StoreReader(folder / "store.sqlite3")


def _cells(rows: Iterator[AlertRow]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield msgspec.to_builtins(row)


def _show_table(rows: list[AlertRow], *, has_more: bool) -> None:
    console = screen.out()
    if not rows:
        console.print("No alerts here: nothing crossed a figure, or the filters leave none.")
        return
    if console.width >= WIDE:
        console.print(alert_table(rows))
    else:
        _show_in_pairs(console, rows)
    rest = ", and more: --limit N shows them" if has_more else ""
    count = count_of(len(rows), "alert")
    console.print(f"{count}{rest}. One of them whole: tapewatch alerts show ID")


def alert_table(rows: list[AlertRow]) -> Any:
    """Return alerts as a dense table, for a wide screen."""
    table = screen.table(*COLUMNS, "why", wrap=("why",))
    for row in rows:
        table.add_row(*alert_cells(row), screen.plain(row.why))
    return table


def alert_cells(row: AlertRow) -> list[str]:
    """Return an alert's cells under ``COLUMNS``."""
    where = row.account_id if row.instrument is None else f"{row.account_id} {row.instrument}"
    return [
        row.alert_id[:8],
        screen.severity(row.severity),
        row.detector,
        screen.plain(where),
        screen.time_text(row.event_time_ns, is_short=True),
        row.state,
    ]


def _show_in_pairs(console: Any, rows: list[AlertRow]) -> None:
    """Write each alert as a line of facts and a line of why, for a narrow screen or a pipe."""
    for row in rows:
        console.print("  ".join(alert_cells(row)), soft_wrap=True)
        console.print(f"    {screen.plain(row.why)}", soft_wrap=True)
