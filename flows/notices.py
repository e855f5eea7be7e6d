"""Customer notices: who is told, what it says, and what becomes of it.

A notice leaves only for a whitelisted rule, never while the person has an open case or a hold, and
never says which rule or detector stands behind it: that would tip off.

Whatever time brings about for a person (a control record counts, a notice runs out) is brought
about at the latest before that person's next event is looked at, by that event's own time. The
watermark may do it earlier, but only where no such event can come any more; so it makes no
difference how the events come in batches.
"""

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

from msgspec import Struct, field, structs

from detectors.core.stage import OfficeEvent
from flows.acts import Act, ActMaker
from flows.control import ControlRecord
from flows.steps import END_OF_TIME_NS
from flows.store.rows import AlertRow, NoticeRow, NoticeState
from schemas.events import EntitlementChanged
from schemas.ids import digest_parts

TEXT: Final = (
    "Please verify the recent activity on your simulated-trading account. "
    "请核实您的模拟交易账户近期的操作。"
)
ANSWER_NAME: Final = "notice.responded"
CONTROL_KINDS: Final = frozenset({"notice.answered", "hold"})
ABOVE, NO_LONGER_ABOVE = "still above", "no longer above"
_SEPARATOR: Final = "\x1f"
_UNDECIDED: Final = frozenset({"answered", "expired"})


class Withheld(NamedTuple):
    """Why a notice did not leave: a short code to count by, and a sentence."""

    code: str
    because: str


_REAL_ACCOUNTS: Final = Withheld("not_simulated", "the rule was not limited to simulated accounts")
_HOLD: Final = Withheld("hold", "a hold is set on the account")
_WAITING: Final = Withheld("waiting", "an earlier notice still waits for its answer")


class NoticeDecision(NamedTuple):
    """Whether a notice leaves, and why not."""

    act: Act | None
    because: str


class OpenNotice(Struct):
    """A notice whose story goes on."""

    row: NoticeRow
    alert: AlertRow
    shard: int


class NoticeMemory(Struct):
    """What must be remembered of notices; part of the writer's snapshot."""

    open: dict[str, OpenNotice] = field(default_factory=dict)  # by notice id
    by_person: dict[str, list[str]] = field(default_factory=dict)  # open notices of an account
    holds: dict[str, int] = field(default_factory=dict)  # account -> since event time
    applied: set[int] = field(default_factory=set)  # control records that had their effect
    sent: int = 0
    withheld: dict[str, int] = field(default_factory=dict)  # code -> notices


