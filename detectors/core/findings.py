"""From finding records to findings people can read: names, words, positions, triggers."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from detectors.core.contract import HEADROOM, LANE_SHIFT, NAMED, PHASES, Detector
from schemas.alerts import Finding, Headroom, Position, Rule
from schemas.referee import Names, names_of

if TYPE_CHECKING:
    from detectors.core.stage import StageOutput

_LINE_MASK: Final = (1 << LANE_SHIFT) - 1
_DAY_S: Final = 86_400


def day_name(day: int) -> str:
    """Spell a day number as a date.

    Examples
    --------
    >>> day_name(20_516)
    '2026-03-04'
    """
    return datetime.fromtimestamp(day * _DAY_S, UTC).date().isoformat()


class Who(NamedTuple):
    """Whom a finding is about.

    Attributes
    ----------
    subject
        The finding's own name for it: the account, with the instrument where it is about one.
    evidence
        What the stage knows beside the detector's evidence.
    """

    tenant: str
    account_id: str
    instrument: str | None
    subject: str
    evidence: dict[str, Any]


class Lines(Protocol):
    """Rows with the bytes they came from."""

    def line(self, index: int, /) -> bytes:
        """Return the bytes of one row."""
        ...


class Teller(Protocol):
    """A stage that knows whom its records are about."""

    @property
    def config(self) -> Any:
        """Names of tenant and lanes are in it."""
        ...

    def who(self, detector: Detector, record: np.void, event: Names | None) -> Who:
        """Say whom a record is about; ``event`` names what the row says, where there is one."""
        ...


class Narrator:
    """Tells the findings of one batch; the rows' own bytes are the only strings it reads."""

    def __init__(self, stage: Teller, columns: Lines | None) -> None:
        self._stage = stage
        self._columns = columns

    def tell(self, detector: Detector, record: np.void, output: "StageOutput") -> None:
        """Add one record to the output, as a finding or as headroom."""
        row = int(record["row"])
        event: Names | None = None
        if row >= 0 and self._columns is not None:
            event = names_of(self._columns.line(row))
        who = self._stage.who(detector, record, event)
        if int(record["phase"]) == NAMED:
            return
        if int(record["phase"]) == HEADROOM:
            output.headroom.append(self._headroom(detector, record, who))
            return
        trading_day = day_name(int(record["day"]))
        words = detector.explain(record)
        output.findings.append(
            Finding(
                detector=detector.name,
                rule=_rule(detector),
                phase=PHASES[int(record["phase"])],  # type: ignore[arg-type]
                tenant=who.tenant,
                account_id=who.account_id,
                instrument=who.instrument,
                subject=who.subject,
                trigger=(event.source, event.event_id) if event else ("trading_day", trading_day),
                ordinal=int(record["ordinal"]),
                event_time_ns=int(record["time_ns"]),
                onset_ns=int(record["onset_ns"]),
                trading_day=trading_day,
                day_end_ns=int(record["day_end_ns"]),
                severity=detector.rule.severity,
                why=words.why,
                evidence=words.evidence | who.evidence,
                counterfactual=words.counterfactual,
                positions=self._positions(record),
            )
        )

    def _positions(self, record: np.void) -> tuple[Position, ...]:
        lanes = self._stage.config.lane_names
        held = [int(p) for p in record["recent"][: int(record["recent_count"])]]
        return tuple(Position(lane=lanes[p >> LANE_SHIFT], line=p & _LINE_MASK) for p in held)

    @staticmethod
    def _headroom(detector: Detector, record: np.void, who: Who) -> Headroom:
        near = detector.nearness(record)
        elapsed_ns = int(record["time_ns"]) - int(record["onset_ns"])
        projected = None
        if near.value > 0 and elapsed_ns > 0:
            projected = int(record["onset_ns"]) + round(elapsed_ns * near.figure / near.value)
        return Headroom(
            rule_id=detector.rule.id,
            account_id=who.account_id,
            instrument=who.instrument,
            subject=who.subject if detector.is_aligned else "",
            event_time_ns=int(record["time_ns"]),
            value=near.value,
            figure=near.figure,
            projected_breach_ns=projected,
        )


def _rule(detector: Detector) -> Rule:
    rule = detector.rule
    return Rule(
        id=rule.id,
        version=rule.version,
        pack=rule.pack,
        article=rule.article,
        parameters_hash=rule.parameters_hash,
    )
