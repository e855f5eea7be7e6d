"""A table for people, and how its cells are spelled."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct


class Table(Struct, frozen=True, kw_only=True):
    """One table: what it answers, how to read it, and its cells; ``words`` are no numbers."""

    title: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """The columns that hold numbers."""
        return tuple(name for name in self.head if name not in self.words)


def percents(ends: Sequence[float]) -> str:
    """Spell an interval of shares."""
    low, high = ends
    return f"[{low:.0%}, {high:.0%}]"


def interval(ends: Sequence[float]) -> str:
    """Spell an interval of counts."""
    low, high = ends
    return f"[{low:,.2f}, {high:,.2f}]"


def number(value: float | None) -> str:
    """Spell a number, or a dash for none."""
    return "-" if value is None else f"{value:,.4g}"


def verdict(row: Mapping[str, Any]) -> str:
    """Say whether a bound that is claimed was refuted."""
    refuted = row["is_refuted"]
    if row["is_claimed"]:
        return "REFUTED" if refuted else "not refuted"
    return "not claimed, and refuted" if refuted else "not claimed"
