"""Policy: from findings to alerts, episodes and notices. Pure; the writer makes it durable.

One episode is open per rule and subject and trading day: it begins with an alert, grows with
updates, and ends with its day. What a message leads to depends only on that message's own shard
before it, so the same events give the same acts whatever their batching.
"""

from typing import Final

from msgspec import Struct, field, structs

from flows.acts import Act, ActMaker
from flows.notices import NoticePolicy, NoticeState
from flows.steps import ShardMessage
from flows.store.rows import AlertRow, EpisodeRow, HeadroomRow
from schemas.alerts import Finding
from schemas.ids import ALERT_DOMAIN, digest_parts

OPENS: Final = frozenset({"opening", "provisional"})
ENDS: Final = frozenset({"confirmed", "withdrawn"})
RECHECKS: Final = frozenset({"growth", "receded"})
_STATE_BY_PHASE: Final = {
    "opening": "open",
    "growth": "open",
    "receded": "open",
    "provisional": "provisional",
    "confirmed": "confirmed",
    "withdrawn": "withdrawn",
}


class Episode(Struct):
    """An open episode: what must be known to go on with it."""

    alert: AlertRow
    day_end_ns: int
    shard: int
    finding_count: int = 1


class PolicyState(Struct):
    """Everything policy remembers; part of the writer's snapshot."""

    episodes: dict[str, Episode] = field(default_factory=dict)
    notices: NoticeState = field(default_factory=NoticeState)
    # account -> trading day -> rules other than notifying ones that alerted: an open case
    cases: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    alerts_by_detector: dict[str, int] = field(default_factory=dict)
    next_end_ns: dict[int, int] = field(default_factory=dict)  # by shard, at or before the truth


