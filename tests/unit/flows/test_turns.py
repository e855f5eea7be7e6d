"""An alert on several accounts is an open case of each, from its event time on."""

from msgspec import structs
from policy_parts import (
    ACCOUNT,
    DAY_NS,
    OTHER,
    PARTY,
    alert_of,
    answer,
    at,
    finding,
    joint,
    kinds,
    make_policy,
    message,
    notice_of,
)

from flows.acts import Act
from flows.policy import Policy
from flows.steps import ShardMessage
from schemas.alerts import Finding

OPENING = finding("opening", 1)
PARTNER = "partner-of-somebody"


def waiting_policy() -> Policy:
    """Give a policy of one shard of accounts and one of instruments."""
    return make_policy(instrument_shards=1)


def aligned(seconds: float, *findings: Finding) -> ShardMessage:
    return message(*findings, shard=1, watermark_ns=at(seconds), is_aligned=True)


def passed(seconds: float) -> ShardMessage:
    return message(watermark_ns=at(seconds), number=1)


def both_passed(policy: Policy, seconds: float, *findings: Finding) -> list[Act]:
    return policy.take(passed(seconds)) + policy.take(aligned(seconds, *findings))


def test_a_notice_waits_until_every_shard_has_passed_its_moment() -> None:
    policy = waiting_policy()
    (alert,) = policy.take(message(OPENING))
    assert alert.draft.kind == "alert"
    assert alert.draft.body["notice"]["sent"] is False
    assert "not decided yet" in alert.draft.body["notice"]["because"]
    assert both_passed(policy, 1) == [], "at its very moment an alert may still come"
    assert policy.take(aligned(2)) == [], "the account's own shard has not passed it"
    (notice,) = policy.take(passed(2))
    assert notice.draft.kind == "notice"
    assert notice.batch.notices[0].sent_ns == OPENING.event_time_ns


def test_every_account_that_such_an_alert_names_has_a_case() -> None:
    for accounts in ((ACCOUNT, PARTNER), (PARTNER, ACCOUNT)):
        policy = waiting_policy()
        policy.take(message(OPENING))
        acts = both_passed(policy, 2, joint(1, *accounts))
        assert kinds(acts) == ["alert", "notice.withheld"]
        assert PARTY in acts[1].draft.body["because"]
        assert acts[1].draft.body["alert_id"] == alert_of(OPENING)
        assert policy.state.notices.withheld == {"open_case": 1}
        assert policy.state.notices.sent == 0


def test_a_case_of_later_of_another_day_or_of_others_holds_nothing_back() -> None:
    for other in (
        joint(1.1, ACCOUNT),
        joint(-86_400, ACCOUNT),
        joint(0, PARTNER),
        joint(0, ACCOUNT, tenant="another"),
        joint(0, ACCOUNT, phase="receded"),
    ):
        policy = waiting_policy()
        policy.take(message(OPENING))
        assert "notice" in kinds(both_passed(policy, 2, other))


def test_an_account_that_joins_a_party_later_has_a_case_from_then_on() -> None:
    policy = waiting_policy()
    first = joint(0.5, PARTNER)
    wider = joint(0.9, PARTNER, ACCOUNT, phase="growth", subject=first.subject)
    policy.take(message(OPENING))
    assert kinds(both_passed(policy, 2, first, wider)) == [
        "alert",
        "alert.updated",
        "notice.withheld",
    ]


def test_what_needs_no_other_shard_is_refused_at_once() -> None:
    policy = waiting_policy()
    real = structs.replace(OPENING, evidence={"simulated_only": False})
    (alert,) = policy.take(message(real))
    assert "simulated" in alert.draft.body["notice"]["because"]
    policy = waiting_policy()
    acts = policy.take(message(finding("opening", 0.5, rule_id=OTHER), OPENING))
    assert OTHER in acts[-1].draft.body["notice"]["because"]
    assert both_passed(policy, 2) == []


def test_answers_and_rechecks_wait_behind_the_notice_they_are_about() -> None:
    policy = waiting_policy()
    notice_id = notice_of(alert_of(OPENING))
    policy.take(message(OPENING, finding("growth", 3), office=[answer(notice_id, 2, ACCOUNT, 1)]))
    acts = both_passed(policy, 4)
    assert kinds(acts) == ["notice", "notice.updated", "notice.updated"]
    states = [row.state for act in acts for row in act.batch.notices]
    assert states == ["sent", "answered", "rechecked"]


def test_a_notice_runs_out_behind_those_that_wait() -> None:
    policy = waiting_policy()
    policy.take(message(OPENING))
    assert policy.take(passed(3_700)) == []
    assert kinds(policy.take(aligned(3_700))) == ["notice", "notice.updated"]


def test_cases_of_past_days_are_forgotten() -> None:
    policy = waiting_policy()
    both_passed(policy, 2, joint(1, ACCOUNT))
    assert policy.state.turns.cases
    policy.take(message(watermark_ns=at(2) + 5 * DAY_NS, number=2))
    assert not policy.state.turns.cases


def test_turns_left_by_a_start_with_such_rules_are_taken_by_one_without() -> None:
    policy = waiting_policy()
    policy.take(message(OPENING))
    without = make_policy(policy.state)
    assert kinds(without.take(message())) == ["notice"]
