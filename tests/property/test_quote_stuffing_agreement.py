"""Quote stuffing agrees with plain Python where messages are dense, which messy days seldom are."""

from fractions import Fraction
from typing import Any

from detector_kit import START_NS, columns_of, feed, rule_of, stage_of
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_detectors import naive_steps
from naive_stuffing import Figures, quote_stuffing

from schemas.alerts import Finding
from schemas.events import SECOND_NS

CONFIG = {
    "lateness_ns": 2 * SECOND_NS,
    "duplicate_window_ns": 3 * SECOND_NS,
    "order_age_ns": 30 * SECOND_NS,
}
NUMBERS = (
    "bursts", "orders_in_latest", "replaces_in_latest", "withdrawn_in_latest", "fills_in_latest",
    "messages_in_largest",
)  # fmt: skip
MS = 1_000_000
MOVES = (0, 0, 1, 50 * MS, 100 * MS, 100 * MS, 300 * MS, 500 * MS, -300 * MS, 1_000 * MS)
KINDS = ("new",) * 9 + ("cancel",) * 8 + ("replace", "fill", "lapse")
Event = dict[str, Any]


@st.composite
def dense_hours(draw: st.DrawFn) -> list[Event]:
    """Draw orders of one account that are mostly withdrawn again, a few of them at a time."""
    near_midnight = 86_398 * SECOND_NS
    now_ns = START_NS + draw(st.sampled_from([3_600 * SECOND_NS, near_midnight]))
    orders: list[tuple[str, str]] = []
    events: list[Event] = []
    for number, (move_ns, kind, back) in enumerate(
        draw(
            st.lists(
                st.tuples(st.sampled_from(MOVES), st.sampled_from(KINDS), st.integers(1, 4)),
                min_size=10,
                max_size=90,
            )
        )
    ):
        now_ns += move_ns
        is_new = kind == "new" or not orders
        if is_new:
            orders.append((f"o{number}", "J" if number % 7 == 0 else "I"))
        order = orders[-1 if is_new else -min(back, len(orders))]
        events.append(message(number, now_ns, "new" if is_new else kind, *order))
    return events


def message(number: int, now_ns: int, kind: str, order_id: str, instrument: str) -> Event:
    head = {"source": "t", "event_id": f"e{number}", "event_time_ns": now_ns, "account_id": "A"}
    head["order_id"] = order_id
    place = {"instrument": instrument, "venue": "TEST", "side": "buy", "price": "10"}
    if kind == "new":
        return head | place | {"kind": "order.new", "quantity": "3"}
    if kind == "replace":
        return head | {"kind": "order.replace", "quantity": "4", "price": "11"}
    if kind == "fill":
        return head | place | {"kind": "fill", "quantity": "1", "fill_id": f"f{number}"}
    reason = "exchange" if kind == "lapse" else "user"
    return head | {"kind": "order.cancel", "reason": reason}


FIGURES = st.builds(
    Figures,
    bursts_min=st.sampled_from([1, 2]),
    messages_min=st.sampled_from([3, 4, 6]),
    share=st.sampled_from([Fraction(1, 2), Fraction(3, 4)]),
    fills=st.sampled_from([Fraction(1, 4), Fraction(1, 2)]),
    life_ns=st.sampled_from([300 * MS, SECOND_NS, 2 * SECOND_NS]),
)


@given(dense_hours(), FIGURES, st.lists(st.integers(1, 9), max_size=30))
@settings(max_examples=150, deadline=None)
def test_bursts_agree_with_plain_python(
    events: list[Event], figures: Figures, sizes: list[int]
) -> None:
    rule = rule_of(
        "quote_stuffing",
        {
            "bursts_min": figures.bursts_min,
            "messages_min": figures.messages_min,
            "life_ns": figures.life_ns,
            "cancelled_share_min": float(figures.share),
            "fill_share_max": float(figures.fills),
        },
    )
    output = feed(stage_of([rule], **CONFIG), columns_of(events), sizes)
    expected = quote_stuffing(naive_steps(events, **CONFIG), figures)
    wanted = [
        (phase, subject[1], events[row]["event_id"], n) for row, phase, subject, n in expected
    ]
    assert sorted(map(told, output.findings)) == sorted(wanted)


def told(finding: Finding) -> tuple[Any, ...]:
    numbers = tuple(int(finding.evidence[name]) for name in NUMBERS)
    return finding.phase, finding.instrument, finding.trigger[1], numbers