class NoticePolicy:
    """Decides about notices and follows them to their end.

    Parameters
    ----------
    memory
        Where it stands; changed in place.
    maker
        Spells acts.
    expiry_ns
        How long a notice waits for its answer, event time.
    simulated_only
        Tell nobody but simulated accounts: the rule must look at simulated rows only.
    shard_of
        account -> shard, to apply a control record at its own shard's time.
    tenant
        Whose events those are that name no tenant.
    """

    def __init__(
        self,
        memory: NoticeMemory,
        maker: ActMaker,
        *,
        expiry_ns: int,
        simulated_only: bool,
        shard_of: Callable[[str], int],
        tenant: str = "default",
    ) -> None:
        self.memory = memory
        self._maker = maker
        self._expiry_ns = expiry_ns
        self._simulated_only = simulated_only
        self._shard_of = shard_of
        self._tenant = tenant
        self._orders: dict[str, list[ControlRecord]] = {}  # by person, in order of effect
        # Per shard, what the watermark will bring about: (event time, person), soonest first.
        self._due: dict[int, list[tuple[int, str]]] = {}
        for found in memory.open.values():
            if found.row.state == "sent":
                self._expect(found.shard, found.row.expires_ns, _person_of(found.row))

    def learn(self, records: Iterable[ControlRecord]) -> None:
        """Take up control records; each has its effect when its account's time comes."""
        for record in records:
            if record.kind not in CONTROL_KINDS or record.sequence in self.memory.applied:
                continue
            person = self._person_in(record.body)
            orders = self._orders.setdefault(person, [])
            orders.append(record)
            orders.sort(key=lambda r: (r.effective_ns, r.sequence))
            # The watermark must be beyond the time it acts for, so one less than the record's own.
            shard = self._shard_of(record.body["account_id"])
            self._expect(shard, record.effective_ns - 1, person)

    def decide(self, alert: AlertRow, case: str | None, shard: int) -> NoticeDecision:
        """Decide whether a new alert's customer is told.

        ``case`` is the rule under which the account has another alert of the day, if any.
        """
        person = person_of(alert.tenant, alert.account_id)
        withheld = self._never(alert, case) or self._not_now(alert, person)
        if withheld is not None:
            return self._withhold(withheld)
        row = NoticeRow(
            notice_id=digest_parts(("tapewatch/notice/1", alert.alert_id)).hex(),
            rule_id=alert.rule_id,
            account_id=alert.account_id,
            alert_id=alert.alert_id,
            sent_ns=alert.event_time_ns,
            expires_ns=alert.event_time_ns + self._expiry_ns,
            state="sent",
            tenant=alert.tenant,
            text=TEXT,
        )
        self.memory.open[row.notice_id] = OpenNotice(row, alert, shard)
        self.memory.by_person.setdefault(person, []).append(row.notice_id)
        self.memory.sent += 1
        self._expect(shard, row.expires_ns, person)
        return NoticeDecision(self._maker.notice("notice", row, row.sent_ns, alert), "")

    def refuse(self, alert: AlertRow, case: str | None) -> NoticeDecision | None:
        """Refuse a notice where no other of the account's notices or holds need be known."""
        withheld = self._never(alert, case)
        return None if withheld is None else self._withhold(withheld)

    def decide_late(self, alert: AlertRow, case: str | None, shard: int) -> list[Act]:
        """Decide about an alert that is in the ledger already; a refusal becomes an entry too."""
        decision = self.decide(alert, case, shard)
        return [decision.act or self._maker.withheld(alert, decision.because)]

    def _withhold(self, withheld: Withheld) -> NoticeDecision:
        counts = self.memory.withheld
        counts[withheld.code] = counts.get(withheld.code, 0) + 1
        return NoticeDecision(None, withheld.because)

    def _never(self, alert: AlertRow, case: str | None) -> Withheld | None:
        if self._simulated_only and not alert.evidence.get("simulated_only"):
            return _REAL_ACCOUNTS
        if case is not None:
            return Withheld("open_case", f"a case is open: an alert of {case}")
        return None

    def _not_now(self, alert: AlertRow, person: str) -> Withheld | None:
        since = self.memory.holds.get(person)
        if since is not None and since <= alert.event_time_ns:
            return _HOLD
        if any(found.row.state == "sent" for found in self._open_of(person)):
            return _WAITING
        return None

    def entitlement(self, office: OfficeEvent, event: EntitlementChanged) -> Act:
        """Note an entitlement change that came in the stream."""
        return self._maker.entitlement(office, event)

    def shard_of(self, person: str) -> int:
        """Return the shard of an account."""
        return self._shard_of(person.partition(_SEPARATOR)[2])

    def person_of_office(self, office: OfficeEvent) -> str | None:
        """Return whose event it is."""
        event = office.event
        if event.account_id is None:
            return None
        return person_of(event.tenant or self._tenant, event.account_id)

    def recheck(self, person: str, rule_id: str, time_ns: int, outcome: str) -> list[Act]:
        """Look again at an account whose notice was answered or ran out."""
        acts = []
        for found in self._open_of(person):
            if found.row.rule_id == rule_id and found.row.state in _UNDECIDED:
                acts.append(self._move(found, "rechecked", time_ns, outcome=outcome))
                self._forget(person, found.row.notice_id)
        return acts

    def catch_up(self, person: str, time_ns: int) -> list[Act]:
        """Bring about what time has for a person before an event of theirs at ``time_ns``."""
        acts = self._obey(person, time_ns)
        if person in self.memory.by_person:
            acts += [
                self._move(found, "expired", found.row.expires_ns)
                for found in self._open_of(person)
                if found.row.state == "sent" and found.row.expires_ns < time_ns
            ]
        return acts

    def catch_up_all(self, watermark_ns: int, shard: int) -> list[Act]:
        """Bring about what no coming event of the shard can be before."""
        due = self._due.get(shard)
        acts: list[Act] = []
        while due and due[0][0] < watermark_ns:
            acts += self.catch_up(heappop(due)[1], watermark_ns)
        return acts

    def finish(self, shard: int) -> list[Act]:
        """Obey what is left at the end of the input; notices that still wait go on waiting."""
        people = sorted({person for _, person in self._due.get(shard, ())})
        return [act for person in people for act in self._obey(person, END_OF_TIME_NS)]

    def _obey(self, person: str, time_ns: int) -> list[Act]:
        """Let control records about a person have their effect up to a time."""
        acts: list[Act] = []
        orders = self._orders.get(person)
        if orders is None:
            return acts
        while orders and orders[0].effective_ns <= time_ns:
            acts += self._apply(orders.pop(0), person)
        if not orders:
            del self._orders[person]
        return acts

    def _expect(self, shard: int, time_ns: int, person: str) -> None:
        heappush(self._due.setdefault(shard, []), (time_ns, person))

    def _open_of(self, person: str) -> list[OpenNotice]:
        return [self.memory.open[n] for n in self.memory.by_person.get(person, ())]

    def _forget(self, person: str, notice_id: str) -> None:
        del self.memory.open[notice_id]
        ids = self.memory.by_person[person]
        ids.remove(notice_id)
        if not ids:
            del self.memory.by_person[person]

    def answer(self, notice_id: str, person: str, at_ns: int) -> list[Act]:
        """Note an answer, if it is this account's own notice and in time."""
        found = self.memory.open.get(notice_id)
        if found is None or _person_of(found.row) != person or found.row.state != "sent":
            return []
        if at_ns > found.row.expires_ns:
            return [self._move(found, "expired", found.row.expires_ns)]
        return [self._move(found, "answered", at_ns)]

    def _move(
        self, found: OpenNotice, state: NoticeState, at_ns: int, *, outcome: str | None = None
    ) -> Act:
        found.row = structs.replace(
            found.row,
            state=state,
            ordinal=found.row.ordinal + 1,
            answered_ns=at_ns if state == "answered" else found.row.answered_ns,
            outcome=outcome,
        )
        return self._maker.notice("notice.updated", found.row, at_ns, found.alert)

    def _apply(self, record: ControlRecord, person: str) -> list[Act]:
        self.memory.applied.add(record.sequence)
        body = record.body
        if record.kind == "notice.answered":
            return self.answer(body["notice_id"], person, record.effective_ns)
        if body["is_set"]:
            self.memory.holds.setdefault(person, record.effective_ns)
        else:
            self.memory.holds.pop(person, None)
        return [self._maker.hold(record, body.get("tenant", self._tenant))]

    def _person_in(self, body: dict[str, Any]) -> str:
        return person_of(body.get("tenant", self._tenant), body["account_id"])


def person_of(tenant: str, account_id: str) -> str:
    """Return the key of an account; no id can hold the separator."""
    return f"{tenant}{_SEPARATOR}{account_id}"


def _person_of(row: NoticeRow) -> str:
    return person_of(row.tenant, row.account_id)
