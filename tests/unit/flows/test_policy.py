from msgspec import structs
from policy_parts import (
    DAY_END_NS,
    DAY_NS,
    OTHER,
    START_NS,
    alert_of,
    at,
    contents,
    finding,
    kinds,
    make_policy,
    message,
)

from flows.acts import Act
from flows.policy import alert_id
from flows.steps import END_OF_TIME_NS
from schemas.alerts import Finding, Headroom
from schemas.events import SECOND_NS

AFTER_DAY = (DAY_END_NS - at(0)) / SECOND_NS + 60


def other(phase: str, seconds: float, **changes: object) -> Finding:
    return finding(phase, seconds, rule_id=OTHER, **changes)


def judged(phase: str, seconds: float) -> Finding:
    """Give the judgement at a day's end of what was provisional at ``seconds``."""
    first = other("provisional", seconds)
    return structs.replace(
        first,
        phase=phase,  # type: ignore[arg-type]
        event_time_ns=first.day_end_ns,
        trigger=("trading_day", first.trading_day),
        why="judged",
        ordinal=1,
    )


def test_an_opening_is_an_alert_with_the_alert_id_as_its_entry_id() -> None:
    (act,) = make_policy().take(message(other("opening", 1)))
    assert act.draft.kind == "alert"
    assert act.draft.eid.hex() == alert_of(other("opening", 1)) == act.batch.alerts[0].alert_id
    assert act.batch.alerts[0].state == "open"
    assert act.draft.event_time_ns == at(1)


def test_cases_are_forgotten_once_no_finding_can_be_of_their_day() -> None:
    policy = make_policy(shards=2)
    for account_id in ("A0", "B1"):
        opened = other("opening", 1, account_id=account_id)
        policy.take(message(opened, shard=int(account_id[-1])))
    assert len(policy.state.cases) == 2
    later = {"watermark_ns": START_NS + 3 * DAY_NS}
    policy.take(message(shard=0, **later))
    assert len(policy.state.cases) == 2, "another venue's day may still be that one"
    again = make_policy(policy.state, shards=2)
    for one in (policy, again):
        one.take(message(shard=0, watermark_ns=START_NS + 5 * DAY_NS))
        assert [person[-2:] for person in one.state.cases] == ["B1"], "shards have their own time"


def test_growth_updates_the_open_alert_and_says_how_often() -> None:
    acts = make_policy().take(message(other("opening", 1), other("growth", 2), other("growth", 3)))
    assert kinds(acts) == ["alert", "alert.updated", "alert.updated"]
    rows = [act.batch.alerts[0] for act in acts]
    assert [row.update_count for row in rows] == [0, 1, 2]
    assert {row.alert_id for row in rows} == {rows[0].alert_id}
    assert [row.why for row in rows] == ["seen at 1", "seen at 2", "seen at 3"]
    assert [row.event_time_ns for row in rows] == [at(1)] * 3
    assert acts[2].batch.episodes[0].finding_count == 3


def test_receding_is_an_update_that_keeps_the_evidence_of_the_alert() -> None:
    acts = make_policy().take(message(other("opening", 1), other("receded", 2)))
    row = acts[1].batch.alerts[0]
    assert (row.state, row.why) == ("open", "seen at 1")
    assert acts[1].batch.alert_updates[0].why == "seen at 2"


def test_receding_without_an_open_alert_is_nothing() -> None:
    assert make_policy().take(message(other("receded", 2))) == []


def test_growth_on_a_later_day_opens_an_alert_of_its_own() -> None:
    acts = make_policy().take(message(other("opening", 1), other("growth", AFTER_DAY)))
    assert kinds(acts) == ["alert", "alert.closed", "alert"]
    assert acts[0].opens != acts[2].opens


def test_a_provisional_alert_stays_so_while_it_grows_and_is_confirmed_or_withdrawn() -> None:
    for phase in ("confirmed", "withdrawn"):
        acts = make_policy().take(
            message(other("provisional", 1), other("growth", 2), judged(phase, 1))
        )
        assert kinds(acts) == ["alert", "alert.updated", "alert.updated", "alert.closed"]
        states = [act.batch.alerts[0].state for act in acts]
        assert states == ["provisional", "provisional", phase, phase]
        assert acts[3].batch.alerts[0].update_count == 3


