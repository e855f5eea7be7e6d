"""What other programs read of us: the same objects on a topic and from the command line."""

import base64
from typing import Any

import msgspec

from flows.store.rows import AlertRow, DeadLetterRow


def alert_object(row: AlertRow) -> dict[str, Any]:
    """Return an alert as programs read it."""
    return {
        "alert_id": row.alert_id,
        "detector": row.detector,
        "account_id": row.account_id,
        "instrument": row.instrument,
        "severity": row.severity,
        "onset_ns": row.onset_ns,
        "why": row.why,
        "evidence": row.evidence,
        "counterfactual": row.counterfactual,
        "rule": msgspec.to_builtins(row.rule),
        "ledger": {"origin": row.ledger_origin, "index": row.ledger_index},
        "state": row.state,
        "event_time_ns": row.event_time_ns,
        "updated_ns": row.updated_ns,
        "trading_day": row.trading_day,
        "update_count": row.update_count,
    }


def dead_letter_object(row: DeadLetterRow) -> dict[str, Any]:
    """Return a refused line as programs read it; bytes that are no text come as base64 too."""
    fields: dict[str, Any] = msgspec.to_builtins(row, builtin_types=(bytes,))
    fields["line"] = fields.pop("line_number") + 1
    fields["raw"] = row.raw.decode(errors="replace")
    if fields["raw"].encode() != row.raw:
        fields["raw_base64"] = base64.b64encode(row.raw).decode()
    return fields
