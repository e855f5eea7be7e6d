"""Policy: from findings to alerts, episodes and notices. Pure; the writer makes it durable.

One episode is open per rule and subject and trading day: it begins with an alert, grows with
updates, and ends with its day. What a message leads to depends only on that message's own shard
before it, so the same events give the same acts whatever their batching.
"""

from heapq import heappop, heappush
from typing import Final

from msgspec import Raw, Struct, field, structs
from msgspec import json as msgspec_json

from flows.acts import Act, ActMaker
from flows.case_days import CaseDays
from flows.notices import NoticeMemory, NoticePolicy, person_of
from flows.steps import END_OF_TIME_NS, ShardMessage
from flows.store.rows import AlertRow, EpisodeRow, HeadroomRow
from flows.turns import TurnMemory, Turns
from schemas.alerts import Finding
from schemas.ids import ALERT_DOMAIN, digest_parts

OPENS: Final = frozenset({"opening", "provisional"})
ENDS: Final = frozenset({"confirmed", "withdrawn"})
RECHECKS: Final = frozenset({"growth", "receded"})
DAY_ENDED: Final = "its trading day ended"
_ALERTS: Final = msgspec_json.Decoder(AlertRow)
CASE_DAYS_KEPT: Final = 2  # two venues' days overlap; older ones cannot come again
_STATE_BY_PHASE: Final = {
    "opening": "open",
    "growth": "open",
    "receded": "open",
    "provisional": "provisional",
    "confirmed": "confirmed",
    "withdrawn": "withdrawn",
}


class Episode(Struct):
    """An open episode: what must be known to go on with it.

    There may be as many as accounts, and few are looked at again before their day ends: so the
    alert is kept as JSON, a fifth as large as its objects, which a snapshot takes as it is.
    """

    alert: Raw
    day_end_ns: int
    shard: int
    finding_count: int = 1

    @property
    def row(self) -> AlertRow:
        """The alert as it stands."""
        return _ALERTS.decode(self.alert)

    def stands(self, row: AlertRow) -> AlertRow:
        """Note how the alert stands now, and return it."""
        self.alert = _spelled(row)
        return row


class PolicyState(Struct):
    """Everything policy remembers; part of the writer's snapshot."""

    episodes: dict[str, Episode] = field(default_factory=dict)
    notices: NoticeMemory = field(default_factory=NoticeMemory)
    turns: TurnMemory = field(default_factory=TurnMemory)
    # account -> trading day -> rules other than notifying ones that alerted: an open case; those of
    # alerts on several accounts are with the turns
    cases: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    alerts_by_detector: dict[str, int] = field(default_factory=dict)


def alert_id(finding: Finding, detector_version: int) -> str:
    """Return the alert's id, 32 hex digits: the same for the same events everywhere."""
    parts = (
        ALERT_DOMAIN,
        finding.tenant,
        finding.detector,
        str(detector_version),
        finding.rule.parameters_hash,
        finding.subject,
        finding.trading_day,  # some senders count their event ids from 1 every day
        *finding.trigger,
        str(finding.ordinal),
    )
    return digest_parts(parts).hex()


