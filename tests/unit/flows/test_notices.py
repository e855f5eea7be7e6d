from msgspec import structs
from policy_parts import (
    ACCOUNT,
    DAY_END_NS,
    EXPIRY_NS,
    OTHER,
    WIN_RATE,
    alert_of,
    answer,
    at,
    control,
    finding,
    kinds,
    make_policy,
    message,
    notice_of,
)

from flows.acts import Act
from flows.notices import TEXT
from flows.policy import Policy
from schemas.events import SECOND_NS, EntitlementChanged

OPENING = finding("opening", 1)
NOTICE = notice_of(alert_of(OPENING))
EXPIRED_AT = 1 + EXPIRY_NS / SECOND_NS


def opened() -> Policy:
    policy = make_policy()
    policy.take(message(OPENING))
    return policy


def states(acts: list[Act]) -> list[tuple[str, str | None]]:
    return [(row.state, row.outcome) for act in acts for row in act.batch.notices]


def withheld_because(acts: list[Act]) -> str:
    alerts = [act for act in acts if act.draft.kind == "alert" and act.draft.rule["id"] == WIN_RATE]
    assert alerts[-1].draft.body["notice"]["sent"] is False
    assert "notice" not in kinds(acts)
    return str(alerts[-1].draft.body["notice"]["because"])


def test_a_notice_leaves_once_for_a_rule_that_may_notify() -> None:
    policy = make_policy()
    acts = policy.take(message(OPENING, finding("growth", 2)))
    assert kinds(acts) == ["alert", "notice", "alert.updated"]
    assert acts[0].draft.body["notice"] == {"sent": True, "because": ""}
    (row,) = acts[1].batch.notices
    assert (row.notice_id, row.account_id, row.text, row.state) == (NOTICE, ACCOUNT, TEXT, "sent")
    assert row.expires_ns == at(1) + EXPIRY_NS
    assert acts[1].outbox == row
    assert policy.state.notices.sent == 1


def test_no_notice_leaves_for_another_rule() -> None:
    acts = make_policy().take(message(finding("opening", 1, rule_id=OTHER)))
    assert kinds(acts) == ["alert"]
    assert "notice" not in acts[0].draft.body


def test_what_a_customer_reads_names_no_rule() -> None:
    text = TEXT.lower()
    words = ("win", "rate", "rule", "detector", "alert", "90", "胜率", "规则", "预警")
    assert [word for word in words if word in text] == []


def test_a_rule_that_also_looks_at_real_trades_tells_nobody() -> None:
    policy = make_policy()
    real = structs.replace(OPENING, evidence={"simulated_only": False})
    assert "simulated" in withheld_because(policy.take(message(real)))
    assert policy.state.notices.withheld == {"not_simulated": 1}


def test_an_open_case_of_the_day_withholds_the_notice() -> None:
    policy = make_policy()
    acts = policy.take(message(finding("opening", 0.5, rule_id=OTHER), OPENING))
    assert OTHER in withheld_because(acts)
    assert policy.state.notices.withheld == {"open_case": 1}


def test_a_case_of_somebody_else_or_of_another_day_withholds_nothing() -> None:
    for first in (
        finding("opening", 0.5, rule_id=OTHER, account_id="somebody else"),
        finding("opening", 0.5, rule_id=OTHER, tenant="another"),
        finding("opening", -86_400, rule_id=OTHER),
    ):
        assert "notice" in kinds(make_policy().take(message(first, OPENING)))


def test_a_hold_withholds_the_notice_until_it_is_released() -> None:
    policy = make_policy()
    policy.notices.learn([control("hold", 0, 1, is_set=True)])
    acts = policy.take(message(OPENING))
    assert kinds(acts) == ["hold.set", "alert"]
    assert "hold" in withheld_because(acts)
    policy.notices.learn([control("hold", 60, 2, is_set=False)])
    next_day = finding("growth", 86_400)
    acts = policy.take(message(next_day))
    assert kinds(acts) == ["hold.released", "alert.closed", "alert", "notice"]


def test_a_hold_counts_from_its_own_time_whenever_it_is_learned() -> None:
    policy = make_policy()
    policy.notices.learn([control("hold", 1.5, is_set=True)])
    assert "notice" in kinds(policy.take(message(OPENING)))


def test_a_hold_does_not_reach_back_to_an_earlier_row_that_came_out_of_order() -> None:
    policy = make_policy()
    policy.notices.learn([control("hold", 1.5, is_set=True)])
    later_row = answer("0" * 32, 2)
    acts = policy.take(message(OPENING, office=[later_row]))
    assert kinds(acts) == ["hold.set", "alert", "notice"]


def test_a_control_record_has_its_effect_once() -> None:
    policy = make_policy()
    records = [control("hold", 0, is_set=True)]
    policy.notices.learn(records)
    assert kinds(policy.take(message(watermark_ns=at(0)))) == ["hold.set"]
    policy.notices.learn(records)
    assert policy.take(message(watermark_ns=at(9))) == []


def test_a_notice_that_waits_withholds_the_next() -> None:
    policy = make_policy()
    next_day = (DAY_END_NS - at(0)) / SECOND_NS
    policy.take(message(finding("opening", next_day - 60)))
    acts = policy.take(message(finding("growth", next_day + 60)))
    assert "waits" in withheld_because(acts)
    assert policy.state.notices.withheld == {"waiting": 1}


def test_an_answer_in_the_stream_is_noted() -> None:
    policy = opened()
    acts = policy.take(message(office=[answer(NOTICE, 5)]))
    assert kinds(acts) == ["notice.updated"]
    (row,) = acts[0].batch.notices
    assert (row.state, row.answered_ns, row.ordinal) == ("answered", at(5), 1)
    assert acts[0].outbox == row


