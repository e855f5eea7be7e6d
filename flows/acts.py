"""Acts: what policy decides, spelled as ledger entries and store rows.

The ledger holds tokens instead of account ids and exact integers instead of floats; the store holds
what people search by. Both name the same act by the same id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from unicodedata import normalize

from detectors.core.stage import OfficeEvent
from flows.control import ControlRecord
from flows.store.rows import AlertRow, AlertUpdateRow, NoticeRow, StoreBatch
from ledger.entry import EntryDraft, canonical
from ledger.tokens import Pepper, masked, token
from schemas.alerts import Finding, Position
from schemas.events import EntitlementChanged
from schemas.ids import digest_parts

ACTOR: Final = "tapewatch"
_IDS: Final = frozenset({"account_id", "party_id"})


@dataclass(slots=True)
class Act:
    """One decision.

    Attributes
    ----------
    draft
        The ledger entry.
    batch
        The store rows; those that name the entry get its place after it is committed.
    opens
        Id of the alert or notice whose first entry this is, else empty.
    outbox
        A notice to hand out, once the entry is durable.
    """

    draft: EntryDraft
    batch: StoreBatch = field(default_factory=StoreBatch)
    opens: str = ""
    outbox: NoticeRow | None = None


def eid_of(*parts: str) -> bytes:
    """Return the id of an entry that is not an alert's opening."""
    return digest_parts(("tapewatch/entry/1", *parts))


