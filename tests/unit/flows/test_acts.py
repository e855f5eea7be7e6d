import unicodedata

import pytest
from msgspec import structs
from policy_parts import (
    ACCOUNT,
    OTHER,
    PEPPER,
    alert_of,
    answer,
    at,
    control,
    finding,
    make_maker,
    make_policy,
    message,
    notice_of,
)

from ledger.entry import canonical, prepare
from ledger.tokens import token
from schemas.events import EntitlementChanged

DECOMPOSED = unicodedata.normalize("NFD", "é 가")


def every_act() -> list:  # type: ignore[type-arg]
    """Give an act of every kind that policy makes, all of one account."""
    policy = make_policy()
    embedding = ("broker-1", f"{ACCOUNT}/17")
    opening = finding("opening", 1, trigger=embedding, subject=f"{ACCOUNT} 600000@XSHG")
    notice = notice_of(alert_of(opening))
    policy.notices.learn(
        [control("hold", 0, 1, is_set=True), control("hold", 0.5, 2, is_set=False)]
    )
    acts = policy.take(message(opening, office=[answer(notice, 5, findings_before=1)]))
    acts += policy.take(message(finding("growth", 9, subject=opening.subject)))
    acts += policy.take(message(finding("provisional", 10, rule_id=OTHER), is_last=True))
    acts += policy.take(message(closed_until_ns=2**62))
    return acts


def test_every_kind_of_act_was_tried() -> None:
    assert {act.draft.kind for act in every_act()} == {
        "alert",
        "alert.updated",
        "alert.closed",
        "notice",
        "notice.updated",
        "hold.set",
        "hold.released",
    }


def test_no_entry_holds_the_account_id() -> None:
    for act in every_act():
        draft = act.draft
        content = canonical([draft.kind, draft.actor, draft.rule, draft.body, draft.src])
        assert ACCOUNT.encode() not in content
        assert token(PEPPER, "account", f"default\x1f{ACCOUNT}").encode() in content
        assert act.draft.body["account_shown"] == "****3456"


def test_the_readable_rest_of_a_trigger_stays() -> None:
    trigger = next(a.draft.body["trigger"] for a in every_act() if a.draft.kind == "alert")
    assert trigger == ["broker-1", token(PEPPER, "account", f"default\x1f{ACCOUNT}") + "/17"]


def test_tenants_share_no_token() -> None:
    maker = make_maker()
    assert maker.account("a", ACCOUNT) != maker.account("b", ACCOUNT)


def test_every_entry_is_fit_for_the_ledger() -> None:
    for act in every_act():
        prepare(act.draft)


def test_texts_in_entries_are_in_normal_form_c() -> None:
    one = finding(
        "opening",
        1,
        why=DECOMPOSED,
        evidence={"texts": [DECOMPOSED, {"deep": (DECOMPOSED,)}]},
        trigger=(DECOMPOSED, DECOMPOSED),
        instrument=DECOMPOSED,
    )
    one = structs.replace(one, positions=(structs.replace(one.positions[0], lane=DECOMPOSED),))
    (act, *_) = make_policy().take(message(one))
    prepare(act.draft)
    assert act.draft.body["why"] == "é 가"
    assert act.batch.alerts[0].why == DECOMPOSED  # the store keeps what was said


def test_entries_say_where_the_rows_stood() -> None:
    (act, *_) = make_policy().take(message(finding("opening", 1)))
    assert act.draft.src == [{"source": "lane", "partition": 0, "offset": 1}]


@pytest.mark.parametrize("body", [{"config_hash": "a", "values": {"x": "1"}}, {"config_hash": "a"}])
def test_a_configuration_is_known_by_all_it_says(body: dict[str, object]) -> None:
    first = make_maker().config(body).draft
    again = make_maker().config(dict(body)).draft
    other = make_maker().config(body | {"rules": ["r"]}).draft
    assert first == again
    assert first.eid != other.eid
    prepare(first)


def test_an_entitlement_change_sent_twice_is_one_entry() -> None:
    event = EntitlementChanged(
        source="admin",
        event_id="E-1",
        event_time_ns=at(1),
        subject="role",
        permission="p",
        action="revoke",
        valid_from_ns=at(1),
        valid_until_ns=at(2),
        operator="o",
        reason="r",
    )
    office = structs.replace(answer("n", 1), event=event)
    maker = make_maker()
    one = maker.entitlement(office, event).draft
    elsewhere = maker.entitlement(structs.replace(office, line=99), event).draft
    assert (one.eid, one.body) == (elsewhere.eid, elsewhere.body)
    prepare(one)
