"""Turns: what concerns notices waits until alerts on several accounts are known as far.

An alert of the instrument stage is an open case of every account it names, from its event time on.
It comes later than the alerts of these accounts' own shards, and at no fixed point among them. So
whether a notice leaves is decided once every shard has passed the moment it is about: by then every
such alert up to that moment is here, whatever the batches and the processes. Whatever follows about
notices of that shard waits behind it, so that all of it happens in the order of the rows.

With no rule over several accounts nothing waits, and nothing is held here.
"""

from typing import Final, Literal

from msgspec import Struct, field

from detectors.core.stage import OfficeEvent
from flows.acts import Act
from flows.case_days import CaseDays
from flows.lanes import NEVER_NS
from flows.notices import (
    ABOVE,
    ANSWER_NAME,
    NO_LONGER_ABOVE,
    NoticeDecision,
    NoticePolicy,
    person_of,
)
from flows.steps import END_OF_TIME_NS, ShardMessage
from flows.store.rows import AlertRow
from schemas.alerts import Finding
from schemas.events import AppEvent

_NAMES: Final = frozenset({"opening", "growth", "provisional"})  # phases that make or widen a case
_NOT_YET: Final = NoticeDecision(
    None, "not decided yet: rules over several accounts have not come so far"
)


class Turn(Struct, kw_only=True):
    """One thing about notices that waits.

    Attributes
    ----------
    what
        ``decide`` about the notice of ``alert``; ``recheck`` under ``rule_id`` gave ``outcome``;
        ``answer`` to ``notice_id``; ``time`` came as far as ``time_ns``, and days were closed until
        ``closed_until_ns``; ``end`` of the shard.
    """

    what: Literal["decide", "recheck", "answer", "time", "end"]
    time_ns: int
    person: str = ""
    alert: AlertRow | None = None
    rule_id: str = ""
    outcome: str = ""
    notice_id: str = ""
    closed_until_ns: int = NEVER_NS


class TurnMemory(Struct):
    """What must be remembered of turns; part of the writer's snapshot."""

    waiting: dict[int, list[Turn]] = field(default_factory=dict)  # by shard, in order
    passed_ns: dict[int, int] = field(default_factory=dict)  # by shard of either stage
    # account -> trading day -> the first alert on several accounts that names it: when, whose
    cases: dict[str, dict[str, tuple[int, str]]] = field(default_factory=dict)


