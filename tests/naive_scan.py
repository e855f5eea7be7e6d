"""Obviously right twins of what the scanner's kernels do: a field, a byte, a row each."""

import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

from schemas import columns

MASK = 2**64 - 1
NO_TIME = -(2**63)
MONEY_COLUMNS = {
    "price": "price_e8",
    "equity": "price_e8",
    "quantity": "quantity_e8",
    "realized_pnl": "amount_e8",
    "amount": "amount_e8",
    "exposure": "amount_e8",
}
TEXT_COLUMNS = {
    "source": "source_1",
    "order_id": "order_1",
    "replaces_order_id": "link_1",
    "fill_id": "link_1",
    "instrument": "instrument_1",
    "venue": "venue_1",
    "name": "name_1",
    "notice_id": "notice_1",
}
CHOICE_COLUMNS = {
    "side": columns.SIDE_CODES,
    "order_type": columns.ORDER_TYPE_CODES,
    "time_in_force": columns.TIME_IN_FORCE_CODES,
    "session_phase": columns.SESSION_PHASE_CODES,
    "liquidity": columns.LIQUIDITY_CODES,
    "capacity": columns.CAPACITY_CODES,
}
HAS = {"price_e8": 1, "quantity_e8": 2, "amount_e8": 4}
FLAGS = {"is_simulated": 1, "claims_market_maker": 2, "claims_hedge": 4, "registrations": 8}


def _rotate(value: int, count: int) -> int:
    return ((value << count) | (value >> (64 - count))) & MASK


class Sip:
    """SipHash-c-d as the paper writes it (Aumasson, Bernstein 2012), with 64 or 128 bits out."""

    def __init__(self, key: tuple[int, int], rounds: tuple[int, int], *, is_long: bool) -> None:
        start = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
        self.v = [word ^ key[n % 2] for n, word in enumerate(start)]
        self.rounds, self.is_long = rounds, is_long

    def _mix(self, times: int) -> None:
        v = self.v
        for _ in range(times):
            for a, b, turn in ((0, 1, 13), (2, 3, 16), (0, 3, 21), (2, 1, 17)):
                v[a] = (v[a] + v[b]) & MASK
                v[b] = _rotate(v[b], turn) ^ v[a]
                if turn in {13, 17}:
                    v[a] = _rotate(v[a], 32)

    def _out(self) -> int:
        return self.v[0] ^ self.v[1] ^ self.v[2] ^ self.v[3]

    def digest(self, data: bytes) -> tuple[int, ...]:
        if self.is_long:
            self.v[1] ^= 0xEE
        full = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
        for at in range(0, len(full), 8):
            word = int.from_bytes(full[at : at + 8], "little")
            self.v[3] ^= word
            self._mix(self.rounds[0])
            self.v[0] ^= word
        self.v[2] ^= 0xEE if self.is_long else 0xFF
        self._mix(self.rounds[1])
        if not self.is_long:
            return (self._out(),)
        low = self._out()
        self.v[1] ^= 0xDD
        self._mix(self.rounds[1])
        return low, self._out()


def hash_text(text: str, tweak: int, key: columns.HashKey) -> tuple[int, ...]:
    return Sip((key.low ^ tweak, key.high), (1, 3), is_long=True).digest(text.encode())


def murmur2(data: bytes) -> int:
    """Kafka's Utils.murmur2, four bytes at a time."""
    low32, factor = 2**32 - 1, 0x5BD1E995
    value = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * factor & low32
        word = (word ^ (word >> 24)) * factor & low32
        value = (value * factor & low32) ^ word
    if whole < len(data):
        value = (value ^ int.from_bytes(data[whole:], "little")) * factor & low32
    value = (value ^ (value >> 13)) * factor & low32
    return value ^ (value >> 15)


def row(line: bytes, known: set[str], key: columns.HashKey, tenant: str | None) -> dict[str, int]:
    """Give the row of a good line; ``known`` are the fields its kind has."""
    parsed = json.loads(line, parse_float=Decimal, parse_int=Decimal)
    event = {n: v for n, v in parsed.items() if n in known and v is not None}
    out = {name: 0 for name in columns.ROW.names or () if name not in {"padding", "lane"}}
    out["kind"] = columns.KIND[event["kind"]]
    out["event_time_ns"] = int(event["event_time_ns"])
    out["opened_ns"] = int(event.get("opened_ns", 0))
    for name, value in event.items():
        _put(out, name, value, key)
    if event["kind"] == "order.cancel":
        out["reason"] = columns.CANCEL_REASON_CODES.index(event["reason"])
    out["event_1"], out["event_2"] = hash_text(event["event_id"], out["source_1"], key)
    account = event.get("account_id")
    if account is not None:
        named = event.get("tenant", tenant)
        tweak = 0 if named is None else hash_text(named, 0, key)[0]
        out["account_1"], out["account_2"] = hash_text(account, tweak, key)
        out["account_murmur2"] = murmur2(account.encode())
        if "counter_account_id" in event:
            counter = hash_text(event["counter_account_id"], tweak, key)
            out["name_1"], out["notice_1"] = counter
        if "beneficial_owner" in event:
            out["name_1"] = hash_text(event["beneficial_owner"], tweak, key)[0]
        if "control_group" in event:
            out["notice_1"] = hash_text(event["control_group"], tweak, key)[0]
    return out


def _put(out: dict[str, int], name: str, value: Any, key: columns.HashKey) -> None:
    if name in TEXT_COLUMNS:
        out[TEXT_COLUMNS[name]] = hash_text(value, 0, key)[0]
    elif name in MONEY_COLUMNS:
        column = MONEY_COLUMNS[name]
        out[column] = int(Decimal(value) * 10**8)
        out["has"] |= HAS[column]
    elif name in CHOICE_COLUMNS:
        out[name] = CHOICE_COLUMNS[name].index(value)
    elif name in FLAGS:
        out["flags"] |= FLAGS[name] if value else 0


def high_before(times: list[int]) -> list[int]:
    """high[i] = max over 1 <= j <= i - 1 of min(t[j - 1], t[j])."""
    pairs = [min(pair) for pair in pairwise(times)]
    return [max(pairs[: i - 1], default=NO_TIME) if i > 1 else NO_TIME for i in range(len(times))]