def alert_id(finding: Finding, detector_version: int) -> str:
    """Return the alert's id, 32 hex digits: the same for the same events everywhere."""
    parts = (
        ALERT_DOMAIN,
        finding.tenant,
        finding.detector,
        str(detector_version),
        finding.rule.parameters_hash,
        finding.subject,
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
    """

    def __init__(
        self,
        state: PolicyState,
        maker: ActMaker,
        notices: NoticePolicy,
        may_notify: frozenset[str],
    ) -> None:
        self.state = state
        self._maker = maker
        self.notices = notices
        self._may_notify = may_notify

    def take(self, message: ShardMessage) -> list[Act]:
        """Return what one message leads to."""
        acts: list[Act] = []
        for finding in message.findings:
            acts += self.notices.control_until(finding.event_time_ns, message.shard)
            acts += self._on_finding(finding, message.shard)
        for office in message.office:
            acts += self.notices.control_until(office.event.event_time_ns, message.shard)
            acts += self.notices.on_office(office)
        acts += self.notices.control_until(message.watermark_ns, message.shard)
        acts += self.notices.expire(message.watermark_ns, message.shard)
        until_ns = 2**62 if message.is_last else message.watermark_ns
        acts += self._close_ended(until_ns, message.shard)
        return acts

    def headroom(self, message: ShardMessage) -> list[HeadroomRow]:
        """Return how near subjects are to figures, for the store."""
        return [
            HeadroomRow(
                rule_id=near.rule_id,
                subject=near.account_id
                if near.instrument is None
                else f"{near.account_id} {near.instrument}",
                account_id=near.account_id,
                instrument=near.instrument,
                value=near.value,
                figure=near.figure,
                projected_breach_ns=near.projected_breach_ns,
                event_time_ns=near.event_time_ns,
            )
            for near in message.headroom
        ]

    def _on_finding(self, finding: Finding, shard: int) -> list[Act]:
        key = f"{finding.rule.id}\x1f{finding.tenant}\x1f{finding.subject}"
        acts = []
        episode = self.state.episodes.get(key)
        if episode is not None and finding.trading_day > episode.alert.trading_day:
            acts.append(self._close(key, "its trading day ended"))
            episode = None
        if episode is not None:
            acts += self._update(key, episode, finding)
        elif finding.phase in OPENS or finding.phase == "growth":
            acts += self._open(key, finding, shard)
        if finding.rule.id in self._may_notify and finding.phase in RECHECKS:
            acts += self.notices.recheck(finding)
        return acts

    def _open(self, key: str, finding: Finding, shard: int) -> list[Act]:
        number = self._maker.detector_version(finding.detector)
        alert = _alert_row(finding, alert_id(finding, number))
        notice = (
            self.notices.decide(finding, alert, self._case_of(finding), shard)
            if (finding.rule.id in self._may_notify)
            else None
        )
        episode = Episode(alert=alert, day_end_ns=finding.day_end_ns, shard=shard)
        self._note_end(shard, episode.day_end_ns)
        self.state.episodes[key] = episode
        counts = self.state.alerts_by_detector
        counts[finding.detector] = counts.get(finding.detector, 0) + 1
        if finding.rule.id not in self._may_notify:
            days = self.state.cases.setdefault(_person(finding), {})
            days.setdefault(finding.trading_day, []).append(finding.rule.id)
        act = self._maker.alert(finding, alert, notice)
        act.batch.episodes.append(_episode_row(episode))
        return [act, *([] if notice is None or notice.act is None else [notice.act])]

    def _case_of(self, finding: Finding) -> str | None:
        """Return the rule under which the account already has an alert of this day, if any."""
        rules = self.state.cases.get(_person(finding), {}).get(finding.trading_day)
        return rules[0] if rules else None

    def _update(self, key: str, episode: Episode, finding: Finding) -> list[Act]:
        episode.finding_count += 1
        old = episode.alert
        alert = _alert_row(finding, old.alert_id)
        state = _STATE_BY_PHASE[finding.phase]
        # Growth of a provisional alert leaves it provisional until its day is judged.
        keeps = finding.phase not in ENDS
        episode.alert = structs.replace(
            alert,
            state=old.state if keeps else state,
            onset_ns=old.onset_ns,
            event_time_ns=old.event_time_ns,
            updated_ns=finding.event_time_ns,
            why=old.why if finding.phase == "receded" else finding.why,
            evidence=old.evidence if finding.phase == "receded" else finding.evidence,
            counterfactual=old.counterfactual,
            positions=old.positions,
            rule=old.rule,
            update_count=old.update_count + 1,
        )
        act = self._maker.update(finding, episode.alert)
        act.batch.episodes.append(_episode_row(episode))
        acts = [act]
        if finding.phase in ENDS:
            acts.append(self._close(key, f"{finding.phase} at the end of its trading day"))
        return acts

    def _close(self, key: str, reason: str) -> Act:
        episode = self.state.episodes.pop(key)
        alert = episode.alert
        state = alert.state if alert.state in ENDS else "closed"
        closed = structs.replace(
            alert,
            state=state,
            updated_ns=max(alert.updated_ns, episode.day_end_ns),
            update_count=alert.update_count + 1,
        )
        act = self._maker.close(closed, episode.day_end_ns, reason)
        row = _episode_row(episode)
        act.batch.episodes.append(
            structs.replace(row, closed_ns=episode.day_end_ns, close_reason=reason)
        )
        return act

    def _note_end(self, shard: int, day_end_ns: int) -> None:
        ends = self.state.next_end_ns
        ends[shard] = min(day_end_ns, ends.get(shard, day_end_ns))

    def _close_ended(self, until_ns: int, shard: int) -> list[Act]:
        if until_ns < self.state.next_end_ns.get(shard, 2**63):
            return []
        del self.state.next_end_ns[shard]
        for episode in self.state.episodes.values():
            if episode.shard == shard and episode.day_end_ns > until_ns:
                self._note_end(shard, episode.day_end_ns)
        ended = [
            (episode.day_end_ns, key)
            for key, episode in self.state.episodes.items()
            if episode.shard == shard and episode.day_end_ns <= until_ns
        ]
        return [self._close(key, "its trading day ended") for _, key in sorted(ended)]


def _person(finding: Finding) -> str:
    return f"{finding.tenant}\x1f{finding.account_id}"


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


def _episode_row(episode: Episode) -> EpisodeRow:
    alert = episode.alert
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
