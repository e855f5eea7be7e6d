"""Marking the close and ramping in plain Python, from the words of their modules."""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from naive_self_trading import DAY_NS, WINDOW_NS, in_order

Event = dict[str, Any]
Contract = tuple[str, str]


class Figures(NamedTuple):
    close_before_day_end_ns: int  # 0: windows follow each other
    window_ns: int
    trades_min: int
    share_min: Fraction
    move_min: Fraction


@dataclass
class Report:
    """A fill: who bought and sold by it as far as nobody knew before, and its line."""

    event: Event
    line: int
    is_first: bool
    parts: list[tuple[str, int]]  # account, quantity; sold below 0
    again: str = ""  # who had told the other side of it, which was its own

    @property
    def time_ns(self) -> int:
        return int(self.event["event_time_ns"])


@dataclass
class Window:
    until_ns: int
    before: int
    reports: list[Report] = field(default_factory=list)


class Told(NamedTuple):
    subject: str
    phase: str
    time_ns: int
    trades: int
    bought: int
    sold: int
    volume: int
    before: int
    last: int
    lines: list[int]


def reports_of(events: list[Event]) -> list[Report]:
    """Return all fills with what each of them says that is new."""
    known: dict[tuple[str, str, str], tuple[Event, bool]] = {}
    found = []
    for line, event in in_order(events):
        if event["kind"] != "fill":
            continue
        key = event["instrument"], event["venue"], event["fill_id"]
        first, is_over = known.get(key, (None, False))
        account, other = event["account_id"], event.get("counter_account_id", "")
        signed = event["quantity"] if event["side"] == "buy" else -event["quantity"]
        if first is None or first["event_time_ns"] <= event["event_time_ns"] - WINDOW_NS:
            known[key] = event, False
            parts = [(account, signed)]
            if other:
                parts.append((other, -signed))
            found.append(Report(event, line, is_first=True, parts=parts))
            continue
        parts, again = [], ""
        if first["side"] != event["side"] and not is_over:
            known[key] = first, True
            if "counter_account_id" not in first:
                parts = [(account, signed)]
                again = account if account == first["account_id"] else ""
        found.append(Report(event, line, is_first=False, parts=parts, again=again))
    return found


def windows_of(reports: list[Report], figures: Figures) -> list[Window]:
    """Return the windows of one contract, in order."""
    windows: list[Window] = []
    last, day = 0, -1
    for report in reports:
        now = report.time_ns
        if now // DAY_NS != day:
            last, day = 0, now // DAY_NS
        day_end_ns = (day + 1) * DAY_NS
        if not windows or now > windows[-1].until_ns:
            until_ns = min(now + figures.window_ns - 1, day_end_ns - 1)
            begins = True
            if figures.close_before_day_end_ns:
                until_ns = day_end_ns - figures.close_before_day_end_ns
                begins = until_ns - figures.window_ns < now <= until_ns
            if begins:
                windows.append(Window(until_ns, last))
        if windows and now <= windows[-1].until_ns:
            windows[-1].reports.append(report)
        if report.is_first:
            last = report.event["price"]
    return windows


def judged(window: Window, figures: Figures) -> list[tuple[str, list[Any]]]:
    """Return who fires, and with what."""
    firsts = [report for report in window.reports if report.is_first]
    volume = sum(report.event["quantity"] for report in firsts)
    last = firsts[-1].event["price"] if firsts else window.before
    if not window.before or abs(last - window.before) < figures.move_min * window.before:
        return []
    signed: dict[str, list[int]] = defaultdict(list)
    lines: dict[str, list[int]] = defaultdict(list)
    trades: dict[str, int] = defaultdict(int)
    for report in window.reports:
        for account, quantity in report.parts:
            signed[account].append(quantity)
        for account in dict.fromkeys(account for account, _ in report.parts):
            lines[account].append(report.line)
            trades[account] += account != report.again or not trades[account]
    found = []
    for account, parts in signed.items():
        net = sum(parts) if last > window.before else -sum(parts)
        if trades[account] >= figures.trades_min and net >= figures.share_min * volume:
            bought = sum(part for part in parts if part > 0)
            sold = bought - sum(parts)
            told = [trades[account], bought, sold, volume, window.before, last, lines[account][-8:]]
            found.append((account, told))
    return found


def moved(events: list[Event], figures: Figures) -> list[Told]:
    """Return what is told, sorted."""
    by_contract: dict[Contract, list[Report]] = defaultdict(list)
    for report in reports_of(events):
        by_contract[report.event["instrument"], report.event["venue"]].append(report)
    found, seen = [], set()
    for (instrument, venue), reports in by_contract.items():
        for window in windows_of(reports, figures):
            for account, told in judged(window, figures):
                subject = f"{account} {instrument}@{venue}"
                day = subject, window.until_ns // DAY_NS
                phase = "growth" if day in seen else "opening"
                seen.add(day)
                found.append(Told(subject, phase, window.until_ns, *told))
    return sorted(found)