def test_a_provisional_alert_is_not_closed_before_its_day_is_judged() -> None:
    policy = make_policy()
    policy.take(message(other("provisional", 1)))
    late = DAY_END_NS + 50 * SECOND_NS
    unjudged = message(watermark_ns=late, closed_until_ns=DAY_END_NS - 1)
    assert policy.take(unjudged) == []
    judging = message(judged("withdrawn", 1), watermark_ns=late + SECOND_NS)
    assert [act.batch.alerts[0].state for act in policy.take(judging)] == ["withdrawn"] * 2


def close_of(acts: list[Act]) -> tuple[str, bytes]:
    return contents([act for act in acts if act.draft.kind == "alert.closed"])[0]


def test_watermark_later_finding_and_end_of_input_close_alike() -> None:
    opening = message(other("opening", 1))
    by_watermark, by_finding, by_end = make_policy(), make_policy(), make_policy()
    for policy in (by_watermark, by_finding, by_end):
        policy.take(opening)
    closed = [
        by_watermark.take(message(watermark_ns=DAY_END_NS)),
        by_finding.take(message(other("growth", AFTER_DAY))),
        by_end.take(message(closed_until_ns=END_OF_TIME_NS, is_last=True)),
    ]
    assert len({close_of(acts) for acts in closed}) == 1
    draft = closed[0][0].draft
    assert (draft.event_time_ns, draft.body["state"]) == (DAY_END_NS, "closed")


def test_a_day_is_over_at_its_end_and_not_before() -> None:
    policy = make_policy()
    policy.take(message(other("opening", 1)))
    assert policy.take(message(watermark_ns=DAY_END_NS - 1)) == []
    assert kinds(policy.take(message(watermark_ns=DAY_END_NS))) == ["alert.closed"]


def test_a_venue_whose_day_lasts_longer_does_not_keep_the_alert_open() -> None:
    """The watermark would have closed it by then, in smaller blocks."""
    first = other("opening", 1)
    longer = structs.replace(
        other("growth", AFTER_DAY), trading_day=first.trading_day, day_end_ns=DAY_END_NS + DAY_NS
    )
    assert kinds(make_policy().take(message(first, longer))) == ["alert", "alert.closed", "alert"]


def test_shards_close_their_own_alerts_only() -> None:
    policy = make_policy(shards=2)
    policy.take(message(other("opening", 1, account_id="account-0"), shard=0))
    policy.take(message(other("opening", 1, account_id="account-1"), shard=1))
    acts = policy.take(message(shard=1, watermark_ns=DAY_END_NS))
    assert [act.batch.alerts[0].account_id for act in acts] == ["account-1"]


def test_the_same_message_twice_gives_the_same_entries() -> None:
    one = message(other("provisional", 1), other("growth", 2), judged("confirmed", 1))
    assert contents(make_policy().take(one)) == contents(make_policy().take(one))


def test_alert_ids_tell_apart_all_that_makes_an_alert() -> None:
    base = other("opening", 1)
    others = [
        structs.replace(base, tenant="t"),
        structs.replace(base, detector="d"),
        structs.replace(base, subject="s"),
        structs.replace(base, trigger=("broker-2", base.trigger[1])),
        structs.replace(base, trigger=(base.trigger[0], "E-2")),
        structs.replace(base, ordinal=1),
        structs.replace(base, rule=structs.replace(base.rule, parameters_hash="other")),
    ]
    assert len({alert_id(one, 1) for one in [base, *others]} | {alert_id(base, 2)}) == 9


def test_senders_that_count_event_ids_from_one_every_day_get_an_alert_a_day() -> None:
    today, tomorrow = other("opening", 1), other("opening", AFTER_DAY)
    tomorrow = structs.replace(tomorrow, trigger=today.trigger)
    assert alert_of(today) != alert_of(tomorrow)


def test_alert_ids_stay_what_they_were() -> None:
    """Whoever changes how they are made changes every link to an alert: this is on purpose."""
    assert alert_of(other("opening", 1)) == "feb4d3c1be187a70ad80ec01d6895e99"


def test_cases_older_than_two_days_are_forgotten() -> None:
    policy = make_policy()
    for day in range(5):
        policy.take(message(other("opening", 1 + 86_400 * day)))
    (days,) = policy.state.cases.values()
    assert list(days) == ["2026-03-05", "2026-03-06"]


def test_nearness_becomes_a_row_for_the_store() -> None:
    near = Headroom(
        rule_id=OTHER,
        account_id="a",
        instrument="600000",
        event_time_ns=at(1),
        value=9.0,
        figure=10.0,
        projected_breach_ns=None,
    )
    (row,) = make_policy().headroom(structs.replace(message(), headroom=[near]))
    assert (row.subject, row.value, row.figure) == ("a 600000", 9.0, 10.0)
