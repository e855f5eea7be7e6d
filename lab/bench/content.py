"""What a data folder holds, in a form in which two runs of the same input must be equal.

Left out is only what may differ: the order of entries in the ledger (shards run side by side), the
ledger's own clock, and what follows from the two.
"""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from flows.datafolder import Paths
from flows.market import KIND as PEERS
from flows.market import KIND_FIXED, KIND_REVIEW
from flows.plan import LOG_NAME
from ledger.reader import read_entries
from ledger.verify import AuditError, verify_data

_TABLES: Final = {
    "alerts": ("alert_id",),
    "alert_updates": ("eid",),
    "episodes": ("episode_id",),
    "notices": ("notice_id",),
    "dead_letters": ("id",),
    "headroom": ("rule_id", "subject"),
    "lane_counts": ("lane", "name"),
}
_OWN_OF_ENTRY: Final = ("i", "log", "log_time_ns", "prev", "v")
_OWN_KINDS: Final = ("log.", "config.")  # what the writer says of itself
_SHOWN: Final = 5


class Content(Struct, kw_only=True):
    """One data folder.

    Attributes
    ----------
    parts
        Part (a table, ``entries``, ``outbox``, ``peers``, ``summary``) -> key -> content.
    faults
        What is wrong with the folder by itself: sentences.
    """

    parts: dict[str, dict[str, Any]]
    faults: list[str]


def read_content(data: Path) -> Content:
    """Read a data folder that nobody writes to."""
    paths = Paths(data)
    faults: list[str] = []
    parts: dict[str, dict[str, Any]] = {}
    places = {}
    with closing(sqlite3.connect(paths.store)) as store:
        store.row_factory = sqlite3.Row
        for table, key in _TABLES.items():
            rows = [dict(row) for row in store.execute(f"SELECT * FROM {table}")]  # noqa: S608 - our own names
            for row in rows:
                place = row.pop("ledger_index", None)
                if table == "alerts":
                    places[row["alert_id"]] = place
            parts[table] = {" ".join(str(row[name]) for name in key): row for row in rows}
        parts["summary"] = _summary(store)
    parts["entries"] = _entries(paths.ledger / LOG_NAME, places, faults)
    folder = data / "outbox" / "notices"
    parts["outbox"] = {
        path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")
    }
    parts["peers"] = _peers(paths.control)
    try:
        verify_data(data)
    except AuditError as error:
        faults.append(str(error))
    return Content(parts=parts, faults=faults)


def _peers(path: Path) -> dict[str, Any]:
    """Read what was fixed about peers from the data folder's table, which follows any topic."""
    with closing(sqlite3.connect(path)) as control:
        kinds = (PEERS, KIND_FIXED, KIND_REVIEW)
        rows = control.execute("SELECT key, body FROM control WHERE kind IN (?, ?, ?)", kinds)
        return {key: json.loads(body) for key, body in rows}


def _summary(store: sqlite3.Connection) -> dict[str, Any]:
    (text,) = store.execute("SELECT summary FROM run_summary").fetchone()
    summary: dict[str, Any] = json.loads(text)
    summary["ledger"].pop("head")
    return summary


def _entries(log: Path, places: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    """Return entries by their id, and note doubled ones and alerts that point elsewhere."""
    entries: dict[str, Any] = {}
    index_of: dict[str, int] = {}
    for index, raw in read_entries(log):
        entry = json.loads(raw)
        eid = entry["eid"]
        if eid in index_of:
            faults.append(f"entry {eid} stands in the ledger twice")
        index_of[eid] = index
        if not entry["kind"].startswith(_OWN_KINDS):
            entries[eid] = {k: v for k, v in entry.items() if k not in _OWN_OF_ENTRY}
    faults += [
        f"alert {alert_id} points at entry {place}, its own is {index_of.get(alert_id)}"
        for alert_id, place in places.items()
        if index_of.get(alert_id) != place
    ]
    return entries


class Difference(Struct, kw_only=True):
    """How a folder differs from the one it should equal, by part."""

    lost: Counter[str]
    doubled: Counter[str]
    changed: Counter[str]
    examples: list[str]

    @property
    def is_none(self) -> bool:
        """Whether they are equal."""
        return not (self.lost or self.doubled or self.changed)


def compare(expected: Content, found: Content) -> Difference:
    """Hold a folder against an unbroken run's."""
    lost: Counter[str] = Counter()
    doubled: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    examples: list[str] = []
    for part, wanted in expected.parts.items():
        got = found.parts[part]
        lost[part] += len(wanted.keys() - got.keys())
        doubled[part] += len(got.keys() - wanted.keys())
        for key in wanted.keys() & got.keys():
            if wanted[key] != got[key]:
                changed[part] += 1
                examples.append(f"{part} {key}: expected {wanted[key]}, got {got[key]}")
        examples += [f"{part} {key} is missing" for key in wanted.keys() - got.keys()]
        examples += [f"{part} {key} is extra" for key in got.keys() - wanted.keys()]
    doubled["faults"] = len(found.faults)
    examples += found.faults
    return Difference(
        lost=+lost, doubled=+doubled, changed=+changed, examples=sorted(examples)[:_SHOWN]
    )
