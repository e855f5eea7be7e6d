"""Orders of many accounts at an even pace, with bursts of some: input for benches of load.

Each order is filled at once and whole, so that no open orders pile up: what grows is the number of
accounts, nothing else. Some accounts may trade with themselves. Event time is the pace.
``python -m lab.bench.load JSON`` writes it as it falls due, made ahead: a reader that paused finds
all that fell due meanwhile, as it would on a broker, and need not wait for its making.
"""

import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import chain
from queue import Queue
from typing import Final, NamedTuple

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
_SWITCH_SECONDS: Final = 0.0005  # who writes what is due must not wait for who makes what will be
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
    """What ``python -m lab.bench.load`` is asked for, as JSON.

    Attributes
    ----------
    load, orders
        What, and how much of it.
    ahead_seconds
        So much of it is made before the first event falls due, and kept ahead from then on; what is
        made later takes its share of a processor from who reads. 100,000 events are 25 MB.
    """

    load: Load
    orders: int
    ahead_seconds: float = 4.0


class Due(NamedTuple):
    """A block, and how long after the first event its last one falls due."""

    after_ns: int
    made: bytes


def blocks_due(asked: Paced) -> Iterator[Due]:
    """Yield a load's blocks, each a fiftieth of a second long."""
    load = asked.load
    block_orders = max(1, round(load.rate * _BLOCK_SECONDS / 2))
    for first in range(0, asked.orders, block_orders):
        count = min(block_orders, asked.orders - first)
        yield Due(load.time_ns(2 * (first + count)) - load.first_ns, load.lines(first, count))


def wait_until_due(due: Due, began_ns: int) -> bytes:
    """Return a block, not before its last event is due; a slow reader never moves the clock."""
    late_ns = clock.monotonic_ns() - began_ns - due.after_ns
    _NEVER.wait(max(0.0, -late_ns / SECOND_NS))
    return due.made


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
        if not self.began_ns:
            self.close()
            raise RuntimeError("Whoever makes the load has failed, and said why.")

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
        if self._process.wait():
            raise RuntimeError("Whoever makes the load has failed, and said why.")

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


class _Ahead:
    """A load's blocks, made in a thread of its own, so many seconds ahead."""

    def __init__(self, asked: Paced) -> None:
        self._asked = asked
        self._blocks: Queue[Due | None] = Queue(max(1, round(asked.ahead_seconds / _BLOCK_SECONDS)))
        self._is_ahead, self._is_whole = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._make, daemon=True)
        self._thread.start()
        self._is_ahead.wait()

    def _make(self) -> None:
        try:
            for due in blocks_due(self._asked):
                self._blocks.put(due)
                if self._blocks.full():
                    self._is_ahead.set()
            self._is_whole.set()
        finally:  # what went wrong is written by the thread's end
            self._is_ahead.set()
            self._blocks.put(None)

    def __iter__(self) -> Iterator[Due]:
        while (due := self._blocks.get()) is not None:
            yield due
        self._thread.join()
        if not self._is_whole.is_set():
            sys.exit("The load could not be made.")


def main(text: str) -> None:
    """Write the clock's beginning (ns), then blocks, each after its length."""
    out = sys.stdout.buffer
    sys.setswitchinterval(_SWITCH_SECONDS)
    blocks = iter(_Ahead(msgspec_json.decode(text, type=Paced)))
    first = next(blocks)  # or end here, if nothing can be made
    began_ns = clock.monotonic_ns()
    out.write(began_ns.to_bytes(_CLOCK_BYTES))
    out.flush()
    for due in chain([first], blocks):
        block = wait_until_due(due, began_ns)
        out.write(len(block).to_bytes(_SIZE_BYTES))
        out.write(block)
        out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
