"""One alert, whole, for somebody who must decide about it."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from console.screen import SEVERITY, plain, severity, time_text
from detectors.core.packs import PackRule, load_pack, pack_names
from flows.store import AlertRow, AlertUpdateRow, NoticeRow

UPDATES_SHOWN: Final = 12


def show_alert(
    console: Console,
    alert: AlertRow,
    updates: Sequence[AlertUpdateRow],
    notices: Sequence[NoticeRow],
) -> None:
    """Write the panel."""
    rule = find_rule(alert.rule.pack, alert.rule.id)
    parts: list[RenderableType] = [
        f"[bold]{plain(alert.why)}[/bold]",
        "",
        _facts(_head(alert, rule)),
        "",
        "[bold]evidence[/bold]",
        _facts([(key, _value(key, item)) for key, item in _flat(alert.evidence)]),
        "",
        f"[bold]what would have prevented it[/bold]  {_counterfactual(alert.counterfactual)}",
        "",
        *_rule_parts(alert, rule),
        "",
        *_story(alert, updates, notices),
    ]
    title = f"{severity(alert.severity)}  {plain(alert.detector)}  {alert.alert_id}"
    console.print(Panel(Group(*parts), title=title, title_align="left", border_style=_style(alert)))


def find_rule(pack: str, rule_id: str) -> PackRule | None:
    """Return the rule as its pack states it today; None for a pack that is not here."""
    if pack not in pack_names():
        return None
    return next((rule for rule in load_pack(pack).rule if rule.id == rule_id), None)


def _style(alert: AlertRow) -> str:
    return SEVERITY[alert.severity][1]


def _head(alert: AlertRow, rule: PackRule | None) -> list[tuple[str, str]]:
    where = "every instrument" if alert.instrument is None else alert.instrument
    title = f" ({rule.title}, {rule.title_zh})" if rule else ""
    ledger = (
        f"{alert.ledger_origin} entry {alert.ledger_index}"
        if alert.ledger_index is not None
        else "not yet known"
    )
    return [
        ("account", f"{alert.account_id} (tenant {alert.tenant})"),
        ("instrument", where),
        ("rule", f"{alert.rule.id} v{alert.rule.version}{title}"),
        ("state", f"{alert.state}, changed {alert.update_count} times since"),
        ("began", time_text(alert.onset_ns)),
        ("fired", f"{time_text(alert.event_time_ns)}, trading day {alert.trading_day}"),
        ("ledger", ledger),
    ]


def _rule_parts(alert: AlertRow, rule: PackRule | None) -> list[RenderableType]:
    head = f"[bold]rule text[/bold]  {plain(alert.rule.article)}  (pack {plain(alert.rule.pack)})"
    if rule is None:
        return [head, "The pack is not installed here, so its sources cannot be shown."]
    rows = [
        (
            f"{name} = {figure.value}",
            (
                f"{figure.article}; {figure.source}; in force since {figure.effective}, "
                f"as of {figure.as_of}; {figure.confidence}"
            ),
        )
        for name, figure in rule.figures.items()
    ]
    exempt = ", ".join(rule.exempt) or "none"
    return [
        head,
        _facts(rows),
        f"exempt when registered: {exempt}; parameters hash {alert.rule.parameters_hash}",
    ]


def _story(
    alert: AlertRow, updates: Sequence[AlertUpdateRow], notices: Sequence[NoticeRow]
) -> list[RenderableType]:
    places = ", ".join(f"{p.lane}:{p.line + 1}" for p in alert.positions) or "none noted"
    parts: list[RenderableType] = [f"[bold]lines[/bold]  {plain(places)}"]
    if updates:
        parts += ["", "[bold]what followed[/bold]"]
        steps = [(f"{time_text(u.event_time_ns)}  {u.phase}", u.why) for u in updates]
        parts.append(_facts(steps[:UPDATES_SHOWN]))
        if len(steps) > UPDATES_SHOWN:
            parts.append(f"and {len(steps) - UPDATES_SHOWN} more; --json has them all")
    for notice in notices:
        answered = f", answered {time_text(notice.answered_ns)}" if notice.answered_ns else ""
        outcome = f", then {notice.outcome}" if notice.outcome else ""
        parts.append(
            f"[bold]notice[/bold]  {notice.notice_id[:8]} sent {time_text(notice.sent_ns)}: "
            f"{notice.state}{answered}{outcome}"
        )
    return parts


def _facts(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", overflow="fold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(plain(name), plain(value))
    return table


def _counterfactual(given: dict[str, Any]) -> str:
    text = given.get("text")
    return plain(text if text is not None else given)


def _flat(given: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in given.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield prefix + key, item


def _value(key: str, item: Any) -> str:
    """Return a number of the evidence with what it means beside it.

    Examples
    --------
    >>> _value("win_rate_ppm", 950_000), _value("realized_pnl_e8", "4900000000")
    ('950,000 (0.95)', '4900000000 (49)')
    """
    if isinstance(item, bool):
        return "yes" if item else "no"
    shown = f"{item:,}" if isinstance(item, int) else str(item)
    for ending, divisor in (("_e8", 10**8), ("_ppm", 10**6)):
        if key.endswith(ending) and shown.lstrip("-").replace(",", "").isdecimal():
            return f"{shown} ({(Decimal(int(item)) / divisor).normalize():,f})"
    return shown