class Policy:
    """Turns one shard's messages into acts, in order.

    Parameters
    ----------
    state
        Where it stands; changed in place.
    maker
        Spells acts as ledger entries, with tokens instead of account ids.
    notices
        Who may be told what, and for how long it stands.
    may_notify
        Rules whose alert may go to the customer.
    shards
        How many shards there are, those of instruments among them; 0: there are none of these. See
        ``flows.turns``.
    """

    def __init__(
        self,
        state: PolicyState,
        maker: ActMaker,
        notices: NoticePolicy,
        may_notify: frozenset[str],
        shards: int = 0,
    ) -> None:
        self.state = state
        self._maker = maker
        self.notices = notices
        self._may_notify = may_notify
        self._turns = Turns(state.turns, notices, shards)
        # Per shard, when open episodes end, soonest first; may name some that are closed by now.
        self._ends: dict[int, list[tuple[int, str]]] = {}
        for key, episode in state.episodes.items():
            episode.alert = episode.alert.copy()  # of a snapshot, it would keep all of that
            heappush(self._ends.setdefault(episode.shard, []), (episode.day_end_ns, key))
        self._cases = CaseDays(state.cases, notices.shard_of)

    def take(self, message: ShardMessage) -> list[Act]:
        """Return what one message leads to, in the order of the rows that caused it."""
        acts: list[Act] = []
        told = 0
        for office in message.office:
            for finding in message.findings[told : office.findings_before]:
                acts += self._on_finding(finding, message)
            told = office.findings_before
            acts += self._turns.on_office(office, message.shard)
        for finding in message.findings[told:]:
            acts += self._on_finding(finding, message)
        acts += self._turns.advance(message)
        # Not the watermark: a provisional alert must be judged before its day is closed.
        acts += self._close_ended(message.closed_until_ns, message.shard)
        self._cases.forget(message.shard, message.closed_until_ns)
        return acts

    def latest_ns(self, message: ShardMessage) -> int:
        """Return the highest event time at which the message may bring anything about."""
        if message.is_last:
            return END_OF_TIME_NS
        times = [finding.event_time_ns for finding in message.findings]
        times += [office.event.event_time_ns for office in message.office]
        return max([message.watermark_ns, *times])

    def headroom(self, message: ShardMessage) -> list[HeadroomRow]:
        """Return how near subjects are to figures, for the store."""
        return [
            HeadroomRow(
                rule_id=near.rule_id,
                subject=near.subject or " ".join(filter(None, (near.account_id, near.instrument))),
                account_id=near.account_id,
                instrument=near.instrument,
                value=near.value,
                figure=near.figure,
                projected_breach_ns=near.projected_breach_ns,
                event_time_ns=near.event_time_ns,
            )
            for near in message.headroom
        ]

    def _on_finding(self, finding: Finding, message: ShardMessage) -> list[Act]:
        key = f"{finding.rule.id}\x1f{finding.tenant}\x1f{finding.subject}"
        acts: list[Act] = []
        # What an instrument shard finds comes at no fixed point among the messages of the person's
        # own shard: it must not move what those bring about.
        if message.is_aligned:
            self._turns.note(finding)
        else:
            acts += self._turns.catch_up(_person(finding), finding.event_time_ns)
        if finding.rule.id in self._may_notify and finding.phase in RECHECKS:
            # Before this finding sends a notice of its own.
            acts += self._turns.recheck(finding, message.shard)
        episode = self.state.episodes.get(key)
        if episode is not None and _is_over(episode, finding):
            acts.append(self._close(key, DAY_ENDED))
            episode = None
        if episode is not None:
            acts += self._update(key, episode, finding)
        elif finding.phase in OPENS or finding.phase == "growth":
            acts += self._open(key, finding, message)
        return acts

    def _open(self, key: str, finding: Finding, message: ShardMessage) -> list[Act]:
        shard = message.shard
        number = self._maker.detector_version(finding.detector)
        alert = _alert_row(finding, alert_id(finding, number))
        notice = (
            self._turns.decide(alert, self._case_of(finding), shard)
            if finding.rule.id in self._may_notify
            else None
        )
        episode = Episode(_spelled(alert), day_end_ns=finding.day_end_ns, shard=shard)
        heappush(self._ends.setdefault(shard, []), (episode.day_end_ns, key))
        self.state.episodes[key] = episode
        counts = self.state.alerts_by_detector
        counts[finding.detector] = counts.get(finding.detector, 0) + 1
        if finding.rule.id not in self._may_notify and not message.is_aligned:
            self._note_case(finding)
        act = self._maker.alert(finding, alert, notice)
        act.batch.episodes.append(_episode_row(episode, alert))
        return [act, *([] if notice is None or notice.act is None else [notice.act])]

    def _note_case(self, finding: Finding) -> None:
        days = self._cases.of(_person(finding), finding.trading_day)
        rules = days.setdefault(finding.trading_day, [])
        if finding.rule.id not in rules:
            rules.append(finding.rule.id)
        if len(days) > CASE_DAYS_KEPT:
            del days[min(days)]

    def _case_of(self, finding: Finding) -> str | None:
        """Return the rule under which the account already has an alert of this day, if any."""
        rules = self.state.cases.get(_person(finding), {}).get(finding.trading_day)
        return rules[0] if rules else None

    def _update(self, key: str, episode: Episode, finding: Finding) -> list[Act]:
        episode.finding_count += 1
        old = episode.row
        alert = _alert_row(finding, old.alert_id)
        state = _STATE_BY_PHASE[finding.phase]
        # Growth of a provisional alert leaves it provisional until its day is judged.
        keeps = finding.phase not in ENDS
        updated = structs.replace(
            alert,
            state=old.state if keeps else state,
            onset_ns=old.onset_ns,
            event_time_ns=old.event_time_ns,
            updated_ns=max(old.updated_ns, finding.event_time_ns),
            trading_day=old.trading_day,
            why=old.why if finding.phase == "receded" else finding.why,
            evidence=old.evidence if finding.phase == "receded" else finding.evidence,
            counterfactual=old.counterfactual,
            positions=old.positions,
            rule=old.rule,
            update_count=old.update_count + 1,
        )
        act = self._maker.update(finding, episode.stands(updated))
        act.batch.episodes.append(_episode_row(episode, updated))
        acts = [act]
        if finding.phase in ENDS:
            acts.append(self._close(key, f"{finding.phase} at the end of its trading day"))
        return acts

    def _close(self, key: str, reason: str) -> Act:
        episode = self.state.episodes.pop(key)
        alert = episode.row
        state = alert.state if alert.state in ENDS else "closed"
        closed = structs.replace(
            alert,
            state=state,
            updated_ns=max(alert.updated_ns, episode.day_end_ns),
            update_count=alert.update_count + 1,
        )
        act = self._maker.close(closed, episode.day_end_ns, reason)
        row = _episode_row(episode, alert)
        act.batch.episodes.append(
            structs.replace(row, closed_ns=episode.day_end_ns, close_reason=reason)
        )
        return act

    def _close_ended(self, until_ns: int, shard: int) -> list[Act]:
        """Close the shard's episodes whose day ended by a time, soonest end first."""
        ends = self._ends.get(shard)
        acts = []
        while ends and ends[0][0] <= until_ns:
            day_end_ns, key = heappop(ends)
            episode = self.state.episodes.get(key)
            # A finding may have closed it already, and the next day's opened another.
            if episode is not None and episode.day_end_ns == day_end_ns:
                acts.append(self._close(key, DAY_ENDED))
        return acts