class Turns:
    """Passes on to the notices what concerns them, when its turn comes.

    Parameters
    ----------
    memory
        Where it stands; changed in place.
    notices
        Decides and follows.
    shards
        How many shards of accounts and of instruments must have passed a moment; 0: there is no
        rule over several accounts, and nothing waits.
    """

    def __init__(self, memory: TurnMemory, notices: NoticePolicy, shards: int) -> None:
        self.memory = memory
        self._notices = notices
        self._shards = shards
        self._cases = CaseDays(memory.cases, notices.shard_of)

    def catch_up(self, person: str | None, time_ns: int) -> list[Act]:
        """Bring about what time has for a person; where turns wait, each brings it along."""
        if self._shards or person is None:
            return []
        return self._notices.catch_up(person, time_ns)

    def decide(self, alert: AlertRow, case: str | None, shard: int) -> NoticeDecision:
        """Decide whether an alert's customer is told, or say that this must wait."""
        if not self._shards:
            return self._notices.decide(alert, case, shard)
        refused = self._notices.refuse(alert, case)
        if refused is not None:
            return refused
        person = person_of(alert.tenant, alert.account_id)
        turn = Turn(what="decide", time_ns=alert.event_time_ns, person=person, alert=alert)
        self._wait(shard, turn)
        return _NOT_YET

    def recheck(self, finding: Finding, shard: int) -> list[Act]:
        """Look again at an account whose notice was answered or ran out."""
        turn = Turn(
            what="recheck",
            time_ns=finding.event_time_ns,
            person=person_of(finding.tenant, finding.account_id),
            rule_id=finding.rule.id,
            outcome=NO_LONGER_ABOVE if finding.phase == "receded" else ABOVE,
        )
        return self._pass(shard, turn)

    def on_office(self, office: OfficeEvent, shard: int) -> list[Act]:
        """Take an answer or an entitlement change that came in the stream."""
        person = self._notices.person_of_office(office)
        event, time_ns = office.event, office.event.event_time_ns
        if not isinstance(event, AppEvent):
            return [*self.catch_up(person, time_ns), self._notices.entitlement(office, event)]
        if event.name != ANSWER_NAME or person is None:
            return self.catch_up(person, time_ns)
        notice_id = str(event.notice_id)
        turn = Turn(what="answer", time_ns=time_ns, person=person, notice_id=notice_id)
        return self._pass(shard, turn)

    def note(self, finding: Finding) -> None:
        """Note the case that a finding of the instrument stage is of every account it names."""
        if finding.phase not in _NAMES:
            return
        listed = finding.evidence.get("accounts", ())
        first = (finding.event_time_ns, finding.rule.id)
        for account_id in {finding.account_id, *(one["account_id"] for one in listed)}:
            person = person_of(finding.tenant, account_id)
            days = self._cases.of(person, finding.trading_day)
            # The earliest counts, in whatever order the shards of instruments tell.
            days[finding.trading_day] = min(first, days.get(finding.trading_day, first))

    def advance(self, message: ShardMessage) -> list[Act]:
        """Take note of how far a message's shard has come; return what that brings about."""
        until_ns = END_OF_TIME_NS if message.is_last else message.watermark_ns
        if self._shards:
            self.memory.passed_ns[message.shard] = until_ns
        acts: list[Act] = []
        if not message.is_aligned:
            acts += self._pass(message.shard, _time(message))
            if message.is_last:
                acts += self._pass(message.shard, Turn(what="end", time_ns=until_ns))
        if self.memory.waiting:
            acts += self._go_on()
        return acts

    def _pass(self, shard: int, turn: Turn) -> list[Act]:
        """Let a turn be, or wait behind those that do."""
        if shard not in self.memory.waiting:
            return self._take(shard, turn)
        self._wait(shard, turn)
        return []

    def _wait(self, shard: int, turn: Turn) -> None:
        turns = self.memory.waiting.setdefault(shard, [])
        if turns and turns[-1].what == turn.what == "time":
            turns.pop()  # the later one does all that the earlier would
        turns.append(turn)

    def _go_on(self) -> list[Act]:
        """Take the turns whose time has come, each shard's in its order."""
        acts: list[Act] = []
        until_ns = self._until_ns()
        for shard, turns in sorted(self.memory.waiting.items()):
            taken = 0
            while taken < len(turns) and not _must_wait(turns[taken], until_ns):
                acts += self._take(shard, turns[taken])
                taken += 1
            del turns[:taken]
            if not turns:
                del self.memory.waiting[shard]
        return acts

    def _until_ns(self) -> int:
        """Return the time that every shard has passed, as far as the writer was told.

        Those of accounts too: what they have yet to tell may be the order of lanes on which the
        silence of the others rests, and must be written down before anything leaves.
        """
        passed = self.memory.passed_ns
        if not self._shards:
            return END_OF_TIME_NS  # left by an earlier start, which had such rules
        return NEVER_NS if len(passed) < self._shards else min(passed.values())

    def _take(self, shard: int, turn: Turn) -> list[Act]:
        notices = self._notices
        if turn.what == "time":
            self._cases.forget(shard, turn.closed_until_ns)
            return notices.catch_up_all(turn.time_ns, shard)
        if turn.what == "end":
            return notices.finish(shard)
        acts = notices.catch_up(turn.person, turn.time_ns)
        if turn.what == "recheck":
            return acts + notices.recheck(turn.person, turn.rule_id, turn.time_ns, turn.outcome)
        if turn.what == "answer":
            return acts + notices.answer(turn.notice_id, turn.person, turn.time_ns)
        assert turn.alert is not None, "what is decided about"
        return acts + notices.decide_late(turn.alert, self._case_of(turn), shard)

    def _case_of(self, turn: Turn) -> str | None:
        """Return the rule under which the account has a case of that day by that moment, if any."""
        assert turn.alert is not None, "only what is decided asks"
        days = self.memory.cases.get(turn.person, {})
        first_ns, rule_id = days.get(turn.alert.trading_day, (END_OF_TIME_NS, ""))
        return rule_id if first_ns <= turn.time_ns else None


def _must_wait(turn: Turn, until_ns: int) -> bool:
    return turn.what == "decide" and turn.time_ns >= until_ns


def _time(message: ShardMessage) -> Turn:
    return Turn(what="time", time_ns=message.watermark_ns, closed_until_ns=message.closed_until_ns)
