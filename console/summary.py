"""What a run amounts to, for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from console.screen import plain, table
from detectors.core.wording import count_of
from flows.store import HeadroomRow, StoreReader
from ledger.verify import AuditError, verify_data

NEAREST: Final = 6
NEAREST_OF_RULE: Final = 1
_LOOKED_AT: Final = 500


def show_run(
    console: Console, summary: Mapping[str, Any], data: Path, *, is_new: bool = True
) -> bool:
    """Write the summary of a run and say whether its ledger is sound."""
    seconds, events = summary["seconds"], summary["events"]
    rate = f" ({events / seconds:,.0f} events/s)" if seconds and is_new else ""
    console.print(
        f"[bold]{count_of(events, 'event')}[/bold] of {count_of(summary['accounts'], 'account')} "
        f"in {seconds:,.1f} s{rate}; {summary['late']:,} late, "
        f"{count_of(summary['duplicates'], 'duplicate')}"
    )
    _show_counts(console, summary)
    with StoreReader(data / "store.sqlite3") as store:
        _show_nearest(console, store)
    return show_ledger(console, data)


def _show_counts(console: Console, summary: Mapping[str, Any]) -> None:
    alerts = table("alerts by detector", "count", right=("count",))
    for detector, count in summary["alerts"].items():
        alerts.add_row(detector, f"{count:,}")
    if not summary["alerts"]:
        alerts.add_row("none", "0")
    console.print(alerts)
    if summary["rejected"]:
        letters = table("refused lines by reason", "count", right=("count",))
        for reason, count in sorted(summary["rejected"].items(), key=lambda pair: -pair[1]):
            letters.add_row(reason, f"{count:,}")
        console.print(letters)
    else:
        console.print("refused lines: none")
    withheld = ", ".join(
        f"{count:,} {reason.replace('_', ' ')}"
        for reason, count in summary.get("notices_withheld", {}).items()
    )
    rest = f" (withheld: {withheld})" if withheld else ""
    console.print(f"verification notices: {summary['notices']:,}{rest}")
    for note in summary.get("notes", []):
        console.print(f"note: {plain(note)}")


def _show_nearest(console: Console, store: StoreReader) -> None:
    near = nearest(store)
    if not near:
        return
    rows = table("closest to a figure", "account", "value", "figure", right=("value", "figure"))
    for one in near:
        rows.add_row(
            one.rule_id, plain(one.subject), number_text(one.value), number_text(one.figure)
        )
    console.print(rows)


def nearest(store: StoreReader) -> list[HeadroomRow]:
    """Return who is closest to a figure without an alert, a few of each rule."""
    kept: list[HeadroomRow] = []
    for one in store.headroom(limit=_LOOKED_AT):
        if sum(other.rule_id == one.rule_id for other in kept) < NEAREST_OF_RULE:
            kept.append(one)
    return kept[:NEAREST]


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
