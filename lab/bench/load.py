"""Orders of many accounts at an even pace, with bursts of some: input for benches of load.

Each order is filled at once and whole, so that no open orders pile up: what grows is the number of
accounts, nothing else. Some accounts may trade with themselves. Event time is the pace.
``python -m lab.bench.load RATE …`` writes it as it falls due.
"""

import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Final

from msgspec import Struct
from msgspec import json as msgspec_json

from flows import clock
from lab.bench.processes import environment
from schemas.events import SECOND_NS

START_NS: Final = 1_772_415_000_000_000_000  # 2026-03-02T01:30:00Z, 09:30 in Shanghai
BURST_ORDERS: Final = 400  # of one account, then it is another's turn; the rule's figure is 300
SELF_TRADES: Final = 5  # of one account, then it is another's turn; the rule's figure
_STRIDE: Final = 2_654_435_761  # a large prime: accounts come in no visible order
_BLOCK_SECONDS: Final = 0.02
_SIZE_BYTES: Final = 4
_CLOCK_BYTES: Final = 8
_JOINED_MAX: Final = 8 * 2**20  # of a reader that is behind: as much as a file's block
_SHARE: Final = '"instrument":"600000","venue":"XSHG"'
_FUTURE: Final = '"instrument":"rb2610","venue":"XSGE"'  # where the rule on self-trades applies
_SIDES: Final = ("buy", "sell")
_NEVER: Final = threading.Event()


class Load(Struct, frozen=True, kw_only=True):
    """What is made.

    Attributes
    ----------
    accounts
        Each has its turn once in so many orders.
    rate
        Events in a second of event time.
    burst_share
        Of so many orders, one is of the account that bursts just now; 0: nobody does.
    self_share
        Of so many orders, one is traded with itself by the account that does so just now; 0: nobody
        does. Those stand behind align, so their alerts come once the lateness allowed has passed.
    first_ns
        Event time of the first event.
    """

    accounts: int
    rate: int = 100_000
    burst_share: int = 0
    self_share: int = 0
    first_ns: int = START_NS

    def lines(self, first: int, count: int) -> bytes:
        """Return orders ``first`` to ``first + count``, two events each, as NDJSON."""
        return b"".join(self._order(number) for number in range(first, first + count))

    def _order(self, number: int) -> bytes:
        account, where, counter = self._who(number)
        time_ns = self.time_ns(2 * number)
        what = (
            f'"event_time_ns":{time_ns},"account_id":"{account}","order_id":"O{number}",'
            f'{where},"side":"{_SIDES[number // self.accounts % 2]}",'
            '"quantity":100,"price":"10.00"}\n'
        )
        return (
            f'{{"kind":"order.new","source":"load","event_id":"N{number}",{what}'
            f'{{"kind":"fill","source":"load","event_id":"F{number}","fill_id":"F{number}",{counter}{what}'
        ).encode()

    def _who(self, number: int) -> tuple[str, str, str]:
        """Return account, place and counterparty of an order, the latter as JSON."""
        if self.self_share and number % self.self_share == self.self_share - 1:
            account = f"self-{number // self.self_share // SELF_TRADES}"
            return account, _FUTURE, f'"counter_account_id":"{account}",'
        if self.burst_share and number % self.burst_share == 0:
            return f"burst-{number // self.burst_share // BURST_ORDERS}", _SHARE, ""
        return f"account-{number * _STRIDE % self.accounts}", _SHARE, ""

    def time_ns(self, event: int) -> int:
        """Return the event time of an event by its number."""
        return self.first_ns + event * SECOND_NS // self.rate

    def blocks(self, orders: int, block_orders: int) -> Iterator[bytes]:
        """Yield so many orders, block by block."""
        for first in range(0, orders, block_orders):
            yield self.lines(first, min(block_orders, orders - first))


class Paced(Struct, frozen=True, kw_only=True):
    """What ``python -m lab.bench.load`` is asked for, as JSON."""

    load: Load
    orders: int


def paced(asked: Paced, began_ns: int) -> Iterator[bytes]:
    """Yield blocks, none before its last event is due; a slow reader never moves the clock."""
    load = asked.load
    block_orders = max(1, round(load.rate * _BLOCK_SECONDS / 2))
    for first in range(0, asked.orders, block_orders):
        count = min(block_orders, asked.orders - first)
        made = load.lines(first, count)
        due_ns = began_ns + load.time_ns(2 * (first + count)) - load.first_ns
        _NEVER.wait(max(0.0, (due_ns - clock.monotonic_ns()) / SECOND_NS))
        yield made


class Feed:
    """A load written by a process of its own, as it falls due.

    Attributes
    ----------
    began_ns
        By the steady clock: when the first event was due.
    """

    def __init__(self, asked: Paced) -> None:
        words = [sys.executable, "-m", __name__, msgspec_json.encode(asked).decode()]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            words, stdout=subprocess.PIPE, env=environment(), bufsize=0
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        self.began_ns = int.from_bytes(self._read(_CLOCK_BYTES))

    def has_come(self) -> bool:
        """Say whether a block, or the end, can be read without waiting long."""
        return bool(select.select([self._pipe], [], [], 0)[0])

    def blocks(self, _url: str, _first: int) -> Iterator[bytes]:
        """Yield what has come, as one block; see ``flows.plan.BlockFactory``."""
        while head := self._read(_SIZE_BYTES):
            held = [self._read(int.from_bytes(head))]
            size = len(held[0])
            while size < _JOINED_MAX and self.has_come() and (head := self._read(_SIZE_BYTES)):
                held.append(self._read(int.from_bytes(head)))
                size += len(held[-1])
            yield b"".join(held)

    def _read(self, size: int) -> bytes:
        """Read so many bytes; none at the end. Nothing is read ahead, which select would miss."""
        held = bytearray()
        while len(held) < size and (piece := self._pipe.read(size - len(held))):
            held += piece
        return bytes(held)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()


def main(text: str) -> None:
    """Write the clock's beginning (ns), then blocks, each after its length."""
    out = sys.stdout.buffer
    began_ns = clock.monotonic_ns()
    out.write(began_ns.to_bytes(_CLOCK_BYTES))
    for block in paced(msgspec_json.decode(text, type=Paced), began_ns):
        out.write(len(block).to_bytes(_SIZE_BYTES))
        out.write(block)
        out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
