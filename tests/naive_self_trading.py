"""Self-trades counted in plain Python, from the words of ``detectors.self_trading``."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
WINDOW_NS = 10 * 10**9
DAY_NS = 86_400 * 10**9


@dataclass
class Counted:
    """One self-trade: whose, the how manieth of the day, and which reports so far."""

    party: str
    contract: tuple[str, str]
    count: int
    event_id: str
    lines: list[int]
    one_sided: int


@dataclass
class Report:
    """The first report of a trade."""

    event: Event
    line: int
    told: bool = False
    apart: bool = False
    done: bool = False


@dataclass
class Book:
    """Who is behind whom, first reports, and counts so far."""

    behind: dict[str, tuple[str, str]] = field(default_factory=dict)
    reports: dict[tuple[str, str, str], Report] = field(default_factory=dict)
    counts: dict[tuple[str, tuple[str, str], int], int] = field(
        default_factory=lambda: defaultdict(int)
    )
    lines: dict[tuple[str, tuple[str, str], int], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    alone: dict[tuple[tuple[str, str], int], int] = field(default_factory=lambda: defaultdict(int))


def party_of(book: Book, one: str, other: str) -> str:
    """Say what both accounts are: one group, one owner, one account; empty for strangers."""
    (owner, group), (other_owner, other_group) = (
        book.behind.get(account, ("", "")) for account in (one, other)
    )
    if group and group == other_group:
        return f"control_group {group}"
    if owner and owner == other_owner:
        return f"beneficial_owner {owner}"
    return one if one == other else ""


def in_order(events: list[Event]) -> list[tuple[int, Event]]:
    """Sort as align does: by time, files first, then by name (instruments do not meet)."""
    numbered = enumerate(events)
    return sorted(
        numbered,
        key=lambda one: (
            one[1]["event_time_ns"], one[1]["kind"] != "ref.account", one[1]["event_id"]
        ),
    )  # fmt: skip


def self_trades(events: list[Event]) -> list[Counted]:
    """Return every self-trade in order."""
    book, found = Book(), []
    for line, event in in_order(events):
        if event["kind"] == "ref.account":
            who = event.get("beneficial_owner", ""), event.get("control_group", "")
            book.behind[event["account_id"]] = who
        elif event["kind"] == "fill":
            counted = on_fill(book, line, event)
            if counted is not None:
                found.append(counted)
    return found


def on_fill(book: Book, line: int, event: Event) -> Counted | None:
    contract = event["instrument"], event["venue"]
    day = event["event_time_ns"] // DAY_NS
    key = (*contract, event["fill_id"])
    first = book.reports.get(key)
    if first is None or first.event["event_time_ns"] <= event["event_time_ns"] - WINDOW_NS:
        return on_first(book, line, event, key)
    if first.done or first.event["side"] == event["side"]:
        return None
    first.done = True
    if first.apart:
        return None
    party = party_of(book, event["account_id"], first.event["account_id"])
    if not first.told and first.event["event_time_ns"] // DAY_NS == day:
        book.alone[contract, day] -= 1
    if not party:
        return None
    if first.told:
        if book.counts[party, contract, day]:
            book.lines[party, contract, day].append(line)
        return None
    return counted(book, event, party, [first.line, line])


def on_first(book: Book, line: int, event: Event, key: tuple[str, str, str]) -> Counted | None:
    contract, day = key[:2], event["event_time_ns"] // DAY_NS
    other = event.get("counter_account_id")
    if other is None:
        book.reports[key] = Report(event, line)
        book.alone[contract, day] += 1
        return None
    party = party_of(book, event["account_id"], other)
    book.reports[key] = Report(event, line, told=bool(party), apart=not party)
    if not party:
        return None
    return counted(book, event, party, [line])


def counted(book: Book, event: Event, party: str, lines: list[int]) -> Counted:
    contract, day = (event["instrument"], event["venue"]), event["event_time_ns"] // DAY_NS
    book.counts[party, contract, day] += 1
    book.lines[party, contract, day] += lines
    return Counted(
        party,
        contract,
        book.counts[party, contract, day],
        event["event_id"],
        book.lines[party, contract, day][-16:],  # a day's evidence is of that day
        book.alone[contract, day],
    )
