"""Hypothesis strategies that several tests share: messy days of a few accounts."""

from typing import Any

from detector_kit import START_NS
from hypothesis import strategies as st

from schemas.events import SECOND_NS

_REASONS = ("user", "user", "user", "unknown", "immediate", "exchange", "kill_switch")
_KINDS = ("order.new",) * 5 + ("order.cancel",) * 5 + ("fill",) * 5 + (
    "order.replace", "order.expire", "order.reject", "position.closed", "ref.account", "repeat",
)  # fmt: skip
_MOVES_NS = (0, 0, 1, 200_000_000, 400_000_000, SECOND_NS, 3 * SECOND_NS, -900_000_000)
_JUMPS_NS = (-4 * SECOND_NS, 20 * SECOND_NS, 70 * SECOND_NS, 43_200 * SECOND_NS)


@st.composite
def messy_days(draw: st.DrawFn, size_max: int = 60) -> list[dict[str, Any]]:
    """Draw events of two accounts with everything that may go wrong in a feed."""
    events: list[dict[str, Any]] = []
    # Late on the first day, so that midnight is near.
    now_ns = START_NS + 86_395 * SECOND_NS
    for number in range(draw(st.integers(1, size_max))):
        is_jump = draw(st.integers(0, 11)) == 0
        now_ns += draw(st.sampled_from(_JUMPS_NS if is_jump else _MOVES_NS))
        kind = draw(st.sampled_from(_KINDS))
        if kind == "repeat":
            if events:
                events.append(dict(draw(st.sampled_from(events[-8:]))))
            continue
        events.append(
            {
                "kind": kind,
                "source": "t",
                "event_id": f"e{number}",
                "event_time_ns": now_ns,
                "account_id": draw(st.sampled_from("AAB")),
                **draw(_fields(kind, number, now_ns)),
            }
        )
    return events


def _fields(  # noqa: PLR0911 - one return a kind
    kind: str, number: int, now_ns: int
) -> st.SearchStrategy[dict[str, Any]]:
    order = {"order_id": st.sampled_from(["o1", "o2", "o3", "o4", "o5"])}
    quantity = st.sampled_from(["1", "2", "3.5", "10", "20", "0.00000001"])
    price = st.sampled_from(["10", "10.00000001", "9", "-1", "0", "12.5"])
    pnl = st.sampled_from(["1", "-1", "0", "0.00000001", "5"])
    instrument = {"instrument": st.sampled_from("IJ"), "venue": st.just("TEST")}
    side = st.sampled_from(["buy", "sell"])
    maybe_paper = {"is_simulated": st.just(value=True)}
    if kind == "order.new":
        return st.fixed_dictionaries(
            order | instrument | {"side": side, "quantity": quantity, "price": price},
            optional={"time_in_force": st.sampled_from(["ioc", "fok", "day", "gtc"])}
            | maybe_paper | {"claims_market_maker": st.just(value=True)},
        )  # fmt: skip
    if kind == "order.replace":
        return st.fixed_dictionaries(
            order | {"price": price, "quantity": quantity},
            optional={"replaces_order_id": order["order_id"]},
        )
    if kind == "order.cancel":
        return st.fixed_dictionaries(
            order | {"reason": st.sampled_from(_REASONS)}, optional={"quantity": quantity}
        )
    if kind == "fill":
        required = order | instrument | {"side": side, "quantity": quantity, "price": price}
        required["fill_id"] = st.just(f"f{number}")
        return st.fixed_dictionaries(required, optional={"realized_pnl": pnl} | maybe_paper)
    if kind == "position.closed":
        required = {"instrument": instrument["instrument"], "opened_ns": st.just(START_NS)}
        return st.fixed_dictionaries(required | {"quantity": quantity, "realized_pnl": pnl})
    if kind == "ref.account":
        entry = st.fixed_dictionaries(
            {
                "registration": st.sampled_from(["market_maker", "hedge"]),
                "valid_from_ns": st.sampled_from([now_ns - SECOND_NS, now_ns + SECOND_NS]),
            },
            optional={
                "instrument": st.sampled_from("IJ"),
                "valid_until_ns": st.sampled_from([now_ns, now_ns + 5 * SECOND_NS]),
            },
        )
        return st.fixed_dictionaries({"registrations": st.lists(entry, max_size=2)})
    return st.fixed_dictionaries(order)