def test_an_answer_through_the_control_log_is_the_same() -> None:
    through_stream = opened().take(message(office=[answer(NOTICE, 5)]))
    policy = opened()
    policy.notices.learn([control("notice.answered", 5, notice_id=NOTICE)])
    assert policy.take(message(watermark_ns=at(5) - 1)) == []
    acts = policy.take(message(watermark_ns=at(5)))
    assert [act.draft for act in acts] == [act.draft for act in through_stream]


def test_a_control_record_counts_before_the_accounts_own_next_event() -> None:
    policy = opened()
    policy.notices.learn([control("notice.answered", 5, notice_id=NOTICE)])
    assert kinds(policy.take(message(finding("opening", 9, account_id="else")))) == [
        "alert",
        "notice",
    ]
    acts = policy.take(message(finding("growth", 5)))
    assert states(acts) == [("answered", None), ("rechecked", "still above")]


def test_control_records_are_obeyed_at_the_end_of_the_input_and_notices_go_on_waiting() -> None:
    policy = opened()
    policy.notices.learn([control("hold", 500_000, is_set=True)])
    assert kinds(policy.take(message(is_last=True))) == ["hold.set"]
    assert policy.state.notices.open[NOTICE].row.state == "sent"


def test_an_answer_of_another_account_or_to_no_notice_is_nothing() -> None:
    policy = opened()
    others = [answer(NOTICE, 5, "somebody else"), answer("0" * 32, 5)]
    other_name = answer(NOTICE, 5)
    others.append(
        structs.replace(other_name, event=structs.replace(other_name.event, name="notice.seen"))
    )
    other_tenant = answer(NOTICE, 5)
    others.append(
        structs.replace(other_tenant, event=structs.replace(other_tenant.event, tenant="t"))
    )
    assert policy.take(message(office=others)) == []
    assert states(policy.take(message(office=[answer(NOTICE, 6)]))) == [("answered", None)]


def test_a_second_answer_is_nothing() -> None:
    policy = opened()
    acts = policy.take(message(office=[answer(NOTICE, 5), answer(NOTICE, 6)]))
    assert states(acts) == [("answered", None)]


def test_a_notice_expires_when_no_answer_can_come_any_more() -> None:
    policy = opened()
    assert policy.take(message(watermark_ns=at(EXPIRED_AT))) == []
    acts = policy.take(message(watermark_ns=at(EXPIRED_AT) + 1))
    assert states(acts) == [("expired", None)]
    assert acts[0].draft.event_time_ns == at(EXPIRED_AT)


def test_an_answer_in_the_last_moment_counts_and_one_after_it_finds_the_notice_expired() -> None:
    in_time = opened().take(message(office=[answer(NOTICE, EXPIRED_AT)]))
    assert states(in_time) == [("answered", None)]
    late = opened().take(message(office=[answer(NOTICE, EXPIRED_AT + 1)]))
    assert states(late) == [("expired", None)]
    by_watermark = opened().take(message(watermark_ns=at(EXPIRED_AT) + 1))
    assert [act.draft for act in late] == [act.draft for act in by_watermark]


def test_the_next_finding_after_an_answer_is_the_recheck() -> None:
    for phase, outcome in (("growth", "still above"), ("receded", "no longer above")):
        policy = opened()
        acts = policy.take(
            message(finding(phase, 9), office=[answer(NOTICE, 5, findings_before=0)])
        )
        assert states(acts) == [("answered", None), ("rechecked", outcome)]
        assert policy.state.notices.open == {}
        assert policy.state.notices.by_person == {}


def test_there_is_no_recheck_while_a_notice_waits() -> None:
    assert states(opened().take(message(finding("growth", 9)))) == []


def test_a_notice_that_ran_out_is_rechecked_by_the_same_finding() -> None:
    acts = opened().take(message(finding("growth", EXPIRED_AT + 1)))
    assert states(acts) == [("expired", None), ("rechecked", "still above")]


def test_findings_and_answers_meet_in_the_order_of_their_rows() -> None:
    growth = finding("growth", 9)
    answered_first = opened().take(message(growth, office=[answer(NOTICE, 9)]))
    assert states(answered_first) == [("answered", None), ("rechecked", "still above")]
    growth_first = opened().take(message(growth, office=[answer(NOTICE, 9, findings_before=1)]))
    assert states(growth_first) == [("answered", None)]


def test_the_recheck_comes_before_a_notice_of_the_next_day() -> None:
    policy = opened()
    policy.take(message(office=[answer(NOTICE, 5)]))
    acts = policy.take(message(finding("growth", 86_400)))
    assert kinds(acts) == ["notice.updated", "alert.closed", "alert", "notice"]
    assert states(acts) == [("rechecked", "still above"), ("sent", None)]


def test_other_rules_do_not_recheck() -> None:
    policy = opened()
    policy.take(message(office=[answer(NOTICE, 5)]))
    assert states(policy.take(message(finding("growth", 9, rule_id=OTHER)))) == []


def test_an_entitlement_change_is_an_entry_without_names() -> None:
    event = EntitlementChanged(
        source="admin",
        event_id="E-1",
        event_time_ns=at(1),
        subject="role of 6217-0012",
        permission="trade.futures",
        action="grant",
        valid_from_ns=at(1),
        operator="operator Zhang",
        approver="approver Li",
        reason="ticket 7",
    )
    office = structs.replace(answer(NOTICE, 1), event=event)
    (act,) = make_policy().take(message(office=[office]))
    assert act.draft.kind == "entitlement.changed"
    text = str(act.draft.body)
    assert [w for w in ("6217-0012", "Zhang", "Li'") if w in text] == []
    assert act.draft.body["permission"] == "trade.futures"
