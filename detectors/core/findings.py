"""From finding records to findings people can read: names, words, positions, triggers."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from detectors.core.contract import HEADROOM, LANE_SHIFT, PHASES, Detector
from schemas.alerts import Finding, Headroom, Position, Rule
from schemas.columns import EventColumns
from schemas.referee import Names, names_of

if TYPE_CHECKING:
    from detectors.core.stage import AccountStage, StageOutput

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


class Narrator:
    """Tells the findings of one batch; the rows' own bytes are the only strings it reads."""

    def __init__(self, stage: "AccountStage", columns: EventColumns | None) -> None:
        self._stage = stage
        self._columns = columns

    def tell(self, detector: Detector, record: np.void, output: "StageOutput") -> None:
        """Add one record to the output, as a finding or as headroom."""
        row = int(record["row"])
        event: Names | None = None
        if row >= 0 and self._columns is not None:
            event = names_of(self._columns.line(row))
        tenant, account_id, instrument, venue = self._who(detector, int(record["subject"]), event)
        if int(record["phase"]) == HEADROOM:
            output.headroom.append(self._headroom(detector, record, account_id, instrument))
            return
        subject = account_id if instrument is None else f"{account_id} {instrument}@{venue}"
        trading_day = day_name(int(record["day"]))
        words = detector.explain(record)
        output.findings.append(
            Finding(
                detector=detector.name,
                rule=_rule(detector),
                phase=PHASES[int(record["phase"])],  # type: ignore[arg-type]
                tenant=tenant,
                account_id=account_id,
                instrument=instrument,
                subject=subject,
                trigger=(event.source, event.event_id) if event else ("trading_day", trading_day),
                ordinal=int(record["ordinal"]),
                event_time_ns=int(record["time_ns"]),
                onset_ns=int(record["onset_ns"]),
                trading_day=trading_day,
                day_end_ns=int(record["day_end_ns"]),
                severity=detector.rule.severity,
                why=words.why,
                evidence=words.evidence,
                counterfactual=words.counterfactual,
                positions=self._positions(record),
            )
        )

    def _who(
        self, detector: Detector, subject: int, event: Names | None
    ) -> tuple[str, str, str | None, str | None]:
        """Return tenant, account, and instrument and venue where the subject has them."""
        stage = self._stage
        account, instrument, venue = subject, None, None
        if detector.subject == "contract":
            contract = stage.state.contracts.rows[subject]
            account = int(contract["account"])
            instrument, venue = stage.instrument_names[int(contract["instrument"])]
        if event is not None and event.account_id is not None:
            stage.account_names[account] = (event.tenant or stage.config.tenant, event.account_id)
        tenant, account_id = stage.account_names[account]
        return tenant, account_id, instrument, venue

    def _positions(self, record: np.void) -> tuple[Position, ...]:
        lanes = self._stage.config.lane_names
        held = [int(p) for p in record["recent"][: int(record["recent_count"])]]
        return tuple(Position(lane=lanes[p >> LANE_SHIFT], line=p & _LINE_MASK) for p in held)

    @staticmethod
    def _headroom(
        detector: Detector, record: np.void, account_id: str, instrument: str | None
    ) -> Headroom:
        near = detector.nearness(record)
        elapsed_ns = int(record["time_ns"]) - int(record["onset_ns"])
        projected = None
        if near.value > 0 and elapsed_ns > 0:
            projected = int(record["onset_ns"]) + round(elapsed_ns * near.figure / near.value)
        return Headroom(
            rule_id=detector.rule.id,
            account_id=account_id,
            instrument=instrument,
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
