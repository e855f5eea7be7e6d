"""The instrument stage and self-trading agree with plain Python, however rows are cut."""

from typing import Any

from detector_kit import columns_of, feed, reborn, rule_of, stage_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from naive_self_trading import Counted, self_trades
from trade_days import events_of, files, gaps

from schemas.alerts import Finding
from schemas.events import SECOND_NS

RULE = rule_of("self_trading", {"trades_min": 2}, exempt=())
CONFIG = {"lateness_ns": 2 * SECOND_NS}
SOON = CONFIG | {"idle_ns": 4 * SECOND_NS}
fills = st.tuples(
    st.just("fill"),
    st.sampled_from("ABC"),
    st.sampled_from(["buy", "sell"]),
    st.integers(0, 3),  # fill_id
    st.sampled_from(["", "", "A", "B", "C"]),  # counterparty
    st.sampled_from("IJ"),
)
OWN_FILL = ("fill", "A", "buy", 0, "A", "I")  # its counterparty is itself
days = st.lists(st.tuples(gaps, st.one_of(files, fills, fills, fills)), max_size=40)


def due(counts: list[Counted]) -> list[Counted]:
    """Leave those of which something is told: at 2, and at each doubling."""
    return [one for one in counts if one.count >= 2 and one.count & (one.count - 1) == 0]


def told(finding: Finding) -> tuple[Any, ...]:
    evidence = finding.evidence
    return (
        finding.subject,
        evidence["self_trades"],
        finding.trigger[1],
        [position.line for position in finding.positions],
        evidence["fills_without_counterparty"],
    )


def told_of(one: Counted) -> tuple[Any, ...]:
    subject = f"{one.party} {one.contract[0]}@{one.contract[1]}"
    return subject, one.count, one.event_id, one.lines, one.one_sided


