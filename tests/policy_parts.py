"""Parts for tests of policy, writer and notices: findings, messages, a policy without a run."""

from typing import Any

import orjson

from detectors.core.stage import OfficeEvent
from flows.acts import Act, ActMaker
from flows.control import ControlRecord
from flows.notices import NoticePolicy
from flows.policy import Policy, PolicyState, alert_id
from flows.steps import ShardMessage
from ledger.tokens import Pepper
from schemas.alerts import Finding, Position, Rule
from schemas.events import SECOND_NS, AppEvent
from schemas.ids import digest_parts

START_NS = 1_772_413_200_000_000_000  # 2026-03-02T01:00:00Z
DAY_NS = 86_400 * SECOND_NS
DAY_END_NS = START_NS + 15 * 3_600 * SECOND_NS
EXPIRY_NS = 3_600 * SECOND_NS
WIN_RATE = "source.win_rate"
OTHER = "pack.other"
ACCOUNT = "6217-0012-3456"
TENANT = "default"
PARTY = "pack.party"
PEPPER = Pepper(bytes(range(32)))


def at(seconds: float) -> int:
    """Return an event time so long after the start, ns."""
    return START_NS + round(seconds * SECOND_NS)


def day_of(time_ns: int) -> tuple[str, int]:
    """Return name and end of a trading day; days are 24 h long and end at DAY_END_NS."""
    number = -(-(time_ns + 1 - DAY_END_NS) // DAY_NS)
    return f"2026-03-{2 + number:02}", DAY_END_NS + number * DAY_NS


def rule(rule_id: str) -> Rule:
    return Rule(
        id=rule_id, version=1, pack="pack", article="art. 1", parameters_hash=f"hash of {rule_id}"
    )


def finding(phase: str, seconds: float, **changes: Any) -> Finding:
    """Give a finding of the win-rate rule, or of another where ``rule_id`` says so."""
    rule_id = changes.pop("rule_id", WIN_RATE)
    account_id = changes.pop("account_id", ACCOUNT)
    day, day_end_ns = day_of(at(seconds))
    facts: dict[str, Any] = {
        "detector": rule_id.partition(".")[2],
        "rule": rule(rule_id),
        "phase": phase,
        "tenant": TENANT,
        "account_id": account_id,
        "instrument": None,
        "subject": account_id,
        "trigger": ("broker-1", f"E-{seconds}"),
        "ordinal": 0,
        "event_time_ns": at(seconds),
        "onset_ns": START_NS,
        "trading_day": day,
        "day_end_ns": day_end_ns,
        "severity": "medium",
        "why": f"seen at {seconds}",
        "evidence": {"units": 10, "simulated_only": rule_id == WIN_RATE},
        "counterfactual": {"text": "would not have fired"},
        "positions": (Position(lane="lane", line=round(seconds)),),
    }
    return Finding(**(facts | changes))


def joint(seconds: float, *account_ids: str, **changes: Any) -> Finding:
    """Give a finding of the instrument stage that names accounts."""
    facts = {
        "rule_id": PARTY,
        "account_id": account_ids[0],
        "subject": "+".join(account_ids),
        "evidence": {"accounts": [{"account_id": account_id} for account_id in account_ids]},
    }
    return finding(changes.pop("phase", "opening"), seconds, **(facts | changes))


def answer(
    notice_id: str, seconds: float, account_id: str = ACCOUNT, findings_before: int = 0
) -> OfficeEvent:
    """Give an answer as it comes in the stream."""
    event = AppEvent(
        source="app",
        event_id=f"answer-{seconds}",
        event_time_ns=at(seconds),
        account_id=account_id,
        name="notice.responded",
        notice_id=notice_id,
    )
    return OfficeEvent(event=event, lane="lane", line=7, findings_before=findings_before)


def message(*findings: Finding, **changes: Any) -> ShardMessage:
    """Give a message whose watermark is behind everything unless told otherwise."""
    watermark_ns = changes.pop("watermark_ns", START_NS - DAY_NS)
    facts = {"shard": 0, "number": 0, "closed_until_ns": watermark_ns} | changes
    return ShardMessage(findings=list(findings), watermark_ns=watermark_ns, **facts)


def control(kind: Any, seconds: float, sequence: int = 1, **body: Any) -> ControlRecord:
    return ControlRecord(
        sequence=sequence,
        kind=kind,
        lane=None,
        effective_ns=at(seconds),
        key=f"{kind}/{sequence}",
        body={"tenant": TENANT, "account_id": ACCOUNT} | body,
    )


def make_maker() -> ActMaker:
    return ActMaker(PEPPER, {"win_rate": 1, "other": 1, "party": 1})


def make_policy(
    state: PolicyState | None = None, shards: int = 1, instrument_shards: int = 0
) -> Policy:
    """Make a policy; an account's shard is its last character's code modulo ``shards``."""
    state = PolicyState() if state is None else state
    maker = make_maker()
    notices = NoticePolicy(
        state.notices,
        maker,
        expiry_ns=EXPIRY_NS,
        simulated_only=True,
        shard_of=lambda account_id: ord(account_id[-1]) % shards,
        tenant=TENANT,
    )
    all_shards = shards + instrument_shards if instrument_shards else 0
    return Policy(state, maker, notices, frozenset({WIN_RATE}), all_shards)


def kinds(acts: list[Act]) -> list[str]:
    return [act.draft.kind for act in acts]


def contents(acts: list[Act]) -> list[tuple[str, bytes]]:
    """Return what must be the same in every replay, sorted."""
    return sorted(
        (
            act.draft.eid.hex(),
            orjson.dumps([act.draft.kind, act.draft.event_time_ns, act.draft.body]),
        )
        for act in acts
    )


def alert_of(one: Finding) -> str:
    """Return the id of the alert that the finding opens, if it opens one."""
    return alert_id(one, 1)


def notice_of(alert: str) -> str:
    """Return the id of the notice that an alert sends, if it sends one."""
    return digest_parts(("tapewatch/notice/1", alert)).hex()
