"""Customer notices: who is told, what it says, and what becomes of it.

A notice leaves only for a whitelisted rule, never while the person has an open case or a hold, and
never says which rule or detector stands behind it: that would tip off.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from msgspec import Struct, field, structs

from detectors.core.stage import OfficeEvent
from flows.acts import Act, ActMaker
from flows.control import ControlRecord
from flows.store.rows import AlertRow, NoticeRow
from schemas.alerts import Finding
from schemas.events import EntitlementChanged
from schemas.ids import digest_parts

TEXT: Final = (
    "Please verify the recent activity on your simulated-trading account. "
    "请核实您的模拟交易账户近期的操作。"
)
ANSWER_NAME: Final = "notice.responded"
_UNDECIDED: Final = frozenset({"answered", "expired"})


class NoticeDecision(NamedTuple):
    """Whether a notice leaves, and why not."""

    act: Act | None
    because: str


class OpenNotice(Struct):
    """A notice whose story goes on."""

    row: NoticeRow
    alert: AlertRow
    shard: int


class NoticeState(Struct):
    """What must be remembered of notices; part of the writer's snapshot."""

    open: dict[str, OpenNotice] = field(default_factory=dict)  # by notice id
    by_person: dict[str, str] = field(default_factory=dict)  # the latest notice of an account
    holds: dict[str, int] = field(default_factory=dict)  # account -> since event time
    applied: list[int] = field(default_factory=list)  # control records that had their effect
    sent: int = 0


class NoticePolicy:
    """Decides about notices and follows them to their end.

    Parameters
    ----------
    state
        Where it stands; changed in place.
    maker
        Spells acts.
    expiry_ns
        How long a notice waits for its answer, event time.
    simulated_only
        Tell nobody but simulated accounts.
    shard_of
        (tenant, account) -> shard, to apply a control record at its own shard's time.
    """

    def __init__(
        self,
        state: NoticeState,
        maker: ActMaker,
        *,
        expiry_ns: int,
        simulated_only: bool,
        shard_of: Callable[[str], int],
    ) -> None:
        self.state = state
        self._maker = maker
        self._expiry_ns = expiry_ns
        self._simulated_only = simulated_only
        self._shard_of = shard_of
        self._control: list[tuple[int, ControlRecord]] = []

    def learn(self, records: Iterable[ControlRecord]) -> None:
        """Take up control records; each has its effect when its shard's time comes."""
        known = set(self.state.applied)
        for record in records:
            if record.kind in {"notice.answered", "hold"} and record.sequence not in known:
                self._control.append((self._shard_of(record.body["account_id"]), record))

    def decide(
        self, finding: Finding, alert: AlertRow, case: str | None, shard: int
    ) -> NoticeDecision:
        """Decide whether an alert's customer is told."""
        person = _person(finding.tenant, finding.account_id)
        reason = self._why_not(finding, person, case)
        if reason:
            return NoticeDecision(None, reason)
        row = NoticeRow(
            notice_id=digest_parts(("tapewatch/notice/1", alert.alert_id)).hex(),
            rule_id=finding.rule.id,
            account_id=finding.account_id,
            alert_id=alert.alert_id,
            sent_ns=finding.event_time_ns,
            expires_ns=finding.event_time_ns + self._expiry_ns,
            state="sent",
            tenant=finding.tenant,
            text=TEXT,
        )
        self.state.open[row.notice_id] = OpenNotice(row, alert, shard)
        self.state.by_person[person] = row.notice_id
        self.state.sent += 1
        act = self._maker.notice("notice", row, row.sent_ns, alert)
        return NoticeDecision(act, "")

    def _why_not(self, finding: Finding, person: str, case: str | None) -> str:
        if self._simulated_only and not finding.evidence.get("simulated_only"):
            return "the rule was not limited to simulated accounts"
        if case is not None:
            return f"a case is open: an alert of {case}"
        since = self.state.holds.get(person)
        if since is not None and since <= finding.event_time_ns:
            return "a hold is set on the account"
        earlier = self.state.open.get(self.state.by_person.get(person, ""))
        if earlier is not None and earlier.row.state == "sent":
            return "an earlier notice still waits for its answer"
        return ""

    def on_office(self, office: OfficeEvent) -> list[Act]:
        """Take an answer or an entitlement change that came in the stream."""
        event = office.event
        if isinstance(event, EntitlementChanged):
            return [self._maker.entitlement(office, event)]
        if event.name != ANSWER_NAME or event.account_id is None:
            return []
        return self._answer(str(event.notice_id), event.account_id, event.event_time_ns)

    def _answer(self, notice_id: str, account_id: str, at_ns: int) -> list[Act]:
        """Note an answer, if it is this account's own notice and in time."""
        found = self.state.open.get(notice_id)
        if found is None or found.row.account_id != account_id or found.row.state != "sent":
            return []
        if at_ns > found.row.expires_ns:
            return [self._move(found, "expired", found.row.expires_ns)]
        return [self._move(found, "answered", at_ns)]

    def _move(self, found: OpenNotice, state: Any, at_ns: int, outcome: str | None = None) -> Act:
        changes: dict[str, Any] = {"state": state}
        if state == "answered":
            changes["answered_ns"] = at_ns
        if outcome is not None:
            changes["outcome"] = outcome
        found.row = structs.replace(found.row, **changes)
        return self._maker.notice("notice.updated", found.row, at_ns, found.alert)

    def expire(self, watermark_ns: int, shard: int) -> list[Act]:
        """End the shard's notices that nobody can answer in time any more."""
        late = sorted(
            (found.row.expires_ns, notice_id)
            for notice_id, found in self.state.open.items()
            if found.shard == shard
            and found.row.state == "sent"
            and found.row.expires_ns < watermark_ns
        )
        return [self._move(self.state.open[n], "expired", at_ns) for at_ns, n in late]

    def recheck(self, finding: Finding) -> list[Act]:
        """Look again at an account whose notice was answered or ran out."""
        notice_id = self.state.by_person.get(_person(finding.tenant, finding.account_id), "")
        found = self.state.open.get(notice_id)
        if found is None or found.row.rule_id != finding.rule.id:
            return []
        if found.row.state == "sent" and finding.event_time_ns > found.row.expires_ns:
            return [self._move(found, "expired", found.row.expires_ns)]
        if found.row.state not in _UNDECIDED:
            return []
        outcome = "no longer above" if finding.phase == "receded" else "still above"
        act = self._move(found, "rechecked", finding.event_time_ns, outcome)
        del self.state.open[notice_id]
        return [act]

    def control_until(self, time_ns: int, shard: int) -> list[Act]:
        """Let control records of the shard's accounts have their effect up to a time."""
        due = [r for s, r in self._control if s == shard and r.effective_ns <= time_ns]
        if not due:
            return []
        self._control = [(s, r) for s, r in self._control if r not in due]
        acts = []
        for record in due:
            self.state.applied.append(record.sequence)
            acts += self._apply(record)
        return acts

    def _apply(self, record: ControlRecord) -> list[Act]:
        body = record.body
        if record.kind == "notice.answered":
            return self._answer(body["notice_id"], body["account_id"], record.effective_ns)
        person = _person(body["tenant"], body["account_id"])
        if body["is_set"]:
            self.state.holds[person] = record.effective_ns
        else:
            self.state.holds.pop(person, None)
        return []


def _person(tenant: str, account_id: str) -> str:
    return f"{tenant}\x1f{account_id}"
