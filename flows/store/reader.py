"""Read the store: lists with filters. Readers never lock and never wait for the writer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from sqlalchemy import func, select

from flows.store import rows, schema, tables
from flows.store.base import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Lists, Page, page_size

_REJECTED: Final = "rejected."


class AlertFilter(Struct, frozen=True, kw_only=True):
    """Which alerts; None leaves a column alone. Times are half open: since <= time < until."""

    tenant: str | None = None
    detector: str | None = None
    rule_id: str | None = None
    account_id: str | None = None
    instrument: str | None = None
    severity: str | None = None
    state: str | None = None
    trading_day: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


class StoreReader(Lists):
    """The store, read only.

    Parameters
    ----------
    path
        Of the SQLite file.

    Raises
    ------
    StoreError
        If there is no store, or another version's.
    """

    def __init__(self, path: Path) -> None:
        self._engine = schema.open_to_read(path)

    def alerts(
        self,
        wanted: AlertFilter = AlertFilter(),  # noqa: B008  frozen
        limit: int = PAGE_SIZE_DEFAULT,
        after: str | None = None,
    ) -> Page[rows.AlertRow]:
        """Return alerts, newest first by event time."""
        table = tables.alerts.c
        query = select(tables.alerts)
        for name, value in msgspec.structs.asdict(wanted).items():
            if value is None:
                continue
            if name == "since_ns":
                query = query.where(table.event_time_ns >= value)
            elif name == "until_ns":
                query = query.where(table.event_time_ns < value)
            else:
                query = query.where(table[name] == value)
        return self._page(query, tables.alerts, rows.AlertRow, limit, after)

    def every_alert(
        self,
        wanted: AlertFilter = AlertFilter(),  # noqa: B008  frozen
    ) -> Iterator[rows.AlertRow]:
        """Yield all alerts wanted, newest first, holding one page at a time."""
        page = self.alerts(wanted, PAGE_SIZE_MAX)
        yield from page.rows
        while page.after is not None:
            page = self.alerts(wanted, PAGE_SIZE_MAX, page.after)
            yield from page.rows

    def alert(self, alert_id: str) -> rows.AlertRow:
        """Return one alert by its id or the beginning of it.

        Raises
        ------
        StoreError
            If none, or more than one, begins so.
        """
        return self._by_prefix(tables.alerts, rows.AlertRow, alert_id, "alert")

    def updates(self, alert_id: str) -> list[rows.AlertUpdateRow]:
        """Return an alert's life after its opening, in order; ``alert_id`` in full."""
        table = tables.alert_updates
        query = select(table).where(table.c.alert_id == alert_id).order_by(table.c.ordinal)
        return self._all(query.limit(PAGE_SIZE_MAX), rows.AlertUpdateRow)

    def alert_counts(self) -> dict[str, dict[str, int]]:
        """Return {detector: {state: alerts}}."""
        table = tables.alerts.c
        query = select(table.detector, table.state, func.count()).group_by(
            table.detector, table.state
        )
        counts: dict[str, dict[str, int]] = {}
        for detector, state, count in self._fetch(query.order_by(table.detector, table.state)):
            counts.setdefault(detector, {})[state] = count
        return counts

    def episodes(
        self, account_id: str | None = None, limit: int = PAGE_SIZE_DEFAULT
    ) -> list[rows.EpisodeRow]:
        """Return episodes, newest first."""
        table = tables.episodes
        query = select(table)
        if account_id is not None:
            query = query.where(table.c.account_id == account_id)
        query = query.order_by(table.c.opened_ns.desc(), table.c.episode_id)
        return self._all(query.limit(page_size(limit)), rows.EpisodeRow)

    def notices(
        self,
        *,
        account_id: str | None = None,
        state: str | None = None,
        limit: int = PAGE_SIZE_DEFAULT,
        after: str | None = None,
    ) -> Page[rows.NoticeRow]:
        """Return notices, newest first."""
        table = tables.notices
        query = select(table)
        if account_id is not None:
            query = query.where(table.c.account_id == account_id)
        if state is not None:
            query = query.where(table.c.state == state)
        return self._page(query, table, rows.NoticeRow, limit, after)

    def notice(self, notice_id: str) -> rows.NoticeRow:
        """Return one notice by its id or the beginning of it; see ``alert``."""
        return self._by_prefix(tables.notices, rows.NoticeRow, notice_id, "notice")

    def dead_letters(
        self,
        *,
        reason: str | None = None,
        lane: str | None = None,
        limit: int = PAGE_SIZE_DEFAULT,
        after: str | None = None,
    ) -> Page[rows.DeadLetterRow]:
        """Return refused lines by lane and place."""
        table = tables.dead_letters
        query = select(table)
        if reason is not None:
            query = query.where(table.c.reason == reason)
        if lane is not None:
            query = query.where(table.c.lane == lane)
        return self._page(query, table, rows.DeadLetterRow, limit, after)

    def dead_letter(self, letter_id: str) -> rows.DeadLetterRow:
        """Return one refused line by its id or the beginning of it; see ``alert``."""
        return self._by_prefix(tables.dead_letters, rows.DeadLetterRow, letter_id, "dead letter")

    def dead_letter_groups(self) -> list[rows.DeadLetterGroup]:
        """Return refused lines by reason, most frequent first; lines not kept are counted."""
        table = tables.dead_letters.c
        query = select(table.reason, func.count()).group_by(table.reason)
        kept: dict[str, int] = {reason: count for reason, count in self._fetch(query)}  # noqa: C416  a Row is no pair to mypy
        totals = dict(kept)
        for name, count in self.counts().items():
            if name.startswith(_REJECTED):
                reason = name.removeprefix(_REJECTED)
                totals[reason] = max(count, kept.get(reason, 0))
        groups = [
            rows.DeadLetterGroup(
                reason=reason,
                total=total,
                kept=kept.get(reason, 0),
                first=next(iter(self.dead_letters(reason=reason, limit=1).rows), None),
            )
            for reason, total in totals.items()
            if total
        ]
        return sorted(groups, key=lambda group: (-group.total, group.reason))

    def headroom(
        self,
        *,
        rule_id: str | None = None,
        account_id: str | None = None,
        limit: int = PAGE_SIZE_DEFAULT,
    ) -> list[rows.HeadroomRow]:
        """Return subjects by how much of their figure they have used, nearest first."""
        table = tables.headroom
        query = select(table)
        if rule_id is not None:
            query = query.where(table.c.rule_id == rule_id)
        if account_id is not None:
            query = query.where(table.c.account_id == account_id)
        used = table.c.value / func.nullif(table.c.figure, 0)
        query = query.order_by(used.desc(), table.c.rule_id, table.c.subject)
        return self._all(query.limit(page_size(limit)), rows.HeadroomRow)

    def counts(self, lane: str | None = None) -> dict[str, int]:
        """Return {name: total} of one lane, or over all lanes."""
        table = tables.lane_counts.c
        query = select(table.name, func.sum(table.count)).group_by(table.name)
        if lane is not None:
            query = query.where(table.lane == lane)
        return {name: int(count) for name, count in self._fetch(query.order_by(table.name))}

    def lanes(self) -> list[str]:
        """Return every lane that has counts."""
        table = tables.lane_counts.c
        return [lane for (lane,) in self._fetch(select(table.lane).distinct().order_by(table.lane))]

    def summary(self, run_key: str) -> rows.RunSummaryRow | None:
        """Return what a run amounts to; None before its first summary."""
        table = tables.run_summary
        found = self._all(select(table).where(table.c.run_key == run_key), rows.RunSummaryRow)
        return found[0] if found else None

    def meta(self, key: str) -> str | None:
        """Return a fact about the store itself."""
        table = tables.meta.c
        return next(
            (value for (value,) in self._fetch(select(table.value).where(table.key == key))), None
        )