class ActMaker:
    """Spells acts. Pure, but for the pepper it keys its tokens with."""

    def __init__(self, pepper: Pepper, detector_versions: Mapping[str, int]) -> None:
        self._pepper = pepper
        self._versions = detector_versions

    def detector_version(self, name: str) -> int:
        """Return a detector's version."""
        return self._versions[name]

    def account(self, tenant: str, account_id: str) -> dict[str, str]:
        """Return how the ledger names an account."""
        name = f"{tenant}\x1f{account_id}"
        return {
            "account": token(self._pepper, "account", name),
            "account_shown": masked(account_id),
        }

    def alert(self, finding: Finding, alert: AlertRow, notice: Any) -> Act:
        """Spell a new alert, with the decision about a notice where the rule allows one."""
        body = self._finding_body(finding, alert.alert_id)
        if notice is not None:
            body["notice"] = {"sent": notice.act is not None, "because": notice.because}
        draft = self._draft(bytes.fromhex(alert.alert_id), "alert", finding, body)
        return Act(draft, StoreBatch(alerts=[alert]), opens=alert.alert_id)

    def update(self, finding: Finding, alert: AlertRow) -> Act:
        """Spell one more finding of an open episode."""
        body = self._finding_body(finding, alert.alert_id)
        ordinal = str(alert.update_count)
        eid = eid_of("alert.updated", alert.alert_id, ordinal, finding.phase)
        row = AlertUpdateRow(
            eid=eid.hex(),
            alert_id=alert.alert_id,
            ordinal=alert.update_count,
            phase=finding.phase,
            severity=finding.severity,
            event_time_ns=finding.event_time_ns,
            why=finding.why,
            evidence=finding.evidence,
            counterfactual=finding.counterfactual,
            positions=finding.positions,
        )
        draft = self._draft(eid, "alert.updated", finding, body)
        return Act(draft, StoreBatch(alerts=[alert], alert_updates=[row]))

    def close(self, alert: AlertRow, at_ns: int, reason: str) -> Act:
        """Spell the end of an episode."""
        body = {
            "alert_id": alert.alert_id,
            **self.account(alert.tenant, alert.account_id),
            "state": alert.state,
            "reason": reason,
            "updates": alert.update_count,
        }
        draft = EntryDraft(
            eid=eid_of("alert.closed", alert.alert_id),
            kind="alert.closed",
            event_time_ns=at_ns,
            actor=ACTOR,
            src=[],
            rule=rule_of(alert),
            body=_plain(body),
        )
        return Act(draft, StoreBatch(alerts=[alert]))

    def notice(self, kind: str, notice: NoticeRow, at_ns: int, rule: AlertRow | None) -> Act:
        """Spell a notice sent (``notice``) or what became of it (``notice.updated``)."""
        body = {
            "notice_id": notice.notice_id,
            "alert_id": notice.alert_id,
            **self.account(notice.tenant, notice.account_id),
            "state": notice.state,
            "sent_ns": str(notice.sent_ns),
            "expires_ns": str(notice.expires_ns),
            "outcome": notice.outcome,
            "text": notice.text,
        }
        first = kind == "notice"
        draft = EntryDraft(
            eid=bytes.fromhex(notice.notice_id)
            if first
            else eid_of("notice.updated", notice.notice_id, notice.state),
            kind=kind,
            event_time_ns=at_ns,
            actor=ACTOR,
            src=[],
            rule=None if rule is None else rule_of(rule),
            body=_plain(body),
        )
        return Act(
            draft,
            StoreBatch(notices=[notice]),
            opens=notice.notice_id if first else "",
            outbox=notice,
        )

    def withheld(self, alert: AlertRow, because: str) -> Act:
        """Spell that no notice leaves, where the alert's own entry could not say so yet."""
        body = {
            "alert_id": alert.alert_id,
            **self.account(alert.tenant, alert.account_id),
            "because": because,
        }
        draft = EntryDraft(
            eid=eid_of("notice.withheld", alert.alert_id),
            kind="notice.withheld",
            event_time_ns=alert.event_time_ns,
            actor=ACTOR,
            src=[],
            rule=rule_of(alert),
            body=_plain(body),
        )
        return Act(draft)

    def entitlement(self, office: OfficeEvent, event: EntitlementChanged) -> Act:
        """Spell a change of what somebody may use, as the sender reported it."""
        tenant, until = event.tenant or "", event.valid_until_ns
        body = {
            "subject": token(self._pepper, "subject", event.subject),
            "subject_shown": masked(event.subject),
            "permission": event.permission,
            "action": event.action,
            "valid_from_ns": str(event.valid_from_ns),
            "valid_until_ns": None if until is None else str(until),
            "operator": token(self._pepper, "operator", event.operator),
            "approver": None
            if event.approver is None
            else token(self._pepper, "operator", event.approver),
            "reason": event.reason,
            "has_licence_no": event.licence_no is not None,
        }
        draft = EntryDraft(
            eid=eid_of("entitlement.changed", tenant, event.source, event.event_id),
            kind="entitlement.changed",
            event_time_ns=event.event_time_ns,
            actor=ACTOR,
            src=_sources((Position(lane=office.lane, line=office.line),)),
            rule=None,
            body=_plain(body),
        )
        return Act(draft)

    def hold(self, record: ControlRecord, tenant: str) -> Act:
        """Spell a hold that was set or released, at the time from which it counts."""
        kind = "hold.set" if record.body["is_set"] else "hold.released"
        body = {
            **self.account(tenant, record.body["account_id"]),
            "control_sequence": record.sequence,
        }
        draft = EntryDraft(
            eid=eid_of(kind, str(record.sequence)),
            kind=kind,
            event_time_ns=record.effective_ns,
            actor=ACTOR,
            src=[],
            rule=None,
            body=_plain(body),
        )
        return Act(draft)

    def config(self, body: dict[str, Any]) -> Act:
        """Spell the configuration a run begins with; it counts from before the first event."""
        plain = _plain(body)
        draft = EntryDraft(
            eid=eid_of("config.changed", canonical(plain).decode()),
            kind="config.changed",
            event_time_ns=0,
            actor=ACTOR,
            src=[],
            rule=None,
            body=plain,
        )
        return Act(draft)

    def _finding_body(self, finding: Finding, alert_id: str) -> dict[str, Any]:
        account = self.account(finding.tenant, finding.account_id)
        # Some senders build event ids from the account's; the rest of the id may stay readable.
        trigger = [part.replace(finding.account_id, account["account"]) for part in finding.trigger]
        return {
            "alert_id": alert_id,
            **account,
            "detector": finding.detector,
            "detector_version": self._versions[finding.detector],
            "pack": finding.rule.pack,
            "article": finding.rule.article,
            "phase": finding.phase,
            "severity": finding.severity,
            "instrument": finding.instrument,
            "trading_day": finding.trading_day,
            "onset_ns": str(finding.onset_ns),
            "trigger": trigger,
            "ordinal": finding.ordinal,
            "why": finding.why,
            "evidence": self._named(finding.evidence, finding.tenant),
            "counterfactual": finding.counterfactual,
        }

    def _named(self, value: Any, tenant: str) -> Any:
        """Put tokens in the place of the accounts and parties that evidence names."""
        if isinstance(value, list):
            return [self._named(item, tenant) for item in value]
        if not isinstance(value, dict):
            return value
        named = {k: self._named(v, tenant) for k, v in value.items() if k not in _IDS}
        if "account_id" in value:
            named |= self.account(tenant, value["account_id"])
        if "party_id" in value:
            party = f"{value['counted_by']}\x1f{tenant}\x1f{value['party_id']}"
            named["party"] = token(self._pepper, "party", party)
            named["party_shown"] = masked(value["party_id"])
        return named

    @staticmethod
    def _draft(eid: bytes, kind: str, finding: Finding, body: dict[str, Any]) -> EntryDraft:
        return EntryDraft(
            eid=eid,
            kind=kind,
            event_time_ns=finding.event_time_ns,
            actor=ACTOR,
            src=_sources(finding.positions),
            rule={
                "id": finding.rule.id,
                "version": finding.rule.version,
                "config_hash": finding.rule.parameters_hash,
            },
            body=_plain(body),
        )


def rule_of(alert: AlertRow) -> dict[str, Any]:
    """Return an alert's rule as entries name it."""
    rule = alert.rule
    return {"id": rule.id, "version": rule.version, "config_hash": rule.parameters_hash}


def _sources(positions: tuple[Position, ...]) -> list[dict[str, Any]]:
    return [
        {"source": normalize("NFC", p.lane), "partition": 0, "offset": p.line} for p in positions
    ]


def _plain(value: Any) -> Any:
    """Bring texts from outside into the form the ledger's canonical bytes require."""
    if isinstance(value, str):
        return normalize("NFC", value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
