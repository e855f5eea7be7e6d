"""The live view: one screen, drawn anew a few times a second."""

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console.screen import plain, severity, time_text
from console.summary import number_text
from console.watch import Watcher

DRAWN_A_SECOND: Final = 4
_STATE_STYLE: Final = {"running": "green", "quiet": "yellow", "stopped": "bold"}
_NOTICES_SHOWN: Final = 5
_NEAR_SHOWN: Final = 4


def live_view(console: Console, watcher: Watcher, note: str) -> Live:
    """Return the view, to be entered for as long as the run lasts."""
    return Live(
        console=console,
        get_renderable=lambda: render(watcher, note),
        refresh_per_second=DRAWN_A_SECOND,
        transient=True,
    )


def render(watcher: Watcher, note: str) -> RenderableType:
    """Draw the screen."""
    sight = watcher.sight
    if not sight.progress.events:
        return Group(
            _head(watcher),
            Text("starting: the first run on a machine compiles kernels, up to a minute …"),
            Text(note, style="dim"),
        )
    boxes = Table.grid(padding=(0, 3))
    boxes.add_row(
        _counts("alerts by detector", sight.summary.get("alerts", {})),
        _counts("refused lines by reason", sight.summary.get("rejected", {})),
        _notices(watcher),
    )
    gap = Text("")
    parts = (_head(watcher), gap, _recent(watcher), gap, boxes, gap, _near(watcher), gap)
    return Group(*parts, Text(note, style="dim"))


def _box(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Make a table that takes no line more than its rows and head: a screen has few."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return made


def _head(watcher: Watcher) -> Text:
    progress, state = watcher.sight.progress, watcher.state()
    size = watcher.sight.summary.get("ledger", {}).get("size", 0)
    when = time_text(progress.watermark_ns) if progress.events else "-"
    head = Text("tapewatch ", style="bold")
    head.append(f"● {state}", style=_STATE_STYLE.get(state, "dim"))
    head.append(
        f"  market time {when}  {progress.events:,} events  {watcher.rate():,.0f}/s  "
        f"{progress.alerts:,} alerts  ledger {size:,} entries"
    )
    return head


def _recent(watcher: Watcher) -> Table:
    rows = _box("newest alerts (UTC)", "severity", "detector", "account", "why")
    rows.expand, rows.columns[-1].ratio = True, 1
    for row in watcher.sight.alerts:
        rows.add_row(
            time_text(row.event_time_ns, is_short=True),
            severity(row.severity),
            row.detector,
            plain(row.account_id),
            plain(row.why),
        )
    if not watcher.sight.alerts:
        rows.add_row("none yet")
    return rows


def _counts(title: str, counts: Mapping[str, Any]) -> Table:
    rows = _box(title, "", right=("",))
    for name, count in counts.items():
        rows.add_row(plain(name), f"{count:,}")
    if not counts:
        rows.add_row("none", "")
    return rows


def _notices(watcher: Watcher) -> Table:
    notices = watcher.sight.notices
    rows = _box(f"verification notices ({len(notices)})", "")
    for row in notices[:_NOTICES_SHOWN]:
        rows.add_row(plain(row.account_id), row.state)
    if not notices:
        rows.add_row("none", "")
    return rows


def _near(watcher: Watcher) -> Table:
    rows = _box("closest to a figure", "account", "value", "figure", right=("value", "figure"))
    for one in watcher.sight.near[:_NEAR_SHOWN]:
        rows.add_row(
            one.rule_id, plain(one.subject), number_text(one.value), number_text(one.figure)
        )
    if not watcher.sight.near:
        rows.add_row("nobody yet")
    return rows
