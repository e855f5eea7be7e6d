"""Parts for tests of whole runs: a plan over files, and a short story told by events."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from detectors.core.registry import params_types
from flows.config import load
from flows.plan import InputSpec, Plan
from schemas.events import SECOND_NS

START_NS = 1_772_415_000_000_000_000  # 2026-03-02T01:30:00Z, 09:30 in Shanghai
DAY_NS = 86_400 * SECOND_NS
PEPPER = bytes(range(32))
# Lower figures, so that a short story crosses them.
FLAGS = (
    "detectors.instant_cancels.cancels_min=3",
    "detectors.instant_cancels.orders_min=4",
    "detectors.win_rate.min_units=4",
    "notices.expiry_ns=3600000000000",
)
WINNERS = ("winner-6217-001", "winner-6217-002", "winner-6217-003")
CANCELLERS = ("canceller-88-01", "canceller-88-02")


def spell(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def make_plan(
    data: Path, inputs: Sequence[Path | str], flags: Sequence[str] = (), accounts: str = ""
) -> Plan:
    """Make a plan whose tokens are the same in every data folder."""
    keys = data / "keys"
    if not keys.exists():
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys.mkdir(mode=0o700)
        (keys / "pepper").write_bytes(PEPPER)
        (keys / "pepper").chmod(0o600)
        (data / "tapewatch.lock").touch()  # a data folder of ours, begun
    config = load((*FLAGS, *flags), {"data": str(data)}, environment={}, detectors=params_types())
    specs = tuple(InputSpec(name=str(path), accounts=accounts) for path in inputs)
    return Plan(data, specs, config)


def head(number: int, seconds: float, account_id: str) -> dict[str, Any]:
    return {
        "source": "broker-1",
        "event_id": f"E{number:06d}",
        "event_time_ns": START_NS + round(seconds * SECOND_NS),
        "account_id": account_id,
    }


def story(answers: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Tell two trading days of three winners and two cancellers, in time order.

    The first winner answers its notice, given by id in ``answers``, within the hour; the second
    too late; the third never. One canceller's cancels are confirmed, the other's withdrawn.
    """
    told: list[tuple[float, str, dict[str, Any]]] = []
    for who, winner in enumerate(WINNERS):
        told += [(10.0 * n + who, winner, _trip(n)) for n in range(7)]
        told += [(7_000.0 + 10.0 * n + who, winner, _trip(n)) for n in range(7, 14)]
    for notice_id, winner, seconds in zip(answers, WINNERS, (600.0, 4_000.0), strict=False):
        told.append((seconds, winner, _answer(notice_id)))
    for who, canceller in enumerate(CANCELLERS):
        for n in range(5):
            told.append((100.0 + 5 * n + who, canceller, _new(n, who)))
            told.append((100.5 + 5 * n + who, canceller, _cancel(n, who)))
        # The second goes on without cancelling: by the end of the day its share is small.
        told += [(200.0 + n, canceller, _new(100 + n, who)) for n in range(10 * who)]
    told += [(86_400.0 + 7 * n, "somebody", _new(900 + n, 5)) for n in range(3)]
    told.sort(key=lambda one: one[0])
    return [head(k, seconds, who) | event for k, (seconds, who, event) in enumerate(told)]


def _trip(number: int) -> dict[str, Any]:
    return {
        "kind": "position.closed",
        "instrument": "600000",
        "opened_ns": START_NS,
        "side": "buy",
        "quantity": 100,
        "realized_pnl": f"{number + 1}.5",
        "is_simulated": True,
    }


def _answer(notice_id: str) -> dict[str, Any]:
    return {"kind": "app.event", "name": "notice.responded", "notice_id": notice_id}


def _new(number: int, who: int) -> dict[str, Any]:
    return {
        "kind": "order.new",
        "order_id": f"O{who}-{number}",
        "instrument": "600519",
        "venue": "XSHG",
        "side": "sell",
        "quantity": 1,
        "price": 3000,
    }


def _cancel(number: int, who: int) -> dict[str, Any]:
    order_id = f"O{who}-{number}"
    return {"kind": "order.cancel", "order_id": order_id, "reason": "user", "quantity": 1}


def lines(events: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(spell(event) for event in events)


def dealt(events: Sequence[dict[str, Any]], count: int) -> Iterator[list[dict[str, Any]]]:
    """Deal events to some files, every file in time order."""
    for index in range(count):
        yield [event for k, event in enumerate(events) if k % count == index]
