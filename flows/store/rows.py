"""One struct for a row of each table; a field is a column of the same name."""

from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from schemas.alerts import Phase, Position, Rule, Severity
from schemas.ids import digest_parts

AlertState: TypeAlias = Literal["open", "provisional", "confirmed", "withdrawn", "closed"]
NoticeState: TypeAlias = Literal["sent", "answered", "expired", "rechecked"]
_DEAD_LETTER_DOMAIN: Final = "tapewatch/dead-letter/1"


class AlertRow(Struct, frozen=True, kw_only=True):
    """An alert as it stands now; ``updated_ns`` is the event time of its last change."""

    alert_id: str
    tenant: str
    detector: str
    rule_id: str
    account_id: str
    instrument: str | None
    subject: str
    severity: Severity
    state: AlertState
    onset_ns: int
    event_time_ns: int
    updated_ns: int
    trading_day: str
    why: str
    evidence: dict[str, Any]
    counterfactual: dict[str, Any]
    rule: Rule
    positions: tuple[Position, ...] = ()
    update_count: int = 0
    ledger_origin: str | None = None
    ledger_index: int | None = None


class AlertUpdateRow(Struct, frozen=True, kw_only=True):
    """One step in an alert's life after its opening, with the evidence of that moment."""

    eid: str
    alert_id: str
    ordinal: int
    phase: Phase
    severity: Severity
    event_time_ns: int
    why: str
    evidence: dict[str, Any]
    counterfactual: dict[str, Any]
    positions: tuple[Position, ...] = ()
    ledger_origin: str | None = None
    ledger_index: int | None = None


class EpisodeRow(Struct, frozen=True, kw_only=True):
    """One stretch of a subject's behaviour under one detector; it holds one alert."""

    episode_id: str
    detector: str
    subject: str
    account_id: str
    alert_id: str
    opened_ns: int
    last_ns: int
    closed_ns: int | None = None
    close_reason: str | None = None
    finding_count: int = 1


class NoticeRow(Struct, frozen=True, kw_only=True):
    """One prompt to a customer and what became of it."""

    notice_id: str
    rule_id: str
    account_id: str
    alert_id: str
    sent_ns: int
    expires_ns: int
    state: NoticeState
    ordinal: int = 0
    tenant: str = ""
    text: str = ""
    answered_ns: int | None = None
    outcome: str | None = None
    ledger_origin: str | None = None
    ledger_index: int | None = None


class DeadLetterRow(Struct, frozen=True, kw_only=True):
    """One refused line; ``id`` is ``dead_letter_id(lane, byte_offset)``."""

    id: str
    lane: str
    line_number: int
    byte_offset: int
    stage: str
    reason: str
    path: str
    sentence: str
    raw: bytes


class HeadroomRow(Struct, frozen=True, kw_only=True):
    """How near a subject is to a rule's figure, as of ``event_time_ns``."""

    rule_id: str
    subject: str
    account_id: str
    instrument: str | None
    value: float
    figure: float
    projected_breach_ns: int | None
    event_time_ns: int


class CountRow(Struct, frozen=True, kw_only=True):
    """A total of one lane so far, such as ``accepted``, ``late`` or ``rejected.bad_decimal``.

    Totals, never increments: writing one twice must not count twice.
    """

    lane: str
    name: str
    count: int


class RunSummaryRow(Struct, frozen=True, kw_only=True):
    """What a run amounts to so far, and whether it has read all its input."""

    run_key: str
    completed: bool
    summary: dict[str, Any]


class DeadLetterGroup(Struct, frozen=True, kw_only=True):
    """All refused lines of one reason.

    ``total`` counts every line, ``kept`` those the store holds whole; ``first`` is the first held,
    by lane and place, or None where none is.
    """

    reason: str
    total: int
    kept: int
    first: DeadLetterRow | None


class StoreBatch(Struct, kw_only=True):
    """Everything one call writes, in one transaction. Of two rows with one key the last counts."""

    alerts: list[AlertRow] = []
    alert_updates: list[AlertUpdateRow] = []
    episodes: list[EpisodeRow] = []
    notices: list[NoticeRow] = []
    dead_letters: list[DeadLetterRow] = []
    headroom: list[HeadroomRow] = []
    lane_counts: list[CountRow] = []
    run_summary: list[RunSummaryRow] = []
    meta: dict[str, str] = {}


def dead_letter_id(lane: str, byte_offset: int) -> str:
    """Return the key of the line that starts at ``byte_offset`` of ``lane``, 32 hex digits."""
    return digest_parts((_DEAD_LETTER_DOMAIN, lane, str(byte_offset))).hex()
