"""What detectors find and what people are told: findings, evidence, alerts, notices."""

from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

Severity: TypeAlias = Literal["info", "low", "medium", "high", "critical"]
# opening: first crossing; growth: same episode, worse; provisional findings end as one of the last
Phase: TypeAlias = Literal[
    "opening", "growth", "provisional", "confirmed", "withdrawn", "receded", "headroom"
]
POSITIONS_MAX: Final = 16


class Position(Struct, frozen=True, kw_only=True):
    """Where an event stood: which lane, and which line of it (0-based)."""

    lane: str
    line: int


class Rule(Struct, frozen=True, kw_only=True):
    """The rule behind an alert: pack and article are what a compliance officer quotes."""

    id: str
    version: int
    pack: str
    article: str
    parameters_hash: str


class Finding(Struct, frozen=True, kw_only=True):
    """One thing a detector found, before policy looks at it.

    Times are event time in ns. ``trigger`` is (source, event_id) of the row that fired, or
    (window name, end in ns) for a finding that time alone brought about; with ``subject`` and
    ``ordinal`` it is the root of the alert id, so the same events give the same id everywhere.
    """

    detector: str
    rule: Rule
    phase: Phase
    tenant: str
    account_id: str
    instrument: str | None
    subject: str
    trigger: tuple[str, str]
    ordinal: int
    event_time_ns: int
    onset_ns: int
    trading_day: str
    day_end_ns: int
    severity: Severity
    why: str
    evidence: dict[str, Any]
    counterfactual: dict[str, Any]
    positions: tuple[Position, ...] = ()


class Headroom(Struct, frozen=True, kw_only=True):
    """How near a subject is to a rule's figure: shown, never an alert.

    ``subject`` is empty where account and instrument say it all.
    """

    rule_id: str
    account_id: str
    instrument: str | None
    event_time_ns: int
    value: float
    figure: float
    projected_breach_ns: int | None
    subject: str = ""