def _is_over(episode: Episode, finding: Finding) -> bool:
    """Say whether an episode ended before a finding, as the watermark would have said by then.

    The judgement of a day is made at its very end and still belongs to it.
    """
    if finding.phase in ENDS:
        return False
    later_day = finding.trading_day > episode.row.trading_day
    return later_day or finding.event_time_ns >= episode.day_end_ns


def _person(finding: Finding) -> str:
    return person_of(finding.tenant, finding.account_id)


def _alert_row(finding: Finding, identity: str) -> AlertRow:
    return AlertRow(
        alert_id=identity,
        tenant=finding.tenant,
        detector=finding.detector,
        rule_id=finding.rule.id,
        account_id=finding.account_id,
        instrument=finding.instrument,
        subject=finding.subject,
        severity=finding.severity,
        state="provisional" if finding.phase == "provisional" else "open",
        onset_ns=finding.onset_ns,
        event_time_ns=finding.event_time_ns,
        updated_ns=finding.event_time_ns,
        trading_day=finding.trading_day,
        why=finding.why,
        evidence=finding.evidence,
        counterfactual=finding.counterfactual,
        rule=finding.rule,
        positions=finding.positions,
    )


def _spelled(row: AlertRow) -> Raw:
    return Raw(msgspec_json.encode(row))


def _episode_row(episode: Episode, alert: AlertRow) -> EpisodeRow:
    return EpisodeRow(
        episode_id=digest_parts(("tapewatch/episode/1", alert.alert_id)).hex(),
        detector=alert.detector,
        subject=alert.subject,
        account_id=alert.account_id,
        alert_id=alert.alert_id,
        opened_ns=alert.event_time_ns,
        last_ns=alert.updated_ns,
        finding_count=episode.finding_count,
    )
