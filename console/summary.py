"""What a run amounts to, for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from console.screen import plain, table
from flows.store import StoreReader
from ledger.verify import AuditError, verify_data

NEAREST: int = 5


def show_run(console: Console, summary: Mapping[str, Any], data: Path) -> bool:
    """Write the summary of a run and say whether its ledger is sound."""
    seconds = summary.get("seconds", 0.0)
    events = summary.get("events", 0)
    rate = f" ({events / seconds:,.0f} events/s)" if seconds else ""
    console.print(
        f"[bold]{events:,} events[/bold] of {summary.get('accounts', 0):,} accounts in "
        f"{seconds:,.1f} s{rate}; {summary.get('late', 0):,} late, "
        f"{summary.get('duplicates', 0):,} duplicates"
    )
    _show_counts(console, summary)
    with StoreReader(data / "store.sqlite3") as store:
        _show_nearest(console, store)
    return show_ledger(console, data)


def _show_counts(console: Console, summary: Mapping[str, Any]) -> None:
    alerts = table("alerts by detector", "count", right=("count",))
    for detector, count in summary.get("alerts", {}).items():
        alerts.add_row(detector, f"{count:,}")
    if not summary.get("alerts"):
        alerts.add_row("none", "0")
    console.print(alerts)
    if summary.get("rejected"):
        letters = table("refused lines by reason", "count", right=("count",))
        for reason, count in sorted(summary["rejected"].items(), key=lambda pair: -pair[1]):
            letters.add_row(reason, f"{count:,}")
        console.print(letters)
    else:
        console.print("refused lines: none")
    console.print(f"verification notices: {summary.get('notices', 0):,}")


def _show_nearest(console: Console, store: StoreReader) -> None:
    near = store.headroom(limit=NEAREST)
    if not near:
        return
    rows = table("closest to a figure", "account", "value", "figure", right=("value", "figure"))
    for one in near:
        rows.add_row(
            one.rule_id, plain(one.subject), number_text(one.value), number_text(one.figure)
        )
    console.print(rows)


def number_text(value: float) -> str:
    """Return a figure without decimals that say nothing.

    Examples
    --------
    >>> number_text(300.0), number_text(0.5)
    ('300', '0.50')
    """
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def show_ledger(console: Console, data: Path) -> bool:
    """Verify the ledger, write the verdict, and return whether it is sound."""
    try:
        for report in verify_data(data):
            console.print(
                f"ledger: [bold green]✔ {report.verdict}[/bold green], {report.size:,} entries, "
                f"root {report.head[:16]}…"
            )
    except AuditError as fault:
        console.print(f"ledger: [bold red]✘ NOT SOUND[/bold red]. {plain(fault)}")
        return False
    return True
