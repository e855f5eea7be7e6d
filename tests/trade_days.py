"""Days of trades and files on accounts, in few words, for tests of the instrument stage."""

from typing import Any

from detector_kit import START_NS
from hypothesis import strategies as st

from schemas.events import SECOND_NS

maybe = st.sampled_from(["", "", "X", "Y"])
files = st.tuples(st.just("file"), st.sampled_from("ABC"), maybe, maybe)
# Seconds since the one before: on one moment often, now and then beyond the window or the day.
gaps = st.sampled_from([0, 0, 0, 1, 3, 6, 11, 43_200, 3 * 86_400])


def events_of(day: list[tuple[int, tuple[Any, ...]]]) -> list[dict[str, Any]]:
    events, now = [], START_NS
    for number, (gap, what) in enumerate(day):
        now += gap * SECOND_NS
        # Later events of one moment have smaller ids: their order must come from the ids.
        head = {"source": "s", "event_id": f"{999 - number}", "event_time_ns": now}
        head["account_id"] = what[1]
        if what[0] == "file":
            named = {"beneficial_owner": what[2], "control_group": what[3]}
            events.append({"kind": "ref.account", **head, **{n: v for n, v in named.items() if v}})
            continue
        side, fill, other, instrument = what[2:]
        body = {
            "kind": "fill", **head, "order_id": f"o{number}", "fill_id": f"f{fill}", "side": side,
            "instrument": instrument, "venue": "TEST", "quantity": 1 + number, "price": 10,
        }  # fmt: skip
        events.append(body | ({"counter_account_id": other} if other else {}))
    return events
