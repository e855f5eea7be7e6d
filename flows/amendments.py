"""What a second run of a day changed, written into the first run's ledger: ``alert.amended``.

Nothing is taken back: an entry says what the second run decided, and where in its ledger that is
shown. The second ledger is named by size and root, so that it cannot be another one later.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from flows import clock
from flows.acts import ACTOR, eid_of, rule_of
from flows.alert_changes import AlertChange
from flows.datafolder import Paths
from flows.plan import LOG_NAME, ORIGIN
from flows.store.rows import AlertRow
from ledger.entry import EntryDraft
from ledger.verify import verify
from ledger.writer import LedgerWriter


class Shown(NamedTuple):
    """The second run's ledger, as it was verified."""

    origin: str
    size: int
    root: str


def shown_by(folder: Path) -> Shown:
    """Verify the ledger of a data folder and return what names it.

    Raises
    ------
    AuditError
        It is not sound.
    """
    report = verify(Paths(folder).ledger / LOG_NAME)
    return Shown(report.origin, report.size, report.head)


def write_amendments(folder: Path, changes: Iterable[AlertChange], shown: Shown) -> int:
    """Append an entry for each alert on which the runs differ; return how many were new.

    The same changes shown by the same ledger are entered once, however often they are given.

    Raises
    ------
    LedgerBusy
        A run is writing the ledger.
    """
    drafts = [_draft(one, shown) for one in changes if one.change != "same"]
    with LedgerWriter(Paths(folder).ledger / LOG_NAME, ORIGIN, clock.now_ns) as writer:
        receipts = writer.append(drafts)
    return sum(receipt.is_new for receipt in receipts)


def _draft(one: AlertChange, shown: Shown) -> EntryDraft:
    body: dict[str, Any] = {
        "change": one.change,
        "first": _told(one.first),
        "second": _told(one.second),
        "second_log": {"origin": shown.origin, "size": str(shown.size), "root": shown.root},
    }
    ids = ("" if row is None else row.alert_id for row in (one.first, one.second))
    return EntryDraft(
        eid=eid_of("alert.amended", *ids, shown.root),
        kind="alert.amended",
        event_time_ns=one.alert.event_time_ns,
        actor=ACTOR,
        src=[],
        rule=rule_of(one.alert),
        body=body,
    )


def _told(row: AlertRow | None) -> dict[str, Any] | None:
    """Say which alert, and where its own entries begin, which say the rest."""
    if row is None:
        return None
    return {
        "alert_id": row.alert_id,
        "trading_day": row.trading_day,
        "state": row.state,
        "index": row.ledger_index,
    }