def by_contract(findings: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Sort by contract, stably: which of two comes first at one moment means nothing."""
    return sorted(findings, key=lambda one: str(one[0]).split(" ")[-1])


@settings(max_examples=150, deadline=None)
@given(days, st.integers(1, 9))
@example([(43_200, OWN_FILL), (43_200, OWN_FILL), (0, (*OWN_FILL[:3], 1, *OWN_FILL[4:]))], 1)
def test_findings_agree_with_plain_python(
    day: list[tuple[int, tuple[Any, ...]]], size: int
) -> None:
    events = events_of(day)
    expected = by_contract([told_of(one) for one in due(self_trades(events))])
    columns = columns_of(events)
    whole = feed(stage_of([RULE], **CONFIG), columns).findings
    assert by_contract([told(one) for one in whole]) == expected
    cut = feed(stage_of([RULE], **CONFIG), columns, [size] * 40, reborn([RULE], **CONFIG))
    assert cut.findings == whole
    # Nor can they tell that what rests is let go as soon as it may be.
    for again in (lambda stage: stage, reborn([RULE], **SOON)):
        assert feed(stage_of([RULE], **SOON), columns, [size] * 40, again).findings == whole


def test_shares_are_those_of_the_accounts_that_traded() -> None:
    day = [(0, ("file", who, "X", "")) for who in "ABC"]
    trades = [("A", "B", 1), ("B", "C", 2), ("C", "A", 5)]
    for number, (one, other, _) in enumerate(trades):
        day.append((1, ("fill", one, "buy", number, other, "I")))
    events = events_of(day)
    for event, (_, _, quantity) in zip(events[3:], trades, strict=True):
        event["quantity"] = quantity
    rule = rule_of("self_trading", {"trades_min": 3}, exempt=())
    (finding,) = feed(stage_of([rule], **CONFIG), columns_of(events)).findings
    shares = {one["account_id"]: one["share_ppm"] for one in finding.evidence["accounts"]}
    assert shares == {"A": 375_000, "B": 187_500, "C": 437_500}
    assert finding.evidence["party"] == {"counted_by": "beneficial_owner", "party_id": "X"}
    assert finding.evidence["traded_e8"] == str(8 * 10**8)
    assert finding.account_id == "C"


def days_of_strangers(count: int) -> list[dict[str, Any]]:
    """Return days on each of which other accounts trade with themselves, in other contracts."""
    day = []
    for number in range(count):
        fill = ("fill", f"A{number}", "buy", number, f"A{number}", f"I{number}")
        day += [(86_400, fill), (1, ("file", f"F{number}", "X", ""))]
    return events_of(day)


def test_memory_holds_the_parties_of_late_only() -> None:
    stage = stage_of([RULE], **SOON, silent_ns=10 * 86_400 * SECOND_NS)
    feed(stage, columns_of(days_of_strangers(60)), [1] * 120)
    counts = stage.instruments.row_counts()
    assert counts["parties"] == counts["traded_instruments"] == counts["subjects"] <= 3
    assert counts["holders"] <= 3 + 10 * 1.25 + 1
    assert stage.totals()["accounts_forgotten"] >= 2 * (60 - 14)
    assert stage.accounts.row_counts()["instruments"] <= 10 * 1.25 + 2  # of open positions
    held = stage.instruments
    assert len(held.party_names) == len(held.instrument_names) == counts["parties"]
    assert len(held.state.names) <= 2 * counts["holders"] * len("default\0A60\0X\0")


def test_what_was_filed_is_forgotten_with_those_silent_for_long() -> None:
    rest = 40 * 86_400
    owned = [(0, ("file", who, "X", "")) for who in "AB"]
    trades = [(k, ("fill", "A", "buy", k, "B", "I")) for k in (1, 2)]
    other = [(rest, ("fill", "C", "buy", k, "", "I")) for k in (8, 9)]  # a clock that two reached
    other[1] = (1, other[1][1])
    config = CONFIG | {"silent_ns": 30 * 86_400 * SECOND_NS}
    told_twice = feed(stage_of([RULE], **config), columns_of(events_of(owned + trades))).findings
    assert len(told_twice) == 1
    late = events_of([*owned, *other, *trades])
    assert feed(stage_of([RULE], **config), columns_of(late)).findings == []
    assert len(feed(stage_of([RULE], **CONFIG), columns_of(late)).findings) == 1
    both = [("fill", "A", "buy", 1, "B", "I"), ("fill", "B", "sell", 1, "A", "I")]
    kept_alive = events_of([*owned, *[(10 * 86_400, trade) for trade in both * 3]])
    once = rule_of("self_trading", {"trades_min": 1}, exempt=())
    assert len(feed(stage_of([once], **config), columns_of(kept_alive)).findings) == 6


def test_who_trades_elsewhere_is_not_forgotten() -> None:
    """Whatever an account does counts, also where nobody looks at its trades."""
    owned = [(0, ("file", who, "X", "")) for who in "AB"]
    kept = [(15 * 86_400, ("fill", who, "buy", k, "", "J")) for k in range(9) for who in "AB"]
    trades = [(k, ("fill", "A", "buy", 90 + k, "B", "I")) for k in (1, 2)]
    config = CONFIG | {"silent_ns": 40 * 86_400 * SECOND_NS}
    events = events_of(owned + kept + trades)
    (finding,) = feed(stage_of([RULE], **config), columns_of(events)).findings
    assert finding.evidence["party"]["counted_by"] == "beneficial_owner"


def test_a_file_at_the_moment_of_coming_back_stands() -> None:
    rest = 60 * 86_400
    owned = [(0, ("file", who, "X", "")) for who in "AB"]
    others = [(rest, ("fill", "C", "buy", 8, "", "I")), (0, ("fill", "C", "buy", 9, "", "I"))]
    again = [(0, ("file", who, "Y", "")) for who in "AB"]
    trades = [(k, ("fill", "A", "buy", k, "B", "I")) for k in (1, 2)]
    config = CONFIG | {"silent_ns": 30 * 86_400 * SECOND_NS}
    events = events_of(owned + others + again + trades)
    for sizes in ([1] * 40, []):
        stage = stage_of([RULE], **config)
        (finding,) = feed(stage, columns_of(events), sizes, reborn([RULE], **config)).findings
        assert finding.evidence["party"] == {"counted_by": "beneficial_owner", "party_id": "Y"}
