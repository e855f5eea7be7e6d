"""What a ledger's entries amount to, folded one by one, to hold the store against."""

from pathlib import Path
from typing import Any

import orjson

from flows.store import StoreReader
from ledger.reader import read_entries

ENDS = ("confirmed", "withdrawn")


def entries_of(folder: Path) -> list[dict[str, Any]]:
    """Return every entry of a log."""
    return [orjson.loads(entry) for _, entry in read_entries(folder)]


def contents_of(folder: Path) -> list[tuple[str, Any]]:
    """Return what must be the same however a run was made, sorted by entry id."""
    names = ("kind", "event_time_ns", "actor", "rule", "body")
    return sorted(
        ((e["eid"], {name: e[name] for name in names}) for e in entries_of(folder)[1:]),
        key=lambda pair: pair[0],
    )


def fold(entries: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return {alert id: facts} and {notice id: facts}."""
    alerts: dict[str, Any] = {}
    notices: dict[str, Any] = {}
    for index, entry in enumerate(entries):
        body = entry["body"]
        if entry["kind"] == "alert":
            state = "provisional" if body["phase"] == "provisional" else "open"
            alerts[body["alert_id"]] = {
                "state": state,
                "update_count": 0,
                "ledger_index": index,
                "updates": [],
                "event_time_ns": int(entry["event_time_ns"]),
            } | _told(body)
        elif entry["kind"] == "alert.updated":
            alert = alerts[body["alert_id"]]
            alert["update_count"] += 1
            alert["updates"].append((entry["eid"], index, body["phase"], body["why"]))
            if body["phase"] in ENDS:
                alert["state"] = body["phase"]
            if body["phase"] != "receded":
                alert |= _told(body)
        elif entry["kind"] == "alert.closed":
            alert = alerts[body["alert_id"]]
            alert["update_count"] += 1
            alert["state"] = body["state"]
            assert body["updates"] == alert["update_count"]
        elif entry["kind"] in {"notice", "notice.updated"}:
            held = notices.setdefault(body["notice_id"], {"ordinal": -1, "ledger_index": index})
            held["ordinal"] += 1
            held |= {name: body[name] for name in ("state", "outcome", "alert_id", "text")}
    return alerts, notices


def _told(body: dict[str, Any]) -> dict[str, Any]:
    names = ("why", "evidence", "severity", "instrument", "trading_day", "detector")
    return {name: body[name] for name in names}


def stored(reader: StoreReader) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the same facts as the store has them."""
    alerts = {}
    for row in reader.every_alert():
        updates = reader.updates(row.alert_id)
        alerts[row.alert_id] = {
            "state": row.state,
            "update_count": row.update_count,
            "ledger_index": row.ledger_index,
            "updates": [(u.eid, u.ledger_index, u.phase, u.why) for u in updates],
            "event_time_ns": row.event_time_ns,
            "why": row.why,
            "evidence": row.evidence,
            "severity": row.severity,
            "instrument": row.instrument,
            "trading_day": row.trading_day,
            "detector": row.detector,
        }
    notices = {
        row.notice_id: {
            "ordinal": row.ordinal,
            "ledger_index": row.ledger_index,
            "state": row.state,
            "outcome": row.outcome,
            "alert_id": row.alert_id,
            "text": row.text,
        }
        for row in reader.notices(limit=1000).rows
    }
    return alerts, notices
